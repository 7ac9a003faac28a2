//! Conditions that ask the database what is there already.
//!
//! A migration that commits in the middle runs again after an interruption, and then such a condition has another
//! answer: what it guards must not be more than what it asks about.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{CmpOp, Expr};
use ruff_text_size::TextRange;

use super::calls::callee;
use super::{Operation, OperationKind, Walked};
use crate::layout::helpers::Helper;
use crate::python::scope::Scope;
use crate::python::value::Value;

/// What a condition asks about.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guard {
    /// The texts in it: names of tables, columns, indexes and constraints.
    asked: BTreeSet<String>,
    /// It also asks about something that is not known.
    unknown: bool,
    /// The `if` that can be told to keep its answer.
    pub(crate) branch: Option<Branch>,
    /// The module of the project that it stands in; `None` for the migration itself.
    pub(crate) module: Option<String>,
    /// An earlier rewrite has told it so, under this name.
    pub(crate) kept_as: Option<String>,
}

/// The condition and the body of an `if` that does something only when it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Branch {
    pub(crate) test: TextRange,
    /// The last statement of the body.
    pub(crate) last: TextRange,
}

impl Guard {
    /// Read a condition; `None` when it asks nothing of the database.
    pub(super) fn of(test: &Expr, scope: &Scope) -> Option<Self> {
        if let Some(name) = kept_as(test) {
            return Some(Self { kept_as: Some(name), ..Self::default() });
        }
        let mut reader = Reader { scope, guard: Self::default() };
        reader.visit_expr(test);
        let guard = reader.guard;
        (guard.unknown || !guard.asked.is_empty()).then_some(guard)
    }

    /// Whether the condition is about what an operation does, so that it is not done a second time.
    pub(crate) fn answers(&self, operation: &Operation) -> bool {
        !self.unknown && self.depends_on(operation)
    }

    /// Whether the condition may have another answer after an operation.
    fn depends_on(&self, operation: &Operation) -> bool {
        let mut changed: Vec<Option<&str>> = Vec::new();
        match &operation.kind {
            OperationKind::CreateTable { table, .. } | OperationKind::DropTable { table, .. } => {
                changed.push(table.name.value.symbol());
            }
            OperationKind::RenameTable { table, new_name } => {
                changed.extend([table.name.value.symbol(), new_name.value.symbol()]);
            }
            OperationKind::AddColumn { definition, .. } => {
                changed.extend(definition.columns.iter().map(|column| Some(column.name.as_str())));
            }
            OperationKind::DropColumn { column, .. } => changed.push(column.value.symbol()),
            OperationKind::AlterColumn(alter) => {
                changed.push(alter.column.value.symbol());
                changed.extend((!alter.new_name.is_none()).then(|| alter.new_name.value.symbol()));
            }
            OperationKind::CreateIndex(index) => changed.push(index.name.value.symbol()),
            OperationKind::DropIndex(index) => changed.push(index.name.value.symbol()),
            OperationKind::AddConstraint(add) if !add.name.is_none() => {
                changed.push(add.name.value.symbol());
                changed.extend(add.columns.iter().flatten().map(|column| Some(column.as_str())));
            }
            OperationKind::DropConstraint { name, .. } => changed.push(name.value.symbol()),
            // Rows, types and what is not understood: the condition may ask about anything.
            _ => return true,
        }
        self.unknown || changed.iter().any(|name| name.is_none_or(|name| self.asked.contains(name)))
    }
}

/// The conditions that may have another answer when only a part of what they guard is done. Of what is `divided`, a
/// part is done before the rest.
pub(crate) fn fragile(walked: &Walked, divided: &dyn Fn(&Operation) -> bool) -> BTreeSet<usize> {
    let changes = walked.operations.iter().filter(|operation| {
        !matches!(operation.kind, OperationKind::Harmless { .. } | OperationKind::Commit)
    });
    let mut fragile = BTreeSet::new();
    // One that was asked about is not the last.
    let mut answered = BTreeSet::new();
    for operation in changes {
        for guard in &operation.origin.guards {
            let depends = walked.guards.get(*guard).is_some_and(|asked| asked.depends_on(operation));
            if answered.contains(guard) || (depends && divided(operation)) {
                fragile.insert(*guard);
            }
            if depends {
                answered.insert(*guard);
            }
        }
    }
    fragile
}

/// The name under which a condition keeps its answer: `_holds_on("safemig_…", …)`.
fn kept_as(test: &Expr) -> Option<String> {
    let Expr::Call(call) = test else { return None };
    let function = callee(call)?;
    let [Expr::StringLiteral(name), _] = &*call.arguments.args else { return None };
    [Helper::HoldsOn.name(), Helper::HoldsOn.spelled()]
        .contains(&function)
        .then(|| name.value.to_str().to_owned())
}

struct Reader<'a> {
    scope: &'a Scope,
    guard: Guard,
}

impl Reader<'_> {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Str(text) | Value::Partial(text) => {
                self.guard.asked.insert(text.clone());
            }
            Value::List(values) => values.iter().for_each(|value| self.value(value)),
            Value::Unknown => self.guard.unknown = true,
            _ => {}
        }
    }
}

impl<'a> Visitor<'a> for Reader<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        // What stands for a connection, or for a setting of the program.
        const HANDLES: &[&str] = &[
            "bind",
            "conn",
            "connection",
            "context",
            "config",
            "dialect",
            "engine",
            "insp",
            "inspector",
            "op",
            "os",
            "session",
            "sa",
        ];
        match expr {
            // `"a" in columns`
            Expr::Compare(compare)
                if matches!(&*compare.ops, [CmpOp::In | CmpOp::NotIn])
                    && self.scope.eval(&compare.left) != Value::Unknown =>
            {
                let value = self.scope.eval(&compare.left);
                self.value(&value);
            }
            Expr::Call(call) => {
                if let Expr::Attribute(attribute) = &*call.func
                    && !matches!(callee(call), Some("lower" | "startswith" | "execute" | "fetchall"))
                {
                    self.visit_expr(&attribute.value);
                }
                for argument in call.arguments.iter_source_order() {
                    self.visit_expr(argument.value());
                }
            }
            Expr::Name(name) => {
                let dunder = name.id.starts_with("__");
                match self.scope.get(&name.id).cloned() {
                    _ if dunder || HANDLES.contains(&name.id.as_str()) => {}
                    // `columns@120`: what a call returned.
                    None | Some(Value::Unknown) => self.guard.unknown = true,
                    Some(Value::Partial(text)) if text.contains('@') => self.guard.unknown = true,
                    Some(value) => self.value(&value),
                }
            }
            Expr::StringLiteral(_) | Expr::FString(_) => {
                let value = self.scope.eval(expr);
                self.value(&value);
            }
            // `engine.dialect.name`, `op.get_context().dialect`
            Expr::Attribute(attribute) if matches!(attribute.attr.as_str(), "dialect" | "driver") => {}
            // What it loops over is a copy, or asked for by name.
            Expr::Generator(generator) => self.visit_expr(&generator.elt),
            _ => walk_expr(self, expr),
        }
    }
}
