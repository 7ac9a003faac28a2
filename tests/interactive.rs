//! `safemig fix --interactive` in a real terminal, key by key.

#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rexpect::process::Signal;
use rexpect::process::WaitStatus;
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

/// A machine under load takes its time.
const PATIENCE_MS: u64 = 60_000;

const BASE: &str = "from alembic import op\nimport sqlalchemy as sa\n\nrevision = 'aaa'\ndown_revision = None\n\n\n\
def upgrade():\n    for name in ('a', 'b'):\n        op.create_table(name, sa.Column('id', sa.Integer), sa.Column('x', sa.Integer))\n\n\n\
def downgrade():\n    op.drop_table('b')\n    op.drop_table('a')\n";

/// Three fixes: two indexes and a check constraint.
const THREE: &str = "from alembic import op\n\nrevision = 'bbb'\ndown_revision = 'aaa'\n\n\n\
def upgrade():\n    # the first\n    op.create_index('ix_a', 'a', ['id'])\n    op.create_index('ix_b', 'b', ['id'])\n    \
op.create_check_constraint('ck_a', 'a', 'id > 0')\n\n\ndef downgrade():\n    pass\n";

/// One more index.
const ONE: &str = "from alembic import op\n\nrevision = 'ccc'\ndown_revision = 'bbb'\n\n\n\
def upgrade():\n    op.create_index('ix_c', 'a', ['x'])\n\n\ndef downgrade():\n    pass\n";

/// Nothing can be done about it.
const UNFIXABLE: &str = "from alembic import op\n\nrevision = 'ddd'\ndown_revision = 'ccc'\n\n\n\
def upgrade():\n    op.create_foreign_key('fk', get_table(), 'a', ['id'], ['id'])\n\n\ndef downgrade():\n    pass\n";

const THREE_PY: &str = "migrations/versions/bbb.py";
const ONE_PY: &str = "migrations/versions/ccc.py";

struct Project(TempDir);

impl Project {
    /// Four fixes in two files.
    fn new() -> Self {
        let project = Self(TempDir::with_prefix("safemig-interactive-").expect("a temporary directory"));
        project.write("alembic.ini", "[alembic]\nscript_location = migrations\n");
        project.write("migrations/env.py", "target_metadata = None\n");
        project.write("migrations/versions/aaa.py", BASE);
        project.write(THREE_PY, THREE);
        project.write(ONE_PY, ONE);
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
        fs::read_to_string(self.path(name)).expect("a file")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_safemig"));
        command.args(arguments).current_dir(self.0.path());
        for name in
            ["ALEMBIC_CONFIG", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "VIRTUAL_ENV", "VISUAL", "EDITOR"]
        {
            command.env_remove(name);
        }
        command.env("TERM", "xterm").env("ALEMBIC_CONFIG", "alembic.ini");
        command
    }

    /// What `safemig` prints without a terminal.
    fn output(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdin(Stdio::null()).output().expect("the program starts");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn review(&self, arguments: &[&str]) -> Session {
        let mut command = self.command(&[&["fix", "-i", "--color", "never"], arguments].concat());
        // An alembic that is installed somewhere decides what may be written.
        command.env("PATH", "/usr/bin:/bin");
        Session::start(command)
    }

    fn is_untouched(&self) {
        assert_eq!(self.read(THREE_PY), THREE);
        assert_eq!(self.read(ONE_PY), ONE);
        let names = fs::read_dir(self.path("migrations/versions")).expect("a directory").count();
        assert_eq!(names, 3, "nothing is left behind");
    }
}

/// A program in a terminal.
struct Session(PtySession);

impl Session {
    fn start(command: Command) -> Self {
        Self(spawn_command(command, Some(PATIENCE_MS)).expect("the program starts"))
    }

    /// What is printed until the next question, which is not part of it.
    #[track_caller]
    fn question(&mut self, question: &str) -> String {
        let text = self.0.exp_string(question);
        let text = text.unwrap_or_else(|error| panic!("no question `{question}`: {error}"));
        self.0.exp_string("]?").expect("keys");
        text.replace("\r\n", "\n")
    }

    fn press(&mut self, keys: &str) -> &mut Self {
        self.0.send(keys).expect("the terminal takes keys");
        self.0.flush().expect("the terminal takes keys");
        self
    }

    /// Presses a key at the question with this beginning.
    #[track_caller]
    fn at(&mut self, question: &str, keys: &str) -> String {
        let text = self.question(question);
        self.press(keys);
        text
    }

    /// The rest of what is printed, and the exit status.
    fn end(mut self) -> (String, i32) {
        let text = self.0.exp_eof().expect("the program ends").replace("\r\n", "\n");
        assert!(!text.contains("panicked"), "{text}");
        match self.0.process().wait() {
            Ok(WaitStatus::Exited(_, status)) => (text, status),
            other => panic!("{other:?}: {text}"),
        }
    }

    fn is_as_it_was(&self) {
        let terminal = self.0.process().get_file_handle().expect("the terminal");
        let modes = tcgetattr(&terminal).expect("the terminal").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ISIG), "{modes:?}");
    }

    fn resize(&self, columns: u16) {
        let terminal = self.0.process().get_file_handle().expect("the terminal");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("the terminal has a size");
    }
}

/// The diff in what was shown.
fn diff(shown: &str) -> &str {
    &shown[shown.find("--- a/").expect("a diff")..]
}

fn git_apply(directory: &Path, patch: &str) {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(["apply", "-"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .spawn()
        .expect("git starts");
    child.stdin.take().expect("a pipe").write_all(patch.as_bytes()).expect("git reads");
    assert!(child.wait().expect("git ends").success(), "{patch}");
}

#[test]
fn what_is_shown_is_what_is_written() {
    let project = Project::new();
    let mut session = project.review(&[]);
    let copy = TempDir::new().expect("a temporary directory");
    let file = copy.path().join(THREE_PY);
    fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
    fs::write(&file, THREE).expect("a file");
    for question in ["(1/4) Make this fix [", "(2/4) Make this fix [", "(3/4) Make this fix ["] {
        let shown = session.at(question, "y");
        git_apply(copy.path(), diff(&shown));
    }
    session.at("(4/4) Make this fix [", "n");
    project.is_untouched();
    let last = session.at("Write 3 fixes to 1 file [", "y");
    assert!(last.contains("  migrations/versions/bbb.py: 3 fixes\n"), "{last}");
    let (text, status) = session.end();
    assert_eq!(status, 1, "one is left");
    assert!(
        text.ends_with(
            "Fixed 3 findings in 1 revision (1 left).\nLeft alone:\n  1  left alone in the review\n"
        ),
        "{text}"
    );
    assert_eq!(project.read(THREE_PY), fs::read_to_string(&file).expect("a file"));
    assert_eq!(project.read(ONE_PY), ONE);
    assert_eq!(project.output(&["fix", "--dry-run", THREE_PY]), "", "no other than all at once");
}

/// Copies a directory with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, target).expect("a copy");
        }
    }
}

/// Fixes that share a batch block, helpers, or what must be able to run again.
#[test]
fn one_after_the_other_comes_to_the_same_as_all_at_once() {
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/shop");
    let [one_by_one, at_once] = [Project::new(), Project::new()].map(|project| {
        copy(&shop, project.0.path());
        fs::remove_file(project.path(THREE_PY)).expect("a file");
        project
    });
    at_once.output(&["fix"]);
    let mut session = one_by_one.review(&[]);
    let mut patches = String::new();
    let mut number = 0;
    loop {
        let (text, found) = session
            .0
            .exp_regex(r"\(\d+/\d+\) Make this fix \[[^]]*\]\?|Write \d+ fixes to \d+ files \[[^]]*\]\?")
            .expect("a question");
        if found.starts_with("Write") {
            break;
        }
        number += 1;
        let text = text.replace("\r\n", "\n");
        if let Some(at) = text.find("--- a/") {
            patches.push_str(&text[at..]);
        }
        session.press("y");
    }
    assert!(number > 20, "{number}");
    let applied = TempDir::new().expect("a temporary directory");
    copy(one_by_one.0.path(), applied.path());
    for patch in patches.split_inclusive("\n--- a/").scan(String::new(), |start, part| {
        let patch = start.clone() + part.trim_end_matches("--- a/");
        "--- a/".clone_into(start);
        Some(patch)
    }) {
        git_apply(applied.path(), &patch);
    }
    session.press("y");
    session.end();
    for entry in fs::read_dir(at_once.path("migrations/versions")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "py") {
            let name = format!("migrations/versions/{}", path.file_name().expect("a name").display());
            // All at once is all or nothing in a file: one that can't be laid out keeps the others from it.
            let refused = fs::read_to_string(shop.join(&name)).ok() == Some(at_once.read(&name));
            assert!(
                refused || one_by_one.read(&name) == at_once.read(&name),
                "{name}: {}",
                one_by_one.read(&name)
            );
            assert_eq!(
                one_by_one.read(&name),
                fs::read_to_string(applied.path().join(&name)).expect("a file"),
                "{name}"
            );
        }
    }
}

#[test]
fn a_fix_tells_what_is_locked() {
    let project = Project::new();
    let mut session = project.review(&[]);
    let shown = session.question("(1/4)");
    assert!(
        shown.contains(
            "only-concurrent-indexes Creating index `ix_a` blocks writes to `a` until it is built\n  \
             --> migrations/versions/bbb.py:9:5\n\
             before: SHARE on `a` while the index is built\n\
             after:  SHARE UPDATE EXCLUSIVE while the index is built\n--- a/migrations/versions/bbb.py\n"
        ),
        "{shown}"
    );
    assert!(!shown.contains("-    op.create_index('ix_b'"), "one at a time: {shown}");
    session.press("q");
    assert_eq!(session.end().1, 1);
    project.is_untouched();
}

#[test]
fn enter_asks_again_and_question_marks_explain() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "\r");
    let again = session.at("(1/4)", "?");
    assert_eq!(again.trim(), "", "only the question");
    let help = session.at("(1/4)", "x");
    for key in ["y", "n", "q", "a", "d", "A", "D", "i", "e", "j", "k", "x", "p", "?"] {
        assert!(help.contains(&format!("\n{key} - ")), "{key}: {help}");
    }
    let rule = session.at("(1/4)", "z");
    assert!(rule.contains("# only-concurrent-indexes") && rule.contains("## Why is this unsafe?"), "{rule}");
    assert!(session.at("(1/4)", "p").contains("n - leave it alone"), "an unknown key shows the help");
    assert!(session.at("(1/4)", "k").contains("--- a/migrations/versions/bbb.py"));
    assert!(session.at("(1/4)", "\u{1b}[A").contains("This is the first fix."));
    session.at("(1/4)", "y\r");
    // Who is used to Enter has lost nothing.
    session.at("(2/4)", "");
    session.at("(2/4)", "q");
    session.at("Write 1 fix to 1 file [", "?");
    let help = session.at("Write 1 fix to 1 file [", "\r");
    assert!(help.contains("n - write nothing"), "{help}");
    session.at("Write 1 fix to 1 file [", "n");
    assert_eq!(session.end().1, 1);
    project.is_untouched();
}

#[test]
fn back_and_forth() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "y");
    session.at("(2/4)", "k");
    assert!(session.at("(1/4)", "n").contains("now:    it will be made\n"));
    session.at("(2/4)", "j");
    session.at("(3/4)", "y");
    session.at("(4/4)", "j");
    assert!(session.at("(4/4)", "n").contains("This is the last fix."));
    // What was passed over comes again.
    session.at("(2/4)", "y");
    let shown = session.at("Write 2 fixes to 1 file [", "p");
    assert!(shown.contains("bbb.py: 2 fixes"), "{shown}");
    let all = session.at("Write 2 fixes to 1 file [", "k");
    assert!(
        all.contains("-    op.create_index('ix_b'") && !all.contains("-    op.create_index('ix_a'"),
        "{all}"
    );
    session.at("(2/4)", "n");
    session.at("Write 1 fix to 1 file [", "y");
    assert_eq!(session.end().1, 1);
    let written = project.read(THREE_PY);
    assert!(
        written.contains("    op.create_index('ix_b', 'b', ['id'])\n") && written.contains("VALIDATE"),
        "{written}"
    );
}

#[test]
fn a_file_or_a_rule_at_once() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "a");
    session.at("(4/4)", "k");
    session.at("(3/4)", "d");
    session.at("(4/4)", "n");
    session.at("Write 2 fixes to 1 file [", "n");
    assert_eq!(session.end().1, 1);
    let mut session = project.review(&[]);
    session.at("(1/4)", "A");
    session.at("(3/4)", "D");
    session.at("Write 3 fixes to 2 files [", "n");
    assert_eq!(session.end().1, 1);
    let mut session = project.review(&[]);
    session.at("(1/4)", "d");
    session.at("(4/4)", "y");
    session.at("Write 1 fix to 1 file [", "n");
    assert_eq!(session.end().1, 1);
    project.is_untouched();
    let mut session = project.review(&[]);
    session.at("(1/4)", "D");
    session.at("(3/4)", "n");
    let (text, status) = session.end();
    assert_eq!(status, 1);
    assert!(text.contains("Fixed nothing (4 left).\n"), "nothing to ask about: {text}");
    project.is_untouched();
}

#[test]
fn everything_made_is_a_clean_end() {
    let project = Project::new();
    let mut session = project.review(&["--show-fixes"]);
    session.at("(1/4)", "A");
    session.at("(3/4)", "a");
    session.at("Write 4 fixes to 2 files [", "y");
    let (text, status) = session.end();
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("- migrations/versions/ccc.py:\n    1 "), "{text}");
    let all = Project::new();
    all.output(&["fix"]);
    let mut again = project.command(&["check"]);
    assert_eq!(again.output().expect("the program starts").status.code(), Some(0));
}

#[test]
fn a_suppression_says_why() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "i");
    session.0.exp_string("Why (may be empty)? ").expect("a question");
    session.press("200 rows\r");
    session.at("(2/4)", "k");
    assert!(session.at("(1/4)", "j").contains("now:    it is left, with a comment: 200 rows\n"));
    session.at("(2/4)", "y");
    session.at("(3/4)", "n");
    session.at("(4/4)", "n");
    session.at("Write 1 fix and 1 suppression to 1 file [", "y");
    let (text, status) = session.end();
    assert_eq!(status, 1);
    assert!(text.contains("Fixed 1 finding in 1 revision (2 left) (1 suppressed)."), "{text}");
    let written = project.read(THREE_PY);
    assert!(
        written.contains(
            "    # the first\n    # safemig: ignore[only-concurrent-indexes] 200 rows\n    op.create_index('ix_a', 'a', ['id'])\n"
        ),
        "{written}"
    );
    let check = project.output(&["check", "--output-format", "concise", THREE_PY]);
    assert!(!check.contains("ix_a") && !check.contains("ix_b") && check.contains("ck_a"), "{check}");
}

#[test]
fn the_diff_can_be_edited() {
    let project = Project::new();
    project.write("editor.sh", "sed -i 's/^+    with .*/&  # not now/' \"$2\"\n");
    let review = |editor: &str| {
        let mut command = project.command(&["fix", "-i", "--color", "never"]);
        command.env("EDITOR", editor).env("PATH", "/usr/bin:/bin");
        Session::start(command)
    };
    // An editor with an argument of its own.
    let mut session = review("sh editor.sh --wait");
    session.at("(1/4)", "e");
    let shown = session.at("(2/4)", "y");
    assert!(
        shown.contains("     with op.get_context().autocommit_block():  # not now\n"),
        "on top of it: {shown}"
    );
    session.at("(3/4)", "k");
    session.at("(2/4)", "k");
    assert!(session.at("(1/4)", "j").contains("now:    it is part of what was edited"));
    session.at("(2/4)", "j");
    session.at("(3/4)", "n");
    session.at("(4/4)", "n");
    session.at("Write 2 fixes to 1 file [", "y");
    assert_eq!(session.end().1, 1);
    assert!(project.read(THREE_PY).contains("autocommit_block():  # not now\n"));

    project.write(THREE_PY, THREE);
    // A diff that doesn't fit, a text that is no Python, another schema, nothing, and an editor that fails.
    project.write("bad.sh", "sed -i 's/^ def upgrade.*/ def other():/' \"$1\"\n");
    let mut session = review("sh bad.sh");
    session.at("(1/4)", "e");
    session.0.exp_string("the file has no such line there: `def other():`").expect("an error");
    session.0.exp_string("Edit it again (e,n)? ").expect("a question");
    session.press("n");
    session.at("(1/4)", "q");
    assert_eq!(session.end().1, 1);
    project.write("bad.sh", "sed -i 's/^+    with .*/+    with/' \"$1\"\n");
    let mut session = review("sh bad.sh");
    session.at("(1/4)", "e");
    session.0.exp_string("The edited diff is of no use: line 9: ").expect("an error");
    session.press("n");
    session.at("(1/4)", "q");
    assert_eq!(session.end().1, 1);
    project.write("bad.sh", "sed -i '/^+/d' \"$1\"\n");
    let mut session = review("sh bad.sh");
    session.at("(1/4)", "e");
    session.0.exp_string("another schema.").expect("a warning");
    session.0.exp_string("Edit it again (e,t,n)? ").expect("a question");
    session.press("t");
    session.at("(2/4)", "q");
    session.at("Write 1 fix to 1 file [", "n");
    assert_eq!(session.end().1, 1);
    project.write("bad.sh", ": > \"$1\"\n");
    let mut session = review("sh bad.sh");
    session.at("(1/4)", "e");
    session.at("(1/4)", "q");
    assert_eq!(session.end().1, 1);
    let mut session = review("false");
    session.at("(1/4)", "e");
    assert!(session.at("(1/4)", "q").contains("the editor failed"));
    assert_eq!(session.end().1, 1);
    project.is_untouched();
}

#[test]
fn ctrl_c_ends_it_anywhere() {
    let project = Project::new();
    let starts: [&[(&str, &str)]; 4] = [
        &[("(1/4) ", "")],
        &[("(1/4) ", "y"), ("(2/4) ", "")],
        &[("(1/4) ", "a"), ("(4/4) ", "y"), ("Write 4 fixes to 2 files ", "")],
        &[("(1/4) ", "y"), ("(2/4) ", "\u{3}")],
    ];
    for start in starts {
        let mut session = project.review(&[]);
        for (question, key) in start {
            session.at(question, key);
        }
        session.press("\u{3}");
        let (text, status) = session.end();
        assert_eq!(status, 130, "{text}");
        project.is_untouched();
    }
    // While a line is typed.
    let mut session = project.review(&[]);
    session.at("(1/4) ", "i");
    session.0.exp_string("empty)? ").expect("a question");
    session.press("because\u{3}");
    assert_eq!(session.end().1, 130);
    project.is_untouched();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let project = Project::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut session = project.review(&[]);
        session.at("(1/4) ", "y");
        session.question("(2/4) ");
        session.0.process_mut().signal(signal).expect("the program is there");
        let handle = session.0.process().get_file_handle().expect("the terminal");
        let text = session.0.exp_eof().expect("the program ends");
        let status = session.0.process().wait();
        assert!(matches!(status, Ok(WaitStatus::Exited(_, 130))), "{status:?}: {text}");
        session.is_as_it_was();
        drop(handle);
        project.is_untouched();
    }
}

#[test]
fn end_of_input_leaves_the_rest() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "y");
    session.at("(2/4)", "\u{4}");
    session.at("Write 1 fix to 1 file [", "\u{4}");
    assert_eq!(session.end().1, 1);
    project.is_untouched();
}

#[test]
fn a_window_may_be_narrow_and_change() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.question("(1/4) Make this fix [");
    session.resize(30);
    session.press("\r");
    session.0.exp_string("(1/4) Make this fix [y,n,q,?]? ").expect("a short question");
    session.resize(200);
    session.press("\r");
    session.0.exp_string("(1/4) Make this fix [y,n,a,d,A,D,i,e,j,k,x,p,q,?]? ").expect("a long question");
    session.press("q");
    assert_eq!(session.end().1, 1);
}

#[test]
fn colour_only_where_it_is_wanted() {
    let project = Project::new();
    let mut session = Session::start(project.command(&["fix", "-i"]));
    let shown = session.at("(1/4)", "q");
    assert!(shown.contains("\u{1b}[32m+    with"), "{shown:?}");
    assert_eq!(session.end().1, 1);
    let mut plain = project.command(&["fix", "-i"]);
    plain.env("NO_COLOR", "1");
    let mut session = Session::start(plain);
    let shown = session.at("(1/4)", "q");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    assert!(!session.end().0.contains('\u{1b}'));
}

#[test]
fn a_file_that_changed_meanwhile_is_left() {
    let project = Project::new();
    let mut session = project.review(&[]);
    session.at("(1/4)", "A");
    session.at("(3/4)", "n");
    session.question("Write 3 fixes to 2 files [");
    project.write(ONE_PY, "# somebody else's\n");
    session.press("y");
    let (text, status) = session.end();
    assert_eq!(status, 2, "{text}");
    assert!(text.contains("ccc.py changed since it was read; nothing was written to it"), "{text}");
    assert_eq!(project.read(ONE_PY), "# somebody else's\n");
    assert!(project.read(THREE_PY).contains("autocommit_block"), "the others go on");
}

#[test]
fn what_can_not_be_fixed_is_reported_afterwards() {
    let project = Project::new();
    project.write("migrations/versions/ddd.py", UNFIXABLE);
    let mut session = project.review(&["--output-format", "concise"]);
    session.at("(1/4)", "q");
    let (text, status) = session.end();
    assert_eq!(status, 1);
    assert!(text.contains("ddd.py:8:5: split-foreign-key") && !text.contains("ccc.py:8:5"), "{text}");
    project.write("migrations/versions/ccc.py", &ONE.replace("op.create_index", "pass  # "));
    project.write(THREE_PY, &THREE.replace("op.create", "pass  # "));
    let (text, status) = project.review(&[]).end();
    assert_eq!(status, 1, "no question: {text}");
}

#[test]
fn an_environment_is_reviewed_too() {
    let project = Project::new();
    let environment = "from alembic import context\n\n\ndef run_migrations_online():\n    \
        with engine.connect() as connection:\n        context.configure(connection=connection)\n        \
        with context.begin_transaction():\n            context.run_migrations()\n\n\nrun_migrations_online()\n";
    project.write("migrations/env.py", environment);
    let mut session = project.review(&["migrations/env.py"]);
    let shown = session.at("(1/1)", "y");
    assert!(
        shown.contains("+        context.configure(connection=connection, transaction_per_migration=True)"),
        "{shown}"
    );
    session.at("Write 1 fix to 1 file [", "y");
    assert_eq!(session.end().1, 0);
    project.write("migrations/env.py", environment);
    let mut session = project.review(&["migrations/env.py"]);
    session.at("(1/1)", "i");
    session.0.exp_string("empty)? ").expect("a question");
    session.press("\r");
    session.at("Write 1 suppression to 1 file [", "y");
    let (text, status) = session.end();
    assert_eq!(status, 0, "{text}");
    let written = project.read("migrations/env.py");
    assert!(
        written.contains("        # safemig: ignore[transaction-per-migration]\n        context.configure("),
        "{written}"
    );
}

#[test]
fn without_a_terminal_nothing_happens() {
    let project = Project::new();
    let output = project.command(&["fix", "-i"]).stdin(Stdio::null()).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("`--interactive` needs a terminal\nhint: "), "{stderr}");
    for arguments in [["fix", "-i", "-"], ["fix", "-i", "-s"], ["fix", "-i", "--dry-run"]] {
        let output = project.command(&arguments).output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    project.is_untouched();
}
