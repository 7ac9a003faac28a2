//! `# safemig: ignore[rule] why` and `# safemig: file-ignore[rule] why`.

use ruff_python_ast::token::TokenKind;
use ruff_text_size::{Ranged, TextRange};

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
    /// comment that does it.
    #[must_use]
    pub fn suppresses(&self, rule: &str, first_line: usize, last_line: usize) -> Option<&Suppression> {
        self.comments.iter().find(|comment| {
            comment.rules.iter().any(|name| name == rule || name == "ALL")
                && comment.line.is_none_or(|line| (first_line..=last_line).contains(&line))
        })
    }

    /// All comments, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Suppression> {
        self.comments.iter()
    }
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
        assert!(found.suppresses("split-foreign-key", 3, 3).is_some());
        assert!(found.suppresses("split-foreign-key", 5, 5).is_none());
        assert!(found.suppresses("b", 5, 5).is_some());
        assert_eq!(found.iter().next().map(|s| s.reason.as_str()), Some("200 rows"));
    }

    #[test]
    fn a_file_comment_covers_everything_and_a_nameless_one_nothing() {
        assert!(read("# safemig: file-ignore[ALL] dump\nx = 1\n").suppresses("any", 2, 2).is_some());
        assert_eq!(read("# safemig: ignore\nx = 1\n"), Suppressions::default());
    }
}
