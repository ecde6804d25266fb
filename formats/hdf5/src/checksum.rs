//! The checksum of metadata: `hashlittle` of Bob Jenkins' lookup3, with an initial value of 0.
//!
//! Source: <http://burtleburtle.net/bob/c/lookup3.c>, which is in the public domain.

/// The checksum of these bytes.
pub fn lookup3(bytes: &[u8]) -> u32 {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = 0xdead_beef_u32.wrapping_add(len);
    let mut state = [start; 3];
    let mut rest = bytes;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        state = mix(add(state, block));
        rest = after;
    }
    if rest.is_empty() {
        return state[2];
    }
    last(add(state, rest))[2]
}

/// Adds up to twelve bytes, as three little-endian words filled up with zeros.
fn add(state: [u32; 3], bytes: &[u8]) -> [u32; 3] {
    let mut block = [0u8; 12];
    for (to, from) in block.iter_mut().zip(bytes) {
        *to = *from;
    }
    let mut words = block
        .chunks_exact(4)
        .map(|word| word.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte)));
    state.map(|state| state.wrapping_add(words.next().unwrap_or(0)))
}

fn mix([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    a = a.wrapping_sub(c) ^ c.rotate_left(4);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(6);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(8);
    b = b.wrapping_add(a);
    a = a.wrapping_sub(c) ^ c.rotate_left(16);
    c = c.wrapping_add(b);
    b = b.wrapping_sub(a) ^ a.rotate_left(19);
    a = a.wrapping_add(c);
    c = c.wrapping_sub(b) ^ b.rotate_left(4);
    b = b.wrapping_add(a);
    [a, b, c]
}

fn last([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::lookup3;

    /// The values that lookup3.c's own self test states for an initial value of 0.
    #[test]
    fn as_the_author_states() {
        assert_eq!(lookup3(b""), 0xdead_beef);
        assert_eq!(lookup3(b"Four score and seven years ago"), 0x1777_0551);
    }
}
