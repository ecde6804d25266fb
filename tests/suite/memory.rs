//! A conversion needs little memory, however large the model.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use remold::ir::{Access, Limits, Notes, Scratch};
use remold::store::Files;
use serde_json::{Map, Value as Json, json};

use crate::program::{BINARY, Dir, Ran, finish_within, tiny};

/// What SAFETY allows at any size of the model.
const PEAK_MAX: u64 = 256 << 20;

const VOCAB: u64 = 65536;
const HIDDEN: u64 = 2048;
const FEED_FORWARD: u64 = 8192;

/// A Llama of zeros with so many layers, of which the disk holds only the header: 256 MiB of
/// embedding, and 128 MiB for each layer.
pub(crate) fn sparse(directory: &Path, layers: u64) {
    fs::create_dir(directory).expect("made");
    let (mut header, mut at) = (Map::new(), 0u64);
    for (name, shape) in shapes(layers) {
        let end = at + 2 * shape.iter().product::<u64>();
        header.insert(name, json!({"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = Json::Object(header).to_string();
    let file = File::create(directory.join("model.safetensors")).expect("created");
    file.write_all_at(&(header.len() as u64).to_le_bytes(), 0).expect("written");
    file.write_all_at(header.as_bytes(), 8).expect("written");
    file.set_len(8 + header.len() as u64 + at).expect("long");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": true,
    });
    fs::write(directory.join("config.json"), config.to_string()).expect("written");
}

fn shapes(layers: u64) -> Vec<(String, Vec<u64>)> {
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![VOCAB, HIDDEN])];
    let square = vec![HIDDEN, HIDDEN];
    for i in 0..layers {
        let mut put = |name: &str, shape: &[u64]| {
            all.push((format!("model.layers.{i}.{name}.weight"), shape.to_vec()));
        };
        put("input_layernorm", &[HIDDEN]);
        put("post_attention_layernorm", &[HIDDEN]);
        for name in ["q", "k", "v", "o"] {
            put(&format!("self_attn.{name}_proj"), &square);
        }
        put("mlp.gate_proj", &[FEED_FORWARD, HIDDEN]);
        put("mlp.up_proj", &[FEED_FORWARD, HIDDEN]);
        put("mlp.down_proj", &[HIDDEN, FEED_FORWARD]);
    }
    all.push(("model.norm.weight".into(), vec![HIDDEN]));
    all
}

/// A model of 1 GiB, in one tensor of 256 MiB and many smaller ones.
#[test]
fn a_conversion_needs_little_memory() {
    let dir = Dir::new();
    let source = dir.join("source");
    sparse(&source, 6);
    let size = fs::metadata(source.join("model.safetensors")).expect("there").len();
    assert!(size > 1 << 30, "{size}");
    for (kind, threads) in [("q8_0", "2"), ("f16", "8")] {
        let target = dir.join("x.gguf");
        let mut command = Command::new(BINARY);
        command.arg("convert").arg(&source).arg(&target).args(["--type", kind, "--no-sync"]);
        command.args(["--threads", threads, "--quiet"]);
        let peak = peak(&mut command);
        assert!(peak > 1 << 20, "{peak} bytes: this was not measured");
        assert!(peak <= PEAK_MAX, "{kind}: {} MiB", peak >> 20);
        fs::remove_file(target).expect("made");
    }
}

/// Runs a command, which must succeed; the most memory that it had at one time, in bytes.
///
/// The kernel keeps that number for as long as the process lives, and it never falls.
fn peak(command: &mut Command) -> u64 {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        peak = peak.max(kilobytes.unwrap_or(0) << 10);
        std::thread::sleep(Duration::from_millis(2));
    }
    Ran::of(format!("{command:?}"), child.wait_with_output().expect("ends")).ends(0);
    peak
}

/// Tensors of so many bytes in a file of which the disk holds the headers only.
const LARGE: u64 = 10 << 30;
const PIECES: u64 = 16;

/// Address space for listing them, in KiB: the kernel refuses more.
const LISTING_MAX: &str = "65536";

/// A file of these parts and this length.
fn scattered(path: &Path, parts: &[(u64, Vec<u8>)], len: u64) {
    let file = File::create(path).expect("created");
    for (offset, bytes) in parts {
        file.write_all_at(bytes, *offset).expect("written");
    }
    file.set_len(len).expect("long");
}

fn large_checkpoint(path: &Path) {
    let entry = |storage: u64| torch::Entry {
        name: storage.to_string(),
        dtype: torch::Dtype::F32,
        shape: vec![LARGE / PIECES / 4],
        storage: storage as usize,
    };
    let plan = torch::Plan::new(&(0..PIECES).map(entry).collect::<Vec<_>>()).expect("a plan");
    scattered(path, &plan.headers, plan.len);
}

fn large_safetensors(path: &Path) {
    let entry = |no: u64| safetensors::Entry {
        name: no.to_string(),
        dtype: safetensors::Dtype::F32,
        shape: vec![LARGE / PIECES / 4],
    };
    let entries: Vec<_> = (0..PIECES).map(entry).collect();
    let plan = safetensors::Plan::new(&[], &entries).expect("a plan");
    scattered(path, &[(0, plan.header)], plan.len);
}

fn large_gguf(path: &Path) {
    let kind = gguf::Kind::of_name("F32").expect("a type");
    let infos: Vec<_> =
        (0..PIECES).map(|no| (no.to_string(), vec![LARGE / PIECES / 4], kind)).collect();
    let metadata = gguf::Metadata::default();
    let plan = gguf::Plan::new(&metadata, &infos, gguf::ALIGNMENT_DEFAULT).expect("a plan");
    scattered(path, &[(0, plan.header)], plan.len);
}

/// As rwkv.cpp writes: each tensor's header before its data.
fn large_ggml(path: &Path) {
    let numbers = |numbers: &[u32]| -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    let row = u32::try_from(LARGE / PIECES / 4).expect("few");
    let mut parts = vec![(0, [b"fmgg".as_slice(), &numbers(&[101, 256, 32, 1, 0])].concat())];
    let mut at = 24;
    for no in 0..PIECES {
        let name = format!("{no:02}");
        parts.push((at, [numbers(&[1, 2, 0, row]).as_slice(), name.as_bytes()].concat()));
        at += 18 + LARGE / PIECES;
    }
    scattered(path, &parts, at);
}

/// An archive as torch.export of 2.9 writes it: weights as files of their own.
fn large_exported(path: &Path) {
    let count = LARGE / PIECES / 4;
    let number = |n: u64| json!({"as_int": n});
    let meta = json!({"dtype": 7, "sizes": [number(count)], "strides": [number(1)],
        "storage_offset": number(0), "layout": 7});
    let payload = |no: u64| {
        let path_name = format!("weight_{no}");
        let payload = json!({"path_name": path_name, "use_pickle": false, "tensor_meta": meta});
        (no.to_string(), payload)
    };
    let list = json!({"config": (0..PIECES).map(payload).collect::<Map<_, _>>()}).to_string();
    let mut writer = zip::Writer::new("x/");
    writer.known("archive_format", b"pt2").expect("an entry");
    for no in 0..PIECES {
        writer.later(&format!("data/weights/weight_{no}"), b"", 4 * count).expect("an entry");
    }
    writer.known("data/weights/model_weights_config.json", list.as_bytes()).expect("an entry");
    let plan = writer.end();
    scattered(path, &plan.headers, plan.len);
}

/// The container of 2016; its pickles are of protocol 0, which is text.
fn large_tar(path: &Path) {
    let count = LARGE / PIECES / 4;
    let mut value = b"(d".to_vec();
    let mut tensors = format!("I{PIECES}\n.").into_bytes();
    // Where each part of the storages lies within their member.
    let mut storages = vec![(0, tensors.clone())];
    let mut at = tensors.len() as u64;
    for no in 0..PIECES {
        let (tensor, storage) = (200 + no, 100 + no);
        value.extend(format!("S'{no}'\nS'{tensor}'\nQs").bytes());
        tensors.extend(format!("(I{tensor}\nI{storage}\nctorch\nFloatTensor\nt.").bytes());
        tensors.extend([1u64, count, 1, 0].iter().flat_map(|number| number.to_le_bytes()));
        let mut head = format!("(I{storage}\nS'cpu'\nctorch\nFloatStorage\nt.").into_bytes();
        head.extend(count.to_le_bytes());
        let len = head.len() as u64 + 4 * count;
        storages.push((at, head));
        at += len;
    }
    storages.push((at, b"(l.".to_vec()));
    value.push(b'.');
    let (mut parts, mut end) = (Vec::new(), 0);
    for (name, len, pieces) in [
        ("pickle", value.len() as u64, vec![(0, value)]),
        ("tensors", tensors.len() as u64, vec![(0, tensors)]),
        ("storages", at + 3, storages),
    ] {
        parts.push((end, tar_header(name, len)));
        parts.extend(pieces.into_iter().map(|(at, bytes)| (end + 512 + at, bytes)));
        end = (end + 512 + len).next_multiple_of(512);
    }
    scattered(path, &parts, end + 1024);
}

/// A member's header, with its length as GNU writes one beyond 8 GiB.
fn tar_header(name: &str, len: u64) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(124, &[0x80]);
    put(128, &len.to_be_bytes());
    put(148, b"        0");
    put(257, b"ustar");
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// What `inspect` says of a file if it has little memory, and little time: what lies in the file
/// is not read.
pub(crate) fn listing(path: &Path, how: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v $0 && exec \"$@\"", LISTING_MAX, BINARY]);
    finish_within(10, command.args(["inspect", "--quiet", how]).arg(path))
}

/// Writes a large file of one format.
type Writer = fn(&Path);

/// What lies in a file is not read to say what it is.
#[test]
fn a_listing_needs_little_memory() {
    let dir = Dir::new();
    let writers: [(&str, Writer); 6] = [
        ("x.pt", large_checkpoint),
        ("x.pt2", large_exported),
        ("x.tar", large_tar),
        ("x.safetensors", large_safetensors),
        ("x.gguf", large_gguf),
        ("x.ggml", large_ggml),
    ];
    for (name, write) in writers {
        let path = dir.join(name);
        write(&path);
        assert!(fs::metadata(&path).expect("there").len() > LARGE);
        let ran = listing(&path, "--json").ends(0);
        let tensors = ran.json()["tensors"].as_array().expect("tensors").len();
        assert_eq!(tensors as u64, PIECES, "{name}");
        fs::remove_file(path).expect("made");
    }
}

/// With any little room for addresses a run is done or refused; the system ends none.
#[test]
fn little_memory_is_no_crash() {
    let dir = Dir::new();
    for mib in [64, 128, 256, 512] {
        let target = dir.join("x.gguf");
        let mut command = Command::new("sh");
        let room = (mib << 10).to_string();
        command.args(["-c", "ulimit -v $0 && exec \"$@\"", &room, BINARY, "convert"]);
        command.arg(tiny()).arg(&target).args(["--type", "q8_0", "--quiet", "--no-sync"]);
        let ran = finish_within(60, &mut command);
        assert!(matches!(ran.code, Some(0 | 5)), "{mib} MiB: {}", ran.told());
        assert_eq!(ran.code == Some(0), target.exists());
        assert!(mib < 256 || ran.code == Some(0), "{mib} MiB: {}", ran.told());
        let _ = fs::remove_file(&target);
        assert!(dir.names().is_empty());
    }
}

/// More elements than a number of 31 bits, and of 32, counts: those at the end are the right ones.
#[test]
fn the_last_of_very_many_elements_are_read() {
    let dir = Dir::new();
    let path = dir.join("large.safetensors");
    let count = (5 << 30) + 3u64;
    let entry =
        safetensors::Entry { name: "w".into(), dtype: safetensors::Dtype::U8, shape: vec![count] };
    let plan = safetensors::Plan::new(&[], &[entry]).expect("a plan");
    let start = plan.header.len() as u64;
    let marks = [(0, 1), ((1 << 31) - 1, 2), (1 << 31, 3), (1 << 32, 4), (count - 1, 5)];
    let bytes = marks.map(|(at, mark)| (start + at, vec![mark]));
    scattered(&path, &[&[(0, plan.header)][..], &bytes].concat(), plan.len);
    let source = Files::open(&path, Access::Read).expect("opens");
    let read = remold::formats::by_name("safetensors").expect("known").read.expect("read");
    let model = read(&source, &Limits::default(), &mut Notes::default()).expect("reads");
    let tensor = &model.tensors["w"];
    assert_eq!(tensor.shape().count(), count);
    for (at, mark) in marks {
        let mut out = [0; 1];
        tensor.read(at..at + 1, &mut out, &mut Scratch::default()).expect("reads");
        assert_eq!(out, [mark], "element {at}");
    }
}
