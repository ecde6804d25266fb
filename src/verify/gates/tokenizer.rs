//! The gates of the tokenizer: what the files state of it, and the ids that texts become.
//!
//! Two files of one format state the same things, and each must be equal. A GGUF file has no place
//! for some of what a directory states; that is taken as the GGUF file has it, with a note, and the
//! rest must be equal. Directories with different files (tokenizer.json here, tokenizer.model there)
//! spell a way of cutting differently, so there the ids of texts decide about it.

mod terms;
mod texts;

use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Pre, ROLES, Spm, Step, Token, Tokenizer, Unigram, WordPiece, names,
};
use crate::ir::{Model, Naming, Result};
use crate::verify::report::{Finding, Gate};

/// What the gate is called.
pub(crate) const NAME: &str = "tokenizer";

/// How many pieces are listed; a shifted vocabulary differs everywhere.
const LISTED_MAX: usize = 5;
/// Letters that are shown of what differs, and of what stands before.
const SHOWN_MAX: usize = 100;
const SHOWN_BEFORE: usize = 20;

/// What the tokenizers of both sides say.
#[derive(Default)]
pub(crate) struct Compared {
    /// The gates, if both sides have one.
    pub(crate) gates: Vec<Gate>,
    /// What differs.
    pub(crate) findings: Vec<Finding>,
    /// What is not compared, or may differ in form alone.
    pub(crate) notes: Vec<String>,
}

/// What the files of both sides can state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// The same.
    Same,
    /// One is a GGUF file, the other is none.
    Gguf,
    /// The files are different ones of the hub.
    Files,
}

/// Compares the tokenizers, where both models have one.
///
/// # Errors
/// None that the tests would let pass: those of patterns that are ours.
pub(crate) fn compare(reference: &Model, candidate: &Model) -> Result<Compared> {
    let mut out = Compared::default();
    let lacks = |side: &str| format!("the {side} has no tokenizer, so tokenizers are not compared");
    let sides = [&reference.tokenizer, &candidate.tokenizer];
    match (sides, &candidate.unread_tokenizer) {
        ([Some(theirs), Some(ours)], _) => {
            let theirs_is_gguf = reference.naming == Naming::Gguf;
            match terms_of(reference, candidate) {
                Terms::Gguf if theirs_is_gguf => {
                    let ours = out.told(terms::as_in_gguf(ours, theirs)?);
                    out.compare(theirs, &ours, Terms::Gguf);
                }
                Terms::Gguf => {
                    let theirs = out.told(terms::as_in_gguf(theirs, ours)?);
                    out.compare(&theirs, ours, Terms::Gguf);
                }
                terms => out.compare(theirs, ours, terms),
            }
        }
        ([Some(_), None], Some(unread)) => {
            out.findings.push(Finding::new(NAME, "candidate", unread.to_string()));
            out.gates.push(Gate::none_of(NAME, &out.findings, ""));
        }
        ([Some(_), None], None) => out.notes.push(lacks("candidate")),
        ([None, Some(_)], _) => out.notes.push(lacks("reference")),
        ([None, None], _) => {}
    }
    Ok(out)
}

fn terms_of(reference: &Model, candidate: &Model) -> Terms {
    // Of several files this one is read.
    let has_json = |model: &Model| model.side_files.iter().any(|(n, _)| n == "tokenizer.json");
    match (reference.naming == candidate.naming, has_json(reference) == has_json(candidate)) {
        (false, _) => Terms::Gguf,
        (true, true) => Terms::Same,
        (true, false) => Terms::Files,
    }
}

impl Compared {
    fn told(&mut self, (tokenizer, lost): (Tokenizer, Vec<&'static str>)) -> Tokenizer {
        let note = |what| format!("tokenizer: a GGUF file has no place for {what}: not compared");
        self.notes.extend(lost.into_iter().map(note));
        tokenizer
    }

    fn compare(&mut self, theirs: &Tokenizer, ours: &Tokenizer, terms: Terms) {
        self.states(theirs, ours, terms);
        let holds = format!("{} pieces, their types and roles; merges, cutting", ours.tokens.len());
        self.gates.push(Gate::none_of(NAME, &self.findings, holds));
        self.texts(theirs, ours);
    }

    /// What the files state.
    fn states(&mut self, theirs: &Tokenizer, ours: &Tokenizer, terms: Terms) {
        self.pieces(theirs, ours);
        self.roles(theirs, ours);
        match (&theirs.kind, &ours.kind) {
            (Kind::Bpe(a), Kind::Bpe(b)) => {
                self.merges(a, b);
                self.bpe(a, b, terms);
            }
            (Kind::Spm(a), Kind::Spm(b)) => {
                self.scores(a, b, &theirs.tokens);
                self.form("unknown token", [&a.unknown, &b.unknown], terms);
                self.form("spelling", [&a.spelling, &b.spelling], terms);
            }
            (Kind::Unigram(a), Kind::Unigram(b)) => {
                self.probabilities(a, b, &theirs.tokens);
                self.form("unknown token", [&a.unknown, &b.unknown], terms);
                self.form("spelling", [&a.text, &b.text], terms);
            }
            (Kind::WordPiece(a), Kind::WordPiece(b)) => self.wordpiece(a, b, terms),
            _ => self.differs("kind".into(), theirs.kind_name(), ours.kind_name()),
        }
        self.classes(theirs, ours, terms);
        if terms != Terms::Gguf {
            self.form("flags of added tokens", [&flags(theirs), &flags(ours)], terms);
        }
        // Whichever files state them.
        self.form("ids before a text", [&theirs.prefix, &ours.prefix], Terms::Same);
        self.form("ids after a text", [&theirs.suffix, &ours.suffix], Terms::Same);
        if theirs.has_decoder && !ours.has_decoder {
            self.differs("decoder".into(), "that of its kind", "none");
        }
    }

    fn differs(&mut self, subject: String, reference: &str, candidate: &str) {
        let text = format!("reference {reference}, candidate {candidate}");
        self.findings.push(Finding::new(NAME, subject, text));
    }

    /// What different files spell differently: there the ids of texts decide.
    fn form<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, [a, b]: [&T; 2], terms: Terms) {
        if a != b {
            self.unlike(what, [format!("{a:?}"), format!("{b:?}")], terms);
        }
    }

    fn unlike(&mut self, what: &str, [a, b]: [String; 2], terms: Terms) {
        if terms == Terms::Files {
            let text = "differs between the files, perhaps in form alone: the ids of texts decide";
            return self.notes.push(format!("tokenizer: {what} {text}"));
        }
        // From where they differ on.
        let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
        let shown = |text: &str| {
            let start = if same > SHOWN_BEFORE { "…" } else { "" };
            let rest = text.chars().skip(same.saturating_sub(SHOWN_BEFORE));
            format!("{start}{}", rest.take(SHOWN_MAX).collect::<String>())
        };
        self.differs(what.to_owned(), &shown(&a), &shown(&b));
    }

    fn bpe(&mut self, a: &Bpe, b: &Bpe, terms: Terms) {
        if terms == Terms::Gguf && (a.pre.name.is_none() || b.pre.name.is_none()) {
            let text = "tokenizer: the pre-tokenizer has no name in GGUF, so only the ids of texts \
                        say whether it is the same";
            self.notes.push(text.into());
        } else {
            if !cuts_alike(&a.pre, &b.pre) {
                self.unlike("pre-tokenizer", [steps(&a.pre), steps(&b.pre)], terms);
            }
            self.form("ignore_merges", [&a.ignore_merges, &b.ignore_merges], terms);
        }
        self.form("normalizer", [&a.pre.normal, &b.pre.normal], terms);
        self.form("unknown token", [&a.unknown, &b.unknown], terms);
        self.form("fuse_unk", [&a.fuse_unknown, &b.fuse_unknown], terms);
    }

    fn wordpiece(&mut self, a: &WordPiece, b: &WordPiece, terms: Terms) {
        self.form("prefix", [&a.prefix, &b.prefix], Terms::Same);
        self.form("unknown token", [&a.unknown, &b.unknown], terms);
        self.form("normalizer", [&a.pre.normal, &b.pre.normal], terms);
        self.form("pre-tokenizer", [&a.pre.steps, &b.pre.steps], terms);
        self.form("longest word", [&a.letters_max, &b.letters_max], terms);
        self.form("cleanup of decoded text", [&a.cleanup, &b.cleanup], terms);
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
        self.more(differ.len(), "vocabulary", "pieces");
    }

    /// What is known of the tokens whose text is equal.
    fn classes(&mut self, theirs: &Tokenizer, ours: &Tokenizer, terms: Terms) {
        let pairs = theirs.tokens.iter().zip(&ours.tokens);
        let differ = pairs.filter(|(a, b)| a.text == b.text && a.class != b.class);
        let differ: Vec<_> = differ.collect();
        if terms == Terms::Files {
            if !differ.is_empty() {
                self.unlike("the type of some tokens", Default::default(), terms);
            }
            return;
        }
        let shown = |class: Class| format!("{class:?}").to_lowercase();
        for (a, b) in differ.iter().take(LISTED_MAX) {
            self.differs(format!("type of {:?}", a.text), &shown(a.class), &shown(b.class));
        }
        self.more(differ.len(), "types", "types of tokens");
    }

    fn more(&mut self, count: usize, subject: &str, what: &str) {
        if count > LISTED_MAX {
            let text = format!("{count} {what} differ in all");
            self.findings.push(Finding::new(NAME, subject, text));
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
        self.more(differ.len(), "scores", "scores");
    }

    /// The gate of ids.
    fn texts(&mut self, theirs: &Tokenizer, ours: &Tokenizer) {
        match texts::compare(theirs, ours) {
            Ok((findings, holds)) => {
                self.gates.push(Gate::none_of(texts::NAME, &findings, holds));
                self.findings.extend(findings);
            }
            Err(error) => {
                let text = format!("the reference's tokenizer does not run, so no ids: {error}");
                self.notes.push(text);
            }
        }
    }
}

/// The text, unless the token only fills a row of the embedding: each format fills in its way.
fn piece(token: Option<&Token>) -> Option<&str> {
    token.filter(|token| token.class != Class::Unused).map(|token| token.text.as_str())
}

/// The added tokens, and how each is looked for: those that only fill a row are not.
fn flags(tokenizer: &Tokenizer) -> Vec<&Added> {
    let is_token = |added: &&Added| {
        let token = tokenizer.tokens.get(added.id as usize);
        token.is_some_and(|token| token.class != Class::Unused)
    };
    tokenizer.added.iter().filter(is_token).collect()
}

fn steps(pre: &Pre) -> String {
    let steps: Vec<String> = pre.steps.iter().map(Step::to_string).collect();
    steps.join(" → ")
}

/// Whether two ways of cutting are one: by their steps, or because both have a name for the same.
fn cuts_alike(a: &Pre, b: &Pre) -> bool {
    let row = |pre: &Pre| pre.name.as_deref().and_then(names::row_of);
    let spaced = |pre: &Pre| pre.steps.contains(&Step::PrefixSpace);
    let named = match (row(a), row(b)) {
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        _ => false,
    };
    a.steps == b.steps || (named && spaced(a) == spaced(b))
}

#[cfg(test)]
mod tests;
