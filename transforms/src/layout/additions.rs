//! What a rewritten file gets besides its statements: helper functions, imports, and calls at the top of functions and
//! `except` clauses.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::helpers::any_over_expr;
use ruff_python_ast::visitor::{Visitor, walk_except_handler, walk_expr, walk_pattern, walk_stmt};
use ruff_python_ast::{
    Alias, ExceptHandler, Expr, Parameter, Pattern, PatternMatchAs, Stmt, StmtFunctionDef,
};
use ruff_python_parser::parse_expression;
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::Layout;
use super::helpers::Helper;
use crate::operations::{Functions, Operation, Receiver, callee};
use crate::python::edit::Edit;
use crate::python::is_docstring;
use crate::python::value::{Arg, Value};
use crate::python::{Module, edit};

/// How the file's helpers can call the operations.
pub(super) enum ModuleOp {
    Named(String),
    /// `from alembic import op` is missing; it goes to this place.
    Missing(TextSize),
}

impl ModuleOp {
    pub(super) fn find(module: &Module) -> Self {
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
        let is_import = |statement: &&Stmt| matches!(statement, Stmt::Import(_) | Stmt::ImportFrom(_));
        let any = || module.body().iter().rfind(is_import);
        let first = || module.body().iter().find(|statement| !is_docstring(statement));
        Self::Missing(import.or_else(any).or_else(first).map_or_else(TextSize::default, Ranged::end))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::Missing(_) => "op",
        }
    }
}

impl<'a> Layout<'a> {
    /// Why the file can't have a helper: it has something else of its name.
    pub(super) fn taken(&self, helper: Helper) -> Option<String> {
        let other = self.module.body().iter().any(|statement| {
            matches!(statement, Stmt::FunctionDef(function)
                if function.name.as_str() == helper.name() && Helper::of(function).is_none())
        });
        match self.taken.filter(|_| !self.printer.defines(helper)) {
            _ if other => Some(format!("the file has another function `{}`", helper.name())),
            Some(support) => Some(format!("the file has a name of its own like that of `{support}`")),
            None => None,
        }
    }

    /// The function that an operation stands in with all conditions around it that ask the database.
    pub(super) fn function_around(&self, operation: &Operation) -> Option<&'a StmtFunctionDef> {
        let guarded_outside = operation.origin.guards_of_call.is_some_and(|guards| guards > 0);
        self.module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function)
                if function.range().contains_range(operation.origin.statement)
                    && (!guarded_outside || matches!(function.name.as_str(), "upgrade" | "downgrade")) =>
            {
                Some(function)
            }
            _ => None,
        })
    }

    /// Whether an argument means the same at the beginning of a function as where it stands.
    pub(super) fn holds_at_start(&self, function: &StmtFunctionDef, arg: &Arg) -> bool {
        let Some(range) = arg.range.filter(|_| arg.code.is_none()) else { return arg.is_spelled_out() };
        let mut bound = Bound::default();
        bound.visit_body(&function.body);
        parse_expression(self.module.text(range)).is_ok_and(|parsed| {
            !any_over_expr(parsed.expr(), &|expr: &Expr| match expr {
                Expr::Name(name) => bound.names.contains(name.id.as_str()),
                Expr::Call(call) => callee(call) != Some("f"),
                Expr::Lambda(_) | Expr::Named(_) | Expr::Await(_) => true,
                _ => false,
            })
        })
    }

    /// What has to happen before any condition is looked at stands at the beginning of the function.
    pub(super) fn insert_prologues(&self, edits: &mut Vec<Edit>) {
        let newline = self.renderer.newline();
        let unit = self.printer.stylist.indentation().as_str();
        // By place; the lines that only PostgreSQL understands stand in a block of their own.
        let mut prologues: BTreeMap<(TextSize, bool), (String, Vec<&String>)> = BTreeMap::new();
        for plan in &self.placed {
            let Some(prepared) = self.prepared.get(plan) else { continue };
            let function = self.function_around(self.plans[*plan].operation);
            let Some(first) =
                function.and_then(|function| function.body.iter().find(|statement| !is_docstring(statement)))
            else {
                continue;
            };
            let at = self.module.source().line_start(first.start());
            let outer = self.renderer.indentation(first.start());
            let branch = self.needs_branch(*plan);
            let (_, lines) = prologues.entry((at, branch)).or_insert_with(|| {
                let op = &prepared.op;
                let condition = if branch {
                    let postgresql = self.printer.string("postgresql");
                    format!("{outer}if {op}.get_context().dialect.name == {postgresql}:{newline}")
                } else {
                    String::new()
                };
                let indentation = if branch { format!("{outer}{unit}") } else { outer.to_owned() };
                let header =
                    format!("{condition}{indentation}with {op}.get_context().autocommit_block():{newline}");
                (header, Vec::new())
            });
            lines.extend(&prepared.lines.first);
        }
        for ((at, _), (header, lines)) in prologues.into_iter().filter(|(_, (_, lines))| !lines.is_empty()) {
            let last = header.lines().last().unwrap_or_default();
            let indentation = &last[..last.len() - last.trim_start().len()];
            let body = lines.iter().flat_map(|line| [indentation, unit, line.as_str(), newline]);
            edits.push(edit::insert(at, [header.as_str()].into_iter().chain(body).collect::<String>()));
        }
    }

    /// What an `except` would go on from ends the migration on PostgreSQL: in the transaction that it was in, the
    /// next statement would have failed.
    pub(super) fn insert_failures(&mut self, edits: &mut Vec<Edit>) {
        let placed = self.placed.iter().map(|plan| &self.plans[*plan].operation.origin);
        let handlers: BTreeSet<(TextSize, TextSize)> = placed
            .flat_map(|origin| &origin.handlers)
            .map(|handler| (handler.start(), handler.end()))
            .collect();
        for (start, end) in handlers {
            let handler = TextRange::new(start, end);
            let Some(first) = first_of_handler(self.module.body(), handler) else { continue };
            let indentation = self.renderer.indentation(first);
            let call = self.printer.function(Helper::FailOnPostgresql);
            edits.push(edit::insert(first, format!("{call}(){}{indentation}", self.renderer.newline())));
            self.helpers.insert(Helper::FailOnPostgresql);
        }
    }

    /// Conditions that ask the database keep their answer until the body of their `if` is done.
    pub(super) fn keep_answers(&mut self, edits: &mut Vec<Edit>) {
        for kept in self.kept {
            let name = self.printer.string(&kept.name);
            let indentation = self.renderer.indentation(kept.last.start());
            let newline = self.renderer.newline();
            edits.push(edit::insert(
                kept.test.start(),
                format!("{}({name}, ", self.printer.function(Helper::HoldsOn)),
            ));
            edits.push(edit::insert(kept.test.end(), ")"));
            edits.push(edit::insert(
                self.renderer.line_end(kept.last.end()),
                format!("{newline}{indentation}{}({name})", self.printer.function(Helper::Settled)),
            ));
            self.helpers.extend([Helper::HoldsOn, Helper::Settled]);
        }
    }

    /// Add what the printed statements call. `source` prints a function, for the name of `op`, an indentation and a
    /// line break.
    pub(super) fn insert_helpers(
        &self,
        edits: &mut Vec<Edit>,
        source: fn(Helper, &str, &str, &str) -> String,
    ) {
        let newline = self.renderer.newline();
        let uses_import = self.placed.iter().any(|plan| {
            matches!(
                self.plans[*plan].operation.origin.receiver,
                Receiver::Function | Receiver::Bind | Receiver::Other
            )
        });
        let all_imported = self.printer.support.is_some() || self.helpers.is_empty();
        if let ModuleOp::Missing(at) = &self.import
            && (uses_import || !all_imported)
        {
            edits.push(edit::insert(self.renderer.line_end(*at), format!("{newline}from alembic import op")));
        }
        let defined = |helper: &Helper| {
            self.module.body().iter().any(|statement| {
                matches!(statement, Stmt::FunctionDef(function) if Helper::of(function) == Some(*helper))
            })
        };
        if self.printer.support.is_some() {
            if self.helpers.iter().any(|helper| !self.printer.defines(*helper)) {
                edits.extend(self.import_support());
            }
            return;
        }
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
            let source = source(*helper, self.import.name(), unit, newline);
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
    pub(super) fn end_of_suite(&self, end: TextSize) -> TextSize {
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

/// Where the first statement of an `except` clause begins.
pub(super) fn first_of_handler(body: &[Stmt], handler: TextRange) -> Option<TextSize> {
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

/// The names that statements bind, and those that functions in them have as parameters.
#[derive(Default)]
struct Bound<'a> {
    names: BTreeSet<&'a str>,
}

impl<'a> Visitor<'a> for Bound<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                self.names.insert(function.name.as_str());
            }
            Stmt::ClassDef(class) => {
                self.names.insert(class.name.as_str());
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr
            && !name.ctx.is_load()
        {
            self.names.insert(name.id.as_str());
        }
        walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.names.insert(parameter.name.as_str());
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        self.names.insert(alias.asname.as_ref().unwrap_or(&alias.name).as_str());
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(caught) = handler;
        self.names.extend(caught.name.as_ref().map(ruff_python_ast::Identifier::as_str));
        walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        if let Pattern::MatchAs(PatternMatchAs { name: Some(name), .. }) = pattern {
            self.names.insert(name.as_str());
        }
        walk_pattern(self, pattern);
    }
}
