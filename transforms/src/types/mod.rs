//! The types of columns, and what PostgreSQL does when one becomes another.
//!
//! A type is read from SQLAlchemy code (`sa.String(length=50)`) or from SQL (`character varying(50)`).
//! [`change`] is the matrix of `ALTER COLUMN … TYPE`, [`converts`] says which of them PostgreSQL refuses: the program
//! compares both with real servers, in `src/verify/type_changes.rs`.

mod casts;
mod matrix;
mod sql;
mod sqlalchemy;

pub use casts::converts;
pub use matrix::{Effect, change, change_using, converts_using};

use ruff_python_ast::Expr;

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    pub base: Base,
    /// What stands in parentheses behind it: lengths, precision and scale.
    pub modifiers: Vec<i32>,
    /// `INTERVAL DAY TO SECOND`: what stands behind the name.
    pub fields: Option<String>,
    pub array: bool,
    /// `COLLATE …`; `None` is the type's own.
    pub collation: Option<String>,
}

/// What a type is without its modifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A type of PostgreSQL itself or of an extension that comes with it, by the name that
    /// `format_type` gives it: `character varying`.
    Builtin(&'static str),
    /// An enum, or another type that somebody created and that is no domain, by its name as SQL.
    Enum(String),
    /// Something else: SQL for a type that somebody created, perhaps a domain, or code of a type that is not
    /// SQLAlchemy's own. Nothing is known of it but that the same text is the same type.
    Other(String),
}

impl Type {
    fn builtin(name: &'static str) -> Self {
        Self { base: Base::Builtin(name), modifiers: Vec::new(), fields: None, array: false, collation: None }
    }

    fn with(name: &'static str, modifiers: impl IntoIterator<Item = i32>) -> Self {
        Self { modifiers: modifiers.into_iter().collect(), ..Self::builtin(name) }
    }

    fn other(text: &str) -> Self {
        Self { base: Base::Other(text.to_owned()), ..Self::builtin("") }
    }

    /// Nothing is known of it.
    #[must_use]
    pub fn unknown() -> Self {
        Self::other("")
    }

    /// Read a type as SQL, else as SQLAlchemy code. What is neither is [`Base::Other`].
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.trim();
        sql::read(text).or_else(|| sqlalchemy::read(text)).unwrap_or_else(|| sql::created(text))
    }

    /// Read the type that a model declares, where it is one of SQLAlchemy's.
    #[must_use]
    pub fn declared(expression: &Expr) -> Option<Self> {
        sqlalchemy::declared(expression)
    }

    /// `character varying` of any length, as `str` becomes.
    #[must_use]
    pub fn string() -> Self {
        Self::builtin("character varying")
    }

    /// Whether PostgreSQL's name for it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.base, Base::Other(_))
    }

    /// Whether it is one of `smallint`, `integer` and `bigint`.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        !self.array && matches!(self.base, Base::Builtin("smallint" | "integer" | "bigint"))
    }

    /// Whether it holds a date, perhaps with a time.
    #[must_use]
    pub fn is_temporal(&self) -> bool {
        !self.array
            && matches!(
                self.base,
                Base::Builtin("date" | "timestamp without time zone" | "timestamp with time zone")
            )
    }

    /// Whether a btree can sort its values. Of a type that is not known, it is taken to.
    #[must_use]
    pub fn has_order(&self) -> bool {
        !matches!(
            self.base,
            Base::Builtin("json" | "xml" | "point" | "line" | "lseg" | "box" | "path" | "polygon" | "circle")
        )
    }

    /// Whether a text of any length belongs to it.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        !self.array
            && self.modifiers.is_empty()
            && matches!(self.base, Base::Builtin("text" | "character varying" | "citext"))
    }

    /// Whether it is `text`, whose author counts on long ones.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.array && self.base == Base::Builtin("text")
    }
}

/// As SQL; a type that could not be read as its author wrote it.
impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match &self.base {
            Base::Builtin(name) => name,
            Base::Enum(name) | Base::Other(name) => name.as_str(),
        };
        let modifiers = match &self.modifiers[..] {
            [] => String::new(),
            numbers => {
                let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
                format!("({})", numbers.join(","))
            }
        };
        // `timestamp(3) with time zone`: its modifier stands in the middle.
        match name.split_once(' ') {
            Some((first, rest)) if !modifiers.is_empty() && name.starts_with("time") => {
                write!(f, "{first}{modifiers} {rest}")?;
            }
            _ => {
                f.write_str(name)?;
                if let Some(fields) = &self.fields {
                    write!(f, " {fields}")?;
                }
                f.write_str(&modifiers)?;
            }
        }
        if self.array {
            f.write_str("[]")?;
        }
        if let Some(collation) = &self.collation {
            write!(f, " COLLATE \"{}\"", collation.replace('"', "\"\""))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Type::read(text).to_string()
    }

    #[test]
    fn sql_is_read() {
        for (text, expected) in [
            ("INTEGER", "integer"),
            ("int8", "bigint"),
            ("serial", "integer"),
            ("character varying(20)", "character varying(20)"),
            ("VARCHAR", "character varying"),
            ("varchar (20) COLLATE \"C\"", "character varying(20) COLLATE \"C\""),
            ("char", "character(1)"),
            ("bpchar", "bpchar"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("TIMESTAMP WITH TIME ZONE", "timestamp with time zone"),
            ("timestamp(3) without time zone", "timestamp(3) without time zone"),
            ("time", "time without time zone"),
            ("numeric(10,2)[]", "numeric(10,2)[]"),
            ("decimal(10)", "numeric(10,0)"),
            ("int ARRAY[3]", "integer[]"),
            ("interval day to second(3)", "interval day to second(3)"),
            ("double precision", "double precision"),
            ("float(24)", "real"),
            ("float", "double precision"),
            ("bit varying(8)", "bit varying(8)"),
            ("bit", "bit(1)"),
            ("pg_catalog.int4", "integer"),
            ("citext", "citext"),
            ("app.Status", "app.status"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(!Type::read("app.status").is_known());
        assert_ne!(Type::read("\"Status\""), Type::read("status"));
    }

    #[test]
    fn sqlalchemy_is_read() {
        for (text, expected) in [
            ("sa.String(length=50)", "character varying(50)"),
            ("sa.String", "character varying"),
            ("sa.String(50, collation=\"C\")", "character varying(50) COLLATE \"C\""),
            ("sqlalchemy.types.Unicode(20)", "character varying(20)"),
            ("sa.Text()", "text"),
            ("sa.BigInteger()", "bigint"),
            ("sa.Numeric(precision=10, scale=2)", "numeric(10,2)"),
            ("sa.Numeric(10)", "numeric(10,0)"),
            ("sa.DECIMAL()", "numeric"),
            ("sa.Float()", "double precision"),
            ("sa.Float(precision=24)", "real"),
            ("sa.Double()", "double precision"),
            ("sa.DateTime(timezone=True)", "timestamp with time zone"),
            ("sa.DateTime()", "timestamp without time zone"),
            ("postgresql.TIMESTAMP(precision=3, timezone=True)", "timestamp(3) with time zone"),
            ("postgresql.UUID(as_uuid=True)", "uuid"),
            ("sa.Uuid()", "uuid"),
            ("sa.Uuid(native_uuid=False)", "character(32)"),
            ("sa.Enum('a', 'b', name='status')", "status"),
            ("sa.Enum('a', 'b', name='status', schema='app')", "app.status"),
            ("sa.Enum(app.models.Kind)", "kind"),
            ("postgresql.ENUM('a', name='Mixed')", "\"Mixed\""),
            ("sa.Enum('abc', 'b', native_enum=False)", "character varying(3)"),
            ("sa.ARRAY(sa.String(length=3))", "character varying(3)[]"),
            ("postgresql.ARRAY(sa.Integer(), dimensions=2)", "integer[]"),
            ("postgresql.JSONB(astext_type=sa.Text())", "jsonb"),
            ("sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')", "jsonb"),
            ("sa.String(5).with_variant(mysql.VARCHAR(5), 'mysql')", "character varying(5)"),
            ("postgresql.INTERVAL(fields='DAY TO SECOND')", "interval day to second"),
            ("postgresql.BIT(8, varying=True)", "bit varying(8)"),
            ("sqlmodel.sql.sqltypes.AutoString(length=7)", "character varying(7)"),
            ("sa.LargeBinary()", "bytea"),
            ("sa.PickleType(pickler=dill)", "bytea"),
        ] {
            let read = Type::read(text);
            assert_eq!(read.to_string(), expected, "{text}");
            assert!(read.is_known(), "{text}");
        }
        for unknown in [
            "app.types.Money(3)",
            "sa.String(length=LENGTH)",
            "mysql.TINYINT(1)",
            "sa.Enum(*KINDS)",
            "sa.Enum('a')",
            "sa.Text(5)",
        ] {
            assert!(!Type::read(unknown).is_known(), "{unknown}");
        }
    }
}
