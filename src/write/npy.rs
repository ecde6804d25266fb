//! Model of one tensor → npy: NumPy's array.

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{FilePlan, Layout, Part};
use crate::ir::{Error, Model, Notes, Result, Tensor};

const CONTAINER: Container =
    Container { name: "npy", shard: |_, _| String::new(), index: "", file };

/// The layout of the file that this tensor becomes.
///
/// # Errors
/// Unsupported for a model of several tensors, or a dtype that NumPy lacks.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    hub::layout(&CONTAINER, model, &tensors, options, notes)
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let [(tensor_name, tensor)] = tensors else {
        let count = tensors.len();
        let text = format!(
            "{name}: an .npy file is one array, and the model has {count} tensors; write an .npz, \
             or choose one with --include"
        );
        return Err(Error::unsupported(text));
    };
    let named = |error: Error| error.at(tensor_name);
    let descr = super::npz::descr(tensor.dtype()).map_err(named)?;
    let header = ::npy::header(descr, tensor.shape().dims()).map_err(|e| named(e.into()))?;
    let start = header.len() as u64;
    let tensor = Part::Tensor { name: (*tensor_name).clone(), tensor: (*tensor).clone() };
    let len = start + tensor.len();
    Ok(FilePlan { name, len, parts: vec![(0, Part::Bytes(header)), (start, tensor)] })
}
