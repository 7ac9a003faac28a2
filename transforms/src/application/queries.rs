//! The queries of an application: which tables they read, and with which conditions.
//!
//! A function is followed statement by statement; a query is a value that its variables hold. It counts
//! when it is run, or given away.
//!
//! **Architecture Invariant:** one thing in a query that is not understood, and the whole query has a reason
//! instead of conditions.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{
    BoolOp, CmpOp, ExceptHandler, Expr, ExprCall, Operator, Stmt, StmtClassDef, StmtFunctionDef, UnaryOp,
};
use ruff_text_size::{Ranged, TextRange};

use super::File;
use super::models::{Attribute, Models, Relationship, dotted};
use crate::operations::{TableName, callee};

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
/// A query that is run somewhere.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    /// Where it begins: `select(…)`, `session.query(…)`, `User.query`.
    pub(super) range: TextRange,
    pub(super) entities: Vec<Entity>,
    pub(super) conditions: Vec<Condition>,
    /// The columns that it is sorted by, with whether downwards; `None` when they are not known.
    pub(super) order: Option<Vec<(Entity, Key, bool)>>,
    /// It stops after some rows.
    pub(super) limited: bool,
    /// It has a condition that no index of a column serves.
    pub(super) filtered: bool,
    /// Rows are put together, so that sorting comes after that.
    pub(super) grouped: bool,
    /// Why it is not understood.
    pub(super) unclear: Option<String>,
    /// A part of another query.
    pub(super) inner: bool,
}

impl Query {
    fn begin(range: TextRange) -> Self {
        Self {
            range,
            entities: Vec::new(),
            conditions: Vec::new(),
            order: Some(Vec::new()),
            limited: false,
            filtered: false,
            grouped: false,
            unclear: None,
            inner: false,
        }
    }
}

/// A table in a query, under one of its names there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entity {
    pub(super) table: TableName,
    /// The model, where there is one.
    pub(super) model: Option<usize>,
    /// 0, unless it is an alias: the place where that is made.
    alias: u32,
}

/// What a condition compares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Column(String),
    /// `lower(email)`.
    Function(String, String),
}

/// A condition that always holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) entity: Entity,
    pub(super) key: Key,
    pub(super) comparison: Comparison,
}

/// How a condition compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Comparison {
    /// With `=`, or `IN` a list.
    Equal,
    /// With `=`, but many rows are equal: an enum's member, NULL, a boolean.
    Few,
    Range,
    /// `LIKE 'x%'`.
    Prefix,
    /// With a column of another table.
    Join(Entity, Key),
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Entity(Entity),
    /// `users.c`.
    Columns(Entity),
    Column(Entity, Key),
    Relationship(Entity, Relationship),
    Query(Box<Query>),
    /// The conditions that hold when it does; `None`: it says nothing that an index could help with.
    Conditions(Vec<Condition>),
    /// Something of these tables, such as `func.count(User.id)`.
    Of(Vec<Entity>),
    /// A value of Python.
    Plain,
    /// A member of an enum, or NULL.
    Few,
    /// Something of a query that is not understood, and why.
    Unclear(String),
}

type Scope = BTreeMap<String, Value>;

/// Everything that was found in one file.
pub(super) fn read(models: &Models, file: usize, source: &File) -> Vec<Query> {
    let mut reader =
        Reader { models, file, found: Vec::new(), seen: BTreeSet::new(), inside: None, depth: 0 };
    let mut scope = Scope::new();
    reader.body(source.module.body(), &mut scope);
    reader.found
}

struct Reader<'m, 'a> {
    models: &'m Models<'a>,
    file: usize,
    found: Vec<Query>,
    /// Queries by where they begin, so that one that is run in two branches counts once.
    seen: BTreeSet<u32>,
    /// The model whose class is being read.
    inside: Option<usize>,
    depth: usize,
}

/// Methods that run a query, or turn its rows into something else.
const RUN: &[&str] = &[
    "all",
    "first",
    "one",
    "one_or_none",
    "scalar",
    "scalars",
    "scalar_one",
    "scalar_one_or_none",
    "count",
    "delete",
    "update",
    "yield_per",
    "partitions",
    "paginate",
    "first_or_404",
    "one_or_404",
    "unique",
    "fetchall",
    "fetchone",
    "mappings",
    "tuples",
];

/// Methods that change nothing about which rows are looked for.
const NEUTRAL: &[&str] = &[
    "options",
    "execution_options",
    "with_for_update",
    "add_columns",
    "add_column",
    "with_entities",
    "distinct",
    "values",
    "returning",
    "populate_existing",
    "enable_eagerloads",
    "enable_assertions",
    "correlate",
    "with_only_columns",
    "prefix_with",
    "suffix_with",
    "label",
    "params",
    "autoflush",
    "with_session",
    "set_label_style",
    "with_hint",
    "with_statement_hint",
    "cte",
    "subquery",
    "as_scalar",
    "scalar_subquery",
    "exists",
    "lateral",
    "with_labels",
    "offset",
    "ordered_values",
    "yield_per",
    "reset_joinpoint",
    "self_group",
    "add_entity",
    "correlate_except",
    "execution_option",
    "unique_params",
    "as_string",
];

/// Functions that run the query that they are given.
const RUNNERS: &[&str] = &[
    "execute",
    "scalar",
    "scalars",
    "stream",
    "stream_scalars",
    "exec",
    "fetch_all",
    "fetch_one",
    "fetch_val",
    "iterate",
    "list",
    "set",
    "tuple",
    "len",
    "sorted",
    "any",
    "all",
    "next",
    "iter",
    "paginate",
    "dict",
    "enumerate",
    "read_sql",
    "bool",
];

impl<'a> Reader<'_, 'a> {
    fn body(&mut self, body: &'a [Stmt], scope: &mut Scope) -> bool {
        for statement in body {
            if !self.statement(statement, scope) {
                return false;
            }
        }
        true
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of statement")]
    /// Follow a statement; false when what stands behind it is not reached.
    fn statement(&mut self, statement: &'a Stmt, scope: &mut Scope) -> bool {
        match statement {
            Stmt::FunctionDef(function) => self.function(function, scope),
            Stmt::ClassDef(class) => self.class(class, scope),
            Stmt::Expr(expression) => {
                let value = self.eval(&expression.value, scope);
                self.run(value);
            }
            Stmt::Assign(assignment) => {
                let value = self.eval(&assignment.value, scope);
                for target in &assignment.targets {
                    self.bind(target, &value, scope);
                }
            }
            Stmt::AnnAssign(assignment) => {
                if let Some(value) = &assignment.value {
                    let value = self.eval(value, scope);
                    self.bind(&assignment.target, &value, scope);
                }
            }
            Stmt::AugAssign(assignment) => {
                let value = self.eval(&assignment.value, scope);
                self.run(value);
                self.bind(&assignment.target, &Value::Plain, scope);
            }
            Stmt::Return(result) => {
                if let Some(result) = &result.value {
                    let value = self.eval(result, scope);
                    self.give_away(value, "it is returned before it is run");
                }
                return false;
            }
            Stmt::Raise(raise) => {
                if let Some(exception) = &raise.exc {
                    let value = self.eval(exception, scope);
                    self.run(value);
                }
                return false;
            }
            Stmt::If(branch) => {
                let value = self.eval(&branch.test, scope);
                self.run(value);
                let mut ends = Vec::new();
                let mut then = scope.clone();
                if self.body(&branch.body, &mut then) {
                    ends.push(then);
                }
                let mut has_else = false;
                for clause in &branch.elif_else_clauses {
                    let mut other = scope.clone();
                    match &clause.test {
                        Some(test) => {
                            let value = self.eval(test, &mut other);
                            self.run(value);
                        }
                        None => has_else = true,
                    }
                    if self.body(&clause.body, &mut other) {
                        ends.push(other);
                    }
                }
                if !has_else {
                    ends.push(scope.clone());
                }
                return merge(ends, scope);
            }
            Stmt::For(block) => {
                let value = self.eval(&block.iter, scope);
                self.run(value);
                self.bind(&block.target, &Value::Plain, scope);
                self.optional(&block.body, scope);
                self.body(&block.orelse, scope);
            }
            Stmt::While(block) => {
                let value = self.eval(&block.test, scope);
                self.run(value);
                self.optional(&block.body, scope);
            }
            Stmt::With(block) => {
                for item in &block.items {
                    let value = self.eval(&item.context_expr, scope);
                    self.run(value);
                    if let Some(target) = &item.optional_vars {
                        self.bind(target, &Value::Plain, scope);
                    }
                }
                return self.body(&block.body, scope);
            }
            Stmt::Try(block) => {
                let before = scope.clone();
                let mut ends = Vec::new();
                let mut inner = scope.clone();
                if self.body(&block.body, &mut inner) && self.body(&block.orelse, &mut inner) {
                    ends.push(inner);
                }
                for handler in &block.handlers {
                    let ExceptHandler::ExceptHandler(handler) = handler;
                    let mut caught = before.clone();
                    if self.body(&handler.body, &mut caught) {
                        ends.push(caught);
                    }
                }
                let goes_on = merge(ends, scope);
                return self.body(&block.finalbody, scope) && goes_on;
            }
            Stmt::Match(block) => {
                let value = self.eval(&block.subject, scope);
                self.run(value);
                let mut ends = vec![scope.clone()];
                for case in &block.cases {
                    let mut inner = scope.clone();
                    if self.body(&case.body, &mut inner) {
                        ends.push(inner);
                    }
                }
                return merge(ends, scope);
            }
            Stmt::Assert(assertion) => {
                let value = self.eval(&assertion.test, scope);
                self.run(value);
            }
            Stmt::Break(_) | Stmt::Continue(_) => return false,
            _ => {}
        }
        true
    }

    /// A body that may run, and more than once.
    fn optional(&mut self, body: &'a [Stmt], scope: &mut Scope) {
        let mut inner = scope.clone();
        self.body(body, &mut inner);
        merge(vec![scope.clone(), inner], scope);
    }

    fn function(&mut self, function: &'a StmtFunctionDef, scope: &Scope) {
        if self.depth > 20 {
            return;
        }
        let mut inner = scope.clone();
        let parameters: Vec<_> =
            function.parameters.iter().map(|parameter| parameter.name().as_str()).collect();
        for parameter in &parameters {
            inner.insert((*parameter).to_owned(), Value::Plain);
        }
        let is_of_class =
            function.decorator_list.iter().any(|decorator| dotted(&decorator.expression) == "classmethod");
        if let (Some(model), true, Some(first)) = (self.inside, is_of_class, parameters.first()) {
            inner.insert((*first).to_owned(), Value::Entity(self.entity(model)));
        }
        self.depth += 1;
        let inside = self.inside.take();
        self.body(&function.body, &mut inner);
        self.inside = inside;
        self.depth -= 1;
    }

    fn class(&mut self, class: &'a StmtClassDef, scope: &Scope) {
        let inside = self
            .models
            .models
            .iter()
            .position(|model| model.file == self.file && model.range == class.range());
        let before = std::mem::replace(&mut self.inside, inside);
        for statement in &class.body {
            match statement {
                Stmt::FunctionDef(function) => self.function(function, scope),
                Stmt::ClassDef(inner) => self.class(inner, scope),
                _ => {}
            }
        }
        self.inside = before;
    }

    fn bind(&mut self, target: &Expr, value: &Value, scope: &mut Scope) {
        match target {
            // What the module's own variables hold is known already.
            Expr::Name(name) if self.depth == 0 && self.models.variable(self.file, &name.id).is_some() => {}
            Expr::Name(name) => {
                scope.insert(name.id.to_string(), value.clone());
            }
            Expr::Tuple(tuple) => {
                self.run(value.clone());
                for element in &tuple.elts {
                    self.bind(element, &Value::Plain, scope);
                }
            }
            Expr::Starred(starred) => self.bind(&starred.value, &Value::Plain, scope),
            _ => self.give_away(value.clone(), "it is kept in an object"),
        }
    }

    fn entity(&self, model: usize) -> Entity {
        Entity { table: self.models.models[model].table.clone(), model: Some(model), alias: 0 }
    }

    /// A query is run as it is.
    fn run(&mut self, value: Value) {
        if let Value::Query(query) = value {
            self.found(*query);
        }
    }

    /// A query goes where it can't be followed.
    fn give_away(&mut self, value: Value, reason: &str) {
        if let Value::Query(mut query) = value {
            query.unclear.get_or_insert_with(|| reason.to_owned());
            self.found(*query);
        }
    }

    fn found(&mut self, mut query: Query) {
        let outside = |condition: &Condition| match &condition.comparison {
            Comparison::Join(other, _) => {
                !query.entities.contains(other) || !query.entities.contains(&condition.entity)
            }
            _ => false,
        };
        if query.inner && query.conditions.iter().any(outside) {
            // Which of the two is looked up first is the planner's affair.
            query.unclear.get_or_insert_with(|| "it depends on the query around it".to_owned());
        }
        let start = query.range.start().to_u32();
        if self.seen.insert(start) {
            self.found.push(query);
        } else if let Some(known) = self.found.iter_mut().find(|known| known.range == query.range) {
            // What it is in one place counts less than what it is in all.
            let merged = common(known, &query);
            *known = merged;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of expression")]
    /// What an expression is. Queries inside of it that are run count.
    fn eval(&mut self, expression: &'a Expr, scope: &mut Scope) -> Value {
        match expression {
            Expr::Name(name) => self.name(&name.id, scope),
            Expr::Attribute(attribute) => {
                if let Expr::Name(owner) = &*attribute.value
                    && !scope.contains_key(owner.id.as_str())
                    && let Some(model) = self.models.model_of_module(self.file, &owner.id, &attribute.attr)
                {
                    return Value::Entity(self.entity(model));
                }
                if self.models.is_enum_member(expression) {
                    return Value::Few;
                }
                let owner = self.eval(&attribute.value, scope);
                self.member(owner, &attribute.attr, expression.range())
            }
            Expr::Call(call) => self.call(call, scope),
            Expr::Compare(compare) => self.compare(compare, scope),
            Expr::BinOp(binary) => {
                let left = self.eval(&binary.left, scope);
                let right = self.eval(&binary.right, scope);
                match (binary.op, &left, &right) {
                    (Operator::BitAnd, _, _) if is_condition(&left) && is_condition(&right) => {
                        conjunction(vec![left, right])
                    }
                    (Operator::BitOr, _, _) if is_condition(&left) && is_condition(&right) => {
                        disjunction(vec![left, right])
                    }
                    _ => self.combined(vec![left, right], "a computed value"),
                }
            }
            Expr::BoolOp(boolean) => {
                let values: Vec<_> = boolean.values.iter().map(|value| self.eval(value, scope)).collect();
                if values.iter().any(is_condition) {
                    return Value::Unclear(format!(
                        "`{}` between conditions",
                        if boolean.op == BoolOp::And { "and" } else { "or" }
                    ));
                }
                self.combined(values, "a computed value")
            }
            Expr::UnaryOp(unary) => {
                let value = self.eval(&unary.operand, scope);
                match (unary.op, value) {
                    (UnaryOp::Invert, Value::Column(entity, key)) => {
                        Value::Conditions(vec![Condition { entity, key, comparison: Comparison::Few }])
                    }
                    (UnaryOp::Invert, value @ (Value::Conditions(_) | Value::Query(_))) => {
                        self.subquery(value);
                        Value::Conditions(Vec::new())
                    }
                    (_, value) => {
                        self.run(value);
                        Value::Plain
                    }
                }
            }
            Expr::Await(inner) => self.eval(&inner.value, scope),
            Expr::Named(named) => {
                let value = self.eval(&named.value, scope);
                self.bind(&named.target, &value, scope);
                value
            }
            Expr::If(ternary) => {
                let test = self.eval(&ternary.test, scope);
                self.run(test);
                let (then, other) = (self.eval(&ternary.body, scope), self.eval(&ternary.orelse, scope));
                if then == other { then } else { self.combined(vec![then, other], "one of two values") }
            }
            Expr::NoneLiteral(_) | Expr::BooleanLiteral(_) => Value::Few,
            Expr::ListComp(comprehension) => {
                self.comprehension(&comprehension.generators, &[&comprehension.elt], scope)
            }
            Expr::SetComp(comprehension) => {
                self.comprehension(&comprehension.generators, &[&comprehension.elt], scope)
            }
            Expr::Generator(comprehension) => {
                self.comprehension(&comprehension.generators, &[&comprehension.elt], scope)
            }
            Expr::DictComp(comprehension) => {
                let elements: Vec<&Expr> =
                    comprehension.key.iter().map(|key| &**key).chain([&*comprehension.value]).collect();
                self.comprehension(&comprehension.generators, &elements, scope)
            }
            Expr::List(list) => self.sequence(&list.elts, scope),
            Expr::Tuple(tuple) => self.sequence(&tuple.elts, scope),
            Expr::Set(set) => self.sequence(&set.elts, scope),
            Expr::Dict(dict) => {
                for item in &dict.items {
                    let value = self.eval(&item.value, scope);
                    self.give_away(value, "it is kept in an object");
                }
                Value::Plain
            }
            Expr::Subscript(subscript) => {
                let owner = self.eval(&subscript.value, scope);
                let slice = self.eval(&subscript.slice, scope);
                self.run(slice);
                match owner {
                    Value::Query(mut query) => {
                        query.limited = true;
                        self.run(Value::Query(query));
                        Value::Plain
                    }
                    Value::Column(..) => Value::Unclear("a part of a value (`[…]`)".to_owned()),
                    Value::Columns(entity) => match &*subscript.slice {
                        Expr::StringLiteral(name) => {
                            Value::Column(entity, Key::Column(name.value.to_str().to_owned()))
                        }
                        _ => Value::Unclear("a column that is not known".to_owned()),
                    },
                    Value::Unclear(reason) => Value::Unclear(reason),
                    _ => Value::Plain,
                }
            }
            Expr::Starred(starred) => {
                let value = self.eval(&starred.value, scope);
                self.give_away(value, "it is unpacked");
                Value::Unclear("arguments that are unpacked with `*`".to_owned())
            }
            Expr::FString(_) | Expr::StringLiteral(_) | Expr::NumberLiteral(_) | Expr::BytesLiteral(_) => {
                Value::Plain
            }
            Expr::Yield(inner) => {
                if let Some(value) = &inner.value {
                    let value = self.eval(value, scope);
                    self.give_away(value, "it is returned before it is run");
                }
                Value::Plain
            }
            Expr::YieldFrom(inner) => {
                let value = self.eval(&inner.value, scope);
                self.run(value);
                Value::Plain
            }
            Expr::Lambda(lambda) => {
                let mut inner = scope.clone();
                for parameter in lambda.parameters.iter().flat_map(|parameters| parameters.iter()) {
                    inner.insert(parameter.name().to_string(), Value::Plain);
                }
                let value = self.eval(&lambda.body, &mut inner);
                self.give_away(value, "it is returned before it is run");
                Value::Plain
            }
            _ => Value::Plain,
        }
    }

    fn comprehension(
        &mut self,
        generators: &'a [ruff_python_ast::Comprehension],
        elements: &[&'a Expr],
        scope: &Scope,
    ) -> Value {
        let mut inner = scope.clone();
        for generator in generators {
            let value = self.eval(&generator.iter, &mut inner);
            self.run(value);
            self.bind(&generator.target, &Value::Plain, &mut inner);
            for test in &generator.ifs {
                let value = self.eval(test, &mut inner);
                self.run(value);
            }
        }
        let mut values = Vec::new();
        for element in elements {
            values.push(self.eval(element, &mut inner));
        }
        self.combined(values, "values that are put together in a loop")
    }

    fn sequence(&mut self, elements: &'a [Expr], scope: &mut Scope) -> Value {
        let values: Vec<_> = elements.iter().map(|element| self.eval(element, scope)).collect();
        if values.iter().all(|value| matches!(value, Value::Few)) && !values.is_empty() {
            return Value::Few;
        }
        self.combined(values, "a list of columns or conditions")
    }

    /// What is made of several values: nothing of a query, if none of them is.
    fn combined(&mut self, values: Vec<Value>, what: &str) -> Value {
        let mut entities = Vec::new();
        let mut unclear = None;
        for value in values {
            match value {
                Value::Plain | Value::Few => {}
                Value::Column(entity, _) => entities.push(entity),
                Value::Of(more) => entities.extend(more),
                Value::Unclear(reason) => unclear = Some(reason),
                Value::Query(query) => {
                    self.subquery(Value::Query(query));
                    unclear = Some(what.to_owned());
                }
                _ => unclear = Some(what.to_owned()),
            }
        }
        match unclear {
            Some(reason) => Value::Unclear(reason),
            None if entities.is_empty() => Value::Plain,
            None => Value::Of(entities),
        }
    }

    fn name(&self, name: &str, scope: &Scope) -> Value {
        if let Some(value) = scope.get(name) {
            return value.clone();
        }
        if let Some(model) = self.models.model(self.file, name) {
            return Value::Entity(self.entity(model));
        }
        if let Some(table) = self.models.variable(self.file, name) {
            return Value::Entity(Entity { table: table.clone(), model: None, alias: 0 });
        }
        Value::Plain
    }

    fn member(&mut self, owner: Value, name: &str, range: TextRange) -> Value {
        match owner {
            Value::Entity(entity) => match entity.model {
                None if matches!(name, "c" | "columns") => Value::Columns(entity),
                None => Value::Plain,
                Some(model) => match self.models.models[model].attributes.get(name) {
                    Some(Attribute::Column { table, column }) if *table == entity.table => {
                        Value::Column(entity, Key::Column(column.clone()))
                    }
                    Some(Attribute::Column { .. }) => {
                        Value::Unclear("a column of an inherited table".to_owned())
                    }
                    Some(Attribute::Relationship(relationship)) => {
                        Value::Relationship(entity, relationship.clone())
                    }
                    None if name == "query" => {
                        let mut query = Query::begin(range);
                        query.entities.push(entity);
                        Value::Query(Box::new(query))
                    }
                    None if name == "__table__" => Value::Entity(Entity { model: None, ..entity }),
                    None if name.starts_with("__") => Value::Plain,
                    None => {
                        Value::Unclear(format!("`{}.{name}` is no column", self.models.models[model].name))
                    }
                },
            },
            Value::Columns(entity) => {
                if self.models.column(&entity.table, name).is_some() {
                    Value::Column(entity, Key::Column(name.to_owned()))
                } else {
                    Value::Unclear(format!("`{}.c.{name}` is no column", entity.table))
                }
            }
            Value::Column(..) | Value::Relationship(..) if name.starts_with("__") => Value::Plain,
            Value::Column(..) | Value::Relationship(..) => {
                Value::Unclear(format!("an attribute `{name}` of a column"))
            }
            Value::Query(query) => match name {
                "c" | "columns" | "selected_columns" => {
                    self.subquery(Value::Query(query));
                    Value::Unclear("a column of a subquery".to_owned())
                }
                _ => Value::Query(query),
            },
            Value::Unclear(reason) => Value::Unclear(reason),
            _ => Value::Plain,
        }
    }

    fn compare(&mut self, compare: &'a ruff_python_ast::ExprCompare, scope: &mut Scope) -> Value {
        let left = self.eval(&compare.left, scope);
        let ([operator], [right]) = (&*compare.ops, &*compare.comparators) else {
            for right in &compare.comparators {
                let value = self.eval(right, scope);
                self.run(value);
            }
            return match left {
                Value::Plain | Value::Few => Value::Plain,
                _ => Value::Unclear("a chain of comparisons".to_owned()),
            };
        };
        let right = self.eval(right, scope);
        let operator = *operator;
        if matches!(operator, CmpOp::Is | CmpOp::IsNot | CmpOp::In | CmpOp::NotIn) {
            self.run(left);
            self.run(right);
            return Value::Plain;
        }
        self.comparison(operator, left, right)
    }

    fn comparison(&mut self, operator: CmpOp, left: Value, right: Value) -> Value {
        let (left, right) = match (&left, &right) {
            (Value::Plain | Value::Few, Value::Column(..) | Value::Relationship(..)) => (right, left),
            _ => (left, right),
        };
        let one = |entity: Entity, key: Key, comparison: Comparison| {
            Value::Conditions(vec![Condition { entity, key, comparison }])
        };
        match (left, right) {
            (Value::Plain | Value::Few, right @ (Value::Plain | Value::Few | Value::Query(_))) => {
                self.run(right);
                Value::Plain
            }
            (left, Value::Unclear(reason)) => {
                self.run(left);
                Value::Unclear(reason)
            }
            (Value::Unclear(reason), right) => {
                self.run(right);
                Value::Unclear(reason)
            }
            (Value::Column(entity, key), Value::Plain) => match operator {
                CmpOp::Eq => one(entity, key, Comparison::Equal),
                CmpOp::Lt | CmpOp::LtE | CmpOp::Gt | CmpOp::GtE => one(entity, key, Comparison::Range),
                _ => Value::Conditions(Vec::new()),
            },
            (Value::Column(entity, key), Value::Few) => match operator {
                CmpOp::Eq => one(entity, key, Comparison::Few),
                _ => Value::Conditions(Vec::new()),
            },
            (Value::Column(entity, key), Value::Column(other, other_key)) if entity != other => {
                match operator {
                    CmpOp::Eq => one(entity, key, Comparison::Join(other, other_key)),
                    _ => Value::Conditions(Vec::new()),
                }
            }
            // One value, whatever it is.
            (Value::Column(entity, key), Value::Query(query)) => {
                self.subquery(Value::Query(query));
                match operator {
                    CmpOp::Eq => one(entity, key, Comparison::Equal),
                    _ => Value::Conditions(Vec::new()),
                }
            }
            (Value::Relationship(entity, relationship), Value::Plain) if operator == CmpOp::Eq => {
                match self.reference(&entity, &relationship) {
                    Some((key, _)) => one(entity, Key::Column(key), Comparison::Equal),
                    None => Value::Unclear("a relationship whose foreign key is not known".to_owned()),
                }
            }
            (Value::Relationship(entity, relationship), Value::Few) => {
                match self.reference(&entity, &relationship) {
                    Some((key, _)) if operator == CmpOp::Eq => one(entity, Key::Column(key), Comparison::Few),
                    _ => Value::Conditions(Vec::new()),
                }
            }
            (Value::Of(_) | Value::Conditions(_), _)
            | (_, Value::Of(_))
            | (Value::Column(..), Value::Column(..)) => Value::Conditions(Vec::new()),
            (left, right) => {
                self.subquery(left);
                self.subquery(right);
                Value::Unclear("a comparison of something else than a column".to_owned())
            }
        }
    }

    /// The foreign key of a relationship that leads to one row: the column here, and the one there.
    fn reference(&self, entity: &Entity, relationship: &Relationship) -> Option<(String, String)> {
        if relationship.secondary.is_some() {
            return None;
        }
        let target = self.models.model_named(relationship.target.as_deref()?, relationship.file)?;
        let target = &self.models.models[target].table;
        let columns = &self.models.tables.get(&entity.table)?.columns;
        let mut keys = columns.iter().filter_map(|column| {
            let (table, other) = column.foreign.as_ref()?;
            (table == target).then(|| (column.name.clone(), other.clone()))
        });
        let first = keys.next()?;
        (keys.next().is_none() && !relationship.special).then_some(first)
    }

    #[expect(clippy::too_many_lines, reason = "one arm per function and kind of owner")]
    fn call(&mut self, call: &'a ExprCall, scope: &mut Scope) -> Value {
        let name = callee(call).unwrap_or_default();
        let method_of = match &*call.func {
            Expr::Attribute(attribute) => Some(&*attribute.value),
            _ => None,
        };
        // A query begins.
        if let Some(query) = self.begins(name, call, method_of, scope) {
            return query;
        }
        match name {
            "and_" if !is_method_of_model(method_of, scope) => {
                let values = self.arguments(call, scope);
                return conjunction(values);
            }
            "or_" if !is_method_of_model(method_of, scope) => {
                let values = self.arguments(call, scope);
                return disjunction(values);
            }
            "not_" => {
                let values = self.arguments(call, scope);
                return match values.into_iter().next() {
                    Some(Value::Unclear(reason)) => Value::Unclear(reason),
                    Some(value) => {
                        self.subquery(value);
                        Value::Conditions(Vec::new())
                    }
                    None => Value::Plain,
                };
            }
            "true" | "false" | "null" if method_of.is_none_or(|owner| matches!(owner, Expr::Name(_))) => {
                return Value::Few;
            }
            "aliased" | "alias" if call.arguments.args.len() <= 2 => {
                let value = match (method_of, call.arguments.args.first()) {
                    (_, Some(first)) if name == "aliased" => self.eval(first, scope),
                    (Some(owner), _) => self.eval(owner, scope),
                    _ => Value::Plain,
                };
                return match value {
                    Value::Entity(entity) => {
                        Value::Entity(Entity { alias: call.start().to_u32() + 1, ..entity })
                    }
                    Value::Plain => Value::Plain,
                    value => {
                        self.subquery(value);
                        Value::Unclear("an alias of a subquery".to_owned())
                    }
                };
            }
            "desc" | "asc" | "nullslast" | "nullsfirst" | "nulls_last" | "nulls_first"
                if method_of.is_none() || call.arguments.args.len() == 1 =>
            {
                return self.arguments(call, scope).into_iter().next().unwrap_or(Value::Plain);
            }
            // SQLModel's, for type checkers.
            "col" if method_of.is_none() && call.arguments.args.len() == 1 => {
                return self.arguments(call, scope).into_iter().next().unwrap_or(Value::Plain);
            }
            "cast" | "type_coerce" | "case" | "extract" | "distinct" | "over" | "tuple_" | "literal"
            | "literal_column" | "bindparam" => {
                let values = self.arguments(call, scope);
                return self.combined(values, "a computed value");
            }
            "text" if method_of.is_none_or(|owner| matches!(owner, Expr::Name(_))) => {
                return Value::Unclear("SQL text".to_owned());
            }
            _ => {}
        }
        let Some(owner) = method_of else {
            let values = self.arguments(call, scope);
            return self.passed(name, values);
        };
        // `func.lower(User.email)`
        if dotted(owner).rsplit('.').next() == Some("func") {
            let values = self.arguments(call, scope);
            return match &values[..] {
                [Value::Column(entity, Key::Column(column))] if matches!(name, "lower" | "upper") => {
                    Value::Column(entity.clone(), Key::Function(name.to_owned(), column.clone()))
                }
                _ => self.combined(values, "a function"),
            };
        }
        let owner = self.eval(owner, scope);
        match owner {
            Value::Query(query) => self.method(*query, name, call, scope),
            Value::Column(entity, key) => self.operator(entity, key, name, call, scope),
            Value::Relationship(entity, relationship) => {
                let values = self.arguments(call, scope);
                match name {
                    "of_type" => {
                        let alias = values.into_iter().next();
                        match alias {
                            Some(Value::Entity(_)) | None => Value::Relationship(entity, relationship),
                            Some(_) => {
                                Value::Unclear("a relationship to something else than a model".to_owned())
                            }
                        }
                    }
                    // EXISTS: which side is looked up first is the planner's affair.
                    "any" | "has" | "contains"
                        if !values.iter().any(|value| matches!(value, Value::Unclear(_))) =>
                    {
                        for value in values {
                            self.subquery(value);
                        }
                        Value::Conditions(Vec::new())
                    }
                    "is_" => Value::Conditions(Vec::new()),
                    _ => Value::Unclear(format!("`{name}` of a relationship")),
                }
            }
            Value::Conditions(conditions) => {
                let values = self.arguments(call, scope);
                for value in values {
                    self.subquery(value);
                }
                match name {
                    "self_group" | "label" => Value::Conditions(conditions),
                    _ => Value::Unclear(format!("`{name}` of a condition")),
                }
            }
            Value::Of(entities) => {
                let values = self.arguments(call, scope);
                match values.into_iter().find(|value| matches!(value, Value::Unclear(_))) {
                    Some(unclear) => unclear,
                    None if [
                        "in_", "like", "ilike", "is_", "isnot", "is_not", "between", "notin_", "not_in",
                        "contains", "op", "bool_op",
                    ]
                    .contains(&name) =>
                    {
                        Value::Conditions(Vec::new())
                    }
                    None => Value::Of(entities),
                }
            }
            Value::Entity(entity) => {
                let values = self.arguments(call, scope);
                // A method of the model's class may do anything.
                let unclear = values.iter().any(|value| !matches!(value, Value::Plain | Value::Few));
                match (name, entity.model) {
                    ("select" | "update" | "delete", None) => {
                        let mut query = Query::begin(call.range());
                        query.entities.push(entity);
                        for value in values {
                            add(&mut query, value);
                        }
                        Value::Query(Box::new(query))
                    }
                    _ if unclear => Value::Unclear(format!("a method `{name}` of a model")),
                    _ => {
                        // Made by a class method: perhaps a condition, perhaps an object.
                        Value::Plain
                    }
                }
            }
            Value::Unclear(reason) => {
                let values = self.arguments(call, scope);
                for value in values {
                    self.subquery(value);
                }
                Value::Unclear(reason)
            }
            Value::Plain | Value::Few | Value::Columns(_) => {
                let values = self.arguments(call, scope);
                if name == "get" && matches!(values.first(), Some(Value::Entity(_))) {
                    // By its primary key.
                    if let Some(Value::Entity(entity)) = values.into_iter().next() {
                        let mut query = Query::begin(call.range());
                        query.entities.push(entity);
                        self.found(query);
                    }
                    return Value::Plain;
                }
                self.passed(name, values)
            }
        }
    }

    /// The positional arguments and keywords of a call.
    fn arguments(&mut self, call: &'a ExprCall, scope: &mut Scope) -> Vec<Value> {
        let mut values: Vec<_> =
            call.arguments.args.iter().map(|argument| self.eval(argument, scope)).collect();
        for keyword in &call.arguments.keywords {
            let value = self.eval(&keyword.value, scope);
            if keyword.arg.is_none() && !matches!(value, Value::Plain) {
                values.push(Value::Unclear("arguments that are unpacked with `**`".to_owned()));
            } else if !matches!(value, Value::Plain | Value::Few) {
                values.push(value);
            }
        }
        values
    }

    /// What a function that is not known makes of its arguments.
    fn passed(&mut self, name: &str, values: Vec<Value>) -> Value {
        let mut result = Value::Plain;
        for value in values {
            match value {
                Value::Query(mut query) => {
                    if name == "exists" {
                        query.inner = true;
                        self.found(*query);
                        result = Value::Conditions(Vec::new());
                    } else {
                        if !RUNNERS.contains(&name) {
                            query.unclear.get_or_insert_with(|| format!("it is given to `{name}`"));
                        }
                        self.found(*query);
                    }
                }
                Value::Plain | Value::Few | Value::Entity(_) | Value::Columns(_) => {}
                Value::Unclear(reason) => result = Value::Unclear(reason),
                _ => result = Value::Unclear(format!("what `{name}` makes of a column")),
            }
        }
        result
    }

    /// `select(…)`, `session.query(…)`, `update(User)`, `exists()`.
    fn begins(
        &mut self,
        name: &str,
        call: &'a ExprCall,
        owner: Option<&'a Expr>,
        scope: &mut Scope,
    ) -> Option<Value> {
        let is_start = match name {
            "select" | "update" | "delete" | "exists" => owner.is_none_or(|owner| {
                matches!(owner, Expr::Name(name) if !scope.contains_key(name.id.as_str())
                    && self.models.is_imported(self.file, &name.id)
                    && self.models.variable(self.file, &name.id).is_none()
                    && self.models.model(self.file, &name.id).is_none())
            }),
            "query" => owner.is_some(),
            _ => false,
        };
        if !is_start || call.arguments.args.is_empty() && !matches!(name, "select" | "exists") {
            return None;
        }
        let values = self.arguments(call, scope);
        let is_about_models = values.iter().any(|value| {
            matches!(value, Value::Entity(_) | Value::Column(..) | Value::Of(_) | Value::Columns(_))
        });
        if name == "exists" {
            // `exists(select(…))`, `exists().where(…)`
            let mut query = Query::begin(call.range());
            query.inner = true;
            for value in values {
                match value {
                    Value::Query(inner) => query = Query { inner: true, ..*inner },
                    Value::Conditions(_) => query.unclear = Some("EXISTS of a condition".to_owned()),
                    value => add(&mut query, value),
                }
            }
            return Some(Value::Query(Box::new(query)));
        }
        if !is_about_models {
            if values.iter().all(|value| matches!(value, Value::Plain | Value::Few)) && name != "select" {
                return None;
            }
            if values.is_empty() {
                return None;
            }
        }
        let mut query = Query::begin(call.range());
        for value in values {
            match value {
                // A column that is computed by a query of its own.
                Value::Query(_) => self.subquery(value),
                value => add(&mut query, value),
            }
        }
        Some(Value::Query(Box::new(query)))
    }

    /// A part of another query: it counts, unless it depends on that.
    fn subquery(&mut self, value: Value) {
        if let Value::Query(mut query) = value {
            query.inner = true;
            self.found(*query);
        }
    }

    #[expect(clippy::too_many_lines, reason = "one arm per method")]
    fn method(&mut self, mut query: Query, name: &str, call: &'a ExprCall, scope: &mut Scope) -> Value {
        if name == "filter_by" {
            self.filter_by(&mut query, call, scope);
            return Value::Query(Box::new(query));
        }
        let values = self.arguments(call, scope);
        match name {
            "where" | "filter" | "having" => {
                for value in values {
                    match value {
                        _ if name == "having" => {}
                        Value::Conditions(conditions) => {
                            // `exists().where(…)` names its table only there.
                            if query.entities.is_empty() {
                                query
                                    .entities
                                    .extend(conditions.first().map(|condition| condition.entity.clone()));
                            }
                            query.filtered |= conditions.is_empty();
                            query.conditions.extend(conditions);
                        }
                        Value::Column(entity, key) => {
                            query.conditions.push(Condition { entity, key, comparison: Comparison::Few });
                        }
                        Value::Few => {}
                        Value::Query(inner) => self.subquery(Value::Query(inner)),
                        Value::Unclear(reason) => {
                            query.unclear.get_or_insert(reason);
                        }
                        _ => {
                            query
                                .unclear
                                .get_or_insert_with(|| "a condition that is made elsewhere".to_owned());
                        }
                    }
                }
            }
            "order_by" => {
                for (value, expression) in values.into_iter().zip(&call.arguments.args) {
                    let down = is_descending(expression);
                    match (value, &mut query.order) {
                        (Value::Column(entity, key), Some(order)) => order.push((entity, key, down)),
                        (Value::Few, _) => {}
                        _ => query.order = None,
                    }
                }
            }
            "limit" | "slice" => query.limited = true,
            "group_by" => query.grouped = true,
            "distinct" => {
                query.grouped = true;
            }
            "select_from" => {
                let mut from = Vec::new();
                for value in values {
                    match value {
                        Value::Entity(entity) => from.push(entity),
                        Value::Query(inner) => {
                            self.subquery(Value::Query(inner));
                            query.unclear.get_or_insert_with(|| "it selects from a subquery".to_owned());
                        }
                        _ => {
                            query.unclear.get_or_insert_with(|| {
                                "it selects from something else than a model".to_owned()
                            });
                        }
                    }
                }
                from.append(&mut query.entities);
                from.dedup();
                query.entities = from;
            }
            "join" | "outerjoin" | "join_from" => self.join(&mut query, values),
            "get" | "get_or_404" => {
                query.conditions.clear();
                self.found(query);
                return Value::Plain;
            }
            "exists" | "subquery" | "cte" | "scalar_subquery" | "as_scalar" | "label" | "lateral" => {
                query.inner = true;
            }
            "in_" | "union" | "union_all" | "intersect" | "except_" => {
                for value in values {
                    self.subquery(value);
                }
                query.unclear.get_or_insert_with(|| format!("`{name}` of queries"));
            }
            "first" | "first_or_404" => {
                query.limited = true;
                self.found(query);
                return Value::Plain;
            }
            _ if RUN.contains(&name) => {
                if name == "paginate" {
                    query.limited = true;
                }
                self.found(query);
                return Value::Plain;
            }
            _ if NEUTRAL.contains(&name) => {
                for value in values {
                    self.subquery(value);
                }
            }
            _ => {
                query.unclear.get_or_insert_with(|| format!("a method `{name}` that is not SQLAlchemy's"));
            }
        }
        Value::Query(Box::new(query))
    }

    fn filter_by(&mut self, query: &mut Query, call: &'a ExprCall, scope: &mut Scope) {
        for keyword in &call.arguments.keywords {
            let value = self.eval(&keyword.value, scope);
            let (Some(name), Some(entity)) = (&keyword.arg, query.entities.last().cloned()) else {
                query.unclear.get_or_insert_with(|| "arguments that are unpacked with `**`".to_owned());
                continue;
            };
            let column = self.member(Value::Entity(entity), name, keyword.range());
            match self.comparison(CmpOp::Eq, column, value) {
                Value::Conditions(conditions) => query.conditions.extend(conditions),
                Value::Unclear(reason) => {
                    query.unclear.get_or_insert(reason);
                }
                _ => {
                    query
                        .unclear
                        .get_or_insert_with(|| "`filter_by` on something else than a model".to_owned());
                }
            }
        }
    }

    fn join(&mut self, query: &mut Query, values: Vec<Value>) {
        let mut values = values.into_iter().filter(|value| !matches!(value, Value::Few));
        let first = values.next();
        let condition = values.next();
        let unclear = |query: &mut Query, reason: &str| {
            query.unclear.get_or_insert_with(|| reason.to_owned());
        };
        let target = match (first, &condition) {
            (Some(Value::Entity(entity)), Some(Value::Relationship(from, relationship))) => {
                self.join_relationship(query, &from.clone(), &relationship.clone(), Some(entity));
                return;
            }
            (Some(Value::Relationship(from, relationship)), _) => {
                self.join_relationship(query, &from, &relationship, None);
                return;
            }
            (Some(Value::Entity(entity)), _) => entity,
            (Some(Value::Unclear(reason)), _) => return unclear(query, &reason),
            (Some(Value::Query(inner)), _) => {
                self.subquery(Value::Query(inner));
                return unclear(query, "it joins a subquery");
            }
            _ => return unclear(query, "it joins something else than a model"),
        };
        match condition {
            Some(Value::Conditions(conditions)) => query.conditions.extend(conditions),
            Some(Value::Unclear(reason)) => return unclear(query, &reason),
            Some(_) => return unclear(query, "it joins on a condition that is made elsewhere"),
            None => {
                let mut edges = Vec::new();
                for other in &query.entities {
                    edges.extend(self.edges(other, &target));
                }
                let [edge] = &edges[..] else {
                    return unclear(query, "it joins by a foreign key that is not known");
                };
                query.conditions.push(edge.clone());
            }
        }
        query.entities.push(target);
    }

    /// The foreign keys between two tables.
    fn edges(&self, one: &Entity, other: &Entity) -> Vec<Condition> {
        let between = |from: &Entity, to: &Entity| -> Vec<Condition> {
            let columns =
                self.models.tables.get(&from.table).map(|table| table.columns.as_slice()).unwrap_or_default();
            columns
                .iter()
                .filter_map(|column| {
                    let (table, key) = column.foreign.as_ref()?;
                    (*table == to.table).then(|| Condition {
                        entity: from.clone(),
                        key: Key::Column(column.name.clone()),
                        comparison: Comparison::Join(to.clone(), Key::Column(key.clone())),
                    })
                })
                .collect()
        };
        let mut edges = between(one, other);
        if one.table != other.table {
            edges.extend(between(other, one));
        }
        edges
    }

    fn join_relationship(
        &self,
        query: &mut Query,
        from: &Entity,
        relationship: &Relationship,
        target: Option<Entity>,
    ) {
        let model =
            relationship.target.as_deref().and_then(|name| self.models.model_named(name, relationship.file));
        let target = target.or_else(|| model.map(|model| self.entity(model)));
        let Some(target) = target else {
            query.unclear.get_or_insert_with(|| "a relationship to a class that is not known".to_owned());
            return;
        };
        let between = match &relationship.secondary {
            None => None,
            Some(Some(table)) => Some(Entity { table: table.clone(), model: None, alias: target.alias }),
            Some(None) => {
                query.unclear.get_or_insert_with(|| "it joins over a table that is not known".to_owned());
                return;
            }
        };
        let steps = match &between {
            None => vec![self.edges(from, &target)],
            Some(between) => vec![self.edges(between, from), self.edges(between, &target)],
        };
        for edges in steps {
            match &edges[..] {
                [edge] if !relationship.special => query.conditions.push(edge.clone()),
                // Which rows the other conditions are looked up among is not known then.
                _ => {
                    query
                        .unclear
                        .get_or_insert_with(|| "it joins by a foreign key that is not known".to_owned());
                }
            }
        }
        query.entities.extend(between);
        query.entities.push(target);
    }

    /// `User.email.in_(…)` and the like.
    fn operator(
        &mut self,
        entity: Entity,
        key: Key,
        name: &str,
        call: &'a ExprCall,
        scope: &mut Scope,
    ) -> Value {
        let values = self.arguments(call, scope);
        if let Some(unclear) = values.iter().find(|value| matches!(value, Value::Unclear(_))) {
            return unclear.clone();
        }
        let one = |comparison| {
            Value::Conditions(vec![Condition { entity: entity.clone(), key: key.clone(), comparison }])
        };
        match (name, values.first()) {
            ("in_", Some(Value::Query(_))) => {
                for value in values {
                    self.subquery(value);
                }
                Value::Conditions(Vec::new())
            }
            ("in_", Some(Value::Few)) | ("is_", _) => one(Comparison::Few),
            ("in_", Some(Value::Plain)) => one(Comparison::Equal),
            ("between", _) => one(Comparison::Range),
            ("like", _) => match call.arguments.args.first() {
                Some(Expr::StringLiteral(text)) if !text.value.to_str().starts_with(['%', '_']) => {
                    one(Comparison::Prefix)
                }
                _ => Value::Conditions(Vec::new()),
            },
            ("startswith", Some(Value::Plain)) => one(Comparison::Prefix),
            (
                "ilike"
                | "contains"
                | "icontains"
                | "endswith"
                | "notin_"
                | "not_in"
                | "isnot"
                | "is_not"
                | "notlike"
                | "not_like"
                | "notilike"
                | "not_ilike"
                | "op"
                | "bool_op"
                | "match"
                | "regexp_match"
                | "any"
                | "any_"
                | "all_"
                | "has_key"
                | "overlaps"
                | "contained_by"
                | "is_distinct_from"
                | "istartswith"
                | "iendswith"
                | "is_not_distinct_from"
                | "astext"
                | "overlap",
                _,
            ) => Value::Conditions(Vec::new()),
            (
                "desc" | "asc" | "nullslast" | "nullsfirst" | "nulls_last" | "nulls_first" | "label"
                | "collate",
                _,
            ) => Value::Column(entity, key),
            (_, _) => Value::Of(vec![entity]),
        }
    }
}

fn is_method_of_model(owner: Option<&Expr>, scope: &Scope) -> bool {
    matches!(owner, Some(Expr::Name(name)) if matches!(scope.get(name.id.as_str()), Some(Value::Entity(_))))
}

fn is_condition(value: &Value) -> bool {
    matches!(value, Value::Conditions(_) | Value::Unclear(_) | Value::Column(..))
}

/// What a query selects, or from what.
fn add(query: &mut Query, value: Value) {
    let mut push = |entity: Entity| {
        if !query.entities.contains(&entity) {
            query.entities.push(entity);
        }
    };
    match value {
        Value::Entity(entity) | Value::Columns(entity) | Value::Column(entity, _) => push(entity),
        Value::Of(entities) => entities.into_iter().for_each(push),
        Value::Conditions(conditions) => conditions.into_iter().for_each(|condition| push(condition.entity)),
        Value::Unclear(reason) => {
            query.unclear.get_or_insert(reason);
        }
        Value::Relationship(..) | Value::Query(_) => {
            query.unclear.get_or_insert_with(|| "it selects something else than a model".to_owned());
        }
        Value::Plain | Value::Few => {}
    }
}

/// All hold.
fn conjunction(values: Vec<Value>) -> Value {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Conditions(conditions) => all.extend(conditions),
            Value::Column(entity, key) => all.push(Condition { entity, key, comparison: Comparison::Few }),
            Value::Few => {}
            Value::Unclear(reason) => return Value::Unclear(reason),
            _ => return Value::Unclear("a condition that is made elsewhere".to_owned()),
        }
    }
    Value::Conditions(all)
}

/// One of them holds: nothing that always does.
fn disjunction(values: Vec<Value>) -> Value {
    match values.into_iter().find(|value| matches!(value, Value::Unclear(_))) {
        Some(unclear) => unclear,
        None => Value::Conditions(Vec::new()),
    }
}

fn is_descending(expression: &Expr) -> bool {
    match expression {
        Expr::Call(call) => {
            callee(call) == Some("desc")
                || call.arguments.args.iter().any(is_descending)
                || matches!(&*call.func, Expr::Attribute(attribute) if is_descending(&attribute.value))
        }
        _ => false,
    }
}

/// Several ways lead on: keep what they agree on. False when none does.
fn merge(mut ends: Vec<Scope>, scope: &mut Scope) -> bool {
    let Some(mut merged) = ends.pop() else { return false };
    for other in ends {
        let names: Vec<String> = merged.keys().chain(other.keys()).cloned().collect();
        for name in names {
            let value = match (merged.get(&name), other.get(&name)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(Value::Query(a)), Some(Value::Query(b))) if a.range == b.range => {
                    Value::Query(Box::new(common(a, b)))
                }
                (Some(Value::Query(a)), Some(Value::Query(_))) => {
                    let mut query = a.clone();
                    query.unclear = Some("one of several queries".to_owned());
                    Value::Query(query)
                }
                (Some(Value::Plain | Value::Few) | None, Some(Value::Plain | Value::Few) | None) => {
                    Value::Plain
                }
                _ => Value::Unclear("a variable that holds one thing or another".to_owned()),
            };
            merged.insert(name, value);
        }
    }
    *scope = merged;
    true
}

/// What two states of a query have in common.
fn common(a: &Query, b: &Query) -> Query {
    let mut query = a.clone();
    query.conditions.retain(|condition| b.conditions.contains(condition));
    query.entities.retain(|entity| b.entities.contains(entity));
    if a.order != b.order {
        query.order = None;
    }
    query.limited = a.limited && b.limited;
    query.grouped |= b.grouped;
    query.filtered |= b.filtered;
    query.unclear = a.unclear.clone().or_else(|| b.unclear.clone());
    query
}
