//! WordPiece, plain-text vocabularies and lists of ranks, against the libraries that own them.

use remold::ir::tokenizer::{Class, Kind, Role};
use remold::ir::{Fault, Notes};
use remold::run::tokens::Encoder;

use crate::program::bounded;
use crate::vocabulary::{Folder, How, through_gguf, through_json};

const ALL: [&str; 10] = [
    "bert",
    "bert-cased",
    "bert-text",
    "bert-text-cased",
    "gpt2-text",
    "roberta-text",
    "qwen2-text",
    "tekken",
    "llama3",
    "qwen",
];

#[test]
fn ids_and_text_are_those_of_their_libraries() {
    let fixtures = Folder::of("vocabulary");
    for name in ALL {
        fixtures.holds(name, &fixtures.read(name), How { parses: true, decodes: true });
    }
}

#[test]
fn tokenizers_survive_the_way_to_tokenizer_json_and_back() {
    let fixtures = Folder::of("vocabulary");
    for name in ALL {
        let tokenizer = fixtures.read(name);
        let mut notes = Notes::default();
        let again = through_json(&tokenizer, name, &mut notes);
        assert!(notes.is_empty(), "{name}: {notes:?}");
        assert!(again == tokenizer, "{name}: {:?}, {:?}", again.special, tokenizer.special);
    }
}

/// The ids stay, but where a Note says that llama.cpp has no place for something.
#[test]
fn tokenizers_survive_the_way_to_gguf_and_back() {
    let fixtures = Folder::of("vocabulary");
    let how = How { parses: true, decodes: false };
    for name in ALL {
        let tokenizer = fixtures.read(name);
        let mut notes = Notes::default();
        let held = through_gguf(&tokenizer, &mut notes);
        let lost: Vec<_> = notes.iter().map(|note| note.subject.as_str()).collect();
        let (losses, unlike): (&[&str], &[usize]) = match name {
            // Characters are cleaned and those of Chinese parted, whatever the model says.
            "bert-cased" => (
                &["tokenizer: normalizer", "tokenizer: added_tokens"],
                &[10, 12, 17, 22, 30, 32, 33, 37, 40],
            ),
            "qwen2-text" => (&["tokenizer: normalizer"], &[3, 24, 31]),
            _ => (&[], &[]),
        };
        assert_eq!(lost, losses, "{name}");
        assert_eq!(fixtures.unlike(name, &held, how), unlike, "{name}");
        assert_eq!((&held.prefix, &held.suffix), (&tokenizer.prefix, &tokenizer.suffix), "{name}");
        let again = through_json(&held, &format!("gguf-{name}"), &mut Notes::default());
        assert_eq!(fixtures.unlike(name, &again, how), unlike, "{name}, back as tokenizer.json");
    }
}

#[test]
fn what_the_files_say_is_known() {
    let fixtures = Folder::of("vocabulary");
    let bert = fixtures.read("bert-text");
    assert_eq!(bert.kind_name(), "wordpiece");
    let roles =
        [Role::Pad, Role::Unk, Role::Cls, Role::Sep, Role::Mask].map(|role| bert.role(role));
    assert_eq!(roles, [0, 1, 2, 3, 4].map(Some));
    let tekken = fixtures.read("tekken");
    assert_eq!(tekken.tokens.len(), 710);
    assert_eq!(tekken.text(19), Some("<SPECIAL_19>"));
    assert_eq!((tekken.role(Role::Bos), tekken.role(Role::Eos)), (Some(1), Some(2)));
    assert!(tekken.adds_bos() && !tekken.adds_eos());
    let names =
        [("tekken", "tekken"), ("llama3", "llama-bpe"), ("qwen", "qwen2"), ("gpt2-text", "gpt-2")];
    for (folder, name) in names {
        match fixtures.read(folder).kind {
            Kind::Bpe(bpe) => assert_eq!(bpe.pre.name.as_deref(), Some(name)),
            _ => panic!("{folder} is BPE"),
        }
    }
    let llama = fixtures.read("llama3");
    assert_eq!(llama.tokens[700..].iter().filter(|t| t.class == Class::Control).count(), 256);
    assert_eq!(llama.prefix, [700]);
}

/// Generation stops at each of them, also by way of a GGUF file.
#[test]
fn every_token_that_ends_a_text_has_a_role() {
    let fixtures = Folder::of("vocabulary");
    let ends = br#"{"eos_token_id": [701, 708, 709, 99999]}"#;
    let tokenizer = fixtures.read_with("llama3", "generation_config.json", ends).expect("reads");
    let held = through_gguf(&tokenizer, &mut Notes::default());
    for tokenizer in [tokenizer, held] {
        let found = [Role::Eos, Role::Eot, Role::Eom].map(|role| tokenizer.role(role));
        assert_eq!(found, [Some(701), Some(709), Some(708)]);
    }
}

/// Files that were changed: in the folder, the file, what is replaced by what, the message.
#[test]
fn damaged_files_are_refused_with_their_place() {
    let cases = [
        ("tekken", "tekken.json", "\"rank\":3,", "\"rank\":4,", "vocab: 3: expected rank 3"),
        ("tekken", "tekken.json", "\"AA==\"", "\"A\"", "vocab: 0: not base64"),
        ("tekken", "tekken.json", "\"AA==\"", "\"AQ==\"", "ranks 0 and 1 have one token"),
        ("tekken", "tekken.json", "\"AA==\"", "\"\"", "rank 0 has 0 bytes"),
        ("tekken", "tekken.json", "tokens\":20", "tokens\":9999", "expected at most 710"),
        ("tekken", "tekken.json", "\"<s>\"", "\"</s>\"", "has two ids, 1 and 2"),
        ("llama3", "tokenizer.model", "AQ== 1\n", "AQ== 2\n", "line 2: 'AQ== 2', expected rank 1"),
        ("llama3", "tokenizer.model", "AQ== 1\n", "AQ= 1\n", "line 2: not base64"),
        ("bert-text", "vocab.txt", "[UNK]\n", "[PAD]\n", "vocab.txt: token '[PAD]' has two ids"),
        ("gpt2-text", "merges.txt", "\nt h\n", "\nt h e\n", "has not two sides"),
        ("gpt2-text", "merges.txt", "\nt h\n", "\nt h</w>\n", "an end of words"),
        ("gpt2-text", "vocab.json", "\"!\":", "\"!!!!!!\":", "is not in the vocabulary"),
    ];
    let fixtures = Folder::of("vocabulary");
    for (folder, file, from, to, expected) in cases {
        let text = String::from_utf8(fixtures.bytes(&format!("{folder}/{file}"))).expect("text");
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{folder}/{file} has no '{from}'");
        let error = fixtures.read_with(folder, file, changed.as_bytes()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(matches!(error.fault, Fault::Malformed | Fault::Unsupported), "{error}");
    }
    let unknown = fixtures.read_with("llama3", "config.json", b"{}").expect_err("an unknown list");
    assert!(unknown.to_string().contains("700 tokens, neither Llama 3's nor Qwen's"), "{unknown}");
}

#[test]
fn long_texts_take_little_time() {
    bounded("long texts", || {
        for name in ["bert", "tekken", "roberta-text"] {
            let encoder =
                Encoder::new(&Folder::of("vocabulary").read(name)).expect("fits together");
            for text in ["ab ".repeat(300_000), "字".repeat(300_000), "e\u{301}".repeat(200_000)] {
                assert!(!encoder.encode(&text, true, true).expect("encodes").is_empty());
            }
        }
    });
}

fn json_of(model: &str) -> String {
    format!(
        r#"{{"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
        "decoder": null, "model": {model}}}"#
    )
}

#[test]
fn bad_unigram_and_wordpiece_models_are_refused() {
    let fixtures = Folder::of("vocabulary");
    let read =
        |model: &str| fixtures.read_with("bert", "tokenizer.json", json_of(model).as_bytes());
    let cases = [
        (r#"{"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 1}"#, "unk_id"),
        (r#"{"type": "Unigram", "vocab": [["a"]]}"#, "expected a text and its score"),
        (r#"{"type": "Unigram", "vocab": [["a", "b"]]}"#, "expected a text and its score"),
        (r#"{"type": "Unigram", "vocab": [["a", -1.0], ["a", -2.0]]}"#, "has two ids, 0 and 1"),
        (r#"{"type": "WordPiece", "vocab": ["a"]}"#, "model.vocab is not a map"),
        (r#"{"type": "WordPiece", "vocab": {"a": 0, "b": 0}}"#, "have one id, 0"),
    ];
    for (model, expected) in cases {
        let error = read(model).expect_err(expected);
        assert_eq!(error.fault, Fault::Malformed, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let long = format!(r#"{{"type": "Unigram", "vocab": [["{}", -1.0]]}}"#, "a".repeat(5000));
    let long = fixtures.read_with("roberta-text", "tokenizer.json", json_of(&long).as_bytes());
    let error = Encoder::new(&long.expect("reads")).err().expect("a piece too long");
    assert_eq!(error.fault, Fault::Limit, "{error}");
    let none = r#"{"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": null}"#;
    let none = fixtures.read_with("gpt2-text", "tokenizer.json", json_of(none).as_bytes());
    let none = Encoder::new(&none.expect("reads")).expect("fits together");
    assert_eq!(none.encode("aa", false, false), Ok(vec![0, 0]));
    let error = none.encode("ab", false, false).expect_err("no unknown token");
    assert!(error.to_string().contains("'b' is no piece"), "{error}");
}

/// Every prefix of a file is refused, or read, and never more than that.
#[test]
fn cut_files_do_no_harm() {
    let fixtures = Folder::of("vocabulary");
    let files =
        [("tekken", "tekken.json"), ("llama3", "tokenizer.model"), ("bert-text", "vocab.txt")];
    let mut seen = 0;
    for (folder, file) in files {
        let bytes = fixtures.bytes(&format!("{folder}/{file}"));
        for len in (0..bytes.len()).step_by(bytes.len() / 60) {
            if let Ok(tokenizer) = fixtures.read_with(folder, file, &bytes[..len]) {
                let _ = Encoder::new(&tokenizer).map(|encoder| encoder.encode("a b", true, true));
            }
            seen += 1;
        }
    }
    assert!(seen >= 180, "{seen}");
}
