//! Kernels in the order of dimensions that the target's framework has them in.

use crate::ir::{Convention, Kernel, Model, Notes, Result, Tensor};

/// The model with its kernels ordered as `to` says. A weight that may be one, but of which the file
/// does not say so, stays as it is, with a Note if the target would order it otherwise.
///
/// # Errors
/// Malformed, naming the tensor, if it has not the dimensions of the kernel that it is said to be.
pub fn convention(
    model: Model,
    from: Option<Convention>,
    to: Option<Convention>,
    notes: &mut Notes,
) -> Result<Model> {
    let model = ordered(model, |_| to)?;
    if from.is_some() && to.is_some() && from != to {
        tell_unknown(&model, notes);
    }
    Ok(model)
}

/// The model with each of its kernels ordered as `to` says of its name, if it says something.
///
/// # Errors
/// As [`convention`].
pub fn ordered(mut model: Model, to: impl Fn(&str) -> Option<Convention>) -> Result<Model> {
    for (name, kernel) in &mut model.kernels {
        let Some((tensor, to)) = model.tensors.get_mut(name).zip(to(name)) else { continue };
        *tensor = kernel.ordered(tensor, to).map_err(|error| error.at(name))?;
        *kernel = Kernel { convention: to, ..*kernel };
    }
    Ok(model)
}

fn tell_unknown(model: &Model, notes: &mut Notes) {
    let is_unknown = |(name, tensor): &(&String, &Tensor)| {
        tensor.shape().rank() >= 2 && !model.kernels.contains_key(*name)
    };
    let unknown: Vec<&String> =
        model.tensors.iter().filter(is_unknown).map(|(name, _)| name).collect();
    if let [first, others @ ..] = &unknown[..] {
        let more = match others.len() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let text = format!(
            "{first}{more}: the kinds of their layers are not known, so their dimensions stay in \
             the source's order"
        );
        notes.chosen(&model.origin, text);
    }
}
