//! Which file a name from a file may lead to: one inside the model's own directory.
//!
//! Names come from indexes, manifests and external-data fields, so they are foreign. Symbolic
//! links are walked here, one by one, and nothing is opened before its place is known. One way
//! out of the directory is allowed, because every download cache has it:
//!
//! ```text
//! models--org--name/snapshots/<revision>/model.safetensors -> ../../blobs/<sha256>
//! ```
//!
//! Layout of the cache: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::ir::{Error, Result};

use super::failed;

/// Links in a row: what Linux follows itself (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The parts of a relative name that stays below its directory.
///
/// # Errors
/// Malformed for a name that is empty, absolute, climbs, or is written for another system.
pub(super) fn parts(name: &str) -> Result<Vec<&str>> {
    let bad = |why| Err(Error::malformed(format!("'{name}' cannot name a file of a model: {why}")));
    if name.contains('\0') {
        return bad("it holds NUL");
    }
    if name.contains('\\') {
        return bad("it holds a backslash");
    }
    if name.starts_with('/')
        || matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
    {
        return bad("it is absolute");
    }
    let name = name.strip_prefix("./").unwrap_or(name);
    let parts: Vec<&str> = name.split('/').collect();
    for part in &parts {
        match *part {
            "" => return bad("it is empty or has an empty part"),
            "." => return bad("it names a directory"),
            ".." => return bad("it leads out of the model's directory"),
            _ => {}
        }
    }
    Ok(parts)
}

/// The regular file that `relative` leads to from `root`, with every link followed; nothing if
/// there is none of that name. `root` is a real path, without links.
///
/// # Errors
/// Malformed if a link leads out of the directory or around in a circle, or what is found is not
/// a regular file; Io.
pub(super) fn resolve(root: &Path, relative: &Path) -> Result<Option<PathBuf>> {
    let mut walk = Walk { named: root.join(relative), at: root.to_owned(), links: 0 };
    let mut ahead: Vec<OsString> = relative.iter().rev().map(OsStr::to_owned).collect();
    while let Some(part) = ahead.pop() {
        let meta = match fs::symlink_metadata(walk.at.join(&part)) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(failed(walk.named.display(), error)),
        };
        if meta.is_symlink() {
            ahead.extend(walk.follow(&part)?);
            continue;
        }
        walk.at.push(&part);
        if part == ".." {
            walk.at.pop();
            walk.at.pop();
        }
    }
    if !walk.at.starts_with(root) && cache_blobs(root).as_deref() != walk.at.parent() {
        return Err(walk.leads_out(&walk.at));
    }
    let meta = fs::symlink_metadata(&walk.at).map_err(|e| failed(walk.named.display(), e))?;
    if !meta.is_file() {
        let found = "not a regular file: pipes, devices and directories are not read";
        return Err(Error::malformed(found).at(walk.named.display()));
    }
    Ok(Some(walk.at))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path that is walked link by link.
struct Walk {
    named: PathBuf,
    at: PathBuf,
    links: usize,
}

impl Walk {
    /// The parts of the link's target, last one first.
    fn follow(&mut self, link: &OsStr) -> Result<Vec<OsString>> {
        let link = self.at.join(link);
        let target = fs::read_link(&link).map_err(|e| failed(link.display(), e))?;
        self.links += 1;
        if self.links > LINKS_MAX {
            let found =
                format!("symbolic links lead around in a circle, as to {}", target.display());
            return Err(Error::malformed(found).at(self.named.display()));
        }
        if target.is_absolute() {
            return Err(self.leads_out(&target));
        }
        let parts = target.components().filter(|part| *part != Component::CurDir);
        let mut parts: Vec<OsString> = parts.map(|part| part.as_os_str().to_owned()).collect();
        parts.reverse();
        Ok(parts)
    }

    fn leads_out(&self, target: &Path) -> Error {
        let found = format!(
            "the symbolic link leads out of the model's directory, to {}",
            target.display()
        );
        Error::malformed(format!("{found}; name the target itself if it is trusted"))
            .at(self.named.display())
    }
}

/// The `blobs` directory of the download cache that `root` is a snapshot in.
fn cache_blobs(root: &Path) -> Option<PathBuf> {
    let snapshots = root.ancestors().find(|path| path.file_name() == Some("snapshots".as_ref()))?;
    let repository = snapshots.parent()?;
    let name = repository.file_name()?.as_bytes();
    name.starts_with(b"models--").then(|| repository.join("blobs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Fault;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_that_climb_or_are_foreign_are_refused() {
        let bad = [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "junk/../..",
            "a//b",
            "a/",
            "./",
            "a\\b",
            "..\\x",
            "C:x",
            "c:\\x",
            "a\0b",
            "https://example.org/x",
            "a/./b",
            "./..",
        ];
        for name in bad {
            let error = parts(name).expect_err(name);
            assert_eq!(error.fault, Fault::Malformed, "{error}");
        }
        for name in ["a", "a.safetensors", "./a", "sub/a", "ab:c", "...", "é"] {
            parts(name).expect(name);
        }
    }

    /// A model directory with something to steal beside it.
    fn house() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("model");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("real"), "r").unwrap();
        fs::write(root.join("sub/deep"), "d").unwrap();
        fs::write(dir.path().join("outside"), "o").unwrap();
        (dir, root)
    }

    #[test]
    fn links_that_stay_inside_are_followed() {
        let (_dir, root) = house();
        symlink("real", root.join("a")).unwrap();
        symlink("./sub/../a", root.join("b")).unwrap();
        symlink("../sub/deep", root.join("sub/c")).unwrap();
        symlink("../model/real", root.join("d")).unwrap();
        symlink("sub", root.join("s")).unwrap();
        fs::hard_link(root.join("real"), root.join("hard")).unwrap();
        let leads = [
            ("a", "real"),
            ("b", "real"),
            ("sub/c", "sub/deep"),
            ("d", "real"),
            ("s/deep", "sub/deep"),
            ("hard", "hard"),
        ];
        for (name, to) in leads {
            let found = resolve(&root, Path::new(name)).expect(name);
            assert_eq!(found, Some(root.join(to)), "{name}");
        }
        assert_eq!(resolve(&root, Path::new("absent")).unwrap(), None);
        assert_eq!(resolve(&root, Path::new("sub/absent")).unwrap(), None);
    }

    #[test]
    fn links_that_lead_out_or_around_are_refused_naming_both() {
        let (_dir, root) = house();
        let links = [
            ("passwd", "/etc/passwd"),
            ("up", "../outside"),
            ("loop", "loop"),
            ("l1", "l2"),
            ("l2", "l1"),
            ("dir", ".."),
            ("zero", "/dev/zero"),
            ("self", "."),
        ];
        for (link, target) in links {
            symlink(target, root.join(link)).unwrap();
        }
        let asked = ["passwd", "up", "loop", "l1", "dir/outside", "zero", "self", "self/sub"];
        for name in asked {
            let error = resolve(&root, Path::new(name)).expect_err(name);
            assert_eq!(error.fault, Fault::Malformed, "{error}");
            assert!(error.to_string().contains(&format!("model/{name}")), "{error}");
        }
        let error = resolve(&root, Path::new("passwd")).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd"), "{error}");
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        let (_dir, root) = house();
        let fifo = root.join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        for name in ["fifo", "sub"] {
            let error = resolve(&root, Path::new(name)).expect_err(name).to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }

    #[test]
    fn the_download_cache_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let repository = dir.path().canonicalize().unwrap().join("models--a--b");
        let root = repository.join("snapshots/0123");
        fs::create_dir_all(root.join("onnx")).unwrap();
        fs::create_dir_all(repository.join("blobs")).unwrap();
        fs::write(repository.join("blobs/abc"), "b").unwrap();
        fs::write(repository.join("secret"), "s").unwrap();
        symlink("../../blobs/abc", root.join("m")).unwrap();
        symlink("../../../blobs/abc", root.join("onnx/m")).unwrap();
        symlink("../../secret", root.join("bad")).unwrap();
        let blob = Some(repository.join("blobs/abc"));
        assert_eq!(resolve(&root, Path::new("m")).unwrap(), blob);
        assert_eq!(resolve(&root, Path::new("onnx/m")).unwrap(), blob);
        assert_eq!(resolve(&root.join("onnx"), Path::new("m")).unwrap(), blob);
        assert!(resolve(&root, Path::new("bad")).is_err());
    }
}
