"""staff and who edited what

Revision ID: 96e2b0f4d7c8
Revises: 4af1d8c0e637
Create Date: 2024-11-11 13:27:09.654101

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = "96e2b0f4d7c8"
down_revision: Union[str, Sequence[str], None] = "4af1d8c0e637"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def _add_editor(table: str) -> None:
    """`edited_by_id` on one of the catalogue tables."""
    op.add_column(table, sa.Column("edited_by_id", sa.Integer(), nullable=True))
    op.create_index(f"ix_{table}_edited_by_id", table, ["edited_by_id"])
    op.create_foreign_key(
        f"fk_{table}_edited_by_id",
        table,
        "staff",
        ["edited_by_id"],
        ["id"],
        ondelete="SET NULL",
    )


def upgrade() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(255), nullable=False, unique=True),
        sa.Column("is_admin", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    _add_editor("products")
    _add_editor("categories")
    _add_editor("coupons")


def downgrade() -> None:
    for table in ("coupons", "categories", "products"):
        op.drop_column(table, "edited_by_id")  # takes its index and foreign key along
    op.drop_table("staff")
