//! Products of matrices, and what is written as one.

use super::shape::permuted;
use super::{Operator, one, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real, walk};
use crate::run::graph::broadcast;
use crate::run::graph::call::Call;
use crate::run::graph::number::{Number, with_number, with_real};
use crate::run::graph::parts::each_part;
use crate::run::graph::product::{View, plain};
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("MatMul", 1, matmul),
    onnx("Gemm", 1, gemm),
    onnx("Einsum", 12, einsum),
    onnx("Det", 11, determinant),
    Operator { domain: "com.microsoft", name: "FusedMatMul", since: 1, compute: fused_matmul },
    Operator { domain: "com.microsoft", name: "FusedGemm", since: 1, compute: fused_gemm },
];

fn matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    call_product(call, a, b)
}

fn call_product(call: &Call<'_>, a: &Array, b: &Array) -> Result<Vec<Value>> {
    let dims = Batches::of(a.shape(), b.shape())?;
    call.room(&dims.shape)?;
    if a.dtype() != b.dtype() {
        return Err(call.unfit(1, format!("elements of {}", a.dtype())));
    }
    one(product(a, b, &dims)?)
}

/// The sizes of a product of stacks of matrices.
pub(super) struct Batches {
    /// The result's.
    pub(super) shape: Vec<usize>,
    /// Rows, depth and columns of one product.
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// Where the matrices of each product start, counted in matrices.
    pub(super) starts: Vec<(usize, usize)>,
}

impl Batches {
    /// As `numpy.matmul` has it: vectors are matrices of one row or one column.
    pub(super) fn of(a: &[usize], b: &[usize]) -> Result<Self> {
        let wrong =
            || Error::malformed(format!("found shapes {a:?} and {b:?}, which do not multiply"));
        let wide = |shape: &[usize], vector: [usize; 2]| match shape {
            [] => Err(wrong()),
            [_] => Ok(vector.to_vec()),
            shape => Ok(shape.to_vec()),
        };
        let first = wide(a, [1, a.first().copied().unwrap_or(0)])?;
        let second = wide(b, [b.first().copied().unwrap_or(0), 1])?;
        let (outer_a, inner_a) = first.split_at(first.len() - 2);
        let (outer_b, inner_b) = second.split_at(second.len() - 2);
        let (m, k, n) = (inner_a[0], inner_a[1], inner_b[1]);
        if inner_b[0] != k {
            return Err(wrong());
        }
        let outer = broadcast::common(&[outer_a, outer_b]).map_err(|_| wrong())?;
        let steps = |from| broadcast::steps(from, &outer).ok_or_else(wrong);
        let (steps_a, steps_b) = (steps(outer_a)?, steps(outer_b)?);
        let (mut starts_a, mut starts_b) = (Vec::new(), Vec::new());
        walk(&outer, &steps_a, 0, |place| starts_a.push(place));
        walk(&outer, &steps_b, 0, |place| starts_b.push(place));
        let mut shape = outer;
        shape.extend((a.len() > 1).then_some(m));
        shape.extend((b.len() > 1).then_some(n));
        Ok(Self { shape, m, k, n, starts: starts_a.into_iter().zip(starts_b).collect() })
    }
}

/// The product of stacks of matrices.
fn product(a: &Array, b: &Array, dims: &Batches) -> Result<Array> {
    if a.dtype().is_float() {
        return with_real!(a.dtype(), R => {
            let made = stacked(&a.reals::<R>()?, &b.reals::<R>()?, dims, R::product);
            Array::rounded(a.dtype(), dims.shape.clone(), made)
        });
    }
    with_number!(a.dtype(), T => {
        let made = stacked(a.slice::<T>()?, b.slice::<T>()?, dims, plain::<T>);
        Array::of(dims.shape.clone(), made)
    })
}

/// Products of the matrices of two stacks.
pub(super) fn stacked<T: Number>(
    a: &[T],
    b: &[T],
    dims: &Batches,
    multiply: fn(View<'_, T>, View<'_, T>, &mut [T]),
) -> Vec<T> {
    let Batches { m, k, n, .. } = *dims;
    let mut out = vec![T::ZERO; dims.starts.len() * m * n];
    let each = |index: usize, out: &mut [T]| {
        let (first, second) = dims.starts[index];
        let a = View::rows(&a[first * m * k..][..m * k], m, k);
        multiply(a, View::rows(&b[second * k * n..][..k * n], k, n), out);
    };
    each_part(&mut out, m * n, &each);
    out
}

/// `alpha · a · b + beta · c`.
fn gemm(call: &Call<'_>) -> Result<Vec<Value>> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let &[.., rows_a, columns_a] = a.shape() else { return Err(call.unfit(0, "a matrix")) };
    let &[rows_b, columns_b] = b.shape() else { return Err(call.unfit(1, "a matrix")) };
    if a.rank() != 2 {
        return Err(call.unfit(0, "a matrix"));
    }
    let (trans_a, trans_b) = (call.flag("transA", false)?, call.flag("transB", false)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (m, k) = if trans_a { (columns_a, rows_a) } else { (rows_a, columns_a) };
    let (depth, n) = if trans_b { (columns_b, rows_b) } else { (rows_b, columns_b) };
    if k != depth {
        return Err(call.unfit(1, format!("{k} rows to multiply with")));
    }
    call.room(&[m, n])?;
    let shape = vec![m, n];
    let added = call.optional(2)?.map(|c| broadcast::stretched(c, &shape));
    let added = added.transpose().map_err(|error| call.input_error(2, error))?;
    if !a.dtype().is_float() {
        return with_number!(a.dtype(), T => {
            let (x, y) = (a.slice::<T>()?, b.slice::<T>()?);
            let (x, y) = (View::rows(x, rows_a, columns_a), View::rows(y, rows_b, columns_b));
            let mut out = vec![T::ZERO; m * n];
            plain(turned(x, trans_a), turned(y, trans_b), &mut out);
            let scale = |x: T, by: f32| T::from_f64((x.to_f64() * f64::from(by)).round());
            if alpha != 1.0 {
                out.iter_mut().for_each(|x| *x = scale(*x, alpha));
            }
            if let Some(c) = added {
                let c = c.slice::<T>()?;
                out.iter_mut().zip(c).for_each(|(x, c)| *x = x.plus(if beta == 1.0 { *c } else { scale(*c, beta) }));
            }
            one(Array::of(shape, out)?)
        });
    }
    with_real!(a.dtype(), R => {
        let (x, y) = (a.reals::<R>()?, b.reals::<R>().map_err(|error| call.input_error(1, error))?);
        let (x, y) = (View::rows(&x, rows_a, columns_a), View::rows(&y, rows_b, columns_b));
        let mut out = vec![R::ZERO; m * n];
        R::product(turned(x, trans_a), turned(y, trans_b), &mut out);
        let (alpha, beta) = (R::from_f64(alpha.into()), R::from_f64(beta.into()));
        out.iter_mut().for_each(|x| *x *= alpha);
        if let Some(c) = added {
            let c = c.reals::<R>().map_err(|error| call.input_error(2, error))?;
            out.iter_mut().zip(c.iter()).for_each(|(x, c)| *x += beta * *c);
        }
        one(Array::rounded(a.dtype(), shape, out)?)
    })
}

fn turned<T>(view: View<'_, T>, turn: bool) -> View<'_, T> {
    if turn { view.transposed() } else { view }
}

/// A Gemm with an activation after it.
fn fused_gemm(call: &Call<'_>) -> Result<Vec<Value>> {
    let made = gemm(call)?;
    let activation = call.text("activation", "")?;
    let alpha = call.float("activation_alpha", 0.01)?;
    let made = made.first().ok_or_else(|| Error::bug("a product without a value"))?.tensor()?;
    with_real!(made.dtype(), R => {
        let alpha = R::from_f64(alpha.into());
        let apply = |x: R| Ok(match activation {
            "" => x,
            "Relu" => x.greater(R::ZERO),
            "Tanh" => x.tanh(),
            "Sigmoid" => super::unary::sigmoid(x),
            "LeakyRelu" => if x < R::ZERO { alpha * x } else { x },
            other => return Err(Error::unsupported(format!("attribute activation: '{other}'"))),
        });
        let made_values = made.reals::<R>()?.iter().map(|x| apply(*x)).collect::<Result<Vec<R>>>()?;
        one(Array::rounded(made.dtype(), made.shape().to_vec(), made_values)?)
    })
}

/// `alpha · a · b`, each transposed if its attribute says so.
fn fused_matmul(call: &Call<'_>) -> Result<Vec<Value>> {
    let turn = |index: usize, names: [&str; 2]| -> Result<Array> {
        let x = call.tensor(index)?;
        let mut order: Vec<usize> = (0..x.rank()).collect();
        if call.flag(names[1], false)? && x.rank() > 2 {
            // The batch stands between the rows and the columns.
            order[..x.rank() - 1].rotate_left(1);
        }
        if call.flag(names[0], false)? && x.rank() > 1 {
            order.swap(x.rank() - 1, x.rank() - 2);
        }
        permuted(x, &order)
    };
    let (a, b) = (turn(0, ["transA", "transBatchA"])?, turn(1, ["transB", "transBatchB"])?);
    let alpha = call.float("alpha", 1.0)?;
    let made = call_product(call, &a, &b)?;
    let made = made.first().ok_or_else(|| Error::bug("a product without a value"))?.tensor()?;
    with_real!(made.dtype(), R => {
        let alpha = R::from_f64(alpha.into());
        let scaled: Vec<R> = made.reals::<R>()?.iter().map(|x| alpha * *x).collect();
        one(Array::rounded(made.dtype(), made.shape().to_vec(), scaled)?)
    })
}

/// An equation of letters: the inputs' axes, and the output's.
struct Equation {
    inputs: Vec<Vec<char>>,
    output: Vec<char>,
}

/// Letters that stand for the axes of an ellipsis, from the last backwards.
const ELLIPSIS: u32 = 0xe000;

impl Equation {
    fn parse(text: &str, ranks: &[usize]) -> Result<Self> {
        let wrong = || Error::malformed(format!("attribute equation: found '{text}'"));
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) =
            compact.split_once("->").map_or((&compact[..], None), |(l, r)| (l, Some(r)));
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            return Err(wrong());
        }
        let mut hidden = 0;
        let mut inputs = Vec::new();
        for (term, rank) in terms.iter().zip(ranks) {
            let letters = term.replace("...", "").chars().count();
            let extra = rank.checked_sub(letters).filter(|n| *n == 0 || term.contains("..."));
            let extra = extra.ok_or_else(wrong)?;
            hidden = hidden.max(extra);
            inputs.push(Self::letters(term, extra));
        }
        let output = match right {
            Some(right) => Self::letters(right, hidden),
            None => {
                let all: Vec<char> = inputs.iter().flatten().copied().collect();
                let once = |c: &char| all.iter().filter(|other| *other == c).count() == 1;
                let mut letters: Vec<char> =
                    all.iter().copied().filter(|c| u32::from(*c) < ELLIPSIS && once(c)).collect();
                letters.sort_unstable();
                Self::letters("...", hidden).into_iter().chain(letters).collect()
            }
        };
        if !output.iter().all(|c| inputs.iter().any(|input| input.contains(c))) {
            return Err(wrong());
        }
        Ok(Self { inputs, output })
    }

    fn letters(term: &str, extra: usize) -> Vec<char> {
        let hidden: String =
            (0..extra).rev().filter_map(|i| char::from_u32(ELLIPSIS + i as u32)).collect();
        term.replace("...", &hidden).chars().collect()
    }
}

/// Sums of products over the letters that the output lacks. Two inputs at a time would be faster
/// for three or more; exporters emit two.
fn einsum(call: &Call<'_>) -> Result<Vec<Value>> {
    let tensors = call.tensors()?;
    let ranks: Vec<usize> = tensors.iter().map(|x| x.rank()).collect();
    let equation = Equation::parse(call.text("equation", "")?, &ranks)?;
    let mut letters = equation.output.clone();
    for c in equation.inputs.iter().flatten() {
        if !letters.contains(c) {
            letters.push(*c);
        }
    }
    let mut dims = vec![1usize; letters.len()];
    let mut steps = Vec::new();
    for (input, x) in equation.inputs.iter().zip(&tensors) {
        let own = crate::run::graph::array::strides(x.shape());
        let mut step = vec![0isize; letters.len()];
        for (axis, c) in input.iter().enumerate() {
            let at = letters.iter().position(|letter| letter == c).unwrap_or(0);
            let dim = x.shape()[axis];
            if dims[at] != 1 && dim != 1 && dims[at] != dim {
                return Err(Error::malformed(format!(
                    "axis '{c}' has sizes {} and {dim}",
                    dims[at]
                )));
            }
            dims[at] = dims[at].max(dim);
            step[at] += if dim == 1 { 0 } else { own[axis] };
        }
        steps.push(step);
    }
    let (outer, inner) = dims.split_at(equation.output.len());
    let count = call.room(outer)?;
    let first = tensors.first().ok_or_else(|| Error::malformed("found no inputs"))?;
    with_number!(first.dtype(), T => {
        let values = tensors.iter().map(|x| x.slice::<T>()).collect::<Result<Vec<_>>>()?;
        let made = contracted(&values, &steps, outer, inner);
        debug_assert_eq!(made.len(), count);
        one(Array::of(outer.to_vec(), made)?)
    })
}

/// For each output, the sum of products over the inner axes.
fn contracted<T: Number>(
    values: &[&[T]],
    steps: &[Vec<isize>],
    outer: &[usize],
    inner: &[usize],
) -> Vec<T> {
    let places = |dims: &[usize], steps: &[isize]| {
        let mut places = Vec::new();
        walk(dims, steps, 0, |place| places.push(place));
        places
    };
    let split = outer.len();
    let starts: Vec<Vec<usize>> = steps.iter().map(|s| places(outer, &s[..split])).collect();
    let terms: Vec<Vec<usize>> = steps.iter().map(|s| places(inner, &s[split..])).collect();
    let count: usize = outer.iter().product();
    let len: usize = inner.iter().product();
    let sum = |i: usize| {
        let mut sum = 0.0f64;
        let mut exact = T::ZERO;
        for j in 0..len {
            let factors = values.iter().enumerate().map(|(v, x)| x[starts[v][i] + terms[v][j]]);
            if T::TYPE.is_float() {
                sum += factors.map(Number::to_f64).product::<f64>();
            } else {
                exact = exact.plus(factors.fold(T::ONE, T::times));
            }
        }
        if T::TYPE.is_float() { T::from_f64(sum) } else { exact }
    };
    let mut out = vec![T::ZERO; count];
    each_part(&mut out, 1, &|i, out| out[0] = sum(i));
    out
}

fn determinant(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (outer, n) = match x.shape() {
        [outer @ .., rows, columns] if rows == columns => (outer.to_vec(), *rows),
        _ => return Err(call.unfit(0, "square matrices")),
    };
    let numbers = x.numbers()?;
    let count: usize = outer.iter().product();
    let made: Vec<f64> =
        (0..count).map(|i| eliminated(numbers[i * n * n..][..n * n].to_vec(), n)).collect();
    one(Array::new(outer, super::numbers(made, x.dtype())?)?)
}

/// The determinant by elimination with the largest pivots.
fn eliminated(mut a: Vec<f64>, n: usize) -> f64 {
    let mut product = 1.0;
    for column in 0..n {
        let largest = |row: &usize| a[row * n + column].abs();
        let pivot = (column..n).max_by(|x, y| largest(x).total_cmp(&largest(y))).unwrap_or(column);
        if a[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            (0..n).for_each(|i| a.swap(pivot * n + i, column * n + i));
            product = -product;
        }
        product *= a[column * n + column];
        for row in column + 1..n {
            let factor = a[row * n + column] / a[column * n + column];
            for i in column..n {
                a[row * n + i] -= factor * a[column * n + i];
            }
        }
    }
    product
}
