"""Runs Alembic for `safemig verify`, in the project's own Python.

Commands come as JSON, a line each, on standard input, and are answered on what was standard output: migrations that
print do so to standard error. While a command runs, every statement of a migration is told before and after it, and
waits for the word to go on.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
import warnings
from collections import UserList
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple
from urllib.parse import quote

os.environ["SQLALCHEMY_SILENCE_UBER_WARNING"] = "1"  # read on import

import alembic
import sqlalchemy
import sqlalchemy.dialects.postgresql  # applications import these, and so migrations do without
import sqlalchemy.orm
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.pool import Pool

import safemig_stubs

#: In the order in which they are preferred, if the project's environment has several.
DRIVERS = ("psycopg2", "psycopg", "asyncpg")


class Interrupted(BaseException):
    """Ends a migration; no `except Exception` of it can catch this."""


class Refused(Exception):
    """What cannot be run safely."""


class Channel:
    """The lines from and to safemig."""

    def __init__(self) -> None:
        self._in = os.fdopen(os.dup(0), encoding="utf-8")
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)

    def receive(self) -> Any:
        """The next message; the end of safemig is the end of the program."""
        line = self._in.readline()
        if not line:
            sys.exit(0)
        return json.loads(line)

    def send(self, **message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()


class Connections:
    """Every PostgreSQL connection of the process: each leads to the scratch database, whatever was asked for."""

    def __init__(self, probe: str) -> None:
        self.database: Dict[str, str] = {}
        self.watched = False
        self._probe = probe
        self._records: List[Any] = []
        self._pids: Dict[int, int] = {}
        self._notices: Dict[int, Any] = {}
        event.listen(Engine, "do_connect", self._redirect)
        event.listen(Pool, "connect", self._connected)

    def url(self, driver: str) -> str:
        """The scratch database's address for SQLAlchemy."""
        given = {name: quote(value, safe="") for name, value in self.database.items()}
        password = ":" + given["password"] if "password" in given else ""
        options = "&".join(f"{name}={given[name]}" for name in ("host", "port") if name in given)
        return f"postgresql+{driver}://{given['user']}{password}@/{given['database']}?{options}"

    def _redirect(self, dialect: Any, _record: Any, arguments: List[Any], parameters: Dict[str, Any]) -> None:
        if dialect.name != "postgresql":
            raise Refused(f"a connection to {dialect.name} was asked for; only PostgreSQL can be verified")
        new_arguments, new_parameters = dialect.create_connect_args(make_url(self.url(dialect.driver)))
        arguments[:] = new_arguments
        parameters.clear()
        parameters.update(new_parameters)

    def _connected(self, connection: Any, record: Any) -> None:
        self._records.append(record)
        cursor = connection.cursor()
        cursor.execute("SELECT pg_backend_pid()")
        self._pids[id(connection)] = cursor.fetchone()[0]
        cursor.execute("SET lock_timeout = '60s'")  # a migration that locks itself out must end
        if self.watched:
            cursor.execute("SET client_min_messages = debug1")
            cursor.execute("SET enable_seqscan = off")  # then a sequential scan is one that no index could save
            self._notices[id(connection)] = _listen(connection)
        cursor.close()
        connection.commit()

    def pid(self, connection: Any) -> int:
        return self._pids[id(connection)]

    def notices(self, connection: Any) -> List[str]:
        """What the server said since the last call."""
        said = self._notices[id(connection)]
        messages = [re.sub(r"^[A-Z0-9]+:\s+", "", str(message)).rstrip("\n") for message in said]
        del said[:]
        return messages

    def state(self, connection: Any) -> str:
        """The answer to safemig's own query."""
        cursor = connection.cursor()
        cursor.execute(self._probe)
        answer = cursor.fetchone()[0]
        cursor.close()
        return str(answer)

    def close(self) -> None:
        """Closes everything, so that no pool leads to an earlier database."""
        sqlalchemy.orm.session.close_all_sessions()  # an application's own goes on to use its closed connection
        for record in self._records:
            try:
                record.invalidate()
            except Exception:  # it is closed already, or its server process was terminated
                continue
        self._records.clear()
        self._pids.clear()
        self._notices.clear()


def _listen(connection: Any) -> Any:
    """A list that the server's messages to a connection are added to."""
    messages: Any = UserList()
    if hasattr(connection, "add_notice_handler"):  # psycopg
        connection.add_notice_handler(lambda notice: messages.append(notice.message_primary))
    elif hasattr(connection, "notices"):  # psycopg2 forgets all but the last 50 of a plain list
        connection.notices = messages
    elif hasattr(getattr(connection, "_connection", None), "add_log_listener"):  # asyncpg below SQLAlchemy
        connection._connection.add_log_listener(lambda _connection, message: messages.append(message.message))
    return messages


def _driver_connection(connection: Any) -> Any:
    """What the driver calls a connection, below one of SQLAlchemy's."""
    pooled = connection.connection
    return getattr(pooled, "dbapi_connection", None) or pooled.connection  # its name before SQLAlchemy 1.4.24


class Watcher:
    """Tells safemig of every statement that a migration sends."""

    def __init__(self, channel: Channel, connections: Connections) -> None:
        self._channel, self._connections = channel, connections
        self._active = False
        self._transaction = 0
        self._started = 0.0
        #: The revision that runs now; what Alembic does for itself belongs to none.
        self.revision: Optional[str] = None
        event.listen(Engine, "before_cursor_execute", self._before)
        event.listen(Engine, "after_cursor_execute", self._after)
        event.listen(Engine, "commit", self._commit)

    def start(self, active: bool) -> None:
        self._active, self._transaction = active, 0

    def _before(self, sender: Any, _cursor: Any, sql: str, parameters: Any, *_: Any) -> None:
        if self._active and self.revision is not None:
            connection = _driver_connection(sender)
            self._tell(
                event="before",
                revision=self.revision,
                sql=sql,
                parameters=str(parameters) if parameters else None,
                autocommit=bool(connection.autocommit),
                pid=self._connections.pid(connection),
                transaction=self._transaction,
            )
            self._started = time.monotonic()

    def _after(self, sender: Any, *_: Any) -> None:
        if self._active and self.revision is not None:
            connection = _driver_connection(sender)
            ended = time.monotonic()
            traced: Dict[str, Any] = {}
            if self._connections.watched:
                traced["state"] = self._connections.state(connection)
                traced["notices"] = self._connections.notices(connection)
            self._tell(event="after", started=self._started, ended=ended, **traced)

    def _commit(self, _connection: Any) -> None:
        if self._active:
            self._transaction += 1
            self._channel.send(event="commit", time=time.monotonic())

    def _tell(self, **message: Any) -> None:
        self._channel.send(**message)
        if self._channel.receive() != "go":
            raise Interrupted


class History:
    """One history, and the ways to run it."""

    def __init__(self, setup: Dict[str, Any], connections: Connections, watcher: Watcher) -> None:
        self._connections, self._watcher = connections, watcher
        self._driver = next((name for name in DRIVERS if _importable(name)), None)
        if self._driver is None and not setup["use_env"]:
            raise Refused(f"none of {', '.join(DRIVERS)} is installed, and a history needs one to reach PostgreSQL")
        self._modules: Dict[str, str] = setup["modules"]
        self._config = Config(setup["config"], ini_section=setup["section"])
        options = {
            "script_location": setup["script_location"],
            "version_locations": os.pathsep.join(setup["version_locations"]),
            "recursive_version_locations": "true" if setup["recursive"] else "false",
            "path_separator": "os",
            "version_path_separator": "os",  # its name before Alembic 1.16
        }
        for name, value in options.items():
            self._set(name, value)
        self._script = ScriptDirectory.from_config(self._config)
        #: Whether env.py asks Flask for the application, and has none yet.
        self._lacks_application = setup["use_env"] and _asks_flask(os.path.join(setup["script_location"], "env.py"))
        if not setup["use_env"]:  # which may have to run before the revisions are imported
            self._script.get_heads()
            self._check_modules()

    def _check_modules(self) -> None:
        """Refuses a module that is not the one of this history."""
        for name, path in self._modules.items():
            module = sys.modules.get(name)
            found = getattr(module, "__file__", None) or "nowhere: it is replaced"
            if module is not None and os.path.realpath(found) != os.path.realpath(path):
                raise Refused(f"the rewrite changes `{name}` in {path}, but it is imported from {found}")

    def _set(self, name: str, value: str) -> None:
        self._config.set_main_option(name, value.replace("%", "%%"))

    def upgrade(self, target: str) -> None:
        """`alembic upgrade TARGET`."""
        self._run(lambda heads, _context: self._script._upgrade_revs(target, heads))

    def downgrade(self, revisions: Sequence[str]) -> None:
        """Takes back these revisions, in this order, so far as they are applied."""

        def steps(heads: Tuple[str, ...], _context: Any) -> List[Any]:
            applied = {script.revision for script in self._script.iterate_revisions(heads, "base")} if heads else set()
            return [
                MigrationStep.downgrade_from_script(self._script.revision_map, self._script.get_revision(revision))
                for revision in revisions
                if revision in applied
            ]

        self._run(steps)

    def offline(self, target: str, output: str) -> None:
        """`alembic upgrade TARGET --sql`, from an empty database into a file."""
        with open(output, "w", encoding="utf-8") as buffer:
            self._config.output_buffer = buffer
            self._run(lambda heads, _context: self._script._upgrade_revs(target, heads), as_sql=True)

    def _run(self, steps: Callable[[Any, Any], Any], **options: Any) -> None:
        def noted(heads: Any, context: Any) -> Iterator[Any]:
            for step in steps(heads, context):
                self._watcher.revision = step.revision.revision
                yield step
            self._watcher.revision = None

        self._set("sqlalchemy.url", self._connections.url(self._driver or DRIVERS[0]))
        try:
            if self._lacks_application:
                _enter_application()
                self._lacks_application = False
            with EnvironmentContext(self._config, self._script, fn=noted, **options):
                self._script.run_env()
            self._check_modules()
        finally:
            self._watcher.revision = None
            self._connections.close()


def _asks_flask(env_py: str) -> bool:
    with open(env_py, "rb") as file:
        text = file.read()
    return re.search(rb"^\s*(from|import) flask\b", text, re.MULTILINE) is not None and b"current_app" in text


def _enter_application() -> None:
    """Goes where `flask db` runs env.py: into the context of the application that `FLASK_APP` names, or that is found."""
    from flask.cli import ScriptInfo, load_dotenv

    load_dotenv()
    ScriptInfo().load_app().app_context().push()


def _importable(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def _described(error: BaseException) -> str:
    """An error in one line."""
    text = str(error).split("(Background on this error")[0]
    return f"{type(error).__name__}: {' '.join(text.split())}".rstrip(": ")[:600]


def _place(error: BaseException, locations: Sequence[str]) -> Optional[str]:
    """Where in the revisions something was raised, as `path:line`."""
    found, frame = None, error.__traceback__
    while frame is not None:
        path = os.path.abspath(frame.tb_frame.f_code.co_filename)
        if any(path.startswith(location + os.sep) for location in locations):
            found = f"{path}:{frame.tb_lineno}"
        frame = frame.tb_next
    return found


def main() -> None:
    channel = Channel()
    setup = channel.receive()

    def done(error: Optional[BaseException], **more: Any) -> None:
        described = _described(error) if error is not None else None
        place = _place(error, setup["version_locations"]) if error is not None else None
        channel.send(done=True, error=described, place=place, **more)

    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    sys.path[:0] = setup["sys_path"]
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL + 1)  # it reports every terminated connection
    if setup["stub_imports"] is not None:
        safemig_stubs.install(setup["stub_imports"])
    connections = Connections(setup["probe"])
    watcher = Watcher(channel, connections)
    try:
        history = History(setup, connections, watcher)
    except Exception as error:
        done(error)
        return
    if setup["workplace"] is not None:
        sys.path[:] = [os.path.abspath(entry) for entry in sys.path]
        os.chdir(setup["workplace"])
    versions = {"alembic": alembic.__version__, "sqlalchemy": sqlalchemy.__version__}
    done(None, versions=versions)
    while True:
        command = channel.receive()
        connections.database = database = command["database"]
        for name in ("sslmode", "sslrootcert"):
            if name in database:  # libpq reads it here, and so does asyncpg
                os.environ["PG" + name.upper()] = database[name]
        connections.watched = command["trace"]
        watcher.start(command["watch"])
        raised: Optional[BaseException] = None
        try:
            getattr(history, command["run"])(*command["arguments"])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a migration may raise anything, SystemExit too
            raised = error
        watcher.start(False)
        done(raised)


if __name__ == "__main__":
    main()
