//! Mutated files, in-process: a panic, an endless loop or a crash is a failure, whatever the
//! answer. Some hundred inputs for each target in every run of the tests; `scripts/fuzz.sh` goes on
//! for as long as it is told. What was found once lies in fixtures/fuzz and is tried first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::program::{fixture, names, read, worked};
use crate::targets::{TARGETS, Target, fixtures, seed};

/// No input may take longer: all of them are small.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Inputs for each target in every run of the tests.
const SMOKE: usize = 150;

/// Numbers at which arithmetic goes wrong.
const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    31,
    32,
    33,
    63,
    64,
    127,
    128,
    255,
    256,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 40,
    1 << 53,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// What a number or a word of a text is replaced by.
const WORDS: &[&str] = &[
    "0",
    "-1",
    "1",
    "2147483648",
    "18446744073709551615",
    "18446744073709551616",
    "1e999",
    "0.5",
    "-0.0",
    "null",
    "true",
    "\"\"",
    "\"x\"",
    "[]",
    "{}",
    "[[]]",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "NaN",
];

/// Marsaglia's xorshift64: the same inputs in every run with the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// A seed with some of its bytes changed, moved, removed or replaced by those of another.
fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len() + 1);
        let len = random.below(64).min(bytes.len() - at);
        match random.below(10) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.next() as u8,
            3 => overwrite(
                &mut bytes,
                at,
                &random.one_of(NUMBERS).to_le_bytes()[..1 << random.below(4)],
            ),
            4 => overwrite(&mut bytes, at, &random.one_of(NUMBERS).to_be_bytes()),
            5 => drop(bytes.drain(at..at + len)),
            6 => {
                let piece = bytes[at..at + len].to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            7 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                let piece = &other[from..(from + random.below(256)).min(other.len())];
                bytes.splice(at..at + len, piece.iter().copied());
            }
            8 => reword(&mut bytes, at, random),
            9 if random.below(4) == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    let place = bytes.iter_mut().skip(at);
    place.zip(with).for_each(|(byte, new)| *byte = *new);
}

/// Replaces the word or number that begins at `at` or after it.
fn reword(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let Some(start) = bytes[at..].iter().position(is_word).map(|skip| at + skip) else { return };
    let end = bytes[start..].iter().position(|byte| !is_word(byte));
    let end = end.map_or(bytes.len(), |len| start + len);
    bytes.splice(start..end, random.one_of(WORDS).bytes());
}

fn seeds(target: &Target) -> Vec<Vec<u8>> {
    target.seeds.iter().map(|name| seed(target, read(fixtures().join(name)))).collect()
}

/// Runs one input; what is wrong with how it ended.
fn fault(target: &Target, bytes: &[u8]) -> Option<String> {
    let mut took = Duration::ZERO;
    let ended = catch_unwind(AssertUnwindSafe(|| took = worked(|| (target.run)(bytes))));
    match ended {
        Err(_) => Some("panicked".into()),
        Ok(()) if took > TIME_MAX => Some(format!("took {took:?}")),
        Ok(()) => None,
    }
}

#[test]
fn good_files_and_some_mutations_of_each() {
    for target in TARGETS {
        let seeds = seeds(target);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let inputs = (0..SMOKE).map(|_| mutate(&seeds, &mut random)).collect::<Vec<_>>();
        for (number, bytes) in seeds.iter().chain(&inputs).enumerate() {
            if let Some(what) = fault(target, bytes) {
                panic!("{}: input {number} {what}; {}", target.name, keep(target, bytes).display());
            }
        }
    }
    assert!(TARGETS.len() > 20);
}

#[test]
fn what_was_found_once_stays_mended() {
    let mut tried = 0;
    for name in names(&fixture("fuzz")) {
        let Some(target) = TARGETS.iter().find(|target| target.name == name) else { continue };
        for file in names(&fixture("fuzz").join(&name)) {
            let bytes = read(fixture("fuzz").join(&name).join(&file));
            assert_eq!(fault(target, &bytes), None, "{name}/{file}");
            tried += 1;
        }
    }
    eprintln!("{tried} files");
}

/// Where an input that failed is kept, for whoever makes a fixture of it.
fn keep(target: &Target, bytes: &[u8]) -> PathBuf {
    let digest = remold::store::Digest::of([bytes]).to_string();
    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}", target.name, &digest[..8]));
    std::fs::write(&path, bytes).expect("written");
    path
}

/// Ends the process if an input never ends: nothing else could.
fn watch(
    target: &'static Target,
    current: &Arc<Mutex<(Instant, Vec<u8>)>>,
    done: &Arc<AtomicBool>,
) {
    let (current, done) = (Arc::clone(current), Arc::clone(done));
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_secs(1));
            let (started, bytes) = &*current.lock().expect("no panic while it is held");
            if started.elapsed() > 3 * TIME_MAX && !done.load(Ordering::Relaxed) {
                eprintln!("{}: {} never ends", target.name, keep(target, bytes).display());
                std::process::exit(1);
            }
        }
    });
}

/// `scripts/fuzz.sh`: REMOLD_FUZZ_SECONDS for each target, or for REMOLD_FUZZ_TARGET alone.
#[test]
#[ignore = "as long as it is told"]
fn for_as_long_as_it_is_told() {
    let told = |name: &str| std::env::var(name).ok();
    let seconds = told("REMOLD_FUZZ_SECONDS").map_or(600, |text| text.parse().expect("a number"));
    let asked = told("REMOLD_FUZZ_TARGET").filter(|name| !name.is_empty());
    let begin = told("REMOLD_FUZZ_SEED").map(|text| text.parse().expect("a number"));
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 | 1);
    let (mut found, mut ran) = (Vec::new(), 0);
    for target in TARGETS.iter().filter(|t| asked.as_ref().is_none_or(|name| name == t.name)) {
        let (seeds, begin) = (seeds(target), begin.unwrap_or_else(clock));
        let mut random = Random(begin);
        let current = Arc::new(Mutex::new((Instant::now(), Vec::new())));
        let done = Arc::new(AtomicBool::new(false));
        watch(target, &current, &done);
        let (started, mut inputs) = (Instant::now(), 0u64);
        while started.elapsed() < Duration::from_secs(seconds) {
            let bytes = mutate(&seeds, &mut random);
            *current.lock().expect("no panic while it is held") = (Instant::now(), bytes.clone());
            if let Some(what) = fault(target, &bytes) {
                found.push(format!("{} {what}", keep(target, &bytes).display()));
                break;
            }
            inputs += 1;
        }
        done.store(true, Ordering::Relaxed);
        eprintln!("{}: {inputs} inputs from seed {begin}", target.name);
        ran += 1;
    }
    assert!(ran > 0, "no target of this name");
    assert!(found.is_empty(), "{}", found.join("\n"));
}
