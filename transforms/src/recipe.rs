//! What a rule answers: the steps that reach the same schema with weaker locks.
//!
//! **Architecture Invariant:** nothing here is text of a program. `layout` prints it.

use crate::catalog::Index;
use crate::operations::{ConstraintKind, TableArg};
use crate::python::value::Arg;
use crate::revision;

/// A table lock. Source: PostgreSQL manual, "Explicit Locking", table 13.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}

impl Lock {
    /// Whether others cannot write to the table: all that conflicts with ROW EXCLUSIVE.
    #[must_use]
    pub fn stops_writers(self) -> bool {
        self >= Self::Share
    }
}

impl Lock {
    const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// The lock with which a sentence begins: "SHARE on `t` while …".
    #[must_use]
    pub fn at_start(text: &str) -> Option<Self> {
        let named = Self::ALL.into_iter().filter(|lock| text.starts_with(&lock.to_string()));
        named.max_by_key(|lock| lock.to_string().len())
    }
}

impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::AccessShare => "ACCESS SHARE",
            Self::RowShare => "ROW SHARE",
            Self::RowExclusive => "ROW EXCLUSIVE",
            Self::ShareUpdateExclusive => "SHARE UPDATE EXCLUSIVE",
            Self::Share => "SHARE",
            Self::ShareRowExclusive => "SHARE ROW EXCLUSIVE",
            Self::Exclusive => "EXCLUSIVE",
            Self::AccessExclusive => "ACCESS EXCLUSIVE",
        })
    }
}

/// How long a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Only the catalogs change.
    Instant,
    /// Every row is read.
    Scan,
    /// An index is built.
    Build,
    /// Every row is written.
    Rewrite,
    /// Every row is written, some at a time.
    Batches,
}

impl Cost {
    /// The end of "ACCESS EXCLUSIVE on t …".
    #[must_use]
    pub fn duration(self) -> &'static str {
        match self {
            Self::Instant => "for a moment",
            Self::Scan => "while every row is checked",
            Self::Build => "while the index is built",
            Self::Rewrite => "while the table is rewritten",
            Self::Batches => "on the rows of one batch at a time",
        }
    }
}

/// The steps that take the place of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recipe {
    pub steps: Vec<Step>,
    pub applicability: Applicability,
    /// What a new revision at the head has to do.
    pub new_revision: Vec<revision::Step>,
    pub around: Around,
}

/// What the steps stand in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Around {
    /// An autocommit block: each runs in a transaction of its own.
    #[default]
    AutocommitBlock,
    /// Nothing: the call stays in its place and in its transaction, and only says something else.
    Nothing,
    /// Where the author's call stands, with this `lock_timeout` as long as it runs.
    LockTimeout(String),
}

/// Whether a fix is applied without being asked for by name; ruff's word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Applicability {
    /// The database is what it would have been, for everybody who uses it.
    #[default]
    Safe,
    /// Something that the migration's author may rely on is different: applied with `--unsafe-fixes`.
    Unsafe,
}

impl Applicability {
    /// As ruff prints it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Unsafe => "unsafe",
        }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub action: Action,
    pub lock: Lock,
    pub cost: Cost,
    /// Only needed when the migration runs again after an interruption.
    pub for_rerun: bool,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The author's call, with these changes.
    Original(Change),
    /// Nothing: the call is left out, and so is the one that undoes it in the other function.
    LeaveOut,
    /// Drop the INVALID index that an interrupted concurrent build leaves.
    DropInvalidIndex { index: Name, schema: Arg },
    /// `DROP INDEX CONCURRENTLY IF EXISTS`.
    DropIndex { index: Name, schema: Arg },
    /// `ALTER TABLE … DROP CONSTRAINT IF EXISTS`.
    DropConstraint { table: TableArg, name: Name },
    /// `ALTER TABLE … VALIDATE CONSTRAINT`.
    ValidateConstraint { table: TableArg, name: Name },
    /// `ALTER TABLE … ADD CONSTRAINT … UNIQUE USING INDEX`, or `PRIMARY KEY`; `attributes` is
    /// `DEFERRABLE …` or empty. With `once`, it may fail when it runs a second time.
    UsingIndex { kind: ConstraintKind, table: TableArg, name: Name, attributes: String, once: bool },
    /// `ALTER TABLE … ADD CONSTRAINT … CHECK (… IS NOT NULL) NOT VALID`; with `native` the not-null
    /// constraint itself is `NOT VALID` (PostgreSQL 18).
    AddNotNull { table: TableArg, column: Arg, name: Name, native: bool },
    /// A call that the author did not write.
    Call(Call),
    /// `UPDATE` in batches, each in a transaction of its own.
    Backfill(Backfill),
    /// SQL whose names are all known.
    Execute(String),
    /// `alter_column(…, server_default=…)`.
    SetDefault { table: TableArg, column: String, default: Arg },
    /// `alter_column(…, nullable=False)`.
    SetNotNull { table: TableArg, column: Arg },
    /// A validated check that a column has no NULL, under a name that follows from those of table and column, which
    /// may only be known when the migration runs.
    ProveNotNull { table: TableArg, column: Arg },
    /// Drop that check.
    DropNotNullProof { table: TableArg, column: Arg },
    /// `alter_column(…, new_column_name=…)`. It can't run a second time, so it runs in the transaction that stamps the
    /// revision.
    RenameColumn { table: TableArg, column: Arg, new_name: Arg },
    /// A step of the change of the types of one table's columns.
    ChangeTypes { table: TableArg, columns: Vec<TypeChange>, step: TypeStep },
}

/// The change of one column's type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeChange {
    pub column: String,
    /// The new type, as SQL.
    pub type_: String,
    /// The new value, as SQL, where it is not the old one's cast.
    pub using: Option<String>,
    /// The old value can be had from the new one, where it fits.
    pub two_way: bool,
}

/// A step of the change of columns' types: new columns take the old ones' place.
#[derive(Debug, Clone, PartialEq)]
pub enum TypeStep {
    /// Add the columns and the trigger that fills them. `indexes` are those that are copied later on.
    Start { indexes: Vec<String> },
    /// Fill them for the rows that are there.
    Fill { key: BackfillKey },
    /// Build an index with the new columns in the place of the old ones that it uses.
    CopyIndex { name: String, index: Box<Index>, columns: Vec<String> },
    /// Add their constraints, and validate them.
    CopyConstraints,
    /// Count what the planner wants to know of them.
    Analyze,
    /// Exchange the columns.
    Switch,
    /// Drop the old ones.
    DropOld,
}

/// What may be deployed between two steps of a type change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The new column is there, and is filled as rows are written.
    Expand,
    /// It is filled, and has all that the old one has.
    Backfill,
    /// It has taken the old one's place.
    Switch,
    /// The old one is gone.
    Contract,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Expand => "expand",
            Self::Backfill => "backfill",
            Self::Switch => "switch",
            Self::Contract => "contract",
        })
    }
}

/// A call of one of Alembic's operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub method: &'static str,
    pub arguments: Vec<Argument>,
    pub keywords: Vec<(&'static str, Argument)>,
}

/// An argument of a call that the author did not write.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// As the author wrote it in another call; `None` when it is absent there.
    Given(Arg),
    /// A name that no naming convention shall change: `op.f("…")`.
    Exact(String),
    Text(String),
    /// A list of texts.
    Texts(Vec<String>),
    /// Python.
    Code(&'static str),
}

impl Call {
    /// The call with the changes that a recipe makes to one whose first argument is a constraint's name.
    #[must_use]
    pub fn changed(mut self, change: &Change) -> Self {
        if let Some(method) = change.method {
            self.method = method;
        }
        if let (Some(name), Some(first)) = (&change.name, self.arguments.first_mut()) {
            *first = Argument::Text(name.clone());
        }
        self.keywords.retain(|(keyword, _)| !change.remove.contains(keyword));
        self.keywords.extend(change.set.iter().map(|(keyword, value)| (*keyword, Argument::Code(value))));
        self
    }
}

/// An `UPDATE` in batches.
#[derive(Debug, Clone, PartialEq)]
pub struct Backfill {
    /// The table, and its alias, as SQL.
    pub table: String,
    /// What its rows are called, where other tables are joined.
    pub row: Option<String>,
    pub key: BackfillKey,
    /// From `SET` to `WHERE`.
    pub set: String,
    /// What follows `WHERE`.
    pub condition: Option<String>,
}

/// What batches follow.
#[derive(Debug, Clone, PartialEq)]
pub enum BackfillKey {
    /// The columns of the primary key.
    Columns(Vec<String>),
    /// The place of a row in the table's file; the condition does not hold for what is done.
    Place,
}

/// A name in a recipe.
#[derive(Debug, Clone, PartialEq)]
pub enum Name {
    /// As the author gave it.
    Given(Arg),
    /// The author gave none, and PostgreSQL would choose this.
    Chosen(String),
}

impl Name {
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Given(arg) => arg.as_str(),
            Self::Chosen(name) => Some(name),
        }
    }
}

/// Changes to a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Change {
    /// Another method, which takes the same positional arguments.
    pub method: Option<&'static str>,
    /// Keywords that have another name there.
    pub rename: Vec<(&'static str, &'static str)>,
    /// Keywords to set, with their values as Python.
    pub set: Vec<(&'static str, &'static str)>,
    /// Keywords to leave out.
    pub remove: Vec<&'static str>,
    /// Positional arguments to leave out, by what they call (`ForeignKey`).
    pub remove_calls: Vec<&'static str>,
    /// The name for an unnamed constraint.
    pub name: Option<String>,
    /// How many of the columns of an index to keep.
    pub keep_columns: Option<usize>,
    /// Changes to the `sa.Column(…)` among its arguments.
    pub column: Option<Box<Change>>,
}

impl Recipe {
    /// A safe fix.
    #[must_use]
    pub fn new(steps: Vec<Step>) -> Self {
        Self { steps, ..Self::default() }
    }

    /// A fix that changes what the migration leads to, and nothing of how it runs.
    #[must_use]
    pub fn in_place(action: Action) -> Self {
        let step = Step { action, lock: Lock::AccessShare, cost: Cost::Instant, for_rerun: false };
        Self { applicability: Applicability::Unsafe, around: Around::Nothing, ..Self::new(vec![step]) }
    }

    /// A fix that leaves the migration as it is: a new revision follows.
    #[must_use]
    pub fn new_revision(steps: Vec<revision::Step>) -> Self {
        Self { applicability: Applicability::Unsafe, new_revision: steps, ..Self::default() }
    }

    /// The longest-held strong lock: what the finding shows as "after".
    #[must_use]
    pub fn worst(&self) -> Option<&Step> {
        self.steps.iter().filter(|step| !step.for_rerun).max_by_key(|step| (step.cost, step.lock))
    }
}
