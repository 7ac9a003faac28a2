//! Follows the statements of `upgrade` and `downgrade` in the order in which they would run on
//! PostgreSQL, and reads the operations.

mod call;
mod class;
pub(super) mod names;

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{
    ExceptHandler, Expr, ExprCall, Stmt, StmtClassDef, StmtFor, StmtFunctionDef, StmtIf, StmtTry, StmtWith,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use self::call::calls_list;
use self::names::{assign, bind_relative, forget_assigned, parameter_names};
use super::calls::callee;
use super::guard::{Branch, Guard};
use super::modules::Modules;
use super::{Batch, Operation, Receiver, calls};
use crate::layout::helpers::Helper;
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::value::{BatchId, Dialects, Value};

/// Why a statement stays where it is whose failure would pass unnoticed elsewhere.
const SWALLOWED: &str = "an `except` around it goes on when it fails";
/// A loop over more values than this is not unrolled.
const MAX_ITERATIONS: usize = 500;

/// The functions and the module-level names of a file.
#[derive(Debug)]
pub struct Functions<'a> {
    module: &'a Module,
    definitions: BTreeMap<&'a str, &'a StmtFunctionDef>,
    classes: BTreeMap<&'a str, &'a StmtClassDef>,
    scope: Scope,
    modules: Option<&'a Modules>,
    /// The name of the module among them; `None` for a migration.
    name: Option<&'a str>,
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
    /// What its columns take from other modules, and might be their types.
    pub types: BTreeSet<String>,
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
        Self::of_module(module, modules, None)
    }

    /// Likewise, of one of the modules.
    pub(super) fn of_module(module: &'a Module, modules: Option<&'a Modules>, name: Option<&'a str>) -> Self {
        let mut functions = Self {
            module,
            definitions: BTreeMap::new(),
            classes: BTreeMap::new(),
            scope: Scope::default(),
            modules,
            name,
        };
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
                Stmt::ClassDef(class) => {
                    self.classes.insert(class.name.as_str(), class);
                    assign(statement, &mut self.scope);
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
                other => {
                    assign(other, &mut self.scope);
                    bind_relative(other, self.modules, self.name, &mut self.scope);
                }
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

    /// The function of ours that is called, of the file or of a module that it imports.
    fn helper(&self, call: &ExprCall, scope: &Scope) -> Option<Helper> {
        let of_module = |name: &str, function: &str| match scope.get(name) {
            Some(Value::Foreign(module)) => self.modules?.helper(&format!("{module}{function}")),
            _ => None,
        };
        match &*call.func {
            Expr::Name(name) => match self.definitions.get(name.id.as_str()) {
                Some(definition) => Helper::of(definition),
                None => of_module(&name.id, ""),
            },
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(name) => of_module(&name.id, &format!(".{}", attribute.attr)),
                _ => None,
            },
            _ => None,
        }
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
            within: TextRange::default(),
            followed: BTreeSet::new(),
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
            kept: false,
            lock_timeout: false,
            repeated: false,
            in_loop: false,
            in_batch: false,
            guards: Vec::new(),
            guards_of_call: None,
            handlers: Vec::new(),
            local: BTreeMap::new(),
        };
        walker.body(&definition.body, &mut frame);
        walker.walked
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
    /// The statements stand under a condition that keeps its answer.
    kept: bool,
    /// The statements stand in a `with` block that limits how long they wait for a lock.
    lock_timeout: bool,
    repeated: bool,
    /// The statements stand in a loop, or in a function that is called in one.
    in_loop: bool,
    /// The statements stand in a batch block.
    in_batch: bool,
    guards: Vec<usize>,
    /// In a function that is called: how many of `guards` stand around the call.
    guards_of_call: Option<usize>,
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
    /// The statement of the function that is read which called the one that is followed.
    within: TextRange,
    /// The functions that have been called.
    followed: BTreeSet<FunctionKey>,
    /// The assignments of values that are not known, in the order in which they run.
    symbols: Vec<TextSize>,
}

/// The module of a function, if it is no migration, and its start.
type FunctionKey = (Option<String>, TextSize);

/// `TextRange` has no order of its own.
type BatchKey = (u32, u32);

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
                self.bind_object(assignment, frame);
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
            other => {
                assign(other, &mut frame.scope);
                bind_relative(other, self.functions.modules, self.functions.name, &mut frame.scope);
            }
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
        let mut guard = if undecided { Guard::of(test, &frame.scope) } else { None };
        if let Some(guard) = &mut guard {
            guard.branch = branch_of(test, body).filter(|_| !frame.in_loop);
            guard.module = self.functions.name.map(str::to_owned);
        }
        let mut then = frame.clone();
        then.dialects = holds;
        then.conditional |= undecided;
        let holds_guard = self.guard(guard.as_ref());
        let keeps = guard.as_ref().is_some_and(|guard| guard.kept_as.is_some());
        then.kept |= keeps;
        then.guards.extend(holds_guard.filter(|_| !keeps));
        let operations = self.walked.operations.len();
        let then_flow = if holds.contains(Dialects::POSTGRESQL) {
            self.body(body, &mut then)
        } else if leaves(body) {
            Flow::Leaves
        } else {
            Flow::Continues
        };
        // `if done_already(): return`: the migration runs as a whole or not at all; a function that it calls does not
        // decide that.
        let is_guard = self.walked.operations.len() == operations && self.calls.len() == 1;
        let mut other = frame.clone();
        other.dialects = fails;
        other.conditional |= undecided;
        // Where it does not hold, nothing tells a second run.
        if let Some(guard) = &mut guard {
            guard.branch = None;
        }
        other.guards.extend(self.guard(guard.as_ref()));
        let before_other = self.walked.operations.len();
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
        if self.walked.operations.len() > before_other
            && let Some(index) = holds_guard
            && let Some(guard) = self.walked.guards.get_mut(index)
        {
            guard.branch = None;
        }
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
        let in_loop = std::mem::replace(&mut frame.in_loop, true);
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
        (frame.repeated, frame.in_loop) = (repeated, in_loop);
        self.optional(&block.orelse, frame);
    }

    /// A body that runs any number of times.
    fn unknown_loop(&mut self, body: &'a [Stmt], frame: &mut Frame<'a>) {
        let mut inner = frame.clone();
        forget_assigned(body, &mut inner.scope);
        (inner.repeated, inner.in_loop) = (true, true);
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
        // Where every failure ends the migration, what has run has not failed.
        inner.conditional |= !block.handlers.iter().all(raises);
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
        let saved =
            (frame.autocommit, frame.fixed_in_place, frame.swallowed, frame.lock_timeout, frame.in_batch);
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
                    frame.in_batch = true;
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
        (frame.autocommit, frame.fixed_in_place, frame.swallowed, frame.lock_timeout, frame.in_batch) = saved;
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
                Some(_) if self.functions.helper(call, &frame.scope) == Some(Helper::LockTimeout) => {
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
                Value::Batch(id) => {
                    self.batches.get(&key(id)).cloned().map(|batch| Receiver::Batch(Box::new(batch)))
                }
                _ => None,
            },
            Expr::Name(name) => match frame.scope.get(&name.id) {
                Some(Value::OpFunction(_)) => Some(Receiver::Function),
                _ => None,
            },
            _ => None,
        }
    }
}

enum ContextManager {
    Batch(Batch),
    Autocommit,
    Harmless(Value),
    Transaction(Value),
}

/// Whether an `except` clause always ends in `raise`.
fn raises(handler: &ExceptHandler) -> bool {
    let ExceptHandler::ExceptHandler(handler) = handler;
    matches!(handler.body.last(), Some(Stmt::Raise(_)))
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

/// The `if` of a condition, when a statement behind its body is reached whenever the body is.
fn branch_of(test: &Expr, body: &[Stmt]) -> Option<Branch> {
    struct Jumps(bool);
    impl<'a> Visitor<'a> for Jumps {
        fn visit_stmt(&mut self, statement: &'a Stmt) {
            match statement {
                Stmt::Return(_) | Stmt::Break(_) | Stmt::Continue(_) => self.0 = true,
                _ => walk_stmt(self, statement),
            }
        }
    }
    let mut jumps = Jumps(false);
    jumps.visit_body(body);
    let last = body.last()?.range();
    (!jumps.0).then_some(Branch { test: test.range(), last })
}
