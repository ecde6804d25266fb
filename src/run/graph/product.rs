//! Products of matrices: sums in an order that depends on sizes alone, on any number of threads.

use rayon::prelude::*;

use super::number::Number;
use super::parts::each_part;
use crate::run::kernels::{LANES, Matrix, multiply};

/// A matrix in a buffer, transposed or not.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    /// The buffer, from the first element on.
    pub values: &'a [T],
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
    /// The distance of one row from the next.
    pub row_stride: usize,
    /// The distance of one column from the next.
    pub column_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows one after the other.
    pub fn rows(values: &'a [T], rows: usize, columns: usize) -> Self {
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same with rows for columns.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Panels that one task computes: enough that packing the matrix for them costs little.
const PANELS: usize = 8;

/// Rows of the matrix that one task computes.
const ROWS: usize = 480;

/// The product in panels: a lane for each column of `b`, or for each row of `a` if those are more.
pub(super) fn panels(a: View<'_, f32>, b: View<'_, f32>, out: &mut [f32]) {
    let (m, n) = (a.rows, b.columns);
    if a.columns == 0 {
        return out.fill(0.0);
    }
    if n >= m {
        lanes(
            a,
            n,
            |lane, column| fill(b, lane, column),
            |row, lane, count, sums| {
                out[row * n + lane..][..count].copy_from_slice(&sums[..count]);
            },
        );
    } else {
        let by_rows = a.transposed();
        lanes(
            b.transposed(),
            m,
            |lane, x| fill(by_rows, lane, x),
            |row, lane, count, sums| {
                for (i, sum) in sums[..count].iter().enumerate() {
                    out[(lane + i) * n + row] = *sum;
                }
            },
        );
    }
}

/// Copies 32 columns of a matrix, from `first` on, into a panel.
fn fill(b: View<'_, f32>, first: usize, panel: &mut [[f32; LANES]]) {
    let count = LANES.min(b.columns - first);
    for (row, lanes) in panel.iter_mut().enumerate() {
        let start = row * b.row_stride + first * b.column_stride;
        if b.column_stride == 1 {
            lanes[..count].copy_from_slice(&b.values[start..start + count]);
        } else {
            for (i, lane) in lanes[..count].iter_mut().enumerate() {
                *lane = b.values[start + i * b.column_stride];
            }
        }
    }
}

/// The product of a matrix with `count` lanes. `fill` gives 32 lanes from the given one on, a row
/// for each column of the matrix; `put` takes a row of the matrix, the first lane, how many lanes
/// count, and their sums.
pub(super) fn lanes(
    a: View<'_, f32>,
    count: usize,
    fill: impl Fn(usize, &mut [[f32; LANES]]) + Sync,
    mut put: impl FnMut(usize, usize, usize, &[f32; LANES]),
) {
    let depth = a.columns;
    let groups: Vec<usize> = (0..count).step_by(PANELS * LANES).collect();
    // A few groups at a time, so that what is not yet put away stays small.
    for groups in groups.chunks(4 * rayon::current_num_threads().max(1)) {
        let made: Vec<_> = groups
            .par_iter()
            .map(|first| {
                let panels = (count - first).div_ceil(LANES).min(PANELS);
                let mut x = vec![[0.0f32; LANES]; panels * depth];
                for (panel, x) in x.chunks_exact_mut(depth).enumerate() {
                    fill(first + panel * LANES, x);
                }
                (*first, panels, by_row_blocks(&x, a, panels))
            })
            .collect();
        for (first, panels, blocks) in made {
            for (row, out) in blocks {
                let rows = out.len() / panels.max(1);
                for (i, sums) in out.iter().enumerate() {
                    let lane = first + i / rows * LANES;
                    put(row + i % rows, lane, LANES.min(count - lane), sums);
                }
            }
        }
    }
}

fn by_row_blocks(
    x: &[[f32; LANES]],
    a: View<'_, f32>,
    panels: usize,
) -> Vec<(usize, Vec<[f32; LANES]>)> {
    let starts: Vec<usize> = (0..a.rows).step_by(ROWS).collect();
    let block = |first: &usize| {
        let rows = ROWS.min(a.rows - first);
        let mut out = vec![[0.0; LANES]; panels * rows];
        let matrix = Matrix {
            values: &a.values[first * a.row_stride..],
            rows,
            columns: a.columns,
            row_stride: a.row_stride,
            column_stride: a.column_stride,
        };
        multiply(x, matrix, &mut out);
        (*first, out)
    };
    starts.par_iter().map(block).collect()
}

/// The product of numbers of any type: terms are added in order.
pub(super) fn plain<T: Number>(a: View<'_, T>, b: View<'_, T>, out: &mut [T]) {
    out.fill(T::ZERO);
    if b.columns == 0 {
        return;
    }
    each_part(out, b.columns, &|row, out| {
        for k in 0..a.columns {
            let factor = a.values[row * a.row_stride + k * a.column_stride];
            let start = k * b.row_stride;
            if b.column_stride == 1 {
                for (sum, x) in out.iter_mut().zip(&b.values[start..]) {
                    *sum = sum.plus(factor.times(*x));
                }
            } else {
                let values = b.values[start..].iter().step_by(b.column_stride);
                for (sum, x) in out.iter_mut().zip(values) {
                    *sum = sum.plus(factor.times(*x));
                }
            }
        }
    });
}
