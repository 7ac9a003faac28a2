//! `safemig upgrade-history`: rewrite a whole history at once, all of it or nothing.
//!
//! Ids, parents, labels and heads stay as they are, so that a database that stands anywhere in the history still does.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use safemig_transforms::analysis::History;
use safemig_transforms::migration::Parsed;

use super::verify::{self, Rewrite};
use super::{Session, fix, together};
use crate::Status;
use crate::analysis::{self, Judged, Rules};
use crate::cli::{Global, UpgradeFormat, UpgradeHistoryArgs};
use crate::git;
use crate::project::{self, Group};
use crate::report::count;
use crate::report::upgrade::{self, Report};
use crate::terminal::Terminal;
use crate::verify::interrupt::Interrupt;
use crate::verify::proof::Proof;
use crate::verify::report as proof_report;
use crate::write::{self, Change};

pub(super) fn run(arguments: &UpgradeHistoryArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let started = Instant::now();
    let dry_run = arguments.dry_run || arguments.diff;
    if arguments.input.paths.iter().any(|path| path == Path::new("-")) {
        bail!("`upgrade-history` can't be used with standard input");
    }
    let interrupt = Interrupt::listen()?;
    let mut session = Session::whole_history(&arguments.input, global, terminal)?;
    if together::recover(&session, dry_run, terminal)? {
        // Everything that was read may be half of what was written.
        session = Session::whole_history(&arguments.input, global, terminal)?;
    }
    let group = match session.histories.groups.as_slice() {
        [] => return Ok(if session.histories.problems.is_empty() { Status::Clean } else { Status::Failed }),
        [group] => group,
        several => bail!(several_histories(several, &session.directory)),
    };
    let journal = together::journal(group);
    let (judged, modules) = session.judge_with_modules()?;
    let environments = session.judge_environments()?;
    check(group, &judged, &session.rules)?;
    interrupt.check()?;
    let mut changes: Vec<Change> =
        fix::changed_files(&judged, &environments, &modules).map(together::change).collect();
    let support = session.support(&judged, &[]);
    changes.extend(support.iter().map(|one| Change {
        path: one.support.path.clone(),
        old: one.support.module.source().map(|source| source.as_bytes().to_vec()),
        new: one.new.as_bytes().to_vec(),
    }));
    if !arguments.allow_dirty && !dry_run {
        refuse_uncommitted(group, &changes, &session.directory, terminal)?;
    }
    let proofs = if arguments.verify && !changes.is_empty() {
        let version = arguments.input.alembic.postgres_version;
        let claim = Rewrite::Fix(&judged, &modules, &[]);
        verify::prove(&session, claim, version, &arguments.proof, &interrupt, terminal)?
    } else {
        Vec::new()
    };
    if !proofs.iter().all(Proof::keeps_its_word) {
        terminal.print(&proof_report::render(crate::cli::VerifyFormat::Text, &proofs, terminal))?;
        terminal.error("the rewrite could not be proved; nothing was written");
        return Ok(Status::Failed);
    }
    interrupt.check()?;
    if !dry_run {
        let mut progress = terminal.progress();
        let all = changes.len();
        write::write_all(&changes, &journal, &mut |done| progress.at(done, all, "files written"))?;
    }
    let report = Report {
        group,
        judged: &judged,
        environments: &environments,
        modules: &modules,
        rules: &session.rules,
        broken: session.broken(),
        dry_run,
        seconds: terminal.is_watched().then(|| started.elapsed().as_secs_f64()),
        proved_on: proofs.first().map(|proof| proof.postgres),
    };
    let render = |terminal: &Terminal| match arguments.output_format {
        UpgradeFormat::Text => upgrade::text(&report, terminal),
        UpgradeFormat::Markdown => upgrade::markdown(&report),
    };
    match &arguments.output_file {
        Some(path) => {
            write::report(path, &render(&terminal.plain()))?;
            terminal.summary(upgrade::text(&report, &terminal.plain()).trim_end());
        }
        None if arguments.diff => terminal.print_aside(&render(&terminal.plain())),
        None => terminal.print(&render(terminal))?,
    }
    if arguments.diff {
        let changes = fix::changes(&judged, &environments, &modules, &[], &[], &support);
        terminal.print(&fix::diffs(&changes, terminal))?;
    }
    let left = report.is_anything_left() || (dry_run && !changes.is_empty());
    Ok(if !session.histories.problems.is_empty() {
        Status::Failed
    } else if left && !arguments.exit_zero {
        Status::Findings
    } else {
        Status::Clean
    })
}

/// That there are several histories, and how to name one of them.
fn several_histories(groups: &[Group], directory: &Path) -> String {
    let described = |group: &Group| {
        let (places, more) = places(group, directory);
        let revisions = count(group.history.migrations.len(), "revision");
        let below = if group.project.recursive { " and below" } else { "" };
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{revisions} in {}{below}{more}", places.join(", "))
    };
    // A directory stands for all that is in it.
    let is_apart = |group: &&Group| {
        let others = groups.iter().filter(|other| !std::ptr::eq(*other, *group));
        let others: Vec<_> = others.flat_map(|other| &other.project.version_locations).collect();
        places(group, directory).1 == 0
            && group
                .project
                .version_locations
                .iter()
                .all(|own| others.iter().all(|other| !other.starts_with(own)))
    };
    let example = groups.iter().find(is_apart).map_or_else(
        || {
            "`-c` names the configuration of one of them, `--exclude` the directories of the others"
                .to_owned()
        },
        |group| {
            let (places, _) = places(group, directory);
            format!("rewrite one after the other: `safemig upgrade-history {}`", places.join(" "))
        },
    );
    let all: Vec<_> = groups.iter().map(described).collect();
    format!("these are {} histories: {}\nhint: {example}", groups.len(), all.join("; "))
}

/// The first directories of a history, and how many more it has.
fn places(group: &Group, directory: &Path) -> (Vec<String>, usize) {
    const SHOWN: usize = 3;
    let locations = &group.project.version_locations;
    let shown = locations.iter().take(SHOWN).map(|path| project::shown(path, directory));
    (shown.collect(), locations.len().saturating_sub(SHOWN))
}

/// Refuse to write to files that git could not bring back.
fn refuse_uncommitted(
    group: &Group,
    changes: &[Change],
    directory: &Path,
    terminal: &Terminal,
) -> Result<()> {
    let files: Vec<&Path> = changes.iter().map(|change| change.path.as_path()).collect();
    let Some(uncommitted) = git::uncommitted(&group.project.script_location, &files)? else {
        terminal
            .warning("the history is in no git repository: only a copy could bring back what is rewritten");
        return Ok(());
    };
    if uncommitted.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = uncommitted.iter().map(|path| project::shown(path, directory)).collect();
    bail!(
        "files that would be rewritten have changes that are not committed: {}\n\
         hint: commit them, or use `--allow-dirty`",
        names.join(", ")
    )
}

/// Look at the rewritten history as a whole: every revision is who it was and leads to the same schema, and a second run
/// would change nothing.
///
/// # Errors
/// What is different; nothing of it may be written.
fn check(group: &Group, judged: &[Judged], rules: &Rules) -> Result<()> {
    let fixed: BTreeMap<&str, &Judged> =
        judged.iter().map(|one| (one.migration.path.as_str(), one)).collect();
    let mut migrations = Vec::new();
    let mut files = Vec::new();
    // Of each migration, the first of the revisions that it becomes, and the last.
    let mut ends = Vec::new();
    for (migration, file) in group.history.migrations.iter().zip(&group.files) {
        let one = fixed.get(migration.path.as_str());
        let base = one.map_or(migration, |one| one.base().0);
        let source = one.map_or_else(|| migration.module.source(), |one| one.source());
        let parts = one.iter().flat_map(|one| &one.parts).map(|part| &*part.part.source);
        let first = migrations.len();
        for source in parts.chain([source]) {
            match base.edited(source.to_owned()) {
                Ok(Parsed::Migration(rewritten)) => migrations.push(*rewritten),
                _ => bail!("{}: it would be no revision any more; nothing was written", migration.path),
            }
            files.push(file.clone());
        }
        ends.push((first, migrations.len() - 1));
    }
    let history = History::new(migrations, &group.settings);
    let (before, after) =
        (analysis::reports(group, &group.history, rules)?, analysis::reports(group, &history, rules)?);
    for (index, (old, (first, last))) in group.history.migrations.iter().zip(ends).enumerate() {
        let (first_new, new) = (&history.migrations[first], &history.migrations[last]);
        let same = (&old.revision, &old.branch_labels) == (&new.revision, &new.branch_labels)
            && (&old.down_revisions, &old.depends_on) == (&first_new.down_revisions, &first_new.depends_on);
        if !same {
            bail!("{}: it would be another revision, or follow another; nothing was written", old.path);
        }
        if !before[index].same_schema(&after[last], &history.migrations[first..last]) {
            bail!("{}: it would lead to another schema; nothing was written", old.path);
        }
    }
    if history.portability != group.history.portability {
        bail!("the rewritten history would run on other databases than before; nothing was written");
    }
    let again = Group {
        project: group.project.clone(),
        history,
        files,
        invalid: Vec::new(),
        unclear: Vec::new(),
        modules: group.modules.clone(),
        sources: Arc::clone(&group.sources),
        directory: group.directory.clone(),
        settings: group.settings.clone(),
        versions: group.versions.clone(),
        naming: group.naming.clone(),
        lock_timeout: group.lock_timeout.clone(),
        support: group.support.clone(),
    };
    let (judged, modules) = analysis::judge_with_modules(&again, rules)?;
    let revision = judged.iter().find(|one| one.fixed.is_some()).map(|one| one.migration.path.as_str());
    if let Some(path) = revision.or(modules.first().map(|one| one.file.shown.as_str())) {
        bail!("{path}: a second run would change it again; nothing was written");
    }
    Ok(())
}
