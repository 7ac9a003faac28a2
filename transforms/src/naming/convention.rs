//! The names that a naming convention gives.
//!
//! Source: SQLAlchemy's "Configuring Constraint Naming Conventions" and `sqlalchemy/sql/naming.py`. Alembic
//! applies the convention of `target_metadata` to what a migration creates (`alembic/operations/schemaobj.py`).

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt};

use super::MAX_BYTES;
use crate::operations::{ConstraintKind, Functions, TableName, callee};
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

/// The conventions that a module has. Others than the metadata's are given to `batch_alter_table`, and only hold there.
#[derive(Debug, Default)]
pub struct Conventions {
    /// Those that metadata gets.
    pub set: Vec<Convention>,
    /// Those that only have the name.
    pub named: Vec<Convention>,
    /// Metadata gets one that comes from another module.
    pub imported: bool,
}

impl Conventions {
    /// Read a module.
    #[must_use]
    pub fn read(module: &Module) -> Self {
        let functions = Functions::new(module);
        let mut find = Find { scope: functions.scope(), found: Self::default() };
        for statement in module.body() {
            find.visit_stmt(statement);
        }
        find.found
    }

    /// Add what another module has.
    pub fn extend(&mut self, other: Self) {
        self.set.extend(other.set);
        self.named.extend(other.named);
        self.imported |= other.imported;
    }

    /// The one convention that all metadata has, if it can be read.
    #[must_use]
    pub fn only(self) -> Option<Convention> {
        let mut all = if self.set.is_empty() && self.imported { self.named } else { self.set };
        all.dedup();
        all.pop().filter(|_| all.is_empty())
    }
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
    found: Conventions,
}

impl Find<'_> {
    fn metadata(&mut self, value: &Expr) {
        match Convention::of(&self.scope.eval(value)) {
            Some(convention) => self.found.set.push(convention),
            None => self.found.imported = true,
        }
    }
}

impl<'a> Visitor<'a> for Find<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let (targets, value) = match statement {
            Stmt::Assign(assign) => (&assign.targets[..], Some(&*assign.value)),
            Stmt::AnnAssign(assign) => (std::slice::from_ref(&*assign.target), assign.value.as_deref()),
            _ => (&[][..], None),
        };
        for target in targets {
            match (target, value) {
                // `Base.metadata.naming_convention = …`
                (Expr::Attribute(attribute), Some(value)) if attribute.attr.as_str() == KEYWORD => {
                    self.metadata(value);
                }
                (Expr::Name(name), Some(value)) if name.id.as_str() == KEYWORD => {
                    self.found.named.extend(Convention::of(&self.scope.eval(value)));
                }
                _ => {}
            }
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr
            && callee(call) == Some("MetaData")
            && let Some(argument) = call.arguments.find_keyword(KEYWORD)
        {
            self.metadata(&argument.value);
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
        let convention = Conventions::read(&module).only().expect("one convention");
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
        let read = |source: &str| {
            let module = Module::parse(source.to_owned()).expect("Python");
            Conventions::read(&module)
        };
        for source in [
            "c = {'pk': 'pk_%(table_name)s'}\nclass Base:\n    metadata = sa.MetaData(naming_convention=c)",
            "Base.metadata.naming_convention = {'pk': 'pk_%(table_name)s'}",
        ] {
            assert!(read(source).only().is_some(), "{source}");
        }
        let batch = "naming_convention = {'pk': 'pk_%(table_name)s'}\n\
                     op.batch_alter_table('t', naming_convention=naming_convention)";
        assert!(read(batch).only().is_none());
        let mut both = read(batch);
        both.extend(read("from x import naming_convention\nMetaData(naming_convention=naming_convention)"));
        assert!(both.only().is_some());
        assert!(read("MetaData(naming_convention=imported)").only().is_none());
    }
}
