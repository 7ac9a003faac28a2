#!/usr/bin/env python3
"""Puts something on a column that a change of type would lose, and runs the rewritten migration on it.

    refusals.py SAFEMIG

It has to stop with the reason, and to leave the database as it was.
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
        sa.Column("ref", sa.String(length=40)),
    )
    op.execute("INSERT INTO orders (ref) SELECT 'order ' || g FROM generate_series(1, 20) g")
'''

CHANGE = '''
import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade():
    op.alter_column("orders", "ref", existing_type=sa.String(length=40), type_=sa.String(length=20))
'''

# What is done before, and what the migration has to say; nothing, where it shall succeed.
OBSTACLES = [
    ("SELECT", None),
    ("CREATE VIEW v AS SELECT ref FROM orders", "rule _RETURN on view v depends on the column"),
    ("CREATE MATERIALIZED VIEW v AS SELECT ref FROM orders", "on materialized view v depends on the column"),
    ("CREATE STATISTICS st ON id, ref FROM orders", "statistics object st depends on the column"),
    ("ALTER TABLE orders ADD twice text GENERATED ALWAYS AS (ref || ref) STORED", "depends on the column"),
    ("CREATE POLICY p ON orders USING (ref <> '')", "policy p on table orders depends on the column"),
    ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", None),  # Its owner sees all rows.
    ("CREATE PUBLICATION pub FOR TABLE orders", "publication pub replicates the table"),
    ("CREATE PUBLICATION pub FOR ALL TABLES", "publication pub replicates the table"),
    ("CREATE INDEX by_hand ON orders (ref)", "index by_hand is not copied"),
    ("CREATE INDEX by_hand ON orders (lower(ref))", "index by_hand is not copied"),
    ("ALTER TABLE orders ADD EXCLUDE USING btree (ref WITH =)", "is not copied"),
    ("CREATE TABLE child () INHERITS (orders)", "the table inherits, or is inherited from"),
    ("CREATE RULE r AS ON DELETE TO orders DO INSTEAD NOTHING", "rule r is on the table"),
    ("CREATE TRIGGER tr BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f()", "trigger tr would fire"),
    ("CREATE TRIGGER tr BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()", None),
    ("CREATE TRIGGER zzz BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()", "trigger zzz would fire"),
    ("CREATE TRIGGER tr BEFORE UPDATE OF id ON orders FOR EACH ROW EXECUTE FUNCTION f()", None),
    ("CREATE TRIGGER tr BEFORE UPDATE OF ref ON orders FOR EACH ROW EXECUTE FUNCTION f()", "trigger tr on table"),
    ("ALTER TABLE orders ADD CHECK (ref <> '')", None),
    ("UPDATE orders SET ref = repeat('x', 30) WHERE id = 13", "value too long for type character varying(20)"),
]

LEFT = """
    SELECT format_type(atttypid, atttypmod), (SELECT count(*) FROM orders WHERE ref IS NOT NULL),
        (SELECT count(*) FROM pg_class WHERE relname ~ 'safemig')
        + (SELECT count(*) FROM pg_attribute WHERE attname ~ 'safemig' AND NOT attisdropped)
        + (SELECT count(*) FROM pg_constraint WHERE conname ~ 'safemig')
        + (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'safemig') + (SELECT count(*) FROM pg_proc WHERE proname ~ 'safemig')
    FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'ref'
"""


def main() -> None:
    safemig, problems = sys.argv[1], []
    with cluster() as socket, tempfile.TemporaryDirectory(prefix="safemig-refusals-") as scratch:
        project = Path(scratch)

        def alembic(*arguments: str, database: str = "base") -> subprocess.CompletedProcess[str]:
            url = f"postgresql+psycopg2://postgres@/{database}?host={socket}"
            ini = project / "alembic.ini"
            if ini.exists():
                lines = ini.read_text().splitlines()
                lines = [f"sqlalchemy.url = {url}" if line.startswith("sqlalchemy.url") else line for line in lines]
                ini.write_text("\n".join(lines))
            return subprocess.run([sys.executable, "-m", "alembic", *arguments], cwd=project, text=True,
                                  env=os.environ | {"PYTHONPATH": ""}, capture_output=True, check=False)

        def query(sql: str, database: str) -> list[tuple]:
            connection = psycopg2.connect(host=str(socket), user="postgres", dbname=database)
            connection.autocommit = True
            try:
                cursor = connection.cursor()
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
            finally:
                connection.close()

        alembic("init", "migrations")
        (project / "migrations/versions/1.py").write_text(BASE)
        (project / "migrations/versions/2.py").write_text(CHANGE)
        (project / "safemig.toml").write_text("unsafe-fixes = true\n")
        subprocess.run([safemig, "fix", "--exit-zero"], cwd=project, check=True, capture_output=True)
        query("CREATE DATABASE base", "postgres")
        alembic("upgrade", "1")
        query("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "base")
        for number, (obstacle, expected) in enumerate(OBSTACLES):
            database = f"obstacle_{number}"
            query(f"CREATE DATABASE {database} TEMPLATE base", "postgres")
            query(obstacle, database)
            outcome = alembic("upgrade", "2", database=database)
            ((type_, rows, leftovers),) = query(LEFT, database)
            said = outcome.stderr.strip()
            if expected is None:
                right = outcome.returncode == 0 and type_ == "character varying(20)"
            else:
                right = outcome.returncode != 0 and expected in said and type_ == "character varying(40)"
                right = right and "orders.ref is left as it is: " in said
            if not right or rows != 20 or leftovers:
                problems.append(f"{obstacle}: {type_}, {rows} rows, {leftovers} left over\n{said[-1500:]}")
    if problems:
        sys.exit("\n\n".join(problems))


if __name__ == "__main__":
    main()
