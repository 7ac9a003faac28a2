//! What the tests on a real PostgreSQL share: the environment that `scripts/test.sh` prepares, a server that
//! lives as long as the test process, and the programs of `tests/harness`.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// How many tests work at the same time: more only makes each of them slower.
const TURNS: usize = 2;

/// The environment of SQLAlchemy 2.0 and a current Alembic; `sa14` has SQLAlchemy 1.4 and the Alembic of its time.
pub(crate) const SA20: &str = "sa20";

/// What `scripts/test.sh` has prepared.
///
/// # Panics
///
/// Without it: a test that cannot run fails.
pub(crate) fn environment() -> &'static Path {
    static ENVIRONMENT: OnceLock<PathBuf> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let directory =
            env::var_os("SAFEMIG_TEST_ENV").map_or_else(|| root().join("target/test-env"), PathBuf::from);
        assert!(
            directory.join("ready").is_file(),
            "there is no test environment in {}: run scripts/test.sh once, which sets it up",
            directory.display()
        );
        directory
    })
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program printed, and how it ended.
pub(crate) struct Outcome {
    /// Its exit status, unless a signal ended it.
    pub(crate) status: Option<i32>,
    /// Its output and its errors.
    pub(crate) output: String,
}

/// Runs a program of `tests/harness` against the server of this process.
pub(crate) fn harness<S: AsRef<OsStr>>(
    python: &str,
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Outcome {
    let mut command = Command::new(interpreter(python));
    command
        .arg(root().join("tests/harness").join(program))
        .args(arguments)
        .env("PYTHONHASHSEED", "0") // the programs set it themselves, but by starting twice
        .env("SAFEMIG_TEST_SERVER", server())
        .env("SAFEMIG_TEST_CORPUS", environment().join("corpus"));
    run(&mut command)
}

/// The Python of an environment.
fn interpreter(python: &str) -> PathBuf {
    environment().join(python).join("bin/python")
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let finished = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", command.get_program().display()));
    let output = [finished.stdout, finished.stderr].concat();
    Outcome { status: finished.status.code(), output: String::from_utf8_lossy(&output).into_owned() }
}

/// The URL of a private PostgreSQL server, started when it is first asked for.
///
/// `cluster.py` stops it at the end of its standard input, and that pipe is closed with this process, however it
/// ends: no server outlives a test that fails, or is killed.
fn server() -> &'static str {
    static SERVER: OnceLock<(Child, String)> = OnceLock::new();
    let (_, url) = SERVER.get_or_init(|| {
        let mut child = Command::new(interpreter(SA20))
            .arg(root().join("tests/harness/cluster.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cluster.py can be run");
        let mut url = String::new();
        let output = child.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut url).expect("it says where the server is");
        assert!(!url.trim().is_empty(), "PostgreSQL does not start");
        (child, url.trim().to_owned())
    });
    url
}

/// A turn to work, given back when it is dropped.
pub(crate) struct Turn(());

static WORKING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Turn {
    /// Waits for a turn.
    pub(crate) fn take() -> Self {
        let working = WORKING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut working =
            ENDED.wait_while(working, |working| *working >= TURNS).unwrap_or_else(PoisonError::into_inner);
        *working += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *WORKING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
