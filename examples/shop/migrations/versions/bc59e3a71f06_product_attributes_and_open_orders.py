"""product attributes and open orders

Revision ID: bc59e3a71f06
Revises: 1d84c7b5e0f2
Create Date: 2024-06-03 11:36:41.705532

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

# revision identifiers, used by Alembic.
revision = "bc59e3a71f06"
down_revision = "1d84c7b5e0f2"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column(
        "products",
        sa.Column("attributes", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
    )

    # Filter by colour, size, ...: WHERE attributes @> '{"colour": "red"}'
    op.create_index(
        "ix_products_attributes",
        "products",
        ["attributes"],
        postgresql_using="gin",
        postgresql_ops={"attributes": "jsonb_path_ops"},
    )

    # The packing table only ever asks for these (0.3 % of the rows).
    op.create_index(
        "ix_orders_open",
        "orders",
        ["created_at"],
        postgresql_where=sa.text("status = 'paid'"),
    )


def downgrade():
    op.drop_index("ix_orders_open", table_name="orders")
    op.drop_index("ix_products_attributes", table_name="products")
    op.drop_column("products", "attributes")
