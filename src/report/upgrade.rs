//! What the upgrade of a whole history comes to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Diagnostic, after, after_in_environment, before, count, markdown::cell};
use crate::analysis::{Judged, JudgedEnvironment, JudgedModule, Rules};
use crate::project::Group;
use crate::terminal::Terminal;

/// Everything that is told about it.
pub(crate) struct Report<'a> {
    pub(crate) group: &'a Group,
    pub(crate) judged: &'a [Judged<'a>],
    pub(crate) environments: &'a [JudgedEnvironment<'a>],
    pub(crate) modules: &'a [JudgedModule<'a>],
    pub(crate) rules: &'a Rules,
    /// What is wrong with the files themselves.
    pub(crate) broken: Vec<Diagnostic<'a>>,
    pub(crate) dry_run: bool,
    /// How long it took, if somebody wants to know.
    pub(crate) seconds: Option<f64>,
    /// The version of the PostgreSQL on which it was proved.
    pub(crate) proved_on: Option<u32>,
}

/// The number of fixes, and the files that they are in.
#[derive(Default)]
struct Tally<'a> {
    fixes: usize,
    files: BTreeSet<&'a str>,
}

/// More ids than this are only counted.
const MOST_IDS: usize = 3;

/// More reasons than this are only counted: they differ in names.
const MOST_REASONS: usize = 20;

/// What is longer than this has a line of its own.
const WIDEST: usize = 56;

impl Report<'_> {
    pub(crate) fn is_anything_left(&self) -> bool {
        !self.broken.is_empty()
            || self.judged.iter().any(|one| !one.left(self.rules).is_empty() || !one.ignores_left.is_empty())
            || self.environments.iter().any(|one| !one.left().is_empty() || !one.ignores_left.is_empty())
    }

    /// What is fixed, by rule.
    fn fixed(&self) -> BTreeMap<String, Tally<'_>> {
        let mut fixed: BTreeMap<String, Tally> = BTreeMap::new();
        let mut add = |rule: String, file| {
            let tally = fixed.entry(rule).or_default();
            tally.fixes += 1;
            tally.files.insert(file);
        };
        for one in self.judged.iter().filter(|one| one.fixed.is_some()) {
            for rule in one.fixed_rules() {
                add(rule, one.migration.path.as_str());
            }
        }
        for one in self.environments.iter().filter(|one| one.fixed.is_some()) {
            for rule in one.fixed_rules() {
                add(rule, one.environment.path.as_str());
            }
        }
        for one in self.modules {
            for rule in &one.rules {
                add(rule.clone(), one.file.shown.as_str());
            }
        }
        fixed
    }

    /// What is left, by reason: the files, and how often which rule.
    fn left(&self) -> BTreeMap<String, (BTreeSet<String>, BTreeMap<String, usize>)> {
        let mut left: BTreeMap<String, (BTreeSet<String>, BTreeMap<String, usize>)> = BTreeMap::new();
        let revisions = self.judged.iter().flat_map(|one| after(one, self.rules));
        for one in revisions.chain(self.environments.iter().flat_map(after_in_environment)) {
            let reason = one.detail.as_ref().and_then(|detail| detail.fix.as_ref().err().cloned());
            let (files, rules) = left.entry(reason.unwrap_or_default()).or_default();
            files.insert(one.path.to_owned());
            *rules.entry(one.rule).or_default() += 1;
        }
        left
    }

    /// How many revisions have findings that a comment suppresses.
    fn suppressed(&self) -> usize {
        self.judged.iter().filter(|one| !one.report.suppressed.is_empty()).count()
            + self.environments.iter().filter(|one| !one.report.suppressed.is_empty()).count()
    }

    fn rewritten(&self) -> usize {
        self.judged.iter().filter(|one| one.fixed.is_some()).count()
    }

    /// `Read 1,284 revisions from 1 version location: base …, head …, 3 merges.`
    fn read(&self) -> String {
        let history = &self.group.history;
        let ids = |indices: &[usize], noun: &str| {
            let ids: Vec<&str> =
                indices.iter().map(|index| history.migrations[*index].revision.as_str()).collect();
            match ids.as_slice() {
                [] => format!("no {noun}"),
                [one] => format!("{noun} {one}"),
                some if some.len() <= MOST_IDS => format!("{noun}s {}", some.join(", ")),
                many => count(many.len(), noun),
            }
        };
        let merges = history.migrations.iter().filter(|one| one.down_revisions.len() > 1).count();
        let merges = if merges == 0 { String::new() } else { format!(", {}", count(merges, "merge")) };
        format!(
            "Read {} from {}: {}, {}{merges}.",
            numbered(history.migrations.len(), "revision"),
            numbered(self.group.project.version_locations.len(), "version location"),
            ids(&history.map.bases, "base"),
            ids(&history.map.heads, "head"),
        )
    }

    /// `Would rewrite 212 revisions and env.py (0.9 s)`
    fn done(&self) -> String {
        let environments = self.environments.iter().filter(|one| one.fixed.is_some()).count();
        let seconds = self.seconds.map_or_else(String::new, |seconds| format!(" ({seconds:.1} s)"));
        let verb = if self.dry_run { "Would rewrite" } else { "Rewrote" };
        let revisions = self.rewritten();
        let modules = self.modules.len();
        let parts: usize = self.judged.iter().map(|one| one.parts.len()).sum();
        let into = match parts {
            0 => String::new(),
            parts => format!(" into {}", grouped(revisions + parts)),
        };
        let parts = [
            (revisions > 0).then(|| format!("{}{into}", numbered(revisions, "revision"))),
            (modules > 0).then(|| numbered(modules, "module")),
            (environments > 0).then(|| "env.py".to_owned()),
        ];
        match parts.into_iter().flatten().collect::<Vec<_>>().as_slice() {
            [] => format!("Nothing to rewrite{seconds}"),
            [first @ .., last] if !first.is_empty() => {
                format!("{verb} {} and {last}{seconds}", first.join(", "))
            }
            parts => format!("{verb} {}{seconds}", parts.concat()),
        }
    }

    /// What was looked at before anything was written.
    fn checked(&self) -> String {
        let proved =
            self.proved_on.map_or_else(String::new, |version| format!(" · proved on PostgreSQL {version}"));
        format!(
            "checked: same schema after all {} · ids, parents and heads unchanged · a second run changes nothing{proved}",
            numbered(self.group.history.migrations.len(), "revision"),
        )
    }

    /// Rows of what is left: what, how many revisions, and details.
    fn rows_left(&self) -> Vec<(String, usize, String)> {
        let mut reasons: Vec<_> = self.left().into_iter().collect();
        reasons.sort_by(|(a, (left, _)), (b, (right, _))| {
            (Reverse(left.len()), a).cmp(&(Reverse(right.len()), b))
        });
        let others = reasons.split_off(reasons.len().min(MOST_REASONS));
        let mut rows: Vec<_> = reasons
            .into_iter()
            .map(|(reason, (files, rules))| {
                let rules: Vec<_> = rules.iter().map(|(rule, number)| format!("{rule} {number}")).collect();
                (reason, files.len(), rules.join(", "))
            })
            .collect();
        let files: BTreeSet<&String> = others.iter().flat_map(|(_, (files, _))| files).collect();
        if !files.is_empty() {
            rows.push((count(others.len(), "other reason"), files.len(), "`safemig check` tells".to_owned()));
        }
        for (reason, number) in uncut(self.judged) {
            rows.push((format!("stays one revision: {reason}"), number, String::new()));
        }
        if self.suppressed() > 0 {
            rows.push(("suppressed".to_owned(), self.suppressed(), String::new()));
        }
        let (unread, disorder): (Vec<_>, Vec<_>) =
            self.broken.iter().partition(|one| one.rule == "invalid-syntax");
        for (what, these) in [
            ("could not be parsed", unread),
            ("the revisions don't follow each other as they should", disorder),
        ] {
            if !these.is_empty() {
                let places: Vec<_> =
                    these.iter().map(|one| format!("{}:{}", one.path, one.start.line)).collect();
                rows.push((what.to_owned(), these.len(), places.join(", ")));
            }
        }
        rows
    }
}

/// Why migrations are not cut into several revisions, and how many.
pub(crate) fn uncut<'a>(judged: &'a [Judged]) -> BTreeMap<&'a str, usize> {
    let mut reasons = BTreeMap::new();
    for reason in judged.iter().filter_map(|one| one.uncut.as_deref()) {
        *reasons.entry(reason).or_default() += 1;
    }
    reasons
}

/// The summary.
pub(crate) fn text(report: &Report, terminal: &Terminal) -> String {
    let bold = terminal.style().bold();
    let mut text = format!("{}\n{}\n", report.read(), bold.apply_to(report.done()));
    let (fixed, left) = (report.fixed(), report.rows_left());
    let names = fixed.keys().chain(left.iter().map(|(what, ..)| what)).map(|name| name.chars().count());
    let width = names.filter(|width| *width <= WIDEST).max().unwrap_or_default().max("left alone".len());
    let mut line = |what: &str, fixes: &str, revisions: &str, more: &str| {
        let what = if what.chars().count() > width {
            let _ = writeln!(text, "  {what}");
            ""
        } else {
            what
        };
        let line = format!("  {what:<width$}  {fixes:>7}  {revisions:>10}   {more}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    if !fixed.is_empty() {
        line("", "", "", "");
        line("rule", "fixes", "revisions", "");
        let mut rules: Vec<_> = fixed.iter().collect();
        rules.sort_by_key(|(rule, tally)| (Reverse(tally.fixes), *rule));
        for (rule, tally) in rules {
            line(rule, &grouped(tally.fixes), &grouped(tally.files.len()), "");
        }
    }
    if !left.is_empty() {
        line("", "", "", "");
        line("left alone", "", "revisions", "");
        for (what, revisions, more) in &left {
            line(what, "", &grouped(*revisions), more);
        }
    }
    let _ = write!(text, "\n  {}\n", report.checked());
    text
}

/// The same with every revision, for those who review it.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "# Upgrade of the history\n\n{}\n{}.\n\n{}.\n",
        report.read(),
        report.done(),
        capital(&report.checked())
    );
    let fixed = report.fixed();
    if !fixed.is_empty() {
        text.push_str("\n## Rules\n\n| rule | fixes | revisions |\n|---|---:|---:|\n");
        for (rule, tally) in &fixed {
            let _ =
                writeln!(text, "| `{rule}` | {} | {} |", grouped(tally.fixes), grouped(tally.files.len()));
        }
    }
    let left = report.rows_left();
    if !left.is_empty() {
        text.push_str("\n## Left alone\n\n| why | revisions | |\n|---|---:|---|\n");
        for (what, revisions, more) in left {
            let _ = writeln!(text, "| {} | {} | {} |", cell(&what), grouped(revisions), cell(&more));
        }
    }
    text.push_str("\n## Revisions\n");
    let mut any = false;
    for index in &report.group.history.map.order {
        let migration = &report.group.history.migrations[*index];
        let Some(judged) = report.judged.iter().find(|one| one.migration.path == migration.path) else {
            continue;
        };
        let before = before(judged, report.rules);
        let title = format!("`{}` {}", migration.revision, migration.doc());
        any |= section(&mut text, &title, &migration.path, &before, &after(judged, report.rules));
    }
    for one in report.environments {
        let before = super::before_in_environment(one);
        any |= section(&mut text, "", &one.environment.path, &before, &after_in_environment(one));
    }
    if !any {
        text.push_str("\nNothing was found.\n");
    }
    text
}

/// One file; whether there is anything to say.
fn section(text: &mut String, title: &str, path: &str, before: &[Diagnostic], after: &[Diagnostic]) -> bool {
    if before.is_empty() {
        return false;
    }
    let title = if title.is_empty() {
        path.to_owned()
    } else {
        title.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let _ = write!(text, "\n### {title}\n\n`{path}`\n\n");
    let mut notes: BTreeSet<&str> = BTreeSet::new();
    for one in before {
        let Some(detail) = &one.detail else { continue };
        let Ok(more) = &detail.fix else { continue };
        notes.extend(more.iter().map(String::as_str));
        let locks = match (detail.lock, detail.lock_after) {
            (Some(lock), Some(then)) => format!(": {lock} → {then}"),
            (Some(lock), None) => format!(": {lock}"),
            _ => String::new(),
        };
        let _ = writeln!(text, "- fixed, `{}`: {}{locks}", one.rule, one.message);
    }
    for one in after {
        let reason = one.detail.as_ref().and_then(|detail| detail.fix.as_ref().err());
        let _ = writeln!(
            text,
            "- **left alone**, `{}`: {} ({})",
            one.rule,
            one.message,
            reason.map_or("", String::as_str)
        );
    }
    for note in notes {
        let _ = writeln!(text, "- note: {note}");
    }
    true
}

/// `1,284 revisions`
fn numbered(number: usize, noun: &str) -> String {
    let counted = count(number, noun);
    counted.replacen(&number.to_string(), &grouped(number), 1)
}

/// `1,284`
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        let all = [0, 7, 999, 1000, 12_345, 1_234_567].map(grouped);
        assert_eq!(all, ["0", "7", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(numbered(1284, "revision"), "1,284 revisions");
        assert_eq!(numbered(1, "version location"), "1 version location");
    }
}
