//! The hyper-parameters that decide what a model computes, typed, whatever file spelled them.

use std::fmt;

/// A hyper-parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// A count or a size.
    Count(u64),
    /// A real number. GGUF stores binary32, so that is what is compared.
    Real(f32),
    /// Whether something is done.
    Flag(bool),
    /// Some of the layers.
    Layers(LayerSet),
    /// An activation function.
    Activation(Activation),
    /// How experts are chosen.
    Routing(Routing),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Real(x) => write!(f, "{x:?}"),
            Self::Flag(yes) => f.write_str(if *yes { "yes" } else { "no" }),
            Self::Layers(layers) => write!(f, "{layers}"),
            Self::Activation(activation) => f.write_str(activation.text()),
            Self::Routing(routing) => f.write_str(routing.text()),
        }
    }
}

/// Of which kind a hyper-parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the variants of `Scalar`")]
pub enum ScalarKind {
    Count,
    Real,
    Flag,
    Layers,
    Activation,
    Routing,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident $text:literal $($other:literal)*;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant),* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// What it is called, as transformers has it.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// The one of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($text $(| $other)* => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// An activation function, by the names of transformers' `ACT2FN`.
    Activation {
        /// x / (1 + e⁻ˣ): <https://arxiv.org/abs/1702.03118>.
        Silu "silu" "swish";
        /// x · Φ(x): <https://arxiv.org/abs/1606.08415>.
        Gelu "gelu" "gelu_python";
        /// The same, with tanh in place of the error function.
        GeluTanh "gelu_pytorch_tanh" "gelu_new" "gelu_fast" "gelu_python_tanh" "gelu_accurate";
        /// x / (1 + e⁻¹·⁷⁰²ˣ).
        GeluQuick "quick_gelu";
        /// max(x, 0).
        Relu "relu";
        /// max(x, 0)²: <https://arxiv.org/abs/2109.08668>.
        ReluSquared "relu2";
        /// tanh(x).
        Tanh "tanh";
        /// 1 / (1 + e⁻ˣ).
        Sigmoid "sigmoid";
    }
}

words! {
    /// How the experts of a token are chosen and weighed.
    Routing {
        /// Softmax over all experts, of which the greatest are taken.
        Softmax "softmax";
        /// The greatest are taken, and softmax is over those.
        TopSoftmax "softmax of the chosen";
        /// A sigmoid of each; a bias, if there is one, is added only to choose.
        Sigmoid "sigmoid";
    }
}

/// Some of a model's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LayerSet([u64; Self::MAX as usize / 64]);

impl LayerSet {
    /// The number of layers that can be told apart: llama.cpp's `LLAMA_MAX_LAYERS`.
    pub const MAX: u64 = 512;

    /// Those of the first `layers` of which this is true.
    pub fn of(layers: u64, is_in: impl Fn(u64) -> bool) -> Self {
        let mut set = Self::default();
        for layer in (0..layers.min(Self::MAX)).filter(|layer| is_in(*layer)) {
            set.0[layer as usize / 64] |= 1 << (layer % 64);
        }
        set
    }

    /// Whether this layer is one of them.
    pub fn has(&self, layer: u64) -> bool {
        layer < Self::MAX && self.0[layer as usize / 64] >> (layer % 64) & 1 == 1
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

impl fmt::Display for LayerSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<String> =
            (0..Self::MAX).filter(|layer| self.has(*layer)).map(|n| n.to_string()).collect();
        f.write_str(&if layers.is_empty() { "none".into() } else { layers.join(" ") })
    }
}

macro_rules! fields {
    ($($field:ident $variant:ident $kind:ident $text:literal;)*) => {
        /// The name of a hyper-parameter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "documented on the fields of `Hyper`")]
        pub enum Field { $($variant),* }

        /// The hyper-parameters that decide what a model computes.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Hyper {
            $(#[doc = $text] pub $field: fields!(@type $kind),)*
            /// How rotary frequencies are stretched for longer contexts.
            pub scaling: Scaling,
        }

        impl Field {
            /// Every hyper-parameter, in the order in which they are compared.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Of which kind it is.
            pub fn kind(self) -> ScalarKind {
                match self { $(Self::$variant => fields!(@kind $kind)),* }
            }

            /// What it is called in messages.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl Hyper {
            /// The value of one field, if known.
            pub fn get(&self, field: Field) -> Option<Scalar> {
                match field { $(Field::$variant => fields!(@get $kind self.$field)),* }
            }

            /// Sets one field, if the value is of its kind.
            pub fn set(&mut self, field: Field, value: Option<Scalar>) {
                match field { $(Field::$variant => {
                    self.$field = value.and_then(|value| fields!(@set $kind value));
                }),* }
            }
        }
    };
    (@type count) => { Option<u64> };
    (@type real) => { Option<f32> };
    (@type flag) => { Option<bool> };
    (@type layers) => { Option<LayerSet> };
    (@type activation) => { Option<Activation> };
    (@type routing) => { Option<Routing> };
    (@kind count) => { ScalarKind::Count };
    (@kind real) => { ScalarKind::Real };
    (@kind flag) => { ScalarKind::Flag };
    (@kind layers) => { ScalarKind::Layers };
    (@kind activation) => { ScalarKind::Activation };
    (@kind routing) => { ScalarKind::Routing };
    (@get count $place:expr) => { $place.map(Scalar::Count) };
    (@get real $place:expr) => { $place.map(Scalar::Real) };
    (@get flag $place:expr) => { $place.map(Scalar::Flag) };
    (@get layers $place:expr) => { $place.map(Scalar::Layers) };
    (@get activation $place:expr) => { $place.map(Scalar::Activation) };
    (@get routing $place:expr) => { $place.map(Scalar::Routing) };
    (@set count $value:expr) => { match $value { Scalar::Count(x) => Some(x), _ => None } };
    (@set real $value:expr) => { match $value { Scalar::Real(x) => Some(x), _ => None } };
    (@set flag $value:expr) => { match $value { Scalar::Flag(x) => Some(x), _ => None } };
    (@set layers $value:expr) => { match $value { Scalar::Layers(x) => Some(x), _ => None } };
    (@set activation $value:expr) => {
        match $value { Scalar::Activation(x) => Some(x), _ => None }
    };
    (@set routing $value:expr) => { match $value { Scalar::Routing(x) => Some(x), _ => None } };
}

fields! {
    vocab          Vocab         count "vocabulary size";
    context        Context       count "context length";
    hidden         Hidden        count "hidden size";
    layers         Layers        count "layer count";
    heads          Heads         count "head count";
    kv_heads       KvHeads       count "key and value head count";
    key_dim        KeyDim        count "head size of queries and keys";
    value_dim      ValueDim      count "head size of values";
    feed_forward   FeedForward   count "feed-forward size";
    norm_epsilon   NormEpsilon   real  "norm epsilon";
    rope_dims      RopeDims      count "rotary dimensions";
    rope_theta     RopeTheta     real  "rope theta";
    sliding_window SlidingWindow count "sliding window";
    windowed       Windowed      layers "layers with the sliding window";
    local_theta    LocalTheta    real  "rope theta of layers with the sliding window";
    unrotated      Unrotated     layers "layers without rotary positions";
    alibi          Alibi         real  "ALiBi bias";
    activation     Activation    activation "activation";
    parallel       Parallel      flag  "attention and feed-forward side by side";
    post_norm      PostNorm      flag  "norms after the sums";
    embedding_scale EmbeddingScale real "embedding multiplier";
    residual_scale ResidualScale real  "residual multiplier";
    logit_scale    LogitScale    real  "logit multiplier";
    logit_divisor  LogitDivisor  real  "logit divisor";
    logit_cap      LogitCap      real  "soft cap of logits";
    attention_scale AttentionScale real "attention multiplier";
    attention_cap  AttentionCap  real  "soft cap of attention";
    scale_by_layer ScaleByLayer  flag  "attention divided by the layer's number";
    qkv_clip       QkvClip       real  "bound of queries, keys and values";
    experts        Experts       count "expert count";
    experts_used   ExpertsUsed   count "experts used for a token";
    expert_feed_forward ExpertFeedForward count "feed-forward size of an expert";
    shared_feed_forward SharedFeedForward count "feed-forward size of the shared expert";
    sparse         Sparse        layers "layers with experts";
    routing        Routing       routing "choice of experts";
    normalized_routes NormalizedRoutes flag "expert weights made to sum to 1";
    route_scale    RouteScale    real  "expert weight multiplier";
    route_groups   RouteGroups   count "expert groups";
    route_groups_used RouteGroupsUsed count "expert groups used for a token";
    query_rank     QueryRank     count "rank of queries";
    key_value_rank KeyValueRank  count "rank of keys and values";
    token_types    TokenTypes    count "token type count";
    first_position FirstPosition count "rows before the first position";
    head_activation HeadActivation activation "activation of the head";
    gated          Gated         flag  "gated feed-forward";
    decoder_layers DecoderLayers count "decoder layer count";
    decoder_start  DecoderStart  count "token that a decoder begins with";
    distance_buckets DistanceBuckets count "buckets of distances";
    max_distance   MaxDistance   count "distance of the last bucket";
    channels       Channels      count "channels of a state space";
    state_size     StateSize     count "state size of a channel";
    taps           Taps          count "taps of a channel's convolution";
    step_rank      StepRank      count "rank of a state space's step";
    gate_limit     GateLimit     real  "bound of gated activations";
    gate_alpha     GateAlpha     real  "slope of gated activations";
    embedding_width EmbeddingWidth count "embedding width";
    normed_residual NormedResidual flag "sums with what was normalised";
    latent_epsilon LatentEpsilon real  "norm epsilon of the narrow vectors";
}

impl Hyper {
    /// The width of the embedding: that of the layers, unless it is stated.
    pub fn embedding_size(&self) -> Option<u64> {
        self.embedding_width.or(self.hidden)
    }

    /// Whether a layer has experts.
    pub fn is_sparse(&self, layer: u64) -> bool {
        self.experts.is_some() && self.sparse.is_none_or(|layers| layers.has(layer))
    }

    /// How many positions a layer sees, its own included; all, if nothing is said.
    pub fn window(&self, layer: u64) -> Option<u64> {
        self.sliding_window.filter(|_| self.windowed.is_none_or(|layers| layers.has(layer)))
    }
}

/// How rotary frequencies are stretched for longer contexts.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Scaling {
    /// Not at all.
    #[default]
    None,
    /// Positions divided by a factor: <https://arxiv.org/abs/2306.15595>.
    Linear {
        /// The divisor of positions.
        factor: f32,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f32,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f32,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f32,
        /// The context length of the pretraining.
        original: u64,
    },
    /// NTK by parts: <https://arxiv.org/abs/2309.00071>.
    Yarn {
        /// The divisor of the low frequencies.
        factor: f32,
        /// The context length of the pretraining.
        original: u64,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is divided.
        beta_slow: f32,
        /// The multiplier of cosine and sine; `0.1 ln(factor) + 1` unless stated.
        attention_factor: f32,
        /// The ends of the ramp are rounded outwards to whole dimensions.
        truncate: bool,
    },
    /// NTK-aware, by the length of the text: beyond the context, theta grows.
    Dynamic {
        /// How fast theta grows.
        factor: f32,
    },
    /// A divisor for each pair of dimensions, others for long texts:
    /// <https://arxiv.org/abs/2402.13753>.
    Long {
        /// The context length of the pretraining: texts beyond it are long.
        original: u64,
        /// The multiplier of cosine and sine.
        attention_factor: f32,
        /// Divisors for short texts.
        short: Vec<f32>,
        /// Divisors for long texts.
        long: Vec<f32>,
    },
    /// A divisor for each pair of dimensions, as GGUF's `rope_freqs.weight` lists them.
    Factors(Vec<f32>),
}
