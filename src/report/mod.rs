//! How findings are shown. Every format sees the same [`Diagnostic`]s.

mod concise;
pub(crate) mod diff;
mod full;
pub(crate) mod github;
mod grouped;
pub(crate) mod json;
mod json_lines;
pub(crate) mod markdown;
pub(crate) mod statistics;
pub(crate) mod upgrade;

use std::ops::Range;

use ruff_source_file::{LineIndex, SourceCode};
use ruff_text_size::TextSize;
use safemig_transforms::analysis::Finding;
use safemig_transforms::environment;
use safemig_transforms::migration::Direction;
use safemig_transforms::python::Position;
use safemig_transforms::recipe::Applicability;
use safemig_transforms::suppression;

use crate::analysis::{Judged, JudgedEnvironment, Rules};
use crate::application::JudgedApplication;
use crate::cli::Format;
use crate::project::{self, Group, Invalid};
use crate::terminal::Terminal;

/// What is wrong at one place.
#[derive(Debug)]
pub(crate) struct Diagnostic<'a> {
    /// A rule's name, `invalid-syntax` or `invalid-history`.
    pub(crate) rule: String,
    /// One sentence, without a full stop.
    pub(crate) message: &'a str,
    /// As reports show it.
    pub(crate) path: &'a str,
    pub(crate) source: &'a str,
    /// Bytes of the source.
    pub(crate) range: Range<usize>,
    pub(crate) start: Position,
    pub(crate) end: Position,
    /// What a rule has to say; `None` when no rule could be asked.
    pub(crate) detail: Option<Detail<'a>>,
}

/// What a rule says about a finding.
#[derive(Debug)]
pub(crate) struct Detail<'a> {
    /// `None` in an `env.py`.
    pub(crate) direction: Option<Direction>,
    /// What is written below the place: in a revision the lock.
    pub(crate) label: &'a str,
    /// The lock taken today.
    pub(crate) lock: Option<&'a str>,
    /// The lock taken by the fix.
    pub(crate) lock_after: Option<&'a str>,
    /// What the fix does.
    pub(crate) summary: String,
    /// What a reviewer of the fix has to know, or why there is none.
    pub(crate) fix: Result<Vec<String>, String>,
    /// `None` when there is no fix, whatever the user allows.
    pub(crate) applicability: Option<Applicability>,
    /// Other places that it is about, `path:line`.
    pub(crate) also: Vec<String>,
}

impl Detail<'_> {
    /// What the fix does, and the lock that it takes.
    fn help(&self) -> String {
        let summary = self.summary.trim_end_matches('.');
        match self.lock_after {
            Some(lock) => format!("{summary}: {lock}"),
            None => summary.to_owned(),
        }
    }

    /// The function that the finding is in.
    fn function(&self) -> Option<&'static str> {
        Some(match self.direction? {
            Direction::Upgrade => "upgrade",
            Direction::Downgrade => "downgrade",
        })
    }
}

impl Diagnostic<'_> {
    pub(crate) fn is_fixable(&self) -> bool {
        self.detail.as_ref().is_some_and(|detail| detail.fix.is_ok())
    }

    pub(crate) fn is_left_because(&self, reason: &str) -> bool {
        self.detail.as_ref().is_some_and(|detail| detail.fix.as_ref().is_err_and(|known| known == reason))
    }
}

/// A text whose lines are counted.
struct Text<'a> {
    source: &'a str,
    lines: LineIndex,
}

impl<'a> Text<'a> {
    fn new(source: &'a str) -> Self {
        Self { source, lines: LineIndex::from_source_text(source) }
    }

    fn position(&self, offset: usize) -> Position {
        let offset = TextSize::try_from(offset).unwrap_or_default();
        let at = SourceCode::new(self.source, &self.lines).line_column(offset);
        Position { line: at.line.get(), column: at.column.get() }
    }

    fn diagnostic(
        &self,
        rule: String,
        path: &'a str,
        message: &'a str,
        range: Range<usize>,
    ) -> Diagnostic<'a> {
        let clamp = |offset: usize| self.source.floor_char_boundary(offset.min(self.source.len()));
        let range = clamp(range.start)..clamp(range.end);
        Diagnostic {
            rule,
            message,
            path,
            source: self.source,
            start: self.position(range.start),
            end: self.position(range.end),
            range,
            detail: None,
        }
    }

    fn finding(
        &self,
        path: &'a str,
        finding: &'a Finding,
        fix: Result<Vec<String>, String>,
        rules: &Rules,
    ) -> Diagnostic<'a> {
        let detail = Detail {
            direction: Some(finding.direction),
            label: &finding.lock,
            lock: Some(&finding.lock),
            lock_after: finding.lock_after.as_deref(),
            summary: finding.rule.summary(),
            fix,
            applicability: rules.applicability(finding),
            also: Vec::new(),
        };
        Diagnostic {
            detail: Some(detail),
            ..self.diagnostic(finding.rule.name(), path, &finding.message, project::bytes(finding.range))
        }
    }
}

/// A finding in an `env.py`.
fn of_environment<'a>(
    text: &Text<'a>,
    path: &'a str,
    finding: &'a environment::Finding,
    fix: Result<(), String>,
) -> Diagnostic<'a> {
    let violation = &finding.violation;
    let detail = Detail {
        direction: None,
        label: &violation.label,
        lock: None,
        lock_after: None,
        summary: finding.rule.summary(),
        applicability: fix.is_ok().then_some(Applicability::Safe),
        also: Vec::new(),
        fix: fix.map(|()| Vec::new()),
    };
    let range = project::bytes(violation.place.callee);
    let diagnostic = text.diagnostic(finding.rule.name(), path, &violation.message, range);
    Diagnostic { detail: Some(detail), ..diagnostic }
}

/// What was found in an `env.py` as it is.
pub(crate) fn before_in_environment<'a>(judged: &'a JudgedEnvironment) -> Vec<Diagnostic<'a>> {
    let text = Text::new(judged.environment.module.source());
    let path = &judged.environment.path;
    let findings = judged.report.findings.iter().zip(&judged.verdicts);
    let ignores = judged.report.ignores.iter().zip(&judged.ignores);
    findings
        .map(|(finding, verdict)| of_environment(&text, path, finding, verdict.clone()))
        .chain(ignores.map(|(finding, verdict)| of_suppression(&text, path, finding, verdict.clone())))
        .collect()
}

/// What remains in an `env.py` once it is fixed.
pub(crate) fn after_in_environment<'a>(judged: &'a JudgedEnvironment) -> Vec<Diagnostic<'a>> {
    let text = Text::new(judged.source());
    let path = &judged.environment.path;
    let (left, ignores) = (judged.left().into_iter(), judged.ignores_left.iter());
    left.map(|(finding, reason)| of_environment(&text, path, finding, Err(reason)))
        .chain(ignores.map(|(finding, reason)| of_suppression(&text, path, finding, Err(reason.clone()))))
        .collect()
}

/// What is wrong with a comment that suppresses.
fn of_suppression<'a>(
    text: &Text<'a>,
    path: &'a str,
    finding: &'a suppression::Finding,
    fix: Result<(), String>,
) -> Diagnostic<'a> {
    let detail = Detail {
        direction: None,
        label: "",
        lock: None,
        lock_after: None,
        summary: finding.rule.summary(),
        fix: fix.map(|()| Vec::new()),
        applicability: Some(Applicability::Safe),
        also: Vec::new(),
    };
    let range = project::bytes(finding.range);
    Diagnostic { detail: Some(detail), ..text.diagnostic(finding.rule.name(), path, &finding.message, range) }
}

/// What was found in an application as it is.
pub(crate) fn before_in_application<'a>(judged: &'a JudgedApplication) -> Vec<Diagnostic<'a>> {
    (0..judged.report.findings.len()).map(|index| of_application(judged, index)).collect()
}

/// What remains in an application once it is fixed. Its places are those of before.
pub(crate) fn after_in_application<'a>(judged: &'a JudgedApplication) -> Vec<Diagnostic<'a>> {
    let left = (0..judged.report.findings.len()).filter(|index| judged.verdicts[*index].is_err());
    left.map(|index| of_application(judged, index)).collect()
}

fn of_application<'a>(judged: &'a JudgedApplication, index: usize) -> Diagnostic<'a> {
    let finding = &judged.report.findings[index];
    let violation = &finding.violation;
    let file = &judged.files.application.files[violation.file];
    let detail = Detail {
        direction: None,
        label: &violation.label,
        lock: None,
        lock_after: None,
        summary: finding.rule.summary(),
        applicability: violation.fix.is_ok().then_some(Applicability::Unsafe),
        fix: judged.verdicts[index].clone(),
        also: judged.also(finding),
    };
    let text = Text::new(file.module.source());
    let diagnostic =
        text.diagnostic(finding.rule.name(), &file.path, &violation.message, project::bytes(violation.range));
    Diagnostic { detail: Some(detail), ..diagnostic }
}

/// What was found in the files as they are.
pub(crate) fn before<'a>(judged: &'a Judged, rules: &Rules) -> Vec<Diagnostic<'a>> {
    if judged.report.findings.is_empty() && judged.report.ignores.is_empty() {
        return Vec::new();
    }
    let (text, path) = (Text::new(judged.migration.module.source()), &judged.migration.path);
    let findings = judged.report.findings.iter().zip(&judged.verdicts);
    let ignores = judged.report.ignores.iter().zip(&judged.ignores);
    findings
        .map(|(finding, verdict)| text.finding(path, finding, verdict.clone(), rules))
        .chain(ignores.map(|(finding, verdict)| of_suppression(&text, path, finding, verdict.clone())))
        .collect()
}

/// What remains in the files once they are fixed.
pub(crate) fn after<'a>(judged: &'a Judged, rules: &Rules) -> Vec<Diagnostic<'a>> {
    let (left, in_parts) = (judged.left(rules), judged.left_in_parts(rules));
    if left.is_empty() && in_parts.is_empty() && judged.ignores_left.is_empty() {
        return Vec::new();
    }
    let (text, path) = (Text::new(judged.source()), &judged.migration.path);
    let ignores = judged.ignores_left.iter();
    left.into_iter()
        .map(|(finding, reason)| text.finding(path, finding, Err(reason), rules))
        .chain(in_parts.into_iter().map(|(file, finding, reason)| {
            Text::new(&file.part.source).finding(&file.shown, finding, Err(reason), rules)
        }))
        .chain(ignores.map(|(finding, reason)| of_suppression(&text, path, finding, Err(reason.clone()))))
        .collect()
}

/// What keeps a file from being read.
pub(crate) fn of_invalid(invalid: &Invalid) -> Diagnostic<'_> {
    let text = Text::new(&invalid.source);
    text.diagnostic("invalid-syntax".to_owned(), &invalid.shown, &invalid.message, invalid.range.clone())
}

/// What is wrong with the files of a group themselves, and with how they follow each other.
pub(crate) fn of_group(group: &Group) -> Vec<Diagnostic<'_>> {
    let invalid = group.invalid.iter().filter(|invalid| invalid.file.reported).map(of_invalid);
    // A revision on its own, from standard input, follows nothing that could be known.
    let alone = group.project.version_locations.is_empty();
    let problems =
        group.history.map.problems.iter().filter(|problem| !alone && group.files[problem.migration].reported);
    let history = problems.map(|problem| {
        let migration = &group.history.migrations[problem.migration];
        let text = Text::new(migration.module.source());
        let range = project::bytes(migration.revision_range);
        text.diagnostic("invalid-history".to_owned(), &migration.path, &problem.message, range)
    });
    invalid.chain(history).collect()
}

/// Sort for reading: by file, then from top to bottom.
pub(crate) fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics
        .sort_by(|a, b| (a.path, a.start, &a.rule, a.message).cmp(&(b.path, b.start, &b.rule, b.message)));
}

/// Print in the format that was asked for.
pub(crate) fn render(format: Format, diagnostics: &[Diagnostic], terminal: &Terminal) -> String {
    match format {
        Format::Full => full::render(diagnostics, terminal),
        Format::Concise => concise::render(diagnostics, terminal),
        Format::Grouped => grouped::render(diagnostics, terminal),
        Format::Json => json::render(diagnostics),
        Format::JsonLines => json_lines::render(diagnostics),
        Format::Github => github::render(diagnostics),
    }
}

/// `1 fix`, `2 fixes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
