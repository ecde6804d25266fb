//! A pre-tokenizer's pattern: checked and compiled when it is read, so that a bad one is refused
//! with its file, and bounded when it is run.
//!
//! Patterns are written for Oniguruma, which Hugging Face's library runs them with. Nearly all of
//! them end in `|\s+(?!\S)|\s+`: all white space but the last, which belongs to the word that
//! follows. That one look-ahead is done by hand, so that these patterns run in linear time; what
//! else needs look-around is backtracked, to a limit.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::ir::{Error, Result};

/// Bytes of a pattern. The longest seen, DeepSeek's list of letters, has 700.
const PATTERN_MAX: usize = 64 << 10;

/// Bytes of a compiled pattern. DeepSeek's takes 200 KiB.
const COMPILED_MAX: usize = 10 << 20;

/// Steps back within the search for one match. White space before a word takes one a character.
const BACKTRACK_MAX: usize = 100_000;

/// The end of most patterns: white space but for its last character, or else white space.
const SPACES: &str = r"|\s+(?!\S)|\s+";

/// A regular expression that text is cut with. Two are equal if they were written to mean the
/// same: see [`Pattern::is_written`].
#[derive(Clone)]
pub struct Pattern {
    text: String,
    /// What two patterns are compared by.
    key: String,
    engine: Arc<Engine>,
}

enum Engine {
    /// No look-around: linear time.
    Linear(regex::Regex),
    /// Linear time; the last group is white space, of which the last character may not belong.
    Spaces(regex::Regex),
    /// Anything else.
    Backtracking(fancy_regex::Regex),
}

impl Pattern {
    /// Checks and compiles a pattern.
    ///
    /// # Errors
    /// Malformed if it is none; Unsupported if Oniguruma alone knows what it means; Limit if it
    /// is too large.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() > PATTERN_MAX {
            let found = format!("{} bytes, expected at most {PATTERN_MAX}", text.len());
            return Err(Error::limit(found).at(shown(text)));
        }
        let engine = Arc::new(compile(&canonical(text)).map_err(|error| error.at(shown(text)))?);
        Ok(Self { text: text.to_owned(), key: key(text), engine })
    }

    /// A pattern that matches a text as it is.
    ///
    /// # Errors
    /// Limit if it is too large.
    pub fn literal(text: &str) -> Result<Self> {
        Self::new(&regex::escape(text))
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is a spelling of `text`: control characters may be escaped or not, English
    /// contractions written in several ways.
    pub fn is_written(&self, text: &str) -> bool {
        self.key == key(text)
    }

    /// Calls `found` with each match, left to right.
    ///
    /// # Errors
    /// Limit if matching takes more steps than sensible patterns do.
    pub fn each(&self, text: &str, mut found: impl FnMut(Range<usize>)) -> Result<()> {
        match &*self.engine {
            Engine::Linear(regex) => regex.find_iter(text).for_each(|one| found(one.range())),
            Engine::Spaces(regex) => each_leaving_a_space(regex, text, found),
            Engine::Backtracking(regex) => {
                for one in regex.find_iter(text) {
                    found(one.map_err(|error| self.gave_up(&error))?.range());
                }
            }
        }
        Ok(())
    }

    fn gave_up(&self, error: &fancy_regex::Error) -> Error {
        Error::limit(format!("{} gives up on this text: {error}", shown(&self.text)))
    }
}

fn each_leaving_a_space(regex: &regex::Regex, text: &str, mut found: impl FnMut(Range<usize>)) {
    let mut at = 0;
    while let Some(one) = regex.find_at(text, at) {
        let mut end = one.end();
        let last = one.as_str().chars().next_back().map_or(0, char::len_utf8);
        // What follows white space of greatest length is a word, or the end.
        if end < text.len() && last < one.len() && one.as_str().trim().is_empty() {
            let group = regex.captures_len() - 1;
            let groups = regex.captures_at(text, at);
            if groups.is_some_and(|groups| groups.get(group).is_some()) {
                end -= last;
            }
        }
        found(one.start()..end);
        at = if end > at { end } else { next_char(text, at) };
        if at > text.len() {
            break;
        }
    }
}

fn next_char(text: &str, at: usize) -> usize {
    at + text[at..].chars().next().map_or(1, char::len_utf8)
}

fn compile(text: &str) -> Result<Engine> {
    let translated = translate(text)?;
    let linear = |text: &str| regex::RegexBuilder::new(text).size_limit(COMPILED_MAX).build();
    if let Some(head) = translated.strip_suffix(SPACES)
        && let Ok(regex) = linear(&format!(r"{head}|(\s+)"))
    {
        return Ok(Engine::Spaces(regex));
    }
    match linear(&translated) {
        Ok(regex) => return Ok(Engine::Linear(regex)),
        Err(regex::Error::CompiledTooBig(_)) => {
            let found = format!("needs more than {COMPILED_MAX} bytes when compiled");
            return Err(Error::limit(found));
        }
        Err(_) => {}
    }
    fancy_regex::RegexBuilder::new(&translated)
        .backtrack_limit(BACKTRACK_MAX)
        .delegate_size_limit(COMPILED_MAX)
        .build()
        .map(Engine::Backtracking)
        .map_err(|error| Error::malformed(format!("not a regular expression: {error}")))
}

/// Rewrites what Oniguruma reads otherwise than the engines here: `^` and `$` stand at lines, a
/// doubled `~` in a class is two letters.
fn translate(text: &str) -> Result<String> {
    let refuse = |what: &str| Err(Error::unsupported(format!("{what} in a pre-tokenizer pattern")));
    let mut out = String::with_capacity(text.len());
    let mut depth = 0u32;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, depth) {
            ('\\', _) => {
                let next = chars.next().unwrap_or('\\');
                if "hHyYCcMG".contains(next) {
                    return refuse(&format!("Oniguruma's \\{next}"));
                }
                out.extend([c, next]);
            }
            ('[', _) => {
                if depth > 0 && chars.peek() == Some(&':') {
                    return refuse("a POSIX class");
                }
                depth += 1;
                out.push(c);
            }
            (']', 1..) => {
                depth -= 1;
                out.push(c);
            }
            ('~', 1..) => out.push_str(r"\~"),
            ('^', 0) => out.push_str("(?m:^)"),
            ('$', 0) => out.push_str("(?m:$)"),
            ('(', 0) => {
                out.push(c);
                if flags(chars.clone()).contains('m') {
                    return refuse("the flag m");
                }
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// The letters between `(?` and `:` or `)`, if that is what follows a parenthesis.
fn flags(mut rest: impl Iterator<Item = char>) -> String {
    if rest.next() != Some('?') {
        return String::new();
    }
    rest.take_while(|c| c.is_ascii_lowercase() || *c == '-').collect()
}

/// Spellings of the same thing, and the one that is kept.
const SAME: &[(&str, &str)] = &[
    ("(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS),
    ("'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
    ("'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])", CONTRACTIONS),
    ("(?i:'s|'t|'re|'ve|'m|'d|'ll)", CONTRACTIONS),
    (r"\p{N}{1}", r"\p{N}"),
    ("\n", r"\n"),
    ("\r", r"\r"),
    ("\t", r"\t"),
];

const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";

fn canonical(text: &str) -> String {
    let rewrite = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    SAME.iter().fold(text.to_owned(), rewrite)
}

/// Copies of DeepSeek's letters are found both as they are and in Unicode's form C.
fn key(text: &str) -> String {
    canonical(text).nfc().collect()
}

/// A pattern in a message: its beginning.
fn shown(text: &str) -> String {
    let head: String = text.chars().take(60).collect();
    let rest = if head.len() < text.len() { "…" } else { "" };
    format!("pattern '{head}{rest}'")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;

    fn cut(pattern: &str, text: &str) -> Vec<String> {
        let mut out = Vec::new();
        let pattern = Pattern::new(pattern).expect("a pattern");
        pattern.each(text, |range| out.push(text[range].to_owned())).expect("within limits");
        out
    }

    /// The look-ahead done by hand gives what backtracking gives.
    #[test]
    fn the_last_space_belongs_to_the_word() {
        let pattern = r" ?\p{L}+|\s*[\r\n]+| ?[^\s\p{L}]+|\s+(?!\S)|\s+";
        assert!(matches!(&*Pattern::new(pattern).unwrap().engine, Engine::Spaces(_)));
        let slow = fancy_regex::Regex::new(pattern).expect("a pattern");
        let texts =
            ["", " ", "  ", "a  b", "a \t\t b\u{3000}\u{a0}c", "  \n\n  a  ", "\n \n\n x\t"];
        for text in texts {
            let expected: Vec<&str> =
                slow.find_iter(text).map(|one| one.expect("short").as_str()).collect();
            assert_eq!(cut(pattern, text), expected, "{text:?}");
        }
    }

    #[test]
    fn anchors_stand_at_lines_as_in_oniguruma() {
        assert_eq!(cut(r"\s+$", "a  \nb "), ["  ", " "]);
        assert_eq!(cut(r"[$^]", "a$^"), ["$", "^"]);
    }

    #[test]
    fn a_pattern_that_blows_up_is_given_up() {
        let pattern = Pattern::new(r"(?=(a+)+$)(a|aa)+\1z|(?:(?=a)a+)+z").expect("a pattern");
        let text = "a".repeat(40) + "b";
        assert_eq!(pattern.each(&text, |_| ()).expect_err("too long").fault, Fault::Limit);
    }

    #[test]
    fn bad_patterns_are_refused() {
        let fault = |text: &str| Pattern::new(text).expect_err(text).fault;
        assert_eq!(fault("(?P<"), Fault::Malformed);
        assert_eq!(fault("((a{1,1000}){1,1000}){1,1000}"), Fault::Limit);
        assert_eq!(fault("[[:alpha:]]"), Fault::Unsupported);
        assert_eq!(fault(&"a".repeat(PATTERN_MAX + 1)), Fault::Limit);
    }
}
