//! `--show-files` and `--show-settings`.

use std::fmt::Write as _;

use anyhow::Result;
use safemig_transforms::settings::Portability;

use super::Session;
use crate::Status;
use crate::cli::Output;
use crate::naming_convention::NamingConvention;
use crate::project::{self, Group};
use crate::terminal::Terminal;

/// The files that are reported, a line each.
pub(super) fn files(session: &Session) -> String {
    let mut files: Vec<&str> = Vec::new();
    for group in &session.histories.groups {
        files.extend(group.reported().map(|(_, migration)| migration.path.as_str()));
        let invalid = group.invalid.iter().filter(|invalid| invalid.file.reported);
        files.extend(invalid.map(|invalid| invalid.shown.as_str()));
    }
    files.extend(session.histories.environments.iter().map(project::Environment::shown));
    files.sort_unstable();
    files.iter().flat_map(|file| [file, "\n"]).collect()
}

/// What holds, and where it comes from.
pub(super) fn settings(session: &Session) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key}: {value}");
    };
    let rules = |set: &crate::selection::RuleSet| set.iter().collect::<Vec<_>>().join(", ");
    let config = session.config.path.as_ref().map(|path| project::shown(path, &session.directory));
    line("configuration", config.as_deref().unwrap_or("none"));
    line("rules", &rules(&session.rules.selected));
    line("fixable", &rules(&session.rules.fixable));
    if let Some(baseline) = session.rules.limits.baseline() {
        line("baseline", baseline);
    }
    for group in &session.histories.groups {
        text.push('\n');
        text.push_str(&project(session, group));
    }
    text
}

fn project(session: &Session, group: &Group) -> String {
    let shown = |path: &std::path::Path| project::shown(path, &session.directory);
    let alembic = &group.project;
    let config = match &alembic.config_path {
        Some(path) => format!("{} [{}]", shown(path), alembic.section),
        None => "none".to_owned(),
    };
    let locations: Vec<String> = alembic.version_locations.iter().map(|path| shown(path)).collect();
    let version = |found: &Option<crate::versions::Found>| {
        found.as_ref().map_or_else(
            || "unknown".to_owned(),
            |found| {
                let relative = project::shown(std::path::Path::new(&found.source), &session.directory);
                crate::versions::Found { source: relative, ..found.clone() }.to_string()
            },
        )
    };
    let naming = match &group.naming {
        NamingConvention::None => "none".to_owned(),
        NamingConvention::Set { path, line, .. } => format!("{}:{line}", shown(path)),
        NamingConvention::Listener { path, line, .. } => format!("by the listener in {}:{line}", shown(path)),
        NamingConvention::Unknown(reason) => format!("unknown: {reason}"),
    };
    let portability = match group.history.portability {
        Portability::PostgresOnly => "none",
        Portability::Sqlite => "SQLite",
        Portability::Many => "several",
    };
    let heads: Vec<&str> = group
        .history
        .map
        .heads
        .iter()
        .map(|head| group.history.migrations[*head].revision.as_str())
        .collect();
    let recursive = if alembic.recursive { " (recursively)" } else { "" };
    let lines = [
        ("Alembic configuration", config),
        ("version locations", locations.join(", ") + recursive),
        ("revisions", group.history.migrations.len().to_string()),
        ("heads", heads.join(", ")),
        ("PostgreSQL", group.settings.target.postgres.to_string()),
        ("Alembic", version(&group.versions.alembic)),
        ("SQLAlchemy", version(&group.versions.sqlalchemy)),
        ("naming convention", naming),
        ("other databases", portability.to_owned()),
    ];
    lines.iter().flat_map(|(key, value)| [key, ": ", value, "\n"]).collect()
}

/// Show what was asked for instead of findings.
///
/// # Errors
/// stdout can't be written to.
pub(super) fn instead(session: &Session, output: &Output, terminal: &Terminal) -> Result<Option<Status>> {
    let text = if output.show_settings {
        settings(session)
    } else if output.show_files {
        files(session)
    } else {
        return Ok(None);
    };
    terminal.print(&text)?;
    let failed = !session.histories.problems.is_empty();
    Ok(Some(if failed { Status::Failed } else { Status::Clean }))
}
