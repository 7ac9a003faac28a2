"""Tables, whose keys the convention names

Revision ID: 0001
Revises:
"""
from alembic import op
import sqlalchemy as sa

revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE SCHEMA sales")
    op.create_table("users", sa.Column("id", sa.Integer, primary_key=True), sa.Column("age", sa.Integer))
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer),
        sa.Column("number", sa.Integer),
        sa.Column("batch", sa.Integer),
        schema="sales",
    )


def downgrade():
    op.drop_table("orders", schema="sales")
    op.drop_table("users")
    op.execute("DROP SCHEMA sales")
