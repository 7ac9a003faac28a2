//! Where the models and the migrations don't have the same indexes.

use super::models::PRIMARY;
use super::{Study, Violation};
use crate::catalog::Presence;
use crate::operations::IndexElement;

impl Study<'_> {
    /// Where the models and the migrations don't have the same indexes, one line each.
    pub(crate) fn disagreements(&self) -> Vec<Violation> {
        let Some(database) = self.database else { return Vec::new() };
        let mut found = Vec::new();
        for (table, declared) in &self.models.tables {
            let Some(known) = database.table(table) else { continue };
            let there: Vec<_> = database.indexes_of(table).collect();
            let same = |one: &crate::catalog::Index, other: &crate::catalog::Index| {
                one.elements == other.elements && one.unique == other.unique
            };
            let is_unclear = |index: &crate::catalog::Index| {
                index.elements.iter().any(|element| matches!(element, IndexElement::Expression(_)))
                    || index.elements.is_empty()
            };
            for index in &declared.indexes {
                if index.index.of_constraint
                    || is_unclear(&index.index)
                    || index.name.as_deref() == Some(PRIMARY)
                {
                    continue;
                }
                let name = index.name.as_deref().unwrap_or_default();
                let missing = known.complete
                    && database.index_presence(Some(table), table.schema.as_deref(), name) == Presence::No
                    && !there.iter().any(|(_, other)| same(&index.index, other) || is_unclear(other));
                if missing {
                    found.push(Violation {
                        message: format!(
                            "No migration creates index {} of `{table}`, which the model declares",
                            index.title()
                        ),
                        label: "only in the model".to_owned(),
                        file: index.file,
                        range: index.range,
                        also: Vec::new(),
                        fix: Err("`alembic revision --autogenerate` writes the migration".to_owned()),
                    });
                }
            }
            if !declared.complete {
                continue;
            }
            for (name, index) in &there {
                if index.of_constraint || !index.certain || is_unclear(index) || index.elements.iter().any(|element| {
                    matches!(element, IndexElement::Column(column) if !declared.columns.iter().any(|known| known.name == *column))
                }) {
                    continue;
                }
                let is_declared = declared.indexes.iter().any(|other| {
                    same(&other.index, index)
                        || other.name.as_deref() == Some(*name)
                        || is_unclear(&other.index)
                });
                if !is_declared {
                    found.push(Violation {
                        message: format!("The model of `{table}` does not declare index `{name}`, which a migration creates"),
                        label: "not here".to_owned(),
                        file: declared.file,
                        range: declared.place,
                        also: Vec::new(),
                        fix: Err("declare it, or drop it: autogenerate would".to_owned()),
                    });
                }
            }
        }
        found
    }
}
