//! What git knows about a project.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow, bail};

/// Run git; what it printed, or its complaint.
///
/// # Errors
/// There is no git.
pub(crate) fn run(
    directory: &Path,
    arguments: &[&str],
    input: Option<File>,
) -> Result<Result<Vec<u8>, String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        // A hook has the first two of its own repository; the directory says which one is meant.
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .stdin(input.map_or_else(Stdio::null, Stdio::from))
        .output()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => anyhow!("the program `git` was not found\nhint: install git"),
            _ => anyhow!("could not run git: {error}"),
        })?;
    if output.status.success() {
        return Ok(Ok(output.stdout));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Ok(Err(complaint.trim().trim_start_matches("fatal: ").to_owned()))
}

/// The root of the repository around `directory`, links resolved; `Err` is git's complaint.
///
/// # Errors
/// There is no git.
pub(crate) fn top(directory: &Path) -> Result<Result<PathBuf, String>> {
    let top = match run(directory, &["rev-parse", "--show-toplevel"], None)? {
        Ok(top) => top,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let top = PathBuf::from(str::from_utf8(&top)?.trim_end_matches(['\r', '\n']));
    Ok(Ok(top.canonicalize().unwrap_or(top)))
}

/// The files of the repository around `directory` that are not as they were where the history of `HEAD` left that of
/// `revision`, or are not committed; links resolved.
///
/// # Errors
/// There is no git, no repository, or no such revision.
pub(crate) fn changed_since(directory: &Path, revision: &str) -> Result<BTreeSet<PathBuf>> {
    let top = top(directory)?.map_err(|complaint| {
        anyhow!("no git repository was found at {}: {complaint}", directory.display())
    })?;
    let hint = "hint: in a shallow clone, fetch the revision first";
    if revision.starts_with('-') {
        bail!("`{revision}` is no git revision");
    }
    let base = run(&top, &["merge-base", revision, "HEAD"], None)?.map_err(|complaint| {
        let complaint =
            if complaint.is_empty() { "it has nothing in common with HEAD".to_owned() } else { complaint };
        anyhow!("git could not compare with `{revision}`: {complaint}\n{hint}")
    })?;
    let base = str::from_utf8(&base)?.trim();
    let changed = run(&top, &["diff", "--name-only", "--no-renames", "-z", base, "--"], None)?
        .map_err(|complaint| anyhow!("git diff: {complaint}"))?;
    let new = run(&top, &["ls-files", "--others", "--exclude-standard", "-z"], None)?
        .map_err(|complaint| anyhow!("git ls-files: {complaint}"))?;
    let names = changed.split(|byte| *byte == 0).chain(new.split(|byte| *byte == 0));
    // Names that are not UTF-8 are no revision's.
    Ok(names.filter_map(|name| str::from_utf8(name).ok()).map(|name| top.join(name)).collect())
}

/// Which of some files, absolute and in one repository, are not committed as they are; `None` without a repository.
///
/// # Errors
/// There is no git, or it fails.
pub(crate) fn uncommitted(directory: &Path, files: &[&Path]) -> Result<Option<BTreeSet<PathBuf>>> {
    let Ok(top) = top(directory)? else { return Ok(None) };
    let arguments =
        ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored=matching"];
    let status = run(&top, &arguments, None)?.map_err(|complaint| anyhow!("git status: {complaint}"))?;
    // `XY path`, and directories only where all of them is ignored.
    let entries = status.split(|byte| *byte == 0).filter_map(|entry| str::from_utf8(entry.get(3..)?).ok());
    let entries: Vec<PathBuf> = entries.map(|name| top.join(name)).collect();
    let real = files.iter().map(|file| file.canonicalize().unwrap_or_else(|_| file.to_path_buf()));
    Ok(Some(real.filter(|file| entries.iter().any(|entry| file.starts_with(entry))).collect()))
}
