//! Model → Flax: a tree of arrays in MessagePack, nested at each `/` of a name.

use ::msgpack::{CHUNK, Entry, Plan};

use super::WriteOptions;
use super::hub::{self, Container};
use super::layout::{FilePlan, Layout, Part};
use crate::ir::op::Picked;
use crate::ir::{Error, Model, Notes, Op, Result, Shape, Tensor};
use crate::types;

const CONTAINER: Container =
    Container { name: "Flax", shard: shard_name, index: "flax_model.msgpack.index.json", file };

/// The layout of the file or directory that this model becomes, keys in sorted order as Flax has
/// them.
///
/// # Errors
/// Unsupported, naming the tensor, for a dtype that NumPy and ml_dtypes lack, or names that
/// contradict each other.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let tensors: Vec<(&String, &Tensor)> = model.tensors.iter().collect();
    hub::layout(&CONTAINER, model, &tensors, options, notes)
}

/// The name of shard `no`, counted from 1, as transformers gave it.
fn shard_name(no: u64, count: u64) -> String {
    match count {
        0 | 1 => "flax_model.msgpack".to_owned(),
        _ => format!("flax_model-{no:05}-of-{count:05}.msgpack"),
    }
}

fn file(name: String, tensors: &[(&String, &Tensor)]) -> Result<FilePlan> {
    let entries = tensors.iter().map(|(name, tensor)| {
        let dtype = types::FLAX.theirs(tensor.dtype()).map_err(|error| error.at(name))?;
        Ok(Entry { name: (*name).clone(), dtype, shape: tensor.shape().dims().to_vec() })
    });
    let plan = Plan::new(&entries.collect::<Result<Vec<_>>>()?, CHUNK)
        .map_err(|error| Error::unsupported(format!("flax: {error}; --exclude one of them")))?;
    let headers = plan.headers.into_iter().map(|(at, bytes)| (at, Part::Bytes(bytes)));
    let mut parts: Vec<(u64, Part)> = headers.collect();
    for ((name, tensor), places) in tensors.iter().zip(plan.pieces) {
        for (place, piece) in places.iter().zip(pieces(tensor, &places)?) {
            parts.push((place.start, Part::Tensor { name: (*name).clone(), tensor: piece }));
        }
    }
    // What is empty lies before what begins there.
    parts.sort_by_key(|(offset, part)| (*offset, part.len()));
    Ok(FilePlan { name, len: plan.len, parts })
}

/// A tensor cut where the plan cuts it.
fn pieces(tensor: &Tensor, places: &[std::ops::Range<u64>]) -> Result<Vec<Tensor>> {
    if places.len() < 2 {
        return Ok(vec![tensor.clone()]);
    }
    let shape = Shape::new(vec![tensor.shape().count()])?;
    let flat = Tensor::of(Op::Reshape { input: tensor.clone(), shape })?;
    let mut from = 0;
    let cut = places.iter().map(|place| {
        let len = (place.end - place.start) / tensor.dtype().block_bytes();
        let picked = Picked { axis: 0, groups: 1, from, len };
        from += len;
        Tensor::of(Op::Pick { input: flat.clone(), picked })
    });
    cut.collect()
}
