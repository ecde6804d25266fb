//! What a model says, in the words of the specification.

/// A model: what is known of it here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Model {
    /// The pieces, by id.
    pub pieces: Vec<Piece>,
    /// What the trainer was told.
    pub trainer: Trainer,
    /// How text is normalized before it is cut.
    pub normalizer: Normalizer,
}

/// One entry of the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The text, spaces spelled `▁`.
    pub text: String,
    /// The logarithm of its probability, or of a BPE model minus its rank.
    pub score: f32,
    /// What it is for.
    pub kind: Type,
}

/// What a piece is for: `SentencePiece.Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Type {
    /// A piece of text.
    Normal = 1,
    /// Stands for what has no piece.
    Unknown = 2,
    /// Not text: begins or ends one, say.
    Control = 3,
    /// Text that is never cut.
    UserDefined = 4,
    /// Not used.
    Unused = 5,
    /// One byte, spelled `<0x0A>`.
    Byte = 6,
}

/// How text is cut: `TrainerSpec.ModelType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u64)]
pub enum Kind {
    /// The most probable pieces.
    #[default]
    Unigram = 1,
    /// Neighbours are merged.
    Bpe = 2,
    /// Words between spaces.
    Word = 3,
    /// Characters.
    Char = 4,
}

/// What the trainer was told: `TrainerSpec`. An id below 0 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainer {
    /// How text is cut.
    pub kind: Kind,
    /// Characters without a piece become the pieces of their bytes.
    pub byte_fallback: bool,
    /// A word's space stands after it, not before.
    pub space_as_suffix: bool,
    /// The piece that stands for what has none.
    pub unk_id: i32,
    /// The piece that begins a text.
    pub bos_id: i32,
    /// The piece that ends a text.
    pub eos_id: i32,
    /// The piece that fills shorter texts.
    pub pad_id: i32,
}

impl Default for Trainer {
    fn default() -> Self {
        let (byte_fallback, space_as_suffix) = (false, false);
        let (unk_id, bos_id, eos_id, pad_id) = (0, 1, 2, -1);
        let kind = Kind::default();
        Self { kind, byte_fallback, space_as_suffix, unk_id, bos_id, eos_id, pad_id }
    }
}

/// How text is normalized: `NormalizerSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalizer {
    /// The name of the rules, such as "identity" or "nmt_nfkc".
    pub name: String,
    /// The rules, compiled: what is replaced by what. Empty where nothing is.
    pub precompiled_charsmap: Vec<u8>,
    /// A space is put before the text.
    pub add_dummy_prefix: bool,
    /// Spaces around the text are left out, and a run of them becomes one.
    pub remove_extra_whitespaces: bool,
    /// Spaces are spelled `▁`.
    pub escape_whitespaces: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self {
            name: String::new(),
            precompiled_charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        }
    }
}
