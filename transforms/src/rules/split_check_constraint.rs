//! Add a check constraint as `NOT VALID`, then validate it in its own transaction.
//!
//! ## Why is this unsafe?
//! `ADD CONSTRAINT … CHECK` takes ACCESS EXCLUSIVE and holds it while every row is checked: nobody
//! can even read the table. `NOT VALID` takes it for a moment only, and new rows are checked from
//! then on. `VALIDATE CONSTRAINT` checks the old rows under SHARE UPDATE EXCLUSIVE, which stops
//! nobody, but only in a transaction of its own. Afterwards the constraint is the same.
//!
//! ## Unsafe
//! ```python
//! """Prices are positive."""
//! from alembic import op
//!
//! revision = "0ddba11c0de5"
//! down_revision = "c0ffee112233"
//!
//!
//! def upgrade():
//!     op.create_check_constraint("ck_price_positive", "product", "price > 0")
//!
//!
//! def downgrade():
//!     op.drop_constraint("ck_price_positive", "product", type_="check")
//! ```
//!
//! ## Safe
//! ```python
//! """Prices are positive."""
//! from alembic import op
//!
//! revision = "0ddba11c0de5"
//! down_revision = "c0ffee112233"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.execute("ALTER TABLE product DROP CONSTRAINT IF EXISTS ck_price_positive")
//!         op.create_check_constraint("ck_price_positive", "product", "price > 0", postgresql_not_valid=True)
//!         op.execute("ALTER TABLE product VALIDATE CONSTRAINT ck_price_positive")
//!
//!
//! def downgrade():
//!     op.drop_constraint("ck_price_positive", "product", type_="check")
//! ```

use super::only_concurrent_indexes::display;
use super::split_foreign_key::not_valid_then_validate;
use super::{Context, Violation};
use crate::operations::{AddConstraint, ConstraintKind, Operation, OperationKind};
use crate::recipe::{Cost, Lock};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddConstraint(add) = &operation.kind else { return None };
    if add.kind != ConstraintKind::Check || add.not_valid {
        return None;
    }
    let table = add.table.known();
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let fix = context.can_leave_transaction(operation).and_then(|()| {
        let columns = table.as_ref().and_then(|table| context.catalog.check_columns(table, add.condition.as_deref()));
        let add = AddConstraint { columns, ..add.clone() };
        not_valid_then_validate(operation, &add, Lock::AccessExclusive, context)
    });
    let on = display(table.map(|table| table.to_string()).as_deref());
    let what = add
        .name
        .as_str()
        .map_or_else(|| "a check constraint".to_owned(), |name| format!("check constraint `{name}`"));
    Some(Violation {
        message: format!("Adding {what} blocks reads and writes of {on} while every row is checked"),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Scan.duration()),
        fix,
    })
}
