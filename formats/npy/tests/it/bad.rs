//! Files that must be refused, with the words to refuse them by.

use std::path::PathBuf;

use crate::{arrays, root};

/// Each file of `fixtures/bad/npy` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    let files = arrays(&root().join("fixtures/bad/npy"));
    assert_eq!(files.len(), 11);
    for file in files {
        let error = npy::read(&std::fs::read(&file).unwrap()).expect_err("must be refused");
        let beside = file.with_extension("message");
        let message = format!("{:?}: {error}\n", error.class());
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&beside, &message).unwrap();
        }
        assert_eq!(message, std::fs::read_to_string(&beside).unwrap(), "{}", file.display());
    }
}

/// Rows 96 to 100 of the hostile corpus: `ok_*` read, `bad_*` do not.
#[test]
fn the_hostile_corpus_is_refused() {
    let corpora = std::env::var_os("REMOLD_CORPORA").map(PathBuf::from);
    let folder = corpora.unwrap_or_else(|| root().join("../shared/corpora")).join("hostile/npy");
    if !folder.exists() {
        eprintln!("not run: {} is absent (set REMOLD_CORPORA)", folder.display());
        return;
    }
    let (mut read, mut refused) = (0, 0);
    for file in arrays(&folder) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap();
        match npy::read(&bytes) {
            Ok(_) => {
                assert!(name.starts_with("ok_"), "{name} was read");
                read += 1;
            }
            Err(error) => {
                assert!(name.starts_with("bad_"), "{name}: {error}");
                assert!(error.offset <= bytes.len() as u64, "{name}: {error}");
                refused += 1;
            }
        }
    }
    assert!(read >= 6 && refused >= 15, "{read} read, {refused} refused");
}
