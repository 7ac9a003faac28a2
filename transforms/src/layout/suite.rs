//! Walks the suites of a file and decides, statement by statement, what moves into a block, what is edited in its place,
//! and what a block can't hold.

use std::collections::BTreeSet;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{ExceptHandler, Expr, Stmt, StmtWith};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::Layout;
use super::additions::is_docstring;
use super::block::header_range;
use crate::operations::{OperationKind, Receiver};
use crate::python::{Module, edit};

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
                && (self.release(with, index, body, parent) || self.hoist(with, parent))
            {
                index += 1;
                continue;
            }
            if let Some(plan) = self.plan_of(statement)
                && self.plans[plan].stays()
            {
                if self.is_alone(body, index, parent) {
                    if self.plans[plan].is_left_out() {
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
                self.region(&body[index..end], parent);
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

    /// The plans that leave a batch block.
    pub(super) fn leaving(&self, with: &'a StmtWith) -> Vec<usize> {
        let plans: Vec<usize> =
            with.items.iter().flat_map(|item| self.batch_plans(item.context_expr.range())).collect();
        let direct = |plan: &usize| {
            with.body
                .iter()
                .any(|statement| statement.range() == self.plans[*plan].operation.origin.statement)
        };
        if self.runs_other_statements(with) {
            return Vec::new();
        }
        plans.into_iter().filter(direct).collect()
    }

    /// Batch operations wait until the block ends; a statement that runs at once would change its
    /// place among them when the block is split.
    pub(super) fn runs_other_statements(&self, with: &'a StmtWith) -> bool {
        let Some(variable) = with.items.last().and_then(|item| item.optional_vars.as_deref()) else {
            return true;
        };
        let variable = self.module.text(variable);
        with.body.iter().any(|statement| match statement {
            Stmt::Expr(expression) => !self.is_batch_call(&expression.value, variable),
            Stmt::Assign(_) | Stmt::AnnAssign(_) | Stmt::Pass(_) | Stmt::If(_) | Stmt::For(_) => false,
            _ => true,
        })
    }

    /// `batch_op.add_column(…)`, or a tuple of such calls where a comma was left behind.
    pub(super) fn is_batch_call(&self, expression: &Expr, variable: &str) -> bool {
        match expression {
            Expr::Call(call) => match &*call.func {
                Expr::Attribute(attribute) => self.module.text(&*attribute.value) == variable,
                _ => false,
            },
            Expr::Tuple(tuple) => tuple.elts.iter().all(|element| self.is_batch_call(element, variable)),
            Expr::StringLiteral(_) => true,
            _ => false,
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

    /// An `if` or `for` inside of a batch block with operations to move: it changes places with the
    /// block, and the operations leave in the next pass.
    ///
    /// ```python
    /// with op.batch_alter_table("t") as batch_op:      if not known:
    ///     if not known:                                    with op.batch_alter_table("t") as batch_op:
    ///         batch_op.create_index("ix", ["a"])               batch_op.create_index("ix", ["a"])
    /// ```
    fn hoist(&mut self, with: &'a StmtWith, parent: &str) -> bool {
        let ids = with.items.iter().map(|item| item.context_expr.range());
        let plans: Vec<usize> = ids.flat_map(|id| self.batch_plans(id)).collect();
        let moves = |clause: &Clause| {
            clause.body.iter().any(|statement| {
                plans.iter().any(|plan| statement.range() == self.plans[*plan].operation.origin.statement)
            })
        };
        let is_hoisted = |statement: &'a Stmt| {
            let clauses = clauses(self.module, statement);
            let queued = with.body.iter().take_while(|earlier| earlier.start() < statement.start());
            let queued: BTreeSet<&str> = queued.flat_map(strings_of).collect();
            // Split, the block runs what is queued before the condition is looked at.
            let sees_queued = |condition: &'a Expr| {
                let asked = strings_in(condition);
                has_call(condition)
                    && !queued.is_empty()
                    && (asked.is_empty()
                        || asks_about_variables(condition)
                        || asked.iter().any(|text| queued.contains(text)))
            };
            clauses.iter().any(moves)
                && clauses.iter().all(|clause| {
                    !clause.condition.is_some_and(sees_queued)
                        && clause.body.iter().all(|inner| self.renderer.starts_line(inner.start()))
                })
        };
        if self.runs_other_statements(with)
            || !with.body.iter().any(is_hoisted)
            || !with.body.iter().all(|statement| self.renderer.starts_line(statement.start()))
        {
            return false;
        }
        let source = self.module.source();
        let newline = self.renderer.newline();
        let current = self.renderer.indentation(with.start());
        let unit = self.unit(current, parent);
        let Some(first) = with.body.first() else { return false };
        let inner = self.renderer.indentation(first.start());
        let header = header_range(self.module, with);
        let comment = source[TextRange::new(header.end(), self.renderer.line_end(header.end()))].trim();
        let header = &source[header];
        let mut out = if comment.is_empty() { String::new() } else { format!("{current}{comment}{newline}") };
        let mut open = false;
        let mut gap_start = source.full_line_end(header_range(self.module, with).end());
        for statement in &with.body {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            gap_start = source.full_line_end(statement.end());
            if !is_hoisted(statement) {
                if !open {
                    out.push_str(&format!("{current}{header}{newline}"));
                    open = true;
                }
                out.push_str(&self.lines(gap, inner, inner));
                let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
                out.push_str(&self.renderer.render(range, &[], inner, inner));
                out.push_str(newline);
                continue;
            }
            open = false;
            out.push_str(&self.lines(gap, inner, current));
            let mut from = statement.start();
            for clause in clauses(self.module, statement) {
                // Comments in front of `else` belong to the body above.
                let before =
                    TextRange::new(source.line_start(from), source.line_start(clause.header.start()));
                out.push_str(&self.lines(before, inner, inner));
                let header_line =
                    TextRange::new(clause.header.start(), self.renderer.line_end(clause.header.end()));
                out.push_str(&self.renderer.render(header_line, &[], inner, current));
                out.push_str(&format!("{newline}{current}{unit}{header}{newline}"));
                let Some(last) = clause.body.last() else { return false };
                let body = TextRange::new(
                    source.full_line_end(clause.header.end()),
                    source.full_line_end(last.end()),
                );
                out.push_str(&source[body]);
                from = body.end();
            }
            if !out.ends_with('\n') {
                out.push_str(newline);
            }
        }
        let range = TextRange::new(source.line_start(with.start()), self.renderer.line_end(with.end()));
        self.unfold.push(edit::replace(range, out.trim_end_matches(['\r', '\n'])));
        true
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

    /// Leave out a statement. The last one of a suite leaves `pass`.
    fn leave_out(&mut self, body: &[Stmt], statement: &Stmt, plan: usize) {
        let goes = |other: &Stmt| self.plan_of(other).is_some_and(|plan| self.plans[plan].is_left_out());
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

/// A part of an `if` or `for` statement.
struct Clause<'a> {
    /// `if …:`, the colon included.
    pub(super) header: TextRange,
    pub(super) condition: Option<&'a Expr>,
    pub(super) body: &'a [Stmt],
}

/// The parts of an `if`, or of a `for` without `else`; none for other statements.
fn clauses<'a>(module: &Module, statement: &'a Stmt) -> Vec<Clause<'a>> {
    let clause = |start, condition: Option<&'a Expr>, body: &'a [Stmt]| {
        let after = condition.map_or(start, Ranged::end);
        let colon = module.tokens().after(after).iter().find(|token| token.kind() == TokenKind::Colon);
        Clause { header: TextRange::new(start, colon.map_or(after, Ranged::end)), condition, body }
    };
    match statement {
        Stmt::If(branch) => {
            let mut all = vec![clause(branch.start(), Some(&branch.test), &branch.body)];
            all.extend(
                branch
                    .elif_else_clauses
                    .iter()
                    .map(|part| clause(part.start(), part.test.as_ref(), &part.body)),
            );
            all
        }
        Stmt::For(block) if block.orelse.is_empty() => {
            vec![clause(block.start(), Some(&block.iter), &block.body)]
        }
        _ => Vec::new(),
    }
}

/// Whether an expression calls anything, so that it may not be the same a little later.
fn has_call(expression: &Expr) -> bool {
    ruff_python_ast::helpers::any_over_expr(expression, &|expr: &Expr| expr.is_call_expr())
}

/// Whether a call in an expression is given something that is neither spelled out nor a connection.
fn asks_about_variables(expression: &Expr) -> bool {
    const CONNECTIONS: &[&str] = &["bind", "conn", "connection", "engine", "inspector", "insp", "op"];
    ruff_python_ast::helpers::any_over_expr(expression, &|expr: &Expr| {
        let Expr::Call(call) = expr else { return false };
        call.arguments.iter_source_order().any(|argument| match argument.value() {
            Expr::Name(name) => !CONNECTIONS.contains(&name.id.as_str()),
            Expr::StringLiteral(_) | Expr::Call(_) | Expr::Generator(_) => false,
            _ => true,
        })
    })
}

/// The plain strings in an expression: names of what it asks about.
fn strings_in(expression: &Expr) -> Vec<&str> {
    let mut strings = Strings(Vec::new());
    strings.visit_expr(expression);
    strings.0
}

/// The plain strings in a statement.
fn strings_of(statement: &Stmt) -> Vec<&str> {
    let mut strings = Strings(Vec::new());
    strings.visit_stmt(statement);
    strings.0
}

struct Strings<'a>(Vec<&'a str>);

impl<'a> Visitor<'a> for Strings<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            // What an earlier condition asks about is not queued.
            Stmt::If(branch) => {
                self.visit_body(&branch.body);
                branch.elif_else_clauses.iter().for_each(|clause| self.visit_body(&clause.body));
            }
            _ => walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::StringLiteral(literal) => self.0.push(literal.value.to_str()),
            _ => walk_expr(self, expr),
        }
    }
}
