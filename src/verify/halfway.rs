//! Stops a migration that is cut into several revisions between any two of them, and turns round there.
//!
//! A deployment may be taken back when only some of the revisions have run, and a downgrade may be given up before the
//! last of them is undone. Going on from there has to lead to the same database.

use std::collections::BTreeSet;

use anyhow::Result;

use super::crash::{Crash, Place, Survivor, When};
use super::driver::{Driver, Step, Unwatched};
use super::server::{Database, Server};
use super::snapshot::Snapshot;

/// What the revisions lead to.
pub(crate) struct Ends<'a> {
    /// The database in front of them, to which they also lead back.
    pub(crate) before: &'a Snapshot,
    pub(crate) there: &'a Snapshot,
    /// The tables whose columns change their order.
    pub(crate) moved: &'a BTreeSet<String>,
    /// Whether rows are compared.
    pub(crate) contents: bool,
}

/// `parts` are the ids of the revisions, in the order in which they run on `template`.
///
/// # Errors
/// Something that has nothing to do with the revisions.
pub(crate) fn test(
    server: &Server,
    driver: &mut Driver,
    parts: &[String],
    template: &Database,
    ends: &Ends,
) -> Result<Crash> {
    let up = |part: &str| Step::Upgrade(part.to_owned());
    let down = |parts: &[String]| Step::Downgrade(parts.iter().rev().cloned().collect());
    let mut crash = Crash::default();
    let Some(whole) = parts.last() else { return Ok(crash) };
    let line = server.clone_of(template, "halfway")?;
    let done = server.clone_of(template, "halfway")?;
    driver.run(&up(whole), &done, &mut Unwatched)?;
    for (number, part) in parts.iter().enumerate().take(parts.len() - 1) {
        driver.run(&up(part), &line, &mut Unwatched)?;
        let (run, rest) = parts.split_at(number + 1);
        let (before, there) = (Some(ends.before), Some(ends.there));
        // Back from the way there, and there from the way back.
        let ways = [
            (&line, vec![(down(run), before), (up(whole), there)]),
            (&done, vec![(down(rest), None), (up(whole), there), (down(rest), None), (down(run), before)]),
        ];
        for (from, steps) in ways {
            let database = server.clone_of(from, "halfway")?;
            match walk(driver, &steps, &database, ends)? {
                None => crash.survived += 1,
                Some(survivor) => {
                    let sql = format!("revision {part}");
                    crash.failures.push((Place { when: When::After, number: number + 1, sql }, survivor));
                }
            }
        }
    }
    Ok(crash)
}

/// Run steps one after the other, and compare what is there behind them; what is wrong behind one.
fn walk(
    driver: &mut Driver,
    steps: &[(Step, Option<&Snapshot>)],
    database: &Database,
    ends: &Ends,
) -> Result<Option<Survivor>> {
    for (step, expected) in steps {
        if let Some(failure) = driver.run(step, database, &mut Unwatched)? {
            return Ok(Some(Survivor::Failed(failure)));
        }
        let Some(expected) = expected else { continue };
        let snapshot = Snapshot::read(&mut database.connect()?, ends.contents)?;
        let mut differences = expected.difference(&snapshot);
        expected.take_of_type_changes(&mut differences, ends.moved);
        if !differences.is_empty() {
            return Ok(Some(Survivor::Differs { differences, leftovers: snapshot.leftovers() }));
        }
    }
    Ok(None)
}
