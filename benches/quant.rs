//! Rows packed, decoded and multiplied in a second, on one thread: `cargo bench --bench quant`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use remold::ir::{Block, DType, Quantizer};
use remold::quant::{QUANTIZERS, dot, quantizer_for};

const COLUMNS: usize = 4096;

fn main() {
    divan::main();
}

fn names() -> impl Iterator<Item = &'static str> {
    QUANTIZERS.iter().map(|quantizer| quantizer.block.name)
}

fn quantizer(name: &str) -> &'static Quantizer {
    remold::quant::block_by_name(name).and_then(quantizer_for).unwrap()
}

/// A row that looks like weights, and the importance of its columns.
fn row() -> (Vec<f32>, Vec<f32>) {
    let mut state = 1u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    let row = (0..COLUMNS).map(|_| (uniform() + uniform() + uniform() - 1.5) * 0.05).collect();
    (row, (0..COLUMNS).map(|_| uniform() + 0.1).collect())
}

fn packed(quantizer: &Quantizer) -> Vec<u8> {
    let mut bytes = vec![0; COLUMNS / quantizer.block.len * quantizer.block.bytes];
    (quantizer.pack)(&row().0, COLUMNS, None, &mut bytes);
    bytes
}

#[divan::bench(args = names())]
fn pack(bencher: Bencher<'_, '_>, name: &str) {
    let (row, mut out) = (row().0, packed(quantizer(name)));
    let pack = quantizer(name).pack;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| pack(black_box(&row), COLUMNS, None, black_box(&mut out)));
}

#[divan::bench(args = names())]
fn pack_by_importance(bencher: Bencher<'_, '_>, name: &str) {
    let ((row, importance), mut out) = (row(), packed(quantizer(name)));
    let pack = quantizer(name).pack;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| {
        pack(black_box(&row), COLUMNS, Some(black_box(&importance)), black_box(&mut out));
    });
}

#[divan::bench(args = names())]
fn decode(bencher: Bencher<'_, '_>, name: &str) {
    let block: &Block = quantizer(name).block;
    let (bytes, mut weights) = (packed(quantizer(name)), row().0);
    let decode = block.codec.unwrap().decode;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| decode(black_box(&bytes), black_box(&mut weights)));
}

#[divan::bench(args = names())]
fn dot_packed(bencher: Bencher<'_, '_>, name: &str) {
    let (bytes, activations) = (packed(quantizer(name)), row().0);
    let dot = quantizer(name).block.codec.unwrap().dot;
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| dot(black_box(&bytes), black_box(&activations)));
}

#[divan::bench(args = ["f32", "f16", "bf16"])]
fn dot_plain(bencher: Bencher<'_, '_>, name: &str) {
    let dtypes = [DType::F32, DType::F16, DType::BF16];
    let dtype = dtypes.into_iter().find(|dtype| dtype.name() == name).unwrap();
    let bytes = vec![0x3c; COLUMNS * dtype.block_bytes() as usize];
    let (activations, dot) = (row().0, dot(dtype).unwrap());
    let bencher = bencher.counter(ItemsCount::new(1usize));
    bencher.bench_local(|| dot(black_box(&bytes), black_box(&activations)));
}
