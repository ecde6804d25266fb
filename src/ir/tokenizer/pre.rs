//! How text is cut into words before they are looked up: a list of steps.

use std::borrow::Cow;
use std::ops::Range;

use super::spm::SPACE;
use super::{Normal, Pattern, normal};
use crate::ir::Result;

/// How text is cut into words.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pre {
    /// The name that llama.cpp gives to this way of cutting, where it has one.
    pub name: Option<String>,
    /// How text is rewritten first, in order.
    pub normal: Vec<Normal>,
    /// What is done to the text then, in order.
    pub steps: Vec<Step>,
}

/// One step of cutting text, applied to each piece that the step before left.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// A piece that does not begin with a space is given one.
    PrefixSpace,
    /// Each piece is cut where a pattern matches.
    Split(Split),
    /// Each byte becomes a letter of the alphabet of byte-level vocabularies.
    Bytes,
    /// Spaces are spelled `▁`.
    Metaspace(Metaspace),
}

/// Spelling spaces as Hugging Face's library does for SentencePiece's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metaspace {
    /// Where a space is put before a piece that begins with none.
    pub prepend: Prepend,
    /// Each space begins a piece.
    pub split: bool,
}

/// Where a space is put before a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepend {
    /// Before each.
    Always,
    /// Before what the text begins with.
    First,
    /// Nowhere.
    Never,
}

/// Cutting at the matches of a pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Where to cut.
    pub pattern: Pattern,
    /// What becomes of the matches.
    pub keep: Keep,
    /// Matches and what lies between them change places.
    pub invert: bool,
}

/// What becomes of the matches of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Each is a piece.
    Isolated,
    /// They are left out.
    Removed,
    /// Neighbouring matches are one piece.
    Contiguous,
    /// Each belongs to what lies before it.
    WithPrevious,
    /// Each belongs to what lies after it.
    WithNext,
}

/// Text on its way through the steps: the pieces are ranges of it.
struct Cut<'a> {
    text: Cow<'a, str>,
    pieces: Vec<Range<usize>>,
}

impl Pre {
    /// The text as the steps expect it.
    ///
    /// # Errors
    /// Limit if a pattern gives up on the text, or if the text becomes many times as long.
    pub fn normalize<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        normal::apply(&self.normal, text)
    }

    /// Whether words come out in the alphabet of bytes.
    pub fn is_byte_level(&self) -> bool {
        self.steps.contains(&Step::Bytes)
    }

    /// Calls `word` with each word of a normalized text, or of a part of one: `is_first` where
    /// nothing stands before it.
    ///
    /// # Errors
    /// Limit if a pattern gives up on the text; whatever `word` returns.
    pub fn each(
        &self,
        text: &str,
        is_first: bool,
        mut word: impl FnMut(&str) -> Result<()>,
    ) -> Result<()> {
        let mut cut = Cut { text: Cow::Borrowed(text), pieces: Vec::new() };
        if !text.is_empty() {
            cut.pieces.push(0..text.len());
        }
        for step in &self.steps {
            match step {
                Step::PrefixSpace => cut.rewrite(|_, piece, out| prefix_space(piece, out)),
                Step::Bytes => cut.rewrite(|_, piece, out| out.extend(piece.bytes().map(letter))),
                Step::Split(split) => cut.split(split)?,
                Step::Metaspace(spaces) => cut.spell(*spaces, is_first),
            }
        }
        cut.pieces.into_iter().try_for_each(|piece| word(&cut.text[piece]))
    }
}

fn prefix_space(piece: &str, out: &mut String) {
    if !piece.starts_with(' ') {
        out.push(' ');
    }
    out.push_str(piece);
}

impl Cut<'_> {
    /// `change` is given where a piece begins in the text so far, and the piece.
    fn rewrite(&mut self, change: impl Fn(usize, &str, &mut String)) {
        let mut out = String::with_capacity(self.text.len() * 2);
        for piece in &mut self.pieces {
            let start = out.len();
            change(piece.start, &self.text[piece.clone()], &mut out);
            *piece = start..out.len();
        }
        self.text = Cow::Owned(out);
    }

    fn spell(&mut self, spaces: Metaspace, is_first: bool) {
        self.rewrite(|at, piece, out| {
            let wanted = match spaces.prepend {
                Prepend::Always => true,
                Prepend::First => is_first && at == 0,
                Prepend::Never => false,
            };
            if wanted && !piece.starts_with([' ', SPACE]) {
                out.push(SPACE);
            }
            out.extend(piece.chars().map(|c| if c == ' ' { SPACE } else { c }));
        });
        if spaces.split {
            let text = &self.text;
            let words = |piece: &Range<usize>| {
                let inner = text[piece.clone()].match_indices(SPACE).map(|(at, _)| at);
                let starts = std::iter::once(0).chain(inner.filter(|at| *at > 0));
                let starts: Vec<usize> = starts.map(|at| piece.start + at).collect();
                let ends = starts.iter().skip(1).copied().chain([piece.end]).collect::<Vec<_>>();
                starts.into_iter().zip(ends).map(|(start, end)| start..end)
            };
            self.pieces = self.pieces.iter().flat_map(words).collect();
        }
    }

    fn split(&mut self, split: &Split) -> Result<()> {
        let mut pieces = Vec::with_capacity(self.pieces.len());
        let mut parts = Vec::new();
        for piece in &self.pieces {
            parts.clear();
            split.parts(&self.text[piece.clone()], &mut parts)?;
            let moved = |range: Range<usize>| piece.start + range.start..piece.start + range.end;
            let filled = split.keep.join(&mut parts).into_iter().filter(|part| !part.is_empty());
            pieces.extend(filled.map(moved));
        }
        self.pieces = pieces;
        Ok(())
    }
}

impl Split {
    /// Matches (true) and what lies between them (false), in order, without a gap.
    fn parts(&self, text: &str, parts: &mut Vec<(Range<usize>, bool)>) -> Result<()> {
        let mut end = 0;
        self.pattern.each(text, |one| {
            if one.start > end {
                parts.push((end..one.start, self.invert));
            }
            end = one.end;
            parts.push((one, !self.invert));
        })?;
        if end < text.len() {
            parts.push((end..text.len(), self.invert));
        }
        Ok(())
    }
}

impl Keep {
    /// The pieces that are made of matches and gaps, as `SplitDelimiterBehavior` of Hugging
    /// Face's tokenizers has it.
    fn join(self, parts: &mut [(Range<usize>, bool)]) -> Vec<Range<usize>> {
        let mut out: Vec<Range<usize>> = Vec::with_capacity(parts.len());
        let mut was_match = None;
        if self == Self::WithNext {
            parts.reverse();
        }
        for (part, is_match) in parts.iter() {
            let joins = match self {
                Self::Isolated | Self::Removed => false,
                Self::Contiguous => was_match == Some(*is_match),
                Self::WithPrevious | Self::WithNext => *is_match && was_match == Some(false),
            };
            was_match = Some(*is_match);
            match out.last_mut() {
                Some(last) if joins => {
                    *last = last.start.min(part.start)..last.end.max(part.end);
                }
                _ if self == Self::Removed && *is_match => {}
                _ => out.push(part.clone()),
            }
        }
        if self == Self::WithNext {
            out.reverse();
        }
        out
    }
}

/// The letter of a byte: itself where it is printable Latin-1, else one from U+0100 on, counted
/// in the order of the bytes. From GPT-2's `bytes_to_unicode`.
pub fn letter(byte: u8) -> char {
    let beyond = match byte {
        0..=0x20 => u32::from(byte),
        0x7f..=0xa0 => u32::from(byte) - 0x7f + 0x21,
        0xad => 0x43,
        _ => return char::from(byte),
    };
    char::from_u32(0x100 + beyond).unwrap_or('\u{fffd}')
}

/// The byte of a letter.
pub fn byte(letter: char) -> Option<u8> {
    let byte = match u32::from(letter) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The byte of a token spelled `<0x0A>`.
pub fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_bytes_are_one_to_one() {
        for value in 0..=u8::MAX {
            assert_eq!(byte(letter(value)), Some(value));
        }
        let known = [(b'A', 'A'), (b' ', 'Ġ'), (b'\n', 'Ċ'), (0x7f, 'ġ'), (0xa0, 'ł'), (0xad, 'Ń')];
        for (value, expected) in known {
            assert_eq!(letter(value), expected);
        }
        assert_eq!(byte('字'), None);
    }

    #[test]
    fn byte_tokens_are_two_hex_digits() {
        assert_eq!(hex_byte("<0x0A>"), Some(10));
        for bad in ["<0x-1>", "<0x+1>", "<0xA>", "<0x00A>", "0x0A", "<0xé>"] {
            assert_eq!(hex_byte(bad), None, "{bad}");
        }
    }
}
