//! A chat as the text that a model was trained on: its template, rendered.
//!
//! Templates are Jinja as transformers runs it: blocks are trimmed, Python's methods of strings
//! and lists are there, and so is `raise_exception`. A template comes from a file, so what it may
//! compute is bounded, and it can reach nothing but the messages. `strftime_now` is not there:
//! templates that use it have a date of their own for that case, and the same chat stays the same
//! text tomorrow.

use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize as _;

use crate::ir::tokenizer::{Role, Tokenizer};
use crate::ir::{Error, Result};

/// Steps that a template may take. Those of published models take a few hundred a message.
const FUEL: u64 = 1_000_000;

/// One message of a chat.
#[derive(Debug, Clone)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// The chat as a prompt that the assistant continues. Special tokens are part of the text.
///
/// # Errors
/// Unsupported if the model has no template; Malformed for what is wrong with it, or what it
/// says is wrong with the messages.
pub fn prompt(tokenizer: &Tokenizer, messages: &[Message]) -> Result<String> {
    let template = tokenizer.chat_template(None).ok_or_else(|| {
        Error::unsupported("the model has no chat template; run it without --chat")
    })?;
    let text = |role| tokenizer.role(role).and_then(|id| tokenizer.text(id)).unwrap_or_default();
    let messages: Vec<Value> =
        messages.iter().map(|m| context! { role => m.role, content => m.content }).collect();
    let values = context! {
        messages => messages,
        add_generation_prompt => true,
        bos_token => text(Role::Bos),
        eos_token => text(Role::Eos),
    };
    render(template, values).map_err(|error| error.at("chat template"))
}

fn render(template: &str, values: Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function("raise_exception", |text: String| -> std::result::Result<Value, _> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, text))
    });
    environment.add_filter("tojson", to_json);
    let plain = without_generation(template);
    let rendered = environment.render_str(&plain, values);
    rendered.map_err(|error| Error::malformed(error.to_string()))
}

/// JSON as Python writes it for transformers: not escaped for HTML, with an indent if asked for.
fn to_json(value: Value, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    let wrong = |error: serde_json::Error| {
        minijinja::Error::new(ErrorKind::BadSerialization, error.to_string())
    };
    let json = serde_json::to_value(&value).map_err(wrong)?;
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            let style = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
            json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, style))
                .map_err(wrong)?;
        }
        None => json
            .serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced))
            .map_err(wrong)?,
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Python's `json.dumps`: a space after each comma and colon.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
    ) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `{% generation %}` only marks which tokens are trained on; the engine does not know it.
fn without_generation(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let (before, block) = rest.split_at(start);
        let Some(end) = block.find("%}") else { break };
        let (block, after) = block.split_at(end + 2);
        let word = block.trim_start_matches("{%").trim_end_matches("%}");
        let word = word.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace());
        out.push_str(before);
        match word {
            "generation" => out.push_str(&block.replace("generation", "if true")),
            "endgeneration" => out.push_str(&block.replace("endgeneration", "endif")),
            _ => out.push_str(block),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Templates and what transformers makes of them, written by fixtures/make/chat.py.
    #[test]
    fn chats_are_rendered_as_transformers_does() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chat/cases.json");
        let text = std::fs::read(path).expect("fixture");
        let cases: Vec<serde_json::Value> = serde_json::from_slice(&text).expect("JSON");
        assert!(cases.len() >= 8, "only {} cases", cases.len());
        for case in cases {
            let values = Value::from_serialize(&case["values"]);
            let template = case["template"].as_str().expect("a template");
            match case["expected"].as_str() {
                Some(expected) => assert_eq!(render(template, values).unwrap(), expected),
                None => assert!(render(template, values).is_err(), "{template}"),
            }
        }
    }

    #[test]
    fn endless_templates_end() {
        let endless =
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        let error = render(endless, context! {}).unwrap_err().to_string();
        assert!(error.contains("fuel"), "{error}");
    }
}
