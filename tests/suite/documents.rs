//! What machines read: the JSON of each command, with the fields that the design promises; and
//! what shells and `man` read.

use serde_json::Value as Json;

use crate::program::{Dir, json, remold, tiny};

/// A field and how to know its type.
type Field = (&'static str, fn(&Json) -> bool);

#[track_caller]
fn has(document: &Json, fields: &[Field]) {
    for (name, is) in fields {
        let value = document.get(name).unwrap_or_else(|| panic!("no field {name} in {document}"));
        assert!(is(value), "{name} is {value}");
    }
}

fn text_or_null(value: &Json) -> bool {
    value.is_string() || value.is_null()
}

fn number_or_null(value: &Json) -> bool {
    value.is_number() || value.is_null()
}

const TENSOR: &[Field] = &[
    ("name", Json::is_string),
    ("dtype", Json::is_string),
    ("shape", Json::is_array),
    ("bytes", Json::is_u64),
    ("file", Json::is_string),
    ("offset", Json::is_u64),
];

#[test]
fn inspect() {
    let dir = Dir::new();
    let gguf = dir.converted(&tiny(), "x.gguf", "q4_0");
    for (model, format, version) in [(tiny(), "safetensors", None), (gguf, "gguf", Some(3))] {
        let found = remold!("inspect", model, "--json").ends(0).json();
        has(
            &found,
            &[
                ("format", Json::is_string),
                ("version", number_or_null),
                ("architecture", Json::is_string),
                ("name", Json::is_string),
                ("parameters", Json::is_u64),
                ("parameter_class", Json::is_string),
                ("context_length", Json::is_u64),
                ("context_class", Json::is_string),
                ("file_bytes", Json::is_u64),
                ("bits_per_weight", Json::is_f64),
                ("family", Json::is_string),
                ("tuning", Json::is_string),
                ("license", text_or_null),
                ("dtypes", Json::is_array),
                ("kv_cache_bytes_per_token", Json::is_u64),
                ("memory", Json::is_object),
                ("tokenizer", Json::is_object),
                ("metadata", Json::is_object),
                ("tensors", Json::is_array),
            ],
        );
        assert_eq!(found["format"], format);
        assert_eq!(found["version"].as_u64(), version);
        assert_eq!(found["architecture"], "llama");
        assert_eq!(
            (&found["parameters"], &found["context_length"]),
            (&2164480.into(), &512.into())
        );
        assert_eq!(found["parameter_class"], "SLM");
        has(&found["tokenizer"], &[("kind", Json::is_string), ("vocab", Json::is_u64)]);
        let tensors = found["tensors"].as_array().expect("tensors");
        assert_eq!(tensors.len(), 30);
        tensors.iter().for_each(|tensor| has(tensor, TENSOR));
        // Shapes are outermost first in every format.
        let embedding = |t: &&Json| {
            t["name"].as_str().is_some_and(|name| name.contains("embed") || name.contains("embd"))
        };
        let embedding = tensors.iter().find(embedding).expect("an embedding");
        assert_eq!(embedding["shape"], serde_json::json!([768, 256]));
    }
    let stats = remold!("inspect", tiny(), "--json", "--tensors", "--stats").ends(0).json();
    let of_norm = &stats["tensors"][29]["stats"];
    has(
        of_norm,
        &[
            ("min", Json::is_number),
            ("max", Json::is_number),
            ("mean", Json::is_number),
            ("zeros", Json::is_u64),
            ("nonfinite", Json::is_u64),
        ],
    );
}

/// What runs in how much memory: sizes from llama.cpp's types and gguf-py's blocks, the cache from
/// config.json: 3 layers × 2 heads × (64 + 64) × 2 bytes.
#[test]
fn inspect_knows_the_memory_of_each_type() {
    let dir = Dir::new();
    let sizes = json(tiny().join("sizes.json"));
    let expected = sizes.as_object().expect("types");
    let gguf = dir.converted(&tiny(), "x.gguf", "q4_k_m");
    for model in [tiny(), gguf] {
        let found = remold!("inspect", model, "--json").ends(0).json();
        assert_eq!(found["kv_cache_bytes_per_token"], 1536);
        let memory = &found["memory"];
        assert_eq!((&memory["tokens"], &memory["kv_cache_bytes"]), (&512.into(), &786_432.into()));
        let types = memory["types"].as_array().expect("types");
        let checked = types.iter().filter(|entry| {
            let name = entry["type"].as_str().expect("a name").to_lowercase();
            let Some(bytes) = expected.get(&name).and_then(Json::as_u64) else { return false };
            assert_eq!(entry["weight_bytes"], bytes, "{name}");
            assert_eq!(entry["bytes"], bytes + 786_432, "{name}");
            true
        });
        assert_eq!((checked.count(), expected.len()), (17, 17));
    }
}

/// Licence and tuning are what the files beside the weights say.
#[test]
fn inspect_reads_names_and_model_cards() {
    let dir = Dir::new();
    let model = dir.copied(&tiny(), "tiny-instruct");
    let says = |key: &str| remold!("inspect", model, "--json").ends(0).json()[key].clone();
    assert_eq!(says("license"), Json::Null);
    let text = "Permission is hereby granted, free of charge, to any person";
    std::fs::write(model.join("LICENSE"), text).expect("written");
    assert_eq!((says("license"), says("license_from")), ("mit".into(), "LICENSE".into()));
    let card = "---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n";
    std::fs::write(model.join("README.md"), card).expect("written");
    assert_eq!((says("license"), says("license_from")), ("apache-2.0".into(), "README.md".into()));
    assert_eq!((says("tuning"), says("tuning_from")), ("instruct".into(), "name".into()));
    let shown = remold!("inspect", model).ends(0).stdout;
    assert!(shown.contains("\nlicence          apache-2.0 (by README.md)\n"), "{shown}");
}

/// A file without tensors has bytes nevertheless.
#[test]
fn inspect_counts_the_bytes_of_files() {
    let dir = Dir::new();
    let vocabulary = dir.join("v.gguf");
    remold!("convert", tiny(), vocabulary, "--vocab-only").ends(0);
    let found = remold!("inspect", vocabulary, "--json").ends(0).json();
    let bytes = std::fs::metadata(&vocabulary).expect("a file").len();
    assert_eq!(found["file_bytes"].as_u64(), Some(bytes));
}

#[test]
fn verify() {
    let dir = Dir::new();
    let candidate = dir.converted(&tiny(), "x.gguf", "q8_0");
    let report = dir.join("report.json");
    let (junit, html) = (dir.join("report.xml"), dir.join("report.html"));
    let run = remold!(
        "verify",
        tiny(),
        candidate,
        "--tokens",
        "1,2,3,4,5",
        "--json",
        report,
        "--junit",
        junit,
        "--html",
        html
    );
    assert!(run.ends(0).stdout.starts_with("PASS"));
    let found = json(&report);
    let measures = [
        "mean_kld",
        "median_kld",
        "max_kld",
        "p99_kld",
        "top1_agreement",
        "nmse",
        "max_abs_diff",
        "ppl_reference",
        "ppl_candidate",
    ];
    let measures = measures.map(|name| (name, Json::is_number as fn(&Json) -> bool));
    has(&found, &measures);
    has(
        &found,
        &[
            ("pass", Json::is_boolean),
            ("kind", Json::is_string),
            ("positions", Json::is_u64),
            ("gates", Json::is_array),
            ("tensors", Json::is_array),
        ],
    );
    assert_eq!(
        (&found["pass"], &found["kind"], &found["positions"]),
        (&true.into(), &"logits".into(), &5.into())
    );
    for gate in found["gates"].as_array().expect("gates") {
        has(
            gate,
            &[
                ("name", Json::is_string),
                ("value", number_or_null),
                ("limit", number_or_null),
                ("pass", Json::is_boolean),
            ],
        );
    }
    let tensors = found["tensors"].as_array().expect("tensors");
    assert_eq!(tensors.len(), 30);
    for tensor in tensors {
        has(
            tensor,
            &[
                ("name", Json::is_string),
                ("dtype_reference", Json::is_string),
                ("dtype_candidate", Json::is_string),
                ("nmse", Json::is_number),
                ("max_abs_diff", Json::is_number),
            ],
        );
    }
    let text = |path| std::fs::read_to_string(path).expect("a report");
    assert!(text(&junit).contains("<testsuite") && text(&html).contains("<html"));

    let copy = dir.join("y.gguf");
    std::fs::copy(&candidate, &copy).expect("a copy");
    remold!("verify", candidate, copy, "--json", report, "--quiet").ends(0);
    let found = json(&report);
    assert_eq!((&found["kind"], &found["pass"]), (&"exact".into(), &true.into()));
}

#[test]
fn diff() {
    let dir = Dir::new();
    let other = dir.converted(&tiny(), "x.gguf", "q4_0");
    let found = remold!("diff", tiny(), other, "--json").ends(0).json();
    let fields: &[Field] = &[
        ("differs", Json::is_boolean),
        ("equal", Json::is_u64),
        ("tensors", Json::is_array),
        ("hyper_parameters", Json::is_array),
    ];
    has(&found, fields);
    let tensors = found["tensors"].as_array().expect("tensors");
    assert_eq!(tensors.len(), 30);
    for tensor in tensors {
        has(
            tensor,
            &[
                ("name", Json::is_string),
                ("difference", Json::is_string),
                ("dtype_a", Json::is_string),
                ("dtype_b", Json::is_string),
            ],
        );
        assert_eq!((&tensor["difference"], &tensor["dtype_a"]), (&"dtype".into(), &"bf16".into()));
    }
    let wrong = dir.join("y.gguf");
    remold!("convert", other, wrong, "--set", "llama.rope.freq_base=20000").ends(0);
    let found = remold!("diff", other, wrong, "--json").ends(1).json();
    assert_eq!((&found["differs"], &found["equal"]), (&true.into(), &30.into()));
    let field = found["hyper_parameters"][0]["field"].as_str();
    assert_eq!(field, Some("rope theta"));
}

/// The plan says exactly what the conversion then writes.
#[test]
fn convert_and_its_dry_run() {
    let dir = Dir::new();
    let target = dir.join("x.gguf");
    let arguments = ["--type", "q4_0", "--json"];
    let plan =
        remold!("convert", tiny(), target, arguments[0], arguments[1], arguments[2], "--dry-run");
    let plan = plan.ends(0).json();
    assert!(dir.names().is_empty(), "a dry run writes nothing");
    has(&plan, &[("bytes", Json::is_u64), ("files", Json::is_array)]);
    let made = remold!("convert", tiny(), target, arguments[0], arguments[1], arguments[2]).ends(0);
    let made = made.json();
    has(
        &made,
        &[
            ("target", Json::is_string),
            ("bytes", Json::is_u64),
            ("files", Json::is_array),
            ("tensors", Json::is_array),
            ("notes", Json::is_array),
        ],
    );
    let written = std::fs::metadata(&target).expect("a file").len();
    assert_eq!((plan["bytes"].as_u64(), made["bytes"].as_u64()), (Some(written), Some(written)));
    let fates = made["tensors"].as_array().expect("tensors");
    assert_eq!(fates.len(), 30, "every tensor of the source is accounted for");
    assert!(fates.iter().all(|fate| fate["fate"] == "mapped" && text_or_null(&fate["to"])));

    let words =
        remold!("convert", tiny(), dir.join("y.gguf"), "--type", "q4_0", "--dry-run").ends(0);
    assert!(words.stdout.contains(&written.to_string()), "{}", words.told());
    // Nothing of importance is demanded by a plan, and a target that exists is none of its business.
    remold!("convert", tiny(), target, "--type", "f16", "--dry-run").ends(0);
}

/// With `--verify`, stdout still holds one document.
#[test]
fn convert_with_its_proof_is_one_document() {
    let dir = Dir::new();
    let run =
        remold!("convert", tiny(), dir.join("x.gguf"), "--type", "q8_0", "--json", "--verify");
    let found = run.ends(0).json();
    assert_eq!(
        (&found["verification"]["pass"], &found["verification"]["kind"]),
        (&true.into(), &"logits".into())
    );
    assert_eq!(found["tensors"].as_array().map(Vec::len), Some(30));
}

#[test]
fn bench() {
    let found = remold!("bench", tiny(), "-p", "8", "-n", "4", "--json").ends(0).json();
    has(
        &found,
        &[
            ("prompt_tokens_per_second", Json::is_number),
            ("generation_tokens_per_second", Json::is_number),
        ],
    );
}

const COMMANDS: &[&str] = &[
    "inspect",
    "convert",
    "quantize",
    "verify",
    "diff",
    "logits",
    "run",
    "tokenize",
    "bench",
    "embed",
    "completions",
    "man",
];

#[test]
fn completions_and_the_manual_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let text = remold!("completions", shell).ends(0).stdout;
        for command in COMMANDS {
            assert!(text.contains(command), "{shell}: {command}");
        }
        assert!(text.contains("split-max-size"), "{shell}");
    }
    let manual = remold!("man").ends(0).stdout;
    assert!(manual.contains(".TH remold 1"), "{}", &manual[..200]);
    for command in COMMANDS {
        assert!(manual.contains(command), "{command}");
    }
    assert!(manual.contains("split\\-max\\-size") && manual.contains("143"));
}
