//! Packed rows against our own encoding of them, so that one scaled row of many is caught.
//!
//! Two honest encoders of a row r differ. Let ν be the error that one of them leaves,
//! Σ(c − r)² / Σr². Twice the error of our plain encoder is allowed, as for whole tensors; but a
//! row of n weights is a small sample of n / 32 scales, and an encoder may have had luck with it,
//! so the tensor's mean error ν̄ is added, less the longer the row:
//!
//! ```text
//! ν ≤ L = 2 ν(own) + 2 ν̄(own) · sqrt(32 / n) + ε
//! ```
//!
//! The slope s = ⟨c, r⟩ / ⟨r, r⟩ says whether a row was scaled. Where the scales are fitted by
//! least squares, ⟨c, r − c⟩ = 0 and s = 1 − ν; where they are not, the noise is independent of
//! the weights and s = 1 ± sqrt(ν / n). So two honest slopes differ by no more than
//!
//! ```text
//! |s − s(own)| ≤ L + ν(own) + 4 (sqrt(L / n) + sqrt(ν(own) / n))
//! ```
//!
//! A factor f adds (f − 1)² to ν and f − 1 to s: 1.05 stands out of `q8_0` (ν 3e-5) and `q6_k`
//! (4e-4) in any row, 1.25 out of `q4_0` (8e-3).

use super::rule::Values;
use super::scan::ratio;

/// What is summed over a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The index of its first element.
    start: u64,
    len: usize,
    /// Σr².
    power: f64,
    /// Σ(c − r)².
    error: f64,
    /// Σ(e − r)², where e is our own encoding.
    own_error: f64,
    /// Σcr.
    product: f64,
    /// Σer.
    own_product: f64,
}

/// What the rows of a tensor say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) wrong: u64,
    /// The first element of the worst row, and what is wrong with it.
    pub(super) worst: Option<(u64, String)>,
}

/// The errors that are too small to speak of.
const EPSILON: f64 = 1e-12;

/// The rows of a piece that differ from our own encoding.
pub(super) fn gather(values: &Values<'_>, own: &[f32], len: usize, start: u64) -> Vec<Row> {
    let rows = values.narrow.chunks(len).zip(values.candidate.chunks(len)).zip(own.chunks(len));
    let rows = rows.enumerate().filter(|(_, ((_, c), e))| c != e);
    rows.map(|(i, ((r, c), e))| row(r, c, e, start + (i * len) as u64)).collect()
}

fn row(reference: &[f32], candidate: &[f32], own: &[f32], start: u64) -> Row {
    let len = reference.len();
    let (power, error, own_error, product, own_product) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut row = Row { start, len, power, error, own_error, product, own_product };
    for ((r, c), e) in reference.iter().zip(candidate).zip(own) {
        let (r, c, e) = (f64::from(*r), f64::from(*c), f64::from(*e));
        row.power += r * r;
        row.error += (c - r) * (c - r);
        row.own_error += (e - r) * (e - r);
        row.product += c * r;
        row.own_product += e * r;
    }
    row
}

/// Which rows are worse than an honest encoder could make them.
pub(super) fn judge<'r>(rows: impl Iterator<Item = &'r Row>, own_nmse: Option<f64>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut worst = 0.0;
    for row in rows {
        let Some((excess, text)) = row.fault(own_nmse.unwrap_or(0.0)) else { continue };
        verdict.wrong += 1;
        if verdict.worst.is_none() || excess > worst {
            worst = excess;
            verdict.worst = Some((row.start, text));
        }
    }
    verdict
}

impl Row {
    /// By how much the row is beyond its limit, as a factor, and what is wrong with it.
    fn fault(&self, tensor_nmse: f64) -> Option<(f64, String)> {
        let n = self.len as f64;
        let (nmse, own) = (ratio(self.error, self.power), ratio(self.own_error, self.power));
        let limit = 2.0 * own + 2.0 * tensor_nmse * (32.0 / n).sqrt() + EPSILON;
        if !(nmse <= limit) {
            let text = format!("NMSE {nmse:.3e}, our own encoding {own:.3e}, allowed {limit:.3e}");
            return Some((nmse / limit, text));
        }
        let (slope, own_slope) = (self.product / self.power, self.own_product / self.power);
        let noise = 4.0 * ((limit / n).sqrt() + (own / n).sqrt());
        let (off, allowed) = ((slope - own_slope).abs(), limit + own + noise);
        (off > allowed).then(|| {
            let text = format!(
                "scaled by {slope:.4}, our own encoding by {own_slope:.4}, allowed ±{allowed:.4}"
            );
            (off / allowed, text)
        })
    }
}
