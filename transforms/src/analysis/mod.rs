//! Runs the rules over a history, and the layout over what they found.

mod check;
mod convention;
mod early;
mod fix;
mod hold;
mod parts;
mod shared;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruff_python_ast::token::TokenKind;
use ruff_text_size::{Ranged, TextRange};

use self::check::{CallKey, Called, Place, check_one};
use self::shared::Reasons;
pub use self::shared::{Permissions, Shared};
use crate::catalog::Catalog;
use crate::history::RevisionMap;
use crate::migration::{Direction, Migration, Parsed};
use crate::operations::{Operation, OperationKind, Receiver, TableName};
use crate::python::Module;
use crate::python::value::Dialects;
use crate::recipe::{Action, Around, Recipe};
use crate::revision::NewRevision;
use crate::rules::Rule;
use crate::settings::{Naming, Portability, Settings};
use crate::{revision, suppression};

/// A history with its order.
#[derive(Debug)]
pub struct History {
    pub migrations: Vec<Migration>,
    pub map: RevisionMap,
    pub portability: Portability,
}

/// Something unsafe in a migration.
#[derive(Debug, Clone)]
pub struct Finding {
    pub rule: &'static Rule,
    pub direction: Direction,
    /// One sentence, without a full stop.
    pub message: String,
    /// The lock taken today.
    pub lock: String,
    /// The lock taken by the fix.
    pub lock_after: Option<String>,
    /// What is called.
    pub range: TextRange,
    /// The statement around it.
    pub statement: TextRange,
    /// The steps of the fix, or why there is none.
    pub fix: Result<Recipe, String>,
    operation: Operation,
}

/// What was found in one migration, and where the catalog stood before it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Findings that a comment suppresses.
    pub suppressed: Vec<Finding>,
    /// What is wrong with the comments that suppress.
    pub ignores: Vec<suppression::Finding>,
    before: Catalog,
    /// The database after all revisions.
    end: Catalog,
    is_head: bool,
    after_upgrade: Catalog,
    after_downgrade: Catalog,
    /// Calls (by start) that, as far as is known, do not fail on a first run: what they create is
    /// not there yet, what they drop is.
    as_expected: BTreeSet<CallKey>,
    /// A statement that shows that PostgreSQL does not choose the names.
    contradiction: Option<TextRange>,
    /// What the findings were made with.
    naming: Naming,
    /// What runs in functions of the project's modules.
    called: Vec<Called>,
    /// Why that is left alone there.
    reasons: Arc<Reasons>,
}

/// What a fix does to a migration.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// The new text; `None` when nothing changes.
    pub source: Option<String>,
    /// For each finding of the report, in its order.
    pub verdicts: Vec<Verdict>,
    /// The findings that are left, where they stand in the new text.
    pub left: Vec<Finding>,
    /// The revisions that run before it, in their order, when it is cut into several.
    pub parts: Vec<Part>,
    /// Why it stays one revision, where it should be cut.
    pub uncut: Option<String>,
}

/// A revision that a migration has been cut into, but for the last, which stays the migration.
#[derive(Debug, Clone)]
pub struct Part {
    pub revision: String,
    pub source: String,
    /// The findings that are left in it.
    pub left: Vec<Finding>,
}

/// What became of a finding.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It is gone; what a reviewer has to know.
    Fixed { notes: Vec<String> },
    /// It is left, and why; `None` when the fix was not allowed.
    Left { reason: Option<String> },
}

/// Which rules apply to a file: by path and rule name.
pub type Selection<'a> = dyn Fn(&str, &str) -> bool + Sync + 'a;

impl History {
    /// Put migrations into the order in which Alembic would run them.
    #[must_use]
    pub fn new(migrations: Vec<Migration>, settings: &Settings) -> Self {
        let map = RevisionMap::new(&migrations);
        let portability = match settings.other_databases {
            Some(false) => Portability::PostgresOnly,
            Some(true) => Portability::Many,
            None => match migrations.iter().map(|one| mentions(&one.module)).max().unwrap_or_default() {
                Portability::Sqlite if migrations.iter().any(fails_on_sqlite) => Portability::PostgresOnly,
                found => found,
            },
        };
        Self { migrations, map, portability }
    }

    /// Check every migration, in the order of the history. Reports stand in the order of
    /// `migrations`.
    #[must_use]
    pub fn check(&self, settings: &Settings, selected: &Selection) -> Vec<Report> {
        let confirmed = match &settings.naming {
            Naming::Convention { place, convention: Some(convention) } if !self.confirms(convention) => {
                let naming = Naming::unknown(place.clone());
                Some(Settings { naming, ..settings.clone() })
            }
            _ => None,
        };
        let settings = confirmed.as_ref().unwrap_or(settings);
        let reports = self.check_with(settings, selected);
        // A constraint that is dropped by a name which PostgreSQL would not have chosen: the names
        // come from a convention that was not found.
        let contradiction = self.migrations.iter().zip(&reports).find_map(|(migration, report)| {
            let range = report.contradiction?;
            let line = migration.module.position(range.start()).line;
            Some(format!("it shows in {}:{line}", migration.path))
        });
        match contradiction {
            Some(place) if settings.naming == Naming::Postgres => {
                let naming = Naming::unknown(place);
                let settings = Settings { naming, ..settings.clone() };
                self.check_with(&settings, selected)
            }
            _ => reports,
        }
    }

    /// The database after all revisions.
    #[must_use]
    pub fn end(&self, settings: &Settings) -> Catalog {
        let mut catalog = Catalog::empty(settings.naming.clone());
        for index in &self.map.order {
            if self.map.orphans.contains(index) {
                catalog.forget();
            }
            catalog.apply_all(&self.migrations[*index].upgrade.operations);
        }
        catalog
    }

    /// A new revision at the head, where the database is as the history leaves it, safe by the rules about how indexes
    /// are created and dropped.
    ///
    /// # Errors
    /// Why there is no place for it.
    pub fn new_revision(
        &self,
        message: &str,
        steps: &[revision::Step],
        before: &Catalog,
        settings: &Settings,
    ) -> Result<NewRevision, String> {
        let [head] = self.map.heads[..] else {
            return Err(format!(
                "the history has {} heads, so that a new revision has no place",
                self.map.heads.len()
            ));
        };
        if !self.map.problems.is_empty() {
            return Err("the history is not whole, so that a new revision has no place".to_owned());
        }
        let taken = |id: &str| self.migrations.iter().any(|migration| migration.revision == id);
        let mut new = revision::write(&self.migrations[head], message, steps, &taken);
        let parsed = Migration::parse_with(
            "new.py".to_owned(),
            new.source.clone(),
            Arc::clone(&self.migrations[head].modules),
        );
        let Ok(Parsed::Migration(migration)) = parsed else {
            return Err("the head is not written in a way that can be continued".to_owned());
        };
        let reasons = Arc::default();
        let place = Place { before, end: before, is_head: true, reasons: &reasons };
        let selected = |_: &str, rule: &str| rule == "only-concurrent-indexes";
        let report = check_one(&migration, &place, settings, &selected);
        let fixed = report.fix(&migration, self.portability, settings, &selected, &|_| true);
        if let Some(finding) = fixed.left.first() {
            return Err(finding.fix.clone().err().unwrap_or_else(|| finding.message.clone()));
        }
        new.source = fixed.source.unwrap_or(new.source);
        Ok(new)
    }

    fn check_with(&self, settings: &Settings, selected: &Selection) -> Vec<Report> {
        let mut reports = vec![Report::default(); self.migrations.len()];
        let end = self.end(settings);
        let empty = Catalog::empty(settings.naming.clone());
        let reasons = Arc::default();
        // All that has run so far, in one order; a branch has only what its own ancestors did.
        let mut everything = empty.clone();
        let mut last: Option<usize> = None;
        let mut in_line = vec![false; self.migrations.len()];
        for index in &self.map.order {
            let migration = &self.migrations[*index];
            let before = match self.map.parents[*index][..] {
                [] if last.is_some() && !self.map.orphans.contains(index) => Some(empty.clone()),
                [parent] if last != Some(parent) || !in_line[parent] => {
                    Some(reports[parent].after_upgrade.clone())
                }
                _ => None,
            };
            in_line[*index] = before.is_none();
            let mut before = before.unwrap_or_else(|| everything.clone());
            if self.map.orphans.contains(index) {
                before.forget();
                everything.forget();
            }
            let is_head = self.map.heads.contains(index);
            let place = Place { before: &before, end: &end, is_head, reasons: &reasons };
            let report = check_one(migration, &place, settings, selected);
            if in_line[*index] {
                everything = report.after_upgrade.clone();
            } else {
                everything.apply_all(&migration.upgrade.operations);
            }
            reports[*index] = report;
            last = Some(*index);
        }
        reports
    }
}

/// Whether a migration alters a constraint or column outside of a batch block, which `SQLite` refuses:
/// then batch blocks elsewhere are only how the project's configuration renders operations.
fn fails_on_sqlite(migration: &Migration) -> bool {
    migration.upgrade.operations.iter().any(|operation| {
        matches!(
            operation.kind,
            OperationKind::AddConstraint(_)
                | OperationKind::DropConstraint { .. }
                | OperationKind::AlterColumn(_)
        ) && matches!(operation.origin.receiver, Receiver::Op(_))
            && !operation.conditional
            && operation.dialects.contains(Dialects::SQLITE)
    })
}

/// Which other databases a file mentions.
fn mentions(module: &Module) -> Portability {
    let source = module.source();
    let mut found = Portability::PostgresOnly;
    for token in module.tokens() {
        let text = match token.kind() {
            TokenKind::Name | TokenKind::String | TokenKind::FStringMiddle => &source[token.range()],
            _ => continue,
        };
        let lower = text.to_ascii_lowercase();
        if text.len() < 40 && ["mysql", "mariadb", "oracle", "mssql"].iter().any(|name| lower.contains(name))
        {
            return Portability::Many;
        }
        if text == "batch_alter_table" || (text.len() < 40 && lower.contains("sqlite")) {
            found = Portability::Sqlite;
        }
    }
    found
}

impl Report {
    /// The report on another text of the same migration, which takes its place in the history.
    #[must_use]
    pub fn of_edited(&self, migration: &Migration, settings: &Settings, selected: &Selection) -> Self {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        check_one(migration, &self.place(), settings, selected)
    }

    /// Where the migration stands in its history.
    fn place(&self) -> Place<'_> {
        Place { before: &self.before, end: &self.end, is_head: self.is_head, reasons: &self.reasons }
    }

    /// Whether another text of the migration leads to the same schema, as far as is known. `other` is the report on
    /// that, or on the last of the revisions that it is cut into; `earlier` are those that come before that one.
    #[must_use]
    pub fn same_schema(&self, other: &Self, earlier: &[Migration]) -> bool {
        let mut back = other.after_downgrade.clone();
        earlier.iter().rev().for_each(|part| back.apply_all(&part.downgrade.operations));
        same(&self.after_upgrade, &other.after_upgrade) && same(&self.after_downgrade, &back)
    }

    fn same_schema_but_for(&self, other: &Self, redesigned: &BTreeSet<(Option<String>, String)>) -> bool {
        self.after_upgrade.same_schema_but_for(&other.after_upgrade, redesigned)
            && self.after_downgrade.same_schema_but_for(&other.after_downgrade, redesigned)
    }
}

fn same(one: &Catalog, other: &Catalog) -> bool {
    one.same_schema_but_for(other, &BTreeSet::new())
}

/// What a finding is known by from one pass to the next, while positions shift: its rule's module, its function and
/// its message. Findings of a file with the same key are fixed together.
pub type Key = (&'static str, Direction, String);

impl Finding {
    /// Whether its fix moves the operation.
    fn moves(&self) -> bool {
        self.fix.as_ref().is_ok_and(|recipe| recipe.around == Around::AutocommitBlock)
    }

    /// The module of the project whose function the operation stands in, where it is no migration's own.
    #[must_use]
    pub fn module(&self) -> Option<&str> {
        self.operation.origin.elsewhere.as_ref().map(|elsewhere| elsewhere.module.as_str())
    }

    /// The table that the operation works on, as far as it is known.
    #[must_use]
    pub fn table(&self) -> Option<TableName> {
        self.operation.kind.table()?.known()
    }

    /// The words of an update that was given as text, in lower case.
    #[must_use]
    pub fn words(&self) -> &[String] {
        match &self.operation.kind {
            OperationKind::Update(update) => &update.words,
            _ => &[],
        }
    }

    /// The name of the index or constraint that the operation works on, as far as it is known.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.operation.kind {
            OperationKind::CreateIndex(index) => index.name.value.symbol(),
            OperationKind::DropIndex(index) => index.name.value.symbol(),
            OperationKind::AddConstraint(constraint) => constraint.name.value.symbol(),
            _ => None,
        }
    }

    /// What a new revision has to do, so that nothing is left of the finding.
    #[must_use]
    pub fn new_revision(&self) -> &[revision::Step] {
        self.fix.as_ref().map_or(&[], |recipe| &recipe.new_revision)
    }

    /// The schema and the name of the index that its fix does not create any more.
    #[must_use]
    pub fn left_out(&self) -> Option<(Option<String>, String)> {
        self.index().filter(|_| self.is_left_out())
    }

    fn is_left_out(&self) -> bool {
        self.fix.as_ref().is_ok_and(|recipe| recipe.steps.iter().any(|step| step.action == Action::LeaveOut))
    }

    /// The operations of the other function that are left out together with the finding's.
    fn left_out_with<'a>(&self, migration: &'a Migration) -> impl Iterator<Item = &'a Operation> + use<'a> {
        let index = self.left_out();
        migration.downgrade.operations.iter().filter(move |operation| match &operation.kind {
            OperationKind::DropIndex(drop) => {
                let schema = drop.table.schema.as_str().filter(|schema| *schema != "public");
                index.as_ref().is_some_and(|(known, name)| {
                    known.as_deref() == schema && drop.name.value.symbol() == Some(name)
                })
            }
            _ => false,
        })
    }

    fn is_in_place(&self) -> bool {
        self.fix.as_ref().is_ok_and(|recipe| recipe.around == Around::Nothing)
    }

    /// The schema and the name of the index that the operation works on.
    fn index(&self) -> Option<(Option<String>, String)> {
        Some((self.table().and_then(|table| table.schema), self.name()?.to_owned()))
    }

    /// What it is known by when the file has been edited.
    #[must_use]
    pub fn key(&self) -> Key {
        (self.rule.module(), self.direction, self.message.clone())
    }

    /// The finding with the reason for which the layout refused it.
    fn refused(&self, refused: &BTreeMap<Key, String>) -> Self {
        let mut finding = self.clone();
        if let Some(reason) = refused.get(&self.key()) {
            finding.fix = Err(reason.clone());
        }
        finding
    }
}
