//! Flags that several commands share.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use regex::Regex;

use crate::formats;
use crate::ir::{Access, Blob, Error, Limits, Model, Notes, Result};
use crate::quant::Search;
use crate::run::graph::Bounds;
use crate::run::tokens::Encoder;
use crate::store::{self, Files, Target};
use crate::transform::{self, Selection};
use crate::verify::{Chunk, chunks};
use crate::write::Edits;

/// More threads than any machine has cores only take memory.
const THREADS_MAX: usize = 1024;

/// How loud a command is, and how many threads it uses.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Worker threads; all cores unless given. The result does not depend on it.
    #[arg(long, value_name = "N", global = true)]
    pub(crate) threads: Option<usize>,
    /// No notes and no progress on stderr.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    /// Every note is an error (exit 7).
    #[arg(long, global = true)]
    pub(crate) strict: bool,
}

impl Common {
    /// The number of worker threads.
    ///
    /// # Errors
    /// Usage for a number that is none.
    pub(crate) fn threads(&self) -> Result<NonZeroUsize> {
        let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        match self.threads {
            None => Ok(cores()),
            Some(n) => NonZeroUsize::new(n)
                .filter(|n| n.get() <= THREADS_MAX)
                .ok_or_else(|| Error::usage(format!("--threads {n}: expected 1 to {THREADS_MAX}"))),
        }
    }
}

/// How a model is read.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reading {
    /// The source's format, if its content does not say it.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) from: Option<String>,
    /// Keep only the tensors whose names match; may be repeated.
    #[arg(long, value_name = "REGEX")]
    pub(crate) include: Vec<Regex>,
    /// Leave out the tensors whose names match; may be repeated.
    #[arg(long, value_name = "REGEX")]
    pub(crate) exclude: Vec<Regex>,
    /// Raise or lower a limit, such as side-file=500000000; may be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) limit: Vec<String>,
    /// Read files instead of mapping them.
    #[arg(long)]
    pub(crate) no_mmap: bool,
    /// Leave out objects of foreign classes in PyTorch checkpoints, and Keras configurations that
    /// name code; nothing is ever called.
    #[arg(long)]
    pub(crate) skip_objects: bool,
    /// Every file that was opened for the models that were read so far.
    #[arg(skip)]
    pub(super) opened: Arc<Mutex<Vec<Arc<Blob>>>>,
}

impl Reading {
    /// Reads the model at `path`, and compares its weights with the checksums that the files
    /// state: for whoever uses all of them.
    ///
    /// # Errors
    /// What the format's reader says; Unsupported for tensors that cannot be had.
    pub(crate) fn intact(&self, path: &Path, access: Access, notes: &mut Notes) -> Result<Model> {
        self.opened(path, access, notes).map(|opened| opened.model)
    }

    /// Refuses reports that would replace a file that was read, or each other, and those that could
    /// not be written: before anything is computed that they are to tell of. `beside` is read too.
    ///
    /// # Errors
    /// Usage and Io, naming the file.
    pub(crate) fn refuse_outputs(&self, outputs: &[&Path], beside: &[&Path]) -> Result<()> {
        let mut inputs = self.files();
        for path in beside {
            inputs.push(Arc::new(Blob::open(path, Access::Read)?));
        }
        for (at, path) in outputs.iter().enumerate() {
            store::refuse_early(&Target::report(path, inputs.clone()))?;
            if outputs[..at].iter().any(|other| store::is_same_name(other, path)) {
                let text = "two outputs have this name; choose another for one of them";
                return Err(Error::usage(text).at(path.display()));
            }
        }
        Ok(())
    }

    /// Checks that the files of all models that were read are as they were then: what is reported
    /// would else be of no model.
    ///
    /// # Errors
    /// Io, naming the file that was changed.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        self.files().iter().try_for_each(|blob| blob.check_unchanged())
    }

    fn files(&self) -> Vec<Arc<Blob>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As [`Self::intact`], with what it was read from.
    ///
    /// # Errors
    /// As [`Self::intact`].
    pub(crate) fn opened(&self, path: &Path, access: Access, notes: &mut Notes) -> Result<Opened> {
        let limits = Limits { checksums: true, ..self.limits()? };
        let opened = self.read(path, access, &limits, notes)?;
        opened.model.require_tensors()?;
        Ok(opened)
    }

    /// Reads the model at `path`; the weights stay where they are.
    ///
    /// # Errors
    /// What the format's reader says; Unsupported for tensors that cannot be had.
    pub(crate) fn model(&self, path: &Path, access: Access, notes: &mut Notes) -> Result<Model> {
        let model = self.listed(path, access, notes)?;
        model.require_tensors()?;
        Ok(model)
    }

    /// Reads the model at `path`, with tensors that cannot be had: for whoever only lists them.
    ///
    /// # Errors
    /// What the format's reader says.
    pub(crate) fn listed(&self, path: &Path, access: Access, notes: &mut Notes) -> Result<Model> {
        self.read(path, access, &self.limits()?, notes).map(|opened| opened.model)
    }

    /// As [`Self::listed`], compared with the checksums that the files state.
    ///
    /// # Errors
    /// As [`Self::listed`].
    pub(crate) fn summed(&self, path: &Path, access: Access, notes: &mut Notes) -> Result<Model> {
        let limits = Limits { checksums: true, ..self.limits()? };
        self.read(path, access, &limits, notes).map(|opened| opened.model)
    }

    fn read(
        &self,
        path: &Path,
        access: Access,
        limits: &Limits,
        notes: &mut Notes,
    ) -> Result<Opened> {
        let access = if self.no_mmap { Access::Read } else { access };
        let source = Files::open(path, access)?;
        let format = formats::detect(&source, self.from.as_deref())?;
        let read = format.read.ok_or_else(|| {
            let text = format!("{} is written, but not read", format.name);
            Error::unsupported(text).at(path.display())
        })?;
        let model = read(&source, limits, notes)?;
        let names: Vec<String> =
            model.tensors.keys().chain(model.refused.keys()).cloned().collect();
        let selection = Selection { include: self.include.clone(), exclude: self.exclude.clone() };
        let model = transform::select(model, &selection, notes)?;
        let is_there =
            |name: &String| model.tensors.contains_key(name) || model.refused.contains_key(name);
        let left_out = names.into_iter().filter(|name| !is_there(name)).collect();
        let files = source.opened();
        let blobs = files.iter().map(|(_, blob)| Arc::clone(blob));
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).extend(blobs);
        Ok(Opened { model, files, left_out })
    }

    /// What running a graph may take, as `--limit` changes it.
    ///
    /// # Errors
    /// Usage for a setting that is none.
    pub(crate) fn bounds(&self) -> Result<Bounds> {
        let limits = self.limits()?;
        Ok(Bounds {
            elements: limits.graph_elements,
            steps: limits.graph_steps,
            nodes: limits.graph_nodes,
        })
    }

    /// The limits, as `--limit` changes them.
    ///
    /// # Errors
    /// Usage for a setting that is none.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let mut limits = Limits { skip_objects: self.skip_objects, ..Limits::default() };
        for setting in &self.limit {
            let wrong = || Error::usage(format!("--limit {setting}: expected NAME=NUMBER"));
            let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
            limits.set(name, value.parse().map_err(|_| wrong())?)?;
        }
        Ok(limits)
    }
}

/// A model with what it was read from.
pub(crate) struct Opened {
    pub(crate) model: Model,
    /// Every file that was opened for it.
    pub(crate) files: Vec<(PathBuf, Arc<Blob>)>,
    /// The tensors that the selection leaves out.
    pub(crate) left_out: Vec<String>,
}

/// How a model is written.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Writing {
    /// The target's format, if its name does not say it.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: Option<String>,
    /// Replace an existing target, atomically.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Print the plan and the exact size of the output; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait until the disk has the bytes.
    #[arg(long)]
    pub(crate) no_sync: bool,
    /// Keep what is finished when the run is ended, and go on from there when it is repeated.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) resume: bool,
    /// Make everything a second time, and compare it with what the disk gives back.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) recheck: bool,
    /// Write what was made of what, and how, with the SHA-256 of every file; see `check`.
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub(crate) manifest: Option<PathBuf>,
    /// GGUF: the SHA-256 of every source file, in the metadata.
    #[arg(long)]
    pub(crate) provenance: bool,
    /// Set a metadata key, in the spelling of the output; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Remove a metadata key; may be repeated.
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
    /// Write configuration and tokenizer, no tensors.
    #[arg(long)]
    pub(crate) vocab_only: bool,
    /// Cut the output into files of at most this size: 500M, 2G, …
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) split_max_size: Option<u64>,
    /// Cut the output into files of at most this many tensors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) split_max_tensors: Option<u64>,
    /// ONNX: weights of a KiB and more in a file beside the model, DST.data.
    #[arg(long)]
    pub(crate) external_data: bool,
    /// ONNX with --type: inputs and outputs of the graph keep this type.
    #[arg(long, value_name = "f32", value_parser = ["f32"])]
    pub(crate) keep_io: Option<String>,
    /// GGUF's name of the pre-tokenizer, where it is not recognised by its structure.
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,
    /// Bring finite values within the range of their type, instead of refusing them.
    #[arg(long)]
    pub(crate) clamp: bool,
    /// Pack weights that are NaN or infinite, which a packing cannot hold.
    #[arg(long)]
    pub(crate) allow_nonfinite: bool,
    /// How the numbers of packings are chosen.
    #[arg(long, value_name = "HOW", value_enum, default_value_t = SearchName::Reference)]
    pub(crate) search: SearchName,
}

/// The names of [`Search`].
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum SearchName {
    /// As ggml does, byte for byte.
    Reference,
    /// With the least squared error, counted by importance if there is a matrix.
    Best,
}

impl From<SearchName> for Search {
    fn from(name: SearchName) -> Self {
        match name {
            SearchName::Reference => Self::Reference,
            SearchName::Best => Self::Best,
        }
    }
}

impl Writing {
    /// The changes to the configuration.
    ///
    /// # Errors
    /// Usage for a setting without `=`.
    pub(crate) fn edits(&self) -> Result<Edits> {
        let pair = |text: &String| {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| Error::usage(format!("--set {text}: expected KEY=VALUE")))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        let set = self.set.iter().map(pair).collect::<Result<_>>()?;
        Ok(Edits { set, unset: self.unset.clone() })
    }
}

/// `500M`, `2G`: decimal, as llama-gguf-split reads them.
fn parse_size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..].to_ascii_uppercase()[..] {
        "" | "B" => 1,
        "K" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        _ => return Err("expected a number with K, M or G".into()),
    };
    let size = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0);
    size.ok_or_else(|| "expected a number with K, M or G".into())
}

/// A list of token ids: `1,2,3`.
///
/// # Errors
/// Usage if one is no number.
pub(crate) fn parse_tokens(text: &str) -> Result<Vec<u32>> {
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    let ids: std::result::Result<Vec<u32>, _> = ids.map(str::parse).collect();
    let ids = ids.map_err(|_| Error::usage(format!("--tokens {text}: expected 1,2,3")))?;
    if ids.is_empty() {
        return Err(Error::usage("--tokens: expected at least one id"));
    }
    Ok(ids)
}

/// The path of a model, as every command takes it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ModelPath {
    /// A model: a file, a shard's index, or a directory.
    #[arg(value_name = "MODEL")]
    pub(crate) model: PathBuf,
}

/// What a model is run on.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "on", multiple = false)]
pub(crate) struct Prompt {
    /// Token ids; nothing is added to them.
    #[arg(long, value_name = "1,2,3", group = "on")]
    pub(crate) tokens: Option<String>,
    /// A text; what the tokenizer adds to a prompt is added.
    #[arg(long, value_name = "TEXT", group = "on")]
    pub(crate) prompt: Option<String>,
}

impl Prompt {
    /// The ids.
    ///
    /// # Errors
    /// Usage for ids that are none; Unsupported for a text without a tokenizer.
    pub(crate) fn tokens(&self, model: &Model) -> Result<Vec<u32>> {
        self.given(model)?.ok_or_else(|| Error::usage("give --tokens or --prompt"))
    }

    /// The ids, if any are given.
    ///
    /// # Errors
    /// As [`Self::tokens`].
    pub(crate) fn given(&self, model: &Model) -> Result<Option<Vec<u32>>> {
        match (&self.tokens, &self.prompt) {
            (Some(ids), _) => parse_tokens(ids).map(Some),
            (None, Some(text)) => encode(model, text).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// A text as a prompt for this model.
///
/// # Errors
/// Unsupported without a tokenizer.
pub(crate) fn encode(model: &Model, text: &str) -> Result<Vec<u32>> {
    let ids = Encoder::new(model.require_tokenizer()?)?.encode(text, true, true)?;
    if ids.is_empty() {
        return Err(Error::usage("the text has no tokens"));
    }
    Ok(ids)
}

/// The content of a text file that a flag names.
///
/// # Errors
/// Io; Malformed if it is not UTF-8; Limit above 1 GiB.
pub(crate) fn text_file(path: &Path) -> Result<String> {
    let blob = Blob::open(path, Access::Read)?;
    String::from_utf8(blob.read_all(1 << 30)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::malformed(format!("byte {at:#x}: not UTF-8 text")).at(path.display())
    })
}

/// The chunks of a text file, or the first `most`, as this model's tokenizer reads it: special
/// tokens are not looked for in it.
///
/// # Errors
/// Unsupported without a tokenizer; what reading the file and cutting it say.
pub(crate) fn text_chunks(
    model: &Model,
    path: &Path,
    context: usize,
    most: Option<usize>,
) -> Result<Vec<Chunk>> {
    let tokenizer = model.require_tokenizer()?;
    let ids = Encoder::new(tokenizer)?.encode(&text_file(path)?, false, true)?;
    let chunks = chunks::cut(&ids, context, chunks::bos(tokenizer));
    let mut chunks = chunks.map_err(|error| error.at(path.display()))?;
    if most == Some(0) {
        return Err(Error::usage("--chunks 0: expected 1 or more"));
    }
    chunks.truncate(most.unwrap_or(usize::MAX));
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::ir::Fault;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        reading: Reading,
    }

    /// Any file of any model, however the model was read and whatever became of it.
    #[test]
    fn what_changed_since_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/npy/le_f4.npy");
        let path = dir.path().join("m.npy");
        for access in [Access::Read, Access::Map] {
            std::fs::write(&path, std::fs::read(&fixture).unwrap()).unwrap();
            let Line { reading } = Line::parse_from(["remold"]);
            drop(reading.clone().model(&path, access, &mut Notes::default()).unwrap());
            reading.check_unchanged().unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(file.metadata().unwrap().len() - 5).unwrap();
            let error = reading.check_unchanged().unwrap_err();
            assert_eq!(error.fault, Fault::Io);
            assert!(error.to_string().contains("m.npy: the file was changed"), "{error}");
        }
    }
}
