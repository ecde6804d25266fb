//! Arithmetic that is the same for every type of numbers: integers wrap, halves round once.

use half::{bf16, f16};

use super::array::Element;

/// A number that operators compute with.
pub trait Number: Element + Copy + PartialOrd {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Less than or equal to every other number.
    const LEAST: Self;
    /// Greater than or equal to every other number.
    const GREATEST: Self;
    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The quotient; of integers towards zero, and 0 by zero.
    fn over(self, other: Self) -> Self;
    /// The remainder with the sign of the dividend; 0 by the integer zero.
    fn remainder(self, other: Self) -> Self;
    /// As binary64.
    fn to_f64(self) -> f64;
    /// From binary64: to nearest, or for integers towards zero and saturating.
    fn from_f64(x: f64) -> Self;

    /// The remainder with the sign of the divisor.
    fn modulo(self, other: Self) -> Self {
        let rest = self.remainder(other);
        let differs = (rest < Self::ZERO) != (other < Self::ZERO);
        if rest != Self::ZERO && differs { rest.plus(other) } else { rest }
    }

    /// The distance from 0; of the least signed integer, itself.
    fn magnitude(self) -> Self {
        if self < Self::ZERO { Self::ZERO.minus(self) } else { self.plus(Self::ZERO) }
    }

    /// The lesser; NaN if either is.
    fn lesser(self, other: Self) -> Self {
        if self < other || self.is_unordered() { self } else { other }
    }

    /// The greater; NaN if either is.
    fn greater(self, other: Self) -> Self {
        if self > other || self.is_unordered() { self } else { other }
    }

    /// Whether this is NaN.
    fn is_unordered(self) -> bool {
        self.partial_cmp(&self).is_none()
    }
}

macro_rules! integer {
    ($($t:ty)*) => { $(
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LEAST: Self = <$t>::MIN;
            const GREATEST: Self = <$t>::MAX;
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn over(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            fn remainder(self, other: Self) -> Self {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn from_f64(x: f64) -> Self {
                x as Self
            }
        }
    )* };
}
integer!(i64 i32 i16 i8 u64 u32 u16 u8);

macro_rules! real {
    ($t:ty, $zero:expr, $one:expr, $infinity:expr, $to:expr, $from:expr) => {
        impl Number for $t {
            const ZERO: Self = $zero;
            const ONE: Self = $one;
            const LEAST: Self = $infinity.1;
            const GREATEST: Self = $infinity.0;
            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn over(self, other: Self) -> Self {
                self / other
            }
            fn remainder(self, other: Self) -> Self {
                self % other
            }
            fn to_f64(self) -> f64 {
                $to(self)
            }
            fn from_f64(x: f64) -> Self {
                $from(x)
            }
        }
    };
}
real!(f64, 0.0, 1.0, (f64::INFINITY, f64::NEG_INFINITY), |x| x, |x| x);
real!(f32, 0.0, 1.0, (f32::INFINITY, f32::NEG_INFINITY), f64::from, |x| x as f32);
real!(f16, f16::ZERO, f16::ONE, (f16::INFINITY, f16::NEG_INFINITY), f64::from, f16::from_f64);
real!(bf16, bf16::ZERO, bf16::ONE, (bf16::INFINITY, bf16::NEG_INFINITY), f64::from, bf16::from_f64);

/// Runs code with a name for a Rust type, by the type of some elements.
macro_rules! with_type {
    ($dtype:expr, $T:ident => $body:expr, else $expected:literal,
     $($($of:ident)|+ : $as:ty),+ $(,)?) => {{
        use $crate::run::graph::types::Type;
        match $dtype {
            $($(Type::$of)|+ => {
                type $T = $as;
                $body
            })+
            found => {
                let text = format!("found elements of {found}, expected {}", $expected);
                Err($crate::ir::Error::unsupported(text))
            }
        }
    }};
}
pub(super) use with_type;

/// Runs code with a name for the Rust type of some elements, which must be numbers.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::run::graph::number::with_type!(
            $dtype, $T => $body, else "numbers",
            F64: f64, F32: f32, F16: half::f16, BF16: half::bf16, I64: i64, I32: i32, I16: i16,
            I8: i8, U64: u64, U32: u32, U16: u16, U8: u8,
        )
    };
}
pub(super) use with_number;

/// Runs code with a name for the type that floats are computed in.
macro_rules! with_real {
    ($dtype:expr, $R:ident => $body:expr) => {
        $crate::run::graph::number::with_type!(
            $dtype, $R => $body, else "floats", F64: f64, F32 | F16 | BF16: f32,
        )
    };
}
pub(super) use with_real;
