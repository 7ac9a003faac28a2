//! Which files to read.
//!
//! Two questions, two answers:
//!
//! - [`version_locations`]: the files that *Alembic* would load, whatever `.gitignore` or we think
//!   of them. The history must be whole, or every judgement that rests on it is wrong.
//! - [`named_paths`]: the files that the *user* named, as `ruff` reads its arguments: a file is
//!   taken as it is, a directory is walked to its bottom, without hidden and git-ignored files.
//!
//! **Invariant: a bad directory is a [`Problem`], the rest goes on.** Only a path that doesn't
//! exist at all is an error.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use globset::{Glob, GlobSet, GlobSetBuilder};
use ignore::WalkBuilder;

use crate::locate::AlembicProject;

/// Something that could not be read, and why. It belongs on stderr and makes the exit code 2; it
/// stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: PathBuf,
    pub(crate) message: String,
}

/// The files to read, absolute, sorted, each once, and what stood in the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    pub(crate) files: Vec<PathBuf>,
    pub(crate) problems: Vec<Problem>,
    /// Files and directories that an exclude glob hid: `--show-files` and the summary count them.
    pub(crate) excluded: Vec<PathBuf>,
}

/// Path globs as in ruff's `exclude`: a pattern without a slash (`legacy`, `2019_*.py`) matches the
/// name of a file or of a directory at any depth, any other pattern matches the path relative to
/// the directory of the configuration file.
///
/// `*` also crosses slashes; a directory that matches covers everything below it.
#[derive(Debug, Clone)]
pub(crate) struct PathGlobs {
    root: PathBuf,
    names: GlobSet,
    paths: GlobSet,
}

impl PathGlobs {
    /// `root` is what patterns with a slash are relative to.
    ///
    /// # Errors
    /// A pattern that is no glob, such as `[a`.
    pub(crate) fn new<S: AsRef<str>>(patterns: &[S], root: &Path) -> Result<Self> {
        let (mut names, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let stripped = pattern.trim_end_matches('/');
            let glob =
                |text: &str| Glob::new(text).with_context(|| format!("`{pattern}` is not a valid glob"));
            if stripped.contains('/') {
                let relative = stripped.strip_prefix("./").unwrap_or(stripped);
                paths.add(glob(relative)?);
            } else {
                names.add(glob(stripped)?);
            }
        }
        let build = |builder: GlobSetBuilder| builder.build().context("the globs are too large");
        Ok(Self { root: real(root), names: build(names)?, paths: build(paths)? })
    }

    /// Matches nothing.
    pub(crate) fn none() -> Self {
        Self { root: PathBuf::new(), names: GlobSet::empty(), paths: GlobSet::empty() }
    }

    /// Whether a pattern matches `path` or one of the directories that it is in.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        self.matches_below(path, Path::new(""))
    }

    /// As [`PathGlobs::matches`], but the directory `top` and those above it don't count: the user
    /// named `top`.
    fn matches_below(&self, path: &Path, top: &Path) -> bool {
        if self.names.is_empty() && self.paths.is_empty() {
            return false;
        }
        path.ancestors()
            .take_while(|part| *part != top && !part.as_os_str().is_empty())
            .any(|part| self.matches_alone(part))
    }

    fn matches_alone(&self, path: &Path) -> bool {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        path.file_name().is_some_and(|name| self.names.is_match(name))
            || self.paths.is_match(relative)
            || self.paths.is_match(path)
    }
}

/// What hides files.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    /// `exclude` of the configuration, or `--exclude`.
    pub(crate) exclude: PathGlobs,
    /// `--force-exclude`: exclusions hold for files named on the command line too, as pre-commit
    /// needs, which names every changed file.
    pub(crate) force: bool,
}

/// The Python files that `paths` name, relative to `working_directory`.
///
/// Files are taken whatever their name and whether or not git ignores them; directories are walked
/// recursively. The result may hold files that are no revisions (`env.py`): only their text can
/// tell.
///
/// # Errors
/// A path that doesn't exist. Everything else is a [`Problem`].
pub(crate) fn named_paths(paths: &[PathBuf], working_directory: &Path, filter: &Filter) -> Result<Walked> {
    let mut found = Collector::default();
    for path in paths {
        let start = absolute(path, working_directory);
        let metadata = match fs::metadata(&start) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("{}: no such file or directory", path.display())
            }
            Err(error) => {
                found.problem(&start, &error);
                continue;
            }
        };
        if filter.force && filter.exclude.matches(&start) {
            found.excluded.push(start);
        } else if metadata.is_dir() {
            let mut builder = WalkBuilder::new(&start);
            builder.follow_links(true);
            found.walk(&builder, &start, &filter.exclude);
        } else {
            found.add(start);
        }
    }
    Ok(found.finish())
}

/// All Python files below a directory, but for hidden and git-ignored ones; or the file itself.
pub(crate) fn python_files(path: &Path) -> Vec<PathBuf> {
    let entries = WalkBuilder::new(path).follow_links(true).build().filter_map(Result::ok);
    let is_python =
        |path: &PathBuf| path.extension().is_some_and(|extension| extension == "py") && path.is_file();
    entries.map(ignore::DirEntry::into_path).filter(is_python).collect()
}

/// The revision files that Alembic would load for `project`.
///
/// As in Alembic, a version location that doesn't exist is passed over; here it is a [`Problem`]
/// too, unless it is the only one (a project without revisions has no `versions` directory in git).
/// Directory links are not followed.
pub(crate) fn version_locations(project: &AlembicProject, exclude: &PathGlobs) -> Walked {
    let mut found = Collector::default();
    for location in &project.version_locations {
        if !location.exists() {
            if project.version_locations.len() > 1 {
                found.problems.push(Problem {
                    path: location.clone(),
                    message: "this version location does not exist".to_owned(),
                });
            }
            continue;
        }
        let mut builder = WalkBuilder::new(location);
        builder.standard_filters(false).max_depth((!project.recursive).then_some(1));
        found.walk(&builder, location, exclude);
    }
    found.finish()
}

/// Whether Alembic would load a file of this name from a version location.
///
/// Alembic's pattern is `(?!\.\#|__init__)(.*\.py)$` (`script/base.py`): not Emacs's lock files
/// `.#x.py`, nothing that starts with `__init__`, and only names that end in `.py`, which leaves
/// out `#x.py#`, `x.py~` and `x.pyc`.
pub(crate) fn is_revision_file_name(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.ends_with(b".py") && !bytes.starts_with(b".#") && !bytes.starts_with(b"__init__")
}

/// `path` as seen from `base`, without `.` and `..`.
pub(crate) fn absolute(path: &Path, base: &Path) -> PathBuf {
    let joined = base.join(path);
    if joined.components().any(|part| part == std::path::Component::ParentDir) {
        // Only the file system knows where `link/..` leads.
        return real(&joined);
    }
    joined.components().collect()
}

/// `path` without symbolic links, or as it is if it doesn't exist.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Gathers files; the same file by two names (links, overlapping paths) counts once.
#[derive(Default)]
struct Collector {
    /// By real path; the value is the name by which the user knows it, the shortest of several.
    files: BTreeMap<PathBuf, PathBuf>,
    problems: Vec<Problem>,
    excluded: Vec<PathBuf>,
}

impl Collector {
    fn add(&mut self, path: PathBuf) {
        self.files
            .entry(real(&path))
            .and_modify(|known| {
                let rank = |path: &Path| (path.components().count(), path.to_path_buf());
                if rank(&path) < rank(known) {
                    known.clone_from(&path);
                }
            })
            .or_insert(path);
    }

    fn problem(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.problems.push(Problem { path: path.to_path_buf(), message: error.to_string() });
    }

    /// Adds the revision files that `builder` finds below `top`, but for those that `exclude`
    /// matches.
    fn walk(&mut self, builder: &WalkBuilder, top: &Path, exclude: &PathGlobs) {
        let mut builder = builder.clone();
        let (globs, top_owned) = (exclude.clone(), top.to_path_buf());
        // An excluded directory is not entered, but it is seen, so that it can be counted.
        builder.filter_entry(move |entry| {
            let inside_excluded =
                entry.path().parent().is_some_and(|parent| globs.matches_below(parent, &top_owned));
            !inside_excluded && !entry.file_name().as_encoded_bytes().ends_with(b"__pycache__")
        });
        for entry in builder.build() {
            match entry {
                Ok(entry) => {
                    let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
                    let candidate = is_revision_file_name(entry.file_name());
                    if entry.depth() == 0 || !(is_dir || candidate) {
                        continue;
                    }
                    if exclude.matches_below(entry.path(), top) {
                        self.excluded.push(entry.into_path());
                    } else if candidate && entry.path().is_file() {
                        self.add(entry.into_path());
                    } else if candidate && entry.path_is_symlink() && !entry.path().exists() {
                        self.problem(entry.path(), &"this link leads nowhere");
                    }
                }
                Err(error) => {
                    let (path, message) = explain(&error, top);
                    self.problems.push(Problem { path, message });
                }
            }
        }
    }

    fn finish(self) -> Walked {
        let Self { files, mut problems, mut excluded } = self;
        let mut files: Vec<PathBuf> = files.into_values().collect();
        files.sort();
        problems.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.message.cmp(&b.message)));
        problems.dedup();
        excluded.sort();
        excluded.dedup();
        Walked { files, problems, excluded }
    }
}

/// Takes `ignore`'s nested errors apart into the path and a sentence.
fn explain(error: &ignore::Error, top: &Path) -> (PathBuf, String) {
    match error {
        ignore::Error::WithPath { path, err } => (path.clone(), explain(err, top).1),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => explain(err, top),
        ignore::Error::Loop { ancestor, child } => {
            (child.clone(), format!("this link leads back to {}; not followed", ancestor.display()))
        }
        ignore::Error::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (top.to_path_buf(), "this link leads nowhere".to_owned())
        }
        other => (top.to_path_buf(), other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with the given files; names that end in `/` are directories.
    fn tree(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = real(dir.path());
        for name in names {
            let path = root.join(name);
            if name.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
        (dir, root)
    }

    fn filter(root: &Path, patterns: &[&str], force: bool) -> Filter {
        Filter { exclude: PathGlobs::new(patterns, root).unwrap(), force }
    }

    fn relative(paths: &[PathBuf], root: &Path) -> Vec<String> {
        paths
            .iter()
            .map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"))
            .collect()
    }

    fn named(root: &Path, paths: &[&str], filter: &Filter) -> Walked {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        named_paths(&paths, root, filter).unwrap()
    }

    fn project(root: &Path, locations: &[&str], recursive: bool) -> AlembicProject {
        AlembicProject {
            version_locations: locations.iter().map(|name| root.join(name)).collect(),
            recursive,
            ..AlembicProject::bare(root)
        }
    }

    #[test]
    fn a_named_directory_is_walked_recursively_and_sorted() {
        let (_dir, root) =
            tree(&["b.py", "a.py", "z/c.py", "z/__pycache__/d.py", "z/x.txt", ".hidden/e.py", "__init__.py"]);
        let walked = named(&root, &["."], &filter(&root, &[], false));
        assert_eq!(relative(&walked.files, &root), ["a.py", "b.py", "z/c.py"]);
        assert!(walked.problems.is_empty());
    }

    #[test]
    fn editor_files_are_not_revisions() {
        for (name, expected) in [
            ("a.py", true),
            (".a.py", true),
            (".#a.py", false),
            ("#a.py#", false),
            ("a.py~", false),
            ("a.pyc", false),
            ("__init__.py", false),
            ("__init__x.py", false),
            ("#a.py", true),
        ] {
            assert_eq!(is_revision_file_name(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn gitignore_hides_from_a_walk_but_not_what_is_named() {
        let (_dir, root) = tree(&[".git/", "v/a.py", "v/b.py"]);
        fs::write(root.join(".gitignore"), "b.py\n").unwrap();
        let none = filter(&root, &[], false);
        assert_eq!(relative(&named(&root, &["v"], &none).files, &root), ["v/a.py"]);
        assert_eq!(relative(&named(&root, &["v/b.py"], &none).files, &root), ["v/b.py"]);
        // Alembic doesn't know git.
        let walked = version_locations(&project(&root, &["v"], false), &none.exclude);
        assert_eq!(relative(&walked.files, &root), ["v/a.py", "v/b.py"]);
    }

    #[test]
    fn a_missing_path_is_an_error() {
        let (_dir, root) = tree(&[]);
        let error = named_paths(&["nope.py".into()], &root, &filter(&root, &[], false)).unwrap_err();
        assert_eq!(error.to_string(), "nope.py: no such file or directory");
    }

    #[test]
    fn each_file_once() {
        let (_dir, root) = tree(&["v/a.py", "v/b.py"]);
        let walked = named(&root, &["v/b.py", "v", "v/../v/a.py", "./v/b.py"], &filter(&root, &[], false));
        assert_eq!(relative(&walked.files, &root), ["v/a.py", "v/b.py"]);
    }

    #[test]
    fn exclude_matches_names_paths_and_directories() {
        let (_dir, root) = tree(&["v/2019_a.py", "v/2020_b.py", "old/deep/c.py", "w/2019_d.py"]);
        for (pattern, left) in [
            ("v/2019_*", vec!["old/deep/c.py", "v/2020_b.py", "w/2019_d.py"]),
            ("2019_*", vec!["old/deep/c.py", "v/2020_b.py"]),
            ("old", vec!["v/2019_a.py", "v/2020_b.py", "w/2019_d.py"]),
            ("old/", vec!["v/2019_a.py", "v/2020_b.py", "w/2019_d.py"]),
            ("./old/deep", vec!["v/2019_a.py", "v/2020_b.py", "w/2019_d.py"]),
            ("**/deep/**", vec!["v/2019_a.py", "v/2020_b.py", "w/2019_d.py"]),
        ] {
            let walked = named(&root, &["."], &filter(&root, &[pattern], false));
            assert_eq!(relative(&walked.files, &root), left, "{pattern}");
            assert!(!walked.excluded.is_empty(), "{pattern}");
        }
        assert_eq!(PathGlobs::new(&["[a"], &root).unwrap_err().to_string(), "`[a` is not a valid glob");
    }

    #[test]
    fn force_exclude_holds_for_named_files() {
        let (_dir, root) = tree(&["v/a.py"]);
        assert_eq!(named(&root, &["v/a.py"], &filter(&root, &["v"], false)).files.len(), 1);
        assert_eq!(named(&root, &["v"], &filter(&root, &["v"], false)).files.len(), 1);
        let walked = named(&root, &["v/a.py"], &filter(&root, &["v"], true));
        assert!(walked.files.is_empty());
        assert_eq!(relative(&walked.excluded, &root), ["v/a.py"]);
    }

    #[test]
    fn alembic_reads_one_level_unless_recursive() {
        let (_dir, root) = tree(&["v/a.py", "v/sub/b.py", "v/__pycache__/a.py", "v/.#a.py", "v/__init__.py"]);
        let none = PathGlobs::none();
        assert_eq!(
            relative(&version_locations(&project(&root, &["v"], false), &none).files, &root),
            ["v/a.py"]
        );
        assert_eq!(
            relative(&version_locations(&project(&root, &["v"], true), &none).files, &root),
            ["v/a.py", "v/sub/b.py"]
        );
    }

    #[test]
    fn a_missing_location_is_reported_beside_others() {
        let (_dir, root) = tree(&["v/a.py"]);
        let walked = version_locations(&project(&root, &["v", "w"], false), &PathGlobs::none());
        assert_eq!(walked.files.len(), 1);
        assert_eq!(walked.problems[0].message, "this version location does not exist");
        assert_eq!(version_locations(&project(&root, &["w"], false), &PathGlobs::none()), Walked::default());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_once_and_loops_reported() {
        use std::os::unix::fs::symlink;
        let (_dir, root) = tree(&["v/a.py", "other/b.py"]);
        symlink("../other", root.join("v/other")).unwrap();
        symlink("..", root.join("v/loop")).unwrap();
        symlink("nothing.py", root.join("v/broken.py")).unwrap();
        symlink("a.py", root.join("v/z_alias.py")).unwrap();
        let walked = named(&root, &["v"], &filter(&root, &[], false));
        // `v/loop/other/b.py` is the same file by a longer name.
        assert_eq!(relative(&walked.files, &root), ["v/a.py", "v/other/b.py"]);
        let says = |text: &str| walked.problems.iter().any(|problem| problem.message.contains(text));
        assert!(says("leads back to") && says("leads nowhere"), "{:?}", walked.problems);
    }

    #[cfg(unix)]
    #[test]
    fn an_unreadable_directory_is_a_problem() {
        use std::os::unix::fs::PermissionsExt as _;
        let (_dir, root) = tree(&["v/a.py", "v/secret/b.py"]);
        let secret = root.join("v/secret");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).unwrap();
        let readable_anyway = fs::read_dir(&secret).is_ok(); // root
        let walked = named(&root, &["v"], &filter(&root, &[], false));
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o755)).unwrap();
        if !readable_anyway {
            assert_eq!(relative(&walked.files, &root), ["v/a.py"]);
            assert_eq!(walked.problems[0].path, secret);
        }
    }
}
