//! What every statement of a revision locks, and how hard PostgreSQL works meanwhile.
//!
//! Only tables count that existed before the revision. Locks are asked for after every statement, which shows
//! them as long as the transaction goes on, and by an event trigger at the end of every DDL command, which shows
//! those of statements that are their own transaction, also inside of `DO`. `CONCURRENTLY` has released its lock by
//! then: it is made to wait, and looked at from outside. Work is told by the server's own messages (`building index
//! …`, at level DEBUG1), by file nodes, and by its counters of sequential scans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Scope, ScopedJoinHandle};

use anyhow::{Context as _, Result, bail};
use postgres::Client;
use safemig_transforms::recipe::Lock;
use serde::{Deserialize, Serialize};

use super::blocker::{Blocker, is_concurrent};
use super::driver::{Go, Interest, Ran, Statement, Watch};
use super::server::Database;

/// The schema of what is put into a scratch database to look at it.
const SCHEMA: &str = "safemig_verify";

/// The locks that this server process holds on tables, the files of tables and indexes, and how often tables were
/// read from end to end in this transaction.
pub(crate) const PROBE: &str = "
    SELECT jsonb_build_object(
        'locks', (SELECT coalesce(jsonb_agg(jsonb_build_array(relation::bigint, mode)), '[]') FROM pg_locks
                  WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= 16384),
        'files', (SELECT coalesce(jsonb_object_agg(oid, relfilenode::bigint), '{}') FROM pg_class
                  WHERE relkind IN ('r', 'i', 'm') AND oid >= 16384 AND relpersistence <> 't'
                      AND relnamespace <> ALL (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')),
        'scans', (SELECT coalesce(jsonb_object_agg(relid, seq_scan), '{}') FROM pg_stat_xact_user_tables
                  WHERE seq_scan > 0))::text";

/// How the event trigger's message begins.
const REPORT: &str = "safemig_verify: ";

/// The locks that another server process holds on tables.
const HELD: &str = "
    SELECT relation, mode FROM pg_locks
    WHERE pid = $1 AND locktype = 'relation' AND granted AND relation >= 16384";

/// Prepare a database, and so all its clones, for tracing. Needs a superuser, as event triggers do.
///
/// # Errors
/// The server refuses.
pub(crate) fn instrument(client: &mut Client) -> Result<()> {
    let sql = format!(
        "CREATE SCHEMA {SCHEMA};
        CREATE FUNCTION {SCHEMA}.report() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE NOTICE '{REPORT}%', jsonb_build_object('tag', tg_tag, 'objects', (
                SELECT coalesce(jsonb_agg(DISTINCT objid::bigint), '[]') FROM pg_event_trigger_ddl_commands()
                WHERE objid IS NOT NULL
            )) || ({PROBE})::jsonb;
        END
        $$;
        CREATE EVENT TRIGGER {SCHEMA} ON ddl_command_end EXECUTE FUNCTION {SCHEMA}.report();"
    );
    client.batch_execute(&sql).context("could not create an event trigger")
}

/// The answer to [`PROBE`], and what the event trigger adds to it.
#[derive(Debug, Clone, Default, Deserialize)]
struct State {
    locks: Vec<(u32, String)>,
    files: BTreeMap<u32, u32>,
    scans: BTreeMap<u32, u64>,
    tag: Option<String>,
    #[serde(default)]
    objects: BTreeSet<u32>,
}

/// The tables and indexes that existed before a revision, by their object ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Existing {
    tables: BTreeMap<u32, String>,
    /// The name of each index and its table.
    indexes: BTreeMap<u32, (String, u32)>,
    files: BTreeMap<u32, u32>,
}

impl Existing {
    /// # Errors
    /// The server refuses.
    pub(crate) fn read(client: &mut Client) -> Result<Self> {
        let relations = client.query(
            "SELECT c.oid, c.oid::regclass::text, i.indrelid
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_index i ON i.indexrelid = c.oid
            WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.oid >= 16384 AND n.nspname !~ '^pg_'
                AND c.relname !~ '^alembic_version'",
            &[],
        )?;
        let answer: String = client.query_one(PROBE, &[])?.get(0);
        let State { files, .. } = serde_json::from_str(&answer)?;
        let mut existing = Self { files, ..Self::default() };
        for row in relations {
            let (oid, name) = (row.get(0), row.get(1));
            match row.get::<_, Option<u32>>(2) {
                Some(table) => drop(existing.indexes.insert(oid, (name, table))),
                None => drop(existing.tables.insert(oid, name)),
            }
        }
        Ok(existing)
    }

    /// A table by its name without the schema, as the server's messages have it.
    fn by_bare_name(&self, bare: &str) -> Option<&String> {
        self.tables.values().find(|name| bare_name(name) == bare)
    }
}

/// `t` of `s."t"`.
pub(super) fn bare_name(name: &str) -> String {
    match name.strip_suffix('"').and_then(|rest| rest.rfind('"').map(|at| &rest[at + 1..])) {
        Some(quoted) => quoted.to_owned(),
        None => name.rsplit('.').next().unwrap_or(name).to_owned(),
    }
}

/// What takes long on a large table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WorkKind {
    /// An index is built, or built anew.
    Build,
    /// Every row is read.
    Scan,
    /// Every row is looked up in the table that a foreign key references.
    Validate,
    /// Every row is written.
    Rewrite,
    /// An index is dropped: it takes a moment, once all who use the table have gone.
    Drop,
}

/// Work on a table that existed before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Work {
    pub(crate) kind: WorkKind,
    pub(crate) table: String,
    /// In words, such as `builds index ix_a`.
    pub(crate) what: String,
}

/// A lock that a statement took on a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Held {
    #[serde(serialize_with = "as_text")]
    pub(crate) lock: Lock,
    /// From the start of the statement to the end of its transaction, in milliseconds.
    pub(crate) milliseconds: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn as_text<S: serde::Serializer>(lock: &Lock, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(lock)
}

/// Work that was done while others could not write to a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Blocking {
    #[serde(flatten)]
    pub(crate) work: Work,
    /// The strongest lock, and on which table it is.
    #[serde(serialize_with = "as_text")]
    pub(crate) lock: Lock,
    pub(crate) locked: BTreeSet<String>,
    /// The rule that should have removed it.
    pub(crate) rule: &'static str,
}

/// A statement of a revision.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Traced {
    pub(crate) sql: String,
    /// Whether it was its own transaction.
    pub(crate) autocommit: bool,
    /// The locks that it took, or made stronger, by table.
    pub(crate) locks: BTreeMap<String, Held>,
    pub(crate) work: BTreeSet<Work>,
    pub(crate) blocking: Vec<Blocking>,
    #[serde(skip)]
    started: f64,
    /// Its transaction goes on.
    #[serde(skip)]
    open: bool,
}

/// Work that the server told of, before it is known which table it concerns.
struct Told {
    kind: WorkKind,
    table: Option<String>,
    what: String,
}

/// Looks at a `CONCURRENTLY` statement while it waits.
type Observer<'scope> = ScopedJoinHandle<'scope, Result<Vec<(u32, String)>>>;

/// Records the locks and the work of a revision.
pub(crate) struct Tracer<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    database: &'env Database<'env>,
    existing: &'env Existing,
    observer: Option<(Arc<AtomicBool>, Observer<'scope>)>,
    statements: Vec<Traced>,
    /// The files of tables and indexes before the present statement.
    files: BTreeMap<u32, u32>,
    /// How often tables had been read before it.
    scans: BTreeMap<u32, u64>,
    /// What the present transaction holds.
    held: BTreeMap<String, Lock>,
}

impl<'scope, 'env> Tracer<'scope, 'env> {
    /// A tracer of what will run on a database.
    pub(crate) fn new(
        existing: &'env Existing,
        database: &'env Database<'env>,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Self {
        Self {
            scope,
            database,
            existing,
            observer: None,
            statements: Vec::new(),
            files: existing.files.clone(),
            scans: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// The statements, when all have run. Indexes that were dropped before their tables cost nobody anything.
    pub(crate) fn finish(mut self) -> Vec<Traced> {
        let remaining: BTreeSet<&String> = self
            .existing
            .tables
            .iter()
            .filter(|(oid, _)| self.files.contains_key(oid))
            .map(|(_, name)| name)
            .collect();
        let matters = |work: &Work| work.kind != WorkKind::Drop || remaining.contains(&work.table);
        for statement in &mut self.statements {
            statement.work.retain(matters);
            statement.blocking.retain(|blocking| matters(&blocking.work));
        }
        self.statements
    }

    /// What a `CONCURRENTLY` statement held while it was made to wait.
    fn observed(&mut self) -> Result<Vec<(u32, String)>> {
        let Some((finished, observer)) = self.observer.take() else { return Ok(Vec::new()) };
        finished.store(true, Ordering::SeqCst);
        observer.join().unwrap_or_else(|_| bail!("the observer of a statement panicked"))
    }

    /// Judge what was done up to a state, under the locks that it shows.
    fn judge(&mut self, told: Vec<Told>, state: State) {
        let Some(statement) = self.statements.last_mut() else { return };
        let mut locks: BTreeMap<String, Lock> = BTreeMap::new();
        for (relation, mode) in &state.locks {
            let (Some(table), Some(lock)) = (self.existing.tables.get(relation), lock(mode)) else {
                continue;
            };
            let strongest = locks.entry(table.clone()).or_insert(lock);
            *strongest = lock.max(*strongest);
        }
        for (table, lock) in &locks {
            if self.held.get(table).is_none_or(|before| before < lock) {
                let held =
                    statement.locks.entry(table.clone()).or_insert(Held { lock: *lock, milliseconds: 0.0 });
                held.lock = held.lock.max(*lock);
            }
        }
        let mut work: BTreeSet<Work> = told
            .into_iter()
            .filter_map(|told| {
                let table = told.table.or_else(|| self.existing.altered(&state, &locks))?;
                Some(Work { kind: told.kind, table, what: told.what })
            })
            .collect();
        let first_word = first_word(&statement.sql);
        if first_word != "TRUNCATE" {
            work.extend(self.existing.changed_files(&self.files, &state));
        }
        if matches!(first_word.as_str(), "UPDATE" | "DELETE" | "INSERT" | "SELECT" | "WITH" | "MERGE" | "DO")
        {
            work.extend(self.existing.read_tables(&self.scans, &state.scans));
        }
        let work = without_consequences(work);
        let stopped = || locks.iter().filter(|(_, lock)| lock.stops_writers());
        // To drop an index takes a moment; it is dangerous to wait for its lock.
        let gives_up = statement.sql.contains("SET LOCAL lock_timeout");
        let blocks = |work: &&Work| work.kind != WorkKind::Drop || !gives_up;
        if let Some(strongest) = stopped().map(|(_, lock)| *lock).max() {
            statement.blocking.extend(work.iter().filter(blocks).map(|work| Blocking {
                work: work.clone(),
                lock: strongest,
                locked: stopped().map(|(table, _)| table.clone()).collect(),
                rule: rule(work.kind, &statement.sql),
            }));
        }
        statement.work.extend(work);
        self.held = locks;
        self.files = state.files;
        self.scans = state.scans;
    }

    /// Locks end with their transaction.
    fn release(&mut self, time: f64) {
        self.held.clear();
        for statement in self.statements.iter_mut().filter(|statement| statement.open) {
            statement.open = false;
            for held in statement.locks.values_mut() {
                held.milliseconds = ((time - statement.started) * 1_000_000.0).round() / 1000.0;
            }
        }
    }
}

impl Watch for Tracer<'_, '_> {
    const INTEREST: Interest = Interest::Locks;

    fn before(&mut self, statement: Statement) -> Result<Go> {
        let sql = match &statement.parameters {
            Some(parameters) => format!("{} -- {parameters}", statement.sql),
            None => statement.sql,
        };
        if statement.autocommit && is_concurrent(&sql) {
            let blocker = Blocker::new(self.database)?;
            let finished = Arc::new(AtomicBool::new(false));
            let ended = Arc::clone(&finished);
            let observer = self.scope.spawn(move || {
                let mut held = Vec::new();
                blocker.when_waiting(statement.pid, &ended, |client| {
                    let rows = client.query(HELD, &[&statement.pid])?;
                    held = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
                    Ok(())
                })?;
                Ok(held)
            });
            self.observer = Some((finished, observer));
        }
        self.statements.push(Traced {
            sql,
            autocommit: statement.autocommit,
            locks: BTreeMap::new(),
            work: BTreeSet::new(),
            blocking: Vec::new(),
            started: 0.0,
            open: true,
        });
        Ok(Go::On)
    }

    fn after(&mut self, ran: Ran) -> Result<Go> {
        let held = self.observed()?;
        if let Some(statement) = self.statements.last_mut() {
            statement.started = ran.started;
        }
        let mut told = Vec::new();
        for notice in &ran.notices {
            match notice.strip_prefix(REPORT) {
                Some(report) => {
                    let mut state: State =
                        serde_json::from_str(report).context("the event trigger's report")?;
                    state.locks.extend(held.iter().cloned());
                    self.judge(std::mem::take(&mut told), state);
                }
                None => told.extend(self.existing.told(notice)),
            }
        }
        let state = ran.state.context("a traced statement without its state")?;
        let mut state: State = serde_json::from_str(&state).context("the probe's answer")?;
        state.locks.extend(held);
        self.judge(told, state);
        if self.statements.last().is_some_and(|statement| statement.autocommit) {
            self.release(ran.ended);
        }
        Ok(Go::On)
    }

    fn committed(&mut self, time: f64) {
        self.release(time);
    }
}

impl Existing {
    /// Work on an existing table that a message of the server tells of.
    fn told(&self, notice: &str) -> Option<Told> {
        let quoted: Vec<&str> = notice.split('"').skip(1).step_by(2).collect();
        let table = |at: usize| Some(Some(self.by_bare_name(quoted.get(at)?)?.clone()));
        let name = quoted.first()?;
        let (kind, table, what) = if notice.starts_with("building index ") {
            (WorkKind::Build, table(1)?, format!("builds index {name}"))
        } else if notice.starts_with("rewriting table ") {
            (WorkKind::Rewrite, table(0)?, REWRITES.to_owned())
        } else if notice.starts_with("verifying table ") {
            (WorkKind::Scan, table(0)?, "checks every row".to_owned())
        } else if notice.starts_with("validating foreign key constraint ") {
            (WorkKind::Validate, None, format!("looks up every row of foreign key {name}"))
        } else if notice.starts_with("validating check constraint ") {
            (WorkKind::Scan, None, format!("checks every row for {name}"))
        } else {
            return None;
        };
        Some(Told { kind, table, what })
    }

    /// The existing table that a command altered: as the event trigger says, else one that is locked.
    fn altered(&self, state: &State, locks: &BTreeMap<String, Lock>) -> Option<String> {
        if state.tag.is_some() {
            return state.objects.iter().find_map(|object| self.tables.get(object)).cloned();
        }
        locks.iter().max_by_key(|(_, lock)| **lock).map(|(table, _)| table.clone())
    }

    /// Tables and indexes that were written anew, and indexes that `DROP INDEX` dropped.
    fn changed_files(&self, before: &BTreeMap<u32, u32>, state: &State) -> Vec<Work> {
        let mut work = Vec::new();
        let after = |oid: &u32| state.files.get(oid);
        let changed =
            |oid: &u32| after(oid).is_some_and(|file| before.get(oid).is_some_and(|old| old != file));
        for (_, table) in self.tables.iter().filter(|(oid, _)| changed(oid)) {
            work.push(Work { kind: WorkKind::Rewrite, table: table.clone(), what: REWRITES.to_owned() });
        }
        for (oid, (index, table)) in &self.indexes {
            let Some(name) = self.tables.get(table).filter(|_| after(table).is_some()) else { continue };
            let work_on =
                |kind, verb| Work { kind, table: name.clone(), what: format!("{verb} {}", bare_name(index)) };
            if changed(oid) {
                work.push(work_on(WorkKind::Build, "builds index"));
            } else if before.contains_key(oid)
                && after(oid).is_none()
                && state.tag.as_deref() == Some("DROP INDEX")
            {
                work.push(work_on(WorkKind::Drop, "drops index"));
            }
        }
        work
    }

    /// Tables that were read from end to end.
    fn read_tables(&self, before: &BTreeMap<u32, u64>, after: &BTreeMap<u32, u64>) -> Vec<Work> {
        let more = after.iter().filter(|(oid, number)| before.get(oid) != Some(number));
        more.filter_map(|(oid, _)| self.tables.get(oid))
            .map(|table| Work {
                kind: WorkKind::Scan,
                table: table.clone(),
                what: "reads every row".to_owned(),
            })
            .collect()
    }
}

/// A table that is rewritten has its indexes built anew, which goes without saying.
fn without_consequences(work: BTreeSet<Work>) -> BTreeSet<Work> {
    let rewritten: BTreeSet<String> =
        work.iter().filter(|work| work.kind == WorkKind::Rewrite).map(|work| work.table.clone()).collect();
    let remains = |work: &Work| work.kind == WorkKind::Rewrite || !rewritten.contains(&work.table);
    work.into_iter().filter(remains).collect()
}

const REWRITES: &str = "rewrites the table";

/// A lock mode by its name in `pg_locks`.
fn lock(mode: &str) -> Option<Lock> {
    Some(match mode {
        "AccessShareLock" => Lock::AccessShare,
        "RowShareLock" => Lock::RowShare,
        "RowExclusiveLock" => Lock::RowExclusive,
        "ShareUpdateExclusiveLock" => Lock::ShareUpdateExclusive,
        "ShareLock" => Lock::Share,
        "ShareRowExclusiveLock" => Lock::ShareRowExclusive,
        "ExclusiveLock" => Lock::Exclusive,
        "AccessExclusiveLock" => Lock::AccessExclusive,
        _ => return None,
    })
}

/// The first word of a statement, in capitals, behind comments.
fn first_word(sql: &str) -> String {
    let mut rest = sql.trim_start();
    loop {
        rest = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start()
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest).trim_start()
        } else {
            break;
        };
    }
    rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
}

/// The rule whose recipe does the same work without stopping writers.
fn rule(kind: WorkKind, sql: &str) -> &'static str {
    let sql = sql.to_ascii_uppercase();
    let has = |words: &str| sql.contains(words);
    match kind {
        _ if has(" TYPE ") && has("ALTER COLUMN") => "change-column-type",
        WorkKind::Rewrite => "add-column-volatile-default",
        WorkKind::Build | WorkKind::Validate if has("ADD COLUMN") => "add-column-inline-constraint",
        WorkKind::Build if has("PRIMARY KEY") || has("EXCLUDE") => "primary-key",
        WorkKind::Build if has("ADD CONSTRAINT") || has("ADD UNIQUE") => "unique-constraint",
        WorkKind::Build | WorkKind::Drop => "only-concurrent-indexes",
        WorkKind::Validate => "split-foreign-key",
        WorkKind::Scan if has("SET NOT NULL") => "split-not-null",
        WorkKind::Scan if !has("ALTER TABLE") => "batch-backfill",
        WorkKind::Scan => "split-check-constraint",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_out_of_their_quotes() {
        assert_eq!(bare_name("orders"), "orders");
        assert_eq!(bare_name("sales.orders"), "orders");
        assert_eq!(bare_name("sales.\"Order.s\""), "Order.s");
    }

    #[test]
    fn comments_stand_before_a_statement() {
        assert_eq!(first_word("-- why\n /* and how */ update t set a = 1"), "UPDATE");
        assert_eq!(first_word("-- nothing"), "");
    }
}
