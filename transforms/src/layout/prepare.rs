//! Works out what becomes of one statement: the edits of its call, and the lines before and behind it.

use std::collections::BTreeMap;

use ruff_python_ast::Expr;
use ruff_python_ast::token::{Token, TokenKind};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::additions::first_of_handler;
use super::call::{Known, Lines, Printer};
use super::helpers::Helper;
use super::{Kept, Layout, Planned, Rerunnable};
use super::{sql, timeout};
use crate::operations::{OperationKind, Origin, Receiver};
use crate::python::edit;
use crate::python::edit::Edit;
use crate::python::find::{find_assignment, find_call};
use crate::python::text::Text;
use crate::python::value::Arg;
use crate::recipe::{Action, Change, Step};

/// A plan, ready to print.
pub(super) struct Prepared {
    pub(super) op: String,
    pub(super) edits: Vec<Edit>,
    /// Edits of a constant that holds the call's text.
    pub(super) elsewhere: Vec<Edit>,
    pub(super) lines: Lines,
}
impl Layout<'_> {
    /// Work out every plan's edits and lines; refuse what can't be edited.
    pub(super) fn prepare(&mut self, rerunnable: &[Rerunnable]) {
        let mut shared: BTreeMap<TextSize, Vec<usize>> = BTreeMap::new();
        for (index, plan) in self.plans.iter().enumerate() {
            let limit = timeout::limit(plan);
            if limit.is_none() && !plan.operation.origin.is_alone() {
                shared.entry(plan.operation.origin.statement.start()).or_default().push(index);
                continue;
            }
            let prepared = match limit {
                Some(_) => self.prepare_limit(plan),
                None => self.prepare_one(plan),
            };
            match prepared {
                Ok(prepared) => {
                    self.prepared.insert(index, prepared);
                }
                Err(reason) => {
                    self.refused.insert(index, reason);
                }
            }
        }
        for plans in shared.into_values() {
            match self.cut(&plans) {
                Ok(edits) => self.unfold.extend(edits),
                Err(reason) => self.refused.extend(plans.iter().map(|plan| (*plan, reason.clone()))),
            }
        }
        for rerun in rerunnable {
            if let Some(sql) = &rerun.origin.sql {
                let change = Change { set: vec![(rerun.keyword, "True")], ..Change::default() };
                let edits = sql::edits(sql, &change, self.module.source());
                self.inline.extend(edits.unwrap_or_default());
            } else if let Some(call) = find_call(self.module.body(), rerun.origin.call) {
                let value = if rerun.only_on_postgresql {
                    let printer = Printer { quote: self.quote_of(rerun.origin.call), ..self.printer };
                    let postgresql = printer.string("postgresql");
                    format!(
                        "{}.get_context().dialect.name == {postgresql}",
                        self.op_of(&rerun.origin.receiver)
                    )
                } else {
                    "True".to_owned()
                };
                self.inline.extend(self.printer.append(call, &[(rerun.keyword, value)]));
            }
        }
    }

    /// Cut text that says several things, for the plans of one statement.
    fn cut(&self, plans: &[usize]) -> Result<Vec<Edit>, String> {
        const SHARES: &str = "it shares its text with other statements";
        let origins: Vec<&Origin> = plans.iter().map(|plan| &self.plans[*plan].operation.origin).collect();
        let Some((first, text)) = origins.first().and_then(|one| Some((*one, &one.sql.as_ref()?.text)))
        else {
            return Err(SHARES.to_owned());
        };
        if plans.iter().any(|plan| self.plans[*plan].operation.autocommit) || first.call != first.statement {
            return Err(SHARES.to_owned());
        }
        let wanted: Vec<_> = origins.iter().filter_map(|one| Some(&one.sql.as_ref()?.place)).collect();
        let between =
            format!("{}{}", self.renderer.newline(), self.renderer.indentation(first.statement.start()));
        let (frame, assignment) = self.frame(text, first.statement).ok_or(sql::TOGETHER)?;
        let statements = sql::split(text, &wanted, &frame, self.module.source())?;
        let statements = edit::replace(first.statement, statements.join(&between));
        Ok(assignment.map(|lines| edit::replace(lines, "")).into_iter().chain([statements]).collect())
    }

    /// What stands around a text where it is executed, and the lines of the assignment that it comes from, if it stands
    /// in one that is for nothing else.
    fn frame(&self, text: &Text, statement: TextRange) -> Option<((String, String), Option<TextRange>)> {
        let source = self.module.source();
        let around = |outer: TextRange, inner: TextRange| {
            let before = TextRange::new(outer.start(), inner.start());
            (&source[before], &source[TextRange::new(inner.end(), outer.end())])
        };
        if statement.contains_range(text.range) {
            let (before, behind) = around(statement, text.range);
            return Some(((before.to_owned(), behind.to_owned()), None));
        }
        let assignment = find_assignment(self.module.body(), text.range, statement)?;
        let [Expr::Name(target)] = assignment.targets.as_slice() else { return None };
        let is_name = |token: &&Token| {
            token.kind() == TokenKind::Name && self.module.text(token.range()) == target.id.as_str()
        };
        let name = self.module.tokens().in_range(statement).iter().find(is_name)?.range();
        let lines =
            TextRange::new(source.line_start(assignment.start()), source.full_line_end(assignment.end()));
        let (before, behind) = around(lines, assignment.range());
        if self.has_comments(lines) || !before.trim().is_empty() || !behind.trim().is_empty() {
            return None;
        }
        let (outer, inner) = (around(statement, name), around(assignment.value.range(), text.range));
        Some(((format!("{}{}", outer.0, inner.0), format!("{}{}", inner.1, outer.1)), Some(lines)))
    }

    fn prepare_one(&self, plan: &Planned) -> Result<Prepared, String> {
        let origin = &plan.operation.origin;
        let call = find_call(self.module.body(), origin.call)
            .ok_or_else(|| "its call was not found again".to_owned())?;
        let op = self.op_of(&origin.receiver).to_owned();
        let is_original = |step: &Step| matches!(step.action, Action::Original(_));
        let keeps_call = plan.recipe.steps.iter().any(is_original);
        if !keeps_call && self.has_comments(origin.statement) {
            return Err("there are comments inside of it".to_owned());
        }
        let batch = match &origin.receiver {
            Receiver::Batch(batch) => Some(&**batch),
            // Of what no call is left, it does not matter on what it was made.
            Receiver::Bind | Receiver::Other if keeps_call && origin.sql.is_none() => {
                return Err("it is not called on `op`".to_owned());
            }
            Receiver::Op(_) | Receiver::Function | Receiver::Bind | Receiver::Other => None,
        };
        if batch.is_some_and(|batch| batch.recreated) {
            return Err("its batch block copies the table".to_owned());
        }
        let change = plan.recipe.steps.iter().find_map(|step| match &step.action {
            Action::Original(change) => Some(change),
            _ => None,
        });
        let none = Change::default();
        let name = match &plan.operation.kind {
            OperationKind::AddConstraint(add) => Some(&add.name),
            _ => None,
        };
        // In a block of its author's own, a batch operation stays with its batch.
        let leaving = batch.filter(|_| !plan.stays());
        if batch.is_some()
            && leaving.is_none()
            && change.is_some_and(|change| change.method.is_some() || change.column.is_some())
        {
            return Err("it stands in a batch block inside of an autocommit block".to_owned());
        }
        let printer = Printer { quote: self.quote_of(call.range()), ..self.printer };
        if plan.is_left_out()
            && (plan.operation.origin.repeated
                || plan.operation.origin.sql.is_some()
                || plan.operation.origin.call != origin.statement)
        {
            return Err("its statement does more than this".to_owned());
        }
        let change = change.unwrap_or(&none);
        if origin.sql.is_some() && change.keep_columns.is_some() {
            return Err("its columns stand in SQL text".to_owned());
        }
        let edits = match &origin.sql {
            Some(sql) if keeps_call => sql::edits(sql, change, self.module.source())?,
            Some(_) => Vec::new(),
            None => printer.edits(&op, call, change, name, leaving)?,
        };
        let edits = edit::sorted(edits).ok_or_else(|| "its arguments share their commas".to_owned())?;
        let (edits, elsewhere) =
            edits.into_iter().partition(|edit| origin.statement.contains_range(edit.range()));
        let lines = self.lines_of(&printer, &op, plan)?;
        for handler in &origin.handlers {
            let first = first_of_handler(self.module.body(), *handler);
            if !first.is_some_and(|first| self.renderer.starts_line(first)) {
                return Err("an `except` around it goes on when it fails, on the same line".to_owned());
            }
        }
        if !origin.handlers.is_empty()
            && let Some(reason) = self.taken(Helper::FailOnPostgresql)
        {
            return Err(reason);
        }
        let mut keeping = [Helper::HoldsOn, Helper::Settled].into_iter().filter(|_| !self.kept.is_empty());
        if let Some(reason) = keeping.find_map(|helper| self.taken(helper)) {
            return Err(reason);
        }
        if !lines.first.is_empty() && self.function_around(plan.operation).is_none() {
            return Err("a condition may take what an interrupted run leaves for done".to_owned());
        }
        let needed = lines.helpers.iter().flat_map(|helper| helper.needs());
        for helper in lines.helpers.iter().chain(needed) {
            if let Some(reason) = self.taken(*helper) {
                return Err(reason);
            }
        }
        Ok(Prepared { op, edits, elsewhere, lines })
    }

    fn has_comments(&self, range: TextRange) -> bool {
        self.module.tokens().in_range(range).iter().any(|token| token.kind() == TokenKind::Comment)
    }

    /// The statements of a plan's recipe, told by the conditions around it.
    fn lines_of(&self, printer: &Printer, op: &str, plan: &Planned) -> Result<Lines, String> {
        let origin = &plan.operation.origin;
        let around =
            |kept: &&Kept| TextRange::new(kept.test.end(), kept.last.end()).contains_range(origin.statement);
        let keeping = self.kept.iter().filter(around).count();
        let asks = origin.guards.len() > keeping;
        let function = self.function_around(plan.operation);
        let is_known = |arg: &Arg| function.is_some_and(|function| self.holds_at_start(function, arg));
        let guard: Option<&Known> = if asks { Some(&is_known) } else { None };
        let lines = printer.lines(op, plan.recipe, guard)?;
        if !asks || (keeping == 0 && !origin.kept) {
            return Ok(lines);
        }
        // Whether it is done already is asked by one condition, and not by another.
        let mut again = printer.lines(op, plan.recipe, None)?;
        again.helpers.extend(lines.helpers);
        Ok(Lines { first: lines.first, ..again })
    }

    /// The author's name for `op` where an operation stands.
    pub(super) fn op_of<'b>(&'b self, receiver: &'b Receiver) -> &'b str {
        match receiver {
            Receiver::Op(op) => op,
            Receiver::Batch(batch) => &batch.op,
            Receiver::Function | Receiver::Bind | Receiver::Other => self.import.name(),
        }
    }

    /// The quotes that a call uses, else the file's.
    pub(super) fn quote_of(&self, call: TextRange) -> char {
        let first =
            self.module.tokens().in_range(call).iter().find(|token| token.kind() == TokenKind::String);
        first.map_or(self.printer.quote, |token| token.string_quote_style().as_char())
    }
}
