//! Hyper-parameters both ways: config.json in either dialect, GGUF's metadata, and [`Hyper`].

use indexmap::IndexMap;

use super::{Arch, Default, Key, Part, Role, rope, tensor};
use crate::ir::{
    Config, Error, Field, Hyper, Model, Naming, Notes, Result, Scalar, Scaling, Value,
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
            Naming::HuggingFace => from_json(key, &model.config)?,
            Naming::Gguf => from_gguf(arch, key, model)?,
        };
        let value = match (said, key.default) {
            (Said::Value(value), _) => Some(value),
            (Said::Null, _) if key.field == Field::SlidingWindow => None,
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
            hyper.scaling = scaling_from_json(&model.config, &hyper)?;
        }
        Naming::Gguf => hyper.scaling = scaling_from_gguf(arch, model)?,
    }
    check(&hyper)?;
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
    scaling_to_gguf(arch, &hyper.scaling, &mut entries, notes);
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
    for path in key.json {
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
            let embedding = tensor(arch, model, Role::Embedding, Part::Weight, None);
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

/// `rope_parameters` of transformers 5, `rope_scaling` of those before.
fn scaling_from_json(config: &Config, hyper: &Hyper) -> Result<Scaling> {
    let Some(rope) = config.get("rope_parameters").or_else(|| config.get("rope_scaling")) else {
        return Ok(Scaling::None);
    };
    let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_text);
    let real = |key: &str| rope.get(key).and_then(Value::as_f64).map(|x| x as f32);
    let need = |key: &str| {
        real(key).filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| {
            Error::malformed(format!("config.json: rope scaling needs a positive {key}"))
        })
    };
    if real("partial_rotary_factor").is_some_and(|part| part != 1.0) {
        return Err(Error::unsupported("config.json: partial_rotary_factor for this family"));
    }
    let outside = config.get("original_max_position_embeddings");
    let original = outside.or_else(|| rope.get("original_max_position_embeddings"));
    let original = original.and_then(Value::as_u64).or(hyper.context).unwrap_or(1);
    match kind.unwrap_or("default") {
        "default" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear { factor: need("factor")? }),
        "llama3" => Ok(Scaling::Llama3 {
            factor: need("factor")?,
            low_freq_factor: need("low_freq_factor")?,
            high_freq_factor: need("high_freq_factor")?,
            original,
        }),
        "yarn" => {
            let factor = match rope.get("factor") {
                Some(_) => need("factor")?,
                None => hyper.context.unwrap_or(1) as f32 / original as f32,
            };
            let pair = real("mscale").zip(real("mscale_all_dim"));
            let pair = pair.filter(|(a, b)| *a != 0.0 && *b != 0.0);
            let inferred = match pair {
                Some((a, b)) => yarn_attention(factor, a) / yarn_attention(factor, b),
                None => yarn_attention(factor, 1.0),
            };
            Ok(Scaling::Yarn {
                factor,
                original,
                beta_fast: real("beta_fast").filter(|x| *x != 0.0).unwrap_or(32.0),
                beta_slow: real("beta_slow").filter(|x| *x != 0.0).unwrap_or(1.0),
                attention_factor: real("attention_factor").unwrap_or(inferred),
                truncate: rope.get("truncate").and_then(Value::as_bool).unwrap_or(true),
            })
        }
        other => Err(Error::unsupported(format!(
            "config.json: rope scaling {other:?}; computed: default, linear, llama3, yarn"
        ))),
    }
}

/// `get_mscale`: the longer the context, the sharper the attention.
fn yarn_attention(factor: f32, scale: f32) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (0.1 * f64::from(scale) * libm::log(f64::from(factor)) + 1.0) as f32
}

fn scaling_from_gguf(arch: &Arch, model: &Model) -> Result<Scaling> {
    let get = |key: &str| model.config.get(&format!("{}.rope.scaling.{key}", arch.gguf));
    let real = |key: &str| get(key).and_then(Value::as_f64).map(|x| x as f32);
    let factors = tensor(arch, model, Role::RopeFactors, Part::Weight, None);
    let kind = get("type").and_then(Value::as_text);
    let need = |key: &str| {
        real(key).filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| {
            Error::malformed(format!("metadata: {}.rope.scaling.{key} must be positive", arch.gguf))
        })
    };
    match (kind, factors) {
        (None | Some("none"), Some((name, tensor))) => {
            let factors = tensor.to_floats().map_err(|error| error.at(name))?;
            Ok(Scaling::Factors(factors))
        }
        (None, None) => match model.config.get(&format!("{}.rope.scale_linear", arch.gguf)) {
            // The spelling before `rope.scaling.type` existed.
            Some(value) => Ok(Scaling::Linear { factor: value.as_f64().unwrap_or(1.0) as f32 }),
            None => Ok(Scaling::None),
        },
        (Some("none"), None) => Ok(Scaling::None),
        (Some("linear"), None) => Ok(Scaling::Linear { factor: need("factor")? }),
        (Some("yarn"), None) => {
            let factor = need("factor")?;
            let adjust = real("attn_factor").or_else(|| real("yarn_attn_factor")).unwrap_or(1.0);
            let original = get("original_context_length").and_then(Value::as_u64);
            let context = model.config.get(&format!("{}.context_length", arch.gguf));
            let original = original.or_else(|| context.and_then(Value::as_u64)).unwrap_or(1);
            Ok(Scaling::Yarn {
                factor,
                original,
                beta_fast: real("yarn_beta_fast").unwrap_or(32.0),
                beta_slow: real("yarn_beta_slow").unwrap_or(1.0),
                attention_factor: adjust * yarn_attention(factor, 1.0),
                truncate: true,
            })
        }
        (kind, factors) => {
            let with = if factors.is_some() { " with rope_freqs.weight" } else { "" };
            let what = format!("metadata: rope scaling {:?}{with}", kind.unwrap_or_default());
            Err(Error::unsupported(format!("{what}; computed: none, linear, yarn, or factors")))
        }
    }
}

fn scaling_to_gguf(
    arch: &Arch,
    scaling: &Scaling,
    entries: &mut IndexMap<String, Value>,
    notes: &mut Notes,
) {
    let mut put = |key: &str, value: Value| {
        entries.insert(format!("{}.rope.scaling.{key}", arch.gguf), value);
    };
    match *scaling {
        // The last two are said by the tensor `rope_freqs.weight`.
        Scaling::None | Scaling::Llama3 { .. } | Scaling::Factors(_) => {}
        Scaling::Linear { factor } => {
            put("type", Value::Text("linear".into()));
            put("factor", Value::F32(factor));
        }
        Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => {
            put("type", Value::Text("yarn".into()));
            put("factor", Value::F32(factor));
            put("original_context_length", Value::U32(original.try_into().unwrap_or(u32::MAX)));
            let adjust = attention_factor / yarn_attention(factor, 1.0);
            if adjust != 1.0 {
                put("yarn_attn_factor", Value::F32(adjust));
            }
            if beta_fast != 32.0 || beta_slow != 1.0 {
                put("yarn_beta_fast", Value::F32(beta_fast));
                put("yarn_beta_slow", Value::F32(beta_slow));
            }
            if !truncate {
                let text = "truncate = false: GGUF cannot say it; its readers round the ramp";
                notes.lost("rope scaling", text);
            }
        }
    }
}

/// The tensor that states the scaling, where GGUF wants one.
pub(super) fn factor_tensor(hyper: &Hyper) -> Result<Option<Vec<f32>>> {
    rope::factors(hyper)
}
