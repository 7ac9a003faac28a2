//! Don't keep an index that is the beginning of another one.
//!
//! ## Why is this unsafe?
//! An index over `(a)` finds nothing that one over `(a, b)` does not find as well. It takes room on
//! disk and in memory, every insert and many updates have to write it, and vacuum has to read it.
//!
//! An index is covered when its columns are the first columns of another index of the same table, with
//! the same access method, operator classes, collations, order and condition. A unique index also keeps rows
//! out: only another unique one over the same columns covers it. The index of a primary key or of a unique
//! constraint may cover others, and is never dropped itself.
//!
//! Only indexes that are still there after all revisions are reported, where the later of the two is created.
//!
//! ## Given
//! ```python
//! """Find orders by customer and date."""
//! from alembic import op
//!
//! revision = "3f2a9c1d04be"
//! down_revision = None
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.create_index("ix_orders_customer_date", "orders", ["customer_id", "placed_at"], postgresql_concurrently=True)
//! ```
//!
//! ## Unsafe
//! ```python
//! """Find orders by customer, and by status."""
//! from alembic import op
//!
//! revision = "c3a1f0927be4"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.create_index("ix_orders_customer_id", "orders", ["customer_id"], postgresql_concurrently=True, if_not_exists=True)
//!         op.create_index("ix_orders_status", "orders", ["status"], postgresql_concurrently=True, if_not_exists=True)
//!
//!
//! def downgrade():
//!     with op.get_context().autocommit_block():
//!         op.drop_index("ix_orders_status", table_name="orders", postgresql_concurrently=True, if_exists=True)
//!         op.drop_index("ix_orders_customer_id", table_name="orders", postgresql_concurrently=True, if_exists=True)
//! ```
//!
//! ## Safe
//! ```python
//! """Find orders by customer, and by status."""
//! from alembic import op
//!
//! revision = "c3a1f0927be4"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.create_index("ix_orders_status", "orders", ["status"], postgresql_concurrently=True, if_not_exists=True)
//!
//!
//! def downgrade():
//!     with op.get_context().autocommit_block():
//!         op.drop_index("ix_orders_status", table_name="orders", postgresql_concurrently=True, if_exists=True)
//! ```
//!
//! ## Fix safety
//! In the newest revision the index is not created in the first place: where that has run already, the index
//! stays. An index that older revisions leave behind is dropped by a new revision at the head. Code that
//! names the index (`REINDEX`, a planner hint) notices, and a model that declares it would bring it back.

use super::{Context, Violation};
use crate::application::{self, Study};
use crate::catalog::Index;
use crate::migration::Direction;
use crate::operations::{ConstraintKind, Operation, OperationKind, TableName};
use crate::recipe::{Action, Recipe};
use crate::revision::{NewIndex, RESTED_ON, Step};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    if context.direction == Direction::Downgrade {
        return None;
    }
    let table = creates_index(operation)?;
    let mut after = context.catalog.clone();
    after.apply(operation);
    // What is dropped or changed later on does no harm.
    let lasting = |name: &str, index: &Index| {
        context.end.index(table.schema.as_deref(), name).is_some_and(|last| last == index)
    };
    let is_older = |name: &str| context.catalog.index(table.schema.as_deref(), name).is_some();
    let there: Vec<(&str, &Index)> =
        after.indexes_of(&table).filter(|(name, index)| lasting(name, index)).collect();
    for (name, index) in there.iter().filter(|(name, _)| !is_older(name)) {
        let wider = there.iter().find(|(other, known)| {
            // Of two that are the same, the one that was there first stays.
            other != name && known.covers(index) && (!index.covers(known) || is_older(other) || *other < *name)
        });
        if let Some((wider, cover)) = wider {
            return Some(covered(name, index, wider, cover, operation, context));
        }
    }
    let new = there.iter().filter(|(name, _)| !is_older(name));
    for (name, index) in new {
        let narrower: Vec<_> =
            there.iter().filter(|(other, known)| is_older(other) && index.covers(known)).collect();
        if narrower.is_empty() {
            continue;
        }
        let names: Vec<_> = narrower.iter().map(|(name, _)| format!("`{name}`")).collect();
        let steps: Result<Vec<_>, _> = narrower.iter().map(|(name, index)| drop_later(name, index, context)).collect();
        return Some(Violation {
            message: format!(
                "Index `{name}` on `{table}` does all that {} {} for: not needed any more",
                names.join(", "),
                if names.len() == 1 { "is" } else { "are" }
            ),
            lock: format!("{} is the beginning of it", narrower.iter().map(|(_, index)| columns(index)).collect::<Vec<_>>().join(" and ")),
            fix: steps.map(Recipe::new_revision),
        });
    }
    None
}

/// `index=True` beside an `Index(…)` that begins with the column.
pub(super) fn check_models(study: &Study) -> Vec<application::Violation> {
    study.covered()
}

/// The table on which an operation creates an index, or something that has one.
fn creates_index(operation: &Operation) -> Option<TableName> {
    match &operation.kind {
        OperationKind::CreateIndex(create) => create.table.known(),
        OperationKind::AddConstraint(add)
            if matches!(add.kind, ConstraintKind::Unique | ConstraintKind::PrimaryKey) =>
        {
            add.table.known()
        }
        OperationKind::UseIndex { table, .. } => Some(table.clone()),
        OperationKind::CreateTable { table, definition, .. }
        | OperationKind::AddColumn { table, definition, .. }
            if !definition.indexes.is_empty() =>
        {
            table.known()
        }
        _ => None,
    }
}

/// An index that is created although another one does all that it would do.
fn covered(
    name: &str,
    index: &Index,
    wider: &str,
    cover: &Index,
    operation: &Operation,
    context: &Context,
) -> Violation {
    let create_alone = matches!(&operation.kind, OperationKind::CreateIndex(_));
    // PostgreSQL lets a foreign key rest on the oldest index that fits (`transformFkeyCheckAttrs` goes through
    // `RelationGetIndexList`, which sorts by OID), and those of constraints are made together with their table.
    let is_younger = create_alone && (cover.of_constraint || context.catalog.index(index.table.schema.as_deref(), wider).is_some());
    let fix = if index.unique && !is_younger && context.end.may_be_referenced(&index.table) {
        Err(RESTED_ON.to_owned())
    } else if create_alone && context.is_head {
        Ok(Recipe::in_place(Action::LeaveOut))
    } else {
        NewIndex::of(name, index).map(|index| Recipe::new_revision(vec![Step::DropIndex(index)]))
    };
    Violation {
        message: format!("Index `{name}` on `{}` is covered by `{wider}`", index.table),
        lock: format!("{} begins with {}", columns(cover), columns(index)),
        fix,
    }
}

fn drop_later(name: &str, index: &Index, context: &Context) -> Result<Step, String> {
    if index.unique && context.end.may_be_referenced(&index.table) {
        return Err(RESTED_ON.to_owned());
    }
    NewIndex::of(name, index).map(Step::DropIndex)
}

/// `(a, b)`.
fn columns(index: &Index) -> String {
    let columns: Vec<_> = index.elements.iter().map(ToString::to_string).collect();
    format!("({})", columns.join(", "))
}
