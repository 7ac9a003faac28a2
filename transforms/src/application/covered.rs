//! Indexes of models that another one of the same table covers.

use super::models::{ModelIndex, PRIMARY};
use super::{Declaration, DeclarationChange, Fix, Study, Violation};
use crate::operations::{IndexElement, TableName};
use crate::revision::{NewIndex, Step};

impl Study<'_> {
    /// Indexes of models that another one of the same table covers.
    pub(crate) fn covered(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (table, declared) in &self.models.tables {
            for (at, index) in declared.indexes.iter().enumerate() {
                let wider = declared.indexes.iter().enumerate().find(|(other, known)| {
                    *other != at
                        && known.index.covers(&index.index)
                        && (!index.index.covers(&known.index) || *other < at)
                });
                if let Some((_, wider)) = wider {
                    found.push(self.covered_by(table, index, wider));
                }
            }
        }
        found
    }

    fn covered_by(&self, table: &TableName, index: &ModelIndex, wider: &ModelIndex) -> Violation {
        let columns = |index: &ModelIndex| {
            let columns: Vec<_> = index.index.elements.iter().map(ToString::to_string).collect();
            format!("({})", columns.join(", "))
        };
        let name = index.name.as_deref().unwrap_or_default();
        let wider_name = match wider.name.as_deref() {
            Some(PRIMARY) => "the primary key".to_owned(),
            Some(name) => format!("`{name}`"),
            None => "a unique constraint".to_owned(),
        };
        // A migration may tell the same, at its own place.
        let in_database = self.database.and_then(|database| {
            let (name, there) = database.indexes_of(table).find(|(_, there)| {
                there.elements == index.index.elements
                    && !there.unique
                    && !there.of_constraint
                    && there.certain
            })?;
            let covered =
                database.indexes_of(table).any(|(other, known)| other != name && known.covers(there));
            Some(if covered {
                NewIndex::of(name, there).map(Step::DropIndex)
            } else {
                Err("the database does not have the index that covers it".to_owned())
            })
        });
        let class = self.models.tables.get(table).and_then(|known| {
            let range = known.class?;
            let model =
                self.models.models.iter().find(|model| model.file == known.file && model.range == range);
            model.map(|model| model.name.clone())
        });
        let fix = match (&index.index.elements[..], index.inline && !index.index.unique) {
            ([IndexElement::Column(column)], true) => match in_database {
                Some(Err(reason)) => Err(reason),
                step => Ok(Fix {
                    model: Some(Declaration {
                        file: index.file,
                        change: DeclarationChange::RemoveInline { column: column.clone() },
                        class,
                        table: table.clone(),
                    }),
                    steps: step.and_then(Result::ok).into_iter().collect(),
                }),
            },
            _ => Err("leave it out of the model, and drop it in a migration".to_owned()),
        };
        Violation {
            message: format!("Index `{name}` of `{table}` is covered by {wider_name}"),
            label: format!("{} begins with {}", columns(wider), columns(index)),
            file: index.file,
            range: index.range,
            also: Vec::new(),
            fix,
        }
    }
}
