//! Names: what they are in an expression, and where a file has them from.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr, Stmt};

use super::Import;
use crate::operations::callee;

/// `a.b.c` of a chain of attributes; empty for anything else.
pub(in crate::application) fn dotted(expression: &Expr) -> String {
    match expression {
        Expr::Name(name) => name.id.to_string(),
        Expr::Attribute(attribute) => {
            let owner = dotted(&attribute.value);
            if owner.is_empty() { attribute.attr.to_string() } else { format!("{owner}.{}", attribute.attr) }
        }
        Expr::Call(call) => dotted(&call.func),
        Expr::Subscript(subscript) => dotted(&subscript.value),
        _ => String::new(),
    }
}

/// What is called, or the expression itself.
pub(super) fn called(expression: &Expr) -> &Expr {
    match expression {
        Expr::Call(call) => &call.func,
        other => other,
    }
}

pub(super) fn callee_of(expression: &Expr) -> Option<&str> {
    expression.as_call_expr().and_then(callee)
}

/// All names in an annotation, also in one that is quoted.
pub(super) fn words(expression: &Expr, out: &mut String) {
    match expression {
        Expr::Subscript(subscript) => {
            words(&subscript.value, out);
            words(&subscript.slice, out);
        }
        Expr::BinOp(binary) => {
            words(&binary.left, out);
            words(&binary.right, out);
        }
        Expr::Tuple(tuple) => tuple.elts.iter().for_each(|element| words(element, out)),
        Expr::Call(call) => {
            words(&call.func, out);
            call.arguments.args.iter().for_each(|argument| words(argument, out));
        }
        Expr::StringLiteral(text) => {
            for word in text.value.to_str().split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.') {
                out.push_str(&format!(" {word}"));
            }
        }
        Expr::NoneLiteral(_) => out.push_str(" None"),
        other => out.push_str(&format!(" {}", dotted(other))),
    }
}

pub(super) fn imports(body: &[Stmt]) -> BTreeMap<String, Import> {
    let mut found = BTreeMap::new();
    let mut stack: Vec<&Stmt> = body.iter().collect();
    while let Some(statement) = stack.pop() {
        match statement {
            Stmt::ImportFrom(import) => {
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                let module = format!("{}{module}", ".".repeat(import.level as usize));
                for alias in &import.names {
                    let bound = alias.asname.as_ref().unwrap_or(&alias.name).to_string();
                    found.insert(bound, Import { module: module.clone(), name: alias.name.to_string() });
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let bound = match &alias.asname {
                        Some(name) => name.to_string(),
                        None => alias.name.split('.').next().unwrap_or_default().to_owned(),
                    };
                    found.insert(bound, Import { module: alias.name.to_string(), name: String::new() });
                }
            }
            Stmt::If(branch) => stack.extend(&branch.body),
            Stmt::Try(block) => stack.extend(&block.body),
            // Imports inside of functions avoid circles; the names are the same.
            Stmt::FunctionDef(function) => {
                stack.extend(function.body.iter().filter(|statement| statement.is_import_from_stmt()));
            }
            Stmt::ClassDef(class) => {
                stack.extend(class.body.iter().filter(|statement| statement.is_function_def_stmt()));
            }
            _ => {}
        }
    }
    found
}
