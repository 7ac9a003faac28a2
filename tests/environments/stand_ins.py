"""Stand-ins for an application, and what the files of `packages/` make more of them with."""

import ast
import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys

import safemig_stubs  # by `safemig verify`, which runs this
import sqlalchemy as sa
from alembic.script.base import Script



class TextType(sa.types.TypeDecorator):
    """Stands for an application's own column type that is stored as text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, *_args, **_keywords):
        super().__init__()


def set_attributes(module, **attributes):
    """Imports a module, most often a stub, and gives it attributes."""
    imported = importlib.import_module(module)
    for name, value in attributes.items():
        setattr(imported, name, value)
    return imported


def literals(path):
    """The literal values which a source file assigns to names at its top level, without running it."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found.setdefault(node.targets[0].id, ast.literal_eval(node.value))
            except ValueError:
                continue
    return found


@functools.cache  # once in a process, however many times `env.py` runs
def install(needs, source):
    """Puts in place what a history needs; the answer is for `context.configure()`."""
    sys.path.insert(0, str(source))
    sys.meta_path.insert(0, ReplacingFinder(getattr(needs, "STUB", ()), getattr(needs, "REAL", ())))
    skip(getattr(needs, "SKIP", ()))
    return needs.prepare(source) if hasattr(needs, "prepare") else {}


class ReplacingFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Replaces packages by stubs, except the modules named in `real`, which are still found below them."""

    def __init__(self, stubbed, real):
        self._stubbed, self._real = stubbed, real

    def find_spec(self, fullname, path=None, target=None):
        if below(fullname, self._real) or not below(fullname, self._stubbed):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        entries = sys.path if path is None else path
        directories = (os.path.join(entry, fullname.rpartition(".")[2]) for entry in entries)
        spec.submodule_search_locations.extend(filter(os.path.isdir, directories))
        return spec

    def create_module(self, spec):
        return Replaced(spec.name, self._real)

    def exec_module(self, module):
        pass


class Replaced(safemig_stubs.StubModule):
    """A stub that imports what is real below it."""

    def __init__(self, name, real):
        super().__init__(name)
        self._real = real

    def __getattr__(self, name):
        qualified = f"{self.__name__}.{name}"
        if any(below(module, [qualified]) for module in self._real):
            return importlib.import_module(qualified)
        return super().__getattr__(name)


def below(module, packages):
    return any(module == package or module.startswith(package + ".") for package in packages)


def skip(revisions):
    """Makes revisions do nothing: Alembic loads them after this."""
    original = Script.__init__

    def init(self, module, rev_id, *args, **keywords):
        if rev_id in revisions:
            module.upgrade = module.downgrade = lambda: None
        original(self, module, rev_id, *args, **keywords)

    Script.__init__ = init
