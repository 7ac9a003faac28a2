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
use crate::rerun;
use crate::settings::{Rerun, Settings};

/// The conditions that would not hold a second time, by their places in [`Walked::guards`], and why each can't be kept,
/// if so; see [`can_be_kept`].
pub(super) fn fragile_guards(
    walked: &Walked,
    fixed: &BTreeSet<CallKey>,
    as_expected: &BTreeSet<CallKey>,
    settings: &Settings,
) -> BTreeMap<usize, Result<(), String>> {
    let guards = fragile(walked).into_iter();
    guards.map(|guard| (guard, can_be_kept(walked, guard, fixed, as_expected, settings))).collect()
}

/// Whether everything that a condition guards can run a second time, so that it is enough to keep its answer. `fixed`
/// are the operations that a fix makes so, `as_expected` those that do not fail in a first run.
///
/// # Errors
/// Why not.
fn can_be_kept(
    walked: &Walked,
    guard: usize,
    fixed: &BTreeSet<CallKey>,
    as_expected: &BTreeSet<CallKey>,
    settings: &Settings,
) -> Result<(), String> {
    const ASKS: &str = "its condition asks the database, and would not hold a second time for what else it guards: \
                        give it a condition of its own";
    let branch = walked.guards.get(guard).and_then(|guard| guard.branch);
    if settings.rerun == Rerun::Plain || branch.is_none() {
        return Err(ASKS.to_owned());
    }
    let guarded = walked.operations.iter().filter(|operation| operation.origin.guards.contains(&guard));
    let repeatable = |operation: &Operation| {
        is_spelled_out(&operation.kind)
            && (fixed.contains(&operation.origin.key())
                || match rerun::how(operation, &settings.target) {
                    rerun::How::AsItIs => true,
                    rerun::How::Impossible => false,
                    // What fails in a first run goes on to fail.
                    rerun::How::With(_) | rerun::How::OutsideOfBatch => {
                        as_expected.contains(&operation.origin.key())
                    }
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
    let mut branches: BTreeMap<(u32, u32), Branch> = BTreeMap::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for direction in [Direction::Upgrade, Direction::Downgrade] {
        let walked = migration.walked(direction);
        taken.extend(walked.guards.iter().filter_map(|guard| guard.kept_as.as_deref()));
        let fragile = fragile(walked);
        let of_this = chosen.iter().filter(|finding| finding.direction == direction && finding.moves());
        let guards = of_this.flat_map(|finding| &finding.operation.origin.guards);
        let kept = guards
            .filter(|guard| fragile.contains(guard))
            .filter_map(|guard| walked.guards.get(*guard)?.branch);
        branches
            .extend(kept.map(|branch| ((branch.test.start().to_u32(), branch.test.end().to_u32()), branch)));
    }
    let revision: String = migration
        .revision
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect::<String>()
        .to_lowercase();
    let mut names = (1..).map(|number| format!("safemig_{revision}_{number}"));
    branches
        .into_values()
        .filter_map(|branch| {
            let name = names.find(|name| !taken.contains(name.as_str()))?;
            Some(Kept { test: branch.test, last: branch.last, name })
        })
        .collect()
}
