//! Rows 1 to 23 of the hostile corpus, which lies outside this repository.

use safetensors::{Limits, read, read_index};

#[test]
fn hostile_files_are_refused_and_odd_ones_read() {
    let Some(folder) = testing::corpus("hostile/safetensors") else { return };
    let (mut accepted, mut refused) = (0, 0);
    for file in testing::files(&folder, "safetensors") {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap();
        match read(&bytes, &Limits::default()) {
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
    assert!(accepted >= 13 && refused >= 28, "{accepted} read, {refused} refused");
}

/// Cases of `hostile/sharded` whose fault is in the index itself; others are in the files.
const BAD_INDEX: &[&str] = &[
    "bad_absolute",
    "bad_dot",
    "bad_dotdot_valid_target",
    "bad_dup_keys",
    "bad_json_deep",
    "bad_nul_name",
    "bad_value_number",
];

#[test]
fn hostile_indexes_are_refused() {
    let Some(folder) = testing::corpus("hostile/sharded") else { return };
    let (mut accepted, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let text = std::fs::read(entry.path().join("model.safetensors.index.json")).unwrap();
        match read_index(&text) {
            Ok(_) => {
                assert!(!BAD_INDEX.contains(&name.as_str()), "{name} was read");
                accepted += 1;
            }
            Err(error) => {
                // Where only the index is judged, a sound one must not be refused.
                assert!(!name.starts_with("ok_"), "{name}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused >= BAD_INDEX.len() && accepted >= 8, "{accepted} read, {refused} refused");
}
