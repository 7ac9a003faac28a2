//! Follows the statements of `upgrade` and `downgrade` in the order in which they would run on
//! PostgreSQL, and reads the operations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{
    ExceptHandler, Expr, ExprCall, Parameters, Stmt, StmtFor, StmtFunctionDef, StmtIf, StmtTry, StmtWith,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::calls::{self, Call, callee};
use super::guard::Guard;
use super::modules::Modules;
use super::{
    AddConstraint, Batch, ConstraintKind, Operation, OperationKind, Origin, Receiver, SqlOrigin, TableArg,
    sql, update,
};
use crate::layout::helpers::Helper;
use crate::naming;
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::text::Text;
use crate::python::value::{Arg, BatchId, Dialects, Value};

/// Why a statement stays where it is whose failure would pass unnoticed elsewhere.
const SWALLOWED: &str = "an `except` around it goes on when it fails";
/// A loop over more values than this is not unrolled.
const MAX_ITERATIONS: usize = 500;
/// Functions that call functions are followed this deep.
const MAX_CALLS: usize = 8;

/// The functions and the module-level names of a file.
#[derive(Debug)]
pub struct Functions<'a> {
    module: &'a Module,
    definitions: BTreeMap<&'a str, &'a StmtFunctionDef>,
    scope: Scope,
    modules: Option<&'a Modules>,
}

/// What a function does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Walked {
    /// In the order in which they run.
    pub operations: Vec<Operation>,
    /// A statement that always fails, so that nothing of the function is ever kept.
    pub fails_at: Option<TextRange>,
    /// The conditions that ask the database.
    pub guards: Vec<Guard>,
    /// The functions of other modules that it calls, and that could not be read.
    pub foreign: BTreeSet<String>,
}

impl<'a> Functions<'a> {
    /// Read a module's imports, constants and functions.
    #[must_use]
    pub fn new(module: &'a Module) -> Self {
        Self::with(module, None)
    }

    /// Likewise, with the modules that it may call.
    #[must_use]
    pub fn with(module: &'a Module, modules: Option<&'a Modules>) -> Self {
        let mut functions = Self { module, definitions: BTreeMap::new(), scope: Scope::default(), modules };
        functions.collect(module.body());
        let predicates: Vec<_> = functions
            .definitions
            .iter()
            .filter_map(|(name, definition)| Some((*name, functions.result(definition)?)))
            .collect();
        for (name, value) in predicates {
            functions.scope.bind(name, Value::Function(Box::new(value)));
        }
        functions
    }

    fn collect(&mut self, body: &'a [Stmt]) {
        for statement in body {
            match statement {
                Stmt::FunctionDef(function) => {
                    self.definitions.insert(function.name.as_str(), function);
                }
                Stmt::If(branch) => {
                    self.collect(&branch.body);
                    for clause in &branch.elif_else_clauses {
                        self.collect(&clause.body);
                    }
                }
                Stmt::Try(attempt) => {
                    self.collect(&attempt.body);
                    for handler in &attempt.handlers {
                        let ExceptHandler::ExceptHandler(handler) = handler;
                        self.collect(&handler.body);
                    }
                }
                other => assign(other, &mut self.scope),
            }
        }
    }

    /// The value of a function that takes nothing and only computes something:
    /// `def is_postgres(): return op.get_bind().dialect.name == "postgresql"`.
    fn result(&self, definition: &StmtFunctionDef) -> Option<Value> {
        let mut scope = self.scope.clone();
        for parameter in parameter_names(&definition.parameters) {
            scope.bind(parameter, Value::Unknown);
        }
        let (last, before) = definition.body.split_last()?;
        for statement in before {
            match statement {
                Stmt::Assign(_) | Stmt::AnnAssign(_) => assign(statement, &mut scope),
                Stmt::Expr(expression) if expression.value.is_string_literal_expr() => {}
                _ => return None,
            }
        }
        let Stmt::Return(result) = last else { return None };
        match scope.eval(result.value.as_deref()?) {
            Value::Unknown => None,
            value => Some(value),
        }
    }

    /// The function of ours that a function of the file is.
    fn helper(&self, name: &str) -> Option<Helper> {
        self.definitions.get(name).and_then(|definition| Helper::of(definition))
    }

    /// The names that the module binds.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Read the operations of one function.
    #[must_use]
    pub fn walk(&self, name: &str) -> Walked {
        let Some(definition) = self.definitions.get(name) else { return Walked::default() };
        let mut walker = Walker {
            functions: self,
            walked: Walked::default(),
            batches: BTreeMap::new(),
            root: name,
            symbols: Vec::new(),
            calls: vec![definition.range()],
        };
        let mut scope = self.scope.clone();
        // `upgrade(op, tables, tester)`: some projects hand `op` in.
        for parameter in parameter_names(&definition.parameters) {
            let value =
                if parameter == "op" { Value::Op } else { Value::Partial(format!("{{{parameter}}}")) };
            scope.bind(parameter, value);
        }
        let mut frame = Frame {
            scope,
            dialects: Dialects::ALL,
            conditional: false,
            autocommit: false,
            fixed_in_place: None,
            swallowed: false,
            lock_timeout: false,
            repeated: false,
            guards: Vec::new(),
            handlers: Vec::new(),
            local: BTreeMap::new(),
        };
        walker.body(&definition.body, &mut frame);
        walker.walked
    }
}

fn parameter_names(parameters: &Parameters) -> impl Iterator<Item = &str> {
    parameters.iter().map(|parameter| parameter.name().as_str())
}

/// Bind the names that a simple statement binds.
pub(crate) fn assign(statement: &Stmt, scope: &mut Scope) {
    match statement {
        Stmt::Assign(assignment) => {
            let value = scope.eval(&assignment.value);
            for target in &assignment.targets {
                scope.assign(target, &value);
            }
        }
        Stmt::AnnAssign(assignment) => {
            if let Some(value) = &assignment.value {
                let value = scope.eval(value);
                scope.assign(&assignment.target, &value);
            }
        }
        Stmt::AugAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
        Stmt::Import(import) => {
            for alias in &import.names {
                let name = alias.name.as_str();
                let (root, _) = name.split_once('.').unwrap_or((name, ""));
                let (bound, value) = match &alias.asname {
                    Some(asname) => (asname.as_str(), imported(name)),
                    None => (root, imported(root)),
                };
                scope.bind(bound, value);
            }
        }
        Stmt::ImportFrom(import) => {
            let from = import.module.as_ref().map_or("", |module| module.as_str());
            for alias in &import.names {
                let name = alias.name.as_str();
                let bound = alias.asname.as_ref().map_or(name, |asname| asname.as_str());
                let value = match from {
                    "alembic.op" => Value::OpFunction(name.to_owned()),
                    _ if import.level == 0 => imported(&format!("{from}.{name}")),
                    _ => Value::Foreign(format!("{}{from}", ".".repeat(import.level as usize))),
                };
                scope.bind(bound, value);
            }
        }
        _ => {}
    }
}

/// Packages whose functions never change a database by themselves.
const HARMLESS_PACKAGES: &[&str] = &[
    "sqlalchemy",
    "sqlalchemy_utils",
    "sqlmodel",
    "geoalchemy2",
    "pgvector",
    "alembic",
    "typing",
    "typing_extensions",
    "__future__",
    "os",
    "sys",
    "re",
    "json",
    "uuid",
    "datetime",
    "time",
    "enum",
    "logging",
    "warnings",
    "contextlib",
    "itertools",
    "functools",
    "collections",
    "math",
    "random",
    "string",
    "secrets",
    "hashlib",
    "base64",
    "copy",
    "decimal",
    "dataclasses",
    "operator",
    "pathlib",
    "textwrap",
    "calendar",
    "pickle",
    "inspect",
    "traceback",
    "tempfile",
    "zlib",
    "platform",
    "io",
    "structlog",
    "loguru",
    "oslo_log",
    "oslo_utils",
    "dateutil",
    "pytz",
    "pendulum",
    "numpy",
    "yaml",
];

fn imported(name: &str) -> Value {
    let root = name.split('.').next().unwrap_or(name);
    match name {
        "alembic" => Value::Alembic,
        "alembic.op" => Value::Op,
        "alembic.context" => Value::Context,
        _ if HARMLESS_PACKAGES.contains(&root) => Value::Unknown,
        _ => Value::Foreign(name.to_owned()),
    }
}

#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "they are about different things")]
struct Frame<'a> {
    scope: Scope,
    dialects: Dialects,
    conditional: bool,
    autocommit: bool,
    fixed_in_place: Option<&'static str>,
    swallowed: bool,
    /// The statements stand in a `with` block that limits how long they wait for a lock.
    lock_timeout: bool,
    repeated: bool,
    guards: Vec<usize>,
    handlers: Vec<TextRange>,
    local: BTreeMap<&'a str, &'a StmtFunctionDef>,
}

struct Walker<'a, 'f> {
    functions: &'f Functions<'a>,
    walked: Walked,
    batches: BTreeMap<BatchKey, Batch>,
    /// The functions that are being followed, innermost last.
    calls: Vec<TextRange>,
    /// The function that is read.
    root: &'f str,
    /// The assignments of values that are not known, in the order in which they run.
    symbols: Vec<TextSize>,
}

/// `TextRange` has no order of its own.
type BatchKey = (u32, u32);

/// What the helper functions do that prove a column to have no NULL.
fn proof(helper: Helper, table: TableArg, column: &Arg) -> Vec<OperationKind> {
    let (Some(known), Some(column)) = (table.known(), column.value.symbol()) else { return Vec::new() };
    let name = format!("{}{}_{column}_nn", naming::TEMPORARY, known.name);
    if helper == Helper::DropNotNullProof {
        return vec![OperationKind::DropConstraint { table, name: Arg::of(&name), if_exists: true }];
    }
    let add = OperationKind::AddConstraint(AddConstraint {
        name: Arg::of(&name),
        table,
        kind: ConstraintKind::Check,
        columns: None,
        condition: Some(format!("\"{column}\" IS NOT NULL")),
        referent: None,
        not_valid: true,
        deferrable: None,
        initially: None,
        keywords: Vec::new(),
    });
    vec![add, OperationKind::ValidateConstraint { table: known, name }]
}

fn key(id: BatchId) -> BatchKey {
    (id.start().to_u32(), id.end().to_u32())
}

/// Whether the statements after a block are reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continues,
    /// `return`, `raise`.
    Leaves,
}

impl<'a> Walker<'a, '_> {
    fn body(&mut self, body: &'a [Stmt], frame: &mut Frame<'a>) -> Flow {
        for statement in body {
            if self.statement(statement, frame) == Flow::Leaves {
                return Flow::Leaves;
            }
            if !frame.dialects.contains(Dialects::POSTGRESQL) {
                return Flow::Leaves;
            }
        }
        Flow::Continues
    }

    fn statement(&mut self, statement: &'a Stmt, frame: &mut Frame<'a>) -> Flow {
        match statement {
            Stmt::Expr(expression) => {
                self.expression(&expression.value, statement, frame, true);
                Self::note_mutation(&expression.value, frame);
            }
            Stmt::If(branch) => return self.branch(branch, statement, frame),
            Stmt::For(block) => self.for_loop(block, statement, frame),
            Stmt::While(block) => {
                self.expression(&block.test, statement, frame, false);
                self.unknown_loop(&block.body, frame);
                self.optional(&block.orelse, frame);
            }
            Stmt::With(block) => return self.with(block, statement, frame),
            Stmt::Try(block) => return self.attempt(block, frame),
            Stmt::Match(block) => {
                self.expression(&block.subject, statement, frame, false);
                for case in &block.cases {
                    self.optional(&case.body, frame);
                }
            }
            Stmt::FunctionDef(function) => {
                frame.local.insert(function.name.as_str(), function);
            }
            Stmt::Return(value) => {
                if let Some(value) = &value.value {
                    self.expression(value, statement, frame, false);
                }
                return Flow::Leaves;
            }
            Stmt::Raise(_) => return Flow::Leaves,
            Stmt::Assign(assignment) => {
                self.expression(&assignment.value, statement, frame, false);
                assign(statement, &mut frame.scope);
                // A name that keeps one value, though it is not known which.
                if let ([Expr::Name(name)], false) = (assignment.targets.as_slice(), frame.repeated)
                    && frame.scope.get(&name.id) == Some(&Value::Unknown)
                    && !matches!(&*assignment.value, Expr::Call(call) if calls_list(call))
                {
                    // A number that stays the same when the file is rewritten.
                    let start = assignment.start();
                    let number = self.symbols.iter().position(|known| *known == start).unwrap_or_else(|| {
                        self.symbols.push(start);
                        self.symbols.len() - 1
                    });
                    let symbol = format!("{{{}@{}{number}}}", name.id, self.root);
                    frame.scope.bind(&name.id, Value::Partial(symbol));
                }
            }
            Stmt::AnnAssign(assignment) => {
                if let Some(value) = &assignment.value {
                    self.expression(value, statement, frame, false);
                }
                assign(statement, &mut frame.scope);
            }
            Stmt::AugAssign(assignment) => {
                self.expression(&assignment.value, statement, frame, false);
                assign(statement, &mut frame.scope);
            }
            other => assign(other, &mut frame.scope),
        }
        Flow::Continues
    }

    /// `names.append(…)`: what the list holds is no longer known.
    fn note_mutation(expression: &Expr, frame: &mut Frame<'a>) {
        if let Expr::Call(call) = expression
            && let Expr::Attribute(attribute) = &*call.func
            && let Expr::Name(name) = &*attribute.value
            && matches!(frame.scope.eval(&attribute.value), Value::List(_) | Value::Dict(_))
        {
            frame.scope.bind(&name.id, Value::Unknown);
        }
    }

    fn branch(&mut self, branch: &'a StmtIf, statement: &'a Stmt, frame: &mut Frame<'a>) -> Flow {
        self.expression(&branch.test, statement, frame, false);
        let clauses = branch.elif_else_clauses.as_slice();
        self.clauses(&branch.test, &branch.body, clauses, statement, frame)
    }

    fn clauses(
        &mut self,
        test: &'a Expr,
        body: &'a [Stmt],
        rest: &'a [ruff_python_ast::ElifElseClause],
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
    ) -> Flow {
        let (holds, fails) = frame.scope.split(test, frame.dialects);
        let undecided = holds.contains(Dialects::POSTGRESQL) && fails.contains(Dialects::POSTGRESQL);
        let before = (frame.dialects, frame.conditional);
        let guard = if undecided { Guard::of(test, &frame.scope) } else { None };
        let mut then = frame.clone();
        then.dialects = holds;
        then.conditional |= undecided;
        then.guards.extend(self.guard(guard.as_ref()));
        let operations = self.walked.operations.len();
        let then_flow = if holds.contains(Dialects::POSTGRESQL) {
            self.body(body, &mut then)
        } else if leaves(body) {
            Flow::Leaves
        } else {
            Flow::Continues
        };
        // `if done_already(): return`: the migration runs as a whole or not at all.
        let is_guard = self.walked.operations.len() == operations;
        let mut other = frame.clone();
        other.dialects = fails;
        other.conditional |= undecided;
        other.guards.extend(self.guard(guard.as_ref()));
        let other_flow = if fails.contains(Dialects::POSTGRESQL) {
            match rest.split_first() {
                None => Flow::Continues,
                Some((clause, rest)) => match &clause.test {
                    Some(test) => {
                        self.expression(test, statement, &mut other, false);
                        self.clauses(test, &clause.body, rest, statement, &mut other)
                    }
                    None => self.body(&clause.body, &mut other),
                },
            }
        } else {
            // The other databases may still take this branch and stay in the function.
            Flow::Continues
        };
        let on_postgresql = |dialects: Dialects| dialects.contains(Dialects::POSTGRESQL);
        (frame.dialects, frame.conditional) = before;
        match (then_flow, other_flow) {
            (Flow::Leaves, Flow::Leaves) if on_postgresql(holds) || on_postgresql(fails) => {
                return Flow::Leaves;
            }
            (Flow::Leaves, _) => {
                frame.dialects = fails;
                frame.conditional |= undecided && !is_guard;
                frame.scope = other.scope;
                frame.guards = other.guards;
                if !on_postgresql(fails) {
                    return Flow::Leaves;
                }
            }
            (_, Flow::Leaves) => {
                frame.dialects = holds;
                frame.conditional |= undecided;
                frame.scope = then.scope;
                frame.guards = then.guards;
            }
            _ if undecided => {
                frame.scope = then.scope;
                frame.scope.merge(&other.scope);
            }
            _ => frame.scope = if on_postgresql(holds) { then.scope } else { other.scope },
        }
        Flow::Continues
    }

    /// Remember a condition for one of its branches.
    fn guard(&mut self, guard: Option<&Guard>) -> Option<usize> {
        self.walked.guards.push(guard?.clone());
        Some(self.walked.guards.len() - 1)
    }

    fn for_loop(&mut self, block: &'a StmtFor, statement: &'a Stmt, frame: &mut Frame<'a>) {
        self.expression(&block.iter, statement, frame, false);
        let repeated = std::mem::replace(&mut frame.repeated, true);
        match frame.scope.eval(&block.iter) {
            Value::List(values) if values.len() <= MAX_ITERATIONS => {
                for value in &values {
                    frame.scope.assign(&block.target, value);
                    let conditional = frame.conditional;
                    frame.conditional |= has_jump(&block.body);
                    let flow = self.body(&block.body, frame);
                    frame.conditional = conditional;
                    if flow == Flow::Leaves {
                        break;
                    }
                }
            }
            _ => {
                frame.scope.assign(&block.target, &Value::Unknown);
                self.unknown_loop(&block.body, frame);
            }
        }
        frame.repeated = repeated;
        self.optional(&block.orelse, frame);
    }

    /// A body that runs any number of times.
    fn unknown_loop(&mut self, body: &'a [Stmt], frame: &mut Frame<'a>) {
        let mut inner = frame.clone();
        forget_assigned(body, &mut inner.scope);
        inner.repeated = true;
        inner.conditional = true;
        self.body(body, &mut inner);
        frame.scope.merge(&inner.scope);
    }

    /// A body that may run.
    fn optional(&mut self, body: &'a [Stmt], frame: &mut Frame<'a>) {
        let mut inner = frame.clone();
        inner.conditional = true;
        self.body(body, &mut inner);
        frame.scope.merge(&inner.scope);
    }

    fn attempt(&mut self, block: &'a StmtTry, frame: &mut Frame<'a>) -> Flow {
        let mut inner = frame.clone();
        inner.conditional |= !block.handlers.is_empty();
        let goes_on = |handler: &&ExceptHandler| {
            let ExceptHandler::ExceptHandler(handler) = handler;
            !leaves(&handler.body) && !Helper::FailOnPostgresql.is_called(handler.body.first())
        };
        let swallowing: Vec<TextRange> = block.handlers.iter().filter(goes_on).map(Ranged::range).collect();
        // In a transaction a failure stops what follows; outside of one it would not.
        inner.swallowed |= !swallowing.is_empty();
        if frame.autocommit && !swallowing.is_empty() {
            inner.fixed_in_place = Some(SWALLOWED);
        }
        inner.handlers.extend(&swallowing);
        let first = self.walked.operations.len();
        let mut flow = self.body(&block.body, &mut inner);
        // Its author has thought about failures outside of a transaction.
        let operations = &mut self.walked.operations[first..];
        if !swallowing.is_empty() && operations.iter().any(|operation| operation.autocommit) {
            for operation in operations {
                operation.origin.fixed_in_place.get_or_insert(SWALLOWED);
            }
        }
        if flow == Flow::Continues {
            flow = self.body(&block.orelse, &mut inner);
        }
        let before = frame.scope.clone();
        frame.scope = inner.scope;
        for handler in &block.handlers {
            let ExceptHandler::ExceptHandler(handler) = handler;
            let mut caught = Frame { scope: before.clone(), conditional: true, ..frame.clone() };
            if let Some(name) = &handler.name {
                caught.scope.bind(name.as_str(), Value::Unknown);
            }
            if self.body(&handler.body, &mut caught) == Flow::Continues {
                frame.scope.merge(&caught.scope);
                flow = Flow::Continues;
            }
        }
        if self.body(&block.finalbody, frame) == Flow::Leaves { Flow::Leaves } else { flow }
    }

    fn with(&mut self, block: &'a StmtWith, statement: &'a Stmt, frame: &mut Frame<'a>) -> Flow {
        let saved = (frame.autocommit, frame.fixed_in_place, frame.swallowed, frame.lock_timeout);
        for item in &block.items {
            if let Expr::Call(call) = &item.context_expr
                && let Some(name) = callee(call)
            {
                frame.lock_timeout |= name.contains("lock_timeout");
                if name == "suppress" {
                    frame.fixed_in_place = Some(SWALLOWED);
                    frame.swallowed = true;
                }
            }
            let kind = self.context_manager(&item.context_expr, frame);
            let bound = match kind {
                ContextManager::Batch(batch) => {
                    let id = batch.id;
                    self.batches.insert(key(id), batch);
                    Value::Batch(id)
                }
                ContextManager::Autocommit => {
                    frame.autocommit = true;
                    Value::Unknown
                }
                ContextManager::Harmless(value) => value,
                ContextManager::Transaction(value) => {
                    self.expression(&item.context_expr, statement, frame, false);
                    frame.fixed_in_place =
                        Some("it stands in a `with` block that may hold a transaction open");
                    value
                }
            };
            if let Some(target) = &item.optional_vars {
                frame.scope.assign(target, &bound);
            }
        }
        let flow = self.body(&block.body, frame);
        (frame.autocommit, frame.fixed_in_place, frame.swallowed, frame.lock_timeout) = saved;
        flow
    }

    fn context_manager(&self, expression: &'a Expr, frame: &Frame<'a>) -> ContextManager {
        if let Expr::Call(call) = expression {
            let name = callee(call);
            if self.receiver(call, frame).is_some() && name == Some("batch_alter_table") {
                return ContextManager::Batch(calls::batch(call, &frame.scope, self.functions.module));
            }
            match name {
                Some("autocommit_block") => return ContextManager::Autocommit,
                Some(name) if self.functions.helper(name) == Some(Helper::LockTimeout) => {
                    return ContextManager::Harmless(Value::Unknown);
                }
                // `disable_sqlite_fkeys(op)` and the like do nothing on PostgreSQL.
                Some(name) if name.to_ascii_lowercase().contains("sqlite") => {
                    return ContextManager::Harmless(Value::Unknown);
                }
                Some("suppress" | "catch_warnings" | "nullcontext" | "open" | "redirect_stdout") => {
                    return ContextManager::Harmless(Value::Unknown);
                }
                _ => {}
            }
        }
        match frame.scope.eval(expression) {
            bind @ Value::Bind => ContextManager::Transaction(bind),
            _ => ContextManager::Transaction(Value::Unknown),
        }
    }

    /// On what an operation's method is called: `None` when the call is no operation.
    fn receiver(&self, call: &ExprCall, frame: &Frame<'a>) -> Option<Receiver> {
        match &*call.func {
            Expr::Attribute(attribute) => match frame.scope.eval(&attribute.value) {
                Value::Op => Some(Receiver::Op(self.functions.module.text(&*attribute.value).to_owned())),
                Value::Batch(id) => self.batches.get(&key(id)).cloned().map(Receiver::Batch),
                _ => None,
            },
            Expr::Name(name) => match frame.scope.get(&name.id) {
                Some(Value::OpFunction(_)) => Some(Receiver::Function),
                _ => None,
            },
            _ => None,
        }
    }

    /// Read every call of an expression, outermost first.
    fn expression(&mut self, expression: &'a Expr, statement: &'a Stmt, frame: &mut Frame<'a>, alone: bool) {
        match expression {
            Expr::Call(call) => {
                if !self.call(call, statement, frame, alone) {
                    self.inner_calls(expression, statement, frame);
                }
            }
            Expr::StringLiteral(_) | Expr::Name(_) | Expr::NoneLiteral(_) => {}
            _ => self.inner_calls(expression, statement, frame),
        }
    }

    fn inner_calls(&mut self, expression: &'a Expr, statement: &'a Stmt, frame: &mut Frame<'a>) {
        let mut found = Calls { outermost: expression.range(), calls: Vec::new(), repeated: false };
        walk_expr(&mut found, expression);
        let repeated = frame.repeated;
        frame.repeated |= found.repeated;
        for call in found.calls {
            if !self.call(call, statement, frame, false) {
                self.inner_calls_of(call, statement, frame);
            }
        }
        frame.repeated = repeated;
    }

    fn inner_calls_of(&mut self, call: &'a ExprCall, statement: &'a Stmt, frame: &mut Frame<'a>) {
        let mut found = Calls { outermost: call.range(), calls: Vec::new(), repeated: false };
        ruff_python_ast::visitor::walk_arguments(&mut found, &call.arguments);
        found.visit_expr(&call.func);
        for inner in found.calls {
            if !self.call(inner, statement, frame, false) {
                self.inner_calls_of(inner, statement, frame);
            }
        }
    }

    /// Read one call; `false` when it is no operation, so that its arguments may hold some.
    fn call(&mut self, call: &'a ExprCall, statement: &'a Stmt, frame: &mut Frame<'a>, alone: bool) -> bool {
        let receiver = self.receiver(call, frame);
        let method = match (&receiver, &*call.func) {
            (Some(Receiver::Function), Expr::Name(name)) => match frame.scope.get(&name.id) {
                Some(Value::OpFunction(function)) => function.clone(),
                _ => return false,
            },
            (_, Expr::Attribute(attribute)) => attribute.attr.to_string(),
            (_, Expr::Name(name)) => {
                let definition = frame
                    .local
                    .get(name.id.as_str())
                    .or_else(|| self.functions.definitions.get(name.id.as_str()));
                if let Some(definition) = definition.copied() {
                    self.inline(definition, call, statement, frame);
                    return true;
                }
                return self.foreign(&name.id, call, statement, frame, alone);
            }
            _ => return false,
        };
        match receiver {
            Some(_) if matches!(method.as_str(), "f" | "get_bind" | "get_context" | "batch_alter_table") => {
                false
            }
            Some(receiver) if method == "execute" => {
                self.execute(call, &receiver, statement, frame, alone);
                true
            }
            Some(receiver) => {
                let batch = match &receiver {
                    Receiver::Batch(batch) => Some(batch),
                    _ => None,
                };
                let reader = Call { call, scope: &frame.scope, module: self.functions.module, batch };
                let Some(kind) = reader.read(&method) else { return false };
                if fails_always(&kind) && !frame.conditional && self.walked.fails_at.is_none() {
                    self.walked.fails_at = Some(call.range());
                }
                self.push(kind, call, receiver, statement, frame, alone);
                true
            }
            None => match method.as_str() {
                "execute" | "exec_driver_sql" | "scalar" | "scalars" => {
                    let receiver = if Self::is_bind(call, frame) { Receiver::Bind } else { Receiver::Other };
                    self.execute(call, &receiver, statement, frame, alone);
                    true
                }
                "commit" if Self::is_bind(call, frame) => {
                    self.push(OperationKind::Commit, call, Receiver::Bind, statement, frame, alone);
                    true
                }
                "create" | "drop" if self.is_enum_with_bind(call, frame) => {
                    let checkfirst = call.arguments.find_argument("checkfirst", 1).is_some();
                    let kind = OperationKind::EnumType { checkfirst };
                    self.push(kind, call, Receiver::Bind, statement, frame, alone);
                    true
                }
                _ => match &*call.func {
                    Expr::Attribute(attribute) => match &*attribute.value {
                        Expr::Name(name) => self.foreign(&name.id, call, statement, frame, alone),
                        _ => false,
                    },
                    _ => false,
                },
            },
        }
    }

    /// `sa.Enum(…).create(bind)`, also where the type has a name in this file.
    fn is_enum_with_bind(&self, call: &ExprCall, frame: &Frame<'a>) -> bool {
        let Expr::Attribute(attribute) = &*call.func else { return false };
        let bind = call.arguments.find_argument_value("bind", 0);
        bind.is_some_and(|bind| frame.scope.eval(bind) == Value::Bind)
            && match &*attribute.value {
                Expr::Name(name) => is_enum_name(name.id.as_str(), self.functions.module.body()),
                value => is_enum(value),
            }
    }

    fn is_bind(call: &ExprCall, frame: &Frame<'a>) -> bool {
        match &*call.func {
            Expr::Attribute(attribute) => frame.scope.eval(&attribute.value) == Value::Bind,
            _ => false,
        }
    }

    /// A statement that calls something of another module, which may do anything.
    fn foreign(
        &mut self,
        name: &str,
        call: &'a ExprCall,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
        alone: bool,
    ) -> bool {
        let Some(Value::Foreign(module)) = frame.scope.get(name) else { return false };
        if !alone {
            return false;
        }
        let reason = format!("`{name}` comes from `{module}`");
        let path = match &*call.func {
            Expr::Attribute(attribute) => format!("{module}.{}", attribute.attr),
            _ => module.clone(),
        };
        if !self.enter(&path, call, statement, frame) {
            self.walked.foreign.insert(path);
        }
        // It may do more than is understood.
        self.push(
            OperationKind::Opaque { reason, sql: None },
            call,
            Receiver::Other,
            statement,
            frame,
            alone,
        );
        true
    }

    /// Follow a function of another module; `false` when it is not known.
    fn enter(&mut self, path: &str, call: &'a ExprCall, statement: &'a Stmt, frame: &mut Frame<'a>) -> bool {
        const ELSEWHERE: &str =
            "it stands in a function of another module, which other revisions may call, too";
        let Some(modules) = self.functions.modules else { return false };
        let Some((module, name)) = modules.find(path) else { return false };
        let functions = Functions::with(module, Some(modules));
        let Some(definition) = functions.definitions.get(name).copied() else {
            // `from .indexes import add_index`, in a package that passes it on.
            return match functions.scope.get(name) {
                Some(Value::Foreign(other)) if other != path => self.enter(other, call, statement, frame),
                _ => false,
            };
        };
        let first = self.walked.operations.len();
        let mut walker = Walker {
            functions: &functions,
            walked: std::mem::take(&mut self.walked),
            batches: std::mem::take(&mut self.batches),
            calls: self.calls.clone(),
            root: name,
            symbols: Vec::new(),
        };
        walker.inline(definition, call, statement, frame);
        (self.walked, self.batches) = (walker.walked, walker.batches);
        for (nth, operation) in self.walked.operations[first..].iter_mut().enumerate() {
            // Its own source is not the migration's.
            operation.origin = Origin {
                call: call.range(),
                callee: call.func.range(),
                statement: statement.range(),
                receiver: Receiver::Other,
                fixed_in_place: Some(ELSEWHERE),
                sql: None,
                nth: nth + 1,
                handlers: Vec::new(),
                ..operation.origin.clone()
            };
        }
        true
    }

    /// `op.execute(…)` and the like.
    fn execute(
        &mut self,
        call: &'a ExprCall,
        receiver: &Receiver,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
        alone: bool,
    ) {
        let argument = call
            .arguments
            .find_argument_value("sqltext", 0)
            .or_else(|| call.arguments.find_argument_value("statement", 0));
        let source = self.functions.module.source();
        let written = argument.map(|argument| self.written(argument));
        let text = written.and_then(|written| Text::read(written, &frame.scope, source)).map(Arc::new);
        let Some(text) = text else {
            let kind = match argument {
                Some(argument) if let Some(update) = update::construct(argument, &frame.scope) => {
                    OperationKind::Update(update)
                }
                Some(argument) if built_at_run_time(argument) => {
                    OperationKind::Opaque { reason: "SQL built at run time".to_owned(), sql: None }
                }
                _ => OperationKind::Harmless { sql: None },
            };
            self.push(kind, call, receiver.clone(), statement, frame, alone);
            return;
        };
        let fixed_in_place = frame.fixed_in_place;
        for part in sql::read(&text, source) {
            frame.fixed_in_place = fixed_in_place.or_else(|| Self::fixed_sql(&part, call, receiver, &text));
            let origin = SqlOrigin { text: Arc::clone(&text), place: part.place };
            self.push_sql(part.kind, Some(origin), call, receiver.clone(), statement, frame, alone);
        }
        frame.fixed_in_place = fixed_in_place;
    }

    /// The expression that a name stands for, if it is assigned once and used here only.
    fn written(&self, argument: &'a Expr) -> &'a Expr {
        let inner = match argument {
            Expr::Call(call) if matches!(callee(call), Some("text" | "DDL")) => call.arguments.args.first(),
            other => Some(other),
        };
        let Some(Expr::Name(name)) = inner else { return argument };
        let module = self.functions.module;
        let mentions = module.tokens().iter().filter(|token| {
            token.kind() == TokenKind::Name && module.text(token.range()) == name.id.as_str()
        });
        if mentions.count() != 2 {
            return argument;
        }
        assigned(module.body(), name.id.as_str()).unwrap_or(argument)
    }

    /// Why SQL text can't be changed where it stands.
    fn fixed_sql(
        part: &sql::Part,
        call: &ExprCall,
        receiver: &Receiver,
        text: &Text,
    ) -> Option<&'static str> {
        if call.arguments.len() > 1 {
            return Some("it is given parameters");
        }
        if !text.known {
            return Some("a part of its SQL is not known before the migration runs: spell it out");
        }
        let is_update = matches!(part.kind, OperationKind::Update(_));
        if !is_update && text.start_of(&part.place.action).is_none() {
            return Some("its text is put together from parts that stand elsewhere: write it as one literal");
        }
        if !matches!(receiver, Receiver::Bind | Receiver::Other) {
            return None;
        }
        if !matches!(callee(call), Some("execute" | "exec_driver_sql")) || *receiver == Receiver::Other {
            return Some("it does not run on the migration's own connection, as far as is known");
        }
        // `op.execute` takes its place. SQLAlchemy 1.4 hands a plain string to the driver.
        let in_text = call.arguments.args.first().is_some_and(Expr::is_call_expr);
        (is_update && !in_text && text.value[part.place.statement.clone()].contains(['%', ':', '\\']))
            .then_some("its text would mean something else in `op.execute`")
    }

    fn inline(
        &mut self,
        definition: &'a StmtFunctionDef,
        call: &'a ExprCall,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
    ) {
        if self.calls.len() >= MAX_CALLS || self.calls.contains(&definition.range()) {
            return;
        }
        if let Some(helper) = Helper::of(definition) {
            self.helper(helper, call, statement, frame);
            return;
        }
        let mut inner = frame.clone();
        inner.scope = if frame.local.contains_key(definition.name.as_str()) {
            frame.scope.clone()
        } else {
            self.functions.scope.clone()
        };
        let parameters = &definition.parameters;
        for (position, parameter) in parameters.iter_non_variadic_params().enumerate() {
            let name = parameter.parameter.name.as_str();
            let value = call
                .arguments
                .find_argument_value(name, position)
                .or(parameter.default.as_deref())
                .map_or(Value::Unknown, |value| frame.scope.eval(value));
            inner.scope.bind(name, value);
        }
        for rest in parameters.vararg.iter().chain(&parameters.kwarg) {
            inner.scope.bind(rest.name.as_str(), Value::Unknown);
        }
        inner.repeated = true;
        self.calls.push(definition.range());
        self.body(&definition.body, &mut inner);
        self.calls.pop();
    }

    /// A call of a function that an earlier rewrite put into the file.
    fn helper(&mut self, helper: Helper, call: &'a ExprCall, statement: &'a Stmt, frame: &Frame<'a>) {
        let argument = |name, position| {
            call.arguments
                .find_argument_value(name, position)
                .map_or_else(Arg::absent, |expr| frame.scope.arg(expr))
        };
        if matches!(helper, Helper::ProveNotNull | Helper::DropNotNullProof) {
            let table = TableArg { name: argument("table_name", 0), schema: argument("schema", 2) };
            for kind in proof(helper, table, &argument("column_name", 1)) {
                self.push(kind, call, Receiver::Other, statement, frame, true);
            }
            return;
        }
        if helper == Helper::StartTypeChange {
            let table = TableArg { name: argument("table_name", 0), schema: argument("schema", 5) };
            let (column, type_) = (argument("column_name", 1), argument("new_type", 2));
            let kind = match (column.as_str(), type_.as_str()) {
                (Some(column), Some(type_)) => {
                    OperationKind::ReplaceColumn { table, column: column.to_owned(), type_: type_.to_owned() }
                }
                _ => OperationKind::Harmless { sql: None },
            };
            self.push(kind, call, Receiver::Other, statement, frame, true);
            return;
        }
        let name = argument("constraint_name", 0);
        let table = TableArg { name: argument("table_name", 1), schema: argument("schema", 2) };
        let kind = match (helper, table.known(), name.as_str()) {
            (Helper::DropConstraint, ..) => OperationKind::DropConstraint { table, name, if_exists: true },
            (Helper::AddUniqueUsingIndex | Helper::AddPrimaryKeyUsingIndex, Some(table), Some(name)) => {
                OperationKind::UseIndex {
                    table,
                    name: name.to_owned(),
                    index: name.to_owned(),
                    kind: if helper == Helper::AddUniqueUsingIndex {
                        ConstraintKind::Unique
                    } else {
                        ConstraintKind::PrimaryKey
                    },
                }
            }
            _ => OperationKind::Harmless { sql: None },
        };
        self.push(kind, call, Receiver::Bind, statement, frame, true);
    }

    fn push(
        &mut self,
        kind: OperationKind,
        call: &ExprCall,
        receiver: Receiver,
        statement: &Stmt,
        frame: &Frame<'a>,
        alone: bool,
    ) {
        self.push_sql(kind, None, call, receiver, statement, frame, alone);
    }

    #[expect(clippy::too_many_arguments, reason = "all that is known of an operation")]
    fn push_sql(
        &mut self,
        kind: OperationKind,
        sql: Option<SqlOrigin>,
        call: &ExprCall,
        receiver: Receiver,
        statement: &Stmt,
        frame: &Frame<'a>,
        alone: bool,
    ) {
        let unpacked = call.arguments.args.iter().any(Expr::is_starred_expr)
            || call.arguments.keywords.iter().any(|keyword| keyword.arg.is_none());
        let fixed_in_place = frame
            .fixed_in_place
            .or_else(|| (!alone).then_some("it is not a statement of its own"))
            .or_else(|| unpacked.then_some("its arguments are unpacked with `*` or `**`"));
        self.walked.operations.push(Operation {
            kind,
            origin: Origin {
                call: call.range(),
                callee: call.func.range(),
                statement: statement.range(),
                receiver,
                fixed_in_place,
                swallowed: frame.swallowed,
                repeated: frame.repeated,
                sql,
                guards: frame.guards.clone(),
                handlers: frame.handlers.clone(),
                nth: 0,
            },
            conditional: frame.conditional,
            autocommit: frame.autocommit,
            dialects: frame.dialects,
            lock_timeout: frame.lock_timeout,
        });
    }
}

enum ContextManager {
    Batch(Batch),
    Autocommit,
    Harmless(Value),
    Transaction(Value),
}

/// Collects the outermost calls below an expression.
struct Calls<'a> {
    outermost: TextRange,
    calls: Vec<&'a ExprCall>,
    repeated: bool,
}

impl<'a> Visitor<'a> for Calls<'a> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Call(call) if call.range() != self.outermost => self.calls.push(call),
            Expr::Lambda(_) => {}
            Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) | Expr::Generator(_) => {
                self.repeated = true;
                walk_expr(self, expr);
            }
            _ => walk_expr(self, expr),
        }
    }
}

/// `op.drop_constraint(None, …)`: SQLAlchemy can't compile it. Autogenerate writes it into every
/// downgrade of an unnamed constraint.
fn fails_always(kind: &OperationKind) -> bool {
    matches!(kind, OperationKind::DropConstraint { name, .. } if name.value == Value::None)
}

/// Text that is put together, as opposed to an SQLAlchemy statement object.
fn built_at_run_time(argument: &Expr) -> bool {
    match argument {
        Expr::FString(_) | Expr::BinOp(_) | Expr::Name(_) | Expr::Subscript(_) | Expr::Attribute(_) => true,
        Expr::Call(call) => matches!(
            callee(call),
            Some("text" | "format" | "join" | "dedent" | "read" | "read_text" | "strip" | "replace")
        ),
        _ => false,
    }
}

/// Whether a body always ends in `return`, `raise` or `sys.exit()`.
fn leaves(body: &[Stmt]) -> bool {
    match body.last() {
        Some(Stmt::Return(_) | Stmt::Raise(_)) => true,
        Some(Stmt::Expr(expression)) => {
            matches!(&*expression.value, Expr::Call(call) if matches!(callee(call), Some("exit" | "abort")))
        }
        _ => false,
    }
}

fn has_jump(body: &[Stmt]) -> bool {
    body.iter().any(|statement| match statement {
        Stmt::Break(_) | Stmt::Continue(_) => true,
        Stmt::If(branch) => {
            has_jump(&branch.body) || branch.elif_else_clauses.iter().any(|clause| has_jump(&clause.body))
        }
        _ => false,
    })
}

/// The names that a body binds anywhere become unknown.
fn forget_assigned(body: &[Stmt], scope: &mut Scope) {
    for statement in body {
        match statement {
            Stmt::Assign(assignment) => {
                for target in &assignment.targets {
                    scope.assign(target, &Value::Unknown);
                }
            }
            Stmt::AugAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
            Stmt::AnnAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
            Stmt::For(block) => {
                scope.assign(&block.target, &Value::Unknown);
                forget_assigned(&block.body, scope);
            }
            Stmt::While(block) => forget_assigned(&block.body, scope),
            Stmt::With(block) => forget_assigned(&block.body, scope),
            Stmt::If(branch) => {
                forget_assigned(&branch.body, scope);
                for clause in &branch.elif_else_clauses {
                    forget_assigned(&clause.body, scope);
                }
            }
            Stmt::Try(block) => forget_assigned(&block.body, scope),
            _ => {}
        }
    }
}

/// What a name is assigned, anywhere in these statements.
fn assigned<'a>(body: &'a [Stmt], name: &str) -> Option<&'a Expr> {
    body.iter().find_map(|statement| match statement {
        Stmt::Assign(assign) => match &assign.targets[..] {
            [Expr::Name(target)] if target.id.as_str() == name => Some(&*assign.value),
            _ => None,
        },
        Stmt::AnnAssign(assign) => match &*assign.target {
            Expr::Name(target) if target.id.as_str() == name => assign.value.as_deref(),
            _ => None,
        },
        Stmt::FunctionDef(function) => assigned(&function.body, name),
        _ => None,
    })
}

/// Whether a call makes a list or something else to loop over, which is no name.
fn calls_list(call: &ExprCall) -> bool {
    matches!(callee(call), Some("list" | "dict" | "set" | "sorted" | "inspect" | "execute" | "fetchall"))
}

/// A call of `Enum`, as SQLAlchemy and its dialect for PostgreSQL have it.
fn is_enum(expression: &Expr) -> bool {
    let Expr::Call(call) = expression else { return false };
    let name = match &*call.func {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return false,
    };
    matches!(name, "Enum" | "ENUM")
}

/// Whether an enum is assigned to a name, anywhere in a file.
fn is_enum_name(name: &str, body: &[Stmt]) -> bool {
    body.iter().any(|statement| match statement {
        Stmt::Assign(assign) => {
            is_enum(&assign.value)
                && assign.targets.iter().any(|target| matches!(target, Expr::Name(found) if found.id == name))
        }
        Stmt::FunctionDef(function) => is_enum_name(name, &function.body),
        _ => false,
    })
}
