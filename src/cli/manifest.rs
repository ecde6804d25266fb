//! What `--manifest` and `--provenance` add to a conversion.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::args::Writing;
use crate::convert::Made;
use crate::ir::blob::text;
use crate::ir::value::List;
use crate::ir::{Blob, Error, Notes, Result, Value};
use crate::manifest::{self, Facts};
use crate::store::{self, Digest, Target};

/// The files that an output is made of, with their paths.
pub(super) struct Origin {
    pub(super) files: Vec<(PathBuf, Arc<Blob>)>,
}

impl Origin {
    /// The digest of every file, in the lines that `sha256sum` writes and checks.
    ///
    /// # Errors
    /// Io, naming the file.
    pub(super) fn lines(&self) -> Result<Value> {
        let line = |(path, blob): &(PathBuf, Arc<Blob>)| {
            let name = path.file_name().map(text).unwrap_or_default();
            Ok(format!("{}  {name}", Digest::of_blob(blob)?))
        };
        Ok(Value::List(List::Text(self.files.iter().map(line).collect::<Result<_>>()?)))
    }

    /// Refuses a manifest that could not be written, before there is anything to tell of.
    ///
    /// # Errors
    /// Usage if it is an input; Io if its directory cannot be written.
    pub(super) fn refuse_early(&self, writing: &Writing, output: &Path) -> Result<()> {
        match &writing.manifest {
            // The output's own directory appears with the output.
            Some(path) if path.parent() == Some(output) => Ok(()),
            Some(path) => store::refuse_early(&self.target(path, writing)),
            None => Ok(()),
        }
    }

    fn target(&self, path: &Path, writing: &Writing) -> Target {
        let inputs = self.files.iter().map(|(_, blob)| Arc::clone(blob)).collect();
        Target { sync: !writing.no_sync, ..Target::report(path, inputs) }
    }

    /// Writes the manifest, if one was asked for.
    ///
    /// # Errors
    /// Io from reading what it names, and from writing.
    pub(super) fn write(
        &self,
        writing: &Writing,
        (made, output): (&Made, &Path),
        notes: &Notes,
        verification: Option<Json>,
    ) -> Result<()> {
        let Some(path) = &writing.manifest else { return Ok(()) };
        let arguments = std::env::args_os().skip(1).map(|argument| text(&argument)).collect();
        let (sources, target) = (&*self.files, output);
        let facts = Facts { arguments, sources, made, target, notes, verification };
        let statement = manifest::statement(path, &facts)?;
        for (_, blob) in &self.files {
            blob.check_unchanged()?;
        }
        let bytes =
            serde_json::to_vec_pretty(&statement).map_err(|error| Error::bug(error.to_string()))?;
        store::write_to(self.target(path, writing), &[&*bytes, b"\n"].concat())
    }
}
