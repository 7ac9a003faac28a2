//! Add a column first, and give every row its own value in batches.
//!
//! ## Why is this unsafe?
//! A column whose default is the same for all rows is added in an instant. A default with a value of
//! its own for each row, such as `gen_random_uuid()`, makes `ADD COLUMN` write the whole table anew,
//! and all of its indexes, under ACCESS EXCLUSIVE: nobody can read the table until that is done. A
//! column without a default is added in an instant; with the default set afterwards, new rows have a
//! value, and the others get theirs in batches. `NOT NULL` is checked as a constraint that is added
//! `NOT VALID`, which makes `SET NOT NULL` an instant, too.
//!
//! A sequence (`SERIAL`, `IDENTITY`) and a stored generated column make it write the table, too. They
//! are reported, but not rewritten.
//!
//! ## Given
//! ```python
//! """Links."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "41c9e6f8d007"
//! down_revision = None
//!
//!
//! def upgrade():
//!     op.create_table("links", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("url", sa.Text()))
//! ```
//!
//! ## Unsafe
//! Settings: `alembic-version = "1.16.0"`
//!
//! ```python
//! """Links can be shared."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "d0f1a2b3c4e5"
//! down_revision = "41c9e6f8d007"
//!
//!
//! def upgrade():
//!     op.add_column("links", sa.Column("token", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False))
//!
//!
//! def downgrade():
//!     op.drop_column("links", "token")
//! ```
//!
//! ## Safe
//! ```python
//! """Links can be shared."""
//! import sqlalchemy as sa
//! from alembic import op
//!
//! revision = "d0f1a2b3c4e5"
//! down_revision = "41c9e6f8d007"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.add_column("links", sa.Column("token", sa.Uuid(), nullable=True), if_not_exists=True)
//!         op.alter_column("links", "token", server_default=sa.text("gen_random_uuid()"))
//!         _backfill("links", "id", "SET token = gen_random_uuid()", where="token IS NULL")
//!         op.execute("ALTER TABLE links DROP CONSTRAINT IF EXISTS safemig_links_token_nn")
//!         op.execute("ALTER TABLE links ADD CONSTRAINT safemig_links_token_nn CHECK (token IS NOT NULL) NOT VALID")
//!         op.execute("ALTER TABLE links VALIDATE CONSTRAINT safemig_links_token_nn")
//!         op.alter_column("links", "token", nullable=False)
//!         op.execute("ALTER TABLE links DROP CONSTRAINT safemig_links_token_nn")
//!
//!
//! def downgrade():
//!     op.drop_column("links", "token")
//! ```

use super::batch_backfill::key;
use super::split_not_null::{moment, prove};
use super::{Context, Violation};
use crate::layout::call::{qualified, quoted};
use crate::operations::update::{fold, is_volatile, words};
use crate::operations::{Definition, Generated, Operation, OperationKind, TableArg};
use crate::python::value::Arg;
use crate::recipe::{Action, Backfill, BackfillKey, Change, Cost, Lock, Recipe, Step};
use crate::settings::Rerun;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddColumn { table, definition, if_not_exists } = &operation.kind else { return None };
    let column = definition.columns.first()?;
    let what = what(definition)?;
    let name = table.known();
    if name.as_ref().is_some_and(|name| context.may_lock(name)) {
        return None;
    }
    let on = name.map_or_else(|| "(name not known)".to_owned(), |name| format!("`{name}`"));
    Some(Violation {
        message: format!("Adding column `{}` with {what} writes {on} anew", column.name),
        lock: format!("{} on {on} {}", Lock::AccessExclusive, Cost::Rewrite.duration()),
        fix: fix(operation, table, definition, *if_not_exists, context),
    })
}

/// What makes PostgreSQL write every row, if it does for sure.
fn what(definition: &Definition) -> Option<&'static str> {
    Some(match definition.generated.as_ref()? {
        Generated::Default { sql, .. } if words(sql).iter().any(|word| is_volatile(word)) => {
            "a default of its own for each row"
        }
        Generated::Default { .. } => return None,
        Generated::Serial => "a sequence",
        Generated::Identity => "an identity",
        Generated::Stored => "a stored expression",
    })
}

fn fix(
    operation: &Operation,
    table: &TableArg,
    definition: &Definition,
    keeps_existing: bool,
    context: &Context,
) -> Result<Recipe, String> {
    let (Some(column), Some(generated)) = (definition.columns.first(), &definition.generated) else {
        return Err("its column could not be read".to_owned());
    };
    let (sql, default) = match generated {
        Generated::Default { sql, default } => (sql, default),
        Generated::Serial | Generated::Identity => {
            return Err(
                "create the sequence first, make `nextval` the default, and number the rows in batches; \
                        that is not written yet"
                    .to_owned(),
            );
        }
        Generated::Stored => {
            return Err(
                "a stored expression is always computed at once; PostgreSQL 18 has VIRTUAL".to_owned()
            );
        }
    };
    context.can_leave_transaction(operation)?;
    let name = context.table(table)?;
    if !(table.name.literal && table.schema.literal) {
        return Err("the table's name is not spelled as a literal".to_owned());
    }
    context.plain_name(&column.name)?;
    if !definition.constraints.is_empty() || !definition.indexes.is_empty() {
        return Err("it also adds a constraint or an index".to_owned());
    }
    let Some(default) = default else {
        return Err("its default is not an SQLAlchemy expression on one line".to_owned());
    };
    let repair = context.settings.rerun == Rerun::Repair;
    if repair && !keeps_existing && !context.target().column_if_exists() {
        return Err(
            "a second run needs `add_column(if_not_exists=True)`, which Alembic has since 1.16.0".to_owned()
        );
    }
    let value =
        fold(sql).ok_or_else(|| "its default has comments or line breaks that would be lost".to_owned())?;
    if value.contains(['%', '\\']) || words(&value).iter().any(|word| word.starts_with("batch_")) {
        return Err("its default can't be written into another statement".to_owned());
    }
    let key = key(&name, context)?;
    let may_be_null = words(&value).iter().any(|word| matches!(word.as_str(), "null" | "nullif" | "case"));
    if key == BackfillKey::Place && may_be_null {
        return Err(format!("`{name}` has no primary key that is known, and the default may be NULL"));
    }
    let sql_table = qualified(table.schema.as_str(), &name.name);
    let sql_column = quoted(&column.name);
    let mut change = Change {
        // Only another database, or a copied table, would look at them.
        remove: vec!["insert_before", "insert_after"],
        column: Some(Box::new(Change { remove: vec!["server_default"], ..Change::default() })),
        ..Change::default()
    };
    if repair && !keeps_existing {
        change.set.push(("if_not_exists", "True"));
    }
    if let (false, Some(column)) = (column.nullable, &mut change.column) {
        column.set.push(("nullable", "True"));
    }
    let mut steps = vec![
        moment(Action::Original(change), false),
        moment(
            Action::SetDefault {
                table: table.clone(),
                column: column.name.clone(),
                default: default.clone(),
            },
            false,
        ),
        Step {
            action: Action::Backfill(Backfill {
                table: sql_table.clone(),
                key,
                set: format!("SET {sql_column} = {value}"),
                condition: Some(format!("{sql_column} IS NULL")),
            }),
            lock: Lock::RowExclusive,
            cost: Cost::Batches,
            for_rerun: false,
        },
    ];
    if !column.nullable {
        steps.extend(not_null(table, &sql_table, &column.name, context)?);
    }
    Ok(Recipe::new(steps))
}

/// The steps that make a column `NOT NULL` without looking at every row under a strong lock.
fn not_null(
    table: &TableArg,
    sql_table: &str,
    column: &str,
    context: &Context,
) -> Result<Vec<Step>, String> {
    let proof = prove(table, &Arg::of(column), false, context)?;
    let check = quoted(proof.name.value().unwrap_or_default());
    let mut steps = proof.steps;
    steps.push(moment(Action::SetNotNull { table: table.clone(), column: column.to_owned() }, false));
    steps.push(moment(Action::Execute(format!("ALTER TABLE {sql_table} DROP CONSTRAINT {check}")), false));
    Ok(steps)
}
