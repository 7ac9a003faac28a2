//! A new column can be `NOT NULL` only with a server default.
//!
//! ## Why is this unsafe?
//! `ADD COLUMN … NOT NULL` has to put something into the rows that are there. Without a server default
//! there is nothing to put, and PostgreSQL stops with `column "…" of relation "…" contains null
//! values`: the migration works on an empty table, in the tests, and fails in production. SQLAlchemy's
//! `default=` is Python's business: it fills the rows that the application inserts, and no others. A
//! later operation of the same migration comes too late.
//!
//! Not reported: tables that the same migration creates, drops or empties.
//!
//! ## Unsafe
//! ```python
//! """Orders have a currency."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "5d1e0f7a92c3"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     op.add_column("orders", sa.Column("currency", sa.String(3), default="EUR", nullable=False))
//!
//!
//! def downgrade():
//!     op.drop_column("orders", "currency")
//! ```
//!
//! ## Instead
//! Add it with `nullable=True`, fill it, and set `nullable=False` then, or give it a `server_default`
//! that suits every row that is there.
//!
//! ```python
//! """Orders have a currency."""
//! from alembic import op
//! import sqlalchemy as sa
//!
//! revision = "5d1e0f7a92c3"
//! down_revision = "3f2a9c1d04be"
//!
//!
//! def upgrade():
//!     op.add_column("orders", sa.Column("currency", sa.String(3), server_default="EUR", nullable=False))
//!
//!
//! def downgrade():
//!     op.drop_column("orders", "currency")
//! ```

use std::collections::BTreeSet;

use super::{Context, Violation};
use crate::operations::{Operation, OperationKind, TableName};

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddColumn { table, definition, .. } = &operation.kind else { return None };
    let table = table.known()?;
    let column = definition.columns.first()?;
    if column.nullable
        || column.server_default.is_some()
        || context.is_passing(&table)
        || is_emptied(context.earlier, &table)
    {
        return None;
    }
    let column = &column.name;
    Some(Violation {
        message: format!(
            "Adding column `{column}` to `{table}` as NOT NULL without a server default fails if there are rows"
        ),
        lock: format!("column `{column}` of relation `{table}` contains null values"),
        fix: Err("add it with `nullable=True`, fill it, and set `nullable=False` then, or give it a \
                  `server_default` that suits every row that is there"
            .to_owned()),
    })
}

/// Whether the operations leave no row in the table: `TRUNCATE`, or `DELETE FROM` without a condition.
fn is_emptied(operations: &[Operation], table: &TableName) -> bool {
    let mut empty: BTreeSet<String> = BTreeSet::new();
    for operation in operations {
        match &operation.kind {
            OperationKind::Truncate { table } => empty.extend(table.known().map(|table| table.to_string())),
            OperationKind::Harmless { sql: Some(sql) } => {
                let plain = sql.to_lowercase().replace(['"', ';'], " ").replace("public.", "");
                let words: Vec<_> = plain.split_whitespace().collect();
                match words[..] {
                    ["delete", "from", table] => {
                        empty.insert(table.to_owned());
                    }
                    ["insert", "into", table, ..] => {
                        empty.remove(table);
                    }
                    _ => {}
                }
            }
            OperationKind::RenameTable { table, new_name } => {
                if let (Some(old), Some(new_name)) = (table.known(), new_name.value.symbol())
                    && empty.remove(&old.to_string())
                {
                    empty.insert(TableName { name: new_name.to_owned(), ..old }.to_string());
                }
            }
            _ => {}
        }
    }
    empty.contains(&table.to_string())
}
