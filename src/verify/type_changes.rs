//! Whether the matrix of [`safemig_transforms::types`] is what servers do: every pair of types is tried, and the
//! file nodes of a table and of its index are compared with the answer.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use postgres::SimpleQueryMessage;
use postgres::error::SqlState;
use safemig_transforms::types::{Effect, Type, change, change_using, converts, converts_using};

use super::server::Server;

/// Types, each with a few modifiers. `domain_*` and `mood` are created first.
const TYPES: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "numeric(10,2)",
    "numeric(12,2)",
    "numeric(10,3)",
    "text",
    "varchar",
    "varchar(10)",
    "varchar(20)",
    "char(5)",
    "char(10)",
    "bpchar",
    "citext",
    "name",
    "text COLLATE \"C\"",
    "varchar(10) COLLATE \"C\"",
    "boolean",
    "bytea",
    "uuid",
    "date",
    "time",
    "time(3)",
    "timetz",
    "timestamp",
    "timestamp(3)",
    "timestamp(6)",
    "timestamptz",
    "timestamptz(3)",
    "interval",
    "interval(3)",
    "interval day to second",
    "interval day to second(3)",
    "interval year to month",
    "bit(8)",
    "bit(9)",
    "varbit",
    "varbit(8)",
    "varbit(16)",
    "json",
    "jsonb",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "oid",
    "regclass",
    "hstore",
    "point",
    "box",
    "path",
    "polygon",
    "mood",
    "spirit",
    "integer[]",
    "bigint[]",
    "varchar(10)[]",
    "varchar(20)[]",
    "text[]",
];

/// `USING` for a column `c`.
const USING: &[(&str, &str, &str)] = &[
    ("varchar(10)", "varchar(20)", "c"),
    ("varchar(10)", "varchar(20)", "(c)::varchar(20)"),
    ("varchar(10)", "text", "c::text"),
    ("varchar(10)", "text", "\"c\"::varchar(5)::text"),
    ("varchar(10)", "text", "c::varchar(10)::text"),
    ("varchar(10)", "text", "CAST(c AS text)"),
    ("varchar(10)", "text", "lower(c)"),
    ("integer", "bigint", "c"),
    ("integer", "integer", "c + 0"),
    ("timestamp", "timestamptz", "c AT TIME ZONE 'UTC'"),
    ("text", "varchar(20)", "c::varchar(20)"),
    ("text", "uuid", "c::uuid"),
    ("text COLLATE \"C\"", "text", "c"),
    ("varchar(10) COLLATE \"C\"", "text COLLATE \"C\"", "c::text"),
    ("mood", "text", "c::text"),
    ("mood", "spirit", "c::text::spirit"),
    ("cidr", "inet", "c::inet"),
    ("text", "integer", "c"),
    ("text", "bigint", "c::integer"),
    ("text", "uuid", "c::integer"),
];

const ZONES: [&str; 2] = ["UTC", "Europe/Berlin"];

/// What the server does, and how often each answer was right.
fn compare() {
    let server = Server::embedded(None).unwrap();
    let database = server.create("types").unwrap();
    let mut client = database.connect().unwrap();
    client
        .batch_execute(
            "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE spirit AS ENUM ('sad')",
        )
        .unwrap();
    let mut wrong = Vec::new();
    let (mut tried, mut refused) = (0, 0);
    let casts = TYPES.iter().flat_map(|old| TYPES.iter().map(|new| (*old, *new, None)));
    let casts = casts.chain(USING.iter().map(|(old, new, using)| (*old, *new, Some(*using))));
    for (old, new, using) in casts {
        // The time zone matters to few.
        let zones = if old.starts_with("time") && new.starts_with("time") { &ZONES[..] } else { &ZONES[..1] };
        for zone in zones {
            let with_using = using.map(|using| format!(" USING {using}")).unwrap_or_default();
            // Not every type can be sorted.
            let (mut ran, mut no_cast) = (None, false);
            for index in ["CREATE INDEX i ON t (c);", "CREATE INDEX i ON t ((1));"] {
                let script = format!(
                    "SET TimeZone = '{zone}'; BEGIN; CREATE TABLE t (c {old}); {index}
                     CREATE TEMP TABLE before ON COMMIT DROP AS SELECT relname, relfilenode FROM pg_class WHERE relname IN ('t', 'i');
                     ALTER TABLE t ALTER COLUMN c TYPE {new}{with_using};
                     SELECT string_agg(relname::text, ',' ORDER BY relname DESC) FROM pg_class JOIN before USING (relname)
                     WHERE pg_class.relfilenode <> before.relfilenode; ROLLBACK"
                );
                match client.simple_query(&script) {
                    Ok(messages) => {
                        let row = messages.into_iter().rev().find_map(|message| match message {
                            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
                            _ => None,
                        });
                        ran = Some((row.unwrap(), index.contains("(c)")));
                        break;
                    }
                    Err(error) => {
                        client.batch_execute("ROLLBACK").unwrap();
                        no_cast = error.code() == Some(&SqlState::DATATYPE_MISMATCH);
                    }
                }
            }
            let (old_type, new_type) = (Type::read(old), Type::read(new));
            let converts = match using {
                Some(using) => converts_using(&old_type, &new_type, using, "c"),
                None => converts(&old_type, &new_type),
            };
            if converts.is_some_and(|converts| converts == no_cast) {
                wrong.push(format!("{old} -> {new}{with_using}: {no_cast}, not {converts:?}"));
            }
            let Some((changed, indexed)) = ran else {
                refused += 1;
                continue;
            };
            tried += 1;
            let measured = match changed.as_str() {
                "" => Effect::Catalog,
                "i" => Effect::Indexes,
                _ => Effect::Rewrite,
            };
            let version = server.version();
            let answer = match using {
                Some(using) => change_using(&old_type, &new_type, using, "c", version),
                None => change(&old_type, &new_type, version),
            };
            let right = match answer {
                // Whether a created type is an enum or a domain is not said by its name.
                None => [old, new].iter().any(|name| ["mood", "spirit"].contains(name)),
                Some(Effect::IndexesInUtc) if *zone == "UTC" => measured == Effect::Indexes,
                Some(Effect::IndexesInUtc) => measured == Effect::Rewrite,
                Some(Effect::Indexes) if !indexed => measured == Effect::Catalog,
                Some(effect) => measured == effect,
            };
            if !right {
                wrong.push(format!("{old} -> {new}{with_using} ({zone}): {measured:?}, not {answer:?}"));
            }
        }
    }
    assert!(tried > 500, "{tried} changes, {refused} refused");
    assert!(wrong.is_empty(), "of {tried}:\n{}", wrong.join("\n"));
}

#[test]
fn the_matrix_is_what_the_default_server_does() {
    compare();
}

#[test]
#[ignore = "started by the next ones, with another server"]
fn another_server() {
    compare();
}

#[test]
fn the_matrix_is_what_the_oldest_server_does() {
    compare_on(12);
}

#[test]
fn the_matrix_is_what_the_newest_server_does() {
    compare_on(18);
}

/// In a process of its own, which is told where the server's programs are.
fn compare_on(version: u32) {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/test-env");
    let environment = env::var_os("SAFEMIG_TEST_ENV").map_or(target, PathBuf::from);
    let run = Command::new(env::current_exe().unwrap())
        .args(["--exact", "verify::type_changes::another_server", "--ignored", "--nocapture"])
        .env("SAFEMIG_PG_BIN", environment.join(format!("postgresql/{version}/native/bin")))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    let complained = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "PostgreSQL {version}:\n{said}\n{complained}");
}
