//! A file whose fixes are reviewed: a revision, or an `env.py`.

use std::collections::{BTreeMap, BTreeSet};

use safemig_transforms::analysis::{Finding, Part, Report, Verdict};
use safemig_transforms::environment::{self, Environment};
use safemig_transforms::migration::{Direction, Migration, Parsed};
use safemig_transforms::python::Position;
use safemig_transforms::rules::Rule;
use safemig_transforms::settings::Split;
use safemig_transforms::suppression;

use crate::analysis::{self, Judged, JudgedEnvironment, Rules};

/// Why a finding is left that the user didn't want to be fixed.
pub(crate) const DECLINED: &str = "left alone in the review";

/// Why a finding is gone without a fix.
const SUPPRESSED: &str = "suppressed in the review";

/// What a fix is known by, in its file: its rule's module, its function, and the finding's message.
pub(crate) type Key = (&'static str, Option<Direction>, String);

/// A fix that can be decided about, as it stands in the file.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) key: Key,
    pub(crate) rule: &'static Rule,
    pub(crate) message: String,
    /// Where it is found; several places where the same is said of each.
    pub(crate) places: Vec<Position>,
    /// The lock taken today.
    pub(crate) lock: Option<String>,
    /// The lock that the fix takes.
    pub(crate) lock_after: Option<String>,
}

/// What is to be done to a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// The text to start from, when it was edited by hand.
    pub(super) edited: Option<String>,
    pub(super) made: BTreeSet<Key>,
    /// With the reasons.
    pub(super) suppressed: BTreeMap<Key, String>,
}

/// What that comes to.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) text: String,
    /// The findings of the text that are gone.
    pub(super) fixed: BTreeSet<Key>,
    /// Why what was chosen could not be done.
    pub(super) refused: BTreeMap<Key, String>,
    /// What a reviewer has to know.
    pub(super) notes: Vec<String>,
}

pub(crate) trait Subject {
    /// As reports show it.
    fn shown(&self) -> &str;

    /// The text as it was read.
    fn original(&self) -> &str;

    fn offers(&self, rules: &Rules) -> Vec<Offer>;

    fn draft(&self, choice: &Choice, rules: &Rules) -> Draft;

    /// The findings of an edited text, and whether it leads to the same schema.
    ///
    /// # Errors
    /// Why it can't be the text of this file.
    fn examine(&self, text: &str, rules: &Rules) -> Result<(BTreeSet<Key>, bool), String>;

    /// This and nothing else is what the fix does.
    fn settle(&mut self, choice: &Choice, rules: &Rules);
}

fn key(finding: &Finding) -> Key {
    let (rule, direction, message) = finding.key();
    (rule, Some(direction), message)
}

fn key_in_environment(finding: &environment::Finding) -> Key {
    let (rule, message) = finding.key();
    (rule, None, message)
}

/// Offers in the order of the file, those of the same key together.
fn together(found: impl Iterator<Item = Offer>) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    for offer in found {
        match offers.iter_mut().find(|known| known.key == offer.key) {
            Some(known) => known.places.extend(offer.places),
            None => offers.push(offer),
        }
    }
    offers
}

impl Judged<'_> {
    fn parse(&self, text: String, rules: &Rules) -> Result<(Migration, Report), String> {
        match self.migration.edited(text) {
            Ok(Parsed::Migration(migration)) if migration.revision == self.migration.revision => {
                let report = self.report_on(&migration, rules);
                Ok((*migration, report))
            }
            Ok(Parsed::Migration(migration)) => Err(format!("it is revision `{}` now", migration.revision)),
            Ok(Parsed::Other) => Err("it is no revision any more".to_owned()),
            Err(error) => Err(format!("line {}: {}", error.line, error.message)),
        }
    }

    /// The text to start from, with the comments of what is suppressed; `None`: as it was read.
    fn start(&self, choice: &Choice, rules: &Rules) -> Option<(Migration, Report)> {
        let mut start = choice.edited.clone().and_then(|text| self.parse(text, rules).ok());
        for (suppressed, why) in &choice.suppressed {
            let (migration, report) = start
                .as_ref()
                .map_or((self.migration, &self.report), |(migration, report)| (migration, report));
            let rule = suppressed.0.replace('_', "-");
            let findings = report.findings.iter().filter(|finding| key(finding) == *suppressed);
            let statements: Vec<_> = findings.map(|finding| (finding.statement, rule.as_str())).collect();
            if let Some(text) = suppression::insert(&migration.module, &statements, why)
                && let Ok(next) = self.parse(text, rules)
            {
                start = Some(next);
            }
        }
        start
    }

    /// The draft, the findings that are left in its text, and the revisions that it is cut into.
    fn make(&self, choice: &Choice, rules: &Rules, split: Split) -> (Draft, Vec<Finding>, Vec<Part>) {
        let start = self.start(choice, rules);
        let (migration, report) =
            start.as_ref().map_or((self.migration, &self.report), |(migration, report)| (migration, report));
        let fixed =
            self.fix_chosen(migration, report, rules, split, &|finding| choice.made.contains(&key(finding)));
        let mut draft = Draft {
            text: fixed.source.unwrap_or_else(|| migration.module.source().to_owned()),
            fixed: report.findings.iter().map(key).collect(),
            refused: BTreeMap::new(),
            notes: Vec::new(),
        };
        for (verdict, finding) in fixed.verdicts.into_iter().zip(&report.findings) {
            match verdict {
                Verdict::Fixed { notes } => draft.notes = notes,
                Verdict::Left { reason } => {
                    draft.fixed.remove(&key(finding));
                    draft.refused.extend(reason.map(|reason| (key(finding), reason)));
                }
            }
        }
        (draft, fixed.left, fixed.parts)
    }
}

impl Subject for Judged<'_> {
    fn shown(&self) -> &str {
        &self.migration.path
    }

    fn original(&self) -> &str {
        self.migration.module.source()
    }

    fn offers(&self, rules: &Rules) -> Vec<Offer> {
        let alone = |finding: &Finding| {
            let choice = Choice { made: BTreeSet::from([key(finding)]), ..Choice::default() };
            self.draft(&choice, rules).fixed.contains(&key(finding))
        };
        let findings = self.report.findings.iter().zip(&self.verdicts);
        let fixable = findings.filter(|(finding, verdict)| {
            finding.fix.is_ok() && rules.refusal(finding).is_none() && (verdict.is_ok() || alone(finding))
        });
        together(fixable.map(|(finding, _)| Offer {
            key: key(finding),
            rule: finding.rule,
            message: finding.message.clone(),
            places: vec![self.migration.module.position(finding.range.start())],
            lock: Some(finding.lock.clone()),
            lock_after: finding.lock_after.clone(),
        }))
    }

    fn draft(&self, choice: &Choice, rules: &Rules) -> Draft {
        // A reviewer sees the migration as one.
        self.make(choice, rules, Split::AutocommitBlock).0
    }

    fn examine(&self, text: &str, rules: &Rules) -> Result<(BTreeSet<Key>, bool), String> {
        let (_, report) = self.parse(text.to_owned(), rules)?;
        Ok((report.findings.iter().map(key).collect(), report.same_schema(&self.report, &[])))
    }

    fn settle(&mut self, choice: &Choice, rules: &Rules) {
        let (draft, mut left, parts) = self.make(choice, rules, self.group.settings.split);
        for finding in &mut left {
            if finding.fix.is_ok() && rules.refusal(finding).is_none() {
                finding.fix = Err(DECLINED.to_owned());
            }
        }
        let reasons: BTreeMap<Key, String> =
            left.iter().map(|finding| (key(finding), analysis::reason(finding, rules))).collect();
        let verdict = |finding: &Finding| match reasons.get(&key(finding)) {
            Some(reason) => Err(reason.clone()),
            None if choice.suppressed.contains_key(&key(finding)) => Err(SUPPRESSED.to_owned()),
            None => Ok(draft.notes.clone()),
        };
        let verdicts = self.report.findings.iter().map(verdict).collect();
        let suppressed: Vec<_> = self
            .report
            .findings
            .iter()
            .filter(|finding| choice.suppressed.contains_key(&key(finding)))
            .cloned()
            .collect();
        let changed = (draft.text != self.original()).then_some(draft.text);
        self.report.suppressed.extend(suppressed);
        self.settle_with(changed, verdicts, left, parts, rules);
    }
}

impl JudgedEnvironment<'_> {
    fn parse(&self, text: String, rules: &Rules) -> Result<(Environment, environment::Report), String> {
        match Environment::parse(self.environment.path.clone(), text) {
            Ok(Some(environment)) => {
                let report = self.report_on(&environment, rules);
                Ok((environment, report))
            }
            Ok(None) => Err("it has nothing to do with Alembic any more".to_owned()),
            Err(error) => Err(format!("line {}: {}", error.line, error.message)),
        }
    }

    /// The text to start from, with the comments of what is suppressed; `None`: as it was read.
    fn start(&self, choice: &Choice, rules: &Rules) -> Option<(Environment, environment::Report)> {
        let mut start = choice.edited.clone().and_then(|text| self.parse(text, rules).ok());
        for (suppressed, why) in &choice.suppressed {
            let (environment, report) =
                start.as_ref().map_or((self.environment, &self.report), |(one, report)| (one, report));
            let rule = suppressed.0.replace('_', "-");
            let findings =
                report.findings.iter().filter(|finding| key_in_environment(finding) == *suppressed);
            let statements: Vec<_> =
                findings.map(|finding| (finding.violation.place.statement, rule.as_str())).collect();
            if let Some(text) = suppression::insert(&environment.module, &statements, why)
                && let Ok(next) = self.parse(text, rules)
            {
                start = Some(next);
            }
        }
        start
    }

    /// The draft, and the findings that are left in its text.
    fn make(&self, choice: &Choice, rules: &Rules) -> (Draft, Vec<environment::Finding>) {
        let start = self.start(choice, rules);
        let (environment, report) =
            start.as_ref().map_or((self.environment, &self.report), |(one, report)| (one, report));
        let chosen = |finding: &environment::Finding| choice.made.contains(&key_in_environment(finding));
        let fixed = self.fix_chosen(environment, report, rules, &chosen);
        let left: BTreeSet<Key> = fixed.left.iter().map(key_in_environment).collect();
        let draft = Draft {
            text: fixed.source.unwrap_or_else(|| environment.module.source().to_owned()),
            fixed: report.findings.iter().map(key_in_environment).filter(|key| !left.contains(key)).collect(),
            refused: BTreeMap::new(),
            notes: Vec::new(),
        };
        (draft, fixed.left)
    }
}

impl Subject for JudgedEnvironment<'_> {
    fn shown(&self) -> &str {
        &self.environment.path
    }

    fn original(&self) -> &str {
        self.environment.module.source()
    }

    fn offers(&self, rules: &Rules) -> Vec<Offer> {
        let fixable = self
            .report
            .findings
            .iter()
            .filter(|finding| finding.violation.fix.is_ok() && analysis::allows(rules, finding));
        together(fixable.map(|finding| Offer {
            key: key_in_environment(finding),
            rule: finding.rule,
            message: finding.violation.message.clone(),
            places: vec![self.environment.module.position(finding.violation.place.callee.start())],
            lock: None,
            lock_after: None,
        }))
    }

    fn draft(&self, choice: &Choice, rules: &Rules) -> Draft {
        self.make(choice, rules).0
    }

    fn examine(&self, text: &str, rules: &Rules) -> Result<(BTreeSet<Key>, bool), String> {
        let (_, report) = self.parse(text.to_owned(), rules)?;
        Ok((report.findings.iter().map(key_in_environment).collect(), true))
    }

    fn settle(&mut self, choice: &Choice, rules: &Rules) {
        let (draft, left) = self.make(choice, rules);
        let mut left = analysis::with_reasons(left, rules);
        for (finding, reason) in &mut left {
            if finding.violation.fix.is_ok() && analysis::allows(rules, finding) {
                DECLINED.clone_into(reason);
            }
        }
        let reasons: BTreeMap<Key, String> =
            left.iter().map(|(finding, reason)| (key_in_environment(finding), reason.clone())).collect();
        let verdict = |finding: &environment::Finding| match reasons.get(&key_in_environment(finding)) {
            Some(reason) => Err(reason.clone()),
            None if choice.suppressed.contains_key(&key_in_environment(finding)) => {
                Err(SUPPRESSED.to_owned())
            }
            None => Ok(()),
        };
        let verdicts = self.report.findings.iter().map(verdict).collect();
        let suppressed: Vec<_> = self
            .report
            .findings
            .iter()
            .filter(|finding| choice.suppressed.contains_key(&key_in_environment(finding)))
            .cloned()
            .collect();
        let changed = (draft.text != self.original()).then_some(draft.text);
        self.report.suppressed.extend(suppressed);
        self.settle_with(changed, verdicts, left, rules);
    }
}
