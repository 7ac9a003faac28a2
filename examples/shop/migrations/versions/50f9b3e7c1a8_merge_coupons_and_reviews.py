"""merge coupons and reviews

Revision ID: 50f9b3e7c1a8
Revises: 8e04d6a2c51b, b73a1f4e9d60
Create Date: 2023-12-01 08:31:46.602217

"""
from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision = '50f9b3e7c1a8'
down_revision = ('8e04d6a2c51b', 'b73a1f4e9d60')
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
