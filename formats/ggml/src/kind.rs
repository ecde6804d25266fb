//! The types of tensors by their numbers, which meant other blocks at other times.

/// Which blocks the numbers of kinds stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocks {
    /// Neighbouring weights share a byte; scales are f32 or f16, by kind.
    First,
    /// From 12 May 2023 (llama.cpp #1405): weights 16 apart share a byte.
    Second,
    /// From 19 May 2023 (llama.cpp #1508): all scales are f16. The blocks of today's ggml.
    Today,
}

/// The type of a tensor: how many weights share how many bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its number in a file.
    pub id: u32,
    /// Its name: that of ggml where the blocks are today's, else with `_v1` or `_v2` added, for
    /// the version of ggjt that had them last.
    pub name: &'static str,
    /// Weights in a block.
    pub len: u64,
    /// Bytes in a block.
    pub bytes: u64,
    first: Blocks,
    last: Blocks,
}

const fn kind(id: u32, name: &'static str, len: u64, bytes: u64, times: (Blocks, Blocks)) -> Kind {
    Kind { id, name, len, bytes, first: times.0, last: times.1 }
}

const ALWAYS: (Blocks, Blocks) = (Blocks::First, Blocks::Today);
const FIRST: (Blocks, Blocks) = (Blocks::First, Blocks::First);
const SECOND: (Blocks, Blocks) = (Blocks::Second, Blocks::Second);
const BEFORE: (Blocks, Blocks) = (Blocks::First, Blocks::Second);
const SINCE: (Blocks, Blocks) = (Blocks::Second, Blocks::Today);
const TODAY: (Blocks, Blocks) = (Blocks::Today, Blocks::Today);

/// By the numbers of ggml's `enum ggml_type`. Number 5 was Q4_3, for a week.
#[rustfmt::skip]
pub(crate) static GGML: &[Kind] = &[
    kind(0,  "f32",     1,   4,   ALWAYS),
    kind(1,  "f16",     1,   2,   ALWAYS),
    kind(2,  "q4_0_v1", 32,  20,  FIRST),
    kind(2,  "q4_0_v2", 32,  20,  SECOND),
    kind(2,  "q4_0",    32,  18,  TODAY),
    kind(3,  "q4_1_v1", 32,  24,  FIRST),
    kind(3,  "q4_1_v2", 32,  24,  SECOND),
    kind(3,  "q4_1",    32,  20,  TODAY),
    // Two of its blocks of 16: no row has an odd number of them.
    kind(4,  "q4_2_v1", 32,  20,  FIRST),
    kind(6,  "q5_0_v1", 32,  22,  FIRST),
    kind(6,  "q5_0",    32,  22,  SINCE),
    kind(7,  "q5_1_v1", 32,  24,  FIRST),
    kind(7,  "q5_1",    32,  24,  SINCE),
    kind(8,  "q8_0_v2", 32,  36,  BEFORE),
    kind(8,  "q8_0",    32,  34,  TODAY),
    kind(10, "q2_k",    256, 84,  TODAY),
    kind(11, "q3_k",    256, 110, TODAY),
    kind(12, "q4_k",    256, 144, TODAY),
    kind(13, "q5_k",    256, 176, TODAY),
    kind(14, "q6_k",    256, 210, TODAY),
];

/// By the numbers of rwkv.cpp's `enum rwkv_type`, whose later ones are other than ggml's. Numbers 4
/// to 6 were Q4_1_O, Q4_2 and Q4_3.
#[rustfmt::skip]
pub(crate) static RWKV: &[Kind] = &[
    kind(0, "f32",  1,  4,  ALWAYS),
    kind(1, "f16",  1,  2,  ALWAYS),
    kind(2, "q4_0", 32, 18, TODAY),
    kind(3, "q4_1", 32, 20, TODAY),
    kind(7, "q5_0", 32, 22, TODAY),
    kind(8, "q5_1", 32, 24, TODAY),
    kind(9, "q8_0", 32, 34, TODAY),
];

/// What a number means in a file with such blocks.
pub(crate) fn find(kinds: &'static [Kind], id: u32, blocks: Blocks) -> Option<&'static Kind> {
    kinds.iter().find(|kind| kind.id == id && (kind.first..=kind.last).contains(&blocks))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number means one thing at a time, and a name one number.
    #[test]
    fn numbers_and_names_are_unambiguous() {
        for kinds in [GGML, RWKV] {
            for (i, kind) in kinds.iter().enumerate() {
                for other in &kinds[..i] {
                    let apart = kind.first > other.last || other.first > kind.last;
                    assert!(kind.id != other.id || apart, "{}", kind.name);
                    assert_ne!(kind.name, other.name);
                }
            }
        }
    }
}
