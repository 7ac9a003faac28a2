//! The application around a history: its models, and what it asks the database for.
//!
//! A migration is judged by what it does; an index by who needs it, and that is written in the application's
//! own files.
//!
//! **Architecture Invariant:** nothing is reported that was not resolved: a query with one part that is not
//! understood has a reason, which is counted, and no patterns.

mod edit;
mod models;
mod patterns;
mod queries;

use std::collections::{BTreeMap, BTreeSet};

use ruff_text_size::TextRange;

use self::models::{ModelIndex, Models, PRIMARY};
pub(crate) use self::patterns::{Pattern, Place, Served};
use crate::analysis::Selection;
use crate::catalog::{Catalog, Presence};
use crate::naming;
use crate::operations::{IndexElement, TableName};
use crate::python::{Module, SyntaxError};
use crate::revision::{NewIndex, Step};
use crate::rules::{RULES, Rule};
use crate::settings::{Naming, Settings};
use crate::suppression::Suppressions;

/// A file of the application.
#[derive(Debug)]
pub struct File {
    /// The path as it is to be reported.
    pub path: String,
    pub module: Module,
    pub suppressions: Suppressions,
}

/// The files of an application.
#[derive(Debug, Default)]
pub struct Application {
    pub files: Vec<File>,
}

/// What a rule says about an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// One sentence, without a full stop.
    pub message: String,
    /// A few words below the place.
    pub label: String,
    /// The file, by its number, and where in it.
    pub file: usize,
    pub range: TextRange,
    /// Other places that it is about.
    pub also: Vec<(usize, TextRange)>,
    /// What to do, or why that is not known.
    pub fix: Result<Fix, String>,
}

/// What makes a finding go away: a change of a model, and one of the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Fix {
    pub model: Option<Declaration>,
    pub steps: Vec<Step>,
}

/// A change of what a model declares.
#[derive(Debug, Clone, PartialEq)]
pub struct Declaration {
    /// The file with the model.
    pub file: usize,
    pub change: DeclarationChange,
    /// The name of the class; `None` for a `Table(…)`.
    pub class: Option<String>,
    pub table: TableName,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DeclarationChange {
    /// Declare an index; with `inline` by `index=True`.
    Add { index: NewIndex, inline: bool },
    /// Don't say `index=True` of this column any more.
    RemoveInline { column: String },
}

/// A violation and whose it is.
#[derive(Debug, Clone)]
pub struct Finding {
    pub rule: &'static Rule,
    pub violation: Violation,
}

/// How many queries there are, and what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    pub models: usize,
    pub queries: usize,
    pub understood: usize,
    /// Why the others were not, with how many.
    pub reasons: BTreeMap<String, usize>,
}

/// What was found in an application.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Findings that a comment suppresses.
    pub suppressed: Vec<Finding>,
    pub statistics: Statistics,
}

/// What the rules may ask.
#[derive(Debug)]
pub struct Study<'a> {
    models: Models<'a>,
    database: Option<&'a Catalog>,
    settings: &'a Settings,
    patterns: Vec<(Pattern, Place)>,
    template: Template,
}

/// Words of which a file of an application has one.
const WORDS: &[&[u8]] = &[
    b"Column(",
    b"mapped_column",
    b"__tablename__",
    b"Mapped[",
    b"SQLModel",
    b"relationship(",
    b"Table(",
    b"Index(",
    b".query",
    b"select(",
    b".where(",
    b".filter",
    b"db.Model",
    b"declared_attr",
    b"Enum",
    b"Base)",
    b"Mixin",
];

impl File {
    /// Whether a file may have a part in it at all.
    #[must_use]
    pub fn may_matter(source: &[u8]) -> bool {
        WORDS.iter().any(|word| memchr::memmem::find(source, word).is_some())
    }

    /// Parse a file.
    ///
    /// # Errors
    /// A file that is no Python 3.
    pub fn parse(path: String, source: String) -> Result<Self, SyntaxError> {
        let module = Module::parse(source)?;
        let suppressions = Suppressions::read(&module);
        Ok(Self { path, module, suppressions })
    }
}

impl Application {
    /// Check all files. `database` is what the migrations make, where there are any; only what stands in a file
    /// that is `reported` is found.
    #[must_use]
    pub fn check(
        &self,
        database: Option<&Catalog>,
        settings: &Settings,
        selected: &Selection,
        reported: &dyn Fn(usize) -> bool,
    ) -> Report {
        let models = Models::read(&self.files);
        let served = Served::new(&models, database);
        let mut report = Report::default();
        report.statistics.models = models.models.iter().filter(|model| reported(model.file)).count();
        let mut patterns = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            for query in queries::read(&models, index, file) {
                if query.entities.is_empty() && query.unclear.is_none() {
                    continue;
                }
                // What is counted is what the user asked about.
                let counts = usize::from(reported(index));
                report.statistics.queries += counts;
                if let Some(reason) = query.unclear {
                    if counts > 0 {
                        *report.statistics.reasons.entry(reason).or_default() += 1;
                    }
                    continue;
                }
                report.statistics.understood += counts;
                let place = (index, query.range);
                patterns
                    .extend(patterns::of_query(&query, &models, &served).into_iter().map(|one| (one, place)));
            }
        }
        patterns.extend(patterns::of_relationships(&models));
        let template = Template::learn(database, &models);
        let study = Study { models, database, settings, patterns, template };
        for rule in RULES {
            for mut violation in rule.check_application(&study) {
                // It is shown where the user asked.
                let mut places: Vec<_> =
                    [(violation.file, violation.range)].into_iter().chain(violation.also).collect();
                let Some(first) = places
                    .iter()
                    .position(|(file, _)| reported(*file) && selected(&self.files[*file].path, &rule.name()))
                else {
                    continue;
                };
                (violation.file, violation.range) = places.remove(first);
                violation.also = places;
                let file = &self.files[violation.file];
                let line = |offset| file.module.position(offset).line;
                let (first, last) = (line(violation.range.start()), line(violation.range.end()));
                let finding = Finding { rule, violation };
                let reasons = settings.require_ignore_reason;
                if file.suppressions.suppresses(&rule.name(), first, last, reasons).is_some() {
                    report.suppressed.push(finding);
                } else {
                    report.findings.push(finding);
                }
            }
        }
        report
    }

    /// The new texts of the files whose models the fixes change, and for each fix why it can't be made, if so.
    #[must_use]
    pub fn fix(&self, fixes: &[&Fix]) -> (BTreeMap<usize, String>, Vec<Option<String>>) {
        let mut sources: BTreeMap<usize, String> = BTreeMap::new();
        let mut refused = Vec::new();
        for fix in fixes {
            let Some(declaration) = &fix.model else {
                refused.push(None);
                continue;
            };
            let file = declaration.file;
            let source = sources.get(&file).map_or_else(|| self.files[file].module.source(), String::as_str);
            match edit::declare(source, declaration) {
                Ok(new) => {
                    sources.insert(file, new);
                    refused.push(None);
                }
                Err(reason) => refused.push(Some(reason)),
            }
        }
        (sources, refused)
    }
}

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
        let mut groups: BTreeMap<&Pattern, Vec<Place>> = BTreeMap::new();
        for (pattern, place) in &self.patterns {
            if self.is_known(pattern) && !served.serves(pattern) && pattern.key(&self.models, most).is_some()
            {
                groups.entry(pattern).or_default().push(*place);
            }
        }
        let mut wanted: BTreeMap<(TableName, Vec<_>), (Vec<&Pattern>, usize)> = BTreeMap::new();
        for (pattern, places) in &groups {
            let key = pattern.key(&self.models, most).unwrap_or_default();
            let (patterns, number) = wanted.entry((pattern.table.clone(), key)).or_default();
            patterns.push(pattern);
            *number += places.len();
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
            // Whoever else it would help asks for it as well.
            let mut places: Vec<Place> = groups
                .iter()
                .filter(|(pattern, _)| only.serves(pattern) && !served.serves(pattern))
                .flat_map(|(_, places)| places.iter().copied())
                .collect();
            places.sort_by_key(|(file, range)| (*file, range.start()));
            places.dedup();
            served.create(&index);
            let (index, fix) = self.declared(index);
            found.push(Missing { index, places, fix });
        }
        found.sort_by_key(|missing| std::cmp::Reverse(missing.places.len()));
        found
    }

    /// Whether all that a pattern is about is known, and worth an index.
    fn is_known(&self, pattern: &Pattern) -> bool {
        let table = &pattern.table;
        let small = &self.settings.small_tables;
        if small.contains(&table.name) || small.contains(&table.to_string()) {
            return false;
        }
        match self.database.map(|database| database.table(table)) {
            Some(Some(known)) => {
                pattern.columns().all(|name| known.columns.iter().any(|column| column.name == name))
            }
            // The migrations make another database.
            Some(None) => false,
            None => self.models.tables.get(table).is_some_and(|table| table.complete),
        }
    }

    /// A name for an index, and how its model and the database get it.
    fn declared(&self, mut index: NewIndex) -> (NewIndex, Result<Fix, String>) {
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
        let fix = Fix {
            model: Some(Declaration {
                file: table.file,
                change: DeclarationChange::Add { index: index.clone(), inline: inline && in_class },
                class,
                table: index.table.clone(),
            }),
            steps: self.database.map(|_| Step::CreateIndex(index.clone())).into_iter().collect(),
        };
        (index, Ok(fix))
    }

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
                            "No migration creates index `{name}` of `{table}`, which the model declares"
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

/// How a project names its indexes.
#[derive(Debug)]
struct Template {
    pattern: &'static str,
    /// Its indexes show it.
    learned: bool,
}

/// The ways in which projects do, SQLAlchemy's own first.
const TEMPLATES: &[&str] =
    &["ix_{s}{t}_{c}", "ix_{t}_{c}", "idx_{t}_{c}", "{t}_{c}_idx", "index_{t}_{c}", "{t}_{c}_index"];

impl Template {
    /// The way that most indexes of the database, or of the models, are named.
    fn learn(database: Option<&Catalog>, models: &Models) -> Self {
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

    fn name(&self, table: &TableName, columns: &[String]) -> String {
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
