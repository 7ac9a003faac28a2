//! Add a column under the new name; don't rename the one that is in use.
//!
//! ## Why is this unsafe?
//! The lock is short: ACCESS EXCLUSIVE, only the catalogs change. But the old version of the
//! application asks for the old name and the new version for the new one, and there is always a time
//! in which one of them runs against a table that does not have it.
//!
//! Reported in `upgrade` only. Not reported: columns that the same migration adds, or whose old name it
//! gives to another column, and tables that are new or dropped.
//!
//! ## Unsafe
//! ```python
//! """Say what the name is."""
//! from alembic import op
//!
//! revision = "8c2e6df39fb4"
//! down_revision = "7b1d5cf28ea3"
//!
//!
//! def upgrade():
//!     op.alter_column("customers", "name", new_column_name="full_name")
//!
//!
//! def downgrade():
//!     op.alter_column("customers", "full_name", new_column_name="name")
//! ```
//!
//! ## Instead
//! Add a column with the new name, write to both, backfill it, read from it, and drop the old one in a
//! later deploy.
//!
//! Where only Python is to have another name, no migration is needed: `full_name =
//! mapped_column("name", String)`. The first of the migrations otherwise:
//!
//! ```python
//! """Say what the name is."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "8c2e6df39fb4"
//! down_revision = "7b1d5cf28ea3"
//!
//!
//! def upgrade():
//!     op.add_column("customers", sa.Column("full_name", sa.String(200), nullable=True))
//!
//!
//! def downgrade():
//!     op.drop_column("customers", "full_name")
//! ```

use super::context::adds_column;
use super::{Context, Violation};
use crate::migration::Direction;
use crate::operations::{AlterColumn, Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AlterColumn(AlterColumn { table, column, new_name, .. }) = &operation.kind else {
        return None;
    };
    let (table, column) = (table.known()?, column.value.symbol()?);
    let new_name = new_name.value.symbol()?;
    if context.direction == Direction::Downgrade
        || new_name == column
        || context.is_passing(&table)
        || adds_column(context.earlier, &table, column)
        || adds_column(context.later, &table, column)
    {
        return None;
    }
    Some(Violation {
        message: format!(
            "Renaming column `{column}` of `{table}` to `{new_name}` breaks the running code that uses the old name"
        ),
        lock: format!("{} on `{table}` {}", Lock::AccessExclusive, Cost::Instant.duration()),
        fix: Err("add a column with the new name, write to both, backfill it, read from it, and drop the \
                  old one in a later deploy"
            .to_owned()),
    })
}
