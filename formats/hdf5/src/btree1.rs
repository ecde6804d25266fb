//! B-trees of version 1: links of old groups, and chunks of old datasets.
//!
//! ```text
//!  TREE  type u8  level u8  count u16  left  right │ key  child │ key  child │ … │ key
//! ```

use std::collections::BTreeSet;

use wire::{Error, Result};

use crate::fields::{Fields, Image};
use crate::limits::LEVELS_MAX;

/// What the leaves of a tree hold.
pub(crate) struct Kind {
    /// The number that a node states: 0 for groups, 1 for chunks.
    pub(crate) number: u8,
    /// Bytes of a key.
    pub(crate) key: usize,
}

/// Calls `take` with the key and the child address of every entry of the leaves, in order.
pub(crate) fn each(
    image: &Image<'_>,
    root: u64,
    kind: &Kind,
    take: &mut dyn FnMut(Fields<'_>, u64) -> Result<()>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    // Addresses of nodes to be read, the next one last, with the level that they must have.
    let mut nodes: Vec<(u64, Option<u8>)> = vec![(root, None)];
    while let Some((address, expected)) = nodes.pop() {
        let at = image.base.saturating_add(address);
        let invalid = |rule: String| Err(Error::invalid(at, "B-tree node", rule));
        if !seen.insert(address) {
            return invalid("was read before: the tree goes in a circle".into());
        }
        let head_len = image.widths.address.saturating_mul(2).saturating_add(8);
        let head = image.block(address, head_len as u64, "B-tree node")?;
        let mut fields = image.fields(&head, address);
        fields.signature(b"TREE", "B-tree node")?;
        let number = fields.u8("B-tree type")?;
        if number != kind.number {
            return invalid(format!("is of type {number}, expected {}", kind.number));
        }
        let level = fields.u8("B-tree level")?;
        if expected.is_some_and(|expected| level != expected) || u16::from(level) > LEVELS_MAX {
            return invalid(format!(
                "is on level {level}, where its parent has another beneath it"
            ));
        }
        let count = usize::from(fields.u16("B-tree entries")?);
        let entry = kind.key.saturating_add(image.widths.address);
        let len = count.saturating_mul(entry).saturating_add(head_len);
        let bytes = image.block(address, len as u64, "B-tree node")?;
        let mut fields = image.fields(&bytes, address);
        fields.skip(head_len, "B-tree node")?;
        let mut children = Vec::new();
        for _ in 0..count {
            let key = fields.part(kind.key, "B-tree key")?;
            let child = fields.defined("B-tree child")?;
            match level.checked_sub(1) {
                None => take(key, child)?,
                below => children.push((child, below)),
            }
        }
        nodes.extend(children.into_iter().rev());
    }
    Ok(())
}
