//! What must hold, one file per gate.

pub(super) mod asked;
pub(super) mod hyper;
pub(super) mod logits;
pub(super) mod tensors;
pub(super) mod tokenizer;
