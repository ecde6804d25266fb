//! A manifest: which files an output was made of, how, and what became of every tensor; in a form
//! that others read.
//!
//! ```text
//!  Statement (in-toto v1)
//!  ├─ subject: the output's files, each with its SHA-256
//!  └─ predicate: Provenance (SLSA v1)
//!     ├─ buildDefinition: the arguments; the source's files, each with its SHA-256
//!     ├─ runDetails: this program and its version
//!     └─ remold_sources, remold_tensors, remold_notes, remold_verification
//! ```
//!
//! Names of files are relative to the manifest's own directory. It holds no time and nothing of
//! the machine: the same run gives the same bytes.
//!
//! Specifications: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>,
//! <https://slsa.dev/spec/v1.0/provenance>, whose extension fields begin with their maker's name.

mod check;
mod tensors;

pub use check::{Checked, Entry, Found, check, read};

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Value as Json, json};

use crate::arch::Fate;
use crate::convert::Made;
use crate::ir::blob::text;
use crate::ir::{Access, Blob, Error, NoteKind, Notes, Result};
use crate::store::Digest;

/// What a statement of in-toto begins with.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// What a statement about how something was made is.
const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// What the arguments and the extension fields mean.
const BUILD_TYPE: &str = "https://github.com/remold/remold/manifest/v1";

/// Who made the output.
const BUILDER: &str = "https://github.com/remold/remold";

/// What a manifest tells of.
pub struct Facts<'a> {
    /// The program's arguments, as they were typed.
    pub arguments: Vec<String>,
    /// The files that were read, each with its path.
    pub sources: &'a [(PathBuf, Arc<Blob>)],
    /// What was made.
    pub made: &'a Made,
    /// Where it is.
    pub target: &'a Path,
    /// What its user should know.
    pub notes: &'a Notes,
    /// What `verify` says of it, if it was asked.
    pub verification: Option<Json>,
}

/// The manifest that is to lie at `path`; reads every file that it names.
///
/// # Errors
/// Io, naming the file.
pub fn statement(path: &Path, facts: &Facts<'_>) -> Result<Json> {
    let base = directory_of(path)?;
    let outputs = facts.made.layout.files.iter().map(|file| {
        let path = facts.made.layout.path_of(file, facts.target);
        let blob = Blob::open(&path, Access::Read)?;
        Ok((path, Arc::new(blob)))
    });
    let outputs: Vec<(PathBuf, Arc<Blob>)> = outputs.collect::<Result<_>>()?;
    let blobs: Vec<Arc<Blob>> = outputs.iter().map(|(_, blob)| Arc::clone(blob)).collect();
    let layout = &facts.made.layout;
    let version = env!("CARGO_PKG_VERSION");
    let notes = facts
        .notes
        .iter()
        .map(|note| json!({ "kind": kind(note.kind), "subject": note.subject, "text": note.text }));
    Ok(json!({
        "_type": STATEMENT,
        "subject": described(&base, &outputs)?,
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": { "arguments": facts.arguments },
                "resolvedDependencies": described(&base, facts.sources)?,
            },
            "runDetails": { "builder": { "id": BUILDER, "version": { "remold": version } } },
            "remold_sources": sources(facts.made),
            "remold_tensors": tensors::of(layout, &blobs, facts.made)?,
            "remold_notes": notes.collect::<Vec<_>>(),
            "remold_verification": facts.verification,
        },
    }))
}

/// Files as in-toto describes a resource, the same one once.
fn described(base: &Path, files: &[(PathBuf, Arc<Blob>)]) -> Result<Vec<Json>> {
    let describe = |(path, blob): &(PathBuf, Arc<Blob>)| {
        let digest = Digest::of_blob(blob)?;
        let name = relative(base, path)?;
        Ok(json!({
            "name": name,
            "digest": { "sha256": digest.to_string() },
            "annotations": { "bytes": blob.size() },
        }))
    };
    files.par_iter().map(describe).collect()
}

/// What became of each tensor of the source.
fn sources(made: &Made) -> Vec<Json> {
    let of = |name: &String| made.source.get(name);
    let source = |(name, fate): &(String, Fate)| {
        let mut fields = fate_json(name, fate);
        if let Some(tensor) = of(name) {
            fields["dtype"] = tensor.dtype().name().into();
            fields["shape"] = tensor.shape().dims().into();
        }
        fields
    };
    made.ledger.iter().map(source).collect()
}

/// One line of the ledger.
pub fn fate_json(name: &str, fate: &Fate) -> Json {
    match fate {
        Fate::Mapped(to) => json!({ "name": name, "fate": "mapped", "to": to }),
        Fate::Tied(to) => json!({ "name": name, "fate": "tied", "to": to }),
        Fate::Fused(to) => json!({ "name": name, "fate": "fused", "to": to }),
        Fate::Dropped(why) => json!({ "name": name, "fate": "dropped", "reason": why }),
    }
}

fn kind(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::Lost => "lost",
        NoteKind::Chosen => "chosen",
        NoteKind::Odd => "odd",
    }
}

/// The directory that a file lies in, without links.
fn directory_of(path: &Path) -> Result<PathBuf> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    parent.canonicalize().map_err(|error| Error::io(error.to_string()).at(parent.display()))
}

/// The way to a file from a directory without links; the file's own name may be that of a link.
fn relative(base: &Path, path: &Path) -> Result<String> {
    let directory = directory_of(path)?;
    let name = path.file_name().ok_or_else(|| Error::bug("a file without a name"))?;
    let shared = base.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(shared).map(|_| Component::ParentDir);
    let down = directory.components().skip(shared);
    let parts: Vec<OsString> =
        up.chain(down).map(|part| part.as_os_str().to_owned()).chain([name.to_owned()]).collect();
    Ok(parts.iter().map(|part| text(part)).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_relative_to_the_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::create_dir_all(root.join("c")).unwrap();
        let name = |base: &str, path: &str| relative(&root.join(base), &root.join(path)).unwrap();
        assert_eq!(name("a", "a/x"), "x");
        assert_eq!(name("a", "a/b/x"), "b/x");
        assert_eq!(name("a/b", "c/x"), "../../c/x");
        assert_eq!(name("a", "a/b/../x"), "x");
    }
}
