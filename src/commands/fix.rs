//! `safemig fix`: rewrite what is unsafe, in place.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use rayon::prelude::*;

use super::{Session, emit, show};
use crate::Status;
use crate::analysis::Judged;
use crate::cli::{FixArgs, Global};
use crate::report::{self, Diagnostic, count, diff};
use crate::terminal::Terminal;
use crate::write;

pub(super) fn run(arguments: &FixArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let common = &arguments.common;
    let session = Session::new(&common.input, common.stdin_filename.as_deref(), global, terminal)?;
    if let Some(status) = show::instead(&session, &common.output, terminal)? {
        return Ok(status);
    }
    let mut judged = session.judge()?;
    let mut failed = !session.histories.problems.is_empty();
    let stdin = session.histories.stdin.as_deref();
    if stdin.is_none() && !arguments.dry_run {
        failed |= !write(&mut judged, terminal);
    }
    let mut diagnostics: Vec<_> = session.histories.groups.iter().flat_map(report::of_group).collect();
    diagnostics.extend(judged.iter().flat_map(|one| report::after(one, &session.rules)));
    report::sort(&mut diagnostics);

    match stdin {
        _ if arguments.dry_run => terminal.print(&diffs(&judged, terminal))?,
        Some(original) => {
            let fixed = judged.iter().find_map(|one| one.fixed.as_ref());
            terminal.pass_on(fixed.map_or(original, String::as_bytes))?;
            emit(&diagnostics, &common.output, terminal, true)?;
        }
        None => emit(&diagnostics, &common.output, terminal, false)?,
    }
    if arguments.show_fixes {
        terminal.summary(fixes(&judged).trim_end());
    }
    for line in summary(arguments.dry_run, &session, &judged, &diagnostics) {
        terminal.summary(&line);
    }

    let fixed = judged.iter().any(|one| one.fixed.is_some());
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

/// Write every fixed file. One that can't be written keeps its findings, and the others go on.
fn write(judged: &mut [Judged], terminal: &Terminal) -> bool {
    let errors: Vec<_> = judged
        .par_iter_mut()
        .filter_map(|one| {
            let fixed = one.fixed.as_ref()?;
            let old = one.migration.module.source();
            let error = write::write_atomically(one.path, fixed.as_bytes(), old.as_bytes()).err()?;
            one.not_written();
            Some(error)
        })
        .collect();
    for error in &errors {
        terminal.error(&error.to_string());
    }
    errors.is_empty()
}

fn diffs(judged: &[Judged], terminal: &Terminal) -> String {
    let mut changed: Vec<_> =
        judged.iter().filter_map(|one| Some((one.migration, one.fixed.as_ref()?))).collect();
    changed.sort_by_key(|(migration, _)| &migration.path);
    changed
        .into_par_iter()
        .map(|(migration, fixed)| diff::render(&migration.path, migration.module.source(), fixed, terminal))
        .collect()
}

/// What was fixed, file by file.
fn fixes(judged: &[Judged]) -> String {
    let mut text = String::new();
    for one in judged {
        if one.fixed.is_none() {
            continue;
        }
        let mut by_rule: BTreeMap<String, usize> = BTreeMap::new();
        for finding in one.fixed_findings() {
            *by_rule.entry(finding.rule.name()).or_default() += 1;
        }
        let _ = writeln!(text, "- {}:", one.migration.path);
        for (rule, number) in by_rule {
            let _ = writeln!(text, "    {number} × {rule}");
        }
    }
    text
}

fn summary(dry_run: bool, session: &Session, judged: &[Judged], diagnostics: &[Diagnostic]) -> Vec<String> {
    let revisions = session.revisions();
    if revisions == 0 {
        return Vec::new();
    }
    let aside = session.not_checked(judged);
    let fixed: usize = judged.iter().map(Judged::fixed_count).sum();
    let left = diagnostics.len();
    if fixed == 0 && left == 0 {
        return vec![format!("Nothing unsafe found in {}{aside}.", count(revisions, "revision"))];
    }
    let files = judged.iter().filter(|one| one.fixed.is_some()).count();
    let left = if left == 0 { String::new() } else { format!(" ({left} left)") };
    let (done, none) = if dry_run { ("Would fix", "Would fix nothing") } else { ("Fixed", "Fixed nothing") };
    let mut lines = vec![if fixed == 0 {
        format!("{none}{left}{aside}.")
    } else {
        format!("{done} {} in {}{left}{aside}.", count(fixed, "finding"), count(files, "revision"))
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
