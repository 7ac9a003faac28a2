//! The project's own sources, read once for all that is looked for in them.

use std::fs;
use std::path::{Path, PathBuf};

use aho_corasick::AhoCorasick;
use ignore::WalkBuilder;
use rayon::prelude::*;

use crate::locate::AlembicProject;

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

/// The sources below a project's root, outside of its revisions, that have one of the words which were looked for.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// In the order of their paths, absolute.
    files: Vec<(PathBuf, String)>,
    /// Why there may be others.
    doubt: Option<String>,
}

impl Sources {
    /// Reads every file once, and none without words.
    pub(crate) fn read(project: &AlembicProject, words: &[&str]) -> Self {
        let words = match AhoCorasick::new(words) {
            Ok(finder) if !words.is_empty() => finder,
            _ => return Self::default(),
        };
        let versions = project.version_locations.clone();
        let mut walk = WalkBuilder::new(&project.source_root);
        walk.sort_by_file_name(Ord::cmp).filter_entry(move |entry| {
            let is_directory = entry.file_type().is_some_and(|kind| kind.is_dir());
            !is_directory || entry.depth() == 0 || !is_foreign(entry.path(), &versions)
        });
        let mut sources = Self::default();
        let mut paths = Vec::new();
        for entry in walk.build() {
            match entry {
                Ok(entry) if entry.path().extension().is_some_and(|extension| extension == "py") => {
                    paths.push(entry.into_path());
                }
                Ok(_) => {}
                Err(error) => {
                    sources.doubt.get_or_insert_with(|| format!("not all sources could be read: {error}"));
                }
            }
        }
        let read = |path: PathBuf| match fs::read(&path) {
            Ok(bytes) if words.is_match(&bytes) => {
                Some(Ok((path, String::from_utf8_lossy(&bytes).into_owned())))
            }
            Ok(_) => None,
            Err(_) if !path.is_file() => None,
            Err(error) => Some(Err(format!("could not read {}: {error}", path.display()))),
        };
        for found in paths.into_par_iter().filter_map(read).collect::<Vec<_>>() {
            match found {
                Ok(file) => sources.files.push(file),
                Err(doubt) => {
                    sources.doubt.get_or_insert(doubt);
                }
            }
        }
        sources
    }

    /// The files, in the order of their paths.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files.iter().map(|(path, source)| (path.as_path(), source.as_str()))
    }

    /// Why there may be others.
    pub(crate) fn doubt(&self) -> Option<&str> {
        self.doubt.as_deref()
    }
}

fn is_foreign(directory: &Path, versions: &[PathBuf]) -> bool {
    directory.file_name().is_some_and(|name| FOREIGN.iter().any(|foreign| name == *foreign))
        || versions.iter().any(|location| location == directory)
        || directory.join("pyvenv.cfg").is_file()
}
