//! The project's own Python with Alembic in it, which runs one history.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::interrupt::{Interrupt, SharedChild};
use super::server::Database;
use super::trace::PROBE;
use super::tree::Tree;
use crate::project;

/// How migrations are run, whichever history they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// The working directory, which paths in reports are relative to.
    pub(crate) directory: PathBuf,
    pub(crate) python: PathBuf,
    /// The project's own `env.py` instead of ours.
    pub(crate) use_env: bool,
    /// Modules that cannot be found are replaced, and these packages even if they can.
    pub(crate) stub_imports: Option<Vec<String>>,
    /// The section of alembic.ini.
    pub(crate) section: String,
    /// `recursive_version_locations`.
    pub(crate) recursive: bool,
}

/// A statement that a migration is about to send.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Statement {
    pub(crate) sql: String,
    pub(crate) parameters: Option<String>,
    /// Whether it is its own transaction.
    pub(crate) autocommit: bool,
    /// The server process of its connection.
    pub(crate) pid: i32,
    /// How many transactions had been committed before it.
    pub(crate) transaction: usize,
}

/// What is known once a statement has run.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Ran {
    /// Seconds of a clock of which only differences mean anything.
    pub(crate) started: f64,
    pub(crate) ended: f64,
    /// The probe's answer; only in traced runs.
    pub(crate) state: Option<String>,
    /// What the server said meanwhile; only in traced runs.
    #[serde(default)]
    pub(crate) notices: Vec<String>,
}

/// Whether a migration shall go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Go {
    On,
    /// It ends as if its process had been killed.
    Stop,
}

/// What a watcher wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Interest {
    Nothing,
    Statements,
    /// Also the probe's answers and the server's messages.
    Locks,
}

/// Somebody who is told of every statement.
pub(crate) trait Watch {
    const INTEREST: Interest;

    /// # Errors
    /// The watcher's own.
    fn before(&mut self, statement: Statement) -> Result<Go>;

    /// # Errors
    /// The watcher's own.
    fn after(&mut self, ran: Ran) -> Result<Go>;

    /// A transaction has ended.
    fn committed(&mut self, time: f64);
}

/// Nobody listens.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    const INTEREST: Interest = Interest::Nothing;

    fn before(&mut self, _: Statement) -> Result<Go> {
        Ok(Go::On)
    }

    fn after(&mut self, _: Ran) -> Result<Go> {
        Ok(Go::On)
    }

    fn committed(&mut self, _: f64) {}
}

/// What a migration raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    /// In one line: the class and its text.
    pub(crate) message: String,
    /// `path:line` in the revisions, as far as they are involved.
    pub(crate) place: Option<String>,
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// `alembic upgrade TARGET`.
    Upgrade(String),
    /// Takes back these revisions in their order, so far as they are applied.
    Downgrade(Vec<String>),
    /// `alembic upgrade TARGET --sql`, into a file.
    Offline(String, PathBuf),
}

/// A message of the Python program.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Message {
    Done {
        #[expect(dead_code, reason = "it tells this message from the others")]
        done: bool,
        error: Option<String>,
        place: Option<String>,
        versions: Option<Versions>,
    },
    Event(Event),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Before(Statement),
    After(Ran),
    Commit { time: f64 },
}

/// The libraries that a history runs on.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub(crate) struct Versions {
    pub(crate) alembic: String,
    pub(crate) sqlalchemy: String,
}

/// A running Python.
#[derive(Debug)]
pub(crate) struct Driver<'a> {
    tree: &'a Tree,
    environment: &'a Environment,
    child: SharedChild,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    interrupt: Interrupt,
    scratch: TempDir,
    pub(crate) versions: Versions,
}

impl<'a> Driver<'a> {
    /// Start a Python for the history of `tree`.
    ///
    /// # Errors
    /// There is no Python, no Alembic in it, or the history cannot be loaded.
    pub(crate) fn start(environment: &'a Environment, tree: &'a Tree, interrupt: &Interrupt) -> Result<Self> {
        let scratch =
            TempDir::with_prefix("safemig-verify-").context("could not make a temporary directory")?;
        let scripts = scratch.path().join("scripts");
        let workplace = scratch.path().join("cwd");
        for directory in [&scripts, &workplace] {
            fs::create_dir(directory).context("could not make a temporary directory")?;
        }
        let program = scratch.path().join("driver.py");
        for (path, text) in [
            (program.clone(), include_str!("driver.py")),
            (scratch.path().join("safemig_stubs.py"), include_str!("stubs.py")),
            (scripts.join("env.py"), include_str!("env.py")),
        ] {
            fs::write(path, text).context("could not write to a temporary directory")?;
        }
        let log =
            File::create(scratch.path().join("log")).context("could not write to a temporary directory")?;
        let python = &environment.python;
        let mut child = Command::new(python)
            .arg(&program)
            // Some migrations iterate over sets: this makes their order the same in every run.
            .env("PYTHONHASHSEED", "0")
            .current_dir(&tree.root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start {}", python.display()))?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        let child = Arc::new(Mutex::new(child));
        interrupt.watch(&child);
        let versions = Versions { alembic: String::new(), sqlalchemy: String::new() };
        let mut driver =
            Self { tree, environment, child, input, output, interrupt: interrupt.clone(), scratch, versions };
        let setup = json!({
            "config": tree.config.as_ref().filter(|path| path.extension().is_some_and(|name| name == "ini")),
            "section": environment.section,
            "script_location": if environment.use_env { &tree.script_location } else { &scripts },
            "version_locations": tree.version_locations,
            "recursive": environment.recursive,
            "use_env": environment.use_env,
            "stub_imports": environment.stub_imports,
            "sys_path": tree.import_roots,
            "modules": tree.modules,
            // Some migrations write files; the project's own environment may read some.
            "workplace": (!environment.use_env).then_some(&workplace),
            "probe": PROBE,
        });
        driver.send(&setup)?;
        match driver.receive()? {
            Message::Done { error: None, versions: Some(versions), .. } => driver.versions = versions,
            Message::Done { error: Some(error), place, .. } => {
                let place = place.map(|place| format!("{}: ", driver.shown(&place))).unwrap_or_default();
                let hint = if environment.stub_imports.is_some() {
                    "\nhint: what can be found is not replaced, and may need what is: replace all of the package with \
                     `--stub-imports=PACKAGE`, or name a Python in which it is installed with `--python PATH`"
                } else if error.starts_with("ModuleNotFoundError") || error.starts_with("ImportError") {
                    "\nhint: name a Python that has it with `--python PATH`, or let it be replaced with `--stub-imports`"
                } else {
                    ""
                };
                bail!("the history can't be loaded: {place}{error}{hint}")
            }
            message => bail!("{} answered {message:?}", python.display()),
        }
        Ok(driver)
    }

    /// Start again: nothing is remembered of what has run.
    ///
    /// # Errors
    /// As for [`Driver::start`].
    pub(crate) fn restart(&mut self) -> Result<()> {
        *self = Self::start(self.environment, self.tree, &self.interrupt)?;
        Ok(())
    }

    /// Run something on a database. The answer is what the migrations raised.
    ///
    /// # Errors
    /// Python itself came to an end, or the watcher failed.
    pub(crate) fn run<W: Watch>(
        &mut self,
        step: &Step,
        database: &Database,
        watch: &mut W,
    ) -> Result<Option<Failure>> {
        let (run, arguments) = match step {
            Step::Upgrade(target) => ("upgrade", json!([target])),
            Step::Downgrade(revisions) => ("downgrade", json!([revisions])),
            Step::Offline(target, output) => ("offline", json!([target, output])),
        };
        self.send(&json!({
            "run": run,
            "arguments": arguments,
            "database": database.parameters(),
            "watch": W::INTEREST >= Interest::Statements,
            "trace": W::INTEREST >= Interest::Locks,
        }))?;
        loop {
            let go = match self.receive()? {
                Message::Done { error, place, .. } => {
                    let place = place.map(|place| self.shown(&place));
                    return Ok(error.map(|message| Failure { message, place }));
                }
                Message::Event(Event::Before(statement)) => watch.before(statement)?,
                Message::Event(Event::After(ran)) => watch.after(ran)?,
                Message::Event(Event::Commit { time }) => {
                    watch.committed(time);
                    continue;
                }
            };
            self.send(&Value::from(if go == Go::On { "go" } else { "stop" }))?;
        }
    }

    /// `path:line` as reports show it.
    fn shown(&self, place: &str) -> String {
        let Some((path, line)) = place.rsplit_once(':') else { return place.to_owned() };
        let path = self.tree.original(Path::new(path));
        format!("{}:{line}", project::shown(&path, &self.environment.directory))
    }

    fn send(&mut self, message: &Value) -> Result<()> {
        let written = writeln!(self.input, "{message}").and_then(|()| self.input.flush());
        written.map_err(|_| self.ended())
    }

    fn receive(&mut self) -> Result<Message> {
        let mut line = String::new();
        match self.output.read_line(&mut line) {
            Ok(1..) => serde_json::from_str(&line).with_context(|| format!("not understood: {line}")),
            _ => Err(self.ended()),
        }
    }

    /// Why Python came to an end.
    fn ended(&self) -> anyhow::Error {
        if let Err(interrupted) = self.interrupt.check() {
            return interrupted;
        }
        let log = fs::read(self.scratch.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        if log.contains("No module named 'alembic'") || log.contains("No module named 'sqlalchemy'") {
            return anyhow::anyhow!(
                "Alembic is not installed in this Python\nhint: name the project's own with `--python PATH`"
            );
        }
        let lines: Vec<&str> = log.trim_end().lines().collect();
        anyhow::anyhow!("Python ended early:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
