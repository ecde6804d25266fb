//! Importance matrices: how much the columns of each tensor matter.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{Mixture, Types};
use crate::ir::{DType, Error, Model, Notes, Op, Result, Shape, Value};

/// How much the columns of each tensor matter, measured by running a model on a text.
#[derive(Debug, Clone, Default)]
pub struct ImportanceMatrix {
    /// The file that it was read from, as the user names it.
    pub file: String,
    /// The texts that were run, by their file names.
    pub datasets: Vec<String>,
    /// Chunks of text that were run; 0 if the file does not say.
    pub chunks: u32,
    /// By GGUF's name of the tensor: E[x²] of the inputs of each column; of a stack of matrices,
    /// of each column of the first, then of the second, and so on.
    pub entries: IndexMap<String, Arc<[f32]>>,
}

impl ImportanceMatrix {
    /// What counts for a tensor of this name and shape, if the matrix knows it.
    ///
    /// # Errors
    /// Malformed if it is of another length.
    pub fn of(&self, name: &str, shape: &Shape) -> Result<Option<Arc<[f32]>>> {
        let Some(found) = self.entries.get(name) else { return Ok(None) };
        // Saturating: where there are no rows, the other dimensions are bounded by nothing.
        let outer = shape.dims().iter().rev().skip(2);
        let stacked = outer.fold(1u64, |product, dim| product.saturating_mul(*dim));
        let expected = shape.columns().saturating_mul(stacked);
        if found.len() as u64 == expected {
            return Ok(Some(Arc::clone(found)));
        }
        let of = match stacked {
            1 => String::new(),
            n => format!(" ({} for each of {n} matrices)", shape.columns()),
        };
        Err(Error::malformed(format!(
            "has {} values in the importance matrix {}, expected {expected}{of}; \
             it was measured on another model",
            found.len(),
            self.file
        )))
    }

    /// What llama-quantize writes into a model about the matrix that it used.
    pub(super) fn describe(&self, entries: &mut IndexMap<String, Value>) {
        let mut put = |key: &str, value| entries.insert(format!("quantize.imatrix.{key}"), value);
        put("file", Value::Text(self.file.clone()));
        if let Some(first) = self.datasets.first() {
            put("dataset", Value::Text(first.clone()));
        }
        put("entries_count", Value::U32(self.entries.len().try_into().unwrap_or(u32::MAX)));
        if self.chunks > 0 {
            put("chunks_count", Value::U32(self.chunks));
        }
    }
}

/// A note for each tensor that is packed although the matrix does not know it.
pub(super) fn note_missing(model: &Model, types: &Types, notes: &mut Notes) {
    if types.importance.is_none() {
        return;
    }
    for (name, tensor) in &model.tensors {
        if let Some(Op::Pack { importance: None, .. }) = tensor.op() {
            notes.chosen(name, "not in the importance matrix: all of its columns count alike");
        }
    }
}

/// Refuses to write tensors of a type that is of no use without importance, as llama-quantize does.
/// A plan of sizes needs none, so this is not asked of a dry run.
///
/// # Errors
/// Usage, naming the first such tensor.
pub fn require_importance(model: &Model, types: &Types) -> Result<()> {
    for (name, tensor) in &model.tensors {
        let Some(Op::Pack { quantizer, importance: None, .. }) = tensor.op() else { continue };
        let needed =
            quantizer.block.needs_importance || is_q2_of_q2_k_s(name, tensor.dtype(), types);
        if needed {
            let what = match types.importance {
                Some(_) => "the importance matrix has no entry for it",
                None => "there is none; give --imatrix FILE, as llama-imatrix writes it",
            };
            return Err(Error::usage(format!(
                "{name}: {} is of no use without an importance matrix, and {what}; \
                 or another type for it",
                tensor.dtype()
            )));
        }
    }
    Ok(())
}

/// The one mixture that asks for importance though its type does not: see
/// `tensor_requires_imatrix` in llama.cpp's src/llama-quant.cpp.
fn is_q2_of_q2_k_s(name: &str, dtype: DType, types: &Types) -> bool {
    let small = types.all.is_some_and(|Mixture(policy)| policy.name == "Q2_K_S");
    small && dtype.name() == "q2_k" && name != "token_embd.weight" && name != "output.weight"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(len: usize) -> ImportanceMatrix {
        let entries = IndexMap::from([("a.weight".to_owned(), vec![1.0; len].into())]);
        ImportanceMatrix { file: "m.gguf".into(), entries, ..Default::default() }
    }

    fn shape(dims: &[u64]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
    }

    #[test]
    fn lengths_are_those_of_columns_and_of_stacked_matrices() {
        assert_eq!(matrix(32).of("a.weight", &shape(&[7, 32])).unwrap().unwrap().len(), 32);
        assert_eq!(matrix(96).of("a.weight", &shape(&[3, 7, 32])).unwrap().unwrap().len(), 96);
        assert_eq!(matrix(32).of("b.weight", &shape(&[7, 32])).unwrap(), None);
        let error = matrix(32).of("a.weight", &shape(&[3, 7, 32])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "has 32 values in the importance matrix m.gguf, expected 96 (32 for each of 3 \
             matrices); it was measured on another model"
        );
    }

    #[test]
    fn the_model_says_what_it_was_quantized_with() {
        let mut entries = IndexMap::new();
        let datasets = vec!["wiki.txt".to_owned(), "code.txt".to_owned()];
        ImportanceMatrix { datasets, chunks: 7, ..matrix(32) }.describe(&mut entries);
        let expected = [
            ("quantize.imatrix.file", Value::Text("m.gguf".into())),
            ("quantize.imatrix.dataset", Value::Text("wiki.txt".into())),
            ("quantize.imatrix.entries_count", Value::U32(1)),
            ("quantize.imatrix.chunks_count", Value::U32(7)),
        ];
        assert!(entries.iter().map(|(k, v)| (k.as_str(), v.clone())).eq(expected));
    }
}
