//! Levels of four and five bits in ggml's order: byte `j` holds weights `j` and `j + 16`, and the
//! fifth bits of 32 weights are a little-endian `u32`, bit `i` for weight `i`.

/// The low four bits of each level; higher bits of the second half are lost.
#[inline(always)]
pub(super) fn put(levels: &[u8; 32], out: &mut [u8; 16]) {
    let (low, high) = levels.split_at(16);
    for (out, (low, high)) in out.iter_mut().zip(low.iter().zip(high)) {
        *out = low & 15 | high << 4;
    }
}

/// The four-bit levels.
#[inline(always)]
pub(super) fn get(bytes: &[u8; 16]) -> [u8; 32] {
    let mut levels = [0; 32];
    let (low, high) = levels.split_at_mut(16);
    for (low, byte) in low.iter_mut().zip(bytes) {
        *low = byte & 15;
    }
    for (high, byte) in high.iter_mut().zip(bytes) {
        *high = byte >> 4;
    }
    levels
}

/// The fifth bit of each level.
#[inline(always)]
pub(super) fn put_fifth(levels: &[u8; 32]) -> [u8; 4] {
    let mut bits = 0;
    for (i, level) in levels.iter().enumerate() {
        bits |= u32::from(level >> 4 & 1) << i;
    }
    bits.to_le_bytes()
}

/// The five-bit levels.
#[inline(always)]
pub(super) fn get_five(fifth: [u8; 4], bytes: &[u8; 16]) -> [u8; 32] {
    let fifth = u32::from_le_bytes(fifth);
    let bits: [u32; 32] = std::array::from_fn(|i| (fifth >> i & 1) << 4);
    let mut levels = get(bytes);
    for (level, bit) in levels.iter_mut().zip(bits) {
        *level |= bit as u8;
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_come_back_from_where_ggml_puts_them() {
        let levels = std::array::from_fn(|i| i as u8);
        let mut bytes = [0; 16];
        put(&levels, &mut bytes);
        assert_eq!((bytes[0], bytes[3], bytes[15]), (0x00, 0x33, 0xff));
        assert_eq!(put_fifth(&levels), [0, 0, 0xff, 0xff]);
        assert_eq!(get_five(put_fifth(&levels), &bytes), levels);
        assert_eq!(get(&bytes), levels.map(|l| l & 15));
    }
}
