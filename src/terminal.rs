//! Where text goes, and whether in colour.
//!
//! stdout carries what was asked for: findings, a diff, a report. stderr carries everything about
//! how it went. Both can be a closed pipe, which is no failure: the reader has seen enough.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressStyle};

/// When to colour the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal; `NO_COLOR`, `FORCE_COLOR` and `CLICOLOR_FORCE` are respected.
    #[default]
    Auto,
    Always,
    Never,
}

/// How much to say on stderr.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Nothing but the exit code, and errors that keep the program from working.
    Silent,
    /// No summary.
    Quiet,
    #[default]
    Normal,
    /// Also what was read and decided.
    Verbose,
}

/// The two streams.
#[derive(Debug)]
pub(crate) struct Terminal {
    verbosity: Verbosity,
    stdout_colored: bool,
    stderr_colored: bool,
}

impl Terminal {
    pub(crate) fn new(choice: ColorChoice, verbosity: Verbosity) -> Self {
        let variable = |name| env::var_os(name);
        let dumb = variable("TERM").is_some_and(|term| term == "dumb");
        let colored = |is_terminal: bool| {
            is_colored(
                choice,
                is_set(variable("NO_COLOR").as_deref()),
                is_on(variable("FORCE_COLOR").as_deref()) || is_on(variable("CLICOLOR_FORCE").as_deref()),
                is_terminal && !dumb,
            )
        };
        Self {
            verbosity,
            stdout_colored: colored(io::stdout().is_terminal()),
            stderr_colored: colored(io::stderr().is_terminal()),
        }
    }

    /// The same without colour, for files and for text that goes elsewhere.
    pub(crate) fn plain(&self) -> Self {
        Self { stdout_colored: false, ..*self }
    }

    /// The same for text that goes to stderr.
    pub(crate) fn on_stderr(&self) -> Self {
        Self { stdout_colored: self.stderr_colored, ..*self }
    }

    /// Whether stdout is coloured.
    pub(crate) fn colored(&self) -> bool {
        self.stdout_colored
    }

    pub(crate) fn is_verbose(&self) -> bool {
        self.verbosity >= Verbosity::Verbose
    }

    /// A style for stdout.
    pub(crate) fn style(&self) -> Style {
        Style::new().force_styling(self.stdout_colored)
    }

    /// Prints what was asked for.
    ///
    /// # Errors
    /// stdout can't be written to; see [`is_broken_pipe`].
    pub(crate) fn print(&self, text: &str) -> anyhow::Result<()> {
        if self.verbosity > Verbosity::Silent {
            self.pass_on(text.as_bytes())?;
        }
        Ok(())
    }

    /// As [`Terminal::print`], also when the user wants no output: the file that a filter passes on.
    ///
    /// # Errors
    /// stdout can't be written to.
    #[expect(clippy::unused_self, reason = "everything is printed through the terminal")]
    pub(crate) fn pass_on(&self, content: &[u8]) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(content)?;
        stdout.flush()?;
        Ok(())
    }

    /// Findings, where stdout carries something else.
    pub(crate) fn print_aside(&self, text: &str) {
        if self.verbosity > Verbosity::Silent && !text.is_empty() {
            log(text.trim_end());
        }
    }

    /// A line of the summary.
    pub(crate) fn summary(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            log(text);
        }
    }

    /// How far a long job has come: a bar on a terminal.
    pub(crate) fn progress(&self) -> Progress {
        let wanted = self.verbosity >= Verbosity::Normal && io::stderr().is_terminal();
        Progress { wanted, colored: self.stderr_colored, started: Instant::now(), bar: None }
    }

    /// Whether somebody reads stdout as it is written.
    #[expect(clippy::unused_self, reason = "it is the terminal's")]
    pub(crate) fn is_watched(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// What a curious user wants to know.
    pub(crate) fn verbose(&self, text: &str) {
        if self.is_verbose() {
            log(text);
        }
    }

    pub(crate) fn warning(&self, text: &str) {
        if self.verbosity > Verbosity::Silent {
            self.labelled("warning", &self.stderr_style().yellow().bold(), text);
        }
    }

    pub(crate) fn error(&self, text: &str) {
        self.labelled("error", &self.stderr_style().red().bold(), text);
    }

    fn labelled(&self, label: &str, style: &Style, text: &str) {
        let text = match text.split_once("\nhint: ") {
            Some((message, hint)) => {
                format!("{message}\n{}: {hint}", self.stderr_style().cyan().bold().apply_to("hint"))
            }
            None => text.to_owned(),
        };
        log(&format!("{}: {text}", style.apply_to(label)));
    }

    fn stderr_style(&self) -> Style {
        Style::new().for_stderr().force_styling(self.stderr_colored)
    }
}

/// A job takes so long before a bar is worth showing.
const PATIENCE: Duration = Duration::from_millis(500);

/// A progress bar on stderr, which vanishes with its value.
#[derive(Debug)]
pub(crate) struct Progress {
    wanted: bool,
    colored: bool,
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// `done` of `all` parts are done, and `what` is next.
    pub(crate) fn at(&mut self, done: usize, all: usize, what: &str) {
        if self.bar.is_none() && self.wanted && self.started.elapsed() > PATIENCE {
            let template =
                if self.colored { "{bar:30.green} {pos}/{len} {msg}" } else { "{bar:30} {pos}/{len} {msg}" };
            let bar = ProgressBar::new(all as u64);
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.enable_steady_tick(PATIENCE);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(all as u64);
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Nobody is there to hear that stderr can't be written to.
fn log(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether the reader of our output went away.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

fn is_colored(choice: ColorChoice, no_color: bool, force: bool, is_terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => !no_color && (force || is_terminal),
    }
}

/// <https://no-color.org>: any value but the empty one.
fn is_set(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// <https://force-color.org>, and <http://bixense.com/clicolors> where 0 means no.
fn is_on(value: Option<&OsStr>) -> bool {
    value.is_some_and(|value| !value.is_empty() && value != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_goes_before_no_color_before_force_color_before_the_terminal() {
        assert!(is_colored(ColorChoice::Always, true, false, false));
        assert!(!is_colored(ColorChoice::Never, false, true, true));
        assert!(!is_colored(ColorChoice::Auto, true, true, true));
        assert!(is_colored(ColorChoice::Auto, false, true, false));
        assert!(is_colored(ColorChoice::Auto, false, false, true));
        assert!(!is_colored(ColorChoice::Auto, false, false, false));
    }

    #[test]
    fn empty_variables_say_nothing() {
        assert!(!is_set(Some(OsStr::new(""))) && is_set(Some(OsStr::new("0"))));
        assert!(!is_on(Some(OsStr::new("0"))) && is_on(Some(OsStr::new("1"))) && !is_on(None));
    }
}
