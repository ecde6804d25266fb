//! SentencePiece's rules of normalization, compiled: what is replaced by what.
//!
//! ```text
//!  u32 bytes of the trie │ trie: u32 units of a double array │ texts, each ended by NUL
//!  unit   offset 10..31 (times 256 if bit 9)  │ bit 8: ends a key │ label 0..7, bit 31
//!  leaf   bit 31 │ value 0..30: where the replacement begins in the texts
//! ```
//!
//! Format: `Normalizer::DecodePrecompiledCharsMap` of SentencePiece 0.2, the trie as Darts-clone 0.32
//! lays it out. Both trust the bytes; here each step is checked, and what a key may be is bounded.

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

use crate::ir::{Error, Result};

/// Bytes of a key. The longest of nmt_nfkc_cf, a letter with its marks decomposed, has 18.
const KEY_MAX: usize = 64;

/// Bytes of a replacement. The longest of NFKC, of U+FDFA, has 33.
const REPLACEMENT_MAX: usize = 256;

/// Bytes of a cluster that Hugging Face's library looks up whole.
const CLUSTER_MAX: usize = 6;

/// The rules.
#[derive(Clone, PartialEq, Eq)]
pub struct Charsmap {
    bytes: Vec<u8>,
    units: Vec<u32>,
    texts: String,
}

impl Charsmap {
    /// Reads the rules.
    ///
    /// # Errors
    /// Malformed if they are not in their form; Limit for a replacement of more than 256 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        let cut = || Error::malformed("precompiled charsmap: the trie is longer than the bytes");
        let (size, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let size = u32::from_le_bytes(*size) as usize;
        let (trie, texts) = rest.split_at_checked(size).ok_or_else(cut)?;
        let (units, odd) = trie.as_chunks::<4>();
        if units.is_empty() || !odd.is_empty() {
            let found = format!("precompiled charsmap: a trie of {size} bytes");
            return Err(Error::malformed(format!("{found}, expected a multiple of 4")));
        }
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let texts = str::from_utf8(texts)
            .map_err(|_| Error::malformed("precompiled charsmap: replacements are not UTF-8"))?;
        if let Some(long) = texts.split('\0').find(|text| text.len() > REPLACEMENT_MAX) {
            let found = format!("precompiled charsmap: a replacement of {} bytes", long.len());
            return Err(Error::limit(format!("{found}, expected at most {REPLACEMENT_MAX}")));
        }
        let texts = texts.to_owned();
        Ok(Self { bytes, units, texts })
    }

    /// The rules as they were read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Calls `found` with the length of each key that a text begins with, and its replacement.
    fn each<'m>(&'m self, text: &str, mut found: impl FnMut(usize, &'m str)) {
        let unit = |at: u32| self.units.get(at as usize).copied();
        let Some(mut at) = unit(0).map(offset) else { return };
        for (len, byte) in text.bytes().take(KEY_MAX).enumerate() {
            at ^= u32::from(byte);
            let Some(node) = unit(at) else { return };
            if node & 0x8000_00ff != u32::from(byte) {
                return;
            }
            at ^= offset(node);
            if node >> 8 & 1 == 1
                && let Some(leaf) = unit(at)
                && let Some(rest) = self.texts.get((leaf & 0x7fff_ffff) as usize..)
                && text.is_char_boundary(len + 1)
            {
                found(len + 1, rest.split('\0').next().unwrap_or_default());
            }
        }
    }

    /// The longest key that a text begins with: its length, and its replacement.
    pub fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut longest = None;
        self.each(text, |len, replacement| longest = Some((len, replacement)));
        longest
    }

    /// Replaces as Hugging Face's library does: clusters of letters and marks are looked up whole
    /// first, and the shortest key that one begins with replaces all of it.
    pub fn replace_clusters(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for cluster in text.graphemes(true) {
            if cluster.len() < CLUSTER_MAX
                && let Some(replacement) = self.shortest(cluster)
            {
                out.push_str(replacement);
                continue;
            }
            for letter in cluster.chars() {
                match self.shortest(letter.encode_utf8(&mut [0; 4])) {
                    Some(replacement) => out.push_str(replacement),
                    None => out.push(letter),
                }
            }
        }
        out
    }

    fn shortest(&self, text: &str) -> Option<&str> {
        let mut shortest = None;
        self.each(text, |_, replacement| {
            shortest.get_or_insert(replacement);
        });
        shortest
    }
}

fn offset(unit: u32) -> u32 {
    unit >> 10 << ((unit & 1 << 9) >> 6)
}

impl fmt::Debug for Charsmap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charsmap({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;

    /// A trie that leads from every byte to itself.
    fn looped(texts: &str) -> Vec<u8> {
        let mut out = (257u32 * 4).to_le_bytes().to_vec();
        let unit = |at: u32| if at == 0 { 0 } else { at & 0xff | 1 << 8 };
        out.extend((0..257).flat_map(|at| u32::to_le_bytes(unit(at))));
        out.extend(texts.as_bytes());
        out
    }

    #[test]
    fn broken_rules_are_refused() {
        let fault = |bytes: &[u8]| Charsmap::new(bytes.to_vec()).expect_err("broken").fault;
        assert_eq!(fault(b""), Fault::Malformed);
        assert_eq!(fault(b"\0\0\0\0"), Fault::Malformed);
        assert_eq!(fault(b"\x05\0\0\0abcdefg"), Fault::Malformed);
        assert_eq!(fault(b"\x08\0\0\0abcd"), Fault::Malformed);
        assert_eq!(fault(b"\xff\xff\xff\xffabcd"), Fault::Malformed);
        assert_eq!(fault(b"\x04\0\0\0abcd\xff\0"), Fault::Malformed);
        assert_eq!(fault(&looped(&"x".repeat(257))), Fault::Limit);
    }

    #[test]
    fn tries_that_lead_nowhere_or_around_end() {
        let around = Charsmap::new(looped("x\0")).expect("in form");
        let text = "a".repeat(10_000);
        assert!(around.replace_clusters(&text).len() <= 2 * text.len());
        assert!(around.longest(&text).is_none_or(|(len, _)| len <= KEY_MAX));
        let mut beyond = 4u32.to_le_bytes().to_vec();
        beyond.extend(u32::MAX.to_le_bytes());
        let beyond = Charsmap::new(beyond).expect("in form");
        assert_eq!(beyond.longest("abc"), None);
    }
}
