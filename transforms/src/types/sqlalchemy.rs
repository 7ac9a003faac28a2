//! Types as SQLAlchemy code, as its compiler for PostgreSQL spells them.
//!
//! Source: SQLAlchemy's `PGTypeCompiler`, and the types of `sqlalchemy.dialects.postgresql`.

use ruff_python_ast::{Expr, ExprCall, Number};
use ruff_python_parser::parse_expression;

use super::{Type, sql};
use crate::layout::call::{qualified, quoted};
use crate::python::dotted;

/// Read a type; `None` when it is not SQLAlchemy's own, or not known before the migration runs.
pub(super) fn read(text: &str) -> Option<Type> {
    type_(parse_expression(text).ok()?.expr())
}

/// Read a type as a model declares it, by whatever name the file has SQLAlchemy under (`db.String(80)`).
pub(super) fn declared(expression: &Expr) -> Option<Type> {
    let call = expression.as_call_expr();
    let path = dotted(call.map_or(expression, |call| &call.func))?;
    named(&path[path.len() - 1..], &Arguments(call))
}

fn type_(expression: &Expr) -> Option<Type> {
    let Expr::Call(call) = expression else { return named(&dotted(expression)?, &Arguments(None)) };
    if let Expr::Attribute(method) = &*call.func
        && method.attr.as_str() == "with_variant"
    {
        let [variant, dialects @ ..] = &*call.arguments.args else { return None };
        let names = dialects.iter().map(|name| match name {
            Expr::StringLiteral(name) => Some(name.value.to_str()),
            _ => None,
        });
        let names: Vec<_> = names.collect::<Option<_>>()?;
        return type_(if names.contains(&"postgresql") { variant } else { &method.value });
    }
    named(&dotted(&call.func)?, &Arguments(Some(call)))
}

struct Arguments<'a>(Option<&'a ExprCall>);

impl Arguments<'_> {
    fn get(&self, name: &str, position: Option<usize>) -> Option<&Expr> {
        let arguments = &self.0?.arguments;
        let keyword = arguments.find_keyword(name).map(|keyword| &keyword.value);
        keyword.or_else(|| arguments.find_positional(position?)).filter(|value| !value.is_none_literal_expr())
    }

    /// `Err` when it is given, but not known.
    fn number(&self, name: &str, position: Option<usize>) -> Result<Option<i32>, ()> {
        match self.get(name, position) {
            None => Ok(None),
            Some(Expr::NumberLiteral(number)) => match &number.value {
                Number::Int(number) => number.as_i32().map(Some).ok_or(()),
                _ => Err(()),
            },
            Some(_) => Err(()),
        }
    }

    fn text(&self, name: &str, position: Option<usize>) -> Result<Option<String>, ()> {
        match self.get(name, position) {
            None => Ok(None),
            Some(Expr::StringLiteral(text)) => Ok(Some(text.value.to_str().to_owned())),
            Some(_) => Err(()),
        }
    }

    fn flag(&self, name: &str, position: Option<usize>, default: bool) -> Result<bool, ()> {
        match self.get(name, position) {
            None => Ok(default),
            Some(Expr::BooleanLiteral(value)) => Ok(value.value),
            Some(_) => Err(()),
        }
    }
}

/// Where SQLAlchemy has its types, by the names that migrations use.
const OWNERS: &[&str] = &[
    "sa",
    "sqlalchemy",
    "sa.types",
    "sqlalchemy.types",
    "sqltypes",
    "types",
    "postgresql",
    "pg",
    "psql",
    "sa.dialects.postgresql",
    "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.postgresql.json",
    "sqlalchemy.sql.sqltypes",
    "dialects.postgresql",
];

fn named(path: &[&str], arguments: &Arguments) -> Option<Type> {
    let (name, owner) = path.split_last()?;
    let owner = owner.join(".");
    if *name == "AutoString" && owner.ends_with("sqltypes") {
        return Some(Type::with("character varying", arguments.number("length", Some(0)).ok()?));
    }
    if !owner.is_empty() && !OWNERS.contains(&owner.as_str()) {
        return None;
    }
    let postgresql = !owner.is_empty() && !owner.starts_with("sa") || owner.ends_with("postgresql");
    builtin(name, arguments, postgresql).ok().flatten()
}

/// `Err` when an argument is not known.
fn builtin(name: &str, arguments: &Arguments, postgresql: bool) -> Result<Option<Type>, ()> {
    let plain = |name: &'static str| Ok(Some(Type::builtin(name)));
    let collated = |type_: Type| -> Result<Option<Type>, ()> {
        Ok(Some(Type { collation: arguments.text("collation", Some(1))?, ..type_ }))
    };
    match name {
        "Integer" | "INTEGER" | "INT" => plain("integer"),
        "BigInteger" | "BIGINT" => plain("bigint"),
        "SmallInteger" | "SMALLINT" => plain("smallint"),
        "String" | "VARCHAR" | "Unicode" | "NVARCHAR" => {
            collated(Type::with("character varying", arguments.number("length", Some(0))?))
        }
        "Text" | "TEXT" | "UnicodeText" => {
            // With a length it becomes SQL that PostgreSQL does not understand.
            if arguments.number("length", Some(0))?.is_some() {
                Ok(None)
            } else {
                collated(Type::builtin("text"))
            }
        }
        "CHAR" | "NCHAR" => {
            collated(Type::with("character", [arguments.number("length", Some(0))?.unwrap_or(1)]))
        }
        "CITEXT" => plain("citext"),
        "Numeric" | "NUMERIC" | "DECIMAL" => {
            let precision = arguments.number("precision", Some(0))?;
            let scale = arguments.number("scale", Some(1))?;
            Ok(Some(match precision {
                None => Type::builtin("numeric"),
                Some(precision) => Type::with("numeric", [precision, scale.unwrap_or(0)]),
            }))
        }
        "Float" | "FLOAT" => match arguments.number("precision", Some(0))? {
            Some(bits) if bits <= 24 => plain("real"),
            _ => plain("double precision"),
        },
        "REAL" => plain("real"),
        "Double" | "DOUBLE" | "DOUBLE_PRECISION" => plain("double precision"),
        "Boolean" | "BOOLEAN" => plain("boolean"),
        "Date" | "DATE" => plain("date"),
        "DateTime" | "DATETIME" | "TIMESTAMP" => {
            let zoned = arguments.flag("timezone", Some(0), false)?;
            let name = if zoned { "timestamp with time zone" } else { "timestamp without time zone" };
            Ok(Some(Type::with(name, arguments.number("precision", Some(1))?)))
        }
        "Time" | "TIME" => {
            let zoned = arguments.flag("timezone", Some(0), false)?;
            let name = if zoned { "time with time zone" } else { "time without time zone" };
            Ok(Some(Type::with(name, arguments.number("precision", Some(1))?)))
        }
        "Interval" => Ok(Some(Type::with("interval", arguments.number("second_precision", Some(1))?))),
        "INTERVAL" => {
            let fields = arguments.text("fields", Some(1))?.map(|fields| fields.to_ascii_lowercase());
            Ok(Some(Type { fields, ..Type::with("interval", arguments.number("precision", Some(0))?) }))
        }
        "LargeBinary" | "BYTEA" => plain("bytea"),
        "PickleType" if arguments.get("impl", Some(3)).is_none() => plain("bytea"),
        "Uuid" if !arguments.flag("native_uuid", Some(1), true)? => Ok(Some(Type::with("character", [32]))),
        "Uuid" | "UUID" => plain("uuid"),
        "Enum" | "ENUM" => enumeration(arguments),
        "ARRAY" => {
            let element = arguments.get("item_type", Some(0)).and_then(type_);
            // An array of arrays is an array.
            Ok(element.map(|element| Type { array: true, ..element }))
        }
        "BIT" if postgresql => {
            let varying = arguments.flag("varying", Some(1), false)?;
            let length = arguments.number("length", Some(0))?;
            Ok(Some(if varying {
                Type::with("bit varying", length)
            } else {
                Type::with("bit", [length.unwrap_or(1)])
            }))
        }
        // SQLAlchemy's names are those of PostgreSQL, in capitals.
        "JSON" | "JSONB" | "INET" | "CIDR" | "MACADDR" | "MACADDR8" | "MONEY" | "OID" | "REGCLASS"
        | "TSVECTOR" | "TSQUERY" | "HSTORE" | "INT4RANGE" | "INT8RANGE" | "NUMRANGE" | "TSRANGE"
        | "TSTZRANGE" | "DATERANGE" => {
            let lower = name.to_ascii_lowercase();
            Ok(sql::OTHERS.iter().find(|known| **known == lower).map(|known| Type::builtin(known)))
        }
        _ => Ok(None),
    }
}

/// `sa.Enum('a', 'b', name='status')`, or `sa.Enum(Status)`, which is called like the class.
fn enumeration(arguments: &Arguments) -> Result<Option<Type>, ()> {
    if !arguments.flag("native_enum", None, true)? {
        let labels = arguments.0.into_iter().flat_map(|call| &call.arguments.args).map(|label| match label {
            Expr::StringLiteral(label) => i32::try_from(label.value.to_str().chars().count()).map_err(drop),
            _ => Err(()),
        });
        let longest = labels.collect::<Result<Vec<_>, _>>()?.into_iter().max();
        let length = arguments.number("length", None)?.max(longest);
        return Ok(length.map(|length| Type::with("character varying", [length])));
    }
    let schema = arguments.text("schema", None)?;
    let class = || match arguments.0.map(|call| &*call.arguments.args) {
        Some([class]) => dotted(class)?.last().map(|name| name.to_lowercase()),
        _ => None,
    };
    Ok(arguments.text("name", None)?.or_else(class).map(|name| {
        sql::enumeration(match schema {
            Some(schema) => qualified(Some(&schema), &name),
            None => quoted(&name),
        })
    }))
}
