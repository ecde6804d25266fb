//! `remold completions` and `remold man`: made from the definitions of the commands.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Outcome, report};
use crate::ir::{Error, Result};

/// Prints the completions of a shell
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "remold", &mut text);
        report::result(&String::from_utf8_lossy(&text))?;
        Ok(Outcome::Done)
    }
}

/// Prints the manual page
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {}

impl ManArgs {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut command = Cli::command();
        command.build();
        let mut text = Vec::new();
        let failed = |error: std::io::Error| Error::bug(format!("manual: {error}"));
        clap_mangen::Man::new(command.clone()).render(&mut text).map_err(failed)?;
        // The flags stand with their commands; one page has them all.
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let man = clap_mangen::Man::new(sub.clone());
            man.render_name_section(&mut text).map_err(failed)?;
            man.render_synopsis_section(&mut text).map_err(failed)?;
            man.render_options_section(&mut text).map_err(failed)?;
        }
        report::result(&String::from_utf8_lossy(&text))?;
        Ok(Outcome::Done)
    }
}
