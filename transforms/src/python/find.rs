//! The part of a tree that stands at a place.

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtAssign};
use ruff_text_size::{Ranged, TextRange};

/// The assignment of a text that stands in front of a statement, in the same suite.
pub(crate) fn find_assignment(body: &[Stmt], text: TextRange, statement: TextRange) -> Option<&StmtAssign> {
    struct Find<'a> {
        text: TextRange,
        statement: TextRange,
        found: Option<&'a StmtAssign>,
    }
    impl<'a> Visitor<'a> for Find<'a> {
        fn visit_body(&mut self, body: &'a [Stmt]) {
            if let Some(index) = body.iter().position(|one| one.range() == self.statement) {
                self.found = body[..index].iter().find_map(|one| {
                    one.as_assign_stmt().filter(|one| one.value.range().contains_range(self.text))
                });
            } else {
                let around = |one: &&Stmt| one.range().contains_range(self.statement);
                if let Some(around) = body.iter().find(around) {
                    walk_stmt(self, around);
                }
            }
        }
    }
    let mut find = Find { text, statement, found: None };
    find.visit_body(body);
    find.found
}

/// Find the call at a place.
pub(crate) fn find_call(body: &[Stmt], range: TextRange) -> Option<&ExprCall> {
    struct Find<'a> {
        range: TextRange,
        found: Option<&'a ExprCall>,
    }
    impl<'a> Visitor<'a> for Find<'a> {
        fn visit_stmt(&mut self, statement: &'a Stmt) {
            if statement.range().contains_range(self.range) {
                walk_stmt(self, statement);
            }
        }
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Call(call) = expr
                && call.range() == self.range
            {
                self.found = Some(call);
            } else if expr.range().contains_range(self.range) {
                walk_expr(self, expr);
            }
        }
    }
    let mut find = Find { range, found: None };
    for statement in body {
        find.visit_stmt(statement);
    }
    find.found
}
