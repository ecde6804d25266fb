//! How well a model predicts a text: exp of the mean of −ln p(next id), as llama-perplexity
//! counts it.

use super::chunks::Chunk;
use super::gates::logits::Runner;
use super::metrics::log_sum_exp;
use super::statistics::Mean;
use crate::ir::Result;

/// Ids that are run at once, which bounds the memory for logits.
const STEP: usize = 64;

/// How well a model predicts a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Perplexity {
    /// The perplexity.
    pub perplexity: Mean,
    /// The mean of −ln p(next id), in nats.
    pub surprise: Mean,
    /// Predictions that were scored.
    pub scored: usize,
}

impl Perplexity {
    fn of(surprises: &[f64]) -> Self {
        let surprise = Mean::of(surprises.iter().copied());
        let perplexity = surprise.map(libm::exp, libm::exp);
        Self { perplexity, surprise, scored: surprises.len() }
    }
}

/// Scores the chunks of a text; `each` is told how it stands after each of them.
///
/// # Errors
/// What running the model meets.
pub fn perplexity(
    runner: &mut dyn Runner,
    chunks: &[Chunk],
    mut each: impl FnMut(usize, Perplexity),
) -> Result<Perplexity> {
    let mut surprises = Vec::new();
    for (done, chunk) in chunks.iter().enumerate() {
        runner.begin(chunk.ids.len())?;
        for start in (0..chunk.ids.len()).step_by(STEP) {
            let ids = &chunk.ids[start..chunk.ids.len().min(start + STEP)];
            let logits = runner.forward(ids)?;
            let scored = (start..).zip(logits.chunks_exact(runner.vocab().max(1)));
            let scored = scored.filter(|(position, _)| chunk.scored.contains(position));
            surprises.extend(scored.filter_map(|(position, logits)| {
                let next = *logits.get(chunk.next(position)? as usize)?;
                Some(log_sum_exp(logits) - f64::from(next))
            }));
        }
        each(done + 1, Perplexity::of(&surprises));
    }
    Ok(Perplexity::of(&surprises))
}
