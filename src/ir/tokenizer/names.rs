//! The ways of cutting text that llama.cpp has names for, and recognising them.
//!
//! A GGUF file does not hold the patterns; it holds a name, `tokenizer.ggml.pre`. Each row gives
//! the steps as the tokenizer.json of the model that it is named after has them (llama.cpp
//! approximates some of them, since its engine knows few classes). A tokenizer gets the name of
//! the first row with its steps, so no list of known models is needed.
//!
//! Names and defaults: llama.cpp, `src/llama-vocab.cpp`, `llama_vocab::impl::load`.

use super::wordpiece::MARK;
use super::{Keep, Pattern, Pre, Split, Step};
use crate::ir::{Error, Result};

/// One way of cutting text.
pub struct Row {
    /// Its names; the first is the one that is written.
    pub names: &'static [&'static str],
    /// Patterns to cut at, in order, each match a piece; [`BYTES`] is the byte-level alphabet.
    pub steps: &'static [&'static str],
    /// A word that is a token is that token, whatever the merges would make of it.
    pub ignore_merges: bool,
    /// BOS is added unless the file says otherwise.
    pub adds_bos: bool,
}

/// Stands for [`Step::Bytes`] in a row.
pub const BYTES: &str = "";

/// GPT-2's own pattern, which is also that of Hugging Face's ByteLevel.
pub const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const QWEN35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const NO_CONTRACTIONS: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const YOUTU: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Letters that have case. Escaped are those that an editor might replace by their equivalents.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚ",
    "Ḁ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u{1f7d}ᾀ-ᾴᾶ-ᾼ\u{1fbe}ῂ-ῄῆ-ῌῐ-\u{1fd3}ῖ-\u{1fdb}ῠ-Ῥῲ-ῴῶ-ῼ",
    "ℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿ",
    "ﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
);
const DEEPSEEK_MARKS: &str = "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+";
const DEEPSEEK_CJK: &str = "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
const DEEPSEEK3_CJK: &str = "[\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
const BAILING: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
);
const SEED_CODER: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const EXAONE_MOE: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
);
const MINICPM5: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const JAIS2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)",
    r"|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
);
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const ALL_MARKS: &str = r"[\p{P}$+<=>^`|~]+";
const SPARK: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
);
/// Kimi's own, from its `tokenization_kimi.py`: Chinese is cut from other letters.
const KIMI: &str = concat!(
    r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Digits in threes, counted from the right.
const THREES: &str = r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))";
const AFMOE_SCRIPTS: &str = concat!(
    "[\u{4e00}-\u{9fff}\u{3400}-\u{4dbf}\u{f900}-\u{faff}\u{3040}-\u{309f}\u{30a0}-\u{30ff}",
    "\u{ff65}-\u{ff9f}\u{2f00}-\u{2fdf}\u{e40}-\u{e7f}\u{e80}-\u{eff}\u{1780}-\u{17ff}",
    "\u{1000}-\u{109f}\u{aa60}-\u{aa7f}\u{a9e0}-\u{a9ff}\u{ac00}-\u{d7af}\u{1100}-\u{11ff}]+",
);
const YOUTU_SCRIPTS: &str =
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-ゟ゠-ヿ]+";

const fn row(names: &'static [&'static str], steps: &'static [&'static str]) -> Row {
    Row { names, steps, ignore_merges: false, adds_bos: false }
}

/// Every way of cutting that is known by name. Where two rows have the same steps, the first
/// that agrees about merges is recognised.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    row(&["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0",
          "mellum", "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais",
          "trillion", "granite-docling", "exaone4"],                       &[GPT2, BYTES]),
    row(&["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b",
          "mellum2"],                                                      &[r"\p{N}", GPT2, BYTES]),
    Row { ignore_merges: true, adds_bos: true, ..row(
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
          "jina-v5-nano"],                                                 &[LLAMA3, BYTES]) },
    row(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"],                     &[LLAMA3, BYTES]),
    row(&["qwen2", "stablelm2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "hunyuan",
          "solar-open", "grok-2"],                                         &[QWEN2, BYTES]),
    row(&["qwen35"],                                                       &[QWEN35, BYTES]),
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],          &[GPT4O, BYTES]),
    Row { ignore_merges: true, ..row(
        &["granite-embed-multi-97m"],                                      &[GPT4O, BYTES]) },
    Row { ignore_merges: true, adds_bos: true, ..row(
        &["tekken"],                                                       &[TEKKEN, BYTES]) },
    row(&["deepseek-llm"],     &[r"[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_MARKS, r"\s+$", DEEPSEEK_CJK, r"\p{N}", BYTES]),
    row(&["deepseek-coder"],   &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK, r"\p{N}", BYTES]),
    row(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
                               &[r"\p{N}{1,3}", DEEPSEEK3_CJK, DEEPSEEK3, BYTES]),
    row(&["falcon"],           &[ALL_MARKS, GPT2, BYTES, r"\p{N}+", "[0-9][0-9][0-9]"]),
    row(&["bloom", "poro-chat", "gpt3-finnish"],                           &[BLOOM, BYTES]),
    row(&["viking"],                                                       &[BLOOM, r"\p{N}", BYTES]),
    row(&["bailingmoe", "bailingmoe2", "llada-moe"],                       &[BAILING, BYTES]),
    row(&["seed-coder"],                                                   &[SEED_CODER, BYTES]),
    row(&["exaone-moe"],                                                   &[EXAONE_MOE, BYTES]),
    row(&["ufakzeka"],                                                     &[NO_CONTRACTIONS, BYTES]),
    row(&["laguna"],                                                       &[r"[^\n]+|[\n]+", QWEN2, BYTES]),
    row(&["jais-2"],                                                       &[JAIS2, BYTES]),
    row(&["tiny_aya", "cohere2moe"], &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O, BYTES]),
    Row { ignore_merges: true, ..row(
        &["minicpm5"],                                                     &[r"\p{N}{1,3}", MINICPM5, BYTES]) },
    Row { ignore_merges: true, ..row(
        &["youtu"],                                                        &[YOUTU_SCRIPTS, YOUTU, BYTES]) },
    row(&["spark2_5"], &[r"\p{N}{1,3}", DEEPSEEK3_CJK, SPARK, r"\p{N}", BYTES]),
    row(&["kimi-k2"],                                                      &[KIMI, BYTES]),
    row(&["superbpe"],                               &[r"\p{N}+", r"(?=(\d{3})+(?!\d))", BYTES]),
    row(&["afmoe"],                                  &[THREES, AFMOE_SCRIPTS, DEEPSEEK3, BYTES]),
    Row { adds_bos: true, ..row(
        &["chameleon"], &["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                          r"([\t\n]|    |  )", r"\p{N}", MARK, GPT2, BYTES]) },
    row(&["default"],          &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]", BYTES]),
];

/// The row of a name.
pub fn row_of(name: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.names.contains(&name))
}

impl Row {
    /// The steps, compiled.
    ///
    /// # Errors
    /// None that the tests would let pass: the patterns are ours.
    pub fn steps(&self) -> Result<Vec<Step>> {
        let step = |text: &&str| match *text {
            BYTES => Ok(Step::Bytes),
            text => Split::isolated(text).map(Step::Split),
        };
        self.steps.iter().map(step).collect()
    }

    fn cuts_like(&self, steps: &[Step]) -> bool {
        let steps: Vec<_> = steps.iter().filter(|step| **step != Step::PrefixSpace).collect();
        let same = |(ours, theirs): (&&str, &&Step)| match theirs {
            Step::Split(split) => split.is_isolated_at(ours),
            Step::Bytes => ours.is_empty(),
            Step::PrefixSpace | Step::Metaspace(_) => false,
        };
        steps.len() == self.steps.len() && self.steps.iter().zip(&steps).all(same)
    }
}

impl Split {
    /// Each match of a pattern is a piece.
    ///
    /// # Errors
    /// What [`Pattern::new`] says.
    pub fn isolated(pattern: &str) -> Result<Self> {
        Ok(Self { pattern: Pattern::new(pattern)?, keep: Keep::Isolated, invert: false })
    }

    /// Removing what does not match comes to the same where everything matches.
    fn is_isolated_at(&self, pattern: &str) -> bool {
        let keeps_matches = match self.keep {
            Keep::Isolated => true,
            Keep::Removed => self.invert && pattern.ends_with(r"|\s+"),
            _ => false,
        };
        keeps_matches && !pattern.is_empty() && self.pattern.is_written(pattern)
    }
}

/// The name of a way of cutting; nothing if llama.cpp has none.
pub fn find(pre: &Pre, ignore_merges: bool) -> Option<&'static str> {
    let is_same = |row: &&Row| row.ignore_merges == ignore_merges && row.cuts_like(&pre.steps);
    ROWS.iter().find(is_same).and_then(|row| row.names.first()).copied()
}

/// The name to write for a way of cutting: the one that the user gave, or its own.
///
/// # Errors
/// Unsupported if it has none; the message shows the steps.
pub fn recognise(pre: &Pre, ignore_merges: bool, asked: Option<&str>) -> Result<String> {
    if let Some(name) = asked.filter(|name| !ROWS.iter().any(|row| row.names.contains(name))) {
        let known: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
        let known = known.join(", ");
        return Err(Error::usage(format!("--pre {name}: llama.cpp knows {known}")));
    }
    let own = || pre.name.clone().or_else(|| find(pre, ignore_merges).map(str::to_owned));
    asked.map(str::to_owned).or_else(own).ok_or_else(|| {
        let steps: Vec<String> = pre.steps.iter().map(Step::to_string).collect();
        let merges = if ignore_merges { ", ignore_merges" } else { "" };
        let shown = steps.join(" → ");
        Error::unsupported(format!(
            "llama.cpp has no name for this pre-tokenizer: {shown}{merges}; name the nearest with \
             --pre NAME"
        ))
    })
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PrefixSpace => f.write_str("PrefixSpace"),
            Self::Bytes => f.write_str("ByteLevel"),
            Self::Metaspace(_) => f.write_str("Metaspace"),
            Self::Split(split) => {
                let invert = if split.invert { ", inverted" } else { "" };
                write!(f, "Split({}, {:?}{invert})", split.pattern.text(), split.keep)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_compiles_and_is_recognised_by_its_steps() {
        let mut names: Vec<&str> = ROWS.iter().flat_map(|row| row.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is in two rows");
        for row in ROWS {
            let steps = row.steps().expect("our own patterns compile");
            let pre = Pre { name: None, normal: Vec::new(), steps };
            assert_eq!(find(&pre, row.ignore_merges), Some(row.names[0]));
        }
    }

    /// All names of `llama_vocab::impl::load` in October 2026 but for `whitespace`, which is not
    /// byte-level, and those whose text is SentencePiece's.
    #[test]
    fn every_name_of_llama_cpp_has_a_row() {
        let names = "a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe \
            command-r dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone \
            exaone-moe exaone4 f2llmv2 falcon falcon-h1 falcon3 gigachat glm4 gpt-2 gpt-4o gpt3-finnish \
            granite-docling granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de \
            jina-es jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 \
            kormo laguna lfm2 llada-moe llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 \
            minerva-7b minicpm5 minimax-m2 modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact \
            roberta-bpe seed-coder smaug-bpe smollm solar-open spark2_5 stablelm2 starcoder superbpe talkie \
            tekken tiny_aya trillion ufakzeka viking youtu";
        for name in names.split_whitespace() {
            assert!(row_of(name).is_some(), "{name}");
        }
    }

    #[test]
    fn spellings_of_llama_cpp_are_recognised() {
        let pattern = concat!(
            r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        );
        let steps = vec![Step::Split(Split::isolated(pattern).expect("compiles")), Step::Bytes];
        let pre = Pre { name: None, normal: Vec::new(), steps };
        assert_eq!(find(&pre, true), Some("llama-bpe"));
        assert_eq!(find(&pre, false), Some("dbrx"));
    }

    #[test]
    fn without_a_name_the_steps_and_the_option_are_shown() {
        let steps = vec![Step::Split(Split::isolated("[xyz]").expect("compiles")), Step::Bytes];
        let pre = Pre { name: None, normal: Vec::new(), steps };
        let error = recognise(&pre, false, None).expect_err("unknown").to_string();
        assert!(error.contains("Split([xyz], Isolated) → ByteLevel"), "{error}");
        assert!(error.contains("--pre NAME"), "{error}");
        assert_eq!(recognise(&pre, false, Some("gpt-2")), Ok("gpt-2".to_owned()));
    }
}
