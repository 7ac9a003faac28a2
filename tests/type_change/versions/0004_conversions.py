"""Conversions of other kinds."""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade():
    with op.batch_alter_table("posts") as batch_op:
        batch_op.alter_column("slug", type_=sa.String(length=30), comment="short")
    op.alter_column("posts", "tags", type_=postgresql.ARRAY(sa.Text()), postgresql_using="string_to_array(tags, ',')")
    op.alter_column("likes", "at", type_=sa.DateTime(timezone=True), postgresql_using="at AT TIME ZONE 'UTC'")
    op.alter_column("clicks", "size", type_=sa.Numeric(12, 4))
    op.alter_column("jobs", "payload", type_=postgresql.JSONB(), postgresql_using="payload::jsonb")
    op.alter_column("jobs", "token", type_=sa.Uuid(), postgresql_using="md5(token)::uuid")
    op.execute("ALTER TABLE jobs ALTER COLUMN attempts TYPE bigint USING attempts + 1")
