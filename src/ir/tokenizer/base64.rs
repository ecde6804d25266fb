//! Base64 with padding, RFC 4648 §4: how JSON and tiktoken's lists hold bytes.

use crate::ir::{Error, Result};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The bytes of a text.
///
/// # Errors
/// Malformed if the text is not base64.
pub fn decode(text: &str) -> Result<Vec<u8>> {
    let wrong = || Error::malformed("not base64");
    let digits = text.trim_end_matches('=').as_bytes();
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return Err(wrong());
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in digits.chunks(4) {
        let mut bits = 0u32;
        for digit in four {
            bits = bits << 6 | value(*digit).ok_or_else(wrong)?;
        }
        let unused = 4 - four.len();
        let bytes = (bits << (6 * unused)).to_be_bytes();
        let rest = &bytes[4 - unused..];
        if rest.iter().any(|byte| *byte != 0) {
            return Err(wrong());
        }
        out.extend_from_slice(&bytes[1..4 - unused]);
    }
    Ok(out)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// The text of some bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 §10.
    #[test]
    fn the_vectors_of_the_specification() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(encode(plain.as_bytes()), coded);
            assert_eq!(decode(coded).expect(coded), plain.as_bytes());
        }
        for bad in ["Z", "Zg", "Zg=", "Z===", "Zh==", "Zm9=", "Zm 9", "=Zm9", "Zm9v===="] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }
}
