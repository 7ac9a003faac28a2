//! Columns, with the indexes that they say of themselves.

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::classes::RawColumn;
use super::names::{called, dotted, words};
use super::{Holds, ModelColumn, ModelIndex, Models, PRIMARY};
use crate::catalog::Index;
use crate::naming;
use crate::operations::{IndexElement, IndexOptions, TableName, callee};
use crate::python::value::Value;
use crate::types::Type;

/// What says that rows get a value when they are made.
const DEFAULTS: &[&str] = &["default", "server_default", "insert_default", "default_factory"];

impl Models<'_> {
    #[expect(clippy::too_many_lines, reason = "one part per argument")]
    /// A column, the index of `index=True`, and the one behind `unique=True` or `primary_key=True`.
    pub(super) fn column_of(
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
        let mut declared = None;
        let mut foreign = None;
        // `Field(sa_column=Column(…))`.
        let inner = raw
            .call
            .and_then(|call| call.arguments.find_keyword("sa_column"))
            .and_then(|keyword| keyword.value.as_call_expr());
        let value = |keyword: &str| {
            let given =
                [inner, raw.call].into_iter().flatten().find_map(|call| call.arguments.find_keyword(keyword));
            given.map(|keyword| &keyword.value)
        };
        let flag =
            |keyword: &str| value(keyword).is_some_and(|value| scope.eval(value).truth() != Some(false));
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
                        declared = declared.or_else(|| Type::declared(other));
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
                declared = Type::declared(&keyword.value);
                types.push_str(&format!(" {}", dotted(called(&keyword.value))));
            }
        }
        let given = !types.is_empty() || inner.or(raw.call).is_some_and(has_length);
        if let Some(annotation) = raw.annotation {
            words(annotation, &mut types);
        }
        let has = |wanted: &[&str]| {
            types.split_whitespace().any(|word| wanted.contains(&word.rsplit('.').next().unwrap_or(word)))
        };
        if !given && has(&["str"]) {
            declared = Some(Type::string());
        }
        let holds = if has(&["Uuid", "UUID", "GUID"]) {
            Holds::Uuid
        } else if has(&["DateTime", "Date", "TIMESTAMP", "datetime", "date", "UtcDateTime", "UTCDateTime"]) {
            Holds::Date
        } else if has(&["String", "Text", "Unicode", "UnicodeText", "VARCHAR", "str", "TEXT"]) {
            Holds::Text
        } else {
            Holds::Other
        };
        let column = ModelColumn {
            nullable: !flag("primary_key")
                && match value("nullable") {
                    Some(value) => scope.eval(value).truth() != Some(false),
                    None => raw.annotation.is_none() || has(&["Optional", "None"]),
                },
            has_default: DEFAULTS
                .iter()
                .any(|keyword| value(keyword).is_some_and(|value| !value.is_none_literal_expr())),
            holds,
            type_: declared,
            foreign,
            own,
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

    pub(super) fn foreign(&self, target: &Expr, file: usize) -> Option<(TableName, String)> {
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
}

/// The columns that each say `primary_key=True` share one index.
pub(super) fn join_primary_keys(indexes: &mut Vec<ModelIndex>) {
    let is_key = |index: &ModelIndex| index.name.as_deref() == Some(PRIMARY);
    let Some(first) = indexes.iter().position(is_key) else { return };
    let elements: Vec<_> =
        indexes.iter().filter(|index| is_key(index)).flat_map(|index| index.index.elements.clone()).collect();
    indexes[first].index.elements = elements;
    let mut seen = false;
    indexes.retain(|index| !is_key(index) || !std::mem::replace(&mut seen, true));
}

/// Whether a `Field(…)` limits its text.
fn has_length(call: &ExprCall) -> bool {
    call.arguments.find_keyword("max_length").is_some()
}

/// `schema.table.column`.
pub(super) fn reference(text: &str) -> Option<(TableName, String)> {
    let (table, column) = text.rsplit_once('.')?;
    let table = match table.split_once('.') {
        Some((schema, table)) => TableName::new(Some(schema), table),
        None => TableName::new(None, table),
    };
    Some((table, column.to_owned()))
}
