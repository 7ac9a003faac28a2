//! How rows of a table are looked for, and which index serves that.

use std::collections::{BTreeMap, BTreeSet};

use ruff_text_size::TextRange;

use super::models::{Attribute, Holds, Model, Models};
use super::queries::{Comparison, Entity, Key, Query};
use super::reads::Reads;
use super::size::Sizes;
use crate::catalog::{Catalog, Index};
use crate::operations::{IndexElement, IndexOptions, TableName};
use crate::revision::NewIndex;

/// A way in which rows of one table are looked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern {
    pub(crate) table: TableName,
    /// Compared with `=`, in the order of the conditions.
    equal: Vec<Key>,
    /// Compared as well, but what is looked for may be many of the rows.
    few: Vec<Key>,
    range: Vec<Key>,
    prefix: Vec<Key>,
    /// Sorted by, and only the first rows are wanted; with whether downwards.
    order: Vec<(Key, bool)>,
}

/// What an index is to be over, with an operator class where it is not the default.
pub(super) type IndexKey = Vec<(Key, Option<&'static str>)>;

/// The place where rows are looked for: a file and a range in it.
pub(crate) type Place = (usize, TextRange);

/// Who looks for rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) place: Place,
    /// To delete them.
    pub(crate) deletes: bool,
}

/// Every index that the database or the models have, as the keys that it begins with.
#[derive(Debug, Default)]
pub(crate) struct Served {
    by_table: BTreeMap<TableName, Vec<Vec<Key>>>,
    /// What is created for them.
    new: BTreeMap<TableName, Vec<Vec<Key>>>,
}

impl Served {
    pub(super) fn new(models: &Models, database: Option<&Catalog>) -> Self {
        let mut served = Self::default();
        for (table, known) in &models.tables {
            for index in &known.indexes {
                served.add(table, &index.index);
            }
        }
        let Some(database) = database else { return served };
        for table in models.tables.keys() {
            for (_, index) in database.indexes_of(table) {
                served.add(table, index);
            }
            let Some(known) = database.table(table) else { continue };
            for index in &known.unnamed_indexes {
                served.add(table, index);
            }
        }
        served
    }

    fn add(&mut self, table: &TableName, index: &Index) {
        let keys = index.elements.iter().map_while(key_of).collect();
        self.by_table.entry(table.clone()).or_default().push(keys);
    }

    /// Take an index for there.
    pub(crate) fn create(&mut self, index: &NewIndex) {
        let keys = index.elements.iter().map_while(key_of).collect();
        self.new.entry(index.table.clone()).or_default().push(keys);
    }

    /// Whether an index narrows the search at all. It may not be the best one; that is left to people.
    pub(crate) fn serves(&self, pattern: &Pattern) -> bool {
        let narrows = |keys: &Vec<Key>| {
            keys.first().is_some_and(|first| {
                pattern.equal.contains(first)
                    // The value that is looked for may be the rare one.
                    || pattern.few.contains(first)
                    || pattern.range.contains(first)
                    || pattern.prefix.contains(first)
            })
        };
        let sorts = |keys: &Vec<Key>| pattern.order.first().is_some_and(|(key, _)| keys.first() == Some(key));
        let of = |indexes: &BTreeMap<_, Vec<_>>, serves: &dyn Fn(&Vec<Key>) -> bool| {
            indexes.get(&pattern.table).is_some_and(|indexes| indexes.iter().any(serves))
        };
        of(&self.by_table, &|keys| narrows(keys) || sorts(keys))
            // No new one for the order where there can be one for what is looked for.
            || of(&self.new, &|keys| narrows(keys) || pattern.equal.is_empty() && sorts(keys))
    }
}

/// What an element of an index is compared as.
fn key_of(element: &IndexElement) -> Option<Key> {
    match element {
        IndexElement::Column(column) => Some(Key::Column(column.clone())),
        IndexElement::Expression(Some(sql)) => {
            let bare = sql.split(" DESC").next()?.split(" ASC").next()?.trim();
            let bare = bare.split(" desc").next()?.split(" asc").next()?.split_whitespace().next()?;
            let lower = bare.to_lowercase();
            match lower.strip_suffix(')').and_then(|call| call.split_once('(')) {
                Some((function, column)) => {
                    let column = column.trim_matches(['(', ')', '"', ' ']).split("::").next()?;
                    Some(Key::Function(function.to_owned(), column.trim_matches(['(', ')']).to_owned()))
                }
                None => Some(Key::Column(bare.trim_matches('"').to_owned())),
            }
        }
        IndexElement::Expression(None) => None,
    }
}

/// The patterns of a query.
pub(super) fn of_query(query: &Query, models: &Models, served: &Served, sizes: &Sizes) -> Vec<Pattern> {
    let mut patterns: Vec<(Entity, Pattern)> = Vec::new();
    let single = query.entities.len() == 1;
    for entity in &query.entities {
        let mut pattern = Pattern {
            table: entity.table.clone(),
            equal: Vec::new(),
            few: Vec::new(),
            range: Vec::new(),
            prefix: Vec::new(),
            order: Vec::new(),
        };
        for condition in query.conditions.iter().filter(|condition| condition.entity == *entity) {
            let narrows = match condition.comparison {
                // The rows before a date, or after it, are few where it never changes: the oldest, or the newest.
                Comparison::Range => sizes.is_beginning(&entity.table, &condition.key),
                // Of a few values, nobody looks for the beginning.
                Comparison::Prefix => true,
                _ => sizes.has_many_values(&entity.table, &condition.key),
            };
            let list = match condition.comparison {
                Comparison::Join(..) => continue,
                _ if !narrows => &mut pattern.few,
                Comparison::Equal => &mut pattern.equal,
                Comparison::Constant if identifies(&entity.table, &condition.key, models) => {
                    &mut pattern.equal
                }
                Comparison::Constant | Comparison::Few => &mut pattern.few,
                Comparison::Range => &mut pattern.range,
                Comparison::Prefix => &mut pattern.prefix,
            };
            if !list.contains(&condition.key) {
                list.push(condition.key.clone());
            }
        }
        if query.filtered && pattern.equal.is_empty() {
            // It depends on the rows which condition leaves few of them.
            pattern.range.clear();
        }
        if single
            && query.limited
            && !query.grouped
            // With other conditions, it depends on the rows whether sorting or finding them takes longer.
            && !(query.filtered && query.conditions.is_empty())
            && let Some(order) = &query.order
            && order.iter().all(|(of, ..)| of == entity)
        {
            pattern.order = order.iter().map(|(_, key, down)| (key.clone(), *down)).collect();
        }
        patterns.push((entity.clone(), pattern));
    }
    // Where few rows of one table are found by an index, the other is looked up by the column that joins them.
    let bound: Vec<bool> = patterns
        .iter()
        .map(|(_, pattern)| {
            !pattern.equal.is_empty()
                && served.serves(&Pattern { order: Vec::new(), range: Vec::new(), ..pattern.clone() })
        })
        .collect();
    let joins = || {
        query.conditions.iter().filter_map(|condition| match &condition.comparison {
            Comparison::Join(other, other_key) => {
                Some([(other, &condition.entity, &condition.key), (&condition.entity, other, other_key)])
            }
            _ => None,
        })
    };
    for (from, to, key) in joins().flatten() {
        let is_bound = patterns.iter().zip(&bound).any(|((known, _), bound)| known == from && *bound);
        let Some((_, pattern)) = patterns.iter_mut().find(|(known, _)| known == to).filter(|_| is_bound)
        else {
            continue;
        };
        let many = sizes.has_many_values(&to.table, key);
        let list = if many { &mut pattern.equal } else { &mut pattern.few };
        if !list.contains(key) {
            list.push(key.clone());
        }
    }
    // Where few rows of one table are found, those of the other are looked up by a key that they have: what else is
    // asked of them needs no index.
    let mut looked_up: Vec<&Entity> = Vec::new();
    // Where either could be, it is what was joined to the other.
    for entity in query.entities.iter().rev() {
        let has_key = joins().flatten().any(|(from, to, key)| {
            let narrows = patterns.iter().any(|(known, pattern)| known == from && !pattern.equal.is_empty());
            to == entity && narrows && !looked_up.contains(&from) && is_unique(&to.table, key, models)
        });
        if has_key {
            looked_up.push(entity);
        }
    }
    patterns
        .into_iter()
        .filter(|(entity, _)| !looked_up.contains(&entity))
        .map(|(_, pattern)| pattern)
        .collect()
}

/// Whether a column alone is unique.
fn is_unique(table: &TableName, key: &Key, models: &Models) -> bool {
    let Key::Column(name) = key else { return false };
    models.tables.get(table).is_some_and(|known| known.is_unique(name))
}

/// Whether a value of a column stands for a row, of its own table or of another.
fn identifies(table: &TableName, key: &Key, models: &Models) -> bool {
    let Key::Column(name) = key else { return false };
    models.column(table, name).is_some_and(|column| column.foreign.is_some()) || is_unique(table, key, models)
}

/// What relationships look for when they are loaded: the rows of the other side, by the foreign key there.
pub(super) fn of_relationships(models: &Models, sizes: &Sizes, reads: &Reads) -> Vec<(Pattern, Asker)> {
    let mut found = Vec::new();
    let owners = owners(models);
    let is_read = |model: &Model, name: &str| {
        reads.contains(model, name, owners.get(name).is_some_and(|tables| tables.len() == 1))
    };
    for model in &models.models {
        for (name, attribute) in &model.attributes {
            let Attribute::Relationship(relationship) = attribute else { continue };
            if relationship.special {
                continue;
            }
            let Some(target) =
                relationship.target.as_deref().and_then(|name| models.model_named(name, relationship.file))
            else {
                continue;
            };
            let other = &models.models[target];
            let target = &other.table;
            let is_loaded = relationship.eager || is_read(model, name);
            let is_loaded_back = relationship.backref.as_ref().is_some_and(|back| {
                back.eager || back.name.as_deref().is_some_and(|name| is_read(other, name))
            });
            let mut looked_up = Vec::new();
            match &relationship.secondary {
                Some(Some(secondary)) => {
                    if is_loaded {
                        looked_up.extend(reference(models, secondary, &model.table));
                    }
                    if is_loaded_back {
                        looked_up.extend(reference(models, secondary, target));
                    }
                }
                Some(None) => continue,
                None => {
                    let here = reference(models, &model.table, target);
                    let there = reference(models, target, &model.table);
                    match (here, there) {
                        // Of itself: without `remote_side`, those that reference it.
                        (Some(_), Some(there)) if is_loaded && model.table == *target => {
                            looked_up.push(there);
                        }
                        (None, Some(there)) if is_loaded => looked_up.push(there),
                        (Some(here), None) if is_loaded_back => looked_up.push(here),
                        _ => {}
                    }
                }
            }
            for (table, column) in looked_up {
                let key = Key::Column(column);
                if !sizes.has_many_values(&table, &key) {
                    continue;
                }
                let pattern = Pattern {
                    table,
                    equal: vec![key],
                    few: Vec::new(),
                    range: Vec::new(),
                    prefix: Vec::new(),
                    order: Vec::new(),
                };
                let place = (relationship.file, relationship.range);
                found.push((pattern, Asker { place, deletes: false }));
            }
        }
    }
    found
}

/// The tables whose rows have an attribute of a name.
fn owners<'a>(models: &'a Models) -> BTreeMap<&'a str, BTreeSet<&'a TableName>> {
    let mut owners: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for model in &models.models {
        for (name, attribute) in &model.attributes {
            owners.entry(name.as_str()).or_default().insert(&model.table);
            let Attribute::Relationship(relationship) = attribute else { continue };
            let back = relationship.backref.as_ref().and_then(|back| back.name.as_deref());
            let other = relationship.target.as_deref();
            let other = other.and_then(|name| models.model_named(name, relationship.file));
            if let (Some(back), Some(other)) = (back, other) {
                owners.entry(back).or_default().insert(&models.models[other].table);
            }
        }
    }
    owners
}

/// The one foreign key of a table that references another.
fn reference(models: &Models, from: &TableName, to: &TableName) -> Option<(TableName, String)> {
    let mut columns = models
        .tables
        .get(from)?
        .columns
        .iter()
        .filter(|column| column.foreign.as_ref().is_some_and(|(table, _)| table == to));
    let first = columns.next()?;
    columns.next().is_none().then(|| (from.clone(), first.name.clone()))
}

impl Pattern {
    /// The key of an index that would serve it, at most `most` elements; `None` when none would help for sure.
    pub(super) fn key(&self, models: &Models, most: usize) -> Option<IndexKey> {
        let plain = |keys: &[Key]| keys.iter().take(most).map(|key| (key.clone(), None)).collect::<Vec<_>>();
        if !self.equal.is_empty() {
            let mut keys = plain(&self.equal);
            let one_way = self.order.windows(2).all(|pair| pair[0].1 == pair[1].1);
            for (key, _) in self.order.iter().filter(|_| one_way) {
                if keys.len() < most && !keys.iter().any(|(known, _)| known == key) {
                    keys.push((key.clone(), None));
                }
            }
            return Some(keys);
        }
        if let [Key::Column(column)] = &self.prefix[..] {
            let is_text =
                models.column(&self.table, column).is_some_and(|column| column.holds == Holds::Text);
            return is_text.then(|| vec![(self.prefix[0].clone(), Some("text_pattern_ops"))]);
        }
        if let Some(key) = self.range.first() {
            return Some(vec![(key.clone(), None)]);
        }
        let one_way = self.order.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let any_filter = !(self.few.is_empty() && self.range.is_empty() && self.prefix.is_empty());
        (!self.order.is_empty() && one_way && !any_filter)
            .then(|| self.order.iter().take(most).map(|(key, _)| (key.clone(), None)).collect())
    }

    /// Whether it only looks for rows that are equal: an index for the beginnings of texts serves that, too.
    pub(super) fn is_equality(&self) -> bool {
        self.equal.len() == 1 && self.order.is_empty()
    }

    /// Whether it looks for what is equal, whatever comes next.
    pub(super) fn begins_equal(&self) -> bool {
        !self.equal.is_empty()
    }

    /// Whether it looks for the beginnings of texts, and an index has to be made for that.
    pub(super) fn is_prefix(&self) -> bool {
        self.equal.is_empty() && !self.prefix.is_empty()
    }

    /// The columns that it uses.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let order = self.order.iter().map(|(key, _)| key);
        let keys = self.equal.iter().chain(&self.few).chain(&self.range).chain(&self.prefix).chain(order);
        keys.map(Key::column)
    }
}

/// The index for a key.
pub(super) fn index(table: &TableName, key: &[(Key, Option<&'static str>)], name: String) -> NewIndex {
    let elements = key.iter().map(|(key, _)| match key {
        Key::Column(column) => IndexElement::Column(column.clone()),
        Key::Function(function, column) => IndexElement::Expression(Some(format!("{function}({column})"))),
    });
    let classes = key.iter().filter_map(|(key, class)| match (key, class) {
        (Key::Column(column), Some(class)) => Some((column.clone(), (*class).to_owned())),
        _ => None,
    });
    NewIndex {
        name,
        table: table.clone(),
        unique: false,
        elements: elements.collect(),
        options: IndexOptions { operator_classes: classes.collect(), ..IndexOptions::default() },
    }
}
