//! What comes before a head: the embedding and the layers.

use std::sync::Arc;

use super::layer::{self, Layer};
use super::norm::Norm;
use super::{Step, count};
use crate::arch::{Part, Parts, Role};
use crate::ir::{Error, Field, Hyper, Naming, Result, Scaling};
use crate::run::batch::Batch;
use crate::run::cache::Cache;
use crate::run::inputs::Inputs;
use crate::run::rope::{Angles, Rope};
use crate::run::weight::{self, Linear, Weight};

/// The layers of a model, and what goes into the first.
pub(in crate::run) struct Body {
    pub(in crate::run) hyper: Hyper,
    embedding: Weight,
    positions: Option<Positions>,
    /// The vector of the first token type: a text alone is all of it.
    token_type: Option<Vec<f32>>,
    project_in: Option<Linear>,
    embedding_norm: Option<Norm>,
    layers: Vec<Layer>,
    norm: Option<Norm>,
    project_out: Option<Linear>,
    ropes: Vec<Rope>,
    key_value_heads: usize,
}

/// A vector for each position.
struct Positions {
    table: Weight,
    /// The row of the first position.
    first: usize,
    /// A token that takes no position, and the row that it has instead, if it is stored.
    padding: Option<(u32, Option<usize>)>,
}

impl Body {
    /// Prepares the layers for running. Norms and biases are read; matrices are not.
    ///
    /// # Errors
    /// Unsupported for an option or a type of weights that is not computed, naming it; Malformed
    /// if a tensor is missing.
    pub(in crate::run) fn new(parts: &Parts<'_>) -> Result<Self> {
        let hyper = parts.hyper;
        let layers = 0..count(hyper, Field::Layers)? as u64;
        let token_type = parts.get(Role::TokenTypes, Part::Weight, None)?;
        let token_type = token_type.map(|named| Weight::new(named)?.row(0)).transpose()?;
        Ok(Self {
            embedding: weight::find(parts, Role::Embedding, None)?,
            positions: Positions::find(parts)?,
            token_type,
            project_in: Linear::find_optional(parts, Role::ProjectIn, None)?,
            embedding_norm: Norm::find(parts, Role::EmbeddingNorm, None)?,
            layers: layers.map(|layer| Layer::find(parts, layer)).collect::<Result<_>>()?,
            norm: Norm::find(parts, Role::OutputNorm, None)?,
            project_out: Linear::find_optional(parts, Role::ProjectOut, None)?,
            ropes: ropes(parts)?,
            key_value_heads: layer::key_value_heads(parts)?,
            hyper: hyper.clone(),
        })
    }

    /// Has what goes into the matrices of all layers counted.
    pub(in crate::run) fn watch(&mut self, inputs: &Arc<Inputs>) {
        self.layers.iter_mut().for_each(|layer| layer.watch(inputs));
    }

    /// The features of a token after the last layer.
    pub(in crate::run) fn features(&self) -> usize {
        self.project_out.as_ref().map_or(self.hidden_size(), |project| project.weight.rows)
    }

    fn hidden_size(&self) -> usize {
        self.project_in.as_ref().map_or(self.embedding.columns, |project| project.weight.rows)
    }

    /// An empty cache, with room for so many tokens.
    ///
    /// # Errors
    /// Limit if `capacity` tokens would need more memory than can be addressed.
    pub(in crate::run) fn cache(&self, capacity: usize) -> Result<Cache> {
        let sizes = self.layers.first().map_or(0, Layer::cached);
        let bytes = sizes.checked_mul(self.key_value_heads * self.layers.len() * size_of::<f32>());
        if bytes.and_then(|bytes| bytes.checked_mul(capacity)).is_none() {
            return Err(Error::limit(format!("a context of {capacity} tokens")));
        }
        Ok(Cache::new(self.layers.len(), self.key_value_heads, capacity))
    }

    /// Whether these tokens can be computed after those in the cache.
    ///
    /// # Errors
    /// Usage for an id that is not in the vocabulary; Limit if there is no room for them.
    pub(in crate::run) fn check(&self, cache: &Cache, tokens: &[u32]) -> Result<()> {
        check_ids(&self.embedding, tokens)?;
        if let Some(positions) = &self.positions {
            let (end, room) = (cache.len() + tokens.len(), positions.count());
            if end > room {
                let text = format!("{end} tokens, but the model has only {room} positions");
                return Err(Error::limit(text));
            }
        }
        let heads = cache.layers.first().map_or(0, |kept| kept.heads.len());
        if cache.layers.len() != self.layers.len() || heads != self.key_value_heads {
            return Err(Error::bug("the cache was made for another model"));
        }
        cache.check_room(tokens.len())
    }

    /// What the last layer gives for these tokens of a text of `len` so far, normalised.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(in crate::run) fn hidden(
        &self,
        cache: &mut Cache,
        tokens: &[u32],
        len: usize,
    ) -> Result<Batch> {
        let start = cache.len();
        let mut x = self.embed(tokens, start)?;
        let angles = |rope: &Rope| rope.angles(start, tokens.len(), len);
        let angles: Vec<Angles> = self.ropes.iter().map(angles).collect::<Result<_>>()?;
        let step = Step { start, angles: &angles };
        for (layer, kept) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.apply(x, &step, &self.ropes, kept)?;
        }
        cache.advance(tokens.len());
        if let Some(norm) = &self.norm {
            norm.apply_to(&mut x);
        }
        match &self.project_out {
            Some(project) => project.apply(&x),
            None => Ok(x),
        }
    }

    /// What goes into the first layer.
    fn embed(&self, tokens: &[u32], start: usize) -> Result<Batch> {
        let mut x = Batch::zeros(self.embedding.columns, tokens.len())?;
        for (token, id) in tokens.iter().enumerate() {
            x.set(token, &self.embedding.row(*id as usize)?);
        }
        if let Some(scale) = self.hyper.embedding_scale {
            x.scale(scale);
        }
        if let Some(project) = &self.project_in {
            x = project.apply(&x)?;
        }
        if let Some(first) = &self.token_type {
            let lanes = x.lanes();
            let rows = x.data.chunks_mut(lanes).zip(first.iter().cycle());
            rows.for_each(|(row, feature)| row.iter_mut().for_each(|x| *x += feature));
        }
        if let Some(positions) = &self.positions {
            x.add(&positions.of(tokens, start)?);
        }
        if let Some(norm) = &self.embedding_norm {
            norm.apply_to(&mut x);
        }
        Ok(x)
    }
}

impl Positions {
    fn find(parts: &Parts<'_>) -> Result<Option<Self>> {
        let Some(table) = parts.get(Role::Positions, Part::Weight, None)? else { return Ok(None) };
        let table = Weight::new(table)?;
        let Some(rows) = parts.hyper.first_position else {
            return Ok(Some(Self { table, first: parts.arch.block.first_position, padding: None }));
        };
        // A GGUF leaves out the rows before the first position, the padding's among them.
        let first = match parts.model.naming {
            Naming::Gguf => 0,
            Naming::HuggingFace => rows as usize,
        };
        let padding = Some((rows.saturating_sub(1) as u32, first.checked_sub(1)));
        Ok(Some(Self { table, first, padding }))
    }

    fn count(&self) -> usize {
        self.table.rows.saturating_sub(self.first)
    }

    /// The vectors of tokens that stand at `start` and after.
    fn of(&self, tokens: &[u32], start: usize) -> Result<Batch> {
        let mut learned = Batch::zeros(self.table.columns, tokens.len())?;
        let mut next = self.first + start;
        for (place, token) in tokens.iter().enumerate() {
            let row = match self.padding.filter(|(padding, _)| padding == token) {
                Some((_, row)) => row,
                None => Some(next),
            };
            if row == Some(next) {
                next += 1;
            }
            if let Some(row) = row {
                learned.set(place, &self.table.row(row)?);
            }
        }
        Ok(learned)
    }
}

/// Whether every id has a row.
///
/// # Errors
/// Usage, naming the first that has none.
pub(in crate::run) fn check_ids(embedding: &Weight, tokens: &[u32]) -> Result<()> {
    let vocab = embedding.rows;
    match tokens.iter().find(|id| **id as usize >= vocab) {
        None => Ok(()),
        Some(id) => {
            let text = format!("token id {id} is not in the vocabulary, which has {vocab}");
            Err(Error::usage(text))
        }
    }
}

/// The rotations of the model: that of most layers, and that of those with a window, where it is
/// another.
fn ropes(parts: &Parts<'_>) -> Result<Vec<Rope>> {
    let pairing = parts.arch.block.pairing(parts.model.naming);
    let mut hypers = Vec::new();
    if parts.hyper.rope_theta.is_some() && parts.hyper.rope_dims.is_some() {
        hypers.push(parts.hyper.clone());
        if parts.hyper.local_theta.is_some() {
            let rope_theta = parts.hyper.local_theta;
            let scaling = Scaling::None;
            hypers.push(Hyper { rope_theta, scaling, ..parts.hyper.clone() });
        }
    }
    hypers.iter().map(|hyper| Rope::new(hyper, pairing)).collect()
}
