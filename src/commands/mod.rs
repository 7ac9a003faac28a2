//! One file for each command, and what several of them share.

mod add_ignore;
mod check;
mod fix;
mod history;
mod init;
mod interactive;
mod rule;
mod show;
mod together;
mod upgrade_history;
mod verify;
mod version;

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use safemig_transforms::python::Module;
use safemig_transforms::rules;
use safemig_transforms::suppression::Suppressions;

use crate::Status;
use crate::analysis::{self, Judged, JudgedEnvironment, JudgedModule, Rules};
use crate::application::JudgedApplication;
use crate::cli::{Cli, Command, Format, Global, Input, Output};
use crate::config::{self, Config, Split};
use crate::follow_up::{self, NewFile};
use crate::locate::Request;
use crate::project::{self, Histories, Wanted};
use crate::report::{self, Diagnostic, count, github, statistics};
use crate::selection;
use crate::support::{self, Completed};
use crate::terminal::Terminal;
use crate::walk::{Filter, PathGlobs};
use crate::write;

/// Do what the command line says.
///
/// # Errors
/// What keeps the whole program from working. A bad file is no error.
pub(crate) fn run(cli: &Cli, terminal: &Terminal) -> Result<Status> {
    match &cli.command {
        Command::Check(arguments) => check::run(arguments, &cli.global, terminal),
        Command::Fix(arguments) => fix::run(arguments, &cli.global, terminal),
        Command::Verify(arguments) => verify::run(arguments, &cli.global, terminal),
        Command::UpgradeHistory(arguments) => upgrade_history::run(arguments, &cli.global, terminal),
        Command::History(arguments) => history::run(arguments, &cli.global, terminal),
        Command::Init(arguments) => init::run(arguments, &cli.global, terminal),
        Command::GenerateShellCompletion(arguments) => {
            let mut script = Vec::new();
            clap_complete::generate(arguments.shell, &mut Cli::command(), "safemig", &mut script);
            terminal.pass_on(&script)?;
            Ok(Status::Clean)
        }
        Command::Rule(arguments) => rule::run(arguments, terminal),
        Command::Version => version::run(terminal),
    }
}

/// What `check` and `fix` know before they look at findings.
struct Session {
    directory: PathBuf,
    /// The active environment: `VIRTUAL_ENV`, or the one whose `alembic` is on the `PATH`.
    virtual_env: Option<PathBuf>,
    config: Config,
    rules: Rules,
    histories: Histories,
}

impl Session {
    /// Read everything, and say what stood in the way.
    fn new(
        input: &Input,
        stdin_filename: Option<&Path>,
        global: &Global,
        terminal: &Terminal,
    ) -> Result<Self> {
        let directory = env::current_dir().context("could not find out the working directory")?;
        let config = config::load(&directory, &global.config, global.isolated)?;
        Self::with(input, stdin_filename, directory, config, terminal)
    }

    /// Read everything, to judge also what has run in production.
    fn whole_history(input: &Input, global: &Global, terminal: &Terminal) -> Result<Self> {
        let directory = env::current_dir().context("could not find out the working directory")?;
        let mut config = config::load(&directory, &global.config, global.isolated)?;
        config.options.baseline = None;
        let mut session = Self::with(input, None, directory, config, terminal)?;
        // A history that has run leads to the schema that is there.
        session.rules.fixable = session.rules.fixable.without_design();
        Ok(session)
    }

    fn with(
        input: &Input,
        stdin_filename: Option<&Path>,
        directory: PathBuf,
        config: Config,
        terminal: &Terminal,
    ) -> Result<Self> {
        let rules = Rules::new(input, &config)?;
        let virtual_env = env::var_os("VIRTUAL_ENV").map(PathBuf::from).or_else(environment_on_path);
        let stdin = input.paths.iter().any(|path| path == Path::new("-"));
        let histories = project::read(&Wanted {
            paths: &input.paths,
            stdin_filename,
            request: Request {
                working_directory: &directory,
                config: input.alembic.alembic_config.as_deref(),
                section: input.alembic.name.as_deref(),
            },
            filter: filter(input, &config, &directory)?,
            config: &config,
            application: rules.application(),
            postgres_version: input.alembic.postgres_version,
            split: if stdin { Some(crate::config::Split::AutocommitBlock) } else { input.split },
            virtual_env: virtual_env.as_deref(),
            support_module: input.support_module.as_deref().or(config.options.support_module.as_deref()),
        })?;
        let session = Self { directory, virtual_env, config, rules, histories };
        session.warn(input, terminal);
        Ok(session)
    }

    fn warn(&self, input: &Input, terminal: &Terminal) {
        for key in without_effect(&self.config.options) {
            terminal.warning(&format!("`{key}` of the configuration has no effect yet"));
        }
        for problem in &self.histories.problems {
            terminal.error(&format!(
                "{}: {}",
                project::shown(&problem.path, &self.directory),
                problem.message
            ));
        }
        for group in &self.histories.groups {
            if let (Some(_), Some(place)) = (&self.config.options.lock_timeout, &group.lock_timeout) {
                terminal.warning(&format!(
                    "`lock-timeout` of the configuration has no effect: {place} sets `lock_timeout`, which also \
                     ends concurrent builds"
                ));
            }
            for note in &group.project.notes {
                // Configuration that was asked for by name is not passed over silently.
                if input.alembic.alembic_config.is_some() {
                    terminal.warning(note);
                } else {
                    terminal.verbose(note);
                }
            }
            let unreported: Vec<_> = group.invalid.iter().filter(|invalid| !invalid.file.reported).collect();
            if let Some(first) = unreported.first() {
                terminal.warning(&format!(
                    "the history is incomplete: {} could not be parsed, such as {}",
                    count(unreported.len(), "other file"),
                    first.shown
                ));
            }
            for path in &group.unclear {
                terminal.warning(&format!(
                    "{path}: its `revision` or `down_revision` can't be read; left out of the history"
                ));
            }
            for (_, migration) in group.reported() {
                self.warn_of_suppressions(
                    &migration.path,
                    &migration.module,
                    &migration.suppressions,
                    terminal,
                );
            }
        }
        for environment in self.histories.environments.iter().filter_map(|one| one.content.as_ref().ok()) {
            self.warn_of_suppressions(
                &environment.path,
                &environment.module,
                &environment.suppressions,
                terminal,
            );
        }
        let nothing =
            self.revisions() == 0 && self.histories.environments.is_empty() && self.application_files() == 0;
        if nothing && self.histories.problems.is_empty() {
            let excluded = match self.histories.excluded {
                0 => String::new(),
                number => format!(" ({number} excluded)"),
            };
            let places = self.histories.looked_in.join(", ");
            terminal.warning(&format!("No revision files found under {places}{excluded}"));
        }
        terminal.verbose(show::settings(self).trim_end());
    }

    /// Say which suppression comments have no effect.
    fn warn_of_suppressions(
        &self,
        path: &str,
        module: &Module,
        suppressions: &Suppressions,
        terminal: &Terminal,
    ) {
        warn_of_unknown(path, module, suppressions, terminal);
        if self.config.options.require_ignore_reason != Some(true) {
            return;
        }
        for comment in suppressions.iter().filter(|comment| comment.reason.is_empty()) {
            let line = module.position(comment.range.start()).line;
            terminal.warning(&format!(
                "{path}:{line}: the suppression has no effect: it does not say why (`require-ignore-reason`)\n\
                 hint: the reason follows the brackets"
            ));
        }
    }

    /// How many files are reported.
    fn revisions(&self) -> usize {
        let invalid = |group: &project::Group| group.invalid.iter().filter(|file| file.file.reported).count();
        self.histories.groups.iter().map(|group| group.reported().count() + invalid(group)).sum()
    }

    /// Check all histories, in their order.
    fn judge(&self) -> Result<Vec<Judged<'_>>> {
        let mut all = Vec::new();
        for group in &self.histories.groups {
            all.extend(analysis::judge(group, &self.rules)?);
        }
        Ok(all)
    }

    /// Likewise, with fixes in the modules that they call.
    fn judge_with_modules(&self) -> Result<(Vec<Judged<'_>>, Vec<JudgedModule<'_>>)> {
        let (mut all, mut modules) = (Vec::new(), Vec::new());
        for group in &self.histories.groups {
            let (judged, of_group) = analysis::judge_with_modules(group, &self.rules)?;
            all.extend(judged);
            modules.extend(of_group);
        }
        Ok((all, modules))
    }

    /// The new revisions that fix what is to be fixed that way. The verdicts say so.
    fn follow_up(&self, judged: &mut [Judged], applications: &mut [JudgedApplication]) -> Vec<NewFile> {
        let from_stdin = self.histories.stdin.is_some();
        let groups = self.histories.groups.iter().enumerate();
        groups
            .filter_map(|(index, group)| {
                let application = applications.iter_mut().find(|one| one.files.group == Some(index));
                follow_up::of((index, group), judged, application, &self.rules, &self.directory, from_stdin)
            })
            .collect()
    }

    /// The modules that are created or get more functions, for the fixed migrations and the new ones.
    fn support<'a>(&'a self, judged: &[Judged], created: &[NewFile]) -> Vec<Completed<'a>> {
        let groups = self.histories.groups.iter().enumerate();
        groups
            .filter_map(|(index, group)| {
                let own = judged.iter().filter(|one| std::ptr::eq(one.group, group));
                let fixed = own.flat_map(Judged::changes).map(|(_, _, new)| new);
                let new = created.iter().filter(|file| file.group == index);
                support::completed(group, fixed.chain(new.map(|file| file.source.as_str())))
            })
            .collect()
    }

    /// Check the applications.
    fn judge_applications(&self) -> Vec<JudgedApplication<'_>> {
        let applications = self.histories.applications.iter();
        applications
            .map(|files| JudgedApplication::judge(files, &self.histories.groups, &self.rules))
            .collect()
    }

    /// How many files of the applications are reported.
    fn application_files(&self) -> usize {
        self.histories
            .applications
            .iter()
            .map(|files| files.reported.iter().filter(|reported| **reported).count())
            .sum()
    }

    /// Check every `env.py` that is reported.
    fn judge_environments(&self) -> Result<Vec<JudgedEnvironment<'_>>> {
        let mut judged = Vec::new();
        for one in &self.histories.environments {
            if self.rules.limits.judges_environment(&one.path)? {
                judged.extend(analysis::judge_environment(one, &self.rules));
            }
        }
        Ok(judged)
    }

    /// What is wrong with the files themselves.
    fn broken(&self) -> Vec<Diagnostic<'_>> {
        let groups = self.histories.groups.iter().flat_map(report::of_group);
        let environments = self.histories.environments.iter();
        groups
            .chain(environments.filter_map(|one| Some(report::of_invalid(one.content.as_ref().err()?))))
            .collect()
    }

    /// `2 of 48 revisions and env.py`: where there is something, of all that was checked.
    fn places(&self, paths: &BTreeSet<&str>) -> String {
        let environments = self.environments(paths);
        let others = self.of_applications(paths);
        let revisions = paths.len() - environments - others;
        let all = count(self.revisions(), "revision");
        if self.application_files() > 0 {
            let files = format!("{others} of {}", count(self.application_files(), "file"));
            return match revisions + environments {
                0 if self.revisions() == 0 => files,
                revisions => format!("{revisions} of {all} and {files} of the application"),
            };
        }
        match (revisions, environments) {
            (_, 0) => format!("{revisions} of {all}"),
            (_, some) if self.revisions() == 0 => files_env_py(some),
            (0, some) => format!("{}, none in {all}", files_env_py(some)),
            (_, some) => format!("{revisions} of {all} and {}", files_env_py(some)),
        }
    }

    /// `2 revisions and env.py`.
    fn changed_places(&self, paths: &BTreeSet<&str>) -> String {
        let environments = self.environments(paths);
        let others = self.of_applications(paths);
        if others > 0 {
            let revisions = paths.len() - others;
            let others = count(others, "file");
            return if revisions == 0 {
                others
            } else {
                format!("{} and {others}", count(revisions, "revision"))
            };
        }
        let revisions = count(paths.len() - environments, "revision");
        match environments {
            0 => revisions,
            all if all == paths.len() => files_env_py(all),
            some => format!("{revisions} and {}", files_env_py(some)),
        }
    }

    /// How many of these files are the application's, the modules that revisions call among them.
    fn of_applications(&self, paths: &BTreeSet<&str>) -> usize {
        let files = self.histories.applications.iter().flat_map(|files| &files.application.files);
        let modules = self.histories.groups.iter().flat_map(|group| &group.modules);
        let found: BTreeSet<&str> = files
            .map(|file| file.path.as_str())
            .chain(modules.map(|file| file.shown.as_str()))
            .filter(|path| paths.contains(path))
            .collect();
        found.len()
    }

    /// How many of these files are an `env.py`.
    fn environments(&self, paths: &BTreeSet<&str>) -> usize {
        self.histories.environments.iter().filter(|one| paths.contains(one.shown())).count()
    }

    /// `48 revisions`, or what else was checked.
    fn all_places(&self) -> String {
        let files = self.application_files();
        match (self.revisions(), self.histories.environments.len()) {
            (0, _) if files > 0 => count(files, "file"),
            (revisions, _) if files > 0 => {
                format!("{} and {}", count(revisions, "revision"), count(files, "file"))
            }
            (0, number) if number > 0 => files_env_py(number),
            (revisions, _) => count(revisions, "revision"),
        }
    }

    /// ` (3 suppressed, 46 at or before baseline 9f2c1d04be77 not checked)`, or nothing.
    fn not_checked(
        &self,
        judged: &[Judged],
        environments: &[JudgedEnvironment],
        applications: &[JudgedApplication],
    ) -> String {
        let mut parts = Vec::new();
        let suppressed: usize = judged.iter().map(|one| one.report.suppressed.len()).sum::<usize>()
            + applications.iter().map(|one| one.report.suppressed.len()).sum::<usize>()
            + environments.iter().map(|one| one.report.suppressed.len()).sum::<usize>();
        if suppressed > 0 {
            parts.push(format!("{suppressed} suppressed"));
        }
        parts.extend(self.rules.limits.not_checked(judged.iter().filter_map(|one| one.aside)));
        if self.histories.excluded > 0 {
            parts.push(format!("{} excluded", self.histories.excluded));
        }
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }
}

/// Print findings where, and as, the user wants them.
fn emit(
    diagnostics: &[Diagnostic],
    applications: &[JudgedApplication],
    output: &Output,
    terminal: &Terminal,
    aside: bool,
) -> Result<()> {
    let to_file = output.output_file.is_some();
    let plain = terminal.plain();
    let printer = if to_file || aside { &plain } else { terminal };
    let text = if output.statistics {
        let queries = applications.iter().map(|one| &one.report.statistics).collect::<Vec<_>>();
        statistics::render(output.output_format, diagnostics, &queries, printer)
    } else {
        report::render(output.output_format, diagnostics, printer)
    };
    match &output.output_file {
        Some(path) => write::report(path, &text)?,
        None if aside => terminal.print_aside(&text),
        None => terminal.print(&text)?,
    }
    if output.output_format == Format::Github
        && let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty())
    {
        write::append(Path::new(&path), &github::summary(diagnostics))?;
    }
    Ok(())
}

/// The name stands for one; several have the same.
fn files_env_py(number: usize) -> String {
    if number == 1 { "env.py".to_owned() } else { format!("{number} files env.py") }
}

/// The different files that the diagnostics are in.
fn files<'a>(diagnostics: &[Diagnostic<'a>]) -> BTreeSet<&'a str> {
    diagnostics.iter().map(|diagnostic| diagnostic.path).collect()
}

/// Say which names in suppression comments are no rule's.
fn warn_of_unknown(path: &str, module: &Module, suppressions: &Suppressions, terminal: &Terminal) {
    for comment in suppressions.iter() {
        let line = module.position(comment.range.start()).line;
        let unknown = comment.rules.iter().filter(|name| *name != "ALL" && rules::find(name).is_none());
        for name in unknown {
            let hint = selection::nearest(name)
                .map_or_else(String::new, |nearest| format!("\nhint: did you mean `{nearest}`?"));
            terminal.warning(&format!("{path}:{line}: the suppressed rule `{name}` is unknown{hint}"));
        }
    }
}

fn filter(input: &Input, config: &Config, directory: &Path) -> Result<Filter> {
    let given = &input.selection;
    // The patterns of flags are relative to the working directory, those of the configuration to its
    // file.
    let here = |pattern: &String| {
        if pattern.trim_end_matches('/').contains('/') && !Path::new(pattern).is_absolute() {
            let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
            format!("{}/{pattern}", globset::escape(&directory.to_string_lossy()))
        } else {
            pattern.clone()
        }
    };
    let mut patterns: Vec<String> = match &given.exclude {
        Some(patterns) => patterns.iter().map(here).collect(),
        None => config.options.exclude.clone().unwrap_or_default(),
    };
    patterns.extend(given.extend_exclude.iter().map(here));
    Ok(Filter { exclude: PathGlobs::new(&patterns, &config.root)?, force: given.force_exclude })
}

/// Settings that are read, but belong to what is still to come.
fn without_effect(options: &config::Options) -> Vec<&'static str> {
    [(options.split == Some(Split::Revision), "split")]
        .into_iter()
        .filter_map(|(given, key)| given.then_some(key))
        .collect()
}

/// The environment whose `alembic` a shell would start: the parent of its `bin`.
fn environment_on_path() -> Option<PathBuf> {
    let name = if cfg!(windows) { "alembic.exe" } else { "alembic" };
    env::split_paths(&env::var_os("PATH")?)
        .find(|directory| directory.join(name).is_file())
        .and_then(|directory| directory.parent().map(PathBuf::from))
}
