//! `safemig verify` finds what is wrong: every bad rewrite is caught for its reason, and the good one passes.
//!
//! Each test commits `tests/verify/original.py` to a repository of its own, puts `good.py` with one mistake in its
//! place, and verifies that against what was committed.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{SA20, SA21, Verified, root, run, safemig, verify, verify_with};
use tempfile::TempDir;

const CRASH: &str = "--crash";
const ROWS: &str = "--rows=20";
const SQL: &str = "--sql";

/// A project in a repository: committed as somebody wrote it, then rewritten.
struct Case {
    directory: TempDir,
}

impl Case {
    /// With the text of the rewritten revision.
    fn new(rewritten: &str) -> Self {
        let directory = TempDir::with_prefix("safemig-verify-test-").expect("a temporary directory");
        let case = Self { directory };
        let versions = case.path().join("versions");
        fs::create_dir(&versions).expect("a directory can be made");
        for file in ["tables", "original"] {
            fs::write(versions.join(format!("{file}.py")), text(file)).expect("a file can be written");
        }
        case.git(&["init", "--quiet"]);
        case.git(&["add", "."]);
        case.git(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "commit",
            "--quiet",
            "-m",
            "original",
        ]);
        fs::write(versions.join("original.py"), rewritten).expect("a file can be written");
        case
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn git(&self, arguments: &[&str]) {
        let outcome = run(Command::new("git").args(arguments).current_dir(self.path()));
        assert_eq!(outcome.status, Some(0), "{}", outcome.output);
    }

    fn verify(&self, flags: &[&str]) -> Verified {
        verify(self.path(), SA20, &[&["versions", "--against", "HEAD"], flags].concat())
    }
}

fn text(file: &str) -> String {
    let path = root().join("tests/verify").join(format!("{file}.py"));
    fs::read_to_string(path).expect("a file of tests/verify can be read")
}

/// The good rewrite with a part of it changed.
fn with(from: &str, to: &str) -> String {
    let good = text("good");
    assert!(good.contains(from), "good.py has no {from:?}");
    good.replace(from, to)
}

/// A rewrite that is found to be wrong, for this reason.
#[track_caller]
fn caught(rewritten: &str, flags: &[&str], reason: &str) {
    let verified = Case::new(rewritten).verify(flags);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    assert!(verified.text.contains(reason), "{reason:?} is not in\n{}", verified.text);
}

#[test]
fn a_good_rewrite_passes() {
    let case = Case::new(&text("good"));
    for flags in [&[][..], &[CRASH, ROWS, SQL], &[CRASH]] {
        let verified = case.verify(flags);
        assert_eq!(verified.status, Some(0), "{flags:?}: {}", verified.text);
        assert!(verified.text.contains("schema equal, 3 of 3 lock claims hold"), "{}", verified.text);
        assert_eq!(verified.text.contains("crash points survived"), flags.contains(&CRASH));
    }
}

/// A revision that only the rewrite has, with this upgrade and downgrade.
fn added(upgrade: &str, downgrade: &str) -> Verified {
    let case = Case::new(&text("good"));
    let source = format!(
        "from alembic import op\n\nrevision = 'added'\ndown_revision = 'changes'\n\n\n\
         def upgrade():\n    {upgrade}\n\n\ndef downgrade():\n    {downgrade}\n"
    );
    fs::write(case.path().join("versions/added.py"), source).expect("a file can be written");
    case.verify(&[CRASH, ROWS, SQL])
}

#[test]
fn what_is_added_leads_back_to_where_it_was() {
    let good = added(
        "op.execute('ALTER TABLE child ALTER COLUMN a SET DEFAULT 7')",
        "op.execute('ALTER TABLE child ALTER COLUMN a DROP DEFAULT')",
    );
    assert_eq!(good.status, Some(0), "{}", good.text);
    assert!(good.text.contains("(1 rewritten, 1 added): schema equal"), "{}", good.text);

    for (upgrade, downgrade, reason) in [
        ("op.add_column('child', sa.Column('z', sa.Integer()))", "pass", "it fails: NameError: name 'sa'"),
        (
            "op.execute('ALTER TABLE child ADD IF NOT EXISTS z integer')",
            "pass",
            "differences (- before the upgrade, + after the downgrade)",
        ),
        (
            "op.execute('ALTER TABLE child ADD IF NOT EXISTS z integer')",
            "op.execute('ALTER TABLE child RENAME z TO y')",
            "differences (- the first time, + after a downgrade)",
        ),
        (
            "op.create_index('ix_child_z', 'child', ['b'])",
            "op.drop_index('ix_child_z', 'child')",
            "upgrade: builds index ix_child_z of child under SHARE",
        ),
    ] {
        let verified = added(upgrade, downgrade);
        assert_eq!(verified.status, Some(1), "{}", verified.text);
        assert!(verified.text.contains(reason), "{reason:?} is not in\n{}", verified.text);
    }
}

#[test]
fn its_locks_are_shown_before_and_after() {
    let verified = Case::new(&text("good")).verify(&["--output-format=json"]);
    let report: Value = serde_json::from_str(&verified.stdout).expect("JSON");
    let report = &report[0];
    assert_eq!(report["holds"], true);
    let upgrade = &report["touched"][0]["upgrade"];
    let of = |side: &str, beginning: &str| -> Value {
        let statements = upgrade[side].as_array().expect("a list");
        let is_it = |statement: &&Value| {
            statement["sql"].as_str().is_some_and(|sql| sql.trim().starts_with(beginning))
        };
        statements.iter().find(is_it).unwrap_or_else(|| panic!("no {beginning} in {upgrade:#}")).clone()
    };
    let build = of("before", "CREATE INDEX");
    assert_eq!(build["blocking"][0]["lock"], "ACCESS EXCLUSIVE", "that of ADD COLUMN is still held");
    assert_eq!(build["work"][0]["what"], "builds index ix_child_a");
    let build = of("after", "CREATE INDEX CONCURRENTLY");
    assert_eq!(build["locks"]["child"]["lock"], "SHARE UPDATE EXCLUSIVE");
    assert_eq!(build["work"][0]["what"], "builds index ix_child_a");
    assert_eq!(build["blocking"], Value::Array(Vec::new()));
    let add = of("after", "ALTER TABLE child ADD CONSTRAINT");
    assert_eq!(add["locks"]["parent"]["lock"], "SHARE ROW EXCLUSIVE");
    let validate = of("after", "ALTER TABLE child VALIDATE CONSTRAINT");
    assert_eq!(validate["locks"]["child"]["lock"], "SHARE UPDATE EXCLUSIVE");
    assert_eq!(validate["locks"]["parent"]["lock"], "ROW SHARE");
    assert_eq!(validate["work"][0]["what"], "looks up every row of foreign key fk_child_parent");
}

#[test]
fn the_original_is_no_good_rewrite() {
    let verified = Case::new(&format!("{}\n# touched\n", text("original"))).verify(&[]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    for reason in [
        "upgrade: builds index ix_child_a of child under ACCESS EXCLUSIVE on child",
        "`safemig check` reports it as `only-concurrent-indexes`",
        "upgrade: looks up every row of foreign key fk_child_parent of child under ACCESS EXCLUSIVE on child, parent",
        "downgrade: drops index ix_child_a of child under ACCESS EXCLUSIVE",
        "schema equal, 0 of 0 lock claims hold",
    ] {
        assert!(verified.text.contains(reason), "{reason:?} is not in\n{}", verified.text);
    }
}

#[test]
fn a_lost_ondelete_is_caught() {
    caught(&with(r#"ondelete="CASCADE", "#, ""), &[], "ON DELETE CASCADE");
}

#[test]
fn a_constraint_left_not_valid_is_caught() {
    let rewritten = with("op.execute(\"ALTER TABLE child VALIDATE CONSTRAINT fk_child_parent\")", "pass");
    caught(&rewritten, &[], "validated");
}

#[test]
fn another_order_of_columns_is_caught() {
    caught(&with(r#"["a", "b"]"#, r#"["b", "a"]"#), &[], "ix_child_a");
}

#[test]
fn a_renamed_constraint_is_caught() {
    caught(&with("fk_child_parent", "fk_child"), &[], "fk_child_parent");
}

#[test]
fn a_lost_default_is_caught() {
    caught(&with(r#", server_default="0""#, ""), &[], "default");
}

#[test]
fn an_incomplete_downgrade_is_caught() {
    caught(&with("    op.drop_column(\"child\", \"c\")\n", ""), &[], "downgrade: ");
}

#[test]
fn a_downgrade_that_fails_is_caught() {
    let rewritten = with(r#"op.drop_column("child", "c")"#, r#"op.drop_column("child", "d")"#);
    caught(&rewritten, &[], "downgrade: the original succeeds, the rewrite fails: ProgrammingError");
}

#[test]
fn an_upgrade_that_fails_is_caught() {
    let rewritten = with("VALIDATE CONSTRAINT fk_child_parent", "VALIDATE CONSTRAINT fk_child");
    caught(&rewritten, &[], "upgrade: the original succeeds, the rewrite fails: ProgrammingError");
}

#[test]
fn other_data_is_caught() {
    let rewritten = with("SET b = id WHERE", "SET b = id + 1 WHERE");
    caught(&rewritten, &[ROWS], "child");
    let verified = Case::new(&rewritten).verify(&[]);
    assert_eq!(verified.status, Some(0), "without rows it can't be seen: {}", verified.text);
}

#[test]
fn an_invalid_index_is_caught() {
    let rewritten = with("        _drop_invalid_index(\"ix_child_a\")\n", "");
    caught(&rewritten, &[CRASH], "left behind: invalid index public.ix_child_a");
}

#[test]
fn a_statement_that_cannot_be_repeated_is_caught() {
    let rewritten = with(r#"server_default="0"), if_not_exists=True)"#, r#"server_default="0"))"#);
    caught(
        &rewritten,
        &[CRASH],
        "and run again: it fails: ProgrammingError: (psycopg2.errors.DuplicateColumn)",
    );
    let (upgrade, downgrade) =
        text("good").split_once("def downgrade").map(|(a, b)| (a.to_owned(), b.to_owned())).expect("both");
    let downgrade = downgrade.replacen(r#"type_="foreignkey", if_exists=True)"#, r#"type_="foreignkey")"#, 1);
    let rewritten = format!("{upgrade}def downgrade{downgrade}");
    caught(&rewritten, &[CRASH], "downgrade, cut off after statement");
}

#[test]
fn a_helper_that_stays_is_caught() {
    let line =
        "    op.create_check_constraint(\"safemig_child_c\", \"child\", \"c IS NOT NULL OR c IS NULL\")\n";
    let rewritten = with("\n\ndef downgrade", &format!("{line}\n\ndef downgrade"));
    caught(&rewritten, &[], "safemig_child_c");
}

#[test]
fn a_validation_under_the_lock_of_its_own_transaction_is_caught() {
    let block =
        "    with op.get_context().autocommit_block():\n        op.execute(\"ALTER TABLE child VALIDATE";
    let rewritten = with(block, "    op.execute(\"ALTER TABLE child VALIDATE");
    let reason =
        "looks up every row of foreign key fk_child_parent of child under ACCESS EXCLUSIVE on child, parent";
    caught(&rewritten, &[], reason);
}

#[test]
fn locks_inside_of_do_are_caught() {
    let call = r#"op.create_index("ix_child_a", "child", ["a", "b"], postgresql_concurrently=True, if_not_exists=True)"#;
    let block = r#"op.execute("DO $$ BEGIN CREATE INDEX IF NOT EXISTS ix_child_a ON child (a, b); END $$")"#;
    caught(&with(call, block), &[], "builds index ix_child_a of child under SHARE on child");
}

#[test]
fn an_update_under_a_strong_lock_is_caught() {
    let update = "    op.execute(\"UPDATE child SET b = id WHERE b IS NULL\")\n";
    let rewritten = with(update, "").replace(
        "    with op.get_context().autocommit_block():\n        _drop",
        &format!("{update}    with op.get_context().autocommit_block():\n        _drop"),
    );
    caught(&rewritten, &[], "reads every row of child under ACCESS EXCLUSIVE on child");
}

#[test]
fn what_works_online_only_is_caught() {
    let line = "    assert op.get_bind().scalar(sa.text(\"SELECT 1\")) == 1\n";
    let rewritten = with("\n\ndef downgrade", &format!("{line}\n\ndef downgrade"));
    caught(&rewritten, &[SQL], "alembic upgrade --sql: the original succeeds, the rewrite fails");
}

/// Writes the project without a repository, with an alembic.ini.
fn project(env: &str, original: &str) -> TempDir {
    let directory = TempDir::with_prefix("safemig-verify-test-").expect("a temporary directory");
    let path = directory.path();
    fs::create_dir_all(path.join("migrations/versions")).expect("a directory can be made");
    for (file, text) in [
        (
            "alembic.ini",
            "[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = postgresql+psycopg2://nobody@nowhere/none\n",
        ),
        ("migrations/env.py", env),
        ("migrations/versions/tables.py", &text("tables")),
        ("migrations/versions/original.py", original),
    ] {
        fs::write(path.join(file), text).expect("a file can be written");
    }
    directory
}

const ENV: &str = "\
from alembic import context
from sqlalchemy import engine_from_config

engine = engine_from_config(context.config.get_section(context.config.config_ini_section), prefix='sqlalchemy.')
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
";

#[test]
fn the_projects_own_environment_runs_on_scratch_databases() {
    let project = project(ENV, &text("original"));
    let verified = verify(project.path(), SA20, &["--use-env", CRASH]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(verified.text.contains("schema equal, 3 of 3 lock claims hold"), "{}", verified.text);

    let sqlite = ENV.replace(
        "with engine.connect()",
        "with __import__('sqlalchemy').create_engine('sqlite://').connect()",
    );
    fs::write(project.path().join("migrations/env.py"), sqlite).expect("a file can be written");
    let verified = verify(project.path(), SA20, &["--use-env"]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    assert!(verified.text.contains("a connection to sqlite was asked for"), "{}", verified.text);
    assert!(verified.text.contains("hint: it is raised outside of the revisions"), "{}", verified.text);
}

/// A session of the application outlives every command: it must not go on with a connection that is closed.
#[test]
fn the_applications_own_session_may_stay_open() {
    let original = text("original").replace(
        "def upgrade():\n",
        "def upgrade():\n    from app import session\n\n    session.execute(sa.text('SELECT 1'))\n",
    );
    let project = project(ENV, &original);
    let application = "\
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

session = Session(bind=create_engine('postgresql+psycopg2://nobody@nowhere/none'))
";
    fs::write(project.path().join("app.py"), application).expect("a file can be written");
    let verified = verify(project.path(), SA20, &["--use-env", ROWS]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(verified.text.contains("schema equal, 3 of 3 lock claims hold"), "{}", verified.text);
}

/// `flask db` runs env.py in the application's context. What stands for Flask here has what that takes.
#[test]
fn the_environment_of_a_flask_application_finds_it() {
    let env = ENV.replace(
        "engine = engine_from_config(context.config.get_section(context.config.config_ini_section), prefix='sqlalchemy.')",
        "from flask import current_app\nfrom sqlalchemy import create_engine\n\nengine = create_engine(current_app.url)",
    );
    let project = project(&env, &text("original"));
    let path = project.path();
    fs::create_dir(path.join("flask")).expect("a directory can be made");
    for (file, text) in [
        ("app.py", "import flask\n\napp = flask.Flask('postgresql+psycopg2://nobody@nowhere/none')\n"),
        (
            "flask/__init__.py",
            "\
class Flask:
    def __init__(self, url):
        self.url = url

    def app_context(self):
        return self

    def push(self):
        current_app.application = self


class Current:
    def __getattr__(self, name):
        if name == 'application':
            raise RuntimeError('Working outside of application context.')
        return getattr(self.application, name)


current_app = Current()
",
        ),
        (
            "flask/cli.py",
            "\
import importlib


class ScriptInfo:
    def load_app(self):
        return importlib.import_module('app').app


def load_dotenv():
    pass
",
        ),
    ] {
        fs::write(path.join(file), text).expect("a file can be written");
    }
    let verified = verify(path, SA20, &["--use-env"]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(verified.text.contains("schema equal, 3 of 3 lock claims hold"), "{}", verified.text);
}

const ASYNC_ENV: &str = "\
import asyncio

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine


def run(connection):
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


async def main():
    async with create_async_engine('postgresql+asyncpg://nobody@nowhere/none').connect() as connection:
        await connection.run_sync(run)


asyncio.run(main())
";

#[test]
fn every_driver_can_be_watched() {
    let project = project(ASYNC_ENV, &text("original"));
    // The environment of ours takes psycopg, the project's own asyncpg.
    for flags in [&[CRASH][..], &[CRASH, "--use-env"]] {
        let verified = verify(project.path(), SA21, flags);
        assert_eq!(verified.status, Some(0), "{flags:?}: {}", verified.text);
        assert!(
            verified.text.contains("schema equal, 3 of 3 lock claims hold"),
            "{flags:?}: {}",
            verified.text
        );
        assert!(
            verified.text.contains("builds index ix_child_a  stops writers"),
            "{flags:?}: {}",
            verified.text
        );
    }
}

#[test]
fn missing_modules_are_replaced_on_demand() {
    let original = format!("from app.settings import LIMIT\n{}", text("original"));
    let project = project(ENV, &original);
    let verified = verify(project.path(), SA20, &[]);
    assert_eq!(verified.status, Some(2), "{}", verified.text);
    assert!(verified.text.contains("No module named 'app'"), "{}", verified.text);
    assert!(verified.text.contains("--stub-imports"), "{}", verified.text);
    let verified = verify(project.path(), SA20, &["--stub-imports"]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);

    // A part of the application is there, and does not go together with what is replaced.
    fs::create_dir(project.path().join("app")).expect("a directory can be made");
    let half = "from elsewhere import BASE\nLIMIT = 1 / len(BASE)\n";
    fs::write(project.path().join("app/settings.py"), half).expect("a file can be written");
    let verified = verify(project.path(), SA20, &["--stub-imports"]);
    assert_eq!(verified.status, Some(2), "{}", verified.text);
    assert!(verified.text.contains("ZeroDivisionError"), "{}", verified.text);
    assert!(verified.text.contains("hint: what can be found is not replaced"), "{}", verified.text);
    let verified = verify(project.path(), SA20, &["--stub-imports=app"]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
}

#[test]
fn tables_that_the_history_does_not_make_come_first() {
    let project = project(ENV, &text("original"));
    let tables = "from alembic import op\n\nrevision = 'tables'\ndown_revision = None\n\n\n\
         def upgrade():\n    op.drop_column('child', 'z')\n";
    fs::write(project.path().join("migrations/versions/tables.py"), tables).expect("a file can be written");
    let verified = verify(project.path(), SA20, &[SQL]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    assert!(verified.text.contains("the original fails at tables"), "{}", verified.text);

    let given = "\\restrict x\nCREATE TABLE parent (id int PRIMARY KEY);\n\
         CREATE TABLE child (id int PRIMARY KEY, a int, b int, parent_id int, z int);\n";
    let with = |schema: &str| {
        fs::write(project.path().join("first.sql"), schema).expect("a file can be written");
        verify(project.path(), SA20, &[SQL, "--initial-schema=first.sql"])
    };
    let verified = with(given);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(verified.text.contains("schema equal, 3 of 3 lock claims hold"), "{}", verified.text);
    let verified = with(&given.replace("a int", "a itn"));
    assert_eq!(verified.status, Some(2), "{}", verified.text);
    assert!(
        verified.text.contains("first.sql: type \"itn\" does not exist: CREATE TABLE"),
        "{}",
        verified.text
    );
    let stamped =
        "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('tables');";
    let verified = with(&format!("{given}{stamped}"));
    assert_eq!(verified.status, Some(2), "{}", verified.text);
    assert!(verified.text.contains("it fills alembic_version"), "{}", verified.text);
}

/// The migrations' own package is installed, too, as users have it.
#[test]
fn a_module_is_the_projects_own_and_not_the_installed_one() {
    let directory = TempDir::with_prefix("safemig-verify-test-").expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory can be made");
        fs::write(path, text).expect("a file can be written");
    };
    let migration = "\
from app.ddl import add_index

revision = 'original'
down_revision = 'tables'


def upgrade():
    add_index()


def downgrade():
    pass
";
    let module =
        "from alembic import op\n\n\ndef add_index():\n    op.create_index('ix_a', 'child', ['a'])\n";
    write("alembic.ini", "[alembic]\nscript_location = src/app/migrations\n");
    write("src/app/migrations/versions/tables.py", &text("tables"));
    write("src/app/migrations/versions/original.py", migration);
    for package in ["src/app", "installed/app"] {
        write(&format!("{package}/__init__.py"), "");
        write(&format!("{package}/ddl.py"), module);
    }
    let project = directory.path();
    let verify = || {
        let mut command = safemig(project, SA20, &["verify"]);
        verify_with(command.env("PYTHONPATH", project.join("installed")))
    };
    let verified = verify();
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(verified.text.contains("after   CREATE INDEX CONCURRENTLY"), "{}", verified.text);

    // Some kinds of installation go before all others.
    let finder = "\
import importlib.machinery
import pathlib
import sys


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        here = [str(pathlib.Path(__file__).parent)]
        return importlib.machinery.PathFinder.find_spec(name, here) if name == 'app' else None


sys.meta_path.insert(0, Finder)
";
    write("installed/sitecustomize.py", finder);
    let verified = verify();
    assert_eq!(verified.status, Some(2), "{}", verified.text);
    assert!(verified.text.contains("the rewrite changes `app.ddl` in "), "{}", verified.text);
}

#[test]
fn what_fails_in_the_original_is_told() {
    let original = text("original").replace("UPDATE child", "UPDATE children");
    let verified = verify(project(ENV, &original).path(), SA20, &[]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    assert!(verified.text.contains("the original fails: ProgrammingError"), "{}", verified.text);
    assert!(verified.text.contains("(migrations/versions/original.py:11)"), "{}", verified.text);
    let hints = ["`--use-env` runs it", "`--initial-schema`", "do without `--stub-imports`"];
    assert!(verified.text.contains(hints[0]), "{}", verified.text);
    for (flag, hint) in ["--use-env", "--stub-imports"].into_iter().zip(&hints[1..]) {
        let verified = verify(project(ENV, &original).path(), SA20, &[flag]);
        assert!(verified.text.contains(hint), "{}", verified.text);
    }
}

/// What the original has not committed yet, another connection does not see; what the rewrite has committed, it does.
#[test]
fn a_migration_that_waits_for_itself_is_caught() {
    let project = project(ENV, &text("original"));
    let revision = |id: &str, parent: &str, upgrade: &str| {
        let source = format!(
            "import sqlalchemy as sa\nfrom alembic import op\n\nrevision = '{id}'\ndown_revision = '{parent}'\n\n\n\
             def upgrade():\n{upgrade}"
        );
        let path = project.path().join(format!("migrations/versions/{id}.py"));
        fs::write(path, source).expect("a file can be written");
    };
    revision("locks", "changes", "    op.execute('ALTER TABLE child ADD z integer')\n");
    revision(
        "asks",
        "locks",
        "    with sa.create_engine('postgresql+psycopg2://nobody@nowhere/none').connect() as connection:\n        \
             connection.execute(sa.text(\"SET lock_timeout = '1s'\"))\n        \
             sa.inspect(connection).has_table('child') and connection.execute(sa.text('SELECT FROM child'))\n",
    );
    let verified = verify(project.path(), SA20, &["--use-env"]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    let problem =
        "all revisions in one command: the original succeeds, the rewrite fails: OperationalError: ";
    assert!(verified.text.contains(problem), "{}", verified.text);
    assert!(verified.text.contains("`transaction_per_migration=True` in env.py"), "{}", verified.text);

    let env = ENV.replace("connection=connection", "connection=connection, transaction_per_migration=True");
    fs::write(project.path().join("migrations/env.py"), env).expect("a file can be written");
    let verified = verify(project.path(), SA20, &["--use-env"]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
}

/// Some revisions run only once in a process: a command has one of its own.
#[test]
fn a_revision_may_remember_that_it_has_run() {
    let line = "    assert sys.__dict__.setdefault('ran', op.get_context()) in (None, op.get_context()), 'it has run'\n";
    let original = format!("import sys\n{}", text("original"))
        .replace("def upgrade():\n", &format!("def upgrade():\n{line}"));
    let verified = verify(project(ENV, &original).path(), SA20, &[]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(
        verified.text.contains("(1 rewritten): schema equal, 3 of 3 lock claims hold"),
        "{}",
        verified.text
    );
    assert!(!verified.text.contains("were not compared"), "{}", verified.text);
}

/// There is no way back: what is claimed about the way there holds all the same.
#[test]
fn a_history_is_proved_upwards_without_downgrades() {
    let original = text("original");
    let (upgrade, _) = original.split_once("def downgrade").expect("it has one");
    let raises = original.replace("def downgrade():\n", "def downgrade():\n    op.execute('SELECT 1 / 0')\n");
    for (original, unchecked) in [(upgrade, ""), (&raises, " and 1 not checked")] {
        let verified = verify(project(ENV, original).path(), SA20, &[CRASH]);
        assert_eq!(verified.status, Some(0), "{}", verified.text);
        let summary = format!("(1 rewritten): schema equal, 2 of 2 lock claims hold{unchecked}, ");
        assert!(verified.text.contains(&summary), "{}", verified.text);
    }
    // The original does not even get there.
    let fails = original.replace("def downgrade", "    op.drop_table('nope')\n\n\ndef downgrade");
    let verified = verify(project(ENV, &fails).path(), SA20, &[]);
    assert_eq!(verified.status, Some(1), "{}", verified.text);
    assert!(verified.text.contains("0 of 0 lock claims hold and 3 not checked"), "{}", verified.text);
}

/// An application may lock itself out when all of its revisions run in one process.
#[test]
fn what_only_runs_revision_by_revision_is_compared_so() {
    let original = format!("import sys\n{}", text("original"))
        .replace("def upgrade():\n", "def upgrade():\n    sys.context = op.get_context()\n");
    let project = project(ENV, &original);
    let later = "import sys\nfrom alembic import op\n\nrevision = 'later'\ndown_revision = 'changes'\n\n\n\
                 def upgrade():\n    op.create_index('ix_later', 'child', ['a'])\n    \
                 assert getattr(sys, 'context', None) is not op.get_context(), 'locked out'\n";
    fs::write(project.path().join("migrations/versions/later.py"), later).expect("a file can be written");
    let verified = verify(project.path(), SA20, &[]);
    assert_eq!(verified.status, Some(0), "{}", verified.text);
    assert!(
        verified.text.contains("(2 rewritten): schema equal, 4 of 4 lock claims hold"),
        "{}",
        verified.text
    );
    let note =
        "all revisions in one command were not compared: the original fails, too: AssertionError: locked out";
    assert!(verified.text.contains(note), "{}", verified.text);
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let project =
        project(ENV, &text("original").replace("UPDATE child", "SELECT pg_sleep(60); UPDATE child"));
    let scratch = TempDir::with_prefix("sm").expect("a temporary directory");
    let mut command = safemig(project.path(), SA20, &["verify"]);
    // Where clusters and mirrors are made, so that what is left can be seen.
    let mut child = command.env("TMPDIR", scratch.path()).spawn().expect("it starts");
    let started = Instant::now();
    while fs::read_dir(scratch.path()).expect("a directory").count() < 3 {
        assert!(started.elapsed() < Duration::from_mins(1), "it does not come so far");
        std::thread::sleep(Duration::from_millis(50));
    }
    let interrupt = run(Command::new("kill").arg("-INT").arg(child.id().to_string()));
    assert_eq!(interrupt.status, Some(0), "{}", interrupt.output);
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    let left: Vec<_> = fs::read_dir(scratch.path()).expect("a directory").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Text that a migration puts together is not understood: what it blocks is not what is said about another statement.
#[test]
fn a_claim_is_about_its_own_statement() {
    let original = "\
import os
from alembic import op

revision = 'original'
down_revision = 'tables'


def upgrade():
    op.execute(f\"UPDATE child SET a = {len(os.sep)}\")
    op.create_index('ix_a', 'child', ['a'])
    op.execute('UPDATE child SET b = 2')
    op.create_index('ix_b', 'child', ['b'])


def downgrade():
    op.drop_index('ix_b', 'child')
    op.drop_index('ix_a', 'child')
";
    let project = project(ENV, original);
    let verified = verify(project.path(), SA20, &["--unsafe-fixes", ROWS]);
    assert!(verified.text.contains("schema equal, 5 of 5 lock claims hold"), "{}", verified.text);
    assert!(verified.text.contains("UPDATE child SET a = 1  "), "{}", verified.text);
}
