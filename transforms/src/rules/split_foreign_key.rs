//! Add a foreign key as `NOT VALID`, then validate it in its own transaction.
//!
//! ## Why is this unsafe?
//! `ADD FOREIGN KEY` takes SHARE ROW EXCLUSIVE on both tables and holds it while every row of the
//! referencing table is checked: nobody can write to either. `NOT VALID` takes the same lock for a
//! moment only, and new rows are checked from then on. `VALIDATE CONSTRAINT` checks the old rows
//! under SHARE UPDATE EXCLUSIVE, which stops nobody, but only in a transaction of its own. Afterwards
//! the constraint is the same.
//!
//! ## Unsafe
//! ```python
//! """Link e-mails to users."""
//! from alembic import op
//!
//! revision = "c0ffee112233"
//! down_revision = "77d0c4a1b2e3"
//!
//!
//! def upgrade():
//!     op.create_foreign_key("fk_email_user", "email", "user", ["user_id"], ["id"], ondelete="CASCADE")
//!
//!
//! def downgrade():
//!     op.drop_constraint("fk_email_user", "email", type_="foreignkey")
//! ```
//!
//! ## Safe
//! ```python
//! """Link e-mails to users."""
//! from alembic import op
//!
//! revision = "c0ffee112233"
//! down_revision = "77d0c4a1b2e3"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.execute("ALTER TABLE email DROP CONSTRAINT IF EXISTS fk_email_user")
//!         op.create_foreign_key("fk_email_user", "email", "user", ["user_id"], ["id"], ondelete="CASCADE", postgresql_not_valid=True)
//!         op.execute("ALTER TABLE email VALIDATE CONSTRAINT fk_email_user")
//!
//!
//! def downgrade():
//!     op.drop_constraint("fk_email_user", "email", type_="foreignkey")
//! ```

use super::only_concurrent_indexes::display;
use super::unique_constraint::{chosen, drop_first, refuse_existing};
use super::{Context, Violation};
use crate::operations::{AddConstraint, ConstraintKind, Operation, OperationKind, TableArg};
use crate::recipe::{Action, Change, Cost, Lock, Recipe, Step};
use crate::settings::Rerun;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddConstraint(add) = &operation.kind else { return None };
    if add.kind != ConstraintKind::ForeignKey || add.not_valid {
        return None;
    }
    let table = add.table.known();
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let referent = add.referent.as_ref().and_then(TableArg::known);
    let from = display(table.as_ref().map(ToString::to_string).as_deref());
    let both = match referent {
        Some(referent) if Some(&referent) != table.as_ref() => format!("{from} and `{referent}`"),
        _ => from,
    };
    let what = add
        .name
        .as_str()
        .map_or_else(|| "a foreign key".to_owned(), |name| format!("foreign key `{name}`"));
    let fix = context.can_leave_transaction(operation).and_then(|()| {
        let table = context.table(&add.table)?;
        if context.is_partitioned(&table) && context.target().postgres < 18 {
            return Err(format!(
                "`{table}` is partitioned: PostgreSQL accepts NOT VALID foreign keys there since 18"
            ));
        }
        not_valid_then_validate(operation, add, Lock::ShareRowExclusive, context)
    });
    Some(Violation {
        message: format!("Adding {what} blocks writes to {both} while every row is checked"),
        lock: format!("{} on {both} {}", Lock::ShareRowExclusive, Cost::Scan.duration()),
        fix,
    })
}

/// The steps for a constraint that can be `NOT VALID`.
pub(super) fn not_valid_then_validate(
    operation: &Operation,
    add: &AddConstraint,
    lock: Lock,
    context: &Context,
) -> Result<Recipe, String> {
    let table = context.table(&add.table)?;
    if !context.target().not_valid() {
        return Err("SQLAlchemy has `postgresql_not_valid` since 1.4.32".to_owned());
    }
    let referent = add.referent.as_ref().and_then(TableArg::known);
    let name =
        context.constraint_name(&add.name, &table, add.kind, add.columns.as_deref(), referent.as_ref())?;
    refuse_existing(operation, &name, &table, context)?;
    let mut steps = Vec::new();
    if context.settings.rerun == Rerun::Repair {
        steps.extend(drop_first(operation, add, &name, context));
    }
    let change = Change {
        set: vec![("postgresql_not_valid", "True")],
        // A name that is given goes on being changed by the convention.
        name: chosen(&name).filter(|_| add.name.is_none()),
        ..Change::default()
    };
    steps.push(Step { action: Action::Original(change), lock, cost: Cost::Instant, for_rerun: false });
    steps.push(Step {
        action: Action::ValidateConstraint { table: add.table.clone(), name },
        lock: Lock::ShareUpdateExclusive,
        cost: Cost::Scan,
        for_rerun: false,
    });
    Ok(Recipe::new(steps))
}
