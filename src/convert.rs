//! The pipeline: the program in forty lines.

mod account;
mod fingerprint;

use std::collections::BTreeSet;
use std::path::PathBuf;

use indexmap::IndexMap;

use crate::arch::{self, Arch, Fate, Ledger};
use crate::formats::{self, Format};
use crate::ir::Convention::PyTorch;
use crate::ir::{Error, Fault, Model, Naming, Notes, Result, Tally, Tensor};
use crate::quant::{self, Types};
use crate::store::{self, FileSink, Recheck, Target};
use crate::transform::{self, Constants, Renamed, Retype};
use crate::write::{ExecuteOptions, Layout, WriteOptions, execute};

/// What is to be made of a model that has been read.
pub struct Job {
    /// The file or directory to write.
    pub target: PathBuf,
    /// The format to write.
    pub to: &'static Format,
    /// Which types the tensors get.
    pub types: Types,
    /// Whether tensors were left out on purpose, so that some may be missing.
    pub partial: bool,
    /// The tensors that were left out so.
    pub left_out: Vec<String>,
    /// Whether what goes into a graph and comes out of it keeps its types.
    pub keep_io: bool,
    /// Where a manifest of the output is to be written.
    pub manifest: Option<PathBuf>,
    /// How the format lays the model out.
    pub write: WriteOptions,
    /// Whether an existing target may be replaced.
    pub overwrite: bool,
    /// Whether an ended run is gone on with, and this one may be; then what the bytes follow from
    /// and neither the plan nor the sources say.
    pub resume: Option<String>,
    /// Whether to make everything again, and compare it with what the disk gives back.
    pub recheck: bool,
    /// Whether to wait until the bytes are on the disk.
    pub sync: bool,
    /// Decide everything, print it, write nothing.
    pub plan_only: bool,
    /// Any note is an error.
    pub strict: bool,
}

/// What was made, or would be.
pub struct Made {
    /// Every file, with every tensor's place.
    pub layout: Layout,
    /// The tensors of the source, as they were read.
    pub source: IndexMap<String, Tensor>,
    /// What became of each source tensor.
    pub ledger: Ledger,
    /// What each tensor lost on its way.
    pub losses: Vec<(String, Tally)>,
}

/// Makes a file or directory of a model. Up to `execute` nothing is computed: each step rewrites
/// recipes, so every size is known before the first byte is written.
///
/// # Errors
/// Whatever a step refuses; then nothing has been written.
pub fn convert(
    model: Model,
    job: &Job,
    how: &ExecuteOptions<'_>,
    notes: &mut Notes,
) -> Result<Made> {
    let origin = model.origin.clone();
    let mut write = job.write.clone();
    let source = model.tensors.clone();
    let (model, ledger) = match (&model.graph, job.to.graph) {
        (Some(_), true) => retype(model, job, notes),
        _ => rewrite(model, job, &mut write, notes),
    }
    .map_err(|error| error.at(&origin))?;
    let ledger = with_left_out(ledger, job);
    let lay_out = job.to.layout.ok_or_else(|| Error::bug("a format that is not written"))?;
    let layout = lay_out(&model, &write, notes).map_err(|error| error.at(&origin))?;
    refuse_manifest(&layout, job)?;
    if job.strict && !notes.is_empty() {
        let text = format!("{} notes, and --strict makes each an error", notes.len());
        return Err(Error::loss(text));
    }
    if job.plan_only {
        return Ok(Made { layout, source, ledger, losses: Vec::new() });
    }
    quant::require_importance(&model, &job.types).map_err(|error| error.at(&origin))?;
    let sink = FileSink::new(Target {
        path: job.target.clone(),
        directory: layout.directory,
        overwrite: job.overwrite,
        sync: job.sync,
        inputs: layout.blobs(),
    });
    let sink = match &job.resume {
        Some(options) => sink.resumed(fingerprint::fingerprint(&layout, options)?),
        None => sink,
    };
    let losses = execute(&layout, Box::new(sink), how).map_err(|error| match error.fault {
        // What is lost is of the source; all else is of the file that it names.
        Fault::Loss => error.at(&origin),
        _ => error,
    })?;
    if job.recheck {
        let paths = layout.files.iter().map(|file| layout.path_of(file, &job.target)).collect();
        execute(&layout, Box::new(Recheck::new(paths)), how)?;
    }
    for (name, tally) in losses.iter().filter(|(_, tally)| tally.clamped > 0) {
        notes.lost(name, format!("{} values were clamped, as asked for", tally.clamped));
    }
    Ok(Made { layout, source, ledger, losses })
}

/// A manifest is no file of the output that it tells of.
fn refuse_manifest(layout: &Layout, job: &Job) -> Result<()> {
    let Some(manifest) = &job.manifest else { return Ok(()) };
    let mut outputs = layout.files.iter().map(|file| layout.path_of(file, &job.target));
    match outputs.any(|path| store::is_same_name(&path, manifest)) {
        true => {
            let text = "the output has a file of this name; choose another for the manifest";
            Err(Error::usage(text).at(manifest.display()))
        }
        false => Ok(()),
    }
}

/// Weights and what computes with them, in the types asked for; names stay, the graph knows them.
fn retype(model: Model, job: &Job, notes: &mut Notes) -> Result<(Model, Ledger)> {
    let Some(to) = job.types.plain()? else { return Ok(kept(model)) };
    let names: Vec<String> = model.tensors.keys().cloned().collect();
    let how = Retype { to, keep_io: job.keep_io, clamp: job.types.clamp };
    let (model, renamed) = transform::retype(model, &how, notes)?;
    let fate = |name: String| {
        let now = renamed.get(&name).unwrap_or(&name).clone();
        (name, Fate::Mapped(now))
    };
    Ok((model, names.into_iter().map(fate).collect()))
}

/// Two models to be compared tensor by tensor: graphs under the names that their weights would
/// have without them, unless both are graphs of no family, whose own names will do.
///
/// # Errors
/// Unsupported for constants that are no weights.
pub fn comparable(a: Model, b: Model, notes: &mut Notes) -> Result<(Model, Model)> {
    let alone = a.graph.is_some() != b.graph.is_some();
    let known = [&a, &b].into_iter().any(|model| arch::find(model).is_some());
    match alone || known {
        true => Ok((weights(a, notes)?.0, weights(b, notes)?.0)),
        false => Ok((a, b)),
    }
    .and_then(|(a, b)| ordered(a, b, None))
}

/// Two models with their kernels in one order of dimensions: that which the other model has them in,
/// by its format, where it does not say what they are; else PyTorch's. `written` is the format that B
/// was written in, if that is known: bare arrays of Keras are read as HDF5.
///
/// # Errors
/// Malformed, naming the tensor, if it has not the dimensions of the kernel that it is said to be.
pub fn ordered(a: Model, b: Model, written: Option<&Format>) -> Result<(Model, Model)> {
    let of_a = formats::by_name(a.format)?.convention;
    let of_b = written.map_or_else(|| formats::by_name(b.format), Ok)?.convention;
    let unsaid = |model: &Model| -> BTreeSet<String> {
        let is_unsaid = |name: &&String| !model.kernels.contains_key(*name);
        model.tensors.keys().filter(is_unsaid).cloned().collect()
    };
    let (by_a, by_b) = (unsaid(&a), unsaid(&b));
    let wanted = |is_unsaid, by_format| if is_unsaid { by_format } else { Some(PyTorch) };
    let a = transform::ordered(a, |name| wanted(by_b.contains(name), of_b))?;
    Ok((a, transform::ordered(b, |name| wanted(by_a.contains(name), of_a))?))
}

/// The weights of a model that may say what is computed, as if it did not.
fn weights(model: Model, notes: &mut Notes) -> Result<(Model, Renamed)> {
    let known = arch::find(&model).is_some();
    let constants = if known { Constants::Drop } else { Constants::Keep };
    transform::weights(model, constants, notes)
}

/// Weights under the target's names, in the types asked for.
fn rewrite(
    model: Model,
    job: &Job,
    write: &mut WriteOptions,
    notes: &mut Notes,
) -> Result<(Model, Ledger)> {
    let had_graph = model.graph.is_some();
    let from = formats::by_name(model.format)?.convention;
    let source = model.tensors.clone();
    let (model, guessed) = weights(model, notes)?;
    // A family's table names what a GGUF has; of any other graph the names may have no room.
    let lacks_room = had_graph && job.to.naming == Naming::Gguf && arch::find(&model).is_none();
    let (model, cut) = match lacks_room {
        true => transform::weights_for_gguf(model, notes)?,
        false => (model, Renamed::new()),
    };
    let (model, ledger) = rename(model, job, notes)?;
    let ledger = account::account(&source, &[guessed, cut], ledger, &model, notes)?;
    let model = transform::convention(model, from, job.to.convention, notes)?;
    let model = quant::apply(model, &job.types, job.to.naming, &mut write.entries, notes)?;
    Ok((model, ledger))
}

/// The ledger with what the user did not want: tensors by name, or all of them.
fn with_left_out(mut ledger: Ledger, job: &Job) -> Ledger {
    if job.write.vocab_only {
        let reason = || Fate::Dropped("only configuration and tokenizer were asked for".into());
        ledger.iter_mut().for_each(|(_, fate)| *fate = reason());
    }
    let left_out = || Fate::Dropped("left out, as asked for".into());
    ledger.extend(job.left_out.iter().map(|name| (name.clone(), left_out())));
    ledger
}

fn kept(model: Model) -> (Model, Ledger) {
    let name = |name: &String| (name.clone(), Fate::Mapped(name.clone()));
    let ledger = model.tensors.keys().map(name).collect();
    (model, ledger)
}

/// A model of a known family gets the names of the target's side; any other keeps its own.
fn rename(model: Model, job: &Job, notes: &mut Notes) -> Result<(Model, Ledger)> {
    let has_names = |family: &&'static Arch| job.to.naming == Naming::Gguf || !family.hf.is_empty();
    match arch::find(&model).filter(has_names) {
        Some(family) if !model.tensors.is_empty() => {
            let rename = if job.partial { arch::rename_part } else { arch::rename };
            rename(family, &model, job.to.naming, notes)
        }
        Some(family) => {
            arch::hyper(family, &model)?;
            Ok(kept(model))
        }
        None => {
            if model.naming != job.to.naming {
                let text = "the family is not known, or not there: tensors and \
                            configuration keep their names";
                notes.chosen(&model.origin, text);
                let config = arch::untranslated(&model, job.to.naming, notes);
                return Ok(kept(Model { config, naming: job.to.naming, ..model }));
            }
            if job.types.all.is_some() {
                let text = "the family is not known: names and shapes alone choose the types";
                notes.chosen(&model.origin, text);
            }
            Ok(kept(model))
        }
    }
}
