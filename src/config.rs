//! safemig's own configuration: `safemig.toml`, `.safemig.toml` or `[tool.safemig]` in
//! `pyproject.toml`.
//!
//! The file closest to the working directory wins; files are not merged. `--config KEY=VALUE`
//! replaces single keys of what was found, `--isolated` looks for no file. Every error says where:
//! `pyproject.toml:12:3: ...`.
//!
//! Rule names are not checked here: the caller knows the rules.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result, anyhow, bail};
use pep440_rs::{Version, VersionSpecifiers};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::walk::absolute;

/// Every key, in the order of the documentation. A test compares the list with the fields of
/// [`Options`].
const KEYS: &[&str] = &[
    "required-version",
    "postgres-version",
    "alembic-version",
    "sqlalchemy-version",
    "baseline",
    "select",
    "ignore",
    "unfixable",
    "unsafe-fixes",
    "extend-safe-fixes",
    "extend-unsafe-fixes",
    "small-tables",
    "split",
    "rerun",
    "lock-timeout",
    "support-module",
    "max-index-columns",
    "require-ignore-reason",
    "other-databases",
    "exclude",
    "per-file-ignores",
];

/// What the configuration says; `None` where it says nothing, so that flags and defaults can fill
/// the gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(crate) struct Options {
    /// The versions of safemig that may read this file, as PEP 440 specifiers: `">=0.2"`. Already
    /// checked.
    pub(crate) required_version: Option<String>,
    /// The oldest PostgreSQL in production, its major version (10 to 19); decides what is unsafe.
    #[serde(deserialize_with = "postgres_version")]
    pub(crate) postgres_version: Option<u32>,
    /// The project's Alembic, a PEP 440 version such as `"1.16"`.
    #[serde(deserialize_with = "version")]
    pub(crate) alembic_version: Option<String>,
    /// The project's SQLAlchemy, likewise.
    #[serde(deserialize_with = "version")]
    pub(crate) sqlalchemy_version: Option<String>,
    /// A revision id: that revision and its ancestors have run in production and are not checked.
    pub(crate) baseline: Option<String>,
    /// Rules to check, or `ALL`.
    pub(crate) select: Option<Vec<String>>,
    /// Rules not to check.
    pub(crate) ignore: Option<Vec<String>>,
    /// Rules to report but not to fix.
    pub(crate) unfixable: Option<Vec<String>>,
    /// Apply unsafe fixes too.
    pub(crate) unsafe_fixes: Option<bool>,
    /// Rules whose unsafe fixes count as safe.
    pub(crate) extend_safe_fixes: Option<Vec<String>>,
    /// Rules whose safe fixes count as unsafe.
    pub(crate) extend_unsafe_fixes: Option<Vec<String>>,
    /// Tables so short that they may be locked while they are read.
    pub(crate) small_tables: Option<Vec<String>>,
    /// How a revision is divided.
    pub(crate) split: Option<Split>,
    /// What a rewritten revision does when it is run a second time.
    pub(crate) rerun: Option<Rerun>,
    /// How long a strong lock may be waited for, in PostgreSQL's spelling: `"5s"`, `"500ms"`, or
    /// milliseconds, `"5000"`.
    #[serde(deserialize_with = "lock_timeout")]
    pub(crate) lock_timeout: Option<String>,
    /// The module that rewritten migrations import the helper functions from: `"app.migrations.safemig_ops"`.
    pub(crate) support_module: Option<String>,
    /// The most columns that a non-unique index should have, at least 1.
    #[serde(deserialize_with = "positive")]
    pub(crate) max_index_columns: Option<u32>,
    /// A suppression must say why.
    pub(crate) require_ignore_reason: Option<bool>,
    /// The migrations also run on databases other than PostgreSQL; `None`: to be detected.
    pub(crate) other_databases: Option<bool>,
    /// Globs of files and directories not to read, see [`crate::walk::PathGlobs`].
    pub(crate) exclude: Option<Vec<String>>,
    /// Rules not to check in files that match a glob.
    pub(crate) per_file_ignores: Option<BTreeMap<String, Vec<String>>>,
}

impl Options {
    /// `self` where it says something, else `other`.
    fn or(self, other: Self) -> Self {
        Self {
            required_version: self.required_version.or(other.required_version),
            postgres_version: self.postgres_version.or(other.postgres_version),
            alembic_version: self.alembic_version.or(other.alembic_version),
            sqlalchemy_version: self.sqlalchemy_version.or(other.sqlalchemy_version),
            baseline: self.baseline.or(other.baseline),
            select: self.select.or(other.select),
            ignore: self.ignore.or(other.ignore),
            unfixable: self.unfixable.or(other.unfixable),
            unsafe_fixes: self.unsafe_fixes.or(other.unsafe_fixes),
            extend_safe_fixes: self.extend_safe_fixes.or(other.extend_safe_fixes),
            extend_unsafe_fixes: self.extend_unsafe_fixes.or(other.extend_unsafe_fixes),
            small_tables: self.small_tables.or(other.small_tables),
            split: self.split.or(other.split),
            rerun: self.rerun.or(other.rerun),
            lock_timeout: self.lock_timeout.or(other.lock_timeout),
            support_module: self.support_module.or(other.support_module),
            max_index_columns: self.max_index_columns.or(other.max_index_columns),
            require_ignore_reason: self.require_ignore_reason.or(other.require_ignore_reason),
            other_databases: self.other_databases.or(other.other_databases),
            exclude: self.exclude.or(other.exclude),
            per_file_ignores: self.per_file_ignores.or(other.per_file_ignores),
        }
    }
}

/// How a revision is divided into transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Split {
    /// In place, by `with op.get_context().autocommit_block():`
    #[default]
    AutocommitBlock,
    /// Into several revisions, of which the last keeps the id
    Revision,
}

/// What a rewritten revision does when it is run again after it was interrupted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Rerun {
    /// It repairs what the interrupted run left and completes.
    #[default]
    Repair,
    /// It stops with PostgreSQL's own error.
    Plain,
}

/// The configuration and where it comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) options: Options,
    /// The file, if there is one; absolute.
    pub(crate) path: Option<PathBuf>,
    /// What globs with a slash are relative to: the file's directory, else the working directory.
    pub(crate) root: PathBuf,
}

/// Reads the configuration that holds in `working_directory`.
///
/// `arguments` are the values of `--config`, each a path or `KEY=VALUE` in TOML; of several
/// assignments to a key the last one counts. `isolated` (`--isolated`) looks for no file;
/// assignments still count.
///
/// # Errors
/// A file that can't be read or parsed, an unknown key, a value of the wrong kind, a
/// `required-version` that this program doesn't meet, more than one path, or a path together with
/// `isolated`.
pub(crate) fn load(working_directory: &Path, arguments: &[String], isolated: bool) -> Result<Config> {
    let mut overrides = Options::default();
    let mut path = None;
    for argument in arguments {
        match Argument::parse(argument, working_directory)? {
            Argument::Assignment(options) => overrides = options.or(overrides),
            Argument::Path(_) if isolated => {
                bail!(
                    "`--config {argument}` can't be used with `--isolated`\n\
                     hint: `--isolated` reads no file"
                )
            }
            Argument::Path(_) if path.is_some() => {
                bail!(
                    "`--config {argument}`: only one configuration file can be used\n\
                     hint: give single settings as `--config KEY=VALUE`"
                )
            }
            Argument::Path(given) => path = Some(given),
        }
    }
    let file = match path {
        Some(path) => Some(File::read(path)?.with_table()?),
        None if isolated => None,
        None => closest(working_directory)?,
    };
    let (options, path) = match file {
        Some(file) => (file.options()?, Some(file.path)),
        None => (Options::default(), None),
    };
    let root = path.as_deref().and_then(Path::parent).unwrap_or(working_directory).to_path_buf();
    Ok(Config { options: overrides.or(options), path, root })
}

/// The configuration file closest to `directory`. In one directory `.safemig.toml` goes before
/// `safemig.toml` before `pyproject.toml`, as in ruff; a `pyproject.toml` without `[tool.safemig]`
/// is passed over.
fn closest(directory: &Path) -> Result<Option<File>> {
    for above in directory.ancestors() {
        for name in [".safemig.toml", "safemig.toml", "pyproject.toml"] {
            let path = above.join(name);
            if path.is_file() {
                let file = File::read(path)?;
                if file.has_table()? {
                    return Ok(Some(file));
                }
            }
        }
    }
    Ok(None)
}

/// A configuration file as text.
struct File {
    path: PathBuf,
    text: String,
}

impl File {
    fn read(path: PathBuf) -> Result<Self> {
        let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            anyhow!("{}: not UTF-8 at byte {}", path.display(), error.utf8_error().valid_up_to())
        })?;
        Ok(Self { path, text })
    }

    /// In `pyproject.toml` the settings are in a table, in the other files they are the file.
    fn is_pyproject(&self) -> bool {
        self.path.file_name().is_some_and(|name| name == "pyproject.toml")
    }

    fn has_table(&self) -> Result<bool> {
        // A broken pyproject.toml that doesn't mention us is somebody else's business.
        if self.is_pyproject() && !self.text.contains("safemig") {
            return Ok(false);
        }
        Ok(self.table()?.is_some())
    }

    fn with_table(self) -> Result<Self> {
        if self.table()?.is_none() {
            bail!("{} has no table [tool.safemig]", self.path.display());
        }
        Ok(self)
    }

    fn table(&self) -> Result<Option<Spanned<DeTable<'_>>>> {
        let document =
            DeTable::parse(&self.text).map_err(|error| self.error(error.span(), error.message()))?;
        if !self.is_pyproject() {
            return Ok(Some(document));
        }
        let Some(DeValue::Table(mut tool)) = document.into_inner().remove("tool").map(Spanned::into_inner)
        else {
            return Ok(None);
        };
        let Some(ours) = tool.remove("safemig") else {
            return Ok(None);
        };
        let span = ours.span();
        match ours.into_inner() {
            DeValue::Table(table) => Ok(Some(Spanned::new(span, table))),
            _ => Err(self.error(Some(span), "`tool.safemig` must be a table")),
        }
    }

    fn options(&self) -> Result<Options> {
        let Some(table) = self.table()? else {
            return Ok(Options::default());
        };
        read_options(table).map_err(|error| self.error(error.span, &error.message))
    }

    /// `path:line:column: message`, lines and columns (characters) counted from 1.
    fn error(&self, span: Option<Range<usize>>, message: &str) -> anyhow::Error {
        let (line, column) = line_and_column(&self.text, span.map_or(0, |span| span.start));
        anyhow!("{}:{line}:{column}: {}", self.path.display(), message.trim_end())
    }
}

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// One value of `--config`.
enum Argument {
    Path(PathBuf),
    Assignment(Box<Options>),
}

impl Argument {
    /// As in ruff: an existing file is a path, whatever parses as TOML is an assignment.
    fn parse(argument: &str, working_directory: &Path) -> Result<Self> {
        let path = absolute(Path::new(argument), working_directory);
        if path.is_file() {
            return Ok(Self::Path(path));
        }
        let table = match DeTable::parse(argument) {
            Ok(table) => table,
            Err(error) => match argument.split_once('=') {
                Some((key, _)) if !key.contains(['/', '\\']) => bail!(
                    "`--config {argument}` is not valid TOML: {}\n\
                     hint: a text needs quotes of its own: `--config 'split = \"revision\"'`",
                    error.message().trim_end()
                ),
                _ => bail!(
                    "`--config {argument}`: no such file\n\
                     hint: a single setting is written `--config 'KEY = VALUE'`, in TOML"
                ),
            },
        };
        read_options(table)
            .map(|options| Self::Assignment(Box::new(options)))
            .map_err(|error| anyhow!("`--config {argument}`: {}", error.message.trim_end()))
    }
}

/// What is wrong with a table, and where in its text.
struct TableError {
    span: Option<Range<usize>>,
    message: String,
}

fn read_options(table: Spanned<DeTable<'_>>) -> Result<Options, TableError> {
    // First, because a newer safemig may know keys that this one doesn't.
    check_required_version(table.as_ref())?;
    for key in table.as_ref().keys() {
        let name: &str = key.as_ref();
        if !KEYS.contains(&name) {
            let hint = nearest_key(name).map_or_else(
                || format!("hint: the keys are {}", KEYS.join(", ")),
                |nearest| format!("hint: did you mean `{nearest}`?"),
            );
            return Err(TableError {
                span: Some(key.span()),
                message: format!("unknown key `{name}`\n{hint}"),
            });
        }
    }
    Options::deserialize(toml::de::Deserializer::from(table))
        .map_err(|error| TableError { span: error.span(), message: error.message().to_owned() })
}

/// The key that `name` was probably meant to be.
fn nearest_key(name: &str) -> Option<&'static str> {
    /// Below this likeness (0 to 1) a suggestion confuses more than it helps.
    const ALIKE: f64 = 0.8;
    let name = name.to_lowercase().replace('_', "-");
    KEYS.iter()
        .map(|key| (strsim::jaro_winkler(&name, key), *key))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, key)| key)
}

fn check_required_version(table: &DeTable<'_>) -> Result<(), TableError> {
    let Some(value) = table.get("required-version") else {
        return Ok(());
    };
    let Some(text) = value.as_ref().as_str() else {
        return Ok(());
    }; // serde complains about the type
    let fail = |message: String| Err(TableError { span: Some(value.span()), message });
    let specifiers = match VersionSpecifiers::from_str(text) {
        Ok(specifiers) => specifiers,
        // A bare version means exactly that one, as in ruff.
        Err(error) => match Version::from_str(text) {
            Ok(version) => {
                VersionSpecifiers::from_iter([pep440_rs::VersionSpecifier::equals_version(version)])
            }
            Err(_) => return fail(format!("required-version: {}", first_line(&error))),
        },
    };
    let ours = env!("CARGO_PKG_VERSION");
    match Version::from_str(ours) {
        Ok(version) if !specifiers.contains(&version) => {
            fail(format!("this configuration needs safemig {text}, but this is safemig {ours}"))
        }
        _ => Ok(()),
    }
}

/// `pep440_rs` draws a picture of the text below its message; we point at the text ourselves.
fn first_line(error: &dyn fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().trim_end_matches(':').to_owned()
}

fn postgres_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u32::try_from(number) {
        Ok(number @ 10..=19) => Ok(Some(number)),
        _ => Err(D::Error::custom(format!(
            "postgres-version must be a major version from 10 to 19, not {number}"
        ))),
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let number = i64::deserialize(deserializer)?;
    match u32::try_from(number) {
        Ok(number @ 1..) => Ok(Some(number)),
        _ => Err(D::Error::custom(format!("must be at least 1, not {number}"))),
    }
}

fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)
        .map_err(|error| D::Error::custom(format!("{error}\nhint: put the version in quotes: \"1.16\"")))?;
    match Version::from_str(&text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(D::Error::custom(format!("`{text}` is not a version: {}", first_line(&error)))),
    }
}

/// The value goes into SQL: only what PostgreSQL would accept as `lock_timeout` may pass.
fn lock_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    // https://www.postgresql.org/docs/current/config-setting.html: time units, case-sensitive.
    let unit = text[digits..].trim_start();
    let valid = (1..=9).contains(&digits) && ["", "us", "ms", "s", "min", "h", "d"].contains(&unit);
    if valid {
        Ok(Some(text))
    } else {
        Err(D::Error::custom(format!(
            "lock-timeout: `{text}` is not a time\nhint: a number with us, ms, s, min, h or d, such as \"5s\""
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (dir, root)
    }

    fn options(text: &str) -> Result<Options> {
        File { path: "safemig.toml".into(), text: text.to_owned() }.options()
    }

    fn error(text: &str) -> String {
        options(text).unwrap_err().to_string()
    }

    fn with(root: &Path, arguments: &[&str], isolated: bool) -> Result<Config> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        load(root, &arguments, isolated)
    }

    /// The example of the documentation, and what was added to it.
    #[test]
    fn every_key() {
        let text = r#"
required-version = ">=0.0.1"
postgres-version = 14
alembic-version = "1.16"
sqlalchemy-version = "2.0"
baseline = "9f2c1d04be77"
select = ["ALL"]
ignore = []
unfixable = []
unsafe-fixes = false
extend-safe-fixes = []
extend-unsafe-fixes = []
small-tables = ["countries"]
split = "autocommit-block"
support-module = "app.migrations.safemig_ops"
rerun = "plain"
lock-timeout = "5s"
max-index-columns = 3
require-ignore-reason = false
other-databases = true
exclude = []
[per-file-ignores]
"migrations/versions/2019_*" = ["ALL"]
"#;
        let read = options(text).unwrap();
        assert_eq!(read.postgres_version, Some(14));
        assert_eq!(read.split, Some(Split::AutocommitBlock));
        assert_eq!(read.rerun, Some(Rerun::Plain));
        assert_eq!(read.per_file_ignores.as_ref().unwrap()["migrations/versions/2019_*"], ["ALL"]);
        let serde_json::Value::Object(fields) = serde_json::to_value(&read).unwrap() else { panic!() };
        assert!(fields.values().all(|value| !value.is_null()), "a key is missing from the example");
        let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        let mut keys = KEYS.to_vec();
        fields.sort_unstable();
        keys.sort_unstable();
        assert_eq!(fields, keys);
        // Everything survives a merge, from either side.
        assert_eq!(read.clone().or(Options::default()), read);
        assert_eq!(Options::default().or(read.clone()), read);
    }

    #[test]
    fn nothing_set() {
        assert_eq!(options("").unwrap(), Options::default());
        assert_eq!(options("# only a comment\n").unwrap(), Options::default());
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        for (text, expected) in [
            (
                "split = 'x'\nlock_timeout = '5s'",
                "safemig.toml:2:1: unknown key `lock_timeout`\nhint: did you mean `lock-timeout`?",
            ),
            ("\n  ignored = []", "safemig.toml:2:3: unknown key `ignored`\nhint: did you mean `ignore`?"),
            (
                "postgress-version = 14",
                "safemig.toml:1:1: unknown key `postgress-version`\nhint: did you mean `postgres-version`?",
            ),
            (
                "postgres-version = 9",
                "safemig.toml:1:20: postgres-version must be a major version from 10 to 19, not 9",
            ),
            ("a = 1", "safemig.toml:1:1: unknown key `a`\nhint: the keys are required-version,"),
            ("select = 'ALL'", "safemig.toml:1:10: invalid type: string \"ALL\", expected a sequence"),
            (
                "split = 'x'",
                "safemig.toml:1:9: unknown variant `x`, expected `autocommit-block` or `revision`",
            ),
            ("alembic-version = 1.16", "safemig.toml:1:19: invalid type: floating point `1.16`"),
            ("alembic-version = 'new'", "safemig.toml:1:19: `new` is not a version"),
            (
                "lock-timeout = '5 parsecs'",
                "safemig.toml:1:16: lock-timeout: `5 parsecs` is not a time\nhint:",
            ),
            ("lock-timeout = \"5s'; DROP TABLE x\"", "safemig.toml:1:16: lock-timeout:"),
            ("max-index-columns = 0", "safemig.toml:1:21: must be at least 1, not 0"),
            ("ignore = [", "safemig.toml:1:1"),
            ("é = 1", "safemig.toml:1:1"),
        ] {
            let message = error(text);
            assert!(message.starts_with(expected), "{text}\n  gave {message}");
        }
    }

    #[test]
    fn required_version() {
        for good in [">=0.0.1", env!("CARGO_PKG_VERSION"), concat!("==", env!("CARGO_PKG_VERSION"))] {
            options(&format!("required-version = '{good}'")).unwrap();
        }
        let ours = env!("CARGO_PKG_VERSION");
        // Before the key that this version doesn't know yet.
        assert_eq!(
            error("new-key = 1\nrequired-version = '>=99'"),
            format!("safemig.toml:2:20: this configuration needs safemig >=99, but this is safemig {ours}")
        );
        assert!(error("required-version = '>>1'").starts_with("safemig.toml:1:20: required-version: "));
    }

    #[test]
    fn the_closest_file_wins() {
        let (_dir, root) = tree(&[
            ("safemig.toml", "postgres-version = 11"),
            ("a/pyproject.toml", "[tool.safemig]\npostgres-version = 12"),
            ("a/b/pyproject.toml", "[tool.other]\nx = 1"),
            ("a/b/c/x.py", ""),
            ("d/.safemig.toml", "postgres-version = 13"),
            ("d/safemig.toml", "postgres-version = 14"),
            ("e/pyproject.toml", "not toml at all"),
        ]);
        for (directory, version, file) in [
            (".", 11, "safemig.toml"),
            ("a/b/c", 12, "a/pyproject.toml"),
            ("d", 13, "d/.safemig.toml"),
            ("e", 11, "safemig.toml"),
        ] {
            let config = with(&absolute(Path::new(directory), &root), &[], false).unwrap();
            assert_eq!(config.options.postgres_version, Some(version));
            assert_eq!(config.path, Some(root.join(file)));
            assert_eq!(config.root, root.join(file).parent().unwrap());
        }
        assert_eq!(with(&root, &[], true).unwrap(), Config { root: root.clone(), ..Config::default() });
    }

    #[test]
    fn positions_in_pyproject() {
        let (_dir, root) =
            tree(&[("pyproject.toml", "[project]\nname = 'x'\n\n[tool.safemig]\nselekt = []\n")]);
        let message = with(&root, &[], false).unwrap_err().to_string();
        assert!(
            message.ends_with("pyproject.toml:5:1: unknown key `selekt`\nhint: did you mean `select`?"),
            "{message}"
        );
    }

    #[test]
    fn command_line() {
        let (_dir, root) = tree(&[
            ("safemig.toml", "postgres-version = 11\nsplit = 'revision'"),
            ("other.toml", "postgres-version = 12"),
            ("p/pyproject.toml", ""),
        ]);
        let version =
            |arguments: &[&str], isolated| with(&root, arguments, isolated).unwrap().options.postgres_version;
        assert_eq!(version(&["postgres-version=13"], false), Some(13));
        assert_eq!(version(&["postgres-version = 13", "postgres-version = 14"], true), Some(14));
        assert_eq!(version(&["other.toml"], false), Some(12));
        assert_eq!(version(&["other.toml", "postgres-version=13"], false), Some(13));
        assert_eq!(
            with(&root, &["postgres-version=13"], false).unwrap().options.split,
            Some(Split::Revision)
        );
        let config = with(&root, &["per-file-ignores.'a/*' = ['ALL']"], false).unwrap();
        assert_eq!(config.options.per_file_ignores.unwrap()["a/*"], ["ALL"]);
        for (arguments, isolated, expected) in [
            (&["nope.toml"][..], false, "`--config nope.toml`: no such file"),
            (&["./a=b/nope.toml"], false, "`--config ./a=b/nope.toml`: no such file"),
            (&["split=revision"], false, "`--config split=revision` is not valid TOML"),
            (
                &["splitt='x'"],
                false,
                "`--config splitt='x'`: unknown key `splitt`\nhint: did you mean `split`?",
            ),
            (&["other.toml", "safemig.toml"], false, "`--config safemig.toml`: only one"),
            (&["other.toml"], true, "`--config other.toml` can't be used with `--isolated`"),
        ] {
            let message = with(&root, arguments, isolated).unwrap_err().to_string();
            assert!(message.starts_with(expected), "{message}");
        }
        let message = with(&root, &["p/pyproject.toml"], false).unwrap_err().to_string();
        assert!(message.ends_with("pyproject.toml has no table [tool.safemig]"), "{message}");
    }
}
