//! Parts of a buffer, each worked on by itself, on any number of threads.

use rayon::prelude::*;

/// Calls `work` with the number of each part of `len` elements, and the part. One instance serves
/// all work on a type, so that an operator costs the compiler no threads of its own.
pub(super) fn each_part<T: Send>(
    out: &mut [T],
    len: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    out.par_chunks_mut(len.max(1)).enumerate().for_each(|(index, part)| work(index, part));
}
