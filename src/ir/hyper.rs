//! The hyper-parameters that decide what a model computes, typed, whatever file spelled them.

use std::fmt;

/// A hyper-parameter's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// A count or a size.
    Count(u64),
    /// A real number. GGUF stores binary32, so that is what is compared.
    Real(f32),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{n}"),
            Self::Real(x) => write!(f, "{x:?}"),
        }
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

            /// Sets one field. A number of the other kind is converted.
            pub fn set(&mut self, field: Field, value: Scalar) {
                match field { $(Field::$variant => fields!(@set $kind self.$field, value)),* }
            }
        }
    };
    (@type count) => { Option<u64> };
    (@type real) => { Option<f32> };
    (@get count $place:expr) => { $place.map(Scalar::Count) };
    (@get real $place:expr) => { $place.map(Scalar::Real) };
    (@set count $place:expr, $value:expr) => {
        $place = Some(match $value { Scalar::Count(n) => n, Scalar::Real(x) => x as u64 })
    };
    (@set real $place:expr, $value:expr) => {
        $place = Some(match $value { Scalar::Count(n) => n as f32, Scalar::Real(x) => x })
    };
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
    /// A divisor for each pair of dimensions, as GGUF's `rope_freqs.weight` lists them.
    Factors(Vec<f32>),
}
