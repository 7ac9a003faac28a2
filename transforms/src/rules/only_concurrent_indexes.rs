//! Create and drop indexes `CONCURRENTLY`, outside of a transaction.
//!
//! ## Why is this unsafe?
//! `CREATE INDEX` takes a SHARE lock: nobody can insert, update or delete until the index is built,
//! which takes minutes to hours on a large table. `DROP INDEX` takes ACCESS EXCLUSIVE on the table,
//! so that it waits for every running query, and everybody else waits behind it. The concurrent
//! forms take SHARE UPDATE EXCLUSIVE, which stops nobody, but they cannot run inside a transaction:
//! Alembic's `autocommit_block()` commits what came before and runs them on their own. An
//! interrupted build leaves an INVALID index, which `if_not_exists` would keep, so it is dropped
//! first.
//!
//! An index that is already `postgresql_concurrently=True` but stands outside of such a block fails
//! when it runs. `op.execute("COMMIT")` in front of it only helps with some drivers; the block
//! takes its place.
//!
//! Not reported: tables that the same migration creates or drops.
//!
//! ## Unsafe
//! ```python
//! """Find orders by customer."""
//! from alembic import op
//!
//! revision = "3f2a9c1d04be"
//! down_revision = "9f2c1d04be77"
//!
//!
//! def upgrade():
//!     op.create_index("ix_orders_customer_id", "orders", ["customer_id"])
//!
//!
//! def downgrade():
//!     op.drop_index("ix_orders_customer_id", table_name="orders")
//! ```
//!
//! ## Safe
//! ```python
//! """Find orders by customer."""
//! from alembic import op
//!
//! revision = "3f2a9c1d04be"
//! down_revision = "9f2c1d04be77"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         _drop_invalid_index("ix_orders_customer_id")
//!         op.create_index("ix_orders_customer_id", "orders", ["customer_id"], postgresql_concurrently=True, if_not_exists=True)
//!
//!
//! def downgrade():
//!     with op.get_context().autocommit_block():
//!         op.drop_index("ix_orders_customer_id", table_name="orders", postgresql_concurrently=True, if_exists=True)
//!
//!
//! def _drop_invalid_index(index_name, schema=None):
//!     """Drop the INVALID index that an interrupted concurrent build leaves behind."""
//!     if op.get_context().dialect.name != "postgresql":
//!         return
//!     quote = op.get_context().dialect.identifier_preparer.quote
//!     prefix = f"{quote(schema)}." if schema else ""
//!     invalid = quote(f"{index_name[:55]}_invalid")
//!     op.execute(
//!         f"""
//!         DO $$
//!         BEGIN
//!             IF EXISTS (
//!                 SELECT FROM pg_index
//!                 WHERE indexrelid = to_regclass('{prefix}{quote(index_name)}') AND NOT indisvalid
//!             ) THEN
//!                 ALTER INDEX {prefix}{quote(index_name)} RENAME TO {invalid};
//!             END IF;
//!         END
//!         $$
//!         """
//!     )
//!     op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {prefix}{invalid}")
//! ```

use super::{Context, Violation};
use crate::catalog::Presence;
use crate::migration::Direction;
use crate::operations::{
    CreateIndex, DropIndex, IndexElement, Operation, OperationKind, TableArg, TableName,
};
use crate::python::value::{Arg, Value};
use crate::layout::call::{qualified, quoted};
use crate::recipe::{Action, Applicability, Change, Cost, Lock, Name, Recipe, Step};
use crate::settings::Rerun;

const CONCURRENTLY: (&str, &str) = ("postgresql_concurrently", "True");

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    match &operation.kind {
        OperationKind::CreateIndex(create) => check_create(operation, create, context),
        OperationKind::DropIndex(drop) => check_drop(operation, drop, context),
        OperationKind::Reindex { index, table, concurrently: false } => {
            Some(check_reindex(operation, index.as_ref(), table.as_ref(), context))
        }
        _ => None,
    }
}

fn check_create(operation: &Operation, create: &CreateIndex, context: &Context) -> Option<Violation> {
    let name = display(create.name.as_str());
    let table = create.table.known();
    if create.concurrently {
        return (!operation.autocommit).then(|| Violation {
            message: format!("Creating index {name} concurrently fails inside of a transaction"),
            lock: "CREATE INDEX CONCURRENTLY cannot run inside a transaction block".to_owned(),
            fix: fix_create(operation, create, context),
        });
    }
    // `ON ONLY` builds nothing.
    if create.only || table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let table = display(table.map(|table| table.to_string()).as_deref());
    Some(Violation {
        message: format!("Creating index {name} blocks writes to {table} until it is built"),
        lock: format!("{} on {table} {}", Lock::Share, Cost::Build.duration()),
        fix: fix_create(operation, create, context),
    })
}

fn fix_create(operation: &Operation, create: &CreateIndex, context: &Context) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    let table = context.table(&create.table)?;
    let name = context.index_name(operation, create, &table)?;
    if context.is_partitioned(&table) {
        return on_partitions(create, &table, &name, context);
    }
    let schema = &create.table.schema;
    if !create.if_not_exists
        && !operation.conditional
        && let (Some(name), schema) = (name.value(), table.schema.as_deref())
        && context.catalog.index_presence(None, schema, name) == Presence::Yes
    {
        return Err(format!("an index `{name}` exists already, so that this fails as it is"));
    }
    Ok(Recipe::new(concurrent_build(name, schema, Change::default(), create.if_not_exists, context)))
}

/// An index of a partitioned table: a shell on the table itself, one index on each partition, attached.
/// Source: PostgreSQL manual, "CREATE INDEX", "Building Indexes Concurrently".
fn on_partitions(
    create: &CreateIndex,
    table: &TableName,
    name: &Name,
    context: &Context,
) -> Result<Recipe, String> {
    const PLAN: &str = "create it `ON ONLY` the table, build it concurrently on each partition, then attach \
                        each with `ALTER INDEX … ATTACH PARTITION`";
    let partitions: Vec<_> = context.catalog.partitions(table).collect();
    if partitions.is_empty() {
        return Err(format!("no migration creates partitions of `{table}`: {PLAN}"));
    }
    let (Some(text), Some(definition), Some(elements)) = (name.value(), &create.definition, &create.elements)
    else {
        return Err(format!("`{table}` is partitioned, and not all of the index is known: {PLAN}"));
    };
    let columns: Option<Vec<String>> = elements
        .iter()
        .map(|element| match element {
            IndexElement::Column(column) => Some(column.clone()),
            IndexElement::Expression(_) => None,
        })
        .collect();
    let columns = columns.ok_or_else(|| format!("the index of a partition has no name that is known: {PLAN}"))?;
    if partitions.iter().any(|(_, partition)| partition.partitioned) {
        return Err(format!("partitions of `{table}` have partitions themselves: {PLAN}"));
    }
    let unique = if create.unique { "UNIQUE " } else { "" };
    let on = qualified(table.schema.as_deref(), &table.name);
    let index = qualified(table.schema.as_deref(), text);
    let instant =
        |sql: String, lock| Step { action: Action::Execute(sql), lock, cost: Cost::Instant, for_rerun: false };
    let mut steps = vec![instant(
        format!("CREATE {unique}INDEX IF NOT EXISTS {} ON ONLY {on} {definition}", quoted(text)),
        Lock::Share,
    )];
    for (partition, _) in partitions {
        let child = context
            .catalog
            .partition_index_name(partition, &columns)
            .ok_or_else(|| format!("the index of `{partition}` has no name that is known: {PLAN}"))?;
        let schema = partition.schema.as_deref().map_or_else(Arg::absent, Arg::of);
        if context.settings.rerun == Rerun::Repair {
            let action = Action::DropInvalidIndex { index: Name::Chosen(child.clone()), schema };
            let lock = Lock::ShareUpdateExclusive;
            steps.push(Step { action, lock, cost: Cost::Instant, for_rerun: true });
        }
        let on = qualified(partition.schema.as_deref(), &partition.name);
        steps.push(Step {
            action: Action::Execute(format!(
                "CREATE {unique}INDEX CONCURRENTLY IF NOT EXISTS {} ON {on} {definition}",
                quoted(&child)
            )),
            lock: Lock::ShareUpdateExclusive,
            cost: Cost::Build,
            for_rerun: false,
        });
        let child = qualified(partition.schema.as_deref(), &child);
        steps.push(instant(format!("ALTER INDEX {index} ATTACH PARTITION {child}"), Lock::AccessShare));
    }
    // Partitions that no migration creates would be missed.
    Ok(Recipe { applicability: Applicability::Unsafe, ..Recipe::new(steps) })
}

/// The steps that build an index with the author's call, changed by `change`.
pub(super) fn concurrent_build(
    name: Name,
    schema: &Arg,
    mut change: Change,
    keeps_existing: bool,
    context: &Context,
) -> Vec<Step> {
    let mut steps = Vec::new();
    change.set.push(CONCURRENTLY);
    if context.settings.rerun == Rerun::Repair {
        let schema = schema.clone();
        let action = if context.target().index_if_exists() {
            if !keeps_existing {
                change.set.push(("if_not_exists", "True"));
            }
            Action::DropInvalidIndex { index: name, schema }
        } else {
            // This Alembic has no `if_not_exists`: build it again from the start.
            Action::DropIndex { index: name, schema }
        };
        steps.push(Step { action, lock: Lock::ShareUpdateExclusive, cost: Cost::Instant, for_rerun: true });
    }
    steps.push(Step {
        action: Action::Original(change),
        lock: Lock::ShareUpdateExclusive,
        cost: Cost::Build,
        for_rerun: false,
    });
    steps
}

fn check_drop(operation: &Operation, drop: &DropIndex, context: &Context) -> Option<Violation> {
    let name = display(drop.name.as_str());
    let table = table_of(drop, context);
    if drop.concurrently {
        return (!operation.autocommit).then(|| Violation {
            message: format!("Dropping index {name} concurrently fails inside of a transaction"),
            lock: "DROP INDEX CONCURRENTLY cannot run inside a transaction block".to_owned(),
            fix: fix_drop(operation, drop, context),
        });
    }
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let table = display(table.map(|table| table.to_string()).as_deref());
    Some(Violation {
        message: format!("Dropping index {name} blocks reads and writes of {table}"),
        lock: format!("{} on {table} {}", Lock::AccessExclusive, Cost::Instant.duration()),
        fix: fix_drop(operation, drop, context),
    })
}

/// The table that the call names, else the one that the catalog has for the index.
fn table_of(drop: &DropIndex, context: &Context) -> Option<TableName> {
    drop.table.known().or_else(|| {
        let schema = drop.table.schema.as_str().filter(|schema| *schema != "public");
        context.catalog.index(schema, drop.name.as_str()?).map(|index| index.table.clone())
    })
}

fn fix_drop(operation: &Operation, drop: &DropIndex, context: &Context) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    let name = context.given_name(&drop.name);
    // One that the migration looks up needs no other mention.
    let is_looked_up = operation.conditional && drop.name.value == Value::Unknown;
    if !(is_looked_up && context.target().index_if_exists()) {
        name.clone()?;
    }
    let table = table_of(drop, context);
    if table.as_ref().is_some_and(|table| context.is_partitioned(table)) {
        return Err("an index of a partitioned table can't be dropped concurrently".to_owned());
    }
    if drop.cascade {
        return Err("an index can't be dropped concurrently with CASCADE".to_owned());
    }
    let schema = drop.table.schema.as_str().filter(|schema| *schema != "public");
    let text = drop.name.as_str().unwrap_or_default();
    if !drop.if_exists && !operation.conditional && context.catalog.index_presence(table.as_ref(), schema, text) == Presence::No {
        return Err(format!("no index `{text}` exists here, so that this fails as it is"));
    }
    // Downgrades are often broken, which `if_exists` would hide.
    if !drop.if_exists
        && !operation.conditional
        && context.direction == Direction::Downgrade
        && drop.name.as_str().is_some_and(|name| {
            context.catalog.index(schema, name).is_none() && !context.catalog.is_mentioned(name)
        })
    {
        return Err(format!("no migration creates index `{text}`, so that this may fail as it is"));
    }
    if !drop.if_exists && may_have_gone(context, schema, text) {
        return Err(format!("index `{text}` may have gone with its column, so that this may fail as it is"));
    }
    if !operation.conditional && context.catalog.index(schema, text).is_some_and(|index| index.of_constraint) {
        return Err(format!("a constraint needs index `{text}`, so that this fails as it is"));
    }
    let mut change = Change { set: vec![CONCURRENTLY], ..Change::default() };
    let repair = context.settings.rerun == Rerun::Repair && !drop.if_exists;
    let action = if !repair {
        Action::Original(change)
    } else if context.target().index_if_exists() {
        change.set.push(("if_exists", "True"));
        Action::Original(change)
    } else {
        Action::DropIndex { index: name?, schema: drop.table.schema.clone() }
    };
    Ok(Recipe::new(vec![Step {
        action,
        lock: Lock::ShareUpdateExclusive,
        cost: Cost::Instant,
        for_rerun: false,
    }]))
}

/// Whether an earlier statement drops a column of an index under a condition.
fn may_have_gone(context: &Context, schema: Option<&str>, name: &str) -> bool {
    let Some(index) = context.catalog.index(schema, name) else { return false };
    context.earlier.iter().any(|earlier| {
        let OperationKind::DropColumn { table, column, .. } = &earlier.kind else { return false };
        table.known().as_ref() == Some(&index.table)
            && column.as_str().is_some_and(|column| index.has_column(column))
    })
}

/// `REINDEX` blocks writes to the table, and reads that would use the index. Source: PostgreSQL manual,
/// "REINDEX".
fn check_reindex(
    operation: &Operation,
    index: Option<&(Arg, Arg)>,
    table: Option<&TableArg>,
    context: &Context,
) -> Violation {
    let what = match (index, table) {
        (Some((_, name)), _) => format!("index {}", display(name.as_str())),
        (None, Some(table)) => format!("table {}", display(table.name.as_str())),
        (None, None) => "whole schemas".to_owned(),
    };
    let fix = match index {
        Some((schema, name)) => fix_reindex(operation, schema, name, context),
        None => Err("build each of its indexes anew with `REINDEX INDEX CONCURRENTLY`".to_owned()),
    };
    Violation {
        message: format!("Building {what} anew blocks writes, and reads that use the index"),
        lock: format!("{} on its table {}", Lock::Share, Cost::Build.duration()),
        fix,
    }
}

fn fix_reindex(operation: &Operation, schema: &Arg, name: &Arg, context: &Context) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    if context.target().postgres < 12 {
        return Err("PostgreSQL has `REINDEX CONCURRENTLY` since 12".to_owned());
    }
    let Name::Given(name) = context.given_name(name)? else { return Err("its name is not known".to_owned()) };
    let text = name.as_str().filter(|_| name.is_spelled_out()).ok_or("its name is not spelled out")?;
    let step = |action, cost, for_rerun| Step { action, lock: Lock::ShareUpdateExclusive, cost, for_rerun };
    let mut steps = Vec::new();
    if context.settings.rerun == Rerun::Repair {
        // What an interrupted run leaves: the new index, or the old one. Source: PostgreSQL manual,
        // "REINDEX", "Rebuilding Indexes Concurrently".
        for suffix in ["_ccnew", "_ccold"] {
            let index = Name::Chosen(format!("{text}{suffix}"));
            let action = Action::DropIndex { index, schema: schema.clone() };
            steps.push(step(action, Cost::Instant, true));
        }
    }
    let change = Change { set: vec![CONCURRENTLY], ..Change::default() };
    steps.push(step(Action::Original(change), Cost::Build, false));
    Ok(Recipe::new(steps))
}

pub(super) fn display(name: Option<&str>) -> String {
    name.map_or_else(|| "(name not known)".to_owned(), |name| format!("`{name}`"))
}
