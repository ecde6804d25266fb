//! Weights of three values, −d, 0 and d, as TQ1_0, TQ2_0 and Q2_0 choose them.

use super::rows;

/// The nearest of −1, 0 and 1, plus one: halves are rounded away from zero. Where the scale is so
/// small that its reciprocal is infinite, every weight is `lost`.
#[inline(always)]
pub(super) fn level(x: f32, per_unit: f32, lost: u8) -> u8 {
    let x = x * per_unit;
    if x.is_finite() { u8::from(x >= 0.5) + u8::from(x > -0.5) } else { lost }
}

/// Half a step, which is the largest weight, and what the scale loses to f16.
pub(super) fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * (0.5 + 1.0 / 1024.0) + rows::F16_FLOOR
}

#[cfg(test)]
mod tests {
    use super::level;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let levels = [-1.0, -0.5, -0.49, -0.0, 0.49, 0.5, 1.0].map(|x| level(x, 1.0, 9));
        assert_eq!(levels, [0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(level(1e-40, f32::INFINITY, 9), 9);
        assert_eq!(level(0.0, f32::INFINITY, 9), 9);
    }
}
