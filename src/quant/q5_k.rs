//! Q5_K: 256 weights in 8 groups of 32; each group has a six-bit scale and a six-bit offset, each
//! weight five bits.
//!
//! ```text
//!   0        2        4                 16               48                        176
//!   ┌────────┬────────┬─────────────────┬────────────────┬──────────────────────────┐
//!   │ d: f16 │ m: f16 │ s, o: 8 × six   │ h: 32 × 8 bits │ q: 4 × 32 × (low, high)  │
//!   │        │        │ bits of a group │ bit j: group j │ groups 2j and 2j + 1     │
//!   └────────┴────────┴─────────────────┴────────────────┴──────────────────────────┘
//!     w ≈ d · s · level − m · o                            5.5 bits per weight
//! ```
//!
//! Bit-exact with `quantize_row_q5_K_ref` of ggml, and by importance with `quantize_row_q5_K_impl`.

use super::groups::{Errors, Tries};
use super::packing::packing;
use super::rows::{self, Packing};
use super::super_block::{self, Chosen, GROUP, LEN};

pub(super) const BYTES: usize = 16 + LEN / 8 + LEN / 2;

packing! {
    name: "q5_k",
    ggml_id: 13,
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
            Tries { first: -0.5, step: 0.1, count: 16, top: 31.0, errors: Errors::Squared };
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
        const TRIES: Tries = Tries::fine(31.0);
        let chosen = super_block::by_importance(weights, importance, &TRIES);
        for (out, chosen) in out.iter_mut().zip(&chosen) {
            put(chosen, out);
        }
    }

    #[inline(always)]
    fn decode(bytes: &[u8; BYTES], weights: &mut [f32; LEN]) {
        let Some((head, rest)) = bytes.split_first_chunk() else { return };
        let (high, q) = rest.split_at(GROUP);
        let steps = super_block::steps(head);
        for (g, (weights, (step, low))) in
            weights.as_chunks_mut::<GROUP>().0.iter_mut().zip(steps).enumerate()
        {
            let q = &q[g / 2 * GROUP..][..GROUP];
            for i in 0..GROUP {
                let level = q[i] >> (g % 2 * 4) & 15 | (high[i] >> g & 1) << 4;
                weights[i] = step * f32::from(level) - low;
            }
        }
    }
}

#[inline(always)]
pub(super) fn put(chosen: &Chosen, out: &mut [u8; BYTES]) {
    let (head, rest) = out.split_at_mut(16);
    head.copy_from_slice(&chosen.head);
    let (high, q) = rest.split_at_mut(GROUP);
    high.fill(0);
    for (g, levels) in chosen.levels.as_chunks::<GROUP>().0.iter().enumerate() {
        for (high, level) in high.iter_mut().zip(levels) {
            *high |= level >> 4 << g;
        }
    }
    let pairs = chosen.levels.as_chunks::<{ 2 * GROUP }>().0;
    for (q, levels) in q.chunks_exact_mut(GROUP).zip(pairs) {
        for i in 0..GROUP {
            q[i] = levels[i] & 15 | levels[GROUP + i] << 4;
        }
    }
}

/// See [`rows::WHOLE_MAX`]. 31 levels by 63 steps, and 63 offsets, lose half a step of f16 each.
fn error_bound(weights: &[f32]) -> f32 {
    rows::peak(weights) * rows::WHOLE_MAX + 2016.0 * rows::F16_FLOOR
}
