//! Columns, with the indexes that they say of themselves.

use ruff_python_ast::{Expr, ExprCall};
use ruff_text_size::Ranged;

use super::classes::RawColumn;
use super::names::{called, dotted, words};
use super::{ModelColumn, ModelIndex, Models, PRIMARY};
use crate::catalog::Index;
use crate::naming;
use crate::operations::{IndexElement, IndexOptions, TableName, callee};
use crate::python::value::Value;
use crate::types::Type;

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

/// Things of which there are few: a column that references one holds few values.
const FEW_THINGS: &[&str] = &[
    "role", "type", "status", "state", "kind", "language", "locale", "currency", "country", "region", "zone",
    "plan", "tier",
];

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
        let is_enum = types.split_whitespace().any(|word| {
            let last = word.rsplit('.').next().unwrap_or(word);
            last.to_lowercase().ends_with("enum") || self.enums.contains(last)
        });
        let lower = name.to_lowercase();
        if !given && has(&["str"]) {
            declared = Some(Type::string());
        }
        let ends_with = |name: &str, words: &[&str]| {
            words.iter().any(|word| {
                name.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
            })
        };
        let few_by_name = ends_with(&lower, FEW)
            || lower.strip_suffix("_id").is_some_and(|thing| ends_with(thing, FEW_THINGS))
            || lower.starts_with("is_")
            || lower.starts_with("has_")
            // What is called by a name was named by people, one by one.
            || foreign.as_ref().is_some_and(|(_, column)| column == "name");
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
                    "bytes",
                    "ARRAY",
                    "Geometry",
                    "Geography",
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
            type_: declared,
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
