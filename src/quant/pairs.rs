//! Levels of two bits in ggml's order: each half of a block, 128 weights, is four runs of 32, and byte
//! `i` of its 32 holds weight `i` of all four, the first in the lowest bits.

/// The two-bit levels of a block.
#[inline(always)]
pub(super) fn put(levels: &[u8; 256], out: &mut [u8; 64]) {
    for (levels, out) in levels.as_chunks::<128>().0.iter().zip(out.as_chunks_mut::<32>().0) {
        for i in 0..32 {
            out[i] = levels[i] | levels[i + 32] << 2 | levels[i + 64] << 4 | levels[i + 96] << 6;
        }
    }
}

/// The levels of one of the eight runs.
#[inline(always)]
pub(super) fn get(bytes: &[u8; 64], run: usize) -> [u8; 32] {
    let half = &bytes[run / 4 * 32..][..32];
    std::array::from_fn(|i| half[i] >> (2 * (run % 4)) & 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_back_from_where_ggml_puts_them() {
        let levels: [u8; 256] = std::array::from_fn(|i| (i * 7 / 5 % 4) as u8);
        let mut bytes = [0; 64];
        put(&levels, &mut bytes);
        assert_eq!(bytes[33] & 3, levels[129]);
        assert_eq!(bytes[33] >> 6, levels[225]);
        for run in 0..8 {
            assert_eq!(get(&bytes, run), levels[32 * run..][..32]);
        }
    }
}
