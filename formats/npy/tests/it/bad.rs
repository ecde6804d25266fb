//! Files that must be refused, with the words to refuse them by.

use crate::read;

/// Each file of `fixtures/bad/npy` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    assert_eq!(testing::refusals("npy", "npy", read), 11);
}

/// Rows 96 to 100 of the hostile corpus: `ok_*` read, `bad_*` do not.
#[test]
fn the_hostile_corpus_is_refused() {
    let Some(folder) = testing::corpus("hostile/npy") else { return };
    let (mut accepted, mut refused) = (0, 0);
    for file in testing::files(folder, "npy") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap();
        match read(&bytes) {
            Ok(_) => {
                assert!(name.starts_with("ok_"), "{name} was read");
                accepted += 1;
            }
            Err(error) => {
                assert!(name.starts_with("bad_"), "{name}: {error}");
                assert!(error.offset <= bytes.len() as u64, "{name}: {error}");
                refused += 1;
            }
        }
    }
    assert!(accepted >= 6 && refused >= 15, "{accepted} read, {refused} refused");
}
