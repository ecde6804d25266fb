//! A model under the other side's names: every tensor mapped, tied, fused or dropped for a reason.

use std::sync::Arc;

use indexmap::IndexMap;

use super::check::{self, is_used};
use super::names::{Found, Place, dropped, forgotten, locate};
use super::parts::{self, Named, Parts, siblings, unpacked};
use super::{Arch, Fix, Form, Need, Part, Role, Row, config, hyper, is_tied, tensor};
use crate::ir::op::{Order, Picked};
use crate::ir::tensor::pieces;
use crate::ir::{
    Blob, Config, DType, Error, Field, Model, Naming, Notes, Op, Result, Shape, Tensor,
};

/// What became of a source tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is this tensor of the target.
    Mapped(String),
    /// It equals this tensor of the target, which stands for both.
    Tied(String),
    /// It became part of this field or tensor of the target, or several.
    Fused(String),
    /// It is not in the target, for this reason.
    Dropped(String),
}

/// What became of each source tensor, in the source's order.
pub type Ledger = Vec<(String, Fate)>;

/// The model under the names and conventions of `naming`.
///
/// # Errors
/// Malformed if a tensor that the family needs is missing or has the wrong shape; Loss if a
/// tensor is not in the table, which `--exclude` can leave out.
pub fn rename(
    arch: &'static Arch,
    model: &Model,
    naming: Naming,
    notes: &mut Notes,
) -> Result<(Model, Ledger)> {
    let typed = hyper(arch, model)?;
    check::check(arch, model, &typed)?;
    map(&Parts { arch, model, hyper: &typed }, naming, notes)
}

/// As [`rename`], for a model from which tensors were left out on purpose.
///
/// # Errors
/// As [`rename`], but for what is missing.
pub fn rename_part(
    arch: &'static Arch,
    model: &Model,
    naming: Naming,
    notes: &mut Notes,
) -> Result<(Model, Ledger)> {
    let typed = hyper(arch, model)?;
    check::shapes(arch, model, &typed)?;
    map(&Parts { arch, model, hyper: &typed }, naming, notes)
}

fn map(source: &Parts<'_>, naming: Naming, notes: &mut Notes) -> Result<(Model, Ledger)> {
    let (arch, model, hyper) = (source.arch, source.model, source.hyper);
    if model.naming == naming {
        let kept = |name: &String| (name.clone(), Fate::Mapped(name.clone()));
        return Ok((model.clone(), model.tensors.keys().map(kept).collect()));
    }
    let mut renaming = Renaming { source, naming, tensors: IndexMap::new() };
    let ledger = renaming.ledger(notes)?;
    renaming.make()?;
    let mut tensors = renaming.tensors;
    let config = match naming {
        Naming::Gguf => {
            for (role, factors) in super::rope::factors(hyper)? {
                let homes = arch.row(role).map(|row| row.gguf).unwrap_or_default();
                let home = homes.first().ok_or_else(|| {
                    Error::unsupported(format!(
                        "a {} with this rope scaling: GGUF has no tensor for it",
                        arch.gguf
                    ))
                })?;
                let name = home.name(Part::Weight, Place::default());
                let tensor = floats(&name, &factors)?;
                tensors.insert(name, tensor);
            }
            let written = Model { naming, tensors: tensors.clone(), ..model.clone() };
            Config { entries: config::to_gguf(arch, &written, hyper, notes)? }
        }
        Naming::HuggingFace => Config { entries: config::to_json(arch, model, hyper)? },
    };
    Ok((Model { naming, config, tensors, ..model.clone() }, ledger))
}

struct Renaming<'m> {
    source: &'m Parts<'m>,
    naming: Naming,
    tensors: IndexMap<String, Tensor>,
}

/// Parts of a fused tensor, as they come.
#[derive(Default)]
struct Fused {
    parts: Vec<Option<Tensor>>,
    axis: usize,
    groups: u64,
}

impl Renaming<'_> {
    /// What becomes of every tensor of the source; each is accounted for.
    fn ledger(&self, notes: &mut Notes) -> Result<Ledger> {
        let mut ledger = Vec::new();
        for name in self.source.model.tensors.keys() {
            let fate = self.fate(name, notes).map_err(|error| error.at(name))?;
            ledger.push((name.clone(), fate));
        }
        Ok(ledger)
    }

    fn fate(&self, name: &str, notes: &mut Notes) -> Result<Fate> {
        let Parts { arch, model, hyper } = *self.source;
        if let Some(reason) = dropped(arch, name) {
            return Ok(Fate::Dropped(reason.into()));
        }
        if let Some(what) = forgotten(arch, name) {
            notes.lost(name, format!("{what}: it has no place in the target, and is left out"));
            return Ok(Fate::Dropped(what.into()));
        }
        let Some(found) = locate(arch, model.naming, name) else {
            return Err(Error::loss(format!(
                "no tensor of a {} has this name, so it has no place in the target; \
                 leave it out with --exclude",
                arch.gguf
            )));
        };
        let beyond = |what: &str, count: u64| {
            Err(Error::loss(format!(
                "the configuration has {count} {what}, so it has no place in the target; \
                 leave it out with --exclude"
            )))
        };
        if let Some(layer) = found.place.layer {
            let layers = parts::count(hyper, found.row.role.layers()).unwrap_or(0);
            if layer >= layers {
                return beyond("layers", layers);
            }
        }
        if let (Form::Each(field), Some(piece)) = (found.home.form, found.place.piece) {
            let count = parts::count(hyper, field)?;
            if piece >= count {
                return beyond(field.text(), count);
            }
        }
        if !is_used(found.row, found.part, &model.config) {
            let text = match found.part {
                Part::Bias => {
                    "the configuration says that there is no such bias, so it is not used"
                }
                Part::Weight => "the configuration says that there is none, so it is not used",
            };
            notes.lost(name, text);
            return Ok(Fate::Dropped(text.into()));
        }
        if let (Need::UnlessTied(other), true) = (found.row.need, is_tied(arch, model)) {
            return self.tie(name, found.part, other);
        }
        if found.row.fix == Fix::FromScaling {
            return Ok(Fate::Fused("the configuration's rope scaling".into()));
        }
        if let (Fix::Skip(field), Naming::Gguf) = (found.row.fix, self.naming) {
            self.note_padding(name, parts::count(hyper, field).unwrap_or(0), notes)?;
        }
        match self.stands_for(name, &found)? {
            Some(other) => self.spare(name, &other, notes),
            None => self.becomes(&found),
        }
    }

    /// The row before the first position is that of padding: it is lost, unless it is zero.
    fn note_padding(&self, name: &str, rows: u64, notes: &mut Notes) -> Result<()> {
        let table = self.source.model.tensors.get(name).filter(|_| rows > 0);
        let Some(table) = table else { return Ok(()) };
        let picked = Picked { axis: 0, groups: 1, from: rows - 1, len: 1 };
        let row = Tensor::of(Op::Pick { input: table.clone(), picked })?;
        if row.to_floats()?.iter().any(|x| *x != 0.0) {
            let text = "the row of padding has no place in the target, and is not zero: texts \
                        that hold padding have other hidden states";
            notes.lost(name, text);
        }
        Ok(())
    }

    /// The tensor that is used in place of this one, of the same role under another name.
    fn stands_for(&self, name: &str, found: &Found) -> Result<Option<Named>> {
        if found.home.form != Form::Whole {
            return Ok(None);
        }
        let used = self.source.of_row(found.row, found.part, found.place.layer)?;
        Ok(used.filter(|used| used.name != name))
    }

    /// Of two tensors of one role, one is used: the other is its copy, or is lost.
    fn spare(&self, name: &str, used: &Named, notes: &mut Notes) -> Result<Fate> {
        let spare = self.source.model.tensors.get(name);
        let spare = spare.ok_or_else(|| Error::bug("a tensor of no name"))?;
        if same_bytes(spare, &used.tensor)? {
            return Ok(Fate::Tied(used.name.clone()));
        }
        let text = format!("{} is used in its place, and differs", used.name);
        notes.lost(name, text.as_str());
        Ok(Fate::Dropped(text))
    }

    /// A head that config.json calls tied is left out only if it is what it is tied to.
    fn tie(&self, head: &str, part: Part, other: Role) -> Result<Fate> {
        let Parts { arch, model, .. } = *self.source;
        let found = tensor(arch, model, other, part, None);
        let (name, embedding) = found.ok_or_else(|| Error::malformed("nothing to be tied to"))?;
        let head = model.tensors.get(head).ok_or_else(|| Error::bug("a tensor of no name"))?;
        if !same_bytes(head, embedding)? {
            return Err(Error::malformed(format!(
                "config.json says tie_word_embeddings, but the tensor differs from {name}; \
                 set tie_word_embeddings to false, or leave it out with --exclude"
            )));
        }
        Ok(Fate::Tied(name.to_owned()))
    }

    /// The tensors of the target that this one is, or is a part of.
    fn becomes(&self, found: &Found) -> Result<Fate> {
        let Parts { arch, model, hyper } = *self.source;
        let rows = match found.home.form {
            Form::Part(..) => siblings(arch, model.naming, found.home),
            _ => vec![found.row],
        };
        let mut names: Vec<String> = Vec::new();
        let mut whole = matches!(found.home.form, Form::Whole | Form::Part(..));
        for row in &rows {
            let home = row.home(self.naming, hyper).ok_or_else(|| {
                Error::loss("the target has no such tensor; leave it out with --exclude")
            })?;
            whole &= match home.form {
                Form::Whole => rows.len() == 1,
                Form::Part(..) => siblings(arch, self.naming, home).len() == rows.len(),
                Form::Each(_) => false,
            };
            let name = home.name(found.part, Place { piece: None, ..found.place });
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match (&names[..], whole) {
            ([name], true) => Ok(Fate::Mapped(name.clone())),
            _ => Ok(Fate::Fused(names.join(", "))),
        }
    }

    /// Makes every tensor of the target, in the order of the table, layer by layer: what is used
    /// together lies together.
    fn make(&mut self) -> Result<()> {
        let Parts { arch, hyper, .. } = *self.source;
        let in_layers = |row: &Row| row.homes(self.naming).iter().any(|h| h.stem.contains("{i}"));
        let rows: Vec<&'static Row> = arch.rows().collect();
        let first = rows.iter().take_while(|row| !in_layers(row)).count();
        let (before, rest) = rows.split_at(first);
        let (layered, after): (Vec<_>, Vec<_>) = rest.iter().partition(|row| in_layers(row));
        self.rows(before, None)?;
        for field in [Field::Layers, Field::DecoderLayers] {
            let rows: Vec<_> =
                layered.iter().copied().filter(|row: &&Row| row.role.layers() == field).collect();
            for layer in 0..parts::count(hyper, field).unwrap_or(0) {
                self.rows(&rows, Some(layer))?;
            }
        }
        self.rows(&after, None)
    }

    fn rows(&mut self, rows: &[&'static Row], layer: Option<u64>) -> Result<()> {
        let mut fused: IndexMap<String, Fused> = IndexMap::new();
        for &row in rows {
            let tied = matches!(row.need, Need::UnlessTied(_))
                && is_tied(self.source.arch, self.source.model);
            if tied || row.fix == Fix::FromScaling {
                continue;
            }
            for part in Part::BOTH {
                if !is_used(row, part, &self.source.model.config) {
                    continue;
                }
                if let Some(named) = self.source.of_row(row, part, layer)? {
                    self.place(row, part, layer, named, &mut fused)?;
                }
            }
        }
        for (name, fused) in fused {
            let parts = fused.parts.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| {
                Error::malformed("the source has only some of its parts").at(&name)
            })?;
            let whole = parts::merge(parts, fused.axis, fused.groups);
            let whole = whole.map_err(|error| error.at(&name))?;
            // In the place of its first part.
            self.tensors.insert(name, whole);
        }
        Ok(())
    }

    /// Puts a role's tensor where the target has it.
    fn place(
        &mut self,
        row: &'static Row,
        part: Part,
        layer: Option<u64>,
        named: Named,
        fused: &mut IndexMap<String, Fused>,
    ) -> Result<()> {
        let Some(home) = row.home(self.naming, self.source.hyper) else {
            let text = "the target has no such tensor; leave it out with --exclude";
            return Err(Error::loss(text).at(&named.name));
        };
        let transposed = home.transposed && part == Part::Weight;
        let named = named.then(|tensor| self.fix(row.fix, part, tensor))?;
        let Named { name: from, tensor } = match transposed {
            true => named.then(|input| Tensor::of(Op::Transpose { input: unpacked(input)? }))?,
            false => named,
        };
        let name = home.name(part, Place { layer, piece: None });
        match home.form {
            Form::Whole => self.insert(name, tensor),
            Form::Each(field) => {
                for piece in 0..parts::count(self.source.hyper, field)? {
                    let name = home.name(part, Place { layer, piece: Some(piece) });
                    let one = parts::one_of(&tensor, piece).map_err(|error| error.at(&from))?;
                    self.insert(name, one)?;
                }
                Ok(())
            }
            Form::Part(groups, index) => {
                let rows = siblings(self.source.arch, self.naming, home);
                let rows_of = |row: &&'static Row| self.source.rows_of(row, part);
                let counts = rows.iter().map(rows_of).collect::<Result<Vec<u64>>>()?;
                let rank = tensor.shape().rank();
                let from_end = if part == Part::Bias || transposed { 1 } else { 2 };
                let all = fused.entry(name.clone()).or_insert_with(|| Fused {
                    parts: vec![None; rows.len()],
                    axis: rank.saturating_sub(from_end),
                    groups: 1,
                });
                all.groups = self.source.groups(groups, &counts)?;
                self.tensors.entry(name).or_insert_with(|| tensor.clone());
                all.parts[index] = Some(tensor);
                Ok(())
            }
        }
    }

    fn insert(&mut self, name: String, tensor: Tensor) -> Result<()> {
        if self.tensors.contains_key(&name) {
            return Err(Error::malformed(format!("two tensors of the source would become {name}")));
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    fn fix(&self, fix: Fix, part: Part, tensor: Tensor) -> Result<Tensor> {
        match fix {
            Fix::Keep => Ok(tensor),
            Fix::FromScaling => Err(Error::bug("a tensor that is made, not mapped")),
            Fix::Interleave(field) => self.interleave(field, tensor),
            Fix::Add(number) if part == Part::Weight => {
                let value = if self.naming == Naming::Gguf { number } else { -number };
                Tensor::of(Op::Add { input: tensor, value })
            }
            Fix::ByHead(_) | Fix::ByHeadTransposed(_) if self.naming == Naming::Gguf => {
                parts::by_head(fix, tensor, self.source.hyper, self.naming)
            }
            Fix::NegativeExp if part == Part::Weight => {
                let inverse = self.naming == Naming::HuggingFace;
                Tensor::of(Op::NegativeExp { input: tensor, inverse })
            }
            Fix::WithoutMiddle if part == Part::Weight => parts::middle(tensor, self.naming),
            Fix::Skip(field) => {
                let rows = parts::count(self.source.hyper, field).unwrap_or(0);
                parts::skip(tensor, rows, self.naming)
            }
            Fix::NegativeExp | Fix::WithoutMiddle => Ok(tensor),
            Fix::Flat if self.naming == Naming::Gguf => parts::flat(tensor),
            Fix::Add(_) | Fix::ByHead(_) | Fix::ByHeadTransposed(_) | Fix::Flat => Ok(tensor),
        }
    }

    fn interleave(&self, field: Field, input: Tensor) -> Result<Tensor> {
        let heads = parts::count(self.source.hyper, field)?;
        let order = match self.naming {
            Naming::Gguf => Order::ToPairs,
            Naming::HuggingFace => Order::ToHalves,
        };
        Tensor::of(Op::Interleave { input, heads, order })
    }
}

/// Elements that are compared at a time.
const PIECE: u64 = 1 << 20;

fn same_bytes(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return Ok(false);
    }
    let mut scratch = crate::ir::Scratch::default();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for elements in pieces(a.shape().count(), [a.granule(), b.granule()], PIECE) {
        let len = a.byte_offset(elements.end - elements.start) as usize;
        x.resize(len, 0);
        y.resize(len, 0);
        a.read(elements.clone(), &mut x, &mut scratch)?;
        b.read(elements, &mut y, &mut scratch)?;
        if x != y {
            return Ok(false);
        }
    }
    Ok(true)
}

fn floats(name: &str, values: &[f32]) -> Result<Tensor> {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = Shape::new(vec![values.len() as u64])?;
    Tensor::span(DType::F32, shape, Arc::new(Blob::memory(name, bytes)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: u64, columns: u64, value: impl Fn(u64, u64) -> u8) -> Tensor {
        let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let bytes = all.map(|(row, column)| value(row, column)).collect();
        let shape = Shape::new(vec![rows, columns]).unwrap();
        Tensor::span(DType::U8, shape, Arc::new(Blob::memory("test", bytes)), 0).unwrap()
    }

    /// A head that an exporter has transposed can only be made whole, however large it is.
    #[test]
    fn a_transposed_copy_is_known_as_one() {
        let (rows, columns) = (1100, 1000);
        assert!(rows * columns > PIECE);
        let value = |row: u64, column: u64| (row * 7 + column * 3) as u8;
        let turned = matrix(columns, rows, |row, column| value(column, row));
        let head = Tensor::of(Op::Transpose { input: turned }).unwrap();
        assert!(same_bytes(&head, &matrix(rows, columns, value)).unwrap());
        let other = |row, column| value(row, column) + u8::from((row, column) == (1099, 999));
        assert!(!same_bytes(&head, &matrix(rows, columns, other)).unwrap());
    }
}
