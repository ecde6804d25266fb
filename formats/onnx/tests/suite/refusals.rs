//! Each bad file is refused with exactly the words beside it.

#[test]
fn bad_files_are_refused_in_these_words() {
    let read = |bytes: &[u8]| onnx::read(&bytes, &onnx::Limits::default());
    assert_eq!(testing::refusals("onnx", "onnx", read), 12);
}
