"""review rating check, index by customer

Revision ID: f5a8c2d06e1b
Revises: 0e9b4d7fa582
Create Date: 2025-09-08 09:20:31.574839

"""
from typing import Sequence, Union

from alembic import op
import sqlalchemy as sa


# revision identifiers, used by Alembic.
revision: str = "f5a8c2d06e1b"
down_revision: Union[str, Sequence[str], None] = "0e9b4d7fa582"
branch_labels: Union[str, Sequence[str], None] = None
depends_on: Union[str, Sequence[str], None] = None


def upgrade() -> None:
    # After the outage in July: nothing here holds a strong lock for longer than a moment,
    # and every step can be repeated.
    op.drop_constraint("ck_reviews_rating", "reviews", type_="check", if_exists=True)
    op.create_check_constraint(
        "ck_reviews_rating", "reviews", "rating BETWEEN 1 AND 5", postgresql_not_valid=True
    )

    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE reviews VALIDATE CONSTRAINT ck_reviews_rating")

        # A build that failed leaves an invalid index behind.
        op.drop_index(
            "ix_reviews_customer_id",
            table_name="reviews",
            postgresql_concurrently=True,
            if_exists=True,
        )
        op.create_index(
            "ix_reviews_customer_id", "reviews", ["customer_id"], postgresql_concurrently=True
        )


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index(
            "ix_reviews_customer_id",
            table_name="reviews",
            postgresql_concurrently=True,
            if_exists=True,
        )
    op.drop_constraint("ck_reviews_rating", "reviews", type_="check", if_exists=True)
