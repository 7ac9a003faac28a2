//! Runs the rules over a history, and the layout over what they found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruff_python_ast::token::TokenKind;
use ruff_text_size::{Ranged, TextRange};

use crate::catalog::Catalog;
use crate::history::RevisionMap;
use crate::layout::{self, Others, Planned, Rerunnable};
use crate::migration::{Direction, Migration, Parsed};
use crate::naming::convention::{self, Convention, Named};
use crate::operations::guard::fragile;
use crate::operations::sql::UNPARSED;
use crate::operations::{Object, Operation, OperationKind, Receiver, TableArg, TableName};
use crate::python::value::{Arg, Dialects, Value};
use crate::recipe::{Action, Argument, Around, Lock, Name, Recipe};
use crate::rerun;
use crate::revision::{self, NewRevision};
use crate::rules::{Context, RULES, Rule, Violation};
use crate::settings::{Naming, Portability, Rerun, Settings};
use crate::suppression;

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
        let confirmed = match &settings.naming {
            Naming::Convention { place, convention: Some(convention) } if !self.confirms(convention) => {
                let naming = Naming::Convention { place: place.clone(), convention: None };
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
                let naming = Naming::Convention { place, convention: None };
                let settings = Settings { naming, ..settings.clone() };
                self.check_with(&settings, selected)
            }
            _ => reports,
        }
    }

    /// Whether some name in the history is the one that a naming convention gives: the metadata that
    /// the migrations run with could be another.
    fn confirms(&self, convention: &Convention) -> bool {
        let gives = |table: &TableName,
                     kind,
                     given: &Value,
                     columns: Option<&[String]>,
                     referent: Option<TableName>| {
            let referent = referent.as_ref();
            let name = convention.name(Named { kind, given: None, table, columns, referent });
            matches!((name, given), (convention::Name::Is(name), Value::Str(given)) if name == *given)
        };
        let operations = self
            .migrations
            .iter()
            .flat_map(|migration| migration.upgrade.operations.iter().chain(&migration.downgrade.operations));
        operations.into_iter().any(|operation| match &operation.kind {
            OperationKind::CreateTable { table, definition, .. } => table.known().is_some_and(|table| {
                definition.constraints.iter().any(|constraint| {
                    gives(&table, constraint.kind, &constraint.name, Some(&constraint.columns), None)
                })
            }),
            OperationKind::AddConstraint(add) => add.table.known().is_some_and(|table| {
                let referent = add.referent.as_ref().and_then(TableArg::known);
                gives(&table, add.kind, &add.name.value, add.columns.as_deref(), referent)
            }),
            _ => false,
        })
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

    /// A new revision at the head, safe by the rules about how indexes are created and dropped.
    ///
    /// # Errors
    /// Why there is no place for it.
    pub fn new_revision(
        &self,
        message: &str,
        steps: &[revision::Step],
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
        let parsed = Migration::parse("new.py".to_owned(), new.source.clone());
        let Ok(Parsed::Migration(migration)) = parsed else {
            return Err("the head is not written in a way that can be continued".to_owned());
        };
        let before = self.end(settings);
        let place = Place { before: &before, end: &before, is_head: true };
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
            let place = Place { before: &before, end: &end, is_head: self.map.heads.contains(index) };
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

/// What tells operations apart: the call, and the place in its SQL text.
type CallKey = (u32, u32, usize, usize);

/// What the rules say about one run of an operation.
struct Instance<'a> {
    direction: Direction,
    operation: &'a Operation,
    violation: Option<Judgement>,
    /// For the case that it stays as it is.
    remaining: Option<Judgement>,
    /// About what it leads to.
    design: Vec<Judgement>,
}

type Judgement = (&'static Rule, Violation);

/// Where a migration stands in its history.
struct Place<'a> {
    /// The database before it.
    before: &'a Catalog,
    /// The database after all revisions.
    end: &'a Catalog,
    is_head: bool,
}

fn check_one(migration: &Migration, place: &Place, settings: &Settings, selected: &Selection) -> Report {
    let before = place.before;
    let mut end = place.end.clone();
    if place.is_head {
        // It may have been changed since.
        end = before.clone();
        end.apply_all(&migration.upgrade.operations);
    }
    let place = Place { end: &end, ..*place };
    let mut calls: BTreeMap<CallKey, Vec<Instance>> = BTreeMap::new();
    let rules: Vec<&'static Rule> =
        RULES.iter().filter(|rule| selected(&migration.path, &rule.name())).collect();
    let mut report = Report {
        before: before.clone(),
        end: end.clone(),
        is_head: place.is_head,
        naming: settings.naming.clone(),
        ..Report::default()
    };
    let mut run = |direction, before: &Catalog| {
        let place = Place { before, ..place };
        replay(migration, direction, &place, settings, &rules, &mut calls, &mut report)
    };
    let after_upgrade = run(Direction::Upgrade, before);
    let after_downgrade = run(Direction::Downgrade, &after_upgrade);
    report.after_upgrade = after_upgrade;
    report.after_downgrade = after_downgrade;
    let mut used = suppression::Used::new();
    for instances in calls.values() {
        let mut changes = false;
        let mut found =
            vec![merge(instances, |instance| instance.violation.as_ref()), merge_remaining(instances)];
        found.extend(rules.iter().filter(|rule| rule.is_about_design()).map(|rule| {
            let is_its = |judgement: &&Judgement| judgement.0.module() == rule.module();
            merge(instances, |instance| instance.design.iter().find(is_its))
        }));
        for (index, finding) in found.into_iter().enumerate().filter_map(|(at, found)| Some((at, found?))) {
            let first = migration.module.position(finding.statement.start()).line;
            let last = migration.module.position(finding.statement.end()).line;
            let reason_required = settings.require_ignore_reason;
            let rule = finding.rule.name();
            if let Some(comment) = migration.suppressions.suppresses(&rule, first, last, reason_required) {
                used.extend(comment.used_for(&rule));
                report.suppressed.push(finding);
            } else if index != 1 || !changes {
                changes |= finding.fix.is_ok();
                report.findings.push(finding);
            }
        }
    }
    let selected = |rule: &str| selected(&migration.path, rule);
    report.ignores = migration.suppressions.examine(&used, &selected, settings.require_ignore_reason);
    report
}

/// Whether an operation drops a constraint by a name that PostgreSQL would not have chosen.
fn contradicts_names(operation: &Operation, catalog: &Catalog) -> bool {
    match &operation.kind {
        OperationKind::DropConstraint { table, name, if_exists: false } if !operation.conditional => {
            match (table.known(), name.as_str()) {
                (Some(table), Some(name)) => catalog.contradicts_names(&table, name),
                _ => false,
            }
        }
        _ => false,
    }
}

/// What the layout has to know of the statements that no plan is for.
fn others(migration: &Migration) -> Others {
    let operations = || migration.upgrade.operations.iter().chain(&migration.downgrade.operations);
    let alone = |operation: &&Operation| {
        operation.kind == OperationKind::Commit
            && operation.origin.call == operation.origin.statement
            && operation.origin.is_alone()
    };
    let waits = |operation: &&Operation| {
        // `batch_op.create_table_comment` and the like.
        let harmless = matches!(operation.origin.receiver, Receiver::Batch(_))
            && operation.kind == OperationKind::Harmless { sql: None };
        !harmless && !stops_writers(operation)
    };
    Others {
        commits: operations().filter(alone).map(|operation| operation.origin.statement).collect(),
        unlimited: operations().filter(waits).map(|operation| operation.origin.call).collect(),
    }
}

/// Whether it takes a lock for which others have to stop; not known is no.
fn stops_writers(operation: &Operation) -> bool {
    operation.strongest_lock().is_some_and(Lock::stops_writers)
}

/// Run one function over the catalog.
fn replay<'a>(
    migration: &'a Migration,
    direction: Direction,
    place: &Place,
    settings: &Settings,
    rules: &[&'static Rule],
    calls: &mut BTreeMap<CallKey, Vec<Instance<'a>>>,
    report: &mut Report,
) -> Catalog {
    let walked = migration.walked(direction);
    let mut catalog = place.before.clone();
    let mut new_tables: BTreeSet<TableName> = BTreeSet::new();
    let mut instances = Vec::with_capacity(walked.operations.len());
    let mut fails: Option<String> = None;
    for (index, operation) in walked.operations.iter().enumerate() {
        let context = Context {
            catalog: &catalog,
            new_tables: &new_tables,
            direction,
            earlier: &walked.operations[..index],
            later: &walked.operations[index + 1..],
            settings,
            end: place.end,
            is_head: place.is_head,
        };
        let ask = |remaining| {
            // Nothing of a function that fails is ever committed.
            let rules = rules
                .iter()
                .filter(|rule| walked.fails_at.is_none() && rule.is_about_remaining() == remaining)
                .filter(|rule| !rule.is_about_design());
            let mut found =
                rules.into_iter().filter_map(|rule| Some((*rule, rule.check(operation, &context)?)));
            let first = found.next()?;
            if first.1.fix.is_ok() || first.0.section("Instead").is_some() {
                return Some(first);
            }
            // A call can be two things at once: what can be fixed comes first.
            Some(found.find(|(_, violation)| violation.fix.is_ok()).unwrap_or(first))
        };
        let (violation, remaining) = (ask(false), ask(true));
        let design = rules
            .iter()
            .filter(|rule| walked.fails_at.is_none() && rule.is_about_design())
            .filter_map(|rule| Some((*rule, rule.check(operation, &context)?)))
            .map(|(rule, violation)| (rule, only_where_it_stands(operation, violation)))
            .collect();
        let call = operation.origin.call;
        if rerun::succeeds_first(operation, direction, &catalog) {
            report.as_expected.insert(operation.origin.key());
        }
        if direction == Direction::Upgrade && contradicts_names(operation, &catalog) {
            report.contradiction.get_or_insert(call);
        }
        if direction == Direction::Downgrade {
            let line = migration.module.position(call.start()).line;
            if rerun::fails_first(operation, &catalog) {
                fails.get_or_insert_with(|| format!("line {line} fails as it is, and undoes it"));
            } else if is_unparsed(operation) {
                let reason = || format!("line {line} could not be parsed as PostgreSQL, and may undo it");
                fails.get_or_insert_with(reason);
            }
        }
        instances.push(Instance { direction, operation, violation, remaining, design });
        match &operation.kind {
            OperationKind::CreateTable { table, .. } => new_tables.extend(table.known()),
            OperationKind::CreateObject { object: Object::MaterializedView, name, .. } => {
                new_tables.extend(name.clone());
            }
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
    let fragile = fragile(walked);
    for mut instance in instances {
        if let Some((_, violation)) = &mut instance.violation
            && violation.fix.is_ok()
            && instance.operation.origin.guards.iter().any(|guard| fragile.contains(guard))
        {
            violation.fix =
                Err("its condition asks the database, and would not hold a second time for what else \
                                 it guards: give it a condition of its own"
                    .to_owned());
        }
        // Upgrades have run; but many a downgrade was never tried. One that fails has to go on to
        // leave everything as it was.
        if let Some(reason) = &fails {
            let judgements = instance.violation.iter_mut().chain(&mut instance.design);
            for (_, violation) in judgements.filter(|(_, violation)| violation.fix.is_ok()) {
                violation.fix = Err(reason.clone());
            }
        }
        calls.entry(instance.operation.origin.key()).or_default().push(instance);
    }
    catalog
}

/// A call that can't be changed, or is not in this file, says what it says.
fn only_where_it_stands(operation: &Operation, violation: Violation) -> Violation {
    match (operation.origin.fixed_in_place, &violation.fix) {
        (Some(reason), Ok(recipe)) if recipe.around == Around::Nothing => {
            Violation { fix: Err(reason.to_owned()), ..violation }
        }
        _ => violation,
    }
}

/// Whether SQL may well have a syntax error.
fn is_unparsed(operation: &Operation) -> bool {
    !operation.conditional
        && matches!(&operation.kind, OperationKind::Opaque { reason, .. } if reason == UNPARSED)
}

/// The finding about a call that stays as it is.
fn merge_remaining(instances: &[Instance]) -> Option<Finding> {
    let mut finding = merge(instances, |instance| instance.remaining.as_ref())?;
    if finding.fix.is_ok() {
        if !instances.iter().all(|instance| stops_writers(instance.operation)) {
            finding.fix = Err("it also does what has to wait for its locks".to_owned());
        } else if instances.iter().any(|instance| instance.operation.lock_timeout) {
            finding.fix =
                Err("it runs both inside and outside of a `with` block for a lock timeout".to_owned());
        }
    }
    Some(finding)
}

/// One finding for all runs of a call.
fn merge<'a>(
    instances: &'a [Instance<'a>],
    said: impl Fn(&'a Instance<'a>) -> Option<&'a Judgement>,
) -> Option<Finding> {
    let (first, (rule, violation)) =
        instances.iter().find_map(|instance| Some((instance, said(instance)?)))?;
    let recipes: Vec<_> = instances.iter().filter_map(|instance| Some(&said(instance)?.1.fix)).collect();
    let failed = recipes.iter().find(|recipe| recipe.is_err());
    let same_shape = || {
        let mut shapes = recipes.iter().filter_map(|recipe| recipe.as_ref().ok()).map(shape);
        let first = shapes.next();
        shapes.all(|shape| Some(&shape) == first.as_ref())
    };
    let in_place =
        recipes.iter().any(|recipe| recipe.as_ref().is_ok_and(|recipe| recipe.around == Around::Nothing));
    let in_block = instances.iter().filter(|instance| instance.operation.autocommit).count();
    let fix = match failed {
        Some(failed) => (*failed).clone(),
        None if in_block != 0 && in_block != instances.len() && !in_place => {
            Err("it runs both inside and outside of an autocommit block".to_owned())
        }
        // What one run leads to may be right for another.
        None if in_place && recipes.len() != instances.len() => {
            Err("it runs several times, and not the same way each time".to_owned())
        }
        None if !same_shape() => Err("it runs several times, and not the same way each time".to_owned()),
        None if !first.operation.origin.guards.is_empty() => {
            violation.fix.clone().map(|fix| spelled_out(fix, &recipes))
        }
        None => violation.fix.clone(),
    };
    let lock_after = fix
        .as_ref()
        .ok()
        .filter(|recipe| recipe.around != Around::Nothing)
        .and_then(Recipe::worst)
        .map(|step| format!("{} {}", step.lock, step.cost.duration()));
    let lock_after = match fix.as_ref().map(|recipe| &recipe.around) {
        Ok(Around::LockTimeout(timeout)) => Some(format!("a lock within {timeout}, or an error")),
        _ => lock_after,
    };
    Some(Finding {
        rule,
        direction: first.direction,
        message: violation.message.clone(),
        lock: violation.lock.clone(),
        lock_after,
        range: first.operation.origin.place(),
        statement: first.operation.origin.statement,
        fix,
        operation: first.operation.clone(),
    })
}

/// What happens before a condition is looked at can't use names that are bound inside of it: where the
/// INVALID indexes of all runs are known, they are named one by one.
fn spelled_out(recipe: Recipe, runs: &[&Result<Recipe, String>]) -> Recipe {
    let is_known = |arg: &Arg| arg.literal || arg.range.is_none();
    let steps = recipe.steps.into_iter().enumerate().flat_map(|(at, step)| {
        let (given, place) = match &step.action {
            Action::DropInvalidIndex { index, schema } => (index, schema),
            Action::DropConstraint { table, name } if step.for_rerun && table.name.is_spelled_out() => {
                (name, &table.schema)
            }
            _ => return vec![step],
        };
        let names: Option<BTreeSet<&str>> = runs
            .iter()
            .map(|run| match &run.as_ref().ok()?.steps.get(at)?.action {
                Action::DropInvalidIndex { index: name, .. } | Action::DropConstraint { name, .. } => {
                    name.value()
                }
                _ => None,
            })
            .collect();
        match names {
            Some(names) if matches!(given, Name::Given(arg) if !arg.literal) && is_known(place) => names
                .into_iter()
                .map(|known| {
                    let mut step = step.clone();
                    if let Action::DropInvalidIndex { index: name, .. }
                    | Action::DropConstraint { name, .. } = &mut step.action
                    {
                        *name = Name::Chosen(known.to_owned());
                    }
                    step
                })
                .collect(),
            _ => vec![step],
        }
    });
    Recipe { steps: steps.collect(), ..recipe }
}

/// A recipe without the values of names that are spelled in the source.
fn shape(recipe: &Recipe) -> Recipe {
    let mut recipe = recipe.clone();
    for step in &mut recipe.steps {
        match &mut step.action {
            Action::DropInvalidIndex { index, schema } | Action::DropIndex { index, schema } => {
                blank(index);
                blank_arg(schema);
            }
            Action::DropConstraint { table, name }
            | Action::ValidateConstraint { table, name }
            | Action::UsingIndex { table, name, .. } => {
                blank(name);
                blank_arg(&mut table.name);
                blank_arg(&mut table.schema);
            }
            Action::Call(call) => {
                let keywords = call.keywords.iter_mut().map(|(_, argument)| argument);
                for argument in call.arguments.iter_mut().chain(keywords) {
                    if let Argument::Given(arg) = argument {
                        blank_arg(arg);
                    }
                }
            }
            Action::SetNotNull { table, column }
            | Action::ProveNotNull { table, column }
            | Action::DropNotNullProof { table, column } => {
                for arg in [&mut table.name, &mut table.schema, column] {
                    blank_arg(arg);
                }
            }
            Action::RenameColumn { table, column, new_name } => {
                for arg in [&mut table.name, &mut table.schema, column, new_name] {
                    blank_arg(arg);
                }
            }
            // Nothing in them depends on where the call stands.
            Action::Original(_)
            | Action::LeaveOut
            | Action::Backfill(_)
            | Action::Execute(_)
            | Action::SetDefault { .. }
            | Action::ChangeType { .. }
            | Action::AddNotNull { .. } => {}
        }
    }
    recipe
}

fn blank(name: &mut Name) {
    if let Name::Given(arg) = name {
        blank_arg(arg);
    }
}

/// What is spelled in the source can be spelled again.
fn blank_arg(arg: &mut Arg) {
    if arg.range.is_some() || arg.code.is_some() {
        arg.value = Value::Unknown;
    }
}

impl Report {
    /// The report on another text of the same migration, which takes its place in the history.
    #[must_use]
    pub fn of_edited(&self, migration: &Migration, settings: &Settings, selected: &Selection) -> Self {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        let place = Place { before: &self.before, end: &self.end, is_head: self.is_head };
        check_one(migration, &place, settings, selected)
    }

    /// Whether two texts of a migration lead to the same schema, as far as is known.
    #[must_use]
    pub fn same_schema(&self, other: &Self) -> bool {
        self.same_schema_but_for(other, &BTreeSet::new())
    }

    fn same_schema_but_for(&self, other: &Self, redesigned: &BTreeSet<(Option<String>, String)>) -> bool {
        self.after_upgrade.same_schema_but_for(&other.after_upgrade, redesigned)
            && self.after_downgrade.same_schema_but_for(&other.after_downgrade, redesigned)
    }

    /// Rewrite the migration, as far as its findings are fixable and `allowed`.
    ///
    /// Passes are made until nothing changes; the result is checked: it parses, what was fixed is
    /// gone, and the catalog after it is the same.
    #[must_use]
    pub fn fix(
        &self,
        migration: &Migration,
        portability: Portability,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
    ) -> Fixed {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        let mut refused: BTreeMap<Key, String> = BTreeMap::new();
        let mut notes: BTreeSet<String> = BTreeSet::new();
        // The indexes that the fixes change on purpose.
        let mut redesigned = BTreeSet::new();
        let place = Place { before: &self.before, end: &self.end, is_head: self.is_head };
        let mut owned: Option<(Migration, Report)> = None;
        let mut passes = 0;
        let mut released = false;
        while passes < MAX_PASSES {
            let (migration, report) = match &owned {
                Some((migration, report)) => (migration, report),
                None => (migration, self),
            };
            let chosen = report.next(allowed, &refused);
            redesigned.extend(
                chosen.iter().filter(|finding| finding.is_in_place()).filter_map(|finding| finding.index()),
            );
            let mut plans: Vec<Planned> = chosen
                .iter()
                .filter_map(|finding| {
                    Some(Planned { operation: &finding.operation, recipe: finding.fix.as_ref().ok()? })
                })
                .collect();
            if plans.is_empty() {
                break;
            }
            let inverses: Vec<(usize, &Operation)> = chosen
                .iter()
                .enumerate()
                .flat_map(|(index, finding)| {
                    finding.left_out_with(migration).map(move |inverse| (index, inverse))
                })
                .collect();
            let leave_out = Recipe::in_place(Action::LeaveOut);
            plans.extend(inverses.iter().map(|(_, operation)| Planned { operation, recipe: &leave_out }));
            let early = early(migration, report, &plans, portability, settings);
            let recipe = rerun::drop_constraint();
            plans.extend(early.leave.iter().map(|operation| Planned { operation, recipe: &recipe }));
            let outcome =
                layout::rewrite(&migration.module, &plans, &others(migration), &early.keywords, portability);
            let refused_before = refused.len();
            let mut halves = false;
            for (plan, reason) in outcome.refused {
                let inverse = plan.checked_sub(chosen.len()).and_then(|plan| inverses.get(plan));
                halves |= inverse.is_some() || chosen.get(plan).is_some_and(|finding| finding.is_left_out());
                if let Some(finding) = chosen.get(inverse.map_or(plan, |(finding, _)| *finding)) {
                    refused.insert(finding.key(), reason);
                }
            }
            // What is created and dropped is left out in both functions, or in none.
            if halves {
                continue;
            }
            let next = outcome
                .source
                .and_then(|source| {
                    let modules = Arc::clone(&migration.modules);
                    Migration::parse_with(migration.path.clone(), source, modules).ok()
                })
                .and_then(|parsed| match parsed {
                    Parsed::Migration(next) => Some(*next),
                    Parsed::Other => None,
                });
            let Some(next) = next else {
                for finding in &chosen {
                    let reason = "it could not be laid out without losing something";
                    refused.entry(finding.key()).or_insert_with(|| reason.to_owned());
                }
                continue;
            };
            if released && refused.len() > refused_before {
                // A statement left its block in vain.
                (owned, passes, released) = (None, 0, false);
                notes.clear();
                continue;
            }
            released |= outcome.released;
            notes.extend(early.notes);
            let report = check_one(&next, &place, settings, selected);
            owned = Some((next, report));
            passes += 1;
        }
        let Some((next, report)) = owned else { return self.unchanged(&refused) };
        if passes == MAX_PASSES {
            let reason = "the rewritten file would have to be rewritten again and again";
            return self.unchanged(
                &self.findings.iter().map(|finding| (finding.key(), reason.to_owned())).collect(),
            );
        }
        if report.same_schema_but_for(self, &redesigned) {
            self.changed(next, &report, &refused, &notes)
        } else {
            let reason = "the rewritten file would not lead to the same schema";
            self.unchanged(&self.findings.iter().map(|finding| (finding.key(), reason.to_owned())).collect())
        }
    }

    /// The findings that are fixed in the next pass. What is left out needs nothing else; what a call leads to is
    /// changed before how it runs; what stays in its place waits until everything else has moved.
    fn next(&self, allowed: &dyn Fn(&Finding) -> bool, refused: &BTreeMap<Key, String>) -> Vec<&Finding> {
        let mut chosen: Vec<&Finding> = self
            .findings
            .iter()
            .filter(|finding| {
                finding.fix.as_ref().is_ok_and(|recipe| !recipe.steps.is_empty())
                    && allowed(finding)
                    && !refused.contains_key(&finding.key())
            })
            .collect();
        for first in [Finding::is_left_out, Finding::is_in_place, Finding::moves] {
            if chosen.iter().any(|finding| first(finding)) {
                chosen.retain(|finding| first(finding));
                break;
            }
        }
        chosen
    }

    /// Nothing could be done.
    fn unchanged(&self, refused: &BTreeMap<Key, String>) -> Fixed {
        let left: Vec<_> = self.findings.iter().map(|finding| finding.refused(refused)).collect();
        let verdicts =
            left.iter().map(|finding| Verdict::Left { reason: finding.fix.clone().err() }).collect();
        Fixed { source: None, verdicts, left }
    }

    fn changed(
        &self,
        next: Migration,
        report: &Report,
        refused: &BTreeMap<Key, String>,
        notes: &BTreeSet<String>,
    ) -> Fixed {
        let left: Vec<_> = report.findings.iter().map(|finding| finding.refused(refused)).collect();
        let mut remaining: BTreeMap<Key, Vec<Option<String>>> = BTreeMap::new();
        for finding in &left {
            remaining.entry(finding.key()).or_default().push(finding.fix.clone().err());
        }
        let verdicts: Vec<_> = self
            .findings
            .iter()
            .map(|finding| match remaining.get_mut(&finding.key()).and_then(Vec::pop) {
                Some(reason) => Verdict::Left { reason },
                // Its advice can't have been followed.
                None if finding.fix.is_err() => Verdict::Left { reason: finding.fix.clone().err() },
                None => Verdict::Fixed { notes: notes.iter().cloned().collect() },
            })
            .collect();
        let fixes_any = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Fixed { .. }));
        if fixes_any {
            Fixed { source: Some(next.module.into_source()), verdicts, left }
        } else {
            self.unchanged(refused)
        }
    }
}

/// What a finding is known by from one pass to the next, while positions shift: its rule's module, its function and
/// its message. Findings of a file with the same key are fixed together.
pub type Key = (&'static str, Direction, String);

impl Finding {
    /// Whether its fix moves the operation.
    fn moves(&self) -> bool {
        self.fix.as_ref().is_ok_and(|recipe| recipe.around == Around::AutocommitBlock)
    }

    /// The table that the operation works on, as far as it is known.
    #[must_use]
    pub fn table(&self) -> Option<TableName> {
        self.operation.kind.table()?.known()
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

    fn is_left_out(&self) -> bool {
        self.fix.as_ref().is_ok_and(|recipe| recipe.steps.iter().any(|step| step.action == Action::LeaveOut))
    }

    /// The operations of the other function that are left out together with the finding's.
    fn left_out_with<'a>(&self, migration: &'a Migration) -> impl Iterator<Item = &'a Operation> + use<'a> {
        let index = self.index().filter(|_| self.is_left_out());
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
        (self.rule.module(), self.direction, without_positions(&self.message))
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

/// `{schema@1395}`, a name that is not known, is told from others by where it is bound, which a fix shifts.
fn without_positions(message: &str) -> String {
    let mut parts = message.split('@');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push('@');
        text.push_str(match part.trim_start_matches(|c: char| c.is_ascii_digit()) {
            rest if rest.starts_with('}') => rest,
            _ => part,
        });
    }
    text
}

/// What is committed early by the blocks that the plans open.
#[derive(Debug, Default)]
struct Early {
    /// Keywords that let a call run again.
    keywords: Vec<Rerunnable>,
    /// Operations that can run again only outside of their batch block.
    leave: Vec<Operation>,
    /// What may not run again.
    notes: Vec<String>,
}

/// What is committed early by the blocks that the plans open, and so may run again: how it is made
/// to, and what can't be.
fn early(
    migration: &Migration,
    report: &Report,
    plans: &[Planned],
    portability: Portability,
    settings: &Settings,
) -> Early {
    let mut early = Early::default();
    let commits = |plan: &Planned| plan.recipe.around == Around::AutocommitBlock;
    if settings.rerun == Rerun::Plain || !plans.iter().any(commits) {
        return early;
    }
    let planned: BTreeSet<CallKey> = plans.iter().map(|plan| plan.operation.origin.key()).collect();
    for direction in [Direction::Upgrade, Direction::Downgrade] {
        let operations = &migration.walked(direction).operations;
        let is_planned = |operation: &Operation| planned.contains(&operation.origin.key());
        let Some(last) =
            operations.iter().rposition(|operation| is_planned(operation) && !operation.autocommit)
        else {
            continue;
        };
        for operation in
            operations[..last].iter().filter(|operation| !is_planned(operation) && !operation.autocommit)
        {
            // What fails on a first run must go on to fail.
            if !report.as_expected.contains(&operation.origin.key()) {
                continue;
            }
            let how = match rerun::how(operation, &settings.target) {
                // Other databases don't know all of these words.
                rerun::How::With(_)
                    if operation.origin.sql.is_some()
                        && portability > Portability::PostgresOnly
                        && !operation.dialects.only_postgresql() =>
                {
                    rerun::How::Impossible
                }
                how => how,
            };
            match how {
                rerun::How::AsItIs => {}
                rerun::How::With(keyword) => {
                    let keyword = Rerunnable {
                        origin: operation.origin.clone(),
                        keyword,
                        // Looking first hurts nowhere.
                        only_on_postgresql: keyword != "checkfirst"
                            && portability > Portability::PostgresOnly
                            && !operation.dialects.only_postgresql(),
                    };
                    if !early.keywords.iter().any(|known| known.origin.key() == keyword.origin.key()) {
                        early.keywords.push(keyword);
                    }
                }
                rerun::How::OutsideOfBatch if operation.origin.fixed_in_place.is_none() => {
                    let call = operation.origin.call;
                    if !early.leave.iter().any(|known| known.origin.call == call) {
                        early.leave.push(operation.clone());
                    }
                }
                rerun::How::OutsideOfBatch | rerun::How::Impossible => {
                    let line = migration.module.position(operation.origin.statement.start()).line;
                    let note =
                        format!("line {line} is committed before the block, and may not run a second time");
                    if !early.notes.contains(&note) {
                        early.notes.push(note);
                    }
                }
            }
        }
    }
    early
}
