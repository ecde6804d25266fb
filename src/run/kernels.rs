//! The loops in which a model's time goes: products of matrices, sums, softmax, norm.
//!
//! Prompts are computed in panels of [`LANES`] tokens: `[feature][lane]`, a lane for each token.
//! Each token's sums then stay in their own lane, in an order that no instruction set changes.
//! Sums are taken over chunks of [`CHUNK`], and the chunks' sums added up: rounding errors then
//! grow with the root of both counts, not of their product.

use super::math::{self, exp, gelu_tanh, silu};
use crate::ir::Activation;
use crate::ir::simd::{Isa, Level, dispatch};
use crate::quant::rows::{LANES as PARTIAL, add_products, total as fold};

/// Tokens in a panel of a prompt.
pub const LANES: usize = 32;

/// Terms that are summed before their sum is added to that of the others.
pub(super) const CHUNK: usize = 256;

/// Rows that are packed at once: a multiple of the rows of either tile. Their chunk, 48 KiB,
/// stays in the second cache while the panels pass by.
const BLOCK: usize = 48;

/// Values as a matrix, stored by rows (the columns' stride is 1) or by columns.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements.
    pub values: &'a [f32],
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
    /// The distance of one row from the next.
    pub row_stride: usize,
    /// The distance of one column from the next.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows lie one after the other.
    pub fn by_rows(values: &'a [f32], columns: usize) -> Self {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of [`Self::by_rows`].
    pub(super) fn by_columns(values: &'a [f32], rows: usize) -> Self {
        let columns = values.len().checked_div(rows).unwrap_or(0);
        Self { values, rows, columns, row_stride: 1, column_stride: rows }
    }
}

/// The product of a matrix with panels: `x` is `[panel][column][lane]`, `out` is
/// `[panel][row][lane]`.
pub fn multiply(x: &[[f32; LANES]], matrix: Matrix<'_>, out: &mut [[f32; LANES]]) {
    debug_assert_eq!(x.len() * matrix.rows, out.len() * matrix.columns);
    // As many rows in a tile as leave their sums in registers; the sums do not depend on it.
    match Isa::best().level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => multiply_wide(x, matrix, out),
        _ => multiply_narrow(x, matrix, out),
    }
}

dispatch! {
    fn multiply_wide(x: &[[f32; LANES]], matrix: Matrix<'_>, out: &mut [[f32; LANES]])
        = multiply_with::<12>
}
dispatch! {
    fn multiply_narrow(x: &[[f32; LANES]], matrix: Matrix<'_>, out: &mut [[f32; LANES]])
        = multiply_with::<3>
}

#[inline(always)]
fn multiply_with<const R: usize>(x: &[[f32; LANES]], matrix: Matrix<'_>, out: &mut [[f32; LANES]]) {
    if matrix.columns == 0 || matrix.rows == 0 {
        return out.fill([0.0; LANES]);
    }
    let mut packed = [0.0; BLOCK * CHUNK];
    for first in (0..matrix.rows).step_by(BLOCK) {
        let rows = first..matrix.rows.min(first + BLOCK);
        for from in (0..matrix.columns).step_by(CHUNK) {
            let columns = from..matrix.columns.min(from + CHUNK);
            let len = columns.len();
            let packed = packed.as_chunks_mut::<R>().0;
            for (group, tile) in rows.clone().step_by(R).zip(packed.chunks_exact_mut(len)) {
                pack(matrix, group..rows.end.min(group + R), columns.clone(), tile);
            }
            let panels = x.chunks_exact(matrix.columns).zip(out.chunks_exact_mut(matrix.rows));
            for (x, out) in panels {
                let (x, out) = (&x[columns.clone()], &mut out[rows.clone()]);
                for (out, tile) in out.chunks_mut(R).zip(packed.chunks_exact(len)) {
                    add_tile(x, tile, from == 0, out);
                }
            }
        }
    }
}

/// Rows of the matrix side by side: `tile[column][row]`. Rows past the last are left as they are:
/// nobody looks at their sums.
#[inline(always)]
fn pack<const R: usize>(
    matrix: Matrix<'_>,
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    tile: &mut [[f32; R]],
) {
    let start = columns.start * matrix.column_stride;
    for (r, row) in rows.enumerate() {
        let values = &matrix.values[row * matrix.row_stride + start..];
        if matrix.column_stride == 1 {
            for (place, value) in tile.iter_mut().zip(values) {
                place[r] = *value;
            }
        } else {
            for (place, value) in tile.iter_mut().zip(values.iter().step_by(matrix.column_stride)) {
                place[r] = *value;
            }
        }
    }
}

/// The products of one panel's chunk with as many rows as fit in registers.
#[inline(always)]
fn add_tile<const R: usize>(
    x: &[[f32; LANES]],
    tile: &[[f32; R]],
    is_first: bool,
    out: &mut [[f32; LANES]],
) {
    let mut sums = [[0.0f32; LANES]; R];
    for (x, weights) in x.iter().zip(tile) {
        for (sums, weight) in sums.iter_mut().zip(weights) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = x.mul_add(*weight, *sum);
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(&sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = if is_first { *sum } else { *out + sum };
        }
    }
}

dispatch! {
    /// The dot product of two vectors.
    pub fn dot(a: &[f32], b: &[f32]) -> f32 = dot_with
}

#[inline(always)]
fn dot_with(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; PARTIAL];
    add_products(&mut sums, a, b);
    fold(sums)
}

dispatch! {
    /// Adds to `out` the sum of `weights[i]` times row `i` of `rows`.
    pub(super) fn add_rows(weights: &[f32], rows: &[f32], out: &mut [f32]) = add_rows_with
}

#[inline(always)]
fn add_rows_with(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let size = out.len().max(1);
    for (i, out) in out.chunks_mut(PARTIAL).enumerate() {
        let rows = rows.chunks_exact(size).map(|row| &row[i * PARTIAL..][..out.len()]);
        let mut sums = [0.0f32; PARTIAL];
        for (weight, row) in weights.iter().zip(rows) {
            // A whole piece stays in registers from the first row to the last.
            if let Ok(row) = <&[f32; PARTIAL]>::try_from(row) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(*weight, *sum);
                }
            } else {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum = x.mul_add(*weight, *sum);
                }
            }
        }
        out.iter_mut().zip(&sums).for_each(|(out, sum)| *out += sum);
    }
}

dispatch! {
    /// `e^((s − max) · scale)` in place of each score s, and the sum of them and of the sink's: a
    /// score of no position, −∞ if there is none.
    pub(super) fn softmax(scores: &mut [f32], scale: f32, sink: f32) -> f32 = softmax_with
}

#[inline(always)]
fn softmax_with(scores: &mut [f32], scale: f32, sink: f32) -> f32 {
    let max = scores.iter().fold(sink, |max, x| if *x > max { *x } else { max });
    for score in scores.iter_mut() {
        *score = exp((*score - max) * scale);
    }
    let mut sums = [0.0; PARTIAL];
    for terms in scores.chunks(PARTIAL) {
        for (sum, term) in sums.iter_mut().zip(terms) {
            *sum += term;
        }
    }
    fold(sums) + exp((sink - max) * scale)
}

/// Which rows of scores each lane sees: from `first` on, before `end`.
pub(super) struct Visible {
    pub(super) first: [u32; LANES],
    pub(super) end: [u32; LANES],
}

dispatch! {
    /// [`softmax`] of each lane, over the rows that it sees; the others become zero.
    pub(super) fn softmax_lanes(
        scores: &mut [[f32; LANES]],
        scale: f32,
        sink: f32,
        visible: &Visible
    ) -> [f32; LANES] = softmax_lanes_with
}

#[inline(always)]
fn softmax_lanes_with(
    scores: &mut [[f32; LANES]],
    scale: f32,
    sink: f32,
    visible: &Visible,
) -> [f32; LANES] {
    let mut max = [sink; LANES];
    for (row, scores) in (0u32..).zip(scores.iter_mut()) {
        for lane in 0..LANES {
            let seen = (row >= visible.first[lane]) & (row < visible.end[lane]);
            let score = if seen { scores[lane] } else { f32::NEG_INFINITY };
            scores[lane] = score;
            max[lane] = if score > max[lane] { score } else { max[lane] };
        }
    }
    let mut total = [0.0; LANES];
    for scores in scores.chunks_mut(CHUNK) {
        let mut sums = [0.0; LANES];
        for scores in scores {
            for lane in 0..LANES {
                scores[lane] = exp((scores[lane] - max[lane]) * scale);
                sums[lane] += scores[lane];
            }
        }
        for (total, sum) in total.iter_mut().zip(&sums) {
            *total += sum;
        }
    }
    for (total, max) in total.iter_mut().zip(&max) {
        *total += exp((sink - max) * scale);
    }
    total
}

dispatch! {
    /// `gate ← silu(gate) · up`.
    pub(super) fn gate_silu(gate: &mut [f32], up: &[f32]) = gate_silu_with
}

#[inline(always)]
fn gate_silu_with(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = silu(*gate) * up;
    }
}

/// The activation of each value.
pub(super) fn activate(activation: Activation, x: &mut [f32]) {
    let map = |x: &mut [f32], f: fn(f32) -> f32| x.iter_mut().for_each(|x| *x = f(*x));
    match activation {
        Activation::Silu => activate_silu(x),
        Activation::GeluTanh => activate_gelu_tanh(x),
        other => map(x, math::of(other)),
    }
}

/// `gate ← activation(gate) · up`.
pub(super) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => gate_silu(gate, up),
        other => {
            activate(other, gate);
            gate.iter_mut().zip(up).for_each(|(gate, up)| *gate *= up);
        }
    }
}

dispatch! {
    fn activate_silu(x: &mut [f32]) = activate_silu_with
}

#[inline(always)]
fn activate_silu_with(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = silu(*x));
}

dispatch! {
    fn activate_gelu_tanh(x: &mut [f32]) = activate_gelu_tanh_with
}

#[inline(always)]
fn activate_gelu_tanh_with(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = gelu_tanh(*x));
}

/// `(x − mean(x)) / sqrt(var(x) + ε) · w + b` of each lane of a panel:
/// <https://arxiv.org/abs/1607.06450>.
pub(super) fn layer_norm<const L: usize>(
    x: &mut [[f32; L]],
    (weights, bias): (&[f32], Option<&[f32]>),
    epsilon: f32,
) {
    let features = x.len() as f32;
    let means = lane_sums(x, |x| x).map(|sum| sum / features);
    for row in x.iter_mut() {
        row.iter_mut().zip(&means).for_each(|(x, mean)| *x -= mean);
    }
    let factors = lane_sums(x, |x| x * x).map(|sum| 1.0 / (sum / features + epsilon).sqrt());
    for (i, row) in x.iter_mut().enumerate() {
        let (weight, bias) = (weights[i], bias.map_or(0.0, |bias| bias[i]));
        for (x, factor) in row.iter_mut().zip(&factors) {
            *x = *x * factor * weight + bias;
        }
    }
}

/// The sum of each lane's terms, in an order that depends on their number alone.
fn lane_sums<const L: usize>(x: &[[f32; L]], term: impl Fn(f32) -> f32) -> [f32; L] {
    let mut sums = [[0.0; L]; PARTIAL];
    for rows in x.chunks(PARTIAL) {
        for (sums, row) in sums.iter_mut().zip(rows) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += term(*x);
            }
        }
    }
    std::array::from_fn(|lane| fold(std::array::from_fn(|part| sums[part][lane])))
}

/// `x / sqrt(mean(x²) + ε) · w` of each lane of a panel: <https://arxiv.org/abs/1910.07467>.
pub(super) fn rms_norm<const L: usize>(x: &mut [[f32; L]], weights: &[f32], epsilon: f32) {
    let features = x.len() as f32;
    let factors = lane_sums(x, |x| x * x).map(|sum| 1.0 / (sum / features + epsilon).sqrt());
    for (row, weight) in x.iter_mut().zip(weights) {
        for (x, factor) in row.iter_mut().zip(&factors) {
            *x = weight * (*x * factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::simd::tests::on_each;

    /// A generator of test values between −1 and 1: Numerical Recipes' linear congruence.
    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn same_everywhere(what: &str, compute: impl FnMut() -> Vec<f32>) -> Vec<f32> {
        let mut results = on_each(compute).into_iter();
        let (_, first) = results.next().unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for (isa, other) in results {
            assert_eq!(bits(&first), bits(&other), "{what} on {isa:?}");
        }
        first
    }

    fn nmse(found: &[f32], exact: &[f64]) -> f64 {
        assert_eq!(found.len(), exact.len());
        let error: f64 = found.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        error / exact.iter().map(|b| b * b).sum::<f64>()
    }

    #[test]
    fn products_are_exact_and_the_same_on_every_instruction_set() {
        for (rows, columns, panels) in [(1, 1, 1), (13, 300, 2), (50, 257, 1), (5, 1024, 2)] {
            let matrix = values(rows * columns, 1);
            let x = values(panels * columns * LANES, 2);
            let lanes = x.as_chunks::<LANES>().0;
            let product = |matrix: Matrix<'_>| {
                same_everywhere("multiply", || {
                    let mut out = vec![[f32::NAN; LANES]; panels * rows];
                    multiply(lanes, matrix, &mut out);
                    out.into_flattened()
                })
            };
            let found = product(Matrix::by_rows(&matrix, columns));
            let mut exact = Vec::new();
            for panel in lanes.chunks(columns) {
                for row in matrix.chunks(columns) {
                    for lane in 0..LANES {
                        let terms = row.iter().zip(panel);
                        exact.push(
                            terms.map(|(w, x)| f64::from(*w) * f64::from(x[lane])).sum::<f64>(),
                        );
                    }
                }
            }
            assert!(nmse(&found, &exact) < 1e-12, "{}", nmse(&found, &exact));
            let transposed: Vec<f32> =
                (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect();
            assert_eq!(product(Matrix::by_columns(&transposed, rows)), found);
        }
    }

    #[test]
    fn vectors_are_the_same_on_every_instruction_set() {
        let (a, b) = (values(1000, 3), values(1000, 4));
        let exact = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let found = same_everywhere("dot", || vec![dot(&a, &b)]);
        assert!((f64::from(found[0]) - exact).abs() < 1e-5);
        same_everywhere("softmax", || {
            let mut scores = a.clone();
            let sum = softmax(&mut scores, 3.0, f32::NEG_INFINITY);
            scores.push(sum);
            scores
        });
        same_everywhere("gate", || {
            let mut gate = a.clone();
            gate_silu(&mut gate, &b);
            gate
        });
        same_everywhere("rows", || {
            let mut out = vec![1.0; 10];
            add_rows(&b[..100], &a, &mut out);
            out
        });
    }

    #[test]
    fn lanes_see_only_what_is_visible() {
        let scores = values(40 * LANES, 5);
        let visible = Visible {
            first: std::array::from_fn(|lane| lane as u32 / 2),
            end: std::array::from_fn(|lane| lane as u32 + 1),
        };
        let mut found = vec![];
        let sums = same_everywhere("softmax of lanes", || {
            found = scores.as_chunks::<LANES>().0.to_vec();
            softmax_lanes(&mut found, 0.5, f32::NEG_INFINITY, &visible).to_vec()
        });
        for lane in 0..LANES {
            let seen = lane / 2..lane + 1;
            let mut alone: Vec<f32> = seen.clone().map(|row| scores[row * LANES + lane]).collect();
            let sum = softmax(&mut alone, 0.5, f32::NEG_INFINITY);
            assert!((sum - sums[lane]).abs() < 1e-5);
            for row in 0..40 {
                let weight = if seen.contains(&row) { alone[row - seen.start] } else { 0.0 };
                assert_eq!(found[row][lane], weight);
            }
        }
    }
}
