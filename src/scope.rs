//! Which revisions of a history are judged: not those that have run in production, not those that nobody asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use safemig_transforms::lineage::Lineage;
use safemig_transforms::migration::Migration;

use crate::cli;
use crate::config::Config;
use crate::git;
use crate::project::Group;
use crate::verify::server;

/// Why a revision is not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aside {
    /// It is the baseline, or comes before it.
    Baseline,
    /// It has run on the database of `--applied`.
    Applied,
    /// It is not in the `--rev-range`.
    OutOfRange,
    /// It is as it was at `--since`.
    Unchanged,
}

/// What the user said about which revisions are judged.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    baseline: Option<String>,
    range: Option<String>,
    since: Option<String>,
    /// The revisions at which a database stands.
    applied: Option<Vec<String>>,
}

impl Limits {
    /// # Errors
    /// The database of `--applied` doesn't answer.
    pub(crate) fn new(flags: &cli::Input, config: &Config) -> Result<Self> {
        let given = &flags.selection;
        let applied = given.applied.as_deref().map(server::current_revisions).transpose()?;
        Ok(Self {
            baseline: config.options.baseline.clone(),
            range: given.rev_range.clone(),
            since: given.since.clone(),
            applied,
        })
    }

    pub(crate) fn baseline(&self) -> Option<&str> {
        self.baseline.as_deref()
    }

    /// The revisions of a history that are not judged, by their index.
    ///
    /// # Errors
    /// A revision that isn't in the history, a git revision that isn't in the repository.
    pub(crate) fn aside(&self, group: &Group) -> Result<BTreeMap<usize, Aside>> {
        let mut aside = BTreeMap::new();
        let mut put = |indices: BTreeSet<usize>, why: Aside| {
            for index in indices {
                aside.entry(index).or_insert(why);
            }
        };
        put(before_baseline(group, self.baseline())?, Aside::Baseline);
        let all: BTreeSet<usize> = (0..group.history.migrations.len()).collect();
        if let Some(stamps) = &self.applied {
            let order = group.loaded();
            let current = current(group, stamps)?;
            let run = lineage(group, &order)?.with_ancestors(&current);
            put(run.into_iter().map(|node| order[node]).collect(), Aside::Applied);
        }
        if self.range.is_some() {
            let range: BTreeSet<usize> = self.listed(group)?.into_iter().collect();
            put(all.difference(&range).copied().collect(), Aside::OutOfRange);
        }
        if let Some(since) = &self.since {
            let changed = git::changed_since(&group.project.script_location, since)?;
            let is_changed = |index: &usize| changed.contains(&real(&group.files[*index].path));
            put(all.into_iter().filter(|index| !is_changed(index)).collect(), Aside::Unchanged);
        }
        Ok(aside)
    }

    /// The revisions of the range, or all, in the order of `alembic history`.
    ///
    /// # Errors
    /// The range isn't one of this history.
    pub(crate) fn listed(&self, group: &Group) -> Result<Vec<usize>> {
        let order = group.loaded();
        let lineage = lineage(group, &order)?;
        let current = self.applied.as_ref().map(|stamps| current(group, stamps)).transpose()?;
        let nodes = match &self.range {
            Some(range) => lineage.range(range, current.as_deref()).map_err(|reason| anyhow!(reason))?,
            None => lineage.all(),
        };
        Ok(nodes.into_iter().map(|node| order[node]).collect())
    }

    /// Whether an `env.py` is judged. It runs each time, whatever has run.
    ///
    /// # Errors
    /// See [`git::changed_since`].
    pub(crate) fn judges_environment(&self, path: &Path) -> Result<bool> {
        if self.range.is_some() {
            return Ok(false);
        }
        match (&self.since, path.parent()) {
            (Some(since), Some(directory)) => Ok(git::changed_since(directory, since)?.contains(&real(path))),
            _ => Ok(true),
        }
    }

    /// `46 at or before baseline 9f2c1d04be77 not checked`, for the summary; `None` if all were.
    pub(crate) fn not_checked(&self, aside: impl Iterator<Item = Aside>) -> Option<String> {
        let mut numbers: BTreeMap<Aside, usize> = BTreeMap::new();
        for why in aside {
            *numbers.entry(why).or_default() += 1;
        }
        let mut text = String::new();
        for (why, number) in numbers {
            let separator = if text.is_empty() { "" } else { ", " };
            let known = |value: &Option<String>| value.clone().unwrap_or_default();
            let what = match why {
                Aside::Baseline => format!("at or before baseline {}", known(&self.baseline)),
                Aside::Applied => "already applied".to_owned(),
                Aside::OutOfRange => format!("outside of {}", known(&self.range)),
                Aside::Unchanged => format!("unchanged since {}", known(&self.since)),
            };
            let _ = write!(text, "{separator}{number} {what}");
        }
        (!text.is_empty()).then(|| text + " not checked")
    }
}

fn lineage(group: &Group, order: &[usize]) -> Result<Lineage> {
    let migrations: Vec<&Migration> = order.iter().map(|index| &group.history.migrations[*index]).collect();
    Lineage::new(&migrations).map_err(|reason| anyhow!(reason))
}

/// Where a database stands, as nodes of the lineage.
fn current(group: &Group, stamps: &[String]) -> Result<Vec<usize>> {
    let order = group.loaded();
    let place = |stamp: &String| {
        order
            .iter()
            .position(|index| group.history.migrations[*index].revision == *stamp)
            .ok_or_else(|| anyhow!("the database is at revision `{stamp}`, which is not in the history"))
    };
    stamps.iter().map(place).collect()
}

fn real(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The migrations that have run in production: the baseline and its ancestors.
fn before_baseline(group: &Group, baseline: Option<&str>) -> Result<BTreeSet<usize>> {
    let mut found = BTreeSet::new();
    let Some(baseline) = baseline else { return Ok(found) };
    let migrations = &group.history.migrations;
    // Alembic takes the beginning of an id for the id.
    let is_baseline = |migration: &Migration| migration.revision.starts_with(baseline);
    let mut stack: Vec<usize> =
        (0..migrations.len()).filter(|index| is_baseline(&migrations[*index])).collect();
    if let Some(exact) = stack.iter().find(|index| migrations[**index].revision == baseline) {
        stack = vec![*exact];
    }
    match stack.len() {
        0 => bail!("the baseline `{baseline}` is not in the history\nhint: it is the id of a revision"),
        1 => {}
        _ => bail!("the baseline `{baseline}` is the beginning of several ids"),
    }
    let by_id: BTreeMap<&str, usize> = migrations
        .iter()
        .enumerate()
        .map(|(index, migration)| (migration.revision.as_str(), index))
        .collect();
    while let Some(index) = stack.pop() {
        if found.insert(index) {
            let parents = migrations[index].down_revisions.iter().chain(&migrations[index].depends_on);
            stack.extend(parents.filter_map(|parent| by_id.get(parent.as_str())));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locate::Request;
    use crate::project::{self, Wanted};
    use crate::walk::{Filter, PathGlobs};

    /// `1` ← `2` ← `4`, `1` ← `3`, and `5`, which depends on `3`; what is put aside of it.
    fn aside(limits: &Limits) -> Result<BTreeMap<String, Aside>> {
        let directory = tempfile::tempdir()?;
        for (id, down, depends_on) in
            [("1", "", ""), ("2", "1", ""), ("3", "1", ""), ("4", "2", ""), ("5", "", "3")]
        {
            let text = format!(
                "revision = '{id}'\ndown_revision = '{down}' or None\ndepends_on = '{depends_on}' or None\n"
            );
            let text = text.replace("'' or None", "None").replace(" or None", "");
            std::fs::write(directory.path().join(format!("{id}.py")), text)?;
        }
        let histories = project::read(&Wanted {
            paths: &[directory.path().to_path_buf()],
            stdin_filename: None,
            request: Request { working_directory: directory.path(), config: None, section: None },
            filter: Filter { exclude: PathGlobs::none(), force: false },
            config: &Config::default(),
            postgres_version: None,
            application: (false, false),
            split: None,
            virtual_env: None,
            support_module: None,
        })?;
        let group = &histories.groups[0];
        let aside = limits.aside(group)?.into_iter();
        Ok(aside.map(|(index, why)| (group.history.migrations[index].revision.clone(), why)).collect())
    }

    fn ids(aside: &BTreeMap<String, Aside>) -> String {
        aside.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_has_run_is_not_judged() {
        let applied = |stamps: &[&str]| Limits {
            applied: Some(stamps.iter().map(|stamp| (*stamp).to_owned()).collect()),
            ..Limits::default()
        };
        let found = aside(&applied(&["2", "5"])).unwrap();
        assert_eq!(ids(&found), "1235", "dependencies have run, too");
        assert!(found.values().all(|why| *why == Aside::Applied));
        assert_eq!(ids(&aside(&applied(&[])).unwrap()), "", "a new database");
        let error = aside(&applied(&["x"])).unwrap_err().to_string();
        assert_eq!(error, "the database is at revision `x`, which is not in the history");
    }

    #[test]
    fn a_range_may_start_where_the_database_is() {
        let limits = Limits {
            baseline: Some("1".to_owned()),
            range: Some("current:".to_owned()),
            applied: Some(vec!["2".to_owned()]),
            ..Limits::default()
        };
        let found = aside(&limits).unwrap();
        let why = |id: &str| found.get(id).copied();
        assert_eq!((why("1"), why("2")), (Some(Aside::Baseline), Some(Aside::Applied)));
        assert_eq!((why("3"), why("4")), (Some(Aside::OutOfRange), None));
        assert_eq!(
            limits.not_checked(found.into_values()).as_deref(),
            Some("1 at or before baseline 1, 1 already applied, 2 outside of current: not checked")
        );
        let error = aside(&Limits { applied: None, ..limits }).unwrap_err().to_string();
        assert!(error.contains("`--applied DATABASE_URL`"), "{error}");
    }
}
