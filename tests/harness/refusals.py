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
    op.create_index("ix_orders_ref", "orders", ["ref"], unique=True)
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

PARTITIONED = """
    ALTER TABLE orders RENAME TO orders_1;
    CREATE TABLE orders (LIKE orders_1) PARTITION BY LIST (ref);
    ALTER TABLE orders ATTACH PARTITION orders_1 DEFAULT
"""
PARTITION = """
    CREATE TABLE all_orders (LIKE orders) PARTITION BY LIST (ref);
    ALTER TABLE all_orders ATTACH PARTITION orders DEFAULT
"""
LABEL = """
    INSERT INTO pg_seclabel SELECT attrelid, 'pg_class'::regclass, attnum, 'test', 'secret'
    FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'ref'
"""
GRANTS = """
    CREATE ROLE reader; CREATE ROLE other;
    GRANT SELECT (ref) ON orders TO reader WITH GRANT OPTION;
    SET ROLE reader; GRANT SELECT (ref) ON orders TO other
"""
GENERATED = "DROP INDEX ix_orders_ref; ALTER TABLE orders DROP ref, ADD ref varchar(40) GENERATED ALWAYS AS ('x') STORED"
# What is done before, and what the migration has to say; nothing, where it shall succeed.
OBSTACLES = [
    ("SELECT", None),
    ("CREATE VIEW v AS SELECT ref FROM orders", "rule _RETURN on view v depends on ref"),
    ("CREATE MATERIALIZED VIEW v AS SELECT ref FROM orders", "on materialized view v depends on ref"),
    ("CREATE STATISTICS st ON id, ref FROM orders", "statistics object st depends on ref"),
    ("ALTER TABLE orders ADD twice text GENERATED ALWAYS AS (ref || ref) STORED", "depends on ref"),
    (GENERATED, "ref is generated, compressed, has a security label or unusual grants"),
    (LABEL, "ref is generated, compressed, has a security label or unusual grants"),
    (GRANTS, "ref is generated, compressed, has a security label or unusual grants"),
    ("ALTER TABLE orders ALTER ref SET COMPRESSION pglz", "ref is generated, compressed"),
    (PARTITIONED, "the table is partitioned, a partition, or of a type"),
    (PARTITION, "the table is partitioned, a partition, or of a type"),
    ("CREATE TYPE pair AS (id int, ref varchar(40)); ALTER TABLE orders OF pair", "partition, or of a type"),
    ("ALTER TABLE orders CLUSTER ON ix_orders_ref", None),
    ("ALTER TABLE orders ALTER ref SET NOT NULL; ALTER TABLE orders REPLICA IDENTITY USING INDEX ix_orders_ref",
     "index ix_orders_ref is a replica identity"),
    ("ALTER TABLE orders REPLICA IDENTITY FULL", None),
    ("CREATE POLICY p ON orders USING (ref <> '')", "policy p on table orders depends on ref"),
    ("ALTER TABLE orders ENABLE ROW LEVEL SECURITY", None),  # Its owner sees all rows.
    ("CREATE PUBLICATION pub FOR TABLE orders", "publication pub replicates the table"),
    ("CREATE PUBLICATION pub FOR TABLE orders (id, ref)", "in publication pub depends on ref"),
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
                right = right and "orders.ref: nothing is changed, since " in said
            if not right or rows != 20 or leftovers:
                problems.append(f"{obstacle}: {type_}, {rows} rows, {leftovers} left over\n{said[-1500:]}")
    if problems:
        sys.exit("\n\n".join(problems))


if __name__ == "__main__":
    main()
