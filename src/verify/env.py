"""The environment of `safemig verify`, in the place of the project's own."""

import asyncio

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool


def run(connection=None, **options):
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()


async def run_async(url):
    from sqlalchemy.ext.asyncio import create_async_engine

    async with create_async_engine(url, poolclass=NullPool).connect() as connection:
        await connection.run_sync(run)


address = make_url(context.config.get_main_option("sqlalchemy.url"))
if context.is_offline_mode():
    run(url="postgresql://", literal_binds=True, dialect_opts={"paramstyle": "named"})
elif address.drivername.endswith("asyncpg"):
    asyncio.run(run_async(address))
else:
    with create_engine(address, poolclass=NullPool).connect() as connection:
        run(connection)
        # A migration that commits by hand leaves Alembic's own rows in an open transaction.
        if hasattr(connection, "commit") and connection.in_transaction():
            connection.commit()
