//! What is refused because the output could not be what it is taken for: files that are read
//! would be replaced, names lead to the system's own, or nothing could read what is written.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::program::{BINARY, Dir, finish, fixture, read, remold, tiny};

/// A report replaces an older report, and no model.
#[test]
fn reports_replace_no_file_that_is_read() {
    let dir = Dir::new();
    let model = dir.converted(&tiny(), "c.gguf", "f16");
    let (link, text) = (dir.join("hard.json"), dir.join("text"));
    fs::hard_link(&model, &link).expect("linked");
    fs::write(&text, "a text").expect("written");
    let before = read(&model);
    for flag in ["--json", "--junit", "--html"] {
        for target in [&model, &link] {
            let error = remold!("verify", tiny(), model, flag, target).refuses(2);
            assert!(error.contains("the same file as the input"), "{error}");
        }
    }
    let error = remold!("verify", tiny(), model, "--text", text, "--json", text).refuses(2);
    assert!(error.contains("the same file as the input"), "{error}");
    let error = remold!("verify", tiny(), model, "--html", dir.join("r"), "--json", dir.join("r"));
    assert!(error.refuses(2).contains("two outputs have this name"));
    remold!("logits", model, "--tokens", "1", "-o", model).refuses(2);
    remold!("imatrix", model, "-f", text, "-o", model).refuses(2);
    remold!("imatrix", model, "-f", text, "-o", text).refuses(2);
    assert_eq!((read(&model), read(&text)), (before, b"a text".to_vec()));
    let report = dir.join("report.json");
    for _ in 0..2 {
        remold!("verify", tiny(), model, "--quiet", "--json", report).ends(0);
    }
}

/// A link to standard output looks like a regular file where that is one.
#[test]
fn names_of_the_system_are_not_replaced() {
    let dir = Dir::new();
    let (link, far) = (dir.join("link.json"), dir.join("far.gguf"));
    symlink("/proc/self/fd/1", &link).expect("linked");
    symlink("link.json", &far).expect("linked");
    let out = dir.join("out");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("sh");
        command.arg("-c").arg("exec \"$@\" > \"$0\"").arg(&out).arg(BINARY).args(arguments);
        finish(&mut command).refuses(6)
    };
    let (tiny, stdout) = (tiny(), std::path::Path::new("/dev/stdout"));
    for target in [far.as_os_str(), stdout.as_os_str()] {
        let convert = ["convert".as_ref(), tiny.as_os_str(), target];
        let error =
            run(&[&convert[..], &["--to", "gguf", "--overwrite"].map(|x| x.as_ref())].concat());
        assert!(error.contains("leads to what is no file of a directory"), "{error}");
    }
    let logits = ["logits".as_ref(), tiny.as_os_str(), "--tokens".as_ref(), "1".as_ref()];
    run(&[&logits[..], &["-o".as_ref(), link.as_os_str()]].concat());
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink(), "the link was replaced");
}

/// Of these, readers of the format would refuse what is written.
#[test]
fn what_no_reader_takes_is_not_written() {
    let dir = Dir::new();
    for (source, target, word) in [
        ("safetensors/names.safetensors", "n.npz", "NUL"),
        ("safetensors/names.safetensors", "n.pt", "empty"),
        ("safetensors/nothing.safetensors", "n.pt", "no tensors"),
        ("safetensors/nothing.safetensors", "n.h5", "nothing is in it"),
        ("npy/deep.npy", "d.h5", "64 dimensions, at most 32"),
    ] {
        let error = remold!("convert", fixture(source), dir.join(target), "--quiet").refuses(4);
        assert!(error.contains(word), "{source} to {target}: {error}");
    }
    assert_eq!(dir.names(), Vec::<String>::new());
}

/// The same directory under another name is the same model.
#[test]
fn a_directory_without_a_name_has_that_of_where_it_leads() {
    let dir = Dir::new();
    let model = dir.copied(&tiny(), "model");
    remold!("convert", model, dir.join("a.gguf"), "--quiet").ends(0);
    let mut command = Command::new(BINARY);
    let here = command.current_dir(&model).args(["convert", ".", "../b.gguf", "--quiet"]);
    finish(here).ends(0);
    assert!(read(dir.join("a.gguf")) == read(dir.join("b.gguf")));
}

/// Where there is no room for a map, files are read.
#[test]
fn a_map_that_does_not_fit_is_done_without() {
    let dir = Dir::new();
    let (model, logits) = (dir.join("m.safetensors"), dir.join("l.npy"));
    let header = br#"{"w":{"dtype":"F32","shape":[2147483648],"data_offsets":[0,8589934592]}}"#;
    let start = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    fs::write(&model, &start).expect("written");
    let file = fs::File::options().write(true).open(&model).expect("opened");
    file.set_len(start.len() as u64 + (8 << 30)).expect("made");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 4000000; exec \"$@\"", "sh", BINARY, "logits"]);
    let error = finish(command.arg(&model).args(["--tokens", "1", "-o"]).arg(&logits)).refuses(4);
    // It is read, and is no model of a family; and the message names the file.
    assert!(error.contains("m.safetensors: found no configuration"), "{error}");
}

/// Integers have no statistics, and take none from others; damaged data has none at all.
#[test]
fn statistics_are_of_weights_that_are_whole() {
    let bools = remold!("inspect", fixture("npy/b1.npy"), "--tensors", "--stats").ends(0);
    assert!(bools.stdout.contains("bool"), "{}", bools.told());
    let json = remold!("inspect", fixture("npy/i1.npy"), "--tensors", "--stats", "--json").json();
    assert!(json["tensors"][0]["stats"].is_null(), "{json}");
    let dir = Dir::new();
    let damaged = dir.join("d.npz");
    remold!("convert", fixture("npy/le_f4.npy"), damaged, "--quiet").ends(0);
    let mut bytes = read(&damaged);
    let at = bytes.windows(6).position(|six| six == b"\x93NUMPY").expect("an array") + 130;
    bytes[at] ^= 1;
    fs::write(&damaged, bytes).expect("written");
    remold!("inspect", damaged, "--tensors").ends(0);
    let error = remold!("inspect", damaged, "--tensors", "--stats").refuses(3);
    assert!(error.contains("has the checksum"), "{error}");
}

/// A name may be longer than a column can be wide.
#[test]
fn a_long_name_is_shown() {
    let dir = Dir::new();
    let model = dir.join("m.safetensors");
    let name = "n".repeat(1 << 16);
    let header = format!(r#"{{"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}}"#);
    let len = (header.len() as u64).to_le_bytes();
    fs::write(&model, [&len[..], header.as_bytes(), &[0; 4]].concat()).expect("written");
    let ran = remold!("verify", model, model).ends(0);
    assert!(ran.stdout.contains(&name), "{}", ran.told());
}

/// Flags that would do nothing are refused.
#[test]
fn flags_without_effect_are_refused() {
    let dir = Dir::new();
    let gguf = dir.join("x.gguf");
    for (target, flags, word) in [
        ("x.gguf", &["--external-data"][..], "--external-data: gguf has no place for it"),
        ("x.gguf", &["--keep-io", "f32"], "--keep-io: gguf has no place for it"),
        ("x.safetensors", &["--split-max-tensors", "1"], "cut into parts"),
        ("x.gguf", &["--pre", "nosuch"], "--pre nosuch: llama.cpp knows"),
    ] {
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(tiny()).arg(dir.join(target)).args(flags);
        let error = finish(&mut command).refuses(2);
        assert!(error.contains(word), "{error}");
    }
    let noted = remold!("quantize", tiny(), gguf, "q8_0", "--tensor-type", "nomatch=q8_0").ends(0);
    assert!(noted.stderr.contains("nomatch=q8_0 fits no tensor"), "{}", noted.told());
    let text = dir.join("text");
    fs::write(&text, "a text").expect("written");
    let error = remold!("perplexity", tiny(), "-f", text, "--chunks", "0").refuses(2);
    assert!(error.contains("expected 1 or more"), "{error}");
}

/// What llama-quantize takes for a type, and a note where its rule on names leaves a matrix as f32.
#[test]
fn types_are_named_as_by_llama_quantize() {
    let dir = Dir::new();
    for (one, other) in [("Q4_K", "Q4_K_M"), ("15", "Q4_K_M"), ("7", "Q8_0")] {
        let (a, b) = (dir.join(format!("{one}.gguf")), dir.join(format!("{other}-2.gguf")));
        remold!("quantize", tiny(), a, one, "--quiet").ends(0);
        remold!("quantize", tiny(), b, other, "--quiet", "--overwrite").ends(0);
        assert!(read(&a) == read(&b), "{one} is not {other}");
    }
    let (kept, copied) = (dir.join("kept.gguf"), dir.join("copied.gguf"));
    remold!("convert", tiny(), kept, "--quiet").ends(0);
    remold!("quantize", kept, copied, "COPY", "--quiet").ends(0);
    assert!(read(&kept) == read(&copied));
    let bare = dir.join("bare.gguf");
    let ran = remold!("convert", fixture("npy/fortran.npy"), bare, "--type", "q8_0").ends(0);
    assert!(ran.stderr.contains("stays f32: only matrices whose names end"), "{}", ran.told());
}

/// A conversion may pack again what is packed; that this loses twice is said, and --strict refuses.
#[test]
fn what_is_packed_again_is_noted() {
    let dir = Dir::new();
    let (packed, again) = (dir.join("q4_0.gguf"), dir.join("q8_0.gguf"));
    remold!("convert", tiny(), packed, "--type", "q4_0", "--quiet").ends(0);
    let ran = remold!("convert", packed, again, "--type", "q8_0").ends(0);
    assert!(ran.stderr.contains("it was q4_0 already: packed again"), "{}", ran.told());
    remold!("convert", packed, again, "--type", "q8_0", "--overwrite", "--strict").refuses(7);
}
