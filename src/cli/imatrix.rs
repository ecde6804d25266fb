//! `remold imatrix`: how much the columns of each matrix matter on a text.

use std::path::PathBuf;
use std::sync::Arc;

use super::args::{Common, ModelPath, Reading, text_chunks};
use super::{Outcome, report};
use crate::arch;
use crate::ir::{Access, Error, Model, Naming, Notes, Result};
use crate::run::{self, Decoder, Inputs};
use crate::verify::Chunk;
use crate::write::Unit;
use crate::write::imatrix::{Entry, file};

/// Measures how much the columns of each matrix matter on a text, for --imatrix
///
/// The text is cut into chunks, each run from an empty cache with BOS first where the tokenizer
/// puts one before a text; what is left at the end is not run. The file is GGUF, as llama-imatrix
/// writes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// The text.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The GGUF file to write.
    #[arg(short, long, value_name = "OUT.gguf")]
    output: PathBuf,
    /// Tokens of a chunk.
    #[arg(long, value_name = "N", default_value_t = 512)]
    ctx: usize,
    /// Run only so many chunks.
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Measure the output matrix too.
    #[arg(long)]
    process_output: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let model = self.reading.model(&self.path.model, Access::Map, &mut notes)?;
        self.reading.refuse_outputs(&[&self.output], &[&self.file])?;
        let chunks = text_chunks(&model, &self.file, self.ctx, self.chunks)?;
        let model = named(model, &mut notes)?;
        let entries = self.measure(&model, &chunks, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let dataset = self.file.to_string_lossy();
        let size = chunks.first().map_or(0, |chunk| chunk.ids.len());
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let bytes = file(&dataset, count(chunks.len()), count(size), &entries)?;
        self.reading.check_unchanged()?;
        report::file(&self.output, &bytes)?;
        Ok(Outcome::Done)
    }

    fn measure(&self, model: &Model, chunks: &[Chunk], notes: &mut Notes) -> Result<Vec<Entry>> {
        let inputs = Arc::<Inputs>::default();
        let mut decoder = Decoder::new(model)?;
        decoder.watch(&inputs, self.process_output);
        let progress = report::progress(Unit::Chunks, self.common.quiet);
        progress.start(chunks.len() as u64);
        let ran: Result<()> = run::pool(self.common.threads()?.get())?.install(|| {
            chunks.iter().try_for_each(|chunk| {
                let cache = &mut decoder.cache(chunk.ids.len())?;
                // The output matrix is the largest of all: where nobody asks, one position will do.
                match self.process_output {
                    true => decoder.forward(cache, &chunk.ids)?,
                    false => decoder.forward_last(cache, &chunk.ids)?,
                };
                progress.add(1);
                Ok(())
            })
        });
        progress.finish();
        ran?;
        let entry = |(name, sums): (String, run::Sums)| {
            let unseen = sums.counts.iter().filter(|count| **count == 0).count();
            if unseen > 0 {
                let all = sums.counts.len();
                let text = format!("{unseen} of its {all} matrices were never used on this text");
                notes.chosen(&name, text);
            }
            let squares: Vec<f32> = sums.squares.iter().map(|x| *x as f32).collect();
            match squares.iter().find(|x| !x.is_finite()) {
                Some(x) => Err(Error::malformed(format!("{name}: a sum of squares is {x}"))),
                None => {
                    let counts = sums.counts.iter().map(|count| *count as f32).collect();
                    Ok(Entry { name, squares, counts })
                }
            }
        };
        inputs.sums().into_iter().map(entry).collect()
    }
}

/// The model under GGUF's names, by which an importance matrix goes.
fn named(model: Model, notes: &mut Notes) -> Result<Model> {
    match model.naming {
        Naming::Gguf => Ok(model),
        Naming::HuggingFace => {
            let arch = arch::require(&model)?;
            arch::rename(arch, &model, Naming::Gguf, notes).map(|(model, _)| model)
        }
    }
}
