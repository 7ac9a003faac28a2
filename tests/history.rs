//! `safemig history` against `alembic history`, and what limits the revisions that are judged.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{SA20, interpreter, root, safemig};
use tempfile::TempDir;

/// What `alembic history -r` prints for each range; `None` where it refuses.
fn alembic(directory: &Path, ranges: &[&str]) -> BTreeMap<String, Option<String>> {
    let mut command = Command::new(interpreter(SA20));
    command
        .arg(root().join("tests/harness/history.py"))
        .arg("alembic.ini")
        .args(ranges)
        .current_dir(directory);
    let output = command.output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// What `safemig history -r` prints, without what it found; `None` where it refuses.
fn ours(directory: &Path, range: &str) -> Option<String> {
    let output = safemig(directory, SA20, &["history", "-q", "-r", range]).output().expect("safemig starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
    match output.status.code() {
        Some(0) => {
            let text = String::from_utf8(output.stdout).expect("UTF-8");
            Some(text.split_inclusive('\n').filter(|line| !line.starts_with("    ")).collect())
        }
        Some(2) => None,
        other => panic!("{range}: {other:?}: {stderr}"),
    }
}

fn write(directory: &Path, name: &str, content: &str) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
    fs::write(path, content).expect("a file");
}

/// A revision file; what follows the id are Python expressions.
fn revision(id: &str, doc: &str, down: &str, labels: &str, depends_on: &str) -> String {
    format!(
        "\"\"\"{doc}\n\nRevision ID: {id}\n\"\"\"\nrevision = '{id}'\ndown_revision = {down}\n\
         branch_labels = {labels}\ndepends_on = {depends_on}\n\n\ndef upgrade():\n    pass\n\n\n\
         def downgrade():\n    pass\n"
    )
}

/// Two bases, branches, merges, labels and dependencies, in two version locations.
fn tangle() -> TempDir {
    let directory = TempDir::with_prefix("safemig-history-").expect("a temporary directory");
    let at = directory.path();
    write(
        at,
        "alembic.ini",
        "[alembic]\nscript_location = m\nversion_locations = m/versions m/billing\npath_separator = space\n",
    );
    write(at, "m/env.py", "");
    for (file, id, doc, down, labels, depends_on) in [
        ("versions/z.py", "1000aaaa", "start", "None", "None", "None"),
        ("versions/b.py", "2000bbbb", "second\nline", "'1000aaaa'", "None", "None"),
        ("versions/c.py", "3000cccc", "left", "'2000bbbb'", "None", "None"),
        ("versions/a.py", "4000dddd", "right", "'2000bbbb'", "None", "None"),
        ("versions/d.py", "5000eeee", "", "'3000cccc'", "None", "None"),
        ("versions/e.py", "6000ffff", "both", "('5000eeee', '4000dddd')", "None", "None"),
        ("versions/f.py", "7000aaab", "after", "'6000ffff'", "None", "None"),
        ("versions/g.py", "8000aaac", "needs billing", "'7000aaab'", "None", "'b200bbbb'"),
        ("versions/h.py", "9000aaad", "dead end", "'7000aaab'", "('experiment',)", "None"),
        ("billing/a.py", "b100aaaa", "billing", "None", "'billing'", "None"),
        ("billing/b.py", "b200bbbb", "billing, again", "'b100aaaa'", "None", "['2000bbbb']"),
        ("billing/c.py", "b300cccc", "billing: the end", "'b200bbbb'", "None", "('4000dddd',)"),
    ] {
        write(at, &format!("m/{file}"), &revision(id, doc, down, labels, depends_on));
    }
    directory
}

#[test]
fn every_line_is_alembic_s() {
    let shop = root().join("examples/shop");
    let tangle = tangle();
    for directory in [shop.as_path(), tangle.path()] {
        let all = alembic(directory, &[":"]);
        assert_eq!(ours(directory, ":"), all[":"]);
        assert!(all[":"].as_ref().is_some_and(|lines| lines.lines().count() > 10));
    }
}

#[test]
fn ranges_are_alembic_s() {
    let shop = root().join("examples/shop");
    let head = "d27c5e90a8b3";
    let ranges = [
        ":head",
        "base:",
        "base:heads",
        "-3:",
        "-1:head",
        "-99:",
        ":+3",
        "0b5a:",
        "0b5a7fe81d92:+2",
        ":0b5a7fe81d92",
        "0b5a:head-1",
        ":0b5a-2",
        ":0b5a+1",
        "0b5a:0b5a",
        "0b5a:a07e",
        "a07e:0b5a",
        "0b5:",
        "nope:",
        ":head+1",
        "::",
        "head",
        ":base",
        "head:base",
        "50f9:",
        ":50f9",
        "50f9-1:",
        ":50f9-1",
        head,
        "head:",
        "heads:",
        ":head@base",
        ":@head",
    ];
    compare(&shop, &ranges);
    let tangle = tangle();
    let ranges = [
        ":head",
        ":heads",
        "base:heads",
        "-1:",
        "-2:heads",
        ":1000",
        ":b300",
        "b100:",
        "b100:heads",
        "2000:heads",
        "2000:7000",
        "3000:6000",
        "4000:6000",
        "3000:4000",
        ":billing@head",
        "billing@base:",
        "billing@base:heads",
        "billing:",
        ":billing",
        ":experiment",
        "experiment@base:",
        ":experiment@head",
        ":experiment@heads",
        "billing@head:",
        "billing@-1:",
        "billing@b100:",
        "billing@b1:b300",
        ":billing@b2",
        ":billing@2000",
        "2000bbbb@head:",
        "b100aaaa@base:",
        ":b300-1",
        ":billing@head-1",
        ":9000-2",
        ":9000-3",
        ":2000+1",
        ":1000+1",
        ":experiment@7000+1",
        ":billing@b1+1",
        ":+1",
        ":billing@+2",
        "2000:+1",
        "7000:+1",
        "7000:experiment@+1",
        ":-1",
        "6000:heads",
        ":6000",
        "8000:",
        "9000:",
        "9000:heads",
        ":none@head",
        "none@base:",
        ":9000aaad",
        "9000aaad:9000aaad",
        ":8000",
        "b200:8000",
        "1000:8000",
        ":7000-1",
        ":6000-1",
    ];
    compare(tangle.path(), &ranges);
}

fn compare(directory: &Path, ranges: &[&str]) {
    let theirs = alembic(directory, ranges);
    let different: Vec<_> = ranges
        .iter()
        .filter_map(|range| {
            let ours = ours(directory, range);
            (ours != theirs[*range])
                .then(|| format!("{range}\nalembic: {:#?}\nsafemig: {ours:#?}", theirs[*range]))
        })
        .collect();
    assert!(different.is_empty(), "{} different:\n{}", different.len(), different.join("\n"));
}

#[test]
fn what_is_found_stands_below_its_revision() {
    let shop = root().join("examples/shop");
    let listed = |arguments: &[&str]| {
        let output = safemig(&shop, SA20, &[&["history", "-r", "-1:head"], arguments].concat()).output();
        let output = output.expect("safemig starts");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let text = listed(&[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "f5a8c2d06e1b -> 72d4e1b9f0c3 (head), finance report, approved returns", "{text}");
    assert!(lines[1].starts_with("    ") && lines[1].contains(" findings, ACCESS EXCLUSIVE on `"), "{text}");

    let json: serde_json::Value = serde_json::from_str(&listed(&["--output-format", "json"])).expect("JSON");
    let head = &json[0];
    assert_eq!(head["revision"], "72d4e1b9f0c3");
    assert_eq!(head["down_revisions"][0], "f5a8c2d06e1b");
    assert_eq!((&head["head"], &head["checked"]), (&true.into(), &true.into()));
    assert!(head["lock"].as_str().is_some_and(|lock| lock.starts_with("ACCESS EXCLUSIVE")), "{head}");
    assert!(head["findings"].as_array().is_some_and(|findings| findings.len() > 1), "{head}");

    let markdown = listed(&["--output-format", "markdown"]);
    assert!(
        markdown.contains("\n| `72d4e1b9f0c3` | `f5a8c2d06e1b` | finance report, approved returns | "),
        "{markdown}"
    );
    let mermaid = listed(&["--output-format", "mermaid"]);
    assert!(
        mermaid.starts_with("flowchart BT\n    r0[\"72d4e1b9f0c3<br>finance report, approved returns<br>")
            && mermaid.contains("]:::unsafe\n")
            && mermaid.contains("    r1 --> r0\n"),
        "{mermaid}"
    );
}

#[test]
fn alembic_runs_the_hook_that_init_sets_up() {
    let directory = TempDir::with_prefix("safemig-init-").expect("a temporary directory");
    let at = directory.path();
    write(at, "alembic.ini", "[alembic]\nscript_location = m\n");
    write(at, "m/env.py", "");
    let table = "from alembic import op\nimport sqlalchemy as sa\n";
    let body = revision("aaaa", "start", "None", "None", "None")
        .replacen("    pass", "    op.create_table('a', sa.Column('id', sa.Integer))", 1)
        .replace("revision = 'aaaa'", &format!("{table}revision = 'aaaa'"));
    write(at, "m/versions/aaaa.py", &body);
    // What autogenerate would write.
    let template = revision("${up_revision}", "${message}", "${repr(down_revision)}", "None", "None")
        .replacen("    pass", "    op.create_index('ix', 'a', ['id'])", 1)
        .replace("revision = '$", "from alembic import op\nrevision = '$");
    write(at, "m/script.py.mako", &template);
    let init = safemig(at, SA20, &["init"]).output().expect("safemig starts");
    assert_eq!(init.status.code(), Some(0), "{}", String::from_utf8_lossy(&init.stderr));
    let program = Path::new(env!("CARGO_BIN_EXE_safemig")).parent().expect("a directory");
    let python = interpreter(SA20);
    let path = std::env::join_paths([
        program,
        python.parent().expect("a directory"),
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ]);
    let mut alembic = Command::new(&python);
    alembic.args(["-m", "alembic", "revision", "-m", "next", "--rev-id", "bbbb"]).current_dir(at);
    let output = alembic.env("PATH", path.expect("a path")).output().expect("Python starts");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let written = fs::read_to_string(at.join("m/versions/bbbb_next.py")).expect("a revision");
    assert!(written.contains("with op.get_context().autocommit_block():"), "{written}\n{text}");
}
