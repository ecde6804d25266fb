//! `remold quantize`: as llama-quantize, from any format.

use regex::Regex;

use super::Outcome;
use super::convert::Conversion;
use crate::ir::{DType, Result};
use crate::quant::{self, Types};

/// Quantizes a model, with the mixtures of llama-quantize
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    conversion: Conversion,
    /// The mixture, as llama-quantize spells it, in any case: Q8_0, Q4_0, Q6_K, …; int8 for ONNX.
    #[arg(value_name = "TYPE")]
    kind: String,
    /// One type for every tensor that can be quantized, instead of the mixture.
    #[arg(long)]
    pure: bool,
    /// A type for the tensors whose names match; may be repeated, the first match counts.
    #[arg(long, value_name = "REGEX=TYPE", value_parser = parse_override)]
    tensor_type: Vec<(Regex, DType)>,
    /// A type for the output matrix.
    #[arg(long, value_name = "TYPE", value_parser = parse_type)]
    output_tensor_type: Option<DType>,
    /// A type for the token embedding.
    #[arg(long, value_name = "TYPE", value_parser = parse_type)]
    token_embedding_type: Option<DType>,
    /// Leave the output matrix as it is.
    #[arg(long)]
    leave_output_tensor: bool,
    /// Pack tensors again that are packed already; it loses twice.
    #[arg(long)]
    allow_requantize: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let types = Types {
            pure: self.pure,
            by_name: self.tensor_type,
            output: self.output_tensor_type,
            embedding: self.token_embedding_type,
            leave_output: self.leave_output_tensor,
            allow_requantize: self.allow_requantize,
            ..Types::named(&self.kind)?
        };
        self.conversion.run(types)
    }
}

fn parse_type(text: &str) -> std::result::Result<DType, String> {
    quant::dtype_by_name(text).ok_or_else(|| format!("no type '{text}'"))
}

fn parse_override(text: &str) -> std::result::Result<(Regex, DType), String> {
    let (pattern, kind) = text.rsplit_once('=').ok_or("expected REGEX=TYPE")?;
    let pattern = Regex::new(pattern).map_err(|error| error.to_string())?;
    Ok((pattern, parse_type(kind)?))
}
