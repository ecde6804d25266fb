//! The gates that the user asks for, held exactly as given.

use crate::verify::metrics::Metrics;
use crate::verify::report::Gate;

/// What the user asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    /// `--max-kld`: the mean KLD may be at most this, in nats.
    pub max_kld: Option<f64>,
    /// `--min-top1`: the share of positions with the same most likely id, from 0 to 1.
    pub min_top1: Option<f64>,
    /// `--max-nmse`: of the logits; where none were compared, of the worst tensor.
    pub max_nmse: Option<f64>,
}

impl Asked {
    /// Whether the user asks for what only logits can answer.
    pub(crate) fn needs_logits(&self) -> bool {
        *self != Self::default()
    }

    /// The gates that were asked for. What was not measured does not pass.
    pub(crate) fn gates(&self, logits: Option<&Metrics>, worst_nmse: Option<f64>) -> Vec<Gate> {
        let unknown = "not measured: the models were not run";
        let of = |value: fn(&Metrics) -> f64, text: &'static str| match logits {
            Some(metrics) => (value(metrics), text),
            None => (f64::NAN, unknown),
        };
        let mut gates = Vec::new();
        let mut add = |gate: Gate, option: &'static str| {
            gates.push(Gate { option: Some(option), ..gate });
        };
        if let Some(limit) = self.max_kld {
            let (value, text) = of(|metrics| metrics.kld.mean.value, "mean KLD, as asked");
            add(Gate::at_most("max-kld", value, limit, text), "--max-kld");
        }
        if let Some(limit) = self.min_top1 {
            let (value, text) = of(|metrics| metrics.top1.value, "same top id, as asked");
            add(Gate::at_least("min-top1", value, limit, text), "--min-top1");
        }
        if let Some(limit) = self.max_nmse {
            let (value, text) = match (logits, worst_nmse) {
                (None, Some(worst)) => (worst, "NMSE of the worst tensor, as asked"),
                _ => of(|metrics| metrics.nmse, "NMSE of the logits, as asked"),
            };
            add(Gate::at_most("max-nmse", value, limit, text), "--max-nmse");
        }
        gates
    }
}
