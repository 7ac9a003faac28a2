//! Does the project's metadata set a naming convention?
//!
//! Alembic applies `target_metadata.naming_convention` to constraints that a migration leaves
//! unnamed, also to the `None` of `op.create_unique_constraint(None, ...)`
//! (`alembic/operations/schemaobj.py`, `SchemaObjects.metadata`). Without a convention PostgreSQL
//! chooses the name, and we know how; with one the name is the project's affair.
//!
//! Metadata is a run-time value. What can be read is the text that sets it: `naming_convention` as
//! a keyword argument, an assignment or a dictionary key, outside of comments and strings, in the
//! project's own sources. No Python is run.

use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use memchr::memmem;
use safemig_transforms::naming::convention::{Convention, Conventions};
use safemig_transforms::python::Module;

use crate::locate::AlembicProject;

const WORD: &str = "naming_convention";
const METADATA: &str = "target_metadata";

/// Directories that hold other people's code, or code that isn't run by migrations.
pub(crate) const FOREIGN: &[&str] = &[
    "venv",
    "env",
    "virtualenv",
    "site-packages",
    "node_modules",
    "__pycache__",
    "tests",
    "test",
    "build",
    "dist",
];

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
    /// There may be one, for this reason. Unnamed constraints must be left alone.
    Unknown(String),
}

/// Searches the sources below `project.root`. Reads files: call it when the first unnamed
/// constraint is met.
pub(crate) fn find(project: &AlembicProject) -> NamingConvention {
    let origin = match &project.env_py {
        Some(env_py) => match fs::read(env_py) {
            Ok(source) => match metadata_origin(&source, project) {
                Some(origin) => origin,
                None => return NamingConvention::None,
            },
            Err(error) => {
                return NamingConvention::Unknown(format!("could not read {}: {error}", env_py.display()));
            }
        },
        // A directory of revisions on its own: nothing here could set a convention.
        None if project.config_path.is_none() && project.root == project.script_location => {
            return NamingConvention::None;
        }
        None => Origin::Project,
    };
    let sources = search(project);
    match (sources.set, sources.doubt, origin) {
        (Some((path, line)), ..) => {
            NamingConvention::Set { path, line, convention: sources.conventions.only() }
        }
        (None, Some(doubt), _) => NamingConvention::Unknown(doubt),
        (None, None, Origin::Elsewhere(module)) => NamingConvention::Unknown(format!(
            "env.py takes its metadata from `{module}`, which is not in the project"
        )),
        (None, None, Origin::Project) => NamingConvention::None,
    }
}

/// Where `target_metadata` comes from.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    Project,
    /// From a module that is neither the project's nor a library that is known to set nothing.
    Elsewhere(String),
}

/// `None`: `env.py` gives Alembic no metadata.
fn metadata_origin(source: &[u8], project: &AlembicProject) -> Option<Origin> {
    let code = code_only(source);
    let imports = imports(&code);
    let import_of = |name: &str| imports.iter().find(|import| import.name == name);
    let mut given = false;
    for at in words(&code, METADATA) {
        let name = match after(&code, at + METADATA.len()) {
            // Alembic asks the object for an attribute `naming_convention`; a list has none.
            Use::Assigned(value) if value.starts_with(b"[") => "None",
            Use::Assigned(value) => identifier(value),
            Use::Other => METADATA, // perhaps `from app.db import target_metadata`
        };
        // `context.configure(target_metadata=target_metadata)` only passes on what was imported or
        // assigned above.
        if name == "None" || (name == METADATA && import_of(METADATA).is_none()) {
            continue;
        }
        given = true;
        if let Some(import) = import_of(name).filter(|import| !is_known(&import.module, project)) {
            return Some(Origin::Elsewhere(import.module.clone()));
        }
    }
    given.then_some(Origin::Project)
}

/// Whether the convention of metadata from `module` can be judged: our search covers the module, or
/// the library is known to set none.
fn is_known(module: &str, project: &AlembicProject) -> bool {
    let top = module.split('.').next().unwrap_or_default();
    if top.is_empty() || WITHOUT.contains(&top) {
        return true; // a relative import, or a library
    }
    let root = &project.root;
    let has = |place: &Path| place.join(top).is_dir() || place.join(format!("{top}.py")).is_file();
    // Without a configuration the root is itself the package that is imported.
    root.file_name().is_some_and(|name| name == top)
        || has(root)
        || has(&root.join("src"))
        || project.script_location.ancestors().take_while(|above| above.starts_with(root)).any(has)
}

/// What the search of the sources found.
#[derive(Default)]
struct Sources {
    /// The first place that sets one.
    set: Option<(PathBuf, usize)>,
    /// Those that can be read.
    conventions: Conventions,
    /// Why finding nothing isn't enough.
    doubt: Option<String>,
}

fn search(project: &AlembicProject) -> Sources {
    let mut result = Sources::default();
    let versions = project.version_locations.clone();
    let mut walk = WalkBuilder::new(&project.root);
    walk.sort_by_file_name(Ord::cmp).filter_entry(move |entry| {
        let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
        !is_directory || entry.depth() == 0 || !is_foreign(entry.path(), &versions)
    });
    let word = memmem::Finder::new(WORD);
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                result.doubt.get_or_insert_with(|| format!("not all sources could be read: {error}"));
                continue;
            }
        };
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "py") || !path.is_file() {
            continue;
        }
        match fs::read(path) {
            Ok(source) => {
                if word.find(&source).is_some()
                    && let Some(line) = setting(&source)
                {
                    result.set.get_or_insert_with(|| (path.to_path_buf(), line));
                    let module = String::from_utf8(source).ok().and_then(|text| Module::parse(text).ok());
                    if let Some(module) = module {
                        result.conventions.extend(Conventions::read(&module));
                    }
                    continue;
                }
                if let Some(library) =
                    WITH.iter().find(|library| memmem::find(&source, library.as_bytes()).is_some())
                {
                    result.doubt.get_or_insert_with(|| {
                        format!(
                            "{} uses `{library}`, which has a naming convention of its own",
                            path.display()
                        )
                    });
                }
            }
            Err(error) => {
                result.doubt.get_or_insert_with(|| format!("could not read {}: {error}", path.display()));
            }
        }
    }
    result
}

fn is_foreign(directory: &Path, versions: &[PathBuf]) -> bool {
    directory.file_name().is_some_and(|name| FOREIGN.iter().any(|foreign| name == *foreign))
        || versions.iter().any(|location| location == directory)
        || directory.join("pyvenv.cfg").is_file()
}

/// The line (from 1) on which `source` sets `naming_convention` to something.
fn setting(source: &[u8]) -> Option<usize> {
    let code = code_only(source);
    words(&code, WORD)
        .find(|&at| match after(&code, at + WORD.len()) {
            Use::Assigned(value) => identifier(value) != "None" && !is_empty_dict(value),
            Use::Other => false,
        })
        .map(|at| memchr::memchr_iter(b'\n', &code[..at]).count() + 1)
}

/// SQLAlchemy treats an empty convention as none.
fn is_empty_dict(value: &[u8]) -> bool {
    value.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"}"))
}

/// What happens to a name.
enum Use<'a> {
    /// It is given a value, whose text begins here.
    Assigned(&'a [u8]),
    Other,
}

/// Looks at what follows a name: ` = value`, `: type = value`, and for names in quotes `": value`,
/// `"] = value`, `", value` (`setattr`).
fn after(code: &[u8], end: usize) -> Use<'_> {
    let rest = code[end..].trim_ascii_start();
    if let Some((b'"' | b'\'', rest)) = rest.split_first() {
        let rest = rest.trim_ascii_start();
        return match rest.split_first() {
            Some((b':' | b',', value)) => Use::Assigned(value.trim_ascii_start()),
            Some((b']', rest)) => assignment(rest.trim_ascii_start()),
            _ => Use::Other,
        };
    }
    match rest.strip_prefix(b":") {
        None => assignment(rest),
        Some(annotated) => {
            let mut depth = 0_usize;
            for (at, byte) in annotated.iter().enumerate() {
                match byte {
                    b'[' => depth += 1,
                    b']' => depth = depth.saturating_sub(1),
                    b'=' => return assignment(&annotated[at..]),
                    b',' | b')' | b'\n' if depth == 0 => break,
                    _ => {}
                }
            }
            Use::Other
        }
    }
}

fn assignment(rest: &[u8]) -> Use<'_> {
    match rest.strip_prefix(b"=") {
        Some(value) if !value.starts_with(b"=") => Use::Assigned(value.trim_ascii_start()),
        _ => Use::Other,
    }
}

/// The identifier that `text` begins with.
fn identifier(text: &[u8]) -> &str {
    let end = text.iter().position(|byte| !is_identifier(*byte)).unwrap_or(text.len());
    std::str::from_utf8(&text[..end]).unwrap_or_default()
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// The offsets of `word` as a whole word.
fn words<'a>(code: &'a [u8], word: &'a str) -> impl Iterator<Item = usize> + 'a {
    memmem::find_iter(code, word).filter(move |&at| {
        let before = at.checked_sub(1).map(|before| code[before]);
        let behind = code.get(at + word.len()).copied();
        !before.is_some_and(is_identifier) && !behind.is_some_and(is_identifier)
    })
}

/// A name that an import binds, and the module that it comes from (empty for relative imports).
struct Import {
    module: String,
    name: String,
}

/// The imports of a file; `code` is without comments and strings.
fn imports(code: &[u8]) -> Vec<Import> {
    let text = String::from_utf8_lossy(code).replace("\\\n", " ");
    let mut imports = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut statement = line.trim().to_owned();
        if statement.starts_with("from ") && statement.contains('(') {
            while !statement.contains(')') {
                let Some(more) = lines.next() else { break };
                statement.push(' ');
                statement.push_str(more);
            }
        }
        // The name that `a.b as c` binds, and `a.b`.
        let bound = |item: &str| -> (String, String) {
            let mut parts = item.split_whitespace();
            let what = parts.next().unwrap_or_default().to_owned();
            let name = parts
                .nth(1)
                .map_or_else(|| what.split('.').next().unwrap_or_default().to_owned(), str::to_owned);
            (name, what)
        };
        if let Some((module, names)) =
            statement.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
        {
            let module = module.trim();
            let module = if module.starts_with('.') { "" } else { module };
            for item in names.split([',', '(', ')', ';']).filter(|item| !item.trim().is_empty()) {
                imports.push(Import { module: module.to_owned(), name: bound(item).0 });
            }
        } else if let Some(names) = statement.strip_prefix("import ") {
            for item in names.split([',', ';']).filter(|item| !item.trim().is_empty()) {
                let (name, module) = bound(item);
                imports.push(Import { module, name });
            }
        }
    }
    imports
}

/// `source` with comments and the insides of strings blanked out, at equal length and with the same
/// lines.
///
/// A string that is nothing but one of the names that we look for stays: `{"naming_convention":
/// ...}`.
fn code_only(source: &[u8]) -> Vec<u8> {
    let mut code = source.to_vec();
    let mut at = 0;
    while at < source.len() {
        match source[at] {
            b'#' => {
                let end = memchr::memchr(b'\n', &source[at..]).map_or(source.len(), |length| at + length);
                code[at..end].fill(b' ');
                at = end;
            }
            quote @ (b'"' | b'\'') => {
                let triple = source[at..].starts_with(&[quote; 3]);
                let delimiter: &[u8] = if triple { &[quote; 3] } else { &[quote] };
                let start = at + delimiter.len();
                let end = end_of_string(source, start, delimiter);
                let inside = &source[start..end];
                if inside != WORD.as_bytes() && inside != METADATA.as_bytes() {
                    code[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                }
                at = end + delimiter.len();
            }
            _ => at += 1,
        }
    }
    code
}

/// Where the string that begins at `start` ends, before its `delimiter`. A backslash protects the
/// next byte, in raw strings too; a string in single quotes ends with its line, should its end be
/// missing.
fn end_of_string(source: &[u8], start: usize, delimiter: &[u8]) -> usize {
    let mut at = start;
    while at < source.len() {
        match source[at] {
            b'\\' => at += 2,
            b'\n' if delimiter.len() == 1 => return at,
            _ if source[at..].starts_with(delimiter) => return at,
            _ => at += 1,
        }
    }
    source.len()
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
        match find(&project) {
            NamingConvention::Set { path, line, convention } => {
                let path = path.strip_prefix(&root).unwrap().to_path_buf();
                NamingConvention::Set { path, line, convention }
            }
            other => other,
        }
    }

    fn set(path: &str, line: usize) -> NamingConvention {
        NamingConvention::Set { path: path.into(), line, convention: None }
    }

    fn line_of(source: &str) -> Option<usize> {
        setting(source.as_bytes())
    }

    #[test]
    fn ways_to_set_it() {
        for source in [
            "MetaData(naming_convention=c)",
            "MetaData(\n    naming_convention = {'ix': 'x'})",
            "Base.metadata.naming_convention = {'ix': 'x'}",
            "naming_convention: dict[str, str] = {\n}\nnaming_convention = {'ix': 'x'}",
            "MetaData(**{'naming_convention': c})",
            "kwargs[\"naming_convention\"] = c",
            "setattr(metadata, 'naming_convention', c)",
            "naming_convention: t.Mapping[str, str] = c",
            "x = 'it\\'s'; m = MetaData(naming_convention=c)",
            "x = r'\\\\'; y = '#'; m = MetaData(naming_convention=c)  # naming",
        ] {
            assert!(line_of(source).is_some(), "{source}");
        }
        assert_eq!(
            line_of("\n# naming_convention = x\n'''\nnaming_convention = x\n'''\nnaming_convention = x\n"),
            Some(6)
        );
    }

    #[test]
    fn ways_not_to_set_it() {
        for source in [
            "# naming_convention = c",
            "'naming_convention = c'",
            "\"\"\"\nnaming_convention = c\n\"\"\"",
            "MetaData(naming_convention=None)",
            "MetaData(naming_convention={ })",
            "if metadata.naming_convention == c: pass",
            "print(metadata.naming_convention)",
            "my_naming_convention = c",
            "naming_convention_x = c",
            "def f(naming_convention: dict, x=1): pass",
            "def f(naming_convention: dict | None = None): pass",
            "'unfinished\n",
            "'\\",
        ] {
            assert_eq!(line_of(source), None, "{source}");
        }
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
