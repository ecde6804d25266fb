//! Headers of tars, of all the kinds that tools write, and of those that none should.

use std::io;

use testing::fixtures;
use torch::Options;
use wire::{Class, ReadAt};

use crate::read;

/// A file of this size with these bytes at these places, and zeros elsewhere.
struct Sparse {
    size: u64,
    parts: [(u64, Vec<u8>); 2],
}

impl ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        for (place, at) in into.iter_mut().zip(offset..) {
            let byte = |(start, bytes): &(u64, Vec<u8>)| {
                bytes.get(usize::try_from(at.checked_sub(*start)?).ok()?).copied()
            };
            *place = self.parts.iter().find_map(byte).unwrap_or(0);
        }
        Ok(())
    }
}

/// What `fixtures/make/torch_containers.py` wrote: Python's tarfile states the 8 GiB of a storage.
#[test]
fn sizes_that_have_no_room_in_a_header_are_read() {
    const ZEROS: u64 = 8 << 30;
    for kind in ["pax", "gnu"] {
        let part = |name: &str| std::fs::read(fixtures("torch3").join(name)).unwrap();
        let (head, tail) = (part(&format!("huge_{kind}.head")), part("huge.tail"));
        let after = head.len() as u64 + ZEROS;
        let size = (after + tail.len() as u64).next_multiple_of(512) + 1024;
        let first = head[..512].to_vec();
        let file = Sparse { size, parts: [(0, head), (after, tail)] };
        assert!(torch::probe(&first, &file), "{kind}");
        let checkpoint = torch::read(&file, &Options::default()).unwrap();
        let [last] = &checkpoint.tensors[..] else { panic!("{:?}", checkpoint.tensors) };
        assert_eq!(last.storage.len, ZEROS + 8, "{kind}");
        let mut bytes = [0; 8];
        last.read(&file, 0, &mut bytes).unwrap();
        assert_eq!((f64::from_le_bytes(bytes), &last.shape[..]), (2.5, &[1][..]), "{kind}");
    }
}

/// A header with its checksum.
fn header(name: &str, kind: u8, size: &[u8; 12]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..136].copy_from_slice(size);
    block[148..156].fill(b' ');
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar\0");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

fn octal(size: usize) -> [u8; 12] {
    format!("{size:011o}\0").into_bytes().try_into().unwrap()
}

/// An extended header of this kind.
fn extended(kind: u8, records: &[u8]) -> Vec<u8> {
    let mut bytes = header("records", kind, &octal(records.len()));
    bytes.extend(records);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// One record: its length counts itself.
fn record(text: &str) -> Vec<u8> {
    let mut len = text.len() + 3;
    len += len.to_string().len() - 1;
    format!("{len} {text}\n").into_bytes()
}

#[test]
fn records_that_tools_would_read_in_several_ways_are_refused() {
    let file = |size: usize| header("pickle", b'0', &octal(size));
    let size = |text: &str| extended(b'x', &record(&format!("size={text}")));
    let two = |a: &str, b: &str| extended(b'x', &[record(a), record(b)].concat());
    let base_256 = |bytes: [u8; 12]| header("pickle", b'0', &bytes);
    let form = "its records are not of the form";
    let no_number = "no number of 64 bits";
    let cases: &[(&[Vec<u8>], Class, &str)] = &[
        (&[size("5"), file(4)], Class::Malformed, "its size is 4, and 5 in its records"),
        (&[size("-5"), file(0)], Class::Malformed, no_number),
        (&[size("+5"), file(0)], Class::Malformed, no_number),
        (&[size("0x5"), file(0)], Class::Malformed, no_number),
        (&[size(""), file(0)], Class::Malformed, no_number),
        (&[size("18446744073709551616"), file(0)], Class::Malformed, no_number),
        (
            &[size("18446744073709551615"), file(0)],
            Class::Malformed,
            "needs 18446744073709551615 bytes, but 512",
        ),
        (&[size("513"), file(0)], Class::Malformed, "tar member (byte 0x800): needs 513"),
        (&[two("size=1", "size=1"), file(0)], Class::Malformed, "two sizes"),
        (&[size("1"), size("1"), file(0)], Class::Malformed, "two sizes"),
        (&[two("path=a", "path=pickle"), file(0)], Class::Malformed, "two long names"),
        (
            &[extended(b'x', &record("path=a")), extended(b'L', b"b\0"), file(0)],
            Class::Malformed,
            "two long names",
        ),
        (&[extended(b'g', &record("size=0")), file(0)], Class::Malformed, "for all members"),
        (&[extended(b'g', &record("path=a")), file(0)], Class::Malformed, "for all members"),
        (&[extended(b'x', b"8 size=0\n"), file(0)], Class::Malformed, form),
        (&[extended(b'x', b"99 size=0\n"), file(0)], Class::Malformed, form),
        (&[extended(b'x', b"0 size=0\n"), file(0)], Class::Malformed, form),
        (&[extended(b'x', b"size=0\n"), file(0)], Class::Malformed, form),
        (&[extended(b'x', b"9 remark\n"), file(0)], Class::Malformed, form),
        (&[size("0")], Class::Malformed, "no member follows its records"),
        (
            &[extended(b'x', &record("GNU.sparse.major=1")), file(0)],
            Class::Unsupported,
            "a file with holes",
        ),
        (&[extended(b'x', &record(&"a=".repeat(40_000)))], Class::Limit, "extended header"),
        (&[header("records", b'x', &octal(1 << 30))], Class::Limit, "extended header"),
        (&[header("pickle", b'2', &octal(0))], Class::Malformed, "a member that is no file"),
        (&[base_256([0xff; 12])], Class::Malformed, "neither an octal number"),
        (&[base_256(*b"\x80\0\0\x01\0\0\0\0\0\0\0\0")], Class::Malformed, "neither an octal"),
        (&[base_256(*b"\x80\0\0\0\xff\0\0\0\0\0\0\0")], Class::Malformed, "tar member"),
    ];
    for (parts, class, words) in cases {
        let mut bytes = header("sys_info", b'0', &octal(0));
        parts.iter().for_each(|part| bytes.extend(part));
        bytes.extend([0; 512]);
        let error = read(&bytes).expect_err(words);
        assert!(error.class() == *class && error.to_string().contains(words), "{words}: {error}");
    }
}

/// What stands before a name is part of it.
#[test]
fn a_member_in_a_folder_is_none_of_the_root() {
    let mut block = header("sys_info", b'0', &octal(0));
    assert!(torch::probe(&block, &block));
    block[345] = b'a';
    let sum = u32::from_str_radix(std::str::from_utf8(&block[148..154]).unwrap(), 8).unwrap();
    block[148..154].copy_from_slice(format!("{:06o}", sum + u32::from(b'a')).as_bytes());
    assert!(!torch::probe(&block, &block));
}
