//! The models of an application: which class stands for which table, with which columns and indexes.
//!
//! Read are declarative classes (`mapped_column`, `Column`, `Mapped[…]`, `__table_args__`), their mixins
//! and abstract bases, `Table(…)`, classes of `SQLModel` and Flask-SQLAlchemy's `db.Model`.
//!
//! **Architecture Invariant:** what can't be read makes a table incomplete, or leaves a class out; nothing
//! is guessed.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::{Ranged, TextRange};

use super::File;
use crate::catalog::Index;
use crate::naming;
use crate::operations::{Functions, IndexElement, IndexOptions, TableName, callee};
use crate::python::scope::Scope;
use crate::python::value::Value;

/// Everything that the files of an application say about its tables.
#[derive(Debug, Default)]
pub(super) struct Models<'a> {
    pub(super) models: Vec<Model>,
    pub(super) tables: BTreeMap<TableName, ModelTable>,
    /// Variables that hold a `Table(…)`: by file and name.
    pub(super) variables: BTreeMap<(usize, String), TableName>,
    by_name: BTreeMap<String, Vec<usize>>,
    variables_by_name: BTreeMap<String, BTreeSet<TableName>>,
    /// What each file imports: the name there, where from, and what it is called there.
    imports: Vec<BTreeMap<String, Import>>,
    /// Names of classes that are enums.
    enums: BTreeSet<String>,
    scopes: Vec<Scope>,
    classes: BTreeMap<String, Vec<Class<'a>>>,
    /// Parts of the paths of the files: what an absolute import of the application starts with.
    packages: BTreeSet<String>,
}

/// A class that stands for a table.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) file: usize,
    pub(super) name: String,
    /// Its own table.
    pub(super) table: TableName,
    pub(super) attributes: BTreeMap<String, Attribute>,
    /// The class.
    pub(super) range: TextRange,
}

/// An attribute of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Column { table: TableName, column: String },
    Relationship(Relationship),
}

/// `relationship(…)`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relationship {
    /// The name of the other class.
    pub(super) target: Option<String>,
    /// It goes over a third table.
    #[expect(
        clippy::option_option,
        reason = "nothing, something that is not known, and something are three answers"
    )]
    pub(super) secondary: Option<Option<TableName>>,
    /// It has a condition or a loader of its own.
    pub(super) special: bool,
    /// The other class gets one that leads back.
    pub(super) backref: bool,
    pub(super) range: TextRange,
    pub(super) file: usize,
}

/// A table as the models declare it.
#[derive(Debug)]
pub(super) struct ModelTable {
    pub(super) columns: Vec<ModelColumn>,
    pub(super) indexes: Vec<ModelIndex>,
    /// All of its indexes could be read.
    pub(super) complete: bool,
    pub(super) file: usize,
    /// The class that declares it; a `Table(…)` has none.
    pub(super) class: Option<TextRange>,
    /// Where it is declared.
    pub(super) place: TextRange,
}

/// A column.
#[derive(Debug, Clone)]
pub(super) struct ModelColumn {
    pub(super) name: String,
    /// It can only have few values.
    pub(super) few_values: bool,
    /// It holds a date or a time.
    pub(super) temporal: bool,
    pub(super) text: bool,
    /// The table and column that it references.
    pub(super) foreign: Option<(TableName, String)>,
    /// The call that declares it, in the class of the table itself.
    pub(super) call: Option<TextRange>,
}

/// An index.
#[derive(Debug, Clone)]
pub(super) struct ModelIndex {
    pub(super) name: Option<String>,
    pub(super) index: Index,
    /// `Index(…)`, or the column's call.
    pub(super) range: TextRange,
    pub(super) file: usize,
    /// `index=True`.
    pub(super) inline: bool,
}

#[derive(Debug, Clone, Copy)]
struct Class<'a> {
    file: usize,
    definition: &'a StmtClassDef,
}

#[derive(Debug, Clone)]
struct Import {
    /// `app.models`, with the dots of a relative import in front.
    module: String,
    /// Empty for a module.
    name: String,
}

/// What the body of a class says, its bases not considered.
#[derive(Default)]
struct Body<'a> {
    /// `Some(None)` when there is one that can't be read.
    #[expect(
        clippy::option_option,
        reason = "nothing, something that is not known, and something are three answers"
    )]
    tablename: Option<Option<String>>,
    is_abstract: bool,
    columns: Vec<(String, RawColumn<'a>)>,
    relationships: Vec<(String, Relationship)>,
    /// The parts of `__table_args__`; `None` when they can't be read.
    #[expect(
        clippy::option_option,
        reason = "nothing, something that is not known, and something are three answers"
    )]
    arguments: Option<Option<Vec<&'a Expr>>>,
    /// Names that it binds to something else.
    others: BTreeSet<String>,
    table: Option<&'a ExprCall>,
}

struct RawColumn<'a> {
    call: Option<&'a ExprCall>,
    annotation: Option<&'a Expr>,
    place: TextRange,
}

/// Names that say that a column holds one of few values.
const FEW: &[&str] = &[
    "status",
    "state",
    "type",
    "kind",
    "level",
    "mode",
    "category",
    "gender",
    "priority",
    "language",
    "locale",
    "currency",
    "role",
    "visibility",
    "action",
    "method",
    "source",
    "format",
    "scope",
    "direction",
    "severity",
    "flag",
    "permission",
    "protocol",
    "provider",
    "enabled",
    "active",
    "deleted",
    "version",
];

impl<'a> Models<'a> {
    pub(super) fn read(files: &'a [File]) -> Self {
        let mut models = Self::default();
        for (index, file) in files.iter().enumerate() {
            for part in file.path.split('/') {
                models.packages.insert(part.trim_end_matches(".py").to_owned());
            }
            models.scopes.push(Functions::new(&file.module).scope().clone());
            models.imports.push(imports(file.module.body()));
            collect_classes(file.module.body(), index, &mut models.classes);
        }
        models.enums = models
            .classes
            .iter()
            .filter(|(_, classes)| classes.iter().any(|class| models.is_enum(*class, 0)))
            .map(|(name, _)| name.clone())
            .collect();
        for (index, file) in files.iter().enumerate() {
            models.table_variables(file.module.body(), index);
        }
        let all: Vec<Class> = models.classes.values().flatten().copied().collect();
        for class in all {
            models.add_class(class);
        }
        for (index, model) in models.models.iter().enumerate() {
            models.by_name.entry(model.name.clone()).or_default().push(index);
        }
        for ((_, name), table) in &models.variables {
            models.variables_by_name.entry(name.clone()).or_default().insert(table.clone());
        }
        for (index, file) in files.iter().enumerate() {
            models.loose_indexes(file.module.body(), index);
        }
        models
    }

    /// The model that a name of a file stands for.
    pub(super) fn model(&self, file: usize, name: &str) -> Option<usize> {
        let wanted = match self.imports.get(file)?.get(name) {
            Some(import) if !self.is_ours(import) || import.name.is_empty() => return None,
            Some(import) => import.name.as_str(),
            None => name,
        };
        let candidates = self.by_name.get(wanted)?;
        if let Some(here) = candidates.iter().find(|model| self.models[**model].file == file) {
            return Some(*here);
        }
        if !self.imports[file].contains_key(name) {
            return None;
        }
        let [one] = candidates[..] else { return None };
        Some(one)
    }

    /// The model that an attribute of an imported module stands for: `models.User`.
    pub(super) fn model_of_module(&self, file: usize, module: &str, name: &str) -> Option<usize> {
        let import = self.imports.get(file)?.get(module)?;
        let [one] = self.by_name.get(name)?[..] else { return None };
        self.is_ours(import).then_some(one)
    }

    /// The model of a class of this name, wherever it is.
    pub(super) fn model_named(&self, name: &str, file: usize) -> Option<usize> {
        let name = name.rsplit('.').next().unwrap_or(name);
        let candidates = self.by_name.get(name)?;
        let here = candidates.iter().find(|model| self.models[**model].file == file);
        here.copied().or(match candidates[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// The table that a variable holds.
    pub(super) fn variable(&self, file: usize, name: &str) -> Option<&TableName> {
        if let Some(table) = self.variables.get(&(file, name.to_owned())) {
            return Some(table);
        }
        let import = self.imports.get(file)?.get(name).filter(|import| self.is_ours(import))?;
        let tables = self.variables_by_name.get(&import.name)?;
        if tables.len() == 1 { tables.first() } else { None }
    }

    /// Whether a name of a file comes from the application itself.
    fn is_ours(&self, import: &Import) -> bool {
        import.module.starts_with('.')
            || import.module.split('.').next().is_some_and(|root| self.packages.contains(root))
    }

    pub(super) fn is_imported(&self, file: usize, name: &str) -> bool {
        self.imports.get(file).is_some_and(|imports| imports.contains_key(name))
    }

    /// Whether an expression is a member of an enum: `Status.DONE`.
    pub(super) fn is_enum_member(&self, expression: &Expr) -> bool {
        match expression {
            Expr::Attribute(attribute) => match &*attribute.value {
                Expr::Name(name) => self.enums.contains(name.id.as_str()),
                inner => self.is_enum_member(inner),
            },
            _ => false,
        }
    }

    pub(super) fn column(&self, table: &TableName, column: &str) -> Option<&ModelColumn> {
        self.tables.get(table)?.columns.iter().find(|known| known.name == column)
    }

    fn is_enum(&self, class: Class, depth: usize) -> bool {
        class.definition.bases().iter().any(|base| {
            let name = dotted(base);
            let last = name.rsplit('.').next().unwrap_or_default();
            matches!(last, "Enum" | "IntEnum" | "StrEnum" | "IntFlag" | "Flag")
                || depth < 4
                    && self
                        .classes
                        .get(last)
                        .is_some_and(|bases| bases.iter().any(|base| self.is_enum(*base, depth + 1)))
        })
    }

    /// The class that a base stands for, when the application has it.
    fn base(&self, file: usize, base: &Expr) -> Option<Class<'a>> {
        let name = dotted(base);
        let last = name.rsplit('.').next()?;
        let wanted = match self.imports[file].get(last) {
            Some(import) if !import.name.is_empty() => import.name.as_str(),
            _ => last,
        };
        let candidates = self.classes.get(wanted)?;
        let here = candidates.iter().find(|class| class.file == file);
        here.copied().or(match candidates[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// A class and its bases, nearest first.
    fn lineage(&self, class: Class<'a>) -> Vec<Class<'a>> {
        let mut found = vec![class];
        let mut next = 0;
        while let Some(class) = found.get(next).copied() {
            next += 1;
            for base in class.definition.bases() {
                if let Some(base) = self.base(class.file, base)
                    && found.len() < 40
                    && !found.iter().any(|known| {
                        known.definition.range() == base.definition.range() && known.file == base.file
                    })
                {
                    found.push(base);
                }
            }
        }
        found
    }

    #[expect(
        clippy::too_many_lines,
        reason = "columns, relationships and arguments of all bases, in one order"
    )]
    fn add_class(&mut self, class: Class<'a>) {
        let lineage = self.lineage(class);
        let bodies: Vec<Body> = lineage.iter().map(|class| self.body(*class)).collect();
        let Some(own) = bodies.first() else { return };
        if own.is_abstract {
            return;
        }
        let table_of = |class: &Class, body: &Body| -> Option<Option<String>> {
            body.tablename
                .clone()
                .or_else(|| automatic_name(class.definition, body, &self.classes, &lineage).map(Some))
        };
        // Where a class without a table of its own inherits one, it shares that (single-table inheritance).
        let position = (0..lineage.len())
            .find(|at| !bodies[*at].is_abstract && table_of(&lineage[*at], &bodies[*at]).is_some());
        let Some(position) = position else {
            if let (Some(call), Some(class)) = (own.table, lineage.first()) {
                self.add_imperative(*class, call, own);
            }
            return;
        };
        let named = position > 0 || bodies[0].tablename.is_some();
        let Some(Some(name)) = table_of(&lineage[position], &bodies[position]) else { return };
        let is_mapped = named || bodies.iter().any(|body| !body.columns.is_empty());
        if !is_mapped {
            return;
        }
        let schema = bodies.iter().find_map(|body| self.schema(body, class.file));
        let table = TableName::new(schema.as_deref(), &name);
        let mut attributes = BTreeMap::new();
        let mut columns: Vec<ModelColumn> = Vec::new();
        let mut indexes = Vec::new();
        let mut complete = true;
        let mut others: BTreeSet<String> = BTreeSet::new();
        for (at, (owner, body)) in lineage.iter().zip(&bodies).enumerate() {
            // A base with a table of its own keeps its columns there.
            let inherited = at > position && !body.is_abstract && table_of(owner, body).is_some();
            let home = if inherited {
                let schema = self.schema(body, owner.file).or(schema.clone());
                match table_of(owner, body) {
                    Some(Some(name)) => TableName::new(schema.as_deref(), &name),
                    _ => continue,
                }
            } else {
                table.clone()
            };
            for (attribute, raw) in &body.columns {
                if attributes.contains_key(attribute) || others.contains(attribute) {
                    continue;
                }
                let (column, inline, key) = self.column_of(attribute, raw, owner.file, &home, at == 0);
                attributes.insert(
                    attribute.clone(),
                    Attribute::Column { table: home.clone(), column: column.name.clone() },
                );
                if home == table && !columns.iter().any(|known| known.name == column.name) {
                    indexes.extend(inline);
                    indexes.extend(key);
                    columns.push(column);
                }
            }
            for (attribute, relationship) in &body.relationships {
                if !others.contains(attribute) {
                    attributes
                        .entry(attribute.clone())
                        .or_insert_with(|| Attribute::Relationship(relationship.clone()));
                }
            }
            others.extend(body.others.iter().cloned());
        }
        // The arguments of the nearest class count; mixins have theirs merged by hand, if at all.
        let arguments =
            bodies.iter().zip(&lineage).find_map(|(body, owner)| Some((body.arguments.as_ref()?, owner)));
        match arguments {
            Some((Some(parts), owner)) => {
                for part in parts {
                    match self.argument(part, &table, &attributes, owner.file) {
                        Some(found) => indexes.extend(found),
                        None => complete = false,
                    }
                }
            }
            Some((None, _)) => complete = false,
            None => {}
        }
        join_primary_keys(&mut indexes);
        let definition = class.definition;
        let model = Model {
            file: class.file,
            name: definition.name.to_string(),
            table: table.clone(),
            attributes,
            range: definition.range(),
        };
        self.models.push(model);
        let place = definition.name.range();
        let known = self.tables.entry(table).or_insert_with(|| ModelTable {
            columns: Vec::new(),
            indexes: Vec::new(),
            complete: true,
            file: class.file,
            class: (position == 0).then_some(definition.range()),
            place,
        });
        if position == 0 && known.class.is_none() {
            (known.class, known.file, known.place) = (Some(definition.range()), class.file, place);
        }
        known.complete &= complete;
        for column in columns {
            if !known.columns.iter().any(|other| other.name == column.name) {
                known.columns.push(column);
            }
        }
        for index in indexes {
            if !known.indexes.iter().any(|other| other.index == index.index && other.name == index.name) {
                known.indexes.push(index);
            }
        }
    }

    /// A class with `__table__ = Table(…)`.
    fn add_imperative(&mut self, class: Class<'a>, call: &'a ExprCall, body: &Body) {
        let Some(name) = self.add_table(call, class.file) else { return };
        let Some(table) = self.tables.get(&name) else { return };
        let mut attributes: BTreeMap<_, _> = table
            .columns
            .iter()
            .map(|column| {
                (column.name.clone(), Attribute::Column { table: name.clone(), column: column.name.clone() })
            })
            .collect();
        for (attribute, relationship) in &body.relationships {
            attributes.insert(attribute.clone(), Attribute::Relationship(relationship.clone()));
        }
        let definition = class.definition;
        self.models.push(Model {
            file: class.file,
            name: definition.name.to_string(),
            table: name,
            attributes,
            range: definition.range(),
        });
    }

    fn schema(&self, body: &Body, file: usize) -> Option<String> {
        let parts = body.arguments.as_ref()?.as_ref()?;
        parts.iter().find_map(|part| match self.scopes[file].eval(part) {
            Value::Dict(items) => items.into_iter().find_map(|(key, value)| match (key, value) {
                (Value::Str(key), Value::Str(schema)) if key == "schema" => Some(schema),
                _ => None,
            }),
            _ => None,
        })
    }

    fn body(&self, class: Class<'a>) -> Body<'a> {
        let mut body = Body::default();
        for statement in &class.definition.body {
            match statement {
                Stmt::Assign(assignment) => {
                    for target in &assignment.targets {
                        if let Expr::Name(name) = target {
                            self.attribute(&name.id, Some(&assignment.value), None, class.file, &mut body);
                        }
                    }
                }
                Stmt::AnnAssign(assignment) => {
                    if let Expr::Name(name) = &*assignment.target {
                        let annotation = Some(&*assignment.annotation);
                        self.attribute(
                            &name.id,
                            assignment.value.as_deref(),
                            annotation,
                            class.file,
                            &mut body,
                        );
                    }
                }
                Stmt::FunctionDef(function) => {
                    let declared = function
                        .decorator_list
                        .iter()
                        .any(|decorator| dotted(&decorator.expression).contains("declared_attr"));
                    let result = function.body.iter().rev().find_map(|statement| match statement {
                        Stmt::Return(result) => result.value.as_deref(),
                        _ => None,
                    });
                    let simple =
                        function.body.iter().filter(|statement| !statement.is_expr_stmt()).count() == 1;
                    match (declared || function.name.as_str() == "__tablename__", result) {
                        (true, Some(result)) if simple => {
                            self.attribute(&function.name, Some(result), None, class.file, &mut body);
                        }
                        (true, _) if function.name.as_str() == "__table_args__" => {
                            body.arguments = Some(None);
                        }
                        (true, _) if function.name.as_str() == "__tablename__" => body.tablename = Some(None),
                        _ => {
                            body.others.insert(function.name.to_string());
                        }
                    }
                }
                _ => {}
            }
        }
        body
    }

    fn attribute(
        &self,
        name: &str,
        value: Option<&'a Expr>,
        annotation: Option<&'a Expr>,
        file: usize,
        body: &mut Body<'a>,
    ) {
        let evaluated = value.map(|value| self.scopes[file].eval(value));
        let call = match value {
            Some(Expr::Call(call)) => Some(call),
            // `deferred(Column(…))`
            _ => None,
        };
        let call = call.map(|call| match (callee(call), call.arguments.args.first()) {
            (Some("deferred" | "column_property"), Some(Expr::Call(inner))) => inner,
            _ => call,
        });
        match name {
            "__tablename__" => {
                body.tablename = Some(evaluated.and_then(|value| value.as_str().map(str::to_owned)));
                return;
            }
            "__abstract__" => {
                body.is_abstract = evaluated.and_then(|value| value.truth()) == Some(true);
                return;
            }
            "__table__" => {
                body.table = call.filter(|call| callee(call) == Some("Table"));
                return;
            }
            "__table_args__" => {
                body.arguments = Some(match value {
                    Some(Expr::Tuple(tuple)) if !tuple.elts.iter().any(Expr::is_starred_expr) => {
                        Some(tuple.elts.iter().collect())
                    }
                    Some(Expr::List(list)) => Some(list.elts.iter().collect()),
                    Some(dict @ Expr::Dict(_)) => Some(vec![dict]),
                    Some(Expr::NoneLiteral(_)) => Some(Vec::new()),
                    _ => None,
                });
                return;
            }
            _ if name.starts_with("__") => return,
            _ => {}
        }
        let mapped = annotation.is_some_and(|annotation| {
            matches!(annotation, Expr::Subscript(subscript) if dotted(&subscript.value).ends_with("Mapped"))
        });
        let place = call.map_or_else(
            || value.or(annotation).map_or_else(TextRange::default, Ranged::range),
            Ranged::range,
        );
        match call.and_then(callee) {
            Some("Column" | "mapped_column" | "Field") => {
                // Pydantic's `Field` declares no column; the class decides.
                body.columns.push((name.to_owned(), RawColumn { call, annotation, place }));
            }
            Some("relationship" | "relation" | "Relationship" | "dynamic_loader") => {
                if let Some(call) = call {
                    let relationship = self.relationship(call, annotation, file);
                    body.relationships.push((name.to_owned(), relationship));
                }
            }
            _ if mapped && call.is_none() => {
                body.columns.push((name.to_owned(), RawColumn { call: None, annotation, place }));
            }
            _ => {
                body.others.insert(name.to_owned());
            }
        }
    }

    fn relationship(&self, call: &ExprCall, annotation: Option<&Expr>, file: usize) -> Relationship {
        let first = call.arguments.find_argument_value("argument", 0);
        let target = match first {
            Some(Expr::StringLiteral(text)) => Some(text.value.to_str().to_owned()),
            Some(Expr::Lambda(lambda)) => Some(dotted(&lambda.body)),
            Some(expression) => Some(dotted(expression)),
            None => annotation.and_then(inner_class),
        };
        let secondary = call.arguments.find_argument_value("secondary", 1).map(|value| {
            let name = match value {
                Expr::StringLiteral(text) => return Some(TableName::new(None, text.value.to_str())),
                other => dotted(other),
            };
            self.variable(file, &name).cloned()
        });
        let special = ["primaryjoin", "foreign_keys", "remote_side", "viewonly", "secondaryjoin"]
            .iter()
            .any(|name| call.arguments.find_keyword(name).is_some())
            || call.arguments.find_keyword("lazy").is_some_and(|lazy| {
                matches!(&lazy.value, Expr::StringLiteral(text) if ["noload", "raise", "raise_on_sql", "write_only"].contains(&text.value.to_str()))
            });
        let backref = call.arguments.find_keyword("backref").is_some();
        Relationship {
            target: target.filter(|name| !name.is_empty()),
            secondary,
            special,
            backref,
            range: call.range(),
            file,
        }
    }

    #[expect(clippy::too_many_lines, reason = "one part per argument")]
    /// A column, the index of `index=True`, and the one behind `unique=True` or `primary_key=True`.
    fn column_of(
        &self,
        attribute: &str,
        raw: &RawColumn,
        file: usize,
        table: &TableName,
        own: bool,
    ) -> (ModelColumn, Option<ModelIndex>, Option<ModelIndex>) {
        let scope = &self.scopes[file];
        let mut name = attribute.to_owned();
        let mut types = String::new();
        let mut foreign = None;
        // `Field(sa_column=Column(…))`.
        let inner = raw
            .call
            .and_then(|call| call.arguments.find_keyword("sa_column"))
            .and_then(|keyword| keyword.value.as_call_expr());
        let flag = |keyword: &str| {
            let given =
                [inner, raw.call].into_iter().flatten().find_map(|call| call.arguments.find_keyword(keyword));
            given.is_some_and(|keyword| scope.eval(&keyword.value).truth() != Some(false))
        };
        if let Some(call) = raw.call {
            let is_field = callee(call) == Some("Field");
            for (position, argument) in inner.unwrap_or(call).arguments.args.iter().enumerate() {
                match argument {
                    Expr::StringLiteral(text) if position == 0 && !is_field => {
                        text.value.to_str().clone_into(&mut name);
                    }
                    Expr::Call(part) if callee(part) == Some("ForeignKey") => {
                        foreign = part.arguments.args.first().and_then(|target| self.foreign(target, file));
                    }
                    other if !is_field || inner.is_some() => {
                        types.push_str(&format!(" {}", dotted(called(other))));
                    }
                    _ => {}
                }
            }
            for (keyword, is_foreign) in [("name", false), ("foreign_key", true)] {
                if let Some(Value::Str(text)) =
                    call.arguments.find_keyword(keyword).map(|keyword| scope.eval(&keyword.value))
                {
                    if is_foreign {
                        foreign = foreign.or_else(|| reference(&text));
                    } else if !is_field {
                        name = text;
                    }
                }
            }
            if let Some(keyword) =
                call.arguments.find_keyword("type_").or_else(|| call.arguments.find_keyword("sa_type"))
            {
                types.push_str(&format!(" {}", dotted(called(&keyword.value))));
            }
        }
        if let Some(annotation) = raw.annotation {
            words(annotation, &mut types);
        }
        let has = |wanted: &[&str]| {
            types.split_whitespace().any(|word| wanted.contains(&word.rsplit('.').next().unwrap_or(word)))
        };
        let is_enum = types.split_whitespace().any(|word| {
            let last = word.rsplit('.').next().unwrap_or(word);
            last.to_lowercase().ends_with("enum") || self.enums.contains(last)
        });
        let lower = name.to_lowercase();
        let few_by_name = FEW.iter().any(|word| lower == *word || lower.ends_with(&format!("_{word}")))
            || lower.starts_with("is_")
            || lower.starts_with("has_");
        let column = ModelColumn {
            few_values: is_enum
                || has(&[
                    "Boolean",
                    "BOOLEAN",
                    "bool",
                    "Literal",
                    "JSON",
                    "JSONB",
                    "LargeBinary",
                    "ARRAY",
                    "SmallInteger",
                ])
                || few_by_name,
            temporal: has(&[
                "DateTime",
                "Date",
                "TIMESTAMP",
                "datetime",
                "date",
                "UtcDateTime",
                "UTCDateTime",
            ]),
            text: has(&["String", "Text", "Unicode", "UnicodeText", "VARCHAR", "str", "TEXT"]),
            foreign,
            call: raw.call.filter(|_| own).map(Ranged::range),
            name,
        };
        let index = |unique: bool, of_constraint: bool| ModelIndex {
            name: (!of_constraint)
                .then(|| naming::column_index_name(table.schema.as_deref(), &table.name, &column.name)),
            index: Index {
                table: table.clone(),
                unique,
                elements: vec![IndexElement::Column(column.name.clone())],
                options: IndexOptions::default(),
                of_constraint,
                certain: true,
            },
            range: raw.place,
            file,
            inline: !of_constraint,
        };
        let inline = flag("index").then(|| index(flag("unique"), false));
        let key = (flag("primary_key") || flag("unique") && inline.is_none()).then(|| {
            let mut key = index(true, true);
            // All columns of the primary key make one index.
            key.name = flag("primary_key").then(|| PRIMARY.to_owned());
            key
        });
        (column, inline, key)
    }

    fn foreign(&self, target: &Expr, file: usize) -> Option<(TableName, String)> {
        match (self.scopes[file].eval(target), target) {
            (Value::Str(text), _) => reference(&text),
            // `ForeignKey(User.id)`
            (_, Expr::Attribute(attribute)) => {
                let owner = dotted(&attribute.value);
                let owner = owner.strip_suffix(".c").unwrap_or(&owner);
                if let Some(table) = self.variable(file, owner) {
                    return Some((table.clone(), attribute.attr.to_string()));
                }
                let class = self.classes.get(owner.rsplit('.').next()?)?.first()?;
                let name = self.body(*class).tablename??;
                Some((TableName::new(None, &name), attribute.attr.to_string()))
            }
            _ => None,
        }
    }

    /// What a part of `__table_args__` or of `Table(…)` says about indexes; `None` when that is not known.
    fn argument(
        &self,
        part: &Expr,
        table: &TableName,
        attributes: &BTreeMap<String, Attribute>,
        file: usize,
    ) -> Option<Vec<ModelIndex>> {
        let call = match part {
            Expr::Call(call) => call,
            Expr::Dict(_) | Expr::StringLiteral(_) => return Some(Vec::new()),
            _ => return None,
        };
        let scope = &self.scopes[file];
        let element = |expression: &Expr| self.element(expression, attributes, file);
        let arguments = &call.arguments.args;
        if arguments.iter().any(Expr::is_starred_expr) {
            return None;
        }
        let truth = |keyword: &str| {
            call.arguments
                .find_keyword(keyword)
                .is_some_and(|keyword| scope.eval(&keyword.value).truth() == Some(true))
        };
        let (name, elements, unique, of_constraint) = match callee(call)? {
            "Index" => {
                let name = scope.eval(arguments.first()?).as_str().map(str::to_owned);
                (name, arguments.iter().skip(1).map(element).collect(), truth("unique"), false)
            }
            "UniqueConstraint" => (None, arguments.iter().map(element).collect(), true, true),
            "PrimaryKeyConstraint" => {
                (Some(PRIMARY.to_owned()), arguments.iter().map(element).collect(), true, true)
            }
            "CheckConstraint" | "ForeignKeyConstraint" | "ExcludeConstraint" | "Column" | "MetaData" => {
                return Some(Vec::new());
            }
            _ => return None,
        };
        let options = IndexOptions::read(call, scope);
        let index = Index { table: table.clone(), unique, elements, options, of_constraint, certain: true };
        Some(vec![ModelIndex { name, index, range: call.range(), file, inline: false }])
    }

    fn element(
        &self,
        expression: &Expr,
        attributes: &BTreeMap<String, Attribute>,
        file: usize,
    ) -> IndexElement {
        let column = |name: &str| match attributes.get(name) {
            Some(Attribute::Column { column, .. }) => column.clone(),
            _ => name.to_owned(),
        };
        let of = |expression: &Expr| match self.element(expression, attributes, file) {
            IndexElement::Column(name) | IndexElement::Expression(Some(name)) => Some(name),
            IndexElement::Expression(None) => None,
        };
        match expression {
            Expr::StringLiteral(text) => IndexElement::Column(text.value.to_str().to_owned()),
            Expr::Name(name) => IndexElement::Column(column(&name.id)),
            Expr::Attribute(attribute) => IndexElement::Column(column(&attribute.attr)),
            Expr::Call(call) => {
                let first = call.arguments.args.first();
                match (&*call.func, callee(call), first) {
                    (Expr::Attribute(attribute), Some(order @ ("desc" | "asc")), None) => {
                        IndexElement::Expression(
                            of(&attribute.value).map(|name| format!("{name} {}", order.to_uppercase())),
                        )
                    }
                    (_, Some(order @ ("desc" | "asc")), Some(inner)) => IndexElement::Expression(
                        of(inner).map(|name| format!("{name} {}", order.to_uppercase())),
                    ),
                    (_, Some("text" | "literal_column"), Some(_)) => match self.scopes[file].eval(expression)
                    {
                        Value::Sql(sql) => IndexElement::sql(&sql),
                        _ => IndexElement::Expression(None),
                    },
                    (Expr::Attribute(attribute), Some(function), Some(inner))
                        if dotted(&attribute.value).ends_with("func") =>
                    {
                        IndexElement::Expression(of(inner).map(|name| format!("{function}({name})")))
                    }
                    _ => IndexElement::Expression(None),
                }
            }
            _ => IndexElement::Expression(None),
        }
    }

    fn table_variables(&mut self, body: &'a [Stmt], file: usize) {
        for statement in body {
            match statement {
                Stmt::Assign(assignment) => {
                    let Expr::Call(call) = &*assignment.value else { continue };
                    let [Expr::Name(target)] = &*assignment.targets else { continue };
                    if callee(call) == Some("Table")
                        && let Some(name) = self.add_table(call, file)
                    {
                        self.variables.insert((file, target.id.to_string()), name);
                    }
                }
                Stmt::If(branch) => self.table_variables(&branch.body, file),
                _ => {}
            }
        }
    }

    /// `Table("t", metadata, Column(…), …)`.
    fn add_table(&mut self, call: &'a ExprCall, file: usize) -> Option<TableName> {
        let scope = &self.scopes[file];
        let name = scope.eval(call.arguments.args.first()?).as_str()?.to_owned();
        let schema = match call.arguments.find_keyword("schema").map(|keyword| scope.eval(&keyword.value)) {
            None | Some(Value::None) => None,
            Some(Value::Str(schema)) => Some(schema),
            Some(_) => return None,
        };
        let table = TableName::new(schema.as_deref(), &name);
        let mut found = ModelTable {
            columns: Vec::new(),
            indexes: Vec::new(),
            complete: true,
            file,
            class: None,
            place: call.func.range(),
        };
        let attributes = BTreeMap::new();
        for (position, part) in call.arguments.args.iter().enumerate().skip(1) {
            match part {
                // The metadata, unless Flask-SQLAlchemy has it.
                _ if position == 1 && callee_of(part) != Some("Column") => {}
                Expr::Call(column) if callee(column) == Some("Column") => {
                    let raw = RawColumn { call: Some(column), annotation: None, place: column.range() };
                    let Some(Expr::StringLiteral(name)) = column.arguments.args.first() else {
                        found.complete = false;
                        continue;
                    };
                    let (column, inline, key) = self.column_of(name.value.to_str(), &raw, file, &table, true);
                    found.columns.push(column);
                    found.indexes.extend(inline);
                    found.indexes.extend(key);
                }
                other => match self.argument(other, &table, &attributes, file) {
                    Some(indexes) => found.indexes.extend(indexes),
                    None => found.complete = false,
                },
            }
        }
        join_primary_keys(&mut found.indexes);
        self.tables.entry(table.clone()).or_insert(found);
        Some(table)
    }

    /// `Index("ix", User.email)` outside of a class.
    fn loose_indexes(&mut self, body: &[Stmt], file: usize) {
        for statement in body {
            let call = match statement {
                Stmt::Expr(expression) => &expression.value,
                Stmt::Assign(assignment) => &assignment.value,
                _ => continue,
            };
            let Expr::Call(call) = &**call else { continue };
            if callee(call) != Some("Index") {
                continue;
            }
            let owner = call.arguments.args.iter().skip(1).find_map(|argument| {
                let mut names = String::new();
                words(argument, &mut names);
                names.split_whitespace().find_map(|name| {
                    let owner = name.split('.').next()?;
                    self.model(file, owner)
                        .map(|model| self.models[model].table.clone())
                        .or_else(|| self.variable(file, owner).cloned())
                })
            });
            let Some(table) = owner else { continue };
            let attributes = self
                .models
                .iter()
                .find(|model| model.table == table)
                .map(|model| model.attributes.clone())
                .unwrap_or_default();
            let indexes = self.argument(&Expr::Call(call.clone()), &table, &attributes, file);
            if let Some(known) = self.tables.get_mut(&table) {
                match indexes {
                    Some(indexes) => known.indexes.extend(indexes),
                    None => known.complete = false,
                }
            }
        }
    }
}

/// Stands for the name of a primary key's index.
pub(super) const PRIMARY: &str = "(primary key)";

/// The columns that each say `primary_key=True` share one index.
fn join_primary_keys(indexes: &mut Vec<ModelIndex>) {
    let is_key = |index: &ModelIndex| index.name.as_deref() == Some(PRIMARY);
    let Some(first) = indexes.iter().position(is_key) else { return };
    let elements: Vec<_> =
        indexes.iter().filter(|index| is_key(index)).flat_map(|index| index.index.elements.clone()).collect();
    indexes[first].index.elements = elements;
    let mut seen = false;
    indexes.retain(|index| !is_key(index) || !std::mem::replace(&mut seen, true));
}

/// The name that Flask-SQLAlchemy or `SQLModel` gives to a table.
fn automatic_name(
    class: &StmtClassDef,
    body: &Body,
    classes: &BTreeMap<String, Vec<Class>>,
    lineage: &[Class],
) -> Option<String> {
    let is_table = class.keywords().iter().any(|keyword| {
        keyword.arg.as_ref().is_some_and(|name| name == "table") && keyword.value.is_boolean_literal_expr()
    });
    if is_table {
        return Some(class.name.to_lowercase());
    }
    let is_flask = lineage.iter().any(|class| {
        class.definition.bases().iter().any(|base| {
            let name = dotted(base);
            name == "db.Model" && !classes.contains_key("Model")
        })
    });
    let has_key = body.columns.iter().any(|(_, raw)| {
        raw.call.is_some_and(|call| {
            callee(call) != Some("Field") && call.arguments.find_keyword("primary_key").is_some()
        })
    });
    (is_flask && has_key).then(|| snake_case(&class.name))
}

/// Flask-SQLAlchemy's `camel_to_snake_case`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let starts = letter.is_ascii_uppercase()
            && before.is_some_and(|before| {
                before.is_ascii_lowercase()
                    || before.is_ascii_digit()
                    || letters.get(at + 1).is_some_and(char::is_ascii_lowercase)
            });
        if starts {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `schema.table.column`.
fn reference(text: &str) -> Option<(TableName, String)> {
    let (table, column) = text.rsplit_once('.')?;
    let table = match table.split_once('.') {
        Some((schema, table)) => TableName::new(Some(schema), table),
        None => TableName::new(None, table),
    };
    Some((table, column.to_owned()))
}

/// `a.b.c` of a chain of attributes; empty for anything else.
pub(super) fn dotted(expression: &Expr) -> String {
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
fn called(expression: &Expr) -> &Expr {
    match expression {
        Expr::Call(call) => &call.func,
        other => other,
    }
}

fn callee_of(expression: &Expr) -> Option<&str> {
    expression.as_call_expr().and_then(callee)
}

/// All names in an annotation, also in one that is quoted.
fn words(expression: &Expr, out: &mut String) {
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
        other => out.push_str(&format!(" {}", dotted(other))),
    }
}

/// `Child` of `Mapped[list["Child"]]`.
fn inner_class(annotation: &Expr) -> Option<String> {
    let mut names = String::new();
    words(annotation, &mut names);
    let known =
        ["Mapped", "List", "list", "Optional", "Set", "set", "None", "DynamicMapped", "Sequence", "Union"];
    let mut names =
        names.split_whitespace().filter(|name| !known.contains(&name.rsplit('.').next().unwrap_or(name)));
    let first = names.next()?.to_owned();
    names.next().is_none().then_some(first)
}

fn imports(body: &[Stmt]) -> BTreeMap<String, Import> {
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

fn collect_classes<'a>(body: &'a [Stmt], file: usize, classes: &mut BTreeMap<String, Vec<Class<'a>>>) {
    for statement in body {
        match statement {
            Stmt::ClassDef(definition) => {
                classes.entry(definition.name.to_string()).or_default().push(Class { file, definition });
            }
            Stmt::If(branch) => collect_classes(&branch.body, file, classes),
            Stmt::Try(block) => collect_classes(&block.body, file, classes),
            _ => {}
        }
    }
}
