//! A line for each finding: `path:line:column: rule [*] message`.

use std::fmt::Write as _;

use super::Diagnostic;
use crate::terminal::Terminal;

pub(crate) fn render(diagnostics: &[Diagnostic], terminal: &Terminal) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        let bold = terminal.style().bold();
        let separator = terminal.style().cyan().apply_to(":");
        let _ = writeln!(
            text,
            "{}{separator}{}{separator}{}{separator} {}",
            bold.apply_to(diagnostic.path),
            diagnostic.start.line,
            diagnostic.start.column,
            what(diagnostic, terminal),
        );
    }
    text
}

/// `rule [*] message`.
pub(super) fn what(diagnostic: &Diagnostic, terminal: &Terminal) -> String {
    let rule = terminal.style().red().bold().apply_to(&diagnostic.rule);
    let colon = if diagnostic.detail.is_none() { ":" } else { "" };
    let star = if diagnostic.is_fixable() {
        format!(" [{}]", terminal.style().cyan().apply_to("*"))
    } else {
        String::new()
    };
    format!("{rule}{colon}{star} {}", diagnostic.message)
}
