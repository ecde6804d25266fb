//! Functions whose bits must not depend on the platform.

use crate::ir::Activation;

/// Below this, e^x rounds to zero; above [`HIGHEST`], to infinity.
const LOWEST: f32 = -104.0;
const HIGHEST: f32 = 89.0;
/// Added and subtracted, it rounds to an integer, which is then in the low bits: 1.5 · 2^23.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x within 2 ulp, from additions and multiplications alone, so that a loop of it is vectorised
/// and gives the same bits everywhere.
///
/// x = n · ln 2 + r with |r| ≤ ln 2 / 2; e^r is its Taylor series to the seventh power, whose
/// remainder is a tenth of an ulp.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons, not `clamp`, leave a NaN as it is at no cost.
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5];
    let tail = series.iter().fold(1.0 / 5040.0, |sum, term| sum * r + term);
    let power = (tail * r * r + r) + 1.0;
    // In two factors, because a subnormal result needs an exponent that no float has.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    power * two_to(half) * two_to(n.wrapping_sub(half))
}

#[inline(always)]
fn two_to(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// x / (1 + e⁻ˣ): <https://arxiv.org/abs/1702.03118>.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// ln(1 + eˣ).
pub fn softplus(x: f32) -> f32 {
    // As torch has it: beyond this, the two are the same in binary32.
    if x > 20.0 { x } else { libm::log1p(libm::exp(f64::from(x))) as f32 }
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x · Φ(x) with tanh in place of the error function, `0.5 · x · (1 + tanh(u))`, where
/// `0.5 · (1 + tanh(u))` is `sigmoid(2u)`: <https://arxiv.org/abs/1606.08415>.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    // 2 · sqrt(2 / π), as binary32.
    let u = 1.595_769 * (x + 0.044_715 * x * x * x);
    x * sigmoid(u)
}

/// x · Φ(x).
pub fn gelu(x: f32) -> f32 {
    let wide = f64::from(x);
    (0.5 * wide * (1.0 + libm::erf(wide * std::f64::consts::FRAC_1_SQRT_2))) as f32
}

/// The function of this name.
pub fn of(activation: Activation) -> fn(f32) -> f32 {
    match activation {
        Activation::Silu => silu,
        Activation::Gelu => gelu,
        Activation::GeluTanh => gelu_tanh,
        Activation::GeluQuick => |x| x * sigmoid(1.702 * x),
        Activation::Relu => |x| x.max(0.0),
        Activation::ReluSquared => |x| x.max(0.0) * x.max(0.0),
        Activation::Tanh => libm::tanhf,
        Activation::Sigmoid => sigmoid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_libm() {
        let (mut tried, mut worst) = (0, 0.0f64);
        for i in 0..2_000_000u32 {
            let x = -104.0 + 193.0 * (i as f32 / 2e6);
            let (found, exact) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            if exact > f64::from(f32::MAX) {
                continue;
            }
            let nearest = exact as f32;
            let ulp = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
            worst = worst.max((found - exact).abs() / ulp);
            tried += 1;
        }
        assert!(tried > 1_900_000, "only {tried} were tried");
        assert!(worst <= 2.0, "{worst} ulp");
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(silu(-1e30), 0.0);
        assert_eq!(silu(1e30), 1e30);
    }
}
