//! The program from outside: exit codes, streams, formats, and bad input of every kind.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const BASE: &str = "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'aaa'\ndown_revision = None\n\n\n\
def upgrade():\n    op.create_table('a', sa.Column('id', sa.Integer, primary_key=True))\n\n\n\
def downgrade():\n    op.drop_table('a')\n";

/// One finding, fixable, on line 8.
const UNSAFE: &str = "from alembic import op\n\nrevision = 'bbb'\ndown_revision = 'aaa'\n\n\n\
def upgrade():\n    op.create_index('ix_a_id', 'a', ['xy'])\n\n\ndef downgrade():\n    pass\n";

/// One finding, not fixable: the table is not known.
const UNFIXABLE: &str = "from alembic import op\n\nrevision = 'ccc'\ndown_revision = 'bbb'\n\n\n\
def upgrade():\n    op.create_foreign_key('fk', get_table(), 'a', ['id'], ['id'])\n\n\n\
def downgrade():\n    pass\n";

/// The same with `number` findings.
fn with_indexes(number: usize) -> String {
    let indexes: Vec<_> =
        (0..number).map(|n| format!("    op.create_index('ix_{n}', 'a', ['x{n}'])\n")).collect();
    UNSAFE.replace("    op.create_index('ix_a_id', 'a', ['xy'])\n", &indexes.concat())
}

/// What a run printed, and how it ended.
struct Run {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    #[track_caller]
    fn ends_with(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).expect("JSON")
    }
}

/// A project in a temporary directory.
struct Project(TempDir);

impl Project {
    /// An Alembic project with these revisions.
    fn new(revisions: &[(&str, &[u8])]) -> Self {
        let project = Self(TempDir::with_prefix("safemig-cli-").expect("a temporary directory"));
        project.write("alembic.ini", b"[alembic]\nscript_location = migrations\n");
        project.write("migrations/env.py", b"target_metadata = None\n");
        fs::create_dir_all(project.path("migrations/versions")).expect("a directory");
        for (name, content) in revisions {
            project.write(&format!("migrations/versions/{name}"), content);
        }
        project
    }

    /// Two revisions, of which the second has one finding.
    fn usual() -> Self {
        Self::new(&[("aaa.py", BASE.as_bytes()), ("bbb.py", UNSAFE.as_bytes())])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(fs::read(self.path(name)).expect("a file")).expect("UTF-8")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
        command.args(arguments).current_dir(self.0.path());
        for name in [
            "ALEMBIC_CONFIG",
            "NO_COLOR",
            "FORCE_COLOR",
            "CLICOLOR_FORCE",
            "GITHUB_STEP_SUMMARY",
            "VIRTUAL_ENV",
        ] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments), b"")
    }

    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Run {
        run(&mut self.command(arguments), stdin)
    }

    fn git(&self, arguments: &[&str], stdin: &str) -> Run {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "core.autocrlf=false"]);
        run(command.args(arguments).current_dir(self.0.path()), stdin.as_bytes())
    }
}

fn run(command: &mut Command, stdin: &[u8]) -> Run {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A program that doesn't read its input closes the pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(stdin);
    let output = child.wait_with_output().expect("the program ends");
    Run {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

const BBB: &str = "migrations/versions/bbb.py";

#[test]
fn check_reports_on_stdout_and_sums_up_on_stderr() {
    let project = Project::usual();
    let run = project.run(&["check"]).ends_with(1);
    assert_eq!(
        run.stdout,
        "only-concurrent-indexes [*] Creating index `ix_a_id` blocks writes to `a` until it is built\n\
         \x20--> migrations/versions/bbb.py:8:5\n\
         \x20 |\n\
         7 | def upgrade():\n\
         8 |     op.create_index('ix_a_id', 'a', ['xy'])\n\
         \x20 |     ^^^^^^^^^^^^^^^ SHARE on `a` while the index is built\n\
         \x20 |\n\
         help: Create and drop indexes `CONCURRENTLY`, outside of a transaction: \
         SHARE UPDATE EXCLUSIVE while the index is built\n\n"
    );
    assert_eq!(run.stderr, "Found 1 finding in 1 of 2 revisions.\n[*] 1 fixable with `safemig fix`.\n");
    assert_eq!(project.read(BBB), UNSAFE, "check writes nothing");
}

#[test]
fn fix_writes_and_a_second_run_finds_nothing() {
    let project = Project::usual();
    let run = project.run(&["fix"]).ends_with(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "Fixed 1 finding in 1 revision.\n"));
    assert!(project.read(BBB).contains("autocommit_block"));
    let run = project.run(&["fix"]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in 2 revisions.\n");
    project.run(&["check"]).ends_with(0);
}

#[test]
fn what_is_left_alone_is_reported_with_its_reason() {
    let project = Project::new(&[
        ("aaa.py", BASE.as_bytes()),
        ("bbb.py", UNSAFE.as_bytes()),
        ("ccc.py", UNFIXABLE.as_bytes()),
    ]);
    let run = project.run(&["fix", "--show-fixes"]).ends_with(1);
    assert!(run.stdout.contains("ccc.py:8:5") && run.stdout.contains("note: not fixed: "), "{}", run.stdout);
    assert!(
        run.stderr.contains("- migrations/versions/bbb.py:\n    1 × only-concurrent-indexes\n"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("Fixed 1 finding in 1 revision (1 left).\nLeft alone:\n  1  "),
        "{}",
        run.stderr
    );
}

#[test]
fn exit_codes() {
    let project = Project::usual();
    project.run(&["check", "--exit-zero"]).ends_with(0);
    project.run(&["check", "-e", BBB]).ends_with(0);
    project.run(&["check", "missing.py"]).ends_with(2);
    project.run(&["check", "--no-such-flag"]).ends_with(2);
    project.run(&["check", "-c", "missing.ini"]).ends_with(2);
    project.run(&["check", "--config", "no-such-key = 1"]).ends_with(2);
    project.run(&["check", "--postgres-version", "9"]).ends_with(2);
    project.run(&["fix", "--dry-run"]).ends_with(1);
    project.run(&["fix", "--exit-non-zero-on-fix"]).ends_with(1);
    project.run(&["fix", "--dry-run"]).ends_with(0);
}

#[test]
fn quiet_and_silent() {
    let project = Project::usual();
    let run = project.run(&["check", "-q"]).ends_with(1);
    assert!(!run.stdout.is_empty() && run.stderr.is_empty());
    let run = project.run(&["check", "-s"]).ends_with(1);
    assert!(run.stdout.is_empty() && run.stderr.is_empty());
    let run = project.run(&["check", "-v"]).ends_with(1);
    assert!(run.stderr.contains("PostgreSQL: 14"), "{}", run.stderr);
}

#[test]
fn only_what_was_named_is_reported_but_the_history_is_known() {
    let project = Project::usual();
    project.run(&["check", "migrations/versions/aaa.py"]).ends_with(0);
    // A table that an earlier file of the same history created is small by configuration.
    let run = project.run(&["check", BBB, "--output-format", "concise"]).ends_with(1);
    assert_eq!(run.stderr, "Found 1 finding in 1 of 1 revision.\n[*] 1 fixable with `safemig fix`.\n");
    // No complaint about a missing parent, so the parent was read.
    assert!(!run.stdout.contains("invalid-history"), "{}", run.stdout);
    project.run(&["check", "migrations"]).ends_with(1);
}

#[test]
fn a_patch_applies_from_the_root_of_the_repository() {
    let named = |name: &str| {
        let quoted = format!("'{name}'");
        UNSAFE.replace("'bbb'", &quoted).replace("ix_a_id", name).replace("'xy'", &quoted)
    };
    let crlf = named("crlf").replace('\n', "\r\n");
    let bom = format!("\u{feff}{}", named("bom"));
    let no_newline = named("none").trim_end().to_owned();
    let at_the_end = "from alembic import op\nrevision = 'end'\ndown_revision = 'aaa'\ndef downgrade(): pass\n\
                      def upgrade():\n    op.create_index('ix_é', 'a', ['é'])";
    let project = Project::new(&[
        ("aaa.py", BASE.as_bytes()),
        ("crlf.py", crlf.as_bytes()),
        ("bom.py", bom.as_bytes()),
        ("none.py", no_newline.as_bytes()),
        ("end.py", at_the_end.as_bytes()),
        ("with space é.py", named("space").as_bytes()),
        ("quote\".py", named("quote").as_bytes()),
        ("back\\slash\ttab.py", named("tab").as_bytes()),
    ]);
    project.git(&["init", "-q", "."], "").ends_with(0);
    project.git(&["add", "-A"], "").ends_with(0);
    project.git(&["commit", "-qm", "a"], "").ends_with(0);
    let dry = project.run(&["fix", "--dry-run"]).ends_with(1);
    assert!(dry.stderr.starts_with("Would fix 7 findings in 7 revisions.\n"), "{}", dry.stderr);
    assert!(project.git(&["status", "--porcelain"], "").stdout.is_empty(), "a dry run writes nothing");
    project.git(&["apply"], &dry.stdout).ends_with(0);
    let applied = project.git(&["diff"], "").stdout;
    project.git(&["checkout", "-q", "."], "").ends_with(0);
    project.run(&["fix"]).ends_with(0);
    assert_eq!(project.git(&["diff"], "").stdout, applied);
    assert!(project.read("migrations/versions/bom.py").starts_with('\u{feff}'));
    let crlf = project.read("migrations/versions/crlf.py");
    assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
}

#[test]
fn standard_input_is_a_filter() {
    let project = Project::usual();
    let run = project.run_with(&["check", "-", "--stdin-filename", BBB, "--output-format", "concise"], b"");
    run.ends_with(0);
    let name = ["--stdin-filename", BBB];
    let run =
        project.run_with(&["check", "-", name[0], name[1], "--output-format", "concise"], UNSAFE.as_bytes());
    let run = run.ends_with(1);
    assert!(
        run.stdout.starts_with("migrations/versions/bbb.py:8:5: only-concurrent-indexes [*] "),
        "{}",
        run.stdout
    );

    let run = project.run_with(&["fix", "-", name[0], name[1]], UNSAFE.as_bytes()).ends_with(0);
    assert!(run.stdout.starts_with("from alembic import op\n") && run.stdout.contains("autocommit_block"));
    assert_eq!(project.read(BBB), UNSAFE, "the file is not touched");
    let again = project.run_with(&["fix", "-"], run.stdout.as_bytes()).ends_with(0);
    assert_eq!(again.stdout, run.stdout);

    let run = project.run_with(&["fix", "-"], UNFIXABLE.as_bytes()).ends_with(1);
    assert_eq!(run.stdout, UNFIXABLE);
    assert!(run.stderr.contains("-:8:5"), "findings go to stderr: {}", run.stderr);
    for other in ["print('no revision')\n", "down_revision = (\n"] {
        assert_eq!(project.run_with(&["fix", "-q", "-"], other.as_bytes()).stdout, other);
    }
    let run = project.run_with(&["fix", "-", "--dry-run", name[0], name[1]], UNSAFE.as_bytes()).ends_with(1);
    assert!(run.stdout.starts_with("--- a/migrations/versions/bbb.py\n+++ b/"), "{}", run.stdout);
    project.run(&["check", "-", BBB]).ends_with(2);
}

#[test]
fn json() {
    let project = Project::usual();
    let run = project.run(&["check", "--output-format", "json"]).ends_with(1);
    let finding = &run.json()[0];
    assert_eq!(finding["rule"], "only-concurrent-indexes");
    assert_eq!(finding["filename"], BBB);
    assert_eq!(finding["location"], serde_json::json!({"row": 8, "column": 5}));
    assert_eq!(finding["end_location"], serde_json::json!({"row": 8, "column": 20}));
    assert_eq!(finding["direction"], "upgrade");
    assert_eq!(finding["lock"], "SHARE on `a` while the index is built");
    assert_eq!(finding["fix"]["lock"], "SHARE UPDATE EXCLUSIVE while the index is built");
    assert_eq!(finding["not_fixed"], Value::Null);
    let lines = project.run(&["check", "--output-format", "json-lines"]).ends_with(1);
    assert_eq!(serde_json::from_str::<Value>(&lines.stdout).expect("JSON"), *finding);

    let run = project.run(&["check", "--output-format", "json", "--unfixable", "ALL"]).ends_with(1);
    assert_eq!(run.json()[0]["fix"], Value::Null);
    assert!(run.json()[0]["not_fixed"].as_str().is_some_and(|reason| !reason.is_empty()));
    let run = project.run(&["check", "--output-format", "json", "migrations/versions/aaa.py"]).ends_with(0);
    assert_eq!(run.stdout, "[]\n");
    let run = project.run(&["check", "--output-format", "json", "--statistics"]).ends_with(1);
    assert_eq!((&run.json()[0]["count"], &run.json()[0]["fixable"]), (&1.into(), &1.into()));
    assert_eq!((&run.json()[0]["safe_fixes"], &run.json()[0]["left"]), (&1.into(), &0.into()));
    let run = project.run(&["check", "--output-format=json", "--statistics", "--unfixable=ALL"]).ends_with(1);
    assert_eq!((&run.json()[0]["fixable"], &run.json()[0]["left"]), (&0.into(), &1.into()));
    assert_eq!(
        run.json()[0]["reasons"],
        serde_json::json!([{"reason": "`only-concurrent-indexes` is not to be fixed, by configuration", "count": 1}])
    );
}

#[test]
fn github_annotations_stop_at_ten() {
    let project = Project::usual();
    let run = project.run(&["check", "--output-format", "github"]).ends_with(1);
    assert_eq!(
        run.stdout,
        "::error title=safemig (only-concurrent-indexes),file=migrations/versions/bbb.py,line=8,col=5,\
         endLine=8,endColumn=20::migrations/versions/bbb.py:8:5: only-concurrent-indexes \
         Creating index `ix_a_id` blocks writes to `a` until it is built\n"
    );
    let many = with_indexes(12);
    project.write("migrations/versions/b,:b.py", many.as_bytes());
    fs::remove_file(project.path(BBB)).expect("removed");
    let mut command = project.command(&["check", "--output-format", "github"]);
    let run = run_in_actions(&mut command, &project.path("summary.md")).ends_with(1);
    assert_eq!(run.stdout.matches("::error ").count(), 10);
    assert!(run.stdout.contains("file=migrations/versions/b%2C%3Ab.py,line=8"), "{}", run.stdout);
    assert!(run.stdout.contains("::3 more findings in the summary and in the log\n"), "{}", run.stdout);
    let summary = project.read("summary.md");
    assert!(summary.starts_with("earlier\n### safemig: 12 findings\n"), "{summary}");
    assert_eq!(summary.matches("\n| migrations").count(), 12);
}

fn run_in_actions(command: &mut Command, summary: &Path) -> Run {
    fs::write(summary, "earlier\n").expect("a file");
    run(command.env("GITHUB_STEP_SUMMARY", summary), b"")
}

#[test]
fn other_formats_and_files() {
    let project = Project::usual();
    let run = project.run(&["check", "--output-format", "grouped"]).ends_with(1);
    assert!(run.stdout.starts_with("migrations/versions/bbb.py:\n  8:5  only-concurrent-indexes [*] "));
    let run = project.run(&["check", "--statistics"]).ends_with(1);
    assert_eq!(
        run.stdout,
        "1  only-concurrent-indexes  [*]  Create and drop indexes `CONCURRENTLY`, outside of a transaction\n"
    );
    let run = project.run(&["check", "--statistics", "--unfixable=ALL"]).ends_with(1);
    assert_eq!(
        run.stdout,
        "1  only-concurrent-indexes  Create and drop indexes `CONCURRENTLY`, outside of a transaction\n   \
         1  `only-concurrent-indexes` is not to be fixed, by configuration\n"
    );
    let run =
        project.run(&["check", "--output-format", "concise", "-o", "out.txt", "--color=always"]).ends_with(1);
    assert!(run.stdout.is_empty());
    assert!(
        project.read("out.txt").starts_with("migrations/versions/bbb.py:8:5: only"),
        "a file is not coloured"
    );
    project.run(&["check", "--output-format", "sarif"]).ends_with(2);
    let run = project.run(&["check", "--show-files"]).ends_with(0);
    assert_eq!(run.stdout, "migrations/versions/aaa.py\nmigrations/versions/bbb.py\n");
    let run = project.run(&["check", "--show-settings", "--postgres-version", "16"]).ends_with(0);
    assert!(run.stdout.contains("PostgreSQL: 16\n") && run.stdout.contains("heads: bbb\n"), "{}", run.stdout);
}

#[test]
fn rules_are_selected_by_name() {
    let project = Project::usual();
    project.run(&["check", "--ignore", "only-concurrent-indexes"]).ends_with(0);
    project.run(&["check", "--select", "split-foreign-key,unique-constraint"]).ends_with(0);
    project.run(&["check", "--select", "only-concurrent-indexes"]).ends_with(1);
    let run = project.run(&["check", "--select", "only-concurent-indexes"]).ends_with(2);
    assert!(run.stderr.contains("did you mean `only-concurrent-indexes`?"), "{}", run.stderr);
    let run = project.run(&["fix", "--unfixable", "only-concurrent-indexes"]).ends_with(1);
    assert!(run.stderr.contains("1  `only-concurrent-indexes` is not to be fixed"), "{}", run.stderr);
    assert_eq!(project.read(BBB), UNSAFE);

    project.write("safemig.toml", b"ignore = [\"only-concurrent-indexes\"]\n");
    project.run(&["check"]).ends_with(0);
    project.run(&["check", "--isolated"]).ends_with(1);
    project.run(&["check", "--config", "ignore = []"]).ends_with(1);
    project.run(&["check", "--extend-select", "ALL"]).ends_with(1);
    project.write("safemig.toml", b"select = [\"no-such-rule\"]\n");
    let run = project.run(&["check"]).ends_with(2);
    assert!(run.stderr.contains("select: unknown rule `no-such-rule`"), "{}", run.stderr);
}

#[test]
fn files_are_left_out_by_the_configuration() {
    let project = Project::usual();
    project.write("safemig.toml", b"[per-file-ignores]\n\"migrations/versions/b*\" = [\"ALL\"]\n");
    project.run(&["check"]).ends_with(0);
    project.write("safemig.toml", b"baseline = \"bbb\"\n");
    let run = project.run(&["check"]).ends_with(0);
    assert_eq!(
        run.stderr,
        "Nothing unsafe found in 2 revisions (2 at or before baseline bbb not checked).\n"
    );
    project.write("safemig.toml", b"baseline = \"nope\"\n");
    project.run(&["check"]).ends_with(2);
    project.write("safemig.toml", b"small-tables = [\"a\"]\n");
    project.run(&["check"]).ends_with(0);
    project.write("safemig.toml", b"exclude = [\"b*.py\"]\n");
    let run = project.run(&["check"]).ends_with(0);
    assert!(run.stderr.contains("1 excluded"), "{}", run.stderr);
    project.run(&["check", BBB]).ends_with(1);
    project.run(&["check", BBB, "--force-exclude"]).ends_with(0);
    project.run(&["check", "--exclude", "other"]).ends_with(1);
    project.run(&["check", "--exclude", "migrations/versions/b*"]).ends_with(0);
    project.run(&["check", "--exclude", "other", "--extend-exclude", "bbb.py"]).ends_with(0);
}

#[test]
fn suppressions_are_counted_and_unknown_ones_named() {
    let project = Project::usual();
    let suppressed = UNSAFE.replace("['xy'])", "['xy'])  # safemig: ignore[only-concurrent-indexes] small");
    project.write(BBB, suppressed.as_bytes());
    let run = project.run(&["check"]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in 2 revisions (1 suppressed).\n");
    project.write(BBB, suppressed.replace("indexes", "indices").as_bytes());
    let run = project.run(&["check"]).ends_with(1);
    assert!(
        run.stderr.starts_with(
            "warning: migrations/versions/bbb.py:8: the suppressed rule `only-concurrent-indices` is unknown\n\
             hint: did you mean `only-concurrent-indexes`?\n"
        ),
        "{}",
        run.stderr
    );
}

#[test]
fn a_bad_file_is_a_finding_and_the_rest_goes_on() {
    let project = Project::usual();
    let deep = format!("down_revision = {}", "(".repeat(100_000));
    let bad: [(&str, &[u8], &str); 6] = [
        ("broken.py", b"revision = 'x'\ndown_revision = (\n", "broken.py:"),
        ("python2.py", b"down_revision = None\nprint 'hello'\n", "python2.py:2:"),
        (
            "latin.py",
            b"# -*- coding: latin-1 -*-\nx = '\xe9'\ndown_revision = None\n",
            "latin.py:2:6: invalid-syntax: Declared as latin-1; only UTF-8 is read",
        ),
        (
            "bytes.py",
            b"x = '\xe9'\ndown_revision = None\n",
            "bytes.py:1:6: invalid-syntax: Not UTF-8: byte 0xE9",
        ),
        ("binary.py", b"down_revision\x00\x01\x02", "binary.py:1:14: invalid-syntax: A NUL byte"),
        ("deep.py", deep.as_bytes(), "deep.py:1:"),
    ];
    for (name, content, _) in &bad {
        project.write(&format!("migrations/versions/{name}"), content);
    }
    project.write("migrations/versions/empty.py", b"");
    project.write("migrations/versions/other.py", b"x = 1\n");
    for format in ["full", "concise", "grouped", "json", "json-lines", "github"] {
        let run = project.run(&["check", "--output-format", format]).ends_with(1);
        assert!(run.stdout.contains("ix_a_id"), "{format}: {}", run.stdout);
        assert!(
            run.stderr.starts_with("Found 7 findings in 7 of 8 revisions.\n"),
            "{format}: {}",
            run.stderr
        );
    }
    let run = project.run(&["check", "--output-format", "concise"]);
    for (_, _, message) in &bad {
        assert!(run.stdout.contains(message), "{message}\n{}", run.stdout);
    }
    let run = project.run(&["fix"]).ends_with(1);
    assert!(run.stderr.contains("Fixed 1 finding in 1 revision (6 left)."), "{}", run.stderr);
    assert!(run.stderr.contains("6  could not be parsed"), "{}", run.stderr);
    let run = project.run(&["check", BBB]).ends_with(0);
    assert!(
        run.stderr.contains("6 other files could not be parsed, such as migrations/versions/b"),
        "{}",
        run.stderr
    );
}

#[test]
fn an_encoding_that_extends_ascii_may_be_declared_for_ascii() {
    let project = Project::usual();
    project.write(BBB, format!("# coding: latin-1\n{UNSAFE}").as_bytes());
    project.run(&["fix"]).ends_with(0);
    assert!(project.read(BBB).starts_with("# coding: latin-1\n"));
}

#[test]
fn a_broken_history_is_a_finding() {
    let project = Project::usual();
    project.write("migrations/versions/twin.py", UNSAFE.replace("create_index", "x").as_bytes());
    project.write("migrations/versions/orphan.py", b"revision = 'o'\ndown_revision = 'gone'\n");
    let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
    assert!(run.stdout.contains("orphan.py:1:1: invalid-history: Revision `gone`"), "{}", run.stdout);
    assert!(run.stdout.contains("twin.py:3:1: invalid-history: Revision id `bbb`"), "{}", run.stdout);
}

#[test]
fn nothing_to_read_is_no_failure() {
    let project = Project::new(&[]);
    let run = project.run(&["check"]).ends_with(0);
    assert_eq!(run.stderr, "warning: No revision files found under migrations/versions\n");
    fs::create_dir(project.path("empty")).expect("a directory");
    let run = project.run(&["check", "empty"]).ends_with(0);
    assert_eq!(run.stderr, "warning: No revision files found under empty\n");
    project.run(&["check", "migrations/env.py"]).ends_with(0);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_read_or_written_is_said_and_the_rest_goes_on() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let project = Project::usual();
    let other = UNSAFE.replace("'bbb'", "'ddd'").replace("'aaa'", "'bbb'").replace("ix_a_id", "ix_b");
    project.write("migrations/versions/ddd.py", other.as_bytes());
    let set_mode = |name: &str, mode: u32| {
        fs::set_permissions(project.path(name), fs::Permissions::from_mode(mode)).expect("permissions");
    };
    set_mode(BBB, 0o444);
    let run = project.run(&["fix"]).ends_with(2);
    assert!(run.stderr.contains("bbb.py is read-only"), "{}", run.stderr);
    assert!(run.stdout.contains("not fixed: the file could not be written"), "{}", run.stdout);
    assert_eq!(project.read(BBB), UNSAFE);
    assert!(project.read("migrations/versions/ddd.py").contains("autocommit_block"));

    symlink("nowhere.py", project.path("migrations/versions/dangling.py")).expect("a link");
    let run = project.run(&["check"]).ends_with(2);
    assert!(
        run.stderr.contains("error: migrations/versions/dangling.py: this link leads nowhere"),
        "{}",
        run.stderr
    );
    assert!(run.stdout.contains("ix_a_id"), "{}", run.stdout);
    fs::remove_file(project.path("migrations/versions/dangling.py")).expect("removed");

    symlink("..", project.path("migrations/versions/loop")).expect("a link");
    project.run(&["check"]).ends_with(1);
    let run = project.run(&["check", "migrations"]).ends_with(2);
    assert!(run.stderr.contains("leads back to"), "{}", run.stderr);
    fs::remove_file(project.path("migrations/versions/loop")).expect("removed");

    project.write("locked/x.py", b"");
    set_mode("locked", 0o000);
    let readable = fs::read_dir(project.path("locked")).is_ok();
    if !readable {
        // Not for root, who may read everything.
        project.run(&["check", "migrations", "locked"]).ends_with(2);
    }
    set_mode("locked", 0o755);
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_success() {
    let many = with_indexes(200);
    let project = Project::new(&[("aaa.py", BASE.as_bytes()), ("bbb.py", many.as_bytes())]);
    for arguments in [&["check", "--unfixable", "ALL"][..], &["rule", "--all"]] {
        let mut child =
            project.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn colour() {
    let project = Project::usual();
    let colored = |arguments: &[&str], variables: &[(&str, &str)]| {
        run(project.command(arguments).envs(variables.iter().copied()), b"").stdout.contains('\u{1b}')
    };
    assert!(!colored(&["check"], &[]));
    assert!(colored(&["check", "--color", "always"], &[("NO_COLOR", "1")]));
    assert!(colored(&["check"], &[("FORCE_COLOR", "1")]));
    assert!(colored(&["check"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!colored(&["check"], &[("FORCE_COLOR", "1"), ("NO_COLOR", "1")]));
    assert!(!colored(&["check", "--color", "never"], &[("FORCE_COLOR", "1")]));
    assert!(colored(&["fix", "--diff", "--color", "always"], &[]));
    assert!(!colored(&["check", "--output-format", "json", "--color", "always"], &[]));
    assert!(colored(&["rule", "--color", "always"], &[]));
}

/// Two calls to fix, on lines 4 and 7.
const ENVIRONMENT: &str = "from alembic import context\n\nif context.is_offline_mode():\n    \
context.configure(url=url)\nelse:\n    with engine.connect() as connection:\n        \
context.configure(connection=connection)\n\nwith context.begin_transaction():\n    context.run_migrations()\n";

const ENV_PY: &str = "migrations/env.py";

/// The usual project with this `env.py`.
fn with_environment(environment: &str) -> Project {
    let project = Project::usual();
    project.write(ENV_PY, environment.as_bytes());
    project
}

#[test]
fn the_environment_is_checked_with_the_whole_project_or_by_name() {
    let project = with_environment(ENVIRONMENT);
    let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
    assert_eq!(
        run.stdout.lines().next(),
        Some(
            "migrations/env.py:4:5: transaction-per-migration [*] All pending revisions run in one transaction: \
             each keeps its locks until the last has run"
        )
    );
    let summary = "Found 3 findings in 1 of 2 revisions and env.py.\n[*] 3 fixable with `safemig fix`.\n";
    assert_eq!(run.stderr, summary);
    assert_eq!(project.run(&["check", "migrations"]).ends_with(1).stderr, summary);
    let run = project.run(&["check", ENV_PY]).ends_with(1);
    assert_eq!(run.stderr, "Found 2 findings in env.py.\n[*] 2 fixable with `safemig fix`.\n");
    for only in ["migrations/versions", BBB] {
        let run = project.run(&["check", only]).ends_with(1);
        assert!(run.stderr.starts_with("Found 1 finding in 1 of "), "{}", run.stderr);
    }
    let run = project.run(&["check", "--ignore", "only-concurrent-indexes"]).ends_with(1);
    assert!(run.stderr.starts_with("Found 2 findings in env.py, none in 2 revisions.\n"), "{}", run.stderr);
    let run = project.run(&["check", "--show-files"]).ends_with(0);
    assert_eq!(run.stdout, "migrations/env.py\nmigrations/versions/aaa.py\nmigrations/versions/bbb.py\n");
    project.write("elsewhere/env.py", b"DEBUG = (\n");
    project.run(&["check", "elsewhere"]).ends_with(0);
    project.write("elsewhere/env.py", ENVIRONMENT.as_bytes());
    let run = project.run(&["check", "."]).ends_with(1);
    assert!(
        run.stderr.starts_with("Found 5 findings in 1 of 2 revisions and 2 files env.py.\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn the_environment_is_fixed_once() {
    let project = with_environment(&ENVIRONMENT.replace('\n', "\r\n"));
    project.git(&["init", "-q", "."], "").ends_with(0);
    let dry = project.run(&["fix", "--dry-run"]).ends_with(1);
    assert!(dry.stderr.starts_with("Would fix 3 findings in 1 revision and env.py.\n"), "{}", dry.stderr);
    assert!(dry.stdout.starts_with("--- a/migrations/env.py\n+++ b/migrations/env.py\n"), "{}", dry.stdout);
    project.git(&["apply"], &dry.stdout).ends_with(0);
    let applied = project.read(ENV_PY);
    assert!(applied.contains("(connection=connection, transaction_per_migration=True)\r\n"), "{applied}");
    project.write(ENV_PY, ENVIRONMENT.replace('\n', "\r\n").as_bytes());
    let run = project.run(&["fix", "--show-fixes", ENV_PY]).ends_with(0);
    assert_eq!(
        run.stderr,
        "- migrations/env.py:\n    2 × transaction-per-migration\nFixed 2 findings in env.py.\n"
    );
    assert_eq!(project.read(ENV_PY), applied);
    let run = project.run(&["fix", ENV_PY]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in env.py.\n");
    let run =
        project.run_with(&["fix", "-", "--stdin-filename", ENV_PY], ENVIRONMENT.as_bytes()).ends_with(0);
    assert_eq!(run.stdout.matches("transaction_per_migration=True").count(), 2);
    project.run_with(&["check", "-", "--stdin-filename", ENV_PY], ENVIRONMENT.as_bytes()).ends_with(1);
}

#[test]
fn the_environment_obeys_what_revisions_obey() {
    let project = with_environment(ENVIRONMENT);
    project.run(&["check", ENV_PY, "--ignore", "transaction-per-migration"]).ends_with(0);
    project.run(&["check", ENV_PY, "--select", "transaction-per-migration"]).ends_with(1);
    let run = project.run(&["fix", ENV_PY, "--unfixable", "transaction-per-migration"]).ends_with(1);
    assert!(run.stderr.contains("2  `transaction-per-migration` is not to be fixed"), "{}", run.stderr);
    project.write(
        "safemig.toml",
        b"[per-file-ignores]\n\"migrations/env.py\" = [\"transaction-per-migration\"]\n",
    );
    project.run(&["check", ENV_PY]).ends_with(0);
    project.write("safemig.toml", b"baseline = \"bbb\"\n");
    let run = project.run(&["check"]).ends_with(1);
    assert!(
        run.stderr.starts_with("Found 2 findings in env.py, none in 2 revisions (2 at or"),
        "{}",
        run.stderr
    );
    project.write("safemig.toml", b"exclude = [\"env.py\"]\n");
    let run = project.run(&["check"]).ends_with(1);
    assert!(run.stderr.starts_with("Found 1 finding in 1 of 2 revisions (1 excluded).\n"), "{}", run.stderr);
    project.write("safemig.toml", b"");
    let comment = "configure(url=url)  # safemig: ignore[transaction-per-migration, nope] offline";
    project.write(ENV_PY, ENVIRONMENT.replace("configure(url=url)", comment).as_bytes());
    let run = project.run(&["check", ENV_PY]).ends_with(1);
    assert!(
        run.stderr.contains("migrations/env.py:4: the suppressed rule `nope` is unknown"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("Found 1 finding in env.py (1 suppressed)."), "{}", run.stderr);
    project.write(ENV_PY, format!("# safemig: file-ignore[ALL] whatever\n{ENVIRONMENT}").as_bytes());
    let run = project.run(&["check", ENV_PY]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in env.py (2 suppressed).\n");
}

#[test]
fn a_suppression_that_suppresses_nothing_in_the_environment_is_removed() {
    let comment =
        "configure(url=url)  # safemig: ignore[transaction-per-migration, split-foreign-key] offline";
    let text = ENVIRONMENT.replace("configure(url=url)", comment).replace(
        "with context.begin",
        "# safemig: ignore[transaction-per-migration] it was slow\nwith context.begin",
    );
    let project = with_environment(&text);
    let run = project.run(&["check", ENV_PY, "--output-format", "concise"]).ends_with(1);
    let places: Vec<_> =
        run.stdout.lines().filter_map(|line| line.split_once(" Nothing is suppressed")).collect();
    assert_eq!(
        places,
        [
            ("migrations/env.py:4:33: unused-ignore [*]", " that `split-foreign-key` would report"),
            ("migrations/env.py:9:1: unused-ignore [*]", " that `transaction-per-migration` would report"),
        ]
    );
    project.run(&["check", ENV_PY, "--select", "unused-ignore"]).ends_with(0);
    let run = project.run(&["fix", ENV_PY, "--unfixable", "unused-ignore"]).ends_with(1);
    assert!(run.stderr.contains("2  `unused-ignore` is not to be fixed, by configuration"), "{}", run.stderr);
    let kept = project.read(ENV_PY);
    assert!(kept.contains("transaction_per_migration=True") && kept.contains("it was slow"), "{kept}");
    let run = project.run(&["check", ENV_PY, "--output-format", "concise"]).ends_with(1);
    assert_eq!(run.stdout.matches("unused-ignore").count(), 2, "{}", run.stdout);

    project.write(ENV_PY, text.as_bytes());
    let run = project.run(&["upgrade-history"]).ends_with(0);
    assert!(run.stdout.contains("  unused-ignore                    2           1\n"), "{}", run.stdout);
    assert_eq!(
        project.read(ENV_PY),
        text.replace("# safemig: ignore[transaction-per-migration] it was slow\n", "")
            .replace(", split-foreign-key]", "]")
            .replace("connection=connection)", "connection=connection, transaction_per_migration=True)")
    );
    project.run(&["check", ENV_PY]).ends_with(0);
}

#[test]
fn the_environment_in_every_format() {
    let begun = ENVIRONMENT.replace("engine.connect()", "engine.begin()");
    let project = with_environment(&begun);
    let run = project.run(&["check", ENV_PY]).ends_with(1);
    assert!(run.stdout.contains("^^^^^^^^^^^^^^^^^ one transaction for all revisions\n"), "{}", run.stdout);
    assert!(run.stdout.contains("help: Run every revision in a transaction of its own\n"), "{}", run.stdout);
    assert!(run.stdout.contains("note: not fixed: leave the transaction to Alembic"), "{}", run.stdout);
    let run = project.run(&["check", ENV_PY, "--output-format", "json"]).ends_with(1);
    let findings = run.json();
    assert_eq!(findings[0]["rule"], "transaction-per-migration");
    assert_eq!(findings[0]["filename"], ENV_PY);
    assert_eq!(findings[0]["location"], serde_json::json!({"row": 4, "column": 5}));
    assert_eq!((&findings[0]["direction"], &findings[0]["lock"]), (&Value::Null, &Value::Null));
    assert_eq!(findings[0]["fix"]["message"], "Run every revision in a transaction of its own");
    assert_eq!((&findings[1]["location"]["row"], &findings[1]["fix"]), (&6.into(), &Value::Null));
    let run = project.run(&["check", ENV_PY, "--output-format", "github"]).ends_with(1);
    assert_eq!(
        run.stdout
            .matches("::error title=safemig (transaction-per-migration),file=migrations/env.py")
            .count(),
        3
    );
    let run = project.run(&["check", ENV_PY, "--statistics"]).ends_with(1);
    assert!(run.stdout.starts_with("3  transaction-per-migration  [-]  Run every"), "{}", run.stdout);
    project.run(&["fix", ENV_PY]).ends_with(1);
}

#[test]
fn a_broken_environment_is_a_finding() {
    for (content, message) in [
        (&b"from alembic import context\ncontext.configure(\n"[..], "invalid-syntax"),
        (b"from alembic import context  # \xe9\n", "invalid-syntax: Not UTF-8: byte 0xE9"),
        (b"\x00", "invalid-syntax: A NUL byte"),
    ] {
        let project = Project::usual();
        project.write(ENV_PY, content);
        let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
        assert!(
            run.stdout.starts_with("migrations/env.py:") && run.stdout.contains(message),
            "{}",
            run.stdout
        );
        assert!(run.stderr.starts_with("Found 2 findings in 1 of 2 revisions and env.py."), "{}", run.stderr);
        let run = project.run(&["fix"]).ends_with(1);
        assert!(run.stderr.starts_with("Fixed 1 finding in 1 revision (1 left)."), "{}", run.stderr);
        assert_eq!(fs::read(project.path(ENV_PY)).expect("a file"), content);
    }
}

#[test]
fn rules_explain_themselves() {
    let project = Project::new(&[]);
    let run = project.run(&["rule"]).ends_with(0);
    assert!(
        run.stdout.lines().any(|line| line.starts_with("split-foreign-key") && line.contains("NOT VALID"))
    );
    let run = project.run(&["rule", "split-foreign-key"]).ends_with(0);
    assert!(run.stdout.starts_with("# split-foreign-key\n\nAdd a foreign key"), "{}", run.stdout);
    let all = project.run(&["rule", "--all"]).ends_with(0);
    assert!(all.stdout.contains(&run.stdout));
    let json = project.run(&["rule", "--output-format", "json"]).ends_with(0).json();
    assert!(
        json.as_array()
            .is_some_and(|rules| rules.len() >= 4 && rules.iter().all(|rule| rule["name"].is_string()))
    );
    let run = project.run(&["rule", "split-foreign"]).ends_with(2);
    assert!(run.stderr.contains("did you mean `split-foreign-key`?"), "{}", run.stderr);
}

#[test]
fn version_and_help() {
    let project = Project::new(&[]);
    let version = format!("safemig {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(project.run(&["version"]).ends_with(0).stdout, version);
    assert_eq!(project.run(&["--version"]).ends_with(0).stdout, version);
    let run = project.run(&["help", "fix"]).ends_with(0);
    assert!(run.stdout.contains("--dry-run"), "{}", run.stdout);
    assert_eq!(run.stdout, project.run(&["fix", "--help"]).ends_with(0).stdout);
    project.run(&[]).ends_with(2);
}

#[test]
fn an_explicit_configuration_is_used_and_may_come_from_the_environment() {
    let project = Project::usual();
    fs::rename(project.path("alembic.ini"), project.path("db.ini")).expect("renamed");
    project.run(&["check", "-c", "db.ini"]).ends_with(1);
    run(project.command(&["check"]).env("ALEMBIC_CONFIG", "db.ini"), b"").ends_with(1);
    project.run(&["check", "-c", "db.ini", "-n", "missing"]).ends_with(2);
}

/// One finding, whose fix is unsafe.
const BACKFILL: &str = "from alembic import op\n\nrevision = 'bbb'\ndown_revision = 'aaa'\n\n\n\
def upgrade():\n    op.execute('UPDATE a SET b = 1')\n\n\ndef downgrade():\n    pass\n";

#[test]
fn unsafe_fixes_are_made_only_when_they_are_asked_for() {
    let project = Project::new(&[("a.py", BASE.as_bytes()), ("b.py", BACKFILL.as_bytes())]);
    let run = project.run(&["check"]).ends_with(1);
    assert!(run.stderr.contains("1 fixable with `safemig fix --unsafe-fixes`."), "{}", run.stderr);
    assert!(run.stdout.contains("not fixed: needs `--unsafe-fixes`"), "{}", run.stdout);
    let run = project.run(&["check", "--output-format=json"]).ends_with(1);
    assert_eq!(run.json()[0]["applicability"], "unsafe");
    assert!(run.json()[0]["fix"].is_null());
    let run = project.run(&["check", "--unsafe-fixes"]).ends_with(1);
    assert!(run.stdout.contains("batch-backfill [*]"), "{}", run.stdout);
    project.run(&["fix"]).ends_with(1);
    assert_eq!(project.read("migrations/versions/b.py"), BACKFILL);
    project.write("safemig.toml", b"extend-safe-fixes = ['batch-backfill']\n");
    let run = project.run(&["check", "--output-format=json"]).ends_with(1);
    assert_eq!(run.json()[0]["applicability"], "safe");
    project.write("safemig.toml", b"");
    project.run(&["fix", "--unsafe-fixes"]).ends_with(0);
    assert!(project.read("migrations/versions/b.py").contains("_backfill('a', 'id', 'SET b = 1')"));
}

/// `ix_a_xy` is what `ix_a_xyz` begins with.
const NARROW: &str = "from alembic import op\n\nrevision = 'bbb'\ndown_revision = 'aaa'\n\n\n\
def upgrade():\n    with op.get_context().autocommit_block():\n        \
op.create_index('ix_a_xy', 'a', ['xy'], postgresql_concurrently=True, if_not_exists=True)\n\n\n\
def downgrade():\n    pass\n";

#[test]
fn what_an_older_revision_left_is_fixed_by_a_new_one() {
    let wide = NARROW.replace("'bbb'", "'ccc'").replace("'aaa'", "'bbb'").replace("ix_a_xy", "ix_a_xyz");
    let wide = wide.replace("['xy']", "['xy', 'z']");
    let project =
        Project::new(&[("a.py", BASE.as_bytes()), ("b.py", NARROW.as_bytes()), ("c.py", wide.as_bytes())]);
    let run = project.run(&["check"]).ends_with(1);
    assert!(run.stdout.contains("ensure-index-not-covered"), "{}", run.stdout);
    assert!(run.stderr.contains("1 fixable with `safemig fix --unsafe-fixes`."), "{}", run.stderr);
    project.run(&["fix"]).ends_with(1);
    assert_eq!(fs::read_dir(project.path("migrations/versions")).expect("a directory").count(), 3);

    let dry = project.run(&["fix", "--unsafe-fixes", "--dry-run"]).ends_with(1);
    assert!(dry.stdout.contains("--- /dev/null\n+++ b/migrations/versions/"), "{}", dry.stdout);
    project.run(&["fix", "--unsafe-fixes", "--show-fixes"]).ends_with(0);
    let names = fs::read_dir(project.path("migrations/versions")).expect("a directory");
    let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
    let new =
        names.iter().find_map(|name| name.to_str()?.ends_with("_drop_covered_indexes.py").then_some(name));
    let new = format!("migrations/versions/{}", new.expect("a new revision").display());
    let text = project.read(&new);
    assert!(text.contains("down_revision = 'ccc'"), "{text}");
    assert!(text.contains("op.drop_index('ix_a_xy', table_name='a', postgresql_concurrently=True"), "{text}");
    assert!(text.contains("op.create_index('ix_a_xy', 'a', ['xy'], postgresql_concurrently=True"), "{text}");
    project.run(&["check", "--unsafe-fixes"]).ends_with(0);
    project.run(&["fix", "--unsafe-fixes"]).ends_with(0);

    fs::remove_file(project.path(&new)).expect("removed");
    project.git(&["init", "-q"], "").ends_with(0);
    project.git(&["apply"], &dry.stdout).ends_with(0);
    assert_eq!(project.read(&new), text);
}

#[test]
fn a_new_revision_needs_one_head() {
    let wide = NARROW.replace("'bbb'", "'ccc'").replace("'aaa'", "'bbb'").replace("ix_a_xy", "ix_a_xyz");
    let wide = wide.replace("['xy']", "['xy', 'z']");
    let other = BASE.replace("'aaa'", "'ddd'").replace("'a'", "'d'");
    let project = Project::new(&[
        ("a.py", BASE.as_bytes()),
        ("b.py", NARROW.as_bytes()),
        ("c.py", wide.as_bytes()),
        ("d.py", other.as_bytes()),
    ]);
    let run = project.run(&["fix", "--unsafe-fixes"]).ends_with(1);
    assert!(run.stdout.contains("not fixed: the history has 2 heads"), "{}", run.stdout);
}

#[test]
fn the_most_columns_of_an_index_are_configured() {
    let wide = NARROW.replace("['xy']", "['xy', 'z']");
    let project = Project::new(&[("a.py", BASE.as_bytes()), ("b.py", wide.as_bytes())]);
    project.run(&["check"]).ends_with(0);
    project.write("safemig.toml", b"max-index-columns = 1\n");
    let run = project.run(&["check"]).ends_with(1);
    assert!(run.stdout.contains("limit-non-unique-index") && run.stderr.contains("unsafe"), "{}", run.stdout);
}

#[test]
fn a_lock_timeout_is_written_only_where_it_is_configured_and_not_there_yet() {
    let drop = UNSAFE.replace("op.create_index('ix_a_id', 'a', ['xy'])", "op.drop_constraint('ck', 'a')");
    // Two findings: in `downgrade`, the table goes.
    let project = Project::new(&[("aaa.py", BASE.as_bytes()), ("bbb.py", drop.as_bytes())]);
    assert_eq!(project.run(&["check"]).ends_with(0).stdout, "");
    project.write("safemig.toml", b"lock-timeout = \"3s\"\n");
    let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
    assert!(
        run.stdout.contains(
            "migrations/versions/bbb.py:8:5: lock-timeout [*] Dropping constraint `ck` waits for ACCESS EXCLUSIVE on `a`"
        ),
        "{}",
        run.stdout
    );
    let diff = project.run(&["fix", "--dry-run"]).ends_with(1).stdout;
    assert_eq!(diff.matches("+    with _lock_timeout('3s'):\n").count(), 2, "{diff}");

    let places: [(&str, &str, usize); 4] = [
        ("migrations/env.py", "# lock_timeout\n\"\"\"lock_timeout\"\"\"\ntarget_metadata = None\n", 0),
        ("migrations/env.py", "\nconnect_args = {'options': '-c lock_timeout=5s'}\n", 2),
        ("migrations/env.py", "settings = dict(lock_timeout='5s')\n", 1),
        (
            "alembic.ini",
            "[alembic]\nscript_location = migrations\n# lock_timeout\nsqlalchemy.url = postgresql:///a?options=-c%%20lock_timeout%%3D5s\n",
            4,
        ),
    ];
    for (path, text, line) in places {
        project.write("migrations/env.py", b"target_metadata = None\n");
        project.write(path, text.as_bytes());
        let run = project.run(&["check"]).ends_with(i32::from(line == 0));
        let warning = format!(
            "warning: `lock-timeout` of the configuration has no effect: {path}:{line} sets `lock_timeout`, \
             which also ends concurrent builds\n"
        );
        assert_eq!(run.stderr.contains(&warning), line != 0, "{path}: {}", run.stderr);
    }
}

#[test]
fn a_range_of_revisions() {
    let project = Project::new(&[
        ("aaa.py", BASE.as_bytes()),
        ("bbb.py", UNSAFE.as_bytes()),
        ("ccc.py", UNSAFE.replace("bbb", "ccc").replace("aaa", "bbb").as_bytes()),
    ]);
    let run = project.run(&["check", "-r", "ccc:", "--output-format", "concise"]).ends_with(1);
    assert!(run.stdout.contains("ccc.py:8:5") && !run.stdout.contains("bbb.py"), "{}", run.stdout);
    assert!(
        run.stderr.starts_with("Found 1 finding in 1 of 3 revisions (2 outside of ccc: not checked).\n"),
        "{}",
        run.stderr
    );
    project.run(&["check", "--rev-range", ":-1", "-q"]).ends_with(2);
    project.run(&["check", "-r=-1:", "-q"]).ends_with(1);
    project.run(&["check", "-r", "-1:"]).ends_with(1);
    let run = project.run(&["check", "-r", "ddd:"]).ends_with(2);
    assert_eq!(run.stderr, "error: there is no revision or branch `ddd`\n");
    project.run(&["fix", "-r", ":aaa"]).ends_with(0);
    assert_eq!(project.read(BBB), UNSAFE);
    project.run(&["fix", "-r", ":bbb"]).ends_with(0);
    assert!(project.read(BBB).contains("autocommit_block"));
    project.run(&["check", "-r", ":bbb"]).ends_with(0);
    project.run(&["check"]).ends_with(1);
}

#[test]
fn what_changed_since_a_git_revision() {
    let project = Project::usual();
    project.write("migrations/env.py", ENVIRONMENT.as_bytes());
    project.run(&["check", "--since", "HEAD"]).ends_with(2);
    project.git(&["init", "-qb", "main", "."], "").ends_with(0);
    project.git(&["add", "-A"], "").ends_with(0);
    project.git(&["commit", "-qm", "a"], "").ends_with(0);
    let run = project.run(&["check", "--since", "main"]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in 2 revisions (2 unchanged since main not checked).\n");
    // A branch with one revision more, and another on main that is not here.
    project.git(&["checkout", "-qb", "feature"], "").ends_with(0);
    let next = |id: &str| UNSAFE.replace("bbb", id).replace("aaa", "bbb");
    project.write("migrations/versions/ccc.py", next("ccc").as_bytes());
    project.git(&["add", "-A"], "").ends_with(0);
    project.git(&["commit", "-qm", "b"], "").ends_with(0);
    project.git(&["checkout", "-q", "main"], "").ends_with(0);
    project.write(BBB, UNSAFE.replace("ix_a_id", "ix_main").as_bytes());
    project.git(&["commit", "-qam", "c"], "").ends_with(0);
    project.git(&["checkout", "-q", "feature"], "").ends_with(0);
    // And one that is not committed.
    project.write("migrations/versions/ddd.py", next("ddd").as_bytes());
    let run = project.run(&["check", "--since", "main", "--output-format", "concise"]).ends_with(1);
    let found: Vec<_> = run.stdout.lines().map(|line| line.split(':').next().unwrap_or_default()).collect();
    assert_eq!(found, ["migrations/versions/ccc.py", "migrations/versions/ddd.py"], "{}", run.stdout);
    // The whole history says what the table is.
    assert!(run.stdout.contains("`a`"), "{}", run.stdout);
    project.write("migrations/env.py", ENVIRONMENT.replace("engine", "the_engine").as_bytes());
    let run = project.run(&["check", "--since", "main", "--output-format", "concise"]).ends_with(1);
    assert!(run.stdout.contains("env.py"), "{}", run.stdout);
    let run = project.run(&["check", "--since", "nope"]).ends_with(2);
    assert!(run.stderr.contains("git could not compare with `nope`: "), "{}", run.stderr);
}

#[test]
fn what_is_found_can_be_suppressed() {
    let project = Project::new(&[
        ("aaa.py", BASE.as_bytes()),
        ("bbb.py", with_indexes(2).as_bytes()),
        ("ccc.py", UNFIXABLE.as_bytes()),
        ("ddd.py", b"down_revision = (\n"),
    ]);
    project.write("migrations/env.py", ENVIRONMENT.as_bytes());
    let run = project.run(&["check", "--add-ignore=before 2024,  checked"]).ends_with(1);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert!(
        run.stderr.starts_with("Suppressed 5 findings in 3 files.\nwarning: migrations/versions/ddd.py:"),
        "{}",
        run.stderr
    );
    assert!(
        project.read(BBB).contains(
            "    # safemig: ignore[only-concurrent-indexes] before 2024, checked\n    op.create_index('ix_1'"
        ),
        "{}",
        project.read(BBB)
    );
    fs::remove_file(project.path("migrations/versions/ddd.py")).expect("a file");
    let run = project.run(&["check"]).ends_with(0);
    assert_eq!(run.stderr, "Nothing unsafe found in 3 revisions (5 suppressed).\n");
    let run = project.run(&["check", "--add-ignore"]).ends_with(0);
    assert_eq!(run.stderr, "Nothing to suppress in 3 revisions.\n");
    // A path is no reason.
    project.run(&["check", "--add-ignore", BBB]).ends_with(0);
    project.write(BBB, UNSAFE.as_bytes());
    project.run(&["check", "--add-ignore", "--config", "require-ignore-reason = true"]).ends_with(2);
    project.run_with(&["check", "--add-ignore", "-"], UNSAFE.as_bytes()).ends_with(2);
    assert_eq!(project.read(BBB), UNSAFE);
    project.run(&["check", "--add-ignore"]).ends_with(0);
    assert!(project.read(BBB).contains("    # safemig: ignore[only-concurrent-indexes]\n"));
}

#[test]
fn init_sets_up_what_is_not_there_yet() {
    let project = Project::usual();
    let ini =
        "[alembic]\nscript_location = migrations\n\n[post_write_hooks]\nhooks = ruff\nruff.type = exec\n";
    project.write("alembic.ini", ini.as_bytes());
    project.write("pyproject.toml", b"[project]\nname = \"x\"  # c\n");
    project.write(".pre-commit-config.yaml", b"repos:\n  - repo: x\n    hooks: []\n");
    let dry = project.run(&["init", "--dry-run"]).ends_with(1);
    assert_eq!(dry.stderr, "Would set up alembic.ini, pyproject.toml, .pre-commit-config.yaml.\n");
    assert_eq!(project.read("alembic.ini"), ini);
    let run = project.run(&["init"]).ends_with(0);
    assert_eq!(run.stdout, dry.stdout);
    assert!(project.read("alembic.ini").contains(
        "hooks = safemig, ruff\nsafemig.type = exec\nsafemig.executable = safemig\n\
         safemig.options = fix REVISION_SCRIPT_FILENAME\nruff.type = exec\n"
    ));
    assert!(
        project
            .read("pyproject.toml")
            .starts_with("[project]\nname = \"x\"  # c\n\n[tool.safemig]\nbaseline = \"bbb\"  # ")
    );
    assert!(project.read(".pre-commit-config.yaml").contains("      - id: safemig\n"));
    let run = project.run(&["init"]).ends_with(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", "Nothing is left to set up.\n"));
    project.run(&["check"]).ends_with(0);

    // Without a pyproject.toml, and with a branch.
    let project = Project::usual();
    let dry = project.run(&["init", "--dry-run"]).ends_with(1);
    assert!(
        dry.stdout.contains("--- /dev/null\n+++ b/safemig.toml\n@@ -0,0 +1 @@\n+baseline = \"bbb\""),
        "{}",
        dry.stdout
    );
    project.git(&["init", "-q", "."], "").ends_with(0);
    project.git(&["apply"], &dry.stdout).ends_with(0);
    project.run(&["init"]).ends_with(0);
    project.run(&["check"]).ends_with(0);
    let project = Project::usual();
    project.write("migrations/versions/ccc.py", UNSAFE.replace("bbb", "ccc").as_bytes());
    let run = project.run(&["init"]).ends_with(0);
    assert!(
        run.stderr.starts_with("warning: there are several heads, so no baseline was set\nhint: "),
        "{}",
        run.stderr
    );
    assert!(!project.path("safemig.toml").exists());
    // All in one file.
    let project = Project::usual();
    fs::remove_file(project.path("alembic.ini")).expect("a file");
    project.write("pyproject.toml", b"[tool.alembic]\nscript_location = \"migrations\"\n");
    project.run(&["init"]).ends_with(0);
    let text = project.read("pyproject.toml");
    assert!(
        text.contains("[[tool.alembic.post_write_hooks]]\nname = \"safemig\"\n")
            && text.contains("baseline = \"bbb\""),
        "{text}"
    );
    project.run(&["init", "--dry-run"]).ends_with(0);
}

#[test]
fn shells_can_complete() {
    let project = Project::usual();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = project.run(&["generate-shell-completion", shell]).ends_with(0);
        assert!(run.stdout.contains("upgrade-history"), "{shell}");
    }
    project.run(&["generate-shell-completion", "nosh"]).ends_with(2);
}

#[test]
fn a_suppression_may_have_to_say_why() {
    let suppressed = |why: &str| {
        UNSAFE.replace("    op.", &format!("    # safemig: ignore[only-concurrent-indexes]{why}\n    op."))
    };
    let project = Project::new(&[("aaa.py", BASE.as_bytes()), ("bbb.py", suppressed("").as_bytes())]);
    project.run(&["check"]).ends_with(0);
    project.write("safemig.toml", b"require-ignore-reason = true\n");
    let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
    assert!(run.stdout.contains("bbb.py:9:5: only-concurrent-indexes [*]"), "{}", run.stdout);
    assert!(
        run.stderr.starts_with(
            "warning: migrations/versions/bbb.py:8: the suppression has no effect: it does not say why"
        ),
        "{}",
        run.stderr
    );
    project.write(BBB, suppressed(" 200 rows").as_bytes());
    assert_eq!(
        project.run(&["check"]).ends_with(0).stderr,
        "Nothing unsafe found in 2 revisions (1 suppressed).\n"
    );
}

#[test]
fn a_suppression_that_suppresses_nothing_is_removed() {
    let useless = UNSAFE.replace(
        "    pass",
        "    # safemig: ignore[split-foreign-key] why\n    op.execute('SELECT 1')  # safemig: ignore[drop-table]",
    );
    let project = Project::new(&[("aaa.py", BASE.as_bytes()), ("bbb.py", useless.as_bytes())]);
    let run = project.run(&["check", "--output-format", "concise"]).ends_with(1);
    assert!(
        run.stdout.contains(
            "bbb.py:12:5: unused-ignore [*] Nothing is suppressed that `split-foreign-key` would report\n"
        ) && run.stdout.contains("bbb.py:13:29: unused-ignore [*] "),
        "{}",
        run.stdout
    );
    project.run(&["check", "--ignore", "unused-ignore,only-concurrent-indexes"]).ends_with(0);
    project.run(&["check", "--select", "unused-ignore"]).ends_with(0);
    let run =
        project.run(&["fix", "--unfixable", "unused-ignore", "--output-format", "concise"]).ends_with(1);
    assert!(run.stdout.contains("unused-ignore"), "{}", run.stdout);
    let line = |text: &str| {
        let written = project.read(BBB);
        written.lines().position(|line| line.contains(text)).map(|line| line + 1)
    };
    let place = format!("bbb.py:{}:5: unused-ignore", line("split-foreign-key").expect("it is left"));
    assert!(run.stdout.contains(&place), "{place}: {}", run.stdout);
    let run = project.run(&["fix", "--show-fixes"]).ends_with(0);
    assert!(
        run.stderr.contains("    2 × unused-ignore\n")
            && run.stderr.contains("Fixed 2 findings in 1 revision.\n"),
        "{}",
        run.stderr
    );
    assert_eq!(line("safemig: ignore"), None);
    assert!(project.read(BBB).contains("    op.execute('SELECT 1')\n"));
    project.write(BBB, useless.as_bytes());
    project.run(&["fix"]).ends_with(0);
    project.run(&["check"]).ends_with(0);
}

/// A model and a query that no index serves, on line 14.
const APPLICATION: &str = "import sqlalchemy as sa\nfrom app.db import Base\n\n\nclass A(Base):\n    __tablename__ = 'a'\n\n    \
id = sa.Column(sa.Integer, primary_key=True)\n    made = sa.Column(sa.DateTime, nullable=False)\n    xy = sa.Column(sa.Uuid)\n\n\n\
def find(session, xy):\n    return session.query(A).filter(A.xy == xy).all()\n";

#[test]
fn an_application_is_checked_only_where_it_is_asked_about() {
    let base = BASE.replace("primary_key=True)", "primary_key=True), sa.Column('xy', sa.Uuid)");
    let project = Project::new(&[("aaa.py", base.as_bytes())]);
    project.write("app/models.py", APPLICATION.as_bytes());
    let rule = "verify-query-patterns-are-indexed";
    for asked in
        [&["check", "app"][..], &["check", "."], &["check", "app/models.py"], &["check", "--select", rule]]
    {
        let run = project.run(asked).ends_with(1);
        assert!(run.stdout.contains("app/models.py:14:12"), "{asked:?}: {}", run.stdout);
        assert!(run.stdout.contains("1 place looks for rows of `a` by `xy`"), "{asked:?}: {}", run.stdout);
    }
    let others: [&[&str]; 5] = [
        &["check"],
        &["check", "migrations"],
        &["check", "--select", "ALL"],
        &["check", "app", "--ignore", rule],
        &["check", "app", "--config", "small-tables=['a']"],
    ];
    for asked in others {
        let run = project.run(asked).ends_with(0);
        assert!(run.stdout.is_empty(), "{asked:?}: {}", run.stdout);
    }
    let run = project.run(&["check", "app", "--statistics"]).ends_with(1);
    assert!(run.stdout.contains("1 model, 1 query, 1 understood"), "{}", run.stdout);
    let suppressed =
        APPLICATION.replace(".all()", ".all()  # safemig: ignore[verify-query-patterns-are-indexed] few");
    project.write("app/models.py", suppressed.as_bytes());
    let run = project.run(&["check", "app"]).ends_with(0);
    assert!(run.stderr.contains("(1 suppressed)"), "{}", run.stderr);
}

#[test]
fn a_missing_index_goes_to_the_model_and_to_a_new_revision() {
    let base = BASE.replace("primary_key=True)", "primary_key=True), sa.Column('xy', sa.Uuid)");
    let project = Project::new(&[("aaa.py", base.as_bytes())]);
    project.write("app/models.py", APPLICATION.as_bytes());
    project.run(&["fix", "app"]).ends_with(1);
    assert_eq!(project.read("app/models.py"), APPLICATION, "it is unsafe");
    let dry = project.run(&["fix", "app", "--unsafe-fixes", "--dry-run"]).ends_with(1);
    assert!(dry.stderr.contains("Would fix 1 finding in 1 revision and 1 file."), "{}", dry.stderr);
    project.run(&["fix", "app", "--unsafe-fixes"]).ends_with(0);
    assert!(project.read("app/models.py").contains("xy = sa.Column(sa.Uuid, index=True)"));
    assert!(
        dry.stdout.contains("+        op.create_index('ix_a_xy', 'a', ['xy'], postgresql_concurrently=True"),
        "{}",
        dry.stdout
    );
    project.run(&["fix", "app", "--unsafe-fixes"]).ends_with(0);
    assert_eq!(project.run(&["check", "."]).ends_with(0).stdout, "");
}

#[cfg(unix)]
#[test]
fn models_and_their_new_revision_are_written_together() {
    use std::os::unix::fs::PermissionsExt as _;

    let base = BASE.replace("primary_key=True)", "primary_key=True), sa.Column('xy', sa.Uuid)");
    let more = base.replace("'aaa'", "'bbb'").replace("= None", "= 'aaa'").replace("'a'", "'b'");
    let project = Project::new(&[("aaa.py", base.as_bytes()), ("bbb.py", more.as_bytes())]);
    let other = APPLICATION.replace("class A", "class B").replace("(A)", "(B)").replace("(A.", "(B.");
    let models = [("app/one.py", APPLICATION), ("app/two.py", &other.replace("'a'", "'b'"))];
    for (name, content) in models {
        project.write(name, content.as_bytes());
    }
    let is_untouched = || {
        let names = fs::read_dir(project.path("migrations/versions")).expect("a directory").count();
        names == 2 && models.iter().all(|(name, content)| project.read(name) == *content)
    };
    let fix = ["fix", "app", "--unsafe-fixes"];

    let permissions = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(project.path("app/two.py"), permissions(0o444)).expect("permissions");
    let run = project.run(&fix).ends_with(2);
    assert!(run.stderr.contains("two.py is read-only"), "{}", run.stderr);
    assert_eq!(run.stdout.matches("not fixed: the file could not be written").count(), 2, "{}", run.stdout);
    assert!(is_untouched());
    fs::set_permissions(project.path("app/two.py"), permissions(0o644)).expect("permissions");

    // Killed when one of three files was there.
    let journal = project.path("migrations/.safemig-journal");
    let entry = |name: &str, old: Option<&str>, new: &str| serde_json::json!({"path": fs::canonicalize(project.0.path()).expect("a path").join(name), "old": old, "new": new});
    let record = serde_json::json!({"files": [
        entry("migrations/versions/ccc.py", None, "# new\n"),
        entry("app/one.py", Some(APPLICATION), "# also new\n"),
    ]});
    fs::write(&journal, record.to_string()).expect("a file");
    project.write("migrations/versions/ccc.py", b"# new\n");
    let run = project.run(&[&fix[..], &["--dry-run"]].concat()).ends_with(2);
    assert!(
        run.stderr.contains("a run was interrupted while it wrote; migrations/.safemig-journal says"),
        "{}",
        run.stderr
    );
    let run = project.run(&fix).ends_with(0);
    assert!(
        run.stderr.contains("a run was interrupted while it wrote 2 files; all are as they were"),
        "{}",
        run.stderr
    );
    assert!(!journal.exists() && !project.path("migrations/versions/ccc.py").exists());
    for (name, _) in models {
        assert!(project.read(name).contains("xy = sa.Column(sa.Uuid, index=True)"));
    }
    assert_eq!(fs::read_dir(project.path("migrations/versions")).expect("a directory").count(), 3);
    project.run(&["check", "."]).ends_with(0);
}
