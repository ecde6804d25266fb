//! What every message is read with.

use protobuf::{Field, Message, Reader};
use wire::{Error, ReadAt, Result, Why};

use crate::fields::entry;

/// Most messages of a file. Each takes memory beyond its bytes, which may be as few as two.
const MESSAGES_MAX: u64 = 4 << 20;

/// Most bytes of a name, of a document or of a text attribute.
const TEXT_MAX: u64 = 1 << 28;

/// Reads messages, and counts them.
pub(crate) struct Parser<'a> {
    pub(crate) reader: Reader<'a>,
    messages: u64,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt) -> Self {
        Self { reader: Reader::new(source), messages: 0 }
    }

    /// The message that a field of another holds.
    pub(crate) fn inside(
        &mut self,
        of: &Message,
        field: &Field,
        what: &'static str,
    ) -> Result<Message> {
        self.messages = self.messages.saturating_add(1);
        if self.messages > MESSAGES_MAX {
            let (value, max) = (self.messages, MESSAGES_MAX);
            let why = Why::TooLarge { value, max, lift: "nodes, attributes and the like" };
            return Err(Error::new(field.span.start, what, why));
        }
        self.reader.inside(of, field, what)
    }

    pub(crate) fn next(&mut self, message: &mut Message) -> Result<Option<Field>> {
        self.reader.next(message)
    }

    pub(crate) fn text(&mut self, field: &Field, what: &'static str) -> Result<String> {
        self.reader.text(field, TEXT_MAX, what)
    }

    pub(crate) fn bytes(&mut self, field: &Field, what: &'static str) -> Result<Vec<u8>> {
        self.reader.bytes(field, TEXT_MAX, what)
    }

    /// Text that stands once.
    pub(crate) fn text_once(
        &mut self,
        slot: &mut Option<String>,
        field: &Field,
        what: &'static str,
    ) -> Result<()> {
        once(slot, self.text(field, what)?, field, what)
    }

    /// A key with its value: `StringStringEntryProto`.
    pub(crate) fn entry(
        &mut self,
        of: &Message,
        field: &Field,
        what: &'static str,
    ) -> Result<(String, String)> {
        let mut message = self.inside(of, field, what)?;
        let (mut key, mut value) = (None, None);
        while let Some(field) = self.next(&mut message)? {
            match field.number {
                entry::KEY => self.text_once(&mut key, &field, "StringStringEntryProto.key")?,
                entry::VALUE => {
                    self.text_once(&mut value, &field, "StringStringEntryProto.value")?
                }
                _ => {}
            }
        }
        Ok((key.unwrap_or_default(), value.unwrap_or_default()))
    }
}

/// Sets what may stand once: libraries take the last or merge, so two readers may see two files.
pub(crate) fn once<T>(
    slot: &mut Option<T>,
    value: T,
    field: &Field,
    what: &'static str,
) -> Result<()> {
    match slot.replace(value) {
        Some(_) => Err(Error::invalid(field.span.start, what, "stands twice")),
        None => Ok(()),
    }
}
