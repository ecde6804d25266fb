//! The steps of a recipe. Each states what it makes, in which pieces, and how.

mod affine;
mod arrange;
mod pack;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrange::interleave;
use pack::{Rows, SCALE_MAX, clamp, count_overflow, matrices, pack};

use super::float::{all_within, encode, narrow_f64};
use super::{Blob, DType, Error, Quantizer, Result, Scratch, Shape, Tensor};

pub use affine::{Affine, Offset};
pub use arrange::Picked;

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
    /// Integers of less than a byte, a byte each, and truth values: i8.
    Widen {
        /// A tensor of these.
        input: Tensor,
    },
    /// The same blocks, the bytes of each of their numbers in the opposite order.
    SwapWords {
        /// A tensor of blocks, as another machine wrote it.
        input: Tensor,
        /// Where a block has numbers.
        words: &'static [Word],
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
    /// Each element plus a number, as binary32.
    Add {
        /// Weights of any dtype that can be decoded.
        input: Tensor,
        /// What is added.
        value: f32,
    },
    /// −eˣ of each element x, as binary32, or back: ln(−x).
    NegativeExp {
        /// Weights of any dtype that can be decoded.
        input: Tensor,
        /// Whether it is undone.
        inverse: bool,
    },
    /// Some rows of each group of rows: a part of what was fused.
    Pick {
        /// A tensor whose rows are whole blocks.
        input: Tensor,
        /// Which of them.
        picked: Picked,
    },
    /// Tensors side by side along a dimension, group by group: parts into one.
    Merge {
        /// Tensors of one dtype, equal but for that dimension.
        inputs: Vec<Tensor>,
        /// The dimension.
        axis: usize,
        /// Groups that each is cut into.
        groups: u64,
    },
    /// Rows for columns, in each matrix of a stack.
    Transpose {
        /// A tensor of a plain dtype and of two dimensions or more.
        input: Tensor,
    },
    /// The dimensions in another order.
    Permute {
        /// A tensor of a plain dtype.
        input: Tensor,
        /// For each dimension of the result, which one of the input it is.
        axes: Vec<usize>,
    },
    /// Numbers of integers of few bits, by scales that several share: binary32.
    Affine(Box<Affine>),
    /// Integers of `bits` each, side by side from the lowest bit up across whole words, a byte each.
    Spread {
        /// The words, of a plain dtype.
        input: Tensor,
        /// Bits of an integer, at most 8.
        bits: u32,
        /// The dimensions of the integers.
        shape: Shape,
    },
    /// The same elements under other dimensions.
    Reshape {
        /// A tensor of as many elements.
        input: Tensor,
        /// The dimensions.
        shape: Shape,
    },
}

/// A number within a block: offset and length, in bytes.
pub type Word = (usize, usize);

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
            Self::Widen { .. } => f.write_str("widen i8"),
            Self::SwapWords { .. } => f.write_str("swap words of blocks"),
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
            Self::Add { value, .. } => write!(f, "add {value:?}"),
            Self::NegativeExp { inverse: false, .. } => f.write_str("negative exp"),
            Self::NegativeExp { inverse: true, .. } => f.write_str("log of negative"),
            Self::Pick { picked: Picked { axis, groups, from, len }, .. } => {
                write!(f, "pick {from}+{len} of each of {groups} groups of dimension {axis}")
            }
            Self::Merge { inputs, axis, groups } => {
                let count = inputs.len();
                write!(f, "merge {count} in {groups} groups of dimension {axis}")
            }
            Self::Transpose { .. } => f.write_str("transpose"),
            Self::Permute { axes, .. } => write!(f, "permute {axes:?}"),
            Self::Affine(affine) => write!(f, "scale blocks of {:?}", affine.block),
            Self::Spread { bits, .. } => write!(f, "spread {bits} bits"),
            Self::Reshape { shape, .. } => write!(f, "reshape {shape}"),
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
            | Self::Widen { input }
            | Self::SwapWords { input, .. }
            | Self::Pack { input, .. }
            | Self::Interleave { input, .. }
            | Self::Add { input, .. }
            | Self::NegativeExp { input, .. }
            | Self::Pick { input, .. }
            | Self::Transpose { input }
            | Self::Permute { input, .. }
            | Self::Spread { input, .. }
            | Self::Reshape { input, .. } => vec![input],
            Self::Affine(affine) => affine.inputs(),
            Self::Merge { inputs, .. } => inputs.iter().collect(),
        }
    }

    /// Where the result lies in a file, if the step moves nothing.
    pub(super) fn place(&self) -> Option<(Arc<Blob>, u64)> {
        let (input, start) = match self {
            Self::Pick { input, picked } => (input, picked.start(input)?),
            Self::Reshape { input, .. } => (input, 0),
            Self::Merge { inputs, axis, groups } => {
                let side_by_side = *groups == 1 && arrange::is_outermost(inputs, *axis);
                let is_next = |pair: &[Tensor]| arrange::follows(&pair[0], &pair[1]);
                let joined = side_by_side && inputs.windows(2).all(is_next);
                (inputs.first().filter(|_| joined)?, 0)
            }
            _ => return None,
        };
        let (blob, offset) = input.place()?;
        Some((Arc::clone(blob), offset + input.byte_offset(start)))
    }

    /// The dtype and shape that the step makes.
    ///
    /// # Errors
    /// Malformed if parts do not fit, or a head is not a whole, even number of rows; Bug if a cast
    /// aims at a packing, or bytes are swapped that are no plain elements.
    pub fn result(&self) -> Result<(DType, Shape)> {
        match self {
            Self::Cast { input, to } if to.is_float() => Ok((*to, input.shape().clone())),
            Self::Cast { to, .. } => Err(Error::bug(format!("a cast to {to}"))),
            Self::Clamp { input, .. } => Ok((DType::F32, input.shape().clone())),
            Self::SwapBytes { input } if input.dtype().is_packed() => {
                Err(Error::bug(format!("the bytes of a block of {} swapped", input.dtype())))
            }
            Self::SwapBytes { input } | Self::SwapWords { input, .. } => {
                Ok((input.dtype(), input.shape().clone()))
            }
            Self::Widen { input } => match bits_of(input.dtype()) {
                Some(_) => Ok((DType::I8, input.shape().clone())),
                None => Err(Error::bug(format!("widening {}", input.dtype()))),
            },
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
            Self::Add { input, .. } | Self::NegativeExp { input, .. } => {
                Ok((DType::F32, input.shape().clone()))
            }
            Self::Pick { input, picked } => Ok((input.dtype(), picked.shape(input)?)),
            Self::Merge { inputs, axis, groups } => {
                let shape = arrange::merged_shape(inputs, *axis, *groups)?;
                Ok((inputs.first().map_or(DType::F32, Tensor::dtype), shape))
            }
            Self::Transpose { input } => {
                let axes = arrange::transposition(input)?;
                Ok((input.dtype(), arrange::permuted_shape(input, &axes)?))
            }
            Self::Permute { input, axes } => {
                Ok((input.dtype(), arrange::permuted_shape(input, axes)?))
            }
            Self::Affine(affine) => Ok((DType::F32, affine.shape()?)),
            Self::Spread { input, bits, shape } => {
                let (count, has) = (shape.count(), input.bytes() * 8);
                if !(1..=8).contains(bits) || count.checked_mul((*bits).into()) != Some(has) {
                    let text = format!("{shape} of {bits} bits each in {has} bits");
                    return Err(Error::malformed(text));
                }
                Ok((DType::U8, shape.clone()))
            }
            Self::Reshape { input, shape } if input.shape().count() == shape.count() => {
                Ok((input.dtype(), shape.clone()))
            }
            Self::Reshape { input, shape } => {
                Err(Error::malformed(format!("{} cannot become {shape}", input.shape())))
            }
        }
    }

    /// See [`Tensor::granule`].
    pub fn granule(&self) -> u64 {
        match self {
            Self::Cast { input, .. }
            | Self::Clamp { input, .. }
            | Self::SwapBytes { input }
            | Self::Widen { input }
            | Self::SwapWords { input, .. }
            | Self::Add { input, .. }
            | Self::NegativeExp { input, .. }
            | Self::Reshape { input, .. } => input.granule(),
            Self::Pick { input, picked } => picked.granule(input),
            Self::Merge { inputs, axis, groups } => arrange::merged_granule(inputs, *axis, *groups),
            Self::Transpose { input } => {
                arrange::transposition(input).map_or(1, |a| arrange::permuted_granule(input, &a))
            }
            Self::Permute { input, axes } => arrange::permuted_granule(input, axes),
            Self::Affine(affine) => affine.granule(),
            Self::Spread { input, bits, .. } => affine::spread_granule(input, *bits),
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
                // A complex number is two, each in its own order.
                let numbers = if input.dtype().is_complex() { 2 } else { 1 };
                let width = input.dtype().block_bytes() as usize / numbers;
                out.chunks_exact_mut(width).for_each(<[u8]>::reverse);
                Ok(())
            }
            Self::Widen { input } => with_bytes(input, elements, scratch, |bytes, _| {
                widen(input.dtype(), bytes, out);
                Ok(())
            }),
            Self::SwapWords { input, words } => {
                input.read(elements, out, scratch)?;
                for block in out.chunks_exact_mut(input.dtype().block_bytes() as usize) {
                    words.iter().for_each(|&(at, len)| block[at..at + len].reverse());
                }
                Ok(())
            }
            Self::Pack { input, quantizer, importance } => {
                with_floats(input, elements.clone(), scratch, |values, scratch| {
                    let rows = Rows { shape: input.shape(), start: elements.start, values };
                    pack(quantizer, &rows, importance.as_deref(), out);
                    if all_within(values, SCALE_MAX) {
                        return Ok(());
                    }
                    scratch.tally.count_nonfinite(values, elements.start);
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
            Self::Add { input, value } => with_floats(input, elements, scratch, |values, _| {
                for (place, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                    *place = (x + value).to_le_bytes();
                }
                Ok(())
            }),
            Self::NegativeExp { input, inverse } => {
                with_floats(input, elements, scratch, |values, _| {
                    for (place, x) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                        let x = f64::from(*x);
                        let y = if *inverse { libm::log(-x) } else { -libm::exp(x) };
                        *place = (y as f32).to_le_bytes();
                    }
                    Ok(())
                })
            }
            Self::Pick { input, picked } => picked.make(input, elements, out, scratch),
            Self::Merge { inputs, axis, groups } => {
                arrange::merge(inputs, (*axis, *groups), elements, out, scratch)
            }
            Self::Transpose { input } => {
                arrange::permute(input, &arrange::transposition(input)?, elements, out, scratch)
            }
            Self::Permute { input, axes } => arrange::permute(input, axes, elements, out, scratch),
            Self::Affine(affine) => affine.make(elements, out, scratch),
            Self::Spread { input, bits, .. } => {
                affine::spread(input, *bits, elements, out, scratch)
            }
            Self::Reshape { input, .. } => input.read(elements, out, scratch),
        }
    }
}

/// Bits of an integer of less than a byte, or of a truth value, and whether it has a sign.
fn bits_of(dtype: DType) -> Option<(usize, bool)> {
    match dtype {
        DType::I4 => Some((4, true)),
        DType::U4 => Some((4, false)),
        DType::I2 => Some((2, true)),
        DType::U2 => Some((2, false)),
        DType::Bool => Some((8, false)),
        _ => None,
    }
}

/// Elements side by side, from the lowest bit up, to a byte each.
fn widen(dtype: DType, bytes: &[u8], out: &mut [u8]) {
    let Some((bits, signed)) = bits_of(dtype) else { return };
    for (i, place) in out.iter_mut().enumerate() {
        // At the top of the byte, so that the way down fills up with the sign.
        let above = bytes[i * bits / 8] << (8 - bits - i * bits % 8);
        let shift = 8 - bits;
        *place =
            if signed { (above.cast_signed() >> shift).cast_unsigned() } else { above >> shift };
    }
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

/// The least common multiple; more than any tensor has, if it does not fit.
pub(crate) fn lcm(a: u64, b: u64) -> u64 {
    let (mut x, mut y) = (a.max(1), b.max(1));
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a.max(1) / x).saturating_mul(b.max(1))
}

#[cfg(test)]
mod tests;
