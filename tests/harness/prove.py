#!/usr/bin/env python3
"""Proves that a rewritten history does what the original did: replays both and compares every step.

    prove.py ORIGINAL REWRITTEN                      two directories of revisions
    prove.py --package ckan REWRITTEN                a package of packages.json against its rewritten copy

The replay of the original is kept in `--cache`, under the hash of all that it depends on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import compare
from history import HERE, Project, add_project_options, project_from_options


def run_replay(arguments: list[str], out: Path) -> str:
    """Replays one history in a process of its own, since each loads modules in its own way; returns what it said."""
    command = [sys.executable, str(HERE / "replay.py"), *arguments, "--out", str(out)]
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not (out / "result.json").exists():
        raise SystemExit(f"the replay broke off:\n{finished.stdout}")
    return finished.stdout.strip().rsplit("\n", 1)[-1]


def key(project: Project, arguments: list[str]) -> str:
    """A hash of all that the replay of a history depends on."""
    digest = hashlib.sha256(json.dumps([arguments, sys.prefix, project.stub, project.skip]).encode())
    own = sorted(path for path in HERE.rglob("*") if path.suffix in (".py", ".json", ".txt"))
    revisions = sorted(path for versions in project.versions for path in versions.rglob("*.py"))
    extra = [Path(argument) for argument in arguments if argument.endswith(".sql")]
    for path in [*own, *revisions, *extra]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def original_result(project: Project, arguments: list[str], cache: Path | None, scratch: Path) -> Path:
    """The result of the original history, from the cache or new."""
    if cache is None:
        print("original: ", run_replay(arguments, scratch / "original"))
        return scratch / "original"
    kept = cache / key(project, arguments)
    if kept.exists():
        print("original:  kept from an earlier run")
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=cache))
    print("original: ", run_replay(arguments, fresh))
    try:
        os.rename(fresh, kept)
    except OSError:  # another process was faster
        shutil.rmtree(fresh)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    compare.add_compare_options(parser)
    parser.add_argument("--rows", type=Path, help="SQL to run after the revision named in its first line")
    parser.add_argument("--one-transaction", action="store_true", help="transaction_per_migration=False")
    parser.add_argument("--cache", type=Path, help="where to keep results of original histories")
    parser.add_argument("--keep", type=Path, help="where to keep both results")
    options = parser.parse_args()

    if options.package is None:
        if len(options.versions) != 2:
            parser.error("two directories are needed: the original and the rewritten one")
        original, rewritten = [[str(path.resolve())] for path in options.versions]
    else:
        original, rewritten = [], [str(path.resolve()) for path in options.versions]
        if not rewritten:
            parser.error("the rewritten directory is missing")
    common = ["--rows", str(options.rows.resolve())] if options.rows else []
    common += ["--one-transaction"] if options.one_transaction else []
    common += ["--package", options.package, "--corpus", str(options.corpus.resolve())] if options.package else []

    options.versions = [Path(path) for path in original]
    project = project_from_options(options)
    with tempfile.TemporaryDirectory(prefix="safemig-prove-") as directory:
        scratch = options.keep.resolve() if options.keep else Path(directory)
        before = original_result(project, [*original, *common], options.cache and options.cache.resolve(), scratch)
        print("rewritten:", run_replay([*rewritten, *common, "--like", str(before)], scratch / "rewritten"), flush=True)
        return compare.report(
            before,
            scratch / "rewritten",
            ignore=tuple(options.ignore),
            lenient_failures=options.lenient_failures,
        )


if __name__ == "__main__":
    sys.exit(main())
