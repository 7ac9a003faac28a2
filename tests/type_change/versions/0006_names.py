"""Names that have to be quoted, in another schema."""
import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade():
    op.alter_column("Order", "refNo", existing_type=sa.Integer(), type_=sa.BigInteger(), schema="App")
    op.alter_column("Order", "user", existing_type=sa.Integer(), type_=sa.BigInteger(), schema="App")
    with op.batch_alter_table("Order", schema="App") as batch_op:
        batch_op.alter_column("state", type_=sa.String(length=8), existing_nullable=True)


def downgrade():
    op.alter_column("Order", "user", existing_type=sa.BigInteger(), type_=sa.Integer(), schema="App")
    op.alter_column("Order", "refNo", existing_type=sa.BigInteger(), type_=sa.Integer(), schema="App")
