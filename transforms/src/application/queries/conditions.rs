//! What is compared, and how.

use ruff_python_ast::{CmpOp, Expr, ExprCall};

use super::super::models::Relationship;
use super::{Comparison, Condition, Entity, Key, Reader, Scope, Value};

impl<'a> Reader<'_, 'a> {
    pub(super) fn compare(&mut self, compare: &'a ruff_python_ast::ExprCompare, scope: &mut Scope) -> Value {
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
        let is_constant = is_categorical(&compare.left) || is_categorical(right);
        let right = self.eval(right, scope);
        let operator = *operator;
        if matches!(operator, CmpOp::Is | CmpOp::IsNot | CmpOp::In | CmpOp::NotIn) {
            self.run(left);
            self.run(right);
            return Value::Plain;
        }
        let value = self.comparison(operator, left, right);
        if is_constant { constant(value) } else { value }
    }

    pub(super) fn comparison(&mut self, operator: CmpOp, left: Value, right: Value) -> Value {
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

    /// `User.email.in_(…)` and the like.
    pub(super) fn operator(
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
            // Where there is an index, it may be used; how many rows there are is not known.
            ("in_", Some(Value::Query(_))) => {
                for value in values {
                    self.subquery(value);
                }
                one(Comparison::Few)
            }
            ("in_", Some(Value::Few)) | ("is_", _) => one(Comparison::Few),
            ("in_", Some(Value::Plain)) if call.arguments.args.first().is_some_and(is_categorical) => {
                one(Comparison::Constant)
            }
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

pub(super) fn is_condition(value: &Value) -> bool {
    matches!(value, Value::Conditions(_) | Value::Unclear(_) | Value::Column(..))
}

/// All hold.
pub(super) fn conjunction(values: Vec<Value>) -> Value {
    let mut all = Vec::new();
    for value in values {
        match value {
            Value::Conditions(conditions) | Value::List(conditions, false) => all.extend(conditions),
            Value::Column(entity, key) => all.push(Condition { entity, key, comparison: Comparison::Few }),
            Value::Few => {}
            Value::Unclear(reason) => return Value::Unclear(reason),
            _ => return Value::Unclear("a condition that is made elsewhere".to_owned()),
        }
    }
    Value::Conditions(all)
}

/// One of them holds: nothing that always does.
pub(super) fn disjunction(values: Vec<Value>) -> Value {
    match values.into_iter().find(|value| matches!(value, Value::Unclear(_))) {
        Some(unclear) => unclear,
        None => Value::Conditions(Vec::new()),
    }
}

/// A condition that compares with what was known when the query was written.
pub(super) fn constant(value: Value) -> Value {
    let Value::Conditions(mut conditions) = value else { return value };
    for condition in conditions.iter_mut().filter(|condition| condition.comparison == Comparison::Equal) {
        condition.comparison = Comparison::Constant;
    }
    Value::Conditions(conditions)
}

/// Whether an expression is a literal, a constant by its name, or a list of those.
pub(super) fn is_categorical(expression: &Expr) -> bool {
    let is_constant = |name: &str| {
        name.chars().any(|c| c.is_ascii_uppercase()) && !name.chars().any(|c| c.is_ascii_lowercase())
    };
    match expression {
        Expr::StringLiteral(_) | Expr::NumberLiteral(_) => true,
        Expr::Name(name) => is_constant(&name.id),
        Expr::Attribute(attribute) => is_constant(&attribute.attr),
        Expr::List(list) => !list.elts.is_empty() && list.elts.iter().all(is_categorical),
        Expr::Tuple(tuple) => !tuple.elts.is_empty() && tuple.elts.iter().all(is_categorical),
        Expr::Set(set) => set.elts.iter().all(is_categorical),
        _ => false,
    }
}
