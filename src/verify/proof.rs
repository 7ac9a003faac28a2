//! What is run, and what is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context as _, Result, bail};
use safemig_transforms::migration::Direction;
use safemig_transforms::operations::sql;
use serde::Serialize;

use super::constraints::{self, Constraint};
use super::crash::{self, Crash};
use super::driver::{Driver, Environment, Failure, Step, Unwatched, Versions};
use super::halfway::{self, Ends};
use super::initial_schema::InitialSchema;
use super::interrupt::Interrupt;
use super::rows::{self, Nulls};
use super::server::{Database, Server};
use super::snapshot::{Difference, Snapshot, leave_out};
use super::trace::{self, Blocking, Existing, Traced, Tracer, WorkKind, bare_name};
use super::tree::Tree;
use crate::terminal::Progress;

/// A revision of the original history.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) revision: String,
    /// As reports show it.
    pub(crate) path: String,
    /// Whether the rewrite touched it, so that it is to be compared.
    pub(crate) touched: bool,
    /// The findings that the rewrite removed.
    pub(crate) claims: Rules,
    /// The findings that it left.
    pub(crate) left: Rules,
}

/// What findings were about.
pub(crate) type Rules = BTreeMap<Direction, Vec<Claim>>;

/// What one finding was about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) rule: String,
    /// The table's name without its schema, as far as it is known.
    pub(crate) table: Option<String>,
    /// The name of the index or constraint, as far as it is known.
    pub(crate) name: Option<String>,
    /// The words of the statement in lower case, if it is an update that was given as text.
    pub(crate) words: Vec<String>,
}

impl Claim {
    /// The table whose columns change their order, as the rule says.
    fn moved(&self) -> Option<&String> {
        self.table.as_ref().filter(|_| self.rule == "change-column-type")
    }

    fn is_alike(&self, other: &Self) -> bool {
        (&self.rule, &self.table, &self.name) == (&other.rule, &other.table, &other.name)
    }

    /// Whether it is about this statement of the original.
    fn is_about(&self, sql: &str) -> bool {
        let sql = sql.to_lowercase();
        self.words.iter().all(|word| sql.contains(word))
    }

    /// Whether work shows that the claim does not hold.
    fn is_broken_by(&self, blocking: &Blocking) -> bool {
        let work = &blocking.work;
        let is_named = matches!(work.kind, WorkKind::Build | WorkKind::Drop | WorkKind::Validate);
        self.rule == blocking.rule
            && self.table.as_deref() == Some(&bare_name(&work.table))
            && self.name.as_deref().is_none_or(|name| !is_named || work.what.ends_with(name))
    }
}

impl Planned {
    /// The tables whose columns change their order.
    fn moved(&self) -> impl Iterator<Item = String> {
        self.claims.values().flatten().filter_map(Claim::moved).cloned()
    }
}

/// Two histories, and how far they are to be compared.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The original's revisions, parents before children.
    pub(crate) revisions: Vec<Planned>,
    /// What the rewrite adds behind them, parents before children.
    pub(crate) added: Vec<Planned>,
    pub(crate) original: Tree,
    pub(crate) rewritten: Tree,
    /// The down revisions of every rewritten revision.
    pub(crate) parents: BTreeMap<String, Vec<String>>,
    /// Rows for every table; with 0 contents are not compared.
    pub(crate) rows: u32,
    pub(crate) crash: bool,
    pub(crate) sql: bool,
    /// Whether the rewritten history also takes over at every revision of the original.
    pub(crate) stamped: bool,
    /// What is there before the first revision.
    pub(crate) initial_schema: Option<InitialSchema>,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(crate) struct Proof {
    /// The server's major version.
    pub(crate) postgres: u32,
    pub(crate) versions: Versions,
    /// All revisions that were run, whether compared or not.
    pub(crate) revisions: usize,
    /// Those that the rewrite touched.
    pub(crate) touched: Vec<Revision>,
    /// The whole rewritten history, run by one command.
    pub(crate) heads: Option<Comparison>,
    /// The same, from each revision that a database may be stamped with.
    pub(crate) stamped: BTreeMap<String, Comparison>,
    /// The SQL that `alembic upgrade --sql` writes.
    pub(crate) sql: Option<Comparison>,
    /// Why the original could not be run to its end.
    pub(crate) stopped: Option<Stopped>,
    /// What could not be looked at, and why.
    pub(crate) notes: BTreeSet<String>,
}

/// The original itself fails.
#[derive(Debug, Serialize)]
pub(crate) struct Stopped {
    pub(crate) revision: String,
    pub(crate) path: String,
    pub(crate) failure: Failure,
}

/// A revision that the rewrite touched.
#[derive(Debug, Serialize)]
pub(crate) struct Revision {
    pub(crate) revision: String,
    pub(crate) path: String,
    /// The original has nothing like it: its upgrade was compared with a second one after a downgrade, and its
    /// downgrade with what was there before.
    pub(crate) added: bool,
    pub(crate) upgrade: Outcome,
    pub(crate) downgrade: Outcome,
}

/// One direction of a revision.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    #[serde(flatten)]
    pub(crate) comparison: Comparison,
    /// The statements of the original.
    pub(crate) before: Vec<Traced>,
    /// The statements of the rewrite.
    pub(crate) after: Vec<Traced>,
    /// How many findings the rewrite claims to have removed, so far as that can be seen.
    pub(crate) claims: usize,
    /// How many of these do not hold: their work still stops writers.
    pub(crate) broken_claims: usize,
    /// How many more there are where the original fails, so that nothing is seen of them.
    pub(crate) unchecked_claims: usize,
    /// The rules of findings that the rewrite leaves, which `safemig check` reports.
    pub(crate) left: BTreeSet<String>,
    pub(crate) crash: Crash,
}

/// What two runs left.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Comparison {
    /// What the original raised.
    pub(crate) original: Option<Failure>,
    /// What the rewrite raised.
    pub(crate) rewritten: Option<Failure>,
    pub(crate) differences: Vec<Difference>,
    /// Differences that the original also has to itself, when it is run twice.
    pub(crate) unstable: usize,
    /// What a change of type makes on purpose: the column is the table's last.
    pub(crate) meant: Vec<Difference>,
}

impl Comparison {
    /// Both ended alike and left the same.
    pub(crate) fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.original.is_some() == self.rewritten.is_some()
    }
}

impl Outcome {
    fn new(
        planned: &Planned,
        direction: Direction,
        comparison: Comparison,
        (before, after): (Vec<Traced>, Vec<Traced>),
        crash: Crash,
    ) -> Self {
        let of = |rules: &'_ Rules| rules.get(&direction).cloned().unwrap_or_default();
        let (claims, left) = (of(&planned.claims), of(&planned.left));
        let mut outcome = Self {
            comparison,
            before,
            after,
            claims: claims.len(),
            broken_claims: 0,
            unchecked_claims: 0,
            left: left.iter().map(|claim| claim.rule.clone()).collect(),
            crash,
        };
        let is_unchanged = |sql: &str| outcome.before.iter().any(|traced| traced.sql == sql);
        let is_broken = |claim: &&Claim| {
            // Where a finding of this kind is left, what blocks is that; and what blocked before may be a statement that
            // is not understood, so that there is no finding about it.
            !left.iter().any(|left| left.is_alike(claim))
                && outcome.blocking().any(|(traced, blocking)| {
                    claim.is_broken_by(blocking)
                        && (claim.is_about(&traced.sql) || !is_unchanged(&traced.sql))
                })
        };
        outcome.broken_claims = claims.iter().filter(is_broken).count();
        // It did not get so far.
        if outcome.comparison.original.is_some() {
            outcome.unchecked_claims = outcome.claims - outcome.broken_claims;
            outcome.claims = outcome.broken_claims;
        } else if outcome.comparison.rewritten.is_some() {
            outcome.broken_claims = outcome.claims;
        }
        outcome
    }

    /// Work of the rewrite that stops writers, with its statement.
    pub(crate) fn blocking(&self) -> impl Iterator<Item = (&Traced, &Blocking)> {
        self.after.iter().flat_map(|traced| traced.blocking.iter().map(move |blocking| (traced, blocking)))
    }
}

impl Revision {
    pub(crate) fn outcomes(&self) -> [(Direction, &Outcome); 2] {
        [(Direction::Upgrade, &self.upgrade), (Direction::Downgrade, &self.downgrade)]
    }
}

impl Proof {
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&Revision, Direction, &Outcome)> {
        self.touched.iter().flat_map(|revision| {
            revision.outcomes().map(|(direction, outcome)| (revision, direction, outcome))
        })
    }

    /// What came out where all revisions were run by one command.
    pub(crate) fn whole(&self) -> impl Iterator<Item = &Comparison> {
        self.heads.iter().chain(self.stamped.values()).chain(&self.sql)
    }

    /// The differences that are made on purpose, in one line each.
    pub(crate) fn meant(&self) -> BTreeSet<String> {
        let of_revisions = self.outcomes().map(|(_, _, outcome)| &outcome.comparison);
        let all = of_revisions.chain(self.whole());
        all.flat_map(|comparison| &comparison.meant).map(ToString::to_string).collect()
    }

    /// Whether nothing but the locks has changed, and no work of the rewrite stops writers.
    pub(crate) fn holds(&self) -> bool {
        self.keeps_its_word() && self.outcomes().all(|(_, _, outcome)| outcome.blocking().next().is_none())
    }

    /// Whether nothing but the locks has changed, and what is said to be fixed stops no writers. What was left alone
    /// may.
    pub(crate) fn keeps_its_word(&self) -> bool {
        self.stopped.is_none()
            && self.whole().all(Comparison::is_equal)
            && self.outcomes().all(|(_, _, outcome)| {
                outcome.comparison.is_equal()
                    && outcome.broken_claims == 0
                    && outcome.crash.failures.is_empty()
            })
    }
}

/// Run everything.
///
/// # Errors
/// What keeps the proof from being made. Whatever the histories do is part of the answer.
pub(crate) fn run(
    plan: &Plan,
    environment: &Environment,
    server: &Server,
    interrupt: &Interrupt,
    progress: &mut Progress,
) -> Result<Proof> {
    let start = |tree| Driver::start(environment, tree, interrupt);
    let original = start(&plan.original)?;
    let rewritten = start(&plan.rewritten).context("the rewritten history")?;
    let mut prover = Prover {
        proof: Proof {
            postgres: server.version(),
            versions: original.versions.clone(),
            revisions: 0,
            touched: Vec::new(),
            heads: None,
            stamped: BTreeMap::new(),
            sql: None,
            stopped: None,
            notes: BTreeSet::new(),
        },
        plan,
        server,
        original,
        rewritten,
    };
    prover.history(interrupt, progress)?;
    Ok(prover.proof)
}

/// Runs the two histories.
struct Prover<'a> {
    plan: &'a Plan,
    server: &'a Server,
    original: Driver<'a>,
    rewritten: Driver<'a>,
    proof: Proof,
}

/// What one run left.
struct Left {
    failure: Option<Failure>,
    snapshot: Snapshot,
    statements: Vec<Traced>,
}

/// What both runs left, and where.
struct Pair<'a> {
    original: Left,
    rewritten: Left,
    original_database: Database<'a>,
    rewritten_database: Database<'a>,
}

impl<'a> Prover<'a> {
    /// A database before the first revision.
    fn beginning(&self, purpose: &str) -> Result<Database<'a>> {
        let database = self.server.create(purpose)?;
        if let Some(schema) = &self.plan.initial_schema {
            schema.make(&database)?;
        }
        Ok(database)
    }

    fn history(&mut self, interrupt: &Interrupt, progress: &mut Progress) -> Result<()> {
        let plan = self.plan;
        let mut line = self.beginning("line")?;
        if self.server.is_superuser() {
            trace::instrument(&mut line.connect()?)?;
        } else {
            let note =
                "the locks of statements that are their own transaction are not seen: that takes a superuser";
            self.proof.notes.insert(note.to_owned());
        }
        let start = self.server.clone_of(&line, "start")?;
        let mut stamped = Vec::new();
        for (number, planned) in plan.revisions.iter().enumerate() {
            interrupt.check()?;
            progress.at(number, plan.revisions.len(), &planned.revision);
            let failure = if planned.touched {
                let failure;
                (line, failure) = self.touched(planned, line)?;
                failure
            } else {
                self.original.run(&upgrade(&planned.revision), &line, &mut Unwatched)?
            };
            if let Some(failure) = failure {
                let Planned { revision, path, .. } = planned.clone();
                self.proof.stopped = Some(Stopped { revision, path, failure });
                return Ok(());
            }
            self.proof.revisions += 1;
            if plan.stamped {
                stamped.push((planned.revision.clone(), self.server.clone_of(&line, "stamped")?));
            }
        }
        for planned in &plan.added {
            interrupt.check()?;
            progress.at(plan.revisions.len(), plan.revisions.len(), &planned.revision);
            if !self.added(planned, &line)? {
                return Ok(());
            }
        }
        progress.at(plan.revisions.len(), plan.revisions.len(), "heads");
        let heads = Snapshot::read(&mut line.connect()?, false)?;
        self.proof.heads = Some(self.heads(&start, &heads)?);
        for (revision, database) in stamped {
            interrupt.check()?;
            let comparison = self.heads(&database, &heads)?;
            self.proof.stamped.insert(revision, comparison);
        }
        if plan.sql {
            self.sql()?;
        }
        Ok(())
    }

    /// Run a revision that only the rewrite has: up, back to where it was, and up again. What is there when it
    /// has run stands in `line` then, unless it fails.
    fn added(&mut self, planned: &Planned, line: &Database) -> Result<bool> {
        let (up, down) = (upgrade(&planned.revision), Step::Downgrade(vec![planned.revision.clone()]));
        let base = if self.plan.rows == 0 {
            None
        } else {
            let base = self.server.clone_of(line, "rows")?;
            rows::fill(&mut base.connect()?, self.plan.rows, Nulls::Some)?;
            Some(base)
        };
        let (template, contents) = (base.as_ref().unwrap_or(line), base.is_some());
        let before = Snapshot::read(&mut template.connect()?, contents)?;
        let database = self.server.clone_of(template, "rewritten")?;
        let there = traced(&mut self.rewritten, &up, &database, contents)?;
        let undone = self.server.clone_of(&database, "undone")?;
        let back = traced(&mut self.rewritten, &down, &undone, contents)?;
        let again = self.server.clone_of(&undone, "again")?;
        let failure = self.rewritten.run(&up, &again, &mut Unwatched)?;
        let crash =
            |driver: &mut Driver, step: &Step, template: &Database, left: &Left, expected: &Snapshot| {
                if !self.plan.crash || left.failure.is_some() {
                    return Ok(Crash::default());
                }
                crash::test(self.server, driver, step, template, (expected, &left.snapshot), contents)
            };
        let upgraded = Comparison {
            rewritten: there.failure.clone().or(failure),
            differences: there.snapshot.difference(&Snapshot::read(&mut again.connect()?, contents)?),
            ..Comparison::default()
        };
        let downgraded = Comparison {
            rewritten: back.failure.clone(),
            differences: before.difference(&back.snapshot),
            ..Comparison::default()
        };
        let crashes = (
            crash(&mut self.rewritten, &up, template, &there, &there.snapshot)?,
            crash(&mut self.rewritten, &down, &database, &back, &before)?,
        );
        let succeeds = there.failure.is_none();
        let outcome = |left, direction, comparison, crash| {
            Outcome::new(planned, direction, comparison, (Vec::new(), left), crash)
        };
        self.proof.touched.push(Revision {
            revision: planned.revision.clone(),
            path: planned.path.clone(),
            added: true,
            upgrade: outcome(there.statements, Direction::Upgrade, upgraded, crashes.0),
            downgrade: outcome(back.statements, Direction::Downgrade, downgraded, crashes.1),
        });
        if succeeds {
            self.rewritten.run(&up, line, &mut Unwatched)?;
        }
        Ok(succeeds)
    }

    /// Compare one revision. Gives back the database behind it, and why the original failed, if it did.
    fn touched(&mut self, planned: &Planned, line: Database<'a>) -> Result<(Database<'a>, Option<Failure>)> {
        let target = upgrade(&planned.revision);
        let (base, pair) = self.with_rows(planned, &line)?;
        let (template, contents) = (base.as_ref().unwrap_or(&line), base.is_some());
        let comparison = self.compared(planned, &pair, template, &target, contents)?;
        let crash = self.crash(&pair, &comparison, template, &target, contents)?;
        let failure = pair.original.failure.clone();
        let (up, original, rewritten) = pair.close(planned, Direction::Upgrade, comparison, crash);
        let unchecked_claims = planned.claims.get(&Direction::Downgrade).map_or(0, Vec::len);
        let mut down = Outcome { unchecked_claims, ..Outcome::default() };
        if failure.is_none() && up.comparison.rewritten.is_none() {
            let step = Step::Downgrade(vec![planned.revision.clone()]);
            let back = Step::Downgrade(self.span(&planned.revision));
            let pair = self.pair((&original, &step), (&rewritten, &back), contents)?;
            let comparison = self.compared(planned, &pair, &original, &step, contents)?;
            let mut crash = self.crash(&pair, &comparison, &original, &back, contents)?;
            if self.plan.crash && up.comparison.is_equal() && comparison.is_equal() {
                let there = Snapshot::read(&mut rewritten.connect()?, contents)?;
                let halfway = self.halfway(planned, template, &there, &pair.original.snapshot, contents)?;
                crash.survived += halfway.survived;
                crash.failures.extend(halfway.failures);
            }
            drop(rewritten);
            down = pair.close(planned, Direction::Downgrade, comparison, crash).0;
        }
        let Planned { revision, path, .. } = planned.clone();
        self.proof.touched.push(Revision { revision, path, added: false, upgrade: up, downgrade: down });
        if !contents {
            return Ok((original, failure));
        }
        let failure = match failure {
            None => self.original.run(&target, &line, &mut Unwatched)?,
            failure => failure,
        };
        Ok((line, failure))
    }

    /// Stop between the revisions that one is cut into, if the original's downgrade undoes what its upgrade does.
    fn halfway(
        &mut self,
        planned: &Planned,
        template: &Database,
        there: &Snapshot,
        back: &Snapshot,
        contents: bool,
    ) -> Result<Crash> {
        let mut parts = self.span(&planned.revision);
        parts.reverse();
        let before = Snapshot::read(&mut template.connect()?, contents)?;
        let moved: BTreeSet<String> = planned.moved().collect();
        if parts.len() < 2 || !before.difference(back).is_empty() {
            return Ok(Crash::default());
        }
        let ends = Ends { before: &before, there, moved: &moved, contents };
        halfway::test(self.server, &mut self.rewritten, &parts, template, &ends)
    }

    /// Run both on a clone that has rows in its tables, which is given back: with rows that the original can work
    /// on. If there are none, both run without rows.
    fn with_rows(&mut self, planned: &Planned, line: &Database) -> Result<(Option<Database<'a>>, Pair<'a>)> {
        let target = upgrade(&planned.revision);
        let future = if self.plan.rows == 0 { Vec::new() } else { self.future(line, &target)? };
        let choices = if self.plan.rows == 0 { &[][..] } else { &[Nulls::Some, Nulls::None, Nulls::All] };
        let mut why = None;
        for nulls in choices {
            let base = self.server.clone_of(line, "rows")?;
            let filled = {
                let mut client = base.connect()?;
                let temporary = constraints::add(&mut client, &future)?;
                let filled = rows::fill(&mut client, self.plan.rows, *nulls)?;
                constraints::drop(&mut client, &temporary)?;
                filled
            };
            let pair = self.pair((&base, &target), (&base, &target), true)?;
            let Some(failure) = &pair.original.failure else {
                for (table, reason) in filled.failed {
                    self.proof.notes.insert(format!("{table} has fewer rows than asked for: {reason}"));
                }
                return Ok((Some(base), pair));
            };
            why = Some(failure.message.clone());
        }
        let pair = self.pair((line, &target), (line, &target), false)?;
        if let (Some(why), None) = (why, &pair.original.failure) {
            let revision = &planned.revision;
            let note = format!("{revision} was compared without rows: on them the original fails: {why}");
            self.proof.notes.insert(note);
        }
        Ok((None, pair))
    }

    /// The constraints that a step adds to tables that are there already: rows that are made before it should
    /// meet them.
    fn future(&mut self, line: &Database, target: &Step) -> Result<Vec<Constraint>> {
        let database = self.server.clone_of(line, "future")?;
        if self.original.run(target, &database, &mut Unwatched)?.is_some() {
            return Ok(Vec::new());
        }
        let before = constraints::read(&mut line.connect()?)?;
        let mut after = constraints::read(&mut database.connect()?)?;
        after.retain(|constraint| !before.contains(constraint));
        Ok(after)
    }

    /// Run the original and the rewrite, at the same time, on clones.
    fn pair(
        &mut self,
        original: (&Database, &Step),
        rewritten: (&Database, &Step),
        contents: bool,
    ) -> Result<Pair<'a>> {
        let server = self.server;
        let run = |driver: &mut Driver, (template, step): (&Database, &Step), purpose: &str| {
            let database = server.clone_of(template, purpose)?;
            let left = traced(driver, step, &database, contents)?;
            anyhow::Ok((database, left))
        };
        let (before, after) = thread::scope(|scope| {
            let before = scope.spawn(|| run(&mut self.original, original, "original"));
            let after = run(&mut self.rewritten, rewritten, "rewritten");
            (before.join().unwrap_or_else(|_| bail!("a thread panicked")), after)
        });
        let ((original_database, original), (rewritten_database, rewritten)) = (before?, after?);
        Ok(Pair { original, rewritten, original_database, rewritten_database })
    }

    /// Interrupt the rewrite everywhere, if that is wanted and says anything.
    fn crash(
        &mut self,
        pair: &Pair,
        comparison: &Comparison,
        template: &Database,
        step: &Step,
        contents: bool,
    ) -> Result<Crash> {
        if !self.plan.crash || pair.original.failure.is_some() || !comparison.is_equal() {
            return Ok(Crash::default());
        }
        let reached = (&pair.original.snapshot, &pair.rewritten.snapshot);
        crash::test(self.server, &mut self.rewritten, step, template, reached, contents)
    }

    /// Compare what two runs left; on a difference, run the original once more: what differs from run to run does
    /// not count.
    fn compared(
        &mut self,
        planned: &Planned,
        pair: &Pair,
        template: &Database,
        step: &Step,
        contents: bool,
    ) -> Result<Comparison> {
        let Pair { original: before, rewritten: after, .. } = pair;
        let mut differences = before.snapshot.difference(&after.snapshot);
        let meant = before.snapshot.take_of_type_changes(&mut differences, &planned.moved().collect());
        if before.failure.is_some() && after.failure.is_some() && self.span(&planned.revision).len() > 1 {
            // What was done by the revisions before the one that fails stays, and is stamped.
            differences.clear();
        }
        let mut unstable = 0;
        if !differences.is_empty() {
            let database = self.server.clone_of(template, "again")?;
            self.original.run(step, &database, &mut Unwatched)?;
            let again = Snapshot::read(&mut database.connect()?, contents)?;
            unstable = leave_out(&mut differences, &before.snapshot.difference(&again));
        }
        let (original, rewritten) = (before.failure.clone(), after.failure.clone());
        Ok(Comparison { original, rewritten, differences, unstable, meant })
    }

    /// Run the rewritten history by one command, as Alembic's default environment does, in one transaction.
    fn heads(&mut self, start: &Database, expected: &Snapshot) -> Result<Comparison> {
        let (database, rewritten) = in_one_command(self.server, &mut self.rewritten, start)?;
        let mut differences = expected.difference(&Snapshot::read(&mut database.connect()?, false)?);
        let meant = expected.take_of_type_changes(&mut differences, &self.moved());
        let mut comparison = Comparison { rewritten, meant, ..Comparison::default() };
        if !differences.is_empty() || comparison.rewritten.is_some() {
            let (database, failure) = in_one_command(self.server, &mut self.original, start)?;
            comparison.original = failure;
            self.add(&database)?;
            let again = Snapshot::read(&mut database.connect()?, false)?;
            comparison.unstable = leave_out(&mut differences, &expected.difference(&again));
            if let (Some(why), Some(_)) = (&comparison.original, &comparison.rewritten) {
                // What is left depends on where each of them was committed last.
                differences.clear();
                self.proof.notes.insert(format!(
                    "all revisions in one command were not compared: the original fails, too: {}",
                    why.message
                ));
            }
        }
        comparison.differences = differences;
        Ok(comparison)
    }

    /// Write what `alembic upgrade heads --sql` writes for both histories, run it, and compare.
    fn sql(&mut self) -> Result<()> {
        let scratch = tempfile::TempDir::with_prefix("safemig-sql-")?;
        let databases = [self.beginning("sql")?, self.beginning("sql")?];
        let written = |driver: &mut Driver, name: &str, database: &Database| -> Result<Option<Failure>> {
            let path = scratch.path().join(name);
            match driver.run(&Step::Offline("heads".to_owned(), path.clone()), database, &mut Unwatched)? {
                Some(failure) => Ok(Some(failure)),
                None => run_script(database, &std::fs::read_to_string(&path)?),
            }
        };
        let [expected, actual] = &databases;
        if let Some(failure) = written(&mut self.original, "original.sql", expected)? {
            self.proof.notes.insert(format!(
                "`alembic upgrade --sql` does not work with the original: {}",
                failure.message
            ));
            return Ok(());
        }
        let rewritten = written(&mut self.rewritten, "rewritten.sql", actual)?;
        self.add(expected)?;
        let expected = Snapshot::read(&mut expected.connect()?, false)?;
        let mut differences = expected.difference(&Snapshot::read(&mut actual.connect()?, false)?);
        let meant = expected.take_of_type_changes(&mut differences, &self.moved());
        self.proof.sql = Some(Comparison { rewritten, differences, meant, ..Comparison::default() });
        Ok(())
    }

    /// Run what the rewrite adds behind the original's history, which has been run.
    fn add(&mut self, database: &Database) -> Result<()> {
        if !self.plan.added.is_empty() {
            // It has succeeded before.
            self.rewritten.run(&upgrade("heads"), database, &mut Unwatched)?;
        }
        Ok(())
    }

    /// The tables whose columns change their order in any revision.
    fn moved(&self) -> BTreeSet<String> {
        self.plan.revisions.iter().flat_map(Planned::moved).collect()
    }

    /// A rewritten revision with those of its ancestors that the original does not have, youngest first.
    fn span(&self, revision: &str) -> Vec<String> {
        let known = |id: &str| self.plan.revisions.iter().any(|planned| planned.revision == id);
        let mut span = vec![revision.to_owned()];
        let mut at = 0;
        while let Some(id) = span.get(at) {
            for parent in self.plan.parents.get(id).into_iter().flatten() {
                if !known(parent) && !span.contains(parent) {
                    span.push(parent.clone());
                }
            }
            at += 1;
        }
        span
    }
}

impl<'a> Pair<'a> {
    /// What came out, and the databases that it came out in: the original's and the rewrite's.
    fn close(
        self,
        planned: &Planned,
        direction: Direction,
        comparison: Comparison,
        crash: Crash,
    ) -> (Outcome, Database<'a>, Database<'a>) {
        let statements = (self.original.statements, self.rewritten.statements);
        let outcome = Outcome::new(planned, direction, comparison, statements, crash);
        (outcome, self.original_database, self.rewritten_database)
    }
}

fn upgrade(revision: &str) -> Step {
    Step::Upgrade(revision.to_owned())
}

/// Run a history to its heads, on a clone, in a process of its own, as Alembic does: revisions may remember that they have
/// run, or what they have seen in another database.
fn in_one_command<'a>(
    server: &'a Server,
    driver: &mut Driver,
    start: &Database,
) -> Result<(Database<'a>, Option<Failure>)> {
    driver.restart()?;
    let database = server.clone_of(start, "heads")?;
    let failure = driver.run(&upgrade("heads"), &database, &mut Unwatched)?;
    Ok((database, failure))
}

/// Run a step with all its statements watched, and look at what it leaves.
fn traced(driver: &mut Driver, step: &Step, database: &Database, contents: bool) -> Result<Left> {
    let mut client = database.connect()?;
    let existing = Existing::read(&mut client)?;
    let (failure, statements) = thread::scope(|scope| {
        let mut tracer = Tracer::new(&existing, database, scope);
        let failure = driver.run(step, database, &mut tracer)?;
        anyhow::Ok((failure, tracer.finish()))
    })?;
    let snapshot = Snapshot::read(&mut client, contents)?;
    Ok(Left { failure, snapshot, statements })
}

/// Run a script as psql would: statement by statement.
pub(super) fn run_script(database: &Database, script: &str) -> Result<Option<Failure>> {
    let mut client = database.connect()?;
    for statement in sql::statements(script) {
        if let Err(error) = client.batch_execute(statement) {
            let reason =
                error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            let line: Vec<&str> = statement.split_whitespace().collect();
            return Ok(Some(Failure { message: format!("{reason}: {}", line.join(" ")), place: None }));
        }
    }
    Ok(None)
}
