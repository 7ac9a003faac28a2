//! A line for each finding, below the name of its file.

use std::fmt::Write as _;

use super::{Diagnostic, concise};
use crate::terminal::Terminal;

pub(crate) fn render(diagnostics: &[Diagnostic], terminal: &Terminal) -> String {
    let mut text = String::new();
    for file in diagnostics.chunk_by(|a, b| a.path == b.path) {
        let place =
            |diagnostic: &Diagnostic| format!("{}:{}", diagnostic.start.line, diagnostic.start.column);
        let width = file.iter().map(|diagnostic| place(diagnostic).len()).max().unwrap_or_default();
        let path = file.first().map_or("", |diagnostic| diagnostic.path);
        let _ = writeln!(text, "{}:", terminal.style().bold().apply_to(path));
        for diagnostic in file {
            let what = concise::what(diagnostic, terminal);
            let _ = writeln!(text, "  {:<width$}  {what}", place(diagnostic));
        }
        text.push('\n');
    }
    text
}
