//! What the user is shown: results on stdout, everything else on stderr.

use std::io::{self, Write};
use std::path::Path;

use crate::ir::{Error, Notes, Result};
use crate::write::{Bar, Progress, Silent, Unit};

/// The message of the error for a standard output that nobody reads any more.
pub(crate) const CLOSED_PIPE: &str = "standard output is closed";

/// Writes a result to standard output.
///
/// # Errors
/// Io if it cannot be written.
pub(crate) fn result(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Error::io(CLOSED_PIPE),
        _ => Error::io(format!("standard output: {error}")),
    })
}

/// Writes a JSON value, on lines of its own, to standard output.
///
/// # Errors
/// Io if it cannot be written.
pub(crate) fn json(value: &serde_json::Value) -> Result<()> {
    result(&format!("{value:#}\n"))
}

/// One line on stderr; a stderr that nobody reads is no reason to fail.
pub(crate) fn line(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The one line that an error is.
pub(crate) fn error(error: &Error) {
    line(&format!("error: {error}"));
}

/// The notes of a run; under `--strict` they are an error.
///
/// # Errors
/// Loss under `--strict`, if there are any.
pub(crate) fn notes(notes: &Notes, quiet: bool, strict: bool) -> Result<()> {
    if !quiet || strict {
        for note in notes.iter() {
            line(&format!("note: {note}"));
        }
    }
    if strict && !notes.is_empty() {
        return Err(Error::loss(format!(
            "{} notes, and --strict makes each an error",
            notes.len()
        )));
    }
    Ok(())
}

/// Writes a file that a flag such as `-o` names, whole or not at all.
///
/// # Errors
/// Io, naming the file.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<()> {
    crate::store::write_file(path, bytes)
}

/// Bytes as people say them.
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.2} {}", units[unit]) }
}

/// A bar for a person who watches, unless that is not wanted.
pub(crate) fn progress(unit: Unit, quiet: bool) -> Box<dyn Progress> {
    if quiet { Box::new(Silent) } else { Bar::on_terminal(unit) }
}
