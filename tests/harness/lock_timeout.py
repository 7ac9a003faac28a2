#!/usr/bin/env python3
"""Runs Alembic on what `safemig fix` writes with a `lock-timeout`, on a private PostgreSQL.

    lock_timeout.py SAFEMIG DRIVER...

With all revisions in one transaction, and with one for each:

- the session's own value, and a `SET LOCAL` of the author's, are after each revision what they were before;
- while another session uses the table, a revision gives up after the timeout, and a reader that comes in between has
  to wait no longer. Without the rewrite it waits until that session has ended, or this would prove nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from environments import cluster

try:
    import psycopg2 as postgres
except ImportError:
    import psycopg as postgres

HEAD = '"""Example."""\nfrom alembic import op\nimport sqlalchemy as sa\n\nrevision = "{}"\ndown_revision = {}\n\n\n'

SEE = "    op.execute(\"INSERT INTO seen (what, value) SELECT '{}', current_setting('lock_timeout')\")\n"

#: The revisions, by id. What they see of `lock_timeout` shows whether a value has leaked.
REVISIONS = {
    "tables": """def upgrade():
    op.execute("CREATE TABLE seen (id serial, what text, value text)")
    op.create_table("orders", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("state", sa.Text()))
    op.execute("INSERT INTO orders (state) VALUES ('new')")
""" + SEE.format("tables"),
    "local": "def upgrade():\n    op.execute(\"SET LOCAL lock_timeout = '3s'\")\n" + SEE.format("local"),
    "column": """def upgrade():
    op.add_column("orders", sa.Column("note", sa.Text(), nullable=True))
""" + SEE.format("column"),
    "state": """def upgrade():
    op.alter_column("orders", "state", existing_type=sa.Text(), nullable=False)
""" + SEE.format("state"),
    "last": "def upgrade():\n" + SEE.format("last") + "    with op.get_context().autocommit_block():\n    "
    + SEE.format("block"),
}

#: The session's own value.
OWN = "7s"


class Project:
    """The history, rewritten or not, with its own database."""

    def __init__(self, socket: Path, directory: Path, driver: str, per_migration: bool, safemig: str | None) -> None:
        self.socket, self.directory, self.safemig = socket, directory, safemig
        self.database = f"d{time.monotonic_ns()}"
        self.query("postgres", f"CREATE DATABASE {self.database}")
        self.query("postgres", f"ALTER DATABASE {self.database} SET lock_timeout = '{OWN}'")
        template = "async" if driver == "asyncpg" else "generic"
        self.alembic("init", "-t", template, "migrations")
        ini = directory / "alembic.ini"
        url = f"postgresql+{driver}://postgres@/{self.database}?host={socket}"
        ini.write_text(re.sub(r"^sqlalchemy\.url *=.*$", f"sqlalchemy.url = {url}", ini.read_text(), flags=re.M))
        if per_migration:
            env = directory / "migrations/env.py"
            call = "connection=connection, target_metadata"  # on one line in both templates
            text = re.sub(r"connection=connection,\s*target_metadata", call, env.read_text())
            assert call in text
            env.write_text(text.replace(call, f"transaction_per_migration=True, {call}"))
        previous = None
        for revision, body in REVISIONS.items():
            text = HEAD.format(revision, repr(previous)) + body + "\n\ndef downgrade():\n    pass\n"
            (directory / f"migrations/versions/{revision}.py").write_text(text)
            previous = revision
        if safemig:
            (directory / "safemig.toml").write_text('lock-timeout = "500ms"\nignore = ["transaction-per-migration"]\n')
            done = subprocess.run([safemig, "fix"], cwd=directory, text=True, capture_output=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr

    def query(self, database: str, sql: str) -> list[tuple]:
        connection = postgres.connect(host=str(self.socket), user="postgres", dbname=database)
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall() if cursor.description else []
        connection.close()
        return rows

    def alembic(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=self.directory, text=True,
                              capture_output=True, check=False)

    def upgrade(self, target: str) -> str:
        """The end of what it printed, or nothing when it succeeded."""
        done = self.alembic("upgrade", target)
        return done.stderr if done.returncode else ""

    def seen(self) -> list[tuple]:
        return self.query(self.database, "SELECT what, value FROM seen ORDER BY id")

    def beside_another(self, target: str, held: float) -> tuple[str, float]:
        """What an upgrade prints while another session reads the table, and how long a reader waits behind it.

        The other session goes on for so many seconds after the upgrade has begun to wait.
        """
        other = postgres.connect(host=str(self.socket), user="postgres", dbname=self.database)
        other.cursor().execute("SELECT FROM orders")
        printed: list[str] = []
        upgrade = threading.Thread(target=lambda: printed.append(self.upgrade(target)))
        upgrade.start()
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        deadline = time.monotonic() + 60
        while not self.query(self.database, waiting):
            assert upgrade.is_alive() and time.monotonic() < deadline, f"{target} did not wait: {printed}"
            time.sleep(0.01)
        end = threading.Timer(held, other.close)
        end.start()
        began = time.monotonic()
        self.query(self.database, "SELECT count(*) FROM orders")
        waited = time.monotonic() - began
        upgrade.join()
        end.join()
        return printed[0], waited


def values_come_back(project: Project, per_migration: bool, problems: list[str]) -> None:
    printed = project.upgrade("head")
    # One transaction keeps the author's value until the first block commits it.
    local = OWN if per_migration else "3s"
    expected = [("tables", OWN), ("local", "3s"), ("column", local), ("state", OWN), ("last", OWN), ("block", OWN)]
    if printed or project.seen() != expected:
        problems.append(f"expected {expected}, seen {project.seen() if not printed else printed}")


def it_gives_up(project: Project, revision: str, before: str, problems: list[str]) -> None:
    held = 4.0
    printed = project.upgrade(before)
    assert not printed, printed
    printed, waited = project.beside_another(revision, held)
    gives_up = project.safemig is not None
    if gives_up != ("canceling statement due to lock timeout" in printed):
        problems.append(f"{revision}: {'it did not give up' if gives_up else 'it gave up'}: {printed[-400:]}")
    # The timeout is half a second.
    if (waited < 2) != gives_up:
        problems.append(f"{revision}: a reader waited for {waited:.2f} s")
    again = project.upgrade("head")
    if again:
        problems.append(f"{revision}: a second run fails: {again[-400:]}")


def main() -> int:
    safemig, *drivers = sys.argv[1:]
    problems: list[str] = []
    with cluster() as socket:
        for driver in drivers:
            for per_migration in (False, True):
                found: list[str] = []

                def project(safemig: str | None) -> Project:
                    directory = tempfile.mkdtemp(prefix="project-", dir=work)
                    return Project(socket, Path(directory), driver, per_migration, safemig)

                with tempfile.TemporaryDirectory(prefix="safemig-lock-timeout-") as work:
                    values_come_back(project(safemig), per_migration, found)
                    it_gives_up(project(safemig), "column", "tables", found)
                    it_gives_up(project(safemig), "state", "column", found)
                    if driver == drivers[0]:
                        it_gives_up(project(None), "state", "column", found)
                problems += [f"{driver}, transaction_per_migration={per_migration}: {problem}" for problem in found]
    print("\n".join(problems) or "all is well")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
