//! An operator's view of the node that it computes: inputs and attributes, each asked for by what
//! it must be, so that every error says which one is wrong.

use super::array::Array;
use super::execute::{Run, Scope};
use super::plan::{Plan, Step};
use super::types::Type;
use super::value::Value;
use crate::ir::graph::{Attribute, Node};
use crate::ir::{Error, Result};

/// One run of one node.
pub struct Call<'c> {
    pub(super) step: &'c Step,
    pub(super) inputs: Vec<Option<Value>>,
    pub(super) scope: &'c Scope<'c>,
    pub(super) run: &'c Run<'c>,
}

impl Call<'_> {
    /// The node.
    pub fn node(&self) -> &Node {
        &self.step.node
    }

    /// The version of the operator's domain that the model asks for.
    pub fn version(&self) -> u64 {
        self.step.version
    }

    /// How many inputs the node names, given or not.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// How many outputs the node names.
    pub fn output_count(&self) -> usize {
        self.step.node.outputs.len()
    }

    /// Whether the node wants this output.
    pub fn wants(&self, output: usize) -> bool {
        self.step.node.outputs.get(output).is_some_and(|name| !name.is_empty())
    }

    /// An input, if it is given.
    pub fn value(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_ref()
    }

    /// An input that must be given.
    ///
    /// # Errors
    /// Malformed without it.
    pub fn require(&self, index: usize) -> Result<&Value> {
        self.value(index).ok_or_else(|| {
            let count = self.step.node.inputs.len();
            Error::malformed(format!("found {count} inputs, expected one as input {index}"))
        })
    }

    /// A tensor that must be given.
    ///
    /// # Errors
    /// Malformed without it.
    pub fn tensor(&self, index: usize) -> Result<&Array> {
        self.require(index)?.tensor().map_err(|error| self.input_error(index, error))
    }

    /// A tensor that may be left out.
    ///
    /// # Errors
    /// Malformed if something else is given.
    pub fn optional(&self, index: usize) -> Result<Option<&Array>> {
        match self.value(index) {
            None | Some(Value::Nothing) => Ok(None),
            Some(_) => self.tensor(index).map(Some),
        }
    }

    /// All inputs, each a tensor.
    ///
    /// # Errors
    /// Malformed if one is left out or something else.
    pub fn tensors(&self) -> Result<Vec<&Array>> {
        (0..self.input_count()).map(|index| self.tensor(index)).collect()
    }

    /// The integers of an input that must be given.
    ///
    /// # Errors
    /// Malformed without it; Unsupported if it holds others.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>> {
        self.tensor(index)?.ints().map_err(|error| self.input_error(index, error))
    }

    /// The integers of an input that may be left out.
    ///
    /// # Errors
    /// Unsupported if it holds others.
    pub fn optional_ints(&self, index: usize) -> Result<Option<Vec<i64>>> {
        self.optional(index)?.map(|_| self.ints(index)).transpose()
    }

    /// The one integer of an input.
    ///
    /// # Errors
    /// Malformed unless it is one.
    pub fn one_int(&self, index: usize) -> Result<i64> {
        match self.ints(index)?[..] {
            [one] => Ok(one),
            ref many => {
                let text = format!("found {} integers, expected one", many.len());
                Err(self.input_error(index, Error::malformed(text)))
            }
        }
    }

    /// The one number of an input that may be left out.
    ///
    /// # Errors
    /// Malformed unless it is one.
    pub fn one_number(&self, index: usize) -> Result<Option<f64>> {
        let Some(array) = self.optional(index)? else { return Ok(None) };
        let numbers = array.numbers().map_err(|error| self.input_error(index, error))?;
        match numbers[..] {
            [one] => Ok(Some(one)),
            ref many => {
                let text = format!("found {} numbers, expected one", many.len());
                Err(self.input_error(index, Error::malformed(text)))
            }
        }
    }

    /// The same error, said of an input.
    pub fn input_error(&self, index: usize, error: Error) -> Error {
        let name = self.step.node.inputs.get(index).map_or("", String::as_str);
        error.at(format!("input {index} '{name}'"))
    }

    /// An error about an input: what it is, and what was expected.
    pub fn unfit(&self, index: usize, expected: impl std::fmt::Display) -> Error {
        let found = self.value(index).map_or_else(|| "nothing".into(), Value::describe);
        let text = format!("found {found}, expected {expected}");
        self.input_error(index, Error::malformed(text))
    }

    /// The type of an input's elements.
    ///
    /// # Errors
    /// Malformed without it.
    pub fn dtype(&self, index: usize) -> Result<Type> {
        Ok(self.tensor(index)?.dtype())
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.step.node.attributes.get(name)
    }

    /// Whether the node states this attribute.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn wrong(name: &str, expected: &str) -> Error {
        Error::malformed(format!("attribute {name}: expected {expected}"))
    }

    /// An integer, or its default.
    ///
    /// # Errors
    /// Malformed if the attribute is something else.
    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Int(value)) => Ok(*value),
            Some(_) => Err(Self::wrong(name, "an integer")),
        }
    }

    /// A switch, stated as an integer.
    ///
    /// # Errors
    /// As [`Self::int`].
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// A count or size, stated as an integer.
    ///
    /// # Errors
    /// Malformed if it is negative.
    pub fn size(&self, name: &str, default: usize) -> Result<usize> {
        let value = self.int(name, default as i64)?;
        usize::try_from(value).map_err(|_| Self::wrong(name, "0 or more"))
    }

    /// A real number, or its default.
    ///
    /// # Errors
    /// Malformed if the attribute is something else.
    pub fn float(&self, name: &str, default: f32) -> Result<f32> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Float(value)) => Ok(*value),
            Some(Attribute::Int(value)) => Ok(*value as f32),
            Some(_) => Err(Self::wrong(name, "a number")),
        }
    }

    /// Integers, if stated.
    ///
    /// # Errors
    /// Malformed if the attribute is something else.
    pub fn list(&self, name: &str) -> Result<Option<&[i64]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Ints(values)) => Ok(Some(values)),
            Some(Attribute::Int(value)) => Ok(Some(std::slice::from_ref(value))),
            // An empty list states no type in protobuf's older writers.
            Some(Attribute::Floats(values)) if values.is_empty() => Ok(Some(&[])),
            Some(_) => Err(Self::wrong(name, "integers")),
        }
    }

    /// Real numbers, if stated.
    ///
    /// # Errors
    /// Malformed if the attribute is something else.
    pub fn floats(&self, name: &str) -> Result<Option<&[f32]>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Floats(values)) => Ok(Some(values)),
            Some(Attribute::Float(value)) => Ok(Some(std::slice::from_ref(value))),
            Some(Attribute::Ints(values)) if values.is_empty() => Ok(Some(&[])),
            Some(_) => Err(Self::wrong(name, "numbers")),
        }
    }

    /// A text, or its default.
    ///
    /// # Errors
    /// Malformed if the attribute is something else, or not UTF-8.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        match self.attribute(name) {
            None => Ok(default),
            Some(Attribute::Text(bytes)) => {
                std::str::from_utf8(bytes).map_err(|_| Self::wrong(name, "UTF-8 text"))
            }
            Some(_) => Err(Self::wrong(name, "a text")),
        }
    }

    /// Texts, if stated.
    ///
    /// # Errors
    /// Malformed if the attribute is something else.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        let texts = match self.attribute(name) {
            None => return Ok(None),
            Some(Attribute::Texts(values)) => values,
            Some(Attribute::Ints(values)) if values.is_empty() => return Ok(Some(Vec::new())),
            Some(_) => return Err(Self::wrong(name, "texts")),
        };
        Ok(Some(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()))
    }

    /// A constant tensor, if stated.
    ///
    /// # Errors
    /// Malformed if the attribute is something else, or names no tensor of the model.
    pub fn constant(&self, name: &str) -> Result<Option<Array>> {
        match self.attribute(name) {
            None => Ok(None),
            Some(Attribute::Constant(constant)) => self.run.session.constant(constant).map(Some),
            Some(_) => Err(Self::wrong(name, "a tensor")),
        }
    }

    /// The attribute as it is, for those that may be several things.
    pub fn raw(&self, name: &str) -> Option<&Attribute> {
        self.attribute(name)
    }

    /// A type of elements that an attribute states by its number.
    ///
    /// # Errors
    /// Unsupported for a number that no type known here has.
    pub fn stated_type(&self, name: &str) -> Result<Option<Type>> {
        if !self.has(name) {
            return Ok(None);
        }
        let id = self.int(name, 0)?;
        Type::numbered(id).map(Some).ok_or_else(|| {
            Error::unsupported(format!("attribute {name}: {id} is a type not computed with"))
        })
    }

    /// An axis of so many, counted from the end if it is negative.
    ///
    /// # Errors
    /// Malformed if it lies outside.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        axis_of(axis, rank)
    }

    /// The axis that an attribute states.
    ///
    /// # Errors
    /// Malformed if it lies outside.
    pub fn stated_axis(&self, default: i64, rank: usize) -> Result<usize> {
        axis_of(self.int("axis", default)?, rank)
    }

    /// A graph that the node runs.
    ///
    /// # Errors
    /// Malformed without it.
    pub fn graph(&self, name: &str) -> Result<&Plan> {
        self.step.graphs.get(name).ok_or_else(|| Self::wrong(name, "a graph"))
    }

    /// Runs one of the node's graphs.
    ///
    /// # Errors
    /// What its nodes say.
    pub fn run_graph(&self, plan: &Plan, inputs: Vec<Option<Value>>) -> Result<Vec<Value>> {
        self.run.execute(plan, inputs, Some(self.scope))
    }

    /// Counts one more piece of work against the limit on steps.
    ///
    /// # Errors
    /// Limit when it is reached.
    pub fn count_step(&self) -> Result<()> {
        self.run.count_step()
    }

    /// The number of elements of a shape, if a value may have as many.
    ///
    /// # Errors
    /// Limit if it may not.
    pub fn room(&self, shape: &[usize]) -> Result<usize> {
        self.run.session.bounds.room(shape)
    }
}

/// An axis of so many, counted from the end if it is negative.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(counted).ok().filter(|axis| *axis < rank).ok_or_else(|| {
        Error::malformed(format!("found axis {axis}, expected one of {rank} dimensions"))
    })
}
