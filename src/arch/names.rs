//! Tensor names against the templates of a table.

use super::{Arch, Form, Home, Part, Role, Row};
use crate::ir::{Model, Naming, Tensor};

/// The place in a table that a tensor's name belongs to.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The row; of a fused tensor, that of its first part.
    pub(super) row: &'static Row,
    pub(super) home: &'static Home,
    pub(super) part: Part,
    pub(super) place: Place,
}

/// Which of the tensors that share a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) layer: Option<u64>,
    pub(super) piece: Option<u64>,
}

impl Home {
    /// The name of a tensor.
    pub(super) fn name(&self, part: Part, place: Place) -> String {
        let mut name = self.stem.to_owned();
        if let Some(layer) = place.layer {
            name = name.replace("{i}", &layer.to_string());
        }
        if let Some(piece) = place.piece {
            name = name.replace("{e}", &piece.to_string());
        }
        name + self.suffix(part)
    }

    /// Which of its tensors has this name.
    fn place_of(&self, arch: &Arch, naming: Naming, name: &str) -> Option<(Part, Place)> {
        Part::BOTH.into_iter().find_map(|part| {
            let stem = name.strip_suffix(self.suffix(part))?;
            let bare = self.stem.strip_prefix(arch.optional_prefix);
            let bare = bare.filter(|_| naming == Naming::HuggingFace);
            let place = place_in(self.stem, stem).or_else(|| place_in(bare?, stem))?;
            Some((part, place))
        })
    }

    /// The model's tensor of this home.
    pub(super) fn tensor<'m>(
        &self,
        arch: &Arch,
        model: &'m Model,
        part: Part,
        place: Place,
    ) -> Option<(&'m str, &'m Tensor)> {
        let name = self.name(part, place);
        let bare = name.strip_prefix(arch.optional_prefix).filter(|_| model.naming != Naming::Gguf);
        let found = model.tensors.get_key_value(&name);
        let found = found.or_else(|| model.tensors.get_key_value(bare?));
        found.map(|(name, tensor)| (name.as_str(), tensor))
    }
}

/// The row that `name` belongs to.
pub(super) fn locate(arch: &Arch, naming: Naming, name: &str) -> Option<Found> {
    let mut found = None;
    for row in arch.rows() {
        for home in row.homes(naming) {
            let Some((part, place)) = home.place_of(arch, naming, name) else { continue };
            // The name `x_bias` is also a bare weight's, if a table has such a row.
            if part == Part::Weight || row.bias != super::Bias::Never {
                return Some(Found { row, home, part, place });
            }
            found = found.or(Some(Found { row, home, part, place }));
        }
    }
    found
}

/// The name that a model of the hub would be written with, in place of an older one that it has;
/// nothing if it is that already, or the model has both.
pub fn usual_name(arch: &Arch, model: &Model, name: &str) -> Option<String> {
    let found = locate(arch, model.naming, name)?;
    let usual = found.row.homes(model.naming).iter().find(|home| home.form == Form::Whole)?;
    let whole = found.home.form == Form::Whole && found.home.only.is_none() && usual.only.is_none();
    let written = usual.name(found.part, found.place);
    (whole && usual != found.home && !model.tensors.contains_key(&written)).then_some(written)
}

/// Why a Hugging Face tensor is not carried over, if the table says so.
pub(super) fn dropped(arch: &Arch, name: &str) -> Option<&'static str> {
    listed(arch, arch.drops, name)
}

/// What a Hugging Face tensor is for that the target has no place for, if the table says so.
pub(super) fn forgotten(arch: &Arch, name: &str) -> Option<&'static str> {
    listed(arch, arch.forgets, name)
}

fn listed(arch: &Arch, list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    let is = |template: &str| {
        let bare = template.strip_prefix(arch.optional_prefix);
        place_in(template, name).or_else(|| place_in(bare?, name)).is_some()
    };
    list.iter().find(|(template, _)| is(template)).map(|(_, text)| *text)
}

/// The tensor of a role that stands alone, under whichever of its names the model has.
pub fn tensor<'m>(
    arch: &Arch,
    model: &'m Model,
    role: Role,
    part: Part,
    layer: Option<u64>,
) -> Option<(&'m str, &'m Tensor)> {
    let homes = arch.row(role)?.homes(model.naming).iter();
    let mut alone = homes.filter(|home| home.form == Form::Whole);
    alone.find_map(|home| home.tensor(arch, model, part, Place { layer, piece: None }))
}

/// `blk.{i}.x` against `blk.12.x` gives layer 12; a template with no `{i}` gives no layer.
fn place_in(template: &str, name: &str) -> Option<Place> {
    if template.is_empty() {
        return None;
    }
    let mut place = Place::default();
    let (mut template, mut name) = (template, name);
    while let Some(at) = template.find('{') {
        let (before, placeholder) = template.split_at(at);
        let (placeholder, rest) = placeholder.split_at(3);
        name = name.strip_prefix(before)?;
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, later) = name.split_at(digits);
        if digits != "0" && digits.starts_with('0') {
            return None;
        }
        let number = Some(digits.parse().ok()?);
        match placeholder {
            "{i}" => place.layer = number,
            _ => place.piece = number,
        }
        (template, name) = (rest, later);
    }
    (template == name).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::ARCHS;

    #[test]
    fn layers_and_experts_are_read_from_names() {
        let place = |layer, piece| Some(Place { layer, piece });
        assert_eq!(place_in("blk.{i}.x", "blk.12.x"), place(Some(12), None));
        assert_eq!(place_in("h.{i}.e.{e}.x", "h.3.e.0.x"), place(Some(3), Some(0)));
        assert_eq!(place_in("output", "output"), place(None, None));
        for (template, name) in [
            ("blk.{i}.x", "blk.012.x"),
            ("blk.{i}.x", "blk..x"),
            ("blk.{i}.x", "blk.1.y"),
            ("blk.{i}.x", "blk.99999999999999999999.x"),
            ("h.{i}.e.{e}.x", "h.3.e.x"),
            ("", ""),
        ] {
            assert_eq!(place_in(template, name), None, "{template} {name}");
        }
    }

    /// Each row translates there and back, and no two rows claim one name.
    #[test]
    fn tables_are_one_to_one() {
        let mut seen = 0;
        for arch in ARCHS {
            for naming in [Naming::HuggingFace, Naming::Gguf] {
                for row in arch.rows() {
                    for home in row.homes(naming) {
                        let place = Place {
                            layer: home.stem.contains("{i}").then_some(3),
                            piece: home.stem.contains("{e}").then_some(2),
                        };
                        let name = home.name(Part::Weight, place);
                        let back = locate(arch, naming, &name).expect("a row knows its own name");
                        if matches!(home.form, Form::Part(..)) {
                            assert_eq!(back.home.stem, home.stem, "{name}");
                        } else {
                            assert_eq!(back.row.role, row.role, "{name}");
                        }
                        assert_eq!((back.part, back.place), (Part::Weight, place), "{name}");
                        assert!(dropped(arch, &name).is_none(), "{name} is mapped and dropped");
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen > 40, "only {seen} names were tried");
    }
}
