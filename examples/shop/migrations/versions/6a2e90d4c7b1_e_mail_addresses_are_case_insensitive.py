"""e-mail addresses are case insensitive

Revision ID: 6a2e90d4c7b1
Revises: d8f35b1e60a7
Create Date: 2023-09-27 10:34:22.760115

"""

import sqlalchemy as sa
from alembic import op

# revision identifiers, used by Alembic.
revision = "6a2e90d4c7b1"
down_revision = "d8f35b1e60a7"
branch_labels = None
depends_on = None


def upgrade():
    # the newsletter import brought Anna@Example.com and anna@example.com
    op.execute("UPDATE customers SET email = lower(email) WHERE email <> lower(email)")
    op.drop_index("ix_customers_email", table_name="customers")
    op.create_index(
        "uq_customers_email_lower", "customers", [sa.text("lower(email)")], unique=True
    )


def downgrade():
    # The capitals are gone for good.
    op.drop_index("uq_customers_email_lower", table_name="customers")
    op.create_index("ix_customers_email", "customers", ["email"], unique=True)
