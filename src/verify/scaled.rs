//! Kernels of two models that are the same up to a factor for each channel out.
//!
//! A converter that folds a normalisation into the layer before it multiplies each channel of the
//! kernel by a number: the values are equal nowhere, and the kernel is the same nevertheless. The
//! normalisation itself and the bias are gone, and stay without a partner.

use super::own;
use crate::ir::kernel::{Convention, Layer};
use crate::ir::{Model, Result, Scratch, Tensor};

/// A product with a factor that was itself rounded, and the quotient that finds it, are off by a
/// few units in the last place of binary32: 2⁻²⁴ each.
const TOLERANCE: f64 = 1e-6;

/// Values of a channel below which their agreement proves nothing.
const LEAST: u64 = 4;

/// A kernel whose channels out are the outermost dimension.
struct Kernel<'m> {
    name: &'m String,
    tensor: &'m Tensor,
    /// Its first channel, which tells most pairs apart.
    first: Vec<f32>,
}

/// Of the tensors without partners, the kernels that are the same but for such factors: A's name
/// and B's.
///
/// # Errors
/// From reading the files.
pub(super) fn pair(
    (a, only_in_a): (&Model, &[String]),
    (b, only_in_b): (&Model, &[String]),
) -> Result<Vec<(String, String)>> {
    let mut free = kernels(b, only_in_b)?;
    let mut pairs = Vec::new();
    for kernel in kernels(a, only_in_a)? {
        for at in 0..free.len() {
            if is_scaled(&kernel, &free[at])? {
                pairs.push((kernel.name.clone(), free.remove(at).name.clone()));
                break;
            }
        }
    }
    Ok(pairs)
}

fn kernels<'m>(model: &'m Model, names: &[String]) -> Result<Vec<Kernel<'m>>> {
    let mut kernels = Vec::new();
    for name in names {
        let known = model.kernels.get(name);
        let outermost = known.is_some_and(|kernel| {
            kernel.convention == Convention::PyTorch && kernel.layer != Layer::ConvTranspose
        });
        let Some((name, tensor)) = model.tensors.get_key_value(name).filter(|_| outermost) else {
            continue;
        };
        let len = channel(tensor);
        if own::is_weights(tensor.dtype()) && len >= LEAST {
            let first = first(tensor, len).map_err(|error| error.at(name))?;
            kernels.push(Kernel { name, tensor, first });
        }
    }
    Ok(kernels)
}

/// Values of a channel.
fn channel(tensor: &Tensor) -> u64 {
    tensor.shape().dims().iter().skip(1).product()
}

/// The first values, and no more than must be made for them.
fn first(tensor: &Tensor, len: u64) -> Result<Vec<f32>> {
    let made = len.next_multiple_of(tensor.granule()).min(tensor.shape().count());
    let mut values = vec![0.0; made as usize];
    tensor.read_floats(0..made, &mut values, &mut Scratch::default())?;
    values.truncate(len as usize);
    Ok(values)
}

fn is_scaled(a: &Kernel<'_>, b: &Kernel<'_>) -> Result<bool> {
    if a.tensor.shape() != b.tensor.shape() || !is_multiple(&a.first, &b.first) {
        return Ok(false);
    }
    let len = a.first.len();
    let floats = |kernel: &Kernel<'_>| kernel.tensor.to_floats().map_err(|e| e.at(kernel.name));
    let (a, b) = (floats(a)?, floats(b)?);
    let mut channels = a.chunks(len).zip(b.chunks(len));
    // Zeros are a multiple of anything.
    Ok(a.iter().any(|x| *x != 0.0) && channels.all(|(a, b)| is_multiple(a, b)))
}

/// Whether one channel is the other times a number.
fn is_multiple(a: &[f32], b: &[f32]) -> bool {
    let greatest = a.iter().zip(b).max_by(|x, y| x.0.abs().total_cmp(&y.0.abs()));
    let Some((x, y)) = greatest else { return false };
    if *x == 0.0 {
        return b.iter().all(|y| *y == 0.0);
    }
    let factor = f64::from(*y) / f64::from(*x);
    factor != 0.0
        && a.iter().zip(b).all(|(x, y)| {
            let product = factor * f64::from(*x);
            (product - f64::from(*y)).abs() <= TOLERANCE * product.abs()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_multiple_or_is_not() {
        let a = [1.0, -3.0, 0.5, 0.0, 7.0];
        let times = |factor: f32| a.map(|x| x * factor);
        assert!(is_multiple(&a, &times(0.1)) && is_multiple(&a, &times(-3e8)));
        let mut other = times(0.1);
        other[2] *= 1.0 + 4e-6;
        assert!(!is_multiple(&a, &other));
        other = times(0.1);
        other[3] = 1e-30;
        assert!(!is_multiple(&a, &other));
        assert!(!is_multiple(&a, &[0.0; 5]) && is_multiple(&[0.0; 5], &[0.0; 5]));
        assert!(!is_multiple(&a, &[f32::NAN; 5]) && !is_multiple(&[f32::NAN; 5], &a));
        assert!(!is_multiple(&[f32::INFINITY; 5], &a));
    }
}
