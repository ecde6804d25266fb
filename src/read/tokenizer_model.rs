//! `tokenizer.model`, the file of SentencePiece, and the files beside it.
//!
//! Read are models of type BPE, as those of Llama, Mistral and Gemma are, and UNIGRAM, as T5's; others
//! are Unsupported, by name. Tokens that Hugging Face's files add are laid over the pieces as
//! llama.cpp's converter does it.

use std::collections::BTreeMap;

use sentencepiece::{Kind as Model, Piece, Type};

use super::tokenizer_beside::{Beside, Files, side};
use super::tokenizer_json as json;
use crate::ir::tokenizer::spm::{ADDED_SCORE, check_scores};
use crate::ir::tokenizer::{
    Added, Charsmap, Class, Kind, Role, Space, Spelling, Spm, Text, Token, Tokenizer, Unigram,
    by_text, pre::hex_byte,
};
use crate::ir::{Error, Notes, Result, Value};

const NAME: &str = "tokenizer.model";

/// Reads a tokenizer; `files.tokenizer` are the bytes of tokenizer.model, `added_tokens` those of
/// added_tokens.json.
///
/// # Errors
/// Malformed with the field at fault; Unsupported naming what is not known here.
pub fn read(files: &Files, added_tokens: Option<&[u8]>, notes: &mut Notes) -> Result<Tokenizer> {
    let mut tokenizer = core(files.tokenizer).map_err(|error| error.at(NAME))?;
    let mut trained = std::mem::take(&mut tokenizer.special);
    let added = side(added_tokens, "added_tokens.json")?;
    let beside = Beside::read(files)?;
    if is_fairseq(&beside.config, files) {
        renumber(&mut tokenizer, &mut trained);
    }
    add_tokens(&mut tokenizer, &added, notes).map_err(|error| error.at("added_tokens.json"))?;
    let decoder = beside.config.get("added_tokens_decoder").unwrap_or(&Value::Null);
    let place = "tokenizer_config.json: added_tokens_decoder";
    add_tokens(&mut tokenizer, decoder, notes).map_err(|error| error.at(place))?;
    by_text(&tokenizer.tokens).map_err(|error| error.at(NAME))?;
    beside.name_roles(&mut tokenizer, notes);
    for (role, id) in trained {
        tokenizer.special.entry(role).or_insert(id);
    }
    // As transformers and llama.cpp have it for models that do not say.
    match &tokenizer.kind {
        Kind::Unigram(_) if is_fairseq(&beside.config, files) => {
            tokenizer.prefix.extend(tokenizer.role(Role::Bos));
            tokenizer.suffix.extend(tokenizer.role(Role::Eos));
        }
        Kind::Unigram(_) => tokenizer.suffix.extend(tokenizer.role(Role::Eos)),
        _ => tokenizer.prefix.extend(tokenizer.role(Role::Bos)),
    }
    beside.finish(&mut tokenizer)?;
    set_space(&mut tokenizer, &beside.config);
    Ok(tokenizer)
}

/// Whether the ids of a model are not those of its pieces: fairseq's, which XLM-RoBERTa has.
fn is_fairseq(config: &Value, files: &Files) -> bool {
    let class = config.get("tokenizer_class").and_then(Value::as_text);
    let model = files.config.and_then(|config| config.get("model_type")?.as_text());
    match class {
        Some(class) => class.starts_with("XLMRoberta"),
        None => matches!(model, Some("xlm-roberta" | "xlm-roberta-xl")),
    }
}

/// Puts fairseq's four tokens before the pieces in place of the first three, and the mask after
/// them: `XLMRobertaTokenizer` of transformers, and `_xlmroberta_set_vocab` of llama.cpp's converter.
fn renumber(tokenizer: &mut Tokenizer, trained: &mut BTreeMap<Role, u32>) {
    let Kind::Unigram(unigram) = &mut tokenizer.kind else { return };
    let token = |text: &str, class| Token { text: text.to_owned(), class };
    let control = |text| token(text, Class::Control);
    let first = ["<s>", "<pad>", "</s>"].map(control).into_iter();
    let first = first.chain([token("<unk>", Class::Unknown)]);
    let gone = 3.min(tokenizer.tokens.len());
    tokenizer.tokens.splice(..gone, first);
    unigram.scores.splice(..gone, [0.0; 4]);
    tokenizer.tokens.push(control("<mask>"));
    unigram.scores.push(0.0);
    unigram.unknown = Some(3);
    // Only transformers has these ids, and it runs the model by Hugging Face's library.
    unigram.single = false;
    if let Text::Spelled(Spelling { space: Some(space), .. }) = &mut unigram.text {
        *space = Space { only_first: false, only_missing: true };
    }
    let added = (0..).zip(&tokenizer.tokens);
    tokenizer.added = added.filter_map(|(id, token)| cut_out(id, token.class)).collect();
    let mask = tokenizer.tokens.len() as u32 - 1;
    *trained = [(Role::Bos, 0), (Role::Pad, 1), (Role::Eos, 2), (Role::Unk, 3)].into();
    trained.extend([(Role::Sep, 2), (Role::Cls, 0), (Role::Mask, mask)]);
}

/// The scores of a tokenizer that was read from another file, if this file has the same pieces.
///
/// # Errors
/// Malformed with the field at fault.
pub fn scores(bytes: &[u8], tokens: &[Token]) -> Result<Option<Vec<f32>>> {
    let model = sentencepiece::read(bytes).map_err(|error| Error::from(error).at(NAME))?;
    let is_same = |(piece, token): (&Piece, &Token)| {
        piece.kind != Type::Normal || token.class != Class::Normal || piece.text == token.text
    };
    let pieces = &model.pieces;
    let all = pieces.len() <= tokens.len() && pieces.iter().zip(tokens).all(is_same);
    let rest = tokens.iter().skip(pieces.len()).all(|token| token.class != Class::Normal);
    if model.trainer.kind != Model::Bpe || !all || !rest {
        return Ok(None);
    }
    let mut scores: Vec<f32> = pieces.iter().map(|piece| piece.score).collect();
    scores.resize(tokens.len(), ADDED_SCORE);
    check_scores(&scores).map_err(|error| error.at(NAME))?;
    Ok(Some(scores))
}

/// What tokenizer.model alone says.
fn core(bytes: &[u8]) -> Result<Tokenizer> {
    let model = sentencepiece::read(bytes)?;
    check_supported(&model)?;
    let tokens: Vec<Token> = model.pieces.iter().map(token).collect();
    by_text(&tokens)?;
    let scores: Vec<f32> = model.pieces.iter().map(|piece| piece.score).collect();
    check_scores(&scores)?;
    check_bytes(&model, &tokens)?;
    let mut unknowns = (0..).zip(&tokens).filter(|(_, token)| token.class == Class::Unknown);
    let (Some((unknown, _)), None) = (unknowns.next(), unknowns.next()) else {
        return Err(Error::malformed("expected one piece of type UNKNOWN"));
    };
    let spelling = spelling(&model.normalizer).map_err(|error| error.at("normalizer_spec"))?;
    let unknown = Some(unknown);
    let kind = match model.trainer.kind {
        Model::Unigram => Kind::Unigram(Unigram {
            scores: scores.into_iter().map(f64::from).collect(),
            unknown,
            single: true,
            text: Text::Spelled(spelling),
        }),
        _ => Kind::Spm(Spm { scores, unknown, spelling }),
    };
    Ok(Tokenizer {
        kind,
        added: (0..).zip(&tokens).filter_map(|(id, token)| cut_out(id, token.class)).collect(),
        special: roles(&model, &tokens),
        tokens,
        prefix: Vec::new(),
        suffix: Vec::new(),
        has_decoder: true,
        chat_templates: Vec::new(),
    })
}

fn check_supported(model: &sentencepiece::Model) -> Result<()> {
    let (trainer, normalizer) = (&model.trainer, &model.normalizer);
    let what = match trainer.kind {
        Model::Word => "a model of type WORD",
        Model::Char => "a model of type CHAR",
        _ if trainer.space_as_suffix => "spaces that follow their word",
        _ if !normalizer.escape_whitespaces => "spaces that are not spelled '▁'",
        Model::Bpe | Model::Unigram => return Ok(()),
    };
    Err(Error::unsupported(format!("{what}: not supported")))
}

fn token(piece: &Piece) -> Token {
    let class = match piece.kind {
        Type::Normal => Class::Normal,
        Type::Unknown => Class::Unknown,
        Type::Control => Class::Control,
        Type::UserDefined => Class::UserDefined,
        Type::Unused => Class::Unused,
        Type::Byte => Class::Byte,
    };
    Token { text: piece.text.clone(), class }
}

/// Bytes are tokens all, or none is: SentencePiece refuses what lies between.
fn check_bytes(model: &sentencepiece::Model, tokens: &[Token]) -> Result<()> {
    if let Some(id) = tokens.iter().position(|token| token.text.is_empty()) {
        return Err(Error::malformed(format!("piece {id} is empty")));
    }
    let bytes: Vec<&Token> = tokens.iter().filter(|token| token.class == Class::Byte).collect();
    if let Some(bad) = bytes.iter().find(|token| hex_byte(&token.text).is_none()) {
        return Err(Error::malformed(format!("piece '{}' is no byte, as in <0x0A>", bad.text)));
    }
    let expected = if model.trainer.byte_fallback { 256 } else { 0 };
    if bytes.len() != expected {
        let found = format!("{} pieces of type BYTE, expected {expected}", bytes.len());
        return Err(Error::malformed(found));
    }
    Ok(())
}

/// Control tokens are never found in a text by SentencePiece itself, but by those who parse
/// special tokens; tokens that are never cut are looked for in the normalized text.
fn cut_out(id: u32, class: Class) -> Option<Added> {
    let special = match class {
        Class::Control | Class::Unknown => true,
        Class::UserDefined => false,
        Class::Normal | Class::Unused | Class::Byte => return None,
    };
    let (lstrip, rstrip, single_word) = (false, false, false);
    Some(Added { id, special, lstrip, rstrip, single_word, normalized: !special })
}

fn spelling(normalizer: &sentencepiece::Normalizer) -> Result<Spelling> {
    let rules = &normalizer.precompiled_charsmap;
    let rules = if rules.is_empty() { None } else { Some(Charsmap::new(rules.clone())?) };
    let first = Space { only_first: true, only_missing: false };
    let space = normalizer.add_dummy_prefix.then_some(first);
    Ok(Spelling { charsmap: rules, space, squeeze: normalizer.remove_extra_whitespaces })
}

fn roles(model: &sentencepiece::Model, tokens: &[Token]) -> BTreeMap<Role, u32> {
    let trainer = &model.trainer;
    let ids =
        [(Role::Bos, trainer.bos_id), (Role::Eos, trainer.eos_id), (Role::Pad, trainer.pad_id)];
    let control = |(role, id): (Role, i32)| {
        let id = u32::try_from(id).ok()?;
        let token = tokens.get(id as usize)?;
        (token.class == Class::Control).then_some((role, id))
    };
    let unknown = (0..).zip(tokens).find(|(_, token)| token.class == Class::Unknown);
    ids.into_iter().filter_map(control).chain(unknown.map(|(id, _)| (Role::Unk, id))).collect()
}

/// Lays tokens over the pieces: `{"<pad>": 32000}`, or `{"32000": {"content": "<pad>", …}}`.
pub(super) fn add_tokens(tokenizer: &mut Tokenizer, list: &Value, notes: &mut Notes) -> Result<()> {
    let Value::Map(list) = list else { return Ok(()) };
    let bound = tokenizer.tokens.len() + list.len() + json::GAPS_MAX;
    for (key, value) in list {
        let (id, text) = match value.get("content") {
            Some(text) => (key.parse::<u64>().ok(), text.as_text()),
            None => (value.as_u64(), Some(key.as_str())),
        };
        let id = id.filter(|id| *id < bound as u64);
        let (Some(id), Some(text)) = (id, text) else {
            let found = format!("'{key}': {value}, expected a text and an id below {bound}");
            return Err(Error::malformed(found));
        };
        add_token(tokenizer, id as u32, text, value, notes);
    }
    Ok(())
}

fn add_token(tokenizer: &mut Tokenizer, id: u32, text: &str, flags: &Value, notes: &mut Notes) {
    let (tokens, at) = (&mut tokenizer.tokens, id as usize);
    for gap in tokens.len()..=at {
        tokens.push(json::padding(gap));
    }
    let flag = |key| json::flag(flags, key);
    let special = flag("special") || json::looks_special(text);
    let token = &mut tokens[at];
    let steers = matches!(token.class, Class::Unknown | Class::Control);
    if token.text != text && !matches!(token.class, Class::Unused) {
        notes.odd(NAME, format!("token {id}, '{}', is '{text}' in the files beside", token.text));
    }
    if !(steers && token.text == text) {
        let class = if special { Class::Control } else { Class::UserDefined };
        *token = Token { text: text.to_owned(), class };
        score_added(&mut tokenizer.kind, at);
    }
    let (lstrip, rstrip) = (flag("lstrip"), flag("rstrip"));
    let (single_word, normalized) = (flag("single_word"), flag("normalized"));
    let new = Added { id, special, lstrip, rstrip, single_word, normalized };
    match tokenizer.added.binary_search_by_key(&id, |added| added.id) {
        Ok(at) => tokenizer.added[at] = new,
        Err(at) => tokenizer.added.insert(at, new),
    }
}

/// Gives an added token its score.
fn score_added(kind: &mut Kind, at: usize) {
    match kind {
        Kind::Spm(spm) => set_score(&mut spm.scores, at, ADDED_SCORE),
        Kind::Unigram(unigram) => set_score(&mut unigram.scores, at, ADDED_SCORE.into()),
        Kind::Bpe(_) | Kind::WordPiece(_) => {}
    }
}

fn set_score<T: Copy>(scores: &mut Vec<T>, at: usize, score: T) {
    if at >= scores.len() {
        scores.resize(at + 1, score);
    }
    scores[at] = score;
}

/// Hugging Face's configuration may say where spaces are put before a text.
fn set_space(tokenizer: &mut Tokenizer, config: &Value) {
    let spelling = match &mut tokenizer.kind {
        Kind::Spm(Spm { spelling, .. })
        | Kind::Unigram(Unigram { text: Text::Spelled(spelling), .. }) => spelling,
        _ => return,
    };
    match config.get("add_prefix_space").and_then(Value::as_bool) {
        Some(false) => spelling.space = None,
        Some(true) if spelling.space.is_none() => {
            spelling.space = Some(Space { only_first: true, only_missing: false });
        }
        _ => {}
    }
    if let (Some(space), true) = (&mut spelling.space, json::flag(config, "legacy")) {
        space.only_first = false;
    }
}
