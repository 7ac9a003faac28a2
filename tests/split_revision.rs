//! `--split revision`: the files that a migration becomes, and how they are written.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use support::{SA20, safemig};
use tempfile::TempDir;

const BASE: &str = "\"\"\"start\"\"\"\nfrom alembic import op\nimport sqlalchemy as sa\n\nrevision = 'a1'\n\
down_revision = None\n\n\ndef upgrade():\n    op.create_table('t', sa.Column('id', sa.Integer, primary_key=True), \
sa.Column('a', sa.Integer))\n\n\ndef downgrade():\n    op.drop_table('t')\n";

/// A revision that adds a column and an index.
fn mixed(id: &str, parent: &str) -> String {
    format!(
        "\"\"\"add {id}\n\nRevision ID: {id}\nRevises: {parent}\nCreate Date: 2024-01-31 12:59:59\n\n\"\"\"\n\
         from alembic import op\nimport sqlalchemy as sa\n\nrevision = '{id}'\ndown_revision = '{parent}'\n\n\n\
         def upgrade():\n    op.add_column('t', sa.Column('{id}', sa.Integer))\n    op.create_index('ix_{id}', 't', ['{id}'])\n\n\n\
         def downgrade():\n    op.drop_index('ix_{id}', 't')\n    op.drop_column('t', '{id}')\n"
    )
}

struct Project(TempDir);

impl Project {
    /// `a1` ← `b2` ← `c3`, of which the last two can be cut.
    fn new() -> Self {
        let project = Self(TempDir::with_prefix("safemig-split-").expect("a temporary directory"));
        project.write("alembic.ini", "[alembic]\nscript_location = m\n");
        project.write(
            "m/env.py",
            "from alembic import context\ncontext.configure(transaction_per_migration=True)\n",
        );
        project.write("m/versions/2024_01_a1_start.py", BASE);
        project.write("m/versions/2024_02_b2_add.py", &mixed("b2", "a1"));
        project.write("m/versions/c3.py", &mixed("c3", "b2"));
        project
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The revision files.
    fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.path("m/versions")).expect("a directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .map(|path| {
                let name = path.file_name().expect("a name").display().to_string();
                (name, fs::read_to_string(path).expect("a file"))
            })
            .collect()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], status: i32) -> (String, String) {
        let mut command = safemig(self.0.path(), SA20, arguments);
        let output: Output =
            command.env_remove("ALEMBIC_CONFIG").stdin(Stdio::null()).output().expect("safemig starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(status), "{stdout}\n{stderr}");
        (stdout, stderr)
    }
}

/// `revision` and `down_revision` of every file.
fn links(files: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let value = |text: &'_ str, key: &str| -> usize {
        text.find(&format!("\n{key} = ")).expect("an identifier") + key.len() + 4
    };
    files
        .values()
        .map(|text| {
            let of = |key| text[value(text, key)..].lines().next().unwrap_or_default();
            (of("revision"), of("down_revision"))
        })
        .collect()
}

#[test]
fn the_parts_come_before_the_migration() {
    let project = Project::new();
    let before = project.files();
    let (patch, _) = project.run(&["fix", "--dry-run", "--split", "revision"], 1);
    assert_eq!(project.files(), before);
    let (_, stderr) = project.run(&["fix", "--split", "revision"], 0);
    assert!(stderr.contains("Fixed 4 findings in 4 revisions"), "{stderr}");
    let after = project.files();
    let names: Vec<&str> = after.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["2024_01_a1_start.py", "2024_02_b2_1_add.py", "2024_02_b2_add.py", "c3.py", "c3_1.py"],
        "a part is named as the migration is"
    );
    let expected =
        [("'a1'", "None"), ("'b2'", "'b2_1'"), ("'b2_1'", "'a1'"), ("'c3'", "'c3_1'"), ("'c3_1'", "'b2'")];
    assert_eq!(links(&after), expected.into(), "who followed whom still does");
    assert!(
        after["2024_02_b2_1_add.py"]
            .starts_with("\"\"\"add b2 (step 1 of 2)\n\nRevision ID: b2_1\nRevises: a1\n")
    );
    let (_, stderr) = project.run(&["fix", "--split", "revision"], 0);
    assert!(stderr.contains("Nothing unsafe found"), "{stderr}");
    assert_eq!(project.files(), after, "a second run changes nothing");

    let applied = Project::new();
    let mut git = Command::new("git");
    let git = git.args(["apply", "-"]).current_dir(applied.0.path()).stdin(Stdio::piped());
    let mut git = git.spawn().expect("git starts");
    git.stdin.take().expect("a pipe").write_all(patch.as_bytes()).expect("git reads");
    assert!(git.wait().expect("git ends").success());
    assert_eq!(applied.files(), after, "the diff is what is written");
}

#[test]
fn a_whole_history_is_cut_at_once() {
    let project = Project::new();
    let (stdout, _) = project.run(&["upgrade-history", "--dry-run", "--split", "revision"], 1);
    assert!(stdout.contains("Would rewrite 2 revisions into 4"), "{stdout}");
    assert!(stdout.contains("heads unchanged"), "{stdout}");
    let (stdout, _) = project.run(&["upgrade-history", "--split", "revision"], 0);
    assert!(stdout.contains("Rewrote 2 revisions into 4"), "{stdout}");
    let one_by_one = Project::new();
    one_by_one.run(&["fix", "--split", "revision"], 0);
    assert_eq!(project.files(), one_by_one.files());
    let (stdout, _) = project.run(&["history"], 0);
    assert!(stdout.starts_with("c3_1 -> c3 (head), add c3 (step 2 of 2)"), "{stdout}");
}

#[test]
fn a_migration_is_written_with_its_parts_or_not_at_all() {
    let project = Project::new();
    project.write("m/versions/c3_1.py", "# somebody else's\n");
    let before = project.files();
    let (_, stderr) = project.run(&["fix", "--split", "revision"], 2);
    assert!(stderr.contains("c3_1.py"), "{stderr}");
    let after = project.files();
    assert_eq!(after["c3.py"], before["c3.py"]);
    assert_eq!(after["c3_1.py"], before["c3_1.py"]);
    assert_ne!(after["2024_02_b2_add.py"], before["2024_02_b2_add.py"], "the others go on");
    assert!(!project.path("m/.safemig-journal").exists());
}

#[test]
fn the_configuration_can_ask_for_it() {
    let project = Project::new();
    project.write("safemig.toml", "split = 'revision'\n");
    project.run(&["fix", "-q", "m/versions/c3.py"], 0);
    assert_eq!(project.files().len(), 4);
    // What stands on standard input can't be followed by files.
    let mut command = safemig(project.0.path(), SA20, &["fix", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("safemig starts");
    child.stdin.take().expect("a pipe").write_all(mixed("d4", "c3").as_bytes()).expect("safemig reads");
    let output = child.wait_with_output().expect("safemig ends");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("op.add_column(") && text.contains("autocommit_block()"), "{text}");
}
