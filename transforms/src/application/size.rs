//! Which tables grow, and which of their columns have many values.
//!
//! An index helps where there are many rows, and few of them have the value that is looked for. Neither is written
//! down, but what a table is for shows in what it references, in the dates that its rows get, and in how it is read.
//!
//! **Architecture Invariant:** a table grows, and a column has many values, when something says so. Where nothing
//! does, no index is missing.

use std::collections::{BTreeMap, BTreeSet};

use super::models::{Holds, ModelColumn, ModelTable, Models, PRIMARY};
use super::queries::Key;
use crate::catalog::Catalog;
use crate::operations::{Column, IndexElement, TableName};
use crate::settings::Settings;
use crate::types::{Base, Type};

/// The tables of an application that grow, and what is known of their columns.
#[derive(Debug)]
pub(super) struct Sizes<'a> {
    models: &'a Models<'a>,
    columns: BTreeMap<&'a TableName, Vec<Known<'a>>>,
    /// The names of dates that a base gives to everything, so that they say nothing.
    kept_of_all: BTreeSet<&'a str>,
    growing: BTreeSet<TableName>,
}

/// What a table refers to, with a foreign key or by the name of a column.
struct Reference {
    to: TableName,
    /// Each row has one.
    obligatory: bool,
}

/// A column as the database and the model know it: one may lack what a base of another package declares, the other
/// what the program fills in.
#[derive(Debug)]
struct Known<'a> {
    name: &'a str,
    model: Option<&'a ModelColumn>,
    database: Option<&'a Column>,
}

/// The last word of columns whose values are made to tell one thing from all others.
const IDENTITIES: &[&str] = &[
    "checksum",
    "digest",
    "email",
    "filename",
    "fingerprint",
    "guid",
    "hash",
    "md5",
    "path",
    "sha1",
    "sha256",
    "slug",
    "token",
    "uri",
    "url",
    "uuid",
];

/// Columns that only people have.
const OF_PEOPLE: &[&str] = &[
    "e_mail",
    "email",
    "email_address",
    "first_name",
    "full_name",
    "fullname",
    "hashed_password",
    "last_name",
    "password_hash",
    "surname",
    "username",
];

/// What the names of dates begin with that say when a row came to be.
const BEGINNINGS: &[&str] = &["added", "creat", "insert", "start_time", "started", "timestamp"];

/// What the names of dates begin with that become others while a row is there.
const LATER: &[&str] = &["changed", "delet", "last", "modif", "updat"];

/// What the names of columns begin with that only say who was at work.
const AUTHORS: &[&str] = &["changed", "creat", "modif", "updat"];

/// The last words of tables that keep what has happened.
const RECORDS: &[&str] = &["event", "events", "history", "log", "logs"];

/// Words of tables whose rows go again, when what they stand for is done.
const PASSING: &[&str] = &["cleanup", "lease", "lock", "pending", "queue", "slot", "temp", "tmp"];

impl<'a> Sizes<'a> {
    /// `whole` are the tables that are read from the first row to the last.
    pub(super) fn new(
        models: &'a Models<'a>,
        database: Option<&'a Catalog>,
        whole: &BTreeSet<TableName>,
        settings: &Settings,
    ) -> Self {
        let known = models.tables.iter().map(|(name, table)| (name, columns(database, name, table)));
        let columns: BTreeMap<_, _> = known.collect();
        let named =
            models.tables.iter().filter(|(_, table)| is_named(table) || is_named_within(table, &|_| false));
        let dates = named.flat_map(|(name, _)| columns.get(name).into_iter().flatten());
        let dates = dates.filter(|column| column.is_date() && !column.is_own());
        let kept_of_all = dates.map(|column| column.name).collect();
        let mut sizes = Self { models, columns, kept_of_all, growing: BTreeSet::new() };
        let mut rest: Vec<_> = models
            .tables
            .iter()
            .filter(|(name, _)| !settings.is_small(name) && !is_passing(&name.name))
            .collect();
        loop {
            let (grown, others): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|(name, table)| sizes.must_grow(name, table, whole));
            if grown.is_empty() {
                return sizes;
            }
            sizes.growing.extend(grown.into_iter().map(|(name, _)| name.clone()));
            rest = others;
        }
    }

    /// Whether there are more rows in a table the longer the application is used.
    pub(super) fn grows(&self, table: &TableName) -> bool {
        self.growing.contains(table)
    }

    /// Whether few rows of a table have the same value of a key.
    pub(super) fn has_many_values(&self, table: &TableName, key: &Key) -> bool {
        let name = key.column();
        let Some(known) = self.models.tables.get(table) else { return false };
        let Some(column) = self.columns(table).iter().find(|column| column.name == name) else {
            return false;
        };
        if known.is_unique(name) || column.is_temporal() {
            return true;
        }
        // Not more than there are rows in that table.
        if let Some(to) = self.reference(table, column) {
            return self.grows(&to);
        }
        name == "id" || column.is_uuid() || IDENTITIES.iter().any(|word| ends_with(name, word))
    }

    /// Whether a column says when a row came to be: what came before that, or after, are other rows each time.
    pub(super) fn is_beginning(&self, table: &TableName, key: &Key) -> bool {
        let Key::Column(name) = key else { return false };
        self.columns(table).iter().any(|column| column.name == name && column.is_beginning())
    }

    /// None of a table that no model declares.
    fn columns(&self, table: &TableName) -> &[Known<'a>] {
        self.columns.get(table).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a table grows, as far as is known which others do.
    fn must_grow(&self, name: &TableName, table: &ModelTable, whole: &BTreeSet<TableName>) -> bool {
        let columns = self.columns(name);
        let references = self.references(name, columns);
        let is_association =
            references.len() > 1 && columns.iter().all(|column| column.is_foreign() || column.name == "id");
        let growing: Vec<_> = references.iter().filter(|reference| self.grows(&reference.to)).collect();
        // Of each row there, there are some here.
        if growing.iter().any(|reference| reference.obligatory || is_association)
            || is_of_people(columns)
            || RECORDS.iter().any(|word| ends_with(&name.name, word))
        {
            return true;
        }
        let of_growing = |column: &str| {
            let column = columns.iter().find(|known| known.name == column);
            column.and_then(|column| self.reference(name, column)).is_some_and(|to| self.grows(&to))
        };
        if is_named(table) || is_named_within(table, &of_growing) {
            return false;
        }
        // What may belong to people is there for all of them.
        if growing.iter().any(|reference| is_of_people(self.columns(&reference.to))) {
            return true;
        }
        let is_dated = columns
            .iter()
            .any(|column| column.is_date() && (column.is_own() || !self.kept_of_all.contains(column.name)));
        is_dated
            && (!growing.is_empty()
                // Who reads all rows counts on few.
                || !whole.contains(name))
    }

    /// What a table refers to, but for itself, and those who made its rows.
    fn references(&self, name: &TableName, columns: &[Known]) -> Vec<Reference> {
        columns
            .iter()
            .filter(|column| !AUTHORS.iter().any(|word| column.name.starts_with(word)))
            .filter_map(|column| {
                let to = self.reference(name, column)?;
                (to != *name).then(|| Reference { to, obligatory: !column.is_nullable() })
            })
            .collect()
    }

    /// What a column references: with a foreign key, or by its name. `author_user_id` is the id of a `user`.
    fn reference(&self, table: &TableName, column: &Known) -> Option<TableName> {
        if let Some((to, _)) = column.model.and_then(|model| model.foreign.as_ref()) {
            return Some(to.clone());
        }
        let thing = column.name.strip_suffix("_id").or_else(|| column.name.strip_suffix("_uuid"))?;
        if ends_with(thing, "parent") {
            return Some(table.clone());
        }
        let starts = [0].into_iter().chain(thing.match_indices('_').map(|(at, _)| at + 1));
        starts.map(|start| &thing[start..]).find_map(|thing| {
            let plural =
                thing.strip_suffix('y').map_or_else(|| format!("{thing}s"), |stem| format!("{stem}ies"));
            [thing, plural.as_str(), format!("{thing}es").as_str()]
                .into_iter()
                .map(|name| TableName::new(table.schema.as_deref(), name))
                .find(|name| self.models.tables.contains_key(name))
        })
    }
}

/// The columns of a table.
fn columns<'a>(database: Option<&'a Catalog>, name: &TableName, table: &'a ModelTable) -> Vec<Known<'a>> {
    let database = database.and_then(|database| database.table(name));
    let database = database.map(|table| table.columns.as_slice()).unwrap_or_default();
    let mut columns: Vec<_> = table
        .columns
        .iter()
        .map(|model| Known {
            name: &model.name,
            model: Some(model),
            database: database.iter().find(|column| column.name == model.name),
        })
        .collect();
    let others = database.iter().filter(|column| table.columns.iter().all(|model| model.name != column.name));
    columns.extend(others.map(|column| Known { name: &column.name, model: None, database: Some(column) }));
    columns
}

/// Whether what a table holds is told apart by a name: somebody thought of it. Where things may have none, they are
/// told apart by another key, if there is one.
fn is_named(table: &ModelTable) -> bool {
    let keys = table.indexes.iter().filter(|known| known.index.unique);
    let keys: Vec<_> = keys
        .filter_map(|known| match &known.index.elements[..] {
            // What rows are numbered by is not what they are told apart by.
            [IndexElement::Column(column)]
                if known.name.as_deref() != Some(PRIMARY) || column.ends_with("name") =>
            {
                Some(column)
            }
            _ => None,
        })
        .collect();
    let has_always = |name: &str| table.columns.iter().any(|column| column.name == name && !column.nullable);
    let mut names = keys.iter().filter(|column| column.ends_with("name")).peekable();
    names.peek().is_some() && (names.clone().count() == keys.len() || names.any(|name| has_always(name)))
}

/// Whether things of a kind are told apart by a name, unless each of what `grows` has its own.
fn is_named_within(table: &ModelTable, grows: &dyn Fn(&str) -> bool) -> bool {
    let keys = table.indexes.iter().filter(|known| known.index.unique).map(|known| &known.index.elements);
    keys.into_iter().filter(|key| key.len() > 1).any(|key| {
        let columns = key.iter().filter_map(|element| match element {
            IndexElement::Column(column) => Some(column.as_str()),
            IndexElement::Expression(_) => None,
        });
        columns.clone().any(|column| column.ends_with("name")) && !columns.clone().any(grows)
    })
}

impl Known<'_> {
    /// Whether it was thought of for this table.
    fn is_own(&self) -> bool {
        self.model.is_some_and(|model| model.own)
    }

    fn is_foreign(&self) -> bool {
        self.model.is_some_and(|model| model.foreign.is_some())
    }

    /// The type that the database has, or else the model.
    fn type_(&self) -> Option<Type> {
        let known = self.database.and_then(|column| column.type_.as_deref()).map(Type::read);
        known.filter(Type::is_known).or_else(|| self.model?.type_.clone())
    }

    fn is_nullable(&self) -> bool {
        self.model.is_none_or(|model| model.nullable) && self.database.is_none_or(|column| column.nullable)
    }

    fn is_temporal(&self) -> bool {
        self.model.is_some_and(|model| model.holds == Holds::Date)
            || self.type_().is_some_and(|type_| type_.is_temporal())
    }

    /// Whether it is a date that each row has, or one that is called as if.
    fn is_date(&self) -> bool {
        let is_filled = self.model.is_some_and(|model| model.has_default)
            || self.database.is_some_and(|column| column.server_default.is_some());
        let is_called_so = BEGINNINGS.iter().any(|word| self.name.starts_with(word));
        if self.is_temporal() {
            return is_called_so || is_filled || !self.is_nullable();
        }
        // Seconds since 1970, or milliseconds.
        let numbers = [Base::Builtin("bigint"), Base::Builtin("double precision"), Base::Builtin("numeric")];
        is_called_so && self.type_().is_some_and(|type_| numbers.contains(&type_.base))
    }

    /// Whether it is a date that stays as it is.
    fn is_beginning(&self) -> bool {
        self.is_date() && !LATER.iter().any(|word| self.name.starts_with(word))
    }

    /// Whether it holds a UUID, perhaps as a text.
    fn is_uuid(&self) -> bool {
        let is_called_so = ends_with(self.name, "id") || ends_with(self.name, "uuid");
        let declared = self.model.and_then(|model| model.type_.clone());
        self.model.is_some_and(|model| model.holds == Holds::Uuid)
            || declared.into_iter().chain(self.type_()).any(|type_| {
                type_.base == Base::Builtin("uuid")
                    || is_called_so && matches!(type_.modifiers[..], [32 | 36])
            })
    }
}

/// Whether a table is called as if its rows were there for a while only.
fn is_passing(table: &str) -> bool {
    let lower = table.to_lowercase();
    lower.split('_').any(|word| PASSING.contains(&word.strip_suffix('s').unwrap_or(word)))
}

/// Whether a table holds people.
fn is_of_people(columns: &[Known]) -> bool {
    columns.iter().any(|column| OF_PEOPLE.contains(&column.name))
}

/// Whether a name is a word, or its last one is.
fn ends_with(name: &str, word: &str) -> bool {
    name.to_lowercase().strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
}
