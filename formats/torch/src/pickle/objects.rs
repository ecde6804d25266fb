//! Names, what would be called, and what would be made of it.

use wire::{Error, Result};

use super::{GLOBAL, Machine};
use crate::globals::{Meaning, Rebuild, meaning};
use crate::value::{Global, Id, Object, Value};
use zip::quoted;

/// Most parts of a persistent identifier: a storage has six at most.
const PARTS_MAX: usize = 6;

impl Machine<'_, '_> {
    /// Opcodes that name a global or describe an object.
    pub(super) fn object(&mut self, op: u8) -> Result<bool> {
        let made = match op {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let texts = self.text(module).zip(self.text(name));
                let Some((module, name)) = texts.map(|(m, n)| (m.to_owned(), n.to_owned())) else {
                    return self.invalid("STACK_GLOBAL of values that are no text");
                };
                self.global(&module, &name)?
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                let class = self.global(&module, &name)?;
                let args = self.pop_mark()?;
                let args = self.make(Value::Row(args))?;
                self.instance(class, args)?
            }
            b'o' => {
                let items = self.pop_mark()?;
                let Some((&class, args)) = items.split_first() else {
                    return self.invalid("OBJ without a class");
                };
                let args = self.make(Value::Row(args.to_vec()))?;
                self.instance(class, args)?
            }
            0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.instance(class, args)?
            }
            0x92 => {
                let (named, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                let args = self.make(Value::Row(vec![args, named]))?;
                self.described(class, args)?
            }
            b'R' => {
                let (args, function) = (self.pop()?, self.pop()?);
                self.call(function, args)?
            }
            b'b' => return self.build().map(|()| true),
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?
            }
            b'P' => {
                let line = self.line()?;
                if self.keyed.contains_key(&line) {
                    let made = self.keyed(&line)?;
                    return self.push(made).map(|()| true);
                }
                let rule = format!("a persistent identifier that is text: {}", quoted(&line));
                return self.invalid(rule);
            }
            _ => return Ok(false),
        };
        self.push(made)?;
        Ok(true)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<Id> {
        let full = format!("{module}.{name}");
        self.within(full.len() as u64, (self.limits.name, "pickle-name"), "name of a global")?;
        let count = self.globals.len().saturating_add(1) as u64;
        self.within(count, (self.limits.names, "pickle-names"), "names of globals")?;
        let meaning = meaning(module, name).map_err(|why| {
            let rule = format!("{} is {why}: this file may be an attack", quoted(&full));
            Error::invalid(self.at, GLOBAL, rule)
        })?;
        let next = u32::try_from(self.globals.len()).unwrap_or(u32::MAX);
        let index = *self.global_at.entry(full.clone()).or_insert(next);
        if index == next {
            self.globals.push(Global { name: full, meaning, at: self.at });
        }
        self.make(Value::Global(index))
    }

    /// What `function(*args)` would be, by the function's meaning.
    fn call(&mut self, function: Id, args: Id) -> Result<Id> {
        let Some(meaning) = self.meaning(function) else {
            return self.invalid("would call something that is no global");
        };
        let Value::Row(items) = self.value(args) else {
            return self.invalid("would call with arguments that are no tuple");
        };
        match meaning {
            Meaning::Rebuild(Rebuild::FromType) => {
                let Some((&function, &args)) = items.first().zip(items.get(2)) else {
                    return self.invalid("_rebuild_from_type_v2 without its arguments");
                };
                let known = [Rebuild::Tensor, Rebuild::TensorOfDtype, Rebuild::Parameter];
                match self.meaning(function) {
                    Some(Meaning::Rebuild(kind)) if known.contains(&kind) => {
                        self.rebuild(kind, args)
                    }
                    Some(Meaning::Unread(kind)) => self.make(Value::Unread(kind)),
                    _ => self.invalid("_rebuild_from_type_v2 of a function that makes no tensor"),
                }
            }
            Meaning::Rebuild(kind) => self.rebuild(kind, args),
            Meaning::Unread(kind) => self.make(Value::Unread(kind)),
            Meaning::Same => match items.first() {
                Some(&first) => Ok(first),
                None => self.invalid("would call without an argument"),
            },
            Meaning::Storage(_) | Meaning::Dtype(_) => {
                self.invalid("would call a storage class or a dtype")
            }
            _ => self.instance(function, args),
        }
    }

    /// What `class(*args)` would be.
    fn instance(&mut self, class: Id, args: Id) -> Result<Id> {
        let Some(meaning) = self.meaning(class) else {
            return self.invalid("an instance of something that is no global");
        };
        let Value::Row(items) = self.value(args) else {
            return self.invalid("an instance whose arguments are no tuple");
        };
        let (first, count) = (items.first().copied(), items.len());
        match meaning {
            Meaning::DefaultDict if first.is_some_and(|id| !self.is_class(id)) => {
                self.invalid("a defaultdict whose factory is no class")
            }
            Meaning::DefaultDict => self.make(Value::Dict(Vec::new())),
            Meaning::Dict => self.dict(first),
            Meaning::Row if count <= 1 => self.row(first),
            Meaning::Data | Meaning::Script | Meaning::Foreign => self.described(class, args),
            _ => self.invalid("an instance of something that is no class of data"),
        }
    }

    fn is_class(&self, id: Id) -> bool {
        let class = self.meaning(id).is_some_and(|meaning| !matches!(meaning, Meaning::Unread(_)));
        class || matches!(self.value(id), Value::None)
    }

    /// An object that is kept as a description; its class is never called.
    fn described(&mut self, class: Id, args: Id) -> Result<Id> {
        match self.meaning(class) {
            Some(Meaning::Data | Meaning::Script | Meaning::Foreign) => {
                let (list, dict) = (Vec::new(), Vec::new());
                self.make(Value::Object(Box::new(Object { args, state: None, list, dict })))
            }
            _ => self.invalid("an object of something that is no class of data"),
        }
    }

    /// A dictionary of the pairs of `from`, which is a dictionary or a row of pairs.
    fn dict(&mut self, from: Option<Id>) -> Result<Id> {
        let rows = match from.map(|id| self.value(id)) {
            None => return self.make(Value::Dict(Vec::new())),
            Some(Value::Dict(pairs)) => {
                let pairs = pairs.clone();
                self.copied = self.copied.saturating_add(pairs.len());
                return self.make(Value::Dict(pairs));
            }
            Some(Value::List(rows) | Value::Row(rows)) => rows,
            Some(_) => return self.invalid("a dictionary made of something else than pairs"),
        };
        let pair = |&id: &Id| match self.value(id) {
            Value::Row(pair) | Value::List(pair) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
            _ => None,
        };
        let pairs: Option<Vec<(Id, Id)>> =
            rows.iter().map(|id| pair(id).map(|[key, value]| (key, value))).collect();
        let Some(pairs) = pairs else {
            return self.invalid("a dictionary made of something else than pairs");
        };
        self.copied = self.copied.saturating_add(pairs.len());
        self.make(Value::Dict(pairs))
    }

    fn row(&mut self, from: Option<Id>) -> Result<Id> {
        let items = match from.map(|id| (id, self.value(id))) {
            None => Vec::new(),
            Some((id, Value::Row(_))) => return Ok(id),
            Some((_, Value::List(items))) => items.clone(),
            Some(_) => return self.invalid("a row made of something that is no row"),
        };
        self.copied = self.copied.saturating_add(items.len());
        self.make(Value::Row(items))
    }

    /// BUILD: attributes of the object below the top.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        let target = self.top()?;
        match self.value_mut(target)? {
            Value::Object(object) if object.state.is_none() => object.state = Some(state),
            // The attributes of a dictionary, such as the `_metadata` of a state dict.
            Value::Dict(_) => {}
            _ => return self.invalid("gives attributes to something that has none"),
        }
        Ok(())
    }

    /// A persistent identifier names a storage, or in old files the source of a class.
    fn persistent(&mut self, id: Id) -> Result<Id> {
        if let Some(key) = self.text(id).map(str::to_owned).filter(|_| !self.keyed.is_empty()) {
            return self.keyed(&key);
        }
        let Value::Row(items) = self.value(id) else {
            return self.invalid("a persistent identifier that is no tuple");
        };
        // Copied, so bounded: a few bytes of pickle can name a tuple of any length again.
        if items.len() > PARTS_MAX {
            return self.invalid(format!("a persistent identifier of {} parts", items.len()));
        }
        let items = items.clone();
        let kind = items.first().and_then(|&kind| self.text(kind));
        match (kind, items.as_slice()) {
            (Some("storage"), [_, rest @ ..]) => self.storage(rest),
            // ('module', class, file, source): the source is there to be compared, never run.
            (Some("module"), &[_, class, ..]) if self.meaning(class) == Some(Meaning::Foreign) => {
                Ok(class)
            }
            // The tar container has (class, file, source) for the same.
            (None, &[class, ..]) if !self.keyed.is_empty() && self.meaning(class).is_some() => {
                Ok(class)
            }
            _ => self.invalid("a persistent identifier that names no storage"),
        }
    }
}
