//! Give an index that is not unique no more columns than it needs.
//!
//! ## Why is this unsafe?
//! Every column of an index makes it larger, and slower to write and to read: it is written with
//! every insert, and with most updates of any of its columns (an update that changes no indexed column
//! can stay on its page, a HOT update). The columns behind the first two or three seldom pay for that.
//! A column of a btree index narrows a search only where all columns before it are compared with `=`.
//!
//! Columns in `INCLUDE` don't count, nor do unique indexes, which are about what is allowed, and other
//! access methods, where the order of columns means something else. How many columns are too many is
//! `max-index-columns` in the configuration; without it, more than three. Where another index begins with the
//! columns that would be kept, nothing would be left of what this one is for: that is for people to judge.
//!
//! ## Unsafe
//! ```python
//! """Find an order by everything."""
//! from alembic import op
//!
//! revision = "5b0de8a91f34"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     op.create_index("ix_orders_search", "orders", ["customer_id", "status", "placed_at", "total", "currency"])
//!
//!
//! def downgrade():
//!     op.drop_index("ix_orders_search", table_name="orders")
//! ```
//!
//! ## Safe
//! ```python
//! """Find an order by everything."""
//! from alembic import op
//!
//! revision = "5b0de8a91f34"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         _drop_invalid_index("ix_orders_search")
//!         op.create_index("ix_orders_search", "orders", ["customer_id", "status", "placed_at"], postgresql_concurrently=True, if_not_exists=True)
//!
//!
//! def downgrade():
//!     with op.get_context().autocommit_block():
//!         op.drop_index("ix_orders_search", table_name="orders", postgresql_concurrently=True, if_exists=True)
//! ```
//!
//! ## Fix safety
//! Which columns a query needs is a judgement: the fix keeps the leading ones, and a query that was answered
//! from the index alone, or that uses all of its columns, may become slower. Where the revision has run
//! already, the databases keep the wide index.

use super::only_concurrent_indexes::display;
use super::{Context, Violation};
use crate::catalog::Index;
use crate::migration::Direction;
use crate::operations::{CreateIndex, IndexElement, Operation, OperationKind};
use crate::recipe::{Action, Change, Recipe};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::CreateIndex(create) = &operation.kind else { return None };
    let elements = create.elements.as_ref()?;
    let most = context.settings.max_index_columns.0;
    if create.unique
        || !create.options.is_btree()
        || elements.len() <= most
        || context.direction == Direction::Downgrade
    {
        return None;
    }
    let names = |elements: &[IndexElement]| {
        elements.iter().map(|element| format!("`{element}`")).collect::<Vec<_>>().join(", ")
    };
    let (kept, dropped) = elements.split_at(most);
    let helps = if dropped.len() == 1 { "helps" } else { "help" };
    let table = create.table.known();
    let change = Change { keep_columns: Some(most), ..Change::default() };
    let fix = match covered(create, kept, context) {
        Some(other) => Err(format!("the first {most} are covered by `{other}`, so that only the others make it useful")),
        None => Ok(Recipe::in_place(Action::Original(change))),
    };
    let table = table.map(|table| table.to_string());
    Some(Violation {
        message: format!(
            "Index {} on {} has {} columns, {} of them behind the first {most}",
            display(create.name.as_str()),
            display(table.as_deref()),
            elements.len(),
            dropped.len(),
        ),
        lock: format!("{} only {helps} a search that has `=` for {}", names(dropped), names(kept)),
        fix,
    })
}

/// Another index, which would make this one needless once it is shorter.
fn covered<'a>(create: &CreateIndex, kept: &[IndexElement], context: &Context<'a>) -> Option<&'a str> {
    let table = create.table.known()?;
    let shorter = Index {
        table: table.clone(),
        unique: false,
        elements: kept.to_vec(),
        options: create.options.clone(),
        of_constraint: false,
        certain: true,
    };
    let others = context.end.indexes_of(&table);
    others.filter(|(name, _)| create.name.as_str() != Some(name)).find(|(_, other)| other.covers(&shorter)).map(|(name, _)| name)
}
