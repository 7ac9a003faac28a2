//! safemig rewrites Alembic migrations so that they stop locking production PostgreSQL tables.

mod analysis;
mod application;
mod cli;
mod commands;
mod config;
mod follow_up;
mod git;
mod imports;
mod locate;
mod naming_convention;
mod project;
mod prompt;
mod report;
mod review;
mod scope;
mod selection;
mod sources;
mod support;
mod terminal;
mod verify;
mod versions;
mod walk;
mod write;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::Cli;
use crate::terminal::Terminal;
use crate::verify::interrupt::Interrupted;

/// What a parser, and dropping what it built, may need on deeply nested input. Only address space:
/// pages that nobody touches are never allocated.
const STACK_SIZE: usize = 64 << 20;

/// How the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// Nothing is left to do.
    Clean,
    /// Findings remain, or a dry run would change something.
    Findings,
    /// Something could not be done.
    Failed,
    /// The user asked for an early end: 128 and the number of SIGINT.
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = Terminal::new(cli.global.color, cli.global.verbosity());
    let status = match rayon::ThreadPoolBuilder::new().stack_size(STACK_SIZE).build() {
        // In the pool, because the main thread's stack has another size.
        Ok(pool) => pool.install(|| commands::run(&cli, &terminal)),
        Err(error) => Err(anyhow::Error::new(error).context("could not start threads")),
    };
    match status {
        Ok(status) => status.into(),
        Err(error) if terminal::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => Status::Interrupted.into(),
        Err(error) => {
            terminal.error(&format!("{error:#}"));
            Status::Failed.into()
        }
    }
}
