//! The harness finds what is wrong: every bad rewrite of `tests/selftest` is caught by the program that is meant to
//! catch it, and the good one by none.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Outcome, SA20, Turn, harness, root};
use tempfile::TempDir;

/// Two revisions in a directory: the tables, and one of the files of `tests/selftest`.
fn history(directory: &Path, name: &str) -> PathBuf {
    let versions = directory.join(name);
    fs::create_dir(&versions).expect("a directory can be made");
    let selftest = root().join("tests/selftest");
    for file in ["tables", name] {
        let file = format!("{file}.py");
        fs::copy(selftest.join(&file), versions.join(&file)).expect("a file can be copied");
    }
    versions
}

/// A rewrite of `tests/selftest` in the hands of the harness.
struct Case {
    directory: TempDir,
    original: PathBuf,
    rewritten: PathBuf,
    _turn: Turn,
}

impl Case {
    /// Prepares a rewrite, by the name of its file.
    fn new(rewrite: &str) -> Self {
        let turn = Turn::take();
        let directory = TempDir::with_prefix("safemig-selftest-").expect("a temporary directory can be made");
        let original = history(directory.path(), "original");
        let rewritten =
            if rewrite == "original" { original.clone() } else { history(directory.path(), rewrite) };
        Self { directory, original, rewritten, _turn: turn }
    }

    /// Compares it with the original, whose replay is the reference of the others.
    fn prove(&self) -> Outcome {
        let kept = self.directory.path().join("kept");
        harness(SA20, "prove.py", [&self.original, &self.rewritten, Path::new("--keep"), &kept])
    }

    /// Interrupts it, with a transaction for every revision.
    fn crash(&self) -> Outcome {
        harness(SA20, "crash.py", self.with_reference())
    }

    /// Interrupts it, with one transaction for everything.
    fn crash_in_one_transaction(&self) -> Outcome {
        let flag = vec!["--one-transaction".into()];
        harness(SA20, "crash.py", [self.with_reference(), flag].concat())
    }

    /// Looks at its locks.
    fn locks(&self) -> Outcome {
        harness(SA20, "locks.py", [&self.rewritten])
    }

    /// Runs it offline; to be called after `prove`.
    fn offline(&self) -> Outcome {
        harness(SA20, "offline.py", self.with_reference())
    }

    fn with_reference(&self) -> Vec<PathBuf> {
        let reference = self.directory.path().join("kept/original");
        let mut arguments = vec![self.rewritten.clone()];
        if reference.exists() {
            arguments.extend(["--reference".into(), reference]);
        }
        arguments
    }
}

/// Asserts that a program had nothing to say against a rewrite.
#[track_caller]
fn passes(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
}

/// Asserts that a program rejected a rewrite, for all of these reasons.
#[track_caller]
fn fails(outcome: &Outcome, reasons: &[&str]) {
    let output = &outcome.output;
    assert_eq!(outcome.status, Some(1), "{output}");
    for reason in reasons {
        assert!(output.contains(reason), "{reason:?} is not in\n{output}");
    }
}

#[test]
fn good() {
    let case = Case::new("good");
    passes(&case.prove());
    passes(&case.crash());
    passes(&case.crash_in_one_transaction());
    passes(&case.locks());
    passes(&case.offline());
}

#[test]
fn original() {
    let case = Case::new("original");
    passes(&case.crash());
    let found = [
        "FOUND: building index \"ix_child_a\" on table \"child\" under",
        "ShareLock on child",
        "FOUND: validating foreign key constraint \"fk_child_parent\" under",
        "ShareRowExclusiveLock on parent",
        "FOUND: dropping an index under",
    ];
    fails(&case.locks(), &found);
}

#[test]
fn not_rerunnable_index() {
    let case = Case::new("not_rerunnable_index");
    passes(&case.prove());
    passes(&case.locks());
    let reason = ["the second run failed: ProgrammingError: (psycopg2.errors.DuplicateTable)"];
    fails(&case.crash(), &reason);
    fails(&case.crash_in_one_transaction(), &reason);
}

#[test]
fn not_rerunnable_column() {
    let case = Case::new("not_rerunnable_column");
    let reason = ["the second run failed: ProgrammingError: (psycopg2.errors.DuplicateColumn)"];
    fails(&case.crash(), &reason);
    fails(&case.crash_in_one_transaction(), &reason);
}

#[test]
fn invalid_index_kept() {
    let case = Case::new("invalid_index_kept");
    let reasons = ["interrupted during statement", "invalid index public.ix_child_a"];
    fails(&case.crash(), &reasons);
    fails(&case.crash_in_one_transaction(), &reasons);
}

#[test]
fn constraint_not_validated() {
    let case = Case::new("constraint_not_validated");
    let difference = "public.child.fk_child_parent: validated should be True, is False";
    fails(&case.prove(), &["changes upgrade: the catalog differs", difference]);
    fails(&case.offline(), &[difference]);
    fails(&case.crash(), &["constraint not validated: public.child.fk_child_parent"]);
}

#[test]
fn validated_under_lock() {
    let case = Case::new("validated_under_lock");
    passes(&case.prove());
    fails(&case.locks(), &["FOUND: validating foreign key constraint \"fk_child_parent\" under"]);
}

#[test]
fn helper_left() {
    let case = Case::new("helper_left");
    fails(&case.prove(), &["constraints: unexpected public.child.safemig_child_c"]);
    fails(&case.crash(), &["helper object left: constraints public.child.safemig_child_c"]);
    fails(&case.locks(), &["FOUND: verifying table \"child\" under AccessExclusiveLock on child"]);
}

#[test]
fn other_column() {
    let case = Case::new("other_column");
    let difference = "indexes: public.ix_child_a: definition should be";
    fails(&case.prove(), &["changes upgrade: the catalog differs", difference]);
    fails(&case.offline(), &[difference]);
}

#[test]
fn downgrade_incomplete() {
    let case = Case::new("downgrade_incomplete");
    let difference = "columns: unexpected public.child.c";
    fails(&case.prove(), &["changes downgrade: the catalog differs", difference]);
    fails(&case.crash(), &["changes downgrade, not interrupted: the catalog is wrong", difference]);
}

#[test]
fn downgrade_not_rerunnable() {
    let case = Case::new("downgrade_not_rerunnable");
    passes(&case.prove());
    fails(&case.crash(), &["changes downgrade, interrupted after statement"]);
    fails(&case.crash_in_one_transaction(), &["all downgrades, interrupted after statement"]);
}

#[test]
fn downgrade_fails() {
    let case = Case::new("downgrade_fails");
    let reason = "changes downgrade: the original succeeded; the rewritten failed with";
    fails(&case.prove(), &[reason]);
    fails(&case.crash(), &["changes downgrade, not interrupted: ProgrammingError"]);
}

#[test]
fn locked_in_do() {
    let case = Case::new("locked_in_do");
    passes(&case.prove());
    let found = [
        "FOUND: building index \"ix_child_a\" on table \"child\" under",
        "FOUND: dropping an index under AccessExclusiveLock on child",
    ];
    fails(&case.locks(), &found);
}

#[test]
fn online_only() {
    let case = Case::new("online_only");
    passes(&case.prove());
    fails(&case.offline(), &["has no attribute 'scalar'"]);
}
