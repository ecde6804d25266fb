//! SentencePiece's tokenizers against SentencePiece, Hugging Face's library, and damage.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use remold::ir::tokenizer::{Class, Kind, Role, Space, Spelling, Spm, Tokenizer};
use remold::ir::{Fault, Notes};
use remold::read::tokenizer_json::Files;
use remold::read::{tokenizer_gguf, tokenizer_json, tokenizer_model};
use remold::run::tokens::Encoder;
use remold::write;

use crate::program::{Dir, bounded, remold, tiny};
use crate::vocabulary::{Folder, How, through_json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sentencepiece")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn expected(name: &str) -> serde_json::Value {
    serde_json::from_slice(&bytes(&format!("{name}/expected.json"))).expect("JSON")
}

fn texts() -> Vec<String> {
    let texts: Vec<String> = serde_json::from_slice(&bytes("texts.json")).expect("texts");
    assert_eq!(texts.len(), 31);
    texts
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

fn read(name: &str) -> Tokenizer {
    let mut notes = Notes::default();
    let read = if name.starts_with("json") {
        let tokenizer = bytes(&format!("{name}/tokenizer.json"));
        let config = bytes(&format!("{name}/tokenizer_config.json"));
        let tokenizer_config = Some(config.as_slice());
        let files = Files { tokenizer: &tokenizer, tokenizer_config, ..Default::default() };
        tokenizer_json::read(&files, &mut notes)
    } else {
        let tokenizer = bytes(&format!("{name}/tokenizer.model"));
        let files = Files { tokenizer: &tokenizer, ..Default::default() };
        tokenizer_model::read(&files, None, &mut notes)
    };
    assert!(notes.is_empty(), "{notes:?}");
    read.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn spm(tokenizer: &Tokenizer) -> &Spm {
    match &tokenizer.kind {
        Kind::Spm(spm) => spm,
        _ => panic!("not SentencePiece's"),
    }
}

const MODELS: [&str; 4] = ["llama", "symbols", "no-bytes", "no-space"];

#[test]
fn ids_and_text_are_those_of_sentencepiece() {
    for name in MODELS {
        let encoder = Encoder::new(&read(name)).expect("fits together");
        let expected = expected(name);
        for (at, text) in texts().iter().enumerate() {
            let plain = encoder.encode(text, false, false).expect("encodes");
            assert_eq!(plain, ids(&expected["plain"][at]), "{name}: {text:?}");
            // It decodes what has no piece to a mark of its own.
            if name != "no-bytes" {
                let decoded = encoder.decode_text(&plain, false).expect("decodes");
                assert_eq!(decoded, expected["decoded"][at].as_str().expect("text"), "{name}");
            }
        }
    }
}

#[test]
fn ids_and_text_are_those_of_hugging_faces_library() {
    for name in ["json", "json-metaspace"] {
        let encoder = Encoder::new(&read(name)).expect("fits together");
        let expected = expected(name);
        for (at, text) in texts().iter().enumerate() {
            let plain = encoder.encode(text, true, false).expect("encodes");
            assert_eq!(plain, ids(&expected["plain"][at]), "{name}: {text:?}");
            let prompt = encoder.encode(text, true, true).expect("encodes");
            assert_eq!(prompt, ids(&expected["prompt"][at]), "{name}: {text:?}");
            let decoded = encoder.decode_text(&plain, false).expect("decodes");
            assert_eq!(decoded, expected["decoded"][at].as_str().expect("text"), "{name}");
        }
    }
}

#[test]
fn what_the_files_say_is_known() {
    let tokenizer = read("llama");
    assert_eq!(tokenizer.tokens.len(), 760);
    let special = [(Role::Unk, 0), (Role::Bos, 1), (Role::Eos, 2)].into();
    assert_eq!(tokenizer.special, special);
    assert_eq!((tokenizer.prefix.as_slice(), tokenizer.suffix.as_slice()), (&[1][..], &[][..]));
    let first = Space { only_first: true, only_missing: false };
    assert_eq!(spm(&tokenizer).spelling, Spelling { space: Some(first), ..Spelling::default() });
    assert!(spm(&read("no-bytes")).spelling.squeeze);
    assert_eq!(spm(&read("no-space")).spelling.space, None);
    assert_eq!(spm(&read("json")).spelling.space, Some(Space::default()));
}

/// Merges become the scores that they were made of, but for pieces that no merge makes.
#[test]
fn the_scores_of_tokenizer_json_rank_as_the_trained_ones() {
    let json = read("json");
    let trained = spm(&read("llama")).scores.clone();
    assert_eq!(trained.len(), spm(&json).scores.len());
    let made = spm(&json).scores.iter().filter(|score| **score != 0.0).count();
    assert!(made > 400, "{made}");
    let (pieces, merges) = (&json.tokens, remold::ir::tokenizer::spm::merges);
    let again = merges(pieces, &spm(&json).scores);
    let scores = remold::ir::tokenizer::spm::scores(pieces, &again).expect("ranks");
    assert_eq!(scores, spm(&json).scores);
}

fn through_gguf(tokenizer: &Tokenizer, notes: &mut Notes) -> Tokenizer {
    let rows = tokenizer.tokens.len() + 2;
    let entries = write::tokenizer_gguf::entries(tokenizer, rows, None, notes).expect("writes");
    let entries: IndexMap<_, _> = entries.into_iter().collect();
    assert_eq!(entries["tokenizer.ggml.model"].as_text(), Some("llama"));
    assert_eq!(entries["tokenizer.ggml.pre"].as_text(), Some("default"));
    let mut again = tokenizer_gguf::read(&entries).expect("reads").expect("a tokenizer");
    let padding: Vec<_> = again.tokens.drain(rows - 2..).map(|token| token.text).collect();
    assert_eq!(padding, [format!("[PAD{}]", rows - 2), format!("[PAD{}]", rows - 1)]);
    if let Kind::Spm(spm) = &mut again.kind {
        assert_eq!(spm.scores.split_off(rows - 2), [-10_000.0; 2]);
    }
    again
}

#[test]
fn tokenizers_survive_the_way_to_gguf_and_back() {
    for (name, losses) in
        [("llama", 0), ("symbols", 1), ("no-bytes", 1), ("no-space", 0), ("json", 0)]
    {
        let tokenizer = read(name);
        let mut notes = Notes::default();
        let again = through_gguf(&tokenizer, &mut notes);
        assert_eq!(notes.len(), losses, "{name}: {notes:?}");
        let mut kept = tokenizer;
        for added in &mut kept.added {
            added.normalized = false;
            // Tokens that look special are, to llama.cpp's converter.
            added.special = kept.tokens[added.id as usize].class != Class::UserDefined;
        }
        if let Kind::Spm(spm) = &mut kept.kind {
            spm.spelling.space = spm.spelling.space.map(|_| Space::default());
        }
        if name == "symbols" {
            let spaces = kept.tokens.iter_mut().find(|token| token.text == "▁▁");
            spaces.expect("a token").text = "  ".into();
        }
        assert_eq!(again, kept, "{name}");
    }
}

/// What tokenizer.json says of spaces is what the model does, but for texts with tokens in them and
/// spelled spaces.
#[test]
fn trained_models_go_through_tokenizer_json() {
    let how = How { parses: false, decodes: false };
    let cases: [(&str, &[usize]); 3] = [("llama", &[]), ("no-bytes", &[26]), ("no-space", &[])];
    for (name, unlike) in cases {
        let tokenizer = read(name);
        let again = through_json(&tokenizer, &format!("trained-{name}"), &mut Notes::default());
        assert_eq!(spm(&again).spelling.squeeze, spm(&tokenizer).spelling.squeeze, "{name}");
        assert_eq!(Folder::of("sentencepiece").unlike(name, &again, how), unlike, "{name}");
    }
}

#[test]
fn tokens_of_the_files_beside_are_laid_over_the_pieces() {
    let model = bytes("llama/tokenizer.model");
    let config = br#"{"bos_token": "<s>", "add_bos_token": false, "legacy": true,
        "added_tokens_decoder": {"2": {"content": "</s>", "special": true},
        "762": {"content": "<|end|>", "rstrip": true, "special": true}}}"#;
    let files = Files { tokenizer: &model, tokenizer_config: Some(config), ..Default::default() };
    let added = br#"{"<|tool|>": 760, "quiet": 761}"#;
    let tokenizer = tokenizer_model::read(&files, Some(added), &mut Notes::default());
    let tokenizer = tokenizer.expect("reads");
    assert!(tokenizer.prefix.is_empty());
    let encoder = Encoder::new(&tokenizer).expect("fits together");
    let ids = encoder.encode("<|tool|>quiet<|end|>  ", true, false).expect("encodes");
    assert_eq!(ids, [760, 761, 762]);
    assert_eq!(spm(&tokenizer).scores[760..], [-1000.0; 3]);
    assert_eq!(spm(&tokenizer).spelling.space, Some(Space::default()));

    let far = br#"{"far": 4294967295}"#;
    let error = tokenizer_model::read(&files, Some(far), &mut Notes::default());
    assert!(error.expect_err("far").to_string().contains("an id below"));
}

#[test]
fn other_models_and_damage_are_refused() {
    let read = |tokenizer: &[u8]| {
        let files = Files { tokenizer, ..Default::default() };
        tokenizer_model::read(&files, None, &mut Notes::default())
    };
    let error = read(&bytes("word.model")).expect_err("another kind");
    assert_eq!(error.fault, Fault::Unsupported);
    assert!(error.to_string().contains("WORD"), "{error}");
    let good = ::sentencepiece::read(&bytes("llama/tokenizer.model")).expect("reads");
    type Change = fn(&mut ::sentencepiece::Model);
    let cases: [(Change, &str); 6] = [
        (|model| model.pieces[5] = model.pieces[6].clone(), "has two ids"),
        (|model| model.pieces[5].text = "<0x-1>".into(), "'<0x-1>' is no byte"),
        (|model| drop(model.pieces.remove(5)), "255 pieces of type BYTE, expected 256"),
        (|model| drop(model.pieces.remove(0)), "expected one piece of type UNKNOWN"),
        (|model| model.pieces[400].score = f32::NAN, "score of token 400 is not a number"),
        (|model| model.normalizer.precompiled_charsmap = vec![0; 8], "a trie of 0 bytes"),
    ];
    for (change, expected) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let error = read(&::sentencepiece::write(&bad)).expect_err(expected).to_string();
        assert!(error.starts_with("tokenizer.model: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn long_texts_take_little_time() {
    bounded("long texts", || {
        let encoder = Encoder::new(&read("llama")).expect("fits together");
        for text in ["a".repeat(500_000), " ".repeat(500_000), "ab ".repeat(200_000)] {
            let ids = encoder.encode(&text, true, false).expect("encodes");
            assert_eq!(encoder.decode_text(&ids, false).expect("decodes"), text);
        }
    });
}

/// A directory with no tokenizer.json, a GGUF made of it, and a directory made of that.
#[test]
fn a_model_with_tokenizer_model_goes_round() {
    let dir = Dir::new();
    let source = dir.join("source");
    std::fs::create_dir(&source).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny().join(file), source.join(file)).expect("copies");
    }
    std::fs::write(source.join("tokenizer.model"), bytes("llama/tokenizer.model")).expect("writes");
    let (gguf, again) = (dir.join("x.gguf"), dir.join("again"));
    remold!("convert", source, gguf, "--verify").ends(0);
    remold!("convert", gguf, again, "--verify").ends(0);
    assert!(again.join("tokenizer.json").exists() && !again.join("tokenizer.model").exists());
    let expected = expected("llama");
    let text = texts().iter().position(|text| text.starts_with("The quick")).expect("a text");
    let ids: Vec<String> = ids(&expected["plain"][text]).iter().map(u32::to_string).collect();
    for model in [&source, &gguf, &again] {
        let ran = remold!("tokenize", model, texts()[text]).ends(0);
        assert_eq!(ran.stdout.trim_end(), ids.join(","), "{}", model.display());
    }
}

/// The same pieces, so the same scores, in another order of files.
#[test]
fn scores_of_tokenizer_model_are_taken_where_its_pieces_are_the_same() {
    let tokens = read("llama").tokens;
    let model = bytes("llama/tokenizer.model");
    let scores = tokenizer_model::scores(&model, &tokens).expect("reads").expect("the same");
    assert_eq!(scores, spm(&read("llama")).scores);
    let mut other = tokens;
    other[400].text.push('x');
    assert_eq!(tokenizer_model::scores(&model, &other), Ok(None));
    assert_eq!(tokenizer_model::scores(&bytes("unigram.model"), &other), Ok(None));
}
