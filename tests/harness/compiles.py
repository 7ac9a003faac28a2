#!/usr/bin/env python3
"""Checks that a rewritten directory is still Python.

    compiles.py ORIGINAL REWRITTEN

Every file that is new, or that compiled before, must compile. Prints how many files differ.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def compiles(path: Path) -> str | None:
    """The reason why a file is not Python, if it is not."""
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"{path}: {error}"
    return None


def main() -> int:
    warnings.simplefilter("ignore")
    original, rewritten = map(Path, sys.argv[1:3])
    files = sorted(path.relative_to(rewritten) for path in rewritten.rglob("*.py"))
    missing = [path for path in original.rglob("*.py") if not (rewritten / path.relative_to(original)).exists()]
    changed, broken = 0, [f"{path}: removed" for path in missing]
    for file in files:
        before, after = original / file, rewritten / file
        if before.exists() and before.read_bytes() == after.read_bytes():
            continue
        changed += 1
        reason = compiles(after)
        if reason and not (before.exists() and compiles(before)):
            broken.append(reason)
    for line in broken:
        print(line)
    print(f"{len(files)} files, {changed} changed, {len(broken)} broken")
    return 1 if broken or not files else 0


if __name__ == "__main__":
    sys.exit(main())
