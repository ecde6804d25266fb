//! Tensor names against the templates of a table.

use super::{Arch, Part, Role, Row};
use crate::ir::{Model, Naming, Tensor};

/// A row of the table that a tensor's name belongs to.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) row: &'static Row,
    pub(super) part: Part,
    pub(super) layer: Option<u64>,
}

impl Found {
    /// The name of this tensor on the other side, or on the same side spelled canonically.
    pub(super) fn name(&self, naming: Naming) -> Option<String> {
        let stem = match naming {
            Naming::Gguf => self.row.gguf,
            Naming::HuggingFace => self.row.hf.first().copied().unwrap_or_default(),
        };
        let suffix = self.part.suffix();
        (!stem.is_empty()).then(|| format!("{}{suffix}", expand(stem, self.layer)))
    }
}

/// The row that `name` belongs to.
pub(super) fn locate(arch: &'static Arch, naming: Naming, name: &str) -> Option<Found> {
    let (part, stem) = [Part::Weight, Part::Bias]
        .into_iter()
        .find_map(|part| Some((part, name.strip_suffix(part.suffix())?)))?;
    arch.rows.iter().find_map(|row| {
        let layer = match naming {
            Naming::Gguf => layer_of(row.gguf, stem),
            Naming::HuggingFace => row.hf.iter().find_map(|t| layer_of_either(arch, t, stem)),
        }?;
        Some(Found { row, part, layer })
    })
}

/// Why a Hugging Face tensor is not carried over, if the table says so.
pub(super) fn dropped(arch: &Arch, name: &str) -> Option<&'static str> {
    let is = |template: &str| layer_of_either(arch, template, name).is_some();
    arch.drops.iter().find(|(template, _)| is(template)).map(|(_, reason)| *reason)
}

/// The tensor of a role, under whichever of its names the model has.
pub fn tensor<'m>(
    arch: &Arch,
    model: &'m Model,
    role: Role,
    part: Part,
    layer: Option<u64>,
) -> Option<(&'m str, &'m Tensor)> {
    let row = arch.rows.iter().find(|row| row.role == role)?;
    let stems = match model.naming {
        Naming::Gguf => std::slice::from_ref(&row.gguf),
        Naming::HuggingFace => row.hf,
    };
    stems.iter().filter(|stem| !stem.is_empty()).find_map(|stem| {
        let name = format!("{}{}", expand(stem, layer), part.suffix());
        let bare = name.strip_prefix(arch.optional_prefix).filter(|_| model.naming != Naming::Gguf);
        let found = model.tensors.get_key_value(&name);
        let found = found.or_else(|| model.tensors.get_key_value(bare?));
        found.map(|(name, tensor)| (name.as_str(), tensor))
    })
}

fn expand(stem: &str, layer: Option<u64>) -> String {
    match layer {
        Some(layer) => stem.replace("{i}", &layer.to_string()),
        None => stem.to_owned(),
    }
}

fn layer_of_either(arch: &Arch, template: &str, name: &str) -> Option<Option<u64>> {
    let bare = template.strip_prefix(arch.optional_prefix);
    layer_of(template, name).or_else(|| layer_of(bare?, name))
}

/// `blk.{i}.x` against `blk.12.x` gives layer 12; a template with no `{i}` gives no layer.
fn layer_of(template: &str, name: &str) -> Option<Option<u64>> {
    let Some((before, after)) = template.split_once("{i}") else {
        return (!template.is_empty() && template == name).then_some(None);
    };
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let canonical = digits == "0" || !digits.starts_with('0');
    let all_digits = digits.bytes().all(|b| b.is_ascii_digit());
    (canonical && all_digits).then(|| digits.parse().ok().map(Some)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ARCHS;

    #[test]
    fn layers_are_read_from_names() {
        assert_eq!(layer_of("blk.{i}.x", "blk.12.x"), Some(Some(12)));
        assert_eq!(layer_of("blk.{i}.x", "blk.012.x"), None);
        assert_eq!(layer_of("blk.{i}.x", "blk..x"), None);
        assert_eq!(layer_of("blk.{i}.x", "blk.1.y"), None);
        assert_eq!(layer_of("output", "output"), Some(None));
        assert_eq!(layer_of("", ""), None);
    }

    /// Each row translates there and back, and no two rows claim one name.
    #[test]
    fn tables_are_one_to_one() {
        let mut seen = 0;
        for arch in ARCHS {
            for naming in [Naming::HuggingFace, Naming::Gguf] {
                for row in arch.rows {
                    let there = Found { row, part: Part::Weight, layer: Some(3) };
                    let Some(name) = there.name(naming) else { continue };
                    let back = locate(arch, naming, &name).expect("a row knows its own name");
                    assert_eq!(back.row.role, row.role, "{name}");
                    assert!(dropped(arch, &name).is_none(), "{name} is mapped and dropped");
                    seen += 1;
                }
            }
        }
        assert!(seen > 40, "only {seen} names were tried");
    }
}
