//! `safemig check`: report what is unsafe; write nothing.

use anyhow::Result;

use super::{Session, emit, files, show};
use crate::Status;
use crate::analysis::{Judged, NEEDS_UNSAFE};
use crate::cli::{CheckArgs, Global};
use crate::report::{self, Diagnostic, count};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &CheckArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let common = &arguments.common;
    let session = Session::new(&common.input, common.stdin_filename.as_deref(), global, terminal)?;
    if let Some(status) = show::instead(&session, &common.output, terminal)? {
        return Ok(status);
    }
    let judged = session.judge()?;
    let mut diagnostics: Vec<_> = session.histories.groups.iter().flat_map(report::of_group).collect();
    diagnostics.extend(judged.iter().flat_map(|one| report::before(one, &session.rules)));
    report::sort(&mut diagnostics);
    emit(&diagnostics, &common.output, terminal, false)?;
    for line in summary(&session, &judged, &diagnostics) {
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

fn summary(session: &Session, judged: &[Judged], diagnostics: &[Diagnostic]) -> Vec<String> {
    let revisions = session.revisions();
    let aside = session.not_checked(judged);
    if revisions == 0 {
        return Vec::new();
    }
    if diagnostics.is_empty() {
        return vec![format!("Nothing unsafe found in {}{aside}.", count(revisions, "revision"))];
    }
    let mut lines = vec![format!(
        "Found {} in {} of {}{aside}.",
        count(diagnostics.len(), "finding"),
        files(diagnostics),
        count(revisions, "revision"),
    )];
    let fixable = diagnostics.iter().filter(|diagnostic| diagnostic.is_fixable()).count();
    let verdicts = judged.iter().flat_map(|one| &one.verdicts);
    let more =
        verdicts.filter(|verdict| verdict.as_ref().is_err_and(|reason| reason == NEEDS_UNSAFE)).count();
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
