//! Each bad file is refused with exactly the words beside it.

#[test]
fn bad_files_are_refused_in_these_words() {
    let read = |bytes: &[u8]| tensorflow::read(&bytes, &tensorflow::Options::default());
    assert_eq!(testing::refusals("tensorflow", "index", read), 25);
}
