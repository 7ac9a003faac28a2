//! The hook in a `.pre-commit-config.yaml`.

use super::line_break;

/// Our entry of `repos`, as far to the right as the others.
pub(super) fn entry(indentation: &str, end: &str) -> String {
    let lines = [
        "- repo: local",
        "  hooks:",
        "    - id: safemig",
        "      name: safemig",
        "      entry: safemig fix --force-exclude",
        "      language: system",
        "      types: [python]",
        "      files: (^|/)(versions|migrations)/",
        "      require_serial: true",
    ];
    lines.iter().map(|line| [indentation, line, end].concat()).collect()
}

/// The text with our hook as the last of `repos`; `None` where that is no list of lines.
pub(super) fn with_hook(text: &str) -> Option<String> {
    let end = line_break(text);
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let is_ours = |line: &String| line.trim_start_matches(['-', ' ']).trim_end() == "id: safemig";
    if lines.iter().any(is_ours) {
        return Some(text.to_owned());
    }
    let start = lines.iter().position(|line| line.starts_with("repos:"))?;
    let value = lines[start]["repos:".len()..].split('#').next().unwrap_or_default().trim().to_owned();
    if value == "[]" {
        lines[start] = format!("repos:{end}{}", entry("  ", end));
        return Some(lines.concat());
    }
    if !value.is_empty() {
        return None;
    }
    let is_text = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let first = (start + 1..lines.len()).find(|at| is_text(&lines[*at]))?;
    let indentation = lines[first][..lines[first].len() - lines[first].trim_start().len()].to_owned();
    if !lines[first].trim_start().starts_with("- ") {
        return None;
    }
    let goes_on = |line: &str| {
        let rest = line.strip_prefix(indentation.as_str());
        !is_text(line) || rest.is_some_and(|rest| rest.starts_with([' ', '-']))
    };
    let stop = (first..lines.len()).find(|at| !goes_on(&lines[*at])).unwrap_or(lines.len());
    let last = (first..stop).rfind(|at| is_text(&lines[*at]))?;
    if !lines[last].ends_with('\n') {
        lines[last].push_str(end);
    }
    lines.insert(last + 1, entry(&indentation, end));
    Some(lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(before: &str, after: &str) {
        assert_eq!(with_hook(before).as_deref(), Some(after));
        assert_eq!(with_hook(after).as_deref(), Some(after), "a second time");
    }

    #[test]
    fn it_is_the_last_of_the_repositories() {
        let ruff = "  - repo: x\n    hooks:\n      - id: ruff\n";
        let ours = entry("  ", "\n");
        becomes(&format!("repos:\n{ruff}"), &format!("repos:\n{ruff}{ours}"));
        becomes(
            &format!("# c\nrepos:  # d\n\n{ruff}\n# e\nci:\n  skip: [x]\n"),
            &format!("# c\nrepos:  # d\n\n{ruff}{ours}\n# e\nci:\n  skip: [x]\n"),
        );
        becomes(
            "repos:\n- repo: x\n  hooks: []",
            &format!("repos:\n- repo: x\n  hooks: []\n{}", entry("", "\n")),
        );
        becomes("repos: []\n", &format!("repos:\n{ours}"));
    }

    #[test]
    fn what_is_no_list_of_lines_is_left() {
        assert_eq!(with_hook("repos: [{repo: local}]\n"), None);
        assert_eq!(with_hook("repos: *all\n"), None);
        assert_eq!(with_hook("hooks: []\n"), None);
    }
}
