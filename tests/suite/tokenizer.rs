//! Tokenizers against Hugging Face's library, llama.cpp and files that mean harm.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use remold::ir::tokenizer::{Added, Bpe, Kind, Token, Tokenizer, names};
use remold::ir::value::List;
use remold::ir::{Fault, Notes, Value};
use remold::read::{tokenizer_gguf, tokenizer_json, tokenizer_model};
use remold::run::tokens::{Encoder, Stream};
use remold::write;
use sentencepiece::Type;

use crate::program::bounded;
use crate::vocabulary::through_json;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizer")
}

fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).expect("JSON")
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn texts() -> Vec<String> {
    let texts = json(&fixtures().join("texts.json"));
    serde_json::from_value(texts).expect("a list of texts")
}

/// Every folder that holds a tokenizer.
fn folders() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures()).expect("fixtures");
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    folders.retain(|path| path.join("tokenizer.json").exists());
    folders.sort();
    assert_eq!(folders.len(), 17, "fixtures are missing: this test would prove less");
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("a name")
}

fn read(folder: &Path) -> Tokenizer {
    let tokenizer = std::fs::read(folder.join("tokenizer.json")).expect("tokenizer.json");
    let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
    let files = tokenizer_json::Files {
        tokenizer: &tokenizer,
        tokenizer_config: config.as_deref(),
        ..Default::default()
    };
    let mut notes = Notes::default();
    let read = tokenizer_json::read(&files, &mut notes);
    assert!(notes.is_empty(), "{notes:?}");
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

#[test]
fn ids_and_text_are_those_of_hugging_faces_library() {
    let texts = texts();
    assert!(texts.len() >= 25);
    for folder in folders() {
        let tokenizer = read(&folder);
        let encoder = Encoder::new(&tokenizer).expect("fits together");
        let expected = json(&folder.join("expected.json"));
        for (at, text) in texts.iter().enumerate() {
            let place = format!("{}: {text:?}", name(&folder));
            let plain = encoder.encode(text, true, false).expect("encodes");
            assert_eq!(plain, ids(&expected["plain"][at]), "{place}");
            let unparsed = encoder.encode(text, false, false).expect("encodes");
            assert_eq!(unparsed, ids(&expected["unparsed"][at]), "{place}, specials as text");
            let decoded = encoder.decode_text(&plain, false).expect("decodes");
            assert_eq!(decoded, expected["decoded"][at].as_str().expect("text"), "{place}");
        }
    }
}

/// What a prompt gets around it. DeepSeek's file says nothing of it, its configuration does, and
/// Hugging Face's library has not seen the configuration.
#[test]
fn prompts_begin_and_end_as_the_files_say() {
    for folder in folders().iter().filter(|folder| name(folder) != "deepseek-llm") {
        let encoder = Encoder::new(&read(folder)).expect("fits together");
        let expected = json(&folder.join("expected.json"));
        for (at, text) in texts().iter().enumerate() {
            let prompt = encoder.encode(text, true, true).expect("encodes");
            assert_eq!(prompt, ids(&expected["prompt"][at]), "{}: {text:?}", name(folder));
        }
    }
    let deepseek = read(&fixtures().join("deepseek-llm"));
    let bos = deepseek.tokens.iter().position(|token| token.text == "<｜begin▁of▁sentence｜>");
    assert_eq!(deepseek.prefix, [bos.expect("a token") as u32]);
    assert!(deepseek.adds_bos() && !deepseek.adds_eos());
}

fn bpe(tokenizer: &mut Tokenizer) -> &mut Bpe {
    match &mut tokenizer.kind {
        Kind::Bpe(bpe) => bpe,
        _ => panic!("not BPE"),
    }
}

/// A tokenizer without what GGUF has no place for.
fn as_gguf_holds_it(tokenizer: &Tokenizer) -> Tokenizer {
    let mut kept = tokenizer.clone();
    let bpe = bpe(&mut kept);
    bpe.pre.normal.clear();
    bpe.unknown = None;
    let plain = |added: &Added| Added { id: added.id, special: added.special, ..PLAIN };
    kept.added = kept.added.iter().map(plain).collect();
    kept
}

const PLAIN: Added = Added {
    id: 0,
    special: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
    normalized: false,
};

#[test]
fn tokenizers_survive_the_way_to_gguf_and_back() {
    for folder in folders() {
        let tokenizer = read(&folder);
        let rows = tokenizer.tokens.len() + 3;
        let mut notes = Notes::default();
        let entries = write::tokenizer_gguf::entries(&tokenizer, rows, None, &mut notes);
        if name(&folder) == "steps" {
            let error = entries.expect_err("has no name");
            assert_eq!(error.fault, Fault::Unsupported);
            assert!(error.to_string().contains("--pre NAME"), "{error}");
            continue;
        }
        let entries: IndexMap<_, _> = entries.expect("has a name").into_iter().collect();
        let pre = entries["tokenizer.ggml.pre"].as_text().expect("a name");
        assert_eq!(pre, name(&folder).replace("added", "gpt-2"));
        let losses = matches!(name(&folder), "added" | "qwen2");
        assert_eq!(!notes.is_empty(), losses, "{}: {notes:?}", name(&folder));
        let mut again = tokenizer_gguf::read(&entries).expect("reads").expect("a tokenizer");
        let padding: Vec<_> = again.tokens.drain(rows - 3..).map(|token| token.text).collect();
        let expected: Vec<_> = (rows - 3..rows).map(|id| format!("[PAD{id}]")).collect();
        assert_eq!(padding, expected);
        if name(&folder) == "gpt-4o" {
            let mut first = tokenizer.clone();
            bpe(&mut again).pre.steps.clone_from(&bpe(&mut first).pre.steps);
        }
        assert_eq!(again, as_gguf_holds_it(&tokenizer), "{}", name(&folder));
    }
}

#[test]
fn a_stream_of_tokens_gives_the_text() {
    let encoder = Encoder::new(&read(&fixtures().join("qwen2"))).expect("fits together");
    for text in texts() {
        let ids = encoder.encode(&text, true, false).expect("encodes");
        let mut stream = Stream::default();
        let mut out = String::new();
        for id in &ids {
            out.push_str(&stream.push(encoder.piece(*id).expect("a token")));
        }
        out.push_str(&stream.finish());
        assert_eq!(out, encoder.decode_text(&ids, false).expect("decodes"));
    }
    assert!(encoder.decode(&[encoder.len() as u32], false).is_err());
}

#[test]
fn long_words_take_little_time() {
    bounded("long texts", || {
        let words = ["a".repeat(1_000_000), " ".repeat(1_000_000) + "a", "ab".repeat(500_000)];
        for folder in ["gpt-2", "llama-bpe", "gpt-4o"] {
            let encoder = Encoder::new(&read(&fixtures().join(folder))).expect("fits together");
            for word in &words {
                let ids = encoder.encode(word, true, false).expect("encodes");
                assert_eq!(encoder.decode_text(&ids, false).expect("decodes"), *word);
            }
        }
    });
}

/// A tokenizer.json of one letter a piece, with these parts replaced.
fn small(pre: &str, vocab: &str, merges: &str) -> String {
    format!(
        r#"{{"added_tokens": [], "normalizer": null, "pre_tokenizer": {pre}, "post_processor": null,
        "decoder": null, "model": {{"type": "BPE", "vocab": {vocab}, "merges": {merges}}}}}"#
    )
}

fn read_text(text: &str) -> remold::ir::Result<Tokenizer> {
    let files = tokenizer_json::Files { tokenizer: text.as_bytes(), ..Default::default() };
    tokenizer_json::read(&files, &mut Notes::default())
}

#[test]
fn a_pattern_that_blows_up_ends_soon() {
    let split = r#"{"type": "Split", "pattern": {"Regex": "^(?=(a+)+$)(?:(?=a)a+)+$"},
        "behavior": "Isolated"}"#;
    let tokenizer = read_text(&small(split, r#"{"a": 0, "b": 1, "aa": 2}"#, r#"["a a"]"#));
    let encoder = Encoder::new(&tokenizer.expect("reads")).expect("fits together");
    let text = "a".repeat(40) + "b";
    let result = bounded("a pattern", || encoder.encode(&text, true, false));
    assert!(result.map_or_else(|error| error.fault == Fault::Limit, |ids| ids.len() == 21));
}

#[test]
fn bad_tokenizers_are_refused_with_their_place() {
    let merges = r#"["a b"]"#;
    let vocab = r#"{"a": 0, "b": 1, "ab": 2}"#;
    let cases = [
        (small("null", r#"{"a": 0, "a": 1}"#, "[]"), "key 'a' comes twice"),
        (small("null", r#"{"a": 0, "b": 0}"#, "[]"), "have one id, 0"),
        (small("null", r#"{"a": 4294967295}"#, "[]"), "expected below"),
        (small("null", r#"{"a": 1e30}"#, "[]"), "expected below"),
        (small("null", r#"{"a": -1}"#, "[]"), "expected below"),
        (small("null", r#"{"a": 0, "b": 1}"#, merges), "'ab' is not in the vocabulary"),
        (small("null", r#"{"a": 0, "ab": 1}"#, merges), "'b' is not in the vocabulary"),
        (small("null", vocab, r#"["a b", ["a", "b"]]"#), "merges 0 and 1 are one"),
        (small("null", vocab, r#"["a b c"]"#), "expected two texts"),
        (small("null", vocab, r#"[["a"]]"#), "expected two texts"),
        (small(r#"{"type": "Metaspace"}"#, vocab, merges), "another replacement"),
        (small(r#"{"type": "Split"}"#, vocab, merges), "neither 'Regex' nor 'String'"),
        (small("null", vocab, merges).replace("BPE", "Unigram"), "model.vocab: not a list"),
        (small("null", vocab, merges).replace("BPE", "WordLevel"), "'WordLevel' is not supported"),
        (small("null", vocab, merges) + "x", "trailing characters"),
        (small(&"[".repeat(200), vocab, merges), "recursion limit"),
    ];
    for (text, expected) in cases {
        let error = read_text(&text).expect_err(expected).to_string();
        assert!(error.starts_with("tokenizer.json: "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn bad_metadata_is_refused_with_its_key() {
    let tokenizer = read(&fixtures().join("llama-bpe"));
    let count = tokenizer.tokens.len();
    let entries = write::tokenizer_gguf::entries(&tokenizer, count, None, &mut Notes::default());
    let good: IndexMap<_, _> = entries.expect("has a name").into_iter().collect();
    let text = |text: &str| Value::Text(text.to_owned());
    let cases = [
        ("scores", Value::List(List::F32(vec![0.0; count - 1])), Fault::Malformed),
        ("scores", Value::List(List::F64(vec![0.0; count])), Fault::Malformed),
        ("token_type", Value::List(List::U8(vec![1; count])), Fault::Malformed),
        ("token_type", Value::List(List::I32(vec![1; count + 1])), Fault::Malformed),
        ("token_type", Value::List(List::I32(vec![7; count])), Fault::Malformed),
        ("token_type", Value::List(List::I32(vec![6; count])), Fault::Malformed),
        ("eos_token_id", Value::U32(count as u32), Fault::Malformed),
        ("bos_token_id", Value::I32(-1), Fault::Malformed),
        ("merges", Value::List(List::Text(vec!["a".into()])), Fault::Malformed),
        ("merges", Value::List(List::Text(vec!["a \u{1f999}".into()])), Fault::Malformed),
        ("add_bos_token", Value::U8(1), Fault::Malformed),
        ("pre", text("no-such"), Fault::Unsupported),
        ("model", text("llama"), Fault::Malformed),
        ("model", text("t5"), Fault::Malformed),
        ("model", text("rwkv"), Fault::Unsupported),
    ];
    for (key, value, fault) in cases {
        let mut bad = good.clone();
        bad.insert(format!("tokenizer.ggml.{key}"), value);
        let error = tokenizer_gguf::read(&bad).expect_err(key);
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.to_string().contains("token") || key == "pre", "{error}");
    }
    let none = write::tokenizer_gguf::none().into_iter().collect();
    assert_eq!(tokenizer_gguf::read(&none), Ok(None));
}

#[test]
fn hostile_tokenizers_are_refused() {
    let Some(folder) = testing::corpus("hostile/json") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("corpus") {
        let path = entry.expect("entry").path();
        if !name(&path).starts_with("bad_tokenizer_") {
            continue;
        }
        seen += 1;
        let bytes = std::fs::read(path.join("tokenizer.json")).expect("tokenizer.json");
        let files = tokenizer_json::Files { tokenizer: &bytes, ..Default::default() };
        let read = bounded("a tokenizer", || tokenizer_json::read(&files, &mut Notes::default()));
        let error = read.expect_err(name(&path));
        let expected = match name(&path) {
            "bad_tokenizer_regex_size" | "bad_tokenizer_replace_grow" => Fault::Limit,
            _ => Fault::Malformed,
        };
        assert_eq!(error.fault, expected, "{}: {error}", name(&path));
    }
    assert_eq!(seen, 7);
}

/// The metadata of a GGUF file that concerns tokenizers.
fn metadata(path: &Path) -> IndexMap<String, Value> {
    let blob = remold::ir::Blob::open(path, remold::ir::Access::Read).expect("opens");
    let read = gguf::read(&blob, &gguf::Limits::default()).expect("reads");
    let entries = read.metadata.iter().filter(|(key, _)| key.starts_with("tokenizer."));
    entries.map(|(key, value)| (key.to_owned(), converted(value))).collect()
}

fn converted(value: &gguf::Value) -> Value {
    use gguf::{Array, Value as Theirs};
    match value {
        Theirs::Text(text) => Value::Text(text.clone()),
        Theirs::U32(n) => Value::U32(*n),
        Theirs::Bool(b) => Value::Bool(*b),
        Theirs::Array(Array::Text(texts)) => Value::List(List::Text(texts.clone())),
        Theirs::Array(Array::I32(list)) => Value::List(List::I32(list.clone())),
        Theirs::Array(Array::U8(list)) => Value::List(List::U8(list.clone())),
        Theirs::Array(Array::F32(list)) => Value::List(List::F32(list.clone())),
        other => panic!("no tokenizer key has {other:?}"),
    }
}

#[test]
fn hostile_metadata_is_refused() {
    let Some(folder) = testing::corpus("hostile/gguf") else { return };
    let files = ["scores_shorter", "token_type_u8", "eos_out_of_range", "byte_token_neg"];
    for file in files {
        let entries = metadata(&folder.join(format!("bad_{file}.gguf")));
        let error = tokenizer_gguf::read(&entries).expect_err(file);
        assert_eq!(error.fault, Fault::Malformed, "{file}: {error}");
    }
}

#[test]
fn llama_cpps_vocabularies_give_its_ids() {
    let Some(folder) = testing::corpus("llama-vocab") else { return };
    let mut cases = 0;
    for name in ["gpt-2", "starcoder", "deepseek-llm", "llama-spm", "phi-3", "bert-bge"] {
        let path = folder.join(format!("ggml-vocab-{name}.gguf"));
        let tokenizer = tokenizer_gguf::read(&metadata(&path)).expect("reads").expect("has one");
        let beside = |ending: &str| {
            let path = folder.join(format!("ggml-vocab-{name}.gguf.{ending}"));
            std::fs::read_to_string(path).expect("UTF-8")
        };
        let (inputs, outputs) = (beside("inp"), beside("out"));
        let inputs: Vec<_> = inputs.split("\n__ggml_vocab_test__\n").collect();
        for (form, tokenizer) in forms(tokenizer, name) {
            let encoder = Encoder::new(&tokenizer).expect("fits together");
            for (text, expected) in inputs.iter().zip(outputs.lines()) {
                let ids = encoder.encode(text, false, false).expect("encodes");
                let expected: Vec<u32> =
                    expected.split_whitespace().map(|id| id.parse().expect("an id")).collect();
                assert_eq!(ids, expected, "{name}, {form}: {text:?}");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, (6 + 6 + 1) * 46);
}

/// The vocabulary of a GGUF file as it is, as tokenizer.json, and of SentencePiece's own as
/// tokenizer.model; `fixtures/make/spm.py` shows that the library writes that too.
fn forms(held: Tokenizer, name: &str) -> Vec<(&'static str, Tokenizer)> {
    let json = through_json(&held, &format!("vocab-{name}"), &mut Notes::default());
    let mut forms = vec![("tokenizer.json", json)];
    if let ("llama-spm", Kind::Spm(spm)) = (name, &held.kind) {
        let piece = |(token, score): (&Token, &f32)| {
            let kinds = [Type::Normal, Type::Unknown, Type::Control, Type::UserDefined];
            let kinds = [kinds.as_slice(), &[Type::Unused, Type::Byte]].concat();
            let kind = kinds[token.class as usize - 1];
            sentencepiece::Piece { text: token.text.clone(), score: *score, kind }
        };
        let pieces = held.tokens.iter().zip(&spm.scores).map(piece).collect();
        let mut model = sentencepiece::Model { pieces, ..Default::default() };
        model.trainer.kind = sentencepiece::Kind::Bpe;
        model.trainer.byte_fallback = true;
        model.normalizer.remove_extra_whitespaces = false;
        let bytes = sentencepiece::write(&model);
        let files = tokenizer_json::Files { tokenizer: &bytes, ..Default::default() };
        let read = tokenizer_model::read(&files, None, &mut Notes::default()).expect("reads");
        forms.push(("tokenizer.model", read));
    }
    forms.push(("GGUF", held));
    forms
}

/// The ids are those of llama.cpp and of Hugging Face's library, which agree about them.
#[test]
fn a_real_model_gives_its_ids() {
    let Some(path) = std::env::var_os("REMOLD_SMOLLM2").map(PathBuf::from) else {
        return eprintln!("$REMOLD_SMOLLM2 names no SmolLM2-135M-Instruct.Q4_1.gguf: not tested");
    };
    let tokenizer = tokenizer_gguf::read(&metadata(&path)).expect("reads").expect("has one");
    assert!(tokenizer.chat_template(None).is_some_and(|text| text.contains("im_start")));
    let encoder = Encoder::new(&tokenizer).expect("fits together");
    let rows = json(&fixtures().join("smollm2.json"));
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 25);
    for row in rows {
        let text = row[0].as_str().expect("text");
        assert_eq!(encoder.encode(text, true, true).expect("encodes"), ids(&row[1]), "{text:?}");
    }
}

#[test]
fn the_bundled_model_is_recognised() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden/tiny-llama");
    if !beside.exists() {
        return eprintln!("{} is absent: not tested", beside.display());
    }
    let mut tokenizer = read(&beside);
    assert_eq!(tokenizer.tokens.len(), 768);
    assert!(tokenizer.adds_bos() && !tokenizer.adds_eos());
    let bpe = bpe(&mut tokenizer);
    assert_eq!(names::recognise(&bpe.pre, bpe.ignore_merges, None), Ok("dbrx".to_owned()));
}
