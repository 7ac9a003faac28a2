//! Fills the tables of a scratch database with rows.
//!
//! The values follow from the number of the row and from what is in the database already: neither chance nor the
//! time of day has a part in them, so that two databases which are the same are filled the same.
//!
//! Every column has some candidates for its values. Before anything is inserted, PostgreSQL is asked which of them
//! meet the checks of the table; what it cannot foretell (triggers, expression indexes) shows when rows are
//! inserted, and costs the rows that it concerns.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How columns that may be NULL are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Every seventh row is NULL.
    Some,
    /// No row is, unless a check or a foreign key wants it.
    None,
    /// All rows are, unless a check forbids it.
    All,
}

/// What became of the tables.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// How many rows were inserted.
    pub(crate) rows: u64,
    /// How many tables have rows now.
    pub(crate) tables: usize,
    /// The tables that have none, and why.
    pub(crate) failed: Vec<(String, String)>,
}

/// Inserts rows until every table has at least that many; fewer where its keys do not allow as many.
///
/// Left alone are the tables of extensions, Alembic's `alembic_version` and the schema `safemig_verify`, and
/// foreign tables. What the database itself chooses, such as the next value of a sequence, is left to it.
/// Foreign keys in a circle are NULL until all tables are filled; then rows that were there before get theirs too.
///
/// # Errors
/// The catalogs cannot be read, or the connection breaks. A table that cannot be filled is no error.
pub(crate) fn fill(client: &mut Client, rows: u32, nulls: Nulls) -> Result<Filled> {
    let types = Types::read(client)?;
    let tables: Vec<Table> = query_json(client, TABLES)?;
    let mut filled = Filled::default();
    let mut visited = BTreeSet::new();
    let mut late = Vec::new();
    for table in in_order(&tables) {
        let before = count(client, &table.source())?;
        if before < u64::from(rows) {
            let mut work = Filler::new(client, &types, table, nulls, &visited, (before, u64::from(rows)))?;
            let problem = work.fill()?;
            late.extend(work.late.iter().map(|&key| (table, key)));
            filled.rows += work.inserted;
            if let Some(problem) = problem.filter(|_| before + work.inserted == 0) {
                filled.failed.push((table.name.clone(), problem));
            } else {
                filled.tables += 1;
            }
        } else {
            filled.tables += 1;
        }
        visited.insert(table.oid);
    }
    for (table, key) in late {
        point(client, table, key, nulls)?;
    }
    if nulls == Nulls::All {
        for table in &tables {
            clear(client, table)?;
        }
    }
    Ok(filled)
}

/// Makes NULL what may be NULL.
fn clear(client: &mut Client, table: &Table) -> Result<()> {
    for column in table.columns.iter().filter(|column| !column.not_null && column.is_given()) {
        let update = format!("UPDATE {} SET {} = NULL", table.source(), column.name);
        match client.simple_query(&update) {
            Err(error) if error.as_db_error().is_none() => return Err(error.into()),
            _ => {} // A check or a trigger has something against it.
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Table {
    oid: u32,
    /// With its schema, quoted.
    name: String,
    /// Without its schema, quoted.
    alias: String,
    partitioned: bool,
    columns: Vec<Column>,
    checks: Vec<Check>,
    /// The columns of every unique index that has no condition and no expressions.
    keys: Vec<Vec<i16>>,
    foreign_keys: Vec<ForeignKey>,
}

#[derive(Deserialize)]
struct Column {
    number: i16,
    /// Quoted.
    name: String,
    type_oid: u32,
    modifier: i32,
    /// The type as SQL names it.
    sql: String,
    not_null: bool,
    default: Default,
}

/// What the database puts where no value is given.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Default {
    None,
    Expression,
    /// The next value of a sequence, which is to be left to the database.
    Sequence,
    /// No value can be given.
    Generated,
}

#[derive(Deserialize)]
struct Check {
    expression: String,
    columns: Vec<i16>,
}

#[derive(Deserialize)]
struct ForeignKey {
    name: String,
    columns: Vec<i16>,
    /// The table, or that which its partition belongs to.
    parent: u32,
    parent_name: String,
    parent_columns: Vec<String>,
}

impl Table {
    /// Where its rows are counted: those of the tables that inherit from it are not its own.
    fn source(&self) -> String {
        if self.partitioned { self.name.clone() } else { format!("ONLY {}", self.name) }
    }

    fn column(&self, number: i16) -> &Column {
        self.columns
            .iter()
            .find(|column| column.number == number)
            .expect("constraints name columns that exist")
    }

    fn name_of(&self, number: i16) -> &str {
        &self.column(number).name
    }
}

impl Column {
    /// Whether it has a value that the database does not choose itself.
    fn is_given(&self) -> bool {
        matches!(self.default, Default::None | Default::Expression)
    }
}

impl ForeignKey {
    /// Whether a row must have a parent.
    fn is_required(&self, table: &Table) -> bool {
        self.columns.iter().all(|&column| table.column(column).not_null)
    }
}

const TABLES: &str = r"
SELECT json_build_object(
    'oid', c.oid::int8, 'name', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    'alias', quote_ident(c.relname), 'partitioned', c.relkind = 'p',
    'columns', coalesce((
        SELECT json_agg(json_build_object(
            'number', a.attnum, 'name', quote_ident(a.attname), 'type_oid', a.atttypid::int8,
            'modifier', a.atttypmod, 'sql', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull OR t.typnotnull, 
            'default', CASE WHEN a.attgenerated <> '' THEN 'generated'
                WHEN a.attidentity <> '' OR pg_get_expr(d.adbin, d.adrelid) ~ '\mnextval\(' THEN 'sequence'
                WHEN a.atthasdef THEN 'expression' ELSE 'none' END) ORDER BY a.attnum)
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '[]'),
    'checks', (
        SELECT coalesce(json_agg(json_build_object('expression', k.expression, 'columns', k.columns)
            ORDER BY cardinality(k.columns), k.place, k.name), '[]')
        FROM (
            SELECT pg_get_expr(k.conbin, k.conrelid) AS expression, k.conkey AS columns, 0 AS place, k.conname AS name
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
            UNION ALL
            SELECT string_agg('(' || pg_get_partition_constraintdef(p.relid) || ')', ' OR ' ORDER BY p.relid),
                (SELECT array_agg(a) FROM pg_catalog.pg_partitioned_table k, unnest(k.partattrs::int2[]) a
                 WHERE k.partrelid = c.oid AND a > 0), 1, ''
            FROM pg_catalog.pg_partition_tree(c.oid) p WHERE c.relkind = 'p' AND p.isleaf AND p.relid <> c.oid) k
        WHERE k.columns IS NOT NULL AND k.expression IS NOT NULL),
    'keys', (
        SELECT coalesce(json_agg(i.indkey::int2[] ORDER BY i.indnatts, i.indexrelid), '[]') FROM pg_catalog.pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL),
    'foreign_keys', (
        SELECT coalesce(json_agg(json_build_object(
            'name', quote_ident(k.conname), 'columns', k.conkey,
            'parent', coalesce(pg_partition_root(k.confrelid), k.confrelid)::oid::int8,
            'parent_name', CASE p.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END
                || (SELECT quote_ident(nspname) FROM pg_catalog.pg_namespace WHERE oid = p.relnamespace)
                || '.' || quote_ident(p.relname),
            'parent_columns', (SELECT json_agg(quote_ident(a.attname) ORDER BY x.place)
                FROM unnest(k.confkey) WITH ORDINALITY x (number, place)
                JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = x.number)
            ) ORDER BY cardinality(k.conkey) DESC, k.conkey, k.conname), '[]')
        FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class p ON p.oid = k.confrelid
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0))::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
    AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'safemig_verify')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend m
        WHERE m.classid = 'pg_catalog.pg_class'::regclass AND m.objid = c.oid AND m.deptype = 'e')
ORDER BY n.nspname, c.relname";

/// Tables that were filled a moment ago have no statistics, and nested loops over them take for ever.
const SETTINGS: &str =
    "SET LOCAL statement_timeout = '60s'; SET LOCAL enable_nestloop = off; SET LOCAL jit = off;";

/// One value for each row, each of them JSON.
fn query_json<T: DeserializeOwned>(client: &mut Client, query: &str) -> Result<Vec<T>> {
    let rows = client.query(query, &[]).context("the catalogs cannot be read")?;
    rows.iter().map(|row| Ok(serde_json::from_str(row.get(0))?)).collect()
}

/// How many rows there are; none that can be used, if they cannot be read.
fn count(client: &mut Client, source: &str) -> Result<u64> {
    match client.query_one(&format!("SELECT count(*) FROM {source}"), &[]) {
        Ok(row) => Ok(row.get::<_, i64>(0).unsigned_abs()),
        Err(error) if error.as_db_error().is_some() => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Parents before their children. Where they form a circle it is cut, if possible at a key that may be NULL.
fn in_order(tables: &[Table]) -> Vec<&Table> {
    let mut rest: Vec<&Table> = tables.iter().collect();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let waits = |table: &Table, only_required: bool| {
            table.foreign_keys.iter().any(|key| {
                key.parent != table.oid
                    && (!only_required || key.is_required(table))
                    && rest.iter().any(|other| other.oid == key.parent)
            })
        };
        let next = rest
            .iter()
            .position(|table| !waits(table, false))
            .or_else(|| rest.iter().position(|table| !waits(table, true)))
            .unwrap_or(0);
        order.push(rest.remove(next));
    }
    order
}

/// What the values of a type can be.
#[derive(Deserialize)]
struct Type {
    oid: u32,
    name: String,
    /// As SQL names it, without a modifier.
    sql: String,
    /// `pg_type.typtype`.
    kind: String,
    is_array: bool,
    /// Of a domain: its type; of an array: that of its elements; of a range: that of its bounds; of a multirange:
    /// its range.
    #[serde(default)]
    base: u32,
    base_modifier: i32,
    #[serde(default)]
    labels: Vec<String>,
    /// The checks of a domain.
    #[serde(default)]
    checks: String,
}

const TYPES: &str = r"
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

struct Types(BTreeMap<u32, Type>);

/// A way to fill a column; `g.n` is the number of the row, from 1 on.
#[derive(Clone, Debug)]
enum Value {
    /// An expression.
    Free(String),
    /// One of these expressions after the other.
    Cycle(Vec<String>),
    /// What a foreign key refers to: the rows of a table, as many as there are.
    Parent(u64),
    Null,
}

impl Value {
    fn expression(&self, stride: u64) -> String {
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
    fn radix(&self) -> Option<u64> {
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
fn digit(stride: u64, radix: &str) -> String {
    if stride == 1 {
        format!("(g.n - 1) % {radix}")
    } else {
        format!("((g.n - 1) / {stride} + (g.n - 1) % {stride}) % {radix}")
    }
}

impl Types {
    fn read(client: &mut Client) -> Result<Self> {
        let types: Vec<Type> = query_json(client, TYPES)?;
        Ok(Self(types.into_iter().map(|found| (found.oid, found)).collect()))
    }

    /// The type below domains, its modifier, and the checks of the domains.
    fn below_domains(&self, mut oid: u32, mut modifier: i32) -> Option<(&Type, i32, String)> {
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
    fn value(&self, oid: u32, modifier: i32) -> Option<Value> {
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
    fn candidates(&self, column: &Column, constants: &Constants) -> Vec<Value> {
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
fn simple_value(name: &str, modifier: i32) -> Option<String> {
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

fn numeric_value(modifier: i32) -> String {
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
struct Constants {
    /// As SQL writes them.
    literals: Vec<String>,
    numbers: Vec<f64>,
}

impl Constants {
    /// Takes in the parts of a check that name the column.
    fn read(&mut self, check: &str, column: &str) {
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

    fn add(&mut self, literal: String, text: &str) {
        self.numbers.extend(text.parse::<f64>().ok().filter(|number| number.is_finite()));
        if !self.literals.contains(&literal) {
            self.literals.push(literal);
        }
    }

    fn small_numbers(&self) -> impl Iterator<Item = u64> {
        (1..=64_u32).filter(|&number| self.numbers.contains(&f64::from(number))).map(u64::from)
    }

    /// Numbers near the constants, and between them.
    fn ranges(&self) -> Vec<Value> {
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
fn end_of_literal(text: &str) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\'' && characters.next_if(|(_, next)| *next == '\'').is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// One way to fill a column.
#[derive(Clone)]
struct Choice {
    value: Value,
    /// Every seventh row is NULL.
    with_nulls: bool,
}

/// Fills one table.
struct Filler<'c, 'a> {
    client: &'c mut Client,
    types: &'a Types,
    table: &'a Table,
    /// How many rows there are, and how many there shall be.
    before: u64,
    rows: u64,
    inserted: u64,
    /// What may be tried for each column, and which of it is.
    choices: BTreeMap<i16, Vec<Choice>>,
    chosen: BTreeMap<i16, usize>,
    strides: BTreeMap<i16, u64>,
    /// Foreign keys to rows that are not there yet.
    late: Vec<&'a ForeignKey>,
    with_on_conflict: bool,
    /// The first error.
    error: Option<String>,
    is_hopeless: bool,
}

/// The parts of an `INSERT`.
struct Plan {
    columns: String,
    values: String,
    /// What `g`, the numbers of the rows, is joined with.
    joins: String,
}

/// How many combinations of candidates are tried for a check.
const COMBINATIONS: usize = 400;

/// How many rows checks are tried with.
const SAMPLE: u64 = 300;

/// How many statements may fail before a table is given up: while nothing was inserted, and at all.
const FAILURES: (usize, usize) = (40, 400);

/// How often in a row no row may be inserted because of unique keys.
const STALLS: usize = 6;

impl<'c, 'a> Filler<'c, 'a> {
    fn new(
        client: &'c mut Client,
        types: &'a Types,
        table: &'a Table,
        nulls: Nulls,
        visited: &BTreeSet<u32>,
        (before, rows): (u64, u64),
    ) -> Result<Self> {
        let mut parents = BTreeMap::new();
        let mut late = Vec::new();
        for key in &table.foreign_keys {
            let is_required = key.is_required(table);
            let there = count(client, &key.source(table))?;
            if there > 0 && (is_required || visited.contains(&key.parent)) {
                for &column in &key.columns {
                    parents.entry(column).or_insert(Value::Parent(there));
                }
            } else if !is_required {
                for &column in key.columns.iter().filter(|&&column| !table.column(column).not_null) {
                    parents.insert(column, Value::Null);
                }
                late.push(key);
            }
        }

        let mut choices = BTreeMap::new();
        for column in &table.columns {
            let mut constants = Constants::default();
            for check in table.checks.iter().filter(|check| check.columns.contains(&column.number)) {
                constants.read(&check.expression, &column.name);
            }
            if let Some((_, _, checks)) = types.below_domains(column.type_oid, column.modifier) {
                constants.read(&checks, "VALUE");
            }
            let values = match parents.remove(&column.number) {
                Some(Value::Null) => vec![],
                Some(parent) => vec![parent],
                None => types.candidates(column, &constants),
            };
            let mut found = Vec::new();
            for value in values {
                if nulls == Nulls::Some && !column.not_null {
                    found.push(Choice { value: value.clone(), with_nulls: true });
                }
                found.push(Choice { value, with_nulls: false });
            }
            if !column.not_null {
                found.push(Choice { value: Value::Null, with_nulls: false });
            }
            choices.insert(column.number, found);
        }
        let chosen = choices.keys().map(|&column| (column, 0)).collect();
        Ok(Self {
            client,
            types,
            table,
            before,
            rows,
            inserted: 0,
            choices,
            chosen,
            strides: BTreeMap::new(),
            late,
            with_on_conflict: true,
            error: None,
            is_hopeless: false,
        })
    }

    /// Inserts what is missing; the answer is why nothing was inserted.
    ///
    /// # Errors
    /// The connection is broken.
    fn fill(&mut self) -> Result<Option<String>> {
        if let Some(problem) = self.settle_types()? {
            return Ok(Some(problem));
        }
        self.settle_checks()?;
        self.settle_strides();
        let plan = match self.plan() {
            Ok(plan) => plan,
            Err(problem) => return Ok(Some(problem)),
        };
        let (mut next, mut stalls) = (self.before + 1, 0);
        while self.before + self.inserted < self.rows && stalls < STALLS && !self.is_hopeless {
            let (missing, so_far) = (self.rows - self.before - self.inserted, self.inserted);
            self.insert(&plan, (next, next + missing - 1))?;
            next += missing;
            stalls = if self.inserted > so_far { 0 } else { stalls + 1 };
        }
        let unknown = "its triggers, keys and foreign keys let no row in";
        Ok((self.inserted == 0).then(|| self.error.take().unwrap_or_else(|| unknown.to_owned())))
    }

    fn choice(&self, column: i16) -> Option<&Choice> {
        self.choices.get(&column)?.get(*self.chosen.get(&column)?)
    }

    /// The value of a column that no foreign key gives.
    fn expression(&self, column: &Column) -> Option<String> {
        let choice = self.choice(column.number)?;
        let value = match &choice.value {
            // Only to try checks with.
            Value::Parent(_) => self.types.value(column.type_oid, column.modifier)?,
            other => other.clone(),
        };
        let stride = self.strides.get(&column.number).copied().unwrap_or(1);
        Some(choice.sprinkle(column.number, &format!("CAST({} AS {})", value.expression(stride), column.sql)))
    }

    /// Whether an aggregate over the first and last rows to be inserted is true; it may use these columns.
    fn is_true(&mut self, aggregate: &str, columns: &[i16]) -> Result<bool> {
        let columns: BTreeSet<_> = columns.iter().collect();
        let columns: Vec<_> = columns
            .into_iter()
            .map(|&column| self.table.column(column))
            .filter_map(|column| Some(format!("{} AS {}", self.expression(column)?, column.name)))
            .collect();
        let (from, to) = (self.before + 1, self.rows);
        let query = format!(
            "{SETTINGS} SELECT {aggregate} FROM (SELECT {} FROM (
                SELECT generate_series({from}, {}) UNION SELECT generate_series({}, {to})) g(n)) {}",
            columns.join(", "),
            to.min(from + SAMPLE),
            from.max(to.saturating_sub(SAMPLE / 10)),
            self.table.alias
        );
        match self.client.simple_query(&query) {
            Ok(messages) => Ok(messages.iter().any(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
                _ => false,
            })),
            Err(error) if error.as_db_error().is_some() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes for every column the first candidate that its type accepts; the answer is why there is none.
    fn settle_types(&mut self) -> Result<Option<String>> {
        let table = self.table;
        let given: Vec<_> =
            table.columns.iter().filter(|column| column.default != Default::Generated).collect();
        let numbers: Vec<_> = given.iter().map(|column| column.number).collect();
        let test = |column: &Column| format!("count({}) >= 0", column.name);
        let all: Vec<_> = given.iter().map(|column| test(column)).collect();
        if all.is_empty() || self.is_true(&all.join(" AND "), &numbers)? {
            return Ok(None);
        }
        for column in given {
            let candidates = self.choices.get(&column.number).map_or(0, Vec::len);
            let mut fits = false;
            for index in 0..candidates {
                self.chosen.insert(column.number, index);
                fits =
                    self.choice(column.number).is_some() && self.is_true(&test(column), &[column.number])?;
                if fits {
                    break;
                }
            }
            if !fits {
                if column.default == Default::None {
                    return Ok(Some(format!("no value is known for {} of type {}", column.name, column.sql)));
                }
                self.chosen.remove(&column.number);
            }
        }
        Ok(None)
    }

    /// Looks for candidates that meet the checks; those that none meets are left to be tried.
    fn settle_checks(&mut self) -> Result<()> {
        let table = self.table;
        let is_generated = |&column: &i16| table.column(column).default == Default::Generated;
        let mut met: Vec<&Check> = Vec::new();
        for check in table.checks.iter().filter(|check| !check.columns.iter().any(is_generated)) {
            let together: Vec<&Check> = met
                .iter()
                .copied()
                .filter(|other| other.columns.iter().any(|column| check.columns.contains(column)))
                .chain([check])
                .collect();
            let is_met = match check.columns[..] {
                [column] => self.settle_column(column, &together)?,
                _ => self.settle_columns(&check.columns, &together)?,
            };
            met.extend(is_met.then_some(check));
        }
        Ok(())
    }

    fn meets(&mut self, checks: &[&Check]) -> Result<bool> {
        let conditions: Vec<_> =
            checks.iter().map(|check| format!("bool_and(({}) IS NOT FALSE)", check.expression)).collect();
        let columns: Vec<_> = checks.iter().flat_map(|check| check.columns.iter().copied()).collect();
        self.is_true(&conditions.join(" AND "), &columns)
    }

    /// Keeps the candidates that meet the checks of a column, if there are any.
    fn settle_column(&mut self, column: i16, checks: &[&Check]) -> Result<bool> {
        let is_shared = |check: &Check| check.columns.len() > 1 && check.columns.contains(&column);
        let meets_already = self.meets(checks)?;
        if meets_already && !self.table.checks.iter().any(is_shared) {
            return Ok(true);
        }
        let before = self.chosen.get(&column).copied();
        let mut kept = Vec::new();
        for (index, choice) in self.choices[&column].clone().into_iter().enumerate() {
            self.chosen.insert(column, index);
            if self.meets(checks)? {
                kept.push(choice);
            }
        }
        if kept.is_empty() {
            before.map(|before| self.chosen.insert(column, before));
            return Ok(false);
        }

        // All constants that meet the checks make one more candidate.
        let mut constants: Vec<String> = Vec::new();
        for choice in &kept {
            if let Value::Free(expression) = &choice.value
                && choice.value.radix() == Some(1)
                && !constants.contains(expression)
            {
                constants.push(expression.clone());
            }
        }
        if constants.len() > 1 {
            let ranges_are_better = constants.iter().all(|constant| constant.parse::<f64>().is_ok());
            let first = kept.iter().position(|choice| choice.value.radix() == Some(1)).unwrap_or(0);
            let at = if meets_already || ranges_are_better { first } else { 0 };
            let with_nulls = kept[0].with_nulls;
            let joined = [with_nulls, false]
                .map(|with_nulls| Choice { value: Value::Cycle(constants.clone()), with_nulls });
            kept.splice(at..at, joined);
        }
        self.choices.insert(column, kept);
        self.chosen.insert(column, 0);
        Ok(true)
    }

    /// Looks for candidates of several columns that meet checks together, near those which are chosen.
    fn settle_columns(&mut self, columns: &[i16], checks: &[&Check]) -> Result<bool> {
        let before = self.chosen.clone();
        let orders: Vec<_> = columns.iter().map(|&column| (column, self.order(column))).collect();
        let lengths: Vec<_> = orders.iter().map(|(_, order)| order.len()).collect();
        for combination in combinations(&lengths) {
            for ((column, order), index) in orders.iter().zip(combination) {
                self.chosen.insert(*column, order[index]);
            }
            if self.meets(checks)? {
                return Ok(true);
            }
        }
        self.chosen = before;
        Ok(false)
    }

    /// In which order the candidates of a column are tried together with others': NULL is often the answer.
    fn order(&self, column: i16) -> Vec<usize> {
        let choices = &self.choices[&column];
        let is_null = |index: &usize| matches!(choices[*index].value, Value::Null);
        let current = self.chosen.get(&column).copied();
        let (nulls, others): (Vec<_>, Vec<_>) =
            (0..choices.len()).filter(|index| Some(*index) != current).partition(is_null);
        current.into_iter().chain(nulls).chain(others).collect()
    }

    /// Lets columns that have few values vary so that no combination of a unique key comes twice.
    fn settle_strides(&mut self) {
        for key in &self.table.keys {
            let radix = |&column: &i16| {
                let is_given = self.table.column(column).is_given();
                let choice = self.choice(column)?;
                choice.value.radix().filter(|_| is_given || matches!(choice.value, Value::Parent(_)))
            };
            let Some(radixes) = key.iter().map(radix).collect::<Option<Vec<_>>>() else { continue };
            let mut stride = 1_u64;
            let mut seen: BTreeSet<i16> = BTreeSet::new();
            for (&column, radix) in key.iter().zip(radixes) {
                // The columns of a foreign key move together.
                let together = self.table.foreign_keys.iter().find(|other| other.columns.contains(&column));
                let together = together.map_or_else(|| vec![column], |key| key.columns.clone());
                if seen.contains(&column) || self.strides.contains_key(&column) {
                    continue;
                }
                seen.extend(&together);
                for column in together {
                    self.strides.entry(column).or_insert(stride);
                }
                stride = stride.saturating_mul(radix.max(1)).min(i64::MAX.unsigned_abs());
            }
        }
    }

    /// Puts together what is to be inserted.
    ///
    /// # Errors
    /// Why that cannot be done.
    fn plan(&self) -> Result<Plan, String> {
        let table = self.table;
        let mut given: BTreeMap<i16, String> = BTreeMap::new();
        let mut joins = String::new();
        let is_null = |column: i16| matches!(self.choice(column), Some(Choice { value: Value::Null, .. }));
        for (place, key) in table.foreign_keys.iter().enumerate() {
            if key.columns.iter().any(|&column| is_null(column))
                || key.columns.iter().all(|column| given.contains_key(column))
            {
                continue;
            }
            let rows = key.columns.iter().find_map(|&column| match self.choice(column)?.value {
                Value::Parent(rows) => Some(rows),
                _ => None,
            });
            let Some(rows) = rows else {
                if key.parent == table.oid
                    && let Some(own) = self.own_values(key)
                {
                    given.extend(own);
                    continue;
                }
                return Err(format!(
                    "the foreign key {} needs rows of {}",
                    key.name,
                    key.parent_name.trim_start_matches("ONLY ")
                ));
            };
            joins.push_str(&self.join(place, key, rows, &given));
            let phase = key.columns[0];
            for (number, &column) in key.columns.iter().enumerate() {
                let with_nulls = |expression: &str| match self.choice(column) {
                    Some(choice) => choice.sprinkle(phase, expression),
                    None => expression.to_owned(),
                };
                given.entry(column).or_insert_with(|| with_nulls(&format!("f{place}.k{number}")));
            }
        }
        for column in table.columns.iter().filter(|column| column.is_given()) {
            if !given.contains_key(&column.number)
                && let Some(expression) = self.expression(column)
            {
                given.insert(column.number, expression);
            }
        }
        let names: Vec<_> = given.keys().map(|&column| table.name_of(column)).collect();
        let columns = if names.is_empty() { String::new() } else { format!("({})", names.join(", ")) };
        let values: Vec<_> = given.into_values().collect();
        Ok(Plan { columns, values: values.join(", "), joins })
    }

    /// The values of the row itself for a foreign key to its own table.
    fn own_values(&self, key: &ForeignKey) -> Option<Vec<(i16, String)>> {
        key.columns
            .iter()
            .zip(&key.parent_columns)
            .map(|(&column, name)| {
                let parent = self.table.columns.iter().find(|column| column.name == *name)?;
                let expression = self.expression(parent).filter(|_| parent.is_given())?;
                Some((column, expression))
            })
            .collect()
    }

    /// Joins the rows that a foreign key refers to. Of those only the ones count that agree with the columns given
    /// by other foreign keys.
    fn join(&self, place: usize, key: &ForeignKey, rows: u64, given: &BTreeMap<i16, String>) -> String {
        let keys: Vec<_> = key.columns.iter().map(|&column| self.table.name_of(column)).collect();
        let names: Vec<_> =
            keys.iter().enumerate().map(|(number, name)| format!("{name} AS k{number}")).collect();
        let (order, all, source) = (keys.join(", "), names.join(", "), key.source(self.table));
        let must_be_there = |column: &i16| !given.contains_key(column) && self.table.column(*column).not_null;
        let join = if key.columns.iter().any(must_be_there) { "JOIN" } else { "LEFT JOIN" };
        let stride = self.strides.get(&key.columns[0]).copied().unwrap_or(1);

        let shared: Vec<_> = key
            .columns
            .iter()
            .enumerate()
            .filter_map(|(number, column)| Some((number, given.get(column)?)))
            .collect();
        if shared.is_empty() {
            let place_of_row = digit(stride, &rows.to_string());
            return format!(
                " {join} (SELECT {all}, row_number() OVER (ORDER BY {order}) - 1 AS i FROM {source}) f{place} \
                 ON f{place}.i = {place_of_row}"
            );
        }
        let by: Vec<_> = shared.iter().map(|(number, _)| keys[*number]).collect();
        let by = by.join(", ");
        let groups: Vec<_> = shared.iter().map(|(number, _)| names[*number].as_str()).collect();
        let groups = groups.join(", ");
        let agrees = |alias: char| -> String {
            let equal: Vec<_> =
                shared.iter().map(|(number, value)| format!("{alias}{place}.k{number} = {value}")).collect();
            equal.join(" AND ")
        };
        let place_of_row = digit(stride, &format!("c{place}.m"));
        format!(
            " {join} (SELECT {groups}, count(*) AS m FROM {source} GROUP BY {by}) c{place} ON {} \
             {join} (SELECT {all}, row_number() OVER (PARTITION BY {by} ORDER BY {order}) - 1 AS i \
             FROM {source}) f{place} ON {} AND f{place}.i = {place_of_row}",
            agrees('c'),
            agrees('f')
        )
    }

    /// Inserts the rows of these numbers, in ever smaller groups where that fails. Each group is a transaction.
    fn insert(&mut self, plan: &Plan, numbers: (u64, u64)) -> Result<()> {
        let (mut groups, mut failures) = (vec![numbers], 0);
        while let Some((from, to)) = groups.pop() {
            let statement = format!(
                "{SETTINGS}
                INSERT INTO {} {} OVERRIDING SYSTEM VALUE
                SELECT {} FROM generate_series({from}, {to}) g(n){} ORDER BY g.n{}",
                self.table.name,
                plan.columns,
                plan.values,
                plan.joins,
                if self.with_on_conflict { " ON CONFLICT DO NOTHING" } else { "" }
            );
            let error = match self.client.simple_query(&statement) {
                Ok(messages) => {
                    let inserted = messages.iter().filter_map(|message| match message {
                        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
                        _ => None,
                    });
                    self.inserted += inserted.last().unwrap_or(0);
                    continue;
                }
                Err(error) => error,
            };
            let Some(database) = error.as_db_error() else { return Err(error.into()) };
            // Rules and deferrable keys do not go with ON CONFLICT.
            let does_not_go = [SqlState::FEATURE_NOT_SUPPORTED, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
            let retry = self.with_on_conflict && does_not_go.contains(database.code());
            if retry {
                self.with_on_conflict = false;
                groups.push((from, to));
                continue;
            }
            self.error.get_or_insert_with(|| database.message().to_owned());
            failures += 1;
            let limit = if self.inserted == 0 { FAILURES.0 } else { FAILURES.1 };
            self.is_hopeless = *database.code() == SqlState::QUERY_CANCELED || failures >= limit;
            if self.is_hopeless {
                break;
            }
            if from < to {
                let middle = from.midpoint(to);
                groups.extend([(middle + 1, to), (from, middle)]);
            }
        }
        Ok(())
    }
}

impl Choice {
    fn sprinkle(&self, phase: i16, expression: &str) -> String {
        if self.with_nulls {
            format!("CASE WHEN (g.n + {phase}) % 7 <> 0 THEN {expression} END")
        } else {
            expression.to_owned()
        }
    }
}

impl ForeignKey {
    /// The rows that a table may refer to, with the names of its own columns.
    fn source(&self, table: &Table) -> String {
        let columns: Vec<_> = self.columns.iter().map(|&column| table.name_of(column)).collect();
        let pairs: Vec<_> = self
            .parent_columns
            .iter()
            .zip(&columns)
            .map(|(parent, own)| format!("{parent} AS {own}"))
            .collect();
        let mut conditions: Vec<_> = columns.iter().map(|own| format!("{own} IS NOT NULL")).collect();
        let is_own = |check: &&Check| check.columns.iter().all(|column| self.columns.contains(column));
        let checks = table.checks.iter().filter(is_own);
        conditions.extend(checks.map(|check| format!("({}) IS NOT FALSE", check.expression)));
        format!(
            "(SELECT {} FROM {}) {} WHERE {}",
            pairs.join(", "),
            self.parent_name,
            table.alias,
            conditions.join(" AND ")
        )
    }
}

/// Indexes below these lengths, at most `COMBINATIONS`, those first that are small altogether.
fn combinations(lengths: &[usize]) -> Vec<Vec<usize>> {
    fn extend(lengths: &[usize], total: usize, start: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
        let Some((&length, rest)) = lengths.split_first() else {
            if total == 0 {
                found.push(start.clone());
            }
            return;
        };
        let most: usize = rest.iter().map(|length| length.saturating_sub(1)).sum();
        for index in total.saturating_sub(most)..length.min(total + 1) {
            if found.len() >= COMBINATIONS {
                return;
            }
            start.push(index);
            extend(rest, total - index, start, found);
            start.pop();
        }
    }
    let mut found = Vec::new();
    for total in 0..=lengths.iter().map(|length| length.saturating_sub(1)).sum() {
        extend(lengths, total, &mut Vec::new(), &mut found);
    }
    found
}

/// Gives a foreign key that had to wait the rows it refers to; in a table that refers to itself they form a tree.
///
/// Where that fails the columns stay NULL.
///
/// # Errors
/// The connection is broken.
fn point(client: &mut Client, table: &Table, key: &ForeignKey, nulls: Nulls) -> Result<()> {
    let parents = count(client, &key.source(table))?;
    if parents == 0 {
        return Ok(());
    }
    let is_unique = table.keys.iter().any(|unique| unique.iter().all(|column| key.columns.contains(column)));
    let is_tree = key.parent == table.oid;
    let order = if is_tree {
        key.parent_columns.join(", ")
    } else {
        let unique =
            table.keys.first().map(|key| key.iter().map(|&column| table.name_of(column)).collect::<Vec<_>>());
        unique.map_or_else(|| "to_jsonb(t.*)::text".to_owned(), |names| names.join(", "))
    };
    let place = match (is_tree, is_unique) {
        (true, true) => "s.i - 1".to_owned(),
        // Division is towards zero: the first row would be its own parent.
        (true, false) => "(s.i + 1) / 2 - 1".to_owned(),
        (false, true) => "s.i".to_owned(),
        (false, false) => format!("s.i % {parents}"),
    };

    // Columns that may not be NULL have their values already.
    let names = |not_null: bool| -> Vec<&str> {
        let columns = key.columns.iter().map(|&column| table.column(column));
        columns.filter(|column| column.not_null == not_null).map(|column| column.name.as_str()).collect()
    };
    let (fixed, open) = (names(true), names(false));
    let partition = |names: &[&str]| match names {
        [] => String::new(),
        names => format!("PARTITION BY {} ", names.join(", ")),
    };
    let set: Vec<_> = open.iter().map(|name| format!("{name} = p.{name}")).collect();
    let agrees: Vec<_> = fixed.iter().map(|name| format!(" AND p.{name} = t.{name}")).collect();
    let sprinkled = if nulls == Nulls::Some { " AND s.i % 7 <> 0" } else { "" };
    let statement = format!(
        "{SETTINGS}
        UPDATE {own} AS t SET {set}
        FROM (SELECT tableoid AS o, ctid AS c, row_number() OVER ({partition}ORDER BY {order}) - 1 AS i
                FROM {own} t) s,
            (SELECT *, row_number() OVER ({partition}ORDER BY {keys}) - 1 AS i FROM {source}) p
        WHERE t.ctid = s.c AND t.tableoid = s.o AND p.i = {place} AND t.{first} IS NULL{agrees}{sprinkled}",
        own = table.source(),
        set = set.join(", "),
        agrees = agrees.concat(),
        partition = partition(&fixed),
        keys = [&fixed[..], &open[..]].concat().join(", "),
        source = key.source(table),
        first = open[0],
    );
    match client.simple_query(&statement) {
        Err(error) if error.as_db_error().is_none() => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::snapshot::testing::database;
    use crate::verify::snapshot::{Snapshot, render};

    const SCHEMA: &str = r#"
        CREATE SCHEMA "My.Schema"; CREATE SCHEMA safemig_verify;
        CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION btree_gist;
        CREATE TABLE alembic_version (version_num varchar(32) NOT NULL);
        CREATE TABLE safemig_verify.log (a int);
        CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'glad');
        CREATE TYPE pair AS (a int, b text);
        CREATE TYPE span AS RANGE (subtype = int8);
        CREATE DOMAIN positive AS int CHECK (VALUE > 1000);
        CREATE DOMAIN email AS citext NOT NULL CHECK (VALUE ~ '^[^@]+@[^@]+$');
        CREATE DOMAIN code AS varchar(3) CHECK (VALUE ~ '^[A-Z]{3}$');

        CREATE TABLE types (
            id serial PRIMARY KEY, i2 smallint UNIQUE, i4 int, i8 bigint, n numeric, n32 numeric(3,2),
            n88 numeric(8,8), n5 numeric(5), f4 real, f8 double precision, t text UNIQUE, v5 varchar(5) UNIQUE,
            v50 varchar(50), c3 char(3) UNIQUE, c1 char, ct citext UNIQUE, b boolean, d date, ti time, tz timetz,
            ts timestamp, tstz timestamptz, iv interval, u uuid UNIQUE, j json, jb jsonb, by bytea, ip inet,
            net cidr, mac macaddr, mac8 macaddr8, b4 bit(4), bv varbit, bv3 varbit(3), ai int[], at text[],
            am mood[], avc varchar(3)[], m mood, p positive, e email, co code, r4 int4range, rts tstzrange,
            rn numrange, rs span, h hstore, tv tsvector, tq tsquery, pt point, l line, ls lseg, bx box, pa path,
            pg polygon, ci circle, mo money, o oid, pr pair, lsn pg_lsn, ch "char", na name, rc regclass,
            g int GENERATED ALWAYS AS (1) STORED, idn int GENERATED ALWAYS AS IDENTITY,
            du uuid NOT NULL DEFAULT md5('x')::uuid, dt timestamptz NOT NULL DEFAULT now());
        CREATE TABLE only_id (id serial PRIMARY KEY);
        CREATE TABLE "My.Schema"."The ""table""" ("g.n" int PRIMARY KEY, n text NOT NULL, g mood NOT NULL,
            t int REFERENCES only_id, CHECK ("g.n" > 5 AND n <> ''));

        CREATE TABLE tenants (id int PRIMARY KEY);
        CREATE TABLE users (tenant int NOT NULL REFERENCES tenants, id int NOT NULL, boss int,
            PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, boss) REFERENCES users (tenant, id));
        CREATE TABLE projects (tenant int NOT NULL REFERENCES tenants, id int NOT NULL, PRIMARY KEY (tenant, id));
        CREATE TABLE members (tenant int NOT NULL, usr int NOT NULL, project int NOT NULL,
            FOREIGN KEY (tenant, usr) REFERENCES users, FOREIGN KEY (tenant, project) REFERENCES projects);
        CREATE TABLE tags (id serial PRIMARY KEY, name varchar(20) NOT NULL);
        CREATE TABLE posts (id serial PRIMARY KEY, parent int REFERENCES posts, best int,
            title text NOT NULL);
        CREATE TABLE comments (id serial PRIMARY KEY, post int NOT NULL REFERENCES posts);
        ALTER TABLE posts ADD FOREIGN KEY (best) REFERENCES comments;
        CREATE TABLE post_tags (post int REFERENCES posts, tag int REFERENCES tags, PRIMARY KEY (post, tag));
        CREATE TABLE ratings (post int NOT NULL REFERENCES posts, stars int NOT NULL CHECK (stars BETWEEN 1 AND 5),
            kind varchar(10) CHECK (kind IN ('a', 'b''s', 'c')), flag boolean NOT NULL, UNIQUE (stars, kind, flag, post));
        CREATE TABLE profiles (usr int PRIMARY KEY REFERENCES tags, text text);
        CREATE TABLE derived (id int PRIMARY KEY REFERENCES posts, kind text CHECK (kind = ANY ('{x,y}'::text[])));

        CREATE TABLE checks (
            id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
            status text NOT NULL CHECK (status IN ('open', 'done')), done timestamptz,
            CHECK ((status = 'done') = (done IS NOT NULL)),
            percent int CHECK (percent >= 0 AND percent <= 100), share numeric CHECK (share > 0 AND share < 1),
            negative int CHECK (negative < 0), even int NOT NULL CHECK (even % 2 = 0), past date CHECK (past < '2001-01-01'),
            starts timestamptz NOT NULL, ends timestamptz NOT NULL, CHECK (ends > starts),
            email text NOT NULL CHECK (email LIKE '%@%'), country char(2) CHECK (country ~ '^[A-Z]{2}$'),
            slug text CHECK (slug ~ '^[a-z0-9-]+$'), len text CHECK (char_length(len) = 6),
            a int REFERENCES tags, b int REFERENCES posts, c int, CHECK (num_nonnulls(a, b, c) = 1),
            list jsonb NOT NULL CHECK (jsonb_typeof(list) = 'array'), two int[] CHECK (cardinality(two) = 2));
        CREATE TABLE logins (method text NOT NULL CHECK (method IN ('local', 'ldap', 'oauth')), hash text, token text,
            CHECK (method <> 'local' OR (hash IS NOT NULL AND token IS NULL)),
            CHECK (method = 'local' OR hash IS NULL), CHECK (method <> 'oauth' OR token IS NOT NULL));
        CREATE TABLE things (id int PRIMARY KEY, kind text NOT NULL CHECK (kind IN ('p', 'q')), UNIQUE (kind, id));
        CREATE TABLE p_things (id int PRIMARY KEY, kind text NOT NULL CHECK (kind = 'p'),
            FOREIGN KEY (kind, id) REFERENCES things (kind, id));
        CREATE TABLE booking (room int NOT NULL, during tstzrange NOT NULL, EXCLUDE USING gist (room WITH =, during WITH &&));
        CREATE TABLE partial (id serial PRIMARY KEY, usr int NOT NULL REFERENCES tags, standard boolean NOT NULL, x text);
        CREATE UNIQUE INDEX ON partial (usr) WHERE standard;
        CREATE UNIQUE INDEX ON partial (lower(x));
        CREATE TABLE deferred (a int NOT NULL, b boolean UNIQUE DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE ruled (a int); CREATE RULE r AS ON INSERT TO ruled WHERE new.a < 0 DO INSTEAD NOTHING;
        CREATE TABLE events (id int NOT NULL, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2019-01-01') TO ('2020-01-01');
        CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
        CREATE TABLE regions (id serial, region text) PARTITION BY LIST (region);
        CREATE TABLE regions_1 PARTITION OF regions FOR VALUES IN ('eu', 'us');
        CREATE TABLE hashed (id int) PARTITION BY HASH (id);
        CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE TABLE base (id serial PRIMARY KEY, a int); CREATE TABLE heir (b text) INHERITS (base);
        CREATE TABLE own_root (id int PRIMARY KEY, root int NOT NULL REFERENCES own_root);
        CREATE TABLE seeded (id serial PRIMARY KEY, name text UNIQUE NOT NULL);
        INSERT INTO seeded VALUES (1, 'x7'), (2, 'b'), (3, 'c');
        CREATE TABLE guarded (a int);
        CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF new.a % 10 = 1 THEN RAISE ''not this one''; END IF; RETURN NEW; END';
        CREATE TRIGGER odd BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION odd();
    "#;

    const HOPELESS: &str = "
        CREATE TABLE moods (m mood PRIMARY KEY);
        CREATE TABLE never (a int NOT NULL CHECK (a > 5 AND a < 5));
        CREATE TABLE below_never (a int NOT NULL UNIQUE);
        ALTER TABLE never ADD UNIQUE (a);
        ALTER TABLE below_never ADD FOREIGN KEY (a) REFERENCES never (a);
        CREATE TABLE no_partition (a int) PARTITION BY RANGE (a);
        CREATE TABLE odd_type (a regclass NOT NULL);
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''never''; END';
        CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TABLE raising (a int); CREATE TABLE skipping (a int);
        CREATE TRIGGER no BEFORE INSERT ON raising FOR EACH ROW EXECUTE FUNCTION no();
        CREATE TRIGGER skip BEFORE INSERT ON skipping FOR EACH ROW EXECUTE FUNCTION skip();
    ";

    fn snapshot(client: &mut Client) -> Snapshot {
        Snapshot::read(client, true).unwrap()
    }

    /// The number of rows of every table, partitions and all.
    fn counts(client: &mut Client) -> BTreeMap<String, u64> {
        let tables = client
            .query("SELECT c.oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'p') AND oid >= 16384 AND relnamespace::regnamespace::text !~ '^(pg_|inf)'", &[])
            .unwrap();
        tables
            .iter()
            .map(|row| row.get(0))
            .map(|name: String| (name.clone(), count(client, &name).unwrap()))
            .collect()
    }

    fn number(client: &mut Client, query: &str) -> i64 {
        client.query_one(query, &[]).unwrap().get(0)
    }

    fn reach(nulls: Nulls) -> Client {
        let mut client = database();
        client.batch_execute(SCHEMA).unwrap();
        let filled = fill(&mut client, 60, nulls).unwrap();
        assert_eq!(filled.failed, []);
        let few: Vec<_> = counts(&mut client)
            .into_iter()
            .filter(|(name, count)| *count < 60 && !name.starts_with("events_") && name != "deferred")
            .collect();
        let expected = [("alembic_version", 0), ("p_things", 30), ("safemig_verify.log", 0)];
        assert_eq!(few, expected.map(|(name, count)| (name.to_owned(), count)));
        client
    }

    #[test]
    fn tables_reach_the_number_of_rows() {
        let mut client = reach(Nulls::Some);
        for (query, expected) in [
            ("SELECT count(*) FROM types WHERE i4 IS NULL", 9),
            ("SELECT count(DISTINCT m) FROM types", 3),
            ("SELECT count(DISTINCT stars) FROM ratings", 5),
            ("SELECT count(DISTINCT kind) FROM ratings", 3),
            ("SELECT count(DISTINCT post) FROM post_tags", 60),
            ("SELECT count(DISTINCT tag) FROM post_tags", 60),
            ("SELECT count(DISTINCT region) FROM regions", 2),
            ("SELECT count(*) FROM posts WHERE parent IS NULL", 9),
            ("SELECT count(*) FROM posts WHERE best IS NULL", 9),
            ("SELECT count(*) FROM events_1", 30),
            ("SELECT max(id)::int8 FROM tags", 60),
            ("SELECT last_value FROM tags_id_seq", 60),
        ] {
            assert_eq!(number(&mut client, query), expected, "{query}");
        }
    }

    #[test]
    fn nothing_is_null_that_need_not_be() {
        let mut client = reach(Nulls::None);
        for column in ["i2", "n88", "am", "p", "h", "tq", "ci", "bv3", "lsn"] {
            let query = format!("SELECT count(*) FROM types WHERE {column} IS NULL");
            assert_eq!(number(&mut client, &query), 0, "{column}");
        }
        assert_eq!(number(&mut client, "SELECT count(*) FROM posts WHERE parent IS NULL"), 1);
        let circles = "WITH RECURSIVE up AS (SELECT id, parent FROM posts WHERE parent IS NULL
            UNION ALL SELECT c.id, c.parent FROM posts c JOIN up ON up.id = c.parent) SELECT count(*) FROM up";
        assert_eq!(number(&mut client, circles), 60);
    }

    #[test]
    fn filling_twice_changes_nothing_and_is_the_same_everywhere() {
        let (mut one, mut two) = (reach(Nulls::Some), reach(Nulls::Some));
        let before = snapshot(&mut one);
        assert_eq!(render(&before.difference(&snapshot(&mut two))), "");
        // They have fewer rows than they should: another attempt would be made, and fail.
        one.batch_execute("DROP TABLE deferred, p_things").unwrap();
        let before = snapshot(&mut one);
        let filled = fill(&mut one, 60, Nulls::Some).unwrap();
        assert_eq!((filled.rows, filled.failed.len()), (0, 0));
        assert_eq!(render(&before.difference(&snapshot(&mut one))), "");
    }

    #[test]
    fn a_table_that_cannot_be_filled_does_not_spoil_others() {
        let mut client = database();
        client.batch_execute("CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE good (a int)").unwrap();
        client.batch_execute(HOPELESS).unwrap();
        let filled = fill(&mut client, 20, Nulls::Some).unwrap();
        assert_eq!((filled.rows, filled.tables), (22, 2));
        let failed: Vec<_> = filled.failed.iter().map(|(table, why)| format!("{table}: {why}")).collect();
        assert_eq!(
            failed,
            [
                "public.never: new row for relation \"never\" violates check constraint \"never_a_check\"",
                "public.below_never: the foreign key below_never_a_fkey needs rows of public.never",
                "public.no_partition: no partition of relation \"no_partition\" found for row",
                "public.odd_type: no value is known for a of type regclass",
                "public.raising: never",
                "public.skipping: its triggers, keys and foreign keys let no row in",
            ]
        );
    }

    #[test]
    fn constants_of_a_check() {
        let mut found = Constants::default();
        found.read(
            "((kind)::text = ANY (ARRAY['a'::text, E'b\\''s'::text])) AND (x2 > 7) AND (kind <> '-3.5')",
            "kind",
        );
        assert_eq!(found.literals, ["'a'", "E'b\\''s'", "'-3.5'"]);
        assert_eq!(found.numbers, [-3.5, 3.5]);
    }

    #[test]
    fn combinations_start_with_the_first_candidates() {
        assert_eq!(
            combinations(&[2, 3]),
            [vec![0, 0], vec![0, 1], vec![1, 0], vec![0, 2], vec![1, 1], vec![1, 2]]
        );
        assert_eq!(combinations(&[30, 30, 30]).len(), COMBINATIONS);
        assert_eq!(combinations(&[]), [vec![0; 0]]);
    }
}
