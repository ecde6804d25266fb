//! The choice of the next token.

use super::math::exp;
use super::random::SplitMix;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The choice is from softmax(logits / temperature); at 0, it is the most likely token.
    pub temperature: f32,
    /// Only so many of the most likely tokens are chosen from; at least 1.
    pub top_k: usize,
    /// Only the most likely tokens are chosen from, as many as together reach this probability:
    /// <https://arxiv.org/abs/1904.09751>.
    pub top_p: f32,
}

/// The most likely token; with a temperature, any token.
impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.0, top_k: usize::MAX, top_p: 1.0 }
    }
}

/// Chooses tokens from logits; the same seed chooses the same tokens on every platform.
#[derive(Debug, Clone)]
pub struct Sampler {
    how: Sampling,
    random: SplitMix,
}

impl Sampler {
    /// A sampler whose choices follow from the seed.
    pub fn new(how: Sampling, seed: u64) -> Self {
        Self { how, random: SplitMix::new(seed) }
    }

    /// The id of the next token. Of equal logits the lowest id counts as the most likely; a NaN
    /// counts as the least.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        if self.how.temperature <= 0.0 {
            return best(logits);
        }
        let likely = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
        let mut order: Vec<(u32, f32)> =
            (0u32..).zip(logits).map(|(id, &logit)| (id, likely(logit))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(self.how.top_k.max(1));
        let most = order.first().map_or(0.0, |(_, logit)| *logit);
        let weight = |logit: f32| f64::from(exp((logit - most) / self.how.temperature));
        // The weight of each token and of those before it.
        let mut reached = Vec::with_capacity(order.len());
        for (_, logit) in &order {
            reached.push(reached.last().unwrap_or(&0.0) + weight(*logit));
        }
        let enough = reached.last().unwrap_or(&0.0) * f64::from(self.how.top_p);
        let kept = reached.partition_point(|sum| *sum < enough) + 1;
        reached.truncate(kept);
        let drawn = self.random.uniform() * reached.last().unwrap_or(&0.0);
        let chosen = reached.partition_point(|sum| *sum <= drawn).min(kept - 1);
        order.get(chosen).map_or(0, |(id, _)| *id)
    }
}

/// The first of the largest logits.
fn best(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in (0u32..).zip(logits) {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(temperature: f32) -> Sampling {
        Sampling { temperature, ..Sampling::default() }
    }

    #[test]
    fn greed_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(at(0.0), 0).sample(&[1.0, 3.0, f32::NAN, 3.0]), 1);
        assert_eq!(Sampler::new(at(0.0), 0).sample(&[f32::NAN]), 0);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let mut sampler = Sampler::new(at(0.5), 7);
        let mut counts = [0u32; 3];
        for _ in 0..20_000 {
            counts[sampler.sample(&[0.0, 0.5, f32::NAN]) as usize] += 1;
        }
        // softmax([0, 1]) = [0.2689, 0.7311]; three standard deviations of 20,000 draws are 190.
        assert!(counts[0].abs_diff(5378) < 190, "{counts:?}");
        assert_eq!(counts[2], 0);
    }

    #[test]
    fn the_unlikely_are_left_out() {
        let logits = [1.0, 2.0, 3.0, 4.0];
        let mut by_count = Sampler::new(Sampling { top_k: 2, ..at(10.0) }, 1);
        let mut by_probability = Sampler::new(Sampling { top_p: 0.8, ..at(1.0) }, 1);
        for _ in 0..200 {
            assert!(by_count.sample(&logits) >= 2);
            // softmax gives 0.644 and 0.237 to the best two, which together reach 0.8.
            assert!(by_probability.sample(&logits) >= 2);
        }
    }
}
