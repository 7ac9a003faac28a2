//! What the rules and the layout have to know about the project.

use crate::naming::convention::Convention;
use crate::operations::{ConstraintKind, TableName};

/// A version, as far as it matters here.
pub type Version = (u32, u32, u32);

/// The versions that the written code must suit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// PostgreSQL's major version.
    pub postgres: u32,
    /// `None` when it can't be found out; then only what every version understands is written.
    pub alembic: Option<Version>,
    pub sqlalchemy: Option<Version>,
}

impl Default for Target {
    fn default() -> Self {
        Self { postgres: 14, alembic: None, sqlalchemy: None }
    }
}

/// How a rewritten migration behaves when it runs again after it was interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rerun {
    /// It completes.
    #[default]
    Repair,
    /// It stops with PostgreSQL's own error.
    Plain,
}

/// How a revision is divided into transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Split {
    /// In place, by `with op.get_context().autocommit_block():`.
    #[default]
    AutocommitBlock,
    /// Into several revisions.
    Revision,
}

/// Who names the constraints that have no name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Naming {
    /// PostgreSQL.
    #[default]
    Postgres,
    /// A naming convention, or it is not known whether there is one.
    Convention {
        /// Where it was found, or why it is not known.
        place: String,
        /// What it says, when that can be read.
        convention: Option<Convention>,
    },
    /// Code of the project that SQLAlchemy calls for every constraint.
    Listener {
        /// Where it was found.
        place: String,
        /// The kinds of constraints that get its names also where a migration gives one.
        renamed: Vec<ConstraintKind>,
    },
}

impl Naming {
    /// A convention that can't be read, or may be there: for that reason, or in that place.
    #[must_use]
    pub fn unknown(place: String) -> Self {
        Self::Convention { place, convention: None }
    }

    /// What the convention says, when there is one that can be read.
    #[must_use]
    pub fn convention(&self) -> Option<&Convention> {
        match self {
            Self::Postgres | Self::Listener { .. } => None,
            Self::Convention { convention, .. } => convention.as_ref(),
        }
    }

    /// Whether a constraint has another name than its migration gives it.
    #[must_use]
    pub fn renames(&self, kind: ConstraintKind) -> bool {
        matches!(self, Self::Listener { renamed, .. } if renamed.contains(&kind))
    }
}

/// Which other databases the history runs on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Portability {
    #[default]
    PostgresOnly,
    /// Batch operations: `SQLite`, perhaps.
    Sqlite,
    /// `MySQL` or others.
    Many,
}

/// Everything that the analysis is told.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub target: Target,
    pub rerun: Rerun,
    pub split: Split,
    pub naming: Naming,
    /// Detected from the history when `None`.
    pub other_databases: Option<bool>,
    /// Tables that are short enough to lock.
    pub small_tables: Vec<String>,
    /// The most columns that the key of a non-unique index should have.
    pub max_index_columns: MaxIndexColumns,
    /// How long a statement may wait for a strong lock, as PostgreSQL writes a time (`5s`); `None`
    /// where nothing shall limit it, or the connection does already.
    pub lock_timeout: Option<String>,
    /// The module that rewritten migrations import the helper functions from, as Python names it; `None` where
    /// each has its own.
    pub support_module: Option<String>,
    /// A suppression that does not say why has no effect.
    pub require_ignore_reason: bool,
}

impl Settings {
    /// Whether a table was said to be short.
    #[must_use]
    pub fn is_small(&self, table: &TableName) -> bool {
        self.small_tables.contains(&table.name) || self.small_tables.contains(&table.to_string())
    }
}

/// The most columns that the key of a non-unique index should have, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxIndexColumns(pub usize);

impl Default for MaxIndexColumns {
    fn default() -> Self {
        Self(3)
    }
}

impl Target {
    /// Whether `create_index(if_not_exists=True)` and `drop_index(if_exists=True)` do something.
    ///
    /// Alembic's changelog: 1.12.0. Measured: works from 1.11.2 with SQLAlchemy 2 and from 1.13.0
    /// with 1.4; before 1.11.2 it is silently ignored.
    #[must_use]
    pub fn index_if_exists(&self) -> bool {
        let old_sqlalchemy = self.sqlalchemy.is_some_and(|version| version < (2, 0, 0));
        let floor = if old_sqlalchemy { (1, 13, 0) } else { (1, 11, 2) };
        self.alembic.is_none_or(|version| version >= floor)
    }

    /// Whether `add_column(if_not_exists=True)` and `drop_column(if_exists=True)` are known. Alembic's
    /// changelog: 1.16.0. A `TypeError` before, so an unknown version does not count.
    #[must_use]
    pub fn column_if_exists(&self) -> bool {
        self.alembic.is_some_and(|version| version >= (1, 16, 0))
    }

    /// Whether `drop_constraint(if_exists=True)` is known: it came with the columns' keywords. With SQLAlchemy 1.4,
    /// Alembic raises a `NotImplementedError` (`alembic/operations/toimpl.py`).
    #[must_use]
    pub fn constraint_if_exists(&self) -> bool {
        self.column_if_exists() && self.sqlalchemy.is_some_and(|version| version >= (2, 0, 0))
    }

    /// Whether `create_table(if_not_exists=True)` and `drop_table(if_exists=True)` are known.
    /// Alembic's changelog: 1.13.3. Silently ignored before.
    #[must_use]
    pub fn table_if_exists(&self) -> bool {
        self.alembic.is_some_and(|version| version >= (1, 13, 3))
    }

    /// Whether `autocommit_block()` is there. Alembic's changelog: 1.2.0.
    #[must_use]
    pub fn autocommit_block(&self) -> bool {
        self.alembic.is_none_or(|version| version >= (1, 2, 0))
    }

    /// Whether `postgresql_not_valid=True` is known. SQLAlchemy's changelog: 1.4.32.
    #[must_use]
    pub fn not_valid(&self) -> bool {
        self.sqlalchemy.is_none_or(|version| version >= (1, 4, 32))
    }
}
