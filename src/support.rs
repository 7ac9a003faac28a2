//! Where the module stands that rewritten migrations import the helper functions from, when one is wanted.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use safemig_transforms::layout::SupportModule;

use crate::locate::AlembicProject;
use crate::project::{Group, shown};

/// What the module is called unless it is given a name.
const NAME: &str = "safemig_ops";

/// The module of a project.
#[derive(Debug, Clone)]
pub(crate) struct Support {
    pub(crate) module: SupportModule,
    /// Absolute.
    pub(crate) path: PathBuf,
    /// As reports show it.
    pub(crate) shown: String,
}

/// A module that is created, or gets more functions.
#[derive(Debug)]
pub(crate) struct Completed<'a> {
    pub(crate) group: &'a Group,
    pub(crate) support: &'a Support,
    pub(crate) new: String,
}

impl Support {
    /// The module that Python imports as `name`; without a name, one beside `env.py`.
    ///
    /// # Errors
    /// Migrations can't import it from anywhere, or it can't have the functions.
    pub(crate) fn find(name: &str, project: &AlembicProject, directory: &Path) -> Result<Self> {
        let (name, path) = if name.is_empty() { beside(project, directory)? } else { named(name, project)? };
        let shown = shown(&path, directory);
        if path.parent().is_some_and(|parent| project.reads(parent)) {
            bail!(
                "{shown}: Alembic would take the support module for a revision\nhint: give it another name with `--support-module=NAME`"
            );
        }
        let source = match fs::read_to_string(&path) {
            Ok(source) => Some(source),
            Err(_) if !path.exists() => None,
            Err(error) => bail!("{shown}: {error}"),
        };
        let module = SupportModule::new(name, source).map_err(|reason| anyhow!("{shown}: {reason}"))?;
        Ok(Self { module, path, shown })
    }
}

/// The module of a history with the functions that these texts of migrations call; `None` when it has all of them, or
/// there is none.
pub(crate) fn completed<'a, 'b>(
    group: &'a Group,
    migrations: impl Iterator<Item = &'b str>,
) -> Option<Completed<'a>> {
    let support = group.support.as_ref()?;
    let new = support.module.with_functions_of(migrations)?;
    Some(Completed { group, support, new })
}

fn beside(project: &AlembicProject, directory: &Path) -> Result<(String, PathBuf)> {
    let script_location = &project.script_location;
    let dotted = |root: &PathBuf| {
        let parts: Option<Vec<&str>> = script_location
            .strip_prefix(root)
            .ok()?
            .iter()
            .map(|part| part.to_str().filter(|part| is_name(part)))
            .collect();
        // Python finds the package `alembic` where it is installed.
        let parts = parts.filter(|parts| parts.first() != Some(&"alembic"))?;
        Some(parts.into_iter().chain([NAME]).collect::<Vec<_>>().join("."))
    };
    if let Some(name) = project.import_roots.iter().find_map(dotted) {
        return Ok((name, script_location.join(format!("{NAME}.py"))));
    }
    match project.import_roots.first() {
        Some(root) => Ok((NAME.to_owned(), root.join(format!("{NAME}.py")))),
        None => bail!(
            "migrations in {} could not import a support module: nothing says where Python finds the project's modules\n\
             hint: set `prepend_sys_path = .` in Alembic's configuration",
            shown(script_location, directory)
        ),
    }
}

fn named(name: &str, project: &AlembicProject) -> Result<(String, PathBuf)> {
    if !name.split('.').all(is_name) {
        bail!("`{name}` is no name of a module, such as `app.migrations.{NAME}`");
    }
    let relative: PathBuf = name.split('.').collect();
    let places = || project.import_roots.iter().map(|root| root.join(&relative).with_extension("py"));
    // A package of that name goes before a module.
    if let Some(package) =
        project.import_roots.iter().map(|root| root.join(&relative)).find(|path| path.is_dir())
    {
        bail!("`{name}` is a package, {}: name a module in it", package.display());
    }
    let found = places().find(|path| path.is_file());
    match found.or_else(|| places().find(|path| path.parent().is_some_and(Path::is_dir))) {
        Some(path) => Ok((name.to_owned(), path)),
        None if project.import_roots.is_empty() => bail!(
            "`{name}` could not be imported: nothing says where Python finds the project's modules\n\
             hint: set `prepend_sys_path = .` in Alembic's configuration"
        ),
        None => {
            let roots: Vec<_> = project.import_roots.iter().map(|root| root.display().to_string()).collect();
            bail!("`{name}` could not be imported: its package is not in {}", roots.join(", "))
        }
    }
}

fn is_name(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with(|c: char| c.is_ascii_digit())
        && part.chars().all(|c| c.is_alphanumeric() || c == '_')
}
