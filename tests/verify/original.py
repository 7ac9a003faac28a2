"""What somebody wrote, without a thought for locks."""

import sqlalchemy as sa
from alembic import op

revision = "changes"
down_revision = "tables"


def upgrade():
    op.execute("UPDATE child SET b = id WHERE b IS NULL")
    op.add_column("child", sa.Column("c", sa.Integer(), server_default="0"))
    op.create_index("ix_child_a", "child", ["a", "b"])
    op.create_foreign_key("fk_child_parent", "child", "parent", ["parent_id"], ["id"], ondelete="CASCADE")


def downgrade():
    op.drop_constraint("fk_child_parent", "child", type_="foreignkey")
    op.drop_index("ix_child_a", "child")
    op.drop_column("child", "c")
