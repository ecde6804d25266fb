//! Values of unlike shapes made alike: <https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md>.

use std::borrow::Cow;

use super::array::{Array, strides};
use super::call::Call;
use crate::ir::{Error, Result};

/// The shape that all of these stretch to.
pub(super) fn common(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for shape in shapes {
        let lead = rank - shape.len();
        for (have, dim) in out[lead..].iter_mut().zip(*shape) {
            match (*have, *dim) {
                (a, b) if a == b || b == 1 => {}
                (1, b) => *have = b,
                _ => {
                    let text = format!("found shapes {shapes:?}, which do not broadcast");
                    return Err(Error::malformed(text));
                }
            }
        }
    }
    Ok(out)
}

/// The value stretched to a shape.
pub(super) fn stretched<'a>(array: &'a Array, shape: &[usize]) -> Result<Cow<'a, Array>> {
    if array.shape() == shape {
        return Ok(Cow::Borrowed(array));
    }
    let steps = steps(array.shape(), shape).ok_or_else(|| {
        let found = array.shape();
        Error::malformed(format!("found shape {found:?}, which does not stretch to {shape:?}"))
    })?;
    array.strided(shape, &steps, 0).map(Cow::Owned)
}

/// The stride of a value along each axis of the shape that it stretches to.
pub(super) fn steps(from: &[usize], to: &[usize]) -> Option<Vec<isize>> {
    let lead = to.len().checked_sub(from.len())?;
    let own = strides(from);
    let step = |axis: usize| {
        let (have, want) = (from[axis], to[axis + lead]);
        match have {
            _ if have == want => Some(own[axis]),
            1 => Some(0),
            _ => None,
        }
    };
    let own = (0..from.len()).map(step).collect::<Option<Vec<isize>>>()?;
    Some(std::iter::repeat_n(0, lead).chain(own).collect())
}

/// All inputs of a node, stretched to their common shape.
pub(super) fn inputs<'c>(call: &'c Call<'_>) -> Result<(Vec<usize>, Vec<Cow<'c, Array>>)> {
    let tensors = call.tensors()?;
    let shapes: Vec<&[usize]> = tensors.iter().map(|array| array.shape()).collect();
    let shape = common(&shapes)?;
    call.room(&shape)?;
    let stretched = tensors.iter().map(|array| stretched(array, &shape)).collect::<Result<_>>()?;
    Ok((shape, stretched))
}

/// The two inputs of a node, alike. Before version 7 of ONNX only the second stretches, from the
/// axis that an attribute states.
pub(super) fn pair<'c>(call: &'c Call<'_>) -> Result<(Vec<usize>, Cow<'c, Array>, Cow<'c, Array>)> {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    if call.version() < 7 && call.has("axis") && b.rank() < a.rank() {
        let axis = call.stated_axis(0, a.rank())?;
        let after = a.rank().checked_sub(axis + b.rank());
        let after = after
            .ok_or_else(|| call.unfit(1, format!("at most {} dimensions", a.rank() - axis)))?;
        let shape = b.shape().iter().copied().chain(std::iter::repeat_n(1, after)).collect();
        let b = b.reshaped(shape)?;
        let b = stretched(&b, a.shape())?.into_owned();
        return Ok((a.shape().to_vec(), Cow::Borrowed(a), Cow::Owned(b)));
    }
    let shape = common(&[a.shape(), b.shape()])?;
    call.room(&shape)?;
    Ok((shape.clone(), stretched(a, &shape)?, stretched(b, &shape)?))
}
