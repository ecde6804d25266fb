//! Support vector machines of ai.onnx.ml.
//!
//! ```text
//!  x ──▶ kernel(x, each support vector) ──▶ · coefficients + rho ──▶ a score for each pair of
//!                                                                    classes ──▶ votes, chances
//! ```

use super::learn::{DOMAIN, classes, logistic, rows, transformed};
use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "SVMClassifier", since: 1, compute: classifier },
    Operator { domain: DOMAIN, name: "SVMRegressor", since: 1, compute: regressor },
];

/// How alike a row and a support vector are.
#[derive(Clone, Copy)]
enum Kernel {
    Linear,
    Poly { gamma: f64, offset: f64, degree: f64 },
    Rbf { gamma: f64 },
    Sigmoid { gamma: f64, offset: f64 },
}

impl Kernel {
    fn stated(call: &Call<'_>) -> Result<Self> {
        let params = call.floats("kernel_params")?.unwrap_or_default();
        let param = |i: usize| params.get(i).copied().map_or(0.0, f64::from);
        let (gamma, offset, degree) = (param(0), param(1), param(2));
        match call.text("kernel_type", "LINEAR")? {
            "LINEAR" => Ok(Self::Linear),
            "POLY" => Ok(Self::Poly { gamma, offset, degree }),
            "RBF" => Ok(Self::Rbf { gamma }),
            "SIGMOID" => Ok(Self::Sigmoid { gamma, offset }),
            other => Err(Error::malformed(format!("attribute kernel_type: found '{other}'"))),
        }
    }

    fn of(self, row: &[f64], vector: &[f32]) -> f64 {
        let pairs = || row.iter().zip(vector.iter().map(|x| f64::from(*x)));
        let dot = || pairs().map(|(a, b)| a * b).sum::<f64>();
        match self {
            Self::Linear => dot(),
            Self::Poly { gamma, offset, degree } => libm::pow(gamma * dot() + offset, degree),
            Self::Rbf { gamma } => {
                libm::exp(-gamma * pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>())
            }
            Self::Sigmoid { gamma, offset } => libm::tanh(gamma * dot() + offset),
        }
    }
}

/// What both operators state.
struct Machine<'a> {
    kernel: Kernel,
    /// Numbers of a row.
    width: usize,
    vectors: &'a [f32],
    coefficients: &'a [f32],
    rho: &'a [f32],
}

impl<'a> Machine<'a> {
    /// `count` support vectors; with none, `lines` rows of coefficients stand for them.
    fn stated(call: &'a Call<'_>, count: usize, lines: usize, width: usize) -> Result<Self> {
        let floats = |name: &str| Ok::<_, Error>(call.floats(name)?.unwrap_or_default());
        let (coefficients, rho) = (floats("coefficients")?, floats("rho")?);
        let (kernel, vectors, rows) = match count {
            0 => (Kernel::Linear, coefficients, lines),
            count => (Kernel::stated(call)?, floats("support_vectors")?, count),
        };
        if Some(vectors.len()) != rows.checked_mul(width) {
            let found = vectors.len();
            let text =
                format!("found support vectors of {found} numbers, expected {rows} · {width}");
            return Err(Error::malformed(text));
        }
        Ok(Self { kernel, width, vectors, coefficients, rho })
    }

    /// How alike a row is to each of the vectors.
    fn alike(&self, row: &[f64]) -> Vec<f64> {
        self.vectors.chunks(self.width).map(|vector| self.kernel.of(row, vector)).collect()
    }

    fn rho(&self, i: usize) -> Result<f64> {
        let rho = self.rho.get(i).copied().map(f64::from);
        rho.ok_or_else(|| {
            Error::malformed(format!("attribute rho: found {i} numbers, expected more"))
        })
    }
}

fn regressor(call: &Call<'_>) -> Result<Vec<Value>> {
    let (numbers, width) = rows(call.tensor(0)?)?;
    let count = call.size("n_supports", 0)?;
    let machine = Machine::stated(call, count, 1, width)?;
    if count > 0 && machine.coefficients.len() != count {
        return Err(Error::malformed(format!("attribute coefficients: expected {count}")));
    }
    let (rho, one_class) = (machine.rho(0)?, call.flag("one_class", false)?);
    let mut made = Vec::new();
    for row in numbers.chunks(width) {
        let alike = machine.alike(row);
        let sum: f64 = match count {
            0 => alike.iter().sum(),
            _ => alike.iter().zip(machine.coefficients).map(|(k, c)| k * f64::from(*c)).sum(),
        };
        let mut score = [sum + rho];
        transformed(call, &mut score)?;
        made.push(match one_class {
            true if score[0] > 0.0 => 1.0,
            true => -1.0,
            false => score[0] as f32,
        });
    }
    one(Array::of(vec![made.len(), 1], made)?)
}

/// A classifier: one class against another, for each pair of them.
struct Pairs<'a> {
    machine: Machine<'a>,
    /// The first support vector of each class, and how many it has.
    groups: Vec<(usize, usize)>,
}

impl<'a> Pairs<'a> {
    fn stated(call: &'a Call<'_>, counts: &[usize], width: usize) -> Result<Self> {
        let total = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
        let total =
            total.ok_or_else(|| Error::malformed("attribute vectors_per_class: too many"))?;
        let machine = Machine::stated(call, total, 0, width)?;
        if Some(machine.coefficients.len()) != total.checked_mul(counts.len() - 1) {
            let text =
                format!("attribute coefficients: expected {} rows of {total}", counts.len() - 1);
            return Err(Error::malformed(text));
        }
        let mut first = 0;
        let groups = counts.iter().map(|count| {
            first += count;
            (first - count, *count)
        });
        Ok(Self { groups: groups.collect(), machine })
    }

    /// The score of each pair of classes, and how many of them each class wins.
    fn scores(&self, row: &[f64]) -> Result<(Vec<f64>, Vec<usize>)> {
        let alike = self.machine.alike(row);
        let (mut scores, mut votes) = (Vec::new(), vec![0; self.groups.len()]);
        // A class has a row of coefficients for each other one; its own is left out.
        let part = |line: usize, (first, count): (usize, usize)| -> f64 {
            let weights = &self.machine.coefficients[line * alike.len() + first..][..count];
            alike[first..].iter().zip(weights).map(|(k, c)| k * f64::from(*c)).sum()
        };
        for (i, a) in self.groups.iter().enumerate() {
            for (j, b) in self.groups.iter().enumerate().skip(i + 1) {
                let score = part(j - 1, *a) + part(i, *b) + self.machine.rho(scores.len())?;
                votes[if score > 0.0 { i } else { j }] += 1;
                scores.push(score);
            }
        }
        Ok((scores, votes))
    }
}

fn classifier(call: &Call<'_>) -> Result<Vec<Value>> {
    let (numbers, width) = rows(call.tensor(0)?)?;
    let classes = classes(call)?;
    let counts = super::shape::sizes(call.list("vectors_per_class")?.unwrap_or_default())?;
    if counts.iter().all(|count| *count == 0) {
        return by_lines(call, &numbers, width, &classes);
    }
    if counts.len() != classes.len() {
        let (found, expected) = (counts.len(), classes.len());
        let text = format!("attribute vectors_per_class: found {found}, expected {expected}");
        return Err(Error::malformed(text));
    }
    call.room(&[counts.len(), counts.len()])?;
    let pairs = Pairs::stated(call, &counts, width)?;
    let (mut best, mut shown) = (Vec::new(), Vec::new());
    for row in numbers.chunks(width) {
        let (mut scores, votes) = pairs.scores(row)?;
        best.push(first_greatest(&votes));
        if let Some(chances) = chances(call, &scores, classes.len())? {
            scores = chances;
            transformed(call, &mut scores)?;
        } else if let [score] = scores[..] {
            scores = of_two(call, score)?;
        } else {
            transformed(call, &mut scores)?;
        }
        shown.push(scores);
    }
    labelled(&classes, &best, &shown)
}

/// The scores of two classes where there is but one: for the first, and against it.
fn of_two(call: &Call<'_>, score: f64) -> Result<Vec<f64>> {
    Ok(match call.text("post_transform", "NONE")? {
        "NONE" => vec![-score, score],
        "LOGISTIC" => vec![logistic(-score), logistic(score)],
        _ => vec![1.0 - score, score],
    })
}

/// A line for each class; the farthest above its own wins.
fn by_lines(call: &Call<'_>, numbers: &[f64], width: usize, classes: &Array) -> Result<Vec<Value>> {
    let machine = Machine::stated(call, 0, classes.len(), width)?;
    let rho = machine.rho(0)?;
    let (mut best, mut shown) = (Vec::new(), Vec::new());
    for row in numbers.chunks(width) {
        let mut scores: Vec<f64> = machine.alike(row).into_iter().map(|x| x + rho).collect();
        best.push(first_greatest(&scores));
        transformed(call, &mut scores)?;
        shown.push(scores);
    }
    labelled(classes, &best, &shown)
}

fn first_greatest<T: PartialOrd>(values: &[T]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

fn labelled(classes: &Array, best: &[usize], shown: &[Vec<f64>]) -> Result<Vec<Value>> {
    let width = shown.first().map_or(classes.len(), Vec::len);
    let scores = shown.iter().flatten().map(|x| *x as f32).collect();
    let labels = classes.pick(vec![best.len()], best)?;
    Ok(vec![labels.into(), Array::of(vec![best.len(), width], scores)?.into()])
}

/// The chance of each class, where the node says how scores become chances: Platt's sigmoid for
/// each pair, then Wu, Lin and Weng, "Probability estimates for multi-class classification by
/// pairwise coupling", 2004, second approach.
fn chances(call: &Call<'_>, scores: &[f64], count: usize) -> Result<Option<Vec<f64>>> {
    const LEAST: f64 = 1e-7;
    let (Some(a), Some(b)) = (call.floats("prob_a")?, call.floats("prob_b")?) else {
        return Ok(None);
    };
    if a.is_empty() {
        return Ok(None);
    }
    if a.len() < scores.len() || b.len() < scores.len() {
        let text = format!("attributes prob_a, prob_b: expected {} numbers", scores.len());
        return Err(Error::malformed(text));
    }
    let mut pairwise = vec![0.0; count * count];
    let mut index = 0;
    for i in 0..count {
        for j in i + 1..count {
            let sharp = scores[index] * f64::from(a[index]) + f64::from(b[index]);
            let chance = (1.0 - logistic(sharp)).clamp(LEAST, 1.0 - LEAST);
            (pairwise[i * count + j], pairwise[j * count + i]) = (chance, 1.0 - chance);
            index += 1;
        }
    }
    Ok(Some(coupled(&pairwise, count)))
}

/// The chances that agree best with those of the pairs: `pQp` is least, by Gauss and Seidel.
fn coupled(pairwise: &[f64], count: usize) -> Vec<f64> {
    const TURNS: usize = 100;
    let at = |i: usize, j: usize| pairwise[i * count + j];
    let mut q = vec![0.0; count * count];
    for i in 0..count {
        for j in (0..count).filter(|j| *j != i) {
            q[i * count + i] += at(j, i) * at(j, i);
            q[i * count + j] = -at(j, i) * at(i, j);
        }
    }
    let mut p = vec![1.0 / count as f64; count];
    for _ in 0..TURNS {
        let mut along: Vec<f64> =
            q.chunks(count).map(|row| row.iter().zip(&p).map(|(q, p)| q * p).sum()).collect();
        let mut whole: f64 = along.iter().zip(&p).map(|(q, p)| q * p).sum();
        let farthest = along.iter().map(|x| (x - whole).abs()).fold(0.0, f64::max);
        if farthest < 0.005 / count as f64 {
            break;
        }
        for i in 0..count {
            let step = (whole - along[i]) / q[i * count + i];
            let norm = 1.0 + step;
            p[i] += step;
            whole = (whole + step * (step * q[i * count + i] + 2.0 * along[i])) / norm / norm;
            for j in 0..count {
                along[j] = (along[j] + step * q[i * count + j]) / norm;
                p[j] /= norm;
            }
        }
    }
    p
}
