//! Inputs made for a graph from what it declares, so that any two graphs can be run side by side.
//!
//! Floats are standard normal. Integers are ids within the table that they index, where the graph
//! shows one; by what their names say (`attention_mask` is ones, `position_ids` counts); else 0
//! or 1.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::array::{Array, Data};
use super::plan::Plan;
use super::types::Type;
use super::value::{Value, element_type};
use super::{Real as _, Session};
use crate::ir::graph::{Dim, Kind, Port};
use crate::ir::{Error, Result};
use crate::run::random::SplitMix;

/// What is not declared, and is asked of the user.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The sizes of named dimensions.
    pub dims: BTreeMap<String, u64>,
    /// Where the generator starts.
    pub seed: u64,
}

impl Session {
    /// Fills the inputs that are missing; says of each what it was made.
    ///
    /// # Errors
    /// Usage for a size that names no dimension; Unsupported for an input whose shape is not
    /// declared; Limit for one that is too large.
    pub fn fill(
        &self,
        inputs: &mut IndexMap<String, Value>,
        wanted: &Wanted,
    ) -> Result<Vec<String>> {
        self.check_dims(wanted)?;
        let mut notes = Vec::new();
        let mut random = SplitMix::new(wanted.seed);
        let missing: Vec<&Port> =
            self.inputs().filter(|port| !inputs.contains_key(&port.name)).collect();
        for port in missing {
            let (value, how) = self.made(port, wanted, &mut random)?;
            notes.push(format!("input '{}' was made: {}, {how}", port.name, value.describe()));
            inputs.insert(port.name.clone(), value);
        }
        Ok(notes)
    }

    /// Inputs of a language model for ids of tokens: `input_ids`, and what goes with them.
    ///
    /// # Errors
    /// As [`Self::fill`].
    pub fn fill_tokens(&self, ids: &[u32]) -> Result<IndexMap<String, Value>> {
        let count = ids.len();
        let mut inputs = IndexMap::new();
        for port in self.inputs() {
            let ids: Vec<i64> = match &port.name[..] {
                "input_ids" | "tokens" | "input" => ids.iter().map(|id| i64::from(*id)).collect(),
                "attention_mask" => vec![1; count],
                "position_ids" => (0..count as i64).collect(),
                "token_type_ids" => vec![0; count],
                // The tokens by their places, without a batch.
                "cache_position" => {
                    let places = Array::vector((0..count as i64).collect());
                    inputs.insert(port.name.clone(), places.into());
                    continue;
                }
                // Which of two decoders in one file: the one that has no past.
                "use_cache_branch" => {
                    inputs.insert(port.name.clone(), Array::vector(vec![false]).into());
                    continue;
                }
                // A cache of the past, in which nothing is yet.
                name if name.starts_with("past") => {
                    inputs.insert(port.name.clone(), nothing_past(port)?);
                    continue;
                }
                name => {
                    let text = format!("the input '{name}' is none of a language model's");
                    return Err(Error::unsupported(text));
                }
            };
            let ids = Array::of(vec![1, count], ids)?;
            let ids = match declared(port)?.0 {
                Type::I32 => {
                    Array::of(vec![1, count], ids.ints()?.iter().map(|x| *x as i32).collect())?
                }
                _ => ids,
            };
            inputs.insert(port.name.clone(), ids.into());
        }
        Ok(inputs)
    }

    /// A value as a port declares it: floats in its type.
    ///
    /// # Errors
    /// Unsupported for a type that is not computed with.
    pub fn fit(&self, port: &Port, value: &Value) -> Result<Value> {
        let (Ok((wanted, _)), Value::Tensor(array)) = (declared(port), value) else {
            return Ok(value.clone());
        };
        if wanted == array.dtype() || !(wanted.is_float() && array.dtype().is_float()) {
            return Ok(value.clone());
        }
        let data = super::operators::numbers(array.numbers()?, wanted)?;
        Ok(Array::new(array.shape().to_vec(), data)?.into())
    }

    fn check_dims(&self, wanted: &Wanted) -> Result<()> {
        let named = self.inputs().flat_map(|port| match &port.kind {
            Kind::Tensor(_, Some(dims)) => dims.clone(),
            _ => Vec::new(),
        });
        let mut known: Vec<String> = named
            .filter_map(|dim| match dim {
                Dim::Named(name) => Some(name),
                _ => None,
            })
            .collect();
        known.sort();
        known.dedup();
        match wanted.dims.keys().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                let text = format!("--dim {name}: the named dimensions of inputs are: {known}");
                Err(Error::usage(text))
            }
        }
    }

    fn made(&self, port: &Port, wanted: &Wanted, random: &mut SplitMix) -> Result<(Value, String)> {
        let (dtype, dims) = declared(port)?;
        let dims = dims.ok_or_else(|| {
            let text = format!("the input '{}' declares no shape; give it with --input", port.name);
            Error::unsupported(text)
        })?;
        let size = |dim: &Dim| match dim {
            Dim::Known(size) => *size as usize,
            Dim::Named(name) => wanted.dims.get(name).copied().unwrap_or(1) as usize,
            Dim::Unknown => 1,
        };
        let shape: Vec<usize> = dims.iter().map(size).collect();
        let count = self.bounds.room(&shape)?;
        let (numbers, how): (Vec<f64>, String) = if dtype.is_float() {
            let how = format!("standard normal, seed {}", wanted.seed);
            ((0..count).map(|_| random.normal()).collect(), how)
        } else if port.name.contains("mask") {
            (vec![1.0; count], "ones".into())
        } else if port.name.contains("position") {
            let last = shape.last().copied().unwrap_or(1).max(1);
            ((0..count).map(|i| (i % last) as f64).collect(), "counting".into())
        } else {
            let below = self.plan.table_rows(&port.name).unwrap_or(2);
            let how = format!("integers below {below}, seed {}", wanted.seed);
            ((0..count).map(|_| (random.draw() % below.max(1)) as f64).collect(), how)
        };
        let data = match dtype {
            Type::Text => {
                return Err(Error::unsupported(format!("text for the input '{}'", port.name)));
            }
            Type::F32 | Type::F16 | Type::BF16 => {
                f32::narrow(numbers.iter().map(|x| *x as f32).collect(), dtype)
            }
            dtype => super::operators::numbers(numbers, dtype)?,
        };
        Ok((Array::new(shape, data)?.into(), how))
    }
}

/// The type and the dimensions that a port declares.
fn declared(port: &Port) -> Result<(Type, Option<&[Dim]>)> {
    match &port.kind {
        Kind::Tensor(element, dims) => Ok((element_type(*element)?, dims.as_deref())),
        _ => {
            let text = format!("the input '{}' is no tensor; it cannot be made", port.name);
            Err(Error::unsupported(text))
        }
    }
}

/// A cache without anything in it: its length is 0, its batch 1.
fn nothing_past(port: &Port) -> Result<Value> {
    let (dtype, dims) = declared(port)?;
    let mut open = dims
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(axis, dim)| match (axis, dim) {
            (_, Dim::Known(size)) => *size as usize,
            (0, _) => 1,
            _ => 0,
        })
        .collect::<Vec<usize>>();
    if !open.contains(&0) && open.len() > 2 {
        open[2] = 0;
    }
    Ok(Array::new(open, Data::none(dtype))?.into())
}

impl Plan {
    /// How many rows the table has that a value indexes, if a node shows it.
    fn table_rows(&self, name: &str) -> Option<u64> {
        self.steps.iter().find_map(|step| {
            let node = &step.node;
            let reads = |index: usize| node.inputs.get(index).is_some_and(|input| input == name);
            match &node.op[..] {
                "Gather" if reads(1) => {
                    let table = self.constants.get(node.inputs.first()?)?.tensor().ok()?;
                    table.shape().first().map(|rows| *rows as u64)
                }
                "Cast" | "Identity" if reads(0) => self.table_rows(node.outputs.first()?),
                _ => None,
            }
        })
    }
}
