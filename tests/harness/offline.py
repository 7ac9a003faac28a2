#!/usr/bin/env python3
"""Runs a history offline (`alembic upgrade heads --sql`) through psql and compares the catalog.

    offline.py VERSIONS --reference RESULT

RESULT is what replay.py recorded of the original history; its last catalog must be reached, rows aside.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import catalog
import compare
from cluster import binaries
from history import History, add_project_options, project_from_options, settle_hash_order
from replay import summary
from server import Server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_project_options(parser)
    parser.add_argument("--reference", type=Path, required=True, help="the result of replay.py for the original")
    parser.add_argument("--server", help="URL of the server (default: set by cluster.py)")
    options = parser.parse_args()
    reference = options.reference.resolve()
    server = Server(options.server)
    history = History(project_from_options(options))
    try:
        script = history.offline("heads")
    except Exception as error:
        print(f"the SQL cannot be written: {summary(error)}")
        return 1
    with server.scratch(f"offline_{os.getpid()}") as database:
        url = server.url(database).set(drivername="postgresql").render_as_string(hide_password=False)
        finished = subprocess.run(
            [str(binaries() / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f", "-"],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            print(f"psql failed: {finished.stderr.strip()}")
            return 1
        snap = server.snapshot(database)
    last = compare.load(reference)["revisions"][-1]["upgrade"]["catalog"]
    lines = catalog.difference(compare.load_catalog(reference, last), snap, ignore=("rows",))
    for line in lines:
        print(line)
    print(f"{len(lines)} differences after {script.count(chr(10))} lines of SQL")
    return 1 if lines else 0


if __name__ == "__main__":
    settle_hash_order()
    sys.exit(main())
