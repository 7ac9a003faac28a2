//! Modules of the project that migrations take functions and types from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use safemig_transforms::layout::SupportModule;
use safemig_transforms::migration::Migration;
use safemig_transforms::operations::{ELSEWHERE, Entrance, Modules, Uses};
use safemig_transforms::python::Module;

use crate::locate::AlembicProject;
use crate::project::{Group, shown};
use crate::sources::FOREIGN;

/// Modules that take functions from modules are followed this deep.
const MAX_DEPTH: usize = 3;

/// A module of the project.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// As it is imported.
    pub(crate) name: String,
    /// Absolute.
    pub(crate) path: PathBuf,
    /// The path as reports show it.
    pub(crate) shown: String,
    pub(crate) source: String,
}

/// The names of the functions of other modules that the migrations call.
pub(crate) fn called(migrations: &[Migration]) -> BTreeSet<String> {
    let paths = migrations.iter().flat_map(Migration::foreign);
    paths.filter_map(|path| Some(path.rsplit_once('.')?.1.to_owned())).collect()
}

/// Read the modules that the migrations call, and the migrations again with them. The support module is there with all of
/// its functions, since rewritten migrations may call any.
pub(crate) fn resolve(
    migrations: &mut [Migration],
    project: &AlembicProject,
    support: Option<&SupportModule>,
    directory: &Path,
) -> Vec<File> {
    let mut modules: Vec<File> = Vec::new();
    let mut parsed = Modules::default();
    for _ in 0..MAX_DEPTH {
        let called: BTreeSet<&str> = migrations
            .iter()
            .flat_map(Migration::needed)
            .filter_map(|path| Some(path.rsplit_once('.')?.0))
            .filter(|module| !modules.iter().any(|known| known.name == **module))
            .collect();
        let found: Vec<File> = called
            .into_iter()
            .filter_map(|name| {
                let path = file(name, project)?;
                // One that can't be read is as good as one that is not there.
                let source = fs::read_to_string(&path).ok()?;
                Some(File { name: name.to_owned(), shown: shown(&path, directory), path, source })
            })
            .collect();
        if found.is_empty() {
            break;
        }
        for file in &found {
            if let Ok(module) = Module::parse(file.source.clone()) {
                parsed.insert(file.name.clone(), module, file.path.ends_with("__init__.py"));
            }
        }
        modules.extend(found);
        let parsed = Arc::new(parsed.clone());
        migrations.par_iter_mut().for_each(|migration| {
            let needs = migration
                .needed()
                .any(|path| path.rsplit_once('.').is_some_and(|(module, _)| parsed.contains(module)));
            if needs {
                migration.resolve(&parsed);
            }
        });
    }
    if let Some(support) = support
        && let Some(module) = support.whole()
    {
        parsed.insert(support.name().to_owned(), module, false);
        let parsed = Arc::new(parsed);
        migrations.par_iter_mut().for_each(|migration| migration.resolve(&parsed));
    }
    modules
}

/// Whether functions of a module are the project's own, and nothing but its history uses them.
///
/// # Errors
/// Why they can't be changed.
pub(crate) fn may_edit(group: &Group, name: &str, entrances: &BTreeSet<Entrance>) -> Result<(), String> {
    let Some(file) = group.modules.iter().find(|file| file.name == name) else {
        return Err(ELSEWHERE.to_owned());
    };
    if let Some(other) = group.modules.iter().find(|other| other.path == file.path && other.name != name) {
        return Err(format!("{} is imported as `{name}` and as `{}`", file.shown, other.name));
    }
    let root = &group.project.source_root;
    let below =
        file.path.strip_prefix(root).or_else(|_| file.path.strip_prefix(root.parent().unwrap_or(root)));
    let foreign = |part: Component| FOREIGN.iter().any(|name| part.as_os_str() == *name);
    if !below.is_ok_and(|below| !below.components().any(foreign)) {
        return Err(format!("it stands in {}, which is not the project's", file.shown));
    }
    if let Some(invalid) = group.invalid.first() {
        return Err(format!("{} can't be read, and may call it, too", invalid.shown));
    }
    let known = |path: &Path| {
        group.modules.iter().any(|file| file.path == path) || group.files.iter().any(|file| file.path == path)
    };
    let words: BTreeSet<&str> = entrances.iter().map(|entrance| entrance.name.as_str()).collect();
    let user = group.sources.files().find(|(path, source)| {
        !known(path)
            && words.iter().any(|word| source.contains(word))
            && Module::parse((*source).to_owned())
                .map_or(true, |module| !Uses::of(&module, None, entrances).is_empty())
    });
    match user {
        Some((path, _)) => Err(format!("{} uses it, too", shown(path, &group.directory))),
        None => Ok(()),
    }
}

/// The file of a module, near the migrations: in the project, or in the package that the project is.
fn file(name: &str, project: &AlembicProject) -> Option<PathBuf> {
    let relative = name.replace('.', "/");
    let root = &project.source_root;
    let source = root.join("src");
    let above = project.script_location.ancestors().take_while(|above| above.starts_with(root));
    let places = [root.as_path(), &source].into_iter().chain(root.parent()).chain(above);
    places
        .flat_map(|place: &Path| {
            [place.join(format!("{relative}.py")), place.join(&relative).join("__init__.py")]
        })
        .find(|path| path.is_file())
}
