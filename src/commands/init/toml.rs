//! `[tool.safemig]` and `[tool.alembic]` of a `pyproject.toml`.

use anyhow::{Context as _, Result};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::OPTIONS;

/// The text with a baseline; in `pyproject.toml` that is in a table.
///
/// # Errors
/// It is no TOML, or `tool` is no table.
pub(super) fn with_baseline(text: &str, head: &str, is_pyproject: bool) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let table =
        if is_pyproject { table(document.as_table_mut(), "safemig")? } else { document.as_table_mut() };
    if table.contains_key("baseline") {
        return Ok(text.to_owned());
    }
    table.insert("baseline", value(head));
    if let Some(Item::Value(Value::String(text))) = table.get_mut("baseline") {
        text.decor_mut().set_suffix("  # it and what comes before it have run in production");
    }
    Ok(restored(&document, text))
}

/// The text with our hook in front of Alembic's others.
///
/// # Errors
/// It is no TOML, or `tool` is no table.
pub(super) fn with_hook(text: &str) -> Result<String> {
    let mut document: DocumentMut = text.parse()?;
    let alembic = table(document.as_table_mut(), "alembic")?;
    let hooks = alembic
        .entry("post_write_hooks")
        .or_insert(Item::ArrayOfTables(ArrayOfTables::new()))
        .as_array_of_tables_mut()
        .context("`tool.alembic.post_write_hooks` is no array of tables")?;
    if hooks.iter().any(|hook| hook.get("name").and_then(Item::as_str) == Some("safemig")) {
        return Ok(text.to_owned());
    }
    let mut ours = Table::new();
    for (key, text) in
        [("name", "safemig"), ("type", "exec"), ("executable", "safemig"), ("options", OPTIONS)]
    {
        ours.insert(key, value(text));
    }
    ours.decor_mut().set_prefix("\n");
    // In a file, tables stand where they were read; a new one comes last.
    hooks.push(ours);
    Ok(restored(&document, text))
}

/// `[tool.NAME]`, which is made if it is not there.
fn table<'a>(document: &'a mut Table, name: &str) -> Result<&'a mut Table> {
    let tool = document.entry("tool").or_insert_with(|| {
        let mut tool = Table::new();
        tool.set_implicit(true);
        Item::Table(tool)
    });
    let tool = tool.as_table_mut().context("`tool` is no table")?;
    let is_new = !tool.contains_key(name);
    let table = tool.entry(name).or_insert_with(toml_edit::table).as_table_mut();
    let table = table.with_context(|| format!("`tool.{name}` is no table"))?;
    if is_new {
        table.decor_mut().set_prefix("\n");
    }
    Ok(table)
}

/// The text of a document, with the line breaks of the file: the library writes its own.
fn restored(document: &DocumentMut, old: &str) -> String {
    let text = document.to_string();
    if super::line_break(old) == "\r\n" { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_added_once() {
        let line = "baseline = \"ab12\"  # it and what comes before it have run in production\n";
        let of = |text: &str| with_baseline(text, "ab12", true).unwrap();
        let after = of("# c\n[project]\nname = \"x\"  # d\n");
        assert_eq!(after, format!("# c\n[project]\nname = \"x\"  # d\n\n[tool.safemig]\n{line}"));
        assert_eq!(of(&after), after);
        assert_eq!(
            of("[tool.safemig]\n# none\nignore = []\n\n[tool.ruff]\n"),
            format!("[tool.safemig]\n# none\nignore = []\n{line}\n[tool.ruff]\n")
        );
        assert_eq!(with_baseline("", "ab12", false).unwrap(), line);
        assert!(with_baseline("x = ", "ab12", true).is_err());
        assert!(with_baseline("tool = 1", "ab12", true).is_err());
    }

    #[test]
    fn a_hook_is_added_once() {
        let before = "[tool.alembic]\nscript_location = \"m\"\n";
        let after = with_hook(before).unwrap();
        assert_eq!(
            after,
            format!(
                "{before}\n[[tool.alembic.post_write_hooks]]\nname = \"safemig\"\ntype = \"exec\"\n\
                 executable = \"safemig\"\noptions = \"fix REVISION_SCRIPT_FILENAME\"\n"
            )
        );
        assert_eq!(with_hook(&after).unwrap(), after);
        let crlf = with_hook(&before.replace('\n', "\r\n")).unwrap();
        assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
    }
}
