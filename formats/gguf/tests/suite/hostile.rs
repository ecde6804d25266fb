//! A corpus of hostile files, each with a manifest row that says what must become of it.

use serde_json::Value as Json;

use crate::read;

/// Rows about what a model means, which a container cannot know: it accepts these.
const LATER: [(&str, &str); 6] = [
    ("gguf/bad_scores_shorter.gguf", "three tokens and one score are two good arrays"),
    ("gguf/bad_token_type_u8.gguf", "an array of u8 is a good array; the tokenizer wants i32"),
    ("gguf/bad_eos_out_of_range.gguf", "a token id is a number like any other"),
    ("gguf/bad_byte_token_neg.gguf", "a token's text is a text like any other"),
    ("gguf/bad_block_count_max.gguf", "a layer count is a number like any other"),
    ("gguf/bad_head_count_0.gguf", "a head count is a number like any other"),
];

#[test]
fn hostile_files_end_as_the_manifest_says() {
    let Some(folder) = testing::corpus("hostile") else { return };
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: Json = serde_json::from_str(&manifest).unwrap();
    let (mut refused, mut accepted, mut later) = (0, 0, 0);
    for case in manifest["cases"].as_array().unwrap() {
        if case["format"] != "gguf" {
            continue;
        }
        let name = case["file"].as_str().unwrap();
        let result = read(&std::fs::read(folder.join(name)).unwrap());
        if LATER.iter().any(|(file, _)| *file == name) {
            assert!(result.is_ok(), "{name}: {result:?}");
            later += 1;
        } else if case["expected"] == "error" {
            let error = result.expect_err(name);
            eprintln!("{name}: {error}");
            refused += 1;
        } else {
            assert_eq!(case["expected"], "ok", "{name}");
            assert!(result.is_ok(), "{name}: {result:?}");
            accepted += 1;
        }
    }
    assert_eq!((refused, accepted, later), (41, 8, LATER.len()));
}

/// Files from llama.cpp's own repository; what we write of their parts are their bytes.
#[test]
fn vocabularies_of_llama_cpp_are_read_and_written_alike() {
    let Some(folder) = testing::corpus("llama-vocab") else { return };
    let paths = testing::files(&folder, "gguf");
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        let file = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(file.metadata.get("tokenizer.ggml.tokens").is_some(), "{}", path.display());
        let plan = gguf::Plan::new(&file.metadata, &[], file.alignment).unwrap();
        // Everything but the version, which is 2 in some, and the padding, which some lack.
        assert_eq!(plan.header[8..bytes.len()], bytes[8..], "{}", path.display());
    }
    assert_eq!(paths.len(), 6);
}
