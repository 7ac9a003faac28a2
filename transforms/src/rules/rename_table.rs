//! Keep a table's old name working; don't just rename the one that is in use.
//!
//! ## Why is this unsafe?
//! The lock is short: ACCESS EXCLUSIVE, only the catalogs change. But the old version of the
//! application asks for the old name and the new version for the new one, and there is always a time
//! in which one of them runs against a database that does not have it.
//!
//! Reported in `upgrade` only. Not reported: tables that the same migration creates, and those whose
//! old name it gives to another table or to a view.
//!
//! ## Unsafe
//! ```python
//! """Clients are customers."""
//! from alembic import op
//!
//! revision = "9d3f7e04a0c5"
//! down_revision = "8c2e6df39fb4"
//!
//!
//! def upgrade():
//!     op.rename_table("clients", "customers")
//!
//!
//! def downgrade():
//!     op.rename_table("customers", "clients")
//! ```
//!
//! ## Instead
//! Create a view under the old name in the same migration, and drop it in a later deploy.
//!
//! A view of one table, without more, can be read and written like the table itself.
//!
//! ```python
//! """Clients are customers."""
//! from alembic import op
//!
//! revision = "9d3f7e04a0c5"
//! down_revision = "8c2e6df39fb4"
//!
//!
//! def upgrade():
//!     op.rename_table("clients", "customers")
//!     op.execute("CREATE VIEW clients AS SELECT * FROM customers")
//!
//!
//! def downgrade():
//!     op.execute("DROP VIEW clients")
//!     op.rename_table("customers", "clients")
//! ```

use super::context::makes_table;
use super::{Context, Violation};
use crate::migration::Direction;
use crate::operations::{Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::RenameTable { table, new_name } = &operation.kind else { return None };
    let table = table.known()?;
    let new_name = new_name.value.symbol()?;
    if context.direction == Direction::Downgrade
        || new_name == table.name
        || context.is_passing(&table)
        || makes_table(context.earlier, &table)
        || makes_table(context.later, &table)
    {
        return None;
    }
    Some(Violation {
        message: format!(
            "Renaming table `{table}` to `{new_name}` breaks the running code that uses the old name"
        ),
        lock: format!("{} on `{table}` {}", Lock::AccessExclusive, Cost::Instant.duration()),
        fix: Err("create a view under the old name in the same migration, and drop it in a later deploy"
            .to_owned()),
    })
}
