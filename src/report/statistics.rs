//! How many findings each rule has, and what becomes of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use safemig_transforms::recipe::Applicability;
use safemig_transforms::{application, rules};
use serde::Serialize;

use super::{Diagnostic, json};
use crate::analysis::NEEDS_UNSAFE;
use crate::cli::Format;
use crate::terminal::Terminal;

#[derive(Debug, Serialize)]
struct Count<'a> {
    rule: &'a str,
    summary: String,
    count: usize,
    /// As it is asked for now.
    fixable: usize,
    safe_fixes: usize,
    /// With `--unsafe-fixes`.
    unsafe_fixes: usize,
    left: usize,
    reasons: Vec<Reason>,
}

/// Why some findings have no fix.
#[derive(Debug, Serialize)]
struct Reason {
    reason: String,
    count: usize,
}

/// More reasons than this are only counted.
const MOST_REASONS: usize = 15;

/// How many queries of an application were understood, and why others were not.
fn queries(statistics: &application::Statistics) -> String {
    let mut text = format!(
        "{}, {}, {} understood\n",
        super::count(statistics.models, "model"),
        if statistics.queries == 1 {
            "1 query".to_owned()
        } else {
            format!("{} queries", statistics.queries)
        },
        statistics.understood
    );
    let mut reasons: Vec<_> = statistics.reasons.iter().collect();
    reasons.sort_by_key(|(reason, number)| (Reverse(**number), *reason));
    let (shown, others) = reasons.split_at(reasons.len().min(MOST_REASONS));
    for (reason, number) in shown {
        let _ = writeln!(text, "{number:>6}  {reason}");
    }
    let others: usize = others.iter().map(|(_, number)| **number).sum();
    if others > 0 {
        let _ = writeln!(text, "{others:>6}  for other reasons");
    }
    if !statistics.small.is_empty() {
        let number = super::count(statistics.small.len(), "table");
        let names: Vec<String> = statistics.small.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "{number} taken for small, since nothing says that more rows come: {}",
            names.join(", ")
        );
    }
    text
}

pub(crate) fn render(
    format: Format,
    diagnostics: &[Diagnostic],
    applications: &[&application::Statistics],
    terminal: &Terminal,
) -> String {
    let mut by_rule: BTreeMap<&str, Vec<&Diagnostic>> = BTreeMap::new();
    for diagnostic in diagnostics {
        by_rule.entry(&diagnostic.rule).or_default().push(diagnostic);
    }
    let mut counts: Vec<Count> =
        by_rule.into_iter().map(|(rule, diagnostics)| count(rule, &diagnostics)).collect();
    counts.sort_by_key(|count| (Reverse(count.count), count.rule));
    match format {
        Format::Json => json::to_string(&counts),
        Format::JsonLines => {
            counts.iter().map(|count| serde_json::to_string(count).unwrap_or_default() + "\n").collect()
        }
        _ => {
            let queries = applications.iter().map(|statistics| queries(statistics));
            queries.fold(table(&counts, terminal), |text, queries| text + &queries)
        }
    }
}

fn count<'a>(rule: &'a str, diagnostics: &[&Diagnostic]) -> Count<'a> {
    let (mut safe_fixes, mut unsafe_fixes) = (0, 0);
    let mut reasons: BTreeMap<String, (BTreeSet<&str>, usize)> = BTreeMap::new();
    for detail in diagnostics.iter().filter_map(|diagnostic| diagnostic.detail.as_ref()) {
        match &detail.fix {
            Ok(_) if detail.applicability == Some(Applicability::Unsafe) => unsafe_fixes += 1,
            Ok(_) => safe_fixes += 1,
            Err(reason) if reason == NEEDS_UNSAFE => unsafe_fixes += 1,
            Err(reason) => {
                let (texts, number) = reasons.entry(without_names(reason)).or_default();
                texts.insert(reason);
                *number += 1;
            }
        }
    }
    let mut reasons: Vec<Reason> = reasons
        .into_iter()
        .map(|(folded, (texts, count))| {
            // What is the same for all of them need not be left out.
            let only = if texts.len() == 1 { texts.first() } else { None };
            Reason { reason: only.map_or(folded, |reason| (*reason).to_owned()), count }
        })
        .collect();
    reasons.sort_by(|a, b| (Reverse(a.count), &a.reason).cmp(&(Reverse(b.count), &b.reason)));
    Count {
        rule,
        summary: summary(rule),
        count: diagnostics.len(),
        fixable: diagnostics.iter().filter(|diagnostic| diagnostic.is_fixable()).count(),
        safe_fixes,
        unsafe_fixes,
        left: diagnostics.len() - safe_fixes - unsafe_fixes,
        reasons,
    }
}

/// A reason as it also reads for other tables: names and numbers are left out.
fn without_names(reason: &str) -> String {
    let mut text = String::new();
    for (index, piece) in reason.split('`').enumerate() {
        if index % 2 == 1 {
            text.push_str("`…`");
            continue;
        }
        let mut digits = false;
        for c in piece.chars() {
            if !c.is_ascii_digit() {
                text.push(c);
            } else if !digits {
                text.push('…');
            }
            digits = c.is_ascii_digit();
        }
    }
    text
}

fn summary(rule: &str) -> String {
    match rules::find(rule) {
        Some(rule) => rule.summary().trim_end_matches('.').to_owned(),
        None if rule == "invalid-syntax" => "Not read as Python".to_owned(),
        None => "The revisions don't follow each other as they should".to_owned(),
    }
}

fn table(counts: &[Count], terminal: &Terminal) -> String {
    let width = counts.iter().map(|count| count.count.to_string().len()).max().unwrap_or_default();
    let names = counts.iter().map(|count| count.rule.len()).max().unwrap_or_default();
    let any_fixable = counts.iter().any(|count| count.fixable > 0);
    let mut text = String::new();
    for count in counts {
        let star = match count.fixable {
            _ if !any_fixable => "",
            0 => "[ ]  ",
            fixable if fixable == count.count => "[*]  ",
            _ => "[-]  ",
        };
        let rule = format!("{:<names$}", count.rule);
        let _ = writeln!(
            text,
            "{:>width$}  {}  {star}{}",
            terminal.style().bold().apply_to(count.count),
            terminal.style().red().bold().apply_to(rule),
            count.summary,
        );
        // All that are fixed as it is need no more words.
        if count.safe_fixes == count.count {
            continue;
        }
        let mut lines = Vec::new();
        if count.safe_fixes > 0 {
            lines.push((count.safe_fixes, "fixed safely"));
        }
        if count.unsafe_fixes > 0 {
            lines.push((count.unsafe_fixes, "fixed with `--unsafe-fixes`"));
        }
        lines.extend(count.reasons.iter().map(|reason| (reason.count, reason.reason.as_str())));
        for (number, what) in lines {
            let _ = writeln!(text, "{:indent$}{number:>width$}  {what}", "", indent = width + 2);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without_names;

    #[test]
    fn reasons_are_the_same_for_all_tables() {
        assert_eq!(without_names("`a.b` is partitioned"), "`…` is partitioned");
        assert_eq!(
            without_names("line 12 fails, and `a1` since 1.16.0"),
            "line … fails, and `…` since ….….…"
        );
        assert_eq!(without_names(""), "");
    }
}
