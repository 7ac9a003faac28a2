//! The only module that writes files.
//!
//! **Invariant: a file is either as it was or as it should be.** The new text goes to a temporary
//! file in the same directory, is flushed to the disk, takes over the permission bits (and, for
//! root, the owner) of the file that it replaces, and is renamed over it. A file that changed since
//! it was read is left alone.
//!
//! **Invariant: a symbolic link stays a link.** Links are resolved first; the file behind the link
//! is replaced.

mod journal;

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

pub(crate) use journal::{is_interrupted, recover, write_all};

/// The names of temporary files start with a dot and don't end in `.py`: Alembic and our own walk ignore them, should
/// the program be killed.
const TEMPORARY_PREFIX: &str = ".safemig-";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// Why a file was not written. Whatever the reason, what stood in the file still stands there, with
/// one exception: when flushing the *directory* fails, the new content is in place but may not
/// survive a power cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Somebody else wrote to the file between our reading and our writing.
    #[error("{} changed since it was read; nothing was written to it", .path.display())]
    Changed { path: PathBuf },
    /// A file that should be created is already there.
    #[error("{} already exists; it was not overwritten", .path.display())]
    Exists { path: PathBuf },
    /// The file's permission bits forbid writing (renaming over it would be possible, but not what
    /// its owner meant).
    #[error("{} is read-only", .path.display())]
    ReadOnly { path: PathBuf },
    /// The path names a directory, a device or a pipe.
    #[error("{} is not a regular file", .path.display())]
    NotAFile { path: PathBuf },
    /// The operating system refused: no such directory, no permission, no space left, ...
    #[error("could not {doing} {}: {source}", .path.display())]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// Another run holds the journal.
    #[error("another safemig is writing: it holds {}", .path.display())]
    Busy { path: PathBuf },
    /// An interrupted run can't be undone, because somebody has changed one of its files since.
    #[error(
        "{} was changed since a run was interrupted that had begun to write it\nhint: put it back as it was before that \
         run (`git checkout`), or, to keep all as it is now, remove {}",
        .path.display(), .journal.display()
    )]
    ChangedSince { path: PathBuf, journal: PathBuf },
    /// Several files were to be written, one failed, and a file written before it could not be put
    /// back.
    #[error("{cause}; then {} could not be put back as it was: {source}", .path.display())]
    NotRestored { path: PathBuf, cause: Box<WriteError>, source: Box<WriteError> },
}

/// What one file should become.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    /// The bytes that were read, on which `new` is based; `None`: the file must not exist yet.
    pub(crate) old: Option<Vec<u8>>,
    pub(crate) new: Vec<u8>,
}

/// Replaces the content of `path` by `new`, if its content still is `expected_old`.
///
/// # Errors
/// [`WriteError::Changed`] when the content differs from `expected_old` or the file is gone; see
/// [`WriteError`] for the others. Nothing is written on an error.
pub(crate) fn write_atomically(path: &Path, new: &[u8], expected_old: &[u8]) -> Result<(), WriteError> {
    sync_directory(&Prepared::replace(path, new, expected_old)?.commit()?)
}

/// Creates `path` with the content `new`. Its directory must exist.
///
/// # Errors
/// [`WriteError::Exists`] when there is already something (also a dangling link) at `path`.
pub(crate) fn create(path: &Path, new: &[u8]) -> Result<(), WriteError> {
    sync_directory(&Prepared::create(path, new)?.commit()?)
}

/// Writes what was asked for with `--output-file`, over whatever is there: a report can be made again,
/// and its path may be a device or a pipe.
///
/// # Errors
/// [`WriteError::Io`].
pub(crate) fn report(path: &Path, text: &str) -> Result<(), WriteError> {
    fs::write(path, text).map_err(|source| io_error(path, "write", source))
}

/// A file for an editor, in the directory for temporary files, which goes with its value.
///
/// # Errors
/// [`WriteError::Io`].
pub(crate) fn scratch(prefix: &str, suffix: &str, content: &[u8]) -> Result<NamedTempFile, WriteError> {
    let directory = std::env::temp_dir();
    let create = || {
        let mut file = tempfile::Builder::new().prefix(prefix).suffix(suffix).tempfile_in(&directory)?;
        file.write_all(content)?;
        Ok(file)
    };
    create().map_err(|source| io_error(&directory, "create a temporary file in", source))
}

/// Adds to a file that several programs write to, such as `$GITHUB_STEP_SUMMARY`.
///
/// # Errors
/// [`WriteError::Io`].
pub(crate) fn append(path: &Path, text: &str) -> Result<(), WriteError> {
    let append = || File::options().append(true).create(true).open(path)?.write_all(text.as_bytes());
    append().map_err(|source| io_error(path, "write", source))
}

/// Undoes `written`, last one first. Answers with `cause`, or with what went wrong in addition.
fn put_back(written: &[Change], cause: WriteError) -> WriteError {
    for change in written.iter().rev() {
        let undone = match &change.old {
            Some(old) => write_atomically(&change.path, old, &change.new),
            None => fs::remove_file(&change.path).map_err(|source| io_error(&change.path, "remove", source)),
        };
        if let Err(source) = undone {
            return WriteError::NotRestored {
                path: change.path.clone(),
                cause: Box::new(cause),
                source: Box::new(source),
            };
        }
    }
    cause
}

/// A temporary file with the new content, complete and on the disk, which only waits for its
/// rename. Dropping it removes the temporary file.
#[derive(Debug)]
struct Prepared {
    /// Where it goes: the real file, symbolic links resolved.
    target: PathBuf,
    /// As in [`Change::old`].
    old: Option<Vec<u8>>,
    temporary: NamedTempFile,
}

impl Prepared {
    fn new(change: &Change) -> Result<Self, WriteError> {
        match &change.old {
            Some(old) => Self::replace(&change.path, &change.new, old),
            None => Self::create(&change.path, &change.new),
        }
    }

    fn replace(path: &Path, new: &[u8], expected_old: &[u8]) -> Result<Self, WriteError> {
        let target = fs::canonicalize(path).map_err(|source| gone_or(path, "find", source))?;
        let metadata = fs::metadata(&target).map_err(|source| gone_or(path, "look at", source))?;
        if !metadata.is_file() {
            return Err(WriteError::NotAFile { path: path.to_path_buf() });
        }
        if metadata.permissions().readonly() {
            return Err(WriteError::ReadOnly { path: path.to_path_buf() });
        }
        check_unchanged(&target, expected_old)?;
        let temporary = temporary_beside(&target, new, Some(&metadata))?;
        Ok(Self { target, old: Some(expected_old.to_vec()), temporary })
    }

    fn create(path: &Path, new: &[u8]) -> Result<Self, WriteError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(WriteError::Exists { path: path.to_path_buf() });
        }
        let temporary = temporary_beside(path, new, None)?;
        Ok(Self { target: path.to_path_buf(), old: None, temporary })
    }

    /// Renames the temporary file to its place and answers with that place; the caller flushes the
    /// directory. The content is compared once more: preparing many files takes time.
    fn commit(self) -> Result<PathBuf, WriteError> {
        let Self { target, old, temporary } = self;
        if let Some(old) = old {
            check_unchanged(&target, &old)?;
            temporary.persist(&target).map_err(|failed| io_error(&target, "replace", failed.error))?;
        } else {
            temporary.persist_noclobber(&target).map_err(|failed| match failed.error.kind() {
                io::ErrorKind::AlreadyExists => WriteError::Exists { path: target.clone() },
                _ => io_error(&target, "create", failed.error),
            })?;
        }
        Ok(target)
    }
}

fn check_unchanged(target: &Path, expected: &[u8]) -> Result<(), WriteError> {
    let now = fs::read(target).map_err(|source| gone_or(target, "read", source))?;
    if now == expected { Ok(()) } else { Err(WriteError::Changed { path: target.to_path_buf() }) }
}

/// A file that was read and is gone now has "changed"; everything else is the operating system's
/// error.
fn gone_or(path: &Path, doing: &'static str, source: io::Error) -> WriteError {
    if source.kind() == io::ErrorKind::NotFound {
        WriteError::Changed { path: path.to_path_buf() }
    } else {
        io_error(path, doing, source)
    }
}

fn io_error(path: &Path, doing: &'static str, source: io::Error) -> WriteError {
    WriteError::Io { path: path.to_path_buf(), doing, source }
}

/// The directory of `target`; a bare file name is in the working directory.
fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `content` to a temporary file in the directory of `target`, with the mode and owner of
/// `like`.
///
fn temporary_beside(
    target: &Path,
    content: &[u8],
    like: Option<&Metadata>,
) -> Result<NamedTempFile, WriteError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX).suffix(TEMPORARY_SUFFIX);
    #[cfg(unix)]
    if like.is_none() {
        use std::os::unix::fs::PermissionsExt as _;
        // What `open` gives to any new file: 0666 without the bits of the process's umask, which
        // the kernel applies.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder
        .tempfile_in(directory_of(target))
        .map_err(|source| io_error(directory_of(target), "create a temporary file in", source))?;
    fill(temporary.as_file_mut(), content).map_err(|source| io_error(target, "write", source))?;
    if let Some(like) = like {
        take_over(temporary.as_file(), like)
            .map_err(|source| io_error(target, "keep the permissions of", source))?;
    }
    Ok(temporary)
}

fn fill(file: &mut File, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    file.sync_all()
}

/// Copies owner and permission bits. The owner first: changing it clears the set-user-id bit.
fn take_over(file: &File, like: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let ours = file.metadata()?;
        if (ours.uid(), ours.gid()) != (like.uid(), like.gid()) {
            let changed = fchown(file, Some(like.uid()), Some(like.gid()));
            // Only root may give files away. For everybody else the new file belongs to whoever ran
            // the program, as with every editor that saves by renaming.
            if ours.uid() == 0 {
                changed?;
            }
        }
    }
    file.set_permissions(like.permissions())
}

/// Makes the rename itself survive a power cut. Windows can't open directories, and needs no such
/// step.
fn sync_directory(target: &Path) -> Result<(), WriteError> {
    if cfg!(unix) {
        let directory = directory_of(target);
        match File::open(directory).and_then(|opened| opened.sync_all()) {
            Ok(()) => {}
            // Some network file systems can't flush a directory; in others one may write but not
            // list.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput
                        | io::ErrorKind::Unsupported
                        | io::ErrorKind::PermissionDenied
                ) => {}
            Err(error) => return Err(io_error(directory, "flush", error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.py");
        fs::write(&path, "old\r\n").unwrap();
        write_atomically(&path, b"new\r\n", b"old\r\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new\r\n");
        assert_eq!(names_in(dir.path()), ["a.py"]);
    }

    #[test]
    fn refuses_a_file_that_changed_underneath() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.py");
        fs::write(&path, "somebody else's").unwrap();
        let error = write_atomically(&path, b"new", b"old").unwrap_err();
        assert!(matches!(error, WriteError::Changed { .. }), "{error}");
        assert!(error.to_string().contains("a.py changed since it was read"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
        assert_eq!(names_in(dir.path()), ["a.py"]);
    }

    #[test]
    fn refuses_a_change_between_preparing_and_committing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.py");
        fs::write(&path, "old").unwrap();
        let prepared = Prepared::replace(&path, b"new", b"old").unwrap();
        fs::write(&path, "late").unwrap();
        assert!(matches!(prepared.commit().unwrap_err(), WriteError::Changed { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"late");
        assert_eq!(names_in(dir.path()), ["a.py"]);
    }

    #[test]
    fn a_vanished_file_has_changed_and_a_vanished_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone.py");
        assert!(matches!(write_atomically(&path, b"n", b"o").unwrap_err(), WriteError::Changed { .. }));
        let error = create(&dir.path().join("nowhere/a.py"), b"n").unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn creates_but_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.py");
        create(&path, b"one").unwrap();
        assert!(matches!(create(&path, b"two").unwrap_err(), WriteError::Exists { .. }));
        let late = dir.path().join("b.py");
        let prepared = Prepared::create(&late, b"two").unwrap();
        fs::write(&late, "one").unwrap();
        assert!(matches!(prepared.commit().unwrap_err(), WriteError::Exists { .. }));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read(&late).unwrap(), b"one");
        assert_eq!(names_in(dir.path()), ["a.py", "b.py"]);
    }

    #[test]
    fn refuses_what_is_not_a_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(write_atomically(dir.path(), b"n", b"o").unwrap_err(), WriteError::NotAFile { .. }));
    }

    #[cfg(unix)]
    mod unix {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

        use super::*;

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o7777
        }

        /// Whether the tests run as root, whom permission bits don't stop.
        fn root() -> bool {
            fs::metadata(tempfile::tempdir().unwrap().path()).unwrap().uid() == 0
        }

        #[test]
        fn keeps_permission_bits() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.py");
            for bits in [0o600, 0o644, 0o664, 0o755, 0o4755] {
                fs::write(&path, "old").unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
                write_atomically(&path, b"new", b"old").unwrap();
                assert_eq!(mode(&path), bits, "{bits:o}");
            }
        }

        #[test]
        fn a_created_file_has_the_mode_of_any_new_file() {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("plain"), "").unwrap();
            create(&dir.path().join("a.py"), b"").unwrap();
            assert_eq!(mode(&dir.path().join("a.py")), mode(&dir.path().join("plain")));
        }

        #[test]
        fn root_keeps_the_owner() {
            if !root() {
                return;
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.py");
            fs::write(&path, "old").unwrap();
            std::os::unix::fs::chown(&path, Some(12345), Some(54321)).unwrap();
            write_atomically(&path, b"new", b"old").unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (12345, 54321));
        }

        #[test]
        fn a_link_stays_a_link() {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("real")).unwrap();
            let real = dir.path().join("real/a.py");
            let link = dir.path().join("link.py");
            fs::write(&real, "old").unwrap();
            symlink("real/a.py", &link).unwrap();
            write_atomically(&link, b"new", b"old").unwrap();
            assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
            assert_eq!(fs::read(&real).unwrap(), b"new");
            assert_eq!(names_in(dir.path()), ["link.py", "real"]);

            let dangling = dir.path().join("dangling.py");
            symlink("nothing", &dangling).unwrap();
            assert!(matches!(create(&dangling, b"new").unwrap_err(), WriteError::Exists { .. }));
        }

        #[test]
        fn refuses_a_read_only_file() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.py");
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            let error = write_atomically(&path, b"new", b"old").unwrap_err();
            assert!(error.to_string().ends_with("a.py is read-only"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }

        #[test]
        fn reports_a_directory_that_takes_no_files() {
            if root() {
                return;
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.py");
            fs::write(&path, "old").unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
            let error = write_atomically(&path, b"new", b"old").unwrap_err();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            assert!(matches!(error, WriteError::Io { .. }), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }

        /// `/dev/full` answers every write with "No space left on device".
        #[test]
        fn a_full_disk_is_an_error() {
            let Ok(mut full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
                return;
            };
            let error = fill(&mut full, b"new").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert!(
                io_error(Path::new("a.py"), "write", error)
                    .to_string()
                    .starts_with("could not write a.py: No space")
            );
        }
    }
}
