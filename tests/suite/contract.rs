//! The command line as scripts depend on it: exit codes, streams, messages.

use std::fs;
use std::process::{Command, Stdio};

use crate::edit::{Gguf, Safetensors, Tensors};
use crate::program::{BINARY, Dir, Ran, architectures, finish, fixture, read, remold, tiny};

/// One natural way to each exit code but those of signals and of bugs.
#[test]
fn every_exit_code_is_reached() {
    let dir = Dir::new();
    let (small, large) = (dir.join("4.gguf"), dir.join("8.gguf"));
    remold!("convert", tiny(), small, "--type", "q4_0").ends(0);
    remold!("quantize", tiny(), large, "Q8_0").ends(0);

    let ids = ["--tokens", "1,2,3"];
    let strict = remold!("verify", large, small, ids[0], ids[1], "--max-kld", "0").ends(1);
    assert!(strict.stdout.starts_with("FAIL") && strict.stderr.is_empty(), "{}", strict.told());

    let usage = remold!("convert", tiny(), dir.join("x.gguf"), "--type", "q99").refuses(2);
    assert!(usage.contains("no type 'q99'; there are F32, F16"), "{usage}");

    let bad = remold!("convert", fixture("bad/gguf/magic.gguf"), dir.join("x.gguf")).refuses(3);
    let named = ["magic.gguf: gguf: magic (byte 0x0)", "found \"GGML\"", "expected \"GGUF\""];
    assert!(named.iter().all(|part| bad.contains(part)), "{bad}");

    let empty = dir.join("empty.zip");
    std::fs::write(&empty, [&b"PK\x05\x06"[..], &[0; 18]].concat()).expect("written");
    let foreign = remold!("convert", empty, dir.join("x.gguf")).refuses(4);
    std::fs::remove_file(&empty).expect("removed");
    assert!(foreign.contains("empty.zip: this is an empty zip archive"), "{foreign}");

    let limit = remold!("inspect", tiny(), "--limit", "side-file=100").refuses(5);
    let named = ["config.json: 719 bytes", "at most 100", "--limit side-file=N"];
    assert!(named.iter().all(|part| limit.contains(part)), "{limit}");

    let absent = remold!("convert", dir.join("absent"), dir.join("x.gguf")).refuses(6);
    assert!(absent.contains("absent: No such file"), "{absent}");

    let strict = remold!("convert", fixture("arch/llama"), dir.join("x.gguf"), "--strict");
    let strict = strict.refuses(7);
    assert!(strict.contains("1 notes, and --strict makes each an error"), "{strict}");

    assert_eq!(dir.names(), ["4.gguf", "8.gguf"], "a refusal leaves nothing behind");
}

/// A path stands once in a message, however many layers say where they are.
#[test]
fn a_message_says_the_place_once() {
    let error = remold!("inspect", tiny(), "--limit", "side-file=100").refuses(5);
    assert_eq!(error.matches("config.json").count(), 1, "{error}");
}

/// The limit that a refusal names can be raised as it says.
#[test]
fn limits_that_are_named_can_be_raised() {
    let mut seen = 0;
    for folder in ["bad/gguf", "bad/safetensors"] {
        let folder = fixture(folder);
        for name in crate::program::names(&folder) {
            let ran = remold!("inspect", folder.join(&name), "--quiet");
            if ran.code != Some(5) || name.ends_with(".message") {
                continue;
            }
            let error = ran.error();
            let (_, flag) = error.split_once("--limit ").expect("the limit's name");
            let limit = flag.split('=').next().expect("a name");
            let ran =
                remold!("inspect", folder.join(&name), "--limit", format!("{limit}=4000000000"));
            assert_ne!(ran.code, Some(5), "{}", ran.told());
            assert_ne!(ran.code, Some(2), "{}", ran.told());
            seen += 1;
        }
    }
    assert!(seen > 0, "no fixture reaches a limit");
    let error = remold!("inspect", tiny(), "--limit", "nope=1").refuses(2);
    assert!(error.contains("gguf-alignment"), "{error}");
}

/// Results on stdout and nothing else; notes, summaries and errors on stderr.
#[test]
fn streams_are_kept_apart() {
    let dir = Dir::new();
    let target = dir.join("x.gguf");
    let noted = remold!("convert", fixture("arch/llama"), target, "--type", "q4_0").ends(0);
    assert_eq!(noted.stdout, "");
    let lines: Vec<&str> = noted.stderr.lines().collect();
    let (summary, notes) = lines.split_last().expect("a summary");
    assert!(summary.contains("x.gguf: 21 tensors, "), "{}", noted.told());
    assert!(!notes.is_empty() && notes.iter().all(|line| line.starts_with("note: ")));

    let quiet = remold!("convert", fixture("arch/llama"), dir.join("y.gguf"), "--quiet").ends(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    let ids = remold!("tokenize", tiny(), "Hello world").ends(0);
    assert_eq!((ids.stdout.as_str(), ids.stderr.as_str()), ("41,440,716,275,393,704\n", ""));
    let text = remold!("run", tiny(), "-p", "The capital of France is", "-n", "1").ends(0);
    assert_eq!((text.stdout.as_str(), text.stderr.as_str()), (" Paris\n", ""));
}

/// An existing target is kept unless it is asked to go; the refusal reads nothing.
#[test]
fn nothing_is_overwritten_unasked() {
    let dir = Dir::new();
    let target = dir.join("x.gguf");
    fs::write(&target, "mine").expect("written");
    let error = remold!("convert", tiny(), target).refuses(2);
    assert!(error.contains("x.gguf: it exists already; --overwrite replaces it"), "{error}");
    assert_eq!(read(&target), b"mine");
    assert_eq!(dir.names(), ["x.gguf"]);
    remold!("convert", tiny(), target, "--overwrite").ends(0);
    assert!(read(&target).starts_with(b"GGUF"));

    let folder = dir.join("hub");
    remold!("convert", tiny(), folder).ends(0);
    let before = read(folder.join("model.safetensors"));
    let error = remold!("convert", fixture("arch/llama"), folder).refuses(2);
    assert!(error.contains("--overwrite"), "{error}");
    assert_eq!(read(folder.join("model.safetensors")), before);
}

/// A target whose name leads to no format is refused before the source is looked for.
#[test]
fn a_target_of_no_format_is_a_usage_error() {
    let dir = Dir::new();
    for name in ["x.xyz", "x.gguf.bak", "x.mlmodel"] {
        let error = remold!("convert", dir.join("absent"), dir.join(name)).refuses(2);
        let named = [name, "no format has this extension", "--to", ".gguf"];
        assert!(named.iter().all(|part| error.contains(part)), "{error}");
    }
    let error = remold!("convert", dir.join("absent"), dir.join("x"), "--to", "xyz").refuses(2);
    assert!(error.contains("no format 'xyz'; there are gguf, safetensors, pytorch"), "{error}");
    remold!("convert", tiny(), dir.join("x.xyz"), "--to", "gguf").ends(0);
    assert!(read(dir.join("x.xyz")).starts_with(b"GGUF"));
}

/// clap's own refusals have the exit code of ours, and what is asked for goes to stdout.
#[test]
fn wrong_arguments_and_help() {
    for arguments in [&["frobnicate"][..], &["convert", "a"], &["verify", "a", "b", "--what"], &[]]
    {
        let ran = finish(Command::new(BINARY).args(arguments)).ends(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("Usage:"), "{}", ran.told());
    }
    for threads in ["0", "5000", "-1", "many"] {
        let ran = remold!("convert", "a", "b.gguf", "--threads", threads);
        assert_eq!(ran.code, Some(if threads == "0" || threads == "5000" { 6 } else { 2 }));
    }
    let version = remold!("--version").ends(0);
    assert_eq!(version.stdout, format!("remold {}\n", env!("CARGO_PKG_VERSION")));
    let help = remold!("--help").ends(0);
    assert!(help.stdout.contains("Exit codes: 0 done · 1") && help.stderr.is_empty());
}

/// The reader of our output may leave when it has seen enough: `remold inspect … | head`.
#[test]
fn a_closed_pipe_is_no_failure() {
    let mut child = Command::new(BINARY)
        .args(["inspect", "--json", "--tensors"])
        .arg(tiny())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let ran = Ran::of("inspect to a closed pipe".into(), child.wait_with_output().expect("ends"));
    assert_eq!(ran.ends(0).stderr, "");
}

/// What a file is called by is shown, but cannot colour a terminal or break a line.
#[test]
fn names_from_files_are_escaped() {
    let dir = Dir::new();
    let path = dir.join("x.safetensors");
    let mut file = Safetensors::read(&fixture("safetensors/raw_types.safetensors"));
    file.tensors.truncate(1);
    file.tensors[0].name = "a\u{1b}[31m\nb".into();
    file.write(&path);
    let shown = remold!("inspect", path, "--tensors").ends(0);
    assert!(!shown.stdout.contains('\u{1b}') && shown.stdout.contains(r"a\u{1b}[31m\nb"));
    let last = read(&path).len() - 1;
    fs::write(&path, &read(&path)[..last]).expect("cut");
    let error = remold!("inspect", path).refuses(3);
    assert!(!error.contains('\u{1b}'), "{error}");
}

/// An error says file, tensor, what was found and what was expected.
#[test]
fn errors_name_the_tensor() {
    let dir = Dir::new();
    let good = dir.converted(&tiny(), "x.gguf", "f16");
    let mut file = Gguf::read(&good);
    let bad = dir.join("bad.gguf");
    file.at("blk.1.attn_v.weight").shape = vec![64, 512];
    file.write(&bad);
    let error = remold!("convert", bad, dir.join("y.gguf")).refuses(3);
    let named = ["bad.gguf: ", "blk.1.attn_v.weight", "[64, 512]", "[128, 256]"];
    assert!(named.iter().all(|part| error.contains(part)), "{error}");
    file.remove("blk.1.attn_v.weight");
    file.write(&bad);
    let error = remold!("convert", bad, dir.join("y.gguf")).refuses(3);
    assert!(error.contains("bad.gguf: tensor blk.1.attn_v.weight is missing"), "{error}");
    assert_eq!(dir.names(), ["bad.gguf", "x.gguf"]);
}

/// `inspect` knows every fixture's family, whatever dialect its config.json speaks.
#[test]
fn fixtures_are_known() {
    for model in architectures() {
        let said = remold!("inspect", model).ends(0).stdout;
        assert!(said.contains("architecture     llama") || said.contains("mistral"), "{said}");
        assert!(said.contains("hidden size      64"), "{said}");
    }
}
