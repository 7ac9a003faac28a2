//! Walks the suites of a file and decides, statement by statement, what moves into a block, what is edited in its place,
//! and what a block can't hold.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{ExceptHandler, Stmt};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::Layout;
use super::prepare::Prepared;
use crate::operations::{OperationKind, Receiver};
use crate::python::edit;
use crate::python::is_docstring;

impl<'a> Layout<'a> {
    pub(super) fn suite(&mut self, body: &'a [Stmt], parent: &str) {
        let mut index = 0;
        while index < body.len() {
            let statement = &body[index];
            if let Some(end) = self.limit_run(body, index, parent) {
                index = end;
                continue;
            }
            if let Stmt::With(with) = statement
                && (self.release(with, index, body, parent)
                    || self.put_in_front(with)
                    || self.hoist(with, parent))
            {
                index += 1;
                continue;
            }
            if let Some(plan) = self.plan_of(statement)
                && self.plans[plan].stays()
            {
                if self.is_alone(body, index, parent) {
                    if self.goes(plan) {
                        self.leave_out(body, statement, plan);
                    } else {
                        self.in_place(statement, plan);
                    }
                }
                index += 1;
                continue;
            }
            let end = self.region_end(body, index);
            if end == index {
                self.nested(statement);
                index += 1;
                continue;
            }
            let alone = (index..end).all(|index| self.is_alone(body, index, parent));
            if alone {
                let whole = body[..index].iter().chain(&body[end..]).all(is_docstring);
                self.region(&body[index..end], parent, whole);
            }
            index = end;
        }
    }

    /// How far the statements reach that are rewritten together.
    fn region_end(&self, body: &'a [Stmt], start: usize) -> usize {
        let mut end = start;
        while end < body.len() && (self.moves(&body[end]) || self.is_commit_before_block(body, end)) {
            end += 1;
        }
        end
    }

    pub(super) fn moves(&self, statement: &'a Stmt) -> bool {
        match statement {
            Stmt::With(with) => !self.leaving(with).is_empty(),
            _ => self
                .plan_of(statement)
                .map(|plan| &self.plans[plan])
                // A batch operation leaves with its whole block or not at all.
                .is_some_and(|plan| {
                    !plan.stays() && !matches!(plan.operation.origin.receiver, Receiver::Batch(_))
                }),
        }
    }

    /// `op.execute("COMMIT")` just in front of an index that is already built concurrently: the
    /// block does it now.
    fn is_commit_before_block(&self, body: &'a [Stmt], index: usize) -> bool {
        let is_commit = self.commits.contains(&body[index].range());
        is_commit
            && body.get(index + 1).and_then(|next| self.plan_of(next)).is_some_and(|plan| {
                matches!(&self.plans[plan].operation.kind,
                    OperationKind::CreateIndex(index) if index.concurrently)
                    || matches!(&self.plans[plan].operation.kind,
                        OperationKind::DropIndex(index) if index.concurrently)
            })
    }

    /// Whether a statement has its lines for itself. If not, the lines are broken up, and the fix
    /// waits for the next pass.
    pub(super) fn is_alone(&mut self, body: &'a [Stmt], index: usize, parent: &str) -> bool {
        let statement = &body[index];
        let mut alone = true;
        if !self.renderer.starts_line(statement.start()) {
            alone = false;
            self.break_before(body, index, parent);
        }
        if let Some(next) = body.get(index + 1)
            && !self.renderer.starts_line(next.start())
        {
            alone = false;
            self.break_before(body, index + 1, parent);
        }
        if let Stmt::With(with) = statement {
            for inner in 0..with.body.len() {
                let indentation = self.renderer.indentation(statement.start());
                if !self.renderer.starts_line(with.body[inner].start()) {
                    alone = false;
                    self.break_before(&with.body, inner, indentation);
                }
            }
        }
        alone
    }

    fn break_before(&mut self, body: &'a [Stmt], index: usize, parent: &str) {
        let statement = &body[index];
        let indentation = body.iter().find(|other| self.renderer.starts_line(other.start())).map_or_else(
            || format!("{parent}{}", self.printer.stylist.indentation().as_str()),
            |other| self.renderer.indentation(other.start()).to_owned(),
        );
        let before = self
            .module
            .tokens()
            .before(statement.start())
            .iter()
            .rev()
            .find(|token| !token.kind().is_trivia());
        let Some(before) = before else { return };
        let start = if before.kind() == TokenKind::Semi { before.start() } else { before.end() };
        let edit = edit::replace(
            TextRange::new(start, statement.start()),
            format!("{}{indentation}", self.renderer.newline()),
        );
        if !self.unfold.contains(&edit) {
            self.unfold.push(edit);
        }
    }

    /// What a suite is indented by, told by how far it is inside of its parent.
    pub(super) fn unit<'b>(&'b self, current: &'b str, parent: &str) -> &'b str {
        match current.strip_prefix(parent) {
            Some(unit) if !unit.is_empty() => unit,
            _ => self.printer.stylist.indentation().as_str(),
        }
    }

    /// Go into the suites of a statement that stays.
    fn nested(&mut self, statement: &'a Stmt) {
        let indentation = self.renderer.indentation(statement.start());
        match statement {
            Stmt::FunctionDef(function) => self.suite(&function.body, indentation),
            Stmt::ClassDef(class) => self.suite(&class.body, indentation),
            Stmt::If(branch) => {
                self.suite(&branch.body, indentation);
                for clause in &branch.elif_else_clauses {
                    self.suite(&clause.body, indentation);
                }
            }
            Stmt::For(block) => {
                self.suite(&block.body, indentation);
                self.suite(&block.orelse, indentation);
            }
            Stmt::While(block) => {
                self.suite(&block.body, indentation);
                self.suite(&block.orelse, indentation);
            }
            Stmt::With(block) => self.suite(&block.body, indentation),
            Stmt::Match(block) => {
                for case in &block.cases {
                    self.suite(&case.body, indentation);
                }
            }
            Stmt::Try(block) => {
                self.suite(&block.body, indentation);
                for handler in &block.handlers {
                    let ExceptHandler::ExceptHandler(handler) = handler;
                    self.suite(&handler.body, indentation);
                }
                self.suite(&block.orelse, indentation);
                self.suite(&block.finalbody, indentation);
            }
            _ => {}
        }
    }

    /// Whether nothing is left of the statement of a plan: nobody needs it, or another one does all of it.
    fn goes(&self, plan: usize) -> bool {
        let is_empty = |prepared: &Prepared| prepared.lines.is_empty();
        self.plans[plan].is_left_out()
            || self.plans[plan].stays() && self.prepared.get(&plan).is_some_and(is_empty)
    }

    /// Leave out a statement. The last one of a suite leaves `pass`.
    fn leave_out(&mut self, body: &[Stmt], statement: &Stmt, plan: usize) {
        let goes = |other: &Stmt| self.plan_of(other).is_some_and(|plan| self.goes(plan));
        let stays = |other: &Stmt| !is_docstring(other) && !goes(other);
        let is_last =
            body.iter().rfind(|other| goes(other)).is_some_and(|last| last.range() == statement.range());
        let edit = if !body.iter().any(stays) && is_last {
            edit::replace(statement.range(), "pass")
        } else {
            let source = self.module.source();
            let line =
                TextRange::new(source.line_start(statement.start()), source.full_line_end(statement.end()));
            let breaks = if source[line].ends_with('\n') { 0 } else { self.renderer.newline().len() };
            // The last line of a file may have no line break of its own.
            let start = line.start().to_usize().saturating_sub(breaks);
            edit::replace(TextRange::new(TextSize::try_from(start).unwrap_or_default(), line.end()), "")
        };
        self.inline.push(edit);
        self.placed.insert(plan);
    }

    /// A statement that stands in a block already.
    fn in_place(&mut self, statement: &Stmt, plan: usize) {
        let Some(prepared) = self.prepared.get(&plan) else { return };
        let newline = self.renderer.newline();
        let indentation = self.renderer.indentation(statement.start());
        for line in &prepared.lines.before {
            self.inline.push(edit::insert(statement.start(), format!("{line}{newline}{indentation}")));
        }
        if prepared.lines.keeps_call {
            self.inline.extend(prepared.edits.iter().chain(&prepared.elsewhere).cloned());
        } else {
            // The lines before it took its place.
            self.inline.pop();
            let line = prepared.lines.before.last().cloned().unwrap_or_default();
            self.inline.push(edit::replace(statement.range(), line));
        }
        let mut after = String::new();
        for line in prepared.lines.after.iter().chain(&prepared.lines.behind) {
            after.push_str(&format!("{newline}{indentation}{line}"));
        }
        if !after.is_empty() {
            self.inline.push(edit::insert(self.renderer.line_end(statement.end()), after));
        }
        self.helpers.extend(prepared.lines.helpers.iter().copied());
        self.placed.insert(plan);
    }
}
