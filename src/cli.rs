//! The command line: every command and flag, with its help.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::Split;
use crate::selection::Selector;
use crate::terminal::{ColorChoice, Verbosity};

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing is left to do
  1  findings remain, or a dry run would change something
  2  something could not be done";

/// Rewrites Alembic migrations so that they stop locking production PostgreSQL tables
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Report what is unsafe; write nothing
    #[command(after_help = EXIT_CODES)]
    Check(Box<CheckArgs>),
    /// Rewrite what is unsafe, in place
    #[command(after_help = EXIT_CODES)]
    Fix(Box<FixArgs>),
    /// Prove a rewrite on a real PostgreSQL
    #[command(after_help = EXIT_CODES)]
    Verify(Box<VerifyArgs>),
    /// Rewrite a whole history at once, all of it or nothing
    #[command(after_help = EXIT_CODES)]
    UpgradeHistory(Box<UpgradeHistoryArgs>),
    /// List the revisions with what is unsafe in them
    History(Box<HistoryArgs>),
    /// Set up Alembic's hook, the baseline and pre-commit
    Init(InitArgs),
    /// Explain a rule, or list all rules
    Rule(RuleArgs),
    /// Print a script that completes commands and flags
    GenerateShellCompletion(CompletionArgs),
    /// Print the version
    Version,
}

/// Flags of every command.
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// A configuration file, or a setting in TOML such as 'postgres-version = 16'; may be repeated
    #[arg(long, value_name = "PATH|KEY=VALUE", global = true, action = ArgAction::Append)]
    pub(crate) config: Vec<String>,
    /// Read no configuration file
    #[arg(long, global = true)]
    pub(crate) isolated: bool,
    /// When to colour the output
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Print no summary
    #[arg(short, long, global = true, conflicts_with_all = ["silent", "verbose"])]
    pub(crate) quiet: bool,
    /// Print nothing; the exit code says it all
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) silent: bool,
    /// Say what is read and decided
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl Global {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.silent, self.quiet, self.verbose) {
            (true, ..) => Verbosity::Silent,
            (_, true, _) => Verbosity::Quiet,
            (.., true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Write a comment above every finding that suppresses it, with the reason
    #[arg(long, value_name = "WHY", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) add_ignore: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
#[derive(Debug, Args)]
pub(crate) struct FixArgs {
    /// Write nothing; print a diff that `git apply` understands
    #[arg(long, visible_alias = "diff")]
    pub(crate) dry_run: bool,
    /// Decide about one fix after the other
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) interactive: bool,
    /// List what was fixed, file by file
    #[arg(long, help_heading = "Output")]
    pub(crate) show_fixes: bool,
    /// Exit with 1 when something was fixed, even if nothing is left
    #[arg(long, help_heading = "Output")]
    pub(crate) exit_non_zero_on_fix: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What `check` and `fix` share.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The name of what is read from standard input, for the path `-`
    #[arg(long, value_name = "PATH")]
    pub(crate) stdin_filename: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which revisions are read, and which of them are to be fixed how.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// Files or directories; without any, the version locations of the project's Alembic
    /// configuration
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Apply unsafe fixes too
    #[arg(long, overrides_with = "no_unsafe_fixes")]
    pub(crate) unsafe_fixes: bool,
    #[arg(long, hide = true, overrides_with = "unsafe_fixes")]
    pub(crate) no_unsafe_fixes: bool,
    /// How a revision is divided into transactions [default: autocommit-block]
    #[arg(long, value_name = "HOW")]
    pub(crate) split: Option<Split>,
    /// Write the functions that rewritten migrations call into a module, and import it there
    ///
    /// NAME is how Python imports it. Without one it is `safemig_ops`, beside `env.py`. Otherwise each migration has
    /// its own.
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) support_module: Option<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) alembic: Alembic,
}

/// What `verify` runs, and where.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Compare with the revisions as they were at this git revision, instead of what `safemig fix`
    /// would write
    #[arg(long, value_name = "GITREF")]
    pub(crate) against: Option<String>,
    #[command(flatten)]
    pub(crate) proof: Proof,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub(crate) output_format: VerifyFormat,
    /// Write the report to a file instead of standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub(crate) output_file: Option<PathBuf>,
}

/// How a rewrite is proved.
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
#[derive(Debug, Args)]
pub(crate) struct Proof {
    /// Fill every table with so many rows before each revision, and compare the contents too
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) rows: u32,
    /// Cut every rewritten revision off after each of its statements, and run it again
    #[arg(long)]
    pub(crate) crash: bool,
    /// Compare also what `alembic upgrade --sql` writes
    #[arg(long)]
    pub(crate) sql: bool,
    /// Upgrade also a database that is stamped with each revision of the original
    #[arg(long)]
    pub(crate) stamped: bool,
    /// SQL that makes what the first revision needs, as of `pg_dump --schema-only --no-owner`
    #[arg(long, value_name = "FILE", help_heading = "Environment")]
    pub(crate) initial_schema: Option<PathBuf>,
    /// The Python that has Alembic, or its virtual environment
    #[arg(long, value_name = "PATH", help_heading = "Environment")]
    pub(crate) python: Option<PathBuf>,
    /// Run the project's own env.py; its PostgreSQL connections lead to the scratch databases
    #[arg(long, help_heading = "Environment")]
    pub(crate) use_env: bool,
    /// Replace modules that cannot be found, and the named packages even if they can
    #[arg(
        long,
        value_name = "MODULE",
        value_delimiter = ',',
        num_args = 0..,
        require_equals = true,
        help_heading = "Environment"
    )]
    pub(crate) stub_imports: Option<Vec<String>>,
    /// A server where scratch databases may be created; without it, PostgreSQL's programs on this
    /// machine are started as a private cluster
    #[arg(long, value_name = "URL", help_heading = "Environment")]
    pub(crate) database_url: Option<String>,
}

/// What `upgrade-history` does.
#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
#[derive(Debug, Args)]
pub(crate) struct UpgradeHistoryArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// Write nothing; print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write nothing; print a diff that `git apply` understands, and what would be done on standard error
    #[arg(long)]
    pub(crate) diff: bool,
    /// Write also to files with changes that are not committed
    #[arg(long)]
    pub(crate) allow_dirty: bool,
    /// Prove the rewrite on a real PostgreSQL before anything is written
    #[arg(long, help_heading = "Proof")]
    pub(crate) verify: bool,
    #[command(flatten, next_help_heading = "Proof")]
    pub(crate) proof: Proof,
    /// How to print what is done
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub(crate) output_format: UpgradeFormat,
    /// Write that to a file instead of standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub(crate) output_file: Option<PathBuf>,
    /// Exit with 0 even if findings remain
    #[arg(short, long, help_heading = "Output")]
    pub(crate) exit_zero: bool,
}

/// How `upgrade-history` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpgradeFormat {
    /// A summary
    #[default]
    Text,
    /// Every revision, for a pull request
    Markdown,
}

/// What `history` lists, and how.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    pub(crate) input: Input,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text", help_heading = "Output")]
    pub(crate) output_format: HistoryFormat,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub(crate) output_file: Option<PathBuf>,
}

/// How `history` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFormat {
    /// Alembic's own lines, and what was found below them
    #[default]
    Text,
    /// One JSON document
    Json,
    /// A table
    Markdown,
    /// A diagram
    Mermaid,
}

/// What `init` sets up.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Write nothing; print what would be set up as a diff
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) alembic: Alembic,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Whose script
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// How `verify` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyFormat {
    /// Tables for a terminal
    #[default]
    Text,
    /// One JSON document
    Json,
    /// Tables for a pull request
    Markdown,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct Selection {
    /// The rules to check, or ALL; separated by commas or repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) select: Option<Vec<Selector>>,
    /// Rules not to check
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) ignore: Vec<Selector>,
    /// Rules to check in addition to those of the configuration
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) extend_select: Vec<Selector>,
    /// The rules to fix, or ALL
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) fixable: Option<Vec<Selector>>,
    /// Rules to report but not to fix
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) unfixable: Vec<Selector>,
    /// Files and directories not to check, as globs; takes the place of the configuration's
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub(crate) exclude: Option<Vec<String>>,
    /// Likewise, in addition to the configuration's
    #[arg(long, value_name = "GLOB", value_delimiter = ',')]
    pub(crate) extend_exclude: Vec<String>,
    /// Exclude also what is named on the command line, as pre-commit needs
    #[arg(long)]
    pub(crate) force_exclude: bool,
    /// Only these revisions, as `alembic history -r` lists them: ae10:, -3:head, :billing@head
    #[arg(short, long, value_name = "START:END", allow_hyphen_values = true)]
    pub(crate) rev_range: Option<String>,
    /// Only files that changed since the history of HEAD left that of a git revision
    #[arg(long, value_name = "GITREF")]
    pub(crate) since: Option<String>,
    /// Only what has not run on this database; its `alembic_version` is read
    #[arg(long, value_name = "DATABASE_URL")]
    pub(crate) applied: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Project")]
pub(crate) struct Alembic {
    /// Alembic's configuration: alembic.ini or pyproject.toml
    #[arg(short = 'c', long, value_name = "PATH", env = "ALEMBIC_CONFIG")]
    pub(crate) alembic_config: Option<PathBuf>,
    /// The section of alembic.ini
    #[arg(short, long, value_name = "SECTION")]
    pub(crate) name: Option<String>,
    /// The oldest PostgreSQL in production, its major version
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=19))]
    pub(crate) postgres_version: Option<u32>,
}

#[expect(clippy::struct_excessive_bools, reason = "a flag is a bool")]
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// How to print findings
    #[arg(long, value_name = "FORMAT", default_value = "full")]
    pub(crate) output_format: Format,
    /// Write findings to a file instead of standard output
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output_file: Option<PathBuf>,
    /// Count findings by rule instead of printing them
    #[arg(long)]
    pub(crate) statistics: bool,
    /// List the revision files that would be checked, and stop
    #[arg(long)]
    pub(crate) show_files: bool,
    /// Show the settings that hold, and stop
    #[arg(long)]
    pub(crate) show_settings: bool,
    /// Exit with 0 even if findings remain
    #[arg(short, long)]
    pub(crate) exit_zero: bool,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// With the source
    #[default]
    Full,
    /// A line each
    Concise,
    /// A line each, below the name of the file
    Grouped,
    /// One JSON document
    Json,
    /// A JSON document a line
    JsonLines,
    /// Annotations of GitHub Actions
    Github,
}

#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    /// The rule to explain; without one, all rules are listed
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub(crate) name: Option<String>,
    /// Explain all rules
    #[arg(long)]
    pub(crate) all: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output_format: RuleFormat,
}

/// How rules are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleFormat {
    /// Markdown
    #[default]
    Text,
    /// A JSON document
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
