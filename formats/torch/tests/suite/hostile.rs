//! Corpora of hostile files. Their pickles are never given to Python.

use serde_json::Value as Json;

use crate::golden::elements;
use crate::{files, read};

#[test]
fn hostile_files_end_as_the_manifest_says() {
    let Some(folder) = testing::corpus("hostile") else { return };
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Json = serde_json::from_str(&manifest).unwrap();
    let (mut refused, mut accepted) = (0, 0);
    for case in manifest["cases"].as_array().unwrap() {
        let name = case["file"].as_str().unwrap();
        if !["pytorch", "zip"].contains(&name.split('/').next().unwrap()) {
            continue;
        }
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let result = read(&bytes);
        match (result, case["expected"].as_str().unwrap()) {
            (Err(error), "error") => {
                assert!(error.offset <= bytes.len() as u64, "{name}: {error}");
                refused += 1;
            }
            // Tensors that are no plain ones are for the caller to refuse.
            (Ok(checkpoint), "error") if checkpoint.tensors.is_empty() => {
                assert_eq!(checkpoint.refused.len(), 1, "{name}");
                refused += 1;
            }
            (Ok(checkpoint), "error") if checkpoint.verify(&bytes).is_err() => refused += 1,
            (Ok(checkpoint), "ok") => {
                checkpoint.verify(&bytes).unwrap();
                accepted += 1;
            }
            (result, expected) => panic!("{name}: {expected} is expected, but {result:?}"),
        }
    }
    assert_eq!((refused, accepted), (72, 19));
    // What the payloads would leave behind if anything ran them.
    let marker = manifest["marker"].as_str().unwrap();
    assert!(!std::path::Path::new(marker).exists(), "{marker} exists");
}

/// Views are read as their rows in the manifest say.
#[test]
fn views_hold_the_right_elements() {
    let Some(folder) = testing::corpus("hostile/pytorch") else { return };
    let floats = |file: &str| {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        let checkpoint = read(&bytes).unwrap();
        let values = checkpoint.tensors.iter().map(|tensor| {
            let bytes = elements(tensor, &bytes);
            let (floats, _) = bytes.as_chunks::<4>();
            let little = checkpoint.byteorder == wire::Endian::Little;
            let value = if little { f32::from_le_bytes } else { f32::from_be_bytes };
            floats.iter().map(|bytes| value(*bytes)).collect::<Vec<f32>>()
        });
        values.collect::<Vec<_>>()
    };
    assert_eq!(floats("ok_minimal.pt"), [[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(floats("ok_transposed.pt"), [[1.0, 3.0, 2.0, 4.0]]);
    assert_eq!(floats("ok_big_endian.pt"), [[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(floats("ok_torchscript.pt"), [[1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(floats("ok_shared_storage_views.pt").len(), 2);
    assert_eq!(floats("ok_view_of_big_storage.pt")[0].len(), 1);
}

/// Files that a pickle scanner was tested with: two checkpoints, the rest attacks and oddities.
#[test]
fn scanner_corpus_is_refused_but_for_its_checkpoints() {
    let Some(folder) = testing::corpus("picklescan/tests/data") else { return };
    let paths = files(&folder, "");
    let mut accepted = Vec::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(path).unwrap();
        match read(&bytes) {
            Ok(_) => accepted.push(name),
            Err(error) => assert!(error.offset <= bytes.len() as u64, "{name}: {error}"),
        }
        assert!(
            torch::read(
                &bytes,
                &torch::Options { skip_objects: true, ..torch::Options::default() }
            )
            .is_err()
                || { accepted.last().is_some_and(|last| path.ends_with(last)) }
        );
    }
    assert_eq!(accepted, ["new_pytorch_model.bin", "pytorch_model.bin"]);
    assert_eq!(paths.len(), 46);
}
