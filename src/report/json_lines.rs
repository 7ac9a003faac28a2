//! A JSON document for each finding, on a line of its own.

use super::Diagnostic;
use super::json::Finding;

pub(crate) fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(|diagnostic| serde_json::to_string(&Finding::new(diagnostic)).unwrap_or_default() + "\n")
        .collect()
}
