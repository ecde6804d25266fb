//! Values in between, node by node.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::near::Near;
use crate::ir::graph::Node;
use crate::run::graph::Value;
use crate::verify::report::number;

/// Elements of the reference's values that are kept for the comparison.
const KEPT_MAX: usize = 1 << 28;

/// What the nodes of the reference made, in their order.
#[derive(Default)]
pub(super) struct Seen(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    values: Vec<(String, Value)>,
    by_name: BTreeMap<String, usize>,
    elements: usize,
    left_out: usize,
}

impl Seen {
    pub(super) fn record(&self, _: &Node, name: &str, value: &Value) {
        let mut kept = self.0.borrow_mut();
        if !is_compared(value) {
            return;
        }
        if kept.elements + value.elements() > KEPT_MAX {
            kept.left_out += 1;
            return;
        }
        kept.elements += value.elements();
        let index = kept.values.len();
        kept.values.push((name.to_owned(), value.clone()));
        kept.by_name.insert(name.to_owned(), index);
    }
}

/// Numbers that rounding changes; shapes and indices are equal or the graph is another.
fn is_compared(value: &Value) -> bool {
    matches!(value, Value::Tensor(array) if array.dtype().is_float() && array.len() > 1)
}

/// The candidate's values beside those of the reference.
pub(super) struct Beside<'s> {
    seen: &'s Seen,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// Node, value, the reference's name of it, how near.
    compared: Vec<(String, String, String, Near)>,
    taken: BTreeSet<usize>,
}

impl<'s> Beside<'s> {
    pub(super) fn new(seen: &'s Seen) -> Self {
        Self { seen, state: RefCell::default() }
    }

    /// Compares a value of the candidate with the reference's of the same name, else with the
    /// first of the same shape that is not yet taken.
    pub(super) fn compare(&self, node: &Node, name: &str, value: &Value) {
        if !is_compared(value) {
            return;
        }
        let kept = self.seen.0.borrow();
        let mut state = self.state.borrow_mut();
        let shape = |value: &Value| value.tensor().map(|array| array.shape().to_vec()).ok();
        let fits = |index: &usize| {
            kept.values.get(*index).is_some_and(|(_, other)| shape(other) == shape(value))
        };
        let by_name = kept.by_name.get(name).copied().filter(fits);
        let by_order = || {
            (0..kept.values.len()).find(|index| {
                let name = &kept.values[*index].0;
                !state.taken.contains(index) && fits(index) && is_generated(name)
            })
        };
        let Some(index) = by_name.or_else(by_order) else { return };
        state.taken.insert(index);
        let (reference, expected) = &kept.values[index];
        let near = Near::values(expected, value);
        let title = if node.name.is_empty() {
            node.op.clone()
        } else {
            format!("'{}' ({})", node.name, node.op)
        };
        state.compared.push((title, name.to_owned(), reference.clone(), near));
    }

    /// The first node where the two depart, and the worst.
    pub(super) fn notes(&self, limit: f64) -> Vec<String> {
        let state = self.state.borrow();
        let kept = self.seen.0.borrow();
        let count = state.compared.len();
        let mut notes = vec![format!("{count} values in between were compared")];
        if kept.left_out > 0 {
            notes.push(format!("{} values were too many to keep, and not compared", kept.left_out));
        }
        let line = |(node, value, reference, near): &(String, String, String, Near)| {
            let as_ = if value == reference { String::new() } else { format!(" as '{reference}'") };
            let (nmse, max) = (number(near.nmse), number(near.max_abs_diff));
            format!("node {node}, value '{value}'{as_}: NMSE {nmse}, max |difference| {max}")
        };
        let departs =
            |row: &&(String, String, String, Near)| row.3.nmse.is_nan() || row.3.nmse > limit;
        match state.compared.iter().find(departs) {
            Some(first) => notes.push(format!("the first to depart is {}", line(first))),
            None => notes.push(format!("no value departs by more than {}", number(limit))),
        }
        let worst = state.compared.iter().max_by(|a, b| a.3.nmse.total_cmp(&b.3.nmse));
        notes.extend(worst.map(|worst| format!("the farthest apart is {}", line(worst))));
        notes
    }
}

/// Exporters number what they do not name; such names mean nothing across two exports.
fn is_generated(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_digit())
}
