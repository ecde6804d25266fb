//! Keras → Model: `.h5` of Keras 1 to 3, `.weights.h5`, and `.keras` archives.
//!
//! A tensor is called as Keras 3 calls its variable: the names of the layers that lead to it, then
//! its own: `bidirectional/forward_lstm/lstm_cell/kernel`. Of a legacy name (`conv2d/kernel:0`)
//! the number is left out, and it always begins with the layer that the file lists it under.
//!
//! What Keras needs to find the weights again goes along as metadata, under `keras.…`:
//! the configuration, the weights of each layer in Keras's order, and their paths in Keras 3.

mod current;
mod layers;
mod legacy;
mod refuse;

use std::sync::Arc;

use ::hdf5::File;
use indexmap::IndexMap;
use layers::Kind;

use super::hdf5::{Stored, has_group, texts};
use super::hub::Weights;
use crate::ir::value::List;
use crate::ir::{Blob, Error, Limits, Model, Notes, Result, Value};
use crate::store::Source;

/// The entries of a .keras archive.
const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
const WEIGHTS: &str = "model.weights.h5";

/// Groups in which Keras keeps the state of a training: its optimizer's, its metrics'.
const TRAINING: &[&str] = &["optimizer", "optimizer_weights", "metrics"];

/// Whether the source is an archive of Keras, or HDF5 as Keras lays it out.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    let blob = source.open(name)?;
    if super::head(&blob)?.starts_with(b"PK") {
        let archive = zip::Archive::open(&*blob);
        return Ok(archive.is_ok_and(|a| a.get(CONFIG).is_some() && a.get(METADATA).is_some()));
    }
    if !::hdf5::probe(&*blob)? {
        return Ok(false);
    }
    // A file that cannot be read is left to the reader of HDF5, which says why.
    let file = ::hdf5::open(&*blob, &::hdf5::Limits::default());
    Ok(file.is_ok_and(|file| legacy::is(&file) || current::is(&file)))
}

/// Reads the weights, and the configuration if there is one.
///
/// # Errors
/// What the container says; Malformed for a configuration that makes Keras run code.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::malformed("expected one file"))?;
    let blob = source.open(name)?;
    let place = |error: Error| error.at("keras").at(blob.name());
    let mut found = Found::default();
    let stored = if super::head(&blob)?.starts_with(b"PK") {
        archive(&blob, limits, &mut found, notes).map_err(place)?
    } else {
        Stored::whole(Arc::clone(&blob))
    };
    let stored = Arc::new(stored);
    let file = stored.open("keras", limits, notes)?;
    found.take_attributes(&file, limits, notes).map_err(place)?;
    let from = Weighed { file: &file, stored: &stored, limits };
    if legacy::is(&file) {
        legacy::read(&from, &mut found, notes)?;
    } else {
        current::read(&from, &mut found, notes)?;
    }
    let weights = std::mem::take(&mut found.weights);
    let mut model = super::hdf5::model("keras", weights, source);
    model.config.entries.extend(found.entries());
    Ok(model)
}

/// What weights are taken from.
struct Weighed<'a> {
    file: &'a File,
    stored: &'a Arc<Stored>,
    limits: &'a Limits,
}

/// What is found in a file.
#[derive(Default)]
struct Found {
    weights: Weights,
    /// The configuration of the model.
    config: Option<Value>,
    /// What Keras says of itself, and of the training.
    about: IndexMap<String, Value>,
    /// For each layer the names of its weights, in Keras's order.
    layers: IndexMap<String, Vec<String>>,
    /// Where Keras 3 keeps each tensor.
    paths: IndexMap<String, String>,
    /// States of random generators, by their path: they are no weights.
    seeds: IndexMap<String, Vec<u32>>,
}

impl Found {
    /// Reads the configuration and what else the root of a file says.
    fn take_attributes(&mut self, file: &File, limits: &Limits, notes: &mut Notes) -> Result<()> {
        for (name, key) in [("keras_version", "keras.version"), ("backend", "keras.backend")] {
            let text = ["", "model_weights"].into_iter().find_map(|path| texts(file, path, name));
            if let Some(text) = text.and_then(|texts| texts.into_iter().next()) {
                self.about.insert(key.into(), Value::Text(text));
            }
        }
        for (name, key) in [("model_config", None), ("training_config", Some("keras.training"))] {
            let Some(text) = texts(file, "", name).and_then(|texts| texts.into_iter().next())
            else {
                continue;
            };
            let value = self.checked(text.as_bytes(), name, limits, notes)?;
            match (value, key) {
                (Some(value), Some(key)) => drop(self.about.insert(key.into(), value)),
                (value, _) => self.config = value,
            }
        }
        Ok(())
    }

    /// A configuration, if it is harmless.
    fn checked(
        &self,
        text: &[u8],
        what: &str,
        limits: &Limits,
        notes: &mut Notes,
    ) -> Result<Option<Value>> {
        let value = Value::parse(text).map_err(|error| error.at(what))?;
        match refuse::check(&value) {
            Ok(()) => Ok(Some(value)),
            Err(error) if limits.skip_objects => {
                notes.lost(what, format!("left out, as asked for: {error}"));
                Ok(None)
            }
            Err(error) => Err(error.at(what)),
        }
    }

    /// Adds what is known of a tensor's layer.
    fn tell_kernel(&mut self, name: &str, kind: Option<&Kind>, variable: &str) {
        let Some(tensor) = self.weights.tensors.get(name) else { return };
        if let Some(kernel) = kind.and_then(|kind| kind.kernel(variable, tensor)) {
            self.weights.kernels.insert(name.to_owned(), kernel);
        }
    }

    /// The metadata that go along.
    fn entries(self) -> IndexMap<String, Value> {
        let list = |names: Vec<String>| Value::List(List::Text(names));
        let layers = self.layers.into_iter().map(|(name, weights)| (name, list(weights)));
        let paths = self.paths.into_iter().map(|(name, path)| (name, Value::Text(path)));
        let seeds = self.seeds.into_iter().map(|(path, seed)| (path, Value::List(List::U32(seed))));
        let mut entries = self.about;
        entries.extend(self.config.map(|config| ("keras.config".to_owned(), config)));
        let maps: [(&str, IndexMap<String, Value>); 3] = [
            ("keras.layers", layers.collect()),
            ("keras.paths", paths.collect()),
            ("keras.seeds", seeds.collect()),
        ];
        let filled = maps.into_iter().filter(|(_, map)| !map.is_empty());
        entries.extend(filled.map(|(key, map)| (key.to_owned(), Value::Map(map))));
        entries
    }
}

/// The weights of an archive, and its configuration.
fn archive(
    blob: &Arc<Blob>,
    limits: &Limits,
    found: &mut Found,
    notes: &mut Notes,
) -> Result<Stored> {
    let archive = zip::Archive::open(&**blob)?;
    let entry = |name: &str| {
        let missing = || Error::malformed(format!("the archive holds no {name}"));
        archive.get(name).ok_or_else(missing)
    };
    let weights = entry(WEIGHTS)?;
    let text =
        |name: &str| Ok::<_, Error>(entry(name)?.data(&**blob, limits.side_file, "side-file")?);
    found.config = found.checked(&text(CONFIG)?, CONFIG, limits, notes)?;
    if let Value::Map(about) = Value::parse(&text(METADATA)?).map_err(|e| e.at(METADATA))? {
        let version = about.get("keras_version").cloned();
        found.about.extend(version.map(|version| ("keras.version".to_owned(), version)));
    }
    match weights.method {
        zip::Method::Stored => {
            if limits.checksums && zip::crc32(&**blob, weights.offset, weights.len)? != weights.crc
            {
                let text = "has another checksum than the archive states: damaged";
                return Err(Error::malformed(text).at(WEIGHTS));
            }
            let place = weights.offset..weights.offset + weights.len;
            Ok(Stored::part(Arc::clone(blob), place))
        }
        zip::Method::Deflated => {
            let bytes = weights.data(&**blob, limits.inflated_file, "inflated-file")?;
            Ok(Stored::whole(Arc::new(Blob::memory(blob.name(), bytes))))
        }
    }
}

/// Notes that the state of a training was left out.
fn tell_training(file: &File, notes: &mut Notes) {
    let count = file.datasets().filter(|(path, _)| is_training(path)).count();
    if count > 0 {
        let text = format!("its state, {count} arrays, is left out: it is of use to training only");
        notes.lost("optimizer", text);
    }
}

fn is_training(path: &str) -> bool {
    TRAINING.contains(&path.split('/').next().unwrap_or_default())
}

/// The group in which Keras 3, or the last versions of Keras 2, keep a model's layers.
fn container(file: &File) -> &'static str {
    let older = "_layer_checkpoint_dependencies";
    if has_group(file, older) { older } else { "layers" }
}
