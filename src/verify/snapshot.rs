//! What a database's schema is: a readable snapshot of PostgreSQL's catalogs, and the difference of two.
//!
//! A snapshot has no object ids, nor anything else that differs between two databases which nobody can tell
//! apart. What belongs to extensions, to `safemig verify` itself and to Alembic (its table of versions) is left
//! out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, Result};
use postgres::{Client, IsolationLevel, SimpleQueryMessage, SimpleQueryRow};
use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

type Properties = BTreeMap<String, Value>;

/// The catalogs of a database: section, object, property, value.
///
/// Objects are named as SQL names them, with their schema and quoted where that is needed. A property that is
/// null or empty is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Snapshot(BTreeMap<String, BTreeMap<String, Properties>>);

/// The section of what is in the tables.
const ROWS: &str = "rows";

/// The section of the order of columns.
const COLUMN_ORDER: &str = "column_order";

/// Objects with a smaller id are PostgreSQL's own.
const FIRST_USER_OID: u32 = 16384;

/// What the catalogs' functions say depends on these.
const SETTINGS: &str = "SET LOCAL search_path = ''; SET LOCAL jit = off; SET LOCAL TimeZone = 'UTC'; \
                        SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL IntervalStyle = 'postgres'; \
                        SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; \
                        SET LOCAL statement_timeout = 0;";

impl Snapshot {
    /// Reads the catalogs of the client's database and counts the rows of its tables.
    ///
    /// With `contents` the section `rows` also has a digest of every table and of each of its columns, and the
    /// sequences say where they are.
    ///
    /// # Errors
    /// The client is in a transaction that failed, or its role may not read a table.
    pub(crate) fn read(client: &mut Client, contents: bool) -> Result<Self> {
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()?;
        let version: String = transaction.query_one("SHOW server_version_num", &[])?.get(0);
        let version = version.parse().with_context(|| format!("PostgreSQL has the version {version}"))?;

        let mut snapshot = Self(BTreeMap::new());
        for row in rows(transaction.simple_query(&format!("{SETTINGS}{}", catalog_queries(version)))?) {
            let (Some(section), Some(object), Some(properties)) = (row.get(0), row.get(1), row.get(2)) else {
                continue;
            };
            snapshot.add(section, object, serde_json::from_str(properties)?);
        }

        let queries = snapshot.content_queries(contents);
        let text: String = queries.iter().map(|query| query.sql.as_str()).collect();
        for (query, row) in queries.iter().zip(rows(transaction.simple_query(&text)?)) {
            let value = |index| row.get(index).map_or(Value::Null, |text: &str| Value::from(text));
            let values = query.properties.iter().enumerate().map(|(i, name)| (name.clone(), value(i)));
            snapshot.add(query.section, &query.object, values.collect());
        }
        Ok(snapshot)
    }

    fn add(&mut self, section: &str, object: &str, properties: Properties) {
        let says_something =
            |value: &Value| !value.is_null() && value.as_str() != Some("") && *value != Value::Array(vec![]);
        self.0
            .entry(section.to_owned())
            .or_default()
            .entry(object.to_owned())
            .or_default()
            .extend(properties.into_iter().filter(|(_, value)| says_something(value)));
    }

    fn objects(&self, section: &str) -> impl Iterator<Item = (&String, &Properties)> {
        self.0.get(section).into_iter().flatten()
    }

    /// Queries of one row each.
    fn content_queries(&self, contents: bool) -> Vec<ContentQuery> {
        let populated = self
            .objects("materialized_views")
            .filter(|(_, view)| view.get("populated") == Some(&Value::Bool(true)));
        let mut queries: Vec<_> = self
            .objects("tables")
            .chain(populated)
            .map(|(table, _)| {
                let mut query = ContentQuery::new(ROWS, table);
                query.select("count", "count(*)");
                if contents {
                    query.select("rows", &digest("to_jsonb(t.*)"));
                    for column in self.columns_of(table) {
                        let quoted = column.replace('"', "\"\"");
                        query.select(&format!("column {column}"), &digest(&format!("t.\"{quoted}\"")));
                    }
                }
                query.from(&format!("{table} t"))
            })
            .collect();
        if contents {
            queries.extend(self.objects("sequences").map(|(sequence, _)| {
                let mut query = ContentQuery::new("sequences", sequence);
                query.select("last_value", "last_value");
                query.select("is_called", "is_called");
                query.from(sequence)
            }));
        }
        queries
    }

    fn columns_of(&self, table: &str) -> impl Iterator<Item = &str> {
        let columns =
            self.0.get(COLUMN_ORDER).and_then(|tables| tables.get(table)?.get("columns")?.as_array());
        columns.into_iter().flatten().filter_map(Value::as_str)
    }

    /// What is not the same; `self` is what is expected.
    pub(crate) fn difference(&self, other: &Self) -> Vec<Difference> {
        let nothing = BTreeMap::new();
        let mut differences = Vec::new();
        for section in union(&self.0, &other.0) {
            let (expected, actual) =
                (self.0.get(section).unwrap_or(&nothing), other.0.get(section).unwrap_or(&nothing));
            for object in union(expected, actual) {
                let mut differ =
                    |property: Option<&String>, expected: Option<Value>, actual: Option<Value>| {
                        differences.push(Difference {
                            section: section.clone(),
                            object: object.clone(),
                            property: property.cloned(),
                            expected,
                            actual,
                        });
                    };
                match (expected.get(object), actual.get(object)) {
                    (Some(expected), Some(actual)) => {
                        for property in union(expected, actual) {
                            let (expected, actual) = (expected.get(property), actual.get(property));
                            if expected != actual {
                                differ(Some(property), expected.cloned(), actual.cloned());
                            }
                        }
                    }
                    (expected, actual) => differ(None, expected.map(whole), actual.map(whole)),
                }
            }
        }
        differences
    }

    /// Take out of the differences to another snapshot what a change of type makes on purpose, in the tables of
    /// these names: the column moves to the end, and the sequence of a column gets the column's type.
    pub(crate) fn take_of_type_changes(
        &self,
        differences: &mut Vec<Difference>,
        tables: &BTreeSet<String>,
    ) -> Vec<Difference> {
        let is_table = |name: &str| tables.contains(&super::trace::bare_name(name));
        let is_meant = |difference: &Difference| match difference.key() {
            (COLUMN_ORDER, table, Some(_)) if is_table(table) => {
                let sorted = |value| names(value).collect::<BTreeSet<_>>();
                sorted(difference.expected.as_ref()) == sorted(difference.actual.as_ref())
            }
            ("sequences", sequence, Some("type" | "max" | "min")) => {
                let sequences = self.0.get("sequences").and_then(|sequences| sequences.get(sequence));
                let owners = sequences.and_then(|known| known.get("owned_by")?.as_array());
                owners
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .any(|column| column.rsplit_once('.').is_some_and(|(table, _)| is_table(table)))
            }
            _ => false,
        };
        let (meant, other) = std::mem::take(differences).into_iter().partition(is_meant);
        *differences = other;
        meant
    }

    /// What no finished migration should leave: invalid indexes, constraints that are not validated, and
    /// objects with `safemig` in their names.
    pub(crate) fn leftovers(&self) -> BTreeSet<String> {
        let is_false = |properties: &Properties, name| properties.get(name) == Some(&Value::Bool(false));
        let mut found = BTreeSet::new();
        for (section, objects) in &self.0 {
            for (object, properties) in objects {
                if section == "indexes" && (is_false(properties, "valid") || is_false(properties, "ready")) {
                    found.insert(format!("invalid index {object}"));
                }
                if section == "constraints" && is_false(properties, "validated") {
                    let definition = properties.get("definition").map(text).unwrap_or_default();
                    found.insert(format!("constraint not validated: {object} {definition}"));
                }
                if ![COLUMN_ORDER, ROWS].contains(&section.as_str())
                    && object.to_lowercase().contains("safemig")
                {
                    found.insert(format!("helper object: {}", title(section, object)));
                }
            }
        }
        found
    }
}

/// A query of one row about an object.
struct ContentQuery {
    section: &'static str,
    object: String,
    properties: Vec<String>,
    sql: String,
}

impl ContentQuery {
    fn new(section: &'static str, object: &str) -> Self {
        Self { section, object: object.to_owned(), properties: vec![], sql: "SELECT ".to_owned() }
    }

    fn select(&mut self, property: &str, expression: &str) {
        if !self.properties.is_empty() {
            self.sql.push_str(", ");
        }
        self.sql.push_str(expression);
        self.properties.push(property.to_owned());
    }

    fn from(mut self, relation: &str) -> Self {
        self.sql.push_str(&format!(" FROM {relation};\n"));
        self
    }
}

/// An aggregate that does not depend on the order of the rows.
fn digest(expression: &str) -> String {
    format!("sum(hashtextextended({expression}::text, 0)::numeric)")
}

fn rows(messages: Vec<SimpleQueryMessage>) -> impl Iterator<Item = SimpleQueryRow> {
    messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

fn union<'a, V>(left: &'a BTreeMap<String, V>, right: &'a BTreeMap<String, V>) -> BTreeSet<&'a String> {
    left.keys().chain(right.keys()).collect()
}

/// The texts of a list.
fn names(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn whole(properties: &Properties) -> Value {
    Value::Object(properties.clone().into_iter().collect())
}

/// Queries of sections, objects and properties. Objects of the same name in several queries are one.
#[expect(clippy::too_many_lines, reason = "a table")]
fn catalog_queries(version: u32) -> String {
    let since = |major: u32, sql: &'static str| if version >= major * 10_000 { sql } else { "" };
    let compression = since(14, ", 'compression', a.attcompression");
    let detaching = since(
        14,
        ", 'detaching', (SELECT true FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND i.inhdetachpending)",
    );
    let target = since(13, ", 'target', s.stxstattarget");
    let published = if version >= 150_000 {
        "'tables', (SELECT jsonb_object_agg(r.prrelid::regclass::text, jsonb_build_object(
                'where', pg_get_expr(r.prqual, r.prrelid),
                'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                            WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs))))
            FROM pg_publication_rel r WHERE r.prpubid = p.oid),
         'schemas', (SELECT jsonb_agg(nspname ORDER BY nspname)
            FROM pg_publication_namespace r JOIN pg_namespace n ON n.oid = r.pnnspid WHERE r.pnpubid = p.oid)"
    } else {
        "'tables', (SELECT jsonb_object_agg(r.prrelid::regclass::text, true)
            FROM pg_publication_rel r WHERE r.prpubid = p.oid)"
    };

    let schema = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'safemig_verify')";
    let own = |class: &str, alias: &str| {
        format!(
            "{alias}.oid >= {FIRST_USER_OID} AND NOT EXISTS (SELECT FROM pg_depend m
                WHERE m.classid = '{class}'::regclass AND m.objid = {alias}.oid AND m.deptype = 'e')"
        )
    };
    // Alembic makes its table of versions, not a migration; but one that was given more columns is the project's.
    let relation = |alias: &str| {
        format!(
            "{schema} AND {} AND NOT ({alias}.relname = 'alembic_version' AND {alias}.relkind = 'r'
                AND NOT EXISTS (SELECT FROM pg_attribute v WHERE v.attrelid = {alias}.oid AND v.attnum > 0
                    AND NOT v.attisdropped AND v.attname <> 'version_num'))",
            own("pg_class", alias)
        )
    };
    let grants = |acl: &str| {
        format!(
            "'grants', CASE WHEN {acl} IS NOT NULL
                THEN (SELECT json_agg(g ORDER BY g COLLATE \"C\") FROM unnest({acl}::text[]) g) END"
        )
    };
    let owner = |role: &str| format!("'owner', pg_get_userbyid({role})");
    let collation = |oid: &str| {
        format!(
            "(SELECT quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
              FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = {oid})"
        )
    };
    let named = |name: &str| format!("quote_ident(n.nspname) || '.' || quote_ident({name})");

    let relations = format!(
        "SELECT CASE c.relkind WHEN 'v' THEN 'views' WHEN 'm' THEN 'materialized_views' WHEN 'S' THEN 'sequences'
                WHEN 'f' THEN 'foreign_tables' ELSE 'tables' END,
            {}, json_build_object(
            'persistence', c.relpersistence, 'row_security', c.relrowsecurity,
            'forced_row_security', c.relforcerowsecurity, 'options', c.reloptions,
            'toast_options', (SELECT o.reloptions FROM pg_class o WHERE o.oid = c.reltoastrelid),
            'partition_key', pg_get_partkeydef(c.oid), 'partition_bound', pg_get_expr(c.relpartbound, c.oid),
            'replica_identity', c.relreplident,
            'tablespace', (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace),
            'access_method', (SELECT m.amname FROM pg_am m WHERE m.oid = c.relam),
            'of_type', CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END,
            'populated', c.relispopulated,
            'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            'parents', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
                        FROM pg_inherits i WHERE i.inhrelid = c.oid){detaching}, {}, {})
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {}",
        named("c.relname"),
        owner("c.relowner"),
        grants("c.relacl"),
        relation("c")
    );
    let schemas = format!(
        "SELECT 'schemas', quote_ident(n.nspname), json_build_object({}, {}) FROM pg_namespace n
        WHERE {schema} AND (n.nspname = 'public' OR {})",
        owner("n.nspowner"),
        grants("n.nspacl"),
        own("pg_namespace", "n")
    );
    let columns = format!(
        "SELECT 'columns', {} || '.' || quote_ident(a.attname), json_build_object(
            'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
            'collation', CASE WHEN a.attcollation <> t.typcollation THEN {} END,
            'statistics', nullif(a.attstattarget, -1), 'options', a.attoptions,
            'foreign_options', a.attfdwoptions, 'storage', a.attstorage, 'local', a.attislocal,
            'inherited', a.attinhcount{compression}, {})
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_type t ON t.oid = a.atttypid
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped AND {}",
        named("c.relname"),
        collation("a.attcollation"),
        grants("a.attacl"),
        relation("c")
    );
    let column_order = format!(
        "SELECT '{COLUMN_ORDER}', {}, json_build_object('columns', jsonb_agg(a.attname ORDER BY a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped AND {}
        GROUP BY n.nspname, c.relname",
        named("c.relname"),
        relation("c")
    );
    let constraints = format!(
        "SELECT 'constraints', {} || '.' || quote_ident(k.conname), json_build_object(
            'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'deferrable', k.condeferrable, 'deferred', k.condeferred, 'local', k.conislocal,
            'inherited', k.coninhcount, 'not_inheritable', k.connoinherit,
            'index', CASE WHEN k.conindid <> 0 THEN k.conindid::regclass::text END)
        FROM pg_constraint k
        JOIN pg_namespace n ON n.oid = k.connamespace
        LEFT JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_type t ON t.oid = k.contypid
        WHERE CASE WHEN c.oid IS NULL THEN {schema} AND {} ELSE {} END",
        named("coalesce(c.relname, t.typname)"),
        own("pg_type", "t"),
        relation("c")
    );
    let indexes = format!(
        "SELECT 'indexes', {}, json_build_object(
            'definition', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'ready', i.indisready,
            'live', i.indislive, 'primary', i.indisprimary, 'immediate', i.indimmediate,
            'clustered', i.indisclustered, 'replica_identity', i.indisreplident,
            'tablespace', (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = x.reltablespace),
            'statistics', (SELECT jsonb_object_agg(a.attnum, a.attstattarget) FROM pg_attribute a
                           WHERE a.attrelid = x.oid AND a.attstattarget >= 0),
            'parents', (SELECT jsonb_agg(h.inhparent::regclass::text ORDER BY h.inhseqno)
                        FROM pg_inherits h WHERE h.inhrelid = x.oid))
        FROM pg_index i
        JOIN pg_class x ON x.oid = i.indexrelid
        JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = x.relnamespace
        WHERE {}",
        named("x.relname"),
        relation("c")
    );
    let sequences = format!(
        "SELECT 'sequences', {}, json_build_object(
            'type', format_type(s.seqtypid, NULL), 'start', s.seqstart, 'increment', s.seqincrement,
            'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle,
            'owned_by', (SELECT jsonb_agg(o.refobjid::regclass::text || '.' || quote_ident(a.attname))
                         FROM pg_depend o
                         JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
                         WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid
                             AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i')))
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {}",
        named("c.relname"),
        relation("c")
    );
    let types = format!(
        "SELECT 'types', {}, json_build_object(
            'kind', t.typtype, 'not_null', t.typnotnull, 'default', t.typdefault,
            'base', CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
            'collation', CASE WHEN t.typtype = 'd' THEN {} END,
            'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
            'range', (SELECT jsonb_build_array(format_type(r.rngsubtype, NULL), {},
                          o.opcname, r.rngcanonical::text, r.rngsubdiff::text)
                      FROM pg_range r JOIN pg_opclass o ON o.oid = r.rngsubopc WHERE r.rngtypid = t.oid), {}, {})
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE {schema} AND {} AND (t.typtype IN ('e', 'd', 'r')
            OR (SELECT c.relkind = 'c' FROM pg_class c WHERE c.oid = t.typrelid))",
        named("t.typname"),
        collation("t.typcollation"),
        collation("r.rngcollation"),
        owner("t.typowner"),
        grants("t.typacl"),
        own("pg_type", "t")
    );
    let triggers = format!(
        "SELECT 'triggers', {} || '.' || quote_ident(t.tgname),
            json_build_object('definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND {}",
        named("c.relname"),
        relation("c")
    );
    let event_triggers = format!(
        "SELECT 'event_triggers', quote_ident(e.evtname), json_build_object('event', e.evtevent,
            'tags', e.evttags, 'enabled', e.evtenabled, 'function', e.evtfoid::regprocedure::text, {})
        FROM pg_event_trigger e WHERE e.evtname !~ '^safemig_verify' AND {}",
        owner("e.evtowner"),
        own("pg_event_trigger", "e")
    );
    let rules = format!(
        "SELECT 'rules', {} || '.' || quote_ident(r.rulename),
            json_build_object('definition', pg_get_ruledef(r.oid), 'enabled', r.ev_enabled)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE r.rulename <> '_RETURN' AND {}",
        named("c.relname"),
        relation("c")
    );
    let functions = format!(
        "SELECT 'functions', {} || '(' || pg_get_function_identity_arguments(p.oid) || ')', json_build_object(
            'definition', CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
            'aggregate', (SELECT jsonb_build_array(g.aggtransfn::text, g.aggfinalfn::text,
                              format_type(g.aggtranstype, NULL), g.agginitval, g.aggcombinefn::text)
                          FROM pg_aggregate g WHERE g.aggfnoid = p.oid), {}, {})
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE {schema} AND {}",
        named("p.proname"),
        owner("p.proowner"),
        grants("p.proacl"),
        own("pg_proc", "p")
    );
    let policies = format!(
        "SELECT 'policies', {} || '.' || quote_ident(p.polname), json_build_object(
            'command', p.polcmd, 'permissive', p.polpermissive,
            'roles', (SELECT jsonb_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END ORDER BY r)
                      FROM unnest(p.polroles) r),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {}",
        named("c.relname"),
        relation("c")
    );
    let statistics = format!(
        "SELECT 'statistics', {},
            json_build_object('definition', pg_get_statisticsobjdef(s.oid), {}{target})
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE {schema} AND {}",
        named("s.stxname"),
        owner("s.stxowner"),
        own("pg_statistic_ext", "s")
    );
    let default_privileges = format!(
        "SELECT 'default_privileges', quote_ident(pg_get_userbyid(d.defaclrole)) || ' on ' || d.defaclobjtype::text
            || coalesce(' in ' || quote_ident(n.nspname), ''), json_build_object({})
        FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
        WHERE ({schema}) IS NOT FALSE",
        grants("d.defaclacl")
    );
    let publications = format!(
        "SELECT 'publications', quote_ident(p.pubname), to_jsonb(p.*) - 'oid' - 'pubname' - 'pubowner'
            || jsonb_build_object({published}, {})
        FROM pg_publication p WHERE {}",
        owner("p.pubowner"),
        own("pg_publication", "p")
    );
    let comments = format!(
        "SELECT 'comments', o.type || ' ' || o.identity, json_build_object('comment', d.description)
        FROM (SELECT * FROM pg_description d WHERE d.objoid >= {FIRST_USER_OID} AND NOT EXISTS
                (SELECT FROM pg_depend m
                 WHERE m.classid = d.classoid AND m.objid = d.objoid AND m.deptype = 'e') OFFSET 0) d,
            LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
        WHERE o.schema IS DISTINCT FROM 'safemig_verify' AND o.identity !~ '^safemig_verify'"
    );
    let extensions = "SELECT 'extensions', quote_ident(extname),
            json_build_object('schema', extnamespace::regnamespace::text, 'version', extversion)
        FROM pg_extension";
    let kinds = [
        "pg_cast",
        "pg_collation",
        "pg_conversion",
        "pg_foreign_data_wrapper",
        "pg_foreign_server",
        "pg_language",
        "pg_opclass",
        "pg_operator",
        "pg_opfamily",
        "pg_transform",
        "pg_ts_config",
        "pg_ts_dict",
    ];
    let others = kinds.map(|kind| {
        format!(
            "SELECT 'others', i.type || ' ' || i.identity, '{{}}'
            FROM {kind} o, LATERAL pg_identify_object('{kind}'::regclass, o.oid, 0) i
            WHERE i.schema IS DISTINCT FROM 'safemig_verify' AND {}",
            own(kind, "o")
        )
    });
    let others = others.join(" UNION ALL ");

    [
        schemas.as_str(),
        &relations,
        &columns,
        &column_order,
        &constraints,
        &indexes,
        &sequences,
        &types,
        &triggers,
        &event_triggers,
        &rules,
        &functions,
        &policies,
        &statistics,
        &default_privileges,
        &publications,
        &comments,
        extensions,
        &others,
    ]
    .join(";\n")
}

/// Something that is not the same in two snapshots.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    pub(crate) section: String,
    pub(crate) object: String,
    /// `None`: the whole object is missing or unexpected; the value is then all of its properties.
    pub(crate) property: Option<String>,
    pub(crate) expected: Option<Value>,
    pub(crate) actual: Option<Value>,
}

impl Difference {
    /// Section, object and property: what differs, whatever the values are.
    pub(crate) fn key(&self) -> (&str, &str, Option<&str>) {
        (&self.section, &self.object, self.property.as_deref())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = title(&self.section, &self.object);
        match (&self.property, &self.expected, &self.actual) {
            (None, Some(expected), _) => write!(out, "missing {title} {}", brief(expected)),
            (None, None, actual) => {
                write!(out, "unexpected {title} {}", actual.as_ref().map(brief).unwrap_or_default())
            }
            (Some(property), expected, actual) => {
                let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), brief);
                let (expected, actual) = (show(expected), show(actual));
                write!(out, "{title}: {property} should be {expected}, is {actual}")
            }
        }
    }
}

/// The differences as the lines of a diff, grouped by object: `-` is what was expected, `+` what is.
pub(crate) fn render(differences: &[Difference]) -> String {
    let mut lines = Vec::new();
    let mut last = None;
    for difference in differences {
        let (section, object, property) = difference.key();
        let title = title(section, object);
        match property {
            None => {
                let (sign, value) = match &difference.expected {
                    Some(value) => ('-', Some(value)),
                    None => ('+', difference.actual.as_ref()),
                };
                lines.push(format!("{sign}{title}"));
                for (name, value) in value.and_then(Value::as_object).into_iter().flatten() {
                    lines.extend(property_lines(name, value).map(|line| format!("{sign}  {line}")));
                }
            }
            Some(name) => {
                if last != Some((section, object)) {
                    lines.push(format!(" {title}"));
                }
                let text = |value: &Option<Value>| -> String {
                    let lines = value.iter().flat_map(|value| property_lines(name, value));
                    lines.map(|line| line + "\n").collect()
                };
                let (expected, actual) = (text(&difference.expected), text(&difference.actual));
                for change in TextDiff::from_lines(&expected, &actual).iter_all_changes() {
                    let sign = match change.tag() {
                        ChangeTag::Delete => '-',
                        ChangeTag::Insert => '+',
                        ChangeTag::Equal => ' ',
                    };
                    lines.push(format!("{sign}  {}", change.value().trim_end_matches('\n')));
                }
            }
        }
        last = Some((section, object));
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `name: value`, or the name and the value below it if that has several lines.
fn property_lines(name: &str, value: &Value) -> impl Iterator<Item = String> {
    let text = text(value);
    let lines: Vec<String> = if text.trim_end().contains('\n') {
        [format!("{name}:")].into_iter().chain(text.lines().map(|line| format!("  {line}"))).collect()
    } else {
        vec![format!("{name}: {}", text.trim_end())]
    };
    lines.into_iter()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value in one line that is not too long.
fn brief(value: &Value) -> String {
    const LIMIT: usize = 300;
    let line = text(value).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// What an object is called: its kind and its name.
fn title(section: &str, object: &str) -> String {
    let kind = match section {
        "others" => return object.to_owned(),
        COLUMN_ORDER => "order of columns of",
        ROWS => "contents of",
        "statistics" => "statistics",
        "default_privileges" => "default privileges of",
        "indexes" => "index",
        "policies" => "policy",
        "comments" => "comment on",
        plural => plural.strip_suffix('s').unwrap_or(plural),
    };
    format!("{} {object}", kind.replace('_', " "))
}

/// Leave out what is known to differ; the answer is how much that was.
pub(crate) fn leave_out(differences: &mut Vec<Difference>, known: &[Difference]) -> usize {
    let known: BTreeSet<_> = known.iter().map(Difference::key).collect();
    let before = differences.len();
    differences.retain(|difference| !known.contains(&difference.key()));
    before - differences.len()
}

/// Databases for the tests of this module and its siblings.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::OnceLock;

    use postgres::Client;

    use crate::verify::server::Server;

    /// A connection to a new database on a server that ends with the process.
    pub(in crate::verify) fn database() -> Client {
        static SERVER: OnceLock<Server> = OnceLock::new();
        let server = SERVER.get_or_init(|| Server::embedded(None).expect("a server can be started"));
        let database = Box::new(server.create("test").expect("a database can be made"));
        Box::leak(database).connect().expect("the database can be connected to")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::database;
    use super::*;

    fn read(client: &mut Client) -> Snapshot {
        Snapshot::read(client, true).unwrap()
    }

    /// What a script changes.
    fn changes(client: &mut Client, script: &str) -> Vec<String> {
        let before = read(client);
        client.batch_execute(script).unwrap();
        let differences = before.difference(&read(client));
        let keys: BTreeSet<_> = differences.iter().map(Difference::key).collect();
        assert_eq!(keys.len(), differences.len());
        differences.iter().map(Difference::to_string).collect()
    }

    const SCHEMA: &str = r#"
        CREATE SCHEMA "My.Schema";
        CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE TYPE pair AS (a int, b text);
        CREATE TYPE span AS RANGE (subtype = int8);
        CREATE DOMAIN positive AS int DEFAULT 1 CONSTRAINT above CHECK (VALUE > 0);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION announce() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
        CREATE TABLE "My.Schema"."it's ""quoted""" ("a.b" int PRIMARY KEY, "T" text, t text);
        CREATE TABLE parent (id serial PRIMARY KEY, name varchar(20) NOT NULL COLLATE "C", u int UNIQUE);
        CREATE TABLE child (id int GENERATED ALWAYS AS IDENTITY, parent int REFERENCES parent, m mood, p positive,
                            two int GENERATED ALWAYS AS (2) STORED, a int, b int);
        CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
        CREATE INDEX ix ON child (a);
        CREATE STATISTICS st ON a, b FROM child;
        CREATE TRIGGER tr BEFORE INSERT ON child FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE EVENT TRIGGER et ON ddl_command_end EXECUTE FUNCTION announce();
        CREATE RULE ru AS ON DELETE TO child DO INSTEAD NOTHING;
        CREATE POLICY po ON child USING (a > 0);
        CREATE VIEW vw AS SELECT a FROM child;
        CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM parent;
        CREATE MATERIALIZED VIEW empty AS SELECT 1 AS one WITH NO DATA;
        CREATE PUBLICATION pu FOR TABLE parent;
        COMMENT ON COLUMN child.a IS 'A';
        INSERT INTO parent (name) VALUES ('x'), ('y');
        INSERT INTO "My.Schema"."it's ""quoted""" VALUES (1, 'x', 'y');
    "#;

    /// What each script changes, one after the other.
    const CHANGES: &str = r#"
        ALTER TABLE child SET (fillfactor = 50) --> table public.child: options
        ALTER TABLE child ENABLE ROW LEVEL SECURITY --> table public.child: row_security
        ALTER TABLE child REPLICA IDENTITY FULL --> table public.child: replica_identity
        ALTER TABLE child SET UNLOGGED --> table public.child: persistence
        GRANT SELECT ON child TO PUBLIC --> table public.child: grants
        GRANT SELECT (a) ON child TO PUBLIC --> column public.child.a: grants
        ALTER TABLE child ALTER a SET NOT NULL --> column public.child.a: not_null
        ALTER TABLE child ALTER a SET STATISTICS 7 --> column public.child.a: statistics
        ALTER TABLE parent ALTER name TYPE varchar(30) --> column public.parent.name: type
        ALTER TABLE parent ALTER name SET STORAGE plain --> column public.parent.name: storage
        ALTER TABLE parent ALTER name SET DEFAULT '' --> column public.parent.name: default
        ALTER TABLE parent ALTER name TYPE text COLLATE "POSIX" --> column public.parent.name: collation
        ALTER TABLE child ALTER id SET GENERATED BY DEFAULT --> column public.child.id: identity
        ALTER TABLE parent ADD late int --> unexpected column public.parent.late
        ALTER TABLE parent ADD CHECK (u > 0) NOT VALID --> unexpected constraint public.parent.parent_u_check
        ALTER TABLE parent VALIDATE CONSTRAINT parent_u_check --> constraint public.parent.parent_u_check: validated
        ALTER TABLE child ALTER CONSTRAINT child_parent_fkey DEFERRABLE --> constraint public.child.child_parent_fkey: deferrable
        DROP INDEX ix; CREATE INDEX ix ON child (b) --> index public.ix: definition
        ALTER INDEX ix RENAME TO iy --> missing index public.ix
        CLUSTER child USING iy --> index public.iy: clustered
        ALTER SEQUENCE parent_id_seq INCREMENT 2 --> sequence public.parent_id_seq: increment
        ALTER SEQUENCE parent_id_seq OWNED BY NONE --> sequence public.parent_id_seq: owned_by
        SELECT setval('parent_id_seq', 9) --> sequence public.parent_id_seq: last_value
        ALTER TABLE child DISABLE TRIGGER tr --> trigger public.child.tr: enabled
        ALTER EVENT TRIGGER et DISABLE --> event trigger et: enabled
        ALTER TABLE child DISABLE RULE ru --> rule public.child.ru: enabled
        CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END' --> function public.touch(): definition
        GRANT EXECUTE ON FUNCTION touch() TO postgres --> function public.touch(): grants
        DROP AGGREGATE total(int) --> missing function public.total(integer)
        CREATE OR REPLACE VIEW vw AS SELECT a FROM child WHERE a > 1 --> view public.vw: definition
        DROP MATERIALIZED VIEW mv --> missing materialized view public.mv
        ALTER TYPE mood ADD VALUE 'glad' --> type public.mood: labels
        ALTER TYPE pair ADD ATTRIBUTE c int --> unexpected column public.pair.c
        ALTER DOMAIN positive SET DEFAULT 2 --> type public.positive: default
        ALTER DOMAIN positive DROP CONSTRAINT above --> missing constraint public.positive.above
        DROP TYPE span --> missing type public.span
        ALTER POLICY po ON child USING (a > 1) --> policy public.child.po: using
        DROP STATISTICS st --> missing statistics public.st
        COMMENT ON COLUMN child.a IS 'B' --> comment on table column public.child.a: comment
        ALTER PUBLICATION pu ADD TABLE "My.Schema"."it's ""quoted""" --> publication pu: tables
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC --> unexpected default privileges of postgres on r
        GRANT CREATE ON SCHEMA "My.Schema" TO PUBLIC --> schema "My.Schema": grants
        CREATE EXTENSION citext --> unexpected extension citext
        CREATE COLLATION other FROM "C" --> unexpected collation public.other
        ALTER TABLE parts DETACH PARTITION parts_1 --> table public.parts_1: parents
        UPDATE parent SET name = 'z' WHERE id = 1 --> contents of public.parent: column name
        UPDATE "My.Schema"."it's ""quoted""" SET "T" = 'z' --> contents of "My.Schema"."it's ""quoted""": column T
        DELETE FROM parent WHERE id = 1 --> contents of public.parent: count
    "#;

    #[test]
    fn the_same_script_makes_the_same_snapshot() {
        let (mut one, mut two) = (database(), database());
        one.batch_execute(SCHEMA).unwrap();
        two.batch_execute("CREATE TABLE dropped (a int)").unwrap();
        two.batch_execute(SCHEMA).unwrap();
        two.batch_execute("DROP TABLE dropped; ALTER TABLE parts ADD x int; ALTER TABLE parts DROP x")
            .unwrap();
        assert_eq!(render(&read(&mut one).difference(&read(&mut two))), "");
        assert_eq!(read(&mut one), read(&mut two));
    }

    #[test]
    fn every_change_is_seen() {
        let mut client = database();
        client.batch_execute(SCHEMA).unwrap();
        for line in CHANGES.lines().filter(|line| !line.trim().is_empty()) {
            let (script, expected) = line.trim().split_once(" --> ").unwrap();
            let lines = changes(&mut client, script);
            assert!(lines.iter().any(|line| line.starts_with(expected)), "{script}: {lines:#?}");
        }
        assert_eq!(changes(&mut client, "SELECT"), [""; 0]);
    }

    #[test]
    fn what_is_not_the_projects_is_left_out() {
        let mut client = database();
        let script = "CREATE SCHEMA safemig_verify; CREATE TABLE safemig_verify.t (id serial PRIMARY KEY);
            COMMENT ON TABLE safemig_verify.t IS 'x';
            CREATE FUNCTION safemig_verify.f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
            CREATE EVENT TRIGGER safemig_verify_ddl ON ddl_command_end EXECUTE FUNCTION safemig_verify.f();
            COMMENT ON EVENT TRIGGER safemig_verify_ddl IS 'x';
            CREATE TABLE alembic_version (version_num varchar(32) CONSTRAINT pk PRIMARY KEY);
            INSERT INTO alembic_version VALUES ('1')";
        assert_eq!(changes(&mut client, script), [""; 0]);
        assert!(!changes(&mut client, "ALTER TABLE alembic_version ADD at timestamptz").is_empty());
    }

    #[test]
    fn what_a_migration_leaves() {
        let mut client = database();
        let script = "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1);
            ALTER TABLE t ADD CONSTRAINT c CHECK (a > 5) NOT VALID; CREATE INDEX ix_safemig_1 ON t (a)";
        client.batch_execute(script).unwrap();
        client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY u ON t (a)").unwrap_err();
        let found: Vec<_> = read(&mut client).leftovers().into_iter().collect();
        assert_eq!(
            found,
            [
                "constraint not validated: public.t.c CHECK ((a > 5)) NOT VALID",
                "helper object: index public.ix_safemig_1",
                "invalid index public.u"
            ]
        );
    }

    #[test]
    fn a_difference_can_be_read() {
        let mut client = database();
        client.batch_execute("CREATE TABLE t (a int, b int); CREATE INDEX ix ON t (a)").unwrap();
        client.batch_execute("CREATE VIEW v AS SELECT a, 1 AS one FROM t").unwrap();
        let before = read(&mut client);
        let script = "DROP INDEX ix; CREATE INDEX ix ON t (b); COMMENT ON TABLE t IS 'x';
            CREATE OR REPLACE VIEW v AS SELECT a, 2 AS one FROM t";
        client.batch_execute(script).unwrap();
        let differences = before.difference(&read(&mut client));
        assert_eq!(
            differences[1].to_string(),
            "index public.ix: definition should be CREATE INDEX ix ON public.t USING btree (a), is CREATE INDEX ix ON public.t USING btree (b)"
        );
        let expected = "\
+comment on table public.t
+  comment: x
 index public.ix
-  definition: CREATE INDEX ix ON public.t USING btree (a)
+  definition: CREATE INDEX ix ON public.t USING btree (b)
 view public.v
   definition:
     SELECT t.a,
-      1 AS one
+      2 AS one
     FROM public.t;
";
        let squeezed = |text: &str| -> Vec<String> {
            text.replace(" t.a,", " a,")
                .lines()
                .map(|line| format!("{}{}", &line[..1], line[1..].trim_start()))
                .collect()
        };
        assert_eq!(squeezed(&render(&differences)), squeezed(expected));
    }
}
