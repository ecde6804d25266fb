//! Means with their standard errors, and the values between which a share of all lies.
//!
//! As llama-perplexity counts them (llama.cpp, tools/perplexity/perplexity.cpp), but in binary64
//! throughout. Sums are in the order of the positions.

/// Fewer values than these say nothing of how far their mean is to be trusted.
const ENOUGH: usize = 11;

/// A mean, and how far it is to be trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Mean {
    /// Σx / n.
    pub value: f64,
    /// The standard error of the mean, as if the values were independent; 0 of ten or fewer.
    pub error: f64,
}

impl Mean {
    /// The mean of these values; of none, 0.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        Self { value: average(values.clone()), error: covariance(values.map(|x| (x, x))).sqrt() }
    }

    /// The share of `true`.
    pub fn share(values: impl Iterator<Item = bool> + Clone) -> Self {
        let n = values.clone().count();
        let share = average(values.map(|x| if x { 1.0 } else { 0.0 }));
        let error = if n > 1 { (share * (1.0 - share) / (n - 1) as f64).sqrt() } else { 0.0 };
        Self { value: share, error }
    }

    /// What becomes of it where `f` is applied, and `slope` is the derivative of `f` there.
    pub fn map(self, f: impl Fn(f64) -> f64, slope: impl Fn(f64) -> f64) -> Self {
        let error = if self.error == 0.0 { 0.0 } else { slope(self.value).abs() * self.error };
        Self { value: f(self.value), error }
    }
}

/// The covariance of the means of two kinds of values; 0 of ten pairs or fewer.
pub(super) fn covariance(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let n = pairs.clone().count();
    if n < ENOUGH {
        return 0.0;
    }
    let (a, b) = (average(pairs.clone().map(|p| p.0)), average(pairs.clone().map(|p| p.1)));
    let sum: f64 = pairs.map(|(x, y)| (x - a) * (y - b)).sum();
    sum / n as f64 / (n - 1) as f64
}

fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
    if n == 0 { 0.0 } else { sum / n as f64 }
}

/// How values are spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Spread {
    /// Their mean.
    pub mean: Mean,
    sorted: Vec<f64>,
}

impl Spread {
    /// How these values are spread; nothing if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        (!sorted.is_empty()).then(|| Self { mean: Mean::of(values.iter().copied()), sorted })
    }

    /// The value below which this share of all lies, between its neighbours by straight line.
    /// A NaN counts as greater than all.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.sorted.len() - 1;
        let place = share.clamp(0.0, 1.0) * last as f64;
        let below = place as usize;
        let (low, high) = (self.sorted[below], self.sorted[(below + 1).min(last)]);
        let beyond = place - below as f64;
        // On a value its neighbour does not count, whatever it is; nor between two infinities.
        if beyond == 0.0 || low == high { low } else { low + beyond * (high - low) }
    }

    /// The greatest value.
    pub fn max(&self) -> f64 {
        self.quantile(1.0)
    }

    /// The least value.
    pub fn min(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy: `numpy.percentile([1, 2, 4, 8], [0, 25, 50, 99, 100])`.
    #[test]
    fn quantiles_lie_between_neighbours() {
        let spread = Spread::of(&[8.0, 1.0, 4.0, 2.0]).unwrap();
        let found = [0.0, 0.25, 0.5, 0.99, 1.0].map(|share| spread.quantile(share));
        for (found, expected) in found.iter().zip([1.0, 1.75, 3.0, 7.88, 8.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    /// numpy: `numpy.std(x, ddof=1) / sqrt(12)` for x = 0 … 11, and `numpy.cov(x, x * x) / 12`.
    #[test]
    fn errors_are_those_of_the_mean() {
        let x = (0..12).map(f64::from);
        let mean = Mean::of(x.clone());
        assert!((mean.value - 5.5).abs() < 1e-12);
        assert!((mean.error - 1.040_832_999_733_066_3).abs() < 1e-12, "{}", mean.error);
        let both = covariance(x.map(|x| (x, x * x)));
        assert!((both - 11.916_666_666_666_664).abs() < 1e-9, "{both}");
        assert_eq!(Mean::of([1.0, 3.0].into_iter()).error, 0.0, "too few");
    }

    #[test]
    fn a_nan_is_the_greatest() {
        let spread = Spread::of(&[1.0, f64::NAN, 2.0]).unwrap();
        assert!(spread.max().is_nan() && spread.mean.value.is_nan());
        assert_eq!((spread.min(), spread.median()), (1.0, 2.0));
    }
}
