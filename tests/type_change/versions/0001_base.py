"""Tables whose columns get other types."""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade():
    op.execute("DO $$ BEGIN CREATE ROLE safemig_reader; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    op.create_table(
        "users",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("email", sa.String(length=100), nullable=False),
        sa.Column("tenant", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("code", sa.Integer(), comment="it's a code"),
        sa.CheckConstraint("id > 0", name="ck_users_id_pos"),
    )
    op.create_index("uq_users_tenant_id", "users", ["tenant", "id"], unique=True)
    op.create_index("ix_users_id_part", "users", [sa.text("id DESC")], postgresql_where=sa.text("id > 1000"))
    op.create_table(
        "posts",
        sa.Column("id", sa.Integer(), sa.Identity(), primary_key=True),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("parent_id", sa.Integer()),
        sa.Column("slug", sa.String(length=40)),
        sa.Column("tags", sa.String(length=40)),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="posts_user_id_fkey", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["parent_id"], ["posts.id"], name="posts_parent_id_fkey", deferrable=True),
        sa.UniqueConstraint("slug", name="uq_posts_slug", deferrable=True, initially="DEFERRED"),
    )
    op.create_index("ix_posts_user_id", "posts", ["user_id"])
    op.create_table(
        "likes",
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("users.id"), primary_key=True),
        sa.Column("post_id", sa.Integer(), sa.ForeignKey("posts.id"), primary_key=True),
        sa.Column("at", sa.DateTime(), nullable=False, server_default=sa.func.now()),
    )
    op.create_table("clicks", sa.Column("url", sa.Text()), sa.Column("size", sa.Numeric(10, 2)))
    op.create_index("ix_clicks_size", "clicks", ["size"], postgresql_include=["url"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("status", sa.Enum("new", "done", name="job_status"), nullable=False, server_default="new"),
        sa.Column("payload", postgresql.JSON()),
        sa.Column("token", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
    )
    op.execute('CREATE SCHEMA "App"')
    op.create_table(
        "Order",
        sa.Column("refNo", sa.Integer(), primary_key=True),
        sa.Column("state", sa.String(length=10), server_default="new", index=True),
        sa.Column("user", sa.Integer(), sa.ForeignKey("users.id", name="Order user"), unique=True),
        sa.CheckConstraint("state <> 'refNo'", name="Not refNo"),
        schema="App",
    )
    op.create_index("Order state", "Order", [sa.text("lower(state)")], postgresql_where=sa.text("state <> 'state'"), schema="App", unique=True)
    op.create_table(
        "parts",
        sa.Column("shop", sa.Integer(), primary_key=True),
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("parent", sa.Integer()),
        sa.Column("state", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("serial", sa.Integer(), sa.Identity(start=7), nullable=False),
        sa.Column("name", sa.String(length=20), nullable=False, server_default="x", comment="short"),
        sa.Column("note", sa.String(length=30)),
        sa.Column("gone", sa.DateTime()),
        sa.ForeignKeyConstraint(["shop", "parent"], ["parts.shop", "parts.id"], name="fk_parts_parent"),
        sa.UniqueConstraint("shop", "name", name="uq_parts_name"),
        sa.CheckConstraint("id > 0 AND shop IN (1, 2, 3) OR parent IS NULL OR id <> 0", name="ck_parts"),
    )
    # Where an expression has other casts for the new type than for the old one.
    op.create_index("ix_parts_open", "parts", ["id"], postgresql_where=sa.text("state IN (1, 2) AND gone IS NULL"))
    op.create_index("ix_parts_name", "parts", [sa.text("lower(name)"), "shop"], postgresql_where=sa.text("name IN ('a', 'b')"))
    op.create_index("ix_parts_note", "parts", [sa.text("coalesce(note, 'x')"), sa.text("state DESC")])
    op.create_table(
        "uses",
        sa.Column("shop", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["shop", "part"], ["parts.shop", "parts.id"], name="fk_uses_part", ondelete="CASCADE"),
    )
    op.execute("ALTER TABLE parts CLUSTER ON ix_parts_note")
    op.execute("COMMENT ON COLUMN users.id IS 'the user''s key'")
    op.execute("COMMENT ON INDEX uq_users_tenant_id IS 'tenant scoped'")
    op.execute("COMMENT ON CONSTRAINT ck_users_id_pos ON users IS 'positive'")
    op.execute("COMMENT ON CONSTRAINT posts_user_id_fkey ON posts IS 'of a user'")
    op.execute("GRANT SELECT (id), UPDATE (id) ON users TO safemig_reader")
    op.execute("GRANT USAGE ON SEQUENCE posts_id_seq TO safemig_reader")
    op.execute("ALTER TABLE users ALTER COLUMN id SET STATISTICS 500")
    op.execute("ALTER TABLE users ALTER COLUMN id SET (n_distinct = -1)")


def downgrade():
    op.drop_table("Order", schema="App")
    op.execute('DROP SCHEMA "App"')
    for table in ["uses", "parts", "jobs", "clicks", "likes", "posts", "users"]:
        op.drop_table(table)
    op.execute("DROP TYPE job_status")
