//! Conditions that ask the database keep their answer until all that they guard is done.
//!
//! What an interrupted run has committed may turn the answer of such a condition; a mark in the database, made in the
//! transaction that changes the answer first, turns it back.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::check::CallKey;
use crate::layout::Kept;
use crate::migration::{Direction, Migration};
use crate::operations::guard::{Branch, fragile};
use crate::operations::{Operation, OperationKind, Walked};
use crate::python::value::Arg;
use crate::recipe::{Action, Around, Recipe};
use crate::rerun;
use crate::settings::{Rerun, Settings};

/// What a fix makes of operations.
pub(super) struct Fixes<'a> {
    /// Those that a fix makes so that they can run a second time.
    pub(super) fixed: &'a BTreeSet<CallKey>,
    /// Those of which a part is done before the rest.
    pub(super) divided: &'a BTreeSet<CallKey>,
    /// Those that do not fail in a first run.
    pub(super) as_expected: &'a BTreeSet<CallKey>,
}

/// Whether a fix of an operation commits a part of what that did, and then does the rest.
pub(super) fn is_divided(operation: &Operation, fix: &Result<Recipe, String>) -> bool {
    let Ok(recipe) = fix else { return false };
    match &operation.kind {
        OperationKind::AddColumn { .. } => {
            recipe.around == Around::AutocommitBlock
                && recipe.steps.iter().filter(|step| !step.for_rerun).count() > 1
        }
        // The old column is there after the new one has its type and name.
        _ => recipe.steps.iter().any(|step| matches!(step.action, Action::ChangeTypes { .. })),
    }
}

/// The conditions that would not hold a second time, by their places in [`Walked::guards`], and why each can't be kept,
/// if so; see [`can_be_kept`].
pub(super) fn fragile_guards(
    walked: &Walked,
    fixes: &Fixes,
    settings: &Settings,
) -> BTreeMap<usize, Result<(), String>> {
    let guards = fragile(walked, &|operation| fixes.divided.contains(&operation.origin.key())).into_iter();
    guards.map(|guard| (guard, can_be_kept(walked, guard, fixes, settings))).collect()
}

/// Whether everything that a condition guards can run a second time, so that it is enough to keep its answer.
///
/// # Errors
/// Why not.
fn can_be_kept(walked: &Walked, guard: usize, fixes: &Fixes, settings: &Settings) -> Result<(), String> {
    const ASKS: &str = "its condition asks the database, and would not hold a second time for what else it guards: \
                        give it a condition of its own";
    let branch = walked.guards.get(guard).and_then(|guard| guard.branch);
    if settings.rerun == Rerun::Plain || branch.is_none() {
        return Err(ASKS.to_owned());
    }
    let guarded = walked.operations.iter().filter(|operation| operation.origin.guards.contains(&guard));
    let repeatable = |operation: &Operation| {
        let key = operation.origin.key();
        is_spelled_out(&operation.kind)
            && (fixes.fixed.contains(&key)
                || match rerun::how(&operation.where_it_stands(), &settings.target) {
                    rerun::How::AsItIs => true,
                    rerun::How::Impossible => false,
                    // What fails in a first run goes on to fail.
                    rerun::How::With(_) | rerun::How::OutsideOfBatch => fixes.as_expected.contains(&key),
                })
    };
    if guarded.into_iter().all(repeatable) { Ok(()) } else { Err(ASKS.to_owned()) }
}

/// Whether an operation is one that is understood, and says the same in a second run.
fn is_spelled_out(kind: &OperationKind) -> bool {
    let known = |arg: &Arg| arg.as_str().is_some();
    let named = |arg: &Arg| known(arg) || arg.is_none();
    let is_known = match kind {
        OperationKind::CreateTable { .. } | OperationKind::DropTable { .. } => true,
        OperationKind::AddColumn { definition, .. } => {
            !definition.columns.is_empty() && !definition.incomplete
        }
        OperationKind::DropColumn { column, .. } => known(column),
        OperationKind::AlterColumn(alter) => known(&alter.column) && alter.new_name.is_none(),
        OperationKind::CreateIndex(index) => known(&index.name),
        OperationKind::DropIndex(index) => known(&index.name),
        OperationKind::AddConstraint(add) => named(&add.name),
        OperationKind::DropConstraint { name, .. } => known(name),
        OperationKind::Update(update) => update.text.as_ref().is_ok_and(|text| text.repeatable),
        _ => false,
    };
    is_known && kind.table().is_some_and(|table| known(&table.name) && named(&table.schema))
}

/// The conditions that have to keep their answer for some fixes of a migration, and under which names.
pub(super) fn kept(migration: &Migration, chosen: &[&Finding]) -> Vec<Kept> {
    let mut branches = Branches::default();
    for direction in Direction::BOTH {
        let of_this = chosen.iter().filter(|finding| finding.direction == direction && finding.moves());
        branches.add(
            migration.walked(direction),
            None,
            of_this.map(|finding| (&finding.operation, &finding.fix)),
        );
    }
    branches.named(&migration.revision)
}

/// Conditions that have to keep their answer, by their places.
#[derive(Default)]
pub(super) struct Branches<'a> {
    found: BTreeMap<(u32, u32), Branch>,
    /// The names of marks that are there already.
    taken: BTreeSet<&'a str>,
}

impl<'a> Branches<'a> {
    /// Add the conditions around operations, with their fixes, that stand in a module or in the migration itself.
    pub(super) fn add<'b>(
        &mut self,
        walked: &'a Walked,
        module: Option<&str>,
        moved: impl Iterator<Item = (&'b Operation, &'b Result<Recipe, String>)>,
    ) {
        self.taken.extend(walked.guards.iter().filter_map(|guard| guard.kept_as.as_deref()));
        let moved: Vec<_> = moved.collect();
        let divided: BTreeSet<CallKey> = moved
            .iter()
            .filter(|(operation, fix)| is_divided(operation, fix))
            .map(|(operation, _)| operation.origin.key())
            .collect();
        let fragile = fragile(walked, &|operation| divided.contains(&operation.origin.key()));
        let around = moved.iter().flat_map(|(operation, _)| &operation.origin.guards);
        let guards = around
            .filter(|guard| fragile.contains(guard))
            .filter_map(|guard| walked.guards.get(*guard))
            .filter(|guard| guard.module.as_deref() == module);
        self.found.extend(guards.filter_map(|guard| {
            let branch = guard.branch?;
            Some(((branch.test.start().to_u32(), branch.test.end().to_u32()), branch))
        }));
    }

    /// Each with a name for its mark, after what they stand in.
    pub(super) fn named(self, owner: &str) -> Vec<Kept> {
        let owner: String = owner.chars().filter(char::is_ascii_alphanumeric).collect();
        let owner = owner[owner.len().saturating_sub(32)..].to_lowercase();
        let mut names = (1..).map(|number| format!("safemig_{owner}_{number}"));
        self.found
            .into_values()
            .filter_map(|branch| {
                let name = names.find(|name| !self.taken.contains(name.as_str()))?;
                Some(Kept { test: branch.test, last: branch.last, name })
            })
            .collect()
    }
}
