//! Methods of a query.

use ruff_python_ast::{CmpOp, Expr, ExprCall};
use ruff_text_size::Ranged;

use super::conditions::{constant, is_categorical};
use super::{Comparison, Condition, Entity, Query, Reader, Scope, Value};
use crate::operations::callee;

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

impl<'a> Reader<'_, 'a> {
    #[expect(clippy::too_many_lines, reason = "one arm per method")]
    pub(super) fn method(
        &mut self,
        mut query: Query,
        name: &str,
        call: &'a ExprCall,
        scope: &mut Scope,
    ) -> Value {
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
                        Value::List(conditions, has_others) => {
                            query.filtered |= has_others;
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
            "join" | "outerjoin" | "join_from" => {
                let given = |name: &str| call.arguments.find_keyword(name).is_some();
                let keeps_all = name == "outerjoin" || given("isouter") || given("full");
                self.join(&mut query, values, keeps_all);
            }
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
            "with_parent" => match self.of_parent(&values) {
                Value::Conditions(conditions) => query.conditions.extend(conditions),
                _ => {
                    query.unclear.get_or_insert_with(|| "`with_parent` of an object".to_owned());
                }
            },
            "first" | "first_or_404" => {
                query.limited = true;
                self.found(query);
                return Value::Plain;
            }
            _ if RUN.contains(&name) => {
                query.rows &= !matches!(name, "count" | "delete" | "update" | "yield_per" | "partitions");
                query.deletes |= name == "delete";
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
            let compared = self.comparison(CmpOp::Eq, column, value);
            match if is_categorical(&keyword.value) { constant(compared) } else { compared } {
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
}

/// What a query selects, or from what.
pub(super) fn add(query: &mut Query, value: Value) {
    let Query { entities, rows, unclear, .. } = query;
    let mut push = |entity: Entity| {
        if !entities.contains(&entity) {
            entities.push(entity);
        }
    };
    match value {
        Value::Entity(entity) | Value::Columns(entity) | Value::Column(entity, _) => {
            push(entity);
            *rows = true;
        }
        Value::Of(of) => of.into_iter().for_each(push),
        Value::Conditions(conditions) => conditions.into_iter().for_each(|condition| push(condition.entity)),
        Value::Unclear(reason) => {
            unclear.get_or_insert(reason);
        }
        Value::Relationship(..) | Value::Query(_) | Value::List(..) => {
            unclear.get_or_insert_with(|| "it selects something else than a model".to_owned());
        }
        Value::Plain | Value::Few => {}
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
