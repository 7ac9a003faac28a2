"""no negative prices or quantities

Revision ID: 0b5a7fe81d92
Revises: e46d93b07a1c
Create Date: 2023-05-09 14:30:08.217745

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "0b5a7fe81d92"
down_revision = "e46d93b07a1c"
branch_labels = None
depends_on = None


def upgrade():
    # SHOP-88: a CSV import with a stray minus gave somebody 40 euros back.
    op.create_check_constraint("ck_products_price", "products", "price >= 0")
    op.create_check_constraint(
        "ck_order_items_quantity",
        "order_items",
        sa.column("quantity") > 0,
    )


def downgrade():
    op.drop_constraint("ck_order_items_quantity", "order_items", type_="check")
    op.drop_constraint("ck_products_price", "products", type_="check")
