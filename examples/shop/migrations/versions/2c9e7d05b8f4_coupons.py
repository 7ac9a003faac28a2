"""coupons

Revision ID: 2c9e7d05b8f4
Revises: f10b6c8d3e95
Create Date: 2023-11-20 15:41:37.028350

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "2c9e7d05b8f4"
down_revision = "f10b6c8d3e95"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "coupons",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("percent_off", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
    )
    op.add_column(
        "orders",
        sa.Column("coupon_id", sa.Integer(), sa.ForeignKey("coupons.id"), nullable=True),
    )


def downgrade():
    op.drop_column("orders", "coupon_id")
    op.drop_table("coupons")
