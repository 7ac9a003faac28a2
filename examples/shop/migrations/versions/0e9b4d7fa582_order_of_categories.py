"""order of categories

Revision ID: 0e9b4d7fa582
Revises: c60f7e3b2a9d
Create Date: 2025-05-26 12:03:48.916720

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = "0e9b4d7fa582"
down_revision: Union[str, Sequence[str], None] = "c60f7e3b2a9d"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    op.add_column(
        "categories", sa.Column("position", sa.Integer(), server_default="0", nullable=False)
    )
    op.execute(
        """
        UPDATE categories AS c SET position = numbered.position
        FROM (
            SELECT id, row_number() OVER (PARTITION BY parent_id ORDER BY name) AS position
            FROM categories
        ) AS numbered
        WHERE numbered.id = c.id
        """
    )
    # Deferred, because drag and drop swaps two of them in two UPDATEs.
    op.create_unique_constraint(
        "uq_categories_parent_id_position",
        "categories",
        ["parent_id", "position"],
        deferrable=True,
        initially="DEFERRED",
    )


def downgrade() -> None:
    op.drop_constraint("uq_categories_parent_id_position", "categories", type_="unique")
    op.drop_column("categories", "position")
