//! Several files at once, all or none, even if the program is killed in between.
//!
//! Before the first file is replaced, a journal says what stood in each of them, and what is to stand there. It is
//! removed after the last. Who finds a journal that nobody holds a lock on puts everything back as it was.
//!
//! **Invariant: at every moment the disk has all of the old contents, or all of the new ones, in the files themselves or
//! in the journal.**

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Change, Prepared, WriteError, check_unchanged, directory_of, io_error, put_back, sync_directory,
    temporary_beside, write_atomically,
};

/// What a journal says. Fields are only ever added.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    files: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// Relative to the journal's directory, or absolute.
    path: PathBuf,
    /// `null`: there was no such file.
    old: Option<String>,
    new: String,
}

impl Entry {
    fn of(change: &Change, directory: &Path) -> io::Result<Self> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        Ok(Self {
            path: change.path.strip_prefix(directory).unwrap_or(&change.path).to_path_buf(),
            old: change.old.as_deref().map(text).transpose()?,
            new: text(&change.new)?,
        })
    }
}

/// Write every change or none. `step` is told how many files have been written whenever that may be asked.
///
/// All temporary files are written and checked before the first one is renamed, so that a full disk, a missing
/// permission or a changed file is noticed while nothing has happened yet. Should a rename fail all the same, the files
/// that were already replaced get their old content back and files that were created are removed.
///
/// # Errors
/// [`WriteError::Exists`] when there is a journal: [`recover`] first. Otherwise the first [`WriteError`];
/// [`WriteError::NotRestored`] when putting back failed too, and then the journal stays.
pub(crate) fn write_all(
    changes: &[Change],
    journal: &Path,
    step: &mut dyn FnMut(usize),
) -> Result<(), WriteError> {
    if changes.is_empty() {
        return Ok(());
    }
    let _lock = begin(changes, journal, step)?;
    match write_recorded(changes, step) {
        Err(error @ WriteError::NotRestored { .. }) => Err(error),
        done => {
            remove(journal)?;
            step(changes.len());
            done
        }
    }
}

/// Write the journal; it is ours as long as the file is open.
fn begin(changes: &[Change], journal: &Path, step: &mut dyn FnMut(usize)) -> Result<File, WriteError> {
    let invalid = |source| io_error(journal, "write", source);
    let directory = directory_of(journal);
    let files = changes.iter().map(|change| Entry::of(change, directory)).collect::<io::Result<_>>();
    let record = serde_json::to_vec(&Record { files: files.map_err(invalid)? })
        .map_err(|error| invalid(io::Error::from(error)))?;
    let temporary = temporary_beside(journal, &record, None)?;
    // A lock is the file's, whatever its name.
    match temporary.as_file().lock() {
        // Not every file system can; then it is only less sure that nobody else writes.
        Err(error) if error.kind() != io::ErrorKind::Unsupported => {
            return Err(io_error(journal, "lock", error));
        }
        _ => {}
    }
    step(0);
    let file = temporary.persist_noclobber(journal).map_err(|failed| match failed.error.kind() {
        io::ErrorKind::AlreadyExists => WriteError::Exists { path: journal.to_path_buf() },
        _ => io_error(journal, "create", failed.error),
    })?;
    sync_directory(journal)?;
    step(0);
    Ok(file)
}

fn write_recorded(changes: &[Change], step: &mut dyn FnMut(usize)) -> Result<(), WriteError> {
    let mut prepared = Vec::with_capacity(changes.len());
    for change in changes {
        prepared.push(Prepared::new(change)?);
        step(0);
    }
    let mut written = Vec::with_capacity(changes.len());
    for (done, one) in prepared.into_iter().enumerate() {
        match one.commit() {
            Ok(target) => written.push(target),
            Err(cause) => return Err(put_back(&changes[..done], cause)),
        }
        step(written.len());
    }
    // One flush for each directory, however many files it received.
    let directories: BTreeMap<&Path, &Path> =
        written.iter().map(|file| (directory_of(file), file.as_path())).collect();
    directories.into_values().try_for_each(sync_directory)
}

fn remove(journal: &Path) -> Result<(), WriteError> {
    fs::remove_file(journal).map_err(|source| io_error(journal, "remove", source))?;
    sync_directory(journal)
}

/// Whether there is a journal: a run was interrupted, or is under way.
pub(crate) fn is_interrupted(journal: &Path) -> bool {
    journal.exists()
}

/// Undo what an interrupted run has written; how many files it had begun with, `None` if there was no such run.
///
/// # Errors
/// Another run is under way; a file has been changed by somebody else since; see [`WriteError`]. The journal stays.
pub(crate) fn recover(journal: &Path, step: &mut dyn FnMut(usize)) -> Result<Option<usize>, WriteError> {
    let file = match File::open(journal) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(journal, "read", error)),
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(WriteError::Busy { path: journal.to_path_buf() }),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            return Err(io_error(journal, "lock", error));
        }
        _ => {}
    }
    let record: Record = serde_json::from_reader(io::BufReader::new(&file))
        .map_err(|error| io_error(journal, "read", io::Error::from(error)))?;
    let directory = directory_of(journal);
    let path = |entry: &Entry| directory.join(&entry.path);
    let mut to_undo = Vec::new();
    for entry in &record.files {
        let path = path(entry);
        let now = match fs::read(&path) {
            Ok(now) => Some(now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error(&path, "read", error)),
        };
        if now.as_deref() == Some(entry.new.as_bytes()) {
            to_undo.push(entry);
        } else if now.as_deref() != entry.old.as_deref().map(str::as_bytes) {
            return Err(WriteError::ChangedSince { path, journal: journal.to_path_buf() });
        }
    }
    for (number, entry) in to_undo.iter().enumerate() {
        let path = path(entry);
        if let Some(old) = &entry.old {
            write_atomically(&path, old.as_bytes(), entry.new.as_bytes())?;
        } else {
            check_unchanged(&path, entry.new.as_bytes())?;
            fs::remove_file(&path).map_err(|source| io_error(&path, "remove", source))?;
        }
        step(number);
    }
    sweep(&record, directory)?;
    step(to_undo.len());
    remove(journal)?;
    Ok(Some(record.files.len()))
}

/// Remove the temporary files of the interrupted run: those that begin as one of its files does.
fn sweep(record: &Record, directory: &Path) -> Result<(), WriteError> {
    let mut directories: BTreeMap<PathBuf, Vec<&Entry>> = BTreeMap::new();
    for entry in &record.files {
        let path = directory.join(&entry.path);
        let target = fs::canonicalize(&path).unwrap_or(path);
        directories.entry(directory_of(&target).to_path_buf()).or_default().push(entry);
    }
    for (directory, entries) in directories {
        let listed = fs::read_dir(&directory).map_err(|source| io_error(&directory, "read", source))?;
        for found in listed.filter_map(Result::ok) {
            let name = found.file_name();
            let name = name.to_string_lossy();
            if !(name.starts_with(super::TEMPORARY_PREFIX) && name.ends_with(super::TEMPORARY_SUFFIX)) {
                continue;
            }
            let Ok(content) = fs::read(found.path()) else { continue };
            let is_ours = |text: &str| text.as_bytes().starts_with(&content);
            if entries.iter().any(|entry| is_ours(&entry.new) || entry.old.as_deref().is_some_and(is_ours)) {
                fs::remove_file(found.path()).map_err(|source| io_error(&found.path(), "remove", source))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::{Command, Stdio};

    use super::*;

    const JOURNAL: &str = ".journal";

    fn changes(directory: &Path) -> Vec<Change> {
        let change = |name: &str, old: Option<&str>| Change {
            path: directory.join(name),
            old: old.map(|text| text.as_bytes().to_vec()),
            new: format!("new {name}\n").into_bytes(),
        };
        vec![change("a.py", Some("old a\n")), change("b/c.py", None), change("b/d.py", Some("old d\n"))]
    }

    fn project() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("b")).unwrap();
        for change in changes(directory.path()) {
            if let Some(old) = change.old {
                fs::write(change.path, old).unwrap();
            }
        }
        directory
    }

    /// Everything in a directory, by name.
    fn contents(directory: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.extend(
                    contents(&path).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)),
                );
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
        found
    }

    fn as_it_was() -> BTreeMap<String, String> {
        [("a.py", "old a\n"), ("b/d.py", "old d\n")]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into()
    }

    fn as_it_should_be() -> BTreeMap<String, String> {
        ["a.py", "b/c.py", "b/d.py"].map(|name| (name.to_owned(), format!("new {name}\n"))).into()
    }

    /// Run [`dies`] in a process of its own; whether it came to its end.
    fn survives(directory: &Path, at: usize, recovers: bool) -> bool {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "--ignored", "write::journal::tests::dies"]);
        command.env("DIRECTORY", directory).env("DIES_AT", at.to_string());
        command.env("RECOVERS", if recovers { "yes" } else { "no" });
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    #[test]
    #[ignore = "the others run it in a process of its own, where it dies"]
    fn dies() {
        let Some(directory) = env::var_os("DIRECTORY").map(PathBuf::from) else { return };
        let at: usize = env::var("DIES_AT").unwrap().parse().unwrap();
        let mut steps = 0;
        // Nothing is dropped: as if the process was killed.
        let mut step = |_: usize| {
            steps += 1;
            if steps == at {
                std::process::abort();
            }
        };
        let journal = directory.join(JOURNAL);
        if env::var("RECOVERS").unwrap() == "yes" {
            recover(&journal, &mut step).unwrap();
        } else {
            write_all(&changes(&directory), &journal, &mut step).unwrap();
        }
    }

    #[test]
    fn killed_at_any_step_nothing_is_lost() {
        let mut deaths = 0;
        for at in 1.. {
            let directory = project();
            if survives(directory.path(), at, false) {
                assert_eq!(contents(directory.path()), as_it_should_be());
                break;
            }
            deaths += 1;
            // Undoing is killed, too, at each of its steps.
            for again in 1.. {
                if survives(directory.path(), again, true) {
                    break;
                }
            }
            let mut found = contents(directory.path());
            // Before there is a journal, nobody knows of its temporary file.
            found.retain(|name, _| at > 1 || !name.starts_with(".safemig-"));
            let all = [as_it_was(), as_it_should_be()];
            assert!(all.contains(&found), "killed at step {at}: {found:?}");
        }
        assert_eq!(deaths, 9, "journal twice, three files twice, and the end");
    }

    #[test]
    fn what_somebody_changed_since_is_kept() {
        let directory = project();
        let journal = directory.path().join(JOURNAL);
        assert!(!survives(directory.path(), 7, false));
        fs::write(directory.path().join("a.py"), "somebody else's").unwrap();
        let before = contents(directory.path());
        let error = recover(&journal, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("a.py was changed since"), "{error}");
        assert_eq!(contents(directory.path()), before);
        fs::write(directory.path().join("a.py"), "old a\n").unwrap();
        assert_eq!(recover(&journal, &mut |_| {}).unwrap(), Some(3));
        assert_eq!(contents(directory.path()), as_it_was());
        assert_eq!(recover(&journal, &mut |_| {}).unwrap(), None);
    }

    #[test]
    fn one_at_a_time() {
        let directory = project();
        let journal = directory.path().join(JOURNAL);
        let mut refused = 0;
        write_all(&changes(directory.path()), &journal, &mut |done| {
            if done == 1 {
                let error = recover(&journal, &mut |_| {}).unwrap_err();
                assert!(matches!(error, WriteError::Busy { .. }), "{error}");
                let error = write_all(&changes(directory.path()), &journal, &mut |_| {}).unwrap_err();
                assert!(matches!(error, WriteError::Exists { .. }), "{error}");
                refused += 1;
            }
        })
        .unwrap();
        assert_eq!(refused, 1);
        assert_eq!(contents(directory.path()), as_it_should_be());
    }

    #[test]
    fn an_error_undoes_everything() {
        let directory = project();
        let journal = directory.path().join(JOURNAL);
        // Noticed while preparing.
        let mut wrong = changes(directory.path());
        wrong[2].old = Some(b"other".to_vec());
        assert!(matches!(write_all(&wrong, &journal, &mut |_| {}), Err(WriteError::Changed { .. })));
        assert_eq!(contents(directory.path()), as_it_was());
        // Noticed while renaming: the same new file twice.
        let mut twice = changes(directory.path());
        twice.push(twice[1].clone());
        assert!(matches!(write_all(&twice, &journal, &mut |_| {}), Err(WriteError::Exists { .. })));
        assert_eq!(contents(directory.path()), as_it_was());
    }
}
