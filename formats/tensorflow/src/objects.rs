//! Objects that a checkpoint was made of: `TrackableObjectGraph`.
//!
//! A node has children by name, values in the checkpoint by attribute, and, if it is an
//! optimizer, a variable of its own for a variable of another node: a slot.
//! Source: `tensorflow/core/protobuf/trackable_object_graph.proto`.

use std::collections::BTreeSet;

use protobuf::{Field, Message, once};
use wire::{Error, ReadAt, Result};

use crate::Limits;
use crate::parser::Parser;

/// A graph of objects; the first node is its root.
#[derive(Debug, Clone, Default)]
pub struct Objects {
    /// Every object.
    pub nodes: Vec<Object>,
}

/// One object.
#[derive(Debug, Clone, Default)]
pub struct Object {
    /// Its parts: name and node.
    pub children: Vec<(String, usize)>,
    /// Its values.
    pub values: Vec<Saved>,
    /// Its variables for those of others.
    pub slots: Vec<Slot>,
}

/// A value of an object: `SerializedTensor`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// What it is of the object: `VARIABLE_VALUE`.
    pub attribute: String,
    /// What the program called it; several may have one name.
    pub own_name: String,
    /// The name of its tensor in the checkpoint.
    pub key: String,
}

/// A variable that an optimizer keeps for another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The node of the variable that is trained.
    pub of: usize,
    /// What it is: `momentum`.
    pub name: String,
    /// The node of the slot's own variable.
    pub node: usize,
}

const WHAT: &str = "TrackableObjectGraph";

impl Objects {
    /// Reads a graph.
    ///
    /// # Errors
    /// With the offset and the field at fault; `Invalid` for nodes that there are not.
    pub fn read(source: &dyn ReadAt, limits: &Limits) -> Result<Self> {
        let mut nodes = Vec::new();
        Parser::new(source, limits).whole(&mut |parser, of, field| {
            if field.number == 1 {
                nodes.push(object(parser, of, field)?);
            }
            Ok(())
        })?;
        let objects = Self { nodes };
        objects.check()?;
        Ok(objects)
    }

    fn check(&self) -> Result<()> {
        let nodes = || self.nodes.iter();
        let named = nodes().flat_map(|node| node.children.iter().map(|(_, node)| *node));
        let slots =
            nodes().flat_map(|node| node.slots.iter().flat_map(|slot| [slot.of, slot.node]));
        match named.chain(slots).find(|node| *node >= self.nodes.len()) {
            Some(node) => {
                let rule = format!("node {node} of {}", self.nodes.len());
                Err(Error::invalid(0, WHAT, rule))
            }
            None => Ok(()),
        }
    }

    /// The names of the tensors that only optimizers have: slots, and whatever is reached from the
    /// root by way of an optimizer alone. An optimizer is a node that has slots, or is called
    /// `optimizer`, as Keras does, whose slots are variables like any other since version 3.
    pub fn of_optimizers(&self) -> BTreeSet<&str> {
        self.behind(|_, name, child| {
            let is_optimizer = matches!(name, "optimizer" | "_optimizer");
            is_optimizer || self.nodes.get(child).is_some_and(|node| !node.slots.is_empty())
        })
    }

    /// The names of the tensors that count what a training has measured, which Keras 2 keeps beside
    /// a model's layers, as `keras_api/metrics`; and of those that nothing has.
    pub fn of_metrics(&self) -> BTreeSet<&str> {
        let root = self.nodes.first().into_iter().flat_map(|root| &root.children);
        let keras = root.filter(|(name, _)| name == "keras_api").map(|(_, at)| *at);
        let keras: BTreeSet<usize> = keras.collect();
        self.behind(|node, name, _| name == "metrics" && keras.contains(&node))
    }

    /// The names of the tensors that are reached from the root only by edges, from a node by a name
    /// to a child, that `is_cut` says.
    fn behind(&self, is_cut: impl Fn(usize, &str, usize) -> bool) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<usize> = self.nodes.first().map(|_| 0).into_iter().collect();
        while let Some(at) = left.pop() {
            let Some(node) = self.nodes.get(at).filter(|_| seen.insert(at)) else { continue };
            let children = node.children.iter().filter(|(name, child)| !is_cut(at, name, *child));
            left.extend(children.map(|(_, child)| *child));
        }
        let nodes = self.nodes.iter().enumerate().filter(|(at, _)| !seen.contains(at));
        nodes.flat_map(|(_, node)| node.values.iter().map(|value| value.key.as_str())).collect()
    }
}

fn object(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Object> {
    let mut object = Object::default();
    parser.inside(of, field, WHAT, &mut |parser, of, field| {
        match field.number {
            1 => object.children.push(child(parser, of, field)?),
            2 => object.values.push(value(parser, of, field)?),
            3 => object.slots.push(slot(parser, of, field)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(object)
}

/// A number of a node.
pub(crate) fn node(field: &Field, what: &'static str) -> Result<usize> {
    let id = field.int32(what)?;
    usize::try_from(id).map_err(|_| field.wrong(what, "no negative number"))
}

/// `ObjectReference`.
pub(crate) fn child(
    parser: &mut Parser<'_>,
    of: &Message,
    field: &Field,
) -> Result<(String, usize)> {
    const WHAT: &str = "ObjectReference";
    let (mut id, mut name) = (None, None);
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        1 => once(&mut id, node(field, WHAT)?, field, WHAT),
        2 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    Ok((name.unwrap_or_default(), id.unwrap_or(0)))
}

fn value(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Saved> {
    const WHAT: &str = "SerializedTensor";
    let (mut attribute, mut own_name, mut key) = (None, None, None);
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        1 => once(&mut attribute, parser.text(field, WHAT)?, field, WHAT),
        2 => once(&mut own_name, parser.text(field, WHAT)?, field, WHAT),
        3 => once(&mut key, parser.text(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    let [attribute, own_name, key] = [attribute, own_name, key].map(Option::unwrap_or_default);
    Ok(Saved { attribute, own_name, key })
}

fn slot(parser: &mut Parser<'_>, of: &Message, field: &Field) -> Result<Slot> {
    const WHAT: &str = "SlotVariableReference";
    let (mut original, mut name, mut own) = (None, None, None);
    parser.inside(of, field, WHAT, &mut |parser, _, field| match field.number {
        1 => once(&mut original, node(field, WHAT)?, field, WHAT),
        2 => once(&mut name, parser.text(field, WHAT)?, field, WHAT),
        3 => once(&mut own, node(field, WHAT)?, field, WHAT),
        _ => Ok(()),
    })?;
    let (of, node) = (original.unwrap_or(0), own.unwrap_or(0));
    Ok(Slot { of, name: name.unwrap_or_default(), node })
}
