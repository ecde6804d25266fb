//! The type of an array's elements.

use std::fmt;

use wire::{Endian, Error, Why};

/// What an element is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false, in a byte.
    Bool,
    /// Signed integer.
    Int,
    /// Unsigned integer.
    Uint,
    /// IEEE float; of one byte, `float8_e5m2` of `ml_dtypes`.
    Float,
    /// Two floats: real, imaginary.
    Complex,
    /// The upper half of a float of four bytes: `bfloat16` of `ml_dtypes`.
    Bfloat,
}

/// The kinds with their letters, and the sizes in bytes that mean the same on every machine.
const KINDS: &[(u8, Kind, &[u64])] = &[
    (b'b', Kind::Bool, &[1]),
    (b'i', Kind::Int, &[1, 2, 4, 8]),
    (b'u', Kind::Uint, &[1, 2, 4, 8]),
    (b'f', Kind::Float, &[1, 2, 4, 8]),
    (b'c', Kind::Complex, &[8, 16]),
];

/// Kinds that NumPy writes and that hold no numbers, or none that we know.
const OTHERS: &[(u8, &str)] = &[
    (b'U', "text; save it apart from the numbers"),
    (b'S', "byte strings; save them apart from the numbers"),
    (b'a', "byte strings; save them apart from the numbers"),
    (b'M', "dates; save them as integers: a.astype('<i8')"),
    (b'm', "time spans; save them as integers: a.astype('<i8')"),
    (b'V', "raw bytes, as most types of ml_dtypes become; save them as floats: a.astype('<f4')"),
];

const OBJECTS: &str = "are Python objects: a pickle, which may run anything; save numbers instead";

/// Whether a file was refused because its elements are Python objects.
pub fn is_object(error: &Error) -> bool {
    matches!(&error.why, Why::Invalid { rule } if rule.ends_with(OBJECTS))
}

/// What NumPy calls `bfloat16`, and nothing else: raw bytes of its own are `|V2`.
const BFLOAT16: &str = "<V2";

/// The type of an array's elements: `<f4` and the like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descr {
    /// What an element is.
    pub kind: Kind,
    /// Bytes of an element.
    pub size: u64,
    /// The order of those bytes; `Little` where there is one only.
    pub endian: Endian,
}

impl Descr {
    /// `<f4`: what most arrays hold.
    pub const F32: Self = Self { kind: Kind::Float, size: 4, endian: Endian::Little };

    /// Reads `<f4` and the like.
    pub(crate) fn parse(text: &str) -> Result<Self, Why> {
        let unknown = || Why::Unknown { value: format!("{text:?}") };
        let (&[order, letter], size) = text.as_bytes().split_first_chunk().ok_or_else(unknown)?;
        if !matches!(order, b'<' | b'>' | b'|' | b'=') {
            return Err(unknown());
        }
        if letter == b'O' {
            return Err(Why::Invalid { rule: format!("{text:?} {OBJECTS}") });
        }
        if text == BFLOAT16 {
            return Ok(Self { kind: Kind::Bfloat, size: 2, endian: Endian::Little });
        }
        if let Some((_, what)) = OTHERS.iter().find(|(other, _)| *other == letter) {
            return Err(Why::Unsupported { feature: format!("{text:?} are {what}") });
        }
        let row = KINDS.iter().find(|(own, ..)| *own == letter).ok_or_else(unknown)?;
        let (_, kind, sizes) = *row;
        let size = sizes.iter().copied().find(|own| own.to_string().as_bytes() == size);
        let Some(size) = size else {
            let feature = format!("{text:?}; elements of this kind have {sizes:?} bytes here");
            return Err(Why::Unsupported { feature });
        };
        let endian = match order {
            b'<' => Endian::Little,
            b'>' => Endian::Big,
            _ if size == 1 => Endian::Little,
            _ => {
                let rule = format!("{text:?} leaves the order of bytes open: it must be < or >");
                return Err(Why::Invalid { rule });
            }
        };
        Ok(Self { kind, size, endian })
    }
}

impl fmt::Display for Descr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = match self.endian {
            _ if self.kind == Kind::Bfloat => return f.write_str(BFLOAT16),
            // As ml_dtypes writes float8_e5m2.
            _ if self.kind == Kind::Float && self.size == 1 => '<',
            _ if self.size == 1 => '|',
            Endian::Little => '<',
            Endian::Big => '>',
        };
        let letter = KINDS.iter().find(|(_, kind, _)| *kind == self.kind).map_or(b'?', |row| row.0);
        write!(f, "{order}{}{}", char::from(letter), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_as_it_is_written() {
        for &(_, kind, sizes) in KINDS {
            for &size in sizes {
                for endian in [Endian::Little, Endian::Big] {
                    let endian = if size == 1 { Endian::Little } else { endian };
                    let descr = Descr { kind, size, endian };
                    assert_eq!(Descr::parse(&descr.to_string()), Ok(descr));
                }
            }
        }
        let descr = Descr::parse(BFLOAT16).unwrap();
        assert_eq!((descr.kind, descr.to_string().as_str()), (Kind::Bfloat, BFLOAT16));
    }

    #[test]
    fn other_types_are_refused() {
        for text in [
            "", "<", "<f", "f4", "<f04", "<f3", "<f16", "|f4", "=f4", "<x4", "é4", "|O", "|V2",
            ">V2", "<V1",
        ] {
            Descr::parse(text).unwrap_err();
        }
    }
}
