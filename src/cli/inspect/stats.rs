//! `inspect --tensors --stats`: what the elements of a tensor are like.

use serde_json::{Value as Json, json};

use super::lenient;
use crate::ir::tensor::pieces;
use crate::ir::{Fault, Result, Scratch, Tensor, Value};

/// Elements that are looked at together, so that a tensor of any size takes little memory.
const PIECE: u64 = 1 << 20;

/// What the elements of a tensor are like.
pub(super) struct Stats {
    least: f32,
    greatest: f32,
    mean: f64,
    zeros: u64,
    nonfinite: u64,
}

impl Stats {
    /// What the elements are like; nothing for those that are no weights: integers, booleans, and
    /// packings that are not decoded.
    pub(super) fn of(tensor: &Tensor) -> Result<Option<Self>> {
        match Self::of_weights(tensor) {
            Err(error) if error.fault == Fault::Unsupported => Ok(None),
            found => found.map(Some),
        }
    }

    fn of_weights(tensor: &Tensor) -> Result<Self> {
        let mut scratch = Scratch::default();
        let count = tensor.shape().count();
        let mut stats = Self {
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            mean: 0.0,
            zeros: 0,
            nonfinite: 0,
        };
        let mut sum = 0.0;
        for elements in pieces(count, [tensor.granule()], PIECE) {
            let mut values = scratch.take_floats((elements.end - elements.start) as usize)?;
            tensor.read_floats(elements, &mut values, &mut scratch)?;
            for &x in &values {
                if !x.is_finite() {
                    stats.nonfinite += 1;
                    continue;
                }
                stats.least = stats.least.min(x);
                stats.greatest = stats.greatest.max(x);
                stats.zeros += u64::from(x == 0.0);
                sum += f64::from(x);
            }
            scratch.give_floats(values);
        }
        stats.mean = sum / (count - stats.nonfinite).max(1) as f64;
        Ok(stats)
    }

    pub(super) fn to_json(&self) -> Json {
        json!({
            "min": lenient(&Value::F32(self.least)),
            "max": lenient(&Value::F32(self.greatest)),
            "mean": self.mean,
            "zeros": self.zeros,
            "nonfinite": self.nonfinite,
        })
    }

    pub(super) fn text(&self) -> String {
        let odd = if self.nonfinite > 0 {
            format!(" NOT FINITE: {}", self.nonfinite)
        } else {
            String::new()
        };
        let (least, greatest, mean) = (self.least, self.greatest, self.mean);
        format!(
            " {least:>11.4e} … {greatest:>10.4e}  mean {mean:>11.4e}  zeros {}{odd}",
            self.zeros
        )
    }
}
