//! Finds the script directories of a project the way Alembic does.
//!
//! The rules are those of Alembic 1.20.1: `alembic/config.py` (`Config.get_alembic_option`,
//! `get_version_locations_list`, `get_prepend_sys_paths_list`, `CommandLine._inis_from_config`),
//! `alembic/script/base.py` (`ScriptDirectory.from_config`) and `alembic/util/pyfiles.py`
//! (`coerce_resource_to_filename`); for Flask-Migrate 4.1.0, `Migrate.get_config`. Two things
//! differ, because safemig is also run by editors and hooks from anywhere in a project:
//!
//! - configuration is searched upward from the working directory, where Alembic only looks into it;
//! - a relative path is tried against the directory of the configuration file as well as the
//!   working directory.
//!
//! Nothing is imported and no Python is run: the package form `pkg:dir` is looked up in the
//! project's own directories.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use configparser::ini::Ini;

use crate::walk::absolute;

/// The section of `alembic.ini` that Alembic reads without `-n`.
const DEFAULT_SECTION: &str = "alembic";

/// Where one Alembic environment keeps its things. All paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AlembicProject {
    /// The file that holds the settings: `alembic.ini`, or `pyproject.toml` when `script_location`
    /// stands there. `None`: found without any configuration.
    pub(crate) config_path: Option<PathBuf>,
    /// The section of the ini file (`-n`); `alembic` unless told otherwise. `[tool.alembic]` has no
    /// sections.
    pub(crate) section: String,
    /// The directory of `env.py`.
    pub(crate) script_location: PathBuf,
    /// `env.py`, if there is one.
    pub(crate) env_py: Option<PathBuf>,
    /// The directories of revision files, in Alembic's order. They need not exist.
    pub(crate) version_locations: Vec<PathBuf>,
    /// `recursive_version_locations`: Alembic reads the directories below the version locations
    /// too.
    pub(crate) recursive: bool,
    /// Whether nothing says that the revisions are in Alembic's default directory alone: some
    /// applications name the directories below it when they run Alembic. Which of these belong
    /// together, only the revisions can tell.
    pub(crate) open: bool,
    /// `file_template`, with `%%` already read as `%`. `None`: Alembic's default,
    /// `%(rev)s_%(slug)s`.
    pub(crate) file_template: Option<String>,
    /// The project's own directory: that of the configuration file (for Flask-Migrate, whose
    /// `alembic.ini` is inside the script directory, the one above); without configuration the
    /// topmost package around the script directory.
    pub(crate) root: PathBuf,
    /// What the project's own sources stand below: the outermost package around the root when that is a package
    /// itself, as where `alembic.ini` is shipped with an application, else the root.
    pub(crate) source_root: PathBuf,
    /// Where migrations can import the project's own modules from, as far as the configuration says:
    /// `prepend_sys_path`, the place of the package in `script_location = package:directory`, and for
    /// Flask-Migrate, whose `flask` does that, the root.
    pub(crate) import_roots: Vec<PathBuf>,
    /// Configuration that was looked at and passed over, with the reason; to be shown, not to be
    /// acted on.
    pub(crate) notes: Vec<String>,
}

impl AlembicProject {
    /// A directory of revision files about which nothing else is known.
    pub(crate) fn bare(directory: &Path) -> Self {
        let root = topmost_package(directory).unwrap_or_else(|| directory.to_path_buf());
        Self {
            config_path: None,
            section: DEFAULT_SECTION.to_owned(),
            script_location: directory.to_path_buf(),
            env_py: None,
            version_locations: vec![directory.to_path_buf()],
            recursive: false,
            open: false,
            file_template: None,
            source_root: root.clone(),
            root,
            import_roots: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether Alembic would look for revisions in `directory`.
    pub(crate) fn reads(&self, directory: &Path) -> bool {
        let directory = real(directory);
        self.version_locations
            .iter()
            .map(|location| real(location))
            .any(|location| directory == location || (self.recursive && directory.starts_with(&location)))
    }

    /// Whether `directory` is below the default version location, which Alembic doesn't read by itself.
    fn may_read(&self, directory: &Path) -> bool {
        let directory = real(directory);
        self.open && self.version_locations.iter().any(|location| directory.starts_with(real(location)))
    }

    /// Whether a version location or the script directory is `directory` or below it.
    fn is_below(&self, directory: &Path) -> bool {
        let directory = real(directory);
        self.version_locations
            .iter()
            .chain([&self.script_location])
            .any(|path| real(path).starts_with(&directory))
    }
}

/// What the user said about Alembic's configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Where searching starts; absolute.
    pub(crate) working_directory: &'a Path,
    /// `-c PATH` or the environment variable `ALEMBIC_CONFIG`. A file of the name `pyproject.toml`
    /// is read as such, any other as an ini file.
    pub(crate) config: Option<&'a Path>,
    /// `-n SECTION`.
    pub(crate) section: Option<&'a str>,
}

impl Request<'_> {
    fn section(&self) -> &str {
        self.section.unwrap_or(DEFAULT_SECTION)
    }

    /// The project of `-c`, if that was given.
    fn explicit(&self) -> Option<Result<AlembicProject>> {
        let config = absolute(self.config?, self.working_directory);
        Some(Files::named(config, self.working_directory).and_then(|files| files.project(self.section())))
    }
}

/// The project that the working directory is in; `None` when no directory up to the root has a
/// configuration.
///
/// # Errors
/// The configuration can't be read, or names a script directory that doesn't exist.
pub(crate) fn discover(request: &Request<'_>) -> Result<Option<AlembicProject>> {
    if let Some(explicit) = request.explicit() {
        return explicit.map(Some);
    }
    for directory in request.working_directory.ancestors() {
        if let Some(files) = Files::of_directory(directory, request.working_directory)? {
            return files.project(request.section()).map(Some);
        }
    }
    Ok(None)
}

/// The project that reads the revision file or directory `path`.
///
/// The first that fits, from `path` upward: a configuration whose version locations hold `path` (in
/// any of its sections, unless `-n` names one); one that names no version locations, if `path` is below
/// the default one; a script directory, that is one with an `env.py`; else the directory itself is all
/// there is. A directory above the version locations, such as the
/// project's root, also stands for the project.
///
/// # Errors
/// Only what was asked for by name: `-c PATH`. Other configuration that can't be read is noted in
/// [`AlembicProject::notes`].
pub(crate) fn for_path(path: &Path, request: &Request<'_>) -> Result<AlembicProject> {
    let path = absolute(path, request.working_directory);
    let is_directory = path.is_dir();
    let directory = if is_directory { path.as_path() } else { path.parent().unwrap_or(&path) };
    let fits =
        |project: &AlembicProject| project.reads(directory) || (is_directory && project.is_below(directory));

    let mut notes = Vec::new();
    let mut around = None;
    if let Some(explicit) = request.explicit() {
        let project = explicit?;
        if fits(&project) || project.may_read(directory) {
            return Ok(project);
        }
        if let Some(config) = &project.config_path {
            notes.push(format!("{}: no version location holds {}", config.display(), path.display()));
        }
    } else {
        for above in directory.ancestors() {
            let files = match Files::of_directory(above, request.working_directory) {
                Ok(Some(files)) => files,
                Ok(None) => continue,
                Err(error) => {
                    notes.push(format!("{error:#}"));
                    continue;
                }
            };
            let sections = request.section.map_or_else(|| files.sections(), |one| vec![one.to_owned()]);
            for section in sections {
                match files.project(&section) {
                    Ok(project) if fits(&project) => {
                        return Ok(AlembicProject { notes, ..project });
                    }
                    Ok(project) if around.is_none() && project.may_read(directory) => around = Some(project),
                    Ok(_) => {}
                    Err(error) => notes.push(format!("{error:#}")),
                }
            }
        }
    }
    let project = around.unwrap_or_else(|| without_configuration(directory));
    Ok(AlembicProject { notes, ..project })
}

/// Sorts `files` by project: one history has to be read for each.
///
/// The order of the projects is that of their first file. See [`for_path`] for the errors.
///
/// # Errors
/// See [`for_path`].
pub(crate) fn group(files: &[PathBuf], request: &Request<'_>) -> Result<Vec<(AlembicProject, Vec<PathBuf>)>> {
    let mut groups: Vec<(AlembicProject, Vec<PathBuf>)> = Vec::new();
    let mut by_directory: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in files {
        let directory = file.parent().unwrap_or(file);
        let index = if let Some(&known) = by_directory.get(directory) {
            known
        } else {
            let project = for_path(file, request)?;
            let known = groups.iter().position(|(other, _)| *other == project);
            known.unwrap_or_else(|| {
                groups.push((project, Vec::new()));
                groups.len() - 1
            })
        };
        by_directory.insert(directory, index);
        groups[index].1.push(file.clone());
    }
    Ok(groups)
}

/// The project of a directory of revision files for which no configuration was found.
fn without_configuration(directory: &Path) -> AlembicProject {
    let Some(script_location) = directory.ancestors().find(|above| above.join("env.py").is_file()) else {
        return AlembicProject::bare(directory);
    };
    let versions = script_location.join("versions");
    let open = directory.starts_with(&versions) || directory == script_location;
    let location = if open { versions } else { directory.to_path_buf() };
    let root = topmost_package(script_location).unwrap_or_else(|| script_location.to_path_buf());
    AlembicProject {
        source_root: root.clone(),
        root,
        script_location: script_location.to_path_buf(),
        env_py: Some(script_location.join("env.py")),
        version_locations: vec![location],
        open,
        ..AlembicProject::bare(directory)
    }
}

/// The outermost of the nested Python packages of which `root` is one, else the root.
fn source_root(root: &Path) -> PathBuf {
    topmost_package(root).filter(|_| is_package(root)).unwrap_or_else(|| root.to_path_buf())
}

/// The outermost of the nested Python packages that `directory` is, or is in.
fn topmost_package(directory: &Path) -> Option<PathBuf> {
    directory
        .ancestors()
        .skip_while(|above| *above == directory && !is_package(above))
        .take_while(|above| is_package(above))
        .last()
        .map(Path::to_path_buf)
}

fn is_package(directory: &Path) -> bool {
    directory.join("__init__.py").is_file()
}

/// `path` without symbolic links, or as it is if it doesn't exist.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The one or two files that hold Alembic's settings. The ini file goes before `pyproject.toml`,
/// setting by setting.
#[derive(Debug)]
struct Files {
    ini: Option<IniFile>,
    toml: Option<TomlFile>,
    /// What relative paths are tried against, best first.
    bases: Vec<PathBuf>,
}

impl Files {
    /// What `-c` names. The other of the two files is looked for in the working directory, as
    /// Alembic does.
    fn named(config: PathBuf, working_directory: &Path) -> Result<Self> {
        let bases =
            bases(&[Some(working_directory), config.parent(), config.parent().and_then(Path::parent)]);
        if config.file_name().is_some_and(|name| name == "pyproject.toml") {
            let ini = working_directory.join("alembic.ini");
            let ini = if ini.is_file() { Some(IniFile::read(ini)?) } else { None };
            return Ok(Self { ini, toml: Some(TomlFile::read(&config)?), bases });
        }
        let toml = TomlFile::read_if_alembic(working_directory.join("pyproject.toml"))?;
        Ok(Self { ini: Some(IniFile::read(config)?), toml, bases })
    }

    /// The configuration in `directory` itself, or Flask-Migrate's in `migrations` below it.
    fn of_directory(directory: &Path, working_directory: &Path) -> Result<Option<Self>> {
        let ini = directory.join("alembic.ini");
        let ini = if ini.is_file() { Some(IniFile::read(ini)?) } else { None };
        let toml = TomlFile::read_if_alembic(directory.join("pyproject.toml"))?;
        if ini.is_some() || toml.is_some() {
            let bases = bases(&[Some(directory), Some(working_directory), directory.parent()]);
            return Ok(Some(Self { ini, toml, bases }));
        }
        let migrations = directory.join("migrations");
        let ini = migrations.join("alembic.ini");
        if !ini.is_file() {
            return Ok(None);
        }
        let bases = bases(&[Some(&migrations), Some(directory), Some(working_directory)]);
        Ok(Some(Self { ini: Some(IniFile::read(ini)?), toml: None, bases }))
    }

    /// Every section that describes an environment, the default one first.
    fn sections(&self) -> Vec<String> {
        let mut sections = vec![DEFAULT_SECTION.to_owned()];
        sections
            .extend(self.ini.iter().flat_map(IniFile::environments).filter(|name| *name != DEFAULT_SECTION));
        sections
    }

    fn project(&self, section: &str) -> Result<AlembicProject> {
        let settings = Settings { files: self, section };
        let config_path = settings.config_path()?.to_path_buf();
        settings.project().with_context(|| format!("{}", config_path.display()))
    }
}

/// The candidates without repetition, best first. The directory above an ini file counts because of
/// Flask-Migrate and of teams that run `alembic -c db/alembic.ini` from the root of the project.
fn bases(candidates: &[Option<&Path>]) -> Vec<PathBuf> {
    let mut bases: Vec<PathBuf> = Vec::new();
    for candidate in candidates.iter().flatten() {
        if !bases.iter().any(|known| known == candidate) {
            bases.push(candidate.to_path_buf());
        }
    }
    bases
}

/// One section of the [`Files`].
struct Settings<'a> {
    files: &'a Files,
    section: &'a str,
}

impl Settings<'_> {
    fn project(&self) -> Result<AlembicProject> {
        let config_path = self.config_path()?;
        let config_directory = config_path.parent().unwrap_or(config_path);
        let script_location = match self.text("script_location")? {
            Some(text) => self.resolve(&text).context("script_location")?,
            // Flask-Migrate sets `script_location` at run time, to the directory of its ini file.
            None if config_directory.join("env.py").is_file() => config_directory.to_path_buf(),
            None => return Err(self.no_script_location()),
        };
        if !script_location.is_dir() {
            bail!(
                "script_location: {} is not a directory\n\
                 hint: run safemig where `alembic` is run, or name the configuration with `-c`",
                script_location.display()
            );
        }
        let configured = self.version_locations()?;
        let recursive = self.flag("recursive_version_locations")?;
        let open = configured.is_none() && !recursive;
        let version_locations = match configured {
            Some(texts) => texts
                .iter()
                .map(|text| self.resolve(text))
                .collect::<Result<_>>()
                .context("version_locations")?,
            None => vec![script_location.join("versions")],
        };
        let is_flask_migrate = real(config_directory) == real(&script_location);
        let root = if is_flask_migrate {
            script_location.parent().unwrap_or(&script_location)
        } else {
            config_directory
        };
        let mut import_roots = self.import_roots(&script_location);
        if is_flask_migrate {
            import_roots.push(root.to_path_buf());
        }
        Ok(AlembicProject {
            config_path: Some(config_path.to_path_buf()),
            section: self.section.to_owned(),
            env_py: Some(script_location.join("env.py")).filter(|env_py| env_py.is_file()),
            version_locations,
            recursive,
            open,
            file_template: self.text("file_template")?,
            root: root.to_path_buf(),
            source_root: source_root(root),
            import_roots,
            notes: Vec::new(),
            script_location,
        })
    }

    /// The file that names the script directory: what a message should point at.
    fn config_path(&self) -> Result<&Path> {
        let Files { ini, toml, .. } = self.files;
        let ini_has = ini.as_ref().is_some_and(|ini| ini.raw(self.section, "script_location").is_some());
        match (ini, toml) {
            (_, Some(toml)) if !ini_has && toml.table.contains_key("script_location") => Ok(&toml.path),
            (Some(ini), _) => Ok(&ini.path),
            (None, Some(toml)) => Ok(&toml.path),
            (None, None) => bail!("no configuration of Alembic"),
        }
    }

    fn no_script_location(&self) -> anyhow::Error {
        let others = self.files.ini.as_ref().map(IniFile::environments).unwrap_or_default();
        let others: Vec<String> = others.into_iter().filter(|name| name != self.section).collect();
        if others.is_empty() {
            anyhow!("no `script_location` in section [{}]", self.section)
        } else {
            anyhow!(
                "no `script_location` in section [{}]\nhint: choose a section with `-n`: {}",
                self.section,
                others.join(", ")
            )
        }
    }

    /// `Config.get_alembic_option` for a text.
    fn text(&self, name: &str) -> Result<Option<String>> {
        if let Some(text) = self.ini_text(name)? {
            return Ok(Some(text));
        }
        let Some(toml) = &self.files.toml else {
            return Ok(None);
        };
        match toml.table.get(name) {
            None => Ok(None),
            Some(toml::Value::String(text)) => toml.interpolate(name, text).map(Some),
            Some(other) => bail!("{name}: expected a string, found {}", other.type_str()),
        }
    }

    /// `Config.get_alembic_boolean_option`: in an ini file only the exact text `true` is true.
    fn flag(&self, name: &str) -> Result<bool> {
        if let Some(text) = self.ini_text(name)? {
            return Ok(text == "true");
        }
        match self.files.toml.as_ref().and_then(|toml| toml.table.get(name)) {
            None => Ok(false),
            Some(toml::Value::Boolean(flag)) => Ok(*flag),
            Some(other) => bail!("{name}: expected true or false, found {}", other.type_str()),
        }
    }

    fn ini_text(&self, name: &str) -> Result<Option<String>> {
        self.files.ini.as_ref().map_or(Ok(None), |ini| ini.get(self.section, name))
    }

    /// `Config.get_version_locations_list`.
    fn version_locations(&self) -> Result<Option<Vec<String>>> {
        match self.ini_text("version_locations")? {
            Some(text) if !text.is_empty() => {
                Ok(Some(match self.separator(&["path_separator", "version_path_separator"])? {
                    Some(separator) => split_on(&text, separator),
                    None => split_legacy(&text, &[]),
                }))
            }
            _ => self.toml_list("version_locations"),
        }
    }

    /// `Config.get_prepend_sys_paths_list`.
    fn prepend_sys_path(&self) -> Result<Vec<String>> {
        match self.ini_text("prepend_sys_path")? {
            Some(text) if !text.is_empty() => Ok(match self.separator(&["path_separator"])? {
                Some(separator) => split_on(&text, separator),
                None => split_legacy(&text, &[':']),
            }),
            _ => Ok(self.toml_list("prepend_sys_path")?.unwrap_or_default()),
        }
    }

    /// Where migrations can import the project's own modules from. What can't be read is none of them.
    fn import_roots(&self, script_location: &Path) -> Vec<PathBuf> {
        let prepended = self.prepend_sys_path().unwrap_or_default();
        let mut roots: Vec<PathBuf> = prepended.iter().filter_map(|entry| self.resolve(entry).ok()).collect();
        if let Ok(Some(text)) = self.text("script_location")
            && !Path::new(&text).is_absolute()
            && let Some((package, below)) = text.split_once(':')
        {
            let depth = package.split('.').count() + below.split(':').filter(|part| !part.is_empty()).count();
            roots.extend(script_location.ancestors().nth(depth).map(Path::to_path_buf));
        }
        roots
    }

    /// `Config._get_file_separator_char`: the first of `names` that is set decides.
    fn separator(&self, names: &[&str]) -> Result<Option<char>> {
        for name in names {
            if let Some(value) = self.ini_text(name)? {
                return match value.as_str() {
                    "space" => Ok(Some(' ')),
                    "newline" => Ok(Some('\n')),
                    "os" => Ok(Some(if cfg!(windows) { ';' } else { ':' })),
                    ":" => Ok(Some(':')),
                    ";" => Ok(Some(';')),
                    other => {
                        bail!("{name}: `{other}` is not one of `space`, `newline`, `os`, `:`, `;`")
                    }
                };
            }
        }
        Ok(None)
    }

    fn toml_list(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(toml) = &self.files.toml else {
            return Ok(None);
        };
        let items = match toml.table.get(name) {
            None => return Ok(None),
            Some(toml::Value::Array(items)) => items,
            Some(other) => bail!("{name}: expected an array of strings, found {}", other.type_str()),
        };
        let text = |item: &toml::Value| match item {
            toml::Value::String(text) => toml.interpolate(name, text),
            other => bail!("{name}: expected strings, found {}", other.type_str()),
        };
        items.iter().map(text).collect::<Result<_>>().map(Some)
    }

    /// `coerce_resource_to_filename`: an absolute path, a relative one, or `package:directory`.
    fn resolve(&self, text: &str) -> Result<PathBuf> {
        let path = Path::new(text);
        if path.is_absolute() {
            return Ok(absolute(path, path));
        }
        if text.contains(':') {
            return self.resolve_package(text);
        }
        let candidates = || self.files.bases.iter().map(|base| absolute(path, base));
        candidates()
            .find(|candidate| candidate.exists())
            .or_else(|| candidates().next())
            .context("no directory to start from")
    }

    /// `package.name:directory`, as Python would find it: first in `prepend_sys_path`, then where
    /// the program runs. The `src` directories are where an installed project's own packages
    /// usually come from.
    fn resolve_package(&self, text: &str) -> Result<PathBuf> {
        let mut tokens = text.split(':');
        let package: PathBuf = tokens.next().unwrap_or_default().split('.').collect();
        let below: PathBuf = tokens.collect();
        let prepended = self.prepend_sys_path().context("prepend_sys_path")?;
        let mut directories: Vec<PathBuf> = prepended
            .iter()
            .flat_map(|entry| self.files.bases.iter().map(move |base| absolute(Path::new(entry), base)))
            .collect();
        directories.extend(self.files.bases.iter().cloned());
        let sources: Vec<PathBuf> = directories.iter().map(|directory| directory.join("src")).collect();
        directories.extend(sources);
        directories
            .iter()
            .map(|directory| directory.join(&package).join(&below))
            .find(|candidate| candidate.is_dir())
            .with_context(|| {
                let places: Vec<String> =
                    self.files.bases.iter().map(|base| base.display().to_string()).collect();
                format!("`{text}`: no such package directory in {} or their `src`", places.join(", "))
            })
    }
}

/// Alembic's splitting with a configured separator. An entry of blanks only is dropped here, as in
/// [`split_legacy`]; Alembic takes it for the working directory, which nobody who wrote `a , b` meant.
fn split_on(text: &str, separator: char) -> Vec<String> {
    text.split(separator).map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}

/// Alembic's splitting without one: `re.compile(r", *|(?: +)")`, and for `prepend_sys_path` also at
/// `:`.
fn split_legacy(text: &str, also: &[char]) -> Vec<String> {
    text.split(|c| c == ',' || c == ' ' || also.contains(&c))
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

/// An ini file, read as Python's `ConfigParser` does.
///
/// The `configparser` crate finds sections, keys, comments and multi-line values by Python's rules
/// once it is told to (tests below compare with what Python 3.11 answers); names of options,
/// `[DEFAULT]` and `%` are done here, since the crate knows no interpolation. It is more lenient
/// than Python with duplicates and with lines that make no sense, at which `alembic` itself would
/// stop.
#[derive(Debug)]
struct IniFile {
    path: PathBuf,
    /// By section and lower-case option, before interpolation.
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl IniFile {
    fn read(path: PathBuf) -> Result<Self> {
        let text = read_text(&path)?;
        let sections = parse_ini(text).with_context(|| format!("could not parse {}", path.display()))?;
        Ok(Self { path, sections })
    }

    /// The option as it is written; `[DEFAULT]` holds for every section that exists.
    fn raw(&self, section: &str, option: &str) -> Option<&str> {
        let own = self.sections.get(section)?.get(option);
        own.or_else(|| self.sections.get("DEFAULT")?.get(option)).map(String::as_str)
    }

    /// The option with `%(name)s` and `%%` replaced.
    fn get(&self, section: &str, option: &str) -> Result<Option<String>> {
        let Some(raw) = self.raw(section, option) else {
            return Ok(None);
        };
        let here = here(&self.path);
        let lookup = |name: &str| {
            let found = self.raw(section, name).map(|text| Found::Raw(text.to_owned()));
            found.or_else(|| (name == "here").then(|| Found::Final(here.clone())))
        };
        interpolate(raw, &lookup, 1).map(Some).with_context(|| format!("[{section}] {option}"))
    }

    /// The sections that name a script directory or version locations themselves.
    fn environments(&self) -> Vec<String> {
        let describes = |options: &BTreeMap<String, String>| {
            ["script_location", "version_locations"].iter().any(|name| options.contains_key(*name))
        };
        self.sections
            .iter()
            .filter(|(name, options)| *name != "DEFAULT" && describes(options))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn parse_ini(text: String) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut ini = Ini::new_cs();
    ini.set_multiline(true);
    ini.set_inline_comment_symbols(Some(&[])); // `ConfigParser()` has no inline comments
    let sections = ini.read(text).map_err(|message| anyhow!(message))?;
    Ok(sections
        .into_iter()
        .map(|(section, options)| {
            let options = options
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_lowercase(), value?.replace("\r\n", "\n"))))
                .collect();
            (section, options)
        })
        .collect())
}

/// `[tool.alembic]` of a `pyproject.toml`.
#[derive(Debug)]
struct TomlFile {
    path: PathBuf,
    table: toml::Table,
}

impl TomlFile {
    fn read(path: &Path) -> Result<Self> {
        let text = read_text(path)?;
        Self::parse(path.to_path_buf(), &text)?
            .with_context(|| format!("{} has no table [tool.alembic]", path.display()))
    }

    /// `None` if there is no such file, or none that speaks of Alembic.
    fn read_if_alembic(path: PathBuf) -> Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let text = read_text(&path)?;
        // Most projects mention Alembic only as a dependency. A file that doesn't parse is then
        // none of our business.
        let configures =
            text.contains("tool.alembic") || (text.contains("[tool]") && text.contains("alembic"));
        if configures { Self::parse(path, &text) } else { Ok(None) }
    }

    fn parse(path: PathBuf, text: &str) -> Result<Option<Self>> {
        let mut document: toml::Table =
            text.parse().with_context(|| format!("could not parse {}", path.display()))?;
        let Some(toml::Value::Table(mut tool)) = document.remove("tool") else {
            return Ok(None);
        };
        match tool.remove("alembic") {
            None => Ok(None),
            Some(toml::Value::Table(table)) => Ok(Some(Self { path, table })),
            Some(_) => bail!("{}: tool.alembic is not a table", path.display()),
        }
    }

    /// Alembic applies Python's `%` operator with `here` as the only name.
    fn interpolate(&self, name: &str, text: &str) -> Result<String> {
        let lookup = |name: &str| (name == "here").then(|| Found::Final(here(&self.path)));
        interpolate(text, &lookup, 1).with_context(|| format!("tool.alembic.{name}"))
    }
}

/// `%(here)s`: the directory of the configuration file, with forward slashes.
fn here(path: &Path) -> String {
    let directory = path.parent().unwrap_or(path).to_string_lossy().into_owned();
    if cfg!(windows) { directory.replace('\\', "/") } else { directory }
}

/// What a `%(name)s` stands for.
enum Found {
    /// A text in which `%` has its meaning.
    Raw(String),
    /// A text in which it hasn't.
    Final(String),
}

/// Python's `BasicInterpolation`: `%(name)s` is another option, `%%` a percent sign, any other `%`
/// an error.
fn interpolate(text: &str, lookup: &dyn Fn(&str) -> Option<Found>, depth: usize) -> Result<String> {
    /// `configparser.MAX_INTERPOLATION_DEPTH`.
    const MAX_DEPTH: usize = 10;
    if depth > MAX_DEPTH {
        bail!("`{text}` refers to itself");
    }
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            result.push('%');
            rest = after;
        } else if let Some((name, after)) =
            after.strip_prefix('(').and_then(|reference| reference.split_once(")s"))
        {
            match lookup(&name.to_lowercase()) {
                Some(Found::Raw(text)) => result.push_str(&interpolate(&text, lookup, depth + 1)?),
                Some(Found::Final(text)) => result.push_str(&text),
                None => bail!("`%({name})s` is not set"),
            }
            rest = after;
        } else {
            bail!(
                "`%` in `{text}` must be followed by `%` or `(name)s`\nhint: a percent sign is written `%%`"
            );
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The text of a configuration file. Alembic reads ini files in the locale's encoding: a stray byte
/// in a comment must not stop us.
fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the given files (name, text).
    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = real(dir.path());
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, root)
    }

    fn request(root: &Path) -> Request<'_> {
        Request { working_directory: root, config: None, section: None }
    }

    fn found(root: &Path) -> AlembicProject {
        discover(&request(root)).unwrap().unwrap()
    }

    fn locations(ini: &str) -> Vec<String> {
        let (_dir, root) = tree(&[("alembic.ini", ini), ("m/env.py", "")]);
        found(&root)
            .version_locations
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap_or(path).to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_usual_project() {
        let (_dir, root) = tree(&[
            (
                "alembic.ini",
                "[alembic]\nscript_location = %(here)s/migrations\nfile_template = %%(year)d_%%(rev)s\n",
            ),
            ("migrations/env.py", ""),
        ]);
        let project = found(&root);
        assert_eq!(project.config_path, Some(root.join("alembic.ini")));
        assert_eq!(project.section, "alembic");
        assert_eq!(project.script_location, root.join("migrations"));
        assert_eq!(project.env_py, Some(root.join("migrations/env.py")));
        assert_eq!(project.version_locations, [root.join("migrations/versions")]);
        assert_eq!(project.file_template.as_deref(), Some("%(year)d_%(rev)s"));
        assert!(!project.recursive);
        assert_eq!(project.root, root);
    }

    #[test]
    fn sources_of_a_package_that_ships_its_configuration() {
        let ini = ("app/db/alembic.ini", "[alembic]\nscript_location = %(here)s/m\n");
        let packages = [("app/__init__.py", ""), ("app/db/__init__.py", ""), ("app/db/m/env.py", ""), ini];
        let (_dir, root) = tree(&packages);
        let project = found(&root.join("app/db"));
        assert_eq!((project.root, project.source_root), (root.join("app/db"), root.join("app")));

        let (_dir, root) = tree(&[packages[0], packages[2], ini]);
        assert_eq!(found(&root.join("app/db")).source_root, root.join("app/db"));
    }

    #[test]
    fn found_from_a_directory_below() {
        let (_dir, root) = tree(&[
            ("alembic.ini", "[alembic]\nscript_location = m\n"),
            ("m/env.py", ""),
            ("app/x/y.py", ""),
        ]);
        assert_eq!(found(&root.join("app/x")).script_location, root.join("m"));
        let (_dir, root) = tree(&[("x.py", "")]);
        assert_eq!(discover(&request(&root)).unwrap(), None);
    }

    #[test]
    fn pyproject() {
        let (_dir, root) = tree(&[
            (
                "pyproject.toml",
                "[tool.alembic]\nscript_location = \"%(here)s/m\"\nversion_locations = [\"%(here)s/m/a\", \"b\"]\n\
                 recursive_version_locations = true\nfile_template = \"%%(rev)s\"\n",
            ),
            ("m/env.py", ""),
        ]);
        let project = found(&root);
        assert_eq!(project.config_path, Some(root.join("pyproject.toml")));
        assert_eq!(project.version_locations, [root.join("m/a"), root.join("b")]);
        assert!(project.recursive);
        assert_eq!(project.file_template.as_deref(), Some("%(rev)s"));
    }

    #[test]
    fn the_ini_file_goes_before_pyproject_setting_by_setting() {
        let (_dir, root) = tree(&[
            ("alembic.ini", "[alembic]\nrecursive_version_locations = false\n[logger_root]\nlevel = WARN\n"),
            (
                "pyproject.toml",
                "[tool.alembic]\nscript_location = \"m\"\nrecursive_version_locations = true\n",
            ),
            ("m/env.py", ""),
        ]);
        let project = found(&root);
        assert_eq!(project.config_path, Some(root.join("pyproject.toml")));
        assert!(!project.recursive);
    }

    #[test]
    fn a_pyproject_without_alembic_is_not_a_project() {
        let (_dir, root) = tree(&[
            ("pyproject.toml", "[project]\ndependencies = [\"alembic\"]\n"),
            ("broken/pyproject.toml", "x = ["),
        ]);
        assert_eq!(discover(&request(&root.join("broken"))).unwrap(), None);
    }

    #[test]
    fn flask_migrate() {
        let ini = "[alembic]\n# file_template = %%(rev)s_%%(slug)s\n\n[loggers]\nkeys = root\n";
        let (_dir, root) = tree(&[
            ("migrations/alembic.ini", ini),
            ("migrations/env.py", ""),
            ("migrations/versions/a.py", ""),
        ]);
        let expected = AlembicProject {
            config_path: Some(root.join("migrations/alembic.ini")),
            section: "alembic".to_owned(),
            script_location: root.join("migrations"),
            env_py: Some(root.join("migrations/env.py")),
            version_locations: vec![root.join("migrations/versions")],
            recursive: false,
            open: true,
            file_template: None,
            root: root.clone(),
            source_root: root.clone(),
            import_roots: vec![root.clone()],
            notes: vec![],
        };
        assert_eq!(found(&root), expected);
        assert_eq!(found(&root.join("migrations/versions")), expected);
        assert_eq!(for_path(&root.join("migrations/versions/a.py"), &request(&root)).unwrap(), expected);
        let config = Path::new("migrations/alembic.ini");
        assert_eq!(discover(&Request { config: Some(config), ..request(&root) }).unwrap(), Some(expected));
    }

    #[test]
    fn explicit_configuration_and_section() {
        let (_dir, root) = tree(&[
            (
                "db/my.ini",
                "[DEFAULT]\nscript_location = db/%(name)s\n[one]\nname = a\n[two]\nname = b\nversion_locations = x\n",
            ),
            ("db/a/env.py", ""),
            ("db/b/env.py", ""),
        ]);
        let config = Some(Path::new("db/my.ini"));
        let at = |section| discover(&Request { config, section, ..request(&root) });
        // Alembic resolves relative paths against the working directory.
        assert_eq!(at(Some("one")).unwrap().unwrap().script_location, root.join("db/a"));
        assert_eq!(at(Some("two")).unwrap().unwrap().script_location, root.join("db/b"));
        let error = format!("{:#}", at(None).unwrap_err());
        assert!(error.contains("my.ini: no `script_location` in section [alembic]"), "{error}");
        assert!(error.contains("`-n`: two"), "{error}");
        let missing = discover(&Request { config: Some(Path::new("no.ini")), ..request(&root) }).unwrap_err();
        assert!(format!("{missing:#}").contains("no.ini"), "{missing:#}");
    }

    #[test]
    fn version_locations_are_split_as_in_alembic() {
        let with = |rest: &str| locations(&format!("[alembic]\nscript_location = m\n{rest}"));
        assert_eq!(with(""), ["m/versions"]);
        assert_eq!(with("version_locations =\n"), ["m/versions"]);
        // Without a separator: at blanks and commas.
        assert_eq!(with("version_locations = a b, c,d\n"), ["a", "b", "c", "d"]);
        assert_eq!(with("version_locations = a b\npath_separator = ;\n"), ["a b"]);
        assert_eq!(with("version_locations = a ; b;\npath_separator = ;\n"), ["a", "b"]);
        assert_eq!(with("version_locations = a:b\nversion_path_separator = :\n"), ["a", "b"]);
        assert_eq!(with("version_locations = a  b\npath_separator = space\n"), ["a", "b"]);
        assert_eq!(
            with("path_separator = space\nversion_path_separator = :\nversion_locations = a b\n"),
            ["a", "b"]
        );
        if cfg!(unix) {
            assert_eq!(with("version_locations = a:b\npath_separator = os\n"), ["a", "b"]);
        }
        let lines = "version_locations =\n    %(here)s/m/a\n    # the old ones\n\n    %(here)s/b c\npath_separator = newline\n";
        assert_eq!(with(lines), ["m/a", "b c"]);
        let (_dir, root) = tree(&[
            (
                "alembic.ini",
                "[alembic]\nscript_location = m\nversion_locations = a\npath_separator = comma\n",
            ),
            ("m/env.py", ""),
        ]);
        let error = format!("{:#}", discover(&request(&root)).unwrap_err());
        assert!(error.contains("alembic.ini: path_separator: `comma` is not one of"), "{error}");
    }

    #[test]
    fn package_form() {
        for place in ["", "src/", "lib/"] {
            let (_dir, root) = tree(&[
                (
                    "alembic.ini",
                    "[alembic]\nscript_location = my.pkg:db:migrations\nprepend_sys_path = . lib\n",
                ),
                (&format!("{place}my/pkg/db/migrations/env.py"), ""),
            ]);
            assert_eq!(found(&root).script_location, root.join(format!("{place}my/pkg/db/migrations")));
        }
        let (_dir, root) = tree(&[("alembic.ini", "[alembic]\nscript_location = nowhere:migrations\n")]);
        let error = format!("{:#}", discover(&request(&root)).unwrap_err());
        assert!(error.contains("`nowhere:migrations`: no such package directory in"), "{error}");
    }

    #[test]
    fn a_missing_script_directory_is_an_error() {
        let (_dir, root) = tree(&[("alembic.ini", "[alembic]\nscript_location = gone\n")]);
        let error = format!("{:#}", discover(&request(&root)).unwrap_err());
        assert!(error.contains("gone is not a directory\nhint:"), "{error}");
    }

    #[test]
    fn a_file_finds_its_configuration() {
        let (_dir, root) = tree(&[
            (
                "alembic.ini",
                "[alembic]\nscript_location = m\n[two]\nscript_location = n\nversion_locations = n/x y\n",
            ),
            ("m/env.py", ""),
            ("m/versions/a.py", ""),
            ("n/env.py", ""),
            ("n/x/b.py", ""),
            ("y/c.py", ""),
            ("elsewhere/d.py", ""),
        ]);
        let of = |name: &str| for_path(&root.join(name), &request(&root)).unwrap();
        assert_eq!(of("m/versions/a.py").section, "alembic");
        assert_eq!(of("n/x/b.py").section, "two");
        assert_eq!(of("y").section, "two");
        assert_eq!(of("m").section, "alembic");
        assert_eq!(of(".").section, "alembic");
        assert_eq!(of("elsewhere/d.py"), AlembicProject::bare(&root.join("elsewhere")));

        let files: Vec<PathBuf> =
            ["elsewhere/d.py", "m/versions/a.py", "n/x/b.py", "y/c.py"].map(|name| root.join(name)).into();
        let groups = group(&files, &request(&root)).unwrap();
        let sizes: Vec<usize> = groups.iter().map(|(_, files)| files.len()).collect();
        assert_eq!(sizes, [1, 1, 2]);
    }

    #[test]
    fn a_file_without_configuration_finds_its_script_directory() {
        let (_dir, root) = tree(&[
            ("app/__init__.py", ""),
            ("app/db/__init__.py", ""),
            ("app/db/m/env.py", ""),
            ("app/db/m/versions/a.py", ""),
            ("app/db/m/versions/old/b.py", ""),
        ]);
        let of = |name: &str| for_path(&root.join(name), &request(&root)).unwrap();
        let project = of("app/db/m/versions/a.py");
        assert_eq!(project.script_location, root.join("app/db/m"));
        assert_eq!(project.version_locations, [root.join("app/db/m/versions")]);
        assert_eq!(project.root, root.join("app"));
        assert!(!project.recursive && project.open);
        assert_eq!(of("app/db/m"), project);
        assert_eq!(of("app/db/m/versions/old/b.py"), project);
    }

    #[test]
    fn broken_configuration_is_noted_but_stops_no_named_file() {
        let (_dir, root) = tree(&[("alembic.ini", "[alembic\n"), ("m/env.py", ""), ("m/versions/a.py", "")]);
        assert!(format!("{:#}", discover(&request(&root)).unwrap_err()).contains("alembic.ini"));
        let project = for_path(&root.join("m/versions/a.py"), &request(&root)).unwrap();
        assert_eq!(project.version_locations, [root.join("m/versions")]);
        assert!(project.notes[0].contains("alembic.ini"), "{:?}", project.notes);
    }

    /// The expected values are what Python 3.11's `ConfigParser()` answers for the same text.
    #[test]
    fn ini_files_are_read_as_python_reads_them() {
        let text = "\u{20}; a comment\n[alembic]\nKey = Value ; not a comment # nor this\nurl: postgresql://u:p@h/d?a=b\n\
                    multi = one\n  two=2\n\n  # gone\n\tthree\nempty =\nquoted = \"x\"\n  \nlast = 1\r\n[Other]\nKEY = o\n";
        let sections = parse_ini(text.to_owned()).unwrap();
        let expected = [
            ("key", "Value ; not a comment # nor this"),
            ("url", "postgresql://u:p@h/d?a=b"),
            ("multi", "one\ntwo=2\n\nthree"),
            ("empty", ""),
            ("quoted", "\"x\""),
            ("last", "1"),
        ];
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(sections["alembic"], expected);
        assert_eq!(sections["Other"]["key"], "o");
        assert!(!sections.contains_key("other"));
    }

    #[test]
    fn interpolation() {
        let ini = |text: &str| IniFile {
            path: "/p/alembic.ini".into(),
            sections: parse_ini(text.to_owned()).unwrap(),
        };
        let file = ini(
            "[DEFAULT]\nbase = %(here)s/x\n[a]\nv = %(BASE)s/%%y/%(w)s\nw = z\nbad = 5%\nloop = %(loop)s\nnone = %(nope)s\n",
        );
        assert_eq!(file.get("a", "v").unwrap().as_deref(), Some("/p/x/%y/z"));
        assert_eq!(file.get("a", "missing").unwrap(), None);
        assert_eq!(file.get("missing", "base").unwrap(), None);
        for (option, message) in
            [("bad", "must be followed by"), ("loop", "refers to itself"), ("none", "`%(nope)s` is not set")]
        {
            let error = format!("{:#}", file.get("a", option).unwrap_err());
            assert!(error.starts_with(&format!("[a] {option}: ")) && error.contains(message), "{error}");
        }
    }
}
