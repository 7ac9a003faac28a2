//! Every fixture of `tests/fixtures`, rewritten and proved on a real PostgreSQL with real Alembic.
//!
//! A fixture is a directory with
//!
//! - `versions/`, an Alembic history;
//! - `locks.allowed`, the steps that still block others after the rewrite, a line `REVISION upgrade|downgrade` each,
//!   and `crash.allowed`, those that do not survive every interruption;
//! - `portable`, an empty file: the history also runs on `SQLite`;
//! - `split`, an empty file: it is also proved cut into several revisions;
//! - `sa14`, an empty file: it is also proved with SQLAlchemy 1.4 (put `alembic-version` into a `safemig.toml`);
//! - anything else that safemig shall find above `versions/`, such as its configuration.
//!
//! Only the first is required.

#[path = "support/rewrite.rs"]
mod rewrite;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rewrite::Rewritten;
use serde_json::{Value, json};
use support::{SA20, Verified, environment, root, safemig, verify_with};

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
    backfill
    batch_blocks
    batch_order
    check_constraint
    conditions
    create_index
    drop_index
    foreign_keys
    guards
    inline_constraints
    lock_timeout
    mixed_revision
    modules
    not_null
    partitions
    primary_key
    quoted_names
    schemas
    serial
    sql_portable
    sql_text
    type_change
    unique_constraint
    volatile_default
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

/// The example of the README, with what it still does and why.
fn prove_example(postgres: Option<u32>, flags: &[&str]) {
    let shop = root().join("examples/shop");
    let mut command =
        safemig(&shop, SA20, &[&["verify", "--rows=20", "--output-format=json"], flags].concat());
    if let Some(version) = postgres {
        command.env("SAFEMIG_PG_BIN", postgresql(version));
    }
    let problems = problems(&verify_with(&mut command), &shop);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

// Tests begin in the order of their names, and what takes longest should.
#[test]
fn all_of_the_example() {
    prove_example(None, &["--crash", "--sql", "--stamped"]);
}

#[test]
fn all_of_the_example_in_several_revisions() {
    prove_example(None, &["--crash", "--sql", "--stamped", "--split=revision"]);
}

/// On the versions between those of the fixtures: what is written depends on the version that production has, so that
/// these can only refuse what all of their neighbours take.
#[test]
fn all_of_the_example_on_other_versions() {
    for version in [14, 17] {
        prove_example(Some(version), &[]);
    }
}

/// Rewrites a fixture and checks all that is promised of a rewrite.
fn prove(name: &str) {
    let fixture = fixture_directory().join(name);
    let mut rewritten = Rewritten::new(&fixture, &[PathBuf::new()], &[PathBuf::from("versions")]);
    let mut check = |python: &str, postgres: Option<u32>, flags: &[&str]| {
        let json = ["verify", "versions", "--output-format", "json"];
        let mut command = safemig(&fixture, python, &[&json[..], flags].concat());
        if let Some(version) = postgres {
            command.env("SAFEMIG_PG_BIN", postgresql(version));
        }
        let verified = verify_with(&mut command);
        let problems = problems(&verified, &fixture);
        if !problems.is_empty() {
            let problems = problems.join("\n");
            rewritten.problem(format!("{python}, PostgreSQL {}:\n{problems}", postgres.unwrap_or(15)));
        }
    };
    check(SA20, None, &["--rows=20", "--sql"]);
    // What an interruption leaves, the example history shows on PostgreSQL 15.
    for version in OTHER_VERSIONS {
        let newest = OTHER_VERSIONS.iter().max() == Some(version);
        check(SA20, Some(*version), if newest { &["--rows=20", "--crash"] } else { &["--rows=20"] });
    }
    if fixture.join("split").exists() {
        check(SA20, None, &["--rows=20", "--crash", "--stamped", "--split=revision"]);
    }
    if fixture.join("sa14").exists() {
        check("sa14", None, &[]);
    }
    if fixture.join("portable").exists() {
        let versions = rewritten.path().join("versions");
        rewritten.harness("sqlite.py", [fixture.join("versions"), versions]);
    }
    rewritten.finish(name);
}

/// The other versions of PostgreSQL that every fixture is proved on: the oldest and the newest.
const OTHER_VERSIONS: &[u32] = &[12, 18];

/// The server programs of a version.
fn postgresql(version: u32) -> PathBuf {
    let programs = environment().join("postgresql").join(version.to_string()).join("native/bin");
    // The user that the server runs as may not be able to follow a link to them.
    programs.canonicalize().expect("scripts/test.sh installs it")
}

/// The steps that one of the fixture's files names, as `REVISION DIRECTION`.
fn allowed(fixture: &Path, file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(fixture.join(file)).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// What is wrong with a proof.
fn problems(verified: &Verified, fixture: &Path) -> Vec<String> {
    let Ok(report) = serde_json::from_str::<Value>(&verified.stdout) else {
        return vec![verified.text.clone()];
    };
    let report = &report[0];
    let mut problems = Vec::new();
    let (mut blocking, mut crashed) = (BTreeSet::new(), BTreeSet::new());
    let mut interruptions = 0;
    let mut compared = |place: &str, comparison: &Value| {
        if comparison["differences"] != json!([])
            || comparison["original"].is_null() != comparison["rewritten"].is_null()
        {
            problems.push(format!("{place}: {comparison:#}"));
        }
    };
    compared("heads", &report["heads"]);
    for (revision, comparison) in report["stamped"].as_object().expect("an object") {
        compared(&format!("stamped with {revision}"), comparison);
    }
    if !report["sql"].is_null() {
        compared("sql", &report["sql"]);
    }
    let touched = report["touched"].as_array().expect("a list");
    for revision in touched {
        for direction in ["upgrade", "downgrade"] {
            let outcome = &revision[direction];
            let place = format!("{} {direction}", revision["revision"].as_str().expect("an id"));
            compared(&place, outcome);
            let is_blocking = |statement: &Value| statement["blocking"] != json!([]);
            if outcome["after"].as_array().expect("a list").iter().any(is_blocking) {
                blocking.insert(place.clone());
            }
            interruptions += outcome["crash"]["survived"].as_u64().unwrap_or_default();
            if outcome["crash"]["failures"] != json!([]) {
                crashed.insert(place);
            }
        }
    }
    // What the original cannot do offline, nobody asks of the rewrite.
    let notes: Vec<&str> =
        report["notes"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let notes: Vec<&str> =
        notes.into_iter().filter(|note| !note.starts_with("`alembic upgrade --sql`")).collect();
    if !notes.is_empty() || !report["stopped"].is_null() || touched.is_empty() {
        problems.push(format!("{notes:?}, {}", report["stopped"]));
    }
    for (what, found, file) in
        [("block others", blocking, "locks.allowed"), ("do not survive", crashed, "crash.allowed")]
    {
        let mut allowed = allowed(fixture, file);
        if file == "crash.allowed" && interruptions == 0 {
            allowed.clear(); // This was not asked for.
        }
        if found != allowed {
            problems.push(format!("these {what}: {found:?}; expected were {allowed:?}: {}", verified.text));
        }
    }
    problems
}
