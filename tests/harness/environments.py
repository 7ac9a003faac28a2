#!/usr/bin/env python3
"""Runs Alembic with the env.py of every template, before and after `safemig fix`, on a private PostgreSQL.

    environments.py SAFEMIG GALLERY [TEMPLATE...]

Two revisions are pending, and the second fails. Before the fix the stamp of the first is lost with it; afterwards it
stays, and `--sql` writes a transaction for each. What safemig only reports must be so, and its advice must help.
The templates come from Alembic itself; those of Flask-Migrate from the gallery.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REVISION = """
import os
from alembic import op

revision = "{revision}"
down_revision = {down}


def upgrade(engine_name=None):
    if os.environ.get("FAIL") == revision:
        raise RuntimeError("this revision fails")
    op.execute("CREATE TABLE t{revision} (a int)")
"""

# Flask, as far as the templates know it.
FLASK = """
import json
import os
from types import SimpleNamespace

import sqlalchemy

engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"])
database = SimpleNamespace(engine=engine, engines={None: engine}, metadata=sqlalchemy.MetaData())
arguments = json.loads(os.environ.get("CONFIGURE_ARGS", "{}"))
migrate = SimpleNamespace(db=database, configure_args=arguments)
current_app = SimpleNamespace(extensions={"migrate": migrate}, config={})
"""

# An asynchronous engine without an asynchronous driver. With one in PYTHONPATH, ASYNC_DRIVER names it.
ASYNC = """
import os
from contextlib import asynccontextmanager

import sqlalchemy
import sqlalchemy.ext.asyncio


class Connection:
    def __init__(self, connection):
        self.connection = connection

    async def run_sync(self, function, *arguments):
        return function(self.connection, *arguments)


class Engine:
    def __init__(self, engine):
        self.engine = engine

    @asynccontextmanager
    async def connect(self):
        with self.engine.connect() as connection:
            yield Connection(connection)

    @asynccontextmanager
    async def begin(self):
        with self.engine.begin() as connection:
            yield Connection(connection)

    async def dispose(self):
        self.engine.dispose()


if "ASYNC_DRIVER" not in os.environ:
    sqlalchemy.ext.asyncio.async_engine_from_config = lambda *a, **k: Engine(sqlalchemy.engine_from_config(*a, **k))
"""


@contextmanager
def cluster() -> Iterator[Path]:
    """A private PostgreSQL, as the directory of its socket."""
    bins = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(Path(path).parent.name))
    programs = Path(os.environ.get("SAFEMIG_PG_BIN") or bins[-1])
    directory = Path(tempfile.mkdtemp(prefix="safemig-environments-"))
    as_server: list[str] = []
    if os.getuid() == 0:
        # The server does not run as root.
        shutil.chown(directory, "postgres", "postgres")
        as_server = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        subprocess.run([*as_server, programs / program, "-D", directory / "data", *arguments], check=True, cwd="/",
                       stdout=subprocess.DEVNULL)

    try:
        run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses='' -c fsync=off -k {directory}"
        run("pg_ctl", "-l", str(directory / "log"), "-w", "-s", "-o", options, "start")
        try:
            yield directory
        finally:
            run("pg_ctl", "-m", "immediate", "-w", "-s", "stop")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Project:
    """A project with one template, and a database for each run."""

    def __init__(self, template: str, socket: Path, directory: Path) -> None:
        self.template, self.socket, self.directory = template, socket, directory
        self.runs = 0
        self.script = directory / "migrations"
        (directory / "stand_ins").mkdir()
        (directory / "stand_ins/sitecustomize.py").write_text(ASYNC)
        (directory / "stand_ins/flask.py").write_text(FLASK)

    @property
    def env(self) -> Path:
        return self.script / "env.py"

    def make(self, gallery: dict[str, str]) -> None:
        known = gallery.get(self.template)
        template = "generic" if known else self.template
        self.alembic("init", "-t", template, "migrations", database="postgres")
        if known:
            self.env.write_text(known)
        (self.script / "versions").mkdir(exist_ok=True)
        for revision, down in (("1", None), ("2", "1")):
            (self.script / f"versions/{revision}.py").write_text(REVISION.format(revision=revision, down=repr(down)))

    def configure(self, database: str) -> dict[str, str]:
        driver = os.environ.get("ASYNC_DRIVER", "psycopg2") if "async" in self.template else "psycopg2"
        url = f"postgresql+{driver}://postgres@/{database}?host={self.socket}"
        for path in self.directory.glob("*.ini"):
            text = re.sub(r"^sqlalchemy\.url2? *=.*$", f"sqlalchemy.url = {url}", path.read_text(), flags=re.M)
            # One engine is enough to see what happens to its transaction.
            text = re.sub(r"^databases *=.*$", "databases = engine1", text, flags=re.M)
            path.write_text(text)
        return {"DATABASE_URL": url, "PYTHONPATH": f"{self.directory / 'stand_ins'}:{os.environ.get('PYTHONPATH', '')}"}

    def alembic(self, *arguments: str, database: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.configure(database) | variables
        return subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=self.directory, text=True,
                              env=environment, capture_output=True, check=False)

    def upgrade(self, **variables: str) -> tuple[str | None, str]:
        """The stamp after an upgrade of an empty database, and the last line that was printed."""
        import psycopg2

        self.runs += 1
        database = f"{re.sub('[^a-z]', '_', self.template.lower())}_{self.runs}"

        def query(name: str, sql: str) -> list[tuple[str]]:
            connection = psycopg2.connect(host=str(self.socket), user="postgres", dbname=name)
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(sql)
            rows = cursor.fetchall() if cursor.description else []
            connection.close()
            return rows

        query("postgres", f"CREATE DATABASE {database}")
        done = self.alembic("upgrade", "head", database=database, **variables)
        table = query(database, "SELECT to_regclass('alembic_version')::text")
        stamp = query(database, "SELECT version_num FROM alembic_version") if table[0][0] else []
        return stamp[0][0] if stamp else None, (done.stderr.strip().splitlines() or [""])[-1]

    def transactions_offline(self) -> int:
        done = self.alembic("upgrade", "head", "--sql", database="postgres")
        assert done.returncode == 0, done.stderr
        for path in self.directory.glob("*.sql"):
            done.stdout += path.read_text()
            path.unlink()
        return done.stdout.count("COMMIT;")

    def safemig(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        return subprocess.run([program, *arguments], cwd=self.directory, text=True, capture_output=True,
                              env=environment, check=False)


def without_own_transactions(source: str) -> str:
    """What the advice about the templates for several databases says: Alembic begins and commits."""
    source = re.sub(r"\n *if USE_TWOPHASE:\n *rec\[.transaction.\] = .*\n *else:\n *rec\[.transaction.\] = .*\n", "\n", source)
    source = re.sub(r"\n *if USE_TWOPHASE:\n *for rec.*\n.*prepare\(\)\n", "\n", source)
    source = re.sub(r"\n *for rec in engines.values\(\):\n.*(commit|rollback)\(\)\n", "\n", source)
    head, tail = source.rsplit("            context.run_migrations(engine_name=name)\n", 1)
    block = "            with context.begin_transaction():\n                context.run_migrations(engine_name=name)\n"
    return head + block + tail


def expect(what: str, found: object, wanted: object, problems: list[str]) -> None:
    if found != wanted:
        problems.append(f"{what}: {found!r} instead of {wanted!r}")


def prove(template: str, program: str, gallery: dict[str, str], socket: Path) -> list[str]:
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="safemig-environments-") as directory:
        project = Project(template, socket, Path(directory))
        project.make(gallery)
        several = "multidb" in template or "several" in template
        expect("before, all is well", project.upgrade()[0], "2", problems)
        expect("before, the second fails", project.upgrade(FAIL="2")[0], None, problems)
        expect("before, offline", project.transactions_offline(), 1, problems)
        fixed = project.safemig(program, "fix")
        first = project.env.read_text()
        again = project.safemig(program, "fix", "--dry-run")
        expect("a second run", again.stdout, "", problems)
        expect("after, offline", project.transactions_offline(), 2, problems)
        if "Flask" in template:
            # Its keyword is given in the application.
            expect("reported", "**conf_args` may have it already" in fixed.stdout, True, problems)
            os.environ["CONFIGURE_ARGS"] = '{"transaction_per_migration": true}'
        if several:
            expect("reported", "`conn.begin()` puts all revisions into one transaction" in fixed.stdout, True, problems)
            expect("as reported", project.upgrade(FAIL="2")[0], None, problems)
            project.env.write_text(without_own_transactions(first))
        elif "Flask" not in template:
            expect("left", fixed.stdout, "", problems)
            expect("status", fixed.returncode, 0, problems)
        expect("after, all is well", project.upgrade()[0], "2", problems)
        stamp, message = project.upgrade(FAIL="2")
        expect("after, the second fails", stamp, "1", problems)
        expect("after, the failure", message, "RuntimeError: this revision fails", problems)
        os.environ.pop("CONFIGURE_ARGS", None)
    return [f"{template}: {problem}" for problem in problems]


def main() -> int:
    program, gallery, *wanted = sys.argv[1:]
    examples = re.findall(r"^## (.*)\n(?:.|\n)*?```python before\n((?:.|\n)*?)```", Path(gallery).read_text(), flags=re.M)
    flask = {title: code for title, code in examples if title.startswith("Flask-Migrate")}
    assert len(flask) == 2, "the gallery shows Flask-Migrate's templates"
    templates = wanted or ["generic", "async", "multidb", "pyproject", "pyproject_async", *flask]
    problems: list[str] = []
    with cluster() as socket:
        for template in templates:
            problems += prove(template, program, flask, socket)
    print("\n".join(problems) or f"{len(templates)} templates")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
