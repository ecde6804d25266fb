//! The superblock: how wide addresses are, where the file ends, and where its root is.

use wire::{Error, ReadAt, Result, Why};

use crate::SIGNATURE;
use crate::fields::{Fields, Image, Widths, read};

/// What a superblock says.
pub(crate) struct Superblock<'a> {
    pub(crate) version: u8,
    pub(crate) image: Image<'a>,
    /// The object header of the root group.
    pub(crate) root: u64,
}

/// Bytes of the longest superblock.
const LEN_MAX: u64 = 112;

/// Whether one of the places where a superblock may lie has its signature.
///
/// # Errors
/// `Io` if reading failed.
pub fn probe(source: &dyn ReadAt) -> Result<bool> {
    Ok(find(source)?.is_some())
}

/// Superblocks lie at 0, 512, 1024, 2048 and so on: before them may be anything.
fn find(source: &dyn ReadAt) -> Result<Option<u64>> {
    let mut at = 0u64;
    while at.saturating_add(8) <= source.size() {
        let mut found = [0; 8];
        read(source, at, &mut found, "signature")?;
        if found == *SIGNATURE {
            return Ok(Some(at));
        }
        at = at.saturating_mul(2).max(512);
    }
    Ok(None)
}

impl<'a> Superblock<'a> {
    pub(crate) fn read(source: &'a dyn ReadAt, block_max: u64) -> Result<Self> {
        let none = || {
            let expected = "\"\\x89HDF\\r\\n\\x1a\\n\" at 0, 512, 1024, …".to_owned();
            Error::new(0, "signature", Why::Mismatch { found: "none".into(), expected })
        };
        let base = find(source)?.ok_or_else(none)?;
        let len = LEN_MAX.min(source.size().saturating_sub(base));
        let widths = Widths { address: 8, length: 8 };
        let narrow = Image { source, base, widths, block_max };
        let bytes = narrow.block(0, len, "superblock")?;
        let mut fields = narrow.fields(&bytes, 0);
        fields.skip(8, "signature")?;
        let version = fields.version(&[0, 1, 2, 3], "superblock version")?;
        let old = version < 2;
        if old {
            // The versions of free space, root group, a reserved byte, shared headers.
            fields.skip(4, "superblock")?;
        }
        let address = width(&mut fields, "size of offsets")?;
        let widths = Widths { address, length: width(&mut fields, "size of lengths")? };
        let image = Image { widths, ..narrow };
        let mut fields = image.fields(&bytes, 0);
        let root = if old { root_1(&mut fields, version)? } else { root_2(&image, &mut fields)? };
        let (stated_base, end, root) = root;
        if stated_base != base {
            let why =
                Why::Mismatch { found: format!("{stated_base:#x}"), expected: base.to_string() };
            return Err(Error::new(base, "base address", why));
        }
        if end > source.size() {
            let why = Why::Truncated { need: end, have: source.size() };
            return Err(Error::new(base, "end of file address", why));
        }
        Ok(Self { version, image, root })
    }
}

fn width(fields: &mut Fields<'_>, what: &'static str) -> Result<usize> {
    let at = fields.offset();
    match fields.u8(what)? {
        width @ (2 | 4 | 8) => Ok(width.into()),
        other => Err(Error::new(at, what, Why::Unknown { value: other.to_string() })),
    }
}

/// Base, end and root of versions 0 and 1.
fn root_1(fields: &mut Fields<'_>, version: u8) -> Result<(u64, u64, u64)> {
    // Up to the flags; version 1 has one more size of B-trees.
    fields.skip(if version == 0 { 24 } else { 28 }, "superblock")?;
    let base = fields.defined("base address")?;
    fields.address("free space address")?;
    let end = fields.defined("end of file address")?;
    fields.address("driver information address")?;
    fields.address("root link name offset")?;
    Ok((base, end, fields.defined("root group address")?))
}

/// The same of versions 2 and 3.
fn root_2(image: &Image<'_>, fields: &mut Fields<'_>) -> Result<(u64, u64, u64)> {
    fields.skip(12, "superblock")?;
    let base = fields.defined("base address")?;
    fields.address("superblock extension address")?;
    let end = fields.defined("end of file address")?;
    let root = fields.defined("root group address")?;
    let len = fields.offset().saturating_sub(image.base).saturating_add(4);
    image.summed(0, len, "superblock")?;
    Ok((base, end, root))
}
