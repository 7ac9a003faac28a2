#!/usr/bin/env python3
"""Compares two results of replay.py at every revision of the first.

    compare.py ORIGINAL REWRITTEN [--ignore SECTION]... [--lenient-failures]

Upgrades and downgrades must have succeeded or failed alike, and left the same catalog. A downgrade that fails in
the original must fail in the rewritten history too, and leave what it left. Exit status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import catalog

#: How many differences of one step are printed.
SHOWN = 12


def load(directory: Path) -> dict[str, Any]:
    """Reads a result."""
    return json.loads((directory / "result.json").read_text())


def load_catalog(directory: Path, name: str) -> catalog.Snapshot:
    """Reads a catalog of a result."""
    return json.loads((directory / "catalogs" / f"{name}.json").read_text())


def compare(
    original: Path, rewritten: Path, *, ignore: tuple[str, ...] = (), lenient_failures: bool = False
) -> list[str]:
    """The differences, each naming the revision and the direction; empty when the two histories agree."""
    reports = []
    actual = {entry["revision"]: entry for entry in load(rewritten)["revisions"]}
    expected = load(original)["revisions"]
    missing = [entry["revision"] for entry in expected if entry["revision"] not in actual]
    for entry in expected:
        revision = entry["revision"]
        if revision not in actual:
            continue
        for direction in ("upgrade", "downgrade"):
            before, after = entry.get(direction), actual[revision].get(direction)
            if before is None and after is None:
                continue
            where = f"{revision} {direction}"
            if before is None or after is None:
                reports.append(f"{where}: only run in {'the rewritten' if before is None else 'the original'} history")
            elif before["ok"] != after["ok"]:
                reports.append(f"{where}: {_ending('original', before)}; {_ending('rewritten', after)}")
            elif before["catalog"] != after["catalog"] and (before["ok"] or not lenient_failures):
                lines = catalog.difference(
                    load_catalog(original, before["catalog"]), load_catalog(rewritten, after["catalog"]), ignore=ignore
                )
                if lines:
                    note = "" if before["ok"] else f" (failed in both: {after['error']})"
                    shown = [f"    {line}" for line in lines[:SHOWN]]
                    rest = [f"    ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
                    reports.append("\n".join([f"{where}: the catalog differs{note}", *shown, *rest]))
    if missing:
        reports.append(f"{missing[0]} was not reached, nor were {len(missing) - 1} others")
    return reports


def _ending(name: str, step: dict[str, Any]) -> str:
    return f"the {name} succeeded" if step["ok"] else f"the {name} failed with {step['error']}"


def report(original: Path, rewritten: Path, **options: Any) -> int:
    """Prints the differences, or how much was compared; the answer is an exit status."""
    reports = compare(original, rewritten, **options)
    for text in reports:
        print(text)
    entries = load(original)["revisions"]
    downgrades = sum("downgrade" in entry for entry in entries)
    verdict = f"{len(reports)} steps differ" if reports else "no step differs"
    print(f"{verdict}: {len(entries)} revisions, {downgrades} downgrades compared")
    return 1 if reports or not entries else 0


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """The options of a comparison."""
    parser.add_argument("--ignore", action="append", default=[], help="a section of the catalog: column_order, rows")
    parser.add_argument("--lenient-failures", action="store_true", help="a failed step may leave another catalog")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("rewritten", type=Path)
    add_compare_options(parser)
    options = parser.parse_args()
    return report(
        options.original, options.rewritten, ignore=tuple(options.ignore), lenient_failures=options.lenient_failures
    )


if __name__ == "__main__":
    sys.exit(main())
