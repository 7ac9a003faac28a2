//! Which types PostgreSQL makes of which without being told to.
//!
//! `ALTER COLUMN … TYPE` without `USING` needs a cast that an assignment may use. Source: `castcontext` of `pg_cast`,
//! which is the same from PostgreSQL 12 to 18, and `find_coercion_pathway`, by which every type becomes text. The test
//! `types` of the program compares these answers with real servers.

use super::{Base, Type};

/// Whether an assignment makes the one type of the other; `None` when that depends on a type that is not known. Casts
/// that somebody created with `CREATE CAST` are not known either.
#[must_use]
pub fn converts(old: &Type, new: &Type) -> Option<bool> {
    if old.array == new.array && old.base == new.base {
        return Some(true);
    }
    if let (Base::Builtin(name), false) = (&new.base, new.array)
        && is_text(name)
    {
        return old.is_known().then_some(true);
    }
    let known = old.is_known() && new.is_known();
    if old.array != new.array {
        // A domain can be over an array.
        return known.then_some(false);
    }
    match (&old.base, &new.base) {
        (Base::Builtin(from), Base::Builtin(to)) => Some(assigns(from, to)),
        _ => known.then_some(false),
    }
}

/// PostgreSQL's string category.
fn is_text(name: &str) -> bool {
    matches!(name, "text" | "character varying" | "character" | "bpchar" | "name" | "citext")
}

fn assigns(from: &str, to: &str) -> bool {
    const NUMBERS: [&str; 6] = ["smallint", "integer", "bigint", "real", "double precision", "numeric"];
    let becomes: &[&str] = match from {
        _ if from == to || is_text(to) || NUMBERS.contains(&from) && NUMBERS.contains(&to) => return true,
        "smallint" => &["oid", "regclass"],
        "integer" | "bigint" => &["oid", "regclass", "money"],
        "numeric" => &["money"],
        "money" => &["numeric"],
        "oid" | "regclass" => &["integer", "bigint", "oid", "regclass"],
        "text" | "character varying" => &["regclass"],
        "date" => &["timestamp without time zone", "timestamp with time zone"],
        "timestamp without time zone" => &["date", "time without time zone", "timestamp with time zone"],
        "timestamp with time zone" => {
            &["date", "time without time zone", "time with time zone", "timestamp without time zone"]
        }
        "time without time zone" => &["interval", "time with time zone"],
        "time with time zone" | "interval" => &["time without time zone"],
        "inet" => &["cidr"],
        "cidr" => &["inet"],
        "bit" => &["bit varying"],
        "bit varying" => &["bit"],
        "json" => &["jsonb"],
        "jsonb" => &["json"],
        "macaddr" => &["macaddr8"],
        "macaddr8" => &["macaddr"],
        "box" | "path" => &["polygon"],
        "point" => &["box"],
        "polygon" => &["path"],
        _ => &[],
    };
    becomes.contains(&to)
}
