//! `remold verify`: whether two models are the same, with numbers and an exit code.

use std::path::{Path, PathBuf};

use super::args::{Common, Reading, encode, parse_tokens, text_chunks};
use super::feed::Feed;
use super::{Outcome, report};
use crate::convert::{comparable, ordered};
use crate::formats::Format;
use crate::ir::{Access, Blob, Error, Model, Notes, Result};
use crate::quant::ImportanceMatrix;
use crate::read::imatrix;
use crate::run::graph::Session;
use crate::run::{self, tokens::Encoder};
use crate::verify::{Asked, GraphOptions, On, Options, Report, compare, compare_graphs, tokens};

/// Runs two models side by side and says whether they are the same (exit 1 if not)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model that is right.
    #[arg(value_name = "REFERENCE")]
    reference: PathBuf,
    /// The model that was made of it.
    #[arg(value_name = "CANDIDATE")]
    candidate: PathBuf,
    /// Token ids to run on; nothing is added to them.
    #[arg(long, value_name = "1,2,3", group = "on")]
    tokens: Option<String>,
    /// A text to run on.
    #[arg(long, value_name = "TEXT", group = "on")]
    prompt: Option<String>,
    /// A file with a text to run on, cut and scored as by `perplexity`.
    #[arg(long, value_name = "FILE", group = "on")]
    text: Option<PathBuf>,
    /// Tokens of a chunk of the text.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "text")]
    ctx: usize,
    /// Run only so many chunks of the text.
    #[arg(long, value_name = "N", requires = "text")]
    chunks: Option<usize>,
    /// The importance matrix that the candidate was quantized with: packed weights are then held
    /// against what it makes of the reference.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    #[command(flatten)]
    feed: Feed,
    /// Compare the values between the nodes of two graphs, and name where they first depart.
    #[arg(long)]
    layers: bool,
    /// The mean KLD of the logits may be at most this.
    #[arg(long, value_name = "X", value_parser = tolerance)]
    max_kld: Option<f64>,
    /// The share of positions with the same likeliest token must be at least this.
    #[arg(long, value_name = "X", value_parser = tolerance)]
    min_top1: Option<f64>,
    /// The NMSE of the logits, or of a graph's outputs, may be at most this.
    #[arg(long, value_name = "X", value_parser = tolerance)]
    max_nmse: Option<f64>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the gates as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the report as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show every tensor, not only the worst.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let reference = self.reading.intact(&self.reference, Access::Map, &mut notes)?;
        let candidate = self.reading.intact(&self.candidate, Access::Map, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let reports = [&self.json, &self.junit, &self.html].into_iter().flatten();
        let beside = [&self.text, &self.imatrix, &self.feed.input].into_iter().flatten();
        let (reports, beside): (Vec<&Path>, Vec<&Path>) =
            (reports.map(|path| &**path).collect(), beside.map(|path| &**path).collect());
        self.reading.refuse_outputs(&reports, &beside)?;
        let asked =
            Asked { max_kld: self.max_kld, min_top1: self.min_top1, max_nmse: self.max_nmse };
        let found = if reference.graph.is_some() || candidate.graph.is_some() {
            self.graphs(&reference, &candidate, asked)?
        } else {
            self.feed.refuse()?;
            let on = self.on(&reference)?;
            let importance = self.importance()?;
            let options = Options { asked, importance: importance.as_ref(), ..Options::default() };
            models((&reference, &candidate, None), on, options, &self.common)?
        };
        self.reading.check_unchanged()?;
        if let Some(path) = &self.json {
            report::file(path, format!("{:#}\n", found.to_json()).as_bytes())?;
        }
        if let Some(path) = &self.junit {
            report::file(path, found.to_junit().as_bytes())?;
        }
        if let Some(path) = &self.html {
            report::file(path, found.to_html().as_bytes())?;
        }
        if !self.common.quiet || !found.pass {
            report::result(&found.to_text(self.all))?;
        }
        Ok(outcome(&found))
    }

    fn importance(&self) -> Result<Option<ImportanceMatrix>> {
        let Some(path) = &self.imatrix else { return Ok(None) };
        imatrix::read(&Blob::open(path, Access::Read)?, &self.reading.limits()?).map(Some)
    }

    /// Compares graphs, or a graph with a family's runner.
    fn graphs(&self, reference: &Model, candidate: &Model, asked: Asked) -> Result<Report> {
        if self.imatrix.is_some() {
            return Err(Error::usage("--imatrix is for packed weights, and a graph has none"));
        }
        let on = match self.on(reference)? {
            Some(On::Ids(ids)) => Some(ids),
            Some(On::Chunks(_) | On::Drawn) => {
                let text = "a graph is run on --tokens, --prompt or --input, not on --text";
                return Err(Error::usage(text));
            }
            None => None,
        };
        let how = How { asked, layers: self.layers, on: on.as_deref(), feed: &self.feed };
        graphs(reference, candidate, &how, &self.reading, &self.common)
    }

    fn on(&self, reference: &Model) -> Result<Option<On>> {
        match (&self.tokens, &self.prompt, &self.text) {
            (Some(ids), ..) => parse_tokens(ids).map(|ids| Some(On::Ids(ids))),
            (_, Some(text), _) => encode(reference, text).map(|ids| Some(On::Ids(ids))),
            (.., Some(file)) => {
                let chunks = text_chunks(reference, file, self.ctx, self.chunks)?;
                Ok(Some(On::Chunks(chunks)))
            }
            _ => Ok(None),
        }
    }
}

/// How graphs are compared.
#[derive(Clone, Copy)]
struct How<'a> {
    asked: Asked,
    layers: bool,
    on: Option<&'a [u32]>,
    feed: &'a Feed,
}

/// Compares two models of which one at least is a graph.
fn graphs(
    reference: &Model,
    candidate: &Model,
    how: &How<'_>,
    reading: &Reading,
    common: &Common,
) -> Result<Report> {
    let inputs = |session: &Session| how.feed.inputs(session, how.on, common.quiet);
    // A graph and bare weights have the names in common that the graph tells; two graphs have
    // their own, or none.
    let alone = reference.graph.is_none() || candidate.graph.is_none();
    let named = match alone {
        true => {
            how.feed.refuse()?;
            let (theirs, ours) = (reference.clone(), candidate.clone());
            Some(comparable(theirs, ours, &mut Notes::default())?)
        }
        false => None,
    };
    let (theirs, ours) = named.as_ref().map_or((reference, candidate), |(a, b)| (a, b));
    let options = GraphOptions {
        inputs: &inputs,
        tokens: how.on,
        weights: [&theirs.tensors, &ours.tensors],
        asked: how.asked,
        layers: how.layers,
        bounds: reading.bounds()?,
    };
    let pool = run::pool(common.threads()?.get())?;
    pool.install(|| compare_graphs(reference, candidate, &options))
}

/// A tolerance is a number: nothing passes a NaN, and everything a negative one fails.
fn tolerance(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    number.ok_or_else(|| "expected a number of 0 or more".to_owned())
}

/// Compares two models that have been read. If nothing is said, on the built-in text where there
/// is a tokenizer, else on drawn ids. The candidate's format, if it was just written.
fn models(
    (reference, candidate, written): (&Model, &Model, Option<&Format>),
    on: Option<On>,
    options: Options<'_>,
    common: &Common,
) -> Result<Report> {
    let on = match (on, &reference.tokenizer) {
        (Some(on), _) => on,
        (None, Some(tokenizer)) => {
            On::Ids(Encoder::new(tokenizer)?.encode(tokens::TEXT, false, true)?)
        }
        (None, None) => On::Drawn,
    };
    let options = Options { on, ..options };
    let (reference, candidate) = ordered(reference.clone(), candidate.clone(), written)?;
    let pool = run::pool(common.threads()?.get())?;
    pool.install(|| compare(&reference, &candidate, &options))
}

/// The proof after a conversion: source and target, each read anew.
///
/// # Errors
/// What reading either of them meets.
pub(super) fn after(
    (source, target, written): (&Path, &Path, &Format),
    importance: Option<&ImportanceMatrix>,
    reading: &Reading,
    common: &Common,
) -> Result<Report> {
    let mut notes = Notes::default();
    let reference = reading.intact(source, Access::Map, &mut notes)?;
    let anew = Reading { from: None, include: Vec::new(), exclude: Vec::new(), ..reading.clone() };
    let candidate = anew.intact(target, Access::Map, &mut notes)?;
    if reference.graph.is_none() && candidate.graph.is_none() {
        let options = Options { importance, ..Options::default() };
        let sides = (&reference, &candidate, Some(written));
        let found = models(sides, None, options, common)?;
        return reading.check_unchanged().map(|()| found);
    }
    let feed = Feed::default();
    let how = How { asked: Asked::default(), layers: false, on: None, feed: &feed };
    let found = graphs(&reference, &candidate, &how, reading, common)?;
    reading.check_unchanged().map(|()| found)
}

/// What the report says, as the exit code has it.
pub(super) fn outcome(found: &Report) -> Outcome {
    if found.pass { Outcome::Done } else { Outcome::Differs }
}
