//! What `lock-timeout` writes, run with real Alembic on a real PostgreSQL: the session's own value comes back, and a
//! statement gives up while others use its table.

mod support;

use std::process::Command;

use support::{SA20, SA21, interpreter, root, run};

/// The values, the waiting and the drivers are the harness's.
fn prove(python: &str, drivers: &[&str]) {
    let mut command = Command::new(interpreter(python));
    command
        .arg(root().join("tests/harness/lock_timeout.py"))
        .arg(env!("CARGO_BIN_EXE_safemig"))
        .args(drivers);
    let outcome = run(&mut command);
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
}

#[test]
fn a_lock_timeout_is_in_force_only_where_it_was_asked_for() {
    prove(SA20, &["psycopg2"]);
}

#[test]
fn with_other_drivers_too() {
    prove(SA21, &["psycopg", "asyncpg"]);
}
