//! What llama.cpp of its time read is read, and survives damage. Values are compared where weights
//! are decoded.

use ggml::{File, Program};

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(testing::fixtures(format!("ggml/{name}.bin"))).unwrap()
}

fn read(name: &str) -> File {
    ggml::read(&bytes(name)).unwrap()
}

#[test]
fn the_form_is_seen_by_content() {
    let forms = [
        ("llama-ggml", Program::Llama, None, 300, 12),
        ("llama-ggmf", Program::Llama, Some(1), 300, 12),
        ("llama-ggjt1", Program::Llama, Some(1), 300, 12),
        ("llama-ggjt2", Program::Llama, Some(2), 300, 12),
        ("llama-ggjt3", Program::Llama, Some(3), 300, 12),
        ("whisper", Program::Whisper, None, 15, 6),
    ];
    for (name, program, version, tokens, tensors) in forms {
        let file = read(name);
        assert_eq!((file.layout.program, file.version), (program, version), "{name}");
        assert_eq!((file.tokens.len(), file.tensors.len()), (tokens, tensors), "{name}");
        assert_eq!(file.filters.is_some(), program == Program::Whisper, "{name}");
        assert_eq!(file.field("n_vocab"), Some(if program == Program::Whisper { 24 } else { 300 }));
        let scored = file.tokens.iter().all(|token| token.score.is_some());
        assert_eq!(scored, version.is_some(), "{name}");
    }
}

/// Nothing counts the tensors: a file that ends with one of them, or with its vocabulary, is whole.
/// No other prefix is.
#[test]
fn prefixes_are_refused_or_end_with_a_tensor() {
    for (name, step) in [("whisper", 1), ("llama-ggjt3", 41)] {
        let (good, file) = (bytes(name), read(name));
        let ends: Vec<u64> = file.tensors.iter().map(|t| t.offset + t.len).collect();
        let mut without_tensors = 0;
        for len in (0..good.len()).step_by(step) {
            match ggml::read(&good[..len].to_vec()) {
                Err(error) => assert!(error.offset <= len as u64, "{name}, {len}: {error}"),
                Ok(file) if file.tensors.is_empty() => without_tensors += 1,
                Ok(_) => assert!(ends.contains(&(len as u64)), "{name}, {len}"),
            }
        }
        assert!(without_tensors <= 1, "{name}: {without_tensors} ends of a vocabulary");
    }
}

/// No flipped bit may panic; what is read lies in the file.
#[test]
fn flipped_bits_are_refused_or_read_within_the_file() {
    let good = bytes("whisper");
    let mut refused = 0;
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match ggml::read(&bad) {
            Err(error) => {
                assert!(error.offset <= bad.len() as u64, "bit {bit}: {error}");
                refused += 1;
            }
            Ok(file) => {
                assert!(file.tensors.iter().all(|t| t.offset + t.len <= bad.len() as u64));
            }
        }
    }
    assert!(refused > 1500, "only {refused} flips were noticed");
}
