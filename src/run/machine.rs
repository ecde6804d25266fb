//! A model of any plan, ready to run.

use super::{Decoder, Encoder, Seq2Seq};
use crate::arch::{self, Plan};
use crate::ir::{Hyper, Model, Result};

/// A model of any plan, ready to run.
pub enum Machine {
    /// It continues a text.
    Decoder(Box<Decoder>),
    /// It reads a text.
    Encoder(Box<Encoder>),
    /// It writes a text from another.
    Seq2Seq(Box<Seq2Seq>),
}

impl Machine {
    /// Prepares a model for running.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &Model) -> Result<Self> {
        let arch = arch::require(model).map_err(|error| error.at(&model.origin))?;
        Ok(match arch.block.plan {
            Plan::Decoder => Self::Decoder(Box::new(Decoder::new(model)?)),
            Plan::Encoder => Self::Encoder(Box::new(Encoder::new(model)?)),
            Plan::EncoderDecoder => Self::Seq2Seq(Box::new(Seq2Seq::new(model)?)),
        })
    }

    /// The numbers that it gives for each position: logits of all ids, or features.
    pub fn width(&self) -> usize {
        match self {
            Self::Decoder(decoder) => decoder.vocab(),
            Self::Encoder(encoder) => encoder.width(),
            Self::Seq2Seq(seq2seq) => seq2seq.vocab(),
        }
    }

    /// The hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        match self {
            Self::Decoder(decoder) => decoder.hyper(),
            Self::Encoder(encoder) => encoder.hyper(),
            Self::Seq2Seq(seq2seq) => seq2seq.hyper(),
        }
    }
}
