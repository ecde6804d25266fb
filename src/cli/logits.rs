//! `remold logits`: what a model says, as numbers.

use std::path::{Path, PathBuf};

use super::args::{Common, ModelPath, Prompt, Reading, parse_tokens};
use super::feed::Feed;
use super::{Outcome, arrays, report};
use crate::ir::{Access, Error, Notes, Result};
use crate::run::graph::Session;
use crate::run::{self, Machine};

/// Runs a model and writes its logits as f32 [positions, vocab]; hidden states without a head
///
/// A graph, such as ONNX, is run on the arrays of an .npz by the names of its inputs, and each of
/// its outputs is written by its name. Inputs that are not given are made from what it declares.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    #[command(flatten)]
    prompt: Prompt,
    /// What the decoder of a model with an encoder has written; its first token unless given.
    #[arg(long, value_name = "1,2,3")]
    decoder_tokens: Option<String>,
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
        let beside: Vec<&Path> = self.feed.input.iter().map(|path| &**path).collect();
        self.reading.refuse_outputs(&[&self.output], &beside)?;
        if let Some(program) = &model.graph {
            let prompt = self.prompt.given(&model)?;
            let pool = run::pool(self.common.threads()?.get())?;
            let session = Session::new(program, &model.tensors, self.reading.bounds()?)?;
            let inputs = self.feed.inputs(&session, prompt.as_deref(), self.common.quiet);
            let inputs = inputs.map_err(|error| error.at(&model.origin))?;
            let outputs = pool.install(|| session.run(inputs))?;
            self.reading.check_unchanged()?;
            report::file(&self.output, &arrays::write(&outputs)?)?;
            return Ok(Outcome::Done);
        }
        self.feed.refuse()?;
        let tokens = self.prompt.tokens(&model)?;
        let decoder_tokens = self.decoder_tokens.as_deref().map(parse_tokens).transpose()?;
        let machine = Machine::new(&model)?;
        let pool = run::pool(self.common.threads()?.get())?;
        let logits = pool.install(|| self.forward(&machine, &tokens, decoder_tokens))?;
        let width = machine.width();
        let shape = [(logits.len() / width.max(1)) as u64, width as u64];
        let mut bytes = npy::header(npy::Descr::F32, &shape)
            .map_err(|error| Error::bug(format!("an array that cannot be described: {error}")))?;
        bytes.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
        self.reading.check_unchanged()?;
        report::file(&self.output, &bytes)?;
        Ok(Outcome::Done)
    }

    fn forward(
        &self,
        machine: &Machine,
        tokens: &[u32],
        decoder_tokens: Option<Vec<u32>>,
    ) -> Result<Vec<f32>> {
        if decoder_tokens.is_some() && !matches!(machine, Machine::Seq2Seq(_)) {
            let text = "--decoder-tokens is for models of an encoder and a decoder";
            return Err(Error::usage(text));
        }
        match machine {
            Machine::Decoder(decoder) => {
                let mut cache = decoder.cache(tokens.len())?;
                self.pieces(tokens, |piece| decoder.forward(&mut cache, piece))
            }
            Machine::Encoder(_) if self.step => {
                Err(Error::usage("--step: each position of an encoder sees the whole text"))
            }
            Machine::Encoder(encoder) => encoder.forward(tokens),
            Machine::Seq2Seq(seq2seq) => {
                let written = decoder_tokens.unwrap_or_else(|| vec![seq2seq.start()]);
                let mut conversation = seq2seq.read(tokens, written.len())?;
                self.pieces(&written, |piece| seq2seq.forward(&mut conversation, piece))
            }
        }
    }

    /// All at once, or one by one.
    fn pieces(
        &self,
        tokens: &[u32],
        mut forward: impl FnMut(&[u32]) -> Result<Vec<f32>>,
    ) -> Result<Vec<f32>> {
        if !self.step {
            return forward(tokens);
        }
        let mut logits = Vec::new();
        for token in tokens {
            logits.extend(forward(std::slice::from_ref(token))?);
        }
        Ok(logits)
    }
}
