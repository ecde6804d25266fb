//! A role's tensor out of a file: alone, cut from a fused one, or stacked of many.
//!
//! What comes out has the shape that [`Role::shape`] says, and the conventions of the side that
//! the file is of: no [`Fix`](super::Fix) is applied.

use std::sync::Arc;

use super::check::is_used;
use super::names::Place;
use super::{Arch, Fix, Form, Groups, Home, Part, Role, Row};
use crate::ir::op::Picked;
use crate::ir::{
    Blob, DType, Error, Field, Hyper, Model, Naming, Op, Result, Scalar, Shape, Tensor,
};

/// The tensors of a model by their roles.
#[derive(Clone, Copy)]
pub struct Parts<'m> {
    /// The family.
    pub arch: &'static Arch,
    /// The model.
    pub model: &'m Model,
    /// Its hyper-parameters.
    pub hyper: &'m Hyper,
}

/// A tensor, and what its file calls it or what it is made from.
#[derive(Debug, Clone)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

impl Named {
    /// What comes of the tensor.
    pub(super) fn then(self, make: impl FnOnce(Tensor) -> Result<Tensor>) -> Result<Self> {
        let tensor = make(self.tensor).map_err(|error| error.at(&self.name))?;
        Ok(Self { name: self.name, tensor })
    }
}

impl Parts<'_> {
    /// The tensor of a role, if the model has it and uses it.
    ///
    /// # Errors
    /// Malformed if it is in pieces of which some are missing, or that do not fit.
    pub fn get(&self, role: Role, part: Part, layer: Option<u64>) -> Result<Option<Named>> {
        match self.used(role, part) {
            Some(row) => self.of_row(row, part, layer),
            None => Ok(None),
        }
    }

    /// The row of a role, unless the configuration says that its tensor is not used.
    fn used(&self, role: Role, part: Part) -> Option<&'static Row> {
        let row = self.arch.row(role)?;
        is_used(row, part, &self.model.config).then_some(row)
    }

    /// One matrix or vector of a stack, if the model has it: that of expert `piece`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn piece(
        &self,
        role: Role,
        part: Part,
        layer: Option<u64>,
        piece: u64,
    ) -> Result<Option<Named>> {
        let Some(row) = self.used(role, part) else { return Ok(None) };
        for home in row.homes(self.model.naming) {
            let place = Place { layer, piece: Some(piece) };
            if let (Form::Each(_), Some((name, tensor))) =
                (home.form, home.tensor(self.arch, self.model, part, place))
            {
                return Ok(Some(Named { name: name.to_owned(), tensor: tensor.clone() }));
            }
        }
        let stack = self.of_row(row, part, layer)?;
        stack.map(|stack| stack.then(|tensor| one_of(&tensor, piece))).transpose()
    }

    /// The tensor of a row, from the first of its homes that the model has.
    pub(super) fn of_row(
        &self,
        row: &'static Row,
        part: Part,
        layer: Option<u64>,
    ) -> Result<Option<Named>> {
        for home in row.homes(self.model.naming) {
            if let Some(found) = self.at_home(row, home, part, layer)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn at_home(
        &self,
        row: &'static Row,
        home: &'static Home,
        part: Part,
        layer: Option<u64>,
    ) -> Result<Option<Named>> {
        let place = Place { layer: layer.filter(|_| home.stem.contains("{i}")), piece: None };
        if let Form::Each(field) = home.form {
            return self.stacked(home, part, place, field);
        }
        let Some((name, tensor)) = home.tensor(self.arch, self.model, part, place) else {
            return Ok(None);
        };
        let named = Named { name: name.to_owned(), tensor: tensor.clone() };
        let is_matrix = part == Part::Weight && home.transposed;
        named
            .then(|mut tensor| {
                if let Form::Part(groups, index) = home.form {
                    let parts = siblings(self.arch, self.model.naming, home);
                    let picked =
                        self.picked(&tensor, &parts, (groups, index), (part, is_matrix))?;
                    tensor = Tensor::of(Op::Pick { input: tensor, picked })?;
                }
                if is_matrix {
                    tensor = Tensor::of(Op::Transpose { input: tensor })?;
                }
                self.without_heads(row, home, part, tensor)
            })
            .map(Some)
    }

    /// Where the rows of a part lie in a fused tensor.
    fn picked(
        &self,
        tensor: &Tensor,
        parts: &[&'static Row],
        (groups, index): (Groups, usize),
        (part, is_transposed): (Part, bool),
    ) -> Result<Picked> {
        let rows = |row: &&'static Row| self.rows_of(row, part);
        let rows = parts.iter().map(rows).collect::<Result<Vec<u64>>>()?;
        let groups = self.groups(groups, &rows)?;
        let rank = tensor.shape().rank();
        let from_end = if part == Part::Bias || is_transposed { 1 } else { 2 };
        let axis = rank.checked_sub(from_end).ok_or_else(|| too_flat(tensor))?;
        let (found, expected) = (tensor.shape().dims()[axis], rows.iter().sum::<u64>());
        if found != expected {
            let text = format!("{found} rows, expected {expected} from the configuration");
            return Err(Error::malformed(text));
        }
        let from = rows.iter().take(index).sum::<u64>() / groups;
        let len = rows.get(index).copied().unwrap_or(0) / groups;
        Ok(Picked { axis, groups, from, len })
    }

    /// The rows of a role's tensor.
    pub(super) fn rows_of(&self, row: &Row, part: Part) -> Result<u64> {
        let shape = row.role.shape(self.hyper, part, self.arch.block.query_norm);
        let shape = shape.unwrap_or_default();
        let from_end = if part == Part::Bias { 1 } else { 2 };
        let axis = shape.len().checked_sub(from_end);
        axis.map(|axis| shape[axis]).ok_or_else(|| Error::bug(format!("{:?} in parts", row.role)))
    }

    /// Into how many groups tensors of so many rows are merged.
    pub(super) fn groups(&self, groups: Groups, rows: &[u64]) -> Result<u64> {
        let groups = match groups {
            Groups::One => 1,
            Groups::Of(field) => count(self.hyper, field)?,
            Groups::Rows => rows.first().copied().unwrap_or(1),
        };
        match groups > 0 && rows.iter().all(|rows| rows.is_multiple_of(groups)) {
            true => Ok(groups),
            false => Err(Error::malformed(format!("{rows:?} rows cannot be in {groups} groups"))),
        }
    }

    /// A GGUF's matrix for each head, as one of all heads.
    fn without_heads(&self, row: &Row, home: &Home, part: Part, tensor: Tensor) -> Result<Tensor> {
        let is_split = self.model.naming == Naming::Gguf && home.form == Form::Whole;
        match row.fix {
            Fix::ByHead(_) | Fix::ByHeadTransposed(_) if is_split && part == Part::Weight => {
                by_head(row.fix, tensor, self.hyper, Naming::HuggingFace)
            }
            Fix::Flat if self.model.naming == Naming::Gguf => {
                let count = tensor.shape().count();
                reshaped(tensor, vec![1, count])
            }
            _ => Ok(tensor),
        }
    }

    fn stacked(
        &self,
        home: &'static Home,
        part: Part,
        place: Place,
        field: Field,
    ) -> Result<Option<Named>> {
        let mut pieces = Vec::new();
        let mut first = None;
        for piece in 0..count(self.hyper, field).unwrap_or(0) {
            let place = Place { piece: Some(piece), ..place };
            let Some((name, tensor)) = home.tensor(self.arch, self.model, part, place) else {
                if first.is_none() {
                    return Ok(None);
                }
                let name = home.name(part, place);
                return Err(Error::malformed(format!("tensor {name} is missing")));
            };
            first.get_or_insert_with(|| name.to_owned());
            let mut tensor = tensor.clone();
            if home.transposed && part == Part::Weight {
                tensor = Tensor::of(Op::Transpose { input: tensor })?;
            }
            pieces.push(tensor);
        }
        let Some(name) = first else { return Ok(None) };
        Ok(Some(Named { tensor: stack(pieces).map_err(|error| error.at(&name))?, name }))
    }
}

/// The rows whose tensors are one with this home's, in their order.
pub(super) fn siblings(arch: &Arch, naming: Naming, home: &Home) -> Vec<&'static Row> {
    let index = |row: &&'static Row| {
        let same = row.homes(naming).iter().find(|other| other.stem == home.stem)?;
        match same.form {
            Form::Part(_, index) => Some(index),
            _ => None,
        }
    };
    let mut rows: Vec<_> = arch.rows().filter(|row| index(row).is_some()).collect();
    rows.sort_by_key(index);
    rows
}

/// Between one matrix of all heads and one for each.
pub(super) fn by_head(fix: Fix, tensor: Tensor, hyper: &Hyper, naming: Naming) -> Result<Tensor> {
    let (Fix::ByHead(field) | Fix::ByHeadTransposed(field)) = fix else { return Ok(tensor) };
    let heads = count(hyper, field)?;
    let transpose = |input: Tensor| match fix {
        Fix::ByHeadTransposed(_) => Tensor::of(Op::Transpose { input: unpacked(input)? }),
        _ => Ok(input),
    };
    let columns = |tensor: &Tensor| tensor.shape().columns().max(1);
    match naming {
        Naming::Gguf => {
            let (count, columns) = (tensor.shape().count(), columns(&tensor));
            transpose(reshaped(tensor, vec![heads, count / columns / heads.max(1), columns])?)
        }
        Naming::HuggingFace => {
            let tensor = transpose(tensor)?;
            let (count, columns) = (tensor.shape().count(), columns(&tensor));
            reshaped(tensor, vec![count / columns, columns])
        }
    }
}

/// All elements as a vector.
pub(super) fn flat(tensor: Tensor) -> Result<Tensor> {
    let count = tensor.shape().count();
    reshaped(tensor, vec![count])
}

/// Tensors of one shape as one, with a new outermost dimension.
fn stack(tensors: Vec<Tensor>) -> Result<Tensor> {
    let lift = |tensor: Tensor| {
        let dims = std::iter::once(1).chain(tensor.shape().dims().iter().copied()).collect();
        reshaped(tensor, dims)
    };
    let inputs = alike(tensors)?.into_iter().map(lift).collect::<Result<Vec<_>>>()?;
    Tensor::of(Op::Merge { inputs, axis: 0, groups: 1 })
}

/// One tensor of a stack.
pub(super) fn one_of(stack: &Tensor, index: u64) -> Result<Tensor> {
    let picked = Picked { axis: 0, groups: 1, from: index, len: 1 };
    let dims = stack.shape().dims().iter().skip(1).copied().collect();
    reshaped(Tensor::of(Op::Pick { input: stack.clone(), picked })?, dims)
}

/// Parts as one tensor. Parts of one whole give that whole back.
pub(super) fn merge(parts: Vec<Tensor>, axis: usize, groups: u64) -> Result<Tensor> {
    let whole = |part: &Tensor| match part.op() {
        Some(Op::Pick { input, picked }) if (picked.axis, picked.groups) == (axis, groups) => {
            Some((input.clone(), *picked))
        }
        _ => None,
    };
    if let Some(picks) = parts.iter().map(whole).collect::<Option<Vec<_>>>()
        && let Some((first, _)) = picks.first()
    {
        let mut next = 0;
        let in_turn = picks.iter().all(|(input, picked)| {
            let follows = picked.from == next && input.shares_data(first);
            next += picked.len;
            follows
        });
        if in_turn && next * groups == first.shape().dims()[axis] {
            return Ok(first.clone());
        }
    }
    Tensor::of(Op::Merge { inputs: alike(parts)?, axis, groups })
}

/// Tensors of one dtype: as they are, or as binary32.
fn alike(tensors: Vec<Tensor>) -> Result<Vec<Tensor>> {
    let first = tensors.first().map(Tensor::dtype);
    if tensors.iter().all(|tensor| Some(tensor.dtype()) == first) {
        return Ok(tensors);
    }
    let cast = |input| Tensor::of(Op::Cast { input, to: DType::F32 });
    tensors.into_iter().map(cast).collect()
}

/// Elements that can be moved one by one.
pub(super) fn unpacked(tensor: Tensor) -> Result<Tensor> {
    match tensor.dtype().is_packed() {
        true => Tensor::of(Op::Cast { input: tensor, to: DType::F32 }),
        false => Ok(tensor),
    }
}

/// A convolution's weights with or without the dimension of one element.
pub(super) fn middle(tensor: Tensor, naming: Naming) -> Result<Tensor> {
    let dims = match (naming, tensor.shape().dims()) {
        (Naming::Gguf, [channels, 1, taps]) => vec![*channels, *taps],
        (Naming::HuggingFace, [channels, taps]) => vec![*channels, 1, *taps],
        _ => return Err(too_flat(&tensor)),
    };
    reshaped(tensor, dims)
}

/// A table without its first rows, or with zeros in their place.
pub(super) fn skip(tensor: Tensor, rows: u64, naming: Naming) -> Result<Tensor> {
    let mut dims = tensor.shape().dims().to_vec();
    let Some(all) = dims.first_mut().filter(|_| rows > 0) else { return Ok(tensor) };
    if naming == Naming::Gguf {
        let len = all.checked_sub(rows).filter(|len| *len > 0).ok_or_else(|| {
            Error::malformed(format!("{all} rows, of which {rows} would be before the first"))
        })?;
        let picked = Picked { axis: 0, groups: 1, from: rows, len };
        return Tensor::of(Op::Pick { input: tensor, picked });
    }
    *all = rows;
    let (shape, tensor) = (Shape::new(dims)?, unpacked(tensor)?);
    let len = shape.bytes(tensor.dtype())?;
    let blob = Blob::memory("zeros", vec![0; len as usize]);
    let zeros = Tensor::span(tensor.dtype(), shape, Arc::new(blob), 0)?;
    merge(vec![zeros, tensor], 0, 1)
}

fn reshaped(input: Tensor, dims: Vec<u64>) -> Result<Tensor> {
    Tensor::of(Op::Reshape { input, shape: Shape::new(dims)? })
}

/// A count that the model must have.
pub(super) fn count(hyper: &Hyper, field: Field) -> Result<u64> {
    match hyper.get(field) {
        Some(Scalar::Count(n)) => Ok(n),
        _ => Err(Error::malformed(format!("the configuration has no {}", field.text()))),
    }
}

fn too_flat(tensor: &Tensor) -> Error {
    Error::malformed(format!("shape is {}, expected a matrix", tensor.shape()))
}
