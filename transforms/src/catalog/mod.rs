//! What the database looks like, as far as the migrations tell.
//!
//! **Architecture Invariant:** unknown is a value. The catalog never guesses; a rule that asks for
//! something that is not known is told so.

mod apply;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use self::apply::is_automatic;
use crate::naming;
use crate::naming::convention::{self, Named};
use crate::operations::{Column, ConstraintKind, IndexElement, IndexOptions, TableName};
use crate::settings::Naming;
use crate::types::{Base, Type};

/// The tables and indexes after some operations. Cloning is cheap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    tables: OrdMap<TableName, Arc<Table>>,
    indexes: OrdMap<(Option<String>, String), Arc<Index>>,
    /// Names of indexes that went with their column or table, also where no migration creates that, unless something that
    /// was not understood came after that.
    indexes_gone: OrdSet<(Option<String>, String)>,
    /// Constraints that are there for sure, by table and name, of tables that no migration creates.
    constraints_elsewhere: OrdSet<(TableName, String)>,
    /// Something that was not understood may have created or dropped anything.
    anything_possible: bool,
    /// Words of SQL that was not understood, and indexes of tables that are not known.
    mentioned: OrdMap<String, ()>,
    /// Who names what has no name.
    naming: Naming,
    /// Domains that not every value of their type belongs to.
    constrained_domains: OrdMap<TableName, ()>,
    /// The types that migrations create and that are no domains, as SQL.
    types: OrdMap<String, ()>,
    /// The tables that foreign keys reference, or did.
    referenced: OrdMap<TableName, ()>,
    /// A foreign key references a table that is not known.
    references_anything: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub constraints: Vec<NamedConstraint>,
    /// Everything about it is known.
    pub complete: bool,
    pub partitioned: bool,
    /// Its indexes whose names are not known, those behind constraints as well; some may be gone.
    pub unnamed_indexes: Vec<Index>,
    /// The table that it is a partition of.
    pub partition_of: Option<TableName>,
    /// The columns of its primary key, also where the key's name is not known; empty when it may have none.
    pub key: Vec<String>,
}

impl Table {
    /// Whether there is no NULL in a column for sure, as PostgreSQL sees it.
    #[must_use]
    pub fn is_not_null(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column && !known.nullable)
            || self.key.iter().any(|known| known == column)
            || self.constraints.iter().any(|constraint| {
                constraint.certain
                    && constraint.valid
                    && constraint.not_null.iter().any(|known| known == column)
            })
    }
}

/// A constraint under the name that it has in the database.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedConstraint {
    pub name: String,
    pub kind: ConstraintKind,
    pub columns: Vec<String>,
    /// It is there for sure.
    pub certain: bool,
    /// The migrations gave it no name.
    pub automatic: bool,
    /// The columns in which it allows no NULL, once it is valid.
    pub not_null: Vec<String>,
    /// False for a `NOT VALID` one with such columns.
    pub valid: bool,
    /// Of a check, as SQL, when it is known.
    pub condition: Option<String>,
}

/// An index.
#[derive(Debug, Clone, PartialEq)]
pub struct Index {
    pub table: TableName,
    pub unique: bool,
    pub elements: Vec<IndexElement>,
    pub options: IndexOptions,
    /// It belongs to a constraint of the same name.
    pub of_constraint: bool,
    /// It is there for sure.
    pub certain: bool,
}

impl Index {
    /// Whether it has anything to do with a column; `None` when that is not known.
    #[must_use]
    pub fn uses(&self, column: &str) -> Option<bool> {
        let of_key = self.elements.iter().map(|element| match element {
            IndexElement::Column(name) => Some(name == column),
            IndexElement::Expression(sql) => sql.as_ref().map(|sql| mentions(sql, column)),
        });
        let options = self.options.known().map(|options| options.mentions(column));
        let parts: Vec<_> = of_key.chain([options]).collect();
        if parts.contains(&Some(true)) {
            return Some(true);
        }
        (!parts.contains(&None) && !self.elements.is_empty()).then_some(false)
    }

    /// Whether a column is an element of its key.
    pub(crate) fn has_column(&self, column: &str) -> bool {
        self.elements.iter().any(|element| matches!(element, IndexElement::Column(name) if name == column))
    }

    /// Follow a column to its new name. PostgreSQL writes expressions anew.
    fn rename_column(&mut self, column: &str, new_name: &str) {
        for element in &mut self.elements {
            match element {
                IndexElement::Column(name) if name == column => new_name.clone_into(name),
                IndexElement::Expression(sql) => {
                    sql.take_if(|sql| mentions(sql, column));
                }
                IndexElement::Column(_) => {}
            }
        }
        self.options.unclear |= self.options.mentions(column);
    }

    /// Whether every search that `other` helps is helped by this one as well, so that `other` is not needed:
    /// its key begins with the other's, and the rest is the same.
    ///
    /// A unique index also keeps rows out, which only one over the same columns does as well; the index
    /// behind a constraint can't be dropped.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let same_class = |element: &IndexElement| match element {
            IndexElement::Column(column) => {
                self.options.operator_class(column) == other.options.operator_class(column)
            }
            IndexElement::Expression(text) => text.is_some(),
        };
        let stored = |column: &String| {
            self.options.include.contains(column)
                || self.elements.contains(&IndexElement::Column(column.clone()))
        };
        let (mine, others) = (&self.options, &other.options);
        // Only the key of a btree has a beginning.
        let may_be_longer = mine.is_btree() && !other.unique;
        !other.of_constraint
            && self.table == other.table
            && self.certain
            && other.certain
            && !mine.unclear
            && !others.unclear
            && (mine.method == others.method || mine.is_btree() && others.is_btree())
            && mine.has_rows_of(others)
            && !other.elements.is_empty()
            && self.elements.starts_with(&other.elements)
            && (may_be_longer || self.elements.len() == other.elements.len())
            && (!other.unique || self.unique && mine.nulls_not_distinct == others.nulls_not_distinct)
            && other.elements.iter().all(same_class)
            && others.include.iter().all(stored)
    }
}

impl IndexOptions {
    fn mentions(&self, column: &str) -> bool {
        self.include.iter().any(|name| name == column)
            || self.predicate.iter().flatten().any(|predicate| mentions(predicate, column))
    }
}

/// Whether something exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Yes,
    No,
    Maybe,
}

impl Catalog {
    /// An empty database.
    #[must_use]
    pub fn empty(naming: Naming) -> Self {
        Self { naming, ..Self::default() }
    }

    /// Whether dropping the constraint shows that PostgreSQL did not choose the names: the table is
    /// known, has constraints without a name, and none of this name.
    #[must_use]
    pub fn contradicts_names(&self, table: &TableName, dropped: &str) -> bool {
        self.constraint_presence(table, dropped) == Presence::No
            && self.table(table).is_some_and(|known| {
                known.constraints.iter().any(|constraint| constraint.automatic)
                    && !is_automatic(&table.name, known, dropped)
            })
    }

    /// A revision is missing: it may have done anything.
    pub fn forget(&mut self) {
        self.anything_is_possible();
    }

    /// A table that some migration created.
    #[must_use]
    pub fn table(&self, name: &TableName) -> Option<&Table> {
        self.tables.get(name).map(AsRef::as_ref)
    }

    /// An index, by schema and name.
    #[must_use]
    pub fn index(&self, schema: Option<&str>, name: &str) -> Option<&Index> {
        self.indexes.get(&key(schema, name)).map(AsRef::as_ref)
    }

    /// The indexes of a table, those behind its constraints included, by name.
    pub fn indexes_of(&self, table: &TableName) -> impl Iterator<Item = (&str, &Index)> {
        self.indexes
            .iter()
            .filter(move |(_, index)| index.table == *table)
            .map(|((_, name), index)| (name.as_str(), &**index))
    }

    /// The tables that some migration created.
    pub fn tables(&self) -> impl Iterator<Item = (&TableName, &Table)> {
        self.tables.iter().map(|(name, table)| (name, &**table))
    }

    /// Whether an index of that name exists on a table that is known, or may exist.
    #[must_use]
    pub fn index_presence(&self, table: Option<&TableName>, schema: Option<&str>, name: &str) -> Presence {
        match self.index(schema, name) {
            Some(index) if index.certain => Presence::Yes,
            Some(_) => Presence::Maybe,
            None if self.indexes_gone.contains(&key(schema, name)) => Presence::No,
            None if self.may_be_more(name) => Presence::Maybe,
            None => match table.map(|table| self.table(table)) {
                Some(Some(table)) if table.complete => Presence::No,
                _ => Presence::Maybe,
            },
        }
    }

    /// Whether a constraint of that name exists on the table.
    #[must_use]
    pub fn constraint_presence(&self, table: &TableName, name: &str) -> Presence {
        // MySQL calls every primary key so. On PostgreSQL, dropping it fails.
        let unknown = |name: &str| if name == "PRIMARY" { Presence::No } else { Presence::Maybe };
        let Some(known) = self.table(table) else {
            let has = self.constraints_elsewhere.contains(&(table.clone(), name.to_owned()));
            return if has { Presence::Yes } else { unknown(name) };
        };
        let name = &*self.called(table, name);
        match known.constraints.iter().find(|constraint| constraint.name == name) {
            Some(constraint) if constraint.certain => Presence::Yes,
            Some(_) => Presence::Maybe,
            None if known.complete && !self.may_be_more(name) => Presence::No,
            None => unknown(name),
        }
    }

    /// The name of a constraint that a migration calls by `name`: of a check, a naming convention may take that for a
    /// part of it (`op.drop_constraint("positive", "t", type_="check")`).
    pub(super) fn called<'b>(&self, table: &TableName, name: &'b str) -> Cow<'b, str> {
        let has = |name: &str| {
            self.table(table)
                .is_some_and(|known| known.constraints.iter().any(|constraint| constraint.name == name))
        };
        let kind = ConstraintKind::Check;
        let named = Named { kind, given: Some(name), table, columns: None, referent: None, unique: None };
        match self.naming.convention().map(|convention| convention.name(named)) {
            Some(convention::Name::Is(whole)) if !has(name) && has(&whole) => Cow::Owned(whole),
            _ => Cow::Borrowed(name),
        }
    }

    /// Whether a type is a domain that not every value belongs to, as far as some migration said so.
    #[must_use]
    pub fn is_constrained_domain(&self, type_: &TableName) -> bool {
        self.constrained_domains.contains_key(type_)
    }

    /// A type, which some migration may have created.
    #[must_use]
    pub fn type_(&self, text: &str) -> Type {
        let read = Type::read(text);
        match &read.base {
            Base::Other(name) if self.types.contains_key(name) => {
                Type { base: Base::Enum(name.clone()), ..read }
            }
            _ => read,
        }
    }

    /// Whether a foreign key may reference a table, and rest on one of its unique indexes.
    #[must_use]
    pub fn may_be_referenced(&self, table: &TableName) -> bool {
        self.references_anything || self.may_be_more(&table.name) || self.referenced.contains_key(table)
    }

    /// The columns of a table's primary key, when it has one for sure.
    #[must_use]
    pub fn primary_key(&self, table: &TableName) -> Option<&[String]> {
        let key = self.table(table)?.key.as_slice();
        (!key.is_empty()).then_some(key)
    }

    /// The tables that are known to be partitions of a table.
    pub fn partitions(&self, parent: &TableName) -> impl Iterator<Item = (&TableName, &Table)> {
        let is_partition = |table: &Table| table.partition_of.as_ref() == Some(parent);
        self.tables.iter().map(|(name, table)| (name, &**table)).filter(move |(_, table)| is_partition(table))
    }

    /// The name that PostgreSQL gives to the index of a partition, when one is created on its parent.
    #[must_use]
    pub fn partition_index_name(&self, partition: &TableName, columns: &[String]) -> Option<String> {
        self.chosen_name(partition, columns, "idx", true)
    }

    /// The columns of everything that is unique for sure.
    pub fn unique_columns(&self, table: &TableName) -> impl Iterator<Item = Vec<&str>> {
        self.indexes
            .values()
            .filter(|index| index.table == *table && index.unique && index.certain)
            .filter_map(|index| {
                let columns = index.elements.iter().map(|element| match element {
                    IndexElement::Column(column) => Some(column.as_str()),
                    IndexElement::Expression(_) => None,
                });
                columns.collect::<Option<Vec<_>>>().filter(|columns| !columns.is_empty())
            })
    }

    /// Whether something that was not understood named it.
    #[must_use]
    pub fn is_mentioned(&self, name: &str) -> bool {
        self.mentioned.contains_key(name)
    }

    /// Something that was not understood may have created what is not known, or what was gone.
    fn anything_is_possible(&mut self) {
        self.anything_possible = true;
        self.indexes_gone.clear();
    }

    fn may_be_more(&self, name: &str) -> bool {
        self.anything_possible || self.mentioned.contains_key(name)
    }

    /// Whether the schema has a relation or constraint of that name already.
    fn taken(&self, schema: Option<&str>, name: &str, relation: bool) -> Presence {
        let constraints = self
            .tables
            .iter()
            .filter(|(table, _)| table.schema.as_deref() == schema)
            .flat_map(|(_, known)| &known.constraints)
            .filter(|constraint| constraint.name == name)
            .map(|constraint| constraint.certain);
        let indexes = self.index(schema, name).filter(|_| relation).map(|index| index.certain);
        let tables = self.table(&TableName::new(schema, name)).filter(|_| relation).map(|_| true);
        let mut found: Vec<bool> = constraints.chain(indexes).chain(tables).collect();
        found.sort_unstable();
        match found.last() {
            Some(true) => Presence::Yes,
            Some(false) => Presence::Maybe,
            None => Presence::No,
        }
    }

    /// The name of the sequence that a `SERIAL` column gets; `None` when it depends on something that is not known.
    #[must_use]
    pub fn sequence_name(&self, table: &TableName, column: &str) -> Option<String> {
        let name = naming::constraint_name(&table.name, &[column.to_owned()], "seq", |_| false);
        let free =
            self.taken(table.schema.as_deref(), &name, true) == Presence::No && !self.may_be_more(&name);
        free.then_some(name)
    }

    /// The name that PostgreSQL gives to an unnamed constraint; `None` when it depends on something
    /// that is not known.
    #[must_use]
    pub fn automatic_name(
        &self,
        table: &TableName,
        kind: ConstraintKind,
        columns: &[String],
    ) -> Option<String> {
        let (label, relation) = match kind {
            ConstraintKind::PrimaryKey => return Some(format!("{}_pkey", table.name)),
            ConstraintKind::Unique => ("key", true),
            ConstraintKind::ForeignKey => ("fkey", false),
            ConstraintKind::Check => ("check", false),
            ConstraintKind::Exclude => ("excl", true),
        };
        // A check is named after its column only when it has one.
        let columns = if kind == ConstraintKind::Check && columns.len() != 1 { &[] } else { columns };
        self.chosen_name(table, columns, label, relation)
    }

    fn chosen_name(
        &self,
        table: &TableName,
        columns: &[String],
        label: &str,
        relation: bool,
    ) -> Option<String> {
        let doubtful = std::cell::Cell::new(false);
        let name = naming::constraint_name(&table.name, columns, label, |name| {
            match self.taken(table.schema.as_deref(), name, relation) {
                Presence::Yes => true,
                Presence::No => false,
                Presence::Maybe => {
                    doubtful.set(true);
                    false
                }
            }
        });
        (!doubtful.get()).then_some(name)
    }

    /// The columns that the condition of a check uses; an unnamed check is named after the one.
    #[must_use]
    pub fn check_columns(&self, table: &TableName, condition: Option<&str>) -> Option<Vec<String>> {
        let condition = condition?;
        // Quotes could be text or identifiers; better not to name it than to name it wrongly.
        if condition.contains(['\'', '"', '$']) {
            return None;
        }
        let words: Vec<_> =
            condition.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_lowercase).collect();
        let columns = self.table(table)?.columns.iter().filter(|column| words.contains(&column.name));
        Some(columns.map(|column| column.name.clone()).collect())
    }

    /// Whether two catalogs have the same tables, columns and constraints, and the same indexes but for some,
    /// by schema and name.
    #[must_use]
    pub fn same_schema_but_for(&self, other: &Self, except: &BTreeSet<(Option<String>, String)>) -> bool {
        let tables = |catalog: &Self| -> Vec<_> {
            catalog
                .tables
                .iter()
                .map(|(name, table)| {
                    let columns: BTreeSet<_> =
                        table.columns.iter().map(|column| (column.name.clone(), column.nullable)).collect();
                    let constraints: BTreeSet<_> = table
                        .constraints
                        .iter()
                        // Under a condition, the catalog can't see it go.
                        .filter(|constraint| {
                            constraint.certain || !constraint.name.starts_with(naming::TEMPORARY)
                        })
                        .map(|constraint| {
                            (constraint.name.clone(), constraint.kind, constraint.columns.clone())
                        })
                        .collect();
                    (name.clone(), columns, constraints)
                })
                .collect()
        };
        let indexes = |catalog: &Self| -> Vec<_> {
            catalog
                .indexes
                .iter()
                .filter(|(name, _)| !except.contains(*name))
                .map(|(name, index)| {
                    (name.clone(), index.table.clone(), index.unique, index.elements.clone())
                })
                .collect()
        };
        // What is not known of one says nothing about the other.
        let same_options = self.indexes.iter().all(|(name, index)| {
            let both = other
                .indexes
                .get(name)
                .and_then(|other| Some((index.options.known()?, other.options.known()?)));
            except.contains(name) || both.is_none_or(|(one, two)| one == two)
        });
        tables(self) == tables(other) && indexes(self) == indexes(other) && same_options
    }

    /// The name that SQLAlchemy gives to an index without one; `None` when a naming convention gives it one that is not
    /// known.
    #[must_use]
    pub fn index_name(&self, table: &TableName, elements: &[IndexElement], unique: bool) -> Option<String> {
        let mut columns = elements.iter().map(|element| match element {
            IndexElement::Column(column) => Some(column.clone()),
            IndexElement::Expression(_) => None,
        });
        match &self.naming {
            Naming::Convention { convention, .. } => {
                convention.as_ref()?.index_name(table, &columns.collect::<Option<Vec<_>>>()?, unique)
            }
            Naming::Postgres | Naming::Listener { .. } => {
                let column = columns.next()??;
                Some(naming::column_index_name(table.schema.as_deref(), &table.name, &column))
            }
        }
    }
}

/// Whether SQL has a word that is a column's name.
pub(crate) fn mentions(sql: &str, column: &str) -> bool {
    let column = column.to_lowercase();
    sql.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
        .any(|word| word.to_lowercase() == column)
        || column.contains(|c: char| !c.is_alphanumeric() && c != '_' && c != '$')
            && sql.to_lowercase().contains(&column)
}

/// The columns of which a condition says that they are not NULL: `a IS NOT NULL AND b > 0`.
pub(crate) fn not_null_columns(condition: &str) -> Vec<String> {
    let lower = condition.to_ascii_lowercase();
    // Texts could hold anything.
    if lower.contains(['\'', '$']) || lower.contains(" or ") {
        return Vec::new();
    }
    let mut columns = Vec::new();
    let mut start = 0;
    for part in lower.split(" and ") {
        let original = condition[start..start + part.len()].trim_matches([' ', '\t', '\n', '(', ')']);
        start += part.len() + " and ".len();
        let Some(at) = original.len().checked_sub(" is not null".len()) else { continue };
        let Some((name, rest)) = original.split_at_checked(at) else { continue };
        let quoted = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
        if !rest.eq_ignore_ascii_case(" is not null") {
            continue;
        }
        match quoted {
            Some(name) if !name.contains('"') => columns.push(name.to_owned()),
            None if name.chars().all(|c| c.is_alphanumeric() || c == '_') => {
                columns.push(name.to_lowercase());
            }
            _ => {}
        }
    }
    columns
}

fn key(schema: Option<&str>, name: &str) -> (Option<String>, String) {
    (schema.map(str::to_owned), name.to_owned())
}
