//! The integration tests, as one binary: the program as a user has it, and what no module can
//! test alone.

mod edit;
mod program;
#[allow(unreachable_pub, reason = "it is a crate of its own, too")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

mod alike;
mod arrays;
mod contract;
mod conversion;
mod damage;
mod damaged_bits;
mod direction;
mod documents;
mod durability;
mod encoders;
mod families;
mod faults;
mod fuzz;
mod ggml;
mod gguf;
mod golden;
mod graphs;
mod honest;
mod honest_page;
mod hostile;
mod imatrix;
mod interrupted;
mod judge;
mod keras;
mod levels;
mod limits;
mod logits;
mod manifest;
mod matrix;
mod memory;
mod onnx;
mod operators;
mod outputs;
mod outside;
mod pairs;
mod perplexity;
mod planted;
mod proof;
mod scaling;
mod sentencepiece;
mod tensorflow;
mod tokenizer;
mod tokenizer_files;
mod torch;
mod unigram;
mod vocabularies;
mod vocabulary;
