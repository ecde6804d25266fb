//! Slices → the tensor that they were cut from.
//!
//! ```text
//!  ┌─────┬───┐
//!  │  a  │ b │   cut where no slice is: first into rows (a b) and (c), then columns (a) and (b)
//!  ├─────┴───┤
//!  │    c    │
//!  └─────────┘
//! ```

use std::ops::Range;

use crate::ir::{Error, Op, Result, Shape, Tensor};

/// A slice, and its first element in each dimension.
pub(super) struct Piece {
    pub(super) start: Vec<u64>,
    pub(super) tensor: Tensor,
}

/// The tensor of this shape that consists of these slices.
///
/// # Errors
/// Malformed if they lie over each other or leave something out; Unsupported if no straight cut
/// parts them.
pub(super) fn join(pieces: Vec<Piece>, dims: &[u64]) -> Result<Tensor> {
    let area: Vec<Range<u64>> = dims.iter().map(|dim| 0..*dim).collect();
    let all = pieces.iter().map(|piece| piece.tensor.shape().count());
    let (found, expected) =
        (all.fold(0u64, u64::saturating_add), Shape::new(dims.to_vec())?.count());
    if found != expected {
        let text = format!("its slices have {found} elements, expected {expected}");
        return Err(Error::malformed(text));
    }
    within(pieces, &area)
}

/// What covers an area.
fn within(mut pieces: Vec<Piece>, area: &[Range<u64>]) -> Result<Tensor> {
    if let [only] = &pieces[..] {
        let covers = area.iter().enumerate().all(|(axis, range)| only.along(axis) == *range);
        return match covers {
            true => Ok(only.tensor.clone()),
            false => Err(Error::malformed("its slices leave something out")),
        };
    }
    for (axis, range) in area.iter().enumerate() {
        pieces.sort_by_key(|piece| piece.start[axis]);
        let cuts = cuts(&pieces, axis);
        if cuts.len() > 1 {
            return parts(pieces, area, axis, &cuts, range.end);
        }
    }
    Err(match pieces.is_empty() {
        true => Error::malformed("its slices leave something out"),
        false => {
            Error::unsupported("its slices lie over each other, or no straight cut parts them")
        }
    })
}

/// Where a dimension can be cut without cutting a piece: each place where a part begins. The pieces
/// are sorted by their places.
fn cuts(pieces: &[Piece], axis: usize) -> Vec<u64> {
    let (mut cuts, mut end) = (Vec::new(), 0);
    for piece in pieces {
        let along = piece.along(axis);
        if cuts.is_empty() || along.start >= end && along.start > cuts[cuts.len() - 1] {
            cuts.push(along.start);
        }
        end = end.max(along.end);
    }
    cuts
}

fn parts(
    pieces: Vec<Piece>,
    area: &[Range<u64>],
    axis: usize,
    cuts: &[u64],
    end: u64,
) -> Result<Tensor> {
    let mut pieces = pieces.into_iter().peekable();
    let mut inputs = Vec::with_capacity(cuts.len());
    for (no, start) in cuts.iter().enumerate() {
        let next = cuts.get(no + 1).copied().unwrap_or(end);
        let own = std::iter::from_fn(|| pieces.next_if(|piece| piece.start[axis] < next)).collect();
        let mut part = area.to_vec();
        // The first part reaches to where the area begins, so that a hole there is seen.
        part[axis] = if no == 0 { area[axis].start..next } else { *start..next };
        inputs.push(within(own, &part)?);
    }
    Tensor::of(Op::Merge { inputs, axis, groups: 1 })
}

impl Piece {
    fn along(&self, axis: usize) -> Range<u64> {
        let len = self.tensor.shape().dims().get(axis).copied().unwrap_or(0);
        self.start[axis]..self.start[axis].saturating_add(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Blob, DType, Fault};
    use std::sync::Arc;

    /// A piece of a matrix of four columns whose elements are their own row-major numbers.
    fn piece(rows: Range<u64>, columns: Range<u64>) -> Piece {
        let bytes = rows.clone().flat_map(|y| columns.clone().map(move |x| (y * 4 + x) as u8));
        let blob = Arc::new(Blob::memory("test", bytes.collect()));
        let shape = Shape::new(vec![rows.end - rows.start, columns.end - columns.start]).unwrap();
        let tensor = Tensor::span(DType::U8, shape, blob, 0).unwrap();
        Piece { start: vec![rows.start, columns.start], tensor }
    }

    #[test]
    fn slices_become_the_whole_in_any_order() {
        let cut = vec![
            vec![piece(0..4, 0..4)],
            vec![piece(3..4, 0..4), piece(0..3, 0..4)],
            vec![piece(0..4, 2..4), piece(0..4, 0..2)],
            vec![piece(2..4, 2..4), piece(0..2, 0..2), piece(2..4, 0..2), piece(0..2, 2..4)],
            vec![piece(0..2, 0..3), piece(0..2, 3..4), piece(2..4, 0..4)],
        ];
        for pieces in cut {
            let tensor = join(pieces, &[4, 4]).unwrap();
            let mut bytes = [0; 16];
            tensor.read(0..16, &mut bytes, &mut Default::default()).unwrap();
            assert_eq!(bytes.to_vec(), (0..16).collect::<Vec<u8>>());
        }
    }

    #[test]
    fn holes_overlaps_and_pinwheels_are_refused() {
        let hole = vec![piece(0..2, 0..4), piece(3..4, 0..4)];
        let first = vec![piece(1..4, 0..4)];
        let over = vec![piece(0..2, 0..4), piece(0..2, 0..4)];
        let half = vec![piece(0..3, 0..2), piece(0..3, 2..4), piece(2..3, 0..4)];
        for (pieces, fault) in [
            (hole, Fault::Malformed),
            (first, Fault::Malformed),
            (Vec::new(), Fault::Malformed),
            (over, Fault::Unsupported),
            (half, Fault::Unsupported),
        ] {
            assert_eq!(join(pieces, &[4, 4]).unwrap_err().fault, fault);
        }
        let pinwheel = vec![
            piece(0..1, 0..3),
            piece(0..3, 3..4),
            piece(3..4, 1..4),
            piece(1..4, 0..1),
            piece(1..3, 1..3),
        ];
        assert_eq!(join(pinwheel, &[4, 4]).unwrap_err().fault, Fault::Unsupported);
    }
}
