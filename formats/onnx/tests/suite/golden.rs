//! What the reference library says of its files.

use std::collections::BTreeMap;

use onnx::{AttributeValue, Data, DataType};

fn read(name: &str) -> (Vec<u8>, onnx::Model) {
    let bytes = std::fs::read(testing::fixtures("onnx").join(name)).unwrap();
    let model = onnx::read(&bytes, &onnx::Limits::default()).unwrap();
    (bytes, model)
}

/// The pairs of a flat object of texts, as the generator writes it.
fn pairs(name: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(testing::fixtures("onnx").join(name)).unwrap();
    let quoted: Vec<&str> = text.split('"').skip(1).step_by(2).collect();
    quoted.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_type_has_the_same_bytes_in_either_field() {
    let (bytes, model) = read("types.onnx");
    let expected = pairs("types.json");
    let mut seen = 0;
    for tensor in &model.graph.initializers {
        let data = match &tensor.data {
            Data::At(at) => &bytes[at.start as usize..at.end as usize],
            Data::Made(made) => made,
            other => panic!("{}: {other:?}", tensor.name),
        };
        let (kind, _) = tensor.name.split_once('.').unwrap();
        assert_eq!(kind, tensor.kind.name());
        assert_eq!(tensor.dims, [5]);
        assert_eq!(hex(data), expected[kind], "{}", tensor.name);
        seen += 1;
    }
    // All but text, twice.
    assert_eq!(seen, 2 * (DataType::ALL.len() - 1));
}

#[test]
fn sparse_tensors_state_values_and_places() {
    let (_, model) = read("sparse.onnx");
    let all: Vec<_> = model.graph.sparse.iter().map(|sparse| &sparse.indices.dims[..]).collect();
    assert_eq!(all, [&[3][..], &[3, 2]]);
    assert!(model.graph.sparse.iter().all(|sparse| sparse.dims == [3, 4]));
}

#[test]
fn a_model_says_all_that_it_says() {
    let (bytes, model) = read("everything.onnx");
    assert!(onnx::probe(&bytes));
    assert_eq!(
        (model.ir_version, &*model.producer.0, &*model.doc_string),
        (14, "fixtures", "what it is")
    );
    assert_eq!(
        model.metadata,
        [("author".into(), "fixtures".into()), ("empty".into(), String::new())]
    );
    let sets: Vec<_> = model.opset_import.iter().map(|set| (&*set.domain, set.version)).collect();
    assert_eq!(sets, [("", 21), ("own", 1)]);
    let function = &model.functions[0];
    assert_eq!((&*function.name, &function.attributes[..]), ("twice", &["factor".to_owned()][..]));
    let factor = &function.nodes[0].attributes[0].value;
    assert_eq!(*factor, AttributeValue::Reference("factor".into()));
    let rate = &model.training[0].algorithm.as_ref().unwrap().initializers[0];
    assert_eq!(rate.name, "rate");
    let choice = model.graph.nodes.iter().find(|node| node.name == "choice").unwrap();
    let AttributeValue::Graph(branch) = &choice.attributes[0].value else { panic!("no graph") };
    assert_eq!((branch.initializers[0].name.as_str(), branch.nodes.len()), ("w", 1));
    let dims = model.graph.inputs[0].kind.clone();
    assert_eq!(dims, Some(onnx::Type::Tensor(1, Some(vec![onnx::Dim::Param("batch".into())]))));
}

#[test]
fn fixtures_are_known_by_their_first_bytes() {
    let paths = testing::files(testing::fixtures("onnx"), "onnx");
    assert_eq!(paths.len(), 5);
    for path in paths {
        assert!(onnx::probe(&std::fs::read(&path).unwrap()), "{}", path.display());
    }
    // Leading zeros of the version, and a name that goes on beyond what is here.
    assert!(onnx::probe(b"\x08\x87\x00\x12\xff\x01pytorch"));
    assert!(onnx::probe(b"\x08\x07:\x80\x01"));
    // The last four: a graph of TensorFlow, its SavedModel, a tensor of ONNX, a version alone.
    for other in [
        &b"GGUF\x03\x00\x00\x00"[..],
        b"",
        b"\x08",
        b"{\"a\":1}",
        b"\x0a\x07\x0a\x05",
        b"\x08\x01\x12\xa2\x05\x0a\x10\x0a\x07",
        b"\x08\x03\x10\x01\x22\x0c",
        b"\x08\x07",
    ] {
        assert!(!onnx::probe(other), "{other:?}");
    }
}
