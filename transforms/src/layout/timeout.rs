//! Statements that stay where they are, in a `with` block that limits how long they wait for a lock.

use ruff_python_ast::{Expr, Stmt, StmtWith};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::block::header_range;
use super::call::Lines;
use super::helpers::Helper;
use super::prepare::Prepared;
use super::{Layout, Planned};
use crate::operations::Receiver;
use crate::python::edit;
use crate::recipe::Around;
use crate::suppression::Suppressions;

/// The limit that a plan asks for.
pub(super) fn limit<'a>(plan: &Planned<'a>) -> Option<&'a str> {
    match &plan.recipe.around {
        Around::LockTimeout(timeout) => Some(timeout),
        Around::AutocommitBlock | Around::Nothing => None,
    }
}

impl<'a> Layout<'a> {
    /// A plan whose call stays as it is.
    pub(super) fn prepare_limit(&self, plan: &Planned) -> Result<Prepared, String> {
        if let Some(reason) = self.taken(Helper::LockTimeout) {
            return Err(reason);
        }
        let op = self.op_of(&plan.operation.origin.receiver).to_owned();
        Ok(Prepared {
            op,
            edits: Vec::new(),
            elsewhere: Vec::new(),
            lines: Lines { keeps_call: true, ..Lines::default() },
        })
    }

    /// The plans that limit how long a statement waits, if all of it may be limited.
    fn limits(&self, statement: &Stmt) -> Vec<usize> {
        let is_limit = |plan: &usize| limit(&self.plans[*plan]).is_some() && self.prepared.contains_key(plan);
        match statement {
            // A batch block runs its operations at its end.
            Stmt::With(with) => {
                let ids = with.items.iter().map(|item| item.context_expr.range());
                ids.flat_map(|id| self.plans_of_batch(id)).filter(is_limit).collect()
            }
            _ => (0..self.plans.len())
                .filter(|plan| {
                    let origin = &self.plans[*plan].operation.origin;
                    origin.statement == statement.range() && !matches!(origin.receiver, Receiver::Batch(_))
                })
                .filter(is_limit)
                .collect(),
        }
    }

    /// Why a statement may not be limited, as a whole.
    fn must_wait(&self, statement: &'a Stmt) -> Option<&'static str> {
        let waits = self.unlimited.iter().any(|call| statement.range().contains_range(*call));
        match statement {
            Stmt::With(with) => (waits || self.runs_other_statements(with))
                .then_some("its batch block also does what has to wait for its locks"),
            _ => waits.then_some("its text also says what has to wait for its locks"),
        }
    }

    /// Put neighbouring statements that ask for the same limit into one block; the index of the first
    /// statement that is left.
    pub(super) fn limit_run(&mut self, body: &'a [Stmt], start: usize, parent: &str) -> Option<usize> {
        let mut plans = self.limits(body.get(start)?);
        let timeout = limit(&self.plans[*plans.first()?])?;
        if let Some(reason) = self.must_wait(&body[start]) {
            self.refused.extend(plans.into_iter().map(|plan| (plan, reason.to_owned())));
            return Some(start + 1);
        }
        let mut end = start + 1;
        while let Some(next) = body.get(end)
            && let more = self.limits(next)
            && !more.is_empty()
            && self.must_wait(next).is_none()
        {
            plans.extend(more);
            end += 1;
        }
        if !(start..end).all(|index| self.is_alone(body, index, parent)) {
            return Some(end);
        }
        let (first, last) = (&body[start], &body[end - 1]);
        let newline = self.renderer.newline();
        let current = self.renderer.indentation(first.start());
        let inner = format!("{current}{}", self.unit(current, parent));
        let start = self.module.source().line_start(self.suppressed_from(first));
        let range = TextRange::new(start, self.renderer.line_end(last.end()));
        let text = format!(
            "{current}with {}({}):{newline}{}",
            self.printer.function(Helper::LockTimeout),
            self.printer.string(timeout),
            self.renderer.render(range, &[], current, &inner)
        );
        self.regions.push(edit::replace(range, text));
        self.helpers.insert(Helper::LockTimeout);
        self.placed.extend(plans);
        Some(end)
    }

    /// Where a statement starts, with the comments above it that suppress something: they go on doing
    /// so only just above it.
    fn suppressed_from(&self, statement: &Stmt) -> TextSize {
        let line = self.module.position(statement.start()).line;
        let suppressions = Suppressions::read(self.module);
        let above = suppressions
            .iter()
            .filter(|comment| comment.line == Some(line))
            .map(|comment| comment.range.start());
        above.chain([statement.start()]).min().unwrap_or(statement.start())
    }

    /// `with _lock_timeout(…):`, with nothing else in its header.
    fn is_limit(&self, with: &StmtWith) -> bool {
        let [item] = with.items.as_slice() else { return false };
        let Expr::Call(call) = &item.context_expr else { return false };
        let spelled = self.module.text(&*call.func);
        spelled == self.printer.function(Helper::LockTimeout) && self.taken(Helper::LockTimeout).is_none()
    }

    /// Take the statements that are to change out of a block that limits how long they wait: what
    /// takes their place may have to wait. They change in the next pass.
    pub(super) fn release(
        &mut self,
        with: &'a StmtWith,
        index: usize,
        body: &'a [Stmt],
        parent: &str,
    ) -> bool {
        let changes = |statement: &Stmt| {
            (0..self.plans.len()).any(|plan| {
                limit(&self.plans[plan]).is_none()
                    && self.prepared.contains_key(&plan)
                    && statement.range().contains_range(self.plans[plan].operation.origin.statement)
            })
        };
        if !self.is_limit(with) || !with.body.iter().any(changes) {
            return false;
        }
        let changing: Vec<bool> = with.body.iter().map(changes).collect();
        if !self.is_alone(body, index, parent) {
            return true;
        }
        let source = self.module.source();
        let newline = self.renderer.newline();
        let current = self.renderer.indentation(with.start());
        let Some(first) = with.body.first() else { return false };
        let inner = self.renderer.indentation(first.start());
        let header = header_range(self.module, with);
        let comment = source[TextRange::new(header.end(), self.renderer.line_end(header.end()))].trim();
        let mut out = if comment.is_empty() { String::new() } else { format!("{current}{comment}{newline}") };
        let mut gap_start = source.full_line_end(header.end());
        let mut open = false;
        for (statement, changing) in with.body.iter().zip(changing) {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            gap_start = source.full_line_end(statement.end());
            if !changing && !open {
                out.push_str(&format!("{current}{}{newline}", &source[header]));
            }
            open = !changing;
            let to = if changing { current } else { inner };
            out.push_str(&self.lines(gap, inner, to));
            let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
            out.push_str(&self.renderer.render(range, &[], inner, to));
            out.push_str(newline);
        }
        let range = TextRange::new(source.line_start(with.start()), self.renderer.line_end(with.end()));
        self.unfold.push(edit::replace(range, out.trim_end_matches(['\r', '\n'])));
        self.released = true;
        true
    }
}
