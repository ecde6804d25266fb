//! What every message is read with.

use std::collections::BTreeMap;
use std::ops::Range;

use protobuf::{Field, Message, Reader, once};
use wire::{Error, ReadAt, Result};

use crate::Limits;
use crate::table::Value;

/// Reads messages field by field.
pub(crate) struct Parser<'a> {
    reader: Reader<'a>,
}

/// What is done with each field of a message.
pub(crate) type Each<'e, 'a> = &'e mut dyn FnMut(&mut Parser<'a>, &Message, &Field) -> Result<()>;

impl<'a> Parser<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt, limits: &Limits) -> Self {
        Self { reader: Reader::new(source, &limits.protobuf) }
    }

    /// Reads the message that an entry of a table is.
    pub(crate) fn entry_of(value: &Value<'a>, each: Each<'_, 'a>) -> Result<()> {
        Self::new(value.source, value.limits).range(value.range.clone(), each)
    }

    /// The fields of the whole file.
    pub(crate) fn whole(&mut self, each: Each<'_, 'a>) -> Result<()> {
        let message = self.reader.whole();
        self.fields(message, each)
    }

    /// The fields of the message that lies in a range.
    pub(crate) fn range(&mut self, range: Range<u64>, each: Each<'_, 'a>) -> Result<()> {
        let message = self.reader.within(range);
        self.fields(message, each)
    }

    /// The fields of the message that a field of another holds.
    pub(crate) fn inside(
        &mut self,
        of: &Message,
        field: &Field,
        what: &'static str,
        each: Each<'_, 'a>,
    ) -> Result<()> {
        let message = self.reader.inside(of, field, what)?;
        self.fields(message, each)
    }

    fn fields(&mut self, mut message: Message, each: Each<'_, 'a>) -> Result<()> {
        while let Some(field) = self.reader.next(&mut message)? {
            each(self, &message, &field)?;
        }
        Ok(())
    }

    pub(crate) fn text(&mut self, field: &Field, what: &'static str) -> Result<String> {
        self.reader.text(field, what)
    }

    pub(crate) fn bytes(&mut self, field: &Field, what: &'static str) -> Result<Vec<u8>> {
        self.reader.bytes(field, what)
    }

    /// The bytes of a range.
    pub(crate) fn piece(&mut self, at: Range<u64>, what: &'static str) -> Result<Vec<u8>> {
        self.reader.range(at, what)
    }

    pub(crate) fn varints(
        &mut self,
        field: &Field,
        what: &'static str,
        each: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        self.reader.varints(field, what, each)
    }

    /// Puts an entry into a map: its key, and its value by `value`. Both may be left out.
    pub(crate) fn entry<T: Default>(
        &mut self,
        map: &mut BTreeMap<String, T>,
        (of, field): (&Message, &Field),
        what: &'static str,
        value: fn(&mut Parser<'a>, &Message, &Field) -> Result<T>,
    ) -> Result<()> {
        let (mut key, mut found) = (None, None);
        self.inside(of, field, what, &mut |parser, of, field| match field.number {
            1 => once(&mut key, parser.text(field, what)?, field, what),
            2 => once(&mut found, value(parser, of, field)?, field, what),
            _ => Ok(()),
        })?;
        let key = key.unwrap_or_default();
        match map.insert(key, found.unwrap_or_default()) {
            Some(_) => Err(Error::invalid(field.span.start, what, "one key stands twice")),
            None => Ok(()),
        }
    }
}
