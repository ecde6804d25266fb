//! Model → layout: one file per format.

pub mod tokenizer_gguf;
