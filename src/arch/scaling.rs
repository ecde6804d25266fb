//! Rope scaling both ways: config.json in either dialect, GGUF's metadata, and [`Scaling`].

use indexmap::IndexMap;

use super::{Arch, Part, Role, rope, tensor};
use crate::ir::{Config, Error, Hyper, Model, Notes, Result, Scaling, Value};

/// `rope_parameters` of transformers 5, `rope_scaling` of those before.
pub(super) fn from_json(config: &Config, hyper: &Hyper) -> Result<Scaling> {
    let said =
        |key| config.get(key).filter(|rope| !matches!(rope, Value::Map(map) if map.is_empty()));
    // Where a file has both, transformers 5 takes the older.
    let Some(rope) = said("rope_scaling").or_else(|| said("rope_parameters")) else {
        return Ok(Scaling::None);
    };
    if !matches!(rope, Value::Map(_)) {
        return Err(Error::malformed("config.json: rope scaling is no JSON object"));
    }
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
                Some(value) if *value != Value::Null => need("factor")?,
                _ => hyper.context.unwrap_or(1) as f32 / original as f32,
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

pub(super) fn from_gguf(arch: &Arch, model: &Model) -> Result<Scaling> {
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
            // `yarn_attn_factor` does not count: llama.cpp sets it anew whenever it applies YaRN.
            let adjust = real("attn_factor").unwrap_or(1.0);
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

/// The numbers behind `rope_freqs.weight`, where they cannot be found again from it. llama.cpp
/// has no such keys: the tensor alone says how the model is run.
fn llama3_from_gguf(arch: &Arch, model: &Model) -> Option<Scaling> {
    let get = |key: &str| model.config.get(&format!("{}.rope.scaling.llama3.{key}", arch.gguf));
    let real = |key: &str| get(key).and_then(Value::as_f64).map(|x| x as f32);
    Some(Scaling::Llama3 {
        factor: real("factor")?,
        low_freq_factor: real("low_freq_factor")?,
        high_freq_factor: real("high_freq_factor")?,
        original: get("original_context_length").and_then(Value::as_u64)?,
    })
}

pub(super) fn to_gguf(
    arch: &Arch,
    hyper: &Hyper,
    entries: &mut IndexMap<String, Value>,
    notes: &mut Notes,
) {
    let mut put = |key: &str, value: Value| {
        entries.insert(format!("{}.rope.scaling.{key}", arch.gguf), value);
    };
    match hyper.scaling {
        // The tensor `rope_freqs.weight` says it.
        Scaling::None | Scaling::Factors(_) => {}
        Scaling::Llama3 { .. } if rope::is_found_again(hyper) => {}
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            put("llama3.factor", Value::F32(factor));
            put("llama3.low_freq_factor", Value::F32(low_freq_factor));
            put("llama3.high_freq_factor", Value::F32(high_freq_factor));
            put("llama3.original_context_length", Value::U64(original));
        }
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
                put("attn_factor", Value::F32(adjust));
            }
            if beta_fast != 32.0 || beta_slow != 1.0 {
                put("yarn_beta_fast", Value::F32(beta_fast));
                put("yarn_beta_slow", Value::F32(beta_slow));
                let text = "beta_fast and beta_slow are kept in the file's metadata, but llama.cpp \
                            ignores them for this architecture: its logits differ";
                notes.lost("rope scaling", text);
            }
            if !truncate {
                let text = "truncate = false: GGUF cannot say it; its readers round the ramp";
                notes.lost("rope scaling", text);
            }
        }
    }
}

pub(super) fn to_json(
    arch: &Arch,
    model: &Model,
    hyper: &Hyper,
) -> Result<Option<IndexMap<String, Value>>> {
    let named = |kind: &str, values: &[(&str, Value)]| {
        let kind = ("rope_type".to_owned(), Value::Text(kind.to_owned()));
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Some([kind].into_iter().chain(values).collect())
    };
    let scaling = match &hyper.scaling {
        Scaling::Factors(factors) => {
            let stated = llama3_from_gguf(arch, model);
            match stated.filter(|scaling| rope::gives(hyper, scaling, factors)) {
                Some(stated) => &{ stated },
                None => &rope::llama3_of(hyper, factors)?,
            }
        }
        other => other,
    };
    Ok(match *scaling {
        Scaling::None | Scaling::Factors(_) => None,
        Scaling::Linear { factor } => named("linear", &[("factor", Value::F32(factor))]),
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => named(
            "llama3",
            &[
                ("factor", Value::F32(factor)),
                ("low_freq_factor", Value::F32(low_freq_factor)),
                ("high_freq_factor", Value::F32(high_freq_factor)),
                ("original_max_position_embeddings", Value::U64(original)),
            ],
        ),
        Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor, truncate } => {
            named(
                "yarn",
                &[
                    ("factor", Value::F32(factor)),
                    ("original_max_position_embeddings", Value::U64(original)),
                    ("beta_fast", Value::F32(beta_fast)),
                    ("beta_slow", Value::F32(beta_slow)),
                    ("attention_factor", Value::F32(attention_factor)),
                    ("truncate", Value::Bool(truncate)),
                ],
            )
        }
    })
}
