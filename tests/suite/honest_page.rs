//! docs/safety.md says which test holds which case: the tests are there, and no case is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the tests of a module may be: of the program, of a container, beside the code.
fn homes(module: &str) -> Vec<PathBuf> {
    let mut homes = vec![format!("tests/suite/{module}.rs"), format!("src/{module}.rs")];
    if let Some((container, file)) = module.split_once('/') {
        let folder = format!("formats/{container}/tests");
        homes.extend(["suite/", "it/", ""].map(|inner| format!("{folder}/{inner}{file}.rs")));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    homes.iter().map(|home| root.join(home)).collect()
}

/// Whether a test of this name, `MODULE::FUNCTION`, exists.
fn exists(test: &str) -> bool {
    let Some((module, function)) = test.split_once("::") else { return false };
    let texts = homes(module).into_iter().filter_map(|home| fs::read_to_string(home).ok());
    let function = format!("fn {function}()");
    texts.into_iter().any(|text| {
        let before = text.split(&function).next().filter(|before| before.len() < text.len());
        before.is_some_and(|before| before.trim_end().ends_with("#[test]"))
    })
}

/// The rows that a line is of: a number, or the first and the last of several.
fn rows(line: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let first = line.strip_prefix("| ")?.split(" |").next()?;
    let (from, to) = first.split_once('–').unwrap_or((first, first));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

#[test]
fn every_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/safety.md")).expect("the page");
    let (mut named, mut seen) = (0, BTreeSet::new());
    for line in page.lines() {
        let quoted: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        for test in quoted.iter().filter(|text| text.contains("::") && !text.contains('…')) {
            assert!(exists(test), "docs/safety.md names {test}, which is no test");
            named += 1;
        }
        for script in quoted.iter().filter(|text| text.starts_with("scripts/")) {
            assert!(root.join(script).exists(), "docs/safety.md names {script}");
        }
        let Some(rows) = rows(line) else { continue };
        let is_held =
            !quoted.is_empty() || line.contains("corpus") || line.contains("there is none");
        assert!(is_held, "nothing holds: {line}");
        seen.extend(rows);
    }
    assert_eq!(seen, (1..=145).collect(), "every row");
    assert!(named > 80, "only {named} tests are named");
}
