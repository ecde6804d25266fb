//! Each bad file is refused with exactly the words beside it.

use crate::read;

#[test]
fn bad_files_are_refused_in_these_words() {
    assert_eq!(testing::refusals("torch", "pt", read), 8);
}
