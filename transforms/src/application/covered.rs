//! Indexes of models that another one of the same table covers.

use super::models::{Model, ModelIndex, PRIMARY};
use super::{Declaration, DeclarationChange, Fix, INHERITED, Study, Violation};
use crate::catalog::Index;
use crate::operations::{IndexElement, TableName};
use crate::revision::{NewIndex, RESTED_ON, Step};

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
        let wider_name = match wider.name.as_deref() {
            Some(PRIMARY) => "the primary key".to_owned(),
            None if wider.index.of_constraint => "a unique constraint".to_owned(),
            None => format!("the one over {}", wider.columns()),
            Some(name) => format!("`{name}`"),
        };
        let fix = self.without(table, index);
        Violation {
            message: format!("Index {} of `{table}` is covered by {wider_name}", index.title()),
            label: format!("{} begins with {}", wider.columns(), index.columns()),
            file: index.file,
            range: index.range,
            also: Vec::new(),
            fix,
        }
    }

    /// Take an index out of its model and, where it is, out of the database.
    fn without(&self, table: &TableName, index: &ModelIndex) -> Result<Fix, String> {
        let change = match (&index.index.elements[..], index.inline) {
            ([IndexElement::Column(column)], true) => {
                DeclarationChange::RemoveInline { column: column.clone(), unique: index.index.unique }
            }
            // Those of the base would come back with the last one.
            _ if self.models.tables[table].hides_arguments => return Err(INHERITED.to_owned()),
            _ => {
                DeclarationChange::Remove { call: self.files[index.file].module.text(index.range).to_owned() }
            }
        };
        // A mixin's index is that of other tables as well.
        let owner = self.models.tables.get(table).and_then(|known| known.class);
        let there = self.in_database(table, index)?;
        let step = there.map(|(name, there)| self.drop(name, there)).transpose()?;
        let may_be_referenced = self.database.is_some_and(|database| database.may_be_referenced(table));
        let waits = there.is_some_and(|(_, there)| there.unique) && may_be_referenced;
        let class = owner.and_then(|range| {
            let is_it = |model: &&Model| model.file == index.file && model.range == range;
            self.models.models.iter().find(is_it).map(|model| model.name.clone())
        });
        let declaration = Declaration { file: index.file, change, class, table: table.clone() };
        Ok(Fix {
            notes: Vec::new(),
            model: Some(declaration),
            steps: step.into_iter().collect(),
            waits: waits.then(|| RESTED_ON.to_owned()),
        })
    }

    /// The index of the database that a model's is: that of its name, or the only one that no other declaration
    /// is about.
    fn in_database(&self, table: &TableName, index: &ModelIndex) -> Result<Option<(&str, &Index)>, String> {
        let Some(database) = self.database else { return Ok(None) };
        let same = |there: &Index| {
            there.elements == index.index.elements
                && there.unique == index.index.unique
                && !there.of_constraint
        };
        let mut found: Vec<_> = database.indexes_of(table).filter(|(_, there)| same(there)).collect();
        if let Some(named) = found.iter().find(|(name, _)| index.name.as_deref() == Some(*name)) {
            return Ok(Some(*named));
        }
        let declared = &self.models.tables[table].indexes;
        found.retain(|(name, _)| !declared.iter().any(|other| other.name.as_deref() == Some(*name)));
        match found[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            _ => Err("the database has several indexes that it could be".to_owned()),
        }
    }

    /// Drop an index of the database that another one covers there as well.
    fn drop(&self, name: &str, index: &Index) -> Result<Step, String> {
        let table = &index.table;
        let mut others = self.database.iter().flat_map(|database| database.indexes_of(table));
        if !others.any(|(other, known)| other != name && known.covers(index)) {
            return Err("the database does not have the index that covers it".to_owned());
        }
        NewIndex::of(name, index).map(Step::DropIndex)
    }
}
