//! What the tests of tokenizers share: fixtures, and the ways through other files.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use remold::ir::tokenizer::Tokenizer;
use remold::ir::{Config, Notes, Result, Value};
use remold::read;
use remold::run::tokens::Encoder;
use remold::write;

/// A folder of fixtures: texts, and tokenizers with what their own libraries make of them.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of(name: &str) -> Self {
        Self(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name))
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.0.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        serde_json::from_slice(&self.bytes("texts.json")).expect("texts")
    }

    fn expected(&self, name: &str, what: &str) -> Option<Vec<serde_json::Value>> {
        let all = self.bytes(&format!("{name}/expected.json"));
        let all: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
        all.get(what).map(|rows| rows.as_array().expect("a list").clone())
    }

    /// The tokenizer of a folder, from whichever files it has.
    pub(crate) fn read(&self, name: &str) -> Tokenizer {
        let mut notes = Notes::default();
        let read = from_files(&self.0.join(name), &mut notes);
        assert!(notes.is_empty(), "{name}: {notes:?}");
        read
    }

    /// The tokenizer of a folder in which a file has other bytes.
    pub(crate) fn read_with(&self, name: &str, file: &str, bytes: &[u8]) -> Result<Tokenizer> {
        let folder = self.0.join(name);
        let read = |name: &str| match name == file {
            true => Some(bytes.to_vec()),
            false => std::fs::read(folder.join(name)).ok(),
        };
        tokenizer(&read, &mut Notes::default())
    }

    /// Holds a tokenizer against what is expected under this name.
    pub(crate) fn holds(&self, name: &str, tokenizer: &Tokenizer, how: How) {
        let encoder = Encoder::new(tokenizer).expect("fits together");
        let rows = |what| self.expected(name, what);
        let mut seen = 0;
        for (at, text) in self.texts().iter().enumerate() {
            let place = format!("{name}: {text:?}");
            let plain = encoder.encode(text, how.parses, false).expect("encodes");
            let expected = rows("plain").expect("rows");
            assert_eq!(plain, ids(&expected[at]), "{place}");
            if let Some(expected) = rows("prompt") {
                let prompt = encoder.encode(text, how.parses, true).expect("encodes");
                assert_eq!(prompt, ids(&expected[at]), "{place}, prompt");
            }
            if let (Some(expected), true) = (rows("decoded"), how.decodes) {
                let decoded = encoder.decode_text(&plain, false).expect("decodes");
                assert_eq!(decoded, expected[at].as_str().expect("text"), "{place}, decoded");
            }
            seen += 1;
        }
        assert!(seen >= 25, "{name}: {seen} texts");
    }

    /// The places of texts to which a tokenizer gives other ids than are expected under this name.
    pub(crate) fn unlike(&self, name: &str, tokenizer: &Tokenizer, how: How) -> Vec<usize> {
        let encoder = Encoder::new(tokenizer).expect("fits together");
        let rows = self.expected(name, "plain").expect("rows");
        let texts = self.texts();
        let is_unlike = |at: &usize| {
            encoder.encode(&texts[*at], how.parses, false).expect("encodes") != ids(&rows[*at])
        };
        (0..texts.len()).filter(is_unlike).collect()
    }
}

/// How a tokenizer is held against its library.
#[derive(Clone, Copy)]
pub(crate) struct How {
    /// Special tokens in a text are those tokens.
    pub(crate) parses: bool,
    /// The text of the ids is compared too.
    pub(crate) decodes: bool,
}

pub(crate) fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("ids")
}

pub(crate) fn from_files(folder: &Path, notes: &mut Notes) -> Tokenizer {
    let read = tokenizer(&|name| std::fs::read(folder.join(name)).ok(), notes);
    read.unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

fn tokenizer(file: &dyn Fn(&str) -> Option<Vec<u8>>, notes: &mut Notes) -> Result<Tokenizer> {
    let config = file("config.json");
    let config = config.map(|bytes| Value::parse(&bytes).expect("JSON"));
    let config = match config {
        Some(Value::Map(entries)) => Config { entries },
        _ => Config::default(),
    };
    let read = read::tokenizer::read(&|name| Ok(file(name)), &config, notes)?;
    Ok(read.expect("there is a tokenizer"))
}

/// Written as a GGUF file's metadata, and read again; the rows beyond the tokens are taken away.
pub(crate) fn through_gguf(tokenizer: &Tokenizer, notes: &mut Notes) -> Tokenizer {
    let rows = tokenizer.tokens.len();
    let entries = write::tokenizer_gguf::entries(tokenizer, rows, None, notes).expect("writes");
    let entries: IndexMap<_, _> = entries.into_iter().collect();
    read::tokenizer_gguf::read(&entries).expect("reads").expect("a tokenizer")
}

/// Written as tokenizer.json and its companions, and read again.
pub(crate) fn through_json(tokenizer: &Tokenizer, name: &str, notes: &mut Notes) -> Tokenizer {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tokenizers").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    for file in write::tokenizer_json::files(tokenizer, Some(2048), notes).expect("writes") {
        std::fs::write(folder.join(file.name), file.text).expect("writes");
    }
    from_files(&folder, notes)
}
