//! Pickle, read as a data language.
//!
//! A pickle is a program for a stack machine that builds values. This machine knows the opcodes
//! of protocols 0 to 5 and no function at all: where Python would import a name and call it, the
//! name selects a meaning from the table in `globals`, and what would be called is described.
//!
//! ```text
//!  80 02 │ 7d        │ 58 … 'w'   │ 63 torch._utils _rebuild_tensor_v2 │ 28 … 74 │ 52     │ 73      │ 2e
//!  PROTO │ EMPTY_DICT│ BINUNICODE │ GLOBAL                             │ TUPLE   │ REDUCE │ SETITEM │ STOP
//! ```
//!
//! Specification: `Lib/pickletools.py` of CPython 3.13. Refused: extension codes, text persistent
//! identifiers, out-of-band buffers, and whatever reaches below the bottom of the stack.

mod atoms;
mod containers;
mod escapes;
mod objects;
mod rebuild;

use std::collections::{BTreeMap, HashMap};

use wire::{Cursor, Error, Result, Why};

use crate::globals::Meaning;
use crate::value::{Global, Id, Pickle, Stated, Value, foreign};
use crate::{Limits, Options};

const PROTOCOL_MAX: u8 = 5;

/// What an error about a dangerous name is about.
pub(crate) const GLOBAL: &str = "pickle global";

/// Values that exist once, at the first indices of every arena.
const NONE: Id = Id(0);
const FALSE: Id = Id(1);
const TRUE: Id = Id(2);
const PLAIN: Id = Id(3);
const EMPTY: Id = Id(4);

/// Reads the pickle at the cursor; afterwards the cursor stands behind its STOP.
///
/// # Errors
/// `Malformed` with the place of the opcode, or naming what foreign names it mentions if these are
/// not to be skipped; `TooLarge` above one of the limits.
pub(crate) fn read(c: &mut Cursor<'_>, end: u64, options: &Options) -> Result<Pickle> {
    read_keyed(c, end, options, Keyed::new())
}

/// What a persistent identifier that is a key refers to, in files that describe it elsewhere.
pub(crate) type Keyed = BTreeMap<String, Described>;

/// A storage, or a tensor of it: offset, sizes and strides.
pub(crate) struct Described {
    pub(crate) stated: Stated,
    pub(crate) view: Option<(u64, Vec<u64>, Vec<u64>)>,
}

/// As [`read`], of a pickle that refers to what `keyed` describes.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_keyed(
    c: &mut Cursor<'_>,
    end: u64,
    options: &Options,
    keyed: Keyed,
) -> Result<Pickle> {
    let start = c.offset();
    let end = end.min(start.saturating_add(options.limits.bytes));
    let mut machine = Machine { keyed, ..Machine::new(c, end, options) };
    let result = machine.run();
    if !matches!(&result, Err(error) if error.what == GLOBAL) {
        // A foreign name is the likelier cause of whatever went wrong after it.
        machine.foreign()?;
    }
    let root = result?;
    let len = machine.c.offset().saturating_sub(start);
    let Machine { values, globals, storages, limits, .. } = machine;
    Ok(Pickle { values, globals, storages, root, start, len, limits })
}

struct Machine<'c, 's> {
    c: &'c mut Cursor<'s>,
    start: u64,
    end: u64,
    skip_objects: bool,
    limits: Limits,
    values: Vec<Value>,
    /// Items copied from one container into another; they count as values.
    copied: usize,
    stack: Vec<Id>,
    /// Heights of the stack at each MARK.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    globals: Vec<Global>,
    global_at: BTreeMap<String, u32>,
    storages: Vec<Stated>,
    storage_at: BTreeMap<String, u32>,
    keyed: Keyed,
    /// Where the present opcode is.
    at: u64,
}

impl<'c, 's> Machine<'c, 's> {
    fn new(c: &'c mut Cursor<'s>, end: u64, options: &Options) -> Self {
        let start = c.offset();
        let values = vec![
            Value::None,
            Value::Bool(false),
            Value::Bool(true),
            Value::Plain,
            Value::Row(Vec::new()),
        ];
        Self {
            c,
            start,
            end,
            skip_objects: options.skip_objects,
            limits: options.limits,
            values,
            copied: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            globals: Vec::new(),
            global_at: BTreeMap::new(),
            storages: Vec::new(),
            storage_at: BTreeMap::new(),
            keyed: Keyed::new(),
            at: start,
        }
    }

    fn run(&mut self) -> Result<Id> {
        for _ in 0..self.limits.opcodes {
            self.at = self.c.offset();
            let [op] = self.array("opcode")?;
            if op == b'.' {
                return self.stop();
            }
            let known = self.atom(op)?
                || self.container(op)?
                || self.stack_or_memo(op)?
                || self.object(op)?
                || self.framing(op)?;
            if !known {
                let value = format!("{op:#04x}");
                return Err(Error::new(self.at, "pickle opcode", Why::Unknown { value }));
            }
        }
        let max = self.limits.opcodes;
        Err(self.above(max.saturating_add(1), (max, "pickle-opcodes"), "opcodes of a pickle"))
    }

    fn stop(&mut self) -> Result<Id> {
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return self.invalid("STOP, but values are left on the stack");
        }
        Ok(root)
    }

    /// Opcodes that frame the stream.
    fn framing(&mut self, op: u8) -> Result<bool> {
        match op {
            0x80 => {
                let [protocol] = self.array("pickle protocol")?;
                if protocol > PROTOCOL_MAX || self.at != self.start {
                    let rule = format!("protocol {protocol}, where 0 to 5 are known, once");
                    return self.invalid(rule);
                }
            }
            0x95 => {
                let len = u64::from_le_bytes(self.array("pickle frame")?);
                self.need(len, "pickle frame")?;
            }
            0x82..=0x84 => return self.invalid("extension codes mean nothing outside one program"),
            0x97 | 0x98 => return self.invalid("a buffer outside the pickle, which a file lacks"),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn stack_or_memo(&mut self, op: u8) -> Result<bool> {
        match op {
            b'(' => {
                self.marks.push(self.stack.len());
                self.bounded()?;
            }
            b'0' if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let index = match op {
                    0x94 => self.memo.len() as u64,
                    _ => self.memo_index(op)?,
                };
                let top = self.top()?;
                self.memo.insert(index, top);
            }
            b'g' | b'h' | b'j' => {
                let index = self.memo_index(op)?;
                let Some(&id) = self.memo.get(&index) else {
                    return self.invalid(format!("memo {index} is read before it is set"));
                };
                self.push(id)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn memo_index(&mut self, op: u8) -> Result<u64> {
        let index = match op {
            b'q' | b'h' => u64::from(u8::from_le_bytes(self.array("memo index")?)),
            b'r' | b'j' => u64::from(u32::from_le_bytes(self.array("memo index")?)),
            _ => match self.line()?.parse() {
                Ok(index) => index,
                Err(_) => return self.invalid("the memo index is not a number"),
            },
        };
        self.within(index, (self.limits.values, "pickle-values"), "pickle memo index")?;
        Ok(index)
    }

    // ── Values and the stack ───────────────────────────────────────────────────────────────────

    fn make(&mut self, value: Value) -> Result<Id> {
        let count = self.values.len().saturating_add(self.copied).saturating_add(1) as u64;
        let max = self.limits.values.min(u32::MAX.into());
        self.within(count, (max, "pickle-values"), "values of a pickle")?;
        let id = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        self.values.push(value);
        Ok(Id(id))
    }

    fn value(&self, id: Id) -> &Value {
        self.values.get(id.0 as usize).unwrap_or(&Value::None)
    }

    fn value_mut(&mut self, id: Id) -> Result<&mut Value> {
        let place = self.at;
        let gone = || Error::invalid(place, "pickle opcode", "refers to no value");
        self.values.get_mut(id.0 as usize).ok_or_else(gone)
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    fn meaning(&self, id: Id) -> Option<Meaning> {
        match self.value(id) {
            Value::Global(at) => self.globals.get(*at as usize).map(|global| global.meaning),
            _ => None,
        }
    }

    fn push(&mut self, id: Id) -> Result<()> {
        self.stack.push(id);
        self.bounded()
    }

    fn push_new(&mut self, value: Value) -> Result<()> {
        let id = self.make(value)?;
        self.push(id)
    }

    fn bounded(&self) -> Result<()> {
        let height = self.stack.len().saturating_add(self.marks.len()) as u64;
        self.within(height, (self.limits.stack, "pickle-stack"), "stack of a pickle")
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&id) if self.stack.len() > floor => Ok(id),
            _ => self.invalid("needs a value, but the stack has none above its last mark"),
        }
    }

    fn pop(&mut self) -> Result<Id> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    /// The values above the last mark, which goes with them.
    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        match self.marks.pop() {
            Some(floor) => Ok(self.stack.split_off(floor.min(self.stack.len()))),
            None => self.invalid("needs a mark, but none is set"),
        }
    }

    // ── Bytes and errors ───────────────────────────────────────────────────────────────────────

    /// The next `len` bytes must lie within the pickle.
    fn need(&self, len: u64, what: &'static str) -> Result<()> {
        let offset = self.c.offset();
        if wire::fits(offset, len, self.end).is_some() {
            return Ok(());
        }
        let max = self.limits.bytes;
        let end_max = self.start.saturating_add(max);
        let why = if self.end == end_max && end_max < self.c.size() {
            let value = offset.saturating_sub(self.start).saturating_add(len);
            Why::TooLarge { value, max, lift: "pickle-bytes" }
        } else {
            Why::Truncated { need: len, have: self.end.saturating_sub(offset) }
        };
        Err(Error::new(offset, what, why))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N]> {
        self.need(N as u64, what)?;
        self.c.array(what)
    }

    fn invalid<T>(&self, rule: impl Into<String>) -> Result<T> {
        Err(Error::invalid(self.at, "pickle opcode", rule))
    }

    /// Holds a number against a limit and its name.
    fn within(&self, value: u64, limit: (u64, &'static str), what: &'static str) -> Result<()> {
        if value <= limit.0 { Ok(()) } else { Err(self.above(value, limit, what)) }
    }

    fn above(&self, value: u64, (max, lift): (u64, &'static str), what: &'static str) -> Error {
        Error::new(self.at, what, Why::TooLarge { value, max, lift })
    }

    /// All foreign names, unless these are to be skipped.
    fn foreign(&self) -> Result<()> {
        let Some(names) = foreign(&self.globals).filter(|_| !self.skip_objects) else {
            return Ok(());
        };
        let first = self.globals.iter().find(|global| global.meaning == Meaning::Foreign);
        let rule = format!(
            "objects of foreign classes ({names}); --skip-objects reads the tensors and leaves \
             these objects out"
        );
        let at = first.map_or(self.start, |global| global.at);
        Err(Error::invalid(at, "pickle globals", rule))
    }
}
