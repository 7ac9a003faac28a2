//! How an index is made, apart from its key.

use ruff_python_ast::ExprCall;

use crate::python::scope::Scope;
use crate::python::value::Value;

/// The access method, the condition and the rest of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexOptions {
    /// The access method, in lower case; `None` is `btree`.
    pub method: Option<String>,
    /// What follows `WHERE`; `Some(None)` when its text is not known.
    pub predicate: Option<Option<String>>,
    /// The columns that are only stored with the key.
    pub include: Vec<String>,
    /// The operator classes of columns that don't have their type's own.
    pub operator_classes: Vec<(String, String)>,
    pub nulls_not_distinct: bool,
    /// It says how it is stored (`WITH (…)`, `TABLESPACE`), which is not kept.
    pub stored: bool,
    /// Something about it is not known.
    pub unclear: bool,
}

impl IndexOptions {
    /// How an index is made, as the call's keywords for PostgreSQL say.
    pub(crate) fn read(call: &ExprCall, scope: &Scope) -> Self {
        let mut options = Self::default();
        let mut given: Vec<(String, Value)> = Vec::new();
        for keyword in &call.arguments.keywords {
            match (&keyword.arg, scope.eval(&keyword.value)) {
                (Some(name), value) => given.push((name.to_string(), value)),
                (None, Value::Dict(items)) => {
                    for (key, value) in items {
                        match key {
                            Value::Str(name) => given.push((name, value)),
                            _ => options.unclear = true,
                        }
                    }
                }
                _ => options.unclear = true,
            }
        }
        for (name, value) in given {
            match (name.as_str(), value) {
                (name, Value::None | Value::Bool(false)) if name.starts_with("postgresql_") => {}
                ("postgresql_using", Value::Str(method)) => options.method = Some(method.to_lowercase()),
                ("postgresql_where", Value::Str(sql) | Value::Sql(sql)) => {
                    options.predicate = Some(Some(sql.trim().to_owned()));
                }
                ("postgresql_where", _) => options.predicate = Some(None),
                ("postgresql_include", Value::List(columns)) => {
                    options.unclear |= columns.iter().any(|column| column.as_str().is_none());
                    options.include = columns.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                }
                ("postgresql_ops", Value::Dict(items)) => {
                    for (column, class) in items {
                        match (column, class) {
                            (Value::Str(column), Value::Str(class)) => {
                                options.operator_classes.push((column, class));
                            }
                            _ => options.unclear = true,
                        }
                    }
                }
                ("postgresql_nulls_not_distinct", Value::Bool(true)) => options.nulls_not_distinct = true,
                ("postgresql_concurrently", _) => {}
                ("postgresql_with" | "postgresql_tablespace", _) => options.stored = true,
                (name, _) => options.unclear |= name.starts_with("postgresql_"),
            }
        }
        options
    }

    /// All of it, if nothing is missing.
    #[must_use]
    pub fn known(&self) -> Option<&Self> {
        (!self.unclear && !self.stored && self.predicate != Some(None)).then_some(self)
    }

    /// Whether both are about the same rows for sure.
    #[must_use]
    pub fn has_rows_of(&self, other: &Self) -> bool {
        match (&self.predicate, &other.predicate) {
            (None, None) => true,
            (Some(Some(one)), Some(Some(two))) => fold(one) == fold(two),
            _ => false,
        }
    }

    /// Whether its access method is the default.
    #[must_use]
    pub fn is_btree(&self) -> bool {
        !self.unclear && self.method.as_deref().is_none_or(|method| method == "btree")
    }

    /// The operator class that a column is given.
    #[must_use]
    pub fn operator_class(&self, column: &str) -> Option<&str> {
        self.operator_classes.iter().find_map(|(name, class)| (name == column).then_some(class.as_str()))
    }
}

impl super::IndexElement {
    /// A part that is given as SQL: a column, where it is no more than a name.
    #[must_use]
    pub fn sql(sql: &str) -> Self {
        let sql = fold(sql);
        let plain = sql.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if plain && !sql.is_empty() { Self::Column(sql) } else { Self::Expression(Some(sql)) }
    }
}

/// Text with its white space folded.
pub(super) fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
