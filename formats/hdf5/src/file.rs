//! The whole file: every group and dataset under its path.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::{Error, ReadAt, Result, Why};

use crate::attribute::{self, Attribute};
use crate::dataset::{self, Dataset};
use crate::fields::Image;
use crate::group::{self, Link, Target};
use crate::header;
use crate::limits::{Limits, SOFT_LINKS_MAX};
use crate::superblock::Superblock;

/// What a path leads to.
#[derive(Debug, Clone)]
pub enum Object {
    /// A group, and its attributes.
    Group(Vec<Attribute>),
    /// An array.
    Dataset(Arc<Dataset>),
}

/// All that a file holds.
#[derive(Debug, Clone)]
pub struct File {
    /// The version of its superblock.
    pub version: u8,
    /// Groups and datasets by path: `a/b/c`. The root is the empty path.
    pub objects: BTreeMap<String, Object>,
    /// What is odd about the file, by path.
    pub notes: Vec<(String, String)>,
}

impl File {
    /// The attribute of a group or dataset.
    pub fn attribute(&self, path: &str, name: &str) -> Option<&Attribute> {
        let attributes = match self.objects.get(path)? {
            Object::Group(attributes) => attributes,
            Object::Dataset(dataset) => &dataset.attributes,
        };
        attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The datasets with their paths.
    pub fn datasets(&self) -> impl Iterator<Item = (&str, &Arc<Dataset>)> {
        self.objects.iter().filter_map(|(path, object)| match object {
            Object::Dataset(dataset) => Some((path.as_str(), dataset)),
            Object::Group(_) => None,
        })
    }
}

/// Reads every header of a file; of the data, only the places.
///
/// # Errors
/// - `Truncated`, `Invalid`, `Mismatch`, `Unknown`: the file breaks the format.
/// - `TooLarge`: a limit was passed.
/// - `Unsupported`: links into other files, and what readers must know and this one does not.
/// - `Io`: reading failed.
pub fn open(source: &dyn ReadAt, limits: &Limits) -> Result<File> {
    let superblock = Superblock::read(source, limits.block)?;
    let mut walk = Walk {
        image: superblock.image,
        limits: *limits,
        room: limits.objects,
        groups: BTreeMap::new(),
        datasets: BTreeMap::new(),
        soft: Vec::new(),
        file: File { version: superblock.version, objects: BTreeMap::new(), notes: Vec::new() },
    };
    let mut open = vec![(String::new(), superblock.root, 0)];
    while let Some((path, address, depth)) = open.pop() {
        let links = walk.object(&path, address, depth).map_err(|error| named(error, &path))?;
        for (link, address) in links {
            open.push((join(&path, &link), address, depth.saturating_add(1)));
        }
    }
    if !matches!(walk.file.objects.get(""), Some(Object::Group(_))) {
        let at = superblock.image.base.saturating_add(superblock.root);
        return Err(Error::invalid(at, "root", "is no group"));
    }
    walk.follow()?;
    Ok(walk.file)
}

struct Walk<'a> {
    image: Image<'a>,
    limits: Limits,
    /// Links that may still be read.
    room: u64,
    /// Groups that were read, by address.
    groups: BTreeMap<u64, String>,
    datasets: BTreeMap<u64, Arc<Dataset>>,
    /// Soft links: where they are, where they lead, and the place of that statement.
    soft: Vec<(String, String, u64)>,
    file: File,
}

impl Walk<'_> {
    /// Reads what lies at an address; returns the hard links of a group.
    fn object(&mut self, path: &str, address: u64, depth: u64) -> Result<Vec<(String, u64)>> {
        if let Some(known) = self.datasets.get(&address) {
            let object = Object::Dataset(Arc::clone(known));
            return self.put(path, address, object).map(|()| Vec::new());
        }
        if let Some(known) = self.groups.get(&address).cloned() {
            return self.again(path, &known, address).map(|()| Vec::new());
        }
        let messages = header::read(&self.image, address)?;
        if let Some(dataset) = dataset::read(&self.image, address, &messages, &self.limits)? {
            let dataset = Arc::new(dataset);
            self.datasets.insert(address, Arc::clone(&dataset));
            return self.put(path, address, Object::Dataset(dataset)).map(|()| Vec::new());
        }
        if !group::is_group(&messages) {
            // A committed datatype: those who use it have read it.
            return Ok(Vec::new());
        }
        if depth > self.limits.depth {
            let why = Why::TooLarge { value: depth, max: self.limits.depth, lift: "hdf5-depth" };
            let at = self.image.base.saturating_add(address);
            return Err(Error::new(at, "groups within groups", why));
        }
        self.groups.insert(address, path.to_owned());
        let attributes = attribute::all(&self.image, &messages)?;
        self.put(path, address, Object::Group(attributes))?;
        let links = group::links(&self.image, &messages, self.room)?;
        self.room = self.room.saturating_sub(links.len() as u64);
        let mut hard = Vec::new();
        for Link { name, target, offset } in links {
            match target {
                Target::Object(address) => hard.push((name, address)),
                Target::Path(to) => self.soft.push((join(path, &name), to, offset)),
            }
        }
        Ok(hard)
    }

    fn put(&mut self, path: &str, address: u64, object: Object) -> Result<()> {
        match self.file.objects.insert(path.to_owned(), object) {
            None => Ok(()),
            Some(_) => {
                let at = self.image.base.saturating_add(address);
                Err(Error::invalid(at, "link", "stands twice in its group"))
            }
        }
    }

    /// A group that has another name already: read once, unless it holds itself.
    fn again(&mut self, path: &str, known: &str, address: u64) -> Result<()> {
        let inside =
            path.strip_prefix(known).is_some_and(|r| known.is_empty() || r.starts_with('/'));
        if inside {
            let at = self.image.base.saturating_add(address);
            return Err(Error::invalid(at, "link", format!("leads back to its own '/{known}'")));
        }
        self.file
            .notes
            .push((path.to_owned(), format!("the group '{known}' once more: read once")));
        Ok(())
    }

    /// Gives what soft links lead to their names, too.
    fn follow(&mut self) -> Result<()> {
        let soft: BTreeMap<&str, &str> =
            self.soft.iter().map(|(path, to, _)| (path.as_str(), to.as_str())).collect();
        let mut aliases = Vec::new();
        for (path, _, offset) in &self.soft {
            let end = resolve(path, &soft);
            let end =
                end.map_err(|rule| named(Error::invalid(*offset, "soft link", rule), path))?;
            match self.file.objects.get(&end) {
                Some(Object::Dataset(dataset)) => aliases.push((path.clone(), Arc::clone(dataset))),
                Some(Object::Group(_)) => {
                    let text = format!("a link to the group '{end}': read once");
                    self.file.notes.push((path.clone(), text));
                }
                None => {
                    let text = format!("a link to '{end}', which is not there: left out");
                    self.file.notes.push((path.clone(), text));
                }
            }
        }
        for (path, dataset) in aliases {
            self.file.objects.insert(path, Object::Dataset(dataset));
        }
        Ok(())
    }
}

/// Where a path leads once every soft link on it is followed.
fn resolve(path: &str, soft: &BTreeMap<&str, &str>) -> std::result::Result<String, String> {
    let mut rest: Vec<String> = parts(path);
    let mut end = String::new();
    let mut followed = 0usize;
    while let Some(part) = rest.pop() {
        let next = join(&end, &part);
        let Some(to) = soft.get(next.as_str()) else {
            end = next;
            continue;
        };
        followed = followed.saturating_add(1);
        if followed > SOFT_LINKS_MAX {
            return Err(format!("more than {SOFT_LINKS_MAX} links to follow: they go in a circle"));
        }
        if to.starts_with('/') {
            end.clear();
        }
        rest.extend(parts(to));
    }
    Ok(end)
}

/// The names of a path, the last one first.
fn parts(path: &str) -> Vec<String> {
    let names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.rev().map(str::to_owned).collect()
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

/// The same error, said of an object.
fn named(mut error: Error, path: &str) -> Error {
    error.what = format!("'/{path}': {}", error.what).into();
    error
}
