//! What must be found, and what is no difference.

use super::*;
use crate::ir::tokenizer::{Normal, Role, Spelling, Split, Text, normal, pre};

fn tokenizer(texts: &[&str], merges: &[(u32, u32)]) -> Tokenizer {
    let token = |text: &&str| Token { text: (*text).into(), class: Class::Normal };
    let merges = merges.to_vec();
    let (ignore_merges, unknown, fuse_unknown, pre) = (false, None, false, Pre::default());
    Tokenizer {
        kind: Kind::Bpe(Bpe { merges, ignore_merges, unknown, fuse_unknown, pre }),
        tokens: texts.iter().map(token).collect(),
        added: Vec::new(),
        special: [(Role::Eos, 1)].into(),
        prefix: Vec::new(),
        suffix: Vec::new(),
        has_decoder: true,
        chat_templates: Vec::new(),
    }
}

fn found(change: impl Fn(&mut Tokenizer)) -> Vec<String> {
    let theirs = tokenizer(&["a", "b", "ab", "ba"], &[(0, 1), (1, 0)]);
    let mut ours = theirs.clone();
    change(&mut ours);
    let mut out = Compared::default();
    out.states(&theirs, &ours, Terms::Same);
    out.findings.iter().map(|found| found.subject.clone()).collect()
}

fn bpe(tokenizer: &mut Tokenizer) -> &mut Bpe {
    match &mut tokenizer.kind {
        Kind::Bpe(bpe) => bpe,
        _ => panic!("made as BPE"),
    }
}

fn scored(scores: &[f32]) -> Tokenizer {
    let mut out = tokenizer(&["a", "b", "ab", "ba", "c"], &[]);
    let (scores, unknown, spelling) = (scores.to_vec(), None, Spelling::default());
    out.kind = Kind::Spm(Spm { scores, unknown, spelling });
    out
}

#[test]
fn scores_and_kinds_are_compared() {
    let found = |theirs: &Tokenizer, ours: &Tokenizer| -> Vec<String> {
        let mut out = Compared::default();
        out.states(theirs, ours, Terms::Same);
        out.findings.iter().map(|found| found.subject.clone()).collect()
    };
    let theirs = scored(&[0.0, -1.0, -2.0, -3.0, -4.0]);
    assert!(found(&theirs, &theirs).is_empty());
    assert!(found(&theirs, &scored(&[0.0, -1.5, -2.0, -8.0, -9.0])).is_empty());
    let swapped = scored(&[0.0, -1.0, -3.0, -2.0, -4.0]);
    assert_eq!(found(&theirs, &swapped), ["piece of rank 0"]);
    assert_eq!(found(&theirs, &tokenizer(&["a", "b", "ab", "ba", "c"], &[])), ["kind"]);
}

fn unigram(scores: &[f64]) -> Tokenizer {
    let mut out = tokenizer(&["a", "b", "ab", "ba", "c"], &[]);
    let (scores, unknown, single) = (scores.to_vec(), None, false);
    let text = Text::Spelled(Spelling::default());
    out.kind = Kind::Unigram(Unigram { scores, unknown, single, text });
    out
}

/// Sums of scores choose: each counts, in single precision.
#[test]
fn probabilities_and_words_are_compared() {
    let compared = |theirs: &Tokenizer, ours: &Tokenizer| {
        let mut out = Compared::default();
        out.states(theirs, ours, Terms::Same);
        out
    };
    let theirs = unigram(&[-1.0, -2.0, -3.0, -4.0, -5.0]);
    assert!(
        compared(&theirs, &unigram(&[-1.0, -2.0, -3.0 - 1e-12, -4.0, -5.0])).findings.is_empty()
    );
    let found = compared(&theirs, &unigram(&[-1.0, -2.0, -3.5, -4.0, -5.0])).findings;
    assert_eq!(found[0].subject, "score of \"ab\"");
    let word = |prefix: &str| {
        let mut out = tokenizer(&["[UNK]", "a", "##b"], &[]);
        let (unknown, prefix, letters_max) = (Some(0), prefix.to_owned(), 100);
        let (cleanup, pre) = (true, Pre::default());
        out.kind = Kind::WordPiece(WordPiece { unknown, prefix, letters_max, cleanup, pre });
        out
    };
    assert!(compared(&word("##"), &word("##")).findings.is_empty());
    assert_eq!(compared(&word("##"), &word("@@")).findings[0].subject, "prefix");
    assert_eq!(compared(&word("##"), &theirs).findings.last().expect("one").subject, "kind");
}

#[test]
fn what_differs_is_named() {
    assert!(found(|_| {}).is_empty());
    assert_eq!(found(|t| t.tokens[2].text = "x".into()), ["piece 2"]);
    assert_eq!(found(|t| t.tokens.truncate(3)), ["piece 3"]);
    assert_eq!(found(|t| t.tokens.reverse()).len(), 4);
    assert_eq!(found(|t| bpe(t).merges.swap(0, 1)), ["merge 0"]);
    assert_eq!(found(|t| bpe(t).merges.truncate(1)), ["merges"]);
    assert_eq!(found(|t| t.special = [(Role::Eos, 2)].into()), ["special token eos"]);
}

/// Formats fill unused rows in their own way, and state different roles.
#[test]
fn padding_and_unstated_roles_are_no_difference() {
    let pad = || Token { text: "[PAD4]".into(), class: Class::Unused };
    assert!(found(|t| t.tokens.push(pad())).is_empty());
    assert!(found(|t| t.special.extend([(Role::Pad, 3)])).is_empty());
}

/// Two files of one format state the same things.
#[test]
fn what_one_format_states_must_be_equal() {
    let split = |pattern: &str| vec![Step::Split(Split::isolated(pattern).unwrap()), Step::Bytes];
    assert_eq!(found(|t| bpe(t).pre.steps = split(r"\p{N}")), ["pre-tokenizer"]);
    assert_eq!(found(|t| bpe(t).pre.normal = vec![Normal::Lowercase]), ["normalizer"]);
    assert_eq!(found(|t| bpe(t).ignore_merges = true), ["ignore_merges"]);
    assert_eq!(found(|t| bpe(t).unknown = Some(0)), ["unknown token"]);
    assert_eq!(found(|t| t.prefix = vec![1]), ["ids before a text"]);
    assert_eq!(found(|t| t.suffix = vec![1]), ["ids after a text"]);
    assert_eq!(found(|t| t.has_decoder = false), ["decoder"]);
    assert_eq!(found(|t| t.tokens[1].class = Class::Control), ["type of \"b\""]);
    let control = |t: &mut Tokenizer| {
        t.tokens[1].class = Class::Control;
        t.added = Added::by_class(&t.tokens);
    };
    assert_eq!(found(control), ["type of \"b\"", "flags of added tokens"]);
}

/// A model of the hub or a GGUF file with this tokenizer.
fn model(naming: Naming, tokenizer: &Tokenizer) -> Model {
    Model { naming, tokenizer: Some(tokenizer.clone()), ..Model::empty("", "") }
}

/// A byte-level tokenizer of a directory, and what a GGUF file made of it states.
fn sides() -> [Tokenizer; 2] {
    let texts: Vec<String> = (0..=u8::MAX).map(|byte| pre::letter(byte).into()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).chain(["<s>", "</s>", "Ġ1"]).collect();
    let mut hub = tokenizer(&texts, &[(32, 49)]);
    for id in [256, 257] {
        hub.tokens[id].class = Class::Control;
    }
    hub.special = [(Role::Bos, 256), (Role::Eos, 257)].into();
    hub.prefix = vec![256];
    hub.added = Added::by_class(&hub.tokens);
    let steps = names::row_of("llama-bpe").unwrap().steps().unwrap();
    bpe(&mut hub).pre = Pre { name: Some("llama-bpe".into()), normal: Vec::new(), steps };
    bpe(&mut hub).ignore_merges = true;
    let mut gguf = hub.clone();
    hub.added[0].lstrip = true;
    bpe(&mut hub).pre.normal = vec![Normal::Form(normal::Form::Nfc)];
    bpe(&mut gguf).pre.name = Some("llama3".into());
    [hub, gguf]
}

#[test]
fn what_gguf_has_no_place_for_is_told_and_no_difference() {
    let [hub, gguf] = sides();
    let models = [model(Naming::HuggingFace, &hub), model(Naming::Gguf, &gguf)];
    for (a, b) in [(&models[0], &models[1]), (&models[1], &models[0])] {
        let out = compare(a, b).unwrap();
        assert!(out.findings.is_empty(), "{:?}", out.findings);
        assert_eq!(out.gates.len(), 2);
        assert!(out.notes.iter().any(|note| note.contains("the normalizer")), "{:?}", out.notes);
    }
}

#[test]
fn what_a_gguf_file_states_must_be_equal() {
    let [hub, gguf] = sides();
    let found = |change: &dyn Fn(&mut Tokenizer)| -> Vec<String> {
        let mut gguf = gguf.clone();
        change(&mut gguf);
        gguf.added = Added::by_class(&gguf.tokens);
        let out = compare(&model(Naming::HuggingFace, &hub), &model(Naming::Gguf, &gguf)).unwrap();
        out.findings.into_iter().map(|found| format!("{}: {}", found.gate, found.subject)).collect()
    };
    let has = |found: Vec<String>, wanted: &str| {
        assert!(found.iter().any(|found| found == wanted), "{wanted}: {found:?}");
    };
    has(found(&|t| t.prefix.clear()), "tokenizer: ids before a text");
    has(found(&|t| t.suffix = vec![257]), "tokenizer: ids after a text");
    has(found(&|t| t.tokens[256].class = Class::Normal), "tokenizer: type of \"<s>\"");
    let named = |t: &mut Tokenizer, name: &str| {
        let row = names::row_of(name).unwrap();
        bpe(t).pre.steps = row.steps().unwrap();
        bpe(t).pre.name = Some(name.into());
    };
    let gpt2 = found(&|t| named(t, "gpt-2"));
    has(gpt2.clone(), "tokenizer: pre-tokenizer");
    assert!(gpt2.iter().any(|found| found.starts_with("token-ids: ")), "{gpt2:?}");
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_a_fault_of_the_candidate() {
    let [hub, _] = sides();
    let unread_tokenizer = Some(crate::ir::Error::unsupported("pre-tokenizer 'x'"));
    let candidate = Model { tokenizer: None, unread_tokenizer, ..model(Naming::Gguf, &hub) };
    let out = compare(&model(Naming::HuggingFace, &hub), &candidate).unwrap();
    assert!(out.findings[0].text.contains("pre-tokenizer 'x'"), "{:?}", out.findings);
    assert!(!out.gates[0].pass);
}
