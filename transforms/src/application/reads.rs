//! Which attributes of its objects an application reads.
//!
//! A relationship is a query only when somebody looks at it: many are declared because the other side is. Who reads
//! what is not known for sure, as Python's variables have no types; they have names.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, Stmt, StmtClassDef};

use super::File;
use super::models::{Model, Models, dotted};
use crate::operations::callee;

/// The attributes that are read, by their names: what they are read of.
#[derive(Debug, Clone, Default)]
pub struct Reads(BTreeMap<String, BTreeSet<String>>);

/// Functions that say which relationships a query loads.
const LOADERS: &[&str] =
    &["immediateload", "joinedload", "joinedload_all", "selectinload", "subqueryload", "subqueryload_all"];

/// Words of files whose classes take their fields from the attributes of other objects.
const SCHEMAS: &[&[u8]] = &[b"from_attributes", b"orm_mode", b"SQLModel"];

/// What makes a field of others, in classes that say how objects are written.
const NESTED: &[&str] = &["List", "Nested", "Pluck"];

impl Reads {
    /// What a file reads that declares no models.
    #[must_use]
    pub fn elsewhere(file: &File) -> Self {
        Self::of(file, &|_| false)
    }

    /// What the files of an application read.
    pub(super) fn inside(models: &Models, files: &[File]) -> Self {
        let mut reads = Self::default();
        for (index, file) in files.iter().enumerate() {
            let is_model = |class: &StmtClassDef| {
                models.models.iter().any(|model| model.file == index && model.range == class.range)
            };
            reads.extend(Self::of(file, &is_model));
        }
        reads
    }

    /// Take what others read as well.
    pub fn extend(&mut self, others: Self) {
        for (name, owners) in others.0 {
            self.0.entry(name).or_default().extend(owners);
        }
    }

    /// Whether the rows of a model are asked for an attribute: by something that is called as they are, or by anything
    /// where the attribute is theirs `alone`.
    pub(super) fn contains(&self, model: &Model, attribute: &str, alone: bool) -> bool {
        let Some(owners) = self.0.get(attribute) else { return false };
        let names = [plain(&model.name), plain(model.table.name.trim_end_matches('s'))];
        let is_called_so =
            |owner: &String| names.iter().any(|name| owner.starts_with(name) || owner.ends_with(name));
        alone || owners.iter().any(is_called_so)
    }

    fn of(file: &File, is_model: &dyn Fn(&StmtClassDef) -> bool) -> Self {
        let source = file.module.source().as_bytes();
        let has_schemas = SCHEMAS.iter().any(|word| memchr::memmem::find(source, word).is_some());
        let mut visit = Visit { is_model, has_schemas, class: None, found: Self::default() };
        visit.visit_body(file.module.body());
        visit.found
    }
}

struct Visit<'m> {
    is_model: &'m dyn Fn(&StmtClassDef) -> bool,
    has_schemas: bool,
    /// The class around it, unless that is no model.
    class: Option<String>,
    found: Reads,
}

impl Visit<'_> {
    fn read(&mut self, owner: &str, name: &str) {
        self.found.0.entry(name.to_owned()).or_default().insert(plain(owner));
    }

    /// The fields of a class that are read from the object that it is made of.
    fn fields(&mut self, class: &StmtClassDef) {
        for statement in &class.body {
            let (target, value) = match statement {
                Stmt::AnnAssign(field) if self.has_schemas => (&*field.target, field.value.as_deref()),
                Stmt::Assign(field) => {
                    let call = field.value.as_call_expr().and_then(callee);
                    match &field.targets[..] {
                        [target] if call.is_some_and(|name| NESTED.contains(&name)) => (target, None),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            let call = value.and_then(Expr::as_call_expr).and_then(callee);
            if let Expr::Name(name) = target
                && !call.is_some_and(|name| name.eq_ignore_ascii_case("relationship"))
            {
                self.read(&class.name, &name.id);
            }
        }
    }
}

impl<'a> Visitor<'a> for Visit<'_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        let Stmt::ClassDef(class) = statement else { return walk_stmt(self, statement) };
        let is_model = (self.is_model)(class);
        if !is_model {
            self.fields(class);
        }
        let before = std::mem::replace(&mut self.class, is_model.then(|| class.name.to_string()));
        walk_stmt(self, statement);
        self.class = before;
    }

    fn visit_expr(&mut self, expression: &'a Expr) {
        match expression {
            Expr::Attribute(attribute) => {
                let owner = dotted(&attribute.value);
                let owner = owner.rsplit('.').next().unwrap_or_default();
                // What a class has is no value of a row.
                let is_class = attribute.value.is_name_expr() && owner == "cls"
                    || matches!(&*attribute.value, Expr::Name(_) | Expr::Attribute(_))
                        && owner.starts_with(|first: char| first.is_ascii_uppercase());
                if attribute.ctx.is_load() && !is_class {
                    match &self.class {
                        Some(class) if owner == "self" => self.read(&class.clone(), &attribute.attr),
                        None if owner == "self" => {}
                        _ => self.read(owner, &attribute.attr),
                    }
                }
                walk_expr(self, expression);
            }
            Expr::Call(call) => {
                if callee(call).is_some_and(|name| LOADERS.contains(&name)) {
                    for argument in &call.arguments.args {
                        match argument {
                            Expr::Attribute(attribute) => {
                                let owner = dotted(&attribute.value);
                                self.read(owner.rsplit('.').next().unwrap_or_default(), &attribute.attr);
                            }
                            Expr::StringLiteral(path) => {
                                path.value.to_str().split('.').for_each(|name| self.read("", name));
                            }
                            _ => {}
                        }
                    }
                }
                // A method is no attribute.
                match &*call.func {
                    Expr::Attribute(method) => self.visit_expr(&method.value),
                    function => self.visit_expr(function),
                }
                self.visit_arguments(&call.arguments);
            }
            _ => walk_expr(self, expression),
        }
    }
}

/// A name without what differs between those of a class, a table and a variable.
fn plain(name: &str) -> String {
    name.replace('_', "").to_lowercase()
}
