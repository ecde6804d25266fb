//! NumPy's archive of arrays → Model: stored arrays in place, deflated ones when they are asked for.

use std::sync::Arc;

use npy::Array;
use wire::{Class, Why};
use zip::{Archive, Entry, Method};

use super::hub::{self, Weights};
use super::inflate::Inflater;
use super::npy::{Home, container, tensor};
use crate::ir::{Blob, Error, Limits, Model, Notes, Result};
use crate::store::Source;

/// Members are called by their array's name, and this.
const EXTENSION: &str = ".npy";

/// Bytes of a member that hold the header of nearly all arrays: NumPy writes 128.
const HEAD: usize = 1024;

/// Whether the source is a zip archive with arrays in it.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    let blob = source.open(name)?;
    if !super::head(&blob)?.starts_with(b"PK") {
        return Ok(false);
    }
    let archive = Archive::open(&*blob);
    let has_arrays = |archive: Archive| archive.entries.iter().any(|e| e.name.ends_with(EXTENSION));
    Ok(archive.is_ok_and(has_arrays))
}

/// Reads the tensors, in the order of the archive, and what lies beside them.
///
/// # Errors
/// What the containers say; Malformed for a member that is no array.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::usage("name one .npz file"))?;
    let blob = source.open(name)?;
    let weights = file(&blob, limits, notes).map_err(|error| error.at("npz").at(blob.name()))?;
    hub::model("npz", weights, source, limits, notes)
}

fn file(blob: &Arc<Blob>, limits: &Limits, notes: &mut Notes) -> Result<Weights> {
    let archive = Archive::open(&**blob)?;
    let file = Arc::new(Inflater::new(blob, limits));
    let mut weights = Weights::default();
    for entry in archive.entries {
        let Some(name) = entry.name.strip_suffix(EXTENSION).map(str::to_owned) else {
            let text = format!("{} is no array: its name does not end in {EXTENSION}", entry.name);
            return Err(Error::malformed(text));
        };
        let named = |error: Error| error.at(format!("array '{name}'"));
        let array = array(blob, &entry, &container(limits));
        // Those that are deflated are held against their checksums when they are used, if ever.
        let is_used = array.as_ref().is_ok_and(|array| !array.shape.contains(&0));
        if limits.checksums && (entry.method == Method::Stored || !is_used) {
            entry.verify(&**blob)?;
        }
        match array {
            Ok(array) => {
                let home = match entry.method {
                    Method::Stored => Home::File(entry.offset),
                    Method::Deflated => Home::Deflated(entry),
                };
                let tensor = tensor(&file, array, home).map_err(named)?;
                weights.tensors.insert(name, tensor);
            }
            Err(error) if error.class() == Class::Unsupported => {
                let Why::Unsupported { feature } = error.why else { continue };
                weights.refused.insert(name, format!("an array whose {} {feature}", error.what));
            }
            Err(error) if npy::is_object(&error) && limits.skip_objects => {
                notes.lost(name, "an array of Python objects, which are never made: left out");
            }
            Err(error) => return Err(named(error.into())),
        }
    }
    Ok(weights)
}

/// The header of a member.
fn array(blob: &Blob, entry: &Entry, limits: &npy::Limits) -> wire::Result<Array> {
    let mut array = npy::read_head(&entry.head(blob, HEAD)?, entry.inflated, limits);
    if array.is_err() {
        let head = usize::try_from(limits.head()).unwrap_or(usize::MAX);
        array = npy::read_head(&entry.head(blob, head)?, entry.inflated, limits);
    }
    array.map_err(|mut error| {
        // The place in the archive, where the member's bytes lie there as they are.
        if entry.method == Method::Stored {
            error.offset = error.offset.saturating_add(entry.offset);
        }
        error
    })
}
