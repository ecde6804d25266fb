//! SentencePiece: how it spells a text, and its byte-pair encoding, pieces with scores.

use std::collections::HashMap;

use super::{Charsmap, Class, Token};
use crate::ir::{Error, Result};

/// How a space is spelled in a piece: U+2581.
pub const SPACE: char = '▁';

/// The score of tokens that were added to a trained vocabulary, as llama.cpp's converter has it.
pub const ADDED_SCORE: f32 = -1000.0;

/// SentencePiece's byte-pair encoding. Tokens of [`Class::Byte`] stand for what has no piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Spm {
    /// The score of each token, by id: of two pieces, that of the higher one is made first.
    pub scores: Vec<f32>,
    /// What stands for characters that are no token, where bytes are none either.
    pub unknown: Option<u32>,
    /// How a text is spelled.
    pub spelling: Spelling,
}

/// How a text becomes one that pieces can spell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spelling {
    /// What is replaced first.
    pub charsmap: Option<Charsmap>,
    /// The space that is put before a text.
    pub space: Option<Space>,
    /// Spaces around a text are left out, and a run of them becomes one.
    pub squeeze: bool,
}

/// A space that is put before a text, so that a word is the same piece wherever it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Only at the beginning, not after tokens that are cut out of the text.
    pub only_first: bool,
    /// Only where there is none yet.
    pub only_missing: bool,
}

impl Spelling {
    /// A text, or what lies between two added tokens, as the pieces spell it: `Normalizer::Normalize`
    /// of SentencePiece. `kept` gives the length of what a text begins with that no rule may replace.
    pub fn spell(&self, text: &str, is_first: bool, kept: impl Fn(&str) -> usize) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 2 + 3);
        let (mut rest, mut begun, mut was_space) = (text, false, self.squeeze);
        while let Some((len, part)) = self.part(rest, &kept) {
            rest = &rest[len..];
            if !begun && self.squeeze && part == " " {
                continue;
            }
            if !begun && self.puts_space(part, is_first) {
                out.push(SPACE);
            }
            begun = true;
            let part = if was_space { part.trim_start_matches(' ') } else { part };
            out.extend(part.chars().map(|c| if c == ' ' { SPACE } else { c }));
            if !part.is_empty() {
                was_space = self.squeeze && part.ends_with(' ');
            }
        }
        if self.squeeze {
            // Spelled spaces too, and the one that was put before.
            out.truncate(out.trim_end_matches(SPACE).len());
        }
        out
    }

    /// What a text begins with: the length of a key and its replacement, or a letter as it is.
    fn part<'t>(&'t self, text: &'t str, kept: impl Fn(&str) -> usize) -> Option<(usize, &'t str)> {
        let letter = text.chars().next()?.len_utf8();
        let Some(rules) = &self.charsmap else { return Some((letter, &text[..letter])) };
        let kept = kept(text);
        let found = if kept == 0 { rules.longest(text) } else { None };
        let len = kept.max(letter);
        Some(found.unwrap_or((len, &text[..len])))
    }

    fn puts_space(&self, start: &str, is_first: bool) -> bool {
        self.space.is_some_and(|space| {
            let missing = !start.starts_with([' ', SPACE]);
            (is_first || !space.only_first) && (missing || !space.only_missing)
        })
    }
}

/// The tokens that the merging can make of a text, by their spelling: not control tokens and
/// bytes. Tokens that are never cut are among them, as in SentencePiece, although they were cut
/// out of the text before.
pub fn pieces(tokens: &[Token]) -> HashMap<&str, u32> {
    let is_piece = |class| matches!(class, Class::Normal | Class::UserDefined | Class::Unused);
    let found = (0..).zip(tokens).filter(|(_, token)| is_piece(token.class));
    found.map(|(id, token)| (token.text.as_str(), id)).collect()
}

/// Checks that there is a number for each token.
///
/// # Errors
/// Malformed, naming the token.
pub fn check_scores(scores: &[f32]) -> Result<()> {
    match scores.iter().position(|score| score.is_nan()) {
        None => Ok(()),
        Some(id) => Err(Error::malformed(format!("the score of token {id} is not a number"))),
    }
}

/// Scores that rank pieces as the merges do, each made by neighbouring merges of all its halves,
/// as Hugging Face's converter writes them. The trained scores are the same where they count down
/// by one, as SentencePiece's do.
///
/// # Errors
/// Unsupported, naming the piece, if the merges are not of that form: no scores can stand for them.
pub fn scores(tokens: &[Token], merges: &[(u32, u32)]) -> Result<Vec<f32>> {
    let pieces = pieces(tokens);
    let text = |id: u32| tokens.get(id as usize).map_or("", |token| token.text.as_str());
    let mut scores = vec![None; tokens.len()];
    let mut made: HashMap<u32, usize> = HashMap::new();
    let (mut last, mut count) = (None, 0u32);
    for &(left, right) in merges {
        let Some(&joined) = pieces.get([text(left), text(right)].concat().as_str()) else {
            continue;
        };
        let score = &mut scores[joined as usize];
        if last != Some(joined) && score.is_some() {
            return Err(unlike(text(joined), "other merges stand between its own"));
        }
        if score.is_none() {
            *score = Some(-(count as f32));
            count += 1;
        }
        last = Some(joined);
        *made.entry(joined).or_default() += 1;
    }
    for (id, token) in (0..).zip(tokens).filter(|(_, token)| token.class == Class::Normal) {
        let halves = halves(&token.text, tokens, &pieces).count();
        let found = made.get(&id).copied().unwrap_or(0);
        if halves > found {
            let text = format!("{halves} pairs of pieces spell it, but {found} merges make it");
            return Err(unlike(&token.text, &text));
        }
    }
    Ok(fill(scores, tokens, count))
}

/// What no merge makes comes last; what is no piece has no use for a score.
fn fill(scores: Vec<Option<f32>>, tokens: &[Token], mut count: u32) -> Vec<f32> {
    let score = |(token, score): (&Token, Option<f32>)| {
        score.unwrap_or_else(|| match token.class {
            Class::Normal => {
                count += 1;
                -((count - 1) as f32)
            }
            Class::UserDefined => ADDED_SCORE,
            _ => 0.0,
        })
    };
    tokens.iter().zip(scores).map(score).collect()
}

/// The pairs of pieces that spell a text; tokens that are never cut are not joined either.
fn halves<'p>(
    text: &'p str,
    tokens: &'p [Token],
    pieces: &'p HashMap<&str, u32>,
) -> impl Iterator<Item = (u32, u32)> + 'p {
    let half = |text: &str| {
        let id = pieces.get(text).copied();
        id.filter(|id| tokens[*id as usize].class != Class::UserDefined)
    };
    let cuts = text.char_indices().skip(1).map(|(at, _)| text.split_at(at));
    cuts.filter_map(move |(a, b)| Some((half(a)?, half(b)?)))
}

fn unlike(text: &str, why: &str) -> Error {
    let what = format!("merges that no scores can stand for: '{text}': {why}");
    Error::unsupported(format!("{what}; SentencePiece's tokenizer.model would say more"))
}

/// The merges of the pieces: all halves of each, the highest score first, and of one piece those
/// with the longer left half, as Hugging Face's converter orders them.
pub fn merges(tokens: &[Token], scores: &[f32]) -> Vec<(u32, u32)> {
    let pieces = pieces(tokens);
    let score = |id: u32| scores.get(id as usize).copied().unwrap_or(f32::MIN);
    let is_made = |(_, token): &(u32, &Token)| token.class == Class::Normal;
    let mut made: Vec<(u32, &Token)> = (0..).zip(tokens).filter(is_made).collect();
    made.sort_by(|(a, _), (b, _)| score(*b).total_cmp(&score(*a)).then(a.cmp(b)));
    let mut out = Vec::new();
    for (_, token) in made {
        let start = out.len();
        out.extend(halves(&token.text, tokens, &pieces));
        out[start..].reverse();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(texts: &[&str]) -> Vec<Token> {
        let token = |text: &&str| Token { text: (*text).into(), class: Class::Normal };
        texts.iter().map(token).collect()
    }

    #[test]
    fn spaces_are_spelled_and_put_before() {
        let spell = |space, squeeze, text: &str, is_first| {
            Spelling { charsmap: None, space, squeeze }.spell(text, is_first, |_| 0)
        };
        let each = Some(Space::default());
        assert_eq!(spell(each, false, " a  b", false), "▁▁a▁▁b");
        assert_eq!(spell(each, false, "", true), "");
        let missing = Some(Space { only_first: true, only_missing: true });
        assert_eq!(spell(missing, false, " a", true), "▁a");
        assert_eq!(spell(missing, false, "a", true), "▁a");
        assert_eq!(spell(missing, false, "a", false), "a");
        assert_eq!(spell(each, true, "  a   b ", true), "▁a▁b");
        assert_eq!(spell(None, true, "   ", true), "");
    }

    #[test]
    fn merges_and_scores_say_the_same() {
        let tokens = tokens(&["ab", "abc", "bc", "a", "b", "c"]);
        let scores = [0.0, -1.0, -2.0, -3.0, -4.0, -5.0];
        let pairs = merges(&tokens, &scores);
        assert_eq!(pairs, [(3, 4), (0, 5), (3, 2), (4, 5)]);
        assert_eq!(super::scores(&tokens, &pairs).unwrap(), scores);
    }

    #[test]
    fn merges_that_scores_cannot_say_are_refused() {
        let tokens = tokens(&["ab", "abc", "bc", "a", "b", "c"]);
        let apart = super::scores(&tokens, &[(3, 4), (0, 5), (4, 5), (3, 2)]);
        assert!(apart.unwrap_err().to_string().contains("'abc': other merges stand between"));
        let few = super::scores(&tokens, &[(3, 4), (0, 5), (4, 5)]);
        assert!(few.unwrap_err().to_string().contains("2 pairs of pieces spell it, but 1 merges"));
    }
}
