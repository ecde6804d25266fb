//! A tensor that has been computed: a shape, and elements that clones share.

use std::borrow::Cow;
use std::sync::Arc;

use half::{bf16, f16};

use super::product::{self, View};
use super::types::{Small, Type};
use crate::ir::{Error, Result};

/// A tensor that has been computed. Clones share the elements.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    data: Data,
}

/// The elements, row-major.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are those of the types")]
pub enum Data {
    F64(Arc<Vec<f64>>),
    F32(Arc<Vec<f32>>),
    F16(Arc<Vec<f16>>),
    BF16(Arc<Vec<bf16>>),
    I64(Arc<Vec<i64>>),
    I32(Arc<Vec<i32>>),
    I16(Arc<Vec<i16>>),
    I8(Arc<Vec<i8>>),
    U64(Arc<Vec<u64>>),
    U32(Arc<Vec<u32>>),
    U16(Arc<Vec<u16>>),
    U8(Arc<Vec<u8>>),
    Bool(Arc<Vec<bool>>),
    Text(Arc<Vec<String>>),
    Small(Small, Arc<Vec<u8>>),
}

/// A Rust type that elements are kept in.
pub trait Element: Clone + Default + PartialEq + Send + Sync + 'static {
    /// Its type.
    const TYPE: Type;
    /// The elements, if they are of this type.
    fn slice(data: &Data) -> Option<&[Self]>;
    /// Elements of this type.
    fn wrap(values: Vec<Self>) -> Data;
}

macro_rules! elements {
    ($($name:ident: $t:ty),* $(,)?) => { $(
        impl Element for $t {
            const TYPE: Type = Type::$name;
            fn slice(data: &Data) -> Option<&[Self]> {
                match data {
                    Data::$name(values) => Some(values),
                    _ => None,
                }
            }
            fn wrap(values: Vec<Self>) -> Data {
                Data::$name(Arc::new(values))
            }
        }
    )* };
}
elements! {
    F64: f64, F32: f32, F16: f16, BF16: bf16, I64: i64, I32: i32, I16: i16, I8: i8,
    U64: u64, U32: u32, U16: u16, U8: u8, Bool: bool, Text: String,
}

/// Makes elements of the same type from the elements of any type.
macro_rules! each_type {
    ($data:expr, $values:ident => $made:expr) => {
        match $data {
            Data::F64($values) => Data::F64(Arc::new($made)),
            Data::F32($values) => Data::F32(Arc::new($made)),
            Data::F16($values) => Data::F16(Arc::new($made)),
            Data::BF16($values) => Data::BF16(Arc::new($made)),
            Data::I64($values) => Data::I64(Arc::new($made)),
            Data::I32($values) => Data::I32(Arc::new($made)),
            Data::I16($values) => Data::I16(Arc::new($made)),
            Data::I8($values) => Data::I8(Arc::new($made)),
            Data::U64($values) => Data::U64(Arc::new($made)),
            Data::U32($values) => Data::U32(Arc::new($made)),
            Data::U16($values) => Data::U16(Arc::new($made)),
            Data::U8($values) => Data::U8(Arc::new($made)),
            Data::Bool($values) => Data::Bool(Arc::new($made)),
            Data::Text($values) => Data::Text(Arc::new($made)),
            Data::Small(small, $values) => Data::Small(*small, Arc::new($made)),
        }
    };
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        macro_rules! len {
            ($($name:ident)*) => {
                match self {
                    $(Self::$name(values) => values.len(),)*
                    Self::Small(_, values) => values.len(),
                }
            };
        }
        len!(F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 Bool Text)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Type {
        match self {
            Self::F64(_) => Type::F64,
            Self::F32(_) => Type::F32,
            Self::F16(_) => Type::F16,
            Self::BF16(_) => Type::BF16,
            Self::I64(_) => Type::I64,
            Self::I32(_) => Type::I32,
            Self::I16(_) => Type::I16,
            Self::I8(_) => Type::I8,
            Self::U64(_) => Type::U64,
            Self::U32(_) => Type::U32,
            Self::U16(_) => Type::U16,
            Self::U8(_) => Type::U8,
            Self::Bool(_) => Type::Bool,
            Self::Text(_) => Type::Text,
            Self::Small(small, _) => Type::Small(*small),
        }
    }

    /// No elements of this type.
    pub fn none(dtype: Type) -> Self {
        match dtype {
            Type::F64 => f64::wrap(vec![]),
            Type::F32 => f32::wrap(vec![]),
            Type::F16 => f16::wrap(vec![]),
            Type::BF16 => bf16::wrap(vec![]),
            Type::I64 => i64::wrap(vec![]),
            Type::I32 => i32::wrap(vec![]),
            Type::I16 => i16::wrap(vec![]),
            Type::I8 => i8::wrap(vec![]),
            Type::U64 => u64::wrap(vec![]),
            Type::U32 => u32::wrap(vec![]),
            Type::U16 => u16::wrap(vec![]),
            Type::U8 => u8::wrap(vec![]),
            Type::Bool => bool::wrap(vec![]),
            Type::Text => String::wrap(vec![]),
            Type::Small(small) => Self::Small(small, Arc::default()),
        }
    }
}

/// A float that heavy operators compute in: binary64 for itself, binary32 for the others.
pub trait Real: super::number::Number + num::Float {
    /// Elements of a float type, widened.
    fn of(data: &Data) -> Option<Cow<'_, [Self]>>;
    /// Rounded to a float type.
    fn narrow(values: Vec<Self>, dtype: Type) -> Data;
    /// Writes the product of two matrices, row-major.
    fn product(a: View<'_, Self>, b: View<'_, Self>, out: &mut [Self]);
}

mod num {
    use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

    /// Functions of real numbers that give the same bits on every platform.
    pub trait Float:
        Copy
        + Add<Output = Self>
        + Sub<Output = Self>
        + Mul<Output = Self>
        + Div<Output = Self>
        + Neg<Output = Self>
        + AddAssign
        + MulAssign
    {
        fn exp(self) -> Self;
        fn ln(self) -> Self;
        fn sqrt(self) -> Self;
        fn tanh(self) -> Self;
        fn powf(self, exponent: Self) -> Self;
        fn erf(self) -> Self;
        fn abs(self) -> Self;
        fn floor(self) -> Self;
        fn ceil(self) -> Self;
        fn is_nan(self) -> bool;
    }
    macro_rules! float {
        ($t:ty, $exp:path, $ln:path, $tanh:path, $pow:path, $erf:path) => {
            impl Float for $t {
                fn exp(self) -> Self {
                    $exp(self)
                }
                fn ln(self) -> Self {
                    $ln(self)
                }
                fn sqrt(self) -> Self {
                    <$t>::sqrt(self)
                }
                fn tanh(self) -> Self {
                    $tanh(self)
                }
                fn powf(self, exponent: Self) -> Self {
                    $pow(self, exponent)
                }
                fn erf(self) -> Self {
                    $erf(self)
                }
                fn abs(self) -> Self {
                    <$t>::abs(self)
                }
                fn floor(self) -> Self {
                    <$t>::floor(self)
                }
                fn ceil(self) -> Self {
                    <$t>::ceil(self)
                }
                fn is_nan(self) -> bool {
                    <$t>::is_nan(self)
                }
            }
        };
    }
    float!(f32, crate::run::math::exp, libm::logf, libm::tanhf, libm::powf, libm::erff);
    float!(f64, libm::exp, libm::log, libm::tanh, libm::pow, libm::erf);
}

impl Real for f32 {
    fn of(data: &Data) -> Option<Cow<'_, [Self]>> {
        Some(match data {
            Data::F32(values) => Cow::Borrowed(values),
            Data::F16(values) => Cow::Owned(values.iter().map(|x| x.to_f32()).collect()),
            Data::BF16(values) => Cow::Owned(values.iter().map(|x| x.to_f32()).collect()),
            _ => return None,
        })
    }

    fn narrow(values: Vec<Self>, dtype: Type) -> Data {
        match dtype {
            Type::F16 => f16::wrap(values.into_iter().map(f16::from_f32).collect()),
            Type::BF16 => bf16::wrap(values.into_iter().map(bf16::from_f32).collect()),
            _ => f32::wrap(values),
        }
    }

    fn product(a: View<'_, Self>, b: View<'_, Self>, out: &mut [Self]) {
        product::panels(a, b, out);
    }
}

impl Real for f64 {
    fn of(data: &Data) -> Option<Cow<'_, [Self]>> {
        match data {
            Data::F64(values) => Some(Cow::Borrowed(values)),
            _ => None,
        }
    }

    fn narrow(values: Vec<Self>, _: Type) -> Data {
        f64::wrap(values)
    }

    fn product(a: View<'_, Self>, b: View<'_, Self>, out: &mut [Self]) {
        product::plain(a, b, out);
    }
}

impl Array {
    /// Elements of a shape.
    ///
    /// # Errors
    /// Malformed if there are not as many as the shape has.
    pub fn new(shape: Vec<usize>, data: Data) -> Result<Self> {
        let count = shape.iter().try_fold(1usize, |count, dim| count.checked_mul(*dim));
        if count != Some(data.len()) {
            let found = data.len();
            return Err(Error::malformed(format!("found {found} elements, expected {shape:?}")));
        }
        Ok(Self { shape, data })
    }

    /// Elements of a Rust type.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of<T: Element>(shape: Vec<usize>, values: Vec<T>) -> Result<Self> {
        Self::new(shape, T::wrap(values))
    }

    /// Real numbers, rounded to a float type.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn rounded<R: Real>(dtype: Type, shape: Vec<usize>, values: Vec<R>) -> Result<Self> {
        Self::new(shape, R::narrow(values, dtype))
    }

    /// One element, without dimensions.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { shape: Vec::new(), data: T::wrap(vec![value]) }
    }

    /// Elements in one dimension.
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self { shape: vec![values.len()], data: T::wrap(values) }
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Type {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, if they are of this Rust type.
    ///
    /// # Errors
    /// Unsupported, saying what was found and expected.
    pub fn slice<T: Element>(&self) -> Result<&[T]> {
        let found = self.dtype();
        T::slice(&self.data).ok_or_else(|| {
            Error::unsupported(format!("found elements of {found}, expected {}", T::TYPE))
        })
    }

    /// The elements as real numbers to compute with.
    ///
    /// # Errors
    /// Unsupported unless they are floats that `R` holds.
    pub fn reals<R: Real>(&self) -> Result<Cow<'_, [R]>> {
        let found = self.dtype();
        R::of(&self.data).ok_or_else(|| {
            Error::unsupported(format!("found elements of {found}, expected {}", R::TYPE))
        })
    }

    /// The elements as 64-bit integers.
    ///
    /// # Errors
    /// Unsupported unless they are integers or bool.
    pub fn ints(&self) -> Result<Vec<i64>> {
        Ok(match &self.data {
            Data::I64(v) => v.to_vec(),
            Data::I32(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::I16(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::I8(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U64(v) => v.iter().map(|x| *x as i64).collect(),
            Data::U32(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U16(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::U8(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::Bool(v) => v.iter().map(|x| i64::from(*x)).collect(),
            Data::Small(small, v) if small.integers().is_some() => {
                v.iter().map(|code| small.decode(*code) as i64).collect()
            }
            _ => {
                let found = self.dtype();
                let text = format!("found elements of {found}, expected integers");
                return Err(Error::unsupported(text));
            }
        })
    }

    /// The elements as binary64; integers above 2^53 are rounded.
    ///
    /// # Errors
    /// Unsupported for text.
    pub fn numbers(&self) -> Result<Vec<f64>> {
        Ok(match &self.data {
            Data::F64(v) => v.to_vec(),
            Data::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            Data::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::BF16(v) => v.iter().map(|x| x.to_f64()).collect(),
            Data::U64(v) => v.iter().map(|x| *x as f64).collect(),
            Data::Small(small, v) => v.iter().map(|code| small.decode(*code).into()).collect(),
            _ => self.ints()?.into_iter().map(|x| x as f64).collect(),
        })
    }

    /// The elements as binary32.
    ///
    /// # Errors
    /// Unsupported for text.
    pub fn floats(&self) -> Result<Cow<'_, [f32]>> {
        match &self.data {
            Data::F32(_) | Data::F16(_) | Data::BF16(_) => self.reals(),
            _ => Ok(Cow::Owned(self.numbers()?.into_iter().map(|x| x as f32).collect())),
        }
    }

    /// Elements from their bytes, little-endian; each of the small types in a byte of its own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_bytes(dtype: Type, shape: Vec<usize>, bytes: &[u8]) -> Result<Self> {
        Self::new(shape, super::value::decode(dtype, bytes))
    }

    /// The bytes of the elements, as [`Self::from_bytes`] takes them. Text has none.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::value::encode(&self.data)
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reshaped(&self, shape: Vec<usize>) -> Result<Self> {
        Self::new(shape, self.data.clone())
    }

    /// The elements at these places, in a shape of as many.
    ///
    /// # Errors
    /// Malformed if a place lies outside.
    pub fn pick(&self, shape: Vec<usize>, places: &[usize]) -> Result<Self> {
        let len = self.len();
        if let Some(place) = places.iter().find(|place| **place >= len) {
            let text = format!("element {place} of {len} is asked for");
            return Err(Error::malformed(text));
        }
        let data = each_type!(&self.data, v => picked(v, places));
        Self::new(shape, data)
    }

    /// As [`Self::pick`]; `None` takes the one element of `fill`.
    ///
    /// # Errors
    /// Malformed if a place lies outside, or if `fill` is not one element of the same type.
    pub fn pick_or(
        &self,
        shape: Vec<usize>,
        places: impl Iterator<Item = Option<usize>>,
        fill: &Self,
    ) -> Result<Self> {
        let both = Self::joined(&[self, fill])?;
        let last = self.len();
        let places: Vec<usize> = places.map(|place| place.unwrap_or(last)).collect();
        both.pick(shape, &places)
    }

    /// The elements of several arrays of one type, one after the other.
    ///
    /// # Errors
    /// Malformed if the types differ.
    pub fn joined(parts: &[&Self]) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(Error::malformed("found no arrays, expected at least one"));
        };
        let mut data = Data::none(first.dtype());
        for part in parts {
            append(&mut data, &part.data)?;
        }
        Ok(Self { shape: vec![data.len()], data })
    }

    /// A range of the elements, in a shape of as many.
    ///
    /// # Errors
    /// Malformed if it lies outside.
    pub fn range(&self, from: usize, shape: Vec<usize>) -> Result<Self> {
        let count: usize = shape.iter().product();
        let Some(to) = from.checked_add(count).filter(|to| *to <= self.len()) else {
            let text = format!("elements from {from} of {} are asked for", self.len());
            return Err(Error::malformed(text));
        };
        let data = each_type!(&self.data, v => v[from..to].to_vec());
        Self::new(shape, data)
    }

    /// The value with its axes in the opposite order.
    ///
    /// # Errors
    /// None for an array that exists.
    pub fn transposed(&self) -> Result<Self> {
        let shape: Vec<usize> = self.shape.iter().rev().copied().collect();
        let steps: Vec<isize> = strides(&self.shape).into_iter().rev().collect();
        self.strided(&shape, &steps, 0)
    }

    /// The elements at `offset + Σ index · stride`, which must lie inside.
    pub(super) fn strided(
        &self,
        shape: &[usize],
        strides: &[isize],
        offset: usize,
    ) -> Result<Self> {
        let count: usize = shape.iter().product();
        if count == 0 {
            return Self::new(shape.to_vec(), Data::none(self.dtype()));
        }
        let data = each_type!(&self.data, v => collected(v, shape, strides, offset));
        Self::new(shape.to_vec(), data)
    }
}

fn append(to: &mut Data, from: &Data) -> Result<()> {
    macro_rules! add {
        ($($name:ident)*) => {
            match (to, from) {
                $((Data::$name(to), Data::$name(from)) => {
                    Arc::make_mut(to).extend_from_slice(from);
                    Ok(())
                })*
                (Data::Small(a, to), Data::Small(b, from)) if a == b => {
                    Arc::make_mut(to).extend_from_slice(from);
                    Ok(())
                }
                (to, from) => {
                    let (found, expected) = (from.dtype(), to.dtype());
                    let text = format!("found elements of {found}, expected {expected}");
                    Err(Error::malformed(text))
                }
            }
        };
    }
    add!(F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 Bool Text)
}

fn picked<T: Clone>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|place| values[*place].clone()).collect()
}

/// The elements of a shape at `offset + Σ index · stride`, row by row.
fn collected<T: Clone>(values: &[T], shape: &[usize], strides: &[isize], offset: usize) -> Vec<T> {
    let (inner, outer) = shape.split_last().map_or((1, shape), |(n, outer)| (*n, outer));
    let step = strides.last().copied().unwrap_or(1);
    let mut out = Vec::with_capacity(shape.iter().product());
    walk(outer, strides, offset, |start| {
        if step == 1 {
            out.extend_from_slice(&values[start..start + inner]);
        } else {
            let at = |i: usize| start.wrapping_add_signed(step.wrapping_mul(i as isize));
            out.extend((0..inner).map(|i| values[at(i)].clone()));
        }
    });
    out
}

/// Calls `visit` with the place of each index of `shape`, in order.
pub(super) fn walk(
    shape: &[usize],
    strides: &[isize],
    offset: usize,
    mut visit: impl FnMut(usize),
) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    let mut place = offset;
    loop {
        visit(place);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            place = place.wrapping_add_signed(strides[axis]);
            if index[axis] < shape[axis] {
                break;
            }
            let back = strides[axis].wrapping_mul(shape[axis] as isize);
            place = place.wrapping_add_signed(back.wrapping_neg());
            index[axis] = 0;
        }
    }
}

/// The distance of neighbours along each axis, row-major.
pub(super) fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1isize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].wrapping_mul(shape[axis] as isize);
    }
    strides
}
