//! Which tensor gets which type: the mixtures of llama-quantize, as data.
//!
//! A policy has a type for most tensors, and rules for some: the first rule whose role and
//! conditions fit a tensor says its type. What is small or delicate stays F32, and a row that is
//! not a whole number of blocks gets the next type that it can be cut into.
//!
//! Source: `llama_tensor_get_type` in llama.cpp's src/llama-quant.cpp; `fixtures/quant/mixtures.json`
//! holds what llama-quantize assigns in six real models.

mod mixtures;
mod roles;

use crate::ir::{Block, DType, Shape};

use roles::{Role, has_weights_to_quantize, layer_of, role};

pub(super) use roles::is_left_by_name;

pub use mixtures::POLICIES;

/// A mixture: which tensor gets which type.
pub struct Policy {
    /// The name as llama-quantize spells it, as in `Q4_K_M`.
    pub name: &'static str,
    /// The number in llama.cpp's `enum llama_ftype`: the value of `general.file_type`.
    pub file_type: u32,
    base: DType,
    rules: &'static [Rule],
}

/// Tensors of a role get a type, if all conditions hold.
struct Rule(Role, &'static [If], DType);

/// A condition on the model, or on the place of a tensor in it.
#[derive(Clone, Copy)]
enum If {
    /// Each key head serves four query heads or more.
    Grouped,
    /// As `Grouped`, or four experts or more.
    GroupedOrExperts,
    /// Exactly eight experts, as in Mixtral.
    EightExperts,
    /// Any other number of experts, or none.
    NotEightExperts,
    /// Seventy billion parameters, as llama.cpp tells by the number of layers.
    Seventy,
    Falcon,
    NotFalcon,
    Importance,
    NoImportance,
    /// One of the first tensors of its role.
    FirstOfRole(usize),
    /// In the first 1/n of the layers.
    First(usize),
    /// The same, where layers are counted by tensors of the role, even among experts.
    FirstCounted(usize),
    /// Neither in the first eighth nor in the last.
    Middle,
    /// In the first or the last eighth, or a third layer in between.
    MoreBits,
    /// Not a stack of experts.
    Matrix,
}

/// What a policy has to know of a model.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The architecture as GGUF names it, as in `llama`.
    pub architecture: String,
    /// The number of layers.
    pub layers: usize,
    /// The number of experts; 0 where there are none.
    pub experts: usize,
    /// Query heads in the first layer.
    pub heads: usize,
    /// Key heads in the first layer; 0 where there are none.
    pub kv_heads: usize,
    /// The weights are packed by an importance matrix.
    pub importance: bool,
}

/// One tensor among those that a policy is applied to.
struct Place<'a> {
    facts: &'a Facts,
    shape: &'a Shape,
    /// The number of tensors of the role before it, and in all.
    counted: usize,
    count: usize,
    layer: usize,
}

/// What llama-quantize takes for the mixtures of medium size.
const ALIASES: &[(&str, &str)] = &[("Q3_K", "Q3_K_M"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M")];

/// The policy of a name, in any case.
pub fn find(name: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|policy| policy.name.eq_ignore_ascii_case(name))
}

/// The policy that llama-quantize takes this for: a name, an alias, or the number of a file type.
pub fn asked(name: &str) -> Option<&'static Policy> {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name));
    let name = alias.map_or(name, |(_, meant)| meant);
    let number = name.parse::<u32>().ok();
    find(name).or_else(|| POLICIES.iter().find(|policy| number == Some(policy.file_type)))
}

impl Policy {
    /// The type that most tensors get, and all of them if one type is asked for.
    pub fn base(&self) -> DType {
        self.base
    }

    /// The type of each tensor, in the order of `tensors`, and a note where a row cannot be cut
    /// into blocks of the type that was meant. Names are GGUF's; the result does not depend on
    /// the order. `pure` gives every tensor that is quantized at all the base type.
    pub fn assign(
        &self,
        facts: &Facts,
        tensors: &[(String, Shape)],
        pure: bool,
    ) -> Vec<(DType, Option<String>)> {
        let tied = tensors.iter().all(|(name, _)| role(name, false) != Role::Output);
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&i| (layer_of(&tensors[i].0), &tensors[i].0));
        let count = |of: Role| tensors.iter().filter(|(name, _)| role(name, tied) == of).count();
        let values = count(Role::AttentionV);
        let mut seen = [0; Role::COUNT];
        let mut types = vec![(DType::F32, None); tensors.len()];
        for i in order {
            let (name, shape) = &tensors[i];
            if !has_weights_to_quantize(name, shape) {
                continue;
            }
            let role = role(name, tied);
            let counted = seen[role as usize];
            seen[role as usize] += 1;
            let layer = match layer_of(name) {
                Some(layer) if facts.experts > 1 => layer,
                _ => counted,
            };
            let count = if role == Role::AttentionV { values } else { facts.layers };
            let layer = if role == Role::AttentionV { counted } else { layer };
            let place = Place { facts, shape, counted, count, layer };
            let meant = if pure { self.base } else { self.dtype(role, &place) };
            types[i] = fit(meant, shape.columns());
        }
        types
    }

    fn dtype(&self, role: Role, place: &Place<'_>) -> DType {
        let whole = place.shape.columns().is_multiple_of(self.base.block_len());
        let falcon = place.facts.architecture == "falcon";
        if role == Role::Output && self.base.is_packed() && (falcon || !whole) {
            return mixtures::Q8_0;
        }
        let rule = self.rules.iter().find(|Rule(of, conditions, _)| {
            (*of == role || *of == Role::Any) && conditions.iter().all(|c| c.holds(place))
        });
        rule.map_or(self.base, |Rule(_, _, to)| *to)
    }
}

impl If {
    fn holds(self, of: &Place<'_>) -> bool {
        let Place { facts, shape, counted, count, layer } = *of;
        let grouped = facts.heads >= 4 * facts.kv_heads && facts.kv_heads > 0;
        let first = |part: usize| layer < count / part;
        match self {
            Self::Grouped => grouped,
            Self::GroupedOrExperts => grouped || facts.experts >= 4,
            Self::EightExperts => facts.experts == 8,
            Self::NotEightExperts => facts.experts != 8,
            Self::Seventy => {
                let known = ["llama", "qwen2", "deci"].contains(&facts.architecture.as_str());
                known && facts.layers == 80 && facts.heads != facts.kv_heads
            }
            Self::Falcon => facts.architecture == "falcon",
            Self::NotFalcon => facts.architecture != "falcon",
            Self::Importance => facts.importance,
            Self::NoImportance => !facts.importance,
            Self::FirstOfRole(n) => counted < n,
            Self::First(part) => first(part),
            Self::FirstCounted(part) => counted < count / part,
            Self::Middle => !first(8) && layer < 7 * count / 8,
            Self::MoreBits => first(8) || layer >= 7 * count / 8 || (layer - count / 8) % 3 == 2,
            Self::Matrix => shape.rank() < 3,
        }
    }
}

/// The type meant for a row of `columns`, or the next one that it can be cut into.
fn fit(meant: DType, columns: u64) -> (DType, Option<String>) {
    let fits = |dtype: DType| columns.is_multiple_of(dtype.block_len());
    if fits(meant) {
        return (meant, None);
    }
    let instead = match meant {
        DType::Packed(block) => fallback(block),
        _ => None,
    };
    let instead = instead.filter(|dtype| fits(*dtype)).unwrap_or(DType::F16);
    let len = meant.block_len();
    let note = format!("{columns} columns are not blocks of {len}: {instead} instead of {meant}");
    (instead, Some(note))
}

/// A type of blocks of 32 in place of one of larger blocks: `tensor_type_fallback`.
fn fallback(block: &Block) -> Option<DType> {
    match block.name {
        "q2_k" | "q3_k" | "tq1_0" | "tq2_0" | "q2_0" => Some(mixtures::Q4_0),
        "q4_k" => Some(mixtures::Q5_0),
        "q5_k" => Some(mixtures::Q5_1),
        "q6_k" => Some(mixtures::Q8_0),
        name if name.starts_with("iq") && block.len > 32 => Some(mixtures::IQ4_NL),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
