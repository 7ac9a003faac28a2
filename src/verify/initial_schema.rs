//! What a database has before its first revision runs, where a history doesn't make all of its tables.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::proof::run_script;
use super::server::Database;

/// A file of SQL.
#[derive(Debug)]
pub(crate) struct InitialSchema {
    path: PathBuf,
    sql: String,
}

impl InitialSchema {
    /// # Errors
    /// The file can't be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))?;
        // `pg_dump` writes `\restrict` for psql.
        let lines = text.lines().map(|line| if line.starts_with('\\') { "" } else { line });
        Ok(Self { path: path.to_path_buf(), sql: lines.collect::<Vec<_>>().join("\n") })
    }

    /// # Errors
    /// A statement fails; or revisions would have run already, so that they can't be compared.
    pub(crate) fn make(&self, database: &Database) -> Result<()> {
        let path = self.path.display();
        if let Some(failure) = run_script(database, &self.sql)? {
            bail!(
                "{path}: {}\nhint: `pg_dump --schema-only --no-owner --no-privileges` writes what runs anywhere",
                failure.message
            );
        }
        let mut client = database.connect()?;
        let is_stamped = client.query_one("SELECT to_regclass('alembic_version') IS NOT NULL", &[])?.get(0)
            && client.query_opt("SELECT FROM alembic_version LIMIT 1", &[])?.is_some();
        if is_stamped {
            bail!(
                "{path}: it fills alembic_version, but a proof begins before the first revision\n\
                 hint: leave out the rows, and what revisions have made"
            );
        }
        Ok(())
    }
}
