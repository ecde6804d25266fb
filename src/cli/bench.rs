//! `remold bench`: tokens a second.

use serde_json::json;

use super::args::{Common, ModelPath, Reading};
use super::{Outcome, report};
use crate::ir::{Access, Notes, Result};
use crate::run::{self, Decoder};

/// Measures how many tokens a second a model reads and writes
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// Tokens of the prompt.
    #[arg(short, value_name = "N", default_value_t = 512)]
    p: usize,
    /// Tokens generated after it.
    #[arg(short, value_name = "N", default_value_t = 64)]
    n: usize,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
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
        let decoder = Decoder::new(&model)?;
        let threads = self.common.threads()?.get();
        let speeds = run::pool(threads)?.install(|| run::bench(&decoder, self.p, self.n))?;
        let (prompt, generation) =
            (speeds.prompt_tokens_per_second, speeds.generation_tokens_per_second);
        self.reading.check_unchanged()?;
        if self.json {
            report::json(&json!({
                "prompt_tokens": self.p,
                "prompt_tokens_per_second": prompt,
                "generation_tokens": self.n,
                "generation_tokens_per_second": generation,
                "threads": threads,
            }))?;
        } else {
            report::result(&format!(
                "prompt of {:>5}: {prompt:9.2} tokens/s\ngeneration of {:>2}: {generation:9.2} tokens/s\n",
                self.p, self.n
            ))?;
        }
        Ok(Outcome::Done)
    }
}
