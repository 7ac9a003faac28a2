//! `safemig history`: the revisions as `alembic history` lists them, with what is unsafe in them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use safemig_transforms::lineage::{Lineage, Marks};
use safemig_transforms::migration::Migration;
use safemig_transforms::recipe::Lock;
use serde::Serialize;

use super::Session;
use crate::Status;
use crate::analysis::Judged;
use crate::cli::{Global, HistoryArgs, HistoryFormat};
use crate::report::{self, Diagnostic, count, json};
use crate::terminal::Terminal;
use crate::write;

pub(super) fn run(arguments: &HistoryArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let session = Session::new(&arguments.input, None, global, terminal)?;
    let judged = session.judge()?;
    let mut entries = Vec::new();
    for group in &session.histories.groups {
        let by_path: BTreeMap<&str, &Judged> =
            judged.iter().map(|one| (one.migration.path.as_str(), one)).collect();
        let order = group.loaded();
        let migrations: Vec<&Migration> =
            order.iter().map(|index| &group.history.migrations[*index]).collect();
        let lineage = Lineage::new(&migrations).map_err(|reason| anyhow!(reason))?;
        let marks: BTreeMap<usize, Marks> =
            order.iter().enumerate().map(|(node, index)| (*index, lineage.marks(node))).collect();
        for index in session.rules.limits.listed(group)? {
            let migration = &group.history.migrations[index];
            // Named files are reported, and the others only known.
            let Some(judged) = by_path.get(migration.path.as_str()) else { continue };
            let diagnostics = report::before(judged, &session.rules);
            entries.push(Entry { migration, marks: marks[&index].clone(), diagnostics, judged });
        }
    }
    let format = |terminal: &Terminal| match arguments.output_format {
        HistoryFormat::Text => text(&entries, terminal),
        HistoryFormat::Json => json::to_string(&entries.iter().map(Listed::new).collect::<Vec<_>>()),
        HistoryFormat::Markdown => markdown(&entries),
        HistoryFormat::Mermaid => mermaid(&entries),
    };
    match &arguments.output_file {
        Some(path) => write::report(path, &format(&terminal.plain()))?,
        None => terminal.print(&format(terminal))?,
    }
    let broken = session.broken();
    for one in &broken {
        terminal.warning(&format!("{}:{}: {}", one.path, one.start.line, one.message));
    }
    let failed = !session.histories.problems.is_empty() || !broken.is_empty();
    Ok(if failed { Status::Failed } else { Status::Clean })
}

/// A revision with what was found in it.
struct Entry<'a> {
    migration: &'a Migration,
    marks: Marks,
    diagnostics: Vec<Diagnostic<'a>>,
    judged: &'a Judged<'a>,
}

impl Entry<'_> {
    /// The line of `alembic history`.
    fn line(&self) -> String {
        let Migration { revision, down_revisions, depends_on, .. } = self.migration;
        let Marks { labels, head, effective_head, branchpoint, mergepoint } = &self.marks;
        let mut line =
            if down_revisions.is_empty() { "<base>".to_owned() } else { down_revisions.join(", ") };
        if !depends_on.is_empty() {
            let _ = write!(line, " ({})", depends_on.join(", "));
        }
        let _ = write!(line, " -> {revision}");
        if !labels.is_empty() {
            let _ = write!(line, " ({})", labels.join(", "));
        }
        for (mark, holds) in [
            (" (head)", head),
            (" (effective head)", effective_head),
            (" (branchpoint)", branchpoint),
            (" (mergepoint)", mergepoint),
        ] {
            line.push_str(if *holds { mark } else { "" });
        }
        line + ", " + &self.migration.doc()
    }

    /// The strongest lock that is taken, and for how long.
    fn worst(&self) -> Option<&str> {
        let locks = self.diagnostics.iter().filter_map(|one| one.detail.as_ref()?.lock);
        locks.rev().max_by_key(|lock| Lock::at_start(lock))
    }

    /// `2 findings, ACCESS EXCLUSIVE on …`
    fn found(&self) -> Option<String> {
        if self.diagnostics.is_empty() {
            return None;
        }
        let number = count(self.diagnostics.len(), "finding");
        Some(self.worst().map_or_else(|| number.clone(), |worst| format!("{number}, {worst}")))
    }
}

fn text(entries: &[Entry], terminal: &Terminal) -> String {
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{}", entry.line());
        if let Some(found) = entry.found() {
            let _ = writeln!(text, "    {}", terminal.style().yellow().apply_to(found));
        }
    }
    text
}

/// What tools read. Fields are only ever added.
#[expect(clippy::struct_excessive_bools, reason = "a mark is a bool")]
#[derive(Debug, Serialize)]
struct Listed<'a> {
    revision: &'a str,
    down_revisions: &'a [String],
    depends_on: &'a [String],
    branch_labels: &'a [String],
    head: bool,
    effective_head: bool,
    branchpoint: bool,
    mergepoint: bool,
    doc: String,
    filename: &'a str,
    /// `false`: it is at or before the baseline, or was not asked about.
    checked: bool,
    /// The strongest lock that is taken.
    lock: Option<&'a str>,
    findings: Vec<json::Finding<'a>>,
}

impl<'a> Listed<'a> {
    fn new(entry: &'a Entry) -> Self {
        let Migration { revision, down_revisions, depends_on, path, .. } = entry.migration;
        Self {
            revision,
            down_revisions,
            depends_on,
            branch_labels: &entry.marks.labels,
            head: entry.marks.head,
            effective_head: entry.marks.effective_head,
            branchpoint: entry.marks.branchpoint,
            mergepoint: entry.marks.mergepoint,
            doc: entry.migration.doc(),
            filename: path,
            checked: entry.judged.aside.is_none(),
            lock: entry.worst(),
            findings: entry.diagnostics.iter().map(json::Finding::new).collect(),
        }
    }
}

fn markdown(entries: &[Entry]) -> String {
    let mut text = String::from("| revision | follows | | findings | worst lock |\n|---|---|---|---|---|\n");
    for entry in entries {
        let follows: Vec<_> = entry.migration.down_revisions.iter().map(|id| format!("`{id}`")).collect();
        let number = match entry.diagnostics.len() {
            0 => String::new(),
            number => number.to_string(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {number} | {} |",
            entry.migration.revision,
            follows.join(", "),
            report::markdown::cell(&entry.migration.doc()),
            report::markdown::cell(entry.worst().unwrap_or_default()),
        );
    }
    text
}

/// A diagram, newest on top, as Mermaid draws it.
fn mermaid(entries: &[Entry]) -> String {
    let numbers: BTreeMap<&str, usize> = entries
        .iter()
        .enumerate()
        .map(|(number, entry)| (entry.migration.revision.as_str(), number))
        .collect();
    let mut text = String::from("flowchart BT\n");
    for (number, entry) in entries.iter().enumerate() {
        let mut label = vec![entry.migration.revision.clone(), entry.migration.doc()];
        label.extend(entry.found());
        let label: Vec<_> = label.iter().filter(|part| !part.is_empty()).map(|part| quoted(part)).collect();
        let class = if entry.diagnostics.is_empty() { "" } else { ":::unsafe" };
        let _ = writeln!(text, "    r{number}[\"{}\"]{class}", label.join("<br>"));
    }
    for (number, entry) in entries.iter().enumerate() {
        let Migration { down_revisions, depends_on, .. } = entry.migration;
        for (parents, arrow) in [(down_revisions, "-->"), (depends_on, "-.->")] {
            for parent in parents.iter().filter_map(|parent| numbers.get(parent.as_str())) {
                let _ = writeln!(text, "    r{parent} {arrow} r{number}");
            }
        }
    }
    text + "    classDef unsafe stroke:#c00,stroke-width:2px\n"
}

/// A text inside of quotes: Mermaid reads entities and HTML there.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for letter in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match letter {
            '"' | '<' | '>' | '&' | '#' | '`' | ';' => {
                let _ = write!(quoted, "#{};", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted
}
