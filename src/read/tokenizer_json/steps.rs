//! Pre-tokenizers, as steps of cutting.

use super::{flag, items, spm, unknown_component};
use crate::ir::tokenizer::unigram::words;
use crate::ir::tokenizer::wordpiece::{MARK, marks};
use crate::ir::tokenizer::{Keep, Metaspace, Pattern, Prepend, Split, Step, names};
use crate::ir::{Error, Result, Value};

/// Steps of one tokenizer. The longest seen, DeepSeek's, has seven.
const STEPS_MAX: usize = 64;

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
        Some("Metaspace") => steps.push(Step::Metaspace(metaspace(value)?)),
        Some("WhitespaceSplit") => steps.push(Step::Split(words()?)),
        Some("Whitespace") => {
            let pattern = Pattern::new(r"\w+|[^\w\s]+")?;
            steps.push(Step::Split(Split { pattern, keep: Keep::Removed, invert: true }));
        }
        Some("BertPreTokenizer") => {
            steps.extend([Step::Split(words()?), Step::Split(marks()?)]);
        }
        kind => return Err(unknown_component("pre-tokenizer", kind)),
    }
    Ok(())
}

/// Spaces spelled as SentencePiece does.
pub(super) fn metaspace(value: &Value) -> Result<Metaspace> {
    let text = |key: &str| value.get(key).and_then(Value::as_text);
    if !spm::is_space(text("replacement")) {
        return Err(Error::unsupported("Metaspace with another replacement is not supported"));
    }
    let old = value.get("add_prefix_space").and_then(Value::as_bool);
    let usual = if old == Some(false) { "never" } else { "always" };
    let prepend = match text("prepend_scheme").unwrap_or(usual) {
        "always" => Prepend::Always,
        "first" => Prepend::First,
        "never" => Prepend::Never,
        other => return Err(Error::malformed(format!("prepend_scheme '{other}'"))),
    };
    let split = value.get("split").is_none_or(|split| split.as_bool() != Some(false));
    Ok(Metaspace { prepend, split })
}

/// The pattern of a component: a regular expression, or a text as it is.
pub(super) fn pattern(value: &Value) -> Result<Pattern> {
    let pattern = value.get("pattern").unwrap_or(&Value::Null);
    let text = |key| pattern.get(key).and_then(Value::as_text);
    match (text("Regex"), text("String")) {
        (Some(regex), None) => Pattern::new(regex),
        (None, Some(literal)) => Pattern::literal(literal),
        _ => Err(Error::malformed("'pattern' has neither 'Regex' nor 'String'")),
    }
}

fn split(value: &Value) -> Result<Split> {
    let pattern = pattern(value)?;
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
