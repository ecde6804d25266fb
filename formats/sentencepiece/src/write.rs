//! Model → bytes: every field that is known here, defaults too, in the order of their numbers.

use crate::model::{Model, Piece};

/// Writes a model.
pub fn write(model: &Model) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in &model.pieces {
        bytes(&mut out, 1, &one(piece));
    }
    let (trainer, normalizer) = (&model.trainer, &model.normalizer);
    let mut spec = Vec::new();
    number(&mut spec, 3, trainer.kind as u64);
    number(&mut spec, 24, trainer.space_as_suffix.into());
    number(&mut spec, 35, trainer.byte_fallback.into());
    let ids = [trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id];
    for (field, id) in (40..).zip(ids) {
        number(&mut spec, field, i64::from(id).cast_unsigned());
    }
    bytes(&mut out, 2, &spec);
    let mut spec = Vec::new();
    bytes(&mut spec, 1, normalizer.name.as_bytes());
    bytes(&mut spec, 2, &normalizer.precompiled_charsmap);
    number(&mut spec, 3, normalizer.add_dummy_prefix.into());
    number(&mut spec, 4, normalizer.remove_extra_whitespaces.into());
    number(&mut spec, 5, normalizer.escape_whitespaces.into());
    bytes(&mut out, 3, &spec);
    out
}

fn one(piece: &Piece) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, piece.text.as_bytes());
    varint(&mut out, 2 << 3 | 5);
    out.extend(piece.score.to_le_bytes());
    number(&mut out, 3, piece.kind as u64);
    out
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}
