//! A Llama of ggml's first months in the words of GGUF.
//!
//! Source: `convert_llama_ggml_to_gguf.py` and `convert.py` of llama.cpp, August 2023. What no file
//! states is what llama.cpp computed with then.

use ggml::{File, Token};
use indexmap::IndexMap;

use crate::ir::value::List;
use crate::ir::{Error, Model, Naming, Notes, Result, Value};
use crate::read::{optional, tokenizer_gguf};

/// Tensors outside of layers, there and in GGUF.
const NAMES: &[(&str, &str)] =
    &[("tok_embeddings", "token_embd"), ("norm", "output_norm"), ("output", "output")];

/// Tensors of a layer, there and in GGUF.
const NAMES_OF_LAYERS: &[(&str, &str)] = &[
    ("attention.wq", "attn_q"),
    ("attention.wk", "attn_k"),
    ("attention.wv", "attn_v"),
    ("attention.wo", "attn_output"),
    ("attention_norm", "attn_norm"),
    ("feed_forward.w1", "ffn_gate"),
    ("feed_forward.w2", "ffn_down"),
    ("feed_forward.w3", "ffn_up"),
    ("ffn_norm", "ffn_norm"),
];

/// What the files do not state: `n_ctx` of the first Llama, and its epsilon.
const CONTEXT: u32 = 2048;
const EPSILON: f32 = 1e-6;

/// ggml's numbers for classes of tokens.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Gives a model of such a file's tensors the rest of what a GGUF would say.
///
/// # Errors
/// Malformed for a tensor or a token that no Llama has, and for parts of several.
pub(super) fn complete(model: &mut Model, file: &File, notes: &mut Notes) -> Result<()> {
    let place = model.origin.clone();
    model.naming = Naming::Gguf;
    let tensors = std::mem::take(&mut model.tensors).into_iter();
    let renamed = tensors.map(|(name, tensor)| Ok((renamed(&name)?, tensor)));
    model.tensors = renamed.collect::<Result<_>>().map_err(|error| error.at(&place))?;
    let mut entries = hyper(model, file).map_err(|error| error.at(&place))?;
    let text = format!(
        "such files do not state the context, {CONTEXT}, nor the epsilon of norms, {EPSILON:e}: \
         set llama.context_length and llama.attention.layer_norm_rms_epsilon for others, such as \
         1e-5 for Llama 2"
    );
    notes.chosen("llama", text);
    entries.extend(vocabulary(file, notes).map_err(|error| error.at(&place))?);
    model.config.entries = entries;
    let read = tokenizer_gguf::read(&model.config.entries);
    (model.tokenizer, model.unread_tokenizer) = optional(read, &place, notes)?;
    Ok(())
}

/// The name in GGUF.
pub(super) fn renamed(name: &str) -> Result<String> {
    let unknown = || Error::malformed(format!("tensor '{name}': no Llama has one of this name"));
    let stem = name.strip_suffix(".weight").ok_or_else(unknown)?;
    let find = |names: &[(&str, &'static str)], stem: &str| {
        names.iter().find(|(theirs, _)| *theirs == stem).map(|(_, ours)| *ours)
    };
    if let Some(ours) = find(NAMES, stem) {
        return Ok(format!("{ours}.weight"));
    }
    let layer = stem.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let (layer, part) = layer.ok_or_else(unknown)?;
    let layer: u32 = layer.parse().map_err(|_| unknown())?;
    let ours = find(NAMES_OF_LAYERS, part).ok_or_else(unknown)?;
    Ok(format!("blk.{layer}.{ours}.weight"))
}

/// The hyper-parameters: those of the header, and those that shapes tell.
fn hyper(model: &Model, file: &File) -> Result<IndexMap<String, Value>> {
    let field = |name: &str| file.field(name).unwrap_or(0);
    let (hidden, heads) = (field("n_embd"), field("n_head"));
    let rows = |name: &str| -> Option<u64> {
        model.tensors.get(name).and_then(|tensor| tensor.shape().dims().first().copied())
    };
    // Models of several parts have the header of the whole in each, and cut the embedding.
    let columns = model.tensors.get("token_embd.weight").map(|tensor| tensor.shape().dims().last());
    if let Some(Some(found)) = columns
        && *found != u64::from(hidden)
    {
        return Err(Error::unsupported(format!(
            "tensor 'tok_embeddings.weight' has rows of {found}, but n_embd is {hidden}: one of \
             several parts (.bin, .bin.1, …), which are not joined; convert the model of one part"
        )));
    }
    let feed_forward = rows("blk.0.ffn_gate.weight").unwrap_or_else(|| formula(file));
    // Llama 2's 70B shares keys among queries, and only the shape says so.
    let keys = rows("blk.0.attn_k.weight").unwrap_or(hidden.into());
    let kv_heads = (u64::from(heads) * keys).checked_div(hidden.into()).unwrap_or(0);
    let count = |n: u64| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
    let pairs = [
        ("general.architecture", Value::Text("llama".into())),
        ("llama.context_length", Value::U32(CONTEXT)),
        ("llama.embedding_length", Value::U32(hidden)),
        ("llama.block_count", Value::U32(field("n_layer"))),
        ("llama.feed_forward_length", count(feed_forward)),
        ("llama.rope.dimension_count", Value::U32(field("n_rot"))),
        ("llama.attention.head_count", Value::U32(heads)),
        ("llama.attention.head_count_kv", count(kv_heads)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(EPSILON)),
    ];
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The width of the feed-forward layer by the first Llama's formula, for files without tensors.
fn formula(file: &File) -> u64 {
    let field = |name: &str| u64::from(file.field(name).unwrap_or(0));
    let (hidden, multiple) = (field("n_embd"), field("n_mult").max(1));
    (8 * hidden / 3).div_ceil(multiple) * multiple
}

/// The vocabulary as GGUF has it.
fn vocabulary(file: &File, notes: &mut Notes) -> Result<Vec<(String, Value)>> {
    let mut texts = Vec::new();
    let mut classes = Vec::new();
    for (id, token) in file.tokens.iter().enumerate() {
        let (text, class) = piece(id, token)?;
        texts.push(text);
        classes.push(class);
    }
    if file.tokens.iter().any(|token| token.score.is_none()) {
        let text = "the file has no scores: all are 0, as llama.cpp had them, so texts are cut \
                    otherwise than the model learned";
        notes.chosen("tokenizer", text);
    }
    let scores = file.tokens.iter().map(|token| token.score.unwrap_or(0.0)).collect();
    let mut pairs = vec![
        ("model", Value::Text("llama".into())),
        ("tokens", Value::List(List::Text(texts))),
        ("scores", Value::List(List::F32(scores))),
        ("token_type", Value::List(List::I32(classes))),
    ];
    let roles = ["unknown_token_id", "bos_token_id", "eos_token_id"];
    let roles = roles.into_iter().zip(0..).take(file.tokens.len());
    pairs.extend(roles.map(|(role, id)| (role, Value::U32(id))));
    let key = |(key, value)| (format!("tokenizer.ggml.{key}"), value);
    Ok(pairs.into_iter().map(key).collect())
}

/// Text and class of a token. Files have no text for tokens that steer the model, one byte for
/// those that stand for one, and spaces where SentencePiece has its mark.
fn piece(id: usize, token: &Token) -> Result<(String, i32)> {
    Ok(match (id, token.bytes.as_slice()) {
        (0, _) => ("<unk>".into(), UNKNOWN),
        (1, _) => ("<s>".into(), CONTROL),
        (2, _) => ("</s>".into(), CONTROL),
        (_, []) => (format!("<control-{id}>"), CONTROL),
        (3..=258, [byte]) => (format!("<0x{byte:02X}>"), BYTE),
        (_, bytes) => {
            let text = std::str::from_utf8(bytes).map_err(|_| {
                let found = bytes.escape_ascii();
                Error::malformed(format!("token {id}, \"{found}\", is not UTF-8"))
            })?;
            (text.replace(' ', "\u{2581}"), NORMAL)
        }
    })
}
