//! A model in several files: their names, and the entries that tie them together.
//!
//! Source: `llama_split_path` and `llama_split_prefix` of llama.cpp, `SHARD_NAME_FORMAT` of gguf-py.

/// The key of this file's place among its siblings, from 0; a `u16`.
pub const SPLIT_NO: &str = "split.no";

/// The key of the number of files; a `u16`.
pub const SPLIT_COUNT: &str = "split.count";

/// The key of the number of tensors in all the files together; an `i32`.
pub const SPLIT_TENSORS_COUNT: &str = "split.tensors.count";

/// The parts of a file name such as `model-00001-of-00003.gguf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitName<'a> {
    /// What comes before the numbers.
    pub prefix: &'a str,
    /// The place among the siblings, from 0 as in [`SPLIT_NO`]; the name counts from 1.
    pub no: u16,
    /// The number of files.
    pub count: u16,
}

/// The file name of part `no` (from 0) of `count`: `split_name("m", 0, 3)` is
/// `m-00001-of-00003.gguf`.
pub fn split_name(prefix: &str, no: u16, count: u16) -> String {
    let place = u32::from(no).saturating_add(1);
    format!("{prefix}-{place:05}-of-{count:05}.gguf")
}

/// The parts of a file name, if [`split_name`] could have made it.
pub fn parse_split_name(name: &str) -> Option<SplitName<'_>> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, place) = rest.rsplit_once('-')?;
    let number = |digits: &str| {
        let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten()
    };
    let (place, count) = (number(place)?, number(count)?);
    let no = place.checked_sub(1).filter(|&no| no < count)?;
    Some(SplitName { prefix, no, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        assert_eq!(split_name("m-7b", 0, 3), "m-7b-00001-of-00003.gguf");
        let parts = SplitName { prefix: "m-7b", no: 2, count: 3 };
        assert_eq!(parse_split_name(&split_name("m-7b", 2, 3)), Some(parts));
        let last = split_name("m", u16::MAX - 1, u16::MAX);
        assert_eq!(parse_split_name(&last).map(|name| name.no), Some(u16::MAX - 1));
    }

    #[test]
    fn other_names_are_not_of_a_split() {
        for name in [
            "m.gguf",
            "m-00001-of-00003.safetensors",
            "m-1-of-3.gguf",
            "m-00000-of-00003.gguf",
            "m-00004-of-00003.gguf",
            "m-99999-of-99999.gguf",
            "m-+0001-of-00003.gguf",
            "00001-of-00003.gguf",
        ] {
            assert_eq!(parse_split_name(name), None, "{name}");
        }
    }
}
