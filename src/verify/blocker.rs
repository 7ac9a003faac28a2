//! A transaction that `CONCURRENTLY`, or a `DO` that commits its batches, has to wait for.
//!
//! `CREATE INDEX CONCURRENTLY` and its kin wait until all who wrote to the table have ended. That is when they can be
//! looked at, or interrupted in the middle. A batch waits for a row that another transaction has locked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postgres::Client;

use super::server::Database;

/// Whether a statement is a `CREATE`, `DROP` or `REINDEX`, `CONCURRENTLY`.
pub(super) fn is_concurrent(sql: &str) -> bool {
    let mut words = sql.split_whitespace().map(str::to_ascii_uppercase);
    matches!(words.next().as_deref(), Some("CREATE" | "DROP" | "REINDEX"))
        && words.any(|word| word == "CONCURRENTLY")
}

/// Whether a statement is a `DO` that commits in between.
pub(super) fn is_batched(sql: &str) -> bool {
    let mut words = sql.split_whitespace().map(str::to_ascii_uppercase);
    words.next().as_deref() == Some("DO") && words.any(|word| word == "COMMIT;")
}

/// An open transaction that others have to wait for.
pub(super) struct Blocker {
    client: Client,
    observer: Client,
}

impl Blocker {
    /// # Errors
    /// The server refuses.
    pub(super) fn new(database: &Database) -> Result<Self> {
        let mut client = database.connect()?;
        let tables = tables(&mut client, &["r", "p"])?;
        let lock = format!("BEGIN; LOCK TABLE {} IN ROW EXCLUSIVE MODE", tables.join(", "));
        client.batch_execute(&lock).context("could not lock the tables")?;
        Ok(Self { client, observer: database.connect()? })
    }

    /// A transaction that has locked the last row of every table, so that batches come to it at their end.
    ///
    /// # Errors
    /// The server refuses.
    pub(super) fn of_last_rows(database: &Database) -> Result<Self> {
        let mut client = database.connect()?;
        let tables = tables(&mut client, &["r"])?;
        client.batch_execute("BEGIN")?;
        for table in tables {
            let lock = format!("SELECT FROM {table} ORDER BY ctid DESC LIMIT 1 FOR UPDATE");
            client.batch_execute(&lock).context("could not lock the last rows")?;
        }
        Ok(Self { client, observer: database.connect()? })
    }

    /// Wait until a server process waits for a lock, do something with it, and let it go on. Nothing is done once
    /// `finished` holds: the process did not have to wait.
    ///
    /// # Errors
    /// The server refuses, or `action` failed.
    pub(super) fn when_waiting(
        mut self,
        pid: i32,
        finished: &AtomicBool,
        action: impl FnOnce(&mut Client) -> Result<()>,
    ) -> Result<()> {
        let waits = "SELECT coalesce(wait_event_type = 'Lock', false) FROM pg_stat_activity WHERE pid = $1";
        while !finished.load(Ordering::SeqCst) {
            match self.observer.query_opt(waits, &[&pid])?.map(|row| row.get(0)) {
                Some(false) => thread::sleep(Duration::from_millis(1)),
                Some(true) => {
                    action(&mut self.observer)?;
                    break;
                }
                None => break,
            }
        }
        self.client.batch_execute("ROLLBACK")?;
        Ok(())
    }
}

/// The names, as SQL, of the relations of some kinds (`pg_class.relkind`).
fn tables(client: &mut Client, kinds: &[&str]) -> Result<Vec<String>> {
    let rows = client.query(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind::text = ANY ($1) AND oid >= 16384
            AND relnamespace <> ALL (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_')",
        &[&kinds],
    )?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
