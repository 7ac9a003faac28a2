//! Is the naming convention that was found the one that the migrations run with?

use std::collections::BTreeSet;

use super::History;
use crate::naming;
use crate::naming::convention::{Convention, Name, Named};
use crate::operations::{ConstraintKind, IndexElement, Operation, OperationKind, TableArg, TableName};
use crate::python::value::Value;

impl History {
    /// Whether some name in the history is the one that a naming convention gives: the metadata that
    /// the migrations run with could be another.
    pub(super) fn confirms(&self, convention: &Convention) -> bool {
        let mut evidence = Evidence { convention, given: false, chosen: BTreeSet::new() };
        let operations = || {
            let migrations = self.migrations.iter();
            migrations.flat_map(|migration| {
                migration.upgrade.operations.iter().chain(&migration.downgrade.operations)
            })
        };
        for operation in operations() {
            evidence.read(operation);
        }
        evidence.given
            || operations().any(|operation| {
                let name = match &operation.kind {
                    OperationKind::DropConstraint { name, .. } => name.as_str(),
                    OperationKind::DropIndex(drop) => drop.name.as_str(),
                    _ => None,
                };
                name.is_some_and(|name| evidence.chosen.contains(name))
            })
    }
}

struct Evidence<'a> {
    convention: &'a Convention,
    /// An author gave a name that is the convention's.
    given: bool,
    /// What it would give to what has no name, where nobody else would.
    chosen: BTreeSet<String>,
}

impl Evidence<'_> {
    fn read(&mut self, operation: &Operation) {
        match &operation.kind {
            OperationKind::CreateTable { table, definition, .. } => {
                let Some(table) = table.known() else { return };
                for constraint in &definition.constraints {
                    self.constraint(
                        &table,
                        constraint.kind,
                        &constraint.name,
                        Some(&constraint.columns),
                        None,
                    );
                }
            }
            OperationKind::AddConstraint(add) => {
                let Some(table) = add.table.known() else { return };
                let referent = add.referent.as_ref().and_then(TableArg::known);
                self.constraint(&table, add.kind, &add.name.value, add.columns.as_deref(), referent.as_ref());
            }
            OperationKind::CreateIndex(create)
                if create.name.value == Value::None && operation.origin.sql.is_none() =>
            {
                let (Some(table), Some(elements)) = (create.table.known(), &create.elements) else { return };
                let columns = elements.iter().map(|element| match element {
                    IndexElement::Column(column) => Some(column.clone()),
                    IndexElement::Expression(_) => None,
                });
                let Some(columns) = columns.collect::<Option<Vec<_>>>() else { return };
                let usual = columns
                    .first()
                    .map(|column| naming::column_index_name(table.schema.as_deref(), &table.name, column));
                let name = self.convention.index_name(&table, &columns, create.unique);
                self.chosen.extend(name.filter(|name| Some(name) != usual.as_ref()));
            }
            _ => {}
        }
    }

    fn constraint(
        &mut self,
        table: &TableName,
        kind: ConstraintKind,
        given: &Value,
        columns: Option<&[String]>,
        referent: Option<&TableName>,
    ) {
        let named = Named { kind, given: None, table, columns, referent, unique: None };
        let Name::Is(name) = self.convention.name(named) else { return };
        match given {
            Value::Str(given) => self.given |= name == *given,
            Value::None => {
                self.chosen.insert(name);
            }
            _ => {}
        }
    }
}
