"""posts.id, which its own table references, too; and what references them."""
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.alter_column("posts", "id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.alter_column("posts", "parent_id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.alter_column("posts", "user_id", existing_type=sa.Integer(), type_=sa.BigInteger())
    op.alter_column("likes", "post_id", existing_type=sa.Integer(), type_=sa.BigInteger())


def downgrade():
    op.alter_column("likes", "post_id", type_=sa.Integer())
    op.alter_column("posts", "user_id", type_=sa.Integer())
    op.alter_column("posts", "parent_id", type_=sa.Integer())
    op.alter_column("posts", "id", type_=sa.Integer())
