//! B-trees of version 2: names of new groups and of many attributes, and chunks.
//!
//! ```text
//!  BTHD 0 type  node size u32  record size u16  depth u16  split merge  root  count u16  total  sum
//!  BTIN 0 type  records… │ child: address, records in it, [records beneath it]… │ sum
//!  BTLF 0 type  records… │ sum
//! ```
//!
//! The counts of a child are as wide as the largest count that fits into a node of its level.

use std::collections::BTreeSet;

use wire::{Error, Result};

use crate::fields::{Fields, Image};
use crate::limits::LEVELS_MAX;

/// Signature, version, type and checksum of a node.
const NODE: u64 = 10;

/// Bytes that numbers up to `max` need.
pub(crate) fn width(max: u64) -> usize {
    (max.max(1).ilog2() as usize / 8).saturating_add(1)
}

/// What the header of a tree says.
struct Tree<'a> {
    image: &'a Image<'a>,
    kind: u8,
    node_len: u64,
    record_len: usize,
    /// Widths of both counts of a child, by the level of its parent.
    child: Vec<(usize, usize)>,
}

/// A node that is to be read: address, records in it, level above the leaves.
type Node = (u64, u64, u16);

/// Calls `take` with every record of a tree of one of these types.
pub(crate) fn each(
    image: &Image<'_>,
    address: u64,
    kinds: &[u8],
    take: &mut dyn FnMut(Fields<'_>) -> Result<()>,
) -> Result<()> {
    let Some((tree, root)) = Tree::open(image, address, kinds)? else { return Ok(()) };
    let mut seen = BTreeSet::new();
    let mut nodes = vec![root];
    while let Some(node) = nodes.pop() {
        if !seen.insert(node.0) {
            let at = image.base.saturating_add(node.0);
            let rule = "was read before: the tree goes in a circle";
            return Err(Error::invalid(at, "B-tree node", rule));
        }
        let children = tree.node(node, take)?;
        nodes.extend(children.into_iter().rev());
    }
    Ok(())
}

impl<'a> Tree<'a> {
    fn open(image: &'a Image<'a>, address: u64, kinds: &[u8]) -> Result<Option<(Self, Node)>> {
        let widths = image.widths;
        let len = widths.address.saturating_add(widths.length).saturating_add(22);
        let bytes = image.summed(address, len as u64, "B-tree header")?;
        let mut fields = image.fields(&bytes, address);
        fields.signature(b"BTHD", "B-tree header")?;
        fields.version(&[0], "B-tree version")?;
        let kind_at = fields.offset();
        let kind = fields.u8("B-tree type")?;
        if !kinds.contains(&kind) {
            let rule = format!("is {kind}, expected {kinds:?}");
            return Err(Error::invalid(kind_at, "B-tree type", rule));
        }
        let node_len = u64::from(fields.u32("node size")?);
        let record_len = usize::from(fields.u16("record size")?);
        let depth_at = fields.offset();
        let depth = fields.u16("B-tree depth")?;
        if depth > LEVELS_MAX || record_len == 0 {
            let rule = format!("{depth} levels of records of {record_len} bytes");
            return Err(Error::invalid(depth_at, "B-tree depth", rule));
        }
        fields.skip(2, "B-tree header")?;
        let root = fields.address("root node")?;
        let count = u64::from(fields.u16("records in the root")?);
        let child = child_widths(node_len, record_len as u64, depth, widths.address as u64);
        let tree = Self { image, kind, node_len, record_len, child };
        Ok(root.map(|root| (tree, (root, count, depth))))
    }

    /// Reads a node: its records are taken, its children are returned.
    fn node(
        &self,
        (address, count, level): Node,
        take: &mut dyn FnMut(Fields<'_>) -> Result<()>,
    ) -> Result<Vec<Node>> {
        let (before, after) = match level.checked_sub(1) {
            Some(below) => self.child.get(usize::from(below)).copied().unwrap_or((8, 8)),
            None => (0, 0),
        };
        let child_len = self.image.widths.address.saturating_add(before).saturating_add(after);
        let children = if level == 0 { 0 } else { count.saturating_add(1) };
        let len = count.saturating_mul(self.record_len as u64);
        let len = children.saturating_mul(child_len as u64).saturating_add(len);
        let at = self.image.base.saturating_add(address);
        let len = len.saturating_add(NODE);
        if len > self.node_len {
            let rule = format!("{count} records need {len} bytes of {}", self.node_len);
            return Err(Error::invalid(at, "B-tree node", rule));
        }
        let bytes = self.image.summed(address, len, "B-tree node")?;
        let mut fields = self.image.fields(&bytes, address);
        fields.signature(if level == 0 { b"BTLF" } else { b"BTIN" }, "B-tree node")?;
        fields.version(&[0], "B-tree node version")?;
        let kind = fields.u8("B-tree type")?;
        if kind != self.kind {
            let rule = format!("is of type {kind}, expected {}", self.kind);
            return Err(Error::invalid(at, "B-tree node", rule));
        }
        for _ in 0..count {
            take(fields.part(self.record_len, "B-tree record")?)?;
        }
        let mut found = Vec::new();
        for _ in 0..children {
            let child = fields.defined("B-tree child")?;
            let count = fields.uint(before, "records of a child")?;
            fields.skip(after, "records beneath a child")?;
            found.push((child, count, level.saturating_sub(1)));
        }
        Ok(found)
    }
}

/// For parents on level 1, 2, …: the widths of a child's own count, and of all beneath it.
fn child_widths(node_len: u64, record_len: u64, depth: u16, address: u64) -> Vec<(usize, usize)> {
    let in_leaf = node_len.saturating_sub(NODE).checked_div(record_len).unwrap_or(0);
    let own = width(in_leaf);
    let (mut beneath, mut beneath_width) = (in_leaf, 0usize);
    let mut widths = Vec::new();
    for _ in 0..depth {
        widths.push((own, beneath_width));
        let child = address.saturating_add((own.saturating_add(beneath_width)) as u64);
        let room = node_len.saturating_sub(NODE).saturating_sub(child);
        let records = room.checked_div(record_len.saturating_add(child)).unwrap_or(0);
        let all = records.saturating_add(1).saturating_mul(beneath).saturating_add(records);
        (beneath, beneath_width) = (all, width(all));
    }
    widths
}
