//! An encoder, and a decoder that attends to what it has made of a source text.
//!
//! ```text
//!  source ─▶ encoder ─▶ hidden states ──────────▶ keys and values of each layer
//!                                                            │
//!  ids ─▶ embedding ─▶ ┌ norm ─▶ attention to itself ─▶ + ┐  ▼
//!                      ├ norm ─▶ attention to the source ─▶ + ┤
//!                      └ norm ─▶ feed-forward ───────────▶ + ┘ × layers ─▶ norm ─▶ logits
//! ```

use super::batch::{Batch, grow};
use super::cache::{Cache, Head};
use super::decoder::{
    Attend, Body, CROSS, DECODER, DECODER_FEED_FORWARD, Dense, Norm, Output, Step, check_ids,
    checked, count, in_pool,
};
use super::weight::{self, Weight};
use crate::arch::{Parts, Plan, Role};
use crate::ir::{Error, Field, Hyper, Model, Result};

/// A model that writes one text from another.
pub struct Seq2Seq {
    encoder: Body,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Norm,
    output: Output,
    heads: usize,
}

struct Layer {
    attention_norm: Norm,
    attention: Attend,
    cross_norm: Norm,
    cross: Attend,
    feed_forward_norm: Norm,
    feed_forward: Dense,
}

/// A source text as the decoder sees it, and what it has written so far.
pub struct Conversation {
    /// Keys and values of the source, layer by layer.
    source: Vec<Vec<Head>>,
    written: Cache,
}

impl Seq2Seq {
    /// Prepares a model for running. Norms are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for a family, an option or a type of weights that is not computed, naming it;
    /// Malformed if a tensor is missing or has a shape that the configuration contradicts.
    pub fn new(model: &Model) -> Result<Self> {
        let (arch, hyper) = checked(model)?;
        if arch.block.plan != Plan::EncoderDecoder {
            let text = "this model has no encoder and decoder";
            return Err(Error::unsupported(text).at(&model.origin));
        }
        let parts = Parts { arch, model, hyper: &hyper };
        let layers = 0..count(&hyper, Field::DecoderLayers)? as u64;
        Ok(Self {
            encoder: Body::new(&parts)?,
            embedding: weight::find(&parts, Role::Embedding, None)?,
            layers: layers.map(|layer| Layer::find(&parts, layer)).collect::<Result<_>>()?,
            norm: norm(&parts, Role::DecoderOutputNorm, None)?,
            output: Output::find(&parts)?,
            heads: count(&hyper, Field::KvHeads)?,
        })
    }

    /// The number of token ids, and of logits for each position.
    pub fn vocab(&self) -> usize {
        self.output.vocab()
    }

    /// The hyper-parameters.
    pub fn hyper(&self) -> &Hyper {
        &self.encoder.hyper
    }

    /// The token that a text begins with.
    pub fn start(&self) -> u32 {
        self.hyper().decoder_start.map_or(0, |id| id as u32)
    }

    /// Reads a source text, and makes room for `capacity` tokens to be written.
    ///
    /// # Errors
    /// Usage for an id that is not in the vocabulary; Limit if the memory is full; Io and
    /// Unsupported from reading weights.
    pub fn read(&self, source: &[u32], capacity: usize) -> Result<Conversation> {
        in_pool(|| {
            let mut cache = self.encoder.cache(source.len())?;
            self.encoder.check(&cache, source)?;
            let states = self.encoder.hidden(&mut cache, source, source.len())?;
            let remember = |layer: &Layer| {
                let mut heads = vec![Head::default(); self.heads];
                layer.cross.remember(&states, &mut heads)?;
                Ok(heads)
            };
            let source = self.layers.iter().map(remember).collect::<Result<_>>()?;
            let written = Cache::new(self.layers.len(), self.heads, capacity);
            Ok(Conversation { source, written })
        })
    }

    /// The logits of every position, `[token][vocabulary]`; the tokens are written.
    ///
    /// # Errors
    /// As [`Self::read`]; Limit if there is no room for the tokens.
    pub fn forward(&self, conversation: &mut Conversation, tokens: &[u32]) -> Result<Vec<f32>> {
        let Conversation { source, written } = conversation;
        check_ids(&self.embedding, tokens)?;
        written.check_room(tokens.len())?;
        let mut logits = Vec::new();
        grow(&mut logits, tokens.len().saturating_mul(self.vocab()))?;
        in_pool(|| {
            let step = Step { start: written.len(), angles: &[] };
            let mut x = Batch::zeros(self.embedding.columns, tokens.len())?;
            for (token, id) in tokens.iter().enumerate() {
                x.set(token, &self.embedding.row(*id as usize)?);
            }
            for ((layer, source), kept) in self.layers.iter().zip(source).zip(&mut written.layers) {
                layer.apply(&mut x, &step, source, &mut kept.heads)?;
            }
            written.advance(tokens.len());
            self.norm.apply_to(&mut x);
            self.output.logits(&x, &mut logits)?;
            Ok(logits)
        })
    }
}

impl Layer {
    fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let norm = |role| norm(parts, role, Some(layer));
        Ok(Self {
            attention_norm: norm(Role::DecoderAttentionNorm)?,
            attention: Attend::find(parts, layer, &DECODER)?,
            cross_norm: norm(Role::CrossNorm)?,
            cross: Attend::find(parts, layer, &CROSS)?,
            feed_forward_norm: norm(Role::DecoderFeedForwardNorm)?,
            feed_forward: Dense::find(parts, layer, DECODER_FEED_FORWARD)?,
        })
    }

    fn apply(
        &self,
        x: &mut Batch,
        step: &Step<'_>,
        source: &[Head],
        written: &mut [Head],
    ) -> Result<()> {
        let normed = self.attention_norm.apply(x);
        x.add(&self.attention.apply(&normed, step, &[], written)?);
        x.add(&self.cross.look_up(&self.cross_norm.apply(x), source)?);
        x.add(&self.feed_forward.apply(&self.feed_forward_norm.apply(x))?);
        Ok(())
    }
}

fn norm(parts: &Parts<'_>, role: Role, layer: Option<u64>) -> Result<Norm> {
    Norm::find(parts, role, layer)?.ok_or_else(|| weight::missing(parts, role, layer))
}
