//! Turns recipes into text: the one stage that knows how a rewritten migration looks.
//!
//! Statements with a recipe move into `with op.get_context().autocommit_block():`; neighbours share
//! one block, and an operation leaves its batch block for it. Everything else stays byte for byte.
//!
//! **Architecture Invariant:** a fix is whole or nothing. What can't be laid out is refused with a
//! reason, and the file is left as it was in that place.

pub(crate) mod call;
pub(crate) mod helpers;
mod sql;
mod timeout;
mod type_change;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{ExceptHandler, Expr, Stmt, StmtFunctionDef, StmtWith};
use ruff_python_codegen::Stylist;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use self::call::{Lines, Printer, find_call};
use self::helpers::Helper;
use crate::operations::{Functions, Operation, OperationKind, Origin, Receiver};
use crate::python::Module;
use crate::python::edit::{self, Edit, Renderer};
use crate::python::value::{BatchId, Value};
use crate::recipe::{Action, Around, Change, Recipe, Step};
use crate::settings::Portability;

/// An operation and the recipe that takes its place.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'a> {
    pub operation: &'a Operation,
    pub recipe: &'a Recipe,
}

impl Planned<'_> {
    /// Whether the statement is edited where it stands: in a block, or needing none.
    fn stays(&self) -> bool {
        self.operation.autocommit || self.recipe.around == Around::Nothing
    }

    /// Whether nothing of the statement is left.
    fn is_left_out(&self) -> bool {
        self.recipe.steps.iter().any(|step| step.action == Action::LeaveOut)
    }
}

/// A keyword that lets a call run a second time (`if_not_exists`, `if_exists`).
#[derive(Debug, Clone, PartialEq)]
pub struct Rerunnable {
    pub origin: Origin,
    pub keyword: &'static str,
    /// The call runs on other databases, too, which do not understand the SQL for the keyword.
    pub only_on_postgresql: bool,
}

/// What became of a file.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The new text, when anything changed.
    pub source: Option<String>,
    /// Plans (by index) that could not be laid out, and why.
    pub refused: Vec<(usize, String)>,
    /// Statements were taken out of a block that limits how long they wait for a lock, to change in
    /// the next pass.
    pub released: bool,
}

/// The helper functions that a rewritten file may get, by name, as a file that indents by four
/// spaces gets them.
pub fn helper_sources() -> impl Iterator<Item = (&'static str, String)> {
    helpers::ALL.into_iter().map(|helper| (helper.name(), helper.source("op", "    ", "\n")))
}

/// What else a file does.
#[derive(Debug, Default)]
pub struct Others {
    /// The statements that are a `COMMIT` and nothing else: one just in front of a block is not
    /// needed any more.
    pub commits: Vec<TextRange>,
    /// The calls that have to wait for their locks, however long.
    pub unlimited: Vec<TextRange>,
}

/// Rewrite one file.
#[must_use]
pub fn rewrite(
    module: &Module,
    plans: &[Planned],
    others: &Others,
    rerunnable: &[Rerunnable],
    portability: Portability,
) -> Outcome {
    if has_lone_carriage_return(module.source()) {
        let reason = "the file has lines that end in a lone carriage return";
        return Outcome {
            refused: (0..plans.len()).map(|plan| (plan, reason.to_owned())).collect(),
            ..Outcome::default()
        };
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let printer =
        Printer { module, renderer: &renderer, stylist: &stylist, quote: stylist.quote().as_char() };
    let mut layout = Layout {
        module,
        renderer: &renderer,
        printer,
        plans,
        commits: &others.commits,
        unlimited: &others.unlimited,
        portability,
        prepared: BTreeMap::new(),
        refused: BTreeMap::new(),
        regions: Vec::new(),
        inline: Vec::new(),
        unfold: Vec::new(),
        helpers: BTreeSet::new(),
        import: ModuleOp::find(module),
        placed: BTreeSet::new(),
        released: false,
    };
    layout.prepare(rerunnable);
    layout.suite(module.body(), "");
    layout.finish()
}

/// Append keywords to calls; `None` when that can't be laid out.
#[must_use]
pub fn with_keywords(module: &Module, calls: &[(TextRange, Vec<(&str, String)>)]) -> Option<String> {
    if has_lone_carriage_return(module.source()) {
        return None;
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let printer =
        Printer { module, renderer: &renderer, stylist: &stylist, quote: stylist.quote().as_char() };
    let mut edits = Vec::new();
    for (range, keywords) in calls {
        edits.extend(printer.append(find_call(module.body(), *range)?, keywords));
    }
    edit::apply(module.source(), edits)
}

/// Leave a keyword out of a call; `None` when that can't be laid out.
#[must_use]
pub fn without_keyword(module: &Module, call: TextRange, keyword: &str) -> Option<String> {
    if has_lone_carriage_return(module.source()) {
        return None;
    }
    let renderer = Renderer::new(module);
    let stylist = Stylist::from_tokens(module.tokens(), module.source());
    let printer =
        Printer { module, renderer: &renderer, stylist: &stylist, quote: stylist.quote().as_char() };
    let keyword = find_call(module.body(), call)?.arguments.find_keyword(keyword)?;
    let edit = printer.without(keyword.range()).ok()?;
    edit::apply(module.source(), vec![edit]).filter(|new| is_faithful(module, new))
}

/// Line breaks that only old Macintoshes understood: git and `patch` don't.
fn has_lone_carriage_return(source: &str) -> bool {
    let bytes = source.as_bytes();
    bytes.iter().enumerate().any(|(at, byte)| *byte == b'\r' && bytes.get(at + 1) != Some(&b'\n'))
}

struct Layout<'a> {
    module: &'a Module,
    renderer: &'a Renderer<'a>,
    printer: Printer<'a>,
    plans: &'a [Planned<'a>],
    /// Statements that are a `COMMIT` and nothing else.
    commits: &'a [TextRange],
    /// Calls that have to wait for their locks.
    unlimited: &'a [TextRange],
    portability: Portability,
    prepared: BTreeMap<usize, Prepared>,
    refused: BTreeMap<usize, String>,
    /// Replacements of whole lines.
    regions: Vec<Edit>,
    /// Edits inside of statements that stay where they are.
    inline: Vec<Edit>,
    /// Line breaks between statements that share a line; the rest waits for the next pass.
    unfold: Vec<Edit>,
    helpers: BTreeSet<Helper>,
    import: ModuleOp,
    placed: BTreeSet<usize>,
    released: bool,
}

/// A plan, ready to print.
struct Prepared {
    op: String,
    edits: Vec<Edit>,
    /// Edits of a constant that holds the call's text.
    elsewhere: Vec<Edit>,
    lines: Lines,
}

/// How the file's helpers can call the operations.
enum ModuleOp {
    Named(String),
    /// `from alembic import op` is missing; it goes to this place.
    Missing(TextSize),
}

impl ModuleOp {
    fn find(module: &Module) -> Self {
        let functions = Functions::new(module);
        let scope = functions.scope();
        if let Some(name) = scope.name_of(&Value::Op) {
            return Self::Named(name.to_owned());
        }
        if let Some(name) = scope.name_of(&Value::Alembic) {
            return Self::Named(format!("{name}.op"));
        }
        let import = module.body().iter().rfind(|statement| {
            matches!(statement, Stmt::ImportFrom(import)
                if import.module.as_ref().is_some_and(|name| name.as_str().starts_with("alembic")))
        });
        let first = import.or_else(|| module.body().iter().find(|statement| !is_docstring(statement)));
        Self::Missing(first.map_or_else(TextSize::default, Ranged::end))
    }

    fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Missing(_) => "op",
        }
    }
}

fn is_docstring(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(expression) if expression.value.is_string_literal_expr())
}

/// A statement on its way into a block.
struct Piece<'a> {
    plan: usize,
    statement: &'a Stmt,
    /// The indentation that it has.
    indentation: &'a str,
    /// Comments and blank lines in front of it, as whole lines with their indentation.
    gaps: Vec<(TextRange, &'a str)>,
    /// The comment behind the header of the batch block that it leaves.
    comment: Option<&'a str>,
    /// The batch block that it leaves.
    batch: Option<&'a StmtWith>,
}

/// A part of a region, in order.
enum Segment<'a> {
    Keep(String),
    Move(Piece<'a>),
}

impl<'a> Layout<'a> {
    /// Work out every plan's edits and lines; refuse what can't be edited.
    fn prepare(&mut self, rerunnable: &[Rerunnable]) {
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
                Ok(edit) => self.unfold.push(edit),
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
    fn cut(&self, plans: &[usize]) -> Result<Edit, String> {
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
        sql::split(text, &wanted, first.statement, &between, self.module.source())
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
            Receiver::Batch(batch) => Some(batch),
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
        let lines = printer.lines(&op, plan.recipe, !origin.guards.is_empty())?;
        for handler in &origin.handlers {
            let first = first_of_handler(self.module.body(), *handler);
            if !first.is_some_and(|first| self.renderer.starts_line(first)) {
                return Err("an `except` around it goes on when it fails, on the same line".to_owned());
            }
        }
        if !origin.handlers.is_empty() && self.is_taken(Helper::FailOnPostgresql) {
            return Err(format!("the file has another function `{}`", Helper::FailOnPostgresql.name()));
        }
        if !lines.first.is_empty() && self.function_around(plan.operation).is_none() {
            return Err("a condition may take what an interrupted run leaves for done".to_owned());
        }
        let needed = lines.helpers.iter().flat_map(|helper| helper.needs());
        for helper in lines.helpers.iter().chain(needed) {
            if self.is_taken(*helper) {
                return Err(format!("the file has another function `{}`", helper.name()));
            }
        }
        Ok(Prepared { op, edits, elsewhere, lines })
    }

    /// Whether the file has a function of a helper's name that is not the helper.
    fn is_taken(&self, helper: Helper) -> bool {
        self.module.body().iter().any(|statement| {
            matches!(statement, Stmt::FunctionDef(function)
                if function.name.as_str() == helper.name() && Helper::of(function).is_none())
        })
    }

    /// The `upgrade` or `downgrade` that an operation stands in.
    fn function_around(&self, operation: &Operation) -> Option<&'a StmtFunctionDef> {
        self.module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function)
                if matches!(function.name.as_str(), "upgrade" | "downgrade")
                    && function.range().contains_range(operation.origin.statement) =>
            {
                Some(function)
            }
            _ => None,
        })
    }

    /// What has to happen before any condition is looked at stands at the beginning of the function.
    fn insert_prologues(&self, edits: &mut Vec<Edit>) {
        let newline = self.renderer.newline();
        let unit = self.printer.stylist.indentation().as_str();
        let mut prologues: BTreeMap<TextSize, (String, Vec<&String>)> = BTreeMap::new();
        for plan in &self.placed {
            let Some(prepared) = self.prepared.get(plan) else { continue };
            let function = self.function_around(self.plans[*plan].operation);
            let Some(first) =
                function.and_then(|function| function.body.iter().find(|statement| !is_docstring(statement)))
            else {
                continue;
            };
            let at = self.module.source().line_start(first.start());
            let indentation = self.renderer.indentation(first.start());
            let header =
                format!("{indentation}with {}.get_context().autocommit_block():{newline}", prepared.op);
            let (_, lines) = prologues.entry(at).or_insert_with(|| (header, Vec::new()));
            lines.extend(&prepared.lines.first);
        }
        for (at, (header, lines)) in prologues.into_iter().filter(|(_, (_, lines))| !lines.is_empty()) {
            let indentation = &header[..header.len() - header.trim_start().len()];
            let body = lines.iter().flat_map(|line| [indentation, unit, line.as_str(), newline]);
            edits.push(edit::insert(at, [header.as_str()].into_iter().chain(body).collect::<String>()));
        }
    }

    fn has_comments(&self, range: TextRange) -> bool {
        self.module.tokens().in_range(range).iter().any(|token| token.kind() == TokenKind::Comment)
    }

    /// The author's name for `op` where an operation stands.
    fn op_of<'b>(&'b self, receiver: &'b Receiver) -> &'b str {
        match receiver {
            Receiver::Op(op) => op,
            Receiver::Batch(batch) => &batch.op,
            Receiver::Function | Receiver::Bind | Receiver::Other => self.import.name(),
        }
    }

    /// The quotes that a call uses, else the file's.
    fn quote_of(&self, call: TextRange) -> char {
        let first =
            self.module.tokens().in_range(call).iter().find(|token| token.kind() == TokenKind::String);
        first.map_or(self.printer.quote, |token| token.string_quote_style().as_char())
    }

    /// The plan for a statement of a suite.
    fn plan_of(&self, statement: &Stmt) -> Option<usize> {
        self.plans
            .iter()
            .position(|plan| plan.operation.origin.statement == statement.range())
            .filter(|plan| self.prepared.contains_key(plan))
    }

    fn plans_of_batch(&self, id: BatchId) -> impl Iterator<Item = usize> {
        let in_batch = move |plan: &Planned| matches!(&plan.operation.origin.receiver, Receiver::Batch(batch) if batch.id == id);
        (0..self.plans.len()).filter(move |index| in_batch(&self.plans[*index]))
    }

    fn batch_plans(&self, id: BatchId) -> Vec<usize> {
        self.plans_of_batch(id)
            .filter(|index| !self.plans[*index].stays() && self.prepared.contains_key(index))
            .collect()
    }

    fn suite(&mut self, body: &'a [Stmt], parent: &str) {
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

    fn moves(&self, statement: &'a Stmt) -> bool {
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
    fn leaving(&self, with: &'a StmtWith) -> Vec<usize> {
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
    fn runs_other_statements(&self, with: &'a StmtWith) -> bool {
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
    fn is_batch_call(&self, expression: &Expr, variable: &str) -> bool {
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
    fn is_alone(&mut self, body: &'a [Stmt], index: usize, parent: &str) -> bool {
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
    fn unit<'b>(&'b self, current: &'b str, parent: &str) -> &'b str {
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

    /// Replace the lines of neighbouring statements that all move.
    fn region(&mut self, statements: &'a [Stmt], parent: &str) {
        let (Some(first), Some(last)) = (statements.first(), statements.last()) else { return };
        let current = self.renderer.indentation(first.start());
        let unit = self.unit(current, parent).to_owned();
        let source = self.module.source();
        let range = TextRange::new(source.line_start(first.start()), self.renderer.line_end(last.end()));
        let mut segments = Vec::new();
        let mut gap_start = range.start();
        for (index, statement) in statements.iter().enumerate() {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            let next = source.full_line_end(statement.end());
            if let Stmt::With(with) = statement {
                self.batch(with, gap, current, &mut segments);
            } else {
                segments.extend(self.segment(statement, gap, current));
            }
            gap_start = if index + 1 < statements.len() { next } else { gap_start };
        }
        let mut text = self.print(&segments, current, &unit);
        // The region ends before its last line break.
        if let Some(stripped) = text.strip_suffix(self.renderer.newline()) {
            text.truncate(stripped.len());
        }
        self.regions.push(edit::replace(range, text));
    }

    /// A statement that moves, or what is left of a `COMMIT` that the block makes unnecessary: its
    /// comments.
    fn segment(&self, statement: &'a Stmt, gap: TextRange, current: &'a str) -> Option<Segment<'a>> {
        if let Some(plan) = self.plan_of(statement) {
            let gaps = vec![(gap, current)];
            return Some(Segment::Move(Piece {
                plan,
                statement,
                indentation: current,
                gaps,
                comment: None,
                batch: None,
            }));
        }
        let mut kept = self.lines(gap, current, current);
        let behind = TextRange::new(statement.end(), self.renderer.line_end(statement.end()));
        let comment = self.module.source()[behind].trim();
        if !comment.is_empty() {
            kept.push_str(&format!("{current}{comment}{}", self.renderer.newline()));
        }
        (!kept.is_empty()).then_some(Segment::Keep(kept))
    }

    /// Whole lines, moved to another indentation.
    fn lines(&self, range: TextRange, from: &str, to: &str) -> String {
        if range.is_empty() { String::new() } else { self.renderer.render(range, &[], from, to) }
    }

    /// Split a batch block into what stays and what leaves.
    fn batch(&self, with: &'a StmtWith, gap: TextRange, current: &'a str, segments: &mut Vec<Segment<'a>>) {
        let source = self.module.source();
        let newline = self.renderer.newline();
        let header = header_range(self.module, with);
        let header_text = &source[header];
        let mut comment = Some(&source[TextRange::new(header.end(), self.renderer.line_end(header.end()))]);
        let Some(first) = with.body.first() else { return };
        let indentation = self.renderer.indentation(first.start());
        let leaving = self.leaving(with);
        let plan_of = |statement: &Stmt| {
            leaving
                .iter()
                .copied()
                .find(|plan| self.plans[*plan].operation.origin.statement == statement.range())
        };
        let mut above = Some((gap, current));
        let mut open: Option<String> = None;
        let mut gap_start = source.full_line_end(header.end());
        for statement in &with.body {
            let gap = TextRange::new(gap_start, source.line_start(statement.start()));
            gap_start = source.full_line_end(statement.end());
            if let Some(plan) = plan_of(statement) {
                if let Some(text) = open.take() {
                    segments.push(Segment::Keep(text));
                }
                segments.push(Segment::Move(Piece {
                    plan,
                    statement,
                    indentation,
                    gaps: above.take().into_iter().chain([(gap, indentation)]).collect(),
                    comment: comment.take().map(str::trim).filter(|comment| !comment.is_empty()),
                    batch: Some(with),
                }));
            } else {
                let text = open.get_or_insert_with(|| {
                    let lines = above.take().map(|(gap, from)| self.lines(gap, from, current));
                    let comment = comment.take().unwrap_or_default();
                    format!("{}{current}{header_text}{comment}{newline}", lines.unwrap_or_default())
                });
                text.push_str(&self.lines(gap, indentation, indentation));
                let range = TextRange::new(statement.start(), self.renderer.line_end(statement.end()));
                text.push_str(&self.renderer.render(range, &self.inline, indentation, indentation));
                text.push_str(newline);
            }
        }
        if let Some(text) = open.take() {
            segments.push(Segment::Keep(text));
        }
    }

    fn needs_branch(&self, plan: usize) -> bool {
        let operation = self.plans[plan].operation;
        if operation.dialects.only_postgresql() {
            return false;
        }
        // Of SQL text nobody knows what else understands it.
        let index_only = operation.origin.sql.is_none()
            && matches!(&operation.kind, OperationKind::CreateIndex(_) | OperationKind::DropIndex(_));
        match self.portability {
            Portability::PostgresOnly => false,
            // `op.create_index` outside of a batch block and IF NOT EXISTS are fine on SQLite.
            Portability::Sqlite => !index_only,
            Portability::Many => true,
        }
    }

    /// Print segments, with one header over each run of moved statements.
    fn print(&mut self, segments: &[Segment<'a>], current: &str, unit: &str) -> String {
        let mut out = String::new();
        let mut index = 0;
        while index < segments.len() {
            match &segments[index] {
                Segment::Keep(text) => {
                    out.push_str(text);
                    index += 1;
                }
                Segment::Move(first) => {
                    let branch = self.needs_branch(first.plan);
                    let mut run: Vec<&Piece> = segments[index..]
                        .iter()
                        .map_while(|segment| match segment {
                            Segment::Move(piece) if self.needs_branch(piece.plan) == branch => Some(piece),
                            _ => None,
                        })
                        .collect();
                    let ends = run.iter().position(|piece| !self.behind(piece.plan).is_empty());
                    run.truncate(ends.map_or(run.len(), |last| last + 1));
                    index += run.len();
                    out.push_str(&self.block(&run, branch, current, unit));
                }
            }
        }
        out
    }

    /// The statements that follow the block of a plan.
    fn behind(&self, plan: usize) -> &[String] {
        self.prepared.get(&plan).map_or(&[], |prepared| prepared.lines.behind.as_slice())
    }

    fn block(&mut self, run: &[&Piece<'a>], branch: bool, current: &str, unit: &str) -> String {
        let newline = self.renderer.newline();
        let Some(first) = run.first() else { return String::new() };
        let op = self.prepared.get(&first.plan).map_or("op", |prepared| prepared.op.as_str()).to_owned();
        let mut out = self.leading(first, current);
        let outer = if branch {
            let postgresql = self.printer.string("postgresql");
            out.push_str(&format!("{current}if {op}.get_context().dialect.name == {postgresql}:{newline}"));
            format!("{current}{unit}")
        } else {
            current.to_owned()
        };
        let inner = format!("{outer}{unit}");
        out.push_str(&format!("{outer}with {op}.get_context().autocommit_block():{newline}"));
        for (index, piece) in run.iter().enumerate() {
            let Some(prepared) = self.prepared.get(&piece.plan) else { continue };
            if index > 0 {
                out.push_str(&self.leading(piece, &inner));
            }
            let mut lines = prepared.lines.before.clone();
            let end = self.renderer.line_end(piece.statement.end());
            if prepared.lines.keeps_call {
                let range = TextRange::new(piece.statement.start(), end);
                for line in lines {
                    out.push_str(&format!("{inner}{line}{newline}"));
                }
                out.push_str(&self.renderer.render(range, &prepared.edits, piece.indentation, &inner));
                out.push_str(newline);
            } else {
                let comment = &self.module.source()[TextRange::new(piece.statement.end(), end)];
                if let Some(last) = lines.last_mut() {
                    last.push_str(comment);
                }
                for line in lines {
                    out.push_str(&format!("{inner}{line}{newline}"));
                }
            }
            for line in &prepared.lines.after {
                out.push_str(&format!("{inner}{line}{newline}"));
            }
            self.inline.extend(prepared.elsewhere.iter().cloned());
            self.helpers.extend(prepared.lines.helpers.iter().copied());
            self.placed.insert(piece.plan);
        }
        for line in run.last().into_iter().flat_map(|piece| self.behind(piece.plan)) {
            out.push_str(&format!("{outer}{line}{newline}"));
        }
        if branch {
            out.push_str(&format!("{current}else:{newline}"));
            out.push_str(&self.originals(run, current, unit));
        }
        out
    }

    /// The comments and blank lines in front of a piece, at the indentation that it gets.
    fn leading(&self, piece: &Piece<'a>, to: &str) -> String {
        let mut out: String = piece.gaps.iter().map(|(gap, from)| self.lines(*gap, from, to)).collect();
        if let Some(comment) = piece.comment {
            out.push_str(&format!("{to}{comment}{}", self.renderer.newline()));
        }
        out
    }

    /// The statements as they were, one level deeper.
    fn originals(&self, run: &[&Piece<'a>], current: &str, unit: &str) -> String {
        let newline = self.renderer.newline();
        let outer = format!("{current}{unit}");
        let inner = format!("{outer}{unit}");
        let mut out = String::new();
        let mut batch: Option<TextRange> = None;
        for (index, piece) in run.iter().enumerate() {
            let to = if piece.batch.is_some() { &inner } else { &outer };
            if let Some(with) = piece.batch
                && batch != Some(with.range())
            {
                batch = Some(with.range());
                let header = header_range(self.module, with);
                out.push_str(&self.renderer.render(header, &[], current, &outer));
                out.push_str(newline);
            }
            if piece.batch.is_none() {
                batch = None;
            }
            if index > 0 {
                out.push_str(&self.leading(piece, to));
            }
            let range =
                TextRange::new(piece.statement.start(), self.renderer.line_end(piece.statement.end()));
            out.push_str(&self.renderer.render(range, &[], piece.indentation, to));
            out.push_str(newline);
        }
        out
    }

    /// Put everything together.
    fn finish(mut self) -> Outcome {
        let mut edits = Vec::new();
        if self.unfold.is_empty() {
            for plan in 0..self.plans.len() {
                if !self.placed.contains(&plan) {
                    self.refused.entry(plan).or_insert_with(|| {
                        let in_batch =
                            matches!(self.plans[plan].operation.origin.receiver, Receiver::Batch(_));
                        if in_batch {
                            "its batch block also runs other statements, so that it can't be split".to_owned()
                        } else {
                            "its statement is not in a place that can be rewritten".to_owned()
                        }
                    });
                }
            }
            if self.placed.is_empty() {
                return Outcome { refused: self.refused.into_iter().collect(), ..Outcome::default() };
            }
            let covered =
                |edit: &Edit| self.regions.iter().any(|region| region.range().contains_range(edit.range()));
            edits.extend(self.inline.iter().filter(|edit| !covered(edit)).cloned());
            edits.append(&mut self.regions);
            self.insert_prologues(&mut edits);
            self.insert_failures(&mut edits);
            self.insert_helpers(&mut edits);
        } else {
            edits.append(&mut self.unfold);
        }
        let refused = self.refused.into_iter().collect();
        let source = edit::apply(self.module.source(), edits)
            .filter(|new| new != self.module.source())
            .filter(|new| is_faithful(self.module, new));
        Outcome { source, refused, released: self.released }
    }

    /// What an `except` would go on from ends the migration on PostgreSQL: in the transaction that it was in, the
    /// next statement would have failed.
    fn insert_failures(&mut self, edits: &mut Vec<Edit>) {
        let placed = self.placed.iter().map(|plan| &self.plans[*plan].operation.origin);
        let handlers: BTreeSet<(TextSize, TextSize)> = placed
            .flat_map(|origin| &origin.handlers)
            .map(|handler| (handler.start(), handler.end()))
            .collect();
        for (start, end) in handlers {
            let handler = TextRange::new(start, end);
            let Some(first) = first_of_handler(self.module.body(), handler) else { continue };
            let indentation = self.renderer.indentation(first);
            let call = Helper::FailOnPostgresql.name();
            edits.push(edit::insert(first, format!("{call}(){}{indentation}", self.renderer.newline())));
            self.helpers.insert(Helper::FailOnPostgresql);
        }
    }

    fn insert_helpers(&self, edits: &mut Vec<Edit>) {
        let newline = self.renderer.newline();
        let uses_import = self.placed.iter().any(|plan| {
            matches!(
                self.plans[*plan].operation.origin.receiver,
                Receiver::Function | Receiver::Bind | Receiver::Other
            )
        });
        if let ModuleOp::Missing(at) = &self.import
            && (uses_import || !self.helpers.is_empty())
        {
            edits.push(edit::insert(self.renderer.line_end(*at), format!("{newline}from alembic import op")));
        }
        let defined = |helper: &Helper| {
            self.module.body().iter().any(|statement| {
                matches!(statement, Stmt::FunctionDef(function) if function.name.as_str() == helper.name())
            })
        };
        let mut helpers = self.helpers.clone();
        helpers.extend(self.helpers.iter().flat_map(|helper| helper.needs()));
        let missing: Vec<_> = helpers.iter().filter(|helper| !defined(helper)).collect();
        if missing.is_empty() {
            return;
        }
        let last = self.module.body().iter().rfind(|statement| {
            matches!(statement, Stmt::FunctionDef(function)
                if matches!(function.name.as_str(), "upgrade" | "downgrade"))
        });
        let at = match last.or(self.module.body().last()) {
            Some(statement) => self.end_of_suite(statement.end()),
            None => return,
        };
        let unit = self.printer.stylist.indentation().as_str();
        let mut text = String::new();
        for (module, name) in missing.iter().filter_map(|helper| helper.import()) {
            edits.extend(self.import_of(module, name));
        }
        for helper in missing {
            let source = helper.source(self.import.name(), unit, newline);
            text.push_str(&newline.repeat(3));
            text.push_str(source.trim_end());
        }
        edits.push(edit::insert(at, text));
    }

    /// `from module import name` in front of the other imports, unless it is there. The module is one of
    /// the standard library.
    fn import_of(&self, module: &str, name: &str) -> Option<Edit> {
        let imports = |statement: &Stmt| {
            matches!(statement, Stmt::ImportFrom(import)
                if import.module.as_ref().is_some_and(|from| from.as_str() == module)
                    && import.names.iter().any(|alias| alias.name.as_str() == name && alias.asname.is_none()))
        };
        let body = self.module.body();
        if body.iter().any(imports) {
            return None;
        }
        let is_future = |statement: &Stmt| {
            matches!(statement, Stmt::ImportFrom(import)
                if import.module.as_ref().is_some_and(|from| from.as_str() == "__future__"))
        };
        let newline = self.renderer.newline();
        let first = body.iter().find(|statement| !is_docstring(statement) && !is_future(statement))?;
        let other_group = match first {
            Stmt::Import(import) => import.names.first().map(|alias| alias.name.as_str()),
            Stmt::ImportFrom(import) => import.module.as_ref().map(ruff_python_ast::Identifier::as_str),
            _ => None,
        };
        let installed = |name: &str| name.starts_with("alembic") || name.starts_with("sqlalchemy");
        let blank = if other_group.is_none_or(installed) { newline } else { "" };
        let at = self.module.source().line_start(first.start());
        Some(edit::insert(at, format!("from {module} import {name}{newline}{blank}")))
    }

    /// The end of a function's last line, indented comments that follow included.
    fn end_of_suite(&self, end: TextSize) -> TextSize {
        let source = self.module.source();
        let mut at = self.renderer.line_end(end);
        let mut line = source.full_line_end(end);
        while line.to_usize() < source.len() {
            let text = source.line_str(line);
            let trimmed = text.trim();
            if trimmed.starts_with('#') && text.starts_with([' ', '\t']) {
                at = self.renderer.line_end(line);
            } else if !trimmed.is_empty() {
                break;
            }
            line = source.full_line_end(line);
        }
        at
    }
}

/// A part of an `if` or `for` statement.
struct Clause<'a> {
    /// `if …:`, the colon included.
    header: TextRange,
    condition: Option<&'a Expr>,
    body: &'a [Stmt],
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

/// `with … as batch_op:`, the colon included.
fn header_range(module: &Module, with: &StmtWith) -> TextRange {
    let after = with.items.last().map_or(with.start(), Ranged::end);
    let colon = module.tokens().after(after).iter().find(|token| token.kind() == TokenKind::Colon);
    TextRange::new(with.start(), colon.map_or(after, |colon| colon.range().end()))
}

/// Where the first statement of an `except` clause begins.
fn first_of_handler(body: &[Stmt], handler: TextRange) -> Option<TextSize> {
    struct Find {
        handler: TextRange,
        first: Option<TextSize>,
    }
    impl<'a> Visitor<'a> for Find {
        fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
            if handler.range() == self.handler {
                let ExceptHandler::ExceptHandler(handler) = handler;
                self.first = handler.body.first().map(Ranged::start);
            }
            ruff_python_ast::visitor::walk_except_handler(self, handler);
        }
    }
    let mut find = Find { handler, first: None };
    find.visit_body(body);
    find.first
}

/// The new text is Python, and no comment of the old one is lost.
fn is_faithful(module: &Module, new: &str) -> bool {
    let Ok(new) = Module::parse(new.to_owned()) else { return false };
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for token in new.tokens().iter().filter(|token| token.kind() == TokenKind::Comment) {
        *left.entry(new.text(token.range())).or_default() += 1;
    }
    module.tokens().iter().filter(|token| token.kind() == TokenKind::Comment).all(|token| {
        match left.get_mut(module.text(token.range())) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    })
}
