//! TensorFlow's files through the reader: what TensorFlow itself reads from them is what a model
//! has. `fixtures/make/tensorflow.py` wrote what is expected.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use remold::ir::{Access, Convention, DType, Kernel, Layer, Limits, Model, Notes, Scratch, Tensor};
use remold::store::{Digest, Files};
use serde_json::Value as Json;

use crate::program::{Dir, fixture, json, read, remold};

const VALUE: &str = "/.ATTRIBUTES/VARIABLE_VALUE";

fn model(path: &Path) -> (Model, Notes) {
    let limits = Limits { checksums: true, ..Limits::default() };
    let (source, mut notes) =
        (Files::open(path, Access::Read).expect("a source"), Notes::default());
    assert!(remold::read::tensorflow::probe(&source).expect("readable"), "{}", path.display());
    let model = remold::read::tensorflow::read(&source, &limits, &mut notes);
    (model.unwrap_or_else(|error| panic!("{error}")), notes)
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.bytes() as usize];
    tensor.read(0..tensor.shape().count(), &mut bytes, &mut Scratch::default()).expect("made");
    bytes
}

/// The name that NumPy has for a type.
fn numpy(dtype: DType) -> String {
    let name = dtype.name();
    let number = |letter| name.strip_prefix(letter).filter(|rest| rest.parse::<u32>().is_ok());
    match (name, number('f'), number('c'), number('i'), number('u')) {
        ("bf16", ..) => "bfloat16".into(),
        ("f8_e4m3", ..) => "float8_e4m3fn".into(),
        (_, Some(bits), ..) => format!("float{bits}"),
        (_, _, Some(bits), ..) => format!("complex{bits}"),
        (_, _, _, Some(bits), _) => format!("int{bits}"),
        (_, _, _, _, Some(bits)) => format!("uint{bits}"),
        _ => name.replace("f8", "float8"),
    }
}

/// Compares each tensor with what TensorFlow says of it; the variables that the model has not.
fn compare<'e>(model: &Model, expected: &'e Json) -> BTreeSet<&'e str> {
    let variables = expected["variables"].as_object();
    let mut missing: BTreeSet<&str> =
        variables.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    for (name, tensor) in &model.tensors {
        let keys = [name.clone(), format!("{name}{VALUE}")];
        let variable = keys.iter().find_map(|key| Some((key, variables?.get(key)?)));
        let said = variable.map_or(&expected["constants"][name], |(_, said)| said);
        let shape: Vec<u64> = serde_json::from_value(said["shape"].clone()).expect(name);
        assert_eq!(said["dtype"], numpy(tensor.dtype()), "{name}");
        assert_eq!(shape, tensor.shape().dims(), "{name}");
        assert_eq!(said["sha256"], Digest::of([&*bytes(tensor)]).to_string(), "{name}");
        if let Some((key, _)) = variable {
            assert!(missing.remove(key.as_str()), "{name} stands twice");
        }
    }
    missing
}

/// A checkpoint is named by what its files have in common.
fn named(folder: &Path, file: &str) -> PathBuf {
    folder.join(file.strip_suffix(".index").unwrap_or(file))
}

#[test]
fn fixtures_hold_what_tensorflow_reads() {
    let expected = json(fixture("tensorflow/expected.json"));
    let keras = (2..6).map(|no| format!("model/optimizer/_variables/{no}{VALUE}"));
    let keras = keras.chain([
        format!("model/optimizer/_iterations{VALUE}"),
        format!("model/optimizer/_learning_rate{VALUE}"),
    ]);
    let slots = [format!("save_counter{VALUE}")].into_iter();
    let slots = slots.chain([format!("weight/.OPTIMIZER_SLOT/training/momentum{VALUE}")]);
    let mut seen = 0;
    for (file, said) in expected.as_object().expect("files") {
        let (model, notes) = model(&named(&fixture("tensorflow"), file));
        let mut missing = compare(&model, said);
        missing.remove("_CHECKPOINTABLE_OBJECT_GRAPH");
        let left: BTreeSet<String> = match file.as_str() {
            "keras.ckpt.index" => keras.clone().collect(),
            "slots/model.ckpt-1.index" => slots.clone().collect(),
            _ => BTreeSet::new(),
        };
        assert!(missing.iter().eq(left.iter()), "{file}: {missing:?}");
        let told = left.is_empty() || notes.iter().any(|note| note.text.contains("optimizers"));
        assert!(told && !model.tensors.is_empty(), "{file}");
        seen += 1;
    }
    assert_eq!(seen, 11);
}

/// Files of TensorFlow Serving and of TensorFlow's bindings for Rust, of versions 1 and 2.
#[test]
fn real_models_hold_what_tensorflow_reads() {
    let (mut files, mut tensors) = (0, 0);
    for (folder, list) in [("tf-serving", "serving"), ("tf-rust", "rust")] {
        let Some(folder) = testing::corpus(folder) else { return };
        let expected = json(fixture("tensorflow").join(format!("{list}.json")));
        for (file, said) in expected.as_object().expect("files") {
            let (model, _) = model(&named(&folder, file));
            for name in compare(&model, said) {
                let is_state =
                    name.starts_with("optimizer/") || said["variables"][name] == "string";
                assert!(is_state, "{file}: {name} is missing");
            }
            files += 1;
            tensors += model.tensors.len();
        }
    }
    assert_eq!((files, tensors), (33, 163));
}

/// The network of basic-pitch 0.4.0 (PyPI), if `$REMOLD_BASIC_PITCH` says where it lies; what
/// TensorFlow reads from it is in the file beside it, as `fixtures/make/tensorflow.py` writes it.
#[test]
fn a_real_network_holds_what_tensorflow_reads() {
    let Some(folder) = std::env::var_os("REMOLD_BASIC_PITCH").map(PathBuf::from) else {
        eprintln!("$REMOLD_BASIC_PITCH is not set: not tested");
        return;
    };
    let expected = json(folder.join("expected.json"));
    let said = &expected["saved_model.pb"];
    let (model, _) = model(&folder);
    let missing = compare(&model, said);
    let is_state = |name: &str| {
        let of_training = ["optimizer/", "keras_api/metrics/"];
        let is_slot = name.contains("/.OPTIMIZER_SLOT/");
        let of_training = is_slot || of_training.iter().any(|start| name.starts_with(start));
        of_training || said["variables"][name] == "string"
    };
    assert!(missing.iter().all(|name| is_state(name)), "{missing:?}");
    assert_eq!(model.tensors.len(), 28);
    // Those of its convolutions; the constants of the transform before them are turned when it is run.
    assert_eq!(model.kernels.len(), 6, "{:?}", model.kernels);
}

#[test]
fn kernels_are_known_by_what_reads_them() {
    let keras = |layer| Kernel { layer, convention: Convention::Keras };
    let layers = [
        keras(Layer::ConvTranspose),
        keras(Layer::Conv),
        keras(Layer::Depthwise { multiplier: 1 }),
        keras(Layer::Dense),
        keras(Layer::Dense),
    ];
    let saved = ["back", "conv", "depthwise", "layers/0/kernel", "layers/1/kernel"];
    let ends = ["conv2d_transpose", "Conv2D", "depthwise", "MatMul", "MatMul_1"];
    let frozen = ends.map(|node| format!("{node}/ReadVariableOp/resource"));
    let frozen = frozen.each_ref().map(String::as_str);
    for (file, names) in [("network", saved), ("network.pb", frozen)] {
        let (model, _) = model(&fixture("tensorflow").join(file));
        for (name, kernel) in names.iter().zip(layers) {
            assert_eq!(model.kernels.get(*name), Some(&kernel), "{file}: {name}");
        }
        // And the constant that the scores are multiplied by.
        assert_eq!(model.kernels.len(), 6, "{file}: {:?}", model.kernels);
    }
}

/// Keras 3 exports each variable twice: once is what a model has, under the name that Keras has
/// for it, or under its place in Keras's list if layers share a name.
#[test]
fn what_keras_exports_is_read_once() {
    for (name, kernels) in [
        ("exported", &["network/head/kernel"][..]),
        ("exported_twins", &["variables/0", "variables/2"]),
    ] {
        let expected = json(fixture(&format!("tensorflow/{name}.json")));
        let expected = expected.as_object().expect("variables");
        let folder = fixture("tensorflow").join(name);
        for path in [folder.clone(), folder.join("variables")] {
            let (model, notes) = model(&path);
            assert_eq!(model.tensors.len(), expected.len(), "{name}: {:?}", model.tensors.keys());
            for (key, said) in expected {
                let tensor = &model.tensors[key];
                assert_eq!(said["sha256"], Digest::of([&*bytes(tensor)]).to_string(), "{key}");
            }
            let told = format!("{} variables are listed twice: each is read once", expected.len());
            assert!(notes.iter().any(|note| note.text == told), "{name}");
        }
        let dense = Kernel { layer: Layer::Dense, convention: Convention::Keras };
        let known = model(&folder).0.kernels;
        assert!(known.keys().eq(kernels), "{known:?}");
        assert!(known.values().all(|kernel| *kernel == dense));
    }
}

#[test]
fn signatures_and_functions_are_shown() {
    let (model, _) = model(&fixture("tensorflow/network"));
    let text = |key: &str| model.config.get(key).and_then(|value| value.as_text()).expect(key);
    assert_eq!(text("tensorflow.version"), "2.21.0");
    assert_eq!(text("tensorflow.tags"), "serve");
    assert_eq!(text("tensorflow.signature.serving_default.input.image"), "float32 [?, 4, 4, 2]");
    assert_eq!(text("tensorflow.signature.serving_default.output.scores"), "float32 [?, 2]");
    assert!(model.config.get("tensorflow.functions").is_some());
}

#[test]
fn every_name_of_a_checkpoint_leads_to_it() {
    let dir = Dir::new();
    let folder = fixture("tensorflow");
    let names = [
        "partitioned.ckpt",
        "partitioned.ckpt.index",
        "partitioned.ckpt.data-00001-of-00002",
        "slots",
        "slots/checkpoint",
        "slots/model.ckpt-1",
        "network",
        "network/saved_model.pb",
        "network/variables",
        "network.pb",
        "first.ckpt",
    ];
    for (no, name) in names.into_iter().enumerate() {
        let target = dir.join(format!("{no}.npz"));
        remold!("convert", folder.join(name), target, "--no-sync", "--quiet").ends(0);
    }
    assert_eq!(read(dir.join("0.npz")), read(dir.join("2.npz")));
    assert_eq!(read(dir.join("3.npz")), read(dir.join("5.npz")));
    assert_eq!(read(dir.join("6.npz")), read(dir.join("7.npz")));
}

#[test]
fn what_a_checkpoint_lacks_is_named() {
    let dir = Dir::new();
    let copied = |name: &str| {
        std::fs::copy(fixture("tensorflow").join(name), dir.join(name)).expect("copied");
        dir.join(name)
    };
    let index = copied("partitioned.ckpt.index");
    copied("partitioned.ckpt.data-00000-of-00002");
    let missing = remold!("convert", index, dir.join("x.npz")).refuses(3);
    assert!(missing.contains("'partitioned.ckpt.data-00001-of-00002' is missing"), "{missing}");
    let mut data = read(copied("types.ckpt.data-00000-of-00001"));
    let types = copied("types.ckpt.index");
    data[100] ^= 1;
    std::fs::write(dir.join("types.ckpt.data-00000-of-00001"), &data).expect("written");
    let damaged = remold!("convert", types, dir.join("x.safetensors")).refuses(3);
    assert!(damaged.contains("weights (byte") && damaged.contains("is damaged"), "{damaged}");
    remold!("inspect", types).ends(0);
}

/// SavedModels have other messages beside them.
#[test]
fn a_message_that_is_no_model_is_named() {
    let dir = Dir::new();
    let path = dir.join("fingerprint.pb");
    std::fs::write(&path, b"\x08\x96\xe9\xd9\x0a\x10\x02").expect("written");
    let error = remold!("inspect", path).refuses(3);
    assert!(error.contains("neither a SavedModel, a graph nor a checkpoint"), "{error}");
}

/// The same tensors are the same bytes as TensorFlow's, index and weights.
#[test]
fn what_is_written_is_what_tensorflow_writes() {
    let dir = Dir::new();
    for name in ["types.ckpt", "names.ckpt"] {
        let (source, target) =
            (fixture("tensorflow").join(name), dir.join(format!("{name}.index")));
        remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
        for end in ["index", "data-00000-of-00001"] {
            let file = format!("{name}.{end}");
            assert!(read(dir.join(&file)) == read(fixture("tensorflow").join(&file)), "{file}");
        }
    }
    let dir = Dir::new();
    let source = fixture("tensorflow").join("types.ckpt");
    let target = dir.join("x.ckpt");
    let flags = ["--to", "tensorflow", "--split-max-size", "100", "--threads"];
    let [to, format, split, size, threads] = flags;
    remold!("convert", source, target, to, format, split, size, threads, "3", "--no-sync").ends(0);
    let (parts, _) = model(&target);
    let (whole, _) = model(&source);
    assert!(dir.names().len() > 4, "{:?}", dir.names());
    assert!(parts.tensors.keys().eq(whole.tensors.keys()));
    for (name, tensor) in &whole.tensors {
        assert_eq!(bytes(tensor), bytes(&parts.tensors[name]), "{name}");
    }
}

#[test]
fn a_directory_is_what_tensorflow_looks_for() {
    let dir = Dir::new();
    let (source, target) = (fixture("arch/llama"), dir.join("out"));
    remold!("convert", source, target, "--to", "tensorflow", "--no-sync", "--quiet").ends(0);
    let names = crate::program::names(&target);
    let expected =
        ["checkpoint", "config.json", "model.ckpt.data-00000-of-00001", "model.ckpt.index"];
    assert!(expected.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    let back = dir.join("back.safetensors");
    let whole = dir.join("whole.safetensors");
    remold!("convert", target, back, "--no-sync", "--quiet").ends(0);
    remold!("convert", source, whole, "--no-sync", "--quiet").ends(0);
    remold!("diff", whole, back).ends(0);
    let graph = remold!("convert", source, dir.join("x.pb")).refuses(2);
    assert!(graph.contains("not as a graph"), "{graph}");
}

/// Of a fully connected layer, PyTorch has the rows that Keras has as columns.
#[test]
fn kernels_are_turned_for_other_frameworks() {
    let dir = Dir::new();
    let (source, target) = (fixture("tensorflow/network"), dir.join("x.pt"));
    remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
    let shown = remold!("inspect", target, "--json").ends(0).json();
    let shape = |name: &str| {
        let tensors = shown["tensors"].as_array().expect("tensors").iter();
        tensors.clone().find(|tensor| tensor["name"] == name).expect(name)["shape"].clone()
    };
    assert_eq!(shape("layers/0/kernel"), serde_json::json!([5, 3]));
    assert_eq!(shape("conv"), serde_json::json!([4, 2, 3, 3]));
    assert_eq!(shape("depthwise"), serde_json::json!([4, 1, 3, 3]));
    assert_eq!(shape("back"), serde_json::json!([4, 3, 2, 2]));
}

/// `PyFunc` runs Python where the graph is run: only weights are had of it, and only if asked for.
#[test]
fn a_graph_that_runs_code_is_refused() {
    let dir = Dir::new();
    let model = dir.copied(&fixture("tensorflow/network"), "network");
    let path = model.join("saved_model.pb");
    let good = read(&path);
    // NodeDef.op is field 2.
    let at = good.windows(8).position(|bytes| bytes == b"\x12\x06MatMul").expect("a MatMul");
    let mut bad = good.clone();
    bad[at + 2..at + 8].copy_from_slice(b"PyFunc");
    std::fs::write(&path, bad).expect("written");
    let error = remold!("convert", model, dir.join("out.npz"), "--quiet").refuses(3);
    assert!(error.contains("is PyFunc") && error.contains("--skip-objects"), "{error}");
    remold!("convert", model, dir.join("out.npz"), "--skip-objects", "--quiet").ends(0);
}
