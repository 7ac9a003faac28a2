"""missing indexes found by pg_stat_user_tables

Revision ID: d8f35b1e60a7
Revises: 4e7c28f9b0d6
Create Date: 2023-08-22 13:09:16.449870

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "d8f35b1e60a7"
down_revision = "4e7c28f9b0d6"
branch_labels = None
depends_on = None


def upgrade():
    # The order page does a sequential scan for every line. Sorry.
    for table, column in [
        ("order_items", "order_id"),
        ("order_items", "product_id"),
        ("orders", "status"),
        ("orders", "created_at"),
    ]:
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade():
    op.drop_index("ix_orders_created_at", table_name="orders")
    op.drop_index("ix_orders_status", table_name="orders")
    op.drop_index("ix_order_items_product_id", table_name="order_items")
    op.drop_index("ix_order_items_order_id", table_name="order_items")
