//! Levels of four and five bits in ggml's order: byte `j` holds weights `j` and `j + 16`, and the
//! fifth bits of 32 weights are a little-endian `u32`, bit `i` for weight `i`.

/// The low four bits of each level.
///
/// Eight bytes at a time, as one number: byte by byte, the compiler mixes them with what lies beside.
#[inline(always)]
pub(super) fn put(levels: &[u8; 32], out: &mut [u8; 16]) {
    const LOW: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    let (low, high) = levels.split_at(16);
    let eights = low.as_chunks().0.iter().zip(high.as_chunks().0);
    for (out, (low, high)) in out.as_chunks_mut().0.iter_mut().zip(eights) {
        let (low, high) = (u64::from_le_bytes(*low), u64::from_le_bytes(*high));
        *out = (low & LOW | (high & LOW) << 4).to_le_bytes();
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
    let mut fifth = [0; 4];
    for (fifth, eight) in fifth.iter_mut().zip(levels.as_chunks().0) {
        let bits = u64::from_le_bytes(*eight) >> 4 & 0x0101_0101_0101_0101;
        // The sum of eight shifts: that by 56 - 7 i brings the bit of byte i to place 56 + i.
        *fifth = (bits.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    }
    fifth
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
