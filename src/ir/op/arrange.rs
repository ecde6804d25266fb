//! Rows, heads and matrices in another order: nothing is computed, elements are moved.
//!
//! ```text
//!   Pick of each group's second part          Merge of two parts, group by group
//!   ┌ a a b b b c ┐                           ┌ a a ┐ ┌ b b b ┐      ┌ a a b b b ┐
//!   │ a a b b b c │ ─▶ b b b b b b b b b      │ a a │ │ b b b │  ─▶  │ a a b b b │
//!   └ a a b b b c ┘                           └ a a ┘ └ b b b ┘      └ a a b b b ┘
//! ```

use std::ops::Range;

use super::{Order, lcm, with_bytes};
use crate::ir::{Error, Result, Scratch, Shape, Tensor};

/// A dimension cut into groups, and the dimensions outside and inside of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// Groups of the whole tensor.
    groups: u64,
    /// Elements of one step along the dimension.
    inner: u64,
    /// Steps of a group.
    steps: u64,
}

impl Cut {
    /// Cuts dimension `axis` of a tensor into `groups`.
    ///
    /// # Errors
    /// Malformed if the groups are not equal; Unsupported if a step is not whole blocks.
    pub(super) fn of(input: &Tensor, axis: usize, groups: u64) -> Result<Self> {
        let (dims, dtype) = (input.shape().dims(), input.dtype());
        let Some((&len, inner)) = dims.get(axis..).and_then(<[u64]>::split_first) else {
            return Err(Error::bug(format!("dimension {axis} of a tensor {}", input.shape())));
        };
        if groups == 0 || !len.is_multiple_of(groups) {
            let text = format!("{len} rows cannot be cut into {groups} equal groups");
            return Err(Error::malformed(text));
        }
        let inner: u64 = inner.iter().product();
        if !inner.is_multiple_of(dtype.block_len()) {
            return Err(Error::unsupported(format!("cutting rows of {dtype}")));
        }
        let outer: u64 = dims.iter().take(axis).product();
        Ok(Self { groups: outer * groups, inner, steps: len / groups })
    }

    /// Elements of a group.
    fn group(&self) -> u64 {
        self.steps * self.inner
    }
}

/// Some steps of each group of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picked {
    /// Which dimension is cut.
    pub axis: usize,
    /// Into how many equal groups.
    pub groups: u64,
    /// The first step of each group that is kept.
    pub from: u64,
    /// How many are kept.
    pub len: u64,
}

impl Picked {
    pub(super) fn shape(&self, input: &Tensor) -> Result<Shape> {
        let cut = Cut::of(input, self.axis, self.groups)?;
        if self.from.checked_add(self.len).is_none_or(|end| end > cut.steps) {
            let (from, len, steps) = (self.from, self.len, cut.steps);
            let text = format!("{len} rows from row {from} of groups of {steps}");
            return Err(Error::malformed(text));
        }
        let mut dims = input.shape().dims().to_vec();
        dims[self.axis] = self.groups * self.len;
        Shape::new(dims)
    }

    /// The first element of the input, if what is kept lies side by side.
    pub(super) fn start(&self, input: &Tensor) -> Option<u64> {
        let cut = Cut::of(input, self.axis, self.groups).ok()?;
        (cut.groups == 1).then_some(self.from * cut.inner)
    }

    pub(super) fn granule(&self, input: &Tensor) -> u64 {
        let Ok(cut) = Cut::of(input, self.axis, self.groups) else { return 1 };
        let run = self.len * cut.inner;
        let edges = [run, self.from * cut.inner, cut.group()];
        granule(input.granule(), edges, input.dtype().block_len(), run)
    }

    pub(super) fn make(
        &self,
        input: &Tensor,
        elements: Range<u64>,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let cut = Cut::of(input, self.axis, self.groups)?;
        let run = self.len * cut.inner;
        if run == 0 || elements.is_empty() {
            return Ok(());
        }
        let source = |at: u64| at / run * cut.group() + self.from * cut.inner + at % run;
        // One read of all that lies between the first and the last piece.
        let (first, last) = (source(elements.start), source(elements.end - 1) + 1);
        let first = first / input.dtype().block_len() * input.dtype().block_len();
        let last = last.next_multiple_of(input.dtype().block_len());
        let mut bytes = scratch.take(input.byte_offset(last - first) as usize)?;
        let made = read_any(input, first..last, &mut bytes, scratch);
        let (mut at, mut out) = (elements.start, out);
        while at < elements.end {
            let len = (run - at % run).min(elements.end - at);
            let from = input.byte_offset(source(at) - first) as usize;
            let (place, later) = out.split_at_mut(input.byte_offset(len) as usize);
            place.copy_from_slice(&bytes[from..from + place.len()]);
            (at, out) = (at + len, later);
        }
        scratch.give(bytes);
        made
    }
}

/// The shape of tensors that are merged along `axis`, group by group.
pub(super) fn merged_shape(inputs: &[Tensor], axis: usize, groups: u64) -> Result<Shape> {
    let [first, others @ ..] = inputs else { return Err(Error::bug("a merge of nothing")) };
    let outside = |tensor: &Tensor| {
        let mut dims = tensor.shape().dims().to_vec();
        if let Some(dim) = dims.get_mut(axis) {
            *dim = 0;
        }
        (tensor.dtype(), dims)
    };
    if let Some(other) = others.iter().find(|other| outside(other) != outside(first)) {
        let text = format!("{} beside {}: they do not fit", other.shape(), first.shape());
        return Err(Error::malformed(text));
    }
    let mut dims = first.shape().dims().to_vec();
    dims[axis] = 0;
    for input in inputs {
        Cut::of(input, axis, groups)?;
        dims[axis] += input.shape().dims()[axis];
    }
    Shape::new(dims)
}

/// Whether there is nothing outside of dimension `axis`.
pub(super) fn is_outermost(inputs: &[Tensor], axis: usize) -> bool {
    let outer = |input: &Tensor| input.shape().dims().iter().take(axis).product::<u64>();
    inputs.iter().all(|input| outer(input) == 1)
}

/// Whether `next` lies in the same file right behind `tensor`.
pub(super) fn follows(tensor: &Tensor, next: &Tensor) -> bool {
    let (Some((a, start)), Some((b, next))) = (tensor.place(), next.place()) else { return false };
    std::sync::Arc::ptr_eq(a, b) && start + tensor.bytes() == next
}

pub(super) fn merged_granule(inputs: &[Tensor], axis: usize, groups: u64) -> u64 {
    let runs = || inputs.iter().filter_map(|input| Cut::of(input, axis, groups).ok());
    let unit = inputs.iter().map(Tensor::granule).fold(1, lcm);
    let block = inputs.first().map_or(1, |input| input.dtype().block_len());
    granule(unit, runs().map(|cut| cut.group()), block, runs().map(|cut| cut.group()).sum())
}

/// Merges tensors: of each group, the part of each in turn.
pub(super) fn merge(
    inputs: &[Tensor],
    (axis, groups): (usize, u64),
    elements: Range<u64>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let runs: Vec<u64> = inputs
        .iter()
        .map(|input| Cut::of(input, axis, groups).map(|cut| cut.group()))
        .collect::<Result<_>>()?;
    let whole: u64 = runs.iter().sum::<u64>().max(1);
    let (mut at, mut out) = (elements.start, out);
    while at < elements.end {
        let (group, mut within) = (at / whole, at % whole);
        let part = runs.iter().position(|run| {
            let is_here = within < *run;
            within -= if is_here { 0 } else { *run };
            is_here
        });
        let Some(part) = part else { return Err(Error::bug("an element of no part")) };
        let (input, run) = (&inputs[part], runs[part]);
        let len = (run - within).min(elements.end - at);
        let start = group * run + within;
        let (place, later) = out.split_at_mut(input.byte_offset(len) as usize);
        read_any(input, start..start + len, place, scratch)?;
        (at, out) = (at + len, later);
    }
    Ok(())
}

/// The input's granule, if no piece of that size crosses an edge; else what surely holds whole
/// pieces.
fn granule(unit: u64, edges: impl IntoIterator<Item = u64>, block: u64, whole: u64) -> u64 {
    match edges.into_iter().all(|edge| edge.is_multiple_of(unit.max(1))) {
        true => unit,
        false => lcm(block, whole),
    }
}

/// Reads a range that need not respect the granule of the input.
fn read_any(
    input: &Tensor,
    elements: Range<u64>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let (granule, count) = (input.granule(), input.shape().count());
    let start = elements.start / granule * granule;
    let end = elements.end.next_multiple_of(granule).min(count);
    if start == elements.start && end == elements.end {
        return input.read(elements, out, scratch);
    }
    let mut bytes = scratch.take(input.byte_offset(end - start) as usize)?;
    let made = input.read(start..end, &mut bytes, scratch);
    let skipped = input.byte_offset(elements.start - start) as usize;
    out.copy_from_slice(&bytes[skipped..skipped + out.len()]);
    scratch.give(bytes);
    made
}

/// The order of dimensions that makes rows of columns, in each matrix of a stack.
pub(super) fn transposition(input: &Tensor) -> Result<Vec<usize>> {
    let mut axes: Vec<usize> = (0..input.shape().rank()).collect();
    let [.., rows, columns] = &mut axes[..] else {
        return Err(Error::malformed(format!("{}: no matrix to transpose", input.shape())));
    };
    std::mem::swap(rows, columns);
    Ok(axes)
}

/// The shape of a tensor whose dimensions are put in another order.
pub(super) fn permuted_shape(input: &Tensor, axes: &[usize]) -> Result<Shape> {
    let (dims, dtype) = (input.shape().dims(), input.dtype());
    if dtype.is_packed() || dtype.block_len() > 1 {
        return Err(Error::unsupported(format!("transposing packed rows, {dtype}")));
    }
    let is_each_once = (0..dims.len()).all(|axis| axes.contains(&axis));
    if axes.len() != dims.len() || !is_each_once {
        return Err(Error::bug(format!("the dimensions of {} as {axes:?}", input.shape())));
    }
    Shape::new(axes.iter().map(|&axis| dims[axis]).collect())
}

/// Elements of what lies within the outer dimensions that stay where they are.
fn moved(input: &Tensor, axes: &[usize]) -> u64 {
    let stay = axes.iter().enumerate().take_while(|(place, axis)| place == *axis).count();
    input.shape().dims().iter().skip(stay).product::<u64>().max(1)
}

pub(super) fn permuted_granule(input: &Tensor, axes: &[usize]) -> u64 {
    lcm(input.granule(), moved(input, axes))
}

/// Dimensions in another order, piece by piece of what moves.
pub(super) fn permute(
    input: &Tensor,
    axes: &[usize],
    elements: Range<u64>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let size = input.dtype().block_bytes() as usize;
    let piece = moved(input, axes) as usize * size;
    let dims = input.shape().dims();
    let stay = axes.iter().enumerate().take_while(|(place, axis)| place == *axis).count();
    // Of each dimension of the result: its length, and the step in the input, in bytes.
    let walk: Vec<(usize, usize)> = axes[stay..]
        .iter()
        .map(|&axis| {
            let inner: u64 = dims[axis + 1..].iter().product();
            (dims[axis] as usize, inner as usize * size)
        })
        .collect();
    with_bytes(input, elements, scratch, |bytes, _| {
        for (from, to) in bytes.chunks_exact(piece).zip(out.chunks_exact_mut(piece)) {
            gather(from, to, &walk, size);
        }
        Ok(())
    })
}

/// Fills `to` with elements of `from`, which lie at the steps that `walk` says.
fn gather(from: &[u8], to: &mut [u8], walk: &[(usize, usize)], size: usize) {
    let [outer @ .., (length, step)] = walk else { return to.copy_from_slice(from) };
    let mut at = vec![0; outer.len()];
    for row in to.chunks_exact_mut(length * size) {
        let start: usize = at.iter().zip(outer).map(|(index, (_, step))| index * step).sum();
        for (place, i) in row.chunks_exact_mut(size).zip(0..) {
            place.copy_from_slice(&from[start + i * step..][..size]);
        }
        for (index, (length, _)) in at.iter_mut().zip(outer).rev() {
            *index += 1;
            if *index < *length {
                break;
            }
            *index = 0;
        }
    }
}

/// Reorders the rows of each head of `rows` rows of `row` bytes.
pub(super) fn interleave(bytes: &[u8], out: &mut [u8], rows: usize, row: usize, order: Order) {
    if row == 0 {
        return;
    }
    let head = rows * row;
    for (from, to) in bytes.chunks_exact(head).zip(out.chunks_exact_mut(head)) {
        for (i, place) in to.chunks_exact_mut(row).enumerate() {
            let source = match order {
                Order::ToPairs => i % 2 * (rows / 2) + i / 2,
                Order::ToHalves => i % (rows / 2) * 2 + i / (rows / 2),
            };
            place.copy_from_slice(&from[source * row..][..row]);
        }
    }
}
