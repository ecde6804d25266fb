//! A choice of experts for each token: <https://arxiv.org/abs/2101.03961>.
//!
//! Tokens that chose an expert are gathered and computed together; each token's results are
//! added in the order of the experts' numbers, so that sums do not depend on who else is there.

use std::sync::Arc;

use super::count;
use super::feed_forward::{Act, Dense};
use crate::arch::{Part, Parts, Role};
use crate::ir::{Field, Result, Routing};
use crate::run::batch::Batch;
use crate::run::inputs::Inputs;
use crate::run::math::{exp, sigmoid};
use crate::run::weight::{self, Linear};

/// The experts of a layer.
pub(super) struct Experts {
    router: Linear,
    choice: Choice,
    experts: Vec<Dense>,
    shared: Option<Dense>,
    /// How much of the shared expert is used, if not all.
    shared_router: Option<Linear>,
}

/// How a token's experts are chosen and weighed.
struct Choice {
    routing: Routing,
    used: usize,
    /// Added to scores to choose, not to weigh.
    bias: Option<Vec<f32>>,
    normalized: bool,
    scale: f32,
    /// Groups of experts, how many of them are used, and how many experts' scores a group's is
    /// the sum of.
    groups: Option<(usize, usize, usize)>,
}

impl Experts {
    pub(super) fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let hyper = parts.hyper;
        let act = Act::new(hyper);
        let piece = |role, index| Linear::find_piece(parts, role, layer, index);
        let need = |role, index| {
            piece(role, index)?.ok_or_else(|| weight::missing(parts, role, Some(layer)))
        };
        let expert = |index| {
            let (up, down) = (need(Role::ExpertUp, index)?, need(Role::ExpertDown, index)?);
            Ok(Dense { gate: piece(Role::ExpertGate, index)?, up, down, act })
        };
        let shared = |role| Linear::find_optional(parts, role, Some(layer));
        let (up, down) = (shared(Role::SharedUp)?, shared(Role::SharedDown)?);
        let gate = shared(Role::SharedGate)?;
        Ok(Self {
            router: Linear::find(parts, Role::Router, Some(layer))?,
            choice: Choice::find(parts, layer)?,
            experts: (0..count(hyper, Field::Experts)? as u64)
                .map(expert)
                .collect::<Result<_>>()?,
            shared: up.zip(down).map(|(up, down)| Dense { gate, up, down, act }),
            shared_router: shared(Role::SharedRouter)?,
        })
    }

    /// Has what goes into the matrices counted, each expert apart.
    pub(super) fn watch(&mut self, inputs: &Arc<Inputs>) {
        self.router.watch(inputs, (0, 1));
        let experts = self.experts.len();
        for (index, expert) in self.experts.iter_mut().enumerate() {
            expert.watch(inputs, (index, experts));
        }
        self.shared.iter_mut().for_each(|shared| shared.watch(inputs, (0, 1)));
        self.shared_router.iter_mut().for_each(|router| router.watch(inputs, (0, 1)));
    }

    /// What the experts make of each token.
    ///
    /// # Errors
    /// Limit from memory; Io and Unsupported from reading weights.
    pub(super) fn apply(&self, x: &Batch) -> Result<Batch> {
        let scores = self.router.apply(x)?;
        let mut row = vec![0.0; self.experts.len()];
        // Of each expert, the tokens that chose it, and how much of it they take.
        let mut chosen: Vec<Vec<(usize, f32)>> = vec![Vec::new(); self.experts.len()];
        for token in 0..x.tokens {
            scores.get(token, 0, &mut row);
            for (expert, weight) in self.choice.of(&row) {
                chosen[expert].push((token, weight));
            }
        }
        let mut out = Batch::zeros(x.features, x.tokens)?;
        for (expert, tokens) in self.experts.iter().zip(&chosen) {
            if !tokens.is_empty() {
                add_expert(expert, x, tokens, &mut out)?;
            }
        }
        if let Some(shared) = &self.shared {
            let mut made = shared.apply(x)?;
            if let Some(router) = &self.shared_router {
                let gates = router.apply(x)?;
                scale_tokens(&mut made, &gates);
            }
            out.add(&made);
        }
        Ok(out)
    }
}

/// Adds what an expert makes of the tokens that chose it.
fn add_expert(expert: &Dense, x: &Batch, tokens: &[(usize, f32)], out: &mut Batch) -> Result<()> {
    // One token among several is computed in a panel too, as it would be with others beside it.
    let mut gathered = match x.tokens {
        1 => Batch::zeros(x.features, 1)?,
        _ => Batch::in_panels(x.features, tokens.len())?,
    };
    let mut features = vec![0.0; x.features];
    for (place, (token, _)) in tokens.iter().enumerate() {
        x.get(*token, 0, &mut features);
        gathered.set(place, &features);
    }
    let made = expert.apply(&gathered)?;
    let mut sum = vec![0.0; x.features];
    for (place, (token, weight)) in tokens.iter().enumerate() {
        made.get(place, 0, &mut features);
        out.get(*token, 0, &mut sum);
        sum.iter_mut().zip(&features).for_each(|(sum, x)| *sum += x * weight);
        out.set(*token, &sum);
    }
    Ok(())
}

/// Multiplies each token by the sigmoid of its gate.
fn scale_tokens(x: &mut Batch, gates: &Batch) {
    let lanes = x.lanes();
    let panel_len = x.panel_len();
    for (panel, gates) in x.data.chunks_mut(panel_len).zip(gates.data.chunks(lanes)) {
        for row in panel.chunks_mut(lanes) {
            row.iter_mut().zip(gates).for_each(|(x, gate)| *x *= sigmoid(*gate));
        }
    }
}

impl Choice {
    fn find(parts: &Parts<'_>, layer: u64) -> Result<Self> {
        let hyper = parts.hyper;
        let bias = weight::find_vector(parts, Role::RouterBias, Part::Weight, Some(layer))?;
        let routing = hyper.routing.unwrap_or(Routing::Softmax);
        let summed = if routing == Routing::Sigmoid { 2 } else { 1 };
        let groups = hyper.route_groups.zip(hyper.route_groups_used);
        Ok(Self {
            routing,
            used: count(hyper, Field::ExpertsUsed)?,
            bias,
            normalized: hyper.normalized_routes.unwrap_or(false),
            scale: hyper.route_scale.unwrap_or(1.0),
            groups: groups.map(|(all, used)| (all as usize, used as usize, summed)),
        })
    }

    /// The experts of a token with these scores, and their weights, by the experts' numbers.
    fn of(&self, logits: &[f32]) -> Vec<(usize, f32)> {
        let scores = match self.routing {
            Routing::Softmax => softmax(logits),
            Routing::Sigmoid => logits.iter().map(|x| sigmoid(*x)).collect(),
            Routing::TopSoftmax => logits.to_vec(),
        };
        let mut ranked = scores.clone();
        if let Some(bias) = &self.bias {
            ranked.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
        }
        if let Some(groups) = self.groups {
            keep_groups(&mut ranked, groups);
        }
        let mut chosen = greatest(&ranked, self.used);
        chosen.sort_unstable();
        let mut weights: Vec<f32> = chosen.iter().map(|expert| scores[*expert]).collect();
        if self.routing == Routing::TopSoftmax {
            weights = softmax(&weights);
        }
        if self.normalized {
            let sum: f32 = weights.iter().sum();
            // As DeepSeek 3 has it: sigmoids may all be zero.
            let sum = if self.routing == Routing::Sigmoid { sum + 1e-20 } else { sum };
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        weights.iter_mut().for_each(|weight| *weight *= self.scale);
        chosen.into_iter().zip(weights).collect()
    }
}

/// Leaves the best groups' scores; those of others become zero, as in transformers.
fn keep_groups(scores: &mut [f32], (groups, used, summed): (usize, usize, usize)) {
    let size = scores.len() / groups.max(1);
    let best =
        |group: &[f32]| -> f32 { greatest(group, summed).into_iter().map(|i| group[i]).sum() };
    let of_groups: Vec<f32> = scores.chunks(size.max(1)).map(best).collect();
    let kept = greatest(&of_groups, used);
    for (group, scores) in scores.chunks_mut(size.max(1)).enumerate() {
        if !kept.contains(&group) {
            scores.fill(0.0);
        }
    }
}

/// The places of the greatest values; of equal ones, the first.
fn greatest(values: &[f32], count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|a, b| values[*b].total_cmp(&values[*a]).then(a.cmp(b)));
    places.truncate(count);
    places
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|x| exp(x - max)).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|x| x / sum).collect()
}
