//! Rope scaling both ways: config.json in either dialect, GGUF's metadata, and [`Scaling`].

use indexmap::IndexMap;

use super::{Arch, Part, Role, rope, tensor};
use crate::ir::value::List;
use crate::ir::{Config, Error, Field, Hyper, Model, Notes, Result, Scaling, Value};

/// `rope_parameters` of transformers 5, `rope_scaling` of those before.
pub(super) fn from_json(arch: &Arch, config: &Config, hyper: &Hyper) -> Result<Scaling> {
    let said =
        |key| config.get(key).filter(|rope| !matches!(rope, Value::Map(map) if map.is_empty()));
    // Where a file has both, transformers 5 takes the older.
    let Some(rope) = said("rope_scaling").or_else(|| said("rope_parameters")) else {
        return Ok(Scaling::None);
    };
    // Where layers differ, those without a window are those that are scaled.
    let rope = rope.get("full_attention").unwrap_or(rope);
    if !matches!(rope, Value::Map(_)) {
        return Err(Error::malformed("config.json: rope scaling is no JSON object"));
    }
    let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_text);
    let rope = Stated(rope);
    let is_partial = |key: &super::Key| key.field == Field::RopeDims && !key.json.is_empty();
    if !arch.keys().any(is_partial)
        && rope.real("partial_rotary_factor").is_some_and(|part| part != 1.0)
    {
        return Err(Error::unsupported("config.json: partial_rotary_factor for this family"));
    }
    let outside = config.get("original_max_position_embeddings");
    let original = outside.or_else(|| rope.0.get("original_max_position_embeddings"));
    let context = hyper.context.unwrap_or(1);
    let original = original.and_then(Value::as_u64).unwrap_or(context);
    match kind.unwrap_or("default") {
        // Of text alone, the three positions of `mrope` are one.
        "default" | "mrope" => Ok(Scaling::None),
        "dynamic" => Ok(Scaling::Dynamic { factor: rope.need("factor")? }),
        "longrope" | "su" => rope.long(original, context),
        "linear" => Ok(Scaling::Linear { factor: rope.need("factor")? }),
        "llama3" => Ok(Scaling::Llama3 {
            factor: rope.need("factor")?,
            low_freq_factor: rope.need("low_freq_factor")?,
            high_freq_factor: rope.need("high_freq_factor")?,
            original,
        }),
        "yarn" => rope.yarn(original, context),
        other => Err(Error::unsupported(format!(
            "config.json: rope scaling {other:?}; computed: default, linear, dynamic, llama3, \
             longrope, yarn"
        ))),
    }
}

/// The object that states a scaling.
struct Stated<'v>(&'v Value);

impl Stated<'_> {
    fn real(&self, key: &str) -> Option<f32> {
        self.0.get(key).and_then(Value::as_f64).map(|x| x as f32)
    }

    fn need(&self, key: &str) -> Result<f32> {
        self.real(key).filter(|x| x.is_finite() && *x > 0.0).ok_or_else(|| {
            Error::malformed(format!("config.json: rope scaling needs a positive {key}"))
        })
    }

    fn numbers(&self, key: &str) -> Result<Vec<f32>> {
        let wrong = || Error::malformed(format!("config.json: rope scaling needs a list {key}"));
        let Some(Value::List(list)) = self.0.get(key) else { return Err(wrong()) };
        let items = (0..list.len()).map(|i| list.get(i).and_then(|item| item.as_f64()));
        let items = items.map(|item| item.map(|x| x as f32));
        items.collect::<Option<Vec<f32>>>().ok_or_else(wrong)
    }

    fn long(&self, original: u64, context: u64) -> Result<Scaling> {
        let ratio = context as f64 / original as f64;
        let factor = self.0.get("factor").and_then(Value::as_f64).unwrap_or(ratio);
        let usual = || long_attention(factor, original);
        Ok(Scaling::Long {
            original,
            attention_factor: self.real("attention_factor").unwrap_or_else(usual),
            short: self.numbers("short_factor")?,
            long: self.numbers("long_factor")?,
        })
    }

    fn yarn(&self, original: u64, context: u64) -> Result<Scaling> {
        let factor = match self.0.get("factor") {
            Some(_) => self.need("factor")?,
            None => context as f32 / original as f32,
        };
        let pair = self.real("mscale").zip(self.real("mscale_all_dim"));
        let inferred = match pair.filter(|(a, b)| *a != 0.0 && *b != 0.0) {
            Some((a, b)) => yarn_attention(factor, a) / yarn_attention(factor, b),
            None => yarn_attention(factor, 1.0),
        };
        let other_than_0 = |key: &str| self.real(key).filter(|x| *x != 0.0);
        Ok(Scaling::Yarn {
            factor,
            original,
            beta_fast: other_than_0("beta_fast").unwrap_or(32.0),
            beta_slow: other_than_0("beta_slow").unwrap_or(1.0),
            attention_factor: self.real("attention_factor").unwrap_or(inferred),
            truncate: self.0.get("truncate").and_then(Value::as_bool).unwrap_or(true),
        })
    }
}

/// `get_mscale`: the longer the context, the sharper the attention.
pub(super) fn yarn_attention(factor: f32, scale: f32) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (0.1 * f64::from(scale) * libm::log(f64::from(factor)) + 1.0) as f32
}

/// `_compute_longrope_parameters`: the longer the context, the sharper the attention.
pub(super) fn long_attention(factor: f64, original: u64) -> f32 {
    if factor <= 1.0 {
        return 1.0;
    }
    (1.0 + libm::log(factor) / libm::log(original as f64)).sqrt() as f32
}

pub(super) fn from_gguf(arch: &Arch, model: &Model) -> Result<Scaling> {
    let get = |key: &str| model.config.get(&format!("{}.rope.scaling.{key}", arch.gguf));
    let real = |key: &str| get(key).and_then(Value::as_f64).map(|x| x as f32);
    if let Some(factor) = model.config.get(DYNAMIC).and_then(Value::as_f64) {
        return Ok(Scaling::Dynamic { factor: factor as f32 });
    }
    let factors = tensor(arch, model, Role::RopeFactors, Part::Weight, None);
    let kind = get("type").and_then(Value::as_text);
    let divisors = |role| -> Result<Option<Vec<f32>>> {
        let found = tensor(arch, model, role, Part::Weight, None);
        let read = |(name, t): (&str, &crate::ir::Tensor)| t.to_floats().map_err(|e| e.at(name));
        found.map(read).transpose()
    };
    if let (Some(long), Some(short)) = (divisors(Role::RopeLong)?, divisors(Role::RopeShort)?) {
        let context = model.config.get(&format!("{}.context_length", arch.gguf));
        let original = get("original_context_length").or(context).and_then(Value::as_u64);
        let attention_factor = real("attn_factor").unwrap_or(1.0);
        return Ok(Scaling::Long {
            original: original.unwrap_or(1),
            attention_factor,
            short,
            long,
        });
    }
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
                truncate: model.config.get(TRUNCATE).and_then(Value::as_bool).unwrap_or(true),
            })
        }
        (kind, factors) => {
            let with = if factors.is_some() { " with rope_freqs.weight" } else { "" };
            let what = format!("metadata: rope scaling {:?}{with}", kind.unwrap_or_default());
            Err(Error::unsupported(format!("{what}; computed: none, linear, yarn, or factors")))
        }
    }
}

/// The names under which metadata has what GGUF has no word for.
const TRUNCATE: &str = "remold.rope_yarn_truncate";
const DYNAMIC: &str = "remold.rope_dynamic_factor";

/// The names of the numbers behind `rope_freqs.weight`, for those that cannot be found again from
/// it. They are for config.json alone: the tensor says how the model is run.
const LLAMA3: [&str; 4] = [
    "remold.rope_llama3.factor",
    "remold.rope_llama3.low_freq_factor",
    "remold.rope_llama3.high_freq_factor",
    "remold.rope_llama3.original_context",
];

fn llama3_from_gguf(model: &Model) -> Option<Scaling> {
    let [factor, low, high, original] = LLAMA3.map(|key| model.config.get(key));
    let real = |value: Option<&Value>| value.and_then(Value::as_f64).map(|x| x as f32);
    Some(Scaling::Llama3 {
        factor: real(factor)?,
        low_freq_factor: real(low)?,
        high_freq_factor: real(high)?,
        original: original.and_then(Value::as_u64)?,
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
        Scaling::Dynamic { factor } => {
            entries.insert(DYNAMIC.into(), Value::F32(factor));
            let text = "dynamic NTK: GGUF cannot say it; beyond the context, logits of llama.cpp \
                        differ";
            notes.lost("rope scaling", text);
        }
        // Their divisors are tensors.
        Scaling::Long { original, attention_factor, .. } => {
            put("type", Value::Text("longrope".into()));
            put("attn_factor", Value::F32(attention_factor));
            put("original_context_length", Value::U32(original.try_into().unwrap_or(u32::MAX)));
        }
        // The tensor `rope_freqs.weight` says it.
        Scaling::None | Scaling::Factors(_) => {}
        Scaling::Llama3 { .. } if rope::is_found_again(hyper) => {}
        Scaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            let reals = [factor, low_freq_factor, high_freq_factor].map(Value::F32);
            let values = reals.into_iter().chain([Value::U64(original)]);
            entries.extend(LLAMA3.map(str::to_owned).into_iter().zip(values));
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
                entries.insert(TRUNCATE.into(), Value::Bool(false));
                let text = "truncate = false: GGUF cannot say it; its readers round the ramp";
                notes.lost("rope scaling", text);
            }
        }
    }
}

pub(super) fn to_json(model: &Model, hyper: &Hyper) -> Result<Option<IndexMap<String, Value>>> {
    let named = |kind: &str, values: &[(&str, Value)]| {
        let kind = ("rope_type".to_owned(), Value::Text(kind.to_owned()));
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone()));
        Some([kind].into_iter().chain(values).collect())
    };
    let scaling = match &hyper.scaling {
        Scaling::Factors(factors) => {
            let stated = llama3_from_gguf(model);
            match stated.filter(|scaling| rope::gives(hyper, scaling, factors)) {
                Some(stated) => &{ stated },
                None => &rope::llama3_of(hyper, factors)?,
            }
        }
        other => other,
    };
    Ok(match *scaling {
        Scaling::None | Scaling::Factors(_) => None,
        Scaling::Dynamic { factor } => named("dynamic", &[("factor", Value::F32(factor))]),
        Scaling::Long { original, attention_factor, ref short, ref long } => named(
            "longrope",
            &[
                ("original_max_position_embeddings", Value::U64(original)),
                ("attention_factor", Value::F32(attention_factor)),
                ("short_factor", Value::List(List::F32(short.clone()))),
                ("long_factor", Value::List(List::F32(long.clone()))),
            ],
        ),
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
