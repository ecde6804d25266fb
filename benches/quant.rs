//! Rows packed, decoded and multiplied in a second, on one thread: `cargo bench --bench quant`.
//!
//! What is packed are 64 MB of rows, so that no search learns them by heart.

use std::sync::LazyLock;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use remold::ir::{Block, DType, Quantizer};
use remold::quant::{BEST_QUANTIZERS, QUANTIZERS, best_quantizer_for, dot, quantizer_for};

const COLUMNS: usize = 4096;
const ROWS: usize = (64 << 20) / 4 / COLUMNS;

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    QUANTIZERS.iter().map(|quantizer| quantizer.block.name)
}

fn quantizer(name: &str) -> &'static Quantizer {
    remold::quant::block_by_name(name).and_then(quantizer_for).unwrap()
}

fn best(name: &str) -> &'static Quantizer {
    remold::quant::block_by_name(name).and_then(best_quantizer_for).unwrap()
}

/// Numbers that look like weights.
fn weights(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (uniform() + uniform() + uniform() - 1.5) * 0.05).collect()
}

static MANY: LazyLock<Vec<f32>> = LazyLock::new(|| weights(ROWS * COLUMNS));

fn row() -> Vec<f32> {
    weights(COLUMNS)
}

fn importance() -> Vec<f32> {
    row().iter().map(|x| x.abs() + 0.01).collect()
}

fn packed(quantizer: &Quantizer) -> Vec<u8> {
    let mut bytes = vec![0; COLUMNS / quantizer.block.len * quantizer.block.bytes];
    (quantizer.pack)(&row(), COLUMNS, None, &mut bytes);
    bytes
}

fn pack_many(bencher: Bencher<'_, '_>, quantizer: &Quantizer, importance: Option<&[f32]>) {
    let block = quantizer.block;
    let mut out = vec![0; ROWS * COLUMNS / block.len * block.bytes];
    let bencher = bencher.counter(ItemsCount::new(ROWS));
    bencher.bench_local(|| {
        (quantizer.pack)(black_box(&MANY), COLUMNS, importance, black_box(&mut out));
    });
}

#[divan::bench(args = names(), sample_count = 3, sample_size = 1)]
fn pack(bencher: Bencher<'_, '_>, name: &str) {
    pack_many(bencher, quantizer(name), None);
}

#[divan::bench(args = names(), sample_count = 3, sample_size = 1)]
fn pack_by_importance(bencher: Bencher<'_, '_>, name: &str) {
    pack_many(bencher, quantizer(name), Some(&importance()));
}

#[divan::bench(args = BEST_QUANTIZERS.iter().map(|q| q.block.name), sample_count = 3, sample_size = 1)]
fn pack_best(bencher: Bencher<'_, '_>, name: &str) {
    pack_many(bencher, best(name), None);
}

#[divan::bench(args = names())]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let block: &Block = quantizer(name).block;
    let (bytes, mut weights) = (packed(quantizer(name)), row());
    let decode = block.codec.unwrap().decode;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| decode(black_box(&bytes), black_box(&mut weights)));
}

#[divan::bench(args = names())]
fn dot_packed(bencher: Bencher<'_, '_>, name: &str) {
    let (bytes, activations) = (packed(quantizer(name)), row());
    let dot = quantizer(name).block.codec.unwrap().dot;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| dot(black_box(&bytes), black_box(&activations)));
}

#[divan::bench(args = ["f32", "f16", "bf16"])]
fn dot_plain(bencher: Bencher<'_, '_>, name: &str) {
    let dtypes = [DType::F32, DType::F16, DType::BF16];
    let dtype = dtypes.into_iter().find(|dtype| dtype.name() == name).unwrap();
    let bytes = vec![0x3c; COLUMNS * dtype.block_bytes() as usize];
    let (activations, dot) = (row(), dot(dtype).unwrap());
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| dot(black_box(&bytes), black_box(&activations)));
}
