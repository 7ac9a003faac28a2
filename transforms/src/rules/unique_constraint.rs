//! Build the index of a unique constraint concurrently, then attach it.
//!
//! ## Why is this unsafe?
//! `ADD CONSTRAINT … UNIQUE` takes ACCESS EXCLUSIVE and builds an index under it: nobody can even
//! read the table until it is built. A unique index that was built concurrently becomes the
//! constraint in an instant with `UNIQUE USING INDEX`. The result is the same constraint.
//!
//! Alembic has no call for `USING INDEX` (`postgresql_using_index` does not exist, whatever guides
//! say), so that step is SQL.
//!
//! ## Unsafe
//! ```python
//! """No two users share an address."""
//! from alembic import op
//!
//! revision = "77d0c4a1b2e3"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     op.create_unique_constraint("uq_users_email", "users", ["email"], deferrable=True)
//!
//!
//! def downgrade():
//!     op.drop_constraint("uq_users_email", "users", type_="unique")
//! ```
//!
//! ## Safe
//! ```python
//! """No two users share an address."""
//! from alembic import op
//!
//! revision = "77d0c4a1b2e3"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         _drop_invalid_index("uq_users_email")
//!         op.create_index("uq_users_email", "users", ["email"], unique=True, postgresql_concurrently=True, if_not_exists=True)
//!         _add_unique_using_index("uq_users_email", "users", attributes="DEFERRABLE")
//!
//!
//! def downgrade():
//!     op.drop_constraint("uq_users_email", "users", type_="unique")
//! ```

use super::only_concurrent_indexes::{concurrent_build, display};
use super::{Context, Violation};
use crate::catalog::Presence;
use crate::operations::{AddConstraint, ConstraintKind, Operation, OperationKind, TableName};
use crate::recipe::{Action, Change, Cost, Lock, Name, Recipe, Step};
use crate::settings::{Naming, Rerun};

/// Keywords that mean the same on `create_index`.
const INDEX_KEYWORDS: &[&str] = &[
    "schema",
    "constraint_name",
    "table_name",
    "columns",
    "deferrable",
    "initially",
    "postgresql_include",
    "postgresql_nulls_not_distinct",
];

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddConstraint(add) = &operation.kind else { return None };
    if add.kind != ConstraintKind::Unique {
        return None;
    }
    let table = add.table.known();
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let fix = using_index(operation, add, context);
    let on = display(table.map(|table| table.to_string()).as_deref());
    let what = add.name.as_str().map_or_else(
        || "a unique constraint".to_owned(),
        |name| format!("unique constraint `{name}`"),
    );
    Some(Violation {
        message: format!("Adding {what} blocks reads and writes of {on} until its index is built"),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Build.duration()),
        fix,
    })
}

/// The steps for a constraint that is made of an index.
pub(super) fn using_index(
    operation: &Operation,
    add: &AddConstraint,
    context: &Context,
) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    let table = context.table(&add.table)?;
    if context.is_partitioned(&table) {
        return Err(format!("`{table}` is partitioned: USING INDEX is refused there"));
    }
    if let Some(keyword) = add.keywords.iter().find(|keyword| !INDEX_KEYWORDS.contains(&keyword.as_str())) {
        return Err(format!("`{keyword}` has no equivalent on an index"));
    }
    let attributes = attributes(add)?;
    let name = context.constraint_name(&add.name, &table, add.kind, add.columns.as_deref(), None)?;
    refuse_existing(operation, &name, &table, context)?;
    let change = Change {
        method: Some("create_index"),
        rename: vec![("constraint_name", "index_name")],
        set: vec![("unique", "True")],
        remove: vec!["deferrable", "initially"],
        name: chosen(&name),
        ..Change::default()
    };
    let mut steps = Vec::new();
    if context.settings.rerun == Rerun::Repair && !context.target().index_if_exists() {
        steps.extend(drop_first(operation, add, &name, context));
    }
    steps.extend(concurrent_build(name.clone(), &add.table.schema, change, false, context));
    steps.push(Step {
        action: Action::UsingIndex {
            kind: add.kind,
            table: add.table.clone(),
            name,
            attributes,
            once: context.settings.rerun == Rerun::Plain,
        },
        lock: Lock::AccessExclusive,
        cost: Cost::Instant,
        for_rerun: false,
    });
    Ok(Recipe::new(steps))
}

/// `DEFERRABLE INITIALLY DEFERRED`, as SQLAlchemy writes it.
fn attributes(add: &AddConstraint) -> Result<String, String> {
    let mut words = Vec::new();
    match &add.deferrable {
        None => {}
        Some(Some(true)) => words.push("DEFERRABLE".to_owned()),
        Some(Some(false)) => words.push("NOT DEFERRABLE".to_owned()),
        Some(None) => return Err("`deferrable` is not known before the migration runs".to_owned()),
    }
    match &add.initially {
        None => {}
        Some(Some(when)) if when.chars().all(|c| c.is_ascii_alphabetic()) => {
            words.push(format!("INITIALLY {}", when.to_uppercase()));
        }
        Some(_) => return Err("`initially` is not known before the migration runs".to_owned()),
    }
    Ok(words.join(" "))
}

/// A constraint that is there already makes the original fail; the rewrite would replace it.
pub(super) fn refuse_existing(
    operation: &Operation,
    name: &Name,
    table: &TableName,
    context: &Context,
) -> Result<(), String> {
    match name.value() {
        // A condition in front of it may know better.
        Some(name) if !operation.conditional && context.catalog.constraint_presence(table, name) == Presence::Yes => {
            Err(format!("a constraint `{name}` exists already, so that this fails as it is"))
        }
        _ => Ok(()),
    }
}

pub(super) fn chosen(name: &Name) -> Option<String> {
    match name {
        Name::Chosen(name) => Some(name.clone()),
        Name::Given(_) => None,
    }
}

/// `DROP CONSTRAINT IF EXISTS`, for the second run; nothing where the author drops it in every run.
pub(super) fn drop_first(
    operation: &Operation,
    add: &AddConstraint,
    name: &Name,
    context: &Context,
) -> Option<Step> {
    let dropped = context.earlier.iter().any(|earlier| {
        let OperationKind::DropConstraint { table, name: dropped, .. } = &earlier.kind else { return false };
        // A naming convention may make another name of a check's.
        let plain = context.settings.naming == Naming::Postgres || add.kind != ConstraintKind::Check;
        (plain || dropped.exact)
            && !operation.conditional
            && !earlier.conditional
            && earlier.dialects == operation.dialects
            && table.known() == add.table.known()
            && dropped.as_str().is_some_and(|dropped| name.value() == Some(dropped))
    });
    (!dropped).then(|| Step {
        action: Action::DropConstraint { table: add.table.clone(), name: name.clone() },
        lock: Lock::AccessExclusive,
        cost: Cost::Instant,
        for_rerun: true,
    })
}
