//! What migrations become when they are cut into several revisions: the gallery `snapshots/split-revision.md`.
//!
//! `UPDATE=1 cargo test` writes what the program does now into it; read the diff.

#![expect(clippy::disallowed_methods, reason = "the core is pure; its tests read and write the gallery")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use safemig_transforms::analysis::{Fixed, History};
use safemig_transforms::migration::{Migration, Parsed};
use safemig_transforms::settings::{Settings, Split, Target};

const GALLERY: &str = "../snapshots/split-revision.md";

fn migration(source: &str) -> Migration {
    match Migration::parse("migration.py".to_owned(), source.to_owned()) {
        Ok(Parsed::Migration(migration)) => *migration,
        Ok(Parsed::Other) => panic!("no revision:\n{source}"),
        Err(error) => panic!("line {}: {error}\n{source}", error.line),
    }
}

fn settings() -> Settings {
    let target = Target { alembic: Some((1, 16, 0)), sqlalchemy: Some((2, 0, 0)), ..Target::default() };
    Settings { split: Split::Revision, target, ..Settings::default() }
}

/// Fix the last of some revisions that follow each other.
fn fix(sources: &[&str]) -> Fixed {
    let history = History::new(sources.iter().map(|source| migration(source)).collect(), &settings());
    let all = |_: &str, _: &str| true;
    let reports = history.check(&settings(), &all);
    let (Some(report), Some(migration)) = (reports.last(), history.migrations.last()) else {
        panic!("a history of none");
    };
    report.fix(migration, history.portability, &settings(), &all, &|_| true)
}

/// The revisions that a migration becomes.
fn parts(fixed: &Fixed) -> Vec<&str> {
    fixed.parts.iter().map(|part| &*part.source).chain(fixed.source.as_deref()).collect()
}

/// The rules' own galleries show the helper functions.
fn without_helpers(source: &str) -> String {
    safemig_transforms::layout::helper_sources()
        .fold(source.to_owned(), |text, (_, helper)| text.replace(&format!("\n\n{helper}"), ""))
}

/// One section of the gallery: the text before the fence that the program writes.
struct Example {
    head: String,
    given: Option<String>,
    before: String,
}

fn read(text: &str) -> (String, Vec<Example>) {
    let mut sections = text.split("\n## ");
    let title = sections.next().unwrap_or_default().to_owned();
    let code = |section: &str, kind: &str| {
        let (_, rest) = section.split_once(&format!("```python {kind}\n"))?;
        Some(rest.split_once("```\n")?.0.to_owned())
    };
    let examples = sections.map(|section| {
        let start = section.find("```python before\n").expect("an example has one");
        let code_end = section[start + 3..].find("```\n").expect("it ends");
        let end = start + 3 + code_end + "```\n".len();
        Example {
            head: section[..end].to_owned(),
            given: code(section, "given"),
            before: code(section, "before").expect("an example has one"),
        }
    });
    (title, examples.collect())
}

#[test]
fn the_gallery_shows_what_the_program_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(GALLERY);
    let text = fs::read_to_string(&path).expect("the gallery can be read");
    let (mut now, examples) = read(&text);
    assert!(!examples.is_empty());
    for example in examples {
        let sources: Vec<&str> = example.given.as_deref().into_iter().chain([&*example.before]).collect();
        let fixed = fix(&sources);
        let parts = parts(&fixed);
        let _ = write!(now, "\n## {}", example.head);
        for part in &parts {
            let _ = write!(now, "\n```python after\n{}```\n", without_helpers(part));
        }
        if let Some(reason) = &fixed.uncut {
            let _ = write!(now, "\n```text uncut\n{reason}\n```\n");
        }
        check(&sources, &parts);
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, now).expect("the gallery can be written");
    } else {
        assert!(now == text, "{GALLERY} is stale: run `UPDATE=1 cargo test`");
    }
}

/// What must hold for every example, whatever it shows.
fn check(sources: &[&str], parts: &[&str]) {
    let Some((original, given)) = sources.split_last() else { return };
    let (old, new): (Migration, Vec<Migration>) =
        (migration(original), parts.iter().map(|part| migration(part)).collect());
    let (Some(first), Some(last)) = (new.first(), new.last()) else { return };
    assert_eq!((&first.down_revisions, &first.depends_on), (&old.down_revisions, &old.depends_on));
    assert_eq!((&last.revision, &last.branch_labels), (&old.revision, &old.branch_labels));
    for pair in new.windows(2) {
        assert_eq!(pair[1].down_revisions, [pair[0].revision.clone()]);
        assert!(pair[0].revision.len() <= 32 && pair[0].branch_labels.is_empty());
        assert!(pair[1].depends_on.is_empty());
    }
    // No comment of a statement is lost, and a second run changes nothing.
    let everything = parts.concat();
    for line in original.lines().map(str::trim).filter(|line| line.starts_with('#')) {
        assert!(everything.contains(line), "{line} is lost");
    }
    for number in 0..parts.len() {
        let sources: Vec<&str> = given.iter().chain(&parts[..=number]).copied().collect();
        assert_eq!(fix(&sources).source, None, "a second run changes\n{}", parts[number]);
    }
    let crlf: Vec<String> = sources.iter().map(|source| source.replace('\n', "\r\n")).collect();
    let crlf: Vec<&str> = crlf.iter().map(String::as_str).collect();
    let fixed = fix(&crlf);
    for (part, expected) in self::parts(&fixed).iter().zip(parts) {
        // Ids follow from the parents' ids, which are the same.
        assert_eq!(**part, expected.replace('\n', "\r\n"), "with CRLF");
    }
}
