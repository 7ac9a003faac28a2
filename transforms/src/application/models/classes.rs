//! What a class says: its own body, and what it has from its bases.

use std::collections::{BTreeMap, BTreeSet};

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_text_size::{Ranged, TextRange};

use super::columns::join_primary_keys;
use super::names::{dotted, words};
use super::{Attribute, Backref, Class, Model, ModelColumn, ModelTable, Models, Relationship};
use crate::operations::{TableName, callee};
use crate::python::value::Value;

/// What the body of a class says, its bases not considered.
#[derive(Default)]
pub(super) struct Body<'a> {
    /// `Some(None)` when there is one that can't be read.
    #[expect(
        clippy::option_option,
        reason = "nothing, something that is not known, and something are three answers"
    )]
    pub(super) tablename: Option<Option<String>>,
    is_abstract: bool,
    columns: Vec<(String, RawColumn<'a>)>,
    relationships: Vec<(String, Relationship)>,
    /// Other names of attributes, with theirs.
    synonyms: Vec<(String, String)>,
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

pub(super) struct RawColumn<'a> {
    pub(super) call: Option<&'a ExprCall>,
    pub(super) annotation: Option<&'a Expr>,
    pub(super) place: TextRange,
}

/// Values of `lazy` with which a relationship is loaded with each row.
const EAGER: &[&str] = &["immediate", "joined", "selectin", "subquery"];

impl<'a> Models<'a> {
    pub(super) fn is_enum(&self, class: Class, depth: usize) -> bool {
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
    pub(super) fn base(&self, file: usize, base: &Expr) -> Option<Class<'a>> {
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
    pub(super) fn add_class(&mut self, class: Class<'a>) {
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
        // The nearest arguments hide the others, unless they may take them over.
        let hides = |body: &Body| match &body.arguments {
            Some(Some(parts)) => parts.iter().all(|part| part.is_call_expr() || part.is_dict_expr()),
            _ => false,
        };
        let seen = bodies.iter().position(hides).map_or(bodies.len(), |nearest| nearest + 1);
        let schema = bodies[..seen].iter().find_map(|body| self.schema(body, class.file));
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
        for (name, of) in bodies.iter().flat_map(|body| &body.synonyms) {
            if let Some(attribute) = attributes.get(of).cloned().filter(|_| !others.contains(name)) {
                attributes.entry(name.clone()).or_insert(attribute);
            }
        }
        // The arguments of the nearest class count; mixins have theirs merged by hand, if at all.
        let arguments =
            bodies.iter().zip(&lineage).find_map(|(body, owner)| Some((body.arguments.as_ref()?, owner)));
        let of_bases = bodies.iter().skip(1).any(|body| body.arguments.is_some());
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
            inherits_arguments: false,
            hides_arguments: false,
            file: class.file,
            class: (position == 0).then_some(definition.range()),
            place,
        });
        if position == 0 && known.class.is_none() {
            (known.class, known.file, known.place) = (Some(definition.range()), class.file, place);
        }
        known.complete &= complete;
        if position == 0 && of_bases {
            known.hides_arguments |= own.arguments.is_some();
            known.inherits_arguments |= own.arguments.is_none();
        }
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

    pub(super) fn schema(&self, body: &Body, file: usize) -> Option<String> {
        let parts = body.arguments.as_ref()?.as_ref()?;
        parts.iter().find_map(|part| match self.scopes[file].eval(part) {
            Value::Dict(items) => items.into_iter().find_map(|(key, value)| match (key, value) {
                (Value::Str(key), Value::Str(schema)) if key == "schema" => Some(schema),
                _ => None,
            }),
            _ => None,
        })
    }

    pub(super) fn body(&self, class: Class<'a>) -> Body<'a> {
        let mut body = Body::default();
        let is_sqlmodel = self.lineage(class).iter().any(|class| {
            class.definition.bases().iter().any(|base| dotted(base).rsplit('.').next() == Some("SQLModel"))
        });
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
                        let value = assignment.value.as_deref();
                        if is_sqlmodel && is_field(&name.id, &assignment.annotation, value) {
                            let place = value.map_or(assignment.annotation.range(), Ranged::range);
                            body.columns
                                .push((name.id.to_string(), RawColumn { call: None, annotation, place }));
                            continue;
                        }
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
            Some("synonym") => match call.and_then(|call| call.arguments.find_argument_value("name", 0)) {
                Some(Expr::StringLiteral(of)) => {
                    body.synonyms.push((name.to_owned(), of.value.to_str().to_owned()));
                }
                _ => {
                    body.others.insert(name.to_owned());
                }
            },
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
        // SQLModel passes them on.
        let passed_on = call.arguments.find_keyword("sa_relationship_kwargs").map(|keyword| &keyword.value);
        let given = |name: &str| match passed_on {
            _ if call.arguments.find_keyword(name).is_some() => true,
            Some(Expr::Dict(dict)) => dict.items.iter().any(|item| match &item.key {
                Some(Expr::StringLiteral(key)) => key.value.to_str() == name,
                _ => true,
            }),
            Some(_) => true,
            None => false,
        };
        let special = ["primaryjoin", "foreign_keys", "remote_side", "viewonly", "secondaryjoin"]
            .into_iter()
            .any(given)
            || call.arguments.find_keyword("lazy").is_some_and(|lazy| {
                matches!(&lazy.value, Expr::StringLiteral(text) if ["noload", "raise", "raise_on_sql", "write_only"].contains(&text.value.to_str()))
            });
        let is_eager = |value: &Expr| match value {
            Expr::StringLiteral(text) => EAGER.contains(&text.value.to_str()),
            Expr::BooleanLiteral(boolean) => !boolean.value,
            _ => false,
        };
        let lazy = call.arguments.find_keyword("lazy").map(|keyword| &keyword.value).or_else(|| {
            let dict = passed_on?.as_dict_expr()?;
            let is_lazy =
                |key: &Expr| matches!(key, Expr::StringLiteral(text) if text.value.to_str() == "lazy");
            dict.items.iter().find(|item| item.key.as_ref().is_some_and(is_lazy)).map(|item| &item.value)
        });
        let backref = call.arguments.find_keyword("backref").map(|keyword| {
            let given = keyword.value.as_call_expr();
            let name = given.map_or(Some(&keyword.value), |call| call.arguments.args.first());
            let name = name.and_then(Expr::as_string_literal_expr).map(|text| text.value.to_str().to_owned());
            let lazy = given.and_then(|call| call.arguments.find_keyword("lazy"));
            Backref { name, eager: lazy.is_some_and(|lazy| is_eager(&lazy.value)) }
        });
        Relationship {
            target: target.filter(|name| !name.is_empty()),
            secondary,
            special,
            eager: lazy.is_some_and(is_eager),
            backref,
            range: call.range(),
            file,
        }
    }
}

/// Whether Pydantic takes an annotation without a call for a field, which `SQLModel` makes a column of.
fn is_field(name: &str, annotation: &Expr, value: Option<&Expr>) -> bool {
    let mut names = String::new();
    words(annotation, &mut names);
    !name.starts_with('_')
        && name != "model_config"
        && !value.is_some_and(Expr::is_call_expr)
        && !names.split_whitespace().any(|name| name.rsplit('.').next() == Some("ClassVar"))
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

pub(super) fn collect_classes<'a>(
    body: &'a [Stmt],
    file: usize,
    classes: &mut BTreeMap<String, Vec<Class<'a>>>,
) {
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
