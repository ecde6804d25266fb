//! `remold logits`: what a model says, as numbers.

use std::path::PathBuf;

use super::args::{Common, ModelPath, Prompt, Reading};
use super::feed::Feed;
use super::{Outcome, arrays, report};
use crate::ir::{Access, Error, Notes, Result};
use crate::run::graph::Session;
use crate::run::{self, Decoder};

/// Runs a model and writes its logits as f32 [positions, vocab]; or runs a graph
///
/// A graph, such as ONNX, is run on the arrays of an .npz by the names of its inputs, and each of
/// its outputs is written by its name. Inputs that are not given are made from what it declares.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    #[command(flatten)]
    prompt: Prompt,
    #[command(flatten)]
    feed: Feed,
    /// The file to write: .npy, or .npz for the outputs of a graph.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Decode token by token with the cache, instead of the whole prompt at once.
    #[arg(long)]
    step: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let model = self.reading.model(&self.path.model, Access::Map, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        if let Some(program) = &model.graph {
            let prompt = self.prompt.given(&model)?;
            let pool = run::pool(self.common.threads()?.get())?;
            let session = Session::new(program, &model.tensors, self.reading.bounds()?)?;
            let inputs = self.feed.inputs(&session, prompt.as_deref(), self.common.quiet)?;
            let outputs = pool.install(|| session.run(inputs))?;
            report::file(&self.output, &arrays::write(&outputs)?)?;
            return Ok(Outcome::Done);
        }
        self.feed.refuse()?;
        let tokens = self.prompt.tokens(&model)?;
        let decoder = Decoder::new(&model)?;
        let pool = run::pool(self.common.threads()?.get())?;
        let logits = pool.install(|| self.forward(&decoder, &tokens))?;
        let shape = [tokens.len() as u64, decoder.vocab() as u64];
        let mut bytes = npy::header(npy::Descr::F32, &shape)
            .map_err(|error| Error::bug(format!("an array that cannot be described: {error}")))?;
        bytes.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
        report::file(&self.output, &bytes)?;
        Ok(Outcome::Done)
    }

    fn forward(&self, decoder: &Decoder, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut cache = decoder.cache(tokens.len())?;
        if !self.step {
            return decoder.forward(&mut cache, tokens);
        }
        let mut logits = Vec::new();
        for token in tokens {
            logits.extend(decoder.forward(&mut cache, std::slice::from_ref(token))?);
        }
        Ok(logits)
    }
}
