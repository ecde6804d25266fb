//! The words in which a family is described.

use indexmap::IndexMap;

use crate::ir::{Config, Field, Hyper, Model, Naming, Result, Scalar, Value};

/// A family of models.
#[derive(Clone, Copy)]
pub struct Arch {
    /// The name in GGUF's `general.architecture`, and ours.
    pub gguf: &'static str,
    /// Whether llama.cpp knows that name.
    pub in_llama_cpp: bool,
    /// The class names in config.json's `architectures`; the first is the one written.
    pub hf: &'static [&'static str],
    /// config.json's `model_type`.
    pub model_type: &'static str,
    /// The hyper-parameters, as each side spells them. A key replaces one of the same field in an
    /// earlier part, for a family that is nearly another.
    pub keys: &'static [&'static [Key]],
    /// Whether a model of these names is of this family: where two share all of them, the first
    /// that says so.
    pub when: fn(&Model) -> bool,
    /// What keys alone do not say.
    pub hooks: Hooks,
    /// config.json's keys that must have one of these values, if present.
    pub expects: &'static [(&'static str, Expected)],
    /// Hyper-parameters that a GGUF states and llama.cpp does not apply.
    pub ignored: &'static [Field],
    /// Tensors whose names in a GGUF are our own: llama.cpp refuses a file that has them.
    pub unknown: &'static [Role],
    /// Whether the output matrix is the embedding where config.json does not say.
    pub tied: bool,
    /// A prefix of Hugging Face names that files of the bare model leave out.
    pub optional_prefix: &'static str,
    /// The tensors, as each side names them. A row replaces one of the same role in an earlier
    /// part.
    pub rows: &'static [&'static [Row]],
    /// Hugging Face tensors that are not carried over, and why.
    pub drops: &'static [(&'static str, &'static str)],
    /// Hugging Face tensors that the target has no place for, and what they are for.
    pub forgets: &'static [(&'static str, &'static str)],
    /// What a layer computes.
    pub block: BlockShape,
}

impl Arch {
    /// The hyper-parameters: of each field, the last that is said of it, in the place of the first.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        latest(self.keys, |a, b| a.field == b.field)
    }

    /// The tensors: of each role, the last that is said of it, in the place of the first.
    pub fn rows(&self) -> impl Iterator<Item = &'static Row> {
        latest(self.rows, |a, b| a.role == b.role)
    }

    /// The row of a tensor's name in a GGUF.
    pub fn row_of_gguf(&self, name: &str) -> Option<&'static Row> {
        super::names::locate(self, Naming::Gguf, name).map(|found| found.row)
    }

    /// The row of a role.
    pub fn row(&self, role: Role) -> Option<&'static Row> {
        self.rows().find(|row| row.role == role)
    }
}

/// The items of all parts, each replaced by the last that is the same.
fn latest<T>(
    parts: &'static [&'static [T]],
    same: fn(&T, &T) -> bool,
) -> impl Iterator<Item = &'static T> {
    parts.iter().enumerate().flat_map(move |(part, items)| {
        let (earlier, later) = (&parts[..part], &parts[part + 1..]);
        let is_new = move |item: &&T| !earlier.iter().copied().flatten().any(|e| same(e, item));
        let newest = move |item| {
            let mut others = later.iter().rev().copied().flatten();
            others.find(|other| same(other, item)).unwrap_or(item)
        };
        items.iter().filter(is_new).map(newest)
    })
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

/// The entries of a configuration.
pub type Entries = IndexMap<String, Value>;

/// What keys alone do not say of a configuration, each way.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// After the keys of config.json were read.
    pub from_json: fn(&Config, &mut Hyper) -> Result<()>,
    /// After the keys of a GGUF were read.
    pub from_gguf: fn(&Model, &mut Hyper) -> Result<()>,
    /// After the keys of config.json were written.
    pub to_json: fn(&Hyper, &mut Entries),
    /// After the keys of a GGUF were written.
    pub to_gguf: fn(&Hyper, &mut Entries),
}

impl Hooks {
    /// Keys say all.
    pub const NONE: Self = Self {
        from_json: |_, _| Ok(()),
        from_gguf: |_, _| Ok(()),
        to_json: |_, _| {},
        to_gguf: |_, _| {},
    };
}

/// A value that an option must have, for the family to be computed.
#[derive(Debug, Clone, Copy)]
pub enum Expected {
    /// One of these words.
    Word(&'static [&'static str]),
    /// This truth value.
    Flag(bool),
}

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Embedding,
    EmbeddingNorm,
    /// A vector for each of the texts that a sequence may be joined of.
    TokenTypes,
    /// A learned vector for each position.
    Positions,
    /// From the width of the embedding to that of the layers.
    ProjectIn,
    /// And back.
    ProjectOut,
    OutputNorm,
    /// Before the output matrix of a head for masked words: a linear layer, its norm.
    HeadDense,
    HeadNorm,
    Output,
    /// What is added to the product with the output matrix, which may be another role's.
    OutputBias,
    AttentionNorm,
    Query,
    Key,
    Value,
    QueryNorm,
    KeyNorm,
    /// From the stream to the rank of queries.
    QueryDown,
    QueryDownNorm,
    /// From the stream to the rank of keys and values, and to the key's rotary dimensions.
    KeyValueDown,
    KeyValueDownNorm,
    /// From the rank of queries to each head's.
    QueryUp,
    /// From the rank to each head's keys.
    KeyUp,
    /// From the rank to each head's values.
    ValueUp,
    /// A score for each head that takes from the weights of all positions.
    Sinks,
    AttentionOutput,
    AttentionPostNorm,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
    FeedForwardPostNorm,
    Router,
    /// Added to the scores of experts to choose, not to weigh.
    RouterBias,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    /// How much of the shared expert is used.
    SharedRouter,
    /// A bias of attention for each bucket of distances.
    DistanceBias,
    DecoderDistanceBias,
    DecoderAttentionNorm,
    DecoderQuery,
    DecoderKey,
    DecoderValue,
    DecoderAttentionOutput,
    /// Attention of a decoder to what its encoder has made.
    CrossNorm,
    CrossQuery,
    CrossKey,
    CrossValue,
    CrossOutput,
    DecoderFeedForwardNorm,
    DecoderGate,
    DecoderUp,
    DecoderDown,
    DecoderOutputNorm,
    /// Of a state space: from the stream to its channels, and to their gates.
    MixerIn,
    /// Over time, of each channel by itself.
    Convolution,
    /// From the channels to the narrow step, and to what goes into the state and comes out.
    Selection,
    /// From the narrow step to that of each channel.
    Step,
    Decay,
    /// How much of a channel goes past the state.
    Skip,
    MixerOut,
    /// Of RWKV: how much of a feature is the token's own, and not of the one before, in what makes
    /// keys, values, receptances and gates.
    MixKey,
    MixValue,
    MixReceptance,
    MixGate,
    /// What the present token's key has more.
    First,
    /// How much of what is remembered goes on.
    Receptance,
    WkvNorm,
    WkvGate,
    /// The same of the feed-forward network.
    FeedMixKey,
    FeedMixReceptance,
    FeedReceptance,
    /// Divisors of the rotary frequencies, one for each pair of dimensions.
    RopeFactors,
    /// The same for texts beyond the context of the pretraining.
    RopeLong,
    /// The same for texts within it.
    RopeShort,
}

/// One of the two tensors that a linear layer or a norm may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The matrix, or a norm's scale.
    Weight,
    /// What is added.
    Bias,
}

impl Part {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Weight, Self::Bias];
}

/// A tensor, as each side names it.
pub struct Row {
    /// What it is for.
    pub role: Role,
    /// Where Hugging Face files have it; the first is the one written, the others are read too.
    pub hf: &'static [Home],
    /// Where GGUF files have it; the first is the one written. None if GGUF has no such tensor.
    pub gguf: &'static [Home],
    /// What changes between the sides.
    pub fix: Fix,
    /// When it must be there.
    pub need: Need,
    /// Whether it may have a bias.
    pub bias: Bias,
}

impl Row {
    /// Where a file of one side is given it.
    pub(super) fn home(&self, naming: Naming, hyper: &Hyper) -> Option<&'static Home> {
        self.homes(naming).iter().find(|home| home.is_of(hyper))
    }

    /// Where files of one side have it.
    pub fn homes(&self, naming: Naming) -> &'static [Home] {
        match naming {
            Naming::HuggingFace => self.hf,
            Naming::Gguf => self.gguf,
        }
    }
}

/// Where a file has a tensor: a name, and how the tensor lies there.
///
/// `{i}` stands for the layer's number, `{e}` for that of one of several alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// The name without `.weight` or `.bias`.
    pub stem: &'static str,
    /// Alone, or with others.
    pub form: Form,
    /// How the names end.
    pub ends: Ends,
    /// Whether matrices are stored with their columns for rows.
    pub transposed: bool,
    /// A flag of the hyper-parameters that models with this home have, or have not.
    pub only: Option<(Field, bool)>,
}

/// How names end for the weight and the bias of a linear layer or norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// `x.weight`, `x.bias`.
    Dotted,
    /// `x`, `x_bias`.
    Bare,
    /// `x_weight`, `x_bias`.
    Underlined,
    /// `x.gamma`, `x.beta`.
    Greek,
}

/// Whether a file has a tensor alone, or with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Alone.
    Whole,
    /// One of several whose rows are one tensor: groups, and its place in each.
    Part(Groups, usize),
    /// In pieces, each a tensor, which are stacked; the field counts them.
    Each(Field),
}

/// Into how many groups the rows of a fused tensor are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Groups {
    /// One: the parts lie one after the other.
    One,
    /// As many as the field says: of each head, its query, key and value.
    Of(Field),
    /// As many as there are rows in a part: they alternate.
    Rows,
}

/// A tensor of its own.
pub(super) const fn at(stem: &'static str) -> Home {
    Home { stem, form: Form::Whole, ends: Ends::Dotted, transposed: false, only: None }
}

/// A part of a tensor.
pub(super) const fn part(stem: &'static str, groups: Groups, index: usize) -> Home {
    Home { form: Form::Part(groups, index), ..at(stem) }
}

/// As many tensors as the field says.
pub(super) const fn each(stem: &'static str, field: Field) -> Home {
    Home { form: Form::Each(field), ..at(stem) }
}

impl Home {
    /// With names that end in nothing and in `_bias`.
    #[must_use]
    pub const fn bare(self) -> Self {
        Self { ends: Ends::Bare, ..self }
    }

    /// With columns for rows.
    #[must_use]
    pub const fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }

    /// With names that end in `.gamma` and `.beta`.
    #[must_use]
    pub const fn greek(self) -> Self {
        Self { ends: Ends::Greek, ..self }
    }

    /// Only in models of which the flag is so.
    #[must_use]
    pub const fn only(self, field: Field, is: bool) -> Self {
        Self { only: Some((field, is)), ..self }
    }

    /// Whether a model with these hyper-parameters is written with this home.
    pub fn is_of(&self, hyper: &Hyper) -> bool {
        self.only.is_none_or(|(field, is)| (hyper.get(field) == Some(Scalar::Flag(true))) == is)
    }

    /// The end of the name.
    pub fn suffix(&self, part: Part) -> &'static str {
        match (self.ends, part) {
            (Ends::Dotted, Part::Weight) => ".weight",
            (Ends::Dotted, Part::Bias) => ".bias",
            (Ends::Bare, Part::Weight) => "",
            (Ends::Underlined, Part::Weight) => "_weight",
            (Ends::Greek, Part::Weight) => ".gamma",
            (Ends::Greek, Part::Bias) => ".beta",
            (Ends::Bare | Ends::Underlined, Part::Bias) => "_bias",
        }
    }
}

/// What changes in a tensor between Hugging Face and GGUF. Each runs both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fix {
    /// Nothing.
    Keep,
    /// Rows of each head are halves in Hugging Face, pairs in GGUF; the field counts the heads.
    Interleave(Field),
    /// The weight has this number more in GGUF. Rounding makes it inexact.
    Add(f32),
    /// GGUF has a matrix for each head; the field counts the heads.
    ByHead(Field),
    /// The same, its rows for its columns.
    ByHeadTransposed(Field),
    /// GGUF has −eˣ of each weight x. Rounding makes it inexact.
    NegativeExp,
    /// Hugging Face has a dimension of one element before the last.
    WithoutMiddle,
    /// Hugging Face has rows before the first that is used; the field counts them.
    Skip(Field),
    /// GGUF has the one row as a vector.
    Flat,
    /// GGUF stores as a tensor what config.json says in numbers.
    FromScaling,
}

impl Fix {
    /// Whether there and back gives the same bits.
    pub fn is_exact(self) -> bool {
        !matches!(self, Self::Add(_) | Self::NegativeExp)
    }
}

/// When a tensor must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// In every model.
    Always,
    /// Unless the model is tied: then it is the tensor of the other role.
    UnlessTied(Role),
    /// If config.json's key says so; if it does not say, as stated here.
    If(&'static str, bool),
    /// In layers without experts.
    Dense,
    /// In layers with experts.
    Sparse,
    /// In all layers but the first.
    AfterFirst,
    /// In models of which the flag is set.
    Where(Field),
    /// Where queries are made of a narrow vector.
    LowRank,
    /// Where they are not.
    FullRank,
    /// Where attention and feed-forward follow each other.
    Serial,
    /// Never.
    Optional,
}

/// Whether a tensor may have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// It has none.
    Never,
    /// It has one.
    Always,
    /// If config.json's key says so; if it does not say, as stated here.
    If(&'static str, bool),
    /// Unless config.json's key says so; if it does not say, as stated here.
    Unless(&'static str, bool),
    /// If it is there.
    Optional,
}

/// What a layer computes. The runner is driven by this, by the tensors that there are, and by the
/// hyper-parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockShape {
    /// What the layers are parts of.
    pub plan: Plan,
    /// How activations are normalised.
    pub norm: Norm,
    /// What Hugging Face's scales of norms lack: they are used with 1 added.
    pub hf_norm_lacks: f32,
    /// Which dimensions of a head rotate together in Hugging Face.
    pub hf_pairing: Pairing,
    /// Which dimensions of a head rotate together in a GGUF.
    pub gguf_pairing: Pairing,
    /// Over what queries and keys are normalised, where they are.
    pub query_norm: QueryNorm,
    /// The row of the first position in the table of learned positions.
    pub first_position: usize,
    /// How ALiBi's biases are computed, where there are any.
    pub alibi: Alibi,
}

impl BlockShape {
    /// Norms by root mean square, rotation of halves: what most families have.
    pub const USUAL: Self = Self {
        plan: Plan::Decoder,
        norm: Norm::Rms,
        hf_norm_lacks: 0.0,
        hf_pairing: Pairing::Halves,
        gguf_pairing: Pairing::Halves,
        query_norm: QueryNorm::Head,
        first_position: 0,
        alibi: Alibi::Exact,
    };

    /// Which dimensions of a head rotate together in a model with these names.
    pub fn pairing(&self, naming: Naming) -> Pairing {
        match naming {
            Naming::Gguf => self.gguf_pairing,
            Naming::HuggingFace => self.hf_pairing,
        }
    }

    /// What is added to the scales of norms in a model with these names.
    pub fn norm_lacks(&self, naming: Naming) -> f32 {
        match naming {
            Naming::Gguf => 0.0,
            Naming::HuggingFace => self.hf_norm_lacks,
        }
    }
}

/// What a model's layers are parts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Each position sees those before it: the model writes text.
    Decoder,
    /// Each position sees all: the model reads text.
    Encoder,
    /// An encoder, and a decoder that attends to what it has made.
    EncoderDecoder,
}

/// How activations are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    /// x / sqrt(mean(x²) + ε) · w: <https://arxiv.org/abs/1910.07467>.
    Rms,
    /// (x − mean(x)) / sqrt(var(x) + ε) · w + b: <https://arxiv.org/abs/1607.06450>.
    Layer,
    /// The same without scale and shift.
    Plain,
}

/// Over what queries and keys are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryNorm {
    /// Over each head, by the same scale.
    Head,
    /// Over each head, by a scale of its own.
    EachHead,
    /// Over all heads together.
    Whole,
}

/// How ALiBi's biases are computed: <https://arxiv.org/abs/2108.12409>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alibi {
    /// Added to the scores, in full.
    Exact,
    /// Added before the multiplier of scores, rounded to bf16.
    Rounded,
}

/// Which dimensions of a head rotate together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Dimension j with j + d/2.
    Halves,
    /// Dimension 2j with 2j + 1.
    Pairs,
}

pub(super) const fn key(
    field: Field,
    json: &'static [&'static str],
    gguf: &'static str,
    default: Default,
) -> Key {
    Key { field, json, gguf, default }
}

pub(super) const fn row(
    role: Role,
    hf: &'static [Home],
    gguf: &'static [Home],
    fix: Fix,
    need: Need,
    bias: Bias,
) -> Row {
    Row { role, hf, gguf, fix, need, bias }
}
