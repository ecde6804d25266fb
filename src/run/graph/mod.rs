//! Runs graphs of operators: ONNX.
//!
//! ```text
//!  Program ──plan──▶ steps, in order ──execute──▶ values by name ──▶ outputs
//!                    each: node, operator,        freed after the
//!                    graphs of its own            last use
//! ```
//!
//! An operator is a function from a [`Call`] (inputs, attributes) to values, and one line in its
//! group's table: see [`operators`]. Operators that the model lacks are reported before anything
//! is computed. Subgraphs see the values around them; functions of the model see only their own.
//!
//! Numbers: integers are computed exactly and wrap; halves are computed in binary32 and rounded
//! once per operator; sums are taken in an order that depends on sizes alone.

mod array;
mod broadcast;
mod call;
mod execute;
mod feed;
mod number;
pub mod operators;
mod parts;
mod plan;
mod product;
mod types;
mod value;

pub use array::{Array, Data, Element, Real};
pub use call::Call;
pub use feed::Wanted;
pub use number::Number;
pub use plan::Plan;
pub use types::{Small, Type};
pub use value::Value;

use std::cell::Cell;

use indexmap::IndexMap;

use crate::ir::graph::{Constant, Node, Port, Program};
use crate::ir::{Error, Result, Tensor};

/// What a run may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Elements of one value.
    pub elements: u64,
    /// Nodes that are run, those of a loop once for each turn.
    pub steps: u64,
    /// Nodes of all graphs, after functions are expanded: they can multiply.
    pub nodes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { elements: 1 << 30, steps: 100_000_000, nodes: 4 << 20 }
    }
}

impl Bounds {
    /// The number of elements of a shape.
    ///
    /// # Errors
    /// Limit if it is more than a value may have.
    pub fn room(&self, shape: &[usize]) -> Result<usize> {
        let count = shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        count.filter(|count| *count as u64 <= self.elements).ok_or_else(|| {
            let max = self.elements;
            let text = format!("found {shape:?}, expected a value of at most {max} elements");
            Error::above("graph-elements", text)
        })
    }
}

/// Who is told of each value that a node of the main graph makes: node, name, value.
pub type Watch<'w> = dyn Fn(&Node, &str, &Value) + 'w;

/// A program made ready to run.
pub struct Session {
    plan: Plan,
    tensors: IndexMap<String, Tensor>,
    bounds: Bounds,
}

impl Session {
    /// Makes a program ready; `tensors` are the weights that it names.
    ///
    /// # Errors
    /// Unsupported for an operator or a version of it that is not known, naming the node;
    /// Malformed for names of tensors that do not exist.
    pub fn new(
        program: &Program,
        tensors: &IndexMap<String, Tensor>,
        bounds: Bounds,
    ) -> Result<Self> {
        let empty =
            Plan { inputs: vec![], outputs: vec![], constants: Default::default(), steps: vec![] };
        let mut session = Self { plan: empty, tensors: tensors.clone(), bounds };
        let plan = plan::Planner::new(program, &session).plan(&program.graph, &program.opsets)?;
        session.plan = plan;
        Ok(session)
    }

    /// What must be given: inputs that no initializer stands in for.
    pub fn inputs(&self) -> impl Iterator<Item = &Port> {
        self.plan.inputs.iter().filter(|port| !self.plan.constants.contains_key(&port.name))
    }

    /// What is given back.
    pub fn outputs(&self) -> &[Port] {
        &self.plan.outputs
    }

    /// Runs the program on values by the names of its inputs.
    ///
    /// # Errors
    /// Usage for inputs that are missing or unknown; what a node says, with the node's name.
    pub fn run(&self, inputs: IndexMap<String, Value>) -> Result<IndexMap<String, Value>> {
        self.watched(inputs, None)
    }

    /// As [`Self::run`]; `watch` is told of each value that a node of the main graph makes.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn watched(
        &self,
        mut inputs: IndexMap<String, Value>,
        watch: Option<&Watch<'_>>,
    ) -> Result<IndexMap<String, Value>> {
        let mut ordered = Vec::new();
        for port in &self.plan.inputs {
            let value = inputs.shift_remove(&port.name);
            if value.is_none() && !self.plan.constants.contains_key(&port.name) {
                return Err(Error::usage(format!("the input '{}' is missing", port.name)));
            }
            ordered.push(value);
        }
        if let Some((name, _)) = inputs.first() {
            let known: Vec<&str> = self.plan.inputs.iter().map(|port| &port.name[..]).collect();
            let known = known.join(", ");
            return Err(Error::usage(format!("there is no input '{name}'; there are {known}")));
        }
        let run = execute::Run { session: self, watch, steps: Cell::new(0) };
        let made = run.execute(&self.plan, ordered, None)?;
        let names = self.plan.outputs.iter().map(|port| port.name.clone());
        Ok(names.zip(made).collect())
    }

    fn constant(&self, constant: &Constant) -> Result<Array> {
        match constant {
            Constant::Text { shape, values } => value::text(shape, values),
            Constant::Weight(name) => {
                let tensor = self
                    .tensors
                    .get(name)
                    .ok_or_else(|| Error::malformed(format!("the model has no tensor '{name}'")))?;
                self.bounds.room(&[tensor.shape().count() as usize])?;
                value::load(tensor).map_err(|error| error.at(name))
            }
        }
    }
}
