//! Every family: the logits of transformers from either side, there and back without a change,
//! under all the names that are published, and with faults planted.

use std::fs;
use std::path::{Path, PathBuf};

use crate::edit::{Gguf, Safetensors, Stored, Tensors};
use crate::faults::{Bench, FLOATS, transpose};
use crate::logits::{nmse, npy};
use crate::program::{Dir, fixture, json, names, read, remold};

/// Right implementations differ by 1e-12 in f32; a wrong epsilon shows at 8e-10.
const NMSE_MAX: f64 = 1e-10;

fn family(name: &str) -> PathBuf {
    fixture("families").join(name)
}

fn families() -> Vec<PathBuf> {
    let found: Vec<_> = names(&fixture("families")).iter().map(|name| family(name)).collect();
    assert_eq!(found.len(), 33, "fixtures are missing: the tests would prove less");
    found
}

fn tokens(model: &Path) -> String {
    String::from_utf8(read(model.join("tokens.txt"))).expect("ids").trim().to_owned()
}

/// The logits of a model, as the program gives them.
#[track_caller]
fn logits(dir: &Dir, model: &Path, tokens: &str, how: &str) -> Vec<f32> {
    let out = dir.join("logits.npy");
    remold!("logits", model, "--tokens", tokens, "-o", out, how).ends(0);
    npy(&out).1
}

/// The directory and the GGUF made of it, whole and step by step.
#[track_caller]
fn agrees(dir: &Dir, model: &Path) {
    let (tokens, expected) = (tokens(model), npy(&model.join("expected_logits.npy")).1);
    let file = dir.join("f32.gguf");
    remold!("convert", model, file, "--type", "f32", "--overwrite", "--quiet").ends(0);
    for path in [model, &file] {
        for how in ["--quiet", "--step"] {
            let nmse = nmse(&expected, &logits(dir, path, &tokens, how));
            assert!(nmse <= NMSE_MAX, "{} as {} {how}: {nmse:e}", model.display(), path.display());
        }
    }
}

#[test]
fn logits_are_those_of_transformers() {
    let dir = Dir::new();
    families().iter().for_each(|model| agrees(&dir, model));
}

/// A copy of a family's directory, with another value of a key of its config.json.
fn with(dir: &Dir, model: &Path, key: &str, value: bool) -> PathBuf {
    let copy = dir.join(format!("{key}-{value}"));
    fs::create_dir_all(&copy).unwrap();
    for name in names(model) {
        fs::copy(model.join(&name), copy.join(&name)).unwrap();
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(&read(copy.join("config.json"))).unwrap();
    assert_eq!(config[key].as_bool(), Some(!value), "{} {key}", model.display());
    config[key] = value.into();
    fs::write(copy.join("config.json"), config.to_string()).unwrap();
    copy
}

/// Norms that are there, and of which config.json says that they are not, are not used.
#[test]
fn norms_that_the_configuration_denies_are_not_used() {
    for (name, key) in
        [("cohere", "use_qk_norm"), ("phi", "qk_layernorm"), ("stablelm", "qk_layernorm")]
    {
        let dir = Dir::new();
        let model = with(&dir, &family(name), key, false);
        let expected = npy(&fixture("flags").join(format!("{name}.npy"))).1;
        let file = dir.join("f32.gguf");
        remold!("convert", model, file, "--type", "f32", "--quiet").ends(0);
        for path in [&model, &file] {
            let nmse = nmse(&expected, &logits(&dir, path, &tokens(&model), "--quiet"));
            assert!(nmse <= NMSE_MAX, "{}: {nmse:e}", path.display());
        }
    }
}

/// Tensors that are in both files, and used by one model: the flag that says so is named.
#[test]
fn flags_of_tensors_are_compared() {
    let flags = [
        ("families/glm4", "attention_bias"),
        ("families/qwen3", "attention_bias"),
        ("families/nemotron", "attention_bias"),
        ("families/gpt_neox", "attention_bias"),
        ("families/gpt_oss", "attention_bias"),
        ("families/qwen2_moe", "qkv_bias"),
        ("families/starcoder2", "use_bias"),
        ("families/falcon", "bias"),
        ("families/opt-post", "enable_bias"),
        ("families/cohere", "use_qk_norm"),
        ("families/phi", "qk_layernorm"),
        ("families/stablelm", "qk_layernorm"),
        ("encoders/mamba-auto", "use_bias"),
        ("encoders/mamba-untied", "use_conv_bias"),
        ("encoders/modernbert-model", "attention_bias"),
        ("encoders/modernbert-model", "norm_bias"),
    ];
    for (model, key) in flags {
        let (dir, model) = (Dir::new(), fixture(model));
        let other = with(&dir, &model, key, false);
        let ran = remold!("verify", model, other).ends(1);
        assert!(ran.stdout.contains(key), "{key}: {}", ran.told());
        let ran = remold!("diff", model, other).ends(1);
        assert!(ran.stdout.contains(key), "{key}: {}", ran.told());
    }
}

/// Keys of a GGUF that no field of ours has, and the factors of short texts.
#[test]
fn every_key_that_both_say_is_compared() {
    let keys = [
        ("encoders/bert-model", "bert.attention.causal", gguf::Value::Bool(true)),
        ("encoders/embedder", "bert.pooling_type", gguf::Value::U32(2)),
        ("families/deepseek_v3", "deepseek2.attention.key_length", gguf::Value::U32(32)),
        ("families/deepseek_v3", "deepseek2.attention.head_count_kv", gguf::Value::U32(2)),
        ("encoders/mamba-auto", "mamba.ssm.dt_b_c_rms", gguf::Value::Bool(true)),
    ];
    let dir = Dir::new();
    let (good, bad) = (dir.join("good.gguf"), dir.join("bad.gguf"));
    let differ = |name: &str| {
        for command in ["verify", "diff"] {
            let ran = remold!(command, good, bad).ends(1);
            assert!(ran.stdout.contains(name), "{name}: {}", ran.told());
        }
    };
    for (model, key, value) in keys {
        remold!("convert", fixture(model), good, "--overwrite", "--quiet").ends(0);
        let mut file = Gguf::read(&good);
        let entry = file.metadata.0.iter_mut().find(|(known, _)| known == key);
        entry.expect("a key that is there").1 = value;
        file.write(&bad);
        differ(key.split_once('.').expect("an architecture").1);
    }
    remold!("convert", family("phi3-long"), good, "--type", "f32", "--overwrite", "--quiet")
        .ends(0);
    let mut file = Gguf::read(&good);
    let factors = file.at("rope_factors_short.weight");
    (0..factors.shape[0] as usize).for_each(|i| factors.scale_row(i, 3.0));
    file.write(&bad);
    differ("rotary frequency");
}

/// A larger corpus of the same kind, where there is one.
#[test]
fn the_golden_models_too() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/golden/arch");
    let root = std::env::var_os("REMOLD_GOLDEN").map_or(beside, PathBuf::from);
    if !root.is_dir() {
        eprintln!("{}: no golden models; set REMOLD_GOLDEN", root.display());
        return;
    }
    // These are held against transformers with the encoders.
    let others = ["bert", "distilbert", "mamba", "modernbert", "roberta", "t5"];
    let decoders: Vec<_> =
        names(&root).into_iter().filter(|name| !others.contains(&name.as_str())).collect();
    assert!(decoders.len() >= 36, "only {} golden models", decoders.len());
    let dir = Dir::new();
    decoders.iter().for_each(|name| agrees(&dir, &root.join(name)));
}

/// GGUF to Hugging Face to GGUF: the same tensors, but for those whose fix is inexact.
#[test]
fn there_and_back() {
    let dir = Dir::new();
    for model in families() {
        let (there, back, again) = (dir.join("a.gguf"), dir.join("back"), dir.join("b.gguf"));
        remold!("convert", model, there, "--type", "f32", "--overwrite", "--quiet").ends(0);
        remold!("convert", there, back, "--overwrite", "--quiet").ends(0);
        remold!("convert", back, again, "--type", "f32", "--overwrite", "--quiet").ends(0);
        let (first, second) = (Gguf::read(&there), Gguf::read(&again));
        assert_eq!(first.tensors.len(), second.tensors.len(), "{}", model.display());
        for (a, b) in first.tensors.iter().zip(&second.tensors) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "{}", model.display());
            let far = ulps(&a.bytes, &b.bytes);
            let allowed = if is_inexact(&model, &a.name) { 2 } else { 0 };
            assert!(far <= allowed, "{}: {}: {far} ulp", model.display(), a.name);
        }
        remold!("verify", model, there, "--quiet").ends(0);
        fs::remove_dir_all(back).expect("removed");
    }
}

/// Norms of families whose Hugging Face files lack 1.
fn is_inexact(model: &Path, tensor: &str) -> bool {
    let lacking = ["gemma", "gemma2", "gemma3", "nemotron"];
    lacking.iter().any(|name| model.ends_with(name)) && tensor.contains("norm.weight")
}

/// The greatest distance of two f32, in steps of the last place.
fn ulps(a: &[u8], b: &[u8]) -> u32 {
    let bits = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let pairs = a.chunks_exact(4).zip(b.chunks_exact(4));
    pairs.map(|(a, b)| bits(a).abs_diff(bits(b))).max().unwrap_or(0)
}

/// Checkpoints of the bare model leave out the prefix; transformers 5 stacks experts.
/// Rows for columns, fused rows, experts in one stack: a limit that is set by encoding the
/// reference must know where its rows become the candidate's.
#[test]
fn honest_encodings_are_not_refused() {
    let models = families();
    assert_eq!(models.len(), 33);
    for model in models {
        let dir = Dir::new();
        for kind in ["q8_0", "q4_0", "mxfp4_moe"] {
            let target = dir.join(format!("{kind}.gguf"));
            remold!("quantize", model, target, kind, "--no-sync", "--quiet").ends(0);
            remold!("verify", model, target, "--quiet").ends(0);
        }
    }
}

#[test]
fn other_names_are_the_same_model() {
    let dir = Dir::new();
    let mut stacked = 0;
    for model in families() {
        let renamed = dir.copied(&model, "renamed");
        let path = renamed.join("model.safetensors");
        let mut file = Safetensors::read(&path);
        for prefix in ["model.", "transformer.", "gpt_neox."] {
            let bare = file.tensors.iter().filter(|t| t.name.starts_with(prefix)).count();
            for tensor in file.tensors.iter_mut().filter(|_| bare > 1) {
                tensor.name = tensor.name.strip_prefix(prefix).unwrap_or(&tensor.name).into();
            }
        }
        stacked += stack_experts(&mut file);
        file.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        file.write(&path);
        let tokens = tokens(&model);
        let expected = logits(&dir, &model, &tokens, "--quiet");
        let found = logits(&dir, &renamed, &tokens, "--quiet");
        assert_eq!(found, expected, "{}", model.display());
        fs::remove_dir_all(renamed).expect("removed");
    }
    assert!(stacked >= 5, "only {stacked} layers of experts were stacked");
}

/// `experts.0.gate_proj.weight` … becomes `experts.gate_up_proj`; says of how many layers.
fn stack_experts(file: &mut Safetensors) -> usize {
    let pairs = [("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")];
    let (mut made, mut layers) = (Vec::new(), 0);
    for (gate, up, down) in pairs {
        let first = format!(".experts.0.{gate}.weight");
        let of = |t: &Stored| t.name.strip_suffix(&first).map(str::to_owned);
        let found: Vec<String> = file.tensors.iter().filter_map(of).collect();
        for layer in found {
            let mut take = |expert: usize, part: &str| {
                let name = format!("{layer}.experts.{expert}.{part}.weight");
                let at = file.tensors.iter().position(|t| t.name == name)?;
                Some(file.tensors.remove(at))
            };
            let (mut gates, mut downs): (Option<Stored>, Option<Stored>) = (None, None);
            let mut experts = 0;
            while let Some(one) = take(experts, gate) {
                let (other, last) = (take(experts, up).expect("up"), take(experts, down));
                append(&mut gates, [one, other].to_vec());
                append(&mut downs, last.into_iter().collect());
                experts += 1;
            }
            let block = layer.replace("block_sparse_moe", "mlp");
            for (tensor, name) in [(gates, "gate_up_proj"), (downs, "down_proj")] {
                let mut tensor = tensor.expect("experts");
                let rows = tensor.shape[0] / experts as u64;
                tensor.shape = vec![experts as u64, rows, tensor.shape[1]];
                tensor.name = format!("{block}.experts.{name}");
                made.push(tensor);
            }
            layers += 1;
        }
    }
    file.tensors.extend(made);
    layers
}

/// Rows below rows.
fn append(whole: &mut Option<Stored>, parts: Vec<Stored>) {
    for part in parts {
        match whole {
            None => *whole = Some(part),
            Some(whole) => {
                whole.shape[0] += part.shape[0];
                whole.bytes.extend(part.bytes);
            }
        }
    }
}

#[test]
fn a_norm_that_still_lacks_one() {
    for (name, tensor) in
        [("gemma", "blk.0.attn_norm.weight"), ("nemotron", "blk.1.ffn_norm.weight")]
    {
        Bench::new(family(name)).gguf(FLOATS, tensor, |file| {
            for bytes in file.at(tensor).bytes.chunks_exact_mut(4) {
                let x = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                bytes.copy_from_slice(&(x - 1.0).to_le_bytes());
            }
        });
    }
}

#[test]
fn columns_that_were_left_for_rows() {
    let bench = Bench::new(family("gpt2"));
    let name = "blk.0.attn_output.weight";
    bench.gguf(FLOATS, name, |file| transpose(file.at(name)));
    bench.hub("transformer.h.1.attn.c_proj.weight", |file, _| {
        transpose(file.at("transformer.h.1.attn.c_proj.weight"));
    });
}

#[test]
fn experts_exchanged() {
    let bench = Bench::new(family("mixtral"));
    for name in ["blk.0.ffn_gate_exps.weight", "blk.1.ffn_down_exps.weight"] {
        bench.gguf(FLOATS, name, |file| {
            let tensor = file.at(name);
            let expert = tensor.row();
            let (first, rest) = tensor.bytes.split_at_mut(expert);
            first.swap_with_slice(&mut rest[..expert]);
        });
    }
}

/// Queries, keys and values of each head in turn, as they were before they were sorted.
#[test]
fn fused_rows_not_sorted() {
    let bench = Bench::new(family("bloom"));
    let name = "blk.0.attn_qkv.weight";
    bench.gguf(FLOATS, name, |file| {
        let tensor = file.at(name);
        let (row, heads) = (tensor.row(), 3);
        let old = tensor.bytes.clone();
        let (rows, size) = (old.len() / row, old.len() / row / heads / 3);
        for i in 0..rows {
            let (head, part, within) = (i / size / 3, i / size % 3, i % size);
            let from = part * heads * size + head * size + within;
            tensor.bytes[i * row..][..row].copy_from_slice(&old[from * row..][..row]);
        }
        assert!(tensor.bytes != old);
    });
}

/// What llama.cpp has no word for is said, and is kept in the file.
#[test]
fn options_beyond_ggufs_words_are_notes() {
    let dir = Dir::new();
    for (name, said) in [
        ("llama-dynamic", "dynamic NTK"),
        ("qwen2-window", "sliding window"),
        ("mpt", "attention multiplier"),
        ("gptj", "llama.cpp knows no such architecture"),
        ("mixtral", "llama.cpp ignores it"),
    ] {
        let ran = remold!("convert", family(name), dir.join(name).with_extension("gguf")).ends(0);
        assert!(ran.stderr.contains(said), "{name}: {}", ran.told());
    }
}

/// A bound below 0 bounds nothing, and a rotation needs two dimensions: neither may reach a kernel.
#[test]
fn hyper_parameters_that_cannot_be_are_refused() {
    let dir = Dir::new();
    let cases = [
        ("olmo", "clip_qkv", -8.0, "clip_qkv"),
        ("gpt_oss", "swiglu_limit", -1.0, "found -1.0, expected a number of 0 or more"),
        ("phi", "partial_rotary_factor", 0.0, "rotary dimensions 0 must be"),
    ];
    for (family, key, value, words) in cases {
        let model = dir.copied(&fixture(&format!("families/{family}")), family);
        let mut config = json(model.join("config.json"));
        assert!(config.get(key).is_some(), "{family} has no {key}");
        config[key] = value.into();
        fs::write(model.join("config.json"), config.to_string()).expect("writes");
        let output = dir.join("x.npy");
        let error = remold!("logits", model, "--tokens", "1,2,3", "-o", output).refuses(3);
        assert!(error.contains(words), "{error}");
    }
}
