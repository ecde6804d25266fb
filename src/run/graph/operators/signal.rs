//! Fourier transforms and mel filters.

use super::reduce::axes_last;
use super::shape::permuted;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("DFT", 17, dft_by_attribute),
    onnx("DFT", 20, dft_by_input),
    onnx("STFT", 17, stft),
    onnx("MelWeightMatrix", 17, mel_weights),
];

/// A complex number: real, imaginary.
type Complex = [f64; 2];

fn times(a: Complex, b: Complex) -> Complex {
    [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]
}

/// e^(2πi · part / whole).
fn turn(part: usize, whole: usize, sign: f64) -> Complex {
    let angle = sign * 2.0 * std::f64::consts::PI * part as f64 / whole as f64;
    [libm::cos(angle), libm::sin(angle)]
}

/// The transform, by halves while the length is even, then term by term.
fn transformed(x: &[Complex], sign: f64) -> Vec<Complex> {
    let n = x.len();
    if n <= 1 {
        return x.to_vec();
    }
    if !n.is_multiple_of(2) {
        let turns: Vec<Complex> = (0..n).map(|i| turn(i, n, sign)).collect();
        let sum = |k: usize| {
            let terms = x.iter().enumerate().map(|(j, x)| times(*x, turns[j * k % n]));
            terms.fold([0.0; 2], |sum, x| [sum[0] + x[0], sum[1] + x[1]])
        };
        return (0..n).map(sum).collect();
    }
    let even: Vec<Complex> = x.iter().step_by(2).copied().collect();
    let odd: Vec<Complex> = x.iter().skip(1).step_by(2).copied().collect();
    let (even, odd) = (transformed(&even, sign), transformed(&odd, sign));
    let mut out = vec![[0.0; 2]; n];
    for k in 0..n / 2 {
        let moved = times(turn(k, n, sign), odd[k]);
        out[k] = [even[k][0] + moved[0], even[k][1] + moved[1]];
        out[k + n / 2] = [even[k][0] - moved[0], even[k][1] - moved[1]];
    }
    out
}

/// Lengths beyond this that are not even are computed term by term for too long.
const ODD_MAX: usize = 1 << 16;

fn checked_length(call: &Call<'_>, length: usize) -> Result<usize> {
    call.room(&[length])?;
    let odd = length >> length.trailing_zeros().min(63);
    if odd > ODD_MAX {
        let text = format!("a transform of length {length}, whose odd part is above {ODD_MAX}");
        return Err(Error::limit(text));
    }
    Ok(length)
}

fn dft_by_attribute(call: &Call<'_>) -> Result<Vec<Value>> {
    dft(call, call.int("axis", 1)?)
}

fn dft_by_input(call: &Call<'_>) -> Result<Vec<Value>> {
    let axis = match call.optional(2)? {
        Some(_) => call.one_int(2)?,
        None => -2,
    };
    dft(call, axis)
}

fn dft(call: &Call<'_>, axis: i64) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let axis = call.axis(axis, x.rank())?;
    let parts = x.shape().last().copied().unwrap_or(0);
    if axis + 1 == x.rank() || !(1..=2).contains(&parts) {
        return Err(call.unfit(0, "real or complex numbers, and an axis before the last"));
    }
    let (inverse, onesided) = (call.flag("inverse", false)?, call.flag("onesided", false)?);
    let given = x.shape()[axis];
    let length = match call.optional(1)? {
        Some(_) => usize::try_from(call.one_int(1)?).map_err(|_| call.unfit(1, "a length"))?,
        None if inverse && onesided => 2 * given.saturating_sub(1),
        None => given,
    };
    let length = checked_length(call, length)?;
    let last = x.rank() - 1;
    let (mut outer, moved) = axes_last(x, &[axis, last])?;
    let kept = if onesided && !inverse { length / 2 + 1 } else { length };
    let width = if onesided && inverse { 1 } else { 2 };
    let rows: usize = outer.iter().product();
    call.room(&[rows, kept, width])?;
    let numbers = moved.numbers()?;
    let mut made = Vec::with_capacity(rows * kept * width);
    for row in 0..rows {
        let values = &numbers[row * given * parts..][..given * parts];
        let line = line(values, parts, length, inverse && onesided);
        let sign = if inverse { 1.0 } else { -1.0 };
        let factor = if inverse { 1.0 / length as f64 } else { 1.0 };
        for value in &transformed(&line, sign)[..kept.min(length)] {
            made.extend(value[..width].iter().map(|x| x * factor));
        }
    }
    outer.extend([kept.min(length), width]);
    let made = Array::new(outer, super::numbers(made, x.dtype())?)?;
    // The transformed axis and the parts stand last: back to their places.
    let mut order: Vec<usize> = (0..last - 1).collect();
    order.insert(axis, last - 1);
    order.push(last);
    one(permuted(&made, &order)?)
}

/// One line of the input: cut or padded, and mirrored where only one side is given.
fn line(values: &[f64], parts: usize, length: usize, mirrored: bool) -> Vec<Complex> {
    let at = |i: usize| match values.get(i * parts..(i + 1) * parts) {
        Some([real]) => [*real, 0.0],
        Some([real, imaginary]) => [*real, *imaginary],
        _ => [0.0; 2],
    };
    let value = |i: usize| match mirrored && i > length / 2 {
        true => {
            let [real, imaginary] = at(length - i);
            [real, -imaginary]
        }
        false => at(i),
    };
    (0..length).map(value).collect()
}

fn stft(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let step = usize::try_from(call.one_int(1)?).ok().filter(|step| *step > 0);
    let step = step.ok_or_else(|| call.unfit(1, "a step above 0"))?;
    let window = call.optional(2)?.map(Array::numbers).transpose()?;
    let &[batch, samples, parts] = x.shape() else { return Err(call.unfit(0, "three dimensions")) };
    let length = match (call.optional(3)?, &window) {
        (Some(_), _) => usize::try_from(call.one_int(3)?).map_err(|_| call.unfit(3, "a length"))?,
        (None, Some(window)) => window.len(),
        (None, None) => samples,
    };
    let length = checked_length(call, length)?;
    let window = window.unwrap_or_else(|| vec![1.0; length]);
    if window.len() > length || length > samples || !(1..=2).contains(&parts) {
        return Err(
            call.unfit(0, format!("at least {length} samples, and a window of at most as many"))
        );
    }
    let frames = (samples - length) / step + 1;
    let kept = if call.flag("onesided", true)? { length / 2 + 1 } else { length };
    call.room(&[batch, frames, kept, 2])?;
    let numbers = x.numbers()?;
    let mut made = Vec::with_capacity(batch * frames * kept * 2);
    for image in 0..batch {
        for frame in 0..frames {
            let start = (image * samples + frame * step) * parts;
            let mut line = line(&numbers[start..][..length * parts], parts, length, false);
            // A shorter window stands in the middle of the frame.
            let first = (length - window.len()) / 2;
            for (i, value) in line.iter_mut().enumerate() {
                let weight =
                    i.checked_sub(first).and_then(|i| window.get(i)).copied().unwrap_or(0.0);
                *value = [value[0] * weight, value[1] * weight];
            }
            made.extend(transformed(&line, -1.0)[..kept.min(length)].iter().flatten());
        }
    }
    let data = super::numbers(made, x.dtype())?;
    one(Array::new(vec![batch, frames, kept.min(length), 2], data)?)
}

/// Triangles over the bins of a spectrum, evenly spaced in mel.
fn mel_weights(call: &Call<'_>) -> Result<Vec<Value>> {
    let number =
        |index: usize| call.one_number(index)?.ok_or_else(|| call.unfit(index, "one number"));
    let (bands, length, rate) = (number(0)?, number(1)?, number(2)?);
    let mel = |hertz: f64| 2595.0 * libm::log10(1.0 + hertz / 700.0);
    let (low, high) = (mel(number(3)?), mel(number(4)?));
    let (bands, bins) = (bands.max(0.0) as usize, (length.max(0.0) / 2.0) as usize + 1);
    let count = call.room(&[bins, bands])?;
    let edge = |i: usize| {
        let at = low + (high - low) * i as f64 / (bands as f64 + 1.0);
        let hertz = 700.0 * (libm::pow(10.0, at / 2595.0) - 1.0);
        (hertz * (length + 1.0) / rate).floor()
    };
    let mut made = vec![0.0; count];
    for band in 0..bands {
        let (start, middle, end) = (edge(band), edge(band + 1), edge(band + 2));
        for bin in 0..bins {
            let x = bin as f64;
            let weight = match (x >= start && x < middle, x >= middle && x < end) {
                (true, _) => (x - start) / (middle - start),
                (_, true) => (end - x) / (end - middle),
                // Where the sides fall together, the peak itself stays.
                _ if x == middle && start == middle => 1.0,
                _ => 0.0,
            };
            made[bin * bands + band] = weight;
        }
    }
    let dtype = call.stated_type("output_datatype")?.unwrap_or(Type::F32);
    one(Array::new(vec![bins, bands], super::numbers(made, dtype)?)?)
}
