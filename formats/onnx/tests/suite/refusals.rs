//! Each bad file is refused with exactly the words beside it.

use crate::models;

#[test]
fn bad_files_are_refused_in_these_words() {
    let paths = models("bad/onnx");
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        let error = onnx::read(&bytes).expect_err(&path.display().to_string());
        let message = path.with_extension("message");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&message, format!("{error}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&message).unwrap();
        assert_eq!(format!("{error}\n"), expected, "{}", path.display());
    }
    assert_eq!(paths.len(), 12);
}
