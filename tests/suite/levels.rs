//! Whole files, and logits, with each instruction set of this machine: the same bytes.

use std::path::Path;
use std::process::Command;

use crate::program::{BINARY, Dir, Ran, finish, fixture, names, read, remold, tiny};

/// Matrices of each width, of the part that mixtures give more bits, and a norm.
const FEW: &str = r"layers\.0\.|lm_head";

fn with(level: &str, arguments: impl FnOnce(&mut Command)) -> Ran {
    let mut command = Command::new(BINARY);
    arguments(command.env("REMOLD_SIMD", level));
    finish(&mut command)
}

/// The instruction sets that this machine has, as the refusal of another lists them.
fn levels() -> Vec<String> {
    let inspect = |command: &mut Command| {
        command.arg("inspect").arg(tiny());
    };
    let error = with("nope", inspect).refuses(2);
    let (_, known) = error.split_once("REMOLD_SIMD=nope: this machine has ").expect("the list");
    let known: Vec<String> = known.trim().split(", ").map(str::to_owned).collect();
    assert_eq!(known.last().map(String::as_str), Some("portable"));
    for absent in ["avx2", "avx512"].iter().filter(|name| !known.iter().any(|k| k == *name)) {
        with(absent, inspect).refuses(2);
    }
    known
}

/// What a command writes to a file of this name, with each instruction set.
fn same(levels: &[String], name: &str, arguments: impl Fn(&mut Command, &Path)) {
    let dir = Dir::new();
    let mut first: Option<Vec<u8>> = None;
    for level in levels {
        let target = dir.join(name);
        with(level, |command| arguments(command, &target)).ends(0);
        let bytes = read(&target);
        let first = first.get_or_insert_with(|| bytes.clone());
        assert!(*first == bytes, "{name}: other bytes with {level}");
        std::fs::remove_file(&target).expect("removed");
    }
}

#[test]
fn every_type_has_the_same_bytes_with_every_instruction_set() {
    let levels = levels();
    let dir = Dir::new();
    let matrix = dir.join("imatrix.gguf");
    let text = fixture("tiny-llama/heldout.txt");
    with(&levels[0], |command| {
        command.arg("imatrix").arg(tiny()).arg("-f").arg(text).arg("-o").arg(&matrix);
    })
    .ends(0);
    let refused = remold!("quantize", tiny(), dir.join("x.gguf"), "nope").refuses(2);
    let (_, types) = refused.split_once("there are ").expect("the list of types");
    let types: Vec<&str> = types.split(", ").filter(|name| !name.contains(' ')).collect();
    assert!(types.len() > 30, "{types:?}");
    for kind in types {
        same(&levels, &format!("{kind}.gguf"), |command, target| {
            command.arg("quantize").arg(tiny()).arg(target).args([kind, "--include", FEW]);
            command.arg("--imatrix").arg(&matrix);
        });
    }
    for kind in ["q4_k_m", "iq4_xs", "q5_0"] {
        same(&levels, &format!("{kind}-best.gguf"), |command, target| {
            command.arg("quantize").arg(tiny()).arg(target).args([kind, "--include", FEW]);
            command.args(["--search", "best"]);
        });
    }
}

/// Narrowing, widening and packed weights taken apart, between formats.
#[test]
fn conversions_have_the_same_bytes_with_every_instruction_set() {
    let levels = levels();
    for (source, target) in [
        ("gguf/packed.gguf", "a.npz"),
        ("safetensors/special_values.safetensors", "a.safetensors"),
        ("tflite/float16.tflite", "a.npz"),
    ] {
        same(&levels, target, |command, target| {
            command.arg("convert").arg(fixture(source)).arg(target).args(["--type", "f32"]);
        });
    }
}

/// One order of additions, whatever the width of the registers.
#[test]
fn logits_are_the_same_bits_with_every_instruction_set() {
    let levels = levels();
    let dir = Dir::new();
    for kind in ["f32", "f16", "bf16", "q8_0", "q4_k_m", "iq4_xs"] {
        let file = dir.converted(&tiny(), &format!("{kind}.gguf"), kind);
        same(&levels, "logits.npy", |command, target| {
            command.arg("logits").arg(&file).args(["--tokens", "1,2,3,4,5", "-o"]).arg(target);
        });
    }
    assert_eq!(names(dir.path()).len(), 6);
}
