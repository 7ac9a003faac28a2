//! Constraints that rows shall meet although they are not there yet.

use anyhow::Result;
use postgres::Client;

/// A constraint of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Constraint {
    /// As SQL names it.
    table: String,
    definition: String,
}

/// The constraints of all tables; those on `NULL` are another matter.
///
/// # Errors
/// The server refuses.
pub(super) fn read(client: &mut Client) -> Result<Vec<Constraint>> {
    let rows = client.query(
        "SELECT conrelid::regclass::text, replace(pg_get_constraintdef(oid), ' NOT VALID', '') FROM pg_constraint
            WHERE contype IN ('c', 'f', 'u', 'x') AND conrelid >= 16384 AND conparentid = 0",
        &[],
    )?;
    Ok(rows.iter().map(|row| Constraint { table: row.get(0), definition: row.get(1) }).collect())
}

/// Add constraints, as far as there is something to add them to. The answer is what [`drop`] needs.
///
/// # Errors
/// The connection breaks.
pub(super) fn add(client: &mut Client, constraints: &[Constraint]) -> Result<Vec<String>> {
    let mut added = Vec::new();
    for (number, Constraint { table, definition }) in constraints.iter().enumerate() {
        let name = format!("safemig_verify_{number}");
        match client.batch_execute(&format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")) {
            Ok(()) => added.push(format!("ALTER TABLE {table} DROP CONSTRAINT {name}")),
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            Err(_) => {} // Its table or column is new, too.
        }
    }
    Ok(added)
}

/// Drop them again.
///
/// # Errors
/// The server refuses.
pub(super) fn drop(client: &mut Client, added: &[String]) -> Result<()> {
    // In reverse: a foreign key may need the unique constraint that was added before it.
    added.iter().rev().try_for_each(|statement| Ok(client.batch_execute(statement)?))
}
