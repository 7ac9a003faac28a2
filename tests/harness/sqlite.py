#!/usr/bin/env python3
"""Runs an original and a rewritten history on SQLite and compares the schema after every step.

    sqlite.py ORIGINAL REWRITTEN

For histories that run on both databases: rewriting for PostgreSQL must change nothing on SQLite.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

Schemas = dict[str, list[list[str]] | str]

ENV_PY = """
from alembic import context
from sqlalchemy import create_engine

with create_engine(context.config.get_main_option("sqlalchemy.url")).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def schema(database: Path) -> list[list[str]]:
    """What SQLite's own catalog says."""
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2, 3")
        return [[str(value) for value in row] for row in rows]


def record(versions: Path) -> Schemas:
    """The schema after every upgrade, and after taking it back, or the error."""
    found: Schemas = {}
    with tempfile.TemporaryDirectory(prefix="safemig-sqlite-") as directory:
        (Path(directory) / "env.py").write_text(ENV_PY)
        config = Config(stdout=io.StringIO())
        config.set_main_option("script_location", directory)
        config.set_main_option("path_separator", "os")
        config.set_main_option("version_locations", str(versions))
        database, clone = Path(directory) / "main.db", Path(directory) / "clone.db"

        def step(run, database: Path, target: str) -> list[list[str]] | str:
            config.set_main_option("sqlalchemy.url", f"sqlite:///{database}")
            try:
                run(config, target)
            except Exception as error:
                return f"{type(error).__name__}: {error}"
            return schema(database)

        for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
            revision = script.revision
            found[f"{revision} upgrade"] = step(command.upgrade, database, revision)
            if isinstance(found[f"{revision} upgrade"], str):
                break
            shutil.copy(database, clone)
            found[f"{revision} downgrade"] = step(command.downgrade, clone, "-1")
    return found


def recorded_apart(versions: Path) -> Schemas:
    """`record` in a process of its own."""
    program = [sys.executable, __file__, "--record", str(versions.resolve())]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    finished = subprocess.run(program, env=environment, stdout=subprocess.PIPE, text=True, check=True)
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
