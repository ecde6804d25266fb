//! Q4_K: 256 weights in 8 groups of 32; each group has a six-bit scale and a six-bit offset, each
//! weight four bits.
//!
//! ```text
//!   0        2        4                 16                        144
//!   ┌────────┬────────┬─────────────────┬──────────────────────────┐
//!   │ d: f16 │ m: f16 │ s, o: 8 × six   │ q: 4 × 32 × (low, high)  │    w ≈ d · s · level − m · o
//!   │        │        │ bits of a group │ groups 2j and 2j + 1     │    s, o those of the group
//!   └────────┴────────┴─────────────────┴──────────────────────────┘    4.5 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q4_K_ref` of ggml, and by importance with `quantize_row_q4_K_impl`.

use super::groups::{Errors, Tries};
use super::packing::packing;
use super::rows::{self, Packing};
use super::super_block::{self, Chosen, GROUP, LEN};

pub(super) const BYTES: usize = 16 + LEN / 2;

packing! {
    name: "q4_k",
    ggml_id: 12,
    needs_importance: false,
    error_bound: error_bound,
}

/// The blocks of this file, for the loops that all packings share.
struct Rows;

impl Packing<LEN, BYTES> for Rows {
    const LOOKS_AT_MEAN: bool = false;
    const AT_ONCE: usize = super_block::AT_ONCE;

    #[inline(always)]
    fn encode_some(weights: &[[f32; LEN]], out: &mut [[u8; BYTES]]) {
        const TRIES: Tries =
            Tries { first: -1.0, step: 0.1, count: 21, top: 15.0, errors: Errors::Squared };
        let chosen = super_block::by_size(weights, &TRIES);
        for (out, chosen) in out.iter_mut().zip(&chosen) {
            put(chosen, out);
        }
    }

    #[inline(always)]
    fn search_some(
        weights: &[[f32; LEN]],
        importance: &[[f32; LEN]],
        _: f32,
        out: &mut [[u8; BYTES]],
    ) {
        const TRIES: Tries = Tries::fine(15.0);
        let chosen = super_block::by_importance(weights, importance, &TRIES);
        for (out, chosen) in out.iter_mut().zip(&chosen) {
            put(chosen, out);
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let Some((head, q)) = bytes.split_first_chunk() else { return };
        let steps = super_block::steps(head);
        let pairs = weights.as_chunks_mut::<{ 2 * GROUP }>().0.iter_mut();
        for ((weights, q), steps) in pairs.zip(q.as_chunks::<GROUP>().0).zip(steps.as_chunks().0) {
            let [(step, low), (step_above, low_above)]: &[(f32, f32); 2] = steps;
            let (below, above) = weights.split_at_mut(GROUP);
            for (x, q) in below.iter_mut().zip(q) {
                *x = step * f32::from(q & 15) - low;
            }
            for (x, q) in above.iter_mut().zip(q) {
                *x = step_above * f32::from(q >> 4) - low_above;
            }
        }
    }
}

#[inline(always)]
pub(super) fn put(chosen: &Chosen, out: &mut [u8; BYTES]) {
    let (head, q) = out.split_at_mut(16);
    head.copy_from_slice(&chosen.head);
    let pairs = chosen.levels.as_chunks::<{ 2 * GROUP }>().0;
    for (q, levels) in q.chunks_exact_mut(GROUP).zip(pairs) {
        for i in 0..GROUP {
            q[i] = levels[i] | levels[GROUP + i] << 4;
        }
    }
}

/// See [`rows::WHOLE_MAX`]. 15 levels by 63 steps, and 63 offsets, lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::WHOLE_MAX + 1008.0 * rows::F16_FLOOR
}
