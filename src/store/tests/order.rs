//! The order of the calls: what must be on the disk before what is seen.

use super::*;

/// The calls that write these files, none of which fails.
fn calls(target: Target, files: &[(&str, &str)]) -> Vec<String> {
    let ops = Arc::new(Ops { plan: Some(Plan::new(u64::MAX, Errno::IO)) });
    put(FileSink::with_ops(target, Arc::clone(&ops)), files).unwrap();
    ops.plan.as_ref().unwrap().asked()
}

/// Written, on the disk, under its name, and the name on the disk.
#[test]
fn a_file_is_on_the_disk_before_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let found = calls(target(&dir.path().join("x")), &[("x", "content")]);
    let expected = [
        "create temporary x",
        "allocate",
        "write",
        "set length",
        "sync file",
        "rename temporary x to x",
        "sync directory",
    ];
    assert_eq!(found, expected);
    // Scratch work, by --no-sync, waits for nothing.
    let hasty = Target { sync: false, ..over(&dir.path().join("x")) };
    let found = calls(hasty, &[("x", "content")]);
    assert_eq!(
        found,
        expected
            .map(str::to_owned)
            .into_iter()
            .filter(|call| !call.contains("sync"))
            .collect::<Vec<_>>()
    );
}

/// Readers open the index first: the old one goes, for good, before any of its files is replaced,
/// and the new one comes last.
#[test]
fn an_index_goes_first_and_comes_last() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in OLD {
        fs::write(dir.path().join(name), content).unwrap();
    }
    let found = calls(over(&dir.path().join("x")), NEW);
    let names: Vec<&str> = found.iter().map(String::as_str).collect();
    let at = |call: &str| {
        let at = names.iter().position(|found| *found == call);
        at.unwrap_or_else(|| panic!("no '{call}' in {names:?}"))
    };
    let last_file = names.iter().rposition(|call| *call == "sync file").unwrap();
    let seen = [
        last_file,
        at("remove x.index.json"),
        at("sync directory"),
        at("rename temporary a to a.gguf"),
        at("rename temporary b to b.gguf"),
        at("rename temporary x to x.index.json"),
    ];
    assert!(seen.is_sorted(), "{names:?}");
    assert_eq!(names.iter().filter(|call| **call == "sync file").count(), NEW.len());
    assert_eq!(names.last(), Some(&"sync directory"));
}

/// A directory is whole, with its list of names, before it is seen.
#[test]
fn a_directory_is_on_the_disk_before_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target { directory: true, ..over(&dir.path().join("out")) };
    for shown in ["rename temporary out to out", "exchange temporary out and out"] {
        let found = calls(target.clone(), NEW);
        let shown = found.iter().position(|call| call == shown);
        let shown = shown.unwrap_or_else(|| panic!("{found:?}"));
        let before = |call: &str| found[..shown].iter().filter(|found| *found == call).count();
        assert_eq!((before("sync file"), before("sync directory")), (NEW.len(), 1), "{found:?}");
        assert_eq!(found[shown + 1], "sync directory", "{found:?}");
    }
}
