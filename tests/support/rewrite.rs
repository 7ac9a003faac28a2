//! A copy of a history that `safemig fix` has rewritten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Outcome, SA20, interpreter, root, run, safemig};

/// A rewritten copy of a directory tree, removed with this value.
pub(crate) struct Rewritten {
    directory: TempDir,
    problems: Vec<String>,
}

impl Rewritten {
    /// Copies `parts` of a tree, runs `safemig fix` on `versions` in the copy, and checks what can be checked of
    /// every history: the program does not fail, what it writes is Python, and a second run has nothing to do.
    ///
    /// All paths are relative to `original`.
    pub(crate) fn new(original: &Path, parts: &[PathBuf], versions: &[PathBuf]) -> Self {
        let directory = TempDir::with_prefix("safemig-test-").expect("a temporary directory can be made");
        for part in parts {
            copy_tree(&original.join(part), &directory.path().join(part));
        }
        let mut rewritten = Self { directory, problems: Vec::new() };
        rewritten.fix(&[], versions);
        for part in versions {
            let before = original.join(part);
            rewritten.harness("compiles.py", [before, rewritten.path().join(part)]);
        }
        let again = rewritten.fix(&["--dry-run"], versions);
        let is_diff = |line: &str| line.starts_with("--- ") || line.starts_with("@@ ");
        if again.output.lines().any(is_diff) {
            rewritten.problem(format!("a second run would change something:\n{}", again.output));
        }
        rewritten
    }

    /// The rewritten tree.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs a program of `tests/harness` and notes when it finds something wrong.
    pub(crate) fn harness(&mut self, program: &str, arguments: [PathBuf; 2]) {
        let mut command = Command::new(interpreter(SA20));
        let outcome = run(command.arg(root().join("tests/harness").join(program)).args(arguments));
        if outcome.status != Some(0) {
            self.problem(format!("{program}:\n{}", outcome.output));
        }
    }

    /// Fails the test when anything was wrong.
    ///
    /// With `SAFEMIG_TEST_KEEP` set to a directory, the rewritten tree is kept there.
    pub(crate) fn finish(self, name: &str) {
        if let Some(kept) = std::env::var_os("SAFEMIG_TEST_KEEP") {
            copy_tree(self.path(), &Path::new(&kept).join(name));
        }
        let count = self.problems.len();
        assert!(count == 0, "{name}: {count} wrong\n\n{}", self.problems.join("\n\n"));
    }

    pub(crate) fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    fn fix(&mut self, flags: &[&str], versions: &[PathBuf]) -> Outcome {
        let mut command = safemig(self.path(), SA20, &[&["fix"], flags].concat());
        command.args(versions);
        let outcome = run(&mut command);
        if !matches!(outcome.status, Some(0 | 1)) || outcome.output.contains("panicked at") {
            self.problem(format!("safemig ended with {:?}:\n{}", outcome.status, outcome.output));
        }
        outcome
    }
}

/// Copies a directory with all that is in it; `to` and its parents need not exist.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    let entries =
        fs::read_dir(from).unwrap_or_else(|error| panic!("{} cannot be read: {error}", from.display()));
    for entry in entries {
        let entry = entry.expect("a directory can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
