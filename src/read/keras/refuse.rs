//! Configurations that are not carried along: those that make Keras run code, or read other files,
//! when a model is built of them. Nothing is built here; but what is written must not be a trap.

use crate::ir::value::List;
use crate::ir::{Error, Result, Value};

/// Classes that run what their configuration holds, and what that is.
const CLASSES: &[(&str, &str)] = &[
    ("Lambda", "holds a function of Python"),
    ("__lambda__", "holds bytecode of Python"),
    ("TorchModuleWrapper", "holds a pickle"),
    ("TFSMLayer", "loads another model"),
    ("FlaxLayer", "holds a function of Python"),
    ("JaxLayer", "holds a function of Python"),
];

/// Packages whose classes a configuration may name.
const PACKAGES: &[&str] =
    &["keras", "tf_keras", "tensorflow", "keras_hub", "keras_nlp", "keras_cv"];

/// Keys that name a file or an address where they are text.
const FILES: &[&str] = &["vocabulary", "idf_weights", "filepath"];

/// Looks at every object of a configuration.
///
/// # Errors
/// Malformed, naming the object, if Keras would run or read what the configuration says.
pub(super) fn check(config: &Value) -> Result<()> {
    match config {
        Value::Map(entries) => {
            object(config)?;
            entries.values().try_for_each(check)
        }
        Value::List(List::Any(items)) => items.iter().try_for_each(check),
        _ => Ok(()),
    }
}

fn object(object: &Value) -> Result<()> {
    let text = |key: &str| object.get(key).and_then(Value::as_text);
    let class = text("class_name");
    if let Some((class, why)) = CLASSES.iter().find(|(name, _)| class == Some(name)) {
        return refused(object, &format!("{class} {why}"));
    }
    if let (Some(module), Some(class)) = (text("module"), class) {
        let package = module.split('.').next().unwrap_or_default();
        if !PACKAGES.contains(&package) {
            return refused(object, &format!("'{module}.{class}' is no part of Keras"));
        }
    }
    let file = FILES.iter().find_map(|key| Some((key, text(key)?)));
    match file.filter(|(_, value)| !value.is_empty()) {
        Some((key, value)) => refused(object, &format!("its {key} is read from '{value}'")),
        None => Ok(()),
    }
}

fn refused(object: &Value, why: &str) -> Result<()> {
    let names = [object.get("name"), object.get("config").and_then(|config| config.get("name"))];
    let name = names.into_iter().flatten().find_map(Value::as_text).unwrap_or("of no name");
    let text = format!(
        "the configuration makes Keras run or read what it should not: object '{name}': {why}; \
         --skip-objects reads the weights and leaves the configuration out"
    );
    Err(Error::malformed(text))
}
