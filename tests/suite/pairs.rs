//! One network in two forms: `verify` across engines and formats, and what it says of faults.
//! fixtures/make/pairs.py wrote the networks, and what onnxruntime gives on each graph.

use std::path::Path;

use remold::ir::graph::Node;
use remold::ir::{Access, DType, Limits, Model, Notes, Scratch};
use remold::store::Files;

use crate::graphs::{arrays, nmse};
use crate::program::{Dir, fixture, read, remold};

/// The ids that the oracle was run on.
const IDS: &str = "5,11,3,40,7,7,29,1,16";

/// The numbers of an .npy of f32.
fn numbers(path: &Path) -> Vec<f64> {
    let bytes = read(path);
    let header = npy::read(&bytes, &npy::Limits::default()).expect("an array");
    let data = &bytes[header.data_offset as usize..];
    data.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

fn model(path: &Path) -> Model {
    let source = Files::open(path, Access::Read).expect("a file");
    let read = remold::read::onnx::read(&source, &Limits::default(), &mut Notes::default());
    read.expect("a model")
}

/// A copy of a graph in a directory, with one byte changed.
fn damaged(dir: &Dir, from: &Path, at: u64, mask: u8) -> std::path::PathBuf {
    let mut bytes = read(from);
    bytes[at as usize] ^= mask;
    let path = dir.join("damaged.onnx");
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Where the first number of a weight lies in the file.
fn weight(graph: &Path, pick: impl Fn(&str) -> bool) -> (String, u64) {
    let model = model(graph);
    let (name, tensor) = model.tensors.iter().find(|(name, _)| pick(name)).expect("a weight");
    (name.clone(), tensor.place().expect("a place").1)
}

/// Where a negative axis of a node lies in the file: −1 is ten bytes, of which the first is odd.
fn axis(graph: &Path, pick: impl Fn(&Node) -> bool) -> (String, u64) {
    let model = model(graph);
    let nodes = &model.graph.as_deref().expect("a graph").graph.nodes;
    let node = nodes.iter().find(|node| pick(node)).expect("a node");
    let span = node.span.clone().expect("a place");
    let bytes = &read(graph)[span.start as usize..span.end as usize];
    let last = [255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
    let at = bytes.windows(10).position(|window| window == last).expect("an axis of -1");
    (node.name.clone(), span.start + at as u64)
}

#[test]
fn exported_transformers_give_what_onnxruntime_gives() {
    let dir = Dir::new();
    for (graph, output) in [
        ("llama/model", "logits"),
        ("bert/model", "last_hidden_state"),
        ("bert/fused", "last_hidden_state"),
        ("bert/int8", "last_hidden_state"),
    ] {
        let path = fixture(&format!("pairs/{graph}.onnx"));
        let out = dir.join("out.npz");
        remold!("logits", path, "--tokens", IDS, "-o", out, "--quiet").ends(0);
        let expected = numbers(&path.with_extension("npy"));
        let nmse = nmse(&arrays(&out)[output].1, &expected);
        assert!(nmse < 1e-10, "{graph}: NMSE {nmse:e}");
    }
}

#[test]
fn small_networks_in_8_bits_give_what_onnxruntime_gives() {
    let dir = Dir::new();
    let input = fixture("pairs/net/in.npz");
    for name in ["model", "qdq", "qoperator", "dynamic"] {
        let (graph, out) = (fixture(&format!("pairs/net/{name}.onnx")), dir.join("out.npz"));
        remold!("logits", graph, "--input", input, "-o", out, "--quiet").ends(0);
        let expected = &arrays(&fixture(&format!("pairs/net/{name}.out.npz")))["scores"].1;
        let nmse = nmse(&arrays(&out)["scores"].1, expected);
        assert!(nmse < 1e-10, "{name}: NMSE {nmse:e}");
    }
}

#[test]
fn weights_are_proven_against_their_export() {
    let dir = Dir::new();
    for family in ["llama", "bert"] {
        let (hub, graph) =
            (fixture(&format!("pairs/{family}")), fixture(&format!("pairs/{family}/model.onnx")));
        remold!("verify", hub, graph, "--tokens", IDS).ends(0);
        // Either may be the reference, and ids are drawn if none are given.
        let text = remold!("verify", graph, hub).ends(0).stdout;
        assert!(text.contains("ids that were drawn"), "{text}");
        let weights = hub.join("model.safetensors");
        remold!("verify", weights, graph).ends(0);
        let gguf = dir.join(format!("{family}.gguf"));
        remold!("convert", hub, gguf, "--no-sync", "--quiet").ends(0);
        remold!("verify", gguf, graph, "--tokens", IDS).ends(0);
        remold!("verify", graph, gguf).ends(0);
    }
    // A GGUF that was packed is no longer the same, and how far it is off has a limit if asked.
    let packed = dir.join("q8.gguf");
    remold!("convert", fixture("pairs/bert"), packed, "--no-sync", "--quiet", "--type", "f16")
        .ends(0);
    let graph = fixture("pairs/bert/model.onnx");
    remold!("verify", graph, packed, "--max-nmse", "1e-4").ends(0);
    remold!("verify", graph, packed, "--max-nmse", "1e-9").ends(1);
}

/// MiniLM is not kept here: a directory with it and its export may be named.
#[test]
fn minilm_is_proven_against_its_export() {
    let hub = std::env::var_os("REMOLD_MODELS").map(|models| Path::new(&models).join("minilm"));
    let Some(hub) = hub.filter(|hub| hub.join("model.onnx").is_file()) else {
        eprintln!("REMOLD_MODELS names no directory with minilm/model.onnx: it was not run");
        return;
    };
    let (dir, graph) = (Dir::new(), hub.join("model.onnx"));
    let out = dir.join("out.npz");
    remold!("logits", graph, "--tokens", IDS, "-o", out, "--quiet").ends(0);
    let expected = numbers(&fixture("pairs/minilm.npy"));
    let nmse = nmse(&arrays(&out)["last_hidden_state"].1, &expected);
    assert!(nmse < 1e-10, "NMSE {nmse:e}");
    remold!("verify", hub, graph, "--tokens", IDS).ends(0);
    let gguf = dir.join("minilm.gguf");
    remold!("convert", hub, gguf, "--no-sync", "--quiet", "--type", "f32").ends(0);
    remold!("verify", gguf, graph, "--tokens", IDS).ends(0);
}

#[test]
fn graphs_are_proven_against_their_faster_forms() {
    let bert = fixture("pairs/bert/model.onnx");
    remold!("verify", bert, fixture("pairs/bert/fused.onnx"), "--tokens", IDS, "--layers").ends(0);
    remold!("verify", bert, fixture("pairs/bert/int8.onnx"), "--tokens", IDS, "--layers").ends(0);
    let net = fixture("pairs/net/model.onnx");
    let input = fixture("pairs/net/in.npz");
    for name in ["qdq", "qoperator", "dynamic"] {
        let made = fixture(&format!("pairs/net/{name}.onnx"));
        let text = remold!("verify", net, made, "--input", input, "--layers").ends(0).stdout;
        assert!(text.contains("values in between were compared"), "{text}");
        // What 8 bits lose is far more than what another order of sums does.
        remold!("verify", net, made, "--input", input, "--max-nmse", "1e-10").ends(1);
    }
}

#[test]
fn faults_of_a_graph_are_caught_across_engines() {
    let dir = Dir::new();
    for family in ["llama", "bert"] {
        let (hub, graph) =
            (fixture(&format!("pairs/{family}")), fixture(&format!("pairs/{family}/model.onnx")));
        std::fs::copy(hub.join("config.json"), dir.join("config.json")).expect("a copy");
        let gguf = dir.join(format!("{family}.gguf"));
        remold!("convert", hub, gguf, "--no-sync", "--quiet").ends(0);
        let (name, at) = weight(&graph, |name| name.starts_with("onnx::MatMul"));
        // The lowest bit of the exponent: the number is twice or half itself.
        let bad = damaged(&dir, &graph, at + 2, 0x80);
        let text = remold!("verify", graph, bad, "--tokens", IDS, "--layers").ends(1).stdout;
        assert!(text.contains(&name), "{family}: {text}");
        assert!(text.contains("the first to depart is node"), "{family}: {text}");
        remold!("verify", hub, bad, "--tokens", IDS).ends(1);
        remold!("verify", gguf, bad, "--tokens", IDS).ends(1);
        // And an axis that is another one.
        let (node, at) = axis(&graph, |node| node.op == "Softmax");
        let bad = damaged(&dir, &graph, at, 0x01);
        let text = remold!("verify", graph, bad, "--tokens", IDS, "--layers").ends(1).stdout;
        let first = format!("the first to depart is node '{node}' (Softmax)");
        assert!(text.contains(&first), "{family}: {text}");
        remold!("verify", hub, bad, "--tokens", IDS).ends(1);
        remold!("verify", gguf, bad, "--tokens", IDS).ends(1);
    }
}

#[test]
fn faults_of_quantized_graphs_are_caught() {
    let dir = Dir::new();
    let (net, input) = (fixture("pairs/net/model.onnx"), fixture("pairs/net/in.npz"));
    for name in ["qdq", "qoperator"] {
        let graph = fixture(&format!("pairs/net/{name}.onnx"));
        let (_, at) = weight(&graph, |name| name.contains("head.weight") && name.contains("scale"));
        // A scale that is sixteen times itself, or a part of it.
        let bad = damaged(&dir, &graph, at + 3, 0x02);
        let text = remold!("verify", net, bad, "--input", input, "--layers").ends(1).stdout;
        assert!(text.contains("the first to depart is node"), "{name}: {text}");
    }
}

#[test]
fn weights_in_8_bits_are_those_of_onnxruntime() {
    let dir = Dir::new();
    let (net, made) = (fixture("pairs/net/model.onnx"), dir.join("int8.onnx"));
    remold!("convert", net, made, "--type", "int8", "--no-sync", "--verify").ends(0);
    let tensors = model(&made).tensors;
    let expected = arrays(&fixture("pairs/net/int8.weights.npz"));
    assert_eq!(expected.len(), 4);
    for (name, (_, numbers)) in expected {
        let (found, is_scale) = (&tensors[&name], name.ends_with("_scale"));
        assert_eq!(found.dtype(), if is_scale { DType::F32 } else { DType::I8 });
        let mut bytes = vec![0; found.bytes() as usize];
        let all = 0..found.shape().count();
        found.read(all, &mut bytes, &mut Scratch::default()).expect("bytes");
        let found: Vec<f64> = match is_scale {
            true => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            false => bytes.iter().map(|b| f64::from(b.cast_signed())).collect(),
        };
        assert_eq!(found, numbers, "{name}");
    }
    // The head is too small to gain from it, and vectors stay.
    for (name, dtype) in [("head.weight", DType::F32), ("stem.bias", DType::F32)] {
        assert_eq!(tensors[name].dtype(), dtype);
    }
    let (input, out) = (fixture("pairs/net/in.npz"), dir.join("out.npz"));
    remold!("logits", made, "--input", input, "-o", out, "--quiet").ends(0);
    let scores = &arrays(&fixture("pairs/net/int8.out.npz"))["scores"].1;
    let nmse = nmse(&arrays(&out)["scores"].1, scores);
    assert!(nmse < 1e-12, "NMSE {nmse:e}");
    // Products and weights beside the model too; the same bytes at any number of threads.
    let (bert, one, two) =
        (fixture("pairs/bert/model.onnx"), dir.join("1.onnx"), dir.join("2.onnx"));
    let flags = ["--external-data", "--no-sync", "--quiet"];
    remold!("quantize", bert, one, "int8", "--threads", "1", flags[0], flags[1], flags[2]).ends(0);
    remold!("quantize", bert, two, "INT8", "--threads", "4", flags[0], flags[1], flags[2]).ends(0);
    assert_eq!(read(dir.join("1.onnx.data")), read(dir.join("2.onnx.data")));
    remold!("verify", bert, one, "--tokens", IDS, "--layers").ends(0);
    remold!("verify", fixture("pairs/bert"), one, "--tokens", IDS, "--max-nmse", "1e-2").ends(0);
}

#[test]
fn int8_is_for_graphs_that_have_a_form_for_it() {
    let dir = Dir::new();
    let hub = fixture("pairs/bert");
    for target in ["b.gguf", "b.safetensors"] {
        let error = remold!("convert", hub, dir.join(target), "--type", "int8").refuses(4);
        assert!(error.contains("type int8 is for a graph"), "{error}");
    }
    let net = fixture("pairs/net/model.onnx");
    remold!("quantize", net, dir.join("n.onnx"), "int8", "--output-tensor-type", "f16").refuses(4);
    assert_eq!(dir.names(), Vec::<String>::new());
}

#[test]
fn what_was_narrowed_is_widened_exactly() {
    let dir = Dir::new();
    let graphs = [
        ("pairs/llama/model", "f16", true),
        ("pairs/bert/model", "bf16", true),
        ("onnx/narrow", "f16", false),
    ];
    for (graph, kind, tokens) in graphs {
        let source = fixture(&format!("{graph}.onnx"));
        let source =
            if source.is_file() { source } else { fixture(&format!("{graph}/model.onnx")) };
        let (narrow, wide) = (dir.join("narrow.onnx"), dir.join("wide.onnx"));
        let flags = ["--no-sync", "--quiet", "--overwrite"];
        remold!("convert", source, narrow, "--type", kind, flags[0], flags[1], flags[2]).ends(0);
        remold!("convert", narrow, wide, "--type", "f32", flags[0], flags[1], flags[2]).ends(0);
        let (before, after) = (model(&narrow), model(&wide));
        assert_eq!(before.tensors.len(), after.tensors.len());
        for (name, tensor) in &after.tensors {
            assert!(!matches!(tensor.dtype(), DType::F16 | DType::BF16), "{name}");
            if tensor.dtype() == DType::F32 {
                let floats = before.tensors[name].to_floats().expect("floats");
                assert_eq!(tensor.to_floats().expect("floats"), floats, "{name}");
            }
        }
        let text = |model: &Model| format!("{:?}", model.config.entries);
        assert!(text(&before).contains(&format!("{kind} [")), "{}", text(&before));
        assert!(!text(&after).contains(&format!("{kind} [")), "{}", text(&after));
        // Beyond the weights, only sums differ: they are no longer rounded to 16 bits.
        let limit = if kind == "f16" { "1e-4" } else { "1e-2" };
        match tokens {
            true => remold!("verify", narrow, wide, "--tokens", IDS, "--max-nmse", limit).ends(0),
            false => remold!("verify", narrow, wide, "--max-nmse", limit).ends(0),
        };
    }
}

#[test]
fn weights_of_no_family_are_compared_alone() {
    let dir = Dir::new();
    let (net, weights) = (fixture("pairs/net/model.onnx"), dir.join("n.safetensors"));
    let ran = remold!("convert", net, weights, "--no-sync", "--verify").ends(0);
    assert!(ran.stdout.contains("only weights were compared"), "{}", ran.told());
    let mut bytes = read(&weights);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, bytes).expect("written");
    remold!("verify", net, weights).ends(1);
    // A tensor without a partner is no proof.
    let part = dir.join("part.safetensors");
    remold!("convert", net, part, "--no-sync", "--exclude", "head", "--quiet").ends(0);
    let text = remold!("verify", net, part).ends(1).stdout;
    assert!(text.contains("the candidate has no tensor of this name"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_said() {
    let (hub, graph) = (fixture("pairs/bert"), fixture("pairs/bert/model.onnx"));
    let error = remold!("verify", hub, graph, "--layers").refuses(2);
    assert!(error.contains("--layers compares the nodes of two graphs"), "{error}");
    remold!("verify", hub, graph, "--input", fixture("pairs/net/in.npz")).refuses(2);
}
