//! Model → ONNX: the file that it was read from, with what has changed in place of what was.
//!
//! Messages are walked as they lie in the original. A field whose content comes out as the very
//! range that it was is copied whole, so what no change touches is written again byte for byte,
//! fields included that nobody here knows. Weights are named in the plan, never held.

mod encode;
mod metadata;
mod rewrite;
mod run;
mod training;

use std::sync::Arc;

use onnx::Piece;

use self::rewrite::{Data, Rewrite};
use super::WriteOptions;
use super::layout::{FilePlan, Layout, Part};
use crate::ir::graph::Program;
use crate::ir::{Blob, Error, Model, Notes, Result};

/// What libraries of protocol buffers read at most; what is longer goes beside the model.
const MESSAGE_MAX: u64 = i32::MAX as u64;

/// Tensors of fewer bytes stay in the model whatever its size: a reader needs shapes and the like
/// to plan.
const BESIDE_MIN: u64 = 1024;

/// The layout of the file that this model becomes, and of the one beside it if there is need.
///
/// # Errors
/// Unsupported for a model that does not say what is computed, or what ONNX cannot hold; Usage
/// for options that do not apply.
pub fn layout(model: &Model, options: &WriteOptions, notes: &mut Notes) -> Result<Layout> {
    let program = model.graph.as_deref().ok_or_else(|| {
        let text = "the source says which weights there are, not what is computed with them; \
                    an ONNX is made from an ONNX only";
        Error::unsupported(text)
    })?;
    refuse(options)?;
    if model.tokenizer.is_some() || !model.side_files.is_empty() {
        let text = "one ONNX file holds none; they stay where they are";
        notes.lost("configuration and tokenizer", text);
    }
    let beside = options.external_data.then_some(BESIDE_MIN);
    let plan = Rewrite::new(model, program, options, beside).run()?;
    let plan = match plan.len() > MESSAGE_MAX && beside.is_none() {
        true => {
            let text =
                "the model has more than 2 GiB, which readers end at: its weights lie beside it";
            notes.chosen(&options.name, text);
            Rewrite::new(model, program, options, Some(BESIDE_MIN)).run()?
        }
        false => plan,
    };
    if plan.len() > MESSAGE_MAX {
        let text = format!("{} bytes without its weights, more than ONNX holds", plan.len());
        return Err(Error::unsupported(text));
    }
    files(plan, program, options)
}

fn refuse(options: &WriteOptions) -> Result<()> {
    if options.vocab_only {
        return Err(Error::usage("--vocab-only is not for ONNX: it holds no vocabulary"));
    }
    options.split.refuse("an ONNX is not cut into parts (--external-data puts weights beside it)")
}

fn files(plan: rewrite::Plan, program: &Program, options: &WriteOptions) -> Result<Layout> {
    let original = program.original.as_ref().map(|original| &original.blob);
    let model = FilePlan {
        name: options.name.clone(),
        len: plan.len(),
        parts: parts(plan.model.into_pieces(), original)?,
    };
    let mut files = vec![model];
    if let Some(last) = plan.beside.last() {
        let len = last.0 + last.1.tensor.bytes();
        let parts = plan.beside.into_iter().map(|(at, data)| (at, data.part()));
        files.push(FilePlan { name: plan.location, len, parts: parts.collect() });
    }
    Ok(Layout { files, directory: false })
}

/// Places for pieces, one after another.
fn parts(pieces: Vec<Piece<Data>>, original: Option<&Arc<Blob>>) -> Result<Vec<(u64, Part)>> {
    let (mut at, mut parts) = (0, Vec::new());
    for piece in pieces {
        let part = match (piece, original) {
            (Piece::Bytes(bytes), _) => Part::Bytes(bytes),
            (Piece::Data(data, _), _) => data.part(),
            (Piece::Copy(range), Some(blob)) if range == (0..blob.size()) => {
                Part::Copy(Arc::clone(blob))
            }
            (Piece::Copy(range), Some(blob)) => Part::Slice(Arc::clone(blob), range),
            (Piece::Copy(_), None) => return Err(Error::bug("a copy of no file")),
        };
        let start = at;
        at += part.len();
        parts.push((start, part));
    }
    Ok(parts)
}
