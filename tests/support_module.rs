//! The module that rewritten migrations import the helper functions from.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

const BASE: &str = "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'aaa'\ndown_revision = None\n\n\n\
def upgrade():\n    op.create_table('a', sa.Column('id', sa.Integer, primary_key=True))\n";

const INDEX: &str = "from alembic import op\n\nrevision = 'bbb'\ndown_revision = 'aaa'\n\n\n\
def upgrade():\n    op.create_index('ix_a', 'a', ['id', 'x'])\n    op.drop_constraint('ck', 'a')\n";

const UNIQUE: &str = "\"\"\"c\"\"\"\nfrom alembic import op\nfrom app.types import Money\n\nrevision = 'ccc'\ndown_revision = 'bbb'\n\n\n\
def upgrade():\n    op.create_unique_constraint('uq_a', 'a', ['id', 'y'])\n";

const MODULE: &str = "migrations/safemig_ops.py";

struct Project(TempDir);

impl Project {
    fn new(revisions: &[(&str, &str)]) -> Self {
        let project = Self(TempDir::with_prefix("safemig-support-").expect("a temporary directory"));
        project.write("alembic.ini", "[alembic]\nscript_location = migrations\nprepend_sys_path = .\n");
        project.write("migrations/env.py", "target_metadata = None\n");
        for (name, content) in revisions {
            project.write(&format!("migrations/versions/{name}"), content);
        }
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, content).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// What it printed, and what it complained about.
    #[track_caller]
    fn run(&self, arguments: &[&str], status: i32) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
        command
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("ALEMBIC_CONFIG")
            .env_remove("VIRTUAL_ENV");
        let Output { status: ended, stdout, stderr } = command.output().expect("the program starts");
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!(ended.code(), Some(status), "stdout:\n{stdout}\nstderr:\n{stderr}");
        (stdout, stderr)
    }

    /// Every file, by name, to see that nothing changes.
    fn files(&self) -> Vec<(String, String)> {
        let names = ["aaa.py", "bbb.py", "ccc.py"].map(|name| format!("migrations/versions/{name}"));
        let names = names.into_iter().chain([MODULE.to_owned()]);
        names.filter(|name| self.path(name).exists()).map(|name| (name.clone(), self.read(&name))).collect()
    }
}

#[test]
fn it_is_written_once_and_imported() {
    let project = Project::new(&[("aaa.py", BASE), ("bbb.py", INDEX)]);
    project.write("safemig.toml", "lock-timeout = \"3s\"\n");
    let before = project.files();
    let (diff, summary) = project.run(&["fix", "--dry-run", "--support-module"], 1);
    assert!(diff.contains("--- /dev/null\n+++ b/migrations/safemig_ops.py\n"), "{diff}");
    assert!(summary.starts_with("Would fix 2 findings in 1 revision.\n"), "{summary}");
    assert_eq!(project.files(), before);

    let (_, summary) = project.run(&["fix", "--support-module"], 0);
    assert_eq!(summary, "Fixed 2 findings in 1 revision.\n");
    let fixed = project.read("migrations/versions/bbb.py");
    assert!(
        fixed.starts_with("from alembic import op\n\nfrom migrations import safemig_ops\n\nrevision"),
        "{fixed}"
    );
    assert!(fixed.contains("        safemig_ops.drop_invalid_index('ix_a')\n"), "{fixed}");
    assert!(fixed.contains("    with safemig_ops.lock_timeout('3s'):\n"), "{fixed}");
    assert!(!fixed.contains("def _"), "{fixed}");
    let module = project.read(MODULE);
    assert_eq!(module.matches("\ndef ").count(), 2, "{module}");
    assert!(module.contains("\nfrom contextlib import contextmanager\n"), "{module}");

    // Whatever the configuration says then, it is what it is.
    let after = project.files();
    for arguments in
        [&["fix", "--support-module"][..], &["fix"], &["fix", "--support-module=migrations.safemig_ops"]]
    {
        project.run(arguments, 0);
        assert_eq!(project.files(), after, "{arguments:?}");
    }
}

#[test]
fn it_gets_what_it_lacks() {
    let project = Project::new(&[("aaa.py", BASE), ("bbb.py", INDEX), ("ccc.py", UNIQUE)]);
    project.write("safemig.toml", "support-module = \"app.ops\"\n");
    let own = "\"\"\"Ours.\"\"\"\nimport sqlalchemy as sa\nfrom alembic import op as operations\n\n\ndef drop_all():  # really\n    pass\n";
    project.write("app/ops.py", own);
    let (diff, _) = project.run(&["upgrade-history", "--diff", "--allow-dirty"], 1);
    assert!(diff.contains("--- a/app/ops.py\n+++ b/app/ops.py\n"), "{diff}");
    project.run(&["fix", "migrations/versions/bbb.py"], 0);
    let first = project.read("app/ops.py");
    assert!(first.starts_with(own.trim_end()) && first.contains("\ndef drop_invalid_index("), "{first}");
    assert!(first.contains("    operations.execute(") && !first.contains("unique"), "{first}");
    project.run(&["upgrade-history", "--allow-dirty"], 0);
    let second = project.read("app/ops.py");
    assert!(
        second.starts_with(first.trim_end()) && second.contains("\ndef add_unique_using_index("),
        "{second}"
    );
    let fixed = project.read("migrations/versions/ccc.py");
    assert!(fixed.contains("from app.types import Money\nfrom app import ops\n\nrevision"), "{fixed}");
    project.run(&["check"], 0);
    project.run(&["upgrade-history", "--allow-dirty"], 0);
    assert_eq!(project.read("app/ops.py"), second);
}

#[test]
fn it_has_to_have_a_place() {
    let project = Project::new(&[("aaa.py", BASE), ("bbb.py", INDEX)]);
    let refused = |arguments: &[&str], reason: &str| {
        let before = project.files();
        let (_, complaint) = project.run(&[&["fix"], arguments].concat(), 2);
        assert!(complaint.contains(reason), "{complaint}");
        assert_eq!(project.files(), before);
    };
    refused(&["--support-module=app.ops"], "`app.ops` could not be imported: its package is not in");
    refused(&["--support-module=a-b"], "`a-b` is no name of a module");
    refused(&["--support-module=migrations"], "`migrations` is a package");
    refused(
        &["--support-module=migrations.versions.ops"],
        "Alembic would take the support module for a revision",
    );
    project.write("ops.py", "def drop_invalid_index(name):\n    pass\n");
    refused(&["--support-module=ops"], "ops.py: `ops` has another function `drop_invalid_index`");
    project.write("ops.py", "def f(:\n");
    refused(&["--support-module=ops"], "ops.py: `ops` is no Python");
    project.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
    refused(&["--support-module"], "hint: set `prepend_sys_path = .` in Alembic's configuration");
    refused(&["--support-module=ops"], "hint: set `prepend_sys_path = .` in Alembic's configuration");
}

#[test]
fn a_package_named_like_alembic_is_not_found_by_python() {
    let project = Project::new(&[]);
    project.write("alembic.ini", "[alembic]\nscript_location = alembic\nprepend_sys_path = .\n");
    project.write("alembic/env.py", "target_metadata = None\n");
    project.write("alembic/versions/aaa.py", BASE);
    project.write("alembic/versions/bbb.py", INDEX);
    project.run(&["fix", "--support-module"], 0);
    assert!(project.read("alembic/versions/bbb.py").contains("\nimport safemig_ops\n"));
    assert!(project.read("safemig_ops.py").contains("\ndef drop_invalid_index("));
}

#[test]
fn a_name_that_is_in_use_is_left_alone() {
    let taken = INDEX.replace("def upgrade():\n", "def upgrade():\n    safemig_ops = 1\n");
    let project = Project::new(&[("aaa.py", BASE), ("bbb.py", &taken)]);
    let (report, _) = project.run(&["fix", "--support-module"], 1);
    assert!(
        report.contains("the file has a name of its own like that of `migrations.safemig_ops`"),
        "{report}"
    );
    assert_eq!(project.read("migrations/versions/bbb.py"), taken);
    assert!(!project.path(MODULE).exists());
}

#[test]
fn standard_input_gets_functions_of_its_own() {
    let project = Project::new(&[("aaa.py", BASE), ("bbb.py", INDEX)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
    command.args(["fix", "-", "--stdin-filename", "migrations/versions/bbb.py", "--support-module"]);
    let input = fs::File::open(project.path("migrations/versions/bbb.py")).expect("a file");
    let output = command
        .current_dir(project.0.path())
        .env_remove("VIRTUAL_ENV")
        .stdin(input)
        .output()
        .expect("it runs");
    assert!(String::from_utf8(output.stdout).unwrap().contains("\ndef _drop_invalid_index("));
    assert!(!project.path(MODULE).exists());
}
