//! Files that must be refused, with the words to refuse them by.

/// Each file of `fixtures/bad/ggml` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    assert_eq!(testing::refusals("ggml", "bin", |bytes| ggml::read(&bytes)), 17);
}

/// Row 56 of the hostile corpus.
#[test]
fn the_hostile_corpus_is_refused() {
    let Some(folder) = testing::corpus("hostile/ggml") else { return };
    let count = testing::files(folder, "bin").into_iter().map(|file| {
        let bytes = std::fs::read(&file).unwrap();
        let error = ggml::read(&bytes).expect_err("must be refused");
        assert!(error.offset <= bytes.len() as u64, "{}: {error}", file.display());
    });
    assert_eq!(count.count(), 4);
}
