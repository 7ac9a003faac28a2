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
//! A `SERIAL` column makes it write the table, too: here the sequence comes first, and the rows are numbered in batches,
//! in the order of the table's primary key. An identity, a stored generated column and a domain with a constraint are
//! reported, but not rewritten.
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
//!         op.execute("ALTER TABLE links DROP CONSTRAINT IF EXISTS safemig_links_token_nn")
//!
//!
//! def downgrade():
//!     op.drop_column("links", "token")
//! ```
//!
//! ## Fix safety
//! Only of a `SERIAL` column the fix is unsafe: the rows are numbered in the order of the primary key, and not in the
//! order in which they happen to lie in the table; and numbers that an interrupted batch took are not given again.

use super::add_column_inline_constraint::{column_first, take_out};
use super::batch_backfill::key;
use super::split_not_null::{Proof, moment, prove};
use super::{Context, Violation};
use crate::layout::call::{qualified, quoted};
use crate::operations::update::{fold, is_volatile, words};
use crate::operations::{Definition, Generated, Operation, OperationKind, TableArg, TableName};
use crate::python::value::Arg;
use crate::recipe::{Action, Applicability, Backfill, BackfillKey, Change, Cost, Lock, Recipe, Step};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddColumn { table, definition, if_not_exists } = &operation.kind else { return None };
    let column = definition.columns.first()?;
    let what = what(definition, context)?;
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
fn what(definition: &Definition, context: &Context) -> Option<&'static str> {
    if has_constrained_domain(definition, context) {
        return Some("a domain that has a constraint");
    }
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

/// Whether the column's type is a domain with a constraint: `postgresql.DOMAIN("…", …, check="…")`, or the name of one
/// that some migration creates as SQL.
fn has_constrained_domain(definition: &Definition, context: &Context) -> bool {
    let Some(type_) = definition.columns.first().and_then(|column| column.type_.as_deref()) else { return false };
    let Some((_, arguments)) = type_.split_once("DOMAIN(") else {
        let (schema, name) = match type_.rsplit_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, type_),
        };
        return context.catalog.is_constrained_domain(&TableName::new(schema, &name.to_lowercase()));
    };
    let name = arguments.split(['"', '\'']).nth(1).unwrap_or_default();
    arguments.contains("check=")
        || arguments.contains("not_null=True")
        || context.catalog.is_constrained_domain(&TableName::new(None, name))
}

/// `SERIAL`: the sequence that numbers the rows.
struct Sequence {
    /// With its schema, as SQL.
    name: String,
    /// Its type, when it is not `bigint`.
    type_: Option<&'static str>,
}

impl Sequence {
    fn new(table: &TableArg, definition: &Definition, context: &Context) -> Result<Self, String> {
        let (Some(column), Some(known)) = (definition.columns.first(), table.known()) else {
            return Err("its column could not be read".to_owned());
        };
        if context.catalog.primary_key(&known).is_none() {
            return Err(format!("the rows of `{known}` have no primary key that is known, to number them by"));
        }
        let name = context.catalog.sequence_name(&known, &column.name).ok_or_else(|| {
            "the name of its sequence may be taken".to_owned()
        })?;
        context.plain_name(&name)?;
        let type_ = column.type_.as_deref().unwrap_or_default().trim_end_matches("()");
        let type_ = match type_.rsplit('.').next().unwrap_or_default().to_lowercase().as_str() {
            "integer" => Some("integer"),
            "smallinteger" | "smallint" => Some("smallint"),
            "biginteger" | "bigint" => None,
            _ => return Err("the type of its sequence is not known".to_owned()),
        };
        Ok(Self { name: qualified(table.schema.as_str(), &name), type_ })
    }

    fn create(&self) -> String {
        let of_type = self.type_.map(|type_| format!(" AS {type_}")).unwrap_or_default();
        format!("CREATE SEQUENCE IF NOT EXISTS {}{of_type}", self.name)
    }

    fn next(&self) -> String {
        format!("nextval('{}')", self.name)
    }
}

fn fix(
    operation: &Operation,
    table: &TableArg,
    definition: &Definition,
    keeps_existing: bool,
    context: &Context,
) -> Result<Recipe, String> {
    let Some(column) = definition.columns.first() else {
        return Err("its column could not be read".to_owned());
    };
    let (sequence, sql, default) = match &definition.generated {
        _ if has_constrained_domain(definition, context) => {
            return Err("a domain's constraint is checked for every row at once; its base type and a check constraint of \
                        the table's own are not"
                .to_owned());
        }
        Some(Generated::Default { sql, default }) => {
            let default = default.clone();
            let default = default
                .ok_or_else(|| "its default is not an SQLAlchemy expression that can be repeated".to_owned())?;
            (None, sql.clone(), Some(default))
        }
        Some(Generated::Serial) => {
            let sequence = Sequence::new(table, definition, context)?;
            let next = sequence.next();
            (Some(sequence), next, None)
        }
        Some(Generated::Identity) => {
            return Err("an identity numbers every row at once; number them from a sequence in batches, and make the \
                        column an identity then"
                .to_owned());
        }
        Some(Generated::Stored) | None => {
            return Err(
                "a stored expression is always computed at once; PostgreSQL 18 has VIRTUAL".to_owned()
            );
        }
    };
    let mut change = column_first(operation, keeps_existing, context)?;
    let name = context.table(table)?;
    if !(table.name.literal && table.schema.literal) {
        return Err("the table's name is not spelled as a literal".to_owned());
    }
    context.plain_name(&column.name)?;
    let value =
        fold(&sql).ok_or_else(|| "its default has comments or line breaks that would be lost".to_owned())?;
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
    let default_keywords = vec!["server_default", "primary_key", "autoincrement"];
    change.column = Some(Box::new(Change { remove: default_keywords, ..Change::default() }));
    let taken_out = take_out(operation, table, definition, &mut change, context)?;
    if let (false, Some(column)) = (column.nullable, &mut change.column) {
        column.set.push(("nullable", "True"));
    }
    let execute = |sql| moment(Action::Execute(sql), false);
    let mut steps = Vec::new();
    steps.extend(sequence.iter().map(|sequence| execute(sequence.create())));
    steps.push(moment(Action::Original(change), false));
    if let Some(Sequence { name, .. }) = &sequence {
        steps.push(execute(format!("ALTER SEQUENCE {name} OWNED BY {sql_table}.{sql_column}")));
        steps.push(execute(format!("ALTER TABLE {sql_table} ALTER COLUMN {sql_column} SET DEFAULT {value}")));
    }
    if let Some(default) = default {
        let (table, column) = (table.clone(), column.name.clone());
        steps.push(moment(Action::SetDefault { table, column, default }, false));
    }
    steps.push(Step {
        action: Action::Backfill(Backfill {
            row: None,
            table: sql_table,
            key,
            set: format!("SET {sql_column} = {value}"),
            condition: Some(format!("{sql_column} IS NULL")),
        }),
        lock: Lock::RowExclusive,
        cost: Cost::Batches,
        for_rerun: false,
    });
    if !column.nullable {
        steps.extend(not_null(table, &column.name, context)?);
    }
    steps.extend(taken_out);
    let applicability = if sequence.is_some() { Applicability::Unsafe } else { Applicability::Safe };
    Ok(Recipe { applicability, ..Recipe::new(steps) })
}

/// The steps that make a column `NOT NULL` without looking at every row under a strong lock.
fn not_null(table: &TableArg, column: &str, context: &Context) -> Result<Vec<Step>, String> {
    let Proof { mut steps, done } = prove(table, &Arg::of(column), false, context)?;
    steps.push(moment(Action::SetNotNull { table: table.clone(), column: Arg::of(column) }, false));
    steps.extend(done);
    Ok(steps)
}
