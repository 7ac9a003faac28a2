//! Code that SQLAlchemy calls for each constraint, and that names it.
//!
//! The event is `after_parent_attach` (SQLAlchemy's `events.rst`, `DDLEvents`). What Alembic creates is attached to a
//! table, too, so that it gets the name; SQL does not.

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{CmpOp, Expr, ExprCall, Stmt, StmtFunctionDef, UnaryOp};
use ruff_text_size::{Ranged, TextSize};

use crate::operations::ConstraintKind;
use crate::python::Module;

/// The name of the event.
pub const EVENT: &str = "after_parent_attach";

/// A function that is called for each constraint of some kinds, and names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    pub place: TextSize,
    pub kinds: Vec<ConstraintKind>,
    /// Whether it also changes the name that somebody gave.
    pub renames: bool,
}

/// The listeners of a module, in its order.
#[must_use]
pub fn listeners(module: &Module) -> Vec<Listener> {
    let mut reader = Reader::default();
    reader.visit_body(module.body());
    let Reader { functions, mut registered } = reader;
    registered.sort_by_key(|(_, _, place)| *place);
    let listener = |(kinds, function, place): (Vec<ConstraintKind>, &str, TextSize)| {
        // One that is imported may do anything.
        let renames = match functions.get(function) {
            Some(function) => !respects_names(function),
            None => true,
        };
        Listener { place, kinds, renames }
    };
    let names = |function: &str| functions.get(function).is_none_or(|function| assigns_name(function));
    registered.into_iter().filter(|(_, function, _)| names(function)).map(listener).collect()
}

#[derive(Default)]
struct Reader<'a> {
    functions: BTreeMap<&'a str, &'a StmtFunctionDef>,
    /// The kinds, the function and the place of the registration.
    registered: Vec<(Vec<ConstraintKind>, &'a str, TextSize)>,
}

impl<'a> Visitor<'a> for Reader<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::FunctionDef(function) => {
                self.functions.insert(&function.name, function);
                // `@event.listens_for(UniqueConstraint, "after_parent_attach")`
                for decorator in &function.decorator_list {
                    if let Some(kinds) = registration(&decorator.expression, "listens_for") {
                        self.registered.push((kinds, &function.name, function.name.start()));
                    }
                }
            }
            // `event.listen(UniqueConstraint, "after_parent_attach", name_it)`
            Stmt::Expr(expr) => {
                if let Some(kinds) = registration(&expr.value, "listen")
                    && let Expr::Call(call) = &*expr.value
                    && let Some(Expr::Name(function)) = call.arguments.find_argument_value("fn", 2)
                {
                    self.registered.push((kinds, &function.id, call.start()));
                }
            }
            _ => {}
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, _: &'a Expr) {}
}

/// The kinds of constraints that a call registers a function for.
fn registration(expr: &Expr, verb: &str) -> Option<Vec<ConstraintKind>> {
    let Expr::Call(ExprCall { func, arguments, .. }) = expr else { return None };
    let last = |expr: &Expr| match expr {
        Expr::Name(name) => Some(name.id.to_string()),
        Expr::Attribute(attribute) => Some(attribute.attr.to_string()),
        _ => None,
    };
    let is_event = |expr: &Expr| matches!(expr, Expr::StringLiteral(text) if text.value.to_str() == EVENT);
    if last(func)? != verb || !is_event(arguments.find_argument_value("identifier", 1)?) {
        return None;
    }
    Some(match last(arguments.find_argument_value("target", 0)?)?.as_str() {
        "PrimaryKeyConstraint" => vec![ConstraintKind::PrimaryKey],
        "UniqueConstraint" => vec![ConstraintKind::Unique],
        "ForeignKeyConstraint" => vec![ConstraintKind::ForeignKey],
        "CheckConstraint" => vec![ConstraintKind::Check],
        "ExcludeConstraint" => vec![ConstraintKind::Exclude],
        "Constraint" | "ColumnCollectionConstraint" => ConstraintKind::ALL.to_vec(),
        _ => return None,
    })
}

/// Whether a function gives its first argument a name.
fn assigns_name(function: &StmtFunctionDef) -> bool {
    first_parameter(function).is_none_or(|constraint| assigns(&function.body, constraint))
}

/// Whether it names only what has no name: `if const.name: return` in front of all else, or all of it in
/// `if const.name is None:`.
fn respects_names(function: &StmtFunctionDef) -> bool {
    let Some(constraint) = first_parameter(function) else { return false };
    let is_text =
        |statement: &&Stmt| matches!(statement, Stmt::Expr(expr) if expr.value.is_string_literal_expr());
    let body = &function.body[function.body.iter().take_while(is_text).count()..];
    let Some((Stmt::If(first), rest)) = body.split_first() else { return false };
    let others = || first.elif_else_clauses.iter().any(|clause| assigns(&clause.body, constraint));
    if is_name_of(&first.test, constraint) {
        return matches!(first.body.last(), Some(Stmt::Return(_)));
    }
    let has_none = match &*first.test {
        Expr::UnaryOp(not) => not.op == UnaryOp::Not && is_name_of(&not.operand, constraint),
        Expr::Compare(compare) => {
            is_name_of(&compare.left, constraint)
                && *compare.ops == [CmpOp::Is]
                && compare.comparators.iter().all(Expr::is_none_literal_expr)
        }
        _ => false,
    };
    has_none && !others() && !assigns(rest, constraint)
}

/// Whether statements give a constraint a name.
fn assigns(body: &[Stmt], constraint: &str) -> bool {
    struct Find<'a> {
        constraint: &'a str,
        found: bool,
    }
    impl Visitor<'_> for Find<'_> {
        fn visit_stmt(&mut self, statement: &Stmt) {
            if let Stmt::Assign(assign) = statement {
                self.found |= assign.targets.iter().any(|target| is_name_of(target, self.constraint));
            }
            walk_stmt(self, statement);
        }
    }
    let mut find = Find { constraint, found: false };
    find.visit_body(body);
    find.found
}

fn first_parameter(function: &StmtFunctionDef) -> Option<&str> {
    function.parameters.iter_non_variadic_params().next().map(|parameter| parameter.name().as_str())
}

/// `const.name`.
fn is_name_of(expr: &Expr, constraint: &str) -> bool {
    matches!(expr, Expr::Attribute(attribute) if attribute.attr.as_str() == "name"
        && matches!(&*attribute.value, Expr::Name(name) if name.id.as_str() == constraint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<(Vec<ConstraintKind>, bool)> {
        let module = Module::parse(source.to_owned()).unwrap();
        listeners(&module).into_iter().map(|listener| (listener.kinds, listener.renames)).collect()
    }

    #[test]
    fn decorated_and_registered() {
        let respectful = "\
@event.listens_for(UniqueConstraint, \"after_parent_attach\")
def name_it(const, table):
    \"\"\"Names.\"\"\"
    if const.name:
        return
    const.name = table.name
";
        assert_eq!(read(respectful), [(vec![ConstraintKind::Unique], false)]);
        let without_return =
            respectful.replace("    if const.name:\n        return\n", "    if const.name is None:\n    ");
        assert_eq!(read(&without_return), [(vec![ConstraintKind::Unique], false)]);
        let others = format!("{without_return}    elif table.name == 'a':\n        const.name = 'b'\n");
        assert_eq!(read(&others), [(vec![ConstraintKind::Unique], true)]);
        let always = "\
def name_it(const, table):
    if table.name == 'a':
        const.name = 'b'

event.listen(sa.PrimaryKeyConstraint, 'after_parent_attach', name_it)
event.listen(CheckConstraint, 'after_parent_attach', imported)
";
        assert_eq!(
            read(always),
            [(vec![ConstraintKind::PrimaryKey], true), (vec![ConstraintKind::Check], true)]
        );
    }

    #[test]
    fn others() {
        assert_eq!(
            read(
                "\
@event.listens_for(UniqueConstraint, 'after_parent_attach')
def count(const, table):
    print(const.name)

@event.listens_for(Table, 'after_parent_attach')
@event.listens_for(UniqueConstraint, 'before_parent_attach')
def other(const, table):
    const.name = 'x'
"
            ),
            []
        );
    }
}
