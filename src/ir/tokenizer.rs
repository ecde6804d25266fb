//! A tokenizer as a value: its pieces, merges, special tokens, and how text is cut first.

/// A tokenizer as a value, whatever file described it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenizer {
    /// The text of each token, by id.
    pub tokens: Vec<String>,
}
