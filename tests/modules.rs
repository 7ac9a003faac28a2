//! Functions of the project's own modules: reported where they are called, fixed where they stand, and left for a
//! reason.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

const BASE: &str = "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'aaa'\ndown_revision = None\n\n\n\
def upgrade():\n    op.create_table('a', sa.Column('id', sa.Integer, primary_key=True))\n    \
op.create_table('b', sa.Column('id', sa.Integer, primary_key=True))\n\n\ndef downgrade():\n    pass\n";

const UTILS: &str = "from alembic import op\n\n\ndef add_index(table, name, columns):\n    \
op.create_index(name, table, columns)\n\n\ndef add_both(table):\n    add_index(table, f'ix_{table}_1', ['id'])\n    \
op.execute(f'CREATE INDEX ix_{table}_2 ON {table} (id)')\n";

const UTILS_PY: &str = "app/migrations/utils.py";

/// A revision that imports something, and what it does.
fn revision(id: &str, down: &str, import: &str, body: &str) -> String {
    format!(
        "from alembic import op\nfrom app.migrations{import}\n\nrevision = '{id}'\ndown_revision = '{down}'\n\n\n\
         def upgrade():\n    {body}\n\n\ndef downgrade():\n    pass\n"
    )
}

struct Project(TempDir);

impl Project {
    fn new(second: &str, third: &str) -> Self {
        let project = Self(TempDir::with_prefix("safemig-modules-").expect("a temporary directory"));
        project.write("alembic.ini", "[alembic]\nscript_location = m\n");
        project.write("requirements.txt", "alembic==1.20.1\nSQLAlchemy==2.0.58\n");
        project.write("m/env.py", "target_metadata = None\n");
        project.write("app/migrations/__init__.py", "");
        project.write(UTILS_PY, UTILS);
        project.write("m/versions/aaa.py", BASE);
        project.write("m/versions/bbb.py", second);
        project.write("m/versions/ccc.py", third);
        project
    }

    /// Two callers of one function.
    fn usual() -> Self {
        Self::new(
            &revision("bbb", "aaa", ".utils import add_index", "add_index('a', 'ix_a', ['id'])"),
            &revision("ccc", "bbb", " import utils", "utils.add_index('b', 'ix_b', ['id'])"),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    fn run(&self, arguments: &[&str]) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
        command.args(arguments).current_dir(self.0.path()).env_remove("VIRTUAL_ENV");
        let output = command.output().expect("the program runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(matches!(output.status.code(), Some(0 | 1)), "{stdout}{stderr}");
        (stdout, stderr)
    }

    /// The line of every finding about how indexes are created, and why it is left.
    fn left(&self, more: &[&str]) -> Vec<(u64, Option<String>)> {
        let check = ["check", "--select=only-concurrent-indexes", "--output-format=json"];
        let (stdout, _) = self.run(&[&check[..], more].concat());
        let found: Value = serde_json::from_str(&stdout).expect("JSON");
        let of = |finding: &Value| {
            let reason = finding["not_fixed"].as_str().map(str::to_owned);
            (finding["location"]["row"].as_u64().expect("a line"), reason)
        };
        found.as_array().expect("a list").iter().map(of).collect()
    }

    #[track_caller]
    fn is_left_because(&self, more: &[&str], reason: &str) {
        let left = self.left(more);
        assert!(!left.is_empty());
        for (_, found) in left {
            assert!(found.as_ref().is_some_and(|found| found.contains(reason)), "{found:?}");
        }
        self.run(&[&["fix", "--select=only-concurrent-indexes"], more].concat());
        assert_eq!(self.read(UTILS_PY), UTILS);
    }
}

#[test]
fn the_function_is_rewritten_once_for_all_who_call_it() {
    let project = Project::usual();
    assert_eq!(project.left(&[]), [(9, None), (9, None)]);
    let (diff, summary) = project.run(&["fix", "--dry-run"]);
    assert!(diff.contains("+++ b/app/migrations/utils.py") && !diff.contains("+++ b/m/"), "{diff}");
    assert!(summary.starts_with("Would fix 2 findings in 1 file"), "{summary}");
    assert_eq!(project.read(UTILS_PY), UTILS);
    let fix = ["fix", "--select=only-concurrent-indexes"];
    project.run(&fix);
    let utils = project.read(UTILS_PY);
    assert_eq!(utils.matches("postgresql_concurrently=True").count(), 1, "{utils}");
    assert_eq!(project.left(&[]), []);
    let (_, summary) = project.run(&fix);
    assert!(summary.starts_with("Nothing unsafe found"), "{summary}");
    assert_eq!(project.read(UTILS_PY), utils);
}

#[test]
fn a_whole_history_is_upgraded_with_its_modules() {
    let project = Project::usual();
    project.write(
        "m/versions/ccc.py",
        &revision(
            "ccc",
            "bbb",
            " import utils",
            "op.drop_table('c')\n    utils.add_index('b', 'ix_b', ['id'])",
        ),
    );
    let (report, _) = project.run(&["upgrade-history"]);
    assert!(report.contains("Rewrote 1 revision and 1 module"), "{report}");
    assert!(project.read(UTILS_PY).contains("postgresql_concurrently=True"));
    assert!(project.read("m/versions/ccc.py").contains("op.drop_table('c', if_exists=True)"));
    assert!(!project.path("m/.safemig-journal").exists());
    let (report, _) = project.run(&["upgrade-history"]);
    assert!(report.contains("Nothing to rewrite"), "{report}");
}

#[test]
fn what_a_package_passes_on_is_followed() {
    let second = revision(
        "bbb",
        "aaa",
        " import add_index, utils",
        "add_index('a', 'ix_a_id', ['id'])\n    utils.add_both('a')",
    );
    let project = Project::new(&second, &revision("ccc", "bbb", " import utils", "pass"));
    project.write("app/migrations/__init__.py", "from app.migrations.utils import add_index\n");
    assert_eq!(project.left(&[]), [(9, None), (10, None), (10, None)]);
    project.run(&["fix", "--select=only-concurrent-indexes"]);
    let utils = project.read(UTILS_PY);
    assert!(utils.contains("_drop_invalid_index(f'ix_{table}_2')"), "{utils}");
    assert!(
        utils.contains("op.execute(f'CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_{table}_2 ON"),
        "{utils}"
    );
    assert_eq!(project.left(&[]), []);
}

#[test]
fn what_depends_on_its_caller_is_left() {
    let project = Project::usual();
    let utils = "from alembic import op\n\n\ndef add_index(table, name, columns):\n    \
                 op.create_index(None, table, columns)\n";
    project.write(UTILS_PY, utils);
    for (_, reason) in project.left(&[]) {
        assert!(reason.is_some_and(|reason| reason.contains("run several times") || reason.contains("not the same")));
    }
    project.write("m/versions/ccc.py", &revision("ccc", "bbb", " import utils", "pass"));
    let left = project.left(&[]);
    assert!(left[0].1.as_ref().is_some_and(|reason| reason.contains("depends on who calls")), "{left:?}");
}

#[test]
fn one_who_calls_it_in_another_way_keeps_it_as_it_is() {
    let caller = |import: &str, body: &str| {
        let second = revision("bbb", "aaa", ".utils import add_index", "add_index('a', 'ix_a', ['id'])");
        Project::new(&second, &revision("ccc", "bbb", import, body))
    };
    let in_batch =
        "with op.batch_alter_table('b') as batch_op:\n        utils.add_index('b', 'ix_b', ['id'])";
    for (body, reason) in [
        ("partial(utils.add_index, 'b')()", "m/versions/ccc.py:9 does something else with the function"),
        ("done = utils.add_index('b', 'ix_b', ['id'])", "m/versions/ccc.py:9 does something else"),
        (in_batch, "from inside of a batch block"),
        (
            "if 'b' in sa.inspect(op.get_bind()).get_table_names():\n        utils.add_index('b', 'ix_b', ['id'])",
            "under a condition that asks the database",
        ),
        (
            "try:\n        utils.add_index('b', 'ix_b', ['id'])\n    except Exception:\n        pass",
            "an `except` around it goes on",
        ),
        (
            "op.bulk_insert(rows)\n    op.execute('INSERT INTO b VALUES (1)')\n    utils.add_index('b', 'ix_b', ['id'])",
            "in m/versions/ccc.py, line 10 is committed before the block, and may not run a second time",
        ),
    ] {
        caller(" import utils", body).is_left_because(&[], reason);
    }
}

#[test]
fn one_outside_of_the_history_keeps_it_as_it_is() {
    let project = Project::usual();
    project.write("app/cli.py", "from app.migrations.utils import add_index\n\nadd_index('x', 'y', [])\n");
    project.is_left_because(&[], "app/cli.py uses it, too");
    project.write("app/cli.py", "from app.other import add_index\n\nadd_index('x', 'y', [])\n");
    assert_eq!(project.left(&[]), [(9, None), (9, None)]);

    let project = Project::usual();
    project.is_left_because(
        &["m/versions/bbb.py"],
        "m/versions/ccc.py calls, too, which is not among the files",
    );
    project.write(
        "m/versions/ccc.py",
        &project
            .read("m/versions/ccc.py")
            .replace("['id'])", "['id'])  # safemig: ignore[only-concurrent-indexes]"),
    );
    project.is_left_because(&[], "m/versions/ccc.py:9 calls, too, where it is suppressed");
    let project = Project::usual();
    project.is_left_because(&["--unfixable=only-concurrent-indexes"], "by configuration");
}

const TYPES: &str = "import sqlalchemy as db
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import CHAR, TypeDecorator

LENGTH = 40


def long_text():
    return db.Text().with_variant(db.LargeBinary(), 'mysql')


class Names:
    Short = db.String(LENGTH)  # for people


class Token(TypeDecorator):
    impl = CHAR
    cache_ok = True

    def load_dialect_impl(self, dialect):
        if dialect.name == 'postgresql':
            return dialect.type_descriptor(postgresql.UUID())
        return dialect.type_descriptor(CHAR(32))


class Trimmed(TypeDecorator):
    impl = db.String


class Guess(TypeDecorator):
    impl = db.String

    def load_dialect_impl(self, dialect):
        return choose(dialect)


class Sized(TypeDecorator):
    impl = db.String

    def __init__(self):
        super().__init__(length=254)


class Spelled(TypeDecorator):
    impl = db.String


@compiles(Spelled, 'postgresql')
def spell(type_, compiler, **kw):
    return 'citext'
";

#[test]
fn types_are_what_their_modules_say() {
    let base = "from alembic import op\nimport sqlalchemy as sa\nfrom app.types import Guess, Names, Sized, Spelled, Token, Trimmed, long_text\n\n\
                revision = 'aaa'\ndown_revision = None\n\n\ndef upgrade():\n    op.create_table('a', \
                sa.Column('id', Token(), primary_key=True), sa.Column('b', Names.Short), sa.Column('c', Trimmed(length=9)), \
                sa.Column('d', long_text()), sa.Column('e', Guess()), sa.Column('f', Sized()), \
                sa.Column('g', Spelled()))\n";
    let change = "from alembic import op\nimport sqlalchemy as sa\nfrom app import types\n\n_SHORT = types.Names.Short\n\n\n\
                  class State(sa.types.TypeDecorator):\n    impl = sa.Enum('x', name='state')\n\n\n\
                  revision = 'bbb'\ndown_revision = 'aaa'\n\n\ndef upgrade():\n    \
                  op.alter_column('a', 'id', type_=sa.Integer())\n    op.alter_column('a', 'b', type_=types.Trimmed(50))\n    \
                  op.alter_column('a', 'c', type_=_SHORT)\n    op.alter_column('a', 'd', type_=_SHORT)\n    \
                  op.alter_column('a', 'e', type_=sa.Text())\n    op.alter_column('a', 'f', type_=sa.Text())\n    \
                  op.alter_column('a', 'g', type_=sa.Text())\n    \
                  op.alter_column('a', 'd', type_=State(), postgresql_using='d::text::state')\n    \
                  op.sync_enum_values('public', 'state', ['x', 'y'], [TableReference(table_name='a', column_name='d'), ('b', 'c')])\n";
    let project = Project::new("", "");
    project.write("app/types.py", TYPES);
    project.write("m/versions/aaa.py", base);
    project.write("m/versions/bbb.py", change);
    project.write("m/versions/ccc.py", "");
    let (stdout, _) = project.run(&["check", "--select=change-column-type", "--output-format=json"]);
    let report: Value = serde_json::from_str(&stdout).expect("a report");
    let findings: Vec<_> = report
        .as_array()
        .expect("a list")
        .iter()
        .map(|finding| (finding["location"]["row"].as_u64().unwrap(), finding["message"].as_str().unwrap()))
        .collect();
    assert_eq!(
        findings,
        [
            (17, "Changing `a.id` from `uuid` to `integer` fails"),
            (20, "Changing `a.d` from `text` to `character varying(40)` writes `a` anew"),
            (21, "Changing the type of `a.e` to `text` may write `a` anew"),
            (22, "Changing the type of `a.f` to `text` may write `a` anew"),
            (23, "Changing the type of `a.g` to `text` may write `a` anew"),
            (24, "Changing `a.d` from `character varying(40)` to `state` writes `a` anew"),
            (25, "Changing the values of enum `state` by another type writes `a`, `b` anew"),
        ],
        "{stdout}"
    );
}
