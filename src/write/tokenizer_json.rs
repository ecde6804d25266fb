//! A tokenizer as tokenizer.json and the files beside it, as Hugging Face's libraries read them.
//!
//! Every token stands in the model's vocabulary, added ones too: the library numbers added tokens
//! that it does not find there by itself. What only fills a row of the embedding is left out.
//!
//! Format: <https://github.com/huggingface/tokenizers>, 0.23; transformers 5.

mod parts;

use serde_json::{Map, Value as Json, json};

use crate::ir::tokenizer::unigram::keeps_words_apart;
use crate::ir::tokenizer::{
    Added, Bpe, Class, Kind, ROLES, Role, Spm, Text, Token, Tokenizer, Unigram, WordPiece, spm,
};
use crate::ir::{Notes, Result};

/// What transformers takes for "no limit".
const NO_LIMIT: f64 = 1e30;

/// A file: its name and what it says.
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// The files of a tokenizer, of a model that takes `context` tokens.
///
/// # Errors
/// Unsupported if the library has no component for a step of it.
pub fn files(tokenizer: &Tokenizer, context: Option<u64>, notes: &mut Notes) -> Result<Vec<File>> {
    note_losses(tokenizer, notes);
    let file = |name, value: &Json| File { name, text: format!("{value:#}\n") };
    let mut files = vec![
        File { name: "tokenizer.json", text: format!("{}\n", whole(tokenizer)?) },
        file("tokenizer_config.json", &config(tokenizer, context)),
        file("generation_config.json", &generation(tokenizer)),
    ];
    if let Some(text) = tokenizer.chat_template(None) {
        files.push(File { name: "chat_template.jinja", text: text.to_owned() });
    }
    Ok(files)
}

/// The parts that depend on the kind of tokenizer.
struct Form {
    normalizer: Json,
    cutting: Json,
    decoder: Json,
    model: Json,
}

fn whole(tokenizer: &Tokenizer) -> Result<Json> {
    let added: Vec<Json> = tokenizer.added.iter().map(|added| token(tokenizer, added)).collect();
    let form = match &tokenizer.kind {
        Kind::Bpe(bpe) => Form {
            normalizer: parts::normals(&bpe.pre.normal),
            cutting: parts::steps(&bpe.pre.steps)?,
            decoder: parts::byte_level(false, true),
            model: bpe_model(tokenizer, bpe),
        },
        Kind::Spm(spm) => {
            let (normalizer, cutting) = parts::spelled(&spm.spelling, false);
            let decoder = parts::space_decoder(spm.spelling.space);
            Form { normalizer, cutting, decoder, model: spm_model(tokenizer, spm) }
        }
        Kind::Unigram(unigram) => {
            let (normalizer, cutting, decoder) = match &unigram.text {
                Text::Spelled(spelling) => {
                    let split = keeps_words_apart(&tokenizer.tokens);
                    let (normalizer, cutting) = parts::spelled(spelling, split);
                    (normalizer, cutting, parts::space_decoder(spelling.space))
                }
                Text::Cut(pre) => {
                    let decoder = parts::metaspace_decoder(&pre.steps);
                    (parts::normals(&pre.normal), parts::steps(&pre.steps)?, decoder)
                }
            };
            Form { normalizer, cutting, decoder, model: unigram_model(tokenizer, unigram) }
        }
        Kind::WordPiece(model) => Form {
            normalizer: parts::normals(&model.pre.normal),
            cutting: parts::steps(&model.pre.steps)?,
            decoder: json!({
                "type": "WordPiece", "prefix": model.prefix, "cleanup": model.cleanup,
            }),
            model: wordpiece_model(tokenizer, model),
        },
    };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": form.normalizer,
        "pre_tokenizer": form.cutting,
        "post_processor": parts::ends(tokenizer),
        "decoder": form.decoder,
        "model": form.model,
    }))
}

fn token(tokenizer: &Tokenizer, added: &Added) -> Json {
    json!({
        "id": added.id,
        "content": tokenizer.text(added.id),
        "single_word": added.single_word,
        "lstrip": added.lstrip,
        "rstrip": added.rstrip,
        "normalized": added.normalized,
        "special": added.special,
    })
}

fn bpe_model(tokenizer: &Tokenizer, bpe: &Bpe) -> Json {
    let mut model = model(tokenizer, &bpe.merges, bpe.unknown);
    model["fuse_unk"] = bpe.fuse_unknown.into();
    model["ignore_merges"] = bpe.ignore_merges.into();
    model
}

fn spm_model(tokenizer: &Tokenizer, spm: &Spm) -> Json {
    let merges = spm::merges(&tokenizer.tokens, &spm.scores);
    let mut model = model(tokenizer, &merges, spm.unknown);
    model["fuse_unk"] = true.into();
    model["byte_fallback"] = tokenizer.tokens.iter().any(|t| t.class == Class::Byte).into();
    model
}

/// Scores of what no search finds are none: the library would take them for the lowest.
fn unigram_model(tokenizer: &Tokenizer, unigram: &Unigram) -> Json {
    let pieces = tokenizer.tokens.iter().zip(&unigram.scores);
    let spelled = matches!(unigram.text, Text::Spelled(_));
    let row = |(token, score): (&Token, &f64)| {
        let score = if spelled && token.class != Class::Normal { 0.0 } else { *score };
        json!([token.text, score])
    };
    let mut vocab: Vec<Json> = pieces.map(row).collect();
    let is_token = |at: &usize| !is_padding(*at as u32, &tokenizer.tokens[*at]);
    vocab.truncate((0..tokenizer.tokens.len()).rfind(is_token).map_or(0, |last| last + 1));
    json!({
        "type": "Unigram",
        "unk_id": unigram.unknown,
        "vocab": vocab,
        "byte_fallback": tokenizer.tokens.iter().any(|token| token.class == Class::Byte),
    })
}

fn wordpiece_model(tokenizer: &Tokenizer, model: &WordPiece) -> Json {
    json!({
        "type": "WordPiece",
        "unk_token": model.unknown.and_then(|id| tokenizer.text(id)).unwrap_or_default(),
        "continuing_subword_prefix": model.prefix,
        "max_input_chars_per_word": model.letters_max,
        "vocab": vocabulary(tokenizer),
    })
}

fn vocabulary(tokenizer: &Tokenizer) -> Map<String, Json> {
    let rows = (0u32..).zip(&tokenizer.tokens).filter(|(id, token)| !is_padding(*id, token));
    rows.map(|(id, token)| (token.text.clone(), id.into())).collect()
}

fn model(tokenizer: &Tokenizer, merges: &[(u32, u32)], unknown: Option<u32>) -> Json {
    let text = |id: u32| Json::from(tokenizer.text(id));
    let pair = |&(left, right): &(u32, u32)| json!([text(left), text(right)]);
    json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown.map(text),
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": false,
        "vocab": vocabulary(tokenizer),
        "merges": merges.iter().map(pair).collect::<Vec<_>>(),
    })
}

/// A token that only fills a row of the embedding, as llama.cpp's converter spells it.
fn is_padding(id: u32, token: &Token) -> bool {
    token.class == Class::Unused && token.text == format!("[PAD{id}]")
}

fn config(tokenizer: &Tokenizer, context: Option<u64>) -> Json {
    let mut out = Map::new();
    let only = |ends: &[u32], role| ends.iter().all(|id| tokenizer.role(role) == Some(*id));
    if only(&tokenizer.prefix, Role::Bos) && only(&tokenizer.suffix, Role::Eos) {
        out.insert("add_bos_token".into(), tokenizer.adds_bos().into());
        out.insert("add_eos_token".into(), tokenizer.adds_eos().into());
    }
    for (role, name, _) in ROLES {
        if let Some(text) = tokenizer.role(*role).and_then(|id| tokenizer.text(id)) {
            out.insert(format!("{name}_token"), text.into());
        }
    }
    // The usual one has a file of its own.
    let named = tokenizer.chat_templates.iter().filter(|(name, _)| name != "default");
    let named: Vec<Json> =
        named.map(|(name, template)| json!({"name": name, "template": template})).collect();
    if !named.is_empty() {
        out.insert("chat_template".into(), named.into());
    }
    out.insert("clean_up_tokenization_spaces".into(), false.into());
    let length = context.map_or(Json::from(NO_LIMIT), Json::from);
    out.insert("model_max_length".into(), length);
    out.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    Json::Object(out)
}

/// What ends a turn ends generation too.
fn generation(tokenizer: &Tokenizer) -> Json {
    let mut ends: Vec<u32> = Vec::new();
    for id in [Role::Eos, Role::Eot, Role::Eom].into_iter().filter_map(|role| tokenizer.role(role))
    {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    let mut out = Map::new();
    if let Some(id) = tokenizer.role(Role::Bos) {
        out.insert("bos_token_id".into(), id.into());
    }
    match ends[..] {
        [] => {}
        [only] => drop(out.insert("eos_token_id".into(), only.into())),
        _ => drop(out.insert("eos_token_id".into(), ends.into())),
    }
    if let Some(id) = tokenizer.role(Role::Pad) {
        out.insert("pad_token_id".into(), id.into());
    }
    Json::Object(out)
}

fn note_losses(tokenizer: &Tokenizer, notes: &mut Notes) {
    let tokens = (0..).zip(&tokenizer.tokens);
    let unused = tokens.filter(|(id, t)| t.class == Class::Unused && !is_padding(*id, t)).count();
    if unused > 0 {
        let text = format!("tokenizer.json does not say that {unused} tokens are not used");
        notes.lost("tokenizer", text);
    }
    let spelling = match &tokenizer.kind {
        Kind::Spm(spm) => &spm.spelling,
        Kind::Unigram(Unigram { text: Text::Spelled(spelling), .. }) => spelling,
        _ => return,
    };
    if spelling.squeeze {
        return;
    }
    if spelling.space.is_some_and(|space| space.only_first && !space.only_missing) {
        let text = "tokenizer.json puts a space after each token that is cut out of the text too";
        notes.lost("tokenizer: add_dummy_prefix", text);
    }
}
