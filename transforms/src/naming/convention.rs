//! The names that a naming convention gives.
//!
//! Source: SQLAlchemy's "Configuring Constraint Naming Conventions" and `sqlalchemy/sql/naming.py`. Alembic
//! applies the convention of `target_metadata` to what a migration creates (`alembic/operations/schemaobj.py`).

use std::collections::BTreeMap;

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt};
use ruff_text_size::{Ranged, TextSize};

use super::MAX_BYTES;
use super::token::Token;
use crate::operations::{ConstraintKind, Functions, TableName, assigned, callee};
use crate::python::Module;
use crate::python::scope::Scope;
use crate::python::value::Value;

const KEYWORD: &str = "naming_convention";

/// `MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s"})`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Convention {
    /// By SQLAlchemy's abbreviation; `None` for one that is not text, or not known.
    templates: BTreeMap<String, Option<String>>,
    /// Those that are functions.
    tokens: BTreeMap<String, Token>,
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
    /// The first place that sets one, in whatever way, for more than a batch block.
    pub place: Option<TextSize>,
}

impl Conventions {
    /// Read a module.
    #[must_use]
    pub fn read(module: &Module) -> Self {
        let functions = Functions::new(module);
        let mut find = Find {
            scope: functions.scope(),
            body: module.body(),
            named: None,
            in_batch: false,
            in_metadata: false,
            found: Self::default(),
        };
        for statement in module.body() {
            find.visit_stmt(statement);
        }
        // A name that only batch blocks are given says nothing about metadata.
        let named = find.named.filter(|_| !find.in_batch);
        find.found.place = find.found.place.into_iter().chain(named).min();
        find.found
    }

    /// Add what another module has.
    pub fn extend(&mut self, other: Self) {
        self.set.extend(other.set);
        self.named.extend(other.named);
        self.imported |= other.imported;
        self.place = self.place.or(other.place);
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
    /// Of an index, whether it is unique.
    pub unique: Option<bool>,
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
        (!templates.is_empty()).then_some(Self { templates, tokens: BTreeMap::new() })
    }

    /// What an index is called that has no name.
    #[must_use]
    pub fn index_name(&self, table: &TableName, columns: &[String], unique: bool) -> Option<String> {
        let index = Named {
            kind: ConstraintKind::Unique,
            given: None,
            table,
            columns: Some(columns),
            referent: None,
            unique: Some(unique),
        };
        let template = self.templates.get("ix")?.as_ref()?;
        self.render(template, index).filter(|name| name.len() <= MAX_BYTES)
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
        match self.render(template, constraint) {
            // SQLAlchemy cuts longer ones and adds a hash.
            Some(name) if name.len() <= MAX_BYTES => Name::Is(name),
            _ => Name::Unknown,
        }
    }

    fn render(&self, template: &str, constraint: Named) -> Option<String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let (token, after) = rest[at..].strip_prefix("%(")?.split_once(")s")?;
            // The project's own come first.
            let text = match (self.tokens.get(token), self.templates.contains_key(token)) {
                (Some(own), _) => own.text(&constraint, None)?,
                (None, true) => return None,
                (None, false) => self::token(token, constraint)?,
            };
            out.push_str(&text);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    }
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
    body: &'a [Stmt],
    /// Where a variable of the name is assigned.
    named: Option<TextSize>,
    /// Whether a batch block is given it.
    in_batch: bool,
    /// Whether the class around is a kind of `MetaData`, whose own attribute is a convention.
    in_metadata: bool,
    found: Conventions,
}

impl Find<'_> {
    /// Note a place that sets one.
    fn sets(&mut self, place: TextSize, value: &Expr) -> bool {
        let sets = is_convention(value);
        if sets {
            self.found.place = Some(self.found.place.map_or(place, |first| first.min(place)));
        }
        sets
    }

    fn convention(&self, value: &Expr) -> Option<Convention> {
        let mut convention = Convention::of(&self.scope.eval(value))?;
        let written = match value {
            Expr::Name(name) => assigned(self.body, name.id.as_str())?,
            other => other,
        };
        let Expr::Dict(dict) = written else { return Some(convention) };
        for item in &dict.items {
            let token = match &item.value {
                Expr::Name(name) => self.body.iter().find_map(|statement| match statement {
                    Stmt::FunctionDef(function) if function.name.as_str() == name.id.as_str() => {
                        Token::of_function(function)
                    }
                    _ => None,
                }),
                other => Token::of_lambda(other),
            };
            if let (Some(Expr::StringLiteral(key)), Some(token)) = (&item.key, token) {
                convention.tokens.insert(key.value.to_str().to_owned(), token);
            }
        }
        Some(convention)
    }

    fn metadata(&mut self, value: &Expr) {
        match self.convention(value) {
            Some(convention) => self.found.set.push(convention),
            None => self.found.imported = true,
        }
    }
}

impl<'a> Visitor<'a> for Find<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if let Stmt::ClassDef(class) = statement {
            let around = std::mem::replace(&mut self.in_metadata, class.bases().iter().any(is_metadata));
            walk_stmt(self, statement);
            self.in_metadata = around;
            return;
        }
        let (targets, value) = match statement {
            Stmt::Assign(assign) => (&assign.targets[..], Some(&*assign.value)),
            Stmt::AnnAssign(assign) => (std::slice::from_ref(&*assign.target), assign.value.as_deref()),
            _ => (&[][..], None),
        };
        for (target, value) in targets.iter().filter_map(|target| Some((target, value?))) {
            match target {
                // `Base.metadata.naming_convention = …`
                Expr::Attribute(attribute)
                    if attribute.attr.as_str() == KEYWORD
                        && (self.in_metadata || !is_self(&attribute.value))
                        && self.sets(attribute.attr.start(), value) =>
                {
                    self.metadata(value);
                }
                Expr::Name(name) if name.id.as_str() == KEYWORD && is_convention(value) => {
                    self.named.get_or_insert(name.start());
                    self.found.named.extend(self.convention(value));
                }
                // `options["naming_convention"] = …`
                Expr::Subscript(subscript) if is_keyword(&subscript.slice) => {
                    self.sets(subscript.slice.start(), value);
                }
                _ => {}
            }
        }
        walk_stmt(self, statement);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            // What a batch block is given holds only there.
            Expr::Call(call) if callee(call) == Some("batch_alter_table") => {
                let given = call.arguments.find_keyword(KEYWORD);
                self.in_batch |= given.is_some_and(|given| is_named(&given.value));
            }
            Expr::Call(call) => {
                if let Some(argument) = call.arguments.find_keyword(KEYWORD)
                    && self.sets(argument.start(), &argument.value)
                    && callee(call) == Some("MetaData")
                {
                    self.metadata(&argument.value);
                }
                if callee(call) == Some("setattr")
                    && let [_, name, value] = &*call.arguments.args
                    && is_keyword(name)
                {
                    self.sets(name.start(), value);
                }
            }
            Expr::Dict(dict) => {
                for item in dict.items.iter().filter(|item| item.key.as_ref().is_some_and(is_keyword)) {
                    self.sets(item.key.as_ref().map_or(item.value.start(), Ranged::start), &item.value);
                }
            }
            _ => {}
        }
        walk_expr(self, expr);
    }
}

/// SQLAlchemy treats an empty convention as none.
fn is_convention(value: &Expr) -> bool {
    match value {
        Expr::NoneLiteral(_) => false,
        Expr::Dict(dict) => !dict.is_empty(),
        _ => true,
    }
}

/// `self`: what an application's own class calls so has other conventions, as of the names of files.
fn is_self(expr: &Expr) -> bool {
    matches!(expr, Expr::Name(name) if name.id.as_str() == "self")
}

/// `sa.MetaData`, `MyMetadata`
fn is_metadata(base: &Expr) -> bool {
    let name = match base {
        Expr::Name(name) => name.id.as_str(),
        Expr::Attribute(attribute) => attribute.attr.as_str(),
        _ => return false,
    };
    name.to_ascii_lowercase().contains("metadata")
}

fn is_named(expr: &Expr) -> bool {
    matches!(expr, Expr::Name(name) if name.id.as_str() == KEYWORD)
}

fn is_keyword(expr: &Expr) -> bool {
    matches!(expr, Expr::StringLiteral(text) if text.value.to_str() == KEYWORD)
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
            unique: None,
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
    fn tokens_of_the_project_are_computed() {
        let names = |function: &str, template: &str| {
            let source = format!(
                "{function}\nnaming_convention = {{'uq': {template:?}, 'ix': {template:?}, 'own': own}}\n\
                 Base.metadata.naming_convention = naming_convention\n"
            );
            let convention = Conventions::read(&Module::parse(source).expect("Python")).only().expect("one");
            let columns = ["b".to_owned(), "A".to_owned()];
            let table = TableName::new(Some("s"), "T");
            let unique = convention.name(Named {
                kind: ConstraintKind::Unique,
                given: None,
                table: &table,
                columns: Some(&columns),
                referent: None,
                unique: None,
            });
            let unique = match unique {
                Name::Is(name) => name,
                _ => "?".to_owned(),
            };
            (unique, convention.index_name(&table, &columns, true).unwrap_or("?".to_owned()))
        };
        for (body, expected) in [
            ("return '_'.join((x if isinstance(x, str) else x.name) for x in c.columns)", ("b_A", "b_A")),
            (
                "'Doc.'\n    names = sorted(c.columns.keys())\n    return f'{t.name}'.lower() + '_'",
                ("t_", "t_"),
            ),
            ("names = sorted(c.column_keys)\n    return '-'.join(names)", ("?", "?")),
            ("return '-'.join(sorted(x.name for x in c.columns)).upper()", ("A-B", "A-B")),
            ("return 'uq_' if c.unique else ''", ("?", "uq_")),
            ("return c.table.name.replace('T', 'table')", ("table", "table")),
            ("return str(uuid.uuid5(c))", ("?", "?")),
            ("print(c)\n    return t.name", ("?", "?")),
        ] {
            let (unique, index) = names(&format!("def own(c, t):\n    {body}"), "%(own)s");
            assert_eq!((unique.as_str(), index.as_str()), expected, "{body}");
        }
        assert_eq!(names("from elsewhere import own", "%(own)s").0, "?");
        let lambda = "MetaData(naming_convention={'uq': '%(all)s', 'all': lambda constraint, table: \
                      '_'.join([column.name for column in constraint.columns.values()])})";
        let convention = Conventions::read(&Module::parse(lambda.to_owned()).expect("Python")).only();
        let columns = ["b".to_owned(), "A".to_owned()];
        let name = convention.expect("one").name(Named {
            kind: ConstraintKind::Unique,
            given: None,
            table: &TableName::new(None, "t"),
            columns: Some(&columns),
            referent: None,
            unique: None,
        });
        assert_eq!(name, Name::Is("b_A".to_owned()));
    }

    #[test]
    fn a_convention_is_set_in_many_ways() {
        let line = |source: &str| {
            let module = Module::parse(source.to_owned()).expect("Python");
            Conventions::read(&module).place.map(|place| module.position(place).line)
        };
        for source in [
            "MetaData(naming_convention=c)",
            "MetaData(\n    naming_convention = {'ix': 'x'})",
            "Base.metadata.naming_convention = {'ix': 'x'}",
            "naming_convention: dict[str, str] = {\n}\nnaming_convention = {'ix': 'x'}",
            "MetaData(**{'naming_convention': c})",
            "kwargs[\"naming_convention\"] = c",
            "setattr(metadata, 'naming_convention', c)",
            "naming_convention: t.Mapping[str, str] = c",
            "class Base:\n    metadata = create(naming_convention=c)  # naming",
            "class Own(sa.MetaData):\n    def __init__(self, c):\n        self.naming_convention = c",
            "class Import(Resource):\n    def __init__(self, c):\n        Base.metadata.naming_convention = c",
        ] {
            assert!(line(source).is_some(), "{source}");
        }
        assert_eq!(
            line("\n# naming_convention = x\n'naming_convention = x'\nnaming_convention = x\n"),
            Some(4)
        );
        for source in [
            "# naming_convention = c",
            "'naming_convention = c'",
            "MetaData(naming_convention=None)",
            "MetaData(naming_convention={ })",
            "if metadata.naming_convention == c: pass",
            "print(metadata.naming_convention)",
            "my_naming_convention = c",
            "class Import(Resource):\n    def __init__(self, c):\n        self.naming_convention = c",
            "def f(naming_convention: dict, x=1): pass",
            "def f(naming_convention: dict | None = None): pass",
            "with op.batch_alter_table('t', naming_convention=c) as batch_op: pass",
        ] {
            assert_eq!(line(source), None, "{source}");
        }
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
