//! A model under the other side's names: every tensor mapped, tied, fused or dropped for a reason.

use std::sync::Arc;

use indexmap::IndexMap;

use super::names::{dropped, locate};
use super::{Arch, Bias, Fix, Need, Part, Role, config, hyper, tensor};
use crate::ir::op::Order;
use crate::ir::{
    Blob, Config, DType, Error, Hyper, Model, Naming, Notes, Op, Result, Shape, Tensor, Value,
};

/// What became of a source tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is this tensor of the target.
    Mapped(String),
    /// It equals this tensor of the target, which stands for both.
    Tied(String),
    /// It became part of this field or tensor of the target.
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
    check_complete(arch, model, &typed)?;
    map(arch, model, &typed, naming, notes)
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
    for (name, tensor) in &model.tensors {
        if let Some(found) = locate(arch, model.naming, name) {
            check_shape(name, tensor, found.row.role.shape(&typed, found.part))?;
        }
    }
    map(arch, model, &typed, naming, notes)
}

fn map(
    arch: &'static Arch,
    model: &Model,
    typed: &Hyper,
    naming: Naming,
    notes: &mut Notes,
) -> Result<(Model, Ledger)> {
    if model.naming == naming {
        let kept = |name: &String| (name.clone(), Fate::Mapped(name.clone()));
        return Ok((model.clone(), model.tensors.keys().map(kept).collect()));
    }
    let mut renaming = Renaming { arch, model, hyper: typed, naming, tensors: IndexMap::new() };
    let ledger = renaming.tensors(notes)?;
    let mut tensors = renaming.tensors;
    let config = match naming {
        Naming::Gguf => {
            if let Some(factors) = super::rope::factors(typed)? {
                tensors.insert("rope_freqs.weight".into(), floats("rope_freqs.weight", &factors)?);
            }
            Config { entries: gguf_entries(arch, model, typed, notes)? }
        }
        Naming::HuggingFace => Config { entries: config::to_json(arch, model, typed)? },
    };
    Ok((Model { naming, config, tensors, ..model.clone() }, ledger))
}

/// Whether the model has every tensor that the family needs, in the shape that `hyper` gives it.
///
/// # Errors
/// Malformed, naming the tensor that is missing or has another shape.
pub fn check(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<()> {
    check_complete(arch, model, hyper)
}

/// Whether the configuration says that the tensor of a role has a bias.
pub fn uses_bias(arch: &Arch, model: &Model, role: Role) -> bool {
    arch.rows.iter().any(|row| row.role == role && has_bias(row.bias, &model.config))
}

struct Renaming<'m> {
    arch: &'static Arch,
    model: &'m Model,
    hyper: &'m Hyper,
    naming: Naming,
    tensors: IndexMap<String, Tensor>,
}

impl Renaming<'_> {
    fn tensors(&mut self, notes: &mut Notes) -> Result<Ledger> {
        let mut ledger = Vec::new();
        for (name, tensor) in &self.model.tensors {
            let fate = self.one(name, tensor, notes).map_err(|error| error.at(name))?;
            ledger.push((name.clone(), fate));
        }
        self.sort();
        Ok(ledger)
    }

    fn one(&mut self, name: &str, tensor: &Tensor, notes: &mut Notes) -> Result<Fate> {
        if let Some(reason) = dropped(self.arch, name) {
            return Ok(Fate::Dropped(reason.into()));
        }
        let Some(found) = locate(self.arch, self.model.naming, name) else {
            return Err(Error::loss(format!(
                "no tensor of a {} has this name, so it has no place in the target; \
                 leave it out with --exclude",
                self.arch.gguf
            )));
        };
        if found.layer.is_some_and(|layer| Some(layer) >= self.hyper.layers) {
            let layers = self.hyper.layers.unwrap_or(0);
            return Err(Error::loss(format!(
                "the configuration has {layers} layers, so it has no place in the target; \
                 leave it out with --exclude"
            )));
        }
        if found.part == Part::Bias && !has_bias(found.row.bias, &self.model.config) {
            let text = "the configuration says that there is no such bias, so it is not used";
            notes.lost(name, text);
            return Ok(Fate::Dropped(text.into()));
        }
        if let (Need::UnlessTied(other), true) = (found.row.need, is_tied(self.model)) {
            return self.tie(tensor, other);
        }
        if found.row.fix == Fix::FromScaling {
            return Ok(Fate::Fused("the configuration's rope scaling".into()));
        }
        let target = found.name(self.naming).ok_or_else(|| Error::bug("a row with no name"))?;
        let fixed = self.fix(found.row.fix, tensor)?;
        if self.tensors.insert(target.clone(), fixed).is_some() {
            let text = format!("two tensors of the source would become {target}");
            return Err(Error::malformed(text));
        }
        Ok(Fate::Mapped(target))
    }

    /// A head that config.json calls tied is left out only if it is what it is tied to.
    fn tie(&self, head: &Tensor, other: Role) -> Result<Fate> {
        let found = tensor(self.arch, self.model, other, Part::Weight, None);
        let (name, embedding) = found.ok_or_else(|| Error::malformed("nothing to be tied to"))?;
        if !same_bytes(head, embedding)? {
            return Err(Error::malformed(format!(
                "config.json says tie_word_embeddings, but the tensor differs from {name}; \
                 set tie_word_embeddings to false, or leave it out with --exclude"
            )));
        }
        Ok(Fate::Tied(name.to_owned()))
    }

    fn fix(&self, fix: Fix, tensor: &Tensor) -> Result<Tensor> {
        match fix {
            Fix::Keep => Ok(tensor.clone()),
            Fix::FromScaling => Err(Error::bug("a tensor that is made, not mapped")),
            Fix::Interleave(field) => {
                let heads = match self.hyper.get(field) {
                    Some(crate::ir::Scalar::Count(heads)) => heads,
                    _ => return Err(Error::bug("heads without a count")),
                };
                let order = match self.naming {
                    Naming::Gguf => Order::ToPairs,
                    Naming::HuggingFace => Order::ToHalves,
                };
                Tensor::of(Op::Interleave { input: tensor.clone(), heads, order })
            }
        }
    }

    /// In the order of the table, layer by layer: what is used together lies together.
    fn sort(&mut self) {
        let (arch, naming) = (self.arch, self.naming);
        let place = |name: &str| {
            let found = locate(arch, naming, name);
            let row = found.and_then(|f| arch.rows.iter().position(|row| std::ptr::eq(row, f.row)));
            let layer = found.and_then(|found| found.layer);
            // The embedding stands before the layers, the output after them.
            let before = layer.is_none() && row == Some(0);
            (!before, layer.is_none(), layer, row, name.to_owned())
        };
        self.tensors.sort_by_cached_key(|name, _| place(name));
    }
}

/// Whether the output matrix is the embedding: config.json says so, a GGUF leaves it out.
pub fn is_tied(model: &Model) -> bool {
    match model.naming {
        Naming::HuggingFace => {
            model.config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false)
        }
        Naming::Gguf => !model.tensors.contains_key("output.weight"),
    }
}

fn has_bias(bias: Bias, config: &Config) -> bool {
    match bias {
        Bias::Never => false,
        // GGUF has no key for it: there, a bias that is present counts.
        Bias::If(key) => config
            .get(key)
            .and_then(Value::as_bool)
            .unwrap_or_else(|| config.get("general.architecture").is_some()),
    }
}

/// Every tensor that the family needs, with the shape that the hyper-parameters give it.
fn check_complete(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<()> {
    let layers = hyper.layers.unwrap_or(0);
    // A count from a file: more layers than tensors cannot be.
    if layers > model.tensors.len() as u64 {
        let tensors = model.tensors.len();
        return Err(Error::malformed(format!("{layers} layers, but only {tensors} tensors")));
    }
    for row in arch.rows {
        let names = match model.naming {
            Naming::Gguf => row.gguf,
            Naming::HuggingFace => row.hf.first().copied().unwrap_or_default(),
        };
        let in_layers = names.contains("{i}");
        for layer in 0..if in_layers { layers } else { 1 } {
            let layer = in_layers.then_some(layer);
            for part in [Part::Weight, Part::Bias] {
                check_one(arch, model, hyper, row, part, layer)?;
            }
        }
    }
    Ok(())
}

fn check_one(
    arch: &'static Arch,
    model: &Model,
    hyper: &Hyper,
    row: &'static super::Row,
    part: Part,
    layer: Option<u64>,
) -> Result<()> {
    let needed = match (part, row.need) {
        (Part::Bias, _) => model.naming == Naming::HuggingFace && has_bias(row.bias, &model.config),
        (_, Need::Always) => true,
        (_, Need::UnlessTied(_)) => !is_tied(model),
        (_, Need::Optional) => false,
    };
    let Some((name, tensor)) = tensor(arch, model, row.role, part, layer) else {
        if !needed {
            return Ok(());
        }
        let found = super::names::Found { row, part, layer };
        let name = found.name(model.naming).unwrap_or_default();
        let hint = match row.need {
            Need::UnlessTied(_) => "; if it is tied, tie_word_embeddings must be true",
            _ => "",
        };
        return Err(Error::malformed(format!("tensor {name} is missing{hint}")));
    };
    check_shape(name, tensor, row.role.shape(hyper, part))
}

fn check_shape(name: &str, tensor: &Tensor, expected: Option<Vec<u64>>) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    if tensor.shape().dims() != expected {
        let found = tensor.shape();
        let message =
            format!("{name}: shape is {found}, expected {expected:?} from the configuration");
        return Err(Error::malformed(message));
    }
    Ok(())
}

impl Role {
    /// The shape of the tensor, outermost dimension first, if the hyper-parameters decide it.
    pub fn shape(self, hyper: &Hyper, part: Part) -> Option<Vec<u64>> {
        let hidden = hyper.hidden?;
        let ff = hyper.feed_forward?;
        let queries = hyper.heads? * hyper.key_dim?;
        let (keys, values) = (hyper.kv_heads? * hyper.key_dim?, hyper.kv_heads? * hyper.value_dim?);
        let shape = match self {
            Self::Embedding | Self::Output => vec![hyper.vocab?, hidden],
            Self::OutputNorm | Self::AttentionNorm | Self::FeedForwardNorm => vec![hidden],
            Self::Query => vec![queries, hidden],
            Self::Key => vec![keys, hidden],
            Self::Value => vec![values, hidden],
            Self::AttentionOutput => vec![hidden, hyper.heads? * hyper.value_dim?],
            Self::Gate | Self::Up => vec![ff, hidden],
            Self::Down => vec![hidden, ff],
            Self::RopeFactors => vec![hyper.rope_dims? / 2],
        };
        match part {
            Part::Weight => Some(shape),
            Part::Bias => Some(shape[..1].to_vec()),
        }
    }
}

fn same_bytes(a: &Tensor, b: &Tensor) -> Result<bool> {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return Ok(false);
    }
    let mut scratch = crate::ir::Scratch::default();
    let count = a.shape().count();
    let step = (1 << 20) / a.dtype().block_len() * a.dtype().block_len();
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for start in (0..count).step_by(step as usize) {
        let elements = start..count.min(start + step);
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

/// The metadata of a GGUF that is made from this model, but for what depends on the types chosen.
fn gguf_entries(
    arch: &Arch,
    model: &Model,
    hyper: &Hyper,
    notes: &mut Notes,
) -> Result<IndexMap<String, Value>> {
    let mut entries = general(arch.gguf, model);
    entries.extend(config::to_gguf(arch, hyper, notes)?);
    Ok(entries)
}

/// The configuration of a model whose family is not known, as far as the other side can hold it
/// under the same names.
pub fn untranslated(model: &Model, naming: Naming, notes: &mut Notes) -> Config {
    if naming == Naming::HuggingFace {
        return Config::default();
    }
    let family = model.config.get("model_type").and_then(Value::as_text).unwrap_or("unknown");
    let mut entries = general(family, model);
    let mut lost = Vec::new();
    for (key, value) in &model.config.entries {
        match value {
            Value::Null => {}
            Value::List(_) | Value::Map(_) => lost.push(key.as_str()),
            Value::F64(x) => {
                entries.insert(format!("{family}.{key}"), Value::F32(*x as f32));
            }
            value => {
                entries.insert(format!("{family}.{key}"), value.clone());
            }
        }
    }
    if !lost.is_empty() {
        let text = format!("not carried over, being lists or maps: {}", lost.join(", "));
        notes.lost("config.json", text);
    }
    Config { entries }
}

/// What every GGUF says first.
fn general(family: &str, model: &Model) -> IndexMap<String, Value> {
    let text = |text: &str| Value::Text(text.to_owned());
    IndexMap::from([
        ("general.architecture".to_owned(), text(family)),
        ("general.type".to_owned(), text("model")),
        ("general.name".to_owned(), Value::Text(model.name())),
    ])
}
