"""A rewrite with nothing wrong in it."""

import sqlalchemy as sa
from alembic import op

revision = "changes"
down_revision = "tables"


def upgrade():
    op.execute("UPDATE child SET b = id WHERE b IS NULL")
    op.add_column("child", sa.Column("c", sa.Integer(), server_default="0"), if_not_exists=True)
    with op.get_context().autocommit_block():
        _drop_invalid_index("ix_child_a")
        op.create_index("ix_child_a", "child", ["a", "b"], postgresql_concurrently=True, if_not_exists=True)
    op.drop_constraint("fk_child_parent", "child", type_="foreignkey", if_exists=True)
    op.create_foreign_key(
        "fk_child_parent", "child", "parent", ["parent_id"], ["id"], ondelete="CASCADE", postgresql_not_valid=True
    )
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE child VALIDATE CONSTRAINT fk_child_parent")


def downgrade():
    op.drop_constraint("fk_child_parent", "child", type_="foreignkey", if_exists=True)
    with op.get_context().autocommit_block():
        op.drop_index("ix_child_a", "child", postgresql_concurrently=True, if_exists=True)
    op.drop_column("child", "c")


def _drop_invalid_index(name):
    """Drops what an interrupted CREATE INDEX CONCURRENTLY has left."""
    op.execute(
        f"""
        DO $$
        BEGIN
            IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('{name}') AND NOT indisvalid) THEN
                ALTER INDEX {name} RENAME TO {name}_invalid;
            END IF;
        END
        $$
        """
    )
    op.drop_index(f"{name}_invalid", postgresql_concurrently=True, if_exists=True)
