"""What a database's schema is: a readable snapshot of PostgreSQL's catalogs, and the difference of two.

A snapshot is `{section: {object: {property: value}}}`, all of it JSON, without object ids, and the same for
two databases which nobody can tell apart. It also holds the number of rows of every table (section `rows`).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

Snapshot = dict[str, dict[str, dict[str, Any]]]

#: Objects with a smaller id are PostgreSQL's own.
FIRST_USER_OID = 16384

_EXTENSION_MEMBERS = f"SELECT array_agg(objid)::text FROM pg_depend WHERE deptype = 'e' AND objid >= {FIRST_USER_OID}"

_NOT_IN_EXTENSION = "{alias}.oid <> ALL (%(extension_members)s::oid[])"

_USER_TABLE = f"c.oid >= {FIRST_USER_OID} AND n.nspname !~ '^pg_' AND {_NOT_IN_EXTENSION.format(alias='c')}"

#: Every query yields the name of an object and its properties as one JSON object.
_SECTIONS: dict[str, str] = {
    "schemas": f"""
        SELECT n.nspname, jsonb_build_object('grants', n.nspacl::text)
        FROM pg_namespace n
        WHERE n.oid >= {FIRST_USER_OID} AND n.nspname !~ '^pg_' AND {_NOT_IN_EXTENSION.format(alias="n")}""",
    "relations": f"""
        SELECT n.nspname || '.' || c.relname, jsonb_build_object(
            'kind', c.relkind, 'persistence', c.relpersistence, 'row_security', c.relrowsecurity,
            'options', c.reloptions, 'partition_key', pg_get_partkeydef(c.oid),
            'partition_bound', pg_get_expr(c.relpartbound, c.oid), 'replica_identity', c.relreplident,
            'grants', c.relacl::text,
            'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            'parents', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
                        FROM pg_inherits i WHERE i.inhrelid = c.oid))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {_USER_TABLE}""",
    "columns": f"""
        SELECT n.nspname || '.' || c.relname || '.' || a.attname, jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
            'collation', co.collname, 'statistics', a.attstattarget, 'options', a.attoptions,
            'storage', a.attstorage, 'grants', a.attacl::text, 'position', a.attnum)
        FROM pg_attribute a
        JOIN pg_class c ON c.oid = a.attrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        LEFT JOIN pg_collation co ON co.oid = a.attcollation AND co.collname <> 'default'
        WHERE c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND {_USER_TABLE}""",
    "constraints": f"""
        SELECT n.nspname || '.' || coalesce(c.relname, t.typname) || '.' || k.conname, jsonb_build_object(
            'definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'deferrable', k.condeferrable, 'deferred', k.condeferred, 'inherited', k.coninhcount)
        FROM pg_constraint k
        JOIN pg_namespace n ON n.oid = k.connamespace
        LEFT JOIN pg_class c ON c.oid = k.conrelid
        LEFT JOIN pg_type t ON t.oid = k.contypid
        WHERE k.oid >= {FIRST_USER_OID} AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND (c.oid IS NULL OR {_NOT_IN_EXTENSION.format(alias="c")})""",
    "indexes": f"""
        SELECT n.nspname || '.' || c.relname, jsonb_build_object(
            'definition', pg_get_indexdef(i.indexrelid), 'valid', i.indisvalid, 'ready', i.indisready,
            'primary', i.indisprimary, 'immediate', i.indimmediate, 'clustered', i.indisclustered,
            'replica_identity', i.indisreplident, 'options', c.reloptions)
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname !~ '^pg_' AND c.oid >= {FIRST_USER_OID} AND {_NOT_IN_EXTENSION.format(alias="t")}""",
    "sequences": f"""
        SELECT n.nspname || '.' || c.relname, jsonb_build_object(
            'type', format_type(s.seqtypid, NULL), 'start', s.seqstart, 'increment', s.seqincrement,
            'cycle', s.seqcycle, 'max', s.seqmax,
            'owner', (SELECT o.refobjid::regclass::text || '.' || a.attname
                      FROM pg_depend o JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
                      WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.deptype IN ('a', 'i')))
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_USER_TABLE}""",
    "types": f"""
        SELECT n.nspname || '.' || t.typname, jsonb_build_object(
            'kind', t.typtype, 'base', format_type(t.typbasetype, t.typtypmod), 'not_null', t.typnotnull,
            'default', t.typdefault,
            'labels', (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder)
                       FROM pg_enum e WHERE e.enumtypid = t.oid))
        FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype IN ('e', 'd', 'r') AND t.oid >= {FIRST_USER_OID} AND {_NOT_IN_EXTENSION.format(alias="t")}""",
    "triggers": f"""
        SELECT n.nspname || '.' || c.relname || '.' || t.tgname,
            jsonb_build_object('definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND {_USER_TABLE}""",
    "functions": f"""
        SELECT n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
            jsonb_build_object('definition',
                CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid >= {FIRST_USER_OID} AND n.nspname !~ '^pg_' AND {_NOT_IN_EXTENSION.format(alias="p")}""",
    "policies": """
        SELECT schemaname || '.' || tablename || '.' || policyname,
            jsonb_build_object('command', cmd, 'using', qual, 'check', with_check, 'roles', roles)
        FROM pg_policies""",
    "statistics": f"""
        SELECT n.nspname || '.' || s.stxname, jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid))
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE s.oid >= {FIRST_USER_OID}""",
    "comments": f"""
        SELECT o.type || ' ' || o.identity, jsonb_build_object('comment', d.description)
        FROM pg_description d, LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
        WHERE d.objoid >= {FIRST_USER_OID} AND d.objoid <> ALL (%(extension_members)s::oid[])""",
    "extensions": "SELECT extname, jsonb_build_object('schema', extnamespace::regnamespace::text) FROM pg_extension",
}

#: A migration may freeze the time it runs at into a default.
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d(:?\d\d)?)?")


def snapshot(cursor: Any, *, contents: bool = False) -> Snapshot:
    """Reads the catalogs of the cursor's database; with `contents`, also a digest of the rows of every table."""
    cursor.execute(_EXTENSION_MEMBERS)
    parameters = {"extension_members": cursor.fetchone()[0] or "{}"}
    result: Snapshot = {}
    for section, query in _SECTIONS.items():
        cursor.execute(query, parameters)
        result[section] = {name: _without_defaults(properties) for name, properties in cursor.fetchall()}
    result["column_order"] = _column_order(result["columns"])
    for properties in result["columns"].values():
        if "default" in properties:
            properties["default"] = _TIMESTAMP.sub("<timestamp>", properties["default"])
    result["rows"] = _rows(cursor, result["relations"], contents)
    return result


def _column_order(columns: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Takes the positions out of the columns: what counts is their order, also where one was dropped."""
    order: dict[str, dict[str, Any]] = {}
    for _, name in sorted((properties.pop("position"), name) for name, properties in columns.items()):
        table, _, column = name.rpartition(".")
        order.setdefault(table, {"columns": []})["columns"].append(column)
    return order


def _without_defaults(properties: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what says nothing: null and the empty string."""
    return {name: value for name, value in properties.items() if value is not None and value != ""}


def _rows(cursor: Any, relations: dict[str, dict[str, Any]], contents: bool) -> dict[str, dict[str, Any]]:
    tables = sorted(
        name
        for name, relation in relations.items()
        if relation["kind"] in ("r", "p") and not name.endswith(".alembic_version")
    )
    result: dict[str, dict[str, Any]] = {}
    digest = "md5(string_agg(to_jsonb(t)::text, ',' ORDER BY to_jsonb(t)::text))" if contents else "NULL"
    for start in range(0, len(tables), 100):
        queries = (
            cursor.mogrify(f"SELECT %s, count(*), {digest} FROM {_quoted(name)} t", (name,)).decode()
            for name in tables[start : start + 100]
        )
        cursor.execute(" UNION ALL ".join(queries))
        for name, count, content in cursor.fetchall():
            result[name] = _without_defaults({"count": count, "content": content})
    return result


def _quoted(qualified: str) -> str:
    schema, table = qualified.split(".", 1)
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, table))


def fingerprint(snap: Snapshot) -> str:
    """A short hash, equal for equal snapshots only."""
    return hashlib.sha256(text(snap).encode()).hexdigest()[:16]


def text(snap: Snapshot) -> str:
    """The canonical JSON of a snapshot."""
    return json.dumps(snap, sort_keys=True)


def difference(expected: Snapshot, actual: Snapshot, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """One line for every object that is missing, unexpected or not the same."""
    lines = []
    for section in _ordered_sections(expected, actual):
        if section in ignore:
            continue
        left, right = expected.get(section, {}), actual.get(section, {})
        for name in sorted(left.keys() | right.keys()):
            if name not in right:
                lines.append(f"{section}: missing {name} {_brief(left[name])}")
            elif name not in left:
                lines.append(f"{section}: unexpected {name} {_brief(right[name])}")
            else:
                for key in sorted(left[name].keys() | right[name].keys()):
                    before, after = left[name].get(key), right[name].get(key)
                    if before != after:
                        lines.append(f"{section}: {name}: {key} should be {before!r}, is {after!r}")
    return lines


def _ordered_sections(expected: Snapshot, actual: Snapshot) -> list[str]:
    return sorted(expected.keys() | actual.keys(), key=[*_SECTIONS, "column_order", "rows"].index)


def _brief(properties: dict[str, Any]) -> str:
    shown = json.dumps(properties, sort_keys=True)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def leftovers(snap: Snapshot) -> list[str]:
    """What no finished migration may leave: invalid indexes, constraints not validated, safemig's helpers."""
    found = []
    for name, index in snap["indexes"].items():
        if not (index["valid"] and index["ready"]):
            found.append(f"invalid index {name}")
    for name, constraint in snap["constraints"].items():
        if not constraint["validated"]:
            found.append(f"constraint not validated: {name} {constraint['definition']}")
    for section, objects in snap.items():
        if section in ("column_order", "rows"):
            continue
        found.extend(f"helper object left: {section} {name}" for name in objects if "safemig" in name.lower())
    return sorted(found)
