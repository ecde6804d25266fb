//! The kind `bert`: WordPiece, words begun by `▁`, what goes on with them by nothing.

use std::collections::BTreeMap;

use super::{Ends, Entries, usual_roles, whole};
use crate::ir::Result;
use crate::ir::tokenizer::normal::Bert;
use crate::ir::tokenizer::wordpiece::{LETTERS_MAX, PREFIX, bert, from_gguf};
use crate::ir::tokenizer::{Added, Class, Kind, Role, Token, Tokenizer, WordPiece, by_text};

/// Ids of BERT's own vocabulary, which llama.cpp takes where the file says nothing.
const USUAL: &[(Role, u32)] =
    &[(Role::Pad, 0), (Role::Unk, 100), (Role::Cls, 101), (Role::Sep, 102), (Role::Mask, 103)];

/// Reads the tokenizer. What the file does not say is as llama.cpp has it for this kind: letters
/// lose their case and their accents.
pub(super) fn read(
    entries: &Entries,
    mut tokens: Vec<Token>,
    mut special: BTreeMap<Role, u32>,
) -> Result<Tokenizer> {
    for token in &mut tokens {
        if token.class != Class::Unused {
            token.text = from_gguf(token);
        }
    }
    by_text(&tokens).map_err(|error| error.at("tokenizer.ggml.tokens"))?;
    if let Some(bos) = special.get(&Role::Bos).copied() {
        special.entry(Role::Cls).or_insert(bos);
    }
    usual_roles(&mut special, tokens.len(), USUAL);
    if let Some(cls) = special.get(&Role::Cls).copied() {
        special.entry(Role::Bos).or_insert(cls);
    }
    let lowercase = entries.truth("ggml.normalizer.lowercase")?.unwrap_or(true);
    let strip_accents = entries.truth("ggml.normalizer.strip_accents")?.unwrap_or(lowercase);
    let model = WordPiece {
        unknown: special.get(&Role::Unk).copied(),
        prefix: PREFIX.to_owned(),
        letters_max: LETTERS_MAX,
        cleanup: true,
        pre: bert(Bert { clean: true, han: true, strip_accents, lowercase })?,
    };
    // Without types of tokens, what steers is what has a part.
    for id in special.values() {
        let token = &mut tokens[*id as usize];
        if token.class == Class::Normal {
            token.class = Class::Control;
        }
    }
    let sep = special.get(&Role::Sep).copied();
    let cut_out = Added::by_class(&tokens);
    let ends = Ends { bos: true, eos: false };
    let mut out = whole(entries, Kind::WordPiece(model), tokens, special, ends)?;
    out.added = cut_out;
    // llama.cpp ends a text with the separator, whatever it says of EOS.
    out.suffix = sep.into_iter().collect();
    Ok(out)
}
