//! Fields → bytes.

/// Appends a varint field.
pub fn varint(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

/// Appends a field of four bytes.
pub fn fixed32(out: &mut Vec<u8>, number: u64, value: [u8; 4]) {
    put_varint(out, number << 3 | 5);
    out.extend(value);
}

/// Appends a field of bytes, text or a message.
pub fn bytes(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    open(out, number, value.len() as u64);
    out.extend(value);
}

/// Appends what stands before the bytes of a field that has `len` of them.
pub fn open(out: &mut Vec<u8>, number: u64, len: u64) {
    put_varint(out, number << 3 | 2);
    put_varint(out, len);
}

/// The length of a whole field of `len` bytes.
pub fn len_of(number: u64, len: u64) -> u64 {
    let mut head = Vec::with_capacity(20);
    open(&mut head, number, len);
    len.saturating_add(head.len() as u64)
}

/// Appends a varint alone.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}
