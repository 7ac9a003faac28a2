//! Fills the tables of a scratch database with rows.
//!
//! The values follow from the number of the row and from what is in the database already: neither chance nor the
//! time of day has a part in them, so that two databases which are the same are filled the same.
//!
//! Every column has some candidates for its values. Before anything is inserted, PostgreSQL is asked which of them
//! meet the checks of the table; what it cannot foretell (triggers, expression indexes) shows when rows are
//! inserted, and costs the rows that it concerns.

use std::collections::BTreeSet;

use anyhow::Result;
use postgres::Client;

use self::filler::Filler;
use self::tables::{ForeignKey, SETTINGS, TABLES, Table, count, in_order, query_json};
use self::values::Types;

mod filler;
mod tables;
mod values;

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
    use std::collections::BTreeMap;

    use super::filler::{COMBINATIONS, combinations};
    use super::values::Constants;
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
