//! `[post_write_hooks]` of an `alembic.ini`.

use super::{OPTIONS, line_break};

const SECTION: &str = "[post_write_hooks]";

/// The text with our hook in front of the others: formatters should see what it has written.
pub(super) fn with_hook(text: &str) -> String {
    let end = line_break(text);
    let settings: String = ["type = exec", "executable = safemig", &format!("options = {OPTIONS}")]
        .iter()
        .map(|setting| ["safemig.", setting, end].concat())
        .collect();
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let Some(start) = lines.iter().position(|line| line.trim_end() == SECTION) else {
        let mut text = text.to_owned();
        if !text.is_empty() {
            text.push_str(if text.ends_with('\n') { end } else { "\n\n" });
        }
        return text + SECTION + end + "hooks = safemig" + end + &settings;
    };
    let stop = (start + 1..lines.len()).find(|at| lines[*at].starts_with('[')).unwrap_or(lines.len());
    let key = (start + 1..stop).find(|at| {
        let name = lines[*at].split(['=', ':']).next().unwrap_or_default();
        name.trim_end() == "hooks" && name.len() < lines[*at].len()
    });
    let Some(key) = key else {
        lines[start] = format!("{SECTION}{end}hooks = safemig{end}{settings}");
        return lines.concat();
    };
    // A value goes on in lines that are indented.
    let last = (key + 1..stop)
        .take_while(|at| lines[*at].starts_with([' ', '\t']) && !lines[*at].trim().is_empty())
        .last()
        .unwrap_or(key);
    let value = lines[key..=last].concat();
    let (name, hooks) = value.split_at(value.find(['=', ':']).map_or(value.len(), |at| at + 1));
    if hooks.split([',', ' ', '\t', '\r', '\n']).any(|hook| hook == "safemig") {
        return text.to_owned();
    }
    let name = name.to_owned();
    let first = hooks.lines().next().unwrap_or_default().trim();
    let separator = if hooks.trim().is_empty() { "" } else { "," };
    let rest = &hooks[hooks.find(first).map_or(0, |at| at + first.len())..];
    let mut value = if first.is_empty() {
        format!("{name} safemig{separator}{hooks}")
    } else {
        format!("{name} safemig{separator} {first}{rest}")
    };
    if !value.ends_with('\n') {
        value.push_str(end);
    }
    lines.splice(key..=last, [value, settings]);
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        "safemig.type = exec\nsafemig.executable = safemig\nsafemig.options = fix REVISION_SCRIPT_FILENAME\n";

    #[track_caller]
    fn becomes(before: &str, after: &str) {
        assert_eq!(with_hook(before), after);
        assert_eq!(with_hook(after), after, "a second time");
    }

    #[test]
    fn without_hooks() {
        becomes(
            "[alembic]\nx = 1\n",
            &format!("[alembic]\nx = 1\n\n[post_write_hooks]\nhooks = safemig\n{OURS}"),
        );
        becomes("[alembic]", &format!("[alembic]\n\n[post_write_hooks]\nhooks = safemig\n{OURS}"));
        becomes(
            "[post_write_hooks]\n# hooks = black\n\n[loggers]\nhooks = x\n",
            &format!("[post_write_hooks]\nhooks = safemig\n{OURS}# hooks = black\n\n[loggers]\nhooks = x\n"),
        );
        becomes("[post_write_hooks]\nhooks =\n", &format!("[post_write_hooks]\nhooks = safemig\n{OURS}"));
    }

    #[test]
    fn before_others() {
        becomes(
            "[post_write_hooks]\n# formatters\nhooks = ruff, black\nruff.type = exec\n",
            &format!(
                "[post_write_hooks]\n# formatters\nhooks = safemig, ruff, black\n{OURS}ruff.type = exec\n"
            ),
        );
        becomes(
            "[post_write_hooks]\nhooks=ruff\n    black\nruff.type = exec\n",
            &format!("[post_write_hooks]\nhooks= safemig, ruff\n    black\n{OURS}ruff.type = exec\n"),
        );
        becomes(
            "[post_write_hooks]\nhooks:\n    ruff\n\nruff.type = exec\n",
            &format!("[post_write_hooks]\nhooks: safemig,\n    ruff\n{OURS}\nruff.type = exec\n"),
        );
        let crlf = with_hook("[post_write_hooks]\r\nhooks = ruff\r\n[loggers]\r\n");
        assert_eq!(crlf.matches('\n').count(), crlf.matches("\r\n").count());
    }
}
