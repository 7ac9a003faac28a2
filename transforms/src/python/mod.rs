//! Everything that knows Python: the only module that names ruff's crates for parsing.
//!
//! **Architecture Invariant:** no other module depends on how ruff spells its syntax tree, except
//! `operations` and `environment` (which read calls) and `layout` (which edits them).

pub mod edit;
pub(crate) mod find;
mod format;
pub mod scope;
pub mod text;
pub mod value;

use ruff_python_ast::token::Tokens;
use ruff_python_ast::{Expr, ModModule, Stmt};
use ruff_python_parser::{Parsed, parse_module};
use ruff_source_file::{LineIndex, OneIndexed, SourceCode};
use ruff_text_size::{Ranged, TextRange, TextSize};

/// `sa.types.String` as its parts.
pub(crate) fn dotted(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Name(name) => Some(vec![name.id.as_str()]),
        Expr::Attribute(attribute) => {
            let mut parts = dotted(&attribute.value)?;
            parts.push(attribute.attr.as_str());
            Some(parts)
        }
        _ => None,
    }
}

/// A parsed Python file: its text, its tree and its tokens, read once.
#[derive(Debug)]
pub struct Module {
    source: String,
    parsed: Parsed<ModModule>,
    lines: LineIndex,
}

/// Why a file could not be read as a Python module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// What is wrong, in the parser's words.
    pub message: String,
    /// 1-based line.
    pub line: usize,
    /// 1-based column, in characters.
    pub column: usize,
    /// Where in the source.
    pub range: TextRange,
}

/// A place in a file, 1-based, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// Deeper nesting than this is refused before parsing: the parser recurses, and a stack overflow
/// can't be caught. `CPython` itself stops at 200 parentheses and 100 indentation levels.
const MAX_NESTING: usize = 400;

/// A chain of attribute accesses or calls this long in one logical line is refused likewise.
const MAX_CHAIN: usize = 5_000;

impl Module {
    /// Parse a file.
    ///
    /// # Errors
    /// The first syntax error, with its place. Python 2 is such an error, and so is a file that
    /// nests deeper than `CPython` would accept.
    pub fn parse(source: String) -> Result<Self, SyntaxError> {
        let lines = LineIndex::from_source_text(&source);
        if let Some(offset) = too_deep(&source) {
            let range = TextRange::empty(offset);
            let at = position(&source, &lines, offset);
            return Err(SyntaxError {
                message: "nested too deeply to be a migration".to_owned(),
                line: at.line,
                column: at.column,
                range,
            });
        }
        match parse_module(&source) {
            Ok(parsed) => Ok(Self { source, parsed, lines }),
            Err(error) => {
                let range = clamp(error.location, &source);
                let at = position(&source, &lines, range.start());
                Err(SyntaxError { message: error.error.to_string(), line: at.line, column: at.column, range })
            }
        }
    }

    /// The text, byte for byte as it was read.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, when nothing else is needed any more.
    #[must_use]
    pub fn into_source(self) -> String {
        self.source
    }

    /// The text of one node.
    #[must_use]
    pub fn text(&self, node: impl Ranged) -> &str {
        &self.source[node.range()]
    }

    /// The module's statements.
    #[must_use]
    pub fn body(&self) -> &[Stmt] {
        &self.parsed.syntax().body
    }

    /// The value of the module's docstring.
    #[must_use]
    pub fn docstring(&self) -> Option<String> {
        let Stmt::Expr(expression) = self.body().first()? else { return None };
        let text = expression.value.as_string_literal_expr()?.value.to_str();
        Some(text.replace("\r\n", "\n").replace('\r', "\n"))
    }

    /// All tokens, comments and line breaks included.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        self.parsed.tokens()
    }

    /// Where an offset is, as people count.
    #[must_use]
    pub fn position(&self, offset: TextSize) -> Position {
        position(&self.source, &self.lines, offset)
    }

    /// The offset at which a line (1-based) starts.
    #[must_use]
    pub fn line_start(&self, line: usize) -> TextSize {
        self.lines.line_start(OneIndexed::new(line).unwrap_or(OneIndexed::MIN), &self.source)
    }
}

/// Whether a statement is a string, as a docstring is where it comes first.
pub(crate) fn is_docstring(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(expression) if expression.value.is_string_literal_expr())
}

fn position(source: &str, lines: &LineIndex, offset: TextSize) -> Position {
    let at = SourceCode::new(source, lines).line_column(offset);
    Position { line: at.line.get(), column: at.column.get() }
}

fn clamp(range: TextRange, source: &str) -> TextRange {
    let end = TextSize::of(source);
    let mut start = range.start().min(end);
    while !source.is_char_boundary(start.to_usize()) {
        start -= TextSize::from(1);
    }
    TextRange::new(start, range.end().max(start).min(end))
}

/// Find where brackets, operators or a chain of `.a().b()` nest so deeply that the parser could run
/// out of stack. Strings are not skipped: a false alarm needs thousands of them in one statement.
fn too_deep(source: &str) -> Option<TextSize> {
    let mut depth = 0usize;
    let mut chain = 0usize;
    let mut word = 0;
    let bytes = source.as_bytes();
    for (offset, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || *byte == b'_' {
            continue;
        }
        if matches!(&bytes[word..offset], b"not" | b"lambda" | b"await" | b"else") {
            chain += 1;
        }
        word = offset + 1;
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                chain += 1;
            }
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'-' | b'~' | b'.' | b'+' | b'*' => chain += 1,
            b'\n' if depth == 0 && (offset == 0 || bytes[offset - 1] != b'\\') => chain = 0,
            b'"' | b'\'' | b'#' => chain = 0,
            _ => {}
        }
        if depth > MAX_NESTING || chain > MAX_CHAIN {
            return Some(TextSize::try_from(offset).unwrap_or_default());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_overflow_the_stack_is_refused() {
        for source in [
            format!("x = {}1{}", "(".repeat(50_000), ")".repeat(50_000)),
            format!("x = a{}", ".b()".repeat(100_000)),
            format!("x = {}1", "not ".repeat(100_000)),
            format!("x = {}1", "-".repeat(100_000)),
            format!("x = {}1", "lambda: ".repeat(100_000)),
            format!("x = {}1", "1 if 1 else \\\n".repeat(100_000)),
        ] {
            assert!(Module::parse(source).is_err());
        }
        assert!(Module::parse("x = [\n    'a',\n]\n".repeat(5_000)).is_ok());
    }
}
