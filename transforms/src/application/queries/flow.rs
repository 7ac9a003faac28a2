//! Follows a function statement by statement.

use ruff_python_ast::{ExceptHandler, Expr, Stmt, StmtClassDef, StmtFunctionDef};
use ruff_text_size::Ranged;

use super::super::models::dotted;
use super::{Reader, Scope, Value, common, lists};

impl<'a> Reader<'_, 'a> {
    pub(super) fn body(&mut self, body: &'a [Stmt], scope: &mut Scope) -> bool {
        for statement in body {
            if !self.statement(statement, scope) {
                return false;
            }
        }
        true
    }

    #[expect(clippy::too_many_lines, reason = "one arm per kind of statement")]
    /// Follow a statement; false when what stands behind it is not reached.
    fn statement(&mut self, statement: &'a Stmt, scope: &mut Scope) -> bool {
        match statement {
            Stmt::FunctionDef(function) => {
                lists::forget(scope);
                self.function(function, scope);
            }
            Stmt::ClassDef(class) => {
                lists::forget(scope);
                self.class(class, scope);
            }
            Stmt::Expr(expression) => {
                let value = self.eval(&expression.value, scope);
                self.run(value);
            }
            Stmt::Assign(assignment) => {
                let value = match &assignment.targets[..] {
                    [Expr::Name(_)] => self.list(&assignment.value, scope),
                    _ => None,
                };
                let value = value.unwrap_or_else(|| self.eval(&assignment.value, scope));
                for target in &assignment.targets {
                    self.bind(target, &value, scope);
                }
            }
            Stmt::AnnAssign(assignment) => {
                if let Some(value) = &assignment.value {
                    let list = self.list(value, scope);
                    let value = list.unwrap_or_else(|| self.eval(value, scope));
                    self.bind(&assignment.target, &value, scope);
                }
            }
            Stmt::AugAssign(assignment) => {
                if let Expr::Name(name) = &*assignment.target
                    && matches!(scope.get(name.id.as_str()), Some(Value::List(..)))
                    && let Some(more) = self.list(&assignment.value, scope)
                {
                    self.put_into(&name.id, more, scope);
                    return true;
                }
                let value = self.eval(&assignment.value, scope);
                self.run(value);
                self.bind(&assignment.target, &Value::Plain, scope);
            }
            Stmt::Return(result) => {
                if let Some(result) = &result.value {
                    let value = self.eval(result, scope);
                    self.give_away(value, "it is returned before it is run");
                }
                return false;
            }
            Stmt::Raise(raise) => {
                if let Some(exception) = &raise.exc {
                    let value = self.eval(exception, scope);
                    self.run(value);
                }
                return false;
            }
            Stmt::If(branch) => {
                let value = self.eval(&branch.test, scope);
                self.run(value);
                let mut ends = Vec::new();
                let mut then = scope.clone();
                if self.body(&branch.body, &mut then) {
                    ends.push(then);
                }
                let mut has_else = false;
                for clause in &branch.elif_else_clauses {
                    let mut other = scope.clone();
                    match &clause.test {
                        Some(test) => {
                            let value = self.eval(test, &mut other);
                            self.run(value);
                        }
                        None => has_else = true,
                    }
                    if self.body(&clause.body, &mut other) {
                        ends.push(other);
                    }
                }
                if !has_else {
                    ends.push(scope.clone());
                }
                return merge(ends, scope);
            }
            Stmt::For(block) => {
                let value = self.eval(&block.iter, scope);
                self.run(value);
                self.bind(&block.target, &Value::Plain, scope);
                self.optional(&block.body, scope);
                self.body(&block.orelse, scope);
            }
            Stmt::While(block) => {
                let value = self.eval(&block.test, scope);
                self.run(value);
                self.optional(&block.body, scope);
            }
            Stmt::With(block) => {
                for item in &block.items {
                    let value = self.eval(&item.context_expr, scope);
                    self.run(value);
                    if let Some(target) = &item.optional_vars {
                        self.bind(target, &Value::Plain, scope);
                    }
                }
                return self.body(&block.body, scope);
            }
            Stmt::Try(block) => {
                let before = scope.clone();
                let mut ends = Vec::new();
                let mut inner = scope.clone();
                if self.body(&block.body, &mut inner) && self.body(&block.orelse, &mut inner) {
                    ends.push(inner);
                }
                for handler in &block.handlers {
                    let ExceptHandler::ExceptHandler(handler) = handler;
                    let mut caught = before.clone();
                    if self.body(&handler.body, &mut caught) {
                        ends.push(caught);
                    }
                }
                let goes_on = merge(ends, scope);
                return self.body(&block.finalbody, scope) && goes_on;
            }
            Stmt::Match(block) => {
                let value = self.eval(&block.subject, scope);
                self.run(value);
                let mut ends = vec![scope.clone()];
                for case in &block.cases {
                    let mut inner = scope.clone();
                    if self.body(&case.body, &mut inner) {
                        ends.push(inner);
                    }
                }
                return merge(ends, scope);
            }
            Stmt::Assert(assertion) => {
                let value = self.eval(&assertion.test, scope);
                self.run(value);
            }
            Stmt::Break(_) | Stmt::Continue(_) => return false,
            _ => {}
        }
        true
    }

    /// A body that may run, and more than once.
    fn optional(&mut self, body: &'a [Stmt], scope: &mut Scope) {
        let mut inner = scope.clone();
        self.body(body, &mut inner);
        merge(vec![scope.clone(), inner], scope);
    }

    fn function(&mut self, function: &'a StmtFunctionDef, scope: &Scope) {
        if self.depth > 20 {
            return;
        }
        let mut inner = scope.clone();
        let parameters: Vec<_> =
            function.parameters.iter().map(|parameter| parameter.name().as_str()).collect();
        for parameter in &parameters {
            inner.insert((*parameter).to_owned(), Value::Plain);
        }
        let is_of_class =
            function.decorator_list.iter().any(|decorator| dotted(&decorator.expression) == "classmethod");
        if let (Some(model), true, Some(first)) = (self.inside, is_of_class, parameters.first()) {
            inner.insert((*first).to_owned(), Value::Entity(self.entity(model)));
        }
        self.depth += 1;
        let inside = self.inside.take();
        self.body(&function.body, &mut inner);
        self.inside = inside;
        self.depth -= 1;
    }

    fn class(&mut self, class: &'a StmtClassDef, scope: &Scope) {
        let inside = self
            .models
            .models
            .iter()
            .position(|model| model.file == self.file && model.range == class.range());
        let before = std::mem::replace(&mut self.inside, inside);
        for statement in &class.body {
            match statement {
                Stmt::FunctionDef(function) => self.function(function, scope),
                Stmt::ClassDef(inner) => self.class(inner, scope),
                _ => {}
            }
        }
        self.inside = before;
    }

    pub(super) fn bind(&mut self, target: &Expr, value: &Value, scope: &mut Scope) {
        match target {
            // What the module's own variables hold is known already.
            Expr::Name(name) if self.depth == 0 && self.models.variable(self.file, &name.id).is_some() => {}
            Expr::Name(name) => {
                scope.insert(name.id.to_string(), value.clone());
            }
            Expr::Tuple(tuple) => {
                self.run(value.clone());
                for element in &tuple.elts {
                    self.bind(element, &Value::Plain, scope);
                }
            }
            Expr::Starred(starred) => self.bind(&starred.value, &Value::Plain, scope),
            _ => self.give_away(value.clone(), "it is kept in an object"),
        }
    }
}

/// Several ways lead on: keep what they agree on. False when none does.
fn merge(mut ends: Vec<Scope>, scope: &mut Scope) -> bool {
    let Some(mut merged) = ends.pop() else { return false };
    for other in ends {
        let names: Vec<String> = merged.keys().chain(other.keys()).cloned().collect();
        for name in names {
            let value = match (merged.get(&name), other.get(&name)) {
                (Some(a), Some(b)) if a == b => continue,
                (Some(Value::Query(a)), Some(Value::Query(b))) if a.range == b.range => {
                    Value::Query(Box::new(common(a, b)))
                }
                (Some(Value::List(a, more)), Some(Value::List(b, others))) => {
                    lists::common((a, *more), (b, *others))
                }
                (Some(Value::Query(a)), Some(Value::Query(_))) => {
                    let mut query = a.clone();
                    query.unclear = Some("one of several queries".to_owned());
                    Value::Query(query)
                }
                (a, b) if is_plain(a) && is_plain(b) => Value::Plain,
                _ => Value::Unclear("a variable that holds one thing or another".to_owned()),
            };
            merged.insert(name, value);
        }
    }
    *scope = merged;
    true
}

/// Whether a variable holds nothing of a query.
fn is_plain(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Plain | Value::Few) => true,
        Some(Value::List(conditions, has_others)) => conditions.is_empty() && !has_others,
        Some(_) => false,
    }
}
