//! Everything that the README shows is what the program does now.
//!
//! `UPDATE=1 cargo test` writes the present output into it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use safemig_transforms::rules::RULES;

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
    let output = Command::new(env!("CARGO_BIN_EXE_safemig"))
        .args(words)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("VIRTUAL_ENV")
        .output()
        .expect("safemig starts");
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

#[test]
fn the_readme_shows_what_the_program_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(&path).expect("the README can be read");
    let now = render(&readme);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, now).expect("the README can be written");
    } else {
        assert_eq!(now, readme, "the README is stale: run `UPDATE=1 cargo test`");
    }
}
