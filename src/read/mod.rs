//! Found parts → Model: one file per format.

pub mod tokenizer_gguf;
pub mod tokenizer_json;
