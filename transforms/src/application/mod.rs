//! The application around a history: its models, and what it asks the database for.
//!
//! A migration is judged by what it does; an index by who needs it, and that is written in the application's
//! own files.
//!
//! **Architecture Invariant:** nothing is reported that was not resolved: a query with one part that is not
//! understood has a reason, which is counted, and no patterns.

mod covered;
mod disagreements;
mod edit;
mod missing;
mod models;
mod patterns;
mod queries;
mod reads;
mod size;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use ruff_text_size::TextRange;

use self::models::Models;
use self::patterns::{Asker, Pattern, Served};
pub use self::reads::Reads;
use self::size::Sizes;
use self::template::Template;
use crate::analysis::Selection;
use crate::catalog::Catalog;
use crate::operations::TableName;
use crate::python::{Module, SyntaxError};
use crate::revision::{NewIndex, Step};
use crate::rules::{RULES, Rule};
use crate::settings::Settings;
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
    /// What its other files read.
    pub elsewhere: Reads,
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
    /// What there is to know about it.
    pub notes: Vec<String>,
    pub model: Option<Declaration>,
    pub steps: Vec<Step>,
    /// Why the steps are not made for this alone. The migrations may know more, and ask for them as well.
    pub waits: Option<String>,
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
    /// Don't say `index=True` of this column any more, nor `unique=True` if that made it unique.
    RemoveInline { column: String, unique: bool },
    /// Leave out the call with this text, an `Index(…)`.
    Remove { call: String },
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
    /// The tables that queries look in, but of which nothing says that they grow.
    pub small: BTreeSet<TableName>,
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
    files: &'a [File],
    models: Models<'a>,
    database: Option<&'a Catalog>,
    settings: &'a Settings,
    patterns: Vec<(Pattern, Asker)>,
    /// The tables of which rows are deleted.
    deleted: BTreeSet<TableName>,
    template: Template,
}

/// Why the arguments of a model are left alone.
const INHERITED: &str = "a base of the model has `__table_args__`, too";

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
        let mut understood = Vec::new();
        let mut deleted = BTreeSet::new();
        for (index, file) in self.files.iter().enumerate() {
            for query in queries::read(&models, index, file) {
                if query.entities.is_empty() && query.unclear.is_none() {
                    continue;
                }
                if query.deletes {
                    deleted.extend(query.entities.first().map(|entity| entity.table.clone()));
                }
                // What is counted is what the user asked about.
                let counts = usize::from(reported(index));
                report.statistics.queries += counts;
                match &query.unclear {
                    Some(reason) if counts > 0 => {
                        *report.statistics.reasons.entry(reason.clone()).or_default() += 1;
                    }
                    Some(_) => {}
                    None => {
                        report.statistics.understood += counts;
                        understood.push((index, query));
                    }
                }
            }
        }
        let whole: BTreeSet<_> = understood.iter().filter_map(|(_, query)| query.whole().cloned()).collect();
        let sizes = Sizes::new(&models, database, &whole, settings);
        let mut reads = Reads::inside(&models, &self.files);
        reads.extend(self.elsewhere.clone());
        let mut patterns = patterns::of_relationships(&models, &sizes, &reads);
        for (file, query) in &understood {
            let asker = Asker { place: (*file, query.range), deletes: query.deletes };
            let found = patterns::of_query(query, &models, &served, &sizes);
            patterns.extend(found.into_iter().map(|pattern| (pattern, asker)));
        }
        let (patterns, small): (Vec<_>, Vec<_>) =
            patterns.into_iter().partition(|(pattern, _)| sizes.grows(&pattern.table));
        report.statistics.small = small.into_iter().map(|(pattern, _)| pattern.table).collect();
        let template = Template::learn(database, &models);
        let study = Study { files: &self.files, models, database, settings, patterns, deleted, template };
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
