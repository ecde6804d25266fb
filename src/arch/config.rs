//! Hyper-parameters both ways: config.json in either dialect, GGUF's metadata, and [`Hyper`].

use indexmap::IndexMap;

use super::rename::is_tied;
use super::{ARCHS, Arch, Bias, Default, Key, Part, Role as Tensors, rope, scaling, tensor};
use crate::ir::tokenizer::Role;
use crate::ir::value::List;
use crate::ir::{Config, Error, Field, Hyper, Model, Naming, Notes, Result, Scalar, Value};

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
            Naming::HuggingFace => from_json(key, &model.config)?,
            Naming::Gguf => from_gguf(arch, key, model)?,
        };
        let value = match (said, key.default) {
            (Said::Value(value), _) => Some(value),
            (Said::Null, _) if key.field == Field::SlidingWindow => None,
            // Absent, Mistral has 8; null, as many as heads.
            (Said::Null, _) if key.field == Field::KvHeads => hyper.get(Field::Heads),
            (_, Default::Required) => return Err(missing(arch, key, model)),
            (_, Default::None) => None,
            (_, Default::Is(value)) => Some(value),
            (_, Default::Same(other)) => hyper.get(other),
            (_, Default::From(make)) => make(&hyper),
        };
        if let Some(value) = value {
            hyper.set(key.field, value);
        }
    }
    match model.naming {
        Naming::HuggingFace => {
            expect(arch, &model.config)?;
            hyper.scaling = scaling::from_json(&model.config, &hyper)?;
        }
        Naming::Gguf => hyper.scaling = scaling::from_gguf(arch, model)?,
    }
    check(&hyper)?;
    if hyper.rope_theta.is_some() {
        rope::frequencies(&hyper)?;
    }
    Ok(hyper)
}

/// GGUF's keys for these hyper-parameters, in the order of the table.
pub(super) fn to_gguf(
    arch: &Arch,
    hyper: &Hyper,
    notes: &mut Notes,
) -> Result<IndexMap<String, Value>> {
    let mut entries = IndexMap::new();
    for key in arch.keys() {
        let Some(value) = hyper.get(key.field) else { continue };
        let value = match value {
            Scalar::Count(n) => Value::U32(u32::try_from(n).map_err(|_| {
                Error::unsupported(format!("{} = {n}: GGUF holds 32 bits", key.field.text()))
            })?),
            Scalar::Real(x) => Value::F32(x),
        };
        entries.insert(format!("{}.{}", arch.gguf, key.gguf), value);
    }
    if hyper.sliding_window.is_some_and(|window| Some(window) < hyper.context) {
        let text = "kept in the file's metadata, but llama.cpp ignores it for this architecture: \
                    beyond the window its logits differ";
        notes.lost("sliding window", text);
    }
    scaling::to_gguf(arch, hyper, &mut entries, notes);
    Ok(entries)
}

/// config.json for these hyper-parameters, in the dialect that every transformers reads, as the
/// first family of this GGUF name whose config.json can say all of them.
///
/// # Errors
/// Unsupported if none can, or for a rope scaling that config.json has no words for.
pub(super) fn to_json(
    arch: &Arch,
    model: &Model,
    hyper: &Hyper,
) -> Result<IndexMap<String, Value>> {
    let says = |family: &Arch, field: Field| match hyper.get(field) {
        Some(value) => {
            let implied = field == Field::RopeDims && Some(value) == hyper.get(Field::KeyDim);
            let key = family.keys().find(|key| key.field == field);
            implied || key.is_some_and(|key| !key.json.is_empty())
        }
        None => true,
    };
    let same_name = ARCHS.iter().filter(|family| family.gguf == arch.gguf);
    let mut fits = same_name.filter(|family| Field::ALL.iter().all(|field| says(family, *field)));
    let family = fits.next().ok_or_else(|| {
        Error::unsupported(format!("no config.json of a {} can say all of this", arch.gguf))
    })?;
    let mut entries = IndexMap::new();
    let text = |text: &str| Value::Text(text.to_owned());
    let class = family.hf.first().copied().unwrap_or_default();
    entries.insert("architectures".into(), Value::List(List::Text(vec![class.to_owned()])));
    entries.insert("model_type".into(), text(family.model_type));
    for key in family.keys() {
        let Some((name, value)) = key.json.first().zip(hyper.get(key.field)) else { continue };
        let value = match value {
            Scalar::Count(n) => Value::U64(n),
            Scalar::Real(x) => Value::F32(x),
        };
        entries.insert((*name).to_owned(), value);
    }
    for (key, accepted) in family.expects {
        entries.insert((*key).to_owned(), text(accepted.first().copied().unwrap_or_default()));
    }
    for row in family.rows {
        let Bias::If(key) = row.bias else { continue };
        let layer = row.gguf.contains("{i}").then_some(0);
        let has = tensor(arch, model, row.role, Part::Bias, layer).is_some();
        let set = entries.entry(key.to_owned()).or_insert(Value::Bool(false));
        *set = Value::Bool(has || *set == Value::Bool(true));
    }
    entries.insert("tie_word_embeddings".into(), Value::Bool(is_tied(model)));
    if let Some(scaling) = scaling::to_json(arch, model, hyper)? {
        entries.insert("rope_scaling".into(), Value::Map(scaling));
    }
    if let Some(tokenizer) = &model.tokenizer {
        let roles = [(Role::Bos, "bos_token_id"), (Role::Eos, "eos_token_id")];
        for (role, key) in roles {
            let id = tokenizer.role(role).map_or(Value::Null, |id| Value::U64(id.into()));
            entries.insert(key.to_owned(), id);
        }
    }
    Ok(entries)
}

/// What a file says of one key.
enum Said {
    Nothing,
    Null,
    Value(Scalar),
}

fn from_json(key: &Key, config: &Config) -> Result<Said> {
    let mut said = Said::Nothing;
    for path in key.json.iter().rev() {
        match lookup(config, path) {
            None => {}
            Some(Value::Null) => said = Said::Null,
            Some(value) => return Ok(Said::Value(scalar(key, path, value)?)),
        }
    }
    Ok(said)
}

fn from_gguf(arch: &Arch, key: &Key, model: &Model) -> Result<Said> {
    let name = format!("{}.{}", arch.gguf, key.gguf);
    match model.config.get(&name) {
        Some(value) => Ok(Said::Value(scalar(key, &name, value)?)),
        // Files made before the key existed state the size of the vocabulary by having it.
        None if key.field == Field::Vocab => {
            let embedding = tensor(arch, model, Tensors::Embedding, Part::Weight, None);
            let rows = embedding.and_then(|(_, tensor)| tensor.shape().dims().first().copied());
            Ok(rows.map_or(Said::Nothing, |rows| Said::Value(Scalar::Count(rows))))
        }
        None => Ok(Said::Nothing),
    }
}

/// The value at a dotted path, null included.
fn lookup<'c>(config: &'c Config, path: &str) -> Option<&'c Value> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let value = config.entries.get(first)?;
    match rest {
        None => Some(value),
        Some(rest) => value.get(rest),
    }
}

fn scalar(key: &Key, name: &str, value: &Value) -> Result<Scalar> {
    let wants_real = matches!(key.field, Field::NormEpsilon | Field::RopeTheta);
    let wrong = |expected: &str| {
        Error::malformed(format!(
            "{name} ({}): found {value:?}, expected {expected}",
            key.field.text()
        ))
    };
    if wants_real {
        let x = value.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && *x > 0.0);
        return x.map(Scalar::Real).ok_or_else(|| wrong("a positive number"));
    }
    if let Value::List(_) = value {
        let feature = "a value for each layer, which this family's runner does not compute";
        return Err(Error::unsupported(format!("{name}: {feature}")));
    }
    let count = value.as_u64().filter(|&n| n > 0 && n <= u64::from(u32::MAX));
    count.map(Scalar::Count).ok_or_else(|| wrong("a whole number from 1 to 2^32 - 1"))
}

fn missing(arch: &Arch, key: &Key, model: &Model) -> Error {
    let name = match model.naming {
        Naming::HuggingFace => format!("config.json has no {}", key.json.join(" or ")),
        Naming::Gguf => format!("the metadata has no {}.{}", arch.gguf, key.gguf),
    };
    Error::malformed(format!("{name} ({}), which {} needs", key.field.text(), arch.gguf))
}

fn expect(arch: &Arch, config: &Config) -> Result<()> {
    for (key, accepted) in arch.expects {
        let Some(value) = config.get(key) else { continue };
        if !value.as_text().is_some_and(|text| accepted.contains(&text)) {
            let expected = accepted.join(" or ");
            return Err(Error::unsupported(format!(
                "config.json: {key} is {value:?}; for {} only {expected} is computed",
                arch.model_type
            )));
        }
    }
    Ok(())
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
    let (rotary, size) = (hyper.rope_dims.unwrap_or(0), hyper.key_dim.unwrap_or(0));
    rule(
        rotary.is_multiple_of(2) && rotary <= size,
        format!("rotary dimensions {rotary} must be even and no more than the head size {size}"),
    )?;
    rule(size > 0, format!("head size {size} must be at least 1"))
}
