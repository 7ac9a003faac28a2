"""Two tables that the other revision works on."""

import sqlalchemy as sa
from alembic import op

revision = "tables"
down_revision = None


def upgrade():
    op.create_table("parent", sa.Column("id", sa.Integer(), primary_key=True))
    op.create_table(
        "child",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("a", sa.Integer()),
        sa.Column("b", sa.Integer()),
        sa.Column("parent_id", sa.Integer()),
    )


def downgrade():
    op.drop_table("child")
    op.drop_table("parent")
