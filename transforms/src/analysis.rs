//! Runs the rules over a history, and the layout over what they found.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_text_size::{Ranged, TextRange, TextSize};

use crate::catalog::Catalog;
use crate::history::RevisionMap;
use crate::layout::{self, Planned, Rerunnable};
use crate::migration::{Direction, Migration, Parsed};
use crate::operations::{Operation, OperationKind, Receiver, TableName};
use crate::python::Module;
use crate::python::value::{Dialects, Value};
use crate::recipe::{Action, Name, Recipe};
use crate::rerun;
use crate::rules::{Context, RULES, Rule, Violation};
use crate::settings::{Naming, Portability, Rerun, Settings};

/// Passes over one file until nothing changes any more; one that needs more is left alone.
const MAX_PASSES: usize = 8;

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
    /// What a reviewer has to know about the fix.
    pub notes: Vec<String>,
    operation: Operation,
}

/// What was found in one migration, and where the catalog stood before it.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    /// Findings that a comment suppresses.
    pub suppressed: Vec<Finding>,
    before: Catalog,
    after_upgrade: Catalog,
    after_downgrade: Catalog,
    /// Calls (by start) that, as far as is known, do not fail on a first run: what they create is
    /// not there yet, what they drop is.
    as_expected: BTreeSet<TextSize>,
    /// A statement that shows that PostgreSQL does not choose the names.
    contradiction: Option<TextRange>,
    /// What the findings were made with.
    naming: Naming,
}

/// A rewritten migration.
#[derive(Debug, Clone)]
pub struct Fixed {
    pub source: String,
    /// The findings that are gone, as they were.
    pub fixed: Vec<Finding>,
    /// The findings that are left, with the reasons in `fix`.
    pub left: Vec<Finding>,
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
            None => match migrations.iter().map(mentions).max().unwrap_or_default() {
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
                let settings = Settings { naming: Naming::Convention(place), ..settings.clone() };
                self.check_with(&settings, selected)
            }
            _ => reports,
        }
    }

    fn check_with(&self, settings: &Settings, selected: &Selection) -> Vec<Report> {
        let mut reports = vec![Report::default(); self.migrations.len()];
        let mut catalog = Catalog::empty(settings.naming != Naming::Postgres);
        for index in &self.map.order {
            let report = check_one(&self.migrations[*index], &catalog, settings, selected);
            catalog = report.after_upgrade.clone();
            reports[*index] = report;
        }
        reports
    }
}

/// Whether a migration alters a constraint or column outside of a batch block, which SQLite refuses:
/// then batch blocks elsewhere are only how the project's configuration renders operations.
fn fails_on_sqlite(migration: &Migration) -> bool {
    migration.upgrade.operations.iter().any(|operation| {
        matches!(
            operation.kind,
            OperationKind::AddConstraint(_)
                | OperationKind::DropConstraint { .. }
                | OperationKind::AlterColumn { .. }
        ) && matches!(operation.origin.receiver, Receiver::Op(_))
            && !operation.conditional
            && operation.dialects.contains(Dialects::SQLITE)
    })
}

/// Which other databases a migration mentions.
fn mentions(migration: &Migration) -> Portability {
    let source = migration.module.source();
    let mut found = Portability::PostgresOnly;
    for token in migration.module.tokens() {
        let text = match token.kind() {
            TokenKind::Name | TokenKind::String | TokenKind::FStringMiddle => &source[token.range()],
            _ => continue,
        };
        let lower = text.to_ascii_lowercase();
        if text.len() < 40 && ["mysql", "mariadb", "oracle", "mssql"].iter().any(|name| lower.contains(name)) {
            return Portability::Many;
        }
        if text == "batch_alter_table" || (text.len() < 40 && lower.contains("sqlite")) {
            found = Portability::Sqlite;
        }
    }
    found
}

/// A rule's word on one run of an operation.
struct Instance<'a> {
    direction: Direction,
    operation: &'a Operation,
    violation: Option<(&'static Rule, Violation)>,
}

fn check_one(migration: &Migration, before: &Catalog, settings: &Settings, selected: &Selection) -> Report {
    let mut calls: BTreeMap<(u32, u32), Vec<Instance>> = BTreeMap::new();
    let rules: Vec<&'static Rule> =
        RULES.iter().filter(|rule| selected(&migration.path, &rule.name())).collect();
    let mut as_expected = BTreeSet::new();
    let mut run = |direction, before: &Catalog| {
        replay(migration, direction, before, settings, &rules, &mut calls, &mut as_expected)
    };
    let after_upgrade = run(Direction::Upgrade, before);
    let after_downgrade = run(Direction::Downgrade, &after_upgrade);
    let mut report = Report {
        before: before.clone(),
        after_upgrade,
        after_downgrade,
        as_expected,
        contradiction: contradiction(migration, before),
        naming: settings.naming.clone(),
        ..Report::default()
    };
    for instances in calls.values() {
        let Some(finding) = merge(instances) else { continue };
        let first = migration.module.position(finding.statement.start()).line;
        let last = migration.module.position(finding.statement.end()).line;
        if migration.suppressions.suppresses(&finding.rule.name(), first, last).is_some() {
            report.suppressed.push(finding);
        } else {
            report.findings.push(finding);
        }
    }
    report
}

/// The first constraint that `upgrade` drops by a name that PostgreSQL would not have chosen.
fn contradiction(migration: &Migration, before: &Catalog) -> Option<TextRange> {
    let mut catalog = before.clone();
    for operation in &migration.upgrade.operations {
        if let OperationKind::DropConstraint { table, name, if_exists: false } = &operation.kind
            && let (Some(table), Some(name)) = (table.known(), name.as_str())
            && !operation.conditional
            && catalog.contradicts_names(&table, name)
        {
            return Some(operation.origin.call);
        }
        catalog.apply(operation);
    }
    None
}

/// Run one function over the catalog.
fn replay<'a>(
    migration: &'a Migration,
    direction: Direction,
    before: &Catalog,
    settings: &Settings,
    rules: &[&'static Rule],
    calls: &mut BTreeMap<(u32, u32), Vec<Instance<'a>>>,
    as_expected: &mut BTreeSet<TextSize>,
) -> Catalog {
    let walked = migration.walked(direction);
    let mut catalog = before.clone();
    let mut new_tables: BTreeSet<TableName> = BTreeSet::new();
    for (index, operation) in walked.operations.iter().enumerate() {
        let context = Context {
            catalog: &catalog,
            new_tables: &new_tables,
            later: &walked.operations[index + 1..],
            settings,
        };
        let violation = if walked.fails_at.is_some() {
            // Nothing of this function is ever committed.
            None
        } else {
            rules.iter().find_map(|rule| Some((*rule, rule.check(operation, &context)?)))
        };
        let call = operation.origin.call;
        if rerun::succeeds_first(operation, &catalog) {
            as_expected.insert(call.start());
        }
        calls
            .entry((call.start().to_u32(), call.end().to_u32()))
            .or_default()
            .push(Instance { direction, operation, violation });
        match &operation.kind {
            OperationKind::CreateTable { table, .. } => new_tables.extend(table.known()),
            OperationKind::RenameTable { table, new_name } => {
                if let (Some(old), Some(name)) = (table.known(), new_name.value.symbol())
                    && new_tables.remove(&old)
                {
                    new_tables.insert(TableName { schema: old.schema, name: name.to_owned() });
                }
            }
            _ => {}
        }
        catalog.apply(operation);
    }
    catalog
}

/// One finding for all runs of a call.
fn merge(instances: &[Instance]) -> Option<Finding> {
    let (first, (rule, violation)) = instances
        .iter()
        .find_map(|instance| Some((instance, instance.violation.as_ref()?)))?;
    let recipes: Vec<_> =
        instances.iter().filter_map(|instance| Some(&instance.violation.as_ref()?.1.fix)).collect();
    let failed = recipes.iter().find(|recipe| recipe.is_err());
    let same_shape = || {
        let mut shapes = recipes.iter().filter_map(|recipe| recipe.as_ref().ok()).map(shape);
        let first = shapes.next();
        shapes.all(|shape| Some(&shape) == first.as_ref())
    };
    let in_block = instances.iter().filter(|instance| instance.operation.autocommit).count();
    let fix = match failed {
        Some(failed) => (*failed).clone(),
        None if in_block != 0 && in_block != instances.len() => {
            Err("it runs both inside and outside of an autocommit block".to_owned())
        }
        None if !same_shape() => Err("it runs several times, and not the same way each time".to_owned()),
        None => violation.fix.clone(),
    };
    let lock_after = fix.as_ref().ok().and_then(Recipe::worst).map(|step| {
        format!("{} {}", step.lock, step.cost.duration())
    });
    Some(Finding {
        rule,
        direction: first.direction,
        message: violation.message.clone(),
        lock: violation.lock.clone(),
        lock_after,
        range: first.operation.origin.callee,
        statement: first.operation.origin.statement,
        fix,
        notes: Vec::new(),
        operation: first.operation.clone(),
    })
}

/// A recipe without the values of names that are spelled in the source.
fn shape(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    for step in &mut recipe.steps {
        match &mut step.action {
            Action::DropInvalidIndex { index, schema } | Action::DropIndex { index, schema } => {
                blank(index);
                schema.value = Value::Unknown;
            }
            Action::DropConstraint { table, name }
            | Action::ValidateConstraint { table, name }
            | Action::UniqueUsingIndex { table, name, .. } => {
                blank(name);
                table.name.value = Value::Unknown;
                table.schema.value = Value::Unknown;
            }
            Action::Original(_) => {}
        }
    }
    recipe
}

fn blank(name: &mut Name) {
    if let Name::Given(arg) = name {
        arg.value = Value::Unknown;
    }
}

impl Report {
    /// Rewrite the migration, as far as its findings are fixable and `allowed`.
    ///
    /// Passes are made until nothing changes; the result is checked: it parses, what was fixed is
    /// gone, and the catalog after it is the same. `None` when nothing changes.
    #[must_use]
    pub fn fix(
        &self,
        migration: &Migration,
        portability: Portability,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
    ) -> Option<Fixed> {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        let mut fixed: Vec<Finding> = Vec::new();
        let mut refused: Vec<Finding> = Vec::new();
        let mut owned: Option<(Migration, Report)> = None;
        for _ in 0..MAX_PASSES {
            let (migration, report) = match &owned {
                Some((migration, report)) => (migration, report),
                None => (migration, self),
            };
            let is_refused = |finding: &Finding| {
                refused.iter().any(|other| {
                    other.rule.name() == finding.rule.name() && other.message == finding.message
                })
            };
            let chosen: Vec<&Finding> = report
                .findings
                .iter()
                .filter(|finding| finding.fix.is_ok() && allowed(finding) && !is_refused(finding))
                .collect();
            if chosen.is_empty() {
                break;
            }
            let plans: Vec<Planned> = chosen
                .iter()
                .filter_map(|finding| {
                    Some(Planned { operation: &finding.operation, recipe: finding.fix.as_ref().ok()? })
                })
                .collect();
            let (rerunnable, notes) = rerunnable(migration, report, &plans, portability, settings);
            let outcome = layout::rewrite(&migration.module, &plans, &rerunnable, portability);
            for (plan, reason) in outcome.refused {
                let mut finding = chosen[plan].clone();
                finding.fix = Err(reason);
                refused.push(finding);
            }
            let Some(source) = outcome.source else {
                for finding in &chosen {
                    if !is_refused_in(&refused, finding) {
                        let mut finding = (*finding).clone();
                        finding.fix = Err("it could not be laid out".to_owned());
                        refused.push(finding);
                    }
                }
                continue;
            };
            let next = match Migration::parse(migration.path.clone(), source) {
                Ok(Parsed::Migration(next)) => *next,
                _ => return None,
            };
            let next_report = check_one(&next, &self.before, settings, selected);
            let gone = chosen.iter().filter(|finding| {
                !is_refused_in(&refused, finding)
                    && !next_report.findings.iter().any(|other| other.message == finding.message)
            });
            let mut newly_fixed: Vec<Finding> = gone.map(|finding| (*finding).clone()).collect();
            for finding in &mut newly_fixed {
                finding.notes.clone_from(&notes);
            }
            fixed.extend(newly_fixed);
            owned = Some((next, next_report));
        }
        let (next, report) = owned?;
        let same = report.after_upgrade.same_schema(&self.after_upgrade)
            && (self.after_downgrade.same_schema(&report.after_downgrade));
        if !same || fixed.is_empty() {
            return None;
        }
        let left = report
            .findings
            .iter()
            .map(|finding| refused.iter().find(|other| other.message == finding.message).unwrap_or(finding).clone())
            .collect();
        Some(Fixed { source: next.module.source().to_owned(), fixed, left })
    }
}

fn is_refused_in(refused: &[Finding], finding: &Finding) -> bool {
    refused.iter().any(|other| other.range == finding.range)
}

/// What is committed early by the blocks that the plans open, and so may run again: how it is made
/// to, and what can't be.
fn rerunnable(
    migration: &Migration,
    report: &Report,
    plans: &[Planned],
    portability: Portability,
    settings: &Settings,
) -> (Vec<Rerunnable>, Vec<String>) {
    let mut again: Vec<Rerunnable> = Vec::new();
    let mut notes = Vec::new();
    if settings.rerun == Rerun::Plain {
        return (again, notes);
    }
    let planned: BTreeSet<TextSize> = plans.iter().map(|plan| plan.operation.origin.call.start()).collect();
    for direction in [Direction::Upgrade, Direction::Downgrade] {
        let operations = &migration.walked(direction).operations;
        let is_planned = |operation: &Operation| planned.contains(&operation.origin.call.start());
        let Some(last) = operations.iter().rposition(|operation| is_planned(operation) && !operation.autocommit)
        else {
            continue;
        };
        for operation in operations[..last].iter().filter(|operation| !is_planned(operation) && !operation.autocommit) {
            // What fails on a first run must go on to fail.
            if !report.as_expected.contains(&operation.origin.call.start()) {
                continue;
            }
            match rerun::how(operation, portability, &settings.target) {
                rerun::How::AsItIs => {}
                rerun::How::With(keyword) => {
                    let keyword = Rerunnable { call: operation.origin.call, keyword };
                    if !again.contains(&keyword) {
                        again.push(keyword);
                    }
                }
                rerun::How::Impossible => {
                    let line = migration.module.position(operation.origin.statement.start()).line;
                    let note = format!("line {line} is committed before the block, and may not run a second time");
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
            }
        }
    }
    (again, notes)
}

/// The places of a range in a module, for reports.
#[must_use]
pub fn lines(module: &Module, range: TextRange) -> (usize, usize) {
    (module.position(range.start()).line, module.position(range.end()).line)
}
