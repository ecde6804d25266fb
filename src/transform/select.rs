//! Tensors by pattern.

use regex::Regex;

use crate::ir::{Error, Model, Notes, Result};

/// Which tensors are kept.
#[derive(Debug, Default)]
pub struct Selection {
    /// If any are given, a tensor must match one of them.
    pub include: Vec<Regex>,
    /// A tensor that matches one of these is left out.
    pub exclude: Vec<Regex>,
}

/// The model with the tensors that are selected; each one left out is a Note.
///
/// # Errors
/// Usage if none of its tensors is left.
pub fn select(mut model: Model, selection: &Selection, notes: &mut Notes) -> Result<Model> {
    let count = model.tensors.len() + model.refused.len();
    let any = |patterns: &[Regex], name: &str| patterns.iter().any(|p| p.is_match(name));
    let mut keep = |name: &str| {
        let included = selection.include.is_empty() || any(&selection.include, name);
        let kept = included && !any(&selection.exclude, name);
        if !kept {
            notes.lost(name, "left out, as asked for");
        }
        kept
    };
    model.tensors.retain(|name, _| keep(name));
    model.refused.retain(|name, _| keep(name));
    if count > 0 && model.tensors.is_empty() && model.refused.is_empty() {
        let text = format!("--include and --exclude leave none of {count} tensors");
        return Err(Error::usage(text).at(&model.origin));
    }
    Ok(model)
}
