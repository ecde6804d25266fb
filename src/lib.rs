//! remold: any model format in, any out, quantized, and proven equal.

pub mod ir;

pub mod store;

pub mod write;

pub mod cli;
