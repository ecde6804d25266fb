//! Hyper-parameters both ways: config.json in either dialect, GGUF's metadata, and [`Hyper`].

use super::json::{Said, scalar};
use super::{Arch, Default, Entries, Key, Part, Role, find, rope, scaling, tensor};
use crate::ir::{
    Config, Error, Field, Hyper, Model, Naming, Notes, Result, Scalar, ScalarKind, Value,
};

/// What decides a model's computation, from its configuration and, where GGUF keeps it there,
/// from its tensors.
///
/// # Errors
/// Malformed, naming the key, what was found and what was expected; Unsupported for an option
/// of the family that is not computed.
pub fn hyper(arch: &Arch, model: &Model) -> Result<Hyper> {
    let mut hyper = Hyper::default();
    for key in arch.keys() {
        let said = match model.naming {
            Naming::HuggingFace => super::json::read(key, &model.config, &hyper)?,
            Naming::Gguf => from_gguf(arch, key, model)?,
        };
        let value = match (said, key.default) {
            (Said::Value(value), _) => Some(value),
            (Said::Null, _) if is_optional(key.field) => None,
            // Absent, Mistral has 8; null, as many as heads.
            (Said::Null, _) if key.field == Field::KvHeads => hyper.get(Field::Heads),
            (_, Default::Required) => return Err(missing(arch, key, model)),
            (_, Default::None) => None,
            (_, Default::Is(value)) => Some(value),
            (_, Default::Same(other)) => hyper.get(other),
            (_, Default::From(make)) => make(&hyper),
        };
        hyper.set(key.field, value);
    }
    match model.naming {
        Naming::HuggingFace => {
            super::json::expect(arch, &model.config)?;
            hyper.scaling = scaling::from_json(arch, &model.config, &hyper)?;
            (arch.hooks.from_json)(&model.config, &mut hyper)?;
        }
        Naming::Gguf => {
            hyper.scaling = scaling::from_gguf(arch, model)?;
            (arch.hooks.from_gguf)(model, &mut hyper)?;
            said_by_us(arch, model, &mut hyper)?;
        }
    }
    tidy(&mut hyper);
    check(&hyper)?;
    if hyper.rope_theta.is_some() {
        rope::frequencies(&hyper, hyper.context.unwrap_or(1))?;
    }
    Ok(hyper)
}

/// Whether a model may do without it, so that a null or a zero says that it has none.
fn is_optional(field: Field) -> bool {
    use Field::*;
    let optional = [
        SlidingWindow,
        AttentionCap,
        LogitCap,
        QkvClip,
        Alibi,
        QueryRank,
        Experts,
        ExpertsUsed,
        SharedFeedForward,
        RouteGroups,
        RouteGroupsUsed,
        LocalTheta,
        GateLimit,
        AttentionScale,
        DecoderStart,
        FirstPosition,
    ];
    optional.contains(&field)
}

/// One spelling of what says the same: no multiplier is a multiplier of 1, and so on.
fn tidy(hyper: &mut Hyper) {
    let layers = hyper.layers.unwrap_or(0);
    for &field in Field::ALL {
        let says_nothing = match hyper.get(field) {
            Some(Scalar::Flag(yes)) => !yes,
            Some(Scalar::Real(x)) => is_neutral(field, x),
            Some(Scalar::Layers(some)) => match field {
                Field::Unrotated => some.count() == 0,
                _ => some.count() == layers,
            },
            _ => false,
        };
        if says_nothing {
            hyper.set(field, None);
        }
    }
    if hyper.windowed.is_some_and(|windowed| windowed.count() == 0) {
        hyper.sliding_window = None;
    }
    if hyper.sliding_window.is_none() {
        hyper.windowed = None;
        hyper.local_theta = None;
    }
    if hyper.local_theta == hyper.rope_theta && hyper.scaling == crate::ir::Scaling::None {
        hyper.local_theta = None;
    }
    if hyper.experts.is_none() {
        hyper.sparse = None;
    }
    if hyper.embedding_width == hyper.hidden {
        hyper.embedding_width = None;
    }
    if hyper.latent_epsilon == hyper.norm_epsilon {
        hyper.latent_epsilon = None;
    }
    if hyper.route_groups.is_none_or(|groups| groups <= 1) {
        hyper.route_groups = None;
        hyper.route_groups_used = None;
    }
}

/// A multiplier that changes nothing.
fn is_neutral(field: Field, x: f32) -> bool {
    match field {
        Field::EmbeddingScale
        | Field::ResidualScale
        | Field::LogitScale
        | Field::LogitDivisor
        | Field::RouteScale => x == 1.0,
        Field::AttentionCap | Field::LogitCap | Field::QkvClip | Field::Alibi => x == 0.0,
        _ => false,
    }
}

/// GGUF's metadata for a model that has GGUF's tensors already, but for what depends on the types
/// chosen.
pub(super) fn to_gguf(
    arch: &'static Arch,
    model: &Model,
    hyper: &Hyper,
    notes: &mut Notes,
) -> Result<Entries> {
    let mut entries = general(arch.gguf, model);
    for key in arch.keys().filter(|key| !key.gguf.is_empty()) {
        // A flag that is off is said all the same: some readers demand it.
        let off = (key.field.kind() == ScalarKind::Flag).then_some(Scalar::Flag(false));
        if let Some(value) = hyper.get(key.field).or(off) {
            entries.insert(format!("{}.{}", arch.gguf, key.gguf), to_value(key.field, value)?);
        }
    }
    scaling::to_gguf(arch, hyper, &mut entries, notes);
    (arch.hooks.to_gguf)(hyper, &mut entries);
    super::pooling::to_gguf(arch.gguf, model, &mut entries)?;
    if !arch.in_llama_cpp {
        let text = "llama.cpp knows no such architecture: the file is for remold";
        notes.lost(arch.gguf, text);
    }
    for field in arch.ignored.iter().filter(|field| differs(hyper, **field)) {
        let text = "kept in the file's metadata, but llama.cpp ignores it for this architecture: \
                    its logits differ";
        let more = if *field == Field::SlidingWindow { " beyond the window" } else { "" };
        notes.lost(field.text(), format!("{text}{more}"));
    }
    note_unknown(&super::Parts { arch, model, hyper }, notes)?;
    add_ours(arch, model, hyper, &mut entries, notes)?;
    Ok(entries)
}

/// Says which tensors llama.cpp does not know.
fn note_unknown(parts: &super::Parts<'_>, notes: &mut Notes) -> Result<()> {
    let mut names = Vec::new();
    for role in parts.arch.unknown {
        let homes = parts.arch.row(*role).map(|row| row.gguf).unwrap_or_default();
        let layer = homes.iter().any(|home| home.stem.contains("{i}")).then_some(0);
        names.extend(parts.get(*role, Part::Weight, layer)?.map(|named| named.name));
    }
    if !names.is_empty() {
        let text = "llama.cpp has no such tensors with this architecture, and refuses the file; \
                    for llama.cpp, leave them out of the source with --exclude";
        notes.lost(names.join(", "), text);
    }
    Ok(())
}

/// Whether a field changes what the model computes: a window as long as the context does not.
fn differs(hyper: &Hyper, field: Field) -> bool {
    match field {
        Field::SlidingWindow => hyper.sliding_window.is_some_and(|w| Some(w) < hyper.context),
        _ => hyper.get(field).is_some(),
    }
}

/// What readers of the file as it is written would not know is added under names of our own.
fn add_ours(
    arch: &'static Arch,
    model: &Model,
    hyper: &Hyper,
    entries: &mut Entries,
    notes: &mut Notes,
) -> Result<()> {
    let written = Model { config: Config { entries: entries.clone() }, ..model.clone() };
    let read = self::hyper(find(&written).unwrap_or(arch), &written)?;
    for &field in Field::ALL {
        let (meant, implied) = (hyper.get(field), read.get(field));
        if meant == implied {
            continue;
        }
        let value = match meant {
            Some(value) => to_value(field, value)?,
            None => Value::Text(NONE.into()),
        };
        entries.insert(ours(field), value);
        if arch.in_llama_cpp {
            let text = "llama.cpp has no word for it with this architecture: its logits differ";
            notes.lost(field.text(), text);
        }
    }
    Ok(())
}

/// What stands for a hyper-parameter that a model does not have, where readers assume one.
const NONE: &str = "none";

/// The name under which metadata has what GGUF has no key for.
fn ours(field: Field) -> String {
    format!("remold.{}", field.text().replace([' ', '-'], "_").to_lowercase())
}

fn said_by_us(arch: &Arch, model: &Model, hyper: &mut Hyper) -> Result<()> {
    for &field in Field::ALL {
        let name = ours(field);
        match model.config.get(&name) {
            None => {}
            Some(Value::Text(text)) if text == NONE => hyper.set(field, None),
            Some(value) => {
                let key = Key { field, json: &[], gguf: "", default: Default::None };
                hyper.set(field, scalar(&key, &name, value, arch.gguf)?);
            }
        }
    }
    Ok(())
}

fn to_value(field: Field, value: Scalar) -> Result<Value> {
    Ok(match value {
        Scalar::Count(n) => Value::U32(u32::try_from(n).map_err(|_| {
            Error::unsupported(format!("{} = {n}: GGUF holds 32 bits", field.text()))
        })?),
        Scalar::Real(x) => Value::F32(x),
        Scalar::Flag(yes) => Value::Bool(yes),
        Scalar::Layers(layers) => Value::Text(layers.to_string()),
        Scalar::Activation(activation) => Value::Text(activation.text().into()),
        // `llama_expert_gating_func_type` of llama.cpp.
        Scalar::Routing(routing) => Value::U32(match routing {
            crate::ir::Routing::Softmax => 1,
            crate::ir::Routing::Sigmoid => 2,
            crate::ir::Routing::TopSoftmax => 3,
        }),
    })
}

/// config.json for these hyper-parameters, in the dialect that every transformers reads.
///
/// # Errors
/// Unsupported if the family's config.json has no words for one of them.
pub(super) fn to_json(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<Entries> {
    let entries = super::json::write(arch, model, hyper)?;
    let written = Model {
        naming: Naming::HuggingFace,
        config: Config { entries: entries.clone() },
        ..model.clone()
    };
    let read = self::hyper(arch, &written)?;
    match Field::ALL.iter().find(|field| hyper.get(**field) != read.get(**field)) {
        None if same_rotation(hyper, &read) => Ok(entries),
        None => Err(Error::bug("the rope scaling as it is written is read as another")),
        Some(field) => {
            let text = |hyper: &Hyper| hyper.get(*field).map_or("none".into(), |x| x.to_string());
            let (meant, read) = (text(hyper), text(&read));
            let class = arch.hf.first().copied().unwrap_or_default();
            let what = format!("{} = {meant}: config.json of {class}", field.text());
            Err(Error::unsupported(format!("{what} can only say {read}")))
        }
    }
}

/// Whether short and long texts are rotated alike, but for the rounding of divisors.
fn same_rotation(a: &Hyper, b: &Hyper) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * a.abs();
    [1, a.context.unwrap_or(1)].iter().all(|len| {
        let (a, b) = (rope::frequencies(a, *len), rope::frequencies(b, *len));
        let (Ok((a, x)), Ok((b, y))) = (&a, &b) else { return a.is_err() == b.is_err() };
        near((x, y)) && a.len() == b.len() && a.iter().zip(b).all(near)
    })
}

fn from_gguf(arch: &Arch, key: &Key, model: &Model) -> Result<Said> {
    if key.gguf.is_empty() {
        return Ok(Said::Nothing);
    }
    let name = format!("{}.{}", arch.gguf, key.gguf);
    match model.config.get(&name) {
        Some(value) if is_optional(key.field) && value.as_f64() == Some(0.0) => Ok(Said::Null),
        Some(value) => {
            let value = scalar(key, &name, value, arch.gguf)?;
            Ok(value.map_or(Said::Nothing, Said::Value))
        }
        // Files made before the key existed state the size of the vocabulary by having it.
        None if key.field == Field::Vocab => {
            let embedding = tensor(arch, model, Role::Embedding, Part::Weight, None);
            let rows = embedding.and_then(|(_, tensor)| tensor.shape().dims().first().copied());
            Ok(rows.map_or(Said::Nothing, |rows| Said::Value(Scalar::Count(rows))))
        }
        None => Ok(Said::Nothing),
    }
}

fn missing(arch: &Arch, key: &Key, model: &Model) -> Error {
    let name = match model.naming {
        Naming::HuggingFace => format!("config.json has no {}", key.json.join(" or ")),
        Naming::Gguf => format!("the metadata has no {}.{}", arch.gguf, key.gguf),
    };
    Error::malformed(format!("{name} ({}), which {} needs", key.field.text(), arch.gguf))
}

/// Sizes that contradict each other, before anything is built on them.
fn check(hyper: &Hyper) -> Result<()> {
    let rule = |holds: bool, text: String| match holds {
        true => Ok(()),
        false => Err(Error::malformed(text)),
    };
    let (heads, kv) = (hyper.heads.unwrap_or(1), hyper.kv_heads.unwrap_or(1));
    rule(
        heads.is_multiple_of(kv),
        format!("head count {heads} is not a multiple of key and value head count {kv}"),
    )?;
    let (rotary, size) = (hyper.rope_dims, hyper.key_dim.unwrap_or(0));
    rule(
        rotary.is_none_or(|rotary| rotary.is_multiple_of(2) && (1..=size).contains(&rotary)),
        format!(
            "rotary dimensions {} must be even, and from 2 to the head size {size}",
            rotary.unwrap_or(0)
        ),
    )?;
    let attends = hyper.heads.is_some();
    rule(size > 0 || !attends, format!("head size {size} must be at least 1"))?;
    let (experts, used) = (hyper.experts.unwrap_or(0), hyper.experts_used.unwrap_or(0));
    rule(
        used <= experts && (experts == 0 || used > 0),
        format!("{used} of {experts} experts cannot be used for a token"),
    )?;
    let groups = hyper.route_groups.unwrap_or(1);
    let groups_used = hyper.route_groups_used.unwrap_or(groups);
    rule(
        experts.is_multiple_of(groups) && groups_used <= groups && groups_used > 0,
        format!("{groups_used} of {groups} groups of {experts} experts cannot be used"),
    )?;
    let largest = crate::ir::LayerSet::MAX;
    let layers = hyper.layers.unwrap_or(0);
    rule(
        layers <= largest || [hyper.windowed, hyper.unrotated, hyper.sparse] == [None; 3],
        format!("{layers} layers of several kinds: at most {largest} can be told apart"),
    )
}

/// The configuration of a model whose family is not known, as far as the other side can hold it
/// under the same names.
pub fn untranslated(model: &Model, naming: Naming, notes: &mut Notes) -> Config {
    if naming == Naming::HuggingFace {
        return Config::default();
    }
    let family = model.config.get("model_type").and_then(Value::as_text).unwrap_or("unknown");
    let mut entries = general(family, model);
    let mut lost = Vec::new();
    for (key, value) in &model.config.entries {
        // What a reader says of its format has a name of its own already.
        let is_named = key.starts_with(model.format) && key[model.format.len()..].starts_with('.');
        let name = if is_named { key.clone() } else { format!("{family}.{key}") };
        match value {
            Value::Null => {}
            Value::List(_) | Value::Map(_) => lost.push(key.as_str()),
            Value::F64(x) => {
                entries.insert(name, Value::F32(*x as f32));
            }
            value => {
                entries.insert(name, value.clone());
            }
        }
    }
    if !lost.is_empty() {
        let text = format!("not carried over, being lists or maps: {}", lost.join(", "));
        notes.lost("config.json", text);
    }
    Config { entries }
}

/// What every GGUF says first.
fn general(family: &str, model: &Model) -> Entries {
    let text = |text: &str| Value::Text(text.to_owned());
    Entries::from([
        ("general.architecture".to_owned(), text(family)),
        ("general.type".to_owned(), text("model")),
        ("general.name".to_owned(), Value::Text(model.name())),
    ])
}
