//! One network in several formats, under names of which none is another's: `diff` finds what is
//! the same by its values. `fixtures/make/alike.py` wrote the small one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::arrays::kept_elsewhere;
use crate::program::{fixture, remold};

/// What `diff` says of two models.
struct Found(Json);

impl Found {
    #[track_caller]
    fn of(a: &Path, b: &Path, code: i32) -> Self {
        let found = remold!("diff", a, b, "--json", "--quiet").ends(code).json();
        // No two of them share a name by which values would be compared.
        let differ = found["tensors"].as_array().expect("tensors").iter();
        let values = differ.filter(|tensor| tensor["difference"] == "values").count();
        assert_eq!(values, 0, "{}", b.display());
        Self(found)
    }

    /// Pairs of equal values: A's name, and the order of its dimensions that B has.
    fn alike(&self) -> BTreeMap<&str, Option<Vec<u64>>> {
        let pairs = self.0["alike"].as_array().expect("pairs").iter();
        let order = |pair: &Json| serde_json::from_value(pair["axes"].clone()).expect("an order");
        pairs.map(|pair| (pair["a"].as_str().expect("a name"), order(pair))).collect()
    }

    /// Tensors that differ so: of pairs A's name, of others their own.
    fn listed(&self, how: &str) -> Vec<&str> {
        let tensors = self.0["tensors"].as_array().expect("tensors").iter();
        let tensors = tensors.filter(|tensor| tensor["difference"] == how);
        let name = if how == "scaled" { "name_a" } else { "name" };
        tensors.map(|tensor| tensor[name].as_str().expect("a name")).collect()
    }
}

const NORM: [&str; 4] = ["norm/gamma", "norm/beta", "norm/moving_mean", "norm/moving_variance"];
const UNFOLDED: [&str; 6] = [
    "plain/kernel",
    "plain/bias",
    "depthwise/kernel",
    "depthwise/bias",
    "dense/kernel",
    "dense/bias",
];

fn net(file: &str) -> PathBuf {
    fixture("alike").join(file)
}

/// All weights, in TensorFlow's order of dimensions. Where that is known, it is brought in line.
#[test]
fn a_saved_model_has_what_keras_saved() {
    let found = Found::of(&net("net.h5"), &net("saved_model"), 0);
    let alike = found.alike();
    assert_eq!(alike.len(), 11);
    assert!(NORM.iter().chain(&UNFOLDED).chain(&["folded/kernel"]).all(|n| alike.contains_key(n)));
    assert!(found.listed("only-in-a").is_empty() && found.listed("scaled").is_empty());
    assert_eq!((&alike["norm/gamma"], &alike["plain/bias"]), (&None, &None));
}

/// Converters fold the normalisation into the convolution before it: that kernel is no longer
/// equal, and the normalisation is gone.
#[test]
fn what_a_converter_folds_has_no_equal() {
    for file in ["net.tflite", "net.onnx"] {
        let found = Found::of(&net("net.h5"), &net(file), 1);
        let alike = found.alike();
        assert!(alike.keys().copied().eq(BTreeMap::from(UNFOLDED.map(|n| (n, ()))).into_keys()));
        // Kernels of convolutions are known on both sides, and were brought into one order.
        assert_eq!((&alike["plain/kernel"], &alike["depthwise/kernel"]), (&None, &None), "{file}");
        assert_eq!(found.listed("scaled"), ["folded/kernel"], "{file}");
        assert_eq!(found.listed("only-in-a"), NORM, "{file}");
    }
}

#[test]
fn two_converters_fold_alike() {
    let found = Found::of(&net("net.onnx"), &net("net.tflite"), 1);
    assert_eq!((found.alike().len(), found.listed("scaled").len()), (8, 0));
    let found = Found::of(&net("saved_model"), &net("net.onnx"), 1);
    assert_eq!(found.alike().len(), 6);
}

/// MLPerf Tiny's networks: h5 against what TensorFlow Lite made of them. Every kernel is found; the
/// layers without a normalisation behind them are equal.
#[test]
fn pretrained_networks_are_the_same() {
    let Some(folder) = testing::corpus("mlperf-tiny/benchmark/training") else { return };
    for (h5, tflite, equal, kernels) in [
        ("image_classification/trained_models/pretrainedResnet", "", 6, 10),
        ("visual_wake_words/trained_models/vww_96", "_float", 2, 28),
    ] {
        let (a, b) = (format!("{h5}.h5"), format!("{h5}{tflite}.tflite"));
        let found = Found::of(&folder.join(a), &folder.join(b), 1);
        let (alike, scaled) = (found.alike(), found.listed("scaled"));
        assert_eq!(alike.len(), equal, "{h5}");
        assert!(alike.values().all(Option::is_none), "{h5}");
        let equal = alike.keys().filter(|name| name.ends_with("kernel")).count();
        assert_eq!(equal + scaled.len(), kernels, "{h5}: {scaled:?}");
        let lost = found.listed("only-in-a");
        assert!(lost.iter().all(|name| !name.ends_with("kernel")), "{h5}: {lost:?}");
    }
}

/// basic-pitch carries one network as SavedModel, ONNX and TensorFlow Lite.
#[test]
fn one_network_of_basic_pitch_in_three_formats() {
    let Some(folder) = kept_elsewhere("basic_pitch/saved_models/icassp_2022") else { return };
    let path = |file: &str| folder.join(file);
    for (a, b, count) in [
        ("nmp", "nmp.onnx", 8),
        ("nmp", "nmp.tflite", 8),
        // Fifteen have one name in both, the others do not.
        ("nmp.onnx", "nmp.tflite", 24),
    ] {
        let found = Found::of(&path(a), &path(b), 1);
        let named = found.0["equal"].as_u64().expect("a count") as usize;
        assert_eq!(named + found.alike().len(), count, "{a} and {b}");
    }
}
