//! Ensembles of decision trees of ai.onnx.ml: as lists by name up to version 4, as tensors of
//! numbers since version 5.

use std::collections::BTreeMap;

use super::learn::{DOMAIN, classes, classified, rows, transform, transformed};
use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::Array;
use crate::run::graph::call::Call;
use crate::run::graph::types::Type;
use crate::run::graph::value::Value;

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "TreeEnsemble", since: 5, compute: ensemble },
    Operator { domain: DOMAIN, name: "TreeEnsembleClassifier", since: 1, compute: classifier },
    Operator { domain: DOMAIN, name: "TreeEnsembleRegressor", since: 1, compute: regressor },
];

/// One node of a tree.
#[derive(Debug)]
struct Branch {
    feature: usize,
    value: f64,
    rule: Rule,
    if_true: usize,
    if_false: usize,
    missing_is_true: bool,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Rule {
    AtMost,
    Less,
    AtLeast,
    Greater,
    Equal,
    Unequal,
    /// One of the numbers of this set.
    Member(usize),
    Leaf,
}

/// The names of rules, and since version 5 their places here.
const RULES: &[(&str, Rule)] = &[
    ("BRANCH_LEQ", Rule::AtMost),
    ("BRANCH_LT", Rule::Less),
    ("BRANCH_GTE", Rule::AtLeast),
    ("BRANCH_GT", Rule::Greater),
    ("BRANCH_EQ", Rule::Equal),
    ("BRANCH_NEQ", Rule::Unequal),
    ("BRANCH_MEMBER", Rule::Member(0)),
];

/// How the leaves of several trees make a score; the places here are the numbers of version 5.
const FUNCTIONS: &[&str] = &["AVERAGE", "SUM", "MIN", "MAX"];

/// Transforms by their numbers in version 5.
const TRANSFORMS: &[&str] = &["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];

/// Trees, and what their leaves add to which target.
#[derive(Default)]
struct Forest {
    nodes: Vec<Branch>,
    roots: Vec<usize>,
    /// By node; those that are no leaves have none.
    leaves: Vec<Vec<(usize, f64)>>,
    /// Sets of whole numbers.
    sets: Vec<Vec<f64>>,
    /// Inputs are compared as they are, not rounded to binary32.
    doubles: bool,
}

fn unlike() -> Error {
    Error::malformed("attributes nodes_…: their lists do not fit each other")
}

/// A list of integers; empty if there is none.
fn list<'c>(call: &'c Call<'_>, name: &str) -> Result<&'c [i64]> {
    Ok(call.list(name)?.unwrap_or_default())
}

/// A list of indices, of which there must be so many.
fn indices(call: &Call<'_>, name: &str, count: usize) -> Result<Vec<usize>> {
    let found = super::shape::sizes(list(call, name)?)?;
    if found.len() == count { Ok(found) } else { Err(unlike()) }
}

/// Numbers that are stated as a list, or as a tensor of any type; whether they are binary64.
fn numbers(call: &Call<'_>, name: &str) -> Result<(Vec<f64>, bool)> {
    if let Some(values) = call.floats(name)? {
        return Ok((values.iter().map(|x| f64::from(*x)).collect(), false));
    }
    match call.constant(&format!("{name}_as_tensor"))? {
        Some(tensor) => Ok((tensor.numbers()?, tensor.dtype() == Type::F64)),
        None => Ok((Vec::new(), false)),
    }
}

impl Forest {
    /// As the node's lists say it; those of the leaves begin with `prefix`.
    fn listed(call: &Call<'_>, prefix: &str) -> Result<Self> {
        let (trees, ids) = (list(call, "nodes_treeids")?, list(call, "nodes_nodeids")?);
        let (yes, no) = (list(call, "nodes_truenodeids")?, list(call, "nodes_falsenodeids")?);
        let (values, doubles) = numbers(call, "nodes_values")?;
        let modes = call.texts("nodes_modes")?.unwrap_or_default();
        let missing = list(call, "nodes_missing_value_tracks_true")?;
        let count = trees.len();
        let features = indices(call, "nodes_featureids", count)?;
        if [ids.len(), yes.len(), no.len(), values.len(), modes.len()] != [count; 5] {
            return Err(unlike());
        }
        let place: BTreeMap<(i64, i64), usize> =
            trees.iter().copied().zip(ids.iter().copied()).zip(0..).collect();
        let find = |tree: i64, id: i64| place.get(&(tree, id)).copied().ok_or_else(unlike);
        let mut nodes = Vec::with_capacity(count);
        for i in 0..count {
            let rule = named(&modes[i])?;
            let child = |id: i64| if rule == Rule::Leaf { Ok(i) } else { find(trees[i], id) };
            nodes.push(Branch {
                feature: features[i],
                value: values[i],
                rule,
                if_true: child(yes[i])?,
                if_false: child(no[i])?,
                missing_is_true: missing.get(i).is_some_and(|x| *x != 0),
            });
        }
        let roots = (0..count).filter(|i| *i == 0 || trees[*i] != trees[i - 1]).collect();
        let list_of = |what: &str| list(call, &format!("{prefix}_{what}"));
        let (leaf_trees, leaf_ids) = (list_of("treeids")?, list_of("nodeids")?);
        let targets = indices(call, &format!("{prefix}_ids"), leaf_trees.len())?;
        let (weights, _) = numbers(call, &format!("{prefix}_weights"))?;
        if [leaf_ids.len(), weights.len()] != [leaf_trees.len(); 2] {
            return Err(unlike());
        }
        let mut leaves = vec![Vec::new(); count];
        for i in 0..leaf_trees.len() {
            leaves[find(leaf_trees[i], leaf_ids[i])?].push((targets[i], weights[i]));
        }
        Ok(Self { nodes, roots, leaves, sets: Vec::new(), doubles })
    }

    /// As version 5 says it: branches first, then a node for each leaf.
    fn numbered(call: &Call<'_>) -> Result<Self> {
        let tensor = |name: &str| -> Result<Array> {
            let missing = || Error::malformed(format!("attribute {name}: expected a tensor"));
            call.constant(name)?.ok_or_else(missing)
        };
        let (splits, modes) = (tensor("nodes_splits")?, tensor("nodes_modes")?.ints()?);
        let (values, count) = (splits.numbers()?, splits.len());
        let features = indices(call, "nodes_featureids", count)?;
        let missing = list(call, "nodes_missing_value_tracks_true")?;
        let weights = tensor("leaf_weights")?.numbers()?;
        let targets = indices(call, "leaf_targetids", weights.len())?;
        let child = |side: &str, i: usize| -> Result<usize> {
            let at = *list(call, &format!("nodes_{side}nodeids"))?.get(i).ok_or_else(unlike)?;
            let leaf = *list(call, &format!("nodes_{side}leafs"))?.get(i).ok_or_else(unlike)? != 0;
            let (first, len) = if leaf { (count, weights.len()) } else { (0, count) };
            let at = usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(unlike)?;
            Ok(first + at)
        };
        let mut sets = sets(call)?.into_iter();
        let mut forest = Self { doubles: splits.dtype() == Type::F64, ..Self::default() };
        for i in 0..count {
            let mode = usize::try_from(*modes.get(i).ok_or_else(unlike)?).ok();
            let rule = mode.and_then(|mode| RULES.get(mode)).ok_or_else(|| {
                Error::malformed(format!("attribute nodes_modes: found {}", modes[i]))
            })?;
            let rule = match rule.1 {
                Rule::Member(_) => {
                    forest.sets.push(sets.next().ok_or_else(unlike)?);
                    Rule::Member(forest.sets.len() - 1)
                }
                rule => rule,
            };
            forest.nodes.push(Branch {
                feature: features[i],
                value: values[i],
                rule,
                if_true: child("true", i)?,
                if_false: child("false", i)?,
                missing_is_true: missing.get(i).is_some_and(|x| *x != 0),
            });
        }
        forest.leaves = vec![Vec::new(); count];
        for (target, weight) in targets.into_iter().zip(weights) {
            let at = forest.nodes.len();
            let (feature, value, missing_is_true) = (0, 0.0, false);
            let rule = Rule::Leaf;
            let leaf = Branch { feature, value, rule, if_true: at, if_false: at, missing_is_true };
            forest.nodes.push(leaf);
            forest.leaves.push(vec![(target, weight)]);
        }
        forest.roots = super::shape::sizes(list(call, "tree_roots")?)?;
        if forest.roots.iter().any(|root| *root >= forest.nodes.len()) {
            return Err(unlike());
        }
        Ok(forest)
    }

    fn holds(&self, node: &Branch, x: f64) -> bool {
        match node.rule {
            Rule::AtMost => x <= node.value,
            Rule::Less => x < node.value,
            Rule::AtLeast => x >= node.value,
            Rule::Greater => x > node.value,
            Rule::Equal => x == node.value,
            Rule::Unequal => x != node.value,
            Rule::Member(set) => self.sets[set].contains(&x),
            Rule::Leaf => false,
        }
    }

    /// The leaf that a row reaches from a root; trees that lead in a circle are refused.
    fn leaf(&self, root: usize, row: &[f64]) -> Result<usize> {
        let mut at = root;
        for _ in 0..=self.nodes.len() {
            let node = &self.nodes[at];
            if node.rule == Rule::Leaf {
                return Ok(at);
            }
            let x = *row.get(node.feature).ok_or_else(|| {
                let (feature, width) = (node.feature, row.len());
                Error::malformed(format!("feature {feature} is asked for, and there are {width}"))
            })?;
            let x = if self.doubles { x } else { f64::from(x as f32) };
            let yes = self.holds(node, x) || (x.is_nan() && node.missing_is_true);
            at = if yes { node.if_true } else { node.if_false };
        }
        Err(Error::malformed("a tree whose nodes lead in a circle"))
    }

    /// What the leaves of all trees say about each target, for each row.
    fn scores(&self, call: &Call<'_>, targets: usize, how: &str) -> Result<Vec<f64>> {
        let (rows, width) = rows(call.tensor(0)?)?;
        let (base, _) = numbers(call, "base_values")?;
        call.room(&[rows.len() / width, targets])?;
        let share = if how == "AVERAGE" { self.roots.len().max(1) as f64 } else { 1.0 };
        let mut made = Vec::new();
        for row in rows.chunks(width) {
            let mut scores: Vec<Option<f64>> = vec![None; targets];
            for root in &self.roots {
                for (target, weight) in &self.leaves[self.leaf(*root, row)?] {
                    let score = scores
                        .get_mut(*target)
                        .ok_or_else(|| Error::malformed(format!("target {target} of {targets}")))?;
                    *score = Some(match (how, *score) {
                        (_, None) => *weight,
                        ("MIN", Some(x)) => x.min(*weight),
                        ("MAX", Some(x)) => x.max(*weight),
                        (_, Some(x)) => x + weight,
                    });
                }
            }
            let offset = |i: usize| base.get(i).copied().unwrap_or(0.0);
            let whole = |(i, x): (usize, &Option<f64>)| x.unwrap_or(0.0) / share + offset(i);
            made.extend(scores.iter().enumerate().map(whole));
        }
        Ok(made)
    }
}

/// The rule of this name.
fn named(name: &str) -> Result<Rule> {
    let row = RULES.iter().find(|row| row.0 == name && row.1 != Rule::Member(0));
    match (row, name) {
        (Some(row), _) => Ok(row.1),
        (None, "LEAF") => Ok(Rule::Leaf),
        (None, other) => Err(Error::malformed(format!("attribute nodes_modes: found '{other}'"))),
    }
}

/// The sets of version 5, each ended by a NaN.
fn sets(call: &Call<'_>) -> Result<Vec<Vec<f64>>> {
    let Some(values) = call.constant("membership_values")? else { return Ok(Vec::new()) };
    let values = values.numbers()?;
    let mut sets: Vec<Vec<f64>> = values.split(|x| x.is_nan()).map(<[f64]>::to_vec).collect();
    if sets.last().is_some_and(Vec::is_empty) {
        sets.pop();
    }
    Ok(sets)
}

/// What an attribute of version 5 says by its number.
fn chosen(call: &Call<'_>, name: &str, all: &[&'static str], default: i64) -> Result<&'static str> {
    let number = call.int(name, default)?;
    let chosen = usize::try_from(number).ok().and_then(|number| all.get(number));
    chosen.copied().ok_or_else(|| Error::malformed(format!("attribute {name}: found {number}")))
}

fn ensemble(call: &Call<'_>) -> Result<Vec<Value>> {
    let forest = Forest::numbered(call)?;
    let targets = call.size("n_targets", 1)?.max(1);
    let how = chosen(call, "aggregate_function", FUNCTIONS, 1)?;
    let after = chosen(call, "post_transform", TRANSFORMS, 0)?;
    let mut made = forest.scores(call, targets, how)?;
    for row in made.chunks_mut(targets) {
        transform(after, row).ok_or_else(|| Error::bug("a transform without a name"))?;
    }
    let shape = vec![made.len() / targets, targets];
    one(Array::new(shape, super::numbers(made, call.dtype(0)?)?)?)
}

fn regressor(call: &Call<'_>) -> Result<Vec<Value>> {
    let forest = Forest::listed(call, "target")?;
    let targets = call.size("n_targets", 1)?.max(1);
    let mut made = forest.scores(call, targets, call.text("aggregate_function", "SUM")?)?;
    made.chunks_mut(targets).try_for_each(|row| transformed(call, row))?;
    let made: Vec<f32> = made.into_iter().map(|x| x as f32).collect();
    one(Array::of(vec![made.len() / targets, targets], made)?)
}

fn classifier(call: &Call<'_>) -> Result<Vec<Value>> {
    let forest = Forest::listed(call, "class")?;
    let classes = classes(call)?;
    // Where the leaves speak of one class of two, their score is for the second.
    let ids = list(call, "class_ids")?;
    let single = classes.len() == 2 && ids.iter().all(|id| ids.first() == Some(id));
    if !single {
        let scores = forest.scores(call, classes.len(), "SUM")?;
        return classified(call, scores, &classes, false);
    }
    let target = ids.first().copied().unwrap_or(0).max(0) as usize;
    let scores = forest.scores(call, target + 1, "SUM")?;
    let scores: Vec<f64> =
        scores.chunks(target + 1).filter_map(|row| row.last().copied()).collect();
    if call.text("post_transform", "NONE")? == "LOGISTIC" {
        return classified(call, scores, &classes, true);
    }
    let (mut best, mut shown) = (Vec::new(), Vec::new());
    for score in scores {
        best.push(usize::from(score > 0.5));
        shown.extend([(1.0 - score) as f32, score as f32]);
    }
    let count = best.len();
    let labels = classes.pick(vec![count], &best)?;
    Ok(vec![labels.into(), Array::of(vec![count, 2], shown)?.into()])
}
