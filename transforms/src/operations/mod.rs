//! The intermediate representation: what a migration does, however it is spelled.
//!
//! `op.create_index(…)`, `batch_op.create_index(…)` and, where it can be read, `op.execute("CREATE
//! INDEX …")` become the same [`Operation`], which remembers where it came from.
//!
//! **Architecture Invariant:** a rule looks at [`OperationKind`] only; [`Origin`] is for `layout`.

mod calls;
pub(crate) mod guard;
mod index;
mod lock;
mod modules;
pub mod sql;
mod types;
pub(crate) mod update;
mod walk;

use std::borrow::Cow;
use std::sync::Arc;

use ruff_text_size::TextRange;

use crate::python::text::Text;
use crate::python::value::{Arg, BatchId, Dialects, Value};

pub(crate) use calls::{callee, writes_log};
pub use index::IndexOptions;
pub use lock::Locked;
pub use modules::{ELSEWHERE, Entrance, Modules, Uses, has_parameters};
pub(crate) use walk::names::assign;
pub(crate) use walk::names::assigned;
pub use walk::{Functions, Walked};

/// One thing that a migration does to the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    pub kind: OperationKind,
    pub origin: Origin,
    /// Whether it may be skipped when the migration runs (an `if` that can't be decided, `try`, a
    /// loop over values that are not known).
    pub conditional: bool,
    /// Whether it stands in an `autocommit_block()`.
    pub autocommit: bool,
    /// The databases on which it runs.
    pub dialects: Dialects,
    /// Whether it stands in a `with` block that limits how long it waits for a lock.
    pub lock_timeout: bool,
}

/// Where an operation stands in the source.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The call.
    pub call: TextRange,
    /// What is called (`op.create_index`).
    pub callee: TextRange,
    /// The statement whose expression the call is, or the statement that contains it.
    pub statement: TextRange,
    /// The statement of `upgrade` or `downgrade` that leads to it: another one where it stands in a function that is
    /// called there.
    pub within: TextRange,
    /// How the author spelled the receiver.
    pub receiver: Receiver,
    /// Why the statement can't be moved into a block of its own, if so.
    pub fixed_in_place: Option<&'static str>,
    /// Whether an `except` around it goes on when it fails.
    pub swallowed: bool,
    /// A condition around it keeps its answer until all that it guards is done: it may find itself done.
    pub kept: bool,
    /// Part of a loop body, or of a function that is called with parameters: the same call may
    /// stand for several operations, and names must be spelled as the author spelled them.
    pub repeated: bool,
    /// Where in its SQL text it stands, if it is SQL.
    pub sql: Option<SqlOrigin>,
    /// The conditions around it that ask the database, by their places in [`Walked::guards`].
    pub guards: Vec<usize>,
    /// The `except` clauses around it that go on when it fails.
    pub handlers: Vec<TextRange>,
    /// Which of the operations of a function of another module that the call is; 0 when it is none.
    pub nth: usize,
    /// In a function that is called: how many of `guards` stand around the call.
    pub guards_of_call: Option<usize>,
    /// Where the operation itself stands, when the call is one of a function of another module.
    pub elsewhere: Option<Arc<Elsewhere>>,
}

/// The place of an operation in a module of the project.
#[derive(Debug, Clone, PartialEq)]
pub struct Elsewhere {
    /// The name under which the module is known.
    pub module: String,
    pub origin: Origin,
}

/// Where an operation stands in SQL text.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlOrigin {
    pub text: Arc<Text>,
    pub place: sql::Place,
}

impl Origin {
    /// What tells the operation apart from others of the file: one call can be several.
    #[must_use]
    pub fn key(&self) -> (u32, u32, usize, usize) {
        let (statement, action) = self
            .sql
            .as_ref()
            .map_or((self.nth, 0), |sql| (sql.place.statement.start, sql.place.action.start));
        (self.call.start().to_u32(), self.call.end().to_u32(), statement, action)
    }

    /// Whether the text of the call says nothing else.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.sql.as_ref().is_none_or(|sql| sql.place.statements == 1 && sql.place.actions == 1)
    }

    /// What a report points at: what is called, or the SQL.
    #[must_use]
    pub fn place(&self) -> TextRange {
        let sql = self.sql.as_ref().and_then(|sql| {
            let source = sql.text.start_of(&sql.place.action)?;
            let words = sql.text.value[sql.place.action.clone()].lines().next().unwrap_or_default();
            let end = sql.place.action.start + words.len();
            let end = sql.text.end_of(&(sql.place.action.start..end))?;
            (end > source).then(|| TextRange::new(source, end))
        });
        sql.unwrap_or(self.callee)
    }
}

/// The object on which an operation's method is called.
#[derive(Debug, Clone, PartialEq)]
pub enum Receiver {
    /// `op`, under the author's name for it (`op`, `o`, `alembic.op`).
    Op(String),
    /// A bare function (`from alembic.op import create_index`).
    Function,
    /// `batch_op` of a `with op.batch_alter_table(…)` block.
    Batch(Box<Batch>),
    /// The migration's own connection (`op.get_bind()`), or a function of ours that uses it.
    Bind,
    /// Anything else that executes SQL (an engine, a session).
    Other,
}

/// A `with op.batch_alter_table(…) as batch_op:` block.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub id: BatchId,
    pub table: Arg,
    pub schema: Arg,
    /// The author's name for `op` in the header.
    pub op: String,
    /// `recreate="always"`: the table is copied, on PostgreSQL too.
    pub recreated: bool,
}

/// A table, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// `None` is the default schema; `public` is read as that.
    pub schema: Option<String>,
    pub name: String,
}

impl TableName {
    #[must_use]
    pub fn new(schema: Option<&str>, name: &str) -> Self {
        let schema = schema.filter(|schema| *schema != "public").map(str::to_owned);
        Self { schema, name: name.to_owned() }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{schema}.")?;
        }
        f.write_str(&self.name)
    }
}

/// The table argument and the schema argument of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct TableArg {
    pub name: Arg,
    pub schema: Arg,
}

impl TableArg {
    /// The table, when both parts are known or at least spelled the same wherever they are meant.
    #[must_use]
    pub fn known(&self) -> Option<TableName> {
        let schema = match &self.schema.value {
            Value::None => None,
            schema => Some(schema.symbol()?),
        };
        Some(TableName::new(schema, self.name.value.symbol()?))
    }
}

/// A part of an index key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexElement {
    Column(String),
    /// An expression, as SQL when it is known.
    Expression(Option<String>),
}

impl std::fmt::Display for IndexElement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Column(sql) | Self::Expression(Some(sql)) => sql,
            Self::Expression(None) => "(an expression)",
        })
    }
}

/// The kinds of constraints that have a name of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConstraintKind {
    PrimaryKey,
    Unique,
    ForeignKey,
    Check,
    Exclude,
}

impl ConstraintKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::PrimaryKey, Self::Unique, Self::ForeignKey, Self::Check, Self::Exclude];
}

/// A column as `sa.Column(…)` declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    /// The type as SQLAlchemy code, white space folded (`sa.String(length=50)`), or as SQL. What comes
    /// from another package has that in front (`app.types.Money`).
    pub type_: Option<String>,
    pub nullable: bool,
    /// What the server fills it with, as SQL; `Some(None)` when there is something (an identity, a
    /// sequence of its own), or there may be, but its text is not known.
    pub server_default: Option<Option<String>>,
}

/// A constraint of a table, declared with it or added later.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    /// As given; `Value::None` is left to PostgreSQL (or to a naming convention).
    pub name: Value,
    pub kind: ConstraintKind,
    /// Empty when they are not known.
    pub columns: Vec<String>,
    /// The condition of a check, when it is SQL text.
    pub condition: Option<String>,
    /// What a unique constraint says of its index.
    pub options: IndexOptions,
    /// What a call of its own would say, where it comes with a column and is not SQL text; or why that is not known.
    pub inline: Option<Result<InlineConstraint, String>>,
}

/// A constraint of a column, as a call of its own would say it.
#[derive(Debug, Clone, PartialEq)]
pub struct InlineConstraint {
    /// As given; the table and the column are its column's.
    pub name: Arg,
    /// The table and the column that a foreign key references.
    pub referent: Option<(TableName, String)>,
    /// The condition of a check.
    pub condition: Option<Arg>,
    /// Keywords that `create_foreign_key` and the like know, too.
    pub keywords: Vec<(&'static str, Arg)>,
}

/// An index that is declared with its table or column.
#[derive(Debug, Clone, PartialEq)]
pub struct DeclaredIndex {
    pub name: Option<String>,
    pub unique: bool,
    pub elements: Vec<IndexElement>,
    pub options: IndexOptions,
}

/// What comes with a column or a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Definition {
    pub columns: Vec<Column>,
    pub constraints: Vec<Constraint>,
    pub indexes: Vec<DeclaredIndex>,
    /// The tables that its foreign keys reference; `None` where that is not known.
    pub references: Vec<Option<TableName>>,
    /// Something in it could not be read.
    pub incomplete: bool,
    pub partitioned: bool,
    /// The table that it is a partition of.
    pub partition_of: Option<TableName>,
    /// Where the values of an added column come from.
    pub generated: Option<Generated>,
    /// A foreign key of an added column is part of `ADD COLUMN`, and no statement of its own.
    pub inline_references: bool,
}

/// Where the values of a column come from that its author did not give row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Generated {
    /// `DEFAULT`, as SQL; and as the argument that can be repeated, when it is one.
    Default { sql: String, default: Option<Arg> },
    /// `SERIAL`.
    Serial,
    /// `GENERATED … AS IDENTITY`.
    Identity,
    /// `GENERATED … STORED`.
    Stored,
}

/// What is neither a table nor an index nor a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    View,
    MaterializedView,
    /// A type or a domain.
    Type,
    Schema,
    /// Functions, triggers, sequences and all else that changes no table by coming or going.
    Routine,
    Other,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq)]
pub enum OperationKind {
    CreateTable {
        table: TableArg,
        definition: Definition,
        if_not_exists: bool,
    },
    DropTable {
        table: TableArg,
        if_exists: bool,
    },
    RenameTable {
        table: TableArg,
        new_name: Arg,
    },
    AddColumn {
        table: TableArg,
        definition: Definition,
        if_not_exists: bool,
    },
    DropColumn {
        table: TableArg,
        column: Arg,
        if_exists: bool,
    },
    AlterColumn(AlterColumn),
    /// A column of another type, with all that is on the old one, has taken its place.
    ReplaceColumn {
        table: TableArg,
        column: String,
        type_: String,
    },
    CreateIndex(CreateIndex),
    DropIndex(DropIndex),
    AddConstraint(AddConstraint),
    DropConstraint {
        table: TableArg,
        name: Arg,
        if_exists: bool,
    },
    /// `VALIDATE CONSTRAINT`.
    ValidateConstraint {
        table: TableName,
        name: String,
    },
    /// `ADD CONSTRAINT … USING INDEX`.
    UseIndex {
        table: TableName,
        name: String,
        index: String,
        kind: ConstraintKind,
    },
    RenameIndex {
        schema: Option<String>,
        old: String,
        new: String,
    },
    RenameConstraint {
        table: TableName,
        old: String,
        new: String,
    },
    /// `REINDEX`; of neither index nor table when it is about a schema or all of the database.
    Reindex {
        /// Schema and name.
        index: Option<(Arg, Arg)>,
        table: Option<TableArg>,
        concurrently: bool,
    },
    /// `ALTER TABLE … ATTACH PARTITION`.
    AttachPartition {
        table: TableArg,
        partition: TableArg,
    },
    /// `ALTER TABLE … DETACH PARTITION`.
    DetachPartition {
        table: TableArg,
        partition: TableArg,
    },
    /// Something is created that is no table, which the catalog does not keep.
    CreateObject {
        object: Object,
        name: Option<TableName>,
        /// `OR REPLACE`, `IF NOT EXISTS`: it can be done again.
        again: bool,
    },
    /// Such a thing is dropped.
    DropObject {
        object: Object,
        name: Option<TableName>,
        if_exists: bool,
    },
    /// Such a thing gets another name; a type with both names.
    RenameObject {
        type_: Option<(TableName, String)>,
    },
    /// `ALTER TYPE … ADD VALUE`.
    AddEnumValue {
        type_: TableName,
        value: String,
        if_not_exists: bool,
    },
    /// `CREATE DOMAIN`.
    CreateDomain {
        domain: TableName,
        /// With `CHECK` or `NOT NULL`.
        constrained: bool,
    },
    /// `TRUNCATE`.
    Truncate {
        table: TableArg,
    },
    /// Rows, comments, settings: nothing that the catalog keeps. The text when it is SQL.
    Harmless {
        sql: Option<String>,
    },
    /// `sa.Enum(…).create(bind)` or `.drop(bind)`.
    EnumType {
        /// As code.
        type_: String,
        /// Whether it looks first whether there is something to do.
        checkfirst: bool,
    },
    /// `op.sync_enum_values(…)` of alembic-postgresql-enum: an enum with other values takes the place of one in all of
    /// its columns, by `ALTER COLUMN … TYPE … USING …::text::…`.
    SyncEnum {
        type_: Arg,
        /// Those that have such columns, when they are known.
        tables: Option<Vec<TableName>>,
    },
    /// `COMMIT`, said to the database behind Alembic's back.
    Commit,
    /// Not understood.
    Opaque {
        reason: String,
        sql: Option<String>,
    },
    /// Rows are changed, which the catalog does not keep.
    Update(Update),
}

/// `UPDATE`.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub table: TableArg,
    /// The columns that its condition compares with constants.
    pub pinned: Vec<String>,
    /// The columns that it sets; none, if they are not known.
    pub sets: Vec<String>,
    /// All words of the text; none, if it is no text.
    pub words: Vec<String>,
    /// Its parts, or why it can't be cut into batches.
    pub text: Result<UpdateText, String>,
}

/// The parts of an `UPDATE` of one table, as its author wrote them, on one line.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateText {
    /// The table and its alias.
    pub target: String,
    pub aliased: bool,
    /// What its rows are called, where other tables are joined.
    pub row: Option<String>,
    /// From `SET` to `WHERE`.
    pub set: String,
    /// What follows `WHERE`.
    pub condition: Option<String>,
    /// What a column is set to, where that is a literal.
    pub literals: Vec<(String, String)>,
    /// Columns that a row must have `NULL` (`None`) or a literal in, to be updated.
    pub compared: Vec<(String, Option<String>)>,
    /// The words of its condition and of the values that it sets.
    pub reads: Vec<String>,
    /// A second run leads to the same rows.
    pub repeatable: bool,
    /// The condition does not hold any more for a row that was updated.
    pub excludes_done: bool,
}

impl Update {
    /// Whether this statement, run again after `later` has run, may lead to other rows than at first.
    #[must_use]
    pub fn is_changed_by(&self, later: &Self) -> bool {
        let same =
            self.table.known().is_none_or(|table| later.table.known().is_none_or(|other| table == other));
        let named = later.table.known().is_some_and(|table| self.words.contains(&table.name.to_lowercase()));
        let (true, Ok(first), Ok(second)) = (same, &self.text, &later.text) else {
            let unknown = self.words.is_empty() || later.sets.is_empty();
            return if unknown {
                same
            } else {
                named && later.sets.iter().any(|set| self.words.contains(set))
            };
        };
        let excluded = second.literals.iter().any(|(column, value)| {
            first.compared.iter().any(|(name, before)| name == column && before.as_deref() != Some(value))
        });
        // What this sets again must be set again by the later one.
        let is_restored = !self.sets.iter().any(|column| later.sets.contains(column))
            || later.sets.iter().all(|column| !second.reads.contains(column) || self.sets.contains(column));
        !excluded && later.sets.iter().any(|column| first.reads.contains(column)) || !is_restored
    }
}

/// `alter_column`.
#[derive(Debug, Clone, PartialEq)]
pub struct AlterColumn {
    pub table: TableArg,
    pub column: Arg,
    pub new_name: Arg,
    /// What it shall be; `None` when that is not given, or not known.
    pub nullable: Option<bool>,
    /// What it is now, as far as it is said.
    pub existing_nullable: Option<bool>,
    /// The new type as SQLAlchemy code or as SQL, white space folded.
    pub type_: Option<String>,
    /// The type that it is said to have now.
    pub existing_type: Option<String>,
    /// The new server default, as SQL, when it is known.
    pub server_default: Option<String>,
    /// How old values are converted, as SQL; `Some(None)` when that is given but not known.
    pub using: Option<Option<String>>,
    /// That is one cast of the column, which changes nothing when the column has the new type already.
    pub using_cast: bool,
    /// The keywords that the call gives.
    pub keywords: Vec<String>,
}

/// `create_index`.
#[expect(clippy::struct_excessive_bools, reason = "a word of the statement is a bool")]
#[derive(Debug, Clone, PartialEq)]
pub struct CreateIndex {
    pub name: Arg,
    pub table: TableArg,
    pub elements: Option<Vec<IndexElement>>,
    pub unique: bool,
    pub options: IndexOptions,
    pub concurrently: bool,
    pub if_not_exists: bool,
    /// `ON ONLY`: of a partitioned table, without its partitions.
    pub only: bool,
    /// What follows the table's name in SQL (`(a, b) WHERE c`), when it is known.
    pub definition: Option<String>,
}

/// `drop_index`.
#[derive(Debug, Clone, PartialEq)]
pub struct DropIndex {
    pub name: Arg,
    pub table: TableArg,
    pub concurrently: bool,
    pub if_exists: bool,
    pub cascade: bool,
}

/// A constraint that is added to a table.
#[derive(Debug, Clone, PartialEq)]
pub struct AddConstraint {
    pub name: Arg,
    pub table: TableArg,
    pub kind: ConstraintKind,
    /// The constrained columns, when they are known.
    pub columns: Option<Vec<String>>,
    /// The condition of a check, when it is SQL text.
    pub condition: Option<String>,
    /// The table that a foreign key references.
    pub referent: Option<TableArg>,
    pub not_valid: bool,
    /// `Some(None)` when given but not understood.
    pub deferrable: Option<Option<bool>>,
    pub initially: Option<Option<String>>,
    /// What a unique constraint says of its index.
    pub options: IndexOptions,
    /// The keywords that the call gives.
    pub keywords: Vec<String>,
}

impl Operation {
    /// The operation in the module whose function does it, if that is not the migration itself.
    #[must_use]
    pub fn where_it_stands(&self) -> Cow<'_, Self> {
        match &self.origin.elsewhere {
            Some(elsewhere) => Cow::Owned(Self { origin: elsewhere.origin.clone(), ..self.clone() }),
            None => Cow::Borrowed(self),
        }
    }

    /// The tables that its foreign keys reference; `None` for one that is not known.
    #[must_use]
    pub fn references(&self) -> Vec<Option<TableName>> {
        match &self.kind {
            OperationKind::CreateTable { definition, .. } | OperationKind::AddColumn { definition, .. } => {
                definition.references.clone()
            }
            OperationKind::AddConstraint(add) if add.kind == ConstraintKind::ForeignKey => {
                vec![add.referent.as_ref().and_then(TableArg::known)]
            }
            _ => Vec::new(),
        }
    }
}

impl OperationKind {
    /// The table that the operation changes.
    #[must_use]
    pub fn table(&self) -> Option<&TableArg> {
        match self {
            Self::CreateTable { table, .. }
            | Self::DropTable { table, .. }
            | Self::RenameTable { table, .. }
            | Self::AddColumn { table, .. }
            | Self::DropColumn { table, .. }
            | Self::DropConstraint { table, .. }
            | Self::AttachPartition { table, .. }
            | Self::DetachPartition { table, .. }
            | Self::Truncate { table } => Some(table),
            Self::Reindex { table, .. } => table.as_ref(),
            Self::AlterColumn(alter) => Some(&alter.table),
            Self::CreateIndex(index) => Some(&index.table),
            Self::DropIndex(index) => Some(&index.table),
            Self::AddConstraint(constraint) => Some(&constraint.table),
            Self::Update(update) => Some(&update.table),
            _ => None,
        }
    }
}
