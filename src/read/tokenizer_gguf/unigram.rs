//! The kind `t5`: SentencePiece's unigram model.

use std::collections::BTreeMap;

use super::{Ends, Entries, check_bytes, scores, spelling, usual_roles, whole};
use crate::ir::Result;
use crate::ir::tokenizer::{Kind, Role, Text, Token, Tokenizer, Unigram, by_text};

/// Reads the tokenizer. What the file does not say is as llama.cpp has it for this kind.
pub(super) fn read(
    entries: &Entries,
    tokens: Vec<Token>,
    mut special: BTreeMap<Role, u32>,
) -> Result<Tokenizer> {
    check_bytes(&tokens)?;
    by_text(&tokens).map_err(|error| error.at("tokenizer.ggml.tokens"))?;
    let scores = scores(entries)?.into_iter().map(f64::from).collect();
    usual_roles(&mut special, tokens.len(), &[(Role::Pad, 0), (Role::Eos, 1), (Role::Unk, 2)]);
    let unknown = special.get(&Role::Unk).copied();
    let text = Text::Spelled(spelling(entries, false)?);
    let kind = Kind::Unigram(Unigram { scores, unknown, single: false, text });
    whole(entries, kind, tokens, special, Ends { bos: false, eos: true })
}
