//! Indexes that queries ask for, and that are not there.

use std::collections::BTreeMap;

use super::patterns::{self, Asker, Pattern, Place, Served};
use super::queries::Key;
use super::{Declaration, DeclarationChange, Fix, INHERITED, Study};
use crate::naming;
use crate::operations::{IndexElement, TableName};
use crate::revision::{NewIndex, Step};
use crate::settings::Naming;
use crate::types::Type;

/// An index that queries ask for, and who does.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) index: NewIndex,
    pub(crate) places: Vec<Place>,
    pub(crate) fix: Result<Fix, String>,
}

impl Study<'_> {
    /// The indexes that would have to be there, those that most places ask for first.
    pub(crate) fn missing(&self) -> Vec<Missing> {
        let mut served = Served::new(&self.models, self.database);
        let most = self.settings.max_index_columns.0;
        let mut groups: BTreeMap<&Pattern, Vec<Asker>> = BTreeMap::new();
        for (pattern, asker) in &self.patterns {
            let has_index = pattern.key(&self.models, most).is_some_and(|key| self.has_order(pattern, &key));
            if has_index && self.is_known(pattern) && !served.serves(pattern) {
                groups.entry(pattern).or_default().push(*asker);
            }
        }
        let mut wanted: BTreeMap<(TableName, patterns::IndexKey), (Vec<&Pattern>, usize)> = BTreeMap::new();
        for (pattern, places) in &groups {
            let key = pattern.key(&self.models, most).unwrap_or_default();
            let (patterns, number) = wanted.entry((pattern.table.clone(), key)).or_default();
            patterns.push(pattern);
            *number += places.len();
        }
        // An index for the beginnings of texts also finds what is equal.
        let for_texts: Vec<_> =
            wanted.keys().filter(|(_, key)| matches!(key[..], [(_, Some(_))])).cloned().collect();
        for (table, key) in for_texts {
            let plain = (table.clone(), vec![(key[0].0.clone(), None)]);
            let Some((patterns, number)) = wanted.remove(&plain) else { continue };
            if patterns.iter().all(|pattern| pattern.is_equality())
                && let Some((others, all)) = wanted.get_mut(&(table, key))
            {
                others.extend(patterns);
                *all += number;
            } else {
                wanted.insert(plain, (patterns, number));
            }
        }
        let mut wanted: Vec<_> = wanted.into_iter().collect();
        wanted.sort_by(|((table, key), (_, number)), ((other, other_key), (_, others))| {
            (std::cmp::Reverse(number), key.len(), table, key).cmp(&(
                std::cmp::Reverse(others),
                other_key.len(),
                other,
                other_key,
            ))
        });
        let mut found = Vec::new();
        for ((table, key), (patterns, _)) in wanted {
            if patterns.iter().all(|pattern| served.serves(pattern)) {
                continue;
            }
            let index = patterns::index(&table, &key, String::new());
            let mut only = Served::default();
            only.create(&index);
            let is_plain = index.options.operator_classes.is_empty();
            // Whoever else it would help asks for it as well.
            let helped = groups
                .iter()
                .filter(|(pattern, _)| only.serves(pattern) && !served.serves(pattern))
                .filter(|(pattern, _)| !(is_plain && pattern.is_prefix()));
            let mut askers: Vec<Asker> = helped.flat_map(|(_, askers)| askers.iter().copied()).collect();
            askers.sort_by_key(|asker| (asker.place.0, asker.place.1.start()));
            askers.dedup();
            let is_equal = patterns.iter().all(|pattern| pattern.begins_equal());
            if is_equal
                && matches!(askers[..], [Asker { deletes: true, .. }])
                && !self.is_deleted_with(&table, &key)
            {
                continue;
            }
            let places: Vec<Place> = askers.iter().map(|asker| asker.place).collect();
            served.create(&index);
            let (index, fix) = self.declared(index, &key);
            found.push(Missing { index, places, fix });
        }
        found.sort_by_key(|missing| std::cmp::Reverse(missing.places.len()));
        found
    }

    /// Whether rows reference others that the application deletes: PostgreSQL looks for them then, too.
    fn is_deleted_with(&self, table: &TableName, key: &patterns::IndexKey) -> bool {
        let Some((Key::Column(first), _)) = key.first() else { return false };
        let foreign = self.models.column(table, first).and_then(|column| column.foreign.as_ref());
        foreign.is_some_and(|(to, _)| self.deleted.contains(to))
    }

    /// Whether all that a pattern is about is known.
    fn is_known(&self, pattern: &Pattern) -> bool {
        let table = &pattern.table;
        match self.database.map(|database| database.table(table)) {
            Some(Some(known)) => {
                pattern.columns().all(|name| known.columns.iter().any(|column| column.name == name))
            }
            // The migrations make another database.
            Some(None) => false,
            None => self.models.tables.get(table).is_some_and(|table| table.complete),
        }
    }

    /// The type of a column: the database's, or else the model's.
    fn type_of(&self, table: &TableName, column: &str) -> Option<Type> {
        let known = self.database.and_then(|database| database.table(table)).and_then(|table| {
            let known = table.columns.iter().find(|known| known.name == column)?;
            Some(Type::read(known.type_.as_ref()?)).filter(Type::is_known)
        });
        known.or_else(|| self.models.column(table, column)?.type_.clone())
    }

    /// Whether a btree can have a key: not of `json`, for example.
    fn has_order(&self, pattern: &Pattern, key: &patterns::IndexKey) -> bool {
        key.iter()
            .all(|(key, _)| self.type_of(&pattern.table, key.column()).is_none_or(|type_| type_.has_order()))
    }

    /// What an index means for values that may be too long for it: a note, or why that is left to people. A row of a
    /// btree has 2704 bytes at most; a longer one is refused (`index row size … exceeds btree version 4 maximum`).
    fn limit(&self, table: &TableName, key: &patterns::IndexKey) -> Result<Vec<String>, String> {
        let mut notes = Vec::new();
        for column in key.iter().map(|(key, _)| key.column()) {
            let known = self.models.column(table, column);
            // What it references has an index, too.
            let references = column.ends_with("_id") || known.is_some_and(|known| known.foreign.is_some());
            match self.type_of(table, column) {
                Some(type_) if !references && type_.is_text() => {
                    return Err(format!(
                        "`{column}` may hold long texts, and an index refuses rows with more than 2704 bytes: declare \
                         a length, or create an index of another kind (`postgresql_using=\"hash\"`)"
                    ));
                }
                Some(type_) if !references && type_.is_unlimited() => notes.push(format!(
                    "`{column}` has no length: rows in which it has more than 2704 bytes are refused with this index"
                )),
                _ => {}
            }
        }
        Ok(notes)
    }

    /// A name for an index, and how its model and the database get it.
    fn declared(&self, mut index: NewIndex, key: &patterns::IndexKey) -> (NewIndex, Result<Fix, String>) {
        let words: Vec<String> = index
            .elements
            .iter()
            .map(|element| element.to_string().replace(['(', ')'], "_").trim_matches('_').to_owned())
            .collect();
        index.name = self.template.name(&index.table, &words);
        let schema = index.table.schema.as_deref();
        let taken = self.database.is_some_and(|database| database.index(schema, &index.name).is_some());
        if taken {
            let reason = format!("an index `{}` over other columns exists already", index.name);
            return (index, Err(reason));
        }
        let inline = match &index.elements[..] {
            [IndexElement::Column(column)] if index.options.operator_classes.is_empty() => {
                let default = naming::column_index_name(schema, &index.table.name, column);
                default == index.name && (self.template.learned || self.settings.naming == Naming::Postgres)
            }
            _ => false,
        };
        let Some(table) = self.models.tables.get(&index.table) else {
            return (index, Err("no model declares the table".to_owned()));
        };
        let class = table.class.and_then(|range| {
            let model =
                self.models.models.iter().find(|model| model.file == table.file && model.range == range);
            model.map(|model| model.name.clone())
        });
        let in_class = match &index.elements[..] {
            [IndexElement::Column(column)] => {
                table.columns.iter().any(|known| known.name == *column && known.call.is_some())
            }
            _ => false,
        };
        let inline = inline && in_class;
        if !inline && table.inherits_arguments {
            return (index, Err(INHERITED.to_owned()));
        }
        let notes = match self.limit(&index.table, key) {
            Ok(notes) => notes,
            Err(reason) => return (index, Err(reason)),
        };
        let fix = Fix {
            notes,
            model: Some(Declaration {
                file: table.file,
                change: DeclarationChange::Add { index: index.clone(), inline },
                class,
                table: index.table.clone(),
            }),
            steps: self.database.map(|_| Step::CreateIndex(index.clone())).into_iter().collect(),
            waits: None,
        };
        (index, Ok(fix))
    }
}
