//! `safemig check --add-ignore`: suppress what is found, so that only what is new is reported from now on.

use anyhow::{Result, bail};
use safemig_transforms::python::Module;
use safemig_transforms::suppression;

use super::Session;
use crate::Status;
use crate::analysis::{Judged, JudgedEnvironment};
use crate::report::count;
use crate::terminal::Terminal;
use crate::write;

pub(super) fn run(
    session: &Session,
    judged: &[Judged],
    environments: &[JudgedEnvironment],
    why: &str,
    terminal: &Terminal,
) -> Result<Status> {
    if session.histories.stdin.is_some() {
        bail!("`--add-ignore` can't be used with standard input");
    }
    if session.config.options.require_ignore_reason == Some(true) && why.trim().is_empty() {
        bail!(
            "the configuration wants a reason for every suppression (`require-ignore-reason`)\n\
             hint: `--add-ignore=\"…\"` says why"
        );
    }
    let (mut findings, mut files, mut failed) = (0, 0, !session.histories.problems.is_empty());
    let revisions = judged.iter().map(|one| {
        let findings = one.report.findings.iter();
        let found = findings.map(|finding| (finding.statement, finding.rule.name())).collect();
        (one.path, &one.migration.module, found)
    });
    let others = environments.iter().map(|one| {
        let findings = one.report.findings.iter();
        let found =
            findings.map(|finding| (finding.violation.place.statement, finding.rule.name())).collect();
        (one.path, &one.environment.module, found)
    });
    for (path, module, found) in revisions.chain(others) {
        let found: Vec<_> = found;
        if found.is_empty() {
            continue;
        }
        match add(path, module, &found, why) {
            Ok(()) => {
                findings += found.len();
                files += 1;
            }
            Err(error) => {
                terminal.error(&format!("{error:#}"));
                failed = true;
            }
        }
    }
    terminal.summary(&if findings == 0 {
        format!("Nothing to suppress in {}.", session.all_places())
    } else {
        format!("Suppressed {} in {}.", count(findings, "finding"), count(files, "file"))
    });
    let broken = session.broken();
    for one in &broken {
        terminal.warning(&format!("{}:{}: {}", one.path, one.start.line, one.message));
    }
    Ok(match (failed, broken.is_empty()) {
        (true, _) => Status::Failed,
        (false, false) => Status::Findings,
        (false, true) => Status::Clean,
    })
}

/// Write the comments into one file.
fn add(
    path: &std::path::Path,
    module: &Module,
    found: &[(ruff_text_size::TextRange, String)],
    why: &str,
) -> Result<()> {
    let statements: Vec<_> = found.iter().map(|(statement, rule)| (*statement, rule.as_str())).collect();
    let Some(text) = suppression::insert(module, &statements, why) else {
        bail!("{}: there is no place for a comment above what was found", path.display());
    };
    write::write_atomically(path, text.as_bytes(), module.source().as_bytes())?;
    Ok(())
}
