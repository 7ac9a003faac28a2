"""What the preludes of `preludes/` are made of.

A prelude supplies what a history needs from its application. It is a module with a function
`prepare(source: Path) -> dict`, called before the revisions are loaded; `source` is the package's directory, and
the answer are additional arguments for Alembic's `context.configure()`.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa


class TextType(sa.types.TypeDecorator):
    """Stands for an application's own column type that is stored as text."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, *_args: Any, **_keywords: Any) -> None:
        super().__init__()


def set_attributes(module: str, **attributes: Any) -> Any:
    """Imports a module, most often a stub, and gives it attributes."""
    imported = importlib.import_module(module)
    for name, value in attributes.items():
        setattr(imported, name, value)
    return imported


def literals(path: Path) -> dict[str, Any]:
    """The literal values which a source file assigns to names at its top level, without running it."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found.setdefault(node.targets[0].id, ast.literal_eval(node.value))
            except ValueError:
                continue
    return found
