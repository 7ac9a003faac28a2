//! Applies the chosen fixes of one migration, pass by pass, until nothing changes any more.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{check_one, stops_writers};
use super::early::{early, planned};
use super::together::Together;
use super::{Finding, Fixed, Key, Report, Selection, Verdict, hold};
use crate::layout::{Others, Planned};
use crate::migration::{Direction, Migration, Parsed};
use crate::operations::{Operation, OperationKind, Receiver};
use crate::recipe::{Action, Recipe};
use crate::settings::{Portability, Settings, Split};
use crate::{layout, rerun};

/// Passes over one file until nothing changes any more; one that needs more is left alone.
const MAX_PASSES: usize = 8;

/// What the layout has to know of the statements that no plan is for.
fn others<'a>(migration: &Migration, settings: &'a Settings) -> Others<'a> {
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
        support: settings.support_module.as_deref(),
        commits: operations().filter(alone).map(|operation| operation.origin.statement).collect(),
        kept: Vec::new(),
        unlimited: operations().filter(waits).map(|operation| operation.origin.call).collect(),
    }
}
impl Report {
    /// Rewrite the migration, as far as its findings are fixable and `allowed`.
    ///
    /// Passes are made until nothing changes; the result is checked: it parses, what was fixed is
    /// gone, and the catalog after it is the same. Where the settings say so, the result is cut into several revisions.
    #[must_use]
    pub fn fix(
        &self,
        migration: &Migration,
        portability: Portability,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
    ) -> Fixed {
        match settings.split {
            Split::AutocommitBlock => {
                self.fix_repeating(migration, portability, settings, selected, allowed, &Direction::BOTH)
            }
            Split::Revision => self.fix_in_parts(migration, portability, settings, selected, allowed),
        }
    }

    /// Rewrite the migration; `repeated` are the functions in which what is in front of an autocommit block has to run
    /// a second time when it is interrupted.
    pub(super) fn fix_repeating(
        &self,
        migration: &Migration,
        portability: Portability,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
        repeated: &[Direction],
    ) -> Fixed {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        let mut refused: BTreeMap<Key, String> = BTreeMap::new();
        let mut notes: BTreeSet<String> = BTreeSet::new();
        // The indexes that the fixes change on purpose.
        let mut redesigned = BTreeSet::new();
        let place = self.place();
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
            let together = Together::new(&chosen, migration);
            let mut plans: Vec<Planned> = chosen
                .iter()
                .enumerate()
                .filter_map(|(index, finding)| {
                    let recipe = together.recipe(index).or(finding.fix.as_ref().ok())?;
                    Some(Planned { operation: &finding.operation, recipe })
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
            let early = early(migration, report, &planned(&plans), false, portability, settings, repeated);
            let recipe = rerun::drop_constraint();
            plans.extend(early.leave.iter().map(|operation| Planned { operation, recipe: &recipe }));
            let others = Others { kept: hold::kept(migration, &chosen), ..others(migration, settings) };
            let outcome = layout::rewrite(&migration.module, &plans, &others, &early.keywords, portability);
            let refused_before = refused.len();
            for (plan, reason) in outcome.refused {
                let inverse = plan.checked_sub(chosen.len()).and_then(|plan| inverses.get(plan));
                if let Some(finding) = chosen.get(inverse.map_or(plan, |(finding, _)| *finding)) {
                    refused.insert(finding.key(), reason);
                }
            }
            // What is created and dropped is left out in both functions, or in none; and what stays as it is has to
            // run again when the others commit it early.
            if refused.len() > refused_before {
                if released {
                    // A statement left its block in vain.
                    (owned, passes, released) = (None, 0, false);
                    notes.clear();
                }
                continue;
            }
            let next = outcome.source.and_then(|source| match migration.edited(source) {
                Ok(Parsed::Migration(next)) => Some(*next),
                _ => None,
            });
            let Some(next) = next else {
                for finding in &chosen {
                    let reason = "it could not be laid out without losing something";
                    refused.entry(finding.key()).or_insert_with(|| reason.to_owned());
                }
                continue;
            };
            released |= outcome.released;
            notes.extend(early.note());
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
                    && finding.module().is_none()
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
        Fixed { source: None, verdicts, left, ..Fixed::default() }
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
            Fixed { source: Some(next.module.into_source()), verdicts, left, ..Fixed::default() }
        } else {
            self.unchanged(refused)
        }
    }
}
