//! What a rule may ask.

use std::collections::BTreeSet;

use crate::catalog::Catalog;
use crate::migration::Direction;
use crate::naming::MAX_BYTES;
use crate::naming::convention::{self, Named};
use crate::operations::{
    AlterColumn, ConstraintKind, CreateIndex, DropIndex, Object, Operation, OperationKind, Receiver,
    TableArg, TableName,
};
use crate::python::value::{Arg, Value};
use crate::recipe::Name;
use crate::settings::{Naming, Settings, Target};

/// Everything that is known just before an operation.
#[derive(Debug)]
pub struct Context<'a> {
    /// The database as it is then.
    pub catalog: &'a Catalog,
    /// The tables that this run of the function created: nobody uses them yet.
    pub new_tables: &'a BTreeSet<TableName>,
    pub direction: Direction,
    /// The operations of the same function that come before.
    pub earlier: &'a [Operation],
    /// The operations of the same function that follow.
    pub later: &'a [Operation],
    pub settings: &'a Settings,
    /// The database after all revisions.
    pub end: &'a Catalog,
    /// No other revision follows.
    pub is_head: bool,
}

impl Context<'_> {
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.settings.target
    }

    /// Whether locking the table hurts nobody: it is new, short, or about to be dropped anyway.
    #[must_use]
    pub fn may_lock(&self, table: &TableName) -> bool {
        self.new_tables.contains(table) || self.settings.is_small(table) || self.is_dropped_later(table)
    }

    /// Whether the running application can't know the table: this migration makes it, or does away
    /// with it altogether.
    #[must_use]
    pub fn is_passing(&self, table: &TableName) -> bool {
        self.new_tables.contains(table) || self.is_dropped_later(table)
    }

    fn is_dropped_later(&self, table: &TableName) -> bool {
        self.later.iter().any(|operation| {
            matches!(&operation.kind, OperationKind::DropTable { table: dropped, .. }
                if dropped.known().as_ref() == Some(table))
        })
    }

    /// What must hold for any fix that commits in the middle of a migration.
    ///
    /// # Errors
    /// Why it can't be done here.
    pub fn can_leave_transaction(&self, operation: &Operation) -> Result<(), String> {
        if let Some(reason) = operation.origin.fixed_in_place {
            return Err(reason.to_owned());
        }
        if !self.target().autocommit_block() {
            return Err("Alembic has `autocommit_block()` since 1.2.0".to_owned());
        }
        // After `op.execute("COMMIT")` no transaction is open any more; behind a block there is one again.
        let is_open = !self.earlier.iter().any(|earlier| {
            earlier.kind == OperationKind::Commit && earlier.origin.sql.is_some() && !earlier.conditional
        });
        if is_open {
            return Ok(());
        }
        if operation.origin.swallowed {
            return Err("an `except` around it goes on when it fails, as can be outside of a transaction: \
                        the `COMMIT` in front of it has ended that"
                .to_owned());
        }
        if self.later.iter().any(needs_no_transaction) {
            return Err("what follows runs outside of a transaction since the `COMMIT` in front of it: \
                        put it into an `autocommit_block()`"
                .to_owned());
        }
        Ok(())
    }

    /// What must hold for a `with` block around an operation, which limits how long it waits.
    ///
    /// # Errors
    /// Why it can't be there.
    pub fn can_be_given_up(&self, operation: &Operation) -> Result<(), String> {
        let origin = &operation.origin;
        if origin.swallowed {
            return Err(
                "an `except` around it goes on when it fails, so that it would be left out".to_owned()
            );
        }
        if origin.receiver == Receiver::Other {
            return Err("it does not run on the migration's own connection, as far as is known".to_owned());
        }
        if !matches!(origin.receiver, Receiver::Batch(_)) && origin.call != origin.statement {
            return Err("it is not a statement of its own".to_owned());
        }
        Ok(())
    }

    /// The table of an operation, when both its name and its schema are known.
    ///
    /// # Errors
    /// That they are not.
    pub fn table(&self, table: &TableArg) -> Result<TableName, String> {
        let name = table
            .known()
            .ok_or_else(|| "the table's name is not known before the migration runs".to_owned())?;
        for part in [&table.name, &table.schema] {
            if let Value::Str(text) = &part.value {
                plain(text)?;
            }
        }
        Ok(name)
    }

    /// A name that becomes SQL.
    ///
    /// # Errors
    /// That it can't be written as SQL in every way in which Alembic runs.
    pub fn plain_name(&self, name: &str) -> Result<(), String> {
        plain(name)
    }

    /// A name that the author gave.
    ///
    /// # Errors
    /// That it is not known, or can't be written as SQL in every way in which Alembic runs.
    pub fn given_name(&self, name: &Arg) -> Result<Name, String> {
        match &name.value {
            Value::Str(text) => {
                plain(text)?;
                Ok(Name::Given(name.clone()))
            }
            // Not known, but the same wherever it is spelled like that.
            Value::Partial(_) => Ok(Name::Given(name.clone())),
            _ => Err("its name is not known before the migration runs".to_owned()),
        }
    }

    /// The name of an index: as given, or as SQLAlchemy or the naming convention chooses it for a call.
    ///
    /// # Errors
    /// That neither is known.
    pub fn index_name(
        &self,
        operation: &Operation,
        create: &CreateIndex,
        table: &TableName,
    ) -> Result<Name, String> {
        if !create.name.is_left_out() || operation.origin.sql.is_some() || table.to_string().contains('{') {
            return self.given_name(&create.name);
        }
        let elements = create.elements.as_deref().unwrap_or_default();
        match (self.catalog.index_name(table, elements, create.unique), &self.settings.naming) {
            (Some(name), _) => {
                plain(&name)?;
                Ok(Name::Chosen(name))
            }
            (None, Naming::Convention { place, .. }) => {
                Err(format!("it has no name, and the naming convention ({place}) gives it one"))
            }
            (None, Naming::Postgres | Naming::Listener { .. }) => self.given_name(&create.name),
        }
    }

    /// The name of a constraint: as given, or as the naming convention or PostgreSQL would choose it.
    ///
    /// # Errors
    /// That neither is known.
    pub fn constraint_name(
        &self,
        name: &Arg,
        table: &TableName,
        kind: ConstraintKind,
        columns: Option<&[String]>,
        referent: Option<&TableName>,
    ) -> Result<Name, String> {
        let given = match &name.value {
            Value::None => None,
            value => Some(value.as_str()),
        };
        if let Naming::Listener { place, .. } = &self.settings.naming
            && (given.is_none() || self.settings.naming.renames(kind))
        {
            return Err(format!("it gets its name from the listener in {place}"));
        }
        if let (Naming::Convention { place, convention }, false) = (&self.settings.naming, name.exact) {
            let named = Named { kind, given: given.flatten(), table, columns, referent, unique: None };
            let by_convention = convention.as_ref().map(|convention| convention.name(named));
            match by_convention {
                Some(convention::Name::Is(chosen)) if given != Some(None) => {
                    plain(&chosen)?;
                    return Ok(Name::Chosen(chosen));
                }
                Some(convention::Name::AsGiven) => {}
                // Without `%(constraint_name)s` it leaves names alone; for check constraints that is rare.
                None if given.is_some() && kind != ConstraintKind::Check => {}
                _ if given.is_some() => {
                    return Err(format!("the naming convention ({place}) may change its name"));
                }
                _ => {
                    return Err(format!("it has no name, and the naming convention ({place}) gives it one"));
                }
            }
        }
        if given.is_some() {
            return self.given_name(name);
        }
        if table.to_string().contains('{') {
            return Err("it has no name, and the table's is not known before the migration runs".to_owned());
        }
        let columns = columns.ok_or_else(|| {
            "it has no name, and its columns are not known before the migration runs".to_owned()
        })?;
        match self.catalog.table(table) {
            Some(known) if known.complete => {}
            _ => {
                return Err(format!(
                    "it has no name, and the constraints that `{table}` already has are not all known"
                ));
            }
        }
        let chosen = self.catalog.automatic_name(table, kind, columns).ok_or_else(|| {
            format!("it has no name, and the constraints that `{table}` already has are not all known")
        })?;
        plain(&chosen)?;
        Ok(Name::Chosen(chosen))
    }

    /// `CREATE INDEX CONCURRENTLY` and `NOT VALID` are refused on partitioned tables.
    #[must_use]
    pub fn is_partitioned(&self, table: &TableName) -> bool {
        self.catalog.table(table).is_some_and(|table| table.partitioned)
    }
}

/// Whether a statement fails in a transaction, or makes a later one fail there.
fn needs_no_transaction(operation: &Operation) -> bool {
    let words = |words: &str| {
        let words = words.to_ascii_lowercase();
        [
            "vacuum",
            "create database",
            "drop database",
            "alter system",
            "create tablespace",
            "create subscription",
        ]
        .iter()
        .any(|known| words.trim_start().starts_with(known))
    };
    let is_fixed = |name: &Arg| {
        operation.origin.fixed_in_place.is_none() && matches!(name.value, Value::Str(_) | Value::Partial(_))
    };
    !operation.autocommit
        && match &operation.kind {
            OperationKind::AddEnumValue { .. } => true,
            OperationKind::Harmless { sql: Some(sql) } | OperationKind::Opaque { sql: Some(sql), .. } => {
                words(sql)
            }
            OperationKind::Reindex { concurrently, .. } => *concurrently,
            OperationKind::CreateIndex(CreateIndex { concurrently: true, name, .. })
            | OperationKind::DropIndex(DropIndex { concurrently: true, name, .. }) => !is_fixed(name),
            _ => false,
        }
}

/// Whether one of the operations gives the table a column of that name.
pub(super) fn adds_column(operations: &[Operation], table: &TableName, column: &str) -> bool {
    operations.iter().any(|operation| match &operation.kind {
        OperationKind::AddColumn { table: changed, definition, .. } => {
            changed.known().as_ref() == Some(table)
                && definition.columns.iter().any(|added| added.name == column)
        }
        OperationKind::AlterColumn(AlterColumn { table: changed, new_name, .. }) => {
            changed.known().as_ref() == Some(table) && new_name.value.symbol() == Some(column)
        }
        _ => false,
    })
}

/// Whether one of the operations makes a table (or a view) of that name.
pub(super) fn makes_table(operations: &[Operation], table: &TableName) -> bool {
    operations.iter().any(|operation| match &operation.kind {
        OperationKind::CreateTable { table: made, .. } => made.known().as_ref() == Some(table),
        OperationKind::RenameTable { table: renamed, new_name } => {
            new_name.value.symbol() == Some(&table.name)
                && renamed.known().is_some_and(|renamed| renamed.schema == table.schema)
        }
        OperationKind::CreateObject { object: Object::View | Object::MaterializedView, name, .. } => {
            name.as_ref() == Some(table)
        }
        _ => false,
    })
}

/// A name that means the same in an f-string, in `sa.text()` and in a driver's parameter style.
fn plain(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_BYTES {
        return Err(format!("the name `{name}` is not 1 to {MAX_BYTES} bytes long"));
    }
    if name.contains(|c: char| matches!(c, '%' | ':' | '\\' | '\'' | '"' | '{' | '}' | '$') || c.is_control())
    {
        return Err(format!("the name `{name}` has a character that can't be written safely"));
    }
    Ok(())
}
