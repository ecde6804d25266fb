//! `remold inspect`: what a model is.

mod describe;
mod licence;
mod memory;
mod stats;

use serde_json::{Value as Json, json};

use super::args::{Common, ModelPath, Reading};
use super::{Outcome, report};
use crate::ir::dump::dump;
use crate::ir::error::escape;
use crate::ir::value::List;
use crate::ir::{Access, Field, Hyper, Model, Notes, Result, Scalar, Tensor, Value};
use crate::write;
use describe::Description;
use stats::Stats;

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
        let (path, access) = (&self.path.model, Access::Read);
        // Numbers about damaged weights would be taken for the model's.
        let model = match self.stats {
            true => self.reading.summed(path, access, &mut notes)?,
            false => self.reading.listed(path, access, &mut notes)?,
        };
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        if self.dump {
            report::result(&dump(&model))?;
        } else if self.json {
            let json = self.to_json(&model)?;
            self.reading.check_unchanged()?;
            report::json(&json)?;
        } else {
            let text = self.text(&model)?;
            self.reading.check_unchanged()?;
            report::result(&text)?;
        }
        Ok(Outcome::Done)
    }

    fn to_json(&self, model: &Model) -> Result<Json> {
        let about = Description::of(model);
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
            "architecture": about.architecture,
            "family": about.family.map(|family| family.gguf),
            "name": model.name(),
            "parameters": about.parameters,
            "parameter_class": about.parameter_class(),
            "context_length": about.hyper.context,
            "context_class": about.context_class(),
            "tuning": about.tuning.map(|(tuning, _)| tuning.text()),
            "tuning_from": about.tuning.map(|(_, from)| from),
            "license": about.licence.as_ref().map(|licence| &licence.name),
            "license_from": about.licence.as_ref().map(|licence| &licence.stated_in),
            "file_bytes": about.file_bytes,
            "bits_per_weight": about.bits_per_weight(),
            "dtypes": types_json(&about),
            "kv_cache_bytes_per_token": about.memory.cache_per_token,
            "memory": about.memory.to_json(),
            "tokenizer": about.tokenizer.as_ref().map(|(kind, vocab)| {
                json!({ "kind": kind, "vocab": vocab })
            }),
            "hyper_parameters": hyper_json(&about.hyper),
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
            let stats = Stats::of(tensor).map_err(|error| error.at(name))?;
            fields["stats"] = stats.map_or(Json::Null, |stats| stats.to_json());
        }
        Ok(fields)
    }

    fn text(&self, model: &Model) -> Result<String> {
        let mut lines = lines(&Description::of(model), model);
        if self.tensors {
            lines.push(String::new());
            for (name, tensor) in &model.tensors {
                let (dtype, shape) = (tensor.dtype(), tensor.shape());
                let mut line = format!("  {:<44} {dtype:<8} {shape:<16}", escape(name));
                if self.stats {
                    let stats = Stats::of(tensor).map_err(|error| error.at(name))?;
                    line += &stats.map_or(String::new(), |stats| stats.text());
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
                lines.push(format!("  {:<44} {}", escape(key), shorten(&value.to_string())));
            }
        }
        Ok(lines.join("\n") + "\n")
    }
}

fn types_json(about: &Description) -> Vec<Json> {
    let one = |share: &describe::TypeShare| {
        json!({
            "dtype": share.name,
            "tensors": share.tensors,
            "parameters": share.parameters,
            "bytes": share.bytes,
        })
    };
    about.types.iter().map(one).collect()
}

fn hyper_json(hyper: &Hyper) -> Json {
    let known = Field::ALL.iter().filter_map(|&field| {
        let value = match hyper.get(field)? {
            Scalar::Count(n) => json!(n),
            Scalar::Real(x) => lenient(&Value::F32(x)),
            Scalar::Flag(yes) => json!(yes),
            other => json!(other.to_string()),
        };
        Some((field.text().replace(' ', "_"), value))
    });
    Json::Object(known.collect())
}

/// The facts, a line each.
fn lines(about: &Description, model: &Model) -> Vec<String> {
    let line = |key: &str, value: String| format!("{key:<16} {value}");
    let version = model.version.map(|v| format!(" v{v}")).unwrap_or_default();
    let mut lines = vec![
        line("model", escape(&model.name())),
        line("format", format!("{}{version}", model.format)),
        line("architecture", about.architecture.clone().unwrap_or_else(|| "unknown".into())),
    ];
    if let Some(family) = about.family {
        lines.push(line("family", family.gguf.to_owned()));
    }
    let bits = about.bits_per_weight().map(|bits| format!(", {bits:.2} bits each"));
    let (count, class) = (grouped(about.parameters), about.parameter_class());
    lines.push(line("parameters", format!("{count} ({class}{})", bits.unwrap_or_default())));
    if let (Some(context), Some(class)) = (about.hyper.context, about.context_class()) {
        lines.push(line("context", format!("{context} ({class})")));
    }
    if let Some((tuning, from)) = about.tuning {
        lines.push(line("tuning", format!("{} (by its {from})", tuning.text())));
    }
    if let Some(licence) = &about.licence {
        let (name, place) = (escape(&licence.name), &licence.stated_in);
        lines.push(line("licence", format!("{name} (by {place})")));
    }
    for &field in &Field::ALL[2..] {
        if let Some(value) = about.hyper.get(field) {
            lines.push(line(field.text(), value.to_string()));
        }
    }
    let tokenizer = about.tokenizer.as_ref();
    let tokenizer = tokenizer.map(|(kind, vocab)| format!("{kind}, {vocab} tokens"));
    lines.push(line("tokenizer", tokenizer.unwrap_or_else(|| "none".into())));
    lines.push(line("files", report::size(about.file_bytes)));
    let types = about
        .types
        .iter()
        .map(|share| format!("{} × {} ({})", share.name, share.tensors, report::size(share.bytes)));
    let types: Vec<String> = types.collect();
    lines.push(line("tensors", format!("{}: {}", model.tensors.len(), types.join(", "))));
    if !model.refused.is_empty() {
        let count = model.refused.len();
        lines.push(line("not read", format!("{count} tensors; --tensors lists them")));
    }
    lines.extend(about.memory.lines());
    lines
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
