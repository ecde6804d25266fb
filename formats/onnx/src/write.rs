//! Messages yet to be written: of known bytes, of ranges of the original, and of data that
//! somebody makes later.

use std::ops::Range;

/// What follows what in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<T> {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes that lie there in the original.
    Copy(Range<u64>),
    /// So many bytes, which the caller knows how to make.
    Data(T, u64),
}

/// A message as it grows.
#[derive(Debug, Clone)]
pub struct Message<T> {
    pieces: Vec<Piece<T>>,
    len: u64,
}

impl<T> Default for Message<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

impl<T> Message<T> {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What it consists of, in order.
    pub fn pieces(&self) -> &[Piece<T>] {
        &self.pieces
    }

    /// What it consists of, in order.
    pub fn into_pieces(self) -> Vec<Piece<T>> {
        self.pieces
    }

    /// Adds whole fields of the original.
    pub fn copy(&mut self, range: Range<u64>) {
        self.len = self.len.saturating_add(range.end.saturating_sub(range.start));
        match self.pieces.last_mut() {
            Some(Piece::Copy(last)) if last.end == range.start => last.end = range.end,
            _ => self.pieces.push(Piece::Copy(range)),
        }
    }

    /// Adds an integer, with its sign in 64 bits.
    pub fn int(&mut self, number: u64, value: i64) {
        self.put(|out| protobuf::varint(out, number, value.cast_unsigned()));
    }

    /// Adds a binary32.
    pub fn float(&mut self, number: u64, value: f32) {
        self.put(|out| protobuf::fixed32(out, number, value.to_le_bytes()));
    }

    /// Adds bytes or text.
    pub fn bytes(&mut self, number: u64, value: &[u8]) {
        self.put(|out| protobuf::bytes(out, number, value));
    }

    /// Adds text, unless it is empty: what is absent is empty text.
    pub fn text(&mut self, number: u64, value: &str) {
        if !value.is_empty() {
            self.bytes(number, value.as_bytes());
        }
    }

    /// Adds bytes that are made later.
    pub fn data(&mut self, number: u64, data: T, len: u64) {
        self.put(|out| protobuf::open(out, number, len));
        self.len = self.len.saturating_add(len);
        self.pieces.push(Piece::Data(data, len));
    }

    /// Adds a message within this one.
    pub fn message(&mut self, number: u64, inner: Self) {
        self.put(|out| protobuf::open(out, number, inner.len));
        self.len = self.len.saturating_add(inner.len);
        for piece in inner.pieces {
            match (piece, self.pieces.last_mut()) {
                (Piece::Bytes(more), Some(Piece::Bytes(bytes))) => bytes.extend(more),
                (piece, _) => self.pieces.push(piece),
            }
        }
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        match self.pieces.last_mut() {
            Some(Piece::Bytes(last)) => last.extend(bytes),
            _ => self.pieces.push(Piece::Bytes(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_state_the_length_of_what_they_hold() {
        let mut inner = Message::default();
        inner.int(1, 150);
        inner.copy(10..20);
        inner.copy(20..25);
        inner.data(2, 'd', 300);
        let mut outer: Message<char> = Message::default();
        outer.text(3, "");
        outer.message(4, inner);
        assert_eq!(outer.len(), 3 + 3 + 15 + 3 + 300);
        let expected = [
            Piece::Bytes(b"\x22\xc1\x02\x08\x96\x01".to_vec()),
            Piece::Copy(10..25),
            Piece::Bytes(b"\x12\xac\x02".to_vec()),
            Piece::Data('d', 300),
        ];
        assert_eq!(outer.into_pieces(), expected);
    }
}
