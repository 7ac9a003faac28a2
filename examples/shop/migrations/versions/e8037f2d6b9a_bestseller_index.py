"""bestseller index

Revision ID: e8037f2d6b9a
Revises: bc59e3a71f06
Create Date: 2024-07-17 18:50:27.461329

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = 'e8037f2d6b9a'
down_revision = 'bc59e3a71f06'
branch_labels = None
depends_on = None


def upgrade():
    # same trick as in f10b6c8d3e95
    op.execute('COMMIT')
    op.create_index('ix_order_items_product_id_quantity', 'order_items', ['product_id'],
                    postgresql_include=['quantity'], postgresql_concurrently=True)
    op.drop_index('ix_order_items_product_id', table_name='order_items')  # the new one does its work


def downgrade():
    op.create_index('ix_order_items_product_id', 'order_items', ['product_id'])
    op.drop_index('ix_order_items_product_id_quantity', table_name='order_items')
