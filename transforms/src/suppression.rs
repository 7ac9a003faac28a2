//! `# safemig: ignore[rule] why` and `# safemig: file-ignore[rule] why`.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use crate::python::Module;

/// The suppression comments of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suppressions {
    comments: Vec<Suppression>,
}

/// One comment.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppression {
    /// The rule names between the brackets, or `ALL`.
    pub rules: Vec<String>,
    /// What follows the brackets.
    pub reason: String,
    pub range: TextRange,
    /// The line (1-based) of the statement that it is about; `None` for the whole file.
    pub line: Option<usize>,
}

impl Suppressions {
    /// Find the comments of a file.
    #[must_use]
    pub fn read(module: &Module) -> Self {
        let mut comments = Vec::new();
        if !module.source().contains("safemig:") {
            return Self::default();
        }
        let tokens: Vec<_> = module.tokens().iter().collect();
        for (position, token) in tokens.iter().enumerate() {
            if token.kind() != TokenKind::Comment {
                continue;
            }
            let Some((whole_file, rules, reason)) = parse(module.text(token.range())) else { continue };
            let own_line = position == 0
                || matches!(
                    tokens[position - 1].kind(),
                    TokenKind::Newline | TokenKind::NonLogicalNewline | TokenKind::Indent | TokenKind::Dedent
                );
            let line = if whole_file {
                None
            } else if own_line {
                // The next code below, comments skipped.
                tokens[position..]
                    .iter()
                    .find(|token| {
                        !matches!(
                            token.kind(),
                            TokenKind::Comment
                                | TokenKind::NonLogicalNewline
                                | TokenKind::Newline
                                | TokenKind::Indent
                                | TokenKind::Dedent
                        )
                    })
                    .map(|token| module.position(token.start()).line)
            } else {
                Some(module.position(token.start()).line)
            };
            comments.push(Suppression { rules, reason, range: token.range(), line });
        }
        Self { comments }
    }

    /// Whether a finding of `rule` on the statement that covers these lines is suppressed: the
    /// comment that does it. One without a reason does nothing where a reason is required.
    #[must_use]
    pub fn suppresses(
        &self,
        rule: &str,
        first_line: usize,
        last_line: usize,
        reason_required: bool,
    ) -> Option<&Suppression> {
        self.comments.iter().filter(|comment| !(reason_required && comment.reason.is_empty())).find(
            |comment| {
                comment.rules.iter().any(|name| name == rule || name == "ALL")
                    && comment.line.is_none_or(|line| (first_line..=last_line).contains(&line))
            },
        )
    }

    /// All comments, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Suppression> {
        self.comments.iter()
    }
}

/// Write a comment above each of the statements, which suppresses a rule there: the rule's name and the reason,
/// which may be empty.
///
/// `None` when a comment has no place: then the text would not be the same Python.
#[must_use]
pub fn insert(module: &Module, statements: &[(TextRange, &str)], why: &str) -> Option<String> {
    let why: String = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut places: BTreeMap<TextSize, BTreeSet<&str>> = BTreeMap::new();
    for (statement, rule) in statements {
        places.entry(first_line(module, statement.start())).or_default().insert(rule);
    }
    let source = module.source();
    let mut text = String::with_capacity(source.len());
    let mut done = TextSize::default();
    for (start, rules) in places {
        let line = source.full_line_str(start);
        let code = line.trim_start_matches([' ', '\t', '\u{c}']);
        let indentation = &line[..line.len() - code.len()];
        let end = match line.as_bytes() {
            [.., b'\r', b'\n'] => "\r\n",
            [.., b'\r'] => "\r",
            _ => "\n",
        };
        let rules: Vec<_> = rules.into_iter().collect();
        let comment = format!("# safemig: ignore[{}] {why}", rules.join(", "));
        text.push_str(&source[TextRange::new(done, start)]);
        text.push_str(indentation);
        text.push_str(comment.trim_end());
        text.push_str(end);
        done = start;
    }
    text.push_str(&source[done.to_usize()..]);
    let next = Module::parse(text).ok()?;
    let code = |module: &Module| -> Vec<(TokenKind, String)> {
        let tokens = module
            .tokens()
            .iter()
            .filter(|token| !matches!(token.kind(), TokenKind::Comment | TokenKind::NonLogicalNewline));
        tokens.map(|token| (token.kind(), module.text(token.range()).to_owned())).collect()
    };
    (code(module) == code(&next)).then(|| next.into_source())
}

/// The start of the line on which the code around `offset` begins: a line after a backslash belongs to the one before.
fn first_line(module: &Module, offset: TextSize) -> TextSize {
    let source = module.source();
    let mut start = source.line_start(offset);
    while start > TextSize::default() {
        let before = source[..start.to_usize()].trim_end_matches(['\r', '\n']);
        if !before.ends_with('\\') {
            break;
        }
        start = source.line_start(TextSize::of(before));
    }
    start
}

/// `# safemig: ignore[a, b] why` → (is it for the file, rules, reason).
fn parse(comment: &str) -> Option<(bool, Vec<String>, String)> {
    let text = comment.trim_start_matches('#').trim_start().strip_prefix("safemig:")?.trim_start();
    let (whole_file, rest) = match text.strip_prefix("file-ignore") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("ignore")?),
    };
    let (rules, reason) = rest.trim_start().strip_prefix('[')?.split_once(']')?;
    let rules = rules.split(',').map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect();
    Some((whole_file, rules, reason.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Suppressions {
        Suppressions::read(&Module::parse(source.to_owned()).expect("valid Python"))
    }

    #[test]
    fn a_comment_covers_its_statement() {
        let found = read(
            "# safemig: ignore[split-foreign-key] 200 rows\n# and more\nop.x()\n\nop.y()  # safemig: ignore[a, b]\n",
        );
        assert!(found.suppresses("split-foreign-key", 3, 3, false).is_some());
        assert!(found.suppresses("split-foreign-key", 5, 5, false).is_none());
        assert!(found.suppresses("b", 5, 5, false).is_some());
        assert_eq!(found.iter().next().map(|s| s.reason.as_str()), Some("200 rows"));
        assert!(found.suppresses("split-foreign-key", 3, 3, true).is_some());
        assert!(found.suppresses("b", 5, 5, true).is_none(), "it does not say why");
    }

    /// Suppresses `rule` at every `op.` of the source.
    fn inserted(source: &str, why: &str) -> Option<String> {
        let module = Module::parse(source.to_owned()).expect("valid Python");
        let statements: Vec<_> = source
            .match_indices("op.")
            .map(|(at, _)| {
                let at = TextSize::try_from(at).expect("short");
                (TextRange::at(at, TextSize::new(3)), "rule")
            })
            .collect();
        insert(&module, &statements, why)
    }

    #[test]
    fn a_comment_is_written_above_its_statement() {
        assert_eq!(
            inserted("if x:\n\top.a(\n1)\n\n    # c\nop.b()", "200  rows\n").as_deref(),
            Some(
                "if x:\n\t# safemig: ignore[rule] 200 rows\n\top.a(\n1)\n\n    # c\n\
                 # safemig: ignore[rule] 200 rows\nop.b()"
            )
        );
        assert_eq!(
            inserted("def f():\r\n    x; op.a(); op.b()\r\n", "").as_deref(),
            Some("def f():\r\n    # safemig: ignore[rule]\r\n    x; op.a(); op.b()\r\n")
        );
        assert_eq!(
            inserted("x = 1; \\\nop.b()\n", "").as_deref(),
            Some("# safemig: ignore[rule]\nx = 1; \\\nop.b()\n")
        );
        let both = read(&inserted("op.a()\nop.b()\n", "").expect("a place"));
        assert!(
            both.suppresses("rule", 2, 2, false).is_some() && both.suppresses("rule", 4, 4, false).is_some()
        );
    }

    #[test]
    fn a_file_comment_covers_everything_and_a_nameless_one_nothing() {
        assert!(read("# safemig: file-ignore[ALL] dump\nx = 1\n").suppresses("any", 2, 2, false).is_some());
        assert_eq!(read("# safemig: ignore\nx = 1\n"), Suppressions::default());
    }
}
