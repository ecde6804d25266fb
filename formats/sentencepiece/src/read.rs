//! Bytes → model.

use protobuf::{Field, Limits, Message, Reader};
use wire::{Error, Result, Why};

use crate::model::{Kind, Model, Normalizer, Piece, Trainer, Type};

const TYPES: &[(u64, Type)] = &[
    (1, Type::Normal),
    (2, Type::Unknown),
    (3, Type::Control),
    (4, Type::UserDefined),
    (5, Type::Unused),
    (6, Type::Byte),
];

const KINDS: &[(u64, Kind)] =
    &[(1, Kind::Unigram), (2, Kind::Bpe), (3, Kind::Word), (4, Kind::Char)];

/// Whether the bytes begin as a model does: with a piece, whose first field is its text.
pub fn probe(head: &[u8]) -> bool {
    matches!(head, [0x0a, _, 0x0a, ..])
}

/// Most pieces, each of which may have two bytes: sixteen times the largest vocabulary of today.
const PIECES_MAX: usize = 4 << 20;

/// Reads a model. Memory is in proportion to its bytes.
///
/// # Errors
/// With the offset and the field at fault.
pub fn read(bytes: &[u8]) -> Result<Model> {
    let mut model = Model::default();
    let mut reader = Reader::new(&bytes, &Limits::NONE);
    let mut message = reader.whole();
    while let Some(field) = reader.next(&mut message)? {
        if model.pieces.len() > PIECES_MAX {
            let (value, max) = (model.pieces.len() as u64, PIECES_MAX as u64);
            let why = Why::TooLarge { value, max, lift: "no vocabulary has more" };
            return Err(Error::new(field.span.start, "pieces", why));
        }
        match field.number {
            1 => model.pieces.push(piece(&mut reader, &message, &field)?),
            2 => trainer(&mut reader, &message, &field, &mut model.trainer)?,
            3 => normalizer(&mut reader, &message, &field, &mut model.normalizer)?,
            _ => {}
        }
    }
    if model.pieces.is_empty() {
        return Err(Error::invalid(0, "model", "has no pieces: not a SentencePiece model"));
    }
    Ok(model)
}

fn piece(reader: &mut Reader<'_>, of: &Message, field: &Field) -> Result<Piece> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: Type::Normal };
    let mut message = reader.inside(of, field, "pieces")?;
    while let Some(field) = reader.next(&mut message)? {
        match field.number {
            1 => piece.text = reader.text(&field, "piece")?,
            2 => piece.score = field.float("score")?,
            3 => piece.kind = field.one_of("type", TYPES)?,
            _ => {}
        }
    }
    Ok(piece)
}

fn trainer(
    reader: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    trainer: &mut Trainer,
) -> Result<()> {
    let mut message = reader.inside(of, field, "trainer_spec")?;
    while let Some(field) = reader.next(&mut message)? {
        match field.number {
            3 => trainer.kind = field.one_of("model_type", KINDS)?,
            24 => trainer.space_as_suffix = field.truth("treat_whitespace_as_suffix")?,
            35 => trainer.byte_fallback = field.truth("byte_fallback")?,
            40 => trainer.unk_id = field.int32("unk_id")?,
            41 => trainer.bos_id = field.int32("bos_id")?,
            42 => trainer.eos_id = field.int32("eos_id")?,
            43 => trainer.pad_id = field.int32("pad_id")?,
            _ => {}
        }
    }
    Ok(())
}

fn normalizer(
    reader: &mut Reader<'_>,
    of: &Message,
    field: &Field,
    normalizer: &mut Normalizer,
) -> Result<()> {
    let mut message = reader.inside(of, field, "normalizer_spec")?;
    while let Some(field) = reader.next(&mut message)? {
        match field.number {
            1 => normalizer.name = reader.text(&field, "name")?,
            2 => {
                let map = reader.bytes(&field, "precompiled_charsmap")?;
                normalizer.precompiled_charsmap = map;
            }
            3 => normalizer.add_dummy_prefix = field.truth("add_dummy_prefix")?,
            4 => normalizer.remove_extra_whitespaces = field.truth("remove_extra_whitespaces")?,
            5 => normalizer.escape_whitespaces = field.truth("escape_whitespaces")?,
            _ => {}
        }
    }
    Ok(())
}
