//! A key with its value.

use protobuf::{Field, Message, Reader};
use wire::Result;

use crate::fields::entry as fields;

/// Reads a `StringStringEntryProto`.
pub(crate) fn entry(
    reader: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    what: &'static str,
) -> Result<(String, String)> {
    let mut message = reader.inside(of, field, what)?;
    let (mut key, mut value) = (None, None);
    while let Some(field) = reader.next(&mut message)? {
        match field.number {
            fields::KEY => reader.text_once(&mut key, &field, "StringStringEntryProto.key")?,
            fields::VALUE => {
                reader.text_once(&mut value, &field, "StringStringEntryProto.value")?
            }
            _ => {}
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default()))
}
