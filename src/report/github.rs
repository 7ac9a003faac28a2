//! Annotations of GitHub Actions, and the Markdown that goes to `$GITHUB_STEP_SUMMARY`.
//!
//! GitHub drops the annotations past ten a step, so of more than ten nine are made, and one that
//! says how many others there are.

use std::fmt::Write as _;

use super::{Diagnostic, count};

const MOST: usize = 10;

pub(crate) fn render(diagnostics: &[Diagnostic]) -> String {
    let annotated = if diagnostics.len() > MOST { MOST - 1 } else { diagnostics.len() };
    let (annotated, others) = diagnostics.split_at(annotated);
    let mut text = String::new();
    for diagnostic in annotated {
        let _ = writeln!(
            text,
            "::error title={},file={},line={},col={},endLine={},endColumn={}::{}",
            property(&format!("safemig ({})", diagnostic.rule)),
            property(diagnostic.path),
            diagnostic.start.line,
            diagnostic.start.column,
            diagnostic.end.line,
            diagnostic.end.column,
            data(&line(diagnostic)),
        );
    }
    if !others.is_empty() {
        let more = count(others.len(), "more finding");
        let _ = writeln!(text, "::error title=safemig::{more} in the summary and in the log");
        for diagnostic in others {
            let _ = writeln!(text, "{}", line(diagnostic));
        }
    }
    text
}

/// The findings as a table.
pub(crate) fn summary(diagnostics: &[Diagnostic]) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let mut text = format!("### safemig: {}\n\n", count(diagnostics.len(), "finding"));
    text.push_str("| where | rule | what |\n|---|---|---|\n");
    for diagnostic in diagnostics {
        let _ = writeln!(
            text,
            "| {}:{} | {} | {} |",
            cell(diagnostic.path),
            diagnostic.start.line,
            diagnostic.rule,
            cell(diagnostic.message),
        );
    }
    text.push('\n');
    text
}

fn line(diagnostic: &Diagnostic) -> String {
    let Diagnostic { path, start, rule, message, .. } = diagnostic;
    format!("{path}:{}:{}: {rule} {message}", start.line, start.column)
}

/// The workflow command's own quoting of what follows `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
