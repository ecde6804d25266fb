//! Every refusal says what, where, found and expected.

use gguf::{Array, Limits, Value};
use wire::Why;

use crate::read;

/// The messages in `fixtures/bad`, word for word; `BLESS=1` writes them anew.
#[test]
fn messages_read_as_agreed() {
    assert_eq!(testing::refusals("gguf", "gguf", read), 12);
}

const U8: u32 = 0;
const U32: u32 = 4;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&(text.len() as u64).to_le_bytes(), text].concat()
}

fn entry(key: impl AsRef<[u8]>, kind: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value.as_ref()].concat()
}

fn array(kind: u32, count: u64, items: impl AsRef<[u8]>) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &count.to_le_bytes(), items.as_ref()].concat()
}

fn info(name: impl AsRef<[u8]>, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let rank = (dims.len() as u32).to_le_bytes();
    let dims: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    [&text(name)[..], &rank, &dims, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

fn file(entries: &[Vec<u8>], infos: &[Vec<u8>], data: usize) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend((infos.len() as u64).to_le_bytes());
    out.extend((entries.len() as u64).to_le_bytes());
    out.extend(entries.concat());
    out.extend(infos.concat());
    out.resize(out.len().next_multiple_of(32) + data, 0);
    out
}

fn refuse(bytes: &[u8]) -> String {
    read(bytes).expect_err("a refusal").to_string()
}

#[test]
fn entries_that_break_a_rule() {
    let one = |entry: Vec<u8>| refuse(&file(&[entry], &[], 0));
    for (message, entry) in [
        ("key of entry 0 (byte 0x18): is empty", entry("", U8, [1])),
        (
            "key of entry 0 (byte 0x21): is not UTF-8: byte 0xff at position 1",
            entry(b"a\xff", U8, [1]),
        ),
        (
            "value kind of 'k' (entry 0) (byte 0x21): found 13, which is not a known value",
            entry("k", 13, [1]),
        ),
        (
            "value kind of 'k\\u{1b}' (entry 0) (byte 0x22): found 4294967295, which is not a known value",
            entry("k\x1b", u32::MAX, [1]),
        ),
        (
            "item kind of 'k' (entry 0) (byte 0x25): found 99, which is not a known value",
            entry("k", ARRAY, array(99, 1, [1])),
        ),
        (
            "item count of 'k' (entry 0) (byte 0x29): found 2305843009213693953, expected at most 1, as 15 bytes remain",
            entry("k", ARRAY, array(10, (1 << 61) + 1, [0; 8])),
        ),
        (
            "bool of 'k' (entry 0) (byte 0x32): found 2, expected 0 or 1",
            entry("k", ARRAY, array(BOOL, 2, [1, 2])),
        ),
        (
            "value of 'k' (entry 0) (byte 0x2d): needs 281474976710656 bytes, but 19 remain: the file is cut short or damaged",
            entry("k", TEXT, (1u64 << 48).to_le_bytes()),
        ),
        (
            "item of 'k' (entry 0) (byte 0x39): needs 9 bytes, but 7 remain: the file is cut short or damaged",
            entry("k", ARRAY, array(TEXT, 1, 9u64.to_le_bytes())),
        ),
        (
            "'general.alignment' (entry 0) (byte 0x35): found 13, expected a power of two, at least 8",
            entry("general.alignment", U32, 13u32.to_le_bytes()),
        ),
        (
            "'general.alignment' (entry 0) (byte 0x35): found int32, expected uint32",
            entry("general.alignment", 5, 32u32.to_le_bytes()),
        ),
    ] {
        assert_eq!(one(entry), message);
    }
}

#[test]
fn infos_that_break_a_rule() {
    let one = |info: Vec<u8>| refuse(&file(&[], &[info], 32));
    for (message, info) in [
        ("name of tensor info 0 (byte 0x18): is empty", info("", &[8], 0, 0)),
        ("name of tensor info 0 (byte 0x18): 'a\\0b' contains a NUL", info("a\0b", &[8], 0, 0)),
        (
            "name of tensor info 0 (byte 0x20): is not UTF-8: byte 0xff at position 0",
            info(b"\xff", &[8], 0, 0),
        ),
        (
            "name of tensor info 0 (byte 0x18): found 65, expected at most 64 (gguf-name)",
            info("x".repeat(65), &[8], 0, 0),
        ),
        (
            "rank of tensor 'a' (info 0) (byte 0x21): found 5, expected at most 4 (gguf-rank)",
            info("a", &[1; 5], 0, 0),
        ),
        (
            "dimension of tensor 'a' (info 0) (byte 0x25): found 18446744073709551615, expected at most 2^63 - 1",
            info("a", &[u64::MAX], 0, 0),
        ),
        (
            "shape of tensor 'a' (info 0) (byte 0x21): [4294967296, 4294967296] has more weights or bytes than fit in 63 bits",
            info("a", &[1 << 32, 1 << 32], 0, 0),
        ),
        (
            "type of tensor 'a' (info 0) (byte 0x2d): found 4294967295, which is not a known value",
            info("a", &[8], u32::MAX, 0),
        ),
        (
            "type of tensor 'a' (info 0) (byte 0x2d): unsupported: 36 (iq4_nl_4_4), which ggml removed: convert the source again",
            info("a", &[8], 36, 0),
        ),
        (
            "offset of tensor 'a' (info 0) (byte 0x31): found 0x4, expected a multiple of 32",
            info("a", &[8], 0, 4),
        ),
        (
            "tensor 'a' (info 0) (byte 0x18): data range 0x1040..0x1060 exceeds file size 0x60",
            info("a", &[8], 0, 4096),
        ),
        (
            "tensor 'a' (info 0) (byte 0x18): offset 0xffffffffffffffe0 and 32 bytes wrap",
            info("a", &[8], 0, u64::MAX - 31),
        ),
        (
            "tensor 'a' (info 0) (byte 0x18): data range 0x40..0x64 exceeds file size 0x60",
            info("a", &[9], 0, 0),
        ),
    ] {
        assert_eq!(one(info), message);
    }
}

#[test]
fn data_that_does_not_fill_the_file() {
    let two =
        |offset: u64, data| file(&[], &[info("a", &[8], 0, 0), info("b", &[8], 0, offset)], data);
    assert!(read(&two(32, 64)).is_ok());
    assert_eq!(
        refuse(&two(64, 96)),
        "tensor 'b' (info 1) (byte 0x39): found data at 0xa0, expected 0x80: the 32 bytes between belong to nothing"
    );
    assert_eq!(
        refuse(&two(0, 32)),
        "tensor 'b' (info 1) (byte 0x39): found data at 0x60, expected 0x80: it overlaps the data that ends at 0x80"
    );
    let twins = file(&[], &[info("a", &[8], 0, 0), info("a", &[8], 0, 32)], 64);
    assert_eq!(refuse(&twins), "tensor 'a' (info 1) (byte 0x39): info 0 has the same name");
    let short = file(&[], &[info("a", &[3], 0, 0)], 32);
    assert!(read(&short[..short.len() - 20]).is_ok(), "the last padding may be missing");
    assert_eq!(
        refuse(&short[..short.len() - 1]),
        "end of the data (byte 0x4c): found 19 more bytes, expected the end of the file, or 20 of padding"
    );
    let mut covert = short.clone();
    *covert.last_mut().unwrap() = 7;
    assert_eq!(refuse(&covert), "padding at the end (byte 0x5f): found 0x07, expected 0x00");
}

#[test]
fn versions_and_byte_orders() {
    let with = |word: u32| {
        let mut bytes = file(&[], &[], 0);
        bytes[4..8].copy_from_slice(&word.to_le_bytes());
        read(&bytes).map(|file| (file.version, file.endian)).map_err(|error| error.to_string())
    };
    assert_eq!(with(2), Ok((2, gguf::Endian::Little)));
    assert_eq!(with(3u32.swap_bytes()), Ok((3, gguf::Endian::Big)));
    assert_eq!(with(0), Err("version (byte 0x4): found 0, which is not a known value".to_owned()));
    let newer = "version (byte 0x4): unsupported: version 4; versions 1 to 3 are read".to_owned();
    assert_eq!((with(4), with(4u32.swap_bytes())), (Err(newer.clone()), Err(newer)));
    assert_eq!(
        with(2u32.swap_bytes()),
        Err("version (byte 0x4): found 2 in big-endian order, which begins with version 3"
            .to_owned())
    );
}

/// What is odd, and allowed.
#[test]
fn odd_files_are_read() {
    let empty = entry("empty", ARRAY, array(TEXT, 0, []));
    let nul = entry("nul", TEXT, text("ends in NUL\0"));
    let unknown = entry("nobody.knows.this", U8, [7]);
    let file = read(&file(&[empty, nul, unknown], &[], 0)).unwrap();
    assert_eq!(file.metadata.get("empty"), Some(&Value::Array(Array::Text(vec![]))));
    assert_eq!(file.metadata.get("nul").unwrap().text(), Some("ends in NUL\0"));
    assert_eq!(file.metadata.get("nobody.knows.this").unwrap().unsigned(), Some(7));
}

/// Each limit, one below what the file needs: the refusal names the option that lifts it.
#[test]
fn each_limit_is_held_and_names_its_option() {
    let nested = array(ARRAY, 1, array(U8, 1, [7]));
    let entries = [
        entry("general.alignment", U32, 64u32.to_le_bytes()),
        entry("text", TEXT, text("four")),
        entry("nested", ARRAY, nested),
    ];
    let metadata = entries.concat().len() as u64;
    let infos = [info("name", &[1, 1], 0, 0), info("n", &[1], 0, 64)];
    let mut bytes = file(&entries, &infos, 0);
    bytes.resize(bytes.len().next_multiple_of(64) + 128, 0);
    let exact = Limits {
        string: 4,
        metadata,
        entries: 3,
        key: 17,
        nesting: 2,
        tensors: 2,
        name: 4,
        rank: 2,
        alignment: 64,
    };
    assert!(gguf::read(&bytes, &exact).is_ok());
    for (option, limits) in [
        ("string", Limits { string: 3, ..exact.clone() }),
        ("metadata", Limits { metadata: metadata - 1, ..exact.clone() }),
        ("entries", Limits { entries: 2, ..exact.clone() }),
        ("key", Limits { key: 16, ..exact.clone() }),
        ("nesting", Limits { nesting: 1, ..exact.clone() }),
        ("tensors", Limits { tensors: 1, ..exact.clone() }),
        ("name", Limits { name: 3, ..exact.clone() }),
        ("rank", Limits { rank: 1, ..exact.clone() }),
        ("alignment", Limits { alignment: 32, ..exact.clone() }),
    ] {
        let error = gguf::read(&bytes, &limits).expect_err(option);
        let Why::TooLarge { value, max, lift } = error.why else { panic!("{error}") };
        assert!(value > max && lift == format!("gguf-{option}"), "{lift}");
    }
}

/// Deep arrays cost neither stack nor memory, however high the limit is set.
#[test]
fn nesting_has_an_end() {
    let deep = (0..1000).fold(array(U8, 0, []), |inner, _| array(ARRAY, 1, inner));
    let bytes = file(&[entry("deep", ARRAY, deep)], &[], 0);
    let limits = Limits { nesting: u32::MAX, ..Limits::default() };
    let error = gguf::read(&bytes, &limits).expect_err("depth").to_string();
    assert!(error.starts_with("array depth of 'deep' (entry 0)"), "{error}");
    assert!(error.contains("found 65, expected at most 64"), "{error}");
}
