//! Who may know whom: docs/ARCHITECTURE.md, held.

use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of `src/` each of them may name. A module that is not listed may name all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ir", &[]),
    ("types", &["ir"]),
    ("arch", &["ir"]),
    ("quant", &["ir"]),
    ("transform", &["ir"]),
    ("store", &["ir", "write"]),
    ("read", &["ir", "store", "quant", "types"]),
    ("write", &["ir", "store", "types"]),
    ("run", &["ir", "arch", "quant"]),
    ("verify", &["ir", "arch", "quant", "run"]),
];

/// Words of a model, which a container must not know.
const MODEL_WORDS: &[&str] = &["llama", "attention", "layernorm", "embedding", "transformer"];

/// Files before GGUF say what they hold by the program that wrote them, which is named here.
const NAMED_BY_PROGRAM: &str = "formats/ggml/src/layout.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    if !dir.is_dir() {
        return vec![dir.with_extension("rs")];
    }
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The top-level modules of the program that a file names.
fn named(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(""))
        .filter(|module| !module.is_empty())
        .collect()
}

#[test]
fn modules_know_only_what_lies_below_them() {
    let mut checked = 0;
    for (module, may) in MAY_USE {
        for file in rust_files(&root().join("src").join(module)) {
            let text = fs::read_to_string(&file).expect("source");
            for used in named(&text) {
                let fine = used == *module || may.contains(&used);
                assert!(fine, "{}: {module} may not name {used}", file.display());
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} uses were seen: the test looks in the wrong place");
}

#[test]
fn containers_have_never_heard_of_a_model() {
    let mut checked = 0;
    for crate_dir in fs::read_dir(root().join("formats")).expect("formats") {
        for file in rust_files(&crate_dir.expect("a crate").path().join("src")) {
            let text = fs::read_to_string(&file).expect("source");
            let at = file.display();
            assert!(text.starts_with("//!"), "{at}: begin with what the bytes are");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let code: Vec<&str> =
                code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let words = if file.ends_with(NAMED_BY_PROGRAM) { &[] } else { MODEL_WORDS };
            for word in words {
                let found = code.iter().find(|line| line.to_lowercase().contains(word));
                assert!(found.is_none(), "{at}: a container that knows '{word}': {found:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} files were seen");
}

#[test]
fn unsafe_code_stands_where_it_may() {
    const MAY: &[&str] =
        &["src/ir/blob.rs", "src/cli/signals.rs", "src/ir/simd.rs", "src/run/simd.rs"];
    let mut seen = 0;
    for dir in ["src", "formats"] {
        for file in rust_files(&root().join(dir)) {
            let text = fs::read_to_string(&file).expect("source");
            let has = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("unsafe {")
                    || code.contains("unsafe fn")
                    || code.contains("unsafe impl")
            });
            let name = file.strip_prefix(root()).expect("inside").display().to_string();
            assert!(!has || MAY.contains(&name.as_str()), "{name}: unsafe code");
            if has {
                assert!(text.contains("SAFETY:"), "{name}: unsafe code without its SAFETY");
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no unsafe code was seen at all");
}

/// Readers of containers are given bytes: what opens no file cannot be led to one. Of the program,
/// what turns parts into models and models into bytes opens none either.
#[test]
fn only_the_store_opens_files() {
    const OPENS: &[&str] = &["std::fs", "fs::File", "std::process", "std::net", "rustix::fs"];
    /// The tests of the containers, and the page that a test makes.
    const EXEMPT: &[&str] = &["formats/testing", "src/arch/document.rs"];
    let within = ["read", "write", "transform", "quant", "arch", "run", "verify"];
    let within = within.map(|module| root().join("src").join(module));
    let mut seen = 0;
    for file in within.into_iter().chain([root().join("formats")]).flat_map(|dir| rust_files(&dir))
    {
        let name = file.strip_prefix(root()).expect("inside").display().to_string();
        if name.contains("/tests")
            || name.contains("/examples/")
            || EXEMPT.iter().any(|exempt| name.starts_with(exempt))
        {
            continue;
        }
        let text = fs::read_to_string(&file).expect("source");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in OPENS {
            assert!(!code.contains(word), "{name} names {word}");
        }
        seen += 1;
    }
    assert!(seen > 200, "only {seen} files were seen");
}
