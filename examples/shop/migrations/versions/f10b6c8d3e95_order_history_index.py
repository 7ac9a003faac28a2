"""order history index

Black Friday is in three weeks: do not lock orders.

Revision ID: f10b6c8d3e95
Revises: 6a2e90d4c7b1
Create Date: 2023-11-06 07:58:03.194462

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = 'f10b6c8d3e95'
down_revision = '6a2e90d4c7b1'
branch_labels = None
depends_on = None


def upgrade():
    # CREATE INDEX CONCURRENTLY can't run inside a transaction,
    # so end the one Alembic has opened.
    op.execute('COMMIT')
    op.execute('''
        CREATE INDEX CONCURRENTLY ix_orders_customer_id_created_at
            ON orders (customer_id, created_at DESC)
    ''')


def downgrade():
    op.execute('COMMIT')
    op.execute('DROP INDEX CONCURRENTLY ix_orders_customer_id_created_at')
