//! Prove that a column has no NULL before SET NOT NULL, without a lock.
//!
//! ## Why is this unsafe?
//! `SET NOT NULL` takes ACCESS EXCLUSIVE and holds it while every row is read: nobody can even read
//! the table. PostgreSQL does not read it when a valid check constraint proves that there is no NULL.
//! Such a constraint is added as `NOT VALID` in a moment, and validated under SHARE UPDATE EXCLUSIVE,
//! which stops nobody, in a transaction of its own. Then `SET NOT NULL` takes a moment, too, and the
//! constraint can go. Source: PostgreSQL manual, "ALTER TABLE", `SET NOT NULL`, since version 12.
//!
//! From PostgreSQL 18 on, a not-null constraint can itself be `NOT VALID`.
//!
//! ## Unsafe
//! ```python
//! """Every order has a customer."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "5e1f00d5ca1e"
//! down_revision = "0ddba11c0de5"
//!
//!
//! def upgrade():
//!     op.alter_column("orders", "customer_id", existing_type=sa.Integer(), nullable=False)
//!
//!
//! def downgrade():
//!     op.alter_column("orders", "customer_id", existing_type=sa.Integer(), nullable=True)
//! ```
//!
//! ## Safe
//! ```python
//! """Every order has a customer."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "5e1f00d5ca1e"
//! down_revision = "0ddba11c0de5"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.execute("ALTER TABLE orders DROP CONSTRAINT IF EXISTS safemig_orders_customer_id_nn")
//!         op.execute("ALTER TABLE orders ADD CONSTRAINT safemig_orders_customer_id_nn CHECK (customer_id IS NOT NULL) NOT VALID")
//!         op.execute("ALTER TABLE orders VALIDATE CONSTRAINT safemig_orders_customer_id_nn")
//!         op.alter_column("orders", "customer_id", existing_type=sa.Integer(), nullable=False)
//!         op.execute("ALTER TABLE orders DROP CONSTRAINT IF EXISTS safemig_orders_customer_id_nn")
//!
//!
//! def downgrade():
//!     op.alter_column("orders", "customer_id", existing_type=sa.Integer(), nullable=True)
//! ```

use super::only_concurrent_indexes::display;
use super::{Context, Violation};
use crate::catalog::not_null_columns;
use crate::naming;
use crate::operations::{AlterColumn, Operation, OperationKind, TableArg, TableName};
use crate::python::value::Arg;
use crate::recipe::{Action, Change, Cost, Lock, Name, Recipe, Step};
use crate::settings::Rerun;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AlterColumn(alter) = &operation.kind else { return None };
    if alter.nullable != Some(false) || alter.existing_nullable == Some(false) {
        return None;
    }
    let table = alter.table.known();
    if let Some(table) = &table
        && (context.may_lock(table) || is_proven(table, alter, context))
    {
        return None;
    }
    let on = display(table.map(|table| table.to_string()).as_deref());
    let column = display(alter.column.value.symbol());
    Some(Violation {
        message: format!("Making {column} NOT NULL blocks reads and writes of {on} while every row is read"),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Scan.duration()),
        fix: fix(operation, alter, context),
    })
}

/// Whether PostgreSQL knows already that there is no NULL.
fn is_proven(table: &TableName, alter: &AlterColumn, context: &Context) -> bool {
    let Some(column) = alter.column.value.symbol() else { return false };
    let by_catalog = context.catalog.table(table).is_some_and(|table| table.is_not_null(column));
    // The catalog need not know the table, nor whether a condition holds.
    let proof = context.earlier.iter().rev().find_map(|operation| match &operation.kind {
        OperationKind::AddConstraint(add) if add.table.known().as_ref() == Some(table) => {
            let columns = not_null_columns(add.condition.as_deref()?);
            columns.iter().any(|known| known == column).then_some(add)
        }
        _ => None,
    });
    by_catalog
        || proof.is_some_and(|add| {
            !add.not_valid
                || context.earlier.iter().any(|operation| {
                    matches!(&operation.kind, OperationKind::ValidateConstraint { table: validated, name }
                        if validated == table && Some(name.as_str()) == add.name.value.symbol())
                })
        })
}

fn fix(operation: &Operation, alter: &AlterColumn, context: &Context) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    let renames = !alter.new_name.is_none();
    if renames && context.settings.rerun == Rerun::Repair && context.later.iter().any(may_leave_transaction) {
        return Err("it also renames the column, which can't run a second time, and what follows may commit it early"
            .to_owned());
    }
    if alter.using.is_some() && !alter.using_cast && context.settings.rerun == Rerun::Repair {
        return Err("it also converts the column with USING, and a second run would convert it again".to_owned());
    }
    let Proof { steps: proof, done } =
        prove(&alter.table, &alter.column, context.target().postgres >= 18, context)?;
    let (table, column) = (alter.table.clone(), alter.column.clone());
    let mut steps = Vec::new();
    let mut change = Change::default();
    if renames {
        change.remove.extend(["new_column_name", "name"]);
    }
    if alter.type_.is_some() {
        // Alembic changes the type first, which may check every constraint of the column.
        change.remove.push("nullable");
        steps.push(moment(Action::Original(change), false));
        steps.extend(proof);
        steps.push(moment(Action::SetNotNull { table: table.clone(), column: column.clone() }, false));
    } else {
        steps.extend(proof);
        steps.push(moment(Action::Original(change), false));
    }
    steps.extend(done);
    if renames {
        let new_name = alter.new_name.clone();
        steps.push(moment(Action::RenameColumn { table, column, new_name }, false));
    }
    Ok(Recipe::new(steps))
}

/// Whether a statement runs, or may be made to run, outside of the migration's transaction, which commits what stands
/// in front of it.
pub(super) fn may_leave_transaction(operation: &Operation) -> bool {
    operation.autocommit
        || match &operation.kind {
            OperationKind::AddColumn { definition, .. } => {
                definition.generated.is_some()
                    || !definition.constraints.is_empty()
                    || !definition.indexes.is_empty()
            }
            OperationKind::AlterColumn(alter) => alter.nullable == Some(false) || alter.type_.is_some(),
            OperationKind::CreateIndex(_)
            | OperationKind::DropIndex(_)
            | OperationKind::AddConstraint(_)
            | OperationKind::Update(_)
            | OperationKind::Commit
            | OperationKind::Opaque { .. } => true,
            _ => false,
        }
}

/// A constraint that proves a column to be free of NULL.
pub(super) struct Proof {
    /// The steps that add and validate it.
    pub(super) steps: Vec<Step>,
    /// What takes it away once the column is `NOT NULL`.
    pub(super) done: Option<Step>,
}

/// With `native` it is the not-null constraint itself where its name is known, else a check that can go afterwards.
pub(super) fn prove(
    table: &TableArg,
    column: &Arg,
    native: bool,
    context: &Context,
) -> Result<Proof, String> {
    let known = context.table(table)?;
    let Name::Given(column) = context.given_name(column)? else { return Err("its name is not known".to_owned()) };
    if context.target().postgres < 12 {
        return Err("PostgreSQL trusts a validated check constraint since 12".to_owned());
    }
    let table = || table.clone();
    let scan = |action| Step {
        action,
        lock: Lock::ShareUpdateExclusive,
        cost: Cost::Scan,
        for_rerun: false,
    };
    if ![&table().name, &table().schema, &column].iter().all(|name| name.literal || name.range.is_none()) {
        return Ok(Proof {
            steps: vec![scan(Action::ProveNotNull { table: table(), column: column.clone() })],
            done: Some(moment(Action::DropNotNullProof { table: table(), column }, false)),
        });
    }
    let columns = [column.as_str().unwrap_or_default().to_owned()];
    let name = Name::Chosen(if native {
        naming::constraint_name(&known.name, &columns, "not_null", |_| false)
    } else {
        naming::constraint_name(&format!("{}{}", naming::TEMPORARY, known.name), &columns, "nn", |_| false)
    });
    let drop = |for_rerun| {
        moment(Action::DropConstraint { table: table(), name: name.clone() }, for_rerun)
    };
    let mut steps = Vec::new();
    if context.settings.rerun == Rerun::Repair {
        steps.push(drop(true));
    }
    let add = Action::AddNotNull { table: table(), column, name: name.clone(), native };
    steps.push(moment(add, false));
    steps.push(scan(Action::ValidateConstraint { table: table(), name: name.clone() }));
    Ok(Proof { steps, done: (!native).then(|| drop(false)) })
}

/// A step that takes the strongest lock for a moment.
pub(super) fn moment(action: Action, for_rerun: bool) -> Step {
    Step { action, lock: Lock::AccessExclusive, cost: Cost::Instant, for_rerun }
}
