"""public order ids

Revision ID: c60f7e3b2a9d
Revises: 3b8d5a1c9e74
Create Date: 2025-03-11 15:59:02.380546

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = 'c60f7e3b2a9d'
down_revision: Union[str, Sequence[str], None] = '3b8d5a1c9e74'
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    # SHOP-512: the number in the URL told competitors how many orders we have.
    op.add_column(
        'orders',
        sa.Column('public_id', sa.UUID(), server_default=sa.text('gen_random_uuid()'), nullable=False),
    )
    op.create_unique_constraint('uq_orders_public_id', 'orders', ['public_id'])


def downgrade() -> None:
    op.drop_constraint('uq_orders_public_id', 'orders', type_='unique')
    op.drop_column('orders', 'public_id')
