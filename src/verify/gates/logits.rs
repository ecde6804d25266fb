//! The gate of logits: both models run on the same ids, each by its own conventions.

use std::ops::Range;

use crate::ir::{Error, Fault, Model, Result};
use crate::run::{Cache, Decoder, Encoder, Machine, Seq2Seq};
use crate::verify::chunks::Chunk;
use crate::verify::metrics::{Gather, Metrics};
use crate::verify::report::{Gate, number};

/// What the gate is called.
pub(crate) const NAME: &str = "logits";

/// What two runners of the same weights may differ by: the order of additions in binary32.
const EXACT_NMSE: f64 = 1e-10;
/// A divergence too small to speak of, in nats.
const EPSILON_KLD: f64 = 1e-5;
/// Bytes of logits of one model that are held at once.
const HELD: usize = 32 << 20;

/// A model that is ready to run.
pub trait Runner {
    /// The number of logits at each position.
    fn vocab(&self) -> usize;

    /// Whether a text must be given whole, because positions see those after them.
    fn is_whole(&self) -> bool {
        false
    }

    /// Forgets everything and makes room for a text of `len` ids.
    ///
    /// # Errors
    /// Limit if there is no memory for it.
    fn begin(&mut self, len: usize) -> Result<()>;

    /// Continues the text: logits `[ids, vocab]`.
    ///
    /// # Errors
    /// Malformed for an id outside the vocabulary; Io from reading weights.
    fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>>;
}

/// Makes a model ready to run. A fault of Unsupported means that its family has no runner.
pub type Open = dyn for<'m> Fn(&'m Model) -> Result<Box<dyn Runner + 'm>> + Sync;

/// Makes a model ready to run.
///
/// # Errors
/// What [`Machine::new`] says: Unsupported if the family has no runner.
pub fn machine(model: &Model) -> Result<Box<dyn Runner + '_>> {
    Ok(match Machine::new(model)? {
        Machine::Decoder(decoder) => Box::new(Decoding::of(decoder)?),
        Machine::Encoder(encoder) => encoder,
        Machine::Seq2Seq(seq2seq) => seq2seq,
    })
}

/// Makes a model ready to run that continues a text.
///
/// # Errors
/// What [`Decoder::new`] says: Unsupported if it is none.
pub fn decoder(model: &Model) -> Result<Box<dyn Runner + '_>> {
    Ok(Box::new(Decoding::of(Box::new(Decoder::new(model)?))?))
}

impl Runner for Encoder {
    fn vocab(&self) -> usize {
        self.width()
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn begin(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        Self::forward(self, ids)
    }
}

/// The text is what is read, and what is written after the first token.
impl Runner for Seq2Seq {
    fn vocab(&self) -> usize {
        Self::vocab(self)
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn begin(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        let written: Vec<u32> = [self.start()].iter().chain(ids).copied().take(ids.len()).collect();
        Self::forward(self, &mut self.read(ids, written.len())?, &written)
    }
}

struct Decoding {
    decoder: Box<Decoder>,
    cache: Cache,
}

impl Decoding {
    fn of(decoder: Box<Decoder>) -> Result<Self> {
        let cache = decoder.cache(0)?;
        Ok(Self { decoder, cache })
    }
}

impl Runner for Decoding {
    fn vocab(&self) -> usize {
        self.decoder.vocab()
    }

    fn begin(&mut self, len: usize) -> Result<()> {
        self.cache = self.decoder.cache(len)?;
        Ok(())
    }

    fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>> {
        self.decoder.forward(&mut self.cache, ids)
    }
}

/// What is run, and on what.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'p> {
    /// The reference.
    pub(crate) reference: &'p Model,
    /// The candidate.
    pub(crate) candidate: &'p Model,
    /// The reference in our own encoding; nothing if every value is equal, or it cannot be made.
    pub(crate) own: Option<&'p Model>,
    /// Whether every value is equal.
    pub(crate) exact: bool,
    /// What they are run on.
    pub(crate) chunks: &'p [Chunk],
}

/// What came of it.
pub(crate) enum Ran {
    /// Both were run: the numbers, and the gate if there is a limit to hold them against.
    Compared(Box<Metrics>, Option<Gate>),
    /// The candidate does not run.
    Failed(Error),
    /// Nothing was run, for this reason.
    Skipped(String),
}

/// Runs both models, and the reference in our own encoding beside them.
///
/// # Errors
/// From running the reference.
pub(crate) fn run(plan: &Plan<'_>, open: &Open) -> Result<Ran> {
    let mut reference = match open(plan.reference) {
        Ok(runner) => runner,
        Err(error) if error.fault == Fault::Unsupported => {
            return Ok(Ran::Skipped(format!("the models were not run: {error}")));
        }
        Err(error) => return Err(error.at(&plan.reference.origin)),
    };
    let mut candidate = match open(plan.candidate) {
        Ok(runner) => runner,
        Err(error) if error.fault == Fault::Unsupported => {
            return Ok(Ran::Skipped(format!("the candidate was not run: {error}")));
        }
        Err(error) => return Ok(Ran::Failed(error)),
    };
    let (expected, found) = (reference.vocab(), candidate.vocab());
    if expected != found {
        let text = format!("logits of {found} ids cannot be compared with logits of {expected}");
        return Ok(Ran::Skipped(text));
    }
    let mut own = plan.own.map(open).transpose()?;
    let (mut gather, mut baseline) = (Gather::default(), Gather::default());
    let step = (HELD / (expected.max(1) * 4)).clamp(1, 64);
    for chunk in plan.chunks {
        let len = chunk.ids.len();
        let step = if reference.is_whole() { len.max(1) } else { step };
        reference.begin(len)?;
        own.as_mut().map_or(Ok(()), |own| own.begin(len))?;
        if let Err(error) = candidate.begin(len) {
            return Ok(Ran::Failed(error));
        }
        for start in (0..len).step_by(step) {
            let ids = start..len.min(start + step);
            let part = Part::of(chunk, ids.clone(), expected);
            let theirs = reference.forward(&chunk.ids[ids.clone()])?;
            match candidate.forward(&chunk.ids[ids.clone()]) {
                Ok(ours) => part.compare(&theirs, &ours, &mut gather),
                Err(error) => return Ok(Ran::Failed(error)),
            }
            if let Some(own) = &mut own {
                part.compare(&theirs, &own.forward(&chunk.ids[ids])?, &mut baseline);
            }
        }
    }
    let Some(metrics) = gather.finish() else {
        return Ok(Ran::Skipped("there are no ids to run on".into()));
    };
    let gate = judge(plan, &metrics, baseline.finish());
    Ok(Ran::Compared(Box::new(metrics), gate))
}

/// The scored positions among those that are run at once.
struct Part {
    vocab: usize,
    /// Logits of the scored positions.
    logits: Range<usize>,
    next: Vec<Option<u32>>,
}

impl Part {
    fn of(chunk: &Chunk, ids: Range<usize>, vocab: usize) -> Self {
        let first = chunk.scored.start.clamp(ids.start, ids.end);
        let end = chunk.scored.end.clamp(first, ids.end);
        let logits = (first - ids.start) * vocab..(end - ids.start) * vocab;
        Self { vocab, logits, next: (first..end).map(|i| chunk.next(i)).collect() }
    }

    fn compare(&self, reference: &[f32], candidate: &[f32], gather: &mut Gather) {
        let (theirs, ours) = (&reference[self.logits.clone()], &candidate[self.logits.clone()]);
        gather.add(self.vocab, theirs, ours, &self.next);
    }
}

fn judge(plan: &Plan<'_>, metrics: &Metrics, baseline: Option<Metrics>) -> Option<Gate> {
    if plan.exact {
        let text = "NMSE: every weight has the same value, so only the order of sums may differ";
        return Some(Gate::at_most(NAME, metrics.nmse, EXACT_NMSE, text));
    }
    let own = baseline?.kld.mean.value;
    let text = format!("mean KLD; our own encoding gives {}", number(own));
    Some(Gate::at_most(NAME, metrics.kld.mean.value, 2.0 * own + EPSILON_KLD, text))
}
