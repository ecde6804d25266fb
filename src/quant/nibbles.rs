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
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

/// The fifth bit of each level.
#[inline(always)]
pub(super) fn put_fifth(levels: &[u8; 32]) -> [u8; 4] {
    let bits = levels.iter().enumerate();
    bits.fold(0, |bits, (i, level)| bits | u32::from(level >> 4 & 1) << i).to_le_bytes()
}

/// The five-bit levels.
#[inline(always)]
pub(super) fn get_five(fifth: [u8; 4], bytes: &[u8; 16]) -> [u8; 32] {
    let fifth = u32::from_le_bytes(fifth);
    let mut levels = get(bytes);
    for (i, level) in levels.iter_mut().enumerate() {
        *level |= ((fifth >> i & 1) << 4) as u8;
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
