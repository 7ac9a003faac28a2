"""The PostgreSQL server that a test works on: databases are made, cloned and dropped here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import make_url

import catalog

#: Where `cluster.py` says which server to use.
VARIABLE = "SAFEMIG_TEST_SERVER"


class Server:
    """A server, named by the URL of its database `postgres`."""

    def __init__(self, url: str | None = None) -> None:
        text = url or os.environ.get(VARIABLE)
        if not text:
            raise SystemExit(
                f"no PostgreSQL server given: use --server, or run under cluster.py, which sets {VARIABLE}"
            )
        self._url = make_url(text).set(drivername="postgresql+psycopg2")
        self._administration = self.connect().cursor()

    def url(self, database: str) -> sa.engine.URL:
        """SQLAlchemy's URL of a database."""
        return self._url.set(database=database)

    def connect(self, database: str = "postgres") -> Any:
        """A psycopg2 connection outside of SQLAlchemy, in autocommit mode."""
        keywords = {"host": self._url.query.get("host") or self._url.host, "port": self._url.port}
        connection = psycopg2.connect(
            dbname=database,
            user=self._url.username or "postgres",
            password=self._url.password,
            options="-c lock_timeout=20s -c statement_timeout=120s",  # a test that waits for ever says nothing
            **{key: value for key, value in keywords.items() if value is not None},
        )
        connection.autocommit = True
        return connection

    def run(self, script: str, database: str) -> None:
        """Runs SQL on a connection of its own."""
        connection = self.connect(database)
        try:
            connection.cursor().execute(script)
        finally:
            connection.close()

    def create(self, database: str, template: str = "template0") -> None:
        """Creates a database, empty or as a copy of another, which must have no connections."""
        self._administration.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')

    def drop(self, database: str) -> None:
        """Drops a database with its connections; it need not exist."""
        self._administration.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    @contextmanager
    def scratch(self, database: str, template: str = "template0") -> Iterator[str]:
        """A database that is dropped afterwards."""
        self.create(database, template)
        try:
            yield database
        finally:
            self.drop(database)

    def snapshot(self, database: str, *, contents: bool = False) -> catalog.Snapshot:
        """The catalog of a database, see `catalog.snapshot`."""
        connection = self.connect(database)
        try:
            return catalog.snapshot(connection.cursor(), contents=contents)
        finally:
            connection.close()
