//! `remold diff`: what differs between two models, tensor by tensor, across formats.

use std::path::PathBuf;

use super::args::{Common, Reading};
use super::{Outcome, report};
use crate::ir::{Access, Notes, Result};
use crate::{convert, quant, run, verify};

/// Lists what differs between two models, tensor by tensor (exit 1 if values do)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One model.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The other.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
    /// Show every difference, not only the first.
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
        let a = self.reading.intact(&self.a, Access::Read, &mut notes)?;
        let b = self.reading.intact(&self.b, Access::Read, &mut notes)?;
        let (a, b) = convert::comparable(a, b, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let pool = run::pool(self.common.threads()?.get())?;
        let found = pool.install(|| verify::diff(&a, &b, quant::quantizer_for))?;
        self.reading.check_unchanged()?;
        if self.json {
            report::json(&found.to_json())?;
        } else {
            report::result(&found.to_text(self.all))?;
        }
        Ok(if found.differs() { Outcome::Differs } else { Outcome::Done })
    }
}
