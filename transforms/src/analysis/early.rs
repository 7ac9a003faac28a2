//! What the blocks of a fix commit early, so that it may run again.

use std::collections::BTreeSet;

use super::Report;
use super::check::CallKey;
use crate::layout::{Planned, Rerunnable};
use crate::migration::{Direction, Migration};
use crate::operations::{Operation, OperationKind, Walked};
use crate::recipe::Around;
use crate::rerun;
use crate::settings::{Portability, Rerun, Settings};

/// What is committed early by the blocks that the plans open.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// Keywords that let a call run again.
    pub(super) keywords: Vec<Rerunnable>,
    /// Operations that can run again only outside of their batch block.
    pub(super) leave: Vec<Operation>,
    /// The lines of what may not run again.
    lines: BTreeSet<usize>,
}

impl Early {
    /// What may not run again, as a sentence.
    pub(super) fn note(&self) -> Option<String> {
        let lines: Vec<_> = self.lines.iter().map(ToString::to_string).collect();
        let (last, others) = lines.split_last()?;
        Some(if others.is_empty() {
            format!("line {last} is committed before the block, and may not run a second time")
        } else {
            let others = others.join(", ");
            format!("lines {others} and {last} are committed before the block, and may not run a second time")
        })
    }
}

/// Which operations get a block of their own.
pub(super) fn planned(plans: &[Planned]) -> impl Fn(&Operation) -> bool {
    let commits = |plan: &Planned| plan.recipe.around == Around::AutocommitBlock;
    let planned: BTreeSet<CallKey> = if plans.iter().any(commits) {
        plans.iter().map(|plan| plan.operation.origin.key()).collect()
    } else {
        BTreeSet::new()
    };
    move |operation| planned.contains(&operation.origin.key())
}

/// What is committed early by the blocks of the `planned` operations, and so may run again: how it is made
/// to, and what can't be. What stands in functions of other modules is changed there, or not at all.
pub(super) fn early(
    migration: &Migration,
    report: &Report,
    is_planned: &dyn Fn(&Operation) -> bool,
    in_modules: bool,
    portability: Portability,
    settings: &Settings,
    directions: &[Direction],
) -> Early {
    let mut early = Early::default();
    if settings.rerun == Rerun::Plain {
        return early;
    }
    for direction in directions {
        let operations = &migration.walked(*direction).operations;
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
            let elsewhere = operation.origin.elsewhere.as_ref().filter(|_| in_modules);
            let (module, there) = match elsewhere {
                Some(elsewhere) => {
                    let origin = elsewhere.origin.clone();
                    (Some(elsewhere.module.clone()), Operation { origin, ..operation.clone() })
                }
                None => (None, operation.clone()),
            };
            let how = match rerun::how(&there, &settings.target) {
                // Other databases don't know all of these words.
                rerun::How::With(_)
                    if there.origin.sql.is_some()
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
                        origin: there.origin,
                        module,
                        keyword,
                        // Looking first hurts nowhere.
                        only_on_postgresql: keyword != "checkfirst"
                            && portability > Portability::PostgresOnly
                            && !operation.dialects.only_postgresql(),
                    };
                    let is_known = |known: &Rerunnable| {
                        known.module == keyword.module && known.origin.key() == keyword.origin.key()
                    };
                    if !early.keywords.iter().any(is_known) {
                        early.keywords.push(keyword);
                    }
                }
                rerun::How::OutsideOfBatch if there.origin.fixed_in_place.is_none() && module.is_none() => {
                    let call = operation.origin.call;
                    if !early.leave.iter().any(|known| known.origin.call == call) {
                        early.leave.push(operation.clone());
                    }
                }
                // `if not has_table("a"): create_table("a")`
                _ if is_looked_for(&there, migration.walked(*direction)) => {}
                rerun::How::OutsideOfBatch | rerun::How::Impossible => {
                    let line = migration.module.position(operation.origin.statement.start()).line;
                    early.lines.insert(line);
                }
            }
        }
    }
    early
}

/// Whether a condition around an operation asks whether it is done already.
fn is_looked_for(operation: &Operation, walked: &Walked) -> bool {
    let kind = &operation.kind;
    let is_made = matches!(
        kind,
        OperationKind::CreateTable { .. } | OperationKind::AddColumn { .. } | OperationKind::CreateIndex(_)
    );
    let guards = operation.origin.guards.iter().filter_map(|guard| walked.guards.get(*guard));
    is_made && guards.into_iter().any(|guard| guard.answers(operation))
}
