//! Models from one format and type to another: what is kept, what is refused, and that the bytes
//! depend on nothing but input and options.

use std::fs;
use std::path::Path;
use std::process::Command;

use half::bf16;

use crate::edit::{Gguf, Safetensors, Tensors};
use crate::program::{BINARY, Dir, architectures, finish, fixture, json, read, remold, tiny};

#[rustfmt::skip]
pub(crate) const TYPES: &[&str] = &[
    "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q6_k", "q2_k",
    "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m",
];

/// The same bytes on one thread, on two, on seven, again, from elsewhere and in another language.
#[test]
fn bytes_do_not_depend_on_threads() {
    let dir = Dir::new();
    for kind in TYPES {
        let first = read(dir.converted(&tiny(), &format!("{kind}.gguf"), kind));
        for (run, threads) in ["1", "2", "7", "1"].into_iter().enumerate() {
            // The name of a file is not in it.
            let target = dir.join(format!("{kind}-{run}.gguf"));
            remold!("convert", tiny(), target, "--type", kind, "--threads", threads, "--no-sync")
                .ends(0);
            assert!(read(&target) == first, "{kind}: other bytes on {threads} threads");
        }
    }
    let elsewhere = dir.join("elsewhere.gguf");
    let mut command = std::process::Command::new(crate::program::BINARY);
    command.arg("convert").arg(tiny()).args(["elsewhere.gguf", "--type", "q4_0"]);
    command.current_dir(dir.path()).env("LANG", "tr_TR.UTF-8").env("TZ", "Asia/Kathmandu");
    crate::program::finish(&mut command).ends(0);
    assert!(read(elsewhere) == read(dir.join("q4_0.gguf")));
}

#[test]
fn shards_do_not_depend_on_threads() {
    let dir = Dir::new();
    let mut made = Vec::new();
    for threads in ["1", "2", "7"] {
        let target = dir.join(format!("hub{threads}"));
        let size = ["--split-max-size", "1M"];
        remold!("convert", tiny(), target, "--type", "f16", "--threads", threads, size[0], size[1])
            .ends(0);
        let names = crate::program::names(&target);
        assert!(names.len() > 6, "{names:?}");
        let files: Vec<_> = names.iter().map(|name| read(target.join(name))).collect();
        made.push((names, files));
    }
    assert!(made.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Parts, read by the name of any of them, are the model.
#[test]
fn a_split_gguf_is_whole_by_any_part() {
    let dir = Dir::new();
    let size = dir.join("size.gguf");
    remold!("convert", tiny(), size, "--type", "q8_0", "--split-max-size", "700K").ends(0);
    let tensors = dir.join("tensors.gguf");
    remold!("convert", tiny(), tensors, "--type", "q8_0", "--split-max-tensors", "8").ends(0);
    let whole = dir.converted(&tiny(), "whole.gguf", "q8_0");
    assert!(!size.exists() && !tensors.exists(), "parts have names of their own");

    let parts: Vec<String> = dir.names().into_iter().filter(|name| name != "whole.gguf").collect();
    let of = |stem: &str| parts.iter().filter(|name| name.starts_with(stem)).count();
    assert_eq!((of("size-"), of("tensors-")), (4, 4), "{parts:?}");
    for part in &parts {
        let path = dir.join(part);
        let found = remold!("diff", whole, path, "--json").ends(0).json();
        assert_eq!(
            (&found["equal"], found["tensors"].as_array().map(Vec::len)),
            (&30.into(), Some(0))
        );
        if part.starts_with("size-") {
            let bytes: usize = Gguf::read(&path).tensors.iter().map(|t| t.bytes.len()).sum();
            assert!(bytes <= 700_000, "{part}: {bytes}");
        } else {
            assert!(Gguf::read(&path).tensors.len() <= 8, "{part}");
        }
    }
    fs::remove_file(dir.join("size-00003-of-00004.gguf")).expect("removed");
    let error = remold!("inspect", dir.join("size-00001-of-00004.gguf")).refuses(3);
    assert!(error.contains("size-00003-of-00004.gguf"), "{error}");
}

#[test]
fn a_sharded_hub_directory_is_whole() {
    let dir = Dir::new();
    let hub = dir.join("hub");
    remold!("convert", tiny(), hub, "--split-max-tensors", "7").ends(0);
    let index = json(hub.join("model.safetensors.index.json"));
    let map = index["weight_map"].as_object().expect("a map");
    assert_eq!((map.len(), &index["metadata"]["total_size"]), (30, &4328960.into()));
    for (name, shard) in map {
        let mut shard = Safetensors::read(&hub.join(shard.as_str().expect("a name")));
        assert!(shard.tensors.len() <= 7);
        let mut source = Safetensors::read(&tiny().join("model.safetensors"));
        assert!(shard.at(name).bytes == source.at(name).bytes, "{name}");
    }
    let found = remold!("diff", tiny(), hub, "--json").ends(0).json();
    assert_eq!((&found["equal"], found["tensors"].as_array().map(Vec::len)), (&30.into(), Some(0)));
    remold!("diff", tiny(), hub.join("model.safetensors.index.json")).ends(0);
    for carried in ["tokenizer.json", "tokenizer_config.json"] {
        assert!(read(hub.join(carried)) == read(tiny().join(carried)), "{carried}");
    }
    remold!("verify", tiny(), hub, "--quiet").ends(0);
}

#[test]
fn the_vocabulary_alone() {
    let dir = Dir::new();
    let (file, hub) = (dir.join("v.gguf"), dir.join("v"));
    remold!("convert", tiny(), file, "--vocab-only").ends(0);
    assert!(Gguf::read(&file).tensors.is_empty());
    remold!("convert", tiny(), hub, "--vocab-only").ends(0);
    assert_eq!(
        crate::program::names(&hub),
        ["config.json", "tokenizer.json", "tokenizer_config.json"]
    );
    for model in [tiny(), file] {
        let ids = remold!("tokenize", model, "The capital of France is", "--special").ends(0);
        assert!(ids.stdout.starts_with("0,"), "{}", ids.told());
    }
}

#[test]
fn metadata_is_set_and_unset() {
    let dir = Dir::new();
    let (first, second) = (dir.join("1.gguf"), dir.join("2.gguf"));
    remold!(
        "convert",
        tiny(),
        first,
        "--set",
        "llama.context_length=256",
        "--set",
        "general.name=A b"
    )
    .ends(0);
    remold!(
        "convert",
        first,
        second,
        "--set",
        "general.name=C",
        "--set",
        "my.key=3",
        "--unset",
        "general.type"
    )
    .ends(0);
    let (first, found) = (Gguf::read(&first).metadata, Gguf::read(&second).metadata);
    let text = |text: &str| Some(gguf::Value::Text(text.into()));
    assert_eq!(first.get("llama.context_length"), Some(&gguf::Value::U32(256)));
    assert_eq!(
        (first.get("general.name").cloned(), found.get("general.name").cloned()),
        (text("A b"), text("C"))
    );
    assert_eq!(
        (found.get("my.key"), found.get("general.type")),
        (Some(&gguf::Value::U32(3)), None)
    );
    assert_eq!(found.len(), first.len(), "one more, one less, the others kept");

    let error = remold!("convert", second, dir.join("3.gguf"), "--unset", "nope").refuses(2);
    assert!(error.contains("--unset nope"), "{error}");
    let error = remold!("convert", second, dir.join("3.gguf"), "--set", "llama.context_length=x")
        .refuses(2);
    assert!(error.contains("llama.context_length=x"), "{error}");
}

/// Tensors by pattern, of a family that is known and would otherwise miss them.
#[test]
fn tensors_are_included_and_excluded() {
    let dir = Dir::new();
    let part = dir.join("part.gguf");
    let ran =
        remold!("convert", tiny(), part, "--exclude", r"layers\.2\.", "--exclude", "^lm_head")
            .ends(0);
    assert_eq!(ran.stderr.matches("left out, as asked for").count(), 10, "{}", ran.told());
    let mut file = Gguf::read(&part);
    assert_eq!(file.tensors.len(), 20);
    let whole = dir.join("whole.gguf");
    remold!("convert", tiny(), whole).ends(0);
    let name = "blk.1.attn_q.weight";
    assert!(file.at(name).bytes == Gguf::read(&whole).at(name).bytes, "rows are interleaved still");

    let norms = dir.join("norms.safetensors");
    remold!("convert", tiny(), norms, "--include", "norm").ends(0);
    assert_eq!(Safetensors::read(&norms).tensors.len(), 7);
    let again = dir.join("again.gguf");
    remold!("convert", whole, again, "--include", "attn").ends(0);
    assert_eq!(Gguf::read(&again).tensors.len(), 15);
    let error = remold!("convert", tiny(), dir.join("x.gguf"), "--exclude", "layers", "--strict")
        .refuses(7);
    assert!(error.contains("--strict"), "{error}");
}

/// bf16 reaches further than f16: what would become infinite is refused, named and counted.
#[test]
fn a_finite_value_does_not_become_infinite() {
    let dir = Dir::new();
    let wide = with_weights(&dir, "wide", &[70000.0, -1e30]);
    for target in ["x.gguf", "x"] {
        let error = remold!("convert", wide, dir.join(target), "--type", "f16").refuses(7);
        assert!(error.contains("2 finite values would become infinite"), "{error}");
        assert!(error.contains("mlp.up_proj") || error.contains("ffn_up"), "{error}");
        assert!(error.contains("first element 300"), "{error}");
    }
    assert_eq!(dir.names(), ["wide"]);
    remold!("convert", wide, dir.join("x.gguf"), "--type", "bf16").ends(0);
}

/// The advice of a refusal is one that can be followed.
#[test]
fn advice_names_flags_that_exist() {
    let dir = Dir::new();
    let wide = with_weights(&dir, "wide", &[70000.0]);
    let odd = with_weights(&dir, "odd", &[f32::NAN]);
    let help = remold!("convert", "--help").ends(0).stdout;
    for (source, kind) in [(wide, "f16"), (odd, "q8_0")] {
        let error = remold!("convert", source, dir.join("x.gguf"), "--type", kind).refuses(7);
        let words = error.split([' ', ',', ';']).filter(|word| word.starts_with("--"));
        for flag in words {
            assert!(help.contains(flag), "{flag} is advised, but not to be had");
        }
    }
}

/// A packing cannot hold NaN or infinity; a float can, to the bit.
#[test]
fn what_is_not_finite_meets_no_packing() {
    let dir = Dir::new();
    let odd = with_weights(&dir, "odd", &[f32::NAN, f32::INFINITY]);
    for kind in ["q8_0", "q4_0", "q6_k"] {
        let error = remold!("convert", odd, dir.join("x.gguf"), "--type", kind).refuses(7);
        assert!(error.contains("blk.1.ffn_up.weight"), "{error}");
        assert!(error.contains("2 values are NaN or infinite, first element 300"), "{error}");
    }
    assert_eq!(dir.names(), ["odd"]);
    remold!("convert", odd, dir.join("x.gguf"), "--type", "q8_0", "--allow-nonfinite").ends(0);
    remold!("convert", odd, dir.join("same")).ends(0);
    let (before, after) = (odd.join("model.safetensors"), dir.join("same/model.safetensors"));
    let name = "model.layers.1.mlp.up_proj.weight";
    assert!(Safetensors::read(&before).at(name).bytes == Safetensors::read(&after).at(name).bytes);
}

/// tiny-llama with these weights in one matrix, from element 300 on.
fn with_weights(dir: &Dir, name: &str, weights: &[f32]) -> std::path::PathBuf {
    let model = dir.copied(&tiny(), name);
    let path = model.join("model.safetensors");
    let mut file = Safetensors::read(&path);
    let tensor = file.at("model.layers.1.mlp.up_proj.weight");
    for (i, weight) in weights.iter().enumerate() {
        let bytes = bf16::from_f32(*weight).to_le_bytes();
        tensor.bytes[2 * (300 + i)..2 * (301 + i)].copy_from_slice(&bytes);
    }
    file.write(&path);
    model
}

/// To GGUF and to GGUF again: the second time nothing is left to change.
#[test]
fn a_second_conversion_changes_nothing() {
    let dir = Dir::new();
    for model in architectures() {
        for kind in ["f16", "q4_0"] {
            let once = dir.converted(&model, "once.gguf", kind);
            let again = dir.join("again.gguf");
            remold!("convert", once, again, "--quiet").ends(0);
            assert!(read(&once) == read(&again), "{}: {kind}", model.display());
            fs::remove_file(once).and(fs::remove_file(again)).expect("removed");
        }
    }
}

/// A checkpoint of PyTorch and its safetensors twin give the same GGUF.
#[test]
fn containers_do_not_matter() {
    let dir = Dir::new();
    let torch = fixture("arch/llama-bias-headdim");
    let hub = dir.join("hub");
    remold!("convert", torch, hub).ends(0);
    assert!(hub.join("model.safetensors").exists());
    let name = |path: &Path| dir.converted(path, "x.gguf", "f16");
    let from_torch = read(name(&torch));
    let metadata = Gguf::read(&dir.join("x.gguf")).metadata;
    fs::remove_file(dir.join("x.gguf")).expect("removed");
    name(&hub);
    // All but the name of the model, which is that of the directory.
    let mut file = Gguf::read(&dir.join("x.gguf"));
    file.metadata = metadata;
    file.write(&dir.join("renamed.gguf"));
    assert!(read(dir.join("renamed.gguf")) == from_torch);
}

/// To GGUF and back: the same weights under the same names, and the same model.
#[test]
fn there_and_back() {
    let dir = Dir::new();
    for model in architectures().into_iter().chain([tiny()]) {
        let (there, back) = (dir.join("there.gguf"), dir.join("back"));
        remold!("convert", model, there, "--overwrite", "--quiet").ends(0);
        let ran = remold!("convert", there, back, "--overwrite", "--quiet", "--verify").ends(0);
        assert!(ran.stderr.is_empty(), "{}", ran.told());
        remold!("diff", model, back).ends(0);
        remold!("verify", model, back, "--quiet").ends(0);
        // From one safetensors file to the other: the family is the configuration's to say.
        assert!(json(back.join("config.json"))["num_hidden_layers"].is_u64());
        fs::remove_dir_all(back).expect("removed");
    }
}

/// The same by other ways: in parts, aligned to more, by a directory of shards.
#[test]
fn there_and_back_by_other_ways() {
    let ways: [&[&str]; 3] = [
        &[],
        &["--split-max-tensors", "5", "--set", "general.alignment=256"],
        &["--split-max-size", "40K"],
    ];
    let mut shards = 0;
    for model in architectures() {
        for way in ways {
            let dir = Dir::new();
            let command = |args: &[&std::ffi::OsStr], more: &[&str]| {
                let mut command = Command::new(BINARY);
                finish(command.arg("convert").args(args).args(more).arg("--quiet")).ends(0);
            };
            command(&[model.as_os_str(), dir.join("there.gguf").as_os_str()], way);
            let part = dir.join(dir.names().last().expect("a part"));
            let back = dir.join("back");
            let cut = &way[..way.len().min(2)];
            command(&[part.as_os_str(), back.as_os_str()], cut);
            remold!("diff", model, back).ends(0);
            shards += crate::program::names(&back).len();
        }
    }
    assert!(shards > 6 * 15, "{shards}");
}

/// What would be without effect, or leave nothing, is not what was meant.
#[test]
fn flags_that_would_change_nothing_are_refused() {
    let dir = Dir::new();
    let refused = |target: &str, flags: &[&str], words: &str| {
        let target = dir.join(target);
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(tiny()).arg(&target).args(flags);
        let error = finish(&mut command).refuses(2);
        assert!(error.contains(words), "{error}");
        assert!(!target.exists());
    };
    refused("x.safetensors", &["--split-max-tensors", "5"], "a directory of safetensors");
    refused("x.pt", &["--split-max-size", "1M"], "a directory of PyTorch");
    refused("x.npz", &["--split-max-size", "1M", "--type", "f32"], "npz file is not cut");
    refused("x.h5", &["--split-max-size", "1M"], "is one file");
    refused("x.safetensors", &["--vocab-only"], "--vocab-only");
    refused("x.npz", &["--vocab-only", "--type", "f32"], "--vocab-only");
    refused("x.safetensors", &["--pre", "llama-bpe"], "--pre: safetensors");
    refused("x.gguf", &["--external-data"], "--external-data: gguf");
    refused("x.gguf", &["--keep-io", "f32"], "--keep-io: gguf");
    refused("dir/", &["--provenance"], "--manifest");
    refused("x.gguf", &["--include", "zzz"], "leave none of 30 tensors");
    refused("x.gguf", &["--exclude", "."], "leave none of 30 tensors");
}

/// Whoever writes MODEL.GGUF means a GGUF.
#[test]
fn an_extension_may_be_in_any_case() {
    let dir = Dir::new();
    let (upper, lower) = (dir.join("M.GGUF"), dir.join("m.gguf"));
    remold!("convert", tiny(), upper, "--quiet").ends(0);
    remold!("convert", tiny(), lower, "--quiet").ends(0);
    assert!(read(&upper) == read(&lower));
}
