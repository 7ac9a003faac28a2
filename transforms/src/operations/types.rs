//! The types of columns as code that says by itself what they are: names of the file, and of the project's modules,
//! give way to what they stand for.
//!
//! Source: SQLAlchemy's documentation, "Custom Types", for what a `TypeDecorator` becomes on a database.

use std::collections::BTreeSet;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_alias, walk_expr, walk_parameter, walk_stmt};
use ruff_python_ast::{
    Alias, Decorator, Expr, ExprCall, ExprContext, Parameter, Stmt, StmtClassDef, StmtFunctionDef,
};
use ruff_text_size::{Ranged, TextRange};

use super::Functions;
use super::calls::callee;
use super::modules::Modules;
use super::walk::names::assigned;
use crate::python::edit::{self, Edit};
use crate::python::scope::Scope;
use crate::python::value::Value;
use crate::python::{Module, dotted, is_docstring};
use crate::types::Type;

/// Types that are made of types are followed this deep.
const MAX_DEPTH: usize = 4;

/// What the names in a file stand for.
#[derive(Clone, Copy)]
pub(super) struct Types<'a> {
    pub(super) module: &'a Module,
    pub(super) scope: &'a Scope,
    pub(super) modules: Option<&'a Modules>,
}

impl<'a> Types<'a> {
    /// A type as code. One that is not SQLAlchemy's own in the end stays what its author called it, with the module that
    /// it comes from in front.
    pub(super) fn code(self, expr: &Expr) -> String {
        let text = self.spelled(expr, 0);
        if Type::read(&text).is_known() { text } else { self.spelled(expr, MAX_DEPTH) }
    }

    fn spelled(self, expr: &Expr, depth: usize) -> String {
        let comments = self.module.tokens().in_range(expr.range()).iter();
        let comments = comments.filter(|token| token.kind() == TokenKind::Comment);
        let edits = comments.map(|token| edit::replace(token.range(), " ")).collect();
        let mut names = Names { types: self, depth, edits };
        names.visit_expr(expr);
        let mut text = self.module.text(expr).to_owned();
        let start = usize::from(expr.start());
        for edit in edit::sorted(names.edits).into_iter().flatten().rev() {
            let range = usize::from(edit.start()) - start..usize::from(edit.end()) - start;
            text.replace_range(range, edit.content().unwrap_or_default());
        }
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a dotted name stands for, or a call of it.
    fn definition(self, name: &Expr, call: Option<&ExprCall>, depth: usize) -> Option<String> {
        if depth == MAX_DEPTH {
            return None;
        }
        let path = dotted(name)?;
        let (root, rest) = path.split_first()?;
        match self.scope.get(root) {
            Some(Value::Foreign(module)) => {
                let path = [module.split('.').collect(), rest.to_vec()].concat();
                // The last one is a class, a function or a constant, or an attribute of a class.
                [1, 2].into_iter().find_map(|names| {
                    let (module, names) = path.split_at(path.len().checked_sub(names)?);
                    let module = self.modules?.get(&module.join("."))?;
                    let functions = Functions::with(module, self.modules);
                    let types = Types { module, scope: functions.scope(), modules: self.modules };
                    types.named(names, call.map(|call| (self, call)), depth + 1)
                })
            }
            _ => self.named(&path, call.map(|call| (self, call)), depth + 1),
        }
    }

    /// Likewise of a name of this file. The call may stand in another.
    fn named(self, names: &[&str], call: Option<(Types, &ExprCall)>, depth: usize) -> Option<String> {
        let (name, attributes) = names.split_first()?;
        let body = self.module.body();
        if let Some(value) = self.only_value(name) {
            return (attributes.is_empty() && call.is_none()).then(|| self.spelled(value, depth));
        }
        body.iter().find_map(|statement| match (statement, attributes) {
            (Stmt::ClassDef(class), []) if class.name.as_str() == *name => self.class(class, call, depth),
            (Stmt::ClassDef(class), [attribute]) if class.name.as_str() == *name && call.is_none() => {
                Some(self.spelled(assigned(&class.body, attribute)?, depth))
            }
            (Stmt::FunctionDef(function), []) if function.name.as_str() == *name => {
                self.result(function, call?.1, depth)
            }
            _ => None,
        })
    }

    /// The value of a name that the file binds once.
    fn only_value(self, name: &str) -> Option<&'a Expr> {
        let value = assigned(self.module.body(), name)?;
        let mut bindings = Bindings { name, count: 0 };
        bindings.visit_body(self.module.body());
        (bindings.count == 1).then_some(value)
    }

    /// What a function returns that does nothing else.
    fn result(self, function: &StmtFunctionDef, call: &ExprCall, depth: usize) -> Option<String> {
        let statements: Vec<_> = function.body.iter().filter(|one| !is_docstring(one)).collect();
        let [Stmt::Return(result)] = statements[..] else { return None };
        if !call.arguments.is_empty() || !function.parameters.is_empty() {
            return None;
        }
        Some(self.spelled(result.value.as_deref()?, depth))
    }

    /// The type that a `TypeDecorator` has on PostgreSQL.
    fn class(self, class: &StmtClassDef, call: Option<(Types, &ExprCall)>, depth: usize) -> Option<String> {
        let base = class.bases().iter().find_map(|base| dotted(base)?.last().copied())?;
        if base != "TypeDecorator" || self.compiles(class) {
            return None;
        }
        let method = |name: &str| {
            class.body.iter().find_map(|statement| match statement {
                Stmt::FunctionDef(function) if function.name.as_str() == name => Some(function),
                _ => None,
            })
        };
        let always = assigned(&class.body, "impl")?;
        let inner = match method("load_dialect_impl") {
            Some(method) => self.descriptor(method, always)?,
            None => always,
        };
        let text = self.spelled(inner, depth);
        if inner != always || inner.is_call_expr() {
            // A type already, whatever the arguments are.
            return Some(text);
        }
        // The arguments are those of the class, unless its own `__init__` makes others of them.
        match call {
            _ if method("__init__").is_some() => None,
            Some((caller, call)) => Some(format!("{text}({})", caller.spelled_arguments(call, depth))),
            None => Some(text),
        }
    }

    fn spelled_arguments(self, call: &ExprCall, depth: usize) -> String {
        let arguments = call.arguments.iter_source_order().map(|argument| {
            let value = self.spelled(argument.value(), depth);
            match &argument {
                ruff_python_ast::ArgOrKeyword::Keyword(keyword) => match &keyword.arg {
                    Some(name) => format!("{name}={value}"),
                    None => format!("**{value}"),
                },
                ruff_python_ast::ArgOrKeyword::Arg(_) => value,
            }
        });
        arguments.collect::<Vec<_>>().join(", ")
    }

    /// Whether a function of the file says how a type is spelled: `@compiles(Type, "postgresql")`.
    fn compiles(self, class: &StmtClassDef) -> bool {
        let is_its = |decorator: &Decorator| match &decorator.expression {
            Expr::Call(call) if callee(call) == Some("compiles") => {
                matches!(call.arguments.args.first(), Some(Expr::Name(name)) if *name.id == *class.name)
            }
            _ => false,
        };
        self.module.body().iter().any(|statement| match statement {
            Stmt::FunctionDef(function) => function.decorator_list.iter().any(is_its),
            _ => false,
        })
    }

    /// What `load_dialect_impl` returns on PostgreSQL, which may be the type that it has in any case.
    fn descriptor<'e>(self, method: &'e StmtFunctionDef, always: &'e Expr) -> Option<&'e Expr> {
        let dialect = method.parameters.iter().nth(1)?.name().as_str();
        let mut scope = self.scope.clone();
        scope.bind(dialect, Value::Dialect);
        let result = returned(&method.body, &scope)?;
        let described = match result {
            Expr::Call(call)
                if dotted(&call.func).is_some_and(|path| path.ends_with(&["type_descriptor"])) =>
            {
                call.arguments.args.first()?
            }
            other => other,
        };
        let is_own = match described {
            Expr::Call(call) => matches!(&*call.func, Expr::Attribute(method)
                if method.attr.as_str() == "load_dialect_impl"),
            Expr::Attribute(attribute) => attribute.attr.as_str().starts_with("impl"),
            _ => false,
        };
        Some(if is_own { always } else { described })
    }
}

/// What a body returns on PostgreSQL, if that is all it does.
fn returned<'a>(body: &'a [Stmt], scope: &Scope) -> Option<&'a Expr> {
    for statement in body.iter().filter(|one| !is_docstring(one)) {
        match statement {
            Stmt::Return(result) => return result.value.as_deref(),
            Stmt::If(branch) => {
                let rest = branch.elif_else_clauses.iter().map(|clause| (clause.test.as_ref(), &clause.body));
                for (test, body) in std::iter::once((Some(&*branch.test), &branch.body)).chain(rest) {
                    if test.map_or(Some(true), |test| scope.condition(test, "postgresql"))? {
                        return returned(body, scope);
                    }
                }
            }
            _ => return None,
        }
    }
    None
}

/// What a call takes from other modules, and might be types.
pub(super) fn foreign(call: &ExprCall, scope: &Scope) -> BTreeSet<String> {
    let mut found = Foreign { scope, paths: BTreeSet::new() };
    found.visit_arguments(&call.arguments);
    found.paths
}

struct Foreign<'s> {
    scope: &'s Scope,
    paths: BTreeSet<String>,
}

impl<'a> Visitor<'a> for Foreign<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Some([root, rest @ ..]) = dotted(expr).as_deref()
            && let Some(Value::Foreign(module)) = self.scope.get(root)
        {
            let path = [&[module.as_str()], rest].concat().join(".");
            if let (false, Some((owner, _))) = (rest.is_empty(), path.rsplit_once('.')) {
                // It may be an attribute of a class.
                self.paths.insert(owner.to_owned());
            }
            self.paths.insert(path);
        }
        walk_expr(self, expr);
    }
}

/// Replaces the names of an expression.
struct Names<'a> {
    types: Types<'a>,
    depth: usize,
    edits: Vec<Edit>,
}

impl Names<'_> {
    fn put(&mut self, range: TextRange, text: String) {
        self.edits.retain(|edit| !range.contains_range(edit.range()));
        self.edits.push(edit::replace(range, text));
    }
}

impl<'a> Visitor<'a> for Names<'_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        let definition = match expr {
            Expr::Call(call) => self.types.definition(&call.func, Some(call), self.depth),
            Expr::Name(_) | Expr::Attribute(_) => self.types.definition(expr, None, self.depth),
            _ => None,
        };
        if let Some(text) = definition {
            return self.put(expr.range(), text);
        }
        let Expr::Name(name) = expr else { return walk_expr(self, expr) };
        let text = match self.types.scope.get(&name.id) {
            Some(Value::Int(number)) => number.to_string(),
            Some(Value::Bool(true)) => "True".to_owned(),
            Some(Value::Bool(false)) => "False".to_owned(),
            Some(Value::Foreign(path)) => path.clone(),
            // In another file it may have another name: `import sqlalchemy as db`.
            _ if (1..MAX_DEPTH).contains(&self.depth) => match imported(self.types.module, &name.id) {
                Some(path) => path,
                None => return,
            },
            _ => return,
        };
        self.put(name.range(), text);
    }
}

/// Where a name of SQLAlchemy's comes from.
fn imported(module: &Module, name: &str) -> Option<String> {
    let bound = |alias: &Alias| alias.asname.as_ref().unwrap_or(&alias.name).as_str() == name;
    let path = module.body().iter().find_map(|statement| match statement {
        Stmt::Import(import) => {
            import.names.iter().find(|alias| bound(alias)).map(|alias| alias.name.to_string())
        }
        Stmt::ImportFrom(import) => {
            let alias = import.names.iter().find(|alias| bound(alias))?;
            Some(format!("{}.{}", import.module.as_ref()?, alias.name))
        }
        _ => None,
    });
    path.filter(|path| path.split('.').next() == Some("sqlalchemy"))
}

/// Counts what binds a name, anywhere in a file.
struct Bindings<'n> {
    name: &'n str,
    count: usize,
}

impl Bindings<'_> {
    fn note(&mut self, name: &str) {
        self.count += usize::from(name == self.name);
    }
}

impl<'a> Visitor<'a> for Bindings<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => self.note(&function.name),
            Stmt::ClassDef(class) => self.note(&class.name),
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr
            && name.ctx != ExprContext::Load
        {
            self.note(&name.id);
        }
        walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.note(&parameter.name);
        walk_parameter(self, parameter);
    }

    fn visit_alias(&mut self, alias: &'a Alias) {
        self.note(alias.asname.as_ref().unwrap_or(&alias.name));
        walk_alias(self, alias);
    }
}
