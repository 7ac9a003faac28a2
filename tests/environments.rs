//! The `env.py` of Alembic's and Flask-Migrate's templates, fixed and run with real Alembic on a real PostgreSQL.
//!
//! Two revisions are pending, and the second fails: the first must stay stamped.

mod support;

use std::process::Command;

use support::{SA20, interpreter, root, run};

#[test]
fn every_template_keeps_the_stamp_of_a_revision_before_one_that_fails() {
    let mut command = Command::new(interpreter(SA20));
    command
        .arg(root().join("tests/harness/environments.py"))
        .arg(env!("CARGO_BIN_EXE_safemig"))
        .arg(root().join("snapshots/transaction-per-migration.md"));
    let outcome = run(&mut command);
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
}
