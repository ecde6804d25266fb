//! remold: any model format in, any out, quantized, and proven equal.

pub mod arch;
pub mod ir;
pub mod quant;
pub mod verify;
