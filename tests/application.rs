//! The sample application of `tests/application`: what is found there is true on a real PostgreSQL.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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

/// Writes a file, and the directories that it is in.
fn write(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, text).expect("a file");
}

/// Only the migrations know that the key is older, so that the reference rests on that: the model follows them.
#[test]
fn a_model_keeps_an_index_as_long_as_the_database_does() {
    const DECLARED: &str = "Index('ux_codes', 'code', unique=True)";
    const CREATED: &str = "op.create_index('ux_codes', 'codes', ['code'], unique=True)";
    let run = |created_in: &str| {
        let directory = TempDir::with_prefix("safemig-codes-").expect("a temporary directory");
        let write = |name: &str, text: &str| write(directory.path(), name, text);
        write("alembic.ini", "[alembic]\nscript_location = m\n");
        write("m/env.py", "target_metadata = None\n");
        write(
            "app/models.py",
            &format!(
                "from sqlalchemy import Column, Index, String\nfrom sqlalchemy.orm import declarative_base\n\n\
                 Base = declarative_base()\n\n\nclass Code(Base):\n    __tablename__ = 'codes'\n    __table_args__ = ({DECLARED},)\n\n    \
                 code = Column(String(9), primary_key=True)\n"
            ),
        );
        write(
            "m/versions/a.py",
            &format!(
                "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'a'\ndown_revision = None\n\n\n\
                 def upgrade():\n    op.create_table('codes', sa.Column('code', sa.String(9), nullable=False){created_in}\n    \
                 op.create_table('uses', sa.Column('code', sa.String(9), sa.ForeignKey('codes.code')))\n"
            ),
        );
        let rule = "--select=ensure-index-not-covered";
        let fixed =
            verify_with(&mut safemig(directory.path(), SA20, &["fix", ".", "app", rule, "--unsafe-fixes"]));
        let model = fs::read_to_string(directory.path().join("app/models.py")).expect("a file");
        let revision = fs::read_to_string(directory.path().join("m/versions/a.py")).expect("a file");
        (model.contains(DECLARED), revision.contains(CREATED), fixed.text)
    };
    let key_first = run(&format!(", sa.PrimaryKeyConstraint('code'))\n    {CREATED}"));
    assert_eq!((key_first.0, key_first.1), (false, false), "{}", key_first.2);
    let index_first =
        run(&format!(")\n    {CREATED}\n    op.create_primary_key('codes_pkey', 'codes', ['code'])"));
    assert_eq!((index_first.0, index_first.1), (true, true), "{}", index_first.2);
    assert!(index_first.2.contains("a foreign key may rest on it"), "{}", index_first.2);
}

/// An index that can't be created concurrently, as nothing says which partitions there are, keeps the other not back.
#[test]
fn what_a_new_revision_cannot_do_is_left_out_of_it() {
    let directory = TempDir::with_prefix("safemig-partitions-").expect("a temporary directory");
    let write = |name: &str, text: &str| write(directory.path(), name, text);
    write("alembic.ini", "[alembic]\nscript_location = m\n");
    write("m/env.py", "target_metadata = None\n");
    let columns = |sa: &str| {
        format!(
            "{sa}Column('id', {sa}Integer, primary_key=True), {sa}Column('at', {sa}DateTime, primary_key=True), \
             {sa}Column('token', {sa}String(20))"
        )
    };
    let table =
        |name: &str, options: &str| format!("    op.create_table('{name}', {}{options})\n", columns("sa."));
    write(
        "m/versions/a.py",
        &format!(
            "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'a'\ndown_revision = None\n\n\ndef upgrade():\n{}{}",
            table("jobs", ""),
            table("parts", ", postgresql_partition_by='RANGE (at)'")
        ),
    );
    let variable = |name: &str| format!("{name} = sa.Table('{name}', sa.MetaData(), {})\n", columns("sa."));
    let query = |name: &str| {
        format!(
            "def of_{name}(s, token):\n    return s.execute({name}.select().where({name}.c.token == token)).all()\n"
        )
    };
    let application = format!(
        "import sqlalchemy as sa\n\n{}{}\n\n{}\n\n{}",
        variable("jobs"),
        variable("parts"),
        query("jobs"),
        query("parts")
    );
    write("app.py", &application);
    let rule = "--select=verify-query-patterns-are-indexed";
    let fixed = verify_with(&mut safemig(directory.path(), SA20, &["fix", ".", rule, "--unsafe-fixes"]));
    assert!(fixed.text.contains("no migration creates partitions of `parts`"), "{}", fixed.text);
    let written = fs::read_to_string(directory.path().join("app.py")).expect("a file");
    assert_eq!(written, application.replacen("sa.String(20))", "sa.String(20), index=True)", 1));
    let versions = fs::read_dir(directory.path().join("m/versions")).expect("a directory");
    let versions = versions.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a file"));
    let new = versions.into_iter().find(|text| text.contains("down_revision = 'a'")).expect("a new revision");
    assert!(new.contains("ix_jobs_token") && !new.contains("parts"), "{new}");
}

/// An application of many files, each with a model that lacks an index.
struct Many(TempDir);

const MODELS: usize = 120;
const JOURNAL: &str = "m/.safemig-journal";

impl Many {
    fn new() -> Self {
        let many = Self(TempDir::with_prefix("safemig-many-").expect("a temporary directory"));
        let mut tables = String::new();
        for number in 0..MODELS {
            let _ = writeln!(
                tables,
                "    op.create_table('t{number}', sa.Column('id', sa.Integer(), primary_key=True), sa.Column('a', sa.Uuid()))"
            );
            many.write(
                &format!("app/m{number:03}.py"),
                &format!(
                    "from sqlalchemy import Column, DateTime, Integer, Uuid, select\nfrom app import Base\n\n\nclass T(Base):\n    \
                     __tablename__ = 't{number}'\n\n    id = Column(Integer, primary_key=True)\n    a = Column(Uuid)\n    made = Column(DateTime, nullable=False)\n\n\n\
                     def find(session, a):\n    return session.scalars(select(T).where(T.a == a)).all()\n"
                ),
            );
        }
        many.write("alembic.ini", "[alembic]\nscript_location = m\n");
        many.write("m/env.py", "target_metadata = None\n");
        many.write(
            "app/__init__.py",
            "from sqlalchemy.orm import declarative_base\n\nBase = declarative_base()\n",
        );
        many.write(
            "m/versions/a.py",
            &format!(
                "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'a'\ndown_revision = None\n\n\n\
                 def upgrade():\n{tables}"
            ),
        );
        many
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).expect("a file")
    }

    fn command(&self) -> Command {
        let rule = "--select=verify-query-patterns-are-indexed";
        let mut command = safemig(self.0.path(), SA20, &["fix", ".", rule, "--unsafe-fixes", "-q"]);
        command
            .env_remove("ALEMBIC_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// The exit code, and what is said.
    fn run(&self) -> (Option<i32>, String) {
        let output = self.command().output().expect("safemig starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    }

    /// A run that has begun to write.
    fn writing(&self) -> Child {
        let mut child = self.command().spawn().expect("safemig starts");
        while !self.0.path().join(JOURNAL).exists() {
            assert!(child.try_wait().expect("a process").is_none(), "it ended before it wrote");
            thread::sleep(Duration::from_micros(200));
        }
        child
    }

    /// Every file, but for hidden ones other than the journal.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for directory in ["app", "m", "m/versions"] {
            for entry in fs::read_dir(self.0.path().join(directory)).expect("a directory") {
                let path = entry.expect("an entry").path();
                let name = format!("{directory}/{}", path.file_name().expect("a name").display());
                if path.is_file() && (!name.contains("/.") || name == JOURNAL) {
                    files.insert(name, fs::read_to_string(path).expect("a file"));
                }
            }
        }
        files
    }
}

/// The models and the new revision are one whole: the other tests of this are in src/write/journal.rs.
#[cfg(unix)]
#[test]
fn killed_while_it_writes_it_completes_when_it_is_run_again() {
    let reference = Many::new();
    let before = reference.files();
    assert_eq!(reference.run(), (Some(0), String::new()));
    let after = reference.files();
    assert_eq!(after.len(), before.len() + 1, "a new revision");
    assert!(before.iter().all(|(name, text)| !name.starts_with("app/m") || after[name] != *text));
    let mut interrupted = 0;
    for number in 0..6 {
        let many = Many::new();
        let mut child = many.writing();
        thread::sleep(Duration::from_millis(number * 15));
        child.kill().expect("it was started");
        child.wait().expect("it ended");
        let was_interrupted = many.0.path().join(JOURNAL).exists();
        interrupted += u32::from(was_interrupted);
        let (status, said) = many.run();
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(
            said.contains("a run was interrupted while it wrote 121 files; all are as they were"),
            was_interrupted,
            "{said}"
        );
        let files = many.files();
        let different: Vec<_> = files.iter().filter(|(name, text)| after.get(*name) != Some(*text)).collect();
        assert!(files == after, "killed after {number}: {different:?}");
    }
    assert!(interrupted > 0, "it was never killed while it wrote");
}

#[cfg(unix)]
#[test]
fn a_file_that_changes_while_it_writes_is_left() {
    let many = Many::new();
    let before = many.files();
    let child = many.writing();
    let signal = |name: &str| run(Command::new("kill").arg(name).arg(child.id().to_string()));
    signal("-STOP");
    // The last to be written.
    let name = format!("app/m{:03}.py", MODELS - 1);
    let mine = format!("{}# mine\n", before[&name]);
    assert_eq!(many.read(&name), before[&name], "it was not written yet");
    many.write(&name, &mine);
    signal("-CONT");
    let output = child.wait_with_output().expect("it ended");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("m119.py changed since it was read; nothing was written"), "{said}");
    let mut expected = before;
    expected.insert(name.clone(), mine);
    assert!(many.files() == expected, "all as it was, and mine");
    assert_eq!(many.run(), (Some(0), String::new()));
    assert!(many.read(&name).ends_with("# mine\n") && many.read(&name).contains("index=True"));
}

/// Killed, and then a file is changed that it was to write: that is for people to decide.
#[cfg(unix)]
#[test]
fn a_file_that_changed_after_a_kill_is_not_overwritten() {
    let many = Many::new();
    let mut child = many.writing();
    child.kill().expect("it was started");
    child.wait().expect("it ended");
    assert!(many.0.path().join(JOURNAL).exists(), "it was killed while it wrote");
    many.write("app/m007.py", "# mine\n");
    let interrupted = many.files();
    let (status, said) = many.run();
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("m007.py") && said.contains(".safemig-journal"), "{said}");
    assert!(many.files() == interrupted, "nothing was written");
}

/// What is found in the sample application.
const FOUND: &[&str] = &[
    "Index `ux_settings_name` of `settings` is covered by a unique constraint",
    "1 place looks for rows of `events` by `session_token`, and no index helps",
    "1 place looks for rows of `events` by `user_id`, and no index helps",
    "2 places look for rows of `events` by `created`, and no index helps",
    "3 places look for rows of `users` by `team_id`, and no index helps",
    "Index `ix_posts_author_id` of `posts` is covered by `ix_posts_author_id_published_at`",
    "Index `ix_comments_post_id` of `comments` is covered by a unique constraint",
    "1 place looks for rows of `users` by `lower(email)`, and no index helps",
    "2 places look for rows of `posts` by `slug`, and no index helps",
    "2 places look for rows of `comments` by `author_email`, and no index helps",
    "2 places look for rows of `comments` by `url`, and no index helps",
    "1 place looks for rows of `comments` by `written_at`, and no index helps",
    "1 place looks for rows of `post_labels` by `label_id`, and no index helps",
    "Index `ix_posts_author_id_published_at` on `posts` does all that `ix_posts_author_id` is for: not needed any more",
    "Index `ix_comments_post_id` on `comments` is covered by `comments_post_id_number_key`",
    "Index `ux_settings_name` on `settings` is covered by `settings_name_key`",
];
