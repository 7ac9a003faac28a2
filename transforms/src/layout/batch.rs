//! Takes batch blocks apart: what waits until the end of one goes into an autocommit block, and everything keeps its
//! place in the order in which it runs.

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Expr, Stmt, StmtWith};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange};

use super::Layout;
use super::block::header_range;
use super::queue::{Queue, When, asks_for, sees};
use crate::python::{Module, edit};

impl<'a> Layout<'a> {
    /// The plans that leave a batch block.
    pub(super) fn leaving(&self, with: &'a StmtWith) -> Vec<usize> {
        if !self.can_be_cut(with) {
            return Vec::new();
        }
        let plans = self.plans_inside(with).into_iter();
        plans
            .filter(|plan| with.body.iter().any(|statement| self.is_statement_of(*plan, statement)))
            .collect()
    }

    fn plans_inside(&self, with: &'a StmtWith) -> Vec<usize> {
        with.items.iter().flat_map(|item| self.batch_plans(item.context_expr.range())).collect()
    }

    fn is_statement_of(&self, plan: usize, statement: &Stmt) -> bool {
        statement.range() == self.plans[plan].operation.origin.statement
    }

    /// Whether an `if` or `for` holds the statement of a plan, at any depth.
    fn holds(&self, statement: &'a Stmt, plan: usize) -> bool {
        let bodies = clauses(self.module, statement).into_iter().flat_map(|clause| clause.body);
        bodies.into_iter().any(|inner| self.is_statement_of(plan, inner) || self.holds(inner, plan))
    }

    /// What reads the block, when it binds one variable.
    fn queue(&self, with: &'a StmtWith) -> Option<Queue<'a>> {
        let mut bound = with.items.iter().filter_map(|item| item.optional_vars.as_deref());
        match (bound.next(), bound.next()) {
            (Some(Expr::Name(name)), None) => Some(Queue::new(self.module, name.id.as_str())),
            _ => None,
        }
    }

    /// Whether a block does anything before its end, other than to compute something.
    pub(super) fn runs_other_statements(&self, with: &'a StmtWith) -> bool {
        let Some(queue) = self.queue(with) else { return true };
        with.body.iter().any(|statement| {
            !matches!(statement, Stmt::Assign(_) | Stmt::AnnAssign(_))
                && matches!(queue.when(statement), When::AtOnce | When::Both)
        })
    }

    /// Whether everything runs in the same order when the block is cut around what leaves it.
    fn can_be_cut(&self, with: &'a StmtWith) -> bool {
        self.queue(with).is_some_and(|queue| !self.is_late(with, queue) && self.is_in_order(with, queue))
    }

    /// Where the first part of a block ends when it is cut.
    fn first_cut(&self, with: &'a StmtWith) -> usize {
        let plans = self.plans_inside(with);
        let cuts = |statement: &'a Stmt| {
            plans.iter().any(|plan| self.is_statement_of(*plan, statement) || self.holds(statement, *plan))
        };
        with.body.iter().position(cuts).unwrap_or(with.body.len())
    }

    /// Whether a statement runs at once that would run later when the block is cut.
    fn is_late(&self, with: &'a StmtWith, queue: Queue<'a>) -> bool {
        let cut = self.first_cut(with);
        with.body.iter().enumerate().skip(cut).any(|(index, statement)| {
            let queued = with.body[..index].iter().filter(|earlier| queue.when(earlier) != When::Never);
            match statement {
                Stmt::Assign(assign) => queue.asks_in(statement) && asks_for(&assign.value, queued),
                _ => queue.when(statement) == When::AtOnce,
            }
        })
    }

    /// Whether the first part of a block that is cut would do nothing at its end.
    fn is_idle(&self, with: &'a StmtWith, queue: Queue<'a>) -> bool {
        let cut = self.first_cut(with);
        let goes = |statement: &'a Stmt| {
            queue.when(statement) == When::AtOnce
                && (queue.executed(statement).is_some() || !queue.mentions(statement.range()))
        };
        cut > 0 && cut < with.body.len() && with.body[..cut].iter().all(goes)
    }

    /// Whether all that can't run at another time, or asks what the queue changes, stands in front of the first cut.
    fn is_in_order(&self, with: &'a StmtWith, queue: Queue<'a>) -> bool {
        let cut = self.first_cut(with);
        let queued = |end: usize| {
            with.body[..end].iter().filter(move |statement| queue.when(statement) != When::Never)
        };
        (cut..with.body.len()).all(|index| {
            let statement = &with.body[index];
            let first = queued(index).next().is_none();
            let asks = || {
                let conditions =
                    clauses(self.module, statement).into_iter().filter_map(|clause| clause.condition);
                conditions.chain(queue.asking(statement)).any(|asking| sees(asking, queued(index)))
            };
            match queue.when(statement) {
                When::Both => first,
                When::AtEnd => !asks(),
                When::AtOnce | When::Never => true,
            }
        })
    }

    /// Statements that run at once stand between operations that wait for the end of their batch block: they go in
    /// front of it, which is when they run, and the block is cut in the next pass.
    ///
    /// ```python
    /// with op.batch_alter_table("t") as batch_op:      op.execute("UPDATE t SET a = 1")
    ///     batch_op.drop_index("ix")                    with op.batch_alter_table("t") as batch_op:
    ///     op.execute("UPDATE t SET a = 1")                 batch_op.drop_index("ix")
    ///     batch_op.create_index("ix", ["a"])               batch_op.create_index("ix", ["a"])
    /// ```
    pub(super) fn put_in_front(&mut self, with: &'a StmtWith) -> bool {
        let Some(queue) = self.queue(with) else { return false };
        if !(self.is_late(with, queue) || self.is_idle(with, queue)) || !self.is_in_order(with, queue) {
            return false;
        }
        let goes = |statement: &'a Stmt| queue.when(statement) == When::AtOnce;
        let can_go = |(index, statement): (usize, &'a Stmt)| {
            !goes(statement) || queue.can_go_first(statement, &with.body[..index])
        };
        if !with.body.iter().all(|statement| self.renderer.starts_line(statement.start()))
            || !with.body.iter().enumerate().all(can_go)
        {
            return false;
        }
        let source = self.module.source();
        let current = self.renderer.indentation(with.start());
        let plans = self.plans_inside(with);
        let (Some(first), Some(plan)) = (with.body.first(), plans.first()) else { return false };
        let op = self.op_of(&self.plans[*plan].operation.origin.receiver).to_owned();
        let inner = self.renderer.indentation(first.start());
        let header = header_range(self.module, with);
        let mut front = String::new();
        // A block of which nothing is left leaves its comment.
        let header = if with.body.iter().all(goes) {
            TextRange::new(header.end(), source.full_line_end(header.end()))
        } else {
            TextRange::new(source.line_start(with.start()), source.full_line_end(header.end()))
        };
        let mut rest = source[header].to_owned();
        if rest.trim().is_empty() {
            rest.clear();
        }
        let mut gap_start = header.end();
        for statement in &with.body {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            gap_start = source.full_line_end(statement.end());
            let (out, to) = if goes(statement) { (&mut front, current) } else { (&mut rest, inner) };
            out.push_str(&self.lines(gap, inner, to));
            let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
            let edits: Vec<_> = queue
                .executed(statement)
                .filter(|_| goes(statement))
                .map(|variable| edit::replace(variable, op.clone()))
                .into_iter()
                .collect();
            out.push_str(&self.renderer.render(range, &edits, inner, to));
            out.push_str(self.renderer.newline());
        }
        let range = TextRange::new(source.line_start(with.start()), self.renderer.line_end(with.end()));
        self.unfold.push(edit::replace(range, (front + &rest).trim_end_matches(['\r', '\n'])));
        true
    }

    /// An `if` or `for` inside of a batch block with operations to move: it changes places with the
    /// block, and the operations leave in the next pass.
    ///
    /// ```python
    /// with op.batch_alter_table("t") as batch_op:      if not known:
    ///     if not known:                                    with op.batch_alter_table("t") as batch_op:
    ///         batch_op.create_index("ix", ["a"])               batch_op.create_index("ix", ["a"])
    /// ```
    pub(super) fn hoist(&mut self, with: &'a StmtWith, parent: &str) -> bool {
        let Some(queue) = self.queue(with) else { return false };
        let plans = self.plans_inside(with);
        let is_hoisted = |statement: &'a Stmt| {
            let holds = plans.iter().any(|plan| self.holds(statement, *plan));
            let mut bodies = clauses(self.module, statement).into_iter().flat_map(|clause| clause.body);
            holds && bodies.all(|inner| self.renderer.starts_line(inner.start()))
        };
        if !self.can_be_cut(with)
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
                // What has nothing to do with the block.
                if !open
                    && matches!(queue.when(statement), When::AtOnce | When::Never)
                    && !queue.mentions(statement.range())
                {
                    out.push_str(&self.lines(gap, inner, current));
                    let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
                    out.push_str(&self.renderer.render(range, &[], inner, current));
                    out.push_str(newline);
                    continue;
                }
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
