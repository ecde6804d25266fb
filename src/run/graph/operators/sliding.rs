//! A window that slides over the spatial axes of a value, as convolutions and pools have it.

use super::shape::sizes;
use crate::ir::{Error, Result};
use crate::run::graph::call::Call;

/// How a window moves over the spatial axes of a value.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) input: Vec<usize>,
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    /// Elements that are thought before the first, along each axis.
    pub(super) before: Vec<usize>,
    /// And after the last.
    pub(super) after: Vec<usize>,
    pub(super) output: Vec<usize>,
}

impl Window {
    /// As the attributes state it. With `ceil`, a window may reach past the end.
    pub(super) fn stated(
        call: &Call<'_>,
        input: &[usize],
        kernel: Vec<usize>,
        ceil: bool,
    ) -> Result<Self> {
        let rank = input.len();
        let taps = kernel.iter().try_fold(1usize, |taps, size| taps.checked_mul(*size));
        if kernel.len() != rank || kernel.contains(&0) || taps.is_none() {
            let text = format!("found a kernel {kernel:?}, expected {rank} sizes above 0");
            return Err(Error::malformed(text));
        }
        let strides = positive(call, "strides", rank)?;
        let dilations = positive(call, "dilations", rank)?;
        let mut window = Self {
            input: input.to_vec(),
            kernel,
            strides,
            dilations,
            before: vec![0; rank],
            after: vec![0; rank],
            output: vec![0; rank],
        };
        window.pad(call)?;
        for axis in 0..rank {
            window.output[axis] = window.count(axis, ceil)?;
        }
        call.room(&window.output)?;
        Ok(window)
    }

    /// The window of the convolution that a transposed one turns around: its input is our output.
    pub(super) fn transposed(call: &Call<'_>, given: &[usize], kernel: &[usize]) -> Result<Self> {
        let rank = given.len();
        let wrong =
            || Error::malformed("found sizes whose sum is too large, or too small for the pads");
        let strides = positive(call, "strides", rank)?;
        let dilations = positive(call, "dilations", rank)?;
        let extra =
            call.list("output_padding")?.map(sizes).transpose()?.unwrap_or_else(|| vec![0; rank]);
        let asked = call.list("output_shape")?.map(sizes).transpose()?;
        let pads = call.list("pads")?.map(sizes).transpose()?.unwrap_or_else(|| vec![0; 2 * rank]);
        let auto = call.text("auto_pad", "NOTSET")?;
        if kernel.contains(&0)
            || kernel.len() != rank
            || extra.len() != rank
            || pads.len() != 2 * rank
        {
            return Err(Error::malformed(format!(
                "found a kernel {kernel:?}, expected {rank} sizes"
            )));
        }
        let mut window = Self {
            input: vec![0; rank],
            kernel: kernel.to_vec(),
            strides,
            dilations,
            before: pads[..rank].to_vec(),
            after: pads[rank..].to_vec(),
            output: given.to_vec(),
        };
        for axis in 0..rank {
            let reach = given[axis].saturating_sub(1).checked_mul(window.strides[axis]);
            let full = reach.and_then(|reach| reach.checked_add(window.extent(axis)));
            let full = full.and_then(|full| full.checked_add(extra[axis])).ok_or_else(wrong)?;
            let same =
                auto.starts_with("SAME").then(|| given[axis].saturating_mul(window.strides[axis]));
            let wanted = match &asked {
                // Some exporters state the batch and the channels too.
                Some(asked) => {
                    Some(*asked.get(asked.len().wrapping_sub(rank) + axis).ok_or_else(wrong)?)
                }
                None => same,
            };
            match wanted {
                Some(wanted) => {
                    let total = full.saturating_sub(wanted);
                    let half = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                    (window.before[axis], window.after[axis]) = (half, total - half);
                    window.input[axis] = wanted;
                }
                None => {
                    let cut =
                        window.before[axis].checked_add(window.after[axis]).ok_or_else(wrong)?;
                    window.input[axis] = full.checked_sub(cut).ok_or_else(wrong)?;
                }
            }
        }
        Ok(window)
    }

    fn pad(&mut self, call: &Call<'_>) -> Result<()> {
        let rank = self.input.len();
        let auto = call.text("auto_pad", "NOTSET")?;
        match auto {
            "NOTSET" | "" => {
                let pads = call.list("pads")?.map(sizes).transpose()?;
                let pads = pads.unwrap_or_else(|| vec![0; 2 * rank]);
                if pads.len() != 2 * rank {
                    let text =
                        format!("attribute pads: found {pads:?}, expected {} sizes", 2 * rank);
                    return Err(Error::malformed(text));
                }
                self.before = pads[..rank].to_vec();
                self.after = pads[rank..].to_vec();
            }
            "VALID" => {}
            "SAME_UPPER" | "SAME_LOWER" => {
                for axis in 0..rank {
                    let windows = self.input[axis].div_ceil(self.strides[axis]);
                    let reach = windows.saturating_sub(1).saturating_mul(self.strides[axis]);
                    let needed = reach.saturating_add(self.extent(axis));
                    let total = needed.saturating_sub(self.input[axis]);
                    let half = if auto == "SAME_UPPER" { total / 2 } else { total.div_ceil(2) };
                    (self.before[axis], self.after[axis]) = (half, total - half);
                }
            }
            other => return Err(Error::malformed(format!("attribute auto_pad: found '{other}'"))),
        }
        Ok(())
    }

    /// The distance from the first element under the kernel to past the last.
    pub(super) fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilations[axis]).saturating_add(1)
    }

    fn count(&self, axis: usize, ceil: bool) -> Result<usize> {
        let padded = self.input[axis].checked_add(self.before[axis]);
        let padded = padded.and_then(|sum| sum.checked_add(self.after[axis]));
        let room = padded.and_then(|padded| padded.checked_sub(self.extent(axis)));
        let room = room.ok_or_else(|| {
            let found = self.input[axis];
            let text =
                format!("found {found} elements along spatial axis {axis}, expected room for");
            Error::malformed(format!("{text} a kernel that spans {}", self.extent(axis)))
        })?;
        let stride = self.strides[axis];
        if !ceil {
            return Ok(room / stride + 1);
        }
        // A window that would start in the padding at the end is left out.
        let count = room.div_ceil(stride) + 1;
        let last = (count - 1).saturating_mul(stride);
        Ok(if last >= self.input[axis] + self.before[axis] { count - 1 } else { count })
    }

    /// The kernel's taps along an axis that lie inside the input, for one window: first tap, and
    /// past the last.
    pub(super) fn taps(&self, axis: usize, window: usize) -> (usize, usize) {
        let start = window * self.strides[axis];
        let skipped = self.before[axis].saturating_sub(start).div_ceil(self.dilations[axis]);
        let end = (self.input[axis] + self.before[axis]).saturating_sub(start);
        (skipped.min(self.kernel[axis]), end.div_ceil(self.dilations[axis]).min(self.kernel[axis]))
    }

    /// The place of a tap along an axis, which must lie inside.
    pub(super) fn place(&self, axis: usize, window: usize, tap: usize) -> usize {
        window * self.strides[axis] + tap * self.dilations[axis] - self.before[axis]
    }

    pub(super) fn windows(&self) -> usize {
        self.output.iter().product()
    }

    pub(super) fn taps_all(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Calls `visit` with (tap, place), both flat, for each tap of a window inside the input.
    pub(super) fn each_tap(&self, window: usize, mut visit: impl FnMut(usize, usize)) {
        let rank = self.input.len();
        let mut spans = Vec::with_capacity(rank);
        let mut rest = window;
        for axis in (0..rank).rev() {
            let index = rest % self.output[axis];
            rest /= self.output[axis];
            let (first, end) = self.taps(axis, index);
            if first >= end {
                return;
            }
            spans.push((index, first, end));
        }
        spans.reverse();
        let mut taps: Vec<usize> = spans.iter().map(|span| span.1).collect();
        loop {
            let (mut tap, mut place) = (0, 0);
            for axis in 0..rank {
                tap = tap * self.kernel[axis] + taps[axis];
                place = place * self.input[axis] + self.place(axis, spans[axis].0, taps[axis]);
            }
            visit(tap, place);
            let mut axis = rank;
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                taps[axis] += 1;
                if taps[axis] < spans[axis].2 {
                    break;
                }
                taps[axis] = spans[axis].1;
            }
        }
    }
}

/// Sizes for each spatial axis, all above 0.
fn positive(call: &Call<'_>, name: &str, rank: usize) -> Result<Vec<usize>> {
    let stated = match call.list(name)? {
        None => return Ok(vec![1; rank]),
        Some(values) => sizes(values)?,
    };
    if stated.len() != rank || stated.contains(&0) {
        let text = format!("attribute {name}: found {stated:?}, expected {rank} sizes above 0");
        return Err(Error::malformed(text));
    }
    Ok(stated)
}
