//! What assignments, imports and definitions bind names to.

use ruff_python_ast::{Expr, Parameters, Stmt};

use super::super::modules::Modules;
use crate::python::scope::Scope;
use crate::python::value::Value;

/// Packages whose functions never change a database by themselves.
const HARMLESS_PACKAGES: &[&str] = &[
    "sqlalchemy",
    "sqlalchemy_utils",
    "sqlmodel",
    "geoalchemy2",
    "pgvector",
    "alembic",
    "typing",
    "typing_extensions",
    "__future__",
    "os",
    "sys",
    "re",
    "json",
    "uuid",
    "datetime",
    "time",
    "enum",
    "logging",
    "warnings",
    "contextlib",
    "itertools",
    "functools",
    "collections",
    "math",
    "random",
    "string",
    "secrets",
    "hashlib",
    "base64",
    "copy",
    "decimal",
    "dataclasses",
    "operator",
    "pathlib",
    "textwrap",
    "calendar",
    "pickle",
    "inspect",
    "traceback",
    "tempfile",
    "zlib",
    "platform",
    "io",
    "structlog",
    "loguru",
    "oslo_log",
    "oslo_utils",
    "dateutil",
    "pytz",
    "pendulum",
    "numpy",
    "yaml",
];

pub(super) fn parameter_names(parameters: &Parameters) -> impl Iterator<Item = &str> {
    parameters.iter().map(|parameter| parameter.name().as_str())
}

/// Bind the names that a simple statement binds.
pub(crate) fn assign(statement: &Stmt, scope: &mut Scope) {
    match statement {
        Stmt::Assign(assignment) => {
            let value = scope.eval(&assignment.value);
            for target in &assignment.targets {
                scope.assign(target, &value);
            }
        }
        Stmt::AnnAssign(assignment) => {
            if let Some(value) = &assignment.value {
                let value = scope.eval(value);
                scope.assign(&assignment.target, &value);
            }
        }
        Stmt::AugAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
        Stmt::ClassDef(class) => {
            let attributes = class.body.iter().filter_map(|statement| match statement {
                Stmt::Assign(assignment) => match assignment.targets.as_slice() {
                    [Expr::Name(name)] => Some((name.id.to_string(), scope.eval(&assignment.value))),
                    _ => None,
                },
                _ => None,
            });
            let attributes = attributes.collect();
            scope.bind(&class.name, Value::Class(attributes));
        }
        Stmt::Import(import) => {
            for alias in &import.names {
                let name = alias.name.as_str();
                let (root, _) = name.split_once('.').unwrap_or((name, ""));
                let (bound, value) = match &alias.asname {
                    Some(asname) => (asname.as_str(), imported(name)),
                    None => (root, imported(root)),
                };
                scope.bind(bound, value);
            }
        }
        Stmt::ImportFrom(import) => {
            let from = import.module.as_ref().map_or("", |module| module.as_str());
            for alias in &import.names {
                let name = alias.name.as_str();
                let bound = alias.asname.as_ref().map_or(name, |asname| asname.as_str());
                let value = match from {
                    "alembic.op" => Value::OpFunction(name.to_owned()),
                    _ if import.level == 0 => imported(&format!("{from}.{name}")),
                    _ => Value::Foreign(format!("{}{from}", ".".repeat(import.level as usize))),
                };
                scope.bind(bound, value);
            }
        }
        _ => {}
    }
}

/// Bind what a module takes from its own package: `from .indexes import add_index`.
pub(super) fn bind_relative(
    statement: &Stmt,
    modules: Option<&Modules>,
    module: Option<&str>,
    scope: &mut Scope,
) {
    let (Stmt::ImportFrom(import), Some(modules), Some(module)) = (statement, modules, module) else {
        return;
    };
    let from = import.module.as_ref().map_or("", |from| from.as_str());
    if import.level > 0
        && let Some(from) = modules.absolute(module, import.level, from)
    {
        for alias in &import.names {
            let bound = alias.asname.as_ref().unwrap_or(&alias.name);
            scope.bind(bound, Value::Foreign(format!("{from}.{}", alias.name)));
        }
    }
}

fn imported(name: &str) -> Value {
    let root = name.split('.').next().unwrap_or(name);
    match name {
        "alembic" => Value::Alembic,
        "alembic.op" => Value::Op,
        "alembic.context" => Value::Context,
        _ if HARMLESS_PACKAGES.contains(&root) => Value::Unknown,
        _ => Value::Foreign(name.to_owned()),
    }
}

/// The names that a body binds anywhere become unknown.
pub(super) fn forget_assigned(body: &[Stmt], scope: &mut Scope) {
    for statement in body {
        match statement {
            Stmt::Assign(assignment) => {
                for target in &assignment.targets {
                    scope.assign(target, &Value::Unknown);
                }
            }
            Stmt::AugAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
            Stmt::AnnAssign(assignment) => scope.assign(&assignment.target, &Value::Unknown),
            Stmt::For(block) => {
                scope.assign(&block.target, &Value::Unknown);
                forget_assigned(&block.body, scope);
            }
            Stmt::While(block) => forget_assigned(&block.body, scope),
            Stmt::With(block) => forget_assigned(&block.body, scope),
            Stmt::If(branch) => {
                forget_assigned(&branch.body, scope);
                for clause in &branch.elif_else_clauses {
                    forget_assigned(&clause.body, scope);
                }
            }
            Stmt::Try(block) => forget_assigned(&block.body, scope),
            _ => {}
        }
    }
}

/// What a name is assigned, anywhere in these statements.
pub(crate) fn assigned<'a>(body: &'a [Stmt], name: &str) -> Option<&'a Expr> {
    body.iter().find_map(|statement| match statement {
        Stmt::Assign(assign) => match &assign.targets[..] {
            [Expr::Name(target)] if target.id.as_str() == name => Some(&*assign.value),
            _ => None,
        },
        Stmt::AnnAssign(assign) => match &*assign.target {
            Expr::Name(target) if target.id.as_str() == name => assign.value.as_deref(),
            _ => None,
        },
        Stmt::FunctionDef(function) => assigned(&function.body, name),
        _ => None,
    })
}
