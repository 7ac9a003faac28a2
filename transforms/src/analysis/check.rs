//! Runs the rules over one migration: every call of it is judged as often as it runs, and said once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruff_text_size::TextRange;

use super::shared::{self, Reasons};
use super::{Finding, Report, Selection, hold};
use crate::catalog::Catalog;
use crate::migration::{Direction, Migration};
use crate::operations::sql::UNPARSED;
use crate::operations::{Object, Operation, OperationKind, TableName};
use crate::python::value::{Arg, Value};
use crate::recipe::{Action, Argument, Around, Lock, Name, Recipe};
use crate::rules::{Context, RULES, Rule, Violation};
use crate::settings::Settings;
use crate::{naming, rerun, revision, suppression};

/// What tells operations apart: the call, and the place in its SQL text.
pub(super) type CallKey = (u32, u32, usize, usize);

/// What the rules say about one run of an operation.
pub(super) struct Instance<'a> {
    pub(super) direction: Direction,
    pub(super) operation: &'a Operation,
    pub(super) violation: Option<Judgement>,
    /// For the case that it stays as it is.
    pub(super) remaining: Option<Judgement>,
    /// About what it leads to.
    pub(super) design: Vec<Judgement>,
}

pub(super) type Judgement = (&'static Rule, Violation);

/// Where a migration stands in its history.
pub(super) struct Place<'a> {
    /// The database before it.
    pub(super) before: &'a Catalog,
    /// The database after all revisions.
    pub(super) end: &'a Catalog,
    pub(super) is_head: bool,
    /// Why operations in functions of other modules are left alone.
    pub(super) reasons: &'a Arc<Reasons>,
}

/// One run of an operation that stands in a function of another module.
#[derive(Debug, Clone)]
pub(super) struct Called {
    /// What tells the call apart in the migration.
    pub(super) key: CallKey,
    /// Where the call stands.
    pub(super) call: TextRange,
    pub(super) module: String,
    /// As it stands in its module.
    pub(super) operation: Operation,
    pub(super) direction: Direction,
    pub(super) violation: Option<Judgement>,
    /// A comment in the migration suppresses the finding.
    pub(super) suppressed: bool,
}

impl Called {
    /// The run of an operation, if that stands elsewhere.
    fn of(operation: &Operation, direction: Direction) -> Option<Self> {
        let elsewhere = operation.origin.elsewhere.as_ref()?;
        Some(Self {
            key: operation.origin.key(),
            call: operation.origin.call,
            module: elsewhere.module.clone(),
            operation: operation.where_it_stands().into_owned(),
            direction,
            violation: None,
            suppressed: false,
        })
    }

    pub(super) fn instance(&self) -> Instance<'_> {
        Instance {
            direction: self.direction,
            operation: &self.operation,
            violation: self.violation.clone(),
            remaining: None,
            design: Vec::new(),
        }
    }
}

pub(super) fn check_one(
    migration: &Migration,
    place: &Place,
    settings: &Settings,
    selected: &Selection,
) -> Report {
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
        reasons: Arc::clone(place.reasons),
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
                let key = finding.operation.origin.key();
                for called in report.called.iter_mut().filter(|called| called.key == key) {
                    called.suppressed = true;
                }
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
fn contradicts_names(operation: &Operation, catalog: &Catalog, later: &[Operation]) -> bool {
    match &operation.kind {
        OperationKind::DropConstraint { table, name, if_exists } if !operation.conditional => {
            match (table.known(), name.as_str()) {
                (Some(table), Some(name)) => {
                    // With `IF EXISTS`, it may be one that this function adds itself, when it runs again.
                    let adds = |later: &Operation| {
                        matches!(&later.kind, OperationKind::AddConstraint(add)
                            if add.table.known().as_ref() == Some(&table) && add.name.as_str() == Some(name))
                    };
                    let is_its_own =
                        *if_exists && (name.starts_with(naming::TEMPORARY) || later.iter().any(adds));
                    !is_its_own && catalog.contradicts_names(&table, name)
                }
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether it takes a lock for which others have to stop; not known is no.
pub(super) fn stops_writers(operation: &Operation) -> bool {
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
    let mut called_here = Vec::with_capacity(walked.operations.len());
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
        // The rules see what can be done where the operation itself stands.
        let called = Called::of(operation, direction);
        let asked = called.as_ref().map_or(operation, |called| &called.operation);
        let ask = |remaining| {
            let operation = if remaining { operation } else { asked };
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
        called_here.push(called);
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
        if direction == Direction::Upgrade && contradicts_names(operation, &catalog, context.later) {
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
    let (fixed, divided) = to_be_fixed(&instances);
    let changes = hold::Fixes { fixed: &fixed, divided: &divided, as_expected: &report.as_expected };
    let fragile = hold::fragile_guards(walked, &changes, settings);
    for (mut instance, called) in instances.into_iter().zip(called_here) {
        let mut reasons =
            instance.operation.origin.guards.iter().filter_map(|guard| fragile.get(guard)?.clone().err());
        if let Some((_, violation)) = &mut instance.violation
            && violation.fix.is_ok()
            && let Some(reason) = reasons.next()
        {
            violation.fix = Err(reason);
        }
        // Upgrades have run; but many a downgrade was never tried. One that fails has to go on to
        // leave everything as it was.
        if let Some(reason) = &fails {
            let judgements = instance.violation.iter_mut().chain(&mut instance.design);
            for (_, violation) in judgements.filter(|(_, violation)| violation.fix.is_ok()) {
                violation.fix = Err(reason.clone());
            }
        }
        report.called.extend(called.map(|called| take_over(called, &mut instance, place.reasons)));
        calls.entry(instance.operation.origin.key()).or_default().push(instance);
    }
    catalog
}

/// The operations that have a fix, and those of them that it divides.
fn to_be_fixed(instances: &[Instance]) -> (BTreeSet<CallKey>, BTreeSet<CallKey>) {
    let fixes = instances.iter().filter_map(|instance| {
        let (_, violation) = instance.violation.as_ref()?;
        violation.fix.is_ok().then_some((instance.operation, &violation.fix))
    });
    let keys = |(operation, _): (&Operation, _)| operation.origin.key();
    let divided =
        fixes.clone().filter(|(operation, fix)| hold::is_divided(operation, fix)).map(keys).collect();
    (fixes.map(keys).collect(), divided)
}

/// What the rules say about an operation of another module is said there, and the call is left.
fn take_over(mut called: Called, instance: &mut Instance, reasons: &Reasons) -> Called {
    called.violation.clone_from(&instance.violation);
    if let Some((_, violation)) = &mut instance.violation
        && violation.fix.is_ok()
    {
        violation.fix = Err(shared::reason(reasons, &called).to_owned());
    }
    called
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
pub(super) fn merge<'a>(
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
        None if !first.operation.origin.guards.is_empty()
            && first.operation.origin.guards_of_call.is_none() =>
        {
            violation.fix.clone().map(|fix| spelled_out(fix, &recipes))
        }
        None => violation.fix.clone(),
    };
    let fix = fix.map(|recipe| Recipe { new_revision: new_revision(&recipes), ..recipe });
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
        message: without_marks(&violation.message),
        lock: violation.lock.clone(),
        lock_after,
        range: first.operation.origin.place(),
        statement: first.operation.origin.statement,
        fix: fix.map_err(|reason| without_marks(&reason)),
        operation: first.operation.clone(),
    })
}

/// What all runs of a call need of a new revision.
fn new_revision(runs: &[&Result<Recipe, String>]) -> Vec<revision::Step> {
    let mut steps = Vec::new();
    for step in runs.iter().filter_map(|run| run.as_ref().ok()).flat_map(|recipe| &recipe.new_revision) {
        if !steps.contains(step) {
            steps.push(step.clone());
        }
    }
    steps
}

/// A name that is not known, as it is spelled: `{schema@upgrade0}` tells it from others by where it is bound.
fn without_marks(text: &str) -> String {
    let mut parts = text.split('@');
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_name = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == '_');
        let follows_name = shown.rsplit_once('{').is_some_and(|(_, name)| is_name(name));
        match part.split_once('}') {
            Some((mark, rest)) if follows_name && is_name(mark) => shown.extend(["}", rest]),
            _ => shown.extend(["@", part]),
        }
    }
    shown
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
    // A new revision does what each run needs.
    let mut recipe = Recipe { new_revision: Vec::new(), ..recipe.clone() };
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
            | Action::ChangeTypes { .. }
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
