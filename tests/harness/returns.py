#!/usr/bin/env python3
"""Takes a change of types back before it is at its end, on a private PostgreSQL.

    returns.py SAFEMIG

After the switch the old columns follow the new ones until they are dropped: the downgrade goes on with them, and writes
no row. What does not fit them is refused, and nothing is lost. Before the switch, nothing is left of the change.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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
        "orders",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("n", sa.Integer()),
        sa.Column("ref", sa.String(length=20)),
    )
    op.create_index("ix_orders_n", "orders", ["n"], postgresql_where=sa.text("id > 5"))
    op.execute("INSERT INTO orders (n, ref) SELECT g, 'order ' || g FROM generate_series(1, 20) g")
'''

CHANGE = '''
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.alter_column("orders", "id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.alter_column("orders", "n", existing_type=sa.Integer(), type_=sa.BigInteger())


def downgrade():
    op.alter_column("orders", "n", existing_type=sa.BigInteger(), type_=sa.Integer())
    op.alter_column("orders", "id", existing_type=sa.BigInteger(), type_=sa.Integer())
'''

# Back, PostgreSQL has nothing to write.
SHORTER = '''
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.alter_column("orders", "ref", existing_type=sa.String(length=20), type_=sa.String(length=10))


def downgrade():
    op.alter_column("orders", "ref", existing_type=sa.String(length=10), type_=sa.String(length=20))
'''

LEFT = """
    SELECT count(*) FROM (
        SELECT attname FROM pg_attribute WHERE attname ~ 'safemig' AND NOT attisdropped
        UNION ALL SELECT conname FROM pg_constraint WHERE conname ~ 'safemig'
        UNION ALL SELECT tgname FROM pg_trigger WHERE tgname ~ 'safemig'
        UNION ALL SELECT proname FROM pg_proc WHERE proname ~ 'safemig'
    ) AS found
"""
TYPE = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'id'"
BIG = 3_000_000_000


def main() -> None:
    safemig = sys.argv[1]
    with cluster() as socket, tempfile.TemporaryDirectory(prefix="safemig-returns-") as scratch:
        project = Path(scratch)

        def alembic(*arguments: str) -> str:
            run = subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=project, text=True,
                                 env=os.environ | {"PYTHONPATH": ""}, capture_output=True, check=False)
            return "" if run.returncode == 0 else run.stderr

        def query(sql: str, database: str = "app") -> list[tuple]:
            connection = psycopg2.connect(host=str(socket), user="postgres", dbname=database)
            connection.autocommit = True
            try:
                cursor = connection.cursor()
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
            finally:
                connection.close()

        def check(what: str, found: object, expected: object) -> None:
            if found != expected:
                sys.exit(f"{what}: {found!r}, not {expected!r}")

        alembic("init", "migrations")
        ini = project / "alembic.ini"
        url = f"postgresql+psycopg2://postgres@/app?host={socket}"
        ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url))
        change = project / "migrations/versions/2.py"
        (project / "migrations/versions/1.py").write_text(BASE)
        change.write_text(CHANGE)
        (project / "safemig.toml").write_text("unsafe-fixes = true\n")
        subprocess.run([safemig, "fix", "--exit-zero"], cwd=project, check=True, capture_output=True)
        whole = change.read_text()
        steps = whole.index("def upgrade"), whole.index("def downgrade")

        def upgrade_until(step: str) -> None:
            """The upgrade without this step and those behind it."""
            upgrade = whole[slice(*steps)]
            lines = upgrade[:upgrade.index(f"        {step}(")]
            change.write_text(whole[:steps[0]] + lines + "\n\n" + whole[steps[1]:])
            check("upgrade", alembic("upgrade", "2"), "")
            change.write_text(whole)

        query("CREATE DATABASE app", "postgres")
        check("base", alembic("upgrade", "1"), "")
        for step in ["_fill_new_columns", "_copy_index", "_copy_constraints", "_switch_columns"]:
            upgrade_until(step)
            query("INSERT INTO orders (ref) VALUES ('between')")
            check(f"downgrade before {step}", alembic("downgrade", "1"), "")
            check(f"left before {step}", (query(LEFT), query(TYPE)), ([(0,)], [("integer",)]))
            query("DELETE FROM orders WHERE ref = 'between'")

        upgrade_until("_drop_old_columns")
        check("switched", query(TYPE), [("bigint",)])
        query("INSERT INTO orders (ref) VALUES ('after')")
        query("UPDATE orders SET n = 700 WHERE id = 7")
        check("in step", query("SELECT count(*) FROM orders WHERE (id, n) IS DISTINCT FROM "
                               "(safemig_old_id, safemig_old_n)"), [(0,)])
        query(f"INSERT INTO orders (id, n) VALUES ({BIG}, 21)")
        check("too big", query(f"SELECT safemig_old_id, safemig_old_n FROM orders WHERE id = {BIG}"), [(None, 21)])
        rows = query("SELECT id, n FROM orders ORDER BY id")
        said = alembic("downgrade", "1")
        if "nothing is changed, since integer out of range" not in said:
            sys.exit(f"the downgrade must refuse what does not fit:\n{said[-2000:]}")
        check("refused", (query(LEFT), query(TYPE), query("SELECT id, n FROM orders ORDER BY id")),
              ([(0,)], [("bigint",)], rows))

        # From the start again, without it.
        query(f"DELETE FROM orders WHERE id = {BIG}")
        check("downgrade", alembic("downgrade", "1"), "")
        upgrade_until("_drop_old_columns")
        query("UPDATE orders SET n = 800 WHERE id = 8")
        rows = query("SELECT ctid, id, n FROM orders ORDER BY id")
        check("return", alembic("downgrade", "1"), "")
        check("returned", (query(LEFT), query(TYPE), query("SELECT ctid, id, n FROM orders ORDER BY id")),
              ([(0,)], [("integer",)], rows))
        check("upgrade", (alembic("upgrade", "2"), query(TYPE)), ("", [("bigint",)]))

        # One revision after the other, and back from each by a downgrade that only names the type.
        check("downgrade", alembic("downgrade", "1"), "")
        change.write_text(SHORTER)
        subprocess.run([safemig, "fix", "--exit-zero", "--split=revision"], cwd=project, check=True, capture_output=True)
        parts = ["2_1", "2_2", "2_3", "2"]
        for part in parts:
            check(f"upgrade to {part}", alembic("upgrade", part), "")
            changed = query("SELECT count(*) > 1 FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname ~ 'ref'")
            check(f"begun at {part}", changed, [(part != "2",)])
            check(f"downgrade from {part}", alembic("downgrade", "1"), "")
            check(f"left from {part}", query(LEFT), [(0,)])
            query("INSERT INTO orders (ref) VALUES ('longer than ten')")
            query("DELETE FROM orders WHERE ref = 'longer than ten'")


if __name__ == "__main__":
    main()
