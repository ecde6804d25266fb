//! Paths that a file states: nothing outside of the model's directory is opened, and nothing is
//! written but the output. `scripts/strace.sh` looks at every call of the system instead.

use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

use crate::program::{BINARY, Dir, finish, fixture, read, remold};

/// A file that nobody may open.
struct Watched(OwnedFd);

impl Watched {
    fn new(path: &Path) -> Self {
        let watch = inotify::init(CreateFlags::NONBLOCK).expect("the system tells");
        inotify::add_watch(&watch, path, WatchFlags::OPEN | WatchFlags::ACCESS).expect("watched");
        Self(watch)
    }

    /// Whether it was opened or read since the last call.
    fn was_opened(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.0, &mut buffer);
        let mut seen = false;
        loop {
            match events.next() {
                Ok(_) => seen = true,
                Err(Errno::AGAIN) => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A directory for a model, and a good file beside it that is watched.
fn beside(name: &str, bytes: &[u8]) -> (Dir, PathBuf, PathBuf, Watched) {
    let dir = Dir::new();
    let (model, outside) = (dir.join("model"), dir.join("outside"));
    fs::create_dir_all(model.join("sub")).and_then(|()| fs::create_dir(&outside)).expect("made");
    let target = outside.join(name);
    fs::write(&target, bytes).expect("written");
    let watched = Watched::new(&target);
    assert!(!watched.was_opened());
    assert!(!read(&target).is_empty() && watched.was_opened(), "the watch tells nothing");
    (dir, model, target, watched)
}

/// Every way to say it: with dots, absolutely, and by links that lie inside.
fn ways(model: &Path, target: &Path) -> Vec<String> {
    let name = target.file_name().expect("a name").to_string_lossy().into_owned();
    symlink(target, model.join(format!("link-{name}"))).expect("a link");
    symlink(target.parent().expect("a directory"), model.join("dir")).expect("a link");
    vec![
        format!("../outside/{name}"),
        format!("sub/../../outside/{name}"),
        format!("./../outside/{name}"),
        target.display().to_string(),
        format!("link-{name}"),
        format!("dir/{name}"),
    ]
}

#[test]
fn shards_outside_are_not_opened() {
    let good = read(fixture("safetensors/shapes.safetensors"));
    let (dir, model, target, watched) = beside("x.safetensors", &good);
    for path in ways(&model, &target) {
        let index = serde_json::json!({"metadata": {}, "weight_map": {"w": path}});
        fs::write(model.join("model.safetensors.index.json"), index.to_string()).expect("written");
        for command in ["inspect", "convert"] {
            let mut arguments = vec![command.into(), model.clone().into_os_string()];
            arguments.extend((command == "convert").then(|| dir.join("out.gguf").into()));
            let error = finish(Command::new(BINARY).args(arguments)).refuses(3);
            assert!(!watched.was_opened(), "{path} was opened: {error}");
        }
    }
}

/// A field of a message: its number and its bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("short");
    let [low, high] = [(len & 127) as u8 | 128, (len >> 7) as u8];
    [&[number << 3 | 2, low, high], bytes].concat()
}

/// An ONNX model whose only weight lies in another file.
fn graph_beside(location: &str) -> Vec<u8> {
    let entry = [field(1, b"location"), field(2, location.as_bytes())].concat();
    let [dims, float, external] = [[1 << 3, 4], [2 << 3, 1], [14 << 3, 1]];
    let weight = [&dims[..], &float, &field(8, b"w"), &field(13, &entry), &external].concat();
    let graph = [field(2, b"g"), field(5, &weight)].concat();
    [&[1 << 3, 8][..], &field(7, &graph), &field(8, &[2 << 3, 17])].concat()
}

#[test]
fn external_data_outside_is_not_opened() {
    let (_dir, model, target, watched) = beside("w.bin", &[1; 16]);
    fs::write(model.join("inside.bin"), [0; 16]).expect("written");
    fs::write(model.join("model.onnx"), graph_beside("inside.bin")).expect("written");
    remold!("inspect", model.join("model.onnx")).ends(0);
    for path in ways(&model, &target) {
        fs::write(model.join("model.onnx"), graph_beside(&path)).expect("written");
        let error = remold!("inspect", model.join("model.onnx")).refuses(3);
        assert!(!watched.was_opened(), "{path} was opened: {error}");
    }
}

/// All that lies below a directory.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            left.extend(path.symlink_metadata().expect("there").is_dir().then(|| path.clone()));
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Names of archives' entries are labels: whatever they say, no file comes to be.
#[test]
fn names_in_archives_make_no_files() {
    const LABEL: &str = "a/0123456789";
    let names = ["../../evil12", "a/../../evil", "/evil/evil12", "a/evil\0hidde", "C:\\evil\\evil"];
    let dir = Dir::new();
    let (work, source) = (dir.join("deep/deeper"), dir.join("source"));
    fs::create_dir_all(&work).and_then(|()| fs::create_dir(&source)).expect("made");
    let mut seen = 0;
    for extension in ["pt", "npz", "keras"] {
        for name in names {
            let entries = [
                ("a/data.pkl".to_owned(), b"\x80\x02].".to_vec()),
                (LABEL.to_owned(), read(fixture("npy/le_f4.npy"))),
            ];
            let good = zip::stored(&entries).expect("an archive");
            let bad = replaced(&good, LABEL.as_bytes(), name.as_bytes());
            let path = source.join(format!("x.{extension}"));
            fs::write(&path, bad).expect("written");
            let before = tree(dir.path());
            let mut command = Command::new(BINARY);
            command.arg("convert").arg(&path).arg(work.join("out.safetensors")).arg("--quiet");
            let error = finish(command.current_dir(&work)).refuses(3);
            assert_eq!(tree(dir.path()), before, "{name:?}: {error}");
            seen += 1;
        }
    }
    assert_eq!(seen, 15);
}

/// The bytes with every occurrence of some replaced by as many others.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut out = bytes.to_vec();
    let mut count = 0;
    for at in 0..=out.len() - from.len() {
        if out[at..].starts_with(from) {
            out[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
    }
    assert_eq!(count, 2, "an entry's name stands twice");
    out
}
