//! Lists of conditions that are filled statement by statement, and unpacked in the end: `filter(*conditions)`.

use ruff_python_ast::{Expr, ExprCall};

use super::{Comparison, Condition, Reader, Scope, Value};
use crate::operations::callee;

/// Why a list is not followed any more.
const ELSEWHERE: &str = "a list that is filled elsewhere";

impl<'a> Reader<'_, 'a> {
    /// The list that an expression makes, if conditions are what is in it, or nothing yet.
    pub(super) fn list(&mut self, expression: &'a Expr, scope: &mut Scope) -> Option<Value> {
        let elements = match expression {
            Expr::List(list) => &list.elts[..],
            Expr::Tuple(tuple) => &tuple.elts[..],
            Expr::Call(call) if callee(call) == Some("list") && call.arguments.is_empty() => &[],
            _ => return None,
        };
        let values: Vec<_> = elements.iter().map(|element| self.eval(element, scope)).collect();
        let is_condition = |value: &Value| matches!(value, Value::Conditions(_) | Value::List(..));
        if !values.is_empty() && !values.iter().any(is_condition) {
            return None;
        }
        let mut list = Value::List(Vec::new(), false);
        for value in values {
            if let Err(reason) = put(&mut list, value) {
                return Some(Value::Unclear(reason));
            }
        }
        Some(list)
    }

    /// What becomes of the lists that a call has to do with: true when it is a method of one.
    pub(super) fn fills(&mut self, call: &'a ExprCall, scope: &mut Scope) -> bool {
        let arguments =
            call.arguments.args.iter().chain(call.arguments.keywords.iter().map(|one| &one.value));
        for name in arguments.filter_map(Expr::as_name_expr) {
            if !matches!(callee(call), Some("len" | "bool")) {
                // Whoever gets it may put others into it.
                lose(&name.id, ELSEWHERE, scope);
            }
        }
        let Expr::Attribute(method) = &*call.func else { return false };
        let Some(name) = method.value.as_name_expr() else { return false };
        let Some(Value::List(..)) = scope.get(name.id.as_str()) else { return false };
        match (&*method.attr, &call.arguments.args[..]) {
            ("append", [one]) => {
                let value = self.eval(one, scope);
                self.put_into(&name.id, value, scope);
            }
            ("extend", [others]) => {
                let value = self.list(others, scope).unwrap_or_else(|| self.eval(others, scope));
                self.put_into(&name.id, value, scope);
            }
            _ => {
                self.arguments(call, scope);
                lose(&name.id, ELSEWHERE, scope);
            }
        }
        true
    }

    /// Put a value into the list that a variable holds.
    pub(super) fn put_into(&mut self, name: &str, value: Value, scope: &mut Scope) {
        let reason = match value {
            Value::Query(_) => {
                self.run(value);
                "a condition that is made elsewhere".to_owned()
            }
            value => match scope.get_mut(name).map(|list| put(list, value)) {
                Some(Err(reason)) => reason,
                _ => return,
            },
        };
        lose(name, &reason, scope);
    }
}

/// Put a value into a list, or say why that is not one of conditions any more.
fn put(list: &mut Value, value: Value) -> Result<(), String> {
    let Value::List(conditions, has_others) = list else { return Ok(()) };
    match value {
        Value::Conditions(more) => {
            *has_others |= more.is_empty();
            conditions.extend(more);
        }
        Value::Column(entity, key) => {
            conditions.push(Condition { entity, key, comparison: Comparison::Few });
        }
        Value::List(more, others) => {
            *has_others |= others;
            conditions.extend(more);
        }
        Value::Unclear(reason) => return Err(reason),
        _ => return Err("a condition that is made elsewhere".to_owned()),
    }
    Ok(())
}

/// What a variable holds is not known any more. A list without conditions is like any other value.
fn lose(name: &str, reason: &str, scope: &mut Scope) {
    if let Some(list @ Value::List(..)) = scope.get_mut(name) {
        *list = match list {
            Value::List(conditions, false) if conditions.is_empty() => Value::Plain,
            _ => Value::Unclear(reason.to_owned()),
        };
    }
}

/// A function that is defined here may be run at any time, and put something into every list.
pub(super) fn forget(scope: &mut Scope) {
    let names: Vec<_> = scope.keys().cloned().collect();
    for name in names {
        lose(&name, ELSEWHERE, scope);
    }
}

/// What is in both of two lists.
pub(super) fn common(a: (&[Condition], bool), b: (&[Condition], bool)) -> Value {
    let both: Vec<_> = a.0.iter().filter(|condition| b.0.contains(condition)).cloned().collect();
    let has_others = a.1 || b.1 || both.len() < a.0.len().max(b.0.len());
    Value::List(both, has_others)
}
