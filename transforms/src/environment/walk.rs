//! Follows an `env.py` from top to bottom and into its own functions, on PostgreSQL.
//!
//! Connections are told apart by how they are spelled (`conn`, `rec["connection"]`), and have a
//! transaction open or not. Where two ways meet, one that is open on either is open.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{
    ExceptHandler, Expr, ExprAttribute, ExprCall, Keyword, Parameters, Stmt, StmtFunctionDef, StmtIf,
    StmtTry, StmtWith,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::{Configure, Obstacle, ObstacleKind, PerMigration, Place};
use crate::operations::{Functions, assign};
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::value::Value;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) configures: Vec<Configure>,
    pub(super) obstacles: Vec<Obstacle>,
    pub(super) future: bool,
}

/// Functions of the file that are entered, in all: each call is followed, so that two that call each
/// other twice would never end.
const MAX_CALLS: usize = 200;

/// What runs a statement on a connection, or on what was made from it to look into the database.
const RUNS: &[&str] = &[
    "execute",
    "exec_driver_sql",
    "get_columns",
    "get_current_heads",
    "get_current_revision",
    "get_schema_names",
    "get_table_names",
    "get_view_names",
    "has_schema",
    "has_table",
    "scalar",
    "scalars",
];

/// Beginnings of URLs of other databases.
const OTHER_DATABASES: &[&str] = &["sqlite", "mysql", "mariadb", "oracle", "mssql"];

/// Read a module; `None` when it never calls Alembic's context.
pub(super) fn walk(module: &Module) -> Option<Walked> {
    let functions = Functions::new(module);
    let mut walker = Walker {
        module,
        definitions: Vec::new(),
        entered: BTreeSet::new(),
        active: Vec::new(),
        calls: 0,
        next: 0,
        statement: TextRange::default(),
        flow: Flow {
            frames: vec![Frame { scope: functions.scope().clone(), ..Frame::default() }],
            ..Flow::default()
        },
        configures: BTreeMap::new(),
        obstacles: BTreeMap::new(),
        uses_context: false,
        future: false,
    };
    let mut definitions = Definitions(Vec::new());
    definitions.visit_body(module.body());
    walker.definitions = definitions.0;
    for statement in module.body() {
        if let Stmt::FunctionDef(function) = statement {
            walker.frame().functions.insert(function.name.to_string(), function);
        }
    }
    walker.body(module.body());
    // What nobody in this file calls may be called from elsewhere.
    let globals = walker.flow.frames.first().cloned().unwrap_or_default();
    for function in walker.definitions.clone() {
        if !walker.entered.contains(&function.start()) {
            walker.flow = Flow { frames: vec![globals.clone()], ..Flow::default() };
            walker.enter(function, &[], &[]);
        }
    }
    walker.uses_context.then(|| Walked {
        configures: walker.configures.into_values().collect(),
        obstacles: walker.obstacles.into_values().collect(),
        future: walker.future,
    })
}

/// All functions of a module, in methods and functions, too.
struct Definitions<'a>(Vec<&'a StmtFunctionDef>);

impl<'a> Visitor<'a> for Definitions<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::FunctionDef(function) = statement {
            self.0.push(function);
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, _: &'a Expr) {}
}

/// A connection.
type Id = usize;

/// What the names of one function, or of the module, stand for. Names may be `rec["connection"]`.
#[derive(Debug, Clone, Default)]
struct Frame<'a> {
    scope: Scope,
    connections: BTreeMap<String, Id>,
    transactions: BTreeMap<String, Id>,
    dictionaries: BTreeMap<String, Dictionary>,
    /// Engines and connections of other databases.
    others: BTreeSet<String>,
    functions: BTreeMap<String, &'a StmtFunctionDef>,
}

/// What is known of a dictionary.
#[derive(Debug, Clone, PartialEq)]
struct Dictionary {
    per_migration: Option<Value>,
    /// Whether everything that goes into it is seen.
    complete: bool,
}

/// A `context.configure()` that holds.
#[derive(Debug, Clone, Copy)]
struct Configured {
    call: TextRange,
    /// Whether a connection is given to it, and which.
    online: bool,
    connection: Option<Id>,
}

/// A transaction that is open.
#[derive(Debug, Clone)]
struct Open {
    place: Place,
    kind: ObstacleKind,
}

/// The present state.
#[derive(Debug, Clone, Default)]
struct Flow<'a> {
    frames: Vec<Frame<'a>>,
    open: BTreeMap<Id, Open>,
    /// The last `context.configure()`.
    configured: Option<Configured>,
    /// A call after it whose effect ends with the transaction, or may.
    lasting: Option<TextRange>,
    /// In `context.begin_transaction()`.
    inside: bool,
    /// Nothing that follows is run.
    ended: bool,
}

impl Flow<'_> {
    /// Two ways led here.
    fn merge(&mut self, other: Self) {
        if other.ended {
            return;
        }
        if self.ended {
            *self = other;
            return;
        }
        for (frame, other) in self.frames.iter_mut().zip(other.frames) {
            frame.scope.merge(&other.scope);
            for (name, id) in other.connections {
                frame.connections.entry(name).or_insert(id);
            }
            for (name, id) in other.transactions {
                frame.transactions.entry(name).or_insert(id);
            }
            for (name, dictionary) in other.dictionaries {
                match frame.dictionaries.get_mut(&name) {
                    Some(known) if *known != dictionary => known.complete = false,
                    Some(_) => {}
                    None => {
                        frame.dictionaries.insert(name, dictionary);
                    }
                }
            }
            frame.others.retain(|name| other.others.contains(name));
            frame.functions.extend(other.functions);
        }
        for (id, open) in other.open {
            self.open.entry(id).or_insert(open);
        }
        self.configured = self.configured.take().or(other.configured);
        self.lasting = self.lasting.or(other.lasting);
        self.inside |= other.inside;
    }
}

struct Walker<'a> {
    module: &'a Module,
    definitions: Vec<&'a StmtFunctionDef>,
    /// Functions that were walked, by their place.
    entered: BTreeSet<TextSize>,
    /// Functions that are being walked.
    active: Vec<TextSize>,
    calls: usize,
    next: Id,
    statement: TextRange,
    flow: Flow<'a>,
    configures: BTreeMap<TextSize, Configure>,
    obstacles: BTreeMap<TextSize, Obstacle>,
    uses_context: bool,
    future: bool,
}

impl<'a> Walker<'a> {
    fn frame(&mut self) -> &mut Frame<'a> {
        if self.flow.frames.is_empty() {
            self.flow.frames.push(Frame::default());
        }
        let last = self.flow.frames.len() - 1;
        &mut self.flow.frames[last]
    }

    fn scope(&mut self) -> &mut Scope {
        &mut self.frame().scope
    }

    fn key(&self, expr: &Expr) -> String {
        self.module.text(expr).to_owned()
    }

    // --- statements

    fn body(&mut self, body: &'a [Stmt]) {
        for statement in body {
            if self.flow.ended {
                break;
            }
            self.statement(statement);
        }
    }

    /// Walk one of several ways, and come back to where it began; where it led to is returned.
    fn way(&mut self, body: &'a [Stmt]) -> Flow<'a> {
        let before = self.flow.clone();
        self.body(body);
        std::mem::replace(&mut self.flow, before)
    }

    fn statement(&mut self, statement: &'a Stmt) {
        self.statement = statement.range();
        match statement {
            Stmt::FunctionDef(function) => {
                self.frame().functions.insert(function.name.to_string(), function);
            }
            Stmt::If(branch) => self.branch(branch),
            Stmt::With(with) => self.with(with, 0),
            Stmt::Try(attempt) => self.attempt(attempt),
            Stmt::For(for_) => {
                self.header(statement, &for_.body);
                self.expression(&for_.iter);
                self.forget(&for_.target);
                self.scope().assign(&for_.target, &Value::Unknown);
                let once = self.way(&for_.body);
                self.flow.merge(Flow { ended: false, ..once });
                self.body(&for_.orelse);
            }
            Stmt::While(while_) => {
                self.header(statement, &while_.body);
                self.expression(&while_.test);
                let once = self.way(&while_.body);
                self.flow.merge(Flow { ended: false, ..once });
                self.body(&while_.orelse);
            }
            Stmt::Match(match_) => {
                self.expression(&match_.subject);
                for case in &match_.cases {
                    let way = self.way(&case.body);
                    self.flow.merge(way);
                }
            }
            Stmt::ClassDef(_) => {}
            Stmt::Assign(assignment) => {
                self.expression(&assignment.value);
                self.assign(&assignment.targets.iter().collect::<Vec<_>>(), &assignment.value, statement);
            }
            Stmt::AnnAssign(assignment) => {
                if let Some(value) = &assignment.value {
                    self.expression(value);
                    self.assign(&[&assignment.target], value, statement);
                }
            }
            Stmt::Import(_) | Stmt::ImportFrom(_) => assign(statement, self.scope()),
            Stmt::Return(_) | Stmt::Raise(_) => {
                self.expressions(statement);
                self.flow.ended = true;
            }
            // What follows them is run, only not here.
            other => self.expressions(other),
        }
    }

    /// Of a compound statement only the header is the statement of the calls in it.
    fn header(&mut self, statement: &Stmt, body: &[Stmt]) {
        let end = body.first().map_or(statement.end(), Ranged::start);
        self.statement = TextRange::new(statement.start(), end);
        self.trim_statement();
    }

    fn trim_statement(&mut self) {
        let text = self.module.text(self.statement);
        // A comment between the header and the body belongs to neither.
        let trimmed = text.lines().next().filter(|_| !text.contains('(')).unwrap_or(text).trim_end();
        self.statement = TextRange::at(self.statement.start(), TextSize::of(trimmed));
    }

    fn branch(&mut self, branch: &'a StmtIf) {
        let mut ways: Vec<Flow<'a>> = Vec::new();
        let first = (Some(&*branch.test), branch.body.as_slice());
        let others =
            branch.elif_else_clauses.iter().map(|clause| (clause.test.as_ref(), clause.body.as_slice()));
        let mut exhaustive = false;
        for (test, body) in std::iter::once(first).chain(others) {
            let holds = test.map_or(Some(true), |test| {
                let start = if ways.is_empty() { branch.start() } else { test.start() };
                self.statement = TextRange::new(start, test.end());
                self.expression(test);
                self.scope().condition(test, "postgresql")
            });
            if holds != Some(false) {
                let way = self.way(body);
                ways.push(way);
            }
            if holds == Some(true) {
                exhaustive = true;
                break;
            }
        }
        if exhaustive {
            self.flow.ended = true;
        }
        for way in ways {
            self.flow.merge(way);
        }
    }

    fn attempt(&mut self, attempt: &'a StmtTry) {
        let before = self.flow.clone();
        self.body(&attempt.body);
        self.body(&attempt.orelse);
        let mut after = self.flow.clone();
        for handler in &attempt.handlers {
            let ExceptHandler::ExceptHandler(handler) = handler;
            // It may have come from anywhere in the body.
            self.flow = Flow { ended: false, ..after.clone() };
            self.flow.merge(before.clone());
            self.body(&handler.body);
            after.merge(std::mem::take(&mut self.flow));
        }
        let ended = after.ended;
        self.flow = Flow { ended: false, ..after };
        self.body(&attempt.finalbody);
        self.flow.ended |= ended;
    }

    fn with(&mut self, with: &'a StmtWith, item: usize) {
        let Some(one) = with.items.get(item) else { return self.body(&with.body) };
        self.statement = TextRange::new(with.start(), with.items.last().map_or(with.end(), Ranged::end));
        let variable = one.optional_vars.as_deref();
        let expr = awaited(&one.context_expr);
        let method = method(expr);
        match method {
            Some((call, attribute))
                if self.is_context(&attribute.value) && attribute.attr.as_str() == "begin_transaction" =>
            {
                self.uses_context = true;
                self.arguments(call);
                let before = std::mem::replace(&mut self.flow.inside, true);
                self.with(with, item + 1);
                self.flow.inside = before;
            }
            Some((call, attribute)) if is_begin(attribute) && !self.is_context(&attribute.value) => {
                self.expression(&attribute.value);
                self.arguments(call);
                let known = self.connection(&attribute.value).or_else(|| {
                    let is_connection =
                        variable.is_none() || looks_like_connection(self.module.text(&*attribute.value));
                    is_connection.then(|| self.register(&attribute.value))
                });
                let id = match (known, variable) {
                    (Some(id), variable) => {
                        if let Some(variable) = variable {
                            let key = self.key(variable);
                            self.frame().transactions.insert(key, id);
                        }
                        id
                    }
                    (None, Some(variable)) => self.new_connection(&[variable], &attribute.value),
                    (None, None) => self.register(&attribute.value),
                };
                let place = self.place(call);
                let before = self.flow.open.insert(id, Open { place, kind: ObstacleKind::Begun });
                self.with(with, item + 1);
                match before {
                    Some(before) => self.flow.open.insert(id, before),
                    None => self.flow.open.remove(&id),
                };
            }
            _ => {
                self.expression(&one.context_expr);
                let id = self.connection(expr);
                if let Some(variable) = variable {
                    match id {
                        Some(id) => self.bind(&[variable], id),
                        None if method.is_some_and(|(_, attribute)| attribute.attr.as_str() == "connect") => {
                            let receiver = method.map(|(_, attribute)| &*attribute.value);
                            let receiver = receiver.unwrap_or(expr);
                            self.new_connection(&[variable], receiver);
                        }
                        None => {
                            self.forget(variable);
                            self.scope().assign(variable, &Value::Unknown);
                        }
                    }
                }
                let opened = variable.and_then(|variable| self.connection(variable)).or(id);
                self.with(with, item + 1);
                if let Some(id) = opened {
                    self.flow.open.remove(&id);
                }
            }
        }
    }

    // --- names

    /// The connection that an expression is known to be.
    fn connection(&mut self, expr: &Expr) -> Option<Id> {
        let expr = awaited(expr);
        let key = self.key(expr);
        if let Some(id) = self.frame().connections.get(&key) {
            return Some(*id);
        }
        let Expr::Call(call) = expr else { return None };
        let first = call.arguments.args.first();
        match &*call.func {
            Expr::Attribute(attribute) => match attribute.attr.as_str() {
                "connect" | "execution_options" => self.connection(&attribute.value),
                // What looks into the database through it stands for it.
                "configure" if self.is_context(&attribute.value) => None,
                "enter_context" | "enter_async_context" | "push" | "configure" | "inspect" => {
                    self.connection(first?)
                }
                _ => None,
            },
            Expr::Name(name) if matches!(name.id.as_str(), "inspect" | "closing" | "nullcontext") => {
                self.connection(first?)
            }
            _ => None,
        }
    }

    /// A connection that nothing is known of but its name.
    fn register(&mut self, expr: &Expr) -> Id {
        let key = self.key(awaited(expr));
        self.next += 1;
        let id = self.next;
        *self.frame().connections.entry(key).or_insert(id)
    }

    /// A new connection of the engine `from`.
    fn new_connection(&mut self, targets: &[&Expr], from: &Expr) -> Id {
        self.next += 1;
        let id = self.next;
        self.bind(targets, id);
        let from = self.key(from);
        if self.frame().others.contains(&from) {
            let names: Vec<_> = targets.iter().map(|target| self.key(target)).collect();
            self.frame().others.extend(names);
        }
        id
    }

    fn bind(&mut self, targets: &[&Expr], id: Id) {
        for target in targets {
            let key = self.key(target);
            self.frame().connections.insert(key, id);
            if target.is_name_expr() {
                self.scope().assign(target, &Value::Bind);
            }
        }
    }

    fn forget(&mut self, target: &Expr) {
        if let Expr::Tuple(tuple) = target {
            tuple.elts.iter().for_each(|target| self.forget(target));
        }
        let key = self.key(target);
        let frame = self.frame();
        frame.connections.remove(&key);
        frame.transactions.remove(&key);
        frame.dictionaries.remove(&key);
        frame.others.remove(&key);
    }

    fn assign(&mut self, targets: &[&'a Expr], value: &'a Expr, statement: &Stmt) {
        let plain = awaited(value);
        let dictionary = self.dictionary(plain);
        for target in targets {
            if let Expr::Subscript(subscript) = target {
                self.set_item(&subscript.value, &subscript.slice, plain);
            }
        }
        // `connection = connection.execution_options(…)` names itself.
        let id = self.connection(plain);
        let of_other = self.is_of_other_database(plain);
        for target in targets {
            self.forget(target);
        }
        let connected = connects(plain);
        if let Some(id) = id {
            self.bind(targets, id);
        } else if let Some(engine) = connected {
            self.new_connection(targets, engine);
        } else {
            assign(statement, self.scope());
            let is_engine = self.module.text(plain).contains("engine");
            for target in targets {
                let key = self.key(target);
                if target.is_name_expr() && plain.is_call_expr() && is_engine {
                    self.scope().assign(target, &Value::Bind);
                }
                if of_other {
                    self.frame().others.insert(key.clone());
                }
                if let Some((_, attribute)) = method(plain).filter(|(_, attribute)| is_begin(attribute))
                    && let Some(id) = self.connection(&attribute.value)
                {
                    self.frame().transactions.insert(key, id);
                } else if let Some(dictionary) = &dictionary
                    && !target.is_tuple_expr()
                {
                    self.frame().dictionaries.insert(key, dictionary.clone());
                }
            }
        }
    }

    // --- dictionaries

    /// What is known of the dictionary that an expression is; `None` when it is none.
    fn dictionary(&mut self, expr: &Expr) -> Option<Dictionary> {
        let mut found = Dictionary { per_migration: None, complete: true };
        match expr {
            Expr::Dict(dict) => {
                for item in &dict.items {
                    match &item.key {
                        Some(key) => self.put(&mut found, key, &item.value),
                        None => self.spread(&mut found, &item.value),
                    }
                }
                Some(found)
            }
            Expr::Call(call) => match &*call.func {
                Expr::Name(name) if name.id.as_str() == "dict" => {
                    self.put_all(&mut found, call);
                    Some(found)
                }
                Expr::Attribute(attribute) if attribute.attr.as_str() == "copy" => {
                    self.dictionary(&attribute.value)
                }
                _ => self.value(expr),
            },
            Expr::BinOp(binary) if binary.op == ruff_python_ast::Operator::BitOr => {
                let left = self.dictionary(&binary.left)?;
                self.spread(&mut found, &binary.right);
                Some(Dictionary {
                    per_migration: found.per_migration.or(left.per_migration),
                    complete: found.complete && left.complete,
                })
            }
            Expr::Name(_) | Expr::Attribute(_) | Expr::Subscript(_) => {
                let key = self.key(expr);
                self.frame().dictionaries.get(&key).cloned().or_else(|| self.value(expr))
            }
            _ => None,
        }
    }

    /// A dictionary by the value of an expression, when that is known.
    fn value(&mut self, expr: &Expr) -> Option<Dictionary> {
        let Value::Dict(items) = self.scope().eval(expr) else { return None };
        let per_migration =
            items.iter().find_map(|(key, value)| (key.as_str() == Some(KEYWORD)).then(|| value.clone()));
        let complete = items.iter().all(|(key, _)| key.as_str().is_some());
        Some(Dictionary { per_migration, complete })
    }

    fn put(&mut self, dictionary: &mut Dictionary, key: &Expr, value: &Expr) {
        let scope = self.scope();
        match scope.eval(key) {
            Value::Str(key) if key == KEYWORD => dictionary.per_migration = Some(scope.eval(value)),
            Value::Str(_) => {}
            _ => dictionary.complete = false,
        }
    }

    fn spread(&mut self, dictionary: &mut Dictionary, other: &Expr) {
        match self.dictionary(other) {
            Some(other) => {
                dictionary.complete &= other.complete;
                dictionary.per_migration = other.per_migration.or(dictionary.per_migration.take());
            }
            None => dictionary.complete = false,
        }
    }

    /// The arguments of `dict(…)` and `.update(…)`.
    fn put_all(&mut self, dictionary: &mut Dictionary, call: &ExprCall) {
        for argument in &call.arguments.args {
            self.spread(dictionary, argument);
        }
        for Keyword { arg, value, .. } in &call.arguments.keywords {
            match arg {
                Some(name) if name.as_str() == KEYWORD => {
                    dictionary.per_migration = Some(self.scope().eval(value));
                }
                Some(_) => {}
                None => self.spread(dictionary, value),
            }
        }
    }

    /// The dictionary of this name; one that was never seen may hold anything.
    fn known_dictionary(&mut self, owner: &Expr) -> (String, Dictionary) {
        let key = self.key(owner);
        let known = self.dictionary(owner).unwrap_or(Dictionary { per_migration: None, complete: false });
        (key, known)
    }

    fn set_item(&mut self, owner: &Expr, key: &Expr, value: &Expr) {
        let (name, mut dictionary) = self.known_dictionary(owner);
        self.put(&mut dictionary, key, value);
        self.frame().dictionaries.insert(name, dictionary);
    }

    // --- expressions

    fn expressions(&mut self, statement: &'a Stmt) {
        let mut calls = Calls(Vec::new());
        walk_stmt(&mut calls, statement);
        calls.0.into_iter().for_each(|call| self.call(call));
    }

    fn expression(&mut self, expr: &'a Expr) {
        let mut calls = Calls(Vec::new());
        calls.visit_expr(expr);
        calls.0.into_iter().for_each(|call| self.call(call));
    }

    fn arguments(&mut self, call: &'a ExprCall) {
        for argument in call.arguments.iter_source_order() {
            self.expression(argument.value());
        }
    }

    fn is_context(&mut self, expr: &Expr) -> bool {
        self.scope().eval(expr) == Value::Context
    }

    fn place(&self, call: &ExprCall) -> Place {
        Place { call: call.range(), callee: call.func.range(), statement: self.statement }
    }

    /// A call, whose arguments have been evaluated.
    fn call(&mut self, call: &'a ExprCall) {
        match &*call.func {
            Expr::Attribute(attribute) if self.is_context(&attribute.value) => {
                self.context_call(attribute.attr.as_str(), call);
            }
            Expr::Attribute(attribute) => self.method(call, attribute),
            Expr::Name(name) => {
                if matches!(name.id.as_str(), "create_engine" | "engine_from_config") {
                    let future = call.arguments.find_keyword("future");
                    self.future |=
                        future.is_some_and(|future| self.scope().eval(&future.value) == Value::Bool(true));
                }
                let function = self.frame().functions.get(name.id.as_str()).copied();
                match function {
                    Some(function) => self.enter(function, &call.arguments.args, &call.arguments.keywords),
                    None if matches!(name.id.as_str(), "dict" | "len" | "print" | "list" | "sorted") => {}
                    None => self.hand_out(call),
                }
            }
            _ => self.hand_out(call),
        }
    }

    /// A function that is not seen may put anything into a dictionary that it is given.
    fn hand_out(&mut self, call: &ExprCall) {
        for argument in &call.arguments.args {
            let key = self.key(argument);
            if let Some(dictionary) = self.frame().dictionaries.get_mut(&key) {
                dictionary.complete = false;
            }
        }
    }

    fn method(&mut self, call: &'a ExprCall, attribute: &'a ExprAttribute) {
        let name = attribute.attr.as_str();
        let first = call.arguments.args.first();
        if matches!(name, "update" | "setdefault") {
            let (key, mut dictionary) = self.known_dictionary(&attribute.value);
            match (name, first) {
                ("setdefault", Some(item)) => {
                    // Without a value it is `None`, which is false.
                    match call.arguments.args.get(1) {
                        Some(value) if dictionary.per_migration.is_none() => {
                            self.put(&mut dictionary, item, value);
                        }
                        _ => {}
                    }
                }
                _ => self.put_all(&mut dictionary, call),
            }
            self.frame().dictionaries.insert(key, dictionary);
            return;
        }
        if name == "run_sync" {
            if let Some(Expr::Name(function)) = first
                && let Some(function) = self.frame().functions.get(function.id.as_str()).copied()
            {
                let id = self.connection(&attribute.value);
                let arguments = call.arguments.args.get(1..).unwrap_or_default();
                self.enter_with(function, id, arguments, &call.arguments.keywords);
            }
            return;
        }
        let id = self.connection(&attribute.value);
        if is_begin(attribute) {
            let id = id.unwrap_or_else(|| self.register(&attribute.value));
            let place = self.place(call);
            self.flow.open.insert(id, Open { place, kind: ObstacleKind::Begun });
        } else if RUNS.contains(&name) {
            let id = id.unwrap_or_else(|| self.register(&attribute.value));
            let place = self.place(call);
            let text = first.and_then(|statement| self.sql(statement));
            self.note_lasting(call, Some(id), text.as_deref());
            let kind = ObstacleKind::Statement(text);
            self.flow.open.entry(id).or_insert(Open { place, kind });
        } else if matches!(name, "commit" | "rollback" | "close") {
            let key = self.key(&attribute.value);
            if let Some(id) = id.or_else(|| self.frame().transactions.get(&key).copied()) {
                self.flow.open.remove(&id);
            }
        } else {
            self.hand_out(call);
        }
    }

    /// The text of `text("…")`, `"…"` and the like, as far as it is known.
    fn sql(&mut self, statement: &Expr) -> Option<String> {
        let inner = match statement {
            Expr::Call(call) => call.arguments.args.first()?,
            other => other,
        };
        match self.scope().eval(inner) {
            Value::Str(text) | Value::Partial(text) | Value::Sql(text) => Some(text),
            _ => match inner {
                // The beginning tells what is done.
                Expr::FString(fstring) => {
                    let text = self.module.text(fstring.range());
                    Some(text.trim_start_matches(['f', 'F', 'r', 'R', '"', '\'']).to_owned())
                }
                _ => None,
            },
        }
    }

    fn enter(&mut self, function: &'a StmtFunctionDef, arguments: &'a [Expr], keywords: &'a [Keyword]) {
        let given: Vec<_> = arguments.iter().map(Some).collect();
        self.enter_given(function, None, &given, keywords);
    }

    /// Enter a function whose first parameter is a connection.
    fn enter_with(
        &mut self,
        function: &'a StmtFunctionDef,
        id: Option<Id>,
        arguments: &'a [Expr],
        keywords: &'a [Keyword],
    ) {
        let given: Vec<_> = std::iter::once(None).chain(arguments.iter().map(Some)).collect();
        self.enter_given(function, id, &given, keywords);
    }

    fn enter_given(
        &mut self,
        function: &'a StmtFunctionDef,
        first: Option<Id>,
        arguments: &[Option<&'a Expr>],
        keywords: &'a [Keyword],
    ) {
        if self.active.contains(&function.start()) || self.calls >= MAX_CALLS {
            return;
        }
        self.calls += 1;
        self.entered.insert(function.start());
        self.active.push(function.start());
        // A function of a function sees the names around it.
        let is_global = self.flow.frames.first().is_some_and(|globals| {
            globals
                .functions
                .get(function.name.as_str())
                .is_some_and(|known| known.start() == function.start())
        });
        let around = if is_global { self.flow.frames.first() } else { self.flow.frames.last() };
        let mut frame = around.cloned().unwrap_or_default();
        for (position, (name, is_connection)) in parameters(&function.parameters, self.module).enumerate() {
            let keyword =
                keywords.iter().find(|one| one.arg.as_ref().is_some_and(|arg| arg.as_str() == name));
            let given = arguments.get(position).copied().flatten().or(keyword.map(|keyword| &keyword.value));
            let mut id = if position == 0 { first } else { None };
            let mut value = Value::Unknown;
            let mut dictionary = None;
            if let Some(given) = given {
                id = id.or_else(|| self.connection(given));
                value = self.scope().eval(given);
                dictionary = self.dictionary(given);
            }
            if id.is_none() && is_connection {
                self.next += 1;
                id = Some(self.next);
            }
            frame.connections.remove(name);
            frame.transactions.remove(name);
            frame.dictionaries.remove(name);
            frame.others.remove(name);
            if let Some(dictionary) = dictionary {
                frame.dictionaries.insert(name.to_owned(), dictionary);
            }
            match id {
                Some(id) => {
                    frame.connections.insert(name.to_owned(), id);
                    frame.scope.bind(name, Value::Bind);
                }
                None => frame.scope.bind(name, value),
            }
        }
        let (inside, ended, statement) = (self.flow.inside, self.flow.ended, self.statement);
        self.flow.frames.push(frame);
        self.flow.ended = false;
        self.body(&function.body);
        self.flow.frames.pop();
        self.flow.inside = inside;
        self.flow.ended = ended;
        self.statement = statement;
        self.active.pop();
    }

    // --- Alembic's context

    fn context_call(&mut self, name: &str, call: &'a ExprCall) {
        match name {
            "configure" => self.configure(call),
            "run_migrations" => self.run(call),
            "execute" => {
                let text = call.arguments.args.first().and_then(|statement| self.sql(statement));
                self.note_lasting(call, None, text.as_deref());
                return;
            }
            // Where it is no block's own expression, such as `stack.enter_context(…)`.
            "begin_transaction" => self.flow.inside = true,
            _ => return,
        }
        self.uses_context = true;
    }

    fn configure(&mut self, call: &'a ExprCall) {
        let connection = call.arguments.find_argument_value("connection", 0);
        let id = connection.and_then(|connection| self.connection(connection));
        let others = connection.map(|connection| self.key(connection));
        if self.is_for_other_database(call) || others.is_some_and(|name| self.frame().others.contains(&name))
        {
            self.flow.configured = None;
            return;
        }
        let per_migration = self.per_migration(call);
        let place = self.place(call);
        let known = self.configures.entry(call.start()).or_insert_with(|| Configure {
            place,
            per_migration: per_migration.clone(),
            lasting: None,
        });
        if known.per_migration != per_migration {
            // Called in several ways: its dictionary does not always hold the same.
            let spread = call.arguments.keywords.iter().find(|keyword| keyword.arg.is_none());
            let spelled = spread.map(|spread| self.module.text(&spread.value).to_owned());
            known.per_migration = spelled.map_or(per_migration, PerMigration::Hidden);
        }
        let online = connection.is_some();
        self.flow.configured = Some(Configured { call: call.range(), online, connection: id });
        self.flow.lasting = None;
        if let Some(open) = id.and_then(|id| self.flow.open.get(&id)).cloned() {
            self.obstacle(&open, call.range());
        }
    }

    /// What is run after `context.configure()` is in the transaction of the revisions.
    fn note_lasting(&mut self, call: &ExprCall, id: Option<Id>, text: Option<&str>) {
        let Some(configured) = self.flow.configured else { return };
        let is_other =
            matches!((id, configured.connection), (Some(id), Some(of_alembic)) if id != of_alembic);
        if !is_other && text.is_none_or(ends_with_transaction) {
            self.flow.lasting.get_or_insert(call.range());
        }
    }

    fn run(&mut self, call: &'a ExprCall) {
        let Some(Configured { call: configure, online, connection }) = self.flow.configured else { return };
        if let Some(known) = self.configures.get_mut(&configure.start()) {
            known.lasting = known.lasting.or(self.flow.lasting);
        }
        if !online {
            return;
        }
        match connection.and_then(|id| self.flow.open.get(&id)).cloned() {
            Some(open) if open.kind == ObstacleKind::Begun => self.obstacle(&open, configure),
            // A statement that follows `context.configure()` shares Alembic's transaction.
            _ if !self.flow.inside => {
                let open = Open { place: self.place(call), kind: ObstacleKind::NotBegun };
                self.obstacle(&open, configure);
            }
            _ => {}
        }
    }

    fn obstacle(&mut self, open: &Open, configure: TextRange) {
        let Open { place, kind } = open.clone();
        self.obstacles.entry(place.call.start()).or_insert(Obstacle { place, kind, configure });
    }

    fn per_migration(&mut self, call: &ExprCall) -> PerMigration {
        let keywords = &call.arguments.keywords;
        let switched = |value: Value| match value {
            Value::Bool(false) | Value::None => PerMigration::Off,
            _ => PerMigration::On,
        };
        // Then every revision is committed and stamped by itself.
        if let Some(ddl) = call.arguments.find_keyword("transactional_ddl")
            && self.scope().eval(&ddl.value) == Value::Bool(false)
        {
            return PerMigration::On;
        }
        if let Some(given) = call.arguments.find_keyword(KEYWORD) {
            return switched(self.scope().eval(&given.value));
        }
        let mut hidden = None;
        for keyword in keywords.iter().filter(|keyword| keyword.arg.is_none()) {
            match self.dictionary(&keyword.value) {
                Some(Dictionary { per_migration: Some(value), .. }) => return switched(value),
                Some(Dictionary { complete: true, .. }) => {}
                _ => hidden = Some(self.module.text(&keyword.value).to_owned()),
            }
        }
        hidden.map_or(PerMigration::Missing, PerMigration::Hidden)
    }

    /// `context.configure(url="sqlite://")` and `context.configure(dialect_name="mysql")`.
    fn is_for_other_database(&mut self, call: &ExprCall) -> bool {
        ["url", "dialect_name"].iter().any(|name| {
            let given = call.arguments.find_keyword(name);
            given.is_some_and(|given| {
                let value = self.scope().eval(&given.value);
                value.symbol().is_some_and(is_other_database)
            })
        })
    }

    /// `create_engine("sqlite://")`, and what is made of such an engine.
    fn is_of_other_database(&mut self, expr: &Expr) -> bool {
        let Expr::Call(call) = expr else { return false };
        let is_create = match &*call.func {
            Expr::Name(name) => name.id.contains("create") && name.id.contains("engine"),
            Expr::Attribute(attribute) => {
                attribute.attr.contains("create") && attribute.attr.contains("engine")
            }
            _ => false,
        };
        let value = call.arguments.args.first().map(|url| self.scope().eval(url));
        is_create && value.is_some_and(|value| value.symbol().is_some_and(is_other_database))
    }
}

/// Whether a statement does something that ends with the transaction.
fn ends_with_transaction(sql: &str) -> bool {
    let words: Vec<_> = sql.split_whitespace().map(str::to_ascii_lowercase).collect();
    let first: Vec<_> = words.iter().take(2).map(String::as_str).collect();
    matches!(first.as_slice(), ["lock", ..] | ["set", "local" | "transaction"])
        || words.iter().any(|word| word.contains("xact_lock") || word.contains("set_config"))
}

const KEYWORD: &str = "transaction_per_migration";

fn is_other_database(url: &str) -> bool {
    OTHER_DATABASES.iter().any(|name| url.starts_with(name))
}

/// The calls in an expression, inner ones first; what a `lambda` does, it does later.
struct Calls<'a>(Vec<&'a ExprCall>);

impl<'a> Visitor<'a> for Calls<'a> {
    fn visit_stmt(&mut self, _: &'a Stmt) {}

    fn visit_expr(&mut self, expr: &'a Expr) {
        if expr.is_lambda_expr() {
            return;
        }
        walk_expr(self, expr);
        if let Expr::Call(call) = expr {
            self.0.push(call);
        }
    }
}

fn awaited(expr: &Expr) -> &Expr {
    match expr {
        Expr::Await(inner) => awaited(&inner.value),
        Expr::Named(named) => awaited(&named.value),
        other => other,
    }
}

fn method(expr: &Expr) -> Option<(&ExprCall, &ExprAttribute)> {
    match expr {
        Expr::Call(call) => match &*call.func {
            Expr::Attribute(attribute) => Some((call, attribute)),
            _ => None,
        },
        _ => None,
    }
}

/// The engine of `engine.connect()`, also with options or on a stack.
fn connects(expr: &Expr) -> Option<&Expr> {
    let (call, attribute) = method(awaited(expr))?;
    match attribute.attr.as_str() {
        "connect" => Some(&attribute.value),
        "execution_options" => connects(&attribute.value),
        "enter_context" | "enter_async_context" | "push" => connects(call.arguments.args.first()?),
        _ => None,
    }
}

fn is_begin(attribute: &ExprAttribute) -> bool {
    matches!(attribute.attr.as_str(), "begin" | "begin_twophase" | "begin_nested")
}

fn looks_like_connection(name: &str) -> bool {
    let last = name.rsplit(['.', '[']).next().unwrap_or(name);
    matches!(last.trim_matches(['"', '\'', ']']), "connection" | "conn")
}

/// The parameters, each with whether it looks like a connection.
fn parameters<'a>(parameters: &'a Parameters, module: &'a Module) -> impl Iterator<Item = (&'a str, bool)> {
    parameters.iter_non_variadic_params().map(|parameter| {
        let name = parameter.name().as_str();
        let annotation = parameter.annotation().map(|annotation| module.text(annotation));
        (name, looks_like_connection(name) || annotation.is_some_and(|text| text.ends_with("Connection")))
    })
}
