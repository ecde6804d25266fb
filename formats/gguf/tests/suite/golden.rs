//! What we read is what gguf-py reads: `fixtures/make/gguf.py` wrote both file and text.

use std::fmt::Write as _;

use gguf::{Array, Endian, KINDS, Kind, Value};

use crate::{fixture, read};

#[test]
fn files_read_as_gguf_py_reads_them() {
    let paths = testing::files(testing::fixtures("gguf"), "gguf");
    for path in &paths {
        let bytes = std::fs::read(path).unwrap();
        let golden = std::fs::read_to_string(path.with_extension("golden")).unwrap();
        assert!(gguf::probe(&bytes));
        let file = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(dump(&file, &bytes), golden, "{}", path.display());
    }
    assert_eq!(paths.len(), 16);
}

/// gguf-py flattens nested arrays; here is their shape.
#[test]
fn nested_arrays_keep_their_shape() {
    let file = read(&fixture("arrays.gguf")).unwrap();
    let text = |items: &[&str]| Array::Text(items.iter().map(|&s| s.to_owned()).collect());
    let deep = Array::Array(vec![
        Array::Array(vec![Array::Array(vec![text(&["a"]), text(&["b", "c"])])]),
        Array::Array(vec![Array::Array(vec![text(&["d"])])]),
    ]);
    // [[[["a"], ["b", "c"]]], [[["d"]]]]
    assert_eq!(file.metadata.get("nested.deep"), Some(&Value::Array(deep)));
    let numbers = Array::Array(vec![Array::I32(vec![1, 2, 3]), Array::I32(vec![4])]);
    assert_eq!(file.metadata.get("nested.numbers"), Some(&Value::Array(numbers)));
}

#[test]
fn kinds_are_those_of_ggml() {
    let text = std::fs::read_to_string(testing::fixtures("gguf/kinds.txt")).unwrap();
    let rows: Vec<(u32, &str, u64, u64)> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["block", "bytes"] = [words[2], words[4]] else { panic!("{line}") };
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            (words[0].parse().unwrap(), words[1], number(3), number(5))
        })
        .collect();
    let row = |kind: &'static Kind| (kind.id, kind.name, kind.len, kind.bytes);
    assert_eq!(KINDS.iter().map(row).collect::<Vec<_>>(), rows);
}

/// The text that `dump` of `fixtures/make/gguf.py` writes.
fn dump(file: &gguf::File, bytes: &[u8]) -> String {
    let mut out = String::new();
    let endian = if file.endian == Endian::Big { "big" } else { "little" };
    writeln!(out, "version {}\nendian {endian}", file.version).unwrap();
    writeln!(out, "alignment {}\ndata_start {}", file.alignment, file.data_start).unwrap();
    for (key, value) in file.metadata.iter() {
        writeln!(out, "entry {} {} {}", json(key), kinds(value), items(value).join(" ")).unwrap();
    }
    for t in &file.tensors {
        let (start, end) = (t.offset as usize, (t.offset + t.len) as usize);
        let head: String = bytes[start..end].iter().take(16).map(|b| format!("{b:02x}")).collect();
        let dims: Vec<String> = t.dims.iter().map(u64::to_string).collect();
        let (name, kind, dims) = (json(&t.name), t.kind.name.to_uppercase(), dims.join(","));
        writeln!(out, "tensor {name} {kind} [{dims}] {} {} {head}", t.offset, t.len).unwrap();
    }
    out
}

/// The kind of a value and, for an array, of its first items, as deep as they go.
fn kinds(value: &Value) -> String {
    let Value::Array(array) = value else { return value.kind().name().to_owned() };
    let first = array.get(0).expect("gguf-py writes no empty array");
    format!("array {}", kinds(&first))
}

fn items(value: &Value) -> Vec<String> {
    match value {
        Value::Array(array) => {
            (0..array.len()).flat_map(|index| items(&array.get(index).unwrap())).collect()
        }
        Value::Text(text) => vec![json(text)],
        Value::F32(x) => vec![format!("{:#010x}", x.to_bits())],
        Value::F64(x) => vec![format!("{:#018x}", x.to_bits())],
        Value::Bool(yes) => vec![yes.to_string()],
        Value::U64(n) => vec![n.to_string()],
        other => vec![other.signed().unwrap().to_string()],
    }
}

/// JSON in ASCII, as Python writes it.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for unit in text.encode_utf16() {
        match char::from_u32(unit.into()) {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\n') => out.push_str("\\n"),
            Some('\t') => out.push_str("\\t"),
            Some(c @ ' '..='~') => out.push(c),
            _ => write!(out, "\\u{unit:04x}").unwrap(),
        }
    }
    out + "\""
}
