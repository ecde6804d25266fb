//! `remold tokenize`: text as a model sees it.

use std::path::PathBuf;

use super::args::{Common, ModelPath, Reading, text_file};
use super::{Outcome, report};
use crate::ir::{Access, Notes, Result};
use crate::run::tokens::Encoder;

/// Prints the token ids of a text, separated by commas
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// The text.
    #[arg(value_name = "TEXT", required_unless_present = "file")]
    text: Option<String>,
    /// A file with the text.
    #[arg(short, long, value_name = "FILE", conflicts_with = "text")]
    file: Option<PathBuf>,
    /// Recognise special tokens in the text, and add those that the tokenizer adds to a prompt.
    #[arg(long)]
    special: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let model = self.reading.model(&self.path.model, Access::Read, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let text = match &self.file {
            Some(file) => text_file(file)?,
            None => self.text.clone().unwrap_or_default(),
        };
        let ids =
            Encoder::new(model.require_tokenizer()?)?.encode(&text, self.special, self.special)?;
        self.reading.check_unchanged()?;
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        report::result(&format!("{}\n", ids.join(",")))?;
        Ok(Outcome::Done)
    }
}
