//! Fixes a migration and cuts it into several revisions.

use std::collections::BTreeMap;

use super::check::{Place, check_one};
use super::{Finding, Fixed, Key, Part, Report, Selection, same};
use crate::migration::{Direction, Migration, Parsed};
use crate::rerun::{self, How};
use crate::settings::{Portability, Settings};
use crate::split;

impl Report {
    /// Rewrite the migration, and cut the result into revisions that are one transaction or one autocommit block each.
    /// Where that can't be done, it stays one revision, and [`Fixed::uncut`] says why.
    pub(super) fn fix_in_parts(
        &self,
        migration: &Migration,
        portability: Portability,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
    ) -> Fixed {
        use Direction::{Downgrade, Upgrade};
        let fix_of = |report: &Self, migration: &Migration, repeated: &[Direction]| {
            report.fix_repeating(migration, portability, settings, selected, allowed, repeated)
        };
        let fix = |repeated: &[Direction]| fix_of(self, migration, repeated);
        let again = |report: &Self, part: &Migration| fix_of(report, part, &Direction::BOTH);
        let mut reason = None;
        // What is cut need not run a second time.
        for repeated in [&[][..], &[Downgrade], &[Upgrade], &Direction::BOTH] {
            let fixed = fix(repeated);
            let Some(text) = &fixed.source else { return fixed };
            let Ok(Parsed::Migration(whole)) = migration.edited(text.clone()) else { break };
            match split::cut(&whole) {
                Ok(parts) if parts.is_empty() => return fix(&Direction::BOTH),
                Ok(parts) => {
                    let runs_again = |direction: &Direction| {
                        repeated.contains(direction)
                            || parts.iter().all(|part| can_run_again(part, *direction, settings))
                    };
                    if Direction::BOTH.iter().all(runs_again) {
                        match self.in_parts(&whole, parts, fixed, settings, selected, &again) {
                            Ok(fixed) => return fixed,
                            Err(why) => reason = Some(why),
                        }
                    }
                }
                Err(why) => {
                    reason = Some(why);
                    break;
                }
            }
        }
        Fixed { uncut: reason, ..fix(&Direction::BOTH) }
    }

    /// The fix in parts, checked: they lead to the same schema, one after the other and back.
    fn in_parts(
        &self,
        whole: &Migration,
        mut parts: Vec<Migration>,
        fixed: Fixed,
        settings: &Settings,
        selected: &Selection,
        again: &dyn Fn(&Self, &Migration) -> Fixed,
    ) -> Result<Fixed, String> {
        let settings = &Settings { naming: self.naming.clone(), ..settings.clone() };
        let report = self.of_edited(whole, settings, &|_, _| false);
        let goes_back = same(&report.before, &report.after_downgrade);
        let mut reasons: BTreeMap<Key, String> = BTreeMap::new();
        for finding in &fixed.left {
            if let Err(reason) = &finding.fix {
                reasons.insert(finding.key(), reason.clone());
            }
        }
        let mut before = self.before.clone();
        let mut left = Vec::new();
        let mut last = None;
        let number_of_parts = parts.len();
        for (number, part) in parts.iter_mut().enumerate() {
            let is_last = number + 1 == number_of_parts;
            let is_head = self.is_head && is_last;
            let place = Place { before: &before, end: &self.end, is_head, reasons: &self.reasons };
            let mut report = check_one(part, &place, settings, selected);
            // What kept something from being rewritten may stand in another part now.
            if let Some(text) = again(&report, part).source {
                match part.edited(text) {
                    Ok(Parsed::Migration(next)) if split::cut(&next)?.is_empty() => *part = *next,
                    _ => return Err("its parts would have to be cut again".to_owned()),
                }
                report = check_one(part, &place, settings, selected);
            }
            // What can run a second time may leave something that it does not undo by itself.
            let comes_again = || {
                let mut again = report.after_downgrade.clone();
                again.apply_all(&part.upgrade.operations);
                part.upgrade.operations.iter().all(|operation| operation.autocommit)
                    && same(&again, &report.after_upgrade)
            };
            if goes_back && !same(&before, &report.after_downgrade) && !comes_again() {
                return Err("its downgrade does not undo its steps one by one".to_owned());
            }
            left.push(report.findings.iter().map(|finding| finding.refused(&reasons)).collect::<Vec<_>>());
            before = report.after_upgrade.clone();
            last = Some(report);
        }
        if !last.is_some_and(|last| report.same_schema(&last, &parts[..parts.len() - 1])) {
            return Err("its parts would not lead to the same schema".to_owned());
        }
        let mut parts: Vec<Part> = parts
            .into_iter()
            .zip(left)
            .map(|(part, left)| Part { revision: part.revision, source: part.module.into_source(), left })
            .collect();
        let Some(last) = parts.pop() else { return Ok(fixed) };
        Ok(Fixed { source: Some(last.source), left: last.left, parts, ..fixed })
    }
}

/// Whether all that a function has in front of an autocommit block can run a second time as it is.
fn can_run_again(part: &Migration, direction: Direction, settings: &Settings) -> bool {
    let operations = &part.walked(direction).operations;
    let last = operations.iter().rposition(|operation| operation.autocommit).unwrap_or(0);
    operations[..last]
        .iter()
        .all(|operation| operation.autocommit || rerun::how(operation, &settings.target) == How::AsItIs)
}
