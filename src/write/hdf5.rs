//! Model → HDF5: every tensor an array under its name, in which `/` parts groups.

use std::collections::BTreeMap;

use ::hdf5::{Element, Float, Text, Tree};

use super::WriteOptions;
use super::hub;
use super::layout::{FilePlan, Layout, Part};
use crate::ir::{DType, Error, Model, Notes, Result, Tensor};

/// The layout of the file that this model becomes.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that HDF5 lacks or a name that is no path; Usage
/// for parts and directories.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let mut file = Arrays::new("HDF5", model, options, notes)?;
    for (name, tensor) in &model.tensors {
        file.add(name, name, tensor)?;
    }
    file.layout(options)
}

/// The arrays of a file, and where each tensor goes.
pub(super) struct Arrays<'m> {
    pub(super) tree: Tree,
    /// Name and recipe of each tensor, by its path.
    tensors: BTreeMap<String, (&'m String, &'m Tensor)>,
    /// The content of small arrays that are no tensors, by their path.
    bytes: BTreeMap<String, Vec<u8>>,
}

impl<'m> Arrays<'m> {
    /// An empty file of this kind.
    pub(super) fn new(
        kind: &str,
        model: &Model,
        options: &WriteOptions,
        notes: &mut Notes,
    ) -> Result<Self> {
        options.split.refuse(&format!("{kind} is one file"))?;
        if options.directory {
            return Err(Error::usage(format!("{kind} is one file, not a directory")));
        }
        hub::tensors_only(kind, model, options, notes)?;
        Ok(Self { tree: Tree::default(), tensors: BTreeMap::new(), bytes: BTreeMap::new() })
    }

    /// Adds a tensor.
    pub(super) fn add(&mut self, path: &str, name: &'m String, tensor: &'m Tensor) -> Result<()> {
        let named = |error: Error| error.at(name);
        let element = element(tensor.dtype()).map_err(named)?;
        let added = self.tree.array(path, element, tensor.shape().dims());
        added.map_err(|error| named(unwritable(error)))?;
        if tensor.dtype() == DType::BF16 {
            // As Keras says it of bytes that h5py knows no type for.
            let added = self.tree.attribute(path, "dtype", Text::One("bfloat16".into()));
            added.map_err(unwritable)?;
        }
        self.tensors.insert(path.to_owned(), (name, tensor));
        Ok(())
    }

    /// Adds a few numbers that are no tensor.
    pub(super) fn add_numbers(&mut self, path: &str, numbers: &[u32]) -> Result<()> {
        let element = Element::Integer(4, false);
        let added = self.tree.array(path, element, &[numbers.len() as u64]);
        added.map_err(unwritable)?;
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.bytes.insert(path.to_owned(), bytes);
        Ok(())
    }

    pub(super) fn attribute(&mut self, path: &str, name: &str, value: Text) -> Result<()> {
        self.tree.attribute(path, name, value).map_err(unwritable)
    }

    /// The file of these arrays.
    pub(super) fn layout(mut self, options: &WriteOptions) -> Result<Layout> {
        let plan = self.tree.plan().map_err(unwritable)?;
        let mut parts = vec![(0, Part::Bytes(plan.header))];
        for (path, range) in plan.data {
            let part = match (self.tensors.get(&path), self.bytes.remove(&path)) {
                (Some((name, tensor)), _) => {
                    Part::Tensor { name: (*name).clone(), tensor: (*tensor).clone() }
                }
                (None, Some(bytes)) => Part::Bytes(bytes),
                (None, None) => return Err(Error::bug("an array of nothing").at(path)),
            };
            parts.push((range.start, part));
        }
        // What is empty lies before what begins there.
        parts.sort_by_key(|(offset, part)| (*offset, part.len()));
        let file = FilePlan { name: options.name.clone(), len: plan.len, parts };
        Ok(Layout { files: vec![file], directory: false })
    }
}

fn unwritable(error: wire::Error) -> Error {
    Error::unsupported(format!("HDF5: cannot be written: {error}"))
}

fn element(dtype: DType) -> Result<Element> {
    Ok(match dtype {
        DType::F64 => Element::Float(Float::F64, 8),
        DType::F32 => Element::Float(Float::F32, 4),
        DType::F16 => Element::Float(Float::F16, 2),
        DType::BF16 => Element::Opaque(2),
        DType::C64 => Element::Complex(Float::F32, 4),
        DType::C128 => Element::Complex(Float::F64, 8),
        DType::I64 => Element::Integer(8, true),
        DType::I32 => Element::Integer(4, true),
        DType::I16 => Element::Integer(2, true),
        DType::I8 => Element::Integer(1, true),
        DType::U64 => Element::Integer(8, false),
        DType::U32 => Element::Integer(4, false),
        DType::U16 => Element::Integer(2, false),
        DType::U8 => Element::Integer(1, false),
        DType::Bool => Element::Bool,
        lacking => {
            return Err(Error::unsupported(format!("HDF5 has no {lacking}; give --type f32")));
        }
    })
}
