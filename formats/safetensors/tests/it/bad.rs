//! Files that must be refused, with the words to refuse them by.

use safetensors::{Limits, read};
use wire::Class;

use crate::file;

/// Each file of `fixtures/bad/safetensors` gives the message beside it; `BLESS=1` rewrites those.
#[test]
fn refusals_say_why() {
    let read = |bytes: &[u8]| read(&bytes, &Limits::default());
    assert_eq!(testing::refusals("safetensors", "safetensors", read), 12);
}

/// Every other refusal: a header, the bytes after it, and a part of the message.
const REFUSED: &[(&str, usize, &str)] = &[
    ("", 0, "the shortest header"),
    ("[]", 0, "expected { (0x7b)"),
    (" {}", 0, "first byte 0x20"),
    ("\u{feff}{}", 0, "first byte 0xef"),
    ("{}{}", 0, "trailing characters"),
    ("{} x", 0, "ends in 0x78; only spaces (0x20)"),
    ("{}\n", 0, "ends in 0x0a; only spaces (0x20)"),
    ("{}", 1, "1 bytes follow the last tensor"),
    (r#"{"__metadata__":{},"__metadata__":{}}"#, 0, r#"the key "__metadata__" stands twice"#),
    (r#"{"__metadata__":{"a":"","\u0061":""}}"#, 0, r#"metadata "a" (byte"#),
    (r#"{"__metadata__":{"a":null}}"#, 0, r#"metadata "a" (byte"#),
    (r#"{"__metadata__":null}"#, 0, "expected an object of text"),
    (r#"{"__metadata__":[]}"#, 0, "expected an object of text"),
    (r#"{"a":[]}"#, 0, "expected an object with dtype, shape and data_offsets"),
    (r#"{"a":{}}"#, 0, "it has no dtype"),
    (r#"{"a":{"dtype":"F32"}}"#, 0, "it has no shape"),
    (r#"{"a":{"dtype":"F32","shape":[]}}"#, 0, "it has no data_offsets"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "1 data_offsets"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}"#, 4, "more than 2 data_offsets"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}}"#, 4, "floating point `4.0`"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}}"#, 4, "invalid type"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e400]}}"#, 4, "out of range"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "run backwards"),
    (r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "integer `-1`"),
    (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "the 8 bytes of shape [2]"),
    (r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}"#, 2, "12 bits: not whole bytes"),
    (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "leave a hole"),
    (r#"{"a":{"dtype":"f 32","shape":[1],"data_offsets":[0,4]}}"#, 4, "not a known value"),
    (r#"{"\ud800":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "hex escape"),
];

#[test]
fn every_rule_has_its_words() {
    for &(header, data, part) in REFUSED {
        let error = read(&file(header, data), &Limits::default()).expect_err(header);
        assert_eq!(error.class(), Class::Malformed, "{header}: {error}");
        assert!(error.to_string().contains(part), "{header}: {error}");
    }
}

/// Sizes that fit only after they have wrapped, and dimensions without end.
#[test]
fn shapes_do_not_wrap() {
    let header = |shape: &str, end: u64| {
        format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#)
    };
    let refused = [
        ("4294967296,4294967296,4", 0),
        ("4611686018427387908", 16),
        ("9223372036854775808,4,0", 0),
        ("0,9223372036854775808", 0),
        ("1152921504606846976", 0),
    ];
    for (shape, end) in refused {
        let error = read(&file(&header(shape, end), 16), &Limits::default()).expect_err(shape);
        assert!(error.to_string().contains("64-bit"), "{shape}: {error}");
    }
    let ones = |count| vec!["1"; count].join(",");
    read(&file(&header(&ones(64), 4), 4), &Limits::default()).unwrap();
    let error = read(&file(&header(&ones(65), 4), 4), &Limits::default()).unwrap_err();
    assert!(error.to_string().contains("more than 64 dimensions"), "{error}");
}

/// A type that a later version may define is unsupported, which is another exit code.
#[test]
fn a_newer_type_is_unsupported() {
    let header = r#"{"a":{"dtype":"F128","shape":[1],"data_offsets":[0,16]}}"#;
    let error = read(&file(header, 16), &Limits::default()).unwrap_err();
    assert_eq!(error.class(), Class::Unsupported, "{error}");
}

/// The place of a fault between tensors is found by reading the header again.
#[test]
fn a_hole_is_placed_at_its_tensor() {
    let header = r#"{"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let error = read(&file(header, 3), &Limits::default()).unwrap_err();
    assert_eq!((error.offset, &*error.what), (8 + 4, "tensor \"b\""));
}

/// A message has no room for a name of a megabyte, nor for control characters.
#[test]
fn messages_stay_short_and_on_one_line() {
    let name = format!("\\n\\u001b{}", "x".repeat(1 << 20));
    let error = read(&file(&format!(r#"{{"{name}":{{}}}}"#), 0), &Limits::default()).unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 300 && text.contains(r"\n\u{1b}x"), "{text}");
    let header = format!(r#"{{"a":{{"dtype":"{name}"}}}}"#);
    let text = read(&file(&header, 0), &Limits::default()).unwrap_err().to_string();
    assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
    let header = format!(r#"{{"a":{{"shape":"{name}"}}}}"#);
    let text = read(&file(&header, 0), &Limits::default()).unwrap_err().to_string();
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text}");
}
