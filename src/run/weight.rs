//! Products of a stored matrix with activations. Rows are read, or made, where they are used.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::batch::{Batch, zeros};
use super::inputs::{Inputs, Watch};
use super::kernels::{self, LANES, Matrix};
use crate::arch::{Named, Part, Parts, Role};
use crate::ir::op::lcm;
use crate::ir::{Blob, Error, Op, Result, Scratch, Tensor, float, simd};
use crate::quant::{self, Dot};

/// Weights that one task multiplies with one token: below this, a task costs more to hand out.
const TASK_WEIGHTS: usize = 1 << 16;

/// How far ahead of their use weights are asked for: what a core reads while memory answers.
const AHEAD_BYTES: usize = 2048;

/// Rows that one task multiplies with a prompt.
const TASK_ROWS: usize = 48;

/// A matrix as it is stored, or as a recipe for it.
pub(super) struct Weight {
    name: String,
    tensor: Tensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Rows that can be made without making more: see [`Tensor::granule`].
    step: usize,
    dot: Option<Dot>,
    watch: Option<Watch>,
}

impl Weight {
    /// The tensor, if its type, and all that it is made from, can be computed with.
    ///
    /// # Errors
    /// Unsupported, naming the tensor; Io and Limit if it must be made here.
    pub(super) fn new(named: Named) -> Result<Self> {
        let Named { name, tensor } = named;
        check_readable(&tensor).map_err(|error| error.at(&name))?;
        let tensor = if is_transposed(&tensor) { made(&name, &tensor)? } else { tensor };
        let (rows, columns) = (tensor.shape().rows() as usize, tensor.shape().columns() as usize);
        let step = lcm(tensor.granule(), columns as u64) / columns.max(1) as u64;
        let step = step.min(rows.max(1) as u64);
        let dot = quant::dot(tensor.dtype());
        Ok(Self { name, tensor, rows, columns, step: step as usize, dot, watch: None })
    }

    /// One row as floats.
    ///
    /// # Errors
    /// What [`Tensor::read_floats`] says.
    pub(super) fn row(&self, row: usize) -> Result<Vec<f32>> {
        let first = row / self.step * self.step;
        let rows = first..self.rows.min(first + self.step);
        let mut values = zeros(rows.len() * self.columns)?;
        self.read(rows, &mut values, &mut Scratch::default())?;
        values.drain(..(row - first) * self.columns);
        values.truncate(self.columns);
        Ok(values)
    }

    /// The product of these rows with activations. `rows` begins at a multiple of
    /// [`Self::steps`] and ends at one, or at the end.
    ///
    /// # Errors
    /// As [`Self::row`].
    pub(super) fn product(&self, rows: Range<usize>, x: &Batch) -> Result<Batch> {
        debug_assert_eq!(x.features, self.columns);
        match x.lanes() {
            1 => self.product_with_one(rows, x),
            _ => self.product_with_panels(rows, x),
        }
    }

    /// The least number of rows from `least` on that can be made without making more.
    pub(super) fn steps(&self, least: usize) -> usize {
        least.max(1).next_multiple_of(self.step)
    }

    fn product_with_one(&self, rows: Range<usize>, x: &Batch) -> Result<Batch> {
        let mut out = Batch::zeros(rows.len(), 1)?;
        let task = self.steps(TASK_WEIGHTS / self.columns.max(1));
        let tasks = out.data.par_chunks_mut(task).enumerate();
        tasks.try_for_each(|(i, out)| {
            let start = rows.start + i * task;
            with_scratch(|scratch| self.dots(start..start + out.len(), &x.data, out, scratch))
        })?;
        Ok(out)
    }

    fn dots(
        &self,
        rows: Range<usize>,
        x: &[f32],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Some(dot) = self.dot else {
            let mut values = scratch.take_floats(rows.len() * self.columns)?;
            self.read(rows, &mut values, scratch)?;
            for (out, row) in out.iter_mut().zip(values.chunks_exact(self.columns.max(1))) {
                *out = kernels::dot(row, x);
            }
            scratch.give_floats(values);
            return Ok(());
        };
        let mut each = |bytes: &[u8]| {
            let row = self.tensor.byte_offset(self.columns as u64) as usize;
            let ahead = AHEAD_BYTES.next_multiple_of(row.max(1));
            let rows = bytes.chunks_exact(row.max(1)).enumerate();
            for (out, (i, bytes_of_row)) in out.iter_mut().zip(rows) {
                simd::prefetch(bytes.get(i * row + ahead..(i + 1) * row + ahead).unwrap_or(&[]));
                *out = dot(bytes_of_row, x);
            }
        };
        let elements = self.elements(&rows);
        if let Some(bytes) = self.tensor.mapped(elements.clone()) {
            each(bytes);
            return Ok(());
        }
        let len = self.tensor.byte_offset(elements.end - elements.start);
        let mut bytes = scratch.take(len as usize)?;
        self.tensor.read(elements, &mut bytes, scratch).map_err(|error| error.at(&self.name))?;
        each(&bytes);
        scratch.give(bytes);
        Ok(())
    }

    fn product_with_panels(&self, rows: Range<usize>, x: &Batch) -> Result<Batch> {
        let (task, panels) = (self.steps(TASK_ROWS), x.panels());
        // Each task's part is `[panel][row][lane]` of its own rows.
        let mut parts = zeros(rows.len() * panels * LANES)?;
        let x_lanes = x.data.as_chunks::<LANES>().0;
        let tasks = parts.par_chunks_mut((task * panels * LANES).max(1)).enumerate();
        tasks.try_for_each(|(i, part)| {
            let start = rows.start + i * task;
            let end = rows.end.min(start + task);
            with_scratch(|scratch| self.part(start..end, x_lanes, part, scratch))
        })?;
        let mut out = x.like(rows.len())?;
        let len = out.panel_len();
        out.data.par_chunks_mut(len).enumerate().for_each(|(panel, out)| {
            let places = out.chunks_mut(task * LANES);
            for (place, part) in places.zip(parts.chunks(task * panels * LANES)) {
                place.copy_from_slice(&part[panel * place.len()..][..place.len()]);
            }
        });
        Ok(out)
    }

    /// The product of a task's rows with all panels: `[panel][row][lane]`.
    fn part(
        &self,
        rows: Range<usize>,
        x: &[[f32; LANES]],
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<()> {
        let mut values = scratch.take_floats(rows.len() * self.columns)?;
        self.read(rows, &mut values, scratch)?;
        let matrix = Matrix::by_rows(&values, self.columns);
        kernels::multiply(x, matrix, out.as_chunks_mut().0);
        scratch.give_floats(values);
        Ok(())
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32], scratch: &mut Scratch) -> Result<()> {
        let made = self.tensor.read_floats(self.elements(&rows), out, scratch);
        made.map_err(|error| error.at(&self.name))
    }

    fn elements(&self, rows: &Range<usize>) -> Range<u64> {
        let columns = self.columns as u64;
        rows.start as u64 * columns..rows.end as u64 * columns
    }
}

/// A matrix, and what is added to its product.
pub(super) struct Linear {
    pub(super) weight: Weight,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// The linear layer of a role.
    ///
    /// # Errors
    /// Malformed if the tensor is missing; Unsupported if it cannot be computed with.
    pub(super) fn find(parts: &Parts<'_>, role: Role, layer: Option<u64>) -> Result<Self> {
        Self::find_optional(parts, role, layer)?.ok_or_else(|| missing(parts, role, layer))
    }

    /// The linear layer of a role, if the model has it.
    ///
    /// # Errors
    /// Unsupported if it cannot be computed with.
    pub(super) fn find_optional(
        parts: &Parts<'_>,
        role: Role,
        layer: Option<u64>,
    ) -> Result<Option<Self>> {
        let Some(named) = parts.get(role, Part::Weight, layer)? else { return Ok(None) };
        Self::of(named, parts.get(role, Part::Bias, layer)?).map(Some)
    }

    /// The linear layer of one expert.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(super) fn find_piece(
        parts: &Parts<'_>,
        role: Role,
        layer: u64,
        piece: u64,
    ) -> Result<Option<Self>> {
        let get = |part| parts.piece(role, part, Some(layer), piece);
        let Some(named) = get(Part::Weight)? else { return Ok(None) };
        Self::of(named, get(Part::Bias)?).map(Some)
    }

    fn of(weight: Named, bias: Option<Named>) -> Result<Self> {
        let bias = bias.map(vector).transpose()?;
        Ok(Self { weight: Weight::new(weight)?, bias })
    }

    /// The same with another bias, if there is one.
    pub(super) fn plus(mut self, bias: Option<Vec<f32>>) -> Self {
        self.bias = bias.or(self.bias);
        self
    }

    /// Has what goes into this layer counted, as the inputs of one of several matrices of the
    /// tensor.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>, (matrix, matrices): (usize, usize)) {
        self.weight.watch = Watch::of(inputs, &self.weight.name, (matrix, matrices));
    }

    /// W · x + b.
    ///
    /// # Errors
    /// As [`Weight::product`].
    pub(super) fn apply(&self, x: &Batch) -> Result<Batch> {
        self.observe(x);
        self.rows(0..self.weight.rows, x)
    }

    /// Counts what goes into this layer, if somebody wants to know.
    pub(super) fn observe(&self, x: &Batch) {
        if let Some(watch) = &self.weight.watch {
            watch.add(x);
        }
    }

    /// The same of some rows: see [`Weight::product`].
    ///
    /// # Errors
    /// As [`Weight::product`].
    pub(super) fn rows(&self, rows: Range<usize>, x: &Batch) -> Result<Batch> {
        let mut out = self.weight.product(rows.clone(), x)?;
        if let Some(bias) = self.bias.as_ref().map(|bias| &bias[rows]) {
            let (lanes, len) = (out.lanes(), out.panel_len());
            for panel in out.data.chunks_mut(len) {
                for (features, bias) in panel.chunks_mut(lanes).zip(bias) {
                    features.iter_mut().for_each(|x| *x += bias);
                }
            }
        }
        Ok(out)
    }
}

/// The matrix of a role.
///
/// # Errors
/// As [`Linear::find`].
pub(super) fn find(parts: &Parts<'_>, role: Role, layer: Option<u64>) -> Result<Weight> {
    let named = parts.get(role, Part::Weight, layer)?;
    Weight::new(named.ok_or_else(|| missing(parts, role, layer))?)
}

/// A vector of a role, if the model has it.
///
/// # Errors
/// Unsupported if its type is not one of weights.
pub(super) fn find_vector(
    parts: &Parts<'_>,
    role: Role,
    part: Part,
    layer: Option<u64>,
) -> Result<Option<Vec<f32>>> {
    parts.get(role, part, layer)?.map(vector).transpose()
}

fn vector(named: Named) -> Result<Vec<f32>> {
    let Named { name, tensor } = named;
    check_readable(&tensor).and_then(|()| tensor.to_floats()).map_err(|error| error.at(&name))
}

/// A tensor of a role that is not there.
pub(super) fn missing(parts: &Parts<'_>, role: Role, layer: Option<u64>) -> Error {
    let layer = layer.map(|layer| format!(" of layer {layer}")).unwrap_or_default();
    Error::malformed(format!("the {role:?} weights{layer} are missing")).at(&parts.model.origin)
}

/// Whether rows are gathered from columns: too slow to be done for each token.
fn is_transposed(tensor: &Tensor) -> bool {
    let Some(op) = tensor.op() else { return false };
    matches!(op, Op::Transpose { .. }) || op.inputs().into_iter().any(is_transposed)
}

/// The tensor in memory.
fn made(name: &str, tensor: &Tensor) -> Result<Tensor> {
    let mut bytes = Vec::new();
    let len = tensor.bytes() as usize;
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::limit(format!("{len} bytes of memory are not to be had for {name}")))?;
    bytes.resize(len, 0);
    let all = 0..tensor.shape().count();
    tensor.read(all, &mut bytes, &mut Scratch::default()).map_err(|error| error.at(name))?;
    let blob = Arc::new(Blob::memory(name, bytes));
    Tensor::span(tensor.dtype(), tensor.shape().clone(), blob, 0)
}

/// Whether a tensor's type, and the types of all that it is made from, can be decoded.
fn check_readable(tensor: &Tensor) -> Result<()> {
    // Nothing is decoded from no bytes but the answer.
    float::decode(tensor.dtype(), &[], &mut [])?;
    // Integers are decoded by the scales that make numbers of them.
    if matches!(tensor.op(), Some(Op::Affine(_))) {
        return Ok(());
    }
    let inputs = tensor.op().map(|op| op.inputs()).unwrap_or_default();
    inputs.into_iter().try_for_each(check_readable)
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Lends this thread's buffers. Should work wait for other work, that finds new ones.
fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}
