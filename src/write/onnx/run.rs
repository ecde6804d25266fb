//! A list beside the fields of the original that it was read from.

use std::collections::BTreeMap;
use std::ops::Range;

use onnx::Field;

use crate::ir::Result;

/// A list whose items are written in its order, each where the original has it: what was added
/// goes before what follows it.
pub(super) struct Run<'b, T> {
    items: &'b [T],
    places: BTreeMap<u64, usize>,
    next: usize,
}

impl<'b, T> Run<'b, T> {
    pub(super) fn new(items: &'b [T], span: impl Fn(&T) -> Option<Range<u64>>) -> Self {
        let places = items.iter().enumerate();
        let places = places.filter_map(|(no, item)| Some((span(item)?.start, no))).collect();
        Self { items, places, next: 0 }
    }

    /// What is due at a field of the original: nothing, if it is gone or written already.
    pub(super) fn until(&mut self, field: &Field) -> Result<&'b [T]> {
        let start = field.bytes("message")?.start;
        let Some(&no) = self.places.get(&start).filter(|no| **no >= self.next) else {
            return Ok(&[]);
        };
        let due = self.items.get(self.next..=no).unwrap_or_default();
        self.next = no + 1;
        Ok(due)
    }

    /// What comes after the last field of the original.
    pub(super) fn rest(&mut self) -> &'b [T] {
        let due = self.items.get(self.next..).unwrap_or_default();
        self.next = self.items.len();
        due
    }
}
