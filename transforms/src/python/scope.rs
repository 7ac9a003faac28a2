//! Names and what they are bound to, and the value of expressions over them.

use std::collections::BTreeMap;

use ruff_python_ast::{
    BoolOp, CmpOp, Expr, ExprBinOp, ExprCall, ExprListComp, InterpolatedStringElement, Operator, StringFlags,
    UnaryOp,
};
use ruff_text_size::Ranged;

use super::format;
use super::value::{Arg, Dialects, Value};
use crate::naming;

/// The bindings of one function (or of the module), by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scope {
    names: BTreeMap<String, Value>,
}

impl Scope {
    pub fn bind(&mut self, name: &str, value: Value) {
        self.names.insert(name.to_owned(), value);
    }

    /// Two ways led here: keep what both agree on.
    pub fn merge(&mut self, other: &Scope) {
        for (name, value) in &mut self.names {
            if other.names.get(name) != Some(value) {
                *value = Value::Unknown;
            }
        }
        for name in other.names.keys() {
            if !self.names.contains_key(name) {
                self.names.insert(name.clone(), Value::Unknown);
            }
        }
    }

    /// Bind the target of an assignment or a loop; what can't be matched becomes unknown.
    pub fn assign(&mut self, target: &Expr, value: &Value) {
        match target {
            Expr::Name(name) => self.bind(&name.id, value.clone()),
            Expr::Tuple(tuple) => self.unpack(&tuple.elts, value),
            Expr::List(list) => self.unpack(&list.elts, value),
            Expr::Starred(starred) => self.assign(&starred.value, &Value::Unknown),
            // `x["a"] = …` changes what `x` holds.
            Expr::Subscript(subscript) => {
                let key = self.eval(&subscript.slice);
                match &*subscript.value {
                    Expr::Name(name) if key.as_str().is_some() => {
                        match self.names.get_mut(name.id.as_str()) {
                            Some(Value::Dict(items)) => {
                                items.retain(|(known, _)| *known != key);
                                items.push((key, value.clone()));
                            }
                            _ => self.forget(&subscript.value),
                        }
                    }
                    other => self.forget(other),
                }
            }
            // And so does `x.y = …`.
            Expr::Attribute(attribute) => self.forget(&attribute.value),
            _ => {}
        }
    }

    fn forget(&mut self, target: &Expr) {
        if let Expr::Name(name) = target
            && matches!(self.names.get(name.id.as_str()), Some(Value::List(_) | Value::Dict(_)))
        {
            self.bind(&name.id, Value::Unknown);
        }
    }

    fn unpack(&mut self, targets: &[Expr], value: &Value) {
        let starred = targets.iter().any(Expr::is_starred_expr);
        match value {
            Value::List(values) if !starred && values.len() == targets.len() => {
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value);
                }
            }
            _ => targets.iter().for_each(|target| self.assign(target, &Value::Unknown)),
        }
    }

    /// The argument as the call wrote it.
    #[must_use]
    pub fn arg(&self, expr: &Expr) -> Arg {
        let literal = match expr {
            Expr::StringLiteral(_) | Expr::NoneLiteral(_) => true,
            Expr::Call(call) => {
                is_op_f(self, call) && matches!(&*call.arguments.args, [Expr::StringLiteral(_)])
            }
            _ => false,
        };
        let exact = matches!(expr, Expr::Call(call) if is_op_f(self, call));
        let mut arg = Arg { value: self.eval(expr), range: Some(expr.range()), literal, exact, code: None };
        if let (Expr::Call(call), Value::Str(name)) = (expr, &arg.value)
            && exact
            && let [Expr::StringLiteral(spelled)] = &*call.arguments.args
        {
            let cut = naming::cut(name);
            if cut != *name {
                let quote = spelled.value.first_literal_flags().quote_str();
                arg.code = Some(format!("{quote}{cut}{quote}"));
                arg.value = Value::Str(cut);
            }
        }
        arg
    }

    /// What a name is bound to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.names.get(name)
    }

    /// A name that is bound to this value, the first in alphabetical order.
    #[must_use]
    pub fn name_of(&self, value: &Value) -> Option<&str> {
        self.names.iter().find_map(|(name, bound)| (bound == value).then_some(name.as_str()))
    }

    /// What an expression is known to be.
    #[must_use]
    pub fn eval(&self, expr: &Expr) -> Value {
        let value = self.eval_for(expr, None);
        let may_depend_on_dialect = matches!(
            expr,
            Expr::Compare(_) | Expr::BoolOp(_) | Expr::UnaryOp(_) | Expr::If(_) | Expr::Call(_)
        );
        if value != Value::Unknown || !may_depend_on_dialect {
            return value;
        }
        let values: Vec<_> =
            Dialects::each().map(|(_, name)| (name, self.eval_for(expr, Some(name)))).collect();
        if values.iter().any(|(_, value)| *value != Value::Unknown) {
            Value::ByDialect(values)
        } else {
            Value::Unknown
        }
    }

    /// Whether a condition holds on one database; `None` when that can't be known.
    #[must_use]
    pub fn condition(&self, test: &Expr, dialect: &'static str) -> Option<bool> {
        self.eval_for(test, Some(dialect)).truth()
    }

    /// The databases on which a condition may hold, and those on which it may not.
    #[must_use]
    pub fn split(&self, test: &Expr, dialects: Dialects) -> (Dialects, Dialects) {
        let (mut holds, mut fails) = (Dialects::NONE, Dialects::NONE);
        for (dialect, name) in Dialects::each() {
            if dialects.contains(dialect) {
                match self.condition(test, name) {
                    Some(true) => holds = holds.union(dialect),
                    Some(false) => fails = fails.union(dialect),
                    None => {
                        holds = holds.union(dialect);
                        fails = fails.union(dialect);
                    }
                }
            }
        }
        (holds, fails)
    }

    fn eval_for(&self, expr: &Expr, dialect: Option<&'static str>) -> Value {
        match expr {
            Expr::NoneLiteral(_) => Value::None,
            Expr::BooleanLiteral(literal) => Value::Bool(literal.value),
            Expr::StringLiteral(literal) => Value::Str(literal.value.to_str().to_owned()),
            Expr::NumberLiteral(literal) => match &literal.value {
                ruff_python_ast::Number::Int(int) => int.as_i64().map_or(Value::Unknown, Value::Int),
                _ => Value::Unknown,
            },
            Expr::FString(fstring) => self.fstring(&fstring.value),
            Expr::List(list) => self.list(&list.elts, dialect),
            Expr::Tuple(tuple) => self.list(&tuple.elts, dialect),
            Expr::Set(set) => self.list(&set.elts, dialect),
            Expr::ListComp(comprehension) => self.comprehension(comprehension, dialect),
            Expr::Dict(dict) => {
                let mut items = Vec::with_capacity(dict.items.len());
                for item in &dict.items {
                    let Some(key) = &item.key else { return Value::Unknown };
                    items.push((self.eval_for(key, dialect), self.eval_for(&item.value, dialect)));
                }
                Value::Dict(items)
            }
            Expr::Name(name) => match self.names.get(name.id.as_str()) {
                Some(value) => on_dialect(value, dialect),
                None => Value::Unknown,
            },
            Expr::Attribute(attribute) => {
                let owner = self.eval_for(&attribute.value, dialect);
                match (member(&owner, &attribute.attr), &*attribute.value) {
                    // A model's table is one table, though it is not known which.
                    (Value::Unknown, Expr::Name(model)) if attribute.attr.as_str() == "__tablename__" => {
                        Value::Partial(format!("{{{}.__tablename__}}", model.id))
                    }
                    (value, _) => value,
                }
            }
            Expr::Subscript(subscript) => {
                let owner = self.eval_for(&subscript.value, dialect);
                let key = self.eval_for(&subscript.slice, dialect);
                match (owner, key) {
                    (Value::List(values), Value::Int(index)) => usize::try_from(index)
                        .ok()
                        .and_then(|index| values.into_iter().nth(index))
                        .unwrap_or(Value::Unknown),
                    (Value::Dict(items), key) if key != Value::Unknown => {
                        items.into_iter().find_map(|(k, v)| (k == key).then_some(v)).unwrap_or(Value::Unknown)
                    }
                    _ => Value::Unknown,
                }
            }
            Expr::BinOp(binary) => self.binary(binary, dialect),
            Expr::UnaryOp(unary) if unary.op == UnaryOp::Not => self
                .eval_for(&unary.operand, dialect)
                .truth()
                .map_or(Value::Unknown, |truth| Value::Bool(!truth)),
            Expr::BoolOp(boolean) => {
                let stops_at = boolean.op == BoolOp::Or;
                let mut all_known = true;
                for value in &boolean.values {
                    match self.eval_for(value, dialect).truth() {
                        Some(truth) if truth == stops_at => return Value::Bool(stops_at),
                        Some(_) => {}
                        None => all_known = false,
                    }
                }
                if all_known { Value::Bool(!stops_at) } else { Value::Unknown }
            }
            Expr::Compare(compare) => match (&*compare.ops, &*compare.comparators) {
                ([op], [right]) => {
                    let left = with_dialect(self.eval_for(&compare.left, dialect), dialect);
                    let right = with_dialect(self.eval_for(right, dialect), dialect);
                    compare_values(*op, &left, &right)
                }
                _ => Value::Unknown,
            },
            Expr::If(ternary) => match self.eval_for(&ternary.test, dialect).truth() {
                Some(true) => self.eval_for(&ternary.body, dialect),
                Some(false) => self.eval_for(&ternary.orelse, dialect),
                None => {
                    let (a, b) =
                        (self.eval_for(&ternary.body, dialect), self.eval_for(&ternary.orelse, dialect));
                    if a == b { a } else { Value::Unknown }
                }
            },
            Expr::Named(named) => self.eval_for(&named.value, dialect),
            Expr::Call(call) => self.call(call, dialect),
            _ => Value::Unknown,
        }
    }

    /// `[(table, f"ix_{table}") for table in TABLES]`
    fn comprehension(&self, comprehension: &ExprListComp, dialect: Option<&'static str>) -> Value {
        let [generator] = &comprehension.generators[..] else { return Value::Unknown };
        let Value::List(values) = self.eval_for(&generator.iter, dialect) else { return Value::Unknown };
        let mut inner = self.clone();
        let mut found = Vec::new();
        for value in values {
            inner.assign(&generator.target, &value);
            let conditions = generator.ifs.iter().map(|test| inner.eval_for(test, dialect).truth());
            match conditions.collect::<Option<Vec<_>>>() {
                Some(holds) if holds.iter().all(|holds| *holds) => {
                    found.push(inner.eval_for(&comprehension.elt, dialect));
                }
                Some(_) => {}
                None => return Value::Unknown,
            }
        }
        Value::List(found)
    }

    fn binary(&self, binary: &ExprBinOp, dialect: Option<&'static str>) -> Value {
        let left = self.eval_for(&binary.left, dialect);
        let right = self.eval_for(&binary.right, dialect);
        match (binary.op, left, right) {
            (Operator::Add, Value::Str(a), Value::Str(b)) => Value::Str(a + &b),
            (Operator::Add, Value::Partial(a), Value::Str(b) | Value::Partial(b))
            | (Operator::Add, Value::Str(a), Value::Partial(b)) => Value::Partial(a + &b),
            (Operator::Add, Value::List(mut a), Value::List(b)) => {
                a.extend(b);
                Value::List(a)
            }
            (Operator::Mod, Value::Str(text), _) => {
                let eval = |value: &Expr| self.eval_for(value, dialect);
                format::joined(&text, format::percents(&text, &binary.right, &eval))
            }
            _ => Value::Unknown,
        }
    }

    fn list(&self, elements: &[Expr], dialect: Option<&'static str>) -> Value {
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            if let Expr::Starred(starred) = element {
                match self.eval_for(&starred.value, dialect) {
                    Value::List(more) => values.extend(more),
                    _ => return Value::Unknown,
                }
            } else {
                values.push(self.eval_for(element, dialect));
            }
        }
        Value::List(values)
    }

    fn fstring(&self, value: &ruff_python_ast::FStringValue) -> Value {
        let mut text = String::new();
        let mut partial = false;
        for part in value {
            match part {
                ruff_python_ast::FStringPart::Literal(literal) => text.push_str(&literal.value),
                ruff_python_ast::FStringPart::FString(fstring) => {
                    for element in &fstring.elements {
                        match element {
                            InterpolatedStringElement::Literal(literal) => text.push_str(&literal.value),
                            InterpolatedStringElement::Interpolation(field) => {
                                let plain = field.format_spec.is_none()
                                    && field.debug_text.is_none()
                                    && field.conversion == ruff_python_ast::ConversionFlag::None;
                                match self.eval(&field.expression) {
                                    Value::Str(value) if plain => text.push_str(&value),
                                    Value::Int(value) if plain => text.push_str(&value.to_string()),
                                    Value::Partial(value) if plain => {
                                        partial = true;
                                        text.push_str(&value);
                                    }
                                    _ => return Value::Unknown,
                                }
                            }
                        }
                    }
                }
            }
        }
        if partial { Value::Partial(text) } else { Value::Str(text) }
    }

    fn call(&self, call: &ExprCall, dialect: Option<&'static str>) -> Value {
        let first = call.arguments.args.first();
        match &*call.func {
            Expr::Attribute(attribute) => {
                let owner = self.eval_for(&attribute.value, dialect);
                match (&owner, attribute.attr.as_str()) {
                    (Value::Op | Value::Batch(_), "f") => {
                        first.map_or(Value::Unknown, |name| self.eval_for(name, dialect))
                    }
                    (Value::Op, "get_bind")
                    | (Value::Context, "get_bind" | "connection")
                    | (Value::Bind, "connect" | "execution_options") => Value::Bind,
                    (Value::Op | Value::Context, "get_context") => Value::Context,
                    (Value::DialectName | Value::Str(_), "lower") => owner,
                    (Value::DialectName | Value::Str(_), "startswith") => {
                        let owner = with_dialect(owner, dialect);
                        match (owner, first.map(|prefix| self.eval_for(prefix, dialect))) {
                            (Value::Str(text), Some(Value::Str(prefix))) => {
                                Value::Bool(text.starts_with(&prefix))
                            }
                            _ => Value::Unknown,
                        }
                    }
                    (Value::Str(text), "format") => {
                        let eval = |value: &Expr| self.eval_for(value, dialect);
                        format::joined(text, format::braces(text, call, &eval))
                    }
                    (Value::Dict(items), "items") => Value::List(
                        items.iter().map(|(k, v)| Value::List(vec![k.clone(), v.clone()])).collect(),
                    ),
                    (Value::Dict(items), "keys") => {
                        Value::List(items.iter().map(|(k, _)| k.clone()).collect())
                    }
                    (Value::Dict(items), "values") => {
                        Value::List(items.iter().map(|(_, v)| v.clone()).collect())
                    }
                    _ => self.sqlalchemy_call(&attribute.attr, call, dialect),
                }
            }
            Expr::Name(name) => {
                let sequence = first.map(|value| self.eval_for(value, dialect));
                match (name.id.as_str(), sequence) {
                    ("isinstance", Some(Value::Dialect)) => is_dialect(call.arguments.args.get(1), dialect),
                    ("list" | "tuple", Some(Value::List(values))) => Value::List(values),
                    ("reversed", Some(Value::List(mut values))) => {
                        values.reverse();
                        Value::List(values)
                    }
                    ("enumerate", Some(Value::List(values))) => Value::List(
                        (0..).zip(values).map(|(i, value)| Value::List(vec![Value::Int(i), value])).collect(),
                    ),
                    (name, sequence) => match (self.names.get(name), sequence) {
                        (Some(Value::Function(result)), _) => on_dialect(result, dialect),
                        (Some(Value::OpFunction(function)), value) => match function.as_str() {
                            "f" => value.unwrap_or(Value::Unknown),
                            "get_bind" => Value::Bind,
                            "get_context" => Value::Context,
                            _ => Value::Unknown,
                        },
                        _ => self.sqlalchemy_call(name, call, dialect),
                    },
                }
            }
            _ => Value::Unknown,
        }
    }

    fn sqlalchemy_call(&self, name: &str, call: &ExprCall, dialect: Option<&'static str>) -> Value {
        let Some(first) = call.arguments.args.first() else { return Value::Unknown };
        match (name, self.eval_for(first, dialect)) {
            ("text" | "literal_column", Value::Str(sql)) => Value::Sql(sql),
            ("table" | "Table", Value::Str(name)) => {
                let keyword = call.arguments.find_keyword("schema");
                let schema = match keyword.map(|schema| self.eval_for(&schema.value, dialect)) {
                    None | Some(Value::None) => None,
                    Some(Value::Str(schema)) => Some(schema),
                    Some(_) => return Value::Unknown,
                };
                Value::Table { name, schema, call: call.range() }
            }
            ("dedent" | "quoted_name" | "conv", Value::Str(text)) => Value::Str(text),
            _ => Value::Unknown,
        }
    }
}

/// `isinstance(bind.dialect, SQLiteDialect)`
fn is_dialect(class: Option<&Expr>, dialect: Option<&'static str>) -> Value {
    let name = match class {
        Some(Expr::Name(name)) => name.id.as_str(),
        Some(Expr::Attribute(attribute)) => attribute.attr.as_str(),
        _ => return Value::Unknown,
    };
    let lower = name.to_ascii_lowercase();
    // SQLAlchemy's class for PostgreSQL is `PGDialect`; MariaDB's is a MySQL dialect.
    let class = [("pg", "postgresql"), ("postgres", "postgresql"), ("sqlite", "sqlite"), ("mysql", "mysql")]
        .iter()
        .chain(&[("mariadb", "mariadb"), ("oracle", "oracle"), ("ms", "mssql")])
        .find_map(|(start, dialect)| lower.starts_with(start).then_some(*dialect));
    match (class, dialect) {
        (Some("mysql"), Some(dialect)) => Value::Bool(matches!(dialect, "mysql" | "mariadb")),
        (Some(class), Some(dialect)) => Value::Bool(class == dialect),
        _ => Value::Unknown,
    }
}

fn is_op_f(scope: &Scope, call: &ExprCall) -> bool {
    match &*call.func {
        Expr::Attribute(attribute) => {
            attribute.attr.as_str() == "f"
                && matches!(scope.eval(&attribute.value), Value::Op | Value::Batch(_))
        }
        _ => false,
    }
}

fn member(owner: &Value, name: &str) -> Value {
    match (owner, name) {
        (Value::Alembic, "op") => Value::Op,
        (Value::Alembic, "context") => Value::Context,
        (Value::Context, "bind" | "connection") | (Value::Bind, "engine" | "connection" | "bind") => {
            Value::Bind
        }
        (Value::Context | Value::Bind | Value::Dialect, "dialect") | (Value::Context, "impl") => {
            Value::Dialect
        }
        (Value::Dialect | Value::Bind, "name") => Value::DialectName,
        (Value::Class(attributes), name) => attribute(attributes, name),
        (Value::Object(object), name) => attribute(&object.attributes, name),
        _ => Value::Unknown,
    }
}

fn attribute(attributes: &[(String, Value)], name: &str) -> Value {
    let found = attributes.iter().find(|(attribute, _)| attribute == name);
    found.map_or(Value::Unknown, |(_, value)| value.clone())
}

/// A value that depends on the database, for one database.
fn on_dialect(value: &Value, dialect: Option<&'static str>) -> Value {
    match (value, dialect) {
        (Value::ByDialect(values), Some(dialect)) => values
            .iter()
            .find_map(|(name, value)| (*name == dialect).then(|| value.clone()))
            .unwrap_or(Value::Unknown),
        (value, _) => value.clone(),
    }
}

fn with_dialect(value: Value, dialect: Option<&'static str>) -> Value {
    match (value, dialect) {
        (Value::DialectName, Some(name)) => Value::Str(name.to_owned()),
        (value, _) => value,
    }
}

fn compare_values(op: CmpOp, left: &Value, right: &Value) -> Value {
    let known = |value: &Value| matches!(value, Value::None | Value::Bool(_) | Value::Int(_) | Value::Str(_));
    match op {
        CmpOp::Eq | CmpOp::NotEq | CmpOp::Is | CmpOp::IsNot if known(left) && known(right) => {
            Value::Bool((left == right) == matches!(op, CmpOp::Eq | CmpOp::Is))
        }
        CmpOp::In | CmpOp::NotIn => match (left, right) {
            (left, Value::List(values)) if known(left) && values.iter().all(known) => {
                Value::Bool(values.contains(left) == (op == CmpOp::In))
            }
            (Value::Str(left), Value::Str(right)) => {
                Value::Bool(right.contains(left.as_str()) == (op == CmpOp::In))
            }
            _ => Value::Unknown,
        },
        _ => Value::Unknown,
    }
}
