//! Attention biases by the distance of a key from its query, as T5 has them:
//! <https://arxiv.org/abs/1910.10683>, section 2.1.
//!
//! Near distances have a bucket each; farther ones share buckets whose width grows as the
//! logarithm; all beyond the greatest distance share the last. A bucket has a bias for each head.

use crate::ir::{Error, Result};

/// A bias for each distance of a key from its query, and each head.
#[derive(Clone)]
pub(super) struct RelativeBias {
    /// `[head][distance]`, from the greatest distance before the query to that after it.
    biases: Vec<f32>,
    /// Beyond this distance, all are alike.
    reach: i64,
}

/// How distances are put into buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Buckets {
    pub(super) count: u32,
    pub(super) max_distance: u32,
    /// Keys after the query are seen too: half of the buckets are theirs.
    pub(super) both_sides: bool,
}

/// Distances that can be told apart; the greatest seen is 128.
const MAX_DISTANCE: u32 = 1 << 16;

impl RelativeBias {
    /// The biases of `table`, `[bucket][head]`.
    ///
    /// # Errors
    /// Malformed if there are too few buckets to tell near from far; Limit beyond 65,536.
    pub(super) fn new(table: &[f32], heads: usize, buckets: Buckets) -> Result<Self> {
        let Buckets { count, max_distance, .. } = buckets;
        let near = buckets.near();
        if near == 0 || max_distance <= near || table.len() != count as usize * heads {
            let text = format!("{count} buckets of distances up to {max_distance} are too few");
            return Err(Error::malformed(text));
        }
        if max_distance > MAX_DISTANCE {
            return Err(Error::limit(format!("distances up to {max_distance}")));
        }
        let reach = i64::from(max_distance);
        let bias = |head, distance| table[buckets.of(distance) as usize * heads + head];
        let biases = |head| (-reach..=reach).map(move |distance| bias(head, distance));
        Ok(Self { biases: (0..heads).flat_map(biases).collect(), reach })
    }

    /// The bias of a key that stands so far after the query; before it, the distance is negative.
    pub(super) fn of(&self, head: usize, distance: i64) -> f32 {
        let index = distance.clamp(-self.reach, self.reach) + self.reach;
        self.biases[head * (2 * self.reach as usize + 1) + index as usize]
    }
}

impl Buckets {
    /// Buckets of one side.
    fn side(self) -> u32 {
        if self.both_sides { self.count / 2 } else { self.count }
    }

    /// Distances that have a bucket each.
    fn near(self) -> u32 {
        self.side() / 2
    }

    /// The bucket of a key so far after its query; before it, the distance is negative. In
    /// binary32, as transformers computes it: distances at a bucket's edge depend on it.
    fn of(self, distance: i64) -> u32 {
        let after = if self.both_sides && distance > 0 { self.side() } else { 0 };
        let distance = match self.both_sides {
            true => distance.unsigned_abs(),
            false => distance.min(0).unsigned_abs(),
        };
        let near = self.near();
        if distance < u64::from(near) {
            return after + distance as u32;
        }
        let log = |x: f64| libm::log(x) as f32;
        let share = log(f64::from(distance as f32 / near as f32))
            / log(f64::from(self.max_distance) / f64::from(near));
        let bucket = near + (share * (self.side() - near) as f32) as u32;
        after + bucket.min(self.side() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What transformers' `_relative_position_bucket` gives, run length by run length.
    #[test]
    fn buckets_are_those_of_transformers() {
        let text = include_str!("../../fixtures/relative/buckets.json");
        let cases: serde_json::Value = serde_json::from_str(text).unwrap();
        let cases = cases.as_array().unwrap();
        let mut seen = 0;
        for case in cases {
            let number = |key: &str| case[key].as_i64().unwrap();
            let buckets = Buckets {
                count: number("count") as u32,
                max_distance: number("max_distance") as u32,
                both_sides: case["both_sides"].as_bool().unwrap(),
            };
            let mut distance = number("first");
            for run in case["runs"].as_array().unwrap() {
                let (bucket, length) = (run[0].as_u64().unwrap(), run[1].as_u64().unwrap());
                for _ in 0..length {
                    assert_eq!(u64::from(buckets.of(distance)), bucket, "{buckets:?} {distance}");
                    (distance, seen) = (distance + 1, seen + 1);
                }
            }
        }
        assert_eq!((cases.len(), seen), (12, 12 * 2001));
    }

    #[test]
    fn each_head_has_its_own_biases() {
        let buckets = Buckets { count: 8, max_distance: 10, both_sides: false };
        let table: Vec<f32> = (0..16).map(|n| n as f32).collect();
        let bias = RelativeBias::new(&table, 2, buckets).unwrap();
        let of = |head, distance| (bias.of(head, distance), bias.of(head, distance - 1));
        assert_eq!((of(0, 5), of(1, 0)), ((0.0, 0.0), (1.0, 3.0)));
        assert_eq!((of(0, -10), of(1, -1_000_000)), ((14.0, 14.0), (15.0, 15.0)));
    }

    #[test]
    fn too_few_buckets_are_refused() {
        let buckets = Buckets { count: 2, max_distance: 128, both_sides: true };
        assert!(RelativeBias::new(&[0.0; 8], 4, buckets).is_err());
        let buckets = Buckets { count: 32, max_distance: 8, both_sides: true };
        assert!(RelativeBias::new(&[0.0; 128], 4, buckets).is_err());
    }
}
