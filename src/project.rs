//! From arguments to histories: which files there are, what they say, which project they belong to.
//!
//! A migration is judged by what the revisions before it did, so the whole history is read whatever
//! was named; only what was named is reported. Every file is read and parsed once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use memchr::{memchr, memmem};
use petgraph::unionfind::UnionFind;
use rayon::prelude::*;
use ruff_text_size::TextRange;
use safemig_transforms::analysis::History;
use safemig_transforms::environment;
use safemig_transforms::migration::{Migration, Parsed};
use safemig_transforms::python::Module;
use safemig_transforms::settings::{MaxIndexColumns, Naming, Rerun, Settings, Split, Target};

use crate::application;
use crate::config::{self, Config};
use crate::imports;
use crate::locate::{self, AlembicProject, Request};
use crate::naming_convention::{self, NamingConvention};
use crate::sources::Sources;
use crate::support::Support;
use crate::versions::{self, Places, Versions};
use crate::walk::{self, Filter, PathGlobs, Problem};

/// What to read.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// As given on the command line.
    pub(crate) paths: &'a [PathBuf],
    pub(crate) stdin_filename: Option<&'a Path>,
    pub(crate) request: Request<'a>,
    pub(crate) filter: Filter,
    pub(crate) config: &'a Config,
    /// Whether the application is read where its files are named, and where nothing is.
    pub(crate) application: (bool, bool),
    /// `--postgres-version`.
    pub(crate) postgres_version: Option<u32>,
    /// `--split`; what stands on standard input stays one revision.
    pub(crate) split: Option<config::Split>,
    /// The active environment: `VIRTUAL_ENV`, or the one whose `alembic` is on the `PATH`.
    pub(crate) virtual_env: Option<&'a Path>,
    /// The name of the module that rewritten migrations import; empty for one beside `env.py`.
    pub(crate) support_module: Option<&'a str>,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    pub(crate) groups: Vec<Group>,
    /// Every `env.py` that is reported.
    pub(crate) environments: Vec<Environment>,
    /// The applications whose files were named, or that are asked about.
    pub(crate) applications: Vec<application::Files>,
    /// What could not be read.
    pub(crate) problems: Vec<Problem>,
    /// How many files and directories an exclude glob hid.
    pub(crate) excluded: usize,
    /// Where revisions were looked for, as reports show it.
    pub(crate) looked_in: Vec<String>,
    /// What came from standard input.
    pub(crate) stdin: Option<Vec<u8>>,
}

/// One project's history.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) project: AlembicProject,
    pub(crate) history: History,
    /// In the order of `history.migrations`.
    pub(crate) files: Vec<File>,
    /// Files that could not be parsed.
    pub(crate) invalid: Vec<Invalid>,
    /// Files, as reports show them, whose `revision` or `down_revision` is no text that can be read.
    pub(crate) unclear: Vec<String>,
    /// The modules of the project that its migrations call.
    pub(crate) modules: Vec<imports::File>,
    /// What else speaks of naming conventions, or of functions of those modules.
    pub(crate) sources: Arc<Sources>,
    /// What paths are shown relative to.
    pub(crate) directory: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) versions: Versions,
    pub(crate) naming: NamingConvention,
    /// Where the project gives its connections a `lock_timeout`: `migrations/env.py:12`.
    pub(crate) lock_timeout: Option<String>,
    /// The module that rewritten migrations import, where one is wanted.
    pub(crate) support: Option<Support>,
}

/// An `env.py`. It is no part of a history, and reported only where it was named, or all was.
#[derive(Debug)]
pub(crate) struct Environment {
    /// Absolute.
    pub(crate) path: PathBuf,
    pub(crate) content: Result<environment::Environment, Invalid>,
    pub(crate) settings: Settings,
}

impl Environment {
    /// The path as reports show it.
    pub(crate) fn shown(&self) -> &str {
        match &self.content {
            Ok(environment) => &environment.path,
            Err(invalid) => &invalid.shown,
        }
    }
}

/// Where a migration comes from.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Whether its findings are asked for. The others only say what was there before.
    pub(crate) reported: bool,
}

/// A file that is no Python that we can read.
#[derive(Debug)]
pub(crate) struct Invalid {
    pub(crate) file: File,
    /// As reports show it.
    pub(crate) shown: String,
    /// What can be shown of its text.
    pub(crate) source: String,
    pub(crate) range: Range<usize>,
    pub(crate) message: String,
}

impl Group {
    /// The indices of the migrations in the order in which Alembic loads them: by version location, the files of a
    /// directory by name and before the directories in it.
    pub(crate) fn loaded(&self) -> Vec<usize> {
        let locations: Vec<PathBuf> = self.project.version_locations.iter().map(|path| real(path)).collect();
        let place = |path: &Path| {
            let path = real(path);
            let location = locations.iter().position(|location| path.starts_with(location));
            let below = location.and_then(|index| path.strip_prefix(&locations[index]).ok()).unwrap_or(&path);
            let last = below.components().count().saturating_sub(1);
            let parts: Vec<_> = below
                .components()
                .enumerate()
                .map(|(index, part)| (index != last, part.as_os_str().to_owned()))
                .collect();
            (location.unwrap_or(locations.len()), parts)
        };
        let mut order: Vec<_> =
            self.files.iter().enumerate().map(|(index, file)| (place(&file.path), index)).collect();
        order.sort();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// The path as reports show it, of every reported file, in order.
    pub(crate) fn reported(&self) -> impl Iterator<Item = (usize, &Migration)> {
        let migrations = self.history.migrations.iter().enumerate();
        migrations.filter(|(index, _)| self.files[*index].reported)
    }
}

/// What became of one file.
enum Content {
    Migration(Box<Migration>),
    /// Python, but no revision.
    Other,
    /// It looks like a revision, but who it is can't be read.
    Unclear,
    Invalid(Invalid),
    Unreadable(Problem),
}

/// A file that was read.
struct Source {
    path: PathBuf,
    reported: bool,
    content: Content,
}

/// Read what is wanted, and the histories around it.
///
/// # Errors
/// A path that doesn't exist, Alembic configuration that can't be read. A bad file is no error.
pub(crate) fn read(wanted: &Wanted<'_>) -> Result<Histories> {
    let directory = wanted.request.working_directory;
    if wanted.paths.iter().any(|path| path == Path::new("-")) {
        if wanted.paths.len() > 1 {
            bail!("`-` can't be used together with other paths");
        }
        return read_stdin(wanted);
    }
    let mut found = Histories::default();
    if wanted.paths.is_empty()
        && let Some(project) = locate::discover(&wanted.request)?
    {
        found.looked_in = project.version_locations.iter().map(|path| shown(path, directory)).collect();
        if let Some(path) = &project.env_py {
            if wanted.filter.exclude.matches(path) {
                found.excluded += 1;
            } else {
                read_environment(path, &project, wanted, &mut found);
            }
        }
        let groups = whole_project(project, Vec::new(), wanted, &mut found)?;
        found.groups.extend(groups);
        if wanted.application.1 {
            read_applications(&BTreeSet::new(), wanted, &mut found)?;
        }
        return Ok(found);
    }
    let here = [PathBuf::from(".")];
    let paths = if wanted.paths.is_empty() { &here } else { wanted.paths };
    found.looked_in = paths.iter().map(|path| shown(&walk::absolute(path, directory), directory)).collect();
    let walked = walk::named_paths(paths, directory, &wanted.filter)?;
    found.problems.extend(walked.problems);
    found.excluded = walked.excluded.len();
    let is_environment = |path: &PathBuf| path.file_name().is_some_and(|name| name == "env.py");
    let (environments, files): (Vec<_>, Vec<_>) = walked.files.into_iter().partition(is_environment);
    for path in environments {
        let project = locate::for_path(&path, &wanted.request)?;
        read_environment(&path, &project, wanted, &mut found);
    }
    let mut sources = Vec::new();
    let mut others = BTreeSet::new();
    for source in read_all(files, directory) {
        match source.content {
            Content::Migration(_) | Content::Invalid(_) => sources.push(source),
            Content::Unreadable(problem) => found.problems.push(problem),
            Content::Other => {
                others.insert(source.path);
            }
            Content::Unclear => {}
        }
    }
    let revisions: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
    for (project, members) in locate::group(&revisions, &wanted.request)? {
        let members: BTreeSet<PathBuf> = members.into_iter().collect();
        let (named, others) = sources.into_iter().partition(|source| members.contains(&source.path));
        sources = others;
        let groups = whole_project(project, named, wanted, &mut found)?;
        found.groups.extend(groups);
    }
    if wanted.application.0 && !others.is_empty() {
        // Packages have models in their `__init__.py`, which is never a revision.
        let directories =
            paths.iter().map(|path| walk::absolute(path, directory)).filter(|path| path.is_dir());
        let inits = directories.flat_map(|path| walk::python_files(&path));
        others.extend(inits.filter(|path| {
            path.file_name().is_some_and(|name| name == "__init__.py") && !wanted.filter.exclude.matches(path)
        }));
        read_applications(&others, wanted, &mut found)?;
    }
    Ok(found)
}

/// Read the applications that the named files belong to; without any, those of all histories.
fn read_applications(named: &BTreeSet<PathBuf>, wanted: &Wanted<'_>, found: &mut Histories) -> Result<()> {
    let directory = wanted.request.working_directory;
    if found.groups.is_empty() {
        // The history is read, but not reported.
        let project = match named.first() {
            Some(first) => locate::discover(&wanted.request)?
                .map_or_else(|| locate::for_path(first, &wanted.request), Ok)?,
            None => return Ok(()),
        };
        let mut aside = Histories::default();
        for mut group in whole_project(project, Vec::new(), wanted, &mut aside)? {
            let invalid = group.invalid.iter_mut().map(|invalid| &mut invalid.file);
            for file in group.files.iter_mut().chain(invalid) {
                file.reported = false;
            }
            found.groups.push(group);
        }
    }
    // Of projects inside of each other, a file belongs to the inner one.
    let home = |path: &PathBuf| {
        let around =
            found.groups.iter().enumerate().filter(|(_, group)| path.starts_with(&group.project.source_root));
        let inner = around.max_by_key(|(_, group)| group.project.source_root.as_os_str().len());
        inner.map_or_else(|| (found.groups.len() == 1).then_some(0), |(index, _)| Some(index))
    };
    let mut applications = Vec::new();
    for (index, group) in found.groups.iter().enumerate() {
        let mine: BTreeSet<PathBuf> =
            named.iter().filter(|path| home(path) == Some(index)).cloned().collect();
        if !mine.is_empty() || named.is_empty() {
            let root = &group.project.source_root;
            applications.push(application::Files::read(
                root,
                &mine,
                named.is_empty(),
                Some((index, group)),
                directory,
            ));
        }
    }
    found.applications = applications;
    Ok(())
}

fn read_stdin(wanted: &Wanted<'_>) -> Result<Histories> {
    let directory = wanted.request.working_directory;
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes).context("could not read standard input")?;
    let (path, name) = match wanted.stdin_filename {
        Some(name) => {
            let path = walk::absolute(name, directory);
            let name = shown(&path, directory);
            (path, name)
        }
        None => (directory.join("-"), "-".to_owned()),
    };
    let mut found = Histories { looked_in: vec![name.clone()], ..Histories::default() };
    found.stdin = Some(bytes.clone());
    if wanted.filter.force && wanted.filter.exclude.matches(&path) {
        found.excluded = 1;
        return Ok(found);
    }
    if wanted.stdin_filename.is_some_and(|name| name.file_name().is_some_and(|name| name == "env.py")) {
        let project = locate::for_path(&path, &wanted.request)?;
        found.environments.extend(environment(&path, &project, bytes, wanted));
        return Ok(found);
    }
    let content = parse(&path, &name, bytes, || {
        String::from_utf8_lossy(found.stdin.as_deref().unwrap_or_default()).into_owned()
    });
    if matches!(content, Content::Other | Content::Unclear) {
        return Ok(found);
    }
    let project = match wanted.stdin_filename {
        Some(_) => locate::for_path(&path, &wanted.request)?,
        None => locate::discover(&wanted.request)?.unwrap_or_else(|| AlembicProject {
            version_locations: Vec::new(),
            ..AlembicProject::bare(directory)
        }),
    };
    let source = Source { path, reported: true, content };
    found.groups = whole_project(project, vec![source], wanted, &mut found)?;
    Ok(found)
}

/// Add an `env.py`, if it is one of Alembic's.
fn read_environment(path: &Path, project: &AlembicProject, wanted: &Wanted<'_>, found: &mut Histories) {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            found.problems.push(Problem { path: path.to_path_buf(), message: reason(&error) });
            return;
        }
    };
    found.environments.extend(environment(path, project, bytes, wanted));
}

/// What an `env.py` says; `None` when it is not one of Alembic's.
fn environment(
    path: &Path,
    project: &AlembicProject,
    bytes: Vec<u8>,
    wanted: &Wanted<'_>,
) -> Option<Environment> {
    let configured = project.config_path.is_some()
        && project.env_py.as_ref().is_some_and(|env_py| real(env_py) == real(path));
    let speaks_of = |word: &[u8]| memmem::find(&bytes, word).is_some();
    // Many a file of this name has nothing to do with Alembic.
    if !configured && !(speaks_of(b"alembic") && (speaks_of(b"run_migrations") || speaks_of(b".configure"))) {
        return None;
    }
    let name = shown(path, wanted.request.working_directory);
    let content = match text(bytes) {
        Ok(source) => match environment::Environment::parse(name.clone(), source.clone()) {
            Ok(environment) => Ok(environment?),
            Err(error) => Err((source, self::bytes(error.range), sentence(&error.message))),
        },
        Err(invalid) => Err(invalid),
    };
    let content = content.map_err(|(source, range, message)| {
        let file = File { path: path.to_path_buf(), reported: true };
        Invalid { file, shown: name, source, range, message }
    });
    let settings = settings(wanted, &versions_of(&project.root, wanted), &NamingConvention::None);
    Some(Environment { path: path.to_path_buf(), content, settings })
}

/// The history of a project, of which `named` has been read already. Without `named`, all of it is
/// reported. The revisions of an [open](AlembicProject::open) project may be several histories.
///
/// # Errors
/// There is no place for the support module.
fn whole_project(
    project: AlembicProject,
    named: Vec<Source>,
    wanted: &Wanted<'_>,
    found: &mut Histories,
) -> Result<Vec<Group>> {
    let directory = wanted.request.working_directory;
    let everything = named.is_empty();
    let known: BTreeSet<PathBuf> = named.iter().map(|source| real(&source.path)).collect();
    let from_stdin: BTreeSet<String> = named
        .iter()
        .filter(|source| wanted.paths == [Path::new("-")] && !source.path.exists())
        .filter_map(|source| match &source.content {
            Content::Migration(migration) => Some(migration.revision.clone()),
            _ => None,
        })
        .collect();
    let around = AlembicProject { recursive: project.recursive || project.open, ..project.clone() };
    // Excluded revisions are part of the history: they are read, but not reported.
    let walked = walk::version_locations(&around, &PathGlobs::none());
    found.problems.extend(walked.problems);
    let files = walked.files.into_iter().filter(|path| !known.contains(&real(path))).collect();
    let mut sources = named;
    for mut source in read_all(files, directory) {
        let excluded = everything && wanted.filter.exclude.matches(&source.path);
        source.reported = everything && !excluded;
        let is_replaced = matches!(&source.content, Content::Migration(migration)
            if from_stdin.contains(&migration.revision));
        if !is_replaced {
            sources.push(source);
        }
    }
    let histories =
        if project.open { apart(&project, sources, everything) } else { vec![(project, sources)] };
    if everything {
        let sources = histories.iter().flat_map(|(_, sources)| sources);
        found.excluded += sources.filter(|source| !source.reported).count();
    }
    histories.into_iter().map(|(project, sources)| group(project, sources, wanted, found)).collect()
}

/// Tell the histories of an open project apart: the directories whose revisions follow each other are version locations
/// of one. Those in which nothing is reported are left out; where `everything` would be, those below Alembic's default
/// directory, too, unless it has no revisions itself.
fn apart(
    project: &AlembicProject,
    sources: Vec<Source>,
    everything: bool,
) -> Vec<(AlembicProject, Vec<Source>)> {
    let default = project.version_locations.first().cloned().unwrap_or_default();
    let top = real(&default);
    // One directory may be known by several names.
    let home = |source: &Source| {
        let directory = real(source.path.parent().unwrap_or(&source.path));
        directory
            .strip_prefix(&top)
            .map(|below| default.components().chain(below.components()).collect())
            .unwrap_or(directory)
    };
    let mut all: Vec<(PathBuf, Source)> = sources.into_iter().map(|source| (home(&source), source)).collect();
    all.retain(|(_, source)| !matches!(source.content, Content::Other));
    let directories: BTreeSet<&PathBuf> = all.iter().map(|(home, _)| home).collect();
    let directories: Vec<PathBuf> = directories.into_iter().cloned().collect();
    let place = |directory: &PathBuf| directories.binary_search(directory).unwrap_or_default();

    let migrations = || {
        all.iter().filter_map(|(home, source)| match &source.content {
            Content::Migration(migration) => Some((home, migration)),
            _ => None,
        })
    };
    let mut homes: BTreeMap<&str, BTreeSet<&PathBuf>> = BTreeMap::new();
    for (home, migration) in migrations() {
        homes.entry(&migration.revision).or_default().insert(home);
    }
    let mut together = UnionFind::new(directories.len());
    for (home, migration) in migrations() {
        for parent in migration.down_revisions.iter().chain(&migration.depends_on) {
            let others = homes.get(parent.as_str()).filter(|others| !others.contains(home));
            for other in others.into_iter().flatten() {
                together.union(place(home), place(other));
            }
        }
    }
    let labels = together.into_labeling();

    let of_default = directories.contains(&default).then(|| labels[place(&default)]).filter(|_| everything);
    let mut histories: BTreeMap<usize, (AlembicProject, Vec<Source>)> = BTreeMap::new();
    for (home, source) in all {
        let label = labels[place(&home)];
        let (own, sources) = histories.entry(label).or_insert_with(|| {
            (AlembicProject { version_locations: Vec::new(), open: false, ..project.clone() }, Vec::new())
        });
        if !own.version_locations.contains(&home) {
            own.version_locations.push(home);
        }
        sources.push(source);
    }
    histories.retain(|label, (_, sources)| {
        of_default.is_none_or(|of_default| of_default == *label)
            && (everything || sources.iter().any(|source| source.reported))
    });
    for (project, _) in histories.values_mut() {
        project.version_locations.sort();
    }
    if histories.is_empty() {
        return vec![(project.clone(), Vec::new())]; // There is nothing yet.
    }
    histories.into_values().collect()
}

/// What the files of one history say.
fn group(
    project: AlembicProject,
    mut sources: Vec<Source>,
    wanted: &Wanted<'_>,
    found: &mut Histories,
) -> Result<Group> {
    let directory = wanted.request.working_directory;
    let search = naming_convention::Search::new(&project);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let (mut migrations, mut files, mut invalid) = (Vec::new(), Vec::new(), Vec::new());
    let mut unclear = Vec::new();
    for Source { path, reported, content } in sources {
        let file = File { path, reported };
        match content {
            Content::Migration(migration) => {
                migrations.push(*migration);
                files.push(file);
            }
            Content::Invalid(one) => invalid.push(Invalid { file, ..one }),
            Content::Unreadable(problem) => found.problems.push(problem),
            Content::Unclear => unclear.push(shown(&file.path, directory)),
            Content::Other => {}
        }
    }
    // What comes from standard input goes to standard output, and nothing is written beside it.
    let wants_support = wanted.support_module.filter(|_| wanted.paths != [Path::new("-")]);
    let support = wants_support.map(|name| Support::find(name, &project, directory)).transpose()?;
    let called = imports::called(&migrations);
    let mut words: Vec<&str> = called.iter().map(String::as_str).collect();
    words.extend(search.words().map(|word| -> &str { word }));
    let of_support = support.as_ref().map(|support| &support.module);
    let (sources, modules) = rayon::join(
        || Sources::read(&project, &words),
        || imports::resolve(&mut migrations, &project, of_support, directory),
    );
    let naming = search.finish(&sources);
    let versions = versions_of(&project.root, wanted);
    let lock_timeout = lock_timeout(&project, directory);
    let mut settings = settings(wanted, &versions, &naming);
    if lock_timeout.is_some() {
        settings.lock_timeout = None;
    }
    settings.support_module = support.as_ref().map(|support| support.module.name().to_owned());
    let history = History::new(migrations, &settings);
    Ok(Group {
        project,
        history,
        files,
        invalid,
        unclear,
        modules,
        sources: Arc::new(sources),
        directory: directory.to_path_buf(),
        settings,
        versions,
        naming,
        lock_timeout,
        support,
    })
}

/// Where a project gives its connections a `lock_timeout`, as far as it can be seen: in its `env.py`, or
/// in the URL of its configuration.
fn lock_timeout(project: &AlembicProject, directory: &Path) -> Option<String> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let in_environment = project.env_py.as_deref().and_then(|path| {
        let module = Module::parse(read(path)?).ok()?;
        let range = environment::lock_timeout(&module)?;
        Some((path, module.position(range.start()).line))
    });
    let in_configuration = || {
        let path = project.config_path.as_deref()?;
        let text = read(path)?;
        let sets = |line: &str| !line.trim_start().starts_with(['#', ';']) && line.contains("lock_timeout");
        Some((path, text.lines().position(sets)? + 1))
    };
    let (path, line) = in_environment.or_else(in_configuration)?;
    Some(format!("{}:{line}", shown(path, directory)))
}

/// How far above a project its lock file may stand (a workspace, a monorepo).
const MOST_PARENTS: usize = 6;

/// The versions that the nearest directory at or above the project tells, up to the repository's
/// root; else those of the active environment.
fn versions_of(root: &Path, wanted: &Wanted<'_>) -> Versions {
    let options = &wanted.config.options;
    let places = |root, virtual_env| Places {
        root,
        virtual_env,
        alembic_version: options.alembic_version.as_deref(),
        sqlalchemy_version: options.sqlalchemy_version.as_deref(),
    };
    let mut above = root.ancestors().take(MOST_PARENTS);
    let mut outside = false;
    let found = above.by_ref().take_while(|directory| {
        let inside = !outside;
        outside = directory.join(".git").exists();
        inside
    });
    found
        .map(|directory| versions::find(&places(directory, None)))
        .find(|versions| versions.alembic.is_some())
        .unwrap_or_else(|| versions::find(&places(root, wanted.virtual_env)))
}

/// What the core is told: flags go before the configuration, that before what was found, that before
/// defaults.
fn settings(wanted: &Wanted<'_>, versions: &Versions, naming: &NamingConvention) -> Settings {
    let options = &wanted.config.options;
    let postgres = wanted.postgres_version.or(options.postgres_version);
    Settings {
        target: Target {
            postgres: postgres.unwrap_or_else(|| Target::default().postgres),
            alembic: versions.alembic.as_ref().map(|found| found.version),
            sqlalchemy: versions.sqlalchemy.as_ref().map(|found| found.version),
        },
        rerun: match options.rerun.unwrap_or_default() {
            config::Rerun::Repair => Rerun::Repair,
            config::Rerun::Plain => Rerun::Plain,
        },
        split: match wanted.split.or(options.split).unwrap_or_default() {
            config::Split::AutocommitBlock => Split::AutocommitBlock,
            config::Split::Revision => Split::Revision,
        },
        naming: match naming {
            NamingConvention::None => Naming::Postgres,
            NamingConvention::Set { path, line, convention } => Naming::Convention {
                place: format!("{}:{line}", shown(path, wanted.request.working_directory)),
                convention: convention.clone(),
            },
            NamingConvention::Unknown(reason) => Naming::unknown(reason.clone()),
            NamingConvention::Listener { path, line, renamed } => Naming::Listener {
                place: format!("{}:{line}", shown(path, wanted.request.working_directory)),
                renamed: renamed.clone(),
            },
        },
        other_databases: options.other_databases,
        small_tables: options.small_tables.clone().unwrap_or_default(),
        require_ignore_reason: options.require_ignore_reason.unwrap_or_default(),
        max_index_columns: options
            .max_index_columns
            .map_or_else(MaxIndexColumns::default, |most| MaxIndexColumns(most as usize)),
        lock_timeout: options.lock_timeout.clone(),
        support_module: None,
    }
}

fn read_all(paths: Vec<PathBuf>, directory: &Path) -> Vec<Source> {
    paths
        .into_par_iter()
        .map(|path| {
            let content = match fs::read(&path) {
                Ok(bytes) => parse(&path, &shown(&path, directory), bytes, || {
                    fs::read_to_string(&path).unwrap_or_default()
                }),
                Err(error) => Content::Unreadable(Problem { path: path.clone(), message: reason(&error) }),
            };
            Source { path, reported: true, content }
        })
        .collect()
}

/// The operating system's words, without its number.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// The parser takes the text with it; `again` gets it back for the few files that it refuses.
fn parse(path: &Path, shown: &str, bytes: Vec<u8>, again: impl FnOnce() -> String) -> Content {
    let invalid = |source: String, range: Range<usize>, message: String| {
        let file = File { path: path.to_path_buf(), reported: true };
        Content::Invalid(Invalid { file, shown: shown.to_owned(), source, range, message })
    };
    if memchr(0, &bytes).is_none() && memmem::find(&bytes, b"down_revision").is_none() {
        return Content::Other;
    }
    let source = match text(bytes) {
        Ok(source) => source,
        Err((source, range, message)) => return invalid(source, range, message),
    };
    match Migration::parse(shown.to_owned(), source) {
        Ok(Parsed::Migration(migration)) => Content::Migration(migration),
        Ok(Parsed::Other) => Content::Unclear,
        Err(error) => invalid(again(), self::bytes(error.range), sentence(&error.message)),
    }
}

/// The text of a Python file; else what can be shown of it, where it is wrong, and what.
fn text(bytes: Vec<u8>) -> Result<String, (String, Range<usize>, String)> {
    if let Some(at) = memchr(0, &bytes) {
        let message = "A NUL byte: this is no Python, or not in UTF-8";
        let source = String::from_utf8_lossy(&bytes[..at]).into_owned();
        let end = source.len();
        return Err((source, end..end, message.to_owned()));
    }
    let declared = declared_encoding(&bytes);
    let source = match String::from_utf8(bytes) {
        Ok(source) => source,
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes().get(at).copied().unwrap_or_default();
            let message = match declared {
                Some(encoding) => format!("Declared as {encoding}; only UTF-8 is read"),
                None => format!("Not UTF-8: byte 0x{byte:02X}"),
            };
            let source = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let end = source[at..].chars().next().map_or(at, |first| at + first.len_utf8());
            return Err((source, at..end, message));
        }
    };
    if let Some(encoding) = declared.filter(|encoding| !reads_as_utf8(encoding, &source)) {
        let at = source.find(|letter: char| !letter.is_ascii()).unwrap_or_default();
        let end = source[at..].chars().next().map_or(at, |first| at + first.len_utf8());
        return Err((source, at..end, format!("Declared as {encoding}; only UTF-8 is read")));
    }
    Ok(source)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The encoding that one of the first two lines declares (PEP 263), unless it is UTF-8.
fn declared_encoding(bytes: &[u8]) -> Option<String> {
    for line in bytes.splitn(3, |byte| *byte == b'\n').take(2) {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii_start();
        let Some(comment) = line.strip_prefix(b"#") else {
            if line.is_empty() {
                continue;
            }
            return None;
        };
        let Some(at) = memmem::find(comment, b"coding") else { continue };
        let Some((b':' | b'=', rest)) = comment[at + 6..].split_first() else { continue };
        let name: String = rest
            .trim_ascii_start()
            .iter()
            .map(|byte| char::from(*byte))
            .take_while(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
            .collect();
        let plain = name.to_lowercase().replace('_', "-");
        let is_utf8 = ["utf-8", "utf8"].iter().any(|utf8| {
            plain.strip_prefix(utf8).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        return (!name.is_empty() && !is_utf8).then_some(name);
    }
    None
}

/// Whether a text in this encoding has the same characters in UTF-8: plain ASCII in one that
/// extends it.
fn reads_as_utf8(encoding: &str, source: &str) -> bool {
    const EXTENDS_ASCII: &[&str] =
        &["ascii", "us-ascii", "latin", "iso-8859", "iso8859", "cp125", "windows-125", "koi8", "gb", "euc-"];
    let plain = encoding.to_lowercase().replace('_', "-");
    source.is_ascii() && EXTENDS_ASCII.iter().any(|prefix| plain.starts_with(prefix))
}

/// A path as reports show it: relative to `directory`, with forward slashes.
pub(crate) fn shown(path: &Path, directory: &Path) -> String {
    let mut base = directory;
    let mut up = PathBuf::new();
    let relative = loop {
        if let Ok(rest) = path.strip_prefix(base) {
            break up.join(rest);
        }
        match base.parent() {
            Some(parent) => base = parent,
            None => break path.to_path_buf(),
        }
        up.push("..");
    };
    if relative.as_os_str().is_empty() {
        return ".".to_owned();
    }
    let text = relative.to_string_lossy();
    if cfg!(windows) { text.replace('\\', "/") } else { text.into_owned() }
}

/// `path` without symbolic links, or as it is if it doesn't exist.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// A range of the core as one of the standard library.
pub(crate) fn bytes(range: TextRange) -> Range<usize> {
    range.start().to_usize()..range.end().to_usize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_relative_to_the_working_directory() {
        let shown = |path: &str| shown(Path::new(path), Path::new("/home/me/project"));
        assert_eq!(shown("/home/me/project/a/b.py"), "a/b.py");
        assert_eq!(shown("/home/me/other/b.py"), "../other/b.py");
        assert_eq!(shown("/home/me/project"), ".");
    }

    #[test]
    fn encodings_are_read_as_python_reads_them() {
        let declared = |text: &str| declared_encoding(text.as_bytes());
        assert_eq!(declared("# -*- coding: latin-1 -*-\n"), Some("latin-1".to_owned()));
        assert_eq!(
            declared("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n"),
            Some("cp1252".to_owned())
        );
        assert_eq!(declared("\u{feff}# coding: utf-8\n"), None);
        assert_eq!(declared("# coding: UTF8\n# coding: latin-1\n"), None);
        assert_eq!(declared("\"\"\"\n# coding: latin-1\n"), None, "not behind other text");
        assert_eq!(declared("\n\n# coding: latin-1\n"), None, "not on the third line");
        assert_eq!(declared("# the encoding of names: see below\n"), None);
    }

    #[test]
    fn plain_ascii_needs_no_decoding() {
        assert!(reads_as_utf8("Latin_1", "x = 1") && reads_as_utf8("windows-1252", "x = 1"));
        assert!(!reads_as_utf8("latin-1", "x = 'é'"));
        assert!(!reads_as_utf8("utf-16", "x = 1") && !reads_as_utf8("cp037", "x = 1"));
    }
}
