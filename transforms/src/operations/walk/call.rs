//! What a call does: an operation, SQL, a function of the file or of another module.

use std::collections::BTreeMap;
use std::sync::Arc;

use ruff_python_ast::token::{Token, TokenKind};
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtFunctionDef};
use ruff_text_size::{Ranged, TextRange};

use super::super::calls::{Call, callee, writes_log};
use super::super::types::{Types, foreign};
use super::super::{
    AddConstraint, ConstraintKind, ELSEWHERE, Elsewhere, Operation, OperationKind, Origin, Receiver,
    SqlOrigin, TableArg, sql, update,
};
use super::names::assigned;
use super::{Frame, Functions, SWALLOWED, Walker};
use crate::layout::helpers::Helper;
use crate::naming;
use crate::python::find::find_call;
use crate::python::scope::Scope;
use crate::python::text::Text;
use crate::python::value::{Arg, Object, Value};

/// Functions that call functions are followed this deep.
const MAX_CALLS: usize = 8;

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
        options: crate::operations::IndexOptions::default(),
        keywords: Vec::new(),
    });
    vec![add, OperationKind::ValidateConstraint { table: known, name }]
}
impl<'a> Walker<'a, '_> {
    /// Read every call of an expression, outermost first.
    pub(super) fn expression(
        &mut self,
        expression: &'a Expr,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
        alone: bool,
    ) {
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
        let before = (frame.repeated, frame.in_loop);
        frame.repeated |= found.repeated;
        frame.in_loop |= found.repeated;
        for call in found.calls {
            if !self.call(call, statement, frame, false) {
                self.inner_calls_of(call, statement, frame);
            }
        }
        (frame.repeated, frame.in_loop) = before;
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
        if let Expr::Attribute(attribute) = &*call.func
            && let Some(object) = self.object(&attribute.value, frame)
        {
            return self.method(&object, attribute.attr.as_str(), call, statement, frame, alone);
        }
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
                    self.inline(definition, None, call, statement, frame);
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
                    Receiver::Batch(batch) => Some(&**batch),
                    _ => None,
                };
                let Functions { module, modules, .. } = *self.functions;
                let reader = Call { call, scope: &frame.scope, module, modules, batch };
                let Some(kind) = reader.read(&method) else { return false };
                if matches!(method.as_str(), "create_table" | "add_column" | "alter_column") {
                    self.walked.types.extend(foreign(call, &frame.scope));
                }
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
                    let Functions { module, modules, .. } = *self.functions;
                    let names = Types { module, scope: &frame.scope, modules };
                    let type_ = call.func.as_attribute_expr().map(|method| names.code(&method.value));
                    let kind = OperationKind::EnumType { type_: type_.unwrap_or_default(), checkfirst };
                    self.push(kind, call, Receiver::Bind, statement, frame, alone);
                    true
                }
                "create" | "drop" if let Some((definition, kind)) = self.table_method(call, frame) => {
                    self.walked.types.extend(foreign(definition, &frame.scope));
                    let receiver =
                        if Self::is_given_bind(call, frame) { Receiver::Bind } else { Receiver::Other };
                    self.push(kind, call, receiver, statement, frame, alone);
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
        Self::is_given_bind(call, frame)
            && match &*attribute.value {
                Expr::Name(name) => is_enum_name(name.id.as_str(), self.functions.module.body()),
                value => is_enum(value),
            }
    }

    /// `table.create(bind)` or `table.drop(bind)`, and the call of this file that defines the table.
    fn table_method(&self, call: &ExprCall, frame: &Frame<'a>) -> Option<(&'a ExprCall, OperationKind)> {
        let Functions { module, modules, .. } = *self.functions;
        let method = call.func.as_attribute_expr()?;
        let Value::Table { call: place, .. } = frame.scope.eval(&method.value) else { return None };
        let definition = find_call(module.body(), place).filter(|found| callee(found) == Some("Table"))?;
        let reader = Call { call: definition, scope: &frame.scope, module, modules, batch: None };
        let checkfirst = call.arguments.find_argument("checkfirst", 1).is_some();
        let kind = match reader.read("Table")? {
            OperationKind::CreateTable { table, .. } if method.attr.as_str() == "drop" => {
                OperationKind::DropTable { table, if_exists: checkfirst }
            }
            OperationKind::CreateTable { table, definition, .. } => {
                OperationKind::CreateTable { table, definition, if_not_exists: checkfirst }
            }
            _ => return None,
        };
        Some((definition, kind))
    }

    /// `….create(bind)`
    fn is_given_bind(call: &ExprCall, frame: &Frame<'a>) -> bool {
        let bind = call.arguments.find_argument_value("bind", 0);
        bind.is_some_and(|bind| frame.scope.eval(bind) == Value::Bind)
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
        if let Some(helper) = self.functions.helper(call, &frame.scope) {
            self.helper_call(helper, call, statement, frame);
            return true;
        }
        if !alone || writes_log(&call.func) {
            return false;
        }
        let reason = format!("`{name}` comes from `{module}`");
        let path = match &*call.func {
            Expr::Attribute(attribute) => format!("{module}.{}", attribute.attr),
            _ => module.clone(),
        };
        match self.functions.lead_to(&path) {
            Ok((functions, name))
                if let Some(definition) = functions.definitions.get(name.as_str()).copied() =>
            {
                self.elsewhere(&functions, &name, statement, call, frame, |walker, frame| {
                    walker.inline(definition, None, call, statement, frame);
                });
                return true;
            }
            Ok(_) => {}
            Err(unknown) => drop(self.walked.foreign.insert(unknown)),
        }
        self.opaque(reason, call, statement, frame);
        true
    }

    /// Read what a call does in another module.
    pub(super) fn elsewhere<'m>(
        &mut self,
        functions: &Functions<'m>,
        root: &str,
        statement: &'a Stmt,
        call: &'a ExprCall,
        frame: &Frame<'a>,
        follow: impl FnOnce(&mut Walker<'m, '_>, &mut Frame<'m>),
    ) where
        'a: 'm,
    {
        let first = self.walked.operations.len();
        let mut outer = Frame {
            fixed_in_place: frame.fixed_in_place.or_else(|| Self::keeps_together(frame)),
            handlers: Vec::new(),
            local: BTreeMap::new(),
            ..frame.clone()
        };
        let mut walker = Walker {
            functions,
            walked: std::mem::take(&mut self.walked),
            batches: std::mem::take(&mut self.batches),
            calls: self.calls.clone(),
            root,
            within: self.within,
            followed: std::mem::take(&mut self.followed),
            symbols: Vec::new(),
        };
        follow(&mut walker, &mut outer);
        (self.walked, self.batches, self.followed) = (walker.walked, walker.batches, walker.followed);
        let module = functions.name.unwrap_or_default();
        for (nth, operation) in self.walked.operations[first..].iter_mut().enumerate() {
            let elsewhere = operation.origin.elsewhere.take().unwrap_or_else(|| {
                let origin = operation.origin.clone();
                Arc::new(Elsewhere { module: module.to_owned(), origin })
            });
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
                elsewhere: Some(elsewhere),
                ..operation.origin.clone()
            };
        }
    }

    /// A statement that may do anything.
    pub(super) fn opaque(&mut self, reason: String, call: &ExprCall, statement: &Stmt, frame: &Frame<'a>) {
        let kind = OperationKind::Opaque { reason, sql: None };
        self.push(kind, call, Receiver::Other, statement, frame, true);
    }

    /// Why what a function of another module does can't leave the transaction of this call.
    fn keeps_together(frame: &Frame<'a>) -> Option<&'static str> {
        if frame.swallowed || !frame.handlers.is_empty() {
            Some(SWALLOWED)
        } else if frame.in_batch {
            Some("the function that it stands in is called from inside of a batch block")
        } else if !frame.guards.is_empty() {
            Some("the function that it stands in is called under a condition that asks the database")
        } else {
            None
        }
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
            frame.fixed_in_place =
                fixed_in_place.or_else(|| Self::fixed_sql(&part, call, receiver, &text, &frame.scope));
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
        let mentions = |tokens: &[Token]| {
            let is_name = |token: &&Token| {
                token.kind() == TokenKind::Name && module.text(token.range()) == name.id.as_str()
            };
            tokens.iter().filter(is_name).count()
        };
        // What a function assigns is a name of its own.
        let mut functions = self.functions.definitions.values();
        let function = functions.find(|function| self.calls.last() == Some(&function.range()));
        if let Some(function) = function
            && let Some(value) = assigned(&function.body, name.id.as_str())
        {
            return if mentions(module.tokens().in_range(function.range())) == 2 { value } else { argument };
        }
        if mentions(module.tokens()) != 2 {
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
        scope: &Scope,
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
        let in_text =
            call.arguments.args.first().is_some_and(|argument| {
                argument.is_call_expr() || matches!(scope.eval(argument), Value::Sql(_))
            });
        (is_update && !in_text && text.value[part.place.statement.clone()].contains(['%', ':', '\\']))
            .then_some("its text would mean something else in `op.execute`")
    }

    /// Follow a function, or a method of an object.
    pub(super) fn inline(
        &mut self,
        definition: &'a StmtFunctionDef,
        object: Option<&Object>,
        call: &'a ExprCall,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
    ) {
        if self.calls.len() >= MAX_CALLS || self.calls.contains(&definition.range()) {
            return;
        }
        if let Some(helper) = Helper::of(definition) {
            self.helper_call(helper, call, statement, frame);
            return;
        }
        let mut inner = frame.clone();
        inner.scope = if frame.local.contains_key(definition.name.as_str()) {
            frame.scope.clone()
        } else {
            self.functions.scope.clone()
        };
        let parameters = &definition.parameters;
        let mut names = parameters.iter_non_variadic_params();
        if let Some(object) = object
            && let Some(this) = names.next()
        {
            inner.scope.bind(this.name().as_str(), Value::Object(Box::new(object.clone())));
        }
        for (position, parameter) in names.enumerate() {
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
        // A mark tells one run of a function from none, but not from another.
        let key = (self.functions.name.map(str::to_owned), definition.start());
        if !self.followed.insert(key) {
            inner.in_loop = true;
            let within = definition.range();
            for guard in
                self.walked.guards.iter_mut().filter(|guard| guard.module.as_deref() == self.functions.name)
            {
                guard.branch = guard.branch.filter(|branch| !within.contains_range(branch.test));
            }
        }
        self.within = self.within(statement);
        if !frame.local.contains_key(definition.name.as_str()) {
            inner.guards_of_call = Some(frame.guards.len());
        }
        self.calls.push(definition.range());
        self.body(&definition.body, &mut inner);
        self.calls.pop();
    }

    /// The statement of the function that is read which leads to this one.
    fn within(&self, statement: &Stmt) -> TextRange {
        if self.calls.len() == 1 { statement.range() } else { self.within }
    }

    /// A call of a function that an earlier rewrite put into the file.
    fn helper_call(&mut self, helper: Helper, call: &'a ExprCall, statement: &'a Stmt, frame: &Frame<'a>) {
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
            let table = TableArg { name: argument("table_name", 0), schema: argument("schema", 4) };
            let Some(Expr::Dict(columns)) = call.arguments.find_argument_value("new_types", 1) else {
                return;
            };
            for item in columns {
                let column = item.key.as_ref().map_or_else(Arg::absent, |key| frame.scope.arg(key));
                let type_ = frame.scope.arg(&item.value);
                if let (Some(column), Some(type_)) = (column.as_str(), type_.as_str()) {
                    let (table, column, type_) = (table.clone(), column.to_owned(), type_.to_owned());
                    let kind = OperationKind::ReplaceColumn { table, column, type_ };
                    self.push(kind, call, Receiver::Other, statement, frame, true);
                }
            }
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
        let may_hold_more = |value: &Expr| match frame.scope.eval(value) {
            Value::Dict(items) => !items.iter().all(|(key, _)| key.as_str().is_some_and(is_option_of_index)),
            _ => true,
        };
        let of_index = matches!(callee(call), Some("create_index" | "drop_index"));
        let unpacked = call.arguments.args.iter().any(Expr::is_starred_expr)
            || call
                .arguments
                .keywords
                .iter()
                .any(|keyword| keyword.arg.is_none() && (!of_index || may_hold_more(&keyword.value)));
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
                within: self.within(statement),
                receiver,
                fixed_in_place,
                swallowed: frame.swallowed,
                kept: frame.kept,
                repeated: frame.repeated,
                sql,
                guards: frame.guards.clone(),
                handlers: frame.handlers.clone(),
                nth: 0,
                guards_of_call: frame.guards_of_call,
                elsewhere: None,
            },
            conditional: frame.conditional,
            autocommit: frame.autocommit,
            dialects: frame.dialects,
            lock_timeout: frame.lock_timeout,
        });
    }
}

/// Collects the outermost calls below an expression.
struct Calls<'a> {
    pub(super) outermost: TextRange,
    pub(super) calls: Vec<&'a ExprCall>,
    pub(super) repeated: bool,
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

/// A keyword about how an index is made, and no name or what a recipe says itself.
fn is_option_of_index(keyword: &str) -> bool {
    let of_dialect = ["postgresql_", "mysql_", "mariadb_", "sqlite_", "oracle_", "mssql_"];
    keyword == "unique"
        || keyword != "postgresql_concurrently" && of_dialect.iter().any(|prefix| keyword.starts_with(prefix))
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

/// Whether a call makes a list or something else to loop over, which is no name.
pub(super) fn calls_list(call: &ExprCall) -> bool {
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
