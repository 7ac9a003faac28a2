//! What an expression is.

use ruff_python_ast::{BoolOp, Expr, Operator, UnaryOp};
use ruff_text_size::{Ranged, TextRange};

use super::super::models::Attribute;
use super::conditions::{conjunction, disjunction, is_condition};
use super::{Comparison, Condition, Entity, Key, Query, Reader, Scope, Value};

impl<'a> Reader<'_, 'a> {
    #[expect(clippy::too_many_lines, reason = "one arm per kind of expression")]
    /// What an expression is. Queries inside of it that are run count.
    pub(super) fn eval(&mut self, expression: &'a Expr, scope: &mut Scope) -> Value {
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
                if let Some(list) = match &*starred.value {
                    Expr::Name(name) => {
                        scope.get(name.id.as_str()).filter(|value| matches!(value, Value::List(..))).cloned()
                    }
                    other => self.list(other, scope),
                } {
                    return list;
                }
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
    pub(super) fn combined(&mut self, values: Vec<Value>, what: &str) -> Value {
        let mut entities = Vec::new();
        let mut unclear = None;
        for value in values {
            match value {
                Value::Plain | Value::Few => {}
                Value::Column(entity, _) => entities.push(entity),
                Value::Of(more) => entities.extend(more),
                Value::Unclear(reason) => unclear = Some(reason),
                Value::List(conditions, false) if conditions.is_empty() => {}
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
        match scope.get(name) {
            Some(Value::List(conditions, false)) if conditions.is_empty() => return Value::Plain,
            Some(Value::List(..)) => return Value::Unclear("a list of columns or conditions".to_owned()),
            Some(value) => return value.clone(),
            None => {}
        }
        if let Some(model) = self.models.model(self.file, name) {
            return Value::Entity(self.entity(model));
        }
        if let Some(table) = self.models.variable(self.file, name) {
            return Value::Entity(Entity { table: table.clone(), model: None, alias: 0 });
        }
        Value::Plain
    }

    pub(super) fn member(&mut self, owner: Value, name: &str, range: TextRange) -> Value {
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
                        query.rows = true;
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
}
