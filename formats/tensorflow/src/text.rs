//! Text: tensors of it in files of weights, and the file `checkpoint` of a directory.

use std::ops::Range;

use protobuf::read_varint;
use wire::{Cursor, Endian, Error, ReadAt, Result, Why};

use crate::{Limits, crc};

const WHAT: &str = "text of a tensor";

/// Reads the only element of a tensor of text: its length as a varint, the masked checksum of the
/// lengths as numbers of 32 bits (of 64 if they need it), the bytes. `sum` is of the same, but of
/// lengths as numbers.
///
/// Source: `WriteStringTensor`, `tensor_bundle.cc`.
///
/// # Errors
/// `Invalid` for any other number of bytes, `Mismatch` for wrong checksums, `TooLarge` above
/// the limit of a field.
pub fn read_text(
    source: &dyn ReadAt,
    at: &Range<u64>,
    sum: u32,
    endian: Endian,
    limits: &Limits,
) -> Result<Vec<u8>> {
    let have = source.size().saturating_sub(at.start);
    let need = at.end.saturating_sub(at.start);
    if need > have {
        return Err(Error::new(at.start, WHAT, Why::Truncated { need, have }));
    }
    let mut cursor = Cursor::new(source);
    cursor.seek(at.start);
    cursor.set_endian(endian);
    let len = read_varint(&mut cursor, at.end, WHAT)?;
    let stated = cursor.u32(WHAT)?;
    let rest = at.end.saturating_sub(cursor.offset());
    if len != rest {
        let rule = format!("one text of {len} bytes, where {rest} are left");
        return Err(Error::invalid(at.start, WHAT, rule));
    }
    let bytes = cursor.bytes(len, limits.protobuf.field, "protobuf-field", WHAT)?;
    let mut lens = crc::Sum::default();
    match (u32::try_from(len), endian) {
        (Ok(len), Endian::Little) => lens.update(&len.to_le_bytes()),
        (Ok(len), Endian::Big) => lens.update(&len.to_be_bytes()),
        (Err(_), Endian::Little) => lens.update(&len.to_le_bytes()),
        (Err(_), Endian::Big) => lens.update(&len.to_be_bytes()),
    }
    crc::compare(lens, stated, at.start, "lengths of texts")?;
    let mut whole = lens;
    match endian {
        Endian::Little => whole.update(&stated.to_le_bytes()),
        Endian::Big => whole.update(&stated.to_be_bytes()),
    }
    whole.update(&bytes);
    crc::compare(whole, sum, at.start, WHAT)?;
    Ok(bytes)
}

/// The checkpoint that the file `checkpoint` of a directory names as the newest: a message in its
/// text form, of which one line is wanted.
///
/// # Errors
/// `Invalid` if there is no such line, or its text does not end.
pub fn read_state(text: &str) -> Result<String> {
    const KEY: &str = "model_checkpoint_path";
    let mut at = 0u64;
    for line in text.split_inclusive('\n') {
        let value = line.trim().strip_prefix(KEY).map(str::trim_start);
        if let Some(value) = value.and_then(|rest| rest.strip_prefix(':')) {
            let value = unquoted(value.trim());
            return value.ok_or_else(|| Error::invalid(at, KEY, "is no text in quotation marks"));
        }
        at = at.saturating_add(line.len() as u64);
    }
    Err(Error::invalid(0, "CheckpointState", format!("has no {KEY}")))
}

/// Text in quotation marks, in which a backslash escapes a mark or a backslash. What else can be
/// escaped is not in names of files.
fn unquoted(text: &str) -> Option<String> {
    let mut rest = text.chars();
    let mark = rest.next().filter(|mark| matches!(mark, '"' | '\''))?;
    let mut out = String::new();
    loop {
        match rest.next()? {
            c if c == mark => return rest.as_str().is_empty().then_some(out),
            '\\' => out.push(rest.next().filter(|c| matches!(c, '"' | '\'' | '\\'))?),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_names_the_newest() {
        let text = "model_checkpoint_path: \"a \\\"b\\\" c\"\nall_model_checkpoint_paths: \"x\"\n";
        assert_eq!(read_state(text).unwrap(), "a \"b\" c");
        for bad in ["", "model_checkpoint_path: x", "model_checkpoint_path: \"x", "x: \"y\""] {
            assert!(read_state(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_text_is_held_to_both_checksums() {
        let mut lens = crc::Sum::default();
        lens.update(&3u32.to_le_bytes());
        let mut bytes = vec![3];
        bytes.extend(crc::mask(lens.value()).to_le_bytes());
        bytes.extend(b"abc");
        let mut whole = lens;
        whole.update(&bytes[1..]);
        let sum = crc::mask(whole.value());
        let read =
            |bytes: &Vec<u8>| read_text(bytes, &(0..8), sum, Endian::Little, &Limits::default());
        assert_eq!(read(&bytes).unwrap(), b"abc");
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bytes).is_err(), "{bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
