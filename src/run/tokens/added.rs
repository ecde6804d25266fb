//! Cutting added tokens out of a text: the leftmost, and of those the longest.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use regex::Regex;

use crate::ir::tokenizer::{Added, Tokenizer};
use crate::ir::{Error, Result};

/// Bytes of the automaton that looks for all tokens at once: about 10,000 tokens' worth.
const AUTOMATON_MAX: usize = 64 << 20;

/// A part of a text.
pub(super) enum Segment<'a> {
    Token(u32),
    Text(&'a str),
}

/// Looks for tokens in a text.
pub(super) struct Finder {
    any: Option<Regex>,
    tokens: HashMap<String, Added>,
    word: Regex,
}

impl Finder {
    /// `normalize` gives the text of a token as it stands in a normalized text.
    pub(super) fn new<'a, 't>(
        tokenizer: &'t Tokenizer,
        added: impl Iterator<Item = &'a Added>,
        normalize: impl Fn(&'t str) -> Result<Cow<'t, str>>,
    ) -> Result<Self> {
        let mut tokens = HashMap::new();
        let mut texts = Vec::new();
        for token in added {
            let text = tokenizer.text(token.id).unwrap_or_default();
            let text = if token.normalized { normalize(text)? } else { text.into() };
            if !text.is_empty() {
                texts.push(text.clone().into_owned());
                tokens.insert(text.into_owned(), token.clone());
            }
        }
        // The first alternative that matches wins, so the longest come first.
        texts.sort_by_key(|text| Reverse(text.len()));
        let escaped: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
        let compile = |text: &str| {
            regex::RegexBuilder::new(text)
                .size_limit(AUTOMATON_MAX)
                .build()
                .map_err(|error| Error::limit(format!("{} added tokens: {error}", escaped.len())))
        };
        let any = if escaped.is_empty() { None } else { Some(compile(&escaped.join("|"))?) };
        Ok(Self { any, tokens, word: compile(r"^\w$")? })
    }

    /// Calls `each` with the tokens in a text and what lies between them.
    pub(super) fn segments(
        &self,
        text: &str,
        parse_special: bool,
        each: &mut dyn FnMut(Segment<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        for found in self.any.iter().flat_map(|any| any.find_iter(text)) {
            let Some(token) = self.tokens.get(found.as_str()) else { continue };
            if (token.special && !parse_special) || found.start() < done {
                continue;
            }
            let (before, after) = (&text[..found.start()], &text[found.end()..]);
            if token.single_word && (self.touches(before, after)) {
                continue;
            }
            let (mut start, mut end) = (found.start(), found.end());
            if token.lstrip {
                start = before.trim_end().len().max(done);
            }
            if token.rstrip {
                end = text.len() - after.trim_start().len();
            }
            if start > done {
                each(Segment::Text(&text[done..start]))?;
            }
            each(Segment::Token(token.id))?;
            done = end;
        }
        if done < text.len() {
            each(Segment::Text(&text[done..]))?;
        }
        Ok(())
    }

    fn touches(&self, before: &str, after: &str) -> bool {
        let is_word =
            |c: Option<char>| c.is_some_and(|c| self.word.is_match(c.encode_utf8(&mut [0; 4])));
        is_word(before.chars().next_back()) || is_word(after.chars().next())
    }
}
