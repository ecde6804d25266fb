//! What Flax means by values: arrays under nested names.

use std::collections::BTreeSet;
use std::ops::Range;

use wire::{Error, ReadAt, Result, product};

use crate::value::{Value, parse, parse_head};
use crate::{CHUNKED, Dtype, Limits, ext};

/// An array, and where its elements are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// The keys that lead to it, joined with `/`; of an array alone, `0`.
    pub name: String,
    /// The type of the elements.
    pub dtype: Dtype,
    /// The outermost dimension first.
    pub shape: Vec<u64>,
    /// Where the elements lie: in one piece, or of an array above 1 GiB in several.
    pub pieces: Vec<Range<u64>>,
}

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The arrays, in the order of the file.
    pub arrays: Vec<Array>,
    /// Arrays that are not read, each with what it is: `of type int4`.
    pub refused: Vec<(String, String)>,
    /// Names of what is no array: numbers and texts of Python's.
    pub others: Vec<String>,
}

/// Bytes of an array that hold its shape, of up to 64 dimensions, and the name of its type.
const HEAD: usize = 1024;

/// Whether a file that begins with `head` can be one: a map whose first key is a text, and whose
/// first value is a map or an array.
pub fn probe(head: &[u8]) -> bool {
    let after_map = match head {
        [0x81..=0x8F, rest @ ..] | [0xDE, _, _, rest @ ..] | [0xDF, _, _, _, _, rest @ ..] => rest,
        _ => return false,
    };
    let (len, rest) = match after_map {
        [len @ 0xA1..=0xBF, rest @ ..] => (usize::from(len & 31), rest),
        [0xD9, len, rest @ ..] => (usize::from(*len), rest),
        _ => return false,
    };
    let Some((key, after)) = rest.split_at_checked(len) else { return false };
    let is_text = std::str::from_utf8(key).is_ok_and(|key| !key.contains(char::is_control));
    let is_tree = matches!(
        after,
        [0x80..=0x8F | 0xDE | 0xDF, ..]
            | [0xC7, _, 1..=3, ..]
            | [0xC8, _, _, 1..=3, ..]
            | [0xC9, _, _, _, _, 1..=3, ..]
            | [0xD4..=0xD8, 1..=3, ..]
    );
    // A TrainState begins with a number: its step.
    is_text && (is_tree || key == b"step")
}

/// Reads names, types and places of all arrays; no element is read.
///
/// # Errors
/// As [`parse`]; `Invalid` for arrays whose bytes are not what shape and type say, and for names
/// that stand twice.
pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Tree> {
    let root = parse(source, 0..source.size(), limits)?;
    let mut reader = Reader { source, limits, tree: Tree::default(), names: BTreeSet::new() };
    reader.value("", root)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    source: &'a dyn ReadAt,
    limits: &'a Limits,
    tree: Tree,
    names: BTreeSet<String>,
}

/// An array as its extension says it, or its type where that is not known.
enum Found {
    Array(Dtype, Vec<u64>, Range<u64>),
    OfType(String),
}

impl Reader<'_> {
    /// Takes the values below a path; nesting was bounded when they were parsed.
    fn value(&mut self, path: &str, value: Value) -> Result<()> {
        match value {
            Value::Map(pairs) if is_chunked(&pairs) => self.chunked(path, &pairs),
            Value::Map(pairs) => pairs.into_iter().try_for_each(|(key, value)| {
                let key = key_text(path, key)?;
                self.value(&joined(path, &key), value)
            }),
            Value::List(items) => (0u64..)
                .zip(items)
                .try_for_each(|(index, item)| self.value(&joined(path, &index.to_string()), item)),
            Value::Ext(ext::ARRAY | ext::SCALAR, place) => match self.found(path, place)? {
                Found::Array(dtype, shape, piece) => self.add(path, dtype, shape, vec![piece]),
                Found::OfType(name) => self.refuse(path, format!("of type {name}")),
            },
            Value::Ext(kind, _) if kind != ext::COMPLEX => {
                self.refuse(path, format!("of MessagePack's extension type {kind}"))
            }
            _ => {
                self.tree.others.push(own(path));
                Ok(())
            }
        }
    }

    fn named(&mut self, path: &str, at: u64) -> Result<String> {
        let name = own(path);
        if !self.names.insert(name.clone()) {
            let rule = format!("two values are called {name:?}");
            return Err(Error::invalid(at, "tree", rule));
        }
        Ok(name)
    }

    fn add(
        &mut self,
        path: &str,
        dtype: Dtype,
        shape: Vec<u64>,
        pieces: Vec<Range<u64>>,
    ) -> Result<()> {
        let at = pieces.first().map_or(0, |piece| piece.start);
        let name = self.named(path, at)?;
        self.tree.arrays.push(Array { name, dtype, shape, pieces });
        Ok(())
    }

    fn refuse(&mut self, path: &str, what: String) -> Result<()> {
        let name = self.named(path, 0)?;
        self.tree.refused.push((name, what));
        Ok(())
    }

    /// An array's extension: shape, name of the type, elements.
    fn found(&self, path: &str, place: Range<u64>) -> Result<Found> {
        let at = place.start;
        let broken = |rule: &str| Error::invalid(at, format!("array {path:?}"), rule);
        let Value::List(parts) = parse_head(self.source, place, HEAD, self.limits)? else {
            return Err(broken("it is no list of shape, type and elements"));
        };
        let [shape, dtype, Value::Bytes(data)] = &parts[..] else {
            return Err(broken("it is no list of shape, type and elements"));
        };
        let Value::List(shape) = shape else { return Err(broken("its shape is no list")) };
        let Value::Text(dtype) = dtype else { return Err(broken("its type is no text")) };
        let shape = shape.iter().map(|dim| match dim {
            Value::Int(dim) => u64::try_from(*dim).ok(),
            _ => None,
        });
        let shape: Vec<u64> = shape
            .collect::<Option<_>>()
            .ok_or_else(|| broken("its shape is no list of numbers from 0 on"))?;
        let Some(dtype) = Dtype::named(dtype) else { return Ok(Found::OfType(dtype.clone())) };
        let stated = product(&[shape.as_slice(), &[dtype.bytes()]].concat());
        let len = data.end.saturating_sub(data.start);
        if stated != Some(len) {
            let rule = format!("{} of shape {shape:?} in {len} bytes", dtype.name());
            return Err(broken(&rule));
        }
        Ok(Found::Array(dtype, shape, data.clone()))
    }

    /// An array in pieces.
    fn chunked(&mut self, path: &str, pairs: &[(Value, Value)]) -> Result<()> {
        // Where its first piece is, as near as anything of it.
        let places = numbered(pairs, "chunks").unwrap_or_default().into_iter();
        let at = places.filter_map(|chunk| match chunk {
            Value::Ext(_, place) => Some(place.start),
            _ => None,
        });
        let at = at.min().unwrap_or(0);
        let broken =
            |rule: String| Error::invalid(at, format!("array in pieces {:?}", own(path)), rule);
        let shape = numbered(pairs, "shape").ok_or_else(|| broken("it has no shape".into()))?;
        let shape = shape.into_iter().map(|dim| match dim {
            Value::Int(dim) => u64::try_from(*dim).ok(),
            _ => None,
        });
        let shape: Option<Vec<u64>> = shape.collect();
        let shape = shape.ok_or_else(|| broken("its shape is not of numbers from 0 on".into()))?;
        let chunks = numbered(pairs, "chunks").ok_or_else(|| broken("it has no chunks".into()))?;
        let (mut pieces, mut known, mut count) = (Vec::new(), None, 0u64);
        for chunk in chunks {
            let Value::Ext(ext::ARRAY, place) = chunk else {
                return Err(broken("a chunk is no array".into()));
            };
            let (dtype, lens, piece) = match self.found(path, place.clone())? {
                Found::Array(dtype, lens, piece) => (dtype, lens, piece),
                Found::OfType(name) => return self.refuse(path, format!("of type {name}")),
            };
            if known.is_some_and(|known| known != dtype) {
                return Err(broken("its chunks are of two types".into()));
            }
            known = Some(dtype);
            count = count.saturating_add(product(&lens).unwrap_or(u64::MAX));
            pieces.push(piece);
        }
        let dtype = known.ok_or_else(|| broken("it has no chunks".into()))?;
        if product(&shape) != Some(count) {
            return Err(broken(format!("{count} elements for the shape {shape:?}")));
        }
        self.add(path, dtype, shape, pieces)
    }
}

fn is_chunked(pairs: &[(Value, Value)]) -> bool {
    pairs.iter().any(|(key, _)| matches!(key, Value::Text(key) if key == CHUNKED))
}

/// The items of a tuple that is written as a map from "0", "1", … on.
fn numbered<'a>(pairs: &'a [(Value, Value)], key: &str) -> Option<Vec<&'a Value>> {
    let is = |name: &Value, wanted: &str| matches!(name, Value::Text(name) if name == wanted);
    let Value::Map(items) = &pairs.iter().find(|(name, _)| is(name, key))?.1 else { return None };
    // Written in order; in which order they are found says nothing.
    let mut sorted: Vec<(u64, &Value)> = Vec::new();
    for (name, item) in items {
        let Value::Text(name) = name else { return None };
        sorted.push((name.parse().ok()?, item));
    }
    sorted.sort_by_key(|(index, _)| *index);
    let is_whole = (0u64..).zip(&sorted).all(|(wanted, (index, _))| wanted == *index);
    is_whole.then(|| sorted.into_iter().map(|(_, item)| item).collect())
}

fn key_text(path: &str, key: Value) -> Result<String> {
    match key {
        Value::Text(text) => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(Error::invalid(0, "map key", format!("below {path:?}: no text, and no number"))),
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") }
}

/// What an array alone is called.
fn own(path: &str) -> String {
    if path.is_empty() { "0".to_owned() } else { path.to_owned() }
}
