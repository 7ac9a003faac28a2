//! Runs the rules over the histories, and says of every finding whether it can be fixed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use safemig_transforms::analysis::{Finding, Fixed, History, Part, Permissions, Report, Shared, Verdict};
use safemig_transforms::environment;
use safemig_transforms::migration::{Migration, Parsed};
use safemig_transforms::python::Module;
use safemig_transforms::recipe::Applicability;
use safemig_transforms::rules;
use safemig_transforms::settings::{Settings, Split};
use safemig_transforms::suppression;

use crate::cli;
use crate::config::Config;
use crate::imports;
use crate::project::{Environment, Group};
use crate::scope::{Aside, Limits};
use crate::selection::{self, Layer, RuleSet, Selector};
use crate::walk::PathGlobs;

/// Why a fix that may change what a migration does is not made.
pub(crate) const NEEDS_UNSAFE: &str = "needs `--unsafe-fixes`";

pub(crate) const NOT_WRITTEN: &str = "the file could not be written";
pub(crate) const NOT_REVIEWED: &str = "`safemig fix` without `--interactive` removes it";
const NO_LAYOUT: &str = "it could not be laid out";

/// Which rules apply where, and which of them may fix.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) selected: RuleSet,
    pub(crate) fixable: RuleSet,
    unsafe_fixes: bool,
    /// Rules whose safe fixes count as unsafe.
    demoted: RuleSet,
    /// Rules whose unsafe fixes count as safe.
    promoted: RuleSet,
    per_file_ignores: Vec<(PathGlobs, RuleSet)>,
    /// A rule about the application is selected by its name.
    by_name: bool,
    pub(crate) limits: Limits,
}

impl Rules {
    /// # Errors
    /// A rule that doesn't exist, a glob that is none, a database that doesn't answer.
    pub(crate) fn new(flags: &cli::Input, config: &Config) -> Result<Self> {
        let options = &config.options;
        let place = || config.path.as_ref().map_or_else(String::new, |path| format!("{}: ", path.display()));
        let names = |names: &Option<Vec<String>>, key: &str| {
            selection::parse(names.as_deref(), &format!("{}{key}", place()))
        };
        let select = names(&options.select, "select")?;
        let ignore = names(&options.ignore, "ignore")?.unwrap_or_default();
        let unfixable = names(&options.unfixable, "unfixable")?.unwrap_or_default();
        let safe = names(&options.extend_safe_fixes, "extend-safe-fixes")?.unwrap_or_default();
        let unsafe_ = names(&options.extend_unsafe_fixes, "extend-unsafe-fixes")?.unwrap_or_default();
        let given = &flags.selection;
        let selected = RuleSet::resolve(&[
            Layer { only: select.as_deref(), without: &ignore, ..Layer::default() },
            Layer { only: given.select.as_deref(), with: &given.extend_select, without: &given.ignore },
        ]);
        let fixable = RuleSet::resolve(&[
            Layer { without: &unfixable, ..Layer::default() },
            Layer { only: given.fixable.as_deref(), without: &given.unfixable, ..Layer::default() },
        ]);
        let unsafe_fixes =
            flags.unsafe_fixes || (options.unsafe_fixes.unwrap_or_default() && !flags.no_unsafe_fixes);
        let demoted = RuleSet::resolve(&[Layer { only: Some(&unsafe_), with: &[], without: &safe }]);
        let promoted = RuleSet::of(&safe);
        let mut per_file_ignores = Vec::new();
        for (glob, rules) in options.per_file_ignores.iter().flatten() {
            let rules = names(&Some(rules.clone()), "per-file-ignores")?.unwrap_or_default();
            let globs = PathGlobs::new(&[glob], &config.root)
                .with_context(|| format!("{}per-file-ignores", place()))?;
            per_file_ignores.push((globs, RuleSet::of(&rules)));
        }
        let given = given.select.iter().flatten().chain(&given.extend_select);
        let by_name = select.iter().flatten().chain(given).any(|selector| match selector {
            Selector::All => false,
            Selector::Rule(name) => rules::find(name).is_some_and(rules::Rule::is_about_application),
        });
        let limits = Limits::new(flags, config)?;
        Ok(Self { selected, fixable, unsafe_fixes, demoted, promoted, per_file_ignores, by_name, limits })
    }

    /// Whether the application is read where its files are named, and where nothing is.
    pub(crate) fn application(&self) -> (bool, bool) {
        let any = |is_it: fn(&rules::Rule) -> bool| {
            rules::RULES.iter().any(|rule| is_it(rule) && self.selected.contains(&rule.name()))
        };
        (any(rules::Rule::reads_application), self.by_name && any(rules::Rule::is_about_application))
    }

    pub(crate) fn ignored(&self, path: &Path) -> Vec<&RuleSet> {
        let matching = self.per_file_ignores.iter().filter(|(globs, _)| globs.matches(path));
        matching.map(|(_, rules)| rules).collect()
    }

    /// Why a fix is not to be made.
    pub(crate) fn refusal(&self, finding: &Finding) -> Option<String> {
        self.refusal_of(&finding.rule.name(), finding.fix.as_ref().ok()?.applicability)
    }

    /// Why the fixes of a rule are not to be made.
    pub(crate) fn refusal_of(&self, rule: &str, applicability: Applicability) -> Option<String> {
        if !self.fixable.contains(rule) {
            Some(format!("`{rule}` is not to be fixed, by configuration"))
        } else if !self.unsafe_fixes && self.as_configured(rule, applicability) == Applicability::Unsafe {
            Some(NEEDS_UNSAFE.to_owned())
        } else {
            None
        }
    }

    /// What a finding's fix counts as; `None` when there is none.
    pub(crate) fn applicability(&self, finding: &Finding) -> Option<Applicability> {
        let recipe = finding.fix.as_ref().ok()?;
        Some(self.as_configured(&finding.rule.name(), recipe.applicability))
    }

    fn as_configured(&self, rule: &str, applicability: Applicability) -> Applicability {
        match applicability {
            Applicability::Safe if self.demoted.contains(rule) => Applicability::Unsafe,
            Applicability::Unsafe if self.promoted.contains(rule) => Applicability::Safe,
            as_it_is => as_it_is,
        }
    }
}

/// What came out for one reported migration.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) group: &'a Group,
    pub(crate) migration: &'a Migration,
    pub(crate) path: &'a Path,
    pub(crate) report: Report,
    /// For each finding of the report: what the fix leaves to know, or why there is none.
    pub(crate) verdicts: Vec<Result<Vec<String>, String>>,
    /// The text after the fix; `None` when nothing changes.
    pub(crate) fixed: Option<String>,
    /// What is left then, where it stands in that text.
    left: Vec<Finding>,
    /// The revisions that run before it then, because it is cut into several.
    pub(crate) parts: Vec<PartFile>,
    /// Why it stays one revision, where it should be cut.
    pub(crate) uncut: Option<String>,
    /// For each finding about a suppression: nothing, or why it is left.
    pub(crate) ignores: Vec<Result<(), String>>,
    /// Those that are left then, where they stand in that text.
    pub(crate) ignores_left: Vec<(suppression::Finding, String)>,
    /// Why it is not judged.
    pub(crate) aside: Option<Aside>,
    /// Rules that the configuration ignores in this file.
    ignored: Vec<&'a RuleSet>,
    /// The new revision that fixes what this one leaves behind, as reports show it.
    pub(crate) followed_by: Option<String>,
    /// The migration with what it needs for the fixes in modules that it calls, and what is found then.
    base: Option<Box<(Migration, Report)>>,
}

/// The file of a revision that a migration is cut into.
#[derive(Debug)]
pub(crate) struct PartFile {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// As reports show it.
    pub(crate) shown: String,
    pub(crate) part: Part,
}

impl PartFile {
    /// Beside the migration, under its name with another id.
    fn of(part: Part, migration: &Migration, path: &Path) -> Self {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = if stem.contains(&migration.revision) {
            stem.replacen(&migration.revision, &part.revision, 1)
        } else {
            format!("{}_{stem}", part.revision)
        };
        let beside = |path: &Path| path.with_file_name(format!("{name}.py"));
        let shown = beside(Path::new(&migration.path)).to_string_lossy().into_owned();
        Self { path: beside(path), shown, part }
    }
}

impl Judged<'_> {
    /// What the fixes of the file itself start from.
    pub(crate) fn base(&self) -> (&Migration, &Report) {
        self.base.as_deref().map_or((self.migration, &self.report), |(migration, report)| (migration, report))
    }

    /// Try out every fix: first the comments, which are no part of what a migration does.
    fn try_out(&mut self, rules: &Rules) {
        let (base, base_report) = self.base();
        let tidy = tidied(&base.module, &base_report.ignores, rules)
            .and_then(|text| base.edited(text).ok())
            .and_then(|parsed| match parsed {
                Parsed::Migration(tidy) => Some((self.report_on(&tidy, rules), *tidy)),
                Parsed::Other => None,
            })
            // What is found does not depend on comments that suppress nothing.
            .filter(|(report, _)| report.findings.len() == base_report.findings.len());
        let (migration, report) = match &tidy {
            Some((report, tidy)) => (tidy, report),
            None => (base, base_report),
        };
        let Fixed { source, verdicts, left, parts, uncut } =
            self.fix_chosen(migration, report, rules, self.group.settings.split, &|_| true);
        let mut of_base: BTreeMap<_, VecDeque<Verdict>> = BTreeMap::new();
        for (finding, verdict) in base_report.findings.iter().zip(verdicts) {
            of_base.entry(finding.key()).or_default().push_back(verdict);
        }
        let verdicts = self.report.findings.iter().map(|finding| {
            // What is not there any more is fixed in a module.
            let verdict = of_base.get_mut(&finding.key()).and_then(VecDeque::pop_front);
            told(verdict.unwrap_or(Verdict::Fixed { notes: Vec::new() }), finding, rules)
        });
        let verdicts: Vec<_> = verdicts.collect();
        let edited =
            (base.module.source() != self.migration.module.source()).then(|| base.module.source().to_owned());
        self.verdicts = verdicts;
        self.ignores = removals(&self.report.ignores, tidy.is_some(), rules);
        self.fixed = source.or_else(|| tidy.map(|(_, tidy)| tidy.module.into_source())).or(edited);
        self.left = left;
        self.cut_into(parts);
        self.uncut = uncut;
        self.find_ignores_left(rules, |ignore| why_kept(ignore, rules));
    }

    fn cut_into(&mut self, parts: Vec<Part>) {
        let files = parts.into_iter().map(|part| PartFile::of(part, self.migration, self.path));
        self.parts = files.collect();
    }

    /// Look where the findings about suppressions stand after the fix.
    fn find_ignores_left(&mut self, rules: &Rules, reason: impl Fn(&suppression::Finding) -> String) {
        let left = if self.ignores.iter().all(Result::is_ok) {
            Vec::new()
        } else if let Some(Ok(Parsed::Migration(fixed))) =
            self.fixed.clone().map(|text| self.base().0.edited(text))
        {
            self.report_on(&fixed, rules).ignores
        } else {
            self.report.ignores.clone()
        };
        self.ignores_left = kept(&left, reason);
    }

    /// The rules of what the fix removes, as often as it does.
    pub(crate) fn fixed_rules(&self) -> impl Iterator<Item = String> {
        let ignores = self.report.ignores.iter().zip(&self.ignores);
        self.fixed_findings()
            // What a new revision or a module fixes is its own.
            .filter(|finding| finding.new_revision().is_empty() && finding.module().is_none())
            .map(|finding| finding.rule.name())
            .chain(ignores.filter(|(_, verdict)| verdict.is_ok()).map(|(ignore, _)| ignore.rule.name()))
    }

    /// What remains when the fix is applied, with the reasons.
    pub(crate) fn left(&self, rules: &Rules) -> Vec<(&Finding, String)> {
        if self.fixed.is_some() {
            let followed =
                |finding: &Finding| self.followed_by.is_some() && !finding.new_revision().is_empty();
            let left = self.left.iter().filter(|finding| !followed(finding));
            return left.map(|finding| (finding, reason(finding, rules))).collect();
        }
        let verdicts = self.report.findings.iter().zip(&self.verdicts);
        verdicts.filter_map(|(finding, verdict)| Some((finding, verdict.as_ref().err()?.clone()))).collect()
    }

    /// What remains in the revisions that it is cut into, with the reasons.
    pub(crate) fn left_in_parts(&self, rules: &Rules) -> Vec<(&PartFile, &Finding, String)> {
        let mut left = Vec::new();
        for file in &self.parts {
            left.extend(file.part.left.iter().map(|finding| (file, finding, reason(finding, rules))));
        }
        left
    }

    /// The text after the fix.
    pub(crate) fn source(&self) -> &str {
        self.fixed.as_deref().unwrap_or_else(|| self.migration.module.source())
    }

    /// The files that the fix changes and creates, with their old and new texts.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&Path, Option<&str>, &str)> {
        let own = self.fixed.as_deref().map(|new| (self.path, Some(self.migration.module.source()), new));
        let parts = self.parts.iter().map(|file| (file.path.as_path(), None, file.part.source.as_str()));
        parts.chain(own)
    }

    /// The fix could not be applied: everything is as it was.
    pub(crate) fn not_written(&mut self) {
        self.fixed = None;
        self.parts.clear();
        self.uncut = None;
        for verdict in &mut self.verdicts {
            if verdict.is_ok() {
                *verdict = Err(NOT_WRITTEN.to_owned());
            }
        }
        self.ignores_left = kept(&self.report.ignores, |_| NOT_WRITTEN.to_owned());
        self.ignores = self.ignores.iter().map(|_| Err(NOT_WRITTEN.to_owned())).collect();
    }

    /// A module could not be written.
    fn module_not_written(&mut self, module: &str) {
        for (finding, verdict) in self.report.findings.iter().zip(&mut self.verdicts) {
            if finding.module() == Some(module) && verdict.is_ok() {
                *verdict = Err(NOT_WRITTEN.to_owned());
                let mut left = finding.clone();
                left.fix = Err(NOT_WRITTEN.to_owned());
                self.left.push(left);
            }
        }
    }

    /// The new revision could not be written.
    pub(crate) fn not_followed(&mut self, path: &str) {
        if self.followed_by.as_deref() != Some(path) {
            return;
        }
        self.followed_by = None;
        for (finding, verdict) in self.report.findings.iter().zip(&mut self.verdicts) {
            if !finding.new_revision().is_empty() && verdict.is_ok() {
                *verdict = Err(NOT_WRITTEN.to_owned());
            }
        }
    }

    /// The findings that the fix removes.
    pub(crate) fn fixed_findings(&self) -> impl Iterator<Item = &Finding> {
        let verdicts = self.report.findings.iter().zip(&self.verdicts);
        verdicts.filter_map(|(finding, verdict)| verdict.is_ok().then_some(finding))
    }

    /// The indexes that the fix does not create any more, by schema and name.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = (Option<String>, String)> {
        self.fixed_findings().filter_map(Finding::left_out)
    }

    /// Check another text of the migration, in its place in the history.
    pub(crate) fn report_on(&self, edited: &Migration, rules: &Rules) -> Report {
        self.base().1.of_edited(edited, &self.group.settings, &self.selected(rules))
    }

    /// Fix what is `chosen` in a text of the migration, and no fix that is refused.
    pub(crate) fn fix_chosen(
        &self,
        migration: &Migration,
        report: &Report,
        rules: &Rules,
        split: Split,
        chosen: &dyn Fn(&Finding) -> bool,
    ) -> Fixed {
        let allowed = |finding: &Finding| chosen(finding) && rules.refusal(finding).is_none();
        let settings = Settings { split, ..self.group.settings.clone() };
        let portability = self.group.history.portability;
        report.fix(migration, portability, &settings, &self.selected(rules), &allowed)
    }

    fn selected(&self, rules: &Rules) -> impl Fn(&str, &str) -> bool + Sync {
        |_: &str, rule: &str| {
            rules.selected.contains(rule)
                && self.aside.is_none()
                && !self.ignored.iter().any(|rules| rules.contains(rule))
        }
    }

    /// Another fix takes the place of the one that was tried out, and leaves the comments that suppress.
    pub(crate) fn settle_with(
        &mut self,
        fixed: Option<String>,
        verdicts: Vec<Result<Vec<String>, String>>,
        left: Vec<Finding>,
        parts: Vec<Part>,
        rules: &Rules,
    ) {
        self.fixed = fixed;
        self.cut_into(parts);
        self.verdicts = verdicts;
        self.left = left;
        self.ignores = self.report.ignores.iter().map(|_| Err(NOT_REVIEWED.to_owned())).collect();
        self.find_ignores_left(rules, |_| NOT_REVIEWED.to_owned());
    }
}

/// What came out for one `env.py`.
#[derive(Debug)]
pub(crate) struct JudgedEnvironment<'a> {
    pub(crate) environment: &'a environment::Environment,
    pub(crate) path: &'a Path,
    pub(crate) report: environment::Report,
    /// For each finding of the report: nothing, or why there is no fix.
    pub(crate) verdicts: Vec<Result<(), String>>,
    /// The text after the fix; `None` when nothing changes.
    pub(crate) fixed: Option<String>,
    /// What is left then, where it stands in that text, with the reasons.
    left: Vec<(environment::Finding, String)>,
    /// For each finding about a suppression: nothing, or why it is left.
    pub(crate) ignores: Vec<Result<(), String>>,
    /// Those that are left then, where they stand in that text.
    pub(crate) ignores_left: Vec<(suppression::Finding, String)>,
    settings: &'a Settings,
    /// Rules that the configuration ignores in this file.
    ignored: Vec<&'a RuleSet>,
}

impl JudgedEnvironment<'_> {
    /// What remains when the fix is applied, with the reasons.
    pub(crate) fn left(&self) -> Vec<(&environment::Finding, String)> {
        if self.fixed.is_some() {
            return self.left.iter().map(|(finding, reason)| (finding, reason.clone())).collect();
        }
        let verdicts = self.report.findings.iter().zip(&self.verdicts);
        verdicts.filter_map(|(finding, verdict)| Some((finding, verdict.as_ref().err()?.clone()))).collect()
    }

    /// The text after the fix.
    pub(crate) fn source(&self) -> &str {
        self.fixed.as_deref().unwrap_or_else(|| self.environment.module.source())
    }

    /// The fix could not be applied: everything is as it was.
    pub(crate) fn not_written(&mut self) {
        self.fixed = None;
        for verdict in self.verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
            *verdict = Err(NOT_WRITTEN.to_owned());
        }
        self.keep_ignores(NOT_WRITTEN);
        self.ignores_left = kept(&self.report.ignores, |_| NOT_WRITTEN.to_owned());
    }

    fn keep_ignores(&mut self, reason: &str) {
        self.ignores = self.report.ignores.iter().map(|_| Err(reason.to_owned())).collect();
    }

    /// The findings about suppressions in the text after the fix.
    fn ignores_in_fixed(&self, rules: &Rules) -> Vec<suppression::Finding> {
        let path = &self.environment.path;
        match self.fixed.clone().map(|text| environment::Environment::parse(path.clone(), text)) {
            Some(Ok(Some(fixed))) => self.report_on(&fixed, rules).ignores,
            _ => self.report.ignores.clone(),
        }
    }

    /// Check another text of the file.
    pub(crate) fn report_on(&self, edited: &environment::Environment, rules: &Rules) -> environment::Report {
        edited.check(self.settings, &self.selected(rules))
    }

    /// Fix what is `chosen` in a text of the file, and no fix that is refused.
    pub(crate) fn fix_chosen(
        &self,
        environment: &environment::Environment,
        report: &environment::Report,
        rules: &Rules,
        chosen: &dyn Fn(&environment::Finding) -> bool,
    ) -> environment::Fixed {
        let allowed = |finding: &environment::Finding| chosen(finding) && allows(rules, finding);
        report.fix(environment, self.settings, &self.selected(rules), &allowed)
    }

    fn selected(&self, rules: &Rules) -> impl Fn(&str, &str) -> bool + Sync {
        |_: &str, rule: &str| {
            rules.selected.contains(rule) && !self.ignored.iter().any(|rules| rules.contains(rule))
        }
    }

    /// Another fix takes the place of the one that was tried out.
    pub(crate) fn settle_with(
        &mut self,
        fixed: Option<String>,
        verdicts: Vec<Result<(), String>>,
        left: Vec<(environment::Finding, String)>,
        rules: &Rules,
    ) {
        self.fixed = fixed;
        self.verdicts = verdicts;
        self.left = left;
        self.keep_ignores(NOT_REVIEWED);
        self.ignores_left = kept(&self.ignores_in_fixed(rules), |_| NOT_REVIEWED.to_owned());
    }

    /// The rules of what the fix removes, as often as it does.
    pub(crate) fn fixed_rules(&self) -> impl Iterator<Item = String> {
        let findings = self.report.findings.iter().zip(&self.verdicts);
        let ignores = self.report.ignores.iter().zip(&self.ignores);
        let findings = findings.filter_map(|(finding, verdict)| verdict.is_ok().then_some(finding.rule));
        let ignores = ignores.filter_map(|(ignore, verdict)| verdict.is_ok().then_some(ignore.rule));
        findings.chain(ignores).map(rules::Rule::name)
    }
}

/// Check an `env.py` and try out its fixes; `None` when it could not be read. A baseline has no part
/// in it: it runs each time.
pub(crate) fn judge_environment<'a>(
    found: &'a Environment,
    rules: &'a Rules,
) -> Option<JudgedEnvironment<'a>> {
    let environment = found.content.as_ref().ok()?;
    let mut judged = JudgedEnvironment {
        environment,
        path: &found.path,
        report: environment::Report::default(),
        verdicts: Vec::new(),
        fixed: None,
        left: Vec::new(),
        ignores: Vec::new(),
        ignores_left: Vec::new(),
        settings: &found.settings,
        ignored: rules.ignored(&found.path),
    };
    judged.report = judged.report_on(environment, rules);
    let tidy = tidied(&environment.module, &judged.report.ignores, rules)
        .and_then(|text| environment::Environment::parse(environment.path.clone(), text).ok().flatten())
        .map(|tidy| (judged.report_on(&tidy, rules), tidy));
    let (report, start) =
        tidy.as_ref().map_or((&judged.report, environment), |(report, tidy)| (report, tidy));
    let environment::Fixed { source, left } = judged.fix_chosen(start, report, rules, &|_| true);
    let verdict = |finding: &environment::Finding| {
        let fixed = source.is_some() && finding.violation.fix.is_ok() && allows(rules, finding);
        if fixed { Ok(()) } else { Err(reason_in_environment(finding, rules)) }
    };
    judged.verdicts = judged.report.findings.iter().map(verdict).collect();
    judged.left = with_reasons(left, rules);
    judged.ignores = removals(&judged.report.ignores, tidy.is_some(), rules);
    judged.fixed = source.or_else(|| tidy.map(|(_, tidy)| tidy.module.into_source()));
    if judged.ignores.iter().any(Result::is_err) {
        judged.ignores_left = kept(&judged.ignores_in_fixed(rules), |ignore| why_kept(ignore, rules));
    }
    Some(judged)
}

/// The text of a file without the comments that suppress nothing, so far as they may be removed; `None` when nothing
/// changes.
fn tidied(module: &Module, ignores: &[suppression::Finding], rules: &Rules) -> Option<String> {
    if ignores.is_empty() {
        return None;
    }
    let removed = ignores.iter().filter(|ignore| kept_by_choice(ignore, rules).is_none());
    suppression::remove(module, removed).filter(|text| text != module.source())
}

fn kept_by_choice(ignore: &suppression::Finding, rules: &Rules) -> Option<String> {
    rules.refusal_of(&ignore.rule.name(), Applicability::Safe)
}

fn why_kept(ignore: &suppression::Finding, rules: &Rules) -> String {
    kept_by_choice(ignore, rules).unwrap_or_else(|| NO_LAYOUT.to_owned())
}

fn kept(
    ignores: &[suppression::Finding],
    reason: impl Fn(&suppression::Finding) -> String,
) -> Vec<(suppression::Finding, String)> {
    ignores.iter().map(|ignore| (ignore.clone(), reason(ignore))).collect()
}

/// For each finding about a suppression: nothing, or why it is left. `tidy`: those that may be are removed.
fn removals(ignores: &[suppression::Finding], tidy: bool, rules: &Rules) -> Vec<Result<(), String>> {
    let verdict = |ignore| match kept_by_choice(ignore, rules) {
        None if tidy => Ok(()),
        _ => Err(why_kept(ignore, rules)),
    };
    ignores.iter().map(verdict).collect()
}

/// Whether the fixes of a finding may be made.
pub(crate) fn allows(rules: &Rules, finding: &environment::Finding) -> bool {
    rules.refusal_of(&finding.rule.name(), Applicability::Safe).is_none()
}

/// Findings with the reason for which each is left.
pub(crate) fn with_reasons(
    left: Vec<environment::Finding>,
    rules: &Rules,
) -> Vec<(environment::Finding, String)> {
    left.into_iter().map(|finding| (finding.clone(), reason_in_environment(&finding, rules))).collect()
}

fn reason_in_environment(finding: &environment::Finding, rules: &Rules) -> String {
    match &finding.violation.fix {
        Err(reason) => reason.clone(),
        Ok(_) => rules
            .refusal_of(&finding.rule.name(), Applicability::Safe)
            .unwrap_or_else(|| NO_LAYOUT.to_owned()),
    }
}

/// What came out for a module of the project.
#[derive(Debug)]
pub(crate) struct JudgedModule<'a> {
    pub(crate) file: &'a imports::File,
    /// The text after the fix; `None` when it could not be written.
    pub(crate) fixed: Option<String>,
    /// The rules of the findings at its callers that the fix removes, as often as it does.
    pub(crate) rules: Vec<String>,
}

impl JudgedModule<'_> {
    /// The fix could not be applied: everything is as it was for those who call it.
    pub(crate) fn not_written(&mut self, judged: &mut [Judged]) {
        self.fixed = None;
        self.rules.clear();
        for one in judged {
            one.module_not_written(&self.file.name);
        }
    }
}

/// Check a history and try out the fixes of what is reported.
///
/// # Errors
/// What limits the revisions doesn't fit the history.
pub(crate) fn judge<'a>(group: &'a Group, rules: &'a Rules) -> Result<Vec<Judged<'a>>> {
    let aside = rules.limits.aside(group)?;
    let reports = reports_with(group, &group.history, rules, &aside);
    Ok(judge_reports(group, rules, &aside, reports, None))
}

/// Likewise, with fixes in the modules of the project that it calls.
///
/// # Errors
/// What limits the revisions doesn't fit the history.
pub(crate) fn judge_with_modules<'a>(
    group: &'a Group,
    rules: &'a Rules,
) -> Result<(Vec<Judged<'a>>, Vec<JudgedModule<'a>>)> {
    let aside = rules.limits.aside(group)?;
    let mut reports = reports_with(group, &group.history, rules, &aside);
    let migration = |index: usize, finding: &Finding| {
        let path = &group.history.migrations[index].path;
        if !group.files[index].reported {
            Err(format!(
                "it stands in a function that {path} calls, too, which is not among the files to fix"
            ))
        } else if aside.contains_key(&index) {
            Err(format!("it stands in a function that {path} calls, too, which is not to be changed"))
        } else {
            rules.refusal(finding).map_or(Ok(()), Err)
        }
    };
    let permissions = Permissions {
        migration: &migration,
        functions: &|name, names| imports::may_edit(group, name, names),
    };
    let selected = selection(group, rules, &aside);
    let shared = group.history.fix_shared(&mut reports, &group.settings, &selected, &permissions);
    drop(selected);
    let Some(Shared { modules, history, reports: after }) = shared else {
        return Ok((judge_reports(group, rules, &aside, reports, None), Vec::new()));
    };
    let base = history.migrations.into_iter().zip(after).collect();
    let judged = judge_reports(group, rules, &aside, reports, Some(base));
    let modules = modules.into_iter().filter_map(|(name, fixed)| {
        let file = group.modules.iter().find(|file| file.name == name)?;
        let fixes = judged.iter().flat_map(Judged::fixed_findings);
        let rules =
            fixes.filter(|finding| finding.module() == Some(&name)).map(|finding| finding.rule.name());
        Some(JudgedModule { file, fixed: Some(fixed), rules: rules.collect() })
    });
    let modules = modules.collect();
    Ok((judged, modules))
}

/// Try out the fixes of what was found.
fn judge_reports<'a>(
    group: &'a Group,
    rules: &'a Rules,
    aside: &BTreeMap<usize, Aside>,
    reports: Vec<Report>,
    base: Option<Vec<(Migration, Report)>>,
) -> Vec<Judged<'a>> {
    let mut reports: Vec<Option<Report>> = reports.into_iter().map(Some).collect();
    let mut base: Vec<Option<_>> = match base {
        Some(base) => base.into_iter().map(|one| Some(Box::new(one))).collect(),
        None => reports.iter().map(|_| None).collect(),
    };
    let reported: Vec<_> = group
        .reported()
        .filter_map(|(index, migration)| Some((index, migration, reports[index].take()?, base[index].take())))
        .collect();
    reported
        .into_par_iter()
        .map(|(index, migration, report, base)| {
            let path = &group.files[index].path;
            let mut judged = Judged {
                group,
                migration,
                path,
                report,
                verdicts: Vec::new(),
                fixed: None,
                left: Vec::new(),
                parts: Vec::new(),
                uncut: None,
                ignores: Vec::new(),
                ignores_left: Vec::new(),
                aside: aside.get(&index).copied(),
                ignored: rules.ignored(path),
                followed_by: None,
                base,
            };
            judged.try_out(rules);
            judged
        })
        .collect()
}

/// What is found in a history that has the files of a group, or rewritten ones.
///
/// # Errors
/// What limits the revisions doesn't fit the history.
pub(crate) fn reports(group: &Group, history: &History, rules: &Rules) -> Result<Vec<Report>> {
    Ok(reports_with(group, history, rules, &rules.limits.aside(group)?))
}

fn reports_with(
    group: &Group,
    history: &History,
    rules: &Rules,
    aside: &BTreeMap<usize, Aside>,
) -> Vec<Report> {
    history.check(&group.settings, &selection(group, rules, aside))
}

/// Which rules apply to which file of a history.
fn selection<'a>(
    group: &'a Group,
    rules: &'a Rules,
    aside: &BTreeMap<usize, Aside>,
) -> impl Fn(&str, &str) -> bool + Sync + use<'a> {
    let paths = || group.history.migrations.iter().map(|migration| migration.path.as_str());
    let ignored: BTreeMap<&str, Vec<&RuleSet>> =
        paths().zip(&group.files).map(|(path, file)| (path, rules.ignored(&file.path))).collect();
    let skipped: BTreeSet<&str> =
        paths().enumerate().filter(|(index, _)| aside.contains_key(index)).map(|(_, path)| path).collect();
    move |path: &str, rule: &str| {
        rules.selected.contains(rule)
            && !skipped.contains(path)
            && !ignored.get(path).is_some_and(|ignored| ignored.iter().any(|rules| rules.contains(rule)))
    }
}

/// A verdict with the reason in every case.
pub(crate) fn told(verdict: Verdict, finding: &Finding, rules: &Rules) -> Result<Vec<String>, String> {
    match verdict {
        Verdict::Fixed { notes } => Ok(notes),
        Verdict::Left { reason: Some(reason) } => Err(reason),
        Verdict::Left { reason: None } => Err(reason(finding, rules)),
    }
}

/// Why a finding remains.
pub(crate) fn reason(finding: &Finding, rules: &Rules) -> String {
    match &finding.fix {
        Err(reason) => reason.clone(),
        Ok(_) => rules.refusal(finding).unwrap_or_else(|| NO_LAYOUT.to_owned()),
    }
}
