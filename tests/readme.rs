//! Everything that the README shows is what the program does now.
//!
//! `UPDATE=1 cargo test` writes the present output into it.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use safemig_transforms::rules::RULES;
use support::{SA20, environment, root};

fn rule_table() -> String {
    let mut table = String::from("| rule | what it asks for |\n|---|---|\n");
    for rule in RULES {
        let name = rule.name();
        let _ = writeln!(table, "| [`{name}`](snapshots/{name}.md) | {} |", rule.summary());
    }
    table
}

/// What a command line prints on standard output, run in the repository.
fn output(command: &str) -> String {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("safemig"), "the README runs safemig only");
    let mut safemig = Command::new(env!("CARGO_BIN_EXE_safemig"));
    safemig.args(words.clone()).current_dir(root());
    if words.next() == Some("verify") {
        safemig.env("VIRTUAL_ENV", environment().join(SA20));
    } else {
        safemig.env_remove("VIRTUAL_ENV");
    }
    let output = safemig.output().expect("safemig starts");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("safemig prints UTF-8")
}

/// The README with the present rule table and the present output of the commands in its comments.
fn render(readme: &str) -> String {
    let mut out = String::new();
    let mut lines = readme.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "{line}");
        if let Some(command) = line.strip_prefix("<!-- output: ").and_then(|rest| rest.strip_suffix(" -->")) {
            let fence = lines.next().expect("a code block follows");
            let _ = write!(out, "{fence}\n{}\n```\n", output(command).trim_end());
            lines.by_ref().find(|line| *line == "```");
        } else if line == "<!-- rules -->" {
            let end = "<!-- end of rules -->";
            let _ = write!(out, "\n{}\n{end}\n", rule_table());
            lines.by_ref().find(|line| *line == end);
        }
    }
    out
}

/// How long something took is never the same, and the columns of its table depend on it.
fn without_times(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        if !line.starts_with("  ") || !matches!(words.first(), Some(&("statement" | "before" | "after"))) {
            return line.to_owned();
        }
        words
            .into_iter()
            .filter(|word| word.parse::<f64>().is_err() && *word != "ms")
            .collect::<Vec<_>>()
            .join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readme_shows_what_the_program_does() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).expect("the README can be read");
    let now = render(&readme);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, now).expect("the README can be written");
    } else {
        assert_eq!(
            without_times(&now),
            without_times(&readme),
            "the README is stale: run `UPDATE=1 cargo test`"
        );
    }
}
