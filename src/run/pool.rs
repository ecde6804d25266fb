//! The hidden states of a text as one vector.

use crate::arch::{Pool, Pooling};

/// One vector of the hidden states of all positions, `[position][feature]`, as `pooling` says.
pub fn pooled(hidden: &[f32], features: usize, pooling: Pooling) -> Vec<f32> {
    let rows = || hidden.chunks_exact(features.max(1));
    let mut vector = match pooling.pool {
        Pool::First => rows().next().unwrap_or_default().to_vec(),
        Pool::Last => rows().next_back().unwrap_or_default().to_vec(),
        Pool::Mean => {
            let count = rows().len().max(1) as f64;
            let sum = |feature: usize| rows().map(|row| f64::from(row[feature])).sum::<f64>();
            (0..features).map(|feature| (sum(feature) / count) as f32).collect()
        }
    };
    if pooling.normalised {
        let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        // As sentence-transformers, which divides by no less than this.
        let length = square.sqrt().max(1e-12);
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_pooled() {
        let hidden = [1.0, 2.0, 3.0, 4.0, 8.0, 3.0];
        let of =
            |pool, normalised| pooled(&hidden, 2, Pooling { pool, normalised, max_tokens: None });
        assert_eq!(of(Pool::Mean, false), [4.0, 3.0]);
        assert_eq!(of(Pool::Mean, true), [0.8, 0.6]);
        assert_eq!(of(Pool::First, false), [1.0, 2.0]);
        assert_eq!(of(Pool::Last, false), [8.0, 3.0]);
        let none = Pooling { pool: Pool::Mean, normalised: true, max_tokens: None };
        assert_eq!(pooled(&[0.0, 0.0], 2, none), [0.0, 0.0]);
    }
}
