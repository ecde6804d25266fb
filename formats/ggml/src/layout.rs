//! Which header follows which magic.

use std::ops::RangeInclusive;

use crate::kind::{Blocks, GGML, Kind, RWKV};

/// A program that wrote such files, and its models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// llama.cpp: Llama.
    Llama,
    /// rwkv.cpp: RWKV.
    Rwkv,
    /// whisper.cpp: Whisper.
    Whisper,
}

/// How the vocabulary is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Vocabulary {
    /// There is none.
    None,
    /// As many texts as the header's first field says.
    Texts,
    /// The same, each with a score.
    Scored,
    /// A count of its own, and texts.
    Counted,
}

/// A field of the header, and the largest value that is plausible.
pub(crate) type Field = (&'static str, u32);

/// One form of file.
#[derive(Debug)]
pub struct Layout {
    /// Whose models it holds.
    pub program: Program,
    /// The program and the magic, for messages.
    pub name: &'static str,
    /// The first four bytes.
    pub(crate) magic: [u8; 4],
    /// The versions that follow the magic, if one does.
    pub(crate) versions: Option<RangeInclusive<u32>>,
    /// The first counts the vocabulary where that has no count of its own.
    pub(crate) fields: &'static [Field],
    /// Whether mel filters precede the vocabulary.
    pub(crate) filters: bool,
    pub(crate) vocabulary: Vocabulary,
    /// Data begin at multiples of this.
    pub(crate) alignment: u64,
    pub(crate) kinds: &'static [Kind],
    /// Which blocks a file of this version and this last field of the header has, if it says so.
    pub(crate) blocks: fn(version: u32, last: u32) -> Option<Blocks>,
}

/// A row of the table is itself.
impl PartialEq for Layout {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Larger sizes than any model has, and smaller than garbage usually is.
const SIZE_MAX: u32 = 1 << 24;
/// Layers and heads.
const PARTS_MAX: u32 = 1 << 12;
/// Types of files are numbers below 20; whisper.cpp adds 1000 for each change of the blocks.
const TYPE_MAX: u32 = 31;

#[rustfmt::skip]
static LLAMA: &[Field] = &[
    ("n_vocab", SIZE_MAX), ("n_embd", SIZE_MAX), ("n_mult", SIZE_MAX), ("n_head", PARTS_MAX),
    ("n_layer", PARTS_MAX), ("n_rot", SIZE_MAX), ("ftype", TYPE_MAX),
];

#[rustfmt::skip]
static RWKV_FIELDS: &[Field] = &[
    ("n_vocab", SIZE_MAX), ("n_embed", SIZE_MAX), ("n_layer", PARTS_MAX), ("data_type", TYPE_MAX),
];

#[rustfmt::skip]
static WHISPER: &[Field] = &[
    ("n_vocab", SIZE_MAX), ("n_audio_ctx", SIZE_MAX), ("n_audio_state", SIZE_MAX),
    ("n_audio_head", PARTS_MAX), ("n_audio_layer", PARTS_MAX), ("n_text_ctx", SIZE_MAX),
    ("n_text_state", SIZE_MAX), ("n_text_head", PARTS_MAX), ("n_text_layer", PARTS_MAX),
    ("n_mels", PARTS_MAX), ("ftype", 2000 + TYPE_MAX),
];

/// Every form that is read.
#[rustfmt::skip]
pub static LAYOUTS: &[Layout] = &[
    Layout { program: Program::Llama,   name: "llama.cpp's ggml",   magic: *b"lmgg", versions: None,            fields: LLAMA,       filters: false, vocabulary: Vocabulary::Texts,   alignment: 1,  kinds: GGML, blocks: |_, _| Some(Blocks::First) },
    Layout { program: Program::Llama,   name: "llama.cpp's ggmf",   magic: *b"fmgg", versions: Some(1..=1),     fields: LLAMA,       filters: false, vocabulary: Vocabulary::Scored,  alignment: 1,  kinds: GGML, blocks: |_, _| Some(Blocks::First) },
    Layout { program: Program::Llama,   name: "llama.cpp's ggjt",   magic: *b"tjgg", versions: Some(1..=3),     fields: LLAMA,       filters: false, vocabulary: Vocabulary::Scored,  alignment: 32, kinds: GGML, blocks: |version, _| nth(version.saturating_sub(1)) },
    Layout { program: Program::Rwkv,    name: "rwkv.cpp's ggmf",    magic: *b"fmgg", versions: Some(100..=101), fields: RWKV_FIELDS, filters: false, vocabulary: Vocabulary::None,    alignment: 1,  kinds: RWKV, blocks: |version, _| (version == 101).then_some(Blocks::Today) },
    Layout { program: Program::Whisper, name: "whisper.cpp's ggml", magic: *b"lmgg", versions: None,            fields: WHISPER,     filters: true,  vocabulary: Vocabulary::Counted, alignment: 1,  kinds: GGML, blocks: |_, ftype| nth(ftype / 1000) },
];

/// ggml's `GGML_QNT_VERSION`, one less than the version of ggjt.
fn nth(change: u32) -> Option<Blocks> {
    [Blocks::First, Blocks::Second, Blocks::Today].get(usize::try_from(change).ok()?).copied()
}
