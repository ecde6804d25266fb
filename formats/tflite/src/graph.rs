//! Operators: which tensors are kernels of which layers.

use std::collections::BTreeMap;

use wire::Result;

use crate::flat::Table;

/// The layer that a tensor is the kernel of; dimensions as TensorFlow Lite has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `FULLY_CONNECTED`: out, in.
    Dense,
    /// `CONV_2D`: out, height, width, in.
    Conv2d,
    /// `DEPTHWISE_CONV_2D`: 1, height, width, out.
    Depthwise {
        /// Channels out for each channel in; 0 if that is not said.
        multiplier: u64,
    },
    /// `TRANSPOSE_CONV`: out, height, width, in.
    ConvTranspose,
    /// `CONV_3D`: depth, height, width, in, out.
    Conv3d,
    /// `CONV_3D_TRANSPOSE`: depth, height, width, out, in.
    Conv3dTranspose,
}

/// Operators with a kernel: number (`BuiltinOperator`), layer, and which input the kernel is.
#[rustfmt::skip]
const LAYERS: &[(i32, Layer, usize)] = &[
    (3,   Layer::Conv2d,                      1),
    (4,   Layer::Depthwise { multiplier: 0 }, 1),
    (9,   Layer::Dense,                       1),
    (67,  Layer::ConvTranspose,               1),
    (132, Layer::Conv3d,                      1),
    (141, Layer::Conv3dTranspose,             1),
];

/// `DEQUANTIZE`: what weights of 16 bits go through before a layer has them.
const DEQUANTIZE: i32 = 6;

/// What the operators of a subgraph say of a tensor, by its number.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// Kernels; nothing where two operators disagree.
    pub(crate) layers: BTreeMap<u64, Option<Layer>>,
    /// Kernels that lie in another order than their shape says.
    pub(crate) shuffled: Vec<u64>,
    /// What a dequantized tensor was made of.
    sources: BTreeMap<u64, u64>,
}

impl Uses {
    /// Takes the next operator, of the operator code `code`.
    pub(crate) fn add(
        &mut self,
        operator: &Table<'_, '_>,
        code: i32,
        shape: Shape<'_>,
    ) -> Result<()> {
        let most = operator.file.limits.inputs();
        let inputs = operator.numbers(1, most, "operator's inputs")?;
        let input = |at: usize| inputs.get(at).and_then(|&index| u64::try_from(index).ok());
        if code == DEQUANTIZE {
            let outputs = operator.numbers(2, most, "operator's outputs")?;
            let made = outputs.first().and_then(|&index| u64::try_from(index).ok());
            self.sources.extend(made.zip(input(0)));
            return Ok(());
        }
        let Some(&(_, layer, place)) = LAYERS.iter().find(|row| row.0 == code) else {
            return Ok(());
        };
        let Some(used) = input(place) else { return Ok(()) };
        let kernel = self.sources.get(&used).copied().unwrap_or(used);
        let options = operator.table(4, "operator's options")?;
        let layer = match (layer, &options) {
            (Layer::Depthwise { .. }, options) => {
                // Converters may leave it out: the kernels of the interpreter ask the shapes.
                let channels =
                    input(0).map(shape).transpose()?.and_then(|dims| dims.last().copied());
                let all = shape(kernel)?.last().copied();
                let by_shape = all.zip(channels).filter(|(_, by)| *by > 0);
                let by_shape = by_shape.filter(|(all, by)| all.checked_rem(*by) == Some(0));
                let stated = options.as_ref().map_or(Ok(0), |o| o.i32(3, "depth multiplier"))?;
                let stated = u64::try_from(stated).unwrap_or(0);
                let multiplier = by_shape.and_then(|(all, by)| all.checked_div(by));
                Layer::Depthwise { multiplier: multiplier.unwrap_or(stated) }
            }
            (Layer::Dense, Some(options)) if options.u8(1, "weights format")? != 0 => {
                self.shuffled.push(kernel);
                return Ok(());
            }
            (layer, _) => layer,
        };
        let known = self.layers.entry(kernel).or_insert(Some(layer));
        *known = known.filter(|known| *known == layer);
        Ok(())
    }
}

/// The dimensions of a tensor, by its number.
pub(crate) type Shape<'s> = &'s dyn Fn(u64) -> Result<Vec<u64>>;
