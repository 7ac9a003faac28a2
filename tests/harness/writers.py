#!/usr/bin/env python3
"""Changes types on a table that is written to and read all the time, with real Alembic on a private PostgreSQL.

    writers.py SAFEMIG ROWS [direct]

With `direct` the migration runs as its author wrote it, else as `safemig fix` rewrites it. Prints, as JSON, what went
wrong with the statements of the others, how long the longest of them waited, in seconds, and what was lost.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg2
from environments import cluster

BASE = '''
import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade():
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(length=100), nullable=False),
        sa.Column("tenant", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("code", sa.Integer()),
        sa.CheckConstraint("id > 0", name="ck_users_id_pos"),
    )
    op.create_index("uq_users_tenant_id", "users", ["tenant", "id"], unique=True)
    op.create_index("ix_users_code", "users", ["code"])
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer(), sa.Identity(), primary_key=True),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    )
'''

CHANGE = '''
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.alter_column("users", "id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.alter_column("users", "code", existing_type=sa.Integer(), type_=sa.String(length=20))
'''

# What stands in the columns before; a third of the codes is NULL.
FILL = """
INSERT INTO users (email, tenant, code)
SELECT 'u' || g, g %% 10, CASE WHEN g %% 3 > 0 THEN g END FROM generate_series(1, %(rows)s) g;
INSERT INTO posts (user_id) SELECT 1 + g %% %(rows)s FROM generate_series(1, %(rows)s / 2) g;
"""

WRITERS = 3


class Client(threading.Thread):
    """Somebody who uses the database until the migration ends."""

    def __init__(self, socket: Path, number: int, rows: int, stop: threading.Event) -> None:
        super().__init__()
        self.number, self.rows, self.stop = number, rows, stop
        self.random = random.Random(number)
        self.connection = psycopg2.connect(host=str(socket), user="postgres", dbname="app")
        self.connection.autocommit = True
        self.longest, self.statements = 0.0, 0
        self.errors: list[str] = []
        # What its own users have to have in the end; those that are deleted, None.
        self.codes: dict[int, str | None] = {}
        self.deleted: set[int] = set()

    def run(self) -> None:
        while not self.stop.is_set():
            self.act()
            time.sleep(0.001)

    def act(self) -> None:
        raise NotImplementedError

    def execute(self, sql: str, *parameters: object) -> list[tuple]:
        cursor = self.connection.cursor()
        start = time.perf_counter()
        try:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            self.errors.append(f"{sql}: {error}".strip())
            return []
        finally:
            self.longest = max(self.longest, time.perf_counter() - start)
            self.statements += 1


class Writer(Client):
    """Inserts, updates and deletes; nobody else touches the same users."""

    def act(self) -> None:
        action = self.random.random()
        if action < 0.2:
            code = self.random.randrange(10**6)
            for (user,) in self.execute("INSERT INTO users (email, code) VALUES ('w', %s) RETURNING id", code):
                self.codes[user] = str(code)
                self.execute("INSERT INTO posts (user_id) VALUES (%s)", user)
        elif action < 0.3 and self.codes:
            user = self.random.choice(list(self.codes))
            self.execute("DELETE FROM users WHERE id = %s", user)
            del self.codes[user]
            self.deleted.add(user)
        else:
            user = self.random.randrange(self.rows // WRITERS) * WRITERS + self.number + 1
            if user <= self.rows and user not in self.deleted:
                code = self.random.choice([None, self.random.randrange(10**6)])
                self.execute("UPDATE users SET code = %s WHERE id = %s", code, user)
                self.codes[user] = None if code is None else str(code)


class Reader(Client):
    def act(self) -> None:
        user = self.random.randrange(self.rows) + 1
        self.execute("SELECT code FROM users WHERE id = %s", user)


def main() -> None:
    safemig, rows, direct = sys.argv[1], int(sys.argv[2]), "direct" in sys.argv[3:]
    with cluster() as socket, tempfile.TemporaryDirectory(prefix="safemig-writers-") as scratch:
        project = Path(scratch)
        url = f"postgresql+psycopg2://postgres@/app?host={socket}"
        variables = os.environ | {"PYTHONPATH": ""}

        def run(*command: str) -> None:
            subprocess.run(command, cwd=project, check=True, env=variables, stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE)

        def alembic(*arguments: str) -> None:
            run(sys.executable, "-m", "alembic", *arguments)

        admin = psycopg2.connect(host=str(socket), user="postgres", dbname="postgres")
        admin.autocommit = True
        admin.cursor().execute("CREATE DATABASE app")
        alembic("init", "migrations")
        ini = project / "alembic.ini"
        ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url))
        (project / "migrations/versions/1.py").write_text(BASE)
        (project / "migrations/versions/2.py").write_text(CHANGE)
        if not direct:
            (project / "safemig.toml").write_text("unsafe-fixes = true\n")
            run(safemig, "fix", "--exit-zero")
        alembic("upgrade", "1")
        database = psycopg2.connect(host=str(socket), user="postgres", dbname="app")
        database.autocommit = True
        cursor = database.cursor()
        cursor.execute(FILL, {"rows": rows})
        cursor.execute("VACUUM ANALYZE")

        stop = threading.Event()
        writers = [Writer(socket, number, rows, stop) for number in range(WRITERS)]
        reader = Reader(socket, WRITERS, rows, stop)
        for client in [*writers, reader]:
            client.start()
        time.sleep(0.5)
        start = time.perf_counter()
        try:
            alembic("upgrade", "2")
        finally:
            seconds = time.perf_counter() - start
            time.sleep(0.5)
            stop.set()
            for client in [*writers, reader]:
                client.join()

        cursor.execute("SELECT id, code FROM users")
        found = dict(cursor.fetchall())
        lost, changed = [], set()
        for writer in writers:
            changed |= writer.codes.keys() | writer.deleted
            lost += [user for user, code in writer.codes.items() if found.get(user, "gone") != code]
            lost += [user for user in writer.deleted if user in found]
        for user in range(1, rows + 1):
            if user not in changed and found.get(user, "gone") != (str(user) if user % 3 else None):
                lost.append(user)
        cursor.execute("SELECT count(*) FROM posts p LEFT JOIN users u ON u.id = p.user_id WHERE u.id IS NULL")
        orphans = cursor.fetchone()[0]
        cursor.execute("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'users'::regclass "
                       "AND attname IN ('id', 'code') ORDER BY attname DESC")
        print(json.dumps({
            "seconds": round(seconds, 1),
            "statements": sum(client.statements for client in [*writers, reader]),
            "errors": [error for client in [*writers, reader] for error in client.errors],
            "longest_write": round(max(writer.longest for writer in writers), 3),
            "longest_read": round(reader.longest, 3),
            "lost": len(lost),
            "orphans": orphans,
            "types": [name for (name,) in cursor.fetchall()],
        }))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{(error.stderr or b'').decode()}")
