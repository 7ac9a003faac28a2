//! New revisions at the head of a history: what fixes that older revisions can't have need.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use safemig_transforms::catalog::Catalog;
use safemig_transforms::migration::Migration;
use safemig_transforms::revision::{self, NewRevision, Step, Steps};

use crate::analysis::{Judged, Rules};
use crate::application::JudgedApplication;
use crate::project::{Group, shown};

/// A revision file that is not there yet.
#[derive(Debug)]
pub(crate) struct NewFile {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// As reports show it.
    pub(crate) shown: String,
    pub(crate) source: String,
    /// The rules of the findings that it fixes, as far as they change nothing else.
    pub(crate) rules: Vec<String>,
    /// The number of the history that it belongs to.
    pub(crate) group: usize,
}

/// The revision that fixes what the migrations of a group, or its application, need, if anything. The verdicts say
/// so, or why not.
pub(crate) fn of(
    (number_of_group, group): (usize, &Group),
    judged: &mut [Judged],
    mut application: Option<&mut JudgedApplication>,
    rules: &Rules,
    directory: &Path,
    from_stdin: bool,
) -> Option<NewFile> {
    let is_ours =
        |one: &Judged| group.history.migrations.iter().any(|other| std::ptr::eq(other, one.migration));
    let left_out: BTreeSet<_> = judged.iter().filter(|one| is_ours(one)).flat_map(Judged::left_out).collect();
    let end = group.history.end(&group.settings);
    let mut refused = Vec::new();
    let (places, file) = loop {
        let mut steps = Steps::new(&end, left_out.clone(), refused.clone());
        let mut fixed = Vec::new();
        let mut places = Vec::new();
        for (index, one) in judged.iter_mut().enumerate().filter(|(_, one)| is_ours(one)) {
            for (number, finding) in one.report.findings.iter().enumerate() {
                if finding.new_revision().is_empty() || rules.refusal(finding).is_some() {
                    continue;
                }
                match steps.add(finding.new_revision()) {
                    Ok(()) => {
                        places.push((index, number));
                        fixed.push(finding.rule.name());
                    }
                    Err(reason) => one.verdicts[number] = Err(reason),
                }
            }
        }
        if let Some(application) = &mut application {
            fixed.extend(application.add_to(&mut steps));
        }
        let steps = steps.all();
        if steps.is_empty() {
            return None;
        }
        let file = if from_stdin {
            Err("what stands on standard input can't be followed by a new revision".to_owned())
        } else {
            write(group, steps, &end, directory)
        };
        if file.is_err() && refused.is_empty() && steps.len() > 1 {
            // One that can't be made keeps none of the others back.
            let alone = |step: &Step| write(group, std::slice::from_ref(step), &end, directory).err();
            refused = steps.iter().filter_map(|step| Some((step.clone(), alone(step)?))).collect();
            if !refused.is_empty() && refused.len() < steps.len() {
                continue;
            }
        }
        let file = file.map(|(path, source)| NewFile {
            shown: shown(&path, directory),
            path,
            source,
            rules: fixed,
            group: number_of_group,
        });
        break (places, file);
    };
    for (index, number) in places {
        let one = &mut judged[index];
        one.verdicts[number] = match &file {
            Ok(file) => Ok(vec![format!("{} does it", file.shown)]),
            Err(reason) => Err(reason.clone()),
        };
        one.followed_by = file.as_ref().ok().map(|file| file.shown.clone());
    }
    if let Some(application) = application {
        application.followed(file.as_ref().map(|file| file.shown.as_str()).map_err(String::as_str));
    }
    file.ok()
}

/// A new revision at the head of a group, as a file beside it.
///
/// # Errors
/// Why there is no place for it.
fn write(
    group: &Group,
    steps: &[Step],
    end: &Catalog,
    directory: &Path,
) -> Result<(PathBuf, String), String> {
    let creates = steps.iter().any(|step| matches!(step, Step::CreateIndex(_)));
    let drops = steps.iter().any(|step| matches!(step, Step::DropIndex(_)));
    let message = match (creates, drops) {
        (true, true) => "Create missing indexes, drop covered ones",
        (true, false) => "Create missing indexes",
        _ => "Drop covered indexes",
    };
    if !group.invalid.is_empty() || !group.unclear.is_empty() {
        return Err("the history is not whole, so that a new revision has no place".to_owned());
    }
    let new = group.history.new_revision(message, steps, end, &group.settings)?;
    let [head] = group.history.map.heads[..] else { return Err("the history has several heads".to_owned()) };
    let parent = &group.history.migrations[head];
    let name = file_name(group.project.file_template.as_deref(), &new, parent);
    let beside = group.files[head].path.parent().unwrap_or(directory);
    Ok((beside.join(name), new.source))
}

/// The name that Alembic would give to the file, `file_template` of its configuration. The date is that of
/// the revision before: what is written depends on what is there, and on nothing else.
fn file_name(template: Option<&str>, new: &NewRevision, parent: &Migration) -> String {
    const DEFAULT: &str = "%(rev)s_%(slug)s";
    let slug = revision::slug(&new.message);
    let date = date(parent.module.source());
    let fill = |template: &str| -> Option<String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find("%(") {
            out.push_str(&rest[..at]);
            let (key, format) = rest[at + 2..].split_once(')')?;
            let end = format.find(|c: char| c.is_ascii_alphabetic())?;
            let width = format[..end].trim_start_matches('.').trim_start_matches('0').parse().unwrap_or(0);
            rest = &format[end + 1..];
            match key {
                "rev" => out.push_str(&new.id),
                "slug" => out.push_str(&slug),
                _ => {
                    let number = date.as_ref()?.get(
                        ["year", "month", "day", "hour", "minute", "second"]
                            .iter()
                            .position(|part| *part == key)?,
                    )?;
                    out.push_str(&format!("{number:0width$}"));
                }
            }
        }
        out.push_str(rest);
        Some(out)
    };
    let stem = template.and_then(fill).or_else(|| fill(DEFAULT)).unwrap_or_else(|| new.id.clone());
    format!("{stem}.py")
}

/// Year, month, day, hour, minute and second of `Create Date: 2024-01-31 12:59:59.123456`.
fn date(source: &str) -> Option<Vec<u32>> {
    let (_, behind) = source.split_once("Create Date:")?;
    let line = behind.lines().next()?;
    let numbers: Vec<u32> =
        line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).take(6).collect();
    (numbers.len() == 6).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use safemig_transforms::migration::Parsed;

    use super::*;

    #[test]
    fn the_name_is_the_projects() {
        let source = "\"\"\"x\n\nRevision ID: a\nRevises: \nCreate Date: 2024-01-31 07:05:09.123\n\n\"\"\"\n\
                      revision = 'a'\ndown_revision = None\n";
        let Ok(Parsed::Migration(parent)) = Migration::parse("a.py".to_owned(), source.to_owned()) else {
            panic!("it is a revision");
        };
        let new =
            NewRevision { id: "b".to_owned(), message: "Add it, now!".to_owned(), source: String::new() };
        let name = |template| file_name(template, &new, &parent);
        assert_eq!(name(None), "b_add_it_now.py");
        assert_eq!(
            name(Some("%(year)d_%(month).2d_%(day).2d_%(hour).2d%(minute).2d-%(rev)s_%(slug)s")),
            "2024_01_31_0705-b_add_it_now.py"
        );
        assert_eq!(name(Some("%(epoch)s_%(rev)s")), "b_add_it_now.py", "what is not known is left out");
    }
}
