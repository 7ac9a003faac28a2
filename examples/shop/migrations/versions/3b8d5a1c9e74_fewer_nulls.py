"""fewer nulls

Revision ID: 3b8d5a1c9e74
Revises: 96e2b0f4d7c8
Create Date: 2025-01-20 10:11:38.127983

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = "3b8d5a1c9e74"
down_revision: Union[str, Sequence[str], None] = "96e2b0f4d7c8"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    op.execute("UPDATE products SET description = '' WHERE description IS NULL")
    op.alter_column("products", "description", nullable=False, server_default="")

    # Everybody before the EU launch was in Austria.
    op.execute("UPDATE addresses SET country = 'AT' WHERE country IS NULL")
    op.alter_column("addresses", "country", existing_type=sa.String(length=2), nullable=False)

    op.execute("UPDATE addresses SET postcode = '' WHERE postcode IS NULL")
    op.alter_column(
        "addresses",
        "postcode",
        existing_type=sa.String(length=16),
        type_=sa.String(length=20),  # people type spaces, and the country
        nullable=False,
    )


def downgrade() -> None:
    op.alter_column(
        "addresses",
        "postcode",
        existing_type=sa.String(length=20),
        type_=sa.String(length=16),
        nullable=True,
    )
    op.alter_column("addresses", "country", existing_type=sa.String(length=2), nullable=True)
    op.alter_column("products", "description", nullable=True, server_default=None)
