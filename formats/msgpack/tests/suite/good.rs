//! What Flax wrote reads as Flax says, and is written again bit by bit.

use msgpack::{CHUNK, Entry, Plan, Tree};

use crate::read;

#[test]
fn files_hold_the_arrays_that_flax_restores() {
    let mut seen = 0;
    for file in testing::files(testing::fixtures("flax"), "msgpack") {
        let Ok(golden) = std::fs::read_to_string(file.with_extension("golden")) else { continue };
        let bytes = std::fs::read(&file).unwrap();
        assert!(msgpack::probe(&bytes), "{}", file.display());
        let tree = read(&bytes).unwrap();
        for line in golden.lines() {
            let (rest, name) = line.rsplit_once(' ').unwrap();
            let (_, shape) = rest.rsplit_once(' ').unwrap().0.split_once(' ').unwrap();
            let array = tree.arrays.iter().find(|array| array.name == name).expect(name);
            assert_eq!(format!("{:?}", array.shape), shape, "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 43);
}

/// The tree as the writer wants it.
fn entries(tree: &Tree) -> Vec<Entry> {
    let entry = |array: &msgpack::Array| Entry {
        name: array.name.clone(),
        dtype: array.dtype,
        shape: array.shape.clone(),
    };
    tree.arrays.iter().map(entry).collect()
}

/// The bytes of a plan, its elements from the file that the tree was read from.
fn filled(plan: &Plan, tree: &Tree, from: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plan.len as usize];
    let mut known = 0;
    for (at, bytes) in &plan.headers {
        out[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
        known += bytes.len();
    }
    for (array, places) in tree.arrays.iter().zip(&plan.pieces) {
        let elements: Vec<u8> = array
            .pieces
            .iter()
            .flat_map(|piece| &from[piece.start as usize..piece.end as usize])
            .copied()
            .collect();
        let mut rest = &elements[..];
        for place in places {
            let (now, later) = rest.split_at((place.end - place.start) as usize);
            out[place.start as usize..place.end as usize].copy_from_slice(now);
            (rest, known) = (later, known + now.len());
        }
        assert!(rest.is_empty());
    }
    assert_eq!(known, out.len(), "every byte is planned once");
    out
}

/// Flax sorts the keys of a tree, as we do: so its bytes are ours, pieces or none.
#[test]
fn files_are_written_as_flax_writes_them() {
    for (name, chunk) in [("network", CHUNK), ("chunked", 100)] {
        let bytes = std::fs::read(testing::fixtures(format!("flax/{name}.msgpack"))).unwrap();
        let tree = read(&bytes).unwrap();
        let plan = Plan::new(&entries(&tree), chunk).unwrap();
        assert!(filled(&plan, &tree, &bytes) == bytes, "{name}");
    }
    // Scalars of NumPy's become arrays without dimensions; else the same.
    let bytes = std::fs::read(testing::fixtures("flax/types.msgpack")).unwrap();
    let tree = read(&bytes).unwrap();
    let plan = Plan::new(&entries(&tree), CHUNK).unwrap();
    let again = filled(&plan, &tree, &bytes);
    let scalar = |bytes: &[u8]| bytes.windows(2).filter(|w| matches!(w, [_, 3])).count();
    assert_eq!(again.len(), bytes.len());
    let differing = again.iter().zip(&bytes).filter(|(a, b)| a != b).count();
    assert_eq!((differing, scalar(&bytes) > scalar(&again)), (2, true));
}

#[test]
fn large_arrays_are_in_pieces_and_lengths_of_every_size_are_read_again() {
    let entry = |name: &str, shape: &[u64]| Entry {
        name: name.to_owned(),
        dtype: msgpack::Dtype::F32,
        shape: shape.to_vec(),
    };
    let long = "k".repeat(300);
    let wide: Vec<Entry> = (0..70_000).map(|n| entry(&format!("w/{n}"), &[0])).collect();
    let mut all = vec![entry("a/b/c", &[1 << 20, 640]), entry(&long, &[5_000_000_000, 0])];
    all.extend([entry("d", &[3]), entry("e", &[100]), entry("f", &[20_000])]);
    all.extend(wide);
    let plan = Plan::new(&all, CHUNK).unwrap();
    let lens: Vec<u64> = plan.pieces[0].iter().map(|piece| piece.end - piece.start).collect();
    assert_eq!(lens, [1 << 30, 1 << 30, 1 << 29]);
    let tree = read(&Planned(plan)).unwrap();
    let arrays = tree.arrays.iter().map(|array| (array.name.as_str(), array));
    let arrays: std::collections::BTreeMap<_, _> = arrays.collect();
    for entry in &all {
        assert_eq!(arrays[entry.name.as_str()].shape, entry.shape, "{}", entry.name);
    }
    assert_eq!((tree.arrays.len(), arrays["a/b/c"].pieces.len()), (70_005, 3));
}

/// A plan as a file: what lies between the headers is zero.
struct Planned(Plan);

impl wire::ReadAt for Planned {
    fn size(&self) -> u64 {
        self.0.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(0);
        let end = offset + into.len() as u64;
        let first = self.0.headers.partition_point(|(at, b)| at + b.len() as u64 <= offset);
        for (at, bytes) in self.0.headers[first..].iter().take_while(|(at, _)| *at < end) {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            into[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
        }
        Ok(())
    }
}

#[test]
fn names_that_contradict_each_other_are_refused() {
    let entry = |name: &str| Entry { name: name.into(), dtype: msgpack::Dtype::I8, shape: vec![] };
    for names in [["a", "a/b"], ["a/b", "a"], ["a/b", "a/b"]] {
        let error = Plan::new(&names.map(entry), CHUNK).unwrap_err();
        assert_eq!(error.what, "name");
    }
    Plan::new(&[entry(&"a/".repeat(200))], CHUNK).unwrap_err();
}
