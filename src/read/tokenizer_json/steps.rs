//! Pre-tokenizers, as steps of cutting.

use super::{flag, items, unknown_component};
use crate::ir::tokenizer::{Keep, Pattern, Split, Step, names};
use crate::ir::{Error, Result, Value};

/// Steps of one tokenizer. The longest seen, DeepSeek's, has seven.
const STEPS_MAX: usize = 64;

/// The characters that Punctuation cuts at: Unicode's, and all marks of ASCII.
const MARK: &str = r"[\p{P}$+<=>^`|~]";

pub(super) fn read(value: Option<&Value>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if let Some(value) = value {
        add(value, &mut steps)?;
    }
    if steps.iter().filter(|step| **step == Step::Bytes).count() > 1 {
        return Err(Error::unsupported("ByteLevel twice is not supported"));
    }
    Ok(steps)
}

fn add(value: &Value, steps: &mut Vec<Step>) -> Result<()> {
    if steps.len() >= STEPS_MAX {
        return Err(Error::limit(format!("more than {STEPS_MAX} steps")));
    }
    match value.get("type").and_then(Value::as_text) {
        Some("Sequence") => {
            let list = value.get("pretokenizers").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'pretokenizers' is not a list"))?;
            list.iter().try_for_each(|one| add(one, steps))?;
        }
        Some("ByteLevel") => {
            if value.get("add_prefix_space").is_none_or(|value| value.as_bool() != Some(false)) {
                steps.push(Step::PrefixSpace);
            }
            if value.get("use_regex").is_none_or(|value| value.as_bool() != Some(false)) {
                steps.push(Step::Split(Split::isolated(names::GPT2)?));
            }
            steps.push(Step::Bytes);
        }
        Some("Split") => steps.push(Step::Split(split(value)?)),
        // A run of digits or marks is cut out by a pattern that matches the run.
        Some("Digits") if flag(value, "individual_digits") => {
            steps.push(Step::Split(Split::isolated(r"\p{N}")?));
        }
        Some("Digits") => steps.push(Step::Split(Split::isolated(r"\p{N}+")?)),
        Some("Punctuation") => steps.push(Step::Split(punctuation(value)?)),
        kind => return Err(unknown_component("pre-tokenizer", kind)),
    }
    Ok(())
}

fn split(value: &Value) -> Result<Split> {
    let pattern = value.get("pattern").unwrap_or(&Value::Null);
    let text = |key| pattern.get(key).and_then(Value::as_text);
    let pattern = match (text("Regex"), text("String")) {
        (Some(regex), None) => Pattern::new(regex)?,
        (None, Some(literal)) => Pattern::literal(literal)?,
        _ => return Err(Error::malformed("'pattern' has neither 'Regex' nor 'String'")),
    };
    let keep = value.get("behavior").and_then(Value::as_text);
    let keep = keep.ok_or_else(|| Error::malformed("'behavior' is not a text"))?;
    Ok(Split { pattern, keep: behavior(keep)?, invert: flag(value, "invert") })
}

fn punctuation(value: &Value) -> Result<Split> {
    let keep =
        value.get("behavior").and_then(Value::as_text).map_or(Ok(Keep::Isolated), behavior)?;
    if keep == Keep::Contiguous {
        return Split::isolated(&format!("{MARK}+"));
    }
    Ok(Split { pattern: Pattern::new(MARK)?, keep, invert: false })
}

fn behavior(name: &str) -> Result<Keep> {
    match name {
        "Isolated" => Ok(Keep::Isolated),
        "Removed" => Ok(Keep::Removed),
        "Contiguous" => Ok(Keep::Contiguous),
        "MergedWithPrevious" => Ok(Keep::WithPrevious),
        "MergedWithNext" => Ok(Keep::WithNext),
        other => Err(Error::unsupported(format!("behavior '{other}' is not supported"))),
    }
}
