//! What the values of a type can be.

use std::collections::BTreeMap;

use anyhow::Result;
use postgres::Client;
use serde::Deserialize;

use super::tables::{Column, query_json};

/// What the values of a type can be.
#[derive(Deserialize)]
pub(super) struct Type {
    pub(super) oid: u32,
    pub(super) name: String,
    /// As SQL names it, without a modifier.
    pub(super) sql: String,
    /// `pg_type.typtype`.
    pub(super) kind: String,
    pub(super) is_array: bool,
    /// Of a domain: its type; of an array: that of its elements; of a range: that of its bounds; of a multirange:
    /// its range.
    #[serde(default)]
    pub(super) base: u32,
    pub(super) base_modifier: i32,
    #[serde(default)]
    pub(super) labels: Vec<String>,
    /// The checks of a domain.
    #[serde(default)]
    pub(super) checks: String,
}

pub(super) const TYPES: &str = r"
SELECT jsonb_strip_nulls(jsonb_build_object(
    'oid', t.oid::int8, 'name', t.typname, 'sql', format_type(t.oid, NULL), 'kind', t.typtype,
    'is_array', e.oid IS NOT NULL,
    'base', coalesce(e.oid, nullif(t.typbasetype, 0), CASE t.typtype
        WHEN 'r' THEN (SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
        WHEN 'm' THEN (SELECT (to_jsonb(r.*) ->> 'rngtypid')::regtype FROM pg_catalog.pg_range r
                       WHERE (to_jsonb(r.*) ->> 'rngmultitypid')::regtype = t.oid) END)::int8,
    'base_modifier', t.typtypmod,
    'labels', (SELECT jsonb_agg(quote_literal(l.enumlabel) ORDER BY l.enumsortorder)
               FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid),
    'checks', (SELECT string_agg(pg_get_constraintdef(k.oid), ' AND ' ORDER BY k.conname)
               FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')))::text
FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
WHERE t.typtype <> 'p' AND (t.oid >= 16384 OR t.typtype <> 'c')";

pub(super) struct Types(pub(super) BTreeMap<u32, Type>);

/// A way to fill a column; `g.n` is the number of the row, from 1 on.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// An expression.
    Free(String),
    /// One of these expressions after the other.
    Cycle(Vec<String>),
    /// What a foreign key refers to: the rows of a table, as many as there are.
    Parent(u64),
    Null,
}

impl Value {
    pub(super) fn expression(&self, stride: u64) -> String {
        match self {
            Self::Free(expression) => expression.clone(),
            Self::Cycle(values) => {
                let place = digit(stride, &values.len().to_string());
                format!("(ARRAY[{}])[({place})::int + 1]", values.join(", "))
            }
            Self::Parent(_) | Self::Null => "NULL".to_owned(),
        }
    }

    /// How many values there are, where they are few.
    pub(super) fn radix(&self) -> Option<u64> {
        match self {
            Self::Free(expression) if expression.contains("g.n") => None,
            Self::Free(_) | Self::Null => Some(1),
            Self::Cycle(values) => Some(values.len() as u64),
            Self::Parent(rows) => Some(*rows),
        }
    }
}

/// A digit of the row's number.
///
/// Digits whose strides are the products of the radixes before them never repeat together. The rest of the
/// division is added so that a digit with a long stride does not stand still.
pub(super) fn digit(stride: u64, radix: &str) -> String {
    if stride == 1 {
        format!("(g.n - 1) % {radix}")
    } else {
        format!("((g.n - 1) / {stride} + (g.n - 1) % {stride}) % {radix}")
    }
}

impl Types {
    pub(super) fn read(client: &mut Client) -> Result<Self> {
        let types: Vec<Type> = query_json(client, TYPES)?;
        Ok(Self(types.into_iter().map(|found| (found.oid, found)).collect()))
    }

    /// The type below domains, its modifier, and the checks of the domains.
    pub(super) fn below_domains(&self, mut oid: u32, mut modifier: i32) -> Option<(&Type, i32, String)> {
        let mut checks = String::new();
        loop {
            let found = self.0.get(&oid)?;
            if found.kind != "d" {
                return Some((found, modifier, checks));
            }
            checks = format!("{checks} AND {}", found.checks);
            (oid, modifier) = (found.base, found.base_modifier);
        }
    }

    /// A different value for each row, or as many as there are; `None` for a type that is not known.
    pub(super) fn value(&self, oid: u32, modifier: i32) -> Option<Value> {
        let (found, modifier, _) = self.below_domains(oid, modifier)?;
        let part = || {
            let base = self.0.get(&found.base)?;
            let value = self.value(found.base, if found.is_array { modifier } else { -1 })?;
            Some(format!("CAST({} AS {})", value.expression(1), base.sql))
        };
        let sql = &found.sql;
        let expression = match found.kind.as_str() {
            "e" => return Some(Value::Cycle(found.labels.clone())),
            "c" => format!("jsonb_populate_record(NULL::{sql}, '{{}}')"),
            "r" => format!("{sql}({0}, {0}, '[]')", part()?),
            "m" => format!("{sql}({})", part()?),
            _ if found.is_array => format!("ARRAY[{}]", part()?),
            _ if found.name == "bool" => {
                return Some(Value::Cycle(vec!["true".to_owned(), "false".to_owned()]));
            }
            _ => simple_value(&found.name, modifier)?,
        };
        Some(Value::Free(expression))
    }

    /// All that may be tried, the best first.
    pub(super) fn candidates(&self, column: &Column, constants: &Constants) -> Vec<Value> {
        let first = self.value(column.type_oid, column.modifier);
        let Some((base, modifier, _)) = self.below_domains(column.type_oid, column.modifier) else {
            return first.into_iter().collect();
        };
        let mut found: Vec<Value> = first.clone().into_iter().collect();
        let free = |expressions: &[&str]| -> Vec<Value> {
            expressions.iter().map(|&expression| Value::Free(expression.to_owned())).collect()
        };
        let literals = || constants.literals.iter().cloned().map(Value::Free);
        let next = match &first {
            Some(Value::Free(expression)) => vec![Value::Free(expression.replace("g.n", "(g.n + 1)"))],
            _ => vec![],
        };
        match base.name.as_str() {
            _ if base.is_array => {
                if let Some(Value::Free(expression)) = &first {
                    let lengths = constants.small_numbers();
                    found.extend(lengths.map(|length| {
                        Value::Free(format!("array_fill(({expression})[1], ARRAY[{length}])"))
                    }));
                }
                found.extend(literals());
                found.extend(free(&["'{}'"]));
            }
            _ if base.kind == "e" => found.extend(base.labels.iter().take(40).cloned().map(Value::Free)),
            "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" | "money" => {
                found.extend(next);
                found.extend(constants.ranges());
                found.extend(free(&["- g.n", "0", "1"]));
            }
            "date" | "timestamp" | "timestamptz" => {
                found.extend(next);
                for literal in &constants.literals {
                    let at = format!("CAST({literal} AS {})", base.sql);
                    found.push(Value::Free(format!("{at} + g.n * interval '1 minute'")));
                    found.push(Value::Free(format!("{at} - g.n * interval '1 day'")));
                }
                found.extend(literals());
                found.extend(["2100", "1990"].map(|year| {
                    Value::Free(format!("timestamp '{year}-01-01 00:00:00' + g.n * interval '1 day'"))
                }));
            }
            "text" | "varchar" | "bpchar" | "citext" => {
                found.extend(free(&[
                    "'x' || g.n || '@example.com'",
                    "'https://example.com/x' || g.n",
                    "g.n::text",
                    "'X' || g.n",
                    "'/x' || g.n",
                ]));
                let own = u64::try_from(modifier - 4).ok().filter(|length| (1..=64).contains(length));
                for length in own.into_iter().chain(constants.small_numbers()) {
                    let digits = format!("lpad(g.n::text, {length}, '0')");
                    found.push(Value::Free(format!("translate({digits}, '0123456789', 'ABCDEFGHIJ')")));
                    found.push(Value::Free(format!("translate({digits}, '0123456789', 'abcdefghij')")));
                    found.push(Value::Free(digits));
                }
                found.extend(literals());
                found.extend(free(&["'x'", "'0'", "''"]));
            }
            _ => {
                found.extend(next);
                found.extend(literals());
                found.extend(free(&[
                    "'{}'",
                    "'[]'",
                    "'x' || g.n",
                    "g.n::text",
                    "format('POINT(%s %s)', g.n % 90, g.n % 90)",
                    "format('SRID=4326;POINT(%s %s)', g.n % 90, g.n % 90)",
                    "''",
                ]));
            }
        }
        found
    }
}

/// An expression that can be cast to one of PostgreSQL's types, or of the better known extensions'.
pub(super) fn simple_value(name: &str, modifier: i32) -> Option<String> {
    let expression = match name {
        "int2" => "(g.n - 1) % 32767 + 1",
        "int4" | "int8" | "oid" | "money" => "g.n",
        "float4" | "float8" => "g.n + 0.5",
        "numeric" => return Some(numeric_value(modifier)),
        "text" | "varchar" | "bpchar" | "citext" | "name" => match modifier - 4 {
            length @ 1..12 => return Some(format!("right(to_hex(g.n), {length})")),
            _ => "'x' || g.n",
        },
        "char" => "chr(97 + (g.n % 26)::int)",
        "date" => "date '2021-01-01' + (g.n % 1000000)::int",
        "time" => "time '00:00' + g.n * interval '1 second'",
        "timetz" => "timetz '00:00+00' + g.n * interval '1 second'",
        "timestamp" => "timestamp '2021-01-01 00:00:00' + g.n * interval '1 hour'",
        "timestamptz" => "timestamptz '2021-01-01 00:00:00+00' + g.n * interval '1 hour'",
        "interval" => "g.n * interval '1 minute'",
        "uuid" => "'00000000-0000-4000-8000-' || lpad(to_hex(g.n), 12, '0')",
        "json" | "jsonb" => "jsonb_build_object('n', g.n)",
        "jsonpath" => "'$.x' || g.n",
        "bytea" => "decode(lpad(to_hex(g.n), 8, '0'), 'hex')",
        "inet" | "cidr" => "inet '10.0.0.0' + g.n",
        "macaddr" => "lpad(to_hex(g.n), 12, '0')",
        "macaddr8" => "lpad(to_hex(g.n), 16, '0')",
        "bit" | "varbit" => {
            let length = if (1..64).contains(&modifier) { modifier } else { 64 };
            return Some(format!("g.n::bit({length})"));
        }
        "tsvector" | "tsquery" | "ltree" => "'x' || g.n",
        "xml" => "'<x>' || g.n || '</x>'",
        "hstore" => "'n=>' || g.n",
        "pg_lsn" => "'0/' || to_hex(g.n)",
        "point" => "format('(%1$s,%1$s)', g.n)",
        "line" => "format('{1,-1,%s}', g.n)",
        "lseg" | "box" | "path" | "polygon" => "format('((0,0),(%1$s,%1$s))', g.n)",
        "circle" => "format('<(0,0),%s>', g.n)",
        "vector" | "halfvec" => {
            let numbers = format!("array_to_string(array_fill(g.n, ARRAY[{}]), ',')", modifier.max(1));
            return Some(format!("'[' || {numbers} || ']'"));
        }
        _ => return None,
    };
    Some(expression.to_owned())
}

pub(super) fn numeric_value(modifier: i32) -> String {
    if modifier < 4 {
        return "g.n + 0.25".to_owned();
    }
    let precision = ((modifier - 4) >> 16) & 0xffff;
    let scale = (((modifier - 4) & 0x7ff) ^ 1024) - 1024;
    if precision - scale >= 7 {
        return "g.n + 0.25".to_owned();
    }
    // The digits of the row's number, wherever the point is.
    format!("((g.n - 1) % (10::numeric ^ {precision} - 1) + 1) * 10::numeric ^ ({})", -scale.max(0))
}

/// The constants that checks compare a column with.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Constants {
    /// As SQL writes them.
    pub(super) literals: Vec<String>,
    pub(super) numbers: Vec<f64>,
}

impl Constants {
    /// Takes in the parts of a check that name the column.
    pub(super) fn read(&mut self, check: &str, column: &str) {
        let is_word = |character: char| character.is_alphanumeric() || "_\"".contains(character);
        let names = |text: &str| {
            text.match_indices(column).any(|(at, _)| {
                !text[..at].ends_with(is_word) && !text[at + column.len()..].starts_with(is_word)
            })
        };
        for part in check.split(" AND ").flat_map(|part| part.split(" OR ")).filter(|part| names(part)) {
            let mut rest = part;
            while let Some(start) =
                rest.find(|character: char| character == '\'' || character.is_ascii_digit())
            {
                let is_part_of_name = rest[..start].ends_with(is_word);
                let (found, after) = if rest[start..].starts_with('\'') {
                    let end = end_of_literal(&rest[start..]);
                    let escaped = if rest[..start].ends_with('E') { "E" } else { "" };
                    let literal = &rest[start..start + end];
                    self.add(format!("{escaped}{literal}"), &literal[1..literal.len().max(2) - 1]);
                    (literal, start + end)
                } else {
                    let length = rest[start..]
                        .find(|character: char| !character.is_ascii_digit() && character != '.')
                        .unwrap_or(rest.len() - start);
                    (&rest[start..start + length], start + length)
                };
                // Lengths also stand in regular expressions.
                let numbers = found.split(|character: char| !character.is_ascii_digit() && character != '.');
                if !is_part_of_name || found.starts_with('\'') {
                    self.numbers.extend(numbers.filter_map(|number| number.parse::<f64>().ok()));
                }
                rest = &rest[after..];
            }
        }
        self.numbers.sort_by(f64::total_cmp);
        self.numbers.dedup();
    }

    pub(super) fn add(&mut self, literal: String, text: &str) {
        self.numbers.extend(text.parse::<f64>().ok().filter(|number| number.is_finite()));
        if !self.literals.contains(&literal) {
            self.literals.push(literal);
        }
    }

    pub(super) fn small_numbers(&self) -> impl Iterator<Item = u64> {
        (1..=64_u32).filter(|&number| self.numbers.contains(&f64::from(number))).map(u64::from)
    }

    /// Numbers near the constants, and between them.
    pub(super) fn ranges(&self) -> Vec<Value> {
        let free = |text: String| Value::Free(text);
        let mut found = Vec::new();
        for number in &self.numbers {
            found.extend([free(format!("{number} + g.n")), free(format!("{number} - g.n"))]);
        }
        for pair in self.numbers.windows(2) {
            let (low, high) = (pair[0], pair[1]);
            let steps: Vec<String> = (0..=100_u32)
                .map(|step| low + f64::from(step))
                .take_while(|number| *number <= high)
                .map(|number| number.to_string())
                .collect();
            let middle = low.midpoint(high);
            match steps.as_slice() {
                // Whether the ends belong to the range is not known.
                [_, inner @ .., _] if !inner.is_empty() => {
                    found.push(Value::Cycle(steps.clone()));
                    found.push(Value::Cycle(steps[1..].to_vec()));
                    found.push(Value::Cycle(steps[..steps.len() - 1].to_vec()));
                    found.push(Value::Cycle(inner.to_vec()));
                }
                _ => found.push(Value::Cycle(vec![low.to_string(), middle.to_string(), high.to_string()])),
            }
            found.push(free(middle.to_string()));
        }
        for number in &self.numbers {
            found.extend([*number, number + 1.0, number - 1.0].map(|number| free(number.to_string())));
        }
        found
    }
}

/// Where a literal ends that the text starts with.
pub(super) fn end_of_literal(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\'' && characters.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    text.len()
}
