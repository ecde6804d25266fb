//! One loop, compiled for several instruction sets, chosen when it is called, and the registers of
//! those for which the compiler does not find the instructions by itself: see [`Wide`](super::wide::Wide).
//!
//! Every copy gives the same bits: Rust neither reorders nor fuses floating-point operations, so
//! wider registers change only how many of them happen at once. What is to be fused is written
//! `mul_add`, which the portable copy computes as exactly, if slowly.
//!
//! This is the only file with `unsafe` code for the sake of speed.

use std::ffi::OsStr;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;

use super::{Error, Result};

/// The variable of the environment that asks for a level other than the best of the machine.
pub(crate) const VARIABLE: &str = "REMOLD_SIMD";

/// What [`choose`] chose, else the best.
static CHOSEN: OnceLock<Isa> = OnceLock::new();

/// An instruction set that this machine has: only this file makes one, after having asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// What every processor of the target has.
    Portable,
    /// x86-64-v3: 256 bits, fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64-v4: 512 bits.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// All that this machine has, the best first.
    fn all() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let wide = {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma") && has!("f16c");
            let avx512 =
                avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
            [avx512.then_some(Level::Avx512), avx2.then_some(Level::Avx2)]
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None, None];
        wide.into_iter().flatten().chain([Level::Portable]).map(Self)
    }

    fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
        }
    }

    /// The best that this machine has, unless another was chosen. The processor is asked once;
    /// later calls read an atomic.
    #[inline]
    pub(crate) fn best() -> Self {
        #[cfg(test)]
        if let Some(forced) = tests::FORCED.get() {
            return forced;
        }
        *CHOSEN.get_or_init(|| Self::all().next().unwrap_or(Self(Level::Portable)))
    }

    #[inline]
    pub(crate) fn level(self) -> Level {
        self.0
    }
}

/// Has everything computed with the instruction set of this name, from the first kernel on. The
/// bytes are the same with each: whoever doubts that compares them.
///
/// # Errors
/// Usage for a name that is none, or of what this machine lacks.
pub(crate) fn choose(name: &OsStr) -> Result<()> {
    let Some(isa) = Isa::all().find(|isa| name == isa.name()) else {
        let names: Vec<&str> = Isa::all().map(Isa::name).collect();
        let (found, known) = (name.display(), names.join(", "));
        return Err(Error::usage(format!("{VARIABLE}={found}: this machine has {known}")));
    };
    match *CHOSEN.get_or_init(|| isa) == isa {
        true => Ok(()),
        false => Err(Error::bug(format!("{VARIABLE} is asked for after the first kernel"))),
    }
}

/// Asks for bytes that will be read soon. The processor does not look ahead beyond a page by itself.
#[inline]
pub(crate) fn prefetch(bytes: &[u8]) {
    const LINE: usize = 64;
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(LINE) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: of every x86-64; an address of a slice, and nothing is read through it.
        #[allow(unsafe_code, reason = "a hint that changes nothing but time")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, LINE);
}

/// Defines a function that runs `body`, an `#[inline(always)]` function, with the best
/// instructions of this machine.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                $body($($arg),*)
            }
            #[allow(unsafe_code, reason = "calling code for an instruction set that was asked for")]
            match $crate::ir::simd::Isa::best().level() {
                $crate::ir::simd::Level::Portable => $body($($arg),*),
                // SAFETY: an `Isa` exists only for what the processor said it has.
                #[cfg(target_arch = "x86_64")]
                $crate::ir::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ir::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(crate) use dispatch;

/// Defines a function that runs `body`, an `#[inline(always)]` function over a [`Wide`], its first
/// argument, with the best registers of this machine.
macro_rules! widest {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$(const $len:ident: $of:ty),*>
        ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis fn $name<$(const $len: $of),*>($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn avx2<$(const $len: $of),*>(w: $crate::ir::simd::Avx2, $($arg: $ty),*) $(-> $ret)? {
                $body::<_, $($len),*>(w, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn avx512<$(const $len: $of),*>(w: $crate::ir::simd::Avx512, $($arg: $ty),*) $(-> $ret)? {
                $body::<_, $($len),*>(w, $($arg),*)
            }
            use $crate::ir::simd::{Isa, Level};
            let isa = Isa::best();
            #[allow(unsafe_code, reason = "calling code for an instruction set that was asked for")]
            match isa.level() {
                Level::Portable => $body::<_, $($len),*>($crate::ir::wide::Portable, $($arg),*),
                // SAFETY: an `Isa` exists only for what the processor said it has.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => unsafe {
                    avx2::<$($len),*>($crate::ir::simd::Avx2::on(isa), $($arg),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => unsafe {
                    avx512::<$($len),*>($crate::ir::simd::Avx512::on(isa), $($arg),*)
                },
            }
        }
    };
}
pub(crate) use widest;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! [`Wide`] in pairs of registers of 256 bits.
    #![allow(
        unsafe_code,
        reason = "an `Avx2` exists only where the processor has its instructions"
    )]

    use std::arch::x86_64::*;

    use super::{Isa, Level};
    use crate::ir::wide::{HALF, LANES, Mask, Wide};

    /// x86-64-v3, of a processor that has it.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// # Panics
        ///
        /// If the machine is not known to have these instructions.
        #[inline(always)]
        pub(crate) fn on(isa: Isa) -> Self {
            assert!(isa.level() == Level::Avx2);
            Self(())
        }
    }

    /// Instructions that only an [`Avx2`] leads to.
    macro_rules! instructions {
        ($expression:expr) => {
            // SAFETY: whoever has an `Avx2` has asked the processor for these; pointers are those of
            // arrays that are read or written as a whole.
            unsafe { $expression }
        };
    }

    /// Floats of the first eight lanes and of the others.
    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];

    /// The halves of sixteen numbers.
    #[inline(always)]
    fn parts<T>(of: &[T; LANES]) -> [&[T; HALF]; 2] {
        let parts = of.as_chunks().0;
        [&parts[0], &parts[1]]
    }

    /// One instruction on both halves.
    macro_rules! both {
        ($instruction:ident($($arg:ident),*)) => {
            [instructions!($instruction($($arg[0]),*)), instructions!($instruction($($arg[1]),*))]
        };
    }

    /// The bits of a comparison.
    #[inline(always)]
    fn mask([low, high]: Floats) -> Mask {
        let (low, high) =
            (instructions!(_mm256_movemask_ps(low)), instructions!(_mm256_movemask_ps(high)));
        low as u32 | (high as u32) << 8
    }

    /// All bits of the lanes whose bit of eight is set.
    #[inline(always)]
    fn lanes_of(mask: Mask) -> __m256 {
        instructions!({
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let of_lane = _mm256_and_si256(_mm256_set1_epi32(mask as i32), bits);
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(of_lane, bits))
        })
    }

    /// The least of eight, in each lane.
    #[inline(always)]
    fn least_of_eight(of: __m256) -> __m256 {
        instructions!({
            let four = _mm256_min_ps(of, _mm256_permute2f128_ps::<0x01>(of, of));
            let two = _mm256_min_ps(four, _mm256_permute_ps::<0b01_00_11_10>(four));
            _mm256_min_ps(two, _mm256_permute_ps::<0b10_11_00_01>(two))
        })
    }

    impl Wide for Avx2 {
        const NARROW: bool = false;

        type Floats = Floats;
        type Ints = Ints;

        #[inline(always)]
        fn splat(self, x: f32) -> Floats {
            [instructions!(_mm256_set1_ps(x)); 2]
        }
        #[inline(always)]
        fn halves(self, x: [f32; 2]) -> Floats {
            [instructions!(_mm256_set1_ps(x[0])), instructions!(_mm256_set1_ps(x[1]))]
        }
        #[inline(always)]
        fn load(self, from: &[f32; LANES]) -> Floats {
            let [low, high] = parts(from);
            [
                instructions!(_mm256_loadu_ps(low.as_ptr())),
                instructions!(_mm256_loadu_ps(high.as_ptr())),
            ]
        }
        #[inline(always)]
        fn store(self, x: Floats, to: &mut [f32; LANES]) {
            for (x, to) in x.into_iter().zip(to.as_chunks_mut::<8>().0) {
                instructions!(_mm256_storeu_ps(to.as_mut_ptr(), x));
            }
        }
        #[inline(always)]
        fn spread<const TIMES: usize>(self, from: &[f32; HALF]) -> Floats {
            const { assert!(TIMES == 2 || TIMES == 4) };
            instructions!({
                let from = _mm256_loadu_ps(from.as_ptr());
                let [low, high] = match TIMES {
                    2 => [
                        _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3),
                        _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7),
                    ],
                    _ => [
                        _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1),
                        _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3),
                    ],
                };
                [_mm256_permutevar8x32_ps(from, low), _mm256_permutevar8x32_ps(from, high)]
            })
        }

        #[inline(always)]
        fn add(self, a: Floats, b: Floats) -> Floats {
            both!(_mm256_add_ps(a, b))
        }
        #[inline(always)]
        fn sub(self, a: Floats, b: Floats) -> Floats {
            both!(_mm256_sub_ps(a, b))
        }
        #[inline(always)]
        fn mul(self, a: Floats, b: Floats) -> Floats {
            both!(_mm256_mul_ps(a, b))
        }

        #[inline(always)]
        fn lower(self, a: Floats, b: Floats) -> Floats {
            both!(_mm256_min_ps(a, b))
        }
        #[inline(always)]
        fn higher(self, a: Floats, b: Floats) -> Floats {
            both!(_mm256_max_ps(a, b))
        }
        #[inline(always)]
        fn least_of_half(self, of: Floats) -> Floats {
            [least_of_eight(of[0]), least_of_eight(of[1])]
        }
        #[inline(always)]
        fn least(self, of: Floats) -> f32 {
            let eight = instructions!(_mm256_min_ps(of[0], of[1]));
            instructions!(_mm256_cvtss_f32(least_of_eight(eight)))
        }
        #[inline(always)]
        fn greatest(self, of: Floats) -> f32 {
            // The greatest is the least but for its sign.
            let minus = self.splat(-0.0);
            -self.least(both!(_mm256_xor_ps(of, minus)))
        }
        #[inline(always)]
        fn about_quotient(self, a: Floats, b: Floats) -> Floats {
            self.mul(a, both!(_mm256_rcp_ps(b)))
        }

        #[inline(always)]
        fn less(self, a: Floats, b: Floats) -> Mask {
            mask([
                instructions!(_mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
                instructions!(_mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
            ])
        }
        #[inline(always)]
        fn at_most(self, a: Floats, b: Floats) -> Mask {
            mask([
                instructions!(_mm256_cmp_ps::<_CMP_LE_OQ>(a[0], b[0])),
                instructions!(_mm256_cmp_ps::<_CMP_LE_OQ>(a[1], b[1])),
            ])
        }
        #[inline(always)]
        fn choose(self, mask: Mask, a: Floats, b: Floats) -> Floats {
            let [low, high] = [lanes_of(mask), lanes_of(mask >> 8)];
            [
                instructions!(_mm256_blendv_ps(b[0], a[0], low)),
                instructions!(_mm256_blendv_ps(b[1], a[1], high)),
            ]
        }

        #[inline(always)]
        fn bits(self, of: Floats) -> Ints {
            both!(_mm256_castps_si256(of))
        }
        #[inline(always)]
        fn splat_int(self, x: i32) -> Ints {
            [instructions!(_mm256_set1_epi32(x)); 2]
        }
        #[inline(always)]
        fn add_int(self, a: Ints, b: Ints) -> Ints {
            both!(_mm256_add_epi32(a, b))
        }
        #[inline(always)]
        fn and(self, a: Ints, b: Ints) -> Ints {
            both!(_mm256_and_si256(a, b))
        }
        #[inline(always)]
        fn min_int(self, a: Ints, b: Ints) -> Ints {
            both!(_mm256_min_epi32(a, b))
        }
        #[inline(always)]
        fn max_int(self, a: Ints, b: Ints) -> Ints {
            both!(_mm256_max_epi32(a, b))
        }
        #[inline(always)]
        fn shift_left<const BITS: u32>(self, x: Ints) -> Ints {
            let count = instructions!(_mm_cvtsi32_si128(BITS as i32));
            let count = [count; 2];
            both!(_mm256_sll_epi32(x, count))
        }
        #[inline(always)]
        fn shift_right<const BITS: u32>(self, x: Ints) -> Ints {
            let count = instructions!(_mm_cvtsi32_si128(BITS as i32));
            let count = [count; 2];
            both!(_mm256_srl_epi32(x, count))
        }

        #[inline(always)]
        fn widen(self, from: &[u16; LANES]) -> Ints {
            let [low, high] = parts(from);
            [
                instructions!(_mm256_cvtepu16_epi32(_mm_loadu_si128(low.as_ptr().cast()))),
                instructions!(_mm256_cvtepu16_epi32(_mm_loadu_si128(high.as_ptr().cast()))),
            ]
        }
        #[inline(always)]
        fn narrow(self, x: Ints, to: &mut [u16; LANES]) {
            instructions!({
                let low = _mm256_set1_epi32(0xffff);
                let (a, b) = (_mm256_and_si256(x[0], low), _mm256_and_si256(x[1], low));
                // Packed within halves of 128 bits, which are then put in order.
                let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(a, b));
                _mm256_storeu_si256(to.as_mut_ptr().cast(), packed);
            });
        }
        #[inline(always)]
        fn differ(self, a: &[u16; LANES], b: &[u16; LANES]) -> Mask {
            let same = instructions!({
                let a = _mm256_loadu_si256(a.as_ptr().cast());
                let same = _mm256_cmpeq_epi16(a, _mm256_loadu_si256(b.as_ptr().cast()));
                let (low, high) =
                    (_mm256_castsi256_si128(same), _mm256_extracti128_si256::<1>(same));
                _mm_movemask_epi8(_mm_packs_epi16(low, high))
            });
            same as u32 ^ 0xffff
        }

        #[inline(always)]
        fn twice<const N: usize>(self, from: &[u16; HALF]) -> Ints {
            [instructions!(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()))); 2]
        }
        #[inline(always)]
        fn pick<const N: usize>(self, tables: Floats, index: Ints) -> Floats {
            if N == 4 {
                both!(_mm256_permutevar8x32_ps(tables, index))
            } else {
                both!(_mm256_permutevar_ps(tables, index))
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    //! [`Wide`] in registers of 512 bits.
    #![allow(
        unsafe_code,
        reason = "an `Avx512` exists only where the processor has its instructions"
    )]

    use std::arch::x86_64::*;

    use super::{Isa, Level};
    use crate::ir::wide::{HALF, LANES, Mask, Wide};

    /// x86-64-v4, of a processor that has it.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    impl Avx512 {
        /// # Panics
        ///
        /// If the machine is not known to have these instructions.
        #[inline(always)]
        pub(crate) fn on(isa: Isa) -> Self {
            assert!(isa.level() == Level::Avx512);
            Self(())
        }
    }

    /// Instructions that only an [`Avx512`] leads to.
    macro_rules! instructions {
        ($expression:expr) => {
            // SAFETY: whoever has an `Avx512` has asked the processor for these; pointers are those of
            // arrays that are read or written as a whole.
            unsafe { $expression }
        };
    }

    impl Wide for Avx512 {
        const NARROW: bool = false;

        type Floats = __m512;
        type Ints = __m512i;

        #[inline(always)]
        fn splat(self, x: f32) -> __m512 {
            instructions!(_mm512_set1_ps(x))
        }
        #[inline(always)]
        fn halves(self, x: [f32; 2]) -> __m512 {
            instructions!(_mm512_mask_blend_ps(0xff00, _mm512_set1_ps(x[0]), _mm512_set1_ps(x[1])))
        }
        #[inline(always)]
        fn load(self, from: &[f32; LANES]) -> __m512 {
            instructions!(_mm512_loadu_ps(from.as_ptr()))
        }
        #[inline(always)]
        fn store(self, x: __m512, to: &mut [f32; LANES]) {
            instructions!(_mm512_storeu_ps(to.as_mut_ptr(), x));
        }
        #[inline(always)]
        fn spread<const TIMES: usize>(self, from: &[f32; HALF]) -> __m512 {
            const { assert!(TIMES == 2 || TIMES == 4) };
            instructions!({
                let from = _mm512_castps256_ps512(_mm256_loadu_ps(from.as_ptr()));
                let lanes = match TIMES {
                    2 => _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                    _ => _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3),
                };
                _mm512_permutexvar_ps(lanes, from)
            })
        }

        #[inline(always)]
        fn add(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_add_ps(a, b))
        }
        #[inline(always)]
        fn sub(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_sub_ps(a, b))
        }
        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_mul_ps(a, b))
        }

        #[inline(always)]
        fn lower(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_min_ps(a, b))
        }
        #[inline(always)]
        fn higher(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_max_ps(a, b))
        }
        #[inline(always)]
        fn least_of_half(self, of: __m512) -> __m512 {
            instructions!({
                let four = _mm512_min_ps(of, _mm512_shuffle_f32x4::<0b10_11_00_01>(of, of));
                let two = _mm512_min_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
                _mm512_min_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two))
            })
        }
        #[inline(always)]
        fn least(self, of: __m512) -> f32 {
            instructions!(_mm512_reduce_min_ps(of))
        }
        #[inline(always)]
        fn greatest(self, of: __m512) -> f32 {
            instructions!(_mm512_reduce_max_ps(of))
        }
        #[inline(always)]
        fn about_quotient(self, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_mul_ps(a, _mm512_rcp14_ps(b)))
        }

        #[inline(always)]
        fn less(self, a: __m512, b: __m512) -> Mask {
            instructions!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)).into()
        }
        #[inline(always)]
        fn at_most(self, a: __m512, b: __m512) -> Mask {
            instructions!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b)).into()
        }
        #[inline(always)]
        fn choose(self, mask: Mask, a: __m512, b: __m512) -> __m512 {
            instructions!(_mm512_mask_blend_ps(mask as u16, b, a))
        }

        #[inline(always)]
        fn bits(self, of: __m512) -> __m512i {
            instructions!(_mm512_castps_si512(of))
        }
        #[inline(always)]
        fn splat_int(self, x: i32) -> __m512i {
            instructions!(_mm512_set1_epi32(x))
        }
        #[inline(always)]
        fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
            instructions!(_mm512_add_epi32(a, b))
        }
        #[inline(always)]
        fn and(self, a: __m512i, b: __m512i) -> __m512i {
            instructions!(_mm512_and_si512(a, b))
        }
        #[inline(always)]
        fn min_int(self, a: __m512i, b: __m512i) -> __m512i {
            instructions!(_mm512_min_epi32(a, b))
        }
        #[inline(always)]
        fn max_int(self, a: __m512i, b: __m512i) -> __m512i {
            instructions!(_mm512_max_epi32(a, b))
        }
        #[inline(always)]
        fn shift_left<const BITS: u32>(self, x: __m512i) -> __m512i {
            instructions!(_mm512_slli_epi32::<BITS>(x))
        }
        #[inline(always)]
        fn shift_right<const BITS: u32>(self, x: __m512i) -> __m512i {
            instructions!(_mm512_srli_epi32::<BITS>(x))
        }

        #[inline(always)]
        fn widen(self, from: &[u16; LANES]) -> __m512i {
            instructions!(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast())))
        }
        #[inline(always)]
        fn narrow(self, x: __m512i, to: &mut [u16; LANES]) {
            instructions!(_mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(x)));
        }
        #[inline(always)]
        fn differ(self, a: &[u16; LANES], b: &[u16; LANES]) -> Mask {
            instructions!({
                let a = _mm256_loadu_si256(a.as_ptr().cast());
                _mm256_cmpneq_epi16_mask(a, _mm256_loadu_si256(b.as_ptr().cast()))
            })
            .into()
        }

        #[inline(always)]
        fn twice<const N: usize>(self, from: &[u16; HALF]) -> __m512i {
            instructions!({
                let half = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
                let both = _mm512_broadcast_i32x8(half);
                if N == 4 {
                    // A fourth bit to each index of three: the second table.
                    _mm512_mask_or_epi32(both, 0xff00, both, _mm512_set1_epi32(0x8888))
                } else {
                    both
                }
            })
        }
        #[inline(always)]
        fn pick<const N: usize>(self, tables: __m512, index: __m512i) -> __m512 {
            if N == 4 {
                instructions!(_mm512_permutexvar_ps(index, tables))
            } else {
                instructions!(_mm512_permutevar_ps(tables, index))
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::Isa;

    thread_local! {
        pub(super) static FORCED: Cell<Option<Isa>> = const { Cell::new(None) };
    }

    /// What `compute` gives on each instruction set of this machine, the portable one last.
    pub(crate) fn on_each<T>(mut compute: impl FnMut() -> T) -> Vec<(Isa, T)> {
        let results = Isa::all().map(|isa| {
            FORCED.set(Some(isa));
            (isa, compute())
        });
        let results = results.collect();
        FORCED.set(None);
        results
    }
}
