//! The bytes of a file's header, and where its tensors go, before any of them is written.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use serde_json::Value;
use wire::{Error, Result, Why, align_up};

use crate::json::quoted;
use crate::{Dtype, HEADER_MAX, LENGTH_BYTES, METADATA};

/// The data begin at a multiple of this many bytes: `N_LEN` of the reference's `prepare`.
const HEADER_ALIGN: u64 = 8;

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Any text but `__metadata__`; no two alike.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The outermost dimension first.
    pub shape: Vec<u64>,
}

/// Where a tensor's bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Byte offset from the start of the file.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A file that is laid out but not written: the header, then the tensors without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The file's first bytes, up to the first tensor.
    pub header: Vec<u8>,
    /// Where each entry goes, in the order given.
    pub spans: Vec<Span>,
    /// Bytes of the whole file.
    pub len: u64,
}

impl Plan {
    /// Lays out `tensors` in the order given, with `metadata` sorted by key.
    ///
    /// The same arguments give the same bytes, and they are those of the reference where it has
    /// the same order; its own order of metadata changes from run to run. No padding goes between
    /// tensors: who wants each aligned to its element's size gives the widest types first, as
    /// the reference does. Empty metadata are left out.
    ///
    /// # Errors
    /// `Invalid` for a name or key that stands twice, a tensor called `__metadata__`, and sizes
    /// that wrap or are no whole bytes; `TooLarge` above 64 dimensions or 100 MB of header.
    /// An error's offset is that of the tensor in the header as it would be.
    pub fn new(metadata: &[(String, String)], tensors: &[Entry]) -> Result<Self> {
        let mut json = Json(String::from("{"));
        json.metadata(metadata)?;
        let (mut spans, mut names, mut end) = (Vec::new(), HashSet::new(), 0u64);
        for tensor in tensors {
            let fault =
                |why| Error::new(json.offset(), format!("tensor {}", quoted(&tensor.name)), why);
            let rule = |rule: &str| fault(Why::Invalid { rule: rule.to_owned() });
            if tensor.name == METADATA {
                return Err(rule("the format keeps this name for itself"));
            }
            if !names.insert(tensor.name.as_str()) {
                return Err(rule("the name stands twice"));
            }
            let len = tensor.dtype.len_of(&tensor.shape).map_err(fault)?;
            let (offset, wraps) = (end, "the file's length passes 64-bit numbers");
            end = offset.checked_add(len).ok_or_else(|| rule(wraps))?;
            json.tensor(tensor, offset, end);
            spans.push(Span { offset, len });
        }
        let header = json.finish()?;
        let start = header.len() as u64;
        let wraps = || Error::invalid(0, "file", "its length passes 64-bit numbers");
        let len = start.checked_add(end).ok_or_else(wraps)?;
        for span in &mut spans {
            // At most `len`, so it cannot saturate.
            span.offset = span.offset.saturating_add(start);
        }
        Ok(Self { header, spans, len })
    }
}

/// The header's text as it grows: compact, as `serde_json` writes it for the reference.
struct Json(String);

impl Json {
    /// The place in the file of what is written next.
    fn offset(&self) -> u64 {
        LENGTH_BYTES.saturating_add(self.0.len() as u64)
    }

    fn metadata(&mut self, metadata: &[(String, String)]) -> Result<()> {
        let sorted: BTreeMap<_, _> = metadata.iter().map(|(key, text)| (key, text)).collect();
        if sorted.len() != metadata.len() {
            return Err(Error::invalid(self.offset(), METADATA, "a key stands twice"));
        }
        let texts: Vec<_> =
            sorted.iter().map(|(key, value)| format!("{}:{}", text(key), text(value))).collect();
        if !texts.is_empty() {
            self.item(METADATA, &format!("{{{}}}", texts.join(",")));
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &Entry, start: u64, end: u64) {
        let shape: Vec<_> = tensor.shape.iter().map(u64::to_string).collect();
        let (dtype, shape) = (tensor.dtype.name(), shape.join(","));
        let fields =
            format!(r#"{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#);
        self.item(&tensor.name, &fields);
    }

    fn item(&mut self, key: &str, value: &str) {
        let separator = if self.0.len() > 1 { "," } else { "" };
        // Writing to a `String` cannot fail.
        let _ = write!(self.0, "{separator}{}:{value}", text(key));
    }

    /// The header with its length before it and spaces behind it.
    fn finish(mut self) -> Result<Vec<u8>> {
        self.0.push('}');
        let wide = align_up(self.0.len() as u64, HEADER_ALIGN).unwrap_or(u64::MAX);
        if wide > HEADER_MAX {
            let lift = "what other readers accept; write several files";
            let why = Why::TooLarge { value: wide, max: HEADER_MAX, lift };
            return Err(Error::new(0, "header length", why));
        }
        let mut header = wide.to_le_bytes().to_vec();
        header.extend(self.0.bytes());
        while !(header.len() as u64).is_multiple_of(HEADER_ALIGN) {
            header.push(b' ');
        }
        Ok(header)
    }
}

/// `text` as a JSON string.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}
