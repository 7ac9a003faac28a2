//! Names that a project's own functions give: the same in the rewrite, with real Alembic and the project's metadata.

mod support;

use serde_json::{Value, json};
use support::{SA20, root, safemig, verify_with};

#[test]
fn names_of_a_convention_with_tokens_of_its_own() {
    let arguments = ["verify", "--use-env", "--rows=20", "--crash", "--output-format=json"];
    let verified = verify_with(&mut safemig(&root().join("tests/conventions"), SA20, &arguments));
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    let report: Value = serde_json::from_str(&verified.stdout).expect("a report");
    let touched = report[0]["touched"].as_array().expect("a list");
    let claims = |direction: &str| -> u64 {
        touched.iter().filter_map(|revision| revision[direction]["claims"].as_u64()).sum()
    };
    assert_eq!((claims("upgrade"), claims("downgrade")), (6, 2), "{}", verified.text);
    for revision in touched {
        for direction in ["upgrade", "downgrade"] {
            let outcome = &revision[direction];
            assert_eq!(outcome["differences"], json!([]), "{}", verified.text);
            assert_eq!(outcome["crash"]["failures"], json!([]), "{}", verified.text);
        }
    }
}
