//! What the blocks of a fix commit early, so that it may run again.

use std::collections::BTreeSet;

use super::Report;
use super::check::CallKey;
use crate::layout::{Planned, Rerunnable};
use crate::migration::{Direction, Migration};
use crate::operations::Operation;
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

/// What is committed early by the blocks that the plans open, and so may run again: how it is made
/// to, and what can't be.
pub(super) fn early(
    migration: &Migration,
    report: &Report,
    plans: &[Planned],
    portability: Portability,
    settings: &Settings,
    directions: &[Direction],
) -> Early {
    let mut early = Early::default();
    let commits = |plan: &Planned| plan.recipe.around == Around::AutocommitBlock;
    if settings.rerun == Rerun::Plain || !plans.iter().any(commits) {
        return early;
    }
    let planned: BTreeSet<CallKey> = plans.iter().map(|plan| plan.operation.origin.key()).collect();
    for direction in directions {
        let operations = &migration.walked(*direction).operations;
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
                    early.lines.insert(line);
                }
            }
        }
    }
    early
}
