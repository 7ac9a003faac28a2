//! What the tests on a real PostgreSQL share: the environment that `scripts/test.sh` prepares, and how the program
//! is run in it.

#![allow(dead_code, reason = "not every test needs everything")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The environment of SQLAlchemy 2.0 and a current Alembic; `sa14` has SQLAlchemy 1.4 and the Alembic of its time.
pub(crate) const SA20: &str = "sa20";

/// The newest SQLAlchemy, with psycopg and asyncpg.
pub(crate) const SA21: &str = "sa21";

/// What `scripts/test.sh` has prepared.
///
/// # Panics
///
/// Without it: a test that cannot run fails.
pub(crate) fn environment() -> &'static Path {
    static ENVIRONMENT: OnceLock<PathBuf> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let directory =
            env::var_os("SAFEMIG_TEST_ENV").map_or_else(|| root().join("target/test-env"), PathBuf::from);
        assert!(
            directory.join("ready").is_file(),
            "there is no test environment in {}: run scripts/test.sh once, which sets it up",
            directory.display()
        );
        directory
    })
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program printed, and how it ended.
pub(crate) struct Outcome {
    /// Its exit status, unless a signal ended it.
    pub(crate) status: Option<i32>,
    /// Its output and its errors.
    pub(crate) output: String,
}

/// The program under test, in the environment of a Python.
pub(crate) fn safemig(directory: &Path, python: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
    // It decides which keywords may be written, and runs the migrations.
    command.args(arguments).current_dir(directory).env("VIRTUAL_ENV", environment().join(python));
    command
}

/// What `safemig verify` said.
pub(crate) struct Verified {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    /// Its report and what it said about it.
    pub(crate) text: String,
}

/// Runs `safemig verify`, by default with PostgreSQL 15.
pub(crate) fn verify(directory: &Path, python: &str, arguments: &[&str]) -> Verified {
    verify_with(&mut safemig(directory, python, &[&["verify"], arguments].concat()))
}

/// Runs a prepared command.
pub(crate) fn verify_with(command: &mut Command) -> Verified {
    let finished = command.stdin(Stdio::null()).output().expect("safemig can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&finished.stdout), text(&finished.stderr));
    assert!(!stderr.contains("panicked at"), "{stderr}");
    Verified { status: finished.status.code(), text: format!("{stdout}{stderr}"), stdout }
}

/// The Python of an environment.
pub(crate) fn interpreter(python: &str) -> PathBuf {
    environment().join(python).join("bin/python")
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let finished = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()));
    let output = [finished.stdout, finished.stderr].concat();
    Outcome { status: finished.status.code(), output: String::from_utf8_lossy(&output).into_owned() }
}
