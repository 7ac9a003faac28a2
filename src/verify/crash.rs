//! Interrupts a rewritten revision everywhere, runs it again, and looks at what comes out.
//!
//! The connection is terminated by its server process: after every statement, where a transaction was committed in
//! between also before it, in the middle of every `CONCURRENTLY` statement, where PostgreSQL leaves an invalid
//! index, and in the last batch of every `DO` that commits. Of the places where an interruption finds the same committed state, only the last is tried.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use serde::Serialize;

use super::blocker::{Blocker, is_batched, is_concurrent};
use super::driver::{Driver, Failure, Go, Interest, Ran, Statement, Step, Watch};
use super::server::{Database, Server};
use super::snapshot::{Difference, Snapshot, leave_out};

/// Where a revision is interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Place {
    pub(crate) when: When,
    /// Of the statement, from 1.
    pub(crate) number: usize,
    pub(crate) sql: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    Before,
    During,
    After,
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::During => "during",
            Self::After => "after",
        })
    }
}

/// What came out of a second run that is not as it should be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Survivor {
    /// The second run failed.
    Failed(Failure),
    /// It succeeded, but the database is not what it would have been.
    Differs { differences: Vec<Difference>, leftovers: BTreeSet<String> },
    /// The statement was not met when the revision was run to be interrupted there.
    Missed,
}

/// What became of one step.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Crash {
    /// How many interruptions were survived.
    pub(crate) survived: usize,
    pub(crate) failures: Vec<(Place, Survivor)>,
}

/// The statements of a run that is not interrupted.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Vec<Statement>);

impl Watch for Recorder {
    const INTEREST: Interest = Interest::Statements;

    fn before(&mut self, statement: Statement) -> Result<Go> {
        self.0.push(statement);
        Ok(Go::On)
    }

    fn after(&mut self, _: Ran) -> Result<Go> {
        Ok(Go::On)
    }

    fn committed(&mut self, _: f64) {}
}

impl Recorder {
    /// All places in which an interruption leaves something else behind.
    fn places(&self) -> Vec<Place> {
        let mut by_state: BTreeMap<usize, Place> = BTreeMap::new();
        let mut during = Vec::new();
        let mut commits = 0;
        let mut transaction = 0;
        for (index, statement) in self.0.iter().enumerate() {
            let place = |when| Place { when, number: index + 1, sql: statement.sql.clone() };
            if index > 0 && statement.transaction > transaction {
                commits += 1;
                by_state.insert(commits, place(When::Before));
            }
            if is_concurrent(&statement.sql) || (statement.autocommit && is_batched(&statement.sql)) {
                during.push(place(When::During));
            }
            commits += usize::from(statement.autocommit);
            by_state.insert(commits, place(When::After));
            transaction = statement.transaction;
        }
        let mut places: Vec<Place> = by_state.into_values().chain(during).collect();
        places.sort_by_key(|place| (place.number, place.when));
        places
    }
}

/// Terminates the connection of a running revision at a place.
struct Interruption<'a> {
    server: &'a Server,
    place: &'a Place,
    number: usize,
    pid: i32,
    /// The server process of a statement that is to be terminated while it waits.
    waiting: Box<dyn Fn(i32) -> Result<()> + 'a>,
    happened: bool,
}

impl Watch for Interruption<'_> {
    const INTEREST: Interest = Interest::Statements;

    fn before(&mut self, statement: Statement) -> Result<Go> {
        self.number += 1;
        if self.number != self.place.number || statement.sql != self.place.sql || self.happened {
            return Ok(Go::On);
        }
        self.pid = statement.pid;
        match self.place.when {
            When::Before => self.terminate(),
            When::During => {
                (self.waiting)(statement.pid)?;
                self.happened = true;
                Ok(Go::On)
            }
            When::After => Ok(Go::On),
        }
    }

    fn after(&mut self, _: Ran) -> Result<Go> {
        if self.pid == 0 || self.place.when == When::Before || self.number != self.place.number {
            return Ok(Go::On);
        }
        self.terminate()
    }

    fn committed(&mut self, _: f64) {}
}

impl Interruption<'_> {
    fn terminate(&mut self) -> Result<Go> {
        self.server.terminate(self.pid)?;
        self.happened = true;
        Ok(Go::Stop)
    }
}

/// Interrupt a step on clones of a database in all places. `reached` is what the original and the rewrite lead to
/// when they are not interrupted, which only differs in what differs from run to run; `contents` is whether rows
/// are compared.
///
/// # Errors
/// Something that has to do neither with the revision nor with its interruption.
pub(crate) fn test(
    server: &Server,
    driver: &mut Driver,
    step: &Step,
    template: &Database,
    reached: (&Snapshot, &Snapshot),
    contents: bool,
) -> Result<Crash> {
    let mut recorder = Recorder::default();
    {
        let database = server.clone_of(template, "crash")?;
        if driver.run(step, &database, &mut recorder)?.is_some() {
            // It fails without an interruption: that has been compared with the original.
            return Ok(Crash::default());
        }
    }
    let mut crash = Crash::default();
    for place in recorder.places() {
        let database = server.clone_of(template, "crash")?;
        match interrupted(server, driver, step, &database, &place, (reached, contents))? {
            None => crash.survived += 1,
            Some(failure) => crash.failures.push((place, failure)),
        }
    }
    Ok(crash)
}

/// What is wrong after an interruption and a second run.
fn interrupted(
    server: &Server,
    driver: &mut Driver,
    step: &Step,
    database: &Database,
    place: &Place,
    ((expected, uninterrupted), contents): ((&Snapshot, &Snapshot), bool),
) -> Result<Option<Survivor>> {
    let finished = AtomicBool::new(false);
    let (happened, result) = thread::scope(|scope| {
        let mut interruption = Interruption {
            server,
            place,
            number: 0,
            pid: 0,
            happened: false,
            waiting: Box::new(|pid| {
                let batched = is_batched(&place.sql);
                let blocker =
                    if batched { Blocker::of_last_rows(database)? } else { Blocker::new(database)? };
                let finished = &finished;
                scope.spawn(move || blocker.when_waiting(pid, finished, |_| server.terminate(pid)));
                Ok(())
            }),
        };
        let result = driver.run(step, database, &mut interruption);
        finished.store(true, Ordering::SeqCst);
        (interruption.happened, result)
    });
    result?;
    if !happened {
        return Ok(Some(Survivor::Missed));
    }
    if let Some(failure) = driver.run(step, database, &mut super::driver::Unwatched)? {
        return Ok(Some(Survivor::Failed(failure)));
    }
    let snapshot = Snapshot::read(&mut database.connect()?, contents)?;
    let mut differences = expected.difference(&snapshot);
    leave_out(&mut differences, &expected.difference(uninterrupted));
    let mut leftovers = snapshot.leftovers();
    for expected in expected.leftovers() {
        leftovers.remove(&expected);
    }
    let right = differences.is_empty() && leftovers.is_empty();
    Ok((!right).then_some(Survivor::Differs { differences, leftovers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(statements: &[(&str, bool, usize)]) -> Vec<String> {
        let statements = statements.iter().map(|&(sql, autocommit, transaction)| Statement {
            sql: sql.to_owned(),
            parameters: None,
            autocommit,
            pid: 1,
            transaction,
        });
        let places = Recorder(statements.collect()).places();
        places.iter().map(|place| format!("{:?} {}", place.when, place.sql)).collect()
    }

    #[test]
    fn one_place_for_every_committed_state() {
        assert_eq!(places(&[("a", false, 0), ("b", false, 0)]), ["After b"]);
        assert_eq!(
            places(&[("a", false, 0), ("b", true, 1), ("c", false, 2)]),
            ["After a", "Before b", "After b", "After c"]
        );
        let concurrent = ("CREATE INDEX CONCURRENTLY i ON t (a)", true, 1);
        let found = places(&[("a", false, 0), concurrent, ("c", false, 2)]);
        assert_eq!(
            found,
            [
                "After a",
                "Before CREATE INDEX CONCURRENTLY i ON t (a)",
                "During CREATE INDEX CONCURRENTLY i ON t (a)",
                "After CREATE INDEX CONCURRENTLY i ON t (a)",
                "After c"
            ]
        );
        let batched = ("DO $$ BEGIN LOOP UPDATE t SET a = 1; COMMIT; END LOOP; END $$", true, 1);
        assert!(places(&[batched])[0].starts_with("During DO"));
    }
}
