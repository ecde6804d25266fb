//! One loop, compiled for several instruction sets, chosen when it is called.
//!
//! Every copy gives the same bits: Rust neither reorders nor fuses floating-point operations, so
//! wider registers change only how many of them happen at once. What is to be fused is written
//! `mul_add`, which the portable copy computes as exactly, if slowly.
//!
//! This is the only file with `unsafe` code for the sake of speed.

use std::ffi::OsStr;
use std::sync::OnceLock;

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
