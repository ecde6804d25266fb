//! The crate against SentencePiece's own files, and damage.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use sentencepiece::{Kind, Model, Type};

fn bytes(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/sentencepiece");
    std::fs::read(fixtures.join(name)).unwrap()
}

fn read(name: &str) -> Model {
    sentencepiece::read(&bytes(name)).unwrap()
}

#[test]
fn models_say_what_the_trainer_was_told() {
    let model = read("llama/tokenizer.model");
    assert_eq!(model.pieces.len(), 760);
    let kinds: Vec<Type> = model.pieces[..4].iter().map(|piece| piece.kind).collect();
    assert_eq!(kinds, [Type::Unknown, Type::Control, Type::Control, Type::Byte]);
    assert_eq!(model.pieces[3].text, "<0x00>");
    let trainer = &model.trainer;
    assert!(trainer.kind == Kind::Bpe && trainer.byte_fallback && !trainer.space_as_suffix);
    let ids = (trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id);
    assert_eq!(ids, (0, 1, 2, -1));
    let normalizer = &model.normalizer;
    assert_eq!(normalizer.name, "identity");
    assert!(normalizer.add_dummy_prefix && normalizer.escape_whitespaces);
    assert!(!normalizer.remove_extra_whitespaces);
    assert!(!read("no-space/tokenizer.model").normalizer.add_dummy_prefix);
    assert!(read("no-bytes/tokenizer.model").normalizer.remove_extra_whitespaces);
    assert_eq!(read("unigram.model").trainer.kind, Kind::Unigram);
    let symbols = read("symbols/tokenizer.model");
    let defined = symbols.pieces.iter().filter(|piece| piece.kind == Type::UserDefined);
    assert_eq!(defined.count(), 2);
}

#[test]
fn models_survive_being_written() {
    for name in ["llama/tokenizer.model", "no-space/tokenizer.model", "unigram.model"] {
        let model = read(name);
        assert_eq!(sentencepiece::read(&sentencepiece::write(&model)).unwrap(), model, "{name}");
    }
}

#[test]
fn damage_is_an_error_or_another_model() {
    let good = bytes("word.model");
    assert!(sentencepiece::probe(&good));
    let mut refused = 0;
    for len in 0..good.len() {
        refused += usize::from(sentencepiece::read(&good[..len]).is_err());
    }
    // A message has no end mark: it may be cut between two fields.
    assert!(refused * 10 > good.len() * 9, "{refused} of {}", good.len());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _ = sentencepiece::read(&bad);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "model (byte 0x0): has no pieces"),
        (b"\x0a\x03\x0a\x01\xff", "piece (byte 0x4): not UTF-8 text"),
        (b"\x0a\x02\x18\x07", "type (byte 0x2): found varint 7, expected 1 to 6"),
        (b"\x08\x01", "pieces (byte 0x0): found varint 1, expected a field of bytes"),
        (b"\x0a\x02\x15\x00", "fixed32 (byte 0x3): needs 4 bytes, but 1 remain"),
        (b"\x1a\x02\x18\x02", "add_dummy_prefix (byte 0x2): found varint 2, expected 0 or 1"),
    ];
    for (bytes, expected) in cases {
        let message = sentencepiece::read(bytes).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}
