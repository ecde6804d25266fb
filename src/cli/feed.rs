//! What a graph is run on.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::{arrays, report};
use crate::ir::{Error, Result};
use crate::run::graph::{Session, Value, Wanted};

/// What a graph is run on.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Feed {
    /// Arrays by the names of a graph's inputs.
    #[arg(long, value_name = "IN.npz", group = "on")]
    pub(crate) input: Option<PathBuf>,
    /// The size of a named dimension of a graph's inputs (1 unless given); may be repeated.
    #[arg(long, value_name = "NAME=N")]
    pub(crate) dim: Vec<String>,
    /// Where the generator of inputs that are not given starts.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

impl Feed {
    /// The inputs of a graph: given, of token ids, or made; what was made is said on stderr.
    ///
    /// # Errors
    /// What reading the arrays meets; Usage for names that the graph does not have.
    pub(crate) fn inputs(
        &self,
        session: &Session,
        tokens: Option<&[u32]>,
        quiet: bool,
    ) -> Result<IndexMap<String, Value>> {
        if let Some(ids) = tokens {
            return session.fill_tokens(ids);
        }
        let mut inputs = match &self.input {
            Some(path) => arrays::read(path)?,
            None => IndexMap::new(),
        };
        for note in session.fill(&mut inputs, &self.wanted()?)? {
            if !quiet {
                report::line(&format!("note: {note}"));
            }
        }
        Ok(inputs)
    }

    fn wanted(&self) -> Result<Wanted> {
        let mut wanted = Wanted { seed: self.seed, ..Wanted::default() };
        for text in &self.dim {
            let wrong = || Error::usage(format!("--dim {text}: expected NAME=N"));
            let (name, size) = text.split_once('=').ok_or_else(wrong)?;
            wanted.dims.insert(name.to_owned(), size.parse().map_err(|_| wrong())?);
        }
        Ok(wanted)
    }

    /// For models that are no graphs.
    ///
    /// # Errors
    /// Usage if anything of this was given.
    pub(crate) fn refuse(&self) -> Result<()> {
        if self.input.is_some() || !self.dim.is_empty() {
            let text = "--input and --dim are for graphs, such as ONNX; this model takes --tokens";
            return Err(Error::usage(text));
        }
        Ok(())
    }
}
