//! When the statements of a batch block do what they do.
//!
//! On PostgreSQL, Alembic queues the operations of a batch block and runs them at its end, in their order; everything
//! else in the block, `batch_op.execute` included, runs at once. Source: `BatchOperationsImpl.flush` in
//! `alembic/operations/batch.py`, and `ExecuteSQLOp.batch_execute` in `alembic/operations/ops.py`.

use std::collections::BTreeSet;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{ExceptHandler, Expr, ExprCall, ExprContext, Stmt, StmtFunctionDef};
use ruff_text_size::{Ranged, TextRange};

use crate::operations::writes_log;
use crate::python::Module;

/// Functions that are given a batch block's variable are followed this deep.
const MAX_CALLS: usize = 4;

/// When a statement does what it does to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// It does nothing to it, and asks it nothing.
    Never,
    AtOnce,
    /// When the block ends.
    AtEnd,
    /// Some of it at once and some of it at the end, or that is not known.
    Both,
}

impl When {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Never, when) | (when, Self::Never) => when,
            (one, two) if one == two => one,
            _ => Self::Both,
        }
    }
}

/// Reads the statements of one batch block, or of a function that is given its variable.
#[derive(Clone, Copy)]
pub(super) struct Queue<'a> {
    pub(super) module: &'a Module,
    /// The name of the block's variable.
    pub(super) variable: &'a str,
    depth: usize,
}

impl<'a> Queue<'a> {
    pub(super) fn new(module: &'a Module, variable: &'a str) -> Self {
        Self { module, variable, depth: 0 }
    }

    fn all(self, body: &'a [Stmt]) -> When {
        body.iter().fold(When::Never, |when, statement| when.and(self.when(statement)))
    }

    /// When a statement does what it does. What its conditions ask is not looked at.
    pub(super) fn when(self, statement: &'a Stmt) -> When {
        match statement {
            Stmt::Pass(_) => When::Never,
            Stmt::Expr(expression) => self.expression(&expression.value),
            Stmt::Assign(_) | Stmt::AnnAssign(_) | Stmt::AugAssign(_) => match self.asks_in(statement) {
                _ if self.calls_variable(statement) => When::Both,
                true => When::AtOnce,
                false => When::Never,
            },
            Stmt::If(branch) => branch
                .elif_else_clauses
                .iter()
                .fold(self.all(&branch.body), |when, clause| when.and(self.all(&clause.body))),
            Stmt::For(block) => self.all(&block.body).and(self.all(&block.orelse)),
            Stmt::Try(block) => {
                let handlers = block.handlers.iter().map(|handler| {
                    let ExceptHandler::ExceptHandler(handler) = handler;
                    self.all(&handler.body)
                });
                let rest = [self.all(&block.orelse), self.all(&block.finalbody)];
                handlers.chain(rest).fold(self.all(&block.body), When::and)
            }
            other if self.mentions(other.range()) => When::Both,
            Stmt::With(_) | Stmt::While(_) => When::AtOnce,
            _ => When::Both,
        }
    }

    fn expression(self, expression: &'a Expr) -> When {
        match expression {
            Expr::Call(call) => self.call(call),
            // A comma was left behind.
            Expr::Tuple(tuple) => {
                tuple.elts.iter().fold(When::Never, |when, element| when.and(self.expression(element)))
            }
            Expr::StringLiteral(_) | Expr::EllipsisLiteral(_) => When::Never,
            _ => When::Both,
        }
    }

    fn call(self, call: &'a ExprCall) -> When {
        match &*call.func {
            Expr::Attribute(attribute) if self.module.text(&*attribute.value) == self.variable => {
                match attribute.attr.as_str() {
                    "execute" => When::AtOnce,
                    _ => When::AtEnd,
                }
            }
            function if writes_log(function) => When::Never,
            Expr::Name(name) if self.mentions(call.range()) => self.function(&name.id, call),
            _ if self.mentions(call.range()) => When::Both,
            _ => When::AtOnce,
        }
    }

    /// A function of the file that is given the variable.
    fn function(self, name: &str, call: &'a ExprCall) -> When {
        match self
            .definition(name)
            .and_then(|definition| Some((definition, self.parameter(definition, call)?)))
        {
            Some((definition, parameter)) if self.depth < MAX_CALLS => {
                let inner = Self { variable: parameter, depth: self.depth + 1, ..self };
                inner.all(&definition.body)
            }
            _ => When::Both,
        }
    }

    fn definition(self, name: &str) -> Option<&'a StmtFunctionDef> {
        self.module.body().iter().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == name => Some(function),
            _ => None,
        })
    }

    /// What a function calls the variable that it is given.
    fn parameter(self, definition: &'a StmtFunctionDef, call: &ExprCall) -> Option<&'a str> {
        let parameters = definition.parameters.iter_non_variadic_params().enumerate();
        let mut given = parameters.filter(|(position, parameter)| {
            let name = parameter.parameter.name.as_str();
            let argument = call.arguments.find_argument_value(name, *position);
            argument.is_some_and(|argument| self.module.text(argument) == self.variable)
        });
        let (_, parameter) = given.next()?;
        given.next().is_none().then(|| parameter.parameter.name.as_str())
    }

    /// Whether the variable is named in a part of the file.
    pub(super) fn mentions(self, range: TextRange) -> bool {
        let mut tokens = self.module.tokens().in_range(range).iter();
        tokens
            .any(|token| token.kind() == TokenKind::Name && self.module.text(token.range()) == self.variable)
    }

    /// Whether something is called on the variable, other than for a name or the connection.
    fn calls_variable(self, statement: &'a Stmt) -> bool {
        calls_of(statement).into_iter().any(|call| {
            let on_variable = matches!(&*call.func, Expr::Attribute(attribute)
                if self.module.text(&*attribute.value) == self.variable
                    && !matches!(attribute.attr.as_str(), "f" | "get_bind" | "get_context"));
            on_variable
                || call
                    .arguments
                    .iter_source_order()
                    .any(|given| self.module.text(given.value()) == self.variable)
        })
    }

    /// Whether anything in a statement calls what may ask the database.
    pub(super) fn asks_in(self, statement: &'a Stmt) -> bool {
        calls_of(statement).into_iter().any(|call| !self.is_harmless(call))
    }

    /// What a queued call is given that may ask the database.
    pub(super) fn asking(self, statement: &'a Stmt) -> Vec<&'a Expr> {
        let Stmt::Expr(expression) = statement else { return Vec::new() };
        let Expr::Call(call) = &*expression.value else { return Vec::new() };
        let given = call.arguments.iter_source_order().map(ruff_python_ast::ArgOrKeyword::value);
        given
            .filter(|given| {
                ruff_python_ast::helpers::any_over_expr(
                    given,
                    &|expr: &Expr| matches!(expr, Expr::Call(call) if !self.is_harmless(call)),
                )
            })
            .collect()
    }

    /// A call that makes a name, a type, a column or SQL.
    fn is_harmless(self, call: &ExprCall) -> bool {
        let mut root = &*call.func;
        let mut name = "";
        while let Expr::Attribute(attribute) = root {
            if name.is_empty() {
                name = attribute.attr.as_str();
            }
            root = &attribute.value;
        }
        let Expr::Name(first) = root else { return name == "with_variant" };
        let first = first.id.as_str();
        if name.is_empty()
            && self.depth < MAX_CALLS
            && let Some(definition) = self.definition(first)
        {
            let inner = Self { depth: self.depth + 1, ..self };
            return !definition.body.iter().any(|statement| inner.asks_in(statement));
        }
        let last = if name.is_empty() { first } else { name };
        let makes_sql = ["sa", "sqlalchemy", "postgresql", "mysql", "sqlite", "oracle", "mssql"];
        makes_sql.contains(&first) && !matches!(last, "inspect" | "create_engine")
            || first == self.variable
            || first == "op" && matches!(last, "f" | "inline_literal" | "get_bind" | "get_context")
            || matches!(last, "text" | "now" | "false" | "true" | "null" | "literal" | "literal_column")
            || last.starts_with(|c: char| c.is_ascii_uppercase())
    }

    /// The variable in a statement that is `batch_op.execute(…)`, and does nothing else with it.
    pub(super) fn executed(self, statement: &'a Stmt) -> Option<TextRange> {
        let Stmt::Expr(expression) = statement else { return None };
        let Expr::Call(call) = &*expression.value else { return None };
        let Expr::Attribute(attribute) = &*call.func else { return None };
        let is_variable = self.module.text(&*attribute.value) == self.variable;
        (is_variable && attribute.attr.as_str() == "execute" && !self.mentions(call.arguments.range()))
            .then(|| attribute.value.range())
    }

    /// Whether a statement that runs at once may as well stand in front of the block, with those `before` it in the
    /// block: nothing changes but that what is queued is computed later.
    pub(super) fn can_go_first(self, statement: &'a Stmt, before: &'a [Stmt]) -> bool {
        let (bound, used) = names(statement);
        let alone = !self.mentions(statement.range()) || self.executed(statement).is_some();
        alone
            && before.iter().filter(|earlier| self.when(earlier) != When::AtOnce).all(|earlier| {
                let (earlier_bound, earlier_used) = names(earlier);
                let mut shared = bound.intersection(&earlier_used).chain(bound.intersection(&earlier_bound));
                shared.next().is_none()
                    && used.intersection(&earlier_bound).next().is_none()
                    && !self.asks_in(earlier)
            })
    }
}

/// The names that a statement binds, and those that it uses.
fn names(statement: &Stmt) -> (BTreeSet<&str>, BTreeSet<&str>) {
    struct Names<'a>(BTreeSet<&'a str>, BTreeSet<&'a str>);
    impl<'a> Visitor<'a> for Names<'a> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Name(name) = expr {
                let set = if name.ctx == ExprContext::Load { &mut self.1 } else { &mut self.0 };
                set.insert(name.id.as_str());
            }
            walk_expr(self, expr);
        }
    }
    let mut names = Names(BTreeSet::new(), BTreeSet::new());
    names.visit_stmt(statement);
    (names.0, names.1)
}

fn calls_of(statement: &Stmt) -> Vec<&ExprCall> {
    struct Calls<'a>(Vec<&'a ExprCall>);
    impl<'a> Visitor<'a> for Calls<'a> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Call(call) = expr {
                self.0.push(call);
            }
            walk_expr(self, expr);
        }
    }
    let mut calls = Calls(Vec::new());
    calls.visit_stmt(statement);
    calls.0
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

/// Whether a condition may get another answer once what is `queued` before it has run.
pub(super) fn sees<'a>(condition: &Expr, queued: impl Iterator<Item = &'a Stmt> + Clone) -> bool {
    let names_variables = |statement: &Stmt| {
        let mut strings = Strings::default();
        strings.visit_stmt(statement);
        strings.variables
    };
    has_call(condition)
        && queued.clone().next().is_some()
        && (asks_about_variables(condition)
            || queued.clone().any(names_variables)
            || asks_for(condition, queued))
}

/// Whether an expression names what is `queued`, or nothing at all; or what goes with a queued column, which is not named.
pub(super) fn asks_for<'a>(expression: &Expr, mut queued: impl Iterator<Item = &'a Stmt>) -> bool {
    let mut asked = Strings::default();
    asked.visit_expr(expression);
    queued.any(|statement| {
        let mut strings = Strings::default();
        strings.visit_stmt(statement);
        asked.strings.is_empty() || strings.drops_column || !asked.strings.is_disjoint(&strings.strings)
    })
}

/// The plain strings in statements, and what their calls do.
#[derive(Default)]
struct Strings<'a> {
    strings: BTreeSet<&'a str>,
    /// One of the calls is given a variable.
    variables: bool,
    /// Indexes and constraints of the column go with it.
    drops_column: bool,
}

impl<'a> Visitor<'a> for Strings<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            // What an earlier condition asks about is not queued.
            Stmt::If(branch) => {
                self.visit_body(&branch.body);
                branch.elif_else_clauses.iter().for_each(|clause| self.visit_body(&clause.body));
            }
            Stmt::Assign(_) | Stmt::AnnAssign(_) => {}
            Stmt::Expr(expression) => {
                if let Expr::Call(call) = &*expression.value {
                    self.variables |= call.arguments.args.iter().any(Expr::is_name_expr);
                }
                walk_stmt(self, statement);
            }
            _ => walk_stmt(self, statement),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::StringLiteral(literal) => {
                self.strings.insert(literal.value.to_str());
            }
            Expr::Attribute(attribute) => {
                self.drops_column |= attribute.attr.as_str() == "drop_column";
                walk_expr(self, expr);
            }
            _ => walk_expr(self, expr),
        }
    }
}
