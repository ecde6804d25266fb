//! The choice of the next token.

use super::math::exp;

/// Chooses tokens from logits; the same seed chooses the same tokens on every platform.
#[derive(Debug, Clone)]
pub struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f32,
    state: u64,
}

impl Sampler {
    /// A sampler of softmax(logits / temperature). At temperature 0 it takes the most likely.
    pub fn new(temperature: f32, seed: u64) -> Self {
        Self { temperature, top_k: usize::MAX, top_p: 1.0, state: seed }
    }

    /// Only the `count` most likely tokens are chosen from.
    #[must_use]
    pub fn top_k(mut self, count: usize) -> Self {
        self.top_k = count.max(1);
        self
    }

    /// Only the most likely tokens are chosen from, as many as together reach `probability`:
    /// <https://arxiv.org/abs/1904.09751>.
    #[must_use]
    pub fn top_p(mut self, probability: f32) -> Self {
        self.top_p = probability;
        self
    }

    /// The id of the next token. Of equal logits the lowest id counts as the most likely; a NaN
    /// counts as the least.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let likely = |logit: f32| if logit.is_nan() { f32::NEG_INFINITY } else { logit };
        if self.temperature <= 0.0 {
            let best = (0u32..).zip(logits).fold((0, f32::NEG_INFINITY), |best, (id, &logit)| {
                if logit > best.1 { (id, logit) } else { best }
            });
            return best.0;
        }
        let mut order: Vec<(u32, f32)> =
            (0u32..).zip(logits).map(|(id, &logit)| (id, likely(logit))).collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(self.top_k);
        let most = order.first().map_or(0.0, |(_, logit)| *logit);
        let mut sum = 0.0f64;
        let mut up_to = Vec::with_capacity(order.len());
        for (_, logit) in &order {
            sum += f64::from(exp((logit - most) / self.temperature));
            up_to.push(sum);
        }
        let kept = up_to.partition_point(|reached| *reached < sum * f64::from(self.top_p));
        let kept = (kept + 1).min(up_to.len());
        let total = up_to.get(kept.wrapping_sub(1)).copied().unwrap_or(0.0);
        let drawn = self.uniform() * total;
        let chosen = up_to[..kept].partition_point(|reached| *reached <= drawn);
        order.get(chosen.min(kept.saturating_sub(1))).map_or(0, |(id, _)| *id)
    }

    /// The next of uniform numbers from 0 up to 1.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_splitmix64() {
        // The first outputs for seed 1234567, from the reference implementation in C:
        // <https://prng.di.unimi.it/splitmix64.c>.
        let mut sampler = Sampler::new(1.0, 1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([sampler.next(), sampler.next()], expected);
    }

    #[test]
    fn greed_takes_the_first_of_the_best() {
        assert_eq!(Sampler::new(0.0, 0).sample(&[1.0, 3.0, f32::NAN, 3.0]), 1);
        assert_eq!(Sampler::new(0.0, 0).sample(&[f32::NAN]), 0);
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let mut sampler = Sampler::new(0.5, 7);
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
        let mut by_count = Sampler::new(10.0, 1).top_k(2);
        let mut by_probability = Sampler::new(1.0, 1).top_p(0.8);
        for _ in 0..200 {
            assert!(by_count.sample(&logits) >= 2);
            // softmax gives 0.644 and 0.237 to the best two, which together reach 0.8.
            assert!(by_probability.sample(&logits) >= 2);
        }
    }
}
