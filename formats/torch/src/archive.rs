//! Checkpoints in a zip archive: `torch.save` since 1.6, and TorchScript.
//!
//! ```text
//!  NAME/data.pkl        the value, with a key where each storage belongs
//!  NAME/data/KEY        the bytes of a storage
//!  NAME/byteorder       "little" or "big"; absent before 2.1
//!  NAME/version         of the layout
//!  NAME/constants.pkl   TorchScript: tensors that the code refers to, with NAME/constants/KEY
//!  NAME/code/…          TorchScript: source text, never looked at
//! ```
//!
//! Source: `torch/serialization.py` and `caffe2/serialize/inline_container.cc` of PyTorch 2.

use std::sync::Arc;

use wire::{Cursor, Endian, Error, ReadAt, Result, Why};

use crate::crc::crc32;
use crate::text::quoted;
use crate::value::{Pickle, Stated};
use crate::zip::{Archive, Entry, Method};
use crate::{Checkpoint, Options, Storage, names, pickle, plan};

/// Pickles that may stand beside `data.pkl`; of these only the constants are read.
const PICKLES: &[&str] = &["data.pkl", "constants.pkl", "bytecode.pkl", "mobile_debug_handles.pkl"];

pub(crate) fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let archive = Archive::open(source)?;
    let root = root(&archive)?;
    let reader = Reader { source, options, archive: &archive, root };
    let mut checkpoint = Checkpoint {
        tensors: Vec::new(),
        refused: Vec::new(),
        storages: Vec::new(),
        notes: Vec::new(),
        byteorder: reader.byteorder()?,
    };
    reader.part(&mut checkpoint, Part { pickle: "data.pkl", storages: "data", prefix: "" })?;
    // The code of the archive calls them CONSTANTS.c0, CONSTANTS.c1 and so on.
    let constants = Part { pickle: "constants.pkl", storages: "constants", prefix: "CONSTANTS.c" };
    if archive.get(&format!("{root}/constants.pkl")).is_some() {
        reader.part(&mut checkpoint, constants)?;
    }
    let unsummed = checkpoint.storages.iter().filter(|storage| storage.crc.is_none()).count();
    if unsummed > 0 {
        let note = format!("{unsummed} storages state no checksum (0), so damage would not show");
        checkpoint.notes.push(note);
    }
    Ok(checkpoint)
}

/// The directory that all entries share, which holds the one `data.pkl`.
pub(crate) fn root(archive: &Archive) -> Result<&str> {
    let what = "PyTorch archive";
    let mut roots = archive.entries.iter().filter_map(|e| e.name.strip_suffix("/data.pkl"));
    let Some(root) = roots.next().filter(|root| !root.contains('/')) else {
        let rule = "no entry is called NAME/data.pkl: a zip, but not a PyTorch checkpoint";
        return Err(Error::invalid(0, what, rule));
    };
    for entry in &archive.entries {
        let rest = entry.name.strip_prefix(root).and_then(|rest| rest.strip_prefix('/'));
        let rule = match rest {
            None => format!("entry {} is outside {}", quoted(&entry.name), quoted(root)),
            Some(rest) if rest.ends_with(".pkl") && !PICKLES.contains(&rest) => {
                format!("entry {} is a pickle beside data.pkl", quoted(&entry.name))
            }
            Some(_) => continue,
        };
        return Err(Error::invalid(entry.header, what, rule));
    }
    Ok(root)
}

/// One pickle of the archive, and where its storages are.
struct Part {
    pickle: &'static str,
    storages: &'static str,
    /// What names begin with.
    prefix: &'static str,
}

struct Reader<'a> {
    source: &'a dyn ReadAt,
    options: &'a Options,
    archive: &'a Archive,
    root: &'a str,
}

impl Reader<'_> {
    fn part(&self, checkpoint: &mut Checkpoint, part: Part) -> Result<()> {
        let name = format!("{}/{}", self.root, part.pickle);
        let missing = || Error::invalid(0, format!("entry {}", quoted(&name)), "is missing");
        let entry = self.archive.get(&name).ok_or_else(missing)?;
        self.stored(entry)?;
        if let Some(note) = self.intact(entry)? {
            checkpoint.notes.push(note);
        }
        let pickle = self.pickle(entry)?;
        // Constants without tensors are common: an empty tuple.
        let storages = pickle.storages.iter().map(|stated| self.storage(&part, stated));
        let storages = storages.collect::<Result<Vec<_>>>()?;
        let named = names::name(&pickle, part.prefix)?;
        plan::add(checkpoint, &pickle, &storages, named)?;
        checkpoint.storages.extend(storages);
        Ok(())
    }

    fn pickle(&self, entry: &Entry) -> Result<Pickle> {
        let mut c = Cursor::new(self.source);
        c.seek(entry.offset);
        let end = entry.offset.saturating_add(entry.len);
        let pickle = pickle::read(&mut c, end, self.options)?;
        if c.offset() != end {
            let rule = format!("{} bytes follow its STOP", end.saturating_sub(c.offset()));
            let what = format!("entry {}", quoted(&entry.name));
            return Err(Error::invalid(c.offset(), what, rule));
        }
        Ok(pickle)
    }

    fn storage(&self, part: &Part, stated: &Stated) -> Result<Arc<Storage>> {
        let what = format!("storage {}", quoted(&stated.key));
        if stated.part.is_some() {
            let rule = "is stated as a view, which only files before 1.6 have";
            return Err(Error::invalid(stated.at, what, rule));
        }
        let Some(len) = stated.count.checked_mul(stated.element.bytes()) else {
            let rule = format!("its {} elements do not fit in 64 bits", stated.count);
            return Err(Error::invalid(stated.at, what, rule));
        };
        if stated.meta {
            let (key, offset) = (stated.key.clone(), 0);
            return Ok(Arc::new(Storage { key, offset, len: 0, crc: None }));
        }
        let name = format!("{}/{}/{}", self.root, part.storages, stated.key);
        let Some(entry) = self.archive.get(&name) else {
            let rule = format!("its entry {} is missing", quoted(&name));
            return Err(Error::invalid(stated.at, what, rule));
        };
        self.stored(entry)?;
        if entry.len != len {
            let why = Why::Mismatch {
                found: format!("an entry of {} bytes", entry.len),
                expected: format!("{len} bytes for {} elements", stated.count),
            };
            return Err(Error::new(entry.header, what, why));
        }
        // No bytes have the checksum 0; for others it means that none was made.
        let crc = Some(entry.crc).filter(|&crc| crc != 0 || len == 0);
        Ok(Arc::new(Storage { key: stated.key.clone(), offset: entry.offset, len, crc }))
    }

    /// Entries are read in place.
    fn stored(&self, entry: &Entry) -> Result<()> {
        match entry.method {
            Method::Stored => Ok(()),
            Method::Deflated => {
                let what = format!("entry {}", quoted(&entry.name));
                let feature = "it is deflated, which torch never does with data; unzip the \
                               checkpoint and zip it again with the stored method";
                Err(Error::unsupported(entry.header, what, feature))
            }
        }
    }

    /// Compares the checksum; one of 0 is what `set_crc32_options(False)` writes, and is noted.
    fn intact(&self, entry: &Entry) -> Result<Option<String>> {
        let found = crc32(self.source, entry.offset, entry.len)?;
        if found == entry.crc {
            return Ok(None);
        }
        if entry.crc == 0 {
            let name = quoted(&entry.name);
            return Ok(Some(format!("entry {name} states no checksum (0), so it was not checked")));
        }
        let why = Why::Mismatch {
            found: format!("CRC-32 {found:#010x}"),
            expected: format!("{:#010x}: the bytes are damaged", entry.crc),
        };
        Err(Error::new(entry.offset, format!("entry {}", quoted(&entry.name)), why))
    }

    fn byteorder(&self) -> Result<Endian> {
        let Some(entry) = self.archive.get(&format!("{}/byteorder", self.root)) else {
            return Ok(Endian::Little);
        };
        self.stored(entry)?;
        self.intact(entry)?;
        let mut c = Cursor::new(self.source);
        c.seek(entry.offset);
        match c.bytes(entry.len, 16, "length of the byte order", "byteorder")?.as_slice() {
            b"little" => Ok(Endian::Little),
            b"big" => Ok(Endian::Big),
            other => {
                let value = quoted(&String::from_utf8_lossy(other));
                Err(Error::new(entry.offset, "byteorder", Why::Unknown { value }))
            }
        }
    }
}
