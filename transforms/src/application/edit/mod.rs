//! Declares an index on a model, in the style of its file.

mod remove;

use ruff_python_ast::{Expr, ExprCall, Stmt, StmtClassDef};
use ruff_source_file::LineRanges;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::{Declaration, DeclarationChange};
use crate::layout;
use crate::operations::{IndexElement, callee};
use crate::python::Module;
use crate::python::edit::{self, Edit};
use crate::revision::NewIndex;

/// The text of a file with the change.
///
/// # Errors
/// Why it can't be made.
pub(super) fn declare(source: &str, declaration: &Declaration) -> Result<String, String> {
    let module = Module::parse(source.to_owned()).map_err(|error| error.message)?;
    let editor = Editor { module: &module };
    let new = match &declaration.change {
        DeclarationChange::RemoveInline { column, unique } => {
            let without = |source: &str, keyword: &str| {
                let module = Module::parse(source.to_owned()).map_err(|error| error.message)?;
                let call = Editor { module: &module }.column(declaration, column)?.range();
                layout::without_keyword(&module, call, keyword).ok_or_else(|| {
                    format!("`{keyword}=True` could not be taken away without losing something")
                })
            };
            let new = without(source, "index")?;
            if *unique { without(&new, "unique")? } else { new }
        }
        DeclarationChange::Remove { call } => {
            let edits = editor.remove(declaration, call)?;
            edit::apply(source, edits)
                .filter(|new| layout::is_faithful(&module, new))
                .ok_or_else(|| "it could not be taken away without losing a comment".to_owned())?
        }
        DeclarationChange::Add { index, inline: true } => {
            let Some(IndexElement::Column(column)) = index.elements.first() else {
                return Err("it is over no column".to_owned());
            };
            let call = editor.column(declaration, column)?;
            if call.arguments.find_keyword("index").is_some() {
                return Err("the model says `index=` of it already".to_owned());
            }
            layout::with_keywords(&module, &[(call.range(), vec![("index", "True".to_owned())])])
                .ok_or_else(|| "the model's file could not be edited".to_owned())?
        }
        DeclarationChange::Add { index, inline: false } => {
            let edits = editor.add(declaration, index)?;
            edit::apply(source, edits).ok_or_else(|| "the model's file could not be edited".to_owned())?
        }
    };
    Module::parse(new.clone()).map_err(|_| "the model's file could not be edited".to_owned())?;
    Ok(new)
}

/// Whether a call makes an index or a constraint of a table.
fn is_table_part(name: &str) -> bool {
    name == "Index" || name.ends_with("Constraint")
}

/// What a statement assigns to a name.
fn assigned<'a>(statement: &'a Stmt, name: &str) -> Option<&'a Expr> {
    let is_it = |target: &Expr| matches!(target, Expr::Name(target) if target.id.as_str() == name);
    match statement {
        Stmt::Assign(assignment) => match &*assignment.targets {
            [target] if is_it(target) => Some(&assignment.value),
            _ => None,
        },
        Stmt::AnnAssign(assignment) if is_it(&assignment.target) => assignment.value.as_deref(),
        _ => None,
    }
}

/// What a statement of a class assigns to `__table_args__`.
fn table_arguments(statement: &Stmt) -> Option<&Expr> {
    assigned(statement, "__table_args__")
}

struct Editor<'a> {
    module: &'a Module,
}

impl<'a> Editor<'a> {
    fn class(&self, name: &str) -> Option<&'a StmtClassDef> {
        fn find<'a>(body: &'a [Stmt], name: &str) -> Option<&'a StmtClassDef> {
            body.iter().find_map(|statement| match statement {
                Stmt::ClassDef(class) if class.name.as_str() == name => Some(class),
                Stmt::If(branch) => find(&branch.body, name),
                Stmt::Try(block) => find(&block.body, name),
                _ => None,
            })
        }
        find(self.module.body(), name)
    }

    /// `Table("t", …)`.
    fn table(&self, name: &str) -> Option<&'a ExprCall> {
        self.module.body().iter().find_map(|statement| match statement {
            Stmt::Assign(assignment) => match &*assignment.value {
                Expr::Call(call) if callee(call) == Some("Table") => match call.arguments.args.first() {
                    Some(Expr::StringLiteral(text)) if text.value.to_str() == name => Some(call),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
    }

    /// The call that declares a column.
    fn column(&self, declaration: &Declaration, column: &str) -> Result<&'a ExprCall, String> {
        let not_found = || format!("no call in the model declares `{column}`");
        let is_column = |call: &ExprCall| matches!(callee(call), Some("Column" | "mapped_column" | "Field"));
        let named = |call: &ExprCall| match call.arguments.args.first() {
            Some(Expr::StringLiteral(text)) if callee(call) != Some("Field") => {
                Some(text.value.to_str() == column)
            }
            _ => None,
        };
        let Some(class) = &declaration.class else {
            let table = self.table(&declaration.table.name).ok_or_else(not_found)?;
            let call = table.arguments.args.iter().find_map(|argument| match argument {
                Expr::Call(call) if is_column(call) && named(call) == Some(true) => Some(call),
                _ => None,
            });
            return call.ok_or_else(not_found);
        };
        let class = self.class(class).ok_or_else(not_found)?;
        let call = class.body.iter().find_map(|statement| {
            let (target, value) = match statement {
                Stmt::Assign(assignment) => (assignment.targets.first()?, &*assignment.value),
                Stmt::AnnAssign(assignment) => (&*assignment.target, assignment.value.as_deref()?),
                _ => return None,
            };
            match (target, value) {
                (Expr::Name(name), Expr::Call(call)) if is_column(call) => {
                    named(call).unwrap_or(name.id.as_str() == column).then_some(call)
                }
                _ => None,
            }
        });
        // `Field(sa_column=Column(…))` says everything there.
        let inner = |call: &'a ExprCall| {
            call.arguments.find_keyword("sa_column").and_then(|keyword| keyword.value.as_call_expr())
        };
        call.map(|call| inner(call).unwrap_or(call)).ok_or_else(not_found)
    }

    fn add(&self, declaration: &Declaration, index: &NewIndex) -> Result<Vec<Edit>, String> {
        let mut edits = Vec::new();
        let quote = self.quote(declaration);
        let string = |text: &str| format!("{quote}{text}{quote}");
        let mut parts = vec![string(&index.name)];
        for element in &index.elements {
            parts.push(match element {
                IndexElement::Column(column) => string(column),
                IndexElement::Expression(sql) => {
                    format!(
                        "{}({})",
                        self.spelled("text", &mut edits),
                        string(sql.as_deref().unwrap_or_default())
                    )
                }
            });
        }
        if !index.options.operator_classes.is_empty() {
            let classes: Vec<_> = index
                .options
                .operator_classes
                .iter()
                .map(|(column, class)| format!("{}: {}", string(column), string(class)))
                .collect();
            parts.push(format!("postgresql_ops={{{}}}", classes.join(", ")));
        }
        let text = format!("{}({})", self.spelled("Index", &mut edits), parts.join(", "));
        let Some(class) = &declaration.class else {
            let table = self.table(&declaration.table.name).ok_or("no `Table(…)` declares it")?;
            let last = table.arguments.args.last().ok_or("its `Table(…)` has no arguments")?;
            edits.push(self.behind(last, table.range(), &text));
            return Ok(edits);
        };
        let class = self.class(class).ok_or("its class was not found again")?;
        edits.push(self.in_class(class, &text)?);
        Ok(edits)
    }

    /// Put an argument behind another one, on a line of its own where that has one.
    fn behind(&self, last: &Expr, around: TextRange, text: &str) -> Edit {
        let source = self.module.source();
        let line_start = source.line_start(last.start());
        let indentation = &source[TextRange::new(line_start, last.start())];
        if indentation.trim().is_empty() && source[around].contains('\n') {
            edit::insert(last.end(), format!(",{}{indentation}{text}", self.newline()))
        } else {
            edit::insert(last.end(), format!(", {text}"))
        }
    }

    fn in_class(&self, class: &StmtClassDef, text: &str) -> Result<Edit, String> {
        let source = self.module.source();
        let value = class.body.iter().find_map(table_arguments);
        if class.body.iter().any(|statement| matches!(statement, Stmt::FunctionDef(function) if function.name.as_str() == "__table_args__")) {
            return Err("the model computes its `__table_args__`".to_owned());
        }
        match value {
            Some(Expr::Tuple(tuple)) => {
                // A dictionary, or a call that makes one, has to stay the last.
                let is_part =
                    |part: &Expr| matches!(part, Expr::Call(call) if callee(call).is_some_and(is_table_part));
                let last = tuple.elts.iter().rfind(|part| is_part(part));
                match (last, tuple.elts.first()) {
                    (Some(last), _) => Ok(self.behind(last, tuple.range(), text)),
                    (None, Some(first)) => Ok(edit::insert(first.start(), format!("{text}, "))),
                    (None, None) => Ok(edit::replace(tuple.range(), format!("({text},)"))),
                }
            }
            Some(dict @ Expr::Dict(_)) => {
                let old = &source[dict.range()];
                Ok(edit::replace(dict.range(), format!("({text}, {old})")))
            }
            Some(_) => Err("the model computes its `__table_args__`".to_owned()),
            None => {
                let named =
                    class.body.iter().rfind(|statement| assigned(statement, "__tablename__").is_some());
                // A class whose table is named by its framework has it behind its docstring.
                let docstring = class.body.first().filter(|statement| {
                    matches!(statement, Stmt::Expr(expression) if expression.value.is_string_literal_expr())
                });
                let first = class.body.first().ok_or("its class is empty")?;
                let indentation = &source[TextRange::new(source.line_start(first.start()), first.start())];
                if !indentation.trim().is_empty() {
                    return Err("its class stands on one line".to_owned());
                }
                let line = format!("__table_args__ = ({text},)");
                match named.or(docstring) {
                    Some(before) => {
                        let end = self.line_end(before.end());
                        Ok(edit::insert(end, format!("{}{indentation}{line}", self.newline())))
                    }
                    None => Ok(edit::insert(first.start(), format!("{line}{}{indentation}", self.newline()))),
                }
            }
        }
    }

    /// How the file calls something of SQLAlchemy's; it is imported where it isn't yet.
    fn spelled(&self, name: &str, edits: &mut Vec<Edit>) -> String {
        let mut alias = None;
        let mut last = None;
        let mut beside = None;
        let mut db = false;
        for statement in self.module.body() {
            match statement {
                Stmt::Import(import) => {
                    for part in &import.names {
                        if part.name.as_str() == "sqlalchemy" {
                            alias = Some(part.asname.as_ref().unwrap_or(&part.name).to_string());
                        }
                    }
                    last = Some(statement.end());
                }
                Stmt::ImportFrom(import) => {
                    let ours = import.module.as_ref().is_some_and(|module| module.as_str() == "sqlalchemy");
                    for part in &import.names {
                        if ours && part.name.as_str() == name {
                            return part.asname.as_ref().unwrap_or(&part.name).to_string();
                        }
                        db |= part.asname.as_ref().unwrap_or(&part.name).as_str() == "db";
                    }
                    if ours && import.level == 0 {
                        beside = import.names.last().map(Ranged::end);
                    }
                    last = Some(statement.end());
                }
                Stmt::Assign(assignment) => {
                    db |= matches!(&*assignment.targets, [Expr::Name(target)] if target.id.as_str() == "db");
                }
                _ => {}
            }
        }
        if let Some(alias) = alias {
            return format!("{alias}.{name}");
        }
        if db && self.module.source().contains("db.Column(") {
            return format!("db.{name}");
        }
        let line = format!("from sqlalchemy import {name}");
        let edit = match last {
            _ if beside.is_some() => edit::insert(beside.unwrap_or_default(), format!(", {name}")),
            Some(end) => edit::insert(self.line_end(end), format!("{}{line}", self.newline())),
            None => edit::insert(TextSize::default(), format!("{line}{}", self.newline())),
        };
        if !edits.contains(&edit) {
            edits.push(edit);
        }
        name.to_owned()
    }

    /// The quotes that the model's own texts have.
    fn quote(&self, declaration: &Declaration) -> char {
        let range = declaration.class.as_deref().and_then(|class| self.class(class)).map(|class| {
            let first = class.body.iter().find(|statement| !statement.is_expr_stmt());
            TextRange::new(first.map_or(class.start(), Ranged::start), class.end())
        });
        let text = range.map_or_else(|| self.module.source(), |range| &self.module.source()[range]);
        text.chars().find(|c| matches!(c, '"' | '\'')).unwrap_or('"')
    }

    fn newline(&self) -> &'static str {
        if self.module.source().contains("\r\n") { "\r\n" } else { "\n" }
    }

    fn line_end(&self, offset: TextSize) -> TextSize {
        let source = self.module.source();
        let end = source.line_end(offset);
        if source[..end.to_usize()].ends_with('\r') { end - TextSize::from(1) } else { end }
    }
}
