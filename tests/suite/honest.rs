//! Honest conversions: of every fixture, to every type and back to a directory, none is refused.

use crate::conversion::TYPES;
use crate::edit::{Safetensors, Tensors};
use crate::program::{Dir, architectures, fixture, names, remold, tiny};

#[test]
fn of_the_trained_model() {
    let dir = Dir::new();
    for kind in TYPES {
        let target = dir.join(format!("{kind}.gguf"));
        let ran =
            remold!("convert", tiny(), target, "--type", kind, "--verify", "--no-sync").ends(0);
        assert!(ran.stdout.starts_with("PASS "), "{}", ran.told());
    }
}

#[test]
fn of_random_models() {
    let dir = Dir::new();
    // Their rows are too short for super-blocks: q2_k stands for the mixtures that fall back.
    let kinds = || TYPES.iter().filter(|kind| !kind.ends_with(['s', 'm', 'l']));
    for model in architectures() {
        for kind in kinds() {
            let target = dir.join("x.gguf");
            let ran = remold!("convert", model, target, "--type", kind, "--verify", "--overwrite");
            assert!(ran.ends(0).stdout.starts_with("PASS "));
        }
        for kind in ["f32", "f16", "bf16"] {
            let target = dir.join("hub");
            let ran = remold!("convert", model, target, "--type", kind, "--verify", "--overwrite");
            assert!(ran.ends(0).stdout.starts_with("PASS "));
        }
    }
}

/// Without `--type`, every value is kept, and that is what the proof says.
#[test]
fn of_kept_values() {
    let dir = Dir::new();
    for model in architectures() {
        let (file, hub) = (dir.join("x.gguf"), dir.join("hub"));
        for target in [&file, &hub] {
            remold!("convert", model, target, "--overwrite", "--quiet", "--verify").ends(0);
            remold!("diff", model, target).ends(0);
            remold!("verify", model, target, "--max-nmse", "1e-10").ends(0);
        }
    }
}

/// Files of bare tensors have no configuration of their own; they are proven by the source's.
#[test]
fn of_bare_tensors() {
    let dir = Dir::new();
    let (file, bare) = (dir.join("x.gguf"), dir.join("x.safetensors"));
    let mut proven = 0;
    for corpus in ["families", "encoders"] {
        for name in names(&fixture(corpus)) {
            let model = fixture(corpus).join(name);
            if !model.join("config.json").exists() {
                continue;
            }
            remold!("convert", model, file, "--overwrite", "--quiet").ends(0);
            for source in [&model, &file] {
                remold!("convert", source, bare, "--overwrite", "--quiet", "--verify").ends(0);
            }
            remold!("convert", model, bare, "--type", "f16", "--overwrite", "--quiet", "--verify")
                .ends(0);
            proven += 1;
        }
    }
    assert!(proven > 40, "only {proven} models: the test would prove less");
}

/// What was damaged in bare tensors is found, as in a whole model.
#[test]
fn but_no_damage_to_bare_tensors() {
    let dir = Dir::new();
    let (good, bad) = (dir.join("good.safetensors"), dir.join("bad.safetensors"));
    let model = fixture("families/gemma");
    remold!("convert", model, good, "--type", "f32", "--quiet").ends(0);
    let norm = "model.layers.1.input_layernorm.weight";
    let mut file = Safetensors::read(&good);
    for bytes in file.at(norm).bytes.as_chunks_mut().0 {
        *bytes = (f32::from_le_bytes(*bytes) + 1.0).to_le_bytes();
    }
    file.write(&bad);
    let ran = remold!("verify", model, bad).ends(1);
    assert!(ran.stdout.contains(norm), "{}", ran.told());
}
