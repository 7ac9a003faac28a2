//! Types as SQL. Source: PostgreSQL manual, "Data Types", and `format_type()` for the names.

use super::{Base, Type};

/// Read a type that PostgreSQL brings along.
pub(super) fn read(text: &str) -> Option<Type> {
    let (text, collation) = match text.to_ascii_lowercase().find(" collate ") {
        Some(at) => {
            let name = text[at + " collate ".len()..].trim();
            (&text[..at], Some(name.rsplit('.').next()?.trim_matches('"').to_owned()))
        }
        None => (text, None),
    };
    let lower = text.trim().to_ascii_lowercase();
    let (lower, array) = strip_array(&lower);
    let lower = lower.strip_prefix("pg_catalog.").unwrap_or(lower);
    // The modifiers may stand in the middle: `timestamp(3) with time zone`.
    let (words, modifiers) = match lower.split_once('(') {
        Some((before, rest)) => {
            let (inside, after) = rest.split_once(')')?;
            let numbers: Option<Vec<i32>> =
                inside.split(',').map(|number| number.trim().parse().ok()).collect();
            (format!("{before} {after}"), numbers?)
        }
        None => (lower.to_owned(), Vec::new()),
    };
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut type_ = builtin(&words, &modifiers)?;
    type_.array = array;
    type_.collation = collation;
    Some(type_)
}

/// A type that somebody created, or that is not understood. Names are folded as PostgreSQL folds them.
pub(super) fn created(text: &str) -> Type {
    let is_name =
        |text: &str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']'));
    if !is_name(text) {
        return Type::other(text);
    }
    let lower = text.to_lowercase();
    let (name, array) = strip_array(&lower);
    Type { array, ..Type::other(name) }
}

fn strip_array(text: &str) -> (&str, bool) {
    let mut rest = text.trim_end();
    let mut array = false;
    while let Some(inner) = rest.strip_suffix(']') {
        let Some(open) = inner.rfind('[') else { break };
        rest = inner[..open].trim_end();
        array = true;
    }
    match rest.strip_suffix(" array") {
        Some(element) => (element.trim_end(), true),
        None => (rest, array),
    }
}

fn builtin(words: &[&str], modifiers: &[i32]) -> Option<Type> {
    let (name, number) = (words.join(" "), modifiers.first().copied());
    let plain = |name: &'static str| modifiers.is_empty().then(|| Type::builtin(name));
    let sized = |name: &'static str, default: Option<i32>| {
        (modifiers.len() <= 1).then(|| Type::with(name, number.or(default)))
    };
    match name.as_str() {
        "smallint" | "int2" | "smallserial" | "serial2" => plain("smallint"),
        "integer" | "int" | "int4" | "serial" | "serial4" => plain("integer"),
        "bigint" | "int8" | "bigserial" | "serial8" => plain("bigint"),
        "real" | "float4" => plain("real"),
        "double precision" | "float8" => plain("double precision"),
        "float" => plain(if number.is_some_and(|bits| bits <= 24) { "real" } else { "double precision" })
            .or_else(|| Some(Type::builtin(if number? <= 24 { "real" } else { "double precision" }))),
        "numeric" | "decimal" | "dec" => match modifiers {
            [] => Some(Type::builtin("numeric")),
            [precision] => Some(Type::with("numeric", [*precision, 0])),
            [precision, scale] => Some(Type::with("numeric", [*precision, *scale])),
            _ => None,
        },
        "character varying" | "varchar" | "char varying" | "national character varying" => {
            sized("character varying", None)
        }
        "character" | "char" | "nchar" | "national character" => sized("character", Some(1)),
        "bpchar" => match number {
            Some(length) => Some(Type::with("character", [length])),
            None => Some(Type::builtin("bpchar")),
        },
        "bit" => sized("bit", Some(1)),
        "bit varying" | "varbit" => sized("bit varying", None),
        "timestamp" | "timestamp without time zone" => sized("timestamp without time zone", None),
        "timestamptz" | "timestamp with time zone" => sized("timestamp with time zone", None),
        "time" | "time without time zone" => sized("time without time zone", None),
        "timetz" | "time with time zone" => sized("time with time zone", None),
        "bool" | "boolean" => plain("boolean"),
        _ if words.first() == Some(&"interval") => {
            let fields = (words.len() > 1).then(|| words[1..].join(" "));
            Some(Type { fields, ..sized("interval", None)? })
        }
        name => plain(OTHERS.iter().find(|known| **known == name)?),
    }
}

/// Those that have no other names and no modifiers.
pub(super) const OTHERS: &[&str] = &[
    "text",
    "bytea",
    "date",
    "json",
    "jsonb",
    "xml",
    "uuid",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "oid",
    "name",
    "regclass",
    "tsvector",
    "tsquery",
    "citext",
    "hstore",
    "ltree",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
];

/// An enum under its name.
pub(super) fn enumeration(name: String) -> Type {
    Type { base: Base::Enum(name), ..Type::builtin("") }
}
