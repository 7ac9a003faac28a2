"""one coupon per code

Revision ID: 8e04d6a2c51b
Revises: 2c9e7d05b8f4
Create Date: 2023-11-29 20:02:11.350698

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "8e04d6a2c51b"
down_revision = "2c9e7d05b8f4"
branch_labels = None
depends_on = None


def upgrade():
    # XMAS10 exists twice, with different discounts. Keep the younger one.
    op.execute(
        """
        UPDATE orders SET coupon_id = newest.id
        FROM coupons AS used
        JOIN (SELECT code, max(id) AS id FROM coupons GROUP BY code) AS newest USING (code)
        WHERE orders.coupon_id = used.id AND used.id <> newest.id
        """
    )
    op.execute("DELETE FROM coupons WHERE id NOT IN (SELECT max(id) FROM coupons GROUP BY code)")
    op.create_unique_constraint(None, "coupons", ["code"])
    op.create_check_constraint("ck_coupons_percent_off", "coupons", "percent_off BETWEEN 1 AND 100")


def downgrade():
    op.drop_constraint("ck_coupons_percent_off", "coupons", type_="check")
    op.drop_constraint("coupons_code_key", "coupons", type_="unique")
