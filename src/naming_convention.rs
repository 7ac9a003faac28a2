//! Does the project's metadata set a naming convention?
//!
//! Alembic applies `target_metadata.naming_convention` to constraints that a migration leaves
//! unnamed, also to the `None` of `op.create_unique_constraint(None, ...)`
//! (`alembic/operations/schemaobj.py`, `SchemaObjects.metadata`). Without a convention PostgreSQL
//! chooses the name, and we know how; with one the name is the project's affair.
//!
//! Metadata is a run-time value. What can be read is the code that sets it, in the project's own sources. No Python
//! is run.

use std::fs;
use std::path::{Path, PathBuf};

use safemig_transforms::naming::convention::{Convention, Conventions};
use safemig_transforms::naming::listener::{self, listeners};
use safemig_transforms::naming::metadata;
use safemig_transforms::operations::ConstraintKind;
use safemig_transforms::python::Module;

use crate::locate::AlembicProject;
use crate::sources::Sources;

const WORD: &str = "naming_convention";

/// Libraries whose own metadata has no convention unless the project sets one.
const WITHOUT: &[&str] = &[
    "alembic",
    "sqlalchemy",
    "sqlmodel",
    "flask",
    "flask_sqlalchemy",
    "flask_migrate",
    "geoalchemy2",
    "pgvector",
];

/// Libraries that give their metadata a convention by themselves: `advanced_alchemy/base.py` (1.x),
/// which Litestar also offers under its own name.
const WITH: &[&str] = &["advanced_alchemy", "litestar.plugins.sqlalchemy", "litestar.contrib.sqlalchemy"];

/// What is known about the convention of `target_metadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamingConvention {
    /// There is none: PostgreSQL names what the migration doesn't.
    None,
    /// There is one; `line` counts from 1.
    Set {
        path: PathBuf,
        line: usize,
        /// What it says, when all that the project sets is the same and can be read.
        convention: Option<Convention>,
    },
    /// SQLAlchemy calls code of the project's to name constraints; `line` counts from 1.
    Listener {
        path: PathBuf,
        line: usize,
        /// The kinds that get its name also where a migration gives another.
        renamed: Vec<ConstraintKind>,
    },
    /// There may be one, for this reason. Unnamed constraints must be left alone.
    Unknown(String),
}

/// What is known before any source is read.
#[derive(Debug)]
pub(crate) enum Search {
    Done(NamingConvention),
    /// The convention is that of metadata from these modules, which are neither the project's nor those of a library
    /// that is known to set none, or of metadata of the project itself.
    InSources {
        elsewhere: Option<String>,
    },
}

impl Search {
    /// Reads the `env.py` only.
    pub(crate) fn new(project: &AlembicProject) -> Self {
        let Some(env_py) = &project.env_py else {
            // A directory of revisions on its own: nothing here could set a convention.
            return if project.config_path.is_none() && project.root == project.script_location {
                Self::Done(NamingConvention::None)
            } else {
                Self::InSources { elsewhere: None }
            };
        };
        let unknown = |error: &dyn std::fmt::Display| {
            Self::Done(NamingConvention::Unknown(format!("could not read {}: {error}", env_py.display())))
        };
        let module = match fs::read_to_string(env_py) {
            Ok(source) => Module::parse(source),
            Err(error) => return unknown(&error),
        };
        match module {
            Ok(module) => match metadata::origins(&module) {
                None => Self::Done(NamingConvention::None),
                Some(modules) => Self::InSources {
                    elsewhere: modules.into_iter().find(|module| !is_known(module, project)),
                },
            },
            Err(error) => unknown(&error),
        }
    }

    /// The words that the sources have which say more.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        let of_metadata = match self {
            Self::Done(_) => &[][..],
            Self::InSources { .. } => WITH,
        };
        let convention = (!of_metadata.is_empty()).then_some(WORD);
        // What is listened for happens to every constraint, of whatever metadata.
        of_metadata.iter().copied().chain(convention).chain([listener::EVENT])
    }

    /// Look into the sources, which were read with its words.
    pub(crate) fn finish(self, sources: &Sources) -> NamingConvention {
        if let Some(listener) = listener(sources) {
            return listener;
        }
        let elsewhere = match self {
            Self::Done(known) => return known,
            Self::InSources { elsewhere } => elsewhere,
        };
        let mut set: Option<(PathBuf, usize)> = None;
        let mut conventions = Conventions::default();
        let mut doubt = sources.doubt().map(str::to_owned);
        for (path, source) in sources.files() {
            if source.contains(WORD) {
                match Module::parse(source.to_owned()) {
                    Ok(module) => {
                        let found = Conventions::read(&module);
                        if let Some(place) = found.place {
                            set.get_or_insert_with(|| (path.to_path_buf(), module.position(place).line));
                        }
                        conventions.extend(found);
                    }
                    Err(error) => {
                        doubt.get_or_insert_with(|| format!("could not read {}: {error}", path.display()));
                    }
                }
            }
            if let Some(library) = WITH.iter().find(|library| source.contains(*library)) {
                doubt.get_or_insert_with(|| {
                    format!("{} uses `{library}`, which has a naming convention of its own", path.display())
                });
            }
        }
        match (set, doubt, elsewhere) {
            (Some((path, line)), ..) => NamingConvention::Set { path, line, convention: conventions.only() },
            (None, Some(doubt), _) => NamingConvention::Unknown(doubt),
            (None, None, Some(module)) => NamingConvention::Unknown(format!(
                "env.py takes its metadata from `{module}`, which is not in the project"
            )),
            (None, None, None) => NamingConvention::None,
        }
    }
}

/// The code that names constraints when they come to their tables.
fn listener(sources: &Sources) -> Option<NamingConvention> {
    let mut place = None;
    let mut renamed = Vec::new();
    for (path, source) in sources.files().filter(|(_, source)| source.contains(listener::EVENT)) {
        let Ok(module) = Module::parse(source.to_owned()) else { continue };
        for listener in listeners(&module) {
            place.get_or_insert_with(|| (path.to_path_buf(), module.position(listener.place).line));
            renamed.extend(listener.kinds.into_iter().filter(|_| listener.renames));
        }
    }
    let (path, line) = place?;
    Some(NamingConvention::Listener { path, line, renamed })
}

/// Whether the convention of metadata from `module` can be judged: our search covers the module, or
/// the library is known to set none.
fn is_known(module: &str, project: &AlembicProject) -> bool {
    let top = module.split('.').next().unwrap_or_default();
    if top.is_empty() || WITHOUT.contains(&top) {
        return true; // a relative import, or a library
    }
    let root = &project.source_root;
    let has = |place: &Path| place.join(top).is_dir() || place.join(format!("{top}.py")).is_file();
    // Without a configuration the root is itself the package that is imported.
    root.file_name().is_some_and(|name| name == top)
        || has(root)
        || has(&root.join("src"))
        || project.script_location.ancestors().take_while(|above| above.starts_with(root)).any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INI: (&str, &str) = ("alembic.ini", "[alembic]\nscript_location = m\n");

    /// The answer for a project with these files, `env.py` being `m/env.py`; paths relative to its
    /// root.
    fn find_in(files: &[(&str, &str)]) -> NamingConvention {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let request = crate::locate::Request { working_directory: &root, config: None, section: None };
        let project = crate::locate::discover(&request).unwrap();
        let project =
            project.unwrap_or_else(|| crate::locate::for_path(&root.join("m/versions"), &request).unwrap());
        let search = Search::new(&project);
        let words: Vec<_> = search.words().collect();
        match search.finish(&Sources::read(&project, &words)) {
            NamingConvention::Set { path, line, convention } => {
                let path = path.strip_prefix(&root).unwrap().to_path_buf();
                NamingConvention::Set { path, line, convention }
            }
            NamingConvention::Listener { path, line, renamed } => {
                let path = path.strip_prefix(&root).unwrap().to_path_buf();
                NamingConvention::Listener { path, line, renamed }
            }
            other => other,
        }
    }

    fn set(path: &str, line: usize) -> NamingConvention {
        NamingConvention::Set { path: path.into(), line, convention: None }
    }

    #[test]
    fn found_in_the_models() {
        let env = ("m/env.py", "from app.db import Base\ntarget_metadata = Base.metadata\n");
        let models = ("app/db.py", "import x\nclass Base:\n    metadata = MetaData(naming_convention=c)\n");
        assert_eq!(find_in(&[INI, env, models]), set("app/db.py", 3));
        assert_eq!(find_in(&[INI, env, ("app/db.py", "class Base: pass")]), NamingConvention::None);
        assert_eq!(find_in(&[INI, env, ("src/app/db.py", models.1)]), set("src/app/db.py", 3));
    }

    #[test]
    fn no_metadata_no_convention() {
        let models = ("app/db.py", "MetaData(naming_convention=c)");
        for env in [
            "",
            "target_metadata = None\ncontext.configure(target_metadata=target_metadata)",
            "target_metadata: MetaData | None = None",
            "from app import db\ntarget_metadata = [db.metadata, db.other]",
            "# target_metadata = mymodel.Base.metadata\ntarget_metadata = None",
        ] {
            assert_eq!(find_in(&[INI, ("m/env.py", env), models]), NamingConvention::None, "{env}");
        }
        for env in [
            "from app.db import target_metadata\ncontext.configure(target_metadata=target_metadata)",
            "def get_metadata(): ...\ncontext.configure(target_metadata=get_metadata())",
            "context.configure(**{'target_metadata': m})",
        ] {
            assert_eq!(find_in(&[INI, ("m/env.py", env), models]), set("app/db.py", 1), "{env}");
        }
    }

    #[test]
    fn other_peoples_code_does_not_count() {
        let env = ("m/env.py", "from app.db import Base\ntarget_metadata = Base.metadata\n");
        let text = "MetaData(naming_convention=c)";
        for name in [
            "venv/lib/python3/site-packages/x/base.py",
            ".venv/x.py",
            "app/tests/x.py",
            "node_modules/x.py",
            "m/versions/a.py",
            "app/x.txt",
        ] {
            assert_eq!(
                find_in(&[INI, env, ("app/db.py", ""), (name, text)]),
                NamingConvention::None,
                "{name}"
            );
        }
        let custom = [INI, env, ("app/db.py", ""), ("py312/pyvenv.cfg", ""), ("py312/x.py", text)];
        assert_eq!(find_in(&custom), NamingConvention::None);
    }

    #[test]
    fn metadata_from_elsewhere_is_unknown() {
        let unknown = |files: &[(&str, &str)], reason: &str| match find_in(files) {
            NamingConvention::Unknown(text) => assert!(text.contains(reason), "{text}"),
            other => panic!("{other:?}"),
        };
        let company =
            "from company_models.db import (\n    Other,\n    Base as B,\n)\ntarget_metadata = B.metadata\n";
        unknown(&[INI, ("m/env.py", company)], "`company_models.db`");
        unknown(
            &[INI, ("m/env.py", "import models.db\ntarget_metadata = models.db.metadata\n")],
            "`models.db`",
        );
        let env = ("m/env.py", "from app.db import Base\ntarget_metadata = Base.metadata\n");
        unknown(
            &[INI, env, ("app/db.py", "from advanced_alchemy.base import UUIDBase\n")],
            "`advanced_alchemy`",
        );

        let sqlmodel = ("m/env.py", "from sqlmodel import SQLModel\ntarget_metadata = SQLModel.metadata\n");
        assert_eq!(find_in(&[INI, sqlmodel]), NamingConvention::None);
        let relative = ("m/env.py", "from ..db import Base\ntarget_metadata = Base.metadata\n");
        assert_eq!(find_in(&[INI, relative]), NamingConvention::None);
    }

    #[test]
    fn a_listener_names_constraints() {
        let env = ("m/env.py", "from app.db import Base\ntarget_metadata = Base.metadata\n");
        let models = "\
@event.listens_for(PrimaryKeyConstraint, 'after_parent_attach')
def name_it(const, table):
    const.name = table.name + '_PK'

@event.listens_for(UniqueConstraint, 'after_parent_attach')
def name_another(const, table):
    if const.name:
        return
    const.name = table.name + '_UQ'
";
        let listener = NamingConvention::Listener {
            path: "app/db.py".into(),
            line: 2,
            renamed: vec![ConstraintKind::PrimaryKey],
        };
        assert_eq!(find_in(&[INI, env, ("app/db.py", models)]), listener);
    }

    #[test]
    fn without_configuration() {
        assert_eq!(find_in(&[("m/versions/a.py", "op.f(naming_convention=1)")]), NamingConvention::None);
        // The package around the script directory is the project.
        let env = ("m/env.py", "from m.db import Base\ntarget_metadata = Base.metadata\n");
        let files = [
            ("m/__init__.py", ""),
            env,
            ("m/versions/a.py", ""),
            ("m/db.py", "MetaData(naming_convention=c)"),
        ];
        assert_eq!(find_in(&files), set("m/db.py", 1));
        assert_eq!(find_in(&files[..3]), NamingConvention::None);
    }
}
