//! Ctrl-C, and the other ways to ask a program to end.
//!
//! What verifying leaves behind is removed where it is dropped, so the program must not simply end: the
//! Pythons that it waits for are killed, and everything else follows from that.

use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context as _, Result};

/// A child process that others wait for.
pub(crate) type SharedChild = Arc<Mutex<Child>>;

/// The user wants the program to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

#[derive(Debug, Default)]
struct State {
    requested: AtomicBool,
    children: Mutex<Vec<Weak<Mutex<Child>>>>,
}

/// Whether the user wants the program to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

impl Interrupt {
    /// Listen for SIGINT, SIGTERM and SIGHUP; to be called once.
    ///
    /// # Errors
    /// The operating system refuses.
    pub(crate) fn listen() -> Result<Self> {
        let interrupt = Self::default();
        let state = Arc::clone(&interrupt.0);
        ctrlc::set_handler(move || {
            state.requested.store(true, Ordering::SeqCst);
            let children = state.children.lock().unwrap_or_else(PoisonError::into_inner);
            for child in children.iter().filter_map(Weak::upgrade) {
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        })
        .context("could not listen for Ctrl-C")?;
        Ok(interrupt)
    }

    /// Kill this child, too, when the time comes.
    pub(crate) fn watch(&self, child: &SharedChild) {
        let mut children = self.0.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(child));
    }

    /// # Errors
    /// [`Interrupted`], once the user has asked for it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.requested.load(Ordering::SeqCst) { Err(Interrupted.into()) } else { Ok(()) }
    }
}
