//! The command line: what was typed becomes a job, and its outcome an exit code.

mod args;
mod arrays;
mod bench;
mod check;
mod convert;
mod diff;
mod docs;
mod embed;
mod feed;
mod imatrix;
mod inspect;
mod logits;
mod manifest;
mod perplexity;
mod quantize;
mod report;
mod run;
pub mod signals;
mod tokenize;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::ir::{Error, Fault, Result, simd};

/// Converts, quantizes and proves machine-learning models.
///
/// Any format in, any format out, from one binary; and every artifact can be run beside its
/// source, so that a conversion that changed the model is caught before anybody ships it.
#[derive(Debug, Parser)]
#[command(name = "remold", version, max_term_width = 100, propagate_version = true)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done · 1 the comparison says no · 2 the command line is wrong · 3 the input is
invalid or unsafe · 4 unsupported · 5 a limit was reached · 6 reading or writing failed ·
7 something would be lost · 70 a bug of ours · 130, 143 interrupted";

/// Every command; each is one file, which says what it takes and does it.
#[derive(Debug, Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Convert(convert::Args),
    Quantize(quantize::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Check(check::Args),
    Logits(logits::Args),
    Run(run::Args),
    Tokenize(tokenize::Args),
    Bench(bench::Args),
    Embed(embed::Args),
    Perplexity(perplexity::Args),
    Imatrix(imatrix::Args),
    Completions(docs::CompletionsArgs),
    Man(docs::ManArgs),
}

/// What a command that ran to its end found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what was asked.
    Done,
    /// The comparison says no.
    Differs,
}

/// Parses, runs, and turns the outcome into the process's exit code.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    signals::install();
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap says so with its exit code.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let ran = std::panic::catch_unwind(|| run(cli));
    match ran {
        Ok(Ok(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Differs)) => ExitCode::from(1),
        Ok(Err(error)) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            report::error(&error);
            ExitCode::from(error.fault.exit_code())
        }
        Err(_) => ExitCode::from(Fault::Bug.exit_code()),
    }
}

fn run(cli: Cli) -> Result<Outcome> {
    if let Some(level) = std::env::var_os(simd::VARIABLE) {
        simd::choose(&level)?;
    }
    match cli.command {
        Command::Inspect(args) => args.run(),
        Command::Convert(args) => args.run(),
        Command::Quantize(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Diff(args) => args.run(),
        Command::Check(args) => args.run(),
        Command::Logits(args) => args.run(),
        Command::Run(args) => args.run(),
        Command::Tokenize(args) => args.run(),
        Command::Bench(args) => args.run(),
        Command::Embed(args) => args.run(),
        Command::Perplexity(args) => args.run(),
        Command::Imatrix(args) => args.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// A reader that has seen enough, such as `head`, is no failure of ours.
fn is_closed_pipe(error: &Error) -> bool {
    error.fault == Fault::Io && error.to_string() == report::CLOSED_PIPE
}
