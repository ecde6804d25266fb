//! Tuples, lists, dictionaries and sets.

use wire::Result;

use super::{EMPTY, Machine};
use crate::value::{Id, Value};

impl Machine<'_, '_> {
    /// Opcodes that make or fill a container.
    pub(super) fn container(&mut self, op: u8) -> Result<bool> {
        match op {
            b')' => self.push(EMPTY)?,
            b']' => self.push_new(Value::List(Vec::new()))?,
            b'}' => self.push_new(Value::Dict(Vec::new()))?,
            0x8f => self.push_new(Value::List(Vec::new()))?,
            b't' | 0x91 => {
                let items = self.pop_mark()?;
                self.push_new(Value::Row(items))?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                self.push_new(Value::List(items))?;
            }
            0x85..=0x87 => self.small_tuple(op)?,
            b'd' => {
                let items = self.pop_mark()?;
                let pairs = self.pairs(&items)?;
                self.push_new(Value::Dict(pairs))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.insert(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn small_tuple(&mut self, op: u8) -> Result<()> {
        let count = op.saturating_sub(0x84);
        let mut items = Vec::with_capacity(3);
        for _ in 0..count {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push_new(Value::Row(items))
    }

    fn extend(&mut self, items: &[Id]) -> Result<()> {
        let target = self.top()?;
        match self.value_mut(target)? {
            Value::List(list) => list.extend(items),
            Value::Object(object) => object.list.extend(items),
            _ => return self.invalid("appends to something that is no list"),
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Result<()> {
        let pairs = self.pairs(items)?;
        let target = self.top()?;
        match self.value_mut(target)? {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Object(object) => object.dict.extend(pairs),
            _ => return self.invalid("sets items of something that is no dictionary"),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return self.invalid(format!("{} keys and values, an odd number", items.len()));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }
}
