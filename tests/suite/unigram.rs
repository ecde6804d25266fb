//! Unigram models against SentencePiece and Hugging Face's library.

use remold::ir::Notes;
use remold::ir::tokenizer::Role;
use remold::run::tokens::Encoder;

use crate::program::{Dir, bounded, remold, tiny};
use crate::vocabulary::{Folder, How, through_gguf, through_json};

/// Trained by SentencePiece, and made of one for Hugging Face's library.
const TRAINED: [&str; 5] = ["nmt-nfkc", "rules", "bytes", "no-space", "across"];
const MADE: [&str; 3] = ["json-t5", "json-roberta", "json-albert"];

#[test]
fn ids_and_text_are_those_of_sentencepiece() {
    let fixtures = Folder::of("unigram");
    for name in TRAINED {
        // It decodes what has no piece to a mark of its own.
        let how = How { parses: false, decodes: name == "bytes" };
        let mut tokenizer = fixtures.read(name);
        tokenizer.prefix.clear();
        fixtures.holds(name, &tokenizer, how);
    }
}

#[test]
fn ids_and_text_are_those_of_hugging_faces_library() {
    let fixtures = Folder::of("unigram");
    for name in MADE {
        fixtures.holds(name, &fixtures.read(name), How { parses: true, decodes: true });
    }
}

#[test]
fn tokenizers_survive_the_way_to_files_and_back() {
    let fixtures = Folder::of("unigram");
    for name in MADE {
        let tokenizer = fixtures.read(name);
        let mut notes = Notes::default();
        let again = through_json(&tokenizer, name, &mut notes);
        assert!(again == tokenizer, "{name}");
        assert!(notes.is_empty(), "{name}: {notes:?}");
    }
}

/// The places of texts that come out otherwise by way of a GGUF file, and of tokenizer.json made of
/// that: Hugging Face's library cuts at all white space, looks clusters of letters and marks up
/// whole, and finds special tokens in texts where they are not to be parsed; tokens that are never
/// cut compete in SentencePiece's search, and are cut out before the others'.
type Unlike = (&'static str, &'static [usize], &'static [usize]);

fn goes_through_other_files(cases: &[Unlike], parses: bool, losses: &[&str]) {
    let fixtures = Folder::of("unigram");
    let how = How { parses, decodes: false };
    for &(name, in_gguf, in_json) in cases {
        let tokenizer = fixtures.read(name);
        let mut notes = Notes::default();
        let held = through_gguf(&tokenizer, &mut notes);
        let lost: Vec<_> = notes.iter().map(|note| note.subject.as_str()).collect();
        assert_eq!(lost, losses, "{name}: {notes:?}");
        assert_eq!((&held.prefix, &held.suffix), (&tokenizer.prefix, &tokenizer.suffix), "{name}");
        assert_eq!(fixtures.unlike(name, &held, how), in_gguf, "{name}");
        let again = through_json(&held, &format!("gguf-{name}"), &mut notes);
        assert_eq!(fixtures.unlike(name, &again, how), in_json, "{name}, back as tokenizer.json");
    }
}

#[test]
fn what_hugging_faces_files_say_goes_through_other_files() {
    let cases: [Unlike; 2] =
        [("json-t5", &[17, 24, 31, 32, 36], &[17, 32]), ("json-roberta", &[18, 24, 31, 36], &[18])];
    goes_through_other_files(&cases, true, &["tokenizer: added_tokens"]);
    let mut notes = Notes::default();
    let _ = through_gguf(&Folder::of("unigram").read("json-albert"), &mut notes);
    let lost: Vec<_> = notes.iter().map(|note| note.subject.as_str()).collect();
    assert_eq!(lost, ["tokenizer: normalizer"]);
}

#[test]
fn what_sentencepiece_trained_goes_through_other_files() {
    let cases: [Unlike; 3] = [
        ("nmt-nfkc", &[], &[18, 24, 31]),
        ("rules", &[3, 27, 28, 31, 34, 35], &[3, 18, 24, 27, 28, 31, 34, 35, 36]),
        ("across", &[], &[18, 24, 31, 36]),
    ];
    goes_through_other_files(&cases, false, &[]);
    let no_space: [Unlike; 1] = [("no-space", &[35], &[18, 24, 31, 35, 36])];
    goes_through_other_files(&no_space, false, &["tokenizer: add_dummy_prefix"]);
    let bytes: [Unlike; 1] =
        [("bytes", &[13, 15, 16, 18, 25, 26, 27, 28, 29], &[13, 15, 16, 18, 25, 26, 27, 28, 29])];
    goes_through_other_files(&bytes, false, &["tokenizer: byte_fallback"]);
}

#[test]
fn long_texts_take_little_time() {
    bounded("long texts", || {
        for name in ["nmt-nfkc", "json-t5"] {
            let encoder = Encoder::new(&Folder::of("unigram").read(name)).expect("fits together");
            for text in ["a".repeat(500_000), "e\u{301}".repeat(200_000), "ab ".repeat(200_000)] {
                assert!(encoder.encode(&text, true, false).expect("encodes").len() > 1000);
            }
        }
    });
}

/// A model with spiece.model alone, in a directory, as a GGUF file and back.
#[test]
fn a_model_with_spiece_model_goes_round() {
    let dir = Dir::new();
    let source = dir.join("source");
    std::fs::create_dir(&source).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(tiny().join(file), source.join(file)).expect("copies");
    }
    let model = Folder::of("unigram").bytes("nmt-nfkc/tokenizer.model");
    std::fs::write(source.join("spiece.model"), model).expect("writes");
    let (gguf, again) = (dir.join("x.gguf"), dir.join("again"));
    remold!("convert", source, gguf, "--verify").ends(0);
    remold!("convert", gguf, again, "--verify").ends(0);
    let shown: Vec<String> = [&source, &gguf, &again]
        .map(|model| remold!("tokenize", model, "The  river ﬁnds Größe.").ends(0).stdout)
        .into();
    assert!(shown[0].len() > 10 && shown.iter().all(|ids| *ids == shown[0]), "{shown:?}");
}

/// fairseq's ids. transformers runs Hugging Face's library: it cuts at all white space, and looks
/// clusters up whole.
#[test]
fn xlm_robertas_ids_are_those_of_transformers() {
    let fixtures = Folder::of("unigram");
    let tokenizer = fixtures.read("xlm-roberta");
    assert_eq!(tokenizer.tokens.len(), 422);
    assert_eq!((tokenizer.prefix.as_slice(), tokenizer.suffix.as_slice()), (&[0][..], &[2][..]));
    assert_eq!(tokenizer.role(Role::Mask), Some(421));
    let unlike = fixtures.unlike("xlm-roberta", &tokenizer, How { parses: true, decodes: false });
    assert_eq!(unlike, [17, 24, 31, 32, 36]);
}
