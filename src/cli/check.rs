//! `remold check`: whether files are those that a manifest names.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::{Outcome, report};
use crate::ir::error::escape;
use crate::ir::{Access, Blob, Error, Limits, Result};
use crate::manifest::{self, Checked, Found};

/// Compares files with the manifest that convert and quantize wrote of them (exit 1 if one differs)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest, as --manifest writes it.
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// The files of the source, too; else only those of the output.
    #[arg(long)]
    sources: bool,
    /// The directory that files may lie in; the manifest's own unless given.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let shown = self.manifest.display();
        let blob = Blob::open(&self.manifest, Access::Read)?;
        let text = blob.read_all(Limits::default().side_file)?;
        let mut entries = manifest::read(&text).map_err(|error| error.at(&shown))?;
        entries.retain(|entry| self.sources || !entry.is_source);
        let checked = manifest::check(&self.manifest, entries, self.root.as_deref());
        let checked = checked.map_err(|error| error.at(&shown))?;
        if self.json {
            report::json(&json!({ "files": checked.iter().map(to_json).collect::<Vec<_>>() }))?;
        } else {
            let lines: Vec<String> = checked.iter().map(line).collect();
            report::result(&lines.concat())?;
        }
        if checked.iter().any(|file| matches!(file.found, Found::Other(_))) {
            return Ok(Outcome::Differs);
        }
        match checked.iter().find(|file| file.found == Found::Missing) {
            Some(file) => {
                let text = format!("'{}' is missing", file.entry.name);
                Err(Error::io(text).at(&shown))
            }
            None => Ok(Outcome::Done),
        }
    }
}

fn line(file: &Checked) -> String {
    let name = escape(&file.entry.name);
    match &file.found {
        Found::Equal => format!("equal    {name}\n"),
        Found::Missing => format!("missing  {name}\n"),
        Found::Other(found) => {
            format!("differs  {name}: found sha256 {found}, expected {}\n", file.entry.sha256)
        }
    }
}

fn to_json(file: &Checked) -> Json {
    let (found, sha256) = match &file.found {
        Found::Equal => ("equal", Some(&file.entry.sha256)),
        Found::Other(found) => ("differs", Some(found)),
        Found::Missing => ("missing", None),
    };
    let of = if file.entry.is_source { "source" } else { "output" };
    json!({
        "name": file.entry.name,
        "of": of,
        "result": found,
        "found": sha256,
        "expected": file.entry.sha256,
    })
}
