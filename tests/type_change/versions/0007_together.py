"""Several columns of one table: two of its key, two with an identity, others with expressions on them."""
import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade():
    op.alter_column("parts", "id", type_=sa.BigInteger(), existing_nullable=False)
    op.alter_column("parts", "shop", type_=sa.BigInteger(), existing_nullable=False)
    op.alter_column("parts", "parent", type_=sa.BigInteger())
    op.alter_column("parts", "state", type_=sa.BigInteger(), comment="1 or 2")
    op.alter_column("parts", "serial", type_=sa.SmallInteger())
    op.alter_column("parts", "name", type_=sa.String(length=15))
    op.execute("ALTER TABLE parts ALTER note TYPE varchar(12), ALTER gone TYPE timestamptz USING gone AT TIME ZONE 'Europe/Berlin'")


def downgrade():
    with op.batch_alter_table("parts") as batch_op:
        batch_op.alter_column("gone", type_=sa.DateTime(), postgresql_using="gone AT TIME ZONE 'Europe/Berlin'")
        batch_op.alter_column("serial", type_=sa.Integer())
        batch_op.alter_column("state", type_=sa.Integer(), comment=None)
        batch_op.alter_column("parent", type_=sa.Integer())
        batch_op.alter_column("shop", type_=sa.Integer())
        batch_op.alter_column("id", type_=sa.Integer())
