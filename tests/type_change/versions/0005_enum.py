"""An enum becomes text."""
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade():
    op.alter_column("jobs", "status", server_default=None)
    op.alter_column("jobs", "status", type_=sa.String(length=20), postgresql_using="status::text")
    op.alter_column("jobs", "status", server_default="new")
    op.alter_column("users", "code", type_=sa.String(length=20), nullable=True)
