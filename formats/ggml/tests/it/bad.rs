//! Files that must be refused, with the words to refuse them by.

use std::path::PathBuf;

use crate::{files, root};

/// Each file of `fixtures/bad/ggml` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    let files = files(&root().join("fixtures/bad/ggml"));
    assert_eq!(files.len(), 17);
    for file in files {
        let error = ggml::read(&std::fs::read(&file).unwrap()).expect_err("must be refused");
        let beside = file.with_extension("message");
        let message = format!("{:?}: {error}\n", error.class());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&beside, &message).unwrap();
        }
        assert_eq!(message, std::fs::read_to_string(&beside).unwrap(), "{}", file.display());
    }
}

/// Row 56 of the hostile corpus.
#[test]
fn the_hostile_corpus_is_refused() {
    let corpora = std::env::var_os("REMOLD_CORPORA").map(PathBuf::from);
    let folder = corpora.unwrap_or_else(|| root().join("../shared/corpora")).join("hostile/ggml");
    if !folder.exists() {
        eprintln!("not run: {} is absent (set REMOLD_CORPORA)", folder.display());
        return;
    }
    let count = files(&folder).into_iter().map(|file| {
        let bytes = std::fs::read(&file).unwrap();
        let error = ggml::read(&bytes).expect_err("must be refused");
        assert!(error.offset <= bytes.len() as u64, "{}: {error}", file.display());
    });
    assert_eq!(count.count(), 4);
}
