"""The `env.py` of real histories whose applications are not installed.

Beside the usual settings, `alembic.ini` has `source`, the directory that the application's package is in, and
`environment`, the name of a file in `packages/` that says what the history needs from its application:

- `STUB`: packages that are stubs although their files are there;
- `REAL`: modules below these that are imported all the same;
- `SKIP`: revisions that do nothing: data migrations that need their application;
- `prepare(source)`: supplies what matters to the schema, and answers with arguments for `context.configure()`.

All of them may be left out. Modules that are nowhere are stubs by `safemig verify --stub-imports`.
"""

import importlib.util
import sys
from pathlib import Path

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

HERE = Path(__file__).parent


def load(name, path):
    """Imports a file, once in a process."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


option = context.config.get_main_option
stand_ins = load("stand_ins", HERE / "stand_ins.py")
needs = load("needs", HERE / "packages" / f"{option('environment')}.py")
configure = stand_ins.install(needs, Path(option("source")))

with create_engine(option("sqlalchemy.url"), poolclass=NullPool).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True, **configure)
    with context.begin_transaction():
        context.run_migrations()
    # A migration that commits by hand leaves Alembic's own rows in an open transaction.
    if hasattr(connection, "commit") and connection.in_transaction():
        connection.commit()
