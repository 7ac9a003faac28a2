//! Findings with their source, and what the fix does.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, concise};
use crate::terminal::Terminal;

/// Wide enough for a lock and two tables behind a call; longer lines are cut around the call.
const WIDTH: usize = 200;

/// More other places of a finding than this are only counted.
const MOST_PLACES: usize = 8;

pub(crate) fn render(diagnostics: &[Diagnostic], terminal: &Terminal) -> String {
    let renderer = if terminal.colored() { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(WIDTH);
    let mut text = String::new();
    for diagnostic in diagnostics {
        text.push_str(&renderer.render(&groups(diagnostic, terminal)));
        text.push_str("\n\n");
    }
    text
}

fn groups<'a>(diagnostic: &'a Diagnostic, terminal: &Terminal) -> Vec<Group<'a>> {
    let excerpt = Excerpt::of(diagnostic);
    let annotation = AnnotationKind::Primary
        .span(excerpt.range)
        .label(diagnostic.detail.as_ref().map(|detail| detail.label));
    let snippet = Snippet::source(excerpt.text)
        .line_start(excerpt.first_line)
        .path(diagnostic.path)
        .fold(false)
        .annotation(annotation);
    let title = Level::ERROR.no_name().secondary_title(concise::what(diagnostic, terminal));
    let mut groups = vec![title.element(snippet)];
    let Some(detail) = &diagnostic.detail else { return groups };
    if !detail.also.is_empty() {
        let (shown, others) = detail.also.split_at(detail.also.len().min(MOST_PLACES));
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        let text = format!("also {}{more}", shown.join(", "));
        groups.push(Group::with_title(Level::NOTE.secondary_title(text)));
    }
    match &detail.fix {
        Ok(notes) => {
            groups.push(Group::with_title(Level::HELP.secondary_title(detail.help())));
            groups.extend(notes.iter().map(|note| Group::with_title(Level::NOTE.secondary_title(note))));
        }
        Err(reason) => {
            let text = format!("not fixed: {reason}");
            groups.push(Group::with_title(Level::NOTE.secondary_title(text)));
        }
    }
    groups
}

/// The line of a finding and the one before it.
struct Excerpt {
    text: String,
    first_line: usize,
    /// What is underlined, in `text`.
    range: Range<usize>,
}

impl Excerpt {
    fn of(diagnostic: &Diagnostic) -> Self {
        let (source, start) = (diagnostic.source, diagnostic.range.start);
        let line_start = start_of_line(source, start);
        let line = line(source, line_start);
        let before = (diagnostic.start.line > 1)
            .then(|| self::line(source, start_of_line(source, line_start - 1)))
            .filter(|before| !before.trim().is_empty());
        let lead = before.map_or(0, |before| before.len() + 1);
        let text = before.map_or_else(|| line.to_owned(), |before| format!("{before}\n{line}"));
        let bom =
            if line_start == 0 { source.len() - source.trim_start_matches('\u{feff}').len() } else { 0 };
        let at = |offset: usize| lead + offset.saturating_sub(line_start + bom).min(line.len());
        Self {
            range: at(start)..at(diagnostic.range.end),
            first_line: diagnostic.start.line - usize::from(before.is_some()),
            text,
        }
    }
}

fn start_of_line(source: &str, offset: usize) -> usize {
    let mut before = &source[..offset];
    // The offset may be that of a line break itself.
    if source[offset..].starts_with('\n') {
        before = before.strip_suffix('\r').unwrap_or(before);
    }
    before.rfind(['\n', '\r']).map_or(0, |at| at + 1)
}

/// The line that starts at `start`, without its end.
fn line(source: &str, start: usize) -> &str {
    let rest = source[start..].trim_start_matches('\u{feff}');
    &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use safemig_transforms::python::Position;

    use super::*;

    fn excerpt(source: &str, range: Range<usize>, line: usize) -> (String, usize, String) {
        let start = Position { line, column: 1 };
        let (rule, message, path) = (String::new(), "", "");
        let diagnostic = Diagnostic { rule, message, path, source, range, start, end: start, detail: None };
        let excerpt = Excerpt::of(&diagnostic);
        let underlined = excerpt.text[excerpt.range].to_owned();
        (excerpt.text, excerpt.first_line, underlined)
    }

    #[test]
    fn the_line_before_is_shown_unless_it_is_blank() {
        assert_eq!(excerpt("a\nbc d\ne", 2..4, 2), ("a\nbc d".to_owned(), 1, "bc".to_owned()));
        assert_eq!(excerpt("\nbc d", 1..3, 2), ("bc d".to_owned(), 2, "bc".to_owned()));
    }

    #[test]
    fn every_kind_of_line_break_ends_a_line() {
        assert_eq!(excerpt("a\r\nb\r\n", 3..4, 2), ("a\nb".to_owned(), 1, "b".to_owned()));
        assert_eq!(excerpt("a\rb", 2..3, 2).2, "b");
    }

    #[test]
    fn a_range_ends_with_its_first_line() {
        assert_eq!(excerpt("f(\n1)", 0..5, 1), ("f(".to_owned(), 1, "f(".to_owned()));
        assert_eq!(excerpt("f(\n", 2..2, 1).2, "");
    }

    #[test]
    fn a_byte_order_mark_is_not_shown() {
        assert_eq!(excerpt("\u{feff}ab", 4..5, 1), ("ab".to_owned(), 1, "b".to_owned()));
    }
}
