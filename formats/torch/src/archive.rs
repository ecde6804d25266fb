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

use std::io;
use std::sync::Arc;

use wire::{Cursor, Endian, Error, ReadAt, Result, Why};
use zip::{Archive, Deflated, Entry, Method, crc32, quoted};

use crate::export::Export;
use crate::value::{Pickle, Stated};
use crate::{Checkpoint, Options, Storage, Stream, is_zip, names, pickle, plan};

/// Pickles that may stand beside `data.pkl`; of these only the constants are read.
const PICKLES: &[&str] = &["data.pkl", "constants.pkl", "bytecode.pkl", "mobile_debug_handles.pkl"];

/// Reads an archive, or those within one of torch.export.
pub(crate) fn read(source: &dyn ReadAt, options: &Options) -> Result<Checkpoint> {
    let archive = Archive::open(source)?;
    if let Some(export) = Export::find(&archive) {
        let empty = || Error::invalid(0, "archive of torch.export", "it holds no weights");
        return export.read(source, options)?.ok_or_else(empty);
    }
    read_opened(source, &archive, options, Within::File(0))
}

/// Reads an archive that is an entry of another; its places count from the file's begin.
pub(crate) fn read_entry(
    source: &dyn ReadAt,
    entry: &Entry,
    options: &Options,
) -> Result<Checkpoint> {
    if entry.method == Method::Deflated {
        return read_deflated(source, entry, options);
    }
    let window = Window { source, start: entry.offset, len: entry.len };
    let within = Within::File(entry.offset);
    let read = Archive::open(&window).and_then(|a| read_opened(&window, &a, options, within));
    read.map_err(|mut error| {
        error.offset = error.offset.saturating_add(entry.offset);
        error
    })
}

/// Reads an archive that is deflated in another: inflated to see what it holds, and let go of.
fn read_deflated(source: &dyn ReadAt, entry: &Entry, options: &Options) -> Result<Checkpoint> {
    let what = format!("entry {}", quoted(&entry.name));
    if !is_zip(&entry.head(source, 4)?) {
        return Err(Error::invalid(entry.offset, what, "is no checkpoint: it inflates to no zip"));
    }
    let bytes = entry.data(source, options.limits.deflated, "inflated")?;
    let place = entry.offset..entry.offset.saturating_add(entry.len);
    let within = Within::Stream(Stream { place, len: entry.inflated });
    let read = Archive::open(&bytes).and_then(|archive| {
        let checkpoint = read_opened(&bytes, &archive, options, within)?;
        // Their places are those in the inflated bytes.
        for storage in &checkpoint.storages {
            Storage { deflated: None, ..(**storage).clone() }.verify(&bytes)?;
        }
        Ok(checkpoint)
    });
    read.map_err(|error| {
        let (inner, at) = (error.what, error.offset);
        let what = format!("{inner} at byte {at:#x} of what {what} inflates to");
        Error::new(entry.offset, what, error.why)
    })
}

/// A run of a source's bytes.
struct Window<'a> {
    source: &'a dyn ReadAt,
    start: u64,
    len: u64,
}

impl ReadAt for Window<'_> {
    fn size(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let inside = wire::fits(offset, into.len() as u64, self.len);
        let start = self.start.checked_add(offset).filter(|_| inside.is_some());
        self.source.read_at(start.ok_or(io::ErrorKind::UnexpectedEof)?, into)
    }
}

fn read_opened(
    source: &dyn ReadAt,
    archive: &Archive,
    options: &Options,
    within: Within,
) -> Result<Checkpoint> {
    let root = root(archive)?;
    let reader = Reader { source, options, archive, root, within };
    let mut checkpoint = Checkpoint {
        tensors: Vec::new(),
        refused: Vec::new(),
        storages: Vec::new(),
        notes: Vec::new(),
        byteorder: byteorder(source, archive, root, options)?,
    };
    reader.part(&mut checkpoint, Part { pickle: "data.pkl", storages: "data", prefix: "" })?;
    // The code of the archive calls them CONSTANTS.c0, CONSTANTS.c1 and so on.
    let constants = Part { pickle: "constants.pkl", storages: "constants", prefix: "CONSTANTS.c" };
    if archive.get(&format!("{root}/constants.pkl")).is_some() {
        reader.part(&mut checkpoint, constants)?;
    }
    note_unsummed(&mut checkpoint);
    Ok(checkpoint)
}

/// Says how many storages no checksum holds.
pub(crate) fn note_unsummed(checkpoint: &mut Checkpoint) {
    let unsummed = checkpoint.storages.iter().filter(|storage| storage.crc.is_none()).count();
    if unsummed > 0 {
        let note = format!("{unsummed} storages state no checksum (0), so damage would not show");
        checkpoint.notes.push(note);
    }
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
    within: Within,
}

/// Where an archive is.
pub(crate) enum Within {
    /// In the file, from this byte on.
    File(u64),
    /// In what this run of the file stands for.
    Stream(Stream),
}

impl Reader<'_> {
    fn part(&self, checkpoint: &mut Checkpoint, part: Part) -> Result<()> {
        let name = format!("{}/{}", self.root, part.pickle);
        let missing = || Error::invalid(0, format!("entry {}", quoted(&name)), "is missing");
        let data =
            EntryData::of(self.source, self.archive.get(&name).ok_or_else(missing)?, self.options)?;
        if let Some(note) = data.intact()? {
            checkpoint.notes.push(note);
        }
        let pickle = self.pickle(&data)?;
        // Constants without tensors are common: an empty tuple.
        let storages = pickle.storages.iter().map(|stated| self.storage(&part, stated));
        let storages = storages.collect::<Result<Vec<_>>>()?;
        let named = names::name(&pickle, part.prefix)?;
        plan::add(checkpoint, &pickle, &storages, named)?;
        checkpoint.storages.extend(storages);
        Ok(())
    }

    fn pickle(&self, data: &EntryData<'_>) -> Result<Pickle> {
        let (mut c, end) = data.cursor();
        let pickle = pickle::read(&mut c, end, self.options)?;
        if c.offset() != end {
            let rule = format!("{} bytes follow its STOP", end.saturating_sub(c.offset()));
            return Err(Error::invalid(c.offset(), data.what(), rule));
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
            return Ok(Arc::new(Storage { key, offset, len: 0, crc: None, deflated: None }));
        }
        let name = format!("{}/{}/{}", self.root, part.storages, stated.key);
        let Some(entry) = self.archive.get(&name) else {
            let rule = format!("its entry {} is missing", quoted(&name));
            return Err(Error::invalid(stated.at, what, rule));
        };
        if entry.inflated != len {
            let why = Why::Mismatch {
                found: format!("an entry of {} bytes", entry.inflated),
                expected: format!("{len} bytes for {} elements", stated.count),
            };
            return Err(Error::new(entry.header, what, why));
        }
        Ok(Arc::new(storage(&stated.key, entry, &self.within)?))
    }
}

/// A storage whose bytes are an entry of an archive.
pub(crate) fn storage(key: &str, entry: &Entry, within: &Within) -> Result<Storage> {
    let len = entry.inflated;
    // No bytes have the checksum 0; for others it means that none was made.
    let crc = Some(entry.crc).filter(|&crc| crc != 0 || len == 0);
    // Torch stores data; who zips a checkpoint anew deflates it.
    let (offset, deflated) = match (within, entry.method) {
        (Within::File(base), Method::Stored) => (base.saturating_add(entry.offset), None),
        (Within::File(base), Method::Deflated) => {
            let start = base.saturating_add(entry.offset);
            let place = start..start.saturating_add(entry.len);
            (0, Some(Stream { place, len }))
        }
        (Within::Stream(stream), Method::Stored) => (entry.offset, Some(stream.clone())),
        (Within::Stream(_), Method::Deflated) => {
            let (at, what) = (entry.header, format!("entry {}", quoted(&entry.name)));
            return Err(Error::unsupported(at, what, "an entry that is deflated twice"));
        }
    };
    Ok(Storage { key: key.to_owned(), offset, len, crc, deflated })
}

/// The order of the bytes of every element.
pub(crate) fn byteorder(
    source: &dyn ReadAt,
    archive: &Archive,
    root: &str,
    options: &Options,
) -> Result<Endian> {
    let Some(entry) = archive.get(&format!("{root}/byteorder")) else {
        return Ok(Endian::Little);
    };
    let data = EntryData::of(source, entry, options)?;
    data.intact()?;
    let (mut c, _) = data.cursor();
    match c.bytes(entry.inflated, 16, "the longer of its two words has 6", "byteorder")?.as_slice()
    {
        b"little" => Ok(Endian::Little),
        b"big" => Ok(Endian::Big),
        other => {
            let value = quoted(&String::from_utf8_lossy(other));
            Err(Error::new(entry.offset, "byteorder", Why::Unknown { value }))
        }
    }
}

/// The data of one entry: in the file, or inflated.
struct EntryData<'e> {
    source: &'e dyn ReadAt,
    entry: &'e Entry,
    inflated: Option<Vec<u8>>,
}

impl<'e> EntryData<'e> {
    /// The data of an entry that is read as a whole.
    fn of(source: &'e dyn ReadAt, entry: &'e Entry, options: &Options) -> Result<Self> {
        let mut data = EntryData { source, entry, inflated: None };
        if entry.method == Method::Deflated {
            let place = entry.offset..entry.offset.saturating_add(entry.len);
            let (len, what) = (entry.inflated, data.what());
            let stream = Deflated { source, place, len, what };
            data.inflated = Some(stream.all(options.limits.inflated, "pickle-inflated")?);
        }
        Ok(data)
    }

    /// A cursor at the begin of the data, and their end.
    fn cursor(&self) -> (Cursor<'_>, u64) {
        let (mut c, start) = match &self.inflated {
            Some(bytes) => (Cursor::new(bytes), 0),
            None => (Cursor::new(self.source), self.entry.offset),
        };
        c.seek(start);
        (c, start.saturating_add(self.entry.inflated))
    }

    /// Compares the checksum; one of 0 is what `set_crc32_options(False)` writes, and is noted.
    fn intact(&self) -> Result<Option<String>> {
        let entry = self.entry;
        let found = match &self.inflated {
            Some(bytes) => crc32(bytes, 0, entry.inflated)?,
            None => crc32(self.source, entry.offset, entry.len)?,
        };
        if found == entry.crc {
            return Ok(None);
        }
        if entry.crc == 0 {
            let what = self.what();
            return Ok(Some(format!("{what} states no checksum (0), so it was not checked")));
        }
        let why = Why::Mismatch {
            found: format!("CRC-32 {found:#010x}"),
            expected: format!("{:#010x}: the bytes are damaged", entry.crc),
        };
        Err(Error::new(entry.offset, self.what(), why))
    }

    fn what(&self) -> String {
        format!("entry {}", quoted(&self.entry.name))
    }
}
