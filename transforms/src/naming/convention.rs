//! The names that a naming convention gives.
//!
//! Source: SQLAlchemy's "Configuring Constraint Naming Conventions" and `sqlalchemy/sql/naming.py`. Alembic
//! applies the convention of `target_metadata` to what a migration creates (`alembic/operations/schemaobj.py`).

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt};

use super::MAX_BYTES;
use crate::operations::{ConstraintKind, Functions, TableName};
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::value::Value;

const KEYWORD: &str = "naming_convention";

/// `MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s"})`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Convention {
    /// By SQLAlchemy's abbreviation; `None` for one that is not text, or not known.
    templates: BTreeMap<String, Option<String>>,
}

/// What a constraint is, as far as templates ask.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    pub kind: ConstraintKind,
    /// The name that the author gave.
    pub given: Option<&'a str>,
    pub table: &'a TableName,
    pub columns: Option<&'a [String]>,
    pub referent: Option<&'a TableName>,
}

/// The name that a convention gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// It leaves this constraint alone.
    AsGiven,
    Is(String),
    Unknown,
}

impl Convention {
    /// All conventions that a module sets, as far as they can be read.
    #[must_use]
    pub fn read(module: &Module) -> Vec<Self> {
        let functions = Functions::new(module);
        let mut find = Find { scope: functions.scope(), found: Vec::new() };
        for statement in module.body() {
            find.visit_stmt(statement);
        }
        find.found
    }

    fn of(value: &Value) -> Option<Self> {
        let Value::Dict(items) = value else { return None };
        let templates = items.iter().map(|(key, template)| {
            let template = template.as_str().map(str::to_owned);
            Some((key.as_str()?.to_owned(), template))
        });
        let templates: BTreeMap<_, _> = templates.collect::<Option<_>>()?;
        (!templates.is_empty()).then_some(Self { templates })
    }

    /// What the index of `sa.Column(…, index=True)` is called, when it gets a name.
    #[must_use]
    pub fn index_name(&self, table: &TableName, column: &str) -> Option<String> {
        let columns = [column.to_owned()];
        let index = Named {
            kind: ConstraintKind::Unique,
            given: None,
            table,
            columns: Some(&columns),
            referent: None,
        };
        let template = self.templates.get("ix")?.as_ref()?;
        render(template, index).filter(|name| name.len() <= MAX_BYTES)
    }

    /// What a constraint is called.
    #[must_use]
    pub fn name(&self, constraint: Named) -> Name {
        let key = match constraint.kind {
            ConstraintKind::PrimaryKey => "pk",
            ConstraintKind::Unique => "uq",
            ConstraintKind::ForeignKey => "fk",
            ConstraintKind::Check => "ck",
            ConstraintKind::Exclude => return Name::AsGiven,
        };
        let template = match self.templates.get(key) {
            None => return Name::AsGiven,
            Some(None) => return Name::Unknown,
            Some(Some(template)) => template,
        };
        if constraint.given.is_some() && !template.contains("constraint_name") {
            return Name::AsGiven;
        }
        match render(template, constraint) {
            // SQLAlchemy cuts longer ones and adds a hash.
            Some(name) if name.len() <= MAX_BYTES => Name::Is(name),
            _ => Name::Unknown,
        }
    }
}

fn render(template: &str, constraint: Named) -> Option<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let (token, after) = rest[at..].strip_prefix("%(")?.split_once(")s")?;
        out.push_str(&self::token(token, constraint)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn token(token: &str, constraint: Named) -> Option<String> {
    let label = |column: &str| match &constraint.table.schema {
        Some(schema) => format!("{}_{}_{column}", schema.replace('.', "_"), constraint.table.name),
        None => format!("{}_{column}", constraint.table.name),
    };
    let join = |separator: &str, map: &dyn Fn(&str) -> String| -> Option<String> {
        let columns: Vec<String> = constraint.columns?.iter().map(|column| map(column)).collect();
        (!columns.is_empty()).then(|| columns.join(separator))
    };
    match token {
        "table_name" => Some(constraint.table.name.clone()),
        "constraint_name" => constraint.given.map(str::to_owned),
        "referred_table_name" => constraint.referent.map(|table| table.name.clone()),
        "column_0_N_name" | "column_0_N_key" => join("_", &str::to_owned),
        "column_0N_name" | "column_0N_key" => join("", &str::to_owned),
        "column_0_N_label" => join("_", &label),
        "column_0N_label" => join("", &label),
        _ => {
            let (index, what) = token.strip_prefix("column_")?.split_once('_')?;
            let column = constraint.columns?.get(index.parse::<usize>().ok()?)?;
            match what {
                "name" | "key" => Some(column.clone()),
                "label" => Some(label(column)),
                _ => None,
            }
        }
    }
}

/// Finds `naming_convention` as an argument, as the target of an assignment and as a key.
struct Find<'a> {
    scope: &'a Scope,
    found: Vec<Convention>,
}

impl<'a> Visitor<'a> for Find<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let is_target = |target: &Expr| match target {
            Expr::Name(name) => name.id.as_str() == KEYWORD,
            Expr::Attribute(attribute) => attribute.attr.as_str() == KEYWORD,
            _ => false,
        };
        let value = match statement {
            Stmt::Assign(assign) if assign.targets.iter().any(is_target) => Some(&*assign.value),
            Stmt::AnnAssign(assign) if is_target(&assign.target) => assign.value.as_deref(),
            _ => None,
        };
        self.found.extend(value.and_then(|value| Convention::of(&self.scope.eval(value))));
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr
            && let Some(argument) = call.arguments.find_keyword(KEYWORD)
        {
            self.found.extend(Convention::of(&self.scope.eval(&argument.value)));
        }
        walk_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(template: &str, given: Option<&str>, schema: Option<&str>) -> Name {
        let source = format!("metadata = MetaData(naming_convention={{'fk': {template:?}}})");
        let module = Module::parse(source).expect("Python");
        let [convention] = &Convention::read(&module)[..] else { panic!("one convention") };
        convention.name(Named {
            kind: ConstraintKind::ForeignKey,
            given,
            table: &TableName::new(schema, "child"),
            columns: Some(&["p1".to_owned(), "p2".to_owned()]),
            referent: Some(&TableName::new(Some("s"), "parent")),
        })
    }

    #[test]
    fn names_are_those_that_sqlalchemy_gives() {
        for (template, expected) in [
            ("fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s", "fk_child_p1_parent"),
            ("%(column_0_label)s", "child_p1"),
            ("%(column_0_N_name)s-%(column_0N_name)s-%(column_1_name)s", "p1_p2-p1p2-p2"),
        ] {
            assert_eq!(name(template, None, None), Name::Is(expected.to_owned()), "{template}");
        }
        assert_eq!(name("%(column_0_label)s", None, Some("app")), Name::Is("app_child_p1".to_owned()));
        assert_eq!(name("fk_%(constraint_name)s", Some("x"), None), Name::Is("fk_x".to_owned()));
        assert_eq!(name("fk_%(table_name)s", Some("x"), None), Name::AsGiven);
        assert_eq!(name("fk_%(my_token)s", None, None), Name::Unknown);
        assert_eq!(name("fk_%(constraint_name)s", None, None), Name::Unknown);
    }

    #[test]
    fn conventions_are_read_where_they_are_set() {
        for source in [
            "c = {'pk': 'pk_%(table_name)s'}\nclass Base:\n    metadata = MetaData(naming_convention=c)",
            "naming_convention: dict = {'pk': 'pk_%(table_name)s'}",
            "Base.metadata.naming_convention = {'pk': 'pk_%(table_name)s'}",
        ] {
            let module = Module::parse(source.to_owned()).expect("Python");
            assert_eq!(Convention::read(&module).len(), 1, "{source}");
        }
        let module = Module::parse("MetaData(naming_convention=imported)".to_owned()).expect("Python");
        assert!(Convention::read(&module).is_empty());
    }
}
