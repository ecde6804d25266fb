//! Deflated entries, bounded: a stream gives exactly the bytes that its entry states.
//!
//! Specification: RFC 1951. The decoder is `miniz_oxide`'s.

use std::ops::{ControlFlow, Range};

use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};
use wire::{Error, ReadAt, Result, Why};

/// Bytes that are read, and bytes that are made, at a time.
const PIECE: usize = 64 << 10;

/// No stream gives more than so many bytes for one (RFC 1951: 258 bytes for two bits).
const RATIO_MAX: u64 = 1032;

/// A deflated run of bytes in a file.
pub struct Deflated<'a> {
    /// The file.
    pub source: &'a dyn ReadAt,
    /// Where the stream is.
    pub place: Range<u64>,
    /// Bytes that it stands for.
    pub len: u64,
    /// Whose it is, in an error.
    pub what: String,
}

impl Deflated<'_> {
    /// Gives the bytes, piece by piece.
    ///
    /// # Errors
    /// `Invalid` for a stream that is damaged, or stands for more bytes or fewer; `Io`.
    pub fn each(&self, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.walk(PIECE, &mut |piece| {
            take(piece);
            ControlFlow::Continue(())
        })
    }

    /// The first bytes, `len` of them if there are as many. What comes after is not looked at.
    ///
    /// # Errors
    /// As [`Self::each`].
    pub fn head(&self, len: usize) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        self.walk(len.clamp(1, PIECE), &mut |piece| {
            let left = len.saturating_sub(head.len());
            head.extend_from_slice(piece.get(..left).unwrap_or(piece));
            if head.len() < len { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(head)
    }

    /// Gives the bytes in pieces of at most `piece`, until there are no more or enough.
    fn walk(&self, piece: usize, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
        let mut state = InflateState::new_boxed(DataFormat::Raw);
        let mut input = Vec::new();
        let (mut at, mut left) = (self.place.start, self.len);
        let mut output = vec![0; piece];
        loop {
            if input.is_empty() {
                input = self.read(at)?;
                at = at.saturating_add(input.len() as u64);
            }
            let step = inflate(&mut state, &input, &mut output, MZFlush::None);
            let made = output.get(..step.bytes_written).unwrap_or_default();
            let Some(rest) = left.checked_sub(made.len() as u64) else {
                return self.invalid(&format!("it inflates to more than its {} bytes", self.len));
            };
            left = rest;
            if take(made).is_break() {
                return Ok(());
            }
            let stuck = step.bytes_consumed == 0 && made.is_empty();
            input.drain(..step.bytes_consumed.min(input.len()));
            match step.status {
                Ok(MZStatus::StreamEnd) if left > 0 => {
                    return self.invalid(&format!("it inflates to {left} bytes less than stated"));
                }
                Ok(MZStatus::StreamEnd) if !input.is_empty() || at < self.place.end => {
                    return self.invalid("bytes follow its deflated stream");
                }
                Ok(MZStatus::StreamEnd) => return Ok(()),
                Ok(_) | Err(MZError::Buf) if stuck && input.is_empty() && at >= self.place.end => {
                    return self.invalid("its deflated stream is cut short");
                }
                Ok(_) | Err(MZError::Buf) if !stuck || input.is_empty() => {}
                _ => return self.invalid("its deflated bytes are damaged"),
            }
        }
    }

    /// All bytes, at most `max` of them.
    ///
    /// # Errors
    /// As [`Self::each`]; `TooLarge` above `max`, which `lift` names.
    pub fn all(&self, max: u64, lift: &'static str) -> Result<Vec<u8>> {
        if self.len > max {
            return Err(self.error(Why::TooLarge { value: self.len, max, lift }));
        }
        let packed = self.place.end.saturating_sub(self.place.start);
        if self.len > packed.saturating_mul(RATIO_MAX) {
            return self.invalid(&format!("{packed} bytes cannot inflate to {}", self.len));
        }
        let mut bytes = Vec::new();
        let room = usize::try_from(self.len).ok();
        if room.is_none_or(|room| bytes.try_reserve_exact(room).is_err()) {
            let lift = "memory that can be had";
            return Err(self.error(Why::TooLarge { value: self.len, max: 0, lift }));
        }
        self.each(&mut |piece| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn read(&self, at: u64) -> Result<Vec<u8>> {
        let left = self.place.end.saturating_sub(at);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        let read = self.source.read_at(at, &mut bytes);
        read.map_err(|cause| self.error(Why::Io { cause: cause.to_string() }))?;
        Ok(bytes)
    }

    fn error(&self, why: Why) -> Error {
        Error::new(self.place.start, self.what.clone(), why)
    }

    fn invalid<T>(&self, rule: &str) -> Result<T> {
        Err(self.error(Why::Invalid { rule: rule.to_owned() }))
    }
}
