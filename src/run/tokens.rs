//! Text to token ids and back, as the tokenizer's own library has it.
//!
//! Added tokens are cut out of the text first, the leftmost and longest; what lies between is
//! normalized and cut into words, and the merges join each word's letters. Time is n log n in the
//! length of a word (of a text, for SentencePiece); a pattern that gives up is an error, never a
//! wait.

mod added;
mod merges;
mod spm;
mod trie;
mod unigram;
mod wordpiece;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::ir::tokenizer::spm::SPACE;
use crate::ir::tokenizer::{
    Added, Class, Kind, Pre, Prepend, Spelling, Step, Text, Token, Tokenizer, pre,
};
use crate::ir::{Error, Result};

use added::{Finder, Segment};
use merges::Merges;
use spm::Pieces;
use unigram::Lattice;
use wordpiece::Words as WordPieces;

/// A tokenizer made ready.
pub struct Encoder {
    words: Words,
    /// Tokens looked for in the text as it is, and in the normalized text.
    added: [Finder; 2],
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// The bytes of each token.
    pieces: Vec<Box<[u8]>>,
    special: BTreeSet<u32>,
    /// What decoded text begins with and did not come from the text.
    start: Start,
    /// Spaces before punctuation are taken from decoded text: [`CLEANUP`].
    cleanup: bool,
}

/// What encoding put before a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Nothing,
    Space,
    /// All spaces of the first token: so Hugging Face's Metaspace has it.
    Spaces,
}

/// What WordPiece's decoder replaces in each token: `cleanup` of Hugging Face's library.
const CLEANUP: &[(&str, &str)] = &[
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// How text between added tokens becomes ids.
enum Words {
    Merges(Pre, Box<Merges>),
    Pieces(Pieces),
    Lattice(Box<Lattice>),
    WordPieces(WordPieces),
}

impl Words {
    fn new(tokenizer: &Tokenizer) -> Result<Self> {
        Ok(match &tokenizer.kind {
            Kind::Bpe(bpe) => {
                let merges = Box::new(Merges::new(&tokenizer.tokens, bpe)?);
                Self::Merges(bpe.pre.clone(), merges)
            }
            Kind::Spm(spm) => Self::Pieces(Pieces::new(tokenizer, spm)?),
            Kind::Unigram(unigram) => Self::Lattice(Box::new(Lattice::new(tokenizer, unigram)?)),
            Kind::WordPiece(model) => Self::WordPieces(WordPieces::new(tokenizer, model)),
        })
    }

    /// A text, or the added token that is looked for in one, as its pieces spell it.
    fn normalize<'t>(&self, text: &'t str, is_first: bool) -> Result<Cow<'t, str>> {
        match self {
            Self::Merges(pre, _) => pre.normalize(text),
            Self::WordPieces(words) => words.model().pre.normalize(text),
            Self::Pieces(pieces) => Ok(Cow::Owned(pieces.spell(text, is_first))),
            Self::Lattice(lattice) => match lattice.text() {
                Text::Cut(pre) => pre.normalize(text),
                Text::Spelled(spelling) => {
                    let spelled = spelling.spell(text, is_first, |text| lattice.kept(text));
                    Ok(Cow::Owned(spelled))
                }
            },
        }
    }

    /// Whether an added token is cut out of the text, not found in it as other pieces are.
    fn cuts_out(&self, added: &Added) -> bool {
        match self {
            Self::Lattice(lattice) => !(lattice.finds_added() && added.normalized),
            _ => true,
        }
    }

    fn encode(&self, text: &str, is_first: bool, out: &mut Vec<u32>) -> Result<()> {
        if u32::try_from(text.len()).is_err() {
            let found = format!("a text of {} bytes, expected below 4 GiB", text.len());
            return Err(Error::limit(found));
        }
        match self {
            Self::Merges(pre, merges) => pre.each(text, is_first, |word| {
                merges.join(word, out);
                Ok(())
            }),
            Self::WordPieces(words) => words.model().pre.each(text, is_first, |word| {
                words.spell(word, out);
                Ok(())
            }),
            Self::Lattice(lattice) => lattice.join(text, is_first, out),
            Self::Pieces(pieces) => {
                pieces.join(text, out);
                Ok(())
            }
        }
    }
}

impl Encoder {
    /// Makes a tokenizer ready.
    ///
    /// # Errors
    /// Malformed if its merges and tokens do not fit together; Limit if it has more added tokens
    /// than can be looked for.
    pub fn new(tokenizer: &Tokenizer) -> Result<Self> {
        let words = Words::new(tokenizer)?;
        let finder = |normalized: bool| {
            let is_wanted =
                |added: &&Added| added.normalized == normalized && words.cuts_out(added);
            let tokens = tokenizer.added.iter().filter(is_wanted);
            Finder::new(tokenizer, tokens, |text| words.normalize(text, false))
        };
        let special = tokenizer.added.iter().filter(|added| added.special).map(|added| added.id);
        Ok(Self {
            added: [finder(false)?, finder(true)?],
            prefix: tokenizer.prefix.clone(),
            suffix: tokenizer.suffix.clone(),
            pieces: pieces(tokenizer),
            special: special.collect(),
            start: start(&tokenizer.kind),
            cleanup: matches!(&tokenizer.kind, Kind::WordPiece(model) if model.cleanup),
            words,
        })
    }

    /// The ids of a text. `parse_special`: special tokens that stand in the text are those
    /// tokens, not letters. `add_special`: what a prompt begins and ends with is added.
    ///
    /// # Errors
    /// Limit if a pattern gives up on the text.
    pub fn encode(&self, text: &str, parse_special: bool, add_special: bool) -> Result<Vec<u32>> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        if add_special {
            out.extend(&self.prefix);
        }
        let [raw, normalized] = &self.added;
        let mut is_first = true;
        raw.segments(text, parse_special, &mut |segment| match segment {
            Segment::Token(id) => {
                is_first = false;
                out.push(id);
                Ok(())
            }
            Segment::Text(text) => {
                let mut is_first = std::mem::take(&mut is_first);
                let text = self.words.normalize(text, is_first)?;
                normalized.segments(&text, parse_special, &mut |segment| match segment {
                    Segment::Token(id) => {
                        is_first = false;
                        out.push(id);
                        Ok(())
                    }
                    Segment::Text(text) => {
                        self.words.encode(text, std::mem::take(&mut is_first), &mut out)
                    }
                })
            }
        })?;
        if add_special {
            out.extend(&self.suffix);
        }
        Ok(out)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes of one token, which may be a part of a character.
    ///
    /// # Errors
    /// Malformed if there is no such token.
    pub fn piece(&self, id: u32) -> Result<&[u8]> {
        let found = || format!("token id {id}, expected below {}", self.pieces.len());
        let piece = self.pieces.get(id as usize);
        piece.map(|piece| &**piece).ok_or_else(|| Error::malformed(found()))
    }

    /// Whether a token is left out of decoded text.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The bytes of some tokens, with or without the special ones.
    ///
    /// # Errors
    /// Malformed if an id is no token's.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(ids.len() * 4);
        let mut first = true;
        for &id in ids {
            let piece = self.piece(id)?;
            if skip_special && self.is_special(id) {
                continue;
            }
            let dropped = match self.start {
                Start::Space if out.is_empty() => usize::from(piece.starts_with(b" ")),
                Start::Spaces if first => piece.iter().take_while(|byte| **byte == b' ').count(),
                _ => 0,
            };
            first = false;
            self.append(&piece[dropped..], &mut out);
        }
        Ok(out)
    }

    fn append(&self, piece: &[u8], out: &mut Vec<u8>) {
        match std::str::from_utf8(piece) {
            Ok(text) if self.cleanup => {
                let clean = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
                out.extend(CLEANUP.iter().fold(text.to_owned(), clean).bytes());
            }
            _ => out.extend_from_slice(piece),
        }
    }

    /// The text of some tokens; what is not UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// Malformed if an id is no token's.
    pub fn decode_text(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.decode(ids, skip_special)?).into_owned())
    }
}

/// Bytes on their way to a reader who wants whole characters.
#[derive(Debug, Default)]
pub struct Stream {
    pending: Vec<u8>,
}

impl Stream {
    /// Takes bytes, gives what is whole; bytes that can belong to no character become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut out = String::new();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            out.push_str(chunk.valid());
            done += chunk.valid().len();
            let bad = chunk.invalid();
            let at_end = done + bad.len() == self.pending.len();
            if bad.is_empty() || (at_end && may_go_on(bad)) {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            done += bad.len();
        }
        self.pending.drain(..done);
        out
    }

    /// What is left when nothing more comes.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Whether bytes are the beginning of a character.
fn may_go_on(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// What encoding puts before a text.
fn start(kind: &Kind) -> Start {
    let spelled = |spelling: &Spelling| match spelling.space {
        Some(_) => Start::Space,
        None if spelling.squeeze => Start::Space,
        None => Start::Nothing,
    };
    let prepends = |step: &Step| matches!(step, Step::Metaspace(m) if m.prepend != Prepend::Never);
    match kind {
        Kind::Bpe(_) => Start::Nothing,
        Kind::Spm(spm) => spelled(&spm.spelling),
        Kind::Unigram(unigram) => match &unigram.text {
            Text::Spelled(spelling) => spelled(spelling),
            Text::Cut(pre) if pre.steps.iter().any(prepends) => Start::Spaces,
            Text::Cut(_) => Start::Nothing,
        },
        Kind::WordPiece(_) => Start::Spaces,
    }
}

/// The bytes of each token. Added tokens are spelled as they are, unless they are the letter of
/// a byte as well; others are spelled in the alphabet of bytes, or with `▁` for a space.
fn pieces(tokenizer: &Tokenizer) -> Vec<Box<[u8]>> {
    let byte_level = matches!(&tokenizer.kind, Kind::Bpe(bpe) if bpe.pre.is_byte_level());
    let spells_space = matches!(&tokenizer.kind, Kind::Spm(_) | Kind::Unigram(_));
    if let Kind::WordPiece(model) = &tokenizer.kind {
        let spelled = |token: &Token| match token.text.strip_prefix(&*model.prefix) {
            Some(rest) => rest.as_bytes().into(),
            None => format!(" {}", token.text).into_bytes().into(),
        };
        return tokenizer.tokens.iter().map(spelled).collect();
    }
    let added: BTreeSet<u32> = tokenizer.added.iter().map(|added| added.id).collect();
    let piece = |(id, token): (usize, &Token)| {
        let is_spelled = added.contains(&(id as u32)) && token.text.chars().nth(1).is_some();
        let bytes = match token.class {
            Class::Byte => pre::hex_byte(&token.text).map(|byte| vec![byte]),
            Class::Unused => None,
            _ if spells_space => Some(token.text.replace(SPACE, " ").into_bytes()),
            _ if is_spelled || !byte_level => None,
            _ => token.text.chars().map(pre::byte).collect(),
        };
        bytes.unwrap_or_else(|| token.text.as_bytes().to_vec()).into_boxed_slice()
    };
    tokenizer.tokens.iter().enumerate().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_gives_whole_characters() {
        let mut stream = Stream::default();
        let text = "aé字🦙";
        let parts: Vec<String> = text.bytes().map(|byte| stream.push(&[byte])).collect();
        assert_eq!(parts, ["a", "", "é", "", "", "字", "", "", "", "🦙"]);
        assert_eq!(stream.push(b"\xf0\x9f"), "");
        assert_eq!(stream.push(b"x\xff\xe5\xad"), "\u{fffd}x\u{fffd}");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
