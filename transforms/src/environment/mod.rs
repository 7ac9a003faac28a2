//! Alembic's `env.py`: read as what its transactions depend on, judged by the rules that are about
//! it, and edited.
//!
//! A revision is judged as operations on a schema; an `env.py` has none. What matters is how it calls
//! `context.configure()`, and in which state the connection is then.

mod walk;

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_interpolated_string_element, walk_keyword, walk_stmt};
use ruff_python_ast::{InterpolatedStringElement, Keyword as CallKeyword, Stmt, StringLiteral};
use ruff_text_size::{Ranged, TextRange};

use crate::analysis::Selection;
use crate::layout;
use crate::python::{Module, SyntaxError};
use crate::rules::{RULES, Rule};
use crate::settings::Settings;
use crate::suppression::{self, Suppressions};

/// A parsed `env.py`.
#[derive(Debug)]
pub struct Environment {
    /// The path as it is to be reported.
    pub path: String,
    pub module: Module,
    pub suppressions: Suppressions,
    /// Every `context.configure(…)` that is for PostgreSQL, or may be.
    pub configures: Vec<Configure>,
    /// What keeps Alembic from managing the transaction.
    pub obstacles: Vec<Obstacle>,
    /// Its engine is one of SQLAlchemy 1.4 that behaves like one of 2.0.
    pub future: bool,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// All of it.
    pub call: TextRange,
    /// What is called.
    pub callee: TextRange,
    /// The statement around it; of a compound statement only the header.
    pub statement: TextRange,
}

/// A call of `context.configure(…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Configure {
    pub place: Place,
    pub per_migration: PerMigration,
    /// A call after it whose effect ends with the transaction, or may: `SET LOCAL …`,
    /// `pg_advisory_xact_lock(…)`.
    pub lasting: Option<TextRange>,
}

/// What `context.configure(…)` is told about `transaction_per_migration`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerMigration {
    /// It is on, or it is not known before the program runs: its author has thought of it.
    On,
    /// It is off by the author's word.
    Off,
    Missing,
    /// It may be in a dictionary, as the call spells it, that is not known before the program runs.
    Hidden(String),
}

/// Something that keeps Alembic from managing the transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Obstacle {
    pub place: Place,
    pub kind: ObstacleKind,
    /// The call of `context.configure(…)` that it is about.
    pub configure: TextRange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObstacleKind {
    /// A transaction that was begun by itself is around the revisions.
    Begun,
    /// A statement was run before `context.configure()`, which begins a transaction with SQLAlchemy
    /// 2. Its text, when that is known.
    Statement(Option<String>),
    /// `context.run_migrations()` without `context.begin_transaction()`.
    NotBegun,
}

/// What a rule says about an `env.py`.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// One sentence, without a full stop.
    pub message: String,
    /// A few words below the call.
    pub label: String,
    pub place: Place,
    /// The keyword to add to the call, or why there is none and what to do instead.
    pub fix: Result<Keyword, String>,
}

/// A keyword and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyword {
    pub name: &'static str,
    pub value: &'static str,
}

/// A violation and whose it is.
#[derive(Debug, Clone)]
pub struct Finding {
    pub rule: &'static Rule,
    pub violation: Violation,
}

/// What was found in an `env.py`.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// From top to bottom.
    pub findings: Vec<Finding>,
    /// Findings that a comment suppresses.
    pub suppressed: Vec<Finding>,
    /// What is wrong with the comments that suppress.
    pub ignores: Vec<suppression::Finding>,
}

/// What a fix does to an `env.py`.
#[derive(Debug, Clone, Default)]
pub struct Fixed {
    /// The new text; `None` when nothing changes.
    pub source: Option<String>,
    /// The findings that are left, where they stand in the new text.
    pub left: Vec<Finding>,
}

/// Where an `env.py` gives its connections a `lock_timeout`, or runs a statement that sets it: the
/// first text, or keyword, that names it.
#[must_use]
pub fn lock_timeout(module: &Module) -> Option<TextRange> {
    const NAME: &str = "lock_timeout";
    struct Find(Option<TextRange>);
    impl<'a> Visitor<'a> for Find {
        fn visit_stmt(&mut self, statement: &'a Stmt) {
            let is_comment =
                matches!(statement, Stmt::Expr(expression) if expression.value.is_string_literal_expr());
            if !is_comment {
                walk_stmt(self, statement);
            }
        }
        fn visit_keyword(&mut self, keyword: &'a CallKeyword) {
            if keyword.arg.as_ref().is_some_and(|name| name.as_str() == NAME) {
                self.0.get_or_insert(keyword.range());
            }
            walk_keyword(self, keyword);
        }
        fn visit_string_literal(&mut self, literal: &'a StringLiteral) {
            if literal.value.contains(NAME) {
                self.0.get_or_insert(literal.range());
            }
        }
        fn visit_interpolated_string_element(&mut self, element: &'a InterpolatedStringElement) {
            if let InterpolatedStringElement::Literal(literal) = element
                && literal.value.contains(NAME)
            {
                self.0.get_or_insert(literal.range());
            }
            walk_interpolated_string_element(self, element);
        }
    }
    let mut find = Find(None);
    for statement in module.body() {
        find.visit_stmt(statement);
    }
    find.0
}

/// What a finding is known by when the file has been edited: its rule's module and its message.
pub type Key = (&'static str, String);

impl Finding {
    #[must_use]
    pub fn key(&self) -> Key {
        (self.rule.module(), self.violation.message.clone())
    }
}

impl Environment {
    /// Parse a file; `None` when it has nothing to do with Alembic's context.
    ///
    /// # Errors
    /// A file that is no Python 3.
    pub fn parse(path: String, source: String) -> Result<Option<Self>, SyntaxError> {
        let module = Module::parse(source)?;
        let Some(walked) = walk::walk(&module) else { return Ok(None) };
        let suppressions = Suppressions::read(&module);
        let walk::Walked { configures, obstacles, future } = walked;
        Ok(Some(Self { path, module, suppressions, configures, obstacles, future }))
    }

    /// Ask the rules that are about an `env.py`.
    #[must_use]
    pub fn check(&self, settings: &Settings, selected: &Selection) -> Report {
        let mut report = Report::default();
        let mut used = suppression::Used::new();
        for rule in RULES.iter().filter(|rule| selected(&self.path, &rule.name())) {
            for violation in rule.check_environment(self, settings) {
                let lines = violation.place.statement;
                let first = self.module.position(lines.start()).line;
                let last = self.module.position(lines.end()).line;
                let (name, reason_required) = (rule.name(), settings.require_ignore_reason);
                let findings = match self.suppressions.suppresses(&name, first, last, reason_required) {
                    Some(comment) => {
                        used.extend(comment.used_for(&name));
                        &mut report.suppressed
                    }
                    None => &mut report.findings,
                };
                findings.push(Finding { rule, violation });
            }
        }
        report.findings.sort_by_key(|finding| finding.violation.place.call.start());
        let selected = |rule: &str| selected(&self.path, rule);
        report.ignores = self.suppressions.examine(&used, &selected, settings.require_ignore_reason);
        report
    }
}

impl Report {
    /// Edit the file, as far as its findings are fixable and `allowed`.
    ///
    /// The result is checked: it parses, and nothing that was fixed is left.
    #[must_use]
    pub fn fix(
        &self,
        environment: &Environment,
        settings: &Settings,
        selected: &Selection,
        allowed: &dyn Fn(&Finding) -> bool,
    ) -> Fixed {
        let mut keywords: BTreeMap<(u32, u32), (TextRange, Vec<Keyword>)> = BTreeMap::new();
        let chosen: Vec<_> = self.findings.iter().filter(|finding| allowed(finding)).collect();
        for (finding, keyword) in
            chosen.iter().filter_map(|one| Some((one, one.violation.fix.as_ref().ok()?)))
        {
            let call = finding.violation.place.call;
            let known = keywords.entry((call.start().into(), call.end().into()));
            known.or_insert_with(|| (call, Vec::new())).1.push(*keyword);
        }
        let unchanged = || Fixed { source: None, left: self.findings.clone() };
        if keywords.is_empty() {
            return unchanged();
        }
        let keywords: Vec<_> = keywords
            .into_values()
            .map(|(call, keywords)| {
                (call, keywords.iter().map(|one| (one.name, one.value.to_owned())).collect())
            })
            .collect();
        let next = layout::with_keywords(&environment.module, &keywords)
            .and_then(|source| Environment::parse(environment.path.clone(), source).ok().flatten());
        let Some(next) = next else { return unchanged() };
        let left = next.check(settings, selected).findings;
        if left.iter().any(|finding| finding.violation.fix.is_ok() && allowed(finding)) {
            return unchanged();
        }
        Fixed { source: Some(next.module.into_source()), left }
    }
}
