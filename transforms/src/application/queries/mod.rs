//! The queries of an application: which tables they read, and with which conditions.
//!
//! A function is followed statement by statement; a query is a value that its variables hold. It counts
//! when it is run, or given away.
//!
//! **Architecture Invariant:** one thing in a query that is not understood, and the whole query has a reason
//! instead of conditions.

mod calls;
mod conditions;
mod expressions;
mod flow;
mod joins;
mod lists;
mod methods;

use std::collections::{BTreeMap, BTreeSet};

use ruff_text_size::TextRange;

use super::File;
use super::models::{Models, Relationship};
use crate::operations::TableName;

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
/// A query that is run somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    /// Where it begins: `select(…)`, `session.query(…)`, `User.query`.
    pub(super) range: TextRange,
    pub(super) entities: Vec<Entity>,
    pub(super) conditions: Vec<Condition>,
    /// The columns that it is sorted by, with whether downwards; `None` when they are not known.
    pub(super) order: Option<Vec<(Entity, Key, bool)>>,
    /// It stops after some rows.
    pub(super) limited: bool,
    /// It has a condition that no index of a column serves.
    pub(super) filtered: bool,
    /// Rows are put together, so that sorting comes after that.
    pub(super) grouped: bool,
    /// Why it is not understood.
    pub(super) unclear: Option<String>,
    /// A part of another query.
    pub(super) inner: bool,
    /// The rows themselves are wanted: they are not counted, nor changed.
    rows: bool,
    /// They are deleted.
    pub(super) deletes: bool,
}

impl Query {
    fn begin(range: TextRange) -> Self {
        Self {
            range,
            entities: Vec::new(),
            conditions: Vec::new(),
            order: Some(Vec::new()),
            limited: false,
            filtered: false,
            grouped: false,
            unclear: None,
            inner: false,
            rows: false,
            deletes: false,
        }
    }

    /// The table of which it fetches all rows, however many there are.
    pub(super) fn whole(&self) -> Option<&TableName> {
        let [entity] = &self.entities[..] else { return None };
        let is_partial = self.filtered || self.limited || self.grouped || self.inner || !self.rows;
        (self.unclear.is_none() && self.conditions.is_empty() && !is_partial).then_some(&entity.table)
    }
}

/// A table in a query, under one of its names there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entity {
    pub(super) table: TableName,
    /// The model, where there is one.
    pub(super) model: Option<usize>,
    /// 0, unless it is an alias: the place where that is made.
    alias: u32,
}

/// What a condition compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Column(String),
    /// `lower(email)`.
    Function(String, String),
}

impl Key {
    /// The column that it is, or is made of.
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Column(column) | Self::Function(_, column) => column,
        }
    }
}

/// A condition that always holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) entity: Entity,
    pub(super) key: Key,
    pub(super) comparison: Comparison,
}

/// How a condition compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    /// With `=`, or `IN` a list.
    Equal,
    /// With `=`, but many rows are equal: an enum's member, NULL, a boolean.
    Few,
    /// With `=`, and a value that was known when the query was written. It says which kind of rows is meant, and there
    /// are many of each, unless it stands for one row.
    Constant,
    Range,
    /// `LIKE 'x%'`.
    Prefix,
    /// With a column of another table.
    Join(Entity, Key),
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Entity(Entity),
    /// `users.c`.
    Columns(Entity),
    Column(Entity, Key),
    Relationship(Entity, Relationship),
    Query(Box<Query>),
    /// The conditions that hold when it does; `None`: it says nothing that an index could help with.
    Conditions(Vec<Condition>),
    /// A list of conditions, of which all hold: those that an index could help with, and whether there may be others.
    List(Vec<Condition>, bool),
    /// Something of these tables, such as `func.count(User.id)`.
    Of(Vec<Entity>),
    /// A value of Python.
    Plain,
    /// A member of an enum, or NULL.
    Few,
    /// Something of a query that is not understood, and why.
    Unclear(String),
}

type Scope = BTreeMap<String, Value>;

/// Everything that was found in one file.
pub(super) fn read(models: &Models, file: usize, source: &File) -> Vec<Query> {
    let mut reader =
        Reader { models, file, found: Vec::new(), seen: BTreeSet::new(), inside: None, depth: 0 };
    let mut scope = Scope::new();
    reader.body(source.module.body(), &mut scope);
    reader.found
}

struct Reader<'m, 'a> {
    models: &'m Models<'a>,
    file: usize,
    found: Vec<Query>,
    /// Queries by where they begin, so that one that is run in two branches counts once.
    seen: BTreeSet<u32>,
    /// The model whose class is being read.
    inside: Option<usize>,
    depth: usize,
}

impl Reader<'_, '_> {
    fn entity(&self, model: usize) -> Entity {
        Entity { table: self.models.models[model].table.clone(), model: Some(model), alias: 0 }
    }

    /// A query is run as it is.
    fn run(&mut self, value: Value) {
        if let Value::Query(query) = value {
            self.found(*query);
        }
    }

    /// A query goes where it can't be followed.
    fn give_away(&mut self, value: Value, reason: &str) {
        if let Value::Query(mut query) = value {
            query.unclear.get_or_insert_with(|| reason.to_owned());
            self.found(*query);
        }
    }

    fn found(&mut self, mut query: Query) {
        let outside = |condition: &Condition| match &condition.comparison {
            Comparison::Join(other, _) => {
                !query.entities.contains(other) || !query.entities.contains(&condition.entity)
            }
            _ => false,
        };
        if query.inner && query.conditions.iter().any(outside) {
            // Which of the two is looked up first is the planner's affair.
            query.unclear.get_or_insert_with(|| "it depends on the query around it".to_owned());
        }
        if !query.inner {
            // A table that only conditions name is read as well.
            let named = query.conditions.iter().flat_map(|condition| match &condition.comparison {
                Comparison::Join(other, _) => vec![condition.entity.clone(), other.clone()],
                _ => vec![condition.entity.clone()],
            });
            for entity in named.collect::<Vec<_>>() {
                if !query.entities.contains(&entity) {
                    query.entities.push(entity);
                }
            }
        }
        let start = query.range.start().to_u32();
        if self.seen.insert(start) {
            self.found.push(query);
        } else if let Some(known) = self.found.iter_mut().find(|known| known.range == query.range) {
            // What it is in one place counts less than what it is in all.
            let merged = common(known, &query);
            *known = merged;
        }
    }

    /// A part of another query: it counts, unless it depends on that.
    fn subquery(&mut self, value: Value) {
        if let Value::Query(mut query) = value {
            query.inner = true;
            self.found(*query);
        }
    }
}

/// What two states of a query have in common.
fn common(a: &Query, b: &Query) -> Query {
    let mut query = a.clone();
    query.conditions.retain(|condition| b.conditions.contains(condition));
    query.entities.retain(|entity| b.entities.contains(entity));
    if a.order != b.order {
        query.order = None;
    }
    query.limited = a.limited && b.limited;
    query.rows = a.rows && b.rows;
    query.deletes = a.deletes && b.deletes;
    query.grouped |= b.grouped;
    query.filtered |= b.filtered;
    query.unclear = a.unclear.clone().or_else(|| b.unclear.clone());
    let has_more =
        |one: &Query, other: &Query| one.conditions.iter().any(|known| !other.conditions.contains(known));
    if has_more(a, b) && has_more(b, a) {
        // It is never run with what they have in common alone: an index may serve each.
        query.unclear.get_or_insert_with(|| "one of several queries".to_owned());
    }
    query
}
