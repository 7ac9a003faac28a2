//! The documentation is the test: every rule's own example, and the gallery in `snapshots/`.
//!
//! `UPDATE=1 cargo test` writes what the program does now into the gallery; read the diff.

#![expect(clippy::disallowed_methods, reason = "the core is pure; its tests read and write the gallery")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use safemig_transforms::analysis::{Finding, History};
use safemig_transforms::application::{Application, File, Fix, Reads};
use safemig_transforms::environment::Environment;
use safemig_transforms::migration::{Migration, Parsed};
use safemig_transforms::python::Module;
use safemig_transforms::rules::{RULES, Rule};
use safemig_transforms::settings::Settings;
use safemig_transforms::suppression;

fn migration(path: &str, source: &str) -> Migration {
    match Migration::parse(path.to_owned(), source.to_owned()) {
        Ok(Parsed::Migration(migration)) => *migration,
        Ok(Parsed::Other) => panic!("{path} is no revision:\n{source}"),
        Err(error) => panic!("{path}:{}:{}: {error}\n{source}", error.line, error.column),
    }
}

/// Rewrite an `env.py`; the source itself when nothing changes.
fn fix_environment(source: &str, settings: &Settings) -> String {
    let environment = Environment::parse("env.py".to_owned(), source.to_owned())
        .unwrap_or_else(|error| panic!("env.py:{}:{}: {error}\n{source}", error.line, error.column))
        .unwrap_or_else(|| panic!("it does not use Alembic's context:\n{source}"));
    let all = |_: &str, _: &str| true;
    let fixed = environment.check(settings, &all).fix(&environment, settings, &all, &|_| true);
    fixed.source.unwrap_or_else(|| source.to_owned())
}

/// Rewrite `source`, which follows `given`; the source itself when nothing changes.
fn fix(rule: &Rule, given: Option<&str>, source: &str, settings: &Settings) -> String {
    if rule.is_about_environment() {
        return fix_environment(source, settings);
    }
    if rule.is_about_application() {
        return study(given, source, settings).0;
    }
    fix_source(rule, given, source, settings)
}

fn fix_source(rule: &Rule, given: Option<&str>, source: &str, settings: &Settings) -> String {
    let mut migrations: Vec<_> = given.map(|given| migration("given.py", given)).into_iter().collect();
    migrations.push(migration("migration.py", source));
    let history = History::new(migrations, settings);
    assert_eq!(
        history.map.problems.iter().filter(|problem| !problem.message.contains("is not there")).count(),
        0
    );
    let all = |_: &str, _: &str| true;
    let reports = history.check(settings, &all);
    let (Some(report), Some(migration)) = (reports.last(), history.migrations.last()) else {
        panic!("a history of one");
    };
    if rule.is_about_suppressions() {
        return suppression::remove(&migration.module, &report.ignores).expect("comments can be removed");
    }
    let fixed = report.fix(migration, history.portability, settings, &all, &|_| true);
    fixed.source.unwrap_or_else(|| source.to_owned())
}

/// What is found in `source`, which follows `given`, and is not fixed.
fn findings(given: Option<&str>, source: &str, settings: &Settings) -> Vec<Finding> {
    let mut migrations: Vec<_> = given.map(|given| migration("given.py", given)).into_iter().collect();
    migrations.push(migration("migration.py", source));
    let mut reports = History::new(migrations, settings).check(settings, &|_, _| true);
    reports
        .pop()
        .expect("a history of one")
        .findings
        .into_iter()
        .filter(|finding| finding.fix.is_err())
        .collect()
}

/// The application that is one file, before a database that `given` makes: its text with all fixes, the new
/// revision that goes with them, and what is found, one to a line.
fn study(given: Option<&str>, source: &str, settings: &Settings) -> (String, Option<String>, String) {
    let history = given.map(|given| History::new(vec![migration("given.py", given)], settings));
    let database = history.as_ref().map(|history| history.end(settings));
    let file = File::parse("models.py".to_owned(), source.to_owned())
        .unwrap_or_else(|error| panic!("models.py:{}:{}: {error}\n{source}", error.line, error.column));
    let application = Application { files: vec![file], elsewhere: Reads::default() };
    let report = application.check(database.as_ref(), settings, &|_, _| true, &|_| true);
    let position = |offset| application.files[0].module.position(offset).line;
    let mut found = String::new();
    for finding in &report.findings {
        let violation = &finding.violation;
        let _ = write!(found, "{}: {}", position(violation.range.start()), violation.message);
        let also: Vec<_> =
            violation.also.iter().map(|(_, range)| position(range.start()).to_string()).collect();
        let also = if also.is_empty() { String::new() } else { format!(" (also {})", also.join(", ")) };
        let _ = writeln!(found, "{also}");
        match violation.fix.as_ref().map_err(Clone::clone).and_then(made) {
            Ok(fix) => fix.notes.iter().for_each(|note| {
                let _ = writeln!(found, "    note: {note}");
            }),
            Err(reason) => {
                let _ = writeln!(found, "    not fixed: {reason}");
            }
        }
    }
    let statistics = &report.statistics;
    let _ = writeln!(found, "{} of {} queries understood", statistics.understood, statistics.queries);
    for (reason, number) in &statistics.reasons {
        let _ = writeln!(found, "{number} not: {reason}");
    }
    let fixes: Vec<_> =
        report.findings.iter().filter_map(|one| made(one.violation.fix.as_ref().ok()?).ok()).collect();
    let (mut sources, refused) = application.fix(&fixes);
    let steps: Vec<_> = fixes
        .iter()
        .zip(refused)
        .filter(|(_, refused)| refused.is_none())
        .flat_map(|(fix, _)| fix.steps.iter().cloned())
        .collect();
    let new = history.filter(|_| !steps.is_empty()).map(|history| {
        let end = history.end(settings);
        history.new_revision("Create missing indexes", &steps, &end, settings).expect("it has a place").source
    });
    (sources.remove(&0).unwrap_or_else(|| source.to_owned()), new, found)
}

/// A fix, as far as it waits for no other.
fn made(fix: &Fix) -> Result<&Fix, String> {
    fix.waits.clone().map_or(Ok(fix), Err)
}

/// The new revision with which `source` is followed, when that is the fix.
fn new_revision(rule: &Rule, given: Option<&str>, source: &str, settings: &Settings) -> Option<String> {
    let mut migrations: Vec<_> = given.map(|given| migration("given.py", given)).into_iter().collect();
    migrations.push(migration("migration.py", source));
    let history = History::new(migrations, settings);
    let reports = history.check(settings, &|_, _| true);
    let findings = reports.last().expect("a history of one").findings.iter();
    let steps: Vec<_> = findings
        .filter(|finding| finding.rule.name() == rule.name())
        .flat_map(|finding| finding.new_revision().iter().cloned())
        .collect();
    if steps.is_empty() {
        return None;
    }
    let new = history
        .new_revision("Drop covered indexes", &steps, &history.end(settings), settings)
        .expect("it has a place");
    assert_eq!(
        fix_source(rule, Some(source), &new.source, settings),
        new.source,
        "the new revision is as it should be"
    );
    Some(new.source)
}

/// What must hold for every example, whatever it shows.
fn check(rule: &Rule, name: &str, given: Option<&str>, before: &str, after: &str, settings: &Settings) {
    let fix = |given, source: &str, settings| fix(rule, given, source, settings);
    // The new revision has run.
    let new = rule.is_about_application().then(|| study(given, before, settings).1).flatten();
    let both = new.map(|new| format!("{}\n{}", given.unwrap_or_default(), only_upgrade(&new)));
    let done = both.as_deref().or(given);
    assert!(Module::parse(after.to_owned()).is_ok(), "{name}: the result is no Python");
    assert_eq!(fix(done, after, settings), after, "{name}: a second run changes something");
    let crlf = |text: &str| text.replace('\n', "\r\n");
    assert_eq!(fix(given, &crlf(before), settings), crlf(after), "{name}: with CRLF");
    let (bare, last) = (before.trim_end_matches('\n'), after.trim_end_matches('\n'));
    assert_eq!(fix(given, bare, settings), last, "{name}: without a final line break");
    let bom = format!("\u{feff}{before}");
    assert_eq!(fix(given, &bom, settings), format!("\u{feff}{after}"), "{name}: with a byte order mark");
}

/// A later `upgrade` takes the place of an earlier one, so that it has to do both.
fn only_upgrade(new: &str) -> String {
    let (_, body) = new.split_once("def upgrade").expect("it has one");
    let (body, _) = body.split_once("\n\n\n").expect("something follows");
    let (_, body) = body.split_once('\n').expect("a body");
    let calls: Vec<_> =
        body.lines().filter(|line| line.contains("op.create_index(")).map(str::trim).collect();
    calls.iter().fold(String::new(), |out, call| format!("{out}    {call}\n"))
}

#[test]
fn every_rule_does_what_its_documentation_says() {
    for rule in RULES {
        let name = rule.name();
        let before =
            rule.example("Unsafe").unwrap_or_else(|| panic!("{name} has no example under `## Unsafe`"));
        if rule.section("Instead").is_some() {
            only_advises(rule, &before);
            continue;
        }
        let after = rule.example("Safe").unwrap_or_else(|| panic!("{name} has no example under `## Safe`"));
        let given = rule.example("Given");
        let section = rule.section("Unsafe").unwrap_or_default();
        let words = section.lines().filter_map(|line| line.strip_prefix("Settings: "));
        let words: Vec<_> =
            words.flat_map(|words| words.split(", ")).map(|word| word.trim_matches('`').to_owned()).collect();
        let settings = settings(&words);
        assert_eq!(fix(rule, given.as_deref(), &before, &settings), with_helpers(&after), "{name}");
        check(rule, &name, given.as_deref(), &before, &with_helpers(&after), &settings);
    }
}

/// A rule without a fix: it finds its example, says what `## Instead` says, and changes nothing. The
/// example there is fine.
fn only_advises(rule: &Rule, before: &str) {
    let name = rule.name();
    let settings = Settings::default();
    let of_rule = |source: &str| {
        let found = findings(None, source, &settings);
        found.into_iter().filter(|finding| finding.rule.name() == name).collect::<Vec<_>>()
    };
    assert_eq!(fix(rule, None, before, &settings), before, "{name}");
    let section = rule.section("Instead").unwrap_or_default();
    let advice = section.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let found = of_rule(before);
    assert!(!found.is_empty(), "{name} does not find its own example");
    for finding in found {
        let reason = finding.fix.err().unwrap_or_default();
        let (first, rest) = reason.split_at(1);
        assert_eq!(format!("{}{rest}.", first.to_uppercase()), advice, "{name}");
    }
    if let Some(instead) = rule.example("Instead") {
        assert!(of_rule(&instead).is_empty(), "{name} finds fault with its own advice");
    }
}

/// Only one rule shows the helper functions in full; elsewhere they are left out.
fn with_helpers(after: &str) -> String {
    let helpers: Vec<_> = safemig_transforms::layout::helper_sources().collect();
    let calls = |text: &str, name: &str| text.contains(&format!("{name}("));
    let called: Vec<_> = helpers.iter().filter(|(name, _)| calls(after, name)).collect();
    let mut out = after.to_owned();
    for (name, source) in &helpers {
        let is_needed = calls(after, name) || called.iter().any(|(_, caller)| calls(caller, name));
        if is_needed && !after.contains(&format!("def {name}(")) {
            out.push_str("\n\n");
            out.push_str(source);
        }
    }
    out
}

#[test]
fn every_rule_is_documented() {
    for rule in RULES {
        let summary = rule.summary();
        assert!(summary.len() <= 80, "{}: {summary}", rule.name());
        assert!(summary.ends_with('.'), "{}: {summary}", rule.name());
        assert!(rule.section("Why is this unsafe?").is_some(), "{}", rule.name());
    }
}

/// One example of a gallery.
#[derive(Default)]
struct Example {
    title: String,
    prose: String,
    settings: Vec<String>,
    given: Option<String>,
    before: String,
    after: String,
    /// The new revision that is the fix, or a part of it.
    new: Option<String>,
    /// Of a rule that has no fix: the lines that it finds, and why.
    found: String,
}

fn gallery_path(rule: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots").join(format!("{rule}.md"))
}

fn parse(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut fence: Option<(String, String)> = None;
    for line in text.lines() {
        if let Some((kind, code)) = &mut fence {
            if line == "```" {
                let (kind, code) = (kind.clone(), std::mem::take(code));
                fence = None;
                let example = examples.last_mut().expect("code belongs to an example");
                match kind.as_str() {
                    "python given" => example.given = Some(code),
                    "python before" => example.before = code,
                    "python after" => example.after = code,
                    "python new" => example.new = Some(code),
                    "text found" => example.found = code,
                    other => panic!("unknown fence {other}"),
                }
            } else {
                let _ = writeln!(code, "{line}");
            }
        } else if let Some(title) = line.strip_prefix("## ") {
            examples.push(Example { title: title.to_owned(), ..Example::default() });
        } else if let Some(kind) = line.strip_prefix("```") {
            fence = Some((kind.to_owned(), String::new()));
        } else if let Some(example) = examples.last_mut() {
            if let Some(setting) = line.strip_prefix("Settings: ") {
                example.settings = setting.split(", ").map(|s| s.trim_matches('`').to_owned()).collect();
            }
            if !(line.is_empty() && example.prose.is_empty()) && example.before.is_empty() {
                let _ = writeln!(example.prose, "{line}");
            }
        }
    }
    examples
}

fn settings(words: &[String]) -> Settings {
    let mut settings = Settings::default();
    for word in words {
        let (key, value) = word.split_once(" = ").unwrap_or((word, ""));
        let version = || {
            let mut parts = value.trim_matches('"').split('.').map(|part| part.parse().expect("a number"));
            (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
        };
        match key {
            "alembic-version" => settings.target.alembic = Some(version()),
            "sqlalchemy-version" => settings.target.sqlalchemy = Some(version()),
            "postgres-version" => settings.target.postgres = value.parse().expect("a number"),
            "rerun" => settings.rerun = safemig_transforms::settings::Rerun::Plain,
            "max-index-columns" => {
                settings.max_index_columns =
                    safemig_transforms::settings::MaxIndexColumns(value.parse().expect("a number"));
            }
            "lock-timeout" => settings.lock_timeout = Some(value.trim_matches('"').to_owned()),
            "small-tables" => settings.small_tables = vec![value.trim_matches(['[', ']', '"']).to_owned()],
            other => panic!("unknown setting {other}"),
        }
    }
    settings
}

fn render(rule: &Rule, examples: &[Example]) -> String {
    let mut out = format!("# {}\n\n{}\n", rule.name(), rule.summary());
    for example in examples {
        let _ = write!(out, "\n## {}\n\n", example.title);
        let prose = example.prose.trim();
        if !prose.is_empty() {
            let _ = write!(out, "{prose}\n\n");
        }
        if let Some(given) = &example.given {
            let _ = write!(out, "```python given\n{given}```\n\n");
        }
        let _ = write!(out, "```python before\n{}```\n\n", example.before);
        if rule.section("Instead").is_some() {
            let _ = write!(out, "```text found\n{}```\n", example.found);
        } else {
            if rule.is_about_application() {
                let _ = write!(out, "```text found\n{}```\n\n", example.found);
            }
            let _ = write!(out, "```python after\n{}```\n", example.after);
        }
        if let Some(new) = &example.new {
            let _ = write!(out, "\n```python new\n{new}```\n");
        }
    }
    out
}

/// The findings of the rule in an example, one to a line.
fn found(rule: &Rule, example: &Example, settings: &Settings) -> String {
    let module = Module::parse(example.before.clone()).expect("an example is Python");
    findings(example.given.as_deref(), &example.before, settings)
        .iter()
        .filter(|finding| finding.rule.name() == rule.name())
        .fold(String::new(), |mut out, finding| {
            let line = module.position(finding.range.start()).line;
            let _ = writeln!(out, "{line}: {}", finding.message);
            out
        })
}

#[test]
fn the_gallery_shows_what_the_program_does() {
    let update = std::env::var_os("UPDATE").is_some();
    for rule in RULES {
        let path = gallery_path(&rule.name());
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut examples = parse(&text);
        assert!(!examples.is_empty(), "{} has no examples", path.display());
        for example in &mut examples {
            let settings = settings(&example.settings);
            example.after = fix(rule, example.given.as_deref(), &example.before, &settings);
            if rule.is_about_application() {
                let (_, new, found) = study(example.given.as_deref(), &example.before, &settings);
                (example.new, example.found) = (new, found);
            } else if !rule.is_about_environment() {
                example.new = new_revision(rule, example.given.as_deref(), &example.before, &settings);
            }
            let name = format!("{}: {}", rule.name(), example.title);
            if rule.section("Instead").is_some() {
                example.found = found(rule, example, &settings);
            }
            check(rule, &name, example.given.as_deref(), &example.before, &example.after, &settings);
        }
        let now = render(rule, &examples);
        if update {
            fs::write(&path, now).expect("the gallery can be written");
        } else {
            assert!(now == text, "{} is stale: run `UPDATE=1 cargo test`", path.display());
        }
    }
}
