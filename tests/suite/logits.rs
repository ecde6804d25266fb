//! The logits of transformers, from a directory and from the GGUF that is made of it.

use std::path::Path;

use crate::program::{Dir, architectures, read, remold};

/// Right implementations differ by 1e-12 in f32; a wrong epsilon shows at 8e-10.
const NMSE_MAX: f64 = 1e-10;

#[test]
fn logits_are_those_of_transformers() {
    let dir = Dir::new();
    for model in architectures() {
        let tokens = String::from_utf8(read(model.join("tokens.txt"))).expect("ids");
        let (shape, expected) = npy(&model.join("expected_logits.npy"));
        let file = dir.converted(&model, "f32.gguf", "f32");
        for path in [&model, &file] {
            for how in ["--quiet", "--step", "--no-mmap", "--threads=1"] {
                let out = dir.join("logits.npy");
                remold!("logits", path, "--tokens", tokens.trim(), "-o", out, how).ends(0);
                let (found_shape, found) = npy(&out);
                assert_eq!(found_shape, shape);
                let nmse = nmse(&expected, &found);
                assert!(nmse <= NMSE_MAX, "{} {how}: NMSE {nmse:e}", path.display());
            }
        }
        std::fs::remove_file(file).expect("removed");
    }
    assert_eq!(dir.names(), ["logits.npy"]);
}

pub(crate) fn npy(path: &Path) -> (Vec<u64>, Vec<f32>) {
    let bytes = read(path);
    let array = npy::read(&bytes, &npy::Limits::default()).expect("an array");
    assert!(array.descr == npy::Descr::F32 && !array.fortran);
    let data = &bytes[array.data_offset as usize..];
    let floats = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    (array.shape, floats.collect())
}

pub(crate) fn nmse(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let pairs = expected.iter().zip(found).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let error: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
    let size: f64 = expected.iter().map(|a| f64::from(*a) * f64::from(*a)).sum();
    assert!(size > 0.0 && error.is_finite());
    error / size
}
