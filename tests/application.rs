//! The sample application of `tests/application`: what is found there is true on a real PostgreSQL.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::{SA20, interpreter, root, run, safemig, verify, verify_with};
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("a directory can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}

/// All findings, and every way to name the application's files.
#[test]
fn every_finding_is_true_on_a_real_database() {
    let directory = TempDir::with_prefix("safemig-application-").expect("a temporary directory");
    let (before, after) = (directory.path().join("before"), directory.path().join("after"));
    for copy_of in [&before, &after] {
        copy(&root().join("tests/application"), copy_of);
    }
    let rules = "--select=verify-query-patterns-are-indexed,ensure-index-not-covered";
    let check = ["check", ".", rules, "--unsafe-fixes", "--output-format=json"];
    let checked = verify_with(&mut safemig(&before, SA20, &check));
    let findings: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    let messages: Vec<&str> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| {
            assert!(!finding["fix"].is_null(), "{finding:#}");
            finding["message"].as_str().expect("a message")
        })
        .collect();
    assert_eq!(messages, FOUND, "{}", checked.text);

    let fix = ["fix", ".", rules, "--unsafe-fixes"];
    let fixed = verify_with(&mut safemig(&after, SA20, &fix));
    assert_eq!(fixed.status, Some(0), "{}", fixed.text);
    let again = verify_with(&mut safemig(&after, SA20, &["fix", ".", rules, "--unsafe-fixes", "--dry-run"]));
    assert_eq!((again.status, again.stdout.as_str()), (Some(0), ""), "{}", again.text);

    let file = directory.path().join("findings.json");
    fs::write(&file, &checked.stdout).expect("a file can be written");
    let mut command = Command::new(interpreter(SA20));
    command.arg(root().join("tests/harness/plans.py")).args([&before, &after, &file]);
    let outcome = run(&mut command);
    assert_eq!(outcome.status, Some(0), "{}", outcome.output);
}

/// The revision that drops and creates indexes: up, down, up again, and interrupted everywhere.
#[test]
fn the_new_revision_is_proved() {
    let project = root().join("tests/application");
    let rules = "--select=verify-query-patterns-are-indexed,ensure-index-not-covered";
    let verified = verify(&project, SA20, &[".", rules, "--unsafe-fixes", "--crash", "--rows=20", "--sql"]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    let steps = FOUND.len() - FOUND.iter().filter(|found| found.starts_with("Index")).count() / 2;
    // Before and after each of them, and within: an invalid index is left there.
    let expected =
        format!("2 revisions (0 rewritten, 1 added): schema equal, {0} of {0} lock claims hold", 2 * steps);
    assert!(verified.text.contains(&expected), "{expected} is not in\n{}", verified.text);
    assert!(verified.text.contains("crash points survived"), "{}", verified.text);
}

/// What is found in the sample application.
const FOUND: &[&str] = &[
    "Index `ux_settings_name` of `settings` is covered by a unique constraint",
    "1 place looks for rows of `events` by `session_key`, and no index helps",
    "1 place looks for rows of `events` by `user_id`, and no index helps",
    "2 places look for rows of `events` by `created`, and no index helps",
    "3 places look for rows of `users` by `team_id`, and no index helps",
    "Index `ix_posts_author_id` of `posts` is covered by `ix_posts_author_id_published_at`",
    "Index `ix_comments_post_id` of `comments` is covered by a unique constraint",
    "1 place looks for rows of `users` by `lower(email)`, and no index helps",
    "2 places look for rows of `posts` by `slug`, and no index helps",
    "2 places look for rows of `comments` by `author_name`, and no index helps",
    "2 places look for rows of `comments` by `host`, and no index helps",
    "1 place looks for rows of `comments` by `written_at`, and no index helps",
    "1 place looks for rows of `post_labels` by `label_id`, and no index helps",
    "Index `ix_posts_author_id_published_at` on `posts` does all that `ix_posts_author_id` is for: not needed any more",
    "Index `ix_comments_post_id` on `comments` is covered by `comments_post_id_number_key`",
    "Index `ux_settings_name` on `settings` is covered by `settings_name_key`",
];
