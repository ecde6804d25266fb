//! Post-processors: what is put before and after a text.

use super::{items, unknown_component};
use crate::ir::{Error, Result, Value};

/// Ids of one end of a template. The longest seen has four.
const ENDS_MAX: usize = 1024;

/// Ids before the text, and ids after it.
type Ends = (Vec<u32>, Vec<u32>);

pub(super) fn read(value: Option<&Value>, tokens: usize) -> Result<Ends> {
    let mut ends = Ends::default();
    if let Some(value) = value {
        apply(value, tokens, &mut ends)?;
    }
    Ok(ends)
}

fn apply(value: &Value, tokens: usize, ends: &mut Ends) -> Result<()> {
    let (before, after) = match value.get("type").and_then(Value::as_text) {
        // It only moves offsets.
        Some("ByteLevel") => return Ok(()),
        Some("Sequence") => {
            let list = value.get("processors").and_then(items);
            let list = list.ok_or_else(|| Error::malformed("'processors' is not a list"))?;
            return list.iter().try_for_each(|one| apply(one, tokens, ends));
        }
        Some("TemplateProcessing") => template(value, tokens)?,
        Some("RobertaProcessing" | "BertProcessing") => {
            let end = |key: &str| {
                let pair = value.get(key).and_then(items);
                let number = pair.and_then(|pair| pair.get(1));
                number.map_or(Err(bad_id(&Value::Null, tokens)), |value| id(value, tokens))
            };
            (vec![end("cls")?], vec![end("sep")?])
        }
        kind => return Err(unknown_component("post-processor", kind)),
    };
    ends.0.splice(0..0, before);
    ends.1.extend(after);
    if ends.0.len().max(ends.1.len()) > ENDS_MAX {
        return Err(Error::limit(format!("more than {ENDS_MAX} ids are added to each text")));
    }
    Ok(())
}

fn template(value: &Value, tokens: usize) -> Result<Ends> {
    let single = value.get("single").and_then(items);
    let single = single.ok_or_else(|| Error::malformed("'single' is not a list"))?;
    let mut ends = Ends::default();
    let mut seen = 0;
    for item in single {
        if item.get("Sequence").is_some() {
            seen += 1;
            continue;
        }
        let name = item.get("SpecialToken").and_then(|token| token.get("id")?.as_text());
        let name = name.ok_or_else(|| Error::malformed("'single' holds an unknown item"))?;
        let ids = value.get("special_tokens").and_then(|map| map.get(name)?.get("ids"));
        let ids = ids
            .and_then(items)
            .ok_or_else(|| Error::malformed(format!("'special_tokens' has no ids for '{name}'")))?;
        let end = if seen == 0 { &mut ends.0 } else { &mut ends.1 };
        for value in ids {
            end.push(id(value, tokens)?);
        }
    }
    match seen {
        1 => Ok(ends),
        _ => Err(Error::unsupported(format!("a template with {seen} sequences in 'single'"))),
    }
}

fn id(value: &Value, tokens: usize) -> Result<u32> {
    let id = value.as_u64().filter(|id| *id < tokens as u64);
    id.map(|id| id as u32).ok_or_else(|| bad_id(value, tokens))
}

fn bad_id(value: &Value, tokens: usize) -> Error {
    Error::malformed(format!("token id {value}, expected below {tokens}"))
}
