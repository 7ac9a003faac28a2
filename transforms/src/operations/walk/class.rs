//! Objects of the project's own classes, and what their methods do: `utils = Utils(op)`, `utils.drop_indexes("users")`.

use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, Stmt, StmtAssign, StmtClassDef, StmtFunctionDef};

use super::{Frame, Functions, Walker};
use crate::python::scope::Scope;
use crate::python::value::{Object, Value};

/// Names that are passed on from module to module are followed this far.
const MAX_IMPORTS: usize = 4;

impl<'a> Functions<'a> {
    /// The module in which a dotted name is defined, and its name there: `from .indexes import add_index` in a package
    /// passes it on.
    ///
    /// # Errors
    /// The dotted name that is not known.
    pub(super) fn lead_to(&self, path: &str) -> Result<(Functions<'a>, String), String> {
        let mut path = path.to_owned();
        for _ in 0..MAX_IMPORTS {
            let found = self.modules.and_then(|modules| Some((modules, modules.find(&path)?)));
            let Some((modules, (module_name, module, name))) = found else { break };
            let functions = Functions::of_module(module, Some(modules), Some(module_name));
            if functions.definitions.contains_key(name) || functions.classes.contains_key(name) {
                return Ok((functions, name.to_owned()));
            }
            match functions.scope.get(name) {
                Some(Value::Foreign(other)) => path.clone_from(other),
                _ => break,
            }
        }
        Err(path)
    }
}

impl<'a> Walker<'a, '_> {
    /// Bind the name that an object is assigned to.
    pub(super) fn bind_object(&mut self, assignment: &StmtAssign, frame: &mut Frame<'a>) {
        if let ([Expr::Name(name)], Expr::Call(call)) = (assignment.targets.as_slice(), &*assignment.value)
            && let Some(object) = self.made_by(call, frame)
        {
            frame.scope.bind(&name.id, object);
        }
    }

    /// The object whose method is called: it has a name, or is made for that.
    pub(super) fn object(&mut self, owner: &Expr, frame: &Frame<'a>) -> Option<Box<Object>> {
        let value = match owner {
            Expr::Call(call) => self.made_by(call, frame)?,
            owner => frame.scope.eval(owner),
        };
        match value {
            Value::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object that a call makes.
    fn made_by(&mut self, call: &ExprCall, frame: &Frame<'a>) -> Option<Value> {
        let path = match &*call.func {
            Expr::Name(name) => match frame.scope.get(&name.id) {
                Some(Value::Foreign(path)) => path.clone(),
                None | Some(Value::Class(_)) => {
                    let class = self.functions.classes.get(name.id.as_str())?;
                    return Some(made(class, self.functions, call, &frame.scope));
                }
                _ => return None,
            },
            Expr::Attribute(attribute) => match frame.scope.eval(&attribute.value) {
                Value::Foreign(module) => format!("{module}.{}", attribute.attr),
                _ => return None,
            },
            _ => return None,
        };
        let known = self.functions.lead_to(&path);
        if let Ok((functions, name)) = &known
            && let Some(class) = functions.classes.get(name.as_str())
        {
            return Some(made(class, functions, call, &frame.scope));
        }
        // What can reach the database may change it.
        let arguments = call.arguments.iter_source_order().map(|argument| frame.scope.eval(argument.value()));
        let is_class = path.rsplit('.').next().is_some_and(|name| name.starts_with(char::is_uppercase));
        (is_class && arguments.into_iter().any(|value| matches!(value, Value::Op | Value::Bind))).then(|| {
            self.walked.foreign.insert(known.err().unwrap_or_else(|| path.clone()));
            Value::Foreign(path)
        })
    }

    /// Follow a method of an object.
    pub(super) fn method(
        &mut self,
        object: &Object,
        name: &str,
        call: &'a ExprCall,
        statement: &'a Stmt,
        frame: &mut Frame<'a>,
        alone: bool,
    ) -> bool {
        if object.module.as_deref() == self.functions.name {
            let class = self.functions.classes.get(object.class.as_str());
            if let Some(definition) = class.and_then(|class| method(class, name)) {
                self.inline(definition, Some(object), call, statement, frame);
                return true;
            }
        } else if let Some(module) = &object.module
            && let Ok((functions, class)) = self.functions.lead_to(&format!("{module}.{}", object.class))
            && let Some(class) = functions.classes.get(class.as_str())
            && let Some(definition) = method(class, name)
        {
            self.elsewhere(&functions, name, statement, call, frame, |walker, frame| {
                walker.inline(definition, Some(object), call, statement, frame);
            });
            return true;
        }
        if alone {
            let reason = format!("`{}.{name}` can't be followed", object.class);
            self.opaque(reason, call, statement, frame);
        }
        alone
    }
}

/// A method that is no more than it looks like.
fn method<'a>(class: &'a StmtClassDef, name: &str) -> Option<&'a StmtFunctionDef> {
    class.body.iter().find_map(|statement| match statement {
        Stmt::FunctionDef(function)
            if function.name.as_str() == name && function.decorator_list.is_empty() =>
        {
            Some(function)
        }
        _ => None,
    })
}

/// The object of a class, with what its `__init__` sets and nothing else changes.
fn made(class: &StmtClassDef, functions: &Functions, call: &ExprCall, scope: &Scope) -> Value {
    let mut attributes = Vec::new();
    if let Some(init) = method(class, "__init__") {
        let mut inner = functions.scope.clone();
        let mut parameters = init.parameters.iter_non_variadic_params();
        let this = parameters.next().map(|parameter| parameter.name().as_str()).unwrap_or_default();
        for (position, parameter) in parameters.enumerate() {
            let name = parameter.name().as_str();
            let given = call.arguments.find_argument_value(name, position).map(|value| scope.eval(value));
            let value =
                given.or_else(|| parameter.default.as_deref().map(|value| functions.scope.eval(value)));
            inner.bind(name, value.unwrap_or(Value::Unknown));
        }
        let mut set = Attributes(Vec::new());
        set.visit_body(&class.body);
        for statement in &init.body {
            if let Stmt::Assign(assignment) = statement
                && let [Expr::Attribute(attribute)] = assignment.targets.as_slice()
                && matches!(&*attribute.value, Expr::Name(name) if name.id.as_str() == this)
                && set.0.iter().filter(|name| **name == attribute.attr.as_str()).count() == 1
            {
                attributes.push((attribute.attr.to_string(), inner.eval(&assignment.value)));
            }
        }
    }
    let module = functions.name.map(str::to_owned);
    Value::Object(Box::new(Object { module, class: class.name.to_string(), attributes }))
}

/// The attributes that the statements of a class assign, of whatever.
struct Attributes<'a>(Vec<&'a str>);

impl<'a> Visitor<'a> for Attributes<'a> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let targets = match statement {
            Stmt::Assign(assignment) => assignment.targets.as_slice(),
            Stmt::AnnAssign(assignment) => std::slice::from_ref(&*assignment.target),
            Stmt::AugAssign(assignment) => std::slice::from_ref(&*assignment.target),
            _ => &[],
        };
        self.0.extend(targets.iter().filter_map(|target| match target {
            Expr::Attribute(attribute) => Some(attribute.attr.as_str()),
            _ => None,
        }));
        walk_stmt(self, statement);
    }
}
