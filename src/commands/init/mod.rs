//! `safemig init`: let Alembic, pre-commit and the configuration know of safemig.
//!
//! Everything is an insertion into the text as it is: comments and layout stay. What is set up already is left.

mod ini;
mod pre_commit;
mod toml;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::Status;
use crate::cli::{Global, InitArgs};
use crate::config::{self, Config};
use crate::git;
use crate::locate::{AlembicProject, Request};
use crate::project::{self, Group, Wanted};
use crate::report::diff;
use crate::terminal::Terminal;
use crate::walk::{Filter, PathGlobs};
use crate::write;

/// What Alembic runs on a new revision. The token is needed: without it, Alembic puts the path in front.
const OPTIONS: &str = "fix REVISION_SCRIPT_FILENAME";

/// A file that is to be changed or made.
struct Change {
    path: PathBuf,
    old: Option<String>,
    new: String,
}

pub(super) fn run(arguments: &InitArgs, global: &Global, terminal: &Terminal) -> Result<Status> {
    let directory = env::current_dir().context("could not find out the working directory")?;
    let config = config::load(&directory, &global.config, global.isolated)?;
    let histories = project::read(&Wanted {
        paths: &[],
        stdin_filename: None,
        request: Request {
            working_directory: &directory,
            config: arguments.alembic.alembic_config.as_deref(),
            section: arguments.alembic.name.as_deref(),
        },
        filter: Filter { exclude: PathGlobs::none(), force: false },
        config: &config,
        postgres_version: arguments.alembic.postgres_version,
        application: (false, false),
        split: None,
        virtual_env: None,
        support_module: None,
    })?;
    let Some(group) = histories.groups.first() else {
        bail!("no revisions were found here\nhint: `-c` names Alembic's configuration");
    };
    let top = git::top(&group.project.root)?.unwrap_or_else(|_| group.project.root.clone());
    let mut files = Files::default();
    let notes = [
        hook(&group.project, &mut files)?,
        baseline(group, &config, &top, &mut files)?,
        pre_commit(&top, &directory, &mut files)?,
    ];
    for note in notes.into_iter().flatten() {
        terminal.warning(&note);
    }
    files.changes.retain(|change| change.old.as_ref() != Some(&change.new));
    let changes = files.changes;
    if changes.is_empty() {
        terminal.summary("Nothing is left to set up.");
        return Ok(Status::Clean);
    }
    let shown: Vec<String> = changes.iter().map(|change| project::shown(&change.path, &directory)).collect();
    for (change, path) in changes.iter().zip(&shown) {
        terminal.print(&match &change.old {
            Some(old) => diff::render(path, Some(old), &change.new, terminal),
            None => diff::render(path, None, &change.new, terminal),
        })?;
    }
    if arguments.dry_run {
        terminal.summary(&format!("Would set up {}.", shown.join(", ")));
        return Ok(Status::Findings);
    }
    for change in &changes {
        match &change.old {
            Some(old) => write::write_atomically(&change.path, change.new.as_bytes(), old.as_bytes())?,
            None => write::create(&change.path, change.new.as_bytes())?,
        }
    }
    terminal.summary(&format!("Set up {}.", shown.join(", ")));
    Ok(Status::Clean)
}

/// The files that are to be changed: two parts of the set-up may be in the same one.
#[derive(Default)]
struct Files {
    changes: Vec<Change>,
}

impl Files {
    /// The text as it will be; `None`: there is no such file.
    fn text(&self, path: &Path) -> Result<Option<String>> {
        if let Some(change) = self.changes.iter().find(|change| change.path == path) {
            return Ok(Some(change.new.clone()));
        }
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("could not read {}", path.display())),
        }
    }

    fn put(&mut self, path: PathBuf, old: Option<String>, new: String) {
        match self.changes.iter_mut().find(|change| change.path == path) {
            Some(change) => change.new = new,
            None => self.changes.push(Change { path, old, new }),
        }
    }
}

/// The post-write hook of Alembic; a note when it can't be set up.
fn hook(project: &AlembicProject, files: &mut Files) -> Result<Option<String>> {
    let Some(path) = &project.config_path else {
        return Ok(Some("no Alembic configuration was found, so no hook was set up".to_owned()));
    };
    let Some(old) = files.text(path)? else { return Ok(None) };
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let new = if is_toml {
        toml::with_hook(&old).with_context(|| format!("could not read {}", path.display()))?
    } else {
        ini::with_hook(&old)
    };
    files.put(path.clone(), Some(old), new);
    Ok(None)
}

/// The head as it is now: it and what comes before it count as having run in production.
fn baseline(group: &Group, config: &Config, top: &Path, files: &mut Files) -> Result<Option<String>> {
    if config.options.baseline.is_some() {
        return Ok(None);
    }
    let head = match group.history.map.heads.as_slice() {
        [] => return Ok(None),
        [head] => &group.history.migrations[*head].revision,
        _ => {
            let note = "there are several heads, so no baseline was set\n\
                        hint: merge them first (`alembic merge heads`)";
            return Ok(Some(note.to_owned()));
        }
    };
    let root = &group.project.root;
    let pyproject = [root.as_path(), top].map(|directory| directory.join("pyproject.toml"));
    // A new pyproject.toml would make a package of the directory.
    let path = config
        .path
        .clone()
        .or_else(|| pyproject.into_iter().find(|path| path.is_file()))
        .unwrap_or_else(|| root.join("safemig.toml"));
    let is_pyproject = path.file_name().is_some_and(|name| name == "pyproject.toml");
    let old = files.text(&path)?;
    let new = toml::with_baseline(old.as_deref().unwrap_or_default(), head, is_pyproject)
        .with_context(|| format!("could not read {}", path.display()))?;
    files.put(path, old, new);
    Ok(None)
}

/// The hook of pre-commit, where that is used; a note when it can't be set up.
fn pre_commit(top: &Path, directory: &Path, files: &mut Files) -> Result<Option<String>> {
    let names = [".pre-commit-config.yaml", ".pre-commit-config.yml"].map(|name| top.join(name));
    let Some(path) = names.into_iter().find(|path| path.is_file()) else { return Ok(None) };
    let Some(old) = files.text(&path)? else { return Ok(None) };
    let Some(new) = pre_commit::with_hook(&old) else {
        return Ok(Some(format!(
            "{}: its `repos` is no list of lines, so no hook was added\nhint: add this by hand:\n{}",
            project::shown(&path, directory),
            pre_commit::entry("", "\n").trim_end()
        )));
    };
    files.put(path, Some(old), new);
    Ok(None)
}

/// The line break of a text.
fn line_break(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}
