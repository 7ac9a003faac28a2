//! Every fixture of `tests/fixtures`, rewritten and proved on a real PostgreSQL with real Alembic.
//!
//! A fixture is a directory with
//!
//! - `versions/`, an Alembic history;
//! - `rows.sql`, rows that are there when the later revisions run: its first line is `-- after REVISION`;
//! - `locks.allowed`, the steps that still block others after the rewrite, a line `REVISION upgrade|downgrade` each;
//! - `portable`, an empty file: the history also runs on `SQLite`;
//! - `sa14`, an empty file: it is also proved with SQLAlchemy 1.4 (put `alembic-version` into a `safemig.toml`);
//! - anything else that safemig shall find above `versions/`, such as its configuration.
//!
//! Only the first is required. `prove.py`, `crash.py`, `locks.py`, `offline.py` and `sqlite.py` in `tests/harness` say
//! in their first lines what they check.

#[path = "support/rewrite.rs"]
mod rewrite;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rewrite::Rewritten;
use support::{SA20, Turn, root};

/// Makes a test of every fixture.
macro_rules! fixtures {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                prove(stringify!($name));
            }
        )*

        const FIXTURES: &[&str] = &[$(stringify!($name)),*];
    };
}

fixtures! {
    batch_blocks
    check_constraint
    create_index
    drop_index
    foreign_keys
    mixed_revision
    quoted_names
    schemas
    unique_constraint
}

/// A directory that nobody tests would be worse than none.
#[test]
fn every_fixture_is_tested() {
    let listed: BTreeSet<String> = FIXTURES.iter().map(|&name| name.to_owned()).collect();
    let present: BTreeSet<String> = fs::read_dir(fixture_directory())
        .expect("the fixtures can be listed")
        .map(|entry| entry.expect("the fixtures can be listed").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    assert_eq!(listed, present, "add it to `fixtures!` in tests/postgres.rs");
}

fn fixture_directory() -> PathBuf {
    root().join("tests/fixtures")
}

/// Rewrites a fixture and checks all that is promised of a rewrite.
fn prove(name: &str) {
    let _turn = Turn::take();
    let fixture = fixture_directory().join(name);
    let original = fixture.join("versions");
    let mut rewritten = Rewritten::new(&fixture, &[PathBuf::new()], &[PathBuf::from("versions")]);
    let versions = rewritten.path().join("versions");
    let results =
        tempfile::TempDir::with_prefix("safemig-results-").expect("a temporary directory can be made");
    let reference = results.path().join("original");

    let rows = option("--rows", &fixture.join("rows.sql"));
    let allowed = option("--allow", &fixture.join("locks.allowed"));
    let compared = [vec![original.clone(), versions.clone()], rows.clone()].concat();
    let reached = [vec![versions.clone()], given("--reference", &reference)].concat();

    let keep = given("--keep", results.path());
    rewritten.harness(SA20, "prove.py", [compared.clone(), keep].concat());
    if fixture.join("sa14").exists() {
        rewritten.harness("sa14", "prove.py", compared);
    }
    rewritten.harness(SA20, "offline.py", &reached);
    let crash = [reached, rows.clone()].concat();
    rewritten.harness(SA20, "crash.py", &crash);
    let one_transaction = [crash, vec!["--one-transaction".into()]].concat();
    rewritten.harness(SA20, "crash.py", one_transaction);
    let traced = [vec![versions.clone(), "--quiet".into()], rows, allowed].concat();
    rewritten.harness(SA20, "locks.py", traced);
    if fixture.join("portable").exists() {
        rewritten.harness(SA20, "sqlite.py", [original, versions]);
    }
    rewritten.finish(name);
}

/// An option of a program, and its value.
fn given(flag: &str, path: &Path) -> Vec<PathBuf> {
    vec![flag.into(), path.into()]
}

/// An option that is only given when its file is there.
fn option(flag: &str, path: &Path) -> Vec<PathBuf> {
    if path.exists() { given(flag, path) } else { Vec::new() }
}
