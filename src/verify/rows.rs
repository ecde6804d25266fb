//! Packed rows against our own encoding of them, so that one scaled row of many is caught.
//!
//! A row's error says little: an encoder that is led by importance clips an outlier that no
//! activation meets, and its row may then err sixty times as much as ours (measured on weights of
//! log-normal scale). But it clips few weights, while a wrong scale moves them all. So a row is
//! cut into runs of 32 weights; the slope of a run is s = ⟨c, r⟩ / ⟨r, r⟩; and the row's scale is
//! the median, over its runs, of how far s is from the slope of our own encoding.
//!
//! Let ν be the error of our own encoding, Σ(e − r)² / Σr². Where scales are fitted by least
//! squares, ⟨c, r − c⟩ = 0 and s = 1 − ν; where they are not, the noise is independent of the
//! weights and a row's s is 1 ± sqrt(ν / n). With ν of the row plus that of the tensor, for a row
//! may have had luck, two honest encoders of n weights are no further apart than
//!
//! ```text
//! |median (s − s(own))| ≤ 3 ν + 6 sqrt(ν / n) + sqrt(ν) / 2
//! ```
//!
//! The last term is for rows whose weights are all of one size: there an encoder that searches may
//! lie half a level off ours in every weight. The limit is 0.007 for `q8_0` and 0.025 for `q6_k`
//! in rows of 256, and 0.15 for `q4_0`. A row that is not the reference's at all has a slope near
//! 0.

use super::rule::Values;
use super::scan::ratio;

/// Weights of a run: the smallest number that shares a scale in most packings.
const RUN: usize = 32;

/// What is known of a row that differs from our own encoding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The index of its first element.
    start: u64,
    len: usize,
    /// The median, over its runs, of s − s(own).
    off: f64,
    /// Σ(e − r)² / Σr².
    own_nmse: f64,
}

/// What the rows of a tensor say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    pub(super) wrong: u64,
    /// The first element of the worst row, and what is wrong with it.
    pub(super) worst: Option<(u64, String)>,
}

/// The rows of a piece that differ from our own encoding.
pub(super) fn gather(values: &Values<'_>, own: &[f32], len: usize, start: u64) -> Vec<Row> {
    let rows = values.narrow.chunks(len).zip(values.candidate.chunks(len)).zip(own.chunks(len));
    let rows = rows.enumerate().filter(|(_, ((_, c), e))| c != e);
    rows.filter_map(|(i, ((r, c), e))| row(r, c, e, start + (i * len) as u64)).collect()
}

/// Nothing for a row of zeros, which has no scale: the bound of its elements is near zero.
fn row(reference: &[f32], candidate: &[f32], own: &[f32], start: u64) -> Option<Row> {
    let (mut power, mut error, mut offs) = (0.0, 0.0, Vec::new());
    let runs = reference.chunks(RUN).zip(candidate.chunks(RUN)).zip(own.chunks(RUN));
    for ((r, c), e) in runs {
        let (mut square, mut product) = (0.0, 0.0);
        for ((r, c), e) in r.iter().zip(c).zip(e) {
            let (r, c, e) = (f64::from(*r), f64::from(*c), f64::from(*e));
            square += r * r;
            product += (c - e) * r;
            error += (e - r) * (e - r);
        }
        power += square;
        if square > 0.0 {
            offs.push(product / square);
        }
    }
    offs.sort_by(f64::total_cmp);
    let off = *offs.get(offs.len() / 2)?;
    Some(Row { start, len: reference.len(), off, own_nmse: ratio(error, power) })
}

/// Which rows are scaled by more than honest encoders differ. `own_nmse` is that of the tensor.
pub(super) fn judge<'r>(rows: impl Iterator<Item = &'r Row>, own_nmse: Option<f64>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut worst = 0.0;
    for row in rows {
        let allowed = row.allowed(own_nmse.unwrap_or(0.0));
        // A NaN is not within anything.
        if row.off.abs() <= allowed {
            continue;
        }
        verdict.wrong += 1;
        let excess = row.off.abs() / allowed;
        if verdict.worst.is_none() || excess > worst {
            worst = excess;
            let scale = 1.0 + row.off;
            let text = format!("scaled by {scale:.4}, where 1 ± {allowed:.4} is allowed");
            verdict.worst = Some((row.start, text));
        }
    }
    verdict
}

impl Row {
    fn allowed(&self, tensor_nmse: f64) -> f64 {
        let nu = self.own_nmse + tensor_nmse;
        3.0 * nu + 6.0 * (nu / self.len as f64).sqrt() + nu.sqrt() / 2.0
    }
}
