//! One tensor of the candidate against its reference, streamed in pieces of bounded size.
//!
//! Pieces are cut by the shape alone and added in their order, so the numbers do not depend on
//! the number of threads.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::metrics::greater;
use super::own::{self, QuantizerFor};
use super::pair::Pair;
use super::rows::{self, Row};
use super::rule::{Rule, Values};
use crate::ir::tensor::pieces;
use crate::ir::{DType, Result, Scratch, Tensor};

/// Elements of a piece, unless one row or one head is longer.
const PIECE: u64 = 1 << 18;

/// What was found about one pair of tensors.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Same type, same bytes.
    pub(super) bit_equal: bool,
    /// The candidate's values are the reference's, bit by bit.
    pub(super) exact: bool,
    /// Elements that break the rule of the candidate's type.
    pub(super) wrong: u64,
    /// The first of them, and what is wrong with it.
    pub(super) first_wrong: Option<String>,
    /// The first element that differs.
    pub(super) first_different: Option<u64>,
    /// What the numbers say; nothing if the elements are not decoded.
    pub(super) error: Option<Error>,
    /// The row that is worst against our own encoding, if it is worse than allowed.
    pub(super) wrong_row: Option<String>,
    /// Rows that are worse than allowed.
    pub(super) wrong_rows: u64,
}

/// How far values are apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Error {
    /// Σ(c − r)² / Σr².
    pub(super) nmse: f64,
    /// The same of our own encoding, if there is one.
    pub(super) own_nmse: Option<f64>,
    pub(super) max_abs_diff: f64,
}

/// How far the values of two tensors of one shape are apart; nothing if they are no numbers.
///
/// # Errors
/// From reading the files.
pub fn apart(reference: &Tensor, candidate: &Tensor) -> Result<Option<Apart>> {
    let pair = Pair {
        name: String::new(),
        reference_name: String::new(),
        reference: reference.clone(),
        candidate: candidate.clone(),
        rounded: false,
    };
    let error = compare(&pair, |_| None, None)?.error;
    Ok(error.map(|Error { nmse, max_abs_diff, .. }| Apart { nmse, max_abs_diff }))
}

/// How far a tensor is from another one.
#[derive(Debug, Clone, Copy)]
pub struct Apart {
    /// Σ(c − r)² / Σr².
    pub nmse: f64,
    /// The greatest |c − r|.
    pub max_abs_diff: f64,
}

/// What is summed over a piece.
#[derive(Debug, Default)]
struct Sums {
    differs: bool,
    exact: bool,
    wrong: u64,
    first_wrong: Option<(u64, String)>,
    first_different: Option<u64>,
    power: f64,
    error: f64,
    own_error: f64,
    max_abs_diff: f64,
    rows: Vec<Row>,
}

/// Compares one pair, whose shapes are equal; a packing also with our own encoding, by the
/// importance of its columns if that is known.
///
/// # Errors
/// From reading the files; Malformed if rows are not whole blocks.
pub(super) fn compare(
    pair: &Pair,
    quantizer_for: QuantizerFor,
    importance: Option<Arc<[f32]>>,
) -> Result<Outcome> {
    let to = pair.candidate.dtype();
    let scan = Scan {
        reference: &pair.reference,
        candidate: &pair.candidate,
        own: own::encoding(&pair.reference, to, quantizer_for, importance)?,
        rule: Rule::of(pair.reference.dtype(), to, pair.rounded),
        row: row_len(&pair.candidate),
    };
    let pieces = scan.pieces();
    let sums: Vec<Sums> = pieces
        .into_par_iter()
        .map_init(Scratch::default, |scratch, elements| scan.piece(elements, scratch))
        .collect::<Result<_>>()?;
    Ok(scan.add(&sums))
}

/// Elements that are judged together: a row, or as many short rows as make a fair sample.
fn row_len(tensor: &Tensor) -> u64 {
    const FAIR: u64 = 32;
    let columns = tensor.shape().columns().max(1);
    columns * FAIR.div_ceil(columns)
}

struct Scan<'p> {
    reference: &'p Tensor,
    candidate: &'p Tensor,
    own: Option<Tensor>,
    rule: Rule,
    row: u64,
}

impl Scan<'_> {
    /// Ranges of elements that every recipe can make alone and that hold whole rows.
    fn pieces(&self) -> Vec<Range<u64>> {
        let count = self.reference.shape().count();
        let own = self.own.as_ref().map_or(1, Tensor::granule);
        let row = if self.judges_rows() { self.row } else { 1 };
        let granules = [self.reference.granule(), self.candidate.granule(), own, row];
        pieces(count, granules, PIECE).collect()
    }

    /// Rows are judged where a single element is allowed to be far off.
    fn judges_rows(&self) -> bool {
        self.rule == Rule::Bound && self.own.is_some()
    }

    fn piece(&self, elements: Range<u64>, scratch: &mut Scratch) -> Result<Sums> {
        scratch.tally = crate::ir::Tally::default();
        let candidate = bytes(self.candidate, &elements, scratch)?;
        let own = match &self.own {
            Some(own) => Some(bytes(own, &elements, scratch)?),
            None => None,
        };
        let as_own = own.as_ref() == Some(&candidate);
        let same_type = self.reference.dtype() == self.candidate.dtype();
        let mut sums = Sums { differs: !(as_own && same_type), ..Sums::default() };
        let are_weights =
            [self.reference, self.candidate].map(|tensor| own::is_weights(tensor.dtype()));
        if as_own && (same_type || are_weights == [false, false]) {
            // The same values: every sum is zero.
            sums.exact = true;
        } else if are_weights == [true, true] {
            let len = (elements.end - elements.start) as usize;
            let mut values = Values::new(self.reference, &elements, scratch)?;
            values.candidate = decode(self.candidate.dtype(), &candidate, len)?;
            values.own = match &own {
                Some(own) if !as_own => Some(decode(self.candidate.dtype(), own, len)?),
                _ => None,
            };
            values.candidate_bytes = &candidate;
            values.own_bytes = own.as_deref();
            values.overflowed = scratch.tally.first_overflowed;
            self.judge(&values, elements.start, &mut sums);
        } else {
            let at = own.as_deref().and_then(|own| first_byte(own, &candidate));
            let dtype = self.candidate.dtype();
            let block = at.unwrap_or(0) as u64 / dtype.block_bytes();
            let at = elements.start + block * dtype.block_len();
            (sums.wrong, sums.first_different) = (1, Some(at));
            sums.first_wrong = Some((at, self.unlike(at)));
        }
        scratch.give(candidate);
        own.into_iter().for_each(|own| scratch.give(own));
        Ok(sums)
    }

    fn unlike(&self, at: u64) -> String {
        let (r, c) = (self.reference.dtype(), self.candidate.dtype());
        match self.own.is_some() {
            true => format!("the bytes differ from {} on", place(self.reference, at)),
            false => format!("{r} became {c}, which cannot be compared"),
        }
    }

    fn judge(&self, values: &Values<'_>, start: u64, sums: &mut Sums) {
        sums.exact = true;
        for (i, c) in values.candidate.iter().enumerate() {
            let (r, c) = (values.reference(i), f64::from(*c));
            if !values.same(i) {
                sums.exact = false;
                sums.first_different.get_or_insert(start + i as u64);
            }
            let diff = if r == c { 0.0 } else { c - r };
            if r.is_finite() {
                sums.power += r * r;
                sums.error += diff * diff;
                sums.max_abs_diff = greater(sums.max_abs_diff, diff.abs());
                let own = values.own.as_ref().map_or(diff, |own| f64::from(own[i]) - r);
                sums.own_error += own * own;
            }
        }
        let mut wrong = |i: usize, why: &str| {
            sums.wrong += 1;
            let at = start + i as u64;
            sums.first_wrong.get_or_insert_with(|| {
                let (r, c) = (values.reference(i), values.candidate[i]);
                (at, format!("{why} {}: reference {r}, candidate {c}", place(self.reference, at)))
            });
        };
        self.rule.check(values, self.candidate.dtype(), &mut wrong);
        if self.judges_rows() {
            let own = values.own.as_deref().unwrap_or(&values.candidate);
            sums.rows = rows::gather(values, own, self.row as usize, start);
        }
    }

    fn add(&self, pieces: &[Sums]) -> Outcome {
        let mut all = Outcome { bit_equal: true, exact: true, ..Outcome::default() };
        let (mut power, mut error, mut own_error, mut max_abs_diff) = (0.0, 0.0, 0.0, 0.0);
        for piece in pieces {
            all.bit_equal &= !piece.differs;
            all.exact &= piece.exact;
            all.wrong += piece.wrong;
            all.first_different = all.first_different.or(piece.first_different);
            if let (None, Some((_, text))) = (&all.first_wrong, &piece.first_wrong) {
                all.first_wrong = Some(text.clone());
            }
            power += piece.power;
            error += piece.error;
            own_error += piece.own_error;
            max_abs_diff = greater(max_abs_diff, piece.max_abs_diff);
        }
        let decoded =
            [self.reference, self.candidate].map(|tensor| own::is_weights(tensor.dtype()));
        if decoded == [true, true] {
            let own_nmse = self.own.is_some().then(|| ratio(own_error, power));
            all.error = Some(Error { nmse: ratio(error, power), own_nmse, max_abs_diff });
            let verdict = rows::judge(pieces.iter().flat_map(|piece| &piece.rows), own_nmse);
            all.wrong_rows = verdict.wrong;
            all.wrong_row = verdict
                .worst
                .map(|(at, text)| format!("row of {}: {text}", place(self.reference, at)));
        }
        all
    }
}

/// Σerror² / Σr², where no error is no error even of nothing.
pub(super) fn ratio(error: f64, power: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / power }
}

/// An element by its indices, as NumPy writes them.
fn place(tensor: &Tensor, mut at: u64) -> String {
    let mut indices: Vec<String> = Vec::new();
    for &dim in tensor.shape().dims().iter().rev() {
        indices.push((at % dim.max(1)).to_string());
        at /= dim.max(1);
    }
    indices.reverse();
    format!("[{}]", indices.join(", "))
}

fn bytes(tensor: &Tensor, elements: &Range<u64>, scratch: &mut Scratch) -> Result<Vec<u8>> {
    let len = tensor.byte_offset(elements.end - elements.start) as usize;
    let mut out = scratch.take(len)?;
    tensor.read(elements.clone(), &mut out, scratch)?;
    Ok(out)
}

fn decode(dtype: DType, bytes: &[u8], len: usize) -> Result<Vec<f32>> {
    let mut out = vec![0.0; len];
    crate::ir::float::decode(dtype, bytes, &mut out)?;
    Ok(out)
}

fn first_byte(a: &[u8], b: &[u8]) -> Option<usize> {
    a.iter().zip(b).position(|(a, b)| a != b)
}
