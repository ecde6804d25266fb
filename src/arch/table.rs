//! The words in which a family is described.

use crate::ir::{Field, Hyper, Naming, Scalar};

/// A family of models.
pub struct Arch {
    /// The name in GGUF's `general.architecture`, and ours.
    pub gguf: &'static str,
    /// The class names in config.json's `architectures`; the first is the one written.
    pub hf: &'static [&'static str],
    /// config.json's `model_type`.
    pub model_type: &'static str,
    /// The hyper-parameters, as each side spells them.
    pub keys: &'static [Key],
    /// Keys that replace those of the same field, for a family that is nearly another.
    pub differs: &'static [Key],
    /// config.json's keys that must have one of these values, if present.
    pub expects: &'static [(&'static str, &'static [&'static str])],
    /// A prefix of Hugging Face names that files of the bare model leave out.
    pub optional_prefix: &'static str,
    /// The tensors, as each side names them.
    pub rows: &'static [Row],
    /// Hugging Face tensors that are not carried over, and why.
    pub drops: &'static [(&'static str, &'static str)],
    /// What a layer computes.
    pub block: BlockShape,
}

impl Arch {
    /// The hyper-parameters, with those that differ in place of those they replace.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        let (keys, differs) = (self.keys, self.differs);
        keys.iter().map(|key| differs.iter().find(|other| other.field == key.field).unwrap_or(key))
    }
}

/// A hyper-parameter, as each side spells it.
pub struct Key {
    /// Which one.
    pub field: Field,
    /// Paths in config.json, the older dialect's first: that one is written. Where a file has
    /// several, the last counts, as in transformers.
    pub json: &'static [&'static str],
    /// The key in GGUF's metadata, after the architecture's name; empty if it has none.
    pub gguf: &'static str,
    /// What it is where nothing is said.
    pub default: Default,
}

/// What a hyper-parameter is where the file says nothing.
#[derive(Clone, Copy)]
pub enum Default {
    /// The file is incomplete.
    Required,
    /// The model has no such thing.
    None,
    /// This value.
    Is(Scalar),
    /// The same as another, which stands above it in the table.
    Same(Field),
    /// Made from those above it in the table.
    From(fn(&Hyper) -> Option<Scalar>),
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Embedding,
    OutputNorm,
    Output,
    AttentionNorm,
    Query,
    Key,
    Value,
    AttentionOutput,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
    /// Divisors of the rotary frequencies, one for each pair of dimensions.
    RopeFactors,
}

/// One of the two tensors that a linear layer or a norm may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The matrix, or a norm's scale.
    Weight,
    /// What is added.
    Bias,
}

impl Part {
    /// The end of the tensor's name, the same on both sides.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Weight => ".weight",
            Self::Bias => ".bias",
        }
    }
}

/// A tensor, as each side names it.
///
/// Names are stems: `.weight` and `.bias` are added. `{i}` stands for the layer's number.
pub struct Row {
    /// What it is for.
    pub role: Role,
    /// Hugging Face names; the first is the one written, the others are read too.
    pub hf: &'static [&'static str],
    /// GGUF's name; empty if GGUF has no such tensor.
    pub gguf: &'static str,
    /// What changes between the sides.
    pub fix: Fix,
    /// When it must be there.
    pub need: Need,
    /// Whether it may have a bias.
    pub bias: Bias,
}

/// What changes in a tensor between Hugging Face and GGUF. Each runs both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fix {
    /// Nothing.
    Keep,
    /// Rows of each head are halves in Hugging Face, pairs in GGUF; the field counts the heads.
    Interleave(Field),
    /// GGUF stores as a tensor what config.json says in numbers.
    FromScaling,
}

/// When a tensor must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// In every model.
    Always,
    /// Unless the model is tied: then it is the tensor of the other role.
    UnlessTied(Role),
    /// Never.
    Optional,
}

/// Whether a tensor may have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has none.
    Never,
    /// If config.json's key says so.
    If(&'static str),
}

/// What a layer computes. The runner is driven by this and by the hyper-parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockShape {
    /// How activations are normalised before attention and feed-forward.
    pub norm: Norm,
    /// Which dimensions of a head rotate together in a GGUF; in Hugging Face they are halves.
    pub gguf_pairing: Pairing,
    /// The feed-forward network.
    pub feed_forward: FeedForward,
}

impl BlockShape {
    /// Which dimensions of a head rotate together in a model with these names.
    pub fn pairing(&self, naming: Naming) -> Pairing {
        match naming {
            Naming::Gguf => self.gguf_pairing,
            Naming::HuggingFace => Pairing::Halves,
        }
    }
}

/// How activations are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// x / sqrt(mean(x²) + ε) · w: <https://arxiv.org/abs/1910.07467>.
    Rms,
}

/// Which dimensions of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Dimension j with j + d/2.
    Halves,
    /// Dimension 2j with 2j + 1.
    Pairs,
}

/// The feed-forward network of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// down(act(gate(x)) · up(x)): <https://arxiv.org/abs/2002.05202>.
    Gated(Activation),
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e⁻ˣ).
    Silu,
}
