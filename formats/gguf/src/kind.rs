//! How the weights of a tensor are stored: ggml's types, by number, name and size.

use wire::product;

/// How the weights of a tensor are stored: so many weights, in so many bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The number in the file: `enum ggml_type`.
    pub id: u32,
    /// ggml's name, as `ggml_type_name` has it.
    pub name: &'static str,
    /// Weights per block; a row is a whole number of blocks.
    pub len: u64,
    /// Bytes per block.
    pub bytes: u64,
}

const fn kind(id: u32, name: &'static str, len: u64, bytes: u64) -> Kind {
    Kind { id, name, len, bytes }
}

/// Every type of ggml, by number. The gaps are types that were removed.
///
/// Source: `ggml_type_name`, `ggml_blck_size` and `ggml_type_size` of the release that
/// `fixtures/gguf/kinds.txt` names; a test holds the two against each other.
#[rustfmt::skip]
pub static KINDS: [Kind; 35] = [
    kind( 0, "f32",        1,   4),
    kind( 1, "f16",        1,   2),
    kind( 2, "q4_0",      32,  18),
    kind( 3, "q4_1",      32,  20),
    kind( 6, "q5_0",      32,  22),
    kind( 7, "q5_1",      32,  24),
    kind( 8, "q8_0",      32,  34),
    kind( 9, "q8_1",      32,  36),
    kind(10, "q2_K",     256,  84),
    kind(11, "q3_K",     256, 110),
    kind(12, "q4_K",     256, 144),
    kind(13, "q5_K",     256, 176),
    kind(14, "q6_K",     256, 210),
    kind(15, "q8_K",     256, 292),
    kind(16, "iq2_xxs",  256,  66),
    kind(17, "iq2_xs",   256,  74),
    kind(18, "iq3_xxs",  256,  98),
    kind(19, "iq1_s",    256,  50),
    kind(20, "iq4_nl",    32,  18),
    kind(21, "iq3_s",    256, 110),
    kind(22, "iq2_s",    256,  82),
    kind(23, "iq4_xs",   256, 136),
    kind(24, "i8",         1,   1),
    kind(25, "i16",        1,   2),
    kind(26, "i32",        1,   4),
    kind(27, "i64",        1,   8),
    kind(28, "f64",        1,   8),
    kind(29, "iq1_m",    256,  56),
    kind(30, "bf16",       1,   2),
    kind(34, "tq1_0",    256,  54),
    kind(35, "tq2_0",    256,  66),
    kind(39, "mxfp4",     32,  17),
    kind(40, "nvfp4",     64,  36),
    kind(41, "q1_0",     128,  18),
    kind(42, "q2_0",      64,  18),
];

/// Types that files of 2023 and 2024 may have, and that ggml no longer knows.
/// Source: the comments of `enum ggml_type` in ggml.h.
#[rustfmt::skip]
const REMOVED: [(u32, &str); 8] = [
    ( 4, "q4_2"),       ( 5, "q4_3"),
    (31, "q4_0_4_4"),   (32, "q4_0_4_8"),   (33, "q4_0_8_8"),
    (36, "iq4_nl_4_4"), (37, "iq4_nl_4_8"), (38, "iq4_nl_8_8"),
];

impl Kind {
    /// The type with this number.
    pub fn of_id(id: u32) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.id == id)
    }

    /// The type with this name, in any case.
    pub fn of_name(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name.eq_ignore_ascii_case(name))
    }

    /// The bytes of a tensor with these dimensions (fastest first).
    ///
    /// Nothing if a row is not a whole number of blocks, or if the number of weights or of bytes
    /// does not fit in 63 bits: ggml counts in `int64_t`.
    pub fn tensor_len(&self, dims: &[u64]) -> Option<u64> {
        let row = dims.first().copied().unwrap_or(1);
        if !row.is_multiple_of(self.len) {
            return None;
        }
        let weights = product(dims).filter(|&n| n <= i64::MAX as u64)?;
        let len = weights.checked_div(self.len)?.checked_mul(self.bytes)?;
        Some(len).filter(|&len| len <= i64::MAX as u64)
    }
}

/// The name of a type that ggml once had.
pub(crate) fn removed(id: u32) -> Option<&'static str> {
    REMOVED.iter().find(|(old, _)| *old == id).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_in_order() {
        assert!(KINDS.windows(2).all(|pair| pair[0].id < pair[1].id));
        for kind in &KINDS {
            assert_eq!(Kind::of_id(kind.id), Some(kind));
            assert_eq!(Kind::of_name(&kind.name.to_uppercase()), Some(kind));
            assert_eq!(removed(kind.id), None);
        }
        let ids = KINDS.iter().map(|kind| kind.id).chain(REMOVED.iter().map(|(id, _)| *id));
        let mut ids: Vec<u32> = ids.collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..=42).collect::<Vec<_>>(), "every number is a type, now or once");
    }

    #[test]
    fn sizes_follow_from_blocks_and_do_not_wrap() {
        let q8_0 = Kind::of_name("q8_0").unwrap();
        assert_eq!(q8_0.tensor_len(&[64, 3]), Some(6 * 34));
        assert_eq!(q8_0.tensor_len(&[33, 32]), None);
        assert_eq!(q8_0.tensor_len(&[0, 7]), Some(0));
        assert_eq!(q8_0.tensor_len(&[]), None);
        assert_eq!(q8_0.tensor_len(&[1 << 32, 1 << 31]), None);
        assert_eq!(q8_0.tensor_len(&[1 << 62, 1]), Some((1 << 57) * 34));
        let f64 = Kind::of_name("f64").unwrap();
        assert_eq!(f64.tensor_len(&[]), Some(8));
        assert_eq!(f64.tensor_len(&[1 << 61]), None);
    }
}
