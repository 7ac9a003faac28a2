//! Takes an index out of what a model declares.
//!
//! **Invariant: every comment stays.** A comment beside an index that goes moves to a line of its own.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::{Declaration, Editor};
use crate::operations::callee;
use crate::python::edit::{self, Edit};

/// The elements of a tuple, a list or a call.
struct Elements<'a> {
    /// What is between the brackets.
    inside: TextRange,
    all: &'a [Expr],
    /// One element of it needs a comma.
    is_tuple: bool,
}

impl<'a> Editor<'a> {
    /// Take away the call with this text: out of `__table_args__`, out of its `Table(…)`, or the statement that it is.
    ///
    /// # Errors
    /// Why it can't be.
    pub(super) fn remove(&self, declaration: &Declaration, call: &str) -> Result<Vec<Edit>, String> {
        const NOT_FOUND: &str = "the call that declares it was not found again";
        let is_it = |part: &&Expr| part.is_call_expr() && self.module.text(*part) == call;
        if let Some(statement) = self.loose(call) {
            return Ok(vec![self.without_statement(statement)?]);
        }
        let Some(class) = &declaration.class else {
            let table = self.table(&declaration.table.name).ok_or(NOT_FOUND)?;
            let part = table.arguments.args.iter().find(is_it).ok_or(NOT_FOUND)?;
            let end = table.end() - TextSize::from(1);
            let inside = TextRange::new(table.arguments.start() + TextSize::from(1), end);
            return Ok(self.without(&Elements { inside, all: &table.arguments.args, is_tuple: false }, part));
        };
        let class = self.class(class).ok_or(NOT_FOUND)?;
        let (statement, value) = class
            .body
            .iter()
            .find_map(|statement| Some((statement, super::table_arguments(statement)?)))
            .ok_or(NOT_FOUND)?;
        let (all, is_tuple) = match value {
            Expr::Tuple(tuple) if tuple.parenthesized => (&tuple.elts, true),
            Expr::List(list) => (&list.elts, false),
            _ => return Err("the model computes its `__table_args__`".to_owned()),
        };
        let part = all.iter().find(is_it).ok_or(NOT_FOUND)?;
        let inside = TextRange::new(value.start() + TextSize::from(1), value.end() - TextSize::from(1));
        match &all.iter().filter(|other| other.range() != part.range()).collect::<Vec<_>>()[..] {
            [] => Ok(vec![self.without_statement(statement)?]),
            // As it is written without an index.
            [dict @ Expr::Dict(_)]
                if self.comments(inside).iter().all(|comment| dict.range().contains_range(*comment)) =>
            {
                Ok(vec![edit::replace(value.range(), self.module.text(*dict))])
            }
            _ => Ok(self.without(&Elements { inside, all, is_tuple }, part)),
        }
    }

    /// `Index("ix", User.email)` as a statement of the module.
    fn loose(&self, call: &str) -> Option<&'a Stmt> {
        let is_it = |value: &ExprCall| callee(value) == Some("Index") && self.module.text(value) == call;
        self.module.body().iter().find(|statement| match statement {
            Stmt::Expr(expression) => expression.value.as_call_expr().is_some_and(is_it),
            _ => false,
        })
    }

    fn comments(&self, range: TextRange) -> Vec<TextRange> {
        let tokens = self.module.tokens().in_range(range).iter();
        tokens.filter(|token| token.kind() == TokenKind::Comment).map(Ranged::range).collect()
    }

    /// The comments of a range, each on a line of its own.
    fn kept(&self, range: TextRange, indentation: &str) -> String {
        let comments = self.comments(range);
        let line =
            |comment: &TextRange| format!("{indentation}{}{}", self.module.text(*comment), self.newline());
        comments.iter().map(line).collect()
    }

    /// What the line begins with, if nothing else stands before an offset.
    fn indentation(&self, offset: TextSize) -> Option<&'a str> {
        let source = self.module.source();
        let before = &source[TextRange::new(source.line_start(offset), offset)];
        before.trim().is_empty().then_some(before)
    }

    /// Whether nothing but a comment follows on the line.
    fn ends_line(&self, offset: TextSize) -> bool {
        let source = self.module.source();
        let rest = source[TextRange::new(offset, source.line_end(offset))].trim();
        rest.is_empty() || rest.starts_with('#')
    }

    fn without_statement(&self, statement: &Stmt) -> Result<Edit, String> {
        let source = self.module.source();
        let (Some(indentation), true) =
            (self.indentation(statement.start()), self.ends_line(statement.end()))
        else {
            return Err("the statement that declares it shares its line with others".to_owned());
        };
        let mut range =
            TextRange::new(source.line_start(statement.start()), source.full_line_end(statement.end()));
        let kept = self.kept(range, indentation);
        // Of empty lines that would meet, those of one side are enough.
        if kept.is_empty() {
            let blank = |line: &&str| line.trim().is_empty();
            let above = source[..range.start().to_usize()].lines().rev().take_while(blank).count();
            let below = source[range.end().to_usize()..].lines().take_while(blank).count();
            for _ in 0..above.min(below) {
                range = TextRange::new(range.start(), source.full_line_end(range.end()));
            }
        }
        Ok(edit::replace(range, kept))
    }

    /// Leave one element out.
    fn without(&self, elements: &Elements, part: &Expr) -> Vec<Edit> {
        let source = self.module.source();
        let comma_behind = |offset: TextSize| {
            let tokens = self.module.tokens().in_range(TextRange::new(offset, elements.inside.end()));
            let next = tokens.iter().find(|token| !token.kind().is_trivia());
            next.filter(|token| token.kind() == TokenKind::Comma).map(Ranged::end)
        };
        let at = elements.all.iter().position(|other| other.range() == part.range()).unwrap_or_default();
        let next = elements.all.get(at + 1).map(Ranged::start);
        let before = at.checked_sub(1).and_then(|at| elements.all.get(at)).map(Ranged::end);
        let end = comma_behind(part.end()).unwrap_or(part.end());
        let line = self.indentation(part.start()).filter(|_| {
            // The closing bracket may stand on the same line.
            self.ends_line(end) && source.line_end(end) < elements.inside.end()
        });
        let range = match (line, next, before) {
            (Some(_), ..) => TextRange::new(source.line_start(part.start()), source.full_line_end(end)),
            (None, Some(next), _) if next >= end => TextRange::new(part.start(), next),
            (None, None, Some(before)) => TextRange::new(before, part.end()),
            _ => TextRange::new(part.start(), end),
        };
        let (removed, kept) = match line {
            Some(indentation) => (range, self.kept(range, indentation)),
            None if self.comments(range).is_empty() => (range, String::new()),
            // They belong to the elements before it.
            None => (TextRange::new(part.start(), end), String::new()),
        };
        let mut edits = vec![edit::replace(removed, kept)];
        // `(a)` is no tuple.
        if let (true, [first, second]) = (elements.is_tuple, elements.all) {
            let left = if first.range() == part.range() { second } else { first };
            if comma_behind(left.end()).is_none_or(|comma| removed.contains(comma - TextSize::from(1))) {
                edits.push(edit::insert(left.end(), ","));
            }
        }
        edits
    }
}
