//! Under which licence a model is, as its files say it.

use crate::ir::{Blob, Model, Value};

/// A licence, and where it is stated.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Licence {
    /// The hub's identifier, as in `apache-2.0`, or the name that the model card gives.
    pub(super) name: String,
    /// The key or the file that says it.
    pub(super) stated_in: String,
}

/// A licence's text is a few pages, a model card's head less.
const TEXT_MAX: u64 = 1 << 20;

/// Phrases that only one licence's text has, and the hub's identifier of it: longer before
/// shorter, because one licence may begin with another's name.
const PHRASES: &[(&str, &str)] = &[
    ("apache license", "apache-2.0"),
    ("permission is hereby granted, free of charge", "mit"),
    ("llama 3.3 community license", "llama3.3"),
    ("llama 3.2 community license", "llama3.2"),
    ("llama 3.1 community license", "llama3.1"),
    ("llama 3 community license", "llama3"),
    ("llama 2 community license", "llama2"),
    ("gemma terms of use", "gemma"),
    ("gnu affero general public license", "agpl-3.0"),
    ("gnu lesser general public license", "lgpl-3.0"),
    ("gnu general public license", "gpl-3.0"),
    ("neither the name of the copyright holder", "bsd-3-clause"),
    ("attribution-noncommercial 4.0 international", "cc-by-nc-4.0"),
    ("attribution-sharealike 4.0 international", "cc-by-sa-4.0"),
    ("attribution 4.0 international", "cc-by-4.0"),
    ("bigscience rail license", "bigscience-bloom-rail-1.0"),
    ("bigcode open rail-m", "bigcode-openrail-m"),
];

/// The licence that the metadata states, else the model card, else the licence's own text.
pub(super) fn licence(model: &Model) -> Option<Licence> {
    let stated = |name: String, stated_in: &str| Licence { name, stated_in: stated_in.to_owned() };
    // A licence that the hub has no identifier for is `other`, with a name beside it.
    for (key, name_key) in [("general.license", "general.license.name"), ("license", "")] {
        let text = |key: &str| model.config.get(key).and_then(Value::as_text).map(str::to_owned);
        if let Some(id) = text(key) {
            let name = text(name_key).filter(|_| id == "other");
            return Some(stated(name.unwrap_or(id), key));
        }
    }
    let file = |name: &str| {
        let (_, blob) = model.side_files.iter().find(|(file, _)| file == name)?;
        head(blob)
    };
    if let Some(name) = file("README.md").and_then(|card| from_card(&card)) {
        return Some(stated(name, "README.md"));
    }
    let text = file("LICENSE")?;
    Some(stated(from_text(&text)?.to_owned(), "LICENSE"))
}

/// The beginning of a file. What is not UTF-8 in it is no licence's name.
fn head(blob: &Blob) -> Option<String> {
    let mut bytes = vec![0; blob.size().min(TEXT_MAX) as usize];
    blob.read(0, &mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The model card's `license`: YAML between two lines of `---`, of which keys at the left margin
/// with a value beside them or one below them are all that is needed.
fn from_card(card: &str) -> Option<String> {
    let mut lines = card.trim_start_matches('\u{feff}').lines();
    lines.next().filter(|line| line.trim_end() == "---")?;
    let lines: Vec<&str> = lines.take_while(|line| line.trim_end() != "---").collect();
    let value = |key: &str| {
        let at = lines
            .iter()
            .position(|line| line.strip_prefix(key).is_some_and(|r| r.starts_with(':')))?;
        let beside = scalar(&lines[at][key.len() + 1..]);
        let below = || scalar(lines.get(at + 1)?.trim_start().strip_prefix('-')?);
        beside.or_else(below)
    };
    let id = value("license")?;
    let name = value("license_name").filter(|_| id == "other");
    Some(name.unwrap_or(id))
}

/// A YAML scalar without its quotes and comment; nothing if it is empty.
fn scalar(text: &str) -> Option<String> {
    let text = text.split(" #").next().unwrap_or_default().trim();
    let text = text.trim_matches(|c| c == '"' || c == '\'');
    (!text.is_empty()).then(|| text.to_owned())
}

fn from_text(text: &str) -> Option<&'static str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ").to_lowercase();
    PHRASES.iter().find(|(phrase, _)| text.contains(phrase)).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_cards_say_their_licence() {
        let card = |lines: &str| from_card(&format!("---\n{lines}\n---\nlicense: none\n"));
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(card("language: en\nlicense: mit"), text("mit"));
        assert_eq!(card("license: \"apache-2.0\" # the usual"), text("apache-2.0"));
        assert_eq!(card("license:\n- cc-by-4.0\ntags:\n- x"), text("cc-by-4.0"));
        assert_eq!(card("license: other\nlicense_name: qwen"), text("qwen"));
        assert_eq!(card("license: other"), text("other"));
        assert_eq!(card("license_name: qwen"), None);
        assert_eq!(card("license:\ntags: x"), None);
        assert_eq!(from_card("# A model\nlicense: mit\n"), None);
    }

    #[test]
    fn texts_are_known_by_their_phrases() {
        assert_eq!(from_text("   Apache License\n  Version 2.0, January 2004"), Some("apache-2.0"));
        let mit = "MIT License\n\nPermission is hereby granted, free of\ncharge, to any person";
        assert_eq!(from_text(mit), Some("mit"));
        assert_eq!(from_text("META LLAMA 3 COMMUNITY LICENSE AGREEMENT"), Some("llama3"));
        assert_eq!(from_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT"), Some("llama3.1"));
        assert_eq!(from_text("All rights reserved."), None);
    }
}
