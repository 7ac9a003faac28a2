//! `# safemig: ignore[rule] why` and `# safemig: file-ignore[rule] why`.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use crate::python::Module;
use crate::rules::{self, RULES, Rule};

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

/// A comment, as the rules about them see it.
#[derive(Debug)]
pub struct Examined<'a> {
    pub suppression: &'a Suppression,
    /// The names between its brackets that suppress nothing, although they could.
    pub unused: Vec<&'a str>,
}

/// Something that is wrong with a comment.
#[derive(Debug, Clone)]
pub struct Finding {
    pub rule: &'static Rule,
    /// One sentence, without a full stop.
    pub message: String,
    /// The comment.
    pub range: TextRange,
    /// The names that are to go.
    pub names: Vec<String>,
}

/// Which names of which comments have suppressed something: the comment's start, and the name.
pub(crate) type Used = BTreeSet<(TextSize, String)>;

impl Suppression {
    /// The name by which it suppresses a rule.
    fn name_for(&self, rule: &str) -> Option<&str> {
        let exact = self.rules.iter().find(|name| *name == rule);
        exact.or_else(|| self.rules.iter().find(|name| *name == "ALL")).map(String::as_str)
    }

    pub(crate) fn used_for(&self, rule: &str) -> Option<(TextSize, String)> {
        Some((self.range.start(), self.name_for(rule)?.to_owned()))
    }
}

impl Suppressions {
    /// Ask the rules about suppressions. `selected` says which rules were asked about the file.
    pub(crate) fn examine(
        &self,
        used: &Used,
        selected: &dyn Fn(&str) -> bool,
        reason_required: bool,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        for suppression in &self.comments {
            // One that has no effect is warned of.
            if reason_required && suppression.reason.is_empty() {
                continue;
            }
            let could_suppress = |name: &str| {
                if name == "ALL" {
                    RULES.iter().all(|rule| selected(&rule.name()))
                } else {
                    rules::find(name).is_some_and(|rule| !rule.is_about_suppressions() && selected(name))
                }
            };
            let is_unused = |name: &&String| {
                !used.contains(&(suppression.range.start(), (*name).clone())) && could_suppress(name)
            };
            let unused: Vec<&str> = suppression.rules.iter().filter(is_unused).map(String::as_str).collect();
            let examined = Examined { suppression, unused };
            for rule in RULES.iter().filter(|rule| selected(&rule.name())) {
                let is_suppressed = self.comments.iter().any(|other| {
                    // `ALL` may be what is unused itself.
                    other.line.is_none() && other.rules.contains(&rule.name())
                });
                if let Some(message) = rule.check_suppression(&examined).filter(|_| !is_suppressed) {
                    let names = examined.unused.iter().map(|name| (*name).to_owned()).collect();
                    findings.push(Finding { rule, message, range: suppression.range, names });
                }
            }
        }
        findings
    }

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
    (code(module) == code(&next)).then(|| next.into_source())
}

/// Remove the names that findings are about, and what is left of a comment without names.
///
/// `None` when the text would not be the same Python.
#[must_use]
pub fn remove<'a>(module: &Module, findings: impl IntoIterator<Item = &'a Finding>) -> Option<String> {
    let source = module.source();
    let mut text = String::with_capacity(source.len());
    let mut done = TextSize::default();
    for finding in findings {
        let comment = &source[finding.range];
        let (open, close) = (comment.find('[')?, comment.find(']')?);
        let left: Vec<&str> = comment[open + 1..close]
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty() && !finding.names.iter().any(|unused| unused == name))
            .collect();
        if !left.is_empty() {
            text.push_str(&source[TextRange::new(done, finding.range.start())]);
            text.push_str(&comment[..=open]);
            text.push_str(&left.join(", "));
            text.push_str(&comment[close..]);
            done = finding.range.end();
            continue;
        }
        let line = source.line_start(finding.range.start());
        let before = &source[TextRange::new(line, finding.range.start())];
        if before.trim_start_matches('\u{feff}').trim().is_empty() {
            // The whole line, but a byte order mark is the file's.
            let mark =
                if before.starts_with('\u{feff}') { TextSize::of('\u{feff}') } else { TextSize::default() };
            text.push_str(&source[TextRange::new(done, line + mark)]);
            done = source.full_line_end(finding.range.end());
        } else {
            let code = line + TextSize::of(before.trim_end());
            text.push_str(&source[TextRange::new(done, code)]);
            done = finding.range.end();
        }
    }
    text.push_str(&source[done.to_usize()..]);
    let next = Module::parse(text).ok()?;
    (code(module) == code(&next)).then(|| next.into_source())
}

/// The tokens that Python sees.
fn code(module: &Module) -> Vec<(TokenKind, &str)> {
    let tokens = module
        .tokens()
        .iter()
        .filter(|token| !matches!(token.kind(), TokenKind::Comment | TokenKind::NonLogicalNewline));
    tokens
        .map(|token| match token.kind() {
            // The last one may be missing.
            TokenKind::Newline => (TokenKind::Newline, ""),
            kind => (kind, module.text(token.range())),
        })
        .collect()
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
