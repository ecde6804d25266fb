//! Each bad file is refused with exactly the words beside it.

use crate::fixtures;

#[test]
fn bad_files_are_refused_in_these_words() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures("bad/tensorflow")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "index") {
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let error = tensorflow::read(&bytes, &tensorflow::Options::default());
        let error = error.expect_err(&path.display().to_string());
        let message = path.with_extension("message");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&message, format!("{error}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&message).unwrap();
        assert_eq!(format!("{error}\n"), expected, "{}", path.display());
        count += 1;
    }
    assert_eq!(count, 25);
}
