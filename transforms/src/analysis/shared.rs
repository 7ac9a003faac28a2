//! Fixes what stands in functions of the project's modules: once in the module, for all who call it.
//!
//! It is done only where every call in the whole history has the same finding or none, and where nobody else calls
//! the function. What the calling revisions did before the call is then committed by it, and has to be able to run
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::{CallKey, Called, merge};
use super::early::{Early, early};
use super::hold::Branches;
use super::{Finding, History, Key, Report, Selection, mentions};
use crate::layout::{self, Kept, Others, Planned, Rerunnable};
use crate::migration::{Direction, Migration, Parsed};
use crate::operations::{ELSEWHERE, Entrance, Modules, Operation, OperationKind, Uses, has_parameters};
use crate::python::Module;
use crate::recipe::{Action, Applicability, Argument, Name, Recipe};
use crate::settings::Settings;

/// Passes over the modules until nothing changes any more.
const MAX_PASSES: usize = 8;

/// Why operations are left alone, by their module and their place in it.
pub(super) type Reasons = BTreeMap<Place, String>;
type Place = (String, CallKey);

/// Why a call is left alone whose operation can be fixed where it stands.
pub(super) fn reason<'a>(reasons: &'a Reasons, called: &Called) -> &'a str {
    reasons.get(&place(called)).map_or(ELSEWHERE, String::as_str)
}

fn place(called: &Called) -> Place {
    (called.module.clone(), called.operation.origin.key())
}

/// Whether the functions of a module may be changed that lead to an operation, or why not.
type MayEdit<'a> = dyn Fn(&str, &BTreeSet<Entrance>) -> Result<(), String> + 'a;

/// Who may change what.
pub struct Permissions<'a> {
    /// Whether the fix of a finding may change what a migration (by index) does, or why not.
    pub migration: &'a dyn Fn(usize, &Finding) -> Result<(), String>,
    /// Whether functions of a module are the project's, and only its history calls them; or why not.
    pub functions: &'a MayEdit<'a>,
}

/// The fixes in the modules of a project.
#[derive(Debug)]
pub struct Shared {
    /// The new texts of modules, by name.
    pub modules: BTreeMap<String, String>,
    /// The history with them. What their callers do before can run again.
    pub history: History,
    /// What is found then.
    pub reports: Vec<Report>,
}

/// An operation of a module with everything that calls it.
struct Group<'a> {
    place: Place,
    finding: Finding,
    /// By the index of the migration.
    calls: Vec<(usize, &'a Called)>,
}

impl Group<'_> {
    fn key(&self) -> (String, Key) {
        (self.place.0.clone(), self.finding.key())
    }
}

/// What came of a pass.
enum Pass {
    Changed(Box<History>),
    /// Some of it is refused: everything is tried again without that.
    Refused,
}

impl History {
    /// Fix what stands in functions of modules, as far as that is right for the whole history. The `reports` on the
    /// history get the fixes, and the reasons for what is left; `None` when nothing changes.
    #[must_use]
    pub fn fix_shared(
        &self,
        reports: &mut [Report],
        settings: &Settings,
        selected: &Selection,
        permissions: &Permissions,
    ) -> Option<Shared> {
        if reports.iter().all(|report| report.called.iter().all(|called| called.violation.is_none())) {
            return None;
        }
        let mut refused: BTreeMap<(String, Key), String> = BTreeMap::new();
        let mut current: Option<(History, Vec<Report>)> = None;
        let mut passes = 0;
        while passes < MAX_PASSES {
            let (history, now) = current.as_ref().map_or((self, &*reports), |(history, now)| (history, now));
            let groups = history.groups(now, selected, permissions, &refused);
            let chosen: Vec<&Group> = groups.iter().filter(|group| group.finding.fix.is_ok()).collect();
            if chosen.is_empty() {
                break;
            }
            if let Pass::Changed(next) = history.pass(now, &chosen, settings, &mut refused) {
                let next_reports = next.check(settings, selected);
                current = Some((*next, next_reports));
                passes += 1;
            }
        }
        let why_not = match &current {
            _ if passes == MAX_PASSES => Some("the module would have to be rewritten again and again"),
            Some((_, after)) if !leads_to_the_same(reports, after) => {
                Some("the rewritten module would not lead to the same schema")
            }
            _ => None,
        };
        if why_not.is_some() {
            current = None;
        }
        let groups = self.groups(reports, selected, permissions, &refused);
        let reasons: Reasons = groups
            .iter()
            .filter_map(|group| {
                let reason = match (&group.finding.fix, why_not) {
                    (Err(reason), _) => reason.as_str(),
                    (Ok(_), reason) => reason?,
                };
                Some((group.place.clone(), reason.to_owned()))
            })
            .collect();
        let fixed: BTreeMap<Place, Finding> = groups
            .into_iter()
            .filter(|group| !reasons.contains_key(&group.place))
            .map(|group| (group.place, group.finding))
            .collect();
        let reasons = Arc::new(reasons);
        tell(reports, &reasons, &fixed);
        let (history, mut reports) = current?;
        // Places in a module that was rewritten are others.
        let groups = history.groups(&reports, selected, permissions, &refused);
        let reasons =
            groups.into_iter().filter_map(|group| Some((group.place, group.finding.fix.err()?))).collect();
        tell(&mut reports, &Arc::new(reasons), &BTreeMap::new());
        let modules = history.modules();
        let before = self.modules();
        let changed = before.names().filter_map(|name| {
            let (old, new) = (before.get(name)?.source(), modules.get(name)?.source());
            (old != new).then(|| (name.to_owned(), new.to_owned()))
        });
        Some(Shared { modules: changed.collect(), history, reports })
    }

    /// The modules that its migrations call.
    fn modules(&self) -> Arc<Modules> {
        let all = self.migrations.iter().map(|migration| &migration.modules);
        all.max_by_key(|modules| modules.names().count()).map(Arc::clone).unwrap_or_default()
    }

    /// Every operation of a module about which a rule has something to say, with one finding for all calls.
    fn groups<'a>(
        &'a self,
        reports: &'a [Report],
        selected: &Selection,
        permissions: &Permissions,
        refused: &BTreeMap<(String, Key), String>,
    ) -> Vec<Group<'a>> {
        let mut calls: BTreeMap<Place, Vec<(usize, &Called)>> = BTreeMap::new();
        for (index, report) in reports.iter().enumerate() {
            for called in &report.called {
                calls.entry(place(called)).or_default().push((index, called));
            }
        }
        let modules = self.modules();
        let mut groups = Vec::new();
        for (place, calls) in calls {
            let instances: Vec<_> = calls.iter().map(|(_, called)| called.instance()).collect();
            let Some(mut finding) = merge(&instances, |instance| instance.violation.as_ref()) else {
                continue;
            };
            // What one caller runs on PostgreSQL only, another may not.
            for (_, called) in &calls {
                finding.operation.dialects = finding.operation.dialects.union(called.operation.dialects);
            }
            let mut group = Group { place, finding, calls };
            if let Some(reason) = refused.get(&group.key()) {
                group.finding.fix = Err(reason.clone());
            } else if let Err(reason) = self.may_be_fixed(&group, &modules, selected, permissions) {
                group.finding.fix = Err(reason);
            }
            groups.push(group);
        }
        groups
    }

    /// Whether all who call an operation agree on its fix.
    ///
    /// # Errors
    /// Why it is left alone.
    fn may_be_fixed(
        &self,
        group: &Group,
        modules: &Modules,
        selected: &Selection,
        permissions: &Permissions,
    ) -> Result<(), String> {
        let place_of = |index: usize, called: &Called| {
            let migration = &self.migrations[index];
            format!("{}:{}", migration.path, migration.module.position(called.call.start()).line)
        };
        let finding = &group.finding;
        let failed = group.calls.iter().find_map(|(index, called)| {
            let reason = called.violation.as_ref()?.1.fix.as_ref().err()?;
            Some((*index, called, reason))
        });
        if let Some((index, called, reason)) = failed {
            let place = place_of(index, called);
            return Err(format!(
                "it stands in a function that {place} calls, too, where it is left: {reason}"
            ));
        }
        let Ok(recipe) = &finding.fix else { return Ok(()) };
        if recipe.applicability != Applicability::Safe || !finding.moves() {
            return Err(ELSEWHERE.to_owned());
        }
        let has_parameters = modules.get(&group.place.0).is_some_and(|module| {
            has_parameters(module, finding.operation.origin.statement, &finding.operation.origin.receiver)
        });
        if has_parameters && depends_on_caller(recipe, &finding.operation) {
            return Err(
                "it stands in a function of another module, and what it needs depends on who calls that"
                    .to_owned(),
            );
        }
        let rule = finding.rule.name();
        for (index, called) in &group.calls {
            let path = &self.migrations[*index].path;
            if called.suppressed {
                let place = place_of(*index, called);
                return Err(format!(
                    "it stands in a function that {place} calls, too, where it is suppressed"
                ));
            }
            if !selected(path, &rule) {
                return Err(format!(
                    "it stands in a function that {path} calls, too, where `{rule}` is not asked"
                ));
            }
            (permissions.migration)(*index, finding)?;
        }
        let entrances = modules.entrances(&group.place.0, finding.operation.origin.statement);
        for migration in &self.migrations {
            if let Some(place) = Uses::of(&migration.module, None, &entrances).others.first() {
                let line = migration.module.position(place.start()).line;
                let path = &migration.path;
                return Err(format!("{path}:{line} does something else with the function that it stands in"));
            }
        }
        (permissions.functions)(&group.place.0, &entrances)
    }

    /// Rewrite the modules, and what their callers do before.
    fn pass(
        &self,
        reports: &[Report],
        chosen: &[&Group],
        settings: &Settings,
        refused: &mut BTreeMap<(String, Key), String>,
    ) -> Pass {
        let places: BTreeSet<&Place> = chosen.iter().map(|group| &group.place).collect();
        let is_planned =
            |operation: &Operation| {
                operation.origin.elsewhere.as_ref().is_some_and(|elsewhere| {
                    places.contains(&(elsewhere.module.clone(), elsewhere.origin.key()))
                })
            };
        let before = refused.len();
        let mut keywords: BTreeMap<usize, Vec<Rerunnable>> = BTreeMap::new();
        let mut in_modules: BTreeMap<String, Vec<Rerunnable>> = BTreeMap::new();
        for (index, migration) in self.migrations.iter().enumerate() {
            let early = early(
                migration,
                &reports[index],
                &is_planned,
                true,
                self.portability,
                settings,
                &Direction::BOTH,
            );
            let reason =
                self.keeps_together(migration, reports, early, &mut in_modules, &mut keywords, index);
            if let Err(reason) = reason {
                let here =
                    chosen.iter().filter(|group| group.calls.iter().any(|(caller, _)| *caller == index));
                for group in here {
                    refused.entry(group.key()).or_insert_with(|| reason.clone());
                }
            }
        }
        if refused.len() > before {
            return Pass::Refused;
        }
        let modules = self.modules();
        let mut new = Modules::clone(&modules);
        let names: BTreeSet<&String> =
            chosen.iter().map(|group| &group.place.0).chain(in_modules.keys()).collect();
        for name in names {
            let Some(module) = modules.get(name) else { continue };
            let of_module: Vec<&&Group> = chosen.iter().filter(|group| group.place.0 == *name).collect();
            let source = self.rewrite(name, module, &of_module, in_modules.get(name), settings, refused);
            if let Some(module) = source.and_then(|source| Module::parse(source).ok()) {
                new.replace(name, module);
            }
        }
        if refused.len() > before {
            return Pass::Refused;
        }
        let new = Arc::new(new);
        let mut migrations = Vec::new();
        for (index, migration) in self.migrations.iter().enumerate() {
            let source = match keywords.get(&index) {
                Some(keywords) => {
                    layout::rewrite(&migration.module, &[], &Others::default(), keywords, self.portability)
                        .source
                }
                None => Some(migration.module.source().to_owned()),
            };
            let modules = if migration.modules.is_empty() { &migration.modules } else { &new };
            let parsed = source
                .map(|source| Migration::parse_with(migration.path.clone(), source, Arc::clone(modules)));
            let Some(Ok(Parsed::Migration(migration))) = parsed else {
                let reason = format!("what {} does before can't be made to run again", migration.path);
                for group in
                    chosen.iter().filter(|group| group.calls.iter().any(|(caller, _)| *caller == index))
                {
                    refused.insert(group.key(), reason.clone());
                }
                return Pass::Refused;
            };
            migrations.push(*migration);
        }
        Pass::Changed(Box::new(History::new(migrations, settings)))
    }

    /// Sort what is committed early by where it stands.
    ///
    /// # Errors
    /// It can't run a second time.
    fn keeps_together(
        &self,
        migration: &Migration,
        reports: &[Report],
        early: Early,
        in_modules: &mut BTreeMap<String, Vec<Rerunnable>>,
        keywords: &mut BTreeMap<usize, Vec<Rerunnable>>,
        index: usize,
    ) -> Result<(), String> {
        if let Some(operation) = early.leave.first() {
            let line = migration.module.position(operation.origin.statement.start()).line;
            return Err(format!("line {line} of {} may not run a second time", migration.path));
        }
        if let Some(note) = early.note() {
            return Err(format!("in {}, {note}", migration.path));
        }
        for keyword in early.keywords {
            let Some(module) = &keyword.module else {
                keywords.entry(index).or_default().push(keyword);
                continue;
            };
            // What fails on a first run for one of its callers must go on to fail.
            let key = keyword.origin.key();
            let fails = |report: &Report| {
                report.called.iter().any(|called| {
                    called.module == *module
                        && called.operation.origin.key() == key
                        && !report.as_expected.contains(&called.key)
                        && !is_found(&called.operation)
                })
            };
            if let Some(other) = reports.iter().position(fails) {
                let path = &self.migrations[other].path;
                return Err(format!("what it needs to run a second time may be wrong in {path}"));
            }
            let known = in_modules.entry(module.clone()).or_default();
            if !known.iter().any(|known| known.origin.key() == key) {
                known.push(keyword);
            }
        }
        Ok(())
    }

    /// The conditions of a module that have to keep their answer.
    fn kept_in(&self, name: &str, groups: &[&&Group]) -> Vec<Kept> {
        let mut calls: BTreeMap<_, BTreeMap<CallKey, _>> = BTreeMap::new();
        for group in groups.iter().filter(|group| group.finding.moves()) {
            for (index, called) in &group.calls {
                calls.entry((*index, called.direction)).or_default().insert(called.key, &group.finding.fix);
            }
        }
        let mut branches = Branches::default();
        for ((index, direction), fixes) in calls {
            let walked = self.migrations[index].walked(direction);
            let moved = walked
                .operations
                .iter()
                .filter_map(|operation| Some((operation, *fixes.get(&operation.origin.key())?)));
            branches.add(walked, Some(name), moved);
        }
        branches.named(name)
    }

    /// The new text of a module.
    fn rewrite(
        &self,
        name: &str,
        module: &Module,
        groups: &[&&Group],
        keywords: Option<&Vec<Rerunnable>>,
        settings: &Settings,
        refused: &mut BTreeMap<(String, Key), String>,
    ) -> Option<String> {
        let portability = match settings.other_databases {
            Some(_) => self.portability,
            None => self.portability.max(mentions(module)),
        };
        let keywords = keywords.map_or(&[][..], Vec::as_slice);
        let plans: Vec<Planned> = groups
            .iter()
            .filter_map(|group| {
                let recipe = group.finding.fix.as_ref().ok()?;
                Some(Planned { operation: &group.finding.operation, recipe })
            })
            .collect();
        let others = Others { kept: self.kept_in(name, groups), ..Others::default() };
        let outcome = layout::rewrite(module, &plans, &others, keywords, portability);
        let failed = outcome.source.is_none() && outcome.refused.is_empty() && !plans.is_empty();
        for (plan, reason) in outcome.refused {
            refused.insert(groups[plan].key(), reason);
        }
        if failed {
            let reason = "it could not be laid out without losing something";
            refused.extend(groups.iter().map(|group| (group.key(), reason.to_owned())));
        }
        outcome.source
    }
}

/// Whether what is dropped has a name that is only found when the migration runs: it is there then.
fn is_found(operation: &Operation) -> bool {
    let name = match &operation.kind {
        OperationKind::DropConstraint { name, .. } => name,
        OperationKind::DropIndex(drop) => &drop.name,
        _ => return false,
    };
    operation.conditional && name.value.symbol().is_none()
}

/// Whether a recipe has names or values in it that are not spelled where the operation stands, and could be others
/// for another caller.
fn depends_on_caller(recipe: &Recipe, operation: &Operation) -> bool {
    let is_chosen = |name: &Name| matches!(name, Name::Chosen(_));
    let is_chosen_argument =
        |argument: &Argument| matches!(argument, Argument::Exact(_) | Argument::Text(_) | Argument::Texts(_));
    let keywords = match &operation.kind {
        OperationKind::AddConstraint(add) => add.keywords.as_slice(),
        _ => &[],
    };
    recipe.steps.iter().any(|step| match &step.action {
        Action::Original(change) => {
            change.name.is_some() || change.remove.iter().any(|one| keywords.iter().any(|given| given == one))
        }
        Action::DropInvalidIndex { index, .. } => is_chosen(index),
        Action::DropConstraint { name, .. } | Action::ValidateConstraint { name, .. } => is_chosen(name),
        Action::UsingIndex { name, attributes, .. } => is_chosen(name) || !attributes.is_empty(),
        Action::Call(call) => {
            let keywords = call.keywords.iter().map(|(_, argument)| argument);
            call.arguments.iter().chain(keywords).any(is_chosen_argument)
        }
        Action::SetNotNull { .. }
        | Action::ProveNotNull { .. }
        | Action::DropNotNullProof { .. }
        | Action::RenameColumn { .. } => false,
        Action::LeaveOut
        | Action::DropIndex { .. }
        | Action::AddNotNull { .. }
        | Action::Backfill(_)
        | Action::Execute(_)
        | Action::SetDefault { .. }
        | Action::ChangeTypes { .. } => true,
    })
}

/// Whether every revision leads to the schema that it led to, and nothing new is found in it.
fn leads_to_the_same(before: &[Report], after: &[Report]) -> bool {
    let keys = |report: &Report| report.findings.iter().map(Finding::key).collect::<BTreeSet<_>>();
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(before, after)| before.same_schema(after, &[]) && keys(after).is_subset(&keys(before)))
}

/// Write the fixes and the reasons into the findings.
fn tell(reports: &mut [Report], reasons: &Arc<Reasons>, fixed: &BTreeMap<Place, Finding>) {
    for report in reports {
        report.reasons = Arc::clone(reasons);
        for finding in report.findings.iter_mut().chain(&mut report.suppressed) {
            let Some(elsewhere) = &finding.operation.origin.elsewhere else { continue };
            if finding.fix.as_ref().err().is_none_or(|reason| reason != ELSEWHERE) {
                continue;
            }
            let place = (elsewhere.module.clone(), elsewhere.origin.key());
            if let Some(fixed) = fixed.get(&place) {
                finding.fix.clone_from(&fixed.fix);
                finding.lock_after.clone_from(&fixed.lock_after);
            } else if let Some(reason) = reasons.get(&place) {
                finding.fix = Err(reason.clone());
            }
        }
    }
}
