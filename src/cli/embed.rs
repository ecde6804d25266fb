//! `remold embed`: texts as vectors.

use serde_json::{Value as Json, json};

use super::args::{Common, ModelPath, Reading};
use super::{Outcome, report};
use crate::arch::{self, Pool, Pooling};
use crate::ir::{Access, Error, Model, Notes, Result};
use crate::run::tokens::Encoder as Tokens;
use crate::run::{self, Encoder};

/// Prints a vector for each text, of the hidden states of an encoder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    path: ModelPath,
    /// The texts.
    #[arg(value_name = "TEXT", required = true)]
    texts: Vec<String>,
    /// How the positions become one vector; by default what the model's files say, else mean.
    #[arg(long, value_enum)]
    pooling: Option<By>,
    /// Machine form on standard output.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    common: Common,
}

/// How the positions become one vector.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    /// Their mean.
    Mean,
    /// The first position.
    Cls,
    /// The last position.
    Last,
}

/// A text's vector.
struct Embedded {
    tokens: usize,
    vector: Vec<f32>,
}

impl Args {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut notes = Notes::default();
        let model = self.reading.model(&self.path.model, Access::Map, &mut notes)?;
        let pooling = self.pooling(&model, &mut notes).map_err(|error| error.at(&model.origin))?;
        report::notes(&notes, self.common.quiet, self.common.strict)?;
        let (tokens, encoder) = (Tokens::new(model.require_tokenizer()?)?, Encoder::new(&model)?);
        let limit = limit(&model, &encoder, pooling);
        let pool = run::pool(self.common.threads()?.get())?;
        let embed = |text: &String| -> Result<Embedded> {
            let ids = cut(&model, tokens.encode(text, true, true)?, limit)?;
            let hidden = encoder.hidden(&ids)?;
            let vector = run::pooled(&hidden, encoder.features(), pooling);
            Ok(Embedded { tokens: ids.len(), vector })
        };
        let found: Vec<Embedded> =
            pool.install(|| self.texts.iter().map(embed).collect::<Result<_>>())?;
        self.reading.check_unchanged()?;
        match self.json {
            true => report::json(&to_json(&found, pooling))?,
            false => report::result(&lines(&found))?,
        }
        Ok(Outcome::Done)
    }

    fn pooling(&self, model: &Model, notes: &mut Notes) -> Result<Pooling> {
        let asked = self.pooling.map(|by| match by {
            By::Mean => Pool::Mean,
            By::Cls => Pool::First,
            By::Last => Pool::Last,
        });
        let stated = arch::pooling(model)?;
        if asked.is_none() && stated.is_none() {
            let text = "the files do not say how texts become vectors: the mean of all positions, \
                        normalised; --pooling says otherwise";
            notes.chosen("pooling", text);
        }
        let usual = Pooling { pool: Pool::Mean, normalised: true, max_tokens: None };
        let stated = stated.unwrap_or(usual);
        Ok(Pooling { pool: asked.unwrap_or(stated.pool), ..stated })
    }
}

/// Tokens of a text that are used.
fn limit(model: &Model, encoder: &Encoder, pooling: Pooling) -> usize {
    let context = encoder.hyper().context.unwrap_or(u64::MAX);
    let ends = model.tokenizer.as_ref().map_or(0, |t| t.prefix.len() + t.suffix.len());
    (context.min(pooling.max_tokens.unwrap_or(u64::MAX)) as usize).max(ends)
}

/// A text that is too long loses its end, but not what the tokenizer adds after it.
fn cut(model: &Model, mut ids: Vec<u32>, limit: usize) -> Result<Vec<u32>> {
    if ids.is_empty() {
        return Err(Error::usage("the text has no tokens"));
    }
    if ids.len() > limit {
        let suffix = model.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.suffix.len());
        let end = ids.split_off(ids.len() - suffix);
        ids.truncate(limit - suffix);
        ids.extend(end);
    }
    Ok(ids)
}

fn to_json(found: &[Embedded], pooling: Pooling) -> Json {
    let embeddings = found.iter().enumerate().map(
        |(index, one)| json!({ "index": index, "tokens": one.tokens, "embedding": one.vector }),
    );
    json!({
        "dimensions": found.first().map_or(0, |one| one.vector.len()),
        "pooling": match pooling.pool {
            Pool::Mean => "mean",
            Pool::First => "cls",
            Pool::Last => "last",
        },
        "normalised": pooling.normalised,
        "embeddings": embeddings.collect::<Vec<_>>(),
    })
}

/// A line of numbers for each text.
fn lines(found: &[Embedded]) -> String {
    let line = |one: &Embedded| {
        let numbers: Vec<String> = one.vector.iter().map(|x| format!("{x:?}")).collect();
        numbers.join(" ") + "\n"
    };
    found.iter().map(line).collect()
}
