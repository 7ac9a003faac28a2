//! `safemig verify`: prove a rewrite on a real PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use safemig_transforms::analysis::{Finding, History};
use safemig_transforms::migration::{Direction, Migration, Parsed};
use safemig_transforms::operations::OperationKind;

use super::Session;
use crate::Status;
use crate::analysis::{Judged, JudgedModule};
use crate::cli::{self, Global, VerifyArgs};
use crate::follow_up::NewFile;
use crate::project::{self, Group};
use crate::report::count;
use crate::support;
use crate::terminal::Terminal;
use crate::verify::driver::Environment;
use crate::verify::initial_schema::InitialSchema;
use crate::verify::interrupt::Interrupt;
use crate::verify::proof::{self, Claim, Plan, Planned, Rules};
use crate::verify::server::Server;
use crate::verify::tree::{self, Tree};
use crate::verify::{python, report};
use crate::write;

pub(super) fn run(arguments: &VerifyArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let session = Session::new(&arguments.input, None, global, terminal)?;
    // With `--against`, the rewrite is there already.
    let (mut judged, mut modules, mut created) = (Vec::new(), Vec::new(), Vec::new());
    if arguments.against.is_none() {
        (judged, modules) = session.judge_with_modules()?;
        created = session.follow_up(&mut judged, &mut session.judge_applications());
    }
    let interrupt = Interrupt::listen()?;
    let claim = match &arguments.against {
        Some(revision) => Rewrite::Since(revision),
        None => Rewrite::Fix(&judged, &modules, &created),
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
    /// What `safemig fix` would write, and the revisions that it would add.
    Fix(&'a [Judged<'a>], &'a [JudgedModule<'a>], &'a [NewFile]),
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
    for (number, group) in session.histories.groups.iter().enumerate() {
        let plan = match rewrite {
            Rewrite::Since(revision) => against(group, revision, session, arguments)?,
            Rewrite::Fix(judged, modules, created) => {
                let created = created.iter().filter(|file| file.group == number);
                as_fixed(group, judged, modules, created, session, arguments)?
            }
        };
        if !plan.revisions.iter().any(|planned| planned.touched) && plan.added.is_empty() {
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
        if let Some(stopped) = &proof.stopped {
            terminal.warning(&format!(
                "nothing is proved behind a revision that fails as it is\nhint: {}",
                how_to_run_the_original(arguments, stopped.failure.place.is_some())
            ));
        }
        proofs.push(proof);
    }
    Ok(proofs)
}

/// What may help where the original fails on an empty database: `in_revision`, or around it.
fn how_to_run_the_original(arguments: &cli::Proof, in_revision: bool) -> &'static str {
    if arguments.stub_imports.is_some() {
        "name a Python in which the application is installed with `--python PATH`, and do without `--stub-imports`: what \
         takes the place of modules has no values"
    } else if arguments.use_env && !in_revision {
        "it is raised outside of the revisions: give env.py what it needs, such as environment variables, or do without \
         `--use-env`"
    } else if arguments.use_env {
        "the proof starts from an empty database: what the first revision needs has to be made with `--initial-schema`"
    } else {
        "the project's own env.py may prepare what its migrations need: `--use-env` runs it; tables that no revision makes \
         are given with `--initial-schema`"
    }
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
    group: &Group,
    judged: &[Judged],
    modules: &[JudgedModule],
    created: impl Iterator<Item = &'a NewFile>,
    session: &Session,
    arguments: &cli::Proof,
) -> Result<Plan> {
    let calls_fixed = |one: &&Judged| one.fixed_findings().any(|finding| finding.module().is_some());
    let fixed: BTreeMap<&str, &Judged> = judged
        .iter()
        .filter(|one| one.fixed.is_some() || calls_fixed(one))
        .map(|one| (one.migration.path.as_str(), one))
        .collect();
    // Several projects may be verified at once.
    let own = group.history.migrations.iter().filter_map(|migration| fixed.get(migration.path.as_str()));
    let mut files = tree::Files::new();
    let mut cut = Vec::new();
    for one in own {
        for (path, _, source) in one.changes() {
            files.insert(path.to_path_buf(), Some(source.as_bytes().to_vec()));
            if let Ok(Parsed::Migration(migration)) = one.base().0.edited(source.to_owned()) {
                cut.push(*migration);
            }
        }
    }
    let created: Vec<_> = created.collect();
    let is_own = |one: &&JudgedModule| group.modules.iter().any(|file| std::ptr::eq(file, one.file));
    let mut imported = tree::Modules::new();
    for one in modules.iter().filter(is_own) {
        if let Some(source) = &one.fixed {
            files.insert(one.file.path.clone(), Some(source.as_bytes().to_vec()));
            imported.insert(one.file.name.clone(), one.file.path.clone());
        }
    }
    let mut added = Vec::new();
    for file in &created {
        files.insert(file.path.clone(), Some(file.source.as_bytes().to_vec()));
        match Migration::parse(file.shown.clone(), file.source.clone()) {
            Ok(Parsed::Migration(migration)) => added.push(*migration),
            _ => bail!("{}: it would be no revision", file.shown),
        }
    }
    let own = fixed.values().filter(|one| std::ptr::eq(one.group, group));
    let own = own.flat_map(|one| one.changes()).map(|(_, _, new)| new);
    if let Some(one) = support::completed(group, own.chain(created.iter().map(|file| file.source.as_str()))) {
        files.insert(one.support.path.clone(), Some(one.new.into_bytes()));
        imported.insert(one.support.module.name().to_owned(), one.support.path.clone());
    }
    let original = Tree::of(&group.project, &imported);
    let rewritten = Tree::mirror(&group.project, &files, &imported)?;
    let claims = |migration: &Migration| {
        let one = fixed.get(migration.path.as_str())?;
        let (left, in_parts) = (one.left(&session.rules), one.left_in_parts(&session.rules));
        let left = left.iter().map(|(finding, _)| *finding);
        let left = left.chain(in_parts.iter().map(|(_, finding, _)| *finding));
        Some((by_direction(one.fixed_findings()), by_direction(left)))
    };
    let own = group.history.migrations.iter().chain(&added).chain(&cut);
    let mut plan = plan(&group.history, original, (rewritten, own), arguments, claims)?;
    plan.added = added.iter().map(|migration| planned(migration, Some(promised(migration)))).collect();
    Ok(plan)
}

/// What a revision that safemig adds says about locks: nobody waits for its indexes.
fn promised(migration: &Migration) -> (Rules, Rules) {
    let mut claims = Rules::new();
    for (direction, body) in
        [(Direction::Upgrade, &migration.upgrade), (Direction::Downgrade, &migration.downgrade)]
    {
        for operation in &body.operations {
            let (table, name) = match &operation.kind {
                OperationKind::CreateIndex(create) => (&create.table, &create.name),
                OperationKind::DropIndex(drop) => (&drop.table, &drop.name),
                _ => continue,
            };
            claims.entry(direction).or_default().push(Claim {
                rule: "only-concurrent-indexes".to_owned(),
                table: table.known().map(|table| table.name),
                name: name.as_str().map(str::to_owned),
                words: Vec::new(),
            });
        }
    }
    (claims, Rules::new())
}

/// The history as it was at a git revision against what it is.
fn against(group: &Group, revision: &str, session: &Session, arguments: &cli::Proof) -> Result<Plan> {
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
    let imported = tree::Modules::new(); // those are not compared
    let original = Tree::mirror(&group.project, &then, &imported)?;
    let rewritten = (Tree::of(&group.project, &imported), group.history.migrations.iter());
    let mut plan = plan(&history, original, rewritten, arguments, claims)?;
    // What is new and comes before something that was there is a part of that.
    let mut before: BTreeSet<usize> = BTreeSet::new();
    for index in group.history.map.order.iter().rev() {
        let known = |id: &str| history.migrations.iter().any(|migration| migration.revision == id);
        if before.contains(index) || known(&group.history.migrations[*index].revision) {
            before.insert(*index);
            before.extend(&group.history.map.parents[*index]);
        }
    }
    let added = group.history.map.order.iter().filter(|index| !before.contains(index));
    plan.added =
        added.map(|index| planned(&group.history.migrations[*index], Some(Default::default()))).collect();
    Ok(plan)
}

/// `claims` answers for the revisions that are to be compared: with the findings that the rewrite removed, and
/// those that it left.
fn plan<'a>(
    history: &History,
    original: Tree,
    (rewritten, migrations): (Tree, impl Iterator<Item = &'a Migration>),
    arguments: &cli::Proof,
    claims: impl Fn(&Migration) -> Option<(Rules, Rules)>,
) -> Result<Plan> {
    let ordered = history.map.order.iter().map(|index| &history.migrations[*index]);
    let parents = migrations.map(|migration| (migration.revision.clone(), migration.down_revisions.clone()));
    Ok(Plan {
        revisions: ordered.map(|migration| planned(migration, claims(migration))).collect(),
        added: Vec::new(),
        original,
        rewritten,
        parents: parents.collect(),
        rows: arguments.rows,
        crash: arguments.crash,
        sql: arguments.sql,
        stamped: arguments.stamped,
        initial_schema: arguments.initial_schema.as_deref().map(InitialSchema::read).transpose()?,
    })
}

/// A revision that is to be compared if there are claims, even if there is nothing in them.
fn planned(migration: &Migration, claims: Option<(Rules, Rules)>) -> Planned {
    let touched = claims.is_some();
    let (claims, left) = claims.unwrap_or_default();
    Planned { revision: migration.revision.clone(), path: migration.path.clone(), touched, claims, left }
}

fn by_direction<'a>(findings: impl Iterator<Item = &'a Finding>) -> Rules {
    let mut rules = Rules::new();
    for finding in findings {
        let table = finding.table().map(|table| table.name);
        let name = finding.name().map(str::to_owned);
        let words = finding.words().to_vec();
        rules.entry(finding.direction).or_default().push(Claim {
            rule: finding.rule.name(),
            table,
            name,
            words,
        });
    }
    rules
}

/// The findings of all revisions of a history.
fn findings(history: &History, group: &Group, session: &Session) -> BTreeMap<String, Rules> {
    let reports = history.check(&group.settings, &|_, rule| session.rules.selected.contains(rule));
    let migrations = history.migrations.iter().map(|migration| migration.revision.clone());
    migrations.zip(reports.iter().map(|report| by_direction(report.findings.iter()))).collect()
}
