//! The members of a tar, one after the other: what they are called, and where their data lie.
//!
//! ```text
//!  header, 512 bytes    0 name, 124 size, 148 checksum, 156 kind, 257 "ustar", 345 what precedes the name
//!  data, and zeros up to a multiple of 512
//!  …
//!  a block of zeros
//!
//!  kind 0  a file                      kind x  records about the next member: "18 size=8589934592\n"
//!  kind L  the next member's name      kind g  records about all that follow
//! ```
//!
//! Source: POSIX.1-2024, `pax`; GNU tar's manual, "Basic Tar Format"; `Lib/tarfile.py` of CPython
//! 3.13. What tools read in different ways is refused: a size or a name that is stated twice.

use wire::{Cursor, Error, ReadAt, Result};

const BLOCK: u64 = 512;

/// Bytes of an extended header; those of real files have a few hundred.
const EXTENDED_MAX: u64 = 64 << 10;

/// A file of the archive.
pub(super) struct Member {
    /// Where its header begins.
    pub(super) at: u64,
    /// A label, which never becomes a path.
    pub(super) name: Vec<u8>,
    /// Where its data begin.
    pub(super) start: u64,
    /// Where they end.
    pub(super) end: u64,
}

/// What goes through the members.
pub(super) struct Members<'a>(Cursor<'a>);

/// What extended headers say of the member that follows.
#[derive(Default)]
struct Stated {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    /// Where the last of them is.
    at: Option<u64>,
}

struct Header {
    at: u64,
    name: Vec<u8>,
    size: u64,
    kind: u8,
}

impl<'a> Members<'a> {
    pub(super) fn new(source: &'a dyn ReadAt) -> Self {
        Self(Cursor::new(source))
    }

    /// The next file; nothing at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Member>> {
        let mut stated = Stated::default();
        loop {
            let Some(header) = self.header()? else {
                let orphan = |at| invalid(at, "no member follows its records");
                return stated.at.map_or(Ok(None), orphan);
            };
            match header.kind {
                b'0' | 0 => return self.file(header, stated).map(Some),
                b'x' => stated.records(&self.extended(&header)?, header.at)?,
                b'g' => of_all(&self.extended(&header)?, header.at)?,
                b'L' => {
                    let mut name = self.extended(&header)?;
                    name.truncate(until_zero(&name).len());
                    stated.take_name(name, header.at)?;
                }
                _ => return invalid(header.at, "a member that is no file"),
            }
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let c = &mut self.0;
        let at = c.offset();
        if c.remaining() < BLOCK {
            return Ok(None);
        }
        let bytes: [u8; 512] = c.array("tar header")?;
        if bytes == [0; 512] {
            return Ok(None);
        }
        if !is_intact(&bytes) {
            return invalid(at, "its checksum is not that of its bytes");
        }
        let Some(size) = octal(&bytes, 124, 12).or_else(|| binary(&bytes, 124, 12)) else {
            return invalid(at, "its size is neither an octal number nor one of GNU's");
        };
        let text = |at: usize, len: usize| {
            let field = at.checked_add(len).and_then(|end| bytes.get(at..end));
            until_zero(field.unwrap_or_default())
        };
        let name = match text(345, 155) {
            b"" => text(0, 100).to_vec(),
            before => [before, b"/", text(0, 100)].concat(),
        };
        Ok(Some(Header { at, name, size, kind: bytes.get(156).copied().unwrap_or_default() }))
    }

    /// The data of an extended header.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>> {
        let lift = "as many as an extended header of a tar may have";
        let bytes = self.0.bytes(header.size, EXTENDED_MAX, lift, "extended header")?;
        self.next_block();
        Ok(bytes)
    }

    fn file(&mut self, header: Header, stated: Stated) -> Result<Member> {
        let Header { at, name, size, .. } = header;
        let size = match stated.size {
            // A header has no room for some sizes, and says 0.
            Some(stated) if size != 0 && size != stated => {
                return invalid(at, &format!("its size is {size}, and {stated} in its records"));
            }
            Some(stated) => stated,
            None => size,
        };
        let start = self.0.offset();
        self.0.skip(size, "tar member")?;
        let end = self.0.offset();
        self.next_block();
        Ok(Member { at, name: stated.name.unwrap_or(name), start, end })
    }

    fn next_block(&mut self) {
        let next = wire::align_up(self.0.offset(), BLOCK).unwrap_or(u64::MAX);
        self.0.seek(next);
    }
}

impl Stated {
    fn records(&mut self, mut left: &[u8], at: u64) -> Result<()> {
        self.at = Some(at);
        while !left.is_empty() {
            let (key, value, after) = record(left, at)?;
            match key {
                b"path" => self.take_name(value.to_vec(), at)?,
                b"size" => {
                    let Some(size) = decimal(value) else {
                        return invalid(at, "the size in its records is no number of 64 bits");
                    };
                    if self.size.replace(size).is_some() {
                        return invalid(at, "its records state two sizes");
                    }
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(Error::unsupported(at, "tar header", "a file with holes"));
                }
                // Times and owners.
                _ => {}
            }
            left = after;
        }
        Ok(())
    }

    fn take_name(&mut self, name: Vec<u8>, at: u64) -> Result<()> {
        self.at = Some(at);
        match self.name.replace(name) {
            None => Ok(()),
            Some(_) => invalid(at, "a member has two long names"),
        }
    }
}

/// Checks records about all members, which may be remarks only.
fn of_all(mut left: &[u8], at: u64) -> Result<()> {
    while !left.is_empty() {
        let (key, _, after) = record(left, at)?;
        if key == b"path" || key == b"size" || key.starts_with(b"GNU.sparse.") {
            return invalid(at, "it states one name or size for all members");
        }
        left = after;
    }
    Ok(())
}

/// A record's key and value, and what follows it.
fn record(left: &[u8], at: u64) -> Result<(&[u8], &[u8], &[u8])> {
    let split = || {
        let digits = left.split(|&byte| byte == b' ').next()?;
        let len = usize::try_from(decimal(digits)?).ok()?;
        let (record, after) = left.split_at_checked(len)?;
        let text = record.strip_prefix(digits)?.strip_prefix(b" ")?.strip_suffix(b"\n")?;
        let mut parts = text.splitn(2, |&byte| byte == b'=');
        Some((parts.next()?, parts.next()?, after))
    };
    match split() {
        Some(record) => Ok(record),
        None => invalid(at, "its records are not of the form 'LENGTH KEY=VALUE' and a line break"),
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn octal(header: &[u8; 512], at: usize, len: usize) -> Option<u64> {
    let field = header.get(at..at.checked_add(len)?)?;
    let text = std::str::from_utf8(field).ok()?;
    u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
}

/// As GNU writes a size from 8 GiB on: the highest bit, then the number, highest byte first.
fn binary(header: &[u8; 512], at: usize, len: usize) -> Option<u64> {
    let [0x80, bytes @ ..] = header.get(at..at.checked_add(len)?)? else { return None };
    let (zeros, number) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
    let is_small = zeros.iter().all(|&byte| byte == 0);
    number.try_into().ok().filter(|_| is_small).map(u64::from_be_bytes)
}

/// The checksum adds up all bytes, its own eight as spaces.
fn is_intact(header: &[u8; 512]) -> bool {
    let bytes = header.iter().enumerate();
    let sum: u64 =
        bytes.map(|(i, &byte)| u64::from(if (148..156).contains(&i) { b' ' } else { byte })).sum();
    octal(header, 148, 8) == Some(sum)
}

fn invalid<T>(at: u64, rule: &str) -> Result<T> {
    Err(Error::invalid(at, "tar header", rule))
}
