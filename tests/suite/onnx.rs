//! ONNX through the whole program. `fixtures/make/onnx_models.py` wrote the models and what the
//! reference library says of them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use onnx::fields::{graph, model, node, operator_set, tensor};
use onnx::{Message, Piece};
use remold::ir::graph::{Attribute, Element, Kind, Program};
use remold::ir::{Access, DType, Limits, Model, Notes, Scratch, Tensor};
use remold::store::Files;
use remold::write::{Part, WriteOptions};

use crate::program::{Dir, fixture, json, names, read, remold};

fn models(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).expect("a file");
    let read = remold::read::onnx::read(&source, &Limits::default(), &mut Notes::default());
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn program(model: &Model) -> &Program {
    model.graph.as_deref().expect("a graph")
}

fn bytes(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = vec![0; tensor.bytes() as usize];
    let all = 0..tensor.shape().count();
    tensor.read(all, &mut bytes, &mut Scratch::default()).expect("bytes");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every file of this extension below a folder of the corpora, or nothing where they are absent.
fn corpus(folder: &str, extension: &str) -> Vec<PathBuf> {
    let Some(root) = testing::corpus(folder) else { return Vec::new() };
    let (mut found, mut left) = (Vec::new(), vec![root]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => left.push(path),
                false if path.extension().is_some_and(|e| e == extension) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn tensors_have_the_values_of_the_reference() {
    let types = models(&fixture("onnx/types.onnx"));
    let expected = json(fixture("onnx/types.json"));
    assert_eq!(types.tensors.len(), 54);
    for (name, tensor) in &types.tensors {
        let (kind, _) = name.split_once('.').expect("a kind");
        assert_eq!(hex(&bytes(tensor)), expected[kind], "{name}");
    }
    let sparse = models(&fixture("onnx/sparse.onnx"));
    let expected = json(fixture("onnx/sparse.json"));
    for (name, tensor) in &sparse.tensors {
        assert_eq!(hex(&bytes(tensor)), expected[name], "{name}");
        // A piece of it, as it is written.
        let mut piece = [0; 12];
        tensor.read(4..7, &mut piece, &mut Scratch::default()).expect("a piece");
        assert_eq!(piece, bytes(tensor)[16..28], "{name}");
    }
    assert_eq!(sparse.tensors.len(), 2);
}

#[test]
fn what_nothing_changes_is_written_byte_for_byte() {
    let fixtures = names(&fixture("onnx")).into_iter().filter(|name| name.ends_with(".onnx"));
    let fixtures: Vec<PathBuf> = fixtures.map(|name| fixture("onnx").join(name)).collect();
    assert_eq!(fixtures.len(), 5);
    let corpora = [("onnx-node", 945), ("tract-onnx", 17), ("onnx-fp32-for-fp16", 4)];
    let corpora = corpora.into_iter().flat_map(|(folder, count)| {
        let found = corpus(folder, "onnx");
        assert!(found.is_empty() || found.len() == count, "{folder}: {}", found.len());
        found
    });
    for path in fixtures.into_iter().chain(corpora) {
        let source = models(&path);
        let options = WriteOptions { name: "out.onnx".into(), ..WriteOptions::default() };
        let layout = remold::write::onnx::layout(&source, &options, &mut Notes::default());
        let layout = layout.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let whole = matches!(layout.files[0].parts[..], [(0, Part::Copy(_))]);
        // Its nodes are not in order, which is mended.
        let mended = path.ends_with("test_model_0_no_opt.onnx");
        assert_eq!((layout.files.len(), whole), (1, !mended), "{}", path.display());
    }
}

#[test]
fn the_program_copies_a_model_and_all_that_it_does_not_know() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/everything.onnx"), dir.join("m.onnx"));
    remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
    assert_eq!(read(&source), read(&target));
    // Where weights move, what is not known stays: fields of the future, of model and graph.
    let moved = dir.join("moved.onnx");
    remold!("convert", source, moved, "--no-sync", "--quiet", "--type", "f16").ends(0);
    let changed = read(&moved);
    let future = changed.windows(6).filter(|window| window == b"future").count();
    assert_eq!(future, 2);
    let (before, after) = (models(&source), models(&moved));
    assert_eq!(program(&before).functions.len(), program(&after).functions.len());
    let text = |model: &Model, key: &str| {
        model.config.get(key).and_then(|v| v.as_text().map(str::to_owned))
    };
    for key in ["onnx.doc_string", "onnx.metadata.author", "onnx.producer_name"] {
        assert!(text(&before, key).is_some(), "{key}");
        assert_eq!(text(&before, key), text(&after, key));
    }
    assert_eq!(text(&before, "onnx.input.x").as_deref(), Some("f32 [batch]"));
    assert_eq!(text(&after, "onnx.output.y").as_deref(), Some("f16 [2]"));
}

#[test]
fn what_a_model_says_of_itself_is_set_by_hand() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/everything.onnx"), dir.join("m.onnx"));
    let edits = [
        "--set=onnx.metadata.author=me",
        "--set=onnx.metadata.new=1",
        "--unset=onnx.metadata.empty",
    ];
    let more = ["--set=onnx.doc_string=another", "--no-sync", "--quiet"];
    remold!("convert", source, target, edits[0], edits[1], edits[2], more[0], more[1], more[2])
        .ends(0);
    let (before, after) = (models(&source), models(&target));
    let text = |key: &str| after.config.get(key).and_then(|v| v.as_text().map(str::to_owned));
    assert_eq!(text("onnx.metadata.author").as_deref(), Some("me"));
    assert_eq!(text("onnx.metadata.new").as_deref(), Some("1"));
    assert_eq!(text("onnx.metadata.empty"), None);
    assert_eq!(text("onnx.doc_string").as_deref(), Some("another"));
    assert_eq!(before.config.get("onnx.producer_name"), after.config.get("onnx.producer_name"));
    // What is set to what it is leaves the file as it is.
    let same = dir.join("same.onnx");
    remold!("convert", source, same, "--set=onnx.metadata.author=fixtures", more[1], more[2])
        .ends(0);
    assert_eq!(read(&source), read(&same));
    let error =
        remold!("convert", source, dir.join("x.onnx"), "--unset=onnx.metadata.no").refuses(2);
    assert!(error.contains("--unset onnx.metadata.no: the output has no such key"), "{error}");
    let error = remold!("convert", source, dir.join("x.onnx"), "--set=author=me").refuses(2);
    assert!(error.contains("--set author: in an ONNX are onnx.metadata.KEY"), "{error}");
}

/// A SavedModel begins with the same two fields.
#[test]
fn graphs_of_tensorflow_are_not_taken_for_onnx() {
    for (folder, count) in [("tf-serving", 17), ("tf-rust", 5)] {
        let found = corpus(folder, "pb");
        assert!(found.is_empty() || found.len() >= count, "{folder}: {}", found.len());
        for path in found {
            assert!(!onnx::probe(&read(&path)), "{}", path.display());
        }
    }
    for (folder, count) in [("onnx-node", 945), ("tract-onnx", 17), ("onnx-fp32-for-fp16", 4)] {
        let found = corpus(folder, "onnx");
        assert!(found.is_empty() || found.len() == count, "{folder}: {}", found.len());
        for path in found {
            assert!(onnx::probe(&read(&path)), "{}", path.display());
        }
    }
}

#[test]
fn external_data_stay_beside_the_model() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/external/model.onnx"), dir.join("m.onnx"));
    remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
    assert_eq!(dir.names(), ["m.onnx", "m.onnx.data"]);
    let (before, after) = (models(&source), models(&target));
    assert_eq!(before.tensors.len(), 3);
    for (name, tensor) in &before.tensors {
        assert_eq!(bytes(tensor), bytes(&after.tensors[name]), "{name}");
        let (blob, start) = after.tensors[name].place().expect("a place");
        let beside = blob.name().ends_with("m.onnx.data");
        assert_eq!(beside, name != "shape", "{name}");
        assert!(!beside || start.is_multiple_of(4096), "{name} at {start}");
    }
    // And a model that has none gets them, if asked.
    let (small, large) = (fixture("onnx/exported/model.onnx"), dir.join("e.onnx"));
    fs::copy(small.with_file_name("config.json"), dir.join("config.json")).expect("a copy");
    remold!("convert", small, large, "--no-sync", "--quiet", "--external-data").ends(0);
    assert!(fs::metadata(&large).expect("a file").len() < 8192);
    remold!("diff", small, large, "--quiet").ends(0);
}

#[test]
fn what_trains_a_model_keeps_its_tensors_beside_it() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/external/training.onnx"), dir.join("t.onnx"));
    remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
    assert_eq!(dir.names(), ["t.onnx", "t.onnx.data"]);
    // They are no weights of the model.
    assert_eq!(models(&target).tensors.keys().collect::<Vec<_>>(), ["w"]);
    let data = |model: &Path| -> Vec<(String, Vec<u8>)> {
        let file = onnx::read(&&read(model)[..], &onnx::Limits::default()).expect("a model");
        let step = file.training[0].algorithm.as_ref().expect("a graph");
        let onnx::AttributeValue::Tensor(constant) = &step.nodes[0].attributes[0].value else {
            panic!("no tensor")
        };
        let tensors = file.graph.initializers.iter().chain(&step.initializers).chain([constant]);
        let bytes = tensors.map(|tensor| {
            let onnx::Data::External(beside) = &tensor.data else { panic!("{}", tensor.name) };
            let bytes = read(model.with_file_name(&beside.location));
            let start = beside.offset as usize;
            let len = 4 * tensor.dims.iter().product::<u64>() as usize;
            (tensor.name.clone(), bytes[start..start + len].to_vec())
        });
        bytes.collect()
    };
    assert_eq!(data(&source).len(), 3);
    assert_eq!(data(&source), data(&target));
}

/// A model with one weight of so many bytes, which are a hole at its end.
fn huge(path: &Path, len: u64) {
    let mut weight: Message<()> = Message::default();
    weight.int(tensor::DIMS, i64::try_from(len).expect("a size"));
    weight.int(tensor::DATA_TYPE, 2);
    weight.text(tensor::NAME, "w");
    weight.data(tensor::RAW_DATA, (), len);
    let mut add = Message::default();
    add.text(node::INPUT, "w");
    add.text(node::OUTPUT, "y");
    add.text(node::OP_TYPE, "Identity");
    let mut inner = Message::default();
    inner.message(graph::NODE, add);
    inner.message(graph::INITIALIZER, weight);
    let mut set = Message::default();
    set.int(operator_set::VERSION, 21);
    let mut file = Message::default();
    file.int(model::IR_VERSION, 10);
    file.message(model::OPSET_IMPORT, set);
    file.message(model::GRAPH, inner);
    let total = file.len();
    let head = file.into_pieces().into_iter().filter_map(|piece| match piece {
        Piece::Bytes(bytes) => Some(bytes),
        Piece::Copy(_) | Piece::Data(..) => None,
    });
    fs::write(path, head.flatten().collect::<Vec<u8>>()).expect("a file");
    let file = File::options().write(true).open(path).expect("the file");
    file.set_len(total).expect("a hole");
}

#[test]
fn beyond_two_gib_weights_lie_beside_the_model() {
    let dir = Dir::new();
    for (len, files) in [((1 << 31) - 4096, 1), (1 << 31, 2)] {
        let source = dir.join(format!("{len}.onnx"));
        huge(&source, len);
        let plan = remold!("convert", source, dir.join("o.onnx"), "--dry-run", "--json", "--quiet");
        let plan = plan.ends(0).json();
        assert_eq!(plan["files"].as_array().expect("files").len(), files, "{len}");
        if files == 2 {
            assert_eq!(plan["files"][1]["name"], "o.onnx.data");
            assert_eq!(plan["files"][1]["bytes"], len);
        }
    }
}

#[test]
fn f16_is_where_it_holds_what_is_computed() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/narrow.onnx"), dir.join("m.onnx"));
    let ran = remold!("convert", source, target, "--no-sync", "--type", "f16").ends(0);
    assert!(ran.stderr.contains("stay in f32"), "{}", ran.told());
    let model = models(&target);
    let graph = &program(&model).graph;
    let nodes: Vec<(&str, &str)> =
        graph.nodes.iter().map(|node| (node.op.as_str(), node.name.as_str())).collect();
    let expected = [
        ("MatMul", "matmul"),
        ("Cast", "m_f32/cast"),
        ("Pow", "power"),
        ("ReduceMean", "mean"),
        ("Add", "epsilon"),
        ("Sqrt", "root"),
        ("Cast", "s_f16/cast"),
        ("Div", "norm"),
        ("Cast", "positions"),
        ("Mul", "steps"),
        ("Sub", "mask"),
        ("Mul", "penalty"),
        ("Cast", "l_f16/cast"),
        ("Add", "masked"),
        ("Relu", "relu"),
    ];
    assert_eq!(nodes, expected);
    let types: Vec<_> = model.tensors.iter().map(|(name, t)| (&**name, t.dtype())).collect();
    let wide = ["two", "epsilon", "step", "one", "least"].map(|name| (name, DType::F32));
    assert_eq!(types[0], ("w", DType::F16));
    assert_eq!(types[1..6], wide);
    let kinds = |ports: &[remold::ir::graph::Port]| -> Vec<Element> {
        ports
            .iter()
            .map(|port| match port.kind {
                Kind::Tensor(element, _) => element,
                _ => panic!("{port:?}"),
            })
            .collect()
    };
    let half = Element::Number(DType::F16);
    assert_eq!(kinds(&graph.inputs), [half, Element::Number(DType::I64)]);
    assert_eq!(kinds(&graph.outputs), [half]);
    // What is not known of a node that changed stays with it.
    let kept = read(&target).windows(12).any(|window| window == b"the last one");
    assert!(kept, "the document of a node");
}

#[test]
fn inputs_and_outputs_stay_f32_if_asked() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/narrow.onnx"), dir.join("m.onnx"));
    let flags = ["--no-sync", "--quiet", "--type", "f16", "--keep-io", "f32"];
    remold!("convert", source, target, flags[0], flags[1], flags[2], flags[3], flags[4], flags[5])
        .ends(0);
    let (before, after) = (models(&source), models(&target));
    let (before, after) = (&program(&before).graph, &program(&after).graph);
    for (old, new) in
        before.inputs.iter().chain(&before.outputs).zip(after.inputs.iter().chain(&after.outputs))
    {
        assert_eq!((&old.name, &old.kind), (&new.name, &new.kind));
    }
    let (first, last) = (&after.nodes[0], after.nodes.last().expect("nodes"));
    assert_eq!((first.op.as_str(), &first.inputs[..]), ("Cast", &["x".to_owned()][..]));
    assert_eq!((last.op.as_str(), &last.outputs[..]), ("Cast", &["y".to_owned()][..]));
    let Some(Attribute::Int(1)) = last.attributes.get("to") else { panic!("{last:?}") };
}

#[test]
fn what_f16_cannot_hold_is_refused_or_clamped() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/large.onnx"), dir.join("m.onnx"));
    let error = remold!("convert", source, target, "--quiet", "--type", "f16").refuses(7);
    assert!(error.contains("'w'"), "{error}");
    assert_eq!(dir.names(), Vec::<String>::new());
    remold!("convert", source, target, "--quiet", "--no-sync", "--type", "f16", "--clamp").ends(0);
    assert_eq!(models(&target).tensors["w"].to_floats().expect("floats"), [1.0, 65504.0, 3.0, 4.0]);
    let wide = dir.join("b.onnx");
    remold!("convert", source, wide, "--quiet", "--no-sync", "--type", "bf16").ends(0);
    assert_eq!(models(&wide).tensors["w"].dtype(), DType::BF16);
    let error =
        remold!("convert", source, dir.join("q.onnx"), "--quiet", "--type", "q8_0").refuses(4);
    assert!(error.contains("ONNX holds f32, f16, bf16 and int8"), "{error}");
}

#[test]
fn an_exported_transformer_gets_its_names_back() {
    let dir = Dir::new();
    let (export, hub) = (fixture("onnx/exported/model.onnx"), fixture("onnx/hub"));
    let ran = remold!("convert", export, dir.join("e.safetensors"), "--no-sync").ends(0);
    let note = "onnx::MatMul_100: is taken for model.layers.0.self_attn.q_proj.weight, transposed";
    assert!(ran.stderr.contains(note), "{}", ran.told());
    for (name, source) in [("e.gguf", &export), ("h.gguf", &hub)] {
        remold!("convert", source, dir.join(name), "--no-sync", "--quiet").ends(0);
    }
    let tensors = |name: &str| {
        let ran = remold!("inspect", dir.join(name), "--json", "--tensors", "--stats", "--quiet");
        let mut tensors = ran.ends(0).json()["tensors"].as_array().expect("tensors").clone();
        tensors.iter_mut().for_each(|tensor| {
            tensor
                .as_object_mut()
                .expect("a tensor")
                .retain(|key, _| key != "file" && key != "offset");
        });
        tensors.sort_by_key(|tensor| tensor["name"].to_string());
        tensors
    };
    assert_eq!(tensors("e.gguf"), tensors("h.gguf"));
    assert_eq!(tensors("e.gguf").len(), 21);
    remold!("diff", dir.join("e.gguf"), dir.join("h.gguf"), "--quiet").ends(0);
    remold!("diff", export, dir.join("e.safetensors"), "--quiet").ends(0);
}

#[test]
fn a_graph_is_not_made_of_weights_alone() {
    let dir = Dir::new();
    let error = remold!("convert", fixture("onnx/hub"), dir.join("m.onnx"), "--quiet").refuses(4);
    assert!(error.contains("an ONNX is made from an ONNX only"), "{error}");
    let source = fixture("onnx/narrow.onnx");
    for flag in ["--vocab-only", "--set=a=1", "--split-max-tensors=1"] {
        remold!("convert", source, dir.join("m.onnx"), "--quiet", flag).refuses(2);
    }
    let error =
        remold!("convert", source, dir.join("m.onnx"), "--quiet", "--exclude", "two").refuses(2);
    assert!(error.contains("'two'"), "{error}");
}

#[test]
fn weights_go_to_numpy() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/types.onnx"), dir.join("w.npz"));
    // NumPy has no smaller floats.
    let error = remold!("convert", source, target, "--quiet").refuses(4);
    assert!(error.contains("NumPy has no type bf16; give --type f32"), "{error}");
    let flags = ["--no-sync", "--quiet", "--exclude", "^(BFLOAT|FLOAT[4-8])"];
    remold!("convert", source, target, flags[0], flags[1], flags[2], flags[3]).ends(0);
    let file = read(&target);
    let archive = zip::Archive::open(&file).expect("an archive");
    let model = models(&source);
    assert_eq!(archive.entries.len(), 36);
    for entry in &archive.entries {
        // Its checksum is compared.
        let bytes = entry.data(&file, 1 << 20, "").expect("an entry");
        let header = npy::read(&bytes, &npy::Limits::default()).expect("an array");
        let name = entry.name.strip_suffix(".npy").expect("a name");
        let tensor = &model.tensors[name];
        assert_eq!(header.shape, tensor.shape().dims(), "{name}");
        if !tensor.dtype().is_sub_byte() {
            assert_eq!(bytes[header.data_offset as usize..], self::bytes(tensor), "{name}");
        }
    }
}

#[test]
fn names_of_any_length_go_to_gguf() {
    let dir = Dir::new();
    let (source, target) = (fixture("onnx/everything.onnx"), dir.join("m.gguf"));
    remold!("convert", source, target, "--no-sync", "--quiet").ends(0);
    let inspected = remold!("inspect", target, "--json", "--quiet").ends(0).json();
    let tensors = inspected["tensors"].as_array().expect("tensors").len();
    assert_eq!(tensors, models(&source).tensors.len());
    assert_eq!(inspected["metadata"]["onnx.metadata.author"], "fixtures");
}
