//! Which versions of Alembic and SQLAlchemy a project uses.
//!
//! What a migration may say depends on them (`if_not_exists=` needs Alembic 1.16, and older ones
//! ignore it silently), so a wrong guess writes a migration that fails. Every answer is therefore a
//! *floor*: when files disagree, the oldest version counts. Python is never run.
//!
//! In order, the first that knows:
//!
//! 1. safemig's configuration;
//! 2. lock files: `uv.lock`, `poetry.lock`, `pdm.lock`, `pylock.toml`, `Pipfile.lock`;
//! 3. exact pins, then lower bounds, in `requirements*.txt` and `requirements/*.txt`;
//! 4. pins and lower bounds in `pyproject.toml`;
//! 5. an installed environment: `$VIRTUAL_ENV` (or the one whose `alembic` is on the `PATH`), `.venv`, `venv`.
//!
//! Each is looked for in the project's directory and upward to the root of the repository (a
//! workspace has one lock file at its top), the nearest first.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::{Requirement, VerbatimUrl, VersionOrUrl};

/// A version that was found, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Major, minor, patch; what isn't said is 0. Pre-release and local parts are left out.
    pub(crate) version: (u32, u32, u32),
    /// Whether this very version is used. Otherwise it is the lowest that may be.
    pub(crate) exact: bool,
    /// Where it stands, as `--show-settings` shows it: a path, or the name of a setting.
    pub(crate) source: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        let or_newer = if self.exact { "" } else { " or newer" };
        write!(f, "{major}.{minor}.{patch}{or_newer} ({})", self.source)
    }
}

/// The two versions that matter; `None`: nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) alembic: Option<Found>,
    pub(crate) sqlalchemy: Option<Found>,
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    /// The project's directory, [`crate::locate::AlembicProject::root`].
    pub(crate) root: &'a Path,
    /// The active environment: `VIRTUAL_ENV`, or the one whose `alembic` is on the `PATH`.
    pub(crate) virtual_env: Option<&'a Path>,
    /// `alembic-version` of the configuration.
    pub(crate) alembic_version: Option<&'a str>,
    /// `sqlalchemy-version` of the configuration.
    pub(crate) sqlalchemy_version: Option<&'a str>,
}

/// Finds the versions. A file that can't be read or parsed knows nothing; it is `uv`'s or `pip`'s
/// to complain.
pub(crate) fn find(places: &Places<'_>) -> Versions {
    let levels = levels(places.root);
    let one = |package, setting: Option<&str>, name| {
        setting
            .and_then(|text| configured(text, name))
            .or_else(|| search(&Package(package), &levels, places.virtual_env))
    };
    Versions {
        alembic: one("alembic", places.alembic_version, "alembic-version"),
        sqlalchemy: one("sqlalchemy", places.sqlalchemy_version, "sqlalchemy-version"),
    }
}

/// A setting of the form `1.16` means any 1.16; only a full `1.16.3` is exact.
fn configured(text: &str, setting: &str) -> Option<Found> {
    let version = Version::from_str(text).ok()?;
    Some(Found { version: triple(&version), exact: version.release().len() >= 3, source: setting.to_owned() })
}

/// The directories to look into: `root` and those above it, up to the one that holds the
/// repository.
pub(crate) fn levels(root: &Path) -> Vec<&Path> {
    let mut levels: Vec<&Path> = root.ancestors().collect();
    let top = levels.iter().position(|level| level.join(".git").exists());
    // Not in a repository: what lies above the project is somebody else's.
    levels.truncate(top.unwrap_or(0) + 1);
    levels
}

fn search(package: &Package, levels: &[&Path], virtual_env: Option<&Path>) -> Option<Found> {
    let nearest = |look: &dyn Fn(&Path) -> Option<Found>| levels.iter().find_map(|level| look(level));
    nearest(&|level| package.in_lock_files(level))
        .or_else(|| nearest(&|level| package.in_requirements(level).filter(|found| found.exact)))
        .or_else(|| nearest(&|level| package.in_requirements(level)))
        .or_else(|| nearest(&|level| package.in_pyproject(level)))
        .or_else(|| virtual_env.and_then(|environment| package.in_environment(environment)))
        .or_else(|| {
            nearest(&|level| {
                [".venv", "venv"].iter().find_map(|name| package.in_environment(&level.join(name)))
            })
        })
}

/// A floor, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Floor {
    version: Version,
    exact: bool,
}

impl Floor {
    fn exact(version: &str) -> Option<Self> {
        Some(Self { version: Version::from_str(version).ok()?, exact: true })
    }

    /// The lowest version that meets all of `specifiers`, if they name one.
    fn of(specifiers: &VersionSpecifiers) -> Option<Self> {
        let floor = |specifier: &VersionSpecifier| match specifier.operator() {
            Operator::Equal | Operator::ExactEqual => Some((specifier.version().clone(), true)),
            Operator::EqualStar
            | Operator::TildeEqual
            | Operator::GreaterThan
            | Operator::GreaterThanEqual => Some((specifier.version().clone(), false)),
            // `<2` and `!=1.13.0` say nothing about the lowest version.
            _ => None,
        };
        specifiers.iter().filter_map(floor).max().map(|(version, exact)| Self { version, exact })
    }

    fn at(self, path: &Path) -> Found {
        Found { version: triple(&self.version), exact: self.exact, source: path.display().to_string() }
    }
}

/// The oldest: what works there works with all. Two files with different pins are no exact answer.
fn lowest(floors: impl IntoIterator<Item = (PathBuf, Floor)>) -> Option<Found> {
    let mut floors: Vec<(PathBuf, Floor)> = floors.into_iter().collect();
    floors.sort_by(|a, b| a.1.version.cmp(&b.1.version).then_with(|| a.0.cmp(&b.0)));
    let agreed = floors.first().map(|(_, first)| floors.iter().all(|(_, other)| other == first))?;
    let (path, floor) = floors.into_iter().next()?;
    Some(Floor { exact: floor.exact && agreed, ..floor }.at(&path))
}

fn triple(version: &Version) -> (u32, u32, u32) {
    let part = |index: usize| {
        version.release().get(index).map_or(0, |part| u32::try_from(*part).unwrap_or(u32::MAX))
    };
    (part(0), part(1), part(2))
}

/// A package by its normalised name: lower case, with `-` for `_` and `.`.
struct Package(&'static str);

impl Package {
    fn is(&self, name: &str) -> bool {
        name.to_lowercase().replace(['_', '.'], "-") == self.0
    }

    fn in_lock_files(&self, directory: &Path) -> Option<Found> {
        ["uv.lock", "poetry.lock", "pdm.lock", "pylock.toml"]
            .iter()
            .find_map(|name| {
                let path = directory.join(name);
                let document = read_toml(&path)?;
                lowest(self.locked(&document).into_iter().map(|floor| (path.clone(), floor)))
            })
            .or_else(|| self.in_pipfile_lock(&directory.join("Pipfile.lock")))
    }

    /// `[[package]]` tables (`[[packages]]` in PEP 751's `pylock.toml`) with `name` and `version`.
    /// One package has several if the version depends on that of Python.
    fn locked(&self, document: &toml::Table) -> Vec<Floor> {
        ["package", "packages"]
            .iter()
            .filter_map(|key| document.get(*key)?.as_array())
            .flatten()
            .filter(|package| {
                package.get("name").and_then(toml::Value::as_str).is_some_and(|name| self.is(name))
            })
            .filter_map(|package| Floor::exact(package.get("version")?.as_str()?))
            .collect()
    }

    fn in_pipfile_lock(&self, path: &Path) -> Option<Found> {
        let document: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let pinned = |group: &str| {
            let (_, package) = document.get(group)?.as_object()?.iter().find(|(name, _)| self.is(name))?;
            Floor::of(&VersionSpecifiers::from_str(package.get("version")?.as_str()?).ok()?)
        };
        pinned("default").or_else(|| pinned("develop")).map(|floor| floor.at(path))
    }

    /// Exact pins count before lower bounds: `requirements.txt` compiled from a loose
    /// `requirements.in.txt`.
    fn in_requirements(&self, directory: &Path) -> Option<Found> {
        let mut paths = text_files(directory, "requirements");
        paths.extend(text_files(&directory.join("requirements"), ""));
        let floors: Vec<(PathBuf, Floor)> = paths
            .into_iter()
            .filter_map(|path| {
                let text = String::from_utf8_lossy(&fs::read(&path).ok()?).into_owned();
                Some(self.required(&text).into_iter().map(move |floor| (path.clone(), floor)))
            })
            .flatten()
            .collect();
        let exact: Vec<(PathBuf, Floor)> = floors.iter().filter(|(_, floor)| floor.exact).cloned().collect();
        lowest(if exact.is_empty() { floors } else { exact })
    }

    /// The floors in the text of a requirements file. `-r other.txt` needs no following: all files
    /// are read.
    fn required(&self, text: &str) -> Vec<Floor> {
        text.replace("\\\r\n", " ")
            .replace("\\\n", " ")
            .lines()
            .filter_map(|line| {
                // pip's own: comments after a blank, and options such as `--hash=...`, of which PEP
                // 508 knows nothing.
                let line = line.split(" #").next()?.split(" --").next()?.trim();
                if line.starts_with(['#', '-']) { None } else { self.requirement(line) }
            })
            .collect()
    }

    /// The floor in `alembic[tz]>=1.13,<2; python_version>"3.9"`, if that is about this package.
    fn requirement(&self, text: &str) -> Option<Floor> {
        // Parsing all of a long file would cost more than it tells.
        if !text.get(..self.0.len())?.eq_ignore_ascii_case(self.0) {
            return None;
        }
        let requirement = Requirement::<VerbatimUrl>::from_str(text).ok()?;
        match requirement.version_or_url? {
            VersionOrUrl::VersionSpecifier(specifiers) if self.is(requirement.name.as_ref()) => {
                Floor::of(&specifiers)
            }
            _ => None,
        }
    }

    fn in_pyproject(&self, directory: &Path) -> Option<Found> {
        let path = directory.join("pyproject.toml");
        let document = read_toml(&path)?;
        let mut floors = Vec::new();
        self.collect(document.get("project").and_then(|project| project.get("dependencies")), &mut floors);
        self.collect(
            document.get("project").and_then(|project| project.get("optional-dependencies")),
            &mut floors,
        );
        self.collect(document.get("dependency-groups"), &mut floors);
        if let Some(tool) = document.get("tool") {
            for (name, key) in [("uv", "dev-dependencies"), ("pdm", "dev-dependencies")] {
                self.collect(tool.get(name).and_then(|tool| tool.get(key)), &mut floors);
            }
            if let Some(poetry) = tool.get("poetry") {
                self.collect_poetry(poetry, &mut floors);
            }
        }
        lowest(floors.into_iter().map(|floor| (path.clone(), floor)))
    }

    /// A list of requirements, or a table of such lists.
    fn collect(&self, value: Option<&toml::Value>, floors: &mut Vec<Floor>) {
        match value {
            Some(toml::Value::Array(items)) => {
                floors.extend(
                    items.iter().filter_map(toml::Value::as_str).filter_map(|text| self.requirement(text)),
                );
            }
            Some(toml::Value::Table(groups)) => {
                groups.values().for_each(|group| self.collect(Some(group), floors));
            }
            _ => {}
        }
    }

    /// Poetry's tables `name = constraint`.
    fn collect_poetry(&self, poetry: &toml::Value, floors: &mut Vec<Floor>) {
        let groups = poetry.get("group").and_then(toml::Value::as_table);
        let tables = [poetry.get("dependencies"), poetry.get("dev-dependencies")];
        let grouped =
            groups.into_iter().flat_map(|groups| groups.values().map(|group| group.get("dependencies")));
        for table in tables.into_iter().chain(grouped).flatten().filter_map(toml::Value::as_table) {
            for (_, constraint) in table.iter().filter(|(name, _)| self.is(name)) {
                // One constraint, or several that depend on Python's version; each a text or a
                // table with `version`.
                let alternatives =
                    constraint.as_array().map_or(std::slice::from_ref(constraint), Vec::as_slice);
                let text = |one: &toml::Value| {
                    one.as_str().or_else(|| one.get("version")?.as_str()).map(str::to_owned)
                };
                floors.extend(alternatives.iter().filter_map(text).filter_map(|text| poetry_floor(&text)));
            }
        }
    }

    /// The version of the installed distribution, from the name of its metadata directory
    /// (`alembic-1.16.4.dist-info`).
    fn in_environment(&self, environment: &Path) -> Option<Found> {
        let mut found = Vec::new();
        for library in ["lib", "lib64", "Lib"].map(|name| environment.join(name)) {
            let mut places = vec![library.join("site-packages")]; // Windows
            places.extend(
                directory_names(&library).iter().map(|name| library.join(name).join("site-packages")),
            );
            for site_packages in places {
                for name in directory_names(&site_packages) {
                    let parts = name.strip_suffix(".dist-info").and_then(|stem| stem.rsplit_once('-'));
                    if let Some((_, version)) = parts.filter(|(package, _)| self.is(package))
                        && let Some(floor) = Floor::exact(version)
                    {
                        found.push((site_packages.join(&name), floor));
                    }
                }
            }
        }
        lowest(found)
    }
}

/// Poetry's own operators: `^1.13`, `~1.13`, `1.13.*` and `*` next to PEP 440's; a bare `1.13.1` is
/// exact, and `||` separates alternatives.
fn poetry_floor(text: &str) -> Option<Floor> {
    let alternative = |text: &str| {
        let parts = text.split([',', ' ']).map(str::trim).filter(|part| !part.is_empty() && *part != "*");
        let mut specifiers = Vec::new();
        let mut operator = String::new();
        for part in parts {
            // `>= 1.13`: the blank belongs to the constraint.
            if part.chars().all(|c| "<>=!~^".contains(c)) {
                operator.push_str(part);
                continue;
            }
            let part = std::mem::take(&mut operator) + part;
            let caret = part
                .strip_prefix('^')
                .or_else(|| part.strip_prefix('~').filter(|rest| !rest.starts_with('=')));
            let specifier = match caret {
                Some(version) => format!(">={}", version.trim()),
                None if part.starts_with(|c: char| c.is_ascii_digit()) => format!("=={part}"),
                None => part,
            };
            specifiers.push(VersionSpecifier::from_str(&specifier).ok()?);
        }
        Floor::of(&VersionSpecifiers::from_iter(specifiers))
    };
    // An alternative without a floor (`*`) leaves the whole without one.
    let floors: Option<Vec<Floor>> = text.split("||").map(alternative).collect();
    floors?.into_iter().min_by(|a, b| a.version.cmp(&b.version))
}

/// The `.txt` files in `directory` whose names start with `prefix`, sorted.
fn text_files(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    directory_names(directory)
        .into_iter()
        .filter(|name| {
            name.starts_with(prefix)
                && Path::new(name).extension().is_some_and(|extension| extension == "txt")
        })
        .map(|name| directory.join(name))
        .filter(|path| path.is_file())
        .collect()
}

/// The names in `directory`, sorted; none if there is no such directory.
fn directory_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn read_toml(path: &Path) -> Option<toml::Table> {
    fs::read_to_string(path).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, root)
    }

    fn places(root: &Path) -> Places<'_> {
        Places { root, virtual_env: None, alembic_version: None, sqlalchemy_version: None }
    }

    /// `1.2.3 exact file` for Alembic in a project of the given files.
    fn alembic(files: &[(&str, &str)]) -> Option<String> {
        let (_dir, root) = tree(files);
        let found = find(&places(&root)).alembic?;
        let (major, minor, patch) = found.version;
        let source = Path::new(&found.source).strip_prefix(&root).unwrap().display().to_string();
        Some(format!("{major}.{minor}.{patch} {} {source}", if found.exact { "exact" } else { "floor" }))
    }

    #[test]
    fn nothing_known() {
        assert_eq!(alembic(&[]), None);
        assert_eq!(
            alembic(&[
                ("requirements.txt", "alembic\nflask==1.0\nalembic-utils==0.8\n"),
                ("uv.lock", "broken = [")
            ]),
            None
        );
    }

    #[test]
    fn lock_files() {
        let package = "[[package]]\nname = \"alembic\"\nversion = \"1.13.2\"\n\n[[package]]\nname = \"SQLAlchemy\"\nversion = \"2.0.31\"\n";
        for name in ["uv.lock", "poetry.lock", "pdm.lock"] {
            assert_eq!(alembic(&[(name, package)]).unwrap(), format!("1.13.2 exact {name}"));
        }
        let (_dir, root) = tree(&[("uv.lock", package)]);
        assert_eq!(find(&places(&root)).sqlalchemy.unwrap().version, (2, 0, 31));
        assert_eq!(
            alembic(&[("pylock.toml", "[[packages]]\nname = \"alembic\"\nversion = \"1.13.2\"\n")]).unwrap(),
            "1.13.2 exact pylock.toml"
        );
        let pipfile = r#"{"default": {"alembic": {"version": "==1.12.0"}}, "develop": {"alembic": {"version": "==1.13.0"}}}"#;
        assert_eq!(alembic(&[("Pipfile.lock", pipfile)]).unwrap(), "1.12.0 exact Pipfile.lock");
    }

    #[test]
    fn two_locked_versions_are_a_floor() {
        let package = |version: &str| format!("[[package]]\nname = \"alembic\"\nversion = \"{version}\"\n");
        let lock = package("1.16.4") + &package("1.14.1");
        assert_eq!(alembic(&[("uv.lock", &lock)]).unwrap(), "1.14.1 floor uv.lock");
    }

    #[test]
    fn requirements() {
        for (line, expected) in [
            ("alembic==1.13.1", "1.13.1 exact"),
            ("Alembic == 1.13.1  # pinned", "1.13.1 exact"),
            ("alembic===1.13.1", "1.13.1 exact"),
            ("alembic==1.13.1 ; python_version >= '3.9' --hash=sha256:00", "1.13.1 exact"),
            ("alembic==1.13.1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11", "1.13.1 exact"),
            ("alembic[tz]>=1.12,<2", "1.12.0 floor"),
            ("alembic~=1.12", "1.12.0 floor"),
            ("alembic==1.12.*", "1.12.0 floor"),
            ("alembic>=1.10,!=1.11.0,>1.10.2", "1.10.2 floor"),
            ("alembic==1.13.0rc1", "1.13.0 exact"),
        ] {
            let text = format!("# alembic==9.9\n-r other.txt\n{line}\n");
            assert_eq!(
                alembic(&[("requirements.txt", &text)]).as_deref(),
                Some(format!("{expected} requirements.txt").as_str()),
                "{line}"
            );
        }
        for line in [
            "alembic<2",
            "alembic @ git+https://example.invalid/alembic@main",
            "alembic_utils==1.0",
            "alembic===",
        ] {
            assert_eq!(alembic(&[("requirements.txt", line)]), None, "{line}");
        }
    }

    #[test]
    fn pins_before_bounds_and_the_oldest_pin() {
        let files = [("requirements-dev.txt", "alembic>=1.10"), ("requirements/base.txt", "alembic==1.13.1")];
        assert_eq!(alembic(&files).unwrap(), "1.13.1 exact requirements/base.txt");
        let files =
            [("requirements-dev.txt", "alembic==1.14.0"), ("requirements/base.txt", "alembic==1.13.1")];
        assert_eq!(alembic(&files).unwrap(), "1.13.1 floor requirements/base.txt");
    }

    #[test]
    fn pyproject() {
        for (text, expected) in [
            ("[project]\ndependencies = [\"alembic>=1.13\"]", "1.13.0 floor"),
            ("[project.optional-dependencies]\ndb = [\"alembic==1.13.1\"]", "1.13.1 exact"),
            ("[dependency-groups]\ndev = [{include-group = \"x\"}, \"alembic>=1.12\"]", "1.12.0 floor"),
            ("[tool.uv]\ndev-dependencies = [\"alembic>=1.12\"]", "1.12.0 floor"),
            ("[tool.pdm.dev-dependencies]\ndb = [\"alembic>=1.12\"]", "1.12.0 floor"),
            ("[tool.poetry.dependencies]\nalembic = \"^1.13\"", "1.13.0 floor"),
            (
                "[tool.poetry.dependencies]\nAlembic = {version = \"~1.13.2\", extras = [\"tz\"]}",
                "1.13.2 floor",
            ),
            ("[tool.poetry.group.db.dependencies]\nalembic = \"1.13.1\"", "1.13.1 exact"),
            ("[tool.poetry.dev-dependencies]\nalembic = \">= 1.9, <2\"", "1.9.0 floor"),
            ("[tool.poetry.dependencies]\nalembic = \"1.9.*\"", "1.9.0 floor"),
            (
                "[tool.poetry.dependencies]\nalembic = [{version = \"^1.8\", python = \"<3.8\"}, {version = \"^1.9\", python = \">=3.8\"}]",
                "1.8.0 floor",
            ),
            ("[tool.poetry.dependencies]\nalembic = \"^1.13 || ^1.8\"", "1.8.0 floor"),
        ] {
            assert_eq!(
                alembic(&[("pyproject.toml", text)]).as_deref(),
                Some(format!("{expected} pyproject.toml").as_str()),
                "{text}"
            );
        }
        for text in [
            "[tool.poetry.dependencies]\nalembic = \"*\"",
            "[tool.poetry.dependencies]\nalembic = {git = \"x\"}",
            "[tool.poetry.dependencies]\nalembic = \"nonsense\"",
        ] {
            assert_eq!(alembic(&[("pyproject.toml", text)]), None, "{text}");
        }
    }

    #[test]
    fn installed() {
        let metadata = ".venv/lib/python3.12/site-packages/alembic-1.13.1.dist-info/METADATA";
        let directory = ".venv/lib/python3.12/site-packages/alembic-1.13.1.dist-info";
        assert_eq!(alembic(&[(metadata, "")]).unwrap(), format!("1.13.1 exact {directory}"));
        // A floor that the project states is true everywhere, what is installed here only here.
        let files = [(metadata, ""), ("pyproject.toml", "[project]\ndependencies = [\"alembic>=1.9\"]")];
        assert_eq!(alembic(&files).unwrap(), "1.9.0 floor pyproject.toml");

        let (_dir, root) =
            tree(&[("env/Lib/site-packages/SQLAlchemy-1.4.54.dist-info/METADATA", ""), ("p/x", "")]);
        let environment = root.join("env");
        let found = find(&Places { virtual_env: Some(&environment), ..places(&root.join("p")) });
        assert_eq!(found.sqlalchemy.unwrap().version, (1, 4, 54));
    }

    #[test]
    fn configuration_goes_first() {
        let (_dir, root) = tree(&[("requirements.txt", "alembic==1.13.1")]);
        let at = |text| find(&Places { alembic_version: Some(text), ..places(&root) }).alembic.unwrap();
        assert_eq!(at("1.16").to_string(), "1.16.0 or newer (alembic-version)");
        assert_eq!(at("1.16.2").to_string(), "1.16.2 (alembic-version)");
    }

    #[test]
    fn a_workspace_keeps_its_lock_file_at_the_top_of_the_repository() {
        let lock = "[[package]]\nname = \"alembic\"\nversion = \"1.13.2\"\n";
        let files = [
            ("uv.lock", lock),
            ("repo/.git/HEAD", ""),
            ("repo/uv.lock", &lock.replace("1.13.2", "1.14.0")),
            ("repo/packages/api/pyproject.toml", "[project]\ndependencies = [\"alembic>=1.9\"]"),
        ];
        let (_dir, root) = tree(&files);
        assert_eq!(find(&places(&root.join("repo/packages/api"))).alembic.unwrap().version, (1, 14, 0));
        // Outside of a repository nothing above the project counts.
        let (_dir, root) = tree(&[("uv.lock", lock), ("p/x", "")]);
        assert_eq!(find(&places(&root.join("p"))).alembic, None);
    }
}
