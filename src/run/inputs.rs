//! What goes into each matrix: the sums of squares that an importance matrix is made of.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::batch::Batch;

/// What went into each matrix of a model while it ran.
#[derive(Debug, Default)]
pub struct Inputs(Mutex<BTreeMap<String, Sums>>);

/// What went into one tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    /// Inputs of one matrix.
    pub columns: usize,
    /// Σx² for each column of the first matrix of the tensor, then of the second, and so on.
    pub squares: Vec<f64>,
    /// How many vectors went into each matrix.
    pub counts: Vec<u64>,
}

impl Inputs {
    /// What went into each tensor, by name.
    pub fn into_sums(self) -> BTreeMap<String, Sums> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what goes into one of the `matrices` of a tensor.
    ///
    /// Batches come one after another, and each is summed in the order of its tokens, so the sums
    /// do not depend on the number of threads.
    pub(super) fn add(&self, tensor: &str, (matrix, matrices): (usize, usize), x: &Batch) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let columns = x.features;
        if !all.contains_key(tensor) {
            let (squares, counts) = (vec![0.0; columns * matrices], vec![0; matrices]);
            all.insert(tensor.to_owned(), Sums { columns, squares, counts });
        }
        let Some(sums) = all.get_mut(tensor) else { return };
        sums.counts[matrix] += x.tokens as u64;
        let squares = &mut sums.squares[matrix * columns..][..columns];
        let mut features = vec![0.0; columns];
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
    fn each_matrix_has_sums_of_its_own() {
        let inputs = Inputs::default();
        let mut x = Batch::zeros(2, 3).unwrap();
        for token in 0..3 {
            x.set(token, &[token as f32, -1.0]);
        }
        inputs.add("experts", (1, 2), &x);
        inputs.add("experts", (1, 2), &x);
        let sums = &inputs.into_sums()["experts"];
        assert_eq!(
            (&sums.squares[..], &sums.counts[..]),
            (&[0.0, 0.0, 10.0, 6.0][..], &[0, 6][..])
        );
    }
}
