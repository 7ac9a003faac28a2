//! `safemig upgrade-history`: all of a history or nothing, also when it is killed.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use support::{SA20, root, safemig};
use tempfile::TempDir;

const FIRST: &str = "\"\"\"start\"\"\"\nfrom alembic import op\nimport sqlalchemy as sa\n\nrevision = 'r0000'\n\
down_revision = None\n\n\ndef upgrade():\n    op.create_table(\n        'a', sa.Column('id', sa.Integer, primary_key=True), sa.Column('c1', sa.Integer), sa.Column('c2', sa.Integer),\n        \
sa.Column('c3', sa.Integer), sa.Column('c4', sa.Integer), sa.Column('c5', sa.Integer), sa.Column('c6', sa.Integer),\n        \
sa.Column('c7', sa.Integer), sa.Column('c8', sa.Integer), sa.Column('c9', sa.Integer))\n\n\n\
def downgrade():\n    op.drop_table('a')\n";

/// Why the index of a table that a function names is left.
const UNKNOWN: &str = "the table's name is not known before the migration runs";

/// A revision with one finding, which can be fixed.
fn indexed(number: usize) -> String {
    format!(
        "\"\"\"index {number}\"\"\"\nfrom alembic import op\n\nrevision = 'r{number:04}'\ndown_revision = 'r{:04}'\n\n\n\
         def upgrade():\n    op.create_index('ix_{number}', 'a', ['c{number}'])\n\n\n\
         def downgrade():\n    op.drop_index('ix_{number}', 'a')\n",
        number - 1
    )
}

struct Project(TempDir);

impl Project {
    /// A history of so many revisions, of which all but the first have findings.
    fn new(revisions: usize) -> Self {
        let project = Self(TempDir::with_prefix("safemig-upgrade-").expect("a temporary directory"));
        project.write("alembic.ini", "[alembic]\nscript_location = m\n");
        project.write("m/env.py", "target_metadata = None\n");
        project.write("m/versions/r0000.py", FIRST);
        for number in 1..revisions {
            project.write(&format!("m/versions/r{number:04}.py"), &indexed(number));
        }
        project
    }

    fn in_git(self) -> Self {
        for arguments in [&["init", "-q", "."] as &[&str], &["add", "-A"], &["commit", "-qm", "a"]] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
            assert!(git.current_dir(self.0.path()).status().expect("git starts").success());
        }
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = safemig(self.0.path(), SA20, &[&["upgrade-history"], arguments].concat());
        command.env_remove("ALEMBIC_CONFIG").stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, arguments: &[&str], status: i32) -> (String, String) {
        let output = self.command(arguments).output().expect("safemig starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(status), "{stdout}\n{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        (stdout, stderr)
    }

    /// Every file of the script directory.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for directory in ["m", "m/versions"] {
            for entry in fs::read_dir(self.path(directory)).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let name = format!("{directory}/{}", path.file_name().expect("a name").display());
                    files.insert(name, fs::read_to_string(path).expect("a file"));
                }
            }
        }
        files
    }
}

/// That a convention names the constraints shows where one is dropped by its name, also once that may run twice.
#[test]
fn what_shows_a_convention_still_shows_it() {
    let project = Project::new(1);
    let revision = |number: usize, upgrade: &str| {
        let text = format!(
            "\"\"\"b\"\"\"\nfrom alembic import op\nimport sqlalchemy as sa\n\nrevision = 'r{number:04}'\n\
             down_revision = 'r{:04}'\n\n\ndef upgrade():\n{upgrade}\n\ndef downgrade():\n    pass\n",
            number - 1
        );
        project.write(&format!("m/versions/r{number:04}.py"), &text);
    };
    revision(
        1,
        "    op.create_table('b', sa.Column('id', sa.Integer, primary_key=True),\n        \
         sa.Column('a_id', sa.Integer, sa.ForeignKey('a.id')))\n",
    );
    revision(
        2,
        "    op.drop_constraint('fk_b_a_id_a', 'b', type_='foreignkey')\n    \
         op.create_index('ix_a_id', 'b', ['a_id'])\n",
    );
    revision(3, "    op.add_column('b', sa.Column('c', sa.Integer, sa.ForeignKey('a.id')))\n");
    let before = project.files();
    let (stdout, _) = project.run(&[], 1);
    let after = project.files();
    let dropped = "op.drop_constraint('fk_b_a_id_a', 'b', type_='foreignkey', if_exists=True)";
    assert!(after["m/versions/r0002.py"].contains(dropped), "{}", after["m/versions/r0002.py"]);
    assert_eq!(
        after["m/versions/r0003.py"], before["m/versions/r0003.py"],
        "its name is not known: {stdout}"
    );
    let (stdout, _) = project.run(&[], 1);
    assert_eq!(project.files(), after, "{stdout}");
}

#[test]
fn the_whole_history_at_once() {
    let project = Project::new(4).in_git();
    let before = project.files();
    let (stdout, stderr) = project.run(&["--dry-run"], 1);
    assert_eq!(
        stdout,
        "Read 4 revisions from 1 version location: base r0000, head r0003.\n\
         Would rewrite 3 revisions\n\n  \
           rule                       fixes   revisions\n  \
           only-concurrent-indexes        6           3\n\n  \
           checked: same schema after all 4 revisions · ids, parents and heads unchanged · a second run changes nothing\n"
    );
    assert_eq!((stderr.as_str(), project.files()), ("", before.clone()));

    let (patch, stderr) = project.run(&["--diff"], 1);
    assert!(
        patch.starts_with("--- a/m/versions/r0001.py\n") && stderr.contains("Would rewrite 3 revisions\n"),
        "{stderr}"
    );
    assert_eq!(project.files(), before);

    let (stdout, stderr) = project.run(&[], 0);
    assert!(stdout.contains("\nRewrote 3 revisions\n") && stderr.is_empty(), "{stdout}{stderr}");
    let after = project.files();
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "nothing is left behind");
    assert!(after["m/versions/r0003.py"].contains("autocommit_block"));

    let applied = Project::new(4).in_git();
    let mut git = Command::new("git");
    let mut git =
        git.arg("apply").current_dir(applied.0.path()).stdin(Stdio::piped()).spawn().expect("git starts");
    std::io::Write::write_all(&mut git.stdin.take().expect("a pipe"), patch.as_bytes()).expect("git reads");
    assert!(git.wait().expect("git ends").success());
    assert_eq!(applied.files(), after);

    let (stdout, _) = project.run(&[], 0);
    assert!(stdout.contains("\nNothing to rewrite\n"), "{stdout}");
}

#[test]
fn what_is_left_is_counted_with_its_reason() {
    let project = Project::new(3);
    project.write(
        "m/versions/r0003.py",
        &indexed(3)
            .replace("op.create_index('ix_3', 'a', ['c3'])", "op.create_index('ix_3', get_table(), ['id'])"),
    );
    project.write(
        "m/versions/r0004.py",
        &indexed(4).replace("    op.", "    # safemig: ignore[ALL] small\n    op."),
    );
    project.write("m/versions/r0005.py", "down_revision = (\n");
    // The baseline is what keeps other commands from it.
    let baseline = ["--config", "baseline = 'r0004'"];
    let (stdout, stderr) =
        project.run(&[&baseline[..], &["-o", "h.md", "--output-format", "markdown"]].concat(), 1);
    assert!(stdout.is_empty(), "{stdout}");
    assert!(stderr.contains("is in no git repository"), "{stderr}");
    let rows: Vec<Vec<&str>> = stderr
        .lines()
        .skip_while(|line| !line.contains("left alone"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[1].join(" "), format!("{UNKNOWN} 1 only-concurrent-indexes 1"), "{stderr}");
    assert_eq!(rows[2], ["suppressed", "1"], "{stderr}");
    assert_eq!(rows[3], ["could", "not", "be", "parsed", "1", "m/versions/r0005.py:2"], "{stderr}");
    let markdown = fs::read_to_string(project.path("h.md")).expect("a report");
    for part in [
        "# Upgrade of the history\n\nRead 5 revisions",
        "| `only-concurrent-indexes` | 5 | 3 |\n",
        "| the table's name is not known before the migration runs | 1 | only-concurrent-indexes 1 |\n",
        "\n### `r0001` index 1\n\n`m/versions/r0001.py`\n\n- fixed, `only-concurrent-indexes`: Creating index `ix_1` blocks writes",
        ": SHARE on `a` while the index is built → SHARE UPDATE EXCLUSIVE while the index is built\n",
        "- **left alone**, `only-concurrent-indexes`: ",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
}

#[test]
fn all_or_nothing() {
    let project = Project::new(5);
    let read_only = project.path("m/versions/r0003.py");
    let mut permissions = fs::metadata(&read_only).expect("a file").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&read_only, permissions).expect("permissions");
    let before = project.files();
    let (_, stderr) = project.run(&[], 2);
    assert!(stderr.contains("r0003.py is read-only\n"), "{stderr}");
    assert_eq!(project.files(), before);
}

#[test]
fn what_is_not_committed_is_not_overwritten() {
    let project = Project::new(3).in_git();
    // Somebody else's, and a revision in which nothing is to be done.
    project.write("notes.txt", "");
    project.write("m/versions/r0000.py", &format!("{FIRST}# more\n"));
    project.write("m/versions/r0001.py", &format!("{}# more\n", indexed(1)));
    project.write("m/versions/r0003.py", &indexed(3));
    let before = project.files();
    let (_, stderr) = project.run(&[], 2);
    assert_eq!(
        stderr,
        "error: files that would be rewritten have changes that are not committed: m/versions/r0001.py, \
         m/versions/r0003.py\nhint: commit them, or use `--allow-dirty`\n"
    );
    assert_eq!(project.files(), before);
    project.run(&["--dry-run"], 1);
    let (stdout, _) = project.run(&["--allow-dirty"], 0);
    assert!(stdout.contains("\nRewrote 3 revisions\n"), "{stdout}");
    let project = Project::new(2).in_git();
    project.write("m/versions/r0000.py", &format!("{FIRST}# more\n"));
    project.run(&[], 0);
}

/// The other tests of this are in src/write/journal.rs, which dies at each of its steps.
#[cfg(unix)]
#[test]
fn killed_at_any_time_it_completes_when_it_is_run_again() {
    const REVISIONS: usize = 100;
    const KILLS: u32 = 8;
    let reference = Project::new(REVISIONS);
    let before = reference.files();
    let started = Instant::now();
    reference.run(&[], 0);
    let whole = started.elapsed();
    let after = reference.files();
    let mut killed = 0;
    for number in 1..=KILLS {
        let project = Project::new(REVISIONS);
        let mut child = project.command(&["-s"]).spawn().expect("safemig starts");
        // Most of the time it writes.
        thread::sleep(whole * number / KILLS);
        child.kill().expect("it was started");
        let status = child.wait().expect("it ended");
        killed += i32::from(!status.success());
        let journal = project.path("m/.safemig-journal");
        let files = project.files();
        let was_interrupted = journal.exists();
        if was_interrupted {
            let (_, stderr) = project.run(&["--dry-run"], 2);
            assert!(stderr.contains("m/.safemig-journal says what\nhint: "), "{stderr}");
        } else {
            let done: BTreeMap<_, _> =
                files.into_iter().filter(|(name, _)| !name.starts_with("m/.")).collect();
            assert!(done == before || done == after, "all or nothing");
        }
        let (_, stderr) = project.run(&[], 0);
        assert_eq!(
            stderr.contains("a run was interrupted while it wrote 99 files; all are as they were"),
            was_interrupted
        );
        let mut files = project.files();
        files.retain(|name, _| !name.starts_with("m/.safemig-") || name.starts_with("m/.safemig-journal"));
        assert!(
            files == after,
            "killed after {number}/{KILLS}: {:?}",
            files.keys().filter(|name| !after.contains_key(*name)).collect::<Vec<_>>()
        );
    }
    assert!(killed > 0, "it was never killed");
}

#[test]
fn a_rewrite_is_proved_before_it_is_written() {
    let project = Project::new(2);
    project.write(
        "m/env.py",
        &fs::read_to_string(root().join("examples/shop/migrations/env.py")).expect("a file"),
    );
    let mut text = String::new();
    let (stdout, stderr) = project.run(&["--verify", "--rows", "10", "m/versions"], 0);
    let _ = write!(text, "{stdout}{stderr}");
    assert!(
        stdout.contains(" · proved on PostgreSQL ") && stdout.contains("\nRewrote 1 revision\n"),
        "{text}"
    );

    // What is left alone still locks: that is reported, and no reason against the rest.
    let project = Project::new(2);
    let body = "def upgrade():\n    op.create_index('ix_left', get_table(), ['id'])\n";
    let function = "\n\ndef get_table():\n    import os\n\n    return os.environ.get('NOT_SET', 'a')\n";
    let left = indexed(1).replace("def upgrade():\n", body) + function;
    project.write("m/versions/r0001.py", &left);
    let (stdout, stderr) = project.run(&["--verify", "m/versions"], 1);
    assert!(stdout.contains(" · proved on PostgreSQL ") && stdout.contains(UNKNOWN), "{stdout}{stderr}");

    // The history fails as it is: nothing can be proved about it.
    let project = Project::new(3);
    project.write(
        "m/versions/r0001.py",
        &indexed(1).replace("def upgrade():\n", "def upgrade():\n    op.drop_table('nope')\n"),
    );
    let before = project.files();
    let (_, stderr) = project.run(&["--verify", "m/versions"], 2);
    assert!(stderr.contains("could not be proved; nothing was written"), "{stderr}");
    assert_eq!(project.files(), before);
}

#[test]
fn one_history_at_a_time() {
    let project = Project::new(2);
    let other = Project::new(2);
    let here = project.path("m/versions").display().to_string();
    let there = other.path("m/versions").display().to_string();
    let (_, stderr) = project.run(&[&here, &there], 2);
    let listed = stderr.contains("these are 2 histories: ") && stderr.contains("2 revisions in m/versions");
    assert!(listed && stderr.contains("\nhint: "), "{stderr}");
    project.run(&["-"], 2);
    other.run(&["m/versions"], 0);
}

/// Applications tell Alembic of directories below `versions` when they run it: branches and releases have their own.
#[test]
fn directories_whose_revisions_follow_each_other_are_one_history() {
    let project = Project::new(2);
    project.write("m/versions/2024/expand/r0002.py", &indexed(2));
    let (stdout, _) = project.run(&["--dry-run", "m/versions/2024"], 1);
    assert!(
        stdout.starts_with("Read 3 revisions from 2 version locations: base r0000, head r0002."),
        "{stdout}"
    );

    // Another one is beside it, of another database.
    project.write("m/versions/other/r0000.py", &FIRST.replace("r0000", "o0000"));
    let (_, stderr) = project.run(&["--verify", "m"], 2);
    assert!(
        stderr.contains("3 revisions in m/versions, m/versions/2024/expand; 1 revision in m/versions/other")
    );
    assert!(
        stderr.contains("\nhint: rewrite one after the other: `safemig upgrade-history m/versions/other`")
    );
    project.run(&["--dry-run", "m/versions/other"], 0);
    let (stdout, stderr) = project.run(&["--verify"], 0);
    assert!(
        stdout.contains("Rewrote 2 revisions\n") && stdout.contains(" · proved on PostgreSQL "),
        "{stdout}{stderr}"
    );

    // Nothing stands in `versions` itself.
    let project = Project::new(1);
    fs::remove_file(project.path("m/versions/r0000.py")).expect("it can be removed");
    project.write("m/versions/a/r0000.py", FIRST);
    project.write("m/versions/b/r0001.py", &indexed(1));
    let (stdout, _) = project.run(&[], 0);
    assert!(stdout.starts_with("Read 2 revisions from 2 version locations: "), "{stdout}");
}
