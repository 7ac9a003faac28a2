//! Store JSON as `jsonb`, which can be compared.
//!
//! ## Why is this unsafe?
//! `json` keeps the text as it was written, and has no equality: `SELECT DISTINCT`, `GROUP BY`, `UNION`
//! and unique indexes fail with `could not identify an equality operator for type json`, in every query
//! that has the column in it. No index of its own can search it, and each access parses it again. To
//! change the type later rewrites the table under ACCESS EXCLUSIVE.
//!
//! Reported in `upgrade` only, for `sa.JSON`, `postgresql.JSON` and `json` in SQL. Not reported: a type
//! with variants.
//!
//! ## Unsafe
//! ```python
//! """Keep what the payment provider says."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "ae4085f15bd6"
//! down_revision = "9d3f7e04a0c5"
//!
//!
//! def upgrade():
//!     op.add_column("payments", sa.Column("response", sa.JSON(), nullable=True))
//!
//!
//! def downgrade():
//!     op.drop_column("payments", "response")
//! ```
//!
//! ## Instead
//! Use `postgresql.JSONB()`, or `sa.JSON().with_variant(postgresql.JSONB(), "postgresql")` where other
//! databases are used, too.
//!
//! ```python
//! """Keep what the payment provider says."""
//! from alembic import op
//! import sqlalchemy as sa
//! from sqlalchemy.dialects import postgresql
//!
//! revision = "ae4085f15bd6"
//! down_revision = "9d3f7e04a0c5"
//!
//!
//! def upgrade():
//!     op.add_column("payments", sa.Column("response", postgresql.JSONB(), nullable=True))
//!
//!
//! def downgrade():
//!     op.drop_column("payments", "response")
//! ```
//!
//! `jsonb` does not keep the order of keys, white space or duplicate keys. Where those matter, `json`
//! is right: say so with a comment.

use super::{Context, Violation};
use crate::migration::Direction;
use crate::operations::{Operation, OperationKind};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let (OperationKind::AddColumn { table, definition, .. }
    | OperationKind::CreateTable { table, definition, .. }) = &operation.kind
    else {
        return None;
    };
    if context.direction == Direction::Downgrade {
        return None;
    }
    let table = table.known()?;
    let column = definition.columns.iter().find(|column| column.type_.as_deref().is_some_and(is_json))?;
    let column = &column.name;
    Some(Violation {
        message: format!("Column `{column}` of `{table}` is of type json, which has no equality"),
        lock: "DISTINCT, GROUP BY, UNION and indexes fail".to_owned(),
        fix: Err("use `postgresql.JSONB()`, or `sa.JSON().with_variant(postgresql.JSONB(), \"postgresql\")` \
                  where other databases are used, too"
            .to_owned()),
    })
}

/// Where SQLAlchemy has the type, by the names that migrations use.
const OWNERS: &[&str] = &["", "sa", "sqlalchemy", "sa.types", "types", "postgresql", "sa.dialects.postgresql", "pg"];

/// `sa.JSON()`, `postgresql.JSON(…)` or `json`, without anything behind it.
fn is_json(type_: &str) -> bool {
    let (path, arguments) = type_.split_once('(').unwrap_or((type_, ")"));
    let (owner, name) = path.rsplit_once('.').unwrap_or(("", path));
    // The parenthesis of the call is the last.
    let mut depth = 1;
    let ends_with_call = arguments.char_indices().all(|(index, c)| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth > 0 || index + 1 == arguments.len()
    });
    (name == "JSON" && OWNERS.contains(&owner) || path == "json") && ends_with_call
}
