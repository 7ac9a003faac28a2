//! Drop a table only when no running code uses it any more.
//!
//! ## Why is this unsafe?
//! The lock is short: ACCESS EXCLUSIVE on the table, and on those that its foreign keys reference. But
//! while the migration runs, and until the last process of the old version has stopped, there is code
//! that uses the table. From then on each of its queries fails, and the rows are gone.
//!
//! Reported in `upgrade` only: `downgrade` takes back what it created. Not reported: tables that the
//! same migration creates, or makes again under the same name, and `_alembic_tmp_…`, which Alembic leaves
//! behind on `SQLite`.
//!
//! ## Unsafe
//! ```python
//! """Carts live in Redis now."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "7b1d5cf28ea3"
//! down_revision = "6a0c4be17d92"
//!
//!
//! def upgrade():
//!     op.drop_table("carts")
//!
//!
//! def downgrade():
//!     op.create_table("carts", sa.Column("id", sa.Integer(), primary_key=True))
//! ```
//!
//! ## Instead
//! Release code that does not use it first, and drop it in a later deploy.
//!
//! When that code runs everywhere, drop the table and say so:
//!
//! ```python
//! """Carts live in Redis now."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "7b1d5cf28ea3"
//! down_revision = "6a0c4be17d92"
//!
//!
//! def upgrade():
//!     # safemig: ignore[drop-table] not in the model since release 41
//!     op.drop_table("carts")
//!
//!
//! def downgrade():
//!     op.create_table("carts", sa.Column("id", sa.Integer(), primary_key=True))
//! ```

use super::context::makes_table;
use super::{Context, Violation};
use crate::migration::Direction;
use crate::operations::{Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::DropTable { table, if_exists } = &operation.kind else { return None };
    let table = table.known()?;
    if context.direction == Direction::Downgrade
        || context.new_tables.contains(&table)
        || table.name.starts_with("_alembic_tmp_")
        || *if_exists && context.catalog.table(&table).is_none()
        || makes_table(context.later, &table)
    {
        return None;
    }
    Some(Violation {
        message: format!("Dropping table `{table}` breaks the running code that still uses it"),
        lock: format!("{} on `{table}` {}", Lock::AccessExclusive, Cost::Instant.duration()),
        fix: Err("release code that does not use it first, and drop it in a later deploy".to_owned()),
    })
}
