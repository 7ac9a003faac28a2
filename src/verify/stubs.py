"""Stand-ins for modules that a history imports and that are not installed (`--stub-imports`).

A migration imports its application for a constant, a type or a helper that rarely matters to the schema. A stub
module answers every import with an object that can be called, iterated, subclassed and compared.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any


class StubError(Exception):
    """Stands for every exception class of a stub module, so that it can stand in an `except` clause."""


class Stub:
    """An object that takes part in any expression, and is false, empty and different from everything."""

    def __init__(self, *_args: Any, **_keywords: Any) -> None: ...

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        decorated = len(args) == 1 and not keywords and callable(args[0]) and not isinstance(args[0], Stub)
        return args[0] if decorated else Stub()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Stub()

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __getitem__(self, _key: Any) -> Any:
        return Stub()

    def __setitem__(self, _key: Any, _value: Any) -> None: ...

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_exception: Any) -> None: ...

    def __bool__(self) -> bool:
        return False

    def __or__(self, other: Any) -> Any:
        return other if isinstance(other, type) else self

    __ror__ = __or__

    def __str__(self) -> str:
        return "stub"

    def __fspath__(self) -> str:
        return "/nonexistent/stub"

    def __mro_entries__(self, _bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return ()

    def __mod__(self, _other: Any) -> str:
        return "stub"

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __add__

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __lt__(self, _other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __contains__(self, _item: Any) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class StubModule(types.ModuleType):
    """A module in which every name exists."""

    def __getattr__(self, name: str) -> Any:
        qualified = f"{self.__name__}.{name}"
        if qualified in sys.modules:
            return sys.modules[qualified]
        if name.startswith("__") and name.endswith("__"):
            if name == "__version__":
                return "0.0.0"
            raise AttributeError(name)
        return StubError if name.endswith(("Error", "Exception")) else Stub()


class _Loader(importlib.abc.Loader):
    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None: ...


class ReplacingFinder(importlib.abc.MetaPathFinder):
    """Replaces chosen packages with all that is below them, also where they are installed."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if any(fullname == package or fullname.startswith(package + ".") for package in self._packages):
            return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)
        return None


class MissingFinder(importlib.abc.MetaPathFinder):
    """Supplies what cannot be found anywhere else.

    Optional imports of the standard library and of the database libraries must keep failing.
    """

    OPTIONAL = frozenset(
        "sqlalchemy alembic psycopg psycopg2 asyncpg greenlet mako MySQLdb org copy_reg markupsafe tomllib tomli"
        " typing_extensions numpy pywin32 win32 winreg nt msvcrt cdecimal simplejson".split()
    )

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        top = fullname.split(".")[0]
        if top in self.OPTIONAL or top.startswith("_"):
            return None
        return importlib.machinery.ModuleSpec(fullname, _Loader(), is_package=True)


def install(packages: Sequence[str]) -> None:
    """Puts both finders in place; to be called once in a process."""
    if packages:
        sys.meta_path.insert(0, ReplacingFinder(packages))
    sys.meta_path.append(MissingFinder())
