//! A chat as the text that a model was trained on: its template, rendered.
//!
//! Templates are Jinja as transformers runs it: blocks are trimmed, Python's methods of strings
//! and lists are there, and so is `raise_exception`. A template comes from a file, so what it may
//! compute is bounded, in steps ([`FUEL`]) and in what they build ([`meter`]), and it can reach
//! nothing but the messages. `strftime_now` is not there: templates that use it have a date of
//! their own for that case, and the same chat stays the same text tomorrow.

mod filters;
mod meter;

use minijinja::machinery::{Vm, get_compiled_template, make_string_output};
use minijinja::value::Kwargs;
use minijinja::{AutoEscape, Environment, ErrorKind, Value, context};
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
    let plain = without_generation(template);
    run(&plain, values).map_err(|error| match error.kind() {
        ErrorKind::OutOfFuel => Error::limit(error.to_string()),
        _ => Error::malformed(error.to_string()),
    })
}

fn run(template: &str, values: Value) -> meter::Result<String> {
    let mut environment = Environment::empty();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    meter::install(&mut environment, &meter::Purse::new());
    meter::refuse_hard_to_compile(template)?;
    let parsed = environment.template_from_str(template)?;
    let compiled = get_compiled_template(&parsed);
    let program = meter::metered(&compiled.instructions)?;
    let metered = compiled.blocks.iter().map(|(name, block)| Ok((*name, meter::metered(block)?)));
    let blocks = metered.collect::<meter::Result<_>>()?;
    let mut text = String::new();
    let mut out = make_string_output(&mut text);
    Vm::new(&environment).eval(&program, values, &blocks, &mut out, AutoEscape::None)?;
    drop(out);
    Ok(text)
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

    /// None of these may take a step too many, or memory: a test that fails here takes gigabytes.
    #[test]
    fn templates_that_build_without_end_are_refused() {
        let doubled = |step: &str| {
            let set = "{% set ns = namespace(s='a', l=['a'], d={}) %}";
            format!("{set}{{% for i in range(60) %}}{step}{{% endfor %}}{{{{ ns.l }}}}")
        };
        let cases = [
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}"
                .to_owned(),
            "{% set x = 100000 %}{% for i in range(99999) %}{{ 'x' * x }}{% endfor %}".into(),
            "{% set x %}{% for i in range(99999) %}PAD{% endfor %}{% endset %}"
                .replace("PAD", &"x".repeat(4000)),
            doubled("{% set ns.s = ns.s ~ ns.s %}"),
            doubled("{% set ns.s = ns.s + ns.s %}"),
            doubled("{% set ns.s = [ns.s, ns.s] | join(ns.s) %}"),
            doubled("{% set ns.s = ns.s.join([ns.s, ns.s]) %}"),
            doubled("{% set ns.s = ns.s | replace('a', 'aa') %}"),
            doubled("{% set ns.s = ns.s.replace('a', ns.s + 'a') %}"),
            doubled("{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}"),
            doubled("{% set ns.l = ns.l + ns.l %}"),
            doubled("{% set ns.l = [ns.l, ns.l] %}"),
            doubled("{% set ns.l = {'a': ns.l, 'b': ns.l} %}"),
            doubled("{% set ns.l = [ns.l, ns.l] | string %}"),
            doubled("{% set ns.l = [ns.l, ns.l] | tojson %}"),
            doubled("{% set ns.l = namespace(a=ns.l, b=ns.l) %}"),
            doubled("{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns.s = m(ns.s) %}"),
            doubled("{% set ns.s = ('a\n' ~ ns.s) | indent(ns.s | length * 99999) %}"),
            doubled("{{ '%999999999d' | format(1) }}"),
            doubled("{{ '{:>999999999}'.format(1) }}"),
            doubled("{% set ns.l = ns.l * 9999999 %}"),
            "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l] %}\
             {% endfor %}"
                .into(),
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}".into(),
            "{{ ('x' * 99999999) ~ ('x' * 99999999) }}".into(),
            "{{ [1] * 99999999999 ~ '' }}".into(),
            "{{ 'x' * 99 * 99999 * 999 }}".into(),
            format!("{{{{ {}1 }}}}", "1 ~ ".repeat(300_000)),
            format!("{{{{ {}1 }}}}", "not ".repeat(300_000)),
            format!("{{{{ 1{} }}}}", " | string".repeat(300_000)),
            format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(100_000)),
        ];
        for case in cases {
            let error = render(&case, context! {}).err();
            let error = error.unwrap_or_else(|| panic!("{case}")).to_string();
            let refused = ["fuel", "builds more", "nested", "not supported", "product", "words"];
            assert!(refused.iter().any(|word| error.contains(word)), "{case}: {error}");
        }
        // As deep as may be, and no more.
        for word in ["1 ~ ", "not ", "1 if "] {
            let deep = format!("{{{{ {}1 }}}}{{{{ '=' * 40 }}}}", word.repeat(900));
            let _ = render(&deep, context! {});
        }
        assert_eq!(render("{{ '=' * 4 }}", context! {}).unwrap(), "====");
    }

    /// A long chat is nothing of that kind.
    #[test]
    fn long_chats_are_rendered() {
        let template = "{% set ns = namespace(n=0) %}{% for m in messages[1:] %}\
            {% if m.role in ['user', 'system'] and m == messages[loop.index] %}\
            {% set ns.n = ns.n + 2 * 3 %}<{{ m['role'] }}>{{ m.content | trim }}{{ '=' * ns.n }}\
            {% endif %}{% endfor %}{{ messages | selectattr('role', 'equalto', 'user') \
            | map(attribute='role') | list | length }}";
        let message = || context! { role => "user", content => " long ".repeat(300) };
        let messages: Vec<Value> = (0..200).map(|_| message()).collect();
        let text = render(template, context! { messages }).unwrap();
        assert!(text.ends_with("=200"), "{}", &text[text.len() - 20..]);
        assert_eq!(text.matches("<user>long").count(), 199);
    }
}
