//! How text is rewritten before it is cut: a list of steps, as Hugging Face's library has them.
//!
//! Where a step asks for a class of characters, the library's tables are of Unicode 8; here they are
//! today's, so characters that have been assigned since may differ.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::is_combining_mark;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::{Charsmap, Pattern};
use crate::ir::{Error, Result};

/// How many times as long as it was a text may become, and the length that any may have.
const GROWTH_MAX: usize = 32;
const SHORT: usize = 64 << 10;

/// One step of rewriting a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Normal {
    /// Into one of Unicode's forms.
    Form(Form),
    /// Letters lose their case.
    Lowercase,
    /// Marks that combine with a letter are left out.
    StripAccents,
    /// Controls are left out, odd spaces become spaces: what nmt_nfkc does before NFKC.
    Nmt,
    /// White space at the ends is left out.
    Strip {
        /// Before the text.
        left: bool,
        /// After the text.
        right: bool,
    },
    /// A text that is not empty is given a beginning.
    Prepend(String),
    /// Each match of a pattern is replaced.
    Replace {
        /// What is replaced.
        pattern: Pattern,
        /// By what.
        content: String,
    },
    /// SentencePiece's rules, as Hugging Face's library applies them.
    Charsmap(Charsmap),
    /// What BERT does.
    Bert(Bert),
}

/// Unicode's forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "Unicode's own names")]
pub enum Form {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
}

/// What BERT does to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bert {
    /// Controls are left out, white space becomes spaces.
    pub clean: bool,
    /// Chinese characters are words of their own.
    pub han: bool,
    /// Accents are left out.
    pub strip_accents: bool,
    /// Letters lose their case.
    pub lowercase: bool,
}

/// Applies steps to a text.
///
/// # Errors
/// Limit if a pattern gives up on the text, or if the text becomes many times as long.
pub fn apply<'t>(steps: &[Normal], text: &'t str) -> Result<Cow<'t, str>> {
    let bound = SHORT.max(text.len().saturating_mul(GROWTH_MAX));
    let mut text = Cow::Borrowed(text);
    for step in steps {
        if let Some(changed) = step.apply(&text, bound)? {
            text = Cow::Owned(changed);
        }
        if text.len() > bound {
            return Err(too_long(bound));
        }
    }
    Ok(text)
}

fn too_long(bound: usize) -> Error {
    Error::limit(format!("the normalizer makes more than {bound} bytes of this text"))
}

impl Normal {
    /// The changed text; nothing if it stays.
    fn apply(&self, text: &str, bound: usize) -> Result<Option<String>> {
        Ok(match self {
            Self::Form(form) => form.apply(text),
            Self::Lowercase => Some(lowercase(text)),
            Self::StripAccents => Some(text.chars().filter(|c| !is_combining_mark(*c)).collect()),
            Self::Nmt => Some(text.chars().filter_map(nmt).collect()),
            Self::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                Some(if *right { text.trim_end() } else { text }.to_owned())
            }
            Self::Prepend(_) if text.is_empty() => None,
            Self::Prepend(start) => Some(format!("{start}{text}")),
            Self::Replace { pattern, content } => Some(replace(pattern, content, text, bound)?),
            Self::Charsmap(rules) => Some(rules.replace_clusters(text)),
            Self::Bert(bert) => Some(bert.apply(text)),
        })
    }
}

impl Form {
    fn apply(self, text: &str) -> Option<String> {
        Some(match self {
            Self::Nfc if is_nfc_quick(text.chars()) == IsNormalized::Yes => return None,
            Self::Nfc => text.nfc().collect(),
            Self::Nfd => text.nfd().collect(),
            Self::Nfkc => text.nfkc().collect(),
            Self::Nfkd => text.nfkd().collect(),
        })
    }
}

/// Letter by letter: a final sigma is like others.
fn lowercase(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// `do_nmt` of Hugging Face's library, after SentencePiece's rules of that name.
fn nmt(letter: char) -> Option<char> {
    match u32::from(letter) {
        0x01..=0x08 | 0x0b | 0x0e..=0x1f | 0x7f | 0x8f | 0x9f => None,
        0x09 | 0x0a | 0x0c | 0x0d | 0x1680 | 0x200b..=0x200f | 0x2028 | 0x2029 | 0x2581 => {
            Some(' ')
        }
        0xfeff | 0xfffd => Some(' '),
        _ => Some(letter),
    }
}

fn replace(pattern: &Pattern, content: &str, text: &str, bound: usize) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    pattern.each(text, |found| {
        if out.len() <= bound {
            out.push_str(&text[done..found.start]);
            out.push_str(content);
        }
        done = found.end;
    })?;
    if out.len() > bound {
        return Err(too_long(bound));
    }
    out.push_str(&text[done..]);
    Ok(out)
}

/// Controls, formats and private use.
static CONTROL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"[\p{Cc}\p{Cf}\p{Co}]").ok());
/// Marks that take no room.
static NONSPACING: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{Mn}").ok());

/// Whether a class has a character; those of ASCII are known without asking.
fn is_in(class: &LazyLock<Option<Regex>>, letter: char) -> bool {
    class.as_ref().is_some_and(|class| class.is_match(letter.encode_utf8(&mut [0; 4])))
}

impl Bert {
    fn apply(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 4);
        for letter in text.chars().filter(|letter| !self.clean || !is_control(*letter)) {
            let letter = if self.clean && letter.is_whitespace() { ' ' } else { letter };
            if self.han && is_han(letter) {
                out.extend([' ', letter, ' ']);
            } else {
                out.push(letter);
            }
        }
        if self.strip_accents && !out.is_ascii() {
            out = out.nfd().filter(|c| c.is_ascii() || !is_in(&NONSPACING, *c)).collect();
        }
        if self.lowercase { lowercase(&out) } else { out }
    }
}

fn is_control(letter: char) -> bool {
    match letter {
        '\t' | '\n' | '\r' | ' '..='~' => false,
        '\0'..='\x7f' | '\u{fffd}' => true,
        _ => is_in(&CONTROL, letter),
    }
}

/// The blocks that BERT's own code lists, but for its misprint of U+2B820, which is the library's.
fn is_han(letter: char) -> bool {
    matches!(u32::from(letter),
        0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x2_a6df
        | 0x2_a700..=0x2_b73f | 0x2_b740..=0x2_b81f | 0x2_b920..=0x2_ceaf | 0x2_f800..=0x2_fa1f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts are those of tokenizers 0.23.3, `normalizers.*.normalize_str`.
    #[test]
    fn steps_are_those_of_hugging_faces_library() {
        let bert = Bert { clean: true, han: true, strip_accents: true, lowercase: true };
        let replaced = |pattern, content: &str| Normal::Replace {
            pattern: Pattern::new(pattern).expect("a pattern"),
            content: content.into(),
        };
        let cases = [
            (Normal::Form(Form::Nfkc), "ﬁ²Å", "fi2Å"),
            (Normal::Lowercase, "ΣΑΣ İ", "σασ i\u{307}"),
            (Normal::StripAccents, "e\u{301}é\u{903}", "eé"),
            (Normal::Nmt, "a\u{1}\tb\u{200b}▁", "a b  "),
            (Normal::Strip { left: false, right: true }, " a\u{a0} ", " a"),
            (Normal::Prepend("▁".into()), "", ""),
            (replaced(" {2,}", "▁"), "a   b c  ", "a▁b c▁"),
            (Normal::Bert(bert), "É\u{0}字 a\tΣ\u{ad}", "e 字  a σ"),
        ];
        for (step, text, expected) in cases {
            assert_eq!(apply(std::slice::from_ref(&step), text).expect("short"), expected);
        }
    }

    #[test]
    fn texts_that_grow_without_end_are_refused() {
        let pattern = Pattern::new("a").expect("a pattern");
        let double = Normal::Replace { pattern, content: "aa".into() };
        let steps = vec![double; 64];
        assert_eq!(apply(&steps, "a").expect_err("too long").fault, crate::ir::Fault::Limit);
    }
}
