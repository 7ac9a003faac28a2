//! Editing source by insertion and re-indentation: what is not concerned stays byte for byte.

pub use ruff_diagnostics::Edit;
use ruff_python_ast::token::TokenKind;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::Module;

/// Put a text into a place.
#[must_use]
pub fn insert(at: TextSize, text: impl Into<String>) -> Edit {
    Edit::insertion(text.into(), at)
}

/// Put a text into the place of another.
#[must_use]
pub fn replace(range: TextRange, text: impl Into<String>) -> Edit {
    let text = text.into();
    if text.is_empty() { Edit::range_deletion(range) } else { Edit::range_replacement(text, range) }
}

/// Sort edits by place; `None` when two overlap. Insertions at one place keep their order.
#[must_use]
pub fn sorted(mut edits: Vec<Edit>) -> Option<Vec<Edit>> {
    edits.sort_by_key(|edit| (edit.start(), edit.end()));
    let overlap = edits.windows(2).any(|pair| pair[0].end() > pair[1].start());
    (!overlap).then_some(edits)
}

/// Apply edits to a whole file; `None` when two overlap.
#[must_use]
pub fn apply(source: &str, edits: Vec<Edit>) -> Option<String> {
    let mut out = String::with_capacity(source.len() + 256);
    let mut at = TextSize::default();
    for edit in sorted(edits)? {
        out.push_str(&source[TextRange::new(at, edit.start())]);
        out.push_str(edit.content().unwrap_or_default());
        at = edit.end();
    }
    out.push_str(&source[at.to_usize()..]);
    Some(out)
}

/// Renders parts of a file at another indentation.
#[derive(Debug)]
pub struct Renderer<'a> {
    module: &'a Module,
    /// Strings that cover more than one line: their inner lines are data.
    strings: Vec<TextRange>,
    newline: &'static str,
}

impl<'a> Renderer<'a> {
    #[must_use]
    pub fn new(module: &'a Module) -> Self {
        let source = module.source();
        let mut strings = Vec::new();
        let mut open = Vec::new();
        for token in module.tokens() {
            match token.kind() {
                TokenKind::String => strings.push(token.range()),
                TokenKind::FStringStart | TokenKind::TStringStart => open.push(token.start()),
                TokenKind::FStringEnd | TokenKind::TStringEnd => {
                    if let Some(start) = open.pop() {
                        strings.push(TextRange::new(start, token.end()));
                    }
                }
                _ => {}
            }
        }
        strings.retain(|range| source.contains_line_break(*range));
        let newline = match source.find('\n') {
            Some(at) if source[..at].ends_with('\r') => "\r\n",
            _ => "\n",
        };
        Self { module, strings, newline }
    }

    /// The file's line break.
    #[must_use]
    pub fn newline(&self) -> &'static str {
        self.newline
    }

    /// The white space in front of the code of the line that contains `offset`.
    #[must_use]
    pub fn indentation(&self, offset: TextSize) -> &'a str {
        let line = self.module.source().line_str(offset);
        &line[..line.len() - line.trim_start_matches([' ', '\t', '\x0c']).len()]
    }

    /// Whether only white space stands in front of `offset` in its line.
    #[must_use]
    pub fn starts_line(&self, offset: TextSize) -> bool {
        let source = self.module.source();
        source[TextRange::new(source.line_start(offset), offset)].trim().is_empty()
    }

    /// The end of the line of `offset`, its line break not included.
    #[must_use]
    pub fn line_end(&self, offset: TextSize) -> TextSize {
        let source = self.module.source();
        let end = source.line_end(offset);
        // `line_end` stops before `\n`; a `\r` in front of it belongs to the break as well.
        if source[..end.to_usize()].ends_with('\r') { end - TextSize::from(1) } else { end }
    }

    fn in_string(&self, offset: TextSize) -> bool {
        self.strings.iter().any(|string| string.start() < offset && offset < string.end())
    }

    /// The text of `range`, with `edits` applied, moved from the indentation `from` to `to`.
    ///
    /// The range starts where code starts (its first line's indentation is not part of it) or at
    /// the start of a line. Blank lines and the inside of strings are left alone.
    #[must_use]
    pub fn render(&self, range: TextRange, edits: &[Edit], from: &str, to: &str) -> String {
        let source = self.module.source();
        let mut lines: Vec<(String, bool)> = vec![(String::new(), self.in_string(range.start()))];
        let mut push = |text: &str, start: Option<TextSize>| {
            let mut offset = start;
            for part in text.split_inclusive('\n') {
                if let Some((line, _)) = lines.last_mut() {
                    line.push_str(part);
                }
                if let Some(offset) = &mut offset {
                    *offset += TextSize::of(part);
                }
                if part.ends_with('\n') {
                    lines.push((String::new(), offset.is_some_and(|offset| self.in_string(offset))));
                }
            }
        };
        let mut at = range.start();
        let mut edits: Vec<&Edit> = edits.iter().filter(|edit| range.contains_range(edit.range())).collect();
        edits.sort_by_key(|edit| (edit.start(), edit.end()));
        for edit in edits {
            push(&source[TextRange::new(at, edit.start())], Some(at));
            push(edit.content().unwrap_or_default(), None);
            at = edit.end();
        }
        push(&source[TextRange::new(at, range.end())], Some(at));

        let whole_lines =
            self.starts_line(range.start()) && source.line_start(range.start()) == range.start();
        let mut out = String::new();
        for (index, (line, in_string)) in lines.iter().enumerate() {
            if *in_string || line.trim().is_empty() {
                out.push_str(line);
            } else if index == 0 && !whole_lines {
                out.push_str(to);
                out.push_str(line);
            } else {
                out.push_str(&reindent(line, from, to));
            }
        }
        out
    }
}

/// Move one line from one indentation to another. A line that is indented less than `from`
/// (a continuation, a comment) moves by as much as it can.
fn reindent(line: &str, from: &str, to: &str) -> String {
    if let Some(rest) = line.strip_prefix(from) {
        return format!("{to}{rest}");
    }
    if let Some(more) = to.strip_prefix(from) {
        return format!("{more}{line}");
    }
    let surplus = from.len().saturating_sub(to.len());
    let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
    line[surplus.min(blank)..].to_owned()
}
