//! Weights of a few bits, in blocks that have a scale each: com.microsoft.
//!
//! ```text
//!  codes [n, blocks, bytes]   scales [n, blocks]   zero points: packed as the codes, or as numbers
//!  weight = (code − zero) · scale
//! ```

use super::gather::index_of;
use super::{Operator, one};
use crate::ir::{Error, Result};
use crate::run::graph::array::{Array, Data, Real};
use crate::run::graph::call::Call;
use crate::run::graph::product::View;
use crate::run::graph::value::Value;

const DOMAIN: &str = "com.microsoft";

#[rustfmt::skip]
pub(super) const OPERATORS: &[Operator] = &[
    Operator { domain: DOMAIN, name: "GatherBlockQuantized", since: 1, compute: gather_blocks },
    Operator { domain: DOMAIN, name: "MatMulNBits", since: 1, compute: matmul_bits },
];

/// Most weights of a block.
const BLOCK_MAX: usize = 1 << 16;

/// Codes of 2, 4 or 8 bits, the first in the lowest bits of a byte.
fn code(bytes: &[u8], index: usize, bits: usize) -> u8 {
    let per_byte = 8 / bits;
    let byte = bytes.get(index / per_byte).copied().unwrap_or(0);
    let mask = ((1u16 << bits) - 1) as u8;
    (byte >> (index % per_byte * bits)) & mask
}

/// Bits of a code, and weights of a block.
fn sizes(call: &Call<'_>, block: usize) -> Result<(usize, usize)> {
    let (bits, block) = (call.size("bits", 4)?, call.size("block_size", block)?);
    match matches!(bits, 2 | 4 | 8) && (1..=BLOCK_MAX).contains(&block) {
        true => Ok((bits, block)),
        false => Err(Error::unsupported(format!("weights of {bits} bits in blocks of {block}"))),
    }
}

/// The zero points of rows of blocks.
struct Zeros<'a> {
    given: Option<&'a Array>,
    /// Blocks of a row.
    count: usize,
    bits: usize,
    /// Where none are given.
    middle: f32,
}

impl Zeros<'_> {
    /// Whether there are as many as so many rows need.
    fn fit(&self, rows: usize) -> bool {
        let each = |zeros: &Array| match zeros.slice::<u8>().is_ok() {
            true => (self.count * self.bits).div_ceil(8),
            false => self.count,
        };
        self.given.is_none_or(|zeros| Some(zeros.len()) == rows.checked_mul(each(zeros)))
    }

    /// Those of a row.
    fn row(&self, row: usize) -> Result<Vec<f32>> {
        let Some(zeros) = self.given else { return Ok(vec![self.middle; self.count]) };
        if let Ok(packed) = zeros.slice::<u8>() {
            let len = (self.count * self.bits).div_ceil(8);
            let bytes = &packed[row * len..][..len];
            return Ok((0..self.count).map(|at| code(bytes, at, self.bits).into()).collect());
        }
        Ok(zeros.range(row * self.count, vec![self.count])?.floats()?.into_owned())
    }
}

/// The weights `[n, k]`. A node may say of each column whose block's scale it has.
fn blocks(call: &Call<'_>, k: usize, n: usize) -> Result<Vec<f32>> {
    let (bits, block) = sizes(call, 32)?;
    let (count, packed) = (k.div_ceil(block), (block * bits).div_ceil(8));
    let codes = call.tensor(1)?;
    let codes = codes.slice::<u8>().map_err(|error| call.input_error(1, error))?;
    if Some(codes.len()) != n.checked_mul(count).and_then(|x| x.checked_mul(packed)) {
        return Err(call.unfit(1, format!("[{n}, {count}, {packed}]")));
    }
    let scales = call.tensor(2)?.floats()?;
    if scales.len() != n * count {
        return Err(call.unfit(2, format!("[{n}, {count}]")));
    }
    let middle = (1u32 << (bits - 1)) as f32;
    let zeros = Zeros { given: call.optional(3)?, count, bits, middle };
    if !zeros.fit(n) {
        return Err(call.unfit(3, format!("a zero point for each of {n} · {count} blocks")));
    }
    let groups = groups(call, k, block)?;
    let mut weights = Vec::with_capacity(n * k);
    for row in 0..n {
        let (scales, zeros) = (&scales[row * count..][..count], zeros.row(row)?);
        let bytes = &codes[row * count * packed..][..count * packed];
        weights.extend(groups.iter().enumerate().map(|(column, group)| {
            let bytes = &bytes[column / block * packed..][..packed];
            (f32::from(code(bytes, column % block, bits)) - zeros[*group]) * scales[*group]
        }));
    }
    Ok(weights)
}

/// The block whose scale each column has: its own, unless the node gives an order.
fn groups(call: &Call<'_>, k: usize, block: usize) -> Result<Vec<usize>> {
    let order = call.optional(4)?.filter(|order| !order.is_empty());
    let Some(order) = order else { return Ok((0..k).map(|column| column / block).collect()) };
    if order.len() < k {
        return Err(call.unfit(4, format!("{k} blocks")));
    }
    let count = k.div_ceil(block);
    let groups = order.ints()?.into_iter().take(k).map(|group| index_of(group, count));
    groups.collect::<Result<_>>().map_err(|error| call.input_error(4, error))
}

fn matmul_bits(call: &Call<'_>) -> Result<Vec<Value>> {
    let x = call.tensor(0)?;
    let (k, n) = (call.size("K", 0)?, call.size("N", 0)?);
    let (last, outer) =
        x.shape().split_last().ok_or_else(|| call.unfit(0, "one dimension or more"))?;
    if *last != k || k == 0 {
        return Err(call.unfit(0, format!("rows of {k}, and not of 0")));
    }
    call.room(&[n, k])?;
    let shape = [outer, &[n]].concat();
    let total = call.room(&shape)?;
    let weights = blocks(call, k, n)?;
    let values = x.floats()?;
    let mut out = vec![0f32; total];
    let rows = values.len().checked_div(k).unwrap_or(0);
    f32::product(View::rows(&values, rows, k), View::rows(&weights, n, k).transposed(), &mut out);
    if let Some(bias) = call.optional(5)? {
        let bias = bias.floats()?;
        if bias.len() != n {
            return Err(call.unfit(5, format!("{n} numbers")));
        }
        out.iter_mut().zip(bias.iter().cycle()).for_each(|(x, bias)| *x += bias);
    }
    one(Array::rounded(x.dtype(), shape, out)?)
}

/// Rows of a table that is kept in blocks, as numbers.
fn gather_blocks(call: &Call<'_>) -> Result<Vec<Value>> {
    let (bits, block) = sizes(call, 128)?;
    let (table, scales) = (call.tensor(0)?, call.tensor(2)?);
    let (&[rows, width], &[_, count]) = (table.shape(), scales.shape()) else {
        return Err(call.unfit(0, "a matrix, and one of scales"));
    };
    let along = call.axis(call.int("quantize_axis", 1)?, 2)?;
    if call.int("gather_axis", 0)? != 0 || along != 1 {
        return Err(Error::unsupported("GatherBlockQuantized along other axes than 0 and 1"));
    }
    // Bytes hold several codes; elements of four bits are one each.
    let packed = table.slice::<u8>().ok();
    let columns = if packed.is_some() { width * (8 / bits) } else { width };
    if scales.shape() != [rows, columns.div_ceil(block)] {
        return Err(call.unfit(2, format!("[{rows}, {}]", columns.div_ceil(block))));
    }
    let middle = if packed.is_some() { (1u32 << (bits - 1)) as f32 } else { 0.0 };
    let zeros = Zeros { given: call.optional(3)?, count, bits, middle };
    if !zeros.fit(rows) {
        return Err(call.unfit(3, format!("a zero point for each of {rows} · {count} blocks")));
    }
    let indices = call.tensor(1)?;
    let shape = [indices.shape(), &[columns]].concat();
    let mut made = Vec::with_capacity(call.room(&shape)?);
    let factors = scales.floats()?;
    for index in indices.ints()? {
        let row = index_of(index, rows).map_err(|error| call.input_error(1, error))?;
        let (factors, zeros) = (&factors[row * count..][..count], zeros.row(row)?);
        let codes: Vec<f32> = match (packed, table.data()) {
            (Some(bytes), _) => {
                let bytes = &bytes[row * width..][..width];
                (0..columns).map(|column| code(bytes, column, bits).into()).collect()
            }
            (None, Data::Small(small, codes)) => {
                codes[row * width..][..width].iter().map(|code| small.decode(*code)).collect()
            }
            _ => return Err(call.unfit(0, "codes of 4 or 8 bits")),
        };
        let number = |(i, code): (usize, f32)| (code - zeros[i / block]) * factors[i / block];
        made.extend(codes.into_iter().enumerate().map(number));
    }
    one(Array::rounded(scales.dtype(), shape, made)?)
}
