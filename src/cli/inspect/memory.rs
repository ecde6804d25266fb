//! How much memory a model takes to run: its weights in each type, and what it keeps of a text.

use serde_json::{Value as Json, json};

use super::grouped;
use crate::arch::{self, Arch, Plan};
use crate::cli::report;
use crate::ir::{Hyper, Model, Naming, Notes};
use crate::quant;

/// Tokens that a conversation is assumed to have, where the model allows as many: what llama.cpp
/// makes room for in its examples.
const TOKENS: u64 = 4096;

/// Bytes of a key's or value's element: llama.cpp keeps binary16.
const ELEMENT: u64 = 2;

/// What a model takes to run.
#[derive(Default)]
pub(super) struct Memory {
    /// Bytes of keys and values of each token, in binary16; nothing if none are kept.
    pub(super) cache_per_token: Option<u64>,
    /// Tokens for which `types` makes room.
    tokens: u64,
    /// The mixtures of llama-quantize, and the exact bytes of the weights in each.
    types: Vec<(&'static str, u64)>,
    parameters: u64,
}

impl Memory {
    /// From names, shapes and hyper-parameters; no weight is read.
    pub(super) fn of(family: Option<&'static Arch>, model: &Model, hyper: &Hyper) -> Self {
        let renamed = match family {
            Some(family) if model.naming != Naming::Gguf => {
                arch::rename(family, model, Naming::Gguf, &mut Notes::default()).ok()
            }
            _ => None,
        };
        let model = renamed.as_ref().map_or(model, |(model, _)| model);
        let known = model.naming == Naming::Gguf && !model.tensors.is_empty();
        Self {
            cache_per_token: cache_per_token(family, hyper),
            tokens: hyper.context.unwrap_or(TOKENS).min(TOKENS),
            types: if known { quant::sizes(model) } else { Vec::new() },
            parameters: model.tensors.values().map(|tensor| tensor.shape().count()).sum(),
        }
    }

    fn cache(&self) -> u64 {
        self.cache_per_token.unwrap_or(0).saturating_mul(self.tokens)
    }

    pub(super) fn to_json(&self) -> Json {
        let types = self.types.iter().map(|(name, bytes)| {
            json!({
                "type": name,
                "weight_bytes": bytes,
                "bits_per_weight": *bytes as f64 * 8.0 / self.parameters.max(1) as f64,
                "bytes": bytes + self.cache(),
            })
        });
        json!({
            "tokens": self.tokens,
            "kv_cache_bytes": self.cache(),
            "types": types.collect::<Vec<_>>(),
        })
    }

    /// A table of three columns, because there are many types.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(bytes) = self.cache_per_token {
            let bytes = grouped(bytes);
            lines.push(format!("{:<16} {bytes} bytes a token in f16", "kv cache"));
        }
        if self.types.is_empty() {
            return lines;
        }
        let cache = match self.cache_per_token {
            Some(_) => format!(" and the cache of {} tokens", grouped(self.tokens)),
            None => String::new(),
        };
        lines.push(format!("{:<16} of the weights in each type{cache}", "memory"));
        let cell = |(name, bytes): &(&str, u64)| {
            format!("  {name:<9} {:>9}", report::size(bytes + self.cache()))
        };
        lines.extend(self.types.chunks(3).map(|row| row.iter().map(cell).collect::<String>()));
        lines
    }
}

/// Each layer of a decoder keeps a key and a value for each of their heads.
fn cache_per_token(family: Option<&'static Arch>, hyper: &Hyper) -> Option<u64> {
    let layers = match family?.block.plan {
        Plan::Decoder => hyper.layers,
        Plan::Encoder => None,
        Plan::EncoderDecoder => hyper.decoder_layers,
    };
    let sizes = hyper.key_dim?.checked_add(hyper.value_dim?)?;
    layers?.checked_mul(hyper.kv_heads?)?.checked_mul(sizes)?.checked_mul(ELEMENT)
}
