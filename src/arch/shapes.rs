//! The shape of each role's tensor, from the hyper-parameters.

use super::{Part, QueryNorm, Role};
use crate::ir::{Field, Hyper};

impl Role {
    /// Which hyper-parameter counts the layers that have such a tensor, if it is of layers.
    pub(super) fn layers(self) -> Field {
        use Role::*;
        let of_decoder = [
            DecoderAttentionNorm,
            DecoderQuery,
            DecoderKey,
            DecoderValue,
            DecoderAttentionOutput,
            CrossNorm,
            CrossQuery,
            CrossKey,
            CrossValue,
            CrossOutput,
            DecoderFeedForwardNorm,
            DecoderGate,
            DecoderUp,
            DecoderDown,
        ];
        if of_decoder.contains(&self) { Field::DecoderLayers } else { Field::Layers }
    }

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
        // A layer that keeps no keys has one for each head.
        let key_heads = hyper.kv_heads.or(heads);
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
            | Self::FeedForwardPostNorm
            | Self::HeadNorm
            | Self::DecoderAttentionNorm
            | Self::CrossNorm
            | Self::DecoderFeedForwardNorm
            | Self::DecoderOutputNorm => vec![hidden],
            Self::TokenTypes => vec![hyper.token_types?, hidden],
            Self::HeadDense => vec![hidden, hidden],
            Self::OutputBias => vec![hyper.vocab?],
            Self::DistanceBias | Self::DecoderDistanceBias => {
                vec![hyper.distance_buckets?, heads?]
            }
            Self::ProjectIn => vec![hidden, hyper.embedding_size()?],
            Self::ProjectOut => vec![hyper.embedding_size()?, hidden],
            // Some families have rows before the first position.
            Self::Positions => return None,
            Self::Query | Self::DecoderQuery | Self::CrossQuery => {
                vec![of_heads(heads, hyper.key_dim)?, hidden]
            }
            Self::QueryUp => vec![of_heads(heads, hyper.key_dim)?, hyper.query_rank?],
            Self::Key | Self::DecoderKey | Self::CrossKey => {
                vec![of_heads(key_heads, hyper.key_dim)?, hidden]
            }
            Self::Value | Self::DecoderValue | Self::CrossValue => {
                vec![of_heads(key_heads, hyper.value_dim)?, hidden]
            }
            Self::QueryNorm => norm(heads)?,
            Self::KeyNorm => norm(hyper.kv_heads)?,
            Self::QueryDown => vec![hyper.query_rank?, hidden],
            Self::QueryDownNorm => vec![hyper.query_rank?],
            Self::KeyValueDown => vec![hyper.key_value_rank? + hyper.rope_dims?, hidden],
            Self::KeyValueDownNorm => vec![hyper.key_value_rank?],
            Self::KeyUp => vec![of_heads(heads, plain_keys())?, hyper.key_value_rank?],
            Self::ValueUp => vec![of_heads(heads, hyper.value_dim)?, hyper.key_value_rank?],
            Self::Sinks => vec![heads?],
            Self::AttentionOutput | Self::DecoderAttentionOutput | Self::CrossOutput => {
                vec![hidden, of_heads(heads, hyper.value_dim)?]
            }
            Self::Gate | Self::Up | Self::DecoderGate | Self::DecoderUp => {
                vec![hyper.feed_forward?, hidden]
            }
            Self::Down | Self::DecoderDown => vec![hidden, hyper.feed_forward?],
            Self::Router => vec![hyper.experts?, hidden],
            Self::RouterBias => vec![hyper.experts?],
            Self::ExpertGate | Self::ExpertUp => expert().map(|(e, ff)| vec![e, ff, hidden])?,
            Self::ExpertDown => expert().map(|(e, ff)| vec![e, hidden, ff])?,
            Self::SharedGate | Self::SharedUp => vec![hyper.shared_feed_forward?, hidden],
            Self::SharedDown => vec![hidden, hyper.shared_feed_forward?],
            Self::SharedRouter => vec![1, hidden],
            Self::MixerIn => vec![2 * hyper.channels?, hidden],
            // GGUF leaves the middle dimension out.
            Self::Convolution => return None,
            Self::Selection => vec![hyper.step_rank? + 2 * hyper.state_size?, hyper.channels?],
            Self::Step => vec![hyper.channels?, hyper.step_rank?],
            Self::Decay => vec![hyper.channels?, hyper.state_size?],
            Self::Skip => vec![hyper.channels?],
            // Numbers in different arrangements, which the runner counts.
            Self::MixKey
            | Self::MixValue
            | Self::MixReceptance
            | Self::MixGate
            | Self::FeedMixKey
            | Self::FeedMixReceptance
            | Self::First => return None,
            Self::Receptance | Self::WkvGate => vec![of_heads(heads, hyper.key_dim)?, hidden],
            Self::WkvNorm => vec![of_heads(heads, hyper.value_dim)?],
            Self::FeedReceptance => vec![hidden, hidden],
            Self::MixerOut => vec![hidden, hyper.channels?],
            Self::RopeFactors | Self::RopeLong | Self::RopeShort => vec![hyper.rope_dims? / 2],
        })
    }
}
