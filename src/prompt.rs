//! Questions to the user, on the terminal.
//!
//! A question is answered by a single key. Nothing is drawn over what was printed before, so that a window may have
//! any size, and change it.
//!
//! **Invariant: until [`Prompt::close`], Ctrl-C ends the program**, with the terminal as it was found.

use std::io::{self, IsTerminal as _, Write as _};
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, bail};
use console::{Key, Term};

use crate::Status;
use crate::verify::interrupt::Interrupted;

/// The terminal that the user sits at.
pub(crate) struct Prompt {
    term: Term,
    /// Whether Ctrl-C has no effect now.
    deaf: Arc<Mutex<bool>>,
}

/// What the user answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Key(char),
    /// Enter alone: the question is asked again.
    Again,
    /// Ctrl-D, or the terminal is gone.
    End,
}

impl Prompt {
    /// Talk to the user on stderr; to be called once.
    ///
    /// # Errors
    /// stdin or stderr is no terminal.
    pub(crate) fn open() -> Result<Self> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            bail!(
                "`--interactive` needs a terminal\nhint: `safemig fix --dry-run` shows all fixes without asking"
            );
        }
        let deaf = Arc::new(Mutex::new(false));
        let settings = Settings::now();
        let is_deaf = Arc::clone(&deaf);
        ctrlc::set_handler(move || {
            let deaf = is_deaf.lock().unwrap_or_else(PoisonError::into_inner);
            if !*deaf {
                settings.restore();
                process::exit(Status::Interrupted as i32);
            }
        })
        .context("could not listen for Ctrl-C")?;
        Ok(Self { term: Term::stderr(), deaf })
    }

    /// Print something.
    ///
    /// # Errors
    /// The terminal is gone.
    #[expect(clippy::unused_self, reason = "it is the terminal's")]
    pub(crate) fn say(&self, text: &str) -> Result<()> {
        let mut stderr = io::stderr().lock();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()?;
        Ok(())
    }

    /// Ask for a key, which is shown behind the question.
    ///
    /// # Errors
    /// [`Interrupted`]; the terminal is gone.
    pub(crate) fn key(&self, question: &str) -> Result<Answer> {
        loop {
            self.say(&format!("{question} "))?;
            let answer = match self.term.read_key_raw() {
                Ok(Key::Char('\u{4}')) => Answer::End,
                Ok(Key::Char(key)) => Answer::Key(key),
                Ok(Key::Enter) => Answer::Again,
                Ok(Key::CtrlC) => {
                    self.say("\n")?;
                    return Err(Interrupted.into());
                }
                // Arrows and the like mean nothing here.
                Ok(_) => Answer::Key('?'),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Answer::End,
                Err(error) => return Err(error).context("could not read from the terminal"),
            };
            match answer {
                Answer::Key(key) if key.is_control() => self.say("\n")?,
                Answer::Key(key) => {
                    self.say(&format!("{key}\n"))?;
                    return Ok(answer);
                }
                Answer::Again | Answer::End => {
                    self.say("\n")?;
                    return Ok(answer);
                }
            }
        }
    }

    /// Ask for a line; `None` when there is none to come.
    ///
    /// # Errors
    /// The terminal is gone.
    pub(crate) fn line(&self, question: &str) -> Result<Option<String>> {
        self.say(&format!("{question} "))?;
        let mut line = String::new();
        match io::stdin().read_line(&mut line) {
            Ok(0) => {
                self.say("\n")?;
                Ok(None)
            }
            Ok(_) => Ok(Some(line.trim().to_owned())),
            // Keys that are no UTF-8.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Some(String::new())),
            Err(error) => Err(error).context("could not read from the terminal"),
        }
    }

    /// How many columns there are now.
    pub(crate) fn width(&self) -> usize {
        usize::from(self.term.size().1)
    }

    /// There are no more questions: what is written now is written to the end.
    pub(crate) fn close(&self) {
        self.set_deaf(true);
    }

    /// Let another program have the terminal, and Ctrl-C for itself.
    pub(crate) fn lend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set_deaf(true);
        let done = work();
        self.set_deaf(false);
        done
    }

    fn set_deaf(&self, deaf: bool) {
        *self.deaf.lock().unwrap_or_else(PoisonError::into_inner) = deaf;
    }
}

/// How the terminal is set, so that it can be left as it was when the program ends while it waits for a key.
struct Settings {
    #[cfg(unix)]
    termios: Option<rustix::termios::Termios>,
}

impl Settings {
    #[cfg(unix)]
    fn now() -> Self {
        Self { termios: rustix::termios::tcgetattr(io::stdin()).ok() }
    }

    #[cfg(not(unix))]
    fn now() -> Self {
        Self {}
    }

    #[cfg_attr(not(unix), expect(clippy::unused_self, reason = "the console restores itself"))]
    fn restore(&self) {
        #[cfg(unix)]
        if let Some(termios) = &self.termios {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(io::stdin(), now, termios);
        }
    }
}
