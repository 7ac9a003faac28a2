//! Add a value to an enum in a transaction before the one that uses it.
//!
//! ## Why is this unsafe?
//! `ALTER TYPE … ADD VALUE` runs in a transaction, but until that is committed the value can't be used:
//! a default, a check, an `UPDATE` or an `INSERT` with it stops with `unsafe use of new value`. Before
//! version 12, PostgreSQL did not let it run inside of a transaction at all. Alembic's
//! `autocommit_block()` commits what came before and runs it on its own. `IF NOT EXISTS` is for a second
//! run.
//!
//! What a later revision does with the value is not looked at. Alembic's default is one transaction for
//! all pending revisions, so that it fails there, too.
//!
//! ## Unsafe
//! ```python
//! """Orders can be returned."""
//! from alembic import op
//!
//! revision = "d173b824ce09"
//! down_revision = "c062a713bdf8"
//!
//!
//! def upgrade():
//!     op.execute("ALTER TYPE order_status ADD VALUE 'returned'")
//!     op.execute("UPDATE orders SET status = 'returned' WHERE returned_at IS NOT NULL")
//!
//!
//! def downgrade():
//!     pass
//! ```
//!
//! ## Instead
//! Add the value with `IF NOT EXISTS` in an `autocommit_block()` of its own.
//!
//! ```python
//! """Orders can be returned."""
//! from alembic import op
//!
//! revision = "d173b824ce09"
//! down_revision = "c062a713bdf8"
//!
//!
//! def upgrade():
//!     with op.get_context().autocommit_block():
//!         op.execute("ALTER TYPE order_status ADD VALUE IF NOT EXISTS 'returned'")
//!     op.execute("UPDATE orders SET status = 'returned' WHERE returned_at IS NOT NULL")
//!
//!
//! def downgrade():
//!     pass
//! ```

use super::{Context, Violation};
use crate::operations::{Operation, OperationKind, TableName};

/// Since this version, the statement may stand in a transaction.
const IN_TRANSACTION: u32 = 12;

pub(super) fn check(operation: &Operation, context: &Context) -> Option<Violation> {
    let OperationKind::AddEnumValue { type_, value, .. } = &operation.kind else { return None };
    // Behind a `COMMIT` there is no transaction any more.
    let commits = |operation: &&Operation| operation.kind == OperationKind::Commit;
    if operation.autocommit
        || context.earlier.iter().any(|operation| commits(&operation))
        || context.earlier.iter().any(|operation| creates(operation, type_))
    {
        return None;
    }
    let fix = Err("add the value with `IF NOT EXISTS` in an `autocommit_block()` of its own".to_owned());
    if context.target().postgres < IN_TRANSACTION {
        return Some(Violation {
            message: format!("Adding value `{value}` to enum `{type_}` fails inside of a transaction"),
            lock: "ALTER TYPE … ADD cannot run inside a transaction block".to_owned(),
            fix,
        });
    }
    context
        .later
        .iter()
        .take_while(|later| !later.autocommit && !commits(later))
        // Both may be skipped, and never run together.
        .filter(|later| !(operation.conditional && later.conditional))
        .any(|later| uses(later, type_, value))
        .then(|| Violation {
            message: format!("Value `{value}` of enum `{type_}` is used in the transaction that adds it"),
            lock: format!("unsafe use of new value \"{value}\" of enum type {type_}"),
            fix,
        })
}

/// A type that is made in the same transaction may be used at once.
fn creates(operation: &Operation, type_: &TableName) -> bool {
    matches!(&operation.kind, OperationKind::CreateObject { name: Some(name), .. } if name == type_)
}

/// Whether the operation has PostgreSQL read the value as one of the enum's.
fn uses(operation: &Operation, type_: &TableName, value: &str) -> bool {
    let texts: Vec<&str> = match &operation.kind {
        OperationKind::Harmless { sql: Some(sql) } => {
            let verb = sql.split_whitespace().next().unwrap_or_default().to_lowercase();
            match verb.as_str() {
                "insert" | "update" | "delete" | "select" | "with" | "merge" | "alter" => vec![sql],
                _ => return false,
            }
        }
        OperationKind::Update(update) => match &update.text {
            Ok(text) => [Some(text.set.as_str()), text.condition.as_deref()].into_iter().flatten().collect(),
            Err(_) => return false,
        },
        OperationKind::AddConstraint(add) => add.condition.as_deref().into_iter().collect(),
        OperationKind::AddColumn { definition, .. } | OperationKind::CreateTable { definition, .. } => {
            definition.columns.iter().filter_map(|column| column.server_default.as_ref()?.as_deref()).collect()
        }
        OperationKind::AlterColumn(alter) => alter.server_default.as_deref().into_iter().collect(),
        _ => return false,
    };
    texts.into_iter().any(|text| has_value(text, type_, value))
}

/// Whether the text has the value as a literal that is not of another type.
fn has_value(sql: &str, type_: &TableName, value: &str) -> bool {
    let lower = sql.to_lowercase();
    // Compared as text, or looked up in the catalogs, it is only text.
    if ["::text", "::varchar", "as text", "as varchar", "pg_enum", "enum_range"].iter().any(|word| lower.contains(word)) {
        return false;
    }
    let literal = format!("'{}'", value.replace('\'', "''"));
    sql.match_indices(&literal).any(|(index, _)| {
        let rest = sql[index + literal.len()..].trim_start();
        match rest.strip_prefix("::") {
            Some(cast) => cast
                .trim_start()
                .split(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.' | '"'))
                .next()
                .is_some_and(|cast| {
                    let name = cast.rsplit('.').next().unwrap_or(cast).trim_matches('"');
                    name.eq_ignore_ascii_case(&type_.name)
                }),
            None => true,
        }
    })
}
