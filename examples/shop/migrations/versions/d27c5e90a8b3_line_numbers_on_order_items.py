"""line numbers on order items

Revision ID: d27c5e90a8b3
Revises: 50f9b3e7c1a8
Create Date: 2024-01-22 12:18:54.073366

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "d27c5e90a8b3"
down_revision = "50f9b3e7c1a8"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("order_items", sa.Column("line_no", sa.Integer(), nullable=True))
    op.execute(
        """
        UPDATE order_items SET line_no = numbered.line_no
        FROM (
            SELECT id, row_number() OVER (PARTITION BY order_id ORDER BY id) AS line_no
            FROM order_items
        ) AS numbered
        WHERE numbered.id = order_items.id
        """
    )
    op.alter_column("order_items", "line_no", nullable=False)
    op.create_unique_constraint(
        "uq_order_items_order_id_line_no", "order_items", ["order_id", "line_no"]
    )


def downgrade():
    op.drop_constraint("uq_order_items_order_id_line_no", "order_items", type_="unique")
    op.drop_column("order_items", "line_no")
