//! Runs a plan: node after node, each value freed after its last use.

use std::cell::Cell;
use std::collections::HashMap;

use super::call::Call;
use super::plan::{Plan, Step, Work, describe};
use super::value::Value;
use super::{Session, Watch};
use crate::ir::{Error, Result};

/// One run of a session.
pub(super) struct Run<'r> {
    pub(super) session: &'r Session,
    pub(super) watch: Option<&'r Watch<'r>>,
    pub(super) steps: Cell<u64>,
}

/// The values that a graph's nodes see: its own, then those of the graphs around it.
pub(super) struct Scope<'s> {
    values: HashMap<&'s str, Value>,
    constants: &'s HashMap<String, Value>,
    outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<&Value> {
        let own = self.values.get(name).or_else(|| self.constants.get(name));
        own.or_else(|| self.outer?.find(name))
    }
}

impl Run<'_> {
    /// Runs a graph. Inputs come in the order of its ports; one left out must have a constant.
    pub(super) fn execute(
        &self,
        plan: &Plan,
        inputs: Vec<Option<Value>>,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Value>> {
        let mut scope = Scope { values: HashMap::new(), constants: &plan.constants, outer };
        for (port, value) in plan.inputs.iter().zip(inputs) {
            if let Some(value) = value {
                scope.values.insert(&port.name, value);
            }
        }
        for step in &plan.steps {
            self.count_step()?;
            let made = self.step(step, &scope).map_err(|error| error.at(describe(&step.node)))?;
            for (name, value) in step.node.outputs.iter().zip(made) {
                if let Some(watch) = self.watch.filter(|_| outer.is_none()) {
                    watch(&step.node, name, &value);
                }
                if !name.is_empty() {
                    scope.values.insert(name, value);
                }
            }
            for name in &step.dead {
                scope.values.remove(name.as_str());
            }
        }
        let outputs = plan.outputs.iter().map(|port| {
            // A function's output may be one that its nodes never make, where nobody wants it.
            scope.find(&port.name).cloned().ok_or_else(|| {
                Error::malformed(format!("no node makes the output '{}'", port.name))
            })
        });
        outputs.collect()
    }

    fn step(&self, step: &Step, scope: &Scope<'_>) -> Result<Vec<Value>> {
        let inputs =
            step.node.inputs.iter().map(|name| match (name.is_empty(), scope.find(name)) {
                (true, _) => Ok(None),
                (false, Some(value)) => Ok(Some(value.clone())),
                (false, None) => Err(Error::malformed(format!("nothing makes its input '{name}'"))),
            });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let made = match &step.work {
            Work::Operator(compute) => compute(&Call { step, inputs, scope, run: self })?,
            Work::Function(plan) => {
                // The nodes of a function may read an input that this call leaves out.
                let left_out = plan.inputs.len().saturating_sub(inputs.len());
                let inputs = inputs.into_iter().chain(std::iter::repeat_n(None, left_out));
                let inputs = inputs.map(|value| value.or(Some(Value::Nothing)));
                self.execute(plan, inputs.collect(), None)?
            }
        };
        for value in &made {
            self.session.bounds.room(&[value.elements()])?;
        }
        Ok(made)
    }

    pub(super) fn count_step(&self) -> Result<()> {
        let (steps, max) = (self.steps.get() + 1, self.session.bounds.steps);
        self.steps.set(steps);
        if steps > max {
            return Err(Error::above("graph-steps", format!("more than {max} nodes were run")));
        }
        Ok(())
    }
}
