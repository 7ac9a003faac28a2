//! The tables to fill, with all that a row has to meet.

use anyhow::{Context as _, Result};
use postgres::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;

#[derive(Deserialize)]
pub(super) struct Table {
    pub(super) oid: u32,
    /// With its schema, quoted.
    pub(super) name: String,
    /// Without its schema, quoted.
    pub(super) alias: String,
    pub(super) partitioned: bool,
    pub(super) columns: Vec<Column>,
    pub(super) checks: Vec<Check>,
    /// The columns of every unique index that has no condition and no expressions.
    pub(super) keys: Vec<Vec<i16>>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

#[derive(Deserialize)]
pub(super) struct Column {
    pub(super) number: i16,
    /// Quoted.
    pub(super) name: String,
    pub(super) type_oid: u32,
    pub(super) modifier: i32,
    /// The type as SQL names it.
    pub(super) sql: String,
    pub(super) not_null: bool,
    pub(super) default: Default,
}

/// What the database puts where no value is given.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Default {
    None,
    Expression,
    /// The next value of a sequence, which is to be left to the database.
    Sequence,
    /// No value can be given.
    Generated,
}

#[derive(Deserialize)]
pub(super) struct Check {
    pub(super) expression: String,
    pub(super) columns: Vec<i16>,
}

#[derive(Deserialize)]
pub(super) struct ForeignKey {
    pub(super) name: String,
    pub(super) columns: Vec<i16>,
    /// The table, or that which its partition belongs to.
    pub(super) parent: u32,
    pub(super) parent_name: String,
    pub(super) parent_columns: Vec<String>,
}

impl Table {
    /// Where its rows are counted: those of the tables that inherit from it are not its own.
    pub(super) fn source(&self) -> String {
        if self.partitioned { self.name.clone() } else { format!("ONLY {}", self.name) }
    }

    pub(super) fn column(&self, number: i16) -> &Column {
        self.columns
            .iter()
            .find(|column| column.number == number)
            .expect("constraints name columns that exist")
    }

    pub(super) fn name_of(&self, number: i16) -> &str {
        &self.column(number).name
    }
}

impl Column {
    /// Whether it has a value that the database does not choose itself.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.default, Default::None | Default::Expression)
    }
}

impl ForeignKey {
    /// Whether a row must have a parent.
    pub(super) fn is_required(&self, table: &Table) -> bool {
        self.columns.iter().all(|&column| table.column(column).not_null)
    }
}

pub(super) const TABLES: &str = r"
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
pub(super) const SETTINGS: &str =
    "SET LOCAL statement_timeout = '60s'; SET LOCAL enable_nestloop = off; SET LOCAL jit = off;";

/// One value for each row, each of them JSON.
pub(super) fn query_json<T: DeserializeOwned>(client: &mut Client, query: &str) -> Result<Vec<T>> {
    let rows = client.query(query, &[]).context("the catalogs cannot be read")?;
    rows.iter().map(|row| Ok(serde_json::from_str(row.get(0))?)).collect()
}

/// How many rows there are; none that can be used, if they cannot be read.
pub(super) fn count(client: &mut Client, source: &str) -> Result<u64> {
    match client.query_one(&format!("SELECT count(*) FROM {source}"), &[]) {
        Ok(row) => Ok(row.get::<_, i64>(0).unsigned_abs()),
        Err(error) if error.as_db_error().is_some() => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// Parents before their children. Where they form a circle it is cut, if possible at a key that may be NULL.
pub(super) fn in_order(tables: &[Table]) -> Vec<&Table> {
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
