"""Indexes and constraints without a name, and a check whose name is only a part

Revision ID: 0002
Revises: 0001
"""
from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("orders", sa.Column("note", sa.Text()), schema="sales")
    op.create_index(None, "orders", ["number", "batch"], unique=True, schema="sales")
    op.create_index(None, "users", ["age"])
    op.create_foreign_key(None, "orders", "users", ["user_id"], ["id"], source_schema="sales")
    op.create_unique_constraint(None, "orders", ["number", "batch", "user_id"], schema="sales")
    op.create_check_constraint("is_positive", "users", "age > 0 OR age <= 0")
    with op.batch_alter_table("orders", schema="sales") as batch_op:
        batch_op.create_unique_constraint(None, ["id", "number"])


def downgrade():
    op.drop_constraint(op.f("uq_ord_ID-NUMBER_id_number"), "orders", schema="sales")
    op.drop_constraint(op.f("ck_users_is_positive"), "users")
    op.drop_constraint("uq_ord_BATCH-NUMBER-USER_ID_number_batch_user_id", "orders", schema="sales")
    op.drop_constraint("fk_orders_user_id_users", "orders", schema="sales")
    op.drop_index("ix_users_age", table_name="users")
    op.drop_index("ix_uq_orders_number_batch", table_name="orders", schema="sales")
    op.drop_column("orders", "note", schema="sales")
