//! What happens when a statement that was committed early runs a second time.
//!
//! Everything in front of an autocommit block is committed by it, but the revision is stamped only
//! at its end. Should the migration be interrupted in between, those statements run again.

use crate::catalog::{Catalog, Presence};
use crate::operations::{Operation, OperationKind, Receiver, TableArg};
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
    let in_batch = matches!(operation.origin.receiver, Receiver::Batch(_));
    let index_keywords = target.alembic.is_some() && target.index_if_exists();
    let (keyword, known) = match &operation.kind {
        OperationKind::AddColumn { if_not_exists: false, .. } => ("if_not_exists", target.column_if_exists()),
        OperationKind::DropConstraint { if_exists: false, .. } if in_batch && target.column_if_exists() => {
            return How::OutsideOfBatch;
        }
        OperationKind::DropColumn { if_exists: false, .. }
        | OperationKind::DropConstraint { if_exists: false, .. } => ("if_exists", target.column_if_exists()),
        OperationKind::CreateTable { if_not_exists: false, .. } => {
            ("if_not_exists", target.table_if_exists())
        }
        OperationKind::DropTable { if_exists: false, .. } => ("if_exists", target.table_if_exists()),
        OperationKind::CreateIndex(index) if !index.if_not_exists => ("if_not_exists", index_keywords),
        OperationKind::DropIndex(index) if !index.if_exists => ("if_exists", index_keywords),
        OperationKind::AddConstraint(_)
        | OperationKind::RenameTable { .. }
        | OperationKind::RenameIndex { .. }
        | OperationKind::RenameConstraint { .. }
        | OperationKind::Opaque { .. } => return How::Impossible,
        OperationKind::AlterColumn { new_name, .. } if !new_name.is_none() => return How::Impossible,
        OperationKind::Harmless { sql: Some(sql) }
            if sql.trim_start().to_lowercase().starts_with("insert") =>
        {
            return How::Impossible;
        }
        _ => return How::AsItIs,
    };
    let possible =
        known && operation.origin.receiver != Receiver::Other && operation.origin.fixed_in_place.is_none();
    if possible { How::With(keyword) } else { How::Impossible }
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
    Recipe { steps: vec![step] }
}

/// Whether a statement succeeds on a first run, as far as is known: what it creates is not there
/// yet, what it drops is there.
#[must_use]
pub fn succeeds_first(operation: &Operation, catalog: &Catalog) -> bool {
    let column = |table: &TableArg, name: Option<&str>| {
        let (Some(table), Some(name)) = (table.known(), name) else { return Presence::Maybe };
        match catalog.table(&table) {
            Some(known) if known.columns.iter().any(|column| column.name == name) => Presence::Yes,
            Some(known) if known.complete => Presence::No,
            _ => Presence::Maybe,
        }
    };
    match &operation.kind {
        OperationKind::AddColumn { table, definition, .. } => {
            definition.columns.iter().all(|new| column(table, Some(&new.name)) != Presence::Yes)
        }
        OperationKind::DropColumn { table, column: name, .. } => {
            column(table, name.as_str()) == Presence::Yes
        }
        OperationKind::AlterColumn { table, column: name, new_name, .. } if !new_name.is_none() => {
            column(table, name.as_str()) == Presence::Yes
        }
        OperationKind::DropTable { table, .. } | OperationKind::RenameTable { table, .. } => {
            table.known().is_some_and(|table| catalog.table(&table).is_some())
        }
        OperationKind::DropIndex(drop) => drop.name.value.symbol().is_some_and(|name| {
            let schema = drop.table.schema.as_str().filter(|schema| *schema != "public");
            catalog.index_presence(None, schema, name) == Presence::Yes
        }),
        OperationKind::DropConstraint { table, name, .. } => match (table.known(), name.value.symbol()) {
            (Some(table), Some(name)) => catalog.constraint_presence(&table, name) == Presence::Yes,
            _ => false,
        },
        _ => true,
    }
}
