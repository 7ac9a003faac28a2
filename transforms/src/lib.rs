//! The pure core of safemig: source text in, findings and rewritten text out.
pub mod analysis;
pub mod catalog;
pub mod environment;
pub mod history;
pub mod layout;
pub mod lineage;
pub mod migration;
pub mod naming;
pub mod operations;
pub mod python;
pub mod recipe;
pub mod rerun;
pub mod rules;
pub mod settings;
pub mod suppression;
pub mod types;
