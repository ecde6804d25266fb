//! Bare tensors say nothing of what is computed with them: beside a model that does, they are taken
//! for tensors of that model.

use std::borrow::Cow;

use crate::arch;
use crate::ir::{Config, Model, Notes, Result};

/// Two models, each with a configuration if either has one of a known family.
pub(super) struct Whole<'m> {
    pub(super) reference: Cow<'m, Model>,
    pub(super) candidate: Cow<'m, Model>,
    /// What was lent, if anything was.
    pub(super) note: Option<String>,
}

/// Lends the configuration of one model to the other, if that has none.
///
/// # Errors
/// What is wrong with the model that lends.
pub(super) fn pair<'m>(reference: &'m Model, candidate: &'m Model) -> Result<Whole<'m>> {
    let note = |who: &str, other: &str| {
        format!("the {who} has no configuration, so it is taken for one of the {other}'s")
    };
    let (theirs, ours) = (Cow::Borrowed(reference), Cow::Borrowed(candidate));
    if let Some(candidate) = with_configuration(candidate, reference)? {
        let (candidate, note) = (Cow::Owned(candidate), Some(note("candidate", "reference")));
        return Ok(Whole { reference: theirs, candidate, note });
    }
    if let Some(reference) = with_configuration(reference, candidate)? {
        let (reference, note) = (Cow::Owned(reference), Some(note("reference", "candidate")));
        return Ok(Whole { reference, candidate: ours, note });
    }
    Ok(Whole { reference: theirs, candidate: ours, note: None })
}

/// The model with the other's configuration, in the words of its own names.
fn with_configuration(model: &Model, other: &Model) -> Result<Option<Model>> {
    if !model.config.entries.is_empty() {
        return Ok(None);
    }
    let Some(family) = arch::find(other) else { return Ok(None) };
    let config: Config = match model.naming == other.naming {
        true => other.config.clone(),
        false => {
            let renamed = arch::rename(family, other, model.naming, &mut Notes::default());
            renamed.map_err(|error| error.at(&other.origin))?.0.config
        }
    };
    Ok(Some(Model { config, ..model.clone() }))
}
