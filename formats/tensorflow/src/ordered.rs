//! Keys of slices: text and numbers as bytes that sort as they do.
//!
//! ```text
//!  \0 │ name, \0 as \0 ff and ff as ff \0, \0 01 │ count of dimensions │ start, length …
//! ```
//!
//! A count is the number of its bytes, then its bytes. A signed number begins with as many ones as it
//! has bytes, then a zero, then itself, big-endian; of a negative one all bits are turned.
//! Sources: `tensorflow/core/lib/strings/ordered_code.cc`, `EncodeTensorNameSlice`
//! in `tensorflow/core/util/saved_tensor_slice_util.cc`.

use crate::slice::Slice;

/// The key of a slice of a tensor.
pub(crate) fn key(name: &str, slice: &Slice) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len().saturating_add(16));
    count(&mut out, 0);
    text(&mut out, name);
    count(&mut out, slice.0.len() as u64);
    for extent in &slice.0 {
        let start = i64::try_from(extent.start).unwrap_or(i64::MAX);
        let len = extent.len.map_or(-1, |len| i64::try_from(len).unwrap_or(i64::MAX));
        signed(&mut out, start);
        signed(&mut out, len);
    }
    out
}

fn count(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    let significant = bytes.iter().skip_while(|byte| **byte == 0);
    out.extend(u8::try_from(significant.clone().count()));
    out.extend(significant);
}

fn text(out: &mut Vec<u8>, value: &str) {
    for byte in value.bytes() {
        match byte {
            0 => out.extend([0, 0xff]),
            0xff => out.extend([0xff, 0]),
            _ => out.push(byte),
        }
    }
    out.extend([0, 1]);
}

fn signed(out: &mut Vec<u8>, value: i64) {
    let magnitude = if value < 0 { !value } else { value };
    let bits = 64u32.saturating_sub(magnitude.leading_zeros());
    // Each byte gives one bit to the head, and one bit of all is the sign.
    let len = bits.saturating_add(1).div_ceil(7);
    let head = (!(-1i128).wrapping_shl(len)).wrapping_shl(len.saturating_mul(7));
    let wide = i128::from(value) ^ head;
    let bytes = wide.to_be_bytes();
    out.extend(bytes.iter().skip(16usize.saturating_sub(len as usize)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slice::Extent;

    /// `tensorflow/core/lib/strings/ordered_code_test.cc`, and what TensorFlow wrote for slices.
    #[test]
    fn numbers_sort_as_bytes() {
        let made = |value| {
            let mut out = Vec::new();
            signed(&mut out, value);
            out
        };
        let known: [(i64, &[u8]); 8] = [
            (0, b"\x80"),
            (-1, b"\x7f"),
            (63, b"\xbf"),
            (64, b"\xc0\x40"),
            (-64, b"\x40"),
            (-65, b"\x3f\xbf"),
            (8191, b"\xdf\xff"),
            (i64::MAX, b"\xff\xc0\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (value, bytes) in known {
            assert_eq!(made(value), bytes, "{value}");
        }
        let sorted = [i64::MIN, -1 << 40, -70, -1, 0, 5, 64, 300, 1 << 20, 1 << 62, i64::MAX];
        assert!(sorted.map(made).is_sorted());
    }

    #[test]
    fn a_key_holds_name_and_extents() {
        let slice =
            Slice(vec![Extent { start: 0, len: None }, Extent { start: 2, len: Some(100) }]);
        assert_eq!(key("a\0b", &slice), b"\0a\0\xffb\0\x01\x01\x02\x80\x7f\x82\xc0\x64");
        let mut out = Vec::new();
        count(&mut out, 0x1_00ff);
        assert_eq!(out, b"\x03\x01\x00\xff");
    }
}
