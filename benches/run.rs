//! Floating-point operations a second of the runner's kernels, on one thread:
//! `cargo bench --bench run`. An item is one operation, so the item throughput is FLOP/s.

use divan::Bencher;
use divan::counter::ItemsCount;
use remold::ir::DType;
use remold::quant;
use remold::run::kernels::{self, LANES, Matrix};

fn main() {
    divan::main();
}

/// A prompt of 512 tokens times a matrix.
#[divan::bench(args = [(2048, 2048), (1536, 576), (48, 2048)])]
fn matrix_by_prompt(bencher: Bencher<'_, '_>, (rows, columns): (usize, usize)) {
    let panels = 512 / LANES;
    let (weights, x) = (vec![0.5; rows * columns], vec![[0.25; LANES]; panels * columns]);
    let mut out = vec![[0.0; LANES]; panels * rows];
    let operations = 2 * 512 * rows * columns;
    bencher.counter(ItemsCount::new(operations)).bench_local(|| {
        kernels::multiply(&x, Matrix::by_rows(&weights, columns), &mut out);
        divan::black_box(&mut out);
    });
}

/// One token times a matrix, as it is stored.
#[divan::bench(args = ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q6_k"])]
fn matrix_by_token(bencher: Bencher<'_, '_>, name: &str) {
    let dtype = match name {
        "f32" => DType::F32,
        "f16" => DType::F16,
        "bf16" => DType::BF16,
        packed => DType::Packed(quant::block_by_name(packed).expect("a packing of the table")),
    };
    let dot = quant::dot(dtype).expect("a type that is multiplied");
    let (rows, columns) = (2048, 2048);
    let row = dtype.row_bytes(columns).expect("whole blocks") as usize;
    let (weights, x) = (vec![0x11; rows * row], vec![0.25; columns as usize]);
    let mut out = vec![0.0; rows];
    let operations = 2 * rows * columns as usize;
    bencher.counter(ItemsCount::new(operations)).bench_local(|| {
        for (out, row) in out.iter_mut().zip(weights.chunks_exact(row)) {
            *out = dot(row, &x);
        }
        divan::black_box(&mut out);
    });
}
