//! Files that are written all or not at all.
//!
//! A model that declares an index and the revision that creates it are one change, as is a whole history.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::Session;
use crate::analysis::{Judged, NOT_WRITTEN};
use crate::application::JudgedApplication;
use crate::follow_up::NewFile;
use crate::project::{self, Group};
use crate::report::count;
use crate::support::{Completed, Support};
use crate::terminal::Terminal;
use crate::write::{self, Change};

/// Below the script directory: what was to be written by a run that was interrupted.
pub(super) fn journal(group: &Group) -> PathBuf {
    group.project.script_location.join(".safemig-journal")
}

/// Undo what an interrupted run has written; whether there was one.
pub(super) fn recover(session: &Session, dry_run: bool, terminal: &Terminal) -> Result<bool> {
    let mut found = false;
    for group in &session.histories.groups {
        let journal = journal(group);
        if dry_run && write::is_interrupted(&journal) {
            bail!(
                "a run was interrupted while it wrote; {} says what\n\
                 hint: `safemig fix` undoes that first",
                project::shown(&journal, &session.directory)
            );
        }
        if let Some(files) = write::recover(&journal, &mut |_| {})? {
            terminal.warning(&format!(
                "a run was interrupted while it wrote {}; all are as they were before it",
                count(files, "file")
            ));
            found = true;
        }
    }
    Ok(found)
}

/// Write every migration that is cut into several revisions, each with these. One that can't be written keeps its
/// findings, and the others go on.
pub(super) fn write_cut(judged: &mut [Judged], terminal: &Terminal) -> bool {
    let mut all = true;
    for one in judged.iter_mut().filter(|one| !one.parts.is_empty()) {
        let changes: Vec<Change> = one.changes().map(change).collect();
        if let Err(error) = write::write_all(&changes, &journal(one.group), &mut |_| {}) {
            terminal.error(&error.to_string());
            one.not_written();
            all = false;
        }
    }
    all
}

/// A file that is changed, or created where there is no old text.
pub(super) fn change((path, old, new): (&Path, Option<&str>, &str)) -> Change {
    Change {
        path: path.to_path_buf(),
        old: old.map(|old| old.as_bytes().to_vec()),
        new: new.as_bytes().to_vec(),
    }
}

/// Write every support module. The migrations of one that can't be written stay as they are.
pub(super) fn write_support(
    support: &mut Vec<Completed>,
    judged: &mut [Judged],
    terminal: &Terminal,
) -> bool {
    let number = support.len();
    support.retain(|one| {
        let Support { path, module, .. } = one.support;
        let written = match module.source() {
            Some(old) => write::write_atomically(path, one.new.as_bytes(), old.as_bytes()),
            None => write::create(path, one.new.as_bytes()),
        };
        let Err(error) = written else { return true };
        terminal.error(&error.to_string());
        let own = judged.iter_mut().filter(|judged| std::ptr::eq(judged.group, one.group));
        own.filter(|judged| judged.fixed.is_some()).for_each(Judged::not_written);
        false
    });
    support.len() == number
}

/// Write the new revision of every history together with the models of its application that change. Of those that
/// can't all be written, none is, and their findings stay.
pub(super) fn write(
    groups: &[Group],
    created: &mut Vec<NewFile>,
    judged: &mut [Judged],
    applications: &mut [JudgedApplication],
    terminal: &Terminal,
) -> bool {
    let mut all = true;
    for (number, group) in groups.iter().enumerate() {
        let new = created.iter().filter(|file| file.group == number);
        let mut changes: Vec<Change> = new.map(|file| change((&file.path, None, &file.source))).collect();
        let application = applications.iter_mut().find(|one| one.files.group == Some(number));
        changes.extend(application.iter().flat_map(|one| one.changes()).map(|(_, change)| change));
        let Err(error) = write::write_all(&changes, &journal(group), &mut |_| {}) else { continue };
        terminal.error(&error.to_string());
        all = false;
        for file in created.extract_if(.., |file| file.group == number) {
            for one in judged.iter_mut() {
                one.not_followed(&file.shown);
            }
        }
        if let Some(application) = application {
            application.leave(NOT_WRITTEN);
        }
    }
    // Without a database, each model is its own.
    for one in applications.iter_mut().filter(|one| one.files.group.is_none()) {
        for (file, change) in one.changes() {
            if let Err(error) =
                write::write_atomically(&change.path, &change.new, change.old.as_deref().unwrap_or_default())
            {
                terminal.error(&error.to_string());
                one.not_written(file);
                all = false;
            }
        }
    }
    all
}
