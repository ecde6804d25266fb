//! config.json against the keys of a table.

use super::{
    Arch, Bias, Default, Entries, Expected, Form, Key, Need, Part, Parts, is_tied, scaling,
};
use crate::ir::tokenizer::Role;
use crate::ir::value::List;
use crate::ir::{
    Activation, Config, Error, Field, Hyper, LayerSet, Model, Result, Routing, Scalar, ScalarKind,
    Value,
};

/// What a file says of one key.
pub(super) enum Said {
    Nothing,
    Null,
    Value(Scalar),
}

/// What config.json says of a key; of several spellings, the last counts.
pub(super) fn read(key: &Key, config: &Config, hyper: &Hyper) -> Result<Said> {
    let mut said = Said::Nothing;
    for path in key.json.iter().rev() {
        match lookup(config, path) {
            None => {}
            Some(Value::Null) => said = Said::Null,
            Some(value) if is_fraction(key.field, path) => {
                let part = value.as_f64().filter(|x| (0.0..=1.0).contains(x));
                let part = part.ok_or_else(|| {
                    Error::malformed(format!("{path}: found {value}, expected 0 to 1"))
                })?;
                let size = hyper.key_dim.unwrap_or(0) as f64;
                return Ok(Said::Value(Scalar::Count((size * part) as u64)));
            }
            Some(value) => {
                let value = scalar(key, path, value, "config.json")?;
                return Ok(value.map_or(Said::Nothing, Said::Value));
            }
        }
    }
    Ok(said)
}

/// Rotary dimensions are also spelled as a part of the head.
fn is_fraction(field: Field, path: &str) -> bool {
    field == Field::RopeDims && (path.ends_with("factor") || path.ends_with("pct"))
}

/// The value at a dotted path, null included.
pub(super) fn lookup<'c>(config: &'c Config, path: &str) -> Option<&'c Value> {
    let mut steps = path.split('.');
    let mut value = config.entries.get(steps.next()?)?;
    for step in steps {
        value = value.get(step)?;
    }
    Some(value)
}

/// A value as the kind that its field is of; nothing for a zero that says that there is none.
pub(super) fn scalar(key: &Key, name: &str, value: &Value, whose: &str) -> Result<Option<Scalar>> {
    let wrong = |expected: &str| {
        Error::malformed(format!(
            "{name} ({}): found {value}, expected {expected}",
            key.field.text()
        ))
    };
    if let Value::List(_) = value {
        let feature = "a value for each layer, which this family's runner does not compute";
        return Err(Error::unsupported(format!("{name}: {feature}")));
    }
    match key.field.kind() {
        ScalarKind::Real => {
            let (holds, expected) = range(key.field);
            let x = value.as_f64().map(|x| x as f32).filter(|x| x.is_finite() && holds(*x));
            x.map(|x| Some(Scalar::Real(x))).ok_or_else(|| wrong(expected))
        }
        ScalarKind::Count => {
            let zero_is_none = may_be_zero(key.field) && value.as_u64() == Some(0);
            if zero_is_none {
                return Ok(None);
            }
            let count = value.as_u64().filter(|&n| n > 0 && n <= u64::from(u32::MAX));
            let count = count.map(|n| Some(Scalar::Count(n)));
            count.ok_or_else(|| wrong("a whole number from 1 to 2^32 - 1"))
        }
        ScalarKind::Flag => {
            value.as_bool().map(|x| Some(Scalar::Flag(x))).ok_or_else(|| wrong("true or false"))
        }
        ScalarKind::Activation => {
            let name = value.as_text().ok_or_else(|| wrong("the name of an activation"))?;
            let known = Activation::named(name).map(|x| Some(Scalar::Activation(x)));
            known.ok_or_else(|| {
                let computed: Vec<&str> = Activation::ALL.iter().map(|a| a.text()).collect();
                let computed = computed.join(", ");
                let text =
                    format!("{whose}: {} is {name:?}; computed: {computed}", key.field.text());
                Error::unsupported(text)
            })
        }
        ScalarKind::Routing => {
            let by_number = match value.as_u64() {
                Some(1) => Some(Routing::Softmax),
                Some(2) => Some(Routing::Sigmoid),
                Some(3) => Some(Routing::TopSoftmax),
                _ => None,
            };
            let routing = value.as_text().and_then(Routing::named).or(by_number);
            routing.map(|x| Some(Scalar::Routing(x))).ok_or_else(|| {
                Error::unsupported(format!("{name}: {value}; computed: softmax, sigmoid"))
            })
        }
        ScalarKind::Layers => {
            let text = value.as_text().ok_or_else(|| wrong("numbers of layers"))?;
            let numbers = text.split_whitespace().filter(|word| *word != "none");
            let layers: Option<Vec<u64>> = numbers.map(|word| word.parse().ok()).collect();
            let layers = layers.ok_or_else(|| wrong("numbers of layers"))?;
            let set = LayerSet::of(LayerSet::MAX, |layer| layers.contains(&layer));
            Ok(Some(Scalar::Layers(set)))
        }
    }
}

/// Which numbers a field may have, and what messages call them.
fn range(field: Field) -> (fn(f32) -> bool, &'static str) {
    use Field::*;
    match field {
        NormEpsilon | LatentEpsilon | RopeTheta | LocalTheta => (|x| x > 0.0, "a positive number"),
        // Magnitudes that others are held within.
        QkvClip | GateLimit | AttentionCap | LogitCap => (|x| x >= 0.0, "a number of 0 or more"),
        _ => (|_| true, "a number"),
    }
}

/// Counts of what a model may have none of.
fn may_be_zero(field: Field) -> bool {
    use Field::*;
    let may = [
        Experts,
        ExpertsUsed,
        SharedFeedForward,
        RouteGroups,
        RouteGroupsUsed,
        RopeDims,
        DecoderStart,
    ];
    may.contains(&field)
}

/// Options that must be as they are computed.
pub(super) fn expect(arch: &Arch, config: &Config) -> Result<()> {
    for (key, accepted) in arch.expects {
        let Some(value) = config.get(key) else { continue };
        let (holds, expected) = match accepted {
            Expected::Word(words) => {
                (value.as_text().is_some_and(|text| words.contains(&text)), words.join(" or "))
            }
            Expected::Flag(flag) => (value.as_bool() == Some(*flag), flag.to_string()),
        };
        if !holds {
            return Err(Error::unsupported(format!(
                "config.json: {key} is {value}; for {} only {expected} is computed",
                arch.model_type
            )));
        }
    }
    Ok(())
}

/// config.json for these hyper-parameters.
///
/// # Errors
/// Unsupported for a rope scaling that config.json has no words for.
pub(super) fn write(arch: &'static Arch, model: &Model, hyper: &Hyper) -> Result<Entries> {
    let mut entries = Entries::new();
    let text = |text: &str| Value::Text(text.to_owned());
    let class = arch.hf.first().copied().unwrap_or_default();
    entries.insert("architectures".into(), Value::List(List::Text(vec![class.to_owned()])));
    entries.insert("model_type".into(), text(arch.model_type));
    for key in arch.keys() {
        let Some(path) = key.json.first() else { continue };
        if let Some(value) = to_value(key, path, hyper) {
            put(&mut entries, path, value);
        }
    }
    for (key, accepted) in arch.expects {
        let value = match accepted {
            Expected::Word(words) => text(words.first().copied().unwrap_or_default()),
            Expected::Flag(flag) => Value::Bool(*flag),
        };
        entries.entry((*key).to_owned()).or_insert(value);
    }
    write_presence(arch, model, hyper, &mut entries)?;
    entries.insert("tie_word_embeddings".into(), Value::Bool(is_tied(arch, model)));
    if let Some(scaling) = scaling::to_json(model, hyper)? {
        entries.insert("rope_scaling".into(), Value::Map(scaling));
    }
    (arch.hooks.to_json)(hyper, &mut entries);
    if let Some(tokenizer) = &model.tokenizer {
        let roles = [(Role::Bos, "bos_token_id"), (Role::Eos, "eos_token_id")];
        for (role, key) in roles {
            let id = tokenizer.role(role).map_or(Value::Null, |id| Value::U64(id.into()));
            entries.insert(key.to_owned(), id);
        }
    }
    Ok(entries)
}

/// Writes a value at a dotted path.
fn put(entries: &mut Entries, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(entries.insert(path.to_owned(), value)),
        Some((first, rest)) => {
            let map = entries.entry(first.to_owned()).or_insert(Value::Map(Entries::new()));
            if let Value::Map(map) = map {
                put(map, rest, value);
            }
        }
    }
}

/// The value of a key, where leaving it out would not say the same.
fn to_value(key: &Key, path: &str, hyper: &Hyper) -> Option<Value> {
    let value = match (hyper.get(key.field), key.field.kind(), key.default) {
        (Some(value), ..) => value,
        (None, _, Default::Required) => return None,
        (None, ScalarKind::Flag, _) => Scalar::Flag(false),
        (None, _, Default::None) => return None,
        (None, ScalarKind::Real, Default::Is(_)) if is_multiplier(key.field) => Scalar::Real(1.0),
        (None, ..) => return Some(Value::Null),
    };
    Some(match value {
        Scalar::Count(n) if is_fraction(key.field, path) => {
            Value::F64(n as f64 / hyper.key_dim.unwrap_or(1) as f64)
        }
        Scalar::Count(n) => Value::U64(n),
        Scalar::Real(x) => Value::F32(x),
        Scalar::Flag(yes) => Value::Bool(yes),
        Scalar::Activation(activation) => Value::Text(activation.text().into()),
        Scalar::Routing(routing) => Value::Text(routing.text().into()),
        Scalar::Layers(_) => return None,
    })
}

fn is_multiplier(field: Field) -> bool {
    use Field::*;
    [EmbeddingScale, ResidualScale, LogitScale, LogitDivisor, RouteScale].contains(&field)
}

/// Keys that say whether tensors are there, from whether they are.
fn write_presence(
    arch: &'static Arch,
    model: &Model,
    hyper: &Hyper,
    entries: &mut Entries,
) -> Result<()> {
    let parts = Parts { arch, model, hyper };
    let mut said: Vec<(&str, bool, bool)> = Vec::new();
    let mut say = |key: &'static str, is_there: bool, negated: bool| match said
        .iter_mut()
        .find(|(known, ..)| *known == key)
    {
        Some((_, there, _)) => *there |= is_there,
        None => said.push((key, is_there, negated)),
    };
    for row in arch.rows() {
        let in_layers = row.gguf.iter().any(|home| home.stem.contains("{i}"));
        let has = |part| -> Result<bool> {
            let layer = in_layers.then_some(0);
            Ok(match row.gguf.first().map(|home| home.form) {
                Some(Form::Each(_)) => parts.piece(row.role, part, layer, 0)?.is_some(),
                _ => parts.of_row(row, part, layer)?.is_some(),
            })
        };
        match row.bias {
            Bias::If(key, _) => say(key, has(Part::Bias)?, false),
            Bias::Unless(key, _) => say(key, has(Part::Bias)?, true),
            _ => {}
        }
        if let Need::If(key, _) = row.need {
            say(key, has(Part::Weight)?, false);
        }
    }
    for (key, is_there, negated) in said {
        entries.insert(key.to_owned(), Value::Bool(is_there != negated));
    }
    Ok(())
}
