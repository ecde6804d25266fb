//! The crate against models of the converter and of the schema's builder, damage, and refusals.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, reason = "tests")]
#![allow(clippy::arithmetic_side_effects, reason = "tests")]

use tflite::{Kind, Layer, Model};

fn read(bytes: &[u8]) -> wire::Result<Model> {
    tflite::read(&bytes, &tflite::Limits::default())
}

fn model(name: &str) -> Model {
    read(&std::fs::read(testing::fixtures(format!("tflite/{name}.tflite"))).unwrap()).unwrap()
}

/// Names and shapes are those of the interpreter; elements are compared by the program's tests.
#[test]
fn files_hold_the_constants_that_the_interpreter_has() {
    let mut seen = 0;
    for file in testing::files(testing::fixtures("tflite"), "tflite") {
        let Ok(golden) = std::fs::read_to_string(file.with_extension("golden")) else { continue };
        let bytes = std::fs::read(&file).unwrap();
        assert!(tflite::probe(&bytes));
        let model = read(&bytes).unwrap();
        assert_eq!(model.tensors.len(), golden.lines().count(), "{}", file.display());
        for (tensor, line) in model.tensors.iter().zip(golden.lines()) {
            let (_, rest) = line.split_once(" [").unwrap();
            let (shape, rest) = rest.split_once("] ").unwrap();
            assert_eq!(format!("{:?}", tensor.shape), format!("[{shape}]"));
            assert_eq!(tensor.name, rest.split_once(' ').unwrap().1);
            assert!(tensor.data.end <= bytes.len() as u64);
            seen += 1;
        }
    }
    assert_eq!(seen, 66);
}

#[test]
fn kernels_are_known_by_their_operators() {
    for name in ["float", "float16", "int8"] {
        let model = model(name);
        let mut layers: Vec<_> =
            model.tensors.iter().filter_map(|t| Some((t.layer?, t.shape.clone()))).collect();
        layers.sort_by_key(|(_, shape)| shape.clone());
        let expected = [
            (Layer::Depthwise { multiplier: 2 }, vec![1, 3, 3, 8]),
            (Layer::ConvTranspose, vec![3, 2, 3, 8]),
            (Layer::Conv2d, vec![4, 3, 2, 2]),
            (Layer::Dense, vec![5, 105]),
        ];
        assert_eq!(layers, expected, "{name}");
    }
}

#[test]
fn quantization_is_of_a_whole_or_by_channel() {
    let every = model("every");
    let of = |name: &str| {
        let tensor = every.tensors.iter().find(|tensor| tensor.name == name).unwrap();
        (tensor.kind, tensor.quantization.map(|q| (q.count, q.zeros.map(|z| z.1), q.axis)))
    };
    assert_eq!(of("plain/int8"), (Kind::I8, None));
    assert_eq!(of("whole/int16"), (Kind::I16, Some((1, Some(1), 0))));
    assert_eq!(of("channels/1"), (Kind::I8, Some((4, Some(4), 1))));
    assert_eq!(of("int4"), (Kind::I4, Some((1, Some(1), 0))));
}

#[test]
fn sparse_tensors_are_named() {
    let unread = model("sparse").unread;
    assert_eq!(unread.len(), 1);
    assert_eq!((unread[0].name.as_str(), unread[0].what.as_str()), ("plain/float32", "sparse"));
}

/// Each file of `fixtures/bad/tflite` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    assert_eq!(testing::refusals("tflite", "tflite", read), 9);
}

/// What is read lies within the file, whatever its bytes say.
fn survives(bytes: Vec<u8>) -> bool {
    match read(&bytes) {
        Err(_) => false,
        Ok(model) => {
            assert!(model.tensors.iter().all(|tensor| tensor.data.end <= bytes.len() as u64));
            true
        }
    }
}

/// No prefix and no flipped bit may panic, loop or lead outside of the file. FlatBuffers have no
/// checksum, and may end in bytes that nothing refers to.
#[test]
fn damage_is_survived() {
    for name in ["every", "outside", "float"] {
        let good = std::fs::read(testing::fixtures(format!("tflite/{name}.tflite"))).unwrap();
        let read = (0..good.len()).filter(|&len| survives(good[..len].to_vec())).count();
        assert!(read < 16, "{name}: {read} prefixes were read");
        let flips = (0..good.len() * 8).filter(|bit| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            !survives(bad)
        });
        let refused = flips.count();
        assert!(refused > 1000, "{name}: only {refused} flips were noticed");
    }
}
