//! What TensorFlow says of its files.

use tensorflow::{Attribute, Data, DataType, Limits, Object, Objects, Saved, Values, Version};

use crate::{bytes, fixtures, read};

#[test]
fn names_types_and_shapes_are_those_that_tensorflow_reads() {
    let expected = std::fs::read_to_string(fixtures("tensorflow").join("listing.txt")).unwrap();
    let mut files: Vec<&str> = expected.lines().filter_map(|line| line.split(' ').next()).collect();
    files.dedup();
    assert_eq!(files.len(), 8);
    let mut found = String::new();
    for file in files {
        let tensors = read(file).tensors.into_iter();
        for tensor in tensors.filter(|tensor| tensor.kind != DataType::String) {
            let (kind, dims) = (tensor.kind.name(), tensor.dims);
            found += &format!("{file} {} {kind} {dims:?}\n", tensor.name);
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn sums_of_weights_are_right_in_every_file() {
    let mut count = 0;
    for name in ["types", "partitioned", "big", "names", "snappy"] {
        let checkpoint = read(&format!("{name}.ckpt.index"));
        let Version::V2 { shards, .. } = checkpoint.version else { panic!("{name}") };
        for piece in checkpoint.tensors.iter().flat_map(|tensor| &tensor.pieces) {
            let Data::Shard { shard, at, sum } = &piece.data else { panic!("{name}") };
            let file = bytes(&format!("{name}.ckpt.data-{shard:05}-of-{shards:05}"));
            tensorflow::verify(&file, at, *sum, "weights").unwrap();
            count += 1;
        }
    }
    assert_eq!(count, 22 + 9 + 3 + 60 + 22);
}

#[test]
fn the_first_version_holds_its_numbers_itself() {
    let file = bytes("first.ckpt");
    let checkpoint = read("first.ckpt");
    assert_eq!(checkpoint.version, Version::V1);
    let rows = checkpoint.tensors.iter().find(|tensor| tensor.name == "rows").unwrap();
    let starts: Vec<&[u64]> = rows.pieces.iter().map(|piece| &piece.start[..]).collect();
    assert_eq!(starts, [[0, 0], [3, 0]]);
    let Data::Here { values: Values::At(at), block: None } = &rows.pieces[1].data else { panic!() };
    assert_eq!(at.end - at.start, 16);
    assert!(at.end <= file.len() as u64);
}

#[test]
fn optimizers_are_told_from_what_they_train() {
    let checkpoint = read("keras.ckpt.index");
    let file = bytes("keras.ckpt.data-00000-of-00001");
    let graph = checkpoint.tensors.iter().find(|tensor| tensor.name == tensorflow::OBJECT_GRAPH);
    let Data::Shard { at, sum, .. } = &graph.unwrap().pieces[0].data else { panic!() };
    let text =
        tensorflow::read_text(&file, at, *sum, wire::Endian::Little, &Limits::default()).unwrap();
    let objects = Objects::read(&text, &Limits::default()).unwrap();
    let left = objects.of_optimizers();
    let kept: Vec<&str> = checkpoint.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let kept: Vec<&str> = kept.into_iter().filter(|name| !left.contains(name)).collect();
    let weight =
        |no| format!("model/optimizer/_trainable_variables/{no}/.ATTRIBUTES/VARIABLE_VALUE");
    assert_eq!(kept, [tensorflow::OBJECT_GRAPH, &weight(0), &weight(1)]);
}

/// What Keras 2 measured is behind `keras_api/metrics`; a layer may be called so.
#[test]
fn metrics_are_told_from_layers() {
    let node = |children: &[(&str, usize)], key: &str| {
        let children = children.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let values = Saved { key: key.to_owned(), ..Saved::default() };
        Object { children, values: vec![values], slots: Vec::new() }
    };
    let nodes = vec![
        node(&[("metrics", 1), ("keras_api", 2)], "root"),
        node(&[], "layer"),
        node(&[("metrics", 3), ("layers", 4)], "keras"),
        node(&[("0", 5), ("1", 4)], "list"),
        node(&[], "both"),
        node(&[], "count"),
    ];
    let objects = Objects { nodes };
    assert!(objects.of_metrics().iter().eq(&["count", "list"]));
}

#[test]
fn a_saved_model_says_all_that_it_says() {
    let file = bytes("network/saved_model.pb");
    assert!(tensorflow::probe_saved_model(&file) && !tensorflow::probe_graph(&file));
    let model = tensorflow::read_saved_model(&file, &Limits::default()).unwrap();
    let [meta] = &model.meta_graphs[..] else { panic!("{}", model.meta_graphs.len()) };
    assert_eq!((&meta.tags[..], &*meta.tensorflow), (&["serve".to_owned()][..], "2.21.0"));
    let serving = &meta.signatures["serving_default"];
    let image = &serving.inputs["image"];
    assert_eq!(image.kind, Some(DataType::Float));
    assert_eq!(image.shape.dims, Some(vec![-1, 4, 4, 2]));
    assert_eq!(serving.outputs["scores"].shape.dims, Some(vec![-1, 2]));
    let variables: Vec<&str> =
        meta.objects.iter().filter_map(|object| object.variable.as_deref()).collect();
    assert_eq!(variables, ["conv", "depthwise", "back", "kernel", "bias", "kernel", "bias"]);
    let bound = meta.functions.values().map(|function| function.bound.len()).max();
    assert_eq!(bound, Some(7));
}

#[test]
fn a_graph_holds_its_constants() {
    let file = bytes("network.pb");
    assert!(tensorflow::probe_graph(&file) && !tensorflow::probe_saved_model(&file));
    let graph = tensorflow::read_graph(&file, &Limits::default()).unwrap();
    let constants = graph.nodes.iter().filter(|node| node.op == "Const");
    let shapes = constants.filter_map(|node| match &node.attributes["value"] {
        Attribute::Tensor(constant) => Some(constant.dims.clone()),
        _ => None,
    });
    assert_eq!(shapes.filter(|dims| dims.len() == 4).count(), 3);
}

#[test]
fn other_files_are_none_of_these() {
    for other in [&b"GGUF\x03\0\0\0"[..], b"", b"\x08", b"{\"a\":1}", b"\x08\x0a\x12\x05torch"] {
        assert!(!tensorflow::probe_graph(other) && !tensorflow::probe_saved_model(other));
        assert!(!tensorflow::probe(&other.to_vec()));
    }
}
