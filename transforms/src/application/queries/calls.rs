//! Calls: what begins a query, runs one, or makes a value of others.

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::super::models::dotted;
use super::conditions::{conjunction, disjunction};
use super::methods::add;
use super::{Entity, Key, Query, Reader, Scope, Value};
use crate::operations::callee;

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
    #[expect(clippy::too_many_lines, reason = "one arm per function and kind of owner")]
    pub(super) fn call(&mut self, call: &'a ExprCall, scope: &mut Scope) -> Value {
        let name = callee(call).unwrap_or_default();
        let method_of = match &*call.func {
            Expr::Attribute(attribute) => Some(&*attribute.value),
            _ => None,
        };
        if self.fills(call, scope) {
            return Value::Plain;
        }
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
            "with_parent" if method_of.is_none() => {
                let values = self.arguments(call, scope);
                return self.of_parent(&values);
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
                        query.rows = name == "select";
                        query.deletes = name == "delete";
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
            Value::Plain | Value::Few | Value::Columns(_) | Value::List(..) => {
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
    pub(super) fn arguments(&mut self, call: &'a ExprCall, scope: &mut Scope) -> Vec<Value> {
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
                        if name.is_empty() {
                            query.unclear.get_or_insert_with(|| "it is given to a call".to_owned());
                        } else if !RUNNERS.contains(&name) {
                            query.unclear.get_or_insert_with(|| format!("it is given to `{name}`"));
                        }
                        self.found(*query);
                    }
                }
                Value::Plain | Value::Few | Value::Entity(_) | Value::Columns(_) => {}
                Value::Unclear(reason) => result = Value::Unclear(reason),
                Value::List(conditions, false) if conditions.is_empty() => {}
                _ if name.is_empty() => result = Value::Unclear("what a call makes of a column".to_owned()),
                _ => result = Value::Unclear(format!("what `{name}` makes of a column")),
            }
        }
        result
    }

    /// Whether an expression is a model or an attribute of one, by its name.
    fn names_model(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Name(name) => self.models.model(self.file, &name.id).is_some(),
            Expr::Attribute(attribute) => self.names_model(&attribute.value),
            _ => false,
        }
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
            "select" | "update" | "delete" | "exists" => owner.is_none_or(|owner| match owner {
                Expr::Name(name) => match scope.get(name.id.as_str()) {
                    None => {
                        self.models.is_imported(self.file, &name.id)
                            && self.models.variable(self.file, &name.id).is_none()
                            && self.models.model(self.file, &name.id).is_none()
                    }
                    // Flask's `db`, where it is made.
                    Some(Value::Plain) => {
                        call.arguments.args.first().is_some_and(|first| self.names_model(first))
                    }
                    Some(_) => false,
                },
                _ => false,
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
        query.rows &= matches!(name, "select" | "query");
        query.deletes = name == "delete";
        Some(Value::Query(Box::new(query)))
    }
}

fn is_method_of_model(owner: Option<&Expr>, scope: &Scope) -> bool {
    matches!(owner, Some(Expr::Name(name)) if matches!(scope.get(name.id.as_str()), Some(Value::Entity(_))))
}
