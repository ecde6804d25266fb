//! Whether a model has every tensor that its family needs, in the shape that it must have.

use indexmap::IndexMap;

use super::names::{Found, Place, locate};
use super::parts::siblings;
use super::{Arch, Bias, Fix, Form, Home, Need, Part, Parts, Row, is_tied};
use crate::ir::{Config, Error, Hyper, Model, Naming, Result, Scalar, Tensor, Value};

/// Whether the model has every tensor that the family needs, in the shape that `hyper` gives it.
///
/// # Errors
/// Malformed, naming the tensor that is missing or has another shape.
pub fn check(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<()> {
    // A count from a file: more layers than tensors cannot be.
    let (layers, tensors) = (hyper.layers.max(hyper.decoder_layers), model.tensors.len());
    if let Some(layers) = layers.filter(|layers| *layers > tensors as u64) {
        return Err(Error::malformed(format!("{layers} layers, but only {tensors} tensors")));
    }
    shapes(arch, model, hyper)?;
    let parts = Parts { arch, model, hyper };
    for row in arch.rows() {
        let Some(home) = row.home(model.naming, hyper) else { continue };
        let in_layers = home.stem.contains("{i}");
        let layers = super::parts::count(hyper, row.role.layers()).unwrap_or(0);
        for layer in 0..if in_layers { layers } else { 1 } {
            for part in Part::BOTH {
                if is_needed(arch, &parts, row, part, layer) {
                    present(&parts, row, home, part, in_layers.then_some(layer))?;
                }
            }
        }
    }
    Ok(())
}

/// The shape of every tensor that the table knows.
///
/// # Errors
/// Malformed, naming the tensor.
pub(super) fn shapes(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<()> {
    let parts = Parts { arch, model, hyper };
    for (name, tensor) in &model.tensors {
        if let Some(found) = locate(arch, model.naming, name) {
            shape(&parts, &found, name, tensor)?;
        }
    }
    Ok(())
}

/// A truth value of config.json, or what it is where nothing is said.
fn flag(config: &Config, key: &str, usual: bool) -> bool {
    config.get(key).and_then(Value::as_bool).unwrap_or(usual)
}

/// Whether config.json, or what is in its place, says that a row's tensor is used, if it is there.
/// A GGUF says nothing: there, what is present counts.
pub(super) fn is_used(row: &Row, part: Part, config: &Config) -> bool {
    let in_gguf = config.get("general.architecture").is_some();
    let weight = match row.need {
        Need::If(key, usual) => in_gguf || flag(config, key, usual),
        _ => true,
    };
    let bias = match row.bias {
        Bias::Never => false,
        Bias::Always | Bias::Optional => true,
        Bias::If(key, usual) => in_gguf || flag(config, key, usual),
        Bias::Unless(key, usual) => in_gguf || !flag(config, key, usual),
    };
    weight && (part == Part::Weight || bias)
}

/// What a config.json says, or leaves to what is usual, of the tensors that some models of a family
/// have and others lack.
pub fn flags(arch: &Arch, config: &Config) -> IndexMap<&'static str, bool> {
    let mut flags = IndexMap::new();
    for row in arch.rows() {
        let need = if let Need::If(key, usual) = row.need { Some((key, usual)) } else { None };
        let bias = match row.bias {
            Bias::If(key, usual) | Bias::Unless(key, usual) => Some((key, usual)),
            _ => None,
        };
        let said = |(key, usual)| (key, flag(config, key, usual));
        flags.extend(need.into_iter().chain(bias).map(said));
    }
    flags
}

fn is_needed(arch: &Arch, parts: &Parts<'_>, row: &Row, part: Part, layer: u64) -> bool {
    let (model, hyper) = (parts.model, parts.hyper);
    let by_json = model.naming == Naming::HuggingFace;
    let weight = match row.need {
        Need::Always => true,
        Need::UnlessTied(_) => !is_tied(arch, model),
        Need::If(key, usual) => by_json && flag(&model.config, key, usual),
        Need::Dense => !hyper.is_sparse(layer),
        Need::Sparse => hyper.is_sparse(layer),
        Need::AfterFirst => layer > 0,
        Need::Where(flag) => hyper.get(flag) == Some(Scalar::Flag(true)),
        Need::LowRank => hyper.query_rank.is_some(),
        Need::FullRank => hyper.query_rank.is_none(),
        Need::Serial => hyper.parallel.is_none(),
        Need::Optional => false,
    };
    match part {
        Part::Weight => weight,
        Part::Bias => {
            let sure = row.bias != Bias::Optional && row.bias != Bias::Never;
            weight && by_json && sure && is_used(row, part, &model.config)
        }
    }
}

fn present(
    parts: &Parts<'_>,
    row: &'static Row,
    home: &Home,
    part: Part,
    layer: Option<u64>,
) -> Result<()> {
    if parts.of_row(row, part, layer)?.is_some() {
        return Ok(());
    }
    let piece = home.stem.contains("{e}").then_some(0);
    let name = home.name(part, Place { layer, piece });
    let hint = match row.need {
        Need::UnlessTied(_) => "; if it is tied, tie_word_embeddings must be true",
        _ => "",
    };
    Err(Error::malformed(format!("tensor {name} is missing{hint}")))
}

fn shape(parts: &Parts<'_>, found: &Found, name: &str, tensor: &Tensor) -> Result<()> {
    let Some(expected) = expected(parts, found)? else { return Ok(()) };
    if tensor.shape().dims() != expected {
        let found = tensor.shape();
        let message =
            format!("{name}: shape is {found}, expected {expected:?} from the configuration");
        return Err(Error::malformed(message));
    }
    Ok(())
}

/// The shape that the tensor has in its file.
fn expected(parts: &Parts<'_>, found: &Found) -> Result<Option<Vec<u64>>> {
    let (hyper, naming) = (parts.hyper, parts.model.naming);
    let shape = found.row.role.shape(hyper, found.part, parts.arch.block.query_norm);
    let Some(mut shape) = shape else { return Ok(None) };
    let is_matrix = found.part == Part::Weight && shape.len() > 1;
    match found.home.form {
        Form::Whole => {}
        Form::Part(..) => {
            let rows = siblings(parts.arch, naming, found.home);
            let rows = rows.iter().map(|row| parts.rows_of(row, found.part));
            let axis = shape.len().checked_sub(if is_matrix { 2 } else { 1 });
            if let Some(axis) = axis {
                shape[axis] = rows.sum::<Result<u64>>()?;
            }
        }
        Form::Each(_) => drop(shape.remove(0)),
    }
    if let (
        Fix::ByHead(field) | Fix::ByHeadTransposed(field),
        Naming::Gguf,
        Form::Whole,
        [rows, columns],
    ) = (found.row.fix, naming, found.home.form, &shape[..])
    {
        let heads = super::parts::count(hyper, field)?.max(1);
        shape = match found.row.fix {
            Fix::ByHead(_) => vec![heads, rows / heads, *columns],
            _ => vec![heads, *columns, rows / heads],
        };
    }
    if found.row.fix == Fix::Flat && naming == Naming::Gguf {
        shape = vec![shape.iter().product()];
    }
    if found.home.transposed && is_matrix {
        let rank = shape.len();
        shape.swap(rank - 2, rank - 1);
    }
    Ok(Some(shape))
}
