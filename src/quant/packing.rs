//! What every packing states in its file, and what follows from it.

/// Defines `BLOCK`: the packing whose blocks are `Rows` of `LEN` weights in `BYTES` bytes, as the
/// file that calls this names them, decoded and multiplied by the best instructions there are.
macro_rules! block {
    (
        name: $name:expr, ggml_id: $id:literal, needs_importance: $needs:literal,
        error_bound: $bound:expr $(,)?
    ) => {
        pub(super) static BLOCK: $crate::ir::Block = $crate::ir::Block {
            name: $name,
            ggml_id: $id,
            len: LEN,
            bytes: BYTES,
            needs_importance: $needs,
            codec: Some($crate::ir::Codec { decode, dot, error_bound: $bound }),
        };

        $crate::ir::simd::dispatch!(
            fn decode(bytes: &[u8], weights: &mut [f32])
                = $crate::quant::rows::decode::<Rows, LEN, BYTES>
        );
        $crate::ir::simd::dispatch!(
            fn dot(bytes: &[u8], activations: &[f32]) -> f32
                = $crate::quant::rows::dot::<Rows, LEN, BYTES>
        );
    };
}
pub(super) use block;

/// Defines `QUANTIZER`, which fills a packing by a function of whole rows.
macro_rules! quantizer {
    ($block:expr, $pack:path) => {
        pub(super) static QUANTIZER: $crate::ir::Quantizer =
            $crate::ir::Quantizer { block: &$block, pack };

        $crate::ir::simd::dispatch!(
            fn pack(weights: &[f32], columns: usize, importance: Option<&[f32]>, out: &mut [u8])
                = $pack
        );
    };
}
pub(super) use quantizer;

/// Defines `BLOCK`, as `block!` does, and `QUANTIZER`, which fills it as ggml does.
macro_rules! packing {
    ($($stated:tt)*) => {
        $crate::quant::packing::block! { $($stated)* }
        $crate::quant::packing::quantizer!(BLOCK, $crate::quant::rows::pack::<Rows, LEN, BYTES>);
    };
}
pub(super) use packing;
