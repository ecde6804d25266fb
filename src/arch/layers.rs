//! Which layers have a sliding window, and which rotate: `layer_types` of config.json, and what
//! stood for it before.

use super::Entries;
use super::json::lookup;
use crate::ir::value::List;
use crate::ir::{Config, Error, Hyper, LayerSet, Result, Value};

/// Layers that `layer_types` gives a window, if config.json has it.
///
/// # Errors
/// Malformed for another number of layers; Unsupported for layers of another kind.
pub(super) fn stated(config: &Config, hyper: &Hyper) -> Result<Option<LayerSet>> {
    let Some(types) = config.get("layer_types").and_then(Value::as_texts) else { return Ok(None) };
    let layers = hyper.layers.unwrap_or(0);
    if types.len() as u64 != layers {
        let text = format!("config.json: {} layer_types for {layers} layers", types.len());
        return Err(Error::malformed(text));
    }
    let known = ["full_attention", "sliding_attention"];
    if let Some(other) = types.iter().find(|kind| !known.contains(*kind)) {
        return Err(Error::unsupported(format!("config.json: layer type {other:?}")));
    }
    Ok(Some(LayerSet::of(layers, |layer| types[layer as usize] == "sliding_attention")))
}

/// The window that config.json states, which `layer_types` or `else_by` gives to layers.
///
/// # Errors
/// As [`stated`], and Malformed for a window that is no count.
pub(super) fn windowed(
    config: &Config,
    hyper: &mut Hyper,
    (key, usual): (&str, Option<u64>),
    else_by: impl Fn(u64) -> bool,
) -> Result<()> {
    hyper.sliding_window = match lookup(config, key) {
        None => usual,
        Some(Value::Null) => None,
        Some(value) => Some(value.as_u64().ok_or_else(|| {
            Error::malformed(format!("config.json: {key}: found {value}, expected a count"))
        })?),
    };
    hyper.sliding_window = hyper.sliding_window.filter(|window| *window > 0);
    let layers = hyper.layers.unwrap_or(0);
    let stated = stated(config, hyper)?;
    hyper.windowed = Some(stated.unwrap_or_else(|| LayerSet::of(layers, else_by)));
    Ok(())
}

/// Qwen's: only if `use_sliding_window`, and then from `max_window_layers` on.
pub(super) fn last_windowed(config: &Config, hyper: &mut Hyper) -> Result<()> {
    let first = config.get("max_window_layers").and_then(Value::as_u64).unwrap_or(28);
    windowed(config, hyper, ("sliding_window", Some(4096)), |layer| layer >= first)?;
    only_if_used(config, hyper);
    Ok(())
}

/// The words of both dialects for the layers that have a window.
pub(super) fn write(hyper: &Hyper, entries: &mut Entries) {
    let window = hyper.sliding_window;
    entries.insert("sliding_window".into(), window.map_or(Value::Null, Value::U64));
    entries.insert("use_sliding_window".into(), Value::Bool(window.is_some()));
    let layers = hyper.layers.unwrap_or(0);
    let kind = |layer| match hyper.window(layer) {
        Some(_) => "sliding_attention".to_owned(),
        None => "full_attention".to_owned(),
    };
    let first = (0..layers).find(|layer| hyper.window(*layer).is_some()).unwrap_or(layers);
    entries.insert("max_window_layers".into(), Value::U64(first));
    let types = List::Text((0..layers).map(kind).collect());
    entries.insert("layer_types".into(), Value::List(types));
}

/// Without `use_sliding_window`, a window that is stated is not used.
pub(super) fn only_if_used(config: &Config, hyper: &mut Hyper) {
    if config.get("use_sliding_window").and_then(Value::as_bool) != Some(true) {
        hyper.sliding_window = None;
    }
}

/// Of a GGUF, llama.cpp's pattern: of every `period` layers the last has no window.
pub(super) fn by_pattern(hyper: &mut Hyper, period: u64) {
    let layers = hyper.layers.unwrap_or(0);
    hyper.windowed = Some(LayerSet::of(layers, |layer| layer % period < period - 1));
}
