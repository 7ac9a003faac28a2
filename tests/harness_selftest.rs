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

/// What each program of the harness says about a rewrite.
struct Verdicts {
    prove: Outcome,
    crash: Outcome,
    one_transaction: Outcome,
    locks: Outcome,
    offline: Outcome,
}

impl Verdicts {
    /// Takes a rewrite through the whole harness.
    fn on(rewrite: &str) -> Self {
        let _turn = Turn::take();
        let directory =
            TempDir::with_prefix("safemig-selftest-").expect("a temporary directory can be made");
        let original = history(directory.path(), "original");
        let rewritten = if rewrite == "original" {
            original.clone()
        } else {
            history(directory.path(), rewrite)
        };
        let kept = directory.path().join("kept");
        let reference = [
            rewritten.clone(),
            "--reference".into(),
            kept.join("original"),
        ];
        let alone = [reference.to_vec(), vec!["--one-transaction".into()]].concat();
        let compared = [original, rewritten.clone(), "--keep".into(), kept];
        Self {
            prove: harness(SA20, "prove.py", compared),
            crash: harness(SA20, "crash.py", &reference),
            one_transaction: harness(SA20, "crash.py", alone),
            locks: harness(SA20, "locks.py", [rewritten]),
            offline: harness(SA20, "offline.py", reference),
        }
    }
}

/// Asserts that a program had nothing to say against a rewrite.
#[track_caller]
fn passes(outcome: &Outcome) {
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
}

/// Asserts that a program rejected a rewrite, for this reason.
#[track_caller]
fn fails(outcome: &Outcome, reason: &str) {
    assert_eq!(outcome.status, Some(1), "{}", outcome.output);
    assert!(
        outcome.output.contains(reason),
        "{reason:?} is not in\n{}",
        outcome.output
    );
}

#[test]
fn good() {
    let verdicts = Verdicts::on("good");
    passes(&verdicts.prove);
    passes(&verdicts.crash);
    passes(&verdicts.one_transaction);
    passes(&verdicts.locks);
    passes(&verdicts.offline);
}

#[test]
fn original() {
    let verdicts = Verdicts::on("original");
    passes(&verdicts.prove);
    passes(&verdicts.crash);
    let locks = &verdicts.locks;
    fails(
        locks,
        "FOUND: building index \"ix_child_a\" on table \"child\" under",
    );
    fails(locks, "ShareLock on child");
    fails(
        locks,
        "FOUND: validating foreign key constraint \"fk_child_parent\" under",
    );
    fails(locks, "ShareRowExclusiveLock on parent");
    fails(locks, "FOUND: dropping an index under");
}

#[test]
fn not_rerunnable_index() {
    let verdicts = Verdicts::on("not_rerunnable_index");
    passes(&verdicts.prove);
    passes(&verdicts.locks);
    let reason = "run failed: ProgrammingError: (psycopg2.errors.DuplicateTable) relation \"ix_child_a\" already exists";
    fails(&verdicts.crash, reason);
    fails(&verdicts.one_transaction, reason);
}

#[test]
fn not_rerunnable_column() {
    let verdicts = Verdicts::on("not_rerunnable_column");
    passes(&verdicts.prove);
    passes(&verdicts.locks);
    let reason = "column \"c\" of relation \"child\" already exists";
    fails(&verdicts.crash, reason);
    fails(&verdicts.one_transaction, reason);
}

#[test]
fn invalid_index_kept() {
    let verdicts = Verdicts::on("invalid_index_kept");
    passes(&verdicts.prove);
    passes(&verdicts.locks);
    fails(&verdicts.crash, "interrupted during statement");
    fails(&verdicts.crash, "invalid index public.ix_child_a");
    fails(&verdicts.one_transaction, "invalid index public.ix_child_a");
}

#[test]
fn constraint_not_validated() {
    let verdicts = Verdicts::on("constraint_not_validated");
    fails(&verdicts.prove, "changes upgrade: the catalog differs");
    fails(
        &verdicts.prove,
        "public.child.fk_child_parent: validated should be True, is False",
    );
    fails(
        &verdicts.crash,
        "constraint not validated: public.child.fk_child_parent",
    );
    fails(
        &verdicts.offline,
        "public.child.fk_child_parent: validated should be True, is False",
    );
}

#[test]
fn validated_under_lock() {
    let verdicts = Verdicts::on("validated_under_lock");
    passes(&verdicts.prove);
    passes(&verdicts.crash);
    fails(
        &verdicts.locks,
        "FOUND: validating foreign key constraint \"fk_child_parent\" under",
    );
}

#[test]
fn helper_left() {
    let verdicts = Verdicts::on("helper_left");
    fails(
        &verdicts.prove,
        "constraints: unexpected public.child.safemig_child_c",
    );
    fails(
        &verdicts.crash,
        "helper object left: constraints public.child.safemig_child_c",
    );
    fails(
        &verdicts.locks,
        "FOUND: verifying table \"child\" under AccessExclusiveLock on child",
    );
}

#[test]
fn other_column() {
    let verdicts = Verdicts::on("other_column");
    fails(&verdicts.prove, "changes upgrade: the catalog differs");
    fails(
        &verdicts.prove,
        "indexes: public.ix_child_a: definition should be",
    );
    fails(
        &verdicts.offline,
        "indexes: public.ix_child_a: definition should be",
    );
}

#[test]
fn downgrade_incomplete() {
    let verdicts = Verdicts::on("downgrade_incomplete");
    fails(&verdicts.prove, "changes downgrade: the catalog differs");
    fails(&verdicts.prove, "columns: unexpected public.child.c");
    fails(&verdicts.crash, "columns: unexpected public.child.c");
}

#[test]
fn downgrade_not_rerunnable() {
    let verdicts = Verdicts::on("downgrade_not_rerunnable");
    passes(&verdicts.prove);
    fails(
        &verdicts.crash,
        "changes downgrade, interrupted after statement",
    );
    fails(
        &verdicts.one_transaction,
        "all downgrades, interrupted after statement",
    );
}

#[test]
fn downgrade_fails() {
    let verdicts = Verdicts::on("downgrade_fails");
    fails(
        &verdicts.prove,
        "changes downgrade: the original succeeded; the rewritten failed with",
    );
    fails(
        &verdicts.crash,
        "changes downgrade, not interrupted: ProgrammingError",
    );
}

#[test]
fn locked_in_do() {
    let verdicts = Verdicts::on("locked_in_do");
    passes(&verdicts.prove);
    fails(
        &verdicts.locks,
        "FOUND: building index \"ix_child_a\" on table \"child\" under",
    );
    fails(
        &verdicts.locks,
        "FOUND: dropping an index under AccessExclusiveLock on child",
    );
}

#[test]
fn online_only() {
    let verdicts = Verdicts::on("online_only");
    passes(&verdicts.prove);
    fails(&verdicts.offline, "has no attribute 'scalar'");
}
