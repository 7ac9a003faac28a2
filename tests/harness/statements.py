"""Listening to the statements that a revision sends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from history import History


@dataclass
class Statement:
    """One statement of a running revision."""

    number: int
    sql: str
    #: Whether the statement is its own transaction.
    autocommit: bool
    #: How many transactions had been committed before it.
    commits: int
    #: The connection it is sent on, as psycopg2 knows it.
    connection: Any

    @property
    def brief(self) -> str:
        """The statement in one line."""
        line = " ".join(self.sql.split())
        return line if len(line) <= 100 else line[:97] + "..."


class Listener:
    """Numbers the statements of the running revisions, and calls back before and after each."""

    def __init__(
        self,
        history: History,
        before: Callable[[Statement], None] = lambda _: None,
        after: Callable[[Statement], None] = lambda _: None,
    ) -> None:
        self.statements: list[Statement] = []
        self._history, self._before, self._after = history, before, after
        self._commits = 0

    def __call__(self, engine: sa.engine.Engine) -> None:
        """Attaches the listener, to be given to `History.upgrade(observe=...)`."""
        sa.event.listen(engine, "before_cursor_execute", self._on_before)
        sa.event.listen(engine, "after_cursor_execute", self._on_after)
        sa.event.listen(engine, "commit", self._on_commit)

    def _on_before(self, _connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if self._history.running is None:
            return
        autocommit = bool(cursor.connection.autocommit)
        number = len(self.statements) + 1
        self.statements.append(Statement(number, sql, autocommit, self._commits, cursor.connection))
        self._before(self.statements[-1])

    def _on_after(self, *_: Any) -> None:
        if self._history.running is None:
            return
        if self.statements[-1].autocommit:
            self._commits += 1
        self._after(self.statements[-1])

    def _on_commit(self, _connection: Any) -> None:
        self._commits += 1
