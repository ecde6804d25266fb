//! What h5py wrote, read as h5py reads it; and files that are damaged.
//! `fixtures/make/hdf5.py` wrote both the files and what is expected.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hdf5::{Class, Dataset, File, Limits, Object, Storage, open};
use wire::Endian;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/hdf5")
}

/// The name that NumPy has for a type, where h5py gives elements as they are stored.
fn kind(datatype: &hdf5::Datatype) -> String {
    let order = |endian: Endian| match endian {
        _ if datatype.size == 1 => '|',
        Endian::Little => '<',
        Endian::Big => '>',
    };
    match &datatype.class {
        Class::Integer { signed, endian } => {
            format!("{}{}{}", order(*endian), if *signed { 'i' } else { 'u' }, datatype.size)
        }
        Class::Float(_, endian) => format!("{}f{}", order(*endian), datatype.size),
        Class::Text => format!("|S{}", datatype.size),
        Class::Opaque => format!("|V{}", datatype.size),
        Class::Enumeration(..) => "bool".into(),
        Class::Compound(members) if members.iter().map(|m| &*m.name).eq(["r", "i"]) => {
            format!("<c{}", datatype.size)
        }
        Class::Compound(_) => format!("|V{}", datatype.size),
        _ => "object".into(),
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = zip::Crc32::default();
    crc.update(bytes);
    crc.value()
}

/// All elements as they are stored.
fn elements(bytes: &[u8], dataset: &Dataset) -> Option<Vec<u8>> {
    let mut out = vec![0xaa; (dataset.count() * dataset.datatype.size) as usize];
    match &dataset.storage {
        Storage::Place(at) => out.copy_from_slice(&bytes[at.start as usize..at.end as usize]),
        Storage::Refused(_) => return None,
        Storage::Nowhere => {
            dataset.gather(0..dataset.count(), &mut out, &mut |_| panic!("none")).ok()?
        }
        Storage::Chunks(chunks) => {
            let mut fetch = |chunk: &hdf5::Chunk| Ok(Arc::new(chunks.decode(&bytes, chunk)?));
            dataset.gather(0..dataset.count(), &mut out, &mut fetch).ok()?;
        }
    }
    Some(out)
}

/// The lines of a golden text.
fn lines(bytes: &[u8], file: &File) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, object) in &file.objects {
        let attributes = match object {
            Object::Group(attributes) => attributes,
            Object::Dataset(dataset) => {
                let kind = kind(&dataset.datatype);
                lines.push(match &dataset.shape {
                    None => format!("{path} {kind} null"),
                    Some(shape) if kind == "object" => format!("{path} object {shape:?}"),
                    Some(shape) => {
                        let elements = elements(bytes, dataset).expect("elements");
                        format!("{path} {kind} {shape:?} {:#010x}", crc(&elements))
                    }
                });
                &dataset.attributes
            }
        };
        for attribute in attributes {
            let texts = attribute.texts.as_ref().filter(|texts| !texts.is_empty());
            if let Some(texts) = texts.filter(|_| !path.is_empty()) {
                let sum = crc(texts.join("\n").as_bytes());
                lines.push(format!("{path} @{} {sum:#010x}", attribute.name));
            }
        }
    }
    lines.sort();
    lines
}

fn check(path: &Path, golden: &str) -> usize {
    let bytes = std::fs::read(path).expect("a file");
    let file =
        open(&bytes, &Limits::default()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let found = lines(&bytes, &file);
    let expected: Vec<&str> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    for line in &found {
        // h5py cannot say the shape of references and the like as text of attributes.
        let is_known = expected.contains(&line.as_str()) || line.contains(" @");
        assert!(is_known, "{}: {line}", path.display());
    }
    for line in &expected {
        assert!(found.iter().any(|found| found == line), "{}: {line}", path.display());
    }
    expected.len()
}

#[test]
fn files_of_h5py() {
    for (name, count) in [("old", 159), ("new", 159), ("behind", 1)] {
        let path = folder().join(name).with_extension("h5");
        let golden = std::fs::read_to_string(path.with_extension("golden")).expect("a golden");
        assert_eq!(check(&path, &golden), count, "{name}");
    }
}

/// The files of pyfive, which lie beside the repository.
#[test]
fn the_corpus() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    let corpora = std::env::var_os("REMOLD_CORPORA").map_or(beside, PathBuf::from);
    let corpus = corpora.join("pyfive-hdf5");
    if !corpus.is_dir() {
        eprintln!("absent, not tested: {}", corpus.display());
        return;
    }
    let golden = std::fs::read_to_string(folder().join("corpus.golden")).expect("a golden");
    let files = golden.split("# ").skip(1).map(|file| {
        let (name, lines) = file.split_once('\n').expect("a name, then lines");
        check(&corpus.join(name), lines)
    });
    let counts: Vec<usize> = files.collect();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (17, 72));
}

#[test]
fn oddities_are_noted() {
    let bytes = std::fs::read(folder().join("new.h5")).expect("a file");
    let file = open(&bytes, &Limits::default()).expect("a good file");
    let noted: Vec<&str> = file.notes.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(noted, ["names/dangling", "names/group"]);
    let text = |name| file.attribute("attributes", name).and_then(|a| a.texts.clone());
    assert_eq!(text("texts"), Some(vec!["a".into(), "bc".into(), String::new()]));
    assert_eq!(text("long").map(|texts| texts[0].len()), Some(70_000));
    assert_eq!(text("number"), None);
}

/// A range of elements is that range of all elements, wherever it begins.
#[test]
fn ranges_are_gathered() {
    let bytes = std::fs::read(folder().join("new.h5")).expect("a file");
    let file = open(&bytes, &Limits::default()).expect("a good file");
    let mut seen = 0;
    for name in ["edges", "all", "holes", "grows_inside", "grows_both", "unwritten"] {
        let path = format!("storage/{name}");
        let (_, dataset) = file.datasets().find(|(known, _)| *known == path).expect("there");
        let whole = elements(&bytes, dataset).expect("elements");
        let size = dataset.datatype.size as usize;
        for from in (0..dataset.count()).step_by(5) {
            let to = (from + 11).min(dataset.count());
            let mut part = vec![0; (to - from) as usize * size];
            let mut fetch = |chunk: &hdf5::Chunk| match &dataset.storage {
                Storage::Chunks(chunks) => Ok(Arc::new(chunks.decode(&bytes, chunk)?)),
                _ => panic!("no chunks"),
            };
            dataset.gather(from..to, &mut part, &mut fetch).expect("a range");
            assert_eq!(part, whole[from as usize * size..to as usize * size], "{name} {from}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

/// What a reader does with a whole file: every header, every element.
fn read(bytes: &[u8]) -> Option<Vec<u32>> {
    let file = open(&bytes, &Limits::default()).ok()?;
    let mut all = Vec::new();
    for (_, dataset) in file.datasets().filter(|(_, dataset)| dataset.count() < 1 << 16) {
        all.extend(elements(bytes, dataset).map(|bytes| crc(&bytes)));
    }
    Some(all)
}

/// No prefix and no single flipped bit of a good file may panic or hang.
#[test]
fn damage_is_survived() {
    for name in ["old", "new"] {
        let good = std::fs::read(folder().join(name).with_extension("h5")).expect("a file");
        assert!(read(&good).is_some());
        for len in (0..good.len()).step_by(good.len() / 400) {
            let cut = good[..len].to_vec();
            assert!(open(&cut, &Limits::default()).is_err(), "{name} cut at {len}");
        }
        let mut refused = 0;
        for no in 0..1000usize {
            let bit = no.wrapping_mul(2_654_435_761) % (good.len() * 8);
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refused += usize::from(read(&bad).is_none());
        }
        assert!(refused > 50, "{name}: {refused}");
    }
}
