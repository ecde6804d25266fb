//! One test binary: tensors against onnx's, refusals with their messages, damage.

mod damage;
mod golden;
mod refusals;
