//! `remold perplexity`: how well a model predicts a text.

use std::path::PathBuf;

use serde_json::json;

use super::args::{Common, ModelPath, Reading, text_chunks};
use super::{Outcome, report};
use crate::ir::{Access, Notes, Result};
use crate::run;
use crate::verify::perplexity::{Perplexity, perplexity};
use crate::verify::{Chunk, decoder};
use crate::write::Unit;

/// Measures how well a model predicts a text, as llama-perplexity does
///
/// The text is cut into chunks, each run from an empty cache with BOS first where the tokenizer
/// puts one before a text; the second half of each chunk is scored, and what is left at the end
/// is not run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// The text.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", default_value_t = 512)]
    ctx: usize,
    /// Run only so many chunks.
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
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
        let chunks = text_chunks(&model, &self.file, self.ctx, self.chunks)?;
        let pool = run::pool(self.common.threads()?.get())?;
        let progress = report::progress(Unit::Chunks, self.common.quiet);
        progress.start(chunks.len() as u64);
        let found = pool.install(|| {
            let mut runner = decoder(&model)?;
            perplexity(&mut *runner, &chunks, |_, _| progress.add(1))
        });
        progress.finish();
        let found = found?;
        self.reading.check_unchanged()?;
        self.show(&found, &chunks)
    }

    fn show(&self, found: &Perplexity, chunks: &[Chunk]) -> Result<Outcome> {
        let Perplexity { perplexity, surprise, scored } = found;
        let context = chunks.first().map_or(0, |chunk| chunk.ids.len());
        if self.json {
            report::json(&json!({
                "perplexity": perplexity.value,
                "perplexity_error": perplexity.error,
                "mean_nll": surprise.value,
                "mean_nll_error": surprise.error,
                "chunks": chunks.len(),
                "context": context,
                "scored": scored,
            }))?;
        } else {
            let (value, error, count) = (perplexity.value, perplexity.error, chunks.len());
            report::result(&format!(
                "perplexity {value:.4} ± {error:.4}: {scored} tokens scored, \
                 {count} chunks of {context}\n"
            ))?;
        }
        Ok(Outcome::Done)
    }
}
