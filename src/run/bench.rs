//! How fast a model runs.

use std::time::Instant;

use super::Decoder;
use super::sample::{Sampler, Sampling};
use crate::ir::{Error, Result};

/// How fast a model runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speeds {
    /// Tokens per second of a prompt, computed as a whole.
    pub prompt_tokens_per_second: f64,
    /// Tokens per second of text generated after it.
    pub generation_tokens_per_second: f64,
}

/// Runs a prompt of `prompt_len` tokens, then generates `gen_len`, and says how fast that was.
/// A short run before it brings the weights into memory. A length of 0 gives a speed of 0.
///
/// # Errors
/// What [`Decoder::forward_last`] says.
pub fn bench(decoder: &Decoder, prompt_len: usize, gen_len: usize) -> Result<Speeds> {
    let vocab = decoder.vocab().max(1);
    // Ids of no meaning, spread over the vocabulary: 7919 is the thousandth prime.
    let prompt: Vec<u32> = (0..prompt_len).map(|i| (i * 7919 % vocab) as u32).collect();
    decoder.forward_last(&mut decoder.cache(2)?, &[0, 0])?;
    let context = prompt_len.checked_add(gen_len).and_then(|tokens| tokens.checked_add(1));
    let context = context.ok_or_else(|| Error::usage("more tokens than can be counted"))?;
    let mut cache = decoder.cache(context)?;
    let mut next = 0;
    let mut sampler = Sampler::new(Sampling::default(), 0);
    let start = Instant::now();
    if prompt_len > 0 {
        next = sampler.sample(&decoder.forward_last(&mut cache, &prompt)?);
    }
    let prompt_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for _ in 0..gen_len {
        next = sampler.sample(&decoder.forward_last(&mut cache, &[next])?);
    }
    let speed = |tokens: usize, seconds: f64| {
        if tokens == 0 { 0.0 } else { tokens as f64 / seconds.max(f64::MIN_POSITIVE) }
    };
    Ok(Speeds {
        prompt_tokens_per_second: speed(prompt_len, prompt_seconds),
        generation_tokens_per_second: speed(gen_len, start.elapsed().as_secs_f64()),
    })
}
