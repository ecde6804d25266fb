//! The integration tests, as one binary: the program as a user has it, and what no module can
//! test alone.

mod edit;
mod program;

mod arrays;
mod contract;
mod conversion;
mod damage;
mod direction;
mod documents;
mod durability;
mod encoders;
mod families;
mod faults;
mod ggml;
mod gguf;
mod golden;
mod graphs;
mod honest;
mod hostile;
mod imatrix;
mod interrupted;
mod judge;
mod logits;
mod manifest;
mod matrix;
mod memory;
mod onnx;
mod operators;
mod perplexity;
mod scaling;
mod sentencepiece;
mod tokenizer;
mod tokenizer_files;
mod torch;
mod unigram;
mod vocabularies;
mod vocabulary;
