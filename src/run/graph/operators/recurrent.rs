//! Recurrent networks: RNN, GRU, LSTM, in either direction or both.

use super::shape::permuted;
use super::{Operator, onnx};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Real};
use crate::run::graph::call::Call;
use crate::run::graph::number::with_real;
use crate::run::graph::product::View;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    onnx("RNN", 1, rnn),
    onnx("GRU", 1, gru),
    onnx("LSTM", 1, lstm),
];

fn rnn(call: &Call<'_>) -> Result<Vec<Value>> {
    with_real!(call.dtype(0)?, R => run::<R>(call, Kind { gates: 1, functions: &["Tanh"], step: rnn_step }))
}

fn gru(call: &Call<'_>) -> Result<Vec<Value>> {
    with_real!(call.dtype(0)?, R => {
        run::<R>(call, Kind { gates: 3, functions: &["Sigmoid", "Tanh"], step: gru_step })
    })
}

fn lstm(call: &Call<'_>) -> Result<Vec<Value>> {
    with_real!(call.dtype(0)?, R => {
        run::<R>(call, Kind { gates: 4, functions: &["Sigmoid", "Tanh", "Tanh"], step: lstm_step })
    })
}

/// What tells one kind of network from another.
struct Kind<R: Real> {
    gates: usize,
    /// The activations that are used if none are stated.
    functions: &'static [&'static str],
    /// One step of one of the batch: the input's part of the gates, the output, the cell's state.
    step: Step<R>,
}

type Step<R> = fn(&Weights<'_, R>, &[R], &mut [R], &mut [R]);

/// The weights of one direction.
struct Weights<'a, R> {
    hidden: usize,
    /// `[gates · hidden, hidden]`
    recurrent: &'a [R],
    /// Added to the recurrent part: `[gates · hidden]`.
    bias: &'a [R],
    peepholes: Option<&'a [R]>,
    functions: Vec<Activation<R>>,
    clip: Option<R>,
    input_forget: bool,
    linear_before_reset: bool,
}

impl<R: Real> Weights<'_, R> {
    /// The recurrent part of one gate's number.
    fn recur(&self, h: &[R], row: usize) -> R {
        dot(&self.recurrent[row * self.hidden..][..self.hidden], h) + self.bias[row]
    }

    /// A gate's number: clipped, then through its activation.
    fn gate(&self, function: usize, x: R) -> R {
        let x = self.clip.map_or(x, |clip| x.lesser(clip).greater(-clip));
        self.functions[function].apply(x)
    }

    fn peep(&self, gate: usize, i: usize, cell: R) -> R {
        self.peepholes.map_or(R::ZERO, |weights| weights[gate * self.hidden + i] * cell)
    }
}

/// A sum in eight lanes, folded in a fixed order.
fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut sums = [R::ZERO; 8];
    let (whole_a, rest_a) = a.as_chunks::<8>();
    let (whole_b, rest_b) = b.as_chunks::<8>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += *a * *b;
        }
    }
    let rest = rest_a.iter().zip(rest_b).fold(R::ZERO, |sum, (a, b)| sum + *a * *b);
    sums.iter().fold(rest, |sum, x| sum + *x)
}

fn rnn_step<R: Real>(w: &Weights<'_, R>, x: &[R], h: &mut [R], _: &mut [R]) {
    let made: Vec<R> = (0..w.hidden).map(|i| w.gate(0, x[i] + w.recur(h, i))).collect();
    h.copy_from_slice(&made);
}

/// <https://arxiv.org/abs/1406.1078>; gates z, r, h.
fn gru_step<R: Real>(w: &Weights<'_, R>, x: &[R], h: &mut [R], _: &mut [R]) {
    let n = w.hidden;
    let z: Vec<R> = (0..n).map(|i| w.gate(0, x[i] + w.recur(h, i))).collect();
    let r: Vec<R> = (n..2 * n).map(|i| w.gate(0, x[i] + w.recur(h, i))).collect();
    let reset: Vec<R> = r.iter().zip(h.iter()).map(|(r, h)| *r * *h).collect();
    let new = |i: usize| match w.linear_before_reset {
        true => x[2 * n + i] + r[i] * w.recur(h, 2 * n + i),
        false => x[2 * n + i] + w.recur(&reset, 2 * n + i),
    };
    let new: Vec<R> = (0..n).map(|i| w.gate(1, new(i))).collect();
    for i in 0..n {
        h[i] = (R::ONE - z[i]) * new[i] + z[i] * h[i];
    }
}

/// <https://doi.org/10.1162/neco.1997.9.8.1735>; gates i, o, f, c.
fn lstm_step<R: Real>(w: &Weights<'_, R>, x: &[R], h: &mut [R], c: &mut [R]) {
    let n = w.hidden;
    let mut made = Vec::with_capacity(n);
    for i in 0..n {
        let part = |gate: usize| x[gate * n + i] + w.recur(h, gate * n + i);
        let input = w.gate(0, part(0) + w.peep(0, i, c[i]));
        let forget = match w.input_forget {
            true => R::ONE - input,
            false => w.gate(0, part(2) + w.peep(2, i, c[i])),
        };
        let cell = forget * c[i] + input * w.gate(1, part(3));
        let output = w.gate(0, part(1) + w.peep(1, i, cell));
        c[i] = cell;
        made.push(output * w.functions[2].apply(cell));
    }
    h.copy_from_slice(&made);
}

/// An activation by its name, with its parameters.
struct Activation<R> {
    function: fn(R, R, R) -> R,
    alpha: R,
    beta: R,
}

impl<R: Real> Activation<R> {
    fn named(name: &str, alpha: Option<f32>, beta: Option<f32>) -> Result<Self> {
        type Row<R> = (&'static str, f32, f32, fn(R, R, R) -> R);
        let rows: [Row<R>; 11] = [
            ("relu", 0.0, 0.0, |x, _, _| x.greater(R::ZERO)),
            ("tanh", 0.0, 0.0, |x, _, _| x.tanh()),
            ("sigmoid", 0.0, 0.0, |x, _, _| super::unary::sigmoid(x)),
            ("affine", 1.0, 0.0, |x, a, b| a * x + b),
            ("leakyrelu", 0.01, 0.0, |x, a, _| if x < R::ZERO { a * x } else { x }),
            ("thresholdedrelu", 1.0, 0.0, |x, a, _| if x > a { x } else { R::ZERO }),
            ("scaledtanh", 1.0, 1.0, |x, a, b| a * (b * x).tanh()),
            ("hardsigmoid", 0.2, 0.5, |x, a, b| (a * x + b).lesser(R::ONE).greater(R::ZERO)),
            ("elu", 1.0, 0.0, |x, a, _| if x < R::ZERO { a * (x.exp() - R::ONE) } else { x }),
            ("softsign", 0.0, 0.0, |x, _, _| x / (R::ONE + x.abs())),
            ("softplus", 0.0, 0.0, |x, _, _| (R::ONE + x.exp()).ln()),
        ];
        let wanted = name.to_lowercase();
        let row = rows.into_iter().find(|row| row.0 == wanted);
        let row =
            row.ok_or_else(|| Error::malformed(format!("attribute activations: found '{name}'")))?;
        let number =
            |given: Option<f32>, default: f32| R::from_f64(given.unwrap_or(default).into());
        Ok(Self { function: row.3, alpha: number(alpha, row.1), beta: number(beta, row.2) })
    }

    fn apply(&self, x: R) -> R {
        (self.function)(x, self.alpha, self.beta)
    }
}

/// The activations of all directions, one after the other.
fn activations<R: Real>(
    call: &Call<'_>,
    defaults: &[&str],
    count: usize,
) -> Result<Vec<Activation<R>>> {
    let stated = call.texts("activations")?;
    let names = stated.unwrap_or_else(|| {
        (0..count).flat_map(|_| defaults.iter().map(|name| (*name).to_owned())).collect()
    });
    if names.len() != defaults.len() * count {
        let expected = defaults.len() * count;
        let text = format!("attribute activations: found {}, expected {expected}", names.len());
        return Err(Error::malformed(text));
    }
    let (alphas, betas) = (call.floats("activation_alpha")?, call.floats("activation_beta")?);
    // The lists of parameters leave out functions that have none.
    let (mut alphas, mut betas) =
        (alphas.unwrap_or_default().iter().copied(), betas.unwrap_or_default().iter().copied());
    let one = |name: &String| {
        let lower = name.to_lowercase();
        let has_alpha =
            !matches!(&lower[..], "relu" | "tanh" | "sigmoid" | "softsign" | "softplus");
        let has_beta = matches!(&lower[..], "affine" | "scaledtanh" | "hardsigmoid");
        let alpha = if has_alpha { alphas.next() } else { None };
        Activation::named(name, alpha, if has_beta { betas.next() } else { None })
    };
    names.iter().map(one).collect()
}

/// The sizes of a network.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    gates: usize,
}

impl Sizes {
    fn of(call: &Call<'_>, x: &Array, gates: usize) -> Result<Self> {
        let (w, r) = (call.tensor(1)?, call.tensor(2)?);
        let directions = match call.text("direction", "forward")? {
            "forward" | "reverse" => 1,
            "bidirectional" => 2,
            other => return Err(Error::malformed(format!("attribute direction: found '{other}'"))),
        };
        let &[steps, batch, input] = x.shape() else {
            return Err(call.unfit(0, "three dimensions"));
        };
        let &[_, _, hidden] = r.shape() else { return Err(call.unfit(2, "three dimensions")) };
        if call.size("hidden_size", hidden)? != hidden {
            return Err(call.unfit(2, "as many columns as hidden_size"));
        }
        let sizes = Self { steps, batch, input, hidden, directions, gates };
        if w.shape() != [directions, gates * hidden, input] {
            return Err(call.unfit(1, format!("[{directions}, {}, {input}]", gates * hidden)));
        }
        if r.shape() != [directions, gates * hidden, hidden] {
            return Err(call.unfit(2, format!("[{directions}, {}, {hidden}]", gates * hidden)));
        }
        Ok(sizes)
    }
}

/// Numbers of an input that may be left out, which must be so many.
fn given<R: Real>(call: &Call<'_>, index: usize, count: usize) -> Result<Option<Vec<R>>> {
    let Some(x) = call.optional(index)? else { return Ok(None) };
    if x.len() != count {
        return Err(call.unfit(index, format!("{count} numbers")));
    }
    Ok(Some(x.reals::<R>().map_err(|error| call.input_error(index, error))?.into_owned()))
}

/// A state `[directions, batch, hidden]`; with the batch first, it is turned.
fn state<R: Real>(call: &Call<'_>, index: usize, s: Sizes, turned: bool) -> Result<Vec<R>> {
    let count = s.directions * s.batch * s.hidden;
    let Some(x) = call.optional(index)? else { return Ok(vec![R::ZERO; count]) };
    let shape =
        if turned { [s.batch, s.directions, s.hidden] } else { [s.directions, s.batch, s.hidden] };
    if x.shape() != shape {
        return Err(call.unfit(index, format!("{shape:?}")));
    }
    let x = if turned { permuted(x, &[1, 0, 2])? } else { x.clone() };
    Ok(x.reals::<R>()?.into_owned())
}

fn run<R: Real>(call: &Call<'_>, kind: Kind<R>) -> Result<Vec<Value>> {
    let turned = call.flag("layout", false)?;
    let x = call.tensor(0)?;
    let x = if turned { permuted(x, &[1, 0, 2])? } else { x.clone() };
    let s = Sizes::of(call, &x, kind.gates)?;
    let rows = s.gates * s.hidden;
    let lengths = match call.optional_ints(4)? {
        None => vec![s.steps; s.batch],
        Some(lengths) => {
            let lengths = super::shape::sizes(&lengths)?;
            if lengths.len() != s.batch || lengths.iter().any(|length| *length > s.steps) {
                return Err(call.unfit(4, format!("{} lengths of at most {}", s.batch, s.steps)));
            }
            lengths
        }
    };
    let (w, r) = (call.tensor(1)?.reals::<R>()?, call.tensor(2)?.reals::<R>()?);
    let bias = given::<R>(call, 3, s.directions * 2 * rows)?;
    let bias = bias.unwrap_or_else(|| vec![R::ZERO; s.directions * 2 * rows]);
    let mut h = state::<R>(call, 5, s, turned)?;
    let has_cell = kind.gates == 4;
    let mut c = match has_cell {
        true => state::<R>(call, 6, s, turned)?,
        false => vec![R::ZERO; h.len()],
    };
    let peepholes = match has_cell {
        true => given::<R>(call, 7, s.directions * 3 * s.hidden)?,
        false => None,
    };
    let mut functions = activations::<R>(call, kind.functions, s.directions)?;
    call.room(&[s.steps, s.batch, rows.max(s.directions * s.hidden)])?;
    let mut y = vec![R::ZERO; s.steps * s.directions * s.batch * s.hidden];
    let values = x.reals::<R>()?;
    let backwards = call.text("direction", "forward")? == "reverse";
    for direction in 0..s.directions {
        let bias = &bias[direction * 2 * rows..][..2 * rows];
        let weights = Weights {
            hidden: s.hidden,
            recurrent: &r[direction * rows * s.hidden..][..rows * s.hidden],
            bias: &bias[rows..],
            peepholes: peepholes.as_deref().map(|p| &p[direction * 3 * s.hidden..][..3 * s.hidden]),
            functions: functions.drain(..kind.functions.len()).collect(),
            clip: match call.float("clip", 0.0)? {
                0.0 => None,
                clip => Some(R::from_f64(clip.into())),
            },
            input_forget: call.flag("input_forget", false)?,
            linear_before_reset: call.flag("linear_before_reset", false)?,
        };
        let mut parts = vec![R::ZERO; s.steps * s.batch * rows];
        let w = View::rows(&w[direction * rows * s.input..][..rows * s.input], rows, s.input);
        R::product(View::rows(&values, s.steps * s.batch, s.input), w.transposed(), &mut parts);
        for part in parts.chunks_exact_mut(rows.max(1)) {
            part.iter_mut().zip(bias).for_each(|(x, bias)| *x += *bias);
        }
        for (image, length) in lengths.iter().enumerate() {
            let at = (direction * s.batch + image) * s.hidden;
            let (h, c) = (&mut h[at..][..s.hidden], &mut c[at..][..s.hidden]);
            for turn in 0..*length {
                let back = direction == 1 || backwards;
                let step = if back { length - 1 - turn } else { turn };
                (kind.step)(&weights, &parts[(step * s.batch + image) * rows..][..rows], h, c);
                let place = ((step * s.directions + direction) * s.batch + image) * s.hidden;
                y[place..][..s.hidden].copy_from_slice(h);
            }
        }
    }
    outputs(call, s, turned, has_cell, [y, h, c])
}

/// The outputs, with the batch first if that is asked for.
fn outputs<R: Real>(
    call: &Call<'_>,
    s: Sizes,
    turned: bool,
    has_cell: bool,
    values: [Vec<R>; 3],
) -> Result<Vec<Value>> {
    let dtype = call.dtype(0)?;
    let [y, h, c] = values;
    let y = Array::rounded(dtype, vec![s.steps, s.directions, s.batch, s.hidden], y)?;
    let y = if turned { permuted(&y, &[2, 0, 1, 3])? } else { y };
    let state = |values: Vec<R>| -> Result<Value> {
        let x = Array::rounded(dtype, vec![s.directions, s.batch, s.hidden], values)?;
        Ok(if turned { permuted(&x, &[1, 0, 2])? } else { x }.into())
    };
    let mut made = vec![y.into(), state(h)?];
    if has_cell {
        made.push(state(c)?);
    }
    Ok(made)
}
