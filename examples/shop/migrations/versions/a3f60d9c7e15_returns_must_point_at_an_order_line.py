"""returns must point at an order line

Revision ID: a3f60d9c7e15
Revises: 7b1e4f8a20dc
Create Date: 2024-03-04 09:05:12.990413

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = 'a3f60d9c7e15'
down_revision = '7b1e4f8a20dc'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Forgotten in 7b1e4f8a20dc. Two test returns of the staff point nowhere.
    op.execute(
        'DELETE FROM returns r WHERE NOT EXISTS ('
        'SELECT 1 FROM order_items i WHERE i.order_id = r.order_id AND i.line_no = r.line_no)'
    )
    op.create_foreign_key('fk_returns_order_line', 'returns', 'order_items',
                          ['order_id', 'line_no'], ['order_id', 'line_no'])
    op.create_index('ix_returns_order_line', 'returns', ['order_id', 'line_no'])


def downgrade() -> None:
    op.drop_index('ix_returns_order_line', 'returns')
    op.drop_constraint('fk_returns_order_line', 'returns')
