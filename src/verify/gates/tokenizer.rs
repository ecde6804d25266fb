//! The gate of the tokenizer: the same ids for the same pieces.

use crate::ir::Model;
use crate::ir::tokenizer::Tokenizer;
use crate::verify::report::{Finding, Gate};

/// What the gate is called.
pub(crate) const NAME: &str = "tokenizer";

/// How many differences are listed; a shifted vocabulary differs everywhere.
const LISTED_MAX: usize = 5;

/// The gate, if both models have a tokenizer, with its findings; else a note.
pub(crate) fn compare(
    reference: &Model,
    candidate: &Model,
) -> (Option<Gate>, Vec<Finding>, Option<String>) {
    match (&reference.tokenizer, &candidate.tokenizer) {
        (Some(theirs), Some(ours)) => {
            let texts = tokenizers(theirs, ours);
            let finding = |text: String| {
                let (subject, text) = text.split_once(": ").unwrap_or(("tokenizer", &text));
                Finding::new(NAME, subject, text)
            };
            let findings: Vec<Finding> = texts.into_iter().map(finding).collect();
            let holds = format!("{} pieces", theirs.tokens.len());
            (Some(Gate::none_of(NAME, &findings, holds)), findings, None)
        }
        (Some(_), None) => (None, Vec::new(), Some(lacks("candidate"))),
        (None, Some(_)) => (None, Vec::new(), Some(lacks("reference"))),
        (None, None) => (None, Vec::new(), None),
    }
}

fn lacks(side: &str) -> String {
    format!("the {side} has no tokenizer, so tokenizers are not compared")
}

/// What differs between two tokenizers, each line beginning with what it is about.
fn tokenizers(theirs: &Tokenizer, ours: &Tokenizer) -> Vec<String> {
    let mut out = Vec::new();
    let (n, m) = (theirs.tokens.len(), ours.tokens.len());
    if n != m {
        out.push(format!("pieces: reference {n}, candidate {m}"));
    }
    let pairs = theirs.tokens.iter().zip(&ours.tokens).enumerate();
    let differ = pairs.filter(|(_, (a, b))| a != b);
    out.extend(
        differ
            .take(LISTED_MAX)
            .map(|(id, (a, b))| format!("piece {id}: reference {a:?}, candidate {b:?}")),
    );
    out
}
