//! `safemig verify`: prove a rewrite on a real PostgreSQL.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use safemig_transforms::analysis::{Finding, History};
use safemig_transforms::migration::{Migration, Parsed};

use super::Session;
use crate::Status;
use crate::analysis::Judged;
use crate::cli::{self, Global, VerifyArgs};
use crate::project::{self, Group};
use crate::report::count;
use crate::terminal::Terminal;
use crate::verify::driver::Environment;
use crate::verify::interrupt::Interrupt;
use crate::verify::proof::{self, Claim, Plan, Planned, Rules};
use crate::verify::server::Server;
use crate::verify::tree::{self, Tree};
use crate::verify::{python, report};
use crate::write;

pub(super) fn run(arguments: &VerifyArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let session = Session::new(&arguments.input, None, global, terminal)?;
    // With `--against`, the rewrite is there already.
    let judged = if arguments.against.is_some() { Vec::new() } else { session.judge()? };
    let interrupt = Interrupt::listen()?;
    let claim = match &arguments.against {
        Some(revision) => Rewrite::Since(revision),
        None => Rewrite::Fix(&judged),
    };
    let version = arguments.input.alembic.postgres_version;
    let proofs = prove(&session, claim, version, &arguments.proof, &interrupt, terminal)?;
    let mut status = if session.histories.problems.is_empty() { Status::Clean } else { Status::Failed };
    if !proofs.iter().all(proof::Proof::holds) {
        status = status.max(Status::Findings);
    }
    let format = arguments.output_format;
    match &arguments.output_file {
        Some(path) => write::report(path, &report::render(format, &proofs, &terminal.plain()))?,
        None => terminal.print(&report::render(format, &proofs, terminal))?,
    }
    Ok(status)
}

/// What is compared with the history as it was.
#[derive(Clone, Copy)]
pub(super) enum Rewrite<'a> {
    /// What `safemig fix` would write.
    Fix(&'a [Judged<'a>]),
    /// What has changed since a git revision.
    Since(&'a str),
}

/// Prove the rewrite of every history in which anything is rewritten.
///
/// # Errors
/// What keeps the proof from being tried.
pub(super) fn prove(
    session: &Session,
    rewrite: Rewrite,
    version: Option<u32>,
    arguments: &cli::Proof,
    interrupt: &Interrupt,
    terminal: &Terminal,
) -> Result<Vec<proof::Proof>> {
    let mut server = None;
    let mut proofs = Vec::new();
    for group in &session.histories.groups {
        let plan = match rewrite {
            Rewrite::Since(revision) => against(group, revision, session, arguments)?,
            Rewrite::Fix(judged) => as_fixed(group, judged, session, arguments)?,
        };
        let touched = plan.revisions.iter().filter(|planned| planned.touched).count();
        if touched == 0 {
            terminal.summary(&format!("{}: nothing is rewritten.", count(plan.revisions.len(), "revision")));
            continue;
        }
        let server = match &server {
            Some(server) => server,
            None => server.insert(connect(version, arguments)?),
        };
        let environment = environment(arguments, session, group)?;
        let mut progress = terminal.progress();
        let proof = proof::run(&plan, &environment, server, interrupt, &mut progress)?;
        drop(progress);
        for note in &proof.notes {
            terminal.warning(note);
        }
        terminal.summary(&format!("{}.", report::summary(&proof)));
        proofs.push(proof);
    }
    Ok(proofs)
}

fn connect(version: Option<u32>, arguments: &cli::Proof) -> Result<Server> {
    let Some(url) = &arguments.database_url else { return Server::embedded(version) };
    let server = Server::at(url)?;
    match version {
        Some(version) if version != server.version() => {
            bail!("the server is PostgreSQL {}, not {version}", server.version())
        }
        _ => Ok(server),
    }
}

fn environment(arguments: &cli::Proof, session: &Session, group: &Group) -> Result<Environment> {
    let alembic = &group.project;
    if arguments.use_env && alembic.env_py.is_none() {
        let place = project::shown(&alembic.script_location, &session.directory);
        bail!("{place} has no env.py\nhint: leave out `--use-env`");
    }
    Ok(Environment {
        directory: session.directory.clone(),
        python: python::find(arguments.python.as_deref(), session.virtual_env.as_deref(), &alembic.root)?,
        use_env: arguments.use_env,
        stub_imports: arguments.stub_imports.clone(),
        section: alembic.section.clone(),
        recursive: alembic.recursive,
    })
}

/// The history as it is against what `safemig fix` would write.
fn as_fixed<'a>(
    group: &'a Group,
    judged: &'a [Judged<'a>],
    session: &Session,
    arguments: &cli::Proof,
) -> Result<Plan<'a>> {
    let fixed: BTreeMap<&str, &Judged> = judged
        .iter()
        .filter(|one| one.fixed.is_some())
        .map(|one| (one.migration.path.as_str(), one))
        .collect();
    // Several projects may be verified at once.
    let own = group.history.migrations.iter().filter_map(|migration| fixed.get(migration.path.as_str()));
    let files = own.map(|one| (one.path.to_path_buf(), Some(one.source().as_bytes().to_vec())));
    let rewritten = Tree::mirror(&group.project, &files.collect())?;
    let claims = |migration: &Migration| {
        let one = fixed.get(migration.path.as_str())?;
        let left = one.left(&session.rules);
        Some((by_direction(one.fixed_findings()), by_direction(left.iter().map(|(finding, _)| *finding))))
    };
    Ok(plan(&group.history, Tree::of(&group.project), group, rewritten, arguments, claims))
}

/// The history as it was at a git revision against what it is.
fn against<'a>(
    group: &'a Group,
    revision: &str,
    session: &Session,
    arguments: &cli::Proof,
) -> Result<Plan<'a>> {
    let then = tree::at_git_revision(&group.project, revision)?;
    let now = group.files.iter().map(|file| &file.path).zip(&group.history.migrations);
    let unchanged = now.filter(|(path, _)| !then.contains_key(*path));
    let unchanged = unchanged.map(|(path, migration)| (path, migration.module.source().as_bytes()));
    let changed = then.iter().filter_map(|(path, content)| Some((path, content.as_deref()?)));
    let mut migrations = Vec::new();
    for (path, content) in unchanged.chain(changed) {
        let shown = project::shown(path, &session.directory);
        let text = String::from_utf8(content.to_vec()).with_context(|| format!("{shown} at {revision}"))?;
        match Migration::parse(shown.clone(), text) {
            Ok(Parsed::Migration(migration)) => migrations.push(*migration),
            Ok(Parsed::Other) => {}
            Err(error) => bail!("{shown} at {revision}: {}", error.message),
        }
    }
    let history = History::new(migrations, &group.settings);
    let found = findings(&history, group, session);
    let left = findings(&group.history, group, session);
    let present = group.history.migrations.iter().zip(&group.files);
    let present: BTreeMap<&str, _> =
        present.map(|(migration, file)| (migration.revision.as_str(), (migration, file))).collect();
    let claims = |migration: &Migration| {
        let (rewritten, file) = present.get(migration.revision.as_str())?;
        if !file.reported || rewritten.module.source() == migration.module.source() {
            return None;
        }
        let mut claims = found.get(&migration.revision).cloned().unwrap_or_default();
        let left = left.get(&migration.revision).cloned().unwrap_or_default();
        for (direction, left) in &left {
            let claims = claims.entry(*direction).or_default();
            for rule in left {
                if let Some(at) = claims.iter().position(|claim| claim == rule) {
                    claims.remove(at);
                }
            }
        }
        Some((claims, left))
    };
    let original = Tree::mirror(&group.project, &then)?;
    Ok(plan(&history, original, group, Tree::of(&group.project), arguments, claims))
}

/// `claims` answers for the revisions that are to be compared: with the findings that the rewrite removed, and
/// those that it left.
fn plan<'a>(
    history: &History,
    original: Tree,
    group: &'a Group,
    rewritten: Tree,
    arguments: &cli::Proof,
    claims: impl Fn(&Migration) -> Option<(Rules, Rules)>,
) -> Plan<'a> {
    let ordered = history.map.order.iter().map(|index| &history.migrations[*index]);
    let revisions = ordered.map(|migration| {
        let compared = claims(migration);
        let touched = compared.is_some();
        let (claims, left) = compared.unwrap_or_default();
        Planned { revision: migration.revision.clone(), path: migration.path.clone(), touched, claims, left }
    });
    Plan {
        revisions: revisions.collect(),
        original,
        rewritten,
        migrations: group.history.migrations.iter().collect(),
        rows: arguments.rows,
        crash: arguments.crash,
        sql: arguments.sql,
    }
}

fn by_direction<'a>(findings: impl Iterator<Item = &'a Finding>) -> Rules {
    let mut rules = Rules::new();
    for finding in findings {
        let table = finding.table().map(|table| table.name);
        let name = finding.name().map(str::to_owned);
        rules.entry(finding.direction).or_default().push(Claim { rule: finding.rule.name(), table, name });
    }
    rules
}

/// The findings of all revisions of a history.
fn findings(history: &History, group: &Group, session: &Session) -> BTreeMap<String, Rules> {
    let reports = history.check(&group.settings, &|_, rule| session.rules.selected.contains(rule));
    let migrations = history.migrations.iter().map(|migration| migration.revision.clone());
    migrations.zip(reports.iter().map(|report| by_direction(report.findings.iter()))).collect()
}
