//! `safemig rule`: explain a rule, or list all rules.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use safemig_transforms::rules::{self, RULES, Rule};
use serde::Serialize;

use crate::Status;
use crate::cli::{RuleArgs, RuleFormat};
use crate::report::json;
use crate::selection;
use crate::terminal::Terminal;

#[derive(Debug, Serialize)]
struct Explained {
    name: String,
    summary: String,
    documentation: String,
}

impl Explained {
    fn new(rule: &Rule) -> Self {
        Self { name: rule.name(), summary: rule.summary(), documentation: rule.documentation() }
    }
}

pub(super) fn run(arguments: &RuleArgs, terminal: &Terminal) -> Result<Status> {
    let text = match (&arguments.name, arguments.output_format) {
        (Some(name), format) => {
            let rule = rules::find(name).ok_or_else(|| unknown(name))?;
            match format {
                RuleFormat::Text => page(rule, terminal),
                RuleFormat::Json => json::to_string(&Explained::new(rule)),
            }
        }
        (None, RuleFormat::Json) => json::to_string(&RULES.iter().map(Explained::new).collect::<Vec<_>>()),
        (None, RuleFormat::Text) if arguments.all => {
            RULES.iter().map(|rule| page(rule, terminal)).collect::<Vec<_>>().join("\n")
        }
        (None, RuleFormat::Text) => table(terminal),
    };
    terminal.print(&text)?;
    Ok(Status::Clean)
}

fn unknown(name: &str) -> anyhow::Error {
    let hint = selection::nearest(name).filter(|nearest| nearest != "ALL").map_or_else(
        || "`safemig rule` lists all rules".to_owned(),
        |nearest| format!("did you mean `{nearest}`?"),
    );
    anyhow!("unknown rule `{name}`\nhint: {hint}")
}

/// The documentation of a rule, below its name.
pub(super) fn page(rule: &Rule, terminal: &Terminal) -> String {
    let mut text = String::new();
    let document = format!("# {}\n\n{}", rule.name(), rule.documentation());
    let mut code = false;
    for line in document.trim_end().lines() {
        code ^= line.starts_with("```");
        if line.starts_with('#') && !code {
            let _ = writeln!(text, "{}", terminal.style().bold().apply_to(line));
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn table(terminal: &Terminal) -> String {
    let width = RULES.iter().map(|rule| rule.name().len()).max().unwrap_or_default();
    let mut text = String::new();
    for rule in RULES {
        let name = terminal.style().bold().apply_to(format!("{:<width$}", rule.name()));
        let _ = writeln!(text, "{name}  {}", rule.summary());
    }
    text
}
