//! `Table(…)`, and the indexes and constraints of a table.

use std::collections::BTreeMap;

use ruff_python_ast::{Expr, ExprCall, Stmt};
use ruff_text_size::Ranged;

use super::classes::RawColumn;
use super::columns::join_primary_keys;
use super::names::{callee_of, dotted, words};
use super::{Attribute, ModelIndex, ModelTable, Models, PRIMARY};
use crate::catalog::Index;
use crate::operations::{IndexElement, IndexOptions, TableName, callee};
use crate::python::value::Value;

impl<'a> Models<'a> {
    /// What a part of `__table_args__` or of `Table(…)` says about indexes; `None` when that is not known.
    pub(super) fn argument(
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

    pub(super) fn table_variables(&mut self, body: &'a [Stmt], file: usize) {
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
    pub(super) fn add_table(&mut self, call: &'a ExprCall, file: usize) -> Option<TableName> {
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
            inherits_arguments: false,
            hides_arguments: false,
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

    /// `Index("ix", User.email)` or `UniqueConstraint(User.email)` outside of a class.
    pub(super) fn loose_indexes(&mut self, body: &[Stmt], file: usize) {
        for statement in body {
            let call = match statement {
                Stmt::Expr(expression) => &expression.value,
                Stmt::Assign(assignment) => &assignment.value,
                _ => continue,
            };
            let Expr::Call(call) = &**call else { continue };
            let columns = match callee(call) {
                // Its name is in front of them.
                Some("Index") => call.arguments.args.get(1..).unwrap_or_default(),
                Some("UniqueConstraint") => &call.arguments.args,
                _ => continue,
            };
            let owner = columns.iter().find_map(|argument| {
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
