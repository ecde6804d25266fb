//! What `verify` must not miss and must not refuse, beside weights of one layout: tokenizers,
//! kernels in another order of dimensions, candidates without a configuration.

use std::fs;
use std::path::Path;

use remold::ir::tokenizer::Tokenizer;
use remold::ir::{Model, Naming, Notes};
use remold::verify::{Options, compare};
use serde_json::{Value as Json, json};

use crate::edit::{Gguf, Safetensors, Stored, Tensors};
use crate::faults::transpose;
use crate::program::{Dir, fixture, json as read_json, names, remold, tiny};
use crate::vocabulary::{from_files, through_gguf, through_json};

#[track_caller]
fn fails(reference: &Path, candidate: &Path, named: &str) {
    let ran = remold!("verify", reference, candidate, "--tokens", "5,6,7", "--all").ends(1);
    assert!(ran.stdout.contains(named), "{named} is not named\n{}", ran.told());
}

#[track_caller]
fn passes(reference: &Path, candidate: &Path) {
    remold!("verify", reference, candidate, "--tokens", "5,6,7", "--quiet").ends(0);
}

/// Each changes what a directory's tokenizer makes of texts, or of ids.
type Change = (&'static str, fn(&mut Json));

const CHANGES: &[Change] = &[
    ("pre-tokenizer", |file| {
        file["pre_tokenizer"] = json!({"type": "ByteLevel", "add_prefix_space": false});
    }),
    ("ids before a text", |file| file["post_processor"] = Json::Null),
    ("normalizer", |file| file["normalizer"] = json!({"type": "NFKC"})),
    ("flags of added tokens", |file| file["added_tokens"][1]["special"] = false.into()),
    ("decoder", |file| file["decoder"] = Json::Null),
    ("ignore_merges", |file| file["model"]["ignore_merges"] = true.into()),
];

#[test]
fn a_changed_tokenizer_is_caught() {
    let dir = Dir::new();
    let made = dir.copied(&tiny(), "made");
    let path = made.join("tokenizer.json");
    let honest = read_json(&path);
    passes(&tiny(), &made);
    for (named, change) in CHANGES {
        let mut file = honest.clone();
        change(&mut file);
        assert!(file != honest, "{named}: nothing was changed");
        fs::write(&path, file.to_string()).expect("written");
        fails(&tiny(), &made, named);
    }
}

#[test]
fn a_changed_tokenizer_of_a_gguf_file_is_caught() {
    let dir = Dir::new();
    let gguf = dir.converted(&tiny(), "a.gguf", "f32");
    passes(&tiny(), &gguf);
    let off = |value: &mut gguf::Value| *value = gguf::Value::Bool(false);
    let text = |text: &str| gguf::Value::Text(text.into());
    type Change = Box<dyn Fn(&mut gguf::Value)>;
    let mut changes: Vec<(&str, &str, Change)> = vec![
        ("add_bos_token", "ids before a text", Box::new(off)),
        ("token_type", "type of \"<|begin_of_text|>\"", Box::new(first_is_text)),
    ];
    for name in ["gpt-2", "xrbd"] {
        let named = if name == "xrbd" { "'xrbd' is not supported" } else { "token-ids" };
        changes.push(("pre", named, Box::new(move |value| *value = text(name))));
    }
    for (key, named, change) in changes {
        let mut file = Gguf::read(&gguf);
        let key = format!("tokenizer.ggml.{key}");
        let entry = file.metadata.0.iter_mut().find(|(name, _)| *name == key);
        change(&mut entry.expect("such a key").1);
        let bad = dir.join("bad.gguf");
        file.write(&bad);
        fails(&tiny(), &bad, named);
        // From one GGUF file to another too.
        fails(&gguf, &bad, named);
    }
}

/// BOS is no longer a token that steers.
fn first_is_text(value: &mut gguf::Value) {
    let gguf::Value::Array(gguf::Array::I32(types)) = value else { panic!("types of tokens") };
    assert_eq!(types[0], 3);
    types[0] = 1;
}

/// Tokenizers of every kind, as directories, GGUF files and the directories made of those have them.
#[test]
fn one_tokenizer_in_other_files_is_the_same() {
    let mut seen = 0;
    for folder in ["tokenizer", "sentencepiece", "unigram", "vocabulary"] {
        for name in names(&fixture(folder)) {
            let path = fixture(folder).join(&name);
            // What has no name in GGUF, and models that no tokenizer is read from.
            if path.is_file() || name == "steps" {
                continue;
            }
            let notes = &mut Notes::default();
            let hub = from_files(&path, notes);
            let gguf = through_gguf(&hub, notes);
            let again = through_json(&gguf, &format!("proof-{name}"), notes);
            let [hub, gguf, again] =
                [(Naming::HuggingFace, hub), (Naming::Gguf, gguf), (Naming::HuggingFace, again)]
                    .map(|(naming, tokenizer)| bare(naming, tokenizer));
            for (a, b) in [(&hub, &gguf), (&gguf, &hub), (&gguf, &again), (&again, &gguf)] {
                let report = compare(a, b, &Options::default()).expect("compared");
                let of_tokens = |gate: &str| gate == "tokenizer" || gate == "token-ids";
                let found: Vec<_> =
                    report.findings.iter().filter(|found| of_tokens(found.gate)).collect();
                let gates = report.gates.iter().filter(|gate| of_tokens(gate.name)).count();
                assert!(found.is_empty() && gates == 2, "{folder}/{name}: {found:?}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 38, "only {seen} tokenizers: fixtures are missing");
}

fn bare(naming: Naming, tokenizer: Tokenizer) -> Model {
    Model { naming, tokenizer: Some(tokenizer), ..Model::empty("safetensors", "a tokenizer") }
}

/// Models with kernels, in each order of dimensions that there is.
const KERNELS: &[&str] = &[
    "keras/three.keras",
    "keras/two.h5",
    "tflite/float.tflite",
    "tensorflow/network",
    "alike/net.h5",
    "alike/net.tflite",
    "npy/scalar.npy",
    "tensorflow/names.ckpt.index",
];

#[test]
fn kernels_in_the_order_of_the_target_are_no_fault() {
    let dir = Dir::new();
    for source in KERNELS {
        let source = fixture(source);
        for target in ["safetensors", "gguf", "pt", "h5", "npz", "msgpack", "index"] {
            let to = dir.join(format!("made.{target}"));
            let ran = remold!("convert", source, to, "--verify", "--overwrite", "--quiet");
            // An element or a name that the format has no place for.
            if ran.code != Some(4) {
                let told = ran.ends(0).stdout;
                let all = remold!("diff", source, to, "--quiet");
                // In an HDF5 file that is not Keras's, the order of kernels is anybody's: only
                // the conversion knows whose it wrote.
                let is_known = target != "h5" || source.extension() != Some("tflite".as_ref());
                assert_eq!(all.code, Some(i32::from(!is_known)), "{told}{}", all.told());
            }
        }
    }
}

#[test]
fn a_kernel_that_is_transposed_is_a_fault() {
    let (dir, source) = (Dir::new(), fixture("keras/three.keras"));
    let made = dir.join("made.safetensors");
    remold!("convert", source, made, "--quiet").ends(0);
    let honest = Safetensors::read(&made);
    let is_kernel = |one: &&Stored| one.shape.len() == 2 && one.shape[0] != one.shape[1];
    let kernel = honest.tensors.iter().find(is_kernel).expect("a matrix").name.clone();
    for turns in [false, true] {
        let mut file = honest.clone();
        let stored = file.at(&kernel);
        match turns {
            // As Keras has it: right numbers, wrong order for this format.
            true => stored.shape.reverse(),
            false => transposed(stored),
        }
        let bad = dir.join("bad.safetensors");
        file.write(&bad);
        fails(&source, &bad, &kernel);
        remold!("diff", source, bad, "--quiet").ends(1);
    }
}

/// The numbers of a matrix in the other order, its shape as it was.
fn transposed(stored: &mut Stored) {
    let (rows, columns) = (stored.shape[0] as usize, stored.shape[1] as usize);
    let size = stored.bytes.len() / (rows * columns);
    let old = stored.bytes.clone();
    for (at, bytes) in stored.bytes.chunks_exact_mut(size).enumerate() {
        let from = (at % rows * columns + at / rows) * size;
        bytes.copy_from_slice(&old[from..from + size]);
    }
}

/// A file of weights says nothing of the family: the GGUF file that it is made of does.
#[test]
fn a_gguf_file_proves_bare_weights() {
    let dir = Dir::new();
    for name in names(&fixture("families")) {
        let source = fixture("families").join(&name);
        let gguf = dir.join(format!("{name}.gguf"));
        remold!("convert", source, gguf, "--quiet", "--no-sync").ends(0);
        let made = dir.join(format!("{name}.safetensors"));
        let ran = remold!("convert", gguf, made, "--quiet", "--no-sync");
        if ran.code == Some(0) {
            let told = remold!("verify", gguf, made, "--tokens", "5,6,7").ends(0).stdout;
            assert!(told.contains("the candidate has no configuration"), "{name}: {told}");
        }
    }
    let (gguf, made) = (dir.join("gemma.gguf"), dir.join("gemma.safetensors"));
    let honest = Safetensors::read(&made);
    let caught = |named: &str, fault: &dyn Fn(&mut Safetensors)| {
        let mut file = honest.clone();
        fault(&mut file);
        let bad = dir.join("bad.safetensors");
        file.write(&bad);
        fails(&gguf, &bad, named);
    };
    let norm = "model.norm.weight";
    caught(norm, &|file| {
        let stored = file.at(norm);
        assert_eq!(stored.kind, "BF16");
        for bytes in stored.bytes.as_chunks_mut::<2>().0 {
            let value = half::bf16::from_le_bytes(*bytes).to_f32();
            *bytes = half::bf16::from_f32(value + 1.0).to_le_bytes();
        }
    });
    let square = "model.layers.0.self_attn.v_proj.weight";
    caught(square, &|file| transpose(file.at(square)));
    caught("model.layers.1.mlp.down_proj", &|file| {
        drop(file.remove("model.layers.1.mlp.down_proj.weight"));
    });
}

/// What the configuration says is not there is not used: the gate does not say that there is nothing.
#[test]
fn a_bias_that_is_not_used_is_told() {
    let dir = Dir::new();
    let made = dir.copied(&tiny(), "made");
    let weights = made.join("model.safetensors");
    let mut file = Safetensors::read(&weights);
    let name = "model.layers.0.self_attn.q_proj.bias".to_owned();
    let matrix = file.at("model.layers.0.self_attn.q_proj.weight").clone();
    let bytes = vec![0; matrix.bytes.len() / matrix.shape[1] as usize];
    let shape = vec![matrix.shape[0]];
    file.tensors.push(Stored { name: name.clone(), kind: matrix.kind, shape, bytes });
    file.write(&weights);
    let note = format!("{name}: in the candidate only");
    let verified = remold!("verify", tiny(), made, "--tokens", "5,6,7").ends(0).stdout;
    assert!(verified.contains("but 1 that one side has and does not use"), "{verified}");
    let listed = remold!("diff", tiny(), made).ends(0).stdout;
    assert!(verified.contains(&note) && listed.contains(&note), "{verified}{listed}");
}

/// A tensor that a family's models may lack, and this one has.
#[test]
fn what_a_family_may_lack_is_missed() {
    let (dir, source) = (Dir::new(), fixture("families/deepseek_v2"));
    let mut file = Gguf::read(&dir.converted(&source, "a.gguf", "f32"));
    drop(file.remove("blk.1.ffn_gate_shexp.weight"));
    let bad = dir.join("bad.gguf");
    file.write(&bad);
    fails(&source, &bad, "blk.1.ffn_gate_shexp.weight: missing");
}
