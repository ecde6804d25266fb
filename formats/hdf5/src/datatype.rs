//! Datatypes: what the bytes of an element are.

use wire::{Endian, Error, Result, Why};

use crate::fields::{Fields, text};
use crate::limits::{NESTING_MAX, RANK_MAX};

/// The type of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datatype {
    /// Bytes of an element.
    pub size: u64,
    /// What they are.
    pub class: Class,
}

/// What the bytes of an element are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// A whole number that fills its bytes.
    Integer {
        /// Whether it is two's complement.
        signed: bool,
        /// The order of its bytes.
        endian: Endian,
    },
    /// A floating-point number.
    Float(Float, Endian),
    /// Text of a fixed length, ended or filled up by NULs or spaces.
    Text,
    /// Text of any length, which lies in a heap.
    LongText,
    /// Bytes of which only their number is known.
    Opaque,
    /// The place of another object.
    Reference,
    /// Named parts.
    Compound(Vec<Member>),
    /// Names for numbers: those of the type, each with the bytes that stand for it.
    Enumeration(Box<Datatype>, Vec<(String, Vec<u8>)>),
    /// A list of any length, which lies in a heap.
    List(Box<Datatype>),
    /// A fixed number of elements.
    Array(Vec<u64>, Box<Datatype>),
    /// What is neither: its name.
    Other(&'static str),
}

/// A named part of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// The byte of the element where it begins.
    pub offset: u64,
    /// Its type.
    pub datatype: Datatype,
}

/// Where the fields of a floating-point number lie, in bits from the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of the specification")]
pub struct Float {
    pub sign_at: u8,
    pub exponent_at: u8,
    pub exponent_bits: u8,
    pub mantissa_at: u8,
    pub mantissa_bits: u8,
    pub bias: u32,
}

impl Float {
    /// IEEE 754 binary16.
    pub const F16: Self = Self::ieee(5, 10);
    /// The upper half of a binary32.
    pub const BF16: Self = Self::ieee(8, 7);
    /// IEEE 754 binary32.
    pub const F32: Self = Self::ieee(8, 23);
    /// IEEE 754 binary64.
    pub const F64: Self = Self::ieee(11, 52);

    const fn ieee(exponent_bits: u8, mantissa_bits: u8) -> Self {
        Self {
            sign_at: mantissa_bits.saturating_add(exponent_bits),
            exponent_at: mantissa_bits,
            exponent_bits,
            mantissa_at: 0,
            mantissa_bits,
            bias: (1u32 << exponent_bits.saturating_sub(1)).saturating_sub(1),
        }
    }
}

impl Datatype {
    /// Its name in a message.
    pub fn name(&self) -> String {
        let bits = self.size.saturating_mul(8);
        match &self.class {
            Class::Integer { signed: true, .. } => format!("int{bits}"),
            Class::Integer { .. } => format!("uint{bits}"),
            Class::Float(..) => format!("a float of {bits} bits"),
            Class::Text | Class::LongText => "text".into(),
            Class::Opaque => format!("opaque, {} bytes each", self.size),
            Class::Reference => "references to objects".into(),
            Class::Compound(members) => {
                let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
                format!("a compound of {}", names.join(", "))
            }
            Class::Enumeration(..) => "an enumeration".into(),
            Class::List(_) => "lists of any length".into(),
            Class::Array(..) => "arrays".into(),
            Class::Other(name) => (*name).into(),
        }
    }
}

/// Reads a datatype, `depth` others around it.
pub(crate) fn read(fields: &mut Fields<'_>, depth: u8) -> Result<Datatype> {
    let start = fields.offset();
    if depth >= NESTING_MAX {
        let lift = "what reading by recursion allows";
        let why = Why::TooLarge { value: depth.into(), max: NESTING_MAX.into(), lift };
        return Err(Error::new(start, "datatype", why));
    }
    let first = fields.u8("datatype class")?;
    let (class, version) = (first & 15, first >> 4);
    if !(1..=5).contains(&version) {
        let value = format!("version {version}");
        return Err(Error::new(start, "datatype version", Why::Unknown { value }));
    }
    let bits = [0; 3].map(|_: u8| fields.u8("datatype flags"));
    let [low, high, _] = bits;
    let flags = Flags { low: low?, high: high? };
    let size_at = fields.offset();
    let size = u64::from(fields.u32("datatype size")?);
    if size == 0 {
        return Err(Error::invalid(size_at, "datatype size", "is 0: elements have bytes"));
    }
    let head = Head { start, version, flags, size, depth };
    let class = match class {
        0 => integer(fields, &head)?,
        1 => float(fields, &head)?,
        2 => Class::Other("times"),
        3 => Class::Text,
        4 => Class::Other("bit fields"),
        5 => Class::Opaque,
        6 => compound(fields, &head)?,
        7 => Class::Reference,
        8 => enumeration(fields, &head)?,
        9 if flags.low & 15 == 1 => Class::LongText,
        9 => Class::List(Box::new(read(fields, depth.saturating_add(1))?)),
        10 => array(fields, &head)?,
        11 => Class::Other("complex numbers of HDF5 2"),
        other => {
            let value = format!("class {other}");
            return Err(Error::new(start, "datatype class", Why::Unknown { value }));
        }
    };
    Ok(Datatype { size, class })
}

/// The first two of the three bytes that qualify a class.
#[derive(Clone, Copy)]
struct Flags {
    low: u8,
    high: u8,
}

impl Flags {
    fn count(self) -> u16 {
        u16::from_le_bytes([self.low, self.high])
    }
}

/// What all classes state.
struct Head {
    start: u64,
    version: u8,
    flags: Flags,
    size: u64,
    depth: u8,
}

impl Head {
    fn invalid<T>(&self, rule: String) -> Result<T> {
        Err(Error::invalid(self.start, "datatype", rule))
    }

    fn inner(&self, fields: &mut Fields<'_>) -> Result<Datatype> {
        read(fields, self.depth.saturating_add(1))
    }
}

/// The bits of a number that are used: all of its bytes, or the number is of no known type.
fn precision(fields: &mut Fields<'_>, head: &Head) -> Result<bool> {
    let offset = u64::from(fields.u16("bit offset")?);
    let precision = u64::from(fields.u16("bit precision")?);
    let bits = head.size.saturating_mul(8);
    if offset.saturating_add(precision) > bits {
        return head.invalid(format!("{precision} bits from bit {offset} on, of {bits}"));
    }
    Ok(offset == 0 && precision == bits)
}

fn integer(fields: &mut Fields<'_>, head: &Head) -> Result<Class> {
    let endian = if head.flags.low & 1 == 0 { Endian::Little } else { Endian::Big };
    let signed = head.flags.low & 8 != 0;
    Ok(match precision(fields, head)? {
        true => Class::Integer { signed, endian },
        false => Class::Other("integers with unused bits"),
    })
}

fn float(fields: &mut Fields<'_>, head: &Head) -> Result<Class> {
    let is_whole = precision(fields, head)?;
    let [exponent_at, exponent_bits] = [fields.u8("exponent place")?, fields.u8("exponent size")?];
    let [mantissa_at, mantissa_bits] = [fields.u8("mantissa place")?, fields.u8("mantissa size")?];
    let bias = fields.u32("exponent bias")?;
    let sign_at = head.flags.high;
    let float = Float { sign_at, exponent_at, exponent_bits, mantissa_at, mantissa_bits, bias };
    let endian = match head.flags.low & 0x41 {
        0 => Endian::Little,
        1 => Endian::Big,
        _ => return Ok(Class::Other("floats of a VAX")),
    };
    // Normalised with an implied leading bit, as IEEE 754 has it.
    let is_implied = head.flags.low >> 4 & 3 == 2;
    Ok(match is_whole && is_implied {
        true => Class::Float(float, endian),
        false => Class::Other("floats with unused bits"),
    })
}

fn compound(fields: &mut Fields<'_>, head: &Head) -> Result<Class> {
    let width = match head.size {
        0..0x100 => 1,
        0x100..0x1_0000 => 2,
        0x1_0000..0x100_0000 => 3,
        _ => 4,
    };
    let member = |_| {
        let name = name(fields, head.version)?;
        let offset = fields.uint(if head.version < 3 { 4 } else { width }, "member offset")?;
        if head.version == 1 {
            // Dimensions, which later versions have as a class of its own.
            fields.skip(28, "member dimensions")?;
        }
        Ok(Member { name, offset, datatype: head.inner(fields)? })
    };
    Ok(Class::Compound((0..head.flags.count()).map(member).collect::<Result<_>>()?))
}

fn enumeration(fields: &mut Fields<'_>, head: &Head) -> Result<Class> {
    let base = head.inner(fields)?;
    let count = head.flags.count();
    let names = (0..count).map(|_| name(fields, head.version)).collect::<Result<Vec<_>>>()?;
    let len = usize::try_from(base.size).unwrap_or(usize::MAX);
    let named = |name| Ok((name, fields.take(len, "enumeration value")?.to_vec()));
    let values = names.into_iter().map(named).collect::<Result<_>>()?;
    Ok(Class::Enumeration(Box::new(base), values))
}

fn array(fields: &mut Fields<'_>, head: &Head) -> Result<Class> {
    let rank = fields.u8("array rank")?;
    if rank > RANK_MAX {
        return head.invalid(format!("an array of {rank} dimensions, at most {RANK_MAX}"));
    }
    if head.version < 3 {
        fields.skip(3, "array")?;
    }
    let dims = (0..rank).map(|_| Ok(u64::from(fields.u32("array dimension")?)));
    let dims = dims.collect::<Result<_>>()?;
    if head.version < 3 {
        fields.skip(usize::from(rank).saturating_mul(4), "array permutation")?;
    }
    Ok(Class::Array(dims, Box::new(head.inner(fields)?)))
}

/// A name that a NUL ends; before version 3, filled up to a multiple of eight.
fn name(fields: &mut Fields<'_>, version: u8) -> Result<String> {
    let at = fields.offset();
    let mut ahead = fields.clone();
    let len = ahead.rest().iter().position(|byte| *byte == 0);
    let len = len.ok_or_else(|| Error::invalid(at, "member name", "has no end"))?;
    let len = len.saturating_add(1);
    let name = text(fields.take(len, "member name")?, at, "member name")?;
    if version < 3 {
        fields.skip_padding(len, "member name")?;
    }
    Ok(name)
}
