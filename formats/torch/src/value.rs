//! What a pickle holds, as data in an arena.
//!
//! Values refer to each other by index, so a value that is shared is kept once, a value that
//! contains itself is no leak, and neither reading nor dropping a deep one recurses.

use crate::Limits;
use crate::dtype::Element;
use crate::globals::Meaning;
use zip::quoted;

/// The index of a value in its arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) u32);

/// One value.
#[derive(Debug)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, two's complement, least byte first.
    Big(Box<[u8]>),
    /// A number or bytes that no tensor's description needs.
    Plain,
    Text(Box<str>),
    Row(Vec<Id>),
    /// A list is a row that may still grow.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(u32),
    /// An index into the storages of the pickle.
    Storage(u32),
    Tensor(Box<View>),
    /// A tensor of a kind that is not read; the text names the kind.
    Unread(&'static str),
    /// An instance of a class that is data or foreign.
    Object(Box<Object>),
}

/// A tensor: a view of a storage.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) storage: u32,
    pub(crate) element: Element,
    /// Its first element within the storage, and then a row of sizes and one of strides, kept as
    /// values: a few bytes of pickle make another tensor of them.
    pub(crate) offset: Id,
    pub(crate) shape: Id,
    pub(crate) strides: Id,
    /// Where the pickle says so.
    pub(crate) at: u64,
}

/// An instance of a class, never made: what the pickle would have given it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) args: Id,
    pub(crate) state: Option<Id>,
    pub(crate) list: Vec<Id>,
    pub(crate) dict: Vec<(Id, Id)>,
}

/// A name that the pickle mentions.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) name: String,
    pub(crate) meaning: Meaning,
    /// Where it is mentioned first.
    pub(crate) at: u64,
}

/// A storage as the pickle states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated {
    pub(crate) key: String,
    pub(crate) element: Element,
    /// Elements of the whole storage.
    pub(crate) count: u64,
    /// `meta` storages have no bytes.
    pub(crate) meta: bool,
    /// A legacy view: its first element and its number of elements within the storage.
    pub(crate) part: Option<(u64, u64)>,
    pub(crate) at: u64,
}

/// A pickle that has been read.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) values: Vec<Value>,
    pub(crate) globals: Vec<Global>,
    pub(crate) storages: Vec<Stated>,
    pub(crate) root: Id,
    /// Where it begins.
    pub(crate) start: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// What it was read under.
    pub(crate) limits: Limits,
}

/// The foreign ones among these names, quoted and joined, if there are any.
pub(crate) fn foreign(globals: &[Global]) -> Option<String> {
    let foreign = globals.iter().filter(|global| global.meaning == Meaning::Foreign);
    let names: Vec<String> = foreign.map(|global| quoted(&global.name)).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

impl Pickle {
    pub(crate) fn value(&self, id: Id) -> &Value {
        self.values.get(id.0 as usize).unwrap_or(&Value::None)
    }

    /// The foreign names that it mentions, if it mentions any.
    pub(crate) fn foreign(&self) -> Option<String> {
        foreign(&self.globals)
    }

    /// The items of a row; no others than rows are asked for theirs.
    pub(crate) fn row(&self, id: Id) -> &[Id] {
        match self.value(id) {
            Value::Row(items) | Value::List(items) => items,
            _ => &[],
        }
    }

    /// An integer that was found not to be negative.
    pub(crate) fn count(&self, id: Id) -> u64 {
        match self.value(id) {
            Value::Int(value) => u64::try_from(*value).unwrap_or(u64::MAX),
            _ => u64::MAX,
        }
    }

    /// What a global stands for.
    pub(crate) fn meaning(&self, id: Id) -> Option<Meaning> {
        match self.value(id) {
            Value::Global(at) => self.globals.get(*at as usize).map(|global| global.meaning),
            _ => None,
        }
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.value(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// How a value is reached from the one that holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Key(Id),
    Index(usize),
    /// The state of an object adds nothing to a name.
    State,
}

impl Value {
    /// The `n`th value that this one holds.
    pub(crate) fn child(&self, n: usize) -> Option<(Step, Id)> {
        match self {
            Self::Row(items) | Self::List(items) => Some((Step::Index(n), *items.get(n)?)),
            Self::Dict(pairs) => pairs.get(n).map(|&(key, value)| (Step::Key(key), value)),
            Self::Object(object) => object.child(n),
            _ => None,
        }
    }
}

impl Object {
    fn child(&self, n: usize) -> Option<(Step, Id)> {
        let n = match (n, self.state) {
            (0, _) => return Some((Step::State, self.args)),
            (1, Some(state)) => return Some((Step::State, state)),
            (n, Some(_)) => n.checked_sub(2)?,
            (n, None) => n.checked_sub(1)?,
        };
        if let Some(&item) = self.list.get(n) {
            return Some((Step::Index(n), item));
        }
        let &(key, value) = self.dict.get(n.checked_sub(self.list.len())?)?;
        Some((Step::Key(key), value))
    }
}
