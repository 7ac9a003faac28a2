//! Give a column another type by a new column that takes its place.
//!
//! ## Why is this unsafe?
//! Most changes of a type make PostgreSQL write the whole table anew, and all of its indexes, under ACCESS
//! EXCLUSIVE: nobody can even read the table until that is done, and the foreign keys are checked again
//! meanwhile. Some rebuild indexes only; and even those that change nothing but the catalogs read every
//! row when a check constraint uses the column.
//!
//! Nothing is reported when the old and the new type are known, and PostgreSQL has nothing to do: a longer
//! `varchar`, `varchar` to `text`, a `numeric` with more digits before the point. The present type is what
//! the migrations before say, else `existing_type`. A change that PostgreSQL refuses, since it has no cast for it and
//! no `USING` says how values are converted, is reported as one that fails.
//!
//! `op.sync_enum_values(…)` of alembic-postgresql-enum gives the columns of an enum another type, too, and is reported.
//!
//! The rewrite adds a column of the new type, which a trigger fills from then on, fills it for the rows that
//! are there in batches, copies indexes, constraints, default, sequence, comments, grants and statistics,
//! and exchanges the two columns in one short transaction. Then the old one is dropped. It can be
//! interrupted anywhere, and goes on when it is run again. What the database has and the copy would lose,
//! such as a view on the column, makes it stop before it changes anything.
//!
//! ## Given
//! ```python
//! """Orders."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "7b1e4f90c2aa"
//! down_revision = None
//!
//!
//! def upgrade():
//!     op.create_table(
//!         "orders",
//!         sa.Column("id", sa.Integer(), primary_key=True),
//!         sa.Column("customer_id", sa.Integer(), sa.ForeignKey("customers.id"), index=True),
//!     )
//! ```
//!
//! ## Unsafe
//! ```python
//! """Two billion orders are not enough."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "c0de51a7e5e1"
//! down_revision = "7b1e4f90c2aa"
//!
//!
//! def upgrade():
//!     op.alter_column("orders", "id", existing_type=sa.Integer(), type_=sa.BigInteger())
//! ```
//!
//! ## Safe
//! ```python
//! """Two billion orders are not enough."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "c0de51a7e5e1"
//! down_revision = "7b1e4f90c2aa"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         _start_type_change("orders", {"id": "bigint"}, ["orders_pkey"])
//!         _fill_new_columns("orders", ["id"], "id")
//!         _copy_index("orders_pkey", "orders", ["id"], "(safemig_new_id)", unique=True)
//!         _copy_constraints("orders", ["id"])
//!         op.execute("ANALYZE orders")
//!         _switch_columns("orders", ["id"], two_way=["id"])
//!         _drop_old_columns("orders", ["id"])
//! ```
//!
//! ## Fix safety
//! The fix is unsafe. The column moves to the end of its table, which `SELECT *` and an `INSERT` without a
//! list of columns show. While the new column is filled, a value that does not fit the new type is refused
//! already; should one be there, the change is taken back, and the migration fails. The rows that were
//! there are updated, some at a time, so that the table has twice the space of its rows until they are
//! vacuumed. `INSERT … ON CONFLICT` can fail on the copy of a unique index when two sessions insert the
//! same key at the same moment, and a deferrable unique constraint is checked at once until the columns are
//! exchanged. When a unique index can't be built on the new values, or a constraint does not hold for them, the
//! migration fails with PostgreSQL's error, the old column is in use as before, and a second run goes on from
//! there; to give up, drop the column `safemig_new_…` with `CASCADE`, and the function `safemig_…` that fills
//! it, likewise. The sequence of a `SERIAL` column becomes as large as the column, which
//! `ALTER TABLE` would not do.

use std::collections::BTreeSet;

use super::batch_backfill::key;
use super::only_concurrent_indexes::display;
use super::split_not_null::{may_leave_transaction, moment};
use super::{Context, Violation};
use crate::catalog::{Index, mentions};
use crate::layout::type_steps::{can_be_moved, definition};
use crate::naming::MAX_BYTES;
use crate::operations::update::{fold, is_volatile, words};
use crate::operations::{
    AlterColumn, ConstraintKind, IndexElement, Operation, OperationKind, TableName,
};
use crate::python::value::Value;
use crate::recipe::{Action, Applicability, Change, Cost, Lock, Recipe, Step, TypeChange, TypeStep};
use crate::settings::Rerun;
use crate::types::{Base, Effect, Type, change, change_using, converts, converts_using};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let alter = match &operation.kind {
        OperationKind::AlterColumn(alter) => alter,
        OperationKind::SyncEnum { type_, tables } => {
            let name = type_.value.symbol().unwrap_or_default();
            return other_values(name, tables.as_deref(), context);
        }
        _ => return None,
    };
    let written = alter.type_.as_deref()?;
    // On PostgreSQL it would not compile, so that it never runs there.
    if ["mysql.", "mssql.", "oracle.", "sqlite."].iter().any(|dialect| written.starts_with(dialect)) {
        return None;
    }
    let new = context.catalog.type_(written);
    let table = alter.table.known();
    if table.as_ref().is_some_and(|table| context.may_lock(table)) {
        return None;
    }
    let on = display(table.as_ref().map(ToString::to_string).as_deref());
    let column = alter.column.as_str();
    let name = match (&table, column) {
        (Some(table), Some(column)) => format!("`{table}.{column}`"),
        _ => display(alter.column.value.symbol()),
    };
    let old = present_type(alter, context);
    let what = match &old {
        Some(old) => format!("Changing {name} from `{old}` to `{new}`"),
        None => format!("Changing the type of {name} to `{new}`"),
    };
    let old = old.unwrap_or_else(Type::unknown);
    if is_converted(&old, &new, alter) == Some(false) {
        let of = if alter.using.is_some() { "result of USING clause for column" } else { "column" };
        let column = column.unwrap_or_default();
        return Some(Violation {
            message: format!("{what} fails"),
            lock: format!("{of} \"{column}\" cannot be cast automatically to type {new}"),
            fix: Err("say in `postgresql_using`, or behind `USING`, how its values are converted".to_owned()),
        });
    }
    let lock = |cost: Cost| format!("{} on {on} {}", Lock::AccessExclusive, cost.duration());
    let Some(effect) = effect(&old, &new, alter, context) else {
        return Some(Violation {
            message: format!("Changing the type of {name} to `{new}` may write {on} anew"),
            lock: lock(Cost::Rewrite),
            fix: Err(missing(&old, &new, table.as_ref(), context)),
        });
    };
    if effect >= Effect::IndexesInUtc {
        let unless = if effect == Effect::IndexesInUtc { ", unless the session's time zone is UTC" } else { "" };
        return Some(Violation {
            message: format!("{what} writes {on} anew{unless}"),
            lock: lock(Cost::Rewrite),
            fix: fix(operation, alter, &old, &new, context),
        });
    }
    // A table that is not known may have anything; but most changes hurt nobody.
    let (table, column) = (table?, column?);
    let rebuilt: Vec<_> = context
        .catalog
        .indexes_of(&table)
        .filter(|(_, index)| is_rebuilt(index, column, effect))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    let checks: Vec<_> = checks(&table, column, context).map(|name| format!("`{name}`")).collect();
    let (work, cost, fix) = match (&rebuilt[..], &checks[..]) {
        ([], []) => return None,
        ([], checks) => {
            let checks = checks.join(", ");
            (
                format!("reads every row of {on} for the check {checks}"),
                Cost::Scan,
                Err(format!("drop {checks} in front of it, add it again `NOT VALID`, and validate it in a transaction of its own")),
            )
        }
        (indexes, _) => {
            let indexes = indexes.join(", ");
            let fix = if effect == Effect::Indexes {
                fix(operation, alter, &old, &new, context)
            } else {
                Err(format!("drop {indexes} `CONCURRENTLY` in front of it, and create it again `CONCURRENTLY` behind it"))
            };
            (format!("builds the index {indexes} anew"), Cost::Build, fix)
        }
    };
    Some(Violation { message: format!("{what} {work}"), lock: lock(cost), fix })
}

/// An enum of other values in the place of one, which `tables` have columns of.
fn other_values(name: &str, tables: Option<&[TableName]>, context: &Context) -> Option<Violation> {
    let on = match tables {
        Some(tables) => {
            let tables = tables.iter().filter(|table| !context.may_lock(table));
            let names: Vec<_> = tables.map(|table| format!("`{table}`")).collect();
            if names.is_empty() {
                return None;
            }
            names.join(", ")
        }
        None => "the tables of its columns".to_owned(),
    };
    Some(Violation {
        message: format!("Changing the values of enum `{name}` by another type writes {on} anew"),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Rewrite.duration()),
        fix: Err("add a value by `ALTER TYPE … ADD VALUE`, rename one by `ALTER TYPE … RENAME VALUE`, and forbid one \
                  that goes by a check constraint, none of which writes rows"
            .to_owned()),
    })
}

/// Why it is not known what becomes of the rows.
fn missing(old: &Type, new: &Type, table: Option<&TableName>, context: &Context) -> String {
    if old.is_known() {
        return format!("its new type `{new}` is not one of PostgreSQL's or SQLAlchemy's own");
    }
    if *old != Type::unknown() {
        return format!("its present type `{old}` is not one of PostgreSQL's or SQLAlchemy's own");
    }
    match table.filter(|table| context.catalog.table(table).is_none()) {
        Some(table) => format!(
            "its present type is not known, since no migration creates `{table}`: give `existing_type`"
        ),
        None => "its present type is not known: give `existing_type`".to_owned(),
    }
}

/// What the column is before: as the migrations say, else as the call says.
fn present_type(alter: &AlterColumn, context: &Context) -> Option<Type> {
    let column = alter.column.as_str();
    let by_catalog = alter.table.known().and_then(|table| {
        let known = context.catalog.table(&table)?;
        let column = known.columns.iter().find(|known| Some(known.name.as_str()) == column)?;
        column.type_.as_deref().map(|type_| context.catalog.type_(type_))
    });
    let said = alter.existing_type.as_deref().map(|type_| context.catalog.type_(type_));
    match (by_catalog, said) {
        (Some(known), Some(said)) if !known.is_known() => Some(said),
        (Some(known), _) => Some(known),
        (None, said) => said,
    }
}

fn effect(old: &Type, new: &Type, alter: &AlterColumn, context: &Context) -> Option<Effect> {
    let postgres = context.target().postgres;
    match &alter.using {
        None => change(old, new, postgres),
        Some(None) => Some(Effect::Rewrite),
        Some(Some(using)) => change_using(old, new, using, alter.column.as_str()?, postgres),
    }
}

/// Whether PostgreSQL makes the new values by itself of what it is given.
fn is_converted(old: &Type, new: &Type, alter: &AlterColumn) -> Option<bool> {
    match &alter.using {
        None => converts(old, new),
        Some(using) => converts_using(old, new, using.as_ref()?, alter.column.as_str()?),
    }
}

/// Whether PostgreSQL builds an index anew although the rows stay: one with an expression or a condition on
/// the column in any case.
fn is_rebuilt(index: &Index, column: &str, effect: Effect) -> bool {
    if effect == Effect::Indexes {
        return index.uses(column) == Some(true);
    }
    let in_expression = index.elements.iter().any(|element| {
        matches!(element, IndexElement::Expression(Some(sql)) if mentions(sql, column))
    });
    let condition = index.options.known().and_then(|options| options.predicate.as_ref()?.as_ref());
    in_expression || condition.is_some_and(|condition| mentions(condition, column))
}

/// The checks that use a column for sure.
fn checks<'a>(table: &TableName, column: &'a str, context: &'a Context) -> impl Iterator<Item = &'a str> {
    let constraints = context.catalog.table(table).into_iter().flat_map(|known| &known.constraints);
    constraints
        .filter(move |constraint| {
            constraint.kind == ConstraintKind::Check
                && constraint.certain
                && (constraint.columns.iter().any(|name| name == column)
                    || constraint.condition.as_ref().is_some_and(|condition| mentions(condition, column)))
        })
        .map(|constraint| constraint.name.as_str())
}

fn fix(
    operation: &Operation,
    alter: &AlterColumn,
    old: &Type,
    new: &Type,
    context: &Context,
) -> Result<Recipe, String> {
    context.can_leave_transaction(operation)?;
    if context.target().postgres < 12 {
        return Err("the steps of a type change need PostgreSQL 12".to_owned());
    }
    let table = context.table(&alter.table)?;
    let column = alter.column.as_str().ok_or("the column's name is not known before the migration runs")?;
    context.plain_name(column)?;
    // The steps spell it in SQL, too.
    if [&alter.table.name, &alter.table.schema].iter().any(|part| matches!(part.value, Value::Partial(_))) {
        return Err("a part of the table's name is not known before the migration runs".to_owned());
    }
    if operation.conditional && operation.origin.guards.is_empty() && !operation.origin.kept {
        return Err("a condition decides whether it runs, and may decide otherwise in a second run".to_owned());
    }
    let is_code = operation.origin.sql.is_none();
    if matches!(&new.base, Base::Other(text) if is_code || !is_sql_name(text)) {
        return Err(format!("its new type `{new}` is not one of PostgreSQL's or SQLAlchemy's own"));
    }
    if *old == Type::unknown() {
        return Err(missing(old, new, Some(&table), context));
    }
    if "safemig_new_".len() + column.len() > MAX_BYTES
        || "safemig_old__".len() + table.name.len() + column.len() > MAX_BYTES
    {
        return Err("the names of table and column are too long to make others of them".to_owned());
    }
    let known = context
        .catalog
        .table(&table)
        .ok_or_else(|| format!("no migration creates `{table}`, so that its indexes are not known"))?;
    if known.partitioned {
        return Err("a column of a partitioned table can't be replaced".to_owned());
    }
    left_behind(&table, context)?;
    if exchanges_values(operation, context) {
        return Err("a `USING` of the same statement reads a column that it changes, too, as it was before".to_owned());
    }
    let using = match &alter.using {
        None => None,
        Some(None) => return Err("its `postgresql_using` is not known before the migration runs".to_owned()),
        Some(Some(using)) => Some(conversion(using)?),
    };
    if old == new {
        // The type tells the steps whether an earlier run has done it all.
        return Err("it computes new values of the same type, which an `UPDATE` in batches does".to_owned());
    }
    // Another text goes back to a longer one without a new column.
    let two_way = using.is_none() && old.is_integer() && new.is_integer();
    let change = TypeChange { column: column.to_owned(), type_: new.to_string(), using, two_way };
    let copies = copies(&table, column, context)?;
    let indexes = copies.iter().map(|(name, _)| name.clone()).collect();
    let mut steps = vec![];
    let mut add = |step, lock, cost| {
        let (table, columns) = (alter.table.clone(), vec![change.clone()]);
        let action = Action::ChangeTypes { table, columns, step };
        steps.push(Step { action, lock, cost, for_rerun: false });
    };
    add(TypeStep::Start { indexes }, Lock::AccessExclusive, Cost::Instant);
    add(TypeStep::Fill { key: key(&table, context)? }, Lock::RowExclusive, Cost::Batches);
    for (name, index) in copies {
        let copy = TypeStep::CopyIndex { name, index, columns: vec![column.to_owned()] };
        add(copy, Lock::ShareUpdateExclusive, Cost::Build);
    }
    add(TypeStep::CopyConstraints, Lock::ShareUpdateExclusive, Cost::Scan);
    add(TypeStep::Analyze, Lock::ShareUpdateExclusive, Cost::Instant);
    for step in [TypeStep::Switch, TypeStep::DropOld] {
        add(step, Lock::AccessExclusive, Cost::Instant);
    }
    if let Some(rest) = rest(alter) {
        steps.push(moment(Action::Original(rest), false));
    }
    if !alter.new_name.is_none() {
        if context.settings.rerun == Rerun::Repair && context.later.iter().any(may_leave_transaction) {
            return Err("it also renames the column, which can't run a second time, and what follows may commit it early"
                .to_owned());
        }
        let (table, column, new_name) = (alter.table.clone(), alter.column.clone(), alter.new_name.clone());
        steps.push(moment(Action::RenameColumn { table, column, new_name }, false));
    }
    Ok(Recipe { applicability: Applicability::Unsafe, ..Recipe::new(steps) })
}

/// What else the call does, which Alembic does after the type, but for a new name: as a call of its own.
fn rest(alter: &AlterColumn) -> Option<Change> {
    let more = ["nullable", "server_default", "comment"];
    alter.keywords.iter().any(|keyword| more.contains(&keyword.as_str())).then(|| Change {
        remove: vec!["existing_type", "postgresql_using", "new_column_name", "name"],
        rename: vec![("type_", "existing_type")],
        ..Change::default()
    })
}

/// Whether PostgreSQL computes a value from a column that the same statement changes: all of them from the row as it
/// was before, which several statements would not.
fn exchanges_values(operation: &Operation, context: &Context) -> bool {
    let statement = |operation: &Operation| {
        let sql = operation.origin.sql.as_ref()?;
        Some((operation.origin.call, sql.place.statement.clone()))
    };
    let Some(own) = statement(operation) else { return false };
    let changes = context.earlier.iter().chain([operation]).chain(context.later).filter_map(|other| {
        match &other.kind {
            OperationKind::AlterColumn(alter) if statement(other).as_ref() == Some(&own) => {
                alter.type_.as_ref()?;
                Some((alter.column.as_str()?, alter.using.as_ref()))
            }
            _ => None,
        }
    });
    let changes: Vec<_> = changes.collect();
    changes.iter().any(|(column, using)| {
        let Some(using) = using else { return false };
        changes.iter().any(|(other, _)| {
            other != column && using.as_ref().is_none_or(|using| mentions(using, other))
        })
    })
}

/// What stands in front is committed before the column is filled, which can take hours.
fn left_behind(table: &TableName, context: &Context) -> Result<(), String> {
    for operation in context.earlier.iter().filter(|operation| !operation.autocommit) {
        let of_table = operation.kind.table().and_then(crate::operations::TableArg::known);
        let what = match &operation.kind {
            OperationKind::DropIndex(_) | OperationKind::DropConstraint { .. }
                if of_table.is_none() || of_table.as_ref() == Some(table) =>
            {
                "an index or constraint is dropped"
            }
            OperationKind::DropConstraint { .. } => "a constraint is dropped",
            OperationKind::DropTable { .. } | OperationKind::RenameTable { .. } => {
                "a table is dropped or renamed"
            }
            OperationKind::DropColumn { .. } => "a column is dropped",
            OperationKind::AlterColumn(alter) if !alter.new_name.is_none() => "a column is renamed",
            OperationKind::DropObject { .. } => "a view, a type or the like is dropped",
            OperationKind::RenameObject { .. } => "a view, a type or the like is renamed",
            OperationKind::DetachPartition { .. } => "a partition is detached",
            OperationKind::SyncEnum { .. } => "the values of an enum are changed",
            OperationKind::Opaque { .. } => "something is done that is not understood",
            _ => continue,
        };
        return Err(format!(
            "{what} in front of it, which everybody would see for as long as the new column is filled: \
             give it a revision of its own"
        ));
    }
    Ok(())
}

/// `USING` as it can be written into other statements.
fn conversion(using: &str) -> Result<String, String> {
    let known = fold(using).filter(|using| {
        let parse = squawk_syntax::SourceFile::parse(&format!("SELECT {using}"));
        // `public.t.a`: where the trigger computes it, the table has no schema.
        let names_schema = using.split(['(', ' ', ',']).any(|word| word.matches('.').count() > 1);
        parse.errors().is_empty() && can_be_moved(using) && !names_schema
    });
    let using = known.ok_or("its `postgresql_using` can't be written into another statement")?;
    let words = words(&using);
    if words.iter().any(|word| word == "select") {
        return Err("its `postgresql_using` reads other rows".to_owned());
    }
    if words.iter().any(|word| is_volatile(word)) {
        return Err("its `postgresql_using` has another value each time".to_owned());
    }
    Ok(using)
}

fn is_sql_name(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '"' | '[' | ']'))
        // `app.types.Money` is a class.
        && text.matches('.').count() < 2
}

/// The indexes of a column, by name.
fn copies(table: &TableName, column: &str, context: &Context) -> Result<Vec<(String, Box<Index>)>, String> {
    let mut copies = Vec::new();
    let mut names = BTreeSet::new();
    for (name, index) in context.catalog.indexes_of(table) {
        if index.uses(column) == Some(false) {
            continue;
        }
        if !index.certain {
            return Err(format!("the index `{name}` may be there or not"));
        }
        context.plain_name(name)?;
        if definition(index, &[column.to_owned()]).is_none() {
            return Err(format!("the index `{name}` is not known in all its parts"));
        }
        let copy: String = format!("safemig_new_{name}").chars().take(MAX_BYTES).collect();
        if !names.insert(copy) || !name.is_ascii() {
            return Err(format!("the name of the index `{name}` is too long to make another of it"));
        }
        copies.push((name.to_owned(), Box::new(index.clone())));
    }
    let unnamed = context.catalog.table(table).into_iter().flat_map(|known| &known.unnamed_indexes);
    if unnamed.filter(|index| index.uses(column) != Some(false)).count() > 0 {
        return Err(format!("the name of an index or a key of `{column}` is not known"));
    }
    Ok(copies)
}
