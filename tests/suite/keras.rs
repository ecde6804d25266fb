//! Keras's files through the whole program: what Keras says of its weights is what arrives, under
//! Keras's names, in Keras's order of dimensions and in others'. `fixtures/make/keras.py` wrote
//! files and golden texts; `keras_check.py` has Keras load what is written here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use hdf5::{Element, Float, Tree};

use crate::program::{BINARY, Dir, finish, fixture, read, remold};

const SOURCES: &[(&str, &str)] = &[
    ("three.keras", "three"),
    ("deflated.keras", "three"),
    ("three.h5", "three"),
    ("two.h5", "two"),
    ("two_weights.h5", "two"),
];

fn convert(source: &Path, target: &Path) {
    remold!("convert", source, target, "--no-sync", "--quiet", "--overwrite").ends(0);
}

/// Name, type, shape and sum of each array of an npz, sorted, as a golden text has them.
fn lines(npz: &Path) -> Vec<String> {
    let bytes = read(npz);
    let archive = zip::Archive::open(&bytes).expect("an archive");
    let line = |entry: &zip::Entry| {
        let array = entry.data(&bytes, 1 << 30, "").expect("an array");
        let header = npy::read(&array, &npy::Limits::default()).expect("a header");
        let kind = match header.descr.kind {
            npy::Kind::Float => "float",
            npy::Kind::Int => "int",
            npy::Kind::Uint => "uint",
            other => panic!("{other:?} is in no fixture"),
        };
        let mut sum = zip::Crc32::default();
        sum.update(&array[header.data_offset as usize..]);
        let (name, bits) = (entry.name.trim_end_matches(".npy"), header.descr.size * 8);
        format!("{name} {kind}{bits} {:?} {:#010x}", header.shape, sum.value())
    };
    let mut lines: Vec<String> = archive.entries.iter().map(line).collect();
    lines.sort();
    lines
}

fn golden(name: &str) -> Vec<String> {
    let text = read(fixture(&format!("keras/{name}.golden")));
    let text = String::from_utf8(text).expect("UTF-8");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The lines without their names, for names that two libraries spell differently.
fn unnamed(lines: &[String]) -> Vec<&str> {
    let mut rests: Vec<&str> =
        lines.iter().map(|line| line.split_once(' ').expect("a name").1).collect();
    rests.sort_unstable();
    rests
}

#[test]
fn weights_arrive_under_the_names_of_keras() {
    let dir = Dir::new();
    let npz = dir.join("a.npz");
    for (file, name) in SOURCES {
        convert(&fixture(&format!("keras/{file}")), &npz);
        let (found, expected) = (lines(&npz), golden(name));
        assert_eq!(expected.len(), 52);
        assert_eq!(found, expected, "{file}");
    }
    // Without a configuration, of a norm with three variables it is open which is missing.
    for file in ["three.weights.h5", "two.keras"] {
        convert(&fixture(&format!("keras/{file}")), &npz);
        let name = if file.starts_with("two") { "two" } else { "three" };
        let (found, expected) = (lines(&npz), golden(name));
        assert_eq!(unnamed(&found), unnamed(&expected), "{file}");
        let named = found.iter().filter(|line| expected.contains(line)).count();
        assert!(named >= 47, "{file}: {named}\n{}", found.join("\n"));
    }
}

/// Files of Keras become files of Keras, from any of its layouts to any other.
#[test]
fn layouts_become_each_other() {
    let dir = Dir::new();
    let npz = dir.join("a.npz");
    for (file, name) in SOURCES {
        for target in ["a.weights.h5", "a.h5"] {
            // Weights alone do not say where Keras 3 has them.
            if (*file, target) == ("two_weights.h5", "a.weights.h5") {
                continue;
            }
            let target = dir.join(target);
            convert(&fixture(&format!("keras/{file}")), &target);
            convert(&target, &npz);
            let (found, expected) = (lines(&npz), golden(name));
            assert_eq!(unnamed(&found), unnamed(&expected), "{file} {}", target.display());
        }
    }
}

#[test]
fn kernels_get_the_order_of_the_target() {
    let dir = Dir::new();
    let listed = |file: &str| {
        let target = dir.join("a.safetensors");
        convert(&fixture(&format!("keras/{file}")), &target);
        let json = remold!("inspect", "--tensors", "--json", target).ends(0).json();
        let tensors = json["tensors"].as_array().expect("tensors").clone();
        move |name: &str| -> Vec<u64> {
            let tensor = tensors.iter().find(|tensor| tensor["name"] == name).expect(name);
            serde_json::from_value(tensor["shape"].clone()).expect("a shape")
        }
    };
    for (file, depthwise) in [("three.keras", "kernel"), ("two.h5", "depthwise_kernel")] {
        let shape = listed(file);
        assert_eq!(shape("first/kernel"), [4, 3, 2, 3]);
        assert_eq!(shape(&format!("depthwise_conv2d/{depthwise}")), [8, 1, 2, 2]);
        assert_eq!(shape("separable_conv2d/pointwise_kernel"), [5, 8, 1, 1]);
        // Keras has (height, width, out, in), PyTorch (in, out, height, width).
        assert_eq!(shape("conv2d_transpose/kernel"), [5, 4, 2, 3]);
        assert_eq!(shape("conv1d/kernel"), [6, 4, 2]);
        assert_eq!(shape("last/lstm_cell/kernel"), [12, 4]);
        assert_eq!(shape("tail/dense_1/kernel"), [4, 7]);
        assert_eq!(shape("embedding/embeddings"), [7, 2]);
    }
}

#[test]
fn small_floats_are_read() {
    let dir = Dir::new();
    for dtype in ["float16", "bfloat16"] {
        let (f32s, back) = (dir.join("a.npz"), dir.join("b.weights.h5"));
        let source = fixture(&format!("keras/{dtype}.weights.h5"));
        remold!("convert", source, f32s, "--type", "f32", "--no-sync", "--quiet", "--overwrite")
            .ends(0);
        assert_eq!(lines(&f32s), golden(dtype));
        convert(&source, &back);
        remold!("diff", "--quiet", source, back).ends(0);
    }
}

/// Models that libraries bring along: a directory with the unpacked wheels may be named.
#[test]
fn real_models_arrive_whole() {
    let Some(folder) = std::env::var_os("REMOLD_MODELS").map(PathBuf::from) else {
        eprintln!("REMOLD_MODELS names no directory: the real models were not read");
        return;
    };
    let dir = Dir::new();
    let npz = dir.join("a.npz");
    let text = String::from_utf8(read(fixture("keras/real.golden"))).expect("UTF-8");
    let mut seen = 0;
    for file in text.split("# ").skip(1) {
        let (name, expected) = file.split_once('\n').expect("a name, then lines");
        let inside = ["", "im2deep/models/TIMS", "inaSpeechSegmenter"];
        let path = inside.iter().map(|inner| folder.join(inner).join(name)).find(|p| p.is_file());
        let Some(path) = path else { continue };
        convert(&path, &npz);
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        let found = lines(&npz);
        assert_eq!(unnamed(&found), unnamed(&expected), "{name}");
        assert!(found.iter().all(|line| !line.contains("/vars/")), "{name}: {}", found.join("\n"));
        seen += 1;
    }
    assert!(seen > 0, "no model of the fixtures is in {}", folder.display());
}

/// The pretrained networks of MLPerf Tiny, in Keras 2's `.h5`, as h5py reads them.
#[test]
fn pretrained_networks_are_read() {
    let Some(folder) = testing::corpus("mlperf-tiny/benchmark/training") else { return };
    let text = String::from_utf8(read(fixture("keras/mlperf.golden"))).expect("UTF-8");
    let dir = Dir::new();
    let npz = dir.join("a.npz");
    let files = text.split("# ").skip(1).map(|file| {
        let (name, expected) = file.split_once('\n').expect("a name, then lines");
        convert(&folder.join(name), &npz);
        let mut expected: Vec<&str> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(lines(&npz), expected, "{name}");
    });
    assert_eq!(files.count(), 2);
}

/// What Keras would run is not carried along; the weights are had where that is said.
#[test]
fn code_is_refused_or_left_out() {
    let Some(source) = testing::corpus("hostile/keras/bad_lambda.keras") else { return };
    let dir = Dir::new();
    let target = dir.join("a.npz");
    let error = remold!("convert", source, target, "--quiet").refuses(3);
    assert!(error.contains("object 'l': Lambda") && error.contains("--skip-objects"), "{error}");
    remold!("convert", source, target, "--quiet", "--skip-objects").ends(0);
    assert_eq!(lines(&target).len(), 1);
}

/// A file of 10 GB, of which the disk holds the headers.
#[test]
fn a_large_file_is_inspected_without_reading_it() {
    let dir = Dir::new();
    let path = dir.join("large.h5");
    let mut tree = Tree::default();
    for no in 0..25 {
        let path = format!("layers/dense_{no}/vars/0");
        tree.array(&path, Element::Float(Float::F32, 4), &[1 << 12, 25_000]).expect("room");
    }
    let plan = tree.plan().expect("a plan");
    let file = File::create(&path).expect("created");
    file.write_all_at(&plan.header, 0).expect("written");
    file.set_len(plan.len).expect("long");
    assert!(plan.len > 10_000_000_000, "{}", plan.len);
    let ran = crate::memory::listing(&path, "--tensors").ends(0);
    assert!(ran.stdout.contains("dense_24/kernel"), "{}", ran.stdout);
}

#[test]
fn what_has_no_place_in_keras_keeps_its_name() {
    let dir = Dir::new();
    let (h5, npz) = (dir.join("a.h5"), dir.join("a.npz"));
    let source = fixture("torch/every.pt");
    let include = ["--include", "^float32.matrix$|^int64"];
    let command = |target: &Path| {
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(&source).arg(target).args(include).arg("--no-sync");
        finish(&mut command).ends(0)
    };
    let ran = command(&h5);
    assert!(ran.stderr.contains("belong to no known layer"), "{}", ran.stderr);
    command(&npz);
    let expected = lines(&npz);
    convert(&h5, &dir.join("b.npz"));
    assert_eq!(lines(&dir.join("b.npz")), expected);
    let keras = dir.join("a.keras");
    let error = remold!("convert", fixture("keras/three.h5"), keras, "--quiet").refuses(4);
    assert!(error.contains(".weights.h5"), "{error}");
}
