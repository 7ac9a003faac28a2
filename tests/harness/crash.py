#!/usr/bin/env python3
"""Interrupts every revision of a history everywhere, runs it again, and looks at what comes out.

    crash.py VERSIONS [--one-transaction] [--rows FILE] [--reference RESULT] [--revision REV]... [--verbose]

Each revision is run on a copy of the database as its parent left it, and its connection is terminated: after every
statement, after every COMMIT, and in the middle of every CONCURRENTLY statement, where PostgreSQL leaves an invalid
index. Then it is run again. The second run must succeed and leave the catalog that an uninterrupted run leaves (with
`--reference`, a result of replay.py: that the original history left), and no invalid index, constraint not
validated or helper of safemig. The same for taking the revision back.

With `--one-transaction` (Alembic's default environment) all revisions run in one command, as in `alembic upgrade
heads`, and all are taken back in one. Of the places where the interruption finds the same committed state, only the
last is tried, unless `--every` is given.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import catalog
import compare
from history import History, Project, add_project_options, project_from_options, settle_hash_order
from replay import Rows, attempt, summary
from server import Server
from statements import Listener, Statement

CONCURRENTLY = re.compile(r"\s*(CREATE|DROP|REINDEX)\b.*\bCONCURRENTLY\b", re.IGNORECASE | re.DOTALL)

#: Runs some revisions on a database, with a listener.
Run = Callable[[str, Listener], None]


class Interrupted(BaseException):
    """Ends a migration; no `except Exception` of it can catch this."""


@dataclass(frozen=True)
class Place:
    """Where to interrupt: before, during or after a statement."""

    when: str
    number: int
    brief: str

    def __str__(self) -> str:
        return f"interrupted {self.when} statement {self.number} ({self.brief})"


def places(statements: list[Statement], every: bool) -> list[Place]:
    """All places of a run in which an interruption leaves something else behind."""
    found: list[tuple[int, Place]] = []
    previous: Statement | None = None
    for statement in statements:
        if previous is not None and statement.commits > previous.commits + previous.autocommit:
            found.append((statement.commits, Place("before", statement.number, statement.brief)))
        if CONCURRENTLY.match(statement.sql):
            found.append((-statement.number, Place("during", statement.number, statement.brief)))
        after = statement.commits + statement.autocommit
        found.append((after, Place("after", statement.number, statement.brief)))
        previous = statement
    return [place for _, place in found] if every else list(dict(found).values())


class Interruption(Listener):
    """Terminates the connection of a running migration at a place."""

    def __init__(self, history: History, server: Server, database: str, place: Place) -> None:
        super().__init__(history, self._before_statement, self._after_statement)
        self._place, self._database, self._server = place, database, server
        self._watcher: threading.Thread | None = None
        self._finished = threading.Event()
        self.happened = False

    def _before_statement(self, statement: Statement) -> None:
        if not self._is_place(statement):
            return
        if self._place.when == "before":
            self._interrupt(statement)
        elif self._place.when == "during":
            pid = statement.connection.info.backend_pid
            blocker = self._block()
            self._watcher = threading.Thread(target=self._terminate_when_waiting, args=(pid, blocker), daemon=True)
            self._watcher.start()

    def _after_statement(self, statement: Statement) -> None:
        if self._is_place(statement):
            self._finished.set()
            self._interrupt(statement)

    def _is_place(self, statement: Statement) -> bool:
        return (statement.number, statement.brief) == (self._place.number, self._place.brief)

    def _interrupt(self, statement: Statement) -> None:
        self._terminate(statement.connection.info.backend_pid)
        raise Interrupted

    def _block(self) -> Any:
        """A transaction that writes to every table, for which CONCURRENTLY has to wait."""
        connection = self._server.connect(self._database)
        connection.autocommit = False
        cursor = connection.cursor()
        cursor.execute(
            f"SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= {catalog.FIRST_USER_OID}"
        )
        tables = ", ".join(name for (name,) in cursor.fetchall())
        cursor.execute(f"LOCK TABLE {tables} IN ROW EXCLUSIVE MODE")
        return connection

    def _terminate_when_waiting(self, pid: int, blocker: Any) -> None:
        connection = self._server.connect()
        cursor = connection.cursor()
        try:
            while not self._finished.wait(0.01):
                cursor.execute("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", (pid,))
                waiting = cursor.fetchone()
                if waiting is None or waiting[0]:
                    self._terminate(pid)
                    break
        finally:
            blocker.close()
            connection.close()

    def _terminate(self, pid: int) -> None:
        connection = self._server.connect()
        cursor = connection.cursor()
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
        deadline = time.monotonic() + 10
        while True:  # the waiting form of pg_terminate_backend looks every 100 ms only
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,))
            if cursor.fetchone() == (0,):
                break
            if time.monotonic() > deadline:
                raise SystemExit(f"backend {pid} could not be terminated")
            time.sleep(0.002)
        connection.close()
        self.happened = True

    def join(self) -> None:
        """Waits until nothing holds the database any more."""
        self._finished.set()
        if self._watcher:
            self._watcher.join()


class CrashTest:
    """Interrupts runs on clones of a database."""

    def __init__(self, history: History, server: Server, *, contents: bool, every: bool, verbose: bool) -> None:
        self._history, self._server = history, server
        self._contents, self._every, self._verbose = contents, every, verbose
        self.interruptions = 0
        #: How often every failure was met: most are met in many places of a revision.
        self.failures: collections.Counter[tuple[str, str]] = collections.Counter()

    def check(self, where: str, template: str, run: Run, expected: catalog.Snapshot | None) -> None:
        """Interrupts a run everywhere; `expected` is the catalog that it must reach, if it is known."""
        clone = f"{template}_crash"
        recorder = Listener(self._history)
        with self._server.scratch(clone, template):
            error = attempt(run, clone, recorder)
            if error is not None:
                if expected is not None:
                    self._fail(where, "not interrupted", summary(error))
                elif self._verbose:
                    print(f"{where}: fails without an interruption, left out: {summary(error)}")
                return
            reached = self._server.snapshot(clone, contents=self._contents)
        self._compare(where, "not interrupted", expected, reached)
        started, failures = time.monotonic(), self.failures.total()
        found = places(recorder.statements, self._every)
        for place in found:
            self._interrupt(where, template, run, place, expected or reached)
        for (step, reason), count in self.failures.items():
            if step == where and count > 1:
                print(f"{where}: in {count} of {len(found)} places: {reason.splitlines()[0]}")
        if self._verbose:
            seconds, failed = time.monotonic() - started, self.failures.total() - failures
            counts = f"{len(recorder.statements)} statements, {len(found)} interruptions, {failed} failures"
            print(f"{where}: {counts}, {seconds:.1f} s")

    def _interrupt(self, where: str, template: str, run: Run, place: Place, expected: catalog.Snapshot) -> None:
        clone = f"{template}_crash"
        with self._server.scratch(clone, template):
            interruption = Interruption(self._history, self._server, clone, place)
            try:
                attempt(run, clone, interruption)
            finally:
                interruption.join()
            if not interruption.happened:
                self._fail(where, str(place), "the statement was not met again")
                return
            self.interruptions += 1
            error = attempt(run, clone, Listener(self._history))
            if error is not None:
                self._fail(where, str(place), f"the second run failed: {summary(error)}")
                return
            snap = self._server.snapshot(clone, contents=self._contents)
            if not self._compare(where, f"{place}, run again", expected, snap) and self._verbose:
                print(f"{where}, {place}: recovered")

    def _compare(self, where: str, when: str, expected: catalog.Snapshot | None, snap: catalog.Snapshot) -> bool:
        """Notes what is wrong with a catalog; the answer is whether anything is."""
        allowed = set(catalog.leftovers(expected)) if expected is not None else set()
        lines = [line for line in catalog.leftovers(snap) if line not in allowed]
        if expected is not None:
            lines += catalog.difference(expected, snap)
        if lines:
            shown = "".join(f"\n    {line}" for line in lines[: compare.SHOWN])
            self._fail(where, when, f"the catalog is wrong{shown}")
        return bool(lines)

    def _fail(self, where: str, when: str, reason: str) -> None:
        """Notes a failure, and prints it when it is a new one."""
        self.failures[where, reason] += 1
        if self.failures[where, reason] == 1 or self._verbose:
            print(f"{where}, {when}: {reason}", flush=True)


class Reference:
    """The catalogs that the original history left."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        entries = compare.load(directory)["revisions"] if directory else []
        self._entries: dict[str, Any] = {entry["revision"]: entry for entry in entries}
        self.revisions: list[str] | None = list(self._entries) if directory else None

    def catalog(self, revision: str, direction: str) -> catalog.Snapshot | None:
        """What a step left, unless it failed or was not recorded."""
        step = self._entries.get(revision, {}).get(direction)
        if self._directory is None or step is None or not step["ok"]:
            return None
        return compare.load_catalog(self._directory, step["catalog"])


def crash(
    project: Project, server: Server, options: argparse.Namespace, rows: Rows | None, reference: Reference
) -> CrashTest:
    """Tests a whole history."""
    history = History(project, transaction_per_migration=not options.one_transaction)
    test = CrashTest(history, server, contents=rows is not None, every=options.every, verbose=options.verbose)
    revisions = reference.revisions or [script.revision for script in history.revisions]

    def upgrading(target: str) -> Run:
        return lambda database, listener: history.upgrade(server.url(database), target, observe=listener)

    def downgrading(taken_back: list[str]) -> Run:
        return lambda database, listener: history.downgrade(server.url(database), taken_back, observe=listener)

    database = f"crash_{os.getpid()}"
    with server.scratch(database):
        if options.one_transaction:
            prepared = revisions.index(rows.revision) + 1 if rows else 0
            if rows:
                history.upgrade(server.url(database), rows.revision)
                server.run(rows.sql, database)
            if revisions[prepared:]:
                last = reference.catalog(revisions[-1], "upgrade")
                test.check("all upgrades", database, upgrading("heads"), last)
                history.upgrade(server.url(database), "heads")
                scripts = [script.revision for script in reversed(history.revisions)]
                taken_back = [revision for revision in scripts if revision not in revisions[:prepared]]
                test.check("all downgrades", database, downgrading(taken_back), None)
            return test
        for revision in revisions:
            if not options.revision or revision in options.revision:
                test.check(
                    f"{revision} upgrade",
                    database,
                    upgrading(revision),
                    reference.catalog(revision, "upgrade") if not (rows and rows.revision == revision) else None,
                )
            history.upgrade(server.url(database), revision)
            if rows and rows.revision == revision:
                server.run(rows.sql, database)
            if not options.revision or revision in options.revision:
                test.check(
                    f"{revision} downgrade",
                    database,
                    downgrading(history.span(revision, revisions)),
                    reference.catalog(revision, "downgrade"),
                )
    return test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    parser.add_argument("--one-transaction", action="store_true", help="transaction_per_migration=False")
    parser.add_argument("--rows", type=Path, help="SQL to run after the revision named in its first line")
    parser.add_argument("--reference", type=Path, help="the result of replay.py for the original history")
    parser.add_argument("--revision", action="append", default=[], help="only this revision; may be repeated")
    parser.add_argument("--every", action="store_true", help="interrupt after every single statement")
    parser.add_argument("--verbose", action="store_true", help="report every interruption")
    parser.add_argument("--server", help="URL of the server (default: set by cluster.py)")
    options = parser.parse_args()
    rows = Rows(options.rows) if options.rows else None
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)  # it reports every connection that we terminate
    reference = Reference(options.reference.resolve() if options.reference else None)
    test = crash(project_from_options(options), Server(options.server), options, rows, reference)
    print(f"{test.interruptions} interruptions, {test.failures.total()} failures")
    return 1 if test.failures or not test.interruptions else 0


if __name__ == "__main__":
    settle_hash_order()
    sys.exit(main())
