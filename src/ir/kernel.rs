//! Kernels of layers: which weight is one, and in which order its dimensions lie.
//!
//! A reader says what it knows from the layers of its file; shapes alone never tell one order from
//! another.

use super::{Error, Op, Result, Shape, Tensor};

/// What kind of layer a kernel belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// A matrix: y = Wx. Recurrent layers' matrices are such, too.
    Dense,
    /// A convolution over any number of spatial dimensions.
    Conv,
    /// A transposed convolution, the gradient of a convolution.
    ConvTranspose,
    /// A convolution of each channel alone, giving `multiplier` channels each.
    Depthwise {
        /// Channels out for each channel in.
        multiplier: u64,
    },
}

/// Whose order the dimensions of kernels are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Convention {
    /// PyTorch's, which ONNX and ggml share.
    PyTorch,
    /// Keras's, which TensorFlow and Flax share.
    Keras,
    /// TensorFlow Lite's.
    TfLite,
}

/// What is known of a weight that is a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The layer that it belongs to.
    pub layer: Layer,
    /// The order of its dimensions.
    pub convention: Convention,
}

/// A dimension of a kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Axis {
    /// Channels out; of a depthwise kernel, all its channels.
    Out,
    /// Channels in, of one group.
    In,
    /// Those of the picture, as many as there are.
    Space,
}

impl Layer {
    /// The order of dimensions; a depthwise kernel's without those of length 1, and with channels
    /// and multiplier as one.
    fn axes(self, convention: Convention) -> &'static [Axis] {
        use Axis::{In, Out, Space};
        match (self, convention) {
            (Self::Dense, Convention::PyTorch | Convention::TfLite) => &[Out, In],
            (Self::Dense, Convention::Keras) => &[In, Out],
            (Self::Conv, Convention::PyTorch) => &[Out, In, Space],
            (Self::Conv, Convention::Keras) => &[Space, In, Out],
            (Self::ConvTranspose, Convention::PyTorch) => &[In, Out, Space],
            (Self::ConvTranspose, Convention::Keras) => &[Space, Out, In],
            (Self::Conv | Self::ConvTranspose, Convention::TfLite) => &[Out, Space, In],
            (Self::Depthwise { .. }, Convention::PyTorch) => &[Out, Space],
            (Self::Depthwise { .. }, Convention::Keras | Convention::TfLite) => &[Space, Out],
        }
    }

    /// Dimensions as a convention has them → as [`Self::axes`] counts them.
    fn folded(self, dims: &[u64], convention: Convention) -> Option<Vec<u64>> {
        let Self::Depthwise { multiplier } = self else { return Some(dims.to_vec()) };
        match (convention, dims) {
            (Convention::PyTorch, [channels, 1, space @ ..]) => {
                Some([&[*channels], space].concat())
            }
            (Convention::Keras, [space @ .., channels, by]) if *by == multiplier => {
                Some([space, &[channels * by]].concat())
            }
            (Convention::TfLite, [1, rest @ ..]) => Some(rest.to_vec()),
            _ => None,
        }
    }

    /// The way back.
    fn unfolded(self, dims: &[u64], convention: Convention) -> Option<Vec<u64>> {
        let Self::Depthwise { multiplier } = self else { return Some(dims.to_vec()) };
        match (convention, dims) {
            (Convention::PyTorch, [channels, space @ ..]) => {
                Some([&[*channels, 1], space].concat())
            }
            (Convention::Keras, [space @ .., channels])
                if multiplier > 0 && channels.is_multiple_of(multiplier) =>
            {
                Some([space, &[channels / multiplier, multiplier]].concat())
            }
            (Convention::TfLite, rest) => Some([&[1], rest].concat()),
            _ => None,
        }
    }
}

impl Kernel {
    /// The tensor with its dimensions in another order.
    ///
    /// # Errors
    /// Malformed if it has not the dimensions of such a kernel; Unsupported if it is packed.
    pub fn ordered(self, tensor: &Tensor, to: Convention) -> Result<Tensor> {
        if self.convention == to {
            return Ok(tensor.clone());
        }
        let unfit = || {
            let (shape, layer) = (tensor.shape(), self.layer);
            Error::malformed(format!("{shape} is no shape of a kernel of {layer:?}"))
        };
        let dims = tensor.shape().dims();
        let folded = self.layer.folded(dims, self.convention).ok_or_else(unfit)?;
        let axes = permutation(self.layer.axes(self.convention), self.layer.axes(to), folded.len());
        let permuted = permuted(shaped(tensor, folded)?, axes.ok_or_else(unfit)?)?;
        let dims = self.layer.unfolded(permuted.shape().dims(), to).ok_or_else(unfit)?;
        shaped(&permuted, dims)
    }
}

/// Which of `rank` dimensions comes first, second, … if those called `from` are to lie as `to`.
fn permutation(from: &[Axis], to: &[Axis], rank: usize) -> Option<Vec<usize>> {
    let has_space = from.contains(&Axis::Space);
    let space = rank.checked_sub(from.len() - usize::from(has_space))?;
    if !has_space && space > 0 {
        return None;
    }
    let length = |axis: &Axis| if *axis == Axis::Space { space } else { 1 };
    let mut axes = Vec::with_capacity(rank);
    for wanted in to {
        let place = from.iter().position(|axis| axis == wanted)?;
        let start: usize = from[..place].iter().map(length).sum();
        axes.extend(start..start + length(wanted));
    }
    Some(axes)
}

fn shaped(input: &Tensor, dims: Vec<u64>) -> Result<Tensor> {
    Tensor::of(Op::Reshape { input: input.clone(), shape: Shape::new(dims)? })
}

fn permuted(input: Tensor, axes: Vec<usize>) -> Result<Tensor> {
    match axes.is_sorted() {
        true => Ok(input),
        false => Tensor::of(Op::Permute { input, axes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Blob, DType};
    use std::sync::Arc;

    /// Elements that are their own row-major number.
    fn numbered(dims: &[u64]) -> Tensor {
        let shape = Shape::new(dims.to_vec()).unwrap();
        let bytes = (0..shape.count()).flat_map(|i| (i as i32).to_le_bytes()).collect();
        Tensor::span(DType::I32, shape, Arc::new(Blob::memory("test", bytes)), 0).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<i32> {
        let mut bytes = vec![0; tensor.bytes() as usize];
        tensor.read(0..tensor.shape().count(), &mut bytes, &mut Default::default()).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
    }

    const ALL: [Convention; 3] = [Convention::PyTorch, Convention::Keras, Convention::TfLite];

    #[test]
    fn every_order_goes_to_every_other_and_back() {
        let shapes: &[(Layer, [&[u64]; 3])] = &[
            (Layer::Dense, [&[3, 2], &[2, 3], &[3, 2]]),
            (Layer::Conv, [&[5, 4, 2, 3], &[2, 3, 4, 5], &[5, 2, 3, 4]]),
            (Layer::Conv, [&[5, 4, 3], &[3, 4, 5], &[5, 3, 4]]),
            (Layer::ConvTranspose, [&[4, 5, 2, 3], &[2, 3, 5, 4], &[5, 2, 3, 4]]),
            (Layer::Depthwise { multiplier: 2 }, [&[6, 1, 2, 5], &[2, 5, 3, 2], &[1, 2, 5, 6]]),
        ];
        for (layer, dims) in shapes {
            for (from, dims_from) in ALL.into_iter().zip(dims) {
                let tensor = numbered(dims_from);
                let kernel = Kernel { layer: *layer, convention: from };
                for (to, dims_to) in ALL.into_iter().zip(dims) {
                    let other = kernel.ordered(&tensor, to).unwrap();
                    assert_eq!(other.shape().dims(), *dims_to, "{layer:?} {from:?} {to:?}");
                    let back = Kernel { layer: *layer, convention: to }.ordered(&other, from);
                    assert_eq!(values(&back.unwrap()), values(&tensor), "{layer:?} {from:?}");
                }
            }
        }
    }

    #[test]
    fn a_channel_is_found_where_the_other_framework_has_it() {
        // Element [y, x, in, out] of Keras is element [out, in, y, x] of PyTorch.
        let keras = numbered(&[2, 3, 4, 5]);
        let kernel = Kernel { layer: Layer::Conv, convention: Convention::Keras };
        let torch = values(&kernel.ordered(&keras, Convention::PyTorch).unwrap());
        let (y, x, i, o) = (1, 2, 3, 4);
        assert_eq!(torch[((o * 4 + i) * 2 + y) * 3 + x], (((y * 3 + x) * 4 + i) * 5 + o) as i32);
    }

    #[test]
    fn a_shape_that_is_none_of_such_a_kernel_is_refused() {
        let kernel = Kernel { layer: Layer::Dense, convention: Convention::Keras };
        assert!(kernel.ordered(&numbered(&[2, 3, 4]), Convention::PyTorch).is_err());
        let layer = Layer::Depthwise { multiplier: 3 };
        let kernel = Kernel { layer, convention: Convention::Keras };
        assert!(kernel.ordered(&numbered(&[2, 2, 3, 2]), Convention::PyTorch).is_err());
    }
}
