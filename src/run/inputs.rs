//! What goes into each matrix: the sums of squares that an importance matrix is made of.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::batch::Batch;

/// What went into each matrix of a model while it ran.
#[derive(Debug, Default)]
pub struct Inputs(Mutex<BTreeMap<String, Sums>>);

/// What went into one tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Σx² for each column of the first matrix of the tensor, then of the second, and so on.
    pub squares: Vec<f64>,
    /// How many vectors went into each matrix.
    pub counts: Vec<u64>,
    /// The matrices that are watched: of several cut from one, what goes in counts once.
    watched: Vec<bool>,
}

impl Inputs {
    /// What went into each tensor, by name; nothing of those that were never used.
    pub fn sums(&self) -> BTreeMap<String, Sums> {
        let mut all = self.all().clone();
        all.retain(|_, sums| !sums.squares.is_empty());
        all
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Sums>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A matrix whose inputs are counted.
pub(super) struct Watch {
    inputs: Arc<Inputs>,
    tensor: String,
    matrix: usize,
}

impl Watch {
    /// One of the `matrices` of a tensor; nothing if another part of it is watched already, whose
    /// inputs are the same.
    pub(super) fn of(
        inputs: &Arc<Inputs>,
        tensor: &str,
        (matrix, matrices): (usize, usize),
    ) -> Option<Self> {
        let mut all = inputs.all();
        let sums = all.entry(tensor.to_owned()).or_default();
        sums.counts.resize(matrices, 0);
        sums.watched.resize(matrices, false);
        let first = !std::mem::replace(sums.watched.get_mut(matrix)?, true);
        first.then(|| Self { inputs: Arc::clone(inputs), tensor: tensor.to_owned(), matrix })
    }

    /// Adds what goes in. Batches come one after another, and each is summed in the order of its
    /// tokens, so the sums do not depend on the number of threads.
    pub(super) fn add(&self, x: &Batch) {
        let mut all = self.inputs.all();
        let Some(sums) = all.get_mut(&self.tensor) else { return };
        sums.counts[self.matrix] += x.tokens as u64;
        sums.squares.resize(x.features * sums.counts.len(), 0.0);
        let squares = &mut sums.squares[self.matrix * x.features..][..x.features];
        let mut features = vec![0.0; x.features];
        for token in 0..x.tokens {
            x.get(token, 0, &mut features);
            for (sum, x) in squares.iter_mut().zip(&features) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_matrix_has_sums_of_its_own_and_parts_count_once() {
        let inputs = Arc::default();
        let second = Watch::of(&inputs, "experts", (1, 2)).unwrap();
        assert!(Watch::of(&inputs, "experts", (1, 2)).is_none(), "a part of the same matrix");
        let mut x = Batch::zeros(2, 3).unwrap();
        for token in 0..3 {
            x.set(token, &[token as f32, -1.0]);
        }
        second.add(&x);
        second.add(&x);
        let sums = &inputs.sums()["experts"];
        assert_eq!(
            (&sums.squares[..], &sums.counts[..]),
            (&[0.0, 0.0, 10.0, 6.0][..], &[0, 6][..])
        );
    }
}
