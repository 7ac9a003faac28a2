//! Don't truncate a table that is in use.
//!
//! ## Why is this unsafe?
//! `TRUNCATE` takes ACCESS EXCLUSIVE: it waits for every running query on the table, everybody else
//! waits behind it, and with Alembic's default that lasts until the last pending revision is committed.
//! All rows are gone, with `CASCADE` also those of every table that references it, and a transaction
//! with an older snapshot sees an empty table. A `downgrade` does not bring them back.
//!
//! Not reported: tables that the same migration creates or drops.
//!
//! ## Unsafe
//! ```python
//! """Forget old sessions."""
//! from alembic import op
//!
//! revision = "bf519602ace7"
//! down_revision = "ae4085f15bd6"
//!
//!
//! def upgrade():
//!     op.execute("TRUNCATE TABLE sessions")
//!
//!
//! def downgrade():
//!     pass
//! ```
//!
//! ## Instead
//! Delete the rows in batches outside of the migration, or create a new table and switch the code to it.

use super::{Context, Violation};
use crate::operations::{Operation, OperationKind};
use crate::recipe::Lock;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::Truncate { table } = &operation.kind else { return None };
    let table = table.known()?;
    if context.may_lock(&table) {
        return None;
    }
    let until = if operation.autocommit { "for a moment" } else { "until the migration is committed" };
    Some(Violation {
        message: format!("Truncating `{table}` deletes all rows, and blocks reads and writes"),
        lock: format!("{} on `{table}` {until}", Lock::AccessExclusive),
        fix: Err("delete the rows in batches outside of the migration, or create a new table and switch \
                  the code to it"
            .to_owned()),
    })
}
