//! The statements of `upgrade` or `downgrade` between which a migration can be cut.

use std::collections::BTreeSet;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, ExprContext, Stmt, StmtFunctionDef, StmtWith};
use ruff_text_size::{Ranged, TextRange};

use crate::layout::helpers::{self, Helper};
use crate::migration::{Direction, Migration};
use crate::operations::{self, Functions, Operation};
use crate::python::is_docstring;
use crate::python::scope::Scope;
use crate::python::value::Dialects;
use crate::recipe::Phase;

/// A statement of a function, or one of those in an autocommit block that stands directly in the function.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    pub(super) statement: &'a Stmt,
    /// The block that it stands in.
    pub(super) block: Option<&'a StmtWith>,
    pub(super) role: Role,
    pub(super) operations: Vec<&'a Operation>,
    /// The names that it reads, and those that it binds.
    pub(super) names: Names<'a>,
}

/// What a statement is to those around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It only gives a name to something that is the same whenever it is asked for.
    Definition,
    /// It ends the function on other databases.
    Guard,
    /// It does nothing to the database: it goes with its neighbours.
    Neutral,
    /// It runs in the migration's transaction.
    Transaction,
    /// It runs in an autocommit block, or holds one; with the phase of a type change that it is a step of.
    Block(Option<Phase>),
}

/// The names that a statement reads and binds.
#[derive(Debug, Default)]
pub(super) struct Names<'a> {
    pub(super) read: BTreeSet<&'a str>,
    pub(super) bound: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    pub(super) fn of(statement: &'a Stmt) -> Self {
        let mut names = Self::default();
        names.visit_stmt(statement);
        names
    }
}

impl<'a> Visitor<'a> for Names<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => drop(self.bound.insert(function.name.as_str())),
            Stmt::ClassDef(class) => {
                self.bound.insert(class.name.as_str());
                for inner in &class.body {
                    Written(&mut self.read).visit_stmt(inner);
                }
            }
            Stmt::Import(import) => {
                let bound = import.names.iter().map(|alias| {
                    let whole = alias.name.as_str();
                    alias
                        .asname
                        .as_ref()
                        .map_or_else(|| whole.split('.').next().unwrap_or(whole), |name| name.as_str())
                });
                self.bound.extend(bound);
            }
            Stmt::ImportFrom(import) => {
                let bound =
                    import.names.iter().map(|alias| alias.asname.as_ref().unwrap_or(&alias.name).as_str());
                self.bound.extend(bound);
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(name) = expr {
            match name.ctx {
                ExprContext::Store | ExprContext::Del => self.bound.insert(name.id.as_str()),
                _ => self.read.insert(name.id.as_str()),
            };
        }
        walk_expr(self, expr);
    }
}

/// SQLAlchemy finds classes by what a string calls them: `relationship("Department")`.
struct Written<'a, 'b>(&'b mut BTreeSet<&'a str>);

impl<'a> Visitor<'a> for Written<'a, '_> {
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::StringLiteral(text) = expr {
            let words =
                text.value.to_str().split(|character: char| !character.is_alphanumeric() && character != '_');
            self.0.extend(words.filter(|word| !word.is_empty()));
        }
        walk_expr(self, expr);
    }
}

/// A function, taken apart.
#[derive(Debug)]
pub(super) struct Function<'a> {
    pub(super) definition: &'a StmtFunctionDef,
    pub(super) leaves: Vec<Leaf<'a>>,
}

impl<'a> Function<'a> {
    /// # Errors
    /// Why it can't be cut anywhere.
    pub(super) fn of(migration: &'a Migration, direction: Direction) -> Result<Option<Self>, String> {
        let name = match direction {
            Direction::Upgrade => "upgrade",
            Direction::Downgrade => "downgrade",
        };
        let definition = migration.module.body().iter().rev().find_map(|statement| match statement {
            Stmt::FunctionDef(function) if function.name.as_str() == name => Some(function),
            _ => None,
        });
        let Some(definition) = definition else { return Ok(None) };
        let operations = &migration.walked(direction).operations;
        let mut scope = Functions::new(&migration.module).scope().clone();
        let mut leaves: Vec<Leaf> = Vec::new();
        for (index, statement) in definition.body.iter().enumerate() {
            if index == 0 && is_docstring(statement) {
                continue;
            }
            let block = match statement {
                Stmt::With(with) if is_autocommit_block(with) => Some(with),
                _ => None,
            };
            let inner = block.map_or(std::slice::from_ref(statement), |with| &with.body);
            let mut phase = None;
            for statement in inner {
                let within =
                    |operation: &&Operation| statement.range().contains_range(operation.origin.within);
                let operations: Vec<&Operation> = operations.iter().filter(within).collect();
                // `ANALYZE` and the like belong to the step before.
                phase = match phase_of(statement) {
                    None if operations.iter().any(|operation| operation.kind.table().is_some()) => None,
                    None => phase,
                    known => known,
                };
                let role = match block {
                    Some(_) => Role::Block(phase),
                    None => role(statement, &operations, &scope)?,
                };
                operations::assign(statement, &mut scope);
                leaves.push(Leaf { statement, block, role, operations, names: Names::of(statement) });
            }
        }
        let lines = leaves.windows(2).any(|pair| {
            let between = TextRange::new(pair[0].statement.end(), pair[1].statement.start());
            !migration.module.text(between).contains('\n')
        });
        let first = definition.body.first().map_or_else(|| definition.end(), Ranged::start);
        let header = TextRange::new(definition.start(), first);
        if lines || !migration.module.text(header).contains('\n') {
            return Err(format!("several statements of `{name}` share a line"));
        }
        Ok(Some(Self { definition, leaves }))
    }

    /// Whether it does nothing, or only says that it can't be done.
    pub(super) fn is_trivial(&self) -> bool {
        let raises = |leaf: &Leaf| leaf.statement.is_raise_stmt();
        self.leaves.iter().all(|leaf| leaf.role == Role::Neutral || raises(leaf))
    }
}

fn is_autocommit_block(with: &StmtWith) -> bool {
    matches!(&*with.items, [item] if opens_block(&item.context_expr))
}

/// `op.get_context()` of a `with op.get_context().autocommit_block()`.
pub(super) fn context_of(with: &StmtWith) -> Option<&Expr> {
    let attribute = with.items.first()?.context_expr.as_call_expr()?.func.as_attribute_expr()?;
    Some(&attribute.value)
}

fn opens_block(expr: &Expr) -> bool {
    matches!(expr, Expr::Call(call)
        if matches!(&*call.func, Expr::Attribute(attribute) if attribute.attr.as_str() == "autocommit_block"))
}

/// The phase of a type change that a statement is a step of.
pub(super) fn phase_of(statement: &Stmt) -> Option<Phase> {
    let Stmt::Expr(expression) = statement else { return None };
    let call = expression.value.as_call_expr()?;
    helpers::ALL.into_iter().find(|helper| helper.is_spelled(&call.func)).and_then(Helper::phase)
}

/// # Errors
/// Why nothing can be cut around it.
fn role(statement: &Stmt, operations: &[&Operation], scope: &Scope) -> Result<Role, String> {
    let mut found = Found::default();
    found.visit_stmt(statement);
    if let Stmt::If(branch) = statement
        && matches!(&*branch.body, [Stmt::Return(end)] if end.value.is_none())
        && branch.elif_else_clauses.is_empty()
        && Dialects::each().all(|(_, name)| scope.condition(&branch.test, name).is_some())
    {
        return Ok(Role::Guard);
    }
    if found.leaves && !statement.is_raise_stmt() {
        return Err("a `return` in the middle of it may end it".to_owned());
    }
    Ok(if found.block {
        Role::Block(None)
    } else if !operations.is_empty() {
        Role::Transaction
    } else if is_definition(statement) {
        Role::Definition
    } else if found.calls {
        // What it does is not known.
        Role::Transaction
    } else {
        Role::Neutral
    })
}

/// What is inside of a statement.
#[derive(Default)]
struct Found {
    block: bool,
    leaves: bool,
    calls: bool,
}

impl<'a> Visitor<'a> for Found {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Return(_) | Stmt::Raise(_) => self.leaves = true,
            Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return,
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        self.block |= opens_block(expr);
        self.calls |= expr.is_call_expr();
        walk_expr(self, expr);
    }
}

/// Whether a statement only gives a name to what is the same whenever it is asked for: text, tables and columns as
/// SQLAlchemy describes them, the migration's own connection.
fn is_definition(statement: &Stmt) -> bool {
    let (targets, value) = match statement {
        Stmt::Assign(assignment) => (&*assignment.targets, Some(&*assignment.value)),
        Stmt::AnnAssign(assignment) => {
            (std::slice::from_ref(&*assignment.target), assignment.value.as_deref())
        }
        Stmt::Import(_) | Stmt::ImportFrom(_) | Stmt::FunctionDef(_) | Stmt::ClassDef(_) => return true,
        _ => return false,
    };
    let is_name = |target: &Expr| target.is_name_expr();
    let asks = |expr: &Expr| matches!(expr, Expr::Call(call) if !is_description(call));
    let awaits = |expr: &Expr| expr.is_await_expr() || expr.is_yield_expr();
    targets.iter().all(is_name)
        && value.is_some_and(|value| {
            !ruff_python_ast::helpers::any_over_expr(value, &|expr: &Expr| asks(expr) || awaits(expr))
        })
}

/// A call that describes something, or hands out what the whole migration uses.
fn is_description(call: &ExprCall) -> bool {
    /// What SQLAlchemy asks a database for, or changes it with.
    const ACTS: &[&str] = &["Session", "Inspector"];
    const DESCRIBES: &[&str] =
        &["get_bind", "get_context", "f", "table", "column", "text", "literal", "format", "dedent"];
    let (callee, root) = match &*call.func {
        Expr::Attribute(attribute) => (attribute.attr.as_str(), &*attribute.value),
        Expr::Name(name) => (name.id.as_str(), &*call.func),
        _ => return false,
    };
    // `postgresql.ENUM(…)`, but no method of what another call gives, except of text.
    let is_plain = root.is_name_expr() || root.is_attribute_expr() || root.is_string_literal_expr();
    let is_class = callee.starts_with(|first: char| first.is_ascii_uppercase());
    let reflects = call
        .arguments
        .keywords
        .iter()
        .any(|keyword| keyword.arg.as_ref().is_some_and(|name| name.as_str().starts_with("autoload")));
    is_plain && !reflects && !ACTS.contains(&callee) && (is_class || DESCRIBES.contains(&callee))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::Module;

    #[test]
    fn a_class_needs_what_its_strings_name_and_a_call_does_not() {
        let source = "class A(Base):\n    b = relationship('Bee', primaryjoin='A.id == Sea.id')\nop.drop_table('Dee')\n";
        let module = Module::parse(source.to_owned()).expect("Python");
        let mut names = Names::default();
        for statement in module.body() {
            names.visit_stmt(statement);
        }
        assert!(["Bee", "Sea"].iter().all(|name| names.read.contains(name)));
        assert!(!names.read.contains("Dee"));
    }
}
