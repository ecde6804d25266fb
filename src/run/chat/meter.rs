//! What a template may build: every byte and element is paid for from one purse before it is made.
//!
//! The engine bounds steps. But strings that are doubled forty times take few of them, and it asks
//! nobody before it joins, repeats or copies. So its compiled program is run with tolls: before an
//! instruction that builds or walks a value, the values on its stack are handed to a function of
//! ours, and after it the result is. An instruction keeps its place, so that jumps stay right: a
//! jump takes it, to a toll at the end of the program that does the same and comes back.
//!
//! ```text
//!   7  Jump 40                       40  CallFunction "~ sum", 2     the operands, paid for
//!                                    41  UnpackList 2                lie there again
//!                                    42  StringConcat                what stood at 7
//!   8  …                             43  Jump 8
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::machinery::{Instruction, Instructions, Token, WhitespaceConfig, tokenize};
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::filters;

/// Bytes of text that a template may make in all; an element of a list counts as [`ELEMENT`].
const PURSE: u64 = 16 << 20;
/// What a value takes beside its text.
pub(super) const ELEMENT: u64 = 32;
/// Lists in lists. What is nested without end would overflow the stack when it is dropped.
const DEPTH: usize = 100;

/// The result of the engine's functions.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// What is left for a template to spend.
#[derive(Clone)]
pub(super) struct Purse(Arc<AtomicU64>);

impl Purse {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(PURSE)))
    }

    /// Takes `cost`, or refuses.
    pub(super) fn pay(&self, cost: u64) -> Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        let left = left.checked_sub(cost).ok_or_else(too_much)?;
        self.0.store(left, Ordering::Relaxed);
        Ok(())
    }

    /// What `value` takes written out: its text, and that of all that is in it.
    pub(super) fn whole(&self, value: &Value) -> Result<u64> {
        let mut left = self.0.load(Ordering::Relaxed);
        let all = left;
        count(value, DEPTH, &mut left)?;
        Ok(all - left)
    }

    /// Pays for what is walked or copied once, whole.
    pub(super) fn pay_whole(&self, value: &Value) -> Result<()> {
        self.pay(self.whole(value)?)
    }

    /// Pays for a comparison: it ends where the smaller value does.
    pub(super) fn pay_comparison(&self, a: &Value, b: &Value) -> Result<()> {
        match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => self.pay(a.len().min(b.len()) as u64 + 1),
            _ if is_plain(a) || is_plain(b) => self.pay(1),
            _ => self.pay(self.whole(a)?.min(self.whole(b)?)),
        }
    }

    /// The same value as a list, if it makes its elements only when it is asked for them: such
    /// values hide what they hold, and each keeps the one that it was made of.
    pub(super) fn settle(&self, value: Value) -> Result<Value> {
        if value.kind() != ValueKind::Iterable {
            return Ok(value);
        }
        let mut list = Vec::new();
        for item in value.try_iter()? {
            self.pay(ELEMENT)?;
            list.push(item);
        }
        Ok(Value::from(list))
    }
}

fn is_plain(value: &Value) -> bool {
    value.as_str().is_none() && value.as_object().is_none()
}

/// Elements of a list or map, bytes of a string: what is touched when the outermost level is.
pub(super) fn outer(value: &Value) -> u64 {
    match value.as_str() {
        Some(text) => text.len() as u64,
        None => ELEMENT * (1 + value.len().unwrap_or(0) as u64),
    }
}

fn count(value: &Value, depth: usize, left: &mut u64) -> Result<()> {
    let own = value.as_str().map_or(0, str::len) as u64 + ELEMENT;
    *left = left.checked_sub(own).ok_or_else(too_much)?;
    let Some(object) = value.as_object() else { return Ok(()) };
    if depth == 0 {
        let text = format!("lists and maps nested {DEPTH} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    }
    let is_map = value.kind() == ValueKind::Map;
    for item in object.try_iter().into_iter().flatten() {
        if is_map && let Some(held) = object.get_value(&item) {
            count(&held, depth - 1, left)?;
        }
        count(&item, depth - 1, left)?;
    }
    Ok(())
}

fn too_much() -> Error {
    let text = format!("the template builds more than {PURSE} bytes");
    Error::new(ErrorKind::OutOfFuel, text)
}

/// When a toll is taken.
#[derive(Clone, Copy)]
enum When {
    /// Of so many operands, before.
    Before(usize),
    /// Of the result, after.
    After,
}

/// The toll of an instruction: when, and the function that takes it. No template can call one: a
/// name in a template holds no space.
fn toll(instruction: &Instruction<'_>) -> Result<Option<(When, &'static str)>> {
    use Instruction as I;
    Ok(Some(match instruction {
        I::Add => (When::Before(2), "~ add"),
        I::Mul => (When::Before(2), "~ repeat"),
        I::StringConcat => (When::Before(2), "~ concat"),
        I::Eq | I::Ne | I::Gt | I::Gte | I::Lt | I::Lte | I::CompareAndPreserve(_) => {
            (When::Before(2), "~ compare")
        }
        I::In => (When::Before(2), "~ search"),
        I::GetItem => (When::Before(2), "~ index"),
        I::Slice => (When::Before(4), "~ index"),
        I::PushLoop(_) => (When::Before(1), "~ walk"),
        I::SetAttr(_) => (When::Before(2), "~ keep"),
        I::BuildList(_) | I::BuildMap(_) | I::BuildKwargs(_) => (When::After, "~ built"),
        I::UnpackLists(_) | I::MergeKwargs(_) => {
            let text = "arguments that are unpacked (`*list`) are not supported";
            return Err(Error::new(ErrorKind::InvalidOperation, text));
        }
        _ => return Ok(None),
    }))
}

/// The program with its tolls. Raw text becomes a value that is written as others are.
pub(super) fn metered<'s>(program: &Instructions<'s>) -> Result<Instructions<'s>> {
    let len = u32::try_from(program.len()).map_err(|_| too_much())?;
    let mut out = Instructions::new(program.name(), program.source());
    let mut tolls = Vec::new();
    // After the end of the program come the tolls, and the first of them leads past all.
    let mut next = len + 1;
    for at in 0..len {
        let Some(instruction) = program.get(at) else { break };
        let stop = stop(instruction)?;
        let line = program.get_line(at).unwrap_or(0) as u16;
        let placed = if stop.is_empty() { instruction.clone() } else { Instruction::Jump(next) };
        out.add_with_line(placed, line);
        if !stop.is_empty() {
            next += stop.len() as u32 + 1;
            tolls.push((stop, at, line));
        }
    }
    out.add(Instruction::Jump(next));
    for (stop, at, line) in tolls {
        for instruction in stop {
            out.add_with_line(instruction, line);
        }
        out.add_with_line(Instruction::Jump(at + 1), line);
    }
    Ok(out)
}

/// What is done in an instruction's stead; nothing if it costs nothing.
fn stop<'s>(instruction: &Instruction<'s>) -> Result<Vec<Instruction<'s>>> {
    if let Instruction::EmitRaw(text) = instruction {
        return Ok(vec![Instruction::LoadConst(Value::from(*text)), Instruction::Emit]);
    }
    let settle = Instruction::CallFunction("~ settle", Some(1));
    Ok(match toll(instruction)? {
        None => Vec::new(),
        Some((When::After, name)) => {
            vec![instruction.clone(), Instruction::CallFunction(name, Some(1))]
        }
        Some((When::Before(count), name)) => {
            let pay = Instruction::CallFunction(name, Some(count as u16));
            let mut stop = vec![pay, Instruction::UnpackList(count), instruction.clone()];
            if matches!(instruction, Instruction::Add | Instruction::Slice) {
                stop.push(settle);
            }
            stop
        }
    })
}

/// Gives `environment` the functions that take tolls, and those that templates know.
pub(super) fn install(environment: &mut Environment<'_>, purse: &Purse) {
    let mut add = |name: &'static str, price: fn(&Purse, &[Value]) -> Result<()>| {
        let purse = purse.clone();
        let take = move |values: minijinja::value::Rest<Value>| {
            price(&purse, &values)?;
            // Unpacked, the first of a list lies on top.
            Ok::<_, Error>(Value::from_iter(values.0.into_iter().rev()))
        };
        environment.add_function(name, take);
    };
    add("~ add", |purse, values| values.iter().try_for_each(|value| purse.pay(outer(value))));
    add("~ concat", |purse, values| values.iter().try_for_each(|value| purse.pay_whole(value)));
    add("~ repeat", repeat);
    add("~ compare", |purse, values| match values {
        [a, b] => purse.pay_comparison(a, b),
        _ => Ok(()),
    });
    add("~ search", |purse, values| match values {
        [_, place] if place.kind() == ValueKind::Map => purse.pay(1),
        [_, place] => purse.pay_whole(place),
        _ => Ok(()),
    });
    add("~ index", |purse, values| match values {
        // An element of a list is found at once; a character is counted to, a slice is copied.
        [whole, _] if whole.as_str().is_none() => purse.pay(1),
        [whole, ..] => purse.pay(outer(whole)),
        _ => Ok(()),
    });
    add("~ walk", |purse, values| values.iter().try_for_each(|value| purse.pay(outer(value))));
    add("~ keep", |purse, values| match values {
        [value, _] => purse.pay_whole(value),
        _ => Ok(()),
    });
    let own = purse.clone();
    environment.add_function("~ built", move |value: Value| own.pay_whole(&value).map(|()| value));
    let own = purse.clone();
    environment.add_function("~ settle", move |value: Value| own.settle(value));
    let own = purse.clone();
    environment.set_formatter(move |out, state, value| {
        own.pay_whole(value)?;
        minijinja::escape_formatter(out, state, value)
    });
    filters::install(environment, purse);
}

/// Text times a number. A list would be repeated for as long as somebody asks, and then again.
fn repeat(purse: &Purse, values: &[Value]) -> Result<()> {
    let [a, b] = values else { return Ok(()) };
    if a.as_object().is_some() || b.as_object().is_some() {
        let text = "a list times a number is not supported";
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    }
    let (text, times) = if a.as_str().is_some() { (a, b) } else { (b, a) };
    match (text.as_str(), times.as_usize()) {
        (Some(text), Some(times)) => purse.pay((text.len() as u64).saturating_mul(times as u64)),
        _ => purse.pay(1),
    }
}

/// Words and signs between the braces of one block. The engine's tree of `1 ~ 1 ~ …` is as deep as
/// that is long, and it is walked and dropped by recursion.
const BLOCK_MAX: usize = 2000;
/// Branches of all conditions: the engine has each in the one before.
const BRANCHES_MAX: usize = 500;
/// Bytes of all products of constants, which the compiler computes without being asked.
const PRODUCTS_MAX: u64 = 64 << 10;

/// Refuses what the engine's compiler would do without bound, before it does anything.
pub(super) fn refuse_hard_to_compile(template: &str) -> Result<()> {
    let options = WhitespaceConfig::default();
    let tokens = tokenize(template, false, Default::default(), options);
    let tokens = tokens.map(|found| found.map(|(token, _)| token)).collect::<Result<Vec<_>>>()?;
    let mut len = 0;
    for token in &tokens {
        len = if matches!(token, Token::TemplateData(_)) { 0 } else { len + 1 };
        len = if matches!(token, Token::BlockStart | Token::VariableStart) { 0 } else { len };
        if len > BLOCK_MAX {
            let text = format!("a block of more than {BLOCK_MAX} words");
            return Err(Error::new(ErrorKind::SyntaxError, text));
        }
    }
    if tokens.iter().filter(|token| matches!(token, Token::Ident("elif"))).count() > BRANCHES_MAX {
        let text = format!("more than {BRANCHES_MAX} elif, which is too many words");
        return Err(Error::new(ErrorKind::SyntaxError, text));
    }
    refuse_products(&tokens)
}

/// Text times a number is a constant, and so is a list times one, in which others may be.
fn refuse_products(tokens: &[Token<'_>]) -> Result<()> {
    let is_number = |token: &Token<'_>| matches!(token, Token::Int(_) | Token::Float(_));
    let is_variable = |token: &Token<'_>| {
        let words = ["true", "false", "none", "True", "False", "None", "not"];
        matches!(token, Token::Ident(name) if !words.contains(name))
    };
    let mut made = 0u64;
    for four in tokens.windows(4) {
        let [left, Token::Mul, right, next] = four else { continue };
        let is_last = !matches!(next, Token::Mul | Token::Pow);
        match (left, right) {
            (Token::Str(text), Token::Int(times)) if is_last => {
                made = made.saturating_add(times.saturating_mul(text.len() as u64));
            }
            _ if is_number(left) && is_number(right) => {}
            _ if is_variable(left) || is_variable(right) => {}
            _ => made = u64::MAX,
        }
    }
    if made > PRODUCTS_MAX {
        let text = "products of constants, of more than 64 KiB: write out what they make";
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    }
    Ok(())
}
