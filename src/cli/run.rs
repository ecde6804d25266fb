//! `remold run`: text in, text out.

use std::path::PathBuf;

use super::args::{Common, ModelPath, Reading};
use super::{Outcome, report};
use crate::ir::tokenizer::{Role, Tokenizer};
use crate::ir::{Access, Error, Notes, Result};
use crate::run::sample::{Sampler, Sampling};
use crate::run::tokens::{Encoder, Stream};
use crate::run::{self, Decoder, chat};

/// Continues a prompt; the text goes to standard output, and nothing else does
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// The text to continue.
    #[arg(short, long, value_name = "TEXT", required_unless_present = "file")]
    prompt: Option<String>,
    /// A file with the text to continue.
    #[arg(short, long, value_name = "FILE", conflicts_with = "prompt")]
    file: Option<PathBuf>,
    /// Tokens to generate, at the most.
    #[arg(short, value_name = "N", default_value_t = 64)]
    n: usize,
    /// Temperature; 0 always takes the likeliest token.
    #[arg(long = "temp", value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// The seed of the choice at temperatures above 0.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Say the prompt as a user in a chat, by the model's template.
    #[arg(long)]
    chat: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            let text = format!("--temp {}: expected 0 or more", self.temperature);
            return Err(Error::usage(text));
        }
        let mut notes = Notes::default();
        let model = self.reading.model(&self.path.model, Access::Map, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let tokenizer = model.require_tokenizer()?;
        let prompt = match &self.file {
            Some(file) => super::args::text_file(file)?,
            None => self.prompt.clone().unwrap_or_default(),
        };
        let encoder = Encoder::new(tokenizer)?;
        let tokens = if self.chat {
            let said = chat::Message { role: "user".into(), content: prompt };
            let text = chat::prompt(tokenizer, &[said]).map_err(|error| error.at(&model.origin))?;
            // The template writes special tokens where they belong, the first included.
            encoder.encode(&text, true, false)?
        } else {
            encoder.encode(&prompt, true, true)?
        };
        if tokens.is_empty() {
            return Err(Error::usage("the prompt has no tokens; give some text"));
        }
        let decoder = Decoder::new(&model)?;
        let pool = run::pool(self.common.threads()?.get())?;
        pool.install(|| self.generate(&decoder, &encoder, tokenizer, &tokens))?;
        report::result("\n")?;
        // Text is shown as it is made; that it is the model's is known at the end.
        self.reading.check_unchanged()?;
        Ok(Outcome::Done)
    }

    fn generate(
        &self,
        decoder: &Decoder,
        encoder: &Encoder,
        tokenizer: &Tokenizer,
        prompt: &[u32],
    ) -> Result<()> {
        let ends: Vec<u32> = [Role::Eos, Role::Eot, Role::Eom]
            .into_iter()
            .filter_map(|role| tokenizer.role(role))
            .collect();
        let sampling = Sampling { temperature: self.temperature, ..Sampling::default() };
        let mut sampler = Sampler::new(sampling, self.seed);
        let mut cache = decoder.cache(prompt.len() + self.n)?;
        let mut text = Stream::default();
        let mut next = prompt.to_vec();
        for _ in 0..self.n {
            let logits = decoder.forward_last(&mut cache, &next)?;
            let token = sampler.sample(&logits);
            if ends.contains(&token) {
                break;
            }
            report::result(&text.push(encoder.piece(token)?))?;
            next = vec![token];
        }
        report::result(&text.finish())
    }
}
