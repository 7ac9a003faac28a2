//! How many findings each rule has.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use safemig_transforms::rules;
use serde::Serialize;

use super::{Diagnostic, json};
use crate::cli::Format;
use crate::terminal::Terminal;

#[derive(Debug, Serialize)]
struct Count<'a> {
    rule: &'a str,
    summary: String,
    count: usize,
    fixable: usize,
}

pub(crate) fn render(format: Format, diagnostics: &[Diagnostic], terminal: &Terminal) -> String {
    let mut by_rule: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for diagnostic in diagnostics {
        let (count, fixable) = by_rule.entry(&diagnostic.rule).or_default();
        *count += 1;
        *fixable += usize::from(diagnostic.is_fixable());
    }
    let mut counts: Vec<Count> = by_rule
        .into_iter()
        .map(|(rule, (count, fixable))| Count { rule, summary: summary(rule), count, fixable })
        .collect();
    counts.sort_by_key(|count| (Reverse(count.count), count.rule));
    match format {
        Format::Json => json::to_string(&counts),
        Format::JsonLines => {
            counts.iter().map(|count| serde_json::to_string(count).unwrap_or_default() + "\n").collect()
        }
        _ => table(&counts, terminal),
    }
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
    }
    text
}
