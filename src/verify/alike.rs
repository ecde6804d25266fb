//! Tensors of two models that nothing but their values brings together: one network, exported by
//! tools that name its weights differently.
//!
//! A digest of the values alone, whatever their order, finds candidates; a digest of values and
//! places then tells whether the dimensions lie in the same order, or in which other.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use rayon::prelude::*;

use super::own;
use crate::ir::tensor::pieces;
use crate::ir::{Result, Scratch, Tensor};
use crate::run::random::SplitMix;

/// Elements that are digested at a time, unless a recipe's piece is larger.
const PIECE: u64 = 1 << 18;

/// The most dimensions whose orders are all tried.
const RANK_MAX: usize = 5;

/// A tensor that has another name in each model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alike {
    /// A's name of it.
    pub a: String,
    /// B's name of it.
    pub b: String,
    /// The order of A's dimensions that B has, if it is not A's.
    pub axes: Option<Vec<usize>>,
}

/// What is known of a tensor's values. Numbers are compared as binary32, other elements as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digest {
    /// Whether elements are numbers.
    is_weights: bool,
    /// Dimensions other than 1, in their order.
    dims: Vec<u64>,
    /// Of the values, in any order.
    values: u64,
    /// Of the values and their places.
    places: u64,
}

/// Which of `a` and `b` are the same tensors. Those of one element are left alone: equal scalars
/// tell nothing. Of several equal tensors, the first of one side is the first of the other.
///
/// # Errors
/// From reading the files.
pub(super) fn pair(
    a: &IndexMap<&String, &Tensor>,
    b: &IndexMap<&String, &Tensor>,
) -> Result<Vec<Alike>> {
    // Those of B that nobody has taken, by what does not depend on the order of dimensions.
    let mut free: BTreeMap<(bool, u64), Vec<(&String, Digest)>> = BTreeMap::new();
    for (name, digest) in digests(b)? {
        free.entry((digest.is_weights, digest.values)).or_default().push((name, digest));
    }
    let mut alike = Vec::new();
    for (name, digest) in digests(a)? {
        let Some(same) = free.get_mut(&(digest.is_weights, digest.values)) else { continue };
        for at in 0..same.len() {
            if let Some(axes) = order(a[name], &digest, &same[at].1)? {
                let (other, _) = same.remove(at);
                alike.push(Alike { a: name.clone(), b: other.clone(), axes });
                break;
            }
        }
    }
    Ok(alike)
}

fn digests<'t>(tensors: &IndexMap<&'t String, &Tensor>) -> Result<IndexMap<&'t String, Digest>> {
    let larger = tensors.iter().filter(|(_, tensor)| tensor.shape().count() > 1);
    let larger: Vec<_> = larger.collect();
    let digest = |(name, tensor): (&&'t String, &&Tensor)| {
        let digest = digest(tensor, None).map_err(|error| error.at(*name))?;
        Ok((*name, digest))
    };
    larger.into_par_iter().map(digest).collect::<Result<Vec<_>>>().map(IndexMap::from_iter)
}

/// In which order `wanted`, of the same values, has the dimensions of a tensor: `Some(None)` in the
/// same one; nothing if it is another tensor.
fn order(tensor: &Tensor, digest: &Digest, wanted: &Digest) -> Result<Option<Option<Vec<usize>>>> {
    if digest == wanted {
        return Ok(Some(None));
    }
    let dims = tensor.shape().dims();
    if dims.len() > RANK_MAX || tensor.dtype().is_packed() {
        return Ok(None);
    }
    for axes in permutations(dims.len()) {
        let permuted = axes.iter().map(|&axis| dims[axis]).filter(|dim| *dim != 1);
        if !permuted.eq(wanted.dims.iter().copied()) {
            continue;
        }
        if self::digest(tensor, Some(&axes))? == *wanted {
            return Ok(Some(Some(axes)));
        }
    }
    Ok(None)
}

/// All orders of `rank` dimensions but the given one.
fn permutations(rank: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for axis in 0..rank {
        let at_each_place = |order: &Vec<usize>| {
            let place = |place| {
                let mut longer: Vec<usize> = order.clone();
                longer.insert(place, axis);
                longer
            };
            (0..=axis).map(place).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(at_each_place).collect();
    }
    all.retain(|axes: &Vec<usize>| !axes.is_sorted());
    all
}

/// The digest of a tensor as it is, or as it would be with its dimensions in another order: which
/// need not be made, for what counts is where each element would lie.
fn digest(tensor: &Tensor, axes: Option<&[usize]>) -> Result<Digest> {
    let walk = axes.map(|axes| Walk::of(tensor.shape().dims(), axes));
    let is_weights = own::is_weights(tensor.dtype());
    let all = tensor.shape().dims();
    let dims = match axes {
        Some(axes) => axes.iter().map(|&axis| all[axis]).collect(),
        None => all.to_vec(),
    };
    let dims = dims.into_iter().filter(|dim| *dim != 1).collect();
    let mut digest = Digest { is_weights, dims, values: 0, places: 0 };
    let mut scratch = Scratch::default();
    for range in pieces(tensor.shape().count(), [tensor.granule()], PIECE) {
        let start = range.start;
        let elements = match is_weights {
            true => weights(tensor, range, &mut scratch)?,
            false => others(tensor, range, &mut scratch)?,
        };
        for (place, element) in (start..).zip(elements) {
            let value = mixed(element);
            let place = walk.as_ref().map_or(place, |walk| walk.place(place));
            digest.values = digest.values.wrapping_add(value);
            digest.places = digest.places.wrapping_add(mixed(value ^ mixed(place)));
        }
    }
    Ok(digest)
}

/// Where elements lie once dimensions are in another order: of each dimension its length, and the
/// steps of one of its indices before and after.
struct Walk(Vec<(u64, u64, u64)>);

impl Walk {
    fn of(dims: &[u64], axes: &[usize]) -> Self {
        let after = |axis: usize| {
            let place = axes.iter().position(|a| *a == axis).unwrap_or(0);
            axes[place + 1..].iter().map(|&inner| dims[inner]).product()
        };
        let before = |axis: usize| dims[axis + 1..].iter().product();
        Self((0..dims.len()).map(|axis| (dims[axis], before(axis), after(axis))).collect())
    }

    fn place(&self, place: u64) -> u64 {
        self.0.iter().map(|(len, before, after)| place / before % len * after).sum()
    }
}

/// A number that tells nothing of `value` but whether it is the same.
fn mixed(value: u64) -> u64 {
    SplitMix::new(value).draw()
}

fn weights(tensor: &Tensor, at: std::ops::Range<u64>, scratch: &mut Scratch) -> Result<Vec<u64>> {
    let mut values = vec![0.0; (at.end - at.start) as usize];
    tensor.read_floats(at, &mut values, scratch)?;
    Ok(values.into_iter().map(|value| u64::from(value.to_bits())).collect())
}

fn others(tensor: &Tensor, at: std::ops::Range<u64>, scratch: &mut Scratch) -> Result<Vec<u64>> {
    let count = at.end - at.start;
    let mut bytes = vec![0; tensor.byte_offset(count) as usize];
    tensor.read(at, &mut bytes, scratch)?;
    let size = (bytes.len() as u64 / count.max(1)).max(1) as usize;
    let element =
        |bytes: &[u8]| bytes.iter().fold(0, |all: u64, byte| mixed(all) ^ u64::from(*byte));
    Ok(bytes.chunks(size).map(element).collect())
}
