//! Which metadata an `env.py` gives to Alembic: the naming convention is that of its modules.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt};

use crate::python::Module;

const METADATA: &str = "target_metadata";

/// The modules from which an `env.py` takes what it gives to Alembic as metadata, empty for a relative import;
/// `None` when it gives none. What it makes itself comes from no module.
#[must_use]
pub fn origins(env: &Module) -> Option<Vec<String>> {
    let mut reader = Reader::default();
    reader.visit_body(env.body());
    let mut given = false;
    let mut modules = Vec::new();
    for name in reader.given {
        let import = reader.imports.get(name);
        // `context.configure(target_metadata=target_metadata)` only passes on what was imported or assigned above.
        if name == METADATA && import.is_none() {
            continue;
        }
        given = true;
        modules.extend(import.cloned());
    }
    given.then_some(modules)
}

#[derive(Default)]
struct Reader<'a> {
    /// The modules of the names that are imported.
    imports: BTreeMap<&'a str, String>,
    /// The names of what is given, as far as it has one.
    given: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    fn gives(&mut self, value: &'a Expr) {
        match value {
            // Alembic asks the object for an attribute `naming_convention`; a list has none.
            Expr::NoneLiteral(_) | Expr::List(_) | Expr::Tuple(_) => {}
            _ => self.given.push(root(value)),
        }
    }
}

/// `Base` of `Base.metadata`.
fn root(value: &Expr) -> &str {
    match value {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => root(&attribute.value),
        Expr::Call(call) => root(&call.func),
        Expr::Subscript(subscript) => root(&subscript.value),
        _ => "",
    }
}

impl<'a> Visitor<'a> for Reader<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let is_metadata = |target: &Expr| matches!(target, Expr::Name(name) if name.id.as_str() == METADATA);
        match statement {
            Stmt::Assign(assign) if assign.targets.iter().any(is_metadata) => self.gives(&assign.value),
            Stmt::AnnAssign(assign) if is_metadata(&assign.target) => {
                if let Some(value) = &assign.value {
                    self.gives(value);
                }
            }
            Stmt::ImportFrom(import) => {
                let module = match &import.module {
                    Some(module) if import.level == 0 => module.as_str(),
                    _ => "",
                };
                for alias in &import.names {
                    let bound = alias.asname.as_ref().unwrap_or(&alias.name).as_str();
                    self.imports.insert(bound, module.to_owned());
                    if bound == METADATA {
                        self.given.push(METADATA);
                    }
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let name = alias.name.as_str();
                    let bound = alias
                        .asname
                        .as_ref()
                        .map_or_else(|| name.split('.').next().unwrap_or(name), |asname| asname.as_str());
                    self.imports.insert(bound, name.to_owned());
                }
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Call(call) => {
                if let Some(argument) = call.arguments.find_keyword(METADATA) {
                    self.gives(&argument.value);
                }
            }
            Expr::Dict(dict) => {
                let is_key =
                    |key: &Expr| matches!(key, Expr::StringLiteral(text) if text.value.to_str() == METADATA);
                for item in dict.items.iter().filter(|item| item.key.as_ref().is_some_and(is_key)) {
                    self.gives(&item.value);
                }
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}
