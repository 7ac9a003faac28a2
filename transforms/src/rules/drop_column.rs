//! Drop a column only when no running code uses it any more.
//!
//! ## Why is this unsafe?
//! The lock is short: ACCESS EXCLUSIVE, only the catalogs change. But while the migration runs, and
//! until the last process of the old version has stopped, there is code that reads and writes the
//! column, since an ORM names all columns in every query. From then on each of its queries fails, and
//! what was in the column is gone.
//!
//! Reported in `upgrade` only: `downgrade` takes back what it added. Not reported: columns that the
//! same migration adds, or that it puts back under the same name, and tables that are new or dropped.
//!
//! ## Unsafe
//! ```python
//! """Nobody has a fax any more."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "6a0c4be17d92"
//! down_revision = "5d1e0f7a92c3"
//!
//!
//! def upgrade():
//!     op.drop_column("customers", "fax")
//!
//!
//! def downgrade():
//!     op.add_column("customers", sa.Column("fax", sa.String(30), nullable=True))
//! ```
//!
//! ## Instead
//! Release code that does not use it first, and drop it in a later deploy.
//!
//! Take the column out of the model, or mark it `deferred()`, and make it nullable if it is not: rows
//! that the new code inserts don't have it. When that code runs everywhere, drop the column and say so:
//!
//! ```python
//! """Nobody has a fax any more."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "6a0c4be17d92"
//! down_revision = "5d1e0f7a92c3"
//!
//!
//! def upgrade():
//!     # safemig: ignore[drop-column] not in the model since release 41
//!     op.drop_column("customers", "fax")
//!
//!
//! def downgrade():
//!     op.add_column("customers", sa.Column("fax", sa.String(30), nullable=True))
//! ```

use super::context::adds_column;
use super::{Context, Violation};
use crate::migration::Direction;
use crate::operations::{Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::DropColumn { table, column, if_exists } = &operation.kind else { return None };
    let (table, column) = (table.known()?, column.value.symbol()?);
    let is_there = || {
        let known = context.catalog.table(&table);
        known.is_some_and(|known| known.columns.iter().any(|known| known.name == column))
    };
    if context.direction == Direction::Downgrade
        || context.is_passing(&table)
        || *if_exists && !is_there()
        || adds_column(context.earlier, &table, column)
        || adds_column(context.later, &table, column)
    {
        return None;
    }
    Some(Violation {
        message: format!("Dropping column `{column}` of `{table}` breaks the running code that still uses it"),
        lock: format!("{} on `{table}` {}", Lock::AccessExclusive, Cost::Instant.duration()),
        fix: Err("release code that does not use it first, and drop it in a later deploy".to_owned()),
    })
}
