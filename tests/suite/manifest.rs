//! `--manifest` and `check`: what was made of what, in words that others read, and held.

use std::fs;
use std::path::Path;

use remold::store::Digest;
use serde_json::Value as Json;

use crate::edit::{Gguf, Tensors};
use crate::program::{Dir, fixture, json, names, read, remold, tiny};

fn sha256(path: impl AsRef<Path>) -> String {
    Digest::of([&*read(path)]).to_string()
}

/// A model with its manifest beside it, from a copy of a fixture in the same directory.
fn made(dir: &Dir, source: &str, kind: &str) -> Json {
    let source = dir.copied(&fixture(source), "source");
    let (target, manifest) = (dir.join("out.gguf"), dir.join("out.json"));
    remold!("convert", source, target, "--type", kind, "--manifest", manifest, "--quiet").ends(0);
    json(manifest)
}

fn texts<'j>(list: &'j Json, key: &str) -> Vec<&'j str> {
    list.as_array().expect("a list").iter().map(|item| item[key].as_str().expect(key)).collect()
}

#[test]
fn it_names_every_file_and_every_tensor() {
    let dir = Dir::new();
    let all = made(&dir, "arch/llama", "q4_0");
    assert_eq!(all["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(all["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(all["subject"][0]["name"], "out.gguf");
    assert_eq!(all["subject"][0]["digest"]["sha256"], sha256(dir.join("out.gguf")));
    let predicate = &all["predicate"];
    let build = &predicate["buildDefinition"];
    let sources = &build["resolvedDependencies"];
    let listed = texts(sources, "name");
    assert!(listed.contains(&"source/model.safetensors") && listed.contains(&"source/config.json"));
    for (name, source) in listed.iter().zip(sources.as_array().expect("a list")) {
        assert_eq!(source["digest"]["sha256"], sha256(dir.join(name)), "{name}");
    }
    let arguments = build["externalParameters"]["arguments"].as_array().expect("a list");
    assert_eq!((&arguments[0], &arguments[4]), (&"convert".into(), &"q4_0".into()));
    let builder = &predicate["runDetails"]["builder"];
    assert_eq!(builder["version"]["remold"], env!("CARGO_PKG_VERSION"));
    assert_eq!(predicate["remold_verification"], Json::Null);
    let made = Gguf::read(&dir.join("out.gguf"));
    let tensors = predicate["remold_tensors"].as_array().expect("a list");
    let of_file: Vec<&str> = made.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(texts(&predicate["remold_tensors"], "name"), of_file);
    let of = |name: &str| tensors.iter().find(|tensor| tensor["name"] == name).expect("a tensor");
    let query = of("blk.0.attn_q.weight");
    assert_eq!(query["dtype"], "q4_0");
    assert_eq!(query["sources"][0], "model.layers.0.self_attn.q_proj.weight");
    let steps: Vec<&str> =
        query["steps"].as_array().expect("a list").iter().filter_map(Json::as_str).collect();
    assert_eq!(steps, ["interleave 4 heads", "pack q4_0"]);
    let nmse = query["error"]["nmse"].as_f64().expect("a number");
    assert!((1e-4..2e-2).contains(&nmse), "{nmse}");
    assert_eq!(of("output_norm.weight")["error"]["nmse"].as_f64().unwrap_or(0.0), 0.0);
    let ledger = predicate["remold_sources"].as_array().expect("a list");
    assert!(ledger.iter().all(|source| source["fate"] == "mapped" && source["dtype"].is_string()));
    assert_eq!(ledger.len(), of_file.len());
}

/// The error is what it is: measured again here, from the bytes of both files.
#[test]
fn errors_are_those_of_the_file() {
    let dir = Dir::new();
    let all = made(&dir, "arch/llama", "q8_0");
    let name = "blk.1.ffn_up.weight";
    let wide =
        Gguf::read(&dir.converted(&fixture("arch/llama"), "f32.gguf", "f32")).at(name).clone();
    let packed = Gguf::read(&dir.join("out.gguf")).at(name).clone();
    let (mut power, mut error, mut greatest) = (0.0, 0.0, 0.0f64);
    let values = wide.bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4")));
    for (i, value) in values.enumerate() {
        let block = &packed.bytes[i / 32 * 34..];
        let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
        let decoded = scale * f32::from(block[2 + i % 32] as i8);
        let difference = f64::from(decoded) - f64::from(value);
        power += f64::from(value).powi(2);
        error += difference * difference;
        greatest = greatest.max(difference.abs());
    }
    let tensors = all["predicate"]["remold_tensors"].as_array().expect("a list");
    let said = &tensors.iter().find(|tensor| tensor["name"] == name).expect("a tensor")["error"];
    let near = |found: &Json, expected: f64| {
        let found = found.as_f64().expect("a number");
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
    };
    near(&said["nmse"], error / power);
    near(&said["max_abs_diff"], greatest);
}

#[test]
fn the_same_run_gives_the_same_manifest() {
    let (a, b) = (Dir::new(), Dir::new());
    let write = |dir: &Dir| {
        dir.copied(&tiny(), "source");
        let mut command = std::process::Command::new(crate::program::BINARY);
        command.args(["quantize", "source", "out.gguf", "Q4_K_M", "--manifest", "out.json"]);
        crate::program::finish(command.current_dir(dir.path()).arg("--quiet")).ends(0);
        read(dir.join("out.json"))
    };
    assert!(write(&a) == write(&b));
}

#[test]
fn check_says_equal_different_missing_or_malformed() {
    let dir = Dir::new();
    made(&dir, "arch/llama", "f16");
    let manifest = dir.join("out.json");
    let equal = remold!("check", manifest, "--sources").ends(0).stdout;
    assert!(equal.contains("equal    out.gguf\n") && equal.contains("equal    source/config.json"));

    let mut bytes = read(dir.join("out.gguf"));
    let good = bytes.clone();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(dir.join("out.gguf"), &bytes).expect("written");
    let differs = remold!("check", manifest).ends(1).stdout;
    let expected = format!(
        "differs  out.gguf: found sha256 {}, expected {}",
        sha256(dir.join("out.gguf")),
        Digest::of([&*good])
    );
    assert!(differs.contains(&expected), "{differs}");
    let machine = remold!("check", manifest, "--json").ends(1).json();
    assert_eq!(machine["files"][0]["result"], "differs");

    fs::remove_file(dir.join("out.gguf")).expect("removed");
    let error = remold!("check", manifest).ends(6).error();
    assert!(error.contains("out.json: 'out.gguf' is missing"), "{error}");
    let error = remold!("check", dir.join("none.json")).refuses(6);
    assert!(error.contains("none.json"), "{error}");

    fs::write(&manifest, &read(&manifest)[..500]).expect("cut");
    let error = remold!("check", manifest).refuses(3);
    assert!(error.contains("out.json: JSON: "), "{error}");
}

/// A manifest is a file from outside: its names lead nowhere else unless its user says so.
#[test]
fn check_opens_nothing_outside() {
    let dir = Dir::new();
    let folder = dir.join("folder");
    fs::create_dir(&folder).expect("made");
    let (target, manifest) = (dir.join("out.gguf"), folder.join("out.json"));
    remold!("convert", fixture("arch/llama"), target, "--manifest", manifest, "--quiet").ends(0);
    assert_eq!(json(&manifest)["subject"][0]["name"], "../out.gguf");
    let error = remold!("check", manifest).refuses(3);
    let named = ["out.json: '../out.gguf' leads out of", "--root DIR"];
    assert!(named.iter().all(|part| error.contains(part)), "{error}");
    remold!("check", manifest, "--root", dir.path()).ends(0);
    let error = remold!("check", manifest, "--root", fixture("arch")).refuses(2);
    assert!(error.contains("lies outside of it"), "{error}");
}

#[test]
fn a_manifest_goes_into_the_output_and_over_nothing() {
    let dir = Dir::new();
    let source = dir.copied(&fixture("arch/llama-tied-rope3"), "source");
    let hub = dir.join("hub");
    let manifest = hub.join("manifest.json");
    remold!("convert", source, hub, "--manifest", manifest, "--quiet").ends(0);
    remold!("check", manifest).ends(0);
    let all = json(&manifest);
    assert_eq!(all["subject"].as_array().expect("files").len() + 1, names(&hub).len());

    for (path, words) in [
        (hub.join("config.json"), "the output has a file of this name"),
        (source.join("config.json"), "the same file as the input"),
    ] {
        let before = read(&path);
        let ran = remold!("convert", source, hub, "--manifest", path, "--overwrite", "--quiet");
        let error = ran.refuses(2);
        assert!(error.contains(words), "{error}");
        assert!(read(&path) == before);
    }
    let target = dir.join("x.gguf");
    let missing = dir.join("none/x.json");
    remold!("convert", source, target, "--manifest", missing, "--quiet").refuses(6);
    assert_eq!(dir.names(), ["hub", "source"]);
}

/// Parts and shards, what `--verify` found, and what was left out.
#[test]
fn sets_verdicts_and_omissions_are_told() {
    let dir = Dir::new();
    let (target, manifest) = (dir.join("x.gguf"), dir.join("x.json"));
    let ran = remold!(
        "convert",
        tiny(),
        target,
        "--type",
        "q8_0",
        "--split-max-tensors",
        "8",
        "--verify",
        "--manifest",
        manifest,
        "--quiet"
    );
    ran.ends(0);
    let all = json(&manifest);
    assert_eq!(all["subject"][3]["name"], "x-00004-of-00004.gguf");
    assert_eq!(all["predicate"]["remold_verification"]["pass"], true);
    remold!("check", manifest).ends(0);

    let (target, manifest) = (dir.join("part.safetensors"), dir.join("part.json"));
    let ran = remold!("convert", tiny(), target, "--exclude", "lm_head", "--manifest", manifest);
    ran.ends(0);
    let all = json(manifest);
    let ledger = all["predicate"]["remold_sources"].as_array().expect("a list");
    let head = ledger.iter().find(|source| source["name"] == "lm_head.weight").expect("the head");
    assert_eq!(
        (&head["fate"], &head["reason"]),
        (&"dropped".into(), &"left out, as asked for".into())
    );
    let note = &all["predicate"]["remold_notes"][0];
    assert_eq!((&note["kind"], &note["subject"]), (&"lost".into(), &"lm_head.weight".into()));
}

/// A GGUF says who quantized it, and, if asked, of what.
#[test]
fn metadata_says_who_and_of_what() {
    use gguf::{Array, Value};
    let dir = Dir::new();
    let by = "general.quantized_by";
    let packed = Gguf::read(&dir.converted(&fixture("arch/llama"), "a.gguf", "q4_0"));
    let us = format!("remold {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(packed.metadata.get(by), Some(&Value::Text(us)));
    let floats = Gguf::read(&dir.converted(&fixture("arch/llama"), "b.gguf", "f16"));
    assert_eq!(floats.metadata.get(by), None);

    let source = dir.copied(&fixture("arch/llama"), "source");
    let target = dir.join("c.gguf");
    remold!("convert", source, target, "--provenance", "--quiet").ends(0);
    let made = Gguf::read(&target);
    let Some(Value::Array(Array::Text(lines))) = made.metadata.get("general.source.sha256") else {
        panic!("no digests");
    };
    let weights = format!("{}  model.safetensors", sha256(source.join("model.safetensors")));
    assert!(lines.contains(&weights), "{lines:?}");
    let error = remold!("convert", source, dir.join("hub"), "--provenance").refuses(2);
    assert!(error.contains("use --manifest"), "{error}");
}

/// Made again and compared with what the disk gives: a good disk gives what was written.
#[test]
fn an_output_is_read_back() {
    let dir = Dir::new();
    for target in [dir.join("x.gguf"), dir.join("hub")] {
        remold!("convert", tiny(), target, "--type", "f16", "--recheck", "--quiet").ends(0);
    }
}
