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
    let mut found = Vec::new();
    for (name, index) in there.iter().filter(|(name, _)| !is_older(name)) {
        let wider = there.iter().find(|(other, known)| {
            // Of two that are the same, the one that was there first stays.
            other != name && known.covers(index) && (!index.covers(known) || is_older(other) || *other < *name)
        });
        if let Some((wider, cover)) = wider {
            found.push(covered(name, index, wider, cover, operation, context));
            continue;
        }
        let narrower = there.iter().filter(|(other, known)| is_older(other) && index.covers(known));
        found.extend(not_needed(name, &table, &narrower.collect::<Vec<_>>(), context));
    }
    together(found)
}

/// What is found in one operation: a table may be created with several indexes that another one covers.
fn together(found: Vec<Found>) -> Option<Violation> {
    let joined = |part: fn(&Found) -> &str, by: &str| found.iter().map(part).collect::<Vec<_>>().join(by);
    let (message, lock) = (joined(|found| &found.message, "; "), joined(|found| &found.lock, " and "));
    let mut first = None;
    let mut steps = Vec::new();
    for one in found {
        match one.drop {
            Ok(Instead::LeaveOut) => {
                return Some(Violation { message, lock, fix: Ok(Recipe::in_place(Action::LeaveOut)) });
            }
            // Two new ones may cover the same older one.
            Ok(Instead::Drop(more)) => {
                let more: Vec<_> = more.into_iter().filter(|step| !steps.contains(step)).collect();
                steps.extend(more);
            }
            Err(reason) => {
                first.get_or_insert(reason);
            }
        }
    }
    match first {
        Some(reason) if steps.is_empty() => Some(Violation { message, lock, fix: Err(reason) }),
        None if steps.is_empty() => None,
        _ => Some(Violation { message, lock, fix: Ok(Recipe::new_revision(steps)) }),
    }
}

/// An index that is not needed, and what to do about it.
struct Found {
    message: String,
    lock: String,
    drop: Result<Instead, String>,
}

enum Instead {
    /// It is not created.
    LeaveOut,
    /// A new revision does this.
    Drop(Vec<Step>),
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
) -> Found {
    let create_alone = matches!(&operation.kind, OperationKind::CreateIndex(_));
    // PostgreSQL lets a foreign key rest on the oldest index that fits (`transformFkeyCheckAttrs` goes through
    // `RelationGetIndexList`, which sorts by OID), and those of constraints are made together with their table.
    let is_younger = create_alone && (cover.of_constraint || context.catalog.index(index.table.schema.as_deref(), wider).is_some());
    let drop = if index.unique && !is_younger && context.end.may_be_referenced(&index.table) {
        Err(RESTED_ON.to_owned())
    } else if create_alone && context.is_head {
        Ok(Instead::LeaveOut)
    } else {
        NewIndex::of(name, index).map(|index| Instead::Drop(vec![Step::DropIndex(index)]))
    };
    Found {
        message: format!("Index `{name}` on `{}` is covered by `{wider}`", index.table),
        lock: format!("{} begins with {}", columns(cover), columns(index)),
        drop,
    }
}

/// Older indexes, which a new one covers; `None` when there are none.
fn not_needed(name: &str, table: &TableName, narrower: &[&(&str, &Index)], context: &Context) -> Option<Found> {
    if narrower.is_empty() {
        return None;
    }
    let names: Vec<_> = narrower.iter().map(|(name, _)| format!("`{name}`")).collect();
    let steps: Result<Vec<_>, _> = narrower.iter().map(|(name, index)| drop_later(name, index, context)).collect();
    Some(Found {
        message: format!(
            "Index `{name}` on `{table}` does all that {} {} for: not needed any more",
            names.join(", "),
            if names.len() == 1 { "is" } else { "are" }
        ),
        lock: format!(
            "{} is the beginning of it",
            narrower.iter().map(|(_, index)| columns(index)).collect::<Vec<_>>().join(" and ")
        ),
        drop: steps.map(Instead::Drop),
    })
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
