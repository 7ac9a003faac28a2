//! What happens when a statement that was committed early runs a second time.
//!
//! Everything in front of an autocommit block is committed by it, but the revision is stamped only
//! at its end. Should the migration be interrupted in between, those statements run again.

use crate::catalog::{Catalog, Presence};
use crate::migration::Direction;
use crate::operations::{Column, ConstraintKind, Operation, OperationKind, Receiver, TableArg};
use crate::python::value::Arg;
use crate::recipe::{Action, Change, Cost, Lock, Recipe, Step};
use crate::settings::Target;

/// Whether a statement can run a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    AsItIs,
    /// With this keyword set to `True`.
    With(&'static str),
    /// `batch_op.drop_constraint` knows no `if_exists`, `op.drop_constraint` does.
    OutsideOfBatch,
    Impossible,
}

/// How a statement is made to run a second time.
#[must_use]
pub fn how(operation: &Operation, target: &Target) -> How {
    let sql = operation.origin.sql.is_some();
    let in_batch = matches!(operation.origin.receiver, Receiver::Batch(_));
    // SQL always had the words for it.
    let column_keywords = sql || target.column_if_exists();
    let constraint_keywords = sql || target.constraint_if_exists();
    let table_keywords = sql || target.table_if_exists();
    let index_keywords = sql || (target.alembic.is_some() && target.index_if_exists());
    let (keyword, known) = match &operation.kind {
        OperationKind::DropConstraint { if_exists: false, .. }
            if in_batch && target.constraint_if_exists() =>
        {
            return How::OutsideOfBatch;
        }
        OperationKind::DropColumn { if_exists: false, .. } => ("if_exists", column_keywords),
        OperationKind::DropConstraint { if_exists: false, .. } => ("if_exists", constraint_keywords),
        OperationKind::EnumType { checkfirst: false, .. } => return How::With("checkfirst"),
        // `if_not_exists` is about the table or the column. Whatever SQLAlchemy sends as a statement of its
        // own is sent in any case.
        OperationKind::CreateTable { definition, .. }
            if !definition.indexes.is_empty() || definition.columns.iter().any(creates_type) =>
        {
            return How::Impossible;
        }
        OperationKind::AddColumn { definition, .. }
            if !definition.indexes.is_empty()
                || definition
                    .constraints
                    .iter()
                    .any(|constraint| constraint.kind != ConstraintKind::Check) =>
        {
            return How::Impossible;
        }
        OperationKind::AddColumn { if_not_exists: false, .. } => ("if_not_exists", column_keywords),
        OperationKind::CreateTable { if_not_exists: false, .. } => ("if_not_exists", table_keywords),
        OperationKind::DropTable { if_exists: false, .. } => ("if_exists", table_keywords),
        OperationKind::CreateIndex(index) if !index.if_not_exists => ("if_not_exists", index_keywords),
        OperationKind::DropIndex(index) if !index.if_exists => ("if_exists", index_keywords),
        OperationKind::DropObject { if_exists: false, .. } => ("if_exists", sql),
        OperationKind::AddEnumValue { if_not_exists: false, .. } if sql => ("if_not_exists", true),
        OperationKind::AddConstraint(_)
        | OperationKind::CreateObject { again: false, .. }
        | OperationKind::RenameObject { .. }
        | OperationKind::AttachPartition { .. }
        | OperationKind::DetachPartition { .. }
        | OperationKind::RenameTable { .. }
        | OperationKind::RenameIndex { .. }
        | OperationKind::RenameConstraint { .. }
        | OperationKind::AddEnumValue { if_not_exists: false, .. }
        | OperationKind::CreateDomain { .. }
        | OperationKind::Truncate { .. }
        | OperationKind::SyncEnum { .. }
        | OperationKind::Opaque { .. } => return How::Impossible,
        OperationKind::AlterColumn(alter) if !alter.new_name.is_none() => return How::Impossible,
        OperationKind::Update(update) if update.text.as_ref().is_ok_and(|text| !text.repeatable) => {
            return How::Impossible;
        }
        OperationKind::Harmless { sql: Some(sql) }
            if sql.trim_start().to_lowercase().starts_with("insert") =>
        {
            return How::Impossible;
        }
        _ => return How::AsItIs,
    };
    let callable = sql || !matches!(operation.origin.receiver, Receiver::Bind | Receiver::Other);
    let possible = known && callable && operation.origin.fixed_in_place.is_none();
    if possible { How::With(keyword) } else { How::Impossible }
}

/// Whether SQLAlchemy creates a type together with the column's table.
fn creates_type(column: &Column) -> bool {
    column.type_.as_ref().is_some_and(|type_| {
        (type_.contains("Enum(") || type_.contains("ENUM("))
            && !type_.contains("create_type=False")
            && !type_.contains("native_enum=False")
    })
}

/// `op.drop_constraint(…, if_exists=True)`, in place of `batch_op.drop_constraint`.
#[must_use]
pub fn drop_constraint() -> Recipe {
    let change = Change { set: vec![("if_exists", "True")], ..Change::default() };
    let step = Step {
        action: Action::Original(change),
        lock: Lock::AccessExclusive,
        cost: Cost::Instant,
        for_rerun: true,
    };
    Recipe::new(vec![step])
}

/// Whether a statement succeeds on a first run, as far as is known: what it creates is not there
/// yet, what it drops is there. Somebody has run every upgrade, but downgrades are often broken: there it
/// must be known for sure.
#[must_use]
pub fn succeeds_first(operation: &Operation, direction: Direction, catalog: &Catalog) -> bool {
    match needs(operation, catalog) {
        Some(Needs::Absent(presence)) => presence != Presence::Yes,
        Some(Needs::Present(presence)) if direction == Direction::Upgrade => presence != Presence::No,
        Some(Needs::Present(presence)) => presence == Presence::Yes,
        None => true,
    }
}

/// Whether a statement fails for sure: what it creates is there already, what it drops is not.
#[must_use]
pub fn fails_first(operation: &Operation, catalog: &Catalog) -> bool {
    !operation.conditional
        && match needs(operation, catalog) {
            Some(Needs::Absent(presence)) => presence == Presence::Yes,
            Some(Needs::Present(presence)) => presence == Presence::No,
            None => false,
        }
}

/// What a statement needs, and whether it is so.
enum Needs {
    Absent(Presence),
    Present(Presence),
}

fn needs(operation: &Operation, catalog: &Catalog) -> Option<Needs> {
    let column = |table: &TableArg, name: Option<&str>| {
        let (Some(table), Some(name)) = (table.known(), name) else { return Presence::Maybe };
        match catalog.table(&table) {
            Some(known) if known.columns.iter().any(|column| column.name == name) => Presence::Yes,
            Some(known) if known.complete => Presence::No,
            _ => Presence::Maybe,
        }
    };
    let index = |table: &TableArg, name: &Arg| {
        let schema = table.schema.as_str().filter(|schema| *schema != "public");
        name.value
            .symbol()
            .map_or(Presence::Maybe, |name| catalog.index_presence(table.known().as_ref(), schema, name))
    };
    let constraint = |table: &TableArg, name: &Arg| match (table.known(), name.value.symbol()) {
        (Some(table), Some(name)) => catalog.constraint_presence(&table, name),
        _ => Presence::Maybe,
    };
    Some(match &operation.kind {
        OperationKind::AddColumn { table, definition, if_not_exists: false } => {
            Needs::Absent(column(table, definition.columns.first().map(|new| new.name.as_str())))
        }
        OperationKind::DropColumn { table, column: name, if_exists: false } => {
            Needs::Present(column(table, name.as_str()))
        }
        OperationKind::AlterColumn(alter) if !alter.new_name.is_none() => {
            Needs::Present(column(&alter.table, alter.column.as_str()))
        }
        OperationKind::DropTable { table, if_exists: false } | OperationKind::RenameTable { table, .. } => {
            let known = table.known().is_some_and(|table| catalog.table(&table).is_some());
            Needs::Present(if known { Presence::Yes } else { Presence::Maybe })
        }
        OperationKind::CreateIndex(create) if !create.if_not_exists => {
            Needs::Absent(index(&create.table, &create.name))
        }
        OperationKind::DropIndex(drop) if !drop.if_exists => Needs::Present(index(&drop.table, &drop.name)),
        OperationKind::AddConstraint(add) => Needs::Absent(constraint(&add.table, &add.name)),
        OperationKind::DropConstraint { table, name, if_exists: false } => {
            Needs::Present(constraint(table, name))
        }
        _ => return None,
    })
}
