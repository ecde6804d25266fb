//! How near two models' predictions are, position by position.
//!
//! All sums are in binary64 and in the order of the positions, and `exp` and `ln` are libm's
//! portable ones: the numbers do not depend on the machine or on the number of threads.

use rayon::prelude::*;

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
    /// −ln p(next id) by the reference and by the candidate.
    surprise: Option<(f64, f64)>,
}

/// How near two models' predictions are.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Positions compared.
    pub positions: usize,
    /// Mean of KLD(reference ‖ candidate), in nats.
    pub mean_kld: f64,
    /// Standard error of that mean, as if positions were independent.
    pub mean_kld_error: f64,
    /// Median of KLD.
    pub median_kld: f64,
    /// 99th percentile of KLD, by nearest rank.
    pub p99_kld: f64,
    /// Maximum of KLD.
    pub max_kld: f64,
    /// Share of positions where both think the same id most likely.
    pub top1_agreement: f64,
    /// Standard error of that share.
    pub top1_error: f64,
    /// Σ(c − r)² / Σr² over all logits.
    pub nmse: f64,
    /// The largest |c − r| of all logits.
    pub max_abs_diff: f64,
    /// Perplexity of the reference on the ids, if there was an id to predict.
    pub ppl_reference: Option<f64>,
    /// Perplexity of the candidate on the ids.
    pub ppl_candidate: Option<f64>,
    /// KLD at each position.
    pub klds: Vec<f64>,
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
        let n = all.len() as f64;
        let klds: Vec<f64> = all.iter().map(|p| p.kld).collect();
        let mut sorted = klds.clone();
        sorted.sort_by(f64::total_cmp);
        let max_kld = *sorted.last()?;
        let mean = klds.iter().sum::<f64>() / n;
        let variance = klds.iter().map(|kld| (kld - mean) * (kld - mean)).sum::<f64>() / n;
        let top1 = all.iter().filter(|p| p.same_top).count() as f64 / n;
        let ratio =
            all.iter().map(|p| p.error).sum::<f64>() / all.iter().map(|p| p.power).sum::<f64>();
        let surprises: Vec<(f64, f64)> = all.iter().filter_map(|p| p.surprise).collect();
        let perplexity = |side: fn(&(f64, f64)) -> f64| {
            let sum: f64 = surprises.iter().map(side).sum();
            (!surprises.is_empty()).then(|| libm::exp(sum / surprises.len() as f64))
        };
        Some(Metrics {
            positions: all.len(),
            mean_kld: mean,
            mean_kld_error: (variance / n).sqrt(),
            median_kld: median(&sorted),
            p99_kld: sorted[(sorted.len() * 99).div_ceil(100) - 1],
            max_kld,
            top1_agreement: top1,
            top1_error: (top1 * (1.0 - top1) / n).sqrt(),
            // Two models that answer zeros everywhere are equal.
            nmse: if all.iter().all(|p| p.error == 0.0) { 0.0 } else { ratio },
            max_abs_diff: all.iter().fold(0.0, |max, p| greater(max, p.max_abs_diff)),
            ppl_reference: perplexity(|pair| pair.0),
            ppl_candidate: perplexity(|pair| pair.1),
            klds,
        })
    }
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        _ => sorted[middle],
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
    let surprise = next.and_then(|id| {
        let id = id as usize;
        let (r, c) = (reference.get(id)?, candidate.get(id)?);
        Some((r_norm - f64::from(*r), c_norm - f64::from(*c)))
    });
    let same_top = top(reference) == top(candidate);
    // Rounding can leave −1e-17 where the distributions are equal.
    let kld = if kld < 0.0 { 0.0 } else { kld };
    Position { kld, same_top, error, power, max_abs_diff, surprise }
}

/// ln Σ exp(x).
fn log_sum_exp(logits: &[f32]) -> f64 {
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
        assert_eq!((metrics.mean_kld, metrics.nmse, metrics.top1_agreement), (0.0, 0.0, 1.0));
        assert_eq!((metrics.ppl_reference, metrics.max_abs_diff), (None, 0.0));
    }

    /// p = (1/2, 1/2), q = (1/4, 3/4): KLD = ½ ln(½ / ¼) + ½ ln(½ / ¾) = ½ ln(4/3).
    #[test]
    fn divergence_and_perplexity_of_known_distributions() {
        let three = 3f32.ln();
        let metrics = metrics(&[0.0, 0.0], &[0.0, three], &[Some(1)]);
        assert!((metrics.mean_kld - 0.5 * (4.0f64 / 3.0).ln()).abs() < 1e-7);
        assert!((metrics.ppl_reference.unwrap() - 2.0).abs() < 1e-12);
        assert!((metrics.ppl_candidate.unwrap() - 4.0 / 3.0).abs() < 1e-7);
        assert_eq!(metrics.top1_agreement, 0.0);
        // The reference is all zeros: no error can be small against it.
        assert!(metrics.nmse.is_infinite());
    }

    /// A shift of all logits changes no probability.
    #[test]
    fn a_shift_is_no_divergence() {
        let metrics = metrics(&[1.0, 2.0, 0.0, 4.0], &[11.0, 12.0, 10.0, 14.0], &[None, None]);
        assert!(metrics.max_kld < 1e-12 && metrics.nmse > 1.0);
    }

    #[test]
    fn a_nan_is_never_small() {
        let metrics = metrics(&[1.0, 2.0], &[f32::NAN, 2.0], &[None]);
        assert!(
            metrics.mean_kld.is_nan() && metrics.nmse.is_nan() && metrics.max_abs_diff.is_nan()
        );
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let mut gather = Gather::default();
        for i in 0..200 {
            gather.add(2, &[0.0, 0.0], &[0.0, i as f32 / 100.0], &[None]);
        }
        let metrics = gather.finish().unwrap();
        assert_eq!(metrics.p99_kld, metrics.klds[197]);
        assert_eq!(metrics.median_kld, (metrics.klds[99] + metrics.klds[100]) / 2.0);
    }
}
