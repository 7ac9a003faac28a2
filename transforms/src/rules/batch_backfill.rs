//! Update the rows of a table in batches, each in a transaction of its own.
//!
//! ## Why is this unsafe?
//! An `UPDATE` of a whole table locks every row that it has updated until the migration ends: whoever
//! wants to change one of them waits. Where the same transaction has altered a table before, as an
//! `ADD COLUMN` just in front does, that table stays locked under ACCESS EXCLUSIVE meanwhile, and
//! nobody can even read it. In batches, a row is locked for as long as its batch takes, and
//! everything before is committed first.
//!
//! The batches follow the primary key; a table without one is walked through by place. The text of
//! `SET` and `WHERE` stays as it is.
//!
//! Not reported: tables that the same migration creates or drops, and updates whose `WHERE` compares
//! the primary key or a unique column with constants.
//!
//! ## Given
//! ```python
//! """Orders."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "6a1f0c2d9e33"
//! down_revision = None
//!
//!
//! def upgrade():
//!     op.create_table("orders", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("status", sa.Text()))
//! ```
//!
//! ## Unsafe
//! ```python
//! """Every order has a status."""
//! from alembic import op
//!
//! revision = "b17c44e0a9d2"
//! down_revision = "6a1f0c2d9e33"
//!
//!
//! def upgrade():
//!     op.execute("UPDATE orders SET status = 'new' WHERE status IS NULL")
//! ```
//!
//! ## Safe
//! ```python
//! """Every order has a status."""
//! from alembic import op
//!
//! revision = "b17c44e0a9d2"
//! down_revision = "6a1f0c2d9e33"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         _backfill("orders", "id", "SET status = 'new'", where="status IS NULL")
//!
//!
//! def _backfill(table, key, assignments, where="true"):
//!     """Update a table in batches of 10000 rows, each in a transaction of its own."""
//!     columns = [column.split(".")[-1] for column in key.split(", ")]
//!     first = ", ".join(f"batch_start.{column}" for column in columns)
//!     last = ", ".join(f"batch_end.{column}" for column in columns)
//!     descending = ", ".join(f"{column} DESC" for column in columns)
//!     op.execute("SET statement_timeout = 0")
//!     op.execute(
//!         f"""
//!         DO $$
//!         DECLARE
//!             batch_start record;
//!             batch_end record;
//!         BEGIN
//!             SELECT {key} INTO batch_start FROM {table} ORDER BY {key} LIMIT 1;
//!             WHILE FOUND LOOP
//!                 SELECT * INTO batch_end FROM (
//!                     SELECT {key} FROM {table} WHERE ({key}) >= ({first}) ORDER BY {key} LIMIT 10000
//!                 ) AS batch ORDER BY {descending} LIMIT 1;
//!                 UPDATE {table} {assignments}
//!                 WHERE ({key}) >= ({first}) AND ({key}) <= ({last}) AND ({where});
//!                 COMMIT;
//!                 SELECT {key} INTO batch_start FROM {table} WHERE ({key}) > ({last}) ORDER BY {key} LIMIT 1;
//!             END LOOP;
//!         END
//!         $$
//!         """
//!     )
//!     op.execute("RESET statement_timeout")
//! ```
//!
//! ## Fix safety
//! The fix is unsafe. Others see the table while some of its rows are updated and some are not, and
//! what they write meanwhile can be missed: rows that appear, or begin to fulfil the condition, behind
//! the batch that has been reached. `now()` has a value of its own in every batch. Should a later statement rely on every row being updated, such as
//! `SET NOT NULL`, it fails then, and the migration has to be run again. A trigger `FOR EACH STATEMENT`
//! fires once for each batch.

use super::{Context, Violation};
use crate::operations::{Locked, Operation, OperationKind, TableName, Update, UpdateText};
use crate::recipe::{Action, Applicability, Backfill, BackfillKey, Cost, Lock, Recipe, Step};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::Update(update) = &operation.kind else { return None };
    // In a block it is its own transaction: its author has thought about it.
    if operation.autocommit {
        return None;
    }
    let table = update.table.known()?;
    if context.may_lock(&table) || is_pinned(update, &table, context) {
        return None;
    }
    let locked = locked_before(context);
    let meanwhile = if locked.is_empty() { String::new() } else { format!(", and {}", locked.join(", ")) };
    Some(Violation {
        message: format!("Updating `{table}` locks its rows until the migration ends"),
        lock: format!("ROW EXCLUSIVE on `{table}` and its rows{meanwhile} while every row is updated"),
        fix: fix(operation, update, context),
    })
}

fn fix(operation: &Operation, update: &Update, context: &Context) -> Result<Recipe, String> {
    let text = update.text.as_ref().map_err(Clone::clone)?;
    context.can_leave_transaction(operation)?;
    let table = context.table(&update.table)?;
    if !text.repeatable {
        return Err(
            "a second run would update rows again that the first has updated, with another result".to_owned()
        );
    }
    if let Some(what) = dropped_later(update, context) {
        return Err(format!(
            "`{what}` is dropped or renamed later on, so that a second run could fail if that is committed early"
        ));
    }
    if context.earlier.iter().any(|earlier| matches!(&earlier.kind, OperationKind::Update(first) if first.is_changed_by(update)))
        || is_changed_later(update, context)
    {
        return Err(
            "a second run of all updates of the migration could lead to other rows, once some are committed"
                .to_owned(),
        );
    }
    let backfill = batches(&table, update, text, context)?;
    let step = Step {
        action: Action::Backfill(backfill),
        lock: Lock::RowExclusive,
        cost: Cost::Batches,
        for_rerun: false,
    };
    Ok(Recipe { applicability: Applicability::Unsafe, ..Recipe::new(vec![step]) })
}

/// How a table is walked through.
fn batches(
    table: &TableName,
    update: &Update,
    text: &UpdateText,
    context: &Context,
) -> Result<Backfill, String> {
    // The place of a row is enough where the condition tells what is done.
    let key = match key(table, context) {
        Err(_) if context.catalog.table(table).is_none() && text.excludes_done => place(table, context)?,
        key => key?,
    };
    match &key {
        BackfillKey::Columns(columns) => {
            if let Some(column) = columns.iter().find(|column| update.sets.contains(column)) {
                return Err(format!(
                    "it changes `{column}` of the primary key, which the batches would follow"
                ));
            }
        }
        BackfillKey::Place => {
            if !text.excludes_done {
                return Err(format!(
                    "`{table}` has no primary key that is known, and its condition also holds for rows that are done"
                ));
            }
            if text.aliased || text.row.is_some() {
                return Err(format!(
                    "`{table}` has no primary key that is known, and has an alias or is joined with others"
                ));
            }
        }
    }
    if update.words.iter().any(|word| word.starts_with("batch_")) {
        return Err("it uses names that the batches use".to_owned());
    }
    Ok(Backfill {
        table: text.target.clone(),
        row: text.row.clone(),
        key,
        set: text.set.clone(),
        condition: text.condition.clone(),
    })
}

/// What the batches of a table follow.
pub(super) fn key(table: &TableName, context: &Context) -> Result<BackfillKey, String> {
    let Some(known) = context.catalog.table(table) else {
        return Err(format!("no migration creates `{table}`, so that its primary key is not known"));
    };
    if let Some(columns) = context.catalog.primary_key(table) {
        for column in columns {
            context.plain_name(column)?;
            // The batches tell it from the name of its table by the dot.
            if column.contains('.') {
                return Err(format!("`{column}` of its primary key has a dot in its name"));
            }
        }
        return Ok(BackfillKey::Columns(columns.to_vec()));
    }
    if known.partitioned {
        return Err(format!("`{table}` is partitioned, and has no primary key that is known"));
    }
    place(table, context)
}

fn place(table: &TableName, context: &Context) -> Result<BackfillKey, String> {
    if context.target().postgres < 14 {
        return Err(format!(
            "`{table}` has no primary key that is known, and PostgreSQL finds rows by their place since 14"
        ));
    }
    Ok(BackfillKey::Place)
}

/// Whether an update changes one row, or a few that its author listed.
fn is_pinned(update: &Update, table: &TableName, context: &Context) -> bool {
    let pins = |columns: &[&str]| columns.iter().all(|column| update.pinned.iter().any(|pin| pin == column));
    match context.catalog.table(table) {
        Some(_) => {
            let key: Option<Vec<&str>> =
                context.catalog.primary_key(table).map(|key| key.iter().map(String::as_str).collect());
            let unknown = key.is_none() && pins(&["id"]);
            unknown
                || key
                    .into_iter()
                    .chain(context.catalog.unique_columns(table))
                    .any(|columns: Vec<&str>| pins(&columns))
        }
        None => pins(&["id"]),
    }
}

/// The locks that the transaction holds already, of those that stop others.
fn locked_before(context: &Context) -> Vec<String> {
    let mut found: Vec<(Lock, TableName)> = Vec::new();
    let open = |operation: &&Operation| !operation.autocommit && operation.kind != OperationKind::Commit;
    for operation in context.earlier.iter().rev().take_while(open) {
        for Locked { table, lock } in operation.locks() {
            let Some(table) = table.filter(|table| lock.stops_writers() && !context.may_lock(table)) else {
                continue;
            };
            match found.iter_mut().find(|(_, known)| *known == table) {
                Some((strongest, _)) => *strongest = lock.max(*strongest),
                None => found.push((lock, table)),
            }
        }
    }
    found.iter().rev().map(|(lock, table)| format!("{lock} on `{table}`")).collect()
}

/// Whether an update that follows, and that may be committed before the migration ends, changes what this one reads.
fn is_changed_later(update: &Update, context: &Context) -> bool {
    let changed = context.later.iter().position(
        |later| matches!(&later.kind, OperationKind::Update(second) if update.is_changed_by(second)),
    );
    changed.is_some_and(|at| context.later[at + 1..].iter().any(commits))
}

/// Whether an operation may be rewritten so that it commits what is in front of it.
fn commits(operation: &Operation) -> bool {
    operation.autocommit
        || matches!(
            operation.kind,
            OperationKind::CreateIndex(_)
                | OperationKind::DropIndex(_)
                | OperationKind::AddConstraint(_)
                | OperationKind::AddColumn { .. }
                | OperationKind::AlterColumn { .. }
                | OperationKind::Update(_)
                | OperationKind::Commit
        )
}

/// Something that the text names and that is gone later, before what may commit that early.
fn dropped_later(update: &Update, context: &Context) -> Option<String> {
    let mut gone: Option<String> = None;
    for operation in context.later {
        if commits(operation) && gone.is_some() {
            return gone;
        }
        let name = match &operation.kind {
            OperationKind::DropColumn { column, .. } => column.as_str(),
            OperationKind::AlterColumn(alter) if !alter.new_name.is_none() => alter.column.as_str(),
            OperationKind::DropTable { table, .. } | OperationKind::RenameTable { table, .. } => {
                table.name.as_str()
            }
            _ => None,
        };
        if let Some(name) = name
            && update.words.contains(&name.to_lowercase())
        {
            gone.get_or_insert_with(|| name.to_owned());
        }
    }
    None
}
