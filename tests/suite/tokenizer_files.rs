//! Tokenizers written as tokenizer.json. `fixtures/make/tokenizer.py --check` shows the files that
//! these tests leave behind to Hugging Face's library.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use remold::ir::Notes;
use remold::ir::tokenizer::{Class, Role, Token, Tokenizer};
use remold::read::tokenizer_json::Files;
use remold::read::{tokenizer_gguf, tokenizer_json};
use remold::write;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every folder of these fixtures that holds a tokenizer.json.
fn folders(of: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("fixtures").join(of)).expect("fixtures");
    let mut folders: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    folders.retain(|path| path.join("tokenizer.json").exists());
    folders.sort();
    folders
}

fn name(folder: &Path) -> &str {
    folder.file_name().and_then(|name| name.to_str()).expect("a name")
}

fn read(folder: &Path) -> Tokenizer {
    let bytes = |file| std::fs::read(folder.join(file)).ok();
    let tokenizer = bytes("tokenizer.json").expect("tokenizer.json");
    let (config, generation) = (bytes("tokenizer_config.json"), bytes("generation_config.json"));
    let template = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let files = Files {
        tokenizer: &tokenizer,
        tokenizer_config: config.as_deref(),
        generation_config: generation.as_deref(),
        chat_template: template.as_deref(),
        ..Default::default()
    };
    let mut notes = Notes::default();
    let read = tokenizer_json::read(&files, &mut notes);
    assert!(notes.is_empty(), "{notes:?}");
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// Writes the files, and reads them again.
fn through_files(tokenizer: &Tokenizer, name: &str) -> Tokenizer {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokenizers").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut notes = Notes::default();
    let files = write::tokenizer_json::files(tokenizer, Some(2048), &mut notes).expect("writes");
    assert!(notes.is_empty(), "{name}: {notes:?}");
    for file in files {
        std::fs::write(folder.join(file.name), file.text).expect("writes");
    }
    read(&folder)
}

#[test]
fn tokenizers_survive_the_way_to_files_and_back() {
    let all = [folders("tokenizer"), folders("sentencepiece")].concat();
    assert_eq!(all.len(), 19, "fixtures are missing: this test would prove less");
    for folder in all {
        let tokenizer = read(&folder);
        assert_eq!(through_files(&tokenizer, name(&folder)), tokenizer, "{}", folder.display());
    }
}

#[test]
fn what_a_gguf_holds_is_written_whole() {
    let mut seen = 0;
    for folder in [folders("tokenizer"), folders("sentencepiece")].concat() {
        let name = name(&folder);
        let tokenizer = read(&folder);
        let rows = tokenizer.tokens.len() + 3;
        let mut notes = Notes::default();
        let entries = write::tokenizer_gguf::entries(&tokenizer, rows, None, &mut notes);
        // What llama.cpp has no name for.
        let Ok(entries) = entries else {
            assert_eq!(name, "steps");
            continue;
        };
        let entries: IndexMap<_, _> = entries.into_iter().collect();
        let mut held = tokenizer_gguf::read(&entries).expect("reads").expect("a tokenizer");
        let again = through_files(&held, &format!("gguf-{name}"));
        held.tokens.truncate(rows - 3);
        if let remold::ir::tokenizer::Kind::Spm(spm) = &mut held.kind {
            spm.scores.truncate(rows - 3);
        }
        assert_eq!(again, held, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 18);
}

#[test]
fn the_files_beside_say_what_transformers_reads() {
    let folder = root().join("fixtures/tokenizer/qwen2");
    let mut tokenizer = read(&folder);
    let end = tokenizer.role(Role::Eos).expect("an end");
    tokenizer.special.insert(Role::Eot, end - 1);
    tokenizer.chat_templates.push(("tool".into(), "{{ tools }}".into()));
    tokenizer.tokens.push(Token { text: "spare".into(), class: Class::Unused });
    let mut notes = Notes::default();
    let files = write::tokenizer_json::files(&tokenizer, Some(2048), &mut notes).expect("writes");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let text = |name| &files.iter().find(|file| file.name == name).expect("a file").text;
    let json = |name| serde_json::from_str::<serde_json::Value>(text(name)).expect("JSON");
    assert_eq!(text("chat_template.jinja"), "{{ messages }}");
    let config = json("tokenizer_config.json");
    assert_eq!(config["eos_token"], "<|im_end|>");
    assert_eq!(config["add_bos_token"], false);
    assert_eq!(config["model_max_length"], 2048);
    assert_eq!(config["chat_template"][0]["name"], "tool");
    let generation = json("generation_config.json");
    assert_eq!(generation["eos_token_id"], serde_json::json!([end, end - 1]));
}
