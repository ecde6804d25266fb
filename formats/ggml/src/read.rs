//! From the bytes of a file to its parts.

use std::collections::BTreeSet;

use wire::{Cursor, Error, ReadAt, Result, Why};

use crate::kind::{self, Blocks, Kind};
use crate::layout::{LAYOUTS, Layout, Vocabulary};

/// Files of these forms are made no more, so that these are no limits but what tells them from
/// others: as much as no file of these programs has.
const NONE_HAS: &str = "no file of these programs has more";
/// Most tokens of a vocabulary.
const TOKENS_MAX: u64 = 1 << 20;
/// Most bytes of a token, and of all tokens.
const TOKEN_MAX: u64 = 1 << 16;
const VOCABULARY_MAX: u64 = 16 << 20;
/// Most tensors. The largest Llama has 723.
const TENSORS_MAX: usize = 1 << 16;
/// Most bytes of a tensor's name.
const NAME_MAX: u64 = 256;
/// Most dimensions: `GGML_MAX_DIMS`.
const RANK_MAX: u32 = 4;

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct File {
    /// The form that fits it.
    pub layout: &'static Layout,
    /// Its version, where the magic is followed by one.
    pub version: Option<u32>,
    /// The fields of the header, in their order, by the names that the program has for them.
    pub header: Vec<(&'static str, u32)>,
    /// The filters of Whisper.
    pub filters: Option<Filters>,
    /// The vocabulary, by id.
    pub tokens: Vec<Token>,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
}

/// A matrix of f32 that no tensor stands for: from frequencies to bands of pitch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    /// Bands.
    pub rows: u64,
    /// Frequencies.
    pub columns: u64,
    /// Byte offset of its first number.
    pub offset: u64,
}

/// A piece of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its bytes, which need not be UTF-8.
    pub bytes: Vec<u8>,
    /// Its score, where the form has one.
    pub score: Option<f32>,
}

/// A tensor, and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, as the program that trained it called it.
    pub name: String,
    /// Its type.
    pub kind: &'static Kind,
    /// Its dimensions, fastest first: the reverse of NumPy.
    pub dims: Vec<u64>,
    /// Byte offset of its first element.
    pub offset: u64,
    /// Bytes of all elements.
    pub len: u64,
}

impl File {
    /// The field of the header that the program calls so.
    pub fn field(&self, name: &str) -> Option<u32> {
        self.header.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
    }
}

/// Whether a file that begins with `head` has a magic of such files.
pub fn probe(head: &[u8]) -> bool {
    LAYOUTS.iter().any(|layout| head.starts_with(&layout.magic))
}

/// Reads everything but the data of tensors.
///
/// # Errors
/// - `Unknown`: a magic or a version that no form has.
/// - `Truncated`, `Invalid`, `TooLarge`, `Unsupported`: what keeps the file from being in the only
///   form that begins like it.
/// - `Invalid`, naming each form that begins like it, with what keeps the file from being in it.
/// - `Io`: reading failed.
pub fn read(source: &dyn ReadAt) -> Result<File> {
    let mut c = Cursor::new(source);
    let magic: [u8; 4] = c.array("magic")?;
    let mut version = None;
    let of_magic = || LAYOUTS.iter().filter(|layout| layout.magic == magic);
    if of_magic().any(|layout| layout.versions.is_some()) {
        version = Some(c.u32("version")?);
    }
    let has = |layout: &&Layout| match (&layout.versions, version) {
        (Some(versions), Some(version)) => versions.contains(&version),
        (versions, version) => versions.is_none() && version.is_none(),
    };
    let start = c.offset();
    let mut refusals = Vec::new();
    for layout in of_magic().filter(has) {
        match (Reader { c: Cursor::new(source), layout, version }).file(start) {
            Ok(file) => return Ok(file),
            Err(error) if matches!(error.why, Why::Io { .. }) => return Err(error),
            Err(error) => refusals.push((layout, error)),
        }
    }
    Err(refused(magic, version, refusals))
}

/// What is wrong with a file that is in no form, and with which.
fn refused(magic: [u8; 4], version: Option<u32>, refusals: Vec<(&Layout, Error)>) -> Error {
    let Some((_, last)) = refusals.last() else {
        return match version {
            Some(version) => {
                let magic: String = magic.iter().rev().map(|&byte| char::from(byte)).collect();
                let value = format!("{magic} {version}");
                Error::new(4, "version", Why::Unknown { value })
            }
            None => {
                let value = format!("\"{}\"", magic.escape_ascii());
                Error::new(0, "magic", Why::Unknown { value })
            }
        };
    };
    if refusals.len() == 1 {
        return last.clone();
    }
    let reasons = refusals.iter().map(|(layout, error)| format!("not {}: {error}", layout.name));
    let rule = reasons.collect::<Vec<_>>().join("; ");
    let offset = refusals.iter().map(|(_, error)| error.offset).max().unwrap_or(0);
    Error::invalid(offset, "form of the file", rule)
}

/// The reading of a file as if it were in one form.
struct Reader<'a> {
    c: Cursor<'a>,
    layout: &'static Layout,
    version: Option<u32>,
}

impl Reader<'_> {
    fn file(mut self, start: u64) -> Result<File> {
        self.c.seek(start);
        let header = self.header()?;
        let filters = if self.layout.filters { Some(self.filters(&header)?) } else { None };
        let tokens = self.tokens(&header)?;
        let last = header.last().map_or(0, |(_, value)| *value);
        let blocks = (self.layout.blocks)(self.version.unwrap_or(0), last);
        let mut tensors: Vec<TensorInfo> = Vec::new();
        let mut names = BTreeSet::new();
        while self.c.remaining() > 0 {
            let at = self.c.offset();
            let tensor = self.tensor(blocks)?;
            if !names.insert(tensor.name.clone()) {
                let what = format!("tensor '{}'", tensor.name);
                return Err(Error::invalid(at, what, "stands twice"));
            }
            if tensors.len() == TENSORS_MAX {
                let (value, max) = (TENSORS_MAX as u64, TENSORS_MAX as u64);
                let why = Why::TooLarge { value: value.saturating_add(1), max, lift: NONE_HAS };
                return Err(Error::new(at, "tensors", why));
            }
            tensors.push(tensor);
        }
        let Self { layout, version, .. } = self;
        Ok(File { layout, version, header, filters, tokens, tensors })
    }

    /// Sizes are not zero, and none is larger than a model's; the last field is a type.
    fn header(&mut self) -> Result<Vec<(&'static str, u32)>> {
        let mut header = Vec::new();
        let types = self.layout.fields.len().saturating_sub(1);
        for (i, &(name, max)) in self.layout.fields.iter().enumerate() {
            let at = self.c.offset();
            let value = self.c.u32(name)?;
            let least = u32::from(i < types);
            if !(least..=max).contains(&value) {
                let rule = format!("found {value}, expected {least} to {max}");
                return Err(Error::invalid(at, name, rule));
            }
            header.push((name, value));
        }
        Ok(header)
    }

    fn filters(&mut self, header: &[(&'static str, u32)]) -> Result<Filters> {
        let at = self.c.offset();
        let rows = self.c.u32("bands of the mel filters")?;
        let columns = self.c.u32("frequencies of the mel filters")?;
        let mels = header.iter().find(|(name, _)| *name == "n_mels").map(|(_, value)| *value);
        if Some(rows) != mels {
            let (found, expected) = (rows.to_string(), mels.unwrap_or(0).to_string());
            let what = "bands of the mel filters";
            return Err(Error::new(at, what, Why::Mismatch { found, expected }));
        }
        let (rows, columns) = (u64::from(rows), u64::from(columns));
        let offset = self.c.offset();
        // Two numbers below 2³² each, times four.
        let len = rows.checked_mul(columns).and_then(|count| count.checked_mul(4));
        self.c.skip(len.unwrap_or(u64::MAX), "mel filters")?;
        Ok(Filters { rows, columns, offset })
    }

    fn tokens(&mut self, header: &[(&'static str, u32)]) -> Result<Vec<Token>> {
        let at = self.c.offset();
        let count = match self.layout.vocabulary {
            Vocabulary::None => 0,
            Vocabulary::Counted => u64::from(self.c.u32("tokens of the vocabulary")?),
            Vocabulary::Texts | Vocabulary::Scored => {
                header.first().map_or(0, |(_, count)| u64::from(*count))
            }
        };
        if count > TOKENS_MAX {
            let why = Why::TooLarge { value: count, max: TOKENS_MAX, lift: NONE_HAS };
            return Err(Error::new(at, "tokens of the vocabulary", why));
        }
        let (mut tokens, mut left) = (Vec::new(), VOCABULARY_MAX);
        for _ in 0..count {
            let len = u64::from(self.c.u32("length of a token")?);
            let max = TOKEN_MAX.min(left);
            let bytes = self.c.bytes(len, max, NONE_HAS, "token")?;
            left = left.saturating_sub(len);
            let scored = self.layout.vocabulary == Vocabulary::Scored;
            let score = if scored { Some(self.c.f32("score of a token")?) } else { None };
            tokens.push(Token { bytes, score });
        }
        Ok(tokens)
    }

    fn tensor(&mut self, blocks: Option<Blocks>) -> Result<TensorInfo> {
        let rank_at = self.c.offset();
        let rank = self.c.u32("dimensions of a tensor")?;
        if !(1..=RANK_MAX).contains(&rank) {
            let rule = format!("found {rank}, expected 1 to {RANK_MAX}");
            return Err(Error::invalid(rank_at, "dimensions of a tensor", rule));
        }
        let name_len = u64::from(self.c.u32("length of a tensor's name")?);
        let kind_at = self.c.offset();
        let id = self.c.u32("kind of a tensor")?;
        let dims_at = self.c.offset();
        let dims = (0..rank).map(|_| Ok(u64::from(self.c.u32("dimension of a tensor")?)));
        let dims = dims.collect::<Result<Vec<u64>>>()?;
        let name_at = self.c.offset();
        let name = String::from_utf8(self.c.bytes(name_len, NAME_MAX, NONE_HAS, "tensor name")?);
        let name = name.map_err(|_| Error::invalid(name_at, "tensor name", "is not UTF-8"))?;
        let what = || format!("tensor '{name}'");
        let kind = self.kind(id, blocks).map_err(|why| Error::new(kind_at, what(), why))?;
        let len = bytes(kind, &dims).map_err(|rule| Error::invalid(dims_at, what(), rule))?;
        let end = self.c.offset();
        let offset = wire::align_up(end, self.layout.alignment).unwrap_or(u64::MAX);
        self.c.skip(offset.saturating_sub(end), what())?;
        self.c.skip(len, what())?;
        Ok(TensorInfo { kind, dims, offset, len, name })
    }

    /// What a number of a kind means in this file.
    fn kind(&self, id: u32, blocks: Option<Blocks>) -> std::result::Result<&'static Kind, Why> {
        let of = |blocks| kind::find(self.layout.kinds, id, blocks);
        // Plain numbers are the same whatever the blocks.
        let plain = of(Blocks::First).filter(|kind| kind.len == 1);
        match (plain.or_else(|| of(blocks?)), of(Blocks::Today)) {
            (Some(kind), _) => Ok(kind),
            (None, Some(today)) if blocks.is_none() => {
                let feature = format!(
                    "{} in a file that does not say whose blocks it has; quantize its original \
                     again",
                    today.name
                );
                Err(Why::Unsupported { feature })
            }
            _ => Err(Why::Unknown { value: format!("kind {id}") }),
        }
    }
}

/// Bytes of a tensor's elements, or the rule that its dimensions break.
fn bytes(kind: &Kind, dims: &[u64]) -> std::result::Result<u64, String> {
    if dims.contains(&0) {
        return Err(format!("dimensions {dims:?}, none of which may be 0"));
    }
    let blocks = dims.first().and_then(|row| row.checked_div(kind.len));
    if blocks.and_then(|blocks| blocks.checked_mul(kind.len)) != dims.first().copied() {
        let rule = "expected rows of whole blocks";
        return Err(format!("dimensions {dims:?}, {rule} of {} {}", kind.len, kind.name));
    }
    let rest = dims.get(1..).and_then(wire::product);
    let count = blocks.zip(rest).and_then(|(blocks, rest)| blocks.checked_mul(rest));
    count
        .and_then(|count| count.checked_mul(kind.bytes))
        .ok_or_else(|| format!("the bytes of {dims:?} pass 64-bit numbers"))
}
