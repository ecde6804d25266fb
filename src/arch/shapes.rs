//! The shape of each role's tensor, from the hyper-parameters.

use super::{Part, QueryNorm, Role};
use crate::ir::Hyper;

impl Role {
    /// The shape of the tensor, outermost dimension first, as Hugging Face has it where it stands
    /// alone; nothing if the hyper-parameters do not decide it.
    pub fn shape(self, hyper: &Hyper, part: Part, query_norm: QueryNorm) -> Option<Vec<u64>> {
        let shape = self.weight(hyper, query_norm)?;
        match (part, self) {
            (Part::Weight, _) => Some(shape),
            (Part::Bias, Self::QueryNorm | Self::KeyNorm) => Some(shape),
            (Part::Bias, _) => Some(shape[..shape.len().saturating_sub(1).max(1)].to_vec()),
        }
    }

    fn weight(self, hyper: &Hyper, query_norm: QueryNorm) -> Option<Vec<u64>> {
        let hidden = hyper.hidden?;
        let heads = hyper.heads;
        let of_heads = |heads: Option<u64>, size: Option<u64>| Some(heads? * size?);
        let expert = || Some((hyper.experts?, hyper.expert_feed_forward?));
        // Without their rotary dimensions.
        let plain_keys = || hyper.key_dim?.checked_sub(hyper.rope_dims?);
        let norm = |heads: Option<u64>| {
            Some(match query_norm {
                QueryNorm::Head => vec![hyper.key_dim?],
                QueryNorm::EachHead => vec![heads?, hyper.key_dim?],
                QueryNorm::Whole => vec![heads? * hyper.key_dim?],
            })
        };
        Some(match self {
            Self::Embedding => vec![hyper.vocab?, hyper.embedding_size()?],
            Self::Output => vec![hyper.vocab?, hyper.embedding_size()?],
            Self::EmbeddingNorm
            | Self::OutputNorm
            | Self::AttentionNorm
            | Self::AttentionPostNorm
            | Self::FeedForwardNorm
            | Self::FeedForwardPostNorm => vec![hidden],
            Self::ProjectIn => vec![hidden, hyper.embedding_size()?],
            Self::ProjectOut => vec![hyper.embedding_size()?, hidden],
            // Some families have rows before the first position.
            Self::Positions => return None,
            Self::Query => vec![of_heads(heads, hyper.key_dim)?, hidden],
            Self::QueryUp => vec![of_heads(heads, hyper.key_dim)?, hyper.query_rank?],
            Self::Key => vec![of_heads(hyper.kv_heads, hyper.key_dim)?, hidden],
            Self::Value => vec![of_heads(hyper.kv_heads, hyper.value_dim)?, hidden],
            Self::QueryNorm => norm(heads)?,
            Self::KeyNorm => norm(hyper.kv_heads)?,
            Self::QueryDown => vec![hyper.query_rank?, hidden],
            Self::QueryDownNorm => vec![hyper.query_rank?],
            Self::KeyValueDown => vec![hyper.key_value_rank? + hyper.rope_dims?, hidden],
            Self::KeyValueDownNorm => vec![hyper.key_value_rank?],
            Self::KeyUp => vec![of_heads(heads, plain_keys())?, hyper.key_value_rank?],
            Self::ValueUp => vec![of_heads(heads, hyper.value_dim)?, hyper.key_value_rank?],
            Self::Sinks => vec![heads?],
            Self::AttentionOutput => vec![hidden, of_heads(heads, hyper.value_dim)?],
            Self::Gate | Self::Up => vec![hyper.feed_forward?, hidden],
            Self::Down => vec![hidden, hyper.feed_forward?],
            Self::Router => vec![hyper.experts?, hidden],
            Self::RouterBias => vec![hyper.experts?],
            Self::ExpertGate | Self::ExpertUp => expert().map(|(e, ff)| vec![e, ff, hidden])?,
            Self::ExpertDown => expert().map(|(e, ff)| vec![e, hidden, ff])?,
            Self::SharedGate | Self::SharedUp => vec![hyper.shared_feed_forward?, hidden],
            Self::SharedDown => vec![hidden, hyper.shared_feed_forward?],
            Self::SharedRouter => vec![1, hidden],
            Self::RopeFactors | Self::RopeLong | Self::RopeShort => vec![hyper.rope_dims? / 2],
        })
    }
}
