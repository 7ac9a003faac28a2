//! Changes of a column's type: what they come to, who is stopped meanwhile, and what stands against them.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{SA20, environment, interpreter, root, run, safemig, verify_with};

/// Runs a program of `tests/harness`.
fn harness(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(interpreter(SA20));
    command
        .arg(root().join("tests/harness").join(program))
        .arg(env!("CARGO_BIN_EXE_safemig"))
        .args(arguments);
    let outcome = run(&mut command);
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
    outcome.output
}

#[test]
fn every_conversion_comes_to_the_same() {
    for postgres in [None, Some(12), Some(18)] {
        let directory = root().join("tests/type_change");
        let mut command =
            safemig(&directory, SA20, &["verify", "versions", "--rows=20", "--output-format=json"]);
        if let Some(version) = postgres {
            let programs = environment().join(format!("postgresql/{version}/native/bin"));
            command.env("SAFEMIG_PG_BIN", programs.canonicalize().expect("scripts/test.sh installs it"));
        }
        let verified = verify_with(&mut command);
        assert_eq!(verified.status, Some(0), "PostgreSQL {postgres:?}: {}", verified.text);
        let report: Value = serde_json::from_str(&verified.stdout).expect("a report");
        let claims: u64 = report[0]["touched"]
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|revision| [&revision["upgrade"]["claims"], &revision["downgrade"]["claims"]])
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(claims, 38, "{}", verified.text);
    }
}

#[test]
fn writers_go_on_and_nothing_is_lost() {
    let output = harness("writers.py", &["200000"]);
    let report: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{output}"));
    assert_eq!(report["errors"], json!([]), "{output}");
    assert_eq!((&report["lost"], &report["orphans"]), (&json!(0), &json!(0)), "{output}");
    assert_eq!(report["types"], json!(["bigint", "character varying(20)"]), "{output}");
}

#[test]
fn what_would_be_lost_is_refused() {
    harness("refusals.py", &[]);
}

#[test]
fn a_return_before_the_end_loses_nothing() {
    harness("returns.py", &[]);
}
