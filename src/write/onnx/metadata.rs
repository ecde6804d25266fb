//! What a model says of itself, changed by hand: `--set` and `--unset`, under the keys of `inspect`.

use onnx::fields::{entry, model};
use onnx::{Field, Message};

use super::rewrite::Out;
use crate::ir::{Error, Result};
use crate::write::Edits;

/// Texts of a model by their keys.
const TEXTS: &[(&str, u64)] = &[
    ("onnx.producer_name", model::PRODUCER_NAME),
    ("onnx.producer_version", model::PRODUCER_VERSION),
    ("onnx.domain", model::DOMAIN),
    ("onnx.doc_string", model::DOC_STRING),
];

/// What the author's own keys begin with.
const OWN: &str = "onnx.metadata.";

/// What is to become of a text.
enum Change<'e> {
    Set(&'e str),
    Unset,
}

/// A text of a model.
#[derive(Debug, PartialEq)]
enum Place<'e> {
    Field(u64),
    Entry(&'e str),
}

/// The changes that are asked for, each until it is made.
pub(super) struct Metadata<'e> {
    left: Vec<(Place<'e>, Change<'e>)>,
}

impl<'e> Metadata<'e> {
    /// # Errors
    /// Usage for keys that no text of a model has.
    pub(super) fn new(edits: &'e Edits) -> Result<Self> {
        let mut left = Vec::new();
        for (key, text) in &edits.set {
            left.push((place(key, "--set")?, Change::Set(text)));
        }
        for key in &edits.unset {
            left.push((place(key, "--unset")?, Change::Unset));
        }
        Ok(Self { left })
    }

    /// Writes a field of the original as it is to be; `key` is that of an entry. Whether it was
    /// one that changes.
    pub(super) fn field(&mut self, out: &mut Out, field: &Field, key: Option<&str>) -> bool {
        let found = self.left.iter().position(|(place, _)| match (place, key) {
            (Place::Entry(own), Some(key)) => *own == key,
            (Place::Field(number), None) => *number == field.number,
            _ => false,
        });
        let Some(at) = found else { return false };
        let (place, change) = self.left.remove(at);
        write(out, &place, &change);
        true
    }

    /// Writes what the original has not.
    ///
    /// # Errors
    /// Usage for keys to remove that are not there.
    pub(super) fn rest(self, out: &mut Out) -> Result<()> {
        for (place, change) in self.left {
            if let Change::Unset = change {
                let key = match place {
                    Place::Entry(key) => format!("{OWN}{key}"),
                    Place::Field(number) => {
                        let row = TEXTS.iter().find(|row| row.1 == number);
                        row.map_or("", |row| row.0).to_owned()
                    }
                };
                return Err(Error::usage(format!("--unset {key}: the output has no such key")));
            }
            write(out, &place, &change);
        }
        Ok(())
    }
}

fn place<'e>(key: &'e str, option: &str) -> Result<Place<'e>> {
    let own = key.strip_prefix(OWN).filter(|own| !own.is_empty()).map(Place::Entry);
    let row = TEXTS.iter().find(|row| row.0 == key).map(|row| Place::Field(row.1));
    own.or(row).ok_or_else(|| {
        let known: Vec<&str> = TEXTS.iter().map(|row| row.0).collect();
        let known = known.join(", ");
        Error::usage(format!("{option} {key}: in an ONNX are {OWN}KEY, {known}"))
    })
}

fn write(out: &mut Out, place: &Place<'_>, change: &Change<'_>) {
    match (place, change) {
        (_, Change::Unset) => {}
        (Place::Field(number), Change::Set(text)) => out.text(*number, text),
        (Place::Entry(key), Change::Set(text)) => {
            let mut inner = Message::default();
            inner.text(entry::KEY, key);
            inner.text(entry::VALUE, text);
            out.message(model::METADATA_PROPS, inner);
        }
    }
}
