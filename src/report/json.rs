//! Findings as one JSON document: a list of what `json-lines` prints line by line.

use safemig_transforms::recipe::Applicability;
use serde::Serialize;

use super::Diagnostic;

/// What tools read. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(crate) struct Finding<'a> {
    rule: &'a str,
    message: &'a str,
    filename: &'a str,
    location: Location,
    end_location: Location,
    /// The function that it is in; `null` in an `env.py`, and for what is no rule's finding.
    direction: Option<&'static str>,
    /// The lock taken today.
    lock: Option<&'a str>,
    /// `null`: `safemig fix` leaves it alone.
    fix: Option<Fix<'a>>,
    /// Why it is left alone.
    not_fixed: Option<&'a str>,
    /// `safe` or `unsafe`; `null`: there is no fix, with `--unsafe-fixes` neither.
    applicability: Option<&'static str>,
    /// Other places that it is about, `path:line`.
    also: &'a [String],
}

/// 1-based, columns in characters.
#[derive(Debug, Serialize)]
struct Location {
    row: usize,
    column: usize,
}

#[derive(Debug, Serialize)]
struct Fix<'a> {
    message: &'a str,
    /// The lock that it takes.
    lock: Option<&'a str>,
    notes: &'a [String],
}

impl<'a> Finding<'a> {
    pub(crate) fn new(diagnostic: &'a Diagnostic) -> Self {
        let detail = diagnostic.detail.as_ref();
        Self {
            rule: &diagnostic.rule,
            message: diagnostic.message,
            filename: diagnostic.path,
            location: Location { row: diagnostic.start.line, column: diagnostic.start.column },
            end_location: Location { row: diagnostic.end.line, column: diagnostic.end.column },
            direction: detail.and_then(super::Detail::function),
            lock: detail.and_then(|detail| detail.lock),
            fix: detail.and_then(|detail| {
                let notes = detail.fix.as_ref().ok()?;
                Some(Fix { message: detail.summary.trim_end_matches('.'), lock: detail.lock_after, notes })
            }),
            not_fixed: detail.and_then(|detail| detail.fix.as_ref().err()).map(String::as_str),
            applicability: detail.and_then(|detail| detail.applicability).map(Applicability::as_str),
            also: detail.map_or(&[], |detail| &detail.also),
        }
    }
}

pub(crate) fn render(diagnostics: &[Diagnostic]) -> String {
    let findings: Vec<_> = diagnostics.iter().map(Finding::new).collect();
    to_string(&findings)
}

/// Indented, with a final line break.
pub(crate) fn to_string(value: &impl Serialize) -> String {
    // Strings and numbers in structs always have a representation.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
