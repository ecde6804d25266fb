//! Model → bytes: every field that is known here, defaults too, in the order of their numbers.

use protobuf::{bytes, fixed32, varint};

use crate::model::{Model, Piece};

/// Writes a model.
pub fn write(model: &Model) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in &model.pieces {
        bytes(&mut out, 1, &one(piece));
    }
    let (trainer, normalizer) = (&model.trainer, &model.normalizer);
    let mut spec = Vec::new();
    varint(&mut spec, 3, trainer.kind as u64);
    varint(&mut spec, 24, trainer.space_as_suffix.into());
    varint(&mut spec, 35, trainer.byte_fallback.into());
    let ids = [trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id];
    for (field, id) in (40..).zip(ids) {
        varint(&mut spec, field, i64::from(id).cast_unsigned());
    }
    bytes(&mut out, 2, &spec);
    let mut spec = Vec::new();
    bytes(&mut spec, 1, normalizer.name.as_bytes());
    bytes(&mut spec, 2, &normalizer.precompiled_charsmap);
    varint(&mut spec, 3, normalizer.add_dummy_prefix.into());
    varint(&mut spec, 4, normalizer.remove_extra_whitespaces.into());
    varint(&mut spec, 5, normalizer.escape_whitespaces.into());
    bytes(&mut out, 3, &spec);
    out
}

fn one(piece: &Piece) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, piece.text.as_bytes());
    fixed32(&mut out, 2, piece.score.to_le_bytes());
    varint(&mut out, 3, piece.kind as u64);
    out
}
