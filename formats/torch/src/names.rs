//! From a pickled value to tensors with names.
//!
//! A name is the path of keys and indices from the root, joined with dots. Objects of foreign or
//! scripted classes are transparent: the keys of their state follow their own. In the state of a
//! pickled `nn.Module` the keys `_parameters`, `_buffers` and `_modules` are left out, which gives
//! the names that `state_dict` would have given.
//!
//! Both walks keep their own stack, so the depth of a value costs no stack of ours.

use std::collections::BTreeSet;

use wire::{Error, Result, Why};

use crate::Refused;
use crate::globals::Meaning;
use crate::value::{Id, Pickle, Step, Value, View};
use zip::quoted;

/// Bytes for names and shapes that each byte of a pickle is given. Shared containers can give one
/// tensor very many names, or lead to it over very many others, which must not cost more than the
/// size of the file allows.
const ROOM_PER_BYTE: u64 = 32;
/// What a tensor costs besides its name and shape, in bytes, rounded up.
const TENSOR_COST: u64 = 256;

/// Keys at the root under which training tools keep an optimizer's own tensors.
const OPTIMIZER: &[&str] = &[
    "optimizer",
    "optimizers",
    "optimizer_state",
    "optimizer_states",
    "optimizer_state_dict",
    "optim",
    "optim_state_dict",
    "lr_scheduler",
    "lr_schedulers",
    "scheduler",
    "scheduler_state_dict",
];

/// Keys of a pickled `nn.Module` that its `state_dict` leaves out of names.
const MODULE: &[&str] = &["_parameters", "_buffers", "_modules"];

/// What a walk found.
pub(crate) struct Named<'p> {
    /// Each tensor with its name, in the order of the pickle.
    pub(crate) tensors: Vec<(String, &'p View)>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) notes: Vec<String>,
}

/// Names every tensor below the root, except those of an optimizer beside a model. Each name begins
/// with `prefix`.
///
/// # Errors
/// `Malformed` for a tensor without a name, `TooLarge` for more names than the file accounts for.
pub(crate) fn name<'p>(pickle: &'p Pickle, prefix: &str) -> Result<Named<'p>> {
    let holds = survey(pickle)?;
    let skipped = optimizer(pickle, &holds);
    let mut walk = Walk {
        pickle,
        on_path: vec![false; holds.len()],
        holds,
        skipped,
        name: prefix.to_owned(),
        prefix_len: prefix.len(),
        room: pickle.limits.room.saturating_add(pickle.len.saturating_mul(ROOM_PER_BYTE)),
        spent: 0,
        left_out: 0,
        found: Vec::new(),
        refused: Vec::new(),
    };
    walk.run()?;
    let mut notes = Vec::new();
    if let Some(classes) = pickle.foreign() {
        notes.push(format!(
            "objects of foreign classes are left out but for their tensors: {classes}"
        ));
    }
    for &key in &walk.skipped {
        let key = quoted(pickle.text(key).unwrap_or_default());
        notes.push(format!("the tensors under {key} are an optimizer's and are left out"));
    }
    if walk.left_out > 0 {
        notes.push(format!("{} values that hold no tensor are left out", walk.left_out));
    }
    Ok(Named { tensors: walk.found, refused: walk.refused, notes })
}

/// Which values hold a tensor, directly or not.
fn survey(pickle: &Pickle) -> Result<Vec<bool>> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        OnPath,
        Done,
    }
    let foreign = pickle.globals.iter().any(|global| global.meaning == Meaning::Foreign);
    let mut states = vec![State::New; pickle.values.len()];
    let mut holds = vec![false; pickle.values.len()];
    let mut path: Vec<(Id, usize)> = vec![(pickle.root, 0)];
    while let Some((id, next)) = path.last_mut() {
        let (id, n) = (*id, *next);
        *next = next.saturating_add(1);
        let at = id.0 as usize;
        if n == 0 {
            unique_keys(pickle, id)?;
            set(&mut states, at, State::OnPath);
            set(&mut holds, at, matches!(pickle.value(id), Value::Tensor(_) | Value::Unread(_)));
        }
        let Some((_, child)) = pickle.value(id).child(n) else {
            set(&mut states, at, State::Done);
            path.pop();
            if let Some((parent, _)) = path.last() {
                let below = holds.get(at).copied().unwrap_or(false);
                let parent = parent.0 as usize;
                let already = holds.get(parent).copied().unwrap_or(false);
                set(&mut holds, parent, below || already);
            }
            continue;
        };
        match states.get(child.0 as usize) {
            Some(State::New) if path.len() as u64 >= pickle.limits.nesting => {
                let (value, max) = (path.len().saturating_add(1) as u64, pickle.limits.nesting);
                let why = Why::TooLarge { value, max, lift: "pickle-nesting" };
                return Err(Error::new(pickle.start, "values within values", why));
            }
            Some(State::New) => path.push((child, 0)),
            // Objects may refer to each other; what tensors they hold is found on the path.
            Some(State::OnPath) if !foreign => {
                let rule = "a value contains itself";
                return Err(Error::invalid(pickle.start, "pickle", rule));
            }
            _ => {
                let below = holds.get(child.0 as usize).copied().unwrap_or(false);
                let already = holds.get(at).copied().unwrap_or(false);
                set(&mut holds, at, below || already);
            }
        }
    }
    Ok(holds)
}

fn set<T>(items: &mut [T], at: usize, value: T) {
    if let Some(item) = items.get_mut(at) {
        *item = value;
    }
}

/// Of two equal keys Python keeps the last, other readers the first.
fn unique_keys(pickle: &Pickle, id: Id) -> Result<()> {
    let Value::Dict(pairs) = pickle.value(id) else { return Ok(()) };
    let mut seen = BTreeSet::new();
    for key in pairs.iter().filter_map(|&(key, _)| pickle.text(key)) {
        if !seen.insert(key) {
            let rule = format!("a dictionary has the key {} twice", quoted(key));
            return Err(Error::invalid(pickle.start, "pickle", rule));
        }
    }
    Ok(())
}

/// The keys of the root that hold an optimizer's tensors, if another key holds a model's.
fn optimizer(pickle: &Pickle, holds: &[bool]) -> Vec<Id> {
    let Value::Dict(pairs) = pickle.value(pickle.root) else { return Vec::new() };
    let holding = |&&(_, value): &&(Id, Id)| holds.get(value.0 as usize) == Some(&true);
    let is_optimizer = |&(key, value): &(Id, Id)| {
        let named = pickle.text(key).is_some_and(|key| OPTIMIZER.contains(&key));
        named && !matches!(pickle.value(value), Value::Tensor(_))
    };
    let (optimizers, others): (Vec<_>, Vec<_>) =
        pairs.iter().filter(holding).copied().partition(is_optimizer);
    if others.is_empty() { Vec::new() } else { optimizers.iter().map(|pair| pair.0).collect() }
}

struct Walk<'p> {
    pickle: &'p Pickle,
    holds: Vec<bool>,
    on_path: Vec<bool>,
    skipped: Vec<Id>,
    /// The name of the present value.
    name: String,
    prefix_len: usize,
    /// Bytes that names and shapes may take, and have taken.
    room: u64,
    spent: u64,
    left_out: u64,
    found: Vec<(String, &'p View)>,
    refused: Vec<Refused>,
}

/// A value whose children are being visited.
struct Frame {
    id: Id,
    next: usize,
    /// The length of its name.
    name_len: usize,
    /// Whether it is the state of an object.
    state: bool,
}

impl<'p> Walk<'p> {
    fn run(&mut self) -> Result<()> {
        let root = self.pickle.root;
        if matches!(self.pickle.value(root), Value::Tensor(_) | Value::Unread(_)) {
            self.extend("0");
            return self.tensor(root);
        }
        let mut path = vec![Frame { id: root, next: 0, name_len: self.name.len(), state: false }];
        while let Some(frame) = path.last_mut() {
            self.name.truncate(frame.name_len);
            set(&mut self.on_path, frame.id.0 as usize, true);
            let Some((step, child)) = self.pickle.value(frame.id).child(frame.next) else {
                set(&mut self.on_path, frame.id.0 as usize, false);
                path.pop();
                continue;
            };
            frame.next = frame.next.saturating_add(1);
            let inside_state = frame.state;
            let at_root = frame.id == root;
            // A long list with a tensor at its end costs its length each time it is reached.
            self.spend(1)?;
            let at = child.0 as usize;
            if self.holds.get(at) != Some(&true) {
                self.left_out = self.left_out.saturating_add(1);
                continue;
            }
            let skipped = matches!(step, Step::Key(key) if self.skipped.contains(&key));
            if self.on_path.get(at) == Some(&true) || (skipped && at_root) {
                continue;
            }
            self.step(step, inside_state)?;
            if matches!(self.pickle.value(child), Value::Tensor(_) | Value::Unread(_)) {
                self.tensor(child)?;
            } else {
                let (name_len, state) = (self.name.len(), matches!(step, Step::State));
                path.push(Frame { id: child, next: 0, name_len, state });
            }
        }
        Ok(())
    }

    fn step(&mut self, step: Step, inside_state: bool) -> Result<()> {
        match step {
            Step::State => {}
            Step::Index(n) => self.extend(&n.to_string()),
            Step::Key(key) => match self.pickle.text(key) {
                Some(text) if inside_state && MODULE.contains(&text) => {}
                Some(text) => self.extend(text),
                None => {
                    let shown = match self.pickle.value(key) {
                        Value::Int(value) => format!("the number {value}"),
                        _ => "no text".to_owned(),
                    };
                    let place = match self.name.as_str() {
                        "" => "at the root".to_owned(),
                        name => format!("below {}", quoted(name)),
                    };
                    let rule =
                        format!("{place} a key is {shown}, so the tensor under it has no name");
                    return Err(Error::invalid(self.pickle.start, "pickle", rule));
                }
            },
        }
        Ok(())
    }

    fn extend(&mut self, part: &str) {
        if self.name.len() > self.prefix_len {
            self.name.push('.');
        }
        self.name.push_str(part);
    }

    fn tensor(&mut self, id: Id) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid(self.pickle.start, "tensor", "its name is empty"));
        }
        self.spend(TENSOR_COST.saturating_add(self.name.len() as u64))?;
        match self.pickle.value(id) {
            Value::Tensor(view) => {
                let rank = self.pickle.row(view.shape).len() as u64;
                self.spend(rank.saturating_mul(16))?;
                self.found.push((self.name.clone(), view));
            }
            Value::Unread(kind) => {
                let what = (*kind).to_owned();
                self.refused.push(Refused { name: self.name.clone(), what });
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes bytes, or steps, from the room that a pickle of this size is given.
    fn spend(&mut self, cost: u64) -> Result<()> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent > self.room {
            let why = Why::TooLarge { value: self.spent, max: self.room, lift: "torch-names" };
            return Err(Error::new(self.pickle.start, "bytes of names of tensors", why));
        }
        Ok(())
    }
}
