//! How a proof is shown.

use std::fmt::Write as _;

use console::{Alignment, pad_str, truncate_str};
use safemig_transforms::migration::Direction;
use safemig_transforms::rules;
use serde_json::{Value, json};

use super::crash::{Place, Survivor};
use super::driver::Failure;
use super::proof::{Comparison, Outcome, Proof, Revision};
use super::snapshot;
use super::trace::Traced;
use crate::cli::VerifyFormat;
use crate::report::count;
use crate::terminal::Terminal;

/// Statements are cut to so many columns in tables.
const STATEMENT_WIDTH: usize = 60;

/// Failures of this many interruptions of one step are told in full.
const SHOWN_CRASHES: usize = 3;

/// The whole report, of one project or several.
pub(crate) fn render(format: VerifyFormat, proofs: &[Proof], terminal: &Terminal) -> String {
    match format {
        VerifyFormat::Json => format!("{:#}\n", proofs.iter().map(as_json).collect::<Value>()),
        VerifyFormat::Text => proofs.iter().map(|proof| text(proof, terminal)).collect(),
        VerifyFormat::Markdown => proofs.iter().map(markdown).collect::<Vec<_>>().join("\n"),
    }
}

fn as_json(proof: &Proof) -> Value {
    let mut value = json!(proof);
    value["holds"] = Value::from(proof.holds());
    value["summary"] = Value::from(summary(proof));
    value
}

/// `48 revisions: schema equal, 12 of 12 lock claims hold and 3 not checked, 37 crash points survived`.
pub(crate) fn summary(proof: &Proof) -> String {
    let outcomes = || proof.outcomes().map(|(_, _, outcome)| outcome);
    let compared = outcomes().map(|outcome| &outcome.comparison).chain(proof.whole());
    let unequal = compared.filter(|comparison| !comparison.is_equal()).count();
    let mut parts = vec![match unequal {
        0 => "schema equal".to_owned(),
        number => format!("schema different in {}", count(number, "place")),
    }];
    let claims: usize = outcomes().map(|outcome| outcome.claims).sum();
    let broken: usize = outcomes().map(|outcome| outcome.broken_claims).sum();
    let unchecked: usize = outcomes().map(|outcome| outcome.unchecked_claims).sum();
    let and_unchecked = if unchecked == 0 { String::new() } else { format!(" and {unchecked} not checked") };
    parts.push(format!("{} of {claims} lock claims hold{and_unchecked}", claims - broken));
    let blocking = outcomes().filter(|outcome| outcome.blocking().next().is_some()).count();
    if blocking > 0 {
        parts.push(format!("writers still stopped in {}", count(blocking, "place")));
    }
    let survived: usize = outcomes().map(|outcome| outcome.crash.survived).sum();
    let crashed: usize = outcomes().map(|outcome| outcome.crash.failures.len()).sum();
    match (survived, crashed) {
        (0, 0) => {}
        (survived, 0) => parts.push(format!("{} survived", count(survived, "crash point"))),
        (survived, crashed) => {
            parts.push(format!("{survived} of {} crash points survived", survived + crashed));
        }
    }
    if !proof.stamped.is_empty() {
        parts.push(format!("goes on from {}", count(proof.stamped.len(), "stamped revision")));
    }
    if let Some(stopped) = &proof.stopped {
        parts.push(format!("the original fails at {}", stopped.revision));
    }
    let added = proof.touched.iter().filter(|revision| revision.added).count();
    let and_added = if added == 0 { String::new() } else { format!(", {added} added") };
    format!(
        "{} ({} rewritten{and_added}): {}",
        count(proof.revisions, "revision"),
        proof.touched.len() - added,
        parts.join(", ")
    )
}

/// A line of the table of locks: a statement and one table that it locked.
struct Row<'a> {
    side: &'static str,
    statement: String,
    table: &'a str,
    lock: String,
    held: String,
    work: String,
    blocking: bool,
}

/// The table of locks of one direction. Statements that concern no table that was there before are left out.
fn rows(outcome: &Outcome) -> Vec<Row<'_>> {
    let sides = [("before", &outcome.before), ("after", &outcome.after)];
    sides
        .into_iter()
        .flat_map(|(side, statements)| statements.iter().flat_map(move |one| of(side, one)))
        .collect()
}

fn of<'a>(side: &'static str, traced: &'a Traced) -> Vec<Row<'a>> {
    let statement = line(&traced.sql);
    let work_on = |table: &str| -> Vec<&str> {
        traced.work.iter().filter(|work| work.table == table).map(|work| work.what.as_str()).collect()
    };
    let blocking = |table: &str| {
        traced.blocking.iter().any(|blocking| blocking.work.table == table || blocking.locked.contains(table))
    };
    let locked = traced.locks.iter().map(|(table, held)| Row {
        side,
        statement: statement.clone(),
        table,
        lock: held.lock.to_string(),
        held: format!("{:.1} ms", held.milliseconds),
        work: work_on(table).join(", "),
        blocking: blocking(table) && held.lock.stops_writers(),
    });
    let tables: std::collections::BTreeSet<&str> =
        traced.work.iter().map(|work| work.table.as_str()).collect();
    // The lock was taken by an earlier statement.
    let earlier = |table: &str| {
        let blocking = traced.blocking.iter().find(|blocking| blocking.work.table == table);
        blocking.map_or_else(String::new, |blocking| format!("({})", blocking.lock))
    };
    let others = tables.into_iter().filter(|table| !traced.locks.contains_key(*table)).map(|table| Row {
        side,
        statement: statement.clone(),
        table,
        lock: earlier(table),
        held: String::new(),
        work: work_on(table).join(", "),
        blocking: blocking(table),
    });
    locked.chain(others).collect()
}

fn line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

const HEADINGS: [&str; 5] = ["statement", "table", "lock", "held", "work"];

fn text(proof: &Proof, terminal: &Terminal) -> String {
    let (bold, red, green) = (terminal.style().bold(), terminal.style().red(), terminal.style().green());
    let mut text = String::new();
    for (revision, direction, outcome) in proof.outcomes() {
        let rows = rows(outcome);
        if rows.is_empty() {
            continue;
        }
        let title = format!("{} ({}), {}", revision.revision, revision.path, name(direction));
        let _ = writeln!(text, "{}", bold.apply_to(title));
        let cells: Vec<[String; 5]> = rows
            .iter()
            .map(|row| {
                let statement = truncate_str(&row.statement, STATEMENT_WIDTH, "…").into_owned();
                [statement, row.table.to_owned(), row.lock.clone(), row.held.clone(), row.work.clone()]
            })
            .collect();
        let width = |at: usize| {
            let cells = cells.iter().map(|cells| console::measure_text_width(&cells[at]));
            cells.chain([HEADINGS[at].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        let padded = |cells: &[String]| -> String {
            let cells = cells.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| pad_str(cell, *width, Alignment::Left, None));
            cells.collect::<Vec<_>>().join("  ")
        };
        let _ = writeln!(text, "          {}", padded(&HEADINGS.map(str::to_owned)).trim_end());
        for (row, cells) in rows.iter().zip(&cells) {
            let line = format!("  {:<6}  {}", row.side, padded(cells));
            let style = if row.blocking { &red } else { &green };
            let mark = if row.blocking { "  stops writers" } else { "" };
            let line = format!("{}{mark}", line.trim_end());
            let _ = match (row.blocking, row.side) {
                (true, _) | (_, "after") => writeln!(text, "{}", style.apply_to(line)),
                _ => writeln!(text, "{line}"),
            };
        }
        text.push('\n');
    }
    for meant in proof.meant() {
        let _ = writeln!(text, "a change of type makes this difference: {meant}");
    }
    for problem in problems(proof) {
        let _ = writeln!(text, "{}", red.apply_to(&problem.title));
        for line in problem.body.lines() {
            let style = match line.trim_start().as_bytes().first() {
                Some(b'-') => red.clone(),
                Some(b'+') => green.clone(),
                _ => terminal.style(),
            };
            let _ = writeln!(text, "    {}", style.apply_to(line));
        }
    }
    text
}

fn markdown(proof: &Proof) -> String {
    let verdict = if proof.holds() { "holds" } else { "does not hold" };
    let mut text = format!(
        "# The rewrite {verdict}\n\n{}.\n\nPostgreSQL {}, Alembic {}, SQLAlchemy {}.\n",
        summary(proof),
        proof.postgres,
        proof.versions.alembic,
        proof.versions.sqlalchemy
    );
    let problems = problems(proof);
    if !problems.is_empty() {
        text.push_str("\n## Problems\n");
    }
    for problem in problems {
        let _ = write!(text, "\n{}\n", problem.title);
        if !problem.body.is_empty() {
            let _ = write!(text, "\n```diff\n{}\n```\n", problem.body.trim_end());
        }
    }
    let cell = |text: &str| text.replace('|', "\\|");
    for (revision, direction, outcome) in proof.outcomes() {
        let rows = rows(outcome);
        if rows.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## `{}`, {}\n\n{}\n\n|  | {} |\n|---|---|---|---|---|---|\n",
            revision.revision,
            name(direction),
            revision.path,
            HEADINGS.join(" | ")
        );
        for row in rows {
            let Row { side, table, lock, held, work, .. } = &row;
            let lock = if row.blocking { format!("**{lock}**") } else { lock.clone() };
            let statement = cell(&row.statement);
            let _ = writeln!(
                text,
                "| {side} | `{statement}` | {} | {lock} | {held} | {} |",
                cell(table),
                cell(work)
            );
        }
    }
    text
}

/// Something that speaks against the rewrite.
struct Problem {
    title: String,
    body: String,
}

fn problems(proof: &Proof) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(stopped) = &proof.stopped {
        problems.push(Problem {
            title: format!(
                "{} ({}): the original fails: {}",
                stopped.revision,
                stopped.path,
                told(&stopped.failure)
            ),
            body: String::new(),
        });
    }
    for (revision, direction, outcome) in proof.outcomes() {
        let place = place(revision, direction);
        if revision.added {
            reversed(&place, direction, &outcome.comparison, &mut problems);
        } else {
            compared(&place, &outcome.comparison, &mut problems);
        }
        for (traced, blocking) in outcome.blocking() {
            let locked: Vec<&str> = blocking.locked.iter().map(String::as_str).collect();
            let rule = match rules::find(blocking.rule) {
                Some(_) if outcome.left.contains(blocking.rule) => {
                    format!("`safemig check` reports it as `{}`", blocking.rule)
                }
                Some(_) => format!("a case for `{}`", blocking.rule),
                None => "no rule of safemig covers this yet".to_owned(),
            };
            problems.push(Problem {
                title: format!(
                    "{place}: {} of {} under {} on {} ({rule})",
                    blocking.work.what,
                    blocking.work.table,
                    blocking.lock,
                    locked.join(", ")
                ),
                body: line(&traced.sql),
            });
        }
        for (crash, survivor) in outcome.crash.failures.iter().take(SHOWN_CRASHES) {
            problems.push(crashed(&place, crash, survivor));
        }
        if let Some(more @ 1..) = outcome.crash.failures.len().checked_sub(SHOWN_CRASHES) {
            let title = format!("{place}: not survived in {} either", count(more, "other place"));
            problems.push(Problem { title, body: String::new() });
        }
    }
    if let Some(heads) = &proof.heads {
        compared("all revisions in one command", heads, &mut problems);
    }
    for (revision, comparison) in &proof.stamped {
        compared(&format!("a database stamped with {revision}, upgraded"), comparison, &mut problems);
    }
    if let Some(sql) = &proof.sql {
        compared("alembic upgrade --sql", sql, &mut problems);
    }
    problems
}

/// What to do where a migration waits for itself.
const LOCKED_OUT: &str = "\
If a migration opens a connection of its own, that one waits for what the command has not committed:
with `transaction_per_migration=True` in env.py, each revision is committed before the next one.";

fn compared(place: &str, comparison: &Comparison, problems: &mut Vec<Problem>) {
    let mut add = |title: String, body: String| problems.push(Problem { title, body });
    match (&comparison.original, &comparison.rewritten) {
        (None, Some(failure)) => {
            let body = if failure.message.contains("lock timeout") { LOCKED_OUT } else { "" };
            let title = format!("{place}: the original succeeds, the rewrite fails: {}", told(failure));
            add(title, body.to_owned());
        }
        (Some(failure), None) => {
            add(
                format!("{place}: the rewrite succeeds where the original fails: {}", told(failure)),
                String::new(),
            );
        }
        _ => {}
    }
    if !comparison.differences.is_empty() {
        let number = count(comparison.differences.len(), "difference");
        add(format!("{place}: {number} (- original, + rewrite)"), snapshot::render(&comparison.differences));
    }
}

/// What speaks against a revision that the original does not have.
fn reversed(place: &str, direction: Direction, comparison: &Comparison, problems: &mut Vec<Problem>) {
    if let Some(failure) = &comparison.rewritten {
        problems
            .push(Problem { title: format!("{place}: it fails: {}", told(failure)), body: String::new() });
        return;
    }
    if !comparison.differences.is_empty() {
        let number = count(comparison.differences.len(), "difference");
        let sides = match direction {
            Direction::Upgrade => "- the first time, + after a downgrade",
            Direction::Downgrade => "- before the upgrade, + after the downgrade",
        };
        let body = snapshot::render(&comparison.differences);
        problems.push(Problem { title: format!("{place}: {number} ({sides})"), body });
    }
}

fn crashed(place: &str, crash: &Place, survivor: &Survivor) -> Problem {
    let at = format!("{place}, cut off {} statement {} and run again", crash.when, crash.number);
    let statement = line(&crash.sql);
    match survivor {
        Survivor::Failed(failure) => {
            Problem { title: format!("{at}: it fails: {}", told(failure)), body: statement }
        }
        Survivor::Missed => {
            Problem { title: format!("{at}: the statement was not met again"), body: statement }
        }
        Survivor::Differs { differences, leftovers } => {
            let mut body = format!("{statement}\n{}", snapshot::render(differences));
            for leftover in leftovers {
                let _ = write!(body, "\nleft behind: {leftover}");
            }
            Problem { title: format!("{at}: the database is not as it should be"), body }
        }
    }
}

fn told(failure: &Failure) -> String {
    match &failure.place {
        Some(place) => format!("{} ({place})", failure.message),
        None => failure.message.clone(),
    }
}

fn place(revision: &Revision, direction: Direction) -> String {
    format!("{} ({}), {}", revision.revision, revision.path, name(direction))
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Upgrade => "upgrade",
        Direction::Downgrade => "downgrade",
    }
}
