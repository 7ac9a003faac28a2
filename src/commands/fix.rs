//! `safemig fix`: rewrite what is unsafe, in place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, bail};
use rayon::prelude::*;

use super::interactive::{self, Agreed};
use super::{Session, emit, show, together};
use crate::Status;
use crate::analysis::{Judged, JudgedEnvironment, JudgedModule, NOT_REVIEWED};
use crate::application::JudgedApplication;
use crate::cli::{Common, FixArgs, Global};
use crate::follow_up::NewFile;
use crate::prompt::Prompt;
use crate::report::{self, Diagnostic, count, diff};
use crate::review::{DECLINED, Review};
use crate::support::Completed;
use crate::terminal::Terminal;
use crate::write;

pub(super) fn run(arguments: &FixArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let common = &arguments.common;
    // First, because it may take a while until the first question.
    let prompt = arguments.interactive.then(|| prompt(common, global)).transpose()?;
    let read = || Session::new(&common.input, common.stdin_filename.as_deref(), global, terminal);
    let mut session = read()?;
    if let Some(status) = show::instead(&session, &common.output, terminal)? {
        return Ok(status);
    }
    if together::recover(&session, arguments.dry_run, terminal)? {
        // What was read may be half of what was written.
        session = read()?;
    }
    // A review is about the migrations that are there, and only one file comes back from standard input.
    let alone = prompt.is_some() || session.histories.stdin.is_some();
    let (mut judged, mut modules) =
        if alone { (session.judge()?, Vec::new()) } else { session.judge_with_modules()? };
    let mut environments = session.judge_environments()?;
    let mut applications = session.judge_applications();
    let mut created = if prompt.is_none() {
        session.follow_up(&mut judged, &mut applications)
    } else {
        for one in &mut applications {
            one.leave(NOT_REVIEWED);
        }
        Vec::new()
    };
    let mut failed = !session.histories.problems.is_empty();
    let stdin = session.histories.stdin.as_deref();
    let mut support = session.support(&judged, &created);
    if let Some(prompt) = &prompt {
        let mut review = Review::new(&mut judged, &mut environments, &session.rules);
        let reason = session.config.options.require_ignore_reason == Some(true);
        let agreed = interactive::run(&mut review, prompt, terminal, reason)?;
        review.settle(agreed == Agreed::Write);
        prompt.close();
        support = session.support(&judged, &created);
        failed |= !together::write_support(&mut support, &mut judged, terminal);
        failed |= !write(&mut judged, &mut environments, terminal);
    } else if stdin.is_none() && !arguments.dry_run {
        failed |= !together::write_support(&mut support, &mut judged, terminal);
        let revisions = write(&mut judged, &mut environments, terminal);
        failed |= !write_modules(&mut modules, &mut judged, revisions, terminal);
        failed |= !revisions;
        let groups = &session.histories.groups;
        failed |= !together::write(groups, &mut created, &mut judged, &mut applications, terminal);
    }
    let mut diagnostics = session.broken();
    diagnostics.extend(judged.iter().flat_map(|one| report::after(one, &session.rules)));
    diagnostics.extend(environments.iter().flat_map(report::after_in_environment));
    diagnostics.extend(applications.iter().flat_map(report::after_in_application));
    report::sort(&mut diagnostics);
    // What was left in a review was seen there.
    diagnostics.sort_by_key(|one| one.is_left_because(DECLINED));
    let told = diagnostics.partition_point(|one| !one.is_left_because(DECLINED));
    let changes = changes(&judged, &environments, &modules, &applications, &created, &support);

    match stdin {
        _ if arguments.dry_run => terminal.print(&diffs(&changes, terminal))?,
        Some(original) => {
            terminal.pass_on(changes.first().map_or(original, |change| change.new.as_bytes()))?;
            emit(&diagnostics, &applications, &common.output, terminal, true)?;
        }
        None => emit(&diagnostics[..told], &applications, &common.output, terminal, false)?,
    }
    if arguments.show_fixes {
        terminal.summary(fixes(&changes).trim_end());
    }
    let aside = session.not_checked(&judged, &environments, &applications);
    for line in summary(arguments.dry_run, &session, &aside, &changes, &diagnostics) {
        terminal.summary(&line);
    }
    for (reason, number) in report::upgrade::uncut(&judged) {
        terminal.summary(&format!("{} not cut: {reason}.", count(number, "revision")));
    }

    let fixed = !changes.is_empty();
    Ok(if failed {
        Status::Failed
    } else if common.output.exit_zero {
        Status::Clean
    } else if !diagnostics.is_empty() || (fixed && (arguments.dry_run || arguments.exit_non_zero_on_fix)) {
        Status::Findings
    } else {
        Status::Clean
    })
}

/// The terminal for `--interactive`.
fn prompt(common: &Common, global: &Global) -> Result<Prompt> {
    if common.input.paths.iter().any(|path| path == Path::new("-")) {
        bail!("`--interactive` can't be used with standard input");
    }
    if global.silent {
        bail!("`--interactive` can't be used with `--silent`");
    }
    Prompt::open()
}

/// Write every fixed file. One that can't be written keeps its findings, and the others go on.
fn write(judged: &mut [Judged], environments: &mut [JudgedEnvironment], terminal: &Terminal) -> bool {
    let mut errors: Vec<_> = judged
        .par_iter_mut()
        .filter(|one| one.parts.is_empty())
        .filter_map(|one| {
            let fixed = one.fixed.as_ref()?;
            let old = one.migration.module.source();
            let error = write::write_atomically(one.path, fixed.as_bytes(), old.as_bytes()).err()?;
            one.not_written();
            Some(error)
        })
        .collect();
    for one in environments {
        let Some(fixed) = &one.fixed else { continue };
        let old = one.environment.module.source();
        if let Err(error) = write::write_atomically(one.path, fixed.as_bytes(), old.as_bytes()) {
            one.not_written();
            errors.push(error);
        }
    }
    for error in &errors {
        terminal.error(&error.to_string());
    }
    let cut = together::write_cut(judged, terminal);
    errors.is_empty() && cut
}

/// Write every module that changes. What its callers need for that is there already, or it is left as it is.
fn write_modules(
    modules: &mut [JudgedModule],
    judged: &mut [Judged],
    callers: bool,
    terminal: &Terminal,
) -> bool {
    let mut all = true;
    for one in modules {
        let Some(fixed) = &one.fixed else { continue };
        let result = if callers {
            write::write_atomically(&one.file.path, fixed.as_bytes(), one.file.source.as_bytes())
                .map_err(|error| terminal.error(&error.to_string()))
        } else {
            Err(())
        };
        if result.is_err() {
            one.not_written(judged);
            all = false;
        }
    }
    all
}

/// A file that the fixes change.
pub(super) struct Change<'a> {
    /// As reports show it.
    path: &'a str,
    /// `None` when it is new.
    old: Option<&'a str>,
    new: &'a str,
    /// The rules of the findings that are fixed.
    rules: Vec<String>,
    /// It only has what the others call.
    is_support: bool,
}

/// Every file that is changed or created, with its old and its new text.
pub(super) fn changed_files<'a>(
    judged: &'a [Judged],
    environments: &'a [JudgedEnvironment],
    modules: &'a [JudgedModule],
) -> impl Iterator<Item = (&'a Path, Option<&'a str>, &'a str)> {
    let environments = environments
        .iter()
        .filter_map(|one| Some((one.path, Some(one.environment.module.source()), one.fixed.as_deref()?)));
    let modules = modules.iter().filter_map(|one| {
        Some((one.file.path.as_path(), Some(one.file.source.as_str()), one.fixed.as_deref()?))
    });
    judged.iter().flat_map(Judged::changes).chain(environments).chain(modules)
}

/// What is changed, revisions first.
pub(super) fn changes<'a>(
    judged: &'a [Judged],
    environments: &'a [JudgedEnvironment],
    modules: &'a [JudgedModule],
    applications: &'a [JudgedApplication],
    created: &'a [NewFile],
    support: &'a [Completed<'a>],
) -> Vec<Change<'a>> {
    let revisions = judged.iter().filter_map(|one| {
        let rules = one.fixed_rules().collect();
        let new = one.fixed.as_ref()?;
        Some(Change {
            path: &one.migration.path,
            old: Some(one.migration.module.source()),
            new,
            rules,
            is_support: false,
        })
    });
    let environments = environments.iter().filter_map(|one| {
        let rules = one.fixed_rules().collect();
        let new = one.fixed.as_ref()?;
        Some(Change {
            path: &one.environment.path,
            old: Some(one.environment.module.source()),
            new,
            rules,
            is_support: false,
        })
    });
    let parts = judged.iter().flat_map(|one| &one.parts).map(|file| Change {
        path: &file.shown,
        old: None,
        new: &file.part.source,
        // They are counted where they were found.
        rules: Vec::new(),
        is_support: false,
    });
    let created = created.iter().map(|file| Change {
        path: &file.shown,
        old: None,
        new: &file.source,
        rules: file.rules.clone(),
        is_support: false,
    });
    let models = applications.iter().flat_map(|one| {
        one.fixed.iter().map(|(index, new)| {
            let file = &one.files.application.files[*index];
            Change {
                path: &file.path,
                old: Some(file.module.source()),
                new,
                rules: one.fixed_rules(*index),
                is_support: false,
            }
        })
    });
    let modules = modules.iter().filter_map(|one| {
        let new = one.fixed.as_ref()?;
        let (path, old) = (&one.file.shown, Some(one.file.source.as_str()));
        Some(Change { path, old, new, rules: one.rules.clone(), is_support: false })
    });
    let support = support.iter().map(|one| Change {
        path: &one.support.shown,
        old: one.support.module.source(),
        new: &one.new,
        rules: Vec::new(),
        is_support: true,
    });
    let revisions = revisions.chain(parts).chain(environments).chain(modules);
    revisions.chain(created).chain(models).chain(support).collect()
}

pub(super) fn diffs(changes: &[Change], terminal: &Terminal) -> String {
    let mut changes: Vec<_> = changes.iter().collect();
    changes.sort_by_key(|change| change.path);
    changes
        .into_par_iter()
        .map(|change| diff::render(change.path, change.old, change.new, terminal))
        .collect()
}

/// What was fixed, file by file.
fn fixes(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes.iter().filter(|change| !change.is_support) {
        let mut by_rule: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in &change.rules {
            *by_rule.entry(rule).or_default() += 1;
        }
        let _ = writeln!(text, "- {}:", change.path);
        for (rule, number) in by_rule {
            let _ = writeln!(text, "    {number} × {rule}");
        }
    }
    text
}

fn summary(
    dry_run: bool,
    session: &Session,
    aside: &str,
    changes: &[Change],
    diagnostics: &[Diagnostic],
) -> Vec<String> {
    if session.revisions() == 0
        && session.histories.environments.is_empty()
        && session.application_files() == 0
    {
        return Vec::new();
    }
    let fixed: usize = changes.iter().map(|change| change.rules.len()).sum();
    let left = diagnostics.len();
    if fixed == 0 && left == 0 {
        return vec![format!("Nothing unsafe found in {}{aside}.", session.all_places())];
    }
    let left = if left == 0 { String::new() } else { format!(" ({left} left)") };
    let (done, none) = if dry_run { ("Would fix", "Would fix nothing") } else { ("Fixed", "Fixed nothing") };
    let mut lines = vec![if fixed == 0 {
        format!("{none}{left}{aside}.")
    } else {
        let all = changes.iter().filter(|change| !change.is_support);
        let paths: BTreeSet<&str> = all.map(|change| change.path).collect();
        format!("{done} {} in {}{left}{aside}.", count(fixed, "finding"), session.changed_places(&paths))
    }];
    lines.extend(left_alone(diagnostics));
    lines
}

/// More reasons than this are only counted: they differ in names.
const MOST_REASONS: usize = 20;

/// What is left, counted by reason.
fn left_alone(diagnostics: &[Diagnostic]) -> Vec<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for diagnostic in diagnostics {
        let reason = match (&diagnostic.detail, diagnostic.rule.as_str()) {
            (Some(detail), _) => detail.fix.as_ref().err().map_or("", String::as_str),
            (None, "invalid-syntax") => "could not be parsed",
            (None, _) => "the revisions don't follow each other as they should",
        };
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(reason, number)| (Reverse(*number), *reason));
    let width = reasons.iter().map(|(_, number)| number.to_string().len()).max().unwrap_or_default();
    let (shown, others) = reasons.split_at(reasons.len().min(MOST_REASONS));
    let lines = shown.iter().map(|(reason, number)| format!("  {number:>width$}  {reason}"));
    let title = (width > 0).then(|| "Left alone:".to_owned());
    let number: usize = others.iter().map(|(_, number)| number).sum();
    let rest = (number > 0).then(|| {
        format!(
            "  {number:>width$}  for {}, which `safemig check` tells",
            count(others.len(), "other reason")
        )
    });
    title.into_iter().chain(lines).chain(rest).collect()
}
