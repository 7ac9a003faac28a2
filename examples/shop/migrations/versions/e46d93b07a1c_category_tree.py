"""category tree

Revision ID: e46d93b07a1c
Revises: 17b8e2c6a4f0
Create Date: 2023-04-18 11:55:31.902648

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "e46d93b07a1c"
down_revision = "17b8e2c6a4f0"
branch_labels = None
depends_on = None


def upgrade():
    # Shelves inside shelves: "Kitchen > Knives". The top shelves have no parent.
    op.add_column("categories", sa.Column("parent_id", sa.Integer(), nullable=True))
    op.create_foreign_key(
        "fk_categories_parent_id",
        "categories",
        "categories",
        ["parent_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.create_index("ix_categories_parent_id", "categories", ["parent_id"])  # the menu walks down


def downgrade():
    op.drop_index("ix_categories_parent_id", table_name="categories")
    op.drop_constraint("fk_categories_parent_id", "categories", type_="foreignkey")
    op.drop_column("categories", "parent_id")
