//! Containers of arrays: what their owning libraries read from them is what we read. The libraries
//! wrote the files and the goldens beside them: `fixtures/make/npz.py` and its neighbours.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use remold::formats;
use remold::ir::{Access, Limits, Model, Notes, Scratch, Tensor};
use remold::store::Files;
use torch::Crc32;

use crate::program::{Dir, fixture, read, remold};

/// A model, its format seen by content.
pub(crate) fn model(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).expect("a file");
    let format = formats::detect(&source, None).expect("a format");
    let read = format.read.expect("a format that is read");
    read(&source, &Limits::default(), &mut Notes::default()).expect("a model")
}

/// The CRC-32 of a tensor, made at once or in pieces.
fn sum(tensor: &Tensor, piece: u64) -> u32 {
    let (count, mut at, mut crc) = (tensor.shape().count(), 0, Crc32::default());
    while at < count {
        let end = count.min(at + piece.next_multiple_of(tensor.granule()));
        let mut bytes = vec![0; tensor.byte_offset(end - at) as usize];
        tensor.read(at..end, &mut bytes, &mut Scratch::default()).expect("elements");
        crc.update(&bytes);
        at = end;
    }
    crc.value()
}

/// What `fixtures/make/golden.py` writes of the same file, but for the order.
fn held(model: &Model) -> Vec<String> {
    let lines = model.tensors.iter().map(|(name, tensor)| {
        let crc = sum(tensor, tensor.shape().count().max(1));
        for piece in [1, 3, 64] {
            if tensor.shape().count() < 10_000 {
                assert_eq!(sum(tensor, piece), crc, "{name} in pieces of {piece}");
            }
        }
        let mut line = String::new();
        let _ = write!(line, "{} {} {crc:08x} {name}", tensor.dtype(), tensor.shape());
        line
    });
    sorted(lines.collect())
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// A file gives what its golden says; how many arrays that are.
pub(crate) fn agrees(file: &Path, golden: &Path) -> usize {
    let text = std::fs::read_to_string(golden).expect("a golden text");
    let expected = sorted(text.lines().map(str::to_owned).collect());
    assert_eq!(held(&model(file)), expected, "{}", file.display());
    expected.len()
}

/// A file of `$REMOLD_MODELS`, which names a directory of models that are not kept here.
pub(crate) fn kept_elsewhere(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("REMOLD_MODELS").map(PathBuf::from).unwrap_or_default();
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("$REMOLD_MODELS/{name} is not there: not tested");
        return None;
    }
    Some(path)
}

#[test]
fn archives_of_numpy_hold_what_numpy_says() {
    for name in ["stored", "deflated"] {
        let file = fixture(&format!("npz/{name}.npz"));
        assert_eq!(agrees(&file, &file.with_extension("golden")), 11);
    }
}

#[test]
fn the_checkpoint_of_g2p_en_holds_what_numpy_says() {
    let Some(file) = kept_elsewhere("g2p-en/checkpoint20.npz") else { return };
    assert_eq!(agrees(&file, &fixture("npz/g2p_en.golden")), 12);
}

/// To every type and order of one array, and back: the same elements.
#[test]
fn arrays_alone_are_read_and_written() {
    let (mut seen, dir) = (0, Dir::new());
    for name in crate::program::names(&fixture("npy")) {
        let Some(stem) = name.strip_suffix(".npy") else { continue };
        let file = fixture(&format!("npy/{name}"));
        let (archive, again) = (dir.join(format!("{stem}.npz")), dir.join(&name));
        let tensors = model(&file).tensors;
        assert_eq!(tensors.keys().collect::<Vec<_>>(), [stem]);
        if stem == "bfloat16" || stem == "float8_e5m2" {
            let error = remold!("convert", file, archive, "--quiet").refuses(4);
            assert!(error.contains("give --type f32"), "{error}");
            continue;
        }
        remold!("convert", file, archive, "--quiet", "--no-sync").ends(0);
        remold!("convert", archive, again, "--quiet", "--no-sync").ends(0);
        assert_eq!(held(&model(&again)), held(&model(&file)), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 23);
    let error = remold!("convert", fixture("npz/stored.npz"), dir.join("x.npy")).refuses(4);
    assert!(error.contains("11 tensors; write an .npz"), "{error}");
    let one = remold!(
        "convert",
        fixture("npz/stored.npz"),
        dir.join("x.npy"),
        "--include",
        "^fortran$",
        "--quiet"
    );
    one.ends(0);
}

#[test]
fn arrays_of_no_numbers_are_refused_by_name() {
    let dir = Dir::new();
    let text = fixture("npz/text.npz");
    let error = remold!("convert", text, dir.join("a.npz")).refuses(4);
    assert!(error.contains("'text' is an array whose descr \"<U1\" are text"), "{error}");
    remold!("convert", text, dir.join("a.npz"), "--exclude", "^text$", "--quiet").ends(0);
    assert_eq!(model(&dir.join("a.npz")).tensors.len(), 1);
    let objects = fixture("npz/objects.npz");
    let error = remold!("convert", objects, dir.join("b.npz")).refuses(3);
    assert!(error.contains("array 'objects'") && error.contains("a pickle"), "{error}");
    remold!("convert", objects, dir.join("b.npz"), "--skip-objects", "--quiet").ends(0);
    assert_eq!(model(&dir.join("b.npz")).tensors.len(), 1);
}

#[test]
fn checkpoints_of_flax_hold_what_flax_restores() {
    let mut seen = 0;
    for name in ["network", "chunked", "types", "state"] {
        let file = fixture(&format!("flax/{name}.msgpack"));
        seen += agrees(&file, &file.with_extension("golden"));
    }
    assert_eq!(seen, 43);
}

/// To MessagePack and back, through pieces; Flax reads what is written: `fixtures/make/flax.py`.
#[test]
fn checkpoints_of_flax_are_written() {
    let dir = Dir::new();
    for name in ["network", "chunked", "types"] {
        let (file, again) = (fixture(&format!("flax/{name}.msgpack")), dir.join(name));
        remold!("convert", file, again, "--to", "flax", "--quiet", "--no-sync").ends(0);
        let again = match again.is_dir() {
            true => again.join("flax_model.msgpack"),
            false => again,
        };
        agrees(&again, &file.with_extension("golden"));
    }
    // Without scalars of NumPy's and without pieces, the bytes are Flax's.
    let network = crate::program::read(fixture("flax/network.msgpack"));
    for name in ["network", "chunked"] {
        assert!(crate::program::read(dir.join(name).join("flax_model.msgpack")) == network);
    }
    let (network, shards) = (fixture("flax/network.msgpack"), dir.join("shards"));
    let split = ["--to", "flax", "--split-max-tensors", "3", "--quiet", "--no-sync"];
    let mut command = std::process::Command::new(crate::program::BINARY);
    command.arg("convert").args([&network, &shards]).args(split);
    crate::program::finish(&mut command).ends(0);
    assert!(shards.join("flax_model-00003-of-00003.msgpack").is_file());
    agrees(&shards, &fixture("flax/network.golden"));
    let npz = dir.join("network.npz");
    remold!("convert", fixture("flax/network.msgpack"), npz, "--quiet").ends(0);
    agrees(&npz, &fixture("flax/network.golden"));
}

#[test]
fn what_flax_keeps_beside_weights_is_told() {
    let dir = Dir::new();
    let state = remold!("convert", fixture("flax/state.msgpack"), dir.join("a.npz"));
    let told = state.ends(0).stderr;
    assert!(told.contains("13 arrays of the optimizer's state are left out"), "{told}");
    assert!(told.contains("no arrays are left out: step"), "{told}");
    let error = remold!("convert", fixture("flax/int4.msgpack"), dir.join("b.npz")).refuses(4);
    assert!(error.contains("'a' is of type int4"), "{error}");
}

#[test]
fn models_of_tensorflow_lite_hold_what_its_interpreter_has() {
    let mut seen = 0;
    for name in ["float", "float16", "int8", "every", "outside"] {
        let file = fixture(&format!("tflite/{name}.tflite"));
        seen += agrees(&file, &file.with_extension("golden"));
    }
    assert_eq!(seen, 66);
    let (sparse, dir) = (fixture("tflite/sparse.tflite"), Dir::new());
    let error = remold!("convert", sparse, dir.join("a.npz")).refuses(4);
    assert!(error.contains("'plain/float32' is sparse"), "{error}");
}

/// Kernels arrive in the order of dimensions that the target's framework has.
#[test]
fn kernels_of_tensorflow_lite_are_turned() {
    let dir = Dir::new();
    let shapes = |target: &str| {
        let out = dir.join(target);
        let (from, left) = (fixture("tflite/float.tflite"), "input_sizes$");
        remold!("convert", from, out, "--exclude", left, "--quiet", "--no-sync").ends(0);
        let of = |tensor: &Tensor| tensor.shape().dims().to_vec();
        let model = model(&out);
        let mut shapes: Vec<_> = model.tensors.values().map(of).filter(|d| d.len() > 1).collect();
        shapes.sort();
        shapes
    };
    let torch = [vec![5, 105], vec![4, 2, 3, 2], vec![8, 1, 3, 3], vec![8, 3, 2, 3]];
    let flax = [vec![105, 5], vec![2, 3, 3, 8], vec![3, 2, 2, 4], vec![3, 3, 4, 2]];
    let sorted = |mut shapes: Vec<Vec<u64>>| {
        shapes.sort();
        shapes
    };
    assert_eq!(shapes("a.safetensors"), sorted(torch.to_vec()));
    assert_eq!(shapes("a.msgpack"), sorted(flax.to_vec()));
}

#[test]
fn matrices_packed_by_mlx_are_what_mlx_makes_of_them() {
    let packed = fixture("mlx/llama");
    assert_eq!(agrees(&packed, &fixture("mlx/llama.golden")), 21);
    let (dir, tokens) = (Dir::new(), "1,2,3,90");
    let (plain, gguf) = (dir.join("plain"), dir.join("a.gguf"));
    remold!("convert", packed, plain, "--quiet", "--no-sync").ends(0);
    agrees(&plain, &fixture("mlx/llama.golden"));
    let config = crate::program::json(plain.join("config.json"));
    assert!(config.get("quantization").is_none() && config.get("quantization_config").is_none());
    remold!("convert", packed, gguf, "--quiet", "--no-sync").ends(0);
    let verify = remold!("verify", packed, gguf, "--tokens", tokens);
    verify.ends(0);
    let logits = [&packed, &plain].map(|model| {
        let out = dir.join("logits.npy");
        remold!("logits", model, "--tokens", tokens, "-o", out).ends(0);
        crate::program::read(out)
    });
    assert!(logits[0] == logits[1]);
}

/// Where MLPerf Tiny's trained models are (Apache-2.0, <https://github.com/mlcommons/tiny>).
fn mlperf_tiny(name: &str) -> Option<PathBuf> {
    let vww = name.starts_with("vww");
    let folder = if vww { "visual_wake_words" } else { "image_classification" };
    testing::corpus(
        Path::new("mlperf-tiny/benchmark/training").join(folder).join("trained_models").join(name),
    )
}

#[test]
fn models_of_mlperf_tiny_hold_what_the_interpreter_has() {
    let mut seen = 0;
    let goldens = crate::program::names(&fixture("tflite/mlperf"));
    for golden in &goldens {
        let Some(file) = mlperf_tiny(&golden.replace(".golden", ".tflite")) else { return };
        seen += agrees(&file, &fixture("tflite/mlperf").join(golden));
    }
    assert_eq!((goldens.len(), seen), (6, 198));
}

/// What the converter takes from a Keras model as it is comes out as Keras has it, turned.
#[test]
fn kernels_of_mlperf_tiny_are_those_of_keras() {
    let (dir, mut seen) = (Dir::new(), 0);
    for (name, golden) in [("pretrainedResnet", "resnet_h5"), ("vww_96_float", "vww_h5")] {
        let Some(file) = mlperf_tiny(&format!("{name}.tflite")) else { return };
        let out = dir.join(format!("{name}.safetensors"));
        remold!("convert", file, out, "--quiet", "--no-sync").ends(0);
        let nameless = |line: &str| line.rsplit_once(' ').expect("a name").0.to_owned();
        let found: Vec<String> = held(&model(&out)).iter().map(|line| nameless(line)).collect();
        let golden = fixture(&format!("tflite/{golden}.golden"));
        for line in std::fs::read_to_string(golden).expect("a golden text").lines() {
            let (shape_and_sum, _) = line.rsplit_once(' ').expect("a name");
            assert!(found.iter().any(|found| found == shape_and_sum), "{name}: {line}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}

/// A checkpoint of 10 GB, of which the disk holds only the names, is looked at in no time.
#[test]
fn large_checkpoints_are_looked_at_without_reading_them() {
    let dir = Dir::new();
    let entry = |n: u64| msgpack::Entry {
        name: format!("params/layer_{n}/kernel"),
        dtype: msgpack::Dtype::F32,
        shape: vec![1 << 14, 1 << 13],
    };
    let plan = msgpack::Plan::new(&(0..20).map(entry).collect::<Vec<_>>(), msgpack::CHUNK);
    let plan = plan.expect("a plan");
    let file = std::fs::File::create(dir.join("large.msgpack")).expect("created");
    file.set_len(plan.len).expect("long");
    for (at, bytes) in &plan.headers {
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, *at).expect("written");
    }
    let shown = crate::memory::listing(&dir.join("large.msgpack"), "--json").json();
    assert_eq!(shown["file_bytes"].as_u64(), Some(plan.len));
    assert_eq!(shown["parameters"].as_u64(), Some(20 << 27));
}

#[test]
fn matrices_of_gptq_and_awq_are_what_they_stand_for() {
    let mut seen = 0;
    for name in ["gptq2", "gptq3", "gptq4", "gptq8", "gptq_v2", "gptq_whole", "awq"] {
        let golden = fixture(&format!("gptq/{name}.golden"));
        seen += agrees(&fixture(&format!("gptq/{name}")), &golden);
    }
    assert_eq!(seen, 21);
    // AutoGPTQ packed these in the order of importance, and says what they stand for.
    for name in ["gptq_order", "gptq_order3"] {
        let golden = fixture(&format!("gptq/{name}.golden"));
        assert_eq!(agrees(&fixture(&format!("gptq/{name}")), &golden), 2, "{name}");
    }
}

/// A group that is not there, and a list of groups of another type.
#[test]
fn groups_of_gptq_are_held_to_what_there_is() {
    let dir = Dir::new();
    let model = dir.copied(&fixture("gptq/gptq_order"), "model");
    let path = model.join("model.safetensors");
    let good = read(&path);
    let (header, data) =
        good.split_at(8 + u64::from_le_bytes(good[..8].try_into().unwrap()) as usize);
    let entries: serde_json::Value = serde_json::from_slice(&header[8..]).expect("a header");
    let at = entries["layer.g_idx"]["data_offsets"][0].as_u64().expect("a place") as usize;
    for (group, words) in [(3, "group 3, and there are 3"), (-1, "group 4294967295, and there")] {
        let mut data = data.to_vec();
        data[at + 20..at + 24].copy_from_slice(&i32::to_le_bytes(group));
        std::fs::write(&path, [header, &data].concat()).expect("written");
        let error = remold!("convert", model, dir.join("a.npz")).refuses(3);
        assert!(error.contains("layer.qweight") && error.contains("column 5"), "{error}");
        assert!(error.contains(words), "{error}");
    }
    let text = String::from_utf8(header[8..].to_vec()).expect("text");
    let other = text.replace(r#"g_idx":{"dtype":"I32"#, r#"g_idx":{"dtype":"F32"#);
    std::fs::write(&path, [&header[..8], other.as_bytes(), data].concat()).expect("written");
    let error = remold!("convert", model, dir.join("a.npz")).refuses(3);
    assert!(error.contains("g_idx is f32 [96], expected i32 [96]"), "{error}");
}
