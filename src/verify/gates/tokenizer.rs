//! The gate of the tokenizer: the same ids for the same pieces, the same merges, the same special
//! tokens. How text is cut before that has no common form in all files, so it is only noted.

use crate::ir::Model;
use crate::ir::tokenizer::{Bpe, Class, Kind, ROLES, Spm, Token, Tokenizer, Unigram};
use crate::verify::report::{Finding, Gate};

/// What the gate is called.
pub(crate) const NAME: &str = "tokenizer";

/// How many pieces are listed; a shifted vocabulary differs everywhere.
const LISTED_MAX: usize = 5;

/// What the tokenizers of both sides say.
#[derive(Default)]
pub(crate) struct Compared {
    /// The gate, if both sides have one.
    pub(crate) gate: Option<Gate>,
    /// What differs.
    pub(crate) findings: Vec<Finding>,
    /// What is not compared, or may differ in form alone.
    pub(crate) notes: Vec<String>,
}

/// Compares the tokenizers, where both models have one.
pub(crate) fn compare(reference: &Model, candidate: &Model) -> Compared {
    let mut out = Compared::default();
    let lacks = |side: &str| format!("the {side} has no tokenizer, so tokenizers are not compared");
    match (&reference.tokenizer, &candidate.tokenizer) {
        (Some(theirs), Some(ours)) => {
            out.compare(theirs, ours);
            let holds = format!("{} pieces, their merges and roles", theirs.tokens.len());
            out.gate = Some(Gate::none_of(NAME, &out.findings, holds));
        }
        (Some(_), None) => out.notes.push(lacks("candidate")),
        (None, Some(_)) => out.notes.push(lacks("reference")),
        (None, None) => {}
    }
    out
}

impl Compared {
    fn compare(&mut self, theirs: &Tokenizer, ours: &Tokenizer) {
        self.pieces(theirs, ours);
        self.roles(theirs, ours);
        match (&theirs.kind, &ours.kind) {
            (Kind::Bpe(a), Kind::Bpe(b)) => {
                self.merges(a, b);
                // Only one of the formats has a name for it.
                let same = (&a.pre.normal, &a.pre.steps) == (&b.pre.normal, &b.pre.steps);
                self.forms(same, theirs, ours);
            }
            (Kind::Spm(a), Kind::Spm(b)) => {
                self.scores(a, b, &theirs.tokens);
                self.forms(a.spelling == b.spelling, theirs, ours);
            }
            (Kind::Unigram(a), Kind::Unigram(b)) => {
                self.probabilities(a, b, &theirs.tokens);
                self.forms(a.text == b.text, theirs, ours);
            }
            (Kind::WordPiece(a), Kind::WordPiece(b)) => {
                if a.prefix != b.prefix {
                    self.differs("prefix".into(), &a.prefix, &b.prefix);
                }
                self.forms(a.pre == b.pre, theirs, ours);
            }
            _ => self.differs("kind".into(), theirs.kind_name(), ours.kind_name()),
        }
    }

    fn differs(&mut self, subject: String, reference: &str, candidate: &str) {
        let text = format!("reference {reference}, candidate {candidate}");
        self.findings.push(Finding::new(NAME, subject, text));
    }

    fn pieces(&mut self, theirs: &Tokenizer, ours: &Tokenizer) {
        let count = theirs.tokens.len().max(ours.tokens.len());
        let pair = |id: usize| (id, theirs.tokens.get(id), ours.tokens.get(id));
        let differ = (0..count).map(pair).filter(|(_, a, b)| piece(*a) != piece(*b));
        let differ: Vec<_> = differ.collect();
        let text = |token: Option<&Token>| token.map_or("none".into(), |t| format!("{:?}", t.text));
        for (id, a, b) in differ.iter().take(LISTED_MAX) {
            self.differs(format!("piece {id}"), &text(*a), &text(*b));
        }
        if differ.len() > LISTED_MAX {
            let text = format!("{} pieces differ in all", differ.len());
            self.findings.push(Finding::new(NAME, "vocabulary", text));
        }
    }

    /// A part that only one file states is not a difference: formats state different ones.
    fn roles(&mut self, theirs: &Tokenizer, ours: &Tokenizer) {
        for (role, name, _) in ROLES {
            if let (Some(a), Some(b)) = (theirs.role(*role), ours.role(*role))
                && a != b
            {
                self.differs(format!("special token {name}"), &a.to_string(), &b.to_string());
            }
        }
    }

    fn merges(&mut self, theirs: &Bpe, ours: &Bpe) {
        let (n, m) = (theirs.merges.len(), ours.merges.len());
        let pairs = theirs.merges.iter().zip(&ours.merges);
        if let Some((rank, (a, b))) = pairs.enumerate().find(|(_, (a, b))| a != b) {
            self.differs(format!("merge {rank}"), &format!("{a:?}"), &format!("{b:?}"));
        } else if n != m {
            self.differs("merges".into(), &n.to_string(), &m.to_string());
        }
    }

    /// Only the order of scores matters, and only of pieces that are made of others.
    fn scores(&mut self, theirs: &Spm, ours: &Spm, tokens: &[Token]) {
        let is_made =
            |token: &Token| token.class == Class::Normal && token.text.chars().nth(1).is_some();
        let ids = || (0..tokens.len()).filter(|id| is_made(&tokens[*id]));
        let order = |spm: &Spm| {
            let score = |id: usize| spm.scores.get(id).copied().unwrap_or(f32::MIN);
            let mut ids: Vec<usize> = ids().collect();
            ids.sort_by(|a, b| score(*b).total_cmp(&score(*a)));
            ids
        };
        let (a, b) = (order(theirs), order(ours));
        if let Some((rank, (a, b))) = a.iter().zip(&b).enumerate().find(|(_, (a, b))| a != b) {
            let shown = |id: &usize| format!("{:?}", tokens[*id].text);
            self.differs(format!("piece of rank {rank}"), &shown(a), &shown(b));
        }
    }

    /// Sums of scores choose the pieces, so each counts; files keep them in single precision.
    fn probabilities(&mut self, theirs: &Unigram, ours: &Unigram, tokens: &[Token]) {
        let pairs = tokens.iter().zip(theirs.scores.iter().zip(&ours.scores));
        let differs = |(a, b): (&f64, &f64)| (*a as f32).to_bits() != (*b as f32).to_bits();
        let found =
            |(token, pair): &(&Token, (&f64, &f64))| token.class == Class::Normal && differs(*pair);
        let differ: Vec<_> = pairs.filter(found).collect();
        for (token, (a, b)) in differ.iter().take(LISTED_MAX) {
            self.differs(format!("score of {:?}", token.text), &a.to_string(), &b.to_string());
        }
        if differ.len() > LISTED_MAX {
            let text = format!("{} scores differ in all", differ.len());
            self.findings.push(Finding::new(NAME, "scores", text));
        }
    }

    fn forms(&mut self, same_words: bool, theirs: &Tokenizer, ours: &Tokenizer) {
        let mut note = |same: bool, what: &str| {
            if !same {
                self.notes.push(format!("tokenizer: {what} differs between the files"));
            }
        };
        note(same_words, "how text is cut into words");
        note(theirs.prefix == ours.prefix, "what is put before a text");
        note(theirs.suffix == ours.suffix, "what is put after a text");
    }
}

/// The text, unless the token only fills a row of the embedding: each format fills in its way.
fn piece(token: Option<&Token>) -> Option<&str> {
    token.filter(|token| token.class != Class::Unused).map(|token| token.text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::tokenizer::{Pre, Role, Spelling, Text, WordPiece};

    fn tokenizer(texts: &[&str], merges: &[(u32, u32)]) -> Tokenizer {
        let token = |text: &&str| Token { text: (*text).into(), class: Class::Normal };
        let merges = merges.to_vec();
        let (ignore_merges, unknown, fuse_unknown, pre) = (false, None, false, Pre::default());
        Tokenizer {
            kind: Kind::Bpe(Bpe { merges, ignore_merges, unknown, fuse_unknown, pre }),
            tokens: texts.iter().map(token).collect(),
            added: Vec::new(),
            special: [(Role::Eos, 1)].into(),
            prefix: Vec::new(),
            suffix: Vec::new(),
            chat_templates: Vec::new(),
        }
    }

    fn found(change: impl Fn(&mut Tokenizer)) -> Vec<String> {
        let theirs = tokenizer(&["a", "b", "ab", "ba"], &[(0, 1), (1, 0)]);
        let mut ours = theirs.clone();
        change(&mut ours);
        let mut out = Compared::default();
        out.compare(&theirs, &ours);
        out.findings.iter().map(|found| found.subject.clone()).collect()
    }

    fn bpe(tokenizer: &mut Tokenizer) -> &mut Bpe {
        match &mut tokenizer.kind {
            Kind::Bpe(bpe) => bpe,
            _ => panic!("made as BPE"),
        }
    }

    fn scored(scores: &[f32]) -> Tokenizer {
        let mut out = tokenizer(&["a", "b", "ab", "ba", "c"], &[]);
        let (scores, unknown, spelling) = (scores.to_vec(), None, Spelling::default());
        out.kind = Kind::Spm(Spm { scores, unknown, spelling });
        out
    }

    #[test]
    fn scores_and_kinds_are_compared() {
        let found = |theirs: &Tokenizer, ours: &Tokenizer| -> Vec<String> {
            let mut out = Compared::default();
            out.compare(theirs, ours);
            out.findings.iter().map(|found| found.subject.clone()).collect()
        };
        let theirs = scored(&[0.0, -1.0, -2.0, -3.0, -4.0]);
        assert!(found(&theirs, &theirs).is_empty());
        assert!(found(&theirs, &scored(&[0.0, -1.5, -2.0, -8.0, -9.0])).is_empty());
        let swapped = scored(&[0.0, -1.0, -3.0, -2.0, -4.0]);
        assert_eq!(found(&theirs, &swapped), ["piece of rank 0"]);
        assert_eq!(found(&theirs, &tokenizer(&["a", "b", "ab", "ba", "c"], &[])), ["kind"]);
    }

    fn unigram(scores: &[f64]) -> Tokenizer {
        let mut out = tokenizer(&["a", "b", "ab", "ba", "c"], &[]);
        let (scores, unknown, single) = (scores.to_vec(), None, false);
        let text = Text::Spelled(Spelling::default());
        out.kind = Kind::Unigram(Unigram { scores, unknown, single, text });
        out
    }

    /// Sums of scores choose: each counts, in single precision.
    #[test]
    fn probabilities_and_words_are_compared() {
        let compared = |theirs: &Tokenizer, ours: &Tokenizer| {
            let mut out = Compared::default();
            out.compare(theirs, ours);
            out
        };
        let theirs = unigram(&[-1.0, -2.0, -3.0, -4.0, -5.0]);
        assert!(
            compared(&theirs, &unigram(&[-1.0, -2.0, -3.0 - 1e-12, -4.0, -5.0]))
                .findings
                .is_empty()
        );
        let found = compared(&theirs, &unigram(&[-1.0, -2.0, -3.5, -4.0, -5.0])).findings;
        assert_eq!(found[0].subject, "score of \"ab\"");
        let word = |prefix: &str| {
            let mut out = tokenizer(&["[UNK]", "a", "##b"], &[]);
            let (unknown, prefix, letters_max) = (Some(0), prefix.to_owned(), 100);
            let (cleanup, pre) = (true, Pre::default());
            out.kind = Kind::WordPiece(WordPiece { unknown, prefix, letters_max, cleanup, pre });
            out
        };
        assert!(compared(&word("##"), &word("##")).findings.is_empty());
        assert_eq!(compared(&word("##"), &word("@@")).findings[0].subject, "prefix");
        assert_eq!(compared(&word("##"), &theirs).findings.last().expect("one").subject, "kind");
    }

    #[test]
    fn what_differs_is_named() {
        assert!(found(|_| {}).is_empty());
        assert_eq!(found(|t| t.tokens[2].text = "x".into()), ["piece 2"]);
        assert_eq!(found(|t| t.tokens.truncate(3)), ["piece 3"]);
        assert_eq!(found(|t| t.tokens.reverse()).len(), 4);
        assert_eq!(found(|t| bpe(t).merges.swap(0, 1)), ["merge 0"]);
        assert_eq!(found(|t| bpe(t).merges.truncate(1)), ["merges"]);
        assert_eq!(found(|t| t.special = [(Role::Eos, 2)].into()), ["special token eos"]);
    }

    /// Formats fill unused rows in their own way, and state different roles.
    #[test]
    fn padding_and_unstated_roles_are_no_difference() {
        let pad = || Token { text: "[PAD4]".into(), class: Class::Unused };
        assert!(found(|t| t.tokens.push(pad())).is_empty());
        assert!(found(|t| t.special.extend([(Role::Pad, 3)])).is_empty());
    }
}
