//! Archives of torch.export with weights as files of their own; `fixtures/make/torch_export.py`
//! wrote what is expected.

use testing::fixtures;
use torch::{Checkpoint, Options};
use wire::Class;

use crate::build::zip;
use crate::read;
use crate::today::{found, golden, open};

#[test]
fn archives_hold_what_torch_says() {
    for (file, expected, skip_objects, counts) in [
        ("exported", "exported", false, (28, 1)),
        ("deflated", "exported", false, (28, 1)),
        ("two", "two", false, (4, 0)),
        ("object", "object", false, (2, 0)),
        ("subclass", "subclass", true, (2, 1)),
    ] {
        let name = format!("../torch4/{file}.pt2");
        let (bytes, checkpoint) = open(&name, skip_objects);
        assert!(torch::probe(&bytes[..512], &bytes), "{file}");
        assert_eq!((checkpoint.tensors.len(), checkpoint.refused.len()), counts, "{file}");
        let expected = golden(&format!("../torch4/{expected}.golden"));
        assert_eq!(found(&bytes, &checkpoint), expected, "{file}");
    }
}

#[test]
fn tied_weights_are_one() {
    let (_, checkpoint) = open("../torch4/exported.pt2", false);
    let of = |name: &str| checkpoint.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    assert_eq!(of("fc.weight").same_as, Some(0));
    assert_eq!(checkpoint.tensors[0].name, "tied");
    // A row of a constant is another view of the same bytes.
    assert_eq!((of("row").same_as, of("whole").same_as), (None, None));
    assert_eq!(of("row").storage, of("whole").storage);
    assert_eq!(of("repeated").strides, [1, 0]);
}

#[test]
fn what_is_no_tensor_is_noted() {
    let (_, checkpoint) = open("../torch4/object.pt2", false);
    assert_eq!(
        checkpoint.notes,
        [
            "'object' is an object, pickled in 'custom_obj_0', and is left out",
            "entries that no list names are left out: 'object/data/constants/tensor_7'",
        ]
    );
    // A subclass is a class of somebody's own.
    let error = read(&std::fs::read(fixtures("torch4/subclass.pt2")).unwrap()).unwrap_err();
    assert_eq!(error.class(), Class::Malformed);
    let text = error.to_string();
    assert!(text.contains("TwoTensor") && text.contains("--skip-objects"), "{text}");
}

const META: &str = r#"{"dtype": 7, "sizes": [{"as_int": 2}, {"as_int": 2}], "strides": [{"as_int": 2}, {"as_int": 1}], "storage_offset": {"as_int": 0}, "layout": 7}"#;

const TWICE: &str = r#"{"w": {"path_name": "weight_0", "use_pickle": true}, "w":"#;

/// An archive whose weight 'w' is four floats, with other words in its list.
fn listed(from: &str, to: &str) -> wire::Result<Checkpoint> {
    let list = format!(
        r#"{{"config": {{"w": {{"path_name": "weight_0", "use_pickle": false, "tensor_meta": {META}}}}}}}"#
    );
    assert!(list.contains(from), "{from}");
    let list = list.replacen(from, to, 1);
    let bytes = zip(&[
        ("a/archive_format", b"pt2"),
        ("a/data/weights/weight_0", &[0; 16]),
        ("a/data/weights/model_weights_config.json", list.as_bytes()),
    ]);
    torch::read(&bytes, &Options::default())
}

#[test]
fn lists_are_held_to_what_they_say() {
    let good = listed("", "").unwrap();
    assert_eq!(good.tensors[0].shape, [2, 2]);
    let w = "tensor 'w' (byte 0xbc): ";
    let list = "entry 'a/data/weights/model_weights_config.json' (byte 0xbc): ";
    let view = "needs 6 elements, but storage 'weights/weight_0' has 4";
    for (from, to, words) in [
        ("weight_0", "weight_1", [w, "its entry 'a/data/weights/weight_1' is missing"]),
        ("weight_0", "../../../etc/passwd", [w, "is missing"]),
        ("7", "0", [w, "dtype 0"]),
        ("\"as_int\": 2", "\"as_int\": 3", [w, view]),
        ("\"as_int\": 0", "\"as_int\": 1", [w, "needs 5 elements"]),
        ("{\"as_int\": 2}, ", "", [w, "1 sizes, but 2 strides"]),
        ("\"as_int\": 2", "\"as_int\": 18446744073709551615", [w, "does not fit in 64 bits"]),
        ("\"as_int\": 2", "\"as_int\": -2", [list, "tensor 'w': invalid value: integer `-2`"]),
        ("\"as_int\": 2", "\"as_expr\": {}", [list, "unknown variant `as_expr`"]),
        ("\"layout\": 7", "\"dtype\": 6", [list, "duplicate field `dtype`"]),
        (", \"layout\": 7", "", [list, "missing field `layout`"]),
        ("{\"w\":", "{\"w\": {}, \"w\":", [list, "tensor 'w': missing field `path_name`"]),
        ("{\"w\":", TWICE, [list, "tensor 'w': its name is empty, or stands twice"]),
        ("\"w\"", "\"\"", [list, "its name is empty"]),
        ("config", "weights", [list, "missing field `config`"]),
        ("{\"config\"", "[\"config\"", [list, "line 1 column"]),
    ] {
        let error = listed(from, to).unwrap_err();
        let text = error.to_string();
        assert!(words.iter().all(|words| text.contains(words)), "{from} → {to}: {text}");
        assert_eq!(error.class(), Class::Malformed, "{text}");
    }
    let sizes = format!("\"sizes\": [{}", "{\"as_int\": 1}, ".repeat(65));
    let error = listed("\"sizes\": [", &sizes).unwrap_err();
    assert_eq!(error.class(), Class::Limit, "{error}");
}

/// Named apart, because they have no plain elements.
#[test]
fn tensors_without_plain_elements_are_listed() {
    for (from, to, what) in [
        ("\"dtype\": 7", "\"dtype\": 9", "of type complex32"),
        ("\"layout\": 7", "\"layout\": 2", "a sparse tensor"),
    ] {
        let checkpoint = listed(from, to).unwrap();
        assert_eq!(checkpoint.refused[0].what, what);
        assert_eq!(checkpoint.refused[0].name, "w");
    }
}

#[test]
fn two_lists_may_not_name_one_tensor() {
    let list = format!(
        r#"{{"config": {{"w": {{"path_name": "x", "use_pickle": false, "tensor_meta": {META}}}}}}}"#
    );
    let bytes = zip(&[
        ("a/archive_format", b"pt2"),
        ("a/data/weights/x", &[0; 16]),
        ("a/data/weights/m_weights_config.json", list.as_bytes()),
        ("a/data/constants/x", &[0; 16]),
        ("a/data/constants/m_constants_config.json", list.as_bytes()),
    ]);
    let text = read(&bytes).unwrap_err().to_string();
    assert!(text.contains("tensor 'w'") && text.contains("stands twice"), "{text}");
    let empty = zip(&[("a/archive_format", b"pt2"), ("a/models/m.json", b"{}")]);
    assert!(read(&empty).unwrap_err().to_string().contains("it holds no weights"));
}

/// Cut short or damaged, an archive is refused, or says what it said before.
#[test]
fn damage_is_found() {
    // The graph and the padding are not looked at.
    for (file, kept) in
        [("torch4/two.pt2", 200..1900), ("torch3/exported_25_deflated.pt2", 700..1500)]
    {
        let good = std::fs::read(fixtures(file)).unwrap();
        for len in (0..good.len()).step_by(7) {
            read(&good[..len]).expect_err("cut short");
        }
        let found = same_after_flips(good);
        assert!(kept.contains(&found), "{file}: {found}");
    }
}

/// Of 2000 flipped bits, how many change nothing of what is read; no other is read.
fn same_after_flips(mut file: Vec<u8>) -> u32 {
    let said = |bytes: &Vec<u8>| {
        let checkpoint = read(bytes).ok()?;
        checkpoint.verify(bytes).ok()?;
        Some(found(bytes, &checkpoint))
    };
    let expected = said(&file).unwrap();
    let mut same = 0;
    for n in 0..2000 {
        let (at, mask) = (n * 7919 % file.len(), 1 << (n % 8));
        file[at] ^= mask;
        if let Some(found) = said(&file) {
            assert_eq!(found, expected, "bit {n}");
            same += 1;
        }
        file[at] ^= mask;
    }
    same
}

/// A checkpoint that is deflated in the archive is looked through in memory, if that is allowed.
#[test]
fn what_is_deflated_is_bounded() {
    let file = |name: &str| std::fs::read(fixtures("torch3").join(name)).unwrap();
    let limits = torch::Limits { deflated: 2000, ..torch::Limits::default() };
    let bytes = file("exported_deflated.pt2");
    let error = torch::read(&bytes, &Options { limits, ..Options::default() }).unwrap_err();
    assert_eq!(error.class(), Class::Limit);
    assert!(
        error.to_string().contains("2461") && error.to_string().contains("inflated"),
        "{error}"
    );
    for (name, class, words) in [
        ("deflated_twice.pt2", Class::Unsupported, "an entry that is deflated twice"),
        ("deflated_text.pt2", Class::Malformed, "it inflates to no zip"),
        ("deflated_sum.pt2", Class::Malformed, "storage '0' at byte"),
    ] {
        let error = read(&file(name)).unwrap_err();
        assert!(error.class() == class && error.to_string().contains(words), "{error}");
    }
}
