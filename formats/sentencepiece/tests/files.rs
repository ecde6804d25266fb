//! The crate against SentencePiece's own files, and damage.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use sentencepiece::{Kind, Model, Type};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(testing::fixtures("sentencepiece").join(name)).unwrap()
}

fn read(bytes: &[u8]) -> sentencepiece::Result<Model> {
    sentencepiece::read(bytes)
}

fn good(name: &str) -> Model {
    read(&bytes(name)).unwrap()
}

#[test]
fn models_say_what_the_trainer_was_told() {
    let model = good("llama/tokenizer.model");
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
    assert!(!good("no-space/tokenizer.model").normalizer.add_dummy_prefix);
    assert!(good("no-bytes/tokenizer.model").normalizer.remove_extra_whitespaces);
    assert_eq!(good("unigram.model").trainer.kind, Kind::Unigram);
    let symbols = good("symbols/tokenizer.model");
    let defined = symbols.pieces.iter().filter(|piece| piece.kind == Type::UserDefined);
    assert_eq!(defined.count(), 2);
}

#[test]
fn models_survive_being_written() {
    for name in ["llama/tokenizer.model", "no-space/tokenizer.model", "unigram.model"] {
        let model = good(name);
        assert_eq!(read(&sentencepiece::write(&model)).unwrap(), model, "{name}");
    }
}

#[test]
fn damage_is_an_error_or_another_model() {
    let good = bytes("word.model");
    assert!(sentencepiece::probe(&good));
    let mut refused = 0;
    for len in 0..good.len() {
        refused += usize::from(read(&good[..len]).is_err());
    }
    // A message has no end mark: it may be cut between two fields.
    assert!(refused * 10 > good.len() * 9, "{refused} of {}", good.len());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _ = read(&bad);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert_eq!(testing::refusals("sentencepiece", "model", read), 11);
}
