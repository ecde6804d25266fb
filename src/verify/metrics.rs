//! How near two models' predictions are, position by position.
//!
//! All sums are in binary64 and in the order of the positions, and `exp` and `ln` are libm's
//! portable ones: the numbers do not depend on the machine or on the number of threads.

use rayon::prelude::*;

use super::statistics::{Mean, Spread, covariance};

/// The percentiles of KLD that llama-perplexity prints.
pub(super) const KLD_SHARES: &[f64] = &[99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1];
/// The percentiles of Δp that it prints.
pub(super) const DELTA_P_SHARES: &[f64] =
    &[99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1];

/// What is known of two models' logits at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Position {
    /// KLD(reference ‖ candidate), in nats.
    kld: f64,
    same_top: bool,
    /// Σ(c − r)² over the vocabulary.
    error: f64,
    /// Σr² over the vocabulary.
    power: f64,
    max_abs_diff: f64,
    /// What both think of the id that follows, if one does.
    followed: Option<Followed>,
}

/// What two models think of the id that follows a position.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Followed {
    /// −ln p by the reference and by the candidate.
    surprise: (f64, f64),
    /// p by the candidate − p by the reference.
    delta_p: f64,
}

/// How near two models' predictions are.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Positions compared.
    pub positions: usize,
    /// KLD(reference ‖ candidate), in nats.
    pub kld: Spread,
    /// Share of positions where both think the same id most likely.
    pub top1: Mean,
    /// Σ(c − r)² / Σr² over all logits.
    pub nmse: f64,
    /// The largest |c − r| of all logits.
    pub max_abs_diff: f64,
    /// What the models think of the ids that follow, if any does.
    pub text: Option<OnText>,
    /// KLD at each position.
    pub klds: Vec<f64>,
}

/// What two models think of the ids that really follow.
#[derive(Debug, Clone, PartialEq)]
pub struct OnText {
    /// Perplexity of the reference.
    pub reference: Mean,
    /// Perplexity of the candidate.
    pub candidate: Mean,
    /// ln(candidate's perplexity / reference's).
    pub ln_ratio: Mean,
    /// Candidate's perplexity / reference's.
    pub ratio: Mean,
    /// Candidate's perplexity − reference's.
    pub difference: Mean,
    /// Correlation of the two logarithms of perplexity; nothing where either never varies.
    pub correlation: Option<f64>,
    /// Δp = candidate's probability of the id that follows − reference's.
    pub delta_p: Spread,
    /// √ mean of Δp².
    pub rms_delta_p: Mean,
}

impl OnText {
    fn of(followed: &[Followed]) -> Option<Self> {
        let all = || followed.iter();
        let reference = Mean::of(all().map(|f| f.surprise.0));
        let candidate = Mean::of(all().map(|f| f.surprise.1));
        let both = covariance(all().map(|f| f.surprise));
        let (reference_ppl, candidate_ppl) = (exp(reference), exp(candidate));
        let (r, c) = (reference_ppl.value, candidate_ppl.value);
        // Errors that go together cancel in a difference: so it is taken at each position.
        let ln_ratio = Mean::of(all().map(|f| f.surprise.1 - f.surprise.0));
        let apart = Mean::of(all().map(|f| c * f.surprise.1 - r * f.surprise.0));
        let difference = Mean { value: c - r, error: apart.error };
        let varies = reference.error * candidate.error;
        let deltas: Vec<f64> = all().map(|f| f.delta_p).collect();
        Some(Self {
            reference: reference_ppl,
            candidate: candidate_ppl,
            ln_ratio,
            ratio: exp(ln_ratio),
            difference,
            correlation: (varies > 0.0).then(|| both / varies),
            delta_p: Spread::of(&deltas)?,
            rms_delta_p: Mean::of(deltas.iter().map(|d| d * d)).map(f64::sqrt, |x| 0.5 / x.sqrt()),
        })
    }
}

fn exp(mean: Mean) -> Mean {
    mean.map(libm::exp, libm::exp)
}

/// Gathers positions in their order.
#[derive(Debug, Default)]
pub struct Gather(Vec<Position>);

impl Gather {
    /// Adds the positions of a piece: logits of both as `[positions, vocab]`, and the id that
    /// follows each position, if one does.
    pub fn add(
        &mut self,
        vocab: usize,
        reference: &[f32],
        candidate: &[f32],
        next: &[Option<u32>],
    ) {
        let rows = reference.par_chunks_exact(vocab).zip(candidate.par_chunks_exact(vocab));
        let positions: Vec<Position> =
            rows.zip(next).map(|((r, c), next)| position(r, c, *next)).collect();
        self.0.extend(positions);
    }

    /// The numbers over all positions; nothing if there are none.
    pub fn finish(&self) -> Option<Metrics> {
        let all = &self.0;
        let klds: Vec<f64> = all.iter().map(|p| p.kld).collect();
        let ratio =
            all.iter().map(|p| p.error).sum::<f64>() / all.iter().map(|p| p.power).sum::<f64>();
        let followed: Vec<Followed> = all.iter().filter_map(|p| p.followed).collect();
        Some(Metrics {
            positions: all.len(),
            kld: Spread::of(&klds)?,
            top1: Mean::share(all.iter().map(|p| p.same_top)),
            // Two models that answer zeros everywhere are equal.
            nmse: if all.iter().all(|p| p.error == 0.0) { 0.0 } else { ratio },
            max_abs_diff: all.iter().fold(0.0, |max, p| greater(max, p.max_abs_diff)),
            text: OnText::of(&followed),
            klds,
        })
    }
}

/// The greater of two, where NaN is greater than all: `f64::max` would hide it.
pub(super) fn greater(a: f64, b: f64) -> f64 {
    if b.is_nan() || b > a { b } else { a }
}

fn position(reference: &[f32], candidate: &[f32], next: Option<u32>) -> Position {
    let (r_norm, c_norm) = (log_sum_exp(reference), log_sum_exp(candidate));
    let (mut kld, mut error, mut power, mut max_abs_diff) = (0.0, 0.0, 0.0, 0.0);
    for (&r, &c) in reference.iter().zip(candidate) {
        let (r, c) = (f64::from(r), f64::from(c));
        let log_p = r - r_norm;
        let p = libm::exp(log_p);
        // 0 · ln 0 is 0: a logit of −∞ takes no part.
        if p > 0.0 || p.is_nan() {
            kld += p * (log_p - (c - c_norm));
        }
        // Two equal infinities differ by nothing.
        let diff = if r == c { 0.0 } else { c - r };
        error += diff * diff;
        power += if r.is_infinite() { 0.0 } else { r * r };
        max_abs_diff = greater(max_abs_diff, diff.abs());
    }
    let followed = next.and_then(|id| {
        let id = id as usize;
        let (r, c) = (reference.get(id)?, candidate.get(id)?);
        let surprise = (r_norm - f64::from(*r), c_norm - f64::from(*c));
        Some(Followed { surprise, delta_p: libm::exp(-surprise.1) - libm::exp(-surprise.0) })
    });
    let same_top = top(reference) == top(candidate);
    // Rounding can leave −1e-17 where the distributions are equal.
    let kld = if kld < 0.0 { 0.0 } else { kld };
    Position { kld, same_top, error, power, max_abs_diff, followed }
}

/// ln Σ exp(x).
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let max = f64::from(max);
    let sum: f64 = logits.iter().map(|&x| libm::exp(f64::from(x) - max)).sum();
    max + libm::log(sum)
}

/// The index of the largest, the first of equals.
fn top(logits: &[f32]) -> usize {
    let better = |best: usize, (i, x): (usize, &f32)| if *x > logits[best] { i } else { best };
    logits.iter().enumerate().fold(0, better)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(reference: &[f32], candidate: &[f32], next: &[Option<u32>]) -> Metrics {
        let mut gather = Gather::default();
        gather.add(2, reference, candidate, next);
        gather.finish().unwrap()
    }

    #[test]
    fn equal_logits_do_not_differ() {
        let metrics = metrics(&[1.0, 2.0], &[1.0, 2.0], &[None]);
        assert_eq!((metrics.kld.mean.value, metrics.nmse, metrics.top1.value), (0.0, 0.0, 1.0));
        assert_eq!((metrics.text, metrics.max_abs_diff), (None, 0.0));
    }

    /// p = (1/2, 1/2), q = (1/4, 3/4): KLD = ½ ln(½ / ¼) + ½ ln(½ / ¾) = ½ ln(4/3).
    #[test]
    fn divergence_and_perplexity_of_known_distributions() {
        let three = 3f32.ln();
        let metrics = metrics(&[0.0, 0.0], &[0.0, three], &[Some(1)]);
        assert!((metrics.kld.mean.value - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-7);
        let text = metrics.text.unwrap();
        assert!((text.reference.value - 2.0).abs() < 1e-12);
        assert!((text.candidate.value - 4.0 / 3.0).abs() < 1e-7);
        assert!((text.delta_p.mean.value - 0.25).abs() < 1e-7);
        assert!((text.rms_delta_p.value - 0.25).abs() < 1e-7);
        assert_eq!(metrics.top1.value, 0.0);
        // The reference is all zeros: no error can be small against it.
        assert!(metrics.nmse.is_infinite());
    }

    /// A shift of all logits changes no probability.
    #[test]
    fn a_shift_is_no_divergence() {
        let metrics = metrics(&[1.0, 2.0, 0.0, 4.0], &[11.0, 12.0, 10.0, 14.0], &[None, None]);
        assert!(metrics.kld.max() < 1e-12 && metrics.nmse > 1.0);
    }

    #[test]
    fn a_nan_is_never_small() {
        let metrics = metrics(&[1.0, 2.0], &[f32::NAN, 2.0], &[None]);
        assert!(
            metrics.kld.mean.value.is_nan()
                && metrics.nmse.is_nan()
                && metrics.max_abs_diff.is_nan()
        );
    }

    /// What identical models print: zeros, and not nearly zeros.
    #[test]
    fn equal_models_differ_by_exactly_nothing() {
        let mut gather = Gather::default();
        for i in 0..20u32 {
            let logits = [i as f32 / 7.0, -1.5];
            gather.add(2, &logits, &logits, &[Some(i % 2)]);
        }
        let metrics = gather.finish().unwrap();
        assert_eq!((metrics.kld.mean, metrics.kld.max()), (Mean::default(), 0.0));
        assert_eq!(metrics.top1, Mean { value: 1.0, error: 0.0 });
        let text = metrics.text.unwrap();
        let zero = Mean::default();
        assert_eq!((text.ln_ratio, text.difference, text.rms_delta_p), (zero, zero, zero));
        assert_eq!((text.delta_p.min(), text.delta_p.max()), (0.0, 0.0));
        assert_eq!(text.ratio.value, 1.0);
        assert!((text.correlation.unwrap() - 1.0).abs() < 1e-12);
    }
}
