//! The steps of a recipe. Each states what it makes, in which pieces, and how.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::float::{all_within, encode, narrow_f64};
use super::{DType, Error, Quantizer, Result, Scratch, Shape, Tensor};

/// One step of a recipe.
#[derive(Debug, Clone)]
pub enum Op {
    /// Elements in another plain float type, rounded to nearest, ties to even.
    Cast {
        /// Weights of any dtype that can be decoded.
        input: Tensor,
        /// A plain float type.
        to: DType,
    },
    /// The same elements, the bytes of each in the opposite order.
    SwapBytes {
        /// A tensor of a plain dtype, as another machine wrote it.
        input: Tensor,
    },
    /// Finite values brought within ±`limit`, as binary32.
    Clamp {
        /// Weights of any dtype that can be decoded.
        input: Tensor,
        /// The largest magnitude that stays.
        limit: f32,
    },
    /// Rows packed by a quantizer.
    Pack {
        /// Weights of any dtype that can be decoded.
        input: Tensor,
        /// Who chooses the values.
        quantizer: &'static Quantizer,
        /// E[x²] of each column, if known; of a stack of matrices, of each column of each.
        importance: Option<Arc<[f32]>>,
    },
    /// The outermost dimension, cut into heads, reordered within each head from halves
    /// (x0 x1 … y0 y1 …) to pairs (x0 y0 x1 y1 …), or back.
    Interleave {
        /// A tensor whose outermost dimension is `heads` times an even number.
        input: Tensor,
        /// The number of heads.
        heads: u64,
        /// Whether halves become pairs or pairs halves.
        order: Order,
    },
}

/// The direction of [`Op::Interleave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Halves become pairs: from Hugging Face to GGUF.
    ToPairs,
    /// Pairs become halves: from GGUF to Hugging Face.
    ToHalves,
}

/// The step in words, without its input.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cast { to, .. } => write!(f, "cast {to}"),
            Self::Clamp { limit, .. } => write!(f, "clamp {limit:e}"),
            Self::SwapBytes { .. } => f.write_str("swap bytes"),
            Self::Pack { quantizer, importance, .. } => {
                let with = if importance.is_some() { " by importance" } else { "" };
                write!(f, "pack {}{with}", quantizer.block.name)
            }
            Self::Interleave { heads, order: Order::ToPairs, .. } => {
                write!(f, "interleave {heads} heads")
            }
            Self::Interleave { heads, order: Order::ToHalves, .. } => {
                write!(f, "deinterleave {heads} heads")
            }
        }
    }
}

impl Op {
    /// The tensors that the step reads.
    pub fn inputs(&self) -> Vec<&Tensor> {
        match self {
            Self::Cast { input, .. }
            | Self::Clamp { input, .. }
            | Self::SwapBytes { input }
            | Self::Pack { input, .. }
            | Self::Interleave { input, .. } => {
                vec![input]
            }
        }
    }

    /// The dtype and shape that the step makes.
    ///
    /// # Errors
    /// Malformed if a head is not a whole, even number of rows; Unsupported for packed blocks in
    /// another byte order; Bug if a cast aims at a packing.
    pub fn result(&self) -> Result<(DType, Shape)> {
        match self {
            Self::Cast { input, to } if to.is_float() => Ok((*to, input.shape().clone())),
            Self::Cast { to, .. } => Err(Error::bug(format!("a cast to {to}"))),
            Self::Clamp { input, .. } => Ok((DType::F32, input.shape().clone())),
            Self::SwapBytes { input } if input.dtype().is_packed() => {
                // gguf-py writes blocks as they are; llama.cpp's converter swaps their scales.
                let text = "packed blocks in big-endian order, of which writers have no common \
                            layout; convert the file with llama.cpp's gguf_convert_endian.py";
                Err(Error::unsupported(format!("{}: {text}", input.dtype())))
            }
            Self::SwapBytes { input } => Ok((input.dtype(), input.shape().clone())),
            Self::Pack { input, quantizer, importance } => {
                let counted = importance.as_ref().map_or(1, |all| all.len() as u64);
                let matrices = matrices(input.shape(), importance.as_deref());
                if importance.is_some() && counted != matrices * input.shape().columns() {
                    let rows = input.shape();
                    return Err(Error::bug(format!("{counted} values of importance for {rows}")));
                }
                Ok((DType::Packed(quantizer.block), input.shape().clone()))
            }
            Self::Interleave { input, heads, .. } => {
                let rows = input.shape().dims().first().copied().unwrap_or(0);
                if *heads == 0 || !rows.is_multiple_of(heads * 2) {
                    return Err(Error::malformed(format!(
                        "{rows} rows cannot be cut into {heads} heads of an even size"
                    )));
                }
                if input.shape().rank() == 1 && input.dtype().is_packed() {
                    return Err(Error::unsupported("reordering the elements of a packed row"));
                }
                Ok((input.dtype(), input.shape().clone()))
            }
        }
    }

    /// See [`Tensor::granule`].
    pub fn granule(&self) -> u64 {
        match self {
            Self::Cast { input, .. } | Self::Clamp { input, .. } | Self::SwapBytes { input } => {
                input.granule()
            }
            Self::Pack { input, .. } => lcm(input.granule(), input.shape().columns()),
            Self::Interleave { input, heads, .. } => {
                lcm(input.granule(), input.shape().count() / heads)
            }
        }
    }

    /// Makes the bytes of `elements`, which respect the granule.
    ///
    /// # Errors
    /// See [`Tensor::read`].
    pub fn make(&self, elements: Range<u64>, out: &mut [u8], scratch: &mut Scratch) -> Result<()> {
        match self {
            Self::Cast { input, to } if input.dtype() == DType::F64 => {
                with_bytes(input, elements.clone(), scratch, |bytes, scratch| {
                    narrow_f64(*to, bytes, out, elements.start, &mut scratch.tally)
                })
            }
            Self::Cast { input, to } => {
                with_floats(input, elements.clone(), scratch, |values, scratch| {
                    encode(*to, values, out, elements.start, &mut scratch.tally)
                })
            }
            Self::Clamp { input, limit } if input.dtype() == DType::F64 => {
                with_bytes(input, elements, scratch, |bytes, scratch| {
                    let values = bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b));
                    scratch.tally.clamped += clamp(values, f64::from(*limit), out);
                    Ok(())
                })
            }
            Self::Clamp { input, limit } => {
                with_floats(input, elements, scratch, |values, scratch| {
                    let values = values.iter().copied().map(f64::from);
                    scratch.tally.clamped += clamp(values, f64::from(*limit), out);
                    Ok(())
                })
            }
            Self::SwapBytes { input } => {
                input.read(elements, out, scratch)?;
                let width = input.dtype().block_bytes() as usize;
                out.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                Ok(())
            }
            Self::Pack { input, quantizer, importance } => {
                with_floats(input, elements.clone(), scratch, |values, scratch| {
                    scratch.tally.count_nonfinite(values, elements.start);
                    let rows = Rows { shape: input.shape(), start: elements.start, values };
                    pack(quantizer, &rows, importance.as_deref(), out);
                    count_overflow(quantizer, values, out, elements.start, scratch)
                })
            }
            Self::Interleave { input, heads, order } => {
                with_bytes(input, elements, scratch, |bytes, _| {
                    let dims = input.shape().dims();
                    let rows = dims.first().copied().unwrap_or(1) / heads;
                    let row = input.byte_offset(input.shape().count() / (rows * heads));
                    interleave(bytes, out, rows as usize, row as usize, *order);
                    Ok(())
                })
            }
        }
    }
}

/// Reorders the rows of each head of `rows` rows of `row` bytes.
fn interleave(bytes: &[u8], out: &mut [u8], rows: usize, row: usize, order: Order) {
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

/// Whole rows of a tensor, from element `start` on.
struct Rows<'a> {
    shape: &'a Shape,
    start: u64,
    values: &'a [f32],
}

/// How many matrices of a stack have an importance of their own, if that many they can be.
fn matrices(shape: &Shape, importance: Option<&[f32]>) -> u64 {
    let columns = shape.columns().max(1);
    let matrices = importance.map_or(1, |all| all.len() as u64 / columns).max(1);
    if shape.rows().is_multiple_of(matrices) { matrices } else { 1 }
}

/// Packs rows, those of each matrix of a stack by its own importance.
fn pack(quantizer: &Quantizer, rows: &Rows<'_>, importance: Option<&[f32]>, out: &mut [u8]) {
    let columns = rows.shape.columns() as usize;
    let matrices = matrices(rows.shape, importance);
    let Some(all) = importance.filter(|_| matrices > 1) else {
        return (quantizer.pack)(rows.values, columns, importance, out);
    };
    let matrix = rows.shape.count() / matrices;
    let (mut at, mut left, mut out) = (rows.start, rows.values, out);
    while !left.is_empty() {
        let len = left.len().min((matrix - at % matrix) as usize);
        let (values, later) = left.split_at(len);
        let (packed, place) = out.split_at_mut(len / quantizer.block.len * quantizer.block.bytes);
        let first = (at / matrix) as usize * columns;
        (quantizer.pack)(values, columns, all.get(first..first + columns), packed);
        (at, left, out) = (at + len as u64, later, place);
    }
}

/// Writes values as binary32 within ±`limit`, and counts those that were beyond.
fn clamp(values: impl Iterator<Item = f64>, limit: f64, out: &mut [u8]) -> u64 {
    let mut clamped = 0;
    for (place, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        let beyond = x.is_finite() && x.abs() > limit;
        clamped += u64::from(beyond);
        let kept = if beyond { limit.copysign(x) } else { x };
        *place = (kept as f32).to_le_bytes();
    }
    clamped
}

/// A scale is an f16 in every packing: weights beyond its range decode to infinity, or to NaN.
fn count_overflow(
    quantizer: &Quantizer,
    weights: &[f32],
    packed: &[u8],
    start: u64,
    scratch: &mut Scratch,
) -> Result<()> {
    let Some(codec) = quantizer.block.codec else { return Ok(()) };
    if all_within(weights, 65504.0) {
        return Ok(());
    }
    let mut decoded = scratch.take_floats(weights.len())?;
    (codec.decode)(packed, &mut decoded);
    let len = quantizer.block.len;
    for (block, (before, after)) in weights.chunks(len).zip(decoded.chunks(len)).enumerate() {
        // What is not finite takes its whole block along; it is counted for itself.
        if before.iter().any(|x| !x.is_finite()) {
            continue;
        }
        for (i, _) in after.iter().enumerate().filter(|(_, x)| !x.is_finite()) {
            scratch.tally.overflowed += 1;
            scratch.tally.first_overflowed.get_or_insert(start + (block * len + i) as u64);
        }
    }
    scratch.give_floats(decoded);
    Ok(())
}

fn with_bytes(
    input: &Tensor,
    elements: Range<u64>,
    scratch: &mut Scratch,
    then: impl FnOnce(&[u8], &mut Scratch) -> Result<()>,
) -> Result<()> {
    if let Some(bytes) = input.mapped(elements.clone()) {
        return then(bytes, scratch);
    }
    let len = input.byte_offset(elements.end - elements.start);
    let mut bytes = scratch.take(len as usize)?;
    let made = input.read(elements, &mut bytes, scratch).and_then(|()| then(&bytes, scratch));
    scratch.give(bytes);
    made
}

fn with_floats(
    input: &Tensor,
    elements: Range<u64>,
    scratch: &mut Scratch,
    then: impl FnOnce(&[f32], &mut Scratch) -> Result<()>,
) -> Result<()> {
    let mut values = scratch.take_floats((elements.end - elements.start) as usize)?;
    let made =
        input.read_floats(elements, &mut values, scratch).and_then(|()| then(&values, scratch));
    scratch.give_floats(values);
    made
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a.max(1), b.max(1));
    let product = x.saturating_mul(y);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    product / x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Blob;

    fn numbers(dims: Vec<u64>) -> Tensor {
        let shape = Shape::new(dims).unwrap();
        let bytes = (0..shape.count()).flat_map(|i| (i as f32).to_le_bytes()).collect();
        Tensor::span(DType::F32, shape, Arc::new(Blob::memory("test", bytes)), 0).unwrap()
    }

    #[test]
    fn heads_are_interleaved_and_back() {
        let input = numbers(vec![8, 1]);
        let op = Op::Interleave { input: input.clone(), heads: 2, order: Order::ToPairs };
        let pairs = Tensor::of(op).unwrap();
        assert_eq!(pairs.to_floats().unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        let op = Op::Interleave { input: pairs, heads: 2, order: Order::ToHalves };
        let halves = Tensor::of(op).unwrap();
        assert_eq!(halves.to_floats().unwrap(), input.to_floats().unwrap());
        assert_eq!(halves.granule(), 4);
    }

    #[test]
    fn bytes_are_swapped_within_each_element() {
        let blob = Arc::new(Blob::memory("test", (0..16).collect()));
        let swapped = |dtype, count| {
            let shape = Shape::new(vec![count]).unwrap();
            let input = Tensor::span(dtype, shape, Arc::clone(&blob), 0).unwrap();
            let tensor = Tensor::of(Op::SwapBytes { input }).unwrap();
            let mut out = vec![0; 8];
            let first = 16 / dtype.block_bytes() / 2;
            tensor.read(first..count, &mut out, &mut Scratch::default()).unwrap();
            out
        };
        assert_eq!(swapped(DType::F64, 2), [15, 14, 13, 12, 11, 10, 9, 8]);
        assert_eq!(swapped(DType::I32, 4), [11, 10, 9, 8, 15, 14, 13, 12]);
        assert_eq!(swapped(DType::BF16, 8), [9, 8, 11, 10, 13, 12, 15, 14]);
        assert_eq!(swapped(DType::U8, 16), [8, 9, 10, 11, 12, 13, 14, 15]);
    }

    #[test]
    fn one_head_alone_is_made_from_one_head_alone() {
        let op = Op::Interleave { input: numbers(vec![8, 3]), heads: 2, order: Order::ToPairs };
        let pairs = Tensor::of(op).unwrap();
        let (mut all, mut half) = (vec![0; 96], vec![0; 48]);
        pairs.read(0..24, &mut all, &mut Scratch::default()).unwrap();
        pairs.read(12..24, &mut half, &mut Scratch::default()).unwrap();
        assert_eq!(all[48..], half);
    }

    /// Writes for each weight the importance of its column.
    static SHOWN: crate::ir::Block = crate::ir::Block {
        name: "shown",
        ggml_id: 9999,
        len: 1,
        bytes: 1,
        needs_importance: false,
        codec: None,
    };
    static SHOW: Quantizer = Quantizer {
        block: &SHOWN,
        pack: |weights, columns, importance, out| {
            for i in 0..weights.len() {
                out[i] = importance.map_or(0, |all| all[i % columns] as u8);
            }
        },
    };

    #[test]
    fn each_matrix_of_a_stack_is_packed_by_its_own_importance() {
        let importance: Arc<[f32]> = (1..7).map(|n| n as f32).collect();
        let packed = |importance| {
            Tensor::of(Op::Pack { input: numbers(vec![3, 2, 2]), quantizer: &SHOW, importance })
        };
        let tensor = packed(Some(importance.clone())).unwrap();
        let expected = [1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6];
        // In pieces that begin and end within a matrix.
        for (from, to) in [(0, 12), (2, 6), (6, 12), (4, 6)] {
            let mut out = vec![0; to - from];
            let range = from as u64..to as u64;
            tensor.read(range, &mut out, &mut Scratch::default()).unwrap();
            assert_eq!(out, expected[from..to]);
        }
        let mut out = [9; 12];
        packed(None).unwrap().read(0..12, &mut out, &mut Scratch::default()).unwrap();
        assert_eq!(out, [0; 12]);
        assert!(packed(Some(importance[..5].into())).is_err());
    }

    #[test]
    fn heads_of_an_odd_size_are_refused() {
        let op = Op::Interleave { input: numbers(vec![6, 1]), heads: 2, order: Order::ToPairs };
        assert!(Tensor::of(op).is_err());
    }
}
