//! `remold inspect`: what a model is.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::args::{Common, ModelPath, Reading};
use super::{Outcome, report};
use crate::ir::dump::{dump, value_text};
use crate::ir::error::escape;
use crate::ir::value::List;
use crate::ir::{Access, Blob, Field, Hyper, Model, Notes, Result, Scratch, Tensor, Value};
use crate::{arch, write};

/// Says what a model is: format, family, sizes, types, tokenizer, metadata
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
    /// List every tensor.
    #[arg(long)]
    tensors: bool,
    /// With --tensors: least, greatest, mean, and how many are zero or not finite.
    #[arg(long, requires = "tensors")]
    stats: bool,
    /// The text form of the model, one fact a line.
    #[arg(long, conflicts_with = "json")]
    dump: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let model = self.reading.listed(&self.path.model, Access::Read, &mut notes)?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        if self.dump {
            report::result(&dump(&model))?;
        } else if self.json {
            report::json(&self.to_json(&model)?)?;
        } else {
            report::result(&self.text(&model)?)?;
        }
        Ok(Outcome::Done)
    }

    fn to_json(&self, model: &Model) -> Result<Json> {
        let facts = Facts::of(model);
        let metadata: serde_json::Map<String, Json> =
            model.config.entries.iter().map(|(key, value)| (key.clone(), lenient(value))).collect();
        let tensors: Vec<Json> = model
            .tensors
            .iter()
            .map(|(name, tensor)| self.tensor_json(name, tensor))
            .collect::<Result<_>>()?;
        let refused: serde_json::Map<String, Json> =
            model.refused.iter().map(|(name, what)| (name.clone(), json!(what))).collect();
        Ok(json!({
            "format": model.format,
            "version": model.version,
            "architecture": facts.architecture,
            "name": model.name(),
            "parameters": facts.parameters,
            "parameter_class": facts.parameter_class(),
            "context_length": facts.hyper.context,
            "context_class": facts.context_class(),
            "file_bytes": facts.file_bytes,
            "bits_per_weight": facts.bits_per_weight(),
            "tokenizer": facts.tokenizer_json(),
            "hyper_parameters": facts.hyper_json(),
            "metadata": metadata,
            "tensors": tensors,
            "refused": refused,
        }))
    }

    fn tensor_json(&self, name: &str, tensor: &Tensor) -> Result<Json> {
        let place = tensor.place();
        let mut fields = json!({
            "name": name,
            "dtype": tensor.dtype().name(),
            "shape": tensor.shape().dims(),
            "bytes": tensor.bytes(),
            "file": place.map(|(blob, _)| blob.name()),
            "offset": place.map(|(_, start)| start),
        });
        if self.stats {
            fields["stats"] = Stats::of(tensor).map_err(|error| error.at(name))?.to_json();
        }
        Ok(fields)
    }

    fn text(&self, model: &Model) -> Result<String> {
        let facts = Facts::of(model);
        let mut lines = facts.lines(model);
        if self.tensors {
            lines.push(String::new());
            for (name, tensor) in &model.tensors {
                let (dtype, shape) = (tensor.dtype(), tensor.shape());
                let mut line = format!("  {:<44} {dtype:<8} {shape:<16}", escape(name));
                if self.stats {
                    line += &Stats::of(tensor).map_err(|error| error.at(name))?.text();
                }
                lines.push(line.trim_end().to_owned());
            }
            for (name, what) in &model.refused {
                lines.push(format!("  {:<44} not read: {}", escape(name), escape(what)));
            }
        } else {
            lines.push(String::new());
            lines.push(format!("metadata ({} keys)", model.config.entries.len()));
            for (key, value) in &model.config.entries {
                lines.push(format!("  {:<44} {}", escape(key), shorten(&value_text(value))));
            }
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// What is known of a model without reading its weights.
struct Facts {
    architecture: Option<String>,
    hyper: Hyper,
    parameters: u64,
    bytes: u64,
    file_bytes: u64,
    tokenizer: Option<(String, usize)>,
    types: Vec<(&'static str, usize, u64)>,
}

impl Facts {
    fn of(model: &Model) -> Self {
        let family = arch::find(model);
        let hyper = family.and_then(|family| arch::hyper(family, model).ok()).unwrap_or_default();
        let said = ["general.architecture", "model_type"].into_iter();
        let said = said.filter_map(|key| model.config.get(key).and_then(Value::as_text)).next();
        let mut types: Vec<(&str, usize, u64)> = Vec::new();
        for tensor in model.tensors.values() {
            let name = tensor.dtype().name();
            match types.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, count, bytes)) => (*count, *bytes) = (*count + 1, *bytes + tensor.bytes()),
                None => types.push((name, 1, tensor.bytes())),
            }
        }
        types.sort_by_key(|(name, _, bytes)| (u64::MAX - bytes, *name));
        let mut blobs: Vec<_> = model.tensors.values().flat_map(|tensor| tensor.blobs()).collect();
        blobs.sort_by_key(|blob| blob.name());
        blobs.dedup_by_key(|blob| blob.name());
        Self {
            architecture: said.map(str::to_owned),
            hyper,
            parameters: model.tensors.values().map(|tensor| tensor.shape().count()).sum(),
            bytes: model.tensors.values().map(Tensor::bytes).sum(),
            file_bytes: match blobs.iter().map(|blob| blob.size()).sum() {
                // A vocabulary is a file too.
                0 => Blob::open(Path::new(&model.origin), Access::Read).map_or(0, |b| b.size()),
                bytes => bytes,
            },
            tokenizer: model.tokenizer.as_ref().map(|t| (t.kind_name().to_owned(), t.tokens.len())),
            types,
        }
    }

    fn bits_per_weight(&self) -> Option<f64> {
        (self.parameters > 0).then(|| self.bytes as f64 * 8.0 / self.parameters as f64)
    }

    /// Small up to about 1 billion, medium about 8, large about 70: by the nearest on a
    /// logarithmic scale.
    fn parameter_class(&self) -> &'static str {
        match self.parameters {
            0..2_830_000_000 => "SLM",
            2_830_000_000..23_700_000_000 => "MLM",
            _ => "LLM",
        }
    }

    fn context_class(&self) -> Option<&'static str> {
        Some(match self.hyper.context? {
            0..=2048 => "short",
            2049..=8192 => "medium",
            _ => "long",
        })
    }

    fn tokenizer_json(&self) -> Json {
        let known = self.tokenizer.as_ref();
        known.map_or(Json::Null, |(kind, vocab)| json!({ "kind": kind, "vocab": vocab }))
    }

    fn hyper_json(&self) -> Json {
        let known = Field::ALL.iter().filter_map(|&field| {
            let value = match self.hyper.get(field)? {
                crate::ir::Scalar::Count(n) => json!(n),
                crate::ir::Scalar::Real(x) => lenient(&Value::F32(x)),
                crate::ir::Scalar::Flag(yes) => json!(yes),
                other => json!(other.to_string()),
            };
            Some((field.text().replace(' ', "_"), value))
        });
        Json::Object(known.collect())
    }

    fn lines(&self, model: &Model) -> Vec<String> {
        let line = |key: &str, value: String| format!("{key:<16} {value}");
        let version = model.version.map(|v| format!(" v{v}")).unwrap_or_default();
        let mut lines = vec![
            line("model", escape(&model.name())),
            line("format", format!("{}{version}", model.format)),
            line("architecture", self.architecture.clone().unwrap_or_else(|| "unknown".into())),
        ];
        let bits = self.bits_per_weight().map(|bits| format!(", {bits:.2} bits each"));
        let (count, class) = (grouped(self.parameters), self.parameter_class());
        lines.push(line("parameters", format!("{count} ({class}{})", bits.unwrap_or_default())));
        if let (Some(context), Some(class)) = (self.hyper.context, self.context_class()) {
            lines.push(line("context", format!("{context} ({class})")));
        }
        for &field in &Field::ALL[2..] {
            if let Some(value) = self.hyper.get(field) {
                lines.push(line(field.text(), value.to_string()));
            }
        }
        match &self.tokenizer {
            Some((kind, vocab)) => lines.push(line("tokenizer", format!("{kind}, {vocab} tokens"))),
            None => lines.push(line("tokenizer", "none".into())),
        }
        lines.push(line("files", report::size(self.file_bytes)));
        let types = self
            .types
            .iter()
            .map(|(name, count, bytes)| format!("{name} × {count} ({})", report::size(*bytes)));
        let types: Vec<String> = types.collect();
        lines.push(line("tensors", format!("{}: {}", model.tensors.len(), types.join(", "))));
        if !model.refused.is_empty() {
            let count = model.refused.len();
            lines.push(line("not read", format!("{count} tensors; --tensors lists them")));
        }
        lines
    }
}

/// What the elements of a tensor are like.
struct Stats {
    least: f32,
    greatest: f32,
    mean: f64,
    zeros: u64,
    nonfinite: u64,
}

impl Stats {
    /// Read in pieces, so that a tensor of any size takes little memory.
    fn of(tensor: &Tensor) -> Result<Self> {
        let mut scratch = Scratch::default();
        let count = tensor.shape().count();
        let granule = tensor.granule().max(1);
        let step = (1u64 << 20).div_ceil(granule) * granule;
        let mut stats = Self {
            least: f32::INFINITY,
            greatest: f32::NEG_INFINITY,
            mean: 0.0,
            zeros: 0,
            nonfinite: 0,
        };
        let mut sum = 0.0;
        for start in (0..count).step_by(step as usize) {
            let end = count.min(start + step);
            let mut values = scratch.take_floats((end - start) as usize)?;
            tensor.read_floats(start..end, &mut values, &mut scratch)?;
            for &x in &values {
                if !x.is_finite() {
                    stats.nonfinite += 1;
                    continue;
                }
                stats.least = stats.least.min(x);
                stats.greatest = stats.greatest.max(x);
                stats.zeros += u64::from(x == 0.0);
                sum += f64::from(x);
            }
            scratch.give_floats(values);
        }
        stats.mean = sum / (count - stats.nonfinite).max(1) as f64;
        Ok(stats)
    }

    fn to_json(&self) -> Json {
        json!({
            "min": lenient(&Value::F32(self.least)),
            "max": lenient(&Value::F32(self.greatest)),
            "mean": self.mean,
            "zeros": self.zeros,
            "nonfinite": self.nonfinite,
        })
    }

    fn text(&self) -> String {
        let odd = if self.nonfinite > 0 {
            format!(" NOT FINITE: {}", self.nonfinite)
        } else {
            String::new()
        };
        let (least, greatest, mean) = (self.least, self.greatest, self.mean);
        format!(
            " {least:>11.4e} … {greatest:>10.4e}  mean {mean:>11.4e}  zeros {}{odd}",
            self.zeros
        )
    }
}

/// A value as JSON; numbers that JSON cannot hold become text, because this is only shown.
fn lenient(value: &Value) -> Json {
    match value {
        Value::F32(x) if !x.is_finite() => Json::String(x.to_string()),
        Value::F64(x) if !x.is_finite() => Json::String(x.to_string()),
        Value::Map(map) => {
            Json::Object(map.iter().map(|(key, value)| (key.clone(), lenient(value))).collect())
        }
        Value::List(items) => Json::Array(lenient_items(items)),
        other => write::json::to_json(other).unwrap_or(Json::Null),
    }
}

fn lenient_items(items: &List) -> Vec<Json> {
    (0..items.len()).filter_map(|i| items.get(i)).map(|item| lenient(&item)).collect()
}

/// 135 000 000 as `135,000,000`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 90 {
        return text.to_owned();
    }
    text.chars().take(89).chain(['…']).collect()
}
