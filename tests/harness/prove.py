#!/usr/bin/env python3
"""Proves that a rewritten history does what the original did: replays both and compares every step.

    prove.py ORIGINAL REWRITTEN                      two directories of revisions
    prove.py --package ckan REWRITTEN                a package of packages.json against its rewritten copy

The replay of the original is kept in `--cache`, under the hash of all that it depends on.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

import compare
from history import HERE, Project, add_project_options, project_from_options, settle_hash_order
from replay import Rows, describe, replay
from server import Server


class Prover:
    """Replays histories under the same conditions."""

    def __init__(self, rows: Path | None, one_transaction: bool, server: str | None) -> None:
        self._rows = Rows(rows) if rows else None
        self._one_transaction, self._server = one_transaction, server

    def replay(self, project: Project, out: Path, like: Path | None = None) -> str:
        """Replays a history in a process of its own, since each loads modules in its own way; says how it went."""
        out.mkdir(parents=True, exist_ok=True)
        process = multiprocessing.get_context("fork").Process(target=self._replay, args=(project, out, like))
        process.start()
        process.join()
        if not (out / "result.json").exists():
            raise SystemExit(f"the replay broke off:\n{(out / 'log').read_text()}")
        return describe(out)

    def _replay(self, project: Project, out: Path, like: Path | None) -> None:
        with (out / "log").open("w") as log:  # migrations print
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        replay(
            project,
            Server(self._server),
            out,
            like=like,
            rows=self._rows,
            transaction_per_migration=not self._one_transaction,
        )

    def kept_replay(self, project: Project, cache: Path) -> Path:
        """The result of a replay from the cache, or a new one that is put there."""
        kept = cache / self._key(project)
        if kept.exists():
            print("original:  kept from an earlier run")
            return kept
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=cache))
        print("original: ", self.replay(project, fresh))
        try:
            fresh.rename(kept)
        except OSError:  # another process was faster
            shutil.rmtree(fresh)
        return kept

    def _key(self, project: Project) -> str:
        """A hash of all that a replay depends on."""
        settings = [sys.prefix, self._one_transaction, project.stub, project.real, project.skip, project.prelude]
        digest = hashlib.sha256(repr(settings).encode())
        programs = sorted(path for path in HERE.rglob("*") if path.suffix in (".py", ".txt"))
        revisions = sorted(path for versions in project.versions for path in versions.rglob("*.py"))
        for path in programs + revisions:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        if self._rows:
            digest.update(self._rows.sql.encode())
        return digest.hexdigest()[:24]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    compare.add_compare_options(parser)
    parser.add_argument("--rows", type=Path, help="SQL to run after the revision named in its first line")
    parser.add_argument("--one-transaction", action="store_true", help="transaction_per_migration=False")
    parser.add_argument("--cache", type=Path, help="where to keep results of original histories")
    parser.add_argument("--keep", type=Path, help="where to keep both results")
    parser.add_argument("--server", help="URL of the server (default: set by cluster.py)")
    options = parser.parse_args()

    paths: list[Path] = options.versions
    if options.package is None and len(paths) != 2:
        parser.error("two directories are needed: the original and the rewritten one")
    if options.package is not None and not paths:
        parser.error("the rewritten directory is missing")
    options.versions = paths[:1] if options.package is None else []
    original = project_from_options(options)
    options.versions = paths[1:] if options.package is None else paths
    rewritten = project_from_options(options)

    prover = Prover(options.rows, options.one_transaction, options.server)
    with tempfile.TemporaryDirectory(prefix="safemig-prove-") as directory:
        scratch = options.keep.resolve() if options.keep else Path(directory)
        if options.cache:
            before = prover.kept_replay(original, options.cache.resolve())
        else:
            before = scratch / "original"
            print("original: ", prover.replay(original, before))
        after = scratch / "rewritten"
        print("rewritten:", prover.replay(rewritten, after, like=before), flush=True)
        ignore = tuple(options.ignore)
        return compare.report(before, after, ignore=ignore, lenient_failures=options.lenient_failures)


if __name__ == "__main__":
    settle_hash_order()
    sys.exit(main())
