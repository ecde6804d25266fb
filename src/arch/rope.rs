//! Rotary frequencies, as transformers computes them: in binary32 where it does.

use super::Role;
use crate::ir::{Error, Hyper, Result, Scaling};

/// The inverse frequency of each pair of dimensions, and the multiplier of cosine and sine, for a
/// text of `len` tokens.
///
/// Follows transformers' `modeling_rope_utils.py` step by step, because a frequency that is off
/// by an ulp is an angle that is off by as much as the position is long.
///
/// # Errors
/// Malformed if the hyper-parameters lack theta or dimensions, or scale by a wrong number of
/// factors.
pub fn frequencies(hyper: &Hyper, len: u64) -> Result<(Vec<f32>, f32)> {
    let (frequencies, multiplier) = unchecked(hyper, len)?;
    if frequencies.iter().chain([&multiplier]).all(|x| x.is_finite()) {
        return Ok((frequencies, multiplier));
    }
    let text = "rope theta and scaling give rotary frequencies that are not finite";
    Err(Error::malformed(text))
}

fn unchecked(hyper: &Hyper, len: u64) -> Result<(Vec<f32>, f32)> {
    let (Some(theta), Some(dims)) = (hyper.rope_theta, hyper.rope_dims) else {
        return Err(Error::malformed("the model has no rope theta or no rotary dimensions"));
    };
    let theta = match hyper.scaling {
        Scaling::Dynamic { factor } => dynamic(theta, dims, factor, hyper.context, len),
        _ => f64::from(theta),
    };
    let powers: Vec<f32> = (0..dims)
        .step_by(2)
        .map(|i| libm::pow(theta, f64::from(i as f32 / dims as f32)) as f32)
        .collect();
    let plain: Vec<f32> = powers.iter().map(|power| 1.0 / power).collect();
    match &hyper.scaling {
        Scaling::None | Scaling::Dynamic { .. } => Ok((plain, 1.0)),
        Scaling::Linear { factor } => Ok((plain.iter().map(|f| f / factor).collect(), 1.0)),
        Scaling::Llama3 { .. } => Ok((llama3(&plain, &hyper.scaling), 1.0)),
        Scaling::Yarn { attention_factor, .. } => {
            Ok((yarn(&powers, theta, dims, &hyper.scaling), *attention_factor))
        }
        Scaling::Long { original, attention_factor, short, long } => {
            let factors = if len > *original { long } else { short };
            fits(factors, &powers)?;
            let divided = powers.iter().zip(factors).map(|(power, by)| 1.0 / (by * power));
            Ok((divided.collect(), *attention_factor))
        }
        Scaling::Factors(factors) => {
            fits(factors, &powers)?;
            Ok((plain.iter().zip(factors).map(|(f, by)| f / by).collect(), 1.0))
        }
    }
}

fn fits(factors: &[f32], powers: &[f32]) -> Result<()> {
    let (found, expected) = (factors.len(), powers.len());
    match found == expected {
        true => Ok(()),
        false => Err(Error::malformed(format!("{found} rotary factors, expected {expected}"))),
    }
}

/// `_compute_dynamic_ntk_parameters`.
fn dynamic(theta: f32, dims: u64, factor: f32, context: Option<u64>, len: u64) -> f64 {
    let context = context.unwrap_or(1).max(1);
    let (factor, dims) = (f64::from(factor), dims as f64);
    let stretch = factor * len.max(context) as f64 / context as f64 - (factor - 1.0);
    f64::from(theta) * libm::pow(stretch, dims / (dims - 2.0))
}

/// The tensors by which GGUF states the scaling, if it is one that GGUF states so.
pub(super) fn factors(hyper: &Hyper) -> Result<Vec<(Role, Vec<f32>)>> {
    match &hyper.scaling {
        Scaling::Llama3 { .. } => {
            let plain = Hyper { scaling: Scaling::None, ..hyper.clone() };
            let (plain, (scaled, _)) = (frequencies(&plain, 1)?.0, frequencies(hyper, 1)?);
            let divisors = plain.iter().zip(&scaled).map(|(plain, scaled)| plain / scaled);
            Ok(vec![(Role::RopeFactors, divisors.collect())])
        }
        Scaling::Long { short, long, .. } => {
            Ok(vec![(Role::RopeLong, long.clone()), (Role::RopeShort, short.clone())])
        }
        _ => Ok(Vec::new()),
    }
}

/// All divisors that a scaling is stated by, one after the other.
fn divisors(hyper: &Hyper) -> Result<Vec<f32>> {
    Ok(factors(hyper)?.into_iter().flat_map(|(_, divisors)| divisors).collect())
}

/// Whether this scaling gives these divisors.
pub(super) fn gives(hyper: &Hyper, scaling: &Scaling, expected: &[f32]) -> bool {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs();
    let tried = Hyper { scaling: scaling.clone(), ..hyper.clone() };
    let made = divisors(&tried).unwrap_or_default();
    made.len() == expected.len() && made.iter().zip(expected).all(close)
}

/// The numbers of config.json that give these divisors, found again: the factor is the greatest
/// divisor, the low one is 1, and the two others are those of every Llama with a context that is
/// a power of two, or what the divisors of the ramp say.
///
/// # Errors
/// Unsupported if none of them gives the divisors.
pub(super) fn llama3_of(hyper: &Hyper, divisors: &[f32]) -> Result<Scaling> {
    let factor = divisors.iter().copied().fold(1.0, f32::max);
    let plain = frequencies(&Hyper { scaling: Scaling::None, ..hyper.clone() }, 1)?.0;
    let usual = (5..21).map(|power| (4.0, 1u64 << power));
    let tried = usual.chain(of_the_ramp(&plain, divisors, factor));
    let scalings = tried.map(|(high_freq_factor, original)| {
        let low_freq_factor = 1.0;
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original }
    });
    let found = { scalings }.find(|scaling| gives(hyper, scaling, divisors));
    found.ok_or_else(|| {
        let text = "rope_freqs.weight holds divisors that config.json has no words for";
        Error::unsupported(text)
    })
}

/// Whether a reader of the divisors alone finds the very numbers.
pub(super) fn is_found_again(hyper: &Hyper) -> bool {
    let found = divisors(hyper).and_then(|divisors| llama3_of(hyper, &divisors));
    found.is_ok_and(|found| found == hyper.scaling)
}

/// The high factor and the context that a ramp has whose low factor is 1: on it, the share of a
/// frequency that is kept is linear in the frequency, so two divisors say all.
fn of_the_ramp(plain: &[f32], divisors: &[f32], factor: f32) -> Option<(f32, u64)> {
    let least = 1.0 / f64::from(factor);
    let shares = plain.iter().zip(divisors).map(|(&plain, &divisor)| {
        let share = (1.0 / f64::from(divisor) - least) / (1.0 - least);
        (f64::from(plain) / (2.0 * std::f64::consts::PI), share)
    });
    let ramp: Vec<_> = shares.filter(|(_, share)| (1e-4..0.9999).contains(share)).collect();
    let (&(f, x), &(g, y)) = ramp.first().zip(ramp.last())?;
    // share = frequency × original / (high - 1) - 1 / (high - 1)
    let slope = (x - y) / (f - g);
    let above = 1.0 / (f * slope - x);
    let (high, original) = (1.0 + above, slope * above);
    let sound = high.is_finite() && (1.0..=4e9).contains(&original);
    // Written by people, so of few digits.
    sound.then(|| (((high * 256.0).round() / 256.0) as f32, original.round() as u64))
}

/// `_compute_llama3_parameters`.
fn llama3(plain: &[f32], scaling: &Scaling) -> Vec<f32> {
    let &Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } = scaling else {
        return plain.to_vec();
    };
    let original = original as f32;
    let (longest, shortest) = (original / low_freq_factor, original / high_freq_factor);
    let scale = |&f: &f32| {
        let wavelength = (2.0 * std::f64::consts::PI) as f32 / f;
        if wavelength > longest {
            f / factor
        } else if wavelength < shortest {
            f
        } else {
            let smooth =
                (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
            (1.0 - smooth) * f / factor + smooth * f
        }
    };
    plain.iter().map(scale).collect()
}

/// `_compute_yarn_parameters`.
fn yarn(powers: &[f32], theta: f64, dims: u64, scaling: &Scaling) -> Vec<f32> {
    let &Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } = scaling else {
        return powers.iter().map(|power| 1.0 / power).collect();
    };
    let dimension = |rotations: f32| {
        let turns = f64::from(rotations) * 2.0 * std::f64::consts::PI;
        dims as f64 * libm::log(original as f64 / turns) / (2.0 * libm::log(theta))
    };
    let (mut low, mut high) = (dimension(beta_fast), dimension(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dims as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let blend = |(i, power): (usize, &f32)| {
        let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let kept = 1.0 - ramp;
        1.0 / (factor * power) * (1.0 - kept) + 1.0 / power * kept
    };
    powers.iter().enumerate().map(blend).collect()
}
