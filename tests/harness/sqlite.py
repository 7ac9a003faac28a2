#!/usr/bin/env python3
"""Runs an original and a rewritten history on SQLite and compares the schema after every step.

    sqlite.py ORIGINAL REWRITTEN

For histories that run on both databases: rewriting for PostgreSQL must change nothing on SQLite.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from history import HASH_ORDER, HERE, History, Project
from replay import attempt, summary

Schemas = dict[str, list[list[str]] | str]


def schema(database: Path) -> list[list[str]]:
    """What SQLite's own catalog says."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2, 3")
        return [[str(value) for value in row] for row in rows]


def record(versions: Path) -> Schemas:
    """The schema after every upgrade, and after taking it back, or the error."""
    history = History(Project(versions=[versions]))
    found: Schemas = {}
    with tempfile.TemporaryDirectory(prefix="safemig-sqlite-") as directory:
        database, clone = Path(directory) / "main.db", Path(directory) / "clone.db"
        for script in history.revisions:
            revision = script.revision
            error = attempt(history.upgrade, f"sqlite:///{database}", revision)
            found[f"{revision} upgrade"] = summary(error) if error else schema(database)
            if error:
                break
            shutil.copy(database, clone)
            error = attempt(history.downgrade, f"sqlite:///{clone}", [revision])
            found[f"{revision} downgrade"] = summary(error) if error else schema(clone)
    return found


def recorded_apart(versions: Path) -> Schemas:
    """`record` in a process of its own."""
    command = [sys.executable, str(HERE / "sqlite.py"), "--record", str(versions.resolve())]
    finished = subprocess.run(command, env={**os.environ, **HASH_ORDER}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.strip().rsplit("\n", 1)[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("versions", type=Path, nargs="+")
    options = parser.parse_args()
    if options.record:
        print(json.dumps(record(options.versions[0].resolve())))
        return 0
    original, rewritten = (recorded_apart(versions) for versions in options.versions)
    failed = [f"{step}: {result}" for step, result in original.items() if isinstance(result, str)]
    for line in failed:
        print(f"the original fails on SQLite: {line}")
    differences = 0
    for step, before in original.items():
        after = rewritten.get(step, "not reached")
        if before != after:
            differences += 1
            print(f"{step} differs on SQLite:\n    original:  {before}\n    rewritten: {after}")
    print(f"{len(original)} steps on SQLite, {differences} differ")
    return 1 if differences or failed or not original else 0


if __name__ == "__main__":
    sys.exit(main())
