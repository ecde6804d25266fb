//! Pieces by their beginnings: which of them a text begins with.

/// No token.
const NONE: u32 = u32::MAX;

/// A tree of bytes. The children of a node stand together, by rising byte.
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// The byte that leads to each node.
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Node {
    /// The piece that ends here.
    token: u32,
    children: u32,
    count: u32,
}

impl Trie {
    /// Of pieces with one text, the last counts.
    pub(super) fn new<'p>(pieces: impl Iterator<Item = (&'p str, u32)>) -> Self {
        let mut pieces: Vec<(&[u8], u32)> =
            pieces.map(|(text, id)| (text.as_bytes(), id)).collect();
        pieces.sort_by_key(|(text, _)| *text);
        let root = Node { token: NONE, children: 0, count: 0 };
        let mut out = Self { nodes: vec![root], bytes: vec![0] };
        // The pieces below each node that has not been filled yet, by their places.
        let mut ranges = vec![(0, pieces.len())];
        let mut depth = 0;
        let mut level = 0..1;
        while !level.is_empty() {
            let next = out.nodes.len();
            for at in level.clone() {
                out.fill(at, &pieces, depth, &mut ranges);
            }
            level = next..out.nodes.len();
            depth += 1;
        }
        out
    }

    /// Adds the children of a node, all of whose pieces agree up to `depth`.
    fn fill(
        &mut self,
        at: usize,
        pieces: &[(&[u8], u32)],
        depth: usize,
        ranges: &mut Vec<(usize, usize)>,
    ) {
        let (mut start, end) = ranges[at];
        while start < end && pieces[start].0.len() == depth {
            self.nodes[at].token = pieces[start].1;
            start += 1;
        }
        self.nodes[at].children = self.nodes.len() as u32;
        while start < end {
            let byte = pieces[start].0[depth];
            let count = pieces[start..end].partition_point(|(text, _)| text[depth] <= byte);
            self.nodes.push(Node { token: NONE, children: 0, count: 0 });
            self.bytes.push(byte);
            ranges.push((start, start + count));
            self.nodes[at].count += 1;
            start += count;
        }
    }

    /// Calls `found` with the length of each piece that a text begins with, and its id.
    pub(super) fn each(&self, text: &str, mut found: impl FnMut(usize, u32)) {
        let mut node = self.nodes[0];
        for (len, byte) in (1..).zip(text.bytes()) {
            let start = node.children as usize;
            let bytes = &self.bytes[start..start + node.count as usize];
            let Ok(child) = bytes.binary_search(&byte) else { return };
            node = self.nodes[start + child];
            if node.token != NONE {
                found(len, node.token);
            }
        }
    }

    /// The longest piece that a text begins with: its length and its id.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, u32)> {
        let mut longest = None;
        self.each(text, |len, id| longest = Some((len, id)));
        longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_that_a_text_begins_with_is_found() {
        let pieces = ["a", "ab", "abc", "b", "é", "éa", "", "abd"];
        let trie = Trie::new((0..).zip(pieces).map(|(id, text)| (text, id)));
        let found = |text: &str| {
            let mut out = Vec::new();
            trie.each(text, |len, id| out.push((len, id)));
            out
        };
        assert_eq!(found("abcd"), [(1, 0), (2, 1), (3, 2)]);
        assert_eq!(found("éb"), [(2, 4)]);
        assert_eq!(found("x"), []);
        assert_eq!(trie.longest("abde"), Some((3, 7)));
        assert_eq!(Trie::new([].into_iter()).longest("a"), None);
    }
}
