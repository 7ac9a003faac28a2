//! The application around a history: which files it has, and what is found in them.
//!
//! It is read only where its files are named, or where the rule about queries is selected by name: the check
//! of migrations alone reads nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safemig_transforms::application::{Application, File, Finding, Fix, Reads, Report};
use safemig_transforms::recipe::Applicability;
use safemig_transforms::revision::Steps;

use crate::analysis::{NOT_WRITTEN, Rules};
use crate::project::{Group, shown};
use crate::sources::FOREIGN;
use crate::walk;
use crate::write::Change;

/// The files of an application.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) application: Application,
    /// In the order of `application.files`, absolute.
    pub(crate) paths: Vec<PathBuf>,
    /// Whether findings in it are asked for.
    pub(crate) reported: Vec<bool>,
    /// The history that makes its database, by its number.
    pub(crate) group: Option<usize>,
}

impl Files {
    /// Read the files below `root` that are no revisions, and those that were named.
    pub(crate) fn read(
        root: &Path,
        named: &BTreeSet<PathBuf>,
        everything: bool,
        group: Option<(usize, &Group)>,
        directory: &Path,
    ) -> Self {
        let revisions: BTreeSet<&Path> =
            group.iter().flat_map(|(_, group)| &group.files).map(|file| file.path.as_path()).collect();
        let mut paths: BTreeSet<PathBuf> = walk::python_files(root).into_iter().collect();
        paths.extend(named.iter().cloned());
        let is_wanted = |path: &PathBuf| {
            let below = path.strip_prefix(root).or_else(|_| path.strip_prefix(directory)).unwrap_or(path);
            let name = below.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let foreign = below.components().any(|part| {
                part.as_os_str().to_str().is_some_and(|part| FOREIGN.contains(&part) || part == "alembic")
            });
            !foreign
                && !name.starts_with("test_")
                && !["conftest.py", "env.py"].contains(&name)
                && !revisions.contains(path.as_path())
        };
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).ok()?;
            let may_matter = File::may_matter(&bytes);
            // A file that can't be read says nothing; it has other readers that will complain.
            let file = File::parse(shown(&path, directory), String::from_utf8(bytes).ok()?).ok()?;
            Some(if may_matter { Ok((path, file)) } else { Err(Reads::elsewhere(&file)) })
        };
        let paths: Vec<PathBuf> = paths.into_iter().filter(is_wanted).collect();
        let read: Vec<_> = paths.into_par_iter().filter_map(read).collect();
        let (mut paths, mut files, mut reported) = (Vec::new(), Vec::new(), Vec::new());
        let mut elsewhere = Reads::default();
        for one in read {
            let (path, file) = match one {
                Ok(read) => read,
                Err(reads) => {
                    elsewhere.extend(reads);
                    continue;
                }
            };
            reported.push(everything || named.contains(&path));
            paths.push(path);
            files.push(file);
        }
        Self {
            application: Application { files, elsewhere },
            paths,
            reported,
            group: group.map(|(index, _)| index),
        }
    }
}

/// What came out for one application.
#[derive(Debug)]
pub(crate) struct JudgedApplication<'a> {
    pub(crate) files: &'a Files,
    pub(crate) report: Report,
    /// For each finding of the report: what the fix leaves to know, or why there is none.
    pub(crate) verdicts: Vec<Result<Vec<String>, String>>,
    /// The new texts of the files that change.
    pub(crate) fixed: BTreeMap<usize, String>,
}

impl<'a> JudgedApplication<'a> {
    /// Check an application and try out its fixes.
    pub(crate) fn judge(files: &'a Files, groups: &[Group], rules: &Rules) -> Self {
        let group = files.group.map(|group| &groups[group]);
        let settings = group.map(|group| group.settings.clone()).unwrap_or_default();
        let database = group
            .filter(|group| !group.history.migrations.is_empty())
            .map(|group| group.history.end(&settings));
        let ignored: Vec<_> = files.paths.iter().map(|path| rules.ignored(path)).collect();
        let by_path: BTreeMap<&str, usize> = files
            .application
            .files
            .iter()
            .enumerate()
            .map(|(index, file)| (file.path.as_str(), index))
            .collect();
        let selected = |path: &str, rule: &str| {
            rules.selected.contains(rule)
                && !by_path
                    .get(path)
                    .is_some_and(|index| ignored[*index].iter().any(|rules| rules.contains(rule)))
        };
        let report =
            files.application.check(database.as_ref(), &settings, &selected, &|file| files.reported[file]);
        let verdict = |finding: &Finding| match &finding.violation.fix {
            Err(reason) => Err(reason.clone()),
            Ok(fix) => match rules.refusal_of(&finding.rule.name(), Applicability::Unsafe) {
                Some(reason) => Err(reason),
                None => Ok(fix.notes.clone()),
            },
        };
        let verdicts = report.findings.iter().map(verdict).collect();
        let mut judged = Self { files, report, verdicts, fixed: BTreeMap::new() };
        judged.lay_out();
        judged
    }

    /// Make the changes of the models that are still to be made.
    fn lay_out(&mut self) {
        let chosen: Vec<usize> =
            (0..self.verdicts.len()).filter(|index| self.verdicts[*index].is_ok()).collect();
        let fixes: Vec<&Fix> = chosen
            .iter()
            .filter_map(|index| self.report.findings[*index].violation.fix.as_ref().ok())
            .collect();
        let (sources, refused) = self.files.application.fix(&fixes);
        self.fixed = sources;
        for (index, refused) in chosen.iter().zip(refused) {
            if let Some(reason) = refused {
                self.verdicts[*index] = Err(reason);
            }
        }
    }

    /// Add what a new revision has to do for the fixes that are made; one that does not fit is not made. Answers with
    /// the rules of those that change nothing else.
    pub(crate) fn add_to(&mut self, steps: &mut Steps) -> Vec<String> {
        let mut alone = Vec::new();
        let mut refused = false;
        for (finding, verdict) in self.report.findings.iter().zip(&mut self.verdicts) {
            let Ok(fix) = &finding.violation.fix else { continue };
            if verdict.is_err() {
                continue;
            }
            let waits = fix.waits.as_ref().filter(|_| !fix.steps.iter().all(|step| steps.is_done(step)));
            match waits.map_or_else(|| steps.add(&fix.steps), |reason| Err(reason.clone())) {
                Ok(()) => alone.extend(fix.model.is_none().then(|| finding.rule.name())),
                Err(reason) => {
                    *verdict = Err(reason);
                    refused = true;
                }
            }
        }
        if refused {
            self.lay_out();
        }
        alone
    }

    /// What became of the new revision.
    pub(crate) fn followed(&mut self, result: Result<&str, &str>) {
        for (finding, verdict) in self.report.findings.iter().zip(&mut self.verdicts) {
            let has_steps = finding.violation.fix.as_ref().is_ok_and(|fix| !fix.steps.is_empty());
            match (&mut *verdict, result) {
                (Ok(notes), Ok(path)) if has_steps => notes.push(format!("{path} does it in the database")),
                (Ok(_), Err(reason)) if has_steps => *verdict = Err(reason.to_owned()),
                _ => {}
            }
        }
        if result.is_err() {
            self.lay_out();
        }
    }

    /// What is to be written, with the numbers of the files.
    pub(crate) fn changes(&self) -> Vec<(usize, Change)> {
        let change = |(file, new): (&usize, &String)| {
            let old = self.files.application.files[*file].module.source();
            let (path, old, new) =
                (self.files.paths[*file].clone(), Some(old.as_bytes().to_vec()), new.as_bytes().to_vec());
            (*file, Change { path, old, new })
        };
        self.fixed.iter().map(change).collect()
    }

    /// Nothing is changed, for a reason.
    pub(crate) fn leave(&mut self, reason: &str) {
        self.fixed.clear();
        for verdict in self.verdicts.iter_mut().filter(|verdict| verdict.is_ok()) {
            *verdict = Err(reason.to_owned());
        }
    }

    /// A file could not be written.
    pub(crate) fn not_written(&mut self, file: usize) {
        self.fixed.remove(&file);
        for (finding, verdict) in self.report.findings.iter().zip(&mut self.verdicts) {
            let model = finding.violation.fix.as_ref().ok().and_then(|fix| fix.model.as_ref());
            if model.is_some_and(|model| model.file == file) && verdict.is_ok() {
                *verdict = Err(NOT_WRITTEN.to_owned());
            }
        }
    }

    /// The rules of the findings that change a file.
    pub(crate) fn fixed_rules(&self, file: usize) -> Vec<String> {
        let findings = self.report.findings.iter().zip(&self.verdicts);
        findings
            .filter(|(finding, verdict)| {
                let model = finding.violation.fix.as_ref().ok().and_then(|fix| fix.model.as_ref());
                verdict.is_ok() && model.is_some_and(|model| model.file == file)
            })
            .map(|(finding, _)| finding.rule.name())
            .collect()
    }

    /// `path:line` of the other places that a finding is about.
    pub(crate) fn also(&self, finding: &Finding) -> Vec<String> {
        let place = |(file, range): &(usize, ruff_text_size::TextRange)| {
            let file = &self.files.application.files[*file];
            format!("{}:{}", file.path, file.module.position(range.start()).line)
        };
        finding.violation.also.iter().map(place).collect()
    }
}
