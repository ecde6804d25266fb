//! Numbers in and out of bytes, with an account of what did not survive.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{DType, Error, Result};
use crate::quant::rows;
use crate::quant::simd::dispatch;

/// What did not survive a change of type. Indices count elements of the tensor, row-major.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Finite values that became infinite.
    pub overflowed: u64,
    /// The first of them.
    pub first_overflowed: Option<u64>,
    /// NaN or infinite values that met a packing, which cannot hold them.
    pub nonfinite: u64,
    /// The first of them.
    pub first_nonfinite: Option<u64>,
    /// Values other than zero that became zero.
    pub flushed: u64,
    /// Finite values that were brought within the range of their target, as asked for.
    pub clamped: u64,
}

impl Tally {
    /// Adds what another part of the same tensor lost.
    pub fn add(&mut self, other: &Self) {
        let first = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.overflowed += other.overflowed;
        self.first_overflowed = first(self.first_overflowed, other.first_overflowed);
        self.nonfinite += other.nonfinite;
        self.first_nonfinite = first(self.first_nonfinite, other.first_nonfinite);
        self.flushed += other.flushed;
        self.clamped += other.clamped;
    }

    /// Counts the values that a packing cannot hold; `start` is the index of the first value.
    pub fn count_nonfinite(&mut self, values: &[f32], start: u64) {
        for (i, x) in values.iter().enumerate() {
            if !x.is_finite() {
                self.nonfinite += 1;
                self.first_nonfinite.get_or_insert(start + i as u64);
            }
        }
    }

    fn count_narrowed(&mut self, before: &[f32], start: u64, after: impl Fn(usize) -> f32) {
        for (i, &x) in before.iter().enumerate() {
            let y = after(i);
            if y.is_infinite() && x.is_finite() {
                self.overflowed += 1;
                self.first_overflowed.get_or_insert(start + i as u64);
            }
            self.flushed += u64::from(y == 0.0 && x != 0.0);
        }
    }
}

dispatch!(
    /// Whether no value is NaN or of a magnitude above `limit`.
    pub(super) fn all_within(values: &[f32], limit: f32) -> bool = within
);

/// All are looked at, many at once: what would stop at the first looks at one after the other.
#[inline(always)]
fn within(values: &[f32], limit: f32) -> bool {
    values.iter().fold(true, |within, x| within & (x.abs() <= limit))
}

/// Whether no value may overflow or vanish in a narrower type: all are zero, or lie between.
fn all_between(values: &[f32], least: f32, limit: f32) -> bool {
    values
        .iter()
        .fold(true, |between, x| between & ((x.abs() >= least) & (x.abs() < limit) | (*x == 0.0)))
}

/// Decodes elements to binary32. A binary64 is rounded to nearest, ties to even.
///
/// # Errors
/// Unsupported if the dtype has no floating-point meaning, or is a packing only carried along.
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    match dtype {
        DType::F32 => each(bytes, out, f32::from_le_bytes),
        DType::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        DType::F16 => halves(bytes, out),
        DType::BF16 => {
            each(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
        }
        DType::F8E4M3 => each(bytes, out, |[b]: [u8; 1]| f8_e4m3(b)),
        DType::F8E4M3Fnuz => each(bytes, out, |[b]: [u8; 1]| fnuz(b, small(b, 4, 3, 8))),
        DType::F8E5M2Fnuz => each(bytes, out, |[b]: [u8; 1]| fnuz(b, small(b, 5, 2, 16))),
        DType::F8E8M0 => each(bytes, out, |[b]: [u8; 1]| f8_e8m0(b)),
        DType::F6E2M3 => fields::<6>(bytes, out, |b| small(b, 2, 3, 1)),
        DType::F6E3M2 => fields::<6>(bytes, out, |b| small(b, 3, 2, 3)),
        DType::F4E2M1 => fields::<4>(bytes, out, |b| small(b, 2, 1, 1)),
        DType::F8E5M2 => each(bytes, out, |[b]: [u8; 1]| f16::from_bits(u16::from(b) << 8).into()),
        DType::Packed(block) => {
            let codec = block.codec.ok_or_else(|| {
                let what = format!("{} is carried along, but not decoded", block.name);
                Error::unsupported(format!("{what} by this version"))
            })?;
            (codec.decode)(bytes, out);
        }
        _ => return Err(Error::unsupported(format!("{dtype} is not a type of weights"))),
    }
    Ok(())
}

/// Encodes binary32 to a plain float type, to nearest, ties to even; what is lost is counted.
/// `start` is the index of the first value in its tensor.
///
/// # Errors
/// Unsupported if the dtype is not a float that this version writes.
pub fn encode(
    dtype: DType,
    values: &[f32],
    out: &mut [u8],
    start: u64,
    tally: &mut Tally,
) -> Result<()> {
    match dtype {
        DType::F32 => put(out, values.iter().map(|x| x.to_le_bytes())),
        DType::F64 => put(out, values.iter().map(|x| f64::from(*x).to_le_bytes())),
        // What may overflow or vanish is looked for first: counting what did is slow.
        DType::F16 => in_pieces(values, out, start, |values, out, start| {
            let piece = &mut [f16::ZERO; PIECE][..values.len()];
            piece.convert_from_f32_slice(values);
            put(out, piece.iter().map(|half| half.to_le_bytes()));
            if !all_between(values, 6e-8, 65504.0) {
                tally.count_narrowed(values, start, |i| piece[i].to_f32());
            }
        }),
        DType::BF16 => in_pieces(values, out, start, |values, out, start| {
            put(out, values.iter().map(|x| to_bf16(*x).to_le_bytes()));
            if !all_between(values, 1e-37, 3.3e38) {
                tally.count_narrowed(values, start, |i| {
                    bf16::from_bits(to_bf16(values[i])).to_f32()
                });
            }
        }),
        _ => return Err(Error::unsupported(format!("writing {dtype} from other types"))),
    }
    Ok(())
}

/// The bits of the nearest bfloat16, ties to even; a NaN stays one, and becomes quiet. `half` has
/// the same, but converts one number after the other.
fn to_bf16(x: f32) -> u16 {
    const QUIET: u32 = 0x0040;
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { bits >> 16 | QUIET } else { rounded }) as u16
}

/// Narrows binary64 to a plain float type in one rounding; what is lost is counted.
///
/// # Errors
/// Unsupported as in [`encode`].
pub fn narrow_f64(
    dtype: DType,
    bytes: &[u8],
    out: &mut [u8],
    start: u64,
    tally: &mut Tally,
) -> Result<()> {
    let values = bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap_or([0; 8])));
    let mut account = |i: usize, x: f64, y: f64| {
        if y.is_infinite() && x.is_finite() {
            tally.overflowed += 1;
            tally.first_overflowed.get_or_insert(start + i as u64);
        }
        tally.flushed += u64::from(y == 0.0 && x != 0.0);
    };
    let narrowed = values.enumerate();
    match dtype {
        DType::F32 => put(
            out,
            narrowed.map(|(i, x)| {
                account(i, x, f64::from(x as f32));
                (x as f32).to_le_bytes()
            }),
        ),
        DType::F16 => put(
            out,
            narrowed.map(|(i, x)| {
                let half = f16::from_f32(round_to_odd(x));
                account(i, x, half.to_f64());
                half.to_le_bytes()
            }),
        ),
        DType::BF16 => put(
            out,
            narrowed.map(|(i, x)| {
                let half = bf16::from_f32(round_to_odd(x));
                account(i, x, half.to_f64());
                half.to_le_bytes()
            }),
        ),
        _ => return Err(Error::unsupported(format!("writing {dtype} from f64"))),
    }
    Ok(())
}

/// A binary64 cut to binary32 with the last bit set if anything was cut off, so that rounding the
/// result once more to at most 22 bits is as rounding once (Boldo and Melquiond, 2008).
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) == x || !nearest.is_finite() {
        return nearest;
    }
    let above = f64::from(nearest).abs() > x.abs();
    f32::from_bits((nearest.to_bits() - u32::from(above)) | 1)
}

pub(super) fn each<const N: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (x, element) in out.iter_mut().zip(elements) {
        *x = value(*element);
    }
}

/// Halves are converted in pieces of this many: only slices of them are converted with the
/// processor's instruction, and a piece needs no memory of its own.
const PIECE: usize = 256;

fn in_pieces(
    values: &[f32],
    out: &mut [u8],
    start: u64,
    mut convert: impl FnMut(&[f32], &mut [u8], u64),
) {
    let pieces = values.chunks(PIECE).zip(out.chunks_mut(2 * PIECE));
    for ((values, out), start) in pieces.zip((start..).step_by(PIECE)) {
        convert(values, out, start);
    }
}

dispatch!(fn halves(bytes: &[u8], out: &mut [f32]) = widen_halves);

/// Many at once, whatever the processor has: its own conversion is of eight, in a call of its own.
#[inline(always)]
fn widen_halves(bytes: &[u8], out: &mut [f32]) {
    const QUIET: u32 = 0x0040_0000;
    for (x, half) in out.iter_mut().zip(bytes.as_chunks().0) {
        let wide = rows::get_f16(*half);
        *x = if wide.is_nan() { f32::from_bits(wide.to_bits() | QUIET) } else { wide };
    }
}

fn put<const N: usize>(out: &mut [u8], elements: impl Iterator<Item = [u8; N]>) {
    let (places, _) = out.as_chunks_mut::<N>();
    for (place, element) in places.iter_mut().zip(elements) {
        *place = element;
    }
}

/// Elements of `BITS` bits, side by side from the lowest bit up.
fn fields<const BITS: usize>(bytes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let byte = |at: usize| bytes.get(at).map_or(0, |byte| u16::from(*byte));
    for (i, x) in out.iter_mut().enumerate() {
        let (at, shift) = (i * BITS / 8, i * BITS % 8);
        let bits = (byte(at) | byte(at + 1) << 8) >> shift & ((1 << BITS) - 1);
        *x = value(bits.to_le_bytes()[0]);
    }
}

/// A sign, `exponent` bits and `mantissa` bits, in the lowest bits; neither infinity nor NaN.
///
/// OCP "Microscaling Formats (MX)", revision 1.0, sections 5.3.1 and 5.3.2.
fn small(bits: u8, exponent: u32, mantissa: u32, bias: i32) -> f32 {
    let steps = f32::from(bits & ((1 << mantissa) - 1)) / (1u16 << mantissa) as f32;
    let power = i32::from(bits >> mantissa & ((1 << exponent) - 1));
    let magnitude = match power {
        0 => steps * 2f32.powi(1 - bias),
        _ => (1.0 + steps) * 2f32.powi(power - bias),
    };
    if bits >> (exponent + mantissa) & 1 == 0 { magnitude } else { -magnitude }
}

/// OCP "OFP8 Formats for Deep Learning", revision 1.0: E4M3 has no infinity, and one NaN.
fn f8_e4m3(bits: u8) -> f32 {
    if bits & 0x7f == 0x7f { f32::NAN } else { small(bits, 4, 3, 7) }
}

/// What would be −0 is the only NaN: <https://arxiv.org/abs/2206.02915>.
fn fnuz(bits: u8, value: f32) -> f32 {
    if bits == 0x80 { f32::NAN } else { value }
}

/// OCP "Microscaling Formats (MX)", revision 1.0, section 5.4.1.
fn f8_e8m0(bits: u8) -> f32 {
    match bits {
        // 2⁻¹²⁷ is subnormal in binary32.
        0 => f32::from_bits(1 << 22),
        0xff => f32::NAN,
        _ => f32::from_bits(u32::from(bits) << 23),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(dtype: DType, x: f32) -> (f32, Tally) {
        let size = dtype.block_bytes() as usize;
        let (mut bytes, mut back, mut tally) = (vec![0; size], [0.0], Tally::default());
        encode(dtype, &[x], &mut bytes, 7, &mut tally).unwrap();
        decode(dtype, &bytes, &mut back).unwrap();
        (back[0], tally)
    }

    #[test]
    fn losses_are_counted() {
        let (y, tally) = through(DType::F16, 70000.0);
        assert!(y.is_infinite());
        assert_eq!((tally.overflowed, tally.first_overflowed), (1, Some(7)));
        assert_eq!(through(DType::F16, 1e-9).1.flushed, 1);
        assert_eq!(through(DType::F16, 1e-7), (1.192_092_9e-7, Tally::default()));
        assert_eq!(through(DType::BF16, 3.4e38).1.overflowed, 1);
        assert_eq!(through(DType::F16, f32::INFINITY).1, Tally::default());
        assert_eq!(through(DType::F16, -0.0).0.to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn bfloat16s_are_rounded_as_by_half() {
        for i in 0..1 << 16 {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(i << 16 | low);
                assert_eq!(to_bf16(x), bf16::from_f32(x).to_bits(), "{x}");
            }
        }
    }

    #[test]
    fn a_binary64_is_rounded_once() {
        // Just above a tie of f16: rounding to f32 first would land on the tie and go down.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        let (mut out, mut tally) = ([0; 2], Tally::default());
        narrow_f64(DType::F16, &x.to_le_bytes(), &mut out, 0, &mut tally).unwrap();
        assert_eq!(f16::from_le_bytes(out).to_f64(), 1.0 + 2f64.powi(-10));
    }

    #[test]
    fn eight_bit_floats() {
        let value = |dtype, bits| {
            let mut out = [0.0];
            decode(dtype, &[bits], &mut out).unwrap();
            out[0]
        };
        assert_eq!(value(DType::F8E4M3, 0x7e), 448.0);
        assert_eq!(value(DType::F8E4M3, 0x01), 2f32.powi(-9));
        assert_eq!(value(DType::F8E4M3, 0xb8), -1.0);
        assert!(value(DType::F8E4M3, 0x7f).is_nan());
        assert_eq!(value(DType::F8E5M2, 0x7b), 57344.0);
        assert!(value(DType::F8E5M2, 0x7c).is_infinite());
    }
}
