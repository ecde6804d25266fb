use super::*;
use crate::ir::op::Order;
use crate::ir::{Access, Block, Codec, DType, Fault, Op, Quantizer, Shape};
use crate::store::{Digest, FileSink, MemorySink, Target};
use crate::write::{Checksum, FilePlan};

/// A packing of one byte each: enough to meet a NaN.
static TRUNCATED: Block = Block {
    name: "truncated",
    ggml_id: 0,
    len: 4,
    bytes: 4,
    needs_importance: false,
    codec: None::<Codec>,
};

static TRUNCATE: Quantizer = Quantizer {
    block: &TRUNCATED,
    pack: |weights, _, _, out| {
        for (byte, x) in out.iter_mut().zip(weights) {
            *byte = *x as u8;
        }
    },
};

fn shape(dims: &[u64]) -> Shape {
    Shape::new(dims.to_vec()).unwrap()
}

fn floats(values: &[f32], dims: &[u64]) -> Tensor {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let blob = Arc::new(Blob::memory("floats", bytes));
    Tensor::span(DType::F32, shape(dims), blob, 0).unwrap()
}

fn part(name: &str, tensor: Tensor) -> Part {
    Part::Tensor { name: name.into(), tensor }
}

/// Parts one after another, each at the next multiple of 32.
fn file(name: &str, parts: Vec<Part>) -> FilePlan {
    aligned(name, parts, 32, 5)
}

/// Parts at multiples of `to`, and `rest` bytes behind the last.
fn aligned(name: &str, parts: Vec<Part>, to: u64, rest: u64) -> FilePlan {
    let (mut offset, mut placed) = (0u64, Vec::new());
    for part in parts {
        offset = offset.next_multiple_of(to);
        let at = offset;
        offset += part.len();
        placed.push((at, part));
    }
    FilePlan { name: name.into(), len: offset + rest, parts: placed }
}

fn layout(files: Vec<FilePlan>) -> Layout {
    Layout { files, directory: false }
}

fn options(threads: usize, chunk_bytes: u64, memory_bytes: u64) -> ExecuteOptions<'static> {
    let threads = NonZeroUsize::new(threads).unwrap();
    ExecuteOptions { threads, chunk_bytes, memory_bytes, ..ExecuteOptions::default() }
}

fn in_memory(layout: &Layout, options: &ExecuteOptions<'_>) -> Vec<Vec<u8>> {
    let sink = MemorySink::default();
    let written = sink.written();
    execute(layout, Box::new(sink), options).unwrap();
    let files = written.lock().unwrap().take().unwrap();
    layout.files.iter().map(|file| files[&file.name].clone()).collect()
}

/// Each part made alone and at once.
fn expected(file: &FilePlan) -> Vec<u8> {
    let mut bytes = vec![0; file.len as usize];
    for (offset, part) in &file.parts {
        let place = &mut bytes[*offset as usize..][..part.len() as usize];
        match part {
            Part::Bytes(header) => place.copy_from_slice(header),
            Part::Copy(blob) => blob.read(0, place).unwrap(),
            Part::Slice(blob, at) => blob.read(at.start, place).unwrap(),
            // Of bytes that are not all made yet.
            Part::Sum { .. } => continue,
            Part::Tensor { tensor, .. } => {
                let all = 0..tensor.shape().count();
                tensor.read(all, place, &mut Scratch::default()).unwrap();
            }
        }
    }
    for (offset, part) in &file.parts {
        if let Part::Sum { of, .. } = part {
            let sum = torch::crc32(&bytes, of.start, of.end - of.start).unwrap();
            bytes[*offset as usize..][..4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    bytes
}

/// Every kind of part, from memory and from files read and mapped.
fn everything(dir: &std::path::Path) -> Layout {
    let bytes: Vec<u8> =
        (0..5_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(dir.join("in"), bytes).unwrap();
    let read = Arc::new(Blob::open(&dir.join("in"), Access::Read).unwrap());
    let map = Arc::new(Blob::open(&dir.join("in"), Access::Map).unwrap());
    let span = |blob: &Arc<Blob>, dims: &[u64], start| {
        Tensor::span(DType::BF16, shape(dims), Arc::clone(blob), start).unwrap()
    };
    let sum = |of| Part::Sum { file: None, of, kind: Checksum::Crc32 };
    let heads = |input| Tensor::of(Op::Interleave { input, heads: 6, order: Order::ToPairs });
    let wide = |input| Tensor::of(Op::Cast { input, to: DType::F32 }).unwrap();
    let parts_of_a = vec![
        Part::Bytes((0..77).collect()),
        part("raw", span(&read, &[1000, 1001], 3)),
        part("mapped", span(&map, &[999, 77], 100_001)),
        part("heads", heads(span(&read, &[72, 501], 7)).unwrap()),
        part("empty", span(&read, &[0, 4], 0)),
        part("wide", wide(span(&map, &[313, 211], 9))),
        part("both", wide(heads(span(&read, &[120, 33], 11)).unwrap())),
        part("scalar", span(&read, &[], 5)),
        part("memory", floats(&[1.0, 2.0], &[2])),
    ];
    let mut sums = file(
        "d",
        vec![
            sum(0..0),
            part("read", span(&read, &[500, 2001], 1)),
            part("mapped", span(&map, &[33], 5)),
            part("made", wide(span(&map, &[77, 211], 9))),
            Part::Bytes((0..99).collect()),
            Part::Copy(Arc::clone(&map)),
            Part::Slice(Arc::clone(&read), 3..4_000_000),
            Part::Slice(Arc::clone(&map), 5..5),
            part("nothing", span(&map, &[0], 5)),
        ],
    );
    let parts: Vec<_> = sums.parts.iter().map(|(at, part)| *at..at + part.len()).collect();
    for of in parts.into_iter().skip(1) {
        sums.parts.push((sums.len, sum(of)));
        sums.len += 4;
    }
    sums.parts[0].1 = sum(sums.parts[3].0..sums.parts[3].0 + sums.parts[3].1.len());
    let copy = file("b", vec![Part::Copy(read)]);
    layout(vec![file("a", parts_of_a), copy, file("c", Vec::new()), sums])
}

#[test]
fn bytes_do_not_depend_on_threads_chunks_or_memory() {
    let dir = tempfile::tempdir().unwrap();
    let layout = everything(dir.path());
    let want: Vec<Vec<u8>> = layout.files.iter().map(expected).collect();
    assert!(want[0].len() > 2_000_000);
    for (threads, chunk, memory) in [(1, 2 << 20, 128 << 20), (2, 1000, 1 << 20), (5, 1, 1)] {
        let got = in_memory(&layout, &options(threads, chunk, memory));
        assert!(got == want, "in memory, {threads} threads");
        let path = dir.path().join(format!("out{threads}"));
        let inputs = layout.blobs();
        let target = Target { path, directory: true, overwrite: false, sync: false, inputs };
        let path = target.path.clone();
        let sink = Box::new(FileSink::new(target));
        execute(&layout, sink, &options(threads, chunk, memory)).unwrap();
        for (file, want) in layout.files.iter().zip(&want) {
            let got = std::fs::read(path.join(&file.name)).unwrap();
            assert!(got == *want, "{} on disk, {threads} threads", file.name);
        }
    }
}

#[test]
fn an_overflow_is_refused_with_its_place_and_nothing_appears() {
    let mut values = vec![1.0; 600];
    (values[501], values[502]) = (70000.0, -1e9);
    let narrow = Op::Cast { input: floats(&values, &[3, 200]), to: DType::F16 };
    let parts =
        vec![part("fine", floats(&values, &[600])), part("narrow", Tensor::of(narrow).unwrap())];
    let layout = layout(vec![file("a", parts)]);
    for threads in [1, 4] {
        let sink = MemorySink::default();
        let written = sink.written();
        let error = execute(&layout, Box::new(sink), &options(threads, 64, 1 << 20)).unwrap_err();
        assert_eq!(error.fault, Fault::Loss);
        let words = "tensor 'narrow': 2 finite values would become infinite, first element 501;";
        assert!(error.to_string().starts_with(words), "{error}");
        assert!(written.lock().unwrap().is_none());
    }
}

#[test]
fn a_nan_meets_a_packing_only_if_allowed() {
    let mut values = vec![1.0; 64];
    values[42] = f32::NAN;
    let pack = |values: &[f32]| {
        let input = floats(values, &[16, 4]);
        Tensor::of(Op::Pack { input, quantizer: &TRUNCATE, importance: None }).unwrap()
    };
    let layout = layout(vec![file("a", vec![part("p", pack(&values)), part("q", pack(&values))])]);
    let run =
        |options: &ExecuteOptions<'_>| execute(&layout, Box::new(MemorySink::default()), options);
    let error = run(&options(2, 16, 1 << 20)).unwrap_err();
    assert_eq!(error.fault, Fault::Loss);
    let words = "tensor 'p': 1 values are NaN or infinite, first element 42 (and 1 other tensors)";
    assert!(error.to_string().starts_with(words), "{error}");
    let tallies = run(&ExecuteOptions { allow_nonfinite: true, ..options(2, 16, 1 << 20) });
    let tallies = tallies.unwrap();
    assert_eq!((tallies[0].0.as_str(), tallies[0].1.nonfinite), ("p", 1));
}

#[test]
fn the_first_error_of_the_file_wins_and_nothing_appears() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in");
    std::fs::write(&path, vec![1; 1 << 20]).unwrap();
    let blob = Arc::new(Blob::open(&path, Access::Read).unwrap());
    let wide = |start| {
        let input = Tensor::span(DType::F16, shape(&[512, 256]), Arc::clone(&blob), start);
        Tensor::of(Op::Cast { input: input.unwrap(), to: DType::F32 }).unwrap()
    };
    let parts = (0..4).map(|i| part(&format!("t{i}"), wide(i << 18))).collect();
    let layout = layout(vec![file("a", parts)]);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(300_000).unwrap();
    for _ in 0..20 {
        let sink = MemorySink::default();
        let written = sink.written();
        let error = execute(&layout, Box::new(sink), &options(8, 4096, 64 << 20)).unwrap_err();
        assert_eq!(error.fault, Fault::Io);
        assert!(error.to_string().starts_with("tensor 't1': "), "{error}");
        assert!(error.to_string().contains("became shorter"), "{error}");
        assert!(written.lock().unwrap().is_none());
    }
}

#[test]
fn an_input_that_changes_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in");
    std::fs::write(&path, "before").unwrap();
    let blob = Arc::new(Blob::open(&path, Access::Read).unwrap());
    let file = FilePlan { name: "a".into(), len: 6, parts: vec![(0, Part::Copy(blob))] };
    std::fs::write(&path, "after, and longer").unwrap();
    let sink = MemorySink::default();
    let written = sink.written();
    let error = execute(&layout(vec![file]), Box::new(sink), &options(1, 9, 9)).unwrap_err();
    assert_eq!(error.fault, Fault::Io);
    assert!(error.to_string().contains("was changed while it was read"), "{error}");
    assert!(written.lock().unwrap().is_none());
}

#[test]
fn progress_is_told_of_every_byte_and_of_the_end() {
    #[derive(Default)]
    struct Account(std::sync::atomic::AtomicU64, AtomicBool);
    impl Progress for Account {
        fn start(&self, _: u64) {}
        fn add(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        fn finish(&self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let layout = everything(dir.path());
    let account = Account::default();
    let options = ExecuteOptions { progress: &account, ..options(3, 9000, 1 << 20) };
    execute(&layout, Box::new(MemorySink::default()), &options).unwrap();
    let parts = layout.files.iter().flat_map(|file| &file.parts);
    let want: u64 = parts.map(|(_, part)| part.len()).sum();
    assert_eq!(account.0.into_inner(), want);
    assert!(account.1.into_inner());
}

fn files_of(dir: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs with the call of this number failing, as a run that may go on; how many calls there were.
fn run_resumed(layout: &Layout, out: &std::path::Path, threads: usize, at: u64) -> (u64, bool) {
    let (path, inputs) = (out.to_owned(), Vec::new());
    let target = Target { path, directory: layout.directory, overwrite: true, sync: false, inputs };
    let sink = FileSink::new(target).resumed(Digest::of([&b"the same"[..]]));
    let (sink, calls) = sink.failing(at);
    let result = execute(layout, Box::new(sink), &options(threads, 1 << 30, 1 << 30));
    let is_whole = match result {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.fault, Fault::Io, "{error}");
            false
        }
    };
    (calls.count(), is_whole)
}

fn lines_of_journal(dir: &std::path::Path) -> usize {
    let journal = files_of(dir).into_iter().find(|name| name.ends_with(".journal"));
    let text = journal.map(|name| std::fs::read_to_string(dir.join(name)).unwrap());
    text.map_or(0, |text| text.lines().count())
}

/// Ended at any call of the system and run again, the bytes are the same, and of what was
/// finished nothing is made again.
#[test]
fn an_ended_run_is_gone_on_with() {
    let source = tempfile::tempdir().unwrap();
    for directory in [false, true] {
        let layout = Layout { directory, ..everything(source.path()) };
        let want: Vec<Vec<u8>> = layout.files.iter().map(expected).collect();
        let whole = |out: &std::path::Path, at: u64| {
            for (file, want) in layout.files.iter().zip(&want) {
                let path = layout.path_of(file, out);
                assert!(std::fs::read(&path).unwrap() == *want, "{at}: {}", path.display());
            }
        };
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let (calls, _) = run_resumed(&layout, &out, 1, u64::MAX);
        whole(&out, 0);
        let left = files_of(dir.path());
        let parts = layout.files.iter().flat_map(|file| &file.parts);
        let is_job = |part: &Part| !part.is_empty() && !matches!(part, Part::Sum { .. });
        let jobs = parts.filter(|(_, part)| is_job(part)).count();
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        run_resumed(&layout, &out, 1, calls - 2);
        let (floor, _) = run_resumed(&layout, &out, 1, u64::MAX);
        let mut resumed = 0;
        for at in (0..calls).step_by(3).chain(calls - 5..calls) {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("out");
            let threads = 1 + at as usize % 3;
            let (_, was_whole) = run_resumed(&layout, &out, threads, at);
            if was_whole {
                // That the journal could not be removed is no reason to fail.
                assert_eq!(at + 1, calls, "call {at} failed, and nobody noticed");
                whole(&out, at);
                continue;
            }
            let finished = lines_of_journal(dir.path()).saturating_sub(1);
            let (after, is_whole) = run_resumed(&layout, &out, threads, u64::MAX);
            assert!(is_whole);
            whole(&out, at);
            assert_eq!(files_of(dir.path()), left, "{at}");
            // A part is written in six pieces at the most, and takes a line.
            let most = floor + 4 + 7 * (jobs - finished) as u64;
            assert!(after <= most, "{at}: {after} calls for {finished} of {jobs} parts");
            resumed += u64::from(after < calls);
        }
        assert!(resumed > 5, "only {resumed} runs had less to do");
    }
}

/// What lies in the unfinished file is believed only if it is what the journal says.
#[test]
fn what_is_damaged_meanwhile_is_made_again() {
    let source = tempfile::tempdir().unwrap();
    let layout = everything(source.path());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let (calls, _) = run_resumed(&layout, &out, 1, u64::MAX);
    for round in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        run_resumed(&layout, &out, 1, calls * 3 / 4);
        for name in files_of(dir.path()) {
            let path = dir.path().join(&name);
            let mut bytes = std::fs::read(&path).unwrap();
            match round {
                0 if name.ends_with(".partial") => bytes.iter_mut().for_each(|byte| *byte ^= 1),
                1 if name.ends_with(".partial") => bytes.truncate(bytes.len() / 2),
                2 if name.ends_with(".journal") => bytes.truncate(bytes.len() - 9),
                3 if name.ends_with(".journal") => bytes[20] ^= 1,
                _ => continue,
            }
            std::fs::write(&path, bytes).unwrap();
        }
        assert!(run_resumed(&layout, &out, 1, u64::MAX).1);
        for file in &layout.files {
            let path = layout.path_of(file, &out);
            assert!(std::fs::read(path).unwrap() == expected(file), "{round}: {}", file.name);
        }
    }
}

/// What no run can finish is not kept for another one.
#[test]
fn a_loss_leaves_nothing_to_go_on_from() {
    let cast = Tensor::of(Op::Cast { input: floats(&[1e30], &[1]), to: DType::F16 }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for directory in [false, true] {
        let layout = Layout { files: vec![file("a", vec![part("t", cast.clone())])], directory };
        let (path, inputs) = (dir.path().join("out"), Vec::new());
        let target = Target { path, directory, overwrite: true, sync: false, inputs };
        let sink = FileSink::new(target).resumed(Digest::of([&b"x"[..]]));
        let error = execute(&layout, Box::new(sink), &options(1, 1 << 20, 1 << 20)).unwrap_err();
        assert_eq!(error.fault, Fault::Loss);
        assert!(files_of(dir.path()).is_empty());
    }
}

/// An index states the sum of weights in another file, and then its own.
#[test]
fn sums_of_other_files_and_of_sums_are_stated() {
    let kind = Checksum::MaskedCrc32c;
    let weights: Vec<u8> = (0..200_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    let blob = Arc::new(Blob::memory("weights", weights.clone()));
    let tensor = Tensor::span(DType::U8, shape(&[200_000]), blob, 0).unwrap();
    let swapped = Tensor::of(Op::SwapBytes { input: tensor }).unwrap();
    let of_weights = Part::Sum { file: Some("data".into()), of: 0..200_000, kind };
    let of_index = Part::Sum { file: None, of: 0..13, kind };
    let header = |bytes: &[u8]| Part::Bytes(bytes.to_vec());
    let index = aligned(
        "x.index",
        vec![header(b"head"), of_weights, header(b"tail!"), of_index, header(b"end")],
        1,
        0,
    );
    let layout = Layout {
        files: vec![index, aligned("data", vec![part("w", swapped)], 1, 0)],
        directory: false,
    };
    let masked = |bytes: &[u8]| {
        let mut sum = tensorflow::Sum::default();
        sum.update(bytes);
        tensorflow::mask(sum.value()).to_le_bytes()
    };
    let block = [&b"head"[..], &masked(&weights), b"tail!"].concat();
    let expected = [&block[..], &masked(&block), b"end"].concat();
    for threads in [1, 3] {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = ExecuteOptions { threads, chunk_bytes: 4096, ..ExecuteOptions::default() };
        assert_eq!(in_memory(&layout, &options), [expected.clone(), weights.clone()]);
    }
}
