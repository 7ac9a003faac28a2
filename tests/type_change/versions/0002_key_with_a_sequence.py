"""users.id, which two tables reference."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.alter_column("users", "id", existing_type=sa.Integer(), type_=sa.BigInteger())


def downgrade():
    op.alter_column("users", "id", existing_type=sa.BigInteger(), type_=sa.Integer())
