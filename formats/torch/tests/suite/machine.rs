//! Pickles made by hand: what the machine refuses, and what it must not choke on.

use torch::{Checkpoint, Dtype, Options};

use crate::build::{View, WHOLE, checkpoint, dict, one, pickle, storage, tensor, zip};
use crate::golden::elements;
use crate::read;

fn refused(what: &str, bytes: &[u8], words: &str) {
    let error = read(bytes).expect_err(what);
    assert!(error.to_string().contains(words), "{what}: {error}");
}

fn accepted(what: &str, bytes: &[u8]) -> Checkpoint {
    read(bytes).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A value under the key 'x' beside a good tensor, so that the value alone can be at fault.
fn beside(value: &[u8]) -> Vec<u8> {
    checkpoint(&pickle(&dict(&[("w", tensor(&WHOLE)), ("x", value.to_vec())])))
}

#[test]
fn opcodes_that_lead_outside_are_refused() {
    let cases: [(&str, &[u8], &str); 11] = [
        ("EXT1", b"\x82\x01", "extension codes"),
        ("EXT4", b"\x84\x01\0\0\0", "extension codes"),
        ("OBJ", b"(cos\nsystem\no", "'os.system' is a name that can run code"),
        ("dotted", b"\x8c\x13torch.serialization\x8c\x09os.system\x93", "can run code"),
        ("_codecs", b"c_codecs\nencode\n(cos\nsystem\nt", "can run code"),
        ("buffer", b"\x97", "outside the pickle"),
        ("foreign", b"cmy.model\nNet\n)\x81", "('my.model.Net'); --skip-objects"),
        ("call of a value", b"K\x01)R", "would call something that is no global"),
        ("call of a storage", b"ctorch\nFloatStorage\n)R", "storage class or a dtype"),
        ("text id", b"Pmodule\n", "persistent identifier that is text"),
        ("state of a number", b"K\x01}b", "gives attributes to something that has none"),
    ];
    for (what, value, words) in cases {
        refused(what, &beside(value), words);
    }
    let skip = Options { skip_objects: true, ..Options::default() };
    for (what, value, words) in &cases[..6] {
        let error = torch::read(&beside(value), &skip).expect_err(what);
        assert!(error.to_string().contains(words), "{what}: {error}");
    }
}

#[test]
fn broken_streams_are_refused() {
    let cases: [(&str, &[u8], &str); 16] = [
        ("no mark", b"t", "needs a mark"),
        ("pop below a mark", b"K\x01(R", "has none above its last mark"),
        ("protocol 9", b"\x80\x09", "protocol 9"),
        ("second protocol", b"\x80\x02", "protocol 2"),
        ("unicode of 2^63", b"\x8d\0\0\0\0\0\0\0\x80", "needs 9223372036854775808 bytes"),
        ("long of -1", b"\x8b\xff\xff\xff\xff", "an integer of -1 bytes"),
        ("frame of 2^63", b"\x95\0\0\0\0\0\0\0\x80", "pickle frame"),
        ("unset memo", b"hK\x01K\x02s", "memo 75"),
        ("append to text", b"X\x01\0\0\0aK\x01a", "no list"),
        ("not UTF-8", b"X\x01\0\0\0\xff", "not UTF-8"),
        ("not a number", b"Iabc\n", "no number"),
        ("values left", b"K\x01K\x02", "an odd number"),
        ("short rebuild", b"ctorch._utils\n_rebuild_tensor_v2\n)R", "too few arguments"),
        ("storage of three parts", b"(X\x07\0\0\0storageNNtQ", "too few parts"),
        (
            "long name",
            &[b"c".as_slice(), &[b'a'; 2000], b"\nb\n"].concat(),
            "found 2002, expected at most 1024 (pickle-name)",
        ),
        ("defaultdict", b"ccollections\ndefaultdict\nK\x01\x85R", "no class"),
    ];
    for (what, value, words) in cases {
        refused(what, &beside(value), words);
    }
    let good = pickle(&dict(&[("w", tensor(&WHOLE))]));
    refused("no STOP", &checkpoint(&good[..good.len() - 1]), "cut short");
    refused("more after STOP", &checkpoint(&[&good, b".".as_slice()].concat()), "follow its STOP");
    refused("two values", &checkpoint(&pickle(b"NN")), "values are left on the stack");
    let set = [tensor(&WHOLE), b"K\x01K\x02s".to_vec()].concat();
    refused("SETITEM on a tensor", &beside(&set), "no dictionary");
    let digits = [b"L".as_slice(), &[b'7'; 1_000_000], b"L\n"].concat();
    refused(
        "a million digits",
        &beside(&digits),
        "found 1000000, expected at most 1024 (pickle-integer)",
    );
}

#[test]
fn bombs_end_at_a_limit() {
    let marks = vec![b'('; 1_100_000];
    refused("marks", &beside(&marks), "(pickle-stack)");
    let dups = [b"N".to_vec(), vec![b'2'; 2_000_000]].concat();
    refused("copies on the stack", &beside(&dups), "(pickle-stack)");
    let lists = [vec![b']'; 100_000], vec![b'a'; 99_999]].concat();
    refused("deep lists", &beside(&lists), "(pickle-nesting)");
    refused("itself", &beside(b"]q\x01h\x01a"), "contains itself");
    // Two references to the list before, forty times: 2^40 paths to nothing.
    let shared: Vec<u8> =
        (1..41u8).flat_map(|n| [b'(', b'h', n - 1, b'h', n - 1, b'l', b'q', n]).collect();
    let nothing = [b"]q\0".to_vec(), shared.clone(), b"h\x28".to_vec()].concat();
    let value = [b"(".to_vec(), nothing, b"l".to_vec()].concat();
    assert_eq!(accepted("shared", &beside(&value)).tensors.len(), 1);
    // The same above a tensor: 2^40 names.
    let paths = [b"(".to_vec(), tensor(&WHOLE), b"q\0".to_vec(), shared, b"l".to_vec()].concat();
    refused("2^40 names", &beside(&paths), "(torch-names)");
    // A long list with a tensor at its end, reached again and again.
    let long = [b"](".to_vec(), vec![b'N'; 100_000], tensor(&WHOLE), b"eq\x01".to_vec()].concat();
    let value = [b"(".to_vec(), long, b"h\x01".repeat(100_000), b"l".to_vec()].concat();
    refused("long way", &beside(&value), "(torch-names)");
    // A dictionary copied again and again is counted each time.
    let big = [b"}(".to_vec(), b"NN".repeat(200_000), b"uq\x01".to_vec()].concat();
    let copies = b"ccollections\nOrderedDict\nh\x01\x85R".repeat(200);
    let value = [b"(".to_vec(), big, copies, b"l".to_vec()].concat();
    refused("copied dictionaries", &beside(&value), "(pickle-values)");
}

#[test]
fn views_outside_their_storage_are_refused() {
    let cases = [
        ("past the end", View { offset: 1, ..WHOLE }, "needs 5 elements"),
        ("stride past the end", View { strides: &[3, 1], ..WHOLE }, "needs 5 elements"),
        ("stride wraps", View { strides: &[i64::MAX, 1], shape: &[4, 1], ..WHOLE }, "beyond 64"),
        ("shape wraps", View { shape: &[i64::MAX, 4], strides: &[0, 0], ..WHOLE }, "64 bits"),
        ("hidden by zero", View { shape: &[1 << 62, 4, 0], strides: &[0; 3], ..WHOLE }, "64 bits"),
        ("negative offset", View { offset: -1, ..WHOLE }, "offset of a tensor is -1"),
        ("negative stride", View { strides: &[-2, 1], ..WHOLE }, "stride of a tensor is -2"),
        ("rank", View { strides: &[1], ..WHOLE }, "2 sizes, but 1 strides"),
        ("65 dimensions", View { shape: &[1; 65], strides: &[1; 65], ..WHOLE }, "65 dimensions"),
        ("4 TiB", View { shape: &[1 << 40], strides: &[0], ..WHOLE }, "4398046511104"),
        ("short record", View { count: 5, ..WHOLE }, "expected 20 bytes"),
        ("long record", View { count: 3, shape: &[3], strides: &[1], ..WHOLE }, "expected 12"),
        ("missing record", View { key: "7", ..WHOLE }, "'a/data/7' is missing"),
        ("key with a path", View { key: "../x", ..WHOLE }, "no plain label"),
    ];
    for (what, view, words) in cases {
        refused(what, &one(&view), words);
    }
    let other = tensor(&View { class: "IntStorage", ..WHOLE });
    let two = dict(&[("w", tensor(&WHOLE)), ("v", other)]);
    refused("one key, two types", &checkpoint(&pickle(&two)), "stated twice");
}

#[test]
fn tensors_without_plain_elements_are_listed() {
    for (view, expected) in [
        (View { class: "ComplexHalfStorage", ..WHOLE }, "of type complex32"),
        (View { class: "QInt32Storage", ..WHOLE }, "of type qint32"),
        (View { location: "meta", ..WHOLE }, "a meta tensor, which has no values"),
    ] {
        let checkpoint = accepted(expected, &one(&view));
        assert!(checkpoint.tensors.is_empty());
        let found = checkpoint.refused.iter().map(|r| (r.name.as_str(), r.what.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), [("w", expected)]);
    }
}

#[test]
fn names_are_unique_text() {
    let w = || tensor(&WHOLE);
    let meta = || tensor(&View { location: "meta", ..WHOLE });
    let paths = dict(&[("a.b", meta()), ("a", dict(&[("b", w())]))]);
    refused("path twice", &checkpoint(&pickle(&paths)), "two paths of keys lead to this name");
    let twice = dict(&[("w", w()), ("w", w())]);
    refused("key twice", &checkpoint(&pickle(&twice)), "the key 'w' twice");
    let paths = dict(&[("a.b", w()), ("a", dict(&[("b", w())]))]);
    refused("path twice", &checkpoint(&pickle(&paths)), "two paths of keys lead to this name");
    let number = [b"}K\x07".to_vec(), w(), b"s".to_vec()].concat();
    refused("a number", &checkpoint(&pickle(&number)), "at the root a key is the number 7");
    refused("nothing", &checkpoint(&pickle(&dict(&[("", w())]))), "its name is empty");
    refused("no tensors", &checkpoint(&pickle(b"}")), "holds no tensors");

    let names = |value: &[u8]| {
        let tensors = accepted("roots", &checkpoint(&pickle(value))).tensors;
        tensors.into_iter().map(|tensor| tensor.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&w()), ["0"]);
    assert_eq!(names(&[b"(".to_vec(), w(), w(), b"l".to_vec()].concat()), ["0", "1"]);
    assert_eq!(names(&dict(&[("m", dict(&[("w", w())]))])), ["m.w"]);
    // Alone, an optimizer's tensors are what the file is about.
    assert_eq!(names(&dict(&[("optimizer", dict(&[("w", w())]))])), ["optimizer.w"]);
    // A tensor of that name is no optimizer.
    assert_eq!(names(&dict(&[("optimizer", w()), ("w", w())])), ["optimizer", "w"]);
}

#[test]
fn views_and_types_that_are_read() {
    let tied = dict(&[("a", tensor(&WHOLE)), ("b", tensor(&WHOLE))]);
    let checkpoint_of = |value: &[u8]| accepted("view", &checkpoint(&pickle(value)));
    let tensors = checkpoint_of(&tied).tensors;
    assert_eq!((tensors[0].same_as, tensors[1].same_as), (None, Some(0)));

    let bytes = one(&View { shape: &[2, 3], strides: &[1, 0], location: "cuda:0", ..WHOLE });
    let repeated = &accepted("stride 0", &bytes).tensors[0];
    assert_eq!(repeated.contiguous(), None);
    let floats = [1.0f32, 1.0, 1.0, 2.0, 2.0, 2.0].map(f32::to_le_bytes).concat();
    assert_eq!(elements(repeated, &bytes), floats);

    let float8 = [
        b"ctorch._utils\n_rebuild_tensor_v3\n(".to_vec(),
        storage(&View { class: "UntypedStorage", count: 16, ..WHOLE }),
        b"K\x00K\x10\x85K\x01\x85\x89)ctorch\nfloat8_e4m3fn\n}tR".to_vec(),
    ];
    let tensors = checkpoint_of(&dict(&[("w", float8.concat())])).tensors;
    assert_eq!((tensors[0].dtype, tensors[0].shape.as_slice()), (Dtype::F8E4M3Fn, &[16][..]));

    // Parameters with attributes, of a class, and with a gradient flag.
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter_with_state\n(".to_vec(),
        tensor(&WHOLE),
        b"\x88)}tR".to_vec(),
    ];
    assert_eq!(checkpoint_of(&dict(&[("w", parameter.concat())])).tensors.len(), 1);
    let inner = tensor(&WHOLE);
    let head = b"ctorch._utils\n_rebuild_tensor_v2\n".len();
    let of_type = [
        b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
        b"ctorch.nn.parameter\nParameter\n".to_vec(),
        inner[head..inner.len() - 1].to_vec(),
        b"}tR".to_vec(),
    ];
    assert_eq!(checkpoint_of(&dict(&[("w", of_type.concat())])).tensors.len(), 1);
}

/// A pickled `nn.Module`: refused as foreign, or read under the names of its `state_dict`.
#[test]
fn foreign_objects_are_transparent_when_skipped() {
    let module = |class: &str, state: Vec<u8>| {
        [format!("c{class}\n)").into_bytes(), vec![0x81], state, b"b".to_vec()].concat()
    };
    let linear = dict(&[
        ("_parameters", dict(&[("weight", tensor(&WHOLE))])),
        ("training", b"\x89".to_vec()),
    ]);
    let net = dict(&[("_modules", dict(&[("fc", module("torch.nn\nLinear", linear))]))]);
    let bytes = checkpoint(&pickle(&module("my\nNet", net)));
    refused("module", &bytes, "('my.Net', 'torch.nn.Linear')");
    let skipped =
        torch::read(&bytes, &Options { skip_objects: true, ..Options::default() }).unwrap();
    let names: Vec<_> = skipped.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["fc.weight"]);
    assert!(skipped.notes.iter().any(|note| note.contains("'my.Net', 'torch.nn.Linear'")));
}

#[test]
fn archives_of_several_pickles() {
    let floats = [0u8; 16];
    let data = pickle(&dict(&[("w", tensor(&WHOLE))]));
    let constants = pickle(&[b"(".to_vec(), tensor(&WHOLE), b"t".to_vec()].concat());
    let mut entries: Vec<(&str, &[u8])> = vec![
        ("a/data.pkl", &data),
        ("a/data/0", &floats),
        ("a/constants.pkl", &constants),
        ("a/constants/0", &floats),
    ];
    let tensors = accepted("constants", &zip(&entries)).tensors;
    let names: Vec<_> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w", "CONSTANTS.c0"]);
    assert_eq!(tensors[1].same_as, None, "another file of the archive");
    entries.push(("a/Data/0", &floats));
    refused("case twin", &zip(&entries), "the same but for case");
    entries.pop();
    entries.push(("a/evil.pkl", &data));
    refused("third pickle", &zip(&entries), "is a pickle beside data.pkl");
}

/// In streams a storage may be a part of another: its elements from the second on, two of them.
#[test]
fn parts_of_storages_in_a_stream() {
    let stream = |first: u8, count: u8| {
        let part = [b"(X\x01\0\0\0vK".as_slice(), &[first, b'K', count], b"t"].concat();
        let whole = storage(&WHOLE);
        let place = [&whole[..whole.len() - 2], &part, b"tQ"].concat();
        let head = b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
        let view = [head, place, b"K\0K\x02\x85K\x01\x85\x89)tR".to_vec()].concat();
        let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
        let parts = [
            pickle(magic),
            pickle(b"M\xe9\x03"),
            pickle(&dict(&[("little_endian", vec![0x88])])),
            pickle(&dict(&[("w", view)])),
            pickle(b"]X\x01\0\0\x000a"),
            4u64.to_le_bytes().to_vec(),
            [1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat(),
        ];
        parts.concat()
    };
    let bytes = stream(1, 2);
    let tensor = &accepted("part", &bytes).tensors[0];
    assert_eq!(elements(tensor, &bytes), [2.0f32, 3.0].map(f32::to_le_bytes).concat());
    refused("part past the end", &stream(3, 2), "a view of it reaches past its end");
    refused("tensor past the part", &stream(1, 1), "needs 2 elements, but storage '0' has 1");
}
