//! Arithmetic on lengths and offsets that cannot wrap.

/// The product of all dimensions, or nothing if it does not fit in 64 bits.
///
/// A zero anywhere gives zero only if the product of the others fits: a shape such as
/// `[2^40, 2^40, 0]` is not a real tensor, and code after this multiplies in other orders.
pub fn product(dims: &[u64]) -> Option<u64> {
    let mut positive = dims.iter().filter(|&&dim| dim != 0);
    let count = positive.try_fold(1u64, |n, &dim| n.checked_mul(dim))?;
    Some(if dims.contains(&0) { 0 } else { count })
}

/// The least multiple of `align` that is not below `offset`.
pub fn align_up(offset: u64, align: u64) -> Option<u64> {
    match offset.checked_rem(align)? {
        0 => Some(offset),
        over => offset.checked_add(align.checked_sub(over)?),
    }
}

/// The end of `len` bytes at `start`, if it lies within `size` bytes.
pub fn fits(start: u64, len: u64, size: u64) -> Option<u64> {
    start.checked_add(len).filter(|&end| end <= size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_do_not_wrap() {
        assert_eq!(product(&[]), Some(1));
        assert_eq!(product(&[2, 3, 4]), Some(24));
        assert_eq!(product(&[1 << 32, 1 << 32]), None);
        assert_eq!(product(&[1 << 40, 0, 1 << 40]), None);
        assert_eq!(product(&[1 << 40, 0]), Some(0));
    }

    #[test]
    fn alignment_does_not_wrap() {
        assert_eq!(align_up(33, 32), Some(64));
        assert_eq!(align_up(64, 32), Some(64));
        assert_eq!(align_up(u64::MAX, 32), None);
        assert_eq!(align_up(1, 0), None);
    }

    #[test]
    fn ranges_stay_inside() {
        assert_eq!(fits(4, 4, 8), Some(8));
        assert_eq!(fits(4, 5, 8), None);
        assert_eq!(fits(u64::MAX, 1, u64::MAX), None);
    }
}
