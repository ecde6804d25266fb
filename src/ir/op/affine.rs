//! Integers of few bits that stand for numbers by scales that several of them share: what
//! quantized weights are outside of GGUF.
//!
//! ```text
//!   weights [2, 8]          scales [2, 2]     blocks of [1, 4]
//!   q q q q │ q q q q       s │ s
//!   ────────┼────────       ──┼──             number = q · s + b, or (q − z) · s
//!   q q q q │ q q q q       s │ s
//! ```

use std::ops::Range;
use std::sync::Arc;

use super::{lcm, with_bytes};
use crate::ir::float::{self, each};
use crate::ir::{DType, Error, Result, Scratch, Shape, Tensor};

/// Weights, and what makes numbers of them: each is computed in binary32, every step rounded.
#[derive(Debug, Clone)]
pub struct Affine {
    /// Integers, or floats of few bits.
    pub weights: Tensor,
    /// One for each block, row-major, whatever the shape.
    pub scales: Tensor,
    /// What moves the numbers.
    pub offset: Offset,
    /// Weights that share a scale, along each dimension; the last block may be cut short.
    pub block: Vec<u64>,
    /// For each column, which block along the last dimension it is of, unless columns lie block by
    /// block.
    pub groups: Option<Arc<[u32]>>,
}

/// What moves the numbers of a block.
#[derive(Debug, Clone)]
pub enum Offset {
    /// Nothing.
    None,
    /// The weight that stands for 0: one for each block, or one for all.
    Zeros(Tensor),
    /// What is added after the scale: one for each block.
    Biases(Tensor),
}

impl Affine {
    pub(super) fn inputs(&self) -> Vec<&Tensor> {
        let offset = match &self.offset {
            Offset::None => None,
            Offset::Zeros(tensor) | Offset::Biases(tensor) => Some(tensor),
        };
        [&self.weights, &self.scales].into_iter().chain(offset).collect()
    }

    pub(super) fn shape(&self) -> Result<Shape> {
        let shape = self.weights.shape();
        let block = &self.block;
        if block.len() != shape.rank() || block.contains(&0) {
            return Err(Error::malformed(format!("blocks of {block:?} for weights {shape}")));
        }
        self.check_groups()?;
        let blocks: u64 =
            shape.dims().iter().zip(block).map(|(len, by)| len.div_ceil(*by)).product();
        let inputs = self.inputs();
        let is_fit = |(place, tensor): (usize, &&Tensor)| {
            let count = tensor.shape().count();
            let for_all = place == 2 && matches!(self.offset, Offset::Zeros(_));
            place == 0 || count == blocks || (for_all && count == 1)
        };
        match inputs.iter().enumerate().find(|input| !is_fit(*input)) {
            None => Ok(shape.clone()),
            Some((_, odd)) => Err(Error::malformed(format!(
                "{} scales or offsets for {blocks} blocks of {block:?} in weights {shape}",
                odd.shape().count()
            ))),
        }
    }

    fn check_groups(&self) -> Result<()> {
        let Some(groups) = &self.groups else { return Ok(()) };
        let columns = self.weights.shape().columns();
        if groups.len() as u64 != columns {
            let text = format!("groups of {} columns for weights of {columns}", groups.len());
            return Err(Error::malformed(text));
        }
        let count = self.block.last().map_or(1, |by| columns.div_ceil(*by));
        match groups.iter().position(|group| u64::from(*group) >= count) {
            None => Ok(()),
            Some(at) => {
                let text = format!("column {at} is of group {}, and there are {count}", groups[at]);
                Err(Error::malformed(text))
            }
        }
    }

    pub(super) fn granule(&self) -> u64 {
        self.weights.granule()
    }

    /// Makes numbers as binary32.
    pub(super) fn make(
        &self,
        elements: Range<u64>,
        out: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<()> {
        if elements.is_empty() {
            return Ok(());
        }
        let grid = Grid::of(self);
        let blocks = grid.blocks(&elements);
        let scales = Part::read(&self.scales, blocks.clone(), scratch)?;
        let offset = match &self.offset {
            Offset::None => None,
            Offset::Zeros(tensor) | Offset::Biases(tensor) => {
                let one = tensor.shape().count() == 1;
                let blocks = if one { 0..1 } else { blocks };
                Some(Part::read(tensor, blocks, scratch)?)
            }
        };
        let mut weights = scratch.take_floats((elements.end - elements.start) as usize)?;
        numbers(&self.weights, elements.clone(), &mut weights, scratch)?;
        let mut rest = out.as_chunks_mut::<4>().0;
        let (mut at, mut left) = (elements.start, &weights[..]);
        let by = |block| offset.as_ref().map_or(0.0, |offset| offset.at(block));
        while !left.is_empty() {
            let (block, run) = match &self.groups {
                None => grid.run(at),
                Some(groups) => grid.one(at, groups),
            };
            let (now, later) = left.split_at(left.len().min(run as usize));
            let (place, after) = rest.split_at_mut(now.len());
            scaled(now, place, scales.at(block), &self.offset, by(block));
            (at, left, rest) = (at + now.len() as u64, later, after);
        }
        scratch.give_floats(weights);
        [Some(scales), offset].into_iter().flatten().for_each(|part| part.give(scratch));
        Ok(())
    }
}

/// The numbers of weights of one block.
fn scaled(weights: &[f32], out: &mut [[u8; 4]], scale: f32, offset: &Offset, by: f32) {
    let pairs = out.iter_mut().zip(weights);
    match offset {
        Offset::None => pairs.for_each(|(out, q)| *out = (q * scale).to_le_bytes()),
        Offset::Zeros(_) => pairs.for_each(|(out, q)| *out = ((q - by) * scale).to_le_bytes()),
        Offset::Biases(_) => pairs.for_each(|(out, q)| *out = (q * scale + by).to_le_bytes()),
    }
}

/// Some of the scales or offsets.
struct Part {
    first: u64,
    values: Vec<f32>,
}

impl Part {
    /// Reads those of `blocks`, and what must be made with them.
    fn read(tensor: &Tensor, blocks: Range<u64>, scratch: &mut Scratch) -> Result<Self> {
        let (unit, count) = (tensor.granule(), tensor.shape().count());
        let range = blocks.start / unit * unit..blocks.end.next_multiple_of(unit).min(count);
        let mut values = scratch.take_floats((range.end - range.start) as usize)?;
        let first = range.start;
        numbers(tensor, range, &mut values, scratch)?;
        Ok(Self { first, values })
    }

    /// That of a block; the only one, if there is one for all.
    fn at(&self, block: u64) -> f32 {
        let place = block.checked_sub(self.first).and_then(|at| self.values.get(at as usize));
        place.or(self.values.first()).copied().unwrap_or_default()
    }

    fn give(self, scratch: &mut Scratch) {
        scratch.give_floats(self.values);
    }
}

/// Elements as binary32, integers too.
fn numbers(
    tensor: &Tensor,
    elements: Range<u64>,
    out: &mut [f32],
    scratch: &mut Scratch,
) -> Result<()> {
    with_bytes(tensor, elements, scratch, |bytes, _| {
        match tensor.dtype() {
            DType::I64 => each(bytes, out, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => each(bytes, out, |b| i32::from_le_bytes(b) as f32),
            DType::I16 => each(bytes, out, |b| i16::from_le_bytes(b).into()),
            DType::I8 => each(bytes, out, |b| i8::from_le_bytes(b).into()),
            DType::U64 => each(bytes, out, |b| u64::from_le_bytes(b) as f32),
            DType::U32 => each(bytes, out, |b| u32::from_le_bytes(b) as f32),
            DType::U16 => each(bytes, out, |b| u16::from_le_bytes(b).into()),
            DType::U8 => each(bytes, out, |b| u8::from_le_bytes(b).into()),
            DType::I4 => fields::<4>(bytes, out, |top| f32::from(top.cast_signed() >> 4)),
            DType::U4 => fields::<4>(bytes, out, |top| f32::from(top >> 4)),
            DType::I2 => fields::<2>(bytes, out, |top| f32::from(top.cast_signed() >> 6)),
            DType::U2 => fields::<2>(bytes, out, |top| f32::from(top >> 6)),
            dtype => return float::decode(dtype, bytes, out),
        }
        Ok(())
    })
}

/// Fields of a byte, the lowest first, each brought to the top of its byte.
fn fields<const BITS: u32>(bytes: &[u8], out: &mut [f32], number: impl Fn(u8) -> f32) {
    for (byte, places) in bytes.iter().zip(out.chunks_mut((8 / BITS) as usize)) {
        for (place, above) in places.iter_mut().zip((0..8 / BITS).rev()) {
            *place = number(byte << (above * BITS));
        }
    }
}

/// Which block an element is of: dimensions, joined where that changes nothing.
struct Grid(Vec<Dim>);

struct Dim {
    len: u64,
    /// Elements that share a scale.
    by: u64,
}

impl Grid {
    fn of(affine: &Affine) -> Self {
        let mut joined: Vec<Dim> = vec![Dim { len: 1, by: 1 }];
        let dims = affine.weights.shape().dims();
        for (axis, (&len, &by)) in dims.iter().zip(&affine.block).enumerate() {
            let by = by.min(len.max(1));
            // Columns in groups are told apart by their numbers.
            let is_apart = affine.groups.is_some() && axis + 1 == dims.len();
            let last = joined.last_mut().filter(|last| {
                let both_whole = last.by == last.len && by == len;
                !is_apart && (both_whole || (last.by == 1 && len.is_multiple_of(by)))
            });
            match last {
                Some(last) if last.by == last.len && by == len => {
                    *last = Dim { len: last.len * len, by: last.len * len };
                }
                Some(last) => *last = Dim { len: last.len * len, by },
                None => joined.push(Dim { len, by }),
            }
        }
        Self(joined)
    }

    /// The blocks of a range, and others of the same outermost ones.
    fn blocks(&self, elements: &Range<u64>) -> Range<u64> {
        let [outer, inner @ ..] = &self.0[..] else { return 0..1 };
        let within: u64 = inner.iter().map(|dim| dim.len).product();
        let stride: u64 = inner.iter().map(|dim| dim.len.div_ceil(dim.by)).product();
        let block = |at: u64| at / within.max(1) / outer.by;
        block(elements.start) * stride..(block(elements.end - 1) + 1) * stride
    }

    /// The block of an element whose column is of the group that a table says.
    fn one(&self, at: u64, groups: &[u32]) -> (u64, u64) {
        let column = self.0.last().map_or(0, |columns| at % columns.len);
        let (first, _) = self.run(at - column);
        (first + u64::from(groups[column as usize]), 1)
    }

    /// The block of an element, and how many more from there on are of it, side by side.
    fn run(&self, at: u64) -> (u64, u64) {
        let (mut rest, mut block, mut stride, mut run) = (at, 0, 1, 0);
        for dim in self.0.iter().rev() {
            let index = rest % dim.len;
            if stride == 1 && run == 0 {
                run = (dim.by - index % dim.by).min(dim.len - index);
            }
            block += index / dim.by * stride;
            stride *= dim.len.div_ceil(dim.by);
            rest /= dim.len;
        }
        (block, run)
    }
}

/// Integers of `bits` each, side by side from the lowest bit of the first byte on, a byte each.
/// Thirty-two of them fill whole words.
pub(super) fn spread(
    input: &Tensor,
    bits: u32,
    elements: Range<u64>,
    out: &mut [u8],
    scratch: &mut Scratch,
) -> Result<()> {
    let size = input.dtype().block_bytes();
    let bits = u64::from(bits);
    let words = |element: u64| element * bits / 8 / size;
    with_bytes(input, words(elements.start)..words(elements.end), scratch, |bytes, _| {
        let (mut held, mut room) = (0u32, 0u64);
        let mut bytes = bytes.iter();
        for place in out.iter_mut() {
            while room < bits {
                held |= u32::from(bytes.next().copied().unwrap_or_default()) << room;
                room += 8;
            }
            *place = (held & ((1 << bits) - 1)) as u8;
            held >>= bits;
            room -= bits;
        }
        Ok(())
    })
}

/// The granule of [`spread`]: as many as fill pieces of the input, and whole words.
pub(super) fn spread_granule(input: &Tensor, bits: u32) -> u64 {
    let (held, bits) = (input.byte_offset(input.granule()) * 8, u64::from(bits));
    lcm(32, lcm(held, bits) / bits)
}
