//! What is planned is what is read: shapes, types, places, checksums, and files beyond 4 GiB.

use std::io;

use torch::{Dtype, Entry, Options, Plan, crc32};
use wire::ReadAt;

use crate::golden::elements;
use crate::read;

const DTYPES: &[Dtype] = &[
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::Bf16,
    Dtype::F8E4M3Fn,
    Dtype::F8E5M2,
    Dtype::F8E4M3Fnuz,
    Dtype::F8E5M2Fnuz,
    Dtype::F8E8M0Fnu,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U64,
    Dtype::U32,
    Dtype::U16,
    Dtype::U8,
    Dtype::Bool,
];

fn entry(name: &str, dtype: Dtype, shape: &[u64], storage: usize) -> Entry {
    Entry { name: name.to_owned(), dtype, shape: shape.to_vec(), storage }
}

/// The file of a plan, its storages filled with bytes that follow from their place.
fn build(plan: &Plan) -> Vec<u8> {
    let at = |offset: u64| usize::try_from(offset).unwrap();
    let mut file = vec![0xEE; at(plan.len)];
    for (offset, bytes) in &plan.headers {
        file[at(*offset)..][..bytes.len()].copy_from_slice(bytes);
    }
    for range in &plan.tensors {
        let (start, end) = (at(range.start), at(range.end));
        for (place, byte) in (start..).zip(&mut file[start..end]) {
            *byte = (place * 7 % 251) as u8;
        }
    }
    for (offset, of) in &plan.sums {
        let sum = crc32(&file, of.start, of.end - of.start).unwrap();
        file[at(*offset)..][..4].copy_from_slice(&sum.to_le_bytes());
    }
    file
}

#[test]
fn every_type_and_shape_is_read_back() {
    let mut entries = Vec::new();
    for (i, &dtype) in DTYPES.iter().enumerate() {
        let shapes: [&[u64]; 5] = [&[], &[3], &[2, 0, 5], &[300, 2], &[1, 70_000, 1]];
        for (k, shape) in shapes.into_iter().enumerate() {
            entries.push(entry(&format!("{}.{k} ä", dtype.name()), dtype, shape, i * 5 + k));
        }
    }
    let plan = Plan::new(&entries).unwrap();
    let file = build(&plan);
    let checkpoint = read(&file).unwrap();
    checkpoint.verify(&file).unwrap();
    assert_eq!(checkpoint.notes, [""; 0]);
    assert_eq!(checkpoint.tensors.len(), entries.len());
    for ((tensor, entry), range) in checkpoint.tensors.iter().zip(&entries).zip(&plan.tensors) {
        assert_eq!(
            (&tensor.name, tensor.dtype, &tensor.shape),
            (&entry.name, entry.dtype, &entry.shape)
        );
        assert_eq!(tensor.contiguous(), Some(range.clone()), "{}", tensor.name);
        assert_eq!(range.start % 64, 0, "{}", tensor.name);
        assert!(tensor.storage.crc.is_some(), "{}", tensor.name);
        if tensor.count() < 1000 {
            let bytes = &file[range.start as usize..range.end as usize];
            assert_eq!(elements(tensor, &file), bytes);
        }
    }
}

#[test]
fn a_shared_storage_is_written_once() {
    let entries = [
        entry("a", Dtype::F32, &[2, 3], 7),
        entry("b", Dtype::F32, &[2, 3], 9),
        entry("c", Dtype::F32, &[2, 3], 7),
        entry("d", Dtype::F32, &[6], 7),
    ];
    let plan = Plan::new(&entries).unwrap();
    let checkpoint = read(&build(&plan)).unwrap();
    let same: Vec<_> = checkpoint.tensors.iter().map(|tensor| tensor.same_as).collect();
    assert_eq!(same, [None, None, Some(0), None]);
    assert_eq!(checkpoint.storages.len(), 2);
    assert_eq!(plan.sums.len(), 4);
}

#[test]
fn what_no_reader_could_tell_apart_is_refused() {
    let a = || entry("a", Dtype::F32, &[2], 0);
    let bad = [
        (entry("a", Dtype::F32, &[2], 1), "another tensor has this name"),
        (entry("b", Dtype::I32, &[2], 0), "shares a storage of another type or length"),
        (entry("b", Dtype::F32, &[3], 0), "shares a storage of another type or length"),
        (entry("b", Dtype::F32, &[1 << 40, 1 << 22], 1), "does not fit in 63 bits"),
    ];
    for (entry, words) in bad {
        let error = Plan::new(&[a(), entry]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// A planned file without the memory that it would take: zeros where the data would be.
struct Sparse(Plan);

impl ReadAt for Sparse {
    fn size(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let end = offset + into.len() as u64;
        let first = self.0.headers.partition_point(|(start, _)| *start <= offset);
        for (start, bytes) in &self.0.headers[first.saturating_sub(1)..] {
            if *start >= end {
                break;
            }
            let (from, to) = (offset.max(*start), end.min(start + bytes.len() as u64));
            if from < to {
                let piece = &bytes[(from - start) as usize..(to - start) as usize];
                into[(from - offset) as usize..(to - offset) as usize].copy_from_slice(piece);
            }
        }
        Ok(())
    }
}

/// Sizes and offsets above 32 bits, and more entries than 16 bits count.
#[test]
fn large_files_are_read_back() {
    let large = [
        entry("before", Dtype::U8, &[5], 0),
        entry("large", Dtype::F32, &[3, 1 << 30], 1),
        entry("exact", Dtype::U8, &[0xFFFF_FFFF], 2),
        entry("after", Dtype::I64, &[7], 3),
        entry("very large", Dtype::U64, &[1 << 50], 4),
    ];
    let many: Vec<Entry> =
        (0..65_532).map(|i| entry(&format!("t{i}"), Dtype::Bool, &[1], i)).collect();
    for entries in [large.as_slice(), &many, &many[1..]] {
        let plan = Plan::new(entries).unwrap();
        let ranges = plan.tensors.clone();
        let checkpoint = torch::read(&Sparse(plan), &Options::default()).unwrap();
        let places = checkpoint.tensors.iter().map(|tensor| tensor.contiguous().unwrap());
        assert!(places.eq(ranges));
    }
}

#[test]
fn the_plan_has_no_holes() {
    let entries = [entry("a", Dtype::F16, &[3, 3], 0), entry("b", Dtype::Bool, &[0], 1)];
    let plan = Plan::new(&entries).unwrap();
    let headers = plan.headers.iter().map(|(at, bytes)| *at..at + bytes.len() as u64);
    let sums = plan.sums.iter().map(|(at, _)| *at..at + 4);
    let mut all: Vec<_> = headers.chain(sums).chain(plan.tensors).collect();
    all.sort_by_key(|range| (range.start, range.end));
    assert_eq!(all.first().unwrap().start, 0);
    assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(all.last().unwrap().end, plan.len);
}
