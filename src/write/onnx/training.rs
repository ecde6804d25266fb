//! What trains a model, written again: nothing of it changes but where its tensors lie.

use onnx::Field;
use onnx::fields::{attribute, graph, node, training};

use super::rewrite::{Data, Out, Rewrite, inside};
use crate::ir::Result;

/// Messages that lead to tensors.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Level {
    Training,
    Graph,
    Node,
    Attribute,
}

/// A message, its field, and the message that the field holds; none if it holds a tensor.
#[rustfmt::skip]
const LEVELS: &[(Level, u64, Option<Level>)] = &[
    (Level::Training,  training::INITIALIZATION, Some(Level::Graph)),
    (Level::Training,  training::ALGORITHM,      Some(Level::Graph)),
    (Level::Graph,     graph::INITIALIZER,       None),
    (Level::Graph,     graph::NODE,              Some(Level::Node)),
    (Level::Node,      node::ATTRIBUTE,          Some(Level::Attribute)),
    (Level::Attribute, attribute::T,             None),
    (Level::Attribute, attribute::TENSORS,       None),
    (Level::Attribute, attribute::G,             Some(Level::Graph)),
    (Level::Attribute, attribute::GRAPHS,        Some(Level::Graph)),
];

impl Rewrite<'_> {
    /// A message that changes only in that its tensors lie in another file.
    pub(super) fn moved(&mut self, field: &Field, level: Level) -> Result<Out> {
        let mut out = Out::default();
        for field in self.fields(field.bytes("message")?)? {
            let row = LEVELS.iter().find(|row| row.0 == level && row.1 == field.number);
            let origin = match row {
                Some((.., None)) => self.origin(&field)?,
                _ => None,
            };
            match (row, origin) {
                (Some((.., Some(inner))), _) => {
                    let inner = self.moved(&field, *inner)?;
                    inside(&mut out, &field, inner)?;
                }
                (_, Some(origin)) => {
                    let (name, tensor) = (origin.name.clone(), origin.tensor.clone());
                    let inner = self.changed(&field, &Data { name, tensor })?;
                    out.message(field.number, inner);
                }
                _ => out.copy(field.span),
            }
        }
        Ok(out)
    }
}
