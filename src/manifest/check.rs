//! A manifest against the files that it names.

use std::path::{Component, Path, PathBuf};

use crate::ir::{Access, Blob, Error, Result, Value};
use crate::store::{Digest, Files, Source};

use super::{PROVENANCE, STATEMENT, directory_of};

/// A file that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The way to it from the manifest's directory.
    pub name: String,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Whether it is of the source, and not of the output.
    pub is_source: bool,
}

/// A file that was looked at.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the manifest says.
    pub entry: Entry,
    /// What is there.
    pub found: Found,
}

/// What is there in the place of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// What the manifest says.
    Equal,
    /// Something of this SHA-256.
    Other(String),
    /// Nothing.
    Missing,
}

/// Which files a manifest names: those of the output, then those of the source.
///
/// # Errors
/// Malformed, naming the field, if it is not a statement about files with a SHA-256 each.
pub fn read(text: &[u8]) -> Result<Vec<Entry>> {
    let all = Value::parse(text)?;
    expect(&all, "_type", STATEMENT)?;
    expect(&all, "predicateType", PROVENANCE)?;
    let mut entries = files(&all, &["subject"], false)?;
    if entries.is_empty() {
        return Err(Error::malformed("subject: names no file"));
    }
    let path = ["predicate", "buildDefinition", "resolvedDependencies"];
    entries.extend(files(&all, &path, true)?);
    Ok(entries)
}

fn expect(all: &Value, key: &str, expected: &str) -> Result<()> {
    match all.get(key).and_then(Value::as_text) {
        Some(found) if found == expected => Ok(()),
        Some(found) => {
            Err(Error::malformed(format!("{key}: found '{found}', expected '{expected}'")))
        }
        None => Err(Error::malformed(format!("{key} is missing, expected '{expected}'"))),
    }
}

/// The resources of a list, as in-toto describes them.
fn files(all: &Value, path: &[&str], is_source: bool) -> Result<Vec<Entry>> {
    let shown = path.join(".");
    let list = path.iter().try_fold(all, |value, key| value.get(key));
    let Some(Value::List(list)) = list else {
        return Err(Error::malformed(format!("{shown}: expected a list")));
    };
    let entry = |(at, item): (usize, Value)| {
        let wrong = |what: &str| Error::malformed(format!("{shown}[{at}].{what}"));
        let text = |value: Option<&Value>| value.and_then(Value::as_text).map(str::to_owned);
        let name = text(item.get("name")).ok_or_else(|| wrong("name: expected a text"))?;
        let digest = item.get("digest").and_then(|digest| digest.get("sha256"));
        let digest = text(digest).filter(|text| is_sha256(text));
        let sha256 = digest
            .ok_or_else(|| wrong("digest.sha256: expected 64 hexadecimal digits in lower case"))?;
        Ok(Entry { name, sha256, is_source })
    };
    let items = (0..list.len()).filter_map(|at| Some((at, list.get(at)?)));
    items.map(entry).collect()
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// Looks at every file of `entries`. None outside of `root` is opened; without one, none outside
/// of the manifest's own directory.
///
/// # Errors
/// Malformed for a name that leads out of the root; Io from reading.
pub fn check(path: &Path, entries: Vec<Entry>, root: Option<&Path>) -> Result<Vec<Checked>> {
    let base = directory_of(path)?;
    let root = match root {
        Some(root) => {
            root.canonicalize().map_err(|error| Error::io(error.to_string()).at(root.display()))?
        }
        None => base.clone(),
    };
    let below = base.strip_prefix(&root).map_err(|_| {
        let text = "the manifest lies outside of it, so every name leads out of it";
        Error::usage(format!("--root {}: {text}", root.display()))
    })?;
    let source = Files::open(&root, Access::Read)?;
    let look = |entry: Entry| {
        let name = inside(below, &entry.name).ok_or_else(|| {
            let text = "leads out of the directory that files may lie in; --root DIR names another";
            Error::malformed(format!("'{}' {text}", entry.name))
        })?;
        let found = match source.find(&name)? {
            None => Found::Missing,
            Some(blob) => compare(&blob, &entry.sha256)?,
        };
        Ok(Checked { entry, found })
    };
    entries.into_iter().map(look).collect()
}

fn compare(blob: &Blob, expected: &str) -> Result<Found> {
    let digest = Digest::of_blob(blob)?.to_string();
    blob.check_unchanged()?;
    Ok(if digest == expected { Found::Equal } else { Found::Other(digest) })
}

/// The name, seen from the root; nothing if it leads out of it. `..` is taken as text, before
/// anything is opened; links are followed by the source, which keeps them inside.
fn inside(below: &Path, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = below.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    if Path::new(name).components().any(|part| part == Component::RootDir) {
        return None;
    }
    for part in name.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.iter().collect::<PathBuf>().to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn text(name: &str, digest: &str) -> String {
        let resource = format!(r#"[{{"name":"{name}","digest":{{"sha256":"{digest}"}}}}]"#);
        format!(
            r#"{{"_type":"{STATEMENT}","subject":{resource},"predicateType":"{PROVENANCE}",
               "predicate":{{"buildDefinition":{{"resolvedDependencies":{resource}}}}}}}"#
        )
    }

    #[test]
    fn a_manifest_that_is_none_is_refused_with_its_field() {
        let good = text("a", DIGEST);
        assert_eq!(read(good.as_bytes()).unwrap().len(), 2);
        let bad = [
            ("[]".to_owned(), "_type is missing"),
            (good.replace("Statement/v1", "Statement/v9"), "_type: found"),
            (good.replace("provenance/v1", "else"), "predicateType: found"),
            (good.replace("\"subject\"", "\"object\""), "subject: expected a list"),
            (good.replace("\"name\"", "\"uri\""), "subject[0].name: expected a text"),
            (text("a", "BA78"), "subject[0].digest.sha256: expected 64"),
            (text("a", &DIGEST.to_uppercase()), "digest.sha256"),
            (good.replace("resolvedDependencies", "x"), "resolvedDependencies: expected a list"),
            (good.replace("{\"_type\"", "{\"_type\":\"x\",\"_type\""), "_type"),
            (good[..good.len() - 1].to_owned(), "JSON"),
        ];
        for (text, words) in bad {
            let error = read(text.as_bytes()).unwrap_err();
            assert_eq!(error.fault, Fault::Malformed, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn no_name_leads_out_of_the_root() {
        let inside = |below: &str, name: &str| inside(Path::new(below), name);
        assert_eq!(inside("", "a/b"), Some("a/b".into()));
        assert_eq!(inside("out", "../in/x"), Some("in/x".into()));
        for (below, name) in [("", "../x"), ("out", "../../x"), ("", "a/../../x"), ("", "/etc/x")] {
            assert_eq!(inside(below, name), None, "{name}");
        }
    }

    #[test]
    fn links_out_of_the_root_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap().join("out");
        std::fs::create_dir(&at).unwrap();
        std::fs::write(dir.path().join("secret"), "abc").unwrap();
        std::os::unix::fs::symlink("../secret", at.join("link")).unwrap();
        let manifest = at.join("m.json");
        let entries =
            |name: &str| vec![Entry { name: name.into(), sha256: DIGEST.into(), is_source: false }];
        for name in ["link", "../secret", "/etc/passwd", "a\\b"] {
            let error = check(&manifest, entries(name), None).unwrap_err();
            assert_eq!(error.fault, Fault::Malformed, "{error}");
        }
        let found = |name, root| check(&manifest, entries(name), root).unwrap()[0].found.clone();
        assert_eq!(found("../secret", Some(dir.path())), Found::Equal);
        assert_eq!(found("absent", None), Found::Missing);
        let elsewhere = tempfile::tempdir().unwrap();
        let error = check(&manifest, entries("x"), Some(elsewhere.path())).unwrap_err();
        assert_eq!(error.fault, Fault::Usage);
    }
}
