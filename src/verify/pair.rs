//! Which tensor of the candidate is which tensor of the reference.
//!
//! The table of the family is used for this and for nothing else: of two models with different
//! names, the Hugging Face one is given GGUF's. Both models are run as they are.

use indexmap::{IndexMap, IndexSet};

use super::report::{Finding, Gate};
use crate::arch::{self, Arch, Fate, Fix, Ledger};
use crate::ir::{DType, Model, Naming, Notes, Op, Result, Shape, Tensor};

/// What the gate is called.
pub(super) const NAME: &str = "conservation";
/// The subject of findings about the candidate as a whole.
pub(super) const CANDIDATE: &str = "candidate";

/// A tensor of the candidate, and what it should be.
pub(super) struct Pair {
    /// The candidate's name of it.
    pub(super) name: String,
    /// The reference's name of it.
    pub(super) reference_name: String,
    /// What it should be.
    pub(super) reference: Tensor,
    /// What it is.
    pub(super) candidate: Tensor,
    /// Whether the way from one side to the other rounds: the last bits may differ.
    pub(super) rounded: bool,
}

/// The tensors of two models, each where it belongs.
#[derive(Default)]
pub(super) struct Pairs {
    /// Those that both have, with equal shapes, in the candidate's order.
    pub(super) pairs: Vec<Pair>,
    /// Of the reference's tensors that are parts of others in the comparison, what they become.
    pub(super) becomes: IndexMap<String, Vec<String>>,
    /// Names that only the reference has.
    pub(super) missing: Vec<String>,
    /// Names that only the candidate has.
    pub(super) extra: Vec<String>,
    /// Tensors of unequal shapes: the reference's and the candidate's.
    pub(super) shapes: Vec<(String, Shape, Shape)>,
    /// What is wrong: missing, extra, shapes, and what the table says of the candidate.
    pub(super) findings: Vec<Finding>,
    /// What one side has and need not have, and why.
    pub(super) notes: Vec<String>,
}

/// One side under the names of the comparison.
#[derive(Default)]
struct Side {
    /// By the name in the comparison.
    tensors: IndexMap<String, Entry>,
    /// Own names of tensors that the model could do without, and why.
    spare: IndexMap<String, String>,
    /// Own names of tensors that are parts of others here, or several of them, and of which.
    becomes: IndexMap<String, Vec<String>>,
}

/// A tensor of one side.
struct Entry {
    /// The model's own name of it.
    own: String,
    /// The recipe, as the comparison wants it.
    tensor: Tensor,
    /// Whether the way to the other side rounds.
    rounded: bool,
    /// The tensor as its file has it, where the recipe is another.
    plain: Option<Tensor>,
}

/// Pairs the tensors of two models.
///
/// # Errors
/// What the table says against the reference.
pub(super) fn pair(reference: &Model, candidate: &Model) -> Result<Pairs> {
    let naming = match reference.naming == candidate.naming {
        true => reference.naming,
        false => Naming::Gguf,
    };
    let family = match reference.naming == naming && candidate.naming == naming {
        true => arch::find(reference),
        // A family that no table knows keeps its names on the way to another format.
        false => arch::find(with_config(reference, candidate)),
    };
    let mut pairs = Pairs::default();
    let theirs = Side::of(family, reference, naming).map_err(|e| e.at(&reference.origin))?;
    if let Some(arch) = arch::find(candidate) {
        // Whether the candidate is whole by its own configuration.
        if let Err(error) = arch::rename(arch, candidate, candidate.naming, &mut Notes::default()) {
            pairs.findings.push(Finding::new(NAME, CANDIDATE, error.to_string()));
        }
    }
    let ours = match Side::of(family, candidate, naming) {
        Ok(side) => side,
        Err(error) => {
            pairs.findings = vec![Finding::new(NAME, CANDIDATE, error.to_string())];
            return Ok(pairs);
        }
    };
    pairs.join(family, theirs, ours)?;
    Ok(pairs)
}

/// The model whose configuration names the family.
fn with_config<'m>(reference: &'m Model, candidate: &'m Model) -> &'m Model {
    match reference.config.entries.is_empty() {
        true => candidate,
        false => reference,
    }
}

impl Side {
    fn of(family: Option<&'static Arch>, model: &Model, naming: Naming) -> Result<Self> {
        let own = || {
            let entry = |(name, tensor): (&String, &Tensor)| {
                let rounded = has(family, name, |row| !row.fix.is_exact());
                let entry =
                    Entry { own: name.clone(), tensor: tensor.clone(), rounded, plain: None };
                (name.clone(), entry)
            };
            model.tensors.iter().map(entry).collect()
        };
        let arch = arch::find(model).or(family);
        let renamed = arch
            .filter(|_| model.naming == Naming::HuggingFace)
            .map(|arch| arch::rename(arch, model, Naming::Gguf, &mut Notes::default()));
        if model.naming == naming {
            // What a table says of names that need no mapping is welcome, not needed.
            return Ok(match (arch, renamed) {
                (Some(arch), Some(Ok(renamed))) => Self::of_hub(arch, model, &renamed),
                _ => Self { tensors: own(), ..Self::default() },
            });
        }
        let Some(renamed) = renamed else {
            return Ok(Self { tensors: own(), ..Self::default() });
        };
        let (renamed, ledger) = renamed?;
        let origin: IndexMap<&str, &str> = ledger.iter().filter_map(mapped).collect();
        let tensors = renamed.tensors.into_iter().map(|(name, tensor)| {
            let own = origin.get(name.as_str()).map_or_else(|| name.clone(), |&own| own.to_owned());
            let rounded = has(arch, &name, |row| !row.fix.is_exact());
            (name, Entry { own, tensor, rounded, plain: None })
        });
        let becomes = ledger.iter().filter_map(fused).collect();
        Ok(Self { tensors: tensors.collect(), becomes, ..Self::default() })
    }

    /// A model of the hub beside another of the hub: by the names that are written, and what a
    /// GGUF has rounded as a GGUF has it, where the last bits are alike.
    fn of_hub(arch: &'static Arch, model: &Model, (renamed, ledger): &(Model, Ledger)) -> Self {
        let targets: IndexMap<&str, &str> =
            ledger.iter().filter_map(mapped).map(|(to, from)| (from, to)).collect();
        let entry = |(own, tensor): (&String, &Tensor)| {
            let target = targets.get(own.as_str()).copied();
            let is_rounded = |name: &&str| has(Some(arch), name, |row| !row.fix.is_exact());
            let fixed = target.filter(is_rounded).and_then(|name| renamed.tensors.get(name));
            let rounded = fixed.is_some();
            let plain = rounded.then(|| tensor.clone());
            let tensor = fixed.unwrap_or(tensor).clone();
            let name = arch::usual_name(arch, model, own).unwrap_or_else(|| own.clone());
            (name, Entry { own: own.clone(), tensor, rounded, plain })
        };
        let tensors = model.tensors.iter().map(entry).collect();
        Self { tensors, spare: spare(ledger), ..Self::default() }
    }
}

fn mapped((from, fate): &(String, Fate)) -> Option<(&str, &str)> {
    match fate {
        Fate::Mapped(to) => Some((to, from)),
        _ => None,
    }
}

fn fused((from, fate): &(String, Fate)) -> Option<(String, Vec<String>)> {
    match fate {
        Fate::Fused(into) => Some((from.clone(), into.split(", ").map(str::to_owned).collect())),
        _ => None,
    }
}

fn spare(ledger: &Ledger) -> IndexMap<String, String> {
    let reason = |(name, fate): &(String, Fate)| match fate {
        Fate::Dropped(reason) => Some((name.clone(), reason.clone())),
        Fate::Tied(other) => Some((name.clone(), format!("it is tied to {other}"))),
        Fate::Mapped(_) | Fate::Fused(_) => None,
    };
    ledger.iter().filter_map(reason).collect()
}

impl Entry {
    /// The pair of this one of the reference and one of the candidate.
    fn beside(self, ours: Self) -> Pair {
        let rounded = self.rounded || ours.rounded;
        let (name, reference_name) = (ours.own, self.own);
        match (self.plain, ours.plain) {
            // What was narrowed is the nearest to what it was, before any other step.
            (Some(reference), Some(candidate))
                if reference.dtype() != candidate.dtype()
                    && matches!(candidate.dtype(), DType::F16 | DType::BF16) =>
            {
                Pair { name, reference_name, reference, candidate, rounded: false }
            }
            _ => {
                let (reference, candidate) = (self.tensor, ours.tensor);
                Pair { name, reference_name, reference, candidate, rounded }
            }
        }
    }
}

impl Pairs {
    fn join(&mut self, family: Option<&'static Arch>, mut theirs: Side, ours: Side) -> Result<()> {
        let prefix = family.map_or("", |arch| arch.optional_prefix);
        self.becomes = std::mem::take(&mut theirs.becomes);
        let known: IndexSet<String> = theirs.tensors.keys().cloned().collect();
        for (name, entry) in ours.tensors {
            let found = spellings(&name, prefix).into_iter().find(|name| known.contains(name));
            match found.and_then(|name| theirs.tensors.shift_remove(&name)) {
                Some(theirs) => self.one(family, theirs.beside(entry))?,
                None => self.lonely(family, entry.own, &name, &ours.spare, Only::Candidate),
            }
        }
        for (name, Entry { own, .. }) in theirs.tensors {
            // Said as the candidate would call it.
            let said = if own == name { own } else { name.clone() };
            self.lonely(family, said, &name, &theirs.spare, Only::Reference);
        }
        Ok(())
    }

    fn one(&mut self, family: Option<&'static Arch>, mut pair: Pair) -> Result<()> {
        // Divisors of frequencies are compared as frequencies: makers of GGUF round them
        // differently.
        if has(family, &pair.name, |row| row.fix == Fix::FromScaling) {
            return Ok(());
        }
        // GGUF has no tensors without dimensions.
        let [theirs, ours] = [&pair.reference, &pair.candidate].map(|one| one.shape().dims());
        if matches!((theirs, ours), ([], [1]) | ([1], [])) {
            let (input, shape) = (pair.reference.clone(), pair.candidate.shape().clone());
            pair.reference = Tensor::of(Op::Reshape { input, shape })?;
        }
        let (expected, found) = (pair.reference.shape(), pair.candidate.shape());
        if expected == found {
            self.pairs.push(pair);
            return Ok(());
        }
        let text = format!("shape is {found}, expected {expected}");
        self.findings.push(Finding::new(NAME, &pair.name, text));
        self.shapes.push((pair.name, expected.clone(), found.clone()));
        Ok(())
    }

    /// A tensor that one side lacks.
    fn lonely(
        &mut self,
        family: Option<&'static Arch>,
        said: String,
        name: &str,
        spare: &IndexMap<String, String>,
        only: Only,
    ) {
        let whose = match only {
            Only::Reference => "in the reference only",
            Only::Candidate => "in the candidate only",
        };
        if let Some(reason) = spare.get(&said) {
            self.notes.push(format!("{said}: {whose}: {reason}"));
            return;
        }
        // What the configuration says as well.
        if has(family, name, |row| row.fix == Fix::FromScaling) {
            return;
        }
        let text = match only {
            Only::Reference => "missing: the reference has it, or has what becomes it",
            Only::Candidate => "extra: nothing in the reference becomes it",
        };
        self.findings.push(Finding::new(NAME, &said, text));
        match only {
            Only::Reference => self.missing.push(said),
            Only::Candidate => self.extra.push(said),
        }
    }

    /// The gate.
    pub(super) fn gate(&self) -> Gate {
        let mut holds = format!("{} tensors, none missing, none extra", self.pairs.len());
        if !self.notes.is_empty() {
            holds += &format!(", but {} that one side has and does not use", self.notes.len());
        }
        Gate::none_of(NAME, &self.findings, holds)
    }
}

/// Which side has a tensor that the other lacks.
#[derive(Clone, Copy)]
enum Only {
    Reference,
    Candidate,
}

/// A name as it is, without the optional prefix, and with it.
fn spellings(name: &str, prefix: &str) -> Vec<String> {
    let mut all = vec![name.to_owned()];
    if !prefix.is_empty() {
        all.extend(name.strip_prefix(prefix).map(str::to_owned));
        all.push(format!("{prefix}{name}"));
    }
    all
}

/// Whether a GGUF name belongs to a row of the table of which this is true.
fn has(family: Option<&'static Arch>, name: &str, is: fn(&arch::Row) -> bool) -> bool {
    family.is_some_and(|arch| arch.row_of_gguf(name).is_some_and(is))
}
