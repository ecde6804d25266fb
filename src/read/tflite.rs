//! TensorFlow Lite model → Model: its constants, those that are quantized as the numbers that they
//! stand for.

use std::sync::Arc;

use tflite::{Kind, Layer as Operator, Quantization};

use super::hub::{self, Weights};
use crate::ir::op::{Affine, Offset};
use crate::ir::{
    Blob, Convention, DType, Error, Kernel, Layer, Limits, Model, Notes, Op, Result, Shape, Tensor,
};
use crate::store::Source;

/// Whether the source is a TensorFlow Lite model.
///
/// # Errors
/// Io if it cannot be read.
pub fn probe(source: &dyn Source) -> Result<bool> {
    let Some(name) = source.entry() else { return Ok(false) };
    Ok(tflite::probe(&super::head(&*source.open(name)?)?))
}

/// Reads the constant tensors of all subgraphs.
///
/// # Errors
/// What the container says.
pub fn read(source: &dyn Source, limits: &Limits, notes: &mut Notes) -> Result<Model> {
    let name = source.entry().ok_or_else(|| Error::usage("name one .tflite file"))?;
    let blob = source.open(name)?;
    let place = |error: Error| error.at("tflite").at(blob.name());
    let container = tflite::Limits {
        tables: limits.tflite_tables,
        name: limits.tflite_name,
        inputs: limits.tflite_inputs,
    };
    let file = tflite::read(&*blob, &container).map_err(|error| place(error.into()))?;
    let mut weights = Weights::default();
    for unread in file.unread {
        weights.refused.insert(unread.name, unread.what);
    }
    let mut quantized = 0;
    for constant in &file.tensors {
        let taken =
            |name: &str| weights.tensors.contains_key(name) || weights.refused.contains_key(name);
        let mut name = constant.name.clone();
        if taken(&name) {
            name = format!("{name}#{}", constant.index);
            notes.odd(&constant.name, format!("two tensors have this name; one is now {name}"));
        }
        let named = |error: Error| place(error.at(format!("tensor '{name}'")));
        if taken(&name) {
            return Err(named(Error::malformed("stands twice")));
        }
        let tensor = tensor(&blob, constant).map_err(named)?;
        quantized += usize::from(constant.quantization.is_some());
        let kernel = constant.layer.and_then(kernel);
        weights.kernels.extend(kernel.map(|kernel| (name.clone(), kernel)));
        weights.tensors.insert(name, tensor);
    }
    if quantized > 0 {
        let text = format!("{quantized} tensors are quantized: read as the f32 they stand for");
        notes.chosen(blob.name(), text);
    }
    let version = Some(file.version);
    let model = hub::model("tflite", weights, source, limits, notes)?;
    Ok(Model { version, ..model })
}

fn tensor(blob: &Arc<Blob>, constant: &tflite::Tensor) -> Result<Tensor> {
    let span =
        |dtype, dims: Vec<u64>, at| Tensor::span(dtype, Shape::new(dims)?, Arc::clone(blob), at);
    let weights = span(dtype(constant.kind), constant.shape.clone(), constant.data.start)?;
    let Some(Quantization { scales, count, zeros, axis }) = constant.quantization else {
        return Ok(weights);
    };
    // A scale for each step along the axis, or one for all.
    let dims = (0u64..).zip(&constant.shape);
    let block = dims.map(|(dim, &len)| if count > 1 && dim == axis { 1 } else { len.max(1) });
    let offset = match zeros {
        None => Offset::None,
        Some((at, count)) => Offset::Zeros(span(DType::I64, vec![count], at)?),
    };
    let scales = span(DType::F32, vec![count], scales)?;
    let block = block.collect();
    Tensor::of(Op::Affine(Box::new(Affine { weights, scales, offset, block, groups: None })))
}

/// The order of dimensions that the operator wants of its kernel.
fn kernel(operator: Operator) -> Option<Kernel> {
    let (layer, convention) = match operator {
        Operator::Dense => (Layer::Dense, Convention::TfLite),
        Operator::Conv2d => (Layer::Conv, Convention::TfLite),
        Operator::Depthwise { multiplier: 0 } => return None,
        Operator::Depthwise { multiplier } => (Layer::Depthwise { multiplier }, Convention::TfLite),
        Operator::ConvTranspose => (Layer::ConvTranspose, Convention::TfLite),
        Operator::Conv3d => (Layer::Conv, Convention::Keras),
        Operator::Conv3dTranspose => (Layer::ConvTranspose, Convention::Keras),
    };
    Some(Kernel { layer, convention })
}

fn dtype(kind: Kind) -> DType {
    match kind {
        Kind::F16 => DType::F16,
        Kind::F32 => DType::F32,
        Kind::F64 => DType::F64,
        Kind::Bf16 => DType::BF16,
        Kind::C64 => DType::C64,
        Kind::C128 => DType::C128,
        Kind::I2 => DType::I2,
        Kind::I4 => DType::I4,
        Kind::I8 => DType::I8,
        Kind::I16 => DType::I16,
        Kind::I32 => DType::I32,
        Kind::I64 => DType::I64,
        Kind::U4 => DType::U4,
        Kind::U8 => DType::U8,
        Kind::U16 => DType::U16,
        Kind::U32 => DType::U32,
        Kind::U64 => DType::U64,
        Kind::Bool => DType::Bool,
    }
}
