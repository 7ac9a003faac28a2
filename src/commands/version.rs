//! `safemig version`.

use anyhow::Result;

use crate::Status;
use crate::terminal::Terminal;

pub(super) fn run(terminal: &Terminal) -> Result<Status> {
    terminal.print(concat!("safemig ", env!("CARGO_PKG_VERSION"), "\n"))?;
    Ok(Status::Clean)
}
