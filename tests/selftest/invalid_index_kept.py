"""Wrong: a second run takes the invalid index of the first for done."""

import sqlalchemy as sa
from alembic import op

revision = "changes"
down_revision = "tables"


def upgrade():
    op.add_column("child", sa.Column("c", sa.Integer()), if_not_exists=True)
    with op.get_context().autocommit_block():
        op.create_index("ix_child_a", "child", ["a"], postgresql_concurrently=True, if_not_exists=True)
    op.drop_constraint("fk_child_parent", "child", type_="foreignkey", if_exists=True)
    op.create_foreign_key("fk_child_parent", "child", "parent", ["parent_id"], ["id"], postgresql_not_valid=True)
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE child VALIDATE CONSTRAINT fk_child_parent")


def downgrade():
    op.drop_constraint("fk_child_parent", "child", type_="foreignkey", if_exists=True)
    with op.get_context().autocommit_block():
        op.drop_index("ix_child_a", "child", postgresql_concurrently=True, if_exists=True)
    op.drop_column("child", "c")
