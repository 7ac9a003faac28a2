//! How a project names its indexes.

use std::collections::BTreeSet;

use super::models::Models;
use crate::catalog::Catalog;
use crate::naming;
use crate::operations::{IndexElement, TableName};

/// How a project names its indexes.
#[derive(Debug)]
pub(super) struct Template {
    pattern: &'static str,
    /// Its indexes show it.
    pub(super) learned: bool,
}

/// The ways in which projects do, SQLAlchemy's own first.
const TEMPLATES: &[&str] =
    &["ix_{s}{t}_{c}", "ix_{t}_{c}", "idx_{t}_{c}", "{t}_{c}_idx", "index_{t}_{c}", "{t}_{c}_index"];

impl Template {
    /// The way that most indexes of the database, or of the models, are named.
    pub(super) fn learn(database: Option<&Catalog>, models: &Models) -> Self {
        let mut seen: BTreeSet<(String, TableName, Vec<String>)> = BTreeSet::new();
        let columns = |elements: &[IndexElement]| -> Option<Vec<String>> {
            elements
                .iter()
                .map(|element| match element {
                    IndexElement::Column(column) => Some(column.clone()),
                    IndexElement::Expression(_) => None,
                })
                .collect()
        };
        for (table, declared) in &models.tables {
            for index in declared.indexes.iter().filter(|index| !index.index.of_constraint && !index.inline) {
                if let (Some(name), Some(columns)) = (&index.name, columns(&index.index.elements)) {
                    seen.insert((name.clone(), table.clone(), columns));
                }
            }
            for (name, index) in database.into_iter().flat_map(|database| database.indexes_of(table)) {
                if let (false, Some(columns)) = (index.of_constraint, columns(&index.elements)) {
                    seen.insert((name.to_owned(), table.clone(), columns));
                }
            }
        }
        let count = |pattern: &str| {
            seen.iter().filter(|(name, table, columns)| *name == fill(pattern, table, columns)).count()
        };
        let best =
            TEMPLATES.iter().rev().max_by_key(|pattern| count(pattern)).copied().unwrap_or(TEMPLATES[0]);
        if count(best) == 0 {
            Self { pattern: TEMPLATES[0], learned: false }
        } else {
            Self { pattern: best, learned: true }
        }
    }

    pub(super) fn name(&self, table: &TableName, columns: &[String]) -> String {
        let name = fill(self.pattern, table, columns);
        if name.len() <= naming::MAX_BYTES {
            return name;
        }
        // PostgreSQL would cut it, and two could be the same.
        let mut end = naming::MAX_BYTES - 5;
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let sum = name.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(u16::from(byte)));
        format!("{}_{sum:04x}", &name[..end])
    }
}

fn fill(pattern: &str, table: &TableName, columns: &[String]) -> String {
    let schema = table.schema.as_ref().map_or_else(String::new, |schema| format!("{schema}_"));
    pattern.replace("{s}", &schema).replace("{t}", &table.name).replace("{c}", &columns.join("_"))
}
