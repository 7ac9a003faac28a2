#!/usr/bin/env python3
"""Proves on a PostgreSQL with many rows what is said about the indexes of the sample application.

    plans.py BEFORE AFTER FINDINGS

BEFORE and AFTER are the application as it is and as `safemig fix` makes it, FINDINGS is what `safemig check` printed
as JSON. Every place that a finding about a missing index names must read all rows of its table before, and must use
the new index after. Every index that is called covered is dropped, and no plan of the application may get worse.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, select, text
from sqlalchemy.orm import Session

ROWS = 200_000
# A wider index may be one level higher: a lookup reads four blocks then, and not three; and once one or two more.
ANOTHER_LEVEL, MORE_BLOCKS = 4 / 3, 2


def as_postgres(*arguments: str) -> None:
    """Runs a server program, which does not run as root."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    subprocess.run([*prefix, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def cluster():
    """A server of our own, on a socket."""
    given = os.environ.get("SAFEMIG_PG_BIN")
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    programs = Path(given or (found[-1] if found else Path(shutil.which("initdb") or "").parent))
    with tempfile.TemporaryDirectory(prefix="safemig-plans-", ignore_cleanup_errors=True) as directory:
        if os.getuid() == 0:
            shutil.chown(directory, "postgres")
        data = f"{directory}/data"
        as_postgres(str(programs / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8")
        options = f"-k {directory} -c listen_addresses= -c fsync=off -c full_page_writes=off -c jit=off -c autovacuum=off"
        as_postgres(str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{directory}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg2://postgres@/postgres?host={directory}"
        finally:
            as_postgres(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")


def upgrade(project: Path, connection: Connection) -> None:
    config = Config(str(project / "alembic.ini"), stdout=sys.stderr)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()


def fill(connection: Connection) -> None:
    """Many rows, each value in few of them, but for those that the names call few."""
    n = f"generate_series(1, {ROWS}) AS n"
    at = "timestamp '2020-01-01' + n * interval '1 second'"
    for statement in [
        f"INSERT INTO teams SELECT n, 'team-' || n, {at} FROM {n}",
        f"INSERT INTO users SELECT n, 'User-' || n || '@example.org', 'handle-' || n, n / 20 + 1, n % 9 > 0, {at} FROM {n}",
        f"INSERT INTO posts SELECT n, n / 10 + 1, 'post-' || n, CASE WHEN n % 2 = 0 THEN 'public' ELSE 'draft' END, {at} FROM {n}",
        f"INSERT INTO comments SELECT n, n / 10 + 1, n % 10, 'name-' || n / 5, 'url-' || n, {at} FROM {n}",
        f"INSERT INTO events SELECT n, 'key-' || n / 7, n / 8, 'click', {at} FROM {n}",
        f"INSERT INTO labels SELECT n, 'label-' || n, {at} FROM generate_series(1, 5000) AS n",
        f"INSERT INTO settings SELECT n, 'setting-' || n, 'x' FROM {n}",
        f"INSERT INTO post_labels SELECT n, n % 5000 + 1 FROM {n}",
    ]:
        connection.execute(text(statement))
    connection.commit()
    analyze(connection)


def analyze(connection: Connection) -> None:
    """The planner knows expressions of an index only after this."""
    connection.execute(text("ANALYZE"))
    connection.commit()


class Application:
    """The functions of the sample application, and what they send."""

    def __init__(self, project: Path) -> None:
        sys.path.insert(0, str(project))
        import app.legacy
        import app.models
        import app.queries

        self.models = app.models
        self.places: dict[tuple[str, int], object] = {}
        self.calls: dict[str, object] = {}
        for module in [app.queries, app.legacy, app.models]:
            path = Path(module.__file__)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef):
                    self.add(path, node, node.name, getattr(module, node.name))
                if isinstance(node, ast.ClassDef):
                    for part in node.body:
                        if isinstance(part, ast.AnnAssign) and "relationship(" in ast.unparse(part):
                            model, attribute = getattr(module, node.name), part.target.id
                            self.add(path, part, f"{node.name}.{attribute}", self.loader(model, attribute))

    @staticmethod
    def loader(model, attribute):
        """What loading a relationship sends."""

        def load(session):
            one = session.scalars(select(model).where(model.id == 5)).one()
            getattr(one, attribute)

        return load

    def add(self, path: Path, node: ast.AST, name: str, call) -> None:
        self.calls[name] = call
        for line in range(node.lineno, node.end_lineno + 1):
            self.places[str(path), line] = name

    def plans(self, connection: Connection) -> dict[str, list[dict]]:
        """How the server runs what each function sends; nothing of it is kept."""
        found = {}
        for name, call in self.calls.items():
            sent = []

            def record(_connection, _cursor, statement, parameters, _context, _many):
                if "SAVEPOINT" not in statement:
                    sent.append((statement, parameters))

            event.listen(connection, "before_cursor_execute", record)
            with connection.begin_nested() as nested:
                with Session(bind=connection, join_transaction_mode="create_savepoint") as session:
                    call(session)
                nested.rollback()
            event.remove(connection, "before_cursor_execute", record)
            plans = []
            with connection.begin_nested() as nested:
                for statement, parameters in sent:
                    cursor = connection.connection.cursor()
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
                    plans.append(cursor.fetchone()[0][0]["Plan"])
                nested.rollback()
            found[name] = plans
        return found


def nodes(plan: dict):
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def scanned(plans: list[dict]) -> set[str]:
    """The tables of which all rows are read."""
    return {node["Relation Name"] for plan in plans for node in nodes(plan) if node["Node Type"] == "Seq Scan"}


def blocks(plans: list[dict]) -> int:
    """How many blocks are read, from memory or not."""
    return sum(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans)


def used(plans: list[dict]) -> set[str]:
    """The indexes that are used."""
    return {node["Index Name"] for plan in plans for node in nodes(plan) if "Index Name" in node}


def main() -> int:
    before, after = Path(sys.argv[1]), Path(sys.argv[2])
    findings = json.loads(Path(sys.argv[3]).read_text())
    problems = []
    proved = 0
    with cluster() as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            application = Application(before)
            upgrade(before, connection)
            fill(connection)
            first = application.plans(connection)
            connection.rollback()

            covered = set()
            for finding in findings:
                if match := re.search(r"Index `(\w+)` \w+ `\w+` is covered by", finding["message"]):
                    covered.add(match[1])
                if match := re.search(r"does all that (.*) (is|are) for", finding["message"]):
                    covered.update(re.findall(r"`(\w+)`", match[1]))
            for index in sorted(covered):
                connection.execute(text(f"DROP INDEX {index}"))
                without = application.plans(connection)
                connection.rollback()
                for name, plans in without.items():
                    worse = scanned(plans) - scanned(first[name])
                    read, limit = blocks(plans), int(ANOTHER_LEVEL * blocks(first[name])) + MORE_BLOCKS
                    if worse or read > limit and index in used(first[name]):
                        problems.append(f"without {index}, {name} reads {read} blocks (at most {limit}), all of {worse}")
                if not any(index in used(plans) for plans in first.values()):
                    problems.append(f"{index} is not used by any query, so that dropping it shows nothing")

            indexes = text("SELECT indexname, tablename FROM pg_indexes WHERE schemaname = 'public'")
            original = dict(connection.execute(indexes).all())
            connection.rollback()
            upgrade(after, connection)
            analyze(connection)
            existing = dict(connection.execute(indexes).all())
            created = {index: table for index, table in existing.items() if index not in original}
            connection.rollback()
            if left := covered & existing.keys():
                problems.append(f"{left} should be dropped")
            second = application.plans(connection)
            connection.rollback()

    for finding in findings:
        match = re.search(r"looks? for rows of `(\w+)` by", finding["message"])
        if not match:
            continue
        table = match[1]
        places = [(finding["filename"], finding["location"]["row"])]
        places += [(path, int(line)) for path, line in (place.rsplit(":", 1) for place in finding["also"])]
        for path, line in places:
            name = application.places.get((str(before / path), line))
            if name is None:
                problems.append(f"{path}:{line} is in no function")
                continue
            if table not in scanned(first[name]):
                problems.append(f"{name} did not read all of {table}: {first[name]}")
            if table in scanned(second[name]):
                problems.append(f"{name} still reads all of {table}: {second[name]}")
            if not any(created.get(index) == table for index in used(second[name])):
                problems.append(f"{name} uses no new index of {table}: {used(second[name])}")
            proved += 1
    for index in created.keys() - set().union(*(used(plans) for plans in second.values())):
        problems.append(f"{index} was created, and is not used")
    print(f"{proved} places proved, {len(covered)} covered indexes dropped")
    print("\n".join(problems))
    return 1 if problems or not proved or not covered else 0


if __name__ == "__main__":
    sys.exit(main())
