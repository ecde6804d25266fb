//! Honest conversions: of every fixture, to every type and back to a directory, none is refused.

use crate::conversion::TYPES;
use crate::program::{Dir, architectures, remold, tiny};

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
    for model in architectures() {
        for kind in TYPES {
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
