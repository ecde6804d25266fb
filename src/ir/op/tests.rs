//! Recipes against what they should make.

use super::*;
use crate::ir::Blob;

fn numbers(dims: Vec<u64>) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let bytes = (0..shape.count()).flat_map(|i| (i as f32).to_le_bytes()).collect();
    Tensor::span(DType::F32, shape, Arc::new(Blob::memory("test", bytes)), 0).unwrap()
}

#[test]
fn heads_are_interleaved_and_back() {
    let input = numbers(vec![8, 1]);
    let op = Op::Interleave { input: input.clone(), heads: 2, order: Order::ToPairs };
    let pairs = Tensor::of(op).unwrap();
    assert_eq!(pairs.to_floats().unwrap(), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    let op = Op::Interleave { input: pairs, heads: 2, order: Order::ToHalves };
    let halves = Tensor::of(op).unwrap();
    assert_eq!(halves.to_floats().unwrap(), input.to_floats().unwrap());
    assert_eq!(halves.granule(), 4);
}

#[test]
fn bytes_are_swapped_within_each_element() {
    let blob = Arc::new(Blob::memory("test", (0..16).collect()));
    let swapped = |dtype, count| {
        let shape = Shape::new(vec![count]).unwrap();
        let input = Tensor::span(dtype, shape, Arc::clone(&blob), 0).unwrap();
        let tensor = Tensor::of(Op::SwapBytes { input }).unwrap();
        let mut out = vec![0; 8];
        let first = 16 / dtype.block_bytes() / 2;
        tensor.read(first..count, &mut out, &mut Scratch::default()).unwrap();
        out
    };
    assert_eq!(swapped(DType::F64, 2), [15, 14, 13, 12, 11, 10, 9, 8]);
    assert_eq!(swapped(DType::I32, 4), [11, 10, 9, 8, 15, 14, 13, 12]);
    assert_eq!(swapped(DType::C64, 2), [11, 10, 9, 8, 15, 14, 13, 12]);
    assert_eq!(swapped(DType::BF16, 8), [9, 8, 11, 10, 13, 12, 15, 14]);
    assert_eq!(swapped(DType::U8, 16), [8, 9, 10, 11, 12, 13, 14, 15]);
}

#[test]
fn one_head_alone_is_made_from_one_head_alone() {
    let op = Op::Interleave { input: numbers(vec![8, 3]), heads: 2, order: Order::ToPairs };
    let pairs = Tensor::of(op).unwrap();
    let (mut all, mut half) = (vec![0; 96], vec![0; 48]);
    pairs.read(0..24, &mut all, &mut Scratch::default()).unwrap();
    pairs.read(12..24, &mut half, &mut Scratch::default()).unwrap();
    assert_eq!(all[48..], half);
}

/// Writes for each weight the importance of its column.
static SHOWN: crate::ir::Block = crate::ir::Block {
    name: "shown",
    ggml_id: 9999,
    len: 1,
    bytes: 1,
    needs_importance: false,
    codec: None,
};
static SHOW: Quantizer = Quantizer {
    block: &SHOWN,
    pack: |weights, columns, importance, out| {
        for i in 0..weights.len() {
            out[i] = importance.map_or(0, |all| all[i % columns] as u8);
        }
    },
};

#[test]
fn each_matrix_of_a_stack_is_packed_by_its_own_importance() {
    let importance: Arc<[f32]> = (1..7).map(|n| n as f32).collect();
    let packed = |importance| {
        Tensor::of(Op::Pack { input: numbers(vec![3, 2, 2]), quantizer: &SHOW, importance })
    };
    let tensor = packed(Some(importance.clone())).unwrap();
    let expected = [1, 2, 1, 2, 3, 4, 3, 4, 5, 6, 5, 6];
    // In pieces that begin and end within a matrix.
    for (from, to) in [(0, 12), (2, 6), (6, 12), (4, 6)] {
        let mut out = vec![0; to - from];
        let range = from as u64..to as u64;
        tensor.read(range, &mut out, &mut Scratch::default()).unwrap();
        assert_eq!(out, expected[from..to]);
    }
    let mut out = [9; 12];
    packed(None).unwrap().read(0..12, &mut out, &mut Scratch::default()).unwrap();
    assert_eq!(out, [0; 12]);
    assert!(packed(Some(importance[..5].into())).is_err());
}

#[test]
fn heads_of_an_odd_size_are_refused() {
    let op = Op::Interleave { input: numbers(vec![6, 1]), heads: 2, order: Order::ToPairs };
    assert!(Tensor::of(op).is_err());
}

fn floats(op: Op) -> Vec<f32> {
    Tensor::of(op).unwrap().to_floats().unwrap()
}

/// Queries, keys and values of two groups of heads: rows 0 1 | 2 | 3 and 4 5 | 6 | 7.
#[test]
fn parts_are_picked_and_merged_back() {
    let fused = numbers(vec![8, 1]);
    let part = |from, len| {
        let picked = Picked { axis: 0, groups: 2, from, len };
        Tensor::of(Op::Pick { input: fused.clone(), picked }).unwrap()
    };
    let parts = [part(0, 2), part(2, 1), part(3, 1)];
    let values = parts.each_ref().map(|part| part.to_floats().unwrap());
    assert_eq!(values, [vec![0.0, 1.0, 4.0, 5.0], vec![2.0, 6.0], vec![3.0, 7.0]]);
    let sorted = Op::Merge { inputs: parts.to_vec(), axis: 0, groups: 1 };
    assert_eq!(floats(sorted), [0.0, 1.0, 4.0, 5.0, 2.0, 6.0, 3.0, 7.0]);
    let back = Op::Merge { inputs: parts.to_vec(), axis: 0, groups: 2 };
    assert_eq!(floats(back), fused.to_floats().unwrap());
    for (from, len) in [(3, 2), (5, 0), (u64::MAX, 1)] {
        let picked = Picked { axis: 0, groups: 2, from, len };
        assert!(Tensor::of(Op::Pick { input: fused.clone(), picked }).is_err());
    }
    let picked = Picked { axis: 0, groups: 3, from: 0, len: 1 };
    assert!(Tensor::of(Op::Pick { input: fused, picked }).is_err());
}

/// Any piece of what is moved is what that piece of the whole is.
#[test]
fn pieces_of_what_is_moved_are_those_of_the_whole() {
    let input = numbers(vec![2, 6, 4]);
    let picked = Picked { axis: 1, groups: 3, from: 1, len: 1 };
    let alternate = Op::Pick { input: input.clone(), picked };
    let columns = Picked { axis: 2, groups: 2, from: 0, len: 1 };
    let of_columns = Op::Pick { input: input.clone(), picked: columns };
    let transposed = Tensor::of(Op::Transpose { input: input.clone() }).unwrap();
    let of_transposed = Op::Pick {
        input: transposed.clone(),
        picked: Picked { axis: 1, groups: 1, from: 2, len: 2 },
    };
    let merged = Op::Merge { inputs: vec![input.clone(), input.clone()], axis: 1, groups: 2 };
    let added = Op::Add { input: transposed, value: 1.5 };
    for op in [alternate, of_columns, of_transposed, merged, added] {
        let shown = op.to_string();
        let tensor = Tensor::of(op).unwrap();
        let (whole, count) = (tensor.to_floats().unwrap(), tensor.shape().count());
        let granule = tensor.granule();
        let edges: Vec<u64> =
            (0..=count).filter(|at| at.is_multiple_of(granule) || *at == count).collect();
        for pair in edges.windows(2) {
            let mut piece = vec![0.0; (pair[1] - pair[0]) as usize];
            tensor.read_floats(pair[0]..pair[1], &mut piece, &mut Scratch::default()).unwrap();
            assert_eq!(piece, whole[pair[0] as usize..pair[1] as usize], "{shown}");
        }
    }
}

#[test]
fn rows_become_columns() {
    let transposed = Op::Transpose { input: numbers(vec![2, 2, 3]) };
    let expected = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0];
    assert_eq!(floats(transposed), expected);
}

/// What moves nothing stays what it is in the file.
#[test]
fn a_run_of_rows_lies_where_it_lay() {
    let input = numbers(vec![4, 3]);
    let rows = |from, len| {
        let picked = Picked { axis: 0, groups: 1, from, len };
        Tensor::of(Op::Pick { input: input.clone(), picked }).unwrap()
    };
    assert_eq!(rows(1, 2).place().map(|(_, start)| start), Some(12));
    let whole = Op::Merge { inputs: vec![rows(0, 1), rows(1, 3)], axis: 0, groups: 1 };
    assert!(Tensor::of(whole).unwrap().shares_data(&input));
    let swapped = Op::Merge { inputs: vec![rows(1, 3), rows(0, 1)], axis: 0, groups: 1 };
    assert!(Tensor::of(swapped).unwrap().op().is_some());
}

#[test]
fn small_integers_take_a_byte_each() {
    let widened = |dtype, bytes: Vec<u8>, count| {
        let blob = Arc::new(Blob::memory("test", bytes));
        let input = Tensor::span(dtype, Shape::new(vec![count]).unwrap(), blob, 0).unwrap();
        let tensor = Tensor::of(Op::Widen { input }).unwrap();
        let mut out = vec![9; count as usize];
        tensor.read(0..count, &mut out, &mut Scratch::default()).unwrap();
        // In pieces, as they are written.
        let step = tensor.granule();
        for from in (0..count).step_by(step as usize) {
            let to = count.min(from + step);
            let mut piece = vec![9; (to - from) as usize];
            tensor.read(from..to, &mut piece, &mut Scratch::default()).unwrap();
            assert_eq!(piece, out[from as usize..to as usize]);
        }
        out.into_iter().map(u8::cast_signed).collect::<Vec<i8>>()
    };
    assert_eq!(widened(DType::I4, vec![0x8f, 0x07], 3), [-1, -8, 7]);
    assert_eq!(widened(DType::U4, vec![0x8f, 0x07], 3), [15, 8, 7]);
    assert_eq!(widened(DType::I2, vec![0b11_10_01_00, 0b10], 5), [0, 1, -2, -1, -2]);
    assert_eq!(widened(DType::U2, vec![0b11_10_01_00], 4), [0, 1, 2, 3]);
}

/// Weights, scales and offsets as a table: every block form against the sum written out.
#[test]
fn blocks_share_scales_in_any_form() {
    let bytes = |values: Vec<u8>, dtype, dims: Vec<u64>| {
        let blob = Arc::new(Blob::memory("test", values));
        Tensor::span(dtype, Shape::new(dims).unwrap(), blob, 0).unwrap()
    };
    let dims = [2u64, 3, 4, 6];
    let count: u64 = dims.iter().product();
    let weights = bytes((0..count as u8).collect(), DType::U8, dims.to_vec());
    let blocks: [[u64; 4]; 7] = [
        [1, 3, 4, 6],
        [2, 3, 4, 1],
        [2, 3, 4, 6],
        [1, 1, 1, 3],
        [1, 1, 2, 4],
        [1, 2, 1, 6],
        [2, 1, 1, 1],
    ];
    for block in blocks {
        let grid: Vec<u64> = dims.iter().zip(&block).map(|(len, by)| len.div_ceil(*by)).collect();
        let total: u64 = grid.iter().product();
        let scales = numbers(vec![total]);
        let zeros = bytes((0..total as u8).map(|i| i % 5).collect(), DType::I8, vec![total]);
        let expected: Vec<f32> = (0..count)
            .map(|at| {
                let (mut rest, mut index, mut stride) = (at, 0, 1);
                for axis in (0..4).rev() {
                    index += rest % dims[axis] / block[axis] * stride;
                    stride *= grid[axis];
                    rest /= dims[axis];
                }
                (at as f32 - (index % 5) as f32) * index as f32
            })
            .collect();
        let affine = Affine {
            weights: weights.clone(),
            scales,
            offset: Offset::Zeros(zeros),
            block: block.to_vec(),
            groups: None,
        };
        let tensor = Tensor::of(Op::Affine(Box::new(affine))).unwrap();
        assert_eq!(tensor.to_floats().unwrap(), expected, "{block:?}");
        for (from, to) in [(0, 1), (5, 29), (71, 144), (100, 101)] {
            let mut out = vec![0.0; to - from];
            let range = from as u64..to as u64;
            tensor.read_floats(range, &mut out, &mut Scratch::default()).unwrap();
            assert_eq!(out, expected[from..to], "{block:?} {from}..{to}");
        }
    }
}

/// A table says which scale a column has; the last group is cut short.
#[test]
fn columns_are_of_the_groups_that_a_table_says() {
    let affine = |table: &[u32], rows: u64| {
        let (weights, scales) = (numbers(vec![rows, 5]), numbers(vec![rows, 3]));
        let (offset, block) = (Offset::Zeros(numbers(vec![rows, 3])), vec![1, 2]);
        let affine = Affine { weights, scales, offset, block, groups: Some(table.into()) };
        Tensor::of(Op::Affine(Box::new(affine)))
    };
    let table = [2, 0, 1, 1, 0];
    let tensor = affine(&table, 3).unwrap();
    let expected: Vec<f32> = (0..15u32)
        .map(|at| {
            let scale = at / 5 * 3 + table[at as usize % 5];
            (f64::from(at) - f64::from(scale)) as f32 * scale as f32
        })
        .collect();
    assert_eq!(tensor.to_floats().unwrap(), expected);
    let mut part = [0.0; 6];
    tensor.read_floats(4..10, &mut part, &mut Scratch::default()).unwrap();
    assert_eq!(part[..], expected[4..10]);
    let short = affine(&table[1..], 3).unwrap_err().to_string();
    assert!(short.contains("groups of 4 columns for weights of 5"), "{short}");
    let beyond = affine(&[2, 0, 3, 1, 0], 3).unwrap_err().to_string();
    assert!(beyond.contains("column 2 is of group 3, and there are 3"), "{beyond}");
}

#[test]
fn parts_of_affine_weights_that_do_not_fit_are_refused() {
    let weights = numbers(vec![4, 6]);
    let affine = |scales: u64, block: &[u64], offset| {
        let (weights, scales) = (weights.clone(), numbers(vec![scales]));
        let (block, groups) = (block.to_vec(), None);
        Tensor::of(Op::Affine(Box::new(Affine { weights, scales, offset, block, groups })))
    };
    affine(8, &[1, 3], Offset::None).unwrap();
    affine(8, &[1, 3], Offset::Zeros(numbers(vec![1]))).unwrap();
    for (scales, block) in [(7, vec![1, 3]), (8, vec![3]), (8, vec![0, 3]), (1, vec![1, 3])] {
        affine(scales, &block, Offset::None).unwrap_err();
    }
    affine(8, &[1, 3], Offset::Biases(numbers(vec![1]))).unwrap_err();
    let shape = Shape::new(vec![33]).unwrap();
    Tensor::of(Op::Spread { input: numbers(vec![4]), bits: 4, shape }).unwrap_err();
}
