"""A directory of Alembic revisions that is run without its project's `env.py`.

Real Alembic runs them (`EnvironmentContext`, as its commands do), through an `env.py` of ours which takes
everything from the configuration's attributes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import sys
import tempfile
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["SQLALCHEMY_SILENCE_UBER_WARNING"] = "1"  # read on import

import alembic
import sqlalchemy as sa
import sqlalchemy.dialects.mysql
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite
import sqlalchemy.ext.declarative
import sqlalchemy.orm
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import ScriptDirectory
from alembic.script import base as script_base
from sqlalchemy.pool import NullPool

import stubs
from corpus import source_name

HERE = Path(__file__).resolve().parent

ENV_PY = """
from alembic import context

context.configure(**context.config.attributes["configure"])
with context.begin_transaction():
    context.run_migrations()
"""


#: From the heads of a database to the steps that shall be run on it.
Steps = Callable[[tuple[str, ...]], Iterable[Any]]

#: Some migrations iterate over sets: this makes their order the same in every run.
HASH_ORDER = {"PYTHONHASHSEED": "0"}


def settle_hash_order() -> None:
    """Runs the program again with a fixed order of sets, unless it has one already."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **HASH_ORDER})


@dataclass
class Project:
    """Where a history is and what it needs."""

    versions: list[Path]
    source: list[Path] = field(default_factory=list)
    stub: list[str] = field(default_factory=list)
    real: list[str] = field(default_factory=list)
    skip: list[str] = field(default_factory=list)
    prelude: str | None = None
    recursive: bool = False

    @staticmethod
    def of_package(name: str, corpus: Path) -> Project:
        """A package of `packages.json`, extracted below `corpus`."""
        entry = json.loads((HERE / "packages.json").read_text())[name]
        source = corpus / source_name(entry["pin"])
        versions = [source / versions for versions in entry["versions"]]
        return Project(versions=versions, source=[source], **entry["replay"])


def add_project_options(parser: ArgumentParser) -> None:
    """The options that `project_from_options` reads."""
    parser.add_argument("versions", nargs="*", type=Path, help="directories of revisions")
    parser.add_argument("--package", help="a name in packages.json: supplies what the history needs")
    parser.add_argument("--corpus", type=Path, default=default_corpus(), help="where the packages are extracted")


def default_corpus() -> Path:
    """Where `scripts/test.sh` extracts the packages."""
    return Path(os.environ.get("SAFEMIG_TEST_CORPUS", HERE.parents[1] / "target/test-env/corpus"))


def project_from_options(options: Namespace) -> Project:
    """The project that a command line names."""
    versions = [path.resolve() for path in options.versions]
    if options.package is None:
        return Project(versions=versions)
    project = Project.of_package(options.package, options.corpus.resolve())
    if versions:
        project.versions = versions
    return project


class History:
    """The revisions of a project, loaded once in a process."""

    def __init__(self, project: Project, *, transaction_per_migration: bool = True) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="safemig-history-")
        scripts = Path(self._scratch.name) / "scripts"
        scripts.mkdir()
        (scripts / "env.py").write_text(ENV_PY)
        workplace = Path(self._scratch.name) / "cwd"
        workplace.mkdir()
        os.chdir(workplace)  # some migrations write files
        sys.dont_write_bytecode = True
        warnings.simplefilter("ignore")

        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
        sys.path[:0] = [str(path) for path in project.source]
        stubs.install(project.stub, project.real)
        self._configure: dict[str, Any] = {"transaction_per_migration": transaction_per_migration}
        if project.prelude:
            self._configure.update(_run_prelude(project.prelude, project.source[0]))

        self._config = Config(stdout=io.StringIO())
        self._config.set_main_option("script_location", str(scripts))
        self._config.set_main_option("path_separator", "os")
        self._config.set_main_option("version_path_separator", "os")
        self._config.set_main_option("version_locations", os.pathsep.join(map(str, project.versions)))
        if project.recursive:
            self._config.set_main_option("recursive_version_locations", "true")
        with _skipping(project.skip):
            self.script = ScriptDirectory.from_config(self._config)
            self.revisions: list[Any] = list(reversed(list(self.script.walk_revisions())))

        if not self.revisions:
            raise SystemExit(f"no revisions in {', '.join(map(str, project.versions))}")

        #: The revision that runs now, and in which direction: for those who listen to the statements.
        self.running: Any = None

    @property
    def versions(self) -> dict[str, str]:
        """Which libraries the history runs on."""
        return {"sqlalchemy": sa.__version__, "alembic": alembic.__version__}

    def upgrade(self, url: Any, target: str, **keywords: Any) -> None:
        """`alembic upgrade TARGET`."""
        self._run(url, lambda heads: self.script._upgrade_revs(target, heads), **keywords)

    def downgrade(self, url: Any, revisions: Sequence[str], **keywords: Any) -> None:
        """Takes back these revisions, in this order, so far as they are applied."""

        def steps(heads: tuple[str, ...]) -> list[Any]:
            applied = {script.revision for script in self.script.iterate_revisions(heads, "base")} if heads else set()
            return [
                MigrationStep.downgrade_from_script(self.script.revision_map, self.script.get_revision(revision))
                for revision in revisions
                if revision in applied
            ]

        self._run(url, steps, **keywords)

    def span(self, revision: str, until: Sequence[str]) -> list[str]:
        """A revision and its ancestors that are younger than the revisions in `until`, youngest first."""
        span = [revision]
        for parent in self.script.get_revision(revision)._versioned_down_revisions:
            if parent not in until:
                span += [ancestor for ancestor in self.span(parent, until) if ancestor not in span]
        return span

    def offline(self, target: str) -> str:
        """`alembic upgrade TARGET --sql`, from an empty database."""
        output = io.StringIO()
        configure = {
            "url": "postgresql://",
            "literal_binds": True,
            "dialect_opts": {"paramstyle": "named"},
            "output_buffer": output,
        }
        self._run_env(lambda heads: self.script._upgrade_revs(target, heads), configure, as_sql=True)
        return output.getvalue()

    def _run(
        self,
        url: Any,
        steps: Steps,
        *,
        observe: Callable[[sa.engine.Engine], None] | None = None,
    ) -> None:
        self._config.set_main_option("sqlalchemy.url", str(url).replace("%", "%%"))
        engine = sa.create_engine(url, poolclass=NullPool)
        if engine.dialect.name == "postgresql":
            sa.event.listen(engine, "connect", _set_timeouts)
        if observe:
            observe(engine)
        with engine.connect() as connection:
            self._run_env(steps, {"connection": connection})
            # A migration that commits by hand leaves Alembic's own rows in an open transaction.
            if hasattr(connection, "commit") and connection.in_transaction():
                connection.commit()

    def _run_env(self, steps: Steps, configure: dict[str, Any], **options: Any) -> None:
        def noted(heads: Any, _context: Any) -> Iterator[Any]:
            for step in steps(heads):
                self.running = step
                yield step
            self.running = None  # what Alembic does afterwards belongs to no revision

        self._config.attributes["configure"] = {**self._configure, **configure}
        try:
            with EnvironmentContext(self._config, self.script, fn=noted, **options):
                self.script.run_env()
        finally:
            self.running = None


def _set_timeouts(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SET lock_timeout = '20s'")
    cursor.execute("SET statement_timeout = '120s'")
    cursor.close()
    connection.commit()


def _run_prelude(name: str, source: Path) -> dict[str, Any]:
    path = HERE / "preludes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"prelude_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(HERE))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(HERE))
    return module.prepare(source)


@contextlib.contextmanager
def _skipping(revisions: Sequence[str]) -> Iterator[None]:
    """Makes some revisions do nothing: data migrations that need their application."""
    original = script_base.Script.__init__

    def init(self: Any, module: Any, rev_id: str, *args: Any, **keywords: Any) -> None:
        if rev_id in revisions:
            module.upgrade = module.downgrade = lambda: None
        original(self, module, rev_id, *args, **keywords)

    script_base.Script.__init__ = init
    try:
        yield
    finally:
        script_base.Script.__init__ = original
