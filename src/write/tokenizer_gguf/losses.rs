//! What a tokenizer says and a GGUF file has no place for.

use std::collections::BTreeMap;

use crate::ir::tokenizer::normal::Form;
use crate::ir::tokenizer::wordpiece::{LETTERS_MAX, to_gguf};
use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, Normal, Role, Spm, Step, Tokenizer, Unigram, WordPiece, by_text, pre,
};
use crate::ir::{Error, Notes, Result};

/// Notes what is lost.
///
/// # Errors
/// Loss if two pieces would be spelled alike.
pub(super) fn note(tokenizer: &Tokenizer, notes: &mut Notes) -> Result<()> {
    match &tokenizer.kind {
        Kind::Bpe(bpe) => note_bpe(tokenizer, bpe, notes),
        Kind::Spm(spm) => note_spm(tokenizer, spm, notes),
        Kind::Unigram(unigram) => note_unigram(tokenizer, unigram, notes)?,
        Kind::WordPiece(model) => note_wordpiece(tokenizer, model, notes)?,
    }
    let flagged = |added: &&Added| added.lstrip || added.rstrip || added.single_word;
    let count = tokenizer.added.iter().filter(flagged).count();
    if count > 0 {
        let text = format!("lstrip, rstrip or single_word of {count} tokens has no place in GGUF");
        notes.lost("tokenizer: added_tokens", text);
    }
    let more =
        |ends: &[u32], role| ends.iter().filter(|id| tokenizer.role(role) != Some(**id)).count();
    let (before, after) = (more(&tokenizer.prefix, Role::Bos), tokenizer.suffix.len());
    if before > 0 || after > 1 {
        let text = "ids other than BOS and EOS that are put around a text have no place in GGUF";
        notes.lost("tokenizer: post_processor", text);
    }
    Ok(())
}

fn note_spm(tokenizer: &Tokenizer, spm: &Spm, notes: &mut Notes) {
    if spm.spelling.charsmap.is_some() {
        let text = "llama.cpp rewrites no text for this kind of tokenizer";
        notes.lost("tokenizer: precompiled_charsmap", text);
    }
    if spm.spelling.squeeze {
        let text = "llama.cpp keeps spaces around a text and runs of them";
        notes.lost("tokenizer: remove_extra_whitespaces", text);
    }
    // It matters where tokens stand within a text, which those at its ends do not.
    let at_ends = [Role::Bos, Role::Eos, Role::Unk, Role::Pad].map(|role| tokenizer.role(role));
    let is_within = |added: &Added| !at_ends.contains(&Some(added.id));
    if let Some(space) = spm.spelling.space
        && (space.only_missing || (space.only_first && tokenizer.added.iter().any(is_within)))
    {
        let text = "llama.cpp puts a space before every text, and after each token cut out of it";
        notes.lost("tokenizer: add_prefix_space", text);
    }
}

fn note_bpe(tokenizer: &Tokenizer, bpe: &Bpe, notes: &mut Notes) {
    if bpe.pre.normal == [Normal::Form(Form::Nfc)] {
        notes.lost("tokenizer: normalizer", "llama.cpp does not bring text into form C");
    } else if !bpe.pre.normal.is_empty() {
        notes
            .lost("tokenizer: normalizer", "llama.cpp rewrites no text for this kind of tokenizer");
    }
    if bpe.pre.steps.contains(&Step::PrefixSpace) {
        notes.lost("tokenizer: add_prefix_space", "llama.cpp puts no space before a BPE text");
    }
    if bpe.unknown.is_some() && !has_all_letters(tokenizer) {
        let text =
            "bytes that are no token vanish in llama.cpp, instead of becoming the unknown token";
        notes.lost("tokenizer: model.unk_token", text);
    }
}

/// Whether each byte that UTF-8 uses is a token.
fn has_all_letters(tokenizer: &Tokenizer) -> bool {
    let used = (0..=u8::MAX).filter(|byte| !matches!(byte, 0xc0 | 0xc1 | 0xf5..));
    let known = by_text(&tokenizer.tokens).unwrap_or_default();
    let mut buffer = [0; 4];
    used.map(pre::letter).all(|letter| known.contains_key(&*letter.encode_utf8(&mut buffer)))
}

fn note_unigram(tokenizer: &Tokenizer, unigram: &Unigram, notes: &mut Notes) -> Result<()> {
    let (spelling, is_whole) = unigram.spelling()?;
    if !is_whole {
        let text = "llama.cpp rewrites and cuts text as SentencePiece does, and not otherwise";
        notes.lost("tokenizer: normalizer", text);
    }
    if spelling.squeeze && spelling.space.is_none() {
        let text = "llama.cpp puts a space before a text whose runs of spaces become one";
        notes.lost("tokenizer: add_dummy_prefix", text);
    }
    if tokenizer.tokens.iter().any(|token| token.class == Class::Byte) {
        let text = "llama.cpp gives the unknown token where bytes stand for a character";
        notes.lost("tokenizer: byte_fallback", text);
    }
    // Numbers of double precision come from JSON with the last bit uncertain.
    let is_lost = |score: &&f64| (f64::from(**score as f32) - **score).abs() > 1e-12 * score.abs();
    let rounded = unigram.scores.iter().filter(is_lost).count();
    if rounded > 0 {
        let text = format!("{rounded} scores are rounded to single precision");
        notes.lost("tokenizer: scores", text);
    }
    Ok(())
}

fn note_wordpiece(tokenizer: &Tokenizer, model: &WordPiece, notes: &mut Notes) -> Result<()> {
    if !model.cuts_as_bert()? {
        let text = "llama.cpp rewrites and cuts text as BERT does, and not otherwise";
        notes.lost("tokenizer: normalizer", text);
    }
    if model.letters_max != LETTERS_MAX {
        let text = "llama.cpp spells words of any length";
        notes.lost("tokenizer: max_input_chars_per_word", text);
    }
    let mut seen = BTreeMap::new();
    for (id, token) in tokenizer.tokens.iter().enumerate() {
        // llama.cpp reads a text up to its first NUL.
        let mut text = to_gguf(token, &model.prefix);
        text.truncate(text.find('\0').unwrap_or(text.len()));
        if let Some(first) = seen.insert(text, id) {
            let found = format!("tokens {first} and {id}, '{}', have one form", token.text);
            return Err(Error::loss(format!("{found} in a GGUF file")));
        }
    }
    Ok(())
}
