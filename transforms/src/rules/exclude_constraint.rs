//! Add an exclusion constraint only to a new table, or while nobody works.
//!
//! ## Why is this unsafe?
//! `ADD CONSTRAINT … EXCLUDE` takes ACCESS EXCLUSIVE and holds it while the index is built and every row
//! is compared with the others: nobody can even read the table. There is no way around it: PostgreSQL
//! refuses `NOT VALID` and `USING INDEX` for exclusion constraints, and `CREATE INDEX CONCURRENTLY`
//! makes an index, but no constraint.
//!
//! Not reported: tables that the same migration creates or drops.
//!
//! ## Unsafe
//! ```python
//! """A room has one booking at a time."""
//! from alembic import op
//!
//! revision = "c062a713bdf8"
//! down_revision = "bf519602ace7"
//!
//!
//! def upgrade():
//!     op.create_exclude_constraint("no_overlap", "bookings", ("room_id", "="), ("during", "&&"), using="gist")
//!
//!
//! def downgrade():
//!     op.drop_constraint("no_overlap", "bookings")
//! ```
//!
//! ## Instead
//! Create a new table with the constraint and move the rows there, or add it in a maintenance window.

use super::only_concurrent_indexes::display;
use super::{Context, Violation};
use crate::operations::{ConstraintKind, Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddConstraint(add) = &operation.kind else { return None };
    if add.kind != ConstraintKind::Exclude {
        return None;
    }
    let table = add.table.known()?;
    if context.may_lock(&table) {
        return None;
    }
    let name = display(add.name.value.symbol());
    Some(Violation {
        message: format!(
            "Adding exclusion constraint {name} blocks reads and writes of `{table}` until its index is built"
        ),
        lock: format!("{} on `{table}` {}", Lock::AccessExclusive, Cost::Build.duration()),
        fix: Err("create a new table with the constraint and move the rows there, or add it in a \
                  maintenance window"
            .to_owned()),
    })
}
