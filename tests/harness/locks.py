#!/usr/bin/env python3
"""Shows what every statement of a history locks and how hard PostgreSQL works meanwhile.

    locks.py VERSIONS [--rows FILE] [--direction upgrade|downgrade]... [--out FILE] [--allow FILE] [--quiet]

Only tables count that existed before their revision started. A statement is a finding when PostgreSQL builds an
index of such a table, checks its rows or rewrites it while a lock is held that keeps others from writing to an
existing table (SHARE or stronger), or when it drops an index of such a table, and not CONCURRENTLY nor with the
table. The locks come from an event trigger at the end of every DDL command, also inside of DO, and from pg_locks
after every statement; the work from the server's own messages. Exit status 1 when there is a finding.

A line `REVISION upgrade` or `REVISION downgrade` in the file of `--allow` expects a finding there: it is an error
when there is none.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalog import FIRST_USER_OID
from history import History, Project, add_project_options, project_from_options, settle_hash_order
from replay import Rows, attempt, summary
from server import Server
from statements import Listener, Statement

#: These keep others from writing to the table, the last one also from reading.
BLOCKING = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")

HELD = (
    f"""
    SELECT coalesce(jsonb_agg(jsonb_build_array(relation::bigint, mode)), '[]') FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted AND relation >= {FIRST_USER_OID}"""
    ""
)

EVENT_TRIGGER = f"""
    CREATE SCHEMA harness;
    CREATE FUNCTION harness.report_locks() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE NOTICE 'held locks: %', ({HELD});
    END
    $$;
    CREATE EVENT TRIGGER harness_locks ON ddl_command_end EXECUTE FUNCTION harness.report_locks();
"""

WORK = re.compile(
    r'(building index "[^"]+" on table "(?P<built>[^"]+)"'
    r'|(?P<kind>rewriting|verifying) table "(?P<table>[^"]+)"'
    r'|validating (foreign key|check) constraint "(?P<constraint>[^"]+)")'
)

_NAME = r'(?:"[^"]+"|[\w$]+)'

DROPS_INDEX = re.compile(
    rf"\s*DROP\s+INDEX\s+(?!CONCURRENTLY)(?:IF\s+EXISTS\s+)?(?:{_NAME}\.)?(?P<index>{_NAME})", re.IGNORECASE
)


@dataclass
class Traced:
    """What a statement held and did."""

    revision: str
    direction: str
    sql: str
    autocommit: bool
    #: The modes in which existing tables were locked at its end, or at the end of a command in it.
    locks: list[str] = field(default_factory=list)
    #: What PostgreSQL said it did, of existing tables.
    work: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


class Tracer(Listener):
    """Records locks and work of every statement."""

    def __init__(self, history: History, revision: str, direction: str, tables: dict[int, str]) -> None:
        super().__init__(history, self._start, self._end)
        self._revision, self._direction, self._tables = revision, direction, tables
        self._names = {name.rsplit(".", 1)[-1].strip('"') for name in tables.values()}
        self.traced: list[Traced] = []

    def __call__(self, engine: sa.engine.Engine) -> None:
        sa.event.listen(engine, "connect", self._listen)
        super().__call__(engine)

    @staticmethod
    def _listen(connection: Any, _record: Any) -> None:
        connection.notices = collections.UserList()  # psycopg2 forgets all but the last 50 of a plain list
        connection.cursor().execute("SET client_min_messages = debug1")
        connection.commit()

    @staticmethod
    def _start(statement: Statement) -> None:
        statement.connection.notices.clear()

    def _end(self, statement: Statement) -> None:
        traced = Traced(self._revision, self._direction, " ".join(statement.sql.split()), statement.autocommit)
        work: list[str] = []
        for notice in list(statement.connection.notices):
            message = notice.split(":", 1)[-1].strip()
            if message.startswith("held locks: "):
                self._judge(traced, work, json.loads(message.removeprefix("held locks: ").split("\n")[0]))
                work = []
            elif (match := WORK.match(message)) and self._is_of_existing_table(match, statement.connection):
                work.append(match.group(0))
        cursor = statement.connection.cursor()
        cursor.execute(HELD)
        self._judge(traced, work, cursor.fetchone()[0])
        self.traced.append(traced)

    def _is_of_existing_table(self, match: re.Match[str], connection: Any) -> bool:
        if constraint := match.group("constraint"):
            cursor = connection.cursor()
            cursor.execute("SELECT conrelid::int FROM pg_constraint WHERE conname = %s", (constraint,))
            return any(table in self._tables for (table,) in cursor.fetchall())
        return (match.group("built") or match.group("table")) in self._names

    def _judge(self, traced: Traced, work: list[str], held: list[list[Any]]) -> None:
        locks = sorted({f"{mode} on {self._tables[table]}" for table, mode in held if table in self._tables})
        traced.locks += [lock for lock in locks if lock not in traced.locks]
        traced.work += work
        blocking = [lock for lock in locks if lock.split(" ", 1)[0] in BLOCKING]
        if blocking:
            traced.findings += [f"{entry} under {', '.join(blocking)}" for entry in work]

    def dropped_indexes(self, indexes: dict[str, int], surviving: dict[int, str]) -> None:
        """Adds the findings of indexes that were dropped: not those of a table that was dropped with them."""
        for traced in self.traced:
            match = DROPS_INDEX.match(traced.sql)
            table = indexes.get(match.group("index").strip('"')) if match else None
            if table in self._tables and table in surviving:
                traced.findings.append(f"dropping an index under AccessExclusiveLock on {self._tables[table]}")


def existing_tables(server: Server, database: str) -> dict[int, str]:
    """The tables of a database by their object id."""
    connection = server.connect(database)
    cursor = connection.cursor()
    cursor.execute(
        "SELECT oid::int, oid::regclass::text FROM pg_class"
        f" WHERE relkind IN ('r', 'p', 'm') AND oid >= {FIRST_USER_OID} AND relname <> 'alembic_version'"
    )
    tables = dict(cursor.fetchall())
    connection.close()
    return tables


def existing_indexes(server: Server, database: str) -> dict[str, int]:
    """The table of every index, by the index's name."""
    connection = server.connect(database)
    cursor = connection.cursor()
    cursor.execute(
        "SELECT c.relname, i.indrelid::int FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        f" WHERE c.oid >= {FIRST_USER_OID}"
    )
    indexes = dict(cursor.fetchall())
    connection.close()
    return indexes


def trace(project: Project, server: Server, directions: list[str], rows: Rows | None) -> list[Traced]:
    """Traces all revisions, each run on a clone of the database before it."""
    history = History(project)
    traced: list[Traced] = []
    database = f"locks_{os.getpid()}"

    def step(revision: str, direction: str) -> None:
        clone = f"{database}_traced"
        with server.scratch(clone, database):
            server.run(EVENT_TRIGGER, clone)
            indexes = existing_indexes(server, clone)
            tracer = Tracer(history, revision, direction, existing_tables(server, clone))
            url = server.url(clone)
            if direction == "upgrade":
                error = attempt(history.upgrade, url, revision, observe=tracer)
            else:
                error = attempt(history.downgrade, url, [revision], observe=tracer)
            if error is not None and direction == "upgrade":
                raise SystemExit(f"{revision} {direction}: {summary(error)}")
            tracer.dropped_indexes(indexes, existing_tables(server, clone))
            traced.extend(tracer.traced)

    with server.scratch(database):
        for script in history.revisions:
            revision = script.revision
            if "upgrade" in directions:
                step(revision, "upgrade")
            history.upgrade(server.url(database), revision)
            if rows and rows.revision == revision:
                server.run(rows.sql, database)
            if "downgrade" in directions:
                step(revision, "downgrade")
    return traced


def expectations(path: Path | None) -> set[str]:
    """The places where findings are expected."""
    lines = path.read_text().splitlines() if path else []
    return {" ".join(line.split()[:2]) for line in lines if line.strip() and not line.startswith("#")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    parser.add_argument("--direction", action="append", choices=["upgrade", "downgrade"], help="default: both")
    parser.add_argument("--rows", type=Path, help="SQL to run after the revision named in its first line")
    parser.add_argument("--out", type=Path, help="write the whole trace there, as JSON")
    parser.add_argument("--allow", type=Path, help="where findings are expected")
    parser.add_argument("--quiet", action="store_true", help="print findings only")
    parser.add_argument("--server", help="URL of the server (default: set by cluster.py)")
    options = parser.parse_args()
    out = options.out and options.out.resolve()
    expected = expectations(options.allow.resolve() if options.allow else None)
    directions = options.direction or ["upgrade", "downgrade"]
    rows = Rows(options.rows) if options.rows else None
    traced = trace(project_from_options(options), Server(options.server), directions, rows)
    if out:
        out.write_text(json.dumps([asdict(statement) for statement in traced], indent=1))
    unexpected, met = 0, set()
    for statement in traced:
        place = f"{statement.revision} {statement.direction}"
        if statement.findings and place in expected:
            met.add(place)
        elif statement.findings:
            unexpected += 1
        if statement.findings or not options.quiet:
            print(f"{place}: {statement.sql[:160]}")
            if not options.quiet:
                for line in statement.locks + statement.work:
                    print(f"    {line}")
            for finding in statement.findings:
                print(f"  {'expected' if place in expected else 'FOUND'}: {finding}")
    stale = sorted(expected - met)
    for place in stale:
        print(f"{place}: a finding is expected, but there is none")
    print(f"{len(traced)} statements, {unexpected} block others from writing while they work")
    return 1 if unexpected or stale or not traced else 0


if __name__ == "__main__":
    settle_hash_order()
    sys.exit(main())
