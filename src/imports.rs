//! Modules of the project that migrations take functions from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use safemig_transforms::layout::SupportModule;
use safemig_transforms::migration::Migration;
use safemig_transforms::operations::Modules;
use safemig_transforms::python::Module;

use crate::locate::AlembicProject;

/// Modules that take functions from modules are followed this deep.
const MAX_DEPTH: usize = 3;

/// Read the modules that the migrations call, and the migrations again with them. The support module is there with all of
/// its functions, since rewritten migrations may call any.
pub(crate) fn resolve(
    migrations: &mut [Migration],
    project: &AlembicProject,
    support: Option<&SupportModule>,
) {
    let mut modules: Vec<(String, PathBuf)> = Vec::new();
    for _ in 0..MAX_DEPTH {
        let called: BTreeSet<&str> = migrations
            .iter()
            .flat_map(Migration::foreign)
            .filter_map(|path| Some(path.rsplit_once('.')?.0))
            .filter(|module| !modules.iter().any(|(known, _)| known == module))
            .collect();
        let found: Vec<(String, PathBuf)> =
            called.into_iter().filter_map(|name| Some((name.to_owned(), file(name, project)?))).collect();
        if found.is_empty() {
            break;
        }
        modules.extend(found);
        let parsed = Arc::new(parse(&modules));
        migrations.par_iter_mut().for_each(|migration| {
            let calls = migration
                .foreign()
                .any(|path| path.rsplit_once('.').is_some_and(|(module, _)| parsed.contains(module)));
            if calls {
                migration.resolve(&parsed);
            }
        });
    }
    if let Some(support) = support
        && let Some(module) = support.whole()
    {
        let mut parsed = parse(&modules);
        parsed.insert(support.name().to_owned(), module);
        let parsed = Arc::new(parsed);
        migrations.par_iter_mut().for_each(|migration| migration.resolve(&parsed));
    }
}

fn parse(modules: &[(String, PathBuf)]) -> Modules {
    let mut parsed = Modules::default();
    for (name, path) in modules {
        // One that can't be read is as good as one that is not there.
        let source = fs::read_to_string(path).ok();
        if let Some(module) = source.and_then(|source| Module::parse(source).ok()) {
            parsed.insert(name.clone(), module);
        }
    }
    parsed
}

/// The file of a module, near the migrations: in the project, or in the package that the project is.
fn file(name: &str, project: &AlembicProject) -> Option<PathBuf> {
    let relative = name.replace('.', "/");
    let root = &project.root;
    let source = root.join("src");
    let above = project.script_location.ancestors().take_while(|above| above.starts_with(root));
    let places = [root.as_path(), &source].into_iter().chain(root.parent()).chain(above);
    places
        .flat_map(|place: &Path| {
            [place.join(format!("{relative}.py")), place.join(&relative).join("__init__.py")]
        })
        .find(|path| path.is_file())
}
