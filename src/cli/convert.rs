//! `remold convert`: any format in, any format out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::args::{Common, Reading, Writing};
use super::manifest::Origin;
use super::{Outcome, report, verify};
use crate::arch::Fate;
use crate::convert::{Job, Made, convert};
use crate::formats::{self, Format};
use crate::ir::blob::text;
use crate::ir::{Access, Blob, Error, Naming, Notes, Result};
use crate::manifest::fate_json;
use crate::quant::Types;
use crate::read::imatrix;
use crate::store::Digest;
use crate::verify::Report;
use crate::write::{ExecuteOptions, Split, Unit, WriteOptions};

/// Converts a model to another format, other types, or both
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    conversion: Conversion,
    /// The type of the weights: f32, f16, bf16, q8_0, q4_0, …, int8 of ONNX; the source's unless given.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// One type for every tensor that can be quantized, instead of llama-quantize's mixture.
    #[arg(long)]
    pure: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let types = self.kind.as_deref().map(Types::named).transpose()?.unwrap_or_default();
        // Whoever names a type for a conversion wants that type, whatever the source has.
        let types = Types { pure: self.pure, allow_requantize: true, ..types };
        self.conversion.run(types)
    }
}

/// From where to where, and how: what `convert` and `quantize` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct Conversion {
    /// The model to read: a file, a shard's index, or a directory.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The file or directory to write; its extension says the format.
    #[arg(value_name = "DST")]
    target: PathBuf,
    /// An importance matrix, as llama-imatrix writes it: how much each column counts.
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Run both models afterwards and compare them (exit 1 if they are not the same).
    #[arg(long)]
    verify: bool,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    common: Common,
}

impl Conversion {
    pub(super) fn run(&self, types: Types) -> Result<Outcome> {
        let started = Instant::now();
        if self.imatrix.is_some() && types.all.is_none() {
            return Err(Error::usage("--imatrix is for quantizing: give --type as well"));
        }
        let mut notes = Notes::default();
        // A name that leads to no format is refused before anything is read.
        let mut job = self.job(types)?;
        // A clamped value is a loss, which --strict refuses.
        job.types.clamp = self.writing.clamp && !self.common.strict;
        job.types.search = self.writing.search.into();
        let opened = self.reading.opened(&self.source, Access::Read, &mut notes)?;
        let (model, mut origin) = (opened.model, Origin { files: opened.files });
        job.left_out = opened.left_out;
        if let Some(path) = &self.imatrix {
            let blob = Arc::new(Blob::open(path, Access::Read)?);
            if let Some(options) = &mut job.resume {
                options.push_str(&Digest::of_blob(&blob)?.to_string());
            }
            job.types.importance = Some(Arc::new(imatrix::read(&blob, &self.reading.limits()?)?));
            origin.files.push((path.clone(), blob));
        }
        origin.refuse_early(&self.writing, &self.target)?;
        if self.writing.provenance {
            job.write.entries.insert("general.source.sha256".into(), origin.lines()?);
        }
        let progress = report::progress(Unit::Bytes, self.common.quiet);
        let how = ExecuteOptions {
            threads: self.common.threads()?,
            progress: &*progress,
            allow_nonfinite: self.writing.allow_nonfinite,
            ..ExecuteOptions::default()
        };
        let made = convert(model, &job, &how, &mut notes);
        report::notes(&notes, self.common.quiet, false)?;
        let made = made?;
        if job.plan_only {
            self.show_plan(&made)?;
            return Ok(Outcome::Done);
        }
        if !self.common.quiet && !self.json {
            report::line(&self.summary(&made, started));
        }
        let target = made.layout.opened_at(&self.target);
        let proof = match self.verify {
            true => {
                let importance = job.types.importance.as_deref();
                let sides = (&*self.source, &*target, job.to);
                Some(verify::after(sides, importance, &self.reading, &self.common)?)
            }
            false => None,
        };
        let verification = proof.as_ref().map(Report::to_json);
        origin.write(&self.writing, (&made, &self.target), &notes, verification.clone())?;
        if self.json {
            let mut json = self.to_json(&made, &notes);
            json["verification"] = verification.unwrap_or(Json::Null);
            report::json(&json)?;
        } else if let Some(proof) = &proof {
            report::result(&proof.to_text(false))?;
        }
        Ok(proof.as_ref().map_or(Outcome::Done, verify::outcome))
    }

    fn job(&self, types: Types) -> Result<Job> {
        let partial = !(self.reading.include.is_empty() && self.reading.exclude.is_empty());
        if self.verify && (partial || self.writing.vocab_only) {
            let text = "--verify runs whole models; leave out --include, --exclude, --vocab-only";
            return Err(Error::usage(text));
        }
        let to = formats::for_target(&self.target, self.writing.to.as_deref())?;
        self.refuse_idle(to)?;
        let name = self.target.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Job {
            target: self.target.clone(),
            to,
            types,
            partial,
            left_out: Vec::new(),
            manifest: self.writing.manifest.clone(),
            keep_io: self.writing.keep_io.is_some(),
            write: WriteOptions {
                name: name.unwrap_or_default(),
                directory: to.directory && formats::is_directory(&self.target),
                split: Split {
                    max_bytes: self.writing.split_max_size,
                    max_tensors: self.writing.split_max_tensors,
                },
                vocab_only: self.writing.vocab_only,
                external_data: self.writing.external_data,
                pre: self.writing.pre.clone(),
                edits: self.writing.edits()?,
                ..WriteOptions::default()
            },
            overwrite: self.writing.overwrite,
            recheck: self.writing.recheck,
            resume: self.writing.resume.then(|| self.unplanned()),
            sync: !self.writing.no_sync,
            plan_only: self.writing.dry_run,
            strict: self.common.strict,
        })
    }

    /// Refuses flags that would change nothing in this format: whoever gave one expects more.
    fn refuse_idle(&self, to: &Format) -> Result<()> {
        let (is_gguf, flags) = (to.naming == Naming::Gguf, &self.writing);
        let idle = [
            ("--provenance", flags.provenance && !is_gguf, "; use --manifest"),
            ("--pre", flags.pre.is_some() && !is_gguf, ""),
            ("--external-data", flags.external_data && !to.graph, ""),
            ("--keep-io", flags.keep_io.is_some() && !to.graph, ""),
        ];
        match idle.into_iter().find(|(_, is_idle, _)| *is_idle) {
            None => Ok(()),
            Some((flag, _, instead)) => {
                let text = format!("{flag}: {} has no place for it{instead}", to.name);
                Err(Error::usage(text))
            }
        }
    }

    /// The options that the bytes follow from and a plan does not show.
    fn unplanned(&self) -> String {
        let Reading { from, skip_objects, .. } = &self.reading;
        let Writing { search, clamp, allow_nonfinite, .. } = &self.writing;
        format!("{from:?} {skip_objects} {search:?} {clamp} {allow_nonfinite} ")
    }

    fn show_plan(&self, made: &Made) -> Result<()> {
        if self.json {
            return report::json(&made.layout.to_json());
        }
        report::result(&made.layout.to_string())
    }

    fn summary(&self, made: &Made, started: Instant) -> String {
        let written = made.layout.total_bytes();
        let seconds = started.elapsed().as_secs_f64();
        let count = |fate: fn(&Fate) -> bool| made.ledger.iter().filter(|(_, f)| fate(f)).count();
        let mapped = count(|fate| matches!(fate, Fate::Mapped(_)));
        let mut others = Vec::new();
        for (n, word) in [
            (count(|fate| matches!(fate, Fate::Tied(_))), "tied"),
            (count(|fate| matches!(fate, Fate::Fused(_))), "fused"),
            (count(|fate| matches!(fate, Fate::Dropped(_))), "dropped"),
        ] {
            if n > 0 {
                others.push(format!(", {n} {word}"));
            }
        }
        format!(
            "{}: {mapped} tensors{}, {} in {seconds:.2} s",
            text(self.target.as_os_str()),
            others.concat(),
            report::size(written),
        )
    }

    fn to_json(&self, made: &Made, notes: &Notes) -> Json {
        let files: Vec<Json> = made
            .layout
            .files
            .iter()
            .map(|file| json!({ "name": file.name, "bytes": file.len }))
            .collect();
        let ledger: Vec<Json> =
            made.ledger.iter().map(|(name, fate)| fate_json(name, fate)).collect();
        let notes: Vec<Json> = notes
            .iter()
            .map(|note| json!({ "subject": note.subject, "text": note.text }))
            .collect();
        json!({
            "target": self.target.display().to_string(),
            "bytes": made.layout.total_bytes(),
            "files": files,
            "tensors": ledger,
            "notes": notes,
        })
    }
}
