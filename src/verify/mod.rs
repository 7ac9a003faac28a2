//! Proves on a real PostgreSQL that a rewrite changes nothing but the locks.
//!
//! The original history is run on a scratch database, revision by revision. Before each revision that the rewrite
//! touched, the database is cloned: the original revision runs on one clone, the rewritten one on another, and what
//! they leave is compared; then both are taken back. At the end the whole rewritten history is run by one command.
//!
//! | file | knows |
//! |---|---|
//! | `proof` | what is run, and what is compared |
//! | `server`, `cluster`, `tls` | scratch databases, and where PostgreSQL is |
//! | `driver` (`driver.py`, `env.py`, `stubs.py`), `python` | Alembic in the project's own Python |
//! | `tree` | the directories of the two histories |
//! | `snapshot` | what is in a database |
//! | `rows`, `constraints`, `initial_schema` | what is put there |
//! | `trace` | locks and work |
//! | `crash` | interruptions |
//! | `blocker` | how to look at `CONCURRENTLY` in the middle |
//! | `report` | how the outcome is shown |

mod blocker;
mod cluster;
mod constraints;
mod crash;
pub(crate) mod driver;
mod halfway;
pub(crate) mod initial_schema;
pub(crate) mod interrupt;
pub(crate) mod proof;
pub(crate) mod python;
pub(crate) mod report;
mod rows;
pub(crate) mod server;
mod snapshot;
mod tls;
mod trace;
pub(crate) mod tree;
#[cfg(test)]
mod type_changes;
