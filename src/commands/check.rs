//! `safemig check`: report what is unsafe; write nothing.

use anyhow::Result;

use super::{Session, add_ignore, emit, files, show};
use crate::Status;
use crate::analysis::NEEDS_UNSAFE;
use crate::cli::{CheckArgs, Global};
use crate::report::{self, Diagnostic, count};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &CheckArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let common = &arguments.common;
    let session = Session::new(&common.input, common.stdin_filename.as_deref(), global, terminal)?;
    if let Some(status) = show::instead(&session, &common.output, terminal)? {
        return Ok(status);
    }
    // Only one file comes back from standard input.
    let mut judged = match session.histories.stdin {
        Some(_) => session.judge()?,
        None => session.judge_with_modules()?.0,
    };
    let environments = session.judge_environments()?;
    if let Some(why) = &arguments.add_ignore {
        return add_ignore::run(&session, &judged, &environments, why, terminal);
    }
    let mut applications = session.judge_applications();
    session.follow_up(&mut judged, &mut applications);
    let mut diagnostics = session.broken();
    diagnostics.extend(judged.iter().flat_map(|one| report::before(one, &session.rules)));
    diagnostics.extend(environments.iter().flat_map(report::before_in_environment));
    diagnostics.extend(applications.iter().flat_map(report::before_in_application));
    report::sort(&mut diagnostics);
    emit(&diagnostics, &applications, &common.output, terminal, false)?;
    let aside = session.not_checked(&judged, &environments, &applications);
    for line in summary(&session, &aside, &diagnostics) {
        terminal.summary(&line);
    }
    Ok(if !session.histories.problems.is_empty() {
        Status::Failed
    } else if diagnostics.is_empty() || common.output.exit_zero {
        Status::Clean
    } else {
        Status::Findings
    })
}

fn summary(session: &Session, aside: &str, diagnostics: &[Diagnostic]) -> Vec<String> {
    if session.revisions() == 0
        && session.histories.environments.is_empty()
        && session.application_files() == 0
    {
        return Vec::new();
    }
    if diagnostics.is_empty() {
        return vec![format!("Nothing unsafe found in {}{aside}.", session.all_places())];
    }
    let mut lines = vec![format!(
        "Found {} in {}{aside}.",
        count(diagnostics.len(), "finding"),
        session.places(&files(diagnostics)),
    )];
    let fixable = diagnostics.iter().filter(|diagnostic| diagnostic.is_fixable()).count();
    let details = diagnostics.iter().filter_map(|diagnostic| diagnostic.detail.as_ref());
    let more =
        details.filter(|detail| detail.fix.as_ref().is_err_and(|reason| reason == NEEDS_UNSAFE)).count();
    match (fixable, more) {
        (0, 0) => {}
        (0, more) => lines.push(format!("{more} fixable with `safemig fix --unsafe-fixes`.")),
        (fixable, 0) => lines.push(format!("[*] {fixable} fixable with `safemig fix`.")),
        (fixable, more) => {
            lines.push(format!(
                "[*] {fixable} fixable with `safemig fix` ({more} more with `--unsafe-fixes`)."
            ));
        }
    }
    lines
}
