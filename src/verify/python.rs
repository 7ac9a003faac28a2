//! Which Python runs the migrations.

use std::env;
use std::ffi::OsStr;
use std::path::{self, Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::versions::levels;

/// Where an environment keeps its interpreter, best first. A `python` may be Python 2 outside of environments,
/// but never inside one that has Alembic.
const IN_ENVIRONMENT: &[&str] =
    if cfg!(windows) { &["Scripts/python.exe", "python.exe"] } else { &["bin/python", "bin/python3"] };

/// What an interpreter is called on the `PATH`, best first. Windows answers to `python3` with its shop.
const ON_PATH: &[&str] = if cfg!(windows) { &["python.exe"] } else { &["python3", "python"] };

/// The interpreter of the project, the first that exists: `given` (`--python`, which may also be the directory
/// of an environment or a command on the `PATH`), that of `virtual_env`, that of a directory `.venv`, `venv` or
/// `env` at or above `root` (up to the repository's), one on the `PATH`.
///
/// Symbolic links are not resolved: by the path of its link, Python knows its environment.
///
/// # Errors
/// `given` is no interpreter, or there is none anywhere.
pub(crate) fn find(given: Option<&Path>, virtual_env: Option<&Path>, root: &Path) -> Result<PathBuf> {
    find_with(given, virtual_env, root, env::var_os("PATH").as_deref().unwrap_or_default())
}

fn find_with(
    given: Option<&Path>,
    virtual_env: Option<&Path>,
    root: &Path,
    search_path: &OsStr,
) -> Result<PathBuf> {
    let on_path = |name: &Path| {
        env::split_paths(search_path).map(|directory| directory.join(name)).find(|path| path.is_file())
    };
    if let Some(given) = given {
        let is_command = given.components().count() == 1;
        let found = if given.is_dir() {
            let Some(interpreter) = in_environment(given) else {
                bail!(
                    "no Python in {}\nhint: `--python` takes an interpreter or the directory of a virtual \
                     environment",
                    given.display()
                );
            };
            Some(interpreter)
        } else if given.is_file() {
            Some(given.to_path_buf())
        } else if is_command {
            on_path(given)
        } else {
            None
        };
        let Some(found) = found else {
            let place = if is_command { " here or on the PATH" } else { "" };
            bail!("`--python {}`: no such file{place}", given.display());
        };
        return path::absolute(&found).with_context(|| format!("could not find {}", found.display()));
    }
    virtual_env
        .and_then(in_environment)
        .or_else(|| {
            levels(root).into_iter().find_map(|level| {
                [".venv", "venv", "env"].iter().find_map(|name| in_environment(&level.join(name)))
            })
        })
        .or_else(|| ON_PATH.iter().find_map(|name| on_path(Path::new(name))))
        .with_context(|| {
            format!(
                "found no Python: no active virtual environment, no `.venv`, `venv` or `env` at or above {}, and no \
                 `{}` on the PATH\nhint: name the interpreter that has the project's Alembic with `--python`",
                root.display(),
                ON_PATH.join("` or `")
            )
        })
}

fn in_environment(directory: &Path) -> Option<PathBuf> {
    IN_ENVIRONMENT.iter().map(|name| directory.join(name)).find(|path| path.is_file())
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with empty files.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        directory
    }

    fn found(
        given: Option<&str>,
        virtual_env: Option<&str>,
        root: &str,
        directory: &Path,
    ) -> Result<String, String> {
        let given = given.map(|path| directory.join(path));
        let virtual_env = virtual_env.map(|path| directory.join(path));
        let search_path = env::join_paths([directory.join("no"), directory.join("usr/bin")]).unwrap();
        find_with(given.as_deref(), virtual_env.as_deref(), &directory.join(root), &search_path)
            .map(|path| path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned())
            .map_err(|error| format!("{error:#}").replace(directory.to_str().unwrap(), "/x"))
    }

    #[test]
    fn in_the_documented_order() {
        let tree = tree(&[
            "usr/bin/python",
            "usr/bin/python3",
            "active/bin/python",
            "project/.git/HEAD",
            "project/venv/bin/python3",
            "project/service/env/bin/python",
            "project/service/db/a.py",
            "env/bin/python",
        ]);
        let found = |given, active, root| found(given, active, root, tree.path()).unwrap();
        let service = "project/service/db";
        assert_eq!(found(Some("usr/bin/python"), Some("active"), service), "usr/bin/python");
        assert_eq!(found(Some("project/venv"), Some("active"), service), "project/venv/bin/python3");
        assert_eq!(found(None, Some("active"), service), "active/bin/python");
        // Gone, or without an interpreter.
        assert_eq!(found(None, Some("project"), service), "project/service/env/bin/python");
        assert_eq!(found(None, None, "project"), "project/venv/bin/python3");
        // Above the repository, or above a project outside of one.
        fs::remove_dir_all(tree.path().join("project/venv")).unwrap();
        assert_eq!(found(None, None, "project"), "usr/bin/python3");
        assert_eq!(found(None, None, "usr"), "usr/bin/python3");
        fs::remove_file(tree.path().join("usr/bin/python3")).unwrap();
        assert_eq!(found(None, None, "usr"), "usr/bin/python");
    }

    #[test]
    fn links_stay_as_they_are() {
        let tree = tree(&["usr/bin/python3.12", "root/.venv/pyvenv.cfg"]);
        fs::create_dir(tree.path().join("root/.venv/bin")).unwrap();
        symlink(tree.path().join("usr/bin/python3.12"), tree.path().join("root/.venv/bin/python")).unwrap();
        assert_eq!(found(None, None, "root", tree.path()).unwrap(), "root/.venv/bin/python");
        let search_path = tree.path().join("usr/bin");
        let command = Path::new("python3.12");
        let path = find_with(Some(command), None, tree.path(), search_path.as_os_str()).unwrap();
        assert_eq!(path, tree.path().join("usr/bin/python3.12"));
    }

    #[test]
    fn errors() {
        let tree = tree(&["empty/a"]);
        let error = |given| found(given, None, "empty", tree.path()).unwrap_err();
        assert_eq!(error(Some("gone/python")), "`--python /x/gone/python`: no such file");
        assert_eq!(
            error(Some("empty")),
            "no Python in /x/empty\nhint: `--python` takes an interpreter or the directory of a virtual environment"
        );
        assert_eq!(
            error(None),
            "found no Python: no active virtual environment, no `.venv`, `venv` or `env` at or above /x/empty, and no \
             `python3` or `python` on the PATH\nhint: name the interpreter that has the project's Alembic with \
             `--python`"
        );
        let given = Path::new("python9");
        let error = find_with(Some(given), None, tree.path(), OsStr::new("")).unwrap_err();
        assert_eq!(error.to_string(), "`--python python9`: no such file here or on the PATH");
    }
}
