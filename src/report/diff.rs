//! Unified diffs that `git apply` and `patch` understand.

use std::fmt::Write as _;

use similar::{Algorithm, TextDiff};

use crate::terminal::Terminal;

/// The change from `old`, `None` for a file that is not there yet, to `new`.
pub(crate) fn render(path: &str, old: Option<&str>, new: &str, terminal: &Terminal) -> String {
    let from = old.map_or_else(|| "/dev/null".to_owned(), |_| header("a", path));
    let old = old.unwrap_or_default();
    // Not `from_lines`, which also splits at a lone carriage return: git doesn't.
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let diff =
        TextDiff::configure().algorithm(Algorithm::Patience).newline_terminated(true).diff_slices(&old, &new);
    let plain = diff.unified_diff().header(&from, &header("b", path)).to_string();
    if terminal.colored() { color(&plain, terminal) } else { plain }
}

/// The name of a file behind `---` or `+++`.
fn header(side: &str, path: &str) -> String {
    let path = format!("{side}/{path}");
    if path.contains(|letter: char| letter.is_control() || letter == '"' || letter == '\\') {
        return quoted(&path);
    }
    // GNU patch takes what follows a space for a date, unless a tab ends the name.
    if path.contains(' ') { format!("{path}\t") } else { path }
}

/// As git quotes names: those of C.
fn quoted(path: &str) -> String {
    let mut text = String::from("\"");
    for letter in path.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            letter if letter.is_ascii_control() => {
                let _ = write!(text, "\\{:03o}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    text
}

fn color(plain: &str, terminal: &Terminal) -> String {
    let mut text = String::new();
    for (number, line) in plain.split_inclusive('\n').enumerate() {
        let (content, end) = line.strip_suffix('\n').map_or((line, ""), |content| (content, "\n"));
        let style = match content.as_bytes().first() {
            _ if number < 2 => terminal.style().bold(),
            Some(b'@') => terminal.style().cyan(),
            Some(b'+') => terminal.style().green(),
            Some(b'-') => terminal.style().red(),
            _ => terminal.style(),
        };
        let _ = write!(text, "{}{end}", style.apply_to(content));
    }
    text
}
