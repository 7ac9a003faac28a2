//! Directories of revisions: the original's, and the rewrite's beside it.
//!
//! Files with other contents are run from a *mirror* in a temporary directory: nothing is written into the
//! project, and a migration still finds what it reads relative to its `__file__`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use tempfile::TempDir;

use crate::git;
use crate::locate::AlembicProject;

/// Contents that differ from a project's: by absolute path, the bytes, or `None` where the file is missing.
pub(crate) type Files = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Those of the files that migrations import, by the names that they import them under.
pub(crate) type Modules = BTreeMap<String, PathBuf>;

/// Where Alembic finds a history. All paths are absolute.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) script_location: PathBuf,
    /// As in [`AlembicProject::version_locations`]; in a mirror all of them exist.
    pub(crate) version_locations: Vec<PathBuf>,
    /// The project's root as seen from this tree.
    pub(crate) root: PathBuf,
    /// The file with Alembic's settings.
    pub(crate) config: Option<PathBuf>,
    /// The modules in which the two trees differ, where this one has them.
    pub(crate) modules: Modules,
    /// Where Python shall look for the project's modules before it looks where the project may be installed.
    pub(crate) import_roots: Vec<PathBuf>,
    /// What is mirrored, and where.
    tops: Vec<(PathBuf, PathBuf)>,
    /// Removed with the tree; links in it are not followed.
    _scratch: Option<TempDir>,
}

impl Tree {
    /// The project as it stands.
    pub(crate) fn of(project: &AlembicProject, modules: &Modules) -> Self {
        Self {
            script_location: project.script_location.clone(),
            version_locations: project.version_locations.clone(),
            root: project.root.clone(),
            config: project.config_path.clone(),
            modules: modules.clone(),
            import_roots: import_roots(&project.root, modules),
            tops: Vec::new(),
            _scratch: None,
        }
    }

    /// The project's own path of one in this tree.
    pub(crate) fn original(&self, path: &Path) -> PathBuf {
        let below = |(top, mirror): &(PathBuf, PathBuf)| Some(top.join(path.strip_prefix(mirror).ok()?));
        self.tops.iter().find_map(below).unwrap_or_else(|| path.to_path_buf())
    }

    /// A mirror of the project in which `files`, of which migrations import the `modules`, have other contents, are
    /// missing, or are added.
    ///
    /// The directories on the way from the top of the repository (without one, from the project's root, or the package
    /// around it) to each location and each of `files` are directories of the mirror; whatever else is in them is a
    /// link to the original. A location that is not below that top has a mirror of its own.
    ///
    /// # Errors
    /// One of `files` is outside of the project and its locations; or the operating system refuses.
    pub(crate) fn mirror(project: &AlembicProject, files: &Files, modules: &Modules) -> Result<Self> {
        let scratch =
            tempfile::Builder::new().prefix("safemig-").tempdir().context("could not make a directory")?;
        let mirror = Mirror::new(project, files, scratch.path());
        mirror.make().context("could not make a mirror of the project")?;
        for (path, content) in files {
            let place = mirror
                .place(&resolved_file(path))
                .with_context(|| format!("{} is not in the project", path.display()))?;
            if let Some(content) = content {
                // Never through a link: names that differ may be one to the file system.
                File::create_new(&place)
                    .and_then(|mut file| file.write_all(content))
                    .with_context(|| format!("could not write {}", place.display()))?;
            }
        }
        let place = |path: PathBuf| mirror.place(&path).unwrap_or(path);
        let root = place(resolved(&project.root));
        let own = |(name, path): (&String, &PathBuf)| (name.clone(), place(resolved_file(path)));
        let own: Modules = modules.iter().map(own).collect();
        let mut import_roots = import_roots(&root, &own);
        // Of what is beside the mirror there is only one.
        import_roots.extend(self::import_roots(&project.root, modules));
        Ok(Self {
            script_location: place(resolved(&project.script_location)),
            version_locations: project.version_locations.iter().map(|path| place(resolved(path))).collect(),
            root,
            config: project.config_path.as_deref().map(|path| place(resolved_file(path))),
            modules: own,
            import_roots,
            tops: mirror.tops,
            _scratch: Some(scratch),
        })
    }
}

/// How to make a mirror. The originals' paths have no symbolic links: Alembic resolves them, too, before it loads
/// a revision.
struct Mirror {
    /// What is mirrored, and where. None of the originals is below another.
    tops: Vec<(PathBuf, PathBuf)>,
    /// Originals of the directories that are directories in the mirror.
    directories: BTreeSet<PathBuf>,
    /// Below these all directories are: Alembic looks for revisions there, but not through links.
    recursive: Vec<PathBuf>,
    /// What is not linked.
    files: BTreeSet<PathBuf>,
}

impl Mirror {
    fn new(project: &AlembicProject, files: &Files, scratch: &Path) -> Self {
        let versions: Vec<PathBuf> = project.version_locations.iter().map(|path| resolved(path)).collect();
        let mut directories: BTreeSet<PathBuf> =
            [&project.root, &project.script_location].map(|path| resolved(path)).into();
        directories.extend(versions.iter().cloned());

        let mut tops: Vec<(PathBuf, PathBuf)> = Vec::new();
        // Sorted, so that what is above others comes before them.
        for top in directories.iter().map(|directory| top_of(directory)).collect::<BTreeSet<_>>() {
            if !tops.iter().any(|(other, _)| top.starts_with(other)) {
                let name = top.file_name().unwrap_or(OsStr::new("top"));
                tops.push((top.to_path_buf(), scratch.join(tops.len().to_string()).join(name)));
            }
        }

        let files: BTreeSet<PathBuf> = files.keys().map(|path| resolved_file(path)).collect();
        directories.extend(files.iter().filter_map(|path| path.parent()).map(Path::to_path_buf));
        let above: Vec<PathBuf> =
            directories.iter().flat_map(|path| path.ancestors()).map(Path::to_path_buf).collect();
        directories.extend(above);
        Self { tops, directories, recursive: if project.recursive { versions } else { Vec::new() }, files }
    }

    /// Where the mirror has a file or directory of the project.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        self.tops.iter().find_map(|(top, copy)| Some(joined(copy, path.strip_prefix(top).ok()?)))
    }

    fn make(&self) -> io::Result<()> {
        for (top, copy) in &self.tops {
            fs::create_dir_all(copy)?;
            if top.is_dir() {
                self.fill(top, copy)?;
            }
        }
        // Those that the project doesn't have (yet).
        self.directories.iter().filter_map(|path| self.place(path)).try_for_each(fs::create_dir_all)
    }

    /// Fills a directory of the mirror.
    fn fill(&self, original: &Path, copy: &Path) -> io::Result<()> {
        for entry in fs::read_dir(original)? {
            let entry = entry?;
            let (path, place) = (entry.path(), copy.join(entry.file_name()));
            if entry.file_name() == "__pycache__" || self.files.contains(&path) {
                continue;
            }
            let recursive = || self.recursive.iter().any(|location| path.starts_with(location));
            // A link is neither.
            if self.directories.contains(&path) || (entry.file_type()?.is_dir() && recursive()) {
                fs::create_dir(&place)?;
                self.fill(&path, &place)?;
            } else {
                stand_in(&path, &place)?;
            }
        }
        Ok(())
    }
}

/// The top of the repository that a directory is in, otherwise the outermost of the nested packages that it is in, or the
/// directory itself.
fn top_of(directory: &Path) -> &Path {
    // Where files are copied, as few as possible.
    let repository = |above: &&Path| cfg!(unix) && above.join(".git").exists();
    let package = || directory.ancestors().take_while(|above| is_package(above)).last();
    directory.ancestors().find(repository).or_else(package).unwrap_or(directory)
}

/// Where the modules of a project are imported from: a package is imported from the directory that it is in.
fn import_roots(root: &Path, modules: &Modules) -> Vec<PathBuf> {
    let root = root.ancestors().find(|above| !is_package(above));
    let above = |(name, path): (&String, &PathBuf)| {
        let depth = name.split('.').count() + usize::from(path.ends_with("__init__.py"));
        path.ancestors().nth(depth).map(Path::to_path_buf)
    };
    let of_modules: BTreeSet<PathBuf> = modules.iter().filter_map(above).collect();
    of_modules.into_iter().chain(root.map(Path::to_path_buf)).collect()
}

fn is_package(directory: &Path) -> bool {
    directory.join("__init__.py").is_file()
}

#[cfg(unix)]
fn stand_in(original: &Path, place: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(original, place)
}

#[cfg(not(unix))]
fn stand_in(original: &Path, place: &Path) -> io::Result<()> {
    copy(original, place)
}

/// Copies a file or directory, without what no migration reads: hidden directories, Python environments and
/// packages of JavaScript.
#[cfg(any(test, not(unix)))]
fn copy(original: &Path, place: &Path) -> io::Result<()> {
    if !original.is_dir() {
        // A link may lead nowhere.
        return if original.exists() { fs::copy(original, place).map(drop) } else { Ok(()) };
    }
    let name = original.file_name().unwrap_or_default();
    let hidden = name.as_encoded_bytes().starts_with(b".");
    if hidden || name == "__pycache__" || name == "node_modules" || original.join("pyvenv.cfg").exists() {
        return Ok(());
    }
    fs::create_dir(place)?;
    for entry in fs::read_dir(original)? {
        let entry = entry?;
        copy(&entry.path(), &place.join(entry.file_name()))?;
    }
    Ok(())
}

/// A path without symbolic links, so far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let existing =
        |above: &Path| Some(joined(&fs::canonicalize(above).ok()?, path.strip_prefix(above).ok()?));
    path.ancestors().find_map(existing).unwrap_or_else(|| path.to_path_buf())
}

/// The path of a file without symbolic links, unless the file itself is one: it keeps its name.
fn resolved_file(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        _ => resolved(path),
    }
}

/// `join`, which appends a separator when there is nothing to append.
fn joined(base: &Path, rest: &Path) -> PathBuf {
    base.components().chain(rest.components()).collect()
}

/// What the project's `env.py` and version locations held at a git revision, so far as that differs from the
/// working tree. Files that git ignores are left as they are.
///
/// # Errors
/// The project is in no repository, git doesn't know the revision, or there is no git.
pub(crate) fn at_git_revision(project: &AlembicProject, revision: &str) -> Result<Files> {
    let directory = &project.script_location;
    let top = match git::top(directory)? {
        Ok(top) => top,
        Err(error) => bail!("no git repository was found at {}: {error}", directory.display()),
    };
    // Each as the project names it, and as git does.
    let env_py = directory.join("env.py");
    let mut places: Vec<(&Path, String)> = Vec::new();
    for path in project.version_locations.iter().chain([&env_py]) {
        if let Ok(below) = resolved(path).strip_prefix(&top) {
            let parts: Vec<_> = below.iter().map(OsStr::to_string_lossy).collect();
            places.push((path, if parts.is_empty() { ".".to_owned() } else { parts.join("/") }));
        }
    }
    let names: Vec<&str> = places.iter().map(|(_, name)| name.as_str()).collect();
    // Names that are not UTF-8 are no revision's.
    let in_project = |path: &[u8]| {
        let path = str::from_utf8(path).ok()?;
        places.iter().find_map(|(place, name)| {
            let below =
                if name == "." { Path::new(path) } else { Path::new(path).strip_prefix(name).ok()? };
            Some(joined(place, below))
        })
    };

    // With `^{commit}` a revision can be no option, either.
    let commit = format!("{revision}^{{commit}}");
    let listed =
        git::run(&top, &[&["ls-tree", "-r", "-z", "--full-tree", &commit, "--"], &*names].concat(), None)?
            .map_err(|error| {
                anyhow!(
                    "git could not read the revision `{revision}`: {error}\n\
                 hint: in a shallow clone, fetch the revision first"
                )
            })?;
    let mut objects = Vec::new();
    let mut present = BTreeSet::new();
    for entry in listed.split(|byte| *byte == 0) {
        // `100644 blob 257cc56…\tpath`
        let mut halves = entry.splitn(2, |byte| *byte == b'\t');
        let (Some(about), Some(path)) = (halves.next(), halves.next()) else { continue };
        let Some(path) = in_project(path) else { continue };
        present.insert(path.clone());
        let mut about = str::from_utf8(about)?.split(' ');
        // Neither links nor submodules.
        if about.next().is_some_and(|mode| mode.starts_with("100"))
            && let Some(object) = about.nth(1)
        {
            objects.push((path, object.to_owned()));
        }
    }
    let mut files = Files::new();
    let (paths, objects): (Vec<PathBuf>, Vec<String>) = objects.into_iter().unzip();
    for (path, content) in paths.into_iter().zip(contents(&top, &objects)?) {
        if !fs::read(&path).is_ok_and(|now| now == content) {
            files.insert(path, Some(content));
        }
    }

    let arguments =
        ["--literal-pathspecs", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"];
    let now = git::run(&top, &[&arguments, &*names].concat(), None)?
        .map_err(|error| anyhow!("git ls-files: {error}"))?;
    for path in now.split(|byte| *byte == 0).filter_map(in_project) {
        if !present.contains(&path) && path.is_file() {
            files.insert(path, None);
        }
    }
    Ok(files)
}

/// The contents of git's objects, in their order.
fn contents(top: &Path, objects: &[String]) -> Result<Vec<Vec<u8>>> {
    // From a file: git would stop reading a pipe while nobody reads what it writes.
    let mut input = tempfile::tempfile().context("could not make a temporary file")?;
    input.write_all((objects.join("\n") + "\n").as_bytes())?;
    input.rewind()?;
    let output = git::run(top, &["cat-file", "--batch"], Some(input))?
        .map_err(|error| anyhow!("git cat-file: {error}"))?;
    let mut rest = output.as_slice();
    let mut contents = Vec::new();
    for object in objects {
        // `257cc56… blob 7\ncontent\n`
        let parsed = (|| {
            let end = memchr::memchr(b'\n', rest)?;
            let size: usize = str::from_utf8(&rest[..end]).ok()?.rsplit(' ').next()?.parse().ok()?;
            let content = rest.get(end + 1..end + 1 + size)?;
            Some((content, rest.get(end + 1 + size + 1..)?))
        })();
        let Some((content, after)) = parsed else { bail!("git does not have the object {object}") };
        contents.push(content.to_vec());
        rest = after;
    }
    Ok(contents)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A directory with files, whose text is their name.
    fn tree(files: &[&str]) -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for file in files {
            put(&root.join(file), file);
        }
        (directory, root)
    }

    fn project(root: &Path, versions: &[&str]) -> AlembicProject {
        AlembicProject {
            config_path: Some(root.join("alembic.ini")),
            script_location: root.join("m"),
            version_locations: versions.iter().map(|path| root.join(path)).collect(),
            root: root.to_path_buf(),
            ..AlembicProject::bare(root)
        }
    }

    fn changes(root: &Path, files: &[(&str, Option<&str>)]) -> Files {
        files
            .iter()
            .map(|(name, text)| (root.join(name), text.map(|text| text.as_bytes().to_vec())))
            .collect()
    }

    /// The names in a directory, with `@` after those of links and `/` after those of directories.
    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                let mark = if kind.is_symlink() {
                    "@"
                } else if kind.is_dir() {
                    "/"
                } else {
                    ""
                };
                format!("{}{mark}", entry.file_name().to_str().unwrap())
            })
            .collect();
        names.sort();
        names
    }

    fn read(path: impl AsRef<Path>) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_mirror() {
        let (_directory, root) = tree(&[
            "a project/alembic.ini",
            "a project/sql/x.sql",
            "a project/m/env.py",
            "a project/m/versions/a.py",
            "a project/m/versions/b.py",
            "a project/m/versions/c.py",
            "a project/m/versions/a.csv",
            "a project/m/versions/data/d.csv",
            "a project/m/versions/__pycache__/a.pyc",
        ]);
        let root = root.join("a project");
        let files = changes(
            &root,
            &[
                ("m/versions/a.py", Some("new")),
                ("m/versions/b.py", None),
                ("m/versions/e.py", Some("added")),
            ],
        );
        let mirror = Tree::mirror(&project(&root, &["m/versions"]), &files, &Modules::new()).unwrap();
        assert!(mirror.root.ends_with("a project") && !mirror.root.starts_with(&root));
        assert_eq!(mirror.script_location, mirror.root.join("m"));
        assert_eq!(mirror.version_locations, [mirror.root.join("m/versions")]);
        assert_eq!(mirror.config, Some(mirror.root.join("alembic.ini")));
        assert_eq!(names(&mirror.root), ["alembic.ini@", "m/", "sql@"]);
        assert_eq!(names(&mirror.root.join("m")), ["env.py@", "versions/"]);
        let versions = &mirror.version_locations[0];
        assert_eq!(names(versions), ["a.csv@", "a.py", "c.py@", "data@", "e.py"]);
        assert_eq!(read(versions.join("a.py")), "new");
        assert_eq!(read(versions.join("e.py")), "added");
        assert_eq!(read(versions.join("data/d.csv")), "a project/m/versions/data/d.csv");
        let file = fs::canonicalize(versions.join("a.py")).unwrap();
        assert_eq!(read(file.ancestors().nth(3).unwrap().join("sql/x.sql")), "a project/sql/x.sql");

        let place = mirror.root.clone();
        drop(mirror);
        assert!(!place.exists());
        assert_eq!(read(root.join("m/versions/a.py")), "a project/m/versions/a.py");
        assert_eq!(read(root.join("m/versions/b.py")), "a project/m/versions/b.py");
        assert_eq!(read(root.join("sql/x.sql")), "a project/sql/x.sql");
        assert!(!root.join("m/versions/e.py").exists());
    }

    #[test]
    fn nested_and_recursive_locations() {
        let (_directory, root) = tree(&[
            "p/m/env.py",
            "p/m/v/a.py",
            "p/m/v/old/b.py",
            "p/m/v/old/older/c.py",
            "p/m/v/new/d.py",
            "other/e.py",
        ]);
        let root = root.join("p");
        symlink(root.parent().unwrap().join("other"), root.join("m/v/link")).unwrap();
        let files = changes(&root, &[("m/v/old/b.py", Some("new")), ("m/v/2024/x/f.py", Some("added"))]);
        let mut project = project(&root, &["m/v", "m/v/old", "gone"]);
        project.config_path = None;
        let mirror = Tree::mirror(&project, &files, &Modules::new()).unwrap();
        assert_eq!(mirror.config, None);
        let place = |name: &str| mirror.root.join(name);
        assert_eq!(mirror.version_locations, [place("m/v"), place("m/v/old"), place("gone")]);
        assert_eq!(names(&place("m/v")), ["2024/", "a.py@", "link@", "new@", "old/"]);
        assert_eq!(names(&place("m/v/old")), ["b.py", "older@"]);
        assert_eq!(read(place("m/v/2024/x/f.py")), "added");
        assert!(names(&place("gone")).is_empty());

        // Alembic doesn't follow links to directories.
        project.recursive = true;
        let mirror = Tree::mirror(&project, &files, &Modules::new()).unwrap();
        let place = |name: &str| mirror.root.join(name);
        assert_eq!(names(&place("m/v")), ["2024/", "a.py@", "link@", "new/", "old/"]);
        assert_eq!(names(&place("m/v/old")), ["b.py", "older/"]);
        assert_eq!(names(&place("m/v/old/older")), ["c.py@"]);
    }

    #[test]
    fn locations_outside_of_the_root() {
        let (_directory, top) =
            tree(&["p/m/env.py", "p/m/v/a.py", "q/v/b.py", "q/v/sub/c.py", "q/sql/x.sql", "r/v/d.py"]);
        symlink(top.join("r/v"), top.join("p/link")).unwrap();
        symlink(top.join("p"), top.join("project")).unwrap();
        let root = top.join("project");
        let project = project(&root, &["m/v", "../q/v", "../q/v/sub", "link"]);
        let files = changes(
            &root,
            &[
                ("../q/v/b.py", Some("B")),
                ("link/d.py", Some("D")),
                ("../q/v/sub/c.py", None),
                ("m/v/a.py", None),
            ],
        );
        let mirror = Tree::mirror(&project, &files, &Modules::new()).unwrap();
        assert!(mirror.root.ends_with("p"));
        let [own, other, below, linked] = mirror.version_locations.as_slice() else { panic!() };
        assert_eq!(*own, mirror.root.join("m/v"));
        assert!(names(own).is_empty());
        assert!(!other.starts_with(&mirror.root) && other.ends_with("v"));
        assert_eq!(names(other), ["b.py", "sub/"]);
        assert_eq!(read(other.join("b.py")), "B");
        assert_eq!(*below, other.join("sub"));
        assert!(names(below).is_empty());
        assert_eq!(read(linked.join("d.py")), "D");

        // In a repository everything is where it was.
        fs::create_dir(top.join(".git")).unwrap();
        let mirror = Tree::mirror(&project, &files, &Modules::new()).unwrap();
        assert_eq!(names(mirror.root.parent().unwrap()), [".git@", "p/", "project@", "q/", "r/"]);
        assert_eq!(read(mirror.version_locations[1].join("../sql/x.sql")), "q/sql/x.sql");
        assert_eq!(mirror.version_locations[3], mirror.root.parent().unwrap().join("r/v"));

        let (_directory, elsewhere) = tree(&["x.py"]);
        let error =
            Tree::mirror(&project, &changes(&elsewhere, &[("x.py", None)]), &Modules::new()).unwrap_err();
        assert!(format!("{error:#}").ends_with("x.py is not in the project"), "{error:#}");
    }

    #[test]
    fn copies_where_there_are_no_links() {
        let (_directory, root) =
            tree(&["p/a", "p/b/c", "p/.git/x", "p/venv/pyvenv.cfg", "p/node_modules/x", "p/b/__pycache__/x"]);
        symlink("nowhere", root.join("p/b/link")).unwrap();
        copy(&root.join("p"), &root.join("q")).unwrap();
        assert_eq!(names(&root.join("q")), ["a", "b/"]);
        assert_eq!(names(&root.join("q/b")), ["c"]);
    }

    fn run_git(directory: &Path, arguments: &[&str]) {
        let settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
        git::run(directory, &[&settings, arguments].concat(), None).unwrap().unwrap();
    }

    #[test]
    fn contents_of_a_git_revision() {
        let (_directory, top) = tree(&[
            ".gitignore",
            "a b/alembic.ini",
            "a b/m/env.py",
            "a b/m/v/same.py",
            "a b/m/v/changed.py",
            "a b/m/v/deleted.py",
            "a b/m/v/old/näme \"x\".py",
            "a b/other.py",
        ]);
        fs::write(top.join(".gitignore"), "*.local\n").unwrap();
        let root = top.join("a b");
        symlink("same.py", root.join("m/v/link.py")).unwrap();
        run_git(&top, &["init", "-q"]);
        run_git(&top, &["add", "."]);
        run_git(&top, &["commit", "-q", "-m", "one"]);
        run_git(&top, &["tag", "one"]);
        put(&root.join("m/v/changed.py"), "changed\r\n\0");
        fs::remove_file(root.join("m/v/deleted.py")).unwrap();
        put(&root.join("m/v/old/näme \"x\".py"), "");
        put(&root.join("m/v/committed.py"), "");
        put(&root.join("other.py"), "");
        run_git(&top, &["add", "."]);
        run_git(&top, &["commit", "-q", "-m", "two"]);
        put(&root.join("m/v/untracked.py"), "");
        put(&root.join("m/v/settings.local"), "");
        put(&root.join("m/env.py"), "new");

        let one = changes(
            &root,
            &[
                ("m/env.py", Some("a b/m/env.py")),
                ("m/v/changed.py", Some("a b/m/v/changed.py")),
                ("m/v/committed.py", None),
                ("m/v/deleted.py", Some("a b/m/v/deleted.py")),
                ("m/v/old/näme \"x\".py", Some("a b/m/v/old/näme \"x\".py")),
                ("m/v/untracked.py", None),
            ],
        );
        let nested = project(&root, &["m/v", "m/v/old"]);
        assert_eq!(at_git_revision(&nested, "one").unwrap(), one);
        assert_eq!(at_git_revision(&nested, "HEAD~1").unwrap(), one);
        let mirror = Tree::mirror(&nested, &one, &Modules::new()).unwrap();
        assert_eq!(
            names(&mirror.version_locations[0]),
            ["changed.py", "deleted.py", "link.py@", "old/", "same.py@", "settings.local@"]
        );

        let two = changes(&root, &[("m/env.py", Some("a b/m/env.py")), ("m/v/untracked.py", None)]);
        assert_eq!(at_git_revision(&project(&root, &["m/v"]), "HEAD").unwrap(), two);

        // The whole repository; named through a link.
        let link = top.with_extension("link");
        symlink(&top, &link).unwrap();
        let mut whole = project(&link.join("a b"), &["m/v", ".."]);
        whole.version_locations[1] = link.clone();
        let found = at_git_revision(&whole, "one").unwrap();
        let expected: Files = one
            .iter()
            .map(|(path, content)| (link.join(path.strip_prefix(&top).unwrap()), content.clone()))
            .chain([(link.join("a b/other.py"), Some(b"a b/other.py".to_vec()))])
            .collect();
        fs::remove_file(&link).unwrap();
        assert_eq!(found, expected);

        for revision in ["nope", "--help", "-r"] {
            let error = at_git_revision(&project(&root, &["m/v"]), revision).unwrap_err().to_string();
            assert!(error.starts_with(&format!("git could not read the revision `{revision}`: ")), "{error}");
            assert!(error.contains("\nhint: "), "{error}");
        }
    }

    #[test]
    fn no_repository() {
        let (_directory, root) = tree(&["m/v/a.py"]);
        let error = at_git_revision(&project(&root, &["m/v"]), "HEAD").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no git repository was found at {}/m: ", root.display())),
            "{error}"
        );
    }
}
