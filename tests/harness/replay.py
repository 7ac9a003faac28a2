#!/usr/bin/env python3
"""Replays a history on an empty database, one revision at a time, and records the catalog after each.

    replay.py VERSIONS --out DIR                     any directory of revisions
    replay.py --package ckan --out DIR               a package of packages.json
    replay.py --package ckan REWRITTEN --out DIR --like ORIGINAL_OUT

After every revision the catalog is recorded; then the revision is taken back on a clone, and the catalog there is
recorded too, or that the downgrade failed. With `--like`, the revisions of that earlier result are visited in the
order they had there; revisions which only the present history has are run on the way to them.

DIR/result.json names the outcome of every step and its catalog's hash, DIR/catalogs/<hash>.json is the catalog.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import catalog
from history import History, Project, add_project_options, project_from_options, settle_hash_order
from server import Server


class Rows:
    """Rows that a fixture inserts once a revision has run: SQL whose first line is `-- after REVISION`."""

    def __init__(self, path: Path) -> None:
        self.sql = path.read_text()
        words = self.sql.split("\n", 1)[0].split()
        if words[:2] != ["--", "after"] or len(words) != 3:
            raise SystemExit(f"{path}: the first line must be `-- after REVISION`")
        self.revision = words[2]


class Recorder:
    """Writes one result directory."""

    def __init__(self, directory: Path, server: Server, contents: bool) -> None:
        self._directory, self._server, self._contents = directory, server, contents
        (directory / "catalogs").mkdir(parents=True, exist_ok=True)

    def outcome(self, database: str, error: BaseException | None) -> dict[str, Any]:
        """What happened in a step, and the catalog after it."""
        snap = self._server.snapshot(database, contents=self._contents)
        name = catalog.fingerprint(snap)
        path = self._directory / "catalogs" / f"{name}.json"
        if not path.exists():
            path.write_text(catalog.text(snap))
        return {"ok": error is None, "catalog": name} | ({"error": summary(error)} if error else {})

    def finish(self, result: dict[str, Any]) -> None:
        """Writes `result.json`, last of all."""
        (self._directory / "result.json").write_text(json.dumps(result, indent=1))


def summary(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).split("(Background on this error")[0]
    return f"{type(error).__name__}: {' '.join(text.split())}"[:400]


def visits(history: History, like: Path | None) -> list[tuple[str, list[str]]]:
    """The revisions to visit in order, each with its parents."""
    if like is None:
        return [(script.revision, list(script._versioned_down_revisions)) for script in history.revisions]
    earlier = json.loads((like / "result.json").read_text())
    return [(entry["revision"], entry["parents"]) for entry in earlier["revisions"]]


def replay(
    project: Project,
    server: Server,
    out: Path,
    *,
    like: Path | None = None,
    rows: Rows | None = None,
    downgrades: bool = True,
    transaction_per_migration: bool = True,
) -> bool:
    """Replays a history; the answer is whether every upgrade succeeded."""
    started = time.monotonic()
    history = History(project, transaction_per_migration=transaction_per_migration)
    recorder = Recorder(out, server, contents=rows is not None)
    database, clone = f"replay_{os.getpid()}", f"replay_{os.getpid()}_down"
    order = visits(history, like)
    known = [revision for revision, _ in order]
    entries: list[dict[str, Any]] = []
    with server.scratch(database):
        for revision, parents in order:
            error = attempt(history.upgrade, server.url(database), revision)
            if error is None and rows is not None and rows.revision == revision:
                server.run(rows.sql, database)
            entry = {"revision": revision, "parents": parents, "upgrade": recorder.outcome(database, error)}
            entries.append(entry)
            if error is not None:
                break
            if downgrades:
                with server.scratch(clone, template=database):
                    error = attempt(history.downgrade, server.url(clone), history.span(revision, known))
                    entry["downgrade"] = recorder.outcome(clone, error)
    seconds = round(time.monotonic() - started, 2)
    recorder.finish({**history.versions, "seconds": seconds, "revisions": entries})
    return all(entry["upgrade"]["ok"] for entry in entries)


def attempt(step: Callable[..., Any], *arguments: Any, **keywords: Any) -> BaseException | None:
    """Runs a step and returns what it raised: a migration may raise anything, SystemExit too."""
    try:
        step(*arguments, **keywords)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return error
    return None


def describe(out: Path) -> str:
    """A result in one line."""
    result = json.loads((out / "result.json").read_text())
    entries = result["revisions"]
    failed = sum(not entry["downgrade"]["ok"] for entry in entries if "downgrade" in entry)
    line = f"{len(entries)} revisions in {result['seconds']} s; {failed} cannot be taken back"
    last = entries[-1]["upgrade"]
    return line if last["ok"] else f"{line}; upgrade to {entries[-1]['revision']} failed: {last['error']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="where to write the result")
    parser.add_argument("--like", type=Path, help="the result of the original history")
    parser.add_argument("--rows", type=Path, help="SQL to run after the revision named in its first line")
    parser.add_argument("--no-downgrades", action="store_true")
    parser.add_argument("--one-transaction", action="store_true", help="transaction_per_migration=False")
    parser.add_argument("--server", help="URL of the server (default: set by cluster.py)")
    options = parser.parse_args()
    out, like = options.out.resolve(), options.like and options.like.resolve()
    ok = replay(
        project_from_options(options),
        Server(options.server),
        out,
        like=like,
        rows=Rows(options.rows) if options.rows else None,
        downgrades=not options.no_downgrades,
        transaction_per_migration=not options.one_transaction,
    )
    print(describe(out))
    return 0 if ok else 1


if __name__ == "__main__":
    settle_hash_order()
    sys.exit(main())
